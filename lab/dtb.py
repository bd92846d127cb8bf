# SPDX-License-Identifier: GPL-2.0-only
"""A changed device tree, and a loader for kernels at an address that QEMU's loader does not
use."""

import struct

from lab.board import QEMU, RAM
from lab.util import run

# From where memory begins for a kernel that QEMU's own loader cannot place.
PLACES = {"dtb": 0x7e00000, "initrd": 0x8000000}
# ldr x0, tree; ldr x4, entry; mov x1 to x3, xzr; br x4; the two addresses follow
PROGRAM = (0x58000100, 0x58000124, 0xaa1f03e1, 0xaa1f03e2, 0xaa1f03e3, 0xd61f0080,
           0xd503201f, 0xd503201f)


def cells(*values):
    """The 32-bit halves of 64-bit values, as fdtput takes them with -t x."""
    return [f"{word:#x}" for value in values for word in divmod(value, 1 << 32)]


def write(board, boot, files, argv):
    """Take the device tree that QEMU has with argv and change it: memory that must not be mapped,
    the seed of KASLR, PSCI, and where memory begins. Return the arguments that have QEMU use
    it."""
    def put(*words, options=("-t", "x")):
        """Have fdtput change it: words are a node, a property and its cells."""
        run(["fdtput", *options, files.dtb, *words], "changing the device tree", log="qemu.log")

    if board.start:
        files.boot.write_bytes(bytes(4))        # QEMU wants a kernel to be there
    run([QEMU, *argv, "-machine", f"dumpdtb={files.dtb}"], "asking QEMU for a device tree",
        log="qemu.log")
    if board.nomap:
        node = f"/reserved-memory/lab@{board.nomap[0]:x}"
        put(node, options=["-p", "-c"])
        put("/reserved-memory", "#address-cells", "2")
        put("/reserved-memory", "#size-cells", "2")
        put("/reserved-memory", "ranges")
        put(node, "reg", *cells(*board.nomap))
        put(node, "no-map")
    if board.seed:
        put("/chosen", "kaslr-seed", *cells(board.seed))
    if board.psci == "none":
        put("/psci", options=["-r"])
    elif board.psci:
        # QEMU gives the numbers of its functions too, as 0.1 needs them.
        put("/psci", "compatible", "arm,psci", options=["-t", "s"])
    return place(board, boot, files, put) if board.start else ["-dtb", str(files.dtb)]


def place(board, boot, files, put):
    """Place kernel, initramfs and device tree where memory begins, and below it a program that
    enters the kernel. QEMU's own loader cannot do that. Return the arguments for it."""
    entry, tree = board.start, board.start + PLACES["dtb"]
    initrd = board.start + PLACES["initrd"]
    end = initrd + boot.initrd.stat().st_size
    put(f"/memory@{RAM:x}", "reg", *cells(board.start, board.memory << 20))
    put("/chosen", "linux,initrd-start", *cells(initrd))
    put("/chosen", "linux,initrd-end", *cells(end))
    files.boot.write_bytes(struct.pack("<8I2Q", *PROGRAM, tree, entry))
    return [word for path, address in ((boot.kernel, entry), (files.dtb, tree),
                                       (boot.initrd, initrd))
            for word in ("-device", f"loader,file={path},addr={address:#x},force-raw=on")]
