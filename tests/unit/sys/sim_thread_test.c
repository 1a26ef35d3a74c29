/* SPDX-License-Identifier: MIT */
/*
 * sim_thread_test.c - the simulator's threads: schedules, clock, deadlocks, ends.
 */
#include "sim_fixture.h"

#define COUNTERS 4
#define ROUNDS 50

static uint64_t heap;
static struct lock test_lock;
static char order[COUNTERS * ROUNDS + 1];
static size_t order_length;

static void count(void *arg)
{
	char self = (char)('a' + (intptr_t)arg);

	for (int i = 0; i < ROUNDS; i++) {
		sim_yield(sim, NULL);
		order[order_length++] = self;
	}
}

static void count_all(void *arg)
{
	struct sim_thread *threads[COUNTERS];

	(void)arg;
	memset(order, 0, sizeof(order));
	order_length = 0;
	for (intptr_t i = 0; i < COUNTERS; i++)
		threads[i] = sim_thread_start(sim, "count", count, (void *)i);
	for (int i = 0; i < COUNTERS; i++)
		sim_thread_join(sim, threads[i]);
}

static void a_seed_is_a_schedule_and_two_differ(void **state)
{
	char first[sizeof(order)];

	(void)state;
	run_seed(1, count_all, NULL);
	assert_int_equal(strlen(order), COUNTERS * ROUNDS);
	memcpy(first, order, sizeof(order));
	run_seed(1, count_all, NULL);
	assert_string_equal(first, order);
	run_seed(2, count_all, NULL);
	assert_string_not_equal(first, order);
}

static void a_schedule_replays_whatever_made_it(void **state)
{
	static struct sim_switch schedule[10000];

	(void)state;
	for (uint64_t seed = 1; seed < 9; seed++) {
		struct sim_config config = sim_config_default(seed);
		const struct sim_switch *made;
		char first[sizeof(order)];
		uint64_t steps;
		size_t n;

		config.policy = seed % 2 ? SIM_POLICY_RANDOM : SIM_POLICY_PRIORITY;
		assert_int_equal(run_config(&config, count_all, NULL), SIM_DONE);
		made = sim_schedule(sim, &n);
		assert_true(n > 0 && n < ARRAY_SIZE(schedule));
		memcpy(schedule, made, n * sizeof(*made));
		memcpy(first, order, sizeof(order));
		steps = sim_step(sim);
		sim_close(sim);

		config.seed = 77;
		config.schedule = schedule;
		config.schedule_count = n;
		assert_int_equal(run_config(&config, count_all, NULL), SIM_DONE);
		assert_int_equal(sim_step(sim), steps);
		assert_string_equal(first, order);
		sim_close(sim);
		/* Without its second half it is a schedule as well. */
		config.schedule_count = n / 2;
		assert_int_equal(run_config(&config, count_all, NULL), SIM_DONE);
		sim_close(sim);
	}
}

static void without_preemption_threads_run_one_after_the_other(void **state)
{
	struct sim_config config = sim_config_default(1);
	int changes = 0;

	(void)state;
	config.preempt_1_in = 0;
	assert_int_equal(run_config(&config, count_all, NULL), SIM_DONE);
	sim_close(sim);
	for (size_t i = 1; i < order_length; i++)
		changes += order[i] != order[i - 1];
	assert_int_equal(changes, COUNTERS - 1);
}

/* --- deadlocks, ends ------------------------------------------------------ */

static NO_LOCK_ANALYSIS void hold_for_ever(void *arg)
{
	uint32_t word = 0;

	(void)arg;
	lock_acquire(&test_lock);
	base_host->park(&word, 0, BASE_FOREVER);
}

static NO_LOCK_ANALYSIS void lock_behind_it(void *arg)
{
	(void)arg;
	lock_init(&test_lock, LOCK_LEAF, "test.lock");
	sim_thread_start(sim, "holder", hold_for_ever, NULL);
	base_host->cpu_yield();
	while (!test_lock.word)
		base_host->cpu_yield();
	lock_acquire(&test_lock);
}

