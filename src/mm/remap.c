/* SPDX-License-Identifier: MIT */
/*
 * DOC: What mremap() leaves behind
 *
 * An mremap() that moves is told twice: REMAP, for which the caller is held, and
 * only after that was read, UNMAP of the old place. The old place is free all the
 * while. Another thread's mremap() may put its pages there (two large realloc()s
 * are enough: the kernel likes the address that was freed last), and what is read
 * then is
 *
 *     REMAP A -> X      REMAP B -> A      UNMAP A
 *
 * The UNMAP is about what left A, not about what arrived since. So a REMAP has a
 * number, an entry that follows it bears that number, and the old place is kept
 * until an UNMAP of exactly this span comes: entries with a larger number stay.
 *
 * Takes need no such care: until that UNMAP is read and its caller runs, MOVE says
 * -EAGAIN.
 *
 * MREMAP_DONTUNMAP sends no UNMAP, and cannot be told from the other. Its old place
 * is forgotten when an UNMAP of another shape touches it: then what is told is new.
 */
#include "mm/mm_internal.h"

#include "base/assert.h"

/* Every thread inside mremap() has one at most; beyond, the oldest is a DONTUNMAP's. */
void mm_remap_left(struct mm *mm, struct span span)
{
	lock_assert_held(&mm->event_lock);
	mm->left[++mm->remap_count % MM_LEFT_MAX] = span;
}

/* How many REMAPs the UNMAP of @span is older than it seems: entries that came by one
 * with a number above the result are not meant. */
uint64_t mm_remap_left_unmap(struct mm *mm, struct span span)
{
	uint64_t last = mm->remap_count;
	uint64_t first = last - MIN(last, (uint64_t)MM_LEFT_MAX - 1);

	lock_assert_held(&mm->event_lock);
	for (uint64_t number = first; number <= last; number++) {
		struct span *left = &mm->left[number % MM_LEFT_MAX];

		if (left->start == span.start && left->end == span.end) {
			*left = (struct span){ 0, 0 };
			return number;
		}
	}
	for (size_t i = 0; i < MM_LEFT_MAX; i++) {
		if (span_overlaps(mm->left[i], span))
			mm->left[i] = (struct span){ 0, 0 };
	}
	return UINT64_MAX;
}
