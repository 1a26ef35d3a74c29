/* SPDX-License-Identifier: MIT */
/* tlb_test.c - what engines do while their translations go away. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/host_posix.h"
#include "base/prng.h"
#include "base/seed.h"
#include "gpu/fake_host.h"
#include "gpu/gpu_internal.h"

/* Moves go on until the engines have met enough of them. */
enum { COUNTERS = 3, COUNTED_PAGES = 8, MOVES = 400, REFILLS = 200 };

static uint64_t seed;
static struct fake_host fake;

static uint32_t *vram_word(unsigned int page, unsigned int index)
{
	return (uint32_t *)(void *)(fake.vram + page * PAGE_BYTES) + index;
}

static uint32_t *ram_word(unsigned int page, unsigned int index)
{
	return (uint32_t *)(void *)(fake.ram + page * PAGE_BYTES) + index;
}

/* --- pages that move under running engines ---------------- */

struct count_args {
	uint32_t index;    /* each kernel has words of its own */
	uint64_t end_addr; /* until this word is not 0 */
	uint64_t sum_addr; /* where the number of rounds goes */
};

/* Adds 1 to its word in each page, not atomically: one lost or stale store shows. */
static void count_up(struct usvm_lane *lane, const void *data)
{
	const struct count_args *args = data;
	uint32_t rounds = 0;

	while (!usvm_load32(lane, args->end_addr)) {
		for (unsigned int i = 0; i < COUNTED_PAGES; i++) {
			uint64_t addr = fake_addr(i) + 4 * args->index;

			usvm_store32(lane, addr, usvm_load32(lane, addr) + 1);
		}
		rounds++;
	}
	usvm_store32(lane, args->sum_addr, rounds);
}

static void no_store_is_lost_or_late_while_pages_move(void **state)
{
	const struct fake_config config = { .engine_count = COUNTERS, .worker = true };
	const unsigned int end_page = COUNTED_PAGES, sum_page = COUNTED_PAGES + 1;
	struct gpu_queue *queues[COUNTERS];
	static struct fake_job jobs[COUNTERS];
	struct gpu_stats stats;
	struct prng prng;

	(void)state;
	prng_seed(&prng, seed);
	fake_start(&fake, &config);
	for (unsigned int i = 0; i < COUNTERS; i++) {
		struct count_args args = {
			.index = i,
			.end_addr = fake_addr(end_page),
			.sum_addr = fake_addr(sum_page) + 4 * i,
		};

		queues[i] = fake_queue(&fake);
		fake_job_kernel(&fake, &jobs[i], count_up, 1, &args, sizeof(args));
		assert_int_equal(gpu_queue_submit(queues[i], &jobs[i].job), 0);
	}
	for (int i = 0; i < MOVES || stats.tlb_refills < REFILLS; i++) {
		fake_move(&fake, (unsigned int)prng_below(&prng, COUNTED_PAGES),
			  prng_below(&prng, 2) ? FAKE_VRAM : FAKE_RAM);
		gpu_stats_read(fake.gpu, &stats);
	}
	ATOMIC_STORE(vram_word(end_page, 0), 1);
	for (unsigned int i = 0; i < COUNTERS; i++)
		assert_int_equal(fake_job_wait(&jobs[i]), 0);

	for (unsigned int i = 0; i < COUNTERS; i++) {
		for (unsigned int page = 0; page < COUNTED_PAGES; page++)
			assert_int_equal(fake.page[page].place == FAKE_VRAM ?
						 *vram_word(page, i) :
						 *ram_word(page, i),
					 *vram_word(sum_page, i));
		gpu_queue_destroy(queues[i]);
	}
	/* What was left behind is as it was left. */
	for (unsigned int page = 0; page < COUNTED_PAGES; page++) {
		bool in_vram = fake.page[page].place == FAKE_VRAM;
		const uint32_t *left = in_vram ? ram_word(page, 0) : vram_word(page, 0);

		for (unsigned int i = 0; i < COUNTERS; i++)
			assert_true(left[i] == 0xeeeeeeee || (in_vram && left[i] == 0));
	}
	fake_stop(&fake);
}

/* --- stop ---------------- */

static void store_one(struct usvm_lane *lane, const void *data)
{
	usvm_store32(lane, *(const uint64_t *)data, 1);
}

