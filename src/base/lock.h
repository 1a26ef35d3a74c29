/* SPDX-License-Identifier: MIT */
/*
 * base/lock.h - the only lock, its ranks, and a checker of their order.
 *
 * A thread takes locks in the order of their ranks, lowest first; of one rank
 * it holds one at a time, but by lock_try_acquire(). A rank with the *monitor*
 * mark may be taken by the monitor. It follows that a program's thread never
 * takes it, and that whoever holds it neither sleeps, nor allocates, nor
 * touches the program's memory: the monitor would wait for a thread that waits
 * for the monitor. Waiting for a lock without the mark is such a sleep, whatever
 * the ranks. Debug builds check all of this at run time
 * (USVM_LOCK_CHECK) and abort with the chain of names; docs/locking.md has the
 * table with what each guards.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

/* Low ranks are taken first. lock_rank_info[] in lock.c has name and mark of each. */
enum lock_rank {
	LOCK_API_DEVICE,      /* usvm.lock: open and close, lists of VMs and queues */
	LOCK_VM,              /* vm.lock: the fault, bind and collector paths */
	LOCK_PAGEMAP_TAKE,    /* pagemap.take_lock: staging of a take */
	LOCK_MM_EXCLUSION,    /* mm.exclusion_lock: what never migrates */
	LOCK_MM_GATE,         /* mm.gate: takes against fork */
	LOCK_MM_EVENT,        /* mm.event_lock: entries, reads, moves (monitor) */
	LOCK_GPUSVM_NOTIFIER, /* gpusvm.notifier_lock: ranges, seq, PTEs (monitor) */
	LOCK_GPU_PT,          /* gpu page-table words (monitor) */
	LOCK_MM_WORK,         /* mm work queue (monitor) */
	LOCK_VRAM,            /* vram.lock: buddy, buffer objects, LRU */
	LOCK_DEVICE,          /* a device's own queue */
	LOCK_LEAF,            /* takes nothing else */
	LOCK_SYS_TASKS,       /* the list of threads; before that of mappings (monitor) */
	LOCK_LEAF_MONITOR,    /* takes nothing else: pools, rings (monitor) */
	LOCK_RANK_COUNT
};

struct lock_rank_info {
	const char *name;
	bool monitor;
};

extern const struct lock_rank_info lock_rank_info[LOCK_RANK_COUNT];

struct base_thread;

struct LOCKABLE lock {
	uint32_t word; /* atomic: 0 free, 1 held, 2 held with waiters */
	uint32_t rank;
	const char *name;
	struct base_thread *owner; /* atomic; maintained in every build: one store */
};

/**
 * lock_init() - make a free lock
 * @name: for reports; not copied
 *
 * Context: any. There is no fini: a lock owns nothing.
 */
void lock_init(struct lock *lock, enum lock_rank rank, const char *name);

void lock_acquire_at(struct lock *lock, const char *where) ACQUIRES(lock);
bool lock_try_acquire_at(struct lock *lock, const char *where)
	TRY_ACQUIRES(true, lock);
void lock_release(struct lock *lock) RELEASES(lock);

#define LOCK_STRING_(x) #x
#define LOCK_STRING(x) LOCK_STRING_(x)
#define LOCK_HERE __FILE__ ":" LOCK_STRING(__LINE__)

/** lock_acquire() - take @lock, asleep if need be. Context: see the rank's mark. */
#define lock_acquire(lock) lock_acquire_at((lock), LOCK_HERE)

/** lock_try_acquire() - take @lock if it is free; exempt from the order of ranks */
#define lock_try_acquire(lock) lock_try_acquire_at((lock), LOCK_HERE)

/** lock_assert_held() - abort unless the calling thread holds @lock; in every build */
void lock_assert_held(const struct lock *lock) ASSERTS_HELD(lock);

/** lock_assert_may_sleep() - abort if a lock with the monitor mark is held, or if this
 * is the monitor; called before whatever sleeps, allocates or touches the program.
 * Compiled to nothing without USVM_LOCK_CHECK. */
void lock_assert_may_sleep(const char *what);

/** lock_assert_none_held() - abort if the calling thread holds any lock; compiled to
 * nothing without USVM_LOCK_CHECK */
void lock_assert_none_held(const char *what);

/** lock_assert_monitor() - abort unless the thread is the monitor or holds a lock with
 * the monitor mark: the context of callbacks marked "monitor". Compiled to nothing
 * without USVM_LOCK_CHECK. */
void lock_assert_monitor(void);

/** lock_report - where the checker's report goes before the abort; tests replace it,
 * and may return from it (by longjmp only) */
extern void (*lock_report)(const char *text);

#endif
