/* SPDX-License-Identifier: MIT */
/*
 * Events and faults that wait together: the notes below section A's table, hazard T3,
 * amendments A1, A2, A6, A8, A14.
 *
 * The monitor is held just before it reads. What is done meanwhile is done in the
 * address space already, and not yet known to usvm: other threads may act on it. Then
 * the monitor gets it all, faults first, events in their order.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "live/support/held.h"

#define BYTES (16 * LIVE_PAGE)
#define IN_A_FAULT (-1)

struct order {
	struct live live;
	struct held *held;
	unsigned char *at; /* on the device, from live_word(1, 0) on */
};

/* Content of seed 1 that the device has. */
static unsigned char *on_device(struct order *o)
{
	unsigned char *at = live_filled(&o->live, BYTES, 1);

	for (size_t i = 0; i < BYTES; i += LIVE_PAGE)
		held_add(o->held, at + i, 0);
	live_assert_state(&o->live, at, BYTES, LIVE_DEVICE);
	return at;
}

static int setup(void **state)
{
	const struct live_param *param = *state;
	struct order *o = calloc(1, sizeof(*o));

	assert_non_null(o);
	live_guard(param->spec, 20);
	o->held = held_open(&o->live, param);
	o->at = on_device(o);
	*state = o;
	return 0;
}

static int teardown(void **state)
{
	struct order *o = *state;

	held_close(o->held, &o->live);
	free(o);
	live_guard(NULL, 0);
	return 0;
}

/* One thing that a thread does. Its address space is changed when it sleeps. */
struct act {
	long (*run)(struct act *act);
	unsigned char *at, *to;
	long result;
};

static void *act_run(void *arg)
{
	struct act *act = arg;

	act->result = act->run(act);
	return NULL;
}

static long do_munmap(struct act *act)
{
	return munmap(act->at, BYTES);
}

static long do_discard(struct act *act)
{
	return madvise(act->at, BYTES, MADV_DONTNEED);
}

static long do_mremap(struct act *act)
{
	return mremap(act->at, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, act->to) == act->to ?
		       0 : -1;
}

