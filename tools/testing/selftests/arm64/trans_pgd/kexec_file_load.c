// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test kexec_file_load(): what it accepts, what it refuses and with which
 * error, and what is loaded afterwards. kexec_load.c does the same for the
 * other call. A crash kernel is freed before anything but the flags is checked.
 *
 * A kernel in these tests is only the header of one.
 */
#include "../../kselftest_harness.h"
#include "kexec_common.h"

#define CMDLINE		"console=ttyAMA0"
#define LEN		sizeof(CMDLINE)		/* with the zero at its end */

FIXTURE(kexec_file_load) {
	bool crash;
	unsigned long flags;	/* the right flags */
	int kernel;
	int initrd;
	char *edge;		/* end of a page; the next is not mapped */
};

FIXTURE_VARIANT(kexec_file_load) {
	bool crash;
};

FIXTURE_VARIANT_ADD(kexec_file_load, normal) {
	.crash = false,
};

FIXTURE_VARIANT_ADD(kexec_file_load, crash) {
	.crash = true,
};

static int image_file(struct image_header header)
{
	return memory_file(&header, sizeof(header), PAGE);
}

FIXTURE_SETUP(kexec_file_load)
{
	int error;

	SKIP_UNLESS(!no_test, no_test);
	SKIP_UNLESS(have_file_load(), "no CONFIG_KEXEC_FILE");
	SKIP_UNLESS(!variant->crash || crashk.end,
		    "no memory is set aside for a crash kernel (crashkernel=)");

	self->crash = variant->crash;
	self->flags = self->crash ? KEXEC_FILE_ON_CRASH : 0;
	self->kernel = image_file(good_header());
	self->initrd = memory_file("initrd", 6, 3 * PAGE);
	ASSERT_LE(0, self->kernel);
	ASSERT_LE(0, self->initrd);
	self->edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->edge);
	self->edge += PAGE;
	ASSERT_EQ(0, munmap(self->edge, PAGE));

	error = file_load(self->kernel, self->initrd, LEN, CMDLINE,
			  self->flags);
	SKIP_UNLESS(!needs_signature(error), "only signed kernels are loaded");
	ASSERT_EQ(0, error);
	ASSERT_EQ(1, loaded(self->crash));
}

FIXTURE_TEARDOWN(kexec_file_load)
{
	EXPECT_EQ(0, file_load(-1, -1, 0, NULL,
			       self->flags | KEXEC_FILE_UNLOAD));
	EXPECT_EQ(0, loaded(self->crash));
}

#define TAKEN(fd, initrd_fd, len, cmdline, more)			\
	do {								\
		EXPECT_EQ(0, file_load(fd, initrd_fd, len, cmdline,	\
				       self->flags | (more)));		\
		EXPECT_EQ(1, loaded(self->crash));			\
	} while (0)

#define REFUSED(error, fd, initrd_fd, len, cmdline)			\
	do {								\
		EXPECT_EQ(error, file_load(fd, initrd_fd, len, cmdline,	\
					   self->flags));		\
		EXPECT_EQ(!self->crash, loaded(self->crash));		\
		ASSERT_EQ(0, file_load((self)->kernel, (self)->initrd,	\
				       LEN, CMDLINE, self->flags));	\
	} while (0)

#define REFUSED_IMAGE(error, header)					\
	do {								\
		int _file = image_file(header);				\
									\
		ASSERT_LE(0, _file);					\
		REFUSED(error, _file, self->initrd, LEN, CMDLINE);	\
		close(_file);						\
	} while (0)

TEST_F(kexec_file_load, unload)
{
	unsigned long flags = self->flags | KEXEC_FILE_UNLOAD;

	EXPECT_EQ(0, file_load(-1, -1, 0, NULL, flags));
	EXPECT_EQ(0, loaded(self->crash));
	/* With nothing loaded, and with any other arguments */
	EXPECT_EQ(0, file_load(-1, 99, -1UL, (void *)-1UL, flags));
}

