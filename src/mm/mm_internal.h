/* SPDX-License-Identifier: MIT */
/*
 * mm/mm_internal.h - what the files of mm share.
 */
#ifndef MM_MM_INTERNAL_H
#define MM_MM_INTERNAL_H

#include "base/atomic.h"
#include "base/pool.h"
#include "mm/mm.h"
#include "mm/probe.h"

/* Faults that wait for an event; a fault beyond them is woken and comes again. */
#define MM_STASH_MAX 64
/* In the low bits of an address in the stash: the access was a write. */
#define MM_STASH_WRITE 1ull
/* Event spans remembered for mm_changed_since(); older ones count as a change. */
#define MM_LOG_MAX 64
/* Faults on pages that stay for a while; one more is answered at once. */
#define MM_HELD_MAX 32
/* Threads that run calls of the program. */
#define MM_CALLERS 2
#define MM_ACCESSORS_MAX 64
#define MM_EXCLUSIONS_MAX 1024
/* Nodes that one event can need at most: two splits in each tree, twice for REMAP, and
 * two for each place that somebody left and did not tell. */
#define MM_EVENT_NODES (16 + 3 * MM_LEFT_MAX)
#define MM_LEFT_MAX 16
/* How often the monitor waits for a thread that left a place to tell it. */
#define MM_LEAVER_TRIES 1000
/* Nodes that stand ready for the monitor, which may not allocate (law 2). */
#define MM_MONITOR_NODES 1024
/* How often a worker tries again when events are in flight, before it says -EBUSY. */
#define MM_RETRY_MAX 100000
/* A take gives up sooner: to leave the pages at home is always right, and the caller
 * holds a driver lock meanwhile. */
#define MM_TAKE_TRIES 64
/* Tries of mm_event_wait() that do not sleep, and how long the others do at most. */
#define MM_EVENT_YIELDS 16
#define MM_EVENT_WAIT_NS 1000000
/* After so many answers of "an event is in flight" a submit fence takes an empty queue
 * for an answer, so that a storm of events does not stop every job. */
#define MM_FENCE_TRIES 256

/* A VMA that we registered; what is missing here is only unknown, never wrong data. */
struct mm_registration {
	struct interval_node node;
	uint32_t mode; /* enum sys_register_mode */
	bool dontfork; /* we said MADV_DONTFORK, for lack of EVENT_FORK */
	bool huge;     /* the kernel makes huge pages there: one was seen */
	bool told;     /* in mm.left: the REMAP came, its UNMAP is to come */
};

/* Pages that were HOME when a REMOVE named them: they may be zapped any time now. */
struct mm_quarantine {
	struct interval_node node;
	uint64_t number; /* of the last REMOVE that named them */
	bool protected;  /* write-protected since: WRITTEN tells they are new */
};

/* An engine thread. Written by itself, read by monitor and workers. */
struct mm_accessor {
	uint32_t thread_id; /* atomic; 0: free */
	const void *device; /* atomic */
	uint64_t page;      /* atomic: page-aligned address in access, or MM_ACCESSOR_IDLE */
	uint64_t kicked_page;  /* under event_lock: the last it was thrown out of */
	uint32_t kicked_count; /* under event_lock: so often in a row */
};
#define MM_ACCESSOR_IDLE 1u

struct mm_work_list {
	struct mm_work *head; /* atomic: newest first, any thread pushes */
	struct wait wait;
	struct lock lock;     /* of takers: LOCK_MM_WORK */
	struct mm_work *ready GUARDED_BY(&lock); /* oldest first */
};

/* A message that is read and not yet dealt with, for who goes on when the monitor is killed. */
struct mm_reading {
	int uffd; /* published; -1: nothing */
	struct sys_event event;
};

/* What waits until the monitor has time; its own (late.c). */
struct mm_late {
	uint32_t count;    /* pieces */
	uint64_t since_ns; /* the first */
	bool work, collect; /* the lists whose threads are to be woken */
	bool settle;       /* a look is owed at what may be settled by now */
};

/* Children that wait for what nobody can tell; more are not kept when the program ends. */
#define MM_STUCK_MAX 16

struct push;
struct mm_calls;

struct mm {
	struct sys *sys;
	struct mm_config config;
	int uffd;            /* -1: none */
	const char *why_not; /* NULL: pages can be taken */

