# SPDX-License-Identifier: GPL-2.0-only
"""make board: the archive of a tree, used on a machine of QEMU as its owner would use it on a
board; and what a user is told who asks for something that cannot be."""

import gzip
import os
import pathlib
import re
import subprocess
import sys
import types

import pytest

from lab import build, guest, onboard, tree
from lab.board import Board, Boot, Watch
from lab.console import PATIENCE
from lab.here import TEST_LOGS
from lab.machine import Machine
from lab.tests.conftest import git
from lab.util import TOP, run

HOST = "owner-of-this-board"
SERIAL = "R5CT4711XY"
SECRETS = (HOST, SERIAL)
MIB = 16                        # MiB of data in the large hand-overs
ROUNDS = 300                    # of kexec_fuzz


def make_board(**env):
    """make board, as a user would run it."""
    return subprocess.run([sys.executable, "-m", "lab.onboard"], cwd=TOP, check=False,
                          env={**os.environ, **env}, capture_output=True, text=True)


def pattern(line):
    """A line of the report as a regular expression: # stands for a number."""
    return re.escape(line).replace(r"\#", r"-?[\d.]+")


# What a whole report has, in this order.
TRIED = """\
trans_pgd report
archive: Linux #-trans_pgd, series for
kernel: #-trans_pgd, series
model: linux,dummy-virt
CPUs: # with MIDR_EL1 0x
page size: 4096
CTR_EL0: 0x
cache lines: data #, instructions #, write-back granule # bytes
counter: # Hz
started at: EL
memory: # KiB System RAM
config: ARM64_4K_PAGES=y
test kexec_load: ok, # passed, 0 failed
test kexec_file_load: ok, # passed, 0 failed
test kexec_fuzz: ok, # passed, 0 failed
test kexec_fault: ok, # passed, 0 failed
test load by kexec_file_load: ok
time of a load by kexec_file_load: # # # us, # KiB
page tables in debugfs: # lines
table pages of the copy: # table pages
test load by kexec_load: ok
time of a load by kexec_load: # # # us, # KiB
test unload: ok
reports of trouble in the log of the kernel: 0
end of what leaves the machine as it was
""".splitlines()
HANDED_OVER = [
    *(line for number, call in enumerate(("kexec_file_load",) * 3 + ("kexec_load",), 1)
      for line in (
          f"hand-over {number}: begun, from series to Image by {call}",
          f"hand-over {number}: ok, the data arrived whole; # us from the jump to the clock of "
          "the next kernel, # us to its init, # KiB",
          "reports of trouble in the log of the kernel: 0")),
    "relocation, series by kexec_file_load, MMU on: # us for each MiB",
    "end of the hand-overs"]


def check_report(text, *parts):
    """The report has all lines of these parts in their order, and nothing of the owner."""
    for secret in SECRETS:
        assert secret not in text, f"the report has {secret!r} in it:\n{text}"
    lines = iter(text.splitlines())
    for wanted in (line for part in parts for line in part):
        assert any(re.match(pattern(wanted), line) for line in lines), \
            f"the report lacks {wanted!r}, or has it elsewhere:\n{text}"
    assert "FAILED" not in text and "not ok" not in text, text


@pytest.fixture(scope="module")
def archive():
    """The archive of the base, with the lab's small configuration as that of the vendor."""
    done = make_board(LINUX=str(tree.base_tree()),
                      CONFIG=str(build.kernel("base") / ".config"))
    assert done.returncode == 0, done.stderr
    assert "cannot be switched on" not in done.stdout
    return types.SimpleNamespace(
        path=pathlib.Path(re.search(r"(/\S+\.tar\.xz): \d+ MiB", done.stdout)[1]),
        image=onboard.FOLDER / "kernel-trans_pgd/arch/arm64/boot/Image")


