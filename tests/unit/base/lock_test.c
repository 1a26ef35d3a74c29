/* SPDX-License-Identifier: MIT */
/*
 * lock_test.c - the lock excludes, sleeps and wakes; each rule of the checker is broken
 * once, and its report read.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/lock.h"
#include "host_posix.h"

/* Every misuse here is on purpose; what the compiler would see is not the subject. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

enum { THREAD_COUNT = 4, ROUND_COUNT = 50000 };

static char text[4096];

struct shared {
	struct lock lock;
	uint64_t count; /* plain on purpose: the lock alone keeps it right */
	bool yields;    /* inside the lock, so that others find it held and sleep */
};

static void *adder(void *argument)
{
	struct shared *shared = argument;

	host_posix_become(true, false);
	for (int i = 0; i < ROUND_COUNT; i++) {
		lock_acquire(&shared->lock);
		shared->count++;
		if (shared->yields && i % 64 == 0)
			base_host->cpu_yield();
		lock_release(&shared->lock);
	}
	return NULL;
}

static void run_adders(bool yields)
{
	struct shared shared = { .yields = yields };
	pthread_t threads[THREAD_COUNT];

	lock_init(&shared.lock, LOCK_LEAF_MONITOR, "shared");
	for (int i = 0; i < THREAD_COUNT; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, adder, &shared), 0);
	for (int i = 0; i < THREAD_COUNT; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(shared.count, THREAD_COUNT * ROUND_COUNT);
	assert_int_equal(shared.lock.word, 0);
	assert_null(shared.lock.owner);
}

static void a_count_under_contention_adds_up(void **state)
{
	(void)state;
	run_adders(false);
}

static void a_count_adds_up_where_holders_are_slow(void **state)
{
	(void)state;
	run_adders(true);
}

static void *take_once(void *argument)
{
	struct shared *shared = argument;

	host_posix_become(true, false);
	lock_acquire(&shared->lock);
	shared->count++;
	lock_release(&shared->lock);
	return NULL;
}

static void waiters_sleep_and_each_release_wakes_one(void **state)
{
	struct shared shared = { .count = 0 };
	pthread_t threads[THREAD_COUNT];

	(void)state;
	lock_init(&shared.lock, LOCK_LEAF, "shared");
	lock_acquire(&shared.lock);
	for (int i = 0; i < THREAD_COUNT; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, take_once, &shared), 0);
	host_posix_wait_parked(THREAD_COUNT);
	/* Held, with sleepers: without the state they would spin through park(). */
	assert_int_equal(ATOMIC_LOAD(&shared.lock.word), 2);
	assert_int_equal(shared.count, 0);
	lock_release(&shared.lock);
	for (int i = 0; i < THREAD_COUNT; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(shared.count, THREAD_COUNT);
}

static void without_contention_the_host_is_not_called(void **state)
{
	uint64_t parks = host_posix_park_count();
	uint64_t unparks = host_posix_unpark_count();
	struct lock lock;

	(void)state;
	lock_init(&lock, LOCK_LEAF, "lock");
	for (int i = 0; i < 100; i++) {
		lock_acquire(&lock);
		lock_release(&lock);
	}
	assert_int_equal(host_posix_park_count(), parks);
	assert_int_equal(host_posix_unpark_count(), unparks);
}

static void *try_once(void *argument)
{
	struct shared *shared = argument;

	host_posix_become(true, false);
	if (lock_try_acquire(&shared->lock)) {
		shared->count++;
		lock_release(&shared->lock);
	}
	return NULL;
}

