# SPDX-License-Identifier: GPL-2.0-only
"""The description of a machine: its board, what it boots and how it is watched. Also the arguments
of QEMU for it. Nothing here reads or writes a file, or starts anything."""

import dataclasses
import itertools
import os
import pathlib
import platform
import tempfile
import typing

from lab.util import LabError

QEMU = "qemu-system-aarch64"
RAM = 0x40000000                # where the virt machine's memory begins
MEMORY = 768                    # MiB; the loader holds the payload up to three times
DIMM = 1024                     # MiB; a section of v5.10's memory with 4K pages
VIRT, VERSAL = KINDS = ("virt", "xlnx-versal-virt")
# Where VERSAL's memory goes on, and how much of it comes first.
VERSAL_REST, VERSAL_FIRST = 0x800000000, 0x80000000
UEFI = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
SLOTS = 32                      # virtio-mmio transports of the virt machine
PSCI = (None, "0.1", "none")
# panic=-1 with -no-reboot: a panic ends QEMU at once, with the whole report logged.
CMDLINE = "console=ttyAMA0 earlycon loglevel=8 panic=-1"
NUMBERS = itertools.count()     # of machines that this process has described

# (options of the machine, options of the CPU). cortex-a57 has no VHE, max has.
# its=off: LPI tables do not survive kexec. lpa2=off: a CPU with LPA2 reports a 4K granule with 52
# bits, which plain v5.10 takes for no 4K granule. pauth-impdef: a kernel that uses pointer
# authentication spends half its time in QEMU's architected algorithm.
LEVELS = {
    "el1": ("gic-version=2", "cortex-a57"),
    "nvhe": ("gic-version=2,virtualization=on", "cortex-a57"),
    "vhe": ("gic-version=2,virtualization=on", "max,pauth-impdef=on,lpa2=off"),
    "kvm": ("accel=kvm,gic-version=host,its=off", "host"),
}


def kvm_works():
    """Whether this host can run the guest on its own CPU."""
    return platform.machine() == "aarch64" and os.access("/dev/kvm", os.R_OK | os.W_OK)


@dataclasses.dataclass(frozen=True)
class Board:
    """What is soldered."""

    level: str = "el1"          # of LEVELS
    cpu: str | None = None      # another than the level's
    options: str = ""           # of QEMU's machine, on top of the level's
    memory: int = MEMORY        # MiB
    smp: int = 2
    nodes: int = 1              # of NUMA, which share the memory evenly
    # First address of the memory that the kernel is told of, with all below left out
    start: int | None = None
    # (address, bytes) of memory that the device tree keeps out of the linear map
    nomap: tuple[int, int] | None = None
    seed: int | None = None     # of KASLR, in the device tree
    # The node of PSCI in the device tree, if it is not QEMU's. It needs a start: without one,
    # QEMU's loader puts its own node back.
    psci: str | None = None
    uefi: bool = False          # boots by firmware
    slots: int = 0              # for DIMMs, which takes firmware with ACPI
    kind: str = VIRT            # of KINDS; VERSAL has its own CPU
    smmu: bool = False          # its disks are on PCI behind an SMMU
    # Whether its CPUs run in parallel. The host then needs as many CPUs as the guest. With fewer,
    # guest CPUs that wait for a lock starve the one that holds it, and a resume takes three times
    # as long.
    parallel: bool = False

    def __post_init__(self):
        for key, words in (("level", LEVELS), ("kind", KINDS), ("psci", PSCI)):
            value = getattr(self, key)
            if value not in words:
                raise LabError(f"no {key} is called {value}: "
                               f"{', '.join(str(word) for word in words if word)}")
        for wrong, why in (
                (min(self.memory, self.smp, self.nodes) < 1, "memory, smp and nodes begin at 1"),
                (self.nodes > 0 and self.memory % self.nodes,
                 f"{self.memory} MiB cannot be shared evenly by {self.nodes} nodes"),
                (self.uefi and self.start, "firmware (uefi) does not leave memory below start out"),
                (self.psci and not self.start, "psci takes a start"),
                (self.slots and not self.uefi, "slots take uefi")):
            if wrong:
                raise LabError(why)

    @property
    def emulated(self):
        """Whether QEMU executes the instructions, and can count them."""
        return self.level != "kvm"

    @property
    def span(self):
        """(first address, end) of memory."""
        if self.kind == VERSAL:
            return 0, VERSAL_REST + (self.memory << 20) - VERSAL_FIRST
        first = self.start or RAM
        return first, first + (self.memory << 20)

    @property
    def needs_tree(self):
        """Whether QEMU's own device tree will not do."""
        return bool(self.nomap or self.seed or self.start or self.psci)


class Boot(typing.NamedTuple):
    """What is plugged in. images: read-only drives, from /dev/vda on. drives: writable ones, after
    the images."""

    kernel: pathlib.Path
    initrd: pathlib.Path
    append: str = ""
    images: tuple = ()
    drives: tuple = ()


