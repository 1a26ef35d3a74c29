/* SPDX-License-Identifier: MIT */
/*
 * DOC: structures, between two steps
 *
 * Tables are looked at while their lock is free: then nobody is in the middle of a
 * change. A page-table entry that names device memory is the claim that an entry of mm
 * says the same; a frame belongs to one page at a time.
 */
#include "run.h"

#include <string.h>

#include "api/api_internal.h"
#include "base/host.h"
#include "gpu/gpu_internal.h"
#include "mm/mm_internal.h"

#define TABLES_EVERY 64
#define DEVICE_EVERY 1024
#define FRAMES_MAX (MIB(16) / PAGE_BYTES)

static bool is_free(const struct lock *lock)
{
	return lock->word == 0;
}

/* The lock is free, and stays so: nothing here is a yield point. */
NO_LOCK_ANALYSIS static void check_tables(struct mm *mm)
{
	mm->event_lock.owner = base_host->self();
	mm_entry_check(mm);
	interval_tree_check(&mm->notifiers);
	interval_tree_check(&mm->registrations);
	interval_tree_check(&mm->quarantine);
	mm->event_lock.owner = NULL;
}

/* Where in device memory the page at @addr is; false: it is not in that of @usvm. */
static bool find_frame(const struct usvm *usvm, uint64_t addr, uint64_t *offset)
{
	struct mm_entry *entry = mm_entry_first(usvm->mm, span_make(addr, PAGE_BYTES));
	struct pagemap_devmem *devmem;

	if (!entry || entry->owner->device != usvm->gpu)
		return false;
	devmem = CONTAINER_OF(entry->owner, struct pagemap_devmem, zdd.owner);
	*offset = devmem->vram_offset + entry->frame + (addr - entry->node.span.start);
	return true;
}

static void check_page_tables(struct world *world, const struct usvm *usvm)
{
	for (uint32_t id = 0; id < VM_PER_DEVICE_MAX; id++) {
		const struct gpu_vm *vm = usvm->gpu->vms[id];

		for (uint64_t addr = PLAY_START; vm && addr < PLAY_END; addr += PAGE_BYTES) {
			struct pte pte = page_table_walk(&vm->pt, addr);
			uint64_t offset;

			if (!pte.leaf_bytes || !(pte.flags & USVM_PTE_VRAM))
				continue;
			if (!find_frame(usvm, addr, &offset) || offset != pte.target)
				sim_fail(world->sim,
					 "vm %u maps %#lx to device memory %#lx, which mm "
					 "does not", id, (unsigned long)addr,
					 (unsigned long)pte.target);
		}
	}
}

static void check_frames(struct world *world, const struct usvm *usvm)
{
	static uint8_t used[FRAMES_MAX];
	const struct span all = { SIM_START, SIM_ARENA };
	struct mm_entry *entry;

	memset(used, 0, sizeof(used));
	for (entry = mm_entry_first(usvm->mm, all); entry; entry = mm_entry_next(entry, all)) {
		struct span span = entry->node.span;
		uint64_t offset;

		for (uint64_t addr = span.start; addr < span.end; addr += PAGE_BYTES) {
			if (!find_frame(usvm, addr, &offset))
				break;
			if (offset >= usvm->config.vram_bytes ||
			    used[offset / PAGE_BYTES]++)
				sim_fail(world->sim, "frame %#lx has two pages, one is %#lx",
					 (unsigned long)offset, (unsigned long)addr);
		}
	}
}

void check_step(void *arg)
{
	struct world *world = arg;
	struct usvm *usvm = world->common;

	world->result->steps = sim_step(world->sim);
	if (++world->step_count % TABLES_EVERY || !usvm || world->closing ||
	    !is_free(&usvm->mm->event_lock))
		return;
	check_tables(usvm->mm);
	if (world->step_count % DEVICE_EVERY || !is_free(&usvm->gpu->pt_lock))
		return;
	check_frames(world, usvm);
	check_page_tables(world, usvm);
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