static void try_takes_a_free_lock_only(void **state)
{
	struct shared shared = { .count = 0 };
	pthread_t thread;

	(void)state;
	lock_init(&shared.lock, LOCK_LEAF, "shared");
	for (uint64_t round = 0; round < 2; round++) {
		if (round == 0)
			lock_acquire(&shared.lock);
		assert_int_equal(
			pthread_create(&thread, NULL, try_once, &shared), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_int_equal(shared.count, round);
		if (round == 0)
			lock_release(&shared.lock);
	}
	lock_acquire(&shared.lock);
	assert_false(lock_try_acquire(&shared.lock));
	lock_release(&shared.lock);
}

/* --- in every build ---------------- */

static void a_release_of_a_free_lock_is_caught(void **state)
{
	struct lock lock;

	(void)state;
	lock_init(&lock, LOCK_LEAF, "lock");
	DIES_WITH(text, lock_release(&lock));
	assert_non_null(strstr(text, "lock release: lock (rank 11) released by"));
	assert_int_equal(lock.word, 0);
}

static void *release_once(void *argument)
{
	struct shared *shared = argument;

	host_posix_become(true, false);
	DIES_WITH(text, lock_release(&shared->lock));
	return NULL;
}

static void a_release_by_another_thread_is_caught(void **state)
{
	struct shared shared = { .count = 0 };
	pthread_t thread;

	(void)state;
	lock_init(&shared.lock, LOCK_LEAF, "shared");
	lock_acquire(&shared.lock);
	assert_int_equal(pthread_create(&thread, NULL, release_once, &shared), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_non_null(strstr(text, "lock release: shared"));
	lock_release(&shared.lock);
}

static void a_recursion_is_caught(void **state)
{
	struct lock lock;

	(void)state;
	lock_init(&lock, LOCK_LEAF, "lock");
	lock_acquire(&lock);
	DIES_WITH(text, lock_acquire(&lock));
	lock_release(&lock);
	assert_non_null(strstr(text, "lock recursion: lock (rank 11, "));
}

static void held_is_asserted_of_the_calling_thread(void **state)
{
	struct lock lock;

	(void)state;
	lock_init(&lock, LOCK_LEAF, "lock");
	DIES_WITH(text, lock_assert_held(&lock));
	assert_non_null(strstr(text, "lock assert: lock (rank 11) is not held"));
	lock_acquire(&lock);
	DIES_WITH(text, lock_assert_held(&lock));
	assert_string_equal(text, "");
	lock_release(&lock);
}

static void each_rank_has_a_name_and_the_mark_of_its_comment(void **state)
{
	uint32_t marks = 1u << LOCK_MM_EVENT | 1u << LOCK_GPUSVM_NOTIFIER |
			 1u << LOCK_GPU_PT |
			 1u << LOCK_MM_WORK | 1u << LOCK_SYS_TASKS |
			 1u << LOCK_LEAF_MONITOR;

	(void)state;
	for (uint32_t rank = 0; rank < LOCK_RANK_COUNT; rank++) {
		assert_non_null(lock_rank_info[rank].name);
		assert_int_equal(lock_rank_info[rank].monitor, marks >> rank & 1);
	}
}

static void a_lock_without_a_name_has_that_of_its_rank(void **state)
{
	struct lock lock;

	(void)state;
	lock_init(&lock, LOCK_MM_GATE, NULL);
	assert_string_equal(lock.name, "mm.gate");
}

/* --- the checker ---------------- */

#if defined(USVM_LOCK_CHECK)

static struct lock vm;      /* rank 1 */
static struct lock gate;    /* rank 3 */
static struct lock event;   /* rank 5, monitor */
static struct lock event_2; /* rank 5, monitor */
static struct lock work;    /* rank 8, monitor */
static struct lock vram;    /* rank 9 */

static int setup(void **state)
{
	(void)state;
	host_posix_become(true, false);
	lock_init(&vm, LOCK_VM, "vm.lock");
	lock_init(&gate, LOCK_MM_GATE, "mm.gate");
	lock_init(&event, LOCK_MM_EVENT, "mm.event_lock");
	lock_init(&event_2, LOCK_MM_EVENT, "mm.event_lock_2");
	lock_init(&work, LOCK_MM_WORK, "mm.work_lock");
	lock_init(&vram, LOCK_VRAM, "vram.lock");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	host_posix_become(true, false);
	return 0;
}

static void ranks_in_order_are_fine(void **state)
{
	(void)state;
	lock_acquire(&vm);
	lock_acquire(&gate);
	lock_acquire(&event);
	lock_acquire(&work);
	/* Not in the order of a stack. */
	lock_release(&gate);
	lock_release(&work);
	lock_release(&vm);
	lock_release(&event);
	assert_int_equal(base_host->self()->held_count, 0);
}

static void a_lower_rank_under_a_higher_one_is_caught(void **state)
{
	(void)state;
	lock_acquire_at(&vram, "src/mm/y.c:40");
	DIES_WITH(text, lock_acquire_at(&vm, "src/vm/x.c:12"));
	assert_string_equal(text,
			    "lock order: vm.lock (rank 1, src/vm/x.c:12) taken "
			    "while holding vram.lock (rank 9, src/mm/y.c:40)\n"
			    "  holds vram.lock (rank 9, src/mm/y.c:40)\n");
	assert_int_equal(vm.word, 0);
	lock_release(&vram);
}

static void the_report_names_the_whole_chain(void **state)
{
	(void)state;
	lock_acquire_at(&vm, "a.c:1");
	lock_acquire_at(&event, "b.c:2");
	lock_acquire_at(&work, "c.c:3");
	DIES_WITH(text, lock_acquire_at(&event_2, "d.c:4"));
	assert_string_equal(text,
			    "lock order: mm.event_lock_2 (rank 5, d.c:4) taken "
			    "while holding mm.event_lock (rank 5, b.c:2)\n"
			    "  holds vm.lock (rank 1, a.c:1)\n"
			    "  holds mm.event_lock (rank 5, b.c:2)\n"
			    "  holds mm.work_lock (rank 8, c.c:3)\n");
}

static void the_order_is_checked_against_all_held_locks(void **state)
{
	(void)state;
	/* The newest lock has a low rank, thanks to try: the older one still counts. */
	lock_acquire(&work);
	assert_true(lock_try_acquire(&vm));
	DIES_WITH(text, lock_acquire(&event));
	assert_non_null(strstr(text, "while holding mm.work_lock"));
}

static void two_locks_of_one_rank_need_try(void **state)
{
	(void)state;
	lock_acquire(&event);
	DIES_WITH(text, lock_acquire(&event_2));
	assert_non_null(strstr(text, "lock order: mm.event_lock_2"));
	assert_true(lock_try_acquire(&event_2));
	lock_release(&event);
	lock_release(&event_2);
}

static void a_program_thread_may_not_take_a_monitor_rank(void **state)
{
	(void)state;
	host_posix_become(false, false);
	lock_acquire(&vm);
	lock_release(&vm);
	DIES_WITH(text, lock_acquire(&event));
	assert_non_null(strstr(text, "lock foreign: mm.event_lock (rank 5, "));
	DIES_WITH(text, lock_try_acquire(&event));
	assert_non_null(strstr(text, "lock foreign: mm.event_lock (rank 5, "));
	assert_int_equal(event.word, 0);
}

static void the_monitor_takes_monitor_ranks_only(void **state)
{
	(void)state;
	host_posix_become(true, true);
	lock_acquire(&event);
	lock_acquire(&work);
	lock_release(&work);
	lock_release(&event);
	DIES_WITH(text, lock_acquire(&vram));
	assert_non_null(strstr(text, "lock monitor: vram.lock (rank 9, "));
	DIES_WITH(text, lock_try_acquire(&vram));
	assert_non_null(strstr(text, "lock monitor: vram.lock (rank 9, "));
	assert_int_equal(vram.word, 0);
}

static void no_plain_rank_is_awaited_under_a_monitor_rank(void **state)
{
	(void)state;
	lock_acquire(&event);
	DIES_WITH(text, lock_acquire(&vram));
	assert_non_null(strstr(text, "lock below: vram.lock (rank 9, "));
	assert_non_null(strstr(text, "while holding mm.event_lock (rank 5, "));
	/* Without waiting it may. */
	assert_true(lock_try_acquire(&vram));
	lock_release(&vram);
	lock_release(&event);
}

static void more_locks_than_the_record_holds_are_caught(void **state)
{
	struct lock locks[17];

	(void)state;
	for (int i = 0; i < 17; i++)
		lock_init(&locks[i], LOCK_LEAF, "many");
	for (int i = 0; i < 16; i++)
		assert_true(lock_try_acquire(&locks[i]));
	DIES_WITH(text, lock_try_acquire(&locks[16]));
	assert_non_null(strstr(text, "lock chain: many (rank 11, "));
	assert_int_equal(locks[16].word, 0);
	for (int i = 0; i < 16; i++)
		lock_release(&locks[i]);
}

static void only_who_holds_no_monitor_lock_may_sleep(void **state)
{
	(void)state;
	lock_acquire(&vm);
	DIES_WITH(text, lock_assert_may_sleep("copy"));
	assert_string_equal(text, "");
	lock_acquire(&event);
	DIES_WITH(text, lock_assert_may_sleep("copy"));
	assert_non_null(strstr(text, "lock context: copy may sleep; called with a "
				     "monitor lock held\n  holds vm.lock"));
}

static void the_monitor_may_not_sleep(void **state)
{
	(void)state;
	host_posix_become(true, true);
	DIES_WITH(text, lock_assert_may_sleep("copy"));
	assert_string_equal(
		text, "lock context: copy may sleep; called by the monitor\n");
}

static void none_held_is_asserted(void **state)
{
	(void)state;
	DIES_WITH(text, lock_assert_none_held("evict"));
	assert_string_equal(text, "");
	lock_acquire(&vm);
	DIES_WITH(text, lock_assert_none_held("evict"));
	assert_non_null(strstr(text, "lock context: evict called with a lock held"));
}

static void monitor_callbacks_want_the_monitor_or_its_lock(void **state)
{
	(void)state;
	lock_acquire(&vm);
	DIES_WITH(text, lock_assert_monitor());
	assert_non_null(strstr(text, "lock context: a monitor callback"));
	lock_acquire(&event);
	DIES_WITH(text, lock_assert_monitor());
	assert_string_equal(text, "");

	host_posix_become(true, true);
	DIES_WITH(text, lock_assert_monitor());
	assert_string_equal(text, "");
}

static char reported[4096];

static void report_keep(const char *report)
{
	strncpy(reported, report, sizeof(reported) - 1);
}

static void a_report_that_returns_does_not_stop_the_abort(void **state)
{
	void (*saved)(const char *) = lock_report;

	(void)state;
	lock_report = report_keep;
	DIES_WITH(text, lock_release(&vm));
	lock_report = saved;
	assert_non_null(strstr(reported, "lock release: vm.lock"));
	assert_string_equal(text, reported);
}

#define CHECKER_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_count_under_contention_adds_up),
		cmocka_unit_test(a_count_adds_up_where_holders_are_slow),
		cmocka_unit_test(waiters_sleep_and_each_release_wakes_one),
		cmocka_unit_test(without_contention_the_host_is_not_called),
		cmocka_unit_test(try_takes_a_free_lock_only),
		cmocka_unit_test(a_release_of_a_free_lock_is_caught),
		cmocka_unit_test(a_release_by_another_thread_is_caught),
		cmocka_unit_test(a_recursion_is_caught),
		cmocka_unit_test(held_is_asserted_of_the_calling_thread),
		cmocka_unit_test(each_rank_has_a_name_and_the_mark_of_its_comment),
		cmocka_unit_test(a_lock_without_a_name_has_that_of_its_rank),
#if defined(USVM_LOCK_CHECK)
		CHECKER_TEST(ranks_in_order_are_fine),
		CHECKER_TEST(a_lower_rank_under_a_higher_one_is_caught),
		CHECKER_TEST(the_report_names_the_whole_chain),
		CHECKER_TEST(the_order_is_checked_against_all_held_locks),
		CHECKER_TEST(two_locks_of_one_rank_need_try),
		CHECKER_TEST(a_program_thread_may_not_take_a_monitor_rank),
		CHECKER_TEST(the_monitor_takes_monitor_ranks_only),
		CHECKER_TEST(no_plain_rank_is_awaited_under_a_monitor_rank),
		CHECKER_TEST(more_locks_than_the_record_holds_are_caught),
		CHECKER_TEST(only_who_holds_no_monitor_lock_may_sleep),
		CHECKER_TEST(the_monitor_may_not_sleep),
		CHECKER_TEST(none_held_is_asserted),
		CHECKER_TEST(monitor_callbacks_want_the_monitor_or_its_lock),
		CHECKER_TEST(a_report_that_returns_does_not_stop_the_abort),
#endif
	};

	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
