/* SPDX-License-Identifier: MIT */
/*
 * DOC: One process
 *
 * sys and mm are one per process and shared by its devices: the first open makes
 * them, the last close takes them away. mm_process_lock() is held over open and
 * close, which keeps fork() out meanwhile. A child of fork finds everything
 * wiped; it is noticed at the next call, whether or not fork's hooks ran.
 *
 * A call with a handle looks at is_open and sys without a lock: an open or close of
 * another device leaves both as they are.
 */
#include "api/api_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"

static struct {
	struct sys *sys;
	struct mm *mm;
	uint32_t users; /* under mm_process_lock() */
	bool is_open;   /* there are users, here or in the process that this is a fork of */
} process;

#define WORKERS 2

bool api_is_forked(void)
{
	return process.is_open && process.sys->ops->is_forked(process.sys);
}

static int process_open(void)
{
	const struct mm_config config = { .worker_count = WORKERS };
	int err;

	err = mm_create(process.sys, &config, &process.mm);
	if (err)
		process.mm = NULL;
	return err;
}

void api_process_forget(void)
{
	if (!api_is_forked())
		return;
	process.users = 0;
	process.is_open = false;
	mm_process_forget();
}

/* Called with mm_process_lock() not held; returns with it held on success. */
int api_process_get(struct sys **sys, struct mm **mm)
{
	struct sys *opened;
	int err;

	api_process_forget();
	err = sys_linux_open(NULL, &opened);
	if (err)
		return err;
	mm_process_lock();
	if (!process.users) {
		process.sys = opened;
		err = process_open();
		if (err) {
			mm_process_unlock();
			sys_linux_close(opened);
			return err;
		}
		process.is_open = true;
	}
	ASSERT(process.sys == opened); /* one a process */
	process.users++;
	*sys = process.sys;
	*mm = process.mm;
	return 0;
}

/* Called with mm_process_lock() held; drops it. */
void api_process_put(void)
{
	struct sys *sys = process.sys;

	ASSERT(process.users);
	if (--process.users == 0) {
		mm_destroy(process.mm);
		process.mm = NULL;
		process.is_open = false;
	}
	mm_process_unlock();
	sys_linux_close(sys);
}

int api_check(const void *handle, enum api_magic magic)
{
	if (!handle)
		return -EINVAL;
	if (api_is_forked())
		return -ECHILD;
	if (!IS_ALIGNED((uintptr_t)handle, sizeof(void *)))
		return -EBADF;
	/* A handle that is used too late may be given back at this moment. */
	return ATOMIC_LOAD_RELAXED((const uint32_t *)handle) == magic ? 0 : -EBADF;
}
