# SPDX-License-Identifier: GPL-2.0-only
"""An EL2 that refuses. Protected KVM keeps its vectors, and answers every call of the hyp-stub
with an error. v5.10 has no protected KVM, so a kernel whose hyp-stub refuses every call stands in
for it.

The machine has one CPU, because the stand-in has no PSCI that would start others at EL1. There is
no kexec_load here: it overwrites the first kernel's text, which has the stand-in. Protected KVM
protects its own text from that.
"""

import struct

import pytest

from lab import build, scenario
from lab.board import Board
from lab.here import TEST_LOGS

SYNC_EL1 = 0x400                        # in the vectors: synchronous, from 64-bit EL1
REFUSE = (0x92800000, 0xd69f03e0)       # mov x0, #-1; eret


@pytest.fixture
def kept_rig(request, tmp_path):
    """Makes machines whose EL2 keeps its vectors."""
    real = build.kernel("series")
    names = build.symbols(real / "vmlinux")
    data = bytearray((real / "arch/arm64/boot/Image").read_bytes())
    struct.pack_into("<2I", data, names["__hyp_stub_vectors"] + SYNC_EL1 - names["_text"],
                     *REFUSE)
    image = tmp_path / "arch/arm64/boot/Image"
    image.parent.mkdir(parents=True)
    image.write_bytes(data)
    return scenario.Rig(request.node.name.removeprefix("test_"), Board("nvhe", smp=1), TEST_LOGS,
                        payload=8, config="kept", built=tmp_path)


def check_el1(machine):
    """The kernel that runs has been entered at EL1."""
    machine.sh("dmesg | grep 'started at EL1'")


def test_el2_kept_kexec(kept_rig):
    """The next kernel is entered at EL1, as without the series, and has its payload."""
    with kept_rig.booted() as machine:
        machine.sh("dmesg | grep 'started at EL2'")
        scenario.prove_mmu_on(machine, scenario.kexec(machine), kept_rig.payload << 20)
        check_el1(machine)


def test_el2_kept_kdump(kept_rig):
    """So is the crash kernel."""
    with kept_rig.booted(append=scenario.CRASH) as machine:
        assert not scenario.kdump(machine).bursts
        check_el1(machine)
