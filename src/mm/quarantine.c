/* SPDX-License-Identifier: MIT */
/*
 * DOC: Quarantine
 *
 * A REMOVE message (MADV_DONTNEED, MADV_FREE) is read *before* the kernel zaps
 * the pages it names. A take in between would carry the dying contents to the
 * device, where they would outlive the call (T2, law 13). So pages that were
 * HOME when a REMOVE named them are left alone until one of these is seen:
 *
 *  - the page is a hole: the zap is over (or there was nothing to zap);
 *  - no thread of the process is inside madvise(): every zap that was announced
 *    is over. Threads that wait for the GPU are where this mostly finds them;
 *  - the page was write-protected (async), which succeeds only when no event is
 *    in flight, and has been WRITTEN since: 0 of 298,776 takes went wrong by it.
 *
 * Until then the GPU uses the page in place, through a system PTE.
 *
 * Spans are kept in a tree and trimmed as they are released. Who cannot get a
 * node for a split keeps the larger span: to leave a page alone is always right.
 */
#include "mm/mm_internal.h"

#include "base/assert.h"

#define QUARANTINE_RUNS 64
/* A program that discards without end must not make us grow without end. */
#define QUARANTINE_NODES_MAX 512

static struct mm_quarantine *first(struct mm *mm, struct span span)
{
	struct interval_node *node = interval_tree_first(&mm->quarantine, span);

	return node ? CONTAINER_OF(node, struct mm_quarantine, node) : NULL;
}

/* @span is as @like, which may be a node that was put back. */
static void insert(struct mm *mm, struct span span, struct mm_quarantine like)
{
	struct mm_quarantine *q;

	lock_assert_held(&mm->event_lock);
	if (span_is_empty(span))
		return;
	q = mm_node_take(mm);
	*q = like;
	q->node.span = span;
	interval_tree_insert(&mm->quarantine, &q->node);
}

/* What of @q lies in @span. */
static void clear_part(struct mm *mm, struct mm_quarantine *q, struct span span)
{
	struct mm_quarantine old = *q;
	struct span was = old.node.span;

	lock_assert_held(&mm->event_lock);
	interval_tree_remove(&mm->quarantine, &q->node);
	mm_node_put(mm, q);
	insert(mm, (struct span){ was.start, MAX(was.start, span.start) }, old);
	insert(mm, (struct span){ MIN(was.end, span.end), was.end }, old);
}

void mm_quarantine_clear(struct mm *mm, struct span span)
{
	struct mm_quarantine *q;

	while ((q = first(mm, span)))
		clear_part(mm, q, span);
}

/* An UNMAP of @span: what was there before is no more. A REMOVE that was read before may be
 * about what came since, for the thread that unmapped may tell late (remap.c). */
void mm_quarantine_unmap(struct mm *mm, struct span span)
{
	struct mm_quarantine *q;

	while (!span_is_empty(span) && (q = first(mm, span))) {
		uint64_t end = q->node.span.end;

		if (q->number <= mm->remove_settled) /* D1 */
			clear_part(mm, q, span);
		span.start = end;
	}
}

/* Is no message owed? Then what an UNMAP says from now on is younger than each REMOVE. */
void mm_quarantine_settle(struct mm *mm)
{
	lock_assert_held(&mm->event_lock);
	if (mm->quarantine.count && mm->remove_settled != mm->remove_count &&
	    !mm_message_is_owed(mm))
		mm->remove_settled = mm->remove_count;
}

void mm_quarantine_add(struct mm *mm, struct span span)
{
	if (mm->ending)
		return;
	mm_stat_add(&mm->stats.quarantined, span_pages(span));
	/* Too many: one larger span takes the place of this one and a neighbour. */
	if (mm->quarantine.count >= QUARANTINE_NODES_MAX) {
		struct mm_quarantine *q = first(mm, (struct span){ span.end, UINT64_MAX });

		if (!q)
			q = first(mm, (struct span){ 0, UINT64_MAX });
		span.start = MIN(span.start, q->node.span.start);
		span.end = MAX(span.end, q->node.span.end);
	}
	mm_quarantine_clear(mm, span);
	insert(mm, span, (struct mm_quarantine){ .number = ++mm->remove_count });
}

