/* SPDX-License-Identifier: MIT */
/*
 * xe/xe_internal.h - the objects of a virtual card and what the files of xe share.
 *
 *     card.c      the card, opened through api: one process, one mm
 *     memory.c    objects of any size, and copies from and to the client
 *     file.c      files and their tables of numbers
 *     ioctl.c     which function serves which ioctl
 *     profile.c   what kind of card it says it is
 *     query.c     device queries
 *     vm.c        address spaces          bind.c, bind_check.c   what is mapped in them
 *     bo.c        buffer objects
 *     queue.c     queues                  exec.c   jobs
 *     fence.c     something will be over  sync.c   what an ioctl waits for and signals
 *     syncobj.c   handles of fences       syncobj_wait.c
 *     ufence.c    words in memory as fences    watchdog.c   jobs that do not end
 *     client.c    what fdinfo tells of a file
 *     pool.c      memory counted between processes    room.c   who makes way for others
 *     userptr.c   who waits before memory goes    reclaim.c   what leaves the caches
 *
 * Locks. xe_file.lock: the tables. xe_queue.lock: jobs that wait for their turn; held over
 * gpu_queue_submit(). xe_card.fence_lock: fences' callbacks, points of sync objects, jobs in
 * flight. xe_card.memory_lock: free objects. None is the monitor's; none is held over a copy
 * from or to the client, a call to a worker, or a callback. The first two have one rank and
 * never nest; the others are leaves.
 *
 * Objects are counted. A table holds one reference, whoever found an object in it another.
 */
#ifndef XE_XE_INTERNAL_H
#define XE_XE_INTERNAL_H

#include "base/atomic.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/span.h"
#include "base/wait.h"
#include "gpu/gpu.h"
#include "mm/call.h"
#include "mm/mm.h"
#include "vm/bo.h"
#include "vm/vm.h"
#include "xe/uapi.h"
#include "xe/xe.h"

#define XE_VA_BITS 48
#define XE_VA_END (1ull << XE_VA_BITS)
/* Beyond this no process has memory. */
#define XE_MIRROR_END ((1ull << 47) - PAGE_BYTES)
#define XE_WIDTH_MAX 8
#define XE_ENGINE_THREADS 16
#define XE_ENGINE_CLASSES (XE_ENGINE_COMPUTE + 1)
#define XE_CLOCK_HZ 19200000u
/* Chains are short; a longer one is a loop. */
#define XE_EXTENSIONS_MAX 16

/* --- the card ------------------------------------------------------------------ */

struct xe_bind;
struct xe_client;
struct xe_job;
struct xe_queue;
struct xe_room;

struct xe_profile {
	const char *name;
	uint16_t device_id;
	uint8_t revision;
	uint16_t version_major, version_minor;
	bool has_multi_queue;
	uint32_t pat_count;
	uint32_t pat_reserved;   /* bit n: index n does not exist */
	uint32_t pat_incoherent; /* bit n: CPU caches are not looked at */
	uint32_t pat_transient;  /* bit n: displayed once, and not kept in caches */
	const struct xe_engine_instance *engines;
	uint32_t engine_count;
};

/* What is counted of lists of reclaimed pages. */
enum xe_reclaim {
	XE_RECLAIM_4K,
	XE_RECLAIM_64K,
	XE_RECLAIM_2M,
	XE_RECLAIM_ISSUED,
	XE_RECLAIM_ABORTED,
	XE_RECLAIM_COUNT
};

#define XE_MEMORY_CLASSES 6 /* 64 bytes to 2 KiB */

struct chunk;

struct xe_card {
	const struct xe_profile *profile;
	uint32_t index;
	uint64_t vram_bytes;
	struct xe_card *(*card_of)(int fd);
	void (*log)(const char *text);
	struct usvm *usvm;
	struct mm *mm;
	struct sys *sys;
	struct gpu *gpu;
	struct vm_device *device;
	struct xe_room *room; /* NULL: its memory is this process's alone */

