/* SPDX-License-Identifier: MIT */
/*
 * System calls on memory on the device that have a story of their own: section F, and
 * U-18, U-32. What every call does is in system_calls_test.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "live/support/calls.h"
#include "live/support/storm.h"

/* Half of the buffer is at home. What is written is right, as far as it was written. */
static void write_halves(struct live *live, ssize_t expected)
{
	size_t bytes = live_bytes(live), half = bytes / 2;
	unsigned char *at = live_on_device(live, bytes, 1);
	unsigned char *copy = malloc(bytes);
	int fd = call_file(0);

	assert_true(fd >= 0);
	assert_int_equal(usvm_prefetch(live->vm, at, half, USVM_PLACE_SYSTEM), 0);
	live_assert_state(live, at, half, LIVE_HOME);
	live_assert_state(live, at + half, half, LIVE_DEVICE);
	assert_int_equal(write(fd, at, bytes), expected);
	assert_int_equal(pread(fd, copy, bytes, 0), expected);
	live_assert_filled(copy, (size_t)expected, 1, 0);
	live_assert_filled(at, bytes, 1, 0);
	assert_int_equal(pwrite(fd, at, bytes, 0), bytes);
	assert_int_equal(pread(fd, copy, bytes, 0), bytes);
	live_assert_filled(copy, bytes, 1, 0);
	close(fd);
	free(copy);
	munmap(at, bytes);
}

/* The page is home before it is counted; who asks where it is waits for that. */
static void expect_origins(struct live *live, unsigned char *at, uint64_t user,
			   uint64_t kernel)
{
	live_assert_state(live, at, LIVE_PAGE, LIVE_HOME);
	assert_int_equal(usvm_stat(live->gpu, "mm_cpu_faults_user"), user);
	assert_int_equal(usvm_stat(live->gpu, "mm_cpu_faults_kernel"), kernel);
}

/* A second device is asked to tell who touched a page; the mm is the same. */
static void faults_of_system_calls_are_told_from_others(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	const char *masked = getenv("USVM_FEATURES");
	bool told = !masked || !strstr(masked, "-thread_id");
	struct usvm *asker;
	int fd = call_file(0);

	assert_true(fd >= 0);
	(void)*(volatile unsigned char *)at;
	expect_origins(live, at, 0, 0);
	assert_int_equal(usvm_open("model:vram=2M,origins=yes", &asker), 0);

	assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_DEVICE), 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	(void)*(volatile unsigned char *)at;
	expect_origins(live, at, told, 0);

	assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_DEVICE), 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	assert_int_equal(write(fd, at, 1), 1);
	expect_origins(live, at, told, told);
	assert_int_equal(usvm_close(asker), 0);
	close(fd);
	munmap(at, bytes);
}

static void a_buffer_that_is_half_on_the_device_is_written_whole(void **state)
{
	struct live *live = *state;

	storm_name(live, __func__);
	write_halves(live, (ssize_t)live_bytes(live));
}

static void a_buffer_that_is_half_on_the_device_is_written_short(void **state)
{
	struct live *live = *state;

	storm_name(live, __func__);
	write_halves(live, (ssize_t)live_bytes(live) / 2);
}

/* mincore() looks without touching: what is on the device is not resident, and stays. */
static void mincore_moves_nothing(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), count = bytes / LIVE_PAGE;
	unsigned char *at = live_on_device(live, bytes, 1);
	unsigned char *resident = malloc(count);
	struct live_counts before = live_counts(live);

	storm_name(live, __func__);
	memset(resident, 1, count);
	assert_int_equal(mincore(at, bytes, resident), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(resident[i] & 1, 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_counts(live, before, 0, 0);
	live_assert_filled(at, bytes, 1, 0);
	free(resident);
	munmap(at, bytes);
}

static size_t read_all(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t total = 0;
	ssize_t got;

	assert_true(fd >= 0);
	while ((got = read(fd, text, sizeof(text))) > 0)
		total += (size_t)got;
	close(fd);
	return total;
}

/* M: nor do those who read what is mapped; and none of them waits for the monitor. */
static void looking_at_maps_moves_nothing(void **state)
{
	static const char *const paths[] = { "/proc/self/maps", "/proc/self/smaps",
					     "/proc/self/smaps_rollup",
					     "/proc/self/numa_maps", "/proc/self/status" };
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	struct live_counts before = live_counts(live);

	storm_name(live, __func__);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (!access(paths[i], R_OK))
			assert_true(read_all(paths[i]) > 0);
	}
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_counts(live, before, 0, 0);
	live_assert_filled(at, bytes, 1, 0);
	munmap(at, bytes);
}

