/* SPDX-License-Identifier: MIT */
/* Two devices, and where pages are. */
#ifndef UNIT_VM_PEER_FIXTURE_H
#define UNIT_VM_PEER_FIXTURE_H

#include "vm_fixture.h"

#include "mm/mm_internal.h"
#include "pagemap/pagemap_internal.h"
#include "vm/bo.h"
#include "vm/vm_internal.h"

/* f->gpu is A, with f->vm; f->other is B, with the vm that test[0] points to. */
static inline struct vm *vm_b(struct fixture *f)
{
	return (struct vm *)(uintptr_t)f->test[0];
}

static inline int set_up_pair(void **state, uint32_t a, uint32_t b, const char *group_b)
{
	struct fixture *f;
	struct vm *vm;
	int err;

	gpu_peers = "group";
	err = set_up_with(state, a, VM_MIGRATE_AUTO);
	f = *state;
	gpu_peers = group_b;
	gpu_start(f, &f->other, b, VM_MIGRATE_AUTO);
	gpu_peers = NULL;
	gpu_poison = gpu_has_no_peer_copy = false;
	assert_int_equal(vm_create(f->other.device, 0, &vm), 0);
	f->test[0] = (uintptr_t)vm;
	return err;
}

static inline int move_move(void **state)
{
	return set_up_pair(state, 0, 0, "group");
}

static inline int move_copy(void **state)
{
	return set_up_pair(state, 0, USVM_DEVICE_OWN_MEMORY, "group");
}

static inline int copy_move(void **state)
{
	return set_up_pair(state, USVM_DEVICE_OWN_MEMORY, 0, "group");
}

static inline int copy_copy(void **state)
{
	return set_up_pair(state, USVM_DEVICE_OWN_MEMORY, USVM_DEVICE_OWN_MEMORY, "group");
}

static inline int strangers(void **state)
{
	return set_up_pair(state, 0, 0, "others");
}

static inline int nobodies(void **state)
{
	return set_up_pair(state, 0, 0, NULL);
}

static inline int copy_copy_without_op(void **state)
{
	gpu_has_no_peer_copy = true;
	return set_up_pair(state, USVM_DEVICE_OWN_MEMORY, USVM_DEVICE_OWN_MEMORY, "group");
}

static inline int poisoned(void **state)
{
	gpu_poison = true;
	return move_move(state);
}

static inline int no_atomics(void **state)
{
	return set_up_pair(state, 0, USVM_DEVICE_NO_SYSTEM_ATOMICS, "group");
}

/* --- what tests do ---------------- */

static inline uint64_t read_b(struct fixture *f, uint64_t addr)
{
	uint64_t tag = 0;

	assert_int_equal(gpu_access_in(f, &f->other, vm_b(f), addr, false, &tag), 0);
	return tag;
}

static inline void write_b(struct fixture *f, uint64_t addr, uint64_t tag)
{
	assert_int_equal(gpu_access_in(f, &f->other, vm_b(f), addr, true, &tag), 0);
}

static inline struct pte *pte_b(struct fixture *f, uint64_t addr)
{
	return pte_at(&f->other, vm_id(vm_b(f)), addr);
}

/* Who has the page: 'a', 'b', or 'h' for the process. */
static inline char place_of(struct fixture *f, uint64_t addr)
{
	struct mm_entry *entry;
	char place = 'h';

	lock_acquire(mm_event_lock(f->mm));
	entry = mm_entry_first(f->mm, span_make(addr, PAGE_BYTES));
	if (entry)
		place = pagemap_entry_devmem(f->gpu.device->pagemap, entry) ? 'a' : 'b';
	lock_release(mm_event_lock(f->mm));
	return place;
}

static inline void expect_places(struct fixture *f, uint64_t page, uint64_t pages, char place)
{
	for (uint64_t i = page; i < page + pages; i++)
		assert_int_equal(place_of(f, heap(i)), place);
}

static inline uint64_t came(struct fixture *f)
{
	return f->other.device->stats.value[VM_STAT_PAGES_FROM_PEER];
}

static inline uint64_t went_home(struct fixture *f)
{
	return f->mm->stats.home_moved_pages + f->mm->stats.home_copied_pages;
}

static inline uint64_t used_bytes(struct gpu *gpu)
{
	struct vram_stats stats;

	vm_device_vram(gpu->device, &stats);
	return stats.used_bytes;
}

/* @pages from @page on, with their tags, on A. */
static inline void on_a(struct fixture *f, uint64_t page, uint64_t pages)
{
	heap_fill(f, page, pages);
	assert_int_equal(gpu_read(f, heap(page)), tag_of(page));
	expect_places(f, page, pages, 'a');
}

static inline void want_on_a(struct fixture *f)
{
	const struct vm_attr attr = { .location = VM_LOCATION_DEVICE, .device = f->gpu.device };

	assert_int_equal(vm_advise(vm_b(f), HEAP_VMA, VM_ATTR_LOCATION, &attr), 0);
}

#define IN(name, setup) { #name ", " #setup, name, setup, tear_down, NULL }
#define ALL(name)                                                                 \
	IN(name, move_move), IN(name, move_copy), IN(name, copy_move), IN(name, copy_copy)

#endif
