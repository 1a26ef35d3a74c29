/* SPDX-License-Identifier: MIT */
/*
 * A device goes away (usvm_device_unplug()) while it is in use: pages are on it, kernels
 * run in several vms, faults are out, threads of the program touch what it has. Every page
 * comes home with its contents, every job ends, and what the device does not give back is
 * SIGBUS and not zeros.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live/support/held.h"

#define VMS 3
#define MINUTE_NS 60000000000ull

/* Adds to a word of each page, round by round, for ever. */
struct adder {
	uint64_t at;
	uint64_t pages;
	uint64_t rounds; /* in memory that never migrates: how many it has begun */
};

static void add_for_ever(struct usvm_lane *lane, const void *args)
{
	const struct adder *adder = args;
	uint64_t *rounds = (uint64_t *)(uintptr_t)adder->rounds;

	for (;;) {
		__atomic_fetch_add(rounds, 1, __ATOMIC_SEQ_CST);
		for (uint64_t page = 0; page < adder->pages; page++)
			usvm_atomic_add64(lane, adder->at + page * LIVE_PAGE, 1);
	}
}

static void store_one(struct usvm_lane *lane, const void *args)
{
	usvm_store64(lane, *(const uint64_t *)args, 1);
}

static struct usvm_fence *start(struct usvm_queue *queue, usvm_kernel_fn function,
				const void *args, uint32_t bytes)
{
	const struct usvm_kernel kernel = { .function = function, .args = args,
					    .args_bytes = bytes };
	struct usvm_fence *fence = NULL;

	assert_int_equal(usvm_submit_kernel(queue, &kernel, &fence), 0);
	return fence;
}

static void wait_for_rounds(const uint64_t *rounds, uint64_t count)
{
	while (__atomic_load_n(rounds, __ATOMIC_SEQ_CST) < count)
		sched_yield();
}

static void expect_banned(struct usvm_queue *queue)
{
	struct usvm_queue_status status;

	assert_int_equal(usvm_queue_status(queue, &status), 0);
	assert_int_equal(status.banned, 1);
	assert_int_equal(status.error, -ENODEV);
	assert_int_equal(status.fault.addr, 0);
}

/* --- the model: jobs under way ---------------- */

/* A vm with a kernel that runs for ever and a job that waits behind it. */
struct running {
	struct usvm_vm *vm;
	struct usvm_queue *queue;
	struct usvm_fence *fence, *waiting;
	unsigned char *at;
	uint64_t *rounds;
};

static void run_for_ever(struct live *live, struct running *r, size_t bytes, uint64_t *rounds)
{
	struct adder args;
	uint64_t word;

	r->rounds = rounds;
	*rounds = 0;
	r->at = live_map(live, bytes);
	memset(r->at, 0, bytes);
	assert_int_equal(usvm_vm_create(live->gpu, NULL, &r->vm), 0);
	assert_int_equal(usvm_queue_create(r->vm, NULL, &r->queue), 0);
	args = (struct adder){ (uintptr_t)r->at, bytes / LIVE_PAGE, (uintptr_t)rounds };
	r->fence = start(r->queue, add_for_ever, &args, sizeof(args));
	word = (uintptr_t)r->at;
	r->waiting = start(r->queue, store_one, &word, sizeof(word));
}

static void expect_ended(struct running *r, size_t bytes)
{
	assert_int_equal(usvm_fence_wait(r->fence, MINUTE_NS), -ENODEV);
	assert_int_equal(usvm_fence_wait(r->waiting, MINUTE_NS), -ENODEV);
	usvm_fence_put(r->fence);
	usvm_fence_put(r->waiting);
	expect_banned(r->queue);
	/* It was in its last round: each page has all of them, or all but one. */
	for (size_t page = 0; page < bytes / LIVE_PAGE; page++) {
		uint64_t count = *(volatile uint64_t *)(void *)(r->at + page * LIVE_PAGE);

		assert_true(count == *r->rounds || count + 1 == *r->rounds);
	}
}

