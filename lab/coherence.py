# SPDX-License-Identifier: GPL-2.0-only
"""Judges whether a hand-over would work with real caches and a real TLB. QEMU cannot show that.
It emulates no caches. It emulates a TLB, but empties it at each write to TCR_EL1. If an entry of
that TLB does not permit an access, QEMU reads the tables again, where a CPU may take the exception.

So a machine is stepped through, one instruction at a time. Judge follows the state of each cache
line by the rules of the architecture. A store is in memory once a clean to the point of coherency
(PoC) and a dsb after it are complete. The new content is executed once an ic, a dsb and an isb
have followed. With the MMU off, all that is loaded has to be in memory, and all that is executed
has to be invalidated in the I-cache as well. Otherwise an error names the instruction. TableSwitch
judges the TLB when a TTBR gets other tables.
"""

from lab import build, guest, insn, scenario
from lab.board import Board, Boot, Watch
from lab.console import printed_line
from lab.here import BASE
from lab.machine import Machine
from lab.stub import Stub
from lab.util import LabError

GRANULE = 16                    # bytes of the smallest cache line that the architecture permits
PAGE = 4096
TABLE = (1 << 48) - PAGE        # mask of the table's address in a TTBR
TO_POC = ("dc civac", "dc cvac")
POC_DOMAINS = ("sy", "osh")     # of a dsb that completes a clean to the PoC
MEMORY = 256                    # MiB
ENOUGH = 200_000                # steps; no trace here takes a tenth of that
EL2_VECTORS = 0x800             # bytes of the vectors
# Symbols are at their addresses, and the kernel does without the instructions of FEAT_MOPS, which
# QEMU 10's CPUs have: lab/insn.py does not know them.
OPTIONS = "nokaslr arm64.nomops"
# Numbers of the registers that v5.10's relocation begins with: address of the page of zeroes, line
# size
X_ZEROES, X_LINE = 1, 3
# The same for the page of zeroes when a resume begins to restore memory
X_ZEROES_RESUME = 5
RESUME_CODE = PAGE              # where v5.10 maps that code; mainline's is at its physical address


class TableSwitch:
    """Break-before-make of a TTBR. Between two tables, the TTBR has to point to a page of zeroes,
    and the TLB has to be emptied. Otherwise a CPU may use old entries of the TLB. The page of
    zeroes is in use from the isb on, so a tlbi before it does not count. Nothing after the dsb
    takes effect before it, so the write of the other tables needs no isb before it."""

    STEPS = ("in use", "zeroes", "isb", "tlbi", "dsb")

    def __init__(self, name):
        self.name = name
        self.zeroes = None              # physical address of the page; None: do not judge yet
        self.done = 0                   # index of the last of the STEPS that was seen
        self.switches = 0               # complete ones

    def saw(self, what):
        """Something has happened. Count it if it is the next step."""
        if self.done + 1 < len(self.STEPS) and what == self.STEPS[self.done + 1]:
            self.done += 1

    def write(self, value, pc):
        """The TTBR is written."""
        if self.zeroes is None:
            return
        if value & TABLE == self.zeroes:
            self.done = 1
        elif self.done != len(self.STEPS) - 1:
            raise LabError(f"{self.name} gets other tables at {pc:#x} without break-before-make: "
                           f"the last step was '{self.STEPS[self.done]}'")
        else:
            self.done = 0
            self.switches += 1


