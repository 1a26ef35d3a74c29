/* SPDX-License-Identifier: MIT */
/*
 * DOC: memory that the program is shown
 *
 * Shared anonymous memory: the library's mapping and those that the program is given
 * have the same pages, and so has a fork's child what it inherits of the latter. No
 * descriptor is kept: mremap() of 0 bytes of a shared mapping makes another one of it,
 * and so each object costs mappings alone, whatever RLIMIT_NOFILE is.
 *
 * Nobody fills such pages but the kernel, so that they may be touched where a page of
 * the program may not.
 */
#include <errno.h>
#include <sys/mman.h>

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

int linux_shared_map(struct sys *sys UNUSED, uint64_t bytes, uint64_t align, uint64_t *addr)
{
	uint64_t place;
	int64_t got;
	int err;

	ASSERT(bytes > 0);
	ASSERT(IS_ALIGNED(bytes, PAGE_BYTES));
	place = linux_map_near(SHARED_HINT, bytes, align, PROT_NONE);
	if (!place)
		return -ENOMEM;
	got = linux_call(SYS_mmap, place, bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	err = is_error(got) ? (int)got : 0;
	if (!err)
		err = (int)linux_call(SYS_madvise, place, bytes, MADV_DONTFORK);
	if (!err)
		err = (int)linux_call(SYS_madvise, place, bytes, MADV_DONTDUMP);
	if (err) {
		linux_call(SYS_munmap, place, bytes);
		return err;
	}
	*addr = place;
	return 0;
}

void linux_shared_unmap(struct sys *sys UNUSED, uint64_t addr, uint64_t bytes)
{
	linux_call(SYS_munmap, addr, bytes);
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
