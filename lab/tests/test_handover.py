# SPDX-License-Identifier: GPL-2.0-only
"""Hand-overs one after the other, and of different kinds, at every level that a kernel can be
started at. machines.cfg has each kind by itself.

A report of trouble on the console of a machine fails its test.
"""

import pytest

from lab import scenario
from lab.tests.conftest import EVERY_BASE
from lab.util import LabError


def test_purgatory(el1_rig):
    """Before it enters the next kernel the purgatory of kexec-tools hashes all that was
    relocated: 64 MiB of random data, which the second kernel finds as they were."""
    with el1_rig.booted() as machine:
        scenario.prove_mmu_on(machine, scenario.kexec(machine, "-c"))


@EVERY_BASE
def test_five_handovers(rig):
    """Each kernel loads the next one, by either call."""
    with rig.booted() as machine:
        for call in ("-s", "-c", "-s", "-c", "-s"):
            figures = scenario.kexec(machine, call, checks=False)
            scenario.prove_mmu_on(machine, figures)


@EVERY_BASE
def test_hibernate_twice_then_kexec(rig):
    """Memory and a process survive two resumes; the resumed kernel still hands over."""
    with rig.swap() as swap:
        with rig.booted("-1", scenario.RESUME, drives=[swap]) as machine:
            scenario.remember(machine)
            scenario.hibernate(machine)
        with rig.machine("-2", scenario.RESUME, drives=[swap]) as machine:
            rig.resume(machine)
            scenario.hibernate(machine)
        with rig.machine("-3", scenario.RESUME, drives=[swap]) as machine:
            rig.resume(machine)
            scenario.prove_mmu_on(machine, scenario.kexec(machine))


@EVERY_BASE
def test_loaded_image_survives_hibernation(rig):
    """An image loaded before hibernation is handed over to after it."""
    with rig.resumed(before=lambda machine: scenario.load(machine, "-s -l")) as (machine, _):
        scenario.prove_mmu_on(machine, scenario.hand_over(machine))


def test_kdump(rig):
    """By kexec_load: the crash kernel reads the dump, and nothing was relocated on the way."""
    with rig.booted(append=scenario.CRASH) as machine:
        assert not scenario.kdump(machine, "-c").bursts


def test_base_fails_the_proof(base_rig):
    """Without the series the same proof sees that the MMU is off, all the time."""
    with base_rig.booted() as machine:
        figures = scenario.kexec(machine)
        if figures.bursts is None:
            pytest.skip("nothing counts accesses under KVM")
        with pytest.raises(LabError, match="with the MMU off"):
            scenario.prove_mmu_on(machine, figures)
    (burst,) = figures.bursts
    assert burst["high"] == {"loads": 0, "load_bytes": 0, "stores": 0, "store_bytes": 0}
    assert burst["low"]["store_bytes"] >= scenario.PAYLOAD << 20
    assert burst["mmu_off_insns"] == burst["insns"]
