# SPDX-License-Identifier: GPL-2.0-only
"""TAP, as kernels have printed it: each text below is from a console of v5.10.262, v6.12.117 or
v7.3.4, or from a program with the kselftest harness of that version."""

import pytest

from lab import tap
from lab.util import LabError

V5_10 = """\
[    0.192492] TAP version 14
[    0.192648] 1..5
[    0.192773]     # Subtest: kunit-try-catch-test
[    0.192820]     1..2
[    0.195008]     ok 1 - kunit_test_try_catch_successful_try_no_catch
[    0.195528]     ok 2 - kunit_test_try_catch_unsuccessful_try_does_catch
[    0.195910] ok 1 - kunit-try-catch-test
[    0.196486]     # Subtest: kunit-resource-test
[    0.196490]     1..7
[    0.196939]     ok 1 - kunit_resource_test_init_resources
[    0.197335]     ok 2 - kunit_resource_test_alloc_resource
[    0.198694]     ok 3 - kunit_resource_test_destroy_resource
[    0.199196]     ok 4 - kunit_resource_test_cleanup_resources
[    0.199754]     ok 5 - kunit_resource_test_proper_free_ordering
[    0.200266]     ok 6 - kunit_resource_test_static
[    0.200952]     ok 7 - kunit_resource_test_named
[    0.201257] ok 2 - kunit-resource-test
[    0.201708]     # Subtest: kunit-log-test
[    0.201712]     1..1
[    0.206632] put this in log.
[    0.206796] this too.
[    0.206967] add to suite log.
[    0.207097] along with this.
[    0.207376]     ok 1 - kunit_log_test
[    0.207540] ok 3 - kunit-log-test
[    0.207924]     # Subtest: string-stream-test
[    0.207927]     1..3
[    0.208456]     ok 1 - string_stream_test_empty_on_creation
[    0.208862]     ok 2 - string_stream_test_not_empty_after_add
[    0.209408]     ok 3 - string_stream_test_get_string
[    0.209838] ok 4 - string-stream-test
[    0.210299]     # Subtest: example
[    0.210302]     1..1
[    0.210662]     # example_simple_test: initializing
[    0.211130]     ok 1 - example_simple_test
[    0.211135] ok 5 - example
[    0.253315] Freeing unused kernel memory: 448K
"""
# Of a run that a bug in the library made fail
V5_10_FAILED = """\
[    1.745670]     ok 16 - trans_pgd_copy_read_only
[    1.758315]     ok 17 - trans_pgd_copy_keeps_attributes
[    1.773939]     # trans_pgd_copy_invalid: ASSERTION FAILED at arch/arm64/mm/trans_pgd_test.c:301
[    1.773939]     Expected nr > 0U, but
[    1.773939]         nr == 0
[    1.773939]         0U == 0
[    1.788016]     not ok 18 - trans_pgd_copy_invalid
[    1.817200]     ok 19 - trans_pgd_copy_crash_kernel
"""
V6_12 = """\
[    0.313958] KTAP version 1
[    0.314023] 1..1
[    0.314171]     # example: initializing suite
[    0.314263]     KTAP version 1
[    0.314315]     # Subtest: example
[    0.314453]     # module: kunit_example_test
[    0.314586]     1..4
[    0.315019]     # example_skip_test: initializing
[    0.315174]     # example_skip_test: You should not see a line below.
[    0.316540]     # example_skip_test: cleaning up
[    0.316932]     ok 1 example_skip_test # SKIP this test should be skipped
[    0.317091]     # example_priv_test: initializing
[    0.317583]     # example_priv_test: cleaning up
[    0.317803]     ok 2 example_priv_test
[    0.317840]         KTAP version 1
[    0.317958]         # Subtest: example_params_test
[    0.318086]     # example_params_test: initializing
[    0.318384]     # example_params_test: cleaning up
[    0.318496]         ok 1 example value 3 # SKIP unsupported param value 3
[    0.318677]     # example_params_test: initializing
[    0.318994]     # example_params_test: cleaning up
[    0.319094]         ok 2 example value 2
[    0.319191]     # example_params_test: initializing
[    0.319421]     # example_params_test: cleaning up
[    0.319516]         ok 3 example value 1
[    0.319621]     # example_params_test: initializing
[    0.319873]     # example_params_test: cleaning up
[    0.319967]         ok 4 example value 0 # SKIP unsupported param value 0
[    0.319987]     # example_params_test: pass:2 fail:0 skip:2 total:4
[    0.320099]     ok 3 example_params_test
[    0.320285]     # example_slow_test: initializing
[    0.320532]     # example_slow_test: cleaning up
[    0.320643]     # example_slow_test.speed: slow
[    0.320657]     ok 4 example_slow_test
[    0.320741]     # example: exiting suite
[    0.320880] # example: pass:3 fail:0 skip:1 total:4
[    0.320903] # Totals: pass:4 fail:0 skip:3 total:7
[    0.321027] ok 1 example
[    0.346418] Freeing unused kernel memory: 768K
"""
V7_3 = """\
[    0.441344] KTAP version 1
[    0.441352] 1..2
[    0.441655] ok 1 example_skip_suite # SKIP Test suite expected to be skipped
[    0.441686]     # example: initializing suite
[    0.441714]     KTAP version 1
[    0.441719]     # Subtest: example
[    0.442089]     # module: kunit_example_test
[    0.442191]     1..2
[    0.444117]     # example_skip_test: initializing
[    0.444212]     # example_skip_test: You should not see a line below.
[    0.446349]     # example_skip_test: cleaning up
[    0.446639]     ok 1 example_skip_test # SKIP this test should be skipped
[    0.446826]         KTAP version 1
[    0.446837]         # Subtest: example_params_test_with_init
[    0.446853]         1..4
[    0.447070]     # example_params_test_with_init: initializing
[    0.451556]     # example_params_test_with_init: cleaning up
[    0.451664]         ok 1 example check if 3 is less than or equal to 3
[    0.455112]     # example_params_test_with_init: initializing
[    0.459357]     # example_params_test_with_init: cleaning up
[    0.459457]         ok 2 example check if 2 is less than or equal to 3
[    0.459645]     # example_params_test_with_init: initializing
[    0.459853]     # example_params_test_with_init: cleaning up
[    0.459912]         ok 3 example check if 1 is less than or equal to 3
[    0.460066]     # example_params_test_with_init: initializing
[    0.460258]     # example_params_test_with_init: cleaning up
[    0.460315]         ok 4 example check if 0 is less than or equal to 3
[    0.460464]     # example_params_test_with_init: pass:4 fail:0 skip:0 total:4
[    0.460482]     ok 2 example_params_test_with_init
[    0.460497]     # example: exiting suite
[    0.460518] # example: pass:1 fail:0 skip:1 total:2
[    0.460536] # Totals: pass:4 fail:0 skip:1 total:5
[    0.460563] ok 2 example
[    0.513241] Freeing unused kernel memory: 832K
"""
HARNESS_V5_10 = """\
TAP version 13
1..4
# Starting 4 tests from 2 test cases.
#  RUN           global.alone ...
#            OK  global.alone
ok 1 global.alone
#  RUN           load.passes ...
#            OK  load.passes
ok 2 load.passes
#  RUN           load.skips ...
#      SKIP      no room
#            OK  load.skips
ok 3 # SKIP no room
#  RUN           load.fails ...
# h.c:7:fails:Expected 1 (1) == 2 (2)
# fails: Test terminated by assertion
#          FAIL  load.fails
not ok 4 load.fails
# FAILED: 3 / 4 tests passed.
# Totals: pass:2 fail:1 xfail:0 xpass:0 skip:1 error:0
"""
HARNESS_V7_3 = """\
TAP version 13
1..4
# Starting 4 tests from 2 test cases.
#  RUN           global.alone ...
#            OK  global.alone
ok 1 global.alone
#  RUN           load.passes ...
#            OK  load.passes
ok 2 load.passes
#  RUN           load.skips ...
#      SKIP      no room
#            OK  load.skips
ok 3 load.skips # SKIP no room
#  RUN           load.fails ...
# h.c:7:fails:Expected 1 (1) == 2 (2)
# fails: Test terminated by assertion
#          FAIL  load.fails
not ok 4 load.fails
# FAILED: 3 / 4 tests passed.
# 1 skipped test(s) detected. Consider enabling relevant config options to improve coverage.
# Totals: pass:2 fail:1 xfail:0 xpass:0 skip:1 error:0
"""


