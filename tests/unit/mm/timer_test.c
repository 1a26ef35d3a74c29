/* SPDX-License-Identifier: MIT */
/*
 * What waits for a time: CPU faults in a timeslice, and timers.
 */
#include "mm_fixture.h"

#define MS 1000000ull

static void take_to_stay(struct fixture *f, uint64_t pages, uint64_t ns)
{
	heap_fill(f, 0, pages);
	mm_owner_stay(f->mm, &f->owner.owner, ns);
	assert_int_equal(take_pages(f, 0, pages), pages);
}

static void sleep_on(struct fixture *f, uint64_t page)
{
	assert_int_equal(fake_touch(f->fake, heap(page), false), -EAGAIN);
	settle(f);
}

static size_t blocked(struct fixture *f)
{
	return fake_blocked(f->fake, HEAP_VMA);
}

static void a_fault_on_a_page_that_stays_waits_until_its_time_is_over(void **state)
{
	struct fixture *f = *state;

	take_to_stay(f, 4, 5 * MS);
	sleep_on(f, 1);
	sleep_on(f, 2);
	assert_int_equal(blocked(f), 2);
	assert_int_equal(stats_of(f).held_faults, 2);
	f->fake->clock_ns += 4 * MS;
	settle(f);
	assert_int_equal(blocked(f), 2);
	f->fake->clock_ns += MS;
	settle(f);
	assert_int_equal(blocked(f), 0);
	assert_int_equal(stats_of(f).cpu_faults, 2);
	/* Held once each, for all the steps of the monitor. */
	assert_int_equal(stats_of(f).held_faults, 2);
	assert_int_equal(f->mm->held_count, 0);
	expect_tags(f, 0, 4);
}

/* It has nothing to do but to wait for that time. */
static void the_monitor_sleeps_meanwhile(void **state)
{
	struct fixture *f = *state;
	uint64_t timeout;

	take_to_stay(f, 1, 5 * MS);
	sleep_on(f, 0);
	assert_false(monitor_step(f));
	assert_int_equal(f->mm->stash_count, 0);
	lock_acquire(&f->mm->event_lock);
	timeout = mm_timers_timeout(f->mm);
	lock_release(&f->mm->event_lock);
	assert_true(timeout > 4 * MS && timeout <= 5 * MS);
	f->fake->clock_ns += timeout;
	settle(f);
	lock_acquire(&f->mm->event_lock);
	assert_true(mm_timers_timeout(f->mm) == BASE_FOREVER);
	lock_release(&f->mm->event_lock);
}

static void each_fault_waits_for_its_own_owner(void **state)
{
	struct fixture *f = *state;
	struct owner second;
	struct mm_take take = take_of(f, 4, 4);

	take_to_stay(f, 4, 5 * MS);
	owner_init(f, &second, f->arena);
	heap_fill(f, 4, 4);
	take.owner = &second.owner;
	mm_owner_stay(f->mm, &second.owner, 20 * MS);
	mm_owner_stay(f->mm, &second.owner, 1 * MS); /* no shorter */
	assert_int_equal(mm_take(f->mm, &take), 0);
	sleep_on(f, 4);
	sleep_on(f, 0);
	f->fake->clock_ns += 6 * MS;
	settle(f);
	assert_int_equal(fake_blocked(f->fake, heap_span(0, 4)), 0);
	assert_int_equal(fake_blocked(f->fake, heap_span(4, 4)), 1);
	f->fake->clock_ns += 15 * MS;
	settle(f);
	assert_int_equal(blocked(f), 0);
	expect_tags(f, 0, 8);
}

static void when_the_time_is_over_nobody_waits(void **state)
{
	struct fixture *f = *state;

	take_to_stay(f, 1, 5 * MS);
	f->fake->clock_ns += 6 * MS;
	sleep_on(f, 0);
	assert_int_equal(blocked(f), 0);
	assert_int_equal(stats_of(f).held_faults, 0);
}

