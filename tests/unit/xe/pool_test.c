/* SPDX-License-Identifier: MIT */
/*
 * pool_test.c - memory of a card counted between processes. Each pool of a test is a
 * process's: what it is to the others is in the file alone. `--seed N` picks the mix.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../base/seed.h"
#include "base/atomic.h"
#include "base/host.h"
#include "base/prng.h"
#include "base/span.h"
#include "xe/pool.h"

#define SIZE MIB(16)

static void yield(void)
{
	sched_yield();
}

static const struct base_host_ops host = { .cpu_yield = yield };
static char path[64];
static uint64_t seed;

static int setup(void **state)
{
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/pool_test.XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

static void join_pool(struct xe_pool *pool)
{
	assert_int_equal(xe_pool_join(pool, path, SIZE), 0);
}

static void there_is_one_pool_for_all(void **state)
{
	struct xe_pool one, other;

	(void)state;
	join_pool(&one);
	join_pool(&other);
	assert_true(xe_pool_take(&one, MIB(12)));
	assert_false(xe_pool_take(&other, MIB(8)));
	assert_true(xe_pool_take(&other, MIB(4)));
	assert_false(xe_pool_take(&one, PAGE_BYTES));
	assert_int_equal(xe_pool_used(&one), SIZE);
	assert_int_equal(xe_pool_used(&other), SIZE);
	xe_pool_give(&one, MIB(8));
	assert_true(xe_pool_take(&other, MIB(8)));
	xe_pool_leave(&other);
	assert_int_equal(xe_pool_used(&one), MIB(4));
	xe_pool_leave(&one);
}

/* A child that has something, in its slot, when it is killed. */
static void kill_holder(void)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		struct xe_pool pool;

		if (xe_pool_join(&pool, path, SIZE) || !xe_pool_take(&pool, MIB(10)))
			_exit(1);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
}

static void what_a_killed_process_held_is_given_back(void **state)
{
	struct xe_pool pool;

	(void)state;
	join_pool(&pool);
	for (int i = 0; i < 3; i++) {
		kill_holder();
		assert_int_equal(xe_pool_used(&pool), 0);
		kill_holder();
		assert_true(xe_pool_take(&pool, SIZE));
		xe_pool_give(&pool, SIZE);
	}
	xe_pool_leave(&pool);
}

static void *leave_without_a_word(void *arg)
{
	struct xe_pool *pool = arg;

	join_pool(pool);
	assert_true(xe_pool_take(pool, SIZE));
	return NULL;
}

/* A thread that ends is to the others as a process that does. */
static void slots_of_the_dead_are_used_again(void **state)
{
	static struct xe_pool pools[8];

	(void)state;
	for (int i = 0; i < 8; i++) {
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, leave_without_a_word, &pools[i]), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_ptr_equal((char *)pools[i].own - (char *)pools[i].file,
				 (char *)pools[0].own - (char *)pools[0].file);
	}
}

/* --- who takes at the same time ---------------------------------------------------------- */

#define TAKERS 6
#define ROUNDS 2000

static pthread_barrier_t all;
static uint64_t held_by_all; /* atomic */
static uint32_t taken, refused; /* atomic */

static void *take_and_give(void *arg)
{
	struct prng prng;
	struct xe_pool pool;
	uint64_t held = 0;

	prng_seed(&prng, seed + (uintptr_t)arg);
	join_pool(&pool);
	pthread_barrier_wait(&all);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t bytes = MIB(1) << prng_below(&prng, 4);

		if (held) {
			ATOMIC_SUB(&held_by_all, held);
			xe_pool_give(&pool, held);
			held = 0;
		} else if (xe_pool_take(&pool, bytes)) {
			assert_true(ATOMIC_ADD(&held_by_all, bytes) + bytes <= SIZE);
			held = bytes;
			ATOMIC_ADD(&taken, 1u);
		} else {
			ATOMIC_ADD(&refused, 1u);
		}
		if (!prng_below(&prng, 8))
			sched_yield();
	}
	if (held)
		ATOMIC_SUB(&held_by_all, held);
	xe_pool_leave(&pool);
	return NULL;
}

