/* SPDX-License-Identifier: MIT */
/*
 * DOC: Which ioctl is which
 *
 * One table. The argument is copied in before and out behind, so that who serves an ioctl
 * sees library memory only. A client with a shorter struct gets zeros for the rest, as DRM
 * does it.
 */
#include "xe/xe_internal.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "xe/slot.h"

#define ARGUMENT_BYTES_MAX 256

static int put_string(struct xe_card *card, uint64_t to, uint64_t *bytes, const char *string)
{
	uint64_t length = strlen(string);
	uint64_t part = MIN(length, *bytes);

	*bytes = length;
	return part && to ? xe_copy_out(card, to, string, part) : 0;
}

static int ioctl_version(struct xe_file *file, void *argument)
{
	struct drm_version *args = argument;
	int err;

	args->major = 1;
	args->minor = 1;
	args->patch = 0;
	err = put_string(file->card, args->name, &args->name_bytes, "xe");
	if (!err)
		err = put_string(file->card, args->date, &args->date_bytes, "0");
	if (!err)
		err = put_string(file->card, args->text, &args->text_bytes,
				 "Intel Xe Graphics");
	return err;
}

static int ioctl_unique(struct xe_file *file, void *argument)
{
	struct drm_unique *args = argument;
	char name[XE_SLOT_BYTES];

	xe_slot(file->card->index, name);
	return put_string(file->card, args->unique, &args->bytes, name);
}

static int ioctl_cap(struct xe_file *file UNUSED, void *argument)
{
	struct drm_cap *args = argument;

	switch (args->capability) {
	case DRM_CAP_SYNCOBJ:
	case DRM_CAP_SYNCOBJ_TIMELINE:
	case DRM_CAP_TIMESTAMP_MONOTONIC:
		args->value = 1;
		return 0;
	case DRM_CAP_PRIME:
		args->value = 0;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

static int ioctl_nothing(struct xe_file *file UNUSED, void *argument UNUSED)
{
	return 0;
}

struct entry {
	xe_ioctl_fn serve;
	uint32_t bytes;
	bool reads_back;
};

#define BOTH(function, type) { function, sizeof(struct type), true }
#define IN(function, type) { function, sizeof(struct type), false }

static const struct entry entries[256] = {
	[DRM_VERSION] = BOTH(ioctl_version, drm_version),
	[DRM_GET_UNIQUE] = BOTH(ioctl_unique, drm_unique),
	[DRM_GET_MAGIC] = { ioctl_nothing, 4, true },
	[DRM_SET_VERSION] = { ioctl_nothing, 16, true },
	[DRM_AUTH_MAGIC] = { ioctl_nothing, 4, false },
	[DRM_SET_MASTER] = { ioctl_nothing, 0, false },
	[DRM_DROP_MASTER] = { ioctl_nothing, 0, false },
	[DRM_GET_CAP] = BOTH(ioctl_cap, drm_cap),
	[DRM_GEM_CLOSE] = IN(xe_ioctl_gem_close, drm_gem_close),
	[DRM_SYNCOBJ_CREATE] = BOTH(xe_ioctl_syncobj_create, drm_syncobj_create),
	[DRM_SYNCOBJ_DESTROY] = BOTH(xe_ioctl_syncobj_destroy, drm_syncobj_destroy),
	[DRM_SYNCOBJ_WAIT] = BOTH(xe_ioctl_syncobj_wait, drm_syncobj_wait),
	[DRM_SYNCOBJ_TIMELINE_WAIT] =
		BOTH(xe_ioctl_syncobj_timeline_wait, drm_syncobj_timeline_wait),
	[DRM_SYNCOBJ_RESET] = BOTH(xe_ioctl_syncobj_reset, drm_syncobj_array),
	[DRM_SYNCOBJ_SIGNAL] = BOTH(xe_ioctl_syncobj_signal, drm_syncobj_array),
	[DRM_SYNCOBJ_TIMELINE_SIGNAL] =
		BOTH(xe_ioctl_syncobj_timeline_signal, drm_syncobj_timeline_array),
	[DRM_SYNCOBJ_QUERY] = BOTH(xe_ioctl_syncobj_query, drm_syncobj_timeline_array),
	[DRM_SYNCOBJ_TRANSFER] = BOTH(xe_ioctl_syncobj_transfer, drm_syncobj_transfer),
	[XE_DEVICE_QUERY] = BOTH(xe_ioctl_query, xe_device_query),
	[XE_GEM_CREATE] = BOTH(xe_ioctl_gem_create, xe_gem_create),
	[XE_GEM_MMAP_OFFSET] = BOTH(xe_ioctl_gem_mmap_offset, xe_gem_mmap_offset),
	[XE_VM_CREATE] = BOTH(xe_ioctl_vm_create, xe_vm_create),
	[XE_VM_DESTROY] = IN(xe_ioctl_vm_destroy, xe_vm_destroy),
	[XE_VM_BIND] = IN(xe_ioctl_vm_bind, xe_vm_bind),
	[XE_VM_GET_PROPERTY] = BOTH(xe_ioctl_vm_get_property, xe_vm_get_property),
	[XE_EXEC_QUEUE_CREATE] = BOTH(xe_ioctl_queue_create, xe_exec_queue_create),
	[XE_EXEC_QUEUE_DESTROY] = IN(xe_ioctl_queue_destroy, xe_exec_queue_destroy),
	[XE_EXEC_QUEUE_GET_PROPERTY] =
		BOTH(xe_ioctl_queue_get_property, xe_exec_queue_property),
	[XE_EXEC_QUEUE_SET_PROPERTY] =
		IN(xe_ioctl_queue_set_property, xe_exec_queue_property),
	[XE_EXEC] = IN(xe_ioctl_exec, xe_exec),
	[XE_WAIT_USER_FENCE] = BOTH(xe_ioctl_wait_user_fence, xe_wait_user_fence),
	[XE_MADVISE] = IN(xe_ioctl_madvise, xe_madvise),
	[XE_VM_QUERY_MEM_RANGE_ATTRS] =
		BOTH(xe_ioctl_query_attrs, xe_query_mem_range_attrs),
};

static int refuse_number(struct xe_card *card, uint32_t number)
{
	char line[48];
	struct text text;

	text_init(&text, line, sizeof(line));
	text_string(&text, "no such ioctl: ");
	text_number(&text, number);
	return xe_refuse(card, -EINVAL, line);
}

int xe_ioctl(struct xe_file *file, uint64_t request, uint64_t argument)
{
	_Alignas(8) unsigned char buffer[ARGUMENT_BYTES_MAX] = { 0 };
	const struct entry *entry = &entries[XE_IOCTL_NUMBER(request)];
	uint32_t bytes = XE_IOCTL_BYTES(request);
	int err, out_err;

	if ((request >> 8 & 0xff) != XE_IOCTL_TYPE)
		return -ENOTTY;
	if (!entry->serve)
		return refuse_number(file->card, XE_IOCTL_NUMBER(request));
	bytes = MIN(bytes, entry->bytes);
	err = xe_copy_check(file->card);
	if (!err)
		err = xe_copy_in(file->card, buffer, argument, bytes);
	if (err)
		return err;
	err = entry->serve(file, buffer);
	if (!entry->reads_back)
		return err;
	/* Also after an error: a wait tells how long it would still have been. */
	out_err = xe_copy_out(file->card, argument, buffer, bytes);
	return err ? err : out_err;
}
