/* SPDX-License-Identifier: MIT */
/* pool_test.c - objects come zeroed, reservations hold, and all pages go back. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/poison.h"
#include "base/pool.h"
#include "base/prng.h"
#include "host_posix.h"
#include "seed.h"

enum { THREAD_COUNT = 4, STEP_COUNT = 20000, HELD_MAX = 64 };

static uint64_t seed;
static char text[4096];

static bool is_filled(const void *object, size_t bytes, unsigned char value)
{
	const unsigned char *byte = object;

	for (size_t i = 0; i < bytes; i++) {
		if (byte[i] != value)
			return false;
	}
	return true;
}

static void objects_are_zeroed_each_time(void **state)
{
	struct pool pool;

	(void)state;
	pool_init(&pool, 100, "pool");
	for (int round = 0; round < 3; round++) {
		unsigned char *objects[10];

		for (int i = 0; i < 10; i++) {
			objects[i] = pool_alloc(&pool);
			assert_non_null(objects[i]);
			assert_true(is_filled(objects[i], 100, 0));
			memset(objects[i], 0xff, 100);
		}
		for (int i = 0; i < 10; i++)
			pool_put(&pool, objects[i]);
	}
	pool_fini(&pool);
}

static void objects_are_aligned_and_apart(void **state)
{
	static const size_t sizes[] = { 1, 8, 15, 16, 17, 64, 4096 };

	(void)state;
	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		unsigned char *objects[50];
		struct pool pool;

		pool_init(&pool, sizes[s], "pool");
		for (int i = 0; i < 50; i++) {
			objects[i] = pool_alloc(&pool);
			assert_non_null(objects[i]);
			assert_true(IS_ALIGNED((uintptr_t)objects[i],
					       _Alignof(max_align_t)));
			memset(objects[i], i + 1, sizes[s]);
		}
		for (int i = 0; i < 50; i++) {
			assert_true(is_filled(objects[i], sizes[s],
					      (unsigned char)(i + 1)));
			pool_put(&pool, objects[i]);
		}
		pool_fini(&pool);
	}
}

static void a_reservation_needs_no_pages_later(void **state)
{
	enum { COUNT = 5000 };
	static void *objects[COUNT];
	struct pool pool;

	(void)state;
	pool_init(&pool, 256, "pool");
	assert_int_equal(pool_reserve(&pool, COUNT), 0);
	host_posix_fail_pages(1);
	for (int i = 0; i < COUNT; i++)
		objects[i] = pool_take(&pool);
	host_posix_fail_pages(0);
	assert_int_equal(pool.live_count, COUNT);
	assert_int_equal(pool.reserved_count, 0);
	for (int i = 0; i < COUNT; i++)
		pool_put(&pool, objects[i]);
	pool_fini(&pool);
}

static void an_allocation_leaves_reservations_alone(void **state)
{
	struct pool pool;
	size_t free_count;
	void *object;

	(void)state;
	pool_init(&pool, 1024, "pool");
	assert_int_equal(pool_reserve(&pool, 1), 0);
	free_count = pool.free_count;
	assert_int_equal(pool_reserve(&pool, free_count - 1), 0);
	assert_int_equal(pool.free_count, free_count);

	/* All that is free is promised: without new pages there is nothing. */
	host_posix_fail_pages(1);
	assert_null(pool_alloc(&pool));
	object = pool_alloc(&pool);
	assert_non_null(object);
	assert_true(pool.free_count >= pool.reserved_count);

	pool_put(&pool, object);
	pool_unreserve(&pool, free_count);
	pool_fini(&pool);
}

static void what_is_given_back_is_used_before_new_pages(void **state)
{
	struct pool pool;
	void *object;

	(void)state;
	pool_init(&pool, 64, "pool");
	for (int i = 0; i < 100000; i++) {
		object = pool_alloc(&pool);
		assert_non_null(object);
		pool_put(&pool, object);
	}
	assert_int_equal(pool.total_bytes, KIB(64));
	pool_fini(&pool);
}

static void chunks_grow_up_to_a_limit_and_all_go_back(void **state)
{
	uint64_t before = host_posix_page_bytes();
	size_t chunk_bytes_max = 0;
	struct pool pool;

	(void)state;
	pool_init(&pool, 4096, "pool");
	assert_int_equal(host_posix_page_bytes(), before);
	for (size_t count = 1; count < 2000; count++) {
		size_t total_bytes = pool.total_bytes;

		assert_int_equal(pool_reserve(&pool, 1), 0);
		chunk_bytes_max = MAX(chunk_bytes_max, pool.total_bytes - total_bytes);
		assert_int_equal(host_posix_page_bytes() - before, pool.total_bytes);
	}
	assert_int_equal(chunk_bytes_max, MIB(1));
	pool_unreserve(&pool, 1999);
	pool_fini(&pool);
	assert_int_equal(host_posix_page_bytes(), before);
}

