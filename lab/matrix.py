# SPDX-License-Identifier: GPL-2.0-only
"""The machines of lab/machines.cfg and what is done on each: a cell of the matrix is a
machine and a transition. Each cell leaves a JSON file, and the report is made of those."""

import configparser
import contextlib
import dataclasses
import functools
import html
import json
import pathlib
import re
import time

from lab import build, fetch, guest, scenario, tap
from lab.machine import PATIENCE, seconds
from lab.util import LAB, TEST_LOGS, LabError, made_whole

TABLE = LAB / "machines.cfg"
RESULTS = TEST_LOGS.with_name("matrix")
REPORT = TEST_LOGS.with_name("matrix.html")
# Seconds until a kernel answers; one with a lot of memory takes its time.
BOOT = 2 * PATIENCE


def yes_no(text):
    """What a key that is either says."""
    if text not in ("yes", "no"):
        raise LabError(f"{TABLE}: {text} is neither yes nor no")
    return text == "yes"


MACHINE_KEYS = {"cpu": str, "board": str, "memory": int, "smp": int, "nodes": int, "seed": int,
                "start": int, "burst": int, "patience": int, "uefi": yes_no,
                "parallel": yes_no}
KEYS = {"kernel", "flavour", "level", "append", "payload", "before", "after", "crash", "debian",
        "crash_loaded", "transitions", "skip", "known", *MACHINE_KEYS}
REACH = re.compile(r"relocation code 0x0*([0-9a-f]+), .* t0sz (\d+),")


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

    def run(self):
        """Do it; return the figures of the last hand-over."""
        flavour, config = self.kernel
        return TRANSITIONS[self.transition](Bench(
            f"matrix-{self}", self.entry["level"], TEST_LOGS, flavour, int(self.entry["payload"]),
            config, self.entry.get("append", ""),
            {key: int(self.entry[key], 0) if kind is int else kind(self.entry[key])
             for key, kind in MACHINE_KEYS.items() if key in self.entry},
            FILES.get(self.transition, lambda _: {})(self.entry), entry=self.entry))


@functools.cache
def cells():
    """All cells of the table, in its order."""
    table = configparser.ConfigParser(interpolation=None)
    table.read_string(TABLE.read_text(), TABLE.name)
    found = []
    for machine in table.sections():
        entry = dict(table[machine])
        for key in entry.keys() - KEYS:
            raise LabError(f"{TABLE}: {machine} has the unknown key {key}")
        for transition in entry["transitions"].split():
            if transition not in TRANSITIONS:
                raise LabError(f"{TABLE}: {machine} has the unknown transition {transition}")
            found.append(Cell(machine, transition, entry))
    return found


@dataclasses.dataclass
class Bench(scenario.Bench):
    """A scenario's bench that knows its entry of the table."""

    entry: dict = dataclasses.field(default_factory=dict)

    @contextlib.contextmanager
    def booted(self, *args, **options):
        """A machine that has booted and done what the entry says is to be done before."""
        with self.machine(*args, **options) as machine:
            machine.wait_ready(BOOT)
            if yes_no(self.entry.get("crash_loaded", "no")):
                scenario.load(machine, "-s -p", "initramfs.cpio")
            if "before" in self.entry:
                machine.sh(self.entry["before"])
            yield machine

    def kexec(self, machine, how="-s", **what):
        """Hand over; with the series, nothing may have moved with the MMU off."""
        figures = scenario.kexec(machine, how, checks=False, **what)
        if self.flavour == "series":
            scenario.prove_mmu_on(machine, figures, least=self.payload << 20)
        self.check_reach(machine)
        self.check_after(machine)
        return figures

    def check_reach(self, machine):
        """Where the entry says where memory begins, the code page was there, and TTBR0
        spanned it."""
        for address, t0sz in REACH.findall(machine.console()) if "start" in self.entry else ():
            code = int(address, 16)
            if code < int(self.entry["start"], 0) or code >> 64 - int(t0sz):
                machine.fail(f"code page at {code:#x} with T0SZ {t0sz}")

    def check_after(self, machine):
        """Do in the next kernel what the entry says is to be done there."""
        if "after" in self.entry:
            machine.sh(self.entry["after"])


def kexec_file(bench):
    """By the kernel's own loader."""
    with bench.booted() as machine:
        return bench.kexec(machine, "-s")


def kexec_load(bench):
    """By the loader in user space."""
    with bench.booted() as machine:
        return bench.kexec(machine, "-c")


def hibernate(bench):
    """Hibernate in one machine, resume in another."""
    with bench.resumed() as (_, figures):
        return figures


