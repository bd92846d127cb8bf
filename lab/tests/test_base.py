# SPDX-License-Identifier: GPL-2.0-only
"""Which base a kernel is tried with, and which source a base has."""

import pytest

from lab import base, sources
from lab.util import LabError

NEW = """VERSION = {}
PATCHLEVEL = {}
SUBLEVEL = {}
EXTRAVERSION = -rc1
"""


def kernel(folder, version, which):
    """A folder that looks like a whole tree of a base, of this version."""
    for name in which.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "Makefile").write_text(NEW.format(*version.split(".")))
    return folder


@pytest.mark.parametrize("version, name", [
    ("5.10.0", "v5.10"), ("5.10.262", "v5.10"), ("5.16.1", "v6.12"), ("6.1.176", "v6.12"),
    ("6.12.117", "v6.12"), ("6.17.9", "v6.12"), ("6.18.0", "v7.3"), ("7.3.4", "v7.3"),
    ("8.0.1", "v7.3")])
def test_told(version, name):
    """The base is told from a kernel's version."""
    assert base.of(version) is base.named(name)


@pytest.mark.parametrize("version", ["5.11.0", "5.15.170", "5.9.16", "4.19.1"])
def test_no_base(version):
    """What no base is near to is an error that names the version."""
    with pytest.raises(LabError, match=f"Linux {version}"):
        base.of(version)


def test_made_for():
    """Each base is made for its own series, and 5.1 is not 5.10."""
    for one in base.BASES.values():
        assert base.of(one.version) is one and one.made_for(one.version)
        assert one.version.startswith(f"{one.name[1:]}.")
    assert not base.V5_10.made_for("5.1.2")
    assert not base.V6_12.made_for("6.1.176")


def test_linux_between(tmp_path, monkeypatch, capsys):
    """A tree between two bases is tried, and the user is told with which."""
    monkeypatch.setenv("LINUX", str(kernel(tmp_path, "6.6.1", base.V6_12)))
    assert sources.base_source(base.V6_12) == tmp_path
    said = capsys.readouterr().out
    assert "Linux 6.6.1" in said and "nearest base is v6.12" in said


def test_linux_of_the_base(tmp_path, monkeypatch, capsys):
    """Of a tree that the base is made for there is nothing to say."""
    monkeypatch.setenv("LINUX", str(kernel(tmp_path, "6.12.1", base.V6_12)))
    assert sources.base_source(base.V6_12) == tmp_path
    assert not capsys.readouterr().out


@pytest.mark.parametrize("version, says", [
    ("6.12.1", "tried with v6.12"), ("5.15.3", "no base is near"), ("4.4.1", "oldest base")])
def test_linux_of_another(tmp_path, monkeypatch, version, says):
    """A tree of another base than was asked for, or of none, is an error."""
    monkeypatch.setenv("LINUX", str(kernel(tmp_path, version, base.V6_12)))
    with pytest.raises(LabError, match=says):
        sources.base_source()


def test_linux_not_whole(tmp_path, monkeypatch):
    """A file that is not there is named."""
    tree = kernel(tmp_path, "6.12.1", base.V6_12)
    (tree / base.LIBRARY).unlink()
    monkeypatch.setenv("LINUX", str(tree))
    with pytest.raises(LabError, match=base.LIBRARY):
        sources.base_source(base.V6_12)


def test_choose():
    """The named version is taken. If it is gone, the newest later one of the same series is."""
    one, named = base.V6_12, "6.12.117-1"
    assert sources.choose(one, named, ["6.12.118-1", named]) == named
    assert sources.choose(one, named, ["6.13.1-1", "6.12.118-1", "6.12.120-1", "6.12.9-1"]) \
        == "6.12.120-1"
    assert sources.choose(one, named, ["6.12.117-2"]) == "6.12.117-2"
    with pytest.raises(LabError, match="there is 6.12.107-1"):
        sources.choose(one, named, ["6.12.107-1"])


def test_fetched(tmp_path, monkeypatch):
    """Of several archives the preferred version is taken. Another version of the series is taken if
    there is no preferred one. An archive of another base, or a tree, is not taken."""
    monkeypatch.setattr(sources, "FOLDER", tmp_path)
    (tmp_path / "linux-6.12.117").mkdir()
    for name in ("linux-6.1.176.tar.xz", "linux-6.12.117.tar.xz.part", "linux-7.3.4.tar.xz"):
        (tmp_path / name).touch()
    assert not sources.fetched(base.V6_12)
    (tmp_path / "linux-6.12.118.tar.xz").touch()
    assert sources.fetched(base.V6_12).name == "linux-6.12.118.tar.xz"
    (tmp_path / "linux-6.12.117.tar.xz").touch()
    assert sources.fetched(base.V6_12).name == "linux-6.12.117.tar.xz"
