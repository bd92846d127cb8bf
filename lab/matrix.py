# SPDX-License-Identifier: GPL-2.0-only
"""The machines of lab/machines.cfg and what is done on each: a cell of the matrix is a
machine and a transition."""

import contextlib
import dataclasses
import functools
import re
import time

from lab import build, debian, grid, guest, scenario, selftest, table, tap
from lab.base import BASES
from lab.console import PATIENCE, seconds
from lab.grid import Result
from lab.table import Row
from lab.here import BASE, TEST_LOGS
from lab.util import LabError

# Seconds until a kernel answers; one with a lot of memory takes its time.
BOOT = 2 * PATIENCE
# The first memory above that of a machine with less than 1 GiB: a DIMM's
BLOCK = "/sys/devices/system/memory/memory2"
ONLINE = (f"while [ ! -d {BLOCK} ]; do sleep 0.1; done; grep -qx online {BLOCK}/state || "
          f"echo online_movable >{BLOCK}/state")
FORMS = ("Image.gz", "uImage", "vmlinux")
REACH = re.compile(r"relocation code 0x0*([0-9a-f]+), .* t0sz (\d+),")
RANGE = re.compile(r"(copy|more) of the linear map from 0x([0-9a-f]+) to 0x([0-9a-f]+):")
# {KiB of a page: bytes of a part of the linear map}: what the largest block maps
PARTS = {4: 1 << 30, 16: 1 << 25, 64: 1 << 29}


def linear_map(row):
    """(start, end) of the linear map: half of the addresses that TTBR1 translates on this
    machine, which can be fewer than the kernel was built for."""
    bits = row.va or built_for(row)[1]
    return (1 << 64) - (1 << bits), (1 << 64) - (1 << bits - 1)


def built_for(row):
    """(KiB of a page, bits of virtual address) that a row's kernel is built for."""
    built = re.search(r"(\d+)k(\d+)", row.config)
    return (int(built[1]), int(built[2])) if built else (4, 48)


def copied(console):
    """[(start, end)] of the parts in the last copy of the linear map that is on the console. A
    copy begins empty, and the parts are added to it."""
    found = RANGE.findall(console)
    last = max((at for at, (how, *_) in enumerate(found) if how == "copy"), default=0)
    ranges = [(int(start, 16), int(end, 16)) for _, start, end in found[last:]]
    return [(start, end) for start, end in ranges if start != end]


def wrong_parts(row, parts, least):
    """What is wrong with the parts of the linear map that were copied on a machine, in words, or
    None. Right is: all are within the linear map, each is one whole part, none is there twice, and
    together they have room for the bytes that were written."""
    size = PARTS[built_for(row)[0]]
    first, behind = linear_map(row)
    for start, end in parts:
        where = f"from {start:#x} to {end:#x}"
        if start < first or end > behind:
            return f"the linear map is from {first:#x} to {behind:#x}, and the copy {where}"
        if start % size or end - start != size:
            return f"the copy {where} is not one part of {size:#x} bytes"
        if parts.count((start, end)) > 1:
            return f"the part {where} was copied more than once"
    if len(parts) * size < max(least, 1):
        return f"{len(parts)} parts were copied, and {least} bytes written"
    return None


@dataclasses.dataclass(frozen=True)
class Cell:
    """One machine doing one thing."""

    row: Row
    transition: str

    def __str__(self):
        return f"{self.row.name}-{self.transition}"

    @property
    def kernels(self):
        """The kernels that it needs, as build.kernel() takes them: its own, and the one that it
        hands over to if that is another. None if it cannot run."""
        if self.row.skip:
            return []
        return [(self.row.kernel, self.row.config)] \
            + ([("series", self.row.to)] if self.row.to else [])

    def run(self):
        """Do it; return the figures of the last hand-over."""
        row = self.row
        return TRANSITIONS[self.transition](Rig(
            f"matrix-{self}", row.board, TEST_LOGS, row.kernel, row.payload, row.config,
            row.append, FILES.get(self.transition, lambda _: {})(row), burst=row.burst,
            patience=row.patience or PATIENCE, row=row))


