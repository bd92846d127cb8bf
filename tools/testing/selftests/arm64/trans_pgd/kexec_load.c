// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test kexec_load(): what it accepts, what it refuses and with which error, and
 * what is loaded afterwards. Each test runs for a normal image and for a crash
 * kernel.
 *
 * A normal image stays loaded when another is refused. A crash kernel stays
 * loaded only if the flags or the number of segments are wrong. It is freed
 * before anything else is checked, because the new one goes to the same place.
 * Some releases read the list of segments before that.
 */
#include "../../kselftest_harness.h"
#include "kexec_common.h"

#include <sched.h>

#define KERNEL_ADDRESS	((void *)0xffff800010000000UL)
#define LOWEST_PAGE	((void *)0UL)
#define AREA		64		/* pages that tests may use */

FIXTURE(kexec_load) {
	bool crash;
	unsigned long flags;	/* the right flags */
	unsigned long mem;	/* AREA pages from here are a good place */
	struct segment good;	/* one page there */
	char *edge;		/* end of a page; the next is not mapped */
};

FIXTURE_VARIANT(kexec_load) {
	bool crash;
};

FIXTURE_VARIANT_ADD(kexec_load, normal) {
	.crash = false,
};

FIXTURE_VARIANT_ADD(kexec_load, crash) {
	.crash = true,
};

/* Load a good image. A test keeps or loses it. */
FIXTURE_SETUP(kexec_load)
{
	struct range r;
	char *page;

	SKIP_UNLESS(!no_test, no_test);
	SKIP_UNLESS(!variant->crash || crashk.end,
		    "no memory is set aside for a crash kernel (crashkernel=)");

	self->crash = variant->crash;
	self->flags = KEXEC_ARCH_AARCH64 | (self->crash ? CRASH : 0);
	r = self->crash ? crashk : free_ram();
	self->mem = (r.start + (r.end - r.start) / 2) & -PAGE;
	ASSERT_LE(self->mem + AREA * PAGE, r.end);

	page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	memset(page, 0x5a, PAGE);
	ASSERT_EQ(0, munmap(page + PAGE, PAGE));
	self->edge = page + PAGE;

	self->good = (struct segment) { page, PAGE, self->mem, PAGE };
	ASSERT_EQ(0, load(self->mem, 1, &self->good, self->flags));
	ASSERT_EQ(1, loaded(self->crash));
}

FIXTURE_TEARDOWN(kexec_load)
{
	EXPECT_EQ(0, unload(self->crash));
	EXPECT_EQ(0, loaded(self->crash));
}

/* An image is accepted and replaces the loaded one. */
#define TAKEN(nr, segments)						\
	do {								\
		EXPECT_EQ(0, load(self->mem, nr, segments, self->flags));\
		EXPECT_EQ(1, loaded(self->crash));			\
	} while (0)

/* A call is refused before anything is touched. The loaded image stays. */
#define REFUSED_EARLY(error, entry, nr, segments, flags)		\
	do {								\
		EXPECT_EQ(error, load(entry, nr, segments, flags));	\
		EXPECT_EQ(1, loaded(self->crash));			\
	} while (0)

/* A call is refused because of its image. A crash kernel is lost by then. */
#define REFUSED_ENTRY(error, entry, nr, segments)			\
	do {								\
		EXPECT_EQ(error, load(entry, nr, segments, self->flags));\
		EXPECT_EQ(!self->crash, loaded(self->crash));		\
		ASSERT_EQ(0, load(self->mem, 1, &self->good, self->flags));\
	} while (0)

#define REFUSED(error, nr, segments)					\
	REFUSED_ENTRY(error, self->mem, nr, segments)

/* The list cannot be read. A crash kernel may or may not be lost by then. */
#define REFUSED_UNREAD(error, nr, segments)				\
	do {								\
		EXPECT_EQ(error, load(self->mem, nr, segments, self->flags));\
		if (!self->crash)					\
			EXPECT_EQ(1, loaded(false));			\
		ASSERT_EQ(0, load(self->mem, 1, &self->good, self->flags));\
	} while (0)

/**
 * struct attempt - a load whose segments are right or wrong by their places
 * @name:     what is special
 * @error:    what load() returns
 * @nr:       number of @segments
 * @segments: the offset from the good place, bytes of memory and of the buffer
 */
struct attempt {
	const char *name;
	int error;
	int nr;
	struct {
		unsigned long mem, memsz, bufsz;
	} segments[3];
};

