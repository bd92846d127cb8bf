# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's arguments for a described machine, and descriptions that are refused. Nothing is
started."""

import pathlib

import pytest

from lab import run
from lab.board import RAM, VERSAL, Board, Boot, Files, Watch, arguments
from lab.util import LabError

BOOT = Boot("/kernel", "/initrd", "quiet", ["/a,b"], ["/c"])
FILES = Files.of("/logs", "one")


def told(board, watch=Watch()):
    """The arguments as one text."""
    return " ".join(arguments(board, BOOT, watch, FILES))


def test_whole():
    """All arguments of a machine, in their order; a comma in a path is doubled."""
    assert told(Board(), Watch("/plugin", 4096)) == (
        "-machine virt,gic-version=2 -cpu cortex-a57 -m 768M "
        "-object memory-backend-ram,id=ram0,size=768M,reserve=off -machine memory-backend=ram0 "
        "-smp 2 -nodefaults -display none -chardev stdio,id=console,signal=off "
        "-serial chardev:console "
        "-append console=ttyAMA0 earlycon loglevel=8 panic=-1 quiet -kernel /kernel "
        "-initrd /initrd -accel tcg,thread=single -no-reboot "
        "-drive if=none,id=drive0,format=raw,readonly=on,file=/a,,b "
        "-device virtio-blk-device,drive=drive0,bus=virtio-mmio-bus.0 "
        "-drive if=none,id=drive1,format=raw,readonly=off,file=/c "
        "-device virtio-blk-device,drive=drive1,bus=virtio-mmio-bus.1 "
        "-plugin /plugin,out=/logs/one.relocation.json,lo=0x40000000,hi=0x70000000,min=4096")


@pytest.mark.parametrize("board, words", [
    (Board("vhe"), "virtualization=on -cpu max,"),
    (Board("vhe", cpu="neoverse-n1"), "virtualization=on -cpu neoverse-n1 "),
    (Board(memory=512, nodes=2), "-numa node,nodeid=1,memdev=ram1"),
    (Board(start=0x80000000), "-kernel /logs/one.boot -accel"),
    (Board(start=0x80000000), "lo=0x80000000,hi=0xb0000000"),
    (Board(kind=VERSAL, memory=3072), "lo=0x0,hi=0x840000000"),
    (Board(uefi=True, slots=2), "-m 768M,slots=2,maxmem=2816M"),
    (Board(smmu=True), "virtio-blk-pci,drive=drive1,addr=0x2,iommu_platform=on"),
    (Board(parallel=True), "thread=multi")])
def test_words(board, words):
    """What the description of a machine adds."""
    assert words in told(board, Watch("/plugin"))


def test_kvm_refused(monkeypatch):
    """make run says at once that this host has no KVM."""
    monkeypatch.setattr(run, "kvm_works", lambda: False)
    monkeypatch.setenv("LEVEL", "kvm")
    with pytest.raises(LabError, match="arm64 host"):
        run.command([])


def test_kvm():
    """Nothing counts what the host's own CPU does."""
    text = told(Board("kvm"), Watch("/plugin"))
    assert "-plugin" not in text and "tcg" not in text


def test_gdb():
    """gdb can attach, and is waited for if that is asked."""
    socket = f"-gdb unix:{FILES.gdb},server=on,wait=off"
    assert socket in told(Board(), Watch(gdb=True)) and " -S " not in told(Board(), Watch(gdb=True))
    assert f"{socket} -S " in told(Board(), Watch(gdb="wait"))


def test_files():
    """Two machines of the same name have the same logs, and sockets of their own."""
    other = Files.of(pathlib.Path("/logs"), "one")
    assert other[:4] == FILES[:4] and not {*other[4:]} & {*FILES[4:]}


@pytest.mark.parametrize("wrong", [
    {"level": "vhee"}, {"kind": "raspi"}, {"psci": "0.2", "start": RAM}, {"psci": "none"},
    {"memory": 512, "nodes": 3}, {"memory": 0}, {"smp": 0}, {"nodes": 0},
    {"uefi": True, "start": RAM}, {"slots": 1}])
def test_no_such_board(wrong):
    """A board that cannot be is refused where it is described, before QEMU is started."""
    with pytest.raises(LabError):
        Board(**wrong)
