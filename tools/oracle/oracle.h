/* SPDX-License-Identifier: MIT */
/*
 * tools/oracle/oracle.h - what the files of `usvm oracle` share.
 *
 * Threads and their GPU queues work on the same memory while it is unmapped, remapped,
 * advised away, protected, prefetched and forked under them. Everything that is in it
 * at any time is known:
 *
 *     page   word 0       counter: added to by all agents, atomically
 *            word 1..16   a slot for each agent: it alone writes, all read
 *            word 20      scratch: of no value
 *            word 24..510 tags: written with the page locked, read by all
 *            word 511     counter
 *
 * The shadow of a page says what must be found. Counters and slots change while
 * others look, so it gives bounds: who changes raises @begun before and @done after;
 * who looks reads @done before and @begun after. With the page locked the two are
 * equal, and so must be the page. The shadow is shared memory, which never migrates,
 * and which the GPU reaches too.
 *
 * Locks are only ever tried. An area has one over its place and size, and its chunks
 * have one each: a destructive call locks the chunks it destroys, or the area, while
 * the neighbours in the same 64 KiB or 2 MiB are in use.
 *
 * Some destructive calls lock nobody out (race.c). What was done before such a call
 * is gone after it (@lost_min), what has begun after it is not (@lost_max):
 *
 *     counter   done - lost_max <= word <= begun - lost_min
 *     slot      the same of the number of the write; or 0 if done <= lost_max
 *
 * Who looks during one (@races is odd, or changed) learns nothing.
 *
 * A run is rounds; a round is a process of its own, so that it begins with nothing and
 * may crash or hang. Its threads do steps; each is drawn from the seed of the round, the
 * thread and its number, and written down before it is done, with its locks held: the
 * order in the log is one in which the steps could have been done one by one.
 */
#ifndef TOOLS_ORACLE_ORACLE_H
#define TOOLS_ORACLE_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#include <usvm/usvm.h>

#define PAGE 4096ul
#define HUGE (2ul << 20)
#define PAGE_WORDS (PAGE / 8)

#define THREADS_MAX 8u
/* Who changes a page: threads from 0 on, their queues from THREADS_MAX on. */
#define AGENTS_MAX (2 * THREADS_MAX)
#define QUEUE_AGENT(thread) (THREADS_MAX + (thread))

#define SHARED_AREAS 15u       /* that all use */
#define BLOCKS_PER_THREAD 3u   /* that one thread has for itself */
#define AREAS_MAX (SHARED_AREAS + BLOCKS_PER_THREAD * THREADS_MAX)
#define AREA_PAGES_MAX 2048u

#define SLOT_WORD(agent) (1 + (agent))
#define SCRATCH_WORD 20u
#define TAG_FIRST 24u
#define TAG_END (PAGE_WORDS - 1)
#define TAG_COUNT (TAG_END - TAG_FIRST)

#define LOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define ADD(p, v) __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)

/* --- what must be found ---------------- */

struct bounds {
	uint64_t begun, done, lost_min, lost_max; /* atomic */
};

struct shadow {
	struct bounds counter[2]; /* words 0 and 511 */
	struct bounds slot[AGENTS_MAX];
	uint64_t tag;   /* atomic: generation of the tags; 0: they are zero */
	uint64_t races; /* atomic: odd while a call destroys the page that has not locked it */
};

#define BOUNDS_COUNT (2 + AGENTS_MAX)

/** agent_used() - does this one exist in the round? */
static inline bool agent_used(uint32_t agent, uint32_t thread_count)
{
	return agent % THREADS_MAX < thread_count;
}

/** low_bound(), high_bound() - what the word of @bounds must be between; of a slot: the
 * number of the write */
static inline uint64_t low_bound(uint64_t done, uint64_t lost_max, bool slot)
{
	if (done <= lost_max)
		return 0;
	return slot ? done : done - lost_max;
}

static inline uint64_t high_bound(uint64_t begun, uint64_t lost_min, bool slot)
{
	return slot ? begun : begun - lost_min;
}

/** page_id() - what tells pages from each other: not 0 */
static inline uint64_t page_id(uint32_t area, uint32_t page)
{
	return area * AREA_PAGES_MAX + page + 1;
}

