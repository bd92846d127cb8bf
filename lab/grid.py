# SPDX-License-Identifier: GPL-2.0-only
"""The results of the matrix: a file for each cell, the table that the terminal shows, and the
page that a browser shows, see lab/page."""

import dataclasses
import json
import time

from lab import page
from lab.here import BASE, TEST_LOGS
from lab.util import BUILD, MUTANT, locked, made_whole

RESULTS = TEST_LOGS.with_name("matrix")
REPORT = BUILD / "matrix.html"  # of all bases


@dataclasses.dataclass
class Result:
    """The result of a cell. A figure that is None is unknown."""

    machine: str
    transition: str
    kernel: str
    base: str = BASE.name
    level: str = ""
    config: str = ""
    outcome: str = "failed"     # or "passed", "skipped", "known"
    why: str = "an error of the lab, see pytest's report"
    seconds: float = 0.0        # that the whole cell took
    logs: list = dataclasses.field(default_factory=list)        # names of the consoles
    handover: float | None = None       # see scenario.Figures for this and what follows
    tables: int | None = None
    relocated: int | None = None
    mmu_off: int | None = None

    def __str__(self):
        return f"{self.machine}-{self.transition}"

    @property
    def word(self):
        """The result in a few letters, for the terminal."""
        if self.outcome == "passed":
            return f"{self.seconds:.1f}s" + (f"/{self.tables}p" if self.tables is not None else "")
        return {"failed": "FAILED", "skipped": "skip", "known": "known"}[self.outcome]

    def write(self):
        """Write it to its file, for the reports."""
        with made_whole(RESULTS / f"{self}.json") as scratch:
            scratch.write_text(json.dumps(dataclasses.asdict(self), indent=1))


def folder_of(base):
    """The folder of the results of a base."""
    return RESULTS if base == BASE.name else BUILD / base / "test" / RESULTS.name


def results(cells, base=BASE.name):
    """The results that these cells of a base have written, in the order of the cells."""
    paths = [folder_of(base) / f"{cell}.json" for cell in cells]
    return [Result(**json.loads(path.read_text()) | {"base": base})
            for path in paths if path.is_file()]


def when(folder):
    """The time of the last result in a folder, as text."""
    last = max(path.stat().st_mtime for path in folder.iterdir())
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(last))


def grid(found, transitions):
    """The rows of the table: a head, and a row for each machine. There is one column for each
    transition that ran, in the order of `transitions`."""
    columns = [name for name in transitions if any(result.transition == name for result in found)]
    places = {(result.machine, result.transition): result for result in found}
    return [["", *columns], *([machine, *(places.get((machine, name)) for name in columns)]
                              for machine in dict.fromkeys(result.machine for result in found))]


def text_report(found, transitions):
    """The table for the terminal. Below it are the reasons of what did not pass."""
    rows = [[cell if isinstance(cell, str) else cell.word if cell else "" for cell in row]
            for row in grid(found, transitions)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in rows]
    text += ["", "seconds that the cell took / pages of the copy of the linear map"]
    text += [f"{result.outcome} {result}: {result.why.splitlines()[0]}"
             for result in found if result.outcome != "passed"]
    return "\n".join(text)


def report(cells, transitions):
    """Print the table of this base, and write the page of all bases; nothing if no cell of this
    base has run. cells: {base: its cells}"""
    own = results(cells[BASE.name])
    if not own:
        return
    print(f"\n{text_report(own, transitions)}")
    if MUTANT:                  # its results are not the series'
        return
    found = {base: results(some, base) for base, some in cells.items()}
    times = {base: when(folder_of(base)) for base, some in found.items() if some}
    with locked(REPORT.name), made_whole(REPORT) as scratch:
        scratch.write_text(page.document(sum(found.values(), []), transitions, times))
    print(REPORT)
