# SPDX-License-Identifier: GPL-2.0-only
"""The page tables of a loaded image in debugfs, for a person whose kexec does not come back."""

import re

from lab import board, scenario
from lab.base import V5_10
from lab.console import PATIENCE
from lab.here import BASE
from lab.tests.conftest import EVERY_BASE

pytestmark = EVERY_BASE

SHOWN = "/sys/kernel/debug/kexec_page_tables"
LINE = re.compile(r"^0x([0-9a-f]+)-0x([0-9a-f]+) +\S+ (?:PTE|PMD|PUD|PGD) (.*)$", re.MULTILINE)


def shown(machine):
    """[(first address, address behind, attributes)] of each table shown: the relocation
    code's and the copy's."""
    text = machine.sh(f"cat {SHOWN}")
    return [[(int(first, 16), int(behind, 16), attributes) for first, behind, attributes
             in LINE.findall(part) if " F " not in f" {attributes} "]
            for part in re.split(r"---\[ (?:Relocation code|Copy of).*\n", text)[1:]]


def test_tables_shown(rig):
    """The file is empty without an image, with an image that is in place, and after an unload.
    With any other image it shows both tables: one page of code, read-only and executable, at its
    physical address; and memory, writable and not executable."""
    with rig.booted(append=scenario.CRASH) as machine:
        assert not shown(machine)
        scenario.load(machine, "-s -p", "initramfs.cpio")
        assert not shown(machine)
        scenario.load(machine, "-s -l")
        code, copy = shown(machine)
        ((first, behind, attributes),) = code
        assert behind - first == 4096
        assert re.search(r"\bro x\b", attributes), code
        if BASE is V5_10:           # its log tells the address too
            assert first == int(scenario.relocation_code(machine)[0], 16)
        for first, behind, attributes in copy:
            assert re.search(r"\bRW NX\b.*\bMEM/NORMAL", attributes), (first, attributes)
        # All memory. v5.10 leaves out the segments of the crash kernel, which are in 128 MiB.
        mapped = sum(behind - first for first, behind, _ in copy) >> 20
        assert board.MEMORY - 128 <= mapped <= board.MEMORY
        assert (mapped < board.MEMORY) == (BASE is V5_10)
        assert any(" BLK " in f" {attributes} " for _, _, attributes in copy)
        machine.sh("kexec -s -u")
        assert not shown(machine)


def test_tables_shown_while_replaced(el1_rig):
    """The tables can be read all the time while the image is replaced and unloaded."""
    with el1_rig.booted() as machine:
        scenario.mount(machine)
        shown(machine)
        machine.sh(f"(while :; do cat {SHOWN} >/dev/null; done) & echo $! >/tmp/reader")
        machine.sh("n=0; while [ $n -lt 30 ]; do kexec -s -l /mnt/Image --reuse-cmdline && "
                   "kexec -s -l /mnt/Image --reuse-cmdline && kexec -s -u || break; "
                   "n=$((n+1)); done; [ $n = 30 ]", timeout=5 * PATIENCE)
        machine.sh("kill $(cat /tmp/reader)")
