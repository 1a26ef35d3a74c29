/* SPDX-License-Identifier: MIT */
/*
 * The keeper: whatever ends a program, it runs once in the place of the thread that made it; it is
 * found by nobody, may do next to nothing, and a thread that stops it leaves nothing.
 *
 * Each program is a child of the test, which is the subreaper, so that it waits for the
 * keeper too.
 */
#include "sys_live.h"
#include "sys/linux_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum way { BY_EXIT, BY_KILL, BY_EXEC, BY_THREAD_EXIT, BY_EXIT_AS_NOBODY };

/* Shared memory: what the keeper says. */
static struct said {
	uint32_t runs; /* atomic */
	int32_t process_id;
	uint64_t self;
	int opens, kills, forks, changes_user;
	int close_fd;
	int old_call; /* getuid() by int 0x80, whose number is sched_yield()'s */
	bool has_old_calls;
} *said;

static struct sys *sys;

/* --- in the program ---------------- */

static int64_t call(long number, long a, long b, long c)
{
	long got = syscall(number, a, b, c, 0, 0, 0);

	return got < 0 ? -errno : got;
}

static int old_getuid(void)
{
	int result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(24) : "memory", "r8", "r9", "r10", "r11");
	return result;
}

/* A kernel without them ends who tries. */
static bool has_old_calls(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		_exit(old_getuid() != (int)getuid());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status == 0;
}

static void say(void *arg)
{
	CHECK(arg == &said);
	said->process_id = getpid();
	said->self = (uintptr_t)base_host->self();
	said->opens = (int)call(SYS_openat, AT_FDCWD, (long)"/dev/null", O_RDONLY);
	said->kills = (int)call(SYS_kill, getppid(), 0, 0);
	said->forks = (int)call(SYS_clone, SIGCHLD, 0, 0);
	said->changes_user = (int)call(SYS_setresuid, 0, 0, 0);
	said->old_call = said->has_old_calls ? old_getuid() : -EPERM;
	said->close_fd = (int)call(SYS_close, said->close_fd, 0, 0);
	ATOMIC_ADD(&said->runs, 1);
}

static pid_t find_keeper(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	CHECK(dir);
	while ((entry = readdir(dir))) {
		char path[300], line[256] = "", *name;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		file = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? fopen(path, "re") :
									     NULL;
		if (!file)
			continue;
		CHECK(fgets(line, sizeof(line), file) || ferror(file));
		fclose(file);
		name = strstr(line, "(usvm-keeper) ");
		if (name && atoi(name + strlen("(usvm-keeper) S ")) == getpid())
			found = atoi(line);
	}
	closedir(dir);
	return found;
}

/* On a thread with a file table of its own; it does not come back. */
static void wait_for_the_end(void *arg)
{
	struct sys_keeper *keeper;

	said->close_fd = dup(open("/dev/null", O_RDONLY));
	CHECK(said->close_fd > 0);
	CHECK(sys->ops->keeper_start(sys, say, &said, &keeper) == 0);
	ATOMIC_STORE(&said->self, (uintptr_t)base_host->self());
	if (*(enum way *)arg == BY_THREAD_EXIT)
		syscall(SYS_exit, 0);
	for (;;)
		pause();
}

static _Noreturn void end(enum way way)
{
	sys = open_sys("");
	start(sys, SYS_THREAD_OWN_FILES, wait_for_the_end, &way);
	while (!ATOMIC_LOAD(&said->self))
		sched_yield();
	CHECK(way == BY_THREAD_EXIT || ATOMIC_LOAD(&said->runs) == 0);
	if (way == BY_KILL)
		raise(SIGKILL);
	if (way == BY_EXEC)
		execl("/bin/true", "true", (char *)NULL);
	if (way == BY_EXIT_AS_NOBODY)
		CHECK(setresuid(65534, 65534, 65534) == 0);
	while (way == BY_THREAD_EXIT && !ATOMIC_LOAD(&said->runs))
		sched_yield();
	_exit(0);
}

/* --- the test ---------------- */

static void wait_for_all(void)
{
	int status;

	while (waitpid(-1, &status, __WALL) > 0)
		assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
	assert_int_equal(errno, ECHILD);
}

