# SPDX-License-Identifier: GPL-2.0-only
"""`make test`: build what the tests need, then let pytest run them.

WORDS choose a part: the tests whose names have all of them.
"""

import os
import subprocess
import sys

from lab import build, guest, host, scenario
from lab.util import BUILD, LAB, TOP, main, say


def command(words):
    """make test"""
    host.ensure()
    for which in ("series", "base"):
        build.kernel(which)
    build.plugin()
    guest.payload_initramfs(scenario.PAYLOAD)
    report = BUILD / "test" / "report.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    say(f"testing; console logs are in {report.parent / 'log'}")
    argv = [sys.executable, "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider",
            "-n", os.environ.get("JOBS") or "2", f"--junitxml={report}", str(LAB / "tests")]
    if words:
        argv += ["-k", " and ".join(words)]
    return subprocess.run(argv, cwd=TOP, check=False).returncode


if __name__ == "__main__":
    main(command)