class Judge:
    """The state of each granule in memory, D-cache and I-cache, by physical address.

    kernel_el: the exception level that the kernel runs at. above: whether the kernel was started
    at the level above. That level has its MMU off.
    """

    def __init__(self, kernel_el, above):
        self.kernel_el = kernel_el
        self.above = above
        # Bytes of a D-cache line, of an I-cache line and of dc zva; None until the kernel has read
        # them
        self.line = self.iline = self.block = None
        self.mmu_off = False
        self.relocating = False
        # Sets of granules
        # Judged at each fetch that bypasses the MMU, even before the kernel switches its MMU off
        self.guarded = set()
        self.dirty = {}                 # stored to, not cleaned since: {granule: pc of the store}
        self.relocated = set()          # stored to by the relocation code
        self.cleaning = set()           # cleaned, but no dsb yet
        self.clean = set()              # cleaned, and a dsb since
        # {exception level that has done it: granules}
        self.invalidating = {}          # ic, but no dsb yet
        self.synchronizing = {}         # ic and dsb, but no isb yet
        self.fetchable = {}             # ic, dsb and isb
        self.kimage = frozenset()       # pages not to be loaded from after relocation's first store
        self.ttbr0, self.ttbr1 = TableSwitch("TTBR0"), TableSwitch("TTBR1")
        self.stores = self.cleans = 0

    def saw(self, what):
        """Tell both TTBRs of a step of break-before-make."""
        self.ttbr0.saw(what)
        self.ttbr1.saw(what)

    def granules(self, address, size):
        """The granules of a range."""
        return range(address & -GRANULE, address + size, GRANULE)

    def store(self, address, size, pc, el):
        """A store is executed."""
        if self.without_mmu(el):
            raise LabError(f"the store at {pc:#x} to {address:#x} is made with the MMU off")
        self.stores += 1
        for granule in self.granules(address, size):
            self.dirty[granule] = pc
            if self.relocating:
                self.relocated.add(granule)
            for state in (self.cleaning, self.clean, *self.invalidating.values(),
                          *self.synchronizing.values(), *self.fetchable.values()):
                state.discard(granule)

    def forget(self, address, size):
        """Treat a range as if something unknown had stored to it."""
        guarded = set(self.granules(address, size))
        self.guarded |= guarded
        for granule in guarded:
            self.dirty[granule] = None
        self.clean -= guarded
        self.cleaning -= guarded

    def cache(self, what, address, pc, el):
        """Cache maintenance."""
        if what == "dc zva":
            self.store(address & -self.block, self.block, pc, el)
        elif what == "dc ivac":
            raise LabError(f"{what} of {address:#x}: a store to that line may be lost")
        elif what in TO_POC:
            self.cleans += 1
            if not self.line:
                raise LabError(f"{what} before the kernel has read the size of a cache line")
            for granule in self.granules(address & -self.line, self.line):
                if self.dirty.pop(granule, self) is not self or granule not in self.clean:
                    self.cleaning.add(granule)
        elif what.startswith("ic"):
            which = self.clean
            if what == "ic ivau":
                which = which & set(self.granules(address & -self.iline, self.iline))
            self.invalidating.setdefault(el, set()).update(which)

    def barrier(self, name, domain, both, el):
        """A dsb or an isb is executed. both: whether it waits for loads and stores."""
        if name == "isb":
            self.fetchable.setdefault(el, set()).update(self.synchronizing.pop(el, ()))
        elif both:
            if domain in POC_DOMAINS:
                self.clean |= self.cleaning
                self.cleaning = set()
            self.synchronizing.setdefault(el, set()).update(self.invalidating.pop(el, ()))

    def without_mmu(self, el):
        """Whether accesses at an exception level bypass the MMU and the caches."""
        return self.mmu_off or el > self.kernel_el

    def why_not_clean(self, granule):
        """Why a granule may not be in memory yet. None if it is."""
        if granule in self.clean:
            return None
        if granule in self.cleaning:
            return "was cleaned, but no dsb has completed the clean"
        if self.dirty.get(granule):
            return f"was not cleaned to the PoC after the store at {self.dirty[granule]:#x}"
        return "was not cleaned to the PoC"

    def need_clean(self, granule, when):
        """Raise LabError if a granule is not in memory. when: the begin of the message."""
        why = self.why_not_clean(granule)
        if why:
            raise LabError(f"{when}: the line at {granule:#x} {why}")

    def need_fetchable(self, granule, el, when):
        """Raise LabError if a granule is not in memory, or if an I-cache may have an older content
        of it."""
        self.need_clean(granule, when)
        # Where an I-cache has lines of a VMID, EL1 cannot invalidate what EL2 executes. So the
        # level that executes a relocated granule has to invalidate it itself.
        levels = [el] if BASE.vpipt and granule in self.relocated else self.fetchable
        if not any(granule in self.fetchable.get(level, ()) for level in levels):
            raise LabError(f"{when}: no ic, dsb and isb at EL{el} since the line at {granule:#x} "
                           "was cleaned")

    def need_all(self, granules, el, when):
        """Raise LabError unless all granules can be executed."""
        for granule in sorted(granules):
            self.need_fetchable(granule, el, when)

    def fetch(self, pc, physical, el):
        """An instruction is executed."""
        granule = physical & -GRANULE
        if self.without_mmu(el) and (self.mmu_off or granule in self.guarded):
            self.need_fetchable(granule, el, f"executing {pc:#x} at EL{el} with the MMU off")

    def load(self, address, size, pc, el):
        """A load is executed."""
        if self.relocated and address & -PAGE in self.kimage:
            raise LabError(f"the load at {pc:#x} is from the kimage, which the relocation may have "
                           "overwritten already")
        if self.without_mmu(el):
            for granule in self.granules(address, size):
                self.need_clean(granule, f"the load at {pc:#x} with the MMU off")

    def switch_off(self, el):
        """The MMU is switched off. What was relocated will be executed or loaded without it."""
        when = "switching the MMU off"
        self.need_all(self.relocated | self.guarded, el, when)
        self.mmu_off = True


