# SPDX-License-Identifier: GPL-2.0-only
"""`make board`: one archive that tries the series on a real board.

It is for somebody who has a board and the kernel tree of the board's vendor. LINUX=DIR is that
tree. It is only read: the series goes onto a copy of its HEAD in build/BASE/board.

CONFIG=FILE is the vendor's configuration: a whole .config, gzipped as /proc/config.gz is, or a
file as in arch/arm64/configs, whose name is enough. Without it the tree's .config is taken, or
else arm64's defconfig. A configuration that was made for clang is built by clang.

WITHOUT=1 also builds the kernel without the series, so that the board can compare.
DTBS=1 also builds the device trees.

What the board does with the archive is in lab/guest/board.sh.
"""

import gzip
import os
import pathlib
import re
import shlex
import shutil
import tempfile
import time

from lab import apply, build, debian, guest, selftest, tree
from lab.base import source_version
from lab.here import BASE, HERE
from lab.options import option
from lab.sources import base_source
from lab.util import (LAB, LOGS, LabError, locked, made_whole, main, need_space, output, remove,
                      run, say)

FOLDER = HERE / "board"
NAME = "trans_pgd-board"
LINUX = FOLDER / "linux"        # the copy with the series
PLAIN = FOLDER / "plain"        # the copy without it
LOADER = "ld-linux-aarch64.so.1"
# What run.sh needs, and what it is for.
NEEDS = {
    "KEXEC": "kexec_load",
    "KEXEC_FILE": "kexec_file_load",
    "HIBERNATION": "hibernation",
    "BLK_DEV_INITRD": "the initramfs of a hand-over",
    "PROC_FS": "all tests", "SYSFS": "all tests", "PRINTK": "times and messages",
    "TMPFS": "memfd_create(), which the selftests use",
    "DEVTMPFS": "the disk that the report is written to",
    "BINFMT_ELF": "programs", "BINFMT_SCRIPT": "run.sh",
    "PROC_PAGE_MONITOR": "the test for pages that are lost",
    "DEBUG_FS": "what debugfs shows", "PTDUMP_DEBUGFS": "the page tables in debugfs",
    "DYNAMIC_DEBUG": "messages about the page tables",
    "MAGIC_SYSRQ": "clean file systems when it hands over",
}
# One of these at least, or nothing can be handed over; and the rest of what there has to be.
CALLS = ("KEXEC", "KEXEC_FILE")
MUST = ("BLK_DEV_INITRD", "PROC_FS", "SYSFS", "BINFMT_ELF", "BINFMT_SCRIPT")


def git_in(where):
    """git in a tree, as apply's functions take it."""
    def git(*args, ok=(0,)):
        return output(["git", *args], cwd=where, ok=ok).strip()
    return git


def copy(source, where):
    """Make `where` a clone of a tree at its HEAD; return the commit. What is built in it stays."""
    head = output(["git", "rev-parse", "HEAD"], cwd=source).strip()
    known = where / ".git/lab-source"
    if not known.is_file() or known.read_text() != str(source):
        say(f"copying {source}")
        need_space(where.parent, 4000)
        remove(where)
        run(["git", "clone", "-q", "--shared", "--no-checkout", source, where],
            f"copying {source}", log="board.log")
        known.write_text(str(source))
    run(["git", "fetch", "-q", source, "HEAD"], f"reading {source}", log="board.log", cwd=where)
    return head


def check_out(where, commit):
    """Have a commit in the work tree of a copy. Files that are the same are not touched, so what
    was built of them is not built again."""
    run(["git", "checkout", "-q", "-f", "--detach", commit], "checking out", log="board.log",
        cwd=where)


def with_series(source, where):
    """LINUX, which is the tree with the series; the commit that it was put on."""
    git = git_in(source)
    if there(source):
        say(f"{source} has the series already; it is built as it is")
        head = copy(source, LINUX)
        check_out(LINUX, head)
        return head
    apply.need_tree(git, source)
    rehearsal = apply.rehearse(git, source, tree.LAB)
    if problems := rehearsal.problems():
        raise LabError("\n  ".join([
            f"the series does not apply to {source}:", *problems, *rehearsal.advice(where),
            f"After that, on the branch with the series: make board LINUX={where}"]))
    head = copy(source, LINUX)
    check_out(LINUX, tree.commit_series(LINUX, head, tree.LAB, put=apply.Rehearsal().put))
    return head


def there(source):
    """Whether a git tree has the series, all of its files."""
    added = {name for patch in tree.SERIES.patches() for name in patch.files} - set(apply.REPLACED)
    return (source / ".git").exists() and all((source / name).exists() for name in added)


