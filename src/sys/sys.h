/* SPDX-License-Identifier: MIT */
/*
 * sys/sys.h - everything the library asks of the operating system.
 *
 * The only layer that makes system calls and the only one that turns a shared
 * address into a pointer. One table of functions with two implementations:
 * linux.c (the real kernel) and sim.c (a kernel in memory, sys/sim.h). Layers
 * above cannot tell which one they have.
 *
 * Every function returns 0 or -errno of the system call unless it says
 * otherwise, and never sets errno for its caller. Nothing here allocates from
 * the program's heap.
 *
 * File tables: the userfaultfd lives in the private file table of the monitor
 * (SYS_THREAD_OWN_FILES), which the threads that it creates with
 * SYS_THREAD_SHARE_FILES share. Calls that take a @uffd work on those threads
 * only. That is what makes close_range() in the program harmless.
 */
#ifndef SYS_SYS_H
#define SYS_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

struct sys;

/* What the kernel can do, probed at run time. USVM_FEATURES=-name,... masks a bit. */
enum sys_feature {
	SYS_FEATURE_UFFD = 1 << 0,          /* any userfaultfd at all */
	SYS_FEATURE_KERNEL_FAULTS = 1 << 1, /* "kernel_faults": system calls may touch */
	SYS_FEATURE_EVENT_FORK = 1 << 2,    /* "event_fork" */
	SYS_FEATURE_MOVE = 1 << 3,          /* "move": UFFDIO_MOVE, Linux 6.8 */
	SYS_FEATURE_WP_ASYNC = 1 << 4,      /* "wp_async", 6.7 */
	SYS_FEATURE_PROCMAP_QUERY = 1 << 5, /* "procmap_query", 6.11; else maps is parsed */
	SYS_FEATURE_PAGEMAP_SCAN = 1 << 6,  /* "pagemap_scan", 6.7 */
	SYS_FEATURE_GUARD = 1 << 7,         /* "guard": MADV_GUARD_INSTALL, 6.13 */
	SYS_FEATURE_POISON = 1 << 8,        /* "poison": UFFDIO_POISON, 6.6 */
	SYS_FEATURE_MEMBARRIER = 1 << 9,    /* "membarrier": private expedited */
	SYS_FEATURE_THREAD_ID = 1 << 10,    /* "thread_id": a fault names its thread */
};

/* --- userfaultfd ----------------------------------------------------------- */

enum sys_event_type {
	SYS_EVENT_FAULT,
	SYS_EVENT_UNMAP,
	SYS_EVENT_REMOVE,
	SYS_EVENT_REMAP,
	SYS_EVENT_FORK,
};

enum sys_fault_flag {
	SYS_FAULT_WRITE = 1 << 0,
	SYS_FAULT_WP = 1 << 1,
};

struct sys_event {
	enum sys_event_type type;
	uint32_t fault_flags; /* FAULT: enum sys_fault_flag */
	uint32_t thread_id;   /* FAULT: who faulted; 0: not known */
	int child_uffd;       /* FORK: in the reader's file table */
	uint64_t addr;        /* FAULT: byte address (page-aligned) */
	struct span span;     /* UNMAP, REMOVE; REMAP: the old place, old length */
	uint64_t to;          /* REMAP: the new place */
	uint64_t message[4];  /* as the kernel wrote it: uffd_salvage() */
};

enum sys_register_mode {
	SYS_REGISTER_WP = 1 << 0,      /* events only: nothing at first touch */
	SYS_REGISTER_MISSING = 1 << 1, /* holes fault */
};

enum sys_move_flag {
	SYS_MOVE_DONTWAKE = 1 << 0,
	SYS_MOVE_ALLOW_SRC_HOLES = 1 << 1,
};

/* --- the address space ------------------------------------------------------ */

enum sys_vma_kind {
	SYS_VMA_ANON_PRIVATE, /* heap and bss included; the only kind that migrates */
	SYS_VMA_ANON_SHARED,
	SYS_VMA_FILE_PRIVATE,
	SYS_VMA_FILE_SHARED,
	SYS_VMA_HUGETLB,
	SYS_VMA_STACK, /* [stack] */
	SYS_VMA_SPECIAL, /* vdso, vvar and what has no pages of its own */
};

enum sys_prot {
	SYS_PROT_READ = 1 << 0,
	SYS_PROT_WRITE = 1 << 1,
	SYS_PROT_EXEC = 1 << 2,
};

struct sys_vma {
	struct span span;
	uint32_t prot; /* enum sys_prot */
	enum sys_vma_kind kind;
	uint64_t file_offset; /* file mappings: these three tell one mapping from another */
	uint64_t inode;
	uint64_t device_number;
};

