/* SPDX-License-Identifier: MIT */
/*
 * DOC: Areas, their places and their locks
 *
 * Areas live at places of a zone of addresses where nobody else maps anything, so an
 * address that was unmapped is free until the stress maps it again. Places of one
 * kind touch: neighbours become one VMA where the kernel joins them, and one GPU
 * range may reach over both.
 *
 *     zone   | small | small | ...   1 MiB each    | huge | huge | ...  8 MiB each
 *
 * There are more places than areas: an area that moves leaves a hole for the next. The
 * end of the heap is an area too, and each thread has blocks where the kernel puts them;
 * objects (object.c) are where they were mapped.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "oracle.h"

#define SMALL_BYTES (1ul << 20)
#define SMALL_SLOTS 13u
#define HUGE_BYTES (8ul << 20)
#define HUGE_SLOTS 7u
#define HUGE_ZONE (ZONE + (16ul << 20))
#define ODD_PAGES 5u

/* What all use. One area of huge pages does not begin with one. */
static const enum area_kind kinds[SHARED_AREAS] = {
	AREA_SMALL, AREA_SMALL, AREA_SMALL, AREA_SMALL, AREA_SMALL, AREA_SMALL, AREA_FILE,
	AREA_SHARED, AREA_HUGE, AREA_HUGE, AREA_HUGE, AREA_HUGE, AREA_BREAK,
	AREA_OBJECT, AREA_OBJECT,
};

#define ODD_AREA 11u
#define LARGE_OBJECT_AREA 14u

struct area areas[AREAS_MAX];
static struct try_lock slots[SMALL_SLOTS + HUGE_SLOTS];

uint32_t area_kind_of(uint32_t index)
{
	return index < SHARED_AREAS ? kinds[index] : 0;
}

/* --- locks ---------------- */