static void a_deadlock_is_told_with_names(void **state)
{
	struct sim_config config = sim_config_default(3);

	(void)state;
	assert_int_equal(run_config(&config, lock_behind_it, NULL), SIM_DEADLOCK);
	assert_non_null(strstr(sim_report(sim), "deadlock"));
	assert_non_null(strstr(sim_report(sim), "main"));
	assert_non_null(strstr(sim_report(sim), "waits for test.lock"));
	assert_non_null(strstr(sim_report(sim), "holder"));
	assert_non_null(strstr(sim_report(sim), "waits for park"));
	sim_close(sim);
}

static void for_ever(void *arg)
{
	(void)arg;
	for (;;)
		sim_yield(sim, "again");
}

static void fail_in_a_hook(void *arg)
{
	(void)arg;
	if (sim_step(sim) == 100)
		sim_fail(sim, "step %d", 100);
}

static void set_hook(void *arg)
{
	sim_on_step(sim, fail_in_a_hook, NULL);
	for_ever(arg);
}

static void die(void *arg)
{
	(void)arg;
	base_host->die("an assert\n");
}

static void runs_end_in_every_way_and_leave_nothing(void **state)
{
	struct sim_config config = sim_config_default(4);
	struct sim *second;

	(void)state;
	assert_int_equal(run_config(&config, for_ever, NULL), SIM_STEPS_OVER);
	assert_int_equal(sim_step(sim), STEPS_MAX);
	assert_int_equal(sim_open(&config, &second), -EBUSY);
	sim_close(sim);
	assert_int_equal(run_config(&config, set_hook, NULL), SIM_FAILED);
	assert_non_null(strstr(sim_report(sim), "step 100"));
	assert_int_equal(sim_step(sim), 100);
	sim_close(sim);
	assert_int_equal(run_config(&config, die, NULL), SIM_FAILED);
	assert_non_null(strstr(sim_report(sim), "an assert"));
	sim_close(sim);
	config.frame_bytes = 63;
	assert_int_equal(sim_open(&config, &sim), -EINVAL);
	run_seed(1, count_all, NULL);
}

/* --- time ----------------------------------------------------------------- */

static void park_for_a_minute(void *arg)
{
	uint64_t before = sim_clock_ns(sim);
	uint32_t word = 5;

	(void)arg;
	CHECK(base_host->park(&word, 4, BASE_FOREVER) == 0);
	CHECK(base_host->park(&word, 5, 60000000000) == -ETIMEDOUT);
	CHECK(sim_clock_ns(sim) >= before + 60000000000);
	CHECK(sim_step(sim) < 100);
}

static void time_passes_when_nobody_can_run(void **state)
{
	(void)state;
	run_seed(5, park_for_a_minute, NULL);
}

static uint32_t event_word;

static void wait_for_word(void *arg)
{
	(void)arg;
	while (!event_word)
		CHECK(!base_host->park(&event_word, 0, BASE_FOREVER));
}

static void wake_two(void *arg)
{
	struct sim_thread *a, *b;

	(void)arg;
	event_word = 0;
	a = sim_thread_start(sim, "a", wait_for_word, NULL);
	b = sim_thread_start(sim, "b", wait_for_word, NULL);
	while (sim_thread_state(a) != SIM_THREAD_BLOCKED ||
	       sim_thread_state(b) != SIM_THREAD_BLOCKED)
		base_host->cpu_yield();
	event_word = 1;
	base_host->unpark(&event_word, 1);
	CHECK((sim_thread_state(a) == SIM_THREAD_BLOCKED) !=
	      (sim_thread_state(b) == SIM_THREAD_BLOCKED));
	base_host->unpark(&event_word, 1);
	sim_thread_join(sim, a);
	sim_thread_join(sim, b);
}

