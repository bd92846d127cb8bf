/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KEXEC_SKIP_H
#define KEXEC_SKIP_H

/* For a FIXTURE_SETUP. After a skip in it the harness does not run the test. */
#define SKIP_UNLESS(condition, why) do {				\
	if (!(condition))						\
		SKIP(return, "%s", why);				\
} while (0)

#endif /* KEXEC_SKIP_H */
