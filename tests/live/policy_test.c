/* SPDX-License-Identifier: MIT */
/*
 * Where pages go, and who gets them: advice, timeslices, thrash.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include "live/support/live.h"

#define STRICT "model:vram=64M,system_atomics=no"
#define SLICE_NS 50000000ull /* of timeslice=50 */

static void advise(struct live *live, void *at, size_t bytes, uint32_t which,
		   struct usvm_attributes attributes)
{
	assert_int_equal(usvm_advise(live->vm, at, bytes, which, &attributes), 0);
}

static void what_should_be_at_home_is_used_in_place(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), half = bytes / 2;
	unsigned char *at = live_filled(live, bytes, 1);

	advise(live, at, half, USVM_ATTRIBUTE_LOCATION,
	       (struct usvm_attributes){ .location = USVM_LOCATION_SYSTEM });
	gpu_assert_filled(live, at, bytes, 1, 0);
	live_assert_state(live, at, half, LIVE_HOME);
	live_assert_state(live, at + half, half, LIVE_DEVICE);
	/* As the rest. */
	advise(live, at, half, USVM_ATTRIBUTE_LOCATION, (struct usvm_attributes){ 0 });
	gpu_assert_filled(live, at, bytes, 1, 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	/* What is there stays, whatever is said now, until the CPU wants it or is asked. */
	advise(live, at, half, USVM_ATTRIBUTE_LOCATION,
	       (struct usvm_attributes){ .location = USVM_LOCATION_SYSTEM });
	gpu_assert_filled(live, at, bytes, 1, 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_ADVISED), 0);
	live_assert_state(live, at, half, LIVE_HOME);
	live_assert_state(live, at + half, half, LIVE_DEVICE);
	live_assert_filled(at, bytes, 1, 0);
	munmap(at, bytes);
}

static void an_atomic_where_only_the_cpu_has_them_ends_the_job(void **state)
{
	struct live *live = *state;
	uint64_t *at = (void *)live_filled(live, LIVE_PAGE, 1);
	struct usvm_fault fault;

	*at = 5;
	advise(live, at, LIVE_PAGE, USVM_ATTRIBUTE_ATOMIC,
	       (struct usvm_attributes){ .atomic = USVM_ATOMIC_CPU });
	assert_int_equal(gpu_try(live, USVM_ACCESS_ATOMIC, at, &fault), -EACCES);
	assert_int_equal(fault.addr, (uintptr_t)at);
	assert_int_equal(fault.access, USVM_ACCESS_ATOMIC);
	gpu_write64(live, at, 7);
	assert_int_equal(gpu_try(live, USVM_ACCESS_ATOMIC, at, &fault), -EACCES);
	advise(live, at, LIVE_PAGE, USVM_ATTRIBUTE_ATOMIC, (struct usvm_attributes){ 0 });
	assert_int_equal(gpu_add64(live, at, 1), 7);
	assert_int_equal(*at, 8);
	munmap(at, LIVE_PAGE);
}

