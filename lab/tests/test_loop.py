# SPDX-License-Identifier: GPL-2.0-only
"""The loop that relocates: how much it executes, for every size of a cache line."""

import pytest

from lab import scenario
from lab.stub import Stub

GOAL = 680                      # instructions for a page of 4 KiB, with lines of 64 bytes
PER_LINE = 4                    # what cleaning a line in a loop of its own takes


def per_page(figures):
    """Instructions for each page that was relocated."""
    (burst,) = figures.bursts
    return burst["insns"] / (figures.relocated / 4096)


@pytest.mark.parametrize("line", [16, 32, 64, 128, 2048])
def test_line_sizes(el1_rig, line):
    """Another line size is put into the fourth argument of the relocation code. Lines below 64
    bytes are cleaned in a loop, which takes PER_LINE instructions for each. The data arrive."""
    with el1_rig.booted(gdb=True) as machine:
        scenario.load(machine, "-s -l")
        code, _ = scenario.relocation_code(machine)

        def enter(machine):
            with Stub(machine) as stub:
                machine.send("kexec -e")
                stub.run_to(int(code, 16))
                stub.set_register(3, line)

        figures = scenario.hand_over(machine, enter)
        scenario.prove_mmu_on(machine, figures)
        own_loop = 4096 // line * PER_LINE if line < 64 else 0
        assert own_loop < per_page(figures) <= GOAL + own_loop
