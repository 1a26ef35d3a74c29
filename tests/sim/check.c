/* SPDX-License-Identifier: MIT */
/*
 * DOC: when structures are looked at
 *
 * A structure is in order whenever the lock that guards it is free. So a lock that was
 * held at the end of some step and is free at the end of this one has guarded a change,
 * perhaps, and what it guards is walked now: each change is looked at as soon as it is
 * complete. A lock cannot be taken and given back within one step, for both are yield
 * points. Every 64th step all is taken for touched.
 *
 *     mm.event_lock          entries, notifiers, registrations, quarantine; frames; and
 *                            what each vm maps
 *     gpusvm.notifier_lock   ranges and page table of that vm
 *     vram.lock              blocks, objects, the LRU
 *     gpu.queue_lock         queues that are ready
 *
 * What is looked at is in check_tables.c.
 */
#include "run.h"

#include "base/lock.h"
#include "check_tables.h"

#define ALL_EVERY 64
#define SWEEP_EVERY 1024

enum touched {
	TOUCHED_MM = 1 << 0,
	TOUCHED_VM = 1 << 1,
	TOUCHED_VRAM = 1 << 2,
	TOUCHED_QUEUES = 1 << 3,
	TOUCHED_SWEEP = 1 << 4, /* of the vm: addresses without a range, too */
	TOUCHED_ALL = TOUCHED_MM | TOUCHED_VM | TOUCHED_VRAM | TOUCHED_QUEUES,
};

/* Is what @lock guards to be looked at now? */
static bool is_due(const struct lock *lock, uint32_t *touched, uint32_t bit)
{
	if (!tables_are_free(lock)) {
		*touched |= bit;
		return false;
	}
	if (!(*touched & bit))
		return false;
	*touched &= ~bit;
	return true;
}

static void touch_all(struct world *world, uint32_t bits)
{
	for (size_t i = 0; i < ARRAY_SIZE(world->seen); i++)
		world->seen[i].touched |= bits;
}

static void check_slot(struct world *world, struct seen *seen, bool mm_is_free)
{
	if (seen->device) {
		if (is_due(tables_vram_lock(seen->device), &seen->touched, TOUCHED_VRAM))
			tables_check_vram(world, seen->device);
		if (is_due(tables_queue_lock(seen->device), &seen->touched, TOUCHED_QUEUES))
			tables_check_queues(world, seen->device);
	}
	/* What a vm maps is compared with the entries of mm. */
	if (seen->vm && tables_are_free(tables_pt_lock(seen->vm)) && mm_is_free &&
	    is_due(tables_vm_lock(seen->vm), &seen->touched, TOUCHED_VM)) {
		tables_check_vm(world, seen->vm, seen->touched & TOUCHED_SWEEP);
		seen->touched &= ~(uint32_t)TOUCHED_SWEEP;
	}
}

void check_step(void *arg)
{
	struct world *world = arg;
	struct seen *common = &world->seen[0];
	struct lock *mm_lock;

	world->result->steps = sim_step(world->sim);
	world->step_count++;
	/* mm lives while a device does, and the common one lives longest. */
	if (!common->device)
		return;
	if (world->step_count % ALL_EVERY == 0)
		touch_all(world, TOUCHED_ALL);
	if (world->step_count % SWEEP_EVERY == 0)
		touch_all(world, TOUCHED_SWEEP);
	mm_lock = tables_mm_lock(common->device);
	if (is_due(mm_lock, &common->touched, TOUCHED_MM)) {
		tables_check_mm(world, common->device);
		touch_all(world, TOUCHED_VM);
	}
	for (size_t i = 0; i < ARRAY_SIZE(world->seen); i++)
		check_slot(world, &world->seen[i], tables_are_free(mm_lock));
}

void check_all(struct world *world)
{
	sim_check(world->sim);
	tables_check_idle(world, world->common);
	touch_all(world, TOUCHED_ALL | TOUCHED_SWEEP);
	/* The collector and the like may be at something still: until the locks are free. */
	while ((world->seen[0].touched & TOUCHED_MM) || (world->seen[0].touched & TOUCHED_VM &&
							 world->seen[0].vm))
		sim_yield(world->sim, NULL);
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
		if (sim_page(world->sim, sim_process(world->sim, 0), addr) & SIM_PAGE_POISON) {
			if (!run_loses(world))
				sim_fail(world->sim, "after the close %#lx is poisoned",
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

/* Each fault was answered. */
static void check_sleepers(struct world *world)
{
	struct sim_process *process;

	for (uint32_t i = 0; (process = sim_process(world->sim, i)) != NULL; i++) {
		if (sim_sleepers(world->sim, process, (struct span){ 0, SIM_END }))
			sim_fail(world->sim, "a thread of process %u sleeps in a fault still",
				 i);
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
	check_sleepers(world);
	check_vmas(world);
	check_memory(world);
}
