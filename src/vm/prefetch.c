/* SPDX-License-Identifier: MIT */
/*
 * DOC: Prefetch
 *
 * To the device: what a fault on each range of the span would do, ahead of it.
 * To the system: bring home. Both skip holes in the address space and memory
 * that is not bound, and leave what cannot move where it is.
 *
 * Upstream: DRM_XE_VM_BIND_OP_PREFETCH; ours goes on behind VMAs that are not
 * mirrored (L6), and populates nothing on the way home (L10).
 */
#include "vm/vm_internal.h"

#include <errno.h>

/* The range over the first address of @part that is bound; @part lies in one VMA.
 * *@next: where to go on. */
static int prefetch_step(struct vm *vm, struct span part, uint64_t *next)
{
	struct vm_bind *bind;
	int err = 0;

	*next = part.end;
	lock_acquire(&vm->lock);
	bind = vm_bind_next(vm, part);
	if (bind) {
		uint64_t addr = MAX(part.start, bind->node.span.start);

		err = vm_service(vm, addr, USVM_ACCESS_PREFETCH, next);
		/* What may not be read may not anywhere in its VMA. Else the next page. */
		if (err && err != -EPERM)
			*next = addr + PAGE_BYTES;
	}
	lock_release(&vm->lock);
	return err == -ENOMEM || err == -ECANCELED || err == -ENODEV ? err : 0;
}

int vm_prefetch(struct vm *vm, struct span span, bool to_device)
{
	struct mm *mm = vm->device->mm;
	uint64_t addr = span.start;
	bool any = false;
	int err;

	if (to_device && vm_device_is_unplugged(vm->device))
		return -ENODEV;
	while (addr < span.end) {
		struct sys_vma vma;

		if (mm_vma_find(mm, addr, true, &vma, NULL) || vma.span.start >= span.end)
			break;
		any = true;
		addr = MAX(addr, vma.span.start);
		if (!to_device) {
			addr = MIN(vma.span.end, span.end);
			continue;
		}
		err = prefetch_step(vm, (struct span){ addr, MIN(vma.span.end, span.end) },
				    &addr);
		if (err)
			return err;
	}
	if (!any)
		return -EFAULT;
	return to_device ? 0 : mm_bring_home(mm, span, NULL);
}
