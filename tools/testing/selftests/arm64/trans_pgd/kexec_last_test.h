/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The last test of each program. Tests run in the order of the source, so this
 * one checks that no earlier test has lost a page.
 */
#ifndef KEXEC_LAST_TEST_H
#define KEXEC_LAST_TEST_H

FIXTURE(all) {
};

FIXTURE_SETUP(all)
{
	SKIP_UNLESS(!no_test, no_test);
	SKIP_UNLESS(reserved_before >= 0, "no CONFIG_PROC_PAGE_MONITOR");
}

FIXTURE_TEARDOWN(all)
{
}

TEST_F_TIMEOUT(all, no_page_lost, 120)
{
	EXPECT_EQ(0, loaded(false));
	EXPECT_EQ(0, loaded(true));
	EXPECT_EQ(reserved_before, reserved_pages());
}

#endif /* KEXEC_LAST_TEST_H */