/* Check that each load is TAKEN, or REFUSED with its error. */
static void try_all(struct __test_metadata *_metadata,
		    const FIXTURE_DATA(kexec_load) *self,
		    const struct attempt *a, int nr)
{
	struct segment s[3];
	int i;

	for (; nr--; a++) {
		for (i = 0; i < a->nr; i++)
			s[i] = (struct segment) {
				self->good.buf, a->segments[i].bufsz,
				self->mem + a->segments[i].mem,
				a->segments[i].memsz,
			};
		TH_LOG("%s", a->name);
		if (a->error)
			REFUSED(a->error, a->nr, s);
		else
			TAKEN(a->nr, s);
	}
}

TEST_F(kexec_load, unload)
{
	EXPECT_EQ(0, unload(self->crash));
	EXPECT_EQ(0, loaded(self->crash));
	/* With nothing loaded, unload succeeds too */
	EXPECT_EQ(0, unload(self->crash));
}

/* An unload ignores the entry and the list of segments. */
TEST_F(kexec_load, unload_with_anything)
{
	EXPECT_EQ(0, load(-1UL, 0, KERNEL_ADDRESS, self->flags));
	EXPECT_EQ(0, loaded(self->crash));
}

TEST_F(kexec_load, replace)
{
	struct segment s = self->good;
	int i;

	for (i = 0; i < 4; i++) {
		s.mem = self->mem + i * PAGE;
		TAKEN(1, &s);
	}
}

TEST_F(kexec_load, other_kind_stays)
{
	EXPECT_EQ(0, unload(!self->crash));
	EXPECT_EQ(1, loaded(self->crash));
	EXPECT_EQ(0, loaded(!self->crash));
}

TEST_F(kexec_load, all_segments)
{
	struct segment s[MAX_SEGMENTS];
	int i;

	for (i = 0; i < MAX_SEGMENTS; i++) {
		s[i] = self->good;
		s[i].mem += (MAX_SEGMENTS - i) * 2 * PAGE;
	}
	TAKEN(MAX_SEGMENTS, s);
}

TEST_F(kexec_load, too_many_segments)
{
	struct segment s[MAX_SEGMENTS + 1];
	int i;

	for (i = 0; i <= MAX_SEGMENTS; i++) {
		s[i] = self->good;
		s[i].mem += i * PAGE;
	}
	REFUSED_EARLY(-EINVAL, self->mem, MAX_SEGMENTS + 1, s, self->flags);
	REFUSED_EARLY(-EINVAL, self->mem, -1UL, s, self->flags);
}

TEST_F_TIMEOUT(kexec_load, unknown_flags, MANY_LOADS)
{
	int bit;

	/* Bit 1 is KEXEC_PRESERVE_CONTEXT, which arm64 does not have */
	for (bit = 1; bit < 16; bit++) {
		if (LATER_FLAGS & 1UL << bit)
			continue;
		REFUSED_EARLY(-EINVAL, self->mem, 1, &self->good,
			      self->flags | 1UL << bit);
	}
	/* An unload checks the flags too */
	REFUSED_EARLY(-EINVAL, 0, 0, NULL, self->flags | 1UL << 15);
}

/* The masks of the flags have 32 bits, so higher flags are not seen. */
TEST_F_TIMEOUT(kexec_load, flags_above_32_bits, MANY_LOADS)
{
	int bit;

	for (bit = 32; bit < 64; bit++)
		EXPECT_EQ(0, load(self->mem, 1, &self->good,
				  self->flags | 1UL << bit));
}

TEST_F_TIMEOUT(kexec_load, architecture, MANY_LOADS)
{
	unsigned long kind = self->flags & CRASH;
	unsigned long arch;

	EXPECT_EQ(0, load(self->mem, 1, &self->good, kind | KEXEC_ARCH_DEFAULT));
	for (arch = 1; arch < 0x10000; arch++) {
		if (arch << 16 == KEXEC_ARCH_AARCH64)
			continue;
		REFUSED_EARLY(-EINVAL, self->mem, 1, &self->good,
			      kind | arch << 16);
		/* All numbers that exist, and some others */
		if (arch >= 256)
			arch += arch;
	}
}

