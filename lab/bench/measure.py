# SPDX-License-Identifier: GPL-2.0-only
"""Counts of one machine: instructions, accesses and pages, by lab/plugin/relocation.c
between addresses that are read from vmlinux. Of a kernel nothing has to be known but the
names of functions that v5.10 and mainline have in common."""

import functools
import re

from lab import build, guest, host, scenario
from lab.board import Board, Boot, Watch
from lab.console import PATIENCE, printed_line
from lab.machine import Machine
from lab.here import BASE, HERE
from lab.util import LabError, output

LOGS = HERE / "bench" / "log"
# Nothing at random: where the kernel is, which vmlinux has to tell, and where programs are.
APPEND = "nokaslr norandmaps"
# No input and no disk: with Machine's spans that makes a run the same each time. What the
# payload is made of does not matter to a count, and an initramfs may have zeroes behind it.
# It is made here, and not brought along: memory that an initramfs was in would be free, below,
# where images go. An image of such pages is quadratic to load (kimage_dst_used()), and so may be
# a second one in place of a first: that is left out here, on all kernels. What kexec does
# next is on the kernel's command line, so that all up to there is alike, to the byte.
SCRIPT = """
dmesg -n 8
dd if=/dev/zero bs=1M count={payload} >>/payload.cpio 2>/dev/null
kexec -s -l /Image --initrd=/payload.cpio --reuse-cmdline && kexec -s $then
"""
SYSCALL = "__arm64_sys_kexec_file_load"
ENTER = "blr", "trans_pgd_enter"
# The parts of the system call: calls that it makes. What is left is called "rest".
LOAD_PHASES = {
    "read files": ("kernel_read_file_from_fd",),
    "place segments": ("arch_kexec_kernel_image_load", "kexec_image_load_default", "blr"),
    "fill segments": ("kimage_load_segment",),
    "tables": ("machine_kexec_post_load",),
    "free": ("kimage_free", "kimage_file_post_load_cleanup", "kimage_terminate"),
}
# What makes the copy of the linear map, as called by what builds the tables; mainline's is the
# first, and checks nothing
USED = ("copy_for_relocation", "copy_for_resume")
COPY = {"copy": ("trans_pgd_create_copy", *USED)}
# What copies within the others; what is left of them checks
PARTS = {"parts": ("trans_pgd_create_copy", "trans_pgd_copy_part")}


class Vmlinux:
    """Addresses in a kernel."""

    def __init__(self, which):
        folder = build.kernel(which)
        self.path = folder / "vmlinux"
        self.image = folder / "arch/arm64/boot/Image"
        self.symbols = build.symbols(self.path)

    def symbol(self, *names):
        """The address of the first of the functions that there is."""
        for name in names:
            if name in self.symbols:
                return self.symbols[name]
        raise LabError(f"{self.path} has no function {' or '.join(names)}")

    @functools.cache
    def calls(self, function):
        """[(address, callee)] of all calls in a function; the callee of one by register is
        "blr". Empty if there is no such function."""
        if function not in self.symbols:
            return []
        text = output([f"{host.cross_compile()}objdump", "-d", "--no-show-raw-insn",
                       f"--disassemble={function}", self.path])
        return [(int(address, 16), callee or "blr") for address, callee in
                re.findall(r"^([0-9a-f]+):\t(?:blr\t|bl\t\S+ <([\w.]+)>)", text, re.MULTILINE)]

    def spans(self, caller, phases, callee=None):
        """Spans for the calls in `caller` that are one of the phases."""
        counted = f":{callee:x}" if callee else ""
        return [f"{phase}:{address:x}:{address + 4:x}{counted}"
                for phase, names in phases.items() for address, name in self.calls(caller)
                if name.partition(".")[0] in names]

    def copy_spans(self, caller, pages):
        """Spans of the copy that `caller` makes, with calls of `pages`."""
        parts = [self.spans(name, PARTS) for name in self.symbols
                 if name.partition(".")[0] in USED]
        return sum(parts, self.spans(caller, COPY, pages))

    def kexec_spans(self):
        """What is counted of kexec, see kexec()."""
        blr = next(address for name in ("invoke_syscall", "do_el0_svc")
                   for address, callee in self.calls(name) if callee == "blr")
        pages = self.symbol("kimage_alloc_control_pages")
        said = [address + 4 for address, callee in self.calls("machine_kexec")
                if callee in ("printk", "_printk")]
        return [f"syscall:{self.symbol(SYSCALL):x}:{blr + 4:x}",
                *self.spans(SYSCALL, LOAD_PHASES),
                *self.copy_spans("machine_kexec_post_load", pages),
                f"reboot:{self.symbol('kernel_kexec'):x}:entry",
                f"machine_kexec:{self.symbol('machine_kexec'):x}:entry",
                # "Bye!" is the last that it says.
                *(f"jump:{address:x}:entry" for address in said)]

    def resume_spans(self):
        """What is counted of a resume, see resume()."""
        name = "swsusp_arch_resume"
        pages = self.symbol("get_safe_page")
        return [*self.copy_spans(name, pages),
                # What enters the code that restores the image: its only calls by register,
                # or the series' own function for that
                *(f"resume:{self.symbol(name):x}:{address:x}:{pages:x}"
                  for address, callee in self.calls(name) if callee in ENTER)]


