# SPDX-License-Identifier: GPL-2.0-only
"""What the copy and its check cost at load, in instructions."""

from lab import cost
from lab.util import TEST_LOGS

GIB = 1024                      # MiB
LOGS = TEST_LOGS


def test_check_is_cheap():
    """The check of 64 MiB takes less than 2 % of the system call."""
    counts = cost.measure("series", GIB, LOGS)
    print(counts)
    assert counts["check"] < 0.02 * counts["load"]


def test_copy_is_cheap():
    """The copy of 16 GiB takes at most 0.35 of what v6.1's takes."""
    ours = cost.measure("series", 16 * GIB, LOGS)
    theirs = cost.measure("v6.1", 16 * GIB, LOGS)
    print(ours, theirs)
    assert ours["copy"] + ours["check"] <= 0.35 * theirs["copy"]
