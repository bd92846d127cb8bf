# SPDX-License-Identifier: GPL-2.0-only
"""What a hand-over costs: not more than is committed, and the same in two machines. All of
it, against the base and v6.1, is `make bench`."""

import copy

import pytest

from lab.bench import figures, measure
from lab.util import TEST_LOGS

GIB = 1024                      # MiB


@pytest.mark.parametrize("payload, memory", [(16, GIB), (64, 16 * GIB)])
def test_no_worse(payload, memory):
    """No figure is more than 2 % above lab/bench/expected.json, two machines agree to the
    instruction, nothing moves with the MMU off, and the check is a small part of a load."""
    counts = measure.kexec("series", memory, payload, TEST_LOGS)
    assert not figures.worse(figures.machine_name("kexec", memory, payload), counts)
    assert counts["relocation"]["mmu_off_bytes"] == 0
    assert counts["copy"]["check_insns"] < 0.02 * counts["load"]["insns"]


def test_worse_is_named():
    """More than 2 % above what is expected is worse, and so is anything above nothing."""
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