/* A normal image may begin anywhere, a crash kernel only in its memory. */
TEST_F_TIMEOUT(kexec_load, entry, MANY_LOADS)
{
	if (self->crash) {
		EXPECT_EQ(0, load(crashk.start, 1, &self->good, self->flags));
		EXPECT_EQ(0, load(crashk.end - 1, 1, &self->good, self->flags));
		REFUSED_ENTRY(-EADDRNOTAVAIL, crashk.start - 1, 1, &self->good);
		REFUSED_ENTRY(-EADDRNOTAVAIL, crashk.end, 1, &self->good);
		REFUSED_ENTRY(-EADDRNOTAVAIL, 0, 1, &self->good);
		REFUSED_ENTRY(-EADDRNOTAVAIL, -1UL, 1, &self->good);
	} else {
		EXPECT_EQ(0, load(0, 1, &self->good, self->flags));
		EXPECT_EQ(0, load(-1UL, 1, &self->good, self->flags));
	}
}

TEST_F(kexec_load, bad_list)
{
	struct segment *last = (struct segment *)self->edge - 1;

	REFUSED_UNREAD(-EFAULT, 1, NULL);
	REFUSED_UNREAD(-EFAULT, 1, KERNEL_ADDRESS);
	REFUSED_UNREAD(-EFAULT, 1, (void *)-1UL);
	REFUSED_UNREAD(-EFAULT, 1, (struct segment *)self->edge);
	*last = self->good;
	last->buf = "";
	last->bufsz = 1;
	TAKEN(1, last);
	REFUSED_UNREAD(-EFAULT, 2, last);
	REFUSED_UNREAD(-EFAULT, 1, (struct segment *)((char *)last + 1));
}

TEST_F(kexec_load, bad_buffer)
{
	struct segment s[2] = { self->good, self->good };

	s[1].mem += PAGE;
	s[1].memsz = 2 * PAGE;
	s[1].buf = LOWEST_PAGE;
	REFUSED(-EFAULT, 2, s);
	s[1].buf = KERNEL_ADDRESS;
	REFUSED(-EFAULT, 2, s);
	s[1].buf = self->edge;
	REFUSED(-EFAULT, 2, s);
	/* Mapped, but not up to its end */
	s[1].buf = self->edge - PAGE;
	s[1].bufsz = PAGE + 1;
	REFUSED(-EFAULT, 2, s);
	s[1].buf = self->edge - 1;
	s[1].bufsz = 1;
	TAKEN(2, s);
	/* No byte of the buffer is read */
	s[1].buf = KERNEL_ADDRESS;
	s[1].bufsz = 0;
	TAKEN(2, s);
}

TEST_F(kexec_load, buffer_larger_than_segment)
{
	const struct attempt attempts[] = {
		{ "by a byte", -EINVAL, 1, { { 0, PAGE, PAGE + 1 } } },
		{ "by most", -EINVAL, 1, { { 0, PAGE, -1UL } } },
	};

	try_all(_metadata, self, attempts, ARRAY_SIZE(attempts));
}

TEST_F_TIMEOUT(kexec_load, misaligned, MANY_LOADS)
{
	unsigned long by;

	for (by = 1; by < PAGE; by *= 2) {
		struct segment s = self->good;

		s.mem += by;
		REFUSED(-EADDRNOTAVAIL, 1, &s);
		s.memsz += PAGE - by;	/* now only the end is aligned */
		REFUSED(-EADDRNOTAVAIL, 1, &s);
		s = self->good;
		s.memsz += by;
		REFUSED(-EADDRNOTAVAIL, 1, &s);
	}
}

TEST_F(kexec_load, wrapped)
{
	const unsigned long last = -PAGE - self->mem;	/* ends at 0 */
	const struct attempt attempts[] = {
		{ "ends at 0", -EADDRNOTAVAIL, 1, { { last, PAGE, PAGE } } },
		{ "ends behind 0", -EADDRNOTAVAIL, 1, { { last, 2 * PAGE, PAGE } } },
		{ "ends before it", -EADDRNOTAVAIL, 1, { { 0, -PAGE, PAGE } } },
		{ "ends a byte before it", -EADDRNOTAVAIL, 1, { { 0, -1UL, PAGE } } },
	};

	try_all(_metadata, self, attempts, ARRAY_SIZE(attempts));
}

