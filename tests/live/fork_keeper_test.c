/* SPDX-License-Identifier: MIT */
/*
 * A raw clone() whose parent ends at once: section G, T12.
 *
 * The parent is a process with a device of its own and pages on it. It clones, and is gone
 * while its pages are still being copied into the child: by exit_group(), by SIGKILL of another
 * process at a random time around the clone(), by an exec. The child has what the parent had, or
 * dies of a signal; it never reads zeros.
 *
 * The test is the subreaper, so that it sees how the child ends, and that nothing stays.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "live/support/live.h"

#define TRIES 8 /* of each; LIVE_TRIES: another number */

enum {
	CHILD_RIGHT = 40, /* exit status */
	CHILD_WRONG,
	PARENT_FAILED,
};

enum way { BY_EXIT, BY_KILL, BY_EXEC };

struct scene {
	struct live *live;
	enum way way;
	unsigned char *at;
	size_t bytes;
	uint64_t random;
	struct shared *shared;
};

/* Shared memory: never migrates. */
struct shared {
	uint32_t ready; /* atomic: the next is clone() */
	uint32_t runs;  /* atomic: the child does: its pages are on their way */
};

struct ends {
	unsigned int right, wrong, signals, never, failed, other;
};

static bool has_keeper(struct live *live)
{
	struct usvm_device_info info;

	assert_int_equal(usvm_device_info(live->gpu, &info), 0);
	return info.fork_events && !LIVE_SANITIZED;
}

static unsigned int tries(void)
{
	const char *text = getenv("LIVE_TRIES");

	return text ? (unsigned int)atoi(text) : TRIES;
}

/* --- the parent ---------------- */

static bool on_device(struct usvm_vm *vm, const struct scene *s)
{
	uint64_t pages[4];

	return !usvm_query_span(vm, s->at, s->bytes, pages) &&
	       pages[USVM_PAGE_DEVICE] == s->bytes / LIVE_PAGE;
}

static _Noreturn void end_parent(const struct scene *s)
{
	if (s->way == BY_KILL) {
		for (;;)
			pause();
	}
	if (s->way == BY_EXEC)
		execl("/bin/true", "true", (char *)NULL);
	syscall(SYS_exit_group, 0);
	__builtin_unreachable();
}

/* Nobody is to wait for what does not come. */
static _Noreturn void fail_parent(const struct scene *s)
{
	__atomic_store_n(&s->shared->ready, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&s->shared->runs, 1, __ATOMIC_RELEASE);
	_exit(PARENT_FAILED);
}

static _Noreturn void be_parent(const struct scene *s)
{
	struct usvm *gpu;
	struct usvm_vm *vm;
	long pid;

	if (usvm_open(s->live->param->spec, &gpu) || usvm_vm_create(gpu, NULL, &vm))
		fail_parent(s);
	for (int i = 0; !on_device(vm, s); i++) {
		if (i == 300 || usvm_prefetch(vm, s->at, s->bytes, USVM_PLACE_DEVICE))
			fail_parent(s);
	}
	__atomic_store_n(&s->shared->ready, 1, __ATOMIC_RELEASE);
	pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid < 0)
		fail_parent(s);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		alarm(15);
		__atomic_store_n(&s->shared->runs, 1, __ATOMIC_RELEASE);
		_exit(live_is_filled(s->at, s->bytes, 1, 0) ? CHILD_RIGHT : CHILD_WRONG);
	}
	end_parent(s);
}

/* --- one try ---------------- */

/* For a random time, which reaches every place between clone() and the last page. */
static void spin(struct scene *s)
{
	uint64_t wait_ns, start_ns = 0, now_ns;
	struct timespec now;

	s->random = live_word(s->random, 1);
	wait_ns = s->random % (s->live->param->huge ? 4000000 : 1000000);
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
		start_ns = start_ns ? start_ns : now_ns;
	} while (now_ns - start_ns < wait_ns);
}

static void count_end(struct ends *ends, int status)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		ends->other++;
	else if (WIFSIGNALED(status))
		ends->signals++;
	else if (WEXITSTATUS(status) == CHILD_RIGHT)
		ends->right++;
	else if (WEXITSTATUS(status) == CHILD_WRONG)
		ends->wrong++;
}

static void wait_for(const uint32_t *word)
{
	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void try_once(struct scene *s, bool early, struct ends *ends)
{
	pid_t parent, pid;
	int status;

	s->shared->ready = s->shared->runs = 0;
	parent = live_fork();
	if (parent == 0)
		be_parent(s);
	if (s->way == BY_KILL) {
		wait_for(early ? &s->shared->ready : &s->shared->runs);
		spin(s);
		kill(parent, SIGKILL);
	}
	/* The parent; the child, if there is one; the keeper, an orphan now. That of this process
	 * is nobody who is waited for. */
	while ((pid = waitpid(-1, &status, 0)) > 0) {
		if (pid == parent)
			ends->failed += WIFEXITED(status) && WEXITSTATUS(status);
		else
			count_end(ends, status);
	}
	assert_int_equal(errno, ECHILD);
}

static void the_child_reads_it(void **state, enum way way)
{
	struct live *live = *state;
	struct scene s = { .live = live, .way = way, .random = 7 };
	struct ends ends = { 0 };

	if (!has_keeper(live)) {
		printf("SKIP: no fork events\n");
		skip();
	}
	s.bytes = live->param->huge ? 2 * LIVE_HUGE : 256 * LIVE_PAGE;
	s.at = live_filled(live, s.bytes, 1);
	s.shared = mmap(NULL, LIVE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	assert_ptr_not_equal(s.shared, MAP_FAILED);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	for (unsigned int i = 0; i < tries(); i++) {
		live_guard(live->param->spec, 20);
		try_once(&s, i % 2, &ends);
	}
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
	print_message("%u right, %u wrong, %u signals, %u killed\n", ends.right, ends.wrong,
		      ends.signals, ends.other);
	assert_int_equal(ends.failed, 0);
	assert_int_equal(ends.wrong, 0);
	assert_int_equal(ends.signals, 0);
	/* Who is killed before the kernel has told has no child. */
	assert_in_range(ends.right, way == BY_KILL ? (tries() + 1) / 2 : tries(), tries());
	munmap(s.shared, LIVE_PAGE);
}

static void a_clone_whose_parent_exits_at_once_reads_it(void **state)
{
	the_child_reads_it(state, BY_EXIT);
}

static void a_clone_whose_parent_is_killed_reads_it(void **state)
{
	the_child_reads_it(state, BY_KILL);
}

static void a_clone_whose_parent_execs_at_once_reads_it(void **state)
{
	the_child_reads_it(state, BY_EXEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(a_clone_whose_parent_exits_at_once_reads_it),
		LIVE_TEST_ALL(a_clone_whose_parent_is_killed_reads_it),
		LIVE_TEST_ALL(a_clone_whose_parent_execs_at_once_reads_it),
	};

	return LIVE_RUN(tests);
}