TEST_F(kexec_file_load, replace)
{
	unsigned long mem = self->crash ? crashk.start : free_ram().start;
	struct segment s = { "", 1, mem + PAGE, PAGE };
	unsigned long flags = KEXEC_ARCH_AARCH64 | (self->crash ? CRASH : 0);
	int i;

	for (i = 0; i < 4; i++)
		TAKEN(self->kernel, self->initrd, LEN, CMDLINE, 0);
	/* By an image of the other call, and then that image again */
	EXPECT_EQ(0, load(s.mem, 1, &s, flags));
	EXPECT_EQ(1, loaded(self->crash));
	TAKEN(self->kernel, self->initrd, LEN, CMDLINE, 0);
}

TEST_F_TIMEOUT(kexec_file_load, unknown_flags, MANY_LOADS)
{
	int bit;

	for (bit = 3; bit < 64; bit++) {
		if (LATER_FILE_FLAGS & 1UL << bit)
			continue;
		EXPECT_EQ(-EINVAL, file_load(self->kernel, self->initrd, LEN,
					     CMDLINE, self->flags | 1UL << bit));
		EXPECT_EQ(1, loaded(self->crash));
	}
}

#define BAD_FILE(error, bad)						\
	do {								\
		int _error = error, _fd = bad;				\
									\
		REFUSED(_error, _fd, self->initrd, LEN, CMDLINE);	\
		REFUSED(_error, self->kernel, _fd, LEN, CMDLINE);	\
	} while (0)

/* Neither the kernel nor the initrd can be read from these. */
TEST_F_TIMEOUT(kexec_file_load, bad_files, MANY_LOADS)
{
	int fds[2], fd = memory_file("", 1, 0);
	char path[64];

	ASSERT_LE(0, fd);
	BAD_FILE(-EBADF, -1);
	BAD_FILE(-EBADF, 9999);
	BAD_FILE(-EINVAL, open("/", O_RDONLY));
	BAD_FILE(-EINVAL, open("/dev/null", O_RDONLY));
	BAD_FILE(-EBADF, open("/", O_PATH));
	ASSERT_EQ(0, pipe(fds));
	BAD_FILE(-EINVAL, fds[0]);
	BAD_FILE(-EINVAL, memory_file("", 0, 0));
	/* The limit is INT_MAX in some releases, and 4 GiB in others */
	BAD_FILE(-EFBIG, memory_file("", 1, 1UL << 32));

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fds[0] = open(path, O_WRONLY);
	BAD_FILE(-EBADF, fds[0]);
	BAD_FILE(-ETXTBSY, fd);
	close(fds[0]);
	/* Not a kernel, but now good enough as an initrd */
	TAKEN(self->kernel, fd, LEN, CMDLINE, 0);
}

TEST_F_TIMEOUT(kexec_file_load, truncated_image, MANY_LOADS)
{
	struct image_header header = good_header();
	size_t size;
	int fd;

	for (size = 1; size < sizeof(header); size += size < 56 ? 11 : 1) {
		fd = memory_file(&header, size, 0);
		ASSERT_LE(0, fd);
		REFUSED(-EINVAL, fd, self->initrd, LEN, CMDLINE);
		close(fd);
	}
	/* Only the header is looked at. What is cut off becomes zeroes. */
	fd = memory_file(&header, sizeof(header), 0);
	TAKEN(fd, self->initrd, LEN, CMDLINE, 0);
	/* The file may be as large as its header says, and not a byte larger */
	fd = memory_file(&header, sizeof(header), IMAGE_SIZE - sizeof(header));
	TAKEN(fd, self->initrd, LEN, CMDLINE, 0);
	fd = memory_file(&header, sizeof(header),
			 IMAGE_SIZE - sizeof(header) + 1);
	REFUSED(-EINVAL, fd, self->initrd, LEN, CMDLINE);
}

TEST_F(kexec_file_load, bad_magic)
{
	struct image_header header;
	int i;

	for (i = 0; i < 4; i++) {
		header = good_header();
		header.magic[i] ^= 1;
		REFUSED_IMAGE(-EINVAL, header);
	}
}

TEST_F_TIMEOUT(kexec_file_load, bad_size, MANY_LOADS)
{
	struct image_header header = good_header();

	header.image_size = 0;
	REFUSED_IMAGE(-EINVAL, header);
	/* No memory has room for this */
	header.image_size = 1UL << 46;
	REFUSED_IMAGE(-EADDRNOTAVAIL, header);
	header.image_size = -1UL << 20;
	REFUSED_IMAGE(-EADDRNOTAVAIL, header);
	/* Rounded up to pages this is 0, and no buffer fits */
	header.image_size = -1UL;
	REFUSED_IMAGE(-EINVAL, header);
}

