/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Code that the tests of kexec_load() and kexec_file_load() share. Include
 * kselftest_harness.h first.
 */
#ifndef KEXEC_COMMON_H
#define KEXEC_COMMON_H

#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <linux/kexec.h>
#include <sys/syscall.h>

#include "kexec_skip.h"

#ifndef __NR_kexec_file_load
#define __NR_kexec_file_load 294
#endif

#define PAGE		((unsigned long)getpagesize())
#define MAX_RANGES	256
#define MAX_SEGMENTS	16

#define CRASH		KEXEC_ON_CRASH

/*
 * Flags that some releases accept and others refuse:
 * KEXEC_UPDATE_ELFCOREHDR and KEXEC_CRASH_HOTPLUG_SUPPORT,
 * and KEXEC_FILE_DEBUG, KEXEC_FILE_NO_CMA and KEXEC_FILE_FORCE_DTB
 */
#define LATER_FLAGS		0x0cUL
#define LATER_FILE_FLAGS	0x38UL

/* Timeout in s for many loads. With 1 TB, one takes a good part of a second. */
#define MANY_LOADS	600

/* As struct kexec_segment, but the physical address is a number */
struct segment {
	const void *buf;
	size_t bufsz;
	unsigned long mem;
	size_t memsz;
};

/* Addresses from start to end (exclusive) */
struct range {
	unsigned long start;
	unsigned long end;
};

/* The contents of /proc/iomem */
static struct range ram[MAX_RANGES];	/* each "System RAM" */
static struct range other[MAX_RANGES];	/* all others at the top level */
static struct range unsure[MAX_RANGES];	/* those that may be mapped */
static struct range crashk;		/* "Crash kernel", or empty */
static struct range text;		/* "Kernel code" */
static int nr_ram, nr_other, nr_unsure;

/* The reason why nothing can be tested, or NULL */
static const char *no_test;
/* Number of reserved pages before the first test, or -1 if not known */
static long reserved_before;

/* load() and file_load() return 0 or a negative errno */
static inline int load(unsigned long entry, unsigned long nr,
		       const struct segment *segments, unsigned long flags)
{
	if (syscall(__NR_kexec_load, entry, nr, segments, flags))
		return -errno;
	return 0;
}

static inline int file_load(int kernel, int initrd, unsigned long len,
			    const char *cmdline, unsigned long flags)
{
	if (syscall(__NR_kexec_file_load, kernel, initrd, len, cmdline, flags))
		return -errno;
	return 0;
}

/* Whether the kernel has kexec_file_load(). No flags have this value. */
static inline bool have_file_load(void)
{
	return file_load(-1, -1, 0, NULL, -1UL) == -EINVAL;
}

/* Whether a kernel was refused because it is not signed. None here is. */
static inline bool needs_signature(int error)
{
	switch (-error) {
	case EACCES:
	case EBADMSG:
	case EKEYREJECTED:
	case ELIBBAD:
	case ENODATA:
	case ENOKEY:
	case ENOPKG:
		return true;
	default:
		return false;
	}
}

static inline int unload(bool crash)
{
	return load(0, 0, NULL, KEXEC_ARCH_AARCH64 | (crash ? CRASH : 0));
}

/* The next random number of a seed, by splitmix64 */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* Read the number in a file. Returns -1 on failure. */
static long number(const char *path)
{
	FILE *file = fopen(path, "r");
	long value = -1;

	if (file) {
		if (fscanf(file, "%ld", &value) != 1)
			value = -1;
		fclose(file);
	}
	return value;
}

/* 1 if an image is loaded, 0 if not, -1 if the kernel does not tell */
static int loaded(bool crash)
{
	return number(crash ? "/sys/kernel/kexec_crash_loaded" :
			      "/sys/kernel/kexec_loaded");
}

/* Number of pages that the kernel allocates from (totalram) */
static inline unsigned long total_pages(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "r");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemTotal: %lu", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib * 1024 / PAGE;
}

static inline bool begins(const char *name, const char *with)
{
	return !strncmp(name, with, strlen(with));
}

/*
 * Whether a region is of a kind that can be in the linear map, but need not be.
 * Drivers map memory there that is not the kernel's own. fsdax and devdax leave
 * no sign of it. kmem, virtio_mem and others show it as "System RAM (...)".
 * Memory that is plugged into the window of a bus is a "System RAM" below that
 * window.
 */
static inline bool may_be_mapped(const char *name)
{
	return begins(name, "Persistent Memory") ||
	       begins(name, "Soft Reserved") || begins(name, "CXL Window") ||
	       begins(name, "System RAM") || begins(name, "dax");
}

static void read_iomem(void)
{
	FILE *file = fopen("/proc/iomem", "r");
	char line[256], name[128];
	struct range r, top = { 0 };
	bool settled = true;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx : %127[^\n]", &r.start, &r.end,
			   name) != 3)
			continue;
		r.end++;
		if (!strcmp(name, "Crash kernel"))
			crashk = r;
		if (!strcmp(name, "Kernel code"))
			text = r;
		if (line[0] != ' ') {
			top = r;
			settled = !strcmp(name, "System RAM");
			if (settled && nr_ram < MAX_RANGES)
				ram[nr_ram++] = r;
			else if (!settled && nr_other < MAX_RANGES)
				other[nr_other++] = r;
		}
		/* One such region inside makes all of it unsure. */
		if (!settled && may_be_mapped(name) && nr_unsure < MAX_RANGES) {
			unsure[nr_unsure++] = top;
			settled = true;
		}
	}
	if (file)
		fclose(file);
}

