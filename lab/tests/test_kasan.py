# SPDX-License-Identifier: GPL-2.0-only
"""Hand-overs of a kernel of which KASAN checks every access: a wrong one is a report on
the console, which fails the test."""

import dataclasses

import pytest

from lab import scenario
from lab.tests.conftest import LEVELS, make_bench


@pytest.mark.parametrize("level", LEVELS)
def test_kexec(request, level):
    """The second kernel, which has KASAN too, finds its data as they were."""
    with make_bench(request, level, "series", "kasan").machine() as machine:
        machine.wait_ready()
        figures = scenario.kexec(machine)
        # The next kernel corrects its own addresses when it starts. With KASAN's tables
        # there are so many that the plugin takes it for another relocation.
        figures = dataclasses.replace(figures, bursts=figures.bursts and figures.bursts[:1])
        scenario.prove_mmu_on(machine, figures)


def test_hibernate(request):
    """Memory and a process survive a resume."""
    bench = make_bench(request, "el1", "series", "kasan")
    with bench.swap() as swap:
        with bench.machine("-1", scenario.RESUME, drives=[swap]) as machine:
            machine.wait_ready()
            scenario.remember(machine)
            scenario.hibernate(machine)
        with bench.machine("-2", scenario.RESUME, drives=[swap]) as machine:
            scenario.resume(machine)
            scenario.check_remembered(machine)
