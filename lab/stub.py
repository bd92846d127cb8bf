# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's gdb stub, spoken to directly, to execute a machine one instruction at a time. gdb
itself, which looks at the frame after each, is sixteen times slower at that."""

import contextlib
import socket
import struct

from lab.machine import PATIENCE
from lab.util import LabError

# x0 to x30, sp, pc and cpsr, as the stub's g packet has them
CORE = struct.Struct("<33QI")
EL_SHIFT = 2
CHUNK = 1024                    # bytes that fit into a packet


class Stub:
    """A connection to a machine started with gdb=; the machine has one CPU and stands
    still but for run_to() and step(), until it is let go at the end of the `with`."""

    def __init__(self, machine):
        self.machine = machine
        self.socket = None
        self.buffer = b""

    def __enter__(self):
        self.machine.wait_gdb()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(self.machine.gdb))
        # The machine stops at that, and tells so, some time.
        answer = self.ask("vMustReplyEmpty")
        while answer:
            answer = self.receive()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(LabError, OSError):
            self.ask("D")       # let it go
        self.socket.close()

    def send(self, text):
        """Send a packet."""
        data = text.encode()
        self.socket.sendall(b"$%s#%02x" % (data, sum(data) & 0xff))

    def receive(self):
        """The content of the next packet."""
        while True:
            start = self.buffer.find(b"$")
            end = self.buffer.find(b"#", start)
            if 0 <= start < end and len(self.buffer) >= end + 3:
                packet = self.buffer[start + 1:end]
                self.buffer = self.buffer[end + 3:]
                self.socket.sendall(b"+")
                if packet.startswith((b"W", b"X")):
                    raise LabError("the machine was reset or ended while it was looked at "
                                   f"(console log: {self.machine.log})")
                return packet.decode()
            try:
                more = self.socket.recv(1 << 16)
            except TimeoutError:
                raise LabError(f"QEMU's gdb stub says nothing (console log: {self.machine.log})"
                               ) from None
            if not more:
                raise LabError("the machine ended while it was looked at "
                               f"(console log: {self.machine.log})")
            self.buffer += more

    def ask(self, text):
        """Send a packet; return the answer."""
        self.send(text)
        return self.receive()

    def expect(self, text, start):
        """Send a packet that has to be answered by what begins so."""
        answer = self.ask(text)
        if not answer.startswith(start):
            raise LabError(f"QEMU's gdb stub answers {answer!r} to {text!r}")
        return answer

    def run_to(self, address):
        """Let the machine run until it is about to execute an address."""
        self.expect(f"Z1,{address:x},4", "OK")
        self.expect("c", "T05")
        self.expect(f"z1,{address:x},4", "OK")

    def step(self):
        """Execute one instruction."""
        self.expect("s", "T05")

    def registers(self):
        """x0 to x30, sp and pc as a tuple, and the exception level."""
        core = CORE.unpack_from(bytes.fromhex(self.ask("g")))
        return core[:33], core[33] >> EL_SHIFT & 3

    def set_register(self, number, value):
        """Write a general purpose register."""
        # QEMU lets only those do it that have asked what registers there are.
        self.expect("qXfer:features:read:target.xml:0,800", "l")
        self.expect(f"P{number:x}={value.to_bytes(8, 'little').hex()}", "OK")

    def memory(self, address, size):
        """Memory at a virtual address; few bytes, for it has to fit into a packet."""
        answer = self.ask(f"m{address:x},{size:x}")
        if len(answer) != 2 * size:
            raise LabError(f"{address:#x} cannot be read: nothing is mapped there ({answer})")
        return bytes.fromhex(answer)

    def word(self, address):
        """Four bytes of memory at a virtual address."""
        return int.from_bytes(self.memory(address, 4), "little")

    def physical_memory(self, address, size):
        """Memory at a physical address, at most a page."""
        self.expect("Qqemu.PhyMemMode:1", "OK")
        data = b"".join(self.memory(address + offset, CHUNK) for offset in range(0, size, CHUNK))
        self.expect("Qqemu.PhyMemMode:0", "OK")
        return data

    def physical(self, address):
        """What the MMU makes of a virtual address, as it is now; None if it faults."""
        self.send("qRcmd," + f"gva2gpa {address:#x}".encode().hex())
        said = ""
        while (packet := self.receive()) != "OK":
            said += bytes.fromhex(packet.removeprefix("O")).decode()
        return int(said.split()[1], 16) if said.startswith("gpa:") else None
