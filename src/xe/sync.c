/* SPDX-License-Identifier: MIT */
/*
 * DOC: What an ioctl waits for and signals
 *
 * A list of entries: sync objects to wait for or to signal, and at most one user fence,
 * which can be signaled only. In a long-running address space jobs have no end that a sync
 * object could promise.
 *
 * Upstream: xe_sync_entry_parse().
 */
#include "xe/xe_internal.h"

#include <errno.h>

static int check(const struct xe_sync *sync, bool is_lr)
{
	bool signals = sync->flags & XE_SYNC_SIGNAL;

	if (sync->extensions || sync->flags & ~XE_SYNC_SIGNAL || sync->reserved[0] ||
	    sync->reserved[1])
		return -EINVAL;
	switch (sync->type) {
	case XE_SYNC_SYNCOBJ:
	case XE_SYNC_TIMELINE:
		if (is_lr && signals)
			return -EOPNOTSUPP;
		return sync->type == XE_SYNC_TIMELINE && !sync->value ? -EINVAL : 0;
	case XE_SYNC_USER_FENCE:
		if (!signals)
			return -EOPNOTSUPP;
		return IS_ALIGNED(sync->handle, 8) ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

static int find_syncobj(struct xe_file *file, const struct xe_sync *sync,
			struct xe_sync_entry *entry)
{
	struct xe_object *object;
	struct xe_fence *fence;

	object = xe_file_find(file, XE_KIND_SYNCOBJ, (uint32_t)sync->handle);
	if (!object)
		return -ENOENT;
	entry->syncobj = xe_syncobj_of(object);
	entry->value = sync->type == XE_SYNC_TIMELINE ? sync->value : 0;
	if (entry->signals)
		return 0;
	switch (xe_syncobj_look(entry->syncobj, entry->value, &fence)) {
	case XE_POINT_NONE:
		return -EINVAL;
	case XE_POINT_SUBMITTED:
		xe_fence_put(fence);
		return 0;
	case XE_POINT_DONE:
		return 0;
	}
	return -EINVAL;
}

static int parse(struct xe_file *file, uint64_t from, bool is_lr, bool is_exec,
		 struct xe_sync_list *list)
{
	struct xe_sync_entry *entry = &list->entries[list->count];
	struct xe_sync sync;
	uint64_t word;
	int err;

	err = xe_copy_in(file->card, &sync, from, sizeof(sync));
	if (!err)
		err = check(&sync, is_lr);
	if (err)
		return err;
	list->count++;
	entry->type = sync.type;
	entry->signals = sync.flags & XE_SYNC_SIGNAL;
	if (sync.type != XE_SYNC_USER_FENCE)
		return find_syncobj(file, &sync, entry);
	list->user_fences++;
	entry->addr = sync.handle;
	entry->value = sync.value;
	/* A bind's is written by the host, at the process's address. */
	return is_exec ? 0 : xe_copy_in(file->card, &word, entry->addr, sizeof(word));
}

int xe_sync_parse(struct xe_file *file, uint64_t syncs, uint32_t count, bool is_lr,
		  bool is_exec, struct xe_sync_list *list)
{
	int err = 0;

	*list = (struct xe_sync_list){ .card = file->card };
	if (!count)
		return 0;
	if (count > XE_SYNCS_MAX)
		return -EINVAL;
	list->room = count;
	list->entries = xe_alloc(file->card, count * sizeof(*list->entries));
	if (!list->entries)
		return -ENOMEM;
	for (uint32_t i = 0; i < count && !err; i++)
		err = parse(file, syncs + i * sizeof(struct xe_sync), is_lr, is_exec, list);
	if (!err && list->user_fences > 1)
		err = -EINVAL;
	if (err)
		xe_sync_drop(list);
	return err;
}

void xe_sync_drop(struct xe_sync_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		if (list->entries[i].syncobj)
			xe_object_put(&list->entries[i].syncobj->object);
	}
	xe_free(list->card, list->entries, list->room * sizeof(*list->entries));
	list->entries = NULL;
	list->count = 0;
}
