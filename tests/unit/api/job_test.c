/* SPDX-License-Identifier: MIT */
/* job_test.c - jobs and their fences: what is refused, waited for and told. */
#include "api_fixture.h"

#define BATCH_END (0x0au << 23)

struct words {
	uint64_t addr;
	uint64_t value;
};

static void store_word(struct usvm_lane *lane, const void *args)
{
	const struct words *w = args;

	usvm_store64(lane, w->addr, w->value);
}

static void spin_until_set(struct usvm_lane *lane, const void *args)
{
	const struct words *w = args;

	while (usvm_load64(lane, w->addr) != w->value)
		;
}

static void count_groups(struct usvm_lane *lane, const void *args)
{
	const struct words *w = args;

	usvm_atomic_add64(lane, w->addr, 1);
}

static void refuse(void *arg)
{
	struct opened o = open_all(NULL);
	const struct words w = { .addr = map_pages(1), .value = 5 };
	const struct usvm_kernel good = { .function = store_word,
					  .args = &w,
					  .args_bytes = sizeof(w) };
	struct usvm_kernel bad[4] = { good, good, good, good };
	struct usvm_queue *queue;
	struct usvm_fence *fence = NULL;

	(void)arg;
	bad[0].function = NULL;
	bad[1].args = NULL;
	bad[2].args_bytes = 257;
	bad[3].user_fence = (void *)(uintptr_t)(w.addr + 4);
	CHECK(usvm_queue_create(o.vm, NULL, NULL) == -EINVAL);
	CHECK(usvm_queue_create(o.vm, &(struct usvm_queue_config){ .flags = 1 }, &queue) ==
	      -EINVAL);
	CHECK(usvm_queue_create(o.vm, &(struct usvm_queue_config){ .reserved = 1 }, &queue) ==
	      -EINVAL);
	CHECK(usvm_queue_status(o.queue, NULL) == -EINVAL);
	CHECK(usvm_submit_kernel(o.queue, NULL, &fence) == -EINVAL);
	CHECK(usvm_run_kernel(o.queue, NULL) == -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(usvm_submit_kernel(o.queue, &bad[i], &fence) == -EINVAL);
	CHECK(usvm_submit_batch(o.queue, NULL, &fence) == -EINVAL);
	CHECK(usvm_run_batch(o.queue, &(struct usvm_batch){ 0 }) == -EINVAL);
	CHECK(usvm_submit_batch(o.queue,
				&(struct usvm_batch){ .commands = pointer(w.addr + 2) },
				&fence) == -EINVAL);
	CHECK(!fence);
	CHECK(!load(w.addr)); /* none of them ran */
	CHECK(!usvm_queue_create(o.vm, &(struct usvm_queue_config){ 0 }, &queue));
	CHECK(!usvm_run_kernel(queue, &good));
	CHECK(load(w.addr) == 5);
	CHECK(!usvm_queue_destroy(queue));
	close_all(&o);
}

static void arguments_are_checked_before_anything_runs(void **state)
{
	(void)state;
	run_seed(1, refuse, NULL);
}

static void run_jobs(void *arg)
{
	struct opened o = open_all(NULL);
	const struct words w = { .addr = map_pages(2) };
	const struct usvm_kernel kernel = { .function = count_groups,
					    .groups = { 3, 0, 2 },
					    .args = &w,
					    .args_bytes = sizeof(w),
					    .user_fence = (void *)(uintptr_t)(w.addr + 16),
					    .user_fence_value = 77 };
	const uint32_t commands[2] = { BATCH_END };
	struct usvm_batch batch = { .commands = pointer(w.addr + 32),
				    .user_fence = (void *)(uintptr_t)(w.addr + 24),
				    .user_fence_value = 78 };

	(void)arg;
	CHECK(!sim_copy_out(sim, w.addr + 32, commands, sizeof(commands)));
	CHECK(!usvm_run_kernel(o.queue, &kernel));
	CHECK(load(w.addr) == 6 && load(w.addr + 16) == 77);
	CHECK(!usvm_run_batch(o.queue, &batch));
	CHECK(load(w.addr + 24) == 78);
	CHECK(!usvm_submit_kernel(o.queue, &kernel, NULL)); /* nobody wants its fence */
	CHECK(!usvm_run_batch(o.queue, &batch));
	CHECK(load(w.addr) == 12);
	close_all(&o);
}

static void jobs_of_a_queue_run_in_order_and_write_their_fences(void **state)
{
	(void)state;
	run_seed(1, run_jobs, NULL);
}

static void wait_for_a_while(void *arg)
{
	struct opened o = open_all(NULL);
	const struct words w = { .addr = map_pages(1), .value = 9 };
	const struct usvm_kernel kernel = { .function = spin_until_set,
					    .args = &w,
					    .args_bytes = sizeof(w) };
	struct usvm_fence *fence;
	uint64_t start;

	(void)arg;
	CHECK(!usvm_submit_kernel(o.queue, &kernel, &fence));
	CHECK(usvm_fence_wait(fence, 0) == -ETIMEDOUT);
	start = sim_clock_ns(sim);
	CHECK(usvm_fence_wait(fence, 20000) == -ETIMEDOUT);
	CHECK(sim_clock_ns(sim) - start >= 20000);
	CHECK(!sim_store(sim, w.addr, 9));
	CHECK(!usvm_fence_wait(fence, USVM_FOREVER));
	CHECK(!usvm_fence_wait(fence, 0)); /* it stays done */
	usvm_fence_put(fence);
	close_all(&o);
}

static void a_wait_ends_when_its_time_is_up(void **state)
{
	(void)state;
	run_seed(1, wait_for_a_while, NULL);
}

static void fail_one(void *arg)
{
	struct opened o = open_all(NULL);
	const struct words w = { .addr = SIM_START + MIB(512), .value = 1 };
	const struct usvm_kernel kernel = { .function = store_word,
					    .args = &w,
					    .args_bytes = sizeof(w) };
	const struct usvm_batch batch = { .commands = pointer(w.addr) };
	struct usvm_fault faults[4];
	struct usvm_queue_status status;
	struct usvm_fence *fence;
	size_t count;

	(void)arg;
	CHECK(!usvm_queue_status(o.queue, &status) && !status.banned && !status.error);
	CHECK(!usvm_faults(o.vm, faults, 4, &count) && !count);
	CHECK(usvm_run_kernel(o.queue, &kernel) == -EFAULT);
	CHECK(!usvm_queue_status(o.queue, &status));
	CHECK(status.banned && status.error == -EFAULT && status.fault.addr == w.addr);
	CHECK(status.fault.access == USVM_ACCESS_WRITE && status.fault.error == -EFAULT);
	CHECK(usvm_submit_kernel(o.queue, &kernel, &fence) == -ECANCELED);
	CHECK(usvm_run_kernel(o.queue, &kernel) == -ECANCELED);
	CHECK(usvm_run_batch(o.queue, &batch) == -ECANCELED);
	CHECK(!usvm_faults(o.vm, faults, 4, &count) && count == 1);
	CHECK(faults[0].addr == w.addr && faults[0].error == -EFAULT);
	CHECK(faults[0].access == USVM_ACCESS_WRITE);
	CHECK(faults[0].time_ns <= status.fault.time_ns);
	CHECK(!usvm_faults(o.vm, NULL, 0, &count) && count == 1);
	CHECK(usvm_faults(o.vm, NULL, 1, &count) == -EINVAL);
	CHECK(usvm_faults(o.vm, faults, 4, NULL) == -EINVAL);
	close_all(&o);
}

static void a_job_that_fails_bans_its_queue_and_is_told(void **state)
{
	(void)state;
	run_seed(1, fail_one, NULL);
}

static void submit_short(void *arg)
{
	struct opened o = open_all(NULL);
	const struct words w = { .addr = map_pages(1), .value = 3 };
	const struct usvm_kernel kernel = { .function = store_word,
					    .args = &w,
					    .args_bytes = sizeof(w) };
	struct usvm_fence *fences[512];
	size_t count = 0;
	int err;

	(void)arg;
	sim_inject(sim, "pages_alloc", 1, ENOMEM, true);
	do {
		CHECK(count < ARRAY_SIZE(fences));
		err = usvm_submit_kernel(o.queue, &kernel, &fences[count]);
		count += !err;
	} while (!err);
	CHECK(err == -ENOMEM);
	sim_inject(sim, "pages_alloc", 1, 0, false);
	for (size_t i = 0; i < count; i++) {
		CHECK(!usvm_fence_wait(fences[i], USVM_FOREVER));
		usvm_fence_put(fences[i]);
	}
	CHECK(!usvm_run_kernel(o.queue, &kernel));
	close_all(&o);
}

static void a_submit_that_lacks_memory_is_refused(void **state)
{
	(void)state;
	run_seed(1, submit_short, NULL);
}

static void destroy_under_way(void *arg)
{
	struct opened o = open_all("model:engines=1");
	const struct words w = { .addr = map_pages(1), .value = 9 };
	const struct usvm_kernel kernel = { .function = spin_until_set,
					    .args = &w,
					    .args_bytes = sizeof(w) };
	struct usvm_fence *fences[2];

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(fences); i++)
		CHECK(!usvm_submit_kernel(o.queue, &kernel, &fences[i]));
	CHECK(!usvm_queue_destroy(o.queue));
	o.queue = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(fences); i++) {
		CHECK(usvm_fence_wait(fences[i], USVM_FOREVER) == -ECANCELED);
		usvm_fence_put(fences[i]);
	}
	close_all(&o);
}

static void a_queue_ends_its_jobs_when_it_is_destroyed(void **state)
{
	(void)state;
	run_seed(1, destroy_under_way, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arguments_are_checked_before_anything_runs),
		cmocka_unit_test(jobs_of_a_queue_run_in_order_and_write_their_fences),
		cmocka_unit_test(a_wait_ends_when_its_time_is_up),
		cmocka_unit_test(a_job_that_fails_bans_its_queue_and_is_told),
		cmocka_unit_test(a_submit_that_lacks_memory_is_refused),
		cmocka_unit_test(a_queue_ends_its_jobs_when_it_is_destroyed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
