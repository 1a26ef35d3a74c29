/* SPDX-License-Identifier: MIT */
/*
 * DOC: What can be late
 *
 * An event often leaves something behind that nobody waits for: a range whose memory is
 * gone, device memory without a page, a change that is to be seen settled. A thread woken
 * for it runs before the program's, which has asked for the event, or for the lock that
 * the monitor holds; and where events follow each other it is woken for each.
 *
 * So the monitor queues such work and wakes nobody, until
 *
 *     MM_LATE_NS have passed since the first,    or    MM_LATE_MAX pieces wait
 *
 * and sleeps no longer than that meanwhile. A worker that is awake takes it at once, as
 * does one that is woken for something else. Who wants to see the end of it calls
 * mm_work_hurry() before he waits.
 *
 * Other threads than the monitor have nothing to be late for: they wake as ever.
 */
#include "mm/mm_internal.h"

#include "base/host.h"

#define MM_LATE_NS 1000000ull
#define MM_LATE_MAX 64

static void late_begin(struct mm *mm)
{
	if (!mm->late.count++)
		mm->late.since_ns = mm->sys->ops->clock_ns(mm->sys);
}

bool mm_work_queue_late(struct mm *mm, struct mm_work *work)
{
	if (!base_host->self()->is_monitor)
		return mm_work_queue(mm, work);
	if (!mm_work_push(&mm->work, work))
		return false;
	late_begin(mm);
	mm->late.work = true;
	return true;
}

bool mm_work_queue_collector_late(struct mm *mm, struct mm_work *work)
{
	if (!base_host->self()->is_monitor)
		return mm_work_queue_collector(mm, work);
	if (!mm_work_push(&mm->collect, work))
		return false;
	late_begin(mm);
	mm->late.collect = true;
	return true;
}

void mm_work_hurry(struct mm *mm)
{
	wait_wake_one(&mm->work.wait);
}

/* A message was handled: has it left something that only a later look can settle? */
void mm_late_settle(struct mm *mm)
{
	if (mm->late.settle || mm_is_settled(mm))
		return;
	late_begin(mm);
	mm->late.settle = true;
}

/* Wake who has work, if it is time. Return: true: what is to be settled is, too. */
bool mm_late_run(struct mm *mm)
{
	struct mm_late *late = &mm->late;
	bool settle = late->settle;

	if (!late->count || (late->count < MM_LATE_MAX && mm_late_timeout(mm)))
		return false;
	if (late->work)
		wait_wake_one(&mm->work.wait);
	if (late->collect)
		wait_wake_one(&mm->collect.wait);
	*late = (struct mm_late){ .count = 0 };
	return settle;
}

/* How long the monitor may sleep. */
uint64_t mm_late_timeout(struct mm *mm)
{
	uint64_t passed;

	if (!mm->late.count)
		return BASE_FOREVER;
	passed = mm->sys->ops->clock_ns(mm->sys) - mm->late.since_ns;
	return MM_LATE_NS - MIN(passed, MM_LATE_NS);
}
