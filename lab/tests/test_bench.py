# SPDX-License-Identifier: GPL-2.0-only
"""What a hand-over costs: not more than in expected.json, and the same in two machines.
`make bench` measures more, and compares with the base and v6.1."""

import copy

import pytest

from lab.bench import __main__ as command
from lab.bench import figures, measure, report
from lab.here import TEST_LOGS
from lab.util import LabError

GIB = 1024                      # MiB


@pytest.mark.parametrize("payload, memory", [(16, GIB), (64, 16 * GIB)])
def test_no_worse(payload, memory):
    """No figure is more than 2 % above expected.json, two machines agree to the
    instruction, nothing moves with the MMU off, and the check is a small part of a load."""
    counts = measure.kexec("series", memory, payload, TEST_LOGS)
    assert not figures.worse(figures.machine_name("kexec", memory, payload), counts)
    assert counts["relocation"]["mmu_off_bytes"] == 0
    assert counts["copy"]["check_insns"] < 0.02 * counts["load"]["insns"]


def test_worse_is_named():
    """A figure is worse if it is more than 2 % above what is expected. If 0 is expected, any other
    figure is worse."""
    name = figures.machine_name("kexec", GIB, 16)
    counts = {}
    for figure, value in figures.expected()[name].items():
        what, key = figure.split(".")
        counts.setdefault(what, {})[key] = value
    assert not figures.worse(name, counts)
    for (what, key), more in {("load", "insns"): 1.021, ("copy", "pages"): 1.25,
                              ("relocation", "mmu_off_bytes"): None}.items():
        changed = copy.deepcopy(counts)
        changed[what][key] = changed[what][key] * more if more else 8
        (line,) = figures.worse(name, changed)
        assert line.startswith(f"{name}: {what}.{key} is ")


def between_marks(path):
    """What make bench writes in a README."""
    begin, end = command.MARKS
    return path.read_text().partition(begin)[2].partition(end)[0].splitlines()


def test_readmes():
    """Both READMEs have figures of the same run; the short table has its rows, no others."""
    short, whole = map(between_marks, command.READMES)
    assert short[0] == whole[0] and set(short) <= set(whole)
    assert [line.split(" | ")[0].removeprefix("| ") for line in short[4:]] == list(report.SHORT)


def test_renewed(tmp_path):
    """Only what is between the marks is written anew; a README without them is an error."""
    begin, end = command.MARKS
    path = tmp_path / "README.md"
    path.write_text(f"before\n{begin}old\n{end}after\n")
    assert command.renewed(path, "new\n") == f"before\n{begin}new\n{end}after\n"
    path.write_text(f"before\n{begin}old\n")
    with pytest.raises(LabError, match="has lost its line"):
        command.renewed(path, "new\n")


def test_same():
    """Two counts of a load are the same to the instruction, or within what is allowed. A span more,
    or one with another number of calls, is never the same."""
    def load(insns=100, calls=0, **more):
        return [(insns + 9, [{"span": "copy", "insns": insns, "calls": calls, **more}])]

    assert measure.same(load(), load(), 0)
    assert not measure.same(load(), load(101), 0) and measure.same(load(), load(101), 1)
    assert not measure.same(load(), load(102), 1) and not measure.same(load(), load(98), 1)
    assert not measure.same(load(), load(calls=1), 5000)
    assert not measure.same(load(), [(109, [])], 5000) and not measure.same(load(), [], 5000)


def test_growth():
    """The fit finds the plane that points lie in."""
    def plane(payload, memory):
        return 1000 + 7 * memory // GIB + 3 * payload

    points = {point: {"load": {"insns": plane(*point)}} for point in figures.POINTS}
    found = figures.growth(points)
    assert found["copy pages"] is None
    assert found["load instructions"] == {
        "fixed": 1000, "per_gib": 7.0, "per_mib": 3.0, "largest_error": 0.0,
        "predicted": plane(*figures.LARGE)}
