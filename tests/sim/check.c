/* SPDX-License-Identifier: MIT */
/*
 * DOC: structures, between two steps
 */
#include "run.h"

#include "api/api_internal.h"
#include "base/host.h"
#include "mm/mm_internal.h"

#define WHOLE_EVERY 64

static bool is_free(const struct lock *lock)
{
	return lock->word == 0;
}

/* The tables of mm, while nobody is in the middle of a change. */
static void check_mm(struct mm *mm)
{
	struct base_thread *self = base_host->self();

	if (!is_free(&mm->event_lock))
		return;
	mm->event_lock.owner = self;
	mm_entry_check(mm);
	interval_tree_check(&mm->notifiers);
	interval_tree_check(&mm->registrations);
	interval_tree_check(&mm->quarantine);
	mm->event_lock.owner = NULL;
}

void check_step(void *arg)
{
	struct world *world = arg;

	world->result->steps = sim_step(world->sim);
	if (++world->step_count % WHOLE_EVERY)
		return;
	if (world->common && !world->closing)
		check_mm(world->common->mm);
}

/* After the last close: all memory is at home, and nothing is registered. */
static void check_memory(struct world *world)
{
	for (uint64_t addr = PLAY_START; (addr = model_next(world->model, addr)); addr += 8) {
		struct model_values values;
		struct sys_vma vma;
		uint64_t value = 0;
		uint32_t mode;

		model_values(world->model, addr, model_now(world->model), false, &values);
		if (sim_vma(world->sim, sim_process(world->sim, 0), addr, false, &vma, &mode)) {
			if (!values.may_fail)
				sim_fail(world->sim, "after the close %#lx is not mapped",
					 (unsigned long)addr);
			continue;
		}
		if (sim_peek(world->sim, sim_process(world->sim, 0), addr, &value))
			value = 0;
		if (!model_values_have(&values, value))
			sim_fail(world->sim, "after the close %#lx has %#lx: %s",
				 (unsigned long)addr, (unsigned long)value,
				 model_explain(world->model, addr));
	}
}

static void check_vmas(struct world *world)
{
	struct sys_vma vma;
	uint32_t mode;
	uint64_t addr = 0;

	while (!sim_vma(world->sim, sim_process(world->sim, 0), addr, true, &vma, &mode)) {
		if (mode)
			sim_fail(world->sim, "after the close %#lx is registered still",
				 (unsigned long)vma.span.start);
		if (vma.span.start >= SIM_ARENA)
			sim_fail(world->sim, "after the close %#lx of the arena is mapped still",
				 (unsigned long)vma.span.start);
		addr = vma.span.end;
	}
}

void check_closed(struct world *world)
{
	sim_check(world->sim);
	if (sim_events(world->sim))
		sim_fail(world->sim, "after the close %zu events are left",
			 sim_events(world->sim));
	check_vmas(world);
	check_memory(world);
}
