# SPDX-License-Identifier: GPL-2.0-only
"""`make mutants`: tests that test the tests.

Each lab/mutants/*.patch puts one bug into the series. Its header says what the bug is and
why it is plausible, and

    Caught-by: WORDS      a selection of tests, as for `make test T=`; of which one must fail
    Not-shown: REASON     instead, where no test can show it; then what would

The kernel with the bug is built and those tests run; it is an error if they pass. First
the same tests have to pass without any bug. M= chooses mutants by words of their names.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree

from lab import build, guest, scenario, tree
from lab.test import PYTEST, chosen
from lab.util import LAB, LOGS, MUTANTS, TOP, LabError, locked, main, output, say

PATCHES = LAB / "mutants"
LINUX = MUTANTS / "linux"
NONE = "none"                   # the mutant that is none
BUILD_ALL = ("import sys; from lab import build, test; "
             "build.kernels(test.kernels(sys.argv[1:]))")
# Seconds: what waits for a machine that has gone dark need not wait as long as usual.
PATIENCE = os.environ.get("LAB_PATIENCE", "20")


@dataclasses.dataclass
class Mutant:
    """One bug."""

    path: pathlib.Path

    @property
    def name(self):
        """What it is called."""
        return self.path.stem

    def header(self, key):
        """The values of a header, such as Caught-by."""
        head = self.path.read_text().partition("\n--- ")[0]
        return re.findall(rf"^{key}: (.+)$", head, re.MULTILINE)

    def tests(self):
        """The tests that have to catch it."""
        return [name for words in self.header("Caught-by") for name in chosen(words.split())]

    def check(self):
        """See that it is one bug with a header, and applies."""
        if bool(self.header("Caught-by")) == bool(self.header("Not-shown")):
            raise LabError(f"{self.path} has to say either Caught-by: or Not-shown:")
        output(["git", "apply", "--check", "--cached", self.path], cwd=tree.tree())


@dataclasses.dataclass
class Result:
    """What became of a mutant."""

    name: str
    verdict: str
    by: str
    seconds: float

    def line(self):
        """A line of the table."""
        return f"{self.name:32} {self.verdict:10} {self.seconds:6.1f} s  {self.by}"


def mutants(words=()):
    """All mutants, or those whose names have all the words."""
    found = [Mutant(path) for path in sorted(PATCHES.glob("*.patch"))]
    found = [mutant for mutant in found if set(words) <= set(re.split(r"\W", mutant.name))
             or list(words) == [mutant.name]]
    if not found:
        raise LabError(f"no mutant of {PATCHES} has all the words {' '.join(words)}")
    return found


def prepare():
    """build/mutants/linux: a work tree of the series."""
    tree.work_tree(LINUX)
    head = tree.git_linux("rev-parse", "HEAD")
    output(["git", "reset", "-q", "--hard", head], cwd=LINUX)


@contextlib.contextmanager
def applied(mutant):
    """The work tree with the mutant's bug in it, for as long as the block lasts."""
    if mutant:
        output(["git", "apply", mutant.path], cwd=LINUX)
    try:
        yield
    finally:
        output(["git", "reset", "-q", "--hard"], cwd=LINUX)


def run_tests(name, tests):
    """Run tests against the kernel that build/mutants/linux is the source of; return the
    names of those that failed."""
    env = {**os.environ, "LAB_MUTANT": name, "LAB_PATIENCE": PATIENCE}
    report = MUTANTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    with open(LOGS / "mutants.log", "a", encoding="utf-8") as log:
        log.write(f"\n== {name}\n")
        log.flush()
        # The build by itself: a bug that does not compile is not caught by a test.
        for argv in ([sys.executable, "-c", BUILD_ALL, *tests],
                     [*PYTEST, "--tb=short", "-n", os.environ.get("JOBS") or "2",
                      f"--junitxml={report}", *tests]):
            code = subprocess.run(argv, cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=log, check=False).returncode
            if code not in ((0, 1) if report.is_file() else (0,)):
                raise LabError(f"{name}: the run failed by itself (log: {log.name})")
    cases = list(xml.etree.ElementTree.parse(report).iter("testcase"))
    if any(case.find("error") is not None for case in cases):
        raise LabError(f"{name}: a test could not begin (log: {log.name})")
    return [f"{case.get('name')}: {failure.get('message', '').splitlines()[0][:150]}"
            for case in cases for failure in case.findall("failure")]


def judge(mutant):
    """Build the mutant, run its tests, and say what became of it."""
    started = time.monotonic()
    if reason := mutant.header("Not-shown"):
        return Result(mutant.name, "not shown", reason[0], 0)
    with applied(mutant):
        failed = run_tests(mutant.name, mutant.tests())
    return Result(mutant.name, "caught" if failed else "MISSED",
                  failed[0] if failed else " ".join(mutant.tests()), time.monotonic() - started)


def hunt(found):
    """Judge mutants; return the results. The series itself has to pass their tests first."""
    for mutant in found:
        mutant.check()
    tests = sorted({name for mutant in found for name in mutant.tests()})
    with locked("mutants"):
        prepare()
        if tests:
            say(f"{len(tests)} tests of the series as it is")
            with applied(None):
                failed = run_tests(NONE, tests)
            if failed:
                raise LabError("the series fails the tests that are to catch mutants, so they "
                               "would prove nothing:\n  " + "\n  ".join(failed))
        results = []
        for number, mutant in enumerate(found, 1):
            results.append(judge(mutant))
            say(f"{number}/{len(found)} {results[-1].line()}")
    return results


def command(words):
    """make mutants"""
    found = mutants(words)
    build.plugin()
    guest.payload_initramfs(scenario.PAYLOAD)
    results = hunt(found)
    count = {verdict: sum(result.verdict == verdict for result in results)
             for verdict in ("caught", "MISSED", "not shown")}
    print("\n".join(["", *(result.line() for result in results), "",
                     ", ".join(f"{number} {verdict}" for verdict, number in count.items())]),
          flush=True)
    return 1 if count["MISSED"] else 0


if __name__ == "__main__":
    main(command)
