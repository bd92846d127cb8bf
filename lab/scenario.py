# SPDX-License-Identifier: GPL-2.0-only
"""What a hand-over is, step by step: kexec, hibernate and resume, crash and dump.

`make run` and the tests share these. Each step raises LabError if the guest does not do what it
should.
"""

import contextlib
import dataclasses
import functools
import pathlib
import re
import time

from lab import build, guest
from lab.board import Board, Boot, Watch
from lab.console import PATIENCE, printed_line, seconds, without_messages
from lab.here import BASE
from lab.machine import Machine

PAYLOAD = 64                    # MiB of random data in the second kernel's initramfs
BUFFER = 16                     # MiB of random data in memory, to hibernate with
SWAP = 512                      # MiB; the disk is sparse
IMAGES = "/dev/vda"             # the kernel and the payload, in every machine
SWAPPED = "/dev/vdb"
# A kernel that may resume needs it; a kexec'd one carries it on to the one after it.
# The last messages before memory is overwritten are lost unless they are printed at once.
RESUME = f"resume={SWAPPED} no_console_suspend"
CRASH = "crashkernel=128M"
# Without this on the command line of the first kernel, the number of table pages is not printed.
DEBUG = 'dyndbg="file trans_pgd.c +p; file machine_kexec.c +p"'
PAGES = 16                      # that the copy may take, by the design
TABLES = re.compile(r"trans_pgd: .* (\d+) table pages")


@dataclasses.dataclass
class Figures:
    """What one hand-over did; None is unknown."""

    seconds: float              # until the next (or the resumed) user space answered
    tables: int | None = None   # pages that the transitional page tables took
    bursts: list | None = None  # what the plugin saw, see plugin/relocation.c

    @property
    def relocated(self):
        """Bytes that the relocation wrote."""
        return self.total("store_bytes", "low", "high")

    @property
    def mmu_off(self):
        """Bytes that it loaded and stored with the MMU off."""
        return self.total("load_bytes", "low") + self.total("store_bytes", "low") \
            if self.bursts is not None else None

    def total(self, key, *halves):
        """The sum of a count over all bursts."""
        if self.bursts is None:
            return None
        return sum(burst[half][key] for burst in self.bursts for half in halves)


@dataclasses.dataclass
class Rig:
    """What the machines of one scenario have in common. Kernel and disks are built when the first
    machine is made."""

    name: str                   # of the logs
    board: Board
    logs: pathlib.Path
    kernel: str = "series"      # or "base", or what `built` is
    payload: int = PAYLOAD      # MiB
    config: str = "small"       # of the kernel, see build.fragment()
    append: str = ""            # to the command line of each machine
    files: dict = dataclasses.field(default_factory=dict)       # more to have in /mnt
    built: pathlib.Path | None = None   # the folder of a kernel that build.kernel() does not know
    burst: int | None = None    # see Watch
    patience: int = PATIENCE

    @property
    def mmu_on(self):
        """Whether its kernel has to relocate with the MMU on."""
        return self.kernel == "series" or BASE.mmu_on

    @functools.cached_property
    def image(self):
        """What each machine boots, and hands over to if nothing else is said."""
        return (self.built or build.kernel(self.kernel, self.config)) / "arch/arm64/boot/Image"

    @functools.cached_property
    def initrd(self):
        """What the kernel boots with."""
        return guest.initramfs()

    @functools.cached_property
    def disk(self):
        """The disk with all that is loaded."""
        name = "-".join(["disk", build.tag(self.kernel), self.config, str(self.payload),
                         *(f"{name}-{path.parent.name}" for name, path in self.files.items())])
        return guest.disk(guest.GUEST / f"{name}.img", self.files | {
            "Image": self.image, "initramfs.cpio": self.initrd,
            "payload.cpio": guest.payload_initramfs(self.payload)})

    def machine(self, part="", append="", drives=(), gdb=False, reboot=False, **changes):
        """A machine, not yet started. part: of its name; drives: see Boot; gdb, reboot: see
        Watch; changes: of its board."""
        return Machine(f"{self.name}{part}", self.logs,
                       dataclasses.replace(self.board, **changes),
                       Boot(self.image, self.initrd, f"{DEBUG} {self.append} {append}",
                            [self.disk], drives),
                       Watch(build.plugin(), self.burst, gdb=gdb, reboot=reboot), self.patience)

    @contextlib.contextmanager
    def booted(self, *args, **options):
        """A machine that has booted; arguments are machine()'s."""
        with self.machine(*args, **options) as machine:
            machine.wait_ready()
            yield machine

    def resume(self, machine):
        """Resume, with the MMU on, and find what was remembered as it was."""
        figures = resume(machine)
        check_remembered(machine)
        figures.bursts = exits(machine)
        # The base has always restored with the MMU on.
        prove_mmu_on(machine, figures, least=BUFFER << 20)
        return figures

    @contextlib.contextmanager
    def resumed(self, mib=BUFFER, before=lambda machine: None):
        """Hibernate in one machine, with `mib` MiB to remember, and resume in another. Yield (the
        second machine, figures). before: what the first machine does before."""
        with self.swap() as swap:
            options = {"append": RESUME, "drives": [swap]}
            with self.booted("-1", **options) as machine:
                before(machine)
                remember(machine, mib)
                hibernate(machine)
            with self.machine("-2", **options) as machine:
                yield machine, self.resume(machine)

    @contextlib.contextmanager
    def swap(self):
        """An empty disk to hibernate to, for as long as the block lasts."""
        self.logs.mkdir(parents=True, exist_ok=True)
        path = guest.swap_disk(self.logs / f"{self.name}.swap.img", SWAP)
        try:
            yield path
        finally:
            path.unlink()


