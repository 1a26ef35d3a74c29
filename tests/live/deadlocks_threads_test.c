/* SPDX-License-Identifier: MIT */
/*
 * Threads, their locks and stacks in memory on the device, and calls of usvm that meet:
 * section M, laws 2, 3, 14 to 16; hazards T4, T5.
 *
 * Like deadlocks_test.c, with locks of the program's own and with usvm's.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "live/support/storm.h"

#define MINUTE_NS 60000000000u

/* --- locks on the device ---------------- */

#define LOCK_THREADS 3
#define LOCK_TURNS 500

/* On one page; what it guards is on the others. */
struct guarded {
	pthread_mutex_t mutex;
	pthread_cond_t turned;
	uint64_t turn;
	size_t pages;
};

static uint64_t *counter(struct guarded *g, size_t page)
{
	return (uint64_t *)(void *)((unsigned char *)g + (page + 1) * LIVE_PAGE);
}

static struct guarded *guarded_on_device(struct live *live)
{
	size_t bytes = live_bytes(live);
	struct guarded *g = (void *)live_map(live, bytes);

	memset(g, 0, bytes);
	assert_int_equal(pthread_mutex_init(&g->mutex, NULL), 0);
	assert_int_equal(pthread_cond_init(&g->turned, NULL), 0);
	g->pages = 16;
	live_take(live, g, bytes);
	live_assert_state(live, g, bytes, LIVE_DEVICE);
	return g;
}

struct user {
	struct guarded *guarded;
	uint64_t number;
};

static void *count_locked(void *arg)
{
	struct guarded *g = ((struct user *)arg)->guarded;

	for (int turn = 0; turn < LOCK_TURNS; turn++) {
		THREAD_CHECK(pthread_mutex_lock(&g->mutex) == 0);
		for (size_t page = 0; page < g->pages; page++)
			++*(volatile uint64_t *)counter(g, page);
		THREAD_CHECK(pthread_mutex_unlock(&g->mutex) == 0);
	}
	return NULL;
}

static void *count_in_turn(void *arg)
{
	const struct user *user = arg;
	struct guarded *g = user->guarded;

	for (uint64_t turn = 0; turn < LOCK_TURNS / 2; turn++) {
		THREAD_CHECK(pthread_mutex_lock(&g->mutex) == 0);
		while (g->turn % LOCK_THREADS != user->number)
			THREAD_CHECK(pthread_cond_wait(&g->turned, &g->mutex) == 0);
		g->turn++;
		++*(volatile uint64_t *)counter(g, turn % g->pages);
		THREAD_CHECK(pthread_cond_broadcast(&g->turned) == 0);
		THREAD_CHECK(pthread_mutex_unlock(&g->mutex) == 0);
	}
	return NULL;
}

static uint64_t use_guarded(struct live *live, void *(*run)(void *))
{
	struct guarded *g = guarded_on_device(live);
	struct user users[LOCK_THREADS];
	uint64_t total = 0;
	struct storm *storm;

	for (uint64_t i = 0; i < LOCK_THREADS; i++)
		users[i] = (struct user){ g, i };
	storm = storm_start(live, g, live_bytes(live));
	storm_threads(run, users, sizeof(users[0]), LOCK_THREADS);
	storm_stop(storm);
	for (size_t page = 0; page < g->pages; page++)
		total += *counter(g, page);
	munmap(g, live_bytes(live));
	return total;
}

/* M: a lock that is held by a thread that waits for a page, on a page that moves. */
static void a_mutex_on_the_device_excludes(void **state)
{
	struct live *live = *state;

	storm_name(live, __func__);
	assert_int_equal(use_guarded(live, count_locked), LOCK_THREADS * LOCK_TURNS * 16);
}

static void a_condition_on_the_device_wakes(void **state)
{
	struct live *live = *state;

	storm_name(live, __func__);
	assert_int_equal(use_guarded(live, count_in_turn), LOCK_THREADS * LOCK_TURNS / 2);
}

/* --- threads that come and go ---------------- */

struct parent {
	unsigned char *at;
	size_t bytes;
	uint64_t children;
};

static void *look_and_end(void *arg)
{
	const struct parent *p = arg;
	unsigned char *own = malloc(LIVE_PAGE);

	THREAD_CHECK(own && live_is_filled(p->at, p->bytes, 1, 0));
	free(own);
	return NULL;
}

