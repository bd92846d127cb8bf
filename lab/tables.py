# SPDX-License-Identifier: GPL-2.0-only
"""Page tables of a machine, read from outside as its MMU reads them (4K pages, 48 bits)."""

import struct

PAGE = 4096
ENTRIES = 512
SHIFTS = (39, 30, 21, 12)
ADDRESS = (1 << 48) - PAGE
VALID, TABLE = 1, 2
RDONLY, CONT, WRITE = 1 << 7, 1 << 52, 1 << 51
KERNEL = -1 << 48 & (1 << 64) - 1       # where what TTBR1 translates begins
LINEAR_END = KERNEL + (1 << 47)


def leaves(stub, table, level=0, base=KERNEL):
    """Yield (virtual address, bytes, descriptor) of all that a table translates."""
    entries = struct.unpack(f"<{ENTRIES}Q", stub.physical_memory(table & ADDRESS, PAGE))
    size = 1 << SHIFTS[level]
    for number, entry in enumerate(entries):
        if not entry & VALID:
            continue
        address = base + number * size
        if level < 3 and entry & TABLE:
            yield from leaves(stub, entry, level + 1, address)
        else:
            yield address, size, entry


def pages(found):
    """{virtual address: descriptor} by pages; a block is many. The bit that tells a page
    from a block is left out."""
    return {address + offset: (entry & ~TABLE) + offset for address, size, entry in found
            for offset in range(0, size, PAGE)}


def linear_map(stub, table):
    """What the table maps of the linear map, by pages."""
    return pages(leaf for leaf in leaves(stub, table) if leaf[0] < LINEAR_END)


def as_copied(entry):
    """What a descriptor of the linear map becomes in a copy: writable, and without the contiguous
    hint, which holds only among its neighbours."""
    return (entry | WRITE) & ~(RDONLY | CONT)