def kdump(bench, part="", **what):
    """Crash, and read the dump from the crash kernel; nothing is relocated on the way."""
    with bench.booted(part, append=bench.entry.get("crash", scenario.CRASH)) as machine:
        figures = scenario.kdump(machine, **what)
        if figures.bursts:
            machine.fail(f"a crash relocated: {figures.bursts}")
        bench.check_after(machine)
    return figures


def chain(bench, check=lambda machine: None):
    """kexec, hibernate, resume, kexec: each leaves the machine fit for the next."""
    def before(machine):
        check(machine)
        bench.kexec(machine, "-s")
        check(machine)

    with bench.resumed(before=before) as (machine, _):
        check(machine)
        figures = bench.kexec(machine, "-c")
        check(machine)
    return figures


def kvm(bench):
    """The chain, and after each step EL2 answers: KVM runs a guest."""
    def check(machine):
        if "kvm 42" not in machine.sh("kvm"):
            machine.fail("KVM did not run its guest")

    return chain(bench, check)


def kunit(bench):
    """The kernel runs the tests that the library has, while it boots."""
    with bench.booted() as machine:
        found = tap.kunit(machine.console())
    suite = [result for result in found if result.name == "trans_pgd"]
    wrong = [result.name for result in found if not (result.ok and result.tried)]
    if not suite or wrong:
        raise LabError(f"KUnit: {', '.join(wrong) or 'no suite has run'} (console log: "
                       f"{machine.log})")
    return scenario.Figures(0)


def kexec100(bench):
    """100 hand-overs in a row."""
    with bench.booted() as machine:
        for _ in range(100):
            figures = bench.kexec(machine)
    return figures


def hibernate25(bench):
    """Hibernated and resumed 25 times in a row."""
    with bench.swap() as swap:
        with bench.booted("-0", scenario.RESUME, drives=[swap]) as machine:
            scenario.remember(machine)
            scenario.hibernate(machine)
        for turn in range(1, 26):
            with bench.machine(f"-{turn}", scenario.RESUME, drives=[swap]) as machine:
                figures = bench.resume(machine)
                if turn < 25:
                    scenario.hibernate(machine)
    return figures


def kdump25(bench):
    """25 crash dumps."""
    return [kdump(bench, f"-{turn}") for turn in range(25)][-1]


def debian_file(bench):
    """To Debian's own kernel, which has to find the payload."""
    with bench.booted() as machine:
        return bench.kexec(machine, "-s", image="debian")


def debian_load(bench):
    """The same by the loader in user space."""
    with bench.booted() as machine:
        return bench.kexec(machine, "-c", image="debian")


def debian_kdump(bench):
    """Debian's own kernel as the crash kernel."""
    return kdump(bench, image="debian")


def installer(bench):
    """To Debian's installer, up to its first screen."""
    with bench.booted() as machine:
        tables = scenario.load(machine, "-s -l", "installer.gz", "installer")
        machine.sh("dmesg -n 8")
        start = time.monotonic()
        machine.send("kexec -e")
        machine.expect("Bye!", what="the old kernel's last word")
        machine.expect("Booting Linux", what="the installer's kernel")
        machine.expect("Select a language", 5 * PATIENCE, "the installer's first screen")
        figures = scenario.Figures(seconds(start), tables, machine.relocations())
        if bench.flavour == "series":
            scenario.prove_mmu_on(machine, figures, least=bench.payload << 20)
    return figures


def relay(bench):
    """From the base to the series to Debian's kernel and back to the series."""
    with bench.booted() as machine:
        scenario.kexec(machine, "-s", image="series")
        figures = scenario.kexec(machine, "-s", image="debian", initrd="carrier.cpio")
        scenario.prove_mmu_on(machine, figures, least=bench.payload << 20)
        # Debian builds it without kexec_file_load.
        machine.sh("kexec -c -l --no-checks /series --initrd=/payload.cpio --reuse-cmdline")
        scenario.hand_over(machine)
        figures = scenario.kexec(machine, "-s", image="series")
        scenario.prove_mmu_on(machine, figures, least=bench.payload << 20)
    return figures


def debian_files(entry):
    """Debian's kernel."""
    return {"debian": fetch.debian_kernel(entry["debian"])}


def installer_files(_):
    """Debian's installer."""
    image, initrd = fetch.installer()
    return {"installer": image, "installer.gz": initrd}


def relay_files(entry):
    """All kernels of the relay. Debian's has no driver for the disk, so it gets what it
    hands over to with its initramfs."""
    series = build.kernel("series", entry["kernel"]) / "arch/arm64/boot/Image"
    payload = guest.payload_initramfs(int(entry["payload"]))
    return debian_files(entry) | {"series": series, "carrier.cpio": guest.carrier(
        "carrier", payload, {"series": series, "payload.cpio": payload})}