	uint64_t reclaimed[XE_RECLAIM_COUNT]; /* atomic */
	uint64_t job_count;           /* atomic: execs with commands that were accepted */
	struct xe_queue *dead_queues; /* atomic stack: see queue.c */
	/* Something happened that an ioctl may be asleep for: a fence was signaled, a sync
	 * object got one, a queue was banned. */
	struct wait changed;
	struct list running;     /* jobs that have to end: watchdog.c; under fence_lock */
	struct list userptrs;    /* userptr.c; under fence_lock */
	uint32_t userptr_count;  /* atomic */
	struct lock fence_lock;  /* leaf */
	struct lock memory_lock; /* leaf */
	void *free[XE_MEMORY_CLASSES] GUARDED_BY(&memory_lock);
	struct chunk *chunks GUARDED_BY(&memory_lock);
};

/* --- memory.c ------------------------------------------------------------------ */

/** xe_alloc() - zeroed memory of the library, @bytes of it. Context: any thread that holds
 * no lock. Return: NULL: none. */
void *xe_alloc(struct xe_card *card, size_t bytes);
/** xe_free() - @bytes as at xe_alloc(); NULL is accepted. Context: any, no leaf held. */
void xe_free(struct xe_card *card, void *memory, size_t bytes);

/** xe_memory_fini() - every object was given back: the pages go */
void xe_memory_fini(struct xe_card *card);

/** xe_copy_check() - the client may have put a signal handler of its own in front of ours, which
 * the copies below need. Context: a program's thread or a worker. Return: 0 or -EFAULT. */
MUST_CHECK int xe_copy_check(struct xe_card *card);

/** xe_copy_in() - from the client to library memory or this stack. Context: a program's
 * thread or a worker, no lock held; behind xe_copy_check(), which xe_ioctl() has called.
 * Return: 0 or -EFAULT. */
MUST_CHECK int xe_copy_in(struct xe_card *card, void *to, uint64_t from, size_t bytes);
MUST_CHECK int xe_copy_out(struct xe_card *card, uint64_t to, const void *from, size_t bytes);

/** xe_refuse() - say in the log why. Return: @err. */
int xe_refuse(struct xe_card *card, int err, const char *why);

/* --- room.c -------------------------------------------------------------------- */

/** xe_room_open() - the card's memory is shared with all that open the pool @path.
 * Context: the thread that opens the card. Return: 0 or -errno: it is not. */
MUST_CHECK int xe_room_open(struct xe_card *card, const char *path);
/** xe_room_close() - no object is left; where it is not shared nothing is done */
void xe_room_close(struct xe_card *card);
/** xe_room_used() - of the card's memory, by all processes. Context: a program's thread. */
uint64_t xe_room_used(struct xe_card *card);

/* --- fence.c ------------------------------------------------------------------- */

/* Something that will be over. */
struct xe_fence {
	uint32_t references; /* atomic */
	uint32_t done;       /* atomic */
	int error;           /* valid when done */
	struct xe_card *card;
	struct list callbacks; /* under card->fence_lock */
};

struct xe_callback {
	struct list node;
	void (*run)(struct xe_callback *callback); /* no lock is held; may free it */
};

struct xe_fence *xe_fence_create(struct xe_card *card); /* NULL: no memory */
struct xe_fence *xe_fence_get(struct xe_fence *fence);
void xe_fence_put(struct xe_fence *fence); /* NULL is accepted */
/** xe_fence_signal() - it is over. Context: any that may call callbacks. */
void xe_fence_signal(struct xe_fence *fence, int error);
/** xe_fence_call() - run @callback when it is over. Return: false: it is already, and
 * nothing will be called. */
MUST_CHECK bool xe_fence_call(struct xe_fence *fence, struct xe_callback *callback);
/** xe_fence_join() - a fence that is over when both are; takes no reference away.
 * Return: NULL: no memory. */
struct xe_fence *xe_fence_join(struct xe_fence *one, struct xe_fence *other);

static inline bool xe_fence_is_done(const struct xe_fence *fence)
{
	return ATOMIC_LOAD(&fence->done);
}

/* --- file.c -------------------------------------------------------------------- */

enum xe_kind {
	XE_KIND_VM,
	XE_KIND_QUEUE,
	XE_KIND_SYNCOBJ,
	XE_KIND_BO,
	XE_KIND_COUNT
};

/* First in each object that a table holds. */
struct xe_object {
	uint32_t references; /* atomic */
	void (*destroy)(struct xe_object *object); /* the last reference is gone */
};

