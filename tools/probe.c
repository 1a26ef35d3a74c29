/* SPDX-License-Identifier: MIT */
/*
 * DOC: probing the kernel
 *
 * Each probe does once, on two pages of its own, what usvm does all day. Headers
 * of older distributions lack most of the names, so the numbers that the kernel
 * promised for ever stand here, under names that a newer header does not use.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "doctor.h"

#define PAGE_BYTES 4096ul
#define HUGE_BYTES (2ul << 20)

#define FEATURE_EVENT_FORK (1ull << 1)
#define FEATURE_WP_ASYNC (1ull << 15)
#define FEATURE_MOVE (1ull << 16)

#define USER_MODE_ONLY 1
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103

#define NEW_USERFAULTFD _IO(0xAA, 0x00) /* of /dev/userfaultfd */

struct move_args {
	uint64_t dst;
	uint64_t src;
	uint64_t len;
	uint64_t mode;
	int64_t move;
};
#define MOVE_PAGES _IOWR(0xAA, 0x05, struct move_args)

struct procmap_args {
	uint64_t size;
	uint64_t query_flags;
	uint64_t query_addr;
	uint64_t vma_start;
	uint64_t vma_end;
	uint64_t vma_flags;
	uint64_t vma_page_size;
	uint64_t vma_offset;
	uint64_t inode;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t vma_name_size;
	uint32_t build_id_size;
	uint64_t vma_name_addr;
	uint64_t build_id_addr;
};
#define QUERY_MAP _IOWR('f', 17, struct procmap_args)

struct scan_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

struct scan_args {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vec;
	uint64_t vec_len;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};
#define SCAN_PAGES _IOWR('f', 16, struct scan_args)
#define SCAN_PRESENT (1ull << 3)

static int open_by_call(int flags)
{
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	return fd < 0 ? -errno : (int)fd;
}

