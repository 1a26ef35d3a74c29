/* SPDX-License-Identifier: MIT */
/*
 * DOC: what base needs of the kernel
 *
 * Sleeping is a futex, and the thread's record a thread-local variable of the
 * initial-exec kind: it is at a fixed distance from the thread pointer, beside
 * the stack, so finding it neither allocates nor touches the program's heap.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

_Thread_local struct linux_tls linux_tls = {
	.files = { .maps = -1, .pagemap = -1, .tasks = -1, .kick = -1, .alarm = -1, .smaps = -1 },
};

int linux_park(uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	struct timespec timeout = {
		.tv_sec = (int64_t)(timeout_ns / 1000000000u),
		.tv_nsec = (int64_t)(timeout_ns % 1000000000u),
	};
	int64_t err = linux_call(SYS_futex, word,
				 FUTEX_WAIT | FUTEX_PRIVATE_FLAG, expected,
				 timeout_ns == BASE_FOREVER ? NULL : &timeout);

	return err == -ETIMEDOUT ? -ETIMEDOUT : 0;
}

void linux_unpark(uint32_t *word, uint32_t count)
{
	linux_call(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG,
		   MIN(count, (uint32_t)INT32_MAX));
}

static void linux_cpu_yield(void)
{
	linux_call(SYS_sched_yield);
}

static struct base_thread *linux_self(void)
{
	return &linux_tls.base;
}

/* Standard error of the program, also for a thread with a table of its own. */
static int find_stderr(void)
{
	int64_t process;
	int64_t fd;

	if (!linux_tls.private_files)
		return 2;
	process = linux_call(ABI_CALL_PIDFD_OPEN, linux_call(SYS_getpid), 0);
	if (process < 0)
		return linux_open("/proc/thread-self/fd/2", 1);
	fd = linux_call(ABI_CALL_PIDFD_GETFD, process, 2, 0);
	return (int)fd;
}

static NORETURN void linux_die(const char *text)
{
	struct abi_sigaction by_default = { .handler = (uintptr_t)SIG_DFL };
	uint64_t set = 1ull << (SIGABRT - 1);
	size_t length = 0;

	while (text[length])
		length++;
	linux_call(SYS_write, find_stderr(), text, length);

	/* As abort(): once for a handler of the program, once for good. */
	linux_call(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, NULL, sizeof(set));
	linux_call(SYS_tgkill, linux_call(SYS_getpid), linux_call(SYS_gettid),
		   SIGABRT);
	linux_call(SYS_rt_sigaction, SIGABRT, &by_default, NULL, sizeof(set));
	linux_call(SYS_tgkill, linux_call(SYS_getpid), linux_call(SYS_gettid),
		   SIGABRT);
	for (;;)
		linux_call(SYS_exit_group, 128 + SIGABRT);
}

const struct base_host_ops linux_host_ops = {
	.park = linux_park,
	.unpark = linux_unpark,
	.cpu_yield = linux_cpu_yield,
	.pages_alloc = linux_pages_alloc,
	.pages_free = linux_pages_free,
	.self = linux_self,
	.die = linux_die,
};

uint64_t linux_clock_ns(struct sys *sys UNUSED)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); /* no system call: the vDSO */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
