# SPDX-License-Identifier: GPL-2.0-only
"""An exception during relocation resets the machine instead of hanging it."""

import re
import subprocess

from lab import build, scenario

# What gdb does once the relocation code has been entered: wipe the top table of the
# copy, which is not in use yet. {code} and {ttbr1} are physical addresses.
SCRIPT = """
set confirm off
target remote {socket}
hbreak *{code}
continue
maintenance packet Qqemu.PhyMemMode:1
restore {zeroes} binary {ttbr1}
maintenance packet Qqemu.PhyMemMode:0
delete
detach
"""


def test_fault_resets(bench, tmp_path):
    """A copy that translates nothing any more: the first access faults, and the machine
    boots from its firmware again, without the payload."""
    zeroes = tmp_path / "zeroes"
    zeroes.write_bytes(bytes(4096))
    with bench.machine(gdb=True, reboot=True) as machine:
        machine.wait_ready()
        scenario.load(machine, "-s -l")
        told = re.search(r"relocation code (0x[0-9a-f]+), .* ttbr1 (0x[0-9a-f]+),",
                         machine.sh("dmesg"))
        script = tmp_path / "script.gdb"
        script.write_text(SCRIPT.format(socket=machine.gdb, code=told.group(1), zeroes=zeroes,
                                        ttbr1=told.group(2)))
        vmlinux = build.kernel("series") / "vmlinux"
        with open(machine.logs / f"{bench.name}.gdb.log", "w", encoding="utf-8") as log, \
                subprocess.Popen(["gdb-multiarch", "-batch", "-nx", "-x", script, vmlinux],
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log) as gdb:
            machine.sh("dmesg -n 8; sleep 2")
            machine.send("kexec -e")
            machine.expect("Bye!", what="the old kernel's last word")
            machine.wait_ready()
            assert gdb.wait(10) == 0
        machine.sh("test ! -e /payload.md5")
        assert not machine.relocations()
