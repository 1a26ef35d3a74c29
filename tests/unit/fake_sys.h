/* SPDX-License-Identifier: MIT */
/*
 * fake_sys.h - a kernel in memory, for the unit tests of the layers above sys.
 *
 * One struct sys whose ops act on a window of fake addresses, FAKE_BASE and up:
 * pages with contents, VMAs, a userfaultfd with its events. The test plays the
 * program: it maps, unmaps, forks and touches. Nothing blocks: a call of the
 * program that a kernel would hold back until its event was read is cut in two.
 *
 *     fake_munmap()       the pages are gone, the event waits to be read; from here
 *     uffd_read()         on MOVE, COPY, ZEROPAGE and WRITEPROTECT say -EAGAIN,
 *     fake_caller_ran()   until here
 *
 * and a touch that a kernel would put to sleep says -EAGAIN and is counted by
 * fake_blocked() until something wakes it; the test then touches again.
 */
#ifndef TESTS_UNIT_FAKE_SYS_H
#define TESTS_UNIT_FAKE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/host_posix.h"
#include "sys/sim.h"

/* The program's addresses; map() takes from the half above FAKE_ARENA. */
#define FAKE_BASE SIM_START
#define FAKE_ARENA (FAKE_BASE + MIB(512))
#define FAKE_END (FAKE_BASE + GIB(1))
#define FAKE_ALL_FEATURES SIM_ALL_FEATURES

enum fake_role {
	FAKE_WORKER,  /* a thread of the library; what every thread is at first */
	FAKE_MONITOR,
	FAKE_PROGRAM,
};

/* Beside enum sys_page_flag, for fake_page_set() and fake_page(). */
#define FAKE_PAGE_PINNED SIM_PAGE_PINNED
#define FAKE_PAGE_SHARED SIM_PAGE_SHARED
#define FAKE_PAGE_WP SIM_PAGE_WP
#define FAKE_PAGE_POISON SIM_PAGE_POISON

struct sys_thread { /* run() is for the test to call, unless the fake has real threads */
	struct sys_thread_attr attr;
	unsigned long handle;
	bool joined;
};

struct fake_sys {
	struct sys sys; /* features may be changed at any time */

	/* Run while a guarded access waits for its page (typically a step of the monitor),
	 * and in cpu_yield(), after the callers ran. No lock of the fake is held. */
	void (*fault_hook)(void *arg);
	void (*yield_hook)(void *arg);
	/* Run when any op is entered, before it acts; not for ops that it calls itself. The
	 * caller may hold locks of the library. */
	void (*op_hook)(void *arg, const char *op);
	void *hook_arg;

	/* So many of the next moves do their work and answer -EEXIST all the same, as the
	 * kernel may where the source is zapped and faulted meanwhile. */
	uint32_t move_lies;

	uint64_t clock_ns; /* each reading adds a microsecond */
	bool madvise_busy; /* beside what fake_madvise() began and did not finish */
	bool touches_in_call; /* what sleeps in a fault is inside of a system call */
	struct span exclusions[8];
	size_t exclusion_count;
	struct sys_fork_hooks hooks;
	struct sys_thread threads[16];
	size_t thread_count;

	struct fake_state *state;
};

/**
 * fake_create() - an empty address space; installs its base_host
 * @real_threads: thread_create() makes threads, park() and uffd_wait() sleep. Else park()
 * aborts: a test of one thread would hang.
 */
struct fake_sys *fake_create(uint32_t features, bool real_threads);
/* fake_destroy() - Return: bytes of the library's own pages that leaked; a tear-down that
 * returns it fails the test then, and does not hide why a test failed before */
int fake_destroy(struct fake_sys *fake);

/* fake_become() - what the calling thread is from here on. Return: what it was. */
enum fake_role fake_become(enum fake_role role);

/* FAKE_DIES() - *@died: did @statement end in base_host->die()? */
#define FAKE_DIES(died, statement)              \
	do {                                    \
		static char text_[4096];        \
		DIES_WITH(text_, statement);    \
		*(died) = text_[0] != '\0';     \
	} while (0)

