// SPDX-License-Identifier: GPL-2.0-only
/*
 * snapshot - a client of /dev/snapshot that never switches the machine off
 *
 *	snapshot DISK	have the kernel take a snapshot, keep it on a disk with
 *			nothing on it, and have the same kernel restore it;
 *			print RESTORED when the restored kernel runs
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/suspend_ioctls.h>

#define DEVICE	"/dev/snapshot"
#define PAGE	4096

static char page[PAGE];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int device(int flags)
{
	int fd = open(DEVICE, flags);

	if (fd < 0)
		die(DEVICE);
	if (ioctl(fd, SNAPSHOT_FREEZE))
		die("SNAPSHOT_FREEZE");
	return fd;
}

/* All pages of one to the other; how many there were, if count is 0 */
static long copy(int from, int to, long count)
{
	long done;

	for (done = 0; !count || done < count; done++) {
		ssize_t got = read(from, page, PAGE);

		if (!got)
			break;
		if (got != PAGE || write(to, page, PAGE) != PAGE)
			die("copy");
	}
	return done;
}

int main(int argc, char **argv)
{
	int disk = argc > 1 ? open(argv[1], O_RDWR) : -1;
	int taken = 0, fd;
	long pages;

	if (disk < 0)
		die("snapshot DISK");
	/* No page of it is to be read once the machine is frozen */
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		die("mlockall");
	fd = device(O_RDONLY);
	if (ioctl(fd, SNAPSHOT_CREATE_IMAGE, &taken))
		die("SNAPSHOT_CREATE_IMAGE");
	if (!taken) {
		/* The second time: as it was when the snapshot was taken */
		ioctl(fd, SNAPSHOT_UNFREEZE);
		puts("RESTORED");
		return 0;
	}
	pages = copy(fd, disk, 0);
	if (fsync(disk) || lseek(disk, 0, SEEK_SET))
		die("disk");
	ioctl(fd, SNAPSHOT_UNFREEZE);
	close(fd);

	fd = device(O_WRONLY);
	copy(disk, fd, pages);
	ioctl(fd, SNAPSHOT_ATOMIC_RESTORE);
	die("SNAPSHOT_ATOMIC_RESTORE");
	return 1;
}
