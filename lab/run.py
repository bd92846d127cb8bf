# SPDX-License-Identifier: GPL-2.0-only
"""`make run`: watch a kernel with the series hand over in every way that it can.

LEVEL= chooses how the kernel is started: el1 (the default; on an arm64 host with
KVM, kvm), nvhe or vhe. KERNEL=base does the same without the series. The seconds of a
result are those of the hand-over: from the last command to the old kernel, or the start of
the resuming machine, to user space.
"""

import os

from lab import build, guest, scenario
from lab.machine import LEVELS, kvm_works
from lab.util import BUILD, LabError, main, say

BUFFER = 64                     # MiB of random data in memory, to hibernate with


def kexec(bench, *options):
    """kexec by either system call; options are those of scenario.kexec()."""
    with bench.booted() as machine:
        say("  first kernel is up; loading the second and handing over")
        figures = scenario.kexec(machine, *options)
        if bench.flavour == "series":
            scenario.prove_mmu_on(machine, figures)
        say(f"  second kernel is up, its {scenario.PAYLOAD} MiB of random data are whole")
    return figures


def kexec_file_load(bench):
    """kexec by the kernel's own loader."""
    return kexec(bench, "-s")


def kexec_load(bench):
    """kexec by the loader in user space, without the 25 s that its purgatory hashes."""
    return kexec(bench, "-c", False)


def hibernate(bench):
    """Hibernate in one machine, resume in another."""
    def before(_):
        say(f"  first machine is up; it gets {BUFFER} MiB of random data and a process, "
            "and hibernates; a second one resumes")

    with bench.resumed(mib=BUFFER, before=before) as (_, figures):
        say("  resumed: the data are whole and the process goes on")
    return figures


def kdump(bench):
    """Crash, and dump core from the crash kernel."""
    with bench.booted(append=scenario.CRASH) as machine:
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
    level = os.environ.get("LEVEL") or ("kvm" if kvm_works() else "el1")
    if level not in LEVELS:
        raise LabError(f"no LEVEL is called {level}: el1, nvhe or vhe")
    flavour = os.environ.get("KERNEL") or "series"
    if flavour not in ("series", "base"):
        raise LabError(f"no KERNEL is called {flavour}: series or base")
    build.kernel(flavour)
    build.plugin()
    guest.payload_initramfs(scenario.PAYLOAD)
    results = []
    for step in (kexec_file_load, kexec_load, hibernate, kdump):
        name = step.__name__
        say(f"{name} at {level}, {flavour} kernel")
        try:
            bench = scenario.Bench(f"{name}-{level}-{flavour}", level, BUILD / "run/log", flavour)
            results.append(result(name, step(bench)))
        except LabError as error:
            results.append(f"FAILED {name:16} {error}")
        say(results[-1])
    failed = sum(line.startswith("FAILED") for line in results)
    print("\n".join(["", *results, "", f"{len(results) - failed} passed, {failed} failed"]),
          flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    main(command)