class Trace:
    """Steps through a machine and tells the judge each access and each maintenance instruction.

    stub: of the machine, which is stopped at the first instruction. log: a file that gets a line
    for each store, maintenance instruction, barrier and write of a system register.
    """

    def __init__(self, stub, judge, log):
        self.stub = stub
        self.judge = judge
        self.log = log
        self.registers, self.el = stub.registers()
        self.steps = 0
        self.pages = {}

    @property
    def pc(self):
        """The address of the next instruction."""
        return self.registers[32]

    def physical(self, address):
        """The physical address of a virtual address. None if it has none."""
        key = self.el, address // PAGE
        if key not in self.pages:
            self.pages[key] = self.stub.physical(address & -PAGE)
        page = self.pages[key]
        return None if page is None else page + address % PAGE

    def split(self, address, size):
        """(physical address, size) of each part of a range, cut where a page ends."""
        while size:
            part = min(size, PAGE - address % PAGE)
            yield self.physical(address), part
            address, size = address + part, size - part

    def step(self):
        """Execute one instruction."""
        pc, el, judge, registers = self.pc, self.el, self.judge, self.registers
        word = self.stub.word(pc)
        judge.fetch(pc, self.physical(pc), el)
        said = []
        for access in insn.accesses(word):
            address = access.address(registers, pc)
            for physical, size in self.split(address, access.size):
                if physical is None:
                    raise LabError(f"the access at {pc:#x} to {address:#x} faults")
                (judge.store if access.store else judge.load)(physical, size, pc, el)
                if access.store:
                    said.append(f"store {physical:#x} {size}")
        target = 0 if word & 31 == 31 else registers[word & 31]
        if what := insn.cache(word):
            by_address = not what.startswith("ic iall")
            where = self.physical(target) if by_address else 0
            if where is None:
                raise LabError(f"the {what} at {pc:#x} of {target:#x} faults")
            judge.cache(what, where, pc, el)
            said.append(f"{what} {where:#x}" if by_address else what)
        if found := insn.barrier(word):
            judge.barrier(*found, el)
            if found[2]:
                judge.saw(found[0])
            said.append(" ".join(filter(None, found[:2])))
        if word & ~31 == insn.MSR_SCTLR_EL1 and not target & 1:
            judge.switch_off(el)
            said.append("MMU off")
        for code, switch in ((insn.MSR_TTBR0_EL1, judge.ttbr0), (insn.MSR_TTBR1_EL1, judge.ttbr1)):
            if word & ~31 == code:
                switch.write(target, pc)
                said.append(f"{switch.name} {target:#x}")
        if word == insn.TLBI_VMALLE1:
            judge.saw("tlbi")
            said.append("tlbi vmalle1")
        if insn.translates(word):
            self.pages.clear()
        for text in said:
            self.log.write(f"{self.steps} {pc:#x} EL{el} {text}\n")
        self.stub.step()
        self.steps += 1
        self.registers, self.el = self.stub.registers()
        while insn.goes_on(word) and self.pc == pc:
            self.stub.step()    # QEMU may stop before it has executed the instruction.
            self.registers, self.el = self.stub.registers()
        if insn.goes_on(word) and self.pc != pc + 4:
            raise LabError(f"an exception was taken at {pc:#x}, to {self.pc:#x}")
        if word & ~31 == insn.MRS_CTR_EL0:
            ctr = self.registers[word & 31]
            judge.line, judge.iline = 4 << (ctr >> 16 & 15), 4 << (ctr & 15)
        elif word & ~31 == insn.MRS_DCZID_EL0:
            judge.block = 4 << (self.registers[word & 31] & 15)

    def until(self, reached, what):
        """Step until reached() is true. what: it in words, for the error."""
        limit = self.steps + ENOUGH
        while not reached():
            if self.steps == limit:
                raise LabError(f"{ENOUGH} steps without reaching {what}")
            self.step()


