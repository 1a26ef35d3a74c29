/* SPDX-License-Identifier: MIT */
/*
 * mm/mm.h - the process's address space, as the layers above see it.
 *
 * The twin of the kernel's MM for SVM: it hears of every change of the address
 * space (userfaultfd events), keeps an *entry* for every page whose contents
 * are not in the process (the twin of a device-private swap entry), answers the
 * CPU's faults on such pages, and takes pages out of the process and gives them
 * back. One struct mm serves a process, shared and counted.
 *
 *     HOME     no entry          the process has the page, or it is a hole
 *     MOVING   entry, MOVING     its owner copies it; a CPU fault waits
 *     DEVICE   entry, DEVICE     its owner has it; a CPU fault brings it home
 *
 * One lock, event_lock, makes one step of reading an event and putting its
 * effect into the tables, and of moving a page and its entry (law 9). Callbacks
 * marked [monitor] run with it held: see docs/locking.md.
 */
#ifndef MM_MM_H
#define MM_MM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/interval_tree.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/span.h"
#include "base/trace.h"
#include "base/wait.h"
#include "sys/sys.h"

struct mm;

/* --- life ---------------------------------------------------------------------- */

struct mm_config {
	uint32_t worker_count;   /* 1..8 */
	bool no_threads;         /* tests: the caller runs the monitor's and workers' steps */
};

/**
 * mm_create() - the address space of this process, ready for notifiers and takes
 * @sys: borrowed until mm_destroy()
 *
 * Starts monitor, workers and collector; opens the userfaultfd on the monitor.
 * Context: a program's thread that holds mm_process_lock(); may sleep.
 * Return: 0, -ENOMEM, -EAGAIN. A kernel without userfaultfd is no error: mm_can_migrate().
 */
MUST_CHECK int mm_create(struct sys *sys, const struct mm_config *config, struct mm **mm);

/** mm_destroy() - end the threads, give everything back; no entry, notifier or work is
 * left (asserted). NULL is accepted. Context: a program's thread; may sleep. */
void mm_destroy(struct mm *mm);

struct sys *mm_sys(const struct mm *mm);

/** mm_can_migrate() - true if pages can be taken; else *@why (may be NULL) says why not */
bool mm_can_migrate(const struct mm *mm, const char **why);

/** mm_event_lock() - for MUST_HOLD() and for callers of the _locked functions */
struct lock *mm_event_lock(struct mm *mm);

/**
 * mm_process_lock() - against fork and against each other: open and close
 *
 * mm_create() and mm_destroy() are called with it held. A child of fork finds it free.
 * Context: a program's thread; may sleep. base_host is installed.
 */
void mm_process_lock(void);
void mm_process_unlock(void);

/** mm_process_forget() - in a child that no fork hook told (a raw clone): what was the
 * parent's is no more. Context: the child's only thread, before anything else. */
void mm_process_forget(void);

/* --- work: what runs on the library's threads ------------------------------------- */

/* Embedded in the caller's object, which lives until run() was entered. */
struct mm_work {
	struct mm_work *next;
	uint32_t queued; /* atomic */
	void (*run)(struct mm_work *work);
};

void mm_work_init(struct mm_work *work, void (*run)(struct mm_work *work));

/** mm_work_queue() - run @work soon on a worker; does nothing while it waits to run.
 * Context: any thread; takes no lock, does not sleep. Return: true if it was queued now. */
bool mm_work_queue(struct mm *mm, struct mm_work *work);

/** mm_work_queue_collector() - the same, on the collector's thread */
bool mm_work_queue_collector(struct mm *mm, struct mm_work *work);

/** mm_work_queue_late(), mm_work_queue_collector_late() - the same, of what nobody waits for:
 * from the monitor it may begin a millisecond later, with others (mm/late.c) */
bool mm_work_queue_late(struct mm *mm, struct mm_work *work);
bool mm_work_queue_collector_late(struct mm *mm, struct mm_work *work);

/** mm_work_hurry() - the caller will wait for late work of the workers. Context: any. */
void mm_work_hurry(struct mm *mm);

/** mm_collector_flush() - wait until work queued on the collector before has run.
 * Context: [worker] but the collector itself. */
void mm_collector_flush(struct mm *mm);

/* Caller's storage. */
struct mm_timer {
	struct list node;
	uint64_t due_ns;
	void (*fire)(struct mm_timer *timer); /* [monitor] */
};

