# SPDX-License-Identifier: GPL-2.0-only
"""One arm64 machine under QEMU, driven over its serial console.

Everything that goes wrong in it (a report of the kernel, an early end, silence)
is a LabError of one line that names the console log.
"""

import contextlib
import json
import os
import pathlib
import platform
import re
import shlex
import struct
import tempfile
import time

import pexpect

from lab.util import LabError, no_command, run

QEMU = "qemu-system-aarch64"
# Seconds for what an idle two-core machine does in at most a tenth of that. Every
# timeout of a guest is this one or a multiple: a slow machine has one number to raise.
PATIENCE = int(os.environ.get("LAB_PATIENCE", "60"))
RAM = 0x40000000                # where the virt machine's memory begins
# From where memory begins for a kernel that QEMU's own loader cannot place.
PLACES = {"dtb": 0x7e00000, "initrd": 0x8000000}
UEFI = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
SLOTS = 32                      # virtio-mmio transports of the virt machine
PROMPT = "lab# "
KERNEL_LINE = re.compile(r"\[ *\d+\.\d{6}\] [^\n]*\n")
LINE_END = re.compile(r"\r+\n")     # the guest's terminal and QEMU's both add a return
# panic=-1 with -no-reboot: a panic ends QEMU at once, with the whole report logged.
CMDLINE = "console=ttyAMA0 earlycon loglevel=8 panic=-1"

# (options of the machine, options of the CPU). cortex-a57 has no VHE, max has.
# its=off: LPI tables do not survive kexec. lpa2=off: plain v5.10 does not take a CPU
# whose 4K granule reads "with 52 bits" for one that has it. pauth-impdef: QEMU's
# architected pointer authentication costs half the time of a kernel that uses it.
LEVELS = {
    "el1": ("gic-version=2", "cortex-a57"),
    "nvhe": ("gic-version=2,virtualization=on", "cortex-a57"),
    "vhe": ("gic-version=2,virtualization=on", "max,pauth-impdef=on,lpa2=off"),
    "kvm": ("accel=kvm,gic-version=host,its=off", "host"),
}

# Whole lines, so that the report is complete where it is judged. The crash that the
# kdump test asks for is no trouble.
TROUBLE = re.compile(
    r"[^\n]*(?:Kernel panic - not syncing: (?!sysrq triggered crash)|"
    r"Unable to handle kernel|Internal error:|Oops|\bBUG\b|WARNING: |\bKASAN\b|\bUBSAN\b|"
    r"possible (?:circular|recursive) locking|inconsistent lock state|suspicious RCU usage|"
    r"INFO: (?:task|rcu|trying to register)|detected stalls|BUG: Bad page state|"
    r"-\[ cut here \]-|list_(?:add|del) corruption|pagealloc: |lockdep is turned off|"
    r"new suspected memory leaks|Kernel memory leak detector disabled|"
    r"Synchronous External Abort|SError Interrupt)[^\n]*\n")


def cells(*values):
    """The 32-bit halves of 64-bit values, as fdtput takes them with -t x."""
    return [f"{word:#x}" for value in values for word in divmod(value, 1 << 32)]


def memory_options(mebibytes, nodes):
    """QEMU's options for memory; sparse: the host needs no more than the guest touches."""
    options = ["-m", f"{mebibytes}M"]
    for node in range(nodes):
        options += ["-object",
                    f"memory-backend-ram,id=ram{node},size={mebibytes // nodes}M,reserve=off"]
        if nodes > 1:
            options += ["-numa", f"node,nodeid={node},memdev=ram{node}"]
    return options if nodes > 1 else [*options, "-machine", "memory-backend=ram0"]


def kvm_works():
    """Whether this host can run the guest on its own CPU."""
    return platform.machine() == "aarch64" and os.access("/dev/kvm", os.R_OK | os.W_OK)


