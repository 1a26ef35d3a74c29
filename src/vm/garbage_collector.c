/* SPDX-License-Identifier: MIT */
/*
 * DOC: The garbage collector
 *
 * Ranges whose memory was unmapped wait on a list: the monitor, which saw it,
 * frees nothing. They are removed by a worker, or by the next fault of the vm,
 * whichever comes first.
 *
 * Upstream: xe_svm_garbage_collector().
 */
#include "vm/vm_internal.h"

void vm_collect(struct vm *vm)
{
	struct gpusvm_range *range;

	while ((range = gpusvm_garbage_pop(&vm->svm))) {
		struct span span = range->node.span;

		gpusvm_range_remove(&vm->svm, range);
		vm_stat_add(&vm->device->stats, VM_STAT_RANGES_COLLECTED, 1);
		mm_trace(vm->device->mm, TRACE_COLLECT, span.start, span_bytes(span), 0, 0);
	}
}

void vm_collect_work(struct mm_work *work)
{
	struct vm *vm = CONTAINER_OF(work, struct vm, collect_work);

	lock_acquire(&vm->lock);
	vm_collect(vm);
	lock_release(&vm->lock);
	/* The vm may be destroyed as soon as it is not pending any more. */
	vm_pending_put(vm);
}
