/* SPDX-License-Identifier: MIT */
/*
 * DOC: The monitor
 *
 * One thread reads the userfaultfd. For each message: take event_lock, stop the
 * engines, read *one* message, put its effect into the tables, let the engines
 * run, unlock (laws 7 and 9). The thread that made the change is held by the
 * kernel until its message is read; by then nothing uses device memory, and when
 * it is used again nothing stale is left.
 *
 *     FAULT   no entry: a hole: zeros.  MOVING: its owner will wake it.
 *             DEVICE: revoke, bring home. An engine of that device: kick it. In a
 *             timeslice: hold it (timer.c).
 *     UNMAP   revoke, drop entries, wake who slept there
 *     REMOVE  revoke, drop entries, quarantine what was HOME
 *     REMAP   revoke both places, entries follow
 *     FORK    see fork.c
 *
 * The kernel hands out faults before events. A fault at an address that mremap()
 * has just made is seen before its REMAP; whatever is tried for it gives -EAGAIN.
 * It is remembered in the stash, and tried again after the next message. While
 * the stash is not empty the monitor does not sleep: it yields, for it waits for
 * a thread that has to run (law 6).
 *
 * Every answer but success and -EAGAIN ends in a WAKE: the thread tries again and
 * the kernel tells it what it would have told natively (law 14).
 */
#include "mm/mm_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"

/* So often in a row an engine is thrown out of its access to one page: one that came by a
 * translation that was revoked since comes back by another. */
#define KICKS_MAX 3

void mm_wake(struct mm *mm, struct span span)
{
	int err = mm->sys->ops->uffd_wake(mm->sys, mm->uffd, span);

	/* -ENOENT and -EINVAL: the mapping is gone, and nobody can sleep on it. */
	(void)err;
}

uint32_t mm_event_ticket(struct mm *mm)
{
	return wait_ticket(&mm->event_wait);
}

/* Who is to tell, or to read, may wait for the other processor: to yield ours is not enough. */
void mm_event_wait(struct mm *mm, uint32_t ticket, uint32_t tries)
{
	if (tries < MM_EVENT_YIELDS)
		base_host->cpu_yield();
	else
		wait_sleep(&mm->event_wait, ticket, MM_EVENT_WAIT_NS);
}

void mm_stash(struct mm *mm, uint64_t addr, bool write)
{
	if (mm->stash_count == MM_STASH_MAX) {
		mm_wake(mm, span_make(addr, PAGE_BYTES));
		return;
	}
	if (PLANTED(STASH_FORGETS))
		return;
	mm->stash[mm->stash_count++] = addr | (write ? MM_STASH_WRITE : 0); /* W2 */
	mm_stat_add(&mm->stats.stashed, 1);
}

/* The device pages around @addr that one CPU fault brings home. */
static struct span home_span(const struct mm_entry *entry, uint64_t addr)
{
	return span_intersect(span_block(addr, entry->owner->home_bytes), entry->node.span);
}

/* Only out of mm_access(): a plain access of a kernel to the program is a CPU's. */
static bool kick_engine(struct mm *mm, const struct mm_entry *entry, uint64_t addr,
			uint32_t thread_id)
{
	struct mm_accessor *a = mm_accessor_find(mm, thread_id);

	if (!a || ATOMIC_LOAD(&a->device) != entry->owner->device ||
	    ATOMIC_LOAD(&a->page) != addr)
		return false;
	if (a->kicked_page != addr) {
		a->kicked_page = addr;
		a->kicked_count = 0;
	}
	/* It comes back by another address, one that shows this page (a USERPTR): no other
	 * translation would lead it to the device's. */
	if (a->kicked_count++ == KICKS_MAX) {
		a->kicked_count = 0;
		return false;
	}
	mm_stat_add(&mm->stats.kicks, 1);
	mm->sys->ops->thread_kick(mm->sys, thread_id);
	return true;
}

enum origin { ORIGIN_UNKNOWN, ORIGIN_USER, ORIGIN_KERNEL };

/* Who touched the page? Asked before it is answered: then the thread sleeps. */
static enum origin fault_origin(struct mm *mm, uint32_t thread_id)
{
	bool in_call;

	if (!thread_id || !ATOMIC_LOAD_RELAXED(&mm->counts_origins) ||
	    mm->sys->ops->thread_in_call(mm->sys, thread_id, &in_call))
		return ORIGIN_UNKNOWN;
	return in_call ? ORIGIN_KERNEL : ORIGIN_USER;
}