enum sys_page_flag {
	SYS_PAGE_PRESENT = 1 << 0, /* mapped now */
	SYS_PAGE_SWAPPED = 1 << 1, /* swap, or a marker that is no hole */
	SYS_PAGE_HUGE = 1 << 2,    /* part of a huge page */
	SYS_PAGE_ZERO = 1 << 3,    /* the kernel's zero page */
	SYS_PAGE_WRITTEN = 1 << 4, /* since the last write-protect (async only) */
	SYS_PAGE_GUARD = 1 << 5,   /* a guard marker; where the kernel tells */
};

/* A run of pages with equal flags. Holes have no run. */
struct sys_page_run {
	struct span span;
	uint32_t flags; /* enum sys_page_flag */
};

enum sys_advice {
	SYS_ADVICE_HUGEPAGE,
	SYS_ADVICE_NOHUGEPAGE,
	SYS_ADVICE_DONTFORK,
	SYS_ADVICE_DOFORK,
	SYS_ADVICE_DONTDUMP,
	SYS_ADVICE_DONTNEED, /* raises REMOVE on registered memory */
	SYS_ADVICE_POPULATE_WRITE,
	SYS_ADVICE_COLLAPSE,
};

/* --- guarded access: the only way a library thread touches the program ------ */

enum sys_access_op {
	SYS_ACCESS_READ,    /* @bytes from the address to @buffer */
	SYS_ACCESS_WRITE,   /* @bytes from @buffer to the address */
	SYS_ACCESS_ADD,     /* atomics: 4 or 8 bytes, naturally aligned; @buffer: */
	SYS_ACCESS_SUB,     /*   in: uint64_t operand, uint64_t compare */
	SYS_ACCESS_AND,     /*   out: [0] the value before */
	SYS_ACCESS_OR,
	SYS_ACCESS_XOR,
	SYS_ACCESS_EXCHANGE,
	SYS_ACCESS_COMPARE_EXCHANGE,
	SYS_ACCESS_MIN, /* unsigned */
	SYS_ACCESS_MAX,
	SYS_ACCESS_SIGNED_MIN,
	SYS_ACCESS_SIGNED_MAX,
};

/* --- threads ---------------------------------------------------------------- */

enum sys_thread_flag {
	SYS_THREAD_OWN_FILES = 1 << 0,   /* a file table of its own, emptied at once */
	SYS_THREAD_SHARE_FILES = 1 << 1, /* the creator's; create it from a thread of ours */
	SYS_THREAD_MONITOR = 1 << 2,     /* base_thread.is_monitor */
};

struct sys_thread_attr {
	const char *name; /* at most 15 bytes; shown by ps -L */
	void (*run)(void *arg);
	void *arg;
	uint32_t flags;
};

struct sys_keeper;
struct sys_thread; /* from the library's pages; freed by join */

/* Called by the kernel of fork(): in the thread that forks, which is a program's. */
struct sys_fork_hooks {
	void (*prepare)(void);
	void (*parent)(void);
	void (*child)(void);
};

struct sys_limits {
	uint64_t max_map_count;
	uint32_t cpu_count;
	bool huge_pages_always; /* THP "always"; else only where advised */
	bool huge_pages_never;
};

/**
 * struct sys_ops - one kernel
 *
 * Context of each, beside its line: [any] never blocks on another thread of the
 * process and may be called with monitor locks held; [sleep] may block, no
 * monitor lock is held.
 */
struct sys_ops {
	const char *name; /* "linux", "sim" */

	/* -- the userfaultfd; on threads of the private file table only */