@functools.cache
def cells(base=BASE.name):
    """All cells that the table has for a base, in the order of the table."""
    rows = table.read(table.TABLE.read_text(), TRANSITIONS, base)
    return [Cell(row, transition) for row in rows for transition in row.transitions]


@dataclasses.dataclass
class Rig(scenario.Rig):
    """A scenario's rig that knows its row of the table."""

    row: Row | None = None

    @contextlib.contextmanager
    def booted(self, *args, **options):
        """A machine that has booted and done what the row says is to be done before."""
        with self.machine(*args, **options) as machine:
            machine.wait_ready(BOOT)
            if self.row.crash_loaded:
                scenario.load(machine, "-s -p", "initramfs.cpio")
            if self.row.before:
                machine.sh(self.row.before)
            yield machine

    def kexec(self, machine, how="-s", **what):
        """Hand over, with the MMU on if the kernel has to."""
        figures = scenario.kexec(machine, how, checks=False, **what)
        if self.mmu_on:
            scenario.prove_mmu_on(machine, figures, least=self.payload << 20)
        # The next kernel may have run the library's tests, which make copies too.
        self.check_range(machine, machine.text().rpartition("relocation code")[0], figures)
        self.check_reach(machine)
        self.check_after(machine)
        return figures

    def resume(self, machine):
        """Resume, and see what was copied for it."""
        figures = super().resume(machine)
        self.check_range(machine, machine.text(), figures)
        self.check_after(machine)
        return figures

    def restored(self, machine, figures):
        """A kernel restored itself: its memory is as it was, and the MMU was on."""
        scenario.check_remembered(machine)
        figures.bursts = scenario.exits(machine)
        if self.mmu_on:
            scenario.prove_mmu_on(machine, figures, least=scenario.BUFFER << 20)

    def hand_over(self, machine):
        """Enter what is loaded, with the MMU on if the kernel has to."""
        figures = scenario.hand_over(machine)
        if self.mmu_on:
            scenario.prove_mmu_on(machine, figures, least=self.payload << 20)
        return figures

    def check_range(self, machine, console, figures):
        """Check that the last copy on the console has the parts of the linear map that were used,
        each once. A copy of more would only cost time, so no other check of a machine would notice.
        A series without such messages has KUnit count the pages."""
        if self.kernel != "series" or not BASE.tells_parts:
            return
        wrong = wrong_parts(self.row, copied(console), figures.relocated or 0)
        if wrong:
            machine.fail(wrong)

    def check_reach(self, machine):
        """If the row says where memory begins, check that the code page was there and that TTBR0
        spanned it."""
        start = self.row.board.start
        for address, t0sz in REACH.findall(machine.text()) if start else ():
            code = int(address, 16)
            if code < start or code >> 64 - int(t0sz):
                machine.fail(f"code page at {code:#x} with T0SZ {t0sz}")

    def check_after(self, machine):
        """Do in the next kernel what the row says is to be done there."""
        if self.row.after:
            machine.sh(self.row.after)


def kexec_file(rig):
    """By the kernel's own loader."""
    with rig.booted() as machine:
        return rig.kexec(machine, "-s")


def kexec_load(rig):
    """By the loader in user space."""
    with rig.booted() as machine:
        return rig.kexec(machine, "-c")


def hibernate(rig):
    """Hibernate in one machine, resume in another."""
    with rig.resumed() as (_, figures):
        return figures


def kdump(rig, part="", **what):
    """Crash, and read the dump from the crash kernel; nothing is relocated on the way."""
    with rig.booted(part, append=rig.row.crash or scenario.CRASH) as machine:
        figures = scenario.kdump(machine, **what)
        if figures.bursts:
            machine.fail(f"a crash relocated: {figures.bursts}")
        rig.check_after(machine)
    return figures