	/* Entries, frames' contents, reads and moves: law 9. */
	struct lock event_lock;
	/* Under event_lock: */
	struct interval_tree entries;
	struct interval_tree notifiers;
	struct interval_tree registrations;
	struct interval_tree left;      /* of registrations that something arrived over */
	struct interval_tree displaced; /* entries that were there */
	struct interval_tree quarantine;
	struct list quiesce;
	struct span log[MM_LOG_MAX]; /* of event number seq: log[seq % MM_LOG_MAX] */
	uint64_t event_seq;          /* atomic reads: how many were logged */
	uint64_t remap_count;        /* REMAPs: the newest number */
	uint64_t settled_count;      /* up to which every UNMAP that is older was read */
	struct mm_take *breaking;    /* takes that write to shared pages now */
	uint64_t settled_seq;        /* event_seq, when that was found out */
	uint64_t remove_count;       /* REMOVEs that quarantined: the newest number */
	uint64_t remove_settled;     /* as settled_count */
	uint64_t doubted_count;      /* of entries; all of them lie in doubt */
	struct span doubt;
	uint32_t leaver_tries; /* atomic reads: until a thread is seen that tells */
	uint64_t arrived_from; /* of the REMAP that it waits for it after */
	uint64_t stash[MM_STASH_MAX];
	uint32_t stash_count;
	uint64_t held[MM_HELD_MAX]; /* as the stash: until due_ns, or later */
	uint32_t held_count;
	struct list timers;
	uint64_t due_ns; /* when the first of them is due; BASE_FOREVER: there is none */
	uint64_t idle_count; /* atomic reads: how often the monitor found no message */
	uint32_t gate_closed; /* atomic reads: forks under way */
	bool marks_entries;   /* atomic: what is taken from now on is marked */
	bool counts_origins;  /* atomic: of CPU faults; it is asked of the kernel */
	bool ending;          /* no take follows: the monitor quarantines nothing */
	uint64_t moving_pages;
	uint64_t entry_pages; /* atomic reads */
	struct mm_stats stats;

	struct wait moving_wait; /* moving_pages went down */
	struct wait event_wait;  /* a message was handled */

	/* Nodes of every tree here: one size, so that one reservation covers an event. */
	struct pool node_pool;
	uint64_t nodes_taken; /* under event_lock: since mm_lock() */
	uint64_t monitor_nodes; /* atomic: reserved for the monitor */
	struct mm_work refill_work; /* brings monitor_nodes up again */

	uint64_t take_ns;         /* when the last take ended; under event_lock */
	struct mm_work idle_work; /* takes MISSING back */

	struct mm_accessor accessors[MM_ACCESSORS_MAX];
	uint32_t accessors_end; /* atomic: none from there on has ever been used */

	/* Spans that never migrate; refreshed by workers under exclusion_lock. */
	struct lock exclusion_lock;
	struct span exclusions[MM_EXCLUSIONS_MAX];
	size_t exclusion_count;
	uint64_t exclusions_due_ns; /* when they are to be read again */

	struct mm_work_list work;    /* faults: waits for nobody's call */
	struct mm_work_list request; /* mm_call(): may wait for faults to be served */
	struct mm_work_list collect;

	/* Children whose userfaultfd is to be closed, by the collector or the gate. */
	int child_uffds[64];
	uint32_t child_uffd_count; /* under event_lock */
	uint32_t children_closing; /* atomic, written under event_lock: taken out, and still open */
	struct wait children_closed;
	struct mm_work child_work;
	int stuck_uffds[MM_STUCK_MAX]; /* those that are never let go; under event_lock */
	uint32_t stuck_count;

	/* The monitor's: what the last step left. */
	struct mm_late late;
	bool is_quiet;        /* no fault is remembered, nothing is in doubt */
	uint64_t rest_ns;     /* until the first timer */
	uint32_t fence_count; /* atomic: mm_submit_fence()s that wait for an empty queue */

	uint64_t fence_page;  /* own, present, registered: mm_submit_fence() */

	/* A zeroed huge page for the next empty block; the monitor's but for the address. */
	uint64_t zeros;          /* library memory; 0: none */
	bool zeros_ready;        /* it is there */
	bool zeros_wanted;       /* somebody waits in the stash, or is likely to come */
	uint64_t zeros_again_ns; /* the kernel had none: when to ask again */
	uint64_t push_buffer; /* library memory, for pushing pages to a child */
	struct push *push;    /* the monitor's, for a raw clone; then the keeper's */
	uint32_t push_count;  /* published: of them, those that are under way */
	struct mm_reading reading;
	struct sys_keeper *keeper; /* NULL: none */
	bool is_kept; /* the program has ended, this is the keeper */
	struct mm_calls *calls;
	struct trace_ring *trace; /* atomic */

