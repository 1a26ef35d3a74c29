/* SPDX-License-Identifier: MIT */
/*
 * DOC: Waiting for sync objects
 *
 * What a wait is for is looked up once: a fence that was found stays the one, also when the
 * object gets another. With WAIT_FOR_SUBMIT a point that nobody has submitted is looked up
 * again each time something changed. The thread sleeps on one word of the card.
 */
#include "xe/xe_internal.h"

#include <errno.h>

struct entry {
	struct xe_syncobj *syncobj;
	uint64_t value;
	struct xe_fence *fence; /* NULL: not found yet, or over */
	bool done;
};

struct waiter {
	struct xe_file *file;
	struct entry *entries;
	uint32_t count;
	uint32_t flags;
};

#define KNOWN_FLAGS                                                                      \
	(DRM_SYNCOBJ_WAIT_ALL | DRM_SYNCOBJ_WAIT_FOR_SUBMIT | DRM_SYNCOBJ_WAIT_AVAILABLE | \
	 DRM_SYNCOBJ_WAIT_DEADLINE)

static int find_entry(struct waiter *w, uint32_t i, uint64_t handles, uint64_t points)
{
	struct xe_card *card = w->file->card;
	struct entry *entry = &w->entries[i];
	struct xe_object *object;
	uint32_t handle;
	int err;

	err = xe_copy_in(card, &handle, handles + 4 * (uint64_t)i, 4);
	if (!err && points)
		err = xe_copy_in(card, &entry->value, points + 8 * (uint64_t)i, 8);
	if (err)
		return err;
	object = xe_file_find(w->file, XE_KIND_SYNCOBJ, handle);
	if (!object)
		return -ENOENT;
	entry->syncobj = xe_syncobj_of(object);
	return 0;
}

/* Return: 0; -EINVAL: nobody has submitted it, and the wait is not for that. */
static int look(struct waiter *w, struct entry *entry)
{
	if (!entry->fence && !entry->done) {
		switch (xe_syncobj_look(entry->syncobj, entry->value, &entry->fence)) {
		case XE_POINT_NONE:
			return w->flags & (DRM_SYNCOBJ_WAIT_FOR_SUBMIT |
					   DRM_SYNCOBJ_WAIT_AVAILABLE) ?
				       0 :
				       -EINVAL;
		case XE_POINT_SUBMITTED:
			entry->done = w->flags & DRM_SYNCOBJ_WAIT_AVAILABLE;
			break;
		case XE_POINT_DONE:
			entry->done = true;
			break;
		}
	}
	if (entry->fence && xe_fence_is_done(entry->fence))
		entry->done = true;
	return 0;
}

/* Return: 1: over, *@first is one that is; 0: not yet; -EINVAL. */
static int look_at_all(struct waiter *w, uint32_t *first)
{
	uint32_t done = 0;

	for (uint32_t i = 0; i < w->count; i++) {
		int err = look(w, &w->entries[i]);

		if (err)
			return err;
		if (!w->entries[i].done)
			continue;
		if (!done++)
			*first = i;
		if (!(w->flags & DRM_SYNCOBJ_WAIT_ALL))
			return 1;
	}
	return done == w->count;
}

static int wait_for(struct waiter *w, int64_t until_ns, uint32_t *first)
{
	struct xe_card *card = w->file->card;

	for (;;) {
		uint32_t ticket = wait_ticket(&card->changed);
		uint64_t now = card->sys->ops->clock_ns(card->sys);
		int over = look_at_all(w, first);

		if (over)
			return over < 0 ? over : 0;
		if (until_ns <= 0 || (uint64_t)until_ns <= now)
			return -ETIME;
		xe_watchdog_look(card);
		wait_sleep(&card->changed, ticket,
			   MIN((uint64_t)until_ns - now, (uint64_t)XE_WATCHDOG_NS));
		over = xe_copy_check(card);
		if (over)
			return over;
	}
}

static int wait_call(struct xe_file *file, uint64_t handles, uint64_t points, uint32_t count,
		     uint32_t flags, int64_t until_ns, uint32_t *first)
{
	struct waiter w = { .file = file, .count = count, .flags = flags };
	size_t bytes = count * sizeof(struct entry);
	int err = 0;

	w.entries = xe_alloc(file->card, bytes);
	if (!w.entries)
		return -ENOMEM;
	for (uint32_t i = 0; i < count && !err; i++)
		err = find_entry(&w, i, handles, points);
	if (!err)
		err = wait_for(&w, until_ns, first);
	for (uint32_t i = 0; i < count; i++) {
		xe_fence_put(w.entries[i].fence);
		if (w.entries[i].syncobj)
			xe_object_put(&w.entries[i].syncobj->object);
	}
	xe_free(file->card, w.entries, bytes);
	return err;
}

int xe_ioctl_syncobj_wait(struct xe_file *file, void *argument)
{
	struct drm_syncobj_wait *args = argument;
	const uint32_t known = KNOWN_FLAGS & ~DRM_SYNCOBJ_WAIT_AVAILABLE;

	if (args->flags & ~known || args->pad)
		return -EINVAL;
	if (!args->count)
		return 0;
	if (args->count > UINT32_MAX / sizeof(struct entry))
		return -ENOMEM;
	return wait_call(file, args->handles, 0, args->count, args->flags, args->timeout_ns,
			 &args->first_signaled);
}

int xe_ioctl_syncobj_timeline_wait(struct xe_file *file, void *argument)
{
	struct drm_syncobj_timeline_wait *args = argument;

	if (args->flags & ~KNOWN_FLAGS || args->pad)
		return -EINVAL;
	if (!args->count)
		return 0;
	if (args->count > UINT32_MAX / sizeof(struct entry))
		return -ENOMEM;
	return wait_call(file, args->handles, args->points, args->count, args->flags,
			 args->timeout_ns, &args->first_signaled);
}
