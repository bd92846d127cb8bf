# SPDX-License-Identifier: GPL-2.0-only
"""What the tests share: the levels that a kernel can be started at, and the bench
that makes a test's machines."""

import re
import shutil

import pytest

from lab import matrix, tree
from lab.machine import kvm_works
from lab.scenario import Bench
from lab.util import TEST_LOGS, TOP, output

# kvm: where it works, a kernel at EL1 on real caches. Nothing counts its accesses.
LEVELS = ["el1", "nvhe", "vhe"] + (["kvm"] if kvm_works() else [])


@pytest.fixture(params=LEVELS)
def level(request):
    """How the machine is started."""
    return request.param


@pytest.fixture
def bench(request, level):
    """Makes machines that run the kernel with the series; the logs have the test's name."""
    return make_bench(request, level, "series")


@pytest.fixture
def el1_bench(request):
    """The same, at EL1 only: for what does not depend on the level."""
    return make_bench(request, "el1", "series")


@pytest.fixture
def base_bench(request, level):
    """The same with the base kernel."""
    return make_bench(request, level, "base")


def make_bench(request, level, flavour, config="small"):
    """A bench whose logs have the name of the test, and of a configuration but small."""
    name = re.sub(r"[^\w]+", "-", request.node.name.removeprefix("test_")).strip("-")
    if config != "small":
        name = f"{config}-{name}"
    return Bench(name, level, TEST_LOGS, flavour, config=config)


def git(where, *args):
    """git in a tree."""
    return output(["git", *map(str, args)], cwd=where).strip()


def copy_tree(folder, monkeypatch, *patterns):
    """build/linux and what it is made from, copied to a folder for lab.tree to work on
    instead: (the tree, the repository). patterns: of sparse-checkout; what the tree has."""
    linux, top = folder / "linux", folder / "top"
    git(folder, "clone", "-q", "--shared", "--no-checkout", tree.LINUX, linux)
    for key in ("name", "email"):
        git(linux, "config", f"user.{key}", tree.LAB[key])
    git(linux, "tag", "-f", "base", tree.state()["base"])
    git(linux, "sparse-checkout", "set", "--no-cone", *patterns)
    git(linux, "checkout", "-q", "-B", tree.BRANCH, tree.state()["head"])
    shutil.copyfile(tree.STATE, linux / ".git/lab.json")
    for name in ["patches/v5.10", *(f for p in tree.series() for f in p.files)]:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (TOP / name).is_dir() else shutil.copyfile)(TOP / name, top / name)
    patches = top / "patches/v5.10"
    for name, value in {"LINUX": linux, "BASE": folder / "base", "TOP": top,
                        "STATE": linux / ".git/lab.json", "PATCHES": patches,
                        "COVER": patches / "cover-letter", "SERIES": patches / "series"}.items():
        monkeypatch.setattr(tree, name, value)
    return linux, top


def pytest_collection_modifyitems(items):
    """What takes minutes goes first, so that no worker is left alone with it."""
    items.sort(key=lambda item: "[long-" not in item.nodeid)


def pytest_unconfigure(config):
    """Show the matrix, and say the sum as the very last line; pytest's own goes before."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or config.option.collectonly:
        return
    matrix.report()
    count = {key: len(reports) for key, reports in reporter.stats.items()}
    failed = count.get("failed", 0) + count.get("error", 0)
    print(f"{count.get('passed', 0)} passed, {failed} failed, "
          f"{count.get('skipped', 0) + count.get('xfailed', 0)} skipped", flush=True)