def trace_function(stub, judge, log, address):
    """Step through the next call of a function; return its first three arguments."""
    stub.run_to(address)
    trace = Trace(stub, judge, log)
    arguments, back = trace.registers[:3], trace.registers[30]
    trace.until(lambda: trace.pc == back, "the function's end")
    return arguments


def trace_load(stub, judge, log, where):
    """Step through the functions that copy code when an image is loaded. v5.10's copies have to be
    executable with the MMU off, by any mapping. Return (physical address, size) of each copy."""
    pages = []
    stub.run_to(where["machine_kexec_post_load"])
    back = stub.registers()[0][30]
    if judge.above:
        # It calls trans_pgd_copy_code(), but the compiler may have inlined that.
        _, result, _ = trace_function(stub, judge, log, where["trans_pgd_copy_el2_vectors"])
        pages.append((stub.number(result), EL2_VECTORS))
    if "trans_pgd_copy_code" in where:
        page, _, size = trace_function(stub, judge, log, where["trans_pgd_copy_code"])
        pages.append((stub.physical(page), size))
    else:
        # Mainline copies the code, maps it, and then cleans it.
        stub.run_to(where["trans_pgd_idmap_page"])
        trace = Trace(stub, judge, log)
        size = where["__relocate_new_kernel_end"] - where["__relocate_new_kernel_start"]
        pages.append((trace.physical(trace.registers[3]), size))
        judge.forget(*pages[-1])
        trace.until(lambda: trace.pc == back, "the end of the load")
        # It invalidates the I-cache before the jump, which is judged then.
        return pages
    for page, size in pages:
        judge.need_all(judge.granules(page, size), judge.kernel_el, f"loading code at {page:#x}")
    return pages


def handed_over(name, level, logs, line=None):
    """Load the tiny kernel, and hand over to it with each step judged. Return the Judge.

    line: the size of a D-cache line to give to the relocation code, instead of the real one.
    """
    out = build.kernel("series")
    where = build.symbols(out / "vmlinux")
    disk = guest.disk(guest.GUEST / "disk-tiny.img", {"tiny": guest.tiny()})
    machine = Machine(name, logs, Board(level, memory=MEMORY, smp=1),
                      Boot(out / "arch/arm64/boot/Image", guest.initramfs(),
                           f"{OPTIONS} {scenario.DEBUG}", [disk]), Watch(gdb=True))
    with machine, open(machine.log.with_suffix(".trace"), "w", encoding="utf-8") as log:
        machine.wait_ready()
        scenario.mount(machine)
        with Stub(machine) as stub:
            machine.send("kexec -s -l /mnt/tiny --reuse-cmdline; echo LAB LOADED $?")
            judge = Judge(2 if level == "vhe" else 1, level == "nvhe")
            pages = trace_load(stub, judge, log, where)
        machine.expect(printed_line("LAB LOADED 0"), what="the tiny kernel to be loaded")
        machine.wait_prompt()
        hand_over(machine, where, judge, pages, log, line)
        machine.expect(rf"TINY EL{1 if level == 'el1' else 2} entered right",
                       what="the tiny kernel to be entered right")
        machine.send("")
        machine.wait_exit()
    return judge


