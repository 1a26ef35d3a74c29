/* SPDX-License-Identifier: MIT */
/*
 * fork() of a process whose pages are on the device: section G; section A, rows fork,
 * vfork, posix_spawn, system, exec, exit; hazards T7, T9; amendments A13, A15.
 *
 * fork() brings everything home first, so the child is an ordinary copy-on-write
 * child; what makes no copy of the address space moves nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live/support/held.h"

struct area {
	unsigned char *at;
	size_t bytes;
	bool dontfork; /* a part of it is */
};

static void child_reads(void *arg)
{
	struct area *a = arg;

	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
}

/* G: the child reads what the parent had; the parent has it still. */
static void a_child_reads_what_the_parent_had(void **state)
{
	struct live *live = *state;
	struct area a = { NULL, live_bytes(live), false };
	struct live_counts before;

	a.at = live_on_device(live, a.bytes, 1);
	before = live_counts(live);
	live_child(live_fork, child_reads, &a);
	live_assert_counts(live, before, 0, a.bytes / LIVE_PAGE);
	live_assert_state(live, a.at, a.bytes, LIVE_HOME);
	gpu_assert_filled(live, a.at, a.bytes, 1, 0);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

/* Reads; waits; writes; waits; and still has what it wrote. */
static void child_in_steps(struct area *a, int go, int done)
{
	char c = 0;

	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
	CHILD_CHECK(write(done, &c, 1) == 1 && read(go, &c, 1) == 1);
	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
	live_fill(a->at, a->bytes, 2, 0);
	CHILD_CHECK(write(done, &c, 1) == 1 && read(go, &c, 1) == 1);
	CHILD_CHECK(live_is_filled(a->at, a->bytes, 2, 0));
	_exit(0);
}

/* G: parent, child and GPU write afterwards; each sees its own. While the child only
 * reads, the pages are shared (B: fork-shared): MOVE says EBUSY until somebody writes.
 * Then they are taken all the same. */
static void both_write(struct live *live, bool killed)
{
	struct area a = { NULL, live_bytes(live), false };
	int go[2], done[2];
	char c = 0;
	pid_t pid;

	a.at = live_on_device(live, a.bytes, 1);
	assert_int_equal(pipe(go) | pipe(done), 0);
	pid = live_fork();
	if (pid == 0)
		child_in_steps(&a, go[0], done[1]);
	assert_int_equal(read(done[0], &c, 1), 1);
	live_take(live, a.at, a.bytes);
	live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
	gpu_assert_filled(live, a.at, a.bytes, 1, 0);
	gpu_fill(live, a.at, a.bytes, 3, 0);
	assert_int_equal(write(go[1], &c, 1), 1);
	live_assert_filled(a.at, a.bytes / 2, 3, 0);
	live_fill(a.at, a.bytes / 2, 4, 0);
	assert_int_equal(read(done[0], &c, 1), 1);
	if (killed) {
		kill(pid, SIGKILL);
		live_wait_signal(pid, SIGKILL);
	} else {
		assert_int_equal(write(go[1], &c, 1), 1);
		live_wait_exit(pid, 0);
	}
	live_take(live, a.at, a.bytes);
	live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
	live_assert_filled(a.at, a.bytes / 2, 4, 0);
	live_assert_filled(a.at + a.bytes / 2, a.bytes / 2, 3, a.bytes / 2);
	for (int i = 0; i < 2; i++) {
		close(go[i]);
		close(done[i]);
	}
}

static void everyone_writes_after_a_fork(void **state)
{
	both_write(*state, false);
}

static void a_killed_child_costs_nothing(void **state)
{
	both_write(*state, true);
}

static void child_uses_usvm(void *arg)
{
	struct area *a = arg;
	struct usvm *gpu;
	struct usvm_vm *vm;
	struct usvm_queue *queue;
	uint64_t pages[4];

	CHILD_CHECK(usvm_open("model:vram=16M", &gpu) == 0);
	CHILD_CHECK(usvm_vm_create(gpu, NULL, &vm) == 0);
	CHILD_CHECK(usvm_queue_create(vm, NULL, &queue) == 0);
	/* The parent lets go of the child's memory soon, not at once. */
	do {
		CHILD_CHECK(usvm_prefetch(vm, a->at, a->bytes, USVM_PLACE_DEVICE) == 0);
		CHILD_CHECK(usvm_query_span(vm, a->at, a->bytes, pages) == 0);
	} while (pages[USVM_PAGE_DEVICE] != a->bytes / LIVE_PAGE);
	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
	live_fill(a->at, a->bytes, 5, 0);
	CHILD_CHECK(usvm_prefetch(vm, a->at, a->bytes, USVM_PLACE_DEVICE) == 0);
	CHILD_CHECK(usvm_queue_destroy(queue) == 0);
	CHILD_CHECK(usvm_vm_destroy(vm) == 0);
	CHILD_CHECK(usvm_close(gpu) == 0);
	CHILD_CHECK(live_is_filled(a->at, a->bytes, 5, 0));
}

static void child_changes_its_mappings(void *arg)
{
	struct area *a = arg;
	size_t part = a->bytes / 4;
	unsigned char *room = mmap(NULL, part, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHILD_CHECK(madvise(a->at, part, MADV_DONTNEED) == 0);
	CHILD_CHECK(live_is_zero(a->at, part));
	CHILD_CHECK(munmap(a->at + part, part) == 0);
	CHILD_CHECK(mremap(a->at + 2 * part, part, part, MREMAP_MAYMOVE | MREMAP_FIXED,
			   room) == room);
	CHILD_CHECK(live_is_filled(room, part, 1, 2 * part));
	CHILD_CHECK(live_is_filled(a->at + 3 * part, part, 1, 3 * part));
}

/* G, T7: a child's calls wait for the parent's monitor, unless it lets go of the child. */
static void a_child_changes_its_mappings(void **state)
{
	struct live *live = *state;
	struct area a = { NULL, live_bytes(live), false };

	a.at = live_on_device(live, a.bytes, 1);
	for (int i = 0; i < 5; i++) {
		live_child(live_fork, child_changes_its_mappings, &a);
		live_assert_state(live, a.at, a.bytes, LIVE_HOME);
		live_take(live, a.at, a.bytes);
		live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
	}
	live_assert_filled(a.at, a.bytes, 1, 0);
}

/* G, T7: a child registers its own memory, for the parent lets go of it. */
static void a_child_opens_a_device_of_its_own(void **state)
{
	struct live *live = *state;
	struct area a = { NULL, live_bytes(live), false };

	a.at = live_on_device(live, a.bytes, 1);
	for (int i = 0; i < 5; i++)
		live_child(live_fork, child_uses_usvm, &a);
	gpu_assert_filled(live, a.at, a.bytes, 1, 0);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

static void child_has_foreign_handles(void *arg)
{
	struct live *live = arg;
	struct usvm_device_info info;
	struct usvm_page_info page;
	struct usvm_queue_status status;
	struct usvm_vm *vm;
	size_t count;

	CHILD_CHECK(usvm_device_info(live->gpu, &info) == -ECHILD);
	CHILD_CHECK(usvm_vm_create(live->gpu, NULL, &vm) == -ECHILD);
	CHILD_CHECK(usvm_query(live->vm, live, &page) == -ECHILD);
	CHILD_CHECK(usvm_prefetch(live->vm, live, 1, USVM_PLACE_DEVICE) == -ECHILD);
	CHILD_CHECK(usvm_queue_status(live->queue, &status) == -ECHILD);
	CHILD_CHECK(usvm_stats(live->gpu, NULL, 0, &count) == -ECHILD);
	CHILD_CHECK(usvm_stat(live->gpu, "mm_cpu_faults") == 0);
	CHILD_CHECK(usvm_queue_destroy(live->queue) == -ECHILD);
	CHILD_CHECK(usvm_vm_destroy(live->vm) == -ECHILD);
	CHILD_CHECK(usvm_close(live->gpu) == -ECHILD);
}

static void parents_handles_say_so_in_a_child(void **state)
{
	struct live *live = *state;
	unsigned char *at = live_on_device(live, live_bytes(live), 1);

	live_child(live_fork, child_has_foreign_handles, live);
	gpu_assert_filled(live, at, live_bytes(live), 1, 0);
}

static void child_forks(void *arg)
{
	struct area *a = arg;
	pid_t pid;
	int status;

	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
	pid = live_fork();
	if (pid == 0) {
		CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
		live_fill(a->at, a->bytes, 6, 0);
		_exit(0);
	}
	CHILD_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
}

/* G: nested forks. */
static void a_grandchild_reads_it_too(void **state)
{
	struct live *live = *state;
	struct area a = { NULL, live_bytes(live), false };

	a.at = live_on_device(live, a.bytes, 1);
	live_child(live_fork, child_forks, &a);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

static void child_reads_advised(void *arg)
{
	struct area *a = arg;
	size_t part = a->bytes / 4;

	CHILD_CHECK(live_is_filled(a->at, part, 1, 0));
	CHILD_CHECK(live_is_zero(a->at + part, part)); /* WIPEONFORK */
	if (a->dontfork)
		CHILD_CHECK(msync(a->at + 2 * part, part, MS_ASYNC) == -1 && errno == ENOMEM);
	CHILD_CHECK(live_is_filled(a->at + 3 * part, part, 1, 3 * part));
}

/* G: WIPEONFORK reads zeros in the child, DONTFORK is not there. Without fork events usvm
 * marks memory itself, and cannot tell its marks from the program's (docs/limits.md). */
static void advice_about_fork_is_kept(void **state)
{
	struct live *live = *state;
	struct area a = { NULL, live_bytes(live), false };
	size_t part = a.bytes / 4;
	struct usvm_device_info info;

	a.at = live_on_device(live, a.bytes, 1);
	assert_int_equal(madvise(a.at + part, part, MADV_WIPEONFORK), 0);
	assert_int_equal(madvise(a.at + 2 * part, part, MADV_DONTFORK), 0);
	assert_int_equal(usvm_device_info(live->gpu, &info), 0);
	a.dontfork = info.fork_events;
	live_child(live_fork, child_reads_advised, &a);
	live_assert_filled(a.at, a.bytes, 1, 0);
}

/* A: vfork, posix_spawn, system, popen send no event and move nothing. */
static void spawning_moves_nothing(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	struct live_counts before = live_counts(live);
	char *argv[] = { (char *)(uintptr_t)"true", NULL };
	char text[8] = "";
	FILE *pipe;
	pid_t pid;

	assert_int_equal(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ), 0);
	live_wait_exit(pid, 0);
	assert_int_equal(system("exit 7") >> 8, 7);
	pipe = popen("echo yes", "re");
	assert_non_null(pipe);
	assert_non_null(fgets(text, sizeof(text), pipe));
	assert_string_equal(text, "yes\n");
	assert_int_equal(pclose(pipe), 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_counts(live, before, 0, 0);
	live_assert_filled(at, bytes, 1, 0);
}

/* G: a vfork child that touches a device page is served as the parent. By clone(), for
 * vfork() itself may not do anything. */
static int share_and_read(void *arg)
{
	struct area *a = arg;

	return live_is_filled(a->at, a->bytes, 1, 0) ? 0 : 1;
}

static void a_vfork_child_is_served(void **state)
{
	struct live *live = *state;
	struct area a = { NULL, live_bytes(live), false };
	size_t stack_bytes = 1 << 20;
	char *stack = mmap(NULL, stack_bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	a.at = live_on_device(live, a.bytes, 1);
	live_wait_exit(clone(share_and_read, stack + stack_bytes,
			     CLONE_VM | CLONE_VFORK | SIGCHLD, &a), 0);
	live_assert_state(live, a.at, a.bytes, LIVE_HOME);
	live_assert_filled(a.at, a.bytes, 1, 0);
	munmap(stack, stack_bytes);
}

/* G: all that a child inherited is its own to register, however soon it asks: here it has the
 * processor that its parent would need to close what it has of the child. */
static void child_takes_at_once(void *arg)
{
	const struct sched_param first = { .sched_priority = 1 };
	const struct area *a = arg;
	struct live mine = { 0 };
	uint64_t pages[4];

	/* Where a control group forbids it the child is only likely to be first. */
	if (sched_setscheduler(0, SCHED_FIFO, &first))
		setpriority(PRIO_PROCESS, 0, -20);
	CHILD_CHECK(usvm_open("model:migrate=always", &mine.gpu) == 0);
	CHILD_CHECK(usvm_vm_create(mine.gpu, NULL, &mine.vm) == 0);
	CHILD_CHECK(usvm_prefetch(mine.vm, a->at, a->bytes, USVM_PLACE_DEVICE) == 0);
	CHILD_CHECK(usvm_query_span(mine.vm, a->at, a->bytes, pages) == 0);
	CHILD_CHECK(pages[USVM_PAGE_DEVICE] == a->bytes / LIVE_PAGE);
	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
}

/* All that there are, also usvm's. */
static void run_threads_on(const cpu_set_t *cpus)
{
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *task;

	assert_non_null(tasks);
	while ((task = readdir(tasks)))
		sched_setaffinity(atoi(task->d_name), sizeof(*cpus), cpus);
	closedir(tasks);
}

static void a_child_takes_what_it_inherited_at_once(void **state)
{
	struct live *live = *state;
	struct area a = { NULL, live_bytes(live), false };
	cpu_set_t one, all;
	pid_t pid;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	for (int i = 0; i < 10; i++) {
		a.at = live_on_device(live, a.bytes, 1);
		run_threads_on(&one);
		pid = fork();
		if (pid == 0) {
			child_takes_at_once(&a);
			_exit(0);
		}
		live_wait_exit(pid, 0);
		run_threads_on(&all);
		live_assert_filled(a.at, a.bytes, 1, 0);
		munmap(a.at, a.bytes);
	}
}

/* A process with a device of its own, in which pages are and a GPU job runs. */
static void start_busy(struct live *mine, const struct live *live, struct area *a)
{
	CHILD_CHECK(usvm_open(live->param->spec, &mine->gpu) == 0);
	CHILD_CHECK(usvm_vm_create(mine->gpu, NULL, &mine->vm) == 0);
	CHILD_CHECK(usvm_queue_create(mine->vm, NULL, &mine->queue) == 0);
	mine->result = live->result;
	usvm_fence_put(gpu_start_add(mine, NULL, a->at, LIVE_PAGE, a->bytes / LIVE_PAGE,
				     UINT64_MAX));
	for (uint64_t last = 0, now = 0; now <= last + 1; now = *(volatile uint64_t *)a->at) {
		if (!last)
			last = now;
	}
}

/* A: exec, exit and death never hang, whatever the GPU does. F: execve argv on the device. */
static void a_busy_process_ends(void **state)
{
	struct live *live = *state;
	struct area a = { NULL, live_bytes(live), false };
	pid_t pid;

	a.at = live_filled(live, a.bytes, 1);
	for (int how = 0; how < 4; how++) {
		pid = live_fork();
		if (pid == 0) {
			struct live mine = { .param = live->param };
			char **argv = (char **)(void *)(a.at + 64);

			start_busy(&mine, live, &a);
			memcpy((char *)a.at + 8, "/bin/true", sizeof("/bin/true"));
			argv[0] = (char *)a.at + 8;
			argv[1] = NULL;
			if (how == 0)
				exit(0);
			if (how == 1)
				_exit(0);
			if (how == 2)
				execv(argv[0], argv);
			raise(SIGKILL);
			_exit(9);
		}
		if (how < 3)
			live_wait_exit(pid, 0);
		else
			live_wait_signal(pid, SIGKILL);
	}
	live_assert_filled(a.at, a.bytes, 1, 0);
	live_take(live, a.at, a.bytes);
	live_assert_state(live, a.at, a.bytes, LIVE_DEVICE);
}

static void *read_one(void *at)
{
	return (void *)(uintptr_t)*(volatile unsigned char *)at;
}

static void *unmap_one(void *at)
{
	return (void *)(intptr_t)munmap(at, LIVE_PAGE);
}

/* In a child: its monitor does not read, one thread waits for a page and another for its
 * event to be read. */
static void end_while_others_wait(const struct live_param *param, int how)
{
	struct live mine;
	struct held *held = held_open(&mine, param);
	unsigned char *at = live_filled(&mine, 2 * LIVE_HUGE, 1);

	for (size_t i = 0; i < 16 * LIVE_PAGE; i += LIVE_PAGE)
		held_add(held, at + i, 0);
	live_assert_state(&mine, at, 16 * LIVE_PAGE, LIVE_DEVICE);
	held_arm(&held->hold_monitor);
	live_thread_wait_blocked(live_thread_start(read_one, at), -1);
	held_wait(&held->hold_monitor);
	live_thread_wait_blocked(live_thread_start(unmap_one, at + LIVE_PAGE), SYS_munmap);
	if (how == 0)
		_exit(7);
	if (how == 1)
		execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
	raise(SIGKILL);
}

/* A: exit, exec and death, with nobody to read events. */
static void a_process_ends_while_its_threads_wait(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);

	for (int how = 0; how < 3; how++) {
		pid_t pid = live_fork();

		if (pid == 0)
			end_while_others_wait(live->param, how);
		if (how < 2)
			live_wait_exit(pid, 7);
		else
			live_wait_signal(pid, SIGKILL);
	}
	live_assert_filled(at, bytes, 1, 0);
}

static void child_checks_order(void *arg)
{
	uint64_t *words = arg;

	/* The GPU stored y first: x may be older, never newer. */
	CHILD_CHECK(words[0] <= words[512 * 300]);
}

struct pair {
	uint64_t x, y;
	uint64_t stop;
};

static void store_pairs(struct usvm_lane *lane, const void *args)
{
	const struct pair *p = args;

	for (uint64_t i = 1; !usvm_load64(lane, p->stop); i++) {
		usvm_store64(lane, p->y, i);
		usvm_store64(lane, p->x, i);
	}
}

/* A13: the child's snapshot is one instant for the GPU's stores to VRAM and to memory. */
static void a_child_never_sees_stores_out_of_order(void **state)
{
	struct live *live = *state;
	uint64_t *words = (uint64_t *)live_map(live, 512 * LIVE_PAGE);
	struct pair pair = { .x = (uintptr_t)words, .y = (uintptr_t)(words + 512 * 300) };
	struct usvm_fence *fence;

	live_fill(words, LIVE_PAGE, 1, 0);
	words[0] = 0;
	assert_int_equal(live_mlock(words + 512 * 300, LIVE_PAGE), 0); /* stays home */
	*live->result = 0;
	pair.stop = (uintptr_t)live->result;
	assert_int_equal(usvm_submit_kernel(live->queue, &(struct usvm_kernel){
		.function = store_pairs, .args = &pair, .args_bytes = sizeof(pair) }, &fence), 0);
	for (int i = 0; i < 100; i++) {
		usvm_prefetch(live->vm, words, LIVE_PAGE, USVM_PLACE_DEVICE);
		live_assert_state(live, words, LIVE_PAGE, LIVE_DEVICE);
		live_assert_state(live, words + 512 * 300, LIVE_PAGE, LIVE_HOME);
		live_child(live_fork, child_checks_order, words);
	}
	__atomic_store_n(live->result, 1, __ATOMIC_RELEASE);
	gpu_finish(fence);
	assert_true(words[0] > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(a_child_reads_what_the_parent_had),
		LIVE_TEST_ALL(everyone_writes_after_a_fork),
		LIVE_TEST_ALL(a_killed_child_costs_nothing),
		LIVE_TEST_ALL(a_child_changes_its_mappings),
		LIVE_TEST_ALL(a_child_opens_a_device_of_its_own),
		LIVE_TEST_MODES(parents_handles_say_so_in_a_child),
		LIVE_TEST_ALL(a_grandchild_reads_it_too),
		LIVE_TEST_ALL(advice_about_fork_is_kept),
		LIVE_TEST_ALL(spawning_moves_nothing),
		LIVE_TEST_ALL(a_vfork_child_is_served),
		LIVE_TEST_ALL(a_child_takes_what_it_inherited_at_once),
		LIVE_TEST_MODES(a_busy_process_ends),
		LIVE_TEST_MODES(a_process_ends_while_its_threads_wait),
		LIVE_TEST_MODES(a_child_never_sees_stores_out_of_order),
	};

	return LIVE_RUN(tests);
}