struct xe_table {
	struct xe_object **slots; /* number n is in slots[n - 1] */
	uint32_t size;
	uint32_t lowest_free;
};

struct xe_file {
	struct xe_card *card;
	struct xe_client *client; /* with a reference */
	struct lock lock;
	struct xe_table tables[XE_KIND_COUNT] GUARDED_BY(&lock);
};

/** xe_file_insert() - give @object a number; the table takes over the caller's reference.
 * Context: a program's thread. Return: 0, -ENOMEM. */
MUST_CHECK int xe_file_insert(struct xe_file *file, enum xe_kind kind,
			      struct xe_object *object, uint32_t *number);
/** xe_file_find() - with a reference; NULL: no such */
struct xe_object *xe_file_find(struct xe_file *file, enum xe_kind kind, uint32_t number);
/** xe_file_next() - the object of the lowest number above *@number, with a reference; NULL: there
 * is none */
struct xe_object *xe_file_next(struct xe_file *file, enum xe_kind kind, uint32_t *number);
/** xe_file_remove() - the number is free again; the table's reference is the caller's */
struct xe_object *xe_file_remove(struct xe_file *file, enum xe_kind kind, uint32_t number);

static inline void xe_object_get(struct xe_object *object)
{
	ATOMIC_ADD(&object->references, 1);
}

void xe_object_put(struct xe_object *object); /* NULL is accepted */

/* --- vm.c ---------------------------------------------------------------------- */

struct xe_vm {
	struct xe_object object;
	struct xe_card *card;
	struct xe_file *file;
	uint32_t flags;     /* XE_VM_* */
	uint32_t closed;    /* atomic: VM_DESTROY was called */
	uint32_t queues;    /* atomic: that run jobs in it */
	struct vm *vm;
	struct xe_queue *bind_queue; /* the one that has no number */
	struct list jobs;   /* of xe_job.in_vm; under card->fence_lock */
	struct list binds;  /* the same, of jobs that bind */
};

/** xe_vm_close() - its client has let go of it: what waits in its own queue of binds is canceled,
 * what runs there is over on return. Queues, and jobs of theirs, may still know it. */
void xe_vm_close(struct xe_vm *vm);
/** xe_vm_scratch() - [worker] what is unbound in @span is a scratch page, if there is one */
MUST_CHECK int xe_vm_scratch(struct xe_vm *vm, struct span span);
/** xe_vm_wait_for_jobs() - @job waits for what runs in @vm at this moment.
 * Return: 0, -ENOMEM. */
MUST_CHECK int xe_vm_wait_for_jobs(struct xe_vm *vm, struct xe_job *job);
bool xe_vm_has_jobs(struct xe_vm *vm);
/** xe_vm_will_bind() - a bind that is not over is about what lies in @span */
bool xe_vm_will_bind(struct xe_vm *vm, struct span span);
/** xe_vm_wait_for_binds() - @job waits for binds of other queues, of each for the last one, that
 * meet @binds: at an address, or in a page table that is not there yet and which both need.
 * @job NULL: only look. Return: 0; -ENOMEM; -EAGAIN there are such. */
MUST_CHECK int xe_vm_wait_for_binds(struct xe_vm *vm, struct xe_queue *queue,
				    const struct xe_bind *binds, uint32_t count,
				    struct xe_job *job);

static inline struct xe_vm *xe_vm_of(struct xe_object *object)
{
	return CONTAINER_OF(object, struct xe_vm, object);
}

static inline bool xe_vm_is_lr(const struct xe_vm *vm)
{
	return vm->flags & XE_VM_LR_MODE;
}

static inline bool xe_vm_faults(const struct xe_vm *vm)
{
	return vm->flags & XE_VM_FAULT_MODE;
}

/* --- bo.c ---------------------------------------------------------------------- */

struct xe_bo {
	struct xe_object object;
	struct xe_card *card;
	struct xe_object *vm; /* that alone may use it; or NULL */
	struct vm_bo *bo;
	uint64_t bytes;
	uint16_t cpu_caching;
};

static inline struct xe_bo *xe_bo_of(struct xe_object *object)
{
	return CONTAINER_OF(object, struct xe_bo, object);
}