def named(results):
    """{name: result} of results whose names differ."""
    found = {result.name: result for result in results}
    assert len(found) == len(results)
    return found


def test_kunit_v5_10():
    """Suites, cases and their order, out of the middle of the log."""
    found = tap.kunit(V5_10)
    assert all(result.ok and result.tried for result in found)
    assert [result.name for result in found if not result.depth] == [
        "kunit-try-catch-test", "kunit-resource-test", "kunit-log-test", "string-stream-test",
        "example"]
    cases = [result.name for result in found if result.depth == tap.CASE]
    assert len(cases) == 14
    assert cases[0] == "kunit_test_try_catch_successful_try_no_catch"
    assert cases[-1] == "example_simple_test"


def test_kunit_failed():
    """A case that failed is one, and what was said before it is its detail."""
    found = named(tap.kunit(V5_10_FAILED))
    wrong = found["trans_pgd_copy_invalid"]
    assert [name for name, result in found.items() if not result.ok] == [wrong.name]
    assert "ASSERTION FAILED" in wrong.detail and "nr == 0" in wrong.detail
    assert not found["trans_pgd_copy_crash_kernel"].detail


def test_kunit_v6_12():
    """A nested subtest has results of its own, without a plan; headers are no detail."""
    found = named(tap.kunit(V6_12))
    assert [name for name, result in found.items() if result.depth == tap.CASE] == [
        "example_skip_test", "example_priv_test", "example_params_test", "example_slow_test"]
    assert [name for name, result in found.items() if result.depth > tap.CASE] == [
        f"example value {number}" for number in (3, 2, 1, 0)]
    assert not any("Subtest" in result.detail or "module" in result.detail
                   for result in found.values())