static void a_job_that_starts_while_stopped_waits(void **state)
{
	const struct fake_config config = { .engine_count = 1 };
	uint64_t addr = fake_addr(3);
	struct gpu_queue *queue;
	struct fake_job job;

	(void)state;
	fake_start(&fake, &config);
	queue = fake_queue(&fake);
	fake_map(&fake, 3, 1);
	assert_false(fake.ops->stop(fake.gpu)); /* no engine is active: no barrier */
	assert_false(fake.ops->stop(fake.gpu)); /* they nest */
	fake_job_kernel(&fake, &job, store_one, 1, &addr, sizeof(addr));
	assert_int_equal(gpu_queue_submit(queue, &job.job), 0);
	while (!ATOMIC_LOAD(&fake.section_wait_count))
		base_host->cpu_yield();
	fake.ops->resume(fake.gpu);
	assert_true(fake.ops->stop(fake.gpu)); /* it is active by now */
	fake.ops->wait_stopped(fake.gpu);
	fake_revoke(&fake, 3, 1);
	fake_place(&fake, 3, 1, FAKE_RAM, USVM_PTE_WRITE);
	fake.ops->resume(fake.gpu);
	assert_int_equal(ATOMIC_LOAD(&job.is_done), 0);
	fake.ops->resume(fake.gpu);
	assert_int_equal(fake_job_wait(&job), 0);
	assert_int_equal(*vram_word(3, 0), 0);
	assert_int_equal(*ram_word(3, 0), 1);
	gpu_queue_destroy(queue);
	fake_stop(&fake);
}

struct stopper {
	uint32_t started;  /* atomic */
	uint32_t returned; /* atomic */
};

static void *wait_until_stopped(void *arg)
{
	struct stopper *stopper = arg;

	host_posix_become(true, true);
	ATOMIC_STORE(&stopper->started, 1);
	fake.ops->wait_stopped(fake.gpu);
	ATOMIC_STORE(&stopper->returned, 1);
	return NULL;
}

static void a_section_is_waited_for(void **state)
{
	const struct fake_config config = { .engine_count = 2 };
	struct stopper stopper = { 0, 0 };
	struct usvm_section *section;
	pthread_t thread;

	(void)state;
	fake_start(&fake, &config);
	/* The test stands in for the second engine. */
	section = &fake.gpu->engines[1].lane.section;
	assert_true(usvm_section_try_enter(section, &fake.gpu->stop));
	fake.ops->stop(fake.gpu);
	assert_int_equal(pthread_create(&thread, NULL, wait_until_stopped, &stopper), 0);
	for (int i = 0; i < 300 || !ATOMIC_LOAD(&stopper.started); i++)
		base_host->cpu_yield();
	assert_int_equal(ATOMIC_LOAD(&stopper.returned), 0);
	usvm_section_leave(section);
	pthread_join(thread, NULL);
	assert_false(usvm_section_try_enter(section, &fake.gpu->stop));
	fake.ops->resume(fake.gpu);
	assert_true(usvm_section_try_enter(section, &fake.gpu->stop));
	usvm_section_leave(section);
	fake_stop(&fake);
}

static void an_engine_asleep_in_a_fault_is_not_active(void **state)
{
	const struct fake_config config = { .engine_count = 1, .worker = true };
	uint64_t addr = fake_addr(0);
	struct gpu_queue *queue;
	struct fake_job job;

	(void)state;
	fake_start(&fake, &config);
	queue = fake_queue(&fake);
	pthread_mutex_lock(&fake.page_mutex); /* no answer */
	fake_job_kernel(&fake, &job, store_one, 1, &addr, sizeof(addr));
	assert_int_equal(gpu_queue_submit(queue, &job.job), 0);
	while (!ATOMIC_LOAD(&fake.fault_count))
		base_host->cpu_yield();
	assert_false(fake.ops->stop(fake.gpu));
	pthread_mutex_unlock(&fake.page_mutex);
	while (!ATOMIC_LOAD(&fake.section_wait_count))
		base_host->cpu_yield();
	assert_true(fake.ops->stop(fake.gpu));
	fake.ops->resume(fake.gpu);
	assert_int_equal(*vram_word(0, 0), 0);
	fake.ops->resume(fake.gpu);
	assert_int_equal(fake_job_wait(&job), 0);
	assert_int_equal(*vram_word(0, 0), 1);
	gpu_queue_destroy(queue);
	fake_stop(&fake);
}

/* --- what a flush drops ---------------- */

static void load_pages(struct usvm_lane *lane, const void *data)
{
	unsigned int count = *(const uint32_t *)data;

	for (unsigned int i = 0; i < count; i++)
		usvm_load32(lane, fake_addr(i));
}

