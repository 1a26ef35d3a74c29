/* SPDX-License-Identifier: MIT */
/*
 * DOC: Which UNMAP is meant, and which REMAP
 *
 * The kernel changes the address space first, drops its lock, and queues the
 * message then. A thread that is preempted in between tells late, and what it
 * unmapped is free all the while. Another thread's mremap() may put its pages
 * there (two large realloc()s are enough: the kernel likes the address that was
 * freed last), and what is read then is
 *
 *     munmap(A) of one thread                 REMAP B -> A    UNMAP A
 *     mremap(A -> X), told twice   REMAP A -> X    REMAP B -> A    UNMAP A
 *     mmap() over what arrived                     UNMAP A         REMAP B -> A
 *
 * The UNMAP is about what left A, not about what arrived since. A munmap() of
 * what arrived looks the same. So an entry that came by a REMAP is not dropped
 * at an UNMAP but *doubted*, as is one that arrives where an UNMAP was read since all was
 * settled, and the kernel is asked once it can know:
 *
 *     ZEROPAGE on a page that is there says -EAGAIN as long as any message is
 *     owed, from before the change that it tells of. Else all is settled: what
 *     an UNMAP says from now on is meant for what is there now.
 *
 *     WRITEPROTECT(off) of the doubted page then says 0 where the mapping is
 *     registered: it moved here with its entry, which lives. -ENOENT where it is
 *     not, or is none: the entry dies.
 *
 * The second answer would be wrong had we registered a new mapping there in the
 * meantime. So whoever registers has all settled first, under the same hold of
 * event_lock (U1). Nothing is served from a doubted entry: MOVE and COPY say -EAGAIN
 * as long as a message is owed, and who collects pages for an engine waits.
 *
 * It would be wrong, too, where a registered mapping in front of the place grew over
 * it between an munmap() of what arrived and the settling: growth is told by nothing.
 * But what grew starts in front of the place, and what arrived does not, unless the
 * munmap() was of a part. Then the UNMAP is believed, for a part is what left late
 * only where we had not known it to be mapped: else it is in mm.left, below.
 *
 * A REMAP is told late as well, and what arrived was told before:
 *
 *     mremap(A -> X)                          REMAP C -> A    REMAP A -> X    UNMAP A
 *
 * The kernel had A free. So when a REMAP comes to a place that the table of
 * registrations knows as mapped, who left it has still to tell. The place is put
 * into mm.left, and entries that are there into mm.displaced. The first message about
 * it is about what left: a REMAP takes the displaced entries and not what arrived,
 * and the UNMAP behind it means nothing; an UNMAP alone drops them.
 *
 * "First" has to be seen to: with A -> Y by who moved C there, three calls are about
 * A. He does not leave A before his mremap() has returned, and it returns when its
 * last message is read. So nothing is read until who left A first is seen asleep in
 * his call, for then his message is queued, and the queue is kept in order (U2). He
 * runs, and needs nothing of ours to get there; in case he cannot be seen, for a
 * thread that the C library does not know, the wait has an end.
 *
 * For this the table says "mapped" only where a mapping is registered and no message
 * of it is owed.
 */
#include "mm/mm_internal.h"

#include <errno.h>

#include "base/assert.h"

/* Each may need a node, and few are reserved. The rest is for the next time. */
#define SETTLED_AT_ONCE (MM_EVENT_NODES / 4)

/* Has anybody changed the address space and not told yet? */
bool mm_message_is_owed(struct mm *mm)
{
	struct span page = span_make(mm->fence_page, PAGE_BYTES);
	uint64_t done;

	lock_assert_held(&mm->event_lock);
	return mm->sys->ops->uffd_zeropage(mm->sys, mm->uffd, page, &done) == -EAGAIN;
}

/*
 * Does what is in @entry live? Asked for its first part, to which *@span is cut: a hole, or
 * what lies in one mapping. The look may be older than the answer about registration, but
 * not older than a change that is owed. A mapping that is registered may be another, which
 * has grown over the place of one that went, and nobody tells: then it starts before that
 * place, or there was a hole when we looked.
 * Return: 1; 0; -EAGAIN a message is owed, or mappings cannot be looked at.
 */
