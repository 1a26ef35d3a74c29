/* SPDX-License-Identifier: MIT */
/*
 * DOC: Prefetch
 *
 * To the device: what a fault on each range of the span would do, ahead of it, whatever
 * the attributes say. To the system: bring home. As advised: either, piece by piece of
 * the attributes; what should be on another device goes there if it can be used there. All
 * skip holes in the address space and memory that is not bound, and leave what cannot move
 * where it is.
 *
 * Upstream: DRM_XE_VM_BIND_OP_PREFETCH; ours goes on behind VMAs that are not
 * mirrored (L6), and populates nothing on the way home (L10).
 */
#include "vm/bo_internal.h"

#include <errno.h>

/* What one step found to do outside of vm.lock. */
struct step {
	struct span home;
	uint64_t next; /* where to go on */
};

/* What is advised for @addr is to be on no device that the vm's reaches. */
static bool goes_home(struct vm *vm, const struct vm_attr *attr)
{
	struct vm_device *other;

	if (vm_attr_is_here(vm, attr))
		return false;
	other = attr->location == VM_LOCATION_DEVICE ? vm_guest_enter(vm, attr->device) : NULL;
	vm_guest_leave(other);
	return !other;
}

/* The range over the first address of @part that is bound; @part lies in one VMA. */
static int prefetch_step(struct vm *vm, struct span part, enum vm_place place,
			 struct step *step)
{
	const uint32_t access = place == VM_PLACE_ADVISED ? (uint32_t)USVM_ACCESS_PREFETCH :
							    VM_ACCESS_TO_DEVICE;
	struct vm_attr_piece piece;
	struct vm_bind *bind;
	int err = 0;

	*step = (struct step){ .next = part.end };
	lock_acquire(&vm->lock);
	bind = vm_bind_next(vm, part);
	if (bind) {
		uint64_t addr = MAX(part.start, bind->node.span.start);

		vm_attr_find(vm, bind, addr, &piece);
		if (place == VM_PLACE_ADVISED && goes_home(vm, &piece.attr)) {
			step->home = span_intersect((struct span){ addr, part.end },
						    piece.span);
			step->next = step->home.end;
		} else {
			err = vm_service(vm, addr, access, &step->next);
			/* What may not be read may not anywhere in its VMA. Else the next
			 * page. */
			if (err && err != -EPERM)
				step->next = addr + PAGE_BYTES;
		}
	}
	lock_release(&vm->lock);
	pagemap_tidy(vm->device->pagemap);
	if (!span_is_empty(step->home))
		return gpusvm_evict(&vm->svm, step->home, vm->device->pagemap, 0, false);
	return err == -ENOMEM || err == -ECANCELED || err == -ENODEV ? err : 0;
}

int vm_prefetch(struct vm *vm, struct span span, enum vm_place place)
{
	struct mm *mm = vm->device->mm;
	uint64_t addr = span.start;
	bool any = false;
	int err;

	if (place == VM_PLACE_DEVICE && vm_device_is_unplugged(vm->device))
		return -ENODEV;
	while (addr < span.end) {
		struct sys_vma vma;
		struct step step;

		if (mm_vma_find(mm, addr, true, &vma, NULL) || vma.span.start >= span.end)
			break;
		any = true;
		addr = MAX(addr, vma.span.start);
		if (place == VM_PLACE_SYSTEM) {
			addr = MIN(vma.span.end, span.end);
			continue;
		}
		err = prefetch_step(vm, (struct span){ addr, MIN(vma.span.end, span.end) },
				    place, &step);
		if (err)
			return err;
		addr = step.next;
	}
	if (!any)
		return -EFAULT;
	return place == VM_PLACE_SYSTEM ? mm_bring_home(mm, span, NULL) : 0;
}
