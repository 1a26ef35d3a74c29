/* SPDX-License-Identifier: MIT */
/*
 * DOC: lock
 *
 * One word, three states:
 *
 *        acquire              acquire, while held
 *     0 ---------> 1 (held) ---------------------> 2 (held, someone may sleep)
 *     ^            |                               |
 *     +- release --+                               |
 *     +- release, and wake one --------------------+
 *
 * Who has slept takes the lock in state 2, as it cannot know whether others
 * sleep still: one wake too many at worst, never one too few. A release gives
 * the word up first and wakes after, so the memory of the lock may be gone by
 * then: the wake is of an address, and every park() may return without reason.
 *
 * The owner is kept in every build, as it costs a store: a lock that its owner
 * takes again and a release by another thread abort instead of hanging far
 * away. Only a thread itself ever writes itself there, so a thread that reads
 * its own record in owner holds the lock, whatever else it races with.
 *
 * The checker (USVM_LOCK_CHECK) keeps the chain of held locks in the thread's
 * record, and looks before it waits: a deadlock that is possible is reported
 * even when this run would have got through. Its rules:
 *
 *     order    a lock is waited for only when its rank is above all held ones
 *     foreign  a program's thread takes no rank with the monitor mark
 *     monitor  the monitor takes no rank without it
 *     below    nobody waits for a rank without the mark while holding one with
 *              it: the monitor would wait in turn, and the holder may sleep
 *
 * lock_try_acquire() does not wait, so order and below do not apply to it.
 */
#include "base/lock.h"
#include "base/assert.h"
#include "base/atomic.h"
#include "base/host.h"
#include "base/text.h"

enum lock_state {
	LOCK_FREE = 0,
	LOCK_HELD = 1,
	LOCK_CONTENDED = 2,
};

/*
 * Most critical sections are shorter than a sleep and a wake (some 10 us), so
 * a little waiting awake is cheaper. A simulator runs one thread at a time:
 * there the holder cannot get on while another spins.
 */
#if defined(USVM_YIELD_POINTS)
#define LOCK_SPIN_COUNT 0
#else
#define LOCK_SPIN_COUNT 100
#endif

#define REPORT_BYTES 2048

const struct lock_rank_info lock_rank_info[LOCK_RANK_COUNT] = {
	[LOCK_API_DEVICE] = { "usvm.lock", false },
	[LOCK_VM] = { "vm.lock", false },
	[LOCK_PAGEMAP_TAKE] = { "pagemap.take_lock", false },
	[LOCK_MM_EXCLUSION] = { "mm.exclusion_lock", false },
	[LOCK_MM_GATE] = { "mm.gate", false },
	[LOCK_MM_EVENT] = { "mm.event_lock", true },
	[LOCK_GPUSVM_NOTIFIER] = { "gpusvm.notifier_lock", true },
	[LOCK_GPU_PT] = { "gpu.page_table_lock", true },
	[LOCK_MM_WORK] = { "mm.work_lock", true },
	[LOCK_VRAM] = { "vram.lock", false },
	[LOCK_DEVICE] = { "device.lock", false },
	[LOCK_LEAF] = { "leaf", false },
	[LOCK_SYS_TASKS] = { "sys.tasks", true },
	[LOCK_LEAF_MONITOR] = { "leaf_monitor", true },
};

static void report_and_die(const char *text)
{
	base_host->die(text);
}

void (*lock_report)(const char *text) = report_and_die;

/* --- reports ---------------------------------------------------------------- */

/* report_end() - send the report out; a lock_report that returns changes nothing */
NORETURN static void report_end(const struct text *text)
{
	lock_report(text->buffer);
	base_host->die(text->buffer);
}

/* describe() - "vm.lock (rank 1, src/vm/vm.c:12)" */
static void describe(struct text *text, const struct lock *lock, const char *where)
{
	text_string(text, lock->name);
	text_string(text, " (rank ");
	text_number(text, lock->rank);
	if (where) {
		text_string(text, ", ");
		text_string(text, where);
	}
	text_string(text, ")");
}

/* describe_chain() - a line for each lock that the thread holds, oldest first */
static void describe_chain(struct text *text, const struct base_thread *self)
{
	text_string(text, "\n");
	for (uint32_t i = 0; i < self->held_count; i++) {
		text_string(text, "  holds ");
		describe(text, self->held[i], self->where[i]);
		text_string(text, "\n");
	}
}