void mm_timer_init(struct mm_timer *timer, void (*fire)(struct mm_timer *timer));

/** mm_timer_set() - fire once, when the clock of sys is @due_ns or a little later; a timer
 * that was set fires at its new time. Context: [worker]. */
void mm_timer_set(struct mm *mm, struct mm_timer *timer, uint64_t due_ns);

/** mm_timer_cancel() - after it returns the timer is not set, and fire() is not running.
 * Context: [worker]. */
void mm_timer_cancel(struct mm *mm, struct mm_timer *timer);

/* --- events and notifiers --------------------------------------------------------- */

enum mm_event_type {
	MM_EVENT_UNMAP,   /* the mapping is gone (also what mremap left behind) */
	MM_EVENT_CLEAR,   /* the pages go, the mapping stays (madvise) */
	MM_EVENT_MIGRATE, /* pages are about to be taken or to come home */
	MM_EVENT_RELEASE, /* the notifier's user goes away */
	MM_EVENT_FAULT,   /* as MIGRATE: the CPU, or another device, wants one for an access */
};

struct mm_event {
	enum mm_event_type type;
	struct span span;
};

struct mm_notifier;

struct mm_notifier_ops {
	/** invalidate() - [monitor] revoke every translation of @event->span that could
	 * reach device memory. Engines are stopped. Called with event_lock held; before
	 * the page moves (MIGRATE) or before the thread that changed the mapping runs on. */
	void (*invalidate)(struct mm_notifier *notifier, const struct mm_event *event);
};

/* A span somebody translates. Caller's storage. */
struct mm_notifier {
	struct interval_node node;
	const struct mm_notifier_ops *ops;
	uint64_t seq; /* atomic: changes with every invalidation of the span */
};

/** mm_notifier_insert() - @ops and @span are set here. Context: [worker]. */
void mm_notifier_insert(struct mm *mm, struct mm_notifier *notifier, struct span span,
			const struct mm_notifier_ops *ops);

/** mm_notifier_remove() - after it returns no invalidate() runs. Context: [worker]. */
void mm_notifier_remove(struct mm *mm, struct mm_notifier *notifier);

/**
 * mm_notifier_read_begin() - start to collect pages
 *
 * Guarantee N1: what was collected after it may be bound under a lock that
 * invalidate() takes too, if mm_notifier_read_retry() says false under that lock.
 */
uint64_t mm_notifier_read_begin(const struct mm_notifier *notifier);
bool mm_notifier_read_retry(const struct mm_notifier *notifier, uint64_t seq);

/* Who must stop before an event is read and before device memory is revoked. */
struct mm_quiesce_ops {
	bool (*stop)(void *user);         /* [monitor] true: engines are active */
	void (*wait_stopped)(void *user); /* [monitor] */
	void (*resume)(void *user);       /* [monitor] */
};

struct mm_quiesce {
	struct list node;
	const struct mm_quiesce_ops *ops;
	void *user;
};

void mm_quiesce_insert(struct mm *mm, struct mm_quiesce *quiesce);
void mm_quiesce_remove(struct mm *mm, struct mm_quiesce *quiesce);

/** mm_quiesce_find() - the one of @user, which is only compared, or NULL
 * Context: event_lock held. */
struct mm_quiesce *mm_quiesce_find(struct mm *mm, const void *user);

/** mm_quiesce_stop() - all engines of all devices are outside of their sections until
 * mm_quiesce_resume(). Context: [monitor]; event_lock held. */
void mm_quiesce_stop(struct mm *mm);
void mm_quiesce_resume(struct mm *mm);

/** mm_invalidate_locked() - stop engines, call the notifiers of @span, let them run.
 * Context: [worker]; event_lock held. */
void mm_invalidate_locked(struct mm *mm, struct span span, enum mm_event_type type);

/* --- entries ------------------------------------------------------------------------ */

enum mm_entry_state {
	MM_ENTRY_MOVING,
	MM_ENTRY_DEVICE,
};

struct mm_entry;
struct mm_entry_owner;

struct mm_entry_ops {
	/**
	 * bring_home() - [monitor] give the bytes of @span back: mm_return_locked()
	 * @frame: offset of @span's start in the owner's allocation
	 * @done: out: bytes from the start that are home now, in every case
	 * Translations are revoked already. Return: 0; -EAGAIN an event is in flight.
	 */
	int (*bring_home)(struct mm_entry_owner *owner, struct span span, uint64_t frame,
			  uint64_t *done);

