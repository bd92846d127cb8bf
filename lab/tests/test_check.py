# SPDX-License-Identifier: GPL-2.0-only
"""What `make check` finds."""

import pytest

from lab import check


@pytest.mark.parametrize("function", check.CHECKS, ids=lambda function: function.__name__)
def test_check(function):
    """The tool has nothing to complain about."""
    assert not function()