def chain(rig, check=lambda machine: None):
    """kexec, hibernate, resume, kexec: each leaves the machine fit for the next."""
    def before(machine):
        check(machine)
        rig.kexec(machine, "-s")
        check(machine)

    with rig.resumed(before=before) as (machine, _):
        check(machine)
        figures = rig.kexec(machine, "-c")
        check(machine)
    return figures


def kvm(rig):
    """The chain, and after each step EL2 answers: KVM runs a guest."""
    def check(machine):
        if "kvm 42" not in machine.sh("kvm"):
            machine.fail("KVM did not run its guest")

    return chain(rig, check)


def check_kunit(machine, untried=()):
    """Check that the kernels of this machine have run the library's tests, and that all have
    passed. untried: the tests that lack something on this machine. Exactly these have to be
    skipped."""
    found = tap.kunit(machine.text())
    suite = [result for result in found if result.name == "trans_pgd"]
    wrong = [result.name for result in found
             if not result.ok or result.tried == (result.name in untried)]
    if not suite or wrong:
        raise LabError(f"KUnit: {', '.join(wrong) or 'no suite has run'} (console log: "
                       f"{machine.log})")


def kunit(rig):
    """The kernel runs the tests that the library has, while it boots."""
    with rig.booted() as machine:
        check_kunit(machine, rig.row.untried)
    return scenario.Figures(0)


def selftests(rig):
    """The series' kselftests, each program on a machine of its own, at EL1. Its kernel looks for
    leaks and for wrong locking. All cases have to run and pass."""
    wrong = []
    for program in selftest.PROGRAMS:
        found, error = selftest.outcome(program, rig.image, TEST_LOGS)
        if error:
            raise error
        wrong += [f"{program} has not run {case}" for case in selftest.cases(program)
                  if case not in found]
        wrong += [f"{program}: {case} was skipped" if skipped else f"{program}: {case} failed"
                  for case, (good, skipped, _) in found.items() if skipped or not good]
    if wrong:
        raise LabError("; ".join(wrong))
    return scenario.Figures(0)


def hand_overs(count):
    """What hands over that often in a row."""
    def again(rig):
        with rig.booted() as machine:
            for _ in range(count):
                figures = rig.kexec(machine)
        return figures

    return again


def resumes(count):
    """What hibernates and resumes that often in a row."""
    def again(rig):
        with rig.swap() as swap:
            with rig.booted("-0", scenario.RESUME, drives=[swap]) as machine:
                scenario.remember(machine)
                scenario.hibernate(machine)
            for turn in range(1, count + 1):
                with rig.machine(f"-{turn}", scenario.RESUME, drives=[swap]) as machine:
                    figures = rig.resume(machine)
                    if turn < count:
                        scenario.hibernate(machine)
        return figures

    return again


def dumps(count):
    """What crashes and dumps that often."""
    return lambda rig: [kdump(rig, f"-{turn}") for turn in range(count)][-1]


def handed_to(image, how):
    """A function that hands over to another kernel and checks the payload there. how: the option
    of kexec that chooses the system call."""
    def once(rig):
        with rig.booted() as machine:
            return rig.kexec(machine, how, image=image)

    return once


def forms(rig):
    """kexec_load of the kernel in each format that kexec-tools takes."""
    with rig.booted() as machine:
        for name in FORMS:
            figures = rig.kexec(machine, "-c", image=name)
    return figures


def out_of_crash(rig):
    """kexec in a crash kernel."""
    with rig.booted(append=rig.row.crash or scenario.CRASH) as machine:
        scenario.kdump(machine)
        figures = scenario.kexec(machine, "-s")
        scenario.prove_mmu_on(machine, figures, least=rig.payload << 20)
        machine.sh("test ! -e /proc/vmcore")
    return figures


def snapshot(rig):
    """A program takes a snapshot by /dev/snapshot, and has the same kernel restore it."""
    with rig.swap() as swap:
        with rig.booted(drives=[swap]) as machine:
            scenario.remember(machine)
            machine.sh("dmesg -n 8")
            start = time.monotonic()
            machine.sh(f"snapshot {scenario.SWAPPED} | grep RESTORED")
            figures = scenario.Figures(seconds(start))
            rig.restored(machine, figures)
    return figures