# Once for all machines that run at the same time
vmlinux = functools.cache(Vmlinux)
plugin = functools.cache(build.plugin)


def total(entries, name, key="insns"):
    """The sum over the spans of a name; None if there was none."""
    found = [entry[key] for entry in entries if entry.get("span") == name]
    return sum(found) if found else None


def split(entries, name, phases, whole):
    """Instructions of the phases that there were, and what is left of the whole."""
    found = {phase: total(entries, phase) for phase in phases}
    found = {phase: insns for phase, insns in found.items() if insns is not None}
    return {"insns": whole, "phases": found | {name: whole - sum(found.values())}}


def system_calls(entries):
    """[(instructions, spans within)] of every call, in order."""
    calls, within = [], []
    for entry in entries:
        if entry.get("span") == "syscall":
            calls.append((entry["insns"], within))
            within = []
        else:
            within.append(entry)
    return calls


def same(some, others, noise):
    """Whether two lists of system calls have the same spans, and counts that differ by no more
    than so many instructions each."""
    def shape(calls):
        return [[{**entry, "insns": None} for entry in within] for _, within in calls]

    def counts(calls):
        return [count for insns, within in calls
                for count in (insns, *(entry["insns"] for entry in within))]

    return shape(some) == shape(others) and all(
        abs(one - other) <= noise for one, other in zip(counts(some), counts(others)))


def copy_figures(entries):
    """Table pages of the copy, and instructions spent building and checking it; None of a
    kernel that makes no copy in a function of its own."""
    insns = total(entries, "copy")
    if insns is None:
        return None
    parts = total(entries, "parts") or insns
    return {"pages": total(entries, "copy", "calls"), "insns": insns,
            "build_insns": parts, "check_insns": insns - parts}


def relocation_figures(burst):
    """What relocation executed and moved."""
    moved = {half: burst[half]["load_bytes"] + burst[half]["store_bytes"]
             for half in ("low", "high")}
    pages = (burst["low"]["store_bytes"] + burst["high"]["store_bytes"]) // 4096
    return {"pages": pages, "insns": burst["insns"],
            "insns_per_page": round(burst["insns"] / pages, 2),
            "mmu_off_insns": burst["mmu_off_insns"],
            "mmu_off_bytes": moved["low"], "mmu_on_bytes": moved["high"],
            "accesses": {half: burst[half]["loads"] + burst[half]["stores"]
                         for half in ("low", "high")}}


