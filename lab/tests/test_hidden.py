# SPDX-License-Identifier: GPL-2.0-only
"""Memory that is invalid in the linear map without debug_pagealloc, such as KFENCE's pool. A
resume and a kexec have to overwrite it like any other memory. Here lab/kernel/hide.c hides it."""

import pytest

from lab import guest, scenario
from lab.board import RAM
from lab.tests.conftest import make_rig
from lab.tests.test_refusal import GOOD, MIB, refuse, region

PAGE = 4096
HALF = 128                      # pages that are reserved, as many as KFENCE's; and that are not
# The halves are the end of one table of entries and the start of the next.
OTHERS = RAM + 384 * MIB
POOL = OTHERS - HALF * PAGE
HIDDEN = f"lab_hide={POOL:#x}"
SHOWN = f"{HIDDEN},shown"
PARAMETERS = "/sys/module/lab_hide/parameters"
TINY_PAGES = 4
TINY = OTHERS - TINY_PAGES // 2 * PAGE      # half of it reserved, half not

pytestmark = pytest.mark.parametrize("pagealloc", ["off", "on"])


@pytest.fixture
def hiding(request, pagealloc):
    """Makes machines that can hide memory."""
    return make_rig(request, "el1", "series", "small+hide", files={"tiny": guest.tiny()},
                    append=f"debug_pagealloc={pagealloc}")


def right(machine):
    """How many pages hold what the kernel that runs has filled them with."""
    return machine.answer(f"cat {PARAMETERS}/right").split()


def load_tiny(machine):
    """Load the tiny kernel to hidden memory."""
    scenario.mount(machine)
    said = machine.answer(f"kload {TINY:#x} {TINY_PAGES} /mnt/tiny {GOOD:#x}", check=False)
    assert said.split() == ["loaded"], said


def enter_tiny(machine):
    """Hand over to the tiny kernel, which sees that its pages have arrived."""
    machine.send("kexec -e")
    found = machine.expect(r"TINY EL1 entered (right|wrong[^\r]*)\r", what="the tiny kernel")
    assert found.group(1) == "right"
    machine.wait_exit()


@pytest.mark.parametrize("saver", ["hidden", "shown"])
def test_resume(hiding, saver):
    """A kernel that hides memory resumes an image that overwrites this memory. The kernel in the
    image has hidden the memory too, or has used it. Its content is there again, and a crash kernel
    is still loaded. Memory that is both reserved and hidden is not saved by a hibernation."""
    with hiding.swap() as swap:
        options = {"drives": [swap]}
        append = f"{scenario.RESUME} {scenario.CRASH}"
        with hiding.booted("-1", f"{append} {SHOWN if saver == 'shown' else HIDDEN}",
                           **options) as machine:
            scenario.load(machine, "-s -p", "initramfs.cpio")
            scenario.remember(machine)
            scenario.hibernate(machine)
        with hiding.machine("-2", f"{append} {HIDDEN}", **options) as machine:
            hiding.resume(machine)
            assert machine.number("cat /sys/kernel/kexec_crash_loaded") == 1
            want = ["reserved", f"{HALF}", "others", f"{HALF}"]
            assert right(machine)[2:] == want[2:]
            assert saver == "hidden" or right(machine) == want


def test_destination(hiding):
    """An image can be loaded to hidden pages, reserved or not, and the hand-over works. It cannot
    be loaded over a loaded crash kernel, which is hidden as well."""
    with hiding.booted(append=f"{HIDDEN} {scenario.CRASH}") as machine:
        for address, pages in ((POOL, 1), (OTHERS - PAGE, 1), (OTHERS, 1), (POOL, 2 * HALF)):
            said = machine.answer(f"kload {address:#x} {pages}", check=False)
            assert said.split() == ["loaded"], f"{address:#x}: {said}"
        scenario.load(machine, "-s -p", "initramfs.cpio")
        start = region(machine, "Crash kernel")
        refuse(machine, f"{start:#x}", start, "crash kernel")
        load_tiny(machine)
        enter_tiny(machine)


def test_hidden_after_load(hiding):
    """Sources and destinations of an image can become hidden after it is loaded. The tables do not
    follow, so the hand-over works."""
    with hiding.booted(append=SHOWN) as machine:
        load_tiny(machine)
        machine.sh(f"echo 1 >{PARAMETERS}/sources; echo 1 >{PARAMETERS}/hidden")
        assert machine.number(f"cat {PARAMETERS}/sources") == TINY_PAGES + 1
        enter_tiny(machine)


def test_resume_over_crash_kernel(hiding):
    """A resume that would overwrite a loaded crash kernel is refused, and the machine goes on."""
    with hiding.swap() as swap:
        with hiding.booted("-1", f"{SHOWN} {scenario.CRASH}", drives=[swap]) as machine:
            scenario.load(machine, "-s -p", "initramfs.cpio")
            scenario.hibernate(machine)
        with hiding.booted("-2", f"{HIDDEN} {scenario.CRASH} no_console_suspend",
                           drives=[swap]) as machine:
            scenario.load(machine, "-s -p", "initramfs.cpio")
            start = region(machine, "Crash kernel")
            machine.send(f"cat /sys/class/block/{scenario.SWAPPED[5:]}/dev >/sys/power/resume")
            found = machine.expect(r"Failing to resume: destination page at (0x\w+) is not mapped")
            assert start <= int(found.group(1), 16) < start + 128 * MIB
            machine.wait_prompt()
            assert right(machine) == ["reserved", f"{HALF}", "others", f"{HALF}"]
