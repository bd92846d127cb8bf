# SPDX-License-Identifier: GPL-2.0-only
"""Every machine of lab/machines.cfg, doing each of its transitions."""

import pytest

from lab import matrix
from lab.tests.conftest import EVERY_BASE

pytestmark = EVERY_BASE

CELLS = matrix.cells()


def check(cell):
    """Do it, and tell pytest of what is no failure."""
    result = matrix.run(cell)
    if result.outcome == "skipped":
        pytest.skip(result.why)
    if result.outcome == "known":
        pytest.xfail(result.why)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if not cell.row.soak], ids=str)
def test_cell(cell):
    """The transition works and what it carried over is whole; see lab/matrix.py."""
    check(cell)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.row.soak], ids=str)
def test_soak(cell):
    """The same for what is left to `make soak`."""
    check(cell)
