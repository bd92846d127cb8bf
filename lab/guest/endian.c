// SPDX-License-Identifier: GPL-2.0-only
/*
 * endian - all of user space on a big-endian kernel
 *
 * Debian has no big-endian programs for arm64, and no C library to make them with.
 * So this is the only process: it looks whether its data have arrived, loads the
 * same kernel again, or the second time the little-endian one, and hands over.
 * A failure ends it, and the kernel with it.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/reboot.h>

#define SYS5(nr, a, b, c, d, e)	call(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define SYS3(nr, a, b, c)	SYS5(nr, a, b, c, 0, 0)

#define AGAIN	" again"
#define CMDLINE	2048

static long call(long nr, long a, long b, long c, long d, long e)
{
	register long x8 asm("x8") = nr;
	register long x0 asm("x0") = a;
	register long x1 asm("x1") = b;
	register long x2 asm("x2") = c;
	register long x3 asm("x3") = d;
	register long x4 asm("x4") = e;

	asm volatile("svc #0" : "+r" (x0)
		     : "r" (x8), "r" (x1), "r" (x2), "r" (x3), "r" (x4) : "memory");
	return x0;
}

static unsigned long length(const char *text)
{
	unsigned long n = 0;

	while (text[n])
		n++;
	return n;
}

static void say(const char *text)
{
	SYS3(__NR_write, 1, text, length(text));
}

/* The result of a system call; what is said if it is an error is the last word */
static long need(long result, const char *what)
{
	if (result >= 0)
		return result;
	say("endian: cannot ");
	say(what);
	say("\n");
	SYS3(__NR_exit, 1, 0, 0);
	return result;
}

static long file(const char *path)
{
	return need(SYS3(__NR_openat, AT_FDCWD, path, O_RDONLY), path);
}

/* Reads until the buffer is full or the file at its end */
static long fill(long fd, char *buffer, long size)
{
	long done = 0, n;

	do {
		n = need(SYS3(__NR_read, fd, buffer + done, size - done), "read");
		done += n;
	} while (n && done < size);
	return done;
}

static void compare(long one, long other)
{
	char a[4096], b[4096];
	long n, i;

	do {
		n = fill(one, a, sizeof(a));
		need(fill(other, b, sizeof(b)) == n ? 0 : -1, "find data of that length");
		for (i = 0; i < n; i++)
			need(a[i] == b[i] ? 0 : -1, "find the same data");
	} while (n);
}

/* Appends a word to the command line unless it is there: whether it was */
static int mark(char *cmdline, long n)
{
	const char *word = AGAIN;
	const long size = sizeof(AGAIN) - 1;
	long i, at;

	for (at = 0; at + size <= n; at++) {
		for (i = 0; i < size && cmdline[at + i] == word[i]; i++)
			;
		if (i == size) {
			cmdline[n] = '\0';
			return 1;
		}
	}
	for (i = 0; i <= size; i++)
		cmdline[n + i] = word[i];
	return 0;
}

void _start(void)
{
	char cmdline[CMDLINE];
	long kernel, initrd, n;

	SYS5(__NR_mount, "dev", "/dev", "devtmpfs", 0, 0);
	need(SYS5(__NR_mount, "proc", "/proc", "proc", 0, 0), "mount /proc");
	need(SYS5(__NR_mount, "/dev/vda", "/mnt", "ext2", 1, 0), "mount the disk");
	compare(file("/data"), file("/mnt/payload.cpio"));
	n = fill(file("/proc/cmdline"), cmdline, CMDLINE - sizeof(AGAIN));
	if (n && cmdline[n - 1] == '\n')
		n--;
	if (mark(cmdline, n)) {
		kernel = file("/mnt/Image");
		initrd = file("/mnt/payload.cpio");
	} else {
		kernel = file("/mnt/endian");
		initrd = file("/mnt/endian.cpio");
	}
	need(SYS5(__NR_kexec_file_load, kernel, initrd, length(cmdline) + 1, cmdline, 0), "load");
	need(SYS3(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		  LINUX_REBOOT_CMD_KEXEC), "hand over");
}
