/* SPDX-License-Identifier: MIT */
/*
 * DOC: Marks
 *
 * With entries=marked the hole that a taken page leaves is write-protected: the kernel puts
 * a marker there, which is no page, and which only what ends the page's life removes. So
 * what no event tells is seen all the same (T13):
 *
 *     MADV_GUARD_INSTALL   takes it away, and puts a guard there
 *     mremap()             carries it, as it would the page
 *     mprotect(), a touch  leave it
 *
 * A page under a marked entry without its mark is dead: its entry is dropped, and it does
 * not come home. It is looked for before pages come home, and before each job of an engine,
 * so that what was guarded before the job is not seen by it. Pages that are pushed into a
 * raw clone are not looked for: it has what its parent guarded since the last look.
 *
 *     scan: is the mark there?                  event_lock held
 *     un-protect: says -EAGAIN where somebody has changed the address space and not
 *                 told: then the scan proves nothing
 *     come home, or drop
 *
 * That the second is behind the first makes it safe: the kernel raises -EAGAIN before it
 * changes anything, and a message that was read was applied, under this lock.
 *
 * To lose marks costs knowledge, never data: an entry whose protection failed, or that came
 * home in part, is not marked any more, and its pages live. A mark without an entry stays
 * where MADV_FREE dropped it; who fills or takes the hole removes it.
 */
#include "mm/mm_internal.h"

#include <errno.h>

/* Pages that were taken have left @span. Return: true: each has its mark now. */
bool mm_mark(struct mm *mm, struct span span)
{
	lock_assert_held(&mm->event_lock);
	if (!ATOMIC_LOAD_RELAXED(&mm->marks_entries) ||
	    mm->sys->ops->uffd_writeprotect(mm->sys, mm->uffd, span, true))
		return false;
	mm_stat_add(&mm->stats.marked_pages, span_pages(span));
	return true;
}

/* Of a page that is not swapped out. */
bool mm_is_marked(struct mm *mm, struct span page)
{
	struct sys_page_run run;
	size_t count = 0;
	uint64_t end;

	return !mm->sys->ops->page_scan(mm->sys, page, &run, 1, &count, &end) && count &&
	       !(run.flags & (SYS_PAGE_PRESENT | SYS_PAGE_GUARD | SYS_PAGE_WRITTEN));
}

/* A marker is no page, but MOVE, ZEROPAGE and POISON take it for one. Return: 0 @page had
 * one, and it is gone; -ENOENT it had none; or as uffd_writeprotect(). */
int mm_mark_remove(struct mm *mm, struct span page)
{
	if (!mm_is_marked(mm, page))
		return -ENOENT;
	return mm->sys->ops->uffd_writeprotect(mm->sys, mm->uffd, page, false);
}

/* Do the first pages of *@span have their marks? It is cut to those of which one answer is
 * true. What cannot be looked at has. */
static bool has_marks(struct mm *mm, struct span *span)
{
	struct sys_page_run run;
	size_t count = 0;
	uint64_t end;

	if (mm->sys->ops->page_scan(mm->sys, *span, &run, 1, &count, &end))
		return true;
	if (!count)
		return false;
	if (run.span.start > span->start) {
		span->end = run.span.start;
		return false;
	}
	span->end = MIN(span->end, run.span.end);
	/* A page where none can be is told by who brings home. */
	return run.flags & SYS_PAGE_PRESENT ||
	       !(run.flags & (SYS_PAGE_GUARD | SYS_PAGE_WRITTEN));
}

/*
 * Before pages of @entry come home: take the marks away from the first of them. *@span,
 * which begins where the entry does, is cut to what was looked at.
 * Return: 0 these can come home; -EAGAIN an event is in flight; -ENOENT they had died, and
 * have no entry any more.
 */
int mm_mark_lift(struct mm *mm, struct mm_entry *entry, struct span *span)
{
	bool live = true;
	int err;

	lock_assert_held(&mm->event_lock);
	if (!ATOMIC_LOAD_RELAXED(&mm->marks_entries))
		return 0;
	if (entry->marked)
		live = has_marks(mm, span);
	err = mm->sys->ops->uffd_writeprotect(mm->sys, mm->uffd, *span, false);
	if (err == -EAGAIN)
		return err;
	/* Where nothing is mapped any more there is no mark either; home.c knows that. */
	if (live || err)
		return 0;
	mm_stat_add(&mm->stats.died_pages, span_pages(*span));
	entry->owner->ops->drop(entry->owner, entry->frame, span_bytes(*span));
	mm_entry_shrink(mm, entry, span_bytes(*span));
	mm_wake(mm, *span); /* W1 */
	return -ENOENT;
}

/* At most 2 MiB from *@addr on, which is where to go on then; UINT64_MAX: that was all.
 * Return: 0; -EAGAIN an event is in flight. Two nodes are reserved. */
static int look_at(struct mm *mm, uint64_t *addr)
{
	struct mm_entry *entry = mm_entry_first(mm, (struct span){ *addr, UINT64_MAX });
	struct span span;
	int err;

	lock_assert_held(&mm->event_lock);
	if (!entry) {
		*addr = UINT64_MAX;
		return 0;
	}
	span = span_make(MAX(*addr, entry->node.span.start), HUGE_BYTES);
	span.end = MIN(span.end, entry->node.span.end);
	if (!entry->marked || entry->doubted || has_marks(mm, &span)) {
		*addr = span.end;
		return 0;
	}
	err = mm->sys->ops->uffd_writeprotect(mm->sys, mm->uffd, span, false);
	if (err == -EAGAIN)
		return err;
	*addr = span.end;
	if (err) /* it is not registered any more: an event tells, or it comes home */
		return 0;
	mm_stat_add(&mm->stats.died_pages, span_pages(span));
	mm_log_locked(mm, span);
	mm_invalidate_locked(mm, span, MM_EVENT_CLEAR); /* Q3 */
	mm_entry_drop_span(mm, span);
	mm_wake(mm, span); /* W1 */
	return 0;
}

void mm_marks_look(struct mm *mm)
{
	uint64_t addr = 0;
	uint32_t tries = 0;

	if (!ATOMIC_LOAD_RELAXED(&mm->marks_entries))
		return;
	while (addr != UINT64_MAX) {
		uint32_t ticket = mm_event_ticket(mm);
		int err;

		if (mm_reserve(mm, 2))
			return; /* the marks stay, for the next time */
		mm_lock(mm);
		err = look_at(mm, &addr);
		mm_unlock(mm, 2);
		if (err && tries++ == MM_TAKE_TRIES)
			return;
		if (err)
			mm_event_wait(mm, ticket, tries);
	}
}
