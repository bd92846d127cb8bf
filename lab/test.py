# SPDX-License-Identifier: GPL-2.0-only
"""`make test`: build what the tests need, then let pytest run them.

WORDS choose a part: the tests whose names have all of them, as whole words, where a
name is divided at whatever is neither letter nor digit, and at underscores.
"""

import functools
import os
import re
import subprocess
import sys

from lab import build, guest, matrix, scenario
from lab.util import BUILD, CPUS, LAB, TOP, LabError, main, output, remove, say

PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]

# Configurations of the series that files of tests are about.
CONFIGS = {"test_selftest": "debug", "test_kunit": "tiny+kasan",
           "test_kasan": "tiny+kasan"}


@functools.cache
def collected():
    """The names of all tests."""
    return [line for line in output([*PYTEST, "--collect-only", str(LAB / "tests")],
                                    cwd=TOP).splitlines() if "::" in line]


def chosen(words):
    """The names of the tests that have all the words."""
    names = collected()
    found = [name for name in names if set(words) <= set(re.split(r"[^a-zA-Z0-9]", name))]
    if not found:
        files = sorted({name.partition("::")[0].rpartition("/")[2] for name in names})
        raise LabError(f"no test has all the words {' '.join(words)}; the tests are in lab/tests: "
                       + ", ".join(files))
    return found


def kernels(tests):
    """The kernels that tests need, as build.kernel() takes them."""
    found = {("series", "small"): None}
    if any("test_matrix" not in name for name in tests):
        found[("base", "small")] = None
    found |= {("series", config): None for part, config in CONFIGS.items()
              if any(part in name for name in tests)}
    found |= {cell.kernel: None for cell in matrix.cells()
              if any(name.endswith(f"[{cell}]") for name in tests) and "skip" not in cell.entry}
    return list(found)


def command(words):
    """make test"""
    tests = chosen(words)
    build.kernels(kernels(tests))
    build.plugin()
    guest.payload_initramfs(scenario.PAYLOAD)
    remove(matrix.RESULTS)      # of an earlier run
    report = BUILD / "test" / "report.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    say(f"testing; console logs are in {report.parent / 'log'}")
    jobs = os.environ.get("JOBS") or str(CPUS)
    return subprocess.run([*PYTEST, "-vv", "--tb=short", "-n", jobs, "--dist", "loadgroup",
                           f"--junitxml={report}", *tests], cwd=TOP, check=False).returncode


if __name__ == "__main__":
    main(command)