static void expect_refused(struct live *live, void *at, size_t bytes)
{
	const uint64_t word = (uintptr_t)at;
	struct live_counts before = live_counts(live);
	struct usvm_vm *vm = NULL;
	struct usvm_queue *queue = NULL;

	assert_int_equal(usvm_run_kernel(live->queue, &(struct usvm_kernel){
		.function = store_one, .args = &word, .args_bytes = sizeof(word) }), -ENODEV);
	assert_int_equal(usvm_vm_create(live->gpu, NULL, &vm), -ENODEV);
	assert_null(vm);
	assert_int_equal(usvm_queue_create(live->vm, NULL, &queue), -ENODEV);
	assert_null(queue);
	assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_DEVICE), -ENODEV);
	assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_SYSTEM), 0);
	live_assert_counts(live, before, 0, 0);
}

static void kernels_end_and_their_pages_are_home(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *still = live_on_device(live, bytes, 7);
	struct running running[VMS];
	struct live_counts before, after;

	for (int i = 0; i < VMS; i++)
		run_for_ever(live, &running[i], bytes, &live->result[i]);
	for (int i = 0; i < 2; i++) /* as many as there are engines */
		wait_for_rounds(&live->result[i], 3);
	before = live_counts(live);
	assert_true(live_stat(live, "mm_device_pages") >= 3 * bytes / LIVE_PAGE);

	assert_int_equal(usvm_device_unplug(live->gpu), 0);

	after = live_counts(live);
	assert_int_equal(live_stat(live, "mm_device_pages"), 0);
	assert_int_equal(live_stat(live, "mm_lost_pages"), 0);
	assert_true(after.home >= before.home + 3 * bytes / LIVE_PAGE);
	live_assert_state(live, still, bytes, LIVE_HOME);
	live_assert_filled(still, bytes, 7, 0);
	for (int i = 0; i < VMS; i++)
		expect_ended(&running[i], bytes);
	expect_refused(live, still, bytes);
	assert_int_equal(usvm_device_unplug(live->gpu), 0);
	for (int i = 0; i < VMS; i++) {
		assert_int_equal(usvm_queue_destroy(running[i].queue), 0);
		assert_int_equal(usvm_vm_destroy(running[i].vm), 0);
		munmap(running[i].at, bytes);
	}
	munmap(still, bytes);
}

/* --- threads that touch, and another device ---------------- */

struct toucher {
	pthread_t thread;
	unsigned char *at;
	size_t bytes;
	bool right;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	t->right = live_is_filled(t->at, t->bytes, 3, 0);
	return NULL;
}

static void threads_meet_their_pages_on_the_way_and_another_device_goes_on(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	struct usvm_device_info info;
	struct live other;

	live_open(&other, live->param, NULL);
	for (int i = 0; i < 4; i++) {
		unsigned char *theirs = live_on_device(&other, bytes, 5);
		unsigned char *ours;
		struct toucher threads[3];
		struct live again;

		live_open(&again, live->param, NULL);
		ours = live_on_device(&again, bytes, 3);
		for (int n = 0; n < 3; n++) {
			threads[n] = (struct toucher){ .at = ours, .bytes = bytes };
			assert_int_equal(pthread_create(&threads[n].thread, NULL, touch,
							&threads[n]), 0);
		}
		assert_int_equal(usvm_device_unplug(again.gpu), 0);
		for (int n = 0; n < 3; n++) {
			pthread_join(threads[n].thread, NULL);
			assert_true(threads[n].right);
		}
		live_assert_state(&other, theirs, bytes, LIVE_DEVICE);
		live_assert_filled(ours, bytes, 3, 0);
		assert_int_equal(usvm_device_info(again.gpu, &info), 0);
		assert_int_equal(info.migrates, 0);
		assert_string_equal(info.why_not, "the device was unplugged");

		/* What was on the one can go to the other, and the one can be opened anew. */
		live_take(&other, ours, bytes);
		live_assert_state(&other, ours, bytes, LIVE_DEVICE);
		live_assert_filled(ours, bytes, 3, 0);
		live_close(&again);
		live_assert_filled(theirs, bytes, 5, 0);
		munmap(ours, bytes);
		munmap(theirs, bytes);
	}
	live_close(&other);
}