FILES = {"debian_file": debian_files, "debian_load": debian_files, "debian_kdump": debian_files,
         "installer": installer_files, "relay": relay_files}
TRANSITIONS = {function.__name__: function for function in
               (kexec_file, kexec_load, hibernate, kdump, chain, kunit, kvm, kexec100, hibernate25,
                kdump25, debian_file, debian_load, debian_kdump, installer, relay)}


def run(cell):
    """Do what a cell says and write down how it went; raise LabError when it fails."""
    start = time.monotonic()
    result = {"machine": cell.machine, "transition": cell.transition, "outcome": "failed",
              "flavour": cell.entry["flavour"], "why": "an error of the lab, see pytest's report"}
    try:
        if "skip" in cell.entry:
            result |= {"outcome": "skipped", "why": cell.entry["skip"]}
            return result
        figures = cell.run()
        if (figures.tables or 0) > scenario.PAGES:
            raise LabError(f"the copy took {figures.tables} pages, more than {scenario.PAGES}")
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
        logs = TEST_LOGS.glob(f"matrix-{cell}[.-]*console.log")
        result["logs"] = sorted(path.name for path in logs
                                if path.stat().st_mtime >= time.time() - result["seconds"] - 1)
        with made_whole(RESULTS / f"{cell}.json") as scratch:
            scratch.write_text(json.dumps(result, indent=1))
    return result


def results():
    """What the cells have left: {(machine, transition): result}, in the table's order."""
    found = {}
    for cell in cells():
        path = RESULTS / f"{cell}.json"
        if path.is_file():
            found[cell.machine, cell.transition] = json.loads(path.read_text())
    return found


def word(result):
    """A cell of the grid in a few letters."""
    if result["outcome"] == "passed":
        tables = result["tables"]
        return f"{result['seconds']:.1f}s" + (f"/{tables}p" if tables is not None else "")
    return {"failed": "FAILED", "skipped": "skip", "known": "known"}[result["outcome"]]


def grid(found):
    """The rows of the grid, the first with its columns' names; machines that do the same
    things stand together in the table, so columns are those that any has."""
    columns = [name for name in TRANSITIONS if any(key[1] == name for key in found)]
    rows = [["", *columns]]
    for machine in dict.fromkeys(key[0] for key in found):
        rows.append([machine, *(found.get((machine, name)) for name in columns)])
    return rows


def text_report(found):
    """The grid, and below it why something did not pass."""
    rows = [[cell if isinstance(cell, str) else word(cell) if cell else "" for cell in row]
            for row in grid(found)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
             for row in rows]
    lines += ["", "seconds that the cell took / pages of the copy of the linear map"]
    lines += [f"{result['outcome']} {machine}-{transition}: {result['why'].splitlines()[0]}"
              for (machine, transition), result in found.items() if result["outcome"] != "passed"]
    return "\n".join(lines)


STYLE = """body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}
th,td{border:1px solid #ccc;padding:.2em .5em;text-align:left;vertical-align:top}
.passed{background:#dfd}.failed{background:#f99}.skipped{background:#eee}.known{background:#fe9}"""


def html_report(found):
    """The same as a page, with each cell's figures and links to its logs."""
    def cell(result):
        if not result:
            return "<td></td>"
        links = " ".join(f'<a href="{pathlib.Path("log", name)}">log</a>'
                         for name in result["logs"])
        figures = [] if result["outcome"] != "passed" else [
            f"{result[key]:,} {what}" for key, what in
            (("tables", "table pages"), ("relocated", "bytes relocated"),
             ("mmu_off", "moved with the MMU off")) if result[key] is not None]
        return (f'<td class="{result["outcome"]}">{result["outcome"]} {result["seconds"]:.1f} s '
                f'{links}<br><small>{html.escape("; ".join(figures) or result["why"])}</small>'
                '</td>')

    head, *rows = grid(found)
    body = "".join(f"<tr><th>{html.escape(row[0])}</th>{''.join(map(cell, row[1:]))}</tr>\n"
                   for row in rows)
    return (f'<!doctype html><meta charset="utf-8"><title>Machines</title><style>{STYLE}</style>'
            f"<h1>Machines and transitions</h1><table><tr>"
            f"{''.join(f'<th>{name}</th>' for name in head)}</tr>\n{body}</table>")


def report():
    """Print the grid and write the page; nothing if no cell has run."""
    found = results()
    if found:
        REPORT.write_text(html_report(found))
        print(f"\n{text_report(found)}\n{REPORT}")
