/* SPDX-License-Identifier: MIT */
/*
 * DOC: Migration
 *
 * To the device, move mode: one mm_take() straight into the frames. Where a 2 MiB
 * block was empty, its frames are given a zeroed huge page afterwards, so that
 * the engine's first touch is not 512 of the kernel's page faults.
 *
 * To the device, copy mode:
 *
 *     mm_take() to staging, MOVING     a CPU fault sleeps
 *     ops->copy() of each run          no lock: the monitor answers others
 *     mm_take_finish(): DEVICE         wakes who sleeps
 *     ...                              the fault is answered
 *     pagemap_tidy()                   staging is empty again: a third of the time
 *
 * Runs that were unmapped meanwhile are copied in vain; runs that were remapped
 * are found by their frames. If the device cannot copy, the pages go home from
 * staging.
 *
 * Home, move mode: mm_return_locked() out of the frames. Copy mode: the device
 * copies to staging, under event_lock and without waiting for anything, and the
 * same call moves staging home. What could not go home stays on the device. If the
 * device cannot copy, each page is tried alone; those that fail again are lost, and
 * no program reads something else instead of them.
 */
#include "pagemap/pagemap_internal.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/host.h"
#include "base/plant.h"

struct run {
	uint64_t frame;
	uint64_t bytes;
};

/* The program can cut a take into single pages while it moves (munmap, mremap). */
#define RUNS_MAX PAGES_PER_HUGE

static struct sys *sys_of(const struct pagemap *pagemap)
{
	return mm_sys(pagemap->config.mm);
}

static void *pointer(const struct pagemap *pagemap, uint64_t addr, uint64_t bytes)
{
	return sys_of(pagemap)->ops->pointer(sys_of(pagemap), addr, bytes);
}

int pagemap_device_copy(struct pagemap *pagemap, uint64_t vram_offset, uint64_t memory,
			uint64_t bytes, bool to_device)
{
	return pagemap->config.ops->copy(pagemap->config.owner, vram_offset,
					 pointer(pagemap, memory, bytes), bytes, to_device);
}

/* A whole block of zeros: one huge page instead of 512 first touches. */
static void fill_huge(struct pagemap_devmem *devmem, struct span span)
{
	struct pagemap *pagemap = devmem->pagemap;
	struct mm *mm = pagemap->config.mm;
	uint64_t frame = span.start - devmem->addr;
	uint64_t to = pagemap->frames + devmem->vram_offset + frame;
	struct mm_entry *entry;

	if (!pagemap->zeros || span_bytes(span) != HUGE_BYTES || !IS_ALIGNED(to, HUGE_BYTES))
		return;
	lock_acquire(&pagemap->take_lock);
	if (sys_of(pagemap)->ops->advise(sys_of(pagemap), span_make(pagemap->zeros, HUGE_BYTES),
					 SYS_ADVICE_POPULATE_WRITE))
		goto unlock;
	lock_acquire(mm_event_lock(mm));
	entry = mm_entry_first(mm, span);
	if (entry && entry->owner == &devmem->zdd.owner && entry->frame == frame &&
	    span_covers(entry->node.span, span))
		mm_frames_fill_locked(mm, to, pagemap->zeros, HUGE_BYTES);
	lock_release(mm_event_lock(mm));
unlock:
	lock_release(&pagemap->take_lock);
}

static int populate_by_move(struct pagemap_devmem *devmem, struct mm_take *take)
{
	struct mm *mm = devmem->pagemap->config.mm;
	int err;

	take->destination = devmem->pagemap->frames + devmem->vram_offset + take->frame;
	err = mm_take(mm, take);
	if (!err && take->filled_pages == PAGES_PER_HUGE)
		fill_huge(devmem, take->span);
	return err;
}

/* The runs of a take that are still MOVING. */
static size_t moving_runs(struct pagemap_devmem *devmem, const struct mm_take *take,
			  struct run *runs)
{
	struct lock *event_lock = mm_event_lock(devmem->pagemap->config.mm);
	size_t count = 0;

	lock_acquire(event_lock);
	LIST_FOR_EACH(node, &devmem->zdd.owner.entries) {
		struct mm_entry *entry = LIST_ENTRY(node, struct mm_entry, owner_link);

		if (entry->state != MM_ENTRY_MOVING || entry->frame < take->frame ||
		    entry->frame >= take->frame + span_bytes(take->span))
			continue;
		ASSERT(count < RUNS_MAX);
		runs[count++] = (struct run){ entry->frame,
					      span_bytes(entry->node.span) };
	}
	lock_release(event_lock);
	return count;
}

static int copy_runs(struct pagemap_devmem *devmem, const struct mm_take *take)
{
	struct pagemap *pagemap = devmem->pagemap;
	struct run runs[RUNS_MAX];
	size_t count = moving_runs(devmem, take, runs);
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		err = pagemap_device_copy(pagemap, devmem->vram_offset + runs[i].frame,
				  take->destination + (runs[i].frame - take->frame),
				  runs[i].bytes, true);
	}
	return err;
}