static long do_map_over(struct act *act)
{
	return mmap(act->at, BYTES, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == act->at ? 0 : -1;
}

static long do_read(struct act *act)
{
	return live_is_filled(act->at, BYTES, 1, 0) ? 0 : -1;
}

static _Thread_local sigjmp_buf after_fault;

static void on_segv(int number)
{
	siglongjmp(after_fault, number);
}

static long do_read_until_signal(struct act *act)
{
	int number = sigsetjmp(after_fault, 1);

	if (!number)
		*(volatile unsigned char *)act->at;
	return number;
}

static struct live_thread *start(struct act *act, long blocked_in)
{
	struct live_thread *thread = live_thread_start(act_run, act);

	live_thread_wait_blocked(thread, blocked_in);
	return thread;
}

static void join(struct live_thread *thread, const struct act *act, long result)
{
	live_thread_join(thread);
	assert_int_equal(act->result, result);
}

static unsigned char *reserve(void)
{
	return mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* U-7, T3, A1, A2, A14: the address is mapped anew while munmap() waits. The engine's
 * access begins then as well; it may use neither the old frame nor lose the new page. */
static void a_new_mapping_is_not_touched_by_the_old_event(void **state)
{
	struct order *o = *state;
	struct act act = { do_munmap, o->at, NULL, 0 };
	struct live_thread *thread;
	uint64_t value;

	held_arm(&o->held->hold_monitor);
	thread = start(&act, SYS_munmap);
	held_wait(&o->held->hold_monitor);
	assert_ptr_equal(mmap(o->at, BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), o->at);
	live_fill(o->at, BYTES, 2, 0);
	held_start(o->held, USVM_SYSTEM_ADD, o->at, 1);
	held_release(&o->held->hold_monitor);
	join(thread, &act, 0);
	assert_int_equal(held_finish(o->held, &value), 0);
	assert_int_equal(value, live_word(2, 0));
	assert_int_equal(*(uint64_t *)(void *)o->at, live_word(2, 0) + 1);
	live_assert_filled(o->at + 8, BYTES - 8, 2, 8);
}

/* The same where mmap(MAP_FIXED) itself waits: the new mapping is in use before. */
static void a_mapping_is_used_before_its_event_is_read(void **state)
{
	struct order *o = *state;
	struct act act = { do_map_over, o->at, NULL, 0 };
	struct live_thread *thread;
	uint64_t value;

	held_arm(&o->held->hold_monitor);
	thread = start(&act, SYS_mmap);
	held_wait(&o->held->hold_monitor);
	live_fill(o->at, BYTES, 2, 0);
	held_start(o->held, USVM_SYSTEM_READ, o->at, 0);
	held_release(&o->held->hold_monitor);
	join(thread, &act, 0);
	assert_int_equal(held_finish(o->held, &value), 0);
	assert_int_equal(value, live_word(2, 0));
	live_assert_filled(o->at, BYTES, 2, 0);
}

/* U-3, law 6: the fault at the new address is read before the REMAP that explains it. */
static void a_fault_comes_before_its_remap(void **state)
{
	struct order *o = *state;
	struct act remap = { do_mremap, o->at, reserve(), 0 };
	struct act read = { do_read, remap.to, NULL, 0 };
	struct live_thread *threads[2];

	held_arm(&o->held->hold_monitor);
	threads[0] = start(&remap, SYS_mremap);
	held_wait(&o->held->hold_monitor);
	threads[1] = start(&read, IN_A_FAULT);
	held_release(&o->held->hold_monitor);
	join(threads[0], &remap, 0);
	join(threads[1], &read, 0);
	live_assert_state(&o->live, remap.at, BYTES, LIVE_UNMAPPED);
	live_assert_state(&o->live, remap.to, BYTES, LIVE_HOME);
	assert_true(live_stat(&o->live, "mm_stashed") > 0);
}

/* T4, A8: a fault is queued, and then its page is unmapped or moved away. */
static void a_fault_whose_page_is_gone_ends_in_a_signal(void **state)
{
	struct order *o = *state;
	struct sigaction action = { .sa_handler = on_segv }, old;
	struct act read[2] = { { do_read_until_signal, o->at, NULL, 0 },
			       { do_read_until_signal, on_device(o), NULL, 0 } };
	struct act unmap = { do_munmap, read[0].at, NULL, 0 };
	struct act remap = { do_mremap, read[1].at, reserve(), 0 };
	struct live_thread *threads[4];

	sigaction(SIGSEGV, &action, &old);
	held_arm(&o->held->hold_monitor);
	threads[0] = start(&read[0], IN_A_FAULT);
	held_wait(&o->held->hold_monitor);
	threads[1] = start(&read[1], IN_A_FAULT);
	threads[2] = start(&unmap, SYS_munmap);
	threads[3] = start(&remap, SYS_mremap);
	held_release(&o->held->hold_monitor);
	join(threads[0], &read[0], SIGSEGV);
	join(threads[1], &read[1], SIGSEGV);
	join(threads[2], &unmap, 0);
	join(threads[3], &remap, 0);
	sigaction(SIGSEGV, &old, NULL);
	live_assert_filled(remap.to, BYTES, 1, 0);
	assert_int_equal(live_stat(&o->live, "mm_device_pages"), 0);
}

/* A8: a fault on a hole is queued, and then a guard page stands there. */
static void a_fault_on_a_new_guard_page_ends_in_a_signal(void **state)
{
	struct order *o = *state;
	struct sigaction action = { .sa_handler = on_segv }, old;
	struct act read = { do_read_until_signal, o->at, NULL, 0 };
	struct live_thread *thread;

	assert_int_equal(madvise(o->at, LIVE_PAGE, MADV_DONTNEED), 0);
	live_assert_state(&o->live, o->at, LIVE_PAGE, LIVE_HOLE);
	sigaction(SIGSEGV, &action, &old);
	held_arm(&o->held->hold_monitor);
	thread = start(&read, IN_A_FAULT);
	held_wait(&o->held->hold_monitor);
	if (madvise(o->at, LIVE_PAGE, LIVE_MADV_GUARD_INSTALL))
		read.run = NULL; /* no guard pages here: it reads zero */
	held_release(&o->held->hold_monitor);
	join(thread, &read, read.run ? SIGSEGV : 0);
	sigaction(SIGSEGV, &old, NULL);
	live_assert_filled(o->at + LIVE_PAGE, BYTES - LIVE_PAGE, 1, LIVE_PAGE);
}

static int handler_runs;

static void on_signal(int number)
{
	(void)number;
	__atomic_add_fetch(&handler_runs, 1, __ATOMIC_RELAXED);
}

static int runs_so_far(void)
{
	return __atomic_load_n(&handler_runs, __ATOMIC_RELAXED);
}

static long do_munmap_and_count(struct act *act)
{
	__atomic_store_n(&act->to, (unsigned char *)pthread_self(), __ATOMIC_RELEASE);
	return munmap(act->at, BYTES) ? -1 : runs_so_far();
}

/* A: a call that waits for its event to be read is not interrupted: the handler runs when
 * the call is over, and the call has not failed for it. */
static void a_signal_waits_for_the_call(void **state)
{
	struct order *o = *state;
	struct sigaction action = { .sa_handler = on_signal }, old;
	struct act act = { do_munmap_and_count, o->at, NULL, 0 };
	struct live_thread *thread;
	pthread_t self;

	handler_runs = 0;
	sigaction(SIGUSR1, &action, &old);
	held_arm(&o->held->hold_monitor);
	thread = start(&act, SYS_munmap);
	held_wait(&o->held->hold_monitor);
	self = (pthread_t)__atomic_load_n(&act.to, __ATOMIC_ACQUIRE);
	assert_int_equal(pthread_kill(self, SIGUSR1), 0);
	for (int i = 0; i < 50; i++)
		live_thread_wait_blocked(thread, SYS_munmap);
	assert_int_equal(runs_so_far(), 0);
	held_release(&o->held->hold_monitor);
	join(thread, &act, 1);
	sigaction(SIGUSR1, &old, NULL);
	live_assert_state(&o->live, o->at, BYTES, LIVE_UNMAPPED);
	assert_int_equal(live_stat(&o->live, "mm_device_pages"), 0);
}

/* Every kind of event, and faults, in one queue (U-3: faults, then events in order). */
static void a_full_queue_is_worked_off_in_order(void **state)
{
	struct order *o = *state;
	unsigned char *areas[4] = { o->at, on_device(o), on_device(o), on_device(o) };
	unsigned char *other = on_device(o);
	struct act acts[] = {
		{ do_munmap, areas[0], NULL, 0 },
		{ do_mremap, areas[1], reserve(), 0 },
		{ do_discard, areas[2], NULL, 0 },
		{ do_map_over, areas[3], NULL, 0 },
		{ do_read, other, NULL, 0 },
		{ do_read, acts[1].to, NULL, 0 },
	};
	const long sleeps_in[] = { SYS_munmap, SYS_mremap, SYS_madvise, SYS_mmap, IN_A_FAULT,
				   IN_A_FAULT };
	struct live_thread *threads[6];

	held_arm(&o->held->hold_monitor);
	for (int i = 0; i < 6; i++) {
		threads[i] = start(&acts[i], sleeps_in[i]);
		held_wait(&o->held->hold_monitor);
	}
	held_release(&o->held->hold_monitor);
	for (int i = 0; i < 6; i++)
		join(threads[i], &acts[i], 0);
	live_assert_state(&o->live, areas[0], BYTES, LIVE_UNMAPPED);
	live_assert_state(&o->live, areas[1], BYTES, LIVE_UNMAPPED);
	live_assert_state(&o->live, acts[1].to, BYTES, LIVE_HOME);
	live_assert_state(&o->live, areas[2], BYTES, LIVE_HOLE);
	live_assert_state(&o->live, areas[3], BYTES, LIVE_HOLE);
	live_assert_zero(areas[2], BYTES);
	live_assert_zero(areas[3], BYTES);
	assert_int_equal(live_stat(&o->live, "mm_device_pages"), 0);
}

/* A page moves on twice before the monitor hears of it. */
static void two_remaps_wait_together(void **state)
{
	struct order *o = *state;
	unsigned char *other = on_device(o);
	struct act first = { do_mremap, o->at, reserve(), 0 };
	struct act second = { do_mremap, other, o->at, 0 };
	struct live_thread *threads[2];

	held_arm(&o->held->hold_monitor);
	threads[0] = start(&first, SYS_mremap);
	held_wait(&o->held->hold_monitor);
	/* To where the first came from: its UNMAP of the old place is still to come. */
	threads[1] = start(&second, SYS_mremap);
	held_release(&o->held->hold_monitor);
	join(threads[0], &first, 0);
	join(threads[1], &second, 0);
	live_assert_filled(first.to, BYTES, 1, 0);
	live_assert_filled(o->at, BYTES, 1, 0);
	live_assert_state(&o->live, other, BYTES, LIVE_UNMAPPED);
}

/* The engine's pages are wanted by the CPU while an event is in flight (A6: EAGAIN). */
static void an_engine_faults_while_events_wait(void **state)
{
	struct order *o = *state;
	unsigned char *other = live_filled(&o->live, BYTES, 3);
	struct act act = { do_discard, o->at, NULL, 0 };
	struct live_thread *thread;
	uint64_t value;

	held_arm(&o->held->hold_monitor);
	thread = start(&act, SYS_madvise);
	held_wait(&o->held->hold_monitor);
	held_start(o->held, USVM_SYSTEM_ADD, other, 1);
	held_release(&o->held->hold_monitor);
	join(thread, &act, 0);
	assert_int_equal(held_finish(o->held, &value), 0);
	assert_int_equal(value, live_word(3, 0));
	live_assert_zero(o->at, BYTES);
	assert_int_equal(*(uint64_t *)(void *)other, live_word(3, 0) + 1);
	live_assert_filled(other + 8, BYTES - 8, 3, 8);
}

static long do_fetch(struct act *act)
{
	struct order *o = (struct order *)(void *)act->to;

	return usvm_prefetch(o->held->vm, act->at, BYTES, USVM_PLACE_SYSTEM);
}

/* A14, the submit fence: an event waits, and nobody has stopped the engines yet, for the
 * monitor does not get its turn. A job that begins now must not use the old frame. */
static void a_new_job_waits_for_older_events(void **state)
{
	struct order *o = *state;
	struct act fetch = { do_fetch, on_device(o), (unsigned char *)o, 0 };
	struct act unmap = { do_munmap, o->at, NULL, 0 };
	struct live_thread *threads[2];
	uint64_t value;

	held_arm(&o->held->hold_home);
	threads[0] = live_thread_start(act_run, &fetch);
	held_wait(&o->held->hold_home);
	threads[1] = start(&unmap, SYS_munmap);
	assert_ptr_equal(mmap(o->at, BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), o->at);
	live_fill(o->at, BYTES, 2, 0);
	held_start(o->held, USVM_SYSTEM_ADD, o->at, 1);
	/* It sleeps before its first access: or it has made one, and the value tells. */
	held_wait_asleep(o->held);
	held_release(&o->held->hold_home);
	assert_int_equal(held_finish(o->held, &value), 0);
	assert_int_equal(value, live_word(2, 0));
	join(threads[0], &fetch, 0);
	join(threads[1], &unmap, 0);
	assert_int_equal(*(uint64_t *)(void *)o->at, live_word(2, 0) + 1);
	live_assert_filled(o->at + 8, BYTES - 8, 2, 8);
	live_assert_filled(fetch.at, BYTES, 1, 0);
}

/* A2: a mapping is replaced after a worker looked at it and registered it, before it
 * takes the pages: MOVE would take from the new, unregistered mapping, and the CPU would
 * read zeros there. */
static void a_mapping_is_replaced_before_its_pages_are_taken(void **state)
{
	struct order *o = *state;
	unsigned char *at = live_filled(&o->live, BYTES, 3);

	for (uint64_t round = 0; round < 40; round++) {
		struct act unmap = { do_munmap, at, NULL, 0 }, anew = { do_map_over, at, NULL, 0 };
		struct live_thread *thread;
		uint64_t value;

		/* The last round may have left the page mapped for the engine, in place. */
		assert_int_equal(do_map_over(&anew), 0);
		live_fill(at, BYTES, 3, 0);
		held_arm(&o->held->hold_worker);
		held_start(o->held, USVM_SYSTEM_ADD, at, 1);
		held_wait(&o->held->hold_worker);
		thread = start(&unmap, SYS_munmap);
		assert_ptr_equal(mmap(at, BYTES, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
				      0), at);
		live_fill(at, BYTES, 4 + round, 0);
		held_release(&o->held->hold_worker);
		join(thread, &unmap, 0);
		assert_int_equal(held_finish(o->held, &value), 0);
		assert_int_equal(value, live_word(4 + round, 0));
		assert_int_equal(*(uint64_t *)(void *)at, live_word(4 + round, 0) + 1);
		live_assert_filled(at + 8, BYTES - 8, 4 + round, 8);
	}
}

#define ORDER_TEST(f)                                                        \
	{ #f " [move]", f, setup, teardown, (void *)(uintptr_t)&live_move }, \
	{ #f " [copy]", f, setup, teardown, (void *)(uintptr_t)&live_copy }

int main(void)
{
	const struct CMUnitTest tests[] = {
		ORDER_TEST(a_new_mapping_is_not_touched_by_the_old_event),
		ORDER_TEST(a_mapping_is_used_before_its_event_is_read),
		ORDER_TEST(a_fault_comes_before_its_remap),
		ORDER_TEST(a_fault_whose_page_is_gone_ends_in_a_signal),
		ORDER_TEST(a_fault_on_a_new_guard_page_ends_in_a_signal),
		ORDER_TEST(a_signal_waits_for_the_call),
		ORDER_TEST(a_full_queue_is_worked_off_in_order),
		ORDER_TEST(two_remaps_wait_together),
		ORDER_TEST(an_engine_faults_while_events_wait),
		{ "a_new_job_waits_for_older_events [copy]", a_new_job_waits_for_older_events,
		  setup, teardown, (void *)(uintptr_t)&live_copy },
		ORDER_TEST(a_mapping_is_replaced_before_its_pages_are_taken),
	};

	return LIVE_RUN(tests);
}