static int find_part(struct mm *mm, const struct mm_entry *entry, struct span *span)
{
	struct span page = span_make(span->start, PAGE_BYTES);
	struct sys_vma vma;
	int err = mm->sys->ops->vma_query(mm->sys, span->start, true, &vma);
	bool is_hole = err == -ENOENT || (!err && vma.span.start > span->start);
	int registered;

	lock_assert_held(&mm->event_lock);
	if (err && !is_hole)
		return -EAGAIN;
	if (!err)
		span->end = MIN(span->end, is_hole ? vma.span.start : vma.span.end);
	/* One page: a hole in what it is asked for is no error. A mark stays. */
	registered = mm->sys->ops->uffd_writeprotect(mm->sys, mm->uffd, page,
						     entry->marked && mm_is_marked(mm, page));
	if (registered == -EAGAIN)
		return -EAGAIN;
	return !registered && !is_hole && vma.span.start >= entry->doubted_from;
}

static int settle_entry(struct mm *mm, struct mm_entry *entry)
{
	struct span span = entry->node.span;
	int lives = find_part(mm, entry, &span);

	lock_assert_held(&mm->event_lock);
	if (lives < 0)
		return lives;
	mm_entry_split(mm, span.end);
	if (lives) {
		mm_entry_set_doubted(mm, entry, false);
		return 0;
	}
	/* A fault of an engine may have bound it in the meantime. */
	mm_invalidate_locked(mm, span, MM_EVENT_UNMAP); /* Q3 */
	mm_entry_drop_span(mm, span);
	return 0;
}

/* Is every message that was read known to be older than those that are not? */
bool mm_is_settled(struct mm *mm)
{
	lock_assert_held(&mm->event_lock);
	return mm->settled_count == mm->remap_count && !mm->doubted_count &&
	       (!mm->quarantine.count || mm->remove_settled == mm->remove_count);
}

/*
 * Settle what is in doubt. Return: true: everything is, and whatever changes from now on is
 * told by messages that are not read yet; false: a message is owed, try again later.
 */
bool mm_remap_settle(struct mm *mm)
{
	struct mm_entry *entry;
	uint32_t tries = SETTLED_AT_ONCE;

	lock_assert_held(&mm->event_lock);
	if (mm->settled_count == mm->remap_count && !mm->doubted_count)
		return true;
	if (mm_message_is_owed(mm))
		return false;
	mm->settled_count = mm->remap_count;
	mm->settled_seq = mm->event_seq;
	/* Nobody told where to: it was unmapped, or it is not known that it was. */
	mm_entry_drop_displaced(mm, (struct span){ 0, UINT64_MAX });
	mm_left_forget(mm);
	while (mm->doubted_count) {
		entry = mm_entry_first(mm, mm->doubt);
		while (entry && !entry->doubted)
			entry = mm_entry_next(entry, mm->doubt);
		ASSERT(entry);
		if (!tries-- || settle_entry(mm, entry))
			return false;
	}
	mm->doubt = (struct span){ 0, 0 };
	return true;
}

/* A REMAP brought what is in @span, and may be older than an UNMAP of it. */
void mm_remap_doubt_all(struct mm *mm, struct span span)
{
	struct mm_entry *entry = mm_entry_first(mm, span);

	lock_assert_held(&mm->event_lock);
	for (; entry; entry = mm_entry_next(entry, span))
		mm_entry_set_doubted(mm, entry, true);
}

/* Entries in @span may be in doubt from now on. */
void mm_remap_doubt(struct mm *mm, struct span span)
{
	lock_assert_held(&mm->event_lock);
	if (span_is_empty(mm->doubt))
		mm->doubt = span;
	mm->doubt.start = MIN(mm->doubt.start, span.start);
	mm->doubt.end = MAX(mm->doubt.end, span.end);
}

/* --- places that something left ------------------------------------------- */

struct mm_registration *mm_left_first(struct mm *mm, struct span span)
{
	struct interval_node *node = interval_tree_first(&mm->left, span);

	return node ? CONTAINER_OF(node, struct mm_registration, node) : NULL;
}

/* Did something leave @span of which no REMAP was read? */
bool mm_left_is_untold(struct mm *mm, struct span span)
{
	struct interval_node *node = interval_tree_first(&mm->left, span);

	while (node && CONTAINER_OF(node, struct mm_registration, node)->told)
		node = interval_tree_next(node, span);
	return node != NULL;
}

static void left_insert(struct mm *mm, struct span span, struct mm_registration like)
{
	struct mm_registration *left;

	lock_assert_held(&mm->event_lock);
	if (span_is_empty(span))
		return;
	left = mm_node_take(mm);
	*left = like;
	left->node.span = span;
	interval_tree_insert(&mm->left, &left->node);
}

/* Take @span out of @left, which meets it. Return: what it was. */
static struct mm_registration left_cut(struct mm *mm, struct mm_registration *left,
				       struct span span)
{
	struct mm_registration old = *left;
	struct span was = old.node.span;

