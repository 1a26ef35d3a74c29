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
 */
#include <errno.h>
#include <pthread.h>

#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

static const struct sys_fork_hooks *hooks; /* atomic */
static int64_t hooks_process;              /* atomic: whose hooks they are */
static uint32_t is_registered;             /* atomic */

static void prepare(void)
{
	const struct sys_fork_hooks *now = ATOMIC_LOAD(&hooks);

	/* In a child that no hook told (a raw clone) what they would act on is wiped. Told
	 * by its number: the mark in our pages may be unmapped by a close just now. */
	if (linux_call(SYS_getpid) != ATOMIC_LOAD(&hooks_process))
		now = NULL;

	/* Hooks may come and go while this thread forks: the three go together. */
	linux_tls.fork_hooks = now;
	if (now && now->prepare)
		now->prepare();
}

static void parent(void)
{
	const struct sys_fork_hooks *begun = linux_tls.fork_hooks;

	if (begun && begun->parent)
		begun->parent();
}

static void child(void)
{
	const struct sys_fork_hooks *begun = linux_tls.fork_hooks;

	linux_forget();
	if (begun && begun->child)
		begun->child();
}

int linux_fork_init(void)
{
	int err;

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
