/* SPDX-License-Identifier: MIT */
/*
 * DOC: memory that the program is shown
 *
 * Shared anonymous memory: the library's mapping and those that the program is given
 * have the same pages, and so has a fork's child what it inherits of the latter. No
 * descriptor is kept: mremap() of 0 bytes of a shared mapping makes another one of it,
 * and so each object costs mappings alone, whatever RLIMIT_NOFILE is.
 *
 * What may be thrown away one day is a file of no name instead, whose descriptor stays in
 * the private table of the library's threads. Cut to nothing it is gone from every mapping
 * of it, wherever the program moved that to, in children too, and who touches one gets the
 * kernel's own SIGBUS. Half of the table is left to others: behind that, and where there
 * is no descriptor to be had, memory is as above, and thrown away it is zeros.
 *
 * Nobody fills such pages but the kernel, so that they may be touched where a page of
 * the program may not.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/assert.h"
#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

/* Apart from the program's mappings and from the library's other memory. */
#define SHARED_HINT 0x7ea000000000ull

static bool is_error(int64_t result)
{
	return result < 0 && result >= -4095;
}

/* A file of @bytes zeros without a name. Return: -1: there is none to be had. */
static int make_file(uint64_t bytes)
{
	struct rlimit limit;
	int64_t fd;

	ASSERT(linux_tls.private_files);
	if (linux_call(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit))
		return -1;
	fd = linux_call(SYS_memfd_create, "usvm", MFD_CLOEXEC | ABI_MFD_NOEXEC_SEAL);
	if (fd == -EINVAL) /* before 6.3 */
		fd = linux_call(SYS_memfd_create, "usvm", MFD_CLOEXEC);
	if (fd < 0)
		return -1;
	if ((uint64_t)fd >= limit.rlim_cur / 2 || linux_call(SYS_ftruncate, fd, bytes)) {
		linux_close((int)fd);
		return -1;
	}
	return (int)fd;
}

int linux_shared_map(struct sys *sys UNUSED, uint64_t bytes, uint64_t align, uint64_t *addr,
		     int *file)
{
	int fd = file ? make_file(bytes) : -1;
	uint64_t place;
	int64_t got;
	int err;

	ASSERT(bytes > 0);
	ASSERT(IS_ALIGNED(bytes, PAGE_BYTES));
	place = linux_map_near(SHARED_HINT, bytes, align, PROT_NONE);
	if (!place) {
		linux_close(fd);
		return -ENOMEM;
	}
	got = linux_call(SYS_mmap, place, bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_NORESERVE | MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS : 0),
			 fd, 0);
	err = is_error(got) ? (int)got : 0;
	if (!err)
		err = (int)linux_call(SYS_madvise, place, bytes, MADV_DONTFORK);
	if (!err)
		err = (int)linux_call(SYS_madvise, place, bytes, MADV_DONTDUMP);
	if (err) {
		linux_call(SYS_munmap, place, bytes);
		linux_close(fd);
		return err;
	}
	*addr = place;
	if (file)
		*file = fd;
	return 0;
}

void linux_shared_unmap(struct sys *sys UNUSED, uint64_t addr, uint64_t bytes, int file)
{
	linux_call(SYS_munmap, addr, bytes);
	linux_close(file);
}

void linux_shared_discard(struct sys *sys UNUSED, uint64_t addr, uint64_t bytes, int file)
{
	if (file < 0 || linux_call(SYS_ftruncate, file, 0))
		linux_call(SYS_madvise, addr, bytes, MADV_REMOVE);
}

int linux_shared_show(struct sys *sys UNUSED, struct span part, uint64_t at, uint32_t prot,
		      uint64_t *addr)
{
	uint64_t bytes = span_bytes(part);
	int64_t got = linux_call(SYS_mremap, part.start, 0, bytes,
				 MREMAP_MAYMOVE | (at ? MREMAP_FIXED : 0), at);
	int err;

	if (is_error(got))
		return (int)got;
	err = (int)linux_call(SYS_madvise, got, bytes, MADV_DOFORK);
	if (!err)
		err = (int)linux_call(SYS_madvise, got, bytes, MADV_DODUMP);
	if (!err && !(prot & SYS_PROT_WRITE))
		err = (int)linux_call(SYS_mprotect, got, bytes, PROT_READ);
	if (err) {
		linux_call(SYS_munmap, got, bytes);
		return err;
	}
	*addr = (uint64_t)got;
	return 0;
}