static void an_object_may_be_larger_than_a_chunk(void **state)
{
	uint64_t before = host_posix_page_bytes();
	unsigned char *object;
	struct pool pool;

	(void)state;
	pool_init(&pool, MIB(3) + 5, "pool");
	object = pool_alloc(&pool);
	assert_non_null(object);
	memset(object, 1, MIB(3) + 5);
	pool_put(&pool, object);
	pool_fini(&pool);
	assert_int_equal(host_posix_page_bytes(), before);
}

static void too_many_objects_are_no_memory(void **state)
{
	struct pool pool;

	(void)state;
	pool_init(&pool, 48, "pool");
	assert_int_equal(pool_reserve(&pool, SIZE_MAX), -ENOMEM);
	assert_int_equal(pool_reserve(&pool, SIZE_MAX / 48 + 2), -ENOMEM);
	assert_int_equal(pool.reserved_count, 0);
	assert_int_equal(pool_reserve(&pool, 0), 0);
	pool_fini(&pool);
}

static void putting_nothing_does_nothing(void **state)
{
	struct pool pool;

	(void)state;
	pool_init(&pool, 48, "pool");
	pool_put(&pool, NULL);
	pool_fini(&pool);
}

/* use_pool() - a little of everything. Return: how many requests were refused. */
static int use_pool(struct pool *pool)
{
	void *objects[300];
	int refused_count = 0;
	size_t count = 0;

	for (int round = 0; round < 3; round++) {
		if (pool_reserve(pool, 70)) {
			refused_count++;
		} else {
			for (int i = 0; i < 60; i++)
				objects[count++] = pool_take(pool);
			pool_unreserve(pool, 10);
		}
		for (int i = 0; i < 30; i++) {
			void *object = pool_alloc(pool);

			if (object)
				objects[count++] = object;
			else
				refused_count++;
		}
	}
	assert_int_equal(pool->live_count, count);
	assert_int_equal(pool->reserved_count, 0);
	while (count > 0)
		pool_put(pool, objects[--count]);
	return refused_count;
}

static void a_failure_of_any_page_request_is_survived(void **state)
{
	uint64_t before = host_posix_page_bytes();
	int refused_count;
	uint64_t nth = 0;

	(void)state;
	do {
		struct pool pool;

		pool_init(&pool, 4000, "pool");
		host_posix_fail_pages(++nth);
		refused_count = use_pool(&pool);
		host_posix_fail_pages(0);
		assert_true(refused_count <= 1);
		pool_fini(&pool);
		assert_int_equal(host_posix_page_bytes(), before);
	} while (refused_count > 0);
	assert_true(nth > 3);
}

static void misuse_is_caught(void **state)
{
	struct pool pool;
	void *object;

	(void)state;
	pool_init(&pool, 48, "pool");
	object = pool_alloc(&pool);
	assert_non_null(object);
	DIES_WITH(text, pool_fini(&pool));
	assert_non_null(strstr(text, "live_count == 0"));
	pool_put(&pool, object);
	assert_int_equal(pool_reserve(&pool, 1), 0);
	DIES_WITH(text, pool_fini(&pool));
	assert_non_null(strstr(text, "reserved_count == 0"));
	pool_unreserve(&pool, 1);
	pool_fini(&pool);
}

/* DEATH_IN_POOL() - the lock stays behind, as after any abort: take it away */
#define DEATH_IN_POOL(pool, statement)                                  \
	do {                                                            \
		DIES_WITH(text, statement);                             \
		host_posix_become(true, false);                         \
		lock_init(&(pool)->lock, LOCK_LEAF_MONITOR, "pool");    \
	} while (0)

static void counts_below_zero_are_caught(void **state)
{
	struct pool pool;
	void *object;

	(void)state;
	pool_init(&pool, 48, "pool");
	DEATH_IN_POOL(&pool, pool_take(&pool));
	assert_non_null(strstr(text, "reserved_count > 0"));
	DEATH_IN_POOL(&pool, pool_unreserve(&pool, 1));
	assert_non_null(strstr(text, "reserved_count >= count"));
	object = pool_alloc(&pool);
	assert_non_null(object);
	pool_put(&pool, object);
	DEATH_IN_POOL(&pool, pool_put(&pool, object));
	assert_non_null(strstr(text, "live_count > 0"));
	pool_fini(&pool);
}

