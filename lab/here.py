# SPDX-License-Identifier: GPL-2.0-only
"""The base that this command works on, and the folder for what it makes. Two bases share no
folder, so commands for both can run at the same time."""

import os

from lab.base import V5_10, named, of, source_version
from lab.options import option
from lab.util import BUILD, MUTANT, LabError, or_exit


def told():
    """The base that the user asks for: the one that BASE= names, or that of the tree in LINUX=,
    or v5.10."""
    if name := option("BASE"):
        return named(name)
    linux = os.environ.get("LINUX")
    # If LINUX= is no kernel tree, check_source() complains later.
    version = linux and source_version(linux)
    try:
        return of(version) if version else V5_10
    except LabError as error:
        raise LabError(f"LINUX={linux}: {error}") from None


with or_exit():
    BASE = told()

HERE = BUILD / BASE.name
MUTANTS = HERE / "mutants"
TEST_LOGS = MUTANTS / "log" / MUTANT if MUTANT else HERE / "test/log"
