/* SPDX-License-Identifier: MIT */
/*
 * DOC: Address spaces
 *
 * A vm is born with one bind over everything a process can map, unless it is
 * asked not to. Its lock is the driver lock of gpusvm: faults of one vm are
 * served one at a time. It dies in this order: no new faults; the pending ones
 * are answered; the garbage; every range, each revoked with the engines stopped;
 * the binds; then the device forgets the page table.
 *
 * Upstream: xe_vm_close_and_put(), xe_svm_close(), xe_svm_fini().
 */
#include "vm/bo_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"

/* What user space has of the 47 bits; the first page is never mapped. */
#define VM_MIRROR_START PAGE_BYTES
#define VM_MIRROR_END ((1ull << 47) - PAGE_BYTES)

static size_t vm_bytes(void)
{
	return ALIGN_UP(sizeof(struct vm), PAGE_BYTES);
}

static size_t scratch_bytes(void)
{
	return ALIGN_UP(sizeof(struct gpusvm_pages), PAGE_BYTES);
}

static void svm_invalidate(struct gpusvm *svm, struct gpusvm_range *range UNUSED,
			   struct span span)
{
	struct vm *vm = CONTAINER_OF(svm, struct vm, svm);
	struct vm_device *device = vm->device;
	const struct usvm_device_ops *ops = device->config.ops;
	uint64_t start = vm_now_ns(device);

	vm_stat_add(&device->stats, VM_STAT_SVM_TLB_INVAL_COUNT, 1);
	if (ops->pt_clear(device->config.device, vm->id, span.start, span_bytes(span))) {
		vm_stat_add(&device->stats, VM_STAT_TLB_INVAL_COUNT, 1);
		ops->tlb_flush(device->config.device, vm->id, span.start, span_bytes(span));
	}
	/* One takes less than a microsecond: the rest is kept. */
	device->inval_ns += vm_now_ns(device) - start;
	vm_stat_add(&device->stats, VM_STAT_SVM_TLB_INVAL_US, device->inval_ns / 1000);
	device->inval_ns %= 1000;
}

static void svm_garbage(struct gpusvm *svm)
{
	struct vm *vm = CONTAINER_OF(svm, struct vm, svm);

	/* Among the faults: it waits for vm.lock, and what the collector's own thread does
	 * the monitor may have to wait for. Counted, so that vm_destroy() waits for it. */
	ATOMIC_ADD(&vm->pending_work, 1);
	if (!mm_work_queue_late(svm->mm, &vm->collect_work))
		ATOMIC_SUB(&vm->pending_work, 1);
}

static const struct gpusvm_ops svm_ops = {
	.invalidate = svm_invalidate,
	.garbage = svm_garbage,
};

static void vm_free(struct vm *vm)
{
	vm_attr_fini(vm);
	pool_fini(&vm->undo_pool);
	pool_fini(&vm->bind_pool);
	if (vm->pages)
		base_host->pages_free(vm->pages, scratch_bytes());
	base_host->pages_free(vm, vm_bytes());
}

static struct vm *vm_alloc(struct vm_device *device)
{
	struct vm *vm = base_host->pages_alloc(vm_bytes());

	if (!vm)
		return NULL;
	vm->device = device;
	lock_init(&vm->lock, LOCK_VM, "vm.lock");
	lock_init(&vm->fault_lock, LOCK_LEAF, "vm.fault_lock");
	interval_tree_init(&vm->binds);
	pool_init(&vm->bind_pool, sizeof(struct vm_bind), "vm.binds");
	pool_init(&vm->undo_pool, sizeof(struct vm_undo), "vm.undo");
	vm_attr_init(vm);
	vm_thrash_init(vm);
	mm_work_init(&vm->collect_work, vm_collect_work);
	vm->pages = base_host->pages_alloc(scratch_bytes());
	if (!vm->pages) {
		vm_free(vm);
		return NULL;
	}
	return vm;
}

/* A number for the device. Faults do not find the vm by it yet: id_show(). */
static int id_claim(struct vm_device *device, struct vm *vm)
{
	int err = -ENOSPC;

	_Static_assert(VM_PER_DEVICE_MAX == 64, "a bit for each");
	lock_acquire(&device->vms_lock);
	if (vm_device_is_unplugged(device)) {
		err = -ENODEV;
	} else if (~device->ids) {
		vm->id = (uint32_t)__builtin_ctzll(~device->ids);
		device->ids |= 1ull << vm->id;
		err = 0;
	}
	lock_release(&device->vms_lock);
	return err;
}

/* It is whole and stays. A fault before was a late one of an older vm, and would have held
 * on to what a failure frees. */
