/* SPDX-License-Identifier: MIT */
/*
 * DOC: Sync objects
 *
 * A handle of a fence, or of many: a binary one has one point, numbered 0; a timeline's
 * points rise, and each is over when it and all before it are. So a point that is added
 * behind one that is not over gets a fence of both.
 *
 * Points that are over are dropped, but for the knowledge that they are.
 */
#include "xe/xe_internal.h"

#include <errno.h>

struct xe_point {
	struct list node;
	uint64_t value;
	struct xe_fence *fence;
};

static void free_point(struct xe_syncobj *syncobj, struct xe_point *point)
{
	xe_fence_put(point->fence);
	xe_free(syncobj->card, point, sizeof(*point));
}

static void free_points(struct xe_syncobj *syncobj, struct list *points)
{
	struct list *node;

	while ((node = list_pop_front(points)))
		free_point(syncobj, LIST_ENTRY(node, struct xe_point, node));
}

static void destroy(struct xe_object *object)
{
	struct xe_syncobj *syncobj = xe_syncobj_of(object);

	free_points(syncobj, &syncobj->points);
	xe_free(syncobj->card, syncobj, sizeof(*syncobj));
}

/* Take away what is over from the front. */
static void trim(struct xe_syncobj *syncobj, struct list *gone)
	MUST_HOLD(syncobj->card->fence_lock);
static void trim(struct xe_syncobj *syncobj, struct list *gone)
{
	LIST_FOR_EACH_SAFE(node, &syncobj->points) {
		struct xe_point *point = LIST_ENTRY(node, struct xe_point, node);

		if (!xe_fence_is_done(point->fence))
			return;
		syncobj->signaled = MAX(syncobj->signaled, point->value);
		syncobj->has_signaled = true;
		list_remove(node);
		list_push_back(gone, node);
	}
}

static struct xe_point *find_point(struct xe_syncobj *syncobj, uint64_t value)
	MUST_HOLD(syncobj->card->fence_lock);
static struct xe_point *find_point(struct xe_syncobj *syncobj, uint64_t value)
{
	struct xe_point *last = NULL;

	LIST_FOR_EACH(node, &syncobj->points) {
		last = LIST_ENTRY(node, struct xe_point, node);
		if (value && last->value >= value)
			return last;
	}
	return value ? NULL : last;
}

enum xe_point_state xe_syncobj_look(struct xe_syncobj *syncobj, uint64_t value,
				    struct xe_fence **fence)
{
	enum xe_point_state state = XE_POINT_NONE;
	struct xe_point *point;
	struct list gone;

	list_init(&gone);
	lock_acquire(&syncobj->card->fence_lock);
	trim(syncobj, &gone);
	point = find_point(syncobj, value);
	if (syncobj->has_signaled && (value ? value <= syncobj->signaled : !point)) {
		state = XE_POINT_DONE;
	} else if (point) {
		state = XE_POINT_SUBMITTED;
		*fence = xe_fence_get(point->fence);
	}
	lock_release(&syncobj->card->fence_lock);
	free_points(syncobj, &gone);
	return state;
}

/* A fence of point @value and all before it, or NULL for lack of memory. */
static struct xe_fence *chain(struct xe_syncobj *syncobj, struct xe_fence *fence)
{
	struct xe_fence *before, *both;

	if (xe_syncobj_look(syncobj, 0, &before) != XE_POINT_SUBMITTED)
		return xe_fence_get(fence);
	both = xe_fence_join(before, fence);
	xe_fence_put(before);
	return both;
}

int xe_syncobj_add(struct xe_syncobj *syncobj, uint64_t value, struct xe_fence *fence)
{
	struct xe_card *card = syncobj->card;
	struct xe_point *point = xe_alloc(card, sizeof(*point));
	struct list gone;

	if (!point)
		return -ENOMEM;
	point->value = value;
	point->fence = value ? chain(syncobj, fence) : xe_fence_get(fence);
	if (!point->fence) {
		xe_free(card, point, sizeof(*point));
		return -ENOMEM;
	}
	list_init(&gone);
	lock_acquire(&card->fence_lock);
	if (!value) {
		list_splice_back(&gone, &syncobj->points);
		syncobj->has_signaled = false;
		syncobj->signaled = 0;
	}
	list_push_back(&syncobj->points, &point->node);
	lock_release(&card->fence_lock);
	free_points(syncobj, &gone);
	wait_wake_all(&card->changed);
	return 0;
}

