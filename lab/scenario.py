# SPDX-License-Identifier: GPL-2.0-only
"""What a hand-over is, step by step: kexec, hibernate and resume, crash and dump.

`make run` and the tests share these; each step raises LabError when the guest
does anything else than it should.
"""

import contextlib
import dataclasses
import pathlib
import re
import time

from lab import build, guest
from lab.machine import PATIENCE, Machine, seconds

PAYLOAD = 64                    # MiB of random data in the second kernel's initramfs
BUFFER = 16                     # MiB of random data in memory, to hibernate with
SWAP = 512                      # MiB; the disk is sparse
MEMORY = 768                    # MiB; the loader holds the payload up to three times
IMAGES = "/dev/vda"             # the kernel and the payload, in every machine
SWAPPED = "/dev/vdb"
# A kernel that may resume needs it; a kexec'd one carries it on to the one after it.
# What is said last before memory is overwritten is lost unless it is said at once.
RESUME = f"resume={SWAPPED} no_console_suspend"
CRASH = "crashkernel=128M"
# Where hibernation maps its code: at PAGE_SIZE.
EXIT_PAGES = (0x1000, 0x4000, 0x10000)
# Without this in the first kernel's command line nothing tells the table pages.
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
class Bench:
    """What the machines of one scenario have in common."""

    name: str                   # of the logs
    level: str
    logs: pathlib.Path
    flavour: str = "series"     # or "base", or what `built` is
    payload: int = PAYLOAD      # MiB
    config: str = "small"       # of the kernel, see build.fragment()
    append: str = ""            # to the command line of each machine
    options: dict = dataclasses.field(default_factory=dict)     # of each machine, see Machine
    files: dict = dataclasses.field(default_factory=dict)       # more to have in /mnt
    built: pathlib.Path | None = None   # the folder of a kernel that build.kernel() does not know

    def __post_init__(self):
        built = self.built or build.kernel(self.flavour, self.config)
        self.kernel = built / "arch/arm64/boot/Image"
        self.initrd = guest.initramfs()
        name = "-".join(["disk", build.tag(self.flavour), self.config, str(self.payload),
                         *(f"{name}-{path.parent.name}" for name, path in self.files.items())])
        self.image = guest.disk(guest.GUEST / f"{name}.img", self.files | {
            "Image": self.kernel, "initramfs.cpio": self.initrd,
            "payload.cpio": guest.payload_initramfs(self.payload)})

    def machine(self, part="", append="", **options):
        """A machine, not yet started; options are Machine's."""
        return Machine(f"{self.name}{part}", self.level, self.kernel, self.initrd, self.logs,
                       append=f"{DEBUG} {self.append} {append}", images=[self.image],
                       plugin=build.plugin(), **{"memory": MEMORY, **self.options, **options})

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
        # The plugin knows that the relocation is over when that CPU first waits. Firmware and
        # the kernel that resumes move memory too, from other pages.
        if (bursts := machine.relocations()) is not None:
            figures.bursts = [burst for burst in bursts if int(burst["page"], 16) in EXIT_PAGES]
        if self.flavour == "series":
            prove_mmu_on(machine, figures, least=BUFFER << 20)
        return figures

    @contextlib.contextmanager
    def resumed(self, mib=BUFFER, before=lambda machine: None):
        """(machine, figures) of one that was hibernated in another machine, with `mib` MiB to
        remember, and has resumed. before: what the other machine does first."""
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
    only -c has, hash all segments before it enters the kernel. That is user space's
    code, it takes 25 s for the payload under emulation, and the payload's own sum is
    checked in any case. what: load()'s.
    """
    tables = load(machine, f"{how} -l" if checks or how != "-c" else f"{how} -l --no-checks",
                  **what)
    return dataclasses.replace(hand_over(machine), tables=tables)


def hand_over(machine):
    """Enter the kernel that is loaded, and check that its payload has arrived."""
    seen = len(machine.relocations() or [])
    machine.sh("dmesg -n 8")
    start = time.monotonic()
    machine.send("kexec -e")
    machine.expect("Bye!", what="the old kernel's last word")
    # The hash is the only long silence.
    machine.expect("Booting Linux", 5 * PATIENCE, "the new kernel's first word")
    machine.wait_ready()
    took = seconds(start)
    machine.sh("md5sum -c /payload.md5")
    bursts = machine.relocations()
    return Figures(took, bursts=bursts[seen:] if bursts is not None else None)


def remember(machine, mib=BUFFER):
    """Give the machine what must survive: random memory and a process that counts."""
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
    found = machine.expect(r"LAB (READY|RESUMED) (\S+)\r", 2 * PATIENCE, "the resumed shell")
    if found.groups() != ("RESUMED", "0"):
        machine.fail(f"not resumed: {found.group().strip()}")
    took = seconds(start)
    machine.sh("dmesg -n 5")
    lines = TABLES.findall(machine.console())
    return Figures(took, int(lines[-1]) if lines else None)


def kdump(machine, how="-s", image="Image"):
    """Load a crash kernel, crash, and read the dump both ways.

    The machine has to have been started with CRASH.
    """
    marker = f"marker {time.monotonic_ns()}"
    load(machine, f"{how} -p", "initramfs.cpio", image)
    # Without a clock the guest lives in 1970, and makedumpfile takes a crash in the
    # very first second for a dump without a time.
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
