/* SPDX-License-Identifier: MIT */
/*
 * DOC: Rows: children
 *
 * Each is made by fork(), which the library hears of before, and by a raw clone(), which
 * only the kernel tells. What a child sees it notes itself: notes are in shared memory,
 * and one process notes at a time.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coverage.h"
#include "rows.h"

typedef pid_t make_fn(void);

extern char **environ;

static pid_t by_fork(void)
{
	return fork();
}

static pid_t by_clone(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

_Noreturn static void end_child(int status)
{
	coverage_keep();
	_exit(status);
}

static void note_end(struct cell *c, pid_t pid)
{
	int status = 0;
	pid_t got;

	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	cell_note(c, "child", got > 0 ? status : -errno);
}

/* The keeper of a parent that had a device is one too, and ends with 0. */
static void note_orphan(struct cell *c)
{
	int status = 0;
	pid_t got;

	do
		got = waitpid(-1, &status, 0);
	while ((got < 0 && errno == EINTR) || (got > 0 && status == 0));
	cell_note(c, "child", got > 0 ? status : -errno);
}

/* --- turns: who goes on ---------------- */

static void turn_wait(uint32_t value)
{
	uint32_t now;

	while ((now = __atomic_load_n(&shared->words[0], __ATOMIC_SEQ_CST)) < value)
		syscall(SYS_futex, &shared->words[0], FUTEX_WAIT, now, NULL, NULL, 0);
}

