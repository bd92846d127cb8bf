# SPDX-License-Identifier: GPL-2.0-only
"""`make run`: watch a kernel with the series hand over in every way that it can.

LEVEL= chooses how the kernel is started: el1 (the default; on an arm64 host with
KVM, kvm), nvhe or vhe. KERNEL=base does the same without the series. The seconds of a result are
those of the hand-over. They begin at the last command to the old kernel, or at the start of the
machine that resumes, and end at user space.
"""

from lab import scenario, tree
from lab.board import Board, kvm_works
from lab.here import BASE, HERE
from lab.options import option
from lab.util import LabError, main, say

BUFFER = 64                     # MiB of random data in memory, to hibernate with


def kexec(rig, *options):
    """kexec by either system call; options are those of scenario.kexec()."""
    with rig.booted() as machine:
        say("  first kernel is up; loading the second and handing over")
        figures = scenario.kexec(machine, *options)
        if rig.mmu_on:
            scenario.prove_mmu_on(machine, figures)
        say(f"  second kernel is up, its {scenario.PAYLOAD} MiB of random data are whole")
    return figures


def kexec_file_load(rig):
    """kexec by the kernel's own loader."""
    return kexec(rig, "-s")


def kexec_load(rig):
    """kexec by the loader in user space, without the 25 s that its purgatory hashes."""
    return kexec(rig, "-c", False)


def hibernate(rig):
    """Hibernate in one machine, resume in another."""
    def before(_):
        say(f"  first machine is up; it gets {BUFFER} MiB of random data and a process, "
            "and hibernates; a second one resumes")

    with rig.resumed(mib=BUFFER, before=before) as (_, figures):
        say("  resumed: the data are whole and the process goes on")
    return figures


def kdump(rig):
    """Crash, and dump core from the crash kernel."""
    with rig.booted(append=scenario.CRASH) as machine:
        say("  first kernel is up; loading a crash kernel and crashing")
        figures = scenario.kdump(machine, "-s")
        say("  crash kernel is up, its dump reads back with the marker in it")
    return figures


def figure(number):
    """A number for the result line."""
    return "-" if number is None else f"{number:,}"


def result(name, figures):
    """The result line of a scenario that went well."""
    return (f"passed {name:16}{figure(figures.relocated):>12} bytes relocated,"
            f"{figure(figures.mmu_off):>12} moved with the MMU off,"
            f"{figure(figures.tables):>5} table pages,{figures.seconds:6.2f} s")


def command(_):
    """make run"""
    level = option("LEVEL") or ("kvm" if kvm_works() else "el1")
    if level == "kvm" and not kvm_works():
        raise LabError("LEVEL=kvm takes an arm64 host with a /dev/kvm that you may use; el1, nvhe "
                       "and vhe are emulated and run anywhere")
    kernel = option("KERNEL", "series")
    if kernel == "series" and not tree.SERIES.patches():
        raise LabError(f"there is no series for {BASE.name} yet: make run BASE={BASE.name} "
                       "KERNEL=base")
    scenario.prepare([(kernel, "small")])
    results = []
    for step in (kexec_file_load, kexec_load, hibernate, kdump):
        name = step.__name__
        say(f"{name} at {level}, {kernel} kernel")
        try:
            rig = scenario.Rig(f"{name}-{level}-{kernel}", Board(level), HERE / "run/log",
                               kernel)
            results.append(result(name, step(rig)))
        except LabError as error:
            results.append(f"FAILED {name:16} {error}")
        say(results[-1])
    failed = sum(line.startswith("FAILED") for line in results)
    print("\n".join(["", *results, "", f"{len(results) - failed} passed, {failed} failed"]),
          flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    main(command)