/* U-18: a page in a pipe is taken all the same. Its owner has the right contents on both
 * sides; what the reader of the pipe sees then is not promised. */
static void spliced_pages_stay_right_for_their_owner(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), some = 16 * LIVE_PAGE;
	unsigned char *at = live_on_device(live, bytes, 1);
	unsigned char *read_back = malloc(some);
	struct iovec spliced = { at, some };
	int ends[2];

	storm_name(live, __func__);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(vmsplice(ends[1], &spliced, 1, 0), some);
	live_assert_state(live, at, some, LIVE_HOME);
	gpu_fill(live, at, bytes, 2, 0);
	if (!live->param->huge) /* a huge page may be too busy to be split */
		live_assert_state(live, at, bytes, LIVE_DEVICE);
	gpu_assert_filled(live, at, bytes, 2, 0);
	live_assert_filled(at, bytes, 2, 0);
	assert_int_equal(read(ends[0], read_back, some), some);
	live_assert_filled(at, bytes, 2, 0);
	assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_DEVICE), 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_filled(at, bytes, 2, 0);
	close(ends[0]);
	close(ends[1]);
	free(read_back);
	munmap(at, bytes);
}

/* A registered buffer is pinned: used in place, by both, until it is not. */
struct pinned {
	struct live *live;
	unsigned char *at;
	size_t bytes;
};

static void use_pinned(void *arg)
{
	const struct pinned *p = arg;

	live_assert_state(p->live, p->at, p->bytes, LIVE_HOME);
	gpu_fill(p->live, p->at, p->bytes, 3, 0);
	live_take(p->live, p->at, p->bytes);
	usvm_prefetch(p->live->vm, p->at, p->bytes, USVM_PLACE_DEVICE);
	live_assert_state(p->live, p->at, p->bytes, LIVE_HOME);
}

static void registered_buffers_stay_at_home(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	struct pinned pinned = { live, live_on_device(live, bytes, 1), bytes };
	unsigned char *copy = malloc(bytes);
	const char *why = NULL;
	int fd = call_file(0), err;

	storm_name(live, __func__);
	assert_true(fd >= 0);
	err = call_uring_fixed(fd, true, pinned.at, bytes, &why, use_pinned, &pinned);
	if (err == CALL_SKIPPED) {
		printf("SKIP: %s\n", why);
		skip();
	}
	assert_int_equal(err, 0);
	assert_int_equal(pread(fd, copy, bytes, 0), bytes);
	live_assert_filled(copy, bytes, 3,
			   0); /* the device's DMA saw what the GPU wrote */
	assert_int_equal(usvm_prefetch(live->vm, pinned.at, bytes, USVM_PLACE_DEVICE), 0);
	live_assert_state(live, pinned.at, bytes, LIVE_DEVICE);
	live_assert_filled(pinned.at, bytes, 3, 0);
	close(fd);
	free(copy);
	munmap(pinned.at, bytes);
}

/* --- futexes ---------------- */

struct sleeper {
	uint32_t *word;
	int flags;
};

static void *sleep_on(void *arg)
{
	const struct sleeper *s = arg;

	while (__atomic_load_n(s->word, __ATOMIC_ACQUIRE) == 0)
		syscall(SYS_futex, s->word, FUTEX_WAIT | s->flags, 0, NULL, NULL, 0);
	return NULL;
}

/* A thread sleeps on a word, which then goes to the device; the GPU changes it there. */
static void sleep_on_the_device(struct live *live, int flags)
{
	size_t bytes = live_bytes(live);
	uint32_t *word = (uint32_t *)(void *)live_on_device(live, bytes, 1);
	struct sleeper sleeper = { word, flags };
	struct live_thread *thread;

	for (int i = 0; i < 10; i++) {
		gpu_write64(live, word, 0);
		live_assert_state(live, word, bytes, LIVE_DEVICE);
		thread = live_thread_start(sleep_on, &sleeper);
		live_thread_wait_blocked(thread, SYS_futex);
		live_take(live, word, bytes);
		live_assert_state(live, word, bytes, LIVE_DEVICE);
		gpu_write64(live, word, 1);
		/* A wake by itself looks for the sleeper, not into the word. */
		while (syscall(SYS_futex, word, FUTEX_WAKE | flags, 1, NULL, NULL, 0) !=
		       1)
			sched_yield();
		live_thread_join(thread);
	}
	live_assert_filled(word + 2, LIVE_PAGE - 8, 1, 8);
	munmap(word, bytes);
}

