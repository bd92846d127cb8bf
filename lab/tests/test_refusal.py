# SPDX-License-Identifier: GPL-2.0-only
"""What cannot be relocated is refused when it is loaded, and nothing is lost by it."""

import re

from lab import board, scenario
from lab.board import RAM
from lab.console import PATIENCE
from lab.tests.conftest import EVERY_BASE, make_rig

pytestmark = EVERY_BASE

MIB = 1 << 20
MEMORY = board.MEMORY * MIB
LEFT_OUT = 64 * MIB             # by mem=, from the end of memory
NOMAP = (RAM + 384 * MIB, 2 * MIB)     # clear of where QEMU puts kernel and initrd
TABLE = 2 * MIB                 # what a table of entries maps
UART = 0x9000000                # the virt machine's, and its console
HOLE = 0xe800000                # between the virt machine's devices
GOOD = RAM + 512 * MIB          # ordinary memory

CYCLES = 200
WARM_UP = 20
LOST = 2                        # KiB at each command: half a page

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


def lost_each(machine, command, times=CYCLES):
    """KiB that are not free any more, for each time of the command. The first times let
    caches of the kernel grow to what they stay at. Free memory read twice differs by up to
    300 KiB even with one CPU, because pages are in use for a moment. So a loss is measured
    again over up to four times as many commands: a leak grows with them, the noise does not."""
    def repeat(count):
        machine.sh(f"( n=0; while [ $n -lt {count} ]; do {command} || exit 1; n=$((n+1)); done )",
                   timeout=10 * PATIENCE)
        return free_kib(machine)

    before = repeat(WARM_UP)
    for rounds in range(1, 5):
        lost = (before - repeat(times)) / (rounds * times)
        if lost < LOST:
            break
    return lost


def region(machine, name):
    """First address of a region of /proc/iomem."""
    return int(re.search(rf"([0-9a-f]+)-[0-9a-f]+ : {name}",
                         machine.answer("cat /proc/iomem")).group(1), 16)


def refuse(machine, arguments, address, what):
    """kload is refused for one page, and the log has the reason as an error. The log is read for
    it, because v7.3 prints on the console later."""
    said = machine.answer(f"kload {arguments}", check=False)
    assert said.split() == ["EADDRNOTAVAIL"], f"{what}: {said}"
    said = machine.sh("dmesg -r | tail -n 1")
    # Between address and end the words are the library's.
    pattern = rf"^<3>.*destination page at 0x0*{address:x} is [\w ]+\.$"
    assert re.search(pattern, said, re.MULTILINE), f"{what}: {said}"


def test_destinations_refused(rig):
    """Destinations that the tables do not reach are refused by the system call, with the address
    in the log. There is one of each kind here. The image loaded before stays, and still hands
    over."""
    append = f"{scenario.CRASH} mem={board.MEMORY - LEFT_OUT // MIB}M"
    with rig.booted(append=append, nomap=NOMAP, smp=1) as machine:
        scenario.load(machine, "-s -p", "initramfs.cpio")
        places = PLACES | {"protected crash kernel": region(machine, "Crash kernel")}
        scenario.load(machine, "-s -l")
        for what, address in places.items():
            refuse(machine, f"{address:#x}", address, what)
            assert machine.number("cat /sys/kernel/kexec_loaded") == 1, what
        # The last page of a segment counts as the first does.
        end = RAM + MEMORY - LEFT_OUT
        refuse(machine, f"{end - 4096:#x} 2", end, "the last page")
        machine.sh("dmesg -n 1")
        assert lost_each(machine, f"! kload {HOLE:#x} >/dev/null") < LOST
        scenario.prove_mmu_on(machine, scenario.hand_over(machine))


def test_hole_edges(el1_rig):
    """A hole has the last two pages of one table of entries and the first two of the next. These
    four pages are refused. The pages beside the hole load, and so do the first page of the first
    table and the last page of the second."""
    middle = NOMAP[0] + TABLE
    with el1_rig.booted(nomap=(middle - 2 * 4096, 4 * 4096)) as machine:
        for page in range(-2, 2):
            address = middle + page * 4096
            refuse(machine, f"{address:#x}", address, f"page {page} of the hole")
        for address in (middle - TABLE, middle - 3 * 4096, middle + 2 * 4096,
                        middle + TABLE - 4096):
            assert machine.answer(f"kload {address:#x}").split() == ["loaded"], f"{address:#x}"


def test_good_destinations_load(rig):
    """The tool of the test above can load, so its refusals mean something. It also loads over the
    text of the running kernel, which is read-only in the linear map and writable in the copy."""
    with rig.booted() as machine:
        for address in (GOOD, region(machine, "Kernel code")):
            assert machine.answer(f"kload {address:#x}").split() == ["loaded"]


def test_load_and_unload_give_all_back(request):
    """After 200 loads and unloads, by both calls, as much memory is free as before. The level is
    the one at which an image takes the most pages."""
    with make_rig(request, "nvhe", "series").booted(smp=1) as machine:
        scenario.mount(machine)
        cycle = ("kexec {0} -l /mnt/Image --initrd=/mnt/initramfs.cpio --reuse-cmdline && "
                 "kexec {0} -u")
        both = f"{{ {cycle.format('-s')} && {cycle.format('-c')}; }}"
        assert lost_each(machine, both, CYCLES // 2) < LOST