TEST_F_TIMEOUT(kexec_load, overlap, MANY_LOADS)
{
	const struct attempt attempts[] = {
		{ "the same", -EINVAL, 2,
		  { { 0, PAGE, PAGE }, { 0, PAGE, PAGE } } },
		{ "inside", -EINVAL, 2,
		  { { 0, 4 * PAGE, PAGE }, { PAGE, PAGE, PAGE } } },
		{ "part of it", -EINVAL, 2,
		  { { 0, 4 * PAGE, PAGE }, { 3 * PAGE, 2 * PAGE, PAGE } } },
		{ "beside it", 0, 2,
		  { { 0, 4 * PAGE, PAGE }, { 4 * PAGE, 2 * PAGE, PAGE } } },
		{ "not the neighbour's", -EINVAL, 3,
		  { { 0, 4 * PAGE, PAGE }, { 4 * PAGE, 2 * PAGE, PAGE },
		    { 5 * PAGE, PAGE, PAGE } } },
	};

	try_all(_metadata, self, attempts, ARRAY_SIZE(attempts));
}

/*
 * An empty segment takes no memory, but must not be inside another segment. For
 * a crash kernel this is not tried. v5.10 protects the memory of a crash kernel
 * by apply_to_page_range(), which warns of an empty segment.
 */
TEST_F(kexec_load, empty_segment)
{
	const struct attempt good[] = {
		{ "alone", 0, 1, { { 0, 0, 0 } } },
		{ "before another", 0, 2, { { 0, 0, 0 }, { PAGE, PAGE, PAGE } } },
		{ "at its start", 0, 2, { { PAGE, 0, 0 }, { PAGE, PAGE, PAGE } } },
		{ "at its end", 0, 2, { { 2 * PAGE, 0, 0 }, { PAGE, PAGE, PAGE } } },
	};
	const struct attempt bad[] = {
		{ "inside another", -EINVAL, 2,
		  { { 2 * PAGE, 0, 0 }, { PAGE, 2 * PAGE, PAGE } } },
		{ "with a buffer", -EINVAL, 2,
		  { { 0, 0, 1 }, { PAGE, 2 * PAGE, PAGE } } },
		{ "misaligned", -EADDRNOTAVAIL, 2,
		  { { 1, 0, 0 }, { PAGE, 2 * PAGE, PAGE } } },
	};

	if (!self->crash)
		try_all(_metadata, self, good, ARRAY_SIZE(good));
	try_all(_metadata, self, bad, ARRAY_SIZE(bad));
}

/* One segment may have at most half of memory, and so may all together. */
TEST_F(kexec_load, too_large)
{
	const unsigned long half = total_pages() / 2;
	const unsigned long quarter = (half / 2 + 1) * PAGE;
	const struct attempt attempts[] = {
		{ "one", -EINVAL, 1, { { 0, (half + 1) * PAGE, PAGE } } },
		{ "two", -EINVAL, 2,
		  { { 0, quarter, PAGE }, { quarter, quarter, PAGE } } },
	};

	try_all(_metadata, self, attempts, ARRAY_SIZE(attempts));
}

/* Addresses outside the copy of the linear map, or the crash kernel's memory */
TEST_F_TIMEOUT(kexec_load, unreachable, MANY_LOADS)
{
	static const unsigned long high[] = {
		1UL << 47, 1UL << 48, 1UL << 51, 1UL << 52, 1UL << 63,
		-(4UL << 30),
	};
	struct segment s[2] = { self->good, self->good };
	int i;

	s[1].mem += PAGE;
	for (i = 0; i < (int)ARRAY_SIZE(high); i++) {
		s[0].mem = high[i];
		REFUSED(-EADDRNOTAVAIL, 2, s);
	}

	/* Devices, and memory that is not mapped */
	for (i = 0; i < nr_other; i++) {
		s[0].mem = other[i].start & -PAGE;
		if (in_ram(s[0].mem, s[0].mem + PAGE) ||
		    may_be_ram(s[0].mem, s[0].mem + PAGE))
			continue;
		REFUSED(-EADDRNOTAVAIL, 2, s);
	}

	/* Holes before and after each range. The ranges may adjoin. */
	for (i = 0; i < nr_ram; i++) {
		if (may_be_ram(ram[i].start - PAGE, ram[i].end + PAGE))
			continue;
		s[0].mem = ram[i].start - PAGE;
		if (ram[i].start && !in_ram(s[0].mem, ram[i].start))
			REFUSED(-EADDRNOTAVAIL, 2, s);
		s[0].mem = ram[i].end;
		if (!in_ram(s[0].mem, s[0].mem + PAGE))
			REFUSED(-EADDRNOTAVAIL, 2, s);

		/* The last page is checked as the first is */
		s[0].memsz = 2 * PAGE;
		s[0].mem = ram[i].end - PAGE;
		if (!in_ram(s[0].mem, ram[i].end + PAGE))
			REFUSED(-EADDRNOTAVAIL, 2, s);
		s[0].memsz = PAGE;
	}

	if (!self->crash)
		return;
	s[0].mem = crashk.start - PAGE;
	REFUSED(-EADDRNOTAVAIL, 2, s);
	s[0].memsz = 2 * PAGE;
	REFUSED(-EADDRNOTAVAIL, 2, s);
	s[0].mem = crashk.end - PAGE;
	REFUSED(-EADDRNOTAVAIL, 2, s);
	s[0].memsz = PAGE;
	TAKEN(2, s);
	s[0].mem = crashk.end;
	REFUSED(-EADDRNOTAVAIL, 2, s);
}