static void advice_goes_with_what_is_unmapped(void **state)
{
	struct live *live = *state;
	struct usvm_vm_config config = { .flags = USVM_VM_AUTORESET };
	unsigned char *at = live_map(live, 16 * LIVE_PAGE);
	struct usvm_advised advised[4];
	struct usvm_vm *vm;
	size_t count;

	assert_int_equal(usvm_vm_create(live->gpu, &config, &vm), 0);
	assert_int_equal(usvm_advise(vm, at, 16 * LIVE_PAGE, USVM_ATTRIBUTE_PAT,
				     &(struct usvm_attributes){ .pat_index = 3 }), 0);
	/* No GPU has touched it. The answer is true as soon as munmap() has returned. */
	munmap(at + 4 * LIVE_PAGE, 3 * LIVE_PAGE);
	assert_int_equal(usvm_advise_query(vm, at, 16 * LIVE_PAGE, advised, 4, &count), 0);
	assert_int_equal(count, 3);
	assert_int_equal(advised[0].bytes, 4 * LIVE_PAGE);
	assert_int_equal(advised[1].bytes, 3 * LIVE_PAGE);
	assert_int_equal(advised[1].attributes.pat_index, 0);
	assert_int_equal(advised[2].attributes.pat_index, 3);
	munmap(at, 16 * LIVE_PAGE);
	assert_int_equal(usvm_advise_query(vm, at, 16 * LIVE_PAGE, advised, 4, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(usvm_vm_destroy(vm), 0);
}

/* --- timeslices ---------------- */

static uint64_t time_of(struct live *live, const char *name)
{
	struct usvm_trace_event events[256];
	uint64_t time_ns = 0;
	size_t count;

	/* It is written behind what it tells of. */
	while (!time_ns) {
		assert_int_equal(usvm_trace_read(live->gpu, events, 256, &count, NULL), 0);
		for (size_t i = 0; i < count; i++) {
			if (!strcmp(events[i].name, name))
				time_ns = events[i].time_ns;
		}
	}
	return time_ns;
}

/* The CPU has the page back when the slice is over, and not before. */
static void what_an_atomic_took_the_cpu_waits_for(void **state)
{
	struct live live = { 0 };
	uint64_t *at, taken_ns, answered_ns;

	(void)state;
	live_open(&live, &live_move, STRICT ",timeslice=50,trace=4096");
	at = (void *)live_filled(&live, LIVE_PAGE, 1);
	*at = 5;
	assert_int_equal(gpu_add64(&live, at, 1), 5);
	taken_ns = time_of(&live, "migrate_to_device");
	assert_int_equal(*(volatile uint64_t *)at, 6);
	answered_ns = time_of(&live, "cpu_fault");
	assert_true(answered_ns > taken_ns);
	if (live_stat(&live, "mm_held_faults"))
		assert_true(answered_ns - taken_ns >= SLICE_NS - 10000000);
	munmap(at, LIVE_PAGE);
	live_close(&live);
}

/* A thread looks all the time at what the GPU adds to. Both get on. */
struct looker {
	uint64_t *at;
	uint64_t until;
	uint64_t looks;
};

static void *look(void *arg)
{
	struct looker *l = arg;

	while (__atomic_load_n(l->at, __ATOMIC_SEQ_CST) < l->until)
		l->looks++;
	return NULL;
}

static void a_gpu_and_a_thread_that_looks_both_get_on(void **state)
{
	struct live live = { 0 };
	struct looker looker = { .until = 100000 };
	struct live_thread *thread;

	(void)state;
	live_open(&live, &live_move, STRICT);
	looker.at = (void *)live_map(&live, LIVE_PAGE);
	*looker.at = 0;
	thread = live_thread_start(look, &looker);
	gpu_finish(gpu_start_add(&live, live.queue, looker.at, 8, 1, looker.until));
	live_thread_join(thread);
	assert_int_equal(*looker.at, looker.until);
	munmap(looker.at, LIVE_PAGE);
	live_close(&live);
}

/* --- thrash ---------------- */

#define TURNS 300u

/* By turns: the GPU adds to one word, a thread to another. */
struct turns {
	uint64_t gpu_word;
	uint64_t *turn; /* in memory that never migrates; odd: the CPU's */
	uint64_t count;
};

static void wait_for_turn(uint64_t *turn, uint64_t wanted)
{
	while (__atomic_load_n(turn, __ATOMIC_SEQ_CST) != wanted)
		sched_yield();
}

static void take_turns(struct usvm_lane *lane, const void *args)
{
	const struct turns *t = args;

	for (uint64_t i = 0; i < t->count; i++) {
		wait_for_turn(t->turn, 2 * i);
		usvm_store64(lane, t->gpu_word, usvm_load64(lane, t->gpu_word) + 1);
		__atomic_store_n(t->turn, 2 * i + 1, __ATOMIC_SEQ_CST);
	}
}

struct shared {
	uint64_t pages;    /* went to the device */
	uint64_t took_us;
	uint64_t moves_us; /* of that, to the device */
};

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static struct shared share_a_block(const struct live_param *param, const char *spec,
				   size_t cpu_page, size_t gpu_page)
{
	struct shared shared = { 0 };
	struct live live = { 0 };
	struct turns turns = { .count = TURNS };
	struct usvm_kernel kernel = { .function = take_turns, .args = &turns,
				      .args_bytes = sizeof(turns) };
	struct usvm_fence *fence;
	unsigned char *block;
	uint64_t *cpu_word;

	live_open(&live, param, spec);
	block = live_filled(&live, LIVE_HUGE, 1);
	cpu_word = (void *)(block + cpu_page * LIVE_PAGE + 8);
	turns.gpu_word = (uintptr_t)block + gpu_page * LIVE_PAGE;
	turns.turn = mmap(NULL, LIVE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);
	assert_ptr_not_equal(turns.turn, MAP_FAILED);
	*cpu_word = 0;
	*(uint64_t *)(block + gpu_page * LIVE_PAGE) = 0;
	shared.took_us = now_us();
	assert_int_equal(usvm_submit_kernel(live.queue, &kernel, &fence), 0);
	for (uint64_t i = 0; i < TURNS; i++) {
		wait_for_turn(turns.turn, 2 * i + 1);
		++*(volatile uint64_t *)cpu_word;
		__atomic_store_n(turns.turn, 2 * i + 2, __ATOMIC_SEQ_CST);
	}
	gpu_finish(fence);
	shared.took_us = now_us() - shared.took_us;
	assert_int_equal(*cpu_word, TURNS);
	assert_int_equal(*(uint64_t *)(block + gpu_page * LIVE_PAGE), TURNS);
	shared.pages = live_counts(&live).to_device;
	shared.moves_us = usvm_stat(live.gpu, "svm_4K_migrate_us") +
			  usvm_stat(live.gpu, "svm_64K_migrate_us") +
			  usvm_stat(live.gpu, "svm_2M_migrate_us");
	munmap(turns.turn, LIVE_PAGE);
	munmap(block, LIVE_HUGE);
	live_close(&live);
	return shared;
}

/* Who loses little time to moves is left alone, as on a machine that is so busy that turns
 * are rare. */
static void expect_fewer(const struct live_param *param, size_t cpu_page, size_t gpu_page)
{
	const char *mode = param->copy ? "model:vram=64M,mode=copy" : "model:vram=64M";
	char spec[96];
	struct shared with = share_a_block(param, mode, cpu_page, gpu_page), without;

	snprintf(spec, sizeof(spec), "%s,thrash_control=no", mode);
	without = share_a_block(param, spec, cpu_page, gpu_page);
	assert_true(without.pages > TURNS / 2 * 512);
	assert_true(2 * with.pages < without.pages || 4 * with.moves_us < with.took_us);
}

static void two_that_share_a_block_move_less(void **state)
{
	const struct live *live = *state;

	expect_fewer(live->param, 1, 300);
}

static void two_that_share_a_page_move_less(void **state)
{
	const struct live *live = *state;

	expect_fewer(live->param, 5, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(what_should_be_at_home_is_used_in_place),
		LIVE_TEST_MODES(an_atomic_where_only_the_cpu_has_them_ends_the_job),
		LIVE_TEST_MOVE(advice_goes_with_what_is_unmapped),
		LIVE_TEST_ALL(two_that_share_a_block_move_less),
		LIVE_TEST_MODES(two_that_share_a_page_move_less),
		cmocka_unit_test(what_an_atomic_took_the_cpu_waits_for),
		cmocka_unit_test(a_gpu_and_a_thread_that_looks_both_get_on),
	};

	return LIVE_RUN(tests);
}
