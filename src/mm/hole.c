/* SPDX-License-Identifier: MIT */
/*
 * DOC: Holes
 *
 * A VMA that pages are taken from is registered as MISSING, so the monitor gives
 * its first touches, too. It answers with zeros: the kernel's zero page for the
 * hole and those behind it in its 64 KiB, for which nobody has to wait.
 *
 * A huge page is what the kernel would have given to a write in an empty 2 MiB
 * block of memory that may have some. So does the monitor: a zeroed huge page of
 * the library's own is moved there whole (A12), in 3 us, and the next one is made
 * when the thread is awake again. The kernel tells nobody cheaply whether memory
 * may have huge pages; that one was among the pages taken from the VMA says so.
 *
 *     monitor, event_lock held               monitor, no lock
 *     empty block, write: ready?
 *       yes: MOVE, wakes; wanted             wanted: make the page; ready
 *       no:  wanted; the fault is stashed
 *
 * The page is made without a lock, for it takes 100 us and more; engines run and
 * workers go on meanwhile. Where the kernel has no huge page at hand, holes are
 * filled as others are, and it is asked again later.
 *
 * A read gets the zero page, as far as 64 KiB: the kernel would have given a huge
 * zero page, which costs no memory either.
 */
#include "mm/mm_internal.h"

#include <errno.h>

#include "base/plant.h"

/* How many pages around a hole are filled by one answer. */
#define HOLE_BYTES KIB(64)
/* Of the time may go into asking for huge pages in vain: one part in so many. */
#define ZEROS_SHARE 64

/* Best effort: without it all holes are filled by small pages. */
void mm_zeros_create(struct mm *mm)
{
	const struct sys_ops *ops = mm->sys->ops;
	uint64_t addr;

	/* Without PAGEMAP_SCAN no page is known to be huge. */
	if (mm->sys->limits.huge_pages_never || !sys_has(mm->sys, SYS_FEATURE_PAGEMAP_SCAN) ||
	    ops->map(mm->sys, HUGE_BYTES, HUGE_BYTES, 0, &addr))
		return;
	if (ops->advise(mm->sys, span_make(addr, HUGE_BYTES), SYS_ADVICE_HUGEPAGE)) {
		ops->unmap(mm->sys, addr, HUGE_BYTES);
		return;
	}
	/* From here on it is the monitor's, which looks at it under this lock. */
	mm_lock(mm);
	mm->zeros = addr;
	mm_unlock(mm, 0);
}

void mm_zeros_destroy(struct mm *mm)
{
	if (mm->zeros)
		mm->sys->ops->unmap(mm->sys, mm->zeros, HUGE_BYTES);
	mm->zeros = 0;
}

static bool is_one_huge_page(struct mm *mm, struct span span)
{
	struct sys_page_run run;
	size_t count = 0;
	uint64_t end;

	return !mm->sys->ops->page_scan(mm->sys, span, &run, 1, &count, &end) && count &&
	       span_covers(run.span, span) && (run.flags & SYS_PAGE_HUGE);
}

/* Make the huge page if it is wanted. Context: the monitor, with no lock.
 * Return: true if it was: there may be a fault in the stash that waits for it. */
bool mm_zeros_prepare(struct mm *mm)
{
	struct span span;
	uint64_t start, now;

	if (!mm->zeros_wanted)
		return false;
	mm->zeros_wanted = false;
	if (mm->zeros_ready)
		return false;
	span = span_make(mm->zeros, HUGE_BYTES);
	start = mm->sys->ops->clock_ns(mm->sys);
	if (!mm->sys->ops->advise(mm->sys, span, SYS_ADVICE_POPULATE_WRITE))
		mm->zeros_ready = is_one_huge_page(mm, span);
	if (mm->zeros_ready)
		return true;
	/* This memory is registered with nobody: no event. */
	if (mm->sys->ops->advise(mm->sys, span, SYS_ADVICE_DONTNEED))
		mm_zeros_destroy(mm);
	now = mm->sys->ops->clock_ns(mm->sys);
	mm->zeros_again_ns = now + ZEROS_SHARE * (now - start);
	return true;
}