def configuration(source):
    """(where it is from, the text) of the vendor's configuration; text None: the defconfig."""
    name = os.environ.get("CONFIG")
    path = pathlib.Path(name) if name else source / ".config"
    if name and "/" not in name and not path.is_file():
        path = source / "arch/arm64/configs" / name
        path = path if path.is_file() else pathlib.Path(name)
    if not name and not path.is_file():
        return "arm64's defconfig", None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LabError(f"CONFIG={name}: {error.strerror}; say a file, or the name of one in "
                       f"{source}/arch/arm64/configs") from None
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (OSError, EOFError, UnicodeDecodeError):
        text = ""
    if not re.search(r"^CONFIG_\w+=", text, re.MULTILINE):
        raise LabError(f"{path} is no configuration of a kernel: no line begins with CONFIG_")
    return str(path), text


def lacking(text):
    """Which of the needs a configuration does not have."""
    have = set(re.findall(r"^CONFIG_(\w+)=[ym]$", text, re.MULTILINE))
    return [name for name in NEEDS if name not in have]


class Kernel:
    """One kernel of the archive."""

    def __init__(self, src, name, text):
        self.src, self.name = src, name
        clang = re.search(r"^CONFIG_CC_IS_CLANG=y$", text or "", re.MULTILINE)
        # Which compiler build.make() takes, and how ccache works: as for the lab's own pair of
        # kernels with the series and without it. No fragment of the lab's is used.
        self.config = f"small+{build.CLANG}" if clang else "small"
        self.out = build.folder(src, FOLDER / f"kernel-{name}")
        self.log = f"board-{name}.log"

    @property
    def env(self):
        """The environment of its build. The release says which of the two kernels runs."""
        mine = {key: value for key, value in build.make_env(self.config).items()
                if key not in ("CONFIG", "LINUX", "WITHOUT", "DTBS")}
        return mine | {"LOCALVERSION": f"-{self.name}"}

    @property
    def image(self):
        """What it boots from."""
        return self.out / "arch/arm64/boot/Image"

    @property
    def release(self):
        """What uname -r tells."""
        return (self.out / "include/config/kernel.release").read_text().strip()

    def make(self, what, *targets):
        """make, for a step that is over soon."""
        run(build.make(self.src, self.out, self.config, *targets), what, log=self.log,
            env=self.env)

    def configure(self, text):
        """Write its .config from the vendor's, and switch on what run.sh needs."""
        config = self.out / ".config"
        before = config.read_text() if config.is_file() else None
        if text is None:
            self.make("making the defconfig", "defconfig")
        else:
            config.write_text(text)
        needs = self.out / "needs.config"
        needs.write_text("".join(f"CONFIG_{name}=y\n" for name in NEEDS))
        run([self.src / "scripts/kconfig/merge_config.sh", "-m", "-O", self.out, config, needs],
            "merging the configuration", log=self.log, cwd=self.src, env=self.env)
        self.make("configuring the kernel", "olddefconfig")
        if config.read_text() == before:
            return
        lacks = lacking(config.read_text())
        for name in lacks:
            say(f"note: CONFIG_{name} cannot be switched on in this configuration; without it: "
                f"{NEEDS[name]}")
        if set(CALLS) <= set(lacks) or set(MUST) & set(lacks):
            raise LabError("this configuration cannot be tried: it has no "
                           + ", ".join(f"CONFIG_{name}" for name in lacks
                                       if name in (*CALLS, *MUST)))

    @property
    def modules(self):
        """Whether some of it is built as modules."""
        return bool(re.search(r"^CONFIG_\w+=m$", (self.out / ".config").read_text(),
                              re.MULTILINE))

    def build(self):
        """Build it, with a line of progress every ten seconds."""
        targets = ["Image", *(["modules"] if self.modules else []),
                   *(["dtbs"] if option("DTBS") else [])]
        say(f"building the kernel {self.name}: {', '.join(targets)}")
        started = time.monotonic()
        path = LOGS / self.log
        build.must_be_built(build.watched(build.make(self.src, self.out, self.config, *targets),
                                          self.env, path, self.name), path)
        say(f"built Linux {self.release} in {time.monotonic() - started:.0f} s")

    def install(self, where):
        """Put it where the archive has it."""
        where.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.image, where / "Image")
        if self.modules:
            self.make("installing the modules", "modules_install", "INSTALL_MOD_STRIP=1",
                      f"INSTALL_MOD_PATH={where / 'modules'}")
            # Links to the trees on this machine
            for name in ("build", "source"):
                for link in where.glob(f"modules/lib/modules/*/{name}"):
                    remove(link)
        if option("DTBS"):
            self.make("installing the device trees", "dtbs_install",
                      f"INSTALL_DTBS_PATH={where / 'dtbs'}")


