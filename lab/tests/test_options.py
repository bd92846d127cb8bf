# SPDX-License-Identifier: GPL-2.0-only
"""A wrong value of an option ends each command before it has done anything."""

import os
import subprocess
import sys

import pytest

from lab import options
from lab.util import TOP, LabError

WRONG = [
    ("JOBS", "x", "no number from 1 up"), ("JOBS", "0", "no number from 1 up"),
    ("JOBS", "-2", "no number from 1 up"), ("JOBS", "1.5", "no number from 1 up"),
    ("LAB_PATIENCE", "60s", "no number from 1 up"), ("LAB_PATIENCE", "0", "no number from 1 up"),
    ("BASE", "v5.11", "none of v5.10, v6.12, v7.3"),
    ("LEVEL", "el3", "none of el1, nvhe, vhe, kvm"),
    ("KERNEL", "plain", "none of series, base"), ("AM", "some", "none of base, all"),
    ("EXPECT", "new", "none of update"), ("KEEP", "yes", "none of 0, 1"),
    ("CLEAN", "yes", "none of 0, 1"), ("WITHOUT", "yes", "none of 0, 1"),
    ("DTBS", "no", "none of 0, 1"), ("LAB_GDB", "on", "none of 0, 1")]


def host(**env):
    """make host without make: what every command begins with."""
    return subprocess.run([sys.executable, "-m", "lab.host"], cwd=TOP, check=False,
                          env={**os.environ, "PATH": "/none", **env}, capture_output=True,
                          text=True)


# Without the words of options in its name: `make test T=` chooses by these.
@pytest.mark.parametrize("name, text, says", WRONG, ids=range(len(WRONG)))
def test_wrong(monkeypatch, name, text, says):
    """Each wrong value is named, with what is right and what to do."""
    monkeypatch.setenv(name, text)
    with pytest.raises(LabError, match=rf"^{name}={text} is {says}; mend it or leave it out$"):
        options.option(name)


def test_all_are_tried():
    """The test above has a wrong value of each option."""
    assert {name for name, *_ in WRONG} == options.OPTIONS.keys()


def test_at_once():
    """`make host`, which every command begins with, stops at a wrong value before it looks at the
    machine. Then there is nothing but the one line."""
    done = host(JOBS="x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: JOBS=x is no number from 1 up; mend it or leave it out\n"
    assert "JOBS" not in host(JOBS="2").stderr


@pytest.mark.parametrize("name, text, value", [
    ("JOBS", "3", 3), ("JOBS", "", None), ("KEEP", "1", True), ("KEEP", "0", False),
    ("LEVEL", "vhe", "vhe"), ("BASE", "v7.3", "v7.3")], ids=range(6))
def test_right(monkeypatch, name, text, value):
    """A right value has its type. An empty one is as none."""
    monkeypatch.setenv(name, text)
    assert options.option(name) == value