static void set_staging(struct pagemap_devmem *devmem, uint64_t staging)
{
	lock_acquire(mm_event_lock(devmem->pagemap->config.mm));
	devmem->staging = staging;
	lock_release(mm_event_lock(devmem->pagemap->config.mm));
}

static void tidy_locked(struct pagemap *pagemap)
{
	struct span staging = span_make(pagemap_staging(pagemap, PAGEMAP_STAGING_TAKE),
					HUGE_BYTES);

	lock_assert_held(&pagemap->take_lock);
	if (!pagemap->staging_used)
		return;
	mm_arena_empty(pagemap->config.mm, staging);
	if (pagemap->config.poison)
		pagemap_poison(pagemap, staging.start, HUGE_BYTES);
	ATOMIC_STORE_RELAXED(&pagemap->staging_used, false);
}

static int populate_by_copy(struct pagemap_devmem *devmem, struct mm_take *take,
			    struct pagemap_migration *migration)
{
	struct pagemap *pagemap = devmem->pagemap;
	struct mm *mm = pagemap->config.mm;
	uint64_t staging = pagemap_staging(pagemap, PAGEMAP_STAGING_TAKE);
	int err, copy_err;

	lock_acquire(&pagemap->take_lock);
	if (pagemap->config.poison || pagemap->staging_used)
		mm_arena_empty(mm, span_make(staging, HUGE_BYTES));
	ATOMIC_STORE_RELAXED(&pagemap->staging_used, true);
	take->destination = staging;
	take->moving = true;
	set_staging(devmem, staging - take->frame);
	err = mm_take(mm, take);
	if (take->taken_pages + take->filled_pages) {
		uint64_t start = sys_of(pagemap)->ops->clock_ns(sys_of(pagemap));

		copy_err = copy_runs(devmem, take);
		migration->copy_ns = sys_of(pagemap)->ops->clock_ns(sys_of(pagemap)) - start;
		if (copy_err) {
			mm_take_abort(mm, take);
			err = -EIO;
		} else {
			mm_take_finish(mm, take);
		}
	}
	set_staging(devmem, 0);
	if (pagemap->config.poison)
		tidy_locked(pagemap);
	lock_release(&pagemap->take_lock);
	return err;
}

void pagemap_tidy(struct pagemap *pagemap)
{
	if (!ATOMIC_LOAD_RELAXED(&pagemap->staging_used))
		return;
	lock_acquire(&pagemap->take_lock);
	tidy_locked(pagemap);
	lock_release(&pagemap->take_lock);
}

/* What is at home, and holes. */
static int populate_from_home(struct pagemap_devmem *devmem, struct mm_take *take,
			      struct pagemap_migration *migration)
{
	int err = devmem->pagemap->config.copy ? populate_by_copy(devmem, take, migration) :
						 populate_by_move(devmem, take);

	migration->moved_pages = take->taken_pages;
	migration->filled_pages = take->filled_pages;
	migration->busy_pages = take->busy_pages;
	migration->huge = take->huge;
	return err;
}

int pagemap_populate_mm(struct pagemap_devmem *devmem, struct pagemap_migration *migration)
{
	struct pagemap *pagemap = devmem->pagemap;
	struct mm_take take = {
		.span = migration->span,
		.fill = migration->fill,
		.fill_empty = migration->fill_empty,
		.look = migration->look,
		.owner = &devmem->zdd.owner,
		.frame = migration->span.start - devmem->addr,
	};
	uint64_t start = mm_trace_start(pagemap->config.mm);
	uint64_t peer_pages = 0;
	int err = 0;

	ASSERT(span_covers(span_make(devmem->addr, devmem->bytes), migration->span));
	migration->copy_ns = 0;
	if (!mm_can_migrate(pagemap->config.mm, NULL))
		return -EOPNOTSUPP;
	/* Before, so that no CPU fault has the page at once; and after, for a copy takes time. */
	if (migration->stay_ns)
		mm_owner_stay(pagemap->config.mm, &devmem->zdd.owner, migration->stay_ns);
	if (migration->peers)
		peer_pages = pagemap_fetch_peers(devmem, migration);
	if (peer_pages < span_pages(migration->span))
		err = populate_from_home(devmem, &take, migration);
	migration->peer_pages = peer_pages;
	if (migration->stay_ns && pagemap->config.copy)
		mm_owner_stay(pagemap->config.mm, &devmem->zdd.owner, migration->stay_ns);
	if (take.taken_pages + take.filled_pages)
		mm_trace(pagemap->config.mm, TRACE_MIGRATE_TO_DEVICE, take.span.start,
			 span_bytes(take.span),
			 (take.taken_pages + take.filled_pages) << PAGE_SHIFT, start);
	return peer_pages ? 0 : err;
}