/* fake_fail() - the @nth next call of @op fails with -@error: a name of sys_ops, or
 * "pages_alloc"; 1 is the next. One failure an op. */
void fake_fail(struct fake_sys *fake, const char *op, uint64_t nth, int error);
/* fake_fail_for_ever() - and all later ones, until it is told another */
void fake_fail_for_ever(struct fake_sys *fake, const char *op, uint64_t nth, int error);
/* fake_calls() - how often @op was called, failures included */
uint64_t fake_calls(struct fake_sys *fake, const char *op);
/* fake_page_bytes() - of the library's own pages that were not freed */
uint64_t fake_page_bytes(struct fake_sys *fake);

/* --- the program; all act on the process that was entered, at first number 0 ---- */

/* fake_map() - mmap(MAP_FIXED): an UNMAP where it replaces registered memory. Two maps
 * make two VMAs, also side by side. */
void fake_map(struct fake_sys *fake, struct span span, enum sys_vma_kind kind,
	      uint32_t prot);
void fake_munmap(struct fake_sys *fake, struct span span);
/* fake_munmap_untold() - munmap() by a thread that is preempted before it queues its message:
 * fake_tell() does, once */
void fake_munmap_untold(struct fake_sys *fake, struct span span);
/* fake_mremap_untold() - the same of mremap(), to where nothing is */
void fake_mremap_untold(struct fake_sys *fake, struct span from, uint64_t to);
void fake_tell(struct fake_sys *fake);
/* fake_mremap() - REMAP, then (when the caller ran) UNMAP, unless @dontunmap. -EFAULT: @from
 * is not in one VMA. */
int fake_mremap(struct fake_sys *fake, struct span from, uint64_t to, bool dontunmap);
/* fake_grow() - mremap() to @bytes in place: nothing is told */
void fake_grow(struct fake_sys *fake, struct span span, uint64_t bytes);
void fake_mprotect(struct fake_sys *fake, struct span span, uint32_t prot);
void fake_mlock(struct fake_sys *fake, struct span span, bool on);
/* fake_guard() - MADV_GUARD_INSTALL: zaps, and sends nothing */
void fake_guard(struct fake_sys *fake, struct span span);
/* fake_madvise() - as sys_ops.advise(), by the program. DONTNEED of registered memory takes
 * effect in fake_finish_remove(). */
int fake_madvise(struct fake_sys *fake, struct span span, enum sys_advice advice);
/* fake_fork() - @hooks: as fork() does, prepare and parent are called. Return: the child's
 * number for fake_enter(). */
int fake_fork(struct fake_sys *fake, bool hooks);
void fake_enter(struct fake_sys *fake, int process);
void fake_exit(struct fake_sys *fake, int process); /* to fill its memory is -ESRCH */

/* fake_caller_ran() - whoever was blocked on an event that was read runs on. Return: true
 * if there was one: there may be another event now. */
bool fake_caller_ran(struct fake_sys *fake);
/* fake_finish_remove() - the same, and the zaps of DONTNEED happen. Return: true if any. */
bool fake_finish_remove(struct fake_sys *fake);

/* fake_touch() - a CPU access of a thread of the program
 * Return: 0 it is done; -EFAULT; -EAGAIN the thread sleeps, its fault is queued. */
int fake_touch(struct fake_sys *fake, uint64_t addr, bool write);
/* fake_blocked() - threads that sleep in a fault in @span and were not woken */
size_t fake_blocked(struct fake_sys *fake, struct span span);

/* --- pages, looked at and changed with no effect beside --------------------------- */

uint32_t fake_page(struct fake_sys *fake, uint64_t addr); /* flags; 0: a hole */
void fake_page_set(struct fake_sys *fake, struct span span, uint32_t flags);
void fake_page_clear(struct fake_sys *fake, struct span span, uint32_t flags);
/* fake_tag() - the first 8 bytes of a page. To set them makes the page present. */
uint64_t fake_tag(struct fake_sys *fake, uint64_t addr);
void fake_set_tag(struct fake_sys *fake, uint64_t addr, uint64_t tag);
/* fake_registered() - enum sys_register_mode of the page's VMA */
uint32_t fake_registered(struct fake_sys *fake, uint64_t addr);

#endif
