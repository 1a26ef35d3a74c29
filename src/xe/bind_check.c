/* SPDX-License-Identifier: MIT */
/*
 * DOC: What a bind may say
 *
 * The numbers of one operation, before anything is looked up.
 *
 * Upstream: vm_bind_ioctl_check_args().
 */
#include "xe/xe_internal.h"

#include <errno.h>

#define KNOWN_FLAGS                                                                    \
	(XE_BIND_READONLY | XE_BIND_IMMEDIATE | XE_BIND_NULL | XE_BIND_DUMPABLE |      \
	 XE_BIND_CHECK_PXP | XE_BIND_MIRROR | XE_BIND_AUTORESET | XE_BIND_DECOMPRESS)

static bool numbers_are_valid(const struct xe_bind_op *op)
{
	if (op->op == XE_BIND_UNMAP_ALL && (op->addr || op->bytes))
		return false;
	if (op->op != XE_BIND_UNMAP_ALL && !op->bytes)
		return false;
	if (!IS_ALIGNED(op->offset | op->addr | op->bytes, PAGE_BYTES))
		return false;
	return op->bytes <= XE_VA_END && op->addr <= XE_VA_END - op->bytes;
}

static bool object_is_valid(const struct xe_bind_op *op, bool has_memory)
{
	switch (op->op) {
	case XE_BIND_MAP:
		return has_memory ? op->object != 0 : !op->object && !op->offset;
	case XE_BIND_UNMAP_ALL:
		return op->object != 0;
	default:
		return !op->object;
	}
}

static bool region_is_valid(const struct xe_bind_op *op)
{
	if (op->op != XE_BIND_PREFETCH)
		return !op->region;
	return op->region <= 1 || op->region == XE_PREFETCH_ADVISED;
}

int xe_bind_check(const struct xe_vm *vm, const struct xe_bind_op *op)
{
	const struct xe_profile *profile = vm->card->profile;
	bool has_memory = !(op->flags & (XE_BIND_NULL | XE_BIND_MIRROR));

	if (op->extensions || op->pad || op->pad2 || op->reserved[0] || op->reserved[1] ||
	    op->reserved[2])
		return -EINVAL;
	/* As a driver that is built for tests of its errors; nothing was done yet. */
	if (op->flags == XE_BIND_FAIL)
		return -ENOSPC;
	if (op->op > XE_BIND_PREFETCH || op->flags & ~KNOWN_FLAGS)
		return -EINVAL;
	if ((op->flags & XE_BIND_MIRROR) && !xe_vm_faults(vm))
		return -EINVAL;
	if ((op->flags & XE_BIND_AUTORESET) && !(op->flags & XE_BIND_MIRROR))
		return -EINVAL;
	if (!has_memory && op->op != XE_BIND_MAP)
		return -EINVAL;
	if ((op->flags & XE_BIND_DECOMPRESS) && (op->op != XE_BIND_MAP || !has_memory))
		return -EINVAL;
	if (!xe_pat_is_valid(profile, op->pat_index))
		return -EINVAL;
	if (op->op == XE_BIND_MAP_USERPTR && profile->pat_incoherent >> op->pat_index & 1)
		return -EINVAL;
	if (!object_is_valid(op, has_memory) || !region_is_valid(op) || !numbers_are_valid(op))
		return -EINVAL;
	return 0;
}