static int open_by_device(void)
{
	int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd;

	if (device < 0)
		return -errno;
	fd = ioctl(device, NEW_USERFAULTFD, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = -errno;
	close(device);
	return fd;
}

/* The best descriptor that this process may have. */
static int open_any(void)
{
	int fd = open_by_call(0);

	if (fd < 0)
		fd = open_by_device();
	if (fd < 0)
		fd = open_by_call(USER_MODE_ONLY);
	return fd;
}

static int handshake(int fd, uint64_t want, uint64_t *offered)
{
	struct uffdio_api api = { .api = UFFD_API, .features = want };

	if (ioctl(fd, UFFDIO_API, &api))
		return -errno;
	if (offered)
		*offered = api.features;
	return 0;
}

static int open_with(uint64_t features)
{
	int fd = open_any();
	int err;

	if (fd < 0)
		return fd;
	err = handshake(fd, features, NULL);
	if (!err)
		return fd;
	close(fd);
	return err;
}

void probe_uffd(struct probe_uffd *uffd)
{
	int fd = open_by_call(0);

	memset(uffd, 0, sizeof(*uffd));
	uffd->by_call = fd < 0 ? fd : 0;
	if (fd >= 0)
		close(fd);
	fd = open_by_device();
	uffd->by_device = fd < 0 ? fd : 0;
	if (fd >= 0)
		close(fd);
	fd = open_by_call(USER_MODE_ONLY);
	uffd->by_user_call = fd < 0 ? fd : 0;
	if (fd >= 0)
		close(fd);
	uffd->kernel_faults = !uffd->by_call || !uffd->by_device;

	fd = open_any();
	if (fd >= 0) {
		handshake(fd, 0, &uffd->features);
		close(fd);
	}
}

/* Two naturally aligned halves of @bytes each. NULL: no memory. */
static unsigned char *two_of(size_t bytes)
{
	unsigned char *map = mmap(NULL, 3 * bytes, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t start = (uintptr_t)map;

	if (map == MAP_FAILED)
		return NULL;
	return map + ((start + bytes - 1) / bytes * bytes - start);
}

static int register_at(int fd, unsigned char *at, size_t bytes, uint64_t mode)
{
	struct uffdio_register args = {
		.range = { .start = (uintptr_t)at, .len = bytes },
		.mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &args) ? -errno : 0;
}

/* The maps of a probe are left to the end of the process: a few pages. */
static int move_one(int fd, size_t bytes)
{
	unsigned char *there = two_of(bytes), *here = there + bytes;
	struct move_args args = {
		.dst = (uintptr_t)there,
		.src = (uintptr_t)here,
		.len = bytes,
	};
	int err;

	if (!there)
		return -ENOMEM;
	if (bytes >= HUGE_BYTES)
		madvise(there, 2 * bytes, MADV_HUGEPAGE); /* without it, as small pages */
	err = register_at(fd, there, bytes, UFFDIO_REGISTER_MODE_MISSING);
	if (err)
		return err;
	memset(here, 0x5A, bytes);
	if (ioctl(fd, MOVE_PAGES, &args))
		return -errno;
	return there[0] == 0x5A && there[bytes - 1] == 0x5A ? 0 : -EIO;
}

int probe_move(void)
{
	int fd = open_with(FEATURE_MOVE);
	int err;

	if (fd < 0)
		return fd;
	err = move_one(fd, PAGE_BYTES);
	if (!err)
		err = move_one(fd, HUGE_BYTES);
	close(fd);
	return err;
}

int probe_wp_async(void)
{
	unsigned char *page = two_of(PAGE_BYTES);
	int fd = open_with(FEATURE_WP_ASYNC);
	int err;

	if (fd < 0)
		return fd;
	err = page ? register_at(fd, page, PAGE_BYTES, UFFDIO_REGISTER_MODE_WP) : -ENOMEM;
	close(fd);
	return err;
}

int probe_event_fork(void)
{
	int fd = open_with(FEATURE_EVENT_FORK);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int ioctl_on(const char *path, unsigned long request, void *args)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int result;

	if (fd < 0)
		return -errno;
	result = ioctl(fd, request, args);
	if (result < 0)
		result = -errno;
	close(fd);
	return result;
}

int probe_procmap_query(void)
{
	struct procmap_args args = {
		.size = sizeof(args),
		.query_addr = (uintptr_t)&args,
	};
	int err = ioctl_on("/proc/self/maps", QUERY_MAP, &args);

	if (err < 0)
		return err;
	if (args.query_addr < args.vma_start || args.query_addr >= args.vma_end)
		return -EIO;
	return 0;
}

int probe_pagemap_scan(void)
{
	unsigned char *page = two_of(PAGE_BYTES);
	struct scan_region region = { 0 };
	struct scan_args args = {
		.size = sizeof(args),
		.start = (uintptr_t)page,
		.end = (uintptr_t)page + PAGE_BYTES,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = SCAN_PRESENT,
		.return_mask = SCAN_PRESENT,
	};
	int found;

	if (!page)
		return -ENOMEM;
	*(volatile unsigned char *)page = 1;
	found = ioctl_on("/proc/self/pagemap", SCAN_PAGES, &args);
	if (found < 0)
		return found;
	return found == 1 && region.start == (uintptr_t)page ? 0 : -EIO;
}

int probe_guard_pages(void)
{
	unsigned char *page = two_of(PAGE_BYTES);

	if (!page)
		return -ENOMEM;
	if (madvise(page, PAGE_BYTES, GUARD_INSTALL) ||
	    madvise(page, PAGE_BYTES, GUARD_REMOVE))
		return -errno;
	return 0;
}

int probe_membarrier(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) ||
	    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		return -errno;
	return 0;
}

int probe_read_line(const char *path, char *line, uint32_t size)
{
	FILE *file = fopen(path, "re");
	int err = 0;

	if (!file)
		return -errno;
	if (fgets(line, (int)size, file))
		line[strcspn(line, "\n")] = '\0';
	else
		err = -EIO;
	fclose(file);
	return err;
}

int probe_read_number(const char *path, uint64_t *number)
{
	char line[64], *end;
	int err = probe_read_line(path, line, sizeof(line));

	if (err)
		return err;
	*number = strtoull(line, &end, 10);
	return end == line ? -EIO : 0;
}
