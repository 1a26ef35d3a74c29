/* SPDX-License-Identifier: MIT */
/*
 * DOC: Registrations that nobody needs any more
 *
 * A VMA that pages were taken from is registered as MISSING, and each first touch
 * in it comes to the monitor, for as long as the mapping lives. When the GPU's time
 * is over that is a price for nothing. So the monitor, when it answers a hole and
 * nothing has been taken for a second, has the collector take MISSING back: then
 * the kernel gives first touches again. The next take registers anew.
 *
 * The kernel takes no mode away but by UNREGISTER and REGISTER. In between, and
 * before, an mremap() whose message is not read yet may bring device pages into
 * any mapping: unregistered, they would read as zeros. Therefore nothing is taken
 * back while any page of the process is on a device; event_lock is held, so none
 * goes there meanwhile. A take that has looked already starts again: the span is
 * logged as changed (R1).
 *
 * The VMA is done whole, as the kernel has it now: it may have grown in place, which
 * is told by nothing, or two may be one by now. A part would be a VMA of its own, and
 * the program's mremap() over both would fail (T1). Nor does it wait while we look: what grew
 * behind our back is looked for afterwards, and joined again (vma.c).
 *
 * What the kernel tells of the VMA in between is not heard: a range that is
 * unmapped then has system entries only, which alias the CPU's mapping.
 */
#include "mm/mm_internal.h"

#include <errno.h>

/* Nothing was taken for so long. */
#define IDLE_NS 1000000000ull
/* UNREGISTER looks at each page, under event_lock: 5 ms at the most. */
#define IDLE_BYTES_MAX MIB(256)

static bool is_idle(struct mm *mm)
{
	lock_assert_held(&mm->event_lock);
	return !mm->entry_pages && !mm->gate_closed &&
	       mm->sys->ops->clock_ns(mm->sys) - mm->take_ns > IDLE_NS;
}

/* The monitor answered a hole. */
void mm_idle_hole(struct mm *mm)
{
	if (is_idle(mm))
		mm_work_queue_collector(mm, &mm->idle_work);
}

static bool can_be_taken_back(struct mm *mm, struct span vma)
{
	lock_assert_held(&mm->event_lock);
	return span_bytes(vma) <= IDLE_BYTES_MAX && !mm_quarantine_meets(mm, vma);
}

/* The registration with MISSING at @addr or behind. */
static struct mm_registration *next_from(struct mm *mm, uint64_t addr)
{
	struct span rest = { addr, UINT64_MAX };
	struct mm_registration *r;

	lock_assert_held(&mm->event_lock);
	r = mm_registration_first(mm, rest);
	while (r && !(r->mode & SYS_REGISTER_MISSING)) {
		rest.start = r->node.span.end;
		r = mm_registration_first(mm, rest);
	}
	return r;
}

/* @vma has no MISSING any more; a registration may go on behind it. */
static void note_taken_back(struct mm *mm, struct span vma)
{
	struct mm_registration *r;

	lock_assert_held(&mm->event_lock);
	while (!span_is_empty(vma) && (r = mm_registration_first(mm, vma))) {
		if (r->node.span.end <= vma.end)
			r->mode = SYS_REGISTER_WP;
		vma.start = r->node.span.end;
	}
	mm_stat_add(&mm->stats.idle_registrations, 1);
}

/* One VMA. Return: where to go on; 0: that is all. */
static uint64_t take_back(struct mm *mm, uint64_t addr)
{
	struct mm_registration *r;
	struct sys_vma vma;
	int err;

	lock_assert_held(&mm->event_lock);
	/* Quiet: what is mapped there is what the table says, or more. */
	if (!is_idle(mm) || !mm_remap_settle(mm) || mm_message_is_owed(mm)) /* U1 */
		return 0;
	r = next_from(mm, addr);
	if (!r)
		return 0;
	addr = MAX(addr, r->node.span.start);
	if (mm->sys->ops->vma_query(mm->sys, addr, false, &vma))
		return r->node.span.end;
	if (vma.kind != SYS_VMA_ANON_PRIVATE || !can_be_taken_back(mm, vma.span))
		return vma.span.end;
	err = mm_vma_take_back(mm, vma.span);
	if (err == -EAGAIN)
		return 0; /* another time */
	if (err)
		mm_registration_forget(mm, r->node.span);
	else
		note_taken_back(mm, vma.span);
	return vma.span.end;
}

void mm_idle_run(struct mm_work *work)
{
	struct mm *mm = CONTAINER_OF(work, struct mm, idle_work);
	uint64_t addr = 1;

	while (addr) {
		mm_lock(mm);
		addr = take_back(mm, addr);
		mm_unlock(mm, 0);
	}
}
