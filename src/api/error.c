/* SPDX-License-Identifier: MIT */
/*
 * DOC: Errors in words
 *
 * One errno, one meaning; docs/errors.md has the table with examples.
 */
#include <errno.h>
#include <stddef.h>

#include "base/compiler.h"
#include "usvm/usvm.h"

static const struct {
	int error;
	const char *text;
} texts[] = {
	{ 0, "success" },
	{ EAGAIN, "threads or memory are short now; try again" },
	{ EACCES, "memory that does not migrate, or /proc that may not be looked at" },
	{ EBADF, "not a handle of this kind, or already destroyed" },
	{ EBUSY, "in use, or pages are pinned or in migration" },
	{ ECANCELED, "torn down meanwhile; the queue was banned or destroyed" },
	{ ECHILD, "a handle of the parent process" },
	{ EFAULT, "no memory at the address" },
	{ EINVAL, "an argument is not valid" },
	{ EIO, "the device failed to copy" },
	{ EMFILE, "too few descriptors are allowed (RLIMIT_NOFILE)" },
	{ ENODEV, "the device is going away" },
	{ ENOENT, "nothing there" },
	{ ENOMEM, "host memory is short" },
	{ ENOSPC, "device memory or a table is full" },
	{ ENOSYS, "this system cannot run usvm" },
	{ EOPNOTSUPP, "this device or memory does not support it" },
	{ EPERM, "the memory forbids the access" },
	{ EPROTO, "an endless batch" },
	{ ETIMEDOUT, "the time was up" },
};

const char *usvm_strerror(int error)
{
	if (error < 0 && error > -4096)
		error = -error;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (texts[i].error == error)
			return texts[i].text;
	}
	return "an error that usvm does not know";
}

const char *usvm_version(void)
{
	return USVM_VERSION;
}
