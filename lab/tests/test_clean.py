# SPDX-License-Identifier: GPL-2.0-only
"""Maintenance of caches and of the TLB. Emulation has no caches, and empties its TLB too often, so
a mistake does not show by itself. A hand-over is therefore stepped through, from the load of the
image to the first instruction of the new kernel, and each instruction is judged."""

import re

import pytest

from lab import build, coherence, host, insn
from lab.here import TEST_LOGS
from lab.tests.conftest import EVERY_BASE
from lab.util import LabError, output

LEVELS = ["el1", "nvhe", "vhe"]     # KVM's registers are not the stub's to step
PAGES = 5                           # the tiny kernel's, and its device tree
# What binutils calls instructions that access memory, and those that only store.
ACCESSES = re.compile(r"(ld|st|cas|swp)[a-z0-9]*$")
STORES = re.compile(r"(st|cas|swp|ld(add|clr|eor|set))")


@EVERY_BASE
@pytest.mark.parametrize("level", LEVELS)
def test_clean(level):
    """Whatever is executed or loaded with the MMU off was cleaned to the PoC after the last store
    to it, and the instruction caches were invalidated after that. Before TTBR0 and TTBR1 got other
    tables, the TLB was emptied while they mapped nothing."""
    judge = coherence.handed_over(f"clean-{level}", level, TEST_LOGS)
    assert len(judge.relocated) * coherence.GRANULE >= PAGES * coherence.PAGE
    assert judge.cleans * judge.line >= PAGES * coherence.PAGE
    assert (judge.ttbr0.switches, judge.ttbr1.switches) == (1, 1)


@EVERY_BASE
@pytest.mark.parametrize("level", LEVELS)
def test_resume_switches_tables(level):
    """A resume, stepped through in the same way, also empties the TLB between two sets of tables:
    in TTBR0 between user space's and those of the page of code, in TTBR1 between the live linear
    map and its copy."""
    judge = coherence.resumed(f"resume-tables-{level}", level, TEST_LOGS)
    assert (judge.ttbr0.switches, judge.ttbr1.switches) == (1, 1)


@pytest.mark.parametrize("line", [16])
def test_clean_small_lines(line):
    """The same with cache lines smaller than what the relocation code copies at a time."""
    judge = coherence.handed_over(f"clean-line-{line}", "el1", TEST_LOGS, line)
    assert judge.cleans * line >= PAGES * coherence.PAGE


def test_decoder():
    """lab/insn.py and binutils agree about each instruction of a kernel: whether it accesses
    memory, and whether it stores."""
    text = output([f"{host.cross_compile()}objdump", "-d",
                   build.kernel("series") / "vmlinux"])
    found = dict(re.findall(r"^[0-9a-f]{16}:\t([0-9a-f]{8}) \t([a-z0-9.]+)", text, re.MULTILINE))
    seen = 0
    for digits, name in found.items():
        word = int(digits, 16)
        if name == "udf" or name.startswith("."):
            continue
        accesses = insn.accesses(word)
        assert bool(accesses) == bool(ACCESSES.match(name)), (digits, name)
        for access in accesses:
            assert access.store == bool(STORES.match(name)), (digits, name)
            seen += 1
    assert seen > 10_000


@pytest.mark.parametrize("word", [
    0x4c007000,     # st1, of vectors
    0xd920_0c00,    # stg, of tags
    0x1904_0400,    # set, of memory
    0xe4004000,     # st1b, of SVE
    0xd50b7460,     # dc gva
])
def test_unknown(word):
    """What may store and is not understood is an error."""
    with pytest.raises(LabError, match="does not know"):
        insn.accesses(word)
        insn.cache(word)
