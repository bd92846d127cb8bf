// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hand the machine over to another kernel and check what arrives there.
 *
 *	kexec_handover IMAGE INITRD COMMAND-LINE [MIB]
 *
 * This loads the kernel and REBOOTS INTO IT AT ONCE, without a shutdown. The
 * only thing that it does for file systems is sync.
 *
 * The program appends itself and MIB (64) MiB of random numbers to the initrd.
 * A parameter on the command line makes the next kernel run the program first.
 * It compares the command line and the numbers, and reports on the console and
 * in the kernel's log. Then it goes on with the initrd's own /init.
 *
 * The initrd has to contain the libraries of this program, unless the program
 * is static (make USERLDFLAGS=-static).
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <linux/reboot.h>

#include "../../kselftest.h"
#include "kexec_common.h"

#define NAME	"kexec_handover"
#define SELF	"/" NAME
#define NUMBERS	SELF ".numbers"
#define LOG	SELF ".log"
#define TOKEN	"trans_pgd.handover="
#define CHUNK	0x100000

static uint64_t numbers[CHUNK / 8];

/* The next MiB of the random numbers */
static void next_chunk(uint64_t *state)
{
	int i;

	for (i = 0; i < CHUNK / 8; i++)
		numbers[i] = next_random(state);
}

static void out(int fd, const void *data, size_t size)
{
	ssize_t done;

	for (; size; data += done, size -= done) {
		done = write(fd, data, size);
		if (done <= 0)
			ksft_exit_fail_msg("no memory for the initrd: %s\n",
					   strerror(errno));
	}
}

/* Write zeroes up to a multiple of @to, as cpio has after names and data. */
static void pad(int fd, unsigned int to)
{
	static const char zeroes[512];
	off_t at = lseek(fd, 0, SEEK_CUR);

	out(fd, zeroes, (to - at % to) % to);
}

/* Write the header of a file in a cpio archive, as an initramfs has it. */
static void cpio_header(int fd, const char *name, unsigned int mode,
			unsigned int size)
{
	static unsigned int inode = 0x7a000000;
	char header[128];

	snprintf(header, sizeof(header),
		 "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		 inode++, mode, 0, 0, 1, 0, size, 0, 0, 0, 0,
		 (unsigned int)strlen(name) + 1, 0);
	out(fd, header, strlen(header));
	out(fd, name, strlen(name) + 1);
	pad(fd, 4);
}

static void copy(int fd, const char *path)
{
	int from = open(path, O_RDONLY);
	static char buf[CHUNK];
	ssize_t len;

	if (from < 0)
		ksft_exit_fail_msg("%s: %s\n", path, strerror(errno));
	while ((len = read(from, buf, sizeof(buf))) > 0)
		out(fd, buf, len);
	close(from);
	pad(fd, 4);
}

static int make_initrd(const char *initrd, uint64_t seed, int mib)
{
	int fd = syscall(__NR_memfd_create, "initrd", 0U);
	char path[64];
	struct stat st;
	int fd_ro;

	if (fd < 0 || stat("/proc/self/exe", &st))
		ksft_exit_fail_msg("memfd_create, /proc: %s\n", strerror(errno));
	copy(fd, initrd);
	pad(fd, 512);
	cpio_header(fd, NAME, S_IFREG | 0755, st.st_size);
	copy(fd, "/proc/self/exe");
	cpio_header(fd, NUMBERS + 1, S_IFREG | 0644, mib * CHUNK);
	while (mib--) {
		next_chunk(&seed);
		out(fd, numbers, CHUNK);
	}
	cpio_header(fd, "TRAILER!!!", 0, 0);
	pad(fd, 512);

	/* The kernel refuses a file that is open for writing */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd_ro = open(path, O_RDONLY);
	close(fd);
	return fd_ro;
}

