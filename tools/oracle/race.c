/* SPDX-License-Identifier: MIT */
/*
 * DOC: Operations that let others in
 *
 * Those of ops.c keep everybody away from the pages that they destroy. These do not:
 * the neighbours, the old place of what moved, or the very pages are in use.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "oracle.h"

#define RACE_PAGES 64u
#define DETOUR_ZONE (ZONE + (64ul << 30))
#define DETOUR_BYTES (16ul << 20)

/* --- pages that are destroyed while they are used --------------------------------------- */

/* Everybody may use the pages meanwhile. Return: how many of them no other such call has. */
static uint32_t race_begin(const struct hold *hold, uint64_t done[RACE_PAGES][BOUNDS_COUNT])
{
	uint32_t count = 0;

	for (; count < hold->count && count < RACE_PAGES; count++) {
		struct shadow *shadow = &hold->area->shadow[hold->first + count];
		uint64_t races = LOAD(&shadow->races);

		if (races & 1 ||
		    !__atomic_compare_exchange_n(&shadow->races, &races, races + 1, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			break;
		for (uint32_t i = 0; i < BOUNDS_COUNT; i++) {
			struct bounds *b = i < 2 ? &shadow->counter[i] : &shadow->slot[i - 2];

			done[count][i] = LOAD(&b->done);
		}
	}
	return count;
}

static void race_end(const struct hold *hold, uint32_t count,
		     uint64_t done[RACE_PAGES][BOUNDS_COUNT])
{
	for (uint32_t page = 0; page < count; page++) {
		struct shadow *shadow = &hold->area->shadow[hold->first + page];

		for (uint32_t i = 0; i < BOUNDS_COUNT; i++) {
			struct bounds *b = i < 2 ? &shadow->counter[i] : &shadow->slot[i - 2];

			STORE(&b->lost_min, done[page][i]);
			STORE(&b->lost_max, LOAD(&b->begun));
		}
		STORE(&shadow->tag, 0);
		ADD(&shadow->races, 1);
	}
}

static void race_call(struct worker *worker, struct hold *hold)
{
	bool replace = random_one_in(&worker->random, 2);
	uint64_t done[RACE_PAGES][BOUNDS_COUNT];
	void *at = hold_start(hold);
	uint32_t count = race_begin(hold, done);
	void *got = at;

	if (!count)
		return;
	area_note(hold->area, worker->thread, replace ? "race MAP_FIXED" : "race DONTNEED",
		  hold->first, count);
	if (replace)
		got = map_again(hold->area, hold->first, count, MAP_FIXED) ? at : MAP_FAILED;
	else if (madvise(at, count * PAGE, MADV_DONTNEED))
		got = MAP_FAILED;
	if (got != at)
		report_failure(hold->area, "a call to race with", errno);
	race_end(hold, count, done);
	if (replace)
		advise_as(hold->area, hold->first, count);
}

void op_race(struct worker *worker, struct hold *hold)
{
	struct mismatch m;

	for (uint32_t i = 0; i < 4; i++) {
		uint32_t page = hold->first + random_below(&worker->random, hold->count);

		race_call(worker, hold);
		touch_page(hold->area, page, worker->thread, 1);
		if (!check_page(hold->area, page, TAG_FIRST, 32, false, &m))
			report_mismatch(hold->area, &m, worker->thread, "in a race");
	}
}

/* --- new memory at an old address, again and again --------------------------------------- */

static void renew(struct worker *worker, const struct hold *hold, uint32_t how)
{
	static const char *const what[] = { "hammer DONTNEED", "hammer MAP_FIXED",
					    "hammer munmap" };
	size_t bytes = hold->count * PAGE;

	note(worker, hold, what[how]);
	if (how == 0 && madvise(hold_start(hold), bytes, MADV_DONTNEED))
		report_failure(hold->area, "madvise", errno);
	if (how == 2 && munmap(hold_start(hold), bytes))
		report_failure(hold->area, "munmap", errno);
	if (how && !map_again(hold->area, hold->first, hold->count, MAP_FIXED))
		report_failure(hold->area, "mmap", errno);
	shadow_clear(hold, hold->first, hold->count);
}

/* What is written right after the call must stay: a GPU fault in the neighbourhood, or a
 * prefetch, that began before it may take the new pages as if they were the old. */
void op_hammer(struct worker *worker, struct hold *hold)
{
	uint32_t how = random_below(&worker->random, 3);
	uint32_t end = hold->first + hold->count;
	struct mismatch m;

	STORE(&run->disturbed_pages, hold->count);
	STORE(&run->disturbed, (uintptr_t)hold_start(hold));
	for (uint32_t i = 0; i < 32; i++) {
		struct hold part = *hold;

		/* A part of a VMA that is not known to usvm yet, now and then. */
		if (random_one_in(&worker->random, 2)) {
			part.first += random_below(&worker->random, hold->count);
			part.count -= part.first - hold->first;
			part.count = 1 + random_below(&worker->random, part.count);
		}
		renew(worker, &part, how);
		for (uint32_t page = hold->first; page < end; page += 3)
			touch_page(hold->area, page, worker->thread, i + 1);
		for (uint32_t page = hold->first; page < end; page++) {
			if (!check_page(hold->area, page, TAG_FIRST + i * 15, 8, true, &m))
				report_mismatch(hold->area, &m, worker->thread,
						"under the hammer");
		}
	}
	STORE(&run->disturbed, 0);
	if (how)
		advise_as(hold->area, hold->first, hold->count);
}

/* Without a lock: the pages may be anything by now. */
void disturb(struct worker *worker)
{
	uint64_t addr = LOAD(&run->disturbed);
	int err = 0;

	for (uint32_t i = 0; addr && i < 64 && LOAD(&run->disturbed) == addr; i++) {
		bool home = random_one_in(&worker->random, 3);

		err = usvm_prefetch(run->vm, (void *)addr, LOAD(&run->disturbed_pages) * PAGE,
				    home ? USVM_PLACE_SYSTEM : USVM_PLACE_DEVICE);
		if (err && err != -EFAULT)
			report_failure(NULL, "a prefetch that disturbs", err);
	}
}

/* --- the CPU and the GPU want the same few pages ---------------- */

void op_ping_pong(struct worker *worker, struct hold *hold)
{
	struct job *job = &worker->job;
	struct mismatch m;

	job_reap(job, true);
	note(worker, hold, "ping pong");
	job_start(job, hold, JOB_WORK, 16, random_next(&worker->random));
	for (uint32_t i = 0; !job_done(job, false); i++) {
		uint32_t page = hold->first + random_below(&worker->random, hold->count);

		touch_page(hold->area, page, worker->thread, 1);
		if (!check_page(hold->area, page, TAG_FIRST + i % 256, 4, false, &m))
			report_mismatch(hold->area, &m, worker->thread, "in ping pong");
	}
}

/* --- away and back ---------------- */

/* Pages move out of the middle of an area; other memory is at their place for a while. */
void op_detour(struct worker *worker, struct hold *hold)
{
	unsigned char *away = (unsigned char *)(DETOUR_ZONE + worker->thread * DETOUR_BYTES);
	unsigned char *at = hold_start(hold);

	place(worker, hold);
	if (random_one_in(&worker->random, 2) &&
	    usvm_prefetch(run->vm, at, hold->count * PAGE, USVM_PLACE_DEVICE))
		report_failure(hold->area, "prefetch before a detour", 0);
	away += hold->first % 512 * PAGE;
	remap_pieces(worker, hold->area, at, hold->count, away, 0);
	if (!map_again(hold->area, hold->first, hold->count, MAP_FIXED_NOREPLACE))
		report_failure(hold->area, "mmap at the old place", errno);
	advise_as(hold->area, hold->first, hold->count);
	note(worker, hold, "detour");
	if (random_one_in(&worker->random, 2))
		job_run(&worker->job, hold, JOB_SOIL, 1, 0);
	hold->elsewhere = away - hold->first * PAGE;
	if (random_one_in(&worker->random, 2))
		job_run(&worker->job, hold, JOB_CHECK, 1, 0);
	hold->elsewhere = NULL;
	if (random_one_in(&worker->random, 2))
		job_run(&worker->job, hold, JOB_SOIL, 1, 0);
	remap_pieces(worker, hold->area, away, hold->count, at, 0);
	note(worker, hold, "back");
	check_held(hold, worker->thread, &worker->random, "after a detour");
}

/* --- realloc(): the kernel chooses the place ---------------- */

static void block_renew(struct worker *worker, struct area *area, uint32_t pages)
{
	area_note(area, worker->thread, "free, malloc", 0, pages);
	if (munmap(area->base, area->pages * PAGE))
		report_failure(area, "munmap of a block", errno);
	area->base = map_anywhere(pages * PAGE, MAP_PRIVATE);
	memset(area->shadow, 0, AREA_PAGES_MAX * sizeof(struct shadow));
	area->pages = pages;
}

static void block_resize(struct worker *worker, struct area *area, uint32_t pages)
{
	void *got;

	if (vma_end((uintptr_t)area->base) < (uintptr_t)area->base + area->pages * PAGE) {
		block_renew(worker, area, pages);
		return;
	}
	area_note(area, worker->thread, "realloc", area->pages, pages);
	got = mremap(area->base, area->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	if (got == MAP_FAILED)
		report_failure(area, "mremap of a block", errno);
	if (pages < area->pages)
		memset(&area->shadow[pages], 0, (area->pages - pages) * sizeof(struct shadow));
	area->base = got;
	area->pages = pages;
}

void op_realloc(struct worker *worker, struct hold *hold)
{
	struct area *area = hold->area;

	for (uint32_t i = 0; i < 4; i++) {
		uint32_t pages = area->pages_min +
				 random_below(&worker->random,
					      area->pages_max - area->pages_min + 1);

		if (random_one_in(&worker->random, 8))
			block_renew(worker, area, pages);
		else
			block_resize(worker, area, pages);
		hold->count = area->pages;
		look(worker, hold, "after realloc");
		if (random_one_in(&worker->random, 2))
			make_tags(worker, hold);
		place(worker, hold);
	}
}
