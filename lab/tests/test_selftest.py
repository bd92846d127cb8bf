# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own tests of what the series does, on a kernel that checks itself:
tools/testing/selftests/arm64/trans_pgd, a result for each of its cases."""

import re

import pytest

from lab import build, scenario, selftest, tap
from lab.machine import Machine
from lab.selftest import MEMORY, PROGRAMS, leaks, lockdep
from lab.util import TEST_LOGS, LabError

MIB = 16                        # of random data: enough, and this kernel is slow
# Why a test of tools/testing/selftests/kexec cannot run on an emulated machine, if it cannot.
KEXEC = {"test_kexec_load.sh": None, "test_kexec_file_load.sh": "pesign not found"}


def grouped(program, *values):
    """Parameters of a test that needs the program's machine: one worker runs them all."""
    return pytest.param(program, *values, marks=pytest.mark.xdist_group(program))


def debug_bench(name):
    """A bench whose machines run the kernel that checks itself, and hand over to it."""
    return scenario.Bench(name, "el1", TEST_LOGS, payload=MIB, config="debug")


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
    """The program has run the cases that its source has, in full, and no other."""
    assert sorted(results(program)) == sorted(selftest.cases(program))


@pytest.mark.parametrize("script", KEXEC)
def test_kernels_own(script):
    """tools/testing/selftests/kexec, which v5.10 has for x86 only, on arm64."""
    bench = debug_bench(f"selftest-{script}")
    with Machine(f"selftest-{script}", "el1", bench.kernel, bench.initrd, TEST_LOGS, memory=MEMORY,
                 images=[bench.image, selftest.disk()]) as machine:
        machine.wait_ready()
        scenario.mount(machine)
        # In v5.10 efi_vars is declared and never set, and without it both tests skip on every
        # machine but those with secure boot: it is set to where nothing is.
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


def test_handover(bench):
    """kexec_handover's numbers arrive, and the next kernel's own init goes on after it."""
    bench.image = selftest.handover_disk(bench)
    with bench.booted() as machine:
        scenario.mount(machine)
        machine.sh("dmesg -n 8")
        machine.send("/mnt/kexec_handover /mnt/Image /mnt/initramfs.cpio "
                     f"\"$(cat /proc/cmdline)\" {MIB}")
        machine.expect("Bye!", what="the old kernel's last word")
        machine.expect(r"TAP version 13\r", what="kexec_handover in the new kernel")
        machine.expect(r"Totals: ", what="its end")
        said = tap.kselftest("\n".join(machine.child.before.replace("\r", "").splitlines()))
        assert [(name, good) for name, good, _ in said] == [("command_line", True),
                                                            ("numbers", True)]
        machine.wait_ready()
        assert "kexec_handover: PASSED" in machine.sh("dmesg")
        bursts = machine.relocations()
        scenario.prove_mmu_on(machine, scenario.Figures(0, bursts=bursts), least=MIB << 20)


def test_skips(el1_bench):
    """With an image loaded, which the tests would lose, each program skips, says why and
    ends with 4, as one whose cases were all skipped must; the image stays."""
    with Machine("selftest-skips", "el1", el1_bench.kernel, el1_bench.initrd, TEST_LOGS,
                 memory=scenario.MEMORY, images=[el1_bench.image, selftest.disk()]) as machine:
        machine.wait_ready()
        scenario.load(machine, "-s -l")
        machine.sh("mkdir /tmp/disk; mount -t ext2 -o ro /dev/vdb /tmp/disk")
        for program in PROGRAMS:
            said = machine.sh(f"/tmp/disk/{program}; [ $? = 4 ]")
            assert "1..0 # SKIP an image is loaded" in said, said
        assert machine.number("cat /sys/kernel/kexec_loaded") == 1


def test_debug_kexec():
    """On the kernel that checks itself: loads and unloads lose nothing, and it hands over."""
    bench = debug_bench("debug-kexec")
    with bench.booted() as machine:
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
    bench = debug_bench("debug-hibernate")
    with bench.resumed() as (machine, _):
        leaks(machine)
        lockdep(machine)
        scenario.prove_mmu_on(machine, scenario.kexec(machine), least=MIB << 20)


def test_leaks_finds_one():
    """The check for leaks can fail: it finds the one that v5.10 itself has."""
    bench = debug_bench("debug-leak")
    with bench.booted(append=scenario.CRASH) as machine:
        scenario.mount(machine)
        # There is no room for an initrd larger than the crash kernel's memory, and at each
        # place that is tried for the kernel the ELF headers of the last are forgotten.
        machine.sh("dd if=/dev/zero of=/tmp/large bs=1M count=130")
        machine.sh("! kexec -s -p /mnt/Image --initrd=/tmp/large --reuse-cmdline")
        with pytest.raises(LabError, match="kmemleak: .*unreferenced object"):
            leaks(machine)
