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

from lab import build, debian, guest, onboard, tree
from lab.board import Board, Boot, Watch
from lab.console import PATIENCE
from lab.here import BASE, TEST_LOGS
from lab.machine import Machine
from lab.tests.conftest import git
from lab.util import LAB, TOP, run

HOST = "owner-of-this-board"
SERIAL = "R5CT4711XY"
BOARD_SERIAL = "c0ffee4711"
MAC = "02:4c:ab:4d:41:43"
MACHINE_ID = "0123456789abcdef0123456789abcdef"
SECRETS = (HOST, SERIAL, BOARD_SERIAL, MAC, MACHINE_ID)
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


def check_report(text, *parts, failed=0):
    """The report has all lines of these parts in their order, so many tests that failed, and
    nothing of the owner. Only v5.10's series tells how many pages the copy takes."""
    for secret in SECRETS:
        assert secret.lower() not in text.lower(), f"the report has {secret!r} in it:\n{text}"
    lines = iter(text.splitlines())
    for wanted in (line for part in parts for line in part
                   if BASE.tells_parts or not line.startswith("table pages")):
        assert any(re.match(pattern(wanted), line) for line in lines), \
            f"the report lacks {wanted!r}, or has it elsewhere:\n{text}"
    assert text.count("FAILED") == text.count("not ok") == failed, text


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


def try_board(archive, board_disk):
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
        text = board.sh("cat trans_pgd-report.txt")
        check_report(text, TRIED, HANDED_OVER)
        assert f"series for {BASE.name} of" in text
        board.send("sh run.sh hand-over --now --mib 2")
        board.expect("hand-over 2: begun", 5 * PATIENCE)
        board.expect("Bye!", 2 * PATIENCE)
    with machine(archive, board_disk, 3) as board:
        board.wait_ready()
        board.sh("mkdir /board; mount -t ext2 /dev/vdb /board")
        said = board.sh(f"cd /board/{onboard.NAME}; sh run.sh report")
        assert re.search(r"did not come back from this.*\n  hand-over 2: begun, from series", said)


def test_board(archive, board_disk):
    """The archive of v5.10 does all that."""
    try_board(archive, board_disk)


@pytest.mark.bases("v6.12", "v7.3")
@pytest.mark.parametrize("what", ["board"])
def test_soak(archive, board_disk, what):
    """So does that of the other bases. Only `make soak` runs it, because it builds a kernel."""
    assert what in str(archive.path)
    try_board(archive, board_disk)


def plant(board):
    """Give the machine what tells who its owner is, where run.sh has to look for that, and all of
    it once more in the name of the model, which is in the report. The serial number of the
    command line is there already."""
    board.sh(f"hostname {HOST}; mkdir -p /etc; echo {MACHINE_ID} >/etc/machine-id; "
             f"mkdir -p /tmp/net/eth0; echo {MAC} >/tmp/net/eth0/address; "
             "mount -o bind /tmp/net /sys/class/net")
    board.sh("cp -r /proc/device-tree/ /tmp/tree; cd /tmp/tree; chmod u+w model; "
             rf"printf '{BOARD_SERIAL}\0' >serial-number; printf 'model {' '.join(SECRETS)}\0' "
             ">model; mount -o bind . /sys/firmware/devicetree/base")


def test_privacy(tmp_path):
    """What tells who the owner is does not get into the report, although the name of the model and
    the output of a selftest have it in them. The selftests that the archive lacks are counted as
    skipped, with the reason. The kernel is the base's: that one is built anyway."""
    kernel = build.kernel("base")
    release = (kernel / "include/config/kernel.release").read_text().strip()
    (tmp_path / "about").write_text(f"release={release}\nabout='series for a test'\n")
    (tmp_path / "kexec_load").write_text(
        f"#!/bin/sh\necho 1..1\necho not ok 1 with {' '.join(SECRETS).upper()}\nexit 1\n")
    onboard.kexec_tools(tmp_path / "kexec")
    files = {"run.sh": LAB / "guest/board.sh", "about": tmp_path / "about",
             "config": kernel / ".config", "Image": kernel / "arch/arm64/boot/Image",
             "tests/kexec_load": tmp_path / "kexec_load",
             "bin/busybox": debian.program(debian.guest_root(), "busybox"),
             "bin/probe": guest.own_program("probe"),
             **{f"kexec/{path.name}": path for path in (tmp_path / "kexec").iterdir()}}
    with Machine("onboard-privacy", TEST_LOGS, Board(),
                 Boot(files["Image"], guest.initramfs(), f"androidboot.serialno={SERIAL}",
                      [guest.disk(tmp_path / "disk.img", files)]), Watch()) as board:
        board.wait_ready()
        plant(board)
        board.sh("mkdir /tmp/in; mount -t ext2 -o ro /dev/vda /tmp/in; cp -r /tmp/in /tmp/board; "
                 "cd /tmp/board; sh run.sh", 5 * PATIENCE)
        text = board.answer("cat trans_pgd-report.txt")
    removed = " ".join(["[removed]"] * len(SECRETS))
    check_report(text, [
        f"model: model {removed}", "test kexec_load: FAILED, 0 passed, 1 failed, 0 skipped of 1",
        f"  not ok 1 with {removed}",
        "test kexec_file_load: skipped, 0 passed, 0 failed, 1 skipped of 1",
        "test kexec_fuzz: skipped", "test kexec_fault: skipped",
        "end of what leaves the machine as it was"], failed=1)
    assert text.count("1..1 # SKIP the archive has no such program") == 3, text


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
