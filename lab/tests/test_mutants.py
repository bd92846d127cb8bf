# SPDX-License-Identifier: GPL-2.0-only
"""The bugs of lab/mutants: all apply, and some are really caught. `make mutants` has all."""

import pytest

from lab import mutants
from lab.util import MUTANT

# One that only single stepping shows, and one that no hand-over shows
REPRESENTATIVE = ["clean-before-store", "block-over-hole"]


def test_patches():
    """Each has its header, applies to the series, and names tests that exist."""
    for mutant in mutants.mutants():
        mutant.check()
        assert mutant.tests() or mutant.header("Not-shown"), mutant.name


@pytest.mark.skipif(bool(MUTANT), reason="this kernel is a mutant itself")
def test_caught():
    """The tests pass on the series and fail on it with a bug."""
    found = [mutant for mutant in mutants.mutants() if mutant.name in REPRESENTATIVE]
    assert len(found) == len(REPRESENTATIVE)
    results = mutants.hunt(found)
    assert {result.name: result.verdict for result in results} == dict.fromkeys(REPRESENTATIVE,
                                                                                "caught")
