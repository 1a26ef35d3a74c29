/* SPDX-License-Identifier: MIT */
/*
 * DOC: Notifiers, the event log, and stopping engines
 *
 * A notifier is a span somebody translates. Before pages of it move, and before
 * a thread that changed its mapping runs on, invalidate() is called, with the
 * engines outside of their sections: what it revokes is used by nobody when the
 * engines run again (laws 7 and 16).
 *
 * The collision of an invalidation with a collection of pages is closed by a
 * sequence number, as upstream's mmu_interval_read_begin() and _retry():
 *
 *     collector                         invalidation (event_lock held)
 *     seq = read_begin()
 *     looks entries up (event_lock)     seq changes
 *                                       invalidate(): takes the binder's lock
 *     binder's lock                     tables change
 *     read_retry(seq)? start again
 *     bind
 *
 * Whatever comes first at the binder's lock, a stale binding does not survive:
 * bound before, it is revoked; after, the retry is seen (N1).
 *
 * The event log answers the same question for takes: was anything in my span
 * changed since I looked the VMA up (law 4)? It keeps the last MM_LOG_MAX spans;
 * what is older counts as a change.
 *
 * Upstream: mmu_interval_notifier, mm/mmu_notifier.c.
 */
#include "mm/mm_internal.h"

#include "base/assert.h"
#include "base/plant.h"

void mm_notifier_insert(struct mm *mm, struct mm_notifier *notifier, struct span span,
			const struct mm_notifier_ops *ops)
{
	notifier->node.span = span;
	notifier->ops = ops;
	notifier->seq = 0;
	lock_acquire(&mm->event_lock);
	interval_tree_insert(&mm->notifiers, &notifier->node);
	lock_release(&mm->event_lock);
}

void mm_notifier_remove(struct mm *mm, struct mm_notifier *notifier)
{
	lock_acquire(&mm->event_lock);
	interval_tree_remove(&mm->notifiers, &notifier->node);
	lock_release(&mm->event_lock);
}

uint64_t mm_notifier_read_begin(const struct mm_notifier *notifier)
{
	return ATOMIC_LOAD_ACQUIRE(&notifier->seq);
}

bool mm_notifier_read_retry(const struct mm_notifier *notifier, uint64_t seq)
{
	return ATOMIC_LOAD_ACQUIRE(&notifier->seq) != seq;
}

/* Call the notifiers of @span. Engines are stopped. */
void mm_notify(struct mm *mm, struct span span, enum mm_event_type type)
{
	struct interval_node *node = interval_tree_first(&mm->notifiers, span);

	for (; node; node = interval_tree_next(node, span)) {
		struct mm_notifier *n = CONTAINER_OF(node, struct mm_notifier, node);
		struct mm_event event = { type, span_intersect(span, node->span) };

		if (!PLANTED(NOTIFY_LATE))
			ATOMIC_ADD(&n->seq, 1);
		n->ops->invalidate(n, &event);
		if (PLANTED(NOTIFY_LATE)) {
			plant_yield();
			ATOMIC_ADD(&n->seq, 1);
		}
	}
	mm_trace(mm, TRACE_INVALIDATE, span.start, span_bytes(span), type, 0);
}

void mm_invalidate_locked(struct mm *mm, struct span span, enum mm_event_type type)
{
	lock_assert_held(&mm->event_lock);
	if (!interval_tree_first(&mm->notifiers, span))
		return;
	mm_quiesce_stop(mm);
	mm_notify(mm, span, type);
	mm_quiesce_resume(mm);
}

void mm_quiesce_insert(struct mm *mm, struct mm_quiesce *quiesce)
{
	lock_acquire(&mm->event_lock);
	list_push_back(&mm->quiesce, &quiesce->node);
	lock_release(&mm->event_lock);
}

void mm_quiesce_remove(struct mm *mm, struct mm_quiesce *quiesce)
{
	lock_acquire(&mm->event_lock);
	list_remove(&quiesce->node);
	lock_release(&mm->event_lock);
}

struct mm_quiesce *mm_quiesce_find(struct mm *mm, const void *user)
{
	lock_assert_held(&mm->event_lock);
	LIST_FOR_EACH(node, &mm->quiesce) {
		struct mm_quiesce *q = LIST_ENTRY(node, struct mm_quiesce, node);

		if (q->user == user)
			return q;
	}
	return NULL;
}

/* After it no engine is inside a section, until mm_quiesce_resume(). */
void mm_quiesce_stop(struct mm *mm)
{
	bool active = false;

	lock_assert_held(&mm->event_lock);
	LIST_FOR_EACH(node, &mm->quiesce) {
		struct mm_quiesce *q = LIST_ENTRY(node, struct mm_quiesce, node);

		active |= q->ops->stop(q->user);
	}
	if (!active)
		return;
	/* The other half of usvm_section_try_enter(). */
	mm->sys->ops->barrier(mm->sys); /* Q2 */
	if (PLANTED(STOP_NO_WAIT))
		return;
	LIST_FOR_EACH(node, &mm->quiesce) {
		struct mm_quiesce *q = LIST_ENTRY(node, struct mm_quiesce, node);

		q->ops->wait_stopped(q->user);
	}
}

void mm_quiesce_resume(struct mm *mm)
{
	lock_assert_held(&mm->event_lock);
	LIST_FOR_EACH(node, &mm->quiesce) {
		struct mm_quiesce *q = LIST_ENTRY(node, struct mm_quiesce, node);

		q->ops->resume(q->user);
	}
}

void mm_log_locked(struct mm *mm, struct span span)
{
	mm->log[mm->event_seq % MM_LOG_MAX] = span;
	ATOMIC_STORE_RELEASE(&mm->event_seq, mm->event_seq + 1);
}

/* True if an event that meets @span may have been read since @seq was sampled. */
bool mm_changed_since(struct mm *mm, uint64_t seq, struct span span)
{
	if (mm->event_seq - seq > MM_LOG_MAX)
		return true;
	for (; seq != mm->event_seq; seq++) {
		if (span_overlaps(mm->log[seq % MM_LOG_MAX], span))
			return true;
	}
	return false;
}
