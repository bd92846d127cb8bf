# SPDX-License-Identifier: GPL-2.0-only
"""Every machine of lab/machines.cfg, doing each of its transitions."""

import pytest

from lab import matrix


@pytest.mark.parametrize("cell", matrix.cells(), ids=str)
def test_cell(cell):
    """The transition works and what it carried over is whole; see lab/matrix.py."""
    result = matrix.run(cell)
    if result["outcome"] == "skipped":
        pytest.skip(result["why"])
    if result["outcome"] == "known":
        pytest.xfail(result["why"])
