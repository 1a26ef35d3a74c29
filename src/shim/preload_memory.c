/* SPDX-License-Identifier: MIT */
/*
 * DOC: Functions that map
 *
 * mmap() of a card's descriptor shows an object of the card. Such a mapping can always be
 * read, also where the program asked to write only: processors know no other.
 *
 * What takes a mapping away asks the cards first: their jobs may use it (xe/userptr.c).
 */
#include "shim/shim_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>

static void *map_card(void *addr, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	bool is_fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
	uint64_t at = is_fixed ? (uintptr_t)addr : 0, mapped;
	int err = -EINVAL;

	if (xe_is_barrier((uint64_t)offset)) {
		if (bytes > 4096 || prot & (PROT_READ | PROT_EXEC)) {
			errno = EINVAL;
			return MAP_FAILED;
		}
		return shim_real()->mmap(addr, bytes, PROT_READ | PROT_WRITE,
					 (flags & MAP_FIXED) | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	}
	/* A private copy of an object is not to be had. */
	if (!(flags & MAP_PRIVATE))
		err = shim_map(fd, at, bytes, prot & PROT_WRITE, (uint64_t)offset, &mapped);
	if (!err)
		return (void *)(uintptr_t)mapped;
	errno = -err;
	return MAP_FAILED;
}

SHIM_EXPORT void *mmap(void *addr, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	if (flags & MAP_FIXED)
		shim_before_unmap((uintptr_t)addr, bytes);
	if (fd >= 0 && !(flags & MAP_ANONYMOUS) && shim_is_card(fd))
		return map_card(addr, bytes, prot, flags, fd, offset);
	return shim_real()->mmap(addr, bytes, prot, flags, fd, offset);
}

SHIM_EXPORT void *mmap64(void *addr, size_t bytes, int prot, int flags, int fd, off64_t offset)
{
	return mmap(addr, bytes, prot, flags, fd, offset);
}

SHIM_EXPORT int munmap(void *addr, size_t bytes)
{
	shim_before_unmap((uintptr_t)addr, bytes);
	return shim_real()->munmap(addr, bytes);
}

SHIM_EXPORT void *mremap(void *addr, size_t bytes, size_t new_bytes, int flags, ...)
{
	void *to = NULL;
	va_list args;

	va_start(args, flags);
	if (flags & MREMAP_FIXED)
		to = va_arg(args, void *);
	va_end(args);
	shim_before_unmap((uintptr_t)addr, bytes);
	if (flags & MREMAP_FIXED)
		shim_before_unmap((uintptr_t)to, new_bytes);
	return shim_real()->mremap(addr, bytes, new_bytes, flags, to);
}
