/* SPDX-License-Identifier: MIT */
/*
 * DOC: the real kernel
 *
 * One struct linux_sys a process, counted: what it stands for (signal handlers,
 * the address space, the kernel's features) is one a process too. The first
 * open probes and installs, the last close takes back everything that can be
 * taken back: what the C library was told of fork() stays, and one page, in which
 * the locks of forks are (linux_fork.c). The first open's USVM_FEATURES count; a
 * later open gets the same table.
 *
 *     linux_probe.c     features, limits        linux_pages.c    our own pages
 *     linux_uffd.c      the userfaultfd         linux_memory.c   the arena
 *     linux_maps.c      vma_query()             linux_access.c   guarded access
 *     linux_pagemap.c   page_scan()             linux_signal.c   its handler
 *     linux_exclude.c   what must not migrate   linux_thread.c   threads
 *     linux_files.c     private file tables     linux_fork.c     fork
 *     linux_host.c      base's needs            linux_shared.c   memory that is shown
 *     linux_syscall.h   the only way in         linux_keeper.c   who outlives the program
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/auxv.h>

#include "base/assert.h"
#include "sys/features.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

static const struct sys_ops linux_ops = {
	.name = "linux",
	.uffd_open = linux_uffd_open,
	.uffd_close = linux_uffd_close,
	.uffd_register = linux_uffd_register,
	.uffd_unregister = linux_uffd_unregister,
	.uffd_move = linux_uffd_move,
	.uffd_copy = linux_uffd_copy,
	.uffd_zeropage = linux_uffd_zeropage,
	.uffd_wake = linux_uffd_wake,
	.uffd_poison = linux_uffd_poison,
	.uffd_writeprotect = linux_uffd_writeprotect,
	.uffd_read = linux_uffd_read,
	.uffd_salvage = linux_uffd_salvage,
	.uffd_wait = linux_uffd_wait,
	.uffd_kick = linux_uffd_kick,
	.vma_query = linux_vma_query,
	.is_mlocked = linux_is_mlocked,
	.page_scan = linux_page_scan,
	.exclusions = linux_exclusions,
	.madvise_in_flight = linux_madvise_in_flight,
	.unmap_in_flight = linux_unmap_in_flight,
	.thread_in_call = linux_thread_in_call,
	.wiped_on_fork = linux_wiped_on_fork,
	.map = linux_map,
	.unmap = linux_unmap,
	.advise = linux_advise,
	.empty = linux_empty,
	.pointer = linux_pointer,
	.shared_map = linux_shared_map,
	.shared_unmap = linux_shared_unmap,
	.shared_discard = linux_shared_discard,
	.shared_show = linux_shared_show,
	.access = linux_access,
	.thread_create = linux_thread_create,
	.thread_join = linux_thread_join,
	.keeper_start = linux_keeper_start,
	.keeper_stop = linux_keeper_stop,
	.thread_id = linux_thread_id,
	.thread_kick = linux_thread_kick,
	.clock_ns = linux_clock_ns,
	.barrier = linux_barrier,
	.fork_hooks = linux_fork_hooks,
	.is_forked = linux_is_forked,
	.check_signal_handlers = linux_check_signal_handlers,
};

struct linux_sys linux_sys;

static int64_t opened_by; /* atomic: the process of the last first open */

/* Opening holds nothing (sys.h), so the lowest rank fits. */
static struct lock open_lock = { .rank = LOCK_API_DEVICE, .name = "sys.open" };

static int open_first(uint32_t masked) MUST_HOLD(&open_lock);
static int open_first(uint32_t masked)
{
	struct linux_sys *sys = &linux_sys;
	int err;

	*sys = (struct linux_sys){ .sys = { .ops = &linux_ops } };
	lock_init(&sys->tasks_lock, LOCK_SYS_TASKS, "sys.tasks");
	lock_init(&sys->maps_lock, LOCK_LEAF_MONITOR, "sys.maps");
	err = linux_pages_init();
	if (err)
		return err;
	err = linux_fork_init(&sys->sys);
	if (err)
		goto fini_pages;
	ATOMIC_STORE(&opened_by, linux_call(SYS_getpid));
	linux_probe_features(sys, masked);
	linux_probe_limits(&sys->sys.limits);
	linux_find_segments(sys);
	if (!sys_has(&sys->sys, SYS_FEATURE_PROCMAP_QUERY))
		linux_find_huge_devices(sys);
	sys->stack_addr = getauxval(AT_RANDOM);
	err = linux_check_signal_handlers(&sys->sys);
	if (err)
		goto fini_pages;
	return 0;

fini_pages:
	linux_pages_fini();
	return err;
}

/*
 * In a child that no hook told (a raw clone) another thread of its parent may have held the
 * lock: that is found out before it is taken. The mark may be looked at by a child alone: in
 * the process that opened, a close may be unmapping it. (A process that shares the memory
 * has another number too, and finds the mark.)
 */
static bool is_inherited(void)
{
	return ATOMIC_LOAD(&opened_by) != linux_call(SYS_getpid) &&
	       ATOMIC_LOAD(&linux_sys.user_count) && linux_pages_are_forked();
}

/* With the lock held nobody unmaps it. A child can have its parent's number: the first in a
 * name space of its own. */
static void lock_own(void) ACQUIRES(&open_lock);
static void lock_own(void)
{
	if (is_inherited())
		linux_forget();
	lock_acquire(&open_lock);
	if (linux_sys.user_count && linux_pages_are_forked()) {
		lock_release(&open_lock);
		linux_forget();
		lock_acquire(&open_lock);
	}
}

int sys_linux_open(const char *feature_mask, struct sys **sys)
{
	uint32_t masked;
	int err;

	if (!feature_mask)
		feature_mask = getenv("USVM_FEATURES");
	err = sys_features_parse(feature_mask, &masked);
	if (err)
		return err;

	base_host_install(&linux_host_ops);
	lock_own();
	if (linux_sys.user_count == 0)
		err = open_first(masked);
	if (!err) {
		ATOMIC_STORE(&linux_sys.user_count, linux_sys.user_count + 1);
		*sys = &linux_sys.sys;
	}
	lock_release(&open_lock);
	return err;
}

void sys_linux_close(struct sys *sys)
{
	if (!sys)
		return;
	lock_acquire(&open_lock);
	ASSERT(linux_of(sys) == &linux_sys);
	ASSERT(linux_sys.user_count > 0);
	ATOMIC_STORE(&linux_sys.user_count, linux_sys.user_count - 1);
	if (linux_sys.user_count == 0) {
		linux_signal_restore();
		linux_fork_fini();
		linux_pages_fini();
	}
	lock_release(&open_lock);
}

/* There is one thread now, and nobody holds a lock. */
void linux_forget(void)
{
	lock_init(&open_lock, LOCK_API_DEVICE, "sys.open");
	ATOMIC_STORE(&linux_sys.user_count, 0);
	linux_fork_forget();
	linux_pages_forget();
	linux_memory_forget();
	linux_signal_forget();
}
