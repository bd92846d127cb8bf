// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each allocation of a load fails in turn. The load has to fail with ENOMEM and
 * lose nothing. It has to succeed once nothing fails any more.
 *
 * A load may survive the failure of three kinds of allocation. The kernel's
 * trace of the failure has to show that it was one of these:
 * - allocations of kmemleak, which has a reserve for that;
 * - pages of a slab, because the slab allocator asks again, for fewer pages;
 * - allocations of kexec_file_load() for the initrd, the device tree and the
 *   ELF headers. kexec_file_load() takes any error of load_other_segments() for
 *   a lack of room, and tries the next place for the kernel.
 */
#include "../../kselftest_harness.h"
#include "kexec_common.h"

#define DEBUG		"/sys/kernel/debug/"
#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define KMEMLEAK	DEBUG "kmemleak"
#define CMDLINE		"console=ttyAMA0"
#define CALLS		4000		/* more than any load allocates */

struct fault {
	bool file;
	bool crash;
	int fail;		/* FAIL_NTH */
	int log;		/* /dev/kmsg */
	int kernel;
	int initrd;
	struct segment s[2];
};

static int call(struct fault *self)
{
	if (self->file)
		return file_load(self->kernel, self->initrd, sizeof(CMDLINE),
				 CMDLINE, self->crash ? KEXEC_FILE_ON_CRASH : 0);
	return load(self->s[0].mem, 2, self->s,
		    KEXEC_ARCH_AARCH64 | (self->crash ? CRASH : 0));
}

FIXTURE(kexec_fault) {
	struct fault fault;
};

FIXTURE_VARIANT(kexec_fault) {
	bool file;
	bool crash;
};

FIXTURE_VARIANT_ADD(kexec_fault, normal) {
};

FIXTURE_VARIANT_ADD(kexec_fault, crash) {
	.crash = true,
};

FIXTURE_VARIANT_ADD(kexec_fault, file_normal) {
	.file = true,
};

FIXTURE_VARIANT_ADD(kexec_fault, file_crash) {
	.file = true,
	.crash = true,
};

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool done = fd >= 0 && write(fd, text, strlen(text)) > 0;

	close(fd);
	return done;
}

/* Drop what kmemleak has found before. The tests have not caused it. */
static void __attribute__((constructor)) forget_leaks(void)
{
	put(KMEMLEAK, "scan");
	put(KMEMLEAK, "clear");
}

/* Let any allocation fail, whatever its flags, and log each failure. */
static bool set_up_faults(void)
{
	return put(DEBUG "failslab/ignore-gfp-wait", "N") &&
	       put(DEBUG "fail_page_alloc/ignore-gfp-wait", "N") &&
	       put(DEBUG "fail_page_alloc/ignore-gfp-highmem", "N") &&
	       put(DEBUG "fail_page_alloc/min-order", "0") &&
	       put(DEBUG "failslab/verbose", "2") &&
	       put(DEBUG "failslab/verbose_ratelimit_interval_ms", "0") &&
	       put(DEBUG "fail_page_alloc/verbose", "2") &&
	       put(DEBUG "fail_page_alloc/verbose_ratelimit_interval_ms", "0");
}

FIXTURE_SETUP(kexec_fault)
{
	struct image_header header = good_header();
	struct fault *f = &self->fault;
	struct range r;
	char *data;

	SKIP_UNLESS(!no_test, no_test);
	SKIP_UNLESS(!variant->crash || crashk.end,
		    "no memory is set aside for a crash kernel (crashkernel=)");
	SKIP_UNLESS(!variant->file || have_file_load(),
		    "no CONFIG_KEXEC_FILE");
	f->fail = open(FAIL_NTH, O_RDWR);
	SKIP_UNLESS(f->fail >= 0, "no CONFIG_FAULT_INJECTION");
	SKIP_UNLESS(set_up_faults(),
		    "no CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC, or debugfs");

	f->log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	ASSERT_LE(0, f->log);

	f->file = variant->file;
	f->crash = variant->crash;
	f->kernel = memory_file(&header, sizeof(header), PAGE);
	f->initrd = memory_file("initrd", 6, PAGE);
	ASSERT_LE(0, f->kernel);
	ASSERT_LE(0, f->initrd);
	data = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, data);
	r = f->crash ? crashk : free_ram();
	f->s[0] = (struct segment) { data, PAGE, r.start, 4 * PAGE };
	f->s[1] = (struct segment) { data, 1, r.end - PAGE, PAGE };
	SKIP_UNLESS(!needs_signature(call(f)), "only signed kernels are loaded");
}

FIXTURE_TEARDOWN(kexec_fault)
{
	EXPECT_EQ(0, unload(self->fault.crash));
}

/* Let the nth allocation from now on fail. 0 means none. */
static bool arm(struct fault *self, int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", nth);

	return pwrite(self->fail, text, len, 0) == len;
}

