/* SPDX-License-Identifier: MIT */
/*
 * DOC: Buffer objects
 *
 * The public face of vm/bo.h. A handle has one reference; binds have theirs, so that an
 * object whose handle was destroyed stays bound. A device is not closed while there are
 * handles of its objects; its vms, which have the binds, are gone before.
 */
#include "api/api_internal.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/host.h"
#include "vm/bo.h"

struct usvm_bo {
	uint32_t magic; /* atomic */
	struct usvm *usvm;
	struct vm_bo *bo;
};

struct bo_args {
	struct usvm *usvm;
	struct usvm_bo *handle;
	struct usvm_bo_config config;
	struct vm *vm;
	struct span part;
	uint64_t addr;
	struct vm_bind_args bind;
	struct vm_bo_info info;
};

_Static_assert((int)USVM_BO_SYSTEM == (int)VM_BO_SYSTEM &&
		       (int)USVM_BO_DEVICE == (int)VM_BO_DEVICE &&
		       (int)USVM_BO_DEVICE_ONLY == (int)VM_BO_DEVICE_ONLY,
	       "the same bits");
_Static_assert(sizeof(struct bo_args) <= MM_CALL_ARGUMENT_MAX, "fits a call");

static int create(void *argument)
{
	struct bo_args *a = argument;
	struct usvm_bo *handle = base_host->pages_alloc(PAGE_BYTES);
	int err;

	_Static_assert(sizeof(*handle) <= PAGE_BYTES, "one page");
	if (!handle)
		return -ENOMEM;
	err = vm_bo_create(a->usvm->device, a->config.bytes, a->config.placement,
			   a->config.flags, &handle->bo);
	if (err) {
		base_host->pages_free(handle, PAGE_BYTES);
		return err;
	}
	handle->usvm = a->usvm;
	handle->magic = API_MAGIC_BO;
	a->handle = handle;
	return 0;
}

int usvm_bo_create(struct usvm *device, const struct usvm_bo_config *config,
		   struct usvm_bo **bo)
{
	struct bo_args a = { .usvm = device };
	int err = api_check(device, API_MAGIC_DEVICE);

	if (err)
		return err;
	if (!config || !bo)
		return -EINVAL;
	a.config = *config;
	if (!a.config.placement)
		a.config.placement = USVM_BO_SYSTEM | USVM_BO_DEVICE;
	err = mm_call(device->mm, create, &a, sizeof(a));
	if (err)
		return err;
	ATOMIC_ADD(&device->bo_count, 1);
	*bo = a.handle;
	return 0;
}

static int destroy(void *argument)
{
	struct bo_args *a = argument;

	vm_bo_put(a->handle->bo);
	base_host->pages_free(a->handle, PAGE_BYTES);
	return 0;
}

int usvm_bo_destroy(struct usvm_bo *bo)
{
	struct bo_args a = { .handle = bo };
	struct usvm *usvm;
	int err;

	if (!bo)
		return 0;
	err = api_check(bo, API_MAGIC_BO);
	if (err)
		return err;
	usvm = bo->usvm;
	ATOMIC_STORE_RELAXED(&bo->magic, 0);
	err = mm_call(usvm->mm, destroy, &a, sizeof(a));
	ATOMIC_SUB(&usvm->bo_count, 1);
	return err;
}

static int map(void *argument)
{
	struct bo_args *a = argument;

	return vm_bo_map(a->handle->bo, a->part, 0, SYS_PROT_READ | SYS_PROT_WRITE, &a->addr);
}

int usvm_bo_map(struct usvm_bo *bo, uint64_t offset, size_t bytes, void **addr)
{
	struct bo_args a = { .handle = bo, .part = span_make(offset, bytes) };
	int err = api_check(bo, API_MAGIC_BO);

	if (err)
		return err;
	if (!addr)
		return -EINVAL;
	err = mm_call(bo->usvm->mm, map, &a, sizeof(a));
	if (!err)
		*addr = (void *)(uintptr_t)a.addr;
	return err;
}

static int move(void *argument)
{
	struct bo_args *a = argument;

	return vm_bo_move(a->handle->bo, (enum vm_bo_place)a->config.placement);
}

int usvm_bo_move(struct usvm_bo *bo, enum usvm_place place)
{
	struct bo_args a = { .handle = bo };
	int err = api_check(bo, API_MAGIC_BO);

	if (err)
		return err;
	if (place != USVM_PLACE_SYSTEM && place != USVM_PLACE_DEVICE)
		return -EINVAL;
	a.config.placement = place == USVM_PLACE_DEVICE ? USVM_BO_DEVICE : USVM_BO_SYSTEM;
	return mm_call(bo->usvm->mm, move, &a, sizeof(a));
}

static int look(void *argument)
{
	struct bo_args *a = argument;

	vm_bo_info(a->handle->bo, &a->info);
	return 0;
}

int usvm_bo_info(struct usvm_bo *bo, struct usvm_bo_info *info)
{
	struct bo_args a = { .handle = bo };
	int err = api_check(bo, API_MAGIC_BO);

	if (err)
		return err;
	if (!info)
		return -EINVAL;
	err = mm_call(bo->usvm->mm, look, &a, sizeof(a));
	if (err)
		return err;
	*info = (struct usvm_bo_info){
		.bytes = a.info.bytes,
		.placement = a.info.placement,
		.place = a.info.place,
		.vram_bytes = a.info.vram_bytes,
		.evictions = a.info.evictions,
	};
	return 0;
}

static int bind(void *argument)
{
	struct bo_args *a = argument;

	return vm_bind(a->vm, &a->bind);
}

int usvm_vm_bind(struct usvm_vm *vm, uint64_t addr, uint64_t bytes, struct usvm_bo *bo,
		 uint64_t offset, uint32_t flags)
{
	const uint32_t known = USVM_BIND_READ_ONLY | USVM_BIND_NOW;
	struct bo_args a = { 0 };
	int err = api_check(vm, API_MAGIC_VM);

	if (!err && bo)
		err = api_check(bo, API_MAGIC_BO);
	if (err)
		return err;
	if ((flags & ~known) || (!bo && offset))
		return -EINVAL;
	a.vm = vm->vm;
	a.bind = (struct vm_bind_args){
		.kind = bo ? VM_BIND_BO : VM_BIND_NULL,
		.span = span_make(addr, bytes),
		.read_only = flags & USVM_BIND_READ_ONLY,
		.now = flags & USVM_BIND_NOW,
		.bo = bo ? bo->bo : NULL,
		.target = offset,
	};
	return mm_call(vm->usvm->mm, bind, &a, sizeof(a));
}

static int unbind(void *argument)
{
	struct bo_args *a = argument;

	return vm_unmap(a->vm, a->part);
}

int usvm_vm_unbind(struct usvm_vm *vm, uint64_t addr, uint64_t bytes)
{
	struct bo_args a = { .part = span_make(addr, bytes) };
	int err = api_check(vm, API_MAGIC_VM);

	if (err)
		return err;
	a.vm = vm->vm;
	return mm_call(vm->usvm->mm, unbind, &a, sizeof(a));
}
