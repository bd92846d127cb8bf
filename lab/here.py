# SPDX-License-Identifier: GPL-2.0-only
"""The base that this command works on, and the folder for what it makes. Two bases share no
folder, so commands for both can run at the same time."""

import os
import sys

from lab.base import V5_10, named, of, source_version
from lab.util import BUILD, MUTANT, LabError


def told(environ):
    """The base that an environment asks for: the one that BASE= names, or that of the tree in
    LINUX=, or v5.10."""
    if environ.get("BASE"):
        return named(environ["BASE"])
    # If LINUX= is no kernel tree, check_source() complains later.
    version = environ.get("LINUX") and source_version(environ["LINUX"])
    try:
        return of(version) if version else V5_10
    except LabError as error:
        raise LabError(f"LINUX={environ['LINUX']}: {error}") from None


try:
    BASE = told(os.environ)
except LabError as wrong:       # no command has begun, so main() does not catch it
    sys.exit(f"error: {wrong}")

HERE = BUILD / BASE.name
MUTANTS = HERE / "mutants"
TEST_LOGS = MUTANTS / "log" / MUTANT if MUTANT else HERE / "test/log"
