# SPDX-License-Identifier: GPL-2.0-only
"""What a machine's console prints. First the lines that fail its test, as v5.10 prints them. Each
is found by itself, because it may be the last before the machine stops. Then what the guest
answers."""

import re
import sys

import pytest

from lab.board import Board, Boot
from lab.console import PROMPT, TROUBLE, Console, printed_line, without_messages
from lab.machine import Machine
from lab.util import LabError

STAMP = "[   12.345678] "
REPORTS = {
    "warning": "WARNING: CPU: 1 PID: 42 at mm/vmalloc.c:2215 __vunmap+0x34/0x2c8",
    "warning text": "------------[ cut here ]------------",
    "bug": "kernel BUG at mm/slub.c:4033!",
    "panic": "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
    "stack": "Kernel panic - not syncing: kernel stack overflow",
    "null": "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
    "paging": "Unable to handle kernel paging request at virtual address ffff000012345678",
    "oops": "Internal error: Oops: 96000004 [#1] SMP",
    "undefined": "Internal error: undefined instruction: 0 [#1] PREEMPT SMP",
    "abort": "Internal error: synchronous external abort: 96000210 [#1] SMP",
    "serror": "SError Interrupt on CPU0, code 0xbf000002 -- SError",
    "sleeping": "BUG: sleeping function called from invalid context at mm/slab.h:504",
    "atomic": "BUG: scheduling while atomic: kexec/42/0x00000002",
    "spinlock": "BUG: spinlock bad magic on CPU#0, swapper/0/1",
    "soft lockup": "watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [kexec:42]",
    "workqueue": "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 30s!",
    "circular": "WARNING: possible circular locking dependency detected",
    "recursive": "WARNING: possible recursive locking detected",
    "inversion": "WARNING: possible irq lock inversion dependency detected",
    "irq order": "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected",
    "inconsistent": "WARNING: inconsistent lock state",
    "unlock": "WARNING: bad unlock balance detected!",
    "freed": "WARNING: held lock freed!",
    "returning": "WARNING: lock held when returning to user space!",
    "wait context": "[ BUG: Invalid wait context ]",
    "static key": "INFO: trying to register non-static key.",
    "lockdep limit": "BUG: MAX_LOCKDEP_ENTRIES too low!",
    "lockdep off": "INFO: lockdep is turned off.",
    "rcu usage": "WARNING: suspicious RCU usage",
    "rcu stall": "rcu: INFO: rcu_sched self-detected stall on CPU",
    "rcu stalls": "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "hung": "INFO: task kexec:42 blocked for more than 120 seconds.",
    "kasan": "BUG: KASAN: use-after-free in copy_ptes+0x10/0x80",
    "ubsan": "UBSAN: shift-out-of-bounds in arch/arm64/mm/trans_pgd.c:42:7",
    "kmemleak": "kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "kmemleak off": "kmemleak: Kernel memory leak detector disabled",
    "slab": "BUG kmalloc-128 (Not tainted): Redzone overwritten",
    "list add": "list_add corruption. next->prev should be prev (ffff000001), but was 0000.",
    "list del": "list_del corruption, ffff000001->next is LIST_POISON1 (dead000000000100)",
    "page state": "BUG: Bad page state in process kexec  pfn:60000",
    "page map": "BUG: Bad page map in process kexec  pte:0 pmd:0",
    "rss": "BUG: Bad rss-counter state mm:(____ptrval____) type:MM_ANONPAGES val:1",
    "poison": "pagealloc: memory corruption",
    "bit": "pagealloc: single bit error",
}
# What the consoles of good machines have.
HARMLESS = [
    "Kernel panic - not syncing: sysrq triggered crash",
    "Machine model: linux,dummy-virt",
    "kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)",
    "kexec_core: Starting new kernel",
    "Can't kexec: destination page at 0x000000000e800000 is not mapped.",
    "FAULT_INJECTION: forcing a failure.",
    "Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
    "rcu: \tRCU lockdep checking is enabled.",
    "debug_vm_pgtable: [debug_vm_pgtable         ]: Validating architecture page table helpers",
    "page_alloc: fallback order",
    "RAMDISK: list_add is no corruption",
]


@pytest.mark.parametrize("report", REPORTS)
def test_trouble(report):
    """A report is found, as the whole line, with the kernel's other lines around it."""
    line = STAMP + REPORTS[report]
    console = f"{STAMP}Bye!\r\n{line}\r\n{STAMP}Call trace:\r\n"
    assert TROUBLE.search(console).group().strip() == line


@pytest.mark.parametrize("line", HARMLESS)
def test_no_trouble(line):
    """What is no report is let be."""
    assert not TROUBLE.search(f"{STAMP}{line}\r\n")


SAYS = f"{STAMP}PM: done\r\n{STAMP}lab\r\n"


def broken(text):
    """The text whole, with messages at each place in it, and between all of its characters."""
    yield text
    for i in range(len(text) + 1):
        yield text[:i] + SAYS + text[i:]
    yield SAYS.join(text)


def test_line_in_parts():
    """Messages of the kernel may stand anywhere in a line of the guest. A part of a line is not
    taken for the whole."""
    line = "LAB RESUMED 12\r\r\n"
    for text in broken(line):
        found = re.search(printed_line("LAB RESUMED "), text)
        assert found and without_messages(found[1]) == "12", text
    for text in broken(line[:-1]):
        assert not re.search(printed_line("LAB RESUMED "), text), text


def test_shell_in_parts(tmp_path):
    """A command's marks, status and prompt may have messages in them."""
    guest = tmp_path / "guest.py"
    for text in zip(broken("LAB1 BEGIN\r\n"), broken("LAB1 END 10\r\n"), broken(PROMPT)):
        guest.write_text(f"input(); print({text!r}[0] + 'said\\r\\n', end='');"
                         f"print({text!r}[1] + {text!r}[2], end='', flush=True); input()")
        console = Console(tmp_path / "log")
        console.start([sys.executable, str(guest)])
        assert console.sh("true", check=False).replace(SAYS.replace("\r", ""), "") == "said\n"
        console.end()


def test_socket_before_it_listens(tmp_path):
    """QEMU's socket is waited for: until it is there, and until QEMU listens. A machine that has
    ended is not waited for."""
    machine = Machine("socket", tmp_path, Board(), Boot(tmp_path / "Image", tmp_path / "initrd"))
    machine.start([sys.executable, "-c", "import socket, sys, time; time.sleep(0.3); "
                   "qemu = socket.socket(socket.AF_UNIX); qemu.bind(sys.argv[1]); "
                   "time.sleep(0.3); qemu.listen(); qemu.accept()", str(machine.gdb)])
    machine.connection(machine.gdb).close()
    machine.child.wait()
    with pytest.raises(LabError, match=f"has not opened {machine.gdb.name}"):
        machine.connection(machine.gdb)
    machine.end()