def goes_by(stub, switch, zeroes):
    """Begin to judge the switches of a TTBR. zeroes: the address of its page of zeroes."""
    if any(stub.physical_memory(zeroes, PAGE)):
        raise LabError(f"the page of zeroes for {switch.name}, at {zeroes:#x}, is not all zeroes")
    switch.zeroes = zeroes


def hand_over(machine, where, judge, pages, log, line):
    """Step from machine_kexec() to the first instruction of the tiny kernel."""
    code = scenario.code_page(machine)
    if code not in [page for page, _ in pages]:
        raise LabError(f"the relocation code at {code:#x} is not the code whose copying was seen")
    machine.sh('for f in machine_kexec trans_pgd; do echo "file $f.c -p" '
               ">/sys/kernel/debug/dynamic_debug/control; done; dmesg -n 4")
    for page, size in pages:
        # After a resume from hibernation nothing would be known of these pages. The hand-over has
        # to do its maintenance in that case too.
        judge.forget(page, size)
    with Stub(machine) as stub:
        machine.send("kexec -e")
        stub.run_to(where["machine_kexec"])
        trace = Trace(stub, judge, log)
        kimage = trace.physical(trace.registers[0]) & -PAGE
        judge.kimage = frozenset((kimage,))
        goes_by(stub, judge.ttbr0, trace.physical(where["reserved_pg_dir"]))
        trace.until(lambda: trace.pc == code, "the relocation code")
        judge.relocating = True
        field = build.asm_offset(build.kernel("series"), "KIMAGE_ARCH_ZERO_PAGE")
        goes_by(stub, judge.ttbr1, trace.registers[X_ZEROES] if field is None
                else stub.number(trace.registers[0] + field))
        if line:
            judge.line = line
            stub.set_register(X_LINE, line)
            trace.registers, _ = stub.registers()
        trace.until(lambda: judge.mmu_off and trace.pc & -PAGE not in
                    [page for page, _ in pages], "the tiny kernel")
        judge.fetch(trace.pc, trace.pc, trace.el)


def resumed(name, level, logs):
    """Hibernate, and resume in another machine. The steps of the resume are judged from the end of
    trans_pgd_map_page() or trans_pgd_idmap_page(), which maps the code that restores memory, until
    that code runs on the copy of the linear map. Return the Judge."""
    rig = scenario.Rig(name, Board(level, smp=1), logs, append=OPTIONS)
    where = build.symbols(build.kernel("series") / "vmlinux")
    judge = Judge(2 if level == "vhe" else 1, level == "nvhe")
    with rig.swap() as swap:
        options = {"append": scenario.RESUME, "drives": [swap]}
        with rig.booted("-1", **options) as machine:
            scenario.remember(machine)
            scenario.hibernate(machine)
        with rig.machine("-2", gdb="wait", **options) as machine, \
                open(machine.log.with_suffix(".trace"), "w", encoding="utf-8") as log:
            with Stub(machine) as stub:
                if mapper := where.get("trans_pgd_map_page"):
                    stub.run_to(mapper)
                    code = RESUME_CODE
                else:
                    stub.run_to(where["trans_pgd_idmap_page"])
                    code = stub.physical(stub.registers()[0][3])
                stub.run_to(stub.registers()[0][30])
                trace = Trace(stub, judge, log)
                goes_by(stub, judge.ttbr0, trace.physical(where["reserved_pg_dir"]))
                trace.until(lambda: trace.pc == code, "the code that restores memory")
                goes_by(stub, judge.ttbr1, trace.registers[X_ZEROES_RESUME])
                trace.until(lambda: judge.ttbr1.switches, "the copy of the linear map")
            rig.resume(machine)
    return judge
