/* SPDX-License-Identifier: MIT */
/*
 * DOC: Pages
 *
 * Where are the pages of a range? Those with an entry are in some device's
 * memory; all others, holes too, are the process's and reached by its own
 * address. The entries are read under event_lock, so that no half-done move is
 * seen; the answer may be stale as soon as the lock is dropped, and the sequence
 * number tells (N1, mm/notifier.c).
 *
 * Placement in several memories is no error here: each run is bound where it is.
 * Only what another device holds must come home first.
 *
 * Upstream: drm_gpusvm_get_pages(), which rejects ranges of mixed placement.
 */
#include "gpusvm/gpusvm.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"
#include "pagemap/pagemap.h"

static void add_run(struct gpusvm_pages *pages, struct span span, bool vram, uint64_t target)
{
	struct gpusvm_page_run *last = pages->count ? &pages->runs[pages->count - 1] : NULL;

	if (span_is_empty(span))
		return;
	if (last && last->vram == vram && last->span.end == span.start &&
	    last->target + span_bytes(last->span) == target) {
		last->span.end = span.end;
		return;
	}
	ASSERT(pages->count < GPUSVM_RUNS_MAX);
	pages->runs[pages->count++] = (struct gpusvm_page_run){ span, vram, target };
}

/* Return: 0; -EAGAIN pages are MOVING; -EBUSY some may be gone; -EOPNOTSUPP. event_lock is
 * held. */
static int collect(struct mm *mm, struct span span, const struct pagemap *pagemap,
		   struct gpusvm_pages *pages)
{
	struct mm_entry *entry = mm_entry_first(mm, span);
	uint64_t at = span.start;

	pages->count = 0;
	for (; entry; entry = mm_entry_next(entry, span)) {
		struct span part = span_intersect(entry->node.span, span);
		struct pagemap_devmem *devmem;

		if (entry->state == MM_ENTRY_MOVING)
			return -EAGAIN;
		if (entry->doubted) /* U1 */
			return -EBUSY;
		devmem = pagemap ? pagemap_entry_devmem(pagemap, entry) : NULL;
		if (!devmem)
			return -EOPNOTSUPP;
		add_run(pages, (struct span){ at, part.start }, false, at);
		add_run(pages, part, true,
			devmem->vram_offset + entry->frame +
				(part.start - entry->node.span.start));
		at = part.end;
	}
	add_run(pages, (struct span){ at, span.end }, false, at);
	return 0;
}

int gpusvm_range_get_pages(struct gpusvm *svm, const struct gpusvm_range *range,
			   const struct pagemap *pagemap, struct gpusvm_pages *pages)
{
	struct lock *event_lock = mm_event_lock(svm->mm);
	int err;

	for (;;) {
		uint32_t ticket = mm_moving_ticket(svm->mm);

		pages->seq = mm_notifier_read_begin(&range->notifier->mm_notifier);
		lock_acquire(event_lock);
		err = collect(svm->mm, range->node.span, pagemap, pages);
		lock_release(event_lock);
		if (err == -EBUSY) {
			/* The monitor finds out, when the thread that owes the message ran. */
			base_host->cpu_yield();
			return -EAGAIN;
		}
		if (err != -EAGAIN)
			return err;
		mm_moving_wait(svm->mm, ticket);
	}
}

bool gpusvm_range_pages_valid(struct gpusvm *svm, const struct gpusvm_range *range,
			      const struct gpusvm_pages *pages)
{
	lock_assert_held(&svm->notifier_lock);
	if (PLANTED(BIND_STALE))
		return true;
	/* N1 */
	return !range->unmapped &&
	       !mm_notifier_read_retry(&range->notifier->mm_notifier, pages->seq);
}

int gpusvm_range_evict(struct gpusvm *svm, const struct gpusvm_range *range)
{
	return mm_bring_home(svm->mm, range->node.span, NULL);
}
