# SPDX-License-Identifier: GPL-2.0-only
"""`make test`: build what the tests need, then let pytest run them.

WORDS choose a part: the tests whose names have all of them, as whole words, where a
name is divided at whatever is neither letter nor digit, and at underscores.
"""

import os
import re
import subprocess
import sys

from lab import build, guest, host, scenario
from lab.util import BUILD, LAB, TOP, LabError, main, output, say

PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]


def chosen(words):
    """The names of the tests that have all the words."""
    names = [line for line in output([*PYTEST, "--collect-only", str(LAB / "tests")],
                                     cwd=TOP).splitlines() if "::" in line]
    found = [name for name in names if set(words) <= set(re.split(r"[^a-zA-Z0-9]|_", name))]
    if not found:
        files = sorted({name.partition("::")[0].rpartition("/")[2] for name in names})
        raise LabError(f"no test has all the words {' '.join(words)}; the tests are in lab/tests: "
                       + ", ".join(files))
    return found


def command(words):
    """make test"""
    host.ensure()
    tests = chosen(words) if words else [str(LAB / "tests")]
    kernels = ["series", "base"]
    if not words or any("test_cost" in name for name in tests):
        kernels.append("v6.1")
    for which in kernels:
        build.kernel(which)
    if not words or any("test_kunit" in name or "test_kasan" in name for name in tests):
        build.kernel("series", "kasan")
    build.plugin()
    guest.payload_initramfs(scenario.PAYLOAD)
    report = BUILD / "test" / "report.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    say(f"testing; console logs are in {report.parent / 'log'}")
    return subprocess.run([*PYTEST, "-vv", "--tb=short", "-n", os.environ.get("JOBS") or "2",
                           "--dist", "loadgroup",
                           f"--junitxml={report}", *tests], cwd=TOP, check=False).returncode


if __name__ == "__main__":
    main(command)
