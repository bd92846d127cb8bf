# SPDX-License-Identifier: GPL-2.0-only
"""The copy of the linear map: a few pages however much memory there is, and right
for every way in which the kernel maps its memory."""

import pytest

from lab import build, coherence, scenario, tables
from lab.stub import Stub

GIB = 1024                      # MiB
CRASH_MIB = 128                 # what scenario.CRASH reserves
# What the design allows, on a machine whose memory is one range.
PAGES = 16
MAPS = ["rodata=off", "rodata=on", "rodata=full", "debug_pagealloc=on",
        "debug_pagealloc=on rodata=off", "nokaslr"]


@pytest.mark.parametrize("gib", [1, 4, 16, 64])
def test_size(el1_bench, gib):
    """At most 16 pages, from 1 to 64 GiB, as the kernel tells."""
    # 64 GiB take 1 GiB of the host, and some seconds to set up.
    with el1_bench.machine(memory=gib * GIB) as machine:
        machine.wait_ready(timeout=300)
        assert scenario.load(machine, "-s -l") <= PAGES


@pytest.mark.parametrize("options", MAPS)
def test_maps(bench, options):
    """Whatever the linear map is made of, and with a crash kernel loaded, which makes a
    hole in it: the hand-over works, and a hole costs two pages at most."""
    with bench.machine(append=f"{scenario.CRASH} {options}") as machine:
        machine.wait_ready()
        scenario.load(machine, "-s -p", "initramfs.cpio")
        figures = scenario.kexec(machine)
        scenario.prove_mmu_on(machine, figures)
        assert figures.tables <= PAGES


@pytest.mark.parametrize("options", MAPS)
def test_resume_maps(el1_bench, options):
    """The same for a resume."""
    append = f"{scenario.RESUME} {options}"
    with el1_bench.swap() as swap:
        with el1_bench.machine("-1", append, drives=[swap]) as machine:
            machine.wait_ready()
            scenario.remember(machine)
            scenario.hibernate(machine)
        with el1_bench.machine("-2", append, drives=[swap]) as machine:
            figures = scenario.resume(machine)
            scenario.check_remembered(machine)
            assert figures.tables <= PAGES


@pytest.mark.parametrize("options", ["rodata=full", "rodata=off"])
def test_same_as_live(el1_bench, options):
    """Read from outside, page by page: the copy maps what the linear map does, to the same
    memory, with the same attributes but writable, and nothing else."""
    with el1_bench.machine(append=f"{scenario.CRASH} {options} nokaslr", smp=1,
                           gdb=True) as machine:
        machine.wait_ready()
        scenario.load(machine, "-s -p", "initramfs.cpio")
        scenario.load(machine, "-s -l")
        _, copy = scenario.relocation_code(machine)
        swapper = coherence.symbols(build.kernel("series") / "vmlinux")["swapper_pg_dir"]
        with Stub(machine) as stub:
            live = tables.linear_map(stub, stub.physical(swapper))
            have = tables.linear_map(stub, int(copy, 16))
    assert len(have) * 4096 >= (scenario.MEMORY - CRASH_MIB - 1) * 2 ** 20
    wrong = [address for address in live.keys() | have.keys()
             if address not in live or have.get(address) != tables.as_copied(live[address])]
    assert not wrong, f"{len(wrong)} pages, the first at {min(wrong):#x}"


@pytest.mark.payload(256)
def test_large_image(bench):
    """256 MiB arrive whole."""
    with bench.machine(memory=2 * GIB) as machine:
        machine.wait_ready()
        scenario.prove_mmu_on(machine, scenario.kexec(machine), least=256 << 20)