static void *make_threads(void *arg)
{
	struct parent *p = arg;

	for (int i = 0; i < 60; i++) {
		pthread_attr_t attr;
		pthread_t thread;

		THREAD_CHECK(pthread_attr_init(&attr) == 0);
		if (i % 2) /* too large to be kept by the C library: joined is unmapped */
			THREAD_CHECK(pthread_attr_setstacksize(&attr, 64 << 20) == 0);
		THREAD_CHECK(pthread_create(&thread, &attr, look_and_end, p) == 0);
		THREAD_CHECK(pthread_join(thread, NULL) == 0);
		pthread_attr_destroy(&attr);
		p->children++;
	}
	return NULL;
}

/* M, A: pthread_create and join, with the C library's records in a heap that moves. */
static void threads_come_and_go(void **state)
{
	struct live own = *(struct live *)*state, *live = &own; /* not in the heap */
	size_t bytes = live_bytes(live), heap_bytes = 256 << 10;
	unsigned char *at = live_on_device(live, bytes, 1);
	unsigned char *heap = malloc(heap_bytes), *inner;
	struct parent parents[2] = { { at, LIVE_PAGE, 0 }, { at, LIVE_PAGE, 0 } };
	struct storm *storm, *other;

	storm_name(live, __func__);
	live_fill(heap, heap_bytes, 2, 0);
	inner = (void *)(((uintptr_t)heap + 2 * LIVE_PAGE) & ~(LIVE_PAGE - 1));
	usvm_prefetch(live->vm, heap, heap_bytes, USVM_PLACE_DEVICE);
	live_assert_state(live, inner, 4 * LIVE_PAGE, LIVE_DEVICE);
	storm = storm_start(live, at, bytes);
	other = storm_start(live, heap, heap_bytes);
	storm_threads(make_threads, parents, sizeof(parents[0]), 2);
	assert_int_equal(parents[0].children + parents[1].children, 120);
	live_assert_filled(heap, heap_bytes, 2, 0);
	storm_stop(other);
	storm_stop(storm);
	live_assert_filled(at, bytes, 1, 0);
	free(heap);
	munmap(at, bytes);
}

/* Recurses over its stack. */
static uint64_t dig(uint64_t depth)
{
	volatile uint64_t here[64];

	for (size_t i = 0; i < 64; i++)
		here[i] = live_word(depth, i);
	if (depth && dig(depth - 1) != depth - 1)
		return UINT64_MAX;
	for (size_t i = 0; i < 64; i++) {
		if (here[i] != live_word(depth, i))
			return UINT64_MAX;
	}
	return depth;
}

static void *dig_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++)
		THREAD_CHECK(dig(100) == 100);
	return NULL;
}

/* Law 3: memory that was on the device becomes a stack, stays home, and may go again. */
static void a_thread_runs_on_a_stack_that_was_on_the_device(void **state)
{
	struct live *live = *state;
	size_t bytes = 2 * LIVE_HUGE;
	unsigned char *at = live_on_device(live, bytes, 1), *beside;
	pthread_attr_t attr;
	struct storm *storm;

	storm_name(live, __func__);
	beside = live_on_device(live, live_bytes(live), 2);
	storm = storm_start(live, beside, live_bytes(live));
	for (int i = 0; i < 5; i++) {
		pthread_t thread;

		live_take(live, at, bytes);
		live_assert_state(live, at, bytes, LIVE_DEVICE);
		pthread_attr_init(&attr);
		assert_int_equal(pthread_attr_setstack(&attr, at, bytes), 0);
		assert_int_equal(pthread_create(&thread, &attr, dig_often, NULL), 0);
		for (int n = 0; n < 20; n++) {
			assert_int_equal(
				usvm_prefetch(live->vm, at, bytes, USVM_PLACE_DEVICE), 0);
			assert_true(live_is_filled(beside, LIVE_PAGE, 2, 0));
		}
		assert_int_equal(pthread_join(thread, NULL), 0);
		pthread_attr_destroy(&attr);
		assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_DEVICE),
				 0);
	}
	storm_stop(storm);
	live_assert_filled(at, LIVE_PAGE, 1, 0);
	munmap(at, bytes);
	munmap(beside, live_bytes(live));
}