static void one_fault_too_many_is_answered_at_once(void **state)
{
	struct fixture *f = *state;

	take_to_stay(f, MM_HELD_MAX + 1, 5 * MS);
	for (uint64_t i = 0; i < MM_HELD_MAX; i++)
		sleep_on(f, i);
	assert_int_equal(blocked(f), MM_HELD_MAX);
	sleep_on(f, MM_HELD_MAX);
	assert_int_equal(fake_blocked(f->fake, heap_span(MM_HELD_MAX, 1)), 0);
	f->fake->clock_ns += 6 * MS;
	settle(f);
	assert_int_equal(blocked(f), 0);
	expect_tags(f, 0, MM_HELD_MAX + 1);
}

static void what_goes_or_comes_home_meanwhile_is_not_waited_for(void **state)
{
	struct fixture *f = *state;

	take_to_stay(f, 8, 5 * MS);
	sleep_on(f, 0);
	sleep_on(f, 2);
	sleep_on(f, 4);
	fake_munmap(f->fake, heap_span(0, 2));
	settle(f);
	assert_int_equal(fake_blocked(f->fake, heap_span(0, 2)), 0);
	assert_int_equal(mm_bring_home(f->mm, heap_span(2, 2), NULL), 0);
	assert_int_equal(fake_blocked(f->fake, heap_span(2, 2)), 0);
	assert_int_equal(blocked(f), 1);
	fake_map(f->fake, heap_span(0, 2), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	f->fake->clock_ns += 6 * MS;
	settle(f);
	assert_int_equal(blocked(f), 0);
	assert_int_equal(fake_page(f->fake, heap(0)), 0); /* nobody waited there any more */
	expect_tags(f, 2, 6);
}

/* --- timers ---------------- */

struct test_timer {
	struct mm_timer timer;
	uint32_t fired;
};

static void fire(struct mm_timer *timer)
{
	lock_assert_monitor();
	CONTAINER_OF(timer, struct test_timer, timer)->fired++;
}

static void a_timer_fires_once_at_its_time(void **state)
{
	struct fixture *f = *state;
	struct test_timer a = { .fired = 0 }, b = { .fired = 0 };
	uint64_t now = f->fake->clock_ns;

	mm_timer_init(&a.timer, fire);
	mm_timer_init(&b.timer, fire);
	mm_timer_set(f->mm, &a.timer, now + 10 * MS);
	mm_timer_set(f->mm, &b.timer, now + 5 * MS);
	settle(f);
	assert_int_equal(a.fired + b.fired, 0);
	f->fake->clock_ns += 6 * MS;
	settle(f);
	assert_int_equal(b.fired, 1);
	assert_int_equal(a.fired, 0);
	f->fake->clock_ns += 6 * MS;
	settle(f);
	assert_int_equal(a.fired, 1);
	f->fake->clock_ns += 60 * MS;
	settle(f);
	assert_int_equal(a.fired + b.fired, 2);
}

static void a_timer_can_be_set_anew_and_taken_back(void **state)
{
	struct fixture *f = *state;
	struct test_timer a = { .fired = 0 };
	uint64_t now = f->fake->clock_ns;

	mm_timer_init(&a.timer, fire);
	mm_timer_cancel(f->mm, &a.timer); /* was not set */
	mm_timer_set(f->mm, &a.timer, now + 5 * MS);
	mm_timer_set(f->mm, &a.timer, now + 20 * MS);
	f->fake->clock_ns += 10 * MS;
	settle(f);
	assert_int_equal(a.fired, 0);
	mm_timer_cancel(f->mm, &a.timer);
	f->fake->clock_ns += 20 * MS;
	settle(f);
	assert_int_equal(a.fired, 0);
	mm_timer_set(f->mm, &a.timer, f->fake->clock_ns);
	settle(f);
	assert_int_equal(a.fired, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_fault_on_a_page_that_stays_waits_until_its_time_is_over),
		TEST(the_monitor_sleeps_meanwhile),
		TEST(each_fault_waits_for_its_own_owner),
		TEST(when_the_time_is_over_nobody_waits),
		TEST(one_fault_too_many_is_answered_at_once),
		TEST(what_goes_or_comes_home_meanwhile_is_not_waited_for),
		TEST(a_timer_fires_once_at_its_time),
		TEST(a_timer_can_be_set_anew_and_taken_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