static void count_cpu_fault(struct mm *mm, enum origin origin)
{
	mm_stat_add(&mm->stats.cpu_faults, 1);
	if (origin == ORIGIN_USER)
		mm_stat_add(&mm->stats.cpu_faults_user, 1);
	if (origin == ORIGIN_KERNEL)
		mm_stat_add(&mm->stats.cpu_faults_kernel, 1);
}

static void handle_fault(struct mm *mm, uint64_t addr, bool write, uint32_t thread_id)
{
	struct mm_entry *entry = mm_entry_first(mm, span_make(addr, PAGE_BYTES));
	uint64_t start = mm_trace_start(mm);
	enum origin origin;
	struct span span;

	lock_assert_held(&mm->event_lock);
	if (PLANTED(MONITOR_TOUCHES))
		(void)mm->sys->ops->access(mm->sys, SYS_ACCESS_READ, addr, &start, 8);
	if (!entry) {
		PLANTED_GAP(FILL_TWO_STEPS, &mm->event_lock);
		mm_fill_hole(mm, addr, write); /* E2 */
		return;
	}
	if (kick_engine(mm, entry, addr, thread_id))
		return;
	if (entry->state == MM_ENTRY_MOVING) {
		if (PLANTED(MONITOR_WAITS))
			mm_moving_wait(mm, mm_moving_ticket(mm));
		if (mm_take_yield(mm, addr))
			mm_stash(mm, addr, write);
		return;
	}
	if (mm_fault_hold(mm, entry, addr, write))
		return;
	origin = fault_origin(mm, thread_id);
	span = home_span(entry, addr);
	if (!PLANTED(REVOKE_FAULT))
		mm_notify(mm, span, MM_EVENT_FAULT); /* Q3 */
	/* An error is -EAGAIN: then the page has its entry still. */
	if (mm_bring_home_locked(mm, span, entry->owner) &&
	    mm_entry_first(mm, span_make(addr, PAGE_BYTES))) {
		mm_stat_add(&mm->stats.retries, 1);
		mm_stash(mm, addr, write);
		return;
	}
	count_cpu_fault(mm, origin);
	mm_trace(mm, TRACE_CPU_FAULT, addr, span_bytes(span), 0, start);
}

/* Does anybody sleep in a fault whose message was read? One that is not read yet is answered
 * when it is. */
static bool has_sleepers(const struct mm *mm)
{
	return mm->stash_count || mm->held_count || mm->moving_pages;
}

static void handle_unmap(struct mm *mm, struct span span)
{
	bool wakes = has_sleepers(mm);

	lock_assert_held(&mm->event_lock);
	mm_stat_add(&mm->stats.events_unmap, 1);
	mm_log_locked(mm, span);
	if (!PLANTED(REVOKE_UNMAP))
		mm_notify(mm, span, MM_EVENT_UNMAP); /* Q3 */
	mm_entry_unmap(mm, span);
	mm_quarantine_unmap(mm, span);
	mm_left_unmap(mm, span);
	if (wakes && !PLANTED(WAKE_GONE))
		mm_wake(mm, span); /* W1 */
}

static void handle_remove(struct mm *mm, struct span span)
{
	bool wakes = has_sleepers(mm);

	lock_assert_held(&mm->event_lock);
	mm_stat_add(&mm->stats.events_remove, 1);
	mm_log_locked(mm, span);
	mm_notify(mm, span, MM_EVENT_CLEAR); /* Q3 */
	if (!PLANTED(REMOVE_KEEPS))
		mm_entry_drop_span(mm, span);
	mm_quarantine_add(mm, span);
	if (wakes)
		mm_wake(mm, span); /* W1 */
}

static void handle_remap(struct mm *mm, struct span from, uint64_t to_addr)
{
	struct span to = span_make(to_addr, span_bytes(from));
	bool gone;

	lock_assert_held(&mm->event_lock);
	gone = mm_changed_since(mm, mm->settled_seq, to);
	mm_stat_add(&mm->stats.events_remap, 1);
	mm_log_locked(mm, from);
	mm_log_locked(mm, to);
	mm_notify(mm, from, MM_EVENT_UNMAP); /* Q3 */
	mm_notify(mm, to, MM_EVENT_UNMAP);   /* Q3 */
	mm->remap_count++;
	/* Where something has arrived since, a REMOVE is about that. */
	if (!mm_left_first(mm, from))
		mm_quarantine_clear(mm, from);
	mm_quarantine_clear(mm, to);
	if (!PLANTED(REMAP_DROPS))
		mm_entry_rekey(mm, from, to_addr);
	if (gone)
		mm_remap_doubt_all(mm, to); /* U1 */
	mm_registration_follow(mm, from, to);
	if (!PLANTED(WAKE_GONE))
		mm_wake(mm, from); /* W1 */
}

