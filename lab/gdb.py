# SPDX-License-Identifier: GPL-2.0-only
"""Change a running machine from outside, by QEMU's gdb stub."""

import contextlib
import subprocess
import tempfile
import time

from lab.machine import PATIENCE
from lab.util import LabError

# gdb prints the address that `where` comes to, for the log.
SCRIPT = """
set confirm off
set architecture aarch64
target remote {socket}
hbreak *{address}
continue
set $where = {where}
printf "wiping 4 KiB at %#lx\\n", $where
maintenance packet Qqemu.PhyMemMode:1
eval "restore {zeroes} binary %#lx", $where
maintenance packet Qqemu.PhyMemMode:0
delete
detach
"""


@contextlib.contextmanager
def wipe(machine, address, where):
    """While the block runs, wait for the machine to execute `address`, write zeroes to
    the 4 KiB at the physical address `where`, and let it go on.

    where: an expression of gdb's, evaluated when `address` is reached.
    """
    path = machine.log.with_suffix(".gdb.log")
    deadline = time.monotonic() + PATIENCE
    while not machine.gdb.exists() and time.monotonic() < deadline:
        time.sleep(0.1)         # QEMU may only just have been started
    with tempfile.TemporaryDirectory() as folder, open(path, "w", encoding="utf-8") as log:
        with open(f"{folder}/zeroes", "wb") as zeroes:
            zeroes.write(bytes(4096))
        with open(f"{folder}/script", "w", encoding="utf-8") as script:
            script.write(SCRIPT.format(socket=machine.gdb, address=address, where=where,
                                       zeroes=f"{folder}/zeroes"))
        with subprocess.Popen(["gdb-multiarch", "-batch", "-nx", "-x", f"{folder}/script"],
                              stdin=subprocess.DEVNULL, stdout=log, stderr=log) as gdb:
            try:
                yield
                if gdb.wait(10):
                    raise LabError(f"gdb failed (log: {path})")
            finally:
                gdb.kill()
