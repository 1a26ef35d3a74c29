/* SPDX-License-Identifier: MIT */
/* gpu_test.c - life cycle, queues, failures, device memory of the gpu's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/host_posix.h"
#include "gpu/fake_host.h"

static struct fake_host fake;

static uint32_t *vram_word(unsigned int page, unsigned int index)
{
	return (uint32_t *)(void *)(fake.vram + page * PAGE_BYTES) + index;
}

/* --- kernels ---------------- */

static void store_one(struct usvm_lane *lane, const void *data)
{
	usvm_store32(lane, *(const uint64_t *)data, 1);
}

/* Sets its first word, then waits for the second. */
static void meet(struct usvm_lane *lane, const void *data)
{
	const uint64_t *addr = data;

	usvm_store32(lane, addr[0], 1);
	while (!usvm_load32(lane, addr[1]))
		;
}

static void load_for_ever(struct usvm_lane *lane, const void *data)
{
	for (;;)
		usvm_load32(lane, *(const uint64_t *)data);
}

/* Never looks at memory. */
static void do_nothing(struct usvm_lane *lane, const void *data)
{
	(void)lane;
	(void)data;
}

static void job_store(struct fake_job *job, uint64_t addr)
{
	fake_job_kernel(&fake, job, store_one, 1, &addr, sizeof(addr));
}

static void job_meet(struct fake_job *job, uint64_t sets, uint64_t waits_for)
{
	uint64_t addr[2] = { sets, waits_for };

	fake_job_kernel(&fake, job, meet, 1, addr, sizeof(addr));
}

static void start(uint32_t engine_count)
{
	const struct fake_config config = { .engine_count = engine_count };

	fake_start(&fake, &config);
}

/* Until the job has made its first store. */
static void wait_for_word(unsigned int page)
{
	while (!ATOMIC_LOAD(vram_word(page, 0)))
		base_host->cpu_yield();
}

/* --- life cycle ---------------- */

static void idle_engines_sleep(void **state)
{
	(void)state;
	start(4);
	host_posix_wait_parked(4);
	fake_stop(&fake);
	assert_int_equal(host_posix_page_bytes(), 0);
}

static void configurations_are_checked(void **state)
{
	const struct gpu_config bad[] = {
		{ .vram_bytes = MIB(2), .engine_count = 0 },
		{ .vram_bytes = MIB(2), .engine_count = 17 },
		{ .vram_bytes = 0, .engine_count = 1 },
		{ .vram_bytes = MIB(3), .engine_count = 1 },
	};
	struct gpu *gpu;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(gpu_create(NULL, &bad[i], &gpu), -EINVAL);
	gpu_destroy(NULL);
	gpu_queue_destroy(NULL);
}

static void allocation_failures_unwind(void **state)
{
	const struct gpu_config config = { .vram_bytes = MIB(2), .engine_count = 1 };
	struct gpu *gpu = NULL;
	int err = -ENOMEM;

	(void)state;
	for (uint64_t nth = 1; err; nth++) {
		host_posix_fail_pages(nth);
		err = gpu_create(NULL, &config, &gpu);
		host_posix_fail_pages(0);
		assert_true(!err || err == -ENOMEM);
	}
	gpu_destroy(gpu);
	assert_int_equal(host_posix_page_bytes(), 0);
}

static void an_attach_that_fails_leaves_no_thread(void **state)
{
	(void)state;
	start(3);
	fake.ops->vm_destroy(fake.gpu, FAKE_VM);
	fake.ops->detach(fake.gpu);

	fake.threads_left = 2;
	assert_int_equal(fake.ops->attach(fake.gpu, &fake.host), -EAGAIN);
	assert_int_equal(fake.registered_count, 0);
	fake.threads_left = 3;
	fake.register_error = -ENOSPC;
	assert_int_equal(fake.ops->attach(fake.gpu, &fake.host), -ENOSPC);

	/* And may be tried again. */
	fake.threads_left = 3;
	fake.register_error = 0;
	assert_int_equal(fake.ops->attach(fake.gpu, &fake.host), 0);
	assert_int_equal(fake.ops->vm_create(fake.gpu, FAKE_VM), 0);
	fake_stop(&fake);
}