static void never_is_more_held_than_there_is(void **state)
{
	pthread_t threads[TAKERS];

	(void)state;
	pthread_barrier_init(&all, NULL, TAKERS);
	for (uintptr_t i = 0; i < TAKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, (void *)i), 0);
	for (int i = 0; i < TAKERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_true(taken > 0);
	assert_true(refused > 0);
	assert_int_equal(held_by_all, 0);
}

/* Two that each want all: one has it. */
static pthread_barrier_t both;

static void *want_all(void *arg)
{
	uint32_t *count = arg;
	struct xe_pool pool;

	join_pool(&pool);
	for (int i = 0; i < 300; i++) {
		bool got;

		pthread_barrier_wait(&both);
		got = xe_pool_take(&pool, SIZE);
		ATOMIC_ADD(count, (uint32_t)got);
		pthread_barrier_wait(&both);
		if (got)
			xe_pool_give(&pool, SIZE);
	}
	xe_pool_leave(&pool);
	return NULL;
}

static void of_two_that_want_all_one_has_it(void **state)
{
	uint32_t count = 0;
	pthread_t thread;

	(void)state;
	pthread_barrier_init(&both, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, want_all, &count), 0);
	want_all(&count);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(count, 300);
}

/* --- wishes ------------------------------------------------------------------------------ */

struct holder {
	struct xe_pool pool;
	uint64_t idle_bytes; /* that can make way */
	uint32_t stopping;   /* atomic */
	pthread_t thread;
};

static void *make_way(void *arg)
{
	struct holder *holder = arg;

	while (!ATOMIC_LOAD(&holder->stopping)) {
		uint32_t ticket = xe_pool_ticket(&holder->pool);

		while (xe_pool_wanted(&holder->pool) && holder->idle_bytes) {
			holder->idle_bytes -= MIB(1);
			xe_pool_give(&holder->pool, MIB(1));
		}
		xe_pool_answer(&holder->pool, ticket);
		xe_pool_sleep(&holder->pool, ticket);
	}
	return NULL;
}

static void start_holder(struct holder *holder, uint64_t bytes, uint64_t idle_bytes)
{
	holder->stopping = 0;
	holder->idle_bytes = idle_bytes;
	join_pool(&holder->pool);
	assert_true(xe_pool_take(&holder->pool, bytes));
	assert_int_equal(pthread_create(&holder->thread, NULL, make_way, holder), 0);
}

static void stop_holder(struct holder *holder)
{
	ATOMIC_STORE(&holder->stopping, 1u);
	xe_pool_wake(&holder->pool);
	assert_int_equal(pthread_join(holder->thread, NULL), 0);
	xe_pool_leave(&holder->pool);
}

static void who_asks_gets_no_more_than_it_lacks(void **state)
{
	struct holder holder;
	struct xe_pool pool;

	(void)state;
	join_pool(&pool);
	assert_false(xe_pool_ask(&pool, SIZE, true)); /* there is nobody */
	start_holder(&holder, SIZE, SIZE);
	assert_true(xe_pool_ask(&pool, MIB(3), true));
	assert_int_equal(xe_pool_used(&pool), SIZE - MIB(3));
	assert_true(xe_pool_take(&pool, MIB(3)));
	stop_holder(&holder);
	xe_pool_leave(&pool);
}

static void who_has_a_share_asks_at_last_only(void **state)
{
	struct holder holder;
	struct xe_pool pool;

	(void)state;
	join_pool(&pool);
	start_holder(&holder, MIB(8), MIB(8));
	assert_true(xe_pool_take(&pool, MIB(8)));
	assert_false(xe_pool_ask(&pool, MIB(1), false));
	assert_int_equal(xe_pool_used(&pool), SIZE);
	assert_true(xe_pool_ask(&pool, MIB(1), true));
	stop_holder(&holder);
	xe_pool_leave(&pool);
}

