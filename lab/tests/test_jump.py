# SPDX-License-Identifier: GPL-2.0-only
"""How the kernel jumps to code that it has copied to a page of its own. A compiler that checks
calls through pointers makes such a call fault, so the jump has to be the library's assembly. The
machine 64k42-kcfi-el1 of lab/machines.cfg does the jumps with such a compiler."""

import re

import pytest

from lab import build, host
from lab.util import output

JUMPS = [("machine_kexec", "machine_kexec"), ("hibernate", "swsusp_arch_resume")]


def indirect(which, name, function):
    """The instructions of a function that branch to an address in a register."""
    path = build.kernel(which) / f"arch/arm64/kernel/{name}.o"
    text = output([f"{host.cross_compile()}objdump", "-d", "--no-show-raw-insn",
                   f"--disassemble={function}", path])
    assert f"<{function}>:" in text, f"{path} has no {function}()"
    return re.findall(r"^.*\tblr?\t+x\d+.*$|^.*\tbr\t+x\d+.*$", text, re.MULTILINE)


@pytest.mark.parametrize("name, function", JUMPS)
def test_no_jump_through_a_pointer(name, function):
    """The function of the series has no call through a pointer; that of the base has."""
    assert not indirect("series", name, function)
    assert indirect("base", name, function)
