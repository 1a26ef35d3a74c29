/* SPDX-License-Identifier: MIT */
/*
 * What happens to a page while it is MOVING: amendment A16; section A for that state;
 * hazard T4. The device holds its copy still, so that all of it is sure to happen in
 * between; then it is released, or fails.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live/support/held.h"

#define BYTES (16 * LIVE_PAGE)
#define IN_A_FAULT (-1)

struct moving {
	struct live live;
	struct held *held;
	unsigned char *at; /* MOVING: the engine wants to add 1 to its first word */
	struct live_counts before;
};

static int setup(void **state)
{
	const struct live_param *param = *state;
	struct moving *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	live_guard(param->spec, 20);
	m->held = held_open(&m->live, param);
	m->at = live_filled(&m->live, BYTES, 1);
	m->before = live_counts(&m->live);
	held_arm(&m->held->hold_copy);
	held_start(m->held, USVM_SYSTEM_ADD, m->at, 1);
	assert_true(held_wait_copy(m->held));
	live_assert_state(&m->live, m->at, BYTES, LIVE_MOVING);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct moving *m = *state;

	held_close(m->held, &m->live);
	free(m);
	live_guard(NULL, 0);
	return 0;
}

/* The copy goes on and the engine ends. Return: its error. */
static int finish(struct moving *m)
{
	held_release(&m->held->hold_copy);
	return held_finish(m->held, NULL);
}

static void assert_added(struct moving *m, const unsigned char *at)
{
	assert_int_equal(*(const uint64_t *)(const void *)at, live_word(1, 0) + 1);
	live_assert_filled(at + 8, BYTES - 8, 1, 8);
	assert_int_equal(live_stat(&m->live, "mm_device_pages"), 0);
}

static void *read_word(void *at)
{
	return (void *)(uintptr_t)*(volatile uint64_t *)at;
}

static void it_becomes_device(void **state)
{
	struct moving *m = *state;

	assert_int_equal(finish(m), 0);
	live_assert_state(&m->live, m->at, BYTES, LIVE_DEVICE);
	live_assert_counts(&m->live, m->before, BYTES / LIVE_PAGE, 0);
	assert_added(m, m->at);
	live_assert_counts(&m->live, m->before, BYTES / LIVE_PAGE, BYTES / LIVE_PAGE);
}