static void *read_for_ever(void *arg)
{
	const struct parent *p = arg;
	const volatile unsigned char *at = p->at;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;) {
		for (size_t i = 0; i < p->bytes; i += LIVE_PAGE)
			at[i];
	}
	return NULL;
}

/* A thread is cancelled wherever it is: most of its time it waits for a page. */
static void a_thread_is_cancelled_in_a_fault(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	struct parent parent = { live_on_device(live, bytes, 1), bytes, 0 };
	struct storm *storm;

	storm_name(live, __func__);
	storm = storm_start(live, parent.at, bytes);
	for (int i = 0; i < 40; i++) {
		struct live_counts before = live_counts(live);
		pthread_t thread;
		void *result;

		assert_int_equal(pthread_create(&thread, NULL, read_for_ever, &parent),
				 0);
		while (live_counts(live).home == before.home)
			sched_yield();
		assert_int_equal(pthread_cancel(thread), 0);
		assert_int_equal(pthread_join(thread, &result), 0);
		assert_ptr_equal(result, PTHREAD_CANCELED);
	}
	storm_stop(storm);
	live_assert_filled(parent.at, bytes, 1, 0);
	munmap(parent.at, bytes);
}

/* --- public calls on a stack that is on the device ----------------------------- */

static struct {
	struct live *live;
	ucontext_t caller, callee;
	unsigned char *stack;
	size_t bytes;
	uint64_t turns;
} fiber;

/* What a call is given and what it answers are on the stack, and so on the device. */
static void call_everything(void)
{
	struct live *live = fiber.live;
	struct usvm_page_info page;
	struct usvm_device_info device;
	struct usvm_queue_status status;
	struct usvm_fault faults[4];
	struct usvm_stat stats[8];
	struct usvm_queue *queue;
	struct usvm_vm *vm;
	uint64_t pages[4], word = 1;
	size_t count;

#define SEND_STACK() usvm_prefetch(live->vm, fiber.stack, fiber.bytes, USVM_PLACE_DEVICE)
	assert_int_equal(SEND_STACK(), 0);
	assert_int_equal(usvm_query(live->vm, &page, &page), 0);
	assert_int_equal(SEND_STACK(), 0);
	assert_int_equal(usvm_query_span(live->vm, &page, LIVE_PAGE, pages), 0);
	assert_int_equal(SEND_STACK(), 0);
	assert_int_equal(usvm_device_info(live->gpu, &device), 0);
	assert_int_equal(SEND_STACK(), 0);
	assert_int_equal(
		usvm_vm_create(live->gpu, &(struct usvm_vm_config){ .flags = 0 }, &vm),
		0);
	assert_int_equal(SEND_STACK(), 0);
	assert_int_equal(
		usvm_queue_create(vm, &(struct usvm_queue_config){ .flags = 0 }, &queue),
		0);
	assert_int_equal(SEND_STACK(), 0);
	assert_int_equal(usvm_queue_status(queue, &status), 0);
	assert_int_equal(SEND_STACK(), 0);
	gpu_add64(live, &word, 41);
	assert_int_equal(word, 42);
	assert_int_equal(SEND_STACK(), 0);
	assert_int_equal(usvm_faults(vm, faults, 4, &count), 0);
	assert_int_equal(SEND_STACK(), 0);
	assert_int_equal(usvm_stats(live->gpu, stats, 8, &count), 0);
	assert_int_equal(usvm_queue_destroy(queue), 0);
	assert_int_equal(SEND_STACK(), 0);
	assert_int_equal(usvm_vm_destroy(vm), 0);
#undef SEND_STACK
	fiber.turns++;
}

static void fiber_run(void)
{
	for (;;) {
		call_everything();
		swapcontext(&fiber.callee, &fiber.caller);
	}
}

static void usvm_is_called_from_a_stack_on_the_device(void **state)
{
	struct live *live = *state;
	size_t bytes = 2 * LIVE_HUGE;

	storm_name(live, __func__);
	fiber.live = live;
	fiber.turns = 0;
	fiber.bytes = bytes;
	fiber.stack = live_filled(live, bytes, 1);
	getcontext(&fiber.callee);
	fiber.callee.uc_stack = (stack_t){ .ss_sp = fiber.stack, .ss_size = bytes };
	makecontext(&fiber.callee, fiber_run, 0);
	for (uint64_t turn = 0; turn < 10; turn++) {
		assert_int_equal(
			usvm_prefetch(live->vm, fiber.stack, bytes, USVM_PLACE_DEVICE),
			0);
		live_assert_state(live, fiber.stack, bytes, LIVE_DEVICE);
		swapcontext(&fiber.caller, &fiber.callee);
		assert_int_equal(fiber.turns, turn + 1);
	}
	live_assert_filled(fiber.stack, LIVE_PAGE, 1, 0);
	munmap(fiber.stack, bytes);
}

