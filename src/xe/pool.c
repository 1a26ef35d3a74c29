/* SPDX-License-Identifier: MIT */
/*
 * DOC: A pool of memory that processes share
 *
 * Taking. A process first writes into its slot what it would hold, marked as pending, and
 * then adds up all slots. Of two that do so at the same time at least one sees the other, so
 * that never both hold what there is once. If the sum is too large because of a claim that
 * is pending, the process with the higher slot takes its own back and comes again, and the
 * other looks again. No lock is needed, so none is left behind by who is killed; each slot
 * is written by its owner alone, in one store.
 *
 * Death. A slot has the life of a thread of its owner (sys/common.h): what a dead process's
 * slot says is not counted, and the slot is anybody's. So nothing is to be cleaned up.
 *
 * Wishes. Who finds no room writes into its slot how much it lacks, wakes a thread of each
 * process, and sleeps until something has changed. Such a thread evicts, least recently used
 * first, until all that is wished for fits, and says then up to which wish it has done what
 * it can. The one who wished gives up when all have said so and hold nothing more; or, where
 * something is held, after a time without any change: what is pinned for the moment may go,
 * and a process that is stopped never answers. While others hold as much as then, that is
 * not waited for again.
 *
 * Whose memory goes. A share is the pool divided by the processes that hold some. Who holds
 * less than that asks others before it evicts its own, and those make way that hold more;
 * who holds a share or more evicts its own, and asks all only if nothing is left of that.
 */
#include "xe/pool.h"

#include <errno.h>
#include <stddef.h>

#include "base/atomic.h"
#include "base/host.h"
#include "base/span.h"

/* Sizes are multiples of a page: the low bits are free. */
#define PENDING 1ull /* of held */
#define LAST 1ull    /* of wish: all are asked */

#define CLAIM_TRIES 1000u
/* Without any change: how long an answer may take, and how long a pin. */
#define ANSWER_NS 2000000000ull
#define PINNED_NS 100000000ull
/* The death of a process wakes nobody. */
#define LOOK_NS 20000000ull

struct xe_pool_slot {
	uint32_t life;     /* atomic: see sys_life_claim() */
	uint32_t answered; /* atomic: the last wish that its owner has made way for */
	uint64_t held;     /* atomic: bytes, and PENDING */
	uint64_t wish;     /* atomic: bytes, and LAST; 0: none */
	uint64_t unused[5];
};

struct xe_pool_file {
	uint32_t wishes;     /* atomic, slept on: numbers them */
	uint32_t changes;    /* atomic, slept on: counts what may have made room */
	uint32_t is_awaited; /* atomic: someone sleeps on changes */
	uint32_t slot_count; /* atomic: no slot behind these was ever used */
	uint32_t unused[12];
	struct xe_pool_slot slots[XE_POOL_PROCESSES];
};

_Static_assert(sizeof(struct xe_pool_slot) == 64, "a line of the cache each");

struct sums {
	uint64_t held;         /* pending claims too */
	uint64_t others;       /* of held: of other processes */
	uint32_t holders;
	bool any_pending;      /* of another process */
	bool lower_is_pending; /* with a lower slot */
};

static uint32_t slot_count(const struct xe_pool *pool)
{
	/* Others write there. */
	return MIN(ATOMIC_LOAD(&pool->file->slot_count), (uint32_t)XE_POOL_PROCESSES);
}

static uint64_t held_in(const struct xe_pool_slot *slot)
{
	return sys_life_is_on(&slot->life) ? ATOMIC_LOAD(&slot->held) : 0;
}

static void add_up(const struct xe_pool *pool, struct sums *sums)
{
	uint32_t count = slot_count(pool);

	*sums = (struct sums){ 0 };
	for (uint32_t i = 0; i < count; i++) {
		const struct xe_pool_slot *slot = &pool->file->slots[i];
		uint64_t held = held_in(slot);

		sums->held += held & ~PENDING;
		sums->holders += held != 0;
		if (slot == pool->own)
			continue;
		sums->others += held & ~PENDING;
		sums->any_pending |= held & PENDING;
		sums->lower_is_pending |= (held & PENDING) && slot < pool->own;
	}
}

