# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own tests of what the series does, on a kernel that checks itself:
tools/testing/selftests/arm64/trans_pgd, a result for each of its cases."""

import re

import pytest

from lab import build, scenario, selftest, tap
from lab.board import Board
from lab.console import printed, printed_line
from lab.selftest import MEMORY, PROGRAMS, leaks, lockdep
from lab.here import TEST_LOGS
from lab.util import LabError

MIB = 16                        # of random data: enough, and this kernel is slow
# Why a test of tools/testing/selftests/kexec cannot run on an emulated machine, if it cannot.
KEXEC = {"test_kexec_load.sh": None, "test_kexec_file_load.sh": "pesign not found"}
# Names in /proc/iomem, from the outermost in: of memory that drivers map and the kernel
# does not call "System RAM" at the top level; of a device.
MAPPED = [
    ("Persistent Memory", "namespace0.0"), ("Persistent Memory (legacy)",),
    ("Soft Reserved",), ("Soft Reserved", "dax0.0", "dax0.0", "System RAM (kmem)"),
    ("CXL Window 0", "region0", "dax1.0", "System RAM (kmem)"), ("region1", "dax2.0"),
    ("virtio0", "System RAM (virtio_mem)"), ("PCI Bus 0000:00", "0000:00:01.0", "System RAM"),
]
DEVICE = ("PCI Bus 0000:00", "0000:00:01.0", "nvme")


def grouped(program, *values):
    """Parameters of a test that needs the program's machine: one worker runs them all."""
    return pytest.param(program, *values, marks=pytest.mark.xdist_group(program))


def debug_rig(name):
    """A rig whose machines run the kernel that checks itself, and hand over to it."""
    return scenario.Rig(name, Board(), TEST_LOGS, payload=MIB, config="debug")


def results(program):
    """What the program's cases came to."""
    kernel = build.kernel("series", "debug") / "arch/arm64/boot/Image"
    found, error = selftest.outcome(program, kernel, TEST_LOGS)
    if error:
        raise error
    return found


@pytest.mark.parametrize("program, case", [grouped(program, case) for program in PROGRAMS
                                           for case in selftest.cases(program)])
def test_case(program, case):
    """A case of a program is there, and it is ok."""
    found = results(program)
    assert case in found, f"{program} has not run {case}"
    good, skipped, text = found[case]
    # This kernel and machine have all that the cases ask for, and time.
    assert not skipped and "time is up" not in text, skipped or text
    said = text.partition(f" {case} ...")[2].partition(" RUN ")[0]
    assert good, f"{case} (console log: {TEST_LOGS}/selftest-{program}.console.log): {said}"


@pytest.mark.parametrize("program", [grouped(program) for program in PROGRAMS])
def test_no_other_case(program):
    """The program has run every case of its source, and no other."""
    assert sorted(results(program)) == sorted(selftest.cases(program))


@pytest.mark.parametrize("script", KEXEC)
def test_kernels_own(script):
    """tools/testing/selftests/kexec, which v5.10 has for x86 only, on arm64."""
    rig = debug_rig(f"selftest-{script}")
    with selftest.with_programs(f"selftest-{script}", rig, TEST_LOGS, MEMORY) as machine:
        machine.wait_ready()
        scenario.mount(machine)
        # v5.10 declares efi_vars and never sets it. Without it both tests skip on every machine
        # without secure boot. So it is set here, to a place where nothing is.
        text = machine.sh("mkdir -p /boot /tmp/vars /tmp/disk /tmp/kexec; "
                          "ln -s /mnt/Image /boot/vmlinuz-$(uname -r); "
                          "mount -t ext2 -o ro /dev/vdb /tmp/disk; "
                          "cp /tmp/disk/kexec/* /tmp/kexec; "
                          "cd /tmp/kexec; "
                          "sed -i 's,local efi_vars$,&; efi_vars=/tmp/vars,' kexec_common_lib.sh; "
                          f"sh ./{script}; echo RESULT $?")
        lockdep(machine)
    result = int(re.search(r"^RESULT (\d+)$", text, re.M)[1])
    if result == 4 and KEXEC[script] and KEXEC[script] in text:
        pytest.skip(KEXEC[script])
    assert result == 0, text


