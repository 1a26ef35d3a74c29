/* SPDX-License-Identifier: MIT */
/*
 * DOC: where pages are, as usvm and as the kernel know it
 *
 * Between two steps, with the locks free, and no message under way:
 *
 *     an entry of mm          =>  its page is not in the process, and a touch of it is
 *                                 told: private memory, registered with MISSING (laws 4, 5)
 *     an entry of mm          =>  no engine has the page in place (law 16), and no
 *                                 DONTNEED is about to zap it (law 13)
 *     a fork is under way     =>  the pages with entries become fewer only (G1)
 *     a fault that was read   =>  it is answered once nobody has anything to do, or noted
 *                                 for later (laws 6, 14)
 *     a frame that is free    =>  it is empty (F2)
 *     a bind of an object     =>  the page table leads to where the object is, or nowhere
 *     entries of device memory go away  =>  no engine is in a section (law 7)
 */
#include "check_tables.h"

#include "api/api_internal.h"
#include "base/plant.h"
#include "gpu/gpu_internal.h"
#include "mm/mm_internal.h"
#include "pagemap/pagemap_internal.h"
#include "vm/bo_internal.h"
#include "vm/vm_internal.h"
#include "vram/vram_internal.h"

static const struct span everything = { 0, UINT64_MAX };

/* --- entries ------------------------------------------------------------------ */

/* Return: where what was looked at ends. */
static uint64_t check_part(struct world *world, struct span part)
{
	struct sim_process *process = sim_process(world->sim, 0);
	struct sys_vma vma;
	uint32_t mode;

	if (sim_vma(world->sim, process, part.start, false, &vma, &mode))
		sim_fail(world->sim, "%#lx is on the device, and nothing is mapped there",
			 (unsigned long)part.start);
	if (vma.kind != SYS_VMA_ANON_PRIVATE || !(mode & SYS_REGISTER_MISSING))
		sim_fail(world->sim, "%#lx is on the device, and who touches it is not heard",
			 (unsigned long)part.start);
	part.end = MIN(part.end, vma.span.end);
	for (uint64_t addr = part.start; addr < part.end; addr += PAGE_BYTES) {
		if (sim_page(world->sim, process, addr) & SYS_PAGE_PRESENT)
			sim_fail(world->sim, "%#lx is on the device, and in the process",
				 (unsigned long)addr);
	}
	return part.end;
}

static void check_entries(struct world *world, struct mm *mm)
{
	struct mm_entry *entry = mm_entry_first(mm, everything);

	/* What a message says is not known yet. */
	if (sim_events(world->sim))
		return;
	for (; entry; entry = mm_entry_next(entry, everything)) {
		struct span rest = entry->node.span;

		if (entry->doubted || entry->displaced)
			continue;
		while (!span_is_empty(rest))
			rest.start = check_part(world, rest);
	}
}

static void check_dying(struct world *world, struct mm *mm)
{
	struct interval_node *node = interval_tree_first(&mm->quarantine, everything);

	for (; node; node = interval_tree_next(node, everything)) {
		struct mm_entry *entry = mm_entry_first(mm, node->span);

		if (entry)
			sim_fail(world->sim, "%#lx was taken, and is about to be zapped",
				 (unsigned long)MAX(entry->node.span.start, node->span.start));
	}
}

static void check_gate(struct world *world, struct mm *mm)
{
	bool closed = mm->gate_closed;

	if (closed && world->gate_was_closed && mm->entry_pages > world->gate_pages)
		sim_fail(world->sim, "%lu pages are on the device, %lu were as the fork began",
			 (unsigned long)mm->entry_pages, (unsigned long)world->gate_pages);
	world->gate_was_closed = closed;
	world->gate_pages = mm->entry_pages;
}

static bool is_noted(const uint64_t *noted, uint32_t count, uint64_t addr)
{
	for (uint32_t i = 0; i < count; i++)
		if (ALIGN_DOWN(noted[i], PAGE_BYTES) == ALIGN_DOWN(addr, PAGE_BYTES))
			return true;
	return false;
}

static void check_faults(struct world *world, struct mm *mm) NO_LOCK_ANALYSIS;
static void check_faults(struct world *world, struct mm *mm)
{
	uint64_t addrs[PLAN_THREADS_MAX];
	size_t count = sim_unanswered(world->sim, addrs, ARRAY_SIZE(addrs));

	for (size_t i = 0; i < count; i++)
		if (!is_noted(mm->stash, mm->stash_count, addrs[i]) &&
		    !is_noted(mm->held, mm->held_count, addrs[i]))
			sim_fail(world->sim, "a fault at %#lx was read and forgotten",
				 (unsigned long)addrs[i]);
}

void places_check_mm(struct world *world, struct mm *mm)
{
	check_faults(world, mm);
	check_entries(world, mm);
	check_dying(world, mm);
	check_gate(world, mm);
}

/* --- frames ------------------------------------------------------------------- */

static bool is_used(const struct vram *vram, uint64_t offset, uint64_t *end)
	NO_LOCK_ANALYSIS;
