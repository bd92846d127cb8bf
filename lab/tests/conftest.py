# SPDX-License-Identifier: GPL-2.0-only
"""What the tests share: the levels that a kernel can be started at, and the bench
that makes a test's machines."""

import re

import pytest

from lab import matrix
from lab.machine import kvm_works
from lab.scenario import PAYLOAD, Bench
from lab.util import TEST_LOGS

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
    marker = request.node.get_closest_marker("payload")
    return Bench(name, level, TEST_LOGS, flavour, marker.args[0] if marker else PAYLOAD, config)


def pytest_configure(config):
    """The marks of this suite."""
    config.addinivalue_line("markers", "payload(mib): random data in the second kernel's initramfs")


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
