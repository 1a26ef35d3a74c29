/* SPDX-License-Identifier: MIT */
/*
 * DOC: what must hold of structures whose lock is free
 *
 * The same page is known in four places, and they must agree:
 *
 *     range.mapped[page]  ==  the vm's page table has an entry
 *     an entry of it that names device memory  =>  an entry of mm says the same; also
 *                                 of the memory of a peer
 *     an entry of mm names a frame  =>  a block of vram that is handed out, once
 *
 * Nothing here is a yield point: it is called between two steps.
 */
#include "check_tables.h"

#include <string.h>

#include "api/api_internal.h"
#include "base/host.h"
#include "gpu/gpu_internal.h"
#include "mm/mm_internal.h"
#include "pagemap/pagemap_internal.h"
#include "vm/vm_internal.h"
#include "vram/vram_internal.h"

#define FRAMES_MAX (MIB(16) / PAGE_BYTES)

static const struct span everything = { 0, UINT64_MAX };

bool tables_are_free(const struct lock *lock)
{
	return lock->word == 0;
}

struct lock *tables_mm_lock(struct usvm *usvm)
{
	return &usvm->mm->event_lock;
}

struct lock *tables_vram_lock(struct usvm *usvm)
{
	return &usvm->device->vram->lock;
}

struct lock *tables_queue_lock(struct usvm *usvm)
{
	return &usvm->gpu->queue_lock;
}

struct lock *tables_pt_lock(struct usvm_vm *vm)
{
	return &vm->usvm->gpu->pt_lock;
}

struct lock *tables_vm_lock(struct usvm_vm *vm)
{
	return &vm->vm->svm.notifier_lock;
}

/* --- mm --------------------------------------------------------------------- */

/* Bits: frames of one device. */
struct frames {
	uint64_t used[FRAMES_MAX / 64];
};

/* Return: false if one of them was set already. */
static bool frames_set(struct frames *frames, struct span span)
{
	for (uint64_t i = span.start / PAGE_BYTES; i < span.end / PAGE_BYTES; i++) {
		uint64_t bit = 1ull << (i % 64);

		if (i >= FRAMES_MAX || frames->used[i / 64] & bit)
			return false;
		frames->used[i / 64] |= bit;
	}
	return true;
}

/* The device that is open and has @pagemap; its slot, or -1: it is on its way. */
static int slot_of(const struct world *world, const struct pagemap *pagemap)
{
	for (size_t i = 0; i < ARRAY_SIZE(world->seen); i++) {
		const struct usvm *usvm = world->seen[i].device;

		if (usvm && usvm->device->pagemap == pagemap)
			return (int)i;
	}
	return -1;
}

static void check_owner(struct world *world, const struct mm_entry_owner *owner)
{
	uint64_t pages = 0;

	LIST_FOR_EACH(node, &owner->entries)
		pages += span_pages(LIST_ENTRY(node, struct mm_entry, owner_link)->node.span);
	if (pages != owner->page_count)
		sim_fail(world->sim, "an owner counts %lu pages and has %lu",
			 (unsigned long)owner->page_count, (unsigned long)pages);
}

static void check_entry(struct world *world, const struct mm_entry *entry,
			struct frames frames[])
{
	struct pagemap_devmem *devmem = pagemap_entry_holder(entry);
	uint64_t bytes = span_bytes(entry->node.span);
	const struct vram_bo *bo;
	int slot;

	if (!devmem)
		return;
	bo = vm_svm_bo_of(devmem)->bo;
	if (devmem->zdd.dead || entry->frame + bytes > devmem->bytes ||
	    bo->state == VRAM_BO_EVICTED || bo->span.start != devmem->vram_offset)
		sim_fail(world->sim, "the entry at %#lx is of device memory that is gone",
			 (unsigned long)entry->node.span.start);
	slot = slot_of(world, devmem->pagemap);
	if (slot >= 0 && world->seen[slot].gone)
		sim_fail(world->sim, "the page at %#lx is on a device that was unplugged",
			 (unsigned long)entry->node.span.start);
	if (slot >= 0 &&
	    !frames_set(&frames[slot], span_make(devmem->vram_offset + entry->frame, bytes)))
		sim_fail(world->sim, "a frame of device memory has two pages, one is of %#lx",
			 (unsigned long)entry->node.span.start);
	if (entry->owner->entries.next == &entry->owner_link) /* once for each */
		check_owner(world, entry->owner);
}

