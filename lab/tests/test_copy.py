# SPDX-License-Identifier: GPL-2.0-only
"""The copy of the linear map has the same content as the linear map. The machines of machines.cfg
show that it takes a few pages, with much memory and with every kind of mapping."""

import pytest

from lab import board, build, scenario, tables
from lab.stub import Stub

CRASH_MIB = 128                 # what scenario.CRASH reserves


@pytest.mark.parametrize("options", ["rodata=full", "rodata=off"])
def test_same_as_live(el1_rig, options):
    """Read from outside, page by page: the copy maps what the linear map does, to the same
    memory, with the same attributes but writable, and nothing else."""
    with el1_rig.booted(append=f"{scenario.CRASH} {options} nokaslr", smp=1,
                        gdb=True) as machine:
        scenario.load(machine, "-s -p", "initramfs.cpio")
        scenario.load(machine, "-s -l")
        _, copy = scenario.relocation_code(machine)
        swapper = build.symbols(build.kernel("series") / "vmlinux")["swapper_pg_dir"]
        with Stub(machine) as stub:
            live = tables.linear_map(stub, stub.physical(swapper))
            have = tables.linear_map(stub, int(copy, 16))
    assert len(have) * 4096 >= (board.MEMORY - CRASH_MIB - 1) * 2 ** 20
    wrong = [address for address in live.keys() | have.keys()
             if address not in live or have.get(address) != tables.as_copied(live[address])]
    assert not wrong, f"{len(wrong)} pages, the first at {min(wrong):#x}"