static uint64_t refills_of_run(struct gpu_queue *queue, uint32_t page_count)
{
	struct gpu_stats before, after;
	struct fake_job job;

	fake_job_kernel(&fake, &job, load_pages, 1, &page_count, sizeof(page_count));
	gpu_stats_read(fake.gpu, &before);
	assert_int_equal(fake_run(queue, &job), 0);
	gpu_stats_read(fake.gpu, &after);
	return after.tlb_refills - before.tlb_refills;
}

static void a_flush_drops_its_span_and_no_more(void **state)
{
	const struct fake_config config = { .engine_count = 1 };
	struct gpu_queue *queue;

	(void)state;
	fake_start(&fake, &config);
	queue = fake_queue(&fake);
	fake_map(&fake, 0, 64);
	assert_int_equal(refills_of_run(queue, 64), 64);
	assert_int_equal(refills_of_run(queue, 64), 0); /* the TLB outlives the job */

	fake_quiet_begin(&fake);
	fake.ops->tlb_flush(fake.gpu, FAKE_VM, fake_addr(5), 3 * PAGE_BYTES);
	/* The same slots, other pages. */
	fake.ops->tlb_flush(fake.gpu, FAKE_VM, fake_addr(20 + USVM_TLB_ENTRIES),
			    PAGE_BYTES);
	fake_quiet_end(&fake);
	assert_int_equal(refills_of_run(queue, 64), 3);

	fake_quiet_begin(&fake);
	fake.ops->tlb_flush(fake.gpu, FAKE_VM, 0, UINT64_C(1) << 47);
	fake_quiet_end(&fake);
	assert_int_equal(refills_of_run(queue, 64), 64);
	gpu_queue_destroy(queue);
	fake_stop(&fake);
}

static void a_new_vm_with_an_old_number_finds_no_old_entry(void **state)
{
	const struct fake_config config = { .engine_count = 1 };
	uint64_t addr = fake_addr(0);
	struct gpu_queue *queue, *old_queue;
	struct fake_job job;

	(void)state;
	fake_start(&fake, &config);
	old_queue = fake_queue(&fake);
	fake_job_kernel(&fake, &job, store_one, 1, &addr, sizeof(addr));
	assert_int_equal(fake_run(old_queue, &job), 0);
	*vram_word(0, 0) = 0;

	fake.ops->vm_destroy(fake.gpu, FAKE_VM);
	assert_int_equal(fake.ops->vm_create(fake.gpu, FAKE_VM), 0);
	fake_place(&fake, 0, 1, FAKE_RAM, USVM_PTE_WRITE);
	queue = fake_queue(&fake);
	fake_job_kernel(&fake, &job, store_one, 1, &addr, sizeof(addr));
	assert_int_equal(fake_run(queue, &job), 0);
	assert_int_equal(*vram_word(0, 0), 0);
	assert_int_equal(*ram_word(0, 0), 1);

	/* A queue of the old vm is no queue of the new one. */
	fake_job_kernel(&fake, &job, store_one, 1, &addr, sizeof(addr));
	assert_int_equal(fake_run(old_queue, &job), -ECANCELED);
	gpu_queue_destroy(old_queue);
	gpu_queue_destroy(queue);
	fake_stop(&fake);
}

static void more_rights_need_a_fault_and_no_flush(void **state)
{
	const struct fake_config config = { .engine_count = 1 };
	uint64_t addr = fake_addr(0);
	struct gpu_queue *queue;
	struct fake_job job;

	(void)state;
	fake_start(&fake, &config);
	queue = fake_queue(&fake);
	fake_place(&fake, 0, 1, FAKE_VRAM, 0);
	assert_int_equal(refills_of_run(queue, 1), 1);
	fake_place(&fake, 0, 1, FAKE_VRAM, USVM_PTE_WRITE);
	fake_job_kernel(&fake, &job, store_one, 1, &addr, sizeof(addr));
	assert_int_equal(fake_run(queue, &job), 0);
	assert_int_equal(fake.fault_count, 2);
	assert_int_equal(fake.last_fault.access, USVM_ACCESS_WRITE);
	assert_int_equal(*vram_word(0, 0), 1);
	gpu_queue_destroy(queue);
	fake_stop(&fake);
}

/* --- what is neither device memory nor the program's ---------------- */

static void map_span(struct span span, uint64_t target, uint32_t flags)
{
	assert_int_equal(fake.ops->pt_prepare(fake.gpu, FAKE_VM, span.start, span_bytes(span)),
			 0);
	fake.ops->pt_map(fake.gpu, FAKE_VM, span.start, span_bytes(span), target, flags);
}

