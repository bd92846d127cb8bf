# SPDX-License-Identifier: GPL-2.0-only
"""What cannot be relocated is refused when it is loaded, and nothing is lost by it."""

import re

from lab import scenario
from lab.machine import PATIENCE, RAM
from lab.tests.conftest import make_bench

MIB = 1 << 20
MEMORY = scenario.MEMORY * MIB
LEFT_OUT = 64 * MIB             # by mem=, from the end of memory
NOMAP = (RAM + 384 * MIB, 2 * MIB)     # clear of where QEMU puts kernel and initrd
TABLE = 2 * MIB                 # what a table of entries maps
UART = 0x9000000                # the virt machine's, and its console
HOLE = 0xe800000                # between the virt machine's devices
GOOD = RAM + 512 * MIB          # ordinary memory

CYCLES = 200
WARM_UP = 20

PLACES = {
    "hole": HOLE,
    "device": UART,
    "nomap": NOMAP[0],
    "left out by mem=": RAM + MEMORY - LEFT_OUT,
    "above memory": RAM + MEMORY,
    "above 2^47": 1 << 47,
    "above 2^51": 1 << 51,
}


def free_kib(machine):
    """Free memory, with what is kept only for speed given up first, and with the free
    pages that each CPU holds back: up to a megabyte, and no part of MemFree."""
    return machine.number("sync; echo 3 >/proc/sys/vm/drop_caches; "
                          "awk '/^MemFree/ { n += $2 } /^ +count:/ { n += 4 * $2 } "
                          "END { print n }' /proc/meminfo /proc/zoneinfo")


def lost_kib(machine, command, times=CYCLES):
    """Memory that is not free any more after so many times the command. Before it
    counts, the first times let caches of the kernel grow to what they stay at. With one
    CPU that is the same to some 10 KiB; what each of more holds back is not."""
    def repeat(count):
        machine.sh(f"( n=0; while [ $n -lt {count} ]; do {command} || exit 1; n=$((n+1)); done )",
                   timeout=10 * PATIENCE)
        return free_kib(machine)

    return repeat(WARM_UP) - repeat(times)


def region(machine, name):
    """First address of a region of /proc/iomem."""
    return int(re.search(rf"([0-9a-f]+)-[0-9a-f]+ : {name}",
                         machine.sh("cat /proc/iomem")).group(1), 16)


def refuse(machine, arguments, address, what):
    """Have kload refused, for one page; the console has the reason, as an error."""
    said = machine.sh(f"kload {arguments}", check=False)
    # Between address and end the words are the library's.
    pattern = rf"destination page at 0x0*{address:x} is [\w ]+\.\s+EADDRNOTAVAIL\s*$"
    assert re.search(pattern, said), f"{what}: {said}"


def test_destinations_refused(bench):
    """Each destination that the tables do not reach is refused by the system call, with
    its address in the log; the image loaded before stays and still hands over."""
    append = f"{scenario.CRASH} mem={scenario.MEMORY - LEFT_OUT // MIB}M"
    with bench.booted(append=append, nomap=NOMAP, smp=1) as machine:
        scenario.load(machine, "-s -p", "initramfs.cpio")
        places = PLACES | {"protected crash kernel": region(machine, "Crash kernel")}
        scenario.load(machine, "-s -l")
        for what, address in places.items():
            refuse(machine, f"{address:#x}", address, what)
            assert machine.number("cat /sys/kernel/kexec_loaded") == 1, what
        # The last page of a segment counts as the first does.
        end = RAM + MEMORY - LEFT_OUT
        refuse(machine, f"{end - 4096:#x} 2", end, "the last page")
        # A page lost at each would be 800 KiB.
        machine.sh("dmesg -n 1")
        assert lost_kib(machine, f"! kload {HOLE:#x} >/dev/null") < CYCLES * 2
        scenario.prove_mmu_on(machine, scenario.hand_over(machine))


def test_hole_edges(el1_bench):
    """A hole of two pages at the end of one table of entries, and of two at the start of
    the next: these four are refused, and the first and the last page of both tables and
    those beside the hole load."""
    middle = NOMAP[0] + TABLE
    with el1_bench.booted(nomap=(middle - 2 * 4096, 4 * 4096)) as machine:
        for page in range(-2, 2):
            address = middle + page * 4096
            refuse(machine, f"{address:#x}", address, f"page {page} of the hole")
        for address in (middle - TABLE, middle - 3 * 4096, middle + 2 * 4096,
                        middle + TABLE - 4096):
            assert machine.sh(f"kload {address:#x}").split() == ["loaded"], f"{address:#x}"


def test_good_destinations_load(bench):
    """The tool that the test above relies on can load, over the running kernel's text
    too: read-only in the linear map, but not in the copy."""
    with bench.booted() as machine:
        for address in (GOOD, region(machine, "Kernel code")):
            assert machine.sh(f"kload {address:#x}").split() == ["loaded"]


def test_load_and_unload_give_all_back(request):
    """200 times load and unload, by both calls, leave as much memory free as before. At the
    level where an image takes the most pages."""
    with make_bench(request, "nvhe", "series").booted(smp=1) as machine:
        scenario.mount(machine)
        cycle = ("kexec {0} -l /mnt/Image --initrd=/mnt/initramfs.cpio --reuse-cmdline && "
                 "kexec {0} -u")
        both = f"{{ {cycle.format('-s')} && {cycle.format('-c')}; }}"
        # A page lost at each load by one of the calls would be 400 KiB.
        assert lost_kib(machine, both, CYCLES // 2) < CYCLES