/* --- queue.c ------------------------------------------------------------------- */

/* Jobs and binds of a queue are done in the order they came, each when what it waits for is
 * over. */
struct xe_queue {
	struct xe_object object;
	struct xe_card *card;
	struct xe_vm *vm;    /* with a reference, but for a vm's own bind queue */
	struct xe_client *client; /* with a reference; of binds: NULL */
	uint32_t jobs_running;    /* that the GPU has; under card->fence_lock */
	bool is_bind;
	bool is_own;         /* the vm's own; its number is 0 */
	bool is_primary;     /* the first of a group */
	bool is_grouped;
	struct xe_queue *next_dead; /* in xe_card.dead_queues */
	uint32_t killed;     /* atomic */
	uint16_t engine_class;
	uint16_t width;
	uint32_t banned;     /* atomic: a job failed, or it is being destroyed */
	uint32_t failed;     /* atomic: a job failed: what a wait for a fence tells */
	struct gpu_queue *lanes[XE_WIDTH_MAX];
	struct lock lock;
	struct list pending GUARDED_BY(&lock); /* of xe_job.node */
	bool bind_runs GUARDED_BY(&lock);      /* a worker is at a bind of it */
};

static inline struct xe_queue *xe_queue_of(struct xe_object *object)
{
	return CONTAINER_OF(object, struct xe_queue, object);
}

/** xe_queue_make() - without a number. Context: a program's thread. Return: 0, -ENOMEM. */
MUST_CHECK int xe_queue_make(struct xe_card *card, struct xe_vm *vm, uint16_t engine_class,
			     uint16_t width, struct xe_queue **queue);
/** xe_queue_kill() - cancel what waits, end what runs; nothing is accepted any more */
void xe_queue_kill(struct xe_queue *queue);
/** xe_queue_cancel() - jobs that wait for their turn end with -ECANCELED */
void xe_queue_cancel(struct xe_queue *queue);
/** xe_queue_bind_begin() - the caller does binds itself if nothing that waits is before them.
 * Return: true: xe_queue_bind_over() follows. Context: a program's thread; may sleep. */
bool xe_queue_bind_begin(struct xe_queue *queue);
void xe_queue_bind_over(struct xe_queue *queue);
/** xe_queues_bury() - free what an engine was the last to know. Context: a program's thread. */
void xe_queues_bury(struct xe_card *card);
/** xe_queue_pump() - start what is ready. Context: any, no lock held. */
void xe_queue_pump(struct xe_queue *queue);

/* --- sync.c -------------------------------------------------------------------- */

struct xe_syncobj;

/* One entry of an ioctl's list, parsed. */
struct xe_sync_entry {
	uint32_t type;
	bool signals;
	struct xe_syncobj *syncobj;
	uint64_t value;
	uint64_t addr; /* of a user fence */
};

struct xe_sync_list {
	struct xe_card *card;
	struct xe_sync_entry *entries;
	uint32_t count;
	uint32_t room;
	uint32_t user_fences;
};

/** xe_sync_parse() - copy and check; what it found has references until xe_sync_drop().
 * Return: 0 or -errno as the ioctl's. */
MUST_CHECK int xe_sync_parse(struct xe_file *file, uint64_t syncs, uint32_t count, bool is_lr,
			     bool is_exec, struct xe_sync_list *list);
void xe_sync_drop(struct xe_sync_list *list);

/* --- exec.c -------------------------------------------------------------------- */

/* A job, or some binds: waits for fences, then for its turn, then it runs. */
struct xe_job {
	struct list node;          /* in xe_queue.pending */
	struct list in_vm;         /* in xe_vm.jobs */
	struct list in_card;       /* in xe_card.running */
	uint64_t started_ns;       /* its time; under card->fence_lock */
	uint64_t submitted_ns;
	bool is_counted;           /* by xe_client_begin() */
	struct xe_card *card;
	struct xe_queue *queue;    /* with a reference */
	struct xe_fence *fence;    /* signaled at its end */
	uint32_t references;       /* atomic: the queue's and one of each callback */
	uint32_t waits;            /* atomic: fences that are not over, and 1 while it is made */
	uint32_t lanes_running;    /* atomic */
	int error;                 /* atomic: of the first lane that failed */
	uint32_t batch_count;      /* 0: signals only */
	uint64_t user_fence_addr;  /* jobs: written by the engine */
	uint64_t user_fence_value;
	/* Binds: */
	struct xe_bind *binds;
	uint32_t bind_count;
	struct mm_work work;
	size_t bytes;              /* of this */
	struct gpu_job lanes[];    /* as many as the queue is wide */
};