def prepare(kernels=(), payload=PAYLOAD):
    """Build and fetch what machines need, before any is started. kernels: as build.kernels()
    takes them; payload: MiB of it, 0 for machines that have none."""
    build.kernels(kernels)
    build.plugin()
    if payload:
        guest.payload_initramfs(payload)
    else:
        guest.initramfs()


def code_page(machine):
    """Physical address of the loaded image's page of relocation code, by debugfs: the page is
    mapped at its physical address."""
    shown = machine.answer("cat /sys/kernel/debug/kexec_page_tables").partition("Copy of")[0]
    return int(re.findall(r"^0x([0-9a-f]+)-.* x ", shown, re.MULTILINE)[-1], 16)


def relocation_code(machine):
    """Physical addresses, as text, of the loaded image's relocation code and of the top
    table of its copy of the linear map."""
    return re.findall(r"relocation code (0x[0-9a-f]+), .* ttbr1 (0x[0-9a-f]+),",
                      machine.sh("dmesg"))[-1]


def prove_mmu_on(machine, figures, least=PAYLOAD << 20):
    """Fail unless the hand-over relocated once, all of it, with the MMU on."""
    if figures.bursts is None:
        return                  # run without the plugin: nothing is known
    if len(figures.bursts) != 1:
        machine.fail(f"one relocation was to be seen, and not: {figures.bursts}")
    burst = figures.bursts[0]
    low = burst["low"]["loads"] + burst["low"]["stores"]
    if low:
        machine.fail(f"relocation accessed data {low} times with the MMU off: {burst}")
    if figures.relocated < least:
        machine.fail(f"relocation wrote less than {least} bytes: {burst}")


def exits(machine):
    """What the plugin saw of resumes, None without the plugin. Firmware and the kernel that
    resumes move memory too, earlier and by code in other pages, so these are left out. The plugin
    reports a relocation when its CPU first waits."""
    bursts = machine.relocations()
    if bursts and BASE.exits:
        return [burst for burst in bursts if int(burst["page"], 16) in BASE.exits]
    return bursts and bursts[-1:]


def mount(machine):
    """Make the kernel and the payload appear in /mnt."""
    machine.sh(f"grep -q ' /mnt ' /proc/mounts || mount -t ext2 -o ro {IMAGES} /mnt")


def load(machine, options, initrd="payload.cpio", image="Image"):
    """Load a kernel with kexec-tools; return how many pages its tables took."""
    mount(machine)
    machine.sh(f"kexec {options} /mnt/{image} --initrd=/mnt/{initrd} --reuse-cmdline")
    lines = TABLES.findall(machine.sh("dmesg"))
    return int(lines[-1]) if lines else None