/* --- calls that meet ---------------- */

#define CALLERS 4
#define CALLS 150

struct caller {
	struct live *live;
	unsigned char *at;
	size_t bytes;
	uint64_t *word; /* the GPU's count */
	uint64_t random, added;
};

static void add_one(struct usvm_lane *lane, const void *args)
{
	usvm_atomic_add64(lane, *(const uint64_t *)args, 1);
}

static void run_add(struct caller *c, struct usvm_queue *queue)
{
	uint64_t at = (uintptr_t)c->word;
	struct usvm_fence *fence;

	THREAD_CHECK(usvm_submit_kernel(queue,
					&(struct usvm_kernel){ .function = add_one,
							       .args = &at,
							       .args_bytes = sizeof(at) },
					&fence) == 0);
	THREAD_CHECK(usvm_fence_wait(fence, MINUTE_NS) == 0);
	usvm_fence_put(fence);
	c->added++;
}

static void run_on_new_queue(struct caller *c, struct usvm_vm *vm)
{
	struct usvm_queue *queue;

	THREAD_CHECK(usvm_queue_create(vm, NULL, &queue) == 0);
	run_add(c, queue);
	THREAD_CHECK(usvm_queue_destroy(queue) == 0);
}

static void run_on_new_vm(struct caller *c)
{
	struct usvm_vm *vm;

	THREAD_CHECK(usvm_vm_create(c->live->gpu, NULL, &vm) == 0);
	run_on_new_queue(c, vm);
	THREAD_CHECK(usvm_vm_destroy(vm) == 0);
}

static void look(struct caller *c)
{
	struct usvm_page_info page;
	uint64_t pages[4];
	size_t count;

	THREAD_CHECK(usvm_query(c->live->vm, c->at, &page) == 0);
	THREAD_CHECK(page.state != USVM_PAGE_UNMAPPED);
	THREAD_CHECK(usvm_query_span(c->live->vm, c->at, c->bytes, pages) == 0);
	THREAD_CHECK(pages[0] + pages[1] + pages[2] + pages[3] == c->bytes / LIVE_PAGE);
	THREAD_CHECK(usvm_stats(c->live->gpu, NULL, 0, &count) == 0);
	THREAD_CHECK(live_is_filled(c->at, LIVE_PAGE, 1, 0));
}

static void *call_at_random(void *arg)
{
	struct caller *c = arg;

	for (int i = 0; i < CALLS; i++) {
		switch (storm_random(&c->random) % 6) {
		case 0:
			run_add(c, c->live->queue);
			break;
		case 1:
			run_on_new_queue(c, c->live->vm);
			break;
		case 2:
			run_on_new_vm(c);
			break;
		case 3:
			THREAD_CHECK(usvm_prefetch(c->live->vm, c->at, c->bytes,
						   USVM_PLACE_DEVICE) == 0);
			break;
		case 4:
			THREAD_CHECK(usvm_prefetch(c->live->vm, c->at, c->bytes,
						   USVM_PLACE_SYSTEM) == 0);
			break;
		default:
			look(c);
			break;
		}
	}
	return NULL;
}

/* Every public function, from four threads, on one device, VM, queue and memory. */
static void calls_meet(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	struct caller callers[CALLERS];
	struct live_counts before = live_counts(live), after;

	storm_name(live, __func__);
	for (size_t i = 0; i < CALLERS; i++) {
		uint64_t *word = (uint64_t *)(void *)(at + (i + 1) * LIVE_PAGE);

		gpu_write64(live, word, 0);
		callers[i] = (struct caller){ live, at, bytes, word, i, 0 };
	}
	storm_threads(call_at_random, callers, sizeof(callers[0]), CALLERS);
	after = live_counts(live);
	assert_true(after.to_device > before.to_device);
	assert_true(after.home > before.home);
	for (size_t i = 0; i < CALLERS; i++) {
		assert_true(callers[i].added > 0);
		assert_int_equal(*callers[i].word, callers[i].added);
	}
	live_assert_filled(at, LIVE_PAGE, 1, 0);
	live_assert_filled(at + 8 * LIVE_PAGE, bytes - 8 * LIVE_PAGE, 1, 8 * LIVE_PAGE);
	munmap(at, bytes);
}

