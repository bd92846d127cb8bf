# SPDX-License-Identifier: GPL-2.0-only
"""The bugs of lab/mutants: all of them apply, and two of them are run and caught here. `make
mutants` runs all."""

import contextlib
import pathlib
import re
import subprocess
import types
import xml.etree.ElementTree as etree

import pytest

from lab import mutants
from lab.util import MUTANT, LabError

# One that only single stepping shows, and one that no hand-over shows
REPRESENTATIVE = ["clean-before-store", "block-over-hole"]


def test_patches():
    """Each has its header, applies to the series, and names tests that exist."""
    for mutant in mutants.mutants():
        mutant.check()
        assert mutant.tests() or mutant.header("Not-shown"), mutant.name


def test_none():
    """If no mutant has the words, the user gets names that are close."""
    with pytest.raises(LabError, match="close to that: .*clean-before-store"):
        mutants.mutants(["clean-before-stor"])


@pytest.mark.skipif(bool(MUTANT), reason="this kernel is a mutant itself")
def test_caught():
    """The tests pass on the series and fail on it with a bug."""
    found = [mutant for mutant in mutants.mutants() if mutant.name in REPRESENTATIVE]
    assert len(found) == len(REPRESENTATIVE)
    results = mutants.hunt(found)
    assert {result.name: result.verdict for result in results} == dict.fromkeys(REPRESENTATIVE,
                                                                                "caught")


class Runs:
    """Stands in for the builds and the runs of the tests. outcomes: {mutant: what each run of
    its tests comes to, in order}: "passed", a junit element "failure" or "error", a status for
    the run to end with, or "build"."""

    def __init__(self, outcomes):
        self.outcomes = {name: list(wanted) for name, wanted in outcomes.items()}

    def run(self, argv, env, **_):
        """subprocess.run()"""
        wanted = self.outcomes[env["LAB_MUTANT"]]
        report = [arg.partition("=")[2] for arg in argv if str(arg).startswith("--junitxml=")]
        if not report:          # it is the build
            built = wanted[0] != "build"
            return types.SimpleNamespace(returncode=0 if built else wanted.pop(0) and 2)
        # Without it, two workers would use one machine of a group at the same time.
        assert "loadgroup" in argv
        outcome = wanted.pop(0)
        if isinstance(outcome, int):
            return types.SimpleNamespace(returncode=outcome)
        suite = etree.Element("testsuite")
        for test in (arg for arg in argv if "::" in str(arg)):
            path, _, name = test.partition("::")
            case = etree.SubElement(suite, "testcase", name=f"{name}@group",
                                    classname=path.removesuffix(".py").replace("/", "."))
            if outcome != "passed":
                etree.SubElement(case, outcome, message=f"an {outcome} of {name}")
        etree.ElementTree(suite).write(report[0])
        return types.SimpleNamespace(returncode=int(outcome != "passed"))


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """`make mutants` on mutants that are only names: outcomes, see Runs, to the status that it
    ends with, {mutant: (verdict, by whom)} of its table, and its last line."""
    def run(outcomes):
        runs = Runs(outcomes)
        found = []
        for name in outcomes.keys() - {mutants.NONE}:
            path = pathlib.Path(tmp_path, f"{name}.patch")
            path.write_text("Caught-by: words\n")
            found.append(mutants.Mutant(path))
        found.sort(key=lambda mutant: mutant.name)
        for what, value in {
                "mutants": lambda words: found, "prepare": lambda: None,
                "applied": contextlib.nullcontext, "locked": contextlib.nullcontext,
                "MUTANTS": tmp_path}.items():
            monkeypatch.setattr(mutants, what, value)
        monkeypatch.setattr(mutants.Mutant, "check", lambda mutant: None)
        monkeypatch.setattr(mutants.Mutant, "tests",
                            lambda mutant: [f"lab/tests/test_it.py::test_it[{mutant.name}]"])
        monkeypatch.setattr(mutants.scenario, "prepare", lambda: None)
        monkeypatch.setattr(subprocess, "run", runs.run)
        status = mutants.command([])
        said = capsys.readouterr().out
        table = said[said.index("\n\n"):].splitlines()
        rows = [re.match(r"(\S+) +(caught|MISSED|not run|not shown) +[\d.]+ s  (.+)", line)
                for line in table]
        assert not any(runs.outcomes.values()), runs.outcomes
        return status, {row[1]: (row[2], row[3]) for row in rows if row}, table[-1]

    return run


def test_goes_on(command):
    """A mutant is tried a second time if its test cannot begin, or if the build or the run itself
    fails. Then it is "not run", with the reason. The mutants after it are judged."""
    status, rows, last = command({
        mutants.NONE: ["passed"], "a": ["error", "error"], "b": ["failure"], "c": ["build"] * 2,
        "d": [3, 3], "e": ["passed"], "f": ["error", "failure"]})
    assert status == 1
    assert {name: verdict for name, (verdict, _) in rows.items()} == {
        "a": "not run", "b": "caught", "c": "not run", "d": "not run", "e": "MISSED",
        "f": "caught"}
    assert "an error of test_it[a]" in rows["a"][1]
    assert "the build ended with status 2" in rows["c"][1]
    assert "the run ended with status 3" in rows["d"][1]
    assert last == "2 caught, 1 MISSED, 3 not run, 0 not shown"


def test_not_run_is_an_error(command):
    """`make mutants` fails if one mutant is not run, and passes if all are caught."""
    assert command({mutants.NONE: ["passed"], "a": ["error", "error"], "b": ["failure"]})[0] == 1
    assert command({mutants.NONE: ["error", "passed"], "a": ["failure"]})[0] == 0


def test_series_fails(command):
    """If the series itself fails a test, or the test cannot begin, the mutants that need this test
    are not run, and nothing is built for them."""
    for outcomes, reason in ((["failure"], "the series itself fails test_it[a]: an failure"),
                             (["error", "error"], "with the series itself: test_it[a]: an error")):
        status, rows, _ = command({mutants.NONE: outcomes, "a": []})
        assert status == 1
        assert rows["a"][0] == "not run" and reason in rows["a"][1]
