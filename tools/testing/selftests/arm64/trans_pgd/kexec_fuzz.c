// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random images for kexec_load(), each with a predicted result.
 *
 * The prediction uses /proc/iomem and the order in which the kernel checks an
 * image. When an image is loaded, the kernel checks what its page tables reach.
 * So an image that lies in memory has to load. If only one page of it does not
 * lie in memory, it must not load. The test finds tables that reach too little
 * as well as tables that reach too much.
 *
 *	KEXEC_FUZZ_SEED		repeats a run; the seed is printed
 *	KEXEC_FUZZ_ROUNDS	number of images, 10000 by default
 */
#include "../../kselftest_harness.h"
#include "kexec_common.h"

#include <time.h>

static uint64_t state;

static uint64_t any(void)
{
	return next_random(&state);
}

static uint64_t below(uint64_t limit)
{
	return any() % limit;
}

static uint64_t from_env(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

struct fuzz {
	unsigned long half;	/* of memory, in pages */
	struct segment kept[MAX_SEGMENTS];	/* of the loaded crash kernel */
	int nr_kept;
	char *buf;		/* 8 pages, then one that is not mapped */
	int seen[2][200];	/* how often each result was seen */
};

FIXTURE(kexec_fuzz) {
	struct fuzz fuzz;
};

FIXTURE_SETUP(kexec_fuzz)
{
	char *buf;

	SKIP_UNLESS(!no_test, no_test);
	self->fuzz.half = total_pages() / 2;
	buf = mmap(NULL, 9 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, buf);
	memset(buf, 0xa5, 8 * PAGE);
	ASSERT_EQ(0, munmap(buf + 8 * PAGE, PAGE));
	self->fuzz.buf = buf;
}

FIXTURE_TEARDOWN(kexec_fuzz)
{
	EXPECT_EQ(0, unload(false));
	EXPECT_EQ(0, unload(true));
}

/* An address that is memory in most cases */
static unsigned long good_place(bool crash)
{
	struct range r = crash ? crashk : ram[below(nr_ram)];

	return r.start + below((r.end - r.start) / PAGE) * PAGE;
}

/* An address at which a check may be wrong */
static unsigned long any_place(bool crash)
{
	struct range r = ram[below(nr_ram)];

	switch (below(9)) {
	case 0:		/* around the start of memory */
		return r.start - 4 * PAGE + below(8) * PAGE;
	case 1:		/* around its end */
		return r.end - 4 * PAGE + below(8) * PAGE;
	case 2:		/* a device or another region */
		if (!nr_other)
			return 0;
		r = other[below(nr_other)];
		return (r.start & -PAGE) + below(4) * PAGE;
	case 3:		/* a bit of the address is wrong */
		return good_place(crash) ^ 1UL << (12 + below(52));
	case 4:
		return any() & -PAGE;
	case 5:
		return any() >> below(64);
	case 6:		/* not aligned */
		return good_place(crash) + below(PAGE);
	case 7:		/* around the crash kernel's memory */
		return (below(2) ? crashk.start : crashk.end) - 4 * PAGE +
			below(8) * PAGE;
	default:	/* the last pages */
		return -PAGE * (1 + below(4));
	}
}

static void fill(struct fuzz *self, struct segment *s, bool crash,
		 bool tame)
{
	s->memsz = below(8) * PAGE;
	s->mem = good_place(crash);
	if (!tame && !below(6))
		s->mem = any_place(crash);
	s->bufsz = below(s->memsz + 1);
	s->buf = self->buf + below(8 * PAGE - s->bufsz + 1);
	if (tame)
		return;
	switch (below(40)) {
	case 0:
		s->memsz += below(PAGE);
		break;
	case 1:
		s->memsz = any() >> below(64);
		break;
	case 2:
		s->memsz = (self->half + 1 + below(4)) * PAGE;
		break;
	case 3:
		s->bufsz = s->memsz + below(2);
		break;
	case 4:
		s->bufsz = any() >> below(64);
		break;
	case 5:		/* up to the edge, or over it */
		s->buf = self->buf + 8 * PAGE - s->bufsz + below(2);
		break;
	case 6:
		s->buf = (void *)any();
		break;
	}
}

static bool readable(struct fuzz *self, const struct segment *s)
{
	const char *buf = s->buf;

	return !s->bufsz || (buf >= self->buf && buf <= self->buf + 8 * PAGE &&
			     s->bufsz <= (size_t)(self->buf + 8 * PAGE - buf));
}

/* A random buffer may or may not be mapped. Make it one that is not. */
static void settle(struct fuzz *self, struct segment *s)
{
	if (!readable(self, s) && s->buf != self->buf + 8 * PAGE - s->bufsz + 1)
		s->buf = (void *)((unsigned long)s->buf | 1UL << 63);
}

/* Whether all of it is in memory, and none in the loaded crash kernel */
static bool reachable(struct fuzz *self, const struct segment *s)
{
	const struct segment *kept;

	for (kept = self->kept; kept < self->kept + self->nr_kept; kept++)
		if (s->mem < kept->mem + kept->memsz &&
		    kept->mem < s->mem + s->memsz)
			return false;
	return in_ram(s->mem, s->mem + s->memsz);
}

/* Predict the result, with the checks of the kernel in their order. */
static int predict(struct fuzz *self, unsigned long entry,
		   int nr, const struct segment *s, unsigned long flags)
{
	bool crash = flags & CRASH;
	unsigned long total = 0;
	int i, j;

	if (flags & 0xfffe || (flags >> 16 && flags >> 16 != 183))
		return -EINVAL;
	if (nr > MAX_SEGMENTS)
		return -EINVAL;
	if (!nr)
		return 0;
	if (crash && (entry < crashk.start || entry >= crashk.end))
		return -EADDRNOTAVAIL;
	for (i = 0; i < nr; i++)
		if (s[i].mem > s[i].mem + s[i].memsz || s[i].mem % PAGE ||
		    s[i].memsz % PAGE)
			return -EADDRNOTAVAIL;
	for (i = 0; i < nr; i++)
		for (j = 0; j < i; j++)
			if (s[i].mem + s[i].memsz > s[j].mem &&
			    s[i].mem < s[j].mem + s[j].memsz)
				return -EINVAL;
	for (i = 0; i < nr; i++)
		if (s[i].bufsz > s[i].memsz)
			return -EINVAL;
	for (i = 0; i < nr; i++) {
		if (s[i].memsz / PAGE > self->half)
			return -EINVAL;
		total += s[i].memsz / PAGE;
	}
	if (total > self->half)
		return -EINVAL;
	for (i = 0; crash && i < nr; i++)
		if (s[i].mem < crashk.start ||
		    s[i].mem + s[i].memsz - 1 > crashk.end - 1)
			return -EADDRNOTAVAIL;
	/* Now the kernel has allocated pages, and fills the image. */
	for (i = 0; i < nr; i++)
		if (!readable(self, &s[i]))
			return -EFAULT;
	/* Now the kernel makes the tables. A crash kernel has none. */
	for (i = 0; !crash && i < nr; i++)
		if (s[i].memsz && !reachable(self, &s[i]))
			return -EADDRNOTAVAIL;
	return 0;
}

static void tell(unsigned long round, int want, int got, unsigned long entry,
		 int nr, const struct segment *s, unsigned long flags)
{
	int i;

	printf("# image %lu: result %d instead of %d, entry %#lx, flags %#lx, %d segments:\n",
	       round, got, want, entry, flags, nr);
	for (i = 0; i < nr; i++)
		printf("#   %#lx size %#zx, %#zx bytes at %p\n", s[i].mem,
		       s[i].memsz, s[i].bufsz, s[i].buf);
}

/* Load one image. Return whether the result is the predicted one. */
static bool play(struct fuzz *self, unsigned long round)
{
	bool crash = crashk.end && !below(5), tame = below(2);
	int i, want, got, was, is, nr = 1 + below(4);
	struct segment s[MAX_SEGMENTS + 1] = { };
	unsigned long entry, flags;

	flags = crash ? CRASH : 0;
	flags |= below(2) ? KEXEC_ARCH_AARCH64 : 0;
	if (!tame && !below(8))
		nr = below(MAX_SEGMENTS + 2);
	for (i = 0; i < nr; i++) {
		fill(self, &s[i], crash, tame);
		settle(self, &s[i]);
		if (may_be_ram(s[i].mem, s[i].mem + s[i].memsz))
			return true;
	}
	entry = crash ? good_place(true) : any();
	if (!tame && !below(16))
		entry = any_place(crash);
	if (!tame && !below(32))
		flags ^= 1UL << below(32);
	crash = flags & CRASH;
	if ((crash && !crashk.end) || flags & LATER_FLAGS)
		return true;

	/* v5.10 warns of an empty segment of a crash kernel */
	for (i = 0; crash && i < nr; i++)
		s[i].memsz = s[i].memsz ?: PAGE;

	want = predict(self, entry, nr, s, flags);
	was = loaded(crash);
	got = load(entry, nr, s, flags);
	is = loaded(crash);
	self->seen[crash][-got < 200 ? -got : 0]++;

	if (got != want) {
		tell(round, want, got, entry, nr, s, flags);
		return false;
	}
	/* Flags and number of segments are checked first, see kexec_load.c */
	if (got && crash)
		was = was && (flags & 0xfffe || nr > MAX_SEGMENTS ||
			      (flags >> 16 && flags >> 16 != 183));
	else if (!got)
		was = !!nr;
	if (is != was)
		printf("# image %lu: result %d left loaded %d instead of %d\n",
		       round, got, is, was);
	if (crash) {
		self->nr_kept = is ? self->nr_kept : 0;
		if (!got && nr) {
			memcpy(self->kept, s, sizeof(self->kept));
			self->nr_kept = nr;
		}
	}
	return is == was;
}

static void run(struct __test_metadata *_metadata,
		struct fuzz *self)
{
	unsigned long round, rounds = from_env("KEXEC_FUZZ_ROUNDS", 10000);
	time_t end = time(NULL) + MANY_LOADS;
	int i, wrong = 0;

	state = from_env("KEXEC_FUZZ_SEED", time(NULL) ^ (uint64_t)getpid() << 32);
	printf("# KEXEC_FUZZ_SEED=%#lx KEXEC_FUZZ_ROUNDS=%lu\n",
	       (unsigned long)state, rounds);
	fflush(stdout);
	for (round = 0; round < rounds && wrong < 10; round++) {
		wrong += !play(self, round);
		if (time(NULL) > end) {
			printf("# time is up after image %lu\n", round);
			rounds = round;
		}
	}
	EXPECT_EQ(0, wrong);
	for (i = 0; i < 200; i++)
		if (self->seen[0][i] || self->seen[1][i])
			printf("# errno %d: %d normal, %d crash images\n", i,
			       self->seen[0][i], self->seen[1][i]);
	/* The test is worth something only with enough of both results. */
	EXPECT_GE(self->seen[0][0], (int)rounds / 10);
	EXPECT_GE(self->seen[0][EADDRNOTAVAIL], (int)rounds / 50);
	fflush(stdout);
}

TEST_F_TIMEOUT(kexec_fuzz, images, 2 * MANY_LOADS)
{
	run(_metadata, &self->fuzz);
}

#include "kexec_last_test.h"

TEST_HARNESS_MAIN