	/* [sleep] Open, enable what features() has, return the descriptor. */
	int (*uffd_open)(struct sys *sys, int *uffd);
	/* [sleep] Also for a child's descriptor out of a FORK event. */
	void (*uffd_close)(struct sys *sys, int uffd);
	/* [any] @mode: enum sys_register_mode. May be repeated: a mode that a VMA has
	 * already, alone or with the other, is no change; else @mode is all that it has
	 * then. -EINVAL: a VMA inside cannot; -EBUSY: another userfaultfd has it;
	 * -ENOENT: nothing mapped; -ENOMEM: too many mappings. */
	int (*uffd_register)(struct sys *sys, int uffd, struct span span, uint32_t mode);
	int (*uffd_unregister)(struct sys *sys, int uffd, struct span span);
	/* [any] Move pages @src -> @dst. @moved: bytes done, set in every case. 0: all.
	 * -EAGAIN with *@moved > 0: stopped there, any reason; with 0: an event is in
	 * flight. Else the reason of the first page: -ENOENT hole or no VMA, -EEXIST,
	 * -EBUSY shared or pinned, -EINVAL the VMAs do not match. */
	int (*uffd_move)(struct sys *sys, int uffd, uint64_t dst, uint64_t src,
			 uint64_t bytes, uint32_t flags, uint64_t *moved);
	/* [any] Copy from library memory or the arena (present pages only). As above. */
	int (*uffd_copy)(struct sys *sys, int uffd, uint64_t dst, uint64_t src,
			 uint64_t bytes, uint64_t *copied);
	/* [any] Map the zero page into holes. @done as above. */
	int (*uffd_zeropage)(struct sys *sys, int uffd, struct span span, uint64_t *done);
	int (*uffd_wake)(struct sys *sys, int uffd, struct span span);
	int (*uffd_poison)(struct sys *sys, int uffd, struct span span);
	/* [any] Of a hole: a mark that is no page, where WP_ASYNC. Off: it is gone. Wakes
	 * nobody. */
	int (*uffd_writeprotect)(struct sys *sys, int uffd, struct span span, bool on);
	/* [any] One message. -EAGAIN: none now, nor ever when the process is gone. */
	int (*uffd_read)(struct sys *sys, int uffd, struct sys_event *event);
	/* [any] What a uffd_read() has taken whose thread was killed before it could tell:
	 * @event was all zeros when it began. -EAGAIN: nothing. */
	int (*uffd_salvage)(struct sys *sys, struct sys_event *event);
	/* [sleep] Until @uffd is readable, uffd_kick() was called, or the time is up.
	 * Return 0 or -ETIMEDOUT. */
	int (*uffd_wait)(struct sys *sys, int uffd, uint64_t timeout_ns);
	/* [any] End a uffd_wait(), this one or the next. Threads of the private file
	 * table only: the kick is a descriptor there. */
	void (*uffd_kick)(struct sys *sys);

	/* -- looking at the address space */

	/* [any] The VMA that holds @addr, or the next above if @or_next. -ENOENT: none.
	 * Works on threads of the private file table. */
	int (*vma_query)(struct sys *sys, uint64_t addr, bool or_next,
			 struct sys_vma *vma);
	/* [any] Runs of pages in @span that are no holes, in order; at most @max.
	 * *@end: where the scan stopped (span.end when all was seen). Without
	 * PAGEMAP_SCAN it is made from /proc/self/pagemap: no HUGE, ZERO, WRITTEN, GUARD. */
	int (*page_scan)(struct sys *sys, struct span span, struct sys_page_run *runs,
			 size_t max, size_t *count, uint64_t *end);
	/* [any] Is some of @span locked into memory: mlock(), mlockall()? */
	bool (*is_mlocked)(struct sys *sys, struct span span);
	/* [sleep] Spans that must never migrate: the library's own pages and code, libc
	 * and ld.so's writable segments, stacks with TLS of the threads that exist now.
	 * Fills at most @max; *@count is how many there are. */
	int (*exclusions)(struct sys *sys, struct span *spans, size_t max, size_t *count);
	/* [sleep] *@busy: true if some thread of the process may be inside madvise() or
	 * process_madvise() now, or it cannot be told. */
	int (*madvise_in_flight)(struct sys *sys, bool *busy);
	/* [any] *@found: true if some thread of the process sleeps in a call that takes
	 * away what was mapped in @place, but an mremap() of @except: munmap(), mremap(),
	 * and others that unmap. */
	int (*unmap_in_flight)(struct sys *sys, struct span place, uint64_t except,
			       bool *found);
	/* [any] *@in_call: true if thread @thread_id, which waits for a fault of its own,
	 * is inside of a system call: the kernel touched the page for it. -EAGAIN: it does
	 * not sleep (yet); or why it cannot be told. */
	int (*thread_in_call)(struct sys *sys, uint32_t thread_id, bool *in_call);

	/* [any] Spans that a child of fork finds empty (MADV_WIPEONFORK). At most @max;
	 * *@count is how many there are. Slow: the kernel looks at every page. */
	int (*wiped_on_fork)(struct sys *sys, struct span *spans, size_t max,
			     size_t *count);

	/* -- memory of the library's own (the arena) */

	/* [sleep] Reserve and map zero-filled private memory, @align-aligned, near @hint
	 * (0: anywhere), DONTFORK and DONTDUMP. */
	int (*map)(struct sys *sys, uint64_t bytes, uint64_t align, uint64_t hint,
		   uint64_t *addr);
	void (*unmap)(struct sys *sys, uint64_t addr, uint64_t bytes);
	int (*advise)(struct sys *sys, struct span span, enum sys_advice advice);
	/* [any] Make @span empty without an event. -EOPNOTSUPP: no guard pages. */
	int (*empty)(struct sys *sys, struct span span);
	/* [any] A pointer to memory of the library's own. NULL where there is none to
	 * give (a simulated kernel has its own). */
	void *(*pointer)(struct sys *sys, uint64_t addr, uint64_t bytes);

	/* -- memory of the library's own that the program can be shown */

