# SPDX-License-Identifier: GPL-2.0-only
"""`make run`: watch a kernel with the series hand over in every way that it can.

LEVEL= chooses how the kernel is started: el1 (the default; on an arm64 host with
KVM, kvm), nvhe or vhe.
"""

import os
import time

from lab import build, fetch, guest, host, scenario
from lab.machine import LEVELS, kvm_works, seconds
from lab.util import BUILD, LabError, main, say

HEAD = f"{'':16} {'':6} {'relocated':>12} {'MMU off':>12} {'tables':>8} {'handover':>9} {'all':>7}"
UNITS = f"{'':16} {'':6} {'bytes':>12} {'bytes':>12} {'pages':>8} {'s':>9} {'s':>7}"


def kexec_file_load(bench):
    """kexec by the kernel's own loader."""
    with bench.machine() as machine:
        machine.wait_ready()
        say("  first kernel is up; loading the second and handing over")
        figures = scenario.kexec(machine, "-s")
        say(f"  second kernel is up, its {scenario.PAYLOAD} MiB of random data are whole")
    return figures


def kexec_load(bench):
    """kexec by the loader in user space."""
    with bench.machine() as machine:
        machine.wait_ready()
        say("  first kernel is up; loading the second (unchecked: user space's purgatory "
            "would hash for 25 s) and handing over")
        figures = scenario.kexec(machine, "-c", checks=False)
        say(f"  second kernel is up, its {scenario.PAYLOAD} MiB of random data are whole")
    return figures


def hibernate(bench):
    """Hibernate in one machine, resume in another."""
    with bench.swap() as swap:
        with bench.machine("-1", scenario.RESUME, [swap]) as machine:
            machine.wait_ready()
            scenario.remember(machine)
            say(f"  first machine is up, holds {scenario.BUFFER} MiB of random data and runs "
                "a process; hibernating")
            scenario.hibernate(machine)
        with bench.machine("-2", scenario.RESUME, [swap]) as machine:
            say("  first machine is off; resuming in a second one")
            figures = scenario.resume(machine)
            scenario.check_remembered(machine)
            say("  resumed: the data are whole and the process goes on")
    return figures


def kdump(bench):
    """Crash, and dump core from the crash kernel."""
    with bench.machine(append=scenario.CRASH) as machine:
        machine.wait_ready()
        say("  first kernel is up; loading a crash kernel and crashing")
        figures = scenario.kdump(machine, "-s")
        say("  crash kernel is up, its dump reads back with the marker in it")
    return figures


def row(name, verdict, figures, took):
    """The result line."""
    tables = "-" if figures.tables is None else figures.tables
    relocated = "-" if figures.relocated is None else figures.relocated
    mmu_off = "-" if figures.mmu_off is None else figures.mmu_off
    return (f"{name:16} {verdict:6} {relocated:>12} {mmu_off:>12} {tables:>8} "
            f"{figures.seconds:>9.2f} {took:>7.1f}")


def command(_):
    """make run"""
    level = os.environ.get("LEVEL") or ("kvm" if kvm_works() else "el1")
    if level not in LEVELS:
        raise LabError(f"no LEVEL is called {level}: el1, nvhe or vhe")
    host.ensure()
    fetch.plugin_header()
    build.kernel("series")
    guest.payload_initramfs(scenario.PAYLOAD)
    lines, failed = [], 0
    for step in (kexec_file_load, kexec_load, hibernate, kdump):
        name = step.__name__
        say(f"{name} at {level}")
        started = time.monotonic()
        try:
            figures = step(scenario.Bench(name, level, BUILD / "run/log"))
            if step in (kexec_file_load, kexec_load):
                scenario.prove_mmu_on(figures)
            lines.append(row(name, "passed", figures, seconds(started)))
        except LabError as error:
            failed += 1
            lines.append(f"{name:16} failed {error}")
        print("\n".join([HEAD, UNITS, lines[-1]]), flush=True)
    print("\n".join(["", HEAD, UNITS, *lines, "",
                     f"{len(lines) - failed} passed, {failed} failed"]), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    main(command)