def dimm(rig):
    """A DIMM that comes before a load, one that goes before the jump, and one that comes
    between the two."""
    with rig.booted() as machine:
        machine.plug()
        machine.sh(ONLINE)
        rig.kexec(machine)
        machine.sh(ONLINE)
        # The kernel's own loader would put the device tree into the DIMM.
        scenario.load(machine, "-c -l --no-checks --mem-max=0x7fffffff")
        machine.unplug()
        machine.sh(f"while [ -d {BLOCK} ]; do sleep 0.1; done")
        rig.hand_over(machine)
        machine.sh(f"test ! -e {BLOCK}")
        scenario.load(machine, "-s -l")
        machine.plug()
        machine.sh(ONLINE)
        figures = rig.hand_over(machine)
        machine.sh(ONLINE)
    return figures


def debian_kdump(rig):
    """Debian's own kernel as the crash kernel."""
    return kdump(rig, image="debian")


def installer(rig):
    """To Debian's installer, up to its first screen."""
    with rig.booted() as machine:
        tables = scenario.load(machine, "-s -l", "installer.gz", "installer")
        machine.sh("dmesg -n 8")
        start = time.monotonic()
        machine.send("kexec -e")
        machine.expect("Bye!", what="the old kernel's last word")
        machine.expect("Booting Linux", what="the installer's kernel")
        machine.expect("Select a language", 5 * PATIENCE, "the installer's first screen")
        figures = scenario.Figures(seconds(start), tables, machine.relocations())
        if rig.mmu_on:
            scenario.prove_mmu_on(machine, figures, least=rig.payload << 20)
    return figures


def relay(rig):
    """From the base to the series to Debian's kernel and back to the series."""
    with rig.booted() as machine:
        scenario.kexec(machine, "-s", image="series")
        figures = scenario.kexec(machine, "-s", image="debian", initrd="carrier.cpio")
        scenario.prove_mmu_on(machine, figures, least=rig.payload << 20)
        # Debian builds it without kexec_file_load.
        machine.sh("kexec -c -l --no-checks /series --initrd=/payload.cpio --reuse-cmdline")
        scenario.hand_over(machine)
        figures = scenario.kexec(machine, "-s", image="series")
        scenario.prove_mmu_on(machine, figures, least=rig.payload << 20)
    return figures


def endian(rig):
    """To a big-endian kernel, from that to itself, and back: lab/guest/endian.c."""
    with rig.booted() as machine:
        tables = scenario.load(machine, "-s -l", "endian.cpio", "endian")
        machine.sh("dmesg -n 8")
        start = time.monotonic()
        machine.send("kexec -e")
        for kernel in ("the big-endian kernel", "it again", "the first kernel again"):
            machine.expect("Bye!", 2 * PATIENCE, f"the last word before {kernel}")
            machine.expect("Booting Linux", what=kernel)
        machine.wait_ready(BOOT)
        machine.sh("md5sum -c /payload.md5")
        check_kunit(machine)
        figures = scenario.Figures(seconds(start), tables, machine.relocations())
        if len(figures.bursts) != 3:
            machine.fail(f"three relocations were to be seen, and not: {figures.bursts}")
        for burst in figures.bursts:
            scenario.prove_mmu_on(machine, scenario.Figures(0, bursts=[burst]),
                                  rig.payload << 20)
    return figures


def debian_files(row):
    """Debian's kernel."""
    return {"debian": debian.kernel(row.debian)}


def installer_files(_):
    """Debian's installer."""
    image, initrd = debian.installer()
    return {"installer": image, "installer.gz": initrd}


def other_files(row):
    """The kernel that the row names."""
    return {"other": build.kernel("series", row.to) / "arch/arm64/boot/Image"}