static bool is_used(const struct vram *vram, uint64_t offset, uint64_t *end)
{
	LIST_FOR_EACH(node, &vram->objects) {
		const struct vram_bo *bo = LIST_ENTRY(node, struct vram_bo, object_node);

		if (bo->state == VRAM_BO_EVICTED || !span_contains(bo->span, offset))
			continue;
		*end = bo->span.end;
		return true;
	}
	return false;
}

NO_LOCK_ANALYSIS void places_check_vram(struct world *world, struct usvm *usvm)
{
	struct vram *vram = usvm->device->vram;
	const struct pagemap *pagemap = usvm->device->pagemap;
	uint64_t offset = 0;

	/* Copy mode: a page is written whole before it is mapped. */
	if (pagemap->config.copy || pagemap->frames_are_plain)
		return;
	while (offset < vram->size_bytes) {
		if (is_used(vram, offset, &offset))
			continue;
		if (sim_page(world->sim, sim_process(world->sim, 0), pagemap->frames + offset) &
		    SYS_PAGE_PRESENT)
			sim_fail(world->sim, "device memory at %#lx is free and has a page",
				 (unsigned long)offset);
		offset += PAGE_BYTES;
	}
}

/* --- objects ------------------------------------------------------------------ */

static void check_bound(struct world *world, const struct vm_bind *bind,
			const struct page_table *pt, uint64_t addr)
{
	struct pte pte = page_table_walk(pt, addr);
	const struct vm_bo *bo = bind->bo;
	uint64_t at = bind->target + (addr - bind->node.span.start);
	bool is_right = bo->memory + at == pte.target;

	if (!pte.leaf_bytes)
		return;
	if (bo->state != VM_BO_IN_DEVICE && bo->state != VM_BO_IN_SYSTEM)
		sim_fail(world->sim, "vm %u maps %#lx to an object that has no place",
			 bind->vm->id, (unsigned long)addr);
	if (pte.flags & USVM_PTE_VRAM)
		is_right = bo->vram_bo && bo->vram_bo->span.start + at == pte.target;
	if (!is_right)
		sim_fail(world->sim, "vm %u maps %#lx to %#lx, where its object is not",
			 bind->vm->id, (unsigned long)addr, (unsigned long)pte.target);
}

/* Objects lie where the program has no memory: what no bind has is not mapped there. */
static void check_unbound(struct world *world, struct vm *vm, const struct page_table *pt,
			  struct span span)
{
	uint64_t addr = span.start;

	while (addr < span.end) {
		struct interval_node *node =
			interval_tree_first(&vm->binds, (struct span){ addr, span.end });
		uint64_t end = node ? MAX(node->span.start, addr) : span.end;

		for (; addr < end; addr += PAGE_BYTES) {
			if (page_table_walk(pt, addr).leaf_bytes)
				sim_fail(world->sim, "vm %u maps %#lx, where nothing is bound",
					 vm->id, (unsigned long)addr);
		}
		if (node)
			addr = node->span.end;
	}
}

void places_check_binds(struct world *world, struct vm *vm, const struct page_table *pt,
			bool sweep)
{
	struct interval_node *node = interval_tree_first(&vm->binds, everything);

	for (; node; node = interval_tree_next(node, everything)) {
		const struct vm_bind *bind = CONTAINER_OF(node, struct vm_bind, node);
		struct span span = node->span;
		uint64_t step = sweep ? PAGE_BYTES : MAX(span_bytes(span) / 4, PAGE_BYTES);

		if (bind->kind != VM_BIND_BO)
			continue;
		step = ALIGN_DOWN(step, PAGE_BYTES);
		for (uint64_t addr = span.start; addr < span.end; addr += step)
			check_bound(world, bind, pt, addr);
	}
	for (uint32_t i = 0; sweep && i < PLAN_THREADS_MAX; i++)
		check_unbound(world, vm, pt, object_span(i));
}

/* --- sections ------------------------------------------------------------------ */

bool __real_page_table_clear(struct page_table *pt, struct span span);
bool __wrap_page_table_clear(struct page_table *pt, struct span span);

static bool any_on_device(const struct page_table *pt, struct span span)
{
	while (!span_is_empty(span)) {
		struct pte pte = page_table_walk(pt, span.start);

		if (pte.leaf_bytes && pte.flags & (USVM_PTE_VRAM | USVM_PTE_HOST))
			return true;
		span.start += PAGE_BYTES;
	}
	return false;
}

static struct sim *section_sim;

void places_watch_sections(struct sim *sim)
{
	section_sim = sim;
}

/* By the linker, in place of the device's own. */
bool __wrap_page_table_clear(struct page_table *pt, struct span span)
{
	const struct gpu *gpu = CONTAINER_OF(pt->lock, struct gpu, pt_lock);

	for (uint32_t i = 0; section_sim && i < gpu->config.engine_count; i++) {
		const struct gpu_engine *engine = &gpu->engines[i];

		if (engine->lane.section.inside && engine->vm && &engine->vm->pt == pt &&
		    any_on_device(pt, span))
			sim_fail(section_sim, "an engine is in a section as %#lx is revoked",
				 (unsigned long)span.start);
	}
	return __real_page_table_clear(pt, span);
}
