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
 * There are more places than areas: an area that moves leaves a hole for the next.
 */
#include <string.h>
#include <sys/mman.h>

#include "stress.h"

#define ZONE 0x200000000000ul
#define SMALL_BYTES (1ul << 20)
#define SMALL_SLOTS 13u
#define HUGE_BYTES (8ul << 20)
#define HUGE_SLOTS 7u
#define HUGE_ZONE (ZONE + (16ul << 20))
#define HUGE_AREAS 4u
/* One area of huge pages does not begin with one. */
#define ODD_AREA (AREA_COUNT - 1)
#define ODD_PAGES 5u

struct area areas[AREAS_ALL];
static struct try_lock slots[SMALL_SLOTS + HUGE_SLOTS];

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

static bool hold_chunks(struct area *area, struct random *random, bool exclusive,
			uint32_t pages_max, struct hold *hold)
{
	uint32_t chunks = chunks_of(area, area->pages);
	uint32_t first = random_below(random, chunks);
	uint32_t most = pages_max / area->chunk_pages;
	uint32_t count = 1 + (most > 1 ? random_below(random, most) : 0);

	count = min(count, chunks - first);
	if (!try_chunks(area, first, count, exclusive))
		return false;
	*hold = (struct hold){ .area = area, .first = first * area->chunk_pages,
			       .exclusive = exclusive };
	hold->count = min(count * area->chunk_pages, area->pages - hold->first);
	if (hold->count > pages_max) { /* a part of one chunk */
		hold->first += random_below(random, hold->count - pages_max + 1);
		hold->count = pages_max;
	}
	return true;
}

struct area *area_choose(struct random *random)
{
	if (random_one_in(random, 32))
		STORE(&run->focus, random_below(random, AREA_COUNT));
	if (random_one_in(random, 2))
		return &areas[LOAD(&run->focus)];
	return &areas[random_below(random, AREA_COUNT)];
}

bool hold_some(struct random *random, bool exclusive, uint32_t pages_max, struct hold *hold)
{
	for (int tries = 0; tries < 8; tries++) {
		struct area *area = area_choose(random);

		if (!try_shared(&area->lock))
			continue;
		if (hold_chunks(area, random, exclusive, pages_max, hold))
			return true;
		unlock_shared(&area->lock);
	}
	return false;
}

bool hold_whole(struct area *area, bool exclusive, struct hold *hold)
{
	if (exclusive ? !try_exclusive(&area->lock) : !try_shared(&area->lock))
		return false;
	*hold = (struct hold){ .area = area, .count = area->pages, .exclusive = exclusive,
			       .whole = true };
	if (exclusive || try_chunks(area, 0, chunks_of(area, area->pages), false))
		return true;
	unlock_shared(&area->lock);
	return false;
}

void hold_release(struct hold *hold)
{
	struct area *area = hold->area;
	uint32_t first = hold->first / area->chunk_pages;
	uint32_t end = chunks_of(area, hold->first + hold->count);

	if (hold->whole && hold->exclusive) {
		unlock_exclusive(&area->lock);
		return;
	}
	for (uint32_t i = first; i < end; i++) {
		if (hold->exclusive)
			unlock_exclusive(&area->chunk_locks[i]);
		else
			unlock_shared(&area->chunk_locks[i]);
	}
	unlock_shared(&area->lock);
}

/* --- places ---------------- */

unsigned char *area_slot_base(const struct area *area, uint32_t slot)
{
	uint64_t base = area->huge ? HUGE_ZONE + (slot - SMALL_SLOTS) * HUGE_BYTES :
				     ZONE + slot * SMALL_BYTES;

	if (area->index == ODD_AREA)
		base += ODD_PAGES * PAGE;
	return (unsigned char *)base;
}

uint32_t area_slot_reserve(const struct area *area)
{
	uint32_t first = area->huge ? SMALL_SLOTS : 0;
	uint32_t end = area->huge ? SMALL_SLOTS + HUGE_SLOTS : SMALL_SLOTS;

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

static void *map_or_die(void *at, size_t bytes, int flags)
{
	void *memory = mmap(at, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return memory;
}

void *map_anywhere(size_t bytes, int flags)
{
	return map_or_die(NULL, bytes, flags);
}

/* A kernel without huge pages refuses: no matter. */
void advise_as(const struct area *area, uint32_t first, uint32_t count)
{
	if (madvise(area->base + first * PAGE, count * PAGE,
		    area->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		return;
}

static void create_block(struct area *area)
{
	area->pages_min = 4;
	area->pages_max = 64;
	area->chunk_pages = 1;
	area->pages = area->pages_min;
	area->base = map_anywhere(area->pages * PAGE, MAP_PRIVATE);
}

void areas_create(struct random *random)
{
	static const uint32_t small_chunks[] = { 1, 4, 8, 16 };
	static const uint32_t huge_chunks[] = { 8, 64, 128, 512 };

	for (uint32_t i = 0; i < AREAS_ALL; i++) {
		struct area *area = &areas[i];

		area->index = i;
		area->shadow = map_anywhere(AREA_PAGES_MAX * sizeof(struct shadow), MAP_SHARED);
		if (i >= AREA_COUNT) {
			create_block(area);
			continue;
		}
		area->huge = i >= AREA_COUNT - HUGE_AREAS;
		area->chunk_pages = area->huge ? huge_chunks[random_below(random, 4)] :
						 small_chunks[random_below(random, 4)];
		area->pages_min = area->huge ? 768 : 32;
		area->pages_max = area->huge ? 1536 : 256;
		area->pages = area->pages_min +
			      random_below(random, area->pages_max - area->pages_min + 1);
		area->slot = area_slot_reserve(area);
		area->base = map_or_die(area_slot_base(area, area->slot), area->pages * PAGE,
					MAP_PRIVATE | MAP_FIXED_NOREPLACE);
		advise_as(area, 0, area->pages);
	}
}
