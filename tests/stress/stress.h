/* SPDX-License-Identifier: MIT */
/*
 * tests/stress/stress.h - what the files of the stress share.
 *
 * Two threads and two GPU queues work on the same memory while it is unmapped,
 * remapped, advised away, protected, prefetched and forked under them. Everything
 * that is in it at any time is known:
 *
 *     page   word 0      counter: added to by all four, atomically
 *            word 1..4   a slot for each of the four: it alone writes, all read
 *            word 8..510 tags: written with the page locked, read by all
 *            word 511    counter
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
 */
#ifndef TESTS_STRESS_STRESS_H
#define TESTS_STRESS_STRESS_H

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

#define AREA_COUNT 12        /* that all use */
#define BLOCKS_PER_THREAD 3u /* that one thread has for itself */
#define AREAS_ALL (AREA_COUNT + BLOCKS_PER_THREAD * THREAD_COUNT)
#define AREA_PAGES_MAX 2048u
#define THREAD_COUNT 2u
/* Who changes a page: threads are 0 and 1, the queues of them 2 and 3. */
#define AGENT_COUNT (2 * THREAD_COUNT)
#define QUEUE_AGENT(thread) (THREAD_COUNT + (thread))

#define SLOT_WORD(agent) (1 + (agent))
#define TAG_FIRST 8u
#define TAG_END (PAGE_WORDS - 1)

#define LOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define ADD(p, v) __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)

/* --- what must be found ---------------- */

struct bounds {
	uint64_t begun, done, lost_min, lost_max; /* atomic */
};

struct shadow {
	struct bounds counter[2]; /* words 0 and 511 */
	struct bounds slot[AGENT_COUNT];
	uint64_t tag;   /* atomic: generation of the tags; 0: they are zero */
	uint64_t races; /* atomic: odd while a call destroys the page that has not locked it */
};

#define BOUNDS_COUNT (2 + AGENT_COUNT)

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