void xe_syncobj_clear(struct xe_syncobj *syncobj)
{
	struct xe_card *card = syncobj->card;
	struct list gone;

	list_init(&gone);
	lock_acquire(&card->fence_lock);
	list_splice_back(&gone, &syncobj->points);
	syncobj->has_signaled = false;
	syncobj->signaled = 0;
	lock_release(&card->fence_lock);
	free_points(syncobj, &gone);
}

/* --- ioctls ------------------------------------------------------------------------ */

int xe_ioctl_syncobj_create(struct xe_file *file, void *argument)
{
	struct drm_syncobj_create *args = argument;
	struct xe_card *card = file->card;
	struct xe_syncobj *syncobj;
	int err;

	if (args->flags & ~DRM_SYNCOBJ_CREATE_SIGNALED)
		return -EINVAL;
	syncobj = xe_alloc(card, sizeof(*syncobj));
	if (!syncobj)
		return -ENOMEM;
	syncobj->object.references = 1;
	syncobj->object.destroy = destroy;
	syncobj->card = card;
	list_init(&syncobj->points);
	syncobj->has_signaled = args->flags & DRM_SYNCOBJ_CREATE_SIGNALED;
	err = xe_file_insert(file, XE_KIND_SYNCOBJ, &syncobj->object, &args->handle);
	if (err)
		xe_object_put(&syncobj->object);
	return err;
}

int xe_ioctl_syncobj_destroy(struct xe_file *file, void *argument)
{
	const struct drm_syncobj_destroy *args = argument;
	struct xe_object *object;

	if (args->pad)
		return -EINVAL;
	object = xe_file_remove(file, XE_KIND_SYNCOBJ, args->handle);
	if (!object)
		return -EINVAL;
	xe_object_put(object);
	return 0;
}

/* An entry of an array of handles. */
struct entry {
	struct xe_syncobj *syncobj;
	uint64_t point;
};

/* As many as the kernel would have memory for in one piece. */
#define ARRAY_MAX (1u << 20)

/* Where points are @given each is read. Return: 0; -errno: some have been found. */
static int find_entries(struct xe_file *file, uint64_t handles, uint64_t points, bool given,
			struct entry *entries, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct xe_object *object;
		uint32_t handle;
		int err;

		err = xe_copy_in(file->card, &handle, handles + 4 * (uint64_t)i, 4);
		if (!err && given)
			err = xe_copy_in(file->card, &entries[i].point,
					 points + 8 * (uint64_t)i, 8);
		if (err)
			return err;
		object = xe_file_find(file, XE_KIND_SYNCOBJ, handle);
		if (!object)
			return -ENOENT;
		entries[i].syncobj = xe_syncobj_of(object);
	}
	return 0;
}

/* Call @run for each object of an array of handles, and its point of an array of such, which
 * it reads, or @writes. All are found before it is called for the first. */
static int for_each(struct xe_file *file, uint64_t handles, uint64_t points, uint32_t count,
		    int (*run)(struct xe_syncobj *syncobj, uint64_t *point, uint32_t flags),
		    uint32_t flags, bool writes)
{
	size_t bytes = count * sizeof(struct entry);
	struct entry *entries;
	int err;

	if (count > ARRAY_MAX)
		return -ENOMEM;
	entries = xe_alloc(file->card, bytes);
	if (!entries)
		return -ENOMEM;
	err = find_entries(file, handles, points, points && !writes, entries, count);
	for (uint32_t i = 0; i < count && !err; i++) {
		err = run(entries[i].syncobj, &entries[i].point, flags);
		if (!err && writes)
			err = xe_copy_out(file->card, points + 8 * (uint64_t)i,
					  &entries[i].point, 8);
	}
	for (uint32_t i = 0; i < count; i++) {
		if (entries[i].syncobj)
			xe_object_put(&entries[i].syncobj->object);
	}
	xe_free(file->card, entries, bytes);
	return err;
}

