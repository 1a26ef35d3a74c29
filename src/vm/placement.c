/* SPDX-License-Identifier: MIT */
/*
 * DOC: All that can, on the device
 *
 * A device that is opened with placement=device takes whatever can be taken: advice does not
 * keep pages at home, nor does thrash, nor that they were busy a moment ago; a fault tries
 * several times before it is served in place. What is served in place all the same is
 * counted and listed here, by mapping and reason. So a run under this setting tells what of
 * a program's memory its GPU never has near.
 */
#include "vm/vm_internal.h"

#include <errno.h>

const char *const vm_stay_names[VM_STAY_COUNT] = {
	[VM_STAY_SHARED] = "shared memory",
	[VM_STAY_FILE] = "a file's",
	[VM_STAY_HUGETLB] = "huge pages",
	[VM_STAY_STACK] = "a stack",
	[VM_STAY_PROTECTED] = "its protection",
	[VM_STAY_POLICY] = "nothing migrates (migrate=never, or the kernel cannot)",
	[VM_STAY_KEPT] = "locked, a stack, or the library's own",
	[VM_STAY_PINNED] = "pinned or shared with a child",
	[VM_STAY_NO_ROOM] = "no room",
	[VM_STAY_OTHER] = "unknown",
};

static enum vm_stay reason(const struct vm *vm, const struct sys_vma *vma, int moved)
{
	const uint32_t rw = SYS_PROT_READ | SYS_PROT_WRITE;

	switch (vma->kind) {
	case SYS_VMA_ANON_PRIVATE:
		break;
	case SYS_VMA_ANON_SHARED:
		return VM_STAY_SHARED;
	case SYS_VMA_FILE_PRIVATE:
	case SYS_VMA_FILE_SHARED:
		return VM_STAY_FILE;
	case SYS_VMA_HUGETLB:
		return VM_STAY_HUGETLB;
	case SYS_VMA_STACK:
		return VM_STAY_STACK;
	default:
		return VM_STAY_OTHER;
	}
	if ((vma->prot & (rw | SYS_PROT_EXEC)) != rw)
		return VM_STAY_PROTECTED;
	if (vm->device->config.migrate == VM_MIGRATE_NEVER)
		return VM_STAY_POLICY;
	switch (moved) {
	case 0:
	case -EBUSY:
		return VM_STAY_PINNED;
	case -EOPNOTSUPP:
		return VM_STAY_KEPT;
	case -ENOSPC:
		return VM_STAY_NO_ROOM;
	default:
		return VM_STAY_OTHER;
	}
}

void vm_placement_note(struct vm *vm, const struct sys_vma *vma, int moved)
{
	struct vm_device *device = vm->device;
	enum vm_stay why = reason(vm, vma, moved);
	uint32_t i, known;

	_Static_assert(VM_STAT_STAYED + VM_STAY_COUNT == VM_STAT_COUNT, "one for each");
	vm_stat_add(&device->stats, VM_STAT_STAYED + why, 1);
	lock_acquire(&device->stayed_lock);
	known = MIN(device->stayed_count, (uint32_t)VM_STAYED_MAX);
	for (i = 0; i < known; i++) {
		if (device->stayed[i].why == why &&
		    device->stayed[i].span.start == vma->span.start)
			break;
	}
	if (i == known)
		device->stayed_count++;
	if (i == known && i < VM_STAYED_MAX)
		device->stayed[i] = (struct vm_stayed){ .span = vma->span, .why = why };
	if (i < VM_STAYED_MAX) {
		device->stayed[i].span.end = MAX(device->stayed[i].span.end, vma->span.end);
		device->stayed[i].faults++;
	}
	lock_release(&device->stayed_lock);
}

size_t vm_device_stayed(struct vm_device *device, struct vm_stayed *stayed, size_t max,
			size_t *count)
{
	size_t n;

	lock_acquire(&device->stayed_lock);
	*count = device->stayed_count;
	n = MIN(MIN(*count, (size_t)VM_STAYED_MAX), max);
	for (size_t i = 0; i < n; i++)
		stayed[i] = device->stayed[i];
	lock_release(&device->stayed_lock);
	return n;
}