	struct sys_thread *monitor;
	struct sys_thread *workers[8];
	struct sys_thread *callers[MM_CALLERS];
	struct sys_thread *collector;
	uint32_t stopping;    /* atomic: 1 workers, 2 the collector, 3 the monitor ends */
	uint32_t started;     /* atomic: 1 once the monitor is ready; see start_error */
	int start_error;
	struct wait start_wait;
};

#define MM_PUSH_BYTES PAGE_BYTES

/* A node of mm.node_pool. */
union mm_node {
	struct mm_entry entry;
	struct mm_registration registration;
	struct mm_quarantine quarantine;
};

/* mm.c: event_lock, with nodes that were reserved by mm_reserve() before. */
MUST_CHECK int mm_reserve(struct mm *mm, size_t nodes);
void mm_lock(struct mm *mm) ACQUIRES(&mm->event_lock);
void mm_unlock(struct mm *mm, size_t nodes) RELEASES(&mm->event_lock);
int mm_refill(struct mm *mm);
void mm_refill_run(struct mm_work *work);
void *mm_node_take(struct mm *mm) MUST_HOLD(&mm->event_lock);
void mm_node_put(struct mm *mm, void *node) MUST_HOLD(&mm->event_lock);

/* entry.c */
void mm_entry_insert(struct mm *mm, struct span span, struct mm_entry_owner *owner,
		     uint64_t frame, enum mm_entry_state state, bool marked)
	MUST_HOLD(&mm->event_lock);
void mm_entry_split(struct mm *mm, uint64_t addr) MUST_HOLD(&mm->event_lock);
void mm_entry_shrink(struct mm *mm, struct mm_entry *entry, uint64_t bytes)
	MUST_HOLD(&mm->event_lock);