/* What a slot has after its nth write. */
static inline uint64_t slot_value(uint64_t id, uint64_t n)
{
	return n ? id << 40 | n : 0;
}

/* --- randomness ---------------- */

struct random {
	uint64_t state;
};

static inline uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

static inline uint64_t random_next(struct random *r)
{
	return mix(r->state += 0x9E3779B97F4A7C15u);
}

static inline uint32_t random_below(struct random *r, uint32_t limit)
{
	return (uint32_t)(random_next(r) % limit);
}

static inline bool random_one_in(struct random *r, uint32_t n)
{
	return random_below(r, n) == 0;
}

static inline uint64_t tag_value(uint64_t id, uint64_t tag, uint64_t word)
{
	return tag ? mix(tag * 0x9E3779B97F4A7C15u + id * 512 + word) : 0;
}

/* --- areas ---------------- */

/* Addresses where nobody else maps anything. */
#if defined(__SANITIZE_THREAD__)
#define ZONE 0x4000000000ul /* ThreadSanitizer allows few */
#else
#define ZONE 0x200000000000ul
#endif

/* Tried locks: -1 one writer, else so many readers. */
struct try_lock {
	int32_t state; /* atomic */
};

bool try_shared(struct try_lock *lock);
bool try_exclusive(struct try_lock *lock);
void unlock_shared(struct try_lock *lock);
void unlock_exclusive(struct try_lock *lock);

enum area_kind {
	AREA_SMALL = 1 << 0,  /* anonymous, small pages */
	AREA_HUGE = 1 << 1,   /* anonymous, huge pages */
	AREA_FILE = 1 << 2,   /* a private mapping of a file of zeros */
	AREA_SHARED = 1 << 3, /* a shared mapping of a file */
	AREA_BREAK = 1 << 4,  /* the end of the heap, by brk() */
	AREA_BLOCK = 1 << 5,  /* small, where the kernel puts it; a thread's own */
	AREA_OBJECT = 1 << 6, /* a buffer object, mapped and bound at the same addresses */
};

#define AREA_PRIVATE (AREA_SMALL | AREA_HUGE | AREA_FILE | AREA_BREAK)
#define AREA_MOVABLE (AREA_SMALL | AREA_HUGE | AREA_FILE | AREA_SHARED)
#define AREA_COMMON (AREA_PRIVATE | AREA_SHARED)
#define AREA_USED (AREA_COMMON | AREA_OBJECT)

#define RING_COUNT 64

struct ring_entry {
	uint64_t time_ns;
	const char *what;
	uint32_t agent, first, count;
	uint64_t base;
};

struct area {
	uint32_t index;
	enum area_kind kind;
	int file; /* -1: none */
	struct usvm_bo *object; /* NULL: none */
	uint32_t chunk_pages;
	uint32_t pages_min, pages_max;
	struct try_lock lock; /* of base, pages and slot */
	unsigned char *base;
	uint32_t pages;
	uint32_t slot;
	struct shadow *shadow;
	struct try_lock chunk_locks[AREA_PAGES_MAX];
	uint32_t ring_next; /* atomic */
	struct ring_entry ring[RING_COUNT];
};

/* Pages of an area that a thread has locked. */
struct hold {
	struct area *area;
	uint32_t first, count;
	enum lock_kind {
		LOCK_NONE,      /* the step locks nothing: it has memory of its own */
		LOCK_PLACE,     /* only the place of the area */
		LOCK_SHARED,    /* others may use the pages */
		LOCK_EXCLUSIVE, /* others may not */
		LOCK_WHOLE,     /* nor may they use the area */
	} lock;
	unsigned char *elsewhere; /* where the area would be if all had moved as these */
};

static inline bool hold_is_exclusive(const struct hold *hold)
{
	return hold->lock >= LOCK_EXCLUSIVE;
}

extern struct area areas[AREAS_MAX];

/** area_kind_of() - of an area that all use; 0: there is none of that number */
uint32_t area_kind_of(uint32_t index);

