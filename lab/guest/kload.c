// SPDX-License-Identifier: GPL-2.0-only
/*
 * kload - what kexec-tools never asks of kexec_load(2)
 *
 *	kload ADDR [PAGES]	load a segment of zeroes at a physical address;
 *				print the errno's name, or "loaded"
 *	kload ADDR PAGES FILE START
 *				load a kernel there, and a page at START that
 *				enters it
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/kexec.h has it, with a different name for each libc's headers */
struct segment {
	const void *buf;
	size_t bufsz;
	unsigned long mem;
	size_t memsz;
};

#define KEXEC_ARCH_AARCH64	(183UL << 16)

/*
 * The page at START. x0 points to what looks like a device tree: its first word
 * is all that the tiny kernel looks at.
 */
static struct {
	unsigned int code[6];
	unsigned int tree;
	unsigned int pad;
	unsigned long kernel;
} page = {
	.code = {
		0x100000c0,	/* adr x0, tree */
		0x580000e4,	/* ldr x4, kernel */
		0xaa1f03e1,	/* mov x1, xzr */
		0xaa1f03e2,	/* mov x2, xzr */
		0xaa1f03e3,	/* mov x3, xzr */
		0xd61f0080,	/* br x4 */
	},
	.tree = 0xedfe0dd0,
};

static char file[1 << 20];

static long read_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	long size = read(fd, file, sizeof(file));

	if (size <= 0 || size == sizeof(file)) {
		fprintf(stderr, "kload: cannot read %s\n", path);
		exit(2);
	}
	return size;
}

int main(int argc, char **argv)
{
	struct segment segment[2] = { { .buf = "", .bufsz = 1 } };
	unsigned long pages = 1, nr = 1, entry;

	if (argc < 2 || argc == 4 || argc > 5) {
		fprintf(stderr, "usage: kload ADDR [PAGES [FILE START]]\n");
		return 2;
	}
	entry = strtoul(argv[1], NULL, 0);
	segment[0].mem = entry;
	if (argc > 2)
		pages = strtoul(argv[2], NULL, 0);
	segment[0].memsz = pages * getpagesize();

	if (argc > 3) {
		page.kernel = entry;
		segment[0].buf = file;
		segment[0].bufsz = read_file(argv[3]);
		segment[1].buf = &page;
		segment[1].bufsz = sizeof(page);
		entry = strtoul(argv[4], NULL, 0);
		segment[1].mem = entry;
		segment[1].memsz = getpagesize();
		nr = 2;
	}

	if (syscall(SYS_kexec_load, entry, nr, segment, KEXEC_ARCH_AARCH64)) {
		printf("%s\n", strerrorname_np(errno));
		return 1;
	}
	printf("loaded\n");
	return 0;
}