def jump_figures(entries, burst):
    """Instructions from "Bye!" to the next kernel's first, and what came before."""
    whole = total(entries, "jump")
    relocation = burst["insns"]
    return {"insns": whole,
            "phases": {"Bye! to relocation": whole - relocation, "relocation": relocation},
            "mmu_off_insns": burst["mmu_off_insns"],
            "from_machine_kexec_insns": total(entries, "machine_kexec"),
            "from_kernel_kexec_insns": total(entries, "reboot")}


def scripted(which, memory, payload, then, logs):
    """Load an image, have kexec do what the option `then` says, and return what the plugin
    has reported when there is a shell, of this kernel or of the next."""
    image = vmlinux(which).image
    name = f"kexec-{which}-{memory}-{payload}{then}"
    logs.mkdir(parents=True, exist_ok=True)
    files = {"Image": image, "payload.cpio": guest.initramfs()}
    script = SCRIPT.format(payload=payload)
    with guest.scripted_initramfs(logs / f"{name}.cpio", script, files) as initrd, \
            Machine(name, logs, Board(memory=memory, smp=1),
                    Boot(image, initrd, f"{APPEND} then={then}"),
                    Watch(plugin(), spans=vmlinux(which).kexec_spans())) as machine:
        machine.wait_ready(5 * PATIENCE)
        return machine.reported()


def kexec(which, memory, payload, logs=LOGS):
    """Load and unload in one machine, load and hand over in another; return {what: figures}.

    which: the kernel, see lab.build; memory and payload: MiB. The two machines have to agree
    about the load, see Base.noise.
    """
    first = scripted(which, memory, payload, "-u", logs)
    second = scripted(which, memory, payload, "-e", logs)
    calls = system_calls(first)
    bursts = [entry for entry in second if "page" in entry]
    if len(bursts) != 1 or len(calls) != 2 or total(second, "jump") is None:
        raise LabError(f"{which}: a load and an unload were to be seen, {first}, and a load and "
                       f"a relocation, {second}")
    (load, within), (unload, _) = calls
    if not same(calls[:1], system_calls(second), BASE.noise):
        raise LabError(f"{which}: counts are not the same twice: {calls[0]} and "
                       f"{system_calls(second)}")
    return {"relocation": relocation_figures(bursts[0]), "copy": copy_figures(within),
            "load": split(within, "rest", LOAD_PHASES, load), "unload": {"insns": unload},
            "jump": jump_figures(second, bursts[0])}


def resume(which, memory):
    """Hibernate, and resume in another machine; return its figures: what
    swsusp_arch_resume() executes before it enters the code that restores the image, the
    pages that it takes, and of both what is the copy's.

    memory: MiB.
    """
    image = vmlinux(which).image
    name = f"resume-{which}-{memory}"
    # To save 64 GiB takes a CPU that is emulated, and shared, longer than RCU waits for any.
    append = f"{APPEND} {scenario.RESUME} rcupdate.rcu_cpu_stall_suppress=1"
    board = Board(memory=memory, smp=1)
    LOGS.mkdir(parents=True, exist_ok=True)
    # The table of pages, 1/64 of memory, is part of the image.
    swap = guest.swap_disk(LOGS / f"{name}.swap.img", scenario.SWAP + memory // 32)
    boot = Boot(image, guest.initramfs(), append, [image], [swap])
    try:
        with Machine(f"{name}-1", LOGS, board, boot) as machine:
            machine.wait_ready(5 * PATIENCE)
            scenario.hibernate(machine)
        with Machine(f"{name}-2", LOGS, board, boot,
                     Watch(plugin(), spans=vmlinux(which).resume_spans())) as machine:
            machine.expect(printed_line("LAB RESUMED 0"), 5 * PATIENCE, "the resumed shell")
            entries = machine.reported()
    finally:
        swap.unlink()
    return {"insns": total(entries, "resume"), "pages": total(entries, "resume", "calls"),
            "copy": copy_figures(entries)}