static int reset_one(struct xe_syncobj *syncobj, uint64_t *point UNUSED, uint32_t flags UNUSED)
{
	xe_syncobj_clear(syncobj);
	return 0;
}

int xe_ioctl_syncobj_reset(struct xe_file *file, void *argument)
{
	const struct drm_syncobj_array *args = argument;

	if (args->pad || !args->count)
		return -EINVAL;
	return for_each(file, args->handles, 0, args->count, reset_one, 0, false);
}

static int signal_one(struct xe_syncobj *syncobj, uint64_t *point, uint32_t flags UNUSED)
{
	struct xe_fence *fence = xe_fence_create(syncobj->card);
	int err;

	if (!fence)
		return -ENOMEM;
	xe_fence_signal(fence, 0);
	err = xe_syncobj_add(syncobj, *point, fence);
	xe_fence_put(fence);
	return err;
}

int xe_ioctl_syncobj_signal(struct xe_file *file, void *argument)
{
	const struct drm_syncobj_array *args = argument;

	if (args->pad || !args->count)
		return -EINVAL;
	return for_each(file, args->handles, 0, args->count, signal_one, 0, false);
}

int xe_ioctl_syncobj_timeline_signal(struct xe_file *file, void *argument)
{
	const struct drm_syncobj_timeline_array *args = argument;

	if (args->flags || !args->count)
		return -EINVAL;
	return for_each(file, args->handles, args->points, args->count, signal_one, 0, false);
}

static int query_one(struct xe_syncobj *syncobj, uint64_t *point, uint32_t flags)
{
	struct xe_fence *fence = NULL;

	if (xe_syncobj_look(syncobj, 0, &fence) == XE_POINT_SUBMITTED)
		xe_fence_put(fence);
	lock_acquire(&syncobj->card->fence_lock);
	*point = syncobj->signaled;
	if ((flags & DRM_SYNCOBJ_QUERY_LAST_SUBMITTED) && !list_is_empty(&syncobj->points))
		*point = LIST_ENTRY(syncobj->points.prev, struct xe_point, node)->value;
	lock_release(&syncobj->card->fence_lock);
	return 0;
}

int xe_ioctl_syncobj_query(struct xe_file *file, void *argument)
{
	const struct drm_syncobj_timeline_array *args = argument;

	if (args->flags & ~DRM_SYNCOBJ_QUERY_LAST_SUBMITTED || !args->count)
		return -EINVAL;
	return for_each(file, args->handles, args->points, args->count, query_one, args->flags,
			true);
}

static int transfer(struct xe_syncobj *from, struct xe_syncobj *to,
		    const struct drm_syncobj_transfer *args)
{
	struct xe_fence *fence = NULL;
	enum xe_point_state state = xe_syncobj_look(from, args->from_point, &fence);
	int err;

	if (state == XE_POINT_NONE)
		return -EINVAL;
	if (state == XE_POINT_DONE) {
		uint64_t point = args->to_point;

		return signal_one(to, &point, 0);
	}
	err = xe_syncobj_add(to, args->to_point, fence);
	xe_fence_put(fence);
	return err;
}

int xe_ioctl_syncobj_transfer(struct xe_file *file, void *argument)
{
	const struct drm_syncobj_transfer *args = argument;
	struct xe_object *from, *to;
	int err = -ENOENT;

	if (args->pad || args->flags & ~DRM_SYNCOBJ_WAIT_FOR_SUBMIT)
		return -EINVAL;
	from = xe_file_find(file, XE_KIND_SYNCOBJ, args->from);
	to = xe_file_find(file, XE_KIND_SYNCOBJ, args->to);
	if (from && to)
		err = transfer(xe_syncobj_of(from), xe_syncobj_of(to), args);
	xe_object_put(from);
	xe_object_put(to);
	return err;
}
