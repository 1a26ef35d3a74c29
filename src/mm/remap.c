/* SPDX-License-Identifier: MIT */
/*
 * DOC: Which UNMAP is meant
 *
 * The kernel changes the address space first, drops its lock, and queues the
 * message then. A thread that is preempted in between tells late, and what it
 * unmapped is free all the while. Another thread's mremap() may put its pages
 * there (two large realloc()s are enough: the kernel likes the address that was
 * freed last), and what is read then is
 *
 *     munmap(A) of one thread                 REMAP B -> A    UNMAP A
 *     mremap(A -> X), told twice   REMAP A -> X    REMAP B -> A    UNMAP A
 *
 * The UNMAP is about what left A, not about what arrived since. A munmap() of
 * what arrived looks the same. So an entry that came by a REMAP is not dropped
 * at an UNMAP but *doubted*, and the kernel is asked once it can know:
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
 * It is wrong, too, where a registered mapping next to it grew over the place, in
 * place, between an munmap() of what arrived and the settling: growth is told by
 * nothing. docs/limits.md has it.
 */
#include "mm/mm_internal.h"

#include <errno.h>

#include "base/assert.h"

/* Has anybody changed the address space and not told yet? */
bool mm_message_is_owed(struct mm *mm)
{
	struct span page = span_make(mm->fence_page, PAGE_BYTES);
	uint64_t done;

	lock_assert_held(&mm->event_lock);
	return mm->sys->ops->uffd_zeropage(mm->sys, mm->uffd, page, &done) == -EAGAIN;
}

/* Is the mapping at @addr registered? Return: 1; 0; -EAGAIN a message is owed. */
static int is_registered(struct mm *mm, uint64_t addr)
{
	int err = mm->sys->ops->uffd_writeprotect(mm->sys, mm->uffd,
						  span_make(addr, PAGE_BYTES), false);

	return err == -EAGAIN ? err : err == 0;
}

static int settle_entry(struct mm *mm, struct mm_entry *entry)
{
	struct span span = entry->node.span;
	int lives = is_registered(mm, span.start);

	lock_assert_held(&mm->event_lock);
	if (lives < 0)
		return lives;
	if (lives) {
		mm_entry_set_doubted(mm, entry, false);
		return 0;
	}
	/* A fault of an engine may have bound it in the meantime. */
	mm_invalidate_locked(mm, span, MM_EVENT_UNMAP); /* Q3 */
	mm_entry_drop_span(mm, span);
	return 0;
}

/*
 * Settle what is in doubt. Return: true: everything is, and whatever changes from now on is
 * told by messages that are not read yet; false: a message is owed, try again later.
 */
bool mm_remap_settle(struct mm *mm)
{
	struct mm_entry *entry;

	lock_assert_held(&mm->event_lock);
	if (mm->settled_count == mm->remap_count && !mm->doubted_count)
		return true;
	if (mm_message_is_owed(mm))
		return false;
	mm->settled_count = mm->remap_count;
	while (mm->doubted_count) {
		entry = mm_entry_first(mm, mm->doubt);
		while (entry && !entry->doubted)
			entry = mm_entry_next(entry, mm->doubt);
		ASSERT(entry);
		if (settle_entry(mm, entry))
			return false;
	}
	mm->doubt = (struct span){ 0, 0 };
	return true;
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
