/* SPDX-License-Identifier: MIT */
/*
 * DOC: threads of the library
 *
 * One block of pages a thread, given back by join:
 *
 *     | guard |  stack, TLS and the C library's record  |  struct sys_thread |
 *
 * Unlike other memory of the library it is not wiped in a child of fork: there the C library
 * goes through its records of the parent's threads.
 *
 * The guard is guard pages where the kernel has them (no mapping is split),
 * else a page without access.
 *
 * Signals are blocked by the creator around the creation, so that there is no
 * moment at which the thread could take one of the program's. Four stay open:
 * SIGSEGV and SIGBUS, because the kernel kills a process that blocks what it
 * has just caused, and the two that the C library keeps for itself: setuid()
 * waits until every thread has taken one of those.
 *
 * The creator waits until the thread has its file table, so that a failure
 * there is a failure of thread_create().
 */
#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "base/assert.h"
#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

#define STACK_BYTES (LINUX_SANITIZED ? MIB(1) : KIB(256))
#define STACK_BYTES_MAX MIB(16)
#define GUARD_BYTES KIB(16)
#define NAME_BYTES 16

enum thread_state {
	THREAD_STARTING,
	THREAD_RUNNING,
	THREAD_FAILED,
};

struct sys_thread {
	pthread_t handle;
	struct linux_sys *sys;
	struct sys_thread_attr attr;
	char name[NAME_BYTES];
	struct linux_files files; /* the creator's */
	bool private_files;
	bool guard_is_protected; /* by mprotect() */
	uint32_t state; /* atomic, parked on: enum thread_state */
	int error;      /* if failed */
	struct span block;
};

/* --- which threads are ours ---------------------------------------------- */

static void thread_ids_change(struct linux_sys *sys, uint32_t from, uint32_t to)
{
	for (size_t i = 0; i < LINUX_THREAD_COUNT_MAX; i++) {
		uint32_t expected = from;

		if (ATOMIC_COMPARE_EXCHANGE(&sys->thread_ids[i], &expected, to))
			return;
	}
	/* Full: the thread counts as one of the program's, to be careful about. */
}

bool linux_thread_is_ours(const struct linux_sys *sys, uint32_t thread_id)
{
	for (size_t i = 0; i < LINUX_THREAD_COUNT_MAX; i++) {
		if (ATOMIC_LOAD(&sys->thread_ids[i]) == thread_id)
			return true;
	}
	return false;
}

/* A thread of the library keeps its number; another may be one that a fork made of it. */
uint32_t linux_thread_id(struct sys *sys UNUSED)
{
	if (linux_tls.thread_id)
		return linux_tls.thread_id;
	return (uint32_t)linux_call(SYS_gettid);
}

void linux_thread_kick(struct sys *sys UNUSED, uint32_t thread_id)
{
	linux_call(SYS_tgkill, linux_call(SYS_getpid), thread_id, SIGSEGV);
}

/* --- life ---------------------------------------------------------------- */

static void thread_set_state(struct sys_thread *thread,
			     enum thread_state state)
{
	ATOMIC_STORE(&thread->state, state);
	linux_unpark(&thread->state, 1);
}

static void *thread_main(void *arg)
{
	struct sys_thread *thread = arg;
	struct linux_tls *tls = &linux_tls;
	uint32_t id = linux_thread_id(NULL);

	tls->thread_id = id;
	tls->base.is_library = true;
	tls->base.is_monitor = thread->attr.flags & SYS_THREAD_MONITOR;
	linux_call(SYS_prctl, PR_SET_NAME, thread->name);
	if (thread->attr.flags & SYS_THREAD_OWN_FILES) {
		thread->error = linux_files_become_private();
	} else if (thread->attr.flags & SYS_THREAD_SHARE_FILES) {
		tls->files = thread->files;
		tls->private_files = thread->private_files;
	}
	if (thread->error) {
		thread_set_state(thread, THREAD_FAILED);
		return NULL;
	}
	thread_ids_change(thread->sys, 0, id);
	thread_set_state(thread, THREAD_RUNNING);
	thread->attr.run(thread->attr.arg);
	thread_ids_change(thread->sys, id, 0);
	return NULL;
}

/* Keep the stack from growing into what lies below. */
static void guard_set(struct sys_thread *thread)
{
	uint64_t start = thread->block.start;

	if (sys_has(&thread->sys->sys, SYS_FEATURE_GUARD) &&
	    linux_call(SYS_madvise, start, GUARD_BYTES,
		       ABI_MADV_GUARD_INSTALL) == 0)
		return;
	thread->guard_is_protected =
		linux_call(SYS_mprotect, start, GUARD_BYTES, PROT_NONE) == 0;
}

static struct sys_thread *thread_alloc(struct linux_sys *sys,
				       const struct sys_thread_attr *attr,
				       uint64_t stack_bytes)
{
	uint64_t bytes = GUARD_BYTES + stack_bytes + PAGE_BYTES;
	void *pages = linux_pages_alloc(bytes);
	struct sys_thread *thread;
	size_t length = MIN(strlen(attr->name), (size_t)NAME_BYTES - 1);

	if (!pages)
		return NULL;
	if (linux_call(SYS_madvise, pages, bytes, MADV_KEEPONFORK)) {
		linux_pages_free(pages, bytes);
		return NULL;
	}
	thread = (void *)((char *)pages + bytes - PAGE_BYTES);
	thread->sys = sys;
	thread->block = span_make((uintptr_t)pages, bytes);
	thread->attr = *attr;
	memcpy(thread->name, attr->name, length);
	thread->files = linux_tls.files;
	thread->private_files = linux_tls.private_files;
	guard_set(thread);
	return thread;
}

