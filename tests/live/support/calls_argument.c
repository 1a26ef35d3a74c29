/* SPDX-License-Identifier: MIT */
/*
 * DOC: Calls that are told something in memory, or tell it there
 *
 * The argument is a page on the device: a struct, a path, a vector of results. The C
 * library is passed by where it would copy.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "live/support/calls.h"

#define SIGSET_BYTES 8

static int result_of(long result)
{
	return result < 0 ? -errno : 0;
}

/* The second result, apart from the first. */
static void *second(struct call_area *a)
{
	return a->argument + LIVE_PAGE / 2;
}

static void put_time(struct call_area *a)
{
	struct timespec *time = (void *)a->argument;

	*time = (struct timespec){ .tv_nsec = 1 };
}

static int call_nanosleep(struct call_area *a)
{
	return result_of(syscall(SYS_nanosleep, a->argument, second(a)));
}

static int call_clock_gettime(struct call_area *a)
{
	struct timespec before, after, *now = (void *)a->argument;
	int err;

	clock_gettime(CLOCK_MONOTONIC, &before);
	err = result_of(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, now));
	if (err)
		return err;
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true(now->tv_sec >= before.tv_sec && now->tv_sec <= after.tv_sec);
	return 0;
}

static void put_path(struct call_area *a)
{
	memcpy(a->argument, "/dev/null", sizeof("/dev/null"));
}

static int call_access(struct call_area *a)
{
	return result_of(syscall(SYS_access, a->argument, F_OK));
}

static int call_stat(struct call_area *a)
{
	struct stat *told = second(a);
	int err = result_of(syscall(SYS_newfstatat, AT_FDCWD, a->argument, told, 0));

	if (!err)
		assert_true(S_ISCHR(told->st_mode));
	return err;
}

static int call_uname(struct call_area *a)
{
	struct utsname *told = (void *)a->argument;
	int err = result_of(syscall(SYS_uname, told));

	if (!err)
		assert_string_equal(told->sysname, "Linux");
	return err;
}

static void put_set(struct call_area *a)
{
	*(uint64_t *)(void *)a->argument = 1ull << (SIGUSR2 - 1);
}

static int call_sigprocmask(struct call_area *a)
{
	uint64_t *told = second(a), before, now;
	int err;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &before, SIGSET_BYTES);
	err = result_of(syscall(SYS_rt_sigprocmask, SIG_BLOCK, a->argument, told, SIGSET_BYTES));
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, &now, SIGSET_BYTES);
	if (err) {
		assert_int_equal(now, before);
		return err;
	}
	assert_int_equal(*told, before);
	assert_int_equal(now, before | 1ull << (SIGUSR2 - 1));
	return 0;
}

static void put_event(struct call_area *a)
{
	struct epoll_event *told = (void *)a->argument;

	told->events = EPOLLIN;
	told->data.u64 = 0x123456789abcdef0u;
}

static int call_epoll(struct call_area *a)
{
	struct epoll_event *told = second(a);
	int epoll = epoll_create1(EPOLL_CLOEXEC), ends[2], err;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	err = result_of(syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, ends[0], a->argument));
	if (!err)
		err = result_of(syscall(SYS_epoll_wait, epoll, told, 4, -1));
	if (!err)
		assert_int_equal(told->data.u64, 0x123456789abcdef0u);
	close(ends[0]);
	close(ends[1]);
	close(epoll);
	return err;
}

/* What is waited for on the CPU's side is told in device memory: epoll_wait alone. */
static int call_epoll_wait(struct call_area *a)
{
	struct epoll_event *told = (void *)a->argument;
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 0xfedcba9876543210u };
	int epoll = epoll_create1(EPOLL_CLOEXEC), ends[2], err;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event), 0);
	err = result_of(syscall(SYS_epoll_wait, epoll, told, 4, -1));
	if (!err)
		assert_int_equal(told->data.u64, 0xfedcba9876543210u);
	close(ends[0]);
	close(ends[1]);
	close(epoll);
	return err;
}

static void put_poll(struct call_area *a)
{
	struct pollfd *told = (void *)a->argument;

	*told = (struct pollfd){ .fd = STDERR_FILENO, .events = POLLOUT };
}