static void a_sleeper_on_a_device_page_is_woken(void **state)
{
	storm_name(*state, __func__);
	sleep_on_the_device(*state, FUTEX_PRIVATE_FLAG);
}

static void a_sleeper_on_a_shared_futex_is_woken(void **state)
{
	storm_name(*state, __func__);
	sleep_on_the_device(*state, 0);
}

/*
 * Where the kernel writes to a futex it does not wait for the page: these calls fail, as
 * they always do on a page that a userfaultfd has not filled. A later kernel may wait.
 */
static void futex_calls_that_cannot_wait_say_so(void **state)
{
	static const int calls[] = { FUTEX_LOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_WAKE_OP };
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	uint32_t *word = (uint32_t *)(void *)live_filled(live, bytes, 1), own = 0;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		bool is_op = calls[i] == FUTEX_WAKE_OP;
		uint32_t *first = is_op ? &own : word;
		long err;

		*word = 0;
		live_take(live, word, bytes);
		live_assert_state(live, word, bytes, LIVE_DEVICE);
		err = syscall(SYS_futex, first, calls[i] | FUTEX_PRIVATE_FLAG, 1, NULL,
			      word, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0));
		if (err) {
			assert_int_equal(errno, EFAULT);
			live_assert_state(live, word, bytes, LIVE_DEVICE);
			assert_int_equal(*word, 0);
			err = syscall(SYS_futex, first, calls[i] | FUTEX_PRIVATE_FLAG, 1,
				      NULL, word,
				      FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0));
		}
		assert_int_equal(err, 0);
		assert_int_equal(*word, is_op ? 5 : (uint32_t)syscall(SYS_gettid));
	}
	live_assert_filled(word + 2, LIVE_PAGE - 8, 1, 8);
	munmap(word, bytes);
}

/* A thread's death is another moment at which the kernel does not wait: the mutex stays
 * as it is, held by nobody, or is marked, where the kernel can. It is never torn. */
struct owner {
	pthread_mutex_t *mutex;
	uint32_t step; /* atomic: 1 it has the mutex, 2 it may die */
};

static void *die_with_it(void *arg)
{
	struct owner *owner = arg;

	pthread_mutex_lock(owner->mutex);
	__atomic_store_n(&owner->step, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&owner->step, __ATOMIC_ACQUIRE) != 2)
		sched_yield();
	return NULL;
}

static void the_death_of_an_owner_may_go_unmarked(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	pthread_mutex_t *mutex = (void *)live_filled(live, bytes, 1);
	struct owner owner = { mutex, 0 };
	const struct timespec passed = { 0 };
	struct live_thread *thread;
	pthread_mutexattr_t attr;
	int err;

	storm_name(live, __func__);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	assert_int_equal(pthread_mutex_init(mutex, &attr), 0);
	thread = live_thread_start(die_with_it, &owner);
	while (__atomic_load_n(&owner.step, __ATOMIC_ACQUIRE) != 1)
		sched_yield();
	live_take(live, mutex, bytes);
	live_assert_state(live, mutex, bytes, LIVE_DEVICE);
	__atomic_store_n(&owner.step, 2, __ATOMIC_RELEASE);
	live_thread_join(thread);
	err = pthread_mutex_timedlock(mutex, &passed);
	assert_true(err == ETIMEDOUT || err == EOWNERDEAD);
	live_assert_filled(mutex + 1, LIVE_PAGE - sizeof(*mutex), 1, sizeof(*mutex));
	munmap(mutex, bytes);
}

/* --- signals ---------------- */

static volatile uintptr_t handler_ran_at;

static void note_stack(int number)
{
	volatile unsigned char here[2 * LIVE_PAGE];

	memset((void *)(uintptr_t)here, number, sizeof(here));
	handler_ran_at = (uintptr_t)here;
}

