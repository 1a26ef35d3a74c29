/* SPDX-License-Identifier: MIT */
/*
 * vram/lru.c - who gives way when device memory is full.
 *
 * DOC: Eviction
 *
 * A call that evicts is a numbered pass. It takes the least recently used
 * object that no pass as new as its own has tried, marks it, and runs evict()
 * without the lock. So each call tries each object once at most, also when
 * several calls run at the same time and objects move on the list meanwhile.
 *
 * What an evictor frees it may use first: evict() is followed by the free of
 * the block and by the caller's next look for room under one hold of the lock.
 *
 * A pass that finds nothing to try waits while objects of others are leaving:
 * room is about to appear, or an object that could not leave comes back to the
 * list. It never waits with the lock held. It follows that evict() and
 * release() must not wait for anything that a caller of vram_bo_create() or
 * vram_evict_*() may hold, nor create with eviction themselves.
 */
#include "vram/vram_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"

#define EVICT_ALL_PASSES 3

uint64_t vram_evict_begin(struct vram *vram)
{
	lock_assert_held(&vram->lock);
	return ++vram->pass;
}

/* The next object to try, referenced; or NULL. *@dying: an object on the list is in its
 * last put and will free its block soon. */
static struct vram_bo *victim_get(struct vram *vram, uint64_t pass, bool *dying)
	MUST_HOLD(&vram->lock);
static struct vram_bo *victim_get(struct vram *vram, uint64_t pass, bool *dying)
{
	lock_assert_held(&vram->lock);
	*dying = false;
	LIST_FOR_EACH(node, &vram->lru) {
		struct vram_bo *bo = LIST_ENTRY(node, struct vram_bo, lru_node);

		if (bo->pass_tried >= pass)
			continue;
		if (vram_bo_try_get(bo))
			return bo;
		*dying = true;
	}
	return NULL;
}

static int victim_evict(struct vram *vram, struct vram_bo *bo) MUST_HOLD(&vram->lock);
static int victim_evict(struct vram *vram, struct vram_bo *bo)
{
	int err;

	lock_assert_held(&vram->lock);
	vram_bo_leave_begin(vram, bo);
	lock_release(&vram->lock);

	err = bo->ops->evict(bo, bo->owner);
	if (!err && bo->ops->release)
		bo->ops->release(bo, bo->owner); /* F2 */

	lock_acquire(&vram->lock);
	if (err)
		vram->stats.evictions_failed++;
	else
		vram->stats.evictions++;
	vram_bo_leave_end(vram, bo, err ? VRAM_BO_RESIDENT : VRAM_BO_EVICTED);
	return err;
}

int vram_evict_step(struct vram *vram, uint64_t pass, bool *evicted)
{
	struct vram_bo *bo;
	uint32_t ticket;
	bool dying;

	lock_assert_held(&vram->lock);
	*evicted = false;
	bo = victim_get(vram, pass, &dying);
	if (bo) {
		bo->pass_tried = pass;
		*evicted = !victim_evict(vram, bo);
		vram_bo_put_locked(vram, bo);
		return 0;
	}
	if (!vram->leaving_count && !dying)
		return -ENOSPC;

	/* Sampled under the lock: who leaves now needs the lock before it wakes us. */
	ticket = wait_ticket(&vram->left);
	lock_release(&vram->lock);
	wait_sleep(&vram->left, ticket, BASE_FOREVER);
	lock_acquire(&vram->lock);
	return 0;
}

void vram_bo_touch(struct vram_bo *bo)
{
	struct vram *vram = bo->vram;

	lock_acquire(&vram->lock);
	if (!list_is_empty(&bo->lru_node)) {
		list_remove(&bo->lru_node);
		list_push_back(&vram->lru, &bo->lru_node);
	}
	INVARIANT(vram_check_locked(vram));
	lock_release(&vram->lock);
}

int vram_evict_one(struct vram *vram)
{
	bool evicted = false;
	uint64_t pass;
	int err = 0;

	lock_assert_may_sleep("vram_evict_one");
	lock_acquire(&vram->lock);
	pass = vram_evict_begin(vram);
	while (!err && !evicted)
		err = vram_evict_step(vram, pass, &evicted);
	INVARIANT(vram_check_locked(vram));
	lock_release(&vram->lock);
	return err;
}

int vram_evict_all(struct vram *vram)
{
	bool evicted;
	bool empty = false;

	lock_assert_may_sleep("vram_evict_all");
	lock_acquire(&vram->lock);
	for (int i = 0; i < EVICT_ALL_PASSES && !empty; i++) {
		uint64_t pass = vram_evict_begin(vram);

		while (!vram_evict_step(vram, pass, &evicted))
			;
		empty = list_is_empty(&vram->lru);
	}
	INVARIANT(vram_check_locked(vram));
	lock_release(&vram->lock);
	return empty ? 0 : -EBUSY;
}