/** xe_job_create() - with one wait that xe_job_commit() ends. Return: NULL: no memory. */
struct xe_job *xe_job_create(struct xe_queue *queue);
/** xe_job_wait_for() - @fence has to be over first. Return: 0, -ENOMEM. */
MUST_CHECK int xe_job_wait_for(struct xe_job *job, struct xe_fence *fence);
/** xe_job_wait_for_syncs(), xe_job_signals() - as the list says, at this moment (the fences
 * of sync objects are looked up now, and replaced now). Return: 0, -ENOMEM. */
MUST_CHECK int xe_job_wait_for_syncs(struct xe_job *job, const struct xe_sync_list *list);
MUST_CHECK int xe_job_signals(struct xe_job *job, const struct xe_sync_list *list);
/** xe_job_commit() - queue it; it ends by its fence. Context: a program's thread. */
void xe_job_commit(struct xe_job *job);
/** xe_job_drop() - it was not committed */
void xe_job_drop(struct xe_job *job);
/** xe_job_finish() - it is over: signal, drop the queue's reference */
void xe_job_finish(struct xe_job *job, int error);
/** xe_job_start() - its turn has come; under queue->lock. Return: 0; -errno: the caller
 * finishes it with that, outside of the lock. */
MUST_CHECK int xe_job_start(struct xe_job *job);

/* --- watchdog.c ---------------------------------------------------------------- */

void xe_watchdog_start(struct xe_job *job);
void xe_watchdog_over(struct xe_job *job);
/** xe_watchdog_look() - end a job whose time is up. Context: a program's thread. */
void xe_watchdog_look(struct xe_card *card);
/* How long a sleep may be between two looks. */
#define XE_WATCHDOG_NS 200000000u

/* --- client.c ------------------------------------------------------------------- */

/* Whose fdinfo it is; counted. */
struct xe_client *xe_client_create(struct xe_card *card); /* NULL: no memory */
struct xe_client *xe_client_get(struct xe_client *client);
void xe_client_put(struct xe_client *client); /* NULL is accepted */
/** xe_client_begin() - the GPU gets this job; under queue->lock */
void xe_client_begin(struct xe_job *job);
/** xe_client_end() - it is over, or never began */
void xe_client_end(struct xe_job *job);

/* Of the card's clock: 19.2 a microsecond, 12 in 625 ns. */
static inline uint64_t xe_cycles(uint64_t ns)
{
	return ns / 625 * 12;
}

/* --- userptr.c ----------------------------------------------------------------- */

/** xe_userptr_add() - jobs of @vm may use this memory of the process. Return: 0, -ENOMEM. */
MUST_CHECK int xe_userptr_add(struct xe_vm *vm, struct span span);
/** xe_userptrs_forget() - @vm goes */
void xe_userptrs_forget(struct xe_vm *vm);

/* --- reclaim.c ----------------------------------------------------------------- */

extern const char *const xe_reclaim_names[XE_RECLAIM_COUNT];
/** xe_reclaim_count() - what is bound in @span is about to be unbound, by one operation.
 * Context: [worker]. */
void xe_reclaim_count(struct xe_vm *vm, struct span span);

/* --- bind.c -------------------------------------------------------------------- */

/* One operation and what it names. */
struct xe_bind {
	struct xe_bind_op op;
	struct xe_bo *bo; /* with a reference; or NULL */
};

/** xe_bind_run() - do the operations of a job. Context: [worker]. */
int xe_bind_run(struct xe_vm *vm, const struct xe_bind *binds, uint32_t count);
/** xe_binds_free() - and what they name. Context: not an engine. */
void xe_binds_free(struct xe_card *card, struct xe_bind *binds, uint32_t count);
/** xe_bind_check() - are the numbers of an operation right? Return: 0, -EINVAL, ... */
MUST_CHECK int xe_bind_check(const struct xe_vm *vm, const struct xe_bind_op *op);