void areas_create(struct random *random);
/** map_anywhere() - anonymous memory. @flags: MAP_PRIVATE, MAP_SHARED. Never NULL. */
void *map_anywhere(size_t bytes, int flags);
/** map_again() - new memory of the area's kind at its pages. @flags: MAP_FIXED or
 * MAP_FIXED_NOREPLACE. Return: true if it is there. */
bool map_again(const struct area *area, uint32_t first, uint32_t count, int flags);
/** advise_as() - pages of @area that were mapped anew are like the others: small, or huge */
void advise_as(const struct area *area, uint32_t first, uint32_t count);

/** area_slot_reserve() - a free place for @area to move to; UINT32_MAX: none */
uint32_t area_slot_reserve(const struct area *area);
unsigned char *area_slot_base(const struct area *area, uint32_t slot);
void area_slot_release(const struct area *area, uint32_t slot);

/** hold_choose() - what a step shall be done to: by chance, nothing is locked.
 * @kinds: mask of enum area_kind; @own: thread whose blocks AREA_BLOCK means */
void hold_choose(struct random *random, uint32_t kinds, uint32_t own, uint32_t pages_max,
		 enum lock_kind lock, struct hold *hold);
/** hold_try() - lock what was chosen; less of it where the area shrank.
 * Return: false: in use. */
bool hold_try(struct hold *hold);
/** hold_some() - choose and lock pages, shared, of an area of any common kind */
bool hold_some(struct random *random, uint32_t pages_max, struct hold *hold);
/** hold_all() - lock a whole area for oneself */
bool hold_all(struct area *area, struct hold *hold);
void hold_release(struct hold *hold);

void area_note(struct area *area, uint32_t agent, const char *what, uint32_t first,
	       uint32_t count);

/** shadow_clear() - the pages are zeros from now on; they are held exclusively */
void shadow_clear(const struct hold *hold, uint32_t first, uint32_t count);

static inline unsigned char *page_at(const struct area *area, uint32_t page)
{
	return area->base + page * PAGE;
}

static inline uint64_t *page_words(const struct area *area, uint32_t page)
{
	return (uint64_t *)(void *)page_at(area, page);
}

static inline unsigned char *hold_start(const struct hold *hold)
{
	return page_at(hold->area, hold->first);
}

/* --- what is checked, and the end ---------------- */

enum check_kind {
	CHECK_NONE,
	CHECK_COUNTER,
	CHECK_SLOT,
	CHECK_TAG,
	CHECK_ZERO,
	CHECK_SOIL,
};

/* A word that is not as it must be. In shared memory where the GPU finds it. */
struct mismatch {
	uint64_t kind; /* enum check_kind; atomic: set last */
	uint64_t page, word;
	uint64_t low, high, found;
};

/** check_page() - by the CPU: all counters and slots, and @words tags from @start on
 * (TAG_END: all). @exact: nobody else changes it. Return: true if all is right. */
bool check_page(const struct area *area, uint32_t page, uint32_t start, uint32_t words,
		bool exact, struct mismatch *mismatch);

/** check_copy() - the same of a copy of the page, whole, while it is held exclusively */
bool check_copy(const struct area *area, uint32_t page, const uint64_t *copy,
		struct mismatch *mismatch);

/** settle_page() - a page that is held exclusively, and was right, has its exact value again */
void settle_page(const struct area *area, uint32_t page);

/** check_held() - check_page() for each page, and the end of the round where it is wrong */
void check_held(const struct hold *hold, uint32_t agent, struct random *random,
		const char *when);

/** touch_page() - the CPU's share of the work on a page */
void touch_page(const struct area *area, uint32_t page, uint32_t agent, uint64_t amount);

enum failure_kind {
	FAILED_NOT,
	FAILED_MISMATCH, /* a word is not what it must be */
	FAILED_CALL,     /* a call that has to succeed did not, or the other way round */
	FAILED_CRASH,    /* the process died by itself */
	FAILED_HANG,     /* nothing moved any more */
	FAILED_SKIPPED,  /* nothing migrates here: text says why */
};

#define FAILURE_TEXT_BYTES 16384

