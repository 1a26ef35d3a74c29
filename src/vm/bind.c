/* SPDX-License-Identifier: MIT */
/*
 * DOC: Binds
 *
 * A bind says that a span of GPU addresses mirrors the same addresses of the
 * process. It maps nothing: ranges and entries come with the faults. Binds do
 * not overlap; one that has ranges cannot be taken away (-EBUSY), as upstream.
 *
 * Upstream: xe_vm.c, DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR.
 */
#include "vm/vm_internal.h"

#include <errno.h>

struct vm_bind *vm_bind_next(struct vm *vm, struct span span)
{
	struct interval_node *node = interval_tree_first(&vm->binds, span);

	return node ? CONTAINER_OF(node, struct vm_bind, node) : NULL;
}

struct vm_bind *vm_bind_find(struct vm *vm, uint64_t addr)
{
	return vm_bind_next(vm, span_make(addr, 1));
}

static bool is_valid(struct span span)
{
	return span.start < span.end && IS_ALIGNED(span.start | span.end, PAGE_BYTES) &&
	       span.end <= 1ull << 47;
}

int vm_bind_mirror(struct vm *vm, struct span span, bool read_only)
{
	struct vm_bind *bind;
	int err = 0;

	if (!is_valid(span))
		return -EINVAL;
	bind = pool_alloc(&vm->bind_pool);
	if (!bind)
		return -ENOMEM;
	bind->node.span = span;
	bind->read_only = read_only;
	lock_acquire(&vm->lock);
	if (vm_bind_next(vm, span))
		err = -EBUSY;
	else
		interval_tree_insert(&vm->binds, &bind->node);
	lock_release(&vm->lock);
	if (err)
		pool_put(&vm->bind_pool, bind);
	return err;
}

int vm_unbind(struct vm *vm, struct span span)
{
	struct vm_bind *bind;
	int err = 0;

	if (!is_valid(span))
		return -EINVAL;
	/* The munmap() before this call has returned, but its ranges may still be on their way
	 * to the collector. */
	lock_acquire(mm_event_lock(vm->device->mm));
	lock_release(mm_event_lock(vm->device->mm));
	lock_acquire(&vm->lock);
	vm_collect(vm);
	bind = vm_bind_find(vm, span.start);
	if (!bind || bind->node.span.start != span.start || bind->node.span.end != span.end)
		err = -ENOENT;
	else if (gpusvm_has_mapping(&vm->svm, span))
		err = -EBUSY;
	if (!err) {
		vm_attr_forget(vm, span);
		interval_tree_remove(&vm->binds, &bind->node);
		pool_put(&vm->bind_pool, bind);
	}
	lock_release(&vm->lock);
	return err;
}