class Machine:
    """A context manager; QEMU runs from `with` to its end and never longer.

    name: of the logs; images: drives that the guest cannot write to, from /dev/vda
    on, and after them drives: those that it can; logs: the folder for the console
    log and for the output of the plugin (a path, or None to run without); nomap:
    (address, bytes) of memory that the device tree keeps out of the linear map; gdb:
    whether gdb can attach to self.gdb, and if it is "wait", has to before anything runs;
    reboot: whether a reset boots again instead of ending QEMU; cpu: another than the
    level's; board: options of the machine on top of the level's; nodes: of NUMA, which
    share the memory evenly; uefi: boot by the firmware; seed: for KASLR, in the device tree;
    start: first address of the memory that the kernel is told of, with all below left out;
    burst: bytes that the plugin takes for a relocation, if not the plugin's own number;
    patience: seconds, see PATIENCE; parallel: its CPUs really run at the same time, which
    takes as many of the host's: with fewer, those that wait for a lock keep the one that has
    it from going on, and a resume takes three times as long; spans: what the plugin counts
    instructions of, see there. Nothing is left to chance then: QEMU's clock counts
    instructions too, and a guest that gets no input does the same each time.
    """

    def __init__(self, name, level, kernel, initrd, logs, append="", memory=1024, smp=2,
                 images=(), drives=(), plugin=None, nomap=None, gdb=False, reboot=False,
                 cpu=None, board="", nodes=1, uefi=False, seed=None, start=None,
                 burst=None, spans=(), patience=PATIENCE, parallel=False):
        self.name = name
        self.logs = pathlib.Path(logs)
        self.log = self.logs / f"{name}.console.log"
        self.report = self.logs / f"{name}.relocation.json"
        self.dtb = self.logs / f"{name}.dtb"
        self.nomap, self.seed, self.start = nomap, seed, start
        self.memory, self.kernel, self.initrd = memory, kernel, initrd
        # A short path, for a socket's cannot be long.
        self.gdb = pathlib.Path(tempfile.gettempdir(), f"lab-{os.getpid()}-{id(self)}.gdb")
        self.patience = patience
        self.plugin = plugin if level != "kvm" else None
        self.child = None
        self.count = 0
        options, usual = LEVELS[level]
        options += f",{board}" if board else ""
        end = (start or RAM) + (memory << 20)
        self.argv = ["-machine", f"virt,{options}", "-cpu", cpu or usual,
                     *memory_options((end - RAM) >> 20, nodes),
                     "-smp", str(smp), "-nodefaults", "-display", "none",
                     "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
                     "-append", f"{CMDLINE} {append}"]
        if start:
            self.argv += ["-kernel", self.logs / f"{name}.boot"]
        else:
            self.argv += ["-kernel", kernel, "-initrd", initrd]
        if uefi:
            # The firmware takes the seed of KASLR from the random numbers.
            self.argv += ["-bios", UEFI, "-device",
                          f"virtio-rng-device,bus=virtio-mmio-bus.{SLOTS - 1}"]
        if level != "kvm":
            self.argv += ["-accel", f"tcg,thread={'multi' if parallel else 'single'}"]
        if not reboot:
            self.argv += ["-no-reboot"]
        if gdb:
            self.argv += ["-gdb", f"unix:{self.gdb},server=on,wait=off"]
        if gdb == "wait":
            self.argv += ["-S"]
        for slot, (path, mode) in enumerate([(path, "on") for path in images]
                                            + [(path, "off") for path in drives]):
            # Named buses, for the kernel's order of disks is the order of addresses.
            self.argv += ["-drive", f"if=none,id=drive{slot},format=raw,readonly={mode},"
                                    f"file={str(path).replace(',', ',,')}",
                          "-device", f"virtio-blk-device,drive=drive{slot},"
                                     f"bus=virtio-mmio-bus.{slot}"]
        if self.plugin:
            self.argv += ["-plugin", f"{plugin},out={self.report},lo={start or RAM:#x},"
                                     f"hi={end:#x}" + (f",min={burst}" if burst else "")
                          + "".join(f",span={span}" for span in spans)]
        if spans:
            self.argv += ["-icount", "shift=0,sleep=off", "-seed", "1",
                          "-machine", "dtb-randomness=off"]

    def __enter__(self):
        self.logs.mkdir(parents=True, exist_ok=True)
        self.report.unlink(missing_ok=True)
        if self.nomap or self.seed or self.start:
            self.write_dtb()
        try:
            self.child = pexpect.spawn(QEMU, [str(arg) for arg in self.argv], echo=False,
                                       encoding="utf-8", codec_errors="replace", maxread=1 << 16)
        except pexpect.ExceptionPexpect:
            raise no_command(QEMU) from None
        self.child.delaybeforesend = None
        self.child.logfile_read = open(self.log, "w", encoding="utf-8", newline="")
        return self

    def write_dtb(self):
        """Take QEMU's device tree and change it: memory that must not be mapped, the seed
        of KASLR, and where memory begins."""
        boot = self.logs / f"{self.name}.boot"
        if self.start:
            boot.write_bytes(bytes(4))      # QEMU wants a kernel to be there
        run([QEMU, *self.argv, "-machine", f"dumpdtb={self.dtb}"], "asking QEMU for a device tree",
            log="qemu.log")
        if self.nomap:
            node = f"/reserved-memory/lab@{self.nomap[0]:x}"
            self.put(node, options=["-p", "-c"])
            self.put("/reserved-memory", "#address-cells", "2")
            self.put("/reserved-memory", "#size-cells", "2")
            self.put("/reserved-memory", "ranges")
            self.put(node, "reg", *cells(*self.nomap))
            self.put(node, "no-map")
        if self.seed:
            self.put("/chosen", "kaslr-seed", *cells(self.seed))
        if self.start:
            self.place(boot)
        else:
            self.argv += ["-dtb", self.dtb]

    def put(self, *words, options=("-t", "x")):
        """Have fdtput change the device tree: words are a node, a property and its cells."""
        run(["fdtput", *options, self.dtb, *words], "changing the device tree", log="qemu.log")

    def place(self, boot):
        """Put kernel, initramfs and device tree to where memory begins, for QEMU's own
        loader cannot, with a program below it that enters the kernel."""
        entry, tree = self.start, self.start + PLACES["dtb"]
        initrd = self.start + PLACES["initrd"]
        end = initrd + self.initrd.stat().st_size
        self.put(f"/memory@{RAM:x}", "reg", *cells(self.start, self.memory << 20))
        self.put("/chosen", "linux,initrd-start", *cells(initrd))
        self.put("/chosen", "linux,initrd-end", *cells(end))
        # ldr x0, tree; ldr x4, entry; mov x1 to x3, xzr; br x4
        words = [0x58000100, 0x58000124, 0xaa1f03e1, 0xaa1f03e2, 0xaa1f03e3, 0xd61f0080,
                 0xd503201f, 0xd503201f]
        boot.write_bytes(struct.pack("<8I2Q", *words, tree, entry))
        for path, address in ((self.kernel, entry), (self.dtb, tree), (self.initrd, initrd)):
            self.argv += ["-device", f"loader,file={path},addr={address:#x},force-raw=on"]

    def __exit__(self, exception, *_):
        self.end()
        self.gdb.unlink(missing_ok=True)
        self.child.logfile_read.close()
        if not exception:
            self.check_console()

    def wait_gdb(self):
        """Wait for the socket self.gdb, for QEMU may only just have been started."""
        deadline = time.monotonic() + self.patience
        while not self.gdb.exists():
            if time.monotonic() > deadline:
                self.fail("QEMU has not opened its gdb stub")
            time.sleep(0.1)

    def end(self):
        """Have QEMU end. pexpect kills it and looks 0.1 s later: too soon on a busy host."""
        deadline = time.monotonic() + PATIENCE
        while not self.child.closed:
            try:
                self.child.close(force=True)
            except pexpect.ExceptionPexpect:
                if time.monotonic() > deadline:
                    raise

    def fail(self, why):
        """Raise, once the log has the rest of what the guest is saying."""
        with contextlib.suppress(pexpect.TIMEOUT):
            self.child.expect(pexpect.EOF, timeout=1)
        self.child.logfile_read.flush()
        raise LabError(f"{why} (console log: {self.log})")

    def expect(self, pattern, timeout=None, what=None):
        """Wait for the pattern on the console; return the match object."""
        what = what or repr(pattern)
        timeout = timeout or self.patience
        found = self.child.expect([pattern, TROUBLE, pexpect.EOF, pexpect.TIMEOUT], timeout)
        if found == 1:
            self.fail(f"while waiting for {what}: {self.child.match.group().strip()}")
        if found == 2:
            last = self.child.before.strip().rpartition("\n")[2].strip()
            self.fail(f"the machine ended while waiting for {what}; its last line: {last}")
        if found == 3:
            self.fail(f"no {what} within {timeout} s")
        return self.child.match

    def wait_ready(self, timeout=None):
        """Wait for a kernel to reach the shell of user space; return its release."""
        release = self.expect(r"LAB READY (\S+)\r", timeout, "user space").group(1)
        self.expect(PROMPT, timeout, "the shell")
        return release

    def sh(self, command, timeout=None, check=True):
        """Run a command in the guest; return what it printed.

        Kernel messages land where they happen. check: fail on an exit status but 0.
        """
        self.count += 1
        mark = f"LAB{self.count}"
        # eval: whatever the command ends with, what follows still runs.
        self.send(f"echo {mark} BEGIN; eval {shlex.quote(command)}; echo {mark} END $?")
        self.expect(rf"{mark} BEGIN\r+\n", timeout, f"'{command}'")
        status = self.expect(rf"{mark} END (\d+)\r+\n", timeout, f"the end of '{command}'").group(1)
        text = LINE_END.sub("\n", self.child.before)
        self.expect(PROMPT, timeout, "the shell")
        if check and status != "0":
            self.fail(f"'{command}' ended with status {status}: {' '.join(text.split())[-300:]}")
        return text

    def number(self, command):
        """The number that a command prints, whatever the kernel says in the middle of it."""
        text = KERNEL_LINE.sub("", self.sh(command))
        if not text.strip().isdecimal():
            self.fail(f"'{command}' printed no number: {' '.join(text.split())[-300:]}")
        return int(text)

    def send(self, line):
        """Type a line."""
        self.child.send(line + "\n")

    def wait_exit(self, timeout=None):
        """Wait until the machine has switched itself off, as the last send() asked."""
        timeout = timeout or self.patience
        found = self.child.expect([TROUBLE, PROMPT, pexpect.EOF, pexpect.TIMEOUT], timeout)
        if found == 0:
            self.fail(f"while switching off: {self.child.match.group().strip()}")
        if found == 1:
            self.fail(f"back at the shell instead of off: {' '.join(self.child.before.split())}")
        if found == 3:
            self.fail(f"not switched off within {timeout} s")
        self.child.wait()
        if self.child.exitstatus:
            self.fail(f"QEMU ended with status {self.child.exitstatus}")

    def relocations(self):
        """What the plugin saw, oldest first; None without the plugin. A relocation
        is complete there once the next kernel runs."""
        if not self.plugin:
            return None
        return [entry for entry in self.reported() if "page" in entry]

    def reported(self):
        """All that the plugin has reported so far."""
        return [json.loads(line) for line in self.report.read_text().splitlines()]

    def console(self):
        """All that the console has shown."""
        if not self.child.logfile_read.closed:
            self.child.logfile_read.flush()
        with open(self.log, encoding="utf-8", newline="") as log:
            return LINE_END.sub("\n", log.read())

    def check_console(self):
        """Fail on any report of trouble, whether or not somebody waited for it. The
        end of the `with` does this when all went well so far."""
        report = TROUBLE.search(self.console())
        if report:
            raise LabError(f"{report.group().strip()} (console log: {self.log})")


def seconds(since):
    """Seconds of wall clock since a time.monotonic()."""
    return round(time.monotonic() - since, 2)