/* The number of allocations that are still to come before one fails */
static int armed(struct fault *self)
{
	char text[16] = "";

	if (pread(self->fail, text, sizeof(text) - 1, 0) <= 0)
		return -1;
	return atoi(text);
}

/* What the kernel has logged since the last call */
static const char *heard(struct fault *self)
{
	static char text[65536];
	size_t used = 0;
	ssize_t len;

	/* EPIPE: some messages are lost. Go on with the next one. */
	while ((len = read(self->log, text + used,
			   sizeof(text) - 1 - used)) > 0 ||
	       (len < 0 && errno == EPIPE))
		used += len > 0 ? len : 0;
	text[used] = 0;
	return text;
}

/*
 * Whether a failure that the load survived is of a kind that it may survive.
 * Callers such as kmemleak and the slab allocator want no warning. Some
 * releases have no trace of such a failure.
 */
static bool may_survive(struct fault *self, const char *trace)
{
	return !strstr(trace, "FAULT_INJECTION") ||
	       strstr(trace, " kmemleak_") ||
	       strstr(trace, " allocate_slab+") ||
	       (self->file && strstr(trace, " load_other_segments+"));
}

TEST_F_TIMEOUT(kexec_fault, each_allocation, 600)
{
	int nth, error = -1, left, failed = 0, survived = 0;
	struct fault *f = &self->fault;
	const char *trace;

	for (nth = 1; nth < CALLS; nth++) {
		ASSERT_EQ(0, call(f));
		ASSERT_EQ(1, loaded(f->crash));
		heard(f);
		ASSERT_TRUE(arm(f, nth));
		error = call(f);
		left = armed(f);
		ASSERT_TRUE(arm(f, 0));
		ASSERT_LE(0, left);
		if (left)
			break;
		if (error) {
			failed++;
			EXPECT_EQ(-ENOMEM, error)
				TH_LOG("allocation %d", nth);
		} else {
			survived++;
			trace = heard(f);
			EXPECT_TRUE(may_survive(f, trace))
				TH_LOG("allocation %d:\n%s", nth, trace);
		}
		/* An error may lose a crash kernel, see kexec_load.c */
		if (!error || !f->crash)
			EXPECT_EQ(1, loaded(f->crash));
	}
	EXPECT_EQ(0, error);
	EXPECT_LT(nth, CALLS);
	/* There are allocations of the image, its control pages, and more */
	EXPECT_GE(failed, 3);
	printf("# %d allocations: %d loads failed, %d succeeded nevertheless\n",
	       nth - 1, failed, survived);
	fflush(stdout);
}

/* Drop a record that does not come from kexec. */
static void keep_ours(char *record)
{
	if (!strstr(record, "kexec") && !strstr(record, "kimage") &&
	    !strstr(record, "trans_pgd"))
		*record = 0;
}

/*
 * Report what kmemleak found of kexec, without the one leak that v5.10 has. If
 * load_other_segments() fails after it has made the ELF headers of a crash
 * kernel, it forgets them. Returns the number of these leaks, or -1.
 */
static int scan(char *report, size_t size)
{
	char line[256], *record = report;
	bool skip = false;
	int fd, known = 0;
	FILE *file;

	*report = 0;
	/* kmemleak does not report new objects, which may be in transit */
	sleep(6);
	fd = open(KMEMLEAK, O_WRONLY);
	if (fd < 0 || write(fd, "scan", 4) != 4 || write(fd, "scan", 4) != 4)
		return -1;
	close(fd);
	file = fopen(KMEMLEAK, "r");
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "unreferenced", 12)) {
			keep_ours(record);
			record = report + strlen(report);
			skip = false;
		}
		if (skip || strlen(report) + strlen(line) >= size)
			continue;
		strcat(record, line);
		if (strstr(line, " load_other_segments+") &&
		    strstr(record, " crash_prepare_elf64_headers+")) {
			*record = 0;
			skip = true;
			known++;
		}
	}
	keep_ours(record);
	if (file)
		fclose(file);
	return known;
}

FIXTURE(kmemleak) {
};

FIXTURE_SETUP(kmemleak)
{
	SKIP_UNLESS(!no_test, no_test);
	SKIP_UNLESS(put(KMEMLEAK, "scan"),
		    "no CONFIG_DEBUG_KMEMLEAK, or it is off");
}

FIXTURE_TEARDOWN(kmemleak)
{
}

TEST_F_TIMEOUT(kmemleak, nothing_is_lost, 300)
{
	char report[65536];
	int known = scan(report, sizeof(report));

	ASSERT_LE(0, known);
	EXPECT_STREQ("", report);
	if (known)
		printf("# v5.10's own leak: %d ELF headers\n", known);
	fflush(stdout);
}

#include "kexec_last_test.h"

TEST_HARNESS_MAIN