struct beside_args {
	uint64_t addr;
	uint64_t result_addr;
};

/* A store, a load, an atomic and what is then there; all twice, past the TLB and out of it. */
static void use_twice(struct usvm_lane *lane, const void *data)
{
	const struct beside_args *args = data;
	uint64_t sum = 0;

	for (int i = 0; i < 2; i++) {
		usvm_store64(lane, args->addr, 40);
		sum += usvm_load64(lane, args->addr);
		sum += 1000 * usvm_lane_atomic(lane, USVM_SYSTEM_ADD, args->addr, 8, 2, 0);
		sum += 1000000 * usvm_load64(lane, args->addr);
	}
	usvm_store64(lane, args->result_addr, sum);
}

static uint64_t use(struct gpu_queue *queue, uint64_t addr)
{
	const struct beside_args args = { addr, fake_addr(0) };
	struct fake_job job;

	fake_job_kernel(&fake, &job, use_twice, 1, &args, sizeof(args));
	assert_int_equal(fake_run(queue, &job), 0);
	return *(uint64_t *)(void *)vram_word(0, 0);
}

static void host_memory_is_used_like_device_memory(void **state)
{
	const struct fake_config config = { .engine_count = 1 };
	const uint32_t all = USVM_PTE_HOST | USVM_PTE_WRITE | USVM_PTE_ATOMIC;
	unsigned char *memory = base_host->pages_alloc(MIB(4));
	uint64_t target = ALIGN_UP((uintptr_t)memory, HUGE_BYTES);
	struct gpu_queue *queue;

	(void)state;
	assert_non_null(memory);
	fake_start(&fake, &config);
	fake_map(&fake, 0, 1);
	queue = fake_queue(&fake);
	/* A leaf of 2 MiB, and pages. */
	map_span(span_make(FAKE_ADDR + MIB(4), HUGE_BYTES), target, all);
	map_span(span_make(FAKE_ADDR + MIB(2), KIB(8)), target + KIB(4), all);
	assert_int_equal(use(queue, FAKE_ADDR + MIB(4) + KIB(64)), 2 * 42040040);
	assert_int_equal(*(uint64_t *)(target + KIB(64)), 42);
	assert_int_equal(use(queue, FAKE_ADDR + MIB(2) + 8), 2 * 42040040);
	assert_int_equal(*(uint64_t *)(target + KIB(4) + 8), 42);
	assert_int_equal(fake.access_count, 0);

	/* Revoked, it faults: there is nothing in the TLB. */
	fake_quiet_begin(&fake);
	assert_true(fake.ops->pt_clear(fake.gpu, FAKE_VM, FAKE_ADDR + MIB(2), KIB(8)));
	fake.ops->tlb_flush(fake.gpu, FAKE_VM, FAKE_ADDR + MIB(2), KIB(8));
	fake_quiet_end(&fake);
	assert_int_equal(use(queue, FAKE_ADDR + MIB(2) + 8), 2 * 42040040);
	assert_int_equal(fake.fault_count, 1);
	gpu_queue_destroy(queue);
	fake_stop(&fake);
	base_host->pages_free(memory, MIB(4));
}

static void nothing_reads_as_zeros(void **state)
{
	const struct fake_config config = { .engine_count = 1 };
	struct gpu_queue *queue;

	(void)state;
	fake_start(&fake, &config);
	fake_map(&fake, 0, 1);
	queue = fake_queue(&fake);
	map_span(span_make(FAKE_ADDR + MIB(4), HUGE_BYTES), 0,
		 USVM_PTE_NULL | USVM_PTE_WRITE | USVM_PTE_ATOMIC);
	assert_int_equal(use(queue, FAKE_ADDR + MIB(4) + KIB(8)), 0);
	assert_int_equal(fake.access_count + fake.fault_count, 0);
	gpu_queue_destroy(queue);
	fake_stop(&fake);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_store_is_lost_or_late_while_pages_move),
		cmocka_unit_test(a_job_that_starts_while_stopped_waits),
		cmocka_unit_test(a_section_is_waited_for),
		cmocka_unit_test(an_engine_asleep_in_a_fault_is_not_active),
		cmocka_unit_test(a_flush_drops_its_span_and_no_more),
		cmocka_unit_test(a_new_vm_with_an_old_number_finds_no_old_entry),
		cmocka_unit_test(more_rights_need_a_fault_and_no_flush),
		cmocka_unit_test(host_memory_is_used_like_device_memory),
		cmocka_unit_test(nothing_reads_as_zeros),
	};

	seed = seed_from(argc, argv);
	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