static void it_goes_on_whatever_ends_the_program(void **state)
{
	(void)state;
	for (enum way way = BY_EXIT; way <= BY_EXIT_AS_NOBODY; way++) {
		pid_t pid;
		uint64_t self;

		if (way == BY_EXIT_AS_NOBODY && geteuid())
			continue;
		memset(said, 0, sizeof(*said));
		said->has_old_calls = has_old_calls();
		pid = fork();
		if (pid == 0)
			end(way);
		while (!(self = ATOMIC_LOAD(&said->self)))
			sched_yield();
		wait_for_all();
		if (said->runs != 1)
			fail_msg("way %d: it ran %u times", way, said->runs);
		assert_int_not_equal(said->process_id, pid);
		assert_int_equal(said->self, self);
		assert_int_equal(said->opens, -EPERM);
		assert_int_equal(said->kills, -EPERM);
		assert_int_equal(said->forks, -EPERM);
		assert_int_equal(said->changes_user, -EPERM);
		assert_int_equal(said->old_call, -EPERM);
		/* The thread's descriptors are its own. */
		assert_int_equal(said->close_fd, 0);
	}
}

static void *robust_list(void)
{
	size_t bytes;
	void *head;

	CHECK(syscall(SYS_get_robust_list, 0, &head, &bytes) == 0);
	return head;
}

static void start_and_stop(void *arg)
{
	struct sys_keeper *keeper;
	void *list = robust_list();
	char path[64], text[2048];
	int status, fd;
	pid_t pid;

	CHECK(sys->ops->keeper_start(sys, say, &said, &keeper) == 0);
	pid = find_keeper();
	CHECK(pid > 0);
	/* Who waits for any child does not find it. */
	CHECK(waitpid(-1, &status, 0) == -1 && errno == ECHILD);
	CHECK(waitpid(-1, &status, WNOHANG | __WCLONE) == 0);
	CHECK(getpgid(pid) == pid);
	/* A folder that is shared would cost an exec its set-user-ID. */
	CHECK(chdir("/proc") == 0);
	snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
	CHECK(readlink(path, text, sizeof(text)) == 1 && text[0] == '/');
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	CHECK(strstr(text, "CapPrm:\t0000000000000000"));
	CHECK(strstr(text, "CapEff:\t0000000000000000"));
	CHECK(strstr(text, "Seccomp:\t2"));
	CHECK(strstr(text, "SigBlk:\tfffffffffffbfeff") || strstr(text, "SigBlk:\tffff"));
	if (*(bool *)arg)
		CHECK(kill(pid, SIGKILL) == 0);
	sys->ops->keeper_stop(sys, keeper);
	CHECK(!find_keeper() && kill(pid, 0) == -1);
	CHECK(waitpid(-1, &status, __WALL) == -1 && errno == ECHILD);
	CHECK(robust_list() == list);
	CHECK(ATOMIC_LOAD(&said->runs) == 0);
}

static void in_a_program(void (*run)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	memset(said, 0, sizeof(*said));
	pid = fork();
	if (pid == 0) {
		sys = open_sys("");
		run_apart(sys, run, arg);
		sys_linux_close(sys);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	wait_for_all();
}

static void who_stops_it_leaves_nothing(void **state)
{
	bool is_killed = false;

	(void)state;
	in_a_program(start_and_stop, &is_killed);
}

static void one_that_was_killed_can_be_stopped(void **state)
{
	bool is_killed = true;

	(void)state;
	in_a_program(start_and_stop, &is_killed);
}

/* Where it could not give up its rights there is none. */
static void try_without(void *arg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, *(uint32_t *)arg, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };
	struct sys_keeper *keeper = (void *)&said;
	void *list = robust_list();

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
	CHECK(sys->ops->keeper_start(sys, say, &said, &keeper) == -ENOSYS);
	CHECK(!keeper);
	CHECK(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
	CHECK(robust_list() == list);
}

static void without_seccomp_or_a_process_there_is_none(void **state)
{
	static uint32_t calls[] = { SYS_seccomp, SYS_capset, SYS_clone };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		in_a_program(try_without, &calls[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_goes_on_whatever_ends_the_program),
		cmocka_unit_test(who_stops_it_leaves_nothing),
		cmocka_unit_test(one_that_was_killed_can_be_stopped),
		cmocka_unit_test(without_seccomp_or_a_process_there_is_none),
	};

	if (LINUX_SANITIZED) {
		printf("SKIP: a sanitizer's runtime knows no such process: there is none\n");
		return 77;
	}
	said = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (said == MAP_FAILED || prctl(PR_SET_CHILD_SUBREAPER, 1))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
