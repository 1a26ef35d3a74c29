/* SPDX-License-Identifier: MIT */
/* wait_test.c - no wake is lost, and none is paid for that nobody waits for. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/host.h"
#include "base/lock.h"
#include "base/wait.h"
#include "host_posix.h"

enum { ROUND_COUNT = 100000, SLEEPER_COUNT = 4 };

/* One ball: whose turn it is. Each side waits for its own parity. */
struct game {
	struct wait wait;
	uint32_t turn; /* atomic */
};

static void play(struct game *game, uint32_t parity)
{
	for (int round = 0; round < ROUND_COUNT; round++) {
		for (;;) {
			uint32_t ticket = wait_ticket(&game->wait);

			if (ATOMIC_LOAD(&game->turn) % 2 == parity)
				break;
			wait_sleep(&game->wait, ticket, BASE_FOREVER);
		}
		ATOMIC_ADD(&game->turn, 1);
		wait_wake_all(&game->wait);
	}
}

static void *odd_player(void *argument)
{
	host_posix_become(true, false);
	play(argument, 1);
	return NULL;
}

static void ping_pong_loses_no_wake(void **state)
{
	struct game game = { .turn = 0 };
	pthread_t thread;

	(void)state;
	wait_init(&game.wait);
	assert_int_equal(pthread_create(&thread, NULL, odd_player, &game), 0);
	play(&game, 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(game.turn, 2 * ROUND_COUNT);
	assert_int_equal(game.wait.waiters, 0);
}

static void a_wake_after_the_ticket_ends_the_sleep_at_once(void **state)
{
	uint64_t parks = host_posix_park_count();
	struct wait wait;
	uint32_t ticket;

	(void)state;
	wait_init(&wait);
	ticket = wait_ticket(&wait);
	wait_wake_all(&wait);
	assert_int_equal(wait_sleep(&wait, ticket, BASE_FOREVER), 0);
	assert_int_equal(host_posix_park_count(), parks);
	assert_int_equal(wait.waiters, 0);
}

static void a_wake_that_nobody_waits_for_makes_no_system_call(void **state)
{
	uint64_t unparks = host_posix_unpark_count();
	struct wait wait;

	(void)state;
	wait_init(&wait);
	for (int i = 0; i < 100; i++)
		wait_wake_all(&wait);
	assert_int_equal(host_posix_unpark_count(), unparks);
}

static void a_sleep_without_a_wake_times_out(void **state)
{
	struct wait wait;

	(void)state;
	wait_init(&wait);
	assert_int_equal(wait_sleep(&wait, wait_ticket(&wait), 1000), -ETIMEDOUT);
	assert_int_equal(wait.waiters, 0);
	assert_int_equal(wait_sleep(&wait, wait_ticket(&wait), 0), -ETIMEDOUT);
}

struct crowd {
	struct wait wait;
	bool open; /* atomic */
};

static void *sleeper(void *argument)
{
	struct crowd *crowd = argument;

	host_posix_become(true, false);
	for (;;) {
		uint32_t ticket = wait_ticket(&crowd->wait);

		if (ATOMIC_LOAD(&crowd->open))
			return NULL;
		wait_sleep(&crowd->wait, ticket, BASE_FOREVER);
	}
}

static void one_wake_reaches_all_sleepers(void **state)
{
	struct crowd crowd = { .open = false };
	pthread_t threads[SLEEPER_COUNT];

	(void)state;
	wait_init(&crowd.wait);
	for (int i = 0; i < SLEEPER_COUNT; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, sleeper, &crowd), 0);
	host_posix_wait_parked(SLEEPER_COUNT);
	ATOMIC_STORE(&crowd.open, true);
	wait_wake_all(&crowd.wait);
	for (int i = 0; i < SLEEPER_COUNT; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(crowd.wait.waiters, 0);
}

static uint32_t unparked;

static void count_unparked(uint32_t *word, uint32_t count)
{
	(void)word;
	unparked = count;
}

static void a_wake_of_one_leaves_the_others_asleep(void **state)
{
	static struct base_host_ops counting;
	const struct base_host_ops *before = base_host;
	struct wait wait;

	(void)state;
	counting = *base_host;
	counting.unpark = count_unparked;
	base_host_install(NULL);
	base_host_install(&counting);
	wait_init(&wait);
	wait.waiters = 3;
	wait_wake_one(&wait);
	assert_int_equal(unparked, 1);
	assert_int_equal(wait_ticket(&wait), 1);
	wait_wake_all(&wait);
	assert_int_equal(unparked, INT32_MAX);
	base_host_install(NULL);
	base_host_install(before);
}

#if defined(USVM_LOCK_CHECK)
static void a_sleep_with_a_monitor_lock_is_caught(void **state)
{
	struct wait wait;
	struct lock lock;
	char text[4096];

	(void)state;
	wait_init(&wait);
	lock_init(&lock, LOCK_MM_EVENT, "mm.event_lock");
	lock_acquire(&lock);
	DIES_WITH(text, wait_sleep(&wait, wait_ticket(&wait), 0));
	lock_release(&lock);
	assert_non_null(strstr(text, "wait_sleep may sleep"));
	assert_non_null(strstr(text, "holds mm.event_lock (rank 5, "));
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ping_pong_loses_no_wake),
		cmocka_unit_test(a_wake_after_the_ticket_ends_the_sleep_at_once),
		cmocka_unit_test(a_wake_that_nobody_waits_for_makes_no_system_call),
		cmocka_unit_test(a_sleep_without_a_wake_times_out),
		cmocka_unit_test(one_wake_reaches_all_sleepers),
		cmocka_unit_test(a_wake_of_one_leaves_the_others_asleep),
#if defined(USVM_LOCK_CHECK)
		cmocka_unit_test(a_sleep_with_a_monitor_lock_is_caught),
#endif
	};

	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