void mm_entry_drop_span(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_entry_unmap(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_entry_displace(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_entry_drop_displaced(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_entry_set_doubted(struct mm *mm, struct mm_entry *entry, bool doubted)
	MUST_HOLD(&mm->event_lock);
void mm_entry_rekey(struct mm *mm, struct span from, uint64_t to)
	MUST_HOLD(&mm->event_lock);
void mm_entry_give(struct mm *mm, struct mm_entry *entry, struct mm_entry_owner *owner,
		   uint64_t frame) MUST_HOLD(&mm->event_lock);
void mm_entry_set_state(struct mm *mm, struct mm_entry *entry, enum mm_entry_state state)
	MUST_HOLD(&mm->event_lock);
void mm_entry_check(struct mm *mm) MUST_HOLD(&mm->event_lock);

/* home.c */
int mm_bring_home_locked(struct mm *mm, struct span span, const struct mm_entry_owner *owner)
	MUST_HOLD(&mm->event_lock);

/* take.c */
/* Of the frames that @span would have from @frame on, those whose page mremap() took elsewhere:
 * a bit each. */
void mm_frames_used(const struct mm_entry_owner *owner, struct span span, uint64_t frame,
		    uint64_t *bits);
int mm_frames_empty(struct mm *mm, struct span frames);

/* notifier.c */
void mm_log_locked(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
bool mm_changed_since(struct mm *mm, uint64_t seq, struct span span)
	MUST_HOLD(&mm->event_lock);
void mm_notify(struct mm *mm, struct span span, enum mm_event_type type)
	MUST_HOLD(&mm->event_lock);

/* vma.c */
bool mm_span_excluded(struct mm *mm, struct span span);
int mm_vma_register(struct mm *mm, const struct sys_vma *vma, uint32_t mode);
int mm_vma_take_back(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
uint32_t mm_vma_flags(const struct mm *mm, const struct sys_vma *vma);
void mm_vma_saw_huge(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
struct mm_registration *mm_registration_first(struct mm *mm, struct span span)
	MUST_HOLD(&mm->event_lock);
void mm_vma_inherit(struct mm *mm) MUST_HOLD(&mm->event_lock);
void mm_registration_forget(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_registration_follow(struct mm *mm, struct span from, struct span to)
	MUST_HOLD(&mm->event_lock);

/* mm_stat_add() - under event_lock; mm_stats_read() reads without it */
static inline void mm_stat_add(uint64_t *stat, uint64_t count)
{
	ATOMIC_STORE_RELAXED(stat, *stat + count);
}

/* remap.c */
bool mm_message_is_owed(struct mm *mm) MUST_HOLD(&mm->event_lock);
bool mm_is_settled(struct mm *mm) MUST_HOLD(&mm->event_lock);
bool mm_remap_settle(struct mm *mm) MUST_HOLD(&mm->event_lock);
void mm_remap_doubt(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
int mm_take_yield(struct mm *mm, uint64_t addr) MUST_HOLD(&mm->event_lock);
void mm_remap_doubt_all(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
struct mm_registration *mm_left_first(struct mm *mm, struct span span)
	MUST_HOLD(&mm->event_lock);
bool mm_left_is_untold(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_left_told(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_left_unmap(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_left_add(struct mm *mm, struct span from, struct span to)
	MUST_HOLD(&mm->event_lock);
void mm_left_forget(struct mm *mm) MUST_HOLD(&mm->event_lock);
bool mm_left_awaits(struct mm *mm);

/* quarantine.c */
void mm_quarantine_add(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_quarantine_clear(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_quarantine_unmap(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_quarantine_settle(struct mm *mm) MUST_HOLD(&mm->event_lock);
bool mm_quarantine_meets(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
void mm_quarantine_release(struct mm *mm, struct span span);
void mm_quarantine_fini(struct mm *mm);

/* hole.c */
void mm_zeros_create(struct mm *mm);
void mm_zeros_destroy(struct mm *mm);
bool mm_zeros_prepare(struct mm *mm);
void mm_fill_hole(struct mm *mm, uint64_t addr, bool write) MUST_HOLD(&mm->event_lock);

/* late.c */
void mm_late_settle(struct mm *mm) MUST_HOLD(&mm->event_lock);
bool mm_late_run(struct mm *mm);
uint64_t mm_late_timeout(struct mm *mm);

/* idle.c */
void mm_idle_hole(struct mm *mm) MUST_HOLD(&mm->event_lock);
void mm_idle_run(struct mm_work *work);

/* mark.c */
bool mm_mark(struct mm *mm, struct span span) MUST_HOLD(&mm->event_lock);
bool mm_is_marked(struct mm *mm, struct span page) MUST_HOLD(&mm->event_lock);
int mm_mark_remove(struct mm *mm, struct span page) MUST_HOLD(&mm->event_lock);
int mm_mark_lift(struct mm *mm, struct mm_entry *entry, struct span *span)
	MUST_HOLD(&mm->event_lock);

/* timer.c */
bool mm_fault_hold(struct mm *mm, const struct mm_entry *entry, uint64_t addr, bool write)
	MUST_HOLD(&mm->event_lock);
void mm_timers_run(struct mm *mm, void (*handle)(struct mm *mm, uint64_t addr, bool write))
	MUST_HOLD(&mm->event_lock);
uint64_t mm_timers_timeout(struct mm *mm) MUST_HOLD(&mm->event_lock);

/* monitor.c */
void mm_stash(struct mm *mm, uint64_t addr, bool write) MUST_HOLD(&mm->event_lock);
void mm_monitor_run(void *arg);
void mm_monitor_release(struct mm *mm);
void mm_wake(struct mm *mm, struct span span);

/* work.c */
bool mm_work_push(struct mm_work_list *list, struct mm_work *work);
void mm_work_list_init(struct mm_work_list *list, const char *name);
bool mm_work_list_step(struct mm_work_list *list);
void mm_work_list_run(struct mm *mm, struct mm_work_list *list, uint32_t stopping);

/* fork.c */
int mm_fork_init(struct mm *mm);
void mm_fork_fini(struct mm *mm);
void mm_fork_event(struct mm *mm, int child_uffd) MUST_HOLD(&mm->event_lock);
/* With event_lock held: a message from the monitor's hand to the tables. */
int mm_event_read(struct mm *mm, int uffd, struct sys_event *event);
void mm_event_done(struct mm *mm);
void mm_last_will(void *arg);
size_t mm_push_bytes(void);
void mm_fork_close_children(struct mm_work *work);

/* access.c */
struct mm_accessor *mm_accessor_find(struct mm *mm, uint32_t thread_id);

#endif
