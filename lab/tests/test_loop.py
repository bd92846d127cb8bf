# SPDX-License-Identifier: GPL-2.0-only
"""The loop that relocates: how much it executes, for every size of a cache line."""

import pytest

from lab import gdb, scenario

GOAL = 680                      # instructions for a page of 4 KiB, with lines of 64 bytes
PER_LINE = 4                    # what cleaning a line in a loop of its own takes


def per_page(figures):
    """Instructions for each page that was relocated."""
    (burst,) = figures.bursts
    return burst["insns"] / (figures.relocated / 4096)


@pytest.mark.parametrize("line", [16, 32, 64, 128, 2048])
def test_line_sizes(el1_bench, line):
    """The line size is the fourth argument of the relocation code; gdb gives another one.
    Lines below 64 bytes are cleaned each; that takes so much longer, and data arrive."""
    with el1_bench.booted(gdb=True) as machine:
        scenario.load(machine, "-s -l")
        code, _ = scenario.relocation_code(machine)
        with gdb.interrupt(machine, code, f"set $x3 = {line}"):
            machine.sh("sleep 2")
            figures = scenario.hand_over(machine)
        scenario.prove_mmu_on(machine, figures)
        own_loop = 4096 // line * PER_LINE if line < 64 else 0
        assert own_loop < per_page(figures) <= GOAL + own_loop
