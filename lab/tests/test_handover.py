# SPDX-License-Identifier: GPL-2.0-only
"""Every way in which a kernel hands over, at every level that it can be started at.

A machine fails its test by itself when its console has a report of trouble.
"""

import pytest

from lab import scenario
from lab.util import LabError

HOW = {"kexec_file_load": "-s", "kexec_load": "-c"}
HOPS = ["kexec_file_load", "kexec_load", "kexec_file_load", "kexec_load", "kexec_file_load"]


@pytest.mark.parametrize("call", HOW)
def test_kexec(bench, call):
    """The second kernel finds its 64 MiB of random data as they were."""
    with bench.machine() as machine:
        machine.wait_ready()
        scenario.prove_mmu_on(machine, scenario.kexec(machine, HOW[call]))


def test_five_handovers(bench):
    """Each kernel loads the next one, by either call."""
    with bench.machine() as machine:
        machine.wait_ready()
        for call in HOPS:
            figures = scenario.kexec(machine, HOW[call], checks=False)
            scenario.prove_mmu_on(machine, figures)


def test_hibernate_twice_then_kexec(bench):
    """Memory and a process survive two resumes; the resumed kernel still hands over."""
    with bench.swap() as swap:
        with bench.machine("-1", scenario.RESUME, drives=[swap]) as machine:
            machine.wait_ready()
            scenario.remember(machine)
            scenario.hibernate(machine)
        with bench.machine("-2", scenario.RESUME, drives=[swap]) as machine:
            check_resume(machine)
            scenario.hibernate(machine)
        with bench.machine("-3", scenario.RESUME, drives=[swap]) as machine:
            check_resume(machine)
            scenario.prove_mmu_on(machine, scenario.kexec(machine))


def test_hibernate_after_kexec(bench):
    """A kernel that was handed over to hibernates and comes back."""
    with bench.swap() as swap:
        with bench.machine("-1", scenario.RESUME, drives=[swap]) as machine:
            machine.wait_ready()
            scenario.prove_mmu_on(machine, scenario.kexec(machine))
            scenario.remember(machine)
            scenario.hibernate(machine)
        with bench.machine("-2", scenario.RESUME, drives=[swap]) as machine:
            check_resume(machine)


def test_loaded_image_survives_hibernation(bench):
    """An image loaded before hibernation is handed over to after it."""
    with bench.swap() as swap:
        with bench.machine("-1", scenario.RESUME, drives=[swap]) as machine:
            machine.wait_ready()
            scenario.load(machine, "-s -l")
            scenario.remember(machine)
            scenario.hibernate(machine)
        with bench.machine("-2", scenario.RESUME, drives=[swap]) as machine:
            check_resume(machine)
            scenario.prove_mmu_on(machine, scenario.hand_over(machine))


@pytest.mark.parametrize("call", HOW)
def test_kdump(bench, call):
    """The crash kernel reads the dump, and nothing was relocated on the way to it."""
    with bench.machine(append=scenario.CRASH) as machine:
        machine.wait_ready()
        assert not scenario.kdump(machine, HOW[call]).bursts


@pytest.mark.parametrize("call", HOW)
def test_base_fails_the_proof(base_bench, call):
    """Without the series the same proof sees that the MMU is off, all the time."""
    with base_bench.machine() as machine:
        machine.wait_ready()
        figures = scenario.kexec(machine, HOW[call], checks=False)
        if figures.bursts is None:
            pytest.skip("nothing counts accesses under KVM")
        with pytest.raises(LabError, match="with the MMU off"):
            scenario.prove_mmu_on(machine, figures)
    (burst,) = figures.bursts
    assert burst["high"] == {"loads": 0, "load_bytes": 0, "stores": 0, "store_bytes": 0}
    assert burst["low"]["store_bytes"] >= scenario.PAYLOAD << 20
    assert burst["mmu_off_insns"] == burst["insns"]


def check_resume(machine):
    """Resume, and find everything as it was left; the copy runs with the MMU on."""
    # How much memory is in the way, and so has to be relocated, is left to chance.
    figures = scenario.resume(machine)
    if figures.bursts:
        scenario.prove_mmu_on(machine, figures, least=0)
    scenario.check_remembered(machine)
