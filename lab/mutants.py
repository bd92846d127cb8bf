# SPDX-License-Identifier: GPL-2.0-only
"""`make mutants`: mutation testing, which tests the tests.

A mutant is the series with one bug. Each lab/mutants/BASE/*.patch makes one. The header of the
patch says what the bug is and why somebody could write it. It also has one of these lines:

    Caught-by: WORDS      chooses tests, as `make test T=` does; at least one of them must fail
    Not-shown: REASON     no test can show the bug; the reason, and what could show it

First all chosen tests have to pass on the series without a bug. Then the kernel of each mutant is
built, and its tests run. It is an error if they all pass. M= chooses mutants by words of their
names.

A test may be unable to begin, on a busy machine for example. It is then tried once more. If it
cannot begin again, or if the series itself fails it, the result of its mutants is "not run". That
is an error too. The other mutants are still judged.
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

from lab import scenario, tree
from lab.here import BASE, MUTANTS
from lab.options import option
from lab.test import PYTEST, chosen, near, workers
from lab.util import LAB, TOP, LabError, counted, locked, main, output, say

PATCHES = LAB / "mutants" / BASE.name
LINUX = MUTANTS / "linux"
NONE = "none"                   # in place of the name of a mutant: the series without a bug
BUILD_ALL = ("import sys; from lab import build, test; "
             "build.kernels(test.kernels(sys.argv[1:]))")
# Seconds to wait for a machine. They are fewer than usual, because many bugs make it go silent.
PATIENCE = str(option("LAB_PATIENCE", 20))


@dataclasses.dataclass
class Mutant:
    """A bug, as a patch on top of the series."""

    path: pathlib.Path

    @property
    def name(self):
        """Its name."""
        return self.path.stem

    def header(self, key):
        """The values of all header lines with a key, such as Caught-by."""
        head = self.path.read_text().partition("\n--- ")[0]
        return re.findall(rf"^{key}: (.+)$", head, re.MULTILINE)

    def tests(self):
        """The tests that have to catch it."""
        return [name for words in self.header("Caught-by") for name in chosen(words.split())]

    def check(self):
        """Stop if its header is wrong or its patch does not apply."""
        if bool(self.header("Caught-by")) == bool(self.header("Not-shown")):
            raise LabError(f"{self.path} has to say either Caught-by: or Not-shown:")
        output(["git", "apply", "--check", "--cached", self.path], cwd=tree.tree())


@dataclasses.dataclass
class Result:
    """The result of a mutant."""

    name: str
    verdict: str
    by: str
    seconds: float

    def line(self):
        """The line for it in the table of results."""
        return f"{self.name:32} {self.verdict:10} {self.seconds:6.1f} s  {self.by}"


def mutants(words=()):
    """All mutants, or those whose names have all the words."""
    found = [Mutant(path) for path in sorted(PATCHES.glob("*.patch"))]
    found = [mutant for mutant in found if set(words) <= set(re.split(r"\W", mutant.name))
             or list(words) == [mutant.name]]
    if not found:
        raise LabError(f"no mutant of {BASE.name} has all the words {' '.join(words)}; "
                       f"{near(words, [path.stem for path in PATCHES.glob('*.patch')])}; "
                       f"they are in {PATCHES}")
    return found


def prepare():
    """Make build/BASE/mutants/linux, a git work tree with the series."""
    tree.work_tree(LINUX)
    head = tree.git_linux("rev-parse", "HEAD")
    output(["git", "reset", "-q", "--hard", head], cwd=LINUX)


@contextlib.contextmanager
def applied(mutant):
    """Have the mutant's bug in the work tree during a `with` block. mutant: None for no bug."""
    if mutant:
        output(["git", "apply", mutant.path], cwd=LINUX)
    try:
        yield
    finally:
        output(["git", "reset", "-q", "--hard"], cwd=LINUX)


