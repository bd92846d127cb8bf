# SPDX-License-Identifier: GPL-2.0-only
"""Which clang the lab takes on a machine. Nothing is installed."""

import pytest

from lab import host
from lab.base import V5_10, V6_12, V7_3


@pytest.fixture
def machine(monkeypatch):
    """Makes this a machine with these versions of clang: offered by apt, and installed."""
    def make(offered, installed=()):
        programs = {"dpkg-query", *(f"clang-{version}" for version in installed)}
        monkeypatch.setattr(host.shutil, "which", lambda name: name in programs)
        monkeypatch.setattr(host.apt, "versions", lambda name: [
            "1:1" for version in offered if name == f"clang-{version}"])
        host.clang.cache_clear()

    yield make
    host.clang.cache_clear()


@pytest.mark.parametrize("offered, installed, taken", [
    ((13, 16, 19), (), (16, 16, 19)), ((17, 18, 19), (), (17, 17, 19)),
    # What apt offers is nearer than what is installed.
    ((16,), (19,), (16, 16, 19)), ((), (18,), (18, 18, 19)),
    # An older one will not do, and the newest one was never looked at.
    ((14, 22), (), (16, 16, 19))])
def test_clang(machine, offered, installed, taken):
    """The base's own version, or the nearest newer one that the machine can have."""
    machine(offered, installed)
    assert tuple(map(host.clang, (V5_10, V6_12, V7_3))) == taken


def test_packages(machine, monkeypatch, capsys):
    """The packages have the version that is taken, and the user is told when it is another than
    the base's."""
    machine((17, 19))
    monkeypatch.setattr(host, "output", lambda argv, **_: "")
    missing = host.missing_packages([V5_10, V6_12, V7_3])
    assert [name for name in missing if name.startswith(("clang", "lld", "llvm"))] == [
        "clang-17", "lld", "llvm", "lld-17", "llvm-17", "clang-19", "lld-19", "llvm-19"]
    for name in ("missing_packages", "check_python", "check_qemu"):
        monkeypatch.setattr(host, name, lambda *_: None)
    host.ensure([V6_12, V7_3])
    said = capsys.readouterr().out
    assert "no clang-16; clang-17" in said and "v6.12" in said and "v7.3" not in said