	/* [sleep] Map zero-filled memory, @align-aligned, present or made present by the
	 * kernel alone, DONTFORK; more mappings of the same bytes come by shared_show().
	 * @file: NULL, or ([worker] then) what shared_discard() will want; -1: there is no
	 * descriptor to be had. */
	int (*shared_map)(struct sys *sys, uint64_t bytes, uint64_t align, uint64_t *addr,
			  int *file);
	/* What was shown stays. @file: of shared_map(), or -1. */
	void (*shared_unmap)(struct sys *sys, uint64_t addr, uint64_t bytes, int file);
	/* [worker] The bytes are given back, in every mapping of them: who touches them gets
	 * SIGBUS; without a file zeros. */
	void (*shared_discard)(struct sys *sys, uint64_t addr, uint64_t bytes, int file);
	/* [sleep] Map the bytes of @part of such memory once more, for the program, with
	 * @prot; at @at, in the place of what is there, or anywhere (0). */
	int (*shared_show)(struct sys *sys, struct span part, uint64_t at, uint32_t prot,
			   uint64_t *addr);

	/* -- guarded access to the program's memory */

	/* [sleep, no lock at all] See enum sys_access_op. -EFAULT: nothing mapped there,
	 * or it forbids the access; part of a READ or WRITE may have been done.
	 * -EINTR: kicked out by thread_kick(): translate again; an atomic has not been
	 * done. -EINVAL: an atomic of another size or place. */
	int (*access)(struct sys *sys, enum sys_access_op op, uint64_t addr, void *buffer,
		      uint32_t bytes);

	/* -- threads and time */

	/* [sleep] All signals blocked but SIGSEGV, SIGBUS and the C library's own two.
	 * *@thread is set before run() starts. The monitor may create and join its
	 * workers too, while nothing is registered. */
	int (*thread_create)(struct sys *sys, const struct sys_thread_attr *attr,
			     struct sys_thread **thread);
	void (*thread_join)(struct sys *sys, struct sys_thread *thread);
	/* [sleep] On a thread that reads a userfaultfd, like keeper_stop(): a process beside this
	 * one, with its memory and the caller's file table, that sleeps until the caller ends
	 * without keeper_stop(), by whatever ends or replaces the program. It runs
	 * @run(@arg) then in the place of the caller: holds its locks, has its base_thread; what
	 * it may call is [any], uffd_close(), uffd_wait() and wiped_on_fork(); and ends.
	 * -EAGAIN: too many processes; -EOPNOTSUPP: there is no such thing here. */
	int (*keeper_start)(struct sys *sys, void (*run)(void *arg), void *arg,
			    struct sys_keeper **keeper);
	void (*keeper_stop)(struct sys *sys, struct sys_keeper *keeper);
	/* [any] The kernel's id of the caller. */
	uint32_t (*thread_id)(struct sys *sys);
	/* [any] Throw thread @thread_id (of ours) out of the guarded access that it is in,
	 * or else out of its next one: a kick just before the access is not lost. */
	void (*thread_kick)(struct sys *sys, uint32_t thread_id);
	uint64_t (*clock_ns)(struct sys *sys);
	/* [any] Every other running thread of the process passes a full barrier. */
	void (*barrier)(struct sys *sys);
	/* [sleep] Once per process; later calls with the same hooks do nothing. */
	int (*fork_hooks)(struct sys *sys, const struct sys_fork_hooks *hooks);
	/* [any] True in a process that is a fork's child of the one that opened @sys. */
	bool (*is_forked)(struct sys *sys);
	/* [any] Look whether our SIGSEGV and SIGBUS handlers are still there; put them
	 * back, in front of what is, if not. */
	int (*check_signal_handlers)(struct sys *sys);
};

struct sys {
	const struct sys_ops *ops;
	uint32_t features; /* enum sys_feature: found and not masked */
	uint32_t features_found; /* before USVM_FEATURES */
	struct sys_limits limits;
};

/**
 * sys_linux_open() - the real kernel: probe it, install base_host, chain the handlers
 * @feature_mask: what to take away, as USVM_FEATURES; NULL: read the environment
 * @sys: out; counted: each open needs its sys_linux_close()
 *
 * Context: a program's thread that holds nothing.
 * Return: 0; -EINVAL @feature_mask names what there is not; -ENOMEM; -ENOSYS not Linux
 * on x86-64. A kernel without userfaultfd is no error: features tells.
 */
MUST_CHECK int sys_linux_open(const char *feature_mask, struct sys **sys);
void sys_linux_close(struct sys *sys);

/** sys_feature_name() - as in USVM_FEATURES; NULL when @bit is none or several */
const char *sys_feature_name(uint32_t bit);

static inline bool sys_has(const struct sys *sys, uint32_t features)
{
	return (sys->features & features) == features;
}

#endif