/* In shared memory: how a round ended. */
struct failure {
	uint32_t claimed; /* atomic: how many wanted to report; the first does */
	enum failure_kind kind;
	char what[96]; /* in few words: the same for the same failure */
	uint32_t area, page; /* of a mismatch */
	uint32_t text_bytes, child_bytes;
	char text[FAILURE_TEXT_BYTES];
	char child[2048]; /* a fork's child's words */
};

_Noreturn void report_mismatch(struct area *area, const struct mismatch *mismatch,
			       uint32_t agent, const char *when);
_Noreturn void report_failure(struct area *area, const char *what, int64_t value);
/** report_child() - a child of fork says what is wrong, and ends */
__attribute__((format(printf, 1, 2))) _Noreturn void report_child(const char *format, ...);

/* --- GPU jobs ---------------- */

enum job_kind {
	JOB_WORK,  /* add, write the slot, look: pages are held shared */
	JOB_TAG,   /* write new tags: exclusively */
	JOB_CHECK, /* look at everything: shared */
	JOB_SOIL,  /* write what nobody shall ever find: memory that goes soon */
	JOB_BULK,  /* copy whole pages away, write others, copy back: exclusively */
	JOB_LOAD,  /* one load: may fail */
	JOB_STORE, /* one store: may fail */
};

/* Shared memory. */
struct job_result {
	struct mismatch mismatch;
	uint64_t progress; /* atomic: pages done, ever */
};

struct job {
	struct usvm_queue *queue;
	struct job_result *result;
	uint32_t agent;
	bool running;
	struct usvm_fence *fence;
	struct hold hold;
	uint64_t *user_fence; /* private memory: it migrates */
	uint64_t user_fence_value;
};

/** job_start() - takes over @hold where it is told to release it at the end */
void job_start(struct job *job, const struct hold *hold, enum job_kind kind, uint32_t rounds,
	       uint64_t random);
/** job_done() - if it is done, or (wait) when it is: see to its result. Its pages stay held.
 * Return: true if it was right. */
bool job_done(struct job *job, bool wait);
/** job_reap() - if it is done, or (wait) when it is: see to its result, release its hold.
 * Return: true if none is running any more. */
bool job_reap(struct job *job, bool wait);
/** job_run() - a job for pages that stay held by the caller */
void job_run(struct job *job, const struct hold *hold, enum job_kind kind, uint32_t rounds,
	     uint64_t random);
/** job_must_fail() - a job that ends with @error, in a queue of its own, at an address inside
 * of what is held */
void job_must_fail(struct usvm_vm *vm, struct job *like, const struct hold *hold,
		   enum job_kind kind, int error);
/** job_cancel() - start a job, and destroy its queue at once */
void job_cancel(struct usvm_vm *vm, struct job *like, const struct hold *hold);
/** job_run_in() - job_run() in a queue of its own of @vm */
void job_run_in(struct usvm_vm *vm, struct job *like, const struct hold *hold,
		enum job_kind kind, uint64_t random);
/** batch_run() - the agent's additions to the first counter, by commands */
void batch_run(struct job *job, const struct hold *hold, uint32_t *commands);

/* --- steps ---------------- */

struct step {
	uint64_t order; /* from 1 on: when it had its locks; 0: not begun */
	uint64_t seed;  /* of all that it draws by itself */
	uint32_t first, count;
	uint16_t operation, thread, area;
	uint16_t reserved;
};

struct worker;

struct operation {
	const char *name;
	void (*act)(struct worker *worker, struct hold *hold);
	uint32_t weight; /* how often, of all */
	enum lock_kind lock;
	uint32_t kinds; /* enum area_kind */
	uint32_t pages_max;
	bool keeps; /* the hold is not released behind it: a job has it */
};

extern const struct operation operations[];
extern const uint32_t operation_count;

/** operation_find() - by name. Return: its number; operation_count: none. */
uint32_t operation_find(const char *name, size_t length);