/* The kernel writes the frame to a page on the device. */
static void a_handler_runs_on_a_signal_stack_on_the_device(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), half = bytes / 2;
	unsigned char *at = live_filled(live, bytes, 1);
	struct sigaction action = { .sa_handler = note_stack, .sa_flags = SA_ONSTACK },
			 before;
	stack_t stack = { .ss_sp = at + half, .ss_size = half }, own;

	storm_name(live, __func__);
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	assert_int_equal(sigaltstack(&stack, &own), 0);
	for (int i = 0; i < 5; i++) {
		live_take(live, at, bytes);
		live_assert_state(live, at, bytes, LIVE_DEVICE);
		handler_ran_at = 0;
		raise(SIGUSR1);
		assert_in_range(handler_ran_at, (uintptr_t)at + half,
				(uintptr_t)at + bytes);
		live_assert_filled(at, half, 1, 0);
	}
	assert_int_equal(sigaltstack(&own, NULL), 0);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
	munmap(at, bytes);
}

/* U-32: where the kernel may not wait, it cannot deliver the signal: the process ends, as
 * limits.md says, and no handler runs on a stack of zeros. */
static void child_raises(void *arg)
{
	const struct live *parent = arg;
	struct live mine = { .param = parent->param };
	struct sigaction action = { .sa_handler = note_stack, .sa_flags = SA_ONSTACK };
	size_t bytes = live_bytes(parent);
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	stack_t stack = { .ss_sp = at, .ss_size = bytes };

	memset(at, 1, bytes);
	CHILD_CHECK(usvm_open("model:migrate=always", &mine.gpu) == 0);
	CHILD_CHECK(usvm_vm_create(mine.gpu, NULL, &mine.vm) == 0);
	CHILD_CHECK(sigaction(SIGUSR1, &action, NULL) == 0 &&
		    sigaltstack(&stack, NULL) == 0);
	CHILD_CHECK(usvm_prefetch(mine.vm, at, bytes, USVM_PLACE_DEVICE) == 0);
	CHILD_CHECK(live_present(at, bytes) == 0);
	raise(SIGUSR1);
}

static void a_signal_stack_on_the_device_ends_the_process(void **state)
{
	struct live *live = *state;
	unsigned char *at = live_on_device(live, live_bytes(live), 1);
	pid_t pid;

	storm_name(live, __func__);
	pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		child_raises(live);
		_exit(0);
	}
	live_wait_signal(pid, SIGSEGV);
	live_assert_filled(at, live_bytes(live), 1, 0);
	munmap(at, live_bytes(live));
}

/* --- execve ---------------- */

#define WORDS 64
#define WORD_BYTES 1024 /* with the 0 behind */

/* A program's path, arguments and environment, all of it on the device. */
struct exec {
	char *argv[WORDS + 2];
	char *envp[2];
	char path[64], env[64];
	char text[WORDS][WORD_BYTES];
};

static struct exec *make_exec(unsigned char *at)
{
	struct exec *exec = (void *)at;

	memcpy(exec->path, "/bin/echo", sizeof("/bin/echo"));
	memcpy(exec->env, "WORDS=64", sizeof("WORDS=64"));
	exec->argv[0] = exec->path;
	for (int i = 0; i < WORDS; i++) {
		memset(exec->text[i], 'a' + i % 26, WORD_BYTES - 1);
		exec->text[i][WORD_BYTES - 1] = 0;
		exec->argv[i + 1] = exec->text[i];
	}
	exec->argv[WORDS + 1] = NULL;
	exec->envp[0] = exec->env;
	exec->envp[1] = NULL;
	return exec;
}

/* All that echo has to say. */
static void assert_echo(int fd)
{
	size_t bytes = WORDS * WORD_BYTES, done = 0;
	char *said = malloc(bytes + 1);
	ssize_t got;

	while ((got = read(fd, said + done, bytes + 1 - done)) > 0)
		done += (size_t)got;
	assert_int_equal(done, bytes);
	for (size_t i = 0; i < bytes; i++) {
		char expected = (char)('a' + i / WORD_BYTES % 26);

		if (i % WORD_BYTES == WORD_BYTES - 1)
			expected = i == bytes - 1 ? '\n' : ' ';
		assert_int_equal(said[i], expected);
	}
	free(said);
}

struct spawn {
	struct exec *exec;
	struct live *live;
	size_t bytes;
	int out;
	bool has_device; /* of its own */
	bool is_refused; /* the kernel may not wait */
};