	/** drop() - [monitor] the pages died: munmap or madvise. Their frames are dirty. */
	void (*drop)(struct mm_entry_owner *owner, uint64_t frame, uint64_t bytes);

	/** read() - [monitor] copy what the pages hold to @buffer (for a child of fork).
	 * @moving: they are MOVING: what a take left at its destination counts
	 * Return: 0; -EIO they cannot be read. */
	int (*read)(struct mm_entry_owner *owner, uint64_t frame, bool moving, void *buffer,
		     uint64_t bytes);

	/** empty() - [monitor] the last page of the owner is gone */
	void (*empty)(struct mm_entry_owner *owner);

	/* Both or none: for mm_hand_over() to an owner of these ops. */
	/** is_peer() - [monitor] can @owner fetch what @other has? */
	bool (*is_peer)(const struct mm_entry_owner *owner,
			const struct mm_entry_owner *other);

	/**
	 * fetch() - [worker, event_lock held] what @entry's owner has comes to @frame here
	 * @done: out: bytes from the start that are here now, in every case, and that
	 *   @entry's owner need not keep
	 * Translations are revoked already. Return: 0; -EAGAIN an event is in flight; -EIO,
	 * -EBUSY: not now.
	 */
	int (*fetch)(struct mm_entry_owner *owner, uint64_t frame,
		     const struct mm_entry *entry, uint64_t *done);
};

/* Embedded in a device allocation: the twin of the kernel's zone_device_data. */
struct mm_entry_owner {
	const struct mm_entry_ops *ops;
	const void *device;    /* compared only: engines of it are kicked, not served */
	uint64_t home_bytes;   /* what a CPU fault brings home: 4K, 64K or 2M */
	uint64_t stay_until_ns; /* a CPU fault waits for it; under event_lock */
	struct list entries;   /* of struct mm_entry; under event_lock */
	uint64_t page_count;   /* == sum of the pages of entries; under event_lock */
};

/* A run of pages whose contents one owner has, contiguous in its allocation. */
struct mm_entry {
	struct interval_node node; /* span: where the program would look */
	struct list owner_link;
	struct mm_entry_owner *owner;
	uint64_t frame;            /* bytes into the owner's allocation, of span.start */
	uint64_t remap_number;     /* of the REMAP that brought it here; 0: taken here */
	uint64_t doubted_from;     /* where it is doubted: start of what went, or 0 */
	enum mm_entry_state state;
	bool marked;               /* where a page of it has no mark, it died: mark.c */
	bool doubted;              /* an UNMAP named it that may be older: remap.c */
	bool displaced;            /* it left span, and nobody told where to: remap.c */
};

void mm_entry_owner_init(struct mm_entry_owner *owner, const struct mm_entry_ops *ops,
			 const void *device, uint64_t home_bytes);

/** mm_owner_stay() - pages of @owner stay for @ns from now on, or longer if that was said
 * before: a CPU fault on one waits, asleep. Homecomings that workers ask for do not.
 * Context: [worker]. */
void mm_owner_stay(struct mm *mm, struct mm_entry_owner *owner, uint64_t ns);

/** mm_entry_first() - the first entry that meets @span, or NULL. event_lock held. */
struct mm_entry *mm_entry_first(struct mm *mm, struct span span);
struct mm_entry *mm_entry_next(struct mm_entry *entry, struct span span);

uint64_t mm_entry_pages(struct mm *mm); /* of all owners; advisory */

/** mm_moving_ticket(), mm_moving_wait() - wait until some page stopped MOVING after the
 * ticket was drawn. Context: [worker], no monitor lock at the wait. */
uint32_t mm_moving_ticket(struct mm *mm);
void mm_moving_wait(struct mm *mm, uint32_t ticket);

/** mm_event_ticket(), mm_event_wait() - after -EAGAIN: let who has a message in flight tell
 * it, and the monitor read it. The first MM_EVENT_YIELDS tries (@tries counts from 0) give the
 * processor away; later ones sleep until a message was handled since the ticket was drawn, or
 * a millisecond has passed. Context: [worker], no monitor lock at the wait. */