void op_touch(struct worker *worker, struct hold *hold);
void op_job(struct worker *worker, struct hold *hold);
void op_tag(struct worker *worker, struct hold *hold);
void op_prefetch(struct worker *worker, struct hold *hold);
void op_query(struct worker *worker, struct hold *hold);
void op_pipe(struct worker *worker, struct hold *hold);
void op_file(struct worker *worker, struct hold *hold);
void op_vm_read(struct worker *worker, struct hold *hold);
void op_copy(struct worker *worker, struct hold *hold);
void op_bulk(struct worker *worker, struct hold *hold);
void op_batch(struct worker *worker, struct hold *hold);
void op_dontneed(struct worker *worker, struct hold *hold);
void op_punch(struct worker *worker, struct hold *hold);
void op_map_fixed(struct worker *worker, struct hold *hold);
void op_unmap_map(struct worker *worker, struct hold *hold);
void op_free(struct worker *worker, struct hold *hold);
void op_guard(struct worker *worker, struct hold *hold);
void op_advise(struct worker *worker, struct hold *hold);
void op_attribute(struct worker *worker, struct hold *hold);
void op_object(struct worker *worker, struct hold *hold);
void op_rebind(struct worker *worker, struct hold *hold);
void op_own_object(struct worker *worker, struct hold *hold);
void op_protect(struct worker *worker, struct hold *hold);
void op_forbid(struct worker *worker, struct hold *hold);
void op_absent(struct worker *worker, struct hold *hold);
void op_lock(struct worker *worker, struct hold *hold);
void op_move(struct worker *worker, struct hold *hold);
void op_dontunmap(struct worker *worker, struct hold *hold);
void op_resize(struct worker *worker, struct hold *hold);
void op_break(struct worker *worker, struct hold *hold);
void op_fork(struct worker *worker, struct hold *hold);
void op_detour(struct worker *worker, struct hold *hold);
void op_hammer(struct worker *worker, struct hold *hold);
void op_race(struct worker *worker, struct hold *hold);
void op_realloc(struct worker *worker, struct hold *hold);
void op_ping_pong(struct worker *worker, struct hold *hold);
void op_malloc(struct worker *worker, struct hold *hold);
void op_queue(struct worker *worker, struct hold *hold);
void op_vm(struct worker *worker, struct hold *hold);
void op_device(struct worker *worker, struct hold *hold);
/** disturb() - pull at the pages that another thread wants pulled at, while it does */
void disturb(struct worker *worker);

/* What operations share. */
void note(const struct worker *worker, const struct hold *hold, const char *what);
/** look() - now and then: at all of it, by the CPU or the GPU */
void look(struct worker *worker, const struct hold *hold, const char *when);
/** place() - now and then: all of it to the device, or home */
void place(struct worker *worker, const struct hold *hold);
/** object_create() - the object of an area, mapped and bound */
void object_create(struct area *area);
/** object_destroy() - give back the handle: the memory stays */
void object_destroy(struct area *area);
/** object_move() - an area's object, whatever others do with it */
void object_move(const struct area *area, enum usvm_place to);
/** own_objects_end() - look at what objects the thread has left, and give them back */
void own_objects_end(struct worker *worker);

/* What words at GPU addresses have: each another value. */
struct pattern {
	uint64_t at, words, seed;
};

/** pattern_fill(), pattern_check() - by a kernel; @what is in the report of a wrong word */
void pattern_fill(struct worker *worker, const struct pattern *pattern);
void pattern_check(struct worker *worker, const struct pattern *pattern, const char *what);
/** vma_end() - where the VMA over @addr ends; 0: it cannot be told */
uint64_t vma_end(uint64_t addr);
/** remap_pieces() - mremap() of @pages, one VMA at a time, as the kernel wants it */
void remap_pieces(const struct worker *worker, struct area *area, unsigned char *from,
		  uint32_t pages, unsigned char *to, int flags);
/** make_tags() - new tags for pages held exclusively, by the CPU or the GPU */
void make_tags(struct worker *worker, const struct hold *hold);
/** settle_unsure() - the pages are what they were or zeros, each as a whole: see which */
void settle_unsure(const struct worker *worker, const struct hold *hold, const char *when);

/* --- a round ---------------- */

#define CHURN_COUNT 8

/* What a thread has from malloc(). */
struct churn {
	unsigned char *memory; /* NULL: none */
	size_t words;
	uint64_t pattern;
};

#define OWN_COUNT 4

/* A buffer object that one thread has bound. */
struct own_object {
	struct usvm_bo *object; /* NULL: none */
	uint64_t bytes, seed;
	bool may_move;
};

