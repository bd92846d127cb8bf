# SPDX-License-Identifier: GPL-2.0-only
"""The page of the matrix: what is on it, read as a browser reads it. Nothing is booted."""

import html.parser
import json
import re

from lab import grid, matrix, page
from lab.grid import Result
from lab.matrix import TRANSITIONS

# Elements without an end tag
VOID = ("meta", "input")
FOUND = [
    Result("one", "kexec_file", "series", "v5.10", "el1", "small", "passed", "", 1.26,
           ["one.log"], 1.5, 4, 9000, 0),
    Result("one", "kdump", "series", "v5.10", "el1", "small", "failed",
           "no <shell> (console log: /here/two.log)", 2.0, ["two-1.log", "two-2.log"]),
    Result("two", "kdump", "base", "v5.10", "vhe", "tiny", "known", "tables stay live", 3.0,
           ["three.log"]),
    Result("two", "kdump", "base", "v7.3", "vhe", "tiny", "skipped", "no host can"),
]


class Reader(html.parser.HTMLParser):
    """Collects the results, the links and the choices of a page, and checks that tags pair."""

    def __init__(self, text):
        super().__init__()
        self.open, self.machine, self.text = [], {}, ""
        self.results, self.links, self.choices, self.tags = {}, [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, name, attributes):
        attributes = dict(attributes)
        self.tags.append((name, attributes))
        if name not in VOID:
            self.open.append(name)
        if name == "tr":
            self.machine = attributes
        elif name == "details":
            self.results[attributes["id"]] = {**self.machine, **attributes, "text": "",
                                              "links": []}
            self.text = attributes["id"]
        elif name == "a":
            self.links.append(attributes["href"])
            if "details" in self.open:
                self.results[self.text]["links"].append(attributes["href"])
        elif name in ("input", "option"):
            self.choices.append((attributes.get("name", "transition"), attributes.get("value")))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if "details" in self.open:
            self.results[self.text]["text"] += data + " "


def read(found):
    """What a browser finds on the page of these results."""
    return Reader(page.document(found, TRANSITIONS, {result.base: "today" for result in found}))


def test_each_result():
    """Each result is on the page once, with its outcome, its reason and a link to each log, in a
    row that says base, level and machine."""
    results = read(FOUND).results
    assert list(results) == [page.anchor(result) for result in FOUND]
    for result in FOUND:
        there = results[page.anchor(result)]
        assert (there["data-base"], there["data-level"]) == (result.base, result.level)
        assert there["data-machine"].startswith(result.machine)
        assert (there["data-transition"], there["data-outcome"]) == (
            result.transition, result.outcome)
        assert there["links"] == [f"{result.base}/test/log/{name}" for name in result.logs]
        assert f"{result.transition}: {result.outcome}" in there["text"]
        assert result.why.partition(" (")[0] in there["text"]


def test_figures():
    """A result has the figures that are known, and no others."""
    passed, failed, *_ = read(FOUND).results.values()
    for text in ("1.3 s", "1.50 s", "table pages of the copy 4 ", "bytes relocated 9,000 ",
                 "with the MMU off 0 "):
        assert text in passed["text"]
    assert "2.0 s" in failed["text"] and "table pages" not in failed["text"]


def test_failed_first():
    """What failed is listed above the table, with a link to it; what is known to fail is not."""
    text = page.document(FOUND, TRANSITIONS, {"v5.10": "", "v7.3": ""})
    above = text.partition("<table")[0]
    assert above.count('<li><a href="#open=') == 1 and "#open=v5.10-one-kdump" in above
    assert "no &lt;shell&gt;" in above and "/here/two.log" not in text
    assert "What failed" not in page.document(FOUND[2:], TRANSITIONS, {"v5.10": "", "v7.3": ""})


def test_choices():
    """Bases, levels, outcomes and transitions can be chosen, those that are there."""
    choices = read(FOUND).choices
    assert {value for name, value in choices if name == "base"} == {"v5.10", "v7.3"}
    assert {value for name, value in choices if name == "level"} == {"el1", "vhe"}
    assert {value for name, value in choices if name == "outcome"} == set(page.SIGNS)
    assert {value for name, value in choices if name == "transition"} == {
        "", "kexec_file", "kdump"}
    assert not [name for name, _ in read(FOUND[:1]).choices if name in ("base", "level")]


def test_columns():
    """A transition that few machines do is named in the last column, and has none of its own."""
    many = [Result(f"m{number}", "kdump", "series", outcome="passed")
            for number in range(page.COLUMN)]
    assert page.columns([*many, FOUND[0]], TRANSITIONS) == (["kdump"], ["kexec_file"])
    results = read([*many, FOUND[0]]).results
    assert "✓ kexec_file 1.3 s" in results["v5.10-one-kexec_file"]["text"]
    assert "✓ 0.0 s" in results[page.anchor(many[0])]["text"]


def test_alone():
    """The page needs no other file: nothing but links leads out of it."""
    text = page.document(FOUND, TRANSITIONS, {"v5.10": "", "v7.3": ""})
    assert not re.search(r"""\ssrc=|@import|url\(|https?:|<link""", text)
    assert text.count("<script") == text.count("<style") == 1
    assert {name for name, attributes in read(FOUND).tags if "href" in attributes} == {"a"}


def test_whole_table():
    """Every cell that the lab has for a base is on the page of a run that had them all."""
    cells = matrix.cells()
    found = [Result(cell.row.name, cell.transition, cell.row.kernel, level=cell.row.board.level,
                    outcome="passed", logs=[f"matrix-{cell}.console.log"]) for cell in cells]
    results = read(found).results
    assert len(results) == len(cells)
    assert all(len(there["links"]) == 1 for there in results.values())


def test_bases(monkeypatch, tmp_path, capsys):
    """The page has the results of every base that was run, whichever is run now. The terminal
    shows those of this one."""
    def folder(base):
        return tmp_path / base / "test/matrix"

    cells = {"v5.10": ["one-kexec_file", "one-kdump"], "v6.12": ["two-kdump"],
             "v7.3": ["two-kdump"]}
    for result in FOUND[0], FOUND[3]:
        path = folder(result.base) / f"{result}.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(vars(result)))
    monkeypatch.setattr(grid, "folder_of", folder)
    monkeypatch.setattr(grid, "REPORT", tmp_path / "matrix.html")
    grid.report(cells, TRANSITIONS)
    assert set(Reader((tmp_path / "matrix.html").read_text()).results) == {
        "v5.10-one-kexec_file", "v7.3-two-kdump"}
    shown = capsys.readouterr().out
    assert "1.3s/4p" in shown and "skip" not in shown and "matrix.html" in shown