def form_files(row):
    """The kernel itself in each form."""
    built = build.kernel(row.kernel, row.config)
    image = built / "arch/arm64/boot/Image"
    return {"Image.gz": guest.gzipped(image), "uImage": guest.uimage(image),
            "vmlinux": built / "vmlinux"}


def relay_files(row):
    """All kernels of the relay. Debian's kernel has no driver for the disk, so its initramfs has
    the kernel that it hands over to."""
    series = build.kernel("series", row.config) / "arch/arm64/boot/Image"
    payload = guest.payload_initramfs(row.payload)
    return debian_files(row) | {"series": series, "carrier.cpio": guest.carrier(
        "carrier", payload, {"series": series, "payload.cpio": payload})}


def endian_files(row):
    """A big-endian kernel and what it boots with."""
    return {"endian": build.kernel(row.kernel, "tiny+be") / "arch/arm64/boot/Image",
            "endian.cpio": guest.endian_initramfs(row.payload)}


# The kernel's own loader, and the one in user space: how they are called, and kexec's option
LOADERS = (("file", "-s"), ("load", "-c"))
FILES = {"debian_file": debian_files, "debian_load": debian_files, "debian_kdump": debian_files,
         "installer": installer_files, "relay": relay_files, "to_file": other_files,
         "to_load": other_files, "forms": form_files, "endian": endian_files}
TRANSITIONS = {function.__name__: function for function in
               (kexec_file, kexec_load, hibernate, kdump, chain, kunit, kvm, selftests)}
TRANSITIONS |= {f"to_{end}": handed_to("other", how) for end, how in LOADERS}
TRANSITIONS |= {function.__name__: function for function in
                (snapshot, dimm, out_of_crash, forms, endian)}
TRANSITIONS |= {f"{name}{count}": what(count) for name, what, counts in
                (("kexec", hand_overs, (10, 100)), ("hibernate", resumes, (5, 25)),
                 ("kdump", dumps, (5, 25))) for count in counts}
TRANSITIONS |= {f"debian_{end}": handed_to("debian", how) for end, how in LOADERS}
TRANSITIONS |= {function.__name__: function for function in (debian_kdump, installer, relay)}


def consoles(cell, start):
    """The console logs that a cell has written since a time.time()."""
    return sorted(path for path in TEST_LOGS.glob(f"matrix-{cell}[.-]*console.log")
                  if path.stat().st_mtime >= start - 1)


def attempt(cell, result, start):
    """Run a cell and fill in its result. Raise LabError if it fails."""
    if cell.row.skip:
        result.outcome, result.why = "skipped", cell.row.skip
        return
    try:
        figures = cell.run()
        if (figures.tables or 0) > scenario.PAGES:
            raise LabError(f"the copy took {figures.tables} pages, more than {scenario.PAGES}")
    except LabError as error:
        result.why = str(error)
        said = [path.read_text(encoding="utf-8") for path in consoles(cell, start)]
        if not cell.row.knows(result.why, said):
            raise
        result.outcome, result.why = "known", f"{cell.row.known}: {error}"
        return
    if cell.row.known:
        result.why = (f"it passed and is known to fail ({cell.row.known}): take known and fails "
                      "out of lab/machines.cfg")
        raise LabError(result.why)
    result.outcome, result.why = "passed", ""
    result.handover, result.tables = figures.seconds, figures.tables
    result.relocated, result.mmu_off = figures.relocated, figures.mmu_off


def run(cell):
    """Run a cell and write its result to a file, also if it fails. Return the result."""
    began, start = time.monotonic(), time.time()
    result = Result(cell.row.name, cell.transition, cell.row.kernel,
                    level=cell.row.board.level, config=cell.row.config)
    try:
        attempt(cell, result, start)
    finally:
        result.seconds = seconds(began)
        result.logs = [path.name for path in consoles(cell, start)]
        result.write()
    return result


def report():
    """Report the results of the cells of the table."""
    grid.report({base: cells(base) for base in BASES}, TRANSITIONS)