def kexec(machine, how="-s", checks=True, **what):
    """Load the kernel again with the payload, and hand over to it.

    how: -s for kexec_file_load, -c for kexec_load. checks: let the purgatory, which
    only -c has, hash all segments before it enters the kernel. That code is user space's, and
    takes 25 s for the payload under emulation. The checksum of the payload is checked in any case.
    what: load()'s.
    """
    tables = load(machine, f"{how} -l" if checks or how != "-c" else f"{how} -l --no-checks",
                  **what)
    return dataclasses.replace(hand_over(machine), tables=tables)


def hand_over(machine, enter=lambda machine: machine.send("kexec -e")):
    """Enter the kernel that is loaded, and check that its payload has arrived. enter: how."""
    seen = len(machine.relocations() or [])
    machine.sh("dmesg -n 8")
    start = time.monotonic()
    enter(machine)
    machine.expect("Bye!", what="the old kernel's last word")
    # The hash is the only long silence.
    machine.expect("Booting Linux", 5 * PATIENCE, "the new kernel's first word")
    machine.wait_ready()
    took = seconds(start)
    machine.sh("md5sum -c /payload.md5")
    bursts = machine.relocations()
    return Figures(took, bursts=bursts[seen:] if bursts is not None else None)


def remember(machine, mib=BUFFER):
    """Fill memory with random data, and start a process that counts. Both must survive."""
    machine.sh(f"dd if=/dev/urandom of=/tmp/buffer bs=1M count={mib} iflag=fullblock && "
               "md5sum /tmp/buffer >/tmp/md5")
    if machine.number("stat -c %s /tmp/buffer") != mib << 20:
        machine.fail("the random buffer came out short")
    machine.sh("(n=0; while :; do n=$((n+1)); echo $n >/tmp/next; mv /tmp/next /tmp/count; "
               "sleep 0.1; done) & echo $! >/tmp/pid")


def check_remembered(machine):
    """Check that the memory is the same and that the same process still counts."""
    machine.sh("md5sum -c /tmp/md5")
    before = machine.number("cat /tmp/count")
    machine.sh("kill -0 $(cat /tmp/pid)")
    machine.sh(f"while [ $(cat /tmp/count) -le {before} ]; do sleep 0.1; done")


def hibernate(machine):
    """Save the machine to its swap disk; it switches itself off."""
    machine.sh(f"grep -q {SWAPPED} /proc/swaps || {{ mkswap {SWAPPED} && swapon {SWAPPED}; }}")
    machine.sh("dmesg -n 8; echo shutdown >/sys/power/disk")
    # The second half is done by the kernel that resumes.
    machine.send("echo disk >/sys/power/state; echo LAB RESUMED $?")
    machine.wait_exit(2 * PATIENCE)


def resume(machine):
    """Wait for a machine just started to become the hibernated one."""
    start = time.monotonic()
    found = machine.expect(f"{printed_line('LAB READY ')}|{printed_line('LAB RESUMED ')}",
                           2 * PATIENCE, "the resumed shell")
    if without_messages(found.group(2) or "") != "0":
        machine.fail(f"not resumed: {without_messages(found.group()).strip()}")
    took = seconds(start)
    machine.sh("dmesg -n 5")
    lines = TABLES.findall(machine.text())
    return Figures(took, int(lines[-1]) if lines else None)


def kdump(machine, how="-s", image="Image"):
    """Load a crash kernel, crash, and read the dump both ways.

    The machine has to have been started with CRASH.
    """
    marker = f"marker {time.monotonic_ns()}"
    load(machine, f"{how} -p", "initramfs.cpio", image)
    # The guest has no clock, so its time begins at 0. makedumpfile takes a crash in the first
    # second for a dump without a time.
    machine.sh(f"date -s @{int(time.time())}; echo {marker} >/dev/kmsg; dmesg -n 8")
    seen = len(machine.relocations() or [])
    start = time.monotonic()
    machine.send("echo c >/proc/sysrq-trigger")
    machine.expect("Starting crashdump kernel", what="the crash")
    machine.wait_ready(5 * PATIENCE)
    took = seconds(start)
    machine.sh(f"vmcore-dmesg /proc/vmcore | grep '{marker}'")
    machine.sh("makedumpfile -c -d 31 /proc/vmcore /tmp/dump", 2 * PATIENCE)
    machine.sh(f"makedumpfile --dump-dmesg /tmp/dump /tmp/dmesg && grep '{marker}' /tmp/dmesg")
    bursts = machine.relocations()
    return Figures(took, bursts=bursts[seen:] if bursts is not None else None)