#if defined(POISON_ENABLED)
static void what_was_put_back_may_not_be_touched(void **state)
{
	uint64_t before = host_posix_page_bytes();
	struct pool pool;
	char *objects[2];

	(void)state;
	pool_init(&pool, 48, "pool");
	for (int i = 0; i < 2; i++) {
		objects[i] = pool_alloc(&pool);
		assert_non_null(objects[i]);
		assert_null(__asan_region_is_poisoned(objects[i], 48));
	}
	assert_true(IS_POISONED(objects[1] + 48 + 8));
	pool_put(&pool, objects[0]);
	assert_true(IS_POISONED(objects[0] + 8));
	assert_true(IS_POISONED(objects[0] + 47));
	DEATH_IN_POOL(&pool, pool_put(&pool, objects[0]));
	assert_non_null(strstr(text, "IS_POISONED"));
	pool_put(&pool, objects[1]);
	pool_fini(&pool);
	assert_int_equal(host_posix_page_bytes(), before);
	assert_false(IS_POISONED(objects[0] + 8));
}
#endif

#if defined(USVM_INVARIANTS)
static void a_foreign_object_is_caught(void **state)
{
	struct pool pool;
	char *object;

	(void)state;
	pool_init(&pool, 48, "pool");
	object = pool_alloc(&pool);
	assert_non_null(object);
	DEATH_IN_POOL(&pool, pool_put(&pool, &pool));
	assert_non_null(strstr(text, "is_ours"));
	DEATH_IN_POOL(&pool, pool_put(&pool, object + 16));
	assert_non_null(strstr(text, "is_ours"));
	pool_put(&pool, object);
	pool_fini(&pool);
}
#endif

#if defined(USVM_LOCK_CHECK)
static void a_reservation_under_a_monitor_lock_is_caught(void **state)
{
	struct lock lock;
	struct pool pool;
	void *object;

	(void)state;
	pool_init(&pool, 48, "pool");
	assert_int_equal(pool_reserve(&pool, 1), 0);
	lock_init(&lock, LOCK_MM_EVENT, "mm.event_lock");
	lock_acquire(&lock);
	/* Also where it would have found something free. */
	DIES_WITH(text, (void)!pool_reserve(&pool, 1));
	assert_non_null(strstr(text, "pool_reserve may sleep"));
	object = pool_take(&pool);
	pool_put(&pool, object);
	lock_release(&lock);
	pool_fini(&pool);
}
#endif

struct worker {
	struct pool *pool;
	uint64_t seed;
	unsigned char mark;
	bool failed;
};

/* work() - hold some objects, each full of the own mark, and see that nobody else writes */
static void *work(void *argument)
{
	struct worker *worker = argument;
	void *held[HELD_MAX] = { NULL };
	struct prng prng;

	host_posix_become(true, false);
	prng_seed(&prng, worker->seed);
	for (int step = 0; step < STEP_COUNT; step++) {
		size_t at = prng_below(&prng, HELD_MAX);

		if (held[at]) {
			if (!is_filled(held[at], 200, worker->mark))
				worker->failed = true;
			pool_put(worker->pool, held[at]);
			held[at] = NULL;
			continue;
		}
		held[at] = pool_alloc(worker->pool);
		if (!held[at] || !is_filled(held[at], 200, 0))
			worker->failed = true;
		if (held[at])
			memset(held[at], worker->mark, 200);
	}
	for (int i = 0; i < HELD_MAX; i++)
		pool_put(worker->pool, held[i]);
	return NULL;
}

static void threads_never_share_an_object(void **state)
{
	struct worker workers[THREAD_COUNT];
	pthread_t threads[THREAD_COUNT];
	struct pool pool;

	(void)state;
	pool_init(&pool, 200, "pool");
	for (int i = 0; i < THREAD_COUNT; i++) {
		workers[i] = (struct worker){
			.pool = &pool,
			.seed = seed + (uint64_t)i,
			.mark = (unsigned char)(i + 1),
		};
		assert_int_equal(
			pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < THREAD_COUNT; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_false(workers[i].failed);
	}
	pool_fini(&pool);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_are_zeroed_each_time),
		cmocka_unit_test(objects_are_aligned_and_apart),
		cmocka_unit_test(a_reservation_needs_no_pages_later),
		cmocka_unit_test(an_allocation_leaves_reservations_alone),
		cmocka_unit_test(what_is_given_back_is_used_before_new_pages),
		cmocka_unit_test(chunks_grow_up_to_a_limit_and_all_go_back),
		cmocka_unit_test(an_object_may_be_larger_than_a_chunk),
		cmocka_unit_test(too_many_objects_are_no_memory),
		cmocka_unit_test(putting_nothing_does_nothing),
		cmocka_unit_test(a_failure_of_any_page_request_is_survived),
		cmocka_unit_test(misuse_is_caught),
		cmocka_unit_test(counts_below_zero_are_caught),
#if defined(POISON_ENABLED)
		cmocka_unit_test(what_was_put_back_may_not_be_touched),
#endif
#if defined(USVM_INVARIANTS)
		cmocka_unit_test(a_foreign_object_is_caught),
#endif
#if defined(USVM_LOCK_CHECK)
		cmocka_unit_test(a_reservation_under_a_monitor_lock_is_caught),
#endif
		cmocka_unit_test(threads_never_share_an_object),
	};

	seed = seed_from(argc, argv);
	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
