# SPDX-License-Identifier: GPL-2.0-only
"""What the guest boots with: an initramfs of Debian's own arm64 programs, the
same with a payload to carry through a hand-over, and disks.

All of it is done in Python, without root. The archives are written entry by entry, sorted and
without times, so equal inputs give equal bytes.
"""

import contextlib
import gzip
import hashlib
import os
import pathlib
import random
import re
import shutil
import struct
import tempfile
import zlib

from lab import debian, host
from lab.util import BUILD, LAB, LabError, locked, made_whole, main, need_space, output, run, say

GUEST = BUILD / "guest"
INIT = LAB / "guest/init"
OWN = ("kload", "kvm", "snapshot")          # programs in C in lab/guest
TINY = LAB / "guest/tiny.S"
FOLDERS = ("bin", "dev", "lib", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr",
           "usr/bin", "usr/sbin")
# glibc loads this one by name when a thread is cancelled; no program lists it.
UNLISTED = ("libgcc_s.so.1",)
PAD = 512


class Newc:
    """Writes a cpio archive in the `newc` format, which the kernel unpacks."""

    def __init__(self, out):
        self.out = out
        self.inode = 0

    def header(self, name, mode, size=0, device=(0, 0)):
        """The header of one entry; `size` bytes of data must follow, then pad()."""
        self.inode += 1
        encoded = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, size, 0, 0, *device, len(encoded), 0)
        self.out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self.pad(4)

    def pad(self, to):
        """Zeros up to a multiple of `to`."""
        self.out.write(bytes(-self.out.tell() % to))

    def folder(self, name):
        """A directory."""
        self.header(name, 0o040755)

    def file(self, name, data, mode=0o644):
        """A file with its content."""
        self.header(name, 0o100000 | mode, len(data))
        self.out.write(data)
        self.pad(4)

    def end(self):
        """The trailer, and zeros so that another archive may follow."""
        self.header("TRAILER!!!", 0)
        self.pad(PAD)


@contextlib.contextmanager
def kept(path, *inputs):
    """Yield a scratch path to make `path` from, or None when `path` is there,
    was made from the same inputs and has not been written to since."""
    key = path.with_name(path.name + ".key")
    wanted = hashlib.sha256(repr(inputs).encode()).hexdigest()

    def current():
        with contextlib.suppress(FileNotFoundError):
            return key.read_text() == f"{wanted} {path.stat().st_mtime_ns}\n"
        return False

    if current():
        yield None
        return
    with locked("guest"):
        if current():
            yield None
            return
        with made_whole(path) as scratch:
            yield scratch
        key.write_text(f"{wanted} {path.stat().st_mtime_ns}\n")


def needed(binary):
    """The names of the libraries, and of the loader, that an arm64 program asks for."""
    text = output(["readelf", "--wide", "--dynamic", "--program-headers", binary])
    return (re.findall(r"\(NEEDED\).*\[(.+)\]", text)
            + re.findall(r"program interpreter: .*/(.+)\]", text))


def library(root, name):
    """Where the guest's packages have a library."""
    for folder in ("lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"):
        if (root / folder / name).is_file():
            return root / folder / name
    raise LabError(f"{root} lacks {name}; remove it and run the command again")


def programs(root):
    """The files of the initramfs: {name in the guest: path}. Only the programs that the lab runs
    and the libraries that they load, because every boot unpacks all of it under emulation."""
    files = {}
    for name in debian.PROGRAMS:
        files[f"{'bin' if name == 'busybox' else 'sbin'}/{name}"] = debian.program(root, name)
    wanted = set(UNLISTED).union(*map(needed, files.values()))
    while wanted:
        name = wanted.pop()
        files[f"lib/{name}"] = library(root, name)
        wanted |= {lib for lib in needed(files[f"lib/{name}"]) if f"lib/{lib}" not in files}
    return files


def own_program(name, *options):
    """One of the lab's own programs in the guest, see lab/guest/; static."""
    path, source = GUEST / name, LAB / f"guest/{name}.c"
    with kept(path, source.read_bytes(), options) as scratch:
        if scratch:
            run([f"{host.cross_compile()}gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static",
                 "-s", *options, "-o", scratch, source], f"building {name}", log="guest.log")
    return path


def tiny():
    """The smallest kernel, see lab/guest/tiny.S."""
    path = GUEST / "tiny"
    with kept(path, TINY.read_bytes()) as scratch:
        if scratch:
            # Nothing in it needs a linker.
            with tempfile.NamedTemporaryFile(suffix=".o") as part:
                run([f"{host.cross_compile()}gcc", "-c", "-o", part.name, TINY],
                    "assembling the tiny kernel", log="guest.log")
                run([f"{host.cross_compile()}objcopy", "-O", "binary", "-j", ".text", part.name,
                     scratch], "making the tiny kernel", log="guest.log")
    return path


def initramfs():
    """build/guest/initramfs.cpio."""
    root = debian.guest_root()
    path = GUEST / "initramfs.cpio"
    own = {f"sbin/{name}": own_program(name).read_bytes() for name in OWN}
    with kept(path, own, INIT.read_bytes(), pathlib.Path(__file__).read_bytes(),
              (GUEST / "packages.txt").read_bytes()) as scratch:
        if scratch:
            need_space(GUEST, 32)
            with open(scratch, "wb") as out:
                archive = Newc(out)
                for name in FOLDERS:
                    archive.folder(name)
                # The kernel opens it for init before anything can be mounted.
                archive.header("dev/console", 0o020600, device=(5, 1))
                archive.file("init", INIT.read_bytes(), 0o755)
                for name, data in own.items():
                    archive.file(name, data, 0o755)
                for name, source in sorted(programs(root).items()):
                    archive.file(name, source.read_bytes(), 0o755)
                archive.end()
            say(f"initramfs: {scratch.stat().st_size >> 10} KiB")
    return path