uint32_t mm_event_ticket(struct mm *mm);
void mm_event_wait(struct mm *mm, uint32_t ticket, uint32_t tries);

/* --- taking and giving back ----------------------------------------------------------- */

/* What was mapped at some address when the event sequence was @seq: sampled before. */
struct mm_look {
	struct sys_vma vma;
	uint64_t seq;
};

/* The result of one mm_take(), and what it was asked. */
struct mm_take {
	struct span span;             /* in: inside one VMA, at most 2 MiB */
	struct span fill;             /* in: holes in here are taken as zeros; may be empty */
	bool fill_empty;              /* in: all of them if the span is one hole */
	const struct mm_look *look;   /* in: at the span, for the first attempt; may be NULL */
	struct mm_entry_owner *owner; /* in */
	uint64_t frame;               /* in: of span.start, in the owner's allocation */
	uint64_t destination;         /* in: arena address for span.start */
	bool moving;                  /* in: entries begin MOVING; see mm_take_finish() */

	uint64_t taken_pages;         /* out: had contents and were moved */
	uint64_t filled_pages;        /* out: were holes */
	uint64_t busy_pages;          /* out: stayed: pinned or shared */
	bool huge;                    /* out: the kernel makes huge pages there */

	struct mm_take *next;         /* of mm.breaking */
};

/**
 * mm_take() - take the pages of a span out of the process
 *
 * Pages that have an entry already are left as they are. Frames under the pages
 * to take are emptied first if they are not. Every page is afterwards either
 * HOME as before, or has an entry: nothing is lost on any path.
 *
 * Context: [worker]; holds no monitor lock; may sleep.
 * Return: 0: see the counts (they may all be 0); or
 *   -ENOENT      no VMA holds the span
 *   -EOPNOTSUPP  not memory that migrates (kind, protection, excluded, another's)
 *   -EBUSY       a fork is under way, or events would not end
 *   -ENOMEM      host memory; too many mappings
 */
MUST_CHECK int mm_take(struct mm *mm, struct mm_take *take);

/** mm_take_finish() - what a take with @moving left MOVING becomes DEVICE; wakes who
 * waits. Context: [worker]. */
void mm_take_finish(struct mm *mm, struct mm_take *take);

/** mm_take_abort() - what a take with @moving left MOVING goes home from its destination;
 * wakes who waits. Context: [worker]; may wait. */
void mm_take_abort(struct mm *mm, struct mm_take *take);

/* The result of one mm_hand_over(), and what it was asked. */
struct mm_hand_over {
	struct span span;             /* in: at most 2 MiB */
	struct mm_entry_owner *owner; /* in: who gets the pages */
	uint64_t frame;               /* in: of span.start, in the owner's allocation */
	enum mm_event_type why;       /* in: what is told to who has them: MIGRATE or FAULT */

	uint64_t pages;               /* out: that changed hands */
};

/**
 * mm_hand_over() - pages that other owners have go to @hand->owner, if it is their peer
 *
 * Best effort: what is not handed over stays where it is. The owner is asked by its
 * is_peer() and fetch(). What is MOVING is waited for, for a moment.
 * Context: [worker]; holds no monitor lock; may sleep; the owner lives.
 * Return: 0; -EBUSY a fork is under way, or events would not end; -EIO it could not be
 * fetched; -ENOMEM. See the count in every case.
 */
MUST_CHECK int mm_hand_over(struct mm *mm, struct mm_hand_over *hand);

/**
 * mm_frames_move_locked() - move pages from frames to other frames, or copy those that cannot
 * be moved: their frames keep what they had
 * @done: out: bytes that are there now, in every case
 *
 * Context: [worker], event_lock held. Return: 0; -EAGAIN an event is in flight; -EBUSY the
 * frames could not be emptied.
 */
MUST_CHECK int mm_frames_move_locked(struct mm *mm, uint64_t to, uint64_t from, uint64_t bytes,
				     uint64_t *done);

/**
 * mm_return_locked() - move pages from the arena back to where they belong
 * @source: arena address
 * @done: out: bytes that are home now, in every case
 * @dirty: out: set to true where a frame kept its contents (it was copied); else unchanged
 *
 * Context: [monitor], event_lock held. Never allocates.
 * Return: 0, or -EAGAIN: an event is in flight, try the rest again later.
 */
