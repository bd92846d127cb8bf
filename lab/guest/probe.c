// SPDX-License-Identifier: GPL-2.0-only
/*
 * probe - what run.sh (board.sh) cannot do in shell
 *
 *	probe facts		print what user space may read of the CPU
 *	probe memory		print the sizes of memory, without an address
 *	probe count [SECONDS]	print CNTVCT, or what it will be in so many seconds
 *	probe time COMMAND...	run a command, print the microseconds that it took
 *	probe enter COUNT	enter the loaded kernel when CNTVCT is COUNT; status 3:
 *				that is over already
 *	probe arrived COUNT	in the next kernel: print the microseconds from COUNT
 *				to the start of its clock, and to now
 *	probe filter SECRETS	copy the input to the output, without the words that are
 *				in the file SECRETS, a line each
 *
 * CNTVCT counts on through a hand-over. The next kernel has to know what it was at the
 * jump. So the time of the jump is appointed before that kernel is loaded, and is in the
 * command line that it is loaded with.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARK		"trans_pgd: the next kernel's init"
#define REMOVED		"[removed]"
#define SHORT		4	/* letters; a shorter secret is removed as a whole word only */

static uint64_t count(void)
{
	uint64_t value;

	/* isb: or the CPU may read it ahead of time */
	asm volatile("isb; mrs %0, cntvct_el0" : "=r" (value) :: "memory");
	return value;
}

static uint64_t frequency(void)
{
	uint64_t value;

	asm("mrs %0, cntfrq_el0" : "=r" (value));
	return value;
}

static double microseconds(int64_t counts)
{
	return counts * 1e6 / frequency();
}

static int fail(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	return 1;
}

static int show_facts(void)
{
	uint64_t ctr;

	asm("mrs %0, ctr_el0" : "=r" (ctr));
	printf("page size: %ld\n", sysconf(_SC_PAGESIZE));
	printf("CTR_EL0: %#lx\n", (unsigned long)ctr);
	printf("cache lines: data %d, instructions %d, write-back granule %d bytes\n",
	       4 << (ctr >> 16 & 15), 4 << (ctr & 15), 4 << (ctr >> 24 & 15));
	printf("caches: IDC %d, DIC %d, policy of L1I %d\n", (int)(ctr >> 28 & 1),
	       (int)(ctr >> 29 & 1), (int)(ctr >> 14 & 3));
	printf("counter: %lu Hz\n", (unsigned long)frequency());
	return 0;
}

/* The sizes tell what a hand-over has to do with; addresses need not leave the machine. */
static int show_memory(void)
{
	FILE *file = fopen("/proc/iomem", "r");
	uint64_t start, end, last = 0;
	char line[256], name[128];

	if (!file)
		return fail("/proc/iomem");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx : %127[^\n]", &start, &end, name) != 3)
			continue;
		if (strcmp(name, "System RAM") && strcmp(name, "Crash kernel"))
			continue;
		if (line[0] != ' ' && last && start > last)
			printf("memory: %lu KiB of something else\n", (start - last) >> 10);
		printf("memory: %lu KiB %s\n", (end - start + 1) >> 10, name);
		if (line[0] != ' ')
			last = end + 1;
	}
	fclose(file);
	return 0;
}

static int timed(char **command)
{
	uint64_t before = count();
	pid_t child;
	int status;

	errno = posix_spawnp(&child, command[0], NULL, NULL, command, environ);
	if (errno || waitpid(child, &status, 0) != child)
		return fail(command[0]);
	printf("%.0f\n", microseconds(count() - before));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int enter(uint64_t at)
{
	int64_t left = at - count();

	if (left <= 0)
		return 3;
	/* Another process may have the CPU until shortly before the time. */
	left = microseconds(left) - 20000;
	if (left > 0)
		usleep(left);
	if (count() >= at)
		return 3;
	while (count() < at)
		;
	reboot(LINUX_REBOOT_CMD_KEXEC);
	return fail("reboot");
}

/*
 * The kernel's clock begins early in its boot, before any driver does. A line in the log
 * has the time by this clock: CNTVCT, read before and after it, tells when it was zero.
 */
static int show_arrival(uint64_t at)
{
	uint64_t before, after, time;
	char line[1024];
	int fd = open("/dev/kmsg", O_RDWR | O_NONBLOCK);
	static const char mark[] = MARK "\n";

	if (fd < 0 || lseek(fd, 0, SEEK_END) < 0)
		return fail("/dev/kmsg");
	before = count();
	if (write(fd, mark, strlen(mark)) < 0)
		return fail("/dev/kmsg");
	after = count();
	for (;;) {
		ssize_t len = read(fd, line, sizeof(line) - 1);

		if (len < 0 && errno != EPIPE)
			return fail("/dev/kmsg");
		line[len < 0 ? 0 : len] = 0;
		if (strstr(line, MARK))
			break;
	}
	if (sscanf(line, "%*u,%*u,%lu", &time) != 1)
		return fail("no time in the kernel's log");
	printf("%.0f %.0f\n", microseconds(before - at) + microseconds(after - before) / 2 - time,
	       microseconds(before - at));
	return 0;
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* How many letters of a secret begin right at text[at], or 0 */
static size_t secret_at(const char *text, size_t at, char **secrets, int nr)
{
	size_t len, most = 0;
	int i;

	for (i = 0; i < nr; i++) {
		len = strlen(secrets[i]);
		if (len <= most || strncasecmp(text + at, secrets[i], len))
			continue;
		if (len < SHORT && ((at && is_word(text[at - 1])) || is_word(text[at + len])))
			continue;
		most = len;
	}
	return most;
}

static int filter(const char *path)
{
	FILE *file = fopen(path, "r");
	char *line = NULL, *secrets[1024];
	size_t size = 0, at, len;
	int nr = 0;

	if (!file)
		return fail(path);
	while (nr < 1024 && getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = 0;
		if (line[0])
			secrets[nr++] = strdup(line);
	}
	fclose(file);
	while (getline(&line, &size, stdin) > 0) {
		for (at = 0; line[at]; at += len ? len : 1) {
			len = secret_at(line, at, secrets, nr);
			if (len)
				fputs(REMOVED, stdout);
			else
				putchar(line[at]);
		}
	}
	return fflush(stdout) ? fail("output") : 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (argc == 2 && !strcmp(what, "facts"))
		return show_facts();
	if (argc == 2 && !strcmp(what, "memory"))
		return show_memory();
	if (argc <= 3 && !strcmp(what, "count")) {
		printf("%lu\n", count() + (argc == 3 ? atol(argv[2]) : 0) * frequency());
		return 0;
	}
	if (argc > 2 && !strcmp(what, "time"))
		return timed(argv + 2);
	if (argc == 3 && !strcmp(what, "enter"))
		return enter(strtoull(argv[2], NULL, 10));
	if (argc == 3 && !strcmp(what, "arrived"))
		return show_arrival(strtoull(argv[2], NULL, 10));
	if (argc == 3 && !strcmp(what, "filter"))
		return filter(argv[2]);
	fprintf(stderr, "usage: see the top of probe.c\n");
	return 2;
}