static void who_has_no_more_than_a_share_keeps_it_until_the_last(void **state)
{
	struct holder rich, poor;
	struct xe_pool pool;

	(void)state;
	join_pool(&pool);
	start_holder(&rich, MIB(14), MIB(14));
	start_holder(&poor, MIB(2), MIB(2));
	for (int i = 0; i < 5; i++) {
		assert_true(xe_pool_ask(&pool, MIB(1), false));
		assert_true(xe_pool_take(&pool, MIB(1)));
	}
	assert_int_equal(poor.idle_bytes, MIB(2));
	assert_int_equal(rich.idle_bytes, MIB(9));
	stop_holder(&poor);
	stop_holder(&rich);
	xe_pool_leave(&pool);
}

static void what_is_pinned_is_waited_for_until_it_can_go(void **state)
{
	struct holder holder;
	struct xe_pool pool;

	(void)state;
	join_pool(&pool);
	start_holder(&holder, SIZE, MIB(2));
	assert_false(xe_pool_ask(&pool, MIB(4), true)); /* the rest is pinned */
	assert_int_equal(xe_pool_used(&pool), SIZE - MIB(2));
	assert_false(xe_pool_ask(&pool, MIB(4), true)); /* and not waited for */
	holder.idle_bytes = MIB(2);
	assert_true(xe_pool_ask(&pool, MIB(4), true));
	stop_holder(&holder);
	xe_pool_leave(&pool);
}

static void *ask_for_four(void *arg)
{
	return xe_pool_ask(arg, MIB(4), true) ? arg : NULL;
}

static void who_waits_hears_of_what_is_given(void **state)
{
	struct xe_pool pool, other;
	pthread_t thread;
	void *got;

	(void)state;
	join_pool(&pool);
	join_pool(&other); /* it has no thread that answers */
	assert_true(xe_pool_take(&other, SIZE));
	assert_int_equal(pthread_create(&thread, NULL, ask_for_four, &pool), 0);
	while (!xe_pool_wanted(&other))
		sched_yield();
	xe_pool_give(&other, MIB(4));
	assert_int_equal(pthread_join(thread, &got), 0);
	assert_non_null(got);
	xe_pool_leave(&other);
	xe_pool_leave(&pool);
}

static void a_process_that_is_killed_while_it_is_asked_is_not_waited_for(void **state)
{
	struct xe_pool pool;
	int pipes[2];
	char byte;
	pid_t child;

	(void)state;
	join_pool(&pool);
	assert_int_equal(pipe(pipes), 0);
	child = fork();
	if (!child) {
		struct xe_pool own;

		if (xe_pool_join(&own, path, SIZE) || !xe_pool_take(&own, SIZE) ||
		    write(pipes[1], "x", 1) != 1)
			_exit(1);
		while (!xe_pool_wanted(&own))
			sched_yield();
		raise(SIGKILL);
	}
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_true(xe_pool_ask(&pool, SIZE, true));
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_true(xe_pool_take(&pool, SIZE));
	xe_pool_leave(&pool);
	close(pipes[0]);
	close(pipes[1]);
}

/* A dead one's wish asks nobody to make way. */
static void a_killed_process_wishes_nothing(void **state)
{
	struct xe_pool pool;
	pid_t child;

	(void)state;
	join_pool(&pool);
	assert_true(xe_pool_take(&pool, MIB(6)));
	child = fork();
	if (!child) {
		struct xe_pool own;

		_exit(xe_pool_join(&own, path, SIZE) || xe_pool_ask(&own, SIZE, true));
	}
	while (!xe_pool_wanted(&pool))
		sched_yield();
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(xe_pool_wanted(&pool), 0);
	xe_pool_leave(&pool);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(there_is_one_pool_for_all),
		TEST(what_a_killed_process_held_is_given_back),
		TEST(slots_of_the_dead_are_used_again),
		TEST(never_is_more_held_than_there_is),
		TEST(of_two_that_want_all_one_has_it),
		TEST(who_asks_gets_no_more_than_it_lacks),
		TEST(who_has_a_share_asks_at_last_only),
		TEST(who_has_no_more_than_a_share_keeps_it_until_the_last),
		TEST(what_is_pinned_is_waited_for_until_it_can_go),
		TEST(who_waits_hears_of_what_is_given),
		TEST(a_process_that_is_killed_while_it_is_asked_is_not_waited_for),
		TEST(a_killed_process_wishes_nothing),
	};

	seed = seed_from(argc, argv);
	base_host_install(&host);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
