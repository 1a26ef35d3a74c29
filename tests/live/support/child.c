/* SPDX-License-Identifier: MIT */
/*
 * DOC: Children, threads, and the guard
 *
 * The guard is a thread that waits on a word in shared memory: it touches nothing
 * that can be on a device, so it runs on when everything else waits for itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "coverage.h"
#include "live/support/live.h"

#define SLOWER (LIVE_SANITIZED ? 5 : 1)

/* --- the guard ---------------- */

/* Shared memory: never migrates, and outlives close_range(). */
struct guard {
	uint32_t turn; /* atomic; futex */
	uint32_t seconds; /* atomic; 0: no guard */
	char name[128];
};

static struct guard *guard;

/* Not by dprintf(), which allocates. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	char text[1024];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (length > (int)sizeof(text) - 1)
		length = (int)sizeof(text) - 1;
	if (write(STDERR_FILENO, text, (size_t)length) < 0)
		return;
}

/* What each thread does, by /proc alone. */
static void show_threads(void)
{
	char path[64], text[512];

	/* No readdir(): it allocates, and the heap may be what everybody waits for. */
	for (pid_t tid = getpid(), last = tid + 20000; tid < last; tid++) {
		static const char *const files[] = { "comm", "wchan", "syscall" };

		for (int i = 0; i < 3; i++) {
			int fd;
			ssize_t got;

			snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, files[i]);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				break;
			got = read(fd, text, sizeof(text) - 1);
			close(fd);
			say("%s %d: %.*s%s", files[i], tid, got > 0 ? (int)got : 0, text,
			    i == 1 ? "\n" : "");
		}
	}
}

static void *guard_run(void *arg)
{
	struct guard *g = arg;

	for (;;) {
		uint32_t turn = __atomic_load_n(&g->turn, __ATOMIC_ACQUIRE);
		uint32_t seconds = __atomic_load_n(&g->seconds, __ATOMIC_RELAXED) * SLOWER;
		struct timespec time = { .tv_sec = (time_t)seconds };
		long err = syscall(SYS_futex, &g->turn, FUTEX_WAIT, turn,
				   seconds ? &time : NULL, NULL, 0);

		if (err == 0 || errno != ETIMEDOUT ||
		    __atomic_load_n(&g->turn, __ATOMIC_ACQUIRE) != turn)
			continue;
		say("guard: %s is not done after %u s\n", g->name, seconds);
		show_threads();
		kill(getpid(), SIGKILL);
	}
	return NULL;
}

static void guard_start(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;

	guard = mmap(NULL, LIVE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	assert_ptr_not_equal(guard, MAP_FAILED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	assert_int_equal(pthread_create(&thread, &attr, guard_run, guard), 0);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void live_guard(const char *name, unsigned int seconds)
{
	if (!guard)
		guard_start();
	if (name)
		snprintf(guard->name, sizeof(guard->name), "%s", name);
	__atomic_store_n(&guard->seconds, seconds, __ATOMIC_RELAXED);
	__atomic_add_fetch(&guard->turn, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &guard->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* --- children ---------------- */

void live_child_failed(const char *file, int line, const char *what)
{
	dprintf(STDERR_FILENO, "%s:%d: in a child: %s\n", file, line, what);
	_exit(1);
}

/* A test that failed leaves no child behind. */
static pid_t die_with_parent(pid_t pid)
{
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

pid_t live_fork(void)
{
	return die_with_parent(fork());
}

pid_t live_clone(void)
{
	return die_with_parent((pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

static int wait_for(pid_t pid)
{
	int status;
	pid_t got;

	assert_true(pid > 0);
	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	assert_int_equal(got, pid);
	return status;
}

void live_wait_exit(pid_t pid, int expected)
{
	int status = wait_for(pid);

	if (WIFSIGNALED(status))
		fail_msg("the child was killed by signal %d", WTERMSIG(status));
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), expected);
}

void live_wait_signal(pid_t pid, int signal)
{
	int status = wait_for(pid);

	if (WIFEXITED(status))
		fail_msg("the child ended with %d, not by a signal", WEXITSTATUS(status));
	assert_int_equal(WTERMSIG(status), signal);
}

void live_child(pid_t (*make)(void), void (*run)(void *arg), void *arg)
{
	pid_t pid = make();

	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		run(arg);
		coverage_keep();
		_exit(0);
	}
	live_wait_exit(pid, 0);
}

/* --- threads ---------------- */

struct live_thread {
	pthread_t thread;
	void *(*run)(void *);
	void *arg;
	uint32_t tid; /* atomic */
};

static void *thread_run(void *arg)
{
	struct live_thread *t = arg;

	__atomic_store_n(&t->tid, (uint32_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	return t->run(t->arg);
}

struct live_thread *live_thread_start(void *(*run)(void *), void *arg)
{
	struct live_thread *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->run = run;
	t->arg = arg;
	assert_int_equal(pthread_create(&t->thread, NULL, thread_run, t), 0);
	while (!__atomic_load_n(&t->tid, __ATOMIC_ACQUIRE))
		sched_yield();
	return t;
}

void *live_thread_join(struct live_thread *t)
{
	void *result;

	assert_int_equal(pthread_join(t->thread, &result), 0);
	free(t);
	return result;
}

void live_thread_wait_blocked(struct live_thread *t, long number)
{
	char path[64], text[64] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%u/syscall", t->tid);
	for (;;) {
		ssize_t got;

		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		got = read(fd, text, sizeof(text) - 1);
		close(fd);
		assert_true(got > 0);
		text[got] = 0;
		if (text[0] != 'r' && strtol(text, NULL, 10) == number)
			return;
		sched_yield();
	}
}