static void detach_ends_running_jobs(void **state)
{
	uint64_t addr = fake_addr(0);
	struct gpu_queue *queue;
	struct fake_job jobs[3];

	(void)state;
	start(1);
	queue = fake_queue(&fake);
	job_meet(&jobs[0], addr, fake_addr(1));
	job_store(&jobs[1], addr);
	job_store(&jobs[2], addr);
	for (int i = 0; i < 2; i++)
		assert_int_equal(gpu_queue_submit(queue, &jobs[i].job), 0);
	wait_for_word(0);
	fake.ops->detach(fake.gpu);
	assert_int_equal(fake_job_wait(&jobs[0]), -ECANCELED);
	assert_int_equal(fake_job_wait(&jobs[1]), -ECANCELED);
	assert_int_equal(gpu_queue_submit(queue, &jobs[2].job), -ECANCELED);
	gpu_queue_destroy(queue);
	assert_int_equal(fake.ops->attach(fake.gpu, &fake.host), 0);
	fake_stop(&fake);
}

/* --- queues ---------------- */

static void a_queue_needs_a_vm(void **state)
{
	struct gpu_queue *queue;

	(void)state;
	start(1);
	assert_int_equal(gpu_queue_create(fake.gpu, FAKE_VM + 1, &queue), -ENOENT);
	assert_int_equal(gpu_queue_create(fake.gpu, UINT32_MAX, &queue), -ENOENT);
	fake_stop(&fake);
}

static void queues_take_turns_and_keep_their_order(void **state)
{
	static struct fake_job gate, a[4], b[4];
	struct gpu_queue *queues[3];
	uint64_t addr = fake_addr(3);

	(void)state;
	start(1);
	for (int i = 0; i < 3; i++)
		queues[i] = fake_queue(&fake);
	job_meet(&gate, fake_addr(0), fake_addr(1));
	assert_int_equal(gpu_queue_submit(queues[2], &gate.job), 0);
	wait_for_word(0);
	for (int i = 0; i < 4; i++) {
		job_store(&a[i], addr);
		job_store(&b[i], addr);
		assert_int_equal(gpu_queue_submit(queues[0], &a[i].job), 0);
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(gpu_queue_submit(queues[1], &b[i].job), 0);
	ATOMIC_STORE(vram_word(1, 0), 1);
	assert_int_equal(fake_job_wait(&b[3]), 0);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(a[i].order, gate.order + 1 + 2 * i);
		assert_int_equal(b[i].order, gate.order + 2 + 2 * i);
	}
	for (int i = 0; i < 3; i++)
		gpu_queue_destroy(queues[i]);
	fake_stop(&fake);
}

static void engines_run_queues_side_by_side(void **state)
{
	struct gpu_queue *queues[2];
	struct fake_job jobs[2];

	(void)state;
	start(2);
	for (int i = 0; i < 2; i++)
		queues[i] = fake_queue(&fake);
	/* Each waits for the other; queue 0 is busy again at once. */
	for (int round = 0; round < 20; round++) {
		*vram_word(0, 0) = 0;
		*vram_word(1, 0) = 0;
		job_meet(&jobs[0], fake_addr(0), fake_addr(1));
		job_meet(&jobs[1], fake_addr(1), fake_addr(0));
		assert_int_equal(gpu_queue_submit(queues[round % 2], &jobs[0].job), 0);
		assert_int_equal(gpu_queue_submit(queues[1 - round % 2], &jobs[1].job),
				 0);
		assert_int_equal(fake_job_wait(&jobs[0]), 0);
		assert_int_equal(fake_job_wait(&jobs[1]), 0);
	}
	gpu_queue_destroy(queues[0]);
	gpu_queue_destroy(queues[1]);
	fake_stop(&fake);
}

/* Queues that are ready again by themselves find an engine each. */
static void queues_with_more_jobs_run_on_side_by_side(void **state)
{
	struct fake_job gates[2], meets[2];
	struct gpu_queue *queues[2];

	(void)state;
	start(2);
	for (int i = 0; i < 2; i++)
		queues[i] = fake_queue(&fake);
	for (unsigned int i = 0; i < 2; i++) {
		job_meet(&gates[i], fake_addr(2 + i), fake_addr(4 + i));
		job_meet(&meets[i], fake_addr(i), fake_addr(1 - i));
		assert_int_equal(gpu_queue_submit(queues[i], &gates[i].job), 0);
		assert_int_equal(gpu_queue_submit(queues[i], &meets[i].job), 0);
	}
	wait_for_word(2);
	wait_for_word(3);
	ATOMIC_STORE(vram_word(4, 0), 1);
	ATOMIC_STORE(vram_word(5, 0), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fake_job_wait(&meets[i]), 0);
		gpu_queue_destroy(queues[i]);
	}
	fake_stop(&fake);
}