def test_kunit_v7_3():
    """A nested subtest with a plan, and a suite that is skipped as a whole."""
    found = named(tap.kunit(V7_3))
    assert [name for name, result in found.items() if not result.depth] == [
        "example_skip_suite", "example"]
    assert [name for name, result in found.items() if result.depth > tap.CASE] == [
        f"example check if {number} is less than or equal to 3" for number in (3, 2, 1, 0)]


@pytest.mark.parametrize("text, names", [
    (V6_12, ["example_skip_test", "example value 3", "example value 0"]),
    (V7_3, ["example_skip_suite", "example_skip_test"]),
], ids=["v6.12", "v7.3"])
def test_kunit_skipped(text, names):
    """A skipped case is "ok" and was not tried. Its reason is kept."""
    found = tap.kunit(text)
    assert [result.name for result in found if not result.tried] == names
    assert all(result.ok for result in found)
    assert [result.name for result in found if result.skipped] == names
    assert "should be skipped" in named(found)["example_skip_test"].skipped


def test_kunit_skipped_without_reason():
    """SKIP without a reason is enough, in upper or lower case. A word that only begins with it is
    not, nor is one in another comment."""
    found = tap.kunit("ok 1 a # SKIP\nok 2 b # skip: why\nok 3 c # SKIPPED\n# x SKIP\nok 4 d\n")
    assert [result.skipped for result in found] == ["", "why", None, None]


@pytest.mark.parametrize("text", [V5_10, V6_12, V7_3], ids=["v5.10", "v6.12", "v7.3"])
def test_kunit_lost_line(text):
    """A missing result is an error at any level, because the plan or the numbers show it. Only the
    last one of a level without a plan can be missing unnoticed."""
    lines = text.splitlines()
    lost = [number for number, line in enumerate(lines) if tap.RESULT.match(plain(line))]
    for number in lost:
        if "example value 0" in lines[number]:
            continue
        with pytest.raises(LabError, match="TAP"):
            tap.kunit("\n".join(lines[:number] + lines[number + 1:]))


def plain(line):
    """A line without the kernel's time."""
    return tap.KERNEL_TIME.sub("", line)


def test_kunit_is_cut():
    """A kernel that dies in the middle leaves a plan that is not met."""
    with pytest.raises(LabError, match="planned"):
        tap.kunit(V6_12[:V6_12.index("ok 2 example_priv_test")])


@pytest.mark.parametrize("text", [HARNESS_V5_10, HARNESS_V7_3], ids=["v5.10", "v7.3"])
def test_kselftest(text):
    """The name of a test that is skipped is found where the version has it."""
    assert tap.kselftest(text) == [
        ("global.alone", True, None), ("load.passes", True, None),
        ("load.skips", True, "no room"), ("load.fails", False, None)]


def test_kselftest_is_cut():
    """Tests that have not come to a result have failed, and so has what has no plan."""
    whole = tap.kselftest(HARNESS_V7_3)
    cut = tap.kselftest(HARNESS_V7_3[:HARNESS_V7_3.index("ok 3")])
    assert cut == [*whole[:2], ("test 3", False, None), ("test 4", False, None)]
    assert tap.kselftest("") == [("plan", False, None)]


def test_kselftest_skipped_whole():
    """A program that can test nothing is one that was skipped."""
    assert tap.kselftest("TAP version 13\n1..0 # SKIP an image is loaded\n") == [
        ("all", True, "an image is loaded")]