static void turn_set(uint32_t value)
{
	__atomic_store_n(&shared->words[0], value, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &shared->words[0], FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* --- reading and writing ---------------- */

static void run_reads(struct cell *c, make_fn *make)
{
	pid_t pid = make();

	if (pid == 0) {
		cell_look(c, "in the child", c->at, c->bytes);
		end_child(7);
	}
	note_end(c, pid);
}

static void run_child_writes(struct cell *c, make_fn *make)
{
	pid_t pid = make();

	if (pid == 0) {
		live_fill(c->at + c->part, 2 * c->part, 2, 0);
		cell_look(c, "in the child", c->at, c->bytes);
		end_child(7);
	}
	note_end(c, pid);
	cell_look(c, "in the parent", c->at, c->bytes);
}

/* The child looks after the parent has written. */
static void run_parent_writes(struct cell *c, make_fn *make)
{
	pid_t pid;

	turn_set(0);
	pid = make();
	if (pid == 0) {
		turn_wait(1);
		cell_look(c, "in the child", c->at, c->bytes);
		live_fill(c->at, c->part, 3, 0);
		cell_look(c, "written", c->at, c->part);
		end_child(7);
	}
	live_fill(c->at + c->part, 2 * c->part, 2, 0);
	turn_set(1);
	note_end(c, pid);
}

static void run_unmaps(struct cell *c, make_fn *make)
{
	pid_t pid = make();

	if (pid == 0) {
		cell_result(c, "munmap", munmap(c->at + LIVE_PAGE, LIVE_PAGE));
		cell_result(c, "madvise", madvise(c->at + c->part, LIVE_PAGE, MADV_DONTNEED));
		cell_result(c, "mremap", mremap(c->at + 2 * c->part, c->part, c->part,
						MREMAP_MAYMOVE | MREMAP_FIXED, c->to) == c->to);
		cell_look(c, "in the child", c->at, c->bytes);
		cell_look(c, "moved", c->to, c->part);
		end_child(7);
	}
	note_end(c, pid);
}

static void generation(struct cell *c, make_fn *make, unsigned int left)
{
	pid_t pid = make();

	if (pid == 0) {
		live_fill(c->at + left * LIVE_PAGE, LIVE_PAGE, 10 + left, 0);
		if (left)
			generation(c, left % 2 ? by_fork : by_clone, left - 1);
		cell_look(c, "generation", c->at, c->bytes);
		end_child((int)left);
	}
	note_end(c, pid);
}

void fork_reads(struct cell *c)
{
	run_reads(c, by_fork);
}

void clone_reads(struct cell *c)
{
	run_reads(c, by_clone);
}

void fork_child_writes(struct cell *c)
{
	run_child_writes(c, by_fork);
}

void clone_child_writes(struct cell *c)
{
	run_child_writes(c, by_clone);
}

void fork_parent_writes(struct cell *c)
{
	run_parent_writes(c, by_fork);
}

void clone_parent_writes(struct cell *c)
{
	run_parent_writes(c, by_clone);
}

void fork_unmaps(struct cell *c)
{
	run_unmaps(c, by_fork);
}

void clone_unmaps(struct cell *c)
{
	run_unmaps(c, by_clone);
}

void fork_again(struct cell *c)
{
	generation(c, by_fork, 3);
}

void clone_again(struct cell *c)
{
	generation(c, by_clone, 3);
}

/* --- a parent that is gone ---------------- */

/* The grandchild of who has the device: its parent ends. */
static void run_orphan(struct cell *c, make_fn *make, bool killed)
{
	pid_t pid, child;

	turn_set(0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid = make();
	if (pid == 0) {
		child = make();
		if (child == 0) {
			turn_wait(1);
			cell_look(c, "orphan", c->at, c->bytes);
			live_fill(c->at, c->bytes, 2, 0);
			cell_look(c, "written", c->at, c->bytes);
			end_child(7);
		}
		if (killed)
			raise(SIGKILL);
		_exit(5);
	}
	note_end(c, pid);
	turn_set(1);
	note_orphan(c);
}

/* The one in the middle opens a device and puts the memory there; it ends when it has a child. */
static void outlive(struct cell *c, make_fn *make, bool killed)
{
	pid_t middle = by_clone(), child;

	turn_set(0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (middle == 0) {
		struct live live = { .param = c->live.param };

		if (!c->native) {
			live_open(&live, live.param, "model:vram=8M");
			live_take(&live, c->at, c->bytes);
		}
		child = make();
		if (child == 0) {
			turn_wait(1);
			cell_look(c, "orphan", c->at, c->bytes);
			end_child(7);
		}
		if (killed)
			raise(SIGKILL);
		_exit(5);
	}
	note_end(c, middle);
	turn_set(1);
	note_orphan(c);
}

void fork_parent_exits(struct cell *c)
{
	run_orphan(c, by_fork, false);
	outlive(c, by_fork, false);
}

void fork_parent_killed(struct cell *c)
{
	run_orphan(c, by_fork, true);
	outlive(c, by_fork, true);
}

void clone_parent_exits(struct cell *c)
{
	run_orphan(c, by_clone, false);
	outlive(c, by_clone, false);
}

void clone_parent_killed(struct cell *c)
{
	run_orphan(c, by_clone, true);
	outlive(c, by_clone, true);
}

/* --- a child with a device of its own ---------------- */

/* It may use the memory in place, for a moment: who made it lets go of it later. */
static void run_opens(struct cell *c, make_fn *make)
{
	pid_t pid = make();

	if (pid == 0) {
		struct live live = { .param = c->live.param };

		if (!c->native) {
			live_open(&live, live.param, "model:vram=8M");
			live_take(&live, c->at, c->bytes);
			gpu_fill(&live, c->at, LIVE_PAGE, 2, 0);
		} else {
			live_fill(c->at, LIVE_PAGE, 2, 0);
		}
		cell_look(c, "in the child", c->at, c->bytes);
		if (!c->native)
			live_close(&live);
		end_child(7);
	}
	note_end(c, pid);
}

void fork_opens(struct cell *c)
{
	run_opens(c, by_fork);
}

void clone_opens(struct cell *c)
{
	run_opens(c, by_clone);
}

/* --- children that share the memory ---------------- */

static int shares(void *arg)
{
	struct cell *c = arg;

	memcpy(c->at + c->part, c->at, 64);
	return 7;
}

void clone_shares(struct cell *c)
{
	static unsigned char stack[64 * 1024] __attribute__((aligned(16)));

	note_end(c, clone(shares, stack + sizeof(stack), CLONE_VM | SIGCHLD, c));
}

void vforks(struct cell *c)
{
	pid_t pid = vfork();

	if (pid == 0) {
		memcpy(c->at + c->part, c->at, 64);
		_exit(7);
	}
	note_end(c, pid);
}

void spawns(struct cell *c)
{
	char *const argv[] = { "sh", "-c", "exit 7", NULL };
	pid_t pid;

	cell_note(c, "spawn", posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ));
	note_end(c, pid);
}

/* --- advice about fork ---------------- */

static void run_wiped(struct cell *c, make_fn *make)
{
	cell_result(c, "madvise", madvise(c->at + c->part, 2 * c->part, MADV_WIPEONFORK));
	run_child_writes(c, make);
}

void wipe_fork(struct cell *c)
{
	run_wiped(c, by_fork);
}

void wipe_clone(struct cell *c)
{
	run_wiped(c, by_clone);
}

static void run_kept(struct cell *c, make_fn *make)
{
	cell_result(c, "madvise", madvise(c->at + c->part, 2 * c->part, MADV_DONTFORK));
	run_reads(c, make);
}

void keep_fork(struct cell *c)
{
	run_kept(c, by_fork);
}

void keep_clone(struct cell *c)
{
	run_kept(c, by_clone);
}

/* --- exec ---------------- */

/* The path, the arguments and what points to them lie in the memory. */
struct arguments {
	char *argv[4];
	char path[16], option[16], script[64];
};

static struct arguments *lay_out(struct cell *c)
{
	struct arguments *a = (void *)(c->at + c->part);

	memcpy(a->path, "/bin/sh", 8);
	memcpy(a->option, "-c", 3);
	memcpy(a->script, "test \"$0\" = /bin/sh && exit 7", 30);
	a->argv[0] = a->path;
	a->argv[1] = a->option;
	a->argv[2] = a->script;
	a->argv[3] = NULL;
	return a;
}

/* Put where the column says by the GPU, which is what moved it there. */
static void send_back(struct cell *c)
{
	if (c->live.gpu && c->column == COLUMN_DEVICE)
		live_take(&c->live, c->at, c->bytes);
}

void executes(struct cell *c)
{
	struct arguments *a = lay_out(c);
	pid_t pid;

	send_back(c);
	pid = by_clone();
	if (pid == 0) {
		execve(a->path, a->argv, NULL);
		_exit(1);
	}
	note_end(c, pid);
	memset(a, 0, sizeof(*a)); /* which has addresses */
}

void executes_vfork(struct cell *c)
{
	struct arguments *a = lay_out(c);
	pid_t pid;

	send_back(c);
	pid = vfork();
	if (pid == 0) {
		execve(a->path, a->argv, NULL);
		_exit(1);
	}
	note_end(c, pid);
	memset(a, 0, sizeof(*a));
}
