# SPDX-License-Identifier: GPL-2.0-only
"""The copy of the linear map: a few pages however much memory there is, and right
for every way in which the kernel maps its memory."""

import pytest

from lab import scenario

GIB = 1024                      # MiB
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


@pytest.mark.payload(256)
def test_large_image(bench):
    """256 MiB arrive whole."""
    with bench.machine(memory=2 * GIB) as machine:
        machine.wait_ready()
        scenario.prove_mmu_on(machine, scenario.kexec(machine), least=256 << 20)