static void unpark_wakes_as_many_as_it_says(void **state)
{
	struct sim_config config = sim_config_default(6);

	(void)state;
	/* With preemptions one may run between the wake and the look. */
	config.preempt_1_in = 0;
	if (run_config(&config, wake_two, NULL) != SIM_DONE)
		fail_msg("%s", sim_report(sim));
	sim_close(sim);
}

/* --- the trace, ordered failures ------------------------------------------ */

static void trace_some(void *arg)
{
	static const char *const names[] = { "x" };
	uint64_t x = 7;

	(void)arg;
	heap = map_pages(4);
	sim_trace_note(sim, "note", 1, names, &x);
	CHECK(sim_munmap(sim, span_make(heap + 1, PAGE_BYTES)) == -EINVAL);
}

static void the_trace_tells_what_was_done(void **state)
{
	struct sim_config config = sim_config_default(7);
	char text[200];

	(void)state;
	assert_int_equal(run_config(&config, trace_some, NULL), SIM_DONE);
	assert_int_equal(sim_trace_count(sim), 3);
	sim_trace_format(sim_trace_get(sim, 0), text, sizeof(text));
	assert_string_equal(text, "mmap(at=0 bytes=0x4000 prot=3 flags=0) = 0 0x2ffffc000");
	sim_trace_format(sim_trace_get(sim, 1), text, sizeof(text));
	assert_string_equal(text, "note(x=7)");
	sim_trace_format(sim_trace_get(sim, 2), text, sizeof(text));
	assert_string_equal(text, "munmap(at=0x2ffffc001 bytes=0x1000) = -EINVAL");
	assert_null(sim_trace_get(sim, 3));
	sim_close(sim);
	config.trace_max = 2;
	assert_int_equal(run_config(&config, trace_some, NULL), SIM_DONE);
	assert_int_equal(sim_trace_count(sim), 2);
	assert_string_equal(sim_trace_get(sim, 0)->what, "note");
	sim_close(sim);
}

static void fail_calls(void *arg)
{
	struct sys_vma vma;
	void *pages;

	(void)arg;
	heap = map_pages(1);
	sim_inject(sim, "vma_query", 2, ENOMEM, false);
	CHECK(!sys->ops->vma_query(sys, heap, false, &vma));
	CHECK(sys->ops->vma_query(sys, heap, false, &vma) == -ENOMEM);
	CHECK(!sys->ops->vma_query(sys, heap, false, &vma));
	CHECK(sim_calls(sim, "vma_query") == 3);
	sim_inject(sim, NULL, 1, EIO, true);
	CHECK(sys->ops->vma_query(sys, heap, false, &vma) == -EIO);
	CHECK(!base_host->pages_alloc(PAGE_BYTES));
	sim_inject(sim, NULL, 1, 0, false);
	pages = base_host->pages_alloc(PAGE_BYTES);
	CHECK(pages);
	CHECK(sim_own_bytes(sim) == PAGE_BYTES);
	base_host->pages_free(pages, PAGE_BYTES);
	sim_inject(sim, "mmap", 1, ENOMEM, false);
	CHECK(sim_mmap(sim, 0, 1, 3, SYS_VMA_ANON_PRIVATE, 0, &heap) == -ENOMEM);
}

static void calls_fail_as_ordered(void **state)
{
	(void)state;
	run_seed(8, fail_calls, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_seed_is_a_schedule_and_two_differ),
		cmocka_unit_test(a_schedule_replays_whatever_made_it),
		cmocka_unit_test(without_preemption_threads_run_one_after_the_other),
		cmocka_unit_test(a_deadlock_is_told_with_names),
		cmocka_unit_test(runs_end_in_every_way_and_leave_nothing),
		cmocka_unit_test(time_passes_when_nobody_can_run),
		cmocka_unit_test(unpark_wakes_as_many_as_it_says),
		cmocka_unit_test(the_trace_tells_what_was_done),
		cmocka_unit_test(calls_fail_as_ordered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