static void handle_event(struct mm *mm, const struct sys_event *event)
{
	lock_assert_held(&mm->event_lock);
	if (event->type != SYS_EVENT_FAULT)
		mm_trace(mm, TRACE_EVENT, event->span.start, span_bytes(event->span),
			 event->type, 0);
	switch (event->type) {
	case SYS_EVENT_FAULT:
		if (event->fault_flags & SYS_FAULT_WP) {
			/* Only a kernel without WP_ASYNC asks; we never protect there. */
			mm->sys->ops->uffd_writeprotect(mm->sys, mm->uffd,
							span_make(event->addr, PAGE_BYTES),
							false);
			mm_wake(mm, span_make(event->addr, PAGE_BYTES));
			break;
		}
		handle_fault(mm, event->addr, event->fault_flags & SYS_FAULT_WRITE,
			     event->thread_id);
		break;
	case SYS_EVENT_UNMAP:
		handle_unmap(mm, event->span);
		break;
	case SYS_EVENT_REMOVE:
		handle_remove(mm, event->span);
		break;
	case SYS_EVENT_REMAP:
		handle_remap(mm, event->span, event->to);
		break;
	case SYS_EVENT_FORK:
		mm_stat_add(&mm->stats.events_fork, 1);
		mm_fork_event(mm, event->child_uffd);
		break;
	}
}

/* Each remembered fault once. */
static void retry_stash(struct mm *mm)
{
	uint64_t addrs[MM_STASH_MAX];
	uint32_t count = mm->stash_count;

	for (uint32_t i = 0; i < count; i++)
		addrs[i] = mm->stash[i];
	mm->stash_count = 0;
	for (uint32_t i = 0; i < count; i++)
		handle_fault(mm, addrs[i] & ~MM_STASH_WRITE, addrs[i] & MM_STASH_WRITE, 0);
}

/* One that was held, when its time is over. */
static void handle_held(struct mm *mm, uint64_t addr, bool write)
{
	handle_fault(mm, addr, write, 0);
}

/* A message, the stash and what is held can need that many nodes. */
static bool has_nodes(struct mm *mm)
{
	const uint64_t need = MM_EVENT_NODES + 4 * (MM_STASH_MAX + MM_HELD_MAX);

	uint64_t have = ATOMIC_LOAD(&mm->monitor_nodes);

	/* The collector that is to end sees to it that nothing is left: while memory is short
	 * there would always be this. */
	if (have < MM_MONITOR_NODES / 2 && ATOMIC_LOAD(&mm->stopping) < 2)
		mm_work_queue_collector(mm, &mm->refill_work);
	return have >= need;
}

/* Nothing came: who waits for an empty queue is told, and what was announced may be over. */
static void handle_none(struct mm *mm)
{
	lock_assert_held(&mm->event_lock);
	ATOMIC_STORE_RELAXED(&mm->idle_count, mm->idle_count + 1);
	mm_quarantine_settle(mm);
}

bool mm_monitor_step(struct mm *mm)
{
	struct sys_event event;
	int err;

	mm->is_quiet = false;
	if (!has_nodes(mm)) {
		/* No memory for a split now. Whoever waits, waits; nothing is lost. */
		base_host->cpu_yield();
		return true;
	}
	if (mm_left_awaits(mm)) {
		base_host->cpu_yield();
		return true;
	}
	mm_lock(mm);
	mm_quiesce_stop(mm);
	/* What is still in doubt then is tried again at the next step. */
	(void)mm_remap_settle(mm);
	err = mm_event_read(mm, mm->uffd, &event); /* Q1 */
	if (PLANTED(RESUME_EARLY)) {
		mm_quiesce_resume(mm);
		plant_yield();
		mm_quiesce_stop(mm);
	}
	PLANTED_GAP(READ_THEN_APPLY, &mm->event_lock);
	if (!err)
		handle_event(mm, &event);
	mm_event_done(mm);
	if (err)
		handle_none(mm);
	else
		mm_late_settle(mm);
	if (mm->stash_count)
		retry_stash(mm);
	mm_timers_run(mm, handle_held);
	mm_quiesce_resume(mm);
	INVARIANT(mm_entry_check(mm));
	mm->is_quiet = !mm->stash_count && !mm->doubted_count;
	mm->rest_ns = mm_timers_timeout(mm);
	ATOMIC_SUB(&mm->monitor_nodes, mm->nodes_taken);
	mm_unlock(mm, mm->nodes_taken);
	if (!err)
		wait_wake_all(&mm->event_wait);
	return mm_zeros_prepare(mm) || err == 0;
}