bool try_shared(struct try_lock *lock)
{
	int32_t old = LOAD(&lock->state);

	while (old >= 0) {
		if (__atomic_compare_exchange_n(&lock->state, &old, old + 1, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return true;
	}
	return false;
}

bool try_exclusive(struct try_lock *lock)
{
	int32_t old = 0;

	return __atomic_compare_exchange_n(&lock->state, &old, -1, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

void unlock_shared(struct try_lock *lock)
{
	ADD(&lock->state, -1);
}

void unlock_exclusive(struct try_lock *lock)
{
	STORE(&lock->state, 0);
}

static uint32_t min(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t chunks_of(const struct area *area, uint32_t pages)
{
	return (pages + area->chunk_pages - 1) / area->chunk_pages;
}

static bool try_chunks(struct area *area, uint32_t first, uint32_t count, bool exclusive)
{
	for (uint32_t i = 0; i < count; i++) {
		struct try_lock *lock = &area->chunk_locks[first + i];

		if (exclusive ? try_exclusive(lock) : try_shared(lock))
			continue;
		while (i--) {
			if (exclusive)
				unlock_exclusive(&area->chunk_locks[first + i]);
			else
				unlock_shared(&area->chunk_locks[first + i]);
		}
		return false;
	}
	return true;
}

/* Steps of the same time in a round have the same area in mind, half of them. */
static struct area *area_choose(struct random *random, uint32_t kinds_wanted)
{
	struct random focus;
	uint32_t steps = 0;

	for (uint32_t i = 0; i < run->setting.thread_count; i++)
		steps += (uint32_t)LOAD(&run->workers[i].steps);
	focus.state = run->setting.seed + steps / 32;
	for (uint32_t tries = 0;; tries++) {
		bool is_focus = !tries && random_one_in(random, 2);
		struct area *area = &areas[random_below(is_focus ? &focus : random,
							SHARED_AREAS)];

		if (area->kind & kinds_wanted)
			return area;
	}
}

void hold_choose(struct random *random, uint32_t kinds_wanted, uint32_t own,
		 uint32_t pages_max, enum lock_kind lock, struct hold *hold)
{
	uint32_t chunks, most, count, pages;
	struct area *area;

	*hold = (struct hold){ .lock = lock, .area = &areas[0] };
	if (lock == LOCK_NONE)
		return;
	area = kinds_wanted == AREA_BLOCK ?
		       &areas[SHARED_AREAS + own * BLOCKS_PER_THREAD +
			      random_below(random, BLOCKS_PER_THREAD)] :
		       area_choose(random, kinds_wanted);
	hold->area = area;
	pages = LOAD(&area->pages);
	if (lock == LOCK_WHOLE) {
		hold->count = pages;
		return;
	}
	if (lock == LOCK_PLACE) {
		hold->first = random_below(random, pages);
		hold->count = 1 + random_below(random, pages - hold->first);
		return;
	}
	chunks = chunks_of(area, pages);
	most = pages_max / area->chunk_pages;
	hold->first = random_below(random, chunks);
	count = 1 + (most > 1 ? random_below(random, most) : 0);
	count = min(count, chunks - hold->first);
	hold->first *= area->chunk_pages;
	hold->count = min(count * area->chunk_pages, pages - hold->first);
	if (hold->count > pages_max) { /* a part of one chunk */
		hold->first += random_below(random, hold->count - pages_max + 1);
		hold->count = pages_max;
	}
}

/* The chunks that pages lie in. */
static uint32_t first_chunk(const struct hold *hold)
{
	return hold->first / hold->area->chunk_pages;
}

static uint32_t chunk_count(const struct hold *hold)
{
	return chunks_of(hold->area, hold->first + hold->count) - first_chunk(hold);
}

bool hold_try(struct hold *hold)
{
	struct area *area = hold->area;
	bool whole = hold->lock == LOCK_WHOLE;

	if (hold->lock == LOCK_NONE)
		return true;
	if (whole ? !try_exclusive(&area->lock) : !try_shared(&area->lock))
		return false;
	if (whole)
		hold->count = area->pages;
	else if (hold->first >= area->pages)
		goto unlock;
	else
		hold->count = min(hold->count, area->pages - hold->first);
	if (hold->lock == LOCK_PLACE || whole ||
	    try_chunks(area, first_chunk(hold), chunk_count(hold),
		       hold->lock == LOCK_EXCLUSIVE))
		return true;
unlock:
	unlock_shared(&area->lock);
	return false;
}

bool hold_some(struct random *random, uint32_t pages_max, struct hold *hold)
{
	for (int tries = 0; tries < 8; tries++) {
		hold_choose(random, AREA_COMMON, 0, pages_max, LOCK_SHARED, hold);
		if (hold_try(hold))
			return true;
	}
	return false;
}

bool hold_all(struct area *area, struct hold *hold)
{
	*hold = (struct hold){ .area = area, .lock = LOCK_WHOLE };
	return hold_try(hold);
}

void hold_release(struct hold *hold)
{
	struct area *area = hold->area;
	uint32_t first, end;

	if (hold->lock == LOCK_NONE)
		return;
	if (hold->lock == LOCK_WHOLE) {
		unlock_exclusive(&area->lock);
		return;
	}
	first = first_chunk(hold);
	end = first + (hold->lock == LOCK_PLACE ? 0 : chunk_count(hold));
	for (uint32_t i = first; i < end; i++) {
		if (hold->lock == LOCK_EXCLUSIVE)
			unlock_exclusive(&area->chunk_locks[i]);
		else
			unlock_shared(&area->chunk_locks[i]);
	}
	unlock_shared(&area->lock);
}

/* --- places ---------------- */

unsigned char *area_slot_base(const struct area *area, uint32_t slot)
{
	uint64_t base = area->kind == AREA_HUGE ? HUGE_ZONE + (slot - SMALL_SLOTS) * HUGE_BYTES :
				     ZONE + slot * SMALL_BYTES;

	if (area->index == ODD_AREA)
		base += ODD_PAGES * PAGE;
	return (unsigned char *)base;
}

uint32_t area_slot_reserve(const struct area *area)
{
	uint32_t first = area->kind == AREA_HUGE ? SMALL_SLOTS : 0;
	uint32_t end = area->kind == AREA_HUGE ? SMALL_SLOTS + HUGE_SLOTS : SMALL_SLOTS;

	for (uint32_t i = first; i < end; i++) {
		if (try_exclusive(&slots[i]))
			return i;
	}
	return UINT32_MAX;
}

void area_slot_release(const struct area *area, uint32_t slot)
{
	(void)area;
	unlock_exclusive(&slots[slot]);
}

/* --- life ---------------- */

void area_note(struct area *area, uint32_t agent, const char *what, uint32_t first,
	       uint32_t count)
{
	uint32_t i = ADD(&area->ring_next, 1u) % RING_COUNT;

	area->ring[i] = (struct ring_entry){ now_ns(), what, agent, first, count,
					     (uintptr_t)area->base };
}

void shadow_clear(const struct hold *hold, uint32_t first, uint32_t count)
{
	memset(&hold->area->shadow[first], 0, count * sizeof(struct shadow));
}

void *map_anywhere(size_t bytes, int flags)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		must(-errno, "mmap");
	return memory;
}

bool map_again(const struct area *area, uint32_t first, uint32_t count, int flags)
{
	void *at = page_at(area, first);

	flags |= area->kind == AREA_SHARED ? MAP_SHARED : MAP_PRIVATE;
	if (area->file < 0)
		flags |= MAP_ANONYMOUS;
	return mmap(at, count * PAGE, PROT_READ | PROT_WRITE, flags, area->file,
		    area->file < 0 ? 0 : (off_t)(first * PAGE)) == at;
}

/* A kernel without huge pages refuses: no matter. */
void advise_as(const struct area *area, uint32_t first, uint32_t count)
{
	if (madvise(page_at(area, first), count * PAGE,
		    area->kind == AREA_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		return;
}

static void create_block(struct area *area)
{
	area->kind = AREA_BLOCK;
	area->pages_min = 4;
	area->pages_max = 64;
	area->chunk_pages = 1;
	area->pages = area->pages_min;
	area->base = map_anywhere(area->pages * PAGE, MAP_PRIVATE);
}

/* The C library has no more than it has now: it finds that the break was moved by somebody
 * else, and goes on elsewhere. */
static void create_break(struct area *area)
{
	uintptr_t at = ((uintptr_t)sbrk(0) + PAGE - 1) / PAGE * PAGE;

	area->base = (unsigned char *)at;
	if (brk(area->base + area->pages * PAGE))
		must(-errno, "brk");
}

static void create_file(struct area *area)
{
	area->file = memfd_create("usvm-oracle", MFD_CLOEXEC);
	if (area->file < 0 || ftruncate(area->file, (off_t)(area->pages_max * PAGE)))
		must(-errno, "a file");
}

static void create_area(struct area *area, struct random *random)
{
	static const uint32_t small_chunks[] = { 1, 4, 8, 16 };
	static const uint32_t huge_chunks[] = { 8, 64, 128, 512 };
	bool huge = kinds[area->index] == AREA_HUGE || area->index == LARGE_OBJECT_AREA;

	area->kind = kinds[area->index];
	area->chunk_pages = (huge ? huge_chunks : small_chunks)[random_below(random, 4)];
	area->pages_min = huge ? 768 : 32;
	area->pages_max = huge ? 1536 : 256;
	area->pages = area->pages_min +
		      random_below(random, area->pages_max - area->pages_min + 1);
	if (area->kind == AREA_BREAK) {
		create_break(area);
		return;
	}
	if (area->kind == AREA_OBJECT) {
		object_create(area);
		return;
	}
	if (area->kind & (AREA_FILE | AREA_SHARED))
		create_file(area);
	area->slot = area_slot_reserve(area);
	area->base = area_slot_base(area, area->slot);
	if (!map_again(area, 0, area->pages, MAP_FIXED_NOREPLACE))
		must(-errno, "mmap");
	advise_as(area, 0, area->pages);
}

void areas_create(struct random *random)
{
	for (uint32_t i = 0; i < SHARED_AREAS + BLOCKS_PER_THREAD * run->setting.thread_count;
	     i++) {
		struct area *area = &areas[i];

		area->index = i;
		area->file = -1;
		area->shadow = shared_memory(AREA_PAGES_MAX * sizeof(struct shadow));
		if (i < SHARED_AREAS)
			create_area(area, random);
		else
			create_block(area);
	}
}
