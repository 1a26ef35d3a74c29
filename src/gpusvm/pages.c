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
 * Placement in several memories is no error here: each run is bound where it is. That is
 * so for what a peer has, too, if its frames can be used in place. What any other device
 * has must come home first.
 *
 * Upstream: drm_gpusvm_get_pages(), which rejects ranges of mixed placement.
 */
#include "gpusvm/gpusvm.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"
#include "pagemap/pagemap.h"

static void add_run(struct gpusvm_pages *pages, struct gpusvm_page_run run)
{
	struct gpusvm_page_run *last = pages->count ? &pages->runs[pages->count - 1] : NULL;

	if (span_is_empty(run.span))
		return;
	if (last && last->vram == run.vram && last->peer == run.peer &&
	    last->span.end == run.span.start &&
	    last->target + span_bytes(last->span) == run.target) {
		last->span.end = run.span.end;
		return;
	}
	ASSERT(pages->count < GPUSVM_RUNS_MAX);
	pages->runs[pages->count++] = run;
}

/* What is at home. */
static void add_home(struct gpusvm_pages *pages, uint64_t start, uint64_t end)
{
	add_run(pages, (struct gpusvm_page_run){ .span = { start, end }, .target = start });
}

/* Return: false: @pagemap cannot reach it. */
static bool add_entry(struct gpusvm_pages *pages, const struct pagemap *pagemap,
		      const struct mm_entry *entry, struct span part)
{
	struct pagemap_devmem *devmem = pagemap ? pagemap_entry_devmem(pagemap, entry) : NULL;
	struct gpusvm_page_run run = { .span = part };

	if (devmem) {
		run.vram = true;
		run.target = devmem->vram_offset + entry->frame;
	} else if (pagemap && pagemap_entry_reach(pagemap, entry, &run.target)) {
		run.peer = true;
	} else {
		return false;
	}
	run.target += part.start - entry->node.span.start;
	add_run(pages, run);
	return true;
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

		if (entry->state == MM_ENTRY_MOVING)
			return -EAGAIN;
		if (entry->doubted) /* U1 */
			return -EBUSY;
		add_home(pages, at, part.start);
		if (!add_entry(pages, pagemap, entry, part))
			return -EOPNOTSUPP;
		at = part.end;
	}
	add_home(pages, at, span.end);
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

static bool stays(const struct pagemap *pagemap, const struct mm_entry *entry, uint32_t keep)
{
	uint64_t addr;

	return (keep & GPUSVM_KEEP_OWN && pagemap_entry_devmem(pagemap, entry)) ||
	       (keep & GPUSVM_KEEP_PEERS && pagemap_entry_is_peer(pagemap, entry)) ||
	       (keep & GPUSVM_KEEP_REACHED && pagemap_entry_reach(pagemap, entry, &addr));
}

/* Who has the first page of @span that does not stay; compared only, it may be gone. */
static const struct mm_entry_owner *first_to_leave(struct mm *mm, struct span span,
						   const struct pagemap *pagemap,
						   uint32_t keep)
{
	const struct mm_entry_owner *owner = NULL;
	struct mm_entry *entry;

	lock_acquire(mm_event_lock(mm));
	entry = mm_entry_first(mm, span);
	while (entry && stays(pagemap, entry, keep))
		entry = mm_entry_next(entry, span);
	if (entry)
		owner = entry->owner;
	lock_release(mm_event_lock(mm));
	return owner;
}

int gpusvm_evict(struct gpusvm *svm, struct span span, const struct pagemap *pagemap,
		 uint32_t keep, bool wanted)
{
	int err = 0;

	/* One owner at a time. Others may take pages meanwhile: not for ever. */
	for (uint64_t tries = 0; !err && tries < span_pages(span); tries++) {
		const struct mm_entry_owner *owner =
			first_to_leave(svm->mm, span, pagemap, keep);

		if (!owner)
			break;
		err = mm_bring_home_for(svm->mm, span, owner,
					wanted ? MM_EVENT_FAULT : MM_EVENT_MIGRATE);
	}
	return err;
}