@pytest.fixture
def board_disk():
    """The disk of the board, with an empty file system."""
    TEST_LOGS.mkdir(parents=True, exist_ok=True)
    path = guest.swap_disk(TEST_LOGS / "onboard.img", 192)
    run(["mke2fs", "-q", "-t", "ext2", path], "making a disk", log="guest.log",
        env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    yield path
    path.unlink()


def machine(archive, disk, part):
    """The board."""
    return Machine(f"onboard-{part}", TEST_LOGS, Board(),
                   Boot(archive.image, guest.initramfs(),
                        f"crashkernel=32M androidboot.serialno={SERIAL}",
                        [guest.disk(guest.GUEST / "disk-onboard.img",
                                    {archive.path.name: archive.path})], [disk]), Watch())


def test_board(archive, board_disk):
    """The owner unpacks the archive, runs what leaves the machine as it was, then the
    hand-overs, and looks at the report after the reboot at their end. Of a hand-over from which
    the board does not come back, the report tells where it was."""
    with machine(archive, board_disk, 1) as board:
        board.wait_ready()
        board.sh(f"hostname {HOST}; mkdir /board /tmp/in; mount -t ext2 /dev/vdb /board; "
                 f"mount -t ext2 -o ro /dev/vda /tmp/in; cd /board; tar -xJf /tmp/in/*.tar.xz")
        board.sh(f"cd /board/{onboard.NAME}; KEXEC_FUZZ_ROUNDS={ROUNDS} sh run.sh", 5 * PATIENCE)
        check_report(board.sh("cat trans_pgd-report.txt"), TRIED)
        assert board.number("cat /sys/kernel/kexec_loaded") == 0
        assert "[removed]" in board.sh(f"echo '{HOST} {SERIAL}' | bin/probe filter state/secrets")
        board.send(f"sh run.sh hand-over --now --times 1 --mib {MIB}")
        board.wait_exit(5 * PATIENCE)
    with machine(archive, board_disk, 2) as board:
        board.wait_ready()
        board.sh("mkdir /board; mount -t ext2 /dev/vdb /board")
        said = board.sh(f"cd /board/{onboard.NAME}; sh run.sh report")
        assert "The report is whole" in said
        check_report(board.sh("cat trans_pgd-report.txt"), TRIED, HANDED_OVER)
        board.send("sh run.sh hand-over --now --mib 2")
        board.expect("hand-over 2: begun", 5 * PATIENCE)
        board.expect("Bye!", 2 * PATIENCE)
    with machine(archive, board_disk, 3) as board:
        board.wait_ready()
        board.sh("mkdir /board; mount -t ext2 /dev/vdb /board")
        said = board.sh(f"cd /board/{onboard.NAME}; sh run.sh report")
        assert re.search(r"did not come back from this.*\n  hand-over 2: begun, from series", said)


@pytest.fixture
def user_tree(tmp_path, git_user):
    """A vendor's own tree, of the folders that the series touches."""
    where = tmp_path / "user"
    git(tmp_path, "clone", "-q", "--shared", "--no-checkout", tree.LINUX, where)
    git(where, "sparse-checkout", "set", "arch/arm64/kernel", "kernel")
    git(where, "checkout", "-q", "-b", "mine", tree.state()["base"])
    return where


def refused(**env):
    """The one error that make board ends with."""
    done = make_board(**env)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: ") and done.stderr.count("error: ") == 1, done.stderr
    return done.stderr


def test_bad_input(user_tree):
    """What cannot be is told before anything is copied or built."""
    (user_tree / "notes").write_text("no configuration\n")
    where = str(user_tree)
    assert "say which tree: make board LINUX=DIR" in refused(LINUX="")
    assert "no such directory" in refused(LINUX=f"{where}/none")
    assert "CONFIG=/none: No such file or directory" in refused(LINUX=where, CONFIG="/none")
    assert "CONFIG=none_defconfig: No such" in refused(LINUX=where, CONFIG="none_defconfig")
    assert "notes is no configuration of a kernel" in refused(LINUX=where,
                                                              CONFIG=f"{where}/notes")


def test_conflict(user_tree):
    """A tree that the series does not go onto stays as it is, and all conflicts are told."""
    path = user_tree / "arch/arm64/kernel/hibernate.c"
    path.write_text(path.read_text().replace("static int trans_pgd_map_page(",
                                             "static int renamed("))
    git(user_tree, "commit", "-q", "-a", "-m", "a vendor's change")
    before = git(user_tree, "for-each-ref"), git(user_tree, "count-objects", "-v")
    config = user_tree / ".config"
    config.write_text("CONFIG_KEXEC=y\n")
    said = refused(LINUX=str(user_tree))
    assert re.search(r"hibernate\.c: hunk \d+ of \d+", said), said
    assert f"make apply LINUX={user_tree} KEEP=1" in said
    assert before == (git(user_tree, "for-each-ref"), git(user_tree, "count-objects", "-v"))
    assert config.read_text() == "CONFIG_KEXEC=y\n"


def test_configuration(user_tree, monkeypatch):
    """The tree's own .config, a name in arch/arm64/configs, and /proc/config.gz of a board."""
    monkeypatch.delenv("CONFIG", raising=False)
    assert onboard.configuration(user_tree) == ("arm64's defconfig", None)
    (user_tree / ".config").write_text("CONFIG_A=y\n")
    assert onboard.configuration(user_tree)[1] == "CONFIG_A=y\n"
    configs = user_tree / "arch/arm64/configs"
    configs.mkdir()
    (configs / "vendor_defconfig").write_text("CONFIG_B=y\n")
    monkeypatch.setenv("CONFIG", "vendor_defconfig")
    assert onboard.configuration(user_tree)[1] == "CONFIG_B=y\n"
    (user_tree / "config.gz").write_bytes(gzip.compress(b"CONFIG_C=y\n"))
    monkeypatch.setenv("CONFIG", str(user_tree / "config.gz"))
    assert onboard.configuration(user_tree)[1] == "CONFIG_C=y\n"
    assert "KEXEC" in onboard.lacking("# CONFIG_KEXEC is not set\nCONFIG_KEXEC_FILE=y\n")
