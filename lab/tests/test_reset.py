# SPDX-License-Identifier: GPL-2.0-only
"""Tables that do not hold what they should: a hand-over that has begun ends in a reset,
a resume that has not in an error; never in a machine that hangs."""

from lab import build, gdb, scenario


def test_fault_resets(bench):
    """When the relocation code is entered the copy translates nothing any more: the first
    access faults, and the machine boots from its firmware again, without the payload."""
    with bench.booted(gdb=True, reboot=True) as machine:
        scenario.load(machine, "-s -l")
        code, copy = scenario.relocation_code(machine)
        with gdb.wipe(machine, code, copy):
            machine.sh("dmesg -n 8; sleep 2")
            machine.send("kexec -e")
            machine.expect("Bye!", what="the old kernel's last word")
            machine.wait_ready()
        machine.sh("test ! -e /payload.md5")
        assert not machine.relocations()


def test_resume_refused(bench):
    """A copy that does not reach an image's pages: the resume fails and says which page,
    and the machine boots."""
    check = build.symbols(build.kernel("series") / "vmlinux")["trans_pgd_check"]
    with bench.swap() as swap:
        with bench.booted("-1", scenario.RESUME, drives=[swap]) as machine:
            scenario.hibernate(machine)
        with bench.machine("-2", f"{scenario.RESUME} nokaslr", drives=[swap],
                           gdb="wait") as machine:
            # The first argument is a struct, and its first member the copy's top table.
            with gdb.wipe(machine, hex(check), "*(unsigned long *)$x0"):
                machine.expect(r"Failing to resume: source page at 0x\w+ is not mapped")
            machine.wait_ready()
            machine.sh("test ! -e /tmp/buffer")
