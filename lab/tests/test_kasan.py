# SPDX-License-Identifier: GPL-2.0-only
"""Hand-overs of a kernel with KASAN, which checks its accesses to memory. A wrong access is a
report on the console, and that fails the test."""

import dataclasses

import pytest

from lab import scenario
from lab.tests.conftest import LEVELS, make_rig


@pytest.mark.parametrize("level", LEVELS)
def test_kexec(request, level):
    """The second kernel, which has KASAN too, finds its data as they were."""
    with make_rig(request, level, "series", "tiny+kasan").booted() as machine:
        figures = scenario.kexec(machine)
        # The next kernel corrects its own addresses when it starts. With KASAN's tables
        # there are so many that the plugin takes it for another relocation.
        figures = dataclasses.replace(figures, bursts=figures.bursts and figures.bursts[:1])
        scenario.prove_mmu_on(machine, figures)


def test_hibernate(request):
    """Memory and a process survive a resume."""
    with make_rig(request, "el1", "series", "tiny+kasan").resumed():
        pass
