/* SPDX-License-Identifier: MIT */
/*
 * DOC: Fences
 *
 * A fence is one thing that will be over: a job, some binds, or two other fences. It is
 * looked up once, when an ioctl is called, and from then on it is that very thing,
 * whatever becomes of the sync object that named it.
 *
 * Callbacks run on the thread that signals, which may be an engine: they start jobs and
 * wake sleepers, and wait for nothing.
 */
#include "xe/xe_internal.h"

#include "base/assert.h"

struct xe_fence *xe_fence_create(struct xe_card *card)
{
	struct xe_fence *fence = xe_alloc(card, sizeof(*fence));

	if (!fence)
		return NULL;
	fence->references = 1;
	fence->card = card;
	list_init(&fence->callbacks);
	return fence;
}

struct xe_fence *xe_fence_get(struct xe_fence *fence)
{
	ATOMIC_ADD(&fence->references, 1);
	return fence;
}

void xe_fence_put(struct xe_fence *fence)
{
	if (!fence || ATOMIC_SUB(&fence->references, 1) != 1)
		return;
	ASSERT(list_is_empty(&fence->callbacks));
	xe_free(fence->card, fence, sizeof(*fence));
}

void xe_fence_signal(struct xe_fence *fence, int error)
{
	struct xe_card *card = fence->card;
	struct list callbacks;
	struct list *node;

	list_init(&callbacks);
	lock_acquire(&card->fence_lock);
	ASSERT(!fence->done);
	fence->error = error;
	ATOMIC_STORE(&fence->done, 1);
	list_splice_back(&callbacks, &fence->callbacks);
	lock_release(&card->fence_lock);
	while ((node = list_pop_front(&callbacks))) {
		struct xe_callback *callback = LIST_ENTRY(node, struct xe_callback, node);

		callback->run(callback);
	}
	wait_wake_all(&card->changed);
}

bool xe_fence_call(struct xe_fence *fence, struct xe_callback *callback)
{
	struct xe_card *card = fence->card;
	bool is_pending;

	lock_acquire(&card->fence_lock);
	is_pending = !fence->done;
	if (is_pending)
		list_push_back(&fence->callbacks, &callback->node);
	lock_release(&card->fence_lock);
	return is_pending;
}

struct join_part {
	struct xe_callback callback;
	struct join *join;
	struct xe_fence *of;
};

struct join {
	struct xe_fence *fence;
	uint32_t waits; /* atomic: parts that are not over, and 1 while it is made */
	int error;
	struct join_part parts[2];
};

static void join_step(struct join *join)
{
	struct xe_card *card = join->fence->card;

	if (ATOMIC_SUB(&join->waits, 1) != 1)
		return;
	for (int i = 0; i < 2; i++) {
		if (join->parts[i].of->error)
			join->error = join->parts[i].of->error;
		xe_fence_put(join->parts[i].of);
	}
	xe_fence_signal(join->fence, join->error);
	xe_fence_put(join->fence);
	xe_free(card, join, sizeof(*join));
}

static void join_run(struct xe_callback *callback)
{
	join_step(CONTAINER_OF(callback, struct join_part, callback)->join);
}

struct xe_fence *xe_fence_join(struct xe_fence *one, struct xe_fence *other)
{
	struct xe_card *card = one->card;
	struct xe_fence *fence = xe_fence_create(card);
	struct join *join = fence ? xe_alloc(card, sizeof(*join)) : NULL;

	if (!join) {
		xe_fence_put(fence);
		return NULL;
	}
	join->fence = xe_fence_get(fence);
	join->waits = 3;
	join->parts[0].of = xe_fence_get(one);
	join->parts[1].of = xe_fence_get(other);
	for (int i = 0; i < 2; i++) {
		struct join_part *part = &join->parts[i];

		part->join = join;
		part->callback.run = join_run;
		if (!xe_fence_call(part->of, &part->callback))
			ATOMIC_SUB(&join->waits, 1);
	}
	join_step(join);
	return fence;
}
