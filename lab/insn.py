# SPDX-License-Identifier: GPL-2.0-only
"""What an A64 instruction does to memory and to caches, from its word and the registers.

Instructions are decoded by class, so that none is missed: whatever the architecture's top-level
table calls a load or store is decoded in full, or is an error. The same holds for cache
maintenance.
"""

import dataclasses

from lab.util import LabError

MSR_SCTLR_EL1 = 0xd5181000      # with the register in the low five bits
MSR_TTBR0_EL1 = 0xd5182000
MSR_TTBR1_EL1 = 0xd5182020
TLBI_VMALLE1 = 0xd508871f
MRS_CTR_EL0 = 0xd53b0020
MRS_DCZID_EL0 = 0xd53b00e0
# (op1, CRm, op2) of SYS instructions with CRn 7
CACHE = {
    (3, 4, 1): "dc zva", (3, 10, 1): "dc cvac", (3, 11, 1): "dc cvau", (3, 14, 1): "dc civac",
    (0, 6, 1): "dc ivac", (0, 1, 0): "ic ialluis", (0, 5, 0): "ic iallu", (3, 5, 1): "ic ivau",
}
DSB_DOMAIN = ("osh", "nsh", "ish", "sy")


def bits(word, high, low):
    """A field of a word."""
    return word >> low & (1 << high - low + 1) - 1


def signed(value, width):
    """A two's complement field as a number."""
    return value - (1 << width) if value >> width - 1 else value


@dataclasses.dataclass
class Access:
    """One access to memory; register + offset, and what is added to it."""

    size: int                   # bytes
    store: bool
    register: int | None = None     # None: relative to pc
    offset: int = 0
    index: tuple | None = None      # (register, extend option, shift)

    def address(self, registers, pc):
        """Where it goes; registers: x0 to x30 and sp."""
        base = pc if self.register is None else registers[self.register]
        add = self.offset
        if self.index:
            number, option, shift = self.index
            value = 0 if number == 31 else registers[number]
            if option in (2, 6):
                value &= 0xffffffff
            add += (signed(value, 32) if option == 6 else value) << shift
        return base + add & (1 << 64) - 1


def unknown(word, what):
    """The error for what is not understood, so that it is not missed."""
    return LabError(f"{word:#010x} is {what} that lab/insn.py does not know")


def pair(word):
    """ldp, stp, ldnp, stnp, ldpsw."""
    opc, simd, load, mode = bits(word, 31, 30), word >> 26 & 1, word >> 22 & 1, bits(word, 24, 23)
    if opc == 3 or (opc == 1 and not simd and (not load or mode == 0)):
        raise unknown(word, "a load or store of a pair")
    size = 4 << opc if simd else 8 if opc == 2 else 4
    offset = 0 if mode == 1 else signed(bits(word, 21, 15), 7) * size
    return [Access(2 * size, not load, bits(word, 9, 5), offset)]


def single(word):
    """ldr, str and their kin with an immediate or a register as offset; LSE atomics."""
    size, simd, opc = bits(word, 31, 30), word >> 26 & 1, bits(word, 23, 22)
    register, index = bits(word, 9, 5), None
    if word >> 24 & 1 == 0 and word >> 21 & 1 and bits(word, 11, 10) != 2:
        if bits(word, 11, 10) == 0 and not simd:
            return [Access(1 << size, True, register)]
        raise unknown(word, "an atomic or authenticated access")
    if not simd and size == 3 and opc == 2:
        return []               # prfm
    if simd and opc & 2:
        if size:
            raise unknown(word, "a load or store")
        size = 4
    elif not simd and (size == 3 and opc == 3 or size == 2 and opc == 3):
        raise unknown(word, "a load or store")
    if word >> 24 & 1:
        offset = bits(word, 21, 10) << size
    elif word >> 21 & 1:
        option, offset = bits(word, 15, 13), 0
        if option not in (2, 3, 6, 7):
            raise unknown(word, "a load or store")
        index = (bits(word, 20, 16), option, size if word >> 12 & 1 else 0)
    else:
        offset = 0 if bits(word, 11, 10) == 1 else signed(bits(word, 20, 12), 9)
    return [Access(1 << size, opc in ((0, 2) if simd else (0,)), register, offset, index)]


def exclusive(word):
    """ldxr, stxr, ldar, stlr, cas and their kin. What may store counts as a store."""
    size, ordered, load, two = (bits(word, 31, 30), word >> 23 & 1, word >> 22 & 1,
                                word >> 21 & 1)
    register = bits(word, 9, 5)
    if ordered and two:         # cas
        return [Access(1 << size, True, register)]
    if two:
        if size < 2:            # casp
            return [Access(8 << size, True, register)]
        return [Access(2 << size, not load, register)]
    return [Access(1 << size, not load, register)]


def literal(word):
    """ldr of a literal."""
    opc, simd = bits(word, 31, 30), word >> 26 & 1
    if opc == 3:
        if simd:
            raise unknown(word, "a load")
        return []               # prfm
    size = 4 << opc if simd else (4, 8, 4)[opc]
    return [Access(size, False, None, signed(bits(word, 23, 5), 19) * 4)]


def accesses(word):
    """The accesses to memory of an instruction, except dc zva, which is in cache()."""
    top = bits(word, 28, 25)
    if top in (0, 1, 2, 3):
        raise unknown(word, "an instruction (or SVE, or no instruction)")
    if top & 5 != 4:
        return []
    family, mode = bits(word, 29, 27), word >> 24 & 1
    if family == 5:
        return pair(word)
    if family == 7:
        return single(word)
    if family == 3 and not mode:
        return literal(word)
    if family == 1 and not mode and not word >> 26 & 1:
        return exclusive(word)
    raise unknown(word, "a load or store")


def cache(word):
    """The cache maintenance that an instruction is: "dc civac" and so on, or None."""
    if word & 0xfff80000 != 0xd5080000 or bits(word, 15, 12) != 7:
        return None
    op1, crm, op2 = bits(word, 18, 16), bits(word, 11, 8), bits(word, 7, 5)
    if crm in (8, 9) and op1 != 3:
        return None             # at
    try:
        return CACHE[op1, crm, op2]
    except KeyError:
        raise unknown(word, "cache maintenance") from None


def barrier(word):
    """(name, domain, whether it waits for loads and stores) of a dsb or isb, or None."""
    if word & 0xfffff01f != 0xd503301f:
        return None
    crm, op2 = bits(word, 11, 8), bits(word, 7, 5)
    if op2 == 6:
        return "isb", None, True
    if op2 == 4 and crm & 3:
        return "dsb", DSB_DOMAIN[crm >> 2], crm & 3 == 3
    return None


def goes_on(word):
    """Whether the next instruction is the one behind it, unless an exception is taken."""
    # Branches, exception generation and eret; not system instructions.
    return bits(word, 28, 26) != 5 or word & 0xff000000 == 0xd5000000


def translates(word):
    """Whether it may change what an address translates to: msr and tlbi."""
    return word & 0xfff00000 == 0xd5100000 or word & 0xfff8f000 == 0xd5088000
