// SPDX-License-Identifier: GPL-2.0-only
/*
 * kload - what kexec-tools never asks of kexec_load(2)
 *
 *	kload ADDR [PAGES]	load a segment of zeroes at a physical address;
 *				print the errno's name, or "loaded"
 */
#define _GNU_SOURCE
#include <errno.h>
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

int main(int argc, char **argv)
{
	struct segment segment = { .buf = "", .bufsz = 1 };
	unsigned long pages = 1;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: kload ADDR [PAGES]\n");
		return 2;
	}
	segment.mem = strtoul(argv[1], NULL, 0);
	if (argc == 3)
		pages = strtoul(argv[2], NULL, 0);
	segment.memsz = pages * getpagesize();

	if (syscall(SYS_kexec_load, segment.mem, 1UL, &segment, KEXEC_ARCH_AARCH64)) {
		printf("%s\n", strerrorname_np(errno));
		return 1;
	}
	printf("loaded\n");
	return 0;
}