static void thread_free(struct sys_thread *thread)
{
	struct span block = thread->block;

	if (thread->guard_is_protected)
		linux_call(SYS_mprotect, block.start, GUARD_BYTES,
			   PROT_READ | PROT_WRITE);
	else if (sys_has(&thread->sys->sys, SYS_FEATURE_GUARD))
		linux_call(SYS_madvise, block.start, GUARD_BYTES,
			   ABI_MADV_GUARD_REMOVE);
	/* A kernel that is short of mappings leaves it as it is: what is not wiped there is
	 * not looked at. */
	linux_call(SYS_madvise, block.start, span_bytes(block), MADV_WIPEONFORK);
	linux_pages_free((void *)(uintptr_t)block.start, span_bytes(block));
}

/* Return: 0 or -errno of pthread_create(); -EINVAL: the stack is too small. */
static int thread_start(struct sys_thread *thread, uint64_t stack_bytes)
{
	const uint64_t open = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) |
			      3ull << (32 - 1);
	uint64_t blocked = ~open;
	uint64_t before;
	pthread_attr_t attr;
	void *stack = (void *)(uintptr_t)(thread->block.start + GUARD_BYTES);
	int err = pthread_attr_init(&attr);

	if (err)
		return -err;
	err = pthread_attr_setstack(&attr, stack, stack_bytes);
	if (!err) {
		linux_call(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, &before,
			   sizeof(before));
		err = pthread_create(&thread->handle, &attr, thread_main,
				     thread);
		linux_call(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL,
			   sizeof(before));
	}
	pthread_attr_destroy(&attr);
	return err == EPERM ? -EAGAIN : -err; /* a sandbox; EPERM is of memory here */
}

bool linux_monitor_suspend(void)
{
	bool is_monitor = linux_tls.base.is_monitor;

	linux_tls.base.is_monitor = false;
	return is_monitor;
}

void linux_monitor_resume(bool is_monitor)
{
	linux_tls.base.is_monitor = is_monitor;
}

/* Start a thread, on a stack that is large enough for the program's
 * thread-local variables, which the C library puts there. */
static int thread_create_started(struct linux_sys *sys,
				 const struct sys_thread_attr *attr,
				 struct sys_thread **thread)
{
	uint64_t stack_bytes = STACK_BYTES;
	struct sys_thread *created;
	uint32_t state;
	int err;

	do {
		created = thread_alloc(sys, attr, stack_bytes);
		if (!created)
			return -ENOMEM;
		*thread = created;
		err = thread_start(created, stack_bytes);
		if (err)
			thread_free(created);
		stack_bytes *= 2;
	} while (err == -EINVAL && stack_bytes <= STACK_BYTES_MAX);
	if (err)
		return err;

	while ((state = ATOMIC_LOAD(&created->state)) == THREAD_STARTING)
		linux_park(&created->state, THREAD_STARTING, BASE_FOREVER);
	if (state == THREAD_RUNNING)
		return 0;
	err = created->error;
	linux_thread_join(&sys->sys, created);
	return err;
}

int linux_thread_create(struct sys *sys, const struct sys_thread_attr *attr,
			struct sys_thread **thread)
{
	bool is_monitor = linux_monitor_suspend();
	int err;

	ASSERT(attr->run);
	ASSERT(attr->name);
	err = thread_create_started(linux_of(sys), attr, thread);
	if (err)
		*thread = NULL;
	linux_monitor_resume(is_monitor);
	return err;
}

void linux_thread_join(struct sys *sys UNUSED, struct sys_thread *thread)
{
	bool is_monitor = linux_monitor_suspend();
	int err;

	if (thread) {
		err = pthread_join(thread->handle, NULL);
		ASSERT(!err);
		thread_free(thread);
	}
	linux_monitor_resume(is_monitor);
}

/* --- a barrier for everybody --------------------------------------------- */

/*
 * Without membarrier(): take away a page that was touched. To forget its
 * translation the kernel interrupts each processor that runs a thread of this
 * process, and an interrupt is a full barrier; who is not running passes one
 * when it is scheduled. The page is a fresh one each time, so that callers
 * need no lock. Processors that forget by broadcast, with no interrupt, only
 * exist under kernels that have membarrier().
 */
static void barrier_by_unmap(void)
{
	int64_t page = linux_call(SYS_mmap, 0, PAGE_BYTES,
				  PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT(page > 0 || page < -4095);
	*(volatile char *)(uintptr_t)page = 1;
	linux_call(SYS_munmap, page, PAGE_BYTES);
}

void linux_barrier(struct sys *sys)
{
	if (!sys_has(sys, SYS_FEATURE_MEMBARRIER)) {
		barrier_by_unmap();
		return;
	}
	if (linux_call(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0))
		barrier_by_unmap();
}
