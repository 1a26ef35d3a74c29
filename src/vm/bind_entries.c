/* SPDX-License-Identifier: MIT */
/*
 * DOC: Entries of binds
 *
 * Entries of all binds but mirrors come by faults, for the whole bind at once, or with the
 * bind itself. They are written, and cleared with the engines stopped, under event_lock:
 * bo.c tells why. Entries of a USERPTR are aliases of the CPU's mapping, like all system
 * entries, so that nothing has to be revoked when that changes: the engine faults as the
 * CPU would, and then here.
 *
 * An object whose bytes were thrown away (purge.c) has none, and a bind that asked for that
 * reads zeros in its place.
 *
 * Upstream: xe_vm.c (rebind, userptr), xe_pagefault_handle_vma().
 */
#include "vm/bo_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"

/* NULL entries come so far around the fault: a bind may be larger than any table. */
#define NULL_BYTES HUGE_BYTES

#define GPU_END (1ull << 48)

static struct lock *event_lock_of(const struct vm *vm)
{
	return mm_event_lock(vm->device->mm);
}

static struct vm_bind *bind_of(struct interval_node *node)
{
	return CONTAINER_OF(node, struct vm_bind, node);
}

static void set_null(uint64_t *target, uint32_t *flags)
{
	*target = 0;
	*flags |= USVM_PTE_NULL;
}

/* Where @bind leads from @addr on. Return: false: nowhere at the moment. */
static bool entries_of(const struct vm_bind *bind, uint64_t addr, uint64_t *target,
		       uint32_t *flags)
{
	uint64_t offset = addr - bind->node.span.start;

	*flags = USVM_PTE_WRITE | USVM_PTE_ATOMIC;
	switch (bind->kind) {
	case VM_BIND_BO:
		if (vm_bo_entries(bind->bo, bind->target + offset, target, flags))
			break;
		if (!bind->null_if_purged || bind->bo->state != VM_BO_PURGED)
			return false;
		set_null(target, flags);
		break;
	case VM_BIND_NULL:
		set_null(target, flags);
		break;
	default:
		ASSERT(bind->kind == VM_BIND_USERPTR);
		*target = bind->target + offset;
		if (bind->vm->device->config.flags & USVM_DEVICE_NO_SYSTEM_ATOMICS)
			*flags &= ~(uint32_t)USVM_PTE_ATOMIC;
	}
	if (bind->read_only)
		*flags &= ~(uint32_t)(USVM_PTE_WRITE | USVM_PTE_ATOMIC);
	return true;
}

void vm_bind_write(struct vm_bind *bind, struct span part)
{
	struct vm *vm = bind->vm;
	const struct vm_device_config *config = &vm->device->config;
	uint64_t target;
	uint32_t flags;

	lock_acquire(event_lock_of(vm));
	if (entries_of(bind, part.start, &target, &flags)) {
		bind->has_entries = true;
		lock_acquire(&vm->svm.notifier_lock);
		config->ops->pt_map(config->device, vm->id, part.start, span_bytes(part),
				    target, flags);
		lock_release(&vm->svm.notifier_lock);
	}
	lock_release(event_lock_of(vm));
}

int vm_bind_prepare(struct vm *vm, struct span span)
{
	const struct vm_device_config *config = &vm->device->config;

	return config->ops->pt_prepare(config->device, vm->id, span.start, span_bytes(span));
}

static int populate(struct vm_bind *bind, struct span part)
{
	int err = vm_bind_prepare(bind->vm, part);

	if (err)
		return err;
	if (bind->bo)
		err = vm_bo_pin_briefly(bind->bo);
	if (bind->null_if_purged && err == -ENODATA) {
		vm_bind_write(bind, part);
		return 0;
	}
	if (err)
		return err;
	vm_bind_write(bind, part);
	if (bind->bo)
		vm_bo_unpin_briefly(bind->bo);
	return 0;
}

int vm_bind_check_memory(struct vm *vm, struct span span, bool write)
{
	while (span.start < span.end) {
		struct sys_vma vma;

		if (mm_vma_find(vm->device->mm, span.start, false, &vma, NULL) ||
		    vma.kind == SYS_VMA_SPECIAL)
			return -EFAULT;
		if (!(vma.prot & SYS_PROT_READ) || (write && !(vma.prot & SYS_PROT_WRITE)))
			return -EPERM;
		span.start = vma.span.end;
	}
	return 0;
}

/* An atomic that only device memory can serve. Where there is nothing any more it is dropped, as
 * stores are. */
static int serve_device_atomic(struct vm_bind *bind)
{
	int err;

	if (bind->kind != VM_BIND_BO || !(bind->bo->placement & VM_BO_DEVICE))
		return -EACCES;
	err = vm_bo_move(bind->bo, VM_BO_DEVICE);
	return err == -ENODATA && bind->null_if_purged ? 0 : err;
}

