/* SPDX-License-Identifier: MIT */
/*
 * DOC: The functions behind ours
 *
 * Looked up once, by the first caller. Two that come at the same time both look: they find
 * the same.
 */
#include "shim/shim_internal.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "base/atomic.h"

static struct shim_real real;
static uint32_t found; /* atomic */

#define FIND(name) (*(void **)(void *)&real.name = dlsym(RTLD_NEXT, #name))

const struct shim_real *shim_real(void)
{
	if (likely(ATOMIC_LOAD_ACQUIRE(&found)))
		return &real;
	FIND(open);
	FIND(openat);
	FIND(fopen);
	FIND(opendir);
	FIND(close);
	FIND(dup);
	FIND(dup2);
	FIND(dup3);
	FIND(fcntl);
	FIND(ioctl);
	FIND(mmap);
	FIND(munmap);
	FIND(mremap);
	FIND(stat);
	FIND(lstat);
	FIND(fstat);
	FIND(fstatat);
	FIND(access);
	FIND(faccessat);
	FIND(readlink);
	FIND(readlinkat);
	FIND(realpath);
	FIND(mount);
	FIND(scandir);
	FIND(scandir64);
	FIND(fstatfs);
	FIND(statfs);
	FIND(getxattr);
	FIND(lgetxattr);
	FIND(listxattr);
	FIND(llistxattr);
	FIND(statx);
	FIND(_exit);
	ATOMIC_STORE_RELEASE(&found, 1);
	return &real;
}
