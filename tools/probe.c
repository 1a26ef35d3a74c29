/* SPDX-License-Identifier: MIT */
/*
 * DOC: probing the kernel
 *
 * Each probe does once, on two pages of its own, what usvm does all day.
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
#include "sys/linux_abi.h"

#define PAGE_BYTES 4096ul
#define HUGE_BYTES (2ul << 20)

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
	fd = ioctl(device, ABI_UFFD_IOCTL_NEW, O_CLOEXEC | O_NONBLOCK);
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
		fd = open_by_call(ABI_UFFD_USER_MODE_ONLY);
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
	fd = open_by_call(ABI_UFFD_USER_MODE_ONLY);
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
	struct abi_uffd_move args = {
		.dst = (uintptr_t)there,
		.src = (uintptr_t)here,
		.bytes = bytes,
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
	if (ioctl(fd, ABI_UFFD_IOCTL_MOVE, &args))
		return -errno;
	return there[0] == 0x5A && there[bytes - 1] == 0x5A ? 0 : -EIO;
}

int probe_move(void)
{
	int fd = open_with(ABI_UFFD_MOVE);
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
	int fd = open_with(ABI_UFFD_WP_ASYNC);
	int err;

	if (fd < 0)
		return fd;
	err = page ? register_at(fd, page, PAGE_BYTES, UFFDIO_REGISTER_MODE_WP) : -ENOMEM;
	close(fd);
	return err;
}

int probe_event_fork(void)
{
	int fd = open_with(ABI_UFFD_EVENT_FORK);

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
	struct abi_vma_query args = {
		.struct_bytes = sizeof(args),
		.query_addr = (uintptr_t)&args,
	};
	int err = ioctl_on("/proc/self/maps", ABI_VMA_IOCTL_QUERY, &args);

	if (err < 0)
		return err;
	if (args.query_addr < args.start || args.query_addr >= args.end)
		return -EIO;
	return 0;
}

int probe_pagemap_scan(void)
{
	unsigned char *page = two_of(PAGE_BYTES);
	struct abi_page_region region = { 0 };
	struct abi_page_scan args = {
		.struct_bytes = sizeof(args),
		.start = (uintptr_t)page,
		.end = (uintptr_t)page + PAGE_BYTES,
		.regions_addr = (uintptr_t)&region,
		.region_count_max = 1,
		.all_of = ABI_PAGE_PRESENT,
		.report = ABI_PAGE_PRESENT,
	};
	int found;

	if (!page)
		return -ENOMEM;
	*(volatile unsigned char *)page = 1;
	found = ioctl_on("/proc/self/pagemap", ABI_PAGE_IOCTL_SCAN, &args);
	if (found < 0)
		return found;
	return found == 1 && region.start == (uintptr_t)page ? 0 : -EIO;
}

int probe_guard_pages(void)
{
	unsigned char *page = two_of(PAGE_BYTES);

	if (!page)
		return -ENOMEM;
	if (madvise(page, PAGE_BYTES, ABI_MADV_GUARD_INSTALL) ||
	    madvise(page, PAGE_BYTES, ABI_MADV_GUARD_REMOVE))
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