int xe_pool_join(struct xe_pool *pool, const char *path, uint64_t size_bytes)
{
	void *memory;
	int err = sys_common_map(path, sizeof(*pool->file), &memory);
	uint32_t i, count;

	if (err)
		return err;
	pool->file = memory;
	pool->size_bytes = size_bytes;
	pool->pinned_bytes = UINT64_MAX;
	pool->silent_bytes = UINT64_MAX;
	for (i = 0; i < XE_POOL_PROCESSES; i++) {
		if (sys_life_claim(&pool->life, &pool->file->slots[i].life))
			break;
	}
	if (i == XE_POOL_PROCESSES) {
		sys_common_unmap(pool->file, sizeof(*pool->file));
		return -ENOSPC;
	}
	pool->own = &pool->file->slots[i];
	ATOMIC_STORE(&pool->own->held, 0);
	ATOMIC_STORE(&pool->own->wish, 0);
	ATOMIC_STORE(&pool->own->answered, ATOMIC_LOAD(&pool->file->wishes));
	sys_life_begin(&pool->life);
	count = ATOMIC_LOAD(&pool->file->slot_count);
	while (count <= i && !ATOMIC_COMPARE_EXCHANGE(&pool->file->slot_count, &count, i + 1))
		;
	return 0;
}

static void tell_change(struct xe_pool *pool)
{
	ATOMIC_ADD(&pool->file->changes, 1u);
	sys_common_wake(&pool->file->changes);
}

void xe_pool_leave(struct xe_pool *pool)
{
	ATOMIC_STORE(&pool->own->held, 0);
	ATOMIC_STORE(&pool->own->wish, 0);
	sys_life_end(&pool->life);
	tell_change(pool);
	sys_common_unmap(pool->file, sizeof(*pool->file));
}

/* --- take and give ----------------------------------------------------------------------- */

/* The claim of @bytes stands in the own slot. Return: true: it is had. *@again: it is not,
 * for another one's claim is pending that may not come to anything. */
static bool claim_holds(struct xe_pool *pool, bool *again)
{
	struct sums sums;

	add_up(pool, &sums);
	*again = sums.any_pending;
	for (uint32_t tries = 0; tries < CLAIM_TRIES; tries++) {
		if (sums.held <= pool->size_bytes)
			return true;
		if (!sums.any_pending || sums.lower_is_pending)
			return false;
		base_host->cpu_yield();
		add_up(pool, &sums);
		*again = sums.any_pending;
	}
	return false;
}

bool xe_pool_take(struct xe_pool *pool, uint64_t bytes)
{
	uint64_t held = pool->own->held;

	for (uint32_t tries = 0; tries < CLAIM_TRIES; tries++) {
		bool again;

		ATOMIC_STORE(&pool->own->held, (held + bytes) | PENDING);
		if (claim_holds(pool, &again)) {
			ATOMIC_STORE(&pool->own->held, held + bytes);
			return true;
		}
		ATOMIC_STORE(&pool->own->held, held);
		if (!again)
			return false;
		base_host->cpu_yield();
	}
	return false;
}

void xe_pool_give(struct xe_pool *pool, uint64_t bytes)
{
	ATOMIC_STORE(&pool->own->held, pool->own->held - bytes);
	if (ATOMIC_LOAD(&pool->file->is_awaited) &&
	    ATOMIC_EXCHANGE(&pool->file->is_awaited, 0u))
		tell_change(pool);
}

uint64_t xe_pool_used(struct xe_pool *pool)
{
	struct sums sums;

	add_up(pool, &sums);
	return MIN(sums.held, pool->size_bytes);
}

/* --- wishes ------------------------------------------------------------------------------ */

static uint64_t share_bytes(const struct xe_pool *pool, const struct sums *sums)
{
	return pool->size_bytes / MAX(sums->holders, 1u);
}

static uint64_t own_bytes(const struct xe_pool *pool)
{
	return ATOMIC_LOAD(&pool->own->held) & ~PENDING;
}

