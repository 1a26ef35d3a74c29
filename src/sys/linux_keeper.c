/* SPDX-License-Identifier: MIT */
/*
 * DOC: the keeper
 *
 * A process of its own that has the program's memory and the file table of one of the
 * library's threads, the monitor. It sleeps while that thread lives. What ends a program
 * (exit_group(), a signal, an exec) ends its threads; this is none of them, and
 * what the monitor has open stays open. It goes on in the monitor's place.
 *
 * How it learns of that: the word that it sleeps on is a robust futex of the monitor's, so
 * the kernel marks it and wakes who sleeps when the thread ends, for whatever reason. The
 * monitor takes the C library's list of such locks out for it; it has none. keeper_stop()
 * writes another word.
 *
 * How it can be the monitor: made without CLONE_SETTLS it has its thread pointer too, and so its
 * thread-local variables: they are the monitor's for as long as that lives. Until then it
 * stands on a stack of its own, makes system calls with nothing in between, and writes to none.
 *
 * Who meets it: nobody. Its end sends no signal and is waited for with __WCLONE or __WALL
 * only; it has blocked all signals, and is a process group of its own, so that what a terminal or
 * a shell sends to the program's does not reach it. A tracer is not told (CLONE_UNTRACED). Its
 * folder is its own, and the root: it keeps nothing mounted, and an exec of the program's,
 * that would find its folder shared with another process, would lose set-user-ID.
 *
 * What it may do: a program may give up its rights later (setuid() changes all threads of the
 * C library's, not this process), and can write to the memory that this stands on. So it gives
 * up all that it does not need at once: it has no capability, and of the system calls
 * those that work on what is open.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/assert.h"
#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

#define STACK_BYTES KIB(128)
#define BLOCK_BYTES (STACK_BYTES + PAGE_BYTES)
#define FILES_PLENTY 16 /* a limit from which on one more does not matter */

/* Values of sys_keeper.life beside the process's number. */
#define LIFE_OVER 0u
#define LIFE_READY UINT32_MAX

#define WILL_REVOKED 0u

struct sys_keeper {
	void (*run)(void *arg);
	void *arg;
	int smaps; /* in the monitor's file table, as all; -1: none */
	int32_t process_id;
	int error;     /* why it could not be ready */
	uint32_t life; /* atomic, futex: its number; READY; cleared by the kernel at its end */
	/* atomic, robust futex of the monitor's: its thread, marked by the kernel at its end */
	uint32_t will;
	struct robust_list place; /* of will in the list */
	struct robust_list_head list;
	uint64_t list_before; /* the C library's */
	uint64_t list_before_bytes;
};

/* Not FUTEX_PRIVATE_FLAG: the kernel's own wake-ups are not. */
static void futex_wait(uint32_t *word, uint32_t expected)
{
	linux_call(SYS_futex, word, FUTEX_WAIT, expected, NULL);
}

static void futex_wake(uint32_t *word)
{
	linux_call(SYS_futex, word, FUTEX_WAKE, 1);
}

/* --- in the keeper ------------------------------------------------------- */

