/* SPDX-License-Identifier: MIT */
/* policy_test.c - a GPU and the CPU that want the same pages, on the simulated clock. */
#include "api_fixture.h"

#define MS 1000000ull
#define STRICT "model:system_atomics=no,"

struct adder {
	uint64_t addr;
	uint64_t rounds;
};

static void add(struct usvm_lane *lane, const void *args)
{
	const struct adder *a = args;

	for (uint64_t i = 0; i < a->rounds; i++)
		usvm_atomic_add64(lane, a->addr, 1);
}

static struct usvm_fence *start_add(const struct opened *o, const struct adder *adder)
{
	const struct usvm_kernel kernel = { .function = add,
					    .args = adder,
					    .args_bytes = sizeof(*adder) };
	struct usvm_fence *fence;

	CHECK(!usvm_submit_kernel(o->queue, &kernel, &fence));
	return fence;
}

static int end_add(struct usvm_fence *fence)
{
	int err = usvm_fence_wait(fence, USVM_FOREVER);

	usvm_fence_put(fence);
	return err;
}

/* The CPU waits for the end of the slice, and everybody sleeps meanwhile. */
static void wait_for_a_slice(void *arg)
{
	struct opened o = open_all(STRICT "timeslice=50");
	struct adder adder = { filled_pages(1), 1 };
	uint64_t start = sim_clock_ns(sim), steps;

	(void)arg;
	CHECK(!end_add(start_add(&o, &adder)));
	steps = sim_step(sim);
	CHECK(load(adder.addr) == word_of(0) + 1);
	CHECK(sim_clock_ns(sim) - start >= 50 * MS);
	/* A step is 50 ns: who turns in circles for a slice needs a million. */
	CHECK(sim_step(sim) - steps < 2000);
	CHECK(usvm_stat(o.device, "mm_held_faults") == 1);
	close_all(&o);
}

static void a_cpu_fault_in_a_slice_sleeps(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++)
		run_seed(seed, wait_for_a_slice, NULL);
}

/* What a device with atomics in its own memory did while the CPU looked all the time. */
struct contest {
	int error;
	uint64_t faults;
};

static struct contest compete(const char *spec)
{
	struct opened o = open_all(spec);
	struct adder adder = { filled_pages(1), 300 };
	struct usvm_fence *fence = start_add(&o, &adder);
	struct contest contest = { 0 };

	while (usvm_fence_wait(fence, 0) == -ETIMEDOUT)
		CHECK(load(adder.addr) - word_of(0) <= adder.rounds);
	contest.error = end_add(fence);
	contest.faults = usvm_stat(o.device, "svm_pagefault_count");
	close_all(&o);
	return contest;
}

/* In how many schedules nothing was done without a slice, or hardly. */
static uint32_t starved;

static void compete_twice(void *arg)
{
	struct contest with = compete(STRICT "timeslice=5");
	struct contest without = compete(STRICT "timeslice=0");

	(void)arg;
	/* In a slice there is time for all of them. Without one the page is mostly away before
	 * the first is done, time and again, until the fault gives up. */
	CHECK(!with.error && with.faults <= 3);
	starved += without.error == -EACCES || without.faults > 10 * with.faults;
}

static void in_a_slice_atomics_get_done(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++)
		run_seed(seed, compete_twice, NULL);
	assert_in_range(starved, 12, 20);
}

static void count_and_reset(void *arg)
{
	struct opened o = open_all(NULL);
	struct adder adder = { filled_pages(1), 1 };
	uint64_t taken;

	(void)arg;
	CHECK(!end_add(start_add(&o, &adder)));
	CHECK(usvm_stat(o.device, "svm_pagefault_count") > 0);
	taken = usvm_stat(o.device, "mm_taken_pages");
	CHECK(taken > 0);
	CHECK(!usvm_stats_reset(o.device));
	CHECK(!usvm_stat(o.device, "svm_pagefault_count"));
	CHECK(!usvm_stat(o.device, "usvm_pages_to_device"));
	CHECK(usvm_stat(o.device, "mm_taken_pages") == taken);
	CHECK(load(adder.addr) == word_of(0) + 1);
	CHECK(!end_add(start_add(&o, &adder)));
	CHECK(usvm_stat(o.device, "svm_pagefault_count") > 0);
	close_all(&o);
}

static void counters_can_be_set_to_nothing(void **state)
{
	(void)state;
	run_seed(1, count_and_reset, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cpu_fault_in_a_slice_sleeps),
		cmocka_unit_test(counters_can_be_set_to_nothing),
		cmocka_unit_test(in_a_slice_atomics_get_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