static void the_user_fence_comes_last(void **state)
{
	struct gpu_queue *queue;
	struct fake_job job;

	(void)state;
	start(1);
	fake_place(&fake, 9, 1, FAKE_NOTHING, 0);
	queue = fake_queue(&fake);
	job_store(&job, fake_addr(0));
	job.job.user_fence_addr = fake_addr(1) + 8;
	job.job.user_fence_value = UINT64_C(0xdeadbeefdeadbeef);
	assert_int_equal(fake_run(queue, &job), 0);
	assert_int_equal(*vram_word(0, 0), 1);
	assert_int_equal(*vram_word(1, 2), 0xdeadbeef);
	assert_int_equal(*vram_word(1, 3), 0xdeadbeef);

	/* A fence that cannot be written fails the job. */
	job_store(&job, fake_addr(0));
	job.job.user_fence_addr = fake_addr(9);
	assert_int_equal(fake_run(queue, &job), -EFAULT);
	assert_int_equal(job.job.fault_addr, fake_addr(9));
	assert_int_equal(job.job.fault_access, USVM_ACCESS_WRITE);
	gpu_queue_destroy(queue);
	fake_stop(&fake);
}

/* --- failures ---------------- */

static void a_failed_job_bans_its_queue_and_no_other(void **state)
{
	struct gpu_queue *queue, *other;
	struct fake_job gate, jobs[4];

	(void)state;
	start(1);
	queue = fake_queue(&fake);
	other = fake_queue(&fake);
	job_meet(&gate, fake_addr(0), fake_addr(1));
	assert_int_equal(gpu_queue_submit(other, &gate.job), 0);
	wait_for_word(0);
	job_store(&jobs[0], fake_addr(2));
	job_store(&jobs[1], FAKE_NOWHERE + 12);
	job_store(&jobs[2], fake_addr(3));
	for (int i = 0; i < 3; i++)
		assert_int_equal(gpu_queue_submit(queue, &jobs[i].job), 0);
	assert_false(gpu_queue_is_banned(queue));
	ATOMIC_STORE(vram_word(1, 0), 1);

	assert_int_equal(fake_job_wait(&jobs[0]), 0);
	assert_int_equal(fake_job_wait(&jobs[1]), -EFAULT);
	assert_true(gpu_queue_is_banned(queue));
	assert_int_equal(jobs[1].job.fault_addr, FAKE_NOWHERE + 12);
	assert_int_equal(jobs[1].job.fault_access, USVM_ACCESS_WRITE);
	assert_int_equal(fake_job_wait(&jobs[2]), -ECANCELED);
	assert_int_equal(*vram_word(3, 0), 0);
	job_store(&jobs[3], fake_addr(3));
	assert_int_equal(gpu_queue_submit(queue, &jobs[3].job), -ECANCELED);

	assert_false(gpu_queue_is_banned(other));
	assert_int_equal(fake_run(other, &jobs[3]), 0);
	assert_int_equal(*vram_word(3, 0), 1);
	gpu_queue_destroy(queue);
	gpu_queue_destroy(other);
	fake_stop(&fake);
}

/* The jobs behind it in the queue end with it, and later ones are refused. */
static void a_host_that_goes_away_ends_jobs(void **state)
{
	struct gpu_queue *queue;
	struct fake_job jobs[2];

	(void)state;
	start(1);
	fake.fault_refused = -ENODEV;
	fake.begin_error = 0;
	for (int i = 0; i < 2; i++) {
		queue = fake_queue(&fake);
		for (int j = 0; j < 2; j++)
			job_store(&jobs[j], fake_addr(0));
		assert_int_equal(gpu_queue_submit(queue, &jobs[0].job), 0);
		assert_int_equal(fake_job_wait(&jobs[0]), -ENODEV);
		assert_int_equal(jobs[0].job.fault_addr, 0);
		assert_true(gpu_queue_is_banned(queue));
		assert_int_equal(gpu_queue_submit(queue, &jobs[1].job), -ENODEV);
		gpu_queue_destroy(queue);
		assert_int_equal(fake.fault_count, 1);
		fake.begin_error = -ENODEV; /* the second time: not even begun */
	}
	fake_stop(&fake);
}

