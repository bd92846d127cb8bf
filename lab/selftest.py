# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's selftests: those of the series and those of kexec. They are built here for the
guest, and their cases are listed."""

import functools
import re

from lab import board, build, guest, host, scenario, tap, tree
from lab.board import Board, Boot
from lab.console import PATIENCE
from lab.machine import Machine
from lab.here import HERE
from lab.util import TOP, LabError, locked, run

TESTS = "tools/testing/selftests"
OURS = f"{TESTS}/arm64/trans_pgd"
OUT = HERE / "selftest"
# Each program, and seconds that it may take on a busy machine.
PROGRAMS = {"kexec_load": 5 * PATIENCE, "kexec_file_load": 5 * PATIENCE,
            "kexec_fuzz": 15 * PATIENCE, "kexec_fault": 10 * PATIENCE}
KEXEC = ("test_kexec_load.sh", "test_kexec_file_load.sh", "kexec_common_lib.sh")
MEMORY = 512                    # MiB
APPEND = "crashkernel=32M page_poison=1"


def cases(program):
    """The names of a program's test cases, from its source."""
    text = (TOP / OURS / f"{program}.c").read_text()
    text += (TOP / OURS / "kexec_last_test.h").read_text()
    variants = {}
    for fixture, variant in re.findall(r"^FIXTURE_VARIANT_ADD\((\w+), (\w+)\)", text, re.M):
        variants.setdefault(fixture, []).append(variant)
    return [".".join(filter(None, (fixture, variant, name)))
            for fixture, name in re.findall(r"^TEST_F(?:_TIMEOUT)?\((\w+), (\w+)", text, re.M)
            for variant in variants.get(fixture, [""])]


def programs():
    """The folder with the programs, static."""
    source = tree.tree()
    with locked("selftest"):
        compile_programs(source, OUT)
    return OUT / "trans_pgd"


def compile_programs(source, out):
    """Compile the programs of a kernel tree, static, to the folder trans_pgd of another one."""
    # From this folder on nothing asks for the kernel's headers, whose installation
    # takes longer than all else.
    run(["make", "-C", source / TESTS / "arm64", "ARM64_SUBTARGETS=trans_pgd",
         f"OUTPUT={out}", "USERCFLAGS=-Werror", "USERLDFLAGS=-static"],
        "building the selftests", log="selftest.log",
        env=build.make_env() | {"CROSS_COMPILE": host.cross_compile()})


def disk():
    """A disk with the programs, and with the kernel's own tests of kexec."""
    folder, scripts = programs(), tree.LINUX / TESTS / "kexec"
    return guest.disk(guest.GUEST / "disk-selftest.img",
                      {name: folder / name for name in PROGRAMS}
                      | {f"kexec/{name}": scripts / name for name in KEXEC})


def handover_disk(rig):
    """The disk of a rig, with kexec_handover on it."""
    name = f"disk-handover-{build.tag(rig.kernel)}-{rig.config}.img"
    return guest.disk(guest.GUEST / name, {
        "Image": rig.image, "initramfs.cpio": rig.initrd,
        "kexec_handover": programs() / "kexec_handover"})


def with_programs(name, rig, logs, memory=board.MEMORY):
    """A machine of that name that has a rig's kernel and disk, and the disk with the programs;
    memory: MiB."""
    return Machine(name, logs, Board(memory=memory),
                   Boot(rig.image, rig.initrd, "", [rig.disk, disk()]))


@functools.cache
def outcome(program, kernel, logs):
    """Run a program in a machine of its own; (results, None), or (None, error)."""
    try:
        with Machine(f"selftest-{program}", logs, Board(memory=MEMORY),
                     Boot(kernel, guest.initramfs(), APPEND, [disk()])) as machine:
            machine.wait_ready()
            scenario.mount(machine)
            # By way of a file, for the kernel has much to say meanwhile.
            machine.sh(f"/mnt/{program} >/tmp/tap 2>&1", timeout=PROGRAMS[program], check=False)
            text = machine.answer("cat /tmp/tap")
            if program != "kexec_fault":        # it looks for leaks itself, and knows v5.10's
                leaks(machine)
            lockdep(machine)
        return {name: (good, skipped, text) for name, good, skipped in tap.kselftest(text)}, None
    except LabError as error:
        return None, error


def leaks(machine):
    """Fail if the kernel knows of memory that nothing refers to any more."""
    # kmemleak does not report memory that is younger than 5 s, because a pointer to it may still
    # be in a register. A second scan finds leaks that a stale pointer hid from the first.
    found = machine.sh("sleep 6; cd /sys/kernel/debug && echo scan >kmemleak && "
                       "echo scan >kmemleak && cat kmemleak", timeout=5 * PATIENCE)
    if "unreferenced object" in found:
        machine.fail(f"kmemleak: {' '.join(found.split())[:600]}")


def lockdep(machine):
    """Fail if lockdep is off. It switches itself off at its first report."""
    if "debug_locks: 1" not in " ".join(machine.sh("grep debug_locks /proc/lockdep_stats").split()):
        machine.fail("lockdep is off")