/* The kernel is read-only in the linear map, but not in its copy. */
TEST_F(kexec_load, over_the_kernel)
{
	unsigned long where[] = { text.start & -PAGE, (text.end - 1) & -PAGE };
	struct segment s = self->good;
	int i;

	for (i = 0; i < 2; i++) {
		s.mem = where[i];
		if (self->crash)
			REFUSED(-EADDRNOTAVAIL, 1, &s);
		else
			TAKEN(1, &s);
	}
}

/* No normal image may be loaded over the segments of a loaded crash kernel. */
TEST_F(kexec_load, over_the_crash_kernel)
{
	struct segment s = self->good, crash = self->good;

	if (!crashk.end)
		SKIP(return, "no memory is set aside for a crash kernel");
	crash.mem = crashk.start + PAGE;
	EXPECT_EQ(0, load(crashk.start, 1, &crash, KEXEC_ARCH_AARCH64 | CRASH));
	s.mem = crashk.start + PAGE;
	if (self->crash) {
		TAKEN(1, &s);		/* replaces it, so not over it */
		return;
	}
	REFUSED(-EADDRNOTAVAIL, 1, &s);
	s.mem = crashk.start;
	TAKEN(1, &s);
	EXPECT_EQ(1, loaded(true));
	EXPECT_EQ(0, unload(true));
	s.mem = crashk.start + PAGE;
	TAKEN(1, &s);
}

/*
 * A crash kernel needs two control pages, from the part of its memory that its
 * segments leave free. A normal image gets its control pages from all memory.
 */
TEST_F(kexec_load, room_for_control_pages)
{
	unsigned long size = crashk.end - crashk.start;
	struct segment s = self->good;

	if (!self->crash) {
		s.memsz = AREA * PAGE;
		TAKEN(1, &s);
		return;
	}
	if (size / PAGE > total_pages() / 2)
		SKIP(return, "the crash kernel's memory is more than half of all");
	s.mem = crashk.start;
	s.memsz = size;
	REFUSED(-ENOMEM, 1, &s);
	s.memsz = size - PAGE;
	REFUSED(-ENOMEM, 1, &s);
	s.memsz = size - 2 * PAGE;
	TAKEN(1, &s);
}

TEST_F(kexec_load, not_permitted)
{
	pid_t pid = fork();
	int status;

	ASSERT_GE(pid, 0);
	if (!pid) {
		if (setresuid(65534, 65534, 65534))
			_exit(1);
		if (load(self->mem, 1, &self->good, self->flags) != -EPERM)
			_exit(2);
		if (unload(self->crash) != -EPERM)
			_exit(3);
		if (load(self->mem, MAX_SEGMENTS + 1, NULL, -1UL) != -EPERM)
			_exit(4);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, loaded(self->crash));
}

/* Only one load runs at a time. Another gets EBUSY and no other error. */
TEST_F_TIMEOUT(kexec_load, two_at_once, MANY_LOADS)
{
	pid_t pid = fork();
	int i, error, status;

	ASSERT_GE(pid, 0);
	for (i = 0; i < 300; i++) {
		error = load(self->mem, 1, &self->good, self->flags);
		if (error && error != -EBUSY)
			break;
		if (i % 8 == 7)
			sched_yield();
	}
	if (!pid)
		_exit(error && error != -EBUSY);
	EXPECT_EQ(300, i);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, loaded(self->crash));
}

#include "kexec_last_test.h"

TEST_HARNESS_MAIN
