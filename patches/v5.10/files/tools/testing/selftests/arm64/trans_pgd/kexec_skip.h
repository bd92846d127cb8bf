/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KEXEC_SKIP_H
#define KEXEC_SKIP_H

/*
 * For a FIXTURE_SETUP. After a return from it, this harness would run the test.
 * So end the process of the test. Status 255 says that the test was skipped.
 */
#define SKIP_UNLESS(condition, why) do {				\
	if (!(condition))						\
		SKIP(_exit(255), "%s", why);				\
} while (0)

#endif /* KEXEC_SKIP_H */
