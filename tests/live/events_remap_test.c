/* SPDX-License-Identifier: MIT */
/*
 * mremap() of memory that the device has: section A, rows mremap; amendments A11 and
 * A17; hazard T1. A page that moves in the address space does not move otherwise: it
 * is on the device before and after.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "live/support/live.h"

/* A destination that nothing else takes: @bytes of address space. */
static unsigned char *reserve(size_t bytes)
{
	unsigned char *at = mmap(NULL, bytes + 2 * LIVE_HUGE, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return (void *)(((uintptr_t)at + LIVE_HUGE) & ~(LIVE_HUGE - 1));
}

static void *move(void *at, size_t bytes, void *to)
{
	return mremap(at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
}

/* A: mremap move: REMAP, then UNMAP of the old place; both ends of it checked. */
static void pages_follow_a_move(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1), *to = reserve(bytes);
	struct live_counts before = live_counts(live);

	assert_ptr_equal(move(at, bytes, to), to);
	live_assert_state(live, to, bytes, LIVE_DEVICE);
	live_assert_state(live, at, bytes, LIVE_UNMAPPED);
	live_assert_counts(live, before, 0, 0);
	assert_int_equal(live_stat(live, "mm_events_remap"), 1);
	gpu_assert_filled(live, to, bytes, 1, 0);
	assert_int_equal(gpu_try(live, USVM_ACCESS_READ, at, NULL), -EFAULT);
	live_assert_state(live, to, bytes, LIVE_DEVICE);
	live_assert_filled(to, bytes, 1, 0);
	live_assert_state(live, to, bytes, LIVE_HOME);
	live_assert_counts(live, before, 0, bytes / LIVE_PAGE);
}

/* To and fro, with writes of both sides in between. */
static void a_page_survives_many_moves(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 2), *to = reserve(bytes), *other;

	gpu_write64(live, at, 0);
	for (uint64_t i = 0; i < 50; i++) {
		assert_ptr_equal(move(at, bytes, to), to);
		if (i % 3 == 0)
			assert_int_equal(gpu_add64(live, to, 1), i);
		else
			assert_int_equal((*(uint64_t *)to)++, i);
		other = at;
		at = to;
		to = other;
	}
	assert_int_equal(*(uint64_t *)at, 50);
	live_assert_filled(at + 8, bytes - 8, 2, 8);
}

/* A: partial: a part leaves, the rest stays. */
static void a_part_moves_and_the_rest_stays(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *at = live_on_device(live, bytes, 3), *to = reserve(bytes);

	assert_ptr_equal(move(at + part, part, to), to);
	live_assert_state(live, to, part, LIVE_DEVICE);
	live_assert_state(live, at, part, LIVE_DEVICE);
	live_assert_state(live, at + part, part, LIVE_UNMAPPED);
	live_assert_state(live, at + 2 * part, 2 * part, LIVE_DEVICE);
	gpu_assert_filled(live, to, part, 3, part);
	gpu_assert_filled(live, at, part, 3, 0);
	live_assert_filled(to, part, 3, part);
	live_assert_filled(at, part, 3, 0);
	live_assert_filled(at + 2 * part, 2 * part, 3, 2 * part);
}

/* A: mremap shrink. */
static void shrinking_drops_the_tail(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *at = live_on_device(live, bytes, 4);

	assert_ptr_equal(mremap(at, bytes, part, 0), at);
	live_assert_state(live, at, part, LIVE_DEVICE);
	live_assert_state(live, at + part, bytes - part, LIVE_UNMAPPED);
	assert_int_equal(live_stat(live, "mm_device_pages"), part / LIVE_PAGE);
	assert_int_equal(gpu_try(live, USVM_ACCESS_READ, at + part, NULL), -EFAULT);
	gpu_assert_filled(live, at, part, 4, 0);
	live_assert_filled(at, part, 4, 0);
}