/* The lock is free, and stays so. */
NO_LOCK_ANALYSIS void tables_check_mm(struct world *world, struct usvm *usvm)
{
	struct frames frames[ARRAY_SIZE(world->seen)];
	struct mm *mm = usvm->mm;
	struct mm_entry *entry;

	mm->event_lock.owner = base_host->self();
	mm_entry_check(mm);
	interval_tree_check(&mm->notifiers);
	interval_tree_check(&mm->registrations);
	interval_tree_check(&mm->quarantine);
	mm->event_lock.owner = NULL;
	entry = mm_entry_first(mm, world->spec->plan->setting.sim.exclusion);
	if (entry)
		sim_fail(world->sim, "%#lx never migrates and is on the device",
			 (unsigned long)entry->node.span.start);
	memset(frames, 0, sizeof(frames));
	for (entry = mm_entry_first(mm, everything); entry;
	     entry = mm_entry_next(entry, everything))
		check_entry(world, entry, frames);
	places_check_mm(world, mm);
}

/* --- vram, queues --------------------------------------------------------------- */

NO_LOCK_ANALYSIS void tables_check_vram(struct world *world, struct usvm *usvm)
{
	struct vram *vram = usvm->device->vram;
	struct frames frames = { 0 };

	vram->lock.owner = base_host->self();
	vram_check_locked(vram);
	vram->lock.owner = NULL;
	LIST_FOR_EACH(node, &vram->objects) {
		const struct vram_bo *bo = LIST_ENTRY(node, struct vram_bo, object_node);

		if (bo->state != VRAM_BO_EVICTED && !frames_set(&frames, bo->span))
			sim_fail(world->sim, "device memory at %#lx was handed out twice",
				 (unsigned long)bo->span.start);
	}
	places_check_vram(world, usvm);
}

void tables_check_queues(struct world *world, struct usvm *usvm)
{
	LIST_FOR_EACH(node, &usvm->gpu->ready) {
		const struct gpu_queue *queue =
			LIST_ENTRY(node, struct gpu_queue, ready_node);

		if (list_is_empty(&queue->jobs) || queue->engine)
			sim_fail(world->sim, "a queue is ready and has %s",
				 queue->engine ? "a job that runs" : "no job");
	}
}

void tables_check_idle(struct world *world, struct usvm *usvm)
{
	for (uint32_t i = 0; i < usvm->gpu->config.engine_count; i++) {
		if (usvm->gpu->engines[i].fault_pending || usvm->gpu->engines[i].vm)
			sim_fail(world->sim, "engine %u has a %s left", i,
				 usvm->gpu->engines[i].vm ? "job" : "fault");
	}
}

/* --- a vm -------------------------------------------------------------------------- */

/* A walk through the pages of a vm. */
struct walk {
	struct world *world;
	struct usvm_vm *vm;
	const struct page_table *pt;
	struct mm_entry *entry; /* the last that was found */
	struct span home;       /* no page of it has an entry */
};

static bool find_entry(struct walk *walk, uint64_t addr)
{
	if (!walk->entry || !span_contains(walk->entry->node.span, addr))
		walk->entry = mm_entry_first(walk->vm->usvm->mm, span_make(addr, PAGE_BYTES));
	return walk->entry && walk->entry->state == MM_ENTRY_DEVICE;
}

/* Where in the process mm has the page of @addr, in the memory of a peer; false: not there. */
static bool find_peer(struct walk *walk, uint64_t addr, uint64_t *frame)
{
	if (!find_entry(walk, addr) ||
	    !pagemap_entry_reach(walk->vm->usvm->device->pagemap, walk->entry, frame))
		return false;
	*frame += addr - walk->entry->node.span.start;
	return true;
}

/* Where in the device's memory mm has the page of @addr; false: not there. */
static bool find_frame(struct walk *walk, uint64_t addr, uint64_t *offset)
{
	const struct usvm *usvm = walk->vm->usvm;
	struct pagemap_devmem *devmem;

	if (!find_entry(walk, addr))
		return false;
	devmem = pagemap_entry_devmem(usvm->device->pagemap, walk->entry);
	if (!devmem)
		return false;
	*offset = devmem->vram_offset + walk->entry->frame +
		  (addr - walk->entry->node.span.start);
	return true;
}

/* Has mm an entry for the page of @addr, on any device? */
static bool is_away(struct walk *walk, uint64_t addr)
{
	struct mm_entry *entry;

	if (span_contains(walk->home, addr))
		return false;
	entry = mm_entry_first(walk->vm->usvm->mm, (struct span){ addr, UINT64_MAX });
	if (entry && entry->node.span.start <= addr)
		return !entry->doubted && !entry->displaced;
	walk->home = (struct span){ addr, entry ? entry->node.span.start : UINT64_MAX };
	return false;
}

