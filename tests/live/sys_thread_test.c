/* SPDX-License-Identifier: MIT */
/*
 * Threads of the library, their file tables, and fork.
 */
#include "coverage.h"
#include "sys_live.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct sys *sys;
static const struct sys_ops *ops;

static uint64_t read_status(const char *field)
{
	char line[256];
	uint64_t value = UINT64_MAX;
	FILE *file = fopen("/proc/thread-self/status", "r");

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, field, strlen(field)))
			value = strtoull(line + strlen(field) + 1, NULL, 16);
	}
	fclose(file);
	return value;
}

static void assert_exits_well(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* --- threads ---------------- */

struct seen {
	char name[16];
	uint64_t blocked;
	uint32_t id;
	bool is_library;
	bool is_monitor;
	uint64_t on_stack;
};

static void look(void *arg)
{
	struct seen *seen = arg;
	char local = 1;

	prctl(PR_GET_NAME, seen->name);
	seen->blocked = read_status("SigBlk:");
	seen->id = ops->thread_id(sys);
	seen->is_library = base_host->self()->is_library;
	seen->is_monitor = base_host->self()->is_monitor;
	seen->on_stack = addr_of(&local);
}

static void a_thread_is_named_and_marked_and_takes_no_signals(void **state)
{
	const struct sys_thread_attr attr = {
		.name = "a-name-that-is-too-long",
		.run = look,
		.flags = SYS_THREAD_MONITOR,
	};
	const uint64_t open = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) |
			      3ull << 31; /* the C library's own two */
	const uint64_t never = 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1);
	struct sys_thread_attr with_arg = attr;
	struct sys_thread *thread;
	struct seen seen;
	sigset_t before;
	sigset_t after;

	(void)state;
	with_arg.arg = &seen;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_int_equal(ops->thread_create(sys, &with_arg, &thread), 0);
	ops->thread_join(sys, thread);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_memory_equal(&before, &after, 8);
	assert_string_equal(seen.name, "a-name-that-is-");
	assert_int_equal(seen.blocked | never, ~open);
	assert_int_not_equal(seen.id, gettid());
	assert_true(seen.is_library);
	assert_true(seen.is_monitor);
	assert_false(base_host->self()->is_library);
}

struct wiped {
	int err;
	bool has_stack;
};

static void look_for_wiped_stack(void *arg)
{
	struct wiped *wiped = arg;
	struct span spans[64];
	char local = 0;
	size_t count;

	wiped->err = ops->wiped_on_fork(sys, spans, ARRAY_SIZE(spans), &count);
	for (size_t i = 0; !wiped->err && i < count; i++)
		wiped->has_stack |= span_contains(spans[i], (uintptr_t)&local);
}

/* In a child the C library goes through its records of the parent's threads, which are on
 * their stacks: newer ones crash where these are wiped. */
static void a_child_of_fork_has_the_stacks(void **state)
{
	struct sys_thread_attr attr = { .name = "usvm-stack", .run = look_for_wiped_stack };
	struct wiped wiped = { 0 };
	struct sys_thread *thread;

	(void)state;
	attr.arg = &wiped;
	assert_int_equal(ops->thread_create(sys, &attr, &thread), 0);
	ops->thread_join(sys, thread);
	assert_int_equal(wiped.err, 0);
	assert_false(wiped.has_stack);
}

static void join_gives_the_stack_back(void **state)
{
	struct sys_page_run run;
	struct seen seen;
	uint64_t stack = 0;
	size_t count;
	uint64_t end;

	(void)state;
	for (int i = 0; i < 50; i++) {
		struct span page;

		ops->thread_join(sys, start(sys, 0, look, &seen));
		assert_true(!stack || stack == seen.on_stack);
		stack = seen.on_stack;
		page = span_block(stack, PAGE_BYTES);
		assert_int_equal(ops->page_scan(sys, page, &run, 1, &count, &end),
				 0);
		assert_int_equal(count, 0);
	}
}

/* setuid() and its kin wait for every thread, by a signal of the C library. */
static void ids_can_be_changed_while_threads_wait(void **state)
{
	struct gate gate = { .is_open = 0 };
	struct sys_thread *thread =
		start(sys, 0, (void (*)(void *))gate_pass, &gate);

	(void)state;
	assert_int_equal(setresuid(-1, -1, -1), 0);
	gate_open(&gate);
	ops->thread_join(sys, thread);
}

static void overflow_stack(void *arg)
{
	volatile char big[4096];

	big[0] = *(volatile char *)arg;
	if (big[0] == 0)
		overflow_stack((void *)(uintptr_t)big);
	((volatile char *)arg)[1] = big[0];
}