/* --- a device of one's own: a fault is out, a copy is under way ---------------- */

static void *unplug(void *arg)
{
	struct held *held = arg;

	return (void *)(intptr_t)usvm_device_unplug(held->device.host->usvm);
}

/* A take is in the middle of its copy when the device goes: it ends, then all comes home. */
static void a_fault_that_is_served_ends_first(void **state)
{
	struct live *outer = *state, live;
	struct held *held = held_open(&live, outer->param);
	unsigned char *at = live_filled(&live, LIVE_PAGE * 4, 9);
	struct usvm_device_info info = { .migrates = 1 };
	pthread_t thread;
	void *result;
	int err;

	held_arm(&held->hold_copy);
	held_start(held, USVM_SYSTEM_ADD, at, 0);
	assert_true(held_wait_copy(held));
	assert_int_equal(pthread_create(&thread, NULL, unplug, held), 0);
	while (info.migrates)
		assert_int_equal(usvm_device_info(live.gpu, &info), 0);
	held_release(&held->hold_copy);
	pthread_join(thread, &result);
	assert_int_equal((intptr_t)result, 0);
	assert_int_equal(live_stat(&live, "mm_device_pages"), 0);
	err = held_finish(held, NULL);
	assert_true(err == 0 || err == -ENODEV);
	held_start(held, USVM_SYSTEM_READ, at, 0);
	assert_int_equal(held_finish(held, NULL), -ENODEV);
	live_assert_filled(at, LIVE_PAGE * 4, 9, 0);
	munmap(at, LIVE_PAGE * 4);
	held_close(held, &live);
}

static void an_engine_may_unplug_its_device(void **state)
{
	struct live *outer = *state, live;
	struct held *held = held_open(&live, outer->param);
	unsigned char *at = live_filled(&live, LIVE_PAGE * 4, 9);

	held_add(held, at, 0);
	assert_true(live_stat(&live, "mm_device_pages") > 0);
	held->unplugs = true;
	held_start(held, USVM_SYSTEM_ADD, at, 1);
	assert_int_equal(held_finish(held, NULL), -ENODEV);
	assert_int_equal(held->unplug_result, 0);
	assert_int_equal(live_stat(&live, "mm_device_pages"), 0);
	live_assert_filled(at, LIVE_PAGE * 4, 9, 0);
	munmap(at, LIVE_PAGE * 4);
	held_close(held, &live);
}

/* --- what the device does not give back ---------------- */

static sigjmp_buf over;

static void on_sigbus(int number)
{
	siglongjmp(over, number);
}

static bool is_lost(const unsigned char *at)
{
	if (sigsetjmp(over, 1))
		return true;
	(void)*(volatile const unsigned char *)at;
	return false;
}

/* A device with pages that it will not give back. */
static struct held *open_and_lose(struct live *live, const struct live_param *param,
				  unsigned char **at)
{
	struct held *held = held_open(live, param);

	*at = live_filled(live, LIVE_PAGE * 4, 9);
	for (int i = 0; i < 4; i++)
		held_add(held, *at + i * LIVE_PAGE, 0);
	assert_true(live_stat(live, "mm_device_pages") >= 4);
	held->home_error = -EIO;
	return held;
}