/* lock_violation() - "lock KIND: LOCK (...) EVENT", the chain, the end */
NORETURN static void lock_violation(const char *kind, const struct lock *lock,
				    const char *where, const char *event)
{
	char buffer[REPORT_BYTES];
	struct text text;

	text_init(&text, buffer, sizeof(buffer));
	text_string(&text, "lock ");
	text_string(&text, kind);
	text_string(&text, ": ");
	describe(&text, lock, where);
	text_string(&text, " ");
	text_string(&text, event);
	describe_chain(&text, base_host->self());
	report_end(&text);
}

/* --- the checker ------------------------------------------------------------ */

#if defined(USVM_LOCK_CHECK)

static bool is_monitor_lock(const struct lock *lock)
{
	return lock_rank_info[lock->rank].monitor;
}

/* order_violation() - @lock may not be waited for while held[@index] is held */
NORETURN static void order_violation(const struct base_thread *self, uint32_t index,
				     const char *kind, const struct lock *lock,
				     const char *where)
{
	char buffer[REPORT_BYTES];
	struct text text;

	text_init(&text, buffer, sizeof(buffer));
	text_string(&text, "lock ");
	text_string(&text, kind);
	text_string(&text, ": ");
	describe(&text, lock, where);
	text_string(&text, " taken while holding ");
	describe(&text, self->held[index], self->where[index]);
	describe_chain(&text, self);
	report_end(&text);
}

/* context_violation() - "lock context: WHAT EVENT", the chain, the end */
NORETURN static void context_violation(const struct base_thread *self,
				       const char *what, const char *event)
{
	char buffer[REPORT_BYTES];
	struct text text;

	text_init(&text, buffer, sizeof(buffer));
	text_string(&text, "lock context: ");
	text_string(&text, what);
	text_string(&text, " ");
	text_string(&text, event);
	describe_chain(&text, self);
	report_end(&text);
}

/* check_thread() - may this kind of thread take this rank at all? */
static void check_thread(const struct base_thread *self, const struct lock *lock,
			 const char *where)
{
	bool monitor_lock = is_monitor_lock(lock);

	if (monitor_lock && !self->is_library)
		lock_violation("foreign", lock, where,
			       "has the monitor mark; taken by a program's thread");
	if (!monitor_lock && self->is_monitor)
		lock_violation("monitor", lock, where,
			       "has no monitor mark; taken by the monitor");
	if (self->held_count == ARRAY_SIZE(self->held))
		lock_violation("chain", lock, where, "is one too many for the checker");
}

/* check_order() - may the thread wait for @lock with what it holds? */
static void check_order(const struct base_thread *self, const struct lock *lock,
			const char *where)
{
	for (uint32_t i = 0; i < self->held_count; i++) {
		if (self->held[i] == lock)
			lock_violation("recursion", lock, where,
				       "taken by the thread that holds it");
	}
	for (uint32_t i = 0; i < self->held_count; i++) {
		if (self->held[i]->rank >= lock->rank)
			order_violation(self, i, "order", lock, where);
		if (is_monitor_lock(self->held[i]) && !is_monitor_lock(lock))
			order_violation(self, i, "below", lock, where);
	}
}

static void chain_push(struct base_thread *self, const struct lock *lock,
		       const char *where)
{
	self->held[self->held_count] = lock;
	self->where[self->held_count] = where;
	self->held_count++;
}

/* chain_remove() - locks may be released in any order */
static void chain_remove(struct base_thread *self, const struct lock *lock)
{
	uint32_t i = self->held_count;

	do {
		ASSERT(i > 0);
		i--;
	} while (self->held[i] != lock);

	for (; i + 1 < self->held_count; i++) {
		self->held[i] = self->held[i + 1];
		self->where[i] = self->where[i + 1];
	}
	self->held_count--;
}

static bool holds_monitor_lock(const struct base_thread *self)
{
	for (uint32_t i = 0; i < self->held_count; i++) {
		if (is_monitor_lock(self->held[i]))
			return true;
	}
	return false;
}

void lock_assert_may_sleep(const char *what)
{
	const struct base_thread *self = base_host->self();

	if (self->is_monitor)
		context_violation(self, what, "may sleep; called by the monitor");
	if (holds_monitor_lock(self))
		context_violation(self, what,
				  "may sleep; called with a monitor lock held");
}