static int spawn_exec(void *arg)
{
	struct spawn *s = arg;
	struct live mine = { .param = s->live->param };
	uint64_t pages[4];

	dup2(s->out, STDOUT_FILENO);
	if (s->has_device) {
		CHILD_CHECK(usvm_open(s->live->param->spec, &mine.gpu) == 0);
		CHILD_CHECK(usvm_vm_create(mine.gpu, NULL, &mine.vm) == 0);
		CHILD_CHECK(usvm_prefetch(mine.vm, s->exec, s->bytes,
					  USVM_PLACE_DEVICE) == 0);
		CHILD_CHECK(usvm_query_span(mine.vm, s->exec, s->bytes, pages) == 0);
		CHILD_CHECK(pages[USVM_PAGE_DEVICE] == s->bytes / LIVE_PAGE);
		CHILD_CHECK(live_present(s->exec, s->bytes) == 0);
	}
	execve(s->exec->path, s->exec->argv, s->exec->envp);
	_exit(s->is_refused && errno == EFAULT ? 0 : 9);
}

static void exec_from(struct live *live, bool has_device, bool is_refused)
{
	size_t bytes = live_bytes(live), stack_bytes = 1 << 20;
	unsigned char *at = live_filled(live, bytes, 1);
	struct spawn spawn = { make_exec(at), live, bytes, -1, has_device, is_refused };
	char *stack = mmap(NULL, stack_bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	spawn.out = ends[1];
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	if (has_device) {
		pid = fork();
		if (pid == 0)
			_exit(spawn_exec(&spawn));
	} else {
		pid = clone(spawn_exec, stack + stack_bytes,
			    CLONE_VM | CLONE_VFORK | SIGCHLD, &spawn);
	}
	close(ends[1]);
	if (!is_refused)
		assert_echo(ends[0]);
	live_wait_exit(pid, 0);
	close(ends[0]);
	live_assert_filled(at + sizeof(struct exec), bytes - sizeof(struct exec), 1,
			   sizeof(struct exec));
	munmap(stack, stack_bytes);
	munmap(at, bytes);
}

static void a_vfork_child_execs_what_is_on_the_device(void **state)
{
	storm_name(*state, __func__);
	exec_from(*state, false, false);
}

static void a_fork_child_execs_what_is_on_its_own_device(void **state)
{
	storm_name(*state, __func__);
	exec_from(*state, true, false);
}

static void execve_is_refused(void **state)
{
	storm_name(*state, __func__);
	exec_from(*state, false, true);
}

/* --- main ---------------- */

static int setup_user_faults(void **state)
{
	const struct live_param *param = *state;
	struct live *live = calloc(1, sizeof(*live));

	assert_non_null(live);
	call_open_user_faults(live, param);
	*state = live;
	return 0;
}

static int teardown_user_faults(void **state)
{
	call_close_user_faults(*state);
	free(*state);
	live_guard(NULL, 0);
	return 0;
}

#define USER_FAULTS_ENTRY(f, what, param)                                                \
	{                                                                                \
#f what, f, setup_user_faults, teardown_user_faults,                     \
			(void *)(uintptr_t)(param)                                       \
	}
#define USER_FAULTS_TEST(f)                                                              \
	USER_FAULTS_ENTRY(f, " [move, no kernel faults]", &live_move),                   \
		USER_FAULTS_ENTRY(f, " [copy, no kernel faults]", &live_copy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(a_buffer_that_is_half_on_the_device_is_written_whole),
		USER_FAULTS_TEST(a_buffer_that_is_half_on_the_device_is_written_short),
		LIVE_TEST_ALL(mincore_moves_nothing),
		LIVE_TEST_MODES(looking_at_maps_moves_nothing),
		USER_FAULTS_TEST(mincore_moves_nothing),
		LIVE_TEST_ALL(spliced_pages_stay_right_for_their_owner),
		LIVE_TEST_MODES(faults_of_system_calls_are_told_from_others),
		LIVE_TEST_ALL(registered_buffers_stay_at_home),
		LIVE_TEST_ALL(a_sleeper_on_a_device_page_is_woken),
		LIVE_TEST_ALL(a_sleeper_on_a_shared_futex_is_woken),
		LIVE_TEST_ALL(futex_calls_that_cannot_wait_say_so),
		LIVE_TEST_ALL(the_death_of_an_owner_may_go_unmarked),
		LIVE_TEST_ALL(a_handler_runs_on_a_signal_stack_on_the_device),
		USER_FAULTS_TEST(a_signal_stack_on_the_device_ends_the_process),
		LIVE_TEST_ALL(a_vfork_child_execs_what_is_on_the_device),
		LIVE_TEST_ALL(a_fork_child_execs_what_is_on_its_own_device),
		USER_FAULTS_TEST(execve_is_refused),
	};

	return LIVE_RUN(tests);
}
