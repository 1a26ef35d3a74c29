/* SPDX-License-Identifier: MIT */
/*
 * DOC: fork
 *
 * A child of fork has the library's static state and none of its threads,
 * pages or descriptors. pthread_atfork() cannot be taken back, so it is called
 * once per process, and what it calls is a pointer that comes and goes. In the
 * child sys itself is put back to "never opened" before the hook runs.
 *
 * A child made by a raw clone() passes all that by. It is found out at the
 * next open, by the mark in pages that are wiped in a child.
 *
 * What a child inherits may be registered with a userfaultfd that its parent has
 * to close, and until then nobody else can register it. The parent's hook does
 * that; the thread that forks holds a lock from before the fork to behind the
 * hook, and the child's first open waits for it. The lock is in memory that both
 * have, and robust: who waits for a parent that dies goes on. What that had of the
 * child is closed when its keeper has ended (linux_keeper.c), which may be later.
 *
 * There are many, and each fork takes one that is free: a child that is stopped while
 * it has the one it waited for keeps its parent from nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

static const struct sys_fork_hooks *hooks; /* atomic */
static int64_t hooks_process;              /* atomic: whose hooks they are */
static uint32_t is_registered;             /* atomic */

#define LOCK_COUNT (PAGE_BYTES / sizeof(pthread_mutex_t))

static pthread_mutex_t *forking;        /* LOCK_COUNT; made by the first open */
static int64_t forking_process;         /* whose forks take them */
static pthread_mutex_t *parent_forking; /* of a child that has not opened yet */
static pthread_mutex_t *born_under;     /* one of those; NULL: none */

static int make_forking(struct sys *sys)
{
	pthread_mutexattr_t attr;
	uint64_t addr;
	int err;

	err = linux_shared_map(sys, PAGE_BYTES, PAGE_BYTES, &addr, NULL);
	if (err)
		return err;
	err = (int)linux_call(SYS_madvise, addr, PAGE_BYTES, MADV_DOFORK);
	if (err) {
		linux_shared_unmap(sys, addr, PAGE_BYTES, -1);
		return err;
	}
	forking = (pthread_mutex_t *)addr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	for (size_t i = 0; i < LOCK_COUNT; i++)
		pthread_mutex_init(&forking[i], &attr);
	pthread_mutexattr_destroy(&attr);
	forking_process = linux_call(SYS_getpid);
	return 0;
}

/* @err: of locking @mutex. Return: it is ours. */
static bool is_locked(pthread_mutex_t *mutex, int err)
{
	if (err == EBUSY)
		return false;
	if (err == EOWNERDEAD)
		err = pthread_mutex_consistent(mutex);
	ASSERT(!err);
	return true;
}

/* Return: NULL: all are with children that are stopped, and this one will not wait. */
static pthread_mutex_t *take_free(void)
{
	for (size_t i = 0; i < LOCK_COUNT; i++) {
		if (is_locked(&forking[i], pthread_mutex_trylock(&forking[i])))
			return &forking[i];
	}
	return NULL;
}

static void wait_for_parent(struct sys *sys)
{
	if (born_under && is_locked(born_under, pthread_mutex_lock(born_under)))
		pthread_mutex_unlock(born_under);
	born_under = NULL;
	linux_shared_unmap(sys, (uintptr_t)parent_forking, PAGE_BYTES, -1);
	parent_forking = NULL;
}

static void prepare(void)
{
	const struct sys_fork_hooks *now = ATOMIC_LOAD(&hooks);

	/* In a child that no hook told (a raw clone) what they would act on is wiped. Told
	 * by its number: the mark in our pages may be unmapped by a close just now. */
	if (linux_call(SYS_getpid) != ATOMIC_LOAD(&hooks_process))
		now = NULL;

	/* Hooks may come and go while this thread forks: the three go together. */
	linux_tls.fork_hooks = now;
	if (!now)
		return;
	if (now->prepare)
		now->prepare();
	linux_tls.fork_lock = take_free();
}

static void parent(void)
{
	const struct sys_fork_hooks *begun = linux_tls.fork_hooks;

	if (!begun)
		return;
	if (begun->parent)
		begun->parent();
	if (linux_tls.fork_lock)
		pthread_mutex_unlock(linux_tls.fork_lock);
}

static void child(void)
{
	const struct sys_fork_hooks *begun = linux_tls.fork_hooks;

	/* One that has none of its own has its parent's still. */
	if (forking) {
		parent_forking = forking;
		born_under = begun ? linux_tls.fork_lock : NULL;
	}
	forking = NULL;
	linux_forget();
	if (begun && begun->child)
		begun->child();
}

/* To a child of which no hook was told its parent's locks say nothing. */
void linux_fork_forget(void)
{
	if (forking)
		linux_shared_unmap(&linux_sys.sys, (uintptr_t)forking, PAGE_BYTES, -1);
	forking = NULL;
}

int linux_fork_init(struct sys *sys)
{
	int err;

	if (parent_forking)
		wait_for_parent(sys);
	/* A last close leaves them: a child of which no hook was told has its parent's. */
	if (forking_process != linux_call(SYS_getpid))
		linux_fork_forget();
	err = forking ? 0 : make_forking(sys);
	if (err)
		return err;
	if (ATOMIC_EXCHANGE(&is_registered, 1))
		return 0;
	err = pthread_atfork(prepare, parent, child);
	if (err)
		ATOMIC_STORE(&is_registered, 0);
	return -err;
}

int linux_fork_hooks(struct sys *sys UNUSED, const struct sys_fork_hooks *new_hooks)
{
	ATOMIC_STORE(&hooks_process, linux_call(SYS_getpid));
	ATOMIC_STORE(&hooks, new_hooks);
	return 0;
}

void linux_fork_fini(void)
{
	ATOMIC_STORE(&hooks, NULL);
}

bool linux_is_forked(struct sys *sys UNUSED)
{
	return linux_pages_are_forked();
}