@dataclasses.dataclass(frozen=True)
class Watch:
    """How the machine is looked at."""

    plugin: pathlib.Path | None = None
    burst: int | None = None    # bytes stored that make a relocation, if not the plugin's
    # The spans whose instructions the plugin counts, see lab/plugin/relocation.c. QEMU's clock
    # then counts instructions too. So a guest that gets no input does exactly the same in each
    # run.
    spans: tuple = ()
    # Whether gdb can attach; if "wait", it has to before anything runs
    gdb: bool | str = False
    reboot: bool = False        # a reset boots again instead of ending QEMU


class Files(typing.NamedTuple):
    """The files of one machine."""

    log: pathlib.Path           # of the console
    report: pathlib.Path        # of the plugin
    dtb: pathlib.Path           # the device tree, if it is not QEMU's own
    boot: pathlib.Path          # what enters the kernel where QEMU's loader cannot place it
    gdb: pathlib.Path           # sockets
    qmp: pathlib.Path

    @classmethod
    def of(cls, logs, name):
        """Those of the machine with this name, in the folder of its logs."""
        # A socket's path cannot be long.
        socket = pathlib.Path(tempfile.gettempdir(), f"lab-{os.getpid()}-{next(NUMBERS)}")
        return cls(*(pathlib.Path(logs, f"{name}.{end}") for end in
                     ("console.log", "relocation.json", "dtb", "boot")),
                   socket.with_suffix(".gdb"), socket.with_suffix(".qmp"))


def memory_options(mebibytes, nodes, slots=0):
    """QEMU's options for memory. It is sparse: the host needs only what the guest touches. slots:
    for DIMMs of DIMM MiB that are plugged in later."""
    options = ["-m", f"{mebibytes}M"
               + (f",slots={slots},maxmem={mebibytes + slots * DIMM}M" if slots else "")]
    for node in range(nodes):
        options += ["-object",
                    f"memory-backend-ram,id=ram{node},size={mebibytes // nodes}M,reserve=off"]
        if nodes > 1:
            options += ["-numa", f"node,nodeid={node},memdev=ram{node}"]
    return options if nodes > 1 else [*options, "-machine", "memory-backend=ram0"]


def soldered(board):
    """QEMU's options for the board, its CPU and its memory."""
    if board.kind == VERSAL:
        return ["-machine", VERSAL, *memory_options(board.memory, board.nodes)]
    options, cpu = LEVELS[board.level]
    options += f",{board.options}" if board.options else ""
    options += ",iommu=smmuv3" if board.smmu else ""
    return ["-machine", f"{VIRT},{options}", "-cpu", board.cpu or cpu,
            *memory_options((board.span[1] - RAM) >> 20, board.nodes, board.slots)]


def disks(board, boot):
    """QEMU's options for the drives."""
    options = []
    for slot, (path, mode) in enumerate([(path, "on") for path in boot.images]
                                        + [(path, "off") for path in boot.drives]):
        # Named places, for the kernel's order of disks is the order of addresses.
        options += ["-drive", f"if=none,id=drive{slot},format=raw,readonly={mode},"
                              f"file={str(path).replace(',', ',,')}",
                    "-device", f"virtio-blk-pci,drive=drive{slot},addr={slot + 1:#x},"
                               "iommu_platform=on,disable-legacy=on" if board.smmu else
                               f"virtio-blk-device,drive=drive{slot},"
                               f"bus=virtio-mmio-bus.{slot}"]
    return options


def watched(board, watch, files):
    """QEMU's options for the plugin."""
    options = []
    if watch.plugin and board.emulated:
        first, end = board.span
        options += ["-plugin", f"{watch.plugin},out={files.report},lo={first:#x},hi={end:#x}"
                    + (f",min={watch.burst}" if watch.burst else "")
                    + "".join(f",span={span}" for span in watch.spans)]
    if watch.spans:
        options += ["-icount", "shift=0,sleep=off", "-seed", "1",
                    "-machine", "dtb-randomness=off"]
    return options


def arguments(board, boot, watch, files):
    """QEMU's arguments. If the device tree is not QEMU's own, the arguments of lab/dtb.py
    follow."""
    options = [*soldered(board), "-smp", board.smp, "-nodefaults", "-display", "none",
               "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
               "-append", f"{CMDLINE} {boot.append}"]
    if board.start:
        options += ["-kernel", files.boot]
    else:
        options += ["-kernel", boot.kernel, "-initrd", boot.initrd]
    if board.uefi:
        # The firmware takes the seed of KASLR from the random numbers.
        options += ["-bios", UEFI,
                    "-device", f"virtio-rng-device,bus=virtio-mmio-bus.{SLOTS - 1}"]
    if board.emulated:
        options += ["-accel", f"tcg,thread={'multi' if board.parallel else 'single'}"]
    if not watch.reboot:
        options += ["-no-reboot"]
    if board.slots:
        options += ["-qmp", f"unix:{files.qmp},server=on,wait=off"]
    if watch.gdb:
        options += ["-gdb", f"unix:{files.gdb},server=on,wait=off"]
    if watch.gdb == "wait":
        options += ["-S"]
    return [str(option) for option in
            (*options, *disks(board, boot), *watched(board, watch, files))]