int vm_bind_serve(struct vm_bind *bind, uint64_t addr, uint32_t access, uint64_t *end)
{
	struct vm *vm = bind->vm;
	struct vm_stats *stats = &vm->device->stats;
	struct span part = bind->node.span;
	bool atomic = access == USVM_ACCESS_ATOMIC;
	bool write = atomic || access == USVM_ACCESS_WRITE;
	int err = 0;

	lock_assert_held(&vm->lock);
	if (write && bind->read_only)
		return -EPERM;
	/* It would keep the object from being purged, or bring back what was. */
	if (bind->bo && !bind->null_if_purged &&
	    vm_bo_need(bind->bo) != VM_NEED_WILLNEED)
		return -EACCES;
	if (bind->kind == VM_BIND_USERPTR) {
		uint64_t page = bind->target + (ALIGN_DOWN(addr, PAGE_BYTES) - part.start);

		err = vm_bind_check_memory(vm, span_make(page, PAGE_BYTES), write);
	}
	if (bind->kind == VM_BIND_NULL)
		part = span_intersect(part, span_block(addr, NULL_BYTES));
	if (!err && atomic && bind->kind != VM_BIND_NULL &&
	    (vm->device->config.flags & USVM_DEVICE_NO_SYSTEM_ATOMICS))
		err = serve_device_atomic(bind);
	if (!err)
		err = populate(bind, part);
	if (err)
		return err;
	vm_stat_add(stats, VM_STAT_VMA_PAGEFAULT_COUNT, 1);
	vm_stat_add(stats, VM_STAT_VMA_PAGEFAULT_KB, span_bytes(part) >> 10);
	*end = part.end;
	return 0;
}

/* --- entries ahead of their use --------------------------------------------------- */

/* The process's memory that @part of a USERPTR leads to. */
static struct span memory_of(const struct vm_bind *bind, struct span part)
{
	return span_make(bind->target + (part.start - bind->node.span.start),
			 span_bytes(part));
}

int vm_populate(struct vm *vm, struct span span)
{
	struct interval_node *node;
	int err = 0;

	if (span_is_empty(span) || !IS_ALIGNED(span.start | span.end, PAGE_BYTES) ||
	    span.end > GPU_END)
		return -EINVAL;
	lock_acquire(&vm->lock);
	if (vm_device_is_unplugged(vm->device))
		err = -ENODEV;
	for (node = interval_tree_first(&vm->binds, span); !err && node;
	     node = interval_tree_next(node, span)) {
		struct vm_bind *bind = bind_of(node);
		struct span part = span_intersect(bind->node.span, span);

		if (bind->kind == VM_BIND_USERPTR)
			err = vm_bind_check_memory(vm, memory_of(bind, part), !bind->read_only);
		if (!err && (bind->kind == VM_BIND_BO || bind->kind == VM_BIND_USERPTR))
			err = populate(bind, part);
	}
	lock_release(&vm->lock);
	return err;
}

/* Pin all objects of @vm, and write what entries are missing. *@last: how far it came. What
 * was purged is nowhere, and pinned by nobody: that is for ever. */
static int pin_all(struct vm *vm, struct interval_node **last)
{
	struct span all = { 0, GPU_END };
	struct interval_node *node;
	int err = 0;

	lock_assert_held(&vm->lock);
	for (node = interval_tree_first(&vm->binds, all); !err && node;
	     node = interval_tree_next(node, all)) {
		struct vm_bind *bind = bind_of(node);

		if (bind->bo)
			err = vm_bo_pin(bind->bo);
		if (err == -ENODATA && !bind->null_if_purged) {
			err = 0;
			continue;
		}
		if (err == -ENODATA)
			err = 0;
		if (!err)
			*last = node;
		if (!err && (bind->bo || bind->kind == VM_BIND_USERPTR) &&
		    !bind->has_entries)
			err = populate(bind, bind->node.span);
	}
	return err;
}

int vm_validate(struct vm *vm)
{
	struct span all = { 0, GPU_END };
	struct interval_node *node, *last = NULL;
	struct vm_room *room = &vm->device->room;
	int err;

	/* Two that have each pinned a part would both find no room. */
	lock_acquire(&vm->device->validate_lock);
	vm_room_give_turns(room);
	lock_acquire(&vm->lock);
	vm_room_validate(room);
	err = vm_device_is_unplugged(vm->device) ? -ENODEV : pin_all(vm, &last);
	for (node = last ? interval_tree_first(&vm->binds, all) : NULL; node;
	     node = node == last ? NULL : interval_tree_next(node, all)) {
		struct vm_bind *bind = bind_of(node);

		if (bind->bo && vm_bo_need(bind->bo) != VM_NEED_PURGED)
			vm_bo_unpin(bind->bo);
	}
	vm_room_validated(room);
	lock_release(&vm->lock);
	lock_release(&vm->device->validate_lock);
	return err;
}
