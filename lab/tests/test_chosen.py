# SPDX-License-Identifier: GPL-2.0-only
"""Which tests `make test` and its like run."""

import pytest

from lab import matrix, test
from lab.util import LabError

CELLS = matrix.cells()


def test_left_out():
    """What the table keeps for `make soak` runs when that is asked for, and only then."""
    kept = [str(cell) for cell in CELLS if cell.row.soak]
    assert kept and len(kept) < len(CELLS) / 10
    names = [name.partition("[")[2].rstrip("]") for name in test.chosen(["soak"])]
    assert sorted(names) == sorted(kept)      # the longest go first, see conftest.py
    others = test.chosen(["matrix"])
    assert not any("test_soak" in name for name in others)
    assert len(others) >= len(CELLS) - len(kept)


def test_bases():
    """Each base has the cells that the table gives it, and the tests that are marked for it. A
    test without the marker is v5.10's alone."""
    for name, mine in {"v5.10": True, "v6.12": False, "v7.3": False}.items():
        files = {one.partition("::")[0].rpartition("/")[2] for one in test.chosen([], name)}
        assert {"test_matrix.py", "test_refusal.py", "test_clean.py", "test_skips.py"} <= files
        assert ("test_selftest.py" in files) == ("test_chosen.py" in files) == mine
    assert not set(test.chosen(["cfi"], "v7.3")) & set(test.chosen([]))


def test_none():
    """If no test has the words, the user gets names that are close, where to find others, and
    the command for a test that is left to make soak."""
    row = next(cell for cell in CELLS if not cell.row.soak).row.name
    for words, says in (([f"{row}x"], rf"close to that: (.*, )?{row}\b.*; machines are named in"),
                        (["kexek"], r"close to that: (.*, )?kexec\b"),
                        (["test_choosen"], r"close to that: (.*, )?test_chosen"),
                        (["qqqq"], "nothing is close to that")):
        with pytest.raises(LabError, match=rf"all the words {' '.join(words)}; {says}"):
            test.chosen(words)
    soak = str(next(cell for cell in CELLS if cell.row.soak))
    with pytest.raises(LabError, match=rf"make soak T='{soak}'"):
        test.chosen([soak])


def test_packages(monkeypatch):
    """The packages of all bases are asked for before the tests of the first begin."""
    def ensure(bases):
        raise LabError(" ".join(one.name for one in bases))
    monkeypatch.setattr(test.host, "ensure", ensure)
    with pytest.raises(LabError, match="^v5.10 v6.12 v7.3$"):
        test.every_base([])


def test_clean(tmp_path):
    """CLEAN=1 leaves of a base only the logs of its tests. What a link leads to stays."""
    here = tmp_path / "v5.10"
    for name in ("test/log/a", "linux/Makefile", "kernel/series/Image"):
        (here / name).parent.mkdir(parents=True)
        (here / name).touch()
    (here / "link").symlink_to(tmp_path / "user")
    (tmp_path / "user").mkdir()
    test.clean(here)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / name for name in (
        "user", "v5.10", "v5.10/test", "v5.10/test/log", "v5.10/test/log/a")]


def test_total():
    """Bases are added up. One whose tests were stopped is told with its error, not counted."""
    good = "969 passed, 0 failed, 5 skipped"
    error = "error: building the kernel failed (log: x):"
    assert test.end_of(["error: of a test", good]) == good
    assert test.end_of([error, "  a.c", "[ 345.3s] built the series kernel in 300 s"]) == \
        f"{error}\n  a.c"
    assert test.total([good, "30 passed, 7 failed, 2 skipped"]) == \
        "999 passed, 7 failed, 7 skipped"
    assert test.total([good, error]) == (f"{good}; the tests of 1 of 2 bases did not run to their "
                                         "end")


def test_printed_names():
    """A name chooses what it is the name of, as it is printed."""
    cell = next(cell for cell in CELLS if not cell.row.soak and "-" in cell.row.name)
    names = test.chosen([str(cell)])
    assert any(name.endswith(f"[{cell}]") for name in names)
    assert set(names) <= set(test.chosen([cell.row.name]))
    assert test.chosen(["test_printed_names"]) == ["lab/tests/test_chosen.py::test_printed_names"]