MUST_CHECK int mm_return_locked(struct mm *mm, struct span span, uint64_t source,
				uint64_t *done, bool *dirty);

/**
 * mm_lose_locked() - the contents of the page at @addr cannot be had back: poison it
 *
 * Who touches it gets SIGBUS, and an engine -EFAULT, until the memory is unmapped or
 * discarded. Ends the process where the kernel has no UFFDIO_POISON.
 * Context: [monitor], event_lock held. Never allocates.
 * Return: 0, or -EAGAIN: an event is in flight, try again later.
 */
MUST_CHECK int mm_lose_locked(struct mm *mm, uint64_t addr);

/**
 * mm_bring_home() - bring the device pages of a span home
 * @owner: only pages of this owner; NULL: of all
 * Context: [worker]; may sleep. Return: 0 (nothing of it is left on a device), -EBUSY.
 */
MUST_CHECK int mm_bring_home(struct mm *mm, struct span span,
			     const struct mm_entry_owner *owner);

/** mm_bring_home_for() - mm_bring_home() for the sake of @why: MM_EVENT_MIGRATE or _FAULT */
MUST_CHECK int mm_bring_home_for(struct mm *mm, struct span span,
				 const struct mm_entry_owner *owner, enum mm_event_type why);

/** mm_evict_owner() - bring all pages of @owner home, wherever they are mapped.
 * Context: [worker]. Return: 0, -EBUSY. */
MUST_CHECK int mm_evict_owner(struct mm *mm, struct mm_entry_owner *owner);

/* --- VMAs ------------------------------------------------------------------------------ */

enum mm_vma_flag {
	MM_VMA_MIGRATES = 1 << 0, /* mm_take() would consider it */
};

/** mm_vma_find() - the VMA that holds @addr (or with @or_next the next one above)
 * Context: [worker]. Return: 0, -ENOENT. @flags: enum mm_vma_flag; may be NULL. */
MUST_CHECK int mm_vma_find(struct mm *mm, uint64_t addr, bool or_next, struct sys_vma *vma,
			   uint32_t *flags);

/** mm_look() - mm_vma_find() at @addr, to be kept for an mm_take()
 * Context: [worker]. Return: 0, -ENOENT. */
MUST_CHECK int mm_look(struct mm *mm, uint64_t addr, struct mm_look *look, uint32_t *flags);

/** mm_vma_watch() - be told of changes of the private anonymous VMA @vma, without touching
 * its faults. Context: [worker]. Return: 0 also where nothing can be told of; -EAGAIN a
 * message is in flight. */
MUST_CHECK int mm_vma_watch(struct mm *mm, const struct sys_vma *vma);

/* --- the arena -------------------------------------------------------------------------- */

/** mm_arena_create() - frames on the userfaultfd, empty. @bytes: a multiple of 2 MiB.
 * Context: may sleep. Return: 0, -ENOMEM, -EOPNOTSUPP (mm_can_migrate() is false). */
MUST_CHECK int mm_arena_create(struct mm *mm, uint64_t bytes, uint64_t *addr);
void mm_arena_destroy(struct mm *mm, uint64_t addr, uint64_t bytes);

/** mm_arena_empty() - make frames holes again, without an event; best effort: frames that
 * stay dirty are for mm_take() to empty. Context: [worker]. */
void mm_arena_empty(struct mm *mm, struct span span);

/** mm_arena_renew_locked() - the same for a block of 2 MiB, without the page table that is
 * left where a huge page was split: a touch makes a huge page again. event_lock is held. */
void mm_arena_renew_locked(struct mm *mm, uint64_t addr);

/** mm_frames_clear_locked() - frames that are about to be written are holes, or zeros, or
 * what was left in them: best effort, for a huge page that is moved there needs holes.
 * event_lock held. */
void mm_frames_clear_locked(struct mm *mm, struct span frames);

/** mm_frames_fill_locked() - move library memory into empty frames. Best effort: what
 * does not move stays empty. event_lock held. */
void mm_frames_fill_locked(struct mm *mm, uint64_t frames, uint64_t source, uint64_t bytes);

/* --- engines that reach system pages ------------------------------------------------------ */

/** mm_accessor_register() - the calling thread will use mm_access(), for @device.
 * Context: [engine]. Return: 0, -ENOSPC. */
MUST_CHECK int mm_accessor_register(struct mm *mm, const void *device);
void mm_accessor_unregister(struct mm *mm);