#define ALLOW(number)                                          \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),   \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static int give_up_rights(void)
{
	static const struct sock_filter filter[] = {
		/* A call by int 0x80 has other numbers. */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_futex),
		ALLOW(SYS_ioctl),
		ALLOW(SYS_read),
		ALLOW(SYS_lseek),
		ALLOW(SYS_close),
		ALLOW(SYS_ppoll),
		ALLOW(SYS_sched_yield),
		ALLOW(SYS_clock_gettime),
		ALLOW(SYS_getpid),
		ALLOW(SYS_gettid),
		ALLOW(SYS_exit),
		ALLOW(SYS_exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	const struct sock_fprog program = {
		.len = ARRAY_SIZE(filter),
		.filter = (struct sock_filter *)(uintptr_t)filter,
	};
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
	int64_t err;

	err = linux_call(SYS_capset, &header, none);
	if (!err)
		err = linux_call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (!err)
		err = linux_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
	return (int)err;
}

/*
 * What MADV_WIPEONFORK covers is read from a file of this process, which its rights do not allow to
 * open later. Where files are scarce none is kept: then that cannot be told.
 */
static int open_smaps(void)
{
	struct rlimit limit = { .rlim_cur = 0 };

	linux_call(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
	if (limit.rlim_cur < FILES_PLENTY)
		return -1;
	return linux_open("/proc/thread-self/smaps", O_RDONLY);
}

static int keeper_main(void *arg)
{
	struct sys_keeper *keeper = arg;
	uint64_t all = ~0ull;
	uint32_t will;

	linux_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
	linux_call(SYS_prctl, PR_SET_NAME, "usvm-keeper");
	linux_call(SYS_setpgid, 0, 0);
	keeper->smaps = open_smaps();
	linux_call(SYS_chdir, "/");
	keeper->error = give_up_rights();
	if (keeper->error)
		return 0;
	ATOMIC_STORE(&keeper->life, LIFE_READY);
	futex_wake(&keeper->life);

	while ((will = ATOMIC_LOAD(&keeper->will)) != WILL_REVOKED &&
	       !(will & FUTEX_OWNER_DIED))
		futex_wait(&keeper->will, will);
	if (will == WILL_REVOKED)
		return 0;
	linux_tls.files.smaps = keeper->smaps;
	keeper->run(keeper->arg);
	return 0;
}

/* --- in the thread that it is made by ------------------------------------ */

static void write_will(struct sys_keeper *keeper)
{
	linux_call(SYS_get_robust_list, 0, &keeper->list_before, &keeper->list_before_bytes);
	keeper->will = (uint32_t)linux_call(SYS_gettid) | FUTEX_WAITERS;
	keeper->place.next = &keeper->list.list;
	keeper->list.list.next = &keeper->place;
	keeper->list.futex_offset = (long)offsetof(struct sys_keeper, will) -
				    (long)offsetof(struct sys_keeper, place);
	linux_call(SYS_set_robust_list, &keeper->list, sizeof(keeper->list));
}

/* The word first: a keeper is never left behind without one to wait for. */
static void revoke_will(struct sys_keeper *keeper)
{
	ATOMIC_STORE(&keeper->will, WILL_REVOKED);
	futex_wake(&keeper->will);
	linux_call(SYS_set_robust_list, keeper->list_before, keeper->list_before_bytes);
}

/* Until its stack is not used any more, and nothing is left of it. */
static void wait_for_end(struct sys_keeper *keeper)
{
	uint32_t life;

	while ((life = ATOMIC_LOAD(&keeper->life)) != LIFE_OVER)
		futex_wait(&keeper->life, life);
	while (linux_call(SYS_wait4, keeper->process_id, NULL, __WALL, NULL) == -EINTR)
		;
}

static int keeper_make(struct sys_keeper *keeper)
{
	const int flags = CLONE_VM | CLONE_FILES | CLONE_UNTRACED |
			  CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID; /* and no signal */
	char *stack_end = (char *)keeper;
	int number;

	number = clone(keeper_main, stack_end, flags, keeper, &keeper->life, NULL,
		       &keeper->life);
	if (number < 0)
		return -errno;
	keeper->process_id = number;
	while (ATOMIC_LOAD(&keeper->life) == (uint32_t)number)
		futex_wait(&keeper->life, (uint32_t)number);
	if (ATOMIC_LOAD(&keeper->life) == LIFE_READY)
		return 0;
	wait_for_end(keeper);
	return keeper->error ? keeper->error : -EAGAIN;
}

int linux_keeper_start(struct sys *sys UNUSED, void (*run)(void *arg), void *arg,
		       struct sys_keeper **out)
{
	bool is_monitor = linux_monitor_suspend();
	char *block = LINUX_SANITIZED ? NULL : linux_pages_alloc(BLOCK_BYTES);
	struct sys_keeper *keeper = block ? (void *)(block + STACK_BYTES) : NULL;
	int err = -ENOMEM;

	ASSERT(linux_tls.private_files);
	if (LINUX_SANITIZED)
		err = -EOPNOTSUPP; /* its runtime knows no such thread */
	if (keeper) {
		keeper->run = run;
		keeper->arg = arg;
		write_will(keeper);
		err = keeper_make(keeper);
		if (err) {
			revoke_will(keeper);
			linux_pages_free(block, BLOCK_BYTES);
		}
	}
	*out = err ? NULL : keeper;
	linux_monitor_resume(is_monitor);
	return err;
}

void linux_keeper_stop(struct sys *sys UNUSED, struct sys_keeper *keeper)
{
	bool is_monitor = linux_monitor_suspend();

	if (keeper) {
		revoke_will(keeper);
		wait_for_end(keeper);
		linux_pages_free((char *)keeper - STACK_BYTES, BLOCK_BYTES);
	}
	linux_monitor_resume(is_monitor);
}
