# SPDX-License-Identifier: GPL-2.0-only
"""Change a running machine from outside, by QEMU's gdb stub."""

import contextlib
import subprocess
import tempfile

from lab.machine import PATIENCE
from lab.util import LabError

SCRIPT = """
set confirm off
set architecture aarch64
target remote {socket}
hbreak *{address}
continue
{commands}
delete
detach
"""
# What `where` comes to is printed for the log.
WIPE = """
set $where = {where}
printf "wiping 4 KiB at %#lx\\n", $where
maintenance packet Qqemu.PhyMemMode:1
eval "restore {zeroes} binary %#lx", $where
maintenance packet Qqemu.PhyMemMode:0
"""


@contextlib.contextmanager
def interrupt(machine, address, commands):
    """While the block runs, wait for the machine to execute `address`, have gdb do the
    commands, and let the machine go on."""
    path = machine.log.with_suffix(".gdb.log")
    machine.wait_gdb()
    with tempfile.NamedTemporaryFile("w", suffix=".gdb") as script, \
            open(path, "w", encoding="utf-8") as log:
        script.write(SCRIPT.format(socket=machine.gdb, address=address, commands=commands))
        script.flush()
        with subprocess.Popen(["gdb-multiarch", "-batch", "-nx", "-x", script.name],
                              stdin=subprocess.DEVNULL, stdout=log, stderr=log) as gdb:
            try:
                yield
                if gdb.wait(PATIENCE):
                    raise LabError(f"gdb failed (log: {path})")
            except subprocess.TimeoutExpired:
                raise LabError(f"{address} was never executed (log: {path})") from None
            finally:
                gdb.kill()


@contextlib.contextmanager
def wipe(machine, address, where):
    """interrupt() to write zeroes to the 4 KiB at the physical address `where`, an
    expression of gdb's that is evaluated when `address` is reached."""
    with tempfile.NamedTemporaryFile() as zeroes:
        zeroes.write(bytes(4096))
        zeroes.flush()
        with interrupt(machine, address, WIPE.format(where=where, zeroes=zeroes.name)):
            yield