static int call_poll(struct call_area *a)
{
	const struct pollfd *told = (void *)a->argument;
	int err = result_of(syscall(SYS_poll, a->argument, 1, -1));

	if (!err)
		assert_true(told->revents);
	return err;
}

static int call_pipe(struct call_area *a)
{
	int *told = (void *)a->argument;
	int err = result_of(syscall(SYS_pipe2, told, O_CLOEXEC));

	if (!err)
		assert_int_equal(close(told[0]) | close(told[1]), 0);
	return err;
}

static int call_ioctl(struct call_area *a)
{
	int ends[2], err;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "seven..", 7), 7);
	err = result_of(ioctl(ends[0], FIONREAD, a->argument));
	if (!err)
		assert_int_equal(*(int *)(void *)a->argument, 7);
	close(ends[0]);
	close(ends[1]);
	return err;
}

static int call_mincore(struct call_area *a)
{
	int err = result_of(mincore(a->other, a->bytes, a->argument));

	for (size_t i = 0; i < a->bytes / LIVE_PAGE && !err; i++)
		assert_int_equal(a->argument[i] & 1, 1);
	return err;
}

static void put_zeros(struct call_area *a)
{
	memset(a->argument, 0, LIVE_PAGE);
}

static int call_getrandom(struct call_area *a)
{
	long got = syscall(SYS_getrandom, a->argument, 256, 0);

	if (got < 0)
		return -errno;
	assert_int_equal(got, 256);
	assert_false(live_is_zero(a->argument, 32));
	assert_false(live_is_zero(a->argument + 224, 32));
	assert_true(live_is_zero(a->argument + 256, LIVE_PAGE - 256));
	return 0;
}

/* The kernel compares the word, and does not sleep for it is another. */
static int futex_compare(struct call_area *a, int flags)
{
	long result = syscall(SYS_futex, a->argument, FUTEX_WAIT | flags, 1, NULL, NULL, 0);

	assert_int_equal(result, -1);
	return errno == EAGAIN ? 0 : -errno;
}

static int futex_private(struct call_area *a)
{
	return futex_compare(a, FUTEX_PRIVATE_FLAG);
}

static int futex_shared(struct call_area *a)
{
	return futex_compare(a, 0);
}

const struct call argument_calls[] = {
	{ "nanosleep", CALL_ARGUMENT, -EFAULT, .prepare = put_time, .act = call_nanosleep },
	{ "clock_gettime", CALL_ARGUMENT, -EFAULT, .act = call_clock_gettime },
	{ "access", CALL_ARGUMENT, -EFAULT, .prepare = put_path, .act = call_access },
	{ "stat", CALL_ARGUMENT, -EFAULT, .prepare = put_path, .act = call_stat },
	{ "uname", CALL_ARGUMENT, -EFAULT, .act = call_uname },
	{ "sigprocmask", CALL_ARGUMENT, -EFAULT, .prepare = put_set, .act = call_sigprocmask },
	{ "epoll_ctl", CALL_ARGUMENT, -EFAULT, .prepare = put_event, .act = call_epoll },
	{ "epoll_wait", CALL_ARGUMENT, -EFAULT, .act = call_epoll_wait },
	{ "poll", CALL_ARGUMENT, -EFAULT, .prepare = put_poll, .act = call_poll },
	{ "pipe2", CALL_ARGUMENT, -EFAULT, .act = call_pipe },
	{ "ioctl", CALL_ARGUMENT, -EFAULT, .act = call_ioctl },
	{ "mincore", CALL_ARGUMENT, -EFAULT, .act = call_mincore },
	{ "getrandom", CALL_ARGUMENT, -EFAULT, .prepare = put_zeros, .act = call_getrandom },
	{ "futex wait, private", CALL_ARGUMENT, -EFAULT, .prepare = put_zeros,
	  .act = futex_private },
	{ "futex wait, shared", CALL_ARGUMENT, -EFAULT, .prepare = put_zeros,
	  .act = futex_shared },
};
const size_t argument_call_count = sizeof(argument_calls) / sizeof(argument_calls[0]);