TEST_F(kexec_file_load, text_offset)
{
	struct image_header header = good_header();

	header.text_offset = 0x80000;
	TAKEN(image_file(header), self->initrd, LEN, CMDLINE, 0);
	header.text_offset++;
	REFUSED_IMAGE(-EADDRNOTAVAIL, header);
	header.text_offset = 1UL << 46;
	REFUSED_IMAGE(-EADDRNOTAVAIL, header);
	/* The sum of offset and size is 0, or small */
	header.text_offset = -IMAGE_SIZE;
	REFUSED_IMAGE(-EADDRNOTAVAIL, header);
	header.text_offset = 0x80000;
	header.image_size = -0x80000UL + PAGE;
	REFUSED_IMAGE(-EADDRNOTAVAIL, header);
}

/* The page size of this kernel is accepted, and others that the CPU has. */
TEST_F(kexec_file_load, page_size)
{
	struct image_header header = good_header();
	int field, error, own = PAGE == 4096 ? 1 : PAGE == 16384 ? 2 : 3;

	for (field = 0; field < 4; field++) {
		header.flags = field << 1;
		error = file_load(image_file(header), self->initrd, LEN,
				  CMDLINE, self->flags);
		if (error && field && field != own)
			error += EINVAL;
		EXPECT_EQ(0, error);
	}
}

TEST_F(kexec_file_load, initrd)
{
	/* Without an initrd the file does not matter */
	TAKEN(self->kernel, -1, LEN, CMDLINE, KEXEC_FILE_NO_INITRAMFS);
	TAKEN(self->kernel, self->initrd, LEN, CMDLINE, 0);
}

TEST_F(kexec_file_load, cmdline)
{
	size_t size = 64 << 10;
	char *text = malloc(size);

	ASSERT_NE(NULL, text);
	memset(text, 'x', size);
	text[size - 1] = 0;

	TAKEN(self->kernel, self->initrd, 0, NULL, 0);
	TAKEN(self->kernel, self->initrd, 0, (void *)-1UL, 0);
	TAKEN(self->kernel, self->initrd, 1, "", 0);
	TAKEN(self->kernel, self->initrd, 4, "a\0b", 0);
	/* arm64 does not compare the length with COMMAND_LINE_SIZE */
	TAKEN(self->kernel, self->initrd, size, text, 0);

	/* Not terminated */
	REFUSED(-EINVAL, self->kernel, self->initrd, LEN - 1, CMDLINE);
	REFUSED(-EINVAL, self->kernel, self->initrd, size - 1, text);
	/* Too long to be allocated in one piece */
	REFUSED(-ENOMEM, self->kernel, self->initrd, 64UL << 20, text);
	REFUSED(-ENOMEM, self->kernel, self->initrd, -1UL, text);
	/* Not mapped, or not mapped up to its end */
	REFUSED(-EFAULT, self->kernel, self->initrd, LEN, NULL);
	REFUSED(-EFAULT, self->kernel, self->initrd, LEN, (char *)-1UL);
	REFUSED(-EFAULT, self->kernel, self->initrd, LEN, self->edge);
	REFUSED(-EFAULT, self->kernel, self->initrd, 2, self->edge - 1);
	TAKEN(self->kernel, self->initrd, 1, self->edge - 1, 0);
	free(text);
}

TEST_F(kexec_file_load, not_permitted)
{
	pid_t pid = fork();
	int status;

	ASSERT_GE(pid, 0);
	if (!pid) {
		if (setresuid(65534, 65534, 65534))
			_exit(1);
		if (file_load(self->kernel, self->initrd, LEN, CMDLINE,
			      self->flags) != -EPERM)
			_exit(2);
		if (file_load(-1, -1, 0, NULL, KEXEC_FILE_UNLOAD) != -EPERM)
			_exit(3);
		if (file_load(-1, -1, 0, NULL, -1UL) != -EPERM)
			_exit(4);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, loaded(self->crash));
}

#include "kexec_last_test.h"

TEST_HARNESS_MAIN
