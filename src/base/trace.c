/* SPDX-License-Identifier: MIT */
/*
 * DOC: trace ring
 *
 * A bounded queue without locks. Position p (counted from the ring's birth)
 * uses slot p mod N in lap p div N, and each slot says whose turn it is:
 *
 *     turn == 2 * lap        free: the writer of that lap may have it
 *     turn == 2 * lap + 1    written: the reader of that lap may have it
 *
 *     writer of lap n       reader of lap n       writer of lap n + 1
 *     2n ------------> 2n+1 ------------> 2n+2 ------------> 2n+3
 *
 * Zeroed pages are thus an empty ring. A writer owns a position by moving head
 * past it, and only once the slot is its to write; it publishes the event with
 * the turn. A writer that finds its slot in an earlier lap drops the event:
 * the ring is full, or the reader waits for a writer that has not published
 * yet. Nobody waits for anybody, so the monitor may write as any thread may.
 *
 * Events are read in the order of their positions, which for events of one
 * thread is the order in which it wrote them.
 */
#include "base/trace.h"

#include <errno.h>
#include <stdalign.h>
#include <stdbool.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/lock.h"

#define CACHE_LINE_BYTES 64

struct trace_slot {
	alignas(CACHE_LINE_BYTES) uint64_t turn; /* atomic */
	struct trace_event event;
};

_Static_assert(sizeof(struct trace_slot) == CACHE_LINE_BYTES, "a slot is a line");

struct trace_ring {
	uint64_t event_count;
	size_t bytes; /* of the whole ring */
	uint32_t lap_shift; /* event_count == 1 << lap_shift */
	/* Each on a line of its own: head is the writers', tail the reader's. */
	alignas(CACHE_LINE_BYTES) uint64_t head; /* atomic: next position to write */
	alignas(CACHE_LINE_BYTES) uint64_t dropped; /* atomic */
	alignas(CACHE_LINE_BYTES) uint64_t tail; /* next position to read */
	struct trace_slot slots[];
};

int trace_ring_create(size_t event_count, struct trace_ring **ring)
{
	struct trace_ring *new;
	size_t bytes;

	ASSERT(event_count > 0);
	ASSERT((event_count & (event_count - 1)) == 0);

	lock_assert_may_sleep("trace_ring_create");
	if (event_count > SIZE_MAX / 2 / sizeof(struct trace_slot))
		return -ENOMEM;
	bytes = sizeof(*new) + event_count * sizeof(struct trace_slot);
	bytes = ALIGN_UP(bytes, PAGE_BYTES);
	new = base_host->pages_alloc(bytes);
	if (!new)
		return -ENOMEM;

	new->event_count = event_count;
	new->bytes = bytes;
	new->lap_shift = (uint32_t)__builtin_ctzll(event_count);
	*ring = new;
	return 0;
}

void trace_ring_destroy(struct trace_ring *ring)
{
	if (!ring)
		return;
	base_host->pages_free(ring, ring->bytes);
}

static struct trace_slot *slot_at(struct trace_ring *ring, uint64_t position)
{
	return &ring->slots[position & (ring->event_count - 1)];
}

/* free_turn() - the turn in which the slot of @position is its writer's */
static uint64_t free_turn(const struct trace_ring *ring, uint64_t position)
{
	return 2 * (position >> ring->lap_shift);
}

/* claim() - own the next position to write; false: the ring is full */
static bool claim(struct trace_ring *ring, uint64_t *position)
{
	uint64_t head = ATOMIC_LOAD_RELAXED(&ring->head);

	for (;;) {
		uint64_t turn = ATOMIC_LOAD_ACQUIRE(&slot_at(ring, head)->turn);

		if (turn < free_turn(ring, head))
			return false;
		if (turn == free_turn(ring, head)) {
			/* A failure loads the head of who was faster. */
			if (ATOMIC_COMPARE_EXCHANGE(&ring->head, &head, head + 1)) {
				*position = head;
				return true;
			}
		} else {
			head = ATOMIC_LOAD_RELAXED(&ring->head);
		}
	}
}

void trace_ring_write(struct trace_ring *ring, const struct trace_event *event)
{
	struct trace_slot *slot;
	uint64_t position;

	if (!claim(ring, &position)) {
		ATOMIC_ADD(&ring->dropped, 1);
		return;
	}
	slot = slot_at(ring, position);
	slot->event = *event;
	ATOMIC_STORE_RELEASE(&slot->turn, free_turn(ring, position) + 1);
}

size_t trace_ring_read(struct trace_ring *ring, struct trace_event *events, size_t max)
{
	size_t count;

	for (count = 0; count < max; count++) {
		struct trace_slot *slot = slot_at(ring, ring->tail);
		uint64_t turn = free_turn(ring, ring->tail);

		if (ATOMIC_LOAD_ACQUIRE(&slot->turn) != turn + 1)
			break;
		events[count] = slot->event;
		ATOMIC_STORE_RELEASE(&slot->turn, turn + 2);
		ring->tail++;
	}
	return count;
}

uint64_t trace_ring_dropped(const struct trace_ring *ring)
{
	return ATOMIC_LOAD_RELAXED(&ring->dropped);
}

const char *trace_type_name(uint32_t type)
{
	static const char *const names[TRACE_TYPE_COUNT] = {
		[TRACE_GPU_FAULT] = "gpu_fault",
		[TRACE_CPU_FAULT] = "cpu_fault",
		[TRACE_MIGRATE_TO_DEVICE] = "migrate_to_device",
		[TRACE_MIGRATE_TO_RAM] = "migrate_to_ram",
		[TRACE_EVICT] = "evict",
		[TRACE_INVALIDATE] = "invalidate",
		[TRACE_EVENT] = "event",
		[TRACE_BIND] = "bind",
		[TRACE_COLLECT] = "collect",
		[TRACE_MIGRATE_FROM_PEER] = "migrate_from_peer",
	};

	if (type >= TRACE_TYPE_COUNT)
		return "unknown";
	ASSERT(names[type]);
	return names[type];
}
