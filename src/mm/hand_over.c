/* SPDX-License-Identifier: MIT */
/*
 * DOC: From owner to owner
 *
 * A page that one owner has goes to another without coming home between: its contents go from
 * frame to frame, and its entry changes hands, in one step under event_lock (E1). Nobody else
 * can see such a page: the process does not have it, and translations to it are revoked, with
 * the engines stopped, before it goes (Q3). So what holds of a take and makes it hard does not
 * matter here. No VMA is looked at, nothing is registered, no event that is in flight can
 * change the contents: what it says is said of an entry, and its effect is the same whoever
 * the entry's owner is. A page that mremap() has taken elsewhere, untold, goes to the new
 * owner like any other, and follows when it is told; one that is dying dies there.
 *
 * What cannot go stays where it is, whole: a piece is handed over as far as the new owner says
 * that it has it, from its start on. Frames of the new owner whose page mremap() took elsewhere
 * are not used.
 *
 * The arena to the arena: MOVE, which may be refused for reasons of the moment (somebody looks
 * at the frame, mlockall() locked one side); then the page is copied, which cannot be. A frame
 * that is empty has nothing left to move, whatever MOVE said (F1).
 */
#include "mm/mm_internal.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"

static bool is_wanted(const struct mm_hand_over *hand, const struct mm_entry *entry)
{
	const struct mm_entry_ops *ops = hand->owner->ops;

	return entry->owner != hand->owner && ops->is_peer &&
	       ops->is_peer(hand->owner, entry->owner);
}

/* The first entry from @at on that can be had. */
static struct mm_entry *first_wanted(struct mm *mm, const struct mm_hand_over *hand,
				     uint64_t at)
{
	struct span rest = { at, hand->span.end };
	struct mm_entry *entry = span_is_empty(rest) ? NULL : mm_entry_first(mm, rest);

	while (entry && !is_wanted(hand, entry))
		entry = mm_entry_next(entry, rest);
	return entry;
}

/* The part of @span, from its start on, whose frames are free; it may be empty. */
static struct span free_part(const struct mm_hand_over *hand, const uint64_t *used,
			     struct span span)
{
	uint64_t i = (span.start - hand->span.start) >> PAGE_SHIFT;
	uint64_t end = (span.end - hand->span.start) >> PAGE_SHIFT;
	uint64_t first;

	while (i < end && used[i / 64] >> (i % 64) & 1)
		i++;
	first = i;
	while (i < end && !(used[i / 64] >> (i % 64) & 1))
		i++;
	return (struct span){ hand->span.start + (first << PAGE_SHIFT),
			      hand->span.start + (i << PAGE_SHIFT) };
}

/* All of @entry, as far as it goes. Return: as mm_entry_ops.fetch(). */
static int hand_entry(struct mm *mm, struct mm_hand_over *hand, struct mm_entry *entry)
{
	uint64_t frame = hand->frame + (entry->node.span.start - hand->span.start);
	uint64_t done = 0;
	int err;

	lock_assert_held(&mm->event_lock);
	err = hand->owner->ops->fetch(hand->owner, frame, entry, &done);
	ASSERT(done <= span_bytes(entry->node.span) && IS_ALIGNED(done, PAGE_BYTES));
	PLANTED_GAP(PEER_TWO_STEPS, &mm->event_lock);
	if (!done)
		return err;
	mm_entry_split(mm, entry->node.span.start + done);
	hand->pages += done >> PAGE_SHIFT;
	if (!PLANTED(PEER_KEEPS_SOURCE))
		mm_entry_give(mm, entry, hand->owner, frame); /* E1 */
	return err;
}

/* Return: 0 what could go went; -EAGAIN an event is in flight, or a page is MOVING; -EBUSY a
 * fork is under way; -EIO. */