def test_handover(rig):
    """kexec_handover's numbers arrive, and the next kernel's own init goes on after it."""
    rig.disk = selftest.handover_disk(rig)
    with rig.booted() as machine:
        scenario.mount(machine)
        machine.sh("dmesg -n 8")
        machine.send("/mnt/kexec_handover /mnt/Image /mnt/initramfs.cpio "
                     f"\"$(cat /proc/cmdline)\" {MIB}")
        machine.expect("Bye!", what="the old kernel's last word")
        machine.expect(printed_line("TAP version 13"), what="kexec_handover in the new kernel")
        machine.expect(printed("Totals: "), what="its end")
        said = tap.kselftest("\n".join(machine.child.before.replace("\r", "").splitlines()))
        assert [(name, good) for name, good, _ in said] == [("command_line", True),
                                                            ("numbers", True)]
        machine.wait_ready()
        assert "kexec_handover: PASSED" in machine.sh("dmesg")
        bursts = machine.relocations()
        scenario.prove_mmu_on(machine, scenario.Figures(0, bursts=bursts), least=MIB << 20)


def test_memory_of_drivers(el1_rig):
    """Drivers give other names in /proc/iomem to memory that they map. The last part of memory has
    such names here. No case takes it for a hole, because images can be loaded there. With the
    names of a device, a case does."""
    with selftest.with_programs("selftest-iomem", el1_rig, TEST_LOGS, MEMORY) as machine:
        machine.wait_ready()
        machine.sh("mkdir /tmp/disk; mount -t ext2 -o ro /dev/vdb /tmp/disk")
        table = machine.answer("cat /proc/iomem")
        start, end = (int(address, 16) for address in
                      re.search("^(.*)-(.*) : System RAM$", table, re.M).groups())
        middle = end + 1 - MIB * (1 << 20)
        for names in [*MAPPED, DEVICE]:
            told = table.replace(f"{end:x} : System RAM", f"{middle - 1:x} : System RAM")
            for depth, name in enumerate(names):
                told += f"{'  ' * depth}{middle:08x}-{end:08x} : {name}\n"
            machine.sh(f"cat >/tmp/iomem <<END\n{told}END\nmount --bind /tmp/iomem /proc/iomem")
            for program in ("kexec_load", "kexec_fuzz"):
                said = machine.sh("export KEXEC_FUZZ_SEED=1 KEXEC_FUZZ_ROUNDS=500; "
                                  f"/tmp/disk/{program} >/tmp/tap 2>&1; status=$?; "
                                  "cat /tmp/tap; echo STATUS $status")
                wrong = re.findall(r"^not ok .*", said, re.M)
                assert bool(wrong) == (names == DEVICE), (names, program, wrong)
                assert f"STATUS {int(bool(wrong))}" in said
            machine.sh("umount /proc/iomem")


def test_debug_kexec():
    """On the kernel that checks itself: loads and unloads lose nothing, and it hands over."""
    rig = debug_rig("debug-kexec")
    with rig.booted() as machine:
        for options in ("-s -l", "-s -u", "-c -l", "-c -u", "-s -l"):
            if options.endswith("-l"):
                scenario.load(machine, options)
            else:
                machine.sh(f"kexec {options}")
        leaks(machine)
        lockdep(machine)
        scenario.prove_mmu_on(machine, scenario.hand_over(machine), least=MIB << 20)


def test_debug_hibernate():
    """The same for hibernation, the kernel that is resumed, and a kexec from there."""
    rig = debug_rig("debug-hibernate")
    with rig.resumed() as (machine, _):
        leaks(machine)
        lockdep(machine)
        scenario.prove_mmu_on(machine, scenario.kexec(machine), least=MIB << 20)


def test_leaks_finds_one():
    """The check for leaks can fail: it finds the one that v5.10 itself has."""
    rig = debug_rig("debug-leak")
    with rig.booted(append=scenario.CRASH) as machine:
        scenario.mount(machine)
        # The initrd is larger than the crash kernel's memory, so there is no room for it. v5.10
        # tries several places for the kernel, and at each it loses the ELF headers of the last.
        machine.sh("dd if=/dev/zero of=/tmp/large bs=1M count=130")
        machine.sh("! kexec -s -p /mnt/Image --initrd=/tmp/large --reuse-cmdline")
        with pytest.raises(LabError, match="kmemleak: .*unreferenced object"):
            leaks(machine)
