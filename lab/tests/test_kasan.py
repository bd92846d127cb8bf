# SPDX-License-Identifier: GPL-2.0-only
"""Hand-overs of a kernel of which KASAN checks every access: a wrong one is a report on
the console, which fails the test."""

import pytest

from lab import scenario
from lab.tests.conftest import LEVELS, make_bench


@pytest.fixture(params=LEVELS)
def bench(request):
    """Makes machines that run the kernel with the series and KASAN."""
    return make_bench(request, request.param, "series", "kasan")


def test_kexec(bench):
    """The second kernel, which has KASAN too, finds its data as they were."""
    with bench.machine() as machine:
        machine.wait_ready()
        scenario.prove_mmu_on(machine, scenario.kexec(machine))


def test_hibernate_then_kexec(bench):
    """Memory and a process survive a resume, and the resumed kernel hands over."""
    with bench.swap() as swap:
        with bench.machine("-1", scenario.RESUME, drives=[swap]) as machine:
            machine.wait_ready()
            scenario.remember(machine)
            scenario.hibernate(machine)
        with bench.machine("-2", scenario.RESUME, drives=[swap]) as machine:
            scenario.resume(machine)
            scenario.check_remembered(machine)
            scenario.prove_mmu_on(machine, scenario.kexec(machine))