static int hand_over(const char *image, const char *initrd, const char *given,
		     int mib)
{
	uint64_t seed = time(NULL) ^ (uint64_t)getpid() << 32;
	int error, fd = open(image, O_RDONLY);
	char cmdline[4096];

	if (no_test)
		ksft_exit_skip("%s\n", no_test);
	if (fd < 0)
		ksft_exit_fail_msg("%s: %s\n", image, strerror(errno));
	if (mib < 1 || mib > 1024)
		ksft_exit_fail_msg("%d is no number of MiB from 1 to 1024\n", mib);
	error = snprintf(cmdline, sizeof(cmdline), "%s rdinit=%s %s%lx:%d",
			 given, SELF, TOKEN, (unsigned long)seed, mib);
	if (error >= 2048)
		ksft_exit_fail_msg("the command line is too long\n");
	error = file_load(fd, make_initrd(initrd, seed, mib),
			  strlen(cmdline) + 1, cmdline, 0);
	if (error)
		ksft_exit_fail_msg("kexec_file_load: %s\n", strerror(-error));

	ksft_print_msg("handing over; %s reports there\n", NAME);
	fflush(stdout);
	sync();
	reboot(LINUX_REBOOT_CMD_KEXEC);
	ksft_exit_fail_msg("reboot: %s\n", strerror(errno));
	return KSFT_FAIL;
}

/* Return the offset of the first difference, in bytes, or -1. */
static long compare(uint64_t seed, int mib)
{
	static uint64_t found[CHUNK / 8];
	int fd = open(NUMBERS, O_RDONLY);
	ssize_t len, size;
	int chunk;

	for (chunk = 0; fd >= 0 && chunk < mib; chunk++) {
		for (size = 0; size < CHUNK; size += len) {
			len = read(fd, (char *)found + size, CHUNK - size);
			if (len <= 0)
				return (long)chunk * CHUNK + size;
		}
		next_chunk(&seed);
		if (memcmp(found, numbers, CHUNK))
			return (long)chunk * CHUNK;
	}
	return fd < 0 ? 0 : -1;
}

static bool check(void)
{
	char cmdline[4096] = "", *token;
	unsigned long seed = 0;
	FILE *file;
	long where;
	int mib = 0;

	ksft_print_header();
	ksft_set_plan(2);
	mkdir("/proc", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	file = fopen("/proc/cmdline", "r");
	if (!file || !fgets(cmdline, sizeof(cmdline), file))
		cmdline[0] = 0;
	if (file)
		fclose(file);
	umount("/proc");

	token = strstr(cmdline, TOKEN);
	ksft_test_result(token && sscanf(token + strlen(TOKEN), "%lx:%d",
					 &seed, &mib) == 2,
			 "command_line\n");
	where = compare(seed, mib);
	if (where >= 0)
		ksft_print_msg("%s differs from %#lx on\n", NUMBERS, where);
	ksft_test_result(mib && where < 0, "numbers\n");
	ksft_print_cnts();
	fflush(stdout);
	return !ksft_get_fail_cnt();
}

/* Report on the console and, for a later look, in the kernel's log. */
static void go_on(bool passed)
{
	const char *text = passed ? NAME ": PASSED\n" : NAME ": FAILED\n";
	int fd;

	if (!mknod(LOG, S_IFCHR | 0600, makedev(1, 11))) {
		fd = open(LOG, O_WRONLY);
		if (fd < 0 || write(fd, text, strlen(text)) < 0)
			printf("# the kernel's log: %s\n", strerror(errno));
		close(fd);
		unlink(LOG);
	}
	unlink(NUMBERS);
	execl("/init", "/init", NULL);
	printf("# /init: %s\n", strerror(errno));
	fflush(stdout);
	reboot(LINUX_REBOOT_CMD_RESTART);
}

int main(int argc, char **argv)
{
	if (getpid() == 1)
		go_on(check());
	if (argc != 4 && argc != 5) {
		fprintf(stderr, "usage: %s IMAGE INITRD COMMAND-LINE [MIB]\n"
			"reboots this machine into that kernel, at once\n",
			argv[0]);
		return KSFT_FAIL;
	}
	return hand_over(argv[1], argv[2], argv[3],
			 argc == 5 ? atoi(argv[4]) : 64);
}