static void check_page(struct walk *walk, const struct gpusvm_range *range, uint64_t addr)
{
	struct pte pte = page_table_walk(walk->pt, addr);
	uint64_t page = (addr - range->node.span.start) / PAGE_BYTES;
	bool mapped = range->mapped[page / 64] >> (page % 64) & 1;
	uint64_t offset;

	if (mapped != (pte.leaf_bytes != 0))
		sim_fail(walk->world->sim, "vm %u: its range says that %#lx is %smapped",
			 walk->vm->vm->id, (unsigned long)addr, mapped ? "" : "not ");
	if (!mapped)
		return;
	if (!(pte.flags & USVM_PTE_WRITE) != !range->writable)
		sim_fail(walk->world->sim, "vm %u: its range says that %#lx is %swritable",
			 walk->vm->vm->id, (unsigned long)addr,
			 range->writable ? "" : "not ");
	if (pte.flags & USVM_PTE_VRAM &&
	    (!find_frame(walk, addr, &offset) || offset != pte.target))
		sim_fail(walk->world->sim,
			 "vm %u maps %#lx to device memory %#lx, which mm does not",
			 walk->vm->vm->id, (unsigned long)addr, (unsigned long)pte.target);
	if (pte.flags & USVM_PTE_HOST &&
	    (!find_peer(walk, addr, &offset) || offset != pte.target))
		sim_fail(walk->world->sim, "vm %u maps %#lx to a peer's memory, which mm does not",
			 walk->vm->vm->id, (unsigned long)addr);
	if (!(pte.flags & (USVM_PTE_VRAM | USVM_PTE_HOST)) && is_away(walk, addr))
		sim_fail(walk->world->sim, "vm %u maps %#lx in place, and it is on a device",
			 walk->vm->vm->id, (unsigned long)addr);
}

static void check_range(struct walk *walk, const struct gpusvm_notifier *notifier,
			const struct gpusvm_range *range, uint64_t *end)
{
	struct span span = range->node.span;
	uint64_t bytes = span_bytes(span);
	bool is_chunk = bytes == PAGE_BYTES || bytes == KIB(64) || bytes == HUGE_BYTES;

	if (!is_chunk || span.start % bytes || span.start < *end ||
	    !span_covers(notifier->mm_notifier.node.span, span))
		sim_fail(walk->world->sim, "vm %u has a range of %lu bytes at %#lx",
			 walk->vm->vm->id, (unsigned long)bytes, (unsigned long)span.start);
	if ((range->partly_unmapped || !list_is_empty(&range->garbage_link)) &&
	    !range->unmapped)
		sim_fail(walk->world->sim, "vm %u: the range at %#lx is garbage and in use",
			 walk->vm->vm->id, (unsigned long)span.start);
	*end = span.end;
	for (uint64_t addr = span.start; addr < span.end; addr += PAGE_BYTES)
		check_page(walk, range, addr);
}

static void check_ranges(struct walk *walk)
{
	const struct gpusvm *svm = &walk->vm->vm->svm;

	struct interval_node *node = interval_tree_first(&svm->notifiers, everything);

	interval_tree_check(&svm->notifiers);
	for (; node; node = interval_tree_next(node, everything)) {
		const struct gpusvm_notifier *notifier =
			CONTAINER_OF(node, struct gpusvm_notifier, node);
		struct interval_node *at = interval_tree_first(&notifier->ranges, everything);
		uint64_t end = 0;

		interval_tree_check(&notifier->ranges);
		for (; at; at = interval_tree_next(at, everything))
			check_range(walk, notifier,
				    CONTAINER_OF(at, struct gpusvm_range, node), &end);
	}
}

static void check_rest(struct walk *walk)
{
	struct gpusvm *svm = &walk->vm->vm->svm;
	struct gpusvm_range *range;

	for (uint64_t addr = PLAY_START; addr < PLAY_END; addr += PAGE_BYTES) {
		range = gpusvm_range_first(svm, (struct span){ addr, PLAY_END });
		for (; addr < (range ? range->node.span.start : PLAY_END); addr += PAGE_BYTES) {
			if (page_table_walk(walk->pt, addr).leaf_bytes)
				sim_fail(walk->world->sim, "vm %u maps %#lx, without a range",
					 walk->vm->vm->id, (unsigned long)addr);
		}
		if (range)
			addr = range->node.span.end - PAGE_BYTES;
	}
}

void tables_check_vm(struct world *world, struct usvm_vm *vm, bool sweep)
{
	struct walk walk = {
		.world = world,
		.vm = vm,
		.pt = &vm->usvm->gpu->vms[vm->vm->id]->pt,
	};
	int slot = slot_of(world, vm->usvm->device->pagemap);

	if (slot >= 0 && world->seen[slot].gone && vm->vm->svm.range_count)
		sim_fail(world->sim, "vm %u has ranges, and its device was unplugged",
			 vm->vm->id);

	check_ranges(&walk);
	places_check_binds(world, vm->vm, walk.pt, sweep);
	if (sweep)
		check_rest(&walk);
}