void lock_assert_none_held(const char *what)
{
	const struct base_thread *self = base_host->self();

	if (self->held_count)
		context_violation(self, what, "called with a lock held");
}

void lock_assert_monitor(void)
{
	const struct base_thread *self = base_host->self();

	if (!self->is_monitor && !holds_monitor_lock(self))
		context_violation(self, "a monitor callback",
				  "called by another thread without a monitor lock");
}

#else

/* clang-format off */
static inline void check_thread(UNUSED const struct base_thread *self,
				UNUSED const struct lock *lock,
				UNUSED const char *where) { }
static inline void check_order(UNUSED const struct base_thread *self,
			       UNUSED const struct lock *lock,
			       UNUSED const char *where) { }
static inline void chain_push(UNUSED struct base_thread *self,
			      UNUSED const struct lock *lock,
			      UNUSED const char *where) { }
static inline void chain_remove(UNUSED struct base_thread *self,
				UNUSED const struct lock *lock) { }

void lock_assert_may_sleep(UNUSED const char *what) { }
void lock_assert_none_held(UNUSED const char *what) { }
void lock_assert_monitor(void) { }
/* clang-format on */

#endif

/* --- the lock --------------------------------------------------------------- */

void lock_init(struct lock *lock, enum lock_rank rank, const char *name)
{
	ASSERT((uint32_t)rank < LOCK_RANK_COUNT);
	lock->word = LOCK_FREE;
	lock->rank = rank;
	lock->name = name ? name : lock_rank_info[rank].name;
	lock->owner = NULL;
}

static bool owned_by(const struct lock *lock, const struct base_thread *self)
{
	return ATOMIC_LOAD_RELAXED(&lock->owner) == self;
}

static bool word_take(struct lock *lock)
{
	uint32_t expected = LOCK_FREE;

	return ATOMIC_COMPARE_EXCHANGE(&lock->word, &expected, LOCK_HELD);
}

/* acquire_slow() - the lock was held a moment ago: spin for a little, then sleep */
static void acquire_slow(struct lock *lock, struct base_thread *self,
			 const char *where)
{
	if (owned_by(lock, self))
		lock_violation("recursion", lock, where,
			       "taken by the thread that holds it");

	for (int i = 0; i < LOCK_SPIN_COUNT; i++) {
		uint32_t word = ATOMIC_LOAD_RELAXED(&lock->word);

		if (word == LOCK_FREE && word_take(lock))
			return;
		/* Others sleep already: the holder is not quick. */
		if (word == LOCK_CONTENDED)
			break;
		cpu_relax();
	}

	self->waits_for = lock->name;
	while (ATOMIC_EXCHANGE(&lock->word, LOCK_CONTENDED) != LOCK_FREE)
		base_host->park(&lock->word, LOCK_CONTENDED, BASE_FOREVER);
	self->waits_for = NULL;
}

NO_LOCK_ANALYSIS void lock_acquire_at(struct lock *lock, const char *where)
{
	struct base_thread *self = base_host->self();

	check_thread(self, lock, where);
	check_order(self, lock, where);
	if (unlikely(!word_take(lock)))
		acquire_slow(lock, self, where);
	ATOMIC_STORE_RELAXED(&lock->owner, self);
	chain_push(self, lock, where);
}

NO_LOCK_ANALYSIS bool lock_try_acquire_at(struct lock *lock, const char *where)
{
	struct base_thread *self = base_host->self();

	check_thread(self, lock, where);
	if (!word_take(lock))
		return false;
	ATOMIC_STORE_RELAXED(&lock->owner, self);
	chain_push(self, lock, where);
	return true;
}

NO_LOCK_ANALYSIS void lock_release(struct lock *lock)
{
	struct base_thread *self = base_host->self();

	if (unlikely(!owned_by(lock, self)))
		lock_violation("release", lock, NULL,
			       "released by a thread that does not hold it");
	chain_remove(self, lock);
	ATOMIC_STORE_RELAXED(&lock->owner, NULL);
	if (ATOMIC_EXCHANGE(&lock->word, LOCK_FREE) == LOCK_CONTENDED)
		base_host->unpark(&lock->word, 1);
}

NO_LOCK_ANALYSIS void lock_assert_held(const struct lock *lock)
{
	if (unlikely(!owned_by(lock, base_host->self())))
		lock_violation("assert", lock, NULL,
			       "is not held by the thread that must hold it");
}
