# SPDX-License-Identifier: GPL-2.0-only
"""`make test`: build what the tests need, then run them by pytest. It does so for each base, or
for the one that BASE= or LINUX= says.

WORDS choose the tests whose names have all of them, as whole words. In names and in WORDS, every
character that is neither letter nor digit divides words, underscores too. So the name of a machine
or of a test can be given as it is printed. Tests with "soak" in their names take long or tell
little. They run only if that word is given.
"""

import difflib
import functools
import itertools
import os
import re
import subprocess
import sys

from lab import grid, host, matrix, scenario, tree
from lab.base import BASES
from lab.here import BASE, HERE
from lab.options import option
from lab.util import CPUS, LAB, TOP, LabError, main, output, remove, say

# What conftest prints at the end of the tests of a base.
COUNT = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped")
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]

# Configurations of the series that files of tests are about.
CONFIGS = {"test_selftest": "debug", "test_kunit": "tiny+kasan",
           "test_kasan": "tiny+kasan", "test_hidden": "small+hide"}


@functools.cache
def collected(base=BASE.name):
    """The names of all tests of a base."""
    return [line for line in output([*PYTEST, "--collect-only", str(LAB / "tests")], cwd=TOP,
                                    env=environment(base)).splitlines() if "::" in line]


def environment(base):
    """That of a command for a base."""
    return {**os.environ, "BASE": base}


def workers(jobs):
    """The options that have several workers run the tests. Those of one group share a machine and
    its log, so they have to go to one worker."""
    return ["-n", str(jobs), "--dist", "loadgroup"]


def parts(name):
    """What a name is divided into."""
    return set(re.findall(r"[a-zA-Z0-9]+", name))


def matching(words, base):
    """The names of the tests of a base that have all the words."""
    wanted = parts(" ".join(words))
    return [name for name in collected(base)
            if wanted <= parts(name) and ("soak" in wanted or not long_run(name))]


def chosen(words, base=BASE.name):
    """The same, where there are some."""
    return matching(words, base) or none(words, [base])


def none(words, bases):
    """Stop, for no test of these bases has all the words."""
    said = f"no test of {', '.join(bases)} has all the words {' '.join(words)}"
    names = [name for base in bases for name in collected(base)]
    if any(parts(" ".join(words)) <= parts(name) for name in names):
        raise LabError(f"{said}, but one of make soak has: make soak T='{' '.join(words)}'")
    raise LabError(f"{said}; {near(words, names)}; machines are named in lab/machines.cfg, other "
                   "tests in lab/tests")


def near(words, names):
    """What is close to words, in a few words: names as they are printed, or parts of them."""
    known = {part for name in names
             for part in (*parts(name), *re.split(r"/|::|\[|\]", name)) if part}
    found = {close: None for word in (" ".join(words), *words) if word not in known
             for close in difflib.get_close_matches(word, known)}
    return f"close to that: {', '.join(found)}" if found else "nothing is close to that"


def long_run(name):
    """Whether a test is left to `make soak`."""
    return "::test_soak[" in name


def kernels(tests):
    """The kernels that tests need, as build.kernel() takes them."""
    found = {}
    if any("test_matrix" not in name for name in tests):
        found = {("series", "small"): None, ("base", "small"): None}
    found |= {("series", config): None for part, config in CONFIGS.items()
              if any(part in name for name in tests)}
    found |= {kernel: None for cell in matrix.cells() for kernel in cell.kernels
              if any(name.endswith(f"[{cell}]") for name in tests)}
    return list(found)


def one_base(words):
    """make test for a base; the exit status."""
    tests = chosen(words)
    scenario.prepare(kernels(tests))
    remove(grid.RESULTS)        # of an earlier run
    report = HERE / "test" / "report.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    if "soak" not in words:
        say(f"{sum(map(long_run, collected()))} tests are left to make soak")
    say(f"testing; console logs are in {report.parent / 'log'}")
    code = subprocess.run([*PYTEST, "-vv", "--tb=short", *workers(option("JOBS", CPUS)),
                           f"--junitxml={report}", *tests], cwd=TOP, check=False,
                          env={key: value for key, value in os.environ.items()
                               if key != "CLEAN"}).returncode
    if option("CLEAN", False) and not code:
        tree.need_no_edits("CLEAN=1")
        clean(HERE)
    return code


def clean(folder):
    """Remove what is in the folder of a base, but for the logs of its tests."""
    for path in folder.iterdir():
        if path.name != "test":
            remove(path)


def end_of(lines):
    """How the tests of a base ended: their numbers, the whole error that stopped them, or the last
    line."""
    errors = [at for at, line in enumerate(lines) if line.startswith("error: ")]
    if COUNT.fullmatch(lines[-1]) or not errors:
        return lines[-1]
    more = itertools.takewhile(lambda line: line.startswith("  "), lines[errors[-1] + 1:])
    return "\n".join([lines[errors[-1]], *more])


def total(ends):
    """The line for all bases together."""
    counts = [found.groups() for end in ends if (found := COUNT.fullmatch(end))]
    passed, failed, skipped = (sum(map(int, column)) for column in zip((0, 0, 0), *counts))
    stopped = len(ends) - len(counts)
    return (f"{passed} passed, {failed} failed, {skipped} skipped"
            + (f"; the tests of {stopped} of {len(ends)} bases did not run to their end"
               if stopped else ""))


def make_trees(bases):
    """Make the trees of several bases at once, because making one keeps only one CPU busy. If one
    cannot be made, the tests of its base tell why."""
    made = [subprocess.Popen([sys.executable, "-m", "lab.tree", "tree"], cwd=TOP,
                             env=environment(base), stdin=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL) for base in bases]
    for process in made:
        process.wait()


def every_base(words):
    """The same for one base after the other, of those that have such tests."""
    bases = [base for base in BASES if matching(words, base)] or none(words, BASES)
    # `make host`, which came before, is for one base.
    host.ensure([BASES[base] for base in bases])
    make_trees(bases)
    ends = {}
    for number, base in enumerate(bases, 1):
        say(f"{number}/{len(bases)}: {base}")
        with subprocess.Popen([sys.executable, "-m", "lab.test", *words], cwd=TOP, text=True,
                              env=environment(base), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as tests:
            lines = [""]
            for line in tests.stdout:
                print(line, end="", flush=True)
                lines.append(line.rstrip())
        ends[base] = end_of(lines), tests.returncode
    print()
    for base, (line, code) in ends.items():
        print(f"{base:8}{line}" + (f" (exit status {code})" if code else ""))
    print(total([line for line, _ in ends.values()]), flush=True)
    return 1 if any(code for _, code in ends.values()) else 0


def command(words):
    """make test: for the base that is said, or else for each"""
    said = os.environ.get("BASE") or os.environ.get("LINUX")
    return one_base(words) if said else every_base(words)


if __name__ == "__main__":
    main(command)