/* Where the kernel has no poison the process ends: never zeros. */
static void expect_death(const struct live_param *param)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		const struct rlimit none = { 0, 0 };
		unsigned char *at;
		struct live live;

		setrlimit(RLIMIT_CORE, &none);
		open_and_lose(&live, param, &at);
		_exit(usvm_device_unplug(live.gpu) != 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void expect_lost(unsigned char *at, size_t bytes)
{
	int fds[2], status;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	for (size_t i = 0; i < bytes; i += LIVE_PAGE) {
		assert_true(is_lost(at + i));
		assert_int_equal(write(fds[1], at + i, 1), -1);
		assert_int_equal(errno, EFAULT);
	}
	close(fds[0]);
	close(fds[1]);
	child = fork();
	if (child == 0)
		_exit(is_lost(at) ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* By a touch, a system call, a child and another device: SIGBUS or -EFAULT, never zeros. */
static void what_it_keeps_is_sigbus(void **state)
{
	const char *masked = getenv("USVM_FEATURES");
	struct live *outer = *state, live;
	struct sigaction bus = { .sa_handler = on_sigbus }, before;
	struct held *held;
	unsigned char *at;
	uint64_t word, pages;

	if (masked && strstr(masked, "-poison")) {
		expect_death(outer->param);
		return;
	}
	sigaction(SIGBUS, &bus, &before);
	held = open_and_lose(&live, outer->param, &at);
	pages = live_stat(&live, "mm_device_pages");
	assert_int_equal(usvm_device_unplug(live.gpu), 0);
	assert_int_equal(live_stat(&live, "mm_device_pages"), 0);
	assert_int_equal(live_stat(&live, "mm_lost_pages"), pages);
	expect_lost(at, LIVE_PAGE * 4);

	/* The model is another device: it takes none of them. */
	word = (uintptr_t)at;
	assert_int_equal(usvm_run_kernel(outer->queue, &(struct usvm_kernel){
		.function = store_one, .args = &word, .args_bytes = sizeof(word) }), -EFAULT);
	assert_true(is_lost(at));

	assert_ptr_equal(mmap(at, LIVE_PAGE * 4, PROT_READ | PROT_WRITE,
			      MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), at);
	live_fill(at, LIVE_PAGE * 4, 10, 0);
	live_assert_filled(at, LIVE_PAGE * 4, 10, 0);
	munmap(at, LIVE_PAGE * 4);
	held->home_error = 0;
	held_close(held, &live);
	sigaction(SIGBUS, &before, NULL);
}

struct asker {
	struct usvm *gpu;
	uint32_t stop; /* atomic */
};

static void *ask_for_ever(void *arg)
{
	struct asker *asker = arg;
	struct usvm_device_info info;
	intptr_t err = 0;

	while (!err && !__atomic_load_n(&asker->stop, __ATOMIC_RELAXED))
		err = usvm_device_info(asker->gpu, &info);
	return (void *)err;
}

/* What all devices share is not written: ThreadSanitizer says if it is. */
static void a_device_opens_and_goes_while_another_is_asked(void **state)
{
	struct live *live = *state;
	struct asker asker = { .gpu = live->gpu };
	struct live_thread *thread = live_thread_start(ask_for_ever, &asker);

	for (int i = 0; i < 8; i++) {
		struct usvm *other = NULL;

		assert_int_equal(usvm_open("model:vram=2M,engines=1", &other), 0);
		assert_int_equal(usvm_device_unplug(other), 0);
		assert_int_equal(usvm_close(other), 0);
	}
	__atomic_store_n(&asker.stop, 1, __ATOMIC_RELAXED);
	assert_ptr_equal(live_thread_join(thread), NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(kernels_end_and_their_pages_are_home),
		LIVE_TEST_ALL(threads_meet_their_pages_on_the_way_and_another_device_goes_on),
		LIVE_ENTRY(a_fault_that_is_served_ends_first, " [copy]", &live_copy),
		LIVE_TEST_MODES(an_engine_may_unplug_its_device),
		LIVE_ENTRY(a_device_opens_and_goes_while_another_is_asked, " [move]", &live_move),
		LIVE_ENTRY(what_it_keeps_is_sigbus, " [copy]", &live_copy),
	};

	return LIVE_RUN(tests);
}
