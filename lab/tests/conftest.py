# SPDX-License-Identifier: GPL-2.0-only
"""What the tests share: the levels that a kernel can be started at, and the rig
that makes a test's machines."""

import re
import shutil

import pytest

from lab import matrix, tree
from lab.base import BASES, V5_10
from lab.board import Board, kvm_works
from lab.here import BASE, TEST_LOGS
from lab.scenario import Rig
from lab.series import Series
from lab.util import TOP, output, remove

# kvm: a kernel at EL1 on real caches, where the host has KVM. Nothing counts its accesses.
LEVELS = ["el1", "nvhe", "vhe"] + (["kvm"] if kvm_works() else [])
# The marker of tests that are of every base
EVERY_BASE = pytest.mark.bases(*BASES)
USER = "A User <user@localhost>"
FAILED = pytest.StashKey()      # in what pytest knows of a test


@pytest.fixture
def git_user(monkeypatch):
    """git knows the user, whether or not it does outside the tests."""
    name, address = USER.rstrip(">").split(" <")
    for key, value in {"COUNT": "2", "KEY_0": "user.name", "VALUE_0": name,
                       "KEY_1": "user.email", "VALUE_1": address}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{key}", value)


@pytest.fixture(params=LEVELS)
def level(request):
    """How the machine is started."""
    return request.param


@pytest.fixture
def rig(request, level):
    """Makes machines that run the kernel with the series; the logs have the test's name."""
    return make_rig(request, level, "series")


@pytest.fixture
def el1_rig(request):
    """The same, at EL1 only: for what does not depend on the level."""
    return make_rig(request, "el1", "series")


@pytest.fixture
def base_rig(request, level):
    """The same with the base kernel."""
    return make_rig(request, level, "base")


def make_rig(request, level, kernel, config="small", **what):
    """A rig whose logs have the name of the test, and the name of the configuration if that is not
    small. what: more of its attributes."""
    name = re.sub(r"[^\w]+", "-", request.node.name.removeprefix("test_")).strip("-")
    if config != "small":
        name = f"{config}-{name}"
    return Rig(name, Board(level), TEST_LOGS, kernel, config=config, **what)


def git(where, *args):
    """git in a tree."""
    return output(["git", *map(str, args)], cwd=where).strip()


def copy_tree(folder, monkeypatch, *patterns):
    """Copy build/BASE/linux and what it is made from to a folder, and have lab.tree work on the
    copies: (the tree, the repository). patterns: the files that the tree has, as git's
    sparse-checkout takes them."""
    linux, top = folder / "linux", folder / "top"
    git(folder, "clone", "-q", "--shared", "--no-checkout", tree.LINUX, linux)
    for key in ("name", "email"):
        git(linux, "config", f"user.{key}", tree.LAB[key])
    git(linux, "tag", "-f", "base", tree.state()["base"])
    git(linux, "sparse-checkout", "set", "--no-cone", *patterns)
    git(linux, "checkout", "-q", "-B", tree.BRANCH, tree.state()["head"])
    shutil.copyfile(tree.STATE, linux / ".git/lab.json")
    whole = {tree.SERIES.whole(name) for patch in tree.SERIES.patches() for name in patch.files}
    folders = [tree.SERIES.other(base).folder
               for base in (tree.SERIES.base, *tree.SERIES.others())]
    for path in [*folders, *whole]:
        copy = top / path.relative_to(TOP)
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, copy)
    for name, value in {"LINUX": linux, "PLAIN": folder / "base",
                        "STATE": linux / ".git/lab.json",
                        "SERIES": Series(top, BASE.name)}.items():
        monkeypatch.setattr(tree, name, value)
    return linux, top


def pytest_collection_modifyitems(config, items):
    """Keep only the tests of the base. The marker bases() names the bases of a test or a file;
    without it, the base is v5.10. Tests that take minutes go first, so that no worker is left
    alone with one."""
    others = [item for item in items
              if BASE.name not in getattr(item.get_closest_marker("bases"), "args", (V5_10.name,))]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in set(others)]
    items.sort(key=lambda item: not re.search(r"\[(often|long)-", item.nodeid))


def pytest_runtest_makereport(item, call):
    """Remove the folder of a test, unless something in it failed. Those of all tests are 2 GB."""
    if call.excinfo:
        item.stash[FAILED] = True
    elif call.when == "teardown" and FAILED not in item.stash and "tmp_path" in item.funcargs:
        remove(item.funcargs["tmp_path"])


def pytest_configure(config):
    """Tell pytest of the marker."""
    config.addinivalue_line("markers", "bases(name, ...): the bases that a test is of")


def pytest_unconfigure(config):
    """Show the matrix, and print the sum as the very last line, after pytest's own."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or config.option.collectonly:
        return
    matrix.report()
    count = {key: len(reports) for key, reports in reporter.stats.items()}
    failed = count.get("failed", 0) + count.get("error", 0)
    print(f"{count.get('passed', 0)} passed, {failed} failed, "
          f"{count.get('skipped', 0) + count.get('xfailed', 0)} skipped", flush=True)
