# SPDX-License-Identifier: GPL-2.0-only
"""A mistake in a table of machines is named with its line, when the table is read. What a known
failure has to look like. The report on the terminal. Nothing is built or started."""

import pytest

from lab import grid, matrix, scenario, table
from lab.board import Board
from lab.grid import Result
from lab.util import LabError

TRANSITIONS = ("kexec_file", "kdump")
GOOD = """# a comment: of one line
[DEFAULT]
config = small
kernel = series
payload = 8
transitions = kexec_file kdump
bases = v5.10
[one]
level = vhe
board = mte=on
start = 0x80000000
psci = 0.1
[two]
uefi = yes
known = the tables stay live
fails = ^no user space
    event 0x10
transitions = kdump
"""
# (instead of a line of GOOD, number of the line that is named, what is said of it)
WRONG = [
    ("level = vhee", 9, r"level = vhee is none of el1, nvhe, vhe"),
    ("level = vhe\ntransitions = kexec_file kexec", 10, "has kexec, which is none of kexec_file"),
    ("level = vhe\ntransitions = kdump kdump", 10, "a word twice"),
    ("level = vhe\nmemory = x", 10, "memory = x is no number"),
    ("level = vhe\n\n# more\nmemory = -1", 12, "memory = -1 is no number"),
    ("burst = 0x8000k", 9, "burst = 0x8000k is no number"),
    ("soak = true", 9, "soak = true is neither yes nor no"),
    ("parallel = 1", 9, "parallel = 1 is neither yes nor no"),
    ("levle = vhe", 9, "levle: no key is called so"),
    ("kind = raspi", 9, "kind = raspi is none of virt"),
    ("psci = 0.2", 9, "psci = 0.2 is none of 0.1, none"),
    ("kernel = plain", 9, "kernel = plain is none of series, base"),
    ("bases = v5.11", 9, "bases = v5.11 has v5.11, which is none of v5.10, v6.12, v7.3"),
    ("skip.v7.2 = why", 9, "skip.v7.2: no key is called so"),
    ("fails = (", 9, r"fails = \( is no regular expression"),
    ("before =", 9, "before says nothing"),
    # What no line alone says is named with the line where the row begins.
    ("known = why", 8, "go together"), ("fails = ^no", 8, "go together"),
    ("known.v7.3 = why", 8, "go together"),
    ("nodes = 5", 8, "evenly"), ("slots = 2", 8, "slots take uefi"),
]


def read(text, base="v5.10"):
    """The rows of a table that a base has."""
    return table.read(text, TRANSITIONS, base, "t.cfg")


def test_good():
    """Each value has its type, the board's and the row's; what a row does not say is DEFAULT's."""
    one, two = read(GOOD)
    assert one.board == Board("vhe", options="mte=on", start=1 << 31, psci="0.1")
    assert (one.name, one.config, one.payload, one.transitions) == ("one", "small", 8, TRANSITIONS)
    assert two.transitions == ("kdump",) and two.board == Board(uefi=True)
    assert len(two.fails) == 2 and not one.fails


def test_bases():
    """A base has the rows that name it, with what is known or skipped there."""
    text = GOOD.replace("level = vhe", "bases = v5.10 v7.3\nskip = all\nskip.v7.3 = that one")
    assert [(row.name, row.skip) for row in read(text)] == [("one", "all"), ("two", None)]
    assert [(row.name, row.skip) for row in read(text, "v7.3")] == [("one", "that one")]
    assert not read(text, "v6.12")


@pytest.mark.parametrize("wrong, line, words", WRONG, ids=range(len(WRONG)))
def test_wrong(wrong, line, words):
    """Each mistake is named with its line and what would be right."""
    with pytest.raises(LabError, match=rf"^t.cfg:{line}: \[one\].*{words}"):
        read(GOOD.replace("level = vhe", wrong).replace("start = 0x80000000\npsci = 0.1\n", ""))