/* --- memory and queues that go away under a kernel ----------------------------- */

/* Until the GPU has added to a page, which the CPU's look brings home: so that it faults. */
static void wait_for_adds(unsigned char *at)
{
	uint64_t first = *(volatile uint64_t *)(void *)at;

	while (*(volatile uint64_t *)(void *)at < first + 3)
		sched_yield();
}

/* T4, law 14: munmap by the thread that has the page, of what a kernel faults on. */
static void memory_goes_away_under_a_kernel(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);

	storm_name(live, __func__);
	for (int i = 0; i < 20; i++) {
		unsigned char *at = live_on_device(live, bytes, 1);
		struct usvm_queue_status status;
		struct usvm_queue *queue;
		struct usvm_fence *fence;

		*(volatile uint64_t *)(void *)at = 0;
		assert_int_equal(usvm_queue_create(live->vm, NULL, &queue), 0);
		fence = gpu_start_add(live, queue, at, LIVE_PAGE, bytes / LIVE_PAGE,
				      UINT64_MAX);
		wait_for_adds(at);
		if (i % 2) /* half of it, while the CPU reads the other */
			assert_int_equal(munmap(at + bytes / 2, bytes / 2), 0);
		else
			assert_int_equal(munmap(at, bytes), 0);
		assert_int_equal(usvm_fence_wait(fence, MINUTE_NS), -EFAULT);
		usvm_fence_put(fence);
		assert_int_equal(usvm_queue_status(queue, &status), 0);
		assert_in_range(status.fault.addr, (uintptr_t)at,
				(uintptr_t)at + bytes - 1);
		assert_int_equal(usvm_queue_destroy(queue), 0);
		if (i % 2) {
			live_assert_filled(at + 8, LIVE_PAGE - 8, 1, 8);
			assert_int_equal(munmap(at, bytes / 2), 0);
		}
		live_assert_state(live, at, bytes, LIVE_UNMAPPED);
	}
}

static void *destroy(void *arg)
{
	THREAD_CHECK(usvm_queue_destroy(*(struct usvm_queue **)arg) == 0);
	return NULL;
}

/* Two queues end at once, while their kernels fault on what the CPU takes back. */
static void queues_are_destroyed_while_their_kernels_fault(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	struct live_counts before = live_counts(live), after;

	storm_name(live, __func__);
	*(volatile uint64_t *)(void *)at = 0;
	for (int i = 0; i < 20; i++) {
		struct usvm_queue *queues[2];
		struct usvm_fence *fences[2];

		for (int n = 0; n < 2; n++) {
			assert_int_equal(usvm_queue_create(live->vm, NULL, &queues[n]),
					 0);
			fences[n] = gpu_start_add(live, queues[n], at, LIVE_PAGE,
						  bytes / LIVE_PAGE, UINT64_MAX);
		}
		wait_for_adds(at);
		storm_threads(destroy, queues, sizeof(queues[0]), 2);
		for (int n = 0; n < 2; n++) {
			assert_int_equal(usvm_fence_wait(fences[n], MINUTE_NS),
					 -ECANCELED);
			usvm_fence_put(fences[n]);
		}
		live_assert_filled(at + 8, LIVE_PAGE - 8, 1, 8);
	}
	after = live_counts(live);
	assert_true(after.to_device > before.to_device);
	assert_true(after.home > before.home);
	munmap(at, bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(a_mutex_on_the_device_excludes),
		LIVE_TEST_ALL(a_condition_on_the_device_wakes),
		LIVE_TEST_ALL(threads_come_and_go),
		LIVE_TEST_ALL(a_thread_runs_on_a_stack_that_was_on_the_device),
		LIVE_TEST_ALL(a_thread_is_cancelled_in_a_fault),
		LIVE_TEST_ALL(usvm_is_called_from_a_stack_on_the_device),
		LIVE_TEST_ALL(calls_meet),
		LIVE_TEST_ALL(memory_goes_away_under_a_kernel),
		LIVE_TEST_ALL(queues_are_destroyed_while_their_kernels_fault),
	};

	return LIVE_RUN(tests);
}