/* The device failed to copy @span: page by page. Return: as pagemap_bring_home(). */
static int bring_home_singly(struct pagemap_devmem *devmem, struct span span, uint64_t frame,
			     uint64_t *done, bool *dirty)
{
	struct pagemap *pagemap = devmem->pagemap;
	struct mm *mm = pagemap->config.mm;
	uint64_t source = pagemap_staging(pagemap, PAGEMAP_STAGING_HOME);

	lock_assert_held(mm_event_lock(mm));
	for (*done = 0; *done < span_bytes(span); *done += PAGE_BYTES) {
		struct span page = span_make(span.start + *done, PAGE_BYTES);
		uint64_t returned;
		int err;

		if (pagemap_device_copy(pagemap, devmem->vram_offset + frame + *done, source,
				PAGE_BYTES, false))
			err = mm_lose_locked(mm, page.start); /* H1 */
		else
			err = mm_return_locked(mm, page, source, &returned, dirty);
		if (err)
			return err;
	}
	return 0;
}

/* Where the place had a page table the huge page was split, and the staging keeps a page
 * table too: all that came home through it from then on would be small pages. */
static void mend_staging(struct pagemap *pagemap, struct span span)
{
	struct mm *mm = pagemap->config.mm;
	struct sys_page_run run;
	size_t count = 0;
	uint64_t end;
	int err;

	lock_assert_held(mm_event_lock(mm));
	err = sys_of(pagemap)->ops->page_scan(sys_of(pagemap), span_make(span.start, PAGE_BYTES),
					      &run, 1, &count, &end);
	if (err || !count || !(run.flags & SYS_PAGE_HUGE))
		mm_arena_renew_locked(mm, pagemap_staging(pagemap, PAGEMAP_STAGING_HOME_HUGE));
}

int pagemap_bring_home(struct mm_entry_owner *owner, struct span span, uint64_t frame,
		       uint64_t *done)
{
	struct pagemap_devmem *devmem = pagemap_owner_devmem(owner);
	struct pagemap *pagemap = devmem->pagemap;
	struct mm *mm = pagemap->config.mm;
	uint64_t start = mm_trace_start(mm);
	uint64_t source;
	bool dirty = false;
	bool huge = false;
	int copy_err = 0;
	int err;

	lock_assert_held(mm_event_lock(mm));
	if (!pagemap->config.copy) {
		source = pagemap->frames + devmem->vram_offset + frame;
	} else {
		huge = span_bytes(span) == HUGE_BYTES && IS_ALIGNED(span.start, HUGE_BYTES);
		source = pagemap_staging(pagemap, huge ? PAGEMAP_STAGING_HOME_HUGE :
							 PAGEMAP_STAGING_HOME);
		copy_err = pagemap_device_copy(pagemap, devmem->vram_offset + frame, source,
				       span_bytes(span), false);
	}
	if (copy_err)
		err = bring_home_singly(devmem, span, frame, done, &dirty);
	else
		err = mm_return_locked(mm, span, source, done, &dirty);
	if (huge && *done)
		mend_staging(pagemap, span);
	/* A huge page's staging has to be empty for the next one. */
	if (*done && pagemap->config.poison && !huge)
		pagemap_poison(pagemap, source, *done);
	if (*done)
		mm_trace(mm, TRACE_MIGRATE_TO_RAM, span.start, *done, 0, start);
	return err;
}

int pagemap_read(struct mm_entry_owner *owner, uint64_t frame, bool moving, void *buffer,
		 uint64_t bytes)
{
	struct pagemap_devmem *devmem = pagemap_owner_devmem(owner);
	struct pagemap *pagemap = devmem->pagemap;
	int err = 0;

	if (!pagemap->config.copy) {
		memcpy(buffer,
		       pointer(pagemap, pagemap->frames + devmem->vram_offset + frame, bytes),
		       bytes);
	} else if (moving) {
		memcpy(buffer, pointer(pagemap, devmem->staging + frame, bytes), bytes);
	} else {
		/* Twice, as on the way home. */
		err = -EIO;
		for (int i = 0; i < 2 && err; i++)
			err = pagemap->config.ops->copy(pagemap->config.owner,
							devmem->vram_offset + frame, buffer,
							bytes, false);
	}
	return err ? -EIO : 0;
}

int pagemap_evict_to_ram(struct pagemap_devmem *devmem)
{
	struct mm *mm = devmem->pagemap->config.mm;
	uint64_t start = mm_trace_start(mm);
	int err = PLANTED(EVICT_DROPS) ? 0 : mm_evict_owner(mm, &devmem->zdd.owner);

	mm_trace(mm, TRACE_EVICT, devmem->addr, devmem->bytes, 0, start);
	return err;
}