static void id_show(struct vm *vm)
{
	lock_acquire(&vm->device->vms_lock);
	vm->device->vms[vm->id] = vm;
	lock_release(&vm->device->vms_lock);
}

/* Faults of the device find it no more. Its number is its own until the device has
 * forgotten the page table: see id_release(). */
static void id_hide(struct vm *vm)
{
	lock_acquire(&vm->device->vms_lock);
	vm->device->vms[vm->id] = NULL;
	lock_release(&vm->device->vms_lock);
}

static void id_release(struct vm *vm)
{
	lock_acquire(&vm->device->vms_lock);
	vm->device->ids &= ~(1ull << vm->id);
	lock_release(&vm->device->vms_lock);
}

int vm_create(struct vm_device *device, uint32_t flags, struct vm **out)
{
	struct span all = { VM_MIRROR_START, VM_MIRROR_END };
	struct vm *vm = vm_alloc(device);
	int err;

	if (!vm)
		return -ENOMEM;
	err = gpusvm_init(&vm->svm, device->mm, device->config.notifier_bytes, &svm_ops);
	if (err)
		goto free_vm;
	err = id_claim(device, vm);
	if (err)
		goto free_vm;
	err = device->config.ops->vm_create(device->config.device, vm->id);
	if (err)
		goto release_id;
	if (!(flags & VM_NO_MIRROR)) {
		err = vm_bind_mirror(vm, all, flags & VM_READ_ONLY);
		if (!err && (flags & VM_AUTORESET))
			err = vm_attr_set_default(vm, all, 0, true);
	}
	if (err)
		goto destroy_device_vm;
	id_show(vm);
	*out = vm;
	return 0;

destroy_device_vm:
	lock_acquire(&vm->lock);
	vm_binds_remove(vm);
	lock_release(&vm->lock);
	device->config.ops->vm_destroy(device->config.device, vm->id);
release_id:
	id_release(vm);
free_vm:
	vm_free(vm);
	return err;
}

static void wait_for_pending(struct vm *vm)
{
	struct vm_device *device = vm->device;

	for (;;) {
		uint32_t ticket = wait_ticket(&device->pending_wait);

		if (!ATOMIC_LOAD(&vm->pending_work))
			break;
		mm_work_hurry(device->mm);
		wait_sleep(&device->pending_wait, ticket, BASE_FOREVER);
	}
	/* Whoever counted down last has left the lock, and so the vm, when we have it. */
	lock_acquire(&device->vms_lock);
	lock_release(&device->vms_lock);
}

/* Each is revoked with the engines stopped. */
void vm_remove_ranges(struct vm *vm)
{
	struct span all = { 0, UINT64_MAX };
	struct gpusvm_range *range;

	lock_assert_held(&vm->lock);
	vm_collect(vm);
	while ((range = gpusvm_range_first(&vm->svm, all)))
		gpusvm_range_remove(&vm->svm, range);
}

static void remove_all(struct vm *vm)
{
	lock_acquire(&vm->lock);
	vm->closed = true;
	vm_remove_ranges(vm);
	vm_binds_remove(vm);
	vm_attr_stop(vm);
	vm_thrash_stop(vm);
	lock_release(&vm->lock);
}

void vm_destroy(struct vm *vm)
{
	struct vm_device *device;

	if (!vm)
		return;
	device = vm->device;
	id_hide(vm);
	wait_for_pending(vm);
	remove_all(vm);
	device->config.ops->vm_destroy(device->config.device, vm->id);
	id_release(vm);
	/* Nothing queues a collection any more; one that is queued must end. */
	wait_for_pending(vm);
	gpusvm_fini(&vm->svm);
	vm_free(vm);
}

uint32_t vm_id(const struct vm *vm)
{
	return vm->id;
}

size_t vm_faults(struct vm *vm, struct vm_fault_record *records, size_t max)
{
	uint64_t kept, first;
	size_t count;

	lock_acquire(&vm->fault_lock);
	kept = MIN(vm->fault_count, (uint64_t)VM_FAULTS_KEPT);
	count = MIN(kept, max);
	first = vm->fault_count - kept;
	for (size_t i = 0; i < count; i++)
		records[i] = vm->faults[(first + i) % VM_FAULTS_KEPT];
	lock_release(&vm->fault_lock);
	return count;
}

void vm_check(struct vm *vm)
{
	lock_acquire(&vm->lock);
	vm_binds_check(vm);
	lock_release(&vm->lock);
	mm_check(vm->device->mm);
	vram_check(vm->device->vram);
	vm_attr_check(vm);
}