static void wait_and_store(struct usvm_lane *lane, const void *args)
{
	const uint64_t *addrs = *(uint64_t *const *)args;

	while (!ATOMIC_LOAD(&addrs[0]))
		base_host->cpu_yield();
	usvm_store64(lane, addrs[1], 1);
}

static void jobs_that_wait_end_as_the_one_before_when_the_host_goes(void **state)
{
	uint64_t args[2] = { 0, fake_addr(0) };
	uint64_t *at = args;
	struct gpu_queue *queue;
	struct fake_job jobs[2];

	(void)state;
	start(1);
	fake.fault_refused = -ENODEV;
	queue = fake_queue(&fake);
	fake_job_kernel(&fake, &jobs[0], wait_and_store, 1, &at, sizeof(at));
	job_store(&jobs[1], fake_addr(0));
	for (int j = 0; j < 2; j++)
		assert_int_equal(gpu_queue_submit(queue, &jobs[j].job), 0);
	ATOMIC_STORE(&args[0], 1);
	for (int j = 0; j < 2; j++)
		assert_int_equal(fake_job_wait(&jobs[j]), -ENODEV);
	gpu_queue_destroy(queue);
	fake_stop(&fake);
}

static void destroy_ends_an_endless_kernel(void **state)
{
	static const enum fake_place places[] = { FAKE_VRAM, FAKE_RAM };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		uint64_t addr = fake_addr(5);
		struct gpu_queue *queue;
		struct fake_job jobs[2];

		start(1);
		fake_place(&fake, 5, 1, places[i], USVM_PTE_WRITE);
		queue = fake_queue(&fake);
		fake_job_kernel(&fake, &jobs[0], load_for_ever, 1, &addr, sizeof(addr));
		job_store(&jobs[1], fake_addr(6));
		for (int j = 0; j < 2; j++)
			assert_int_equal(gpu_queue_submit(queue, &jobs[j].job), 0);
		while (!ATOMIC_LOAD(&fake.fault_count))
			base_host->cpu_yield();
		gpu_queue_destroy(queue);
		assert_int_equal(fake_job_wait(&jobs[0]), -ECANCELED);
		assert_int_equal(fake_job_wait(&jobs[1]), -ECANCELED);
		assert_int_equal(*vram_word(6, 0), 0);

		/* The engine is good for others. */
		queue = fake_queue(&fake);
		job_store(&jobs[0], fake_addr(7));
		assert_int_equal(fake_run(queue, &jobs[0]), 0);
		gpu_queue_destroy(queue);
		fake_stop(&fake);
	}
}

static void destroy_ends_a_grid_that_touches_no_memory(void **state)
{
	struct gpu_queue *queue;
	struct fake_job job;
	uint64_t none = 0;

	(void)state;
	start(1);
	queue = fake_queue(&fake);
	fake_job_kernel(&fake, &job, do_nothing, UINT32_MAX, &none, sizeof(none));
	job.job.groups[2] = UINT32_MAX;
	assert_int_equal(gpu_queue_submit(queue, &job.job), 0);
	while (!ATOMIC_LOAD(&fake.begin_count))
		base_host->cpu_yield();
	gpu_queue_destroy(queue);
	assert_int_equal(fake_job_wait(&job), -ECANCELED);
	fake_stop(&fake);
}

/* --- who may call what ---------------- */

/* The lock checker aborts where a program's thread takes a lock of the monitor's, or the
 * monitor one that a program's thread takes. */
