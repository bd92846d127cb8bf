# SPDX-License-Identifier: GPL-2.0-only
"""The series' own KUnit tests, which the kernel runs while it boots, case by case, on
kernels that map their memory in different ways. KASAN watches all of them."""

import re

import pytest

from lab import build, guest, tap
from lab.board import MEMORY, RAM, Board, Boot
from lab.console import PATIENCE
from lab.machine import Machine
from lab.scenario import CRASH
from lab.here import TEST_LOGS
from lab.util import TOP

SOURCE = TOP / "arch/arm64/mm/trans_pgd_test.c"
CASES = re.findall(r"^\tKUNIT_CASE\((\w+)\)", SOURCE.read_text(), re.MULTILINE)
SUITE = "trans_pgd"
# Three pages in the middle of a table, and of what would be a block
NOMAP = (RAM + (384 << 20) + 5 * 4096, 3 * 4096)

# {name: (level, command line, more of its board)}
MACHINES = {
    "pages": ("el1", "", {}),
    "blocks": ("vhe", "rodata=off", {}),
    "hidden": ("el1", "debug_pagealloc=on", {}),
    "hole": ("nvhe", "rodata=off", {"nomap": NOMAP}),
    "hole-hidden": ("el1", "debug_pagealloc=on", {"nomap": NOMAP}),
    "crash-kernel": ("el1", f"{CRASH} nokaslr", {}),
}


@pytest.fixture(scope="module", params=[
    # All cases of a machine to the worker that has booted it
    pytest.param(name, marks=pytest.mark.xdist_group(f"kunit-{name}")) for name in MACHINES])
def outcome(request):
    """{case: what the kernel said of it} of a machine; one boot."""
    level, append, options = MACHINES[request.param]
    kernel = build.kernel("series", "tiny+kasan") / "arch/arm64/boot/Image"
    with Machine(f"kunit-{request.param}", TEST_LOGS, Board(level, memory=MEMORY, **options),
                 Boot(kernel, guest.initramfs(), append)) as machine:
        machine.wait_ready(timeout=2 * PATIENCE)
        found = tap.kunit(machine.text())
    assert [result.name for result in found if not result.depth] == [SUITE]
    return {result.name: result for result in found if result.depth == tap.CASE}


def test_cases(outcome):
    """The kernel runs the cases that its source lists, and no other."""
    assert list(outcome) == CASES


@pytest.mark.parametrize("case", CASES)
def test_case(outcome, case):
    """The kernel finds its own library right."""
    assert case in outcome, "the kernel has not run it"
    assert outcome[case].ok and outcome[case].tried, outcome[case].detail