static int hand_over_locked(struct mm *mm, struct mm_hand_over *hand)
{
	uint64_t used[PAGES_PER_HUGE / 64] = { 0 };
	struct mm_entry *entry = first_wanted(mm, hand, hand->span.start);
	bool again = false;
	int err = 0;

	lock_assert_held(&mm->event_lock);
	if (!entry)
		return 0;
	if (mm->gate_closed && !PLANTED(GATE_OPEN)) /* G1 */
		return -EBUSY;
	mm_entry_split(mm, hand->span.start);
	mm_entry_split(mm, hand->span.end);
	if (!PLANTED(PEER_UNREVOKED))
		mm_invalidate_locked(mm, hand->span, hand->why); /* Q3 */
	mm_frames_used(hand->owner, hand->span, hand->frame, used);
	entry = first_wanted(mm, hand, hand->span.start);
	while (entry && !err) {
		struct span piece = free_part(hand, used, entry->node.span);
		uint64_t next = entry->node.span.end;

		if (entry->state == MM_ENTRY_MOVING || entry->doubted) {
			again = true;
		} else if (!span_is_empty(piece)) {
			mm_entry_split(mm, piece.start);
			mm_entry_split(mm, piece.end);
			next = piece.end;
			err = hand_entry(mm, hand, mm_entry_first(mm, piece));
		}
		entry = first_wanted(mm, hand, next);
	}
	return !err && again ? -EAGAIN : err;
}

int mm_hand_over(struct mm *mm, struct mm_hand_over *hand)
{
	size_t nodes = span_pages(hand->span) + 8;
	uint32_t tries = 0;
	int err;

	ASSERT(IS_ALIGNED(hand->span.start | hand->span.end | hand->frame, PAGE_BYTES));
	ASSERT(!span_is_empty(hand->span) && span_bytes(hand->span) <= HUGE_BYTES);
	ASSERT(hand->why == MM_EVENT_MIGRATE || hand->why == MM_EVENT_FAULT);
	hand->pages = 0;
	mm_lock(mm);
	err = first_wanted(mm, hand, hand->span.start) ? 0 : -ENOENT;
	mm_unlock(mm, 0);
	if (err)
		return 0;
	for (;;) {
		uint32_t ticket = mm_event_ticket(mm);

		err = mm_reserve(mm, nodes);
		if (err)
			return err;
		mm_lock(mm);
		err = hand_over_locked(mm, hand);
		if (err == -EAGAIN)
			mm_stat_add(&mm->stats.retries, 1);
		INVARIANT(mm_entry_check(mm));
		mm_unlock(mm, nodes);
		if (err != -EAGAIN)
			return err;
		if (++tries > MM_TAKE_TRIES)
			return -EBUSY;
		mm_event_wait(mm, ticket, tries);
	}
}

/* --- from frame to frame ------------------------------------------------------------ */

static bool frame_is_empty(struct mm *mm, uint64_t frame)
{
	struct sys_page_run run;
	size_t count = 0;
	uint64_t end;

	return !mm->sys->ops->page_scan(mm->sys, span_make(frame, PAGE_BYTES), &run, 1, &count,
					&end) &&
	       !count;
}

static void copy_frame(struct mm *mm, uint64_t to, uint64_t from)
{
	const struct sys_ops *ops = mm->sys->ops;

	memcpy(ops->pointer(mm->sys, to, PAGE_BYTES), ops->pointer(mm->sys, from, PAGE_BYTES),
	       PAGE_BYTES);
	mm_stat_add(&mm->stats.peer_copied_pages, 1);
}

int mm_frames_move_locked(struct mm *mm, uint64_t to, uint64_t from, uint64_t bytes,
			  uint64_t *done)
{
	int err;

	lock_assert_held(&mm->event_lock);
	*done = 0;
	if (mm_frames_empty(mm, span_make(to, bytes))) /* F1 */
		return -EBUSY;
	while (*done < bytes) {
		uint64_t moved = 0;

		err = mm->sys->ops->uffd_move(mm->sys, mm->uffd, to + *done, from + *done,
					      bytes - *done,
					      SYS_MOVE_ALLOW_SRC_HOLES | SYS_MOVE_DONTWAKE,
					      &moved);
		*done += moved;
		mm_stat_add(&mm->stats.peer_moved_pages, moved >> PAGE_SHIFT);
		if (!err || (err == -EAGAIN && moved))
			continue;
		if (!frame_is_empty(mm, from + *done)) {
			if (err == -EAGAIN)
				return err;
			copy_frame(mm, to + *done, from + *done);
		}
		*done += PAGE_BYTES;
	}
	return 0;
}
