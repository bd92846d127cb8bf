# SPDX-License-Identifier: GPL-2.0-only
"""`make bench`: what hand-overs cost, counted to the instruction, on the base, on the
series and on mainline's own implementation."""