/* Whether all of a range is memory. Reserved memory is mapped too. */
static inline bool in_ram(unsigned long start, unsigned long end)
{
	int i;

	for (i = 0; i < nr_ram; i++) {
		if (start < ram[i].start || start >= ram[i].end)
			continue;
		if (end <= ram[i].end)
			return true;
		start = ram[i].end;	/* the next range may adjoin */
	}
	return false;
}

/* Whether some of a range may be mapped like memory. Nothing tells for sure. */
static inline bool may_be_ram(unsigned long start, unsigned long end)
{
	int i;

	for (i = 0; i < nr_unsure; i++)
		if (start < unsure[i].end && unsure[i].start < end)
			return true;
	return false;
}

/* The largest range of memory without a crash kernel in it */
static inline struct range free_ram(void)
{
	struct range best = { 0 }, r;
	int i, part;

	for (i = 0; i < nr_ram; i++) {
		for (part = 0; part < 2; part++) {
			r = ram[i];
			if (crashk.start >= r.start && crashk.end <= r.end) {
				if (part)
					r.start = crashk.end;
				else
					r.end = crashk.start;
			}
			if (r.end - r.start > best.end - best.start)
				best = r;
		}
	}
	return best;
}

/*
 * Count the pages with the flag PG_reserved. Each page of an image has this
 * flag from its allocation until it is freed. So a lost page is counted for
 * ever.
 */
static inline long reserved_pages(void)
{
	uint64_t flags[512];
	int i, fd = open("/proc/kpageflags", O_RDONLY);
	unsigned long pfn;
	long count = 0;
	ssize_t bytes;
	int r;

	if (fd < 0)
		return -1;
	for (r = 0; r < nr_ram; r++) {
		for (pfn = ram[r].start / PAGE; pfn < ram[r].end / PAGE;
		     pfn += bytes / 8) {
			bytes = ram[r].end / PAGE - pfn;
			bytes = (bytes < 512 ? bytes : 512) * 8;
			bytes = pread(fd, flags, bytes, pfn * 8);
			if (bytes < 8)
				break;
			for (i = 0; i < bytes / 8; i++)
				count += flags[i] >> 32 & 1;	/* KPF_RESERVED */
		}
	}
	close(fd);
	return count;
}

/* Make a file in memory and open it read-only, as the kernel demands. */
static inline int memory_file(const void *data, size_t size, size_t pad)
{
	int fd, fd_rw = syscall(__NR_memfd_create, "kexec", 0U);
	char path[64];

	if (fd_rw < 0 || write(fd_rw, data, size) != (ssize_t)size ||
	    ftruncate(fd_rw, size + pad)) {
		close(fd_rw);
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd_rw);
	fd = open(path, O_RDONLY);
	close(fd_rw);
	return fd;
}

/* The header of an Image, see booting.rst in arm64's documentation */
struct image_header {
	uint32_t code[2];
	uint64_t text_offset;
	uint64_t image_size;
	uint64_t flags;
	uint64_t reserved[3];
	char magic[4];
	uint32_t pe;
};

#define IMAGE_SIZE	0x20000UL

/* The smallest header that kexec_file_load() accepts as a kernel */
static inline struct image_header good_header(void)
{
	return (struct image_header) {
		.image_size = IMAGE_SIZE,
		.magic = "ARM\x64",
	};
}

/* Return the reason why the tests cannot run here, or NULL. */
static inline const char *obstacle(void)
{
	if (geteuid())
		return "not root";
	if (loaded(false) < 0)
		return "no CONFIG_KEXEC_CORE";
	if (loaded(false) || loaded(true))
		return "an image is loaded, and would be lost: unload it first";
	if (load(0, 0, NULL, -1UL) == -EPERM)
		return "kexec_load is not permitted (kexec_load_disabled, lockdown)";
	if (load(0, 0, NULL, -1UL) != -EINVAL)
		return "no CONFIG_KEXEC";
	read_iomem();
	return nr_ram ? NULL : "/proc/iomem tells no memory";
}

/* Runs once, before any test */
static void __attribute__((constructor)) prepare(void)
{
	no_test = obstacle();
	if (!no_test)
		reserved_before = reserved_pages();
#ifdef TEST_HARNESS_MAIN
	/* If all tests are skipped, the harness would report a pass. */
	if (no_test) {
		ksft_print_header();
		ksft_exit_skip("%s\n", no_test);
	}
#endif
}

/*
 * Runs when the program ends, but not when the process of a single test ends. A
 * test that ends by an assertion or a timeout leaves its image loaded. That
 * image must not be entered.
 */
static void __attribute__((destructor)) leave_nothing(void)
{
	if (!no_test) {
		unload(false);
		unload(true);
	}
}

#endif /* KEXEC_COMMON_H */
