/* SPDX-License-Identifier: MIT */
/*
 * DOC: Where is this page?
 *
 * Looks at the tables and the VMAs and moves nothing. The answer is true at the
 * moment it was made.
 */
#include "vm/vm_internal.h"

#include <string.h>

#include "base/assert.h"

#define ADDR_END (1ull << 47)

/* The name is copied: its device may be closed as soon as the page leaves it. */
static void query_holder(const struct mm_entry *entry, uint64_t page, struct vm_page_info *info)
{
	struct pagemap_devmem *devmem = pagemap_entry_holder(entry);
	const char *name;

	if (!devmem)
		return;
	name = pagemap_name(devmem->pagemap);
	memcpy(info->device, name, strnlen(name, sizeof(info->device) - 1));
	info->vram_offset = devmem->vram_offset + entry->frame +
			    (page - entry->node.span.start);
}

static void query_entry(struct vm *vm, uint64_t page, struct vm_page_info *info)
{
	struct mm *mm = vm->device->mm;
	struct span rest = { page, ADDR_END };
	struct mm_entry *entry;

	lock_acquire(mm_event_lock(mm));
	entry = mm_entry_first(mm, rest);
	if (entry && entry->node.span.start <= page) {
		info->has_entry = true;
		info->moving = entry->state == MM_ENTRY_MOVING;
		info->is_elsewhere = entry->owner->device != vm->device->config.device;
		info->run_bytes = entry->node.span.end - page;
		query_holder(entry, page, info);
	} else if (entry) {
		info->run_bytes = entry->node.span.start - page;
	} else {
		info->run_bytes = ADDR_END - page;
	}
	lock_release(mm_event_lock(mm));
}

/* How far there is nothing, where no VMA has @page. */
static uint64_t unmapped_bytes(struct vm *vm, uint64_t page)
{
	struct sys_vma next;

	if (mm_vma_find(vm->device->mm, page, true, &next, NULL))
		return ADDR_END - page;
	/* One that came meanwhile has it: of the page itself the answer was true. */
	return next.span.start > page ? next.span.start - page : PAGE_BYTES;
}

void vm_query(struct vm *vm, uint64_t addr, struct vm_page_info *info)
{
	uint64_t page = ALIGN_DOWN(addr, PAGE_BYTES);
	struct gpusvm_range *range;
	struct sys_vma vma;

	*info = (struct vm_page_info){ 0 };
	info->has_vma = !mm_vma_find(vm->device->mm, page, false, &vma, NULL);
	query_entry(vm, page, info);
	info->run_bytes = MIN(info->run_bytes, info->has_vma ? vma.span.end - page :
							       unmapped_bytes(vm, page));
	lock_acquire(&vm->lock);
	range = gpusvm_range_find(&vm->svm, page);
	if (range && gpusvm_range_is_mapped(range, page)) {
		info->mapped = true;
		info->writable = range->writable;
	}
	lock_release(&vm->lock);
}

/* Pages of @span that a VMA holds. */
static uint64_t mapped_pages(struct vm *vm, struct span span)
{
	uint64_t pages = 0;
	struct sys_vma vma;

	while (span.start < span.end &&
	       !mm_vma_find(vm->device->mm, span.start, true, &vma, NULL)) {
		pages += span_pages(span_intersect(vma.span, span));
		span.start = MAX(span.start, vma.span.end);
	}
	return pages;
}

void vm_query_span(struct vm *vm, struct span span, uint64_t pages[4])
{
	struct mm *mm = vm->device->mm;
	uint64_t moving = 0, on_device = 0;
	uint64_t mapped = mapped_pages(vm, span);
	struct mm_entry *entry;

	lock_acquire(mm_event_lock(mm));
	entry = mm_entry_first(mm, span);
	for (; entry; entry = mm_entry_next(entry, span)) {
		uint64_t n = span_pages(span_intersect(entry->node.span, span));

		if (entry->state == MM_ENTRY_MOVING)
			moving += n;
		else
			on_device += n;
	}
	lock_release(mm_event_lock(mm));
	/* The VMAs were seen a moment earlier than the entries. */
	mapped = MAX(mapped, moving + on_device);
	pages[0] = span_pages(span) - MIN(span_pages(span), mapped);
	pages[1] = mapped - moving - on_device;
	pages[2] = moving;
	pages[3] = on_device;
}
