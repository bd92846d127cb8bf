# SPDX-License-Identifier: GPL-2.0-only
"""What the selftests of the series do where they cannot test anything. The harness of each base has
its own way to tell of a skip."""

from lab import scenario, selftest, tap
from lab.here import TEST_LOGS
from lab.tests.conftest import EVERY_BASE

pytestmark = EVERY_BASE

# The one case of kexec_fault that every kernel can run
LAST = "all.no_page_lost"


def test_skips(el1_rig):
    """A case that needs what this kernel lacks is skipped and does not fail. The tests would lose a
    loaded image. So with one loaded, each program skips, says why, and ends with status 4, which
    means that all cases were skipped. The image stays."""
    with selftest.with_programs("selftest-skips", el1_rig, TEST_LOGS) as machine:
        machine.wait_ready()
        machine.sh("mkdir /tmp/disk; mount -t ext2 -o ro /dev/vdb /tmp/disk")
        machine.sh("/tmp/disk/kexec_fault >/tmp/tap 2>&1", check=False)
        found = tap.kselftest(machine.answer("cat /tmp/tap"))
        assert all(good for _, good, _ in found), found
        assert [name for name, _, skipped in found if skipped is None] == [LAST], found
        scenario.load(machine, "-s -l")
        for program in selftest.PROGRAMS:
            said = machine.sh(f"/tmp/disk/{program}; [ $? = 4 ]")
            assert "1..0 # SKIP an image is loaded" in said, said
        assert machine.number("cat /sys/kernel/kexec_loaded") == 1