/* --- syncobj.c ----------------------------------------------------------------- */

struct xe_syncobj {
	struct xe_object object;
	struct xe_card *card;
	struct list points;    /* of xe_point, rising; under card->fence_lock */
	uint64_t signaled;     /* every point up to this one is over; under fence_lock */
	bool has_signaled;     /* it had a fence, which is over and was dropped */
};

static inline struct xe_syncobj *xe_syncobj_of(struct xe_object *object)
{
	return CONTAINER_OF(object, struct xe_syncobj, object);
}

enum xe_point_state {
	XE_POINT_NONE,      /* nobody has submitted it */
	XE_POINT_SUBMITTED, /* *fence */
	XE_POINT_DONE,
};

/** xe_syncobj_look() - what point @value is now (0: the last); *@fence with a reference when
 * SUBMITTED. Context: any, no lock held. */
enum xe_point_state xe_syncobj_look(struct xe_syncobj *syncobj, uint64_t value,
				    struct xe_fence **fence);
/** xe_syncobj_add() - @fence becomes point @value, or with 0 the only one. -ENOMEM. */
MUST_CHECK int xe_syncobj_add(struct xe_syncobj *syncobj, uint64_t value,
			      struct xe_fence *fence);
/** xe_syncobj_clear() - as new */
void xe_syncobj_clear(struct xe_syncobj *syncobj);

/* --- query.c ------------------------------------------------------------------- */

/** xe_system_bytes() - the machine's memory. Context: any but the monitor. */
uint64_t xe_system_bytes(void);

/* --- the ioctls ------------------------------------------------------------------ */

/* @argument: library memory or stack, already copied in; what is in it afterwards is copied
 * out where the ioctl reads back. Context: a program's thread, no lock. */
typedef int (*xe_ioctl_fn)(struct xe_file *file, void *argument);

int xe_ioctl_query(struct xe_file *file, void *argument);
int xe_ioctl_vm_create(struct xe_file *file, void *argument);
int xe_ioctl_vm_destroy(struct xe_file *file, void *argument);
int xe_ioctl_vm_bind(struct xe_file *file, void *argument);
int xe_ioctl_gem_create(struct xe_file *file, void *argument);
int xe_ioctl_gem_close(struct xe_file *file, void *argument);
int xe_ioctl_gem_mmap_offset(struct xe_file *file, void *argument);
int xe_ioctl_vm_get_property(struct xe_file *file, void *argument);
int xe_ioctl_queue_create(struct xe_file *file, void *argument);
int xe_ioctl_queue_destroy(struct xe_file *file, void *argument);
int xe_ioctl_queue_get_property(struct xe_file *file, void *argument);
int xe_ioctl_queue_set_property(struct xe_file *file, void *argument);
int xe_ioctl_exec(struct xe_file *file, void *argument);
int xe_ioctl_wait_user_fence(struct xe_file *file, void *argument);
int xe_ioctl_madvise(struct xe_file *file, void *argument);
int xe_ioctl_query_attrs(struct xe_file *file, void *argument);
int xe_ioctl_syncobj_create(struct xe_file *file, void *argument);
int xe_ioctl_syncobj_destroy(struct xe_file *file, void *argument);
int xe_ioctl_syncobj_wait(struct xe_file *file, void *argument);
int xe_ioctl_syncobj_timeline_wait(struct xe_file *file, void *argument);
int xe_ioctl_syncobj_reset(struct xe_file *file, void *argument);
int xe_ioctl_syncobj_signal(struct xe_file *file, void *argument);
int xe_ioctl_syncobj_timeline_signal(struct xe_file *file, void *argument);
int xe_ioctl_syncobj_query(struct xe_file *file, void *argument);
int xe_ioctl_syncobj_transfer(struct xe_file *file, void *argument);

extern const struct xe_profile xe_profiles[];
extern const uint32_t xe_profile_count;

static inline bool xe_pat_is_valid(const struct xe_profile *profile, uint32_t index)
{
	return index < profile->pat_count && !(profile->pat_reserved >> index & 1);
}

#endif