static inline uint64_t tag_value(uint64_t id, uint64_t tag, uint64_t word)
{
	uint64_t z = tag * 0x9E3779B97F4A7C15u + id * 512 + word;

	if (!tag)
		return 0;
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

/* --- randomness ---------------- */

struct random {
	uint64_t state;
};

static inline uint64_t random_next(struct random *r)
{
	uint64_t z = (r->state += 0x9E3779B97F4A7C15u);

	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

static inline uint32_t random_below(struct random *r, uint32_t limit)
{
	return (uint32_t)(random_next(r) % limit);
}

static inline bool random_one_in(struct random *r, uint32_t n)
{
	return random_below(r, n) == 0;
}

/* --- areas ---------------- */

/* Tried locks: -1 one writer, else so many readers. */
struct try_lock {
	int32_t state; /* atomic */
};

bool try_shared(struct try_lock *lock);
bool try_exclusive(struct try_lock *lock);
void unlock_shared(struct try_lock *lock);
void unlock_exclusive(struct try_lock *lock);

#define RING_COUNT 64

struct ring_entry {
	uint64_t time_ns;
	const char *what;
	uint32_t agent, first, count;
	uint64_t base;
};

struct area {
	uint32_t index;
	bool huge;
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

/* Pages of an area that a thread has locked. With @exclusive and @whole the area too. */
struct hold {
	struct area *area;
	uint32_t first, count;
	bool exclusive, whole;
	unsigned char *elsewhere; /* where the area would be if all had moved as these */
};

extern struct area areas[AREAS_ALL];

void areas_create(struct random *random);
void *map_anywhere(size_t bytes, int flags);
/** advise_as() - pages of @area that were mapped anew are like the others: small, or huge */
void advise_as(const struct area *area, uint32_t first, uint32_t count);

/** area_choose() - one that all use; often the one that the others choose now too */
struct area *area_choose(struct random *random);

/** area_slot_reserve() - a free place for @area to move to; UINT32_MAX: none */
uint32_t area_slot_reserve(const struct area *area);
unsigned char *area_slot_base(const struct area *area, uint32_t slot);
void area_slot_release(const struct area *area, uint32_t slot);

/** hold_some(), hold_whole() - lock chunks of a random area; all of a given one.
 * Return: false: in use. */
bool hold_some(struct random *random, bool exclusive, uint32_t pages_max, struct hold *hold);
bool hold_whole(struct area *area, bool exclusive, struct hold *hold);
void hold_release(struct hold *hold);

void area_note(struct area *area, uint32_t agent, const char *what, uint32_t first,
	       uint32_t count);

/** shadow_clear() - the pages are zeros from now on; they are held exclusively */
void shadow_clear(const struct hold *hold, uint32_t first, uint32_t count);

static inline uint64_t *page_words(const struct area *area, uint32_t page)
{
	return (uint64_t *)(void *)(area->base + page * PAGE);
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
	uint64_t agent; /* of a slot */
};

/** check_page() - by the CPU: all counters and slots, and @words tags from @start on
 * (TAG_END: all). @exact: nobody else changes it. Return: true if all is right. */
bool check_page(const struct area *area, uint32_t page, uint32_t start, uint32_t words,
		bool exact, struct mismatch *mismatch);

/** settle_page() - a page that is held exclusively, and was right, has its exact value again */
void settle_page(const struct area *area, uint32_t page);

/** check_held() - check_page() for each page, and the end of the run where it is wrong */
void check_held(const struct hold *hold, uint32_t agent, struct random *random,
		const char *when);

/** touch_page() - the CPU's share of the work on a page */
void touch_page(const struct area *area, uint32_t page, uint32_t agent, uint64_t amount);

_Noreturn void report_mismatch(struct area *area, const struct mismatch *mismatch,
			       uint32_t agent, const char *when);
_Noreturn void report_failure(struct area *area, const char *what, int64_t value);

/* --- GPU jobs ---------------- */

enum job_kind {
	JOB_WORK,  /* add, write the slot, look: pages are held shared */
	JOB_TAG,   /* write new tags: exclusively */
	JOB_CHECK, /* look at everything: shared */
	JOB_SOIL,  /* write what nobody shall ever find: memory that goes soon */
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

/* --- the run ---------------- */

struct worker {
	uint32_t thread; /* and agent */
	struct random random;
	struct job job;
	uint64_t ops;      /* atomic: finished */
	const char *doing; /* atomic: static text */
	uint64_t forks, missed, refused;
};

struct run {
	struct usvm *gpu;
	struct usvm_vm *vm;
	uint64_t seed;
	uint64_t end_ns;
	uint64_t tag_next; /* atomic */
	bool fork_events;  /* a child of _Fork() has all that its parent had; else SIGSEGV */
	struct worker workers[THREAD_COUNT];
	const char *without; /* operations that are left out */
	uint32_t focus;      /* atomic: the area that most is done to */
	uint64_t disturbed;  /* atomic: address where someone wants to be disturbed; 0 */
	uint32_t disturbed_pages; /* atomic */
};

extern struct run *run; /* shared memory */

uint64_t now_ns(void);
void worker_run(struct worker *worker);

/** one operation each, with its locks. */
void op_touch(struct worker *worker);
void op_tag(struct worker *worker);
void op_prefetch(struct worker *worker);
void op_dontneed(struct worker *worker);
void op_free(struct worker *worker);
void op_map_fixed(struct worker *worker);
void op_unmap_map(struct worker *worker);
void op_protect(struct worker *worker);
void op_lock(struct worker *worker);
void op_collapse(struct worker *worker);
void op_pipe(struct worker *worker);
void op_move(struct worker *worker);
void op_resize(struct worker *worker);
void op_dontunmap(struct worker *worker);
void op_fork(struct worker *worker);
void op_detour(struct worker *worker);
void op_hammer(struct worker *worker);
void op_race(struct worker *worker);
void op_realloc(struct worker *worker);
void op_ping_pong(struct worker *worker);
/** disturb() - pull at the pages that another thread wants pulled at, while it does */
void disturb(struct worker *worker);

/* What operations share. */
bool hold_exclusive(struct worker *worker, uint32_t pages_max, struct hold *hold);
void note(const struct worker *worker, const struct hold *hold, const char *what);
/** look() - now and then: at all of it, by the CPU or the GPU */
void look(struct worker *worker, const struct hold *hold, const char *when);
/** place() - now and then: all of it to the device, or home */
void place(struct worker *worker, const struct hold *hold);
/** vma_end() - where the VMA over @addr ends; 0: it cannot be told */
uint64_t vma_end(uint64_t addr);
/** remap_pieces() - mremap() of @pages, one VMA at a time, as the kernel wants it */
void remap_pieces(const struct worker *worker, struct area *area, unsigned char *from,
		  uint32_t pages, unsigned char *to, int flags);

/** op_make_tags() - new tags for pages held exclusively, by the CPU or the GPU */
void op_make_tags(struct worker *worker, const struct hold *hold);

/** shake_start() - from now on threads are held up, and put on other processors, at random */
void shake_start(uint64_t seed);

/** watchdog_start() - from now on the process is ended where a thread makes no progress */
void watchdog_start(void);

#endif