/* A: several threads fault on one page: each sleeps until the copy is over. */
static void cpu_faults_wait_for_it(void **state)
{
	struct moving *m = *state;
	struct live_thread *threads[8];

	for (int i = 0; i < 8; i++)
		threads[i] = live_thread_start(read_word, m->at + 8 + i / 4 * LIVE_PAGE);
	for (int i = 0; i < 8; i++)
		live_thread_wait_blocked(threads[i], IN_A_FAULT);
	live_assert_state(&m->live, m->at, BYTES, LIVE_MOVING);
	assert_int_equal(finish(m), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal((uintptr_t)live_thread_join(threads[i]),
				 live_word(1, 1 + (uint64_t)(i / 4) * 512));
	assert_added(m, m->at);
}

static volatile sig_atomic_t handler_runs;

static void on_signal(int number)
{
	(void)number;
	handler_runs = 1;
}

struct known_thread {
	void *at;
	pthread_t self;
	uint32_t known; /* atomic */
};

static void *read_as_known(void *arg)
{
	struct known_thread *t = arg;

	t->self = pthread_self();
	__atomic_store_n(&t->known, 1, __ATOMIC_RELEASE);
	return read_word(t->at);
}

/* A: a fault that waits can be interrupted: a handler runs, and the fault comes again. */
static void a_signal_handler_runs_while_a_fault_waits(void **state)
{
	struct moving *m = *state;
	struct known_thread t = { .at = m->at + LIVE_PAGE };
	struct live_thread *thread = live_thread_start(read_as_known, &t);

	live_thread_wait_blocked(thread, IN_A_FAULT);
	assert_int_equal(__atomic_load_n(&t.known, __ATOMIC_ACQUIRE), 1);
	for (int i = 0; i < 5; i++) {
		handler_runs = 0;
		signal(SIGUSR1, on_signal);
		assert_int_equal(pthread_kill(t.self, SIGUSR1), 0);
		while (!handler_runs)
			live_thread_wait_blocked(thread, IN_A_FAULT);
		live_thread_wait_blocked(thread, IN_A_FAULT);
	}
	signal(SIGUSR1, SIG_DFL);
	assert_int_equal(finish(m), 0);
	assert_int_equal((uintptr_t)live_thread_join(thread), live_word(1, 512));
	assert_added(m, m->at);
}

static void *write_to_pipe(void *arg)
{
	struct moving *m = arg;
	int ends[2];
	uint64_t got[2] = { 0 };

	if (pipe(ends) || write(ends[1], m->at + 8, 16) != 16 ||
	    read(ends[0], got, 16) != 16)
		return NULL;
	close(ends[0]);
	close(ends[1]);
	return (void *)(uintptr_t)(got[0] == live_word(1, 1) && got[1] == live_word(1, 2));
}

/* U-30: so does a system call. */
static void a_system_call_waits_for_it(void **state)
{
	struct moving *m = *state;
	struct live_thread *thread = live_thread_start(write_to_pipe, m);

	live_thread_wait_blocked(thread, SYS_write);
	assert_int_equal(finish(m), 0);
	assert_ptr_equal(live_thread_join(thread), (void *)1);
	assert_added(m, m->at);
}

static void it_may_be_unmapped(void **state)
{
	struct moving *m = *state;

	assert_int_equal(munmap(m->at, BYTES), 0);
	live_assert_state(&m->live, m->at, BYTES, LIVE_UNMAPPED);
	assert_int_equal(finish(m), -EFAULT);
	assert_int_equal(live_stat(&m->live, "mm_device_pages"), 0);
}

static void it_may_be_unmapped_in_part(void **state)
{
	struct moving *m = *state;
	const size_t part = BYTES / 4;

	assert_int_equal(munmap(m->at + part, 2 * part), 0);
	live_assert_state(&m->live, m->at, part, LIVE_MOVING);
	live_assert_state(&m->live, m->at + 3 * part, part, LIVE_MOVING);
	assert_int_equal(finish(m), 0);
	live_assert_state(&m->live, m->at, part, LIVE_DEVICE);
	live_assert_state(&m->live, m->at + part, 2 * part, LIVE_UNMAPPED);
	live_assert_filled(m->at + 8, part - 8, 1, 8);
	live_assert_filled(m->at + 3 * part, part, 1, 3 * part);
}

static void it_may_be_mapped_over(void **state)
{
	struct moving *m = *state;

	assert_ptr_equal(mmap(m->at, BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), m->at);
	live_fill(m->at, BYTES, 2, 0);
	live_assert_state(&m->live, m->at, BYTES, LIVE_HOME);
	assert_int_equal(finish(m), 0);
	assert_int_equal(*(uint64_t *)(void *)m->at, live_word(2, 0) + 1);
	live_assert_filled(m->at + 8, BYTES - 8, 2, 8);
}

/* A8: who sleeps on a page that is discarded reads zero. */
static void it_may_be_discarded(void **state)
{
	struct moving *m = *state;
	const size_t part = BYTES / 4;
	struct live_thread *thread = live_thread_start(read_word, m->at + LIVE_PAGE);

	live_thread_wait_blocked(thread, IN_A_FAULT);
	assert_int_equal(madvise(m->at, part, MADV_DONTNEED), 0);
	assert_ptr_equal(live_thread_join(thread), NULL);
	live_assert_state(&m->live, m->at + part, 3 * part, LIVE_MOVING);
	live_assert_zero(m->at, part);
	assert_int_equal(finish(m), 0);
	assert_int_equal(*(uint64_t *)(void *)m->at, 1);
	live_assert_zero(m->at + 8, part - 8);
	live_assert_filled(m->at + part, 3 * part, 1, part);
}

static unsigned char *reserve(void)
{
	return mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void it_may_be_remapped(void **state)
{
	struct moving *m = *state;
	unsigned char *to = reserve();

	assert_ptr_equal(mremap(m->at, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	live_assert_state(&m->live, to, BYTES, LIVE_MOVING);
	live_assert_state(&m->live, m->at, BYTES, LIVE_UNMAPPED);
	assert_int_equal(finish(m), -EFAULT); /* at the old address */
	live_assert_state(&m->live, to, BYTES, LIVE_DEVICE);
	live_assert_filled(to, BYTES, 1, 0);
	assert_int_equal(held_add(m->held, to, 1), live_word(1, 0));
	assert_added(m, to);
}

/* A CPU fault waits at the new address, and the engine's pages arrive there. */
static void a_fault_waits_at_the_new_address(void **state)
{
	struct moving *m = *state;
	unsigned char *to = reserve();
	struct live_thread *thread;

	assert_ptr_equal(mremap(m->at, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	thread = live_thread_start(read_word, to + LIVE_PAGE);
	live_thread_wait_blocked(thread, IN_A_FAULT);
	assert_int_equal(finish(m), -EFAULT);
	assert_int_equal((uintptr_t)live_thread_join(thread), live_word(1, 512));
	live_assert_filled(to, BYTES, 1, 0);
}

/* A8: no UNMAP follows: who sleeps at the old address reads zero. */
static void it_may_be_left_behind_by_dontunmap(void **state)
{
	struct moving *m = *state;
	struct live_thread *thread = live_thread_start(read_word, m->at + LIVE_PAGE);
	unsigned char *to;

	live_thread_wait_blocked(thread, IN_A_FAULT);
	to = mremap(m->at, BYTES, BYTES, MREMAP_MAYMOVE | LIVE_MREMAP_DONTUNMAP, NULL);
	assert_ptr_not_equal(to, MAP_FAILED);
	live_assert_state(&m->live, to, BYTES, LIVE_MOVING);
	assert_ptr_equal(live_thread_join(thread), NULL);
	live_assert_zero(m->at, BYTES);
	assert_int_equal(finish(m), 0);
	assert_int_equal(*(uint64_t *)(void *)m->at, 1);
	live_assert_filled(to, BYTES, 1, 0);
}

static _Thread_local sigjmp_buf after_fault;

static void on_segv(int number)
{
	siglongjmp(after_fault, number);
}

/* Return: the signal that the read ended in. */
static void *read_until_signal(void *at)
{
	int number = sigsetjmp(after_fault, 1);

	if (!number)
		read_word(at);
	return (void *)(uintptr_t)number;
}

/* T4, A8: who sleeps in a fault on a page that is unmapped is not forgotten. */
static void who_waits_for_an_unmapped_page_gets_a_signal(void **state)
{
	struct moving *m = *state;
	struct sigaction action = { .sa_handler = on_segv }, old;
	struct live_thread *threads[2];
	unsigned char *to = reserve();

	sigaction(SIGSEGV, &action, &old);
	threads[0] = live_thread_start(read_until_signal, m->at);
	threads[1] = live_thread_start(read_until_signal, m->at + 8 * LIVE_PAGE);
	live_thread_wait_blocked(threads[0], IN_A_FAULT);
	live_thread_wait_blocked(threads[1], IN_A_FAULT);
	assert_int_equal(munmap(m->at, LIVE_PAGE), 0);
	assert_int_equal((uintptr_t)live_thread_join(threads[0]), SIGSEGV);
	assert_ptr_equal(mremap(m->at + LIVE_PAGE, BYTES - LIVE_PAGE, BYTES - LIVE_PAGE,
				MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	assert_int_equal((uintptr_t)live_thread_join(threads[1]), SIGSEGV);
	sigaction(SIGSEGV, &old, NULL);
	assert_int_equal(finish(m), -EFAULT);
	live_assert_filled(to, BYTES - LIVE_PAGE, 1, LIVE_PAGE);
}

static void child_reads(void *arg)
{
	struct moving *m = arg;

	CHILD_CHECK(live_is_filled(m->at + 8, BYTES - 8, 1, 8));
}

static void *fork_and_read(void *arg)
{
	live_child(live_fork, child_reads, arg);
	return NULL;
}

/* fork() waits until a take that is under way has ended. */
static void a_fork_waits_for_it(void **state)
{
	struct moving *m = *state;
	struct live_thread *thread = live_thread_start(fork_and_read, m);

	live_thread_wait_blocked(thread, SYS_futex);
	live_assert_state(&m->live, m->at, BYTES, LIVE_MOVING);
	assert_int_equal(finish(m), 0);
	live_thread_join(thread);
	assert_added(m, m->at);
}

/* A raw clone does not: what the take left on its way is what the child gets. */
static void a_clone_reads_what_is_on_its_way(void **state)
{
	struct moving *m = *state;
	struct usvm_device_info info;

	assert_int_equal(usvm_device_info(m->live.gpu, &info), 0);
	if (info.fork_events)
		live_child(live_clone, child_reads, m);
	live_assert_state(&m->live, m->at, BYTES, LIVE_MOVING);
	assert_int_equal(finish(m), 0);
	assert_added(m, m->at);
}

/* The device fails: the pages go home as they were, to who waits for them. */
static void a_failed_copy_goes_home(void **state)
{
	struct moving *m = *state;
	struct live_thread *thread = live_thread_start(read_word, m->at + LIVE_PAGE);

	live_thread_wait_blocked(thread, IN_A_FAULT);
	m->held->copy_error = -EIO;
	assert_int_equal(finish(m), 0); /* in place */
	assert_int_equal((uintptr_t)live_thread_join(thread), live_word(1, 512));
	live_assert_state(&m->live, m->at, BYTES, LIVE_HOME);
	assert_added(m, m->at);
}

/* And to where they are by then. */
static void a_failed_copy_goes_home_to_the_new_address(void **state)
{
	struct moving *m = *state;
	unsigned char *to = reserve();

	assert_ptr_equal(mremap(m->at, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	assert_int_equal(munmap(to + BYTES / 2, LIVE_PAGE), 0);
	m->held->copy_error = -EIO;
	assert_int_equal(finish(m), -EFAULT);
	live_assert_filled(to, BYTES / 2, 1, 0);
	live_assert_filled(to + BYTES / 2 + LIVE_PAGE, BYTES / 2 - LIVE_PAGE, 1,
			   BYTES / 2 + LIVE_PAGE);
	assert_int_equal(live_stat(&m->live, "mm_device_pages"), 0);
}

#define MOVING_TEST(f) { #f, f, setup, teardown, (void *)(uintptr_t)&live_copy }

int main(void)
{
	const struct CMUnitTest tests[] = {
		MOVING_TEST(it_becomes_device),
		MOVING_TEST(cpu_faults_wait_for_it),
		MOVING_TEST(a_signal_handler_runs_while_a_fault_waits),
		MOVING_TEST(a_system_call_waits_for_it),
		MOVING_TEST(it_may_be_unmapped),
		MOVING_TEST(it_may_be_unmapped_in_part),
		MOVING_TEST(it_may_be_mapped_over),
		MOVING_TEST(it_may_be_discarded),
		MOVING_TEST(it_may_be_remapped),
		MOVING_TEST(a_fault_waits_at_the_new_address),
		MOVING_TEST(it_may_be_left_behind_by_dontunmap),
		MOVING_TEST(who_waits_for_an_unmapped_page_gets_a_signal),
		MOVING_TEST(a_fork_waits_for_it),
		MOVING_TEST(a_clone_reads_what_is_on_its_way),
		MOVING_TEST(a_failed_copy_goes_home),
		MOVING_TEST(a_failed_copy_goes_home_to_the_new_address),
	};

	return LIVE_RUN(tests);
}