/* Is the block around @addr empty, and memory where the kernel makes huge pages? */
static bool wants_huge(struct mm *mm, struct span block)
{
	struct mm_registration *r;
	struct sys_page_run run;
	size_t count = 0;
	uint64_t end;

	lock_assert_held(&mm->event_lock);
	r = mm_registration_first(mm, block);
	return mm->zeros && r && r->huge && span_covers(r->node.span, block) &&
	       !mm_entry_first(mm, block) &&
	       !mm->sys->ops->page_scan(mm->sys, block, &run, 1, &count, &end) && !count;
}

/* The huge page went there in part, or not at all, and not for an event. */
static void zeros_refused(struct mm *mm, struct span block, uint64_t moved)
{
	struct mm_registration *r;

	lock_assert_held(&mm->event_lock);
	r = mm_registration_first(mm, block);
	/* Read-only, locked, or not one VMA: it will be so the next time. */
	if (r)
		r->huge = false;
	if (!moved)
		return;
	mm->zeros_ready = false;
	if (mm->sys->ops->advise(mm->sys, span_make(mm->zeros, HUGE_BYTES),
				 SYS_ADVICE_DONTNEED))
		mm_zeros_destroy(mm);
}

/* A huge page of zeros for the block of @addr. Return: true: it is answered, or will be
 * from the stash; false: not by a huge page. */
static bool fill_huge(struct mm *mm, uint64_t addr)
{
	struct span block = span_block(addr, HUGE_BYTES);
	uint64_t moved = 0;
	int err;

	lock_assert_held(&mm->event_lock);
	if (!wants_huge(mm, block))
		return false;
	if (!mm->zeros_ready) {
		if (mm->sys->ops->clock_ns(mm->sys) < mm->zeros_again_ns)
			return false;
		mm->zeros_wanted = true;
		mm_stash(mm, addr, true);
		return true;
	}
	err = mm->sys->ops->uffd_move(mm->sys, mm->uffd, block.start, mm->zeros, HUGE_BYTES,
				      0, &moved);
	if (err == -EAGAIN && !moved) {
		mm_stash(mm, addr, true);
		return true;
	}
	mm_quarantine_clear(mm, span_make(block.start, moved));
	if (err) {
		zeros_refused(mm, block, moved);
		return addr - block.start < moved;
	}
	mm->zeros_ready = false;
	mm->zeros_wanted = true; /* who fills one block often fills the next */
	mm_stat_add(&mm->stats.hole_faults, 1);
	mm_stat_add(&mm->stats.huge_holes, 1);
	return true;
}

/* The holes behind @addr in its 64 KiB, if they lie in one VMA: nobody waits for them. */
static void fill_ahead(struct mm *mm, uint64_t addr)
{
	struct span span = { addr + PAGE_BYTES, span_block(addr, HOLE_BYTES).end };
	struct mm_entry *next = mm_entry_first(mm, span);
	uint64_t done = 0;

	lock_assert_held(&mm->event_lock);
	if (next && !PLANTED(FILL_AHEAD))
		span.end = next->node.span.start;
	if (span_is_empty(span))
		return;
	if (mm->sys->ops->uffd_zeropage(mm->sys, mm->uffd, span, &done) && !done)
		return; /* the VMA ends before, or something is there */
	mm_quarantine_clear(mm, span_make(span.start, done));
}

/* Zeros for @addr. */
void mm_fill_hole(struct mm *mm, uint64_t addr, bool write)
{
	struct span page = span_make(addr, PAGE_BYTES);
	uint64_t done = 0;
	int err;

	lock_assert_held(&mm->event_lock);
	mm_idle_hole(mm);
	if (write && fill_huge(mm, addr))
		return;
	err = mm->sys->ops->uffd_zeropage(mm->sys, mm->uffd, page, &done);
	/* Whoever faults at a mark would be woken to fault again, for ever. */
	if (err == -EEXIST && !mm_mark_remove(mm, page))
		err = mm->sys->ops->uffd_zeropage(mm->sys, mm->uffd, page, &done);
	if (err == -EAGAIN) {
		mm_stash(mm, addr, write);
		return;
	}
	if (err) {
		if (!PLANTED(WAKE_GONE))
			mm_wake(mm, page); /* W1 */
		return;
	}
	mm_stat_add(&mm->stats.hole_faults, 1);
	mm_quarantine_clear(mm, page);
	fill_ahead(mm, addr);
}
