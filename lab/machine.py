# SPDX-License-Identifier: GPL-2.0-only
"""One arm64 machine under QEMU, driven over its serial console."""

import dataclasses
import json
import socket
import time

from lab import dtb
from lab.board import DIMM, QEMU, Files, Watch, arguments
from lab.console import PATIENCE, Console
from lab.options import option


# LAB_GDB=1: gdb can attach to every machine, whose kernel is where vmlinux says.
GDB = option("LAB_GDB", False)


class Machine(Console):
    """A context manager; QEMU runs from `with` to its end and never longer.

    name: of the logs; logs: the folder for the console log and for the output of the plugin;
    board, boot, watch: see lab/board.py; patience: seconds, see PATIENCE. gdb can attach to
    self.gdb.
    """

    def __init__(self, name, logs, board, boot, watch=Watch(), patience=PATIENCE):
        self.files = Files.of(logs, name)
        super().__init__(self.files.log, patience)
        if GDB:
            boot = boot._replace(append=f"{boot.append} nokaslr")
            watch = dataclasses.replace(watch, gdb=watch.gdb or True)
        self.board, self.boot, self.watch = board, boot, watch
        self.gdb = self.files.gdb
        self.dimms = 0

    def __enter__(self):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.files.report.unlink(missing_ok=True)
        argv = arguments(self.board, self.boot, self.watch, self.files)
        if self.board.needs_tree:
            argv += dtb.write(self.board, self.boot, self.files, argv)
        self.start([QEMU, *argv])
        return self

    def __exit__(self, exception, *_):
        self.end()
        for path in (self.files.gdb, self.files.qmp):
            path.unlink(missing_ok=True)
        if not exception:
            self.check()

    def connection(self, path):
        """A socket that is connected to one of QEMU's. QEMU may only just have been started, and
        the file is there before QEMU listens."""
        deadline = time.monotonic() + self.patience
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(self.patience)
        while True:
            try:
                line.connect(str(path))
                return line
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline or not self.child.isalive():
                    line.close()
                    self.fail(f"QEMU has not opened {path.name}")
            time.sleep(0.1)

    def ask(self, command, **what):
        """Have QEMU itself do something, by QMP; return what it answers."""
        with self.connection(self.files.qmp) as line:
            with line.makefile("rw", encoding="utf-8") as talk:
                talk.readline()         # its greeting
                for what in ({"execute": "qmp_capabilities"},
                             {"execute": command, "arguments": what}):
                    talk.write(json.dumps(what) + "\n")
                    talk.flush()
                    while "event" in (answer := json.loads(talk.readline())):
                        pass
        if "error" in answer:
            self.fail(f"QEMU's {command}: {answer['error']['desc']}")
        return answer["return"]

    def plug(self):
        """Plug in a DIMM."""
        self.dimms += 1
        self.ask("object-add", **{"qom-type": "memory-backend-ram", "id": f"more{self.dimms}",
                                  "size": DIMM << 20, "reserve": False})
        self.ask("device_add", driver="pc-dimm", id=f"dimm{self.dimms}",
                 memdev=f"more{self.dimms}")

    def unplug(self):
        """Ask the guest to give the last DIMM back."""
        self.ask("device_del", id=f"dimm{self.dimms}")

    def relocations(self):
        """What the plugin saw, oldest first; None without the plugin. A relocation
        is complete there once the next kernel runs."""
        if not (self.watch.plugin and self.board.emulated):
            return None
        return [entry for entry in self.reported() if "page" in entry]

    def reported(self):
        """All that the plugin has reported so far."""
        return [json.loads(line) for line in self.files.report.read_text().splitlines()]