/* A: mremap growth, in place (T1: a registered VMA must not be split) ... */
static void growing_in_place_adds_zeros(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 5);

	assert_int_equal(munmap(at + bytes, bytes), 0); /* room */
	assert_ptr_equal(mremap(at, bytes, 2 * bytes, 0), at);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_state(live, at + bytes, bytes, LIVE_HOLE);
	assert_int_equal(gpu_sum(live, at + bytes, bytes), 0);
	gpu_fill(live, at + bytes, bytes, 6, 0);
	gpu_assert_filled(live, at, bytes, 5, 0);
	live_assert_filled(at + bytes, bytes, 6, 0);
	live_assert_filled(at, bytes, 5, 0);
}

/* ... and by a move; A17: the length that REMAP tells is the old one. */
static void growing_by_a_move_takes_the_pages_along(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 7), *to = reserve(3 * bytes);

	assert_ptr_equal(mremap(at, bytes, 3 * bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	live_assert_state(live, to, bytes, LIVE_DEVICE);
	live_assert_state(live, to + bytes, 2 * bytes, LIVE_HOLE);
	live_assert_state(live, at, bytes, LIVE_UNMAPPED);
	live_assert_zero(to + bytes, 2 * bytes);
	gpu_assert_filled(live, to, bytes, 7, 0);
	live_assert_filled(to, bytes, 7, 0);
}

/* A17: shrink + move is REMAP (new length), UNMAP (tail), UNMAP (old). */
static void shrinking_by_a_move_drops_the_tail(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *at = live_on_device(live, bytes, 8), *to = reserve(bytes);

	assert_ptr_equal(mremap(at, bytes, part, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	live_assert_state(live, to, part, LIVE_DEVICE);
	live_assert_state(live, at, bytes, LIVE_UNMAPPED);
	assert_int_equal(live_stat(live, "mm_device_pages"), part / LIVE_PAGE);
	live_assert_filled(to, part, 8, 0);
}

/* A17: a move onto memory that is registered and on the device itself: UNMAP of the
 * destination comes first. */
static void moving_onto_device_pages_replaces_them(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 9);
	unsigned char *to = live_on_device(live, bytes, 10);

	assert_ptr_equal(move(at, bytes, to), to);
	live_assert_state(live, to, bytes, LIVE_DEVICE);
	assert_int_equal(live_stat(live, "mm_device_pages"), bytes / LIVE_PAGE);
	gpu_assert_filled(live, to, bytes, 9, 0);
	live_assert_filled(to, bytes, 9, 0);
}

/* A: MREMAP_DONTUNMAP: the old place is mapped, empty, and still registered. */
static void dontunmap_leaves_zeros_behind(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 11), *to;

	to = mremap(at, bytes, bytes, MREMAP_MAYMOVE | LIVE_MREMAP_DONTUNMAP, NULL);
	assert_ptr_not_equal(to, MAP_FAILED);
	live_assert_state(live, to, bytes, LIVE_DEVICE);
	live_assert_state(live, at, bytes, LIVE_HOLE);
	assert_int_equal(gpu_sum(live, at, bytes), 0);
	gpu_fill(live, at, bytes, 12, 0);
	gpu_assert_filled(live, to, bytes, 11, 0);
	live_assert_filled(at, bytes, 12, 0);
	live_assert_filled(to, bytes, 11, 0);
	munmap(to, bytes);
}

/* A hole, a page at home and a page on the device move together. */
static void a_mixture_moves_as_it_is(void **state)
{
	struct live *live = *state;
	size_t bytes = 48 * LIVE_PAGE, third = bytes / 3;
	unsigned char *at = live_map(live, bytes), *to = reserve(bytes);

	live_fill(at, third, 13, 0);
	live_take(live, at, third);
	live_fill(at + third, third, 13, third);
	live_assert_state(live, at, third, LIVE_DEVICE);
	live_assert_state(live, at + third, third, LIVE_HOME);
	live_assert_state(live, at + 2 * third, third, LIVE_HOLE);
	assert_ptr_equal(move(at, bytes, to), to);
	live_assert_state(live, to, third, LIVE_DEVICE);
	live_assert_state(live, to + third, third, LIVE_HOME);
	live_assert_state(live, to + 2 * third, third, LIVE_HOLE);
	gpu_assert_filled(live, to, 2 * third, 13, 0);
	live_assert_filled(to, 2 * third, 13, 0);
	live_assert_zero(to + 2 * third, third);
}

/* A11, T1: the VMA is registered whole, whatever part of it was taken: mremap() of it
 * works as natively. */
static void taking_a_part_does_not_break_mremap(void **state)
{
	struct live *live = *state;
	size_t bytes = 4 * LIVE_HUGE;
	unsigned char *at = live_map(live, bytes), *to = reserve(2 * bytes);

	live_fill(at, bytes, 14, 0);
	live_take(live, at + LIVE_HUGE, LIVE_HUGE);
	live_assert_state(live, at + LIVE_HUGE, LIVE_HUGE, LIVE_DEVICE);
	live_assert_state(live, at + 2 * LIVE_HUGE, LIVE_HUGE, LIVE_HOME);
	assert_ptr_equal(mremap(at, bytes, 2 * bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	live_assert_state(live, to + LIVE_HUGE, LIVE_HUGE, LIVE_DEVICE);
	live_assert_filled(to, bytes, 14, 0);
	live_assert_zero(to + bytes, bytes);
	munmap(to, 2 * bytes);
}

struct toucher {
	struct live *live;
	unsigned char **place; /* where the memory is now; atomic */
	uint32_t stop;
	uint64_t added;
};

/* U-3, law 6: a fault at the new address is read before its REMAP. */
static void *touch(void *arg)
{
	struct toucher *t = arg;

	while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
		unsigned char *at = __atomic_exchange_n(t->place, NULL, __ATOMIC_ACQ_REL);

		if (!at) {
			sched_yield();
			continue;
		}
		__atomic_fetch_add((uint64_t *)at, 1, __ATOMIC_SEQ_CST);
		t->added++;
		__atomic_store_n(t->place, at, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void a_fault_may_come_before_its_remap(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_map(live, bytes), *to = reserve(bytes), *place = NULL, *mine;
	struct toucher t = { .live = live, .place = &place };
	struct live_thread *thread;
	uint64_t gpu_added = 0;

	thread = live_thread_start(touch, &t);
	__atomic_store_n(&place, at, __ATOMIC_RELEASE);
	while (gpu_added < 200) {
		mine = __atomic_exchange_n(&place, NULL, __ATOMIC_ACQ_REL);
		if (!mine) {
			sched_yield();
			continue;
		}
		gpu_add64(live, mine, 1);
		gpu_added++;
		assert_ptr_equal(move(mine, bytes, to), to);
		__atomic_store_n(&place, to, __ATOMIC_RELEASE);
		at = to;
		to = mine;
	}
	__atomic_store_n(&t.stop, 1, __ATOMIC_RELEASE);
	live_thread_join(thread);
	assert_int_equal(*(uint64_t *)at, gpu_added + t.added);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(pages_follow_a_move),
		LIVE_TEST_ALL(a_page_survives_many_moves),
		LIVE_TEST_ALL(a_part_moves_and_the_rest_stays),
		LIVE_TEST_ALL(shrinking_drops_the_tail),
		LIVE_TEST_ALL(growing_in_place_adds_zeros),
		LIVE_TEST_ALL(growing_by_a_move_takes_the_pages_along),
		LIVE_TEST_ALL(shrinking_by_a_move_drops_the_tail),
		LIVE_TEST_ALL(moving_onto_device_pages_replaces_them),
		LIVE_TEST_ALL(dontunmap_leaves_zeros_behind),
		LIVE_TEST_MODES(a_mixture_moves_as_it_is),
		LIVE_TEST_ALL(taking_a_part_does_not_break_mremap),
		LIVE_TEST_ALL(a_fault_may_come_before_its_remap),
	};

	return LIVE_RUN(tests);
}
