# SPDX-License-Identifier: GPL-2.0-only
"""What `make bisect` does with each patch, shown with the files of the first, by gcc."""

import pytest

from lab import bisect, tree
from lab.util import LabError, locked

UNUSED = "\nstatic int broken(int x)\n{\n\treturn x;\n}\n"


def test_first_patch():
    """The first patch compiles without a new warning. With an unused function added, or with a
    syntax error, it fails."""
    tree.tree()
    with locked("bisect"):
        bisection = bisect.Bisection([("gcc", "4K")])
        bisection.step("base")
        first = tree.git_linux("rev-list", "--reverse", "base..HEAD").split()[0]
        bisection.step(first)
        path = bisect.LINUX / "arch/arm64/mm/trans_pgd.c"
        path.write_text(path.read_text() + UNUSED)
        with pytest.raises(LabError, match="gcc 4K: arch/arm64/mm/trans_pgd.c: warning: .broken"):
            bisection.compile()
        path.write_text(path.read_text() + "no C\n")
        with pytest.raises(LabError, match="does not build:\n.*trans_pgd.c"):
            bisection.compile()
