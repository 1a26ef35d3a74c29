/* SPDX-License-Identifier: MIT */
/*
 * DOC: What waits for a time
 *
 * Two kinds of things, and one wait of the monitor for the earliest of all.
 *
 * Timeslices. An owner can say until when its pages stay (mm_owner_stay()), for who took
 * them would starve if the CPU had them back at once. A CPU fault on such a page is not
 * answered yet: it is held here, and its thread sleeps on in the kernel. When the time is
 * over the fault is handled as if it had just been read. (Upstream's returns to the thread,
 * which faults again at once, for 5 ms: L5.) What others do meanwhile goes on as ever, and
 * so does a homecoming that a worker asks for: the thread is woken by that, and its fault,
 * when its time has come, finds a page that is there, and wakes once more.
 *
 * A few faults have room. One more is answered at once: to break a timeslice is better than
 * to let a thread turn in circles.
 *
 * Timers of other layers queue a piece of work.
 */
#include "mm/mm_internal.h"

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"

void mm_owner_stay(struct mm *mm, struct mm_entry_owner *owner, uint64_t ns)
{
	uint64_t until = mm->sys->ops->clock_ns(mm->sys) + ns;

	mm_lock(mm);
	owner->stay_until_ns = MAX(owner->stay_until_ns, until);
	mm_unlock(mm, 0);
}

static void due_at(struct mm *mm, uint64_t ns)
{
	mm->due_ns = MIN(mm->due_ns, ns);
}

/* Hold a fault on a page of @entry if that is to stay yet. */
bool mm_fault_hold(struct mm *mm, const struct mm_entry *entry, uint64_t addr, bool write)
{
	uint64_t until = entry->owner->stay_until_ns;

	lock_assert_held(&mm->event_lock);
	if (!until || mm->held_count == MM_HELD_MAX ||
	    mm->sys->ops->clock_ns(mm->sys) >= until)
		return false;
	mm->held[mm->held_count++] = addr | (write ? MM_STASH_WRITE : 0);
	if (!PLANTED(HELD_UNTIMED))
		due_at(mm, until);
	mm_stat_add(&mm->stats.held_faults, 1);
	return true;
}

static void timers_fire(struct mm *mm, uint64_t now)
{
	struct list *node = mm->timers.next;

	lock_assert_held(&mm->event_lock);
	while (node != &mm->timers) {
		struct mm_timer *timer = LIST_ENTRY(node, struct mm_timer, node);

		node = node->next;
		if (now < timer->due_ns) {
			due_at(mm, timer->due_ns);
			continue;
		}
		list_remove(&timer->node);
		timer->fire(timer);
	}
}

/* What is due now. @handle: as for a fault that was just read. */
void mm_timers_run(struct mm *mm, void (*handle)(struct mm *mm, uint64_t addr, bool write))
{
	uint64_t held[MM_HELD_MAX];
	uint32_t count = mm->held_count;
	uint64_t now;

	lock_assert_held(&mm->event_lock);
	if (mm->due_ns == BASE_FOREVER)
		return;
	now = mm->sys->ops->clock_ns(mm->sys);
	if (now < mm->due_ns)
		return;
	mm->due_ns = BASE_FOREVER;
	timers_fire(mm, now);
	for (uint32_t i = 0; i < count; i++)
		held[i] = mm->held[i];
	mm->held_count = 0;
	if (PLANTED(HELD_ONE))
		count = MIN(count, 1u);
	/* Those whose time has not come are held again. */
	for (uint32_t i = 0; i < count; i++)
		handle(mm, held[i] & ~MM_STASH_WRITE, held[i] & MM_STASH_WRITE);
}

/* How long the monitor may sleep. */
uint64_t mm_timers_timeout(struct mm *mm)
{
	uint64_t now;

	lock_assert_held(&mm->event_lock);
	if (mm->due_ns == BASE_FOREVER)
		return BASE_FOREVER;
	now = mm->sys->ops->clock_ns(mm->sys);
	return mm->due_ns > now ? mm->due_ns - now : 0;
}

void mm_timer_init(struct mm_timer *timer, void (*fire)(struct mm_timer *timer))
{
	list_init(&timer->node);
	timer->fire = fire;
}

void mm_timer_set(struct mm *mm, struct mm_timer *timer, uint64_t due_ns)
{
	bool is_earlier;

	mm_lock(mm);
	list_remove(&timer->node);
	timer->due_ns = due_ns;
	list_push_back(&mm->timers, &timer->node);
	is_earlier = due_ns < mm->due_ns;
	due_at(mm, due_ns);
	mm_unlock(mm, 0);
	if (is_earlier && mm->uffd >= 0)
		mm->sys->ops->uffd_kick(mm->sys);
}

void mm_timer_cancel(struct mm *mm, struct mm_timer *timer)
{
	mm_lock(mm);
	list_remove(&timer->node);
	mm_unlock(mm, 0);
}