bool mm_quarantine_meets(struct mm *mm, struct span span)
{
	return first(mm, span) != NULL;
}

/* The pages of @run were written since their protection, those that have one: new. */
static void clear_written(struct mm *mm, struct span run)
{
	struct mm_quarantine *q;

	lock_assert_held(&mm->event_lock);
	while ((q = first(mm, run))) {
		struct span part = span_intersect(q->node.span, run);

		if (q->protected)
			mm_quarantine_clear(mm, part);
		run.start = part.end;
	}
}

/* Clear the gaps between @runs: holes, up to @seen. Then the runs that are new. */
static void clear_seen(struct mm *mm, struct span span, const struct sys_page_run *runs,
		       size_t count)
{
	uint64_t hole = span.start;

	lock_assert_held(&mm->event_lock);
	for (size_t i = 0; i < count; i++) {
		struct span run = span_intersect(runs[i].span, span);

		if (run.start > hole)
			mm_quarantine_clear(mm, (struct span){ hole, run.start });
		hole = run.end;
		if (runs[i].flags & SYS_PAGE_WRITTEN)
			clear_written(mm, run);
	}
	if (hole < span.end)
		mm_quarantine_clear(mm, (struct span){ hole, span.end });
}

/* Make @addr a border. */
static void cut(struct mm *mm, uint64_t addr)
{
	struct mm_quarantine *q = first(mm, span_make(addr, 1));

	lock_assert_held(&mm->event_lock);
	if (q && q->node.span.start != addr)
		clear_part(mm, q, (struct span){ addr, addr });
}

/* Write-protect what is left of @span, which was looked at: no hole is among it. Then a
 * later look can tell that a page is new. */
static void protect(struct mm *mm, struct span span)
{
	struct interval_node *node;

	lock_assert_held(&mm->event_lock);
	if (!sys_has(mm->sys, SYS_FEATURE_WP_ASYNC))
		return;
	cut(mm, span.start);
	cut(mm, span.end);
	node = interval_tree_first(&mm->quarantine, span);
	for (; node; node = interval_tree_next(node, span)) {
		struct mm_quarantine *q = CONTAINER_OF(node, struct mm_quarantine, node);

		if (!q->protected)
			q->protected = !mm->sys->ops->uffd_writeprotect(
				mm->sys, mm->uffd, node->span, true);
	}
}

/* A worker looks whether the pages of @span may be taken again. */
void mm_quarantine_release(struct mm *mm, struct span span)
{
	struct sys_page_run runs[QUARANTINE_RUNS];
	const size_t nodes = 4 * QUARANTINE_RUNS + 8;
	uint64_t seq, end;
	size_t count = 0;
	bool busy = true;

	mm_lock(mm);
	seq = mm->event_seq;
	if (!mm_quarantine_meets(mm, span)) {
		mm_unlock(mm, 0);
		return;
	}
	mm_unlock(mm, 0);

	/* Sampled before the look: what is announced later has a larger seq. */
	if (mm->sys->ops->madvise_in_flight(mm->sys, &busy))
		busy = true;
	if (mm_reserve(mm, nodes))
		return;
	mm_lock(mm);
	if (!busy && !mm_changed_since(mm, seq, span)) {
		mm_quarantine_clear(mm, span);
	} else if (!mm->sys->ops->page_scan(mm->sys, span, runs, QUARANTINE_RUNS, &count,
					    &end)) {
		span.end = end;
		clear_seen(mm, span, runs, count);
		protect(mm, span);
	}
	mm_unlock(mm, nodes);
}

void mm_quarantine_fini(struct mm *mm)
{
	struct mm_quarantine *q;

	mm_lock(mm);
	while ((q = first(mm, (struct span){ 0, UINT64_MAX }))) {
		interval_tree_remove(&mm->quarantine, &q->node);
		mm_node_put(mm, q);
	}
	mm_unlock(mm, 0);
}
