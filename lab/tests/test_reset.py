# SPDX-License-Identifier: GPL-2.0-only
"""Tables without the entries that they need. A hand-over that has begun ends in a reset. A resume
that has not begun ends in an error. Neither hangs the machine."""

from lab import build, scenario
from lab.stub import Stub
from lab.tests.conftest import EVERY_BASE

pytestmark = EVERY_BASE

PAGE = 4096                     # the size of a table


def test_fault_resets(rig):
    """The copy is emptied when the relocation code is entered. So the first access faults, and the
    machine boots from its firmware again, without the payload."""
    with rig.booted(gdb=True, reboot=True) as machine:
        scenario.load(machine, "-s -l")
        code = scenario.code_page(machine)
        field = build.asm_offset(build.kernel("series"), "KIMAGE_ARCH_TTBR1")
        machine.sh("dmesg -n 8")
        with Stub(machine) as stub:
            machine.send("kexec -e")
            stub.run_to(code)
            (kimage, *_), _ = stub.registers()
            copy = stub.number(kimage + field)
            stub.wipe_physical(copy, PAGE)
        machine.expect("Bye!", what="the old kernel's last word")
        machine.wait_ready()
        machine.sh("test ! -e /payload.md5")
        assert not machine.relocations()


def test_resume_refused(rig):
    """The copy lacks a page of the image. The resume fails and names the page, and the machine
    boots."""
    symbols = build.symbols(build.kernel("series") / "vmlinux")
    with rig.swap() as swap:
        with rig.booted("-1", scenario.RESUME, drives=[swap]) as machine:
            scenario.hibernate(machine)
        with rig.machine("-2", f"{scenario.RESUME} nokaslr", drives=[swap],
                         gdb="wait") as machine:
            with Stub(machine) as stub:
                with stub.running_to(symbols["trans_pgd_copy_part"]):
                    machine.expect("Image loading done", what="the image to be read")
                # Now that a part has been copied its page is looked up again.
                with stub.running_to(symbols["trans_pgd_check"]):
                    pass
                # The first argument is a struct, which begins with the copy's top table.
                (argument, *_), _ = stub.registers()
                table = stub.number(argument)
                stub.wipe_physical(table, PAGE)
            machine.expect(r"Failing to resume: (list|source) page at 0x\w+000 is not mapped")
            machine.wait_ready()
            machine.sh("test ! -e /tmp/buffer")
