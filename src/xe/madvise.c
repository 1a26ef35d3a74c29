/* SPDX-License-Identifier: MIT */
/*
 * DOC: Advice
 *
 * Upstream: xe_vm_madvise_ioctl(), xe_vm_query_vmas_attrs_ioctl().
 */
#include "xe/xe_internal.h"

#include <errno.h>

int xe_ioctl_madvise(struct xe_file *file, void *argument UNUSED)
{
	return xe_refuse(file->card, -EOPNOTSUPP, "MADVISE");
}

int xe_ioctl_query_attrs(struct xe_file *file, void *argument UNUSED)
{
	return xe_refuse(file->card, -EOPNOTSUPP, "VM_QUERY_MEM_RANGE_ATTRS");
}