def test_wrong_default():
    """A mistake that all rows take over is named with its own line."""
    with pytest.raises(LabError, match=r"^t.cfg:5: \[one\] payload = much is no number"):
        read(GOOD.replace("payload = 8", "payload = much"))


def test_missing():
    """What every row has to say."""
    with pytest.raises(LabError, match=r"^t.cfg:7: \[one\] does not say kernel"):
        read(GOOD.replace("kernel = series\n", ""))


def test_twice():
    """A key and a machine stand in the table once."""
    for text in (GOOD.replace("level = vhe", "level = vhe\nlevel = vhe"), GOOD + "[one]\n"):
        with pytest.raises(LabError, match=r"t.cfg.*\[line +\d+\].*already exists"):
            read(text)


def test_knows():
    """A failure is the known one only if its error matches, and the text of the consoles too."""
    _, two = read(GOOD)
    end = " (console log: /no user space.log)"
    assert two.knows("no user space within 15 s" + end, ["good", "[ 1.0] event 0x10 received"])
    for why, said in (("no user space within 15 s" + end, ["event 0x11 received"]),
                      ("unpacking: the disk is full", ["event 0x10 received"]),
                      ("the disk is full" + end, ["event 0x10 received"])):
        assert not two.knows(why, said)
    assert not read(GOOD)[0].knows("no user space within 15 s", [])
    # The name of a log is no sign of anything.
    loose = read(GOOD.replace("= ^no", "= no"))[1]
    assert not loose.knows("the disk is full" + end, ["event 0x10 received"])


class Known:
    """A cell that fails with a message and is known to fail otherwise."""

    transition = "kdump"

    def __init__(self, why):
        self.row, self.why = read(GOOD.replace("    event 0x10\n", ""))[1], why

    def __str__(self):
        return f"two-{self.transition}"

    def run(self):
        """Fail, or pass if there is no message."""
        if self.why:
            raise LabError(self.why)
        return scenario.Figures(1.0)


def test_run_known(monkeypatch, tmp_path):
    """A known failure is not counted as a failure. A full disk on the same machine is a failure.
    So is a pass, because the table is then no longer true. All three are written to files."""
    monkeypatch.setattr(grid, "RESULTS", tmp_path)
    assert matrix.run(Known("no user space within 15 s")).outcome == "known"
    cell = Known("building: the disk is full; make room and run it again")
    with pytest.raises(LabError, match="disk is full"):
        matrix.run(cell)
    [result] = grid.results([cell])
    assert (result.outcome, result.why) == ("failed", cell.why)
    with pytest.raises(LabError, match="it passed and is known to fail"):
        matrix.run(Known(None))


def test_text_report():
    """The terminal shows each result, and why something did not pass."""
    found = [Result("one", "kexec_file", "series", outcome="passed", seconds=1.26, tables=4),
             Result("one", "kdump", "series", outcome="failed", why="no <shell>\nmore"),
             Result("two", "kdump", "base", outcome="known", why="tables stay live: no user space"),
             Result("three", "kdump", "base", outcome="skipped", why="no host can")]
    text = grid.text_report(found, TRANSITIONS)
    assert [line.split() for line in text.splitlines()[:4]] == [
        ["kexec_file", "kdump"], ["one", "1.3s/4p", "FAILED"], ["two", "known"], ["three", "skip"]]
    assert "failed one-kdump: no <shell>\n" in text and "skipped three-kdump: no host can" in text


def test_nothing_built(monkeypatch):
    """A rig is described without a kernel: the first machine builds it."""
    def build(*_):
        raise AssertionError("a kernel is built")

    monkeypatch.setattr(scenario.build, "kernel", build)
    rig = scenario.Rig("name", Board(), grid.RESULTS)
    with pytest.raises(AssertionError, match="a kernel is built"):
        rig.machine()


def test_the_table():
    """The lab's own table reads, and each row of it that is known to fail says how."""
    known = {cell.row.name: cell.row for cell in matrix.cells() if cell.row.known}
    assert known and all(row.fails for row in known.values())
