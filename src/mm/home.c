/* SPDX-License-Identifier: MIT */
/*
 * DOC: Home always works
 *
 * Pages come home by UFFDIO_MOVE out of the arena: no copy, no allocation, and
 * it wakes who waits. What MOVE refuses is found out and answered here, because
 * a CPU thread may be asleep until the page is there (law 12):
 *
 *     0         home
 *     -EAGAIN   with progress: anything may have stopped it, go on behind it.
 *               Without: an event is in flight; the caller tries again later.
 *     -EEXIST   the frame is empty: the page was moved all the same (the kernel
 *               does that when the place is zapped and faulted meanwhile).
 *               The frame is full: a guard page stands there and the contents
 *               died with its installation, as they do natively. Or a mark that was
 *               left: it goes, and the page comes.
 *     -EINVAL   two VMAs: one at a time. Else read-only, mlocked: COPY.
 *     -EBUSY    somebody holds the frame for a moment: again, then COPY.
 *     -ENOENT   nothing is mapped there any more: nobody can ask for the page.
 *
 * COPY leaves the frame dirty and cannot tell a guard page, so it comes last
 * and only where page_scan shows none.
 *
 * A page whose contents the device cannot give back is not filled with something else: it
 * is poisoned (mm_lose_locked()), and who touches it gets SIGBUS. The marker is there as
 * a page is: it is inherited by children, moves with mremap(), goes with munmap() and
 * MADV_DONTNEED, and MOVE refuses it with -EFAULT, so that no take touches it.
 */
#include "mm/mm_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"

#define HOME_BUSY_TRIES 64

static bool page_has(struct mm *mm, uint64_t addr, uint32_t flags)
{
	struct sys_page_run run;
	size_t count = 0;
	uint64_t end;

	if (mm->sys->ops->page_scan(mm->sys, span_make(addr, PAGE_BYTES), &run, 1, &count,
				    &end))
		return false;
	return count && (run.flags & flags);
}

static bool frame_is_empty(struct mm *mm, uint64_t frame)
{
	return !page_has(mm, frame, SYS_PAGE_PRESENT | SYS_PAGE_SWAPPED);
}

/* One page that MOVE will not do. Return: 0 answered; -EAGAIN. */
static int return_by_copy(struct mm *mm, uint64_t addr, uint64_t source, bool *dirty)
{
	uint64_t copied = 0;
	int err = -ENOMEM;

	/* zeros: a hole is as good */
	if (frame_is_empty(mm, source) || PLANTED(HOME_NO_COPY)) {
		mm_wake(mm, span_make(addr, PAGE_BYTES)); /* W1 */
		return 0;
	}
	if (page_has(mm, addr, SYS_PAGE_GUARD)) {
		*dirty = true;
		mm_wake(mm, span_make(addr, PAGE_BYTES)); /* W1 */
		return 0;
	}
	/* Memory may be short for a moment. For longer nothing is left but to end. */
	for (int i = 0; i < HOME_BUSY_TRIES && err == -ENOMEM; i++) {
		err = mm->sys->ops->uffd_copy(mm->sys, mm->uffd, addr, source, PAGE_BYTES,
					      &copied);
	}
	if (!err) {
		mm_stat_add(&mm->stats.home_copied_pages, 1);
		*dirty = true;
		return 0;
	}
	return err;
}

static int return_existing(struct mm *mm, uint64_t addr, uint64_t source, bool *dirty)
{
	if (frame_is_empty(mm, source) && !PLANTED(HOME_LIE_BELIEVED)) {
		mm_stat_add(&mm->stats.lies, 1);
		mm_wake(mm, span_make(addr, PAGE_BYTES)); /* W1 */
		return 0;
	}
	if (page_has(mm, addr, SYS_PAGE_PRESENT))
		base_host->die("usvm: a page is both on the device and in the process\n");
	*dirty = true;
	mm_wake(mm, span_make(addr, PAGE_BYTES)); /* W1 */
	return 0;
}

static int return_unmapped(struct mm *mm, uint64_t addr, uint64_t source, bool *dirty)
{
	struct sys_vma vma;

	/* Another error tells nothing of the mapping. */
	if (mm->sys->ops->vma_query(mm->sys, addr, false, &vma) != -ENOENT)
		return return_by_copy(mm, addr, source, dirty);
	/* It went without an event: somebody unregistered it before, which woke who slept. */
	*dirty = true;
	return 0;
}

/* @addr was refused with @err, -EEXIST. Return: -EBUSY: for a mark, which is gone; -EAGAIN;
 * else @err. */
static int mark_stands(struct mm *mm, uint64_t addr, int err)
{
	int removed = -ENOENT;

	lock_assert_held(&mm->event_lock);
	if (ATOMIC_LOAD_RELAXED(&mm->marks_entries))
		removed = mm_mark_remove(mm, span_make(addr, PAGE_BYTES));
	return !removed ? -EBUSY : removed == -EAGAIN ? removed : err;
}

