# SPDX-License-Identifier: GPL-2.0-only
"""The options of the commands: variables that a user sets, as JOBS=4. They are read here. A wrong
value of any of them ends every command, `make host` too, before it has done anything.

LINUX, CONFIG and PYTHON name files, and T and M choose by words. The commands check those
themselves.
"""

import os

from lab.base import BASES
from lab.board import LEVELS
from lab.table import KERNELS, one_of, positive
from lab.util import LabError, or_exit


def switch(text):
    """On or off."""
    return one_of(("0", "1"))(text) == "1"


# What makes a value of an option's text. An empty text is as none.
OPTIONS = {"BASE": one_of(BASES), "LEVEL": one_of(LEVELS), "KERNEL": one_of(KERNELS),
           "AM": one_of(("base", "all")), "EXPECT": one_of(("update",)),
           "JOBS": positive, "LAB_PATIENCE": positive,
           "CLEAN": switch, "KEEP": switch, "WITHOUT": switch, "DTBS": switch,
           "LAB_GDB": switch}


def option(name, default=None):
    """The value of an option, or the default if the user has not set it."""
    text = os.environ.get(name)
    if not text:
        return default
    try:
        return OPTIONS[name](text)
    except ValueError as error:
        raise LabError(f"{name}={text} {error}; mend it or leave it out") from None


with or_exit():
    for each in OPTIONS:
        option(each)