struct worker {
	uint32_t thread; /* and agent */
	struct random random; /* of the step that it does */
	struct job job;
	struct churn churn[CHURN_COUNT];
	struct own_object own[OWN_COUNT];
	uint32_t *commands;    /* private memory for batches */
	uint64_t steps;        /* atomic: finished */
	struct job_result result; /* of its job */
	struct step step;      /* the last that began */
	const char *doing;     /* atomic: static text */
	uint64_t forks, missed, refused;
};

/* How a round is set up. The same for the same seed and options. */
struct setting {
	uint64_t seed; /* of the round */
	uint32_t thread_count;
	bool shakes;
	char spec[192]; /* of the device */
};

#define STEPS_PER_ROUND 4096u /* of all threads: the log has room for them */
#define STATS_MAX 16
#define OPERATIONS_MAX 64

struct log {
	uint32_t count; /* atomic */
	struct step steps[STEPS_PER_ROUND];
};

/* Shared memory, of the supervisor and the round. */
struct run {
	struct setting setting;
	uint64_t end_ns;         /* of the last round; 0: at the end of its steps */
	uint32_t steps_per_thread;
	const char *without;     /* operations that are left out */
	const char *plant;       /* the bug that is in the library, or NULL */
	const char *program;     /* `usvm', as it was called */

	struct usvm *gpu;
	struct usvm_vm *vm;
	bool fork_events; /* a child of _Fork() has all that its parent had; else SIGSEGV */
	uint64_t start_ns;
	uint64_t tag_next;        /* atomic */
	uint64_t order_next;      /* atomic */
	uint64_t disturbed;       /* atomic: address where someone wants to be disturbed; 0 */
	uint32_t disturbed_pages; /* atomic */
	struct worker workers[THREADS_MAX];

	/* What is repeated: NULL: steps are drawn. */
	struct log *script;
	bool one_thread;      /* the steps one by one */
	uint32_t script_turn; /* atomic: whose turn it is, an index */
	uint32_t script_skipped; /* atomic: steps whose locks were not to be had */

	uint64_t stats[STATS_MAX]; /* of its device, at the end */
	uint64_t counts[OPERATIONS_MAX]; /* atomic: steps done, by operation */
	struct failure failure;
	struct log log;
};

extern struct run *run;

uint64_t now_ns(void);
/** shared_memory() - zeros that are never migrated, and that children share. Never NULL. */
void *shared_memory(size_t bytes);
/** must() - what the round cannot do without */
void must(int err, const char *what);

/** round_main() - the process of a round */
_Noreturn void round_main(void);

extern const char *const stat_names[STATS_MAX];

/** shake_start() - from now on threads are held up, and put on other processors, at random */
void shake_start(uint64_t seed);

/* --- the supervisor ---------------- */

/**
 * supervise() - run a round, and see how it ends
 * @quiet: its messages on standard error are thrown away
 * @tick: called about once a second, or NULL
 * Return: what run->failure.kind is.
 */
enum failure_kind supervise(bool quiet, uint32_t still_seconds, void (*tick)(void));

/** script_write(), script_read() - the setting and steps of a round, as text.
 * Return: 0 or -errno; -EINVAL: line @line is not understood. */
int script_write(const char *path, const struct setting *setting, const struct log *log);
int script_read(const char *path, struct setting *setting, struct log *log, uint32_t *line);
void script_print_step(FILE *file, const struct step *step);
/** script_from_log() - the steps in their order */
void script_from_log(const struct log *log, struct log *script);

/** shrink() - a round has failed in the way of @kind: try again what led to it, and make it
 * smaller; prints what came of it. @log: its steps; @area: of the mismatch; @still_seconds: so
 * long without progress is a hang. */
void shrink(const struct log *log, enum failure_kind kind, uint32_t area, uint32_t seconds,
	    uint32_t still_seconds, const char *save);

/** print_failure() - what run->failure says. */
void print_failure(void);

/* Which bugs are planted in this build of the library. Not linked: it has none. */
struct oracle_plants {
	bool (*set)(const char *name);
	void (*list)(void);
};
extern const struct oracle_plants oracle_plants __attribute__((weak));

#endif