def run_once(name, tests):
    """Build the kernel of build/BASE/mutants/linux and run tests on it. Return ({test that failed:
    how}, {test that could not begin: why})."""
    env = {**os.environ, "LAB_MUTANT": name, "LAB_PATIENCE": PATIENCE}
    report = MUTANTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    log_file = MUTANTS / "log/mutants.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with open(log_file, "a", encoding="utf-8") as log:
        log.write(f"\n== {name}\n")
        log.flush()
        # The build is a step of its own. If it fails, no test has caught the bug.
        for what, argv in (("the build", [sys.executable, "-c", BUILD_ALL, *tests]),
                           ("the run", [*PYTEST, "--tb=short", *workers(option("JOBS", 2)),
                                        f"--junitxml={report}", *tests])):
            code = subprocess.run(argv, cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=log, check=False).returncode
            if code not in ((0, 1) if report.is_file() else (0,)):
                return {}, dict.fromkeys(tests, f"{what} ended with status {code}, log: {log.name}")
    failed, unable = {}, dict.fromkeys(tests, f"it was not run, log: {log.name}")
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        called = case.get("name").partition("@")[0]     # behind it is the group
        test = f"{case.get('classname').replace('.', '/')}.py::{called}"
        unable.pop(test, None)
        for kind, found in (("failure", failed), ("error", unable)):
            for said in case.findall(kind):
                line = (said.get("message", "").splitlines() or [""])[0]
                found[test] = f"{called}: {line[:150]}"
    return failed, unable


def run_tests(name, tests):
    """The same, but tests that could not begin are tried once more."""
    failed, unable = run_once(name, tests)
    if unable:
        say(f"{name}: {counted(len(unable), 'test')} could not begin and will be tried once more: "
            f"{first(unable)}")
        again, unable = run_once(name, list(unable))
        failed |= again
    return failed, unable


def first(found):
    """The text about the first of several tests."""
    return next(iter(found.values()))


def judge(mutant, unfit):
    """Build a mutant, run its tests, and return the Result. unfit: {test: why} of the tests whose
    failure would prove nothing."""
    started = time.monotonic()
    if reason := mutant.header("Not-shown"):
        return Result(mutant.name, "not shown", reason[0], 0)
    tests = mutant.tests()
    if unable := {test: unfit[test] for test in tests if test in unfit}:
        return Result(mutant.name, "not run", first(unable), 0)
    with applied(mutant):
        failed, unable = run_tests(mutant.name, tests)
    if failed:
        verdict, by = "caught", first(failed)
    elif unable:
        verdict, by = "not run", first(unable)
    else:
        verdict, by = "MISSED", " ".join(tests)
    return Result(mutant.name, verdict, by, time.monotonic() - started)


def hunt(found):
    """Judge mutants, and return the results. First their tests run on the series itself, which has
    to pass them."""
    for mutant in found:
        mutant.check()
    tests = sorted({name for mutant in found for name in mutant.tests()})
    with locked(f"{BASE.name}-mutants"):
        prepare()
        unfit = {}
        if tests:
            say(f"running {counted(len(tests), 'test')} on the series without a bug")
            with applied(None):
                failed, unable = run_tests(NONE, tests)
            unfit = {test: f"the series itself fails {how}" for test, how in failed.items()} | {
                test: f"with the series itself: {why}" for test, why in unable.items()}
        results = []
        for number, mutant in enumerate(found, 1):
            results.append(judge(mutant, unfit))
            say(f"{number}/{len(found)} {results[-1].line()}")
    return results


def command(words):
    """make mutants"""
    found = mutants(words)
    scenario.prepare()
    results = hunt(found)
    count = {verdict: sum(result.verdict == verdict for result in results)
             for verdict in ("caught", "MISSED", "not run", "not shown")}
    print("\n".join(["", *(result.line() for result in results), "",
                     ", ".join(f"{number} {verdict}" for verdict, number in count.items())]),
          flush=True)
    return 1 if count["MISSED"] or count["not run"] else 0


if __name__ == "__main__":
    main(command)