/** mm_access() - guarded access to the process's memory; see sys_ops.access.
 * Context: [engine], no lock held. Return: 0, -EFAULT, -EINTR (translate again). */
MUST_CHECK int mm_access(struct mm *mm, enum sys_access_op op, uint64_t addr, void *buffer,
			 uint32_t bytes);

/** mm_drain() - wait (bounded) until no guarded access of an engine is inside @span that
 * began before the call. Context: [worker], no monitor lock. */
void mm_drain(struct mm *mm, struct span span);

/** mm_submit_fence() - wait until no event is in flight that was begun before the call
 * Context: [worker]; may sleep. */
void mm_submit_fence(struct mm *mm);

/** mm_marks_look() - drop the marked entries whose pages have died
 * Context: [worker], no monitor lock; may sleep. */
void mm_marks_look(struct mm *mm);

/* --- looking ------------------------------------------------------------------------------- */

struct mm_stats {
	uint64_t cpu_faults;       /* answered by bringing a page home */
	uint64_t cpu_faults_user;  /* of those, where origins are counted: of user mode, */
	uint64_t cpu_faults_kernel; /* of system calls. The rest cannot be told. */
	uint64_t hole_faults;      /* answered with zeros */
	uint64_t huge_holes;       /* of those: with a huge page */
	uint64_t idle_registrations; /* MISSING taken back, for nobody took for long */
	uint64_t events_unmap, events_remove, events_remap, events_fork;
	uint64_t home_moved_pages; /* by MOVE */
	uint64_t home_copied_pages; /* by COPY: read-only, mlocked, shared */
	uint64_t lost_pages;       /* poisoned: the device could not give them back */
	uint64_t taken_pages, filled_pages, busy_pages;
	uint64_t peer_moved_pages;  /* from one device to another, by MOVE */
	uint64_t peer_copied_pages; /* by this process, for MOVE refused */
	uint64_t retries;          /* an event was in flight */
	uint64_t stashed;          /* faults remembered */
	uint64_t held_faults;      /* that waited for the end of a timeslice */
	uint64_t kicks;            /* engines thrown out of a fault */
	uint64_t quarantined;      /* pages left alone after a REMOVE */
	uint64_t forks_pushed_pages;
	uint64_t marked_pages;     /* taken, with a mark at their place */
	uint64_t died_pages;       /* of those: the mark was gone, and nobody told */
	uint64_t lies;             /* MOVE that moved and answered EEXIST */
	uint64_t refused;          /* registrations that would have been too many mappings */
};

void mm_stats_read(struct mm *mm, struct mm_stats *stats);

/** mm_count_origins() - count CPU faults of user mode and of system calls apart, from now
 * on: to ask costs each of them some microseconds. Context: any. */
void mm_count_origins(struct mm *mm);

/** mm_mark_entries() - mark the places of pages that are taken from now on, so that it is seen
 * where a page died and no event told; does nothing where the kernel cannot. Context: any. */
void mm_mark_entries(struct mm *mm);

/** mm_trace_open() - the ring of the trace points, made with room for @event_count if there
 * is none yet; it lives as long as the mm, so that no writer can meet its end.
 * Context: a program's thread that holds mm_process_lock(). Return: 0, -ENOMEM. */
MUST_CHECK int mm_trace_open(struct mm *mm, size_t event_count, struct trace_ring **ring);

/** mm_trace() - a trace point: a step that began at @start_ns (0: no duration).
 * Context: any. */
void mm_trace(struct mm *mm, enum trace_type type, uint64_t addr, uint64_t bytes,
	      uint64_t arg, uint64_t start_ns);

/** mm_trace_start() - now, when somebody traces; else 0 */
uint64_t mm_trace_start(struct mm *mm);

/* --- steps, for tests and for the threads ----------------------------------------------------- */

/** mm_monitor_step() - read and handle at most one message, then what was remembered.
 * Context: the monitor. Return: true if there was one. */
bool mm_monitor_step(struct mm *mm);

/** mm_worker_step() - run one piece of queued work. Return: true if there was one. */
bool mm_worker_step(struct mm *mm);
bool mm_collector_step(struct mm *mm);

/** mm_check() - assert the invariants of all tables. event_lock is taken. */
void mm_check(struct mm *mm);

#endif