static void programs_and_the_monitor_share_no_lock(void **state)
{
	struct gpu_queue *queue;
	struct fake_job job;

	(void)state;
	start(1);
	host_posix_become(false, false);
	queue = fake_queue(&fake);
	job_store(&job, fake_addr(0));
	assert_int_equal(fake_run(queue, &job), 0);
	assert_false(gpu_queue_is_banned(queue));

	host_posix_become(true, true);
	fake_quiet_begin(&fake);
	assert_true(fake.ops->pt_clear(fake.gpu, FAKE_VM, fake_addr(0), PAGE_BYTES));
	fake.ops->tlb_flush(fake.gpu, FAKE_VM, fake_addr(0), PAGE_BYTES);
	fake.ops->pt_map(fake.gpu, FAKE_VM, fake_addr(0), PAGE_BYTES, PAGE_BYTES,
			 USVM_PTE_VRAM | USVM_PTE_WRITE);
	fake_quiet_end(&fake);

	host_posix_become(false, false);
	job_store(&job, fake_addr(0) + 4);
	assert_int_equal(fake_run(queue, &job), 0);
	assert_int_equal(*vram_word(1, 1), 1);
	gpu_queue_destroy(queue);
	host_posix_become(true, false);
	fake_stop(&fake);
}

/* --- device memory of its own ---------------- */

static void own_memory_is_reached_by_copy(void **state)
{
	const struct fake_config config = { .engine_count = 1, .own_memory = true };
	static unsigned char in[3 * PAGE_BYTES], out[3 * PAGE_BYTES];
	struct gpu_queue *queue;
	struct fake_job job;

	(void)state;
	fake_start(&fake, &config);
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (unsigned char)(i * 7);
	assert_int_equal(fake.ops->copy(fake.gpu, PAGE_BYTES, in, sizeof(in), true), 0);
	queue = fake_queue(&fake);
	job_store(&job, fake_addr(2) + 40);
	assert_int_equal(fake_run(queue, &job), 0);
	assert_int_equal(fake.ops->copy(fake.gpu, PAGE_BYTES, out, sizeof(out), false),
			 0);
	assert_int_equal(out[PAGE_BYTES + 40], 1);
	memset(in + PAGE_BYTES + 40, 0, 4);
	in[PAGE_BYTES + 40] = 1;
	assert_memory_equal(in, out, sizeof(in));
	gpu_queue_destroy(queue);
	fake_stop(&fake);
	assert_int_equal(host_posix_page_bytes(), 0);
}

static void statistics_count(void **state)
{
	struct gpu_queue *queue;
	struct gpu_stats stats;
	struct fake_job job;

	(void)state;
	start(2);
	fake_place(&fake, 1, 1, FAKE_RAM, USVM_PTE_WRITE);
	queue = fake_queue(&fake);
	for (unsigned int i = 0; i < 4; i++) {
		job_store(&job, fake_addr(i % 2));
		assert_int_equal(fake_run(queue, &job), 0);
	}
	fake_quiet_begin(&fake);
	fake_quiet_end(&fake);
	gpu_stats_read(fake.gpu, &stats);
	assert_int_equal(stats.jobs, 4);
	assert_int_equal(stats.faults, 2);
	assert_int_equal(stats.system_accesses, 2);
	assert_true(stats.tlb_refills == 1 ||
		    stats.tlb_refills == 2); /* engines have a TLB each */
	assert_int_equal(stats.stops, 1);
	gpu_queue_destroy(queue);
	fake_stop(&fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_engines_sleep),
		cmocka_unit_test(configurations_are_checked),
		cmocka_unit_test(allocation_failures_unwind),
		cmocka_unit_test(an_attach_that_fails_leaves_no_thread),
		cmocka_unit_test(detach_ends_running_jobs),
		cmocka_unit_test(a_queue_needs_a_vm),
		cmocka_unit_test(queues_take_turns_and_keep_their_order),
		cmocka_unit_test(engines_run_queues_side_by_side),
		cmocka_unit_test(queues_with_more_jobs_run_on_side_by_side),
		cmocka_unit_test(the_user_fence_comes_last),
		cmocka_unit_test(a_failed_job_bans_its_queue_and_no_other),
		cmocka_unit_test(a_host_that_goes_away_ends_jobs),
		cmocka_unit_test(jobs_that_wait_end_as_the_one_before_when_the_host_goes),
		cmocka_unit_test(destroy_ends_an_endless_kernel),
		cmocka_unit_test(destroy_ends_a_grid_that_touches_no_memory),
		cmocka_unit_test(programs_and_the_monitor_share_no_lock),
		cmocka_unit_test(own_memory_is_reached_by_copy),
		cmocka_unit_test(statistics_count),
	};

	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