/*
 * Steps until nothing but a message gives work, or time. Mostly a message comes alone: to
 * poll for the next costs less than to look for one with the engines stopped. But one who
 * waits for an empty queue has to be shown it.
 */
static void monitor_turn(struct mm *mm)
{
	bool more = mm_monitor_step(mm);

	if (mm_late_run(mm) || (more && (!mm->is_quiet || ATOMIC_LOAD(&mm->fence_count))))
		return;
	if (!mm->is_quiet) {
		base_host->cpu_yield();
		return;
	}
	mm->sys->ops->uffd_wait(mm->sys, mm->uffd, MIN(mm->rest_ns, mm_late_timeout(mm)));
}

/* Return: 0, also where nothing can be taken; -EMFILE: it could with more descriptors. */
static int monitor_start(struct mm *mm)
{
	int err = 0;

	if (!mm->why_not)
		err = mm->sys->ops->uffd_open(mm->sys, &mm->uffd);
	if (err) {
		mm->uffd = -1;
		mm->why_not = "userfaultfd could not be opened";
	}
	return err == -EMFILE ? err : 0;
}

static void work_thread(void *arg)
{
	struct mm *mm = arg;

	base_host->self()->is_worker = true;
	mm_work_list_run(mm, &mm->work, 1);
}

static void caller_thread(void *arg)
{
	struct mm *mm = arg;

	base_host->self()->is_worker = true;
	mm_work_list_run(mm, &mm->request, 1);
}

static void collector_thread(void *arg)
{
	struct mm *mm = arg;

	base_host->self()->is_worker = true;
	mm_work_list_run(mm, &mm->collect, 2);
	/* Only a thread with the monitor's file table can end its wait. */
	ATOMIC_STORE(&mm->stopping, 3);
	mm->sys->ops->uffd_kick(mm->sys);
}

/* Workers share the monitor's file table, so it is the monitor that makes them, and
 * before the first registration: making a thread touches the program's heap. */
static int monitor_make_workers(struct mm *mm)
{
	struct sys_thread_attr attr = {
		.name = "usvm-worker",
		.run = work_thread,
		.arg = mm,
		.flags = SYS_THREAD_SHARE_FILES,
	};
	int err = 0;

	for (uint32_t i = 0; i < mm->config.worker_count && !err; i++)
		err = mm->sys->ops->thread_create(mm->sys, &attr, &mm->workers[i]);
	attr.name = "usvm-caller";
	attr.run = caller_thread;
	for (uint32_t i = 0; i < MM_CALLERS && !err; i++)
		err = mm->sys->ops->thread_create(mm->sys, &attr, &mm->callers[i]);
	if (err)
		return err;
	attr.name = "usvm-collector";
	attr.run = collector_thread;
	return mm->sys->ops->thread_create(mm->sys, &attr, &mm->collector);
}

/* Where no event tells of children there is nothing to keep. One that cannot be made is
 * done without: docs/limits.md. */
static void monitor_make_keeper(struct mm *mm)
{
	if (mm->start_error || mm->uffd < 0 || !sys_has(mm->sys, SYS_FEATURE_EVENT_FORK))
		return;
	if (mm->sys->ops->keeper_start(mm->sys, mm_last_will, mm, &mm->keeper))
		mm->keeper = NULL;
}

void mm_monitor_run(void *arg)
{
	struct mm *mm = arg;

	mm->start_error = monitor_start(mm);
	if (!mm->start_error)
		mm->start_error = monitor_make_workers(mm);
	monitor_make_keeper(mm);
	ATOMIC_STORE(&mm->started, 1);
	wait_wake_all(&mm->start_wait);

	/* A collector that could not be made will not tell the monitor to end. */
	while (!mm->start_error && ATOMIC_LOAD(&mm->stopping) < 3) {
		if (mm->uffd >= 0)
			monitor_turn(mm);
		else
			mm->sys->ops->uffd_wait(mm->sys, mm->uffd, BASE_FOREVER);
	}
	if (mm->keeper)
		mm->sys->ops->keeper_stop(mm->sys, mm->keeper);
	mm_monitor_release(mm);
}