	lock_assert_held(&mm->event_lock);
	interval_tree_remove(&mm->left, &left->node);
	mm_node_put(mm, left);
	left_insert(mm, (struct span){ was.start, MAX(was.start, span.start) }, old);
	left_insert(mm, (struct span){ MIN(was.end, span.end), was.end }, old);
	return old;
}

/* A REMAP from @span: its UNMAP is to come, and is not about what is there now. */
void mm_left_told(struct mm *mm, struct span span)
{
	struct mm_registration *left;

	while (!span_is_empty(span) && (left = mm_left_first(mm, span))) {
		struct span part = span_intersect(left->node.span, span);
		struct mm_registration told = left_cut(mm, left, part);

		told.told = true;
		left_insert(mm, part, told);
		span.start = part.end;
	}
}

/* An UNMAP of @span: what left is gone. What is registered there arrived since; elsewhere
 * nothing is. */
void mm_left_unmap(struct mm *mm, struct span span)
{
	struct mm_registration *left;

	mm_entry_drop_displaced(mm, span);
	while (!span_is_empty(span) && (left = mm_left_first(mm, span))) {
		struct span part = span_intersect(left->node.span, span);

		if (part.start > span.start)
			mm_registration_forget(mm, (struct span){ span.start, part.start });
		left_cut(mm, left, part);
		span.start = part.end;
	}
	if (!span_is_empty(span))
		mm_registration_forget(mm, span);
}

/* Something arrives at @to, which was free then: what we know to be there has left. */
void mm_left_add(struct mm *mm, struct span from, struct span to)
{
	struct mm_registration *left, *r;
	struct span rest = to;

	/* No other can have left before: the monitor has read of it (U2). */
	mm_entry_drop_displaced(mm, to);
	while ((left = mm_left_first(mm, to)))
		left_cut(mm, left, to);
	if (mm->ending)
		return;
	while (!span_is_empty(rest) && mm->left.count < MM_LEFT_MAX &&
	       (r = mm_registration_first(mm, rest))) {
		struct span part = span_intersect(r->node.span, rest);
		struct mm_registration like = *r;

		like.told = false;
		left_insert(mm, part, like);
		mm_entry_displace(mm, part);
		rest.start = part.end;
		ATOMIC_STORE_RELAXED(&mm->leaver_tries, MM_LEAVER_TRIES);
		mm->arrived_from = from.start;
	}
	/* Of the rest an UNMAP was read. */
	mm_entry_drop_span(mm, to);
}

void mm_left_forget(struct mm *mm)
{
	struct mm_registration *left;

	ATOMIC_STORE_RELAXED(&mm->leaver_tries, 0);
	while ((left = mm_left_first(mm, (struct span){ 0, UINT64_MAX }))) {
		interval_tree_remove(&mm->left, &left->node);
		mm_node_put(mm, left);
	}
}

/* Does each place that was left untold have a thread that is about to tell? */
static bool leavers_are_seen(struct mm *mm, const struct span *places, size_t count,
			     uint64_t except)
{
	bool found = true;

	for (size_t i = 0; i < count && found; i++) {
		if (mm->sys->ops->unmap_in_flight(mm->sys, places[i], except, &found))
			found = false;
	}
	return found;
}

/*
 * Is the next message better not read yet? What arrived is held by the kernel until its last
 * message is read, and by then who left before has queued his: so the first message about
 * the place is that of who left first. Context: the monitor, no lock.
 */
bool mm_left_awaits(struct mm *mm)
{
	struct span places[MM_LEFT_MAX];
	struct interval_node *node;
	struct span all = { 0, UINT64_MAX };
	uint64_t except;
	size_t count = 0;

	if (!ATOMIC_LOAD_RELAXED(&mm->leaver_tries))
		return false;
	mm_lock(mm);
	if (mm->leaver_tries)
		ATOMIC_STORE_RELAXED(&mm->leaver_tries, mm->leaver_tries - 1);
	except = mm->arrived_from;
	node = interval_tree_first(&mm->left, all);
	for (; node && count < MM_LEFT_MAX; node = interval_tree_next(node, all)) {
		if (!CONTAINER_OF(node, struct mm_registration, node)->told)
			places[count++] = node->span;
	}
	mm_unlock(mm, 0);
	if (!count)
		return false;
	if (!leavers_are_seen(mm, places, count, except))
		return true; /* U2 */
	mm_lock(mm);
	ATOMIC_STORE_RELAXED(&mm->leaver_tries, 0);
	mm_unlock(mm, 0);
	return false;
}
