/* SPDX-License-Identifier: MIT */
/*
 * wait_steps_test.c - no wake is lost (B1), whichever atomic access the other side comes at.
 *
 * wait.c is compiled here a second time, with a yield point before each access.
 */
#define USVM_YIELD_POINTS
#define wait_sleep steps_wait_sleep
#define wait_wake_all steps_wait_wake_all
#define wait_wake_one steps_wait_wake_one

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/wait.c"
#include "host_posix.h"

/* The other side: what it does just before the nth access from now. */
static struct {
	struct wait wait;
	void (*act)(void);
	int countdown;
	bool has_acted;
	uint64_t parks, unparks; /* when it acted */
} other;

static void act_when_due(void)
{
	if (other.countdown-- != 0)
		return;
	host_posix_at_yield = NULL;
	other.has_acted = true;
	other.parks = host_posix_park_count();
	other.unparks = host_posix_unpark_count();
	other.act();
}

static void arm(int step, void (*act)(void))
{
	other.act = act;
	other.countdown = step;
	other.has_acted = false;
	host_posix_at_yield = act_when_due;
}

static void wake(void)
{
	wait_wake_all(&other.wait);
}

static void a_wake_at_any_step_before_the_sleep_prevents_it(void **state)
{
	int step = 0;

	(void)state;
	wait_init(&other.wait);
	do {
		uint32_t ticket = wait_ticket(&other.wait);
		uint64_t parks = host_posix_park_count();
		int err;

		arm(step++, wake);
		/* No time to wait: a sleep, however short, shows as a timeout. */
		err = wait_sleep(&other.wait, ticket, 0);
		host_posix_at_yield = NULL;
		if (other.has_acted && other.parks == parks)
			assert_int_equal(err, 0);
	} while (other.has_acted);
	assert_true(step > 3);
}

/* A sleeper that has drawn its ticket before the wake, up to where park() lets it sleep. */
static uint32_t ticket_before;
static bool is_asleep;

static int note_sleep(uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	(void)timeout_ns;
	is_asleep = *word == expected;
	/* It stays: who wakes it has to know of it. */
	assert_true(other.wait.waiters > 0);
	return 0;
}

static void fall_asleep(void)
{
	const struct base_host_ops *before = base_host;
	struct base_host_ops ops = *before;

	ops.park = note_sleep;
	base_host_install(NULL);
	base_host_install(&ops);
	wait_sleep(&other.wait, ticket_before, BASE_FOREVER);
	base_host_install(NULL);
	base_host_install(before);
	/* It has returned here; there it sleeps. */
	ATOMIC_ADD(&other.wait.waiters, is_asleep);
}

static void who_falls_asleep_at_any_step_of_a_wake_is_woken(void **state)
{
	int step = 0;

	(void)state;
	do {
		uint64_t unparks = host_posix_unpark_count();

		wait_init(&other.wait);
		ticket_before = wait_ticket(&other.wait);
		is_asleep = false;
		arm(step++, fall_asleep);
		wait_wake_all(&other.wait);
		host_posix_at_yield = NULL;
		assert_int_equal(host_posix_unpark_count() - unparks, is_asleep);
	} while (other.has_acted);
	assert_int_equal(step, 3); /* before each of two accesses, and never */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wake_at_any_step_before_the_sleep_prevents_it),
		cmocka_unit_test(who_falls_asleep_at_any_step_of_a_wake_is_woken),
	};

	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
