/* SPDX-License-Identifier: MIT */
/*
 * DOC: Lists of reclaimed pages
 *
 * What an unbind takes away must leave the card's caches. The driver lists the entries that
 * go, by size, and hands the list to the hardware; one that is too long, or that would have
 * to name a whole gigabyte, is given up, and all of the cache is flushed. Clients read how
 * many entries of each size were listed, how many lists were handed over and given up.
 *
 * There is no cache here: the lists are counted and no more. An entry is as large as address
 * and offset into the object allow; memory at a user pointer has small entries, for nobody
 * knows where its pages are. A page that is displayed for a moment only is not listed.
 *
 * Upstream: xe_page_reclaim.c, xe_pt_stage_unbind_entry().
 */
#include "xe/xe_internal.h"

#define LIST_MAX 511

struct reclaim_list {
	uint32_t entries;
	bool any;     /* something that has entries goes */
	bool aborted;
};

const char *const xe_reclaim_names[XE_RECLAIM_COUNT] = {
	[XE_RECLAIM_4K] = "prl_4k_entry_count",
	[XE_RECLAIM_64K] = "prl_64k_entry_count",
	[XE_RECLAIM_2M] = "prl_2m_entry_count",
	[XE_RECLAIM_ISSUED] = "prl_issued_count",
	[XE_RECLAIM_ABORTED] = "prl_aborted_count",
};

static void count(struct xe_vm *vm, enum xe_reclaim which)
{
	ATOMIC_ADD(&vm->card->reclaimed[which], 1u);
}

/* The size of the entry at @addr, of @left bytes that lie at @at in what they map. */
static uint64_t entry_bytes(uint64_t addr, uint64_t at, uint64_t left)
{
	if (left >= HUGE_BYTES && IS_ALIGNED(addr | at, HUGE_BYTES))
		return HUGE_BYTES;
	if (left >= KIB(64) && IS_ALIGNED(addr | at, KIB(64)))
		return KIB(64);
	return PAGE_BYTES;
}

/* All of a directory's directory goes: its entries are not looked at. */
static bool has_gigabyte(struct span part)
{
	uint64_t start = ALIGN_UP(part.start, GIB(1));

	return start >= part.start && start + GIB(1) <= part.end;
}

static void list_part(struct xe_vm *vm, struct reclaim_list *list, struct span part, uint64_t at,
		      bool is_userptr)
{
	if (has_gigabyte(part))
		list->aborted = true;
	while (part.start < part.end && !list->aborted) {
		uint64_t bytes = is_userptr ? PAGE_BYTES :
					      entry_bytes(part.start, at, span_bytes(part));

		if (list->entries == LIST_MAX) {
			list->aborted = true;
			return;
		}
		list->entries++;
		count(vm, bytes == HUGE_BYTES ? XE_RECLAIM_2M :
			  bytes == PAGE_BYTES ? XE_RECLAIM_4K :
						XE_RECLAIM_64K);
		part.start += bytes;
		at += bytes;
	}
}

static bool is_transient(const struct xe_vm *vm, uint32_t pat_index)
{
	return vm->card->profile->pat_transient >> pat_index & 1;
}

void xe_reclaim_count(struct xe_vm *vm, struct span span)
{
	struct reclaim_list list = { 0 };
	struct vm_bind_info info;
	uint64_t addr = span.start;

	/* Where memory may fault nobody knows which entries are there. */
	if (xe_vm_faults(vm))
		return;
	while (addr < span.end && !vm_bind_query(vm->vm, addr, &info) &&
	       info.span.start < span.end) {
		struct span part = span_intersect(info.span, span);

		addr = info.span.end;
		if (info.kind != VM_BIND_BO && info.kind != VM_BIND_USERPTR)
			continue;
		list.any = true;
		if (is_transient(vm, info.pat_index) || list.aborted)
			continue;
		list_part(vm, &list, part, info.target + (part.start - info.span.start),
			  info.kind == VM_BIND_USERPTR);
	}
	if (list.any)
		count(vm, list.aborted ? XE_RECLAIM_ABORTED : XE_RECLAIM_ISSUED);
}