/* Has every process that holds something made way for @wish? */
static bool all_answered(struct xe_pool *pool, uint32_t wish)
{
	uint32_t count = slot_count(pool);

	for (uint32_t i = 0; i < count; i++) {
		const struct xe_pool_slot *slot = &pool->file->slots[i];

		if (slot != pool->own && held_in(slot) &&
		    (int32_t)(ATOMIC_LOAD(&slot->answered) - wish) < 0)
			return false;
	}
	return true;
}

/* Return: true: @bytes fit. */
static bool wait_for_room(struct xe_pool *pool, uint64_t bytes, uint32_t wish, bool is_last)
{
	uint64_t waited_ns = 0;

	for (;;) {
		uint64_t *hopeless;
		struct sums sums;
		uint32_t changes;
		bool answered;

		ATOMIC_STORE(&pool->file->is_awaited, 1u);
		changes = ATOMIC_LOAD(&pool->file->changes);
		answered = all_answered(pool, wish);
		add_up(pool, &sums);
		if (sums.held + bytes <= pool->size_bytes)
			return true;
		if ((answered && !is_last) || !sums.others)
			return false;
		hopeless = answered ? &pool->pinned_bytes : &pool->silent_bytes;
		if (sums.others == ATOMIC_LOAD(hopeless))
			return false;
		if (waited_ns >= (answered ? PINNED_NS : ANSWER_NS)) {
			ATOMIC_STORE(hopeless, sums.others);
			return false;
		}
		if (sys_common_sleep(&pool->file->changes, changes, LOOK_NS))
			waited_ns += LOOK_NS;
		else
			waited_ns = 0;
	}
}

bool xe_pool_ask(struct xe_pool *pool, uint64_t bytes, bool is_last)
{
	struct sums sums;
	uint32_t number;
	bool fits;

	add_up(pool, &sums);
	if (!sums.others)
		return false;
	sums.holders += !own_bytes(pool);
	if (!is_last && own_bytes(pool) + bytes > share_bytes(pool, &sums))
		return false;
	ATOMIC_STORE(&pool->own->wish, bytes | (is_last ? LAST : 0));
	number = ATOMIC_ADD(&pool->file->wishes, 1u) + 1;
	sys_common_wake(&pool->file->wishes);
	fits = wait_for_room(pool, bytes, number, is_last);
	ATOMIC_STORE(&pool->own->wish, 0);
	return fits;
}

uint64_t xe_pool_wanted(struct xe_pool *pool)
{
	uint32_t count = slot_count(pool);
	uint64_t wanted = 0;
	struct sums sums;
	bool is_rich;

	add_up(pool, &sums);
	is_rich = own_bytes(pool) > share_bytes(pool, &sums);
	for (uint32_t i = 0; i < count; i++) {
		const struct xe_pool_slot *slot = &pool->file->slots[i];
		uint64_t wish = ATOMIC_LOAD(&slot->wish);

		if (slot != pool->own && sys_life_is_on(&slot->life) &&
		    ((wish & LAST) || is_rich))
			wanted += wish & ~LAST;
	}
	if (!wanted || sums.held + wanted <= pool->size_bytes)
		return 0;
	return sums.held + wanted - pool->size_bytes;
}

uint32_t xe_pool_ticket(struct xe_pool *pool)
{
	return ATOMIC_LOAD(&pool->file->wishes);
}

void xe_pool_answer(struct xe_pool *pool, uint32_t ticket)
{
	ATOMIC_STORE(&pool->own->answered, ticket);
	tell_change(pool);
}

void xe_pool_sleep(struct xe_pool *pool, uint32_t ticket)
{
	sys_common_sleep(&pool->file->wishes, ticket, BASE_FOREVER);
}

void xe_pool_wake(struct xe_pool *pool)
{
	ATOMIC_ADD(&pool->file->wishes, 1u);
	sys_common_wake(&pool->file->wishes);
}

void xe_pool_stir(struct xe_pool *pool)
{
	/* Who sleeps hears of it by the answers. */
	if (ATOMIC_LOAD(&pool->file->is_awaited) &&
	    ATOMIC_EXCHANGE(&pool->file->is_awaited, 0u))
		xe_pool_wake(pool);
}
