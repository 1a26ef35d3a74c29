/* SPDX-License-Identifier: MIT */
/*
 * DOC: User pointers and munmap()
 *
 * Where jobs may not fault they use the process's memory at user pointers with no look at
 * what becomes of it. In the kernel a notifier makes munmap() wait for them. An event of the
 * userfaultfd comes when the pages are gone already, so that the preloaded munmap() and its
 * kin ask here first; what the C library unmaps by itself does not pass by.
 *
 * Every span that was bound is kept until its address space goes: a wait too many does no
 * harm.
 *
 * Upstream: xe_vma_userptr_invalidate().
 */
#include "xe/xe_internal.h"

#include <errno.h>

struct userptr {
	struct list node;
	struct xe_vm *vm;
	struct span span;
};

int xe_userptr_add(struct xe_vm *vm, struct span span)
{
	struct xe_card *card = vm->card;
	struct userptr *u = xe_alloc(card, sizeof(*u));
	bool is_known = false;

	if (!u)
		return -ENOMEM;
	u->vm = vm;
	u->span = span;
	lock_acquire(&card->fence_lock);
	LIST_FOR_EACH(node, &card->userptrs) {
		const struct userptr *other = LIST_ENTRY(node, struct userptr, node);

		is_known |= other->vm == vm && span_covers(other->span, span);
	}
	if (!is_known) {
		list_push_back(&card->userptrs, &u->node);
		ATOMIC_ADD(&card->userptr_count, 1);
	}
	lock_release(&card->fence_lock);
	if (is_known)
		xe_free(card, u, sizeof(*u));
	return 0;
}

void xe_userptrs_forget(struct xe_vm *vm)
{
	struct xe_card *card = vm->card;
	struct list gone;
	struct list *first;

	list_init(&gone);
	lock_acquire(&card->fence_lock);
	LIST_FOR_EACH_SAFE(node, &card->userptrs) {
		if (LIST_ENTRY(node, struct userptr, node)->vm != vm)
			continue;
		list_remove(node);
		list_push_back(&gone, node);
		ATOMIC_SUB(&card->userptr_count, 1);
	}
	lock_release(&card->fence_lock);
	while ((first = list_pop_front(&gone)))
		xe_free(card, LIST_ENTRY(first, struct userptr, node), sizeof(struct userptr));
}

/* The fence of a job that may use memory in @span, with a reference; NULL: none does. */
static struct xe_fence *find_job(struct xe_card *card, struct span span, uint64_t before_ns)
{
	struct xe_fence *fence = NULL;

	lock_acquire(&card->fence_lock);
	LIST_FOR_EACH(node, &card->running) {
		struct xe_job *job = LIST_ENTRY(node, struct xe_job, in_card);

		if (fence || job->submitted_ns > before_ns)
			continue;
		LIST_FOR_EACH(other, &card->userptrs) {
			const struct userptr *u = LIST_ENTRY(other, struct userptr, node);

			if (!fence && u->vm == job->queue->vm && span_overlaps(u->span, span))
				fence = xe_fence_get(job->fence);
		}
	}
	lock_release(&card->fence_lock);
	return fence;
}

void xe_before_unmap(struct xe_card *card, uint64_t start, uint64_t end)
{
	struct span span = { start, end };
	struct xe_fence *fence;
	uint64_t now;

	if (!ATOMIC_LOAD_RELAXED(&card->userptr_count))
		return;
	/* Those that come later find the memory gone, which is their client's fault. */
	now = card->sys->ops->clock_ns(card->sys);
	while ((fence = find_job(card, span, now))) {
		uint32_t ticket = wait_ticket(&card->changed);

		if (!xe_fence_is_done(fence)) {
			xe_watchdog_look(card);
			wait_sleep(&card->changed, ticket, XE_WATCHDOG_NS);
		}
		xe_fence_put(fence);
	}
}
