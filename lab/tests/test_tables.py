# SPDX-License-Identifier: GPL-2.0-only
"""What a person with a dead kexec can see: the loaded image's page tables in debugfs."""

import re

from lab import scenario
from lab.machine import PATIENCE

SHOWN = "/sys/kernel/debug/kexec_page_tables"
LINE = re.compile(r"^0x([0-9a-f]+)-0x([0-9a-f]+) +\S+ (?:PTE|PMD|PUD|PGD) (.*)$", re.MULTILINE)


def shown(machine):
    """[(first address, address behind, attributes)] of each table shown: the relocation
    code's and the copy's."""
    text = machine.sh(f"cat {SHOWN}")
    return [[(int(first, 16), int(behind, 16), attributes) for first, behind, attributes
             in LINE.findall(part) if " F " not in f" {attributes} "]
            for part in re.split(r"---\[ (?:Relocation code|Copy of).*\n", text)[1:]]


def test_tables_shown(bench):
    """Nothing while there is no image, or one in place; both tables of a loaded image: one
    page of code, read-only and executable, at its physical address, and memory, writable
    and not executable; nothing again once it is unloaded."""
    with bench.booted(append=scenario.CRASH) as machine:
        assert not shown(machine)
        scenario.load(machine, "-s -p", "initramfs.cpio")
        assert not shown(machine)
        scenario.load(machine, "-s -l")
        code, copy = shown(machine)
        where = int(scenario.relocation_code(machine)[0], 16)
        assert [(first, behind) for first, behind, _ in code] == [(where, where + 4096)]
        assert re.search(r"\bro x\b", code[0][2]), code
        for first, behind, attributes in copy:
            assert re.search(r"\bRW NX\b.*\bMEM/NORMAL", attributes), (first, attributes)
        # All memory but the crash kernel's segments, which are in 128 MiB.
        mapped = sum(behind - first for first, behind, _ in copy) >> 20
        assert scenario.MEMORY - 128 <= mapped < scenario.MEMORY
        assert any(" BLK " in f" {attributes} " for _, _, attributes in copy)
        machine.sh("kexec -s -u")
        assert not shown(machine)


def test_tables_shown_while_replaced(el1_bench):
    """Reading them all the time while the image is replaced and unloaded is no trouble."""
    with el1_bench.booted() as machine:
        scenario.mount(machine)
        shown(machine)
        machine.sh(f"(while :; do cat {SHOWN} >/dev/null; done) & echo $! >/tmp/reader")
        machine.sh("n=0; while [ $n -lt 30 ]; do kexec -s -l /mnt/Image --reuse-cmdline && "
                   "kexec -s -l /mnt/Image --reuse-cmdline && kexec -s -u || break; "
                   "n=$((n+1)); done; [ $n = 30 ]", timeout=5 * PATIENCE)
        machine.sh("kill $(cat /tmp/reader)")
