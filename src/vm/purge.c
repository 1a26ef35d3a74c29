/* SPDX-License-Identifier: MIT */
/*
 * DOC: Bytes that nobody needs
 *
 * A program that keeps an object for later may say of each of its binds that the bytes are
 * not needed. While all binds say so the object is DONTNEED: nothing new may lead to it, and
 * eviction throws its bytes away instead of keeping them. From then on it is PURGED, for
 * ever; the program sees it by asking again, and the CPU by SIGBUS.
 *
 *     WILLNEED <--- advice, a bind comes or goes ---> DONTNEED --- bo_evict() ---> PURGED
 *
 * What stays where it is keeps its bytes: only eviction from device memory throws away.
 * There is no shrinker of system memory here, for the kernel has one for what it swaps.
 *
 * Upstream: madvise_purgeable(), xe_bo_willneed_put_locked(), xe_bo_move() of an object
 * that is DONTNEED.
 */
#include "vm/bo_internal.h"

#include <errno.h>

#define GPU_END (1ull << 48)

void vm_bo_need_locked(struct vm_bo *bo)
{
	bool dontneed = true;

	lock_assert_held(mm_event_lock(bo->device->mm));
	/* Without binds it stays as it was. */
	if (list_is_empty(&bo->binds))
		return;
	LIST_FOR_EACH(node, &bo->binds)
		dontneed &= LIST_ENTRY(node, struct vm_bind, bo_node)->dontneed;
	bo->dontneed = dontneed;
}

static enum vm_need need_locked(const struct vm_bo *bo)
{
	if (bo->state == VM_BO_PURGED)
		return VM_NEED_PURGED;
	return bo->dontneed ? VM_NEED_DONTNEED : VM_NEED_WILLNEED;
}

enum vm_need vm_bo_need(struct vm_bo *bo)
{
	enum vm_need need;

	vm_bo_lock_settled(bo);
	need = need_locked(bo);
	lock_release(mm_event_lock(bo->device->mm));
	return need;
}

static enum vm_need advise(struct vm_bo *bo, struct vm_bind *bind, bool needed)
{
	enum vm_need need;

	vm_bo_lock_settled(bo);
	bind->dontneed = !needed;
	vm_bo_need_locked(bo);
	need = need_locked(bo);
	lock_release(mm_event_lock(bo->device->mm));
	return need;
}

int vm_advise_need(struct vm *vm, struct span span, bool needed, bool *has_purged)
{
	struct interval_node *node;

	*has_purged = false;
	if (span_is_empty(span) || !IS_ALIGNED(span.start | span.end, PAGE_BYTES) ||
	    span.end > GPU_END)
		return -EINVAL;
	lock_acquire(&vm->lock);
	for (node = interval_tree_first(&vm->binds, span); node;
	     node = interval_tree_next(node, span)) {
		struct vm_bind *bind = CONTAINER_OF(node, struct vm_bind, node);

		if (bind->bo && (bind->bo->flags & VM_BO_PURGEABLE))
			*has_purged |= advise(bind->bo, bind, needed) == VM_NEED_PURGED;
	}
	lock_release(&vm->lock);
	return 0;
}