def built(src, name, source):
    """A kernel of the archive, built with the vendor's configuration."""
    where, text = configuration(source)
    kernel = Kernel(src, name, text)
    say(f"configuration: {where}, and what the tests need")
    kernel.configure(text)
    kernel.build()
    return kernel


def kexec_tools(where):
    """Debian's kexec with the loader and the libraries that it was built with, so that it runs
    whatever user space the board has."""
    where.mkdir()
    root = debian.guest_root()
    wanted = {"kexec"}
    while wanted:
        name = wanted.pop()
        path = debian.program(root, name) if name == "kexec" else guest.library(root, name)
        shutil.copy(path, where / name)
        wanted |= {lib for lib in guest.needed(path) if not (where / lib).exists()}
    if not (where / LOADER).is_file():
        raise LabError(f"{root} has a kexec without {LOADER}; remove it and run this again")


def tests(where):
    """The selftests of the series, static; nothing for a base whose series has none."""
    where.mkdir()
    if not (LINUX / selftest.OURS).is_dir():
        say(f"note: the series for {BASE.name} has no selftests; the archive has none")
        return
    out = FOLDER / "selftest"
    selftest.compile_programs(LINUX, out)
    for name in selftest.PROGRAMS:
        # run.sh counts one that is not there as skipped.
        if (path := out / "trans_pgd" / name).is_file():
            shutil.copy(path, where / name)
        else:
            say(f"note: the series for {BASE.name} has no selftest {name}")


def about(series, without, source):
    """The text of the file that tells run.sh what is in the archive."""
    facts = {"release": series.release,
             "without_release": without.release if without else "none",
             "without_mmu": "on" if BASE.mmu_on else "off",
             "about": f"series for {BASE.name} of {len(tree.SERIES.patches())} patches, tree "
                      f"Linux {source_version(source)}"}
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in facts.items())


def fill(folder, series, without, source):
    """Put all that the archive has into a folder."""
    series.install(folder)
    if without:
        without.install(folder / "without")
    shutil.copy(series.out / ".config", folder / "config")
    (folder / "about").write_text(about(series, without, source))
    for name, path in (("run.sh", LAB / "guest/board.sh"),
                       ("bin/busybox", debian.program(debian.guest_root(), "busybox")),
                       ("bin/probe", guest.own_program("probe"))):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(path, folder / name)
        (folder / name).chmod(0o755)
    # The first process of a hand-over is a script.
    (folder / "bin/sh").symlink_to("busybox")
    kexec_tools(folder / "kexec")
    tests(folder / "tests")
    page = LINUX / BASE.documentation / "trans_pgd.rst"
    if page.is_file():
        shutil.copy(page, folder / page.name)


def pack(series, without, source):
    """Make the archive; return its path."""
    path = FOLDER / f"{NAME}-{series.release}.tar.xz"
    need_space(FOLDER, 1000)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch, made_whole(path) as made:
        fill(pathlib.Path(scratch, NAME), series, without, source)
        say("packing")
        # Nothing of who made it; and the same contents in the same order
        run(["tar", "-cf", made, "-I", "xz -T0 -3", "-C", scratch, "--sort=name", "--owner=0",
             "--group=0", "--numeric-owner", "--mtime=@0", "--mode=go=rX,u+rw", NAME], "packing",
            log="board.log")
    return path


def board(where):
    """Make the archive for a tree that the user knows as `where`."""
    if not where:
        raise LabError("say which tree: make board LINUX=DIR [CONFIG=FILE]")
    source = base_source()
    configuration(source)       # before anything is copied
    with locked(f"{BASE.name}-board"):
        FOLDER.mkdir(parents=True, exist_ok=True)
        head = with_series(source, where)
        without = None
        if option("WITHOUT"):
            if there(source):
                raise LabError(f"WITHOUT=1 takes a tree without the series, and {source} has it")
            copy(source, PLAIN)
            check_out(PLAIN, head)
            without = built(PLAIN, "without", source)
        series = built(LINUX, "trans_pgd", source)
        return pack(series, without, source)


def command(_words):
    """The archive for the board of LINUX=DIR."""
    path = board(os.environ.get("LINUX"))
    say(f"{path}: {path.stat().st_size >> 20} MiB")
    say(f"on the board, as root: install the kernel, boot it, tar -xJf {path.name}; "
        f"sh {NAME}/run.sh")


if __name__ == "__main__":
    main(command)