static void run_over(const char *mask)
{
	struct sys_thread *thread;
	static char zero[2];

	sys_linux_close(sys);
	signal(SIGSEGV, SIG_DFL);
	sys = open_sys(mask);
	ops = sys->ops;
	thread = start(sys, 0, overflow_stack, zero);
	ops->thread_join(sys, thread);
}

static void a_stack_ends_in_a_guard(void **state)
{
	static const char *const masks[] = { "", "-guard" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(masks); i++) {
		int status;
		pid_t child = fork();

		if (child == 0) {
			sys = open_sys("");
			run_over(masks[i]);
			coverage_keep();
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSEGV);
	}
}

/* --- file tables ---------------- */

struct files {
	struct gate ready;
	struct gate stop;
	bool standard_are_read_only;
	int open_count; /* above 2, in the thread's own table */
};

static void look_at_files(void *arg)
{
	struct files *files = arg;

	files->standard_are_read_only = true;
	for (int fd = 0; fd < 1000; fd++) {
		struct stat st;

		if (fstat(fd, &st))
			continue;
		files->open_count += fd > 2;
		if (fd <= 2 && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
			files->standard_are_read_only = false;
	}
	gate_open(&files->ready);
	gate_pass(&files->stop);
}

/* The reader of a pipe sees the end, though a table was copied while the other
 * end was open. */
static void check_private_table(void)
{
	struct files files = { .open_count = 0 };
	struct sys_thread *thread;
	int pipes[2];
	char c;

	CHECK(pipe(pipes) == 0);
	thread = start(sys, SYS_THREAD_OWN_FILES, look_at_files, &files);
	gate_pass(&files.ready);
	close(pipes[1]);
	CHECK(read(pipes[0], &c, 1) == 0);
	close(pipes[0]);
	gate_open(&files.stop);
	ops->thread_join(sys, thread);
	CHECK(files.standard_are_read_only); /* maps, pagemap, tasks */
	CHECK(files.open_count == 2); /* the kick and the alarm */
}

static void a_private_table_keeps_nothing_of_the_programs_open(void **state)
{
	(void)state;
	check_private_table();
}

/* As on a kernel before 5.9. */
static void refuse_close_range(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void it_does_without_close_range_too(void **state)
{
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		sys = open_sys("");
		refuse_close_range();
		check_private_table();
		coverage_keep();
		_exit(0);
	}
	assert_exits_well(child);
}

static _Alignas(4096) char page_of_x[PAGE_BYTES];

struct served {
	char *page;
	struct gate ready;
};

static void serve_one(void *arg)
{
	struct served *served = arg;
	struct sys_event event;
	uint64_t done;
	int uffd;

	CHECK(ops->uffd_open(sys, &uffd) == 0);
	CHECK(ops->uffd_register(sys, uffd, span_of(served->page, PAGE_BYTES),
				 SYS_REGISTER_MISSING) == 0);
	gate_open(&served->ready);
	CHECK(ops->uffd_wait(sys, uffd, BASE_FOREVER) == 0);
	CHECK(ops->uffd_read(sys, uffd, &event) == 0);
	CHECK(ops->uffd_copy(sys, uffd, event.addr, addr_of(page_of_x),
			     PAGE_BYTES, &done) == 0);
	ops->uffd_close(sys, uffd);
}

static void close_range_of_the_program_does_not_hurt(void **state)
{
	pid_t child;

	(void)state;
	if (!sys_has(sys, SYS_FEATURE_UFFD)) {
		printf("SKIP: no userfaultfd\n");
		skip();
	}
	child = fork();
	if (child == 0) {
		struct served served = { .page = map_anonymous(PAGE_BYTES) };
		struct sys_thread *thread;

		memset(page_of_x, 'x', PAGE_BYTES);
		sys = open_sys("");
		thread = start(sys, SYS_THREAD_OWN_FILES, serve_one, &served);
		gate_pass(&served.ready);
		CHECK(close_range(3, ~0u, 0) == 0);
		CHECK(!memcmp(served.page, page_of_x, PAGE_BYTES));
		ops->thread_join(sys, thread);
		sys_linux_close(sys);
		coverage_keep();
		_exit(0);
	}
	assert_exits_well(child);
}

static void a_table_that_cannot_be_filled_is_an_error(void **state)
{
	struct rlimit limit;
	struct rlimit few = { .rlim_cur = 3, .rlim_max = 0 };
	const struct sys_thread_attr attr = {
		.name = "usvm-test",
		.run = look,
		.flags = SYS_THREAD_OWN_FILES,
	};
	struct sys_thread *thread;

	(void)state;
	/* 0 to 2 are taken, and there is no fourth. */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	few.rlim_max = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(ops->thread_create(sys, &attr, &thread), -EMFILE);
	assert_null(thread);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void die_aloud(void *arg)
{
	coverage_keep_at_abort();
	base_host->die(arg);
}

static void last_words_reach_the_programs_standard_error(void **state)
{
	const uint32_t flags[] = { 0, SYS_THREAD_OWN_FILES };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		char text[32] = { 0 };
		int pipes[2];
		int status;
		pid_t child;

		assert_int_equal(pipe(pipes), 0);
		child = fork();
		if (child == 0) {
			signal(SIGABRT, SIG_DFL);
			dup2(pipes[1], 2);
			sys = open_sys("");
			start(sys, flags[i], die_aloud, (void *)(uintptr_t)"last words");
			for (;;)
				pause();
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGABRT);
		close(pipes[1]);
		assert_true(read(pipes[0], text, sizeof(text) - 1) > 0);
		assert_string_equal(text, "last words");
		close(pipes[0]);
	}
}

/* --- fork ---------------- */

static char trail[16];

static void leave(char c)
{
	size_t length = strlen(trail);

	if (length + 1 < sizeof(trail))
		trail[length] = c;
}

static void prepare_a(void)
{
	leave('p');
}

static void parent_a(void)
{
	leave('a');
}

static void child_a(void)
{
	leave('c');
}

static void prepare_b(void)
{
	leave('B');
}

static void hooks_run_around_fork_until_the_last_close(void **state)
{
	static const struct sys_fork_hooks a = { prepare_a, parent_a, child_a };
	static const struct sys_fork_hooks b = { .prepare = prepare_b };
	pid_t child;

	(void)state;
	memset(trail, 0, sizeof(trail));
	assert_int_equal(ops->fork_hooks(sys, &a), 0);
	assert_int_equal(ops->fork_hooks(sys, &a), 0);
	child = fork();
	if (child == 0)
		_exit(strcmp(trail, "pc") != 0);
	assert_exits_well(child);
	assert_string_equal(trail, "pa");

	assert_int_equal(ops->fork_hooks(sys, &b), 0);
	child = fork();
	if (child == 0)
		_exit(0);
	assert_exits_well(child);
	assert_string_equal(trail, "paB");

	sys_linux_close(sys);
	child = fork();
	if (child == 0)
		_exit(0);
	assert_exits_well(child);
	assert_string_equal(trail, "paB");
	sys = open_sys("");
}

static void check_child(uint64_t *page)
{
	struct sys *again;
	struct seen seen;
	void *own;

	CHECK(ops->is_forked(sys));
	CHECK(*page == 0);
	CHECK(sys_linux_open("", &again) == 0);
	CHECK(!ops->is_forked(again));
	own = base_host->pages_alloc(PAGE_BYTES);
	CHECK(own && own != page);
	base_host->pages_free(own, PAGE_BYTES);
	ops->thread_join(again, start(again, SYS_THREAD_OWN_FILES, look, &seen));
	CHECK(seen.is_library);
	sys_linux_close(again);
	coverage_keep();
	_exit(0);
}

static void a_child_finds_its_pages_wiped_and_can_start_over(void **state)
{
	uint64_t *page = base_host->pages_alloc(PAGE_BYTES);
	pid_t child;

	(void)state;
	*page = 42;
	assert_false(ops->is_forked(sys));
	child = fork();
	if (child == 0)
		check_child(page);
	assert_exits_well(child);
	assert_false(ops->is_forked(sys));

	/* Nobody tells a child that is made this way. */
	child = (pid_t)syscall(SYS_fork);
	if (child == 0)
		check_child(page);
	assert_exits_well(child);
	assert_int_equal(*page, 42);
	base_host->pages_free(page, PAGE_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_thread_is_named_and_marked_and_takes_no_signals),
		cmocka_unit_test(a_child_of_fork_has_the_stacks),
		cmocka_unit_test(join_gives_the_stack_back),
		cmocka_unit_test(ids_can_be_changed_while_threads_wait),
		cmocka_unit_test(a_stack_ends_in_a_guard),
		cmocka_unit_test(
			a_private_table_keeps_nothing_of_the_programs_open),
		cmocka_unit_test(it_does_without_close_range_too),
		cmocka_unit_test(close_range_of_the_program_does_not_hurt),
		cmocka_unit_test(a_table_that_cannot_be_filled_is_an_error),
		cmocka_unit_test(last_words_reach_the_programs_standard_error),
		cmocka_unit_test(hooks_run_around_fork_until_the_last_close),
		cmocka_unit_test(a_child_finds_its_pages_wiped_and_can_start_over),
	};
	int failed;

	sys = open_sys("");
	ops = sys->ops;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	sys_linux_close(sys);
	return failed;
}
