# SPDX-License-Identifier: GPL-2.0-only
"""The machines of lab/machines.cfg and what is done on each: a cell of the matrix is a
machine and a transition. Each cell leaves a JSON file, and the report is made of those."""

import configparser
import dataclasses
import functools
import json
import time

from lab import scenario
from lab.machine import PATIENCE, seconds
from lab.util import BUILD, LAB, LabError, made_whole

TABLE = LAB / "machines.cfg"
LOGS = BUILD / "test/log"
RESULTS = BUILD / "test/matrix"
REPORT = BUILD / "test/matrix.html"
BUFFER = 16                     # MiB of random memory to hibernate with
# Seconds until a kernel answers; one with a lot of memory takes its time.
BOOT = 5 * PATIENCE


@dataclasses.dataclass(frozen=True)
class Cell:
    """One machine doing one thing."""

    machine: str
    transition: str
    entry: dict = dataclasses.field(hash=False, compare=False)

    def __str__(self):
        return f"{self.machine}-{self.transition}"

    @property
    def kernel(self):
        """(flavour, configuration), as build.kernel() takes it."""
        return self.entry["flavour"], self.entry["kernel"]

    def bench(self):
        """The bench of the machine."""
        entry = self.entry
        options = {key: entry[key] for key in ("cpu", "board") if key in entry}
        options |= {key: int(entry[key], 0)
                    for key in ("memory", "smp", "nodes", "seed", "start") if key in entry}
        if "uefi" in entry:
            options["uefi"] = True
        flavour, config = self.kernel
        return scenario.Bench(f"matrix-{self}", entry["level"], LOGS, flavour,
                              int(entry["payload"]), config, entry.get("append", ""), options)


@functools.cache
def cells():
    """All cells of the table, in its order."""
    table = configparser.ConfigParser(interpolation=None)
    table.read_string(TABLE.read_text(), TABLE.name)
    known = set(table.defaults()) | KEYS
    found = []
    for machine in table.sections():
        entry = dict(table[machine])
        for key in set(entry) - known:
            raise LabError(f"{TABLE}: {machine} has the unknown key {key}")
        for transition in entry["transitions"].split():
            if transition not in TRANSITIONS:
                raise LabError(f"{TABLE}: {machine} has the unknown transition {transition}")
            found.append(Cell(machine, transition, entry))
    return found


KEYS = {"kernel", "flavour", "level", "cpu", "board", "memory", "start", "nodes", "smp", "uefi",
        "seed", "append", "payload", "transitions", "skip", "known"}


def kexec_once(bench, how):
    """Load, hand over, and find the payload as it was."""
    with bench.machine() as machine:
        machine.wait_ready(BOOT)
        figures = scenario.kexec(machine, how, checks=False)
        prove_kexec(bench, machine, figures)
    return figures


def prove_kexec(bench, machine, figures):
    """On a kernel with the series, nothing may have moved with the MMU off."""
    if bench.flavour == "series":
        scenario.prove_mmu_on(machine, figures, least=bench.payload << 20)


def kexec_file(bench):
    """By the kernel's own loader."""
    return kexec_once(bench, "-s")


def kexec_load(bench):
    """By the loader in user space."""
    return kexec_once(bench, "-c")


def resume(bench, machine):
    """Resume with what was remembered whole, and the MMU on."""
    figures = scenario.resume(machine)
    # How much memory is in the way, and so has to be relocated, is left to chance.
    if bench.flavour == "series" and figures.bursts:
        scenario.prove_mmu_on(machine, figures, least=0)
    scenario.check_remembered(machine)
    return figures


def hibernate(bench):
    """Hibernate in one machine, resume in another."""
    with bench.swap() as swap:
        with bench.machine("-1", scenario.RESUME, drives=[swap]) as machine:
            machine.wait_ready(BOOT)
            scenario.remember(machine, BUFFER)
            scenario.hibernate(machine)
        with bench.machine("-2", scenario.RESUME, drives=[swap]) as machine:
            return resume(bench, machine)


def kdump(bench):
    """Crash, and read the dump from the crash kernel; nothing is relocated on the way."""
    with bench.machine(append=scenario.CRASH) as machine:
        machine.wait_ready(BOOT)
        figures = scenario.kdump(machine)
        if figures.bursts:
            machine.fail(f"a crash relocated: {figures.bursts}")
    return figures


def chain(bench):
    """kexec, hibernate, resume, kexec: each leaves the machine fit for the next."""
    with bench.swap() as swap:
        with bench.machine("-1", scenario.RESUME, drives=[swap]) as machine:
            machine.wait_ready(BOOT)
            prove_kexec(bench, machine, scenario.kexec(machine, "-s"))
            scenario.remember(machine, BUFFER)
            scenario.hibernate(machine)
        with bench.machine("-2", scenario.RESUME, drives=[swap]) as machine:
            resume(bench, machine)
            figures = scenario.kexec(machine, "-c", checks=False)
            prove_kexec(bench, machine, figures)
    return figures


TRANSITIONS = {function.__name__: function for function in
               (kexec_file, kexec_load, hibernate, kdump, chain)}


def run(cell):
    """Do what a cell says and write down how it went; raise LabError when it fails."""
    start = time.monotonic()
    result = {"machine": cell.machine, "transition": cell.transition, "outcome": "failed",
              "flavour": cell.entry["flavour"], "why": "an error of the lab, see pytest's report"}
    try:
        if "skip" in cell.entry:
            result |= {"outcome": "skipped", "why": cell.entry["skip"]}
            return result
        figures = TRANSITIONS[cell.transition](cell.bench())
        result |= {"outcome": "passed", "why": "", "handover": figures.seconds,
                   "tables": figures.tables, "relocated": figures.relocated,
                   "mmu_off": figures.mmu_off}
    except LabError as error:
        result["why"] = str(error)
        if "known" not in cell.entry:
            raise
        result |= {"outcome": "known", "why": f"{cell.entry['known']}: {error}"}
    finally:
        result["seconds"] = seconds(start)
        result["logs"] = sorted(path.name for path in LOGS.glob(f"matrix-{cell}[.-]*console.log"))
        with made_whole(RESULTS / f"{cell}.json") as scratch:
            scratch.write_text(json.dumps(result, indent=1))
    return result