/* One page, by whatever works. Return: 0 answered; -EAGAIN. */
static int return_page(struct mm *mm, uint64_t addr, uint64_t source, bool *dirty)
{
	uint64_t moved;
	int err = -EBUSY;
	int absent = 0;

	/* "Nothing there" counts when it is said twice with no event read in between: the
	 * first may have met an mremap() half way, which is in flight by the second. */
	for (int i = 0; i < HOME_BUSY_TRIES &&
			(err == -EBUSY || (err == -ENOENT && absent++ == 0));
	     i++) {
		err = mm->sys->ops->uffd_move(mm->sys, mm->uffd, addr, source, PAGE_BYTES,
					      SYS_MOVE_ALLOW_SRC_HOLES, &moved);
		if (err == -EBUSY)
			cpu_relax();
		if (err == -EEXIST)
			err = mark_stands(mm, addr, err);
	}
	switch (err) {
	case 0:
		mm_stat_add(&mm->stats.home_moved_pages, 1);
		return 0;
	case -EAGAIN:
		return -EAGAIN;
	case -EEXIST:
		return return_existing(mm, addr, source, dirty);
	case -ENOENT:
		err = return_unmapped(mm, addr, source, dirty);
		break;
	default:
		err = return_by_copy(mm, addr, source, dirty);
		break;
	}
	if (err && err != -EAGAIN)
		base_host->die("usvm: a page on the device cannot come home\n");
	return err;
}

int mm_lose_locked(struct mm *mm, uint64_t addr)
{
	struct span page = span_make(addr, PAGE_BYTES);
	struct sys_vma vma;
	int err = -ENOMEM;
	int absent = 0;

	lock_assert_held(&mm->event_lock);
	if (!sys_has(mm->sys, SYS_FEATURE_POISON))
		base_host->die("usvm: the device cannot give its pages back\n");
	/* As return_page(). */
	for (int i = 0; i < HOME_BUSY_TRIES &&
			(err == -ENOMEM || err == -EBUSY ||
			 (err == -ENOENT && absent++ == 0));
	     i++) {
		err = mm->sys->ops->uffd_poison(mm->sys, mm->uffd, page);
		if (err == -EEXIST)
			err = mark_stands(mm, addr, err);
	}
	if (err == -EAGAIN)
		return err;
	if (!err) {
		mm_stat_add(&mm->stats.lost_pages, 1);
		return 0;
	}
	if (err == -EEXIST && !page_has(mm, addr, SYS_PAGE_PRESENT)) {
		mm_wake(mm, page); /* W1: a guard page, with which the contents died */
		return 0;
	}
	if (err != -ENOENT || mm->sys->ops->vma_query(mm->sys, addr, false, &vma) != -ENOENT)
		base_host->die("usvm: a page on the device cannot come home\n");
	return 0;
}

/* How far a MOVE that said -EINVAL could go if it was for crossing a VMA's end. */
static uint64_t bytes_in_vma(struct mm *mm, struct span span)
{
	struct sys_vma vma;

	if (mm->sys->ops->vma_query(mm->sys, span.start, false, &vma))
		return PAGE_BYTES;
	return span_bytes(span_intersect(vma.span, span));
}

int mm_return_locked(struct mm *mm, struct span span, uint64_t source, uint64_t *done,
		     bool *dirty)
{
	uint64_t bytes = span_bytes(span);
	uint64_t limit = bytes; /* offset where the VMA at hand ends, once known */
	int err;

	lock_assert_held(&mm->event_lock);
	*done = 0;
	while (*done < bytes) {
		uint64_t addr = span.start + *done;
		uint64_t moved = 0;

		if (limit <= *done)
			limit = bytes;
		err = mm->sys->ops->uffd_move(mm->sys, mm->uffd, addr, source + *done,
					      limit - *done, SYS_MOVE_ALLOW_SRC_HOLES,
					      &moved);
		*done += moved;
		mm_stat_add(&mm->stats.home_moved_pages, moved >> PAGE_SHIFT);
		if (!err || (err == -EAGAIN && moved))
			continue;
		/* Progress may have hidden -EEXIST of a page that moved all the same. An
		 * empty frame is a page that is home, or zeros, as is a hole there. */
		if (err == -EAGAIN && *done && frame_is_empty(mm, source + *done)) {
			mm_wake(mm, span_make(addr, PAGE_BYTES)); /* W1 */
			*done += PAGE_BYTES;
			continue;
		}
		if (err == -EAGAIN)
			return err;
		if (err == -EINVAL) {
			struct span rest = { addr, span.start + limit };
			uint64_t in_vma = bytes_in_vma(mm, rest);

			if (in_vma < span_bytes(rest)) {
				limit = *done + in_vma;
				continue;
			}
		}
		/* Asked again it might say -EAGAIN, and the page would count as ours. */
		if (err == -EEXIST && frame_is_empty(mm, source + *done))
			err = return_existing(mm, addr, source + *done, dirty);
		else
			err = return_page(mm, addr, source + *done, dirty);
		if (err)
			return err;
		*done += PAGE_BYTES;
	}
	return 0;
}

/*
 * Bring home what of @span is on a device. Translations are revoked already; two
 * nodes are reserved. Return: 0; -EAGAIN an event is in flight; -EBUSY some of it
 * is MOVING.
 */
