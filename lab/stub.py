# SPDX-License-Identifier: GPL-2.0-only
"""A client of QEMU's gdb stub. It stops a machine at an address, reads and changes it, and
executes one instruction at a time. gdb is sixteen times slower at stepping, because it looks at
the frame after each step."""

import contextlib
import struct

from lab.util import LabError

# x0 to x30, sp, pc and cpsr, as the stub's g packet has them
CORE = struct.Struct("<33QI")
EL_SHIFT = 2
CHUNK = 1024                    # bytes that fit into a packet


class Stub:
    """A connection to a machine that was started with gdb=. The machine runs only in running_to(),
    run_to() and step(), and is let go at the end of the `with`. Registers are those of the CPU
    that stopped. For step() the machine must have one CPU."""

    def __init__(self, machine):
        self.machine = machine
        self.socket = None
        self.buffer = b""

    def __enter__(self):
        self.socket = self.machine.connection(self.machine.gdb)
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
        """Send a packet, which has to be answered by what begins so. None: it has been sent."""
        answer = self.ask(text) if text else self.receive()
        if not answer.startswith(start):
            raise LabError(f"QEMU's gdb stub says {answer!r} and not {start!r} "
                           f"({text or 'while the machine runs'})")
        return answer

    @contextlib.contextmanager
    def running_to(self, address):
        """Let the machine run during the block, and then on to an address. It stops there even if
        it arrives during the block. The block has to read the console, because a full console
        blocks the machine."""
        self.expect(f"Z1,{address:x},4", "OK")
        self.send("c")
        yield
        self.expect(None, "T05")
        self.expect(f"z1,{address:x},4", "OK")

    def run_to(self, address):
        """Let the machine run until it is about to execute an address."""
        with self.running_to(address):
            pass

    def step(self):
        """Execute one instruction."""
        self.expect("s", "T05")

    def registers(self):
        """x0 to x30, sp and pc as a tuple, and the exception level."""
        core = CORE.unpack_from(bytes.fromhex(self.ask("g")))
        return core[:33], core[33] >> EL_SHIFT & 3

    def set_register(self, number, value):
        """Write a general purpose register."""
        # QEMU allows this only after the list of registers was read.
        self.expect("qXfer:features:read:target.xml:0,800", "l")
        self.expect(f"P{number:x}={value.to_bytes(8, 'little').hex()}", "OK")

    def memory(self, address, size):
        """Memory at a virtual address. It has to fit into one packet."""
        answer = self.ask(f"m{address:x},{size:x}")
        if len(answer) != 2 * size:
            raise LabError(f"{address:#x} cannot be read: nothing is mapped there ({answer})")
        return bytes.fromhex(answer)

    def word(self, address):
        """Four bytes of memory at a virtual address."""
        return int.from_bytes(self.memory(address, 4), "little")

    def number(self, address):
        """Eight bytes of memory at a virtual address."""
        return int.from_bytes(self.memory(address, 8), "little")

    def physical_memory(self, address, size):
        """Memory at a physical address, at most a page."""
        self.expect("Qqemu.PhyMemMode:1", "OK")
        data = b"".join(self.memory(address + offset, CHUNK) for offset in range(0, size, CHUNK))
        self.expect("Qqemu.PhyMemMode:0", "OK")
        return data

    def wipe_physical(self, address, size):
        """Write zeroes to memory at a physical address."""
        self.expect("Qqemu.PhyMemMode:1", "OK")
        for offset in range(0, size, CHUNK):
            self.expect(f"M{address + offset:x},{CHUNK:x}:{'00' * CHUNK}", "OK")
        self.expect("Qqemu.PhyMemMode:0", "OK")

    def physical(self, address):
        """What the MMU makes of a virtual address, as it is now; None if it faults."""
        self.send("qRcmd," + f"gva2gpa {address:#x}".encode().hex())
        said = ""
        while (packet := self.receive()) != "OK":
            said += bytes.fromhex(packet.removeprefix("O")).decode()
        return int(said.split()[1], 16) if said.startswith("gpa:") else None