def payload_initramfs(mib):
    """build/guest/payload-<mib>.cpio: the initramfs with `mib` MiB of random data in
    /payload.bin, the same each time, and its sum in /payload.md5."""
    base = initramfs()
    path = GUEST / f"payload-{mib}.cpio"
    with kept(path, mib, base.with_name(base.name + ".key").read_text()) as scratch:
        if scratch:
            need_space(GUEST, mib + 32)
            numbers, md5 = random.Random(1), hashlib.md5()
            with open(scratch, "wb") as out:
                out.write(base.read_bytes())
                archive = Newc(out)
                archive.header("payload.bin", 0o100644, mib << 20)
                for _ in range(mib):
                    block = numbers.randbytes(1 << 20)
                    md5.update(block)
                    out.write(block)
                archive.file("payload.md5", f"{md5.hexdigest()}  /payload.bin\n".encode())
                archive.end()
    return path


def add_files(path, base, files, script=None):
    """Write to `path` the initramfs `base` with {name: source} in it, and a script that runs
    before the shell does."""
    sizes = [source.stat().st_size for source in (base, *files.values())]
    need_space(path.parent, (sum(sizes) >> 20) + 16)
    with open(path, "wb") as out:
        out.write(base.read_bytes())
        archive = Newc(out)
        if script:
            archive.file("script", script.encode())
        for name, source in sorted(files.items()):
            archive.file(name, source.read_bytes())
        archive.end()


@contextlib.contextmanager
def scripted_initramfs(path, script, files):
    """add_files() to the initramfs, for as long as the block lasts."""
    try:
        add_files(path, initramfs(), files, script)
        yield path
    finally:
        path.unlink(missing_ok=True)


def carrier(name, base, files):
    """build/guest/<name>.cpio: the initramfs `base` with {name in the guest: source}, for a
    kernel that has no driver for the disk."""
    path = GUEST / f"{name}.cpio"
    with kept(path, sorted((name, str(source), source.stat().st_mtime_ns)
                           for name, source in (files | {"": base}).items())) as scratch:
        if scratch:
            add_files(scratch, base, files)
    return path


def endian_initramfs(mib):
    """build/guest/endian-<mib>.cpio: what a big-endian kernel boots with, which carries
    payload_initramfs(mib) as data."""
    program = own_program("endian", "-mbig-endian", "-nostdlib", "-ffreestanding",
                          "-fno-stack-protector")
    data = payload_initramfs(mib)
    path = GUEST / f"endian-{mib}.cpio"
    with kept(path, program.read_bytes(), data.with_name(data.name + ".key").read_text(),
              pathlib.Path(__file__).read_bytes()) as scratch:
        if scratch:
            need_space(GUEST, mib + 32)
            with open(scratch, "wb") as out:
                archive = Newc(out)
                for name in ("dev", "mnt", "proc"):
                    archive.folder(name)
                archive.header("dev/console", 0o020600, device=(5, 1))
                archive.file("init", program.read_bytes(), 0o755)
                archive.file("data", data.read_bytes())
                archive.end()
    return path


def disk(path, files):
    """An ext2 image at `path` with {name: source} in it.

    One that a guest has written to is made anew.
    """
    path = pathlib.Path(path)
    stats = {name: pathlib.Path(source).stat() for name, source in files.items()}
    with kept(path, [(name, str(files[name]), stat.st_size, stat.st_mtime_ns)
                     for name, stat in sorted(stats.items())]) as scratch:
        if scratch:
            used = sum(stat.st_size for stat in stats.values()) >> 20
            need_space(path.parent, 2 * used + 24)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                for name, source in files.items():
                    copy = pathlib.Path(folder, name)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(source, copy)
                # sbin is not on every user's PATH.
                run(["mke2fs", "-q", "-t", "ext2", "-d", folder, scratch,
                     f"{used + used // 16 + 12}M"], f"making {path.name}", log="guest.log",
                    env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    return path


def gzipped(image):
    """A kernel's Image, compressed, next to it."""
    path = image.with_name("Image.gz")
    with kept(path, image.stat().st_mtime_ns) as scratch:
        if scratch:
            scratch.write_bytes(gzip.compress(image.read_bytes(), 1))
    return path


def uimage(image):
    """A kernel's Image as U-Boot's mkimage wraps it, next to it: a header of 64 bytes, of an
    uncompressed arm64 Linux kernel."""
    path = image.with_name("uImage")
    with kept(path, image.stat().st_mtime_ns) as scratch:
        if scratch:
            data = image.read_bytes()

            def header(crc):
                """The header with its own sum in it."""
                return struct.pack(">7I4B32s", 0x27051956, crc, 0, len(data), 0x80000,
                                   0x80000, zlib.crc32(data), 5, 22, 2, 0, b"lab")

            scratch.write_bytes(header(zlib.crc32(header(0))) + data)
    return path


def swap_disk(path, mib):
    """An empty sparse disk that the guest makes swap of. It is new at each call, because an old
    one may hold a hibernated kernel."""
    path = pathlib.Path(path)
    with made_whole(path) as scratch:
        with open(scratch, "wb") as out:
            out.truncate(mib << 20)
    return path


if __name__ == "__main__":
    main(lambda args: print(initramfs()))