int mm_bring_home_locked(struct mm *mm, struct span span, const struct mm_entry_owner *owner)
{
	struct mm_entry *entry;
	bool moving = false;
	int err;

	mm_entry_split(mm, span.start);
	mm_entry_split(mm, span.end);
	entry = mm_entry_first(mm, span);
	while (entry) {
		struct span home = entry->node.span;
		uint64_t done = 0;

		if (entry->state == MM_ENTRY_MOVING || (owner && entry->owner != owner)) {
			moving |= entry->state == MM_ENTRY_MOVING &&
				  (!owner || entry->owner == owner);
			entry = mm_entry_next(entry, span);
			continue;
		}
		if (entry->doubted) /* the monitor is about to find out */
			return -EAGAIN;
		err = mm_mark_lift(mm, entry, &home);
		if (err == -ENOENT) {
			entry = mm_entry_first(mm, (struct span){ home.end, span.end });
			continue;
		}
		if (err)
			return err;
		err = entry->owner->ops->bring_home(entry->owner, home, entry->frame,
						    &done);
		if (err)
			entry->marked = false; /* of the rest it is not known */
		PLANTED_GAP(HOME_TWO_STEPS, &mm->event_lock);
		mm_entry_shrink(mm, entry, done); /* E1 */
		if (err)
			return err;
		entry = mm_entry_first(mm, (struct span){ home.end, span.end });
	}
	return moving ? -EBUSY : 0;
}

/* At most 2 MiB of @span, from its first device page on; *@rest: where to go on. */
static int bring_home_step(struct mm *mm, struct span span, const struct mm_entry_owner *owner,
			   enum mm_event_type why, uint64_t *rest)
{
	struct mm_entry *entry;
	struct span step;

	lock_assert_held(&mm->event_lock);
	/* One that is displaced may have come to @span. */
	*rest = span.start;
	if (mm->displaced.count && !mm_remap_settle(mm)) /* U2 */
		return -EAGAIN;
	entry = mm_entry_first(mm, span);
	while (entry && owner && entry->owner != owner)
		entry = mm_entry_next(entry, span);
	if (!entry) {
		*rest = span.end;
		return 0;
	}
	step = span_intersect(entry->node.span, span);
	step.end = MIN(step.end, step.start + HUGE_BYTES);
	*rest = step.start;
	if (!PLANTED(REVOKE_HOME))
		mm_invalidate_locked(mm, step, why); /* Q3 */
	return mm_bring_home_locked(mm, step, owner);
}

/* What there was to wait for before a step. */
struct home_wait {
	uint32_t event, moving;
};

static struct home_wait home_ticket(struct mm *mm)
{
	return (struct home_wait){ mm_event_ticket(mm), wait_ticket(&mm->moving_wait) };
}

/* After a step that could not finish: let those run who can end it. */
static void home_retry(struct mm *mm, int err, struct home_wait ticket, uint32_t tries)
{
	if (err == -EBUSY)
		wait_sleep(&mm->moving_wait, ticket.moving, BASE_FOREVER);
	else
		mm_event_wait(mm, ticket.event, tries);
}

int mm_bring_home(struct mm *mm, struct span span, const struct mm_entry_owner *owner)
{
	return mm_bring_home_for(mm, span, owner, MM_EVENT_MIGRATE);
}

int mm_bring_home_for(struct mm *mm, struct span span, const struct mm_entry_owner *owner,
		      enum mm_event_type why)
{
	uint32_t tries = 0;
	int err;

	while (span.start < span.end) {
		struct home_wait ticket = home_ticket(mm);

		err = mm_reserve(mm, 2);
		if (err)
			return -EBUSY;
		mm_lock(mm);
		err = bring_home_step(mm, span, owner, why, &span.start);
		if (err == -EAGAIN)
			mm_stat_add(&mm->stats.retries, 1);
		mm_unlock(mm, 2);
		if (err && tries++ > MM_RETRY_MAX)
			return -EBUSY;
		if (err)
			home_retry(mm, err, ticket, tries);
	}
	return 0;
}

int mm_evict_owner(struct mm *mm, struct mm_entry_owner *owner)
{
	uint32_t tries = 0;
	int err;

	for (;;) {
		struct home_wait ticket = home_ticket(mm);
		uint64_t rest;

		err = mm_reserve(mm, 2);
		if (err)
			return -EBUSY;
		mm_lock(mm);
		if (list_is_empty(&owner->entries)) {
			mm_unlock(mm, 2);
			return 0;
		}
		/* The back reference: where the page is mapped now, not where it was
		 * when it was taken. */
		struct mm_entry *entry = LIST_ENTRY(owner->entries.next, struct mm_entry,
						    owner_link);

		err = bring_home_step(mm, entry->node.span, owner, MM_EVENT_MIGRATE,
				      &rest);
		if (err == -EAGAIN)
			mm_stat_add(&mm->stats.retries, 1);
		mm_unlock(mm, 2);
		if (err && tries++ > MM_RETRY_MAX)
			return -EBUSY;
		if (err)
			home_retry(mm, err, ticket, tries);
	}
}
