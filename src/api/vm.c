/* SPDX-License-Identifier: MIT */
/*
 * DOC: VMs
 *
 * A usvm_vm is a handle; the vm behind it is made, changed and looked at on a
 * worker. Arguments are checked before.
 */
#include "api/api_internal.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/host.h"
#include "vm/attr.h"

struct vm_args {
	struct usvm *usvm;
	struct usvm_vm *handle;
	struct vm *vm;
	struct span span;
	uint32_t flags;
	struct vm_page_info info;
	uint64_t pages[4];
};

static int create_vm(void *argument)
{
	struct vm_args *a = argument;
	struct usvm_vm *handle = base_host->pages_alloc(PAGE_BYTES);
	int err;

	_Static_assert(sizeof(*handle) <= PAGE_BYTES, "one page");
	if (!handle)
		return -ENOMEM;
	err = vm_create(a->usvm->device, a->flags, &handle->vm);
	if (err) {
		base_host->pages_free(handle, PAGE_BYTES);
		return err;
	}
	handle->usvm = a->usvm;
	handle->magic = API_MAGIC_VM;
	a->handle = handle;
	return 0;
}

int usvm_vm_create(struct usvm *usvm, const struct usvm_vm_config *config,
		   struct usvm_vm **vm)
{
	struct vm_args a = { .usvm = usvm };
	int err = api_check(usvm, API_MAGIC_DEVICE);

	if (err)
		return err;
	if (!vm)
		return -EINVAL;
	if (config) {
		if (config->reserved ||
		    config->flags & ~(uint32_t)(USVM_VM_NO_MIRROR | USVM_VM_READ_ONLY |
						USVM_VM_AUTORESET))
			return -EINVAL;
		a.flags = (config->flags & USVM_VM_NO_MIRROR ? VM_NO_MIRROR : 0u) |
			  (config->flags & USVM_VM_READ_ONLY ? VM_READ_ONLY : 0u) |
			  (config->flags & USVM_VM_AUTORESET ? VM_AUTORESET : 0u);
	}
	err = mm_call(usvm->mm, create_vm, &a, sizeof(a));
	if (err)
		return err;
	ATOMIC_ADD(&usvm->vm_count, 1);
	*vm = a.handle;
	return 0;
}

static int destroy_vm(void *argument)
{
	struct vm_args *a = argument;

	vm_destroy(a->handle->vm);
	base_host->pages_free(a->handle, PAGE_BYTES);
	return 0;
}

int usvm_vm_destroy(struct usvm_vm *vm)
{
	struct vm_args a = { .handle = vm };
	struct usvm *usvm;
	int err;

	if (!vm)
		return 0;
	err = api_check(vm, API_MAGIC_VM);
	if (err)
		return err;
	if (ATOMIC_LOAD(&vm->queue_count))
		return -EBUSY;
	usvm = vm->usvm;
	ATOMIC_STORE_RELAXED(&vm->magic, 0);
	err = mm_call(usvm->mm, destroy_vm, &a, sizeof(a));
	ATOMIC_SUB(&usvm->vm_count, 1);
	return err;
}

static int mirror(void *argument)
{
	struct vm_args *a = argument;
	bool autoreset = a->flags & VM_AUTORESET;
	int err = autoreset ? vm_attr_listen(a->vm) : 0;

	if (!err)
		err = vm_bind_mirror(a->vm, a->span, a->flags & VM_READ_ONLY);
	if (err || !autoreset)
		return err;
	err = vm_attr_set_default(a->vm, a->span, 0, true);
	/* Another thread has taken it away already. */
	return err == -ENOENT ? 0 : err;
}

static int unmirror(void *argument)
{
	struct vm_args *a = argument;

	return vm_unbind(a->vm, a->span);
}

static bool make_span(const void *addr, size_t bytes, struct span *span)
{
	uint64_t start = (uintptr_t)addr;

	if (!bytes || start + bytes < start)
		return false;
	*span = span_make(start, bytes);
	return true;
}

int usvm_vm_mirror(struct usvm_vm *vm, const void *addr, size_t bytes, uint32_t flags)
{
	struct vm_args a = { 0 };
	int err = api_check(vm, API_MAGIC_VM);

	if (err)
		return err;
	if ((flags & ~(uint32_t)(USVM_VM_READ_ONLY | USVM_VM_AUTORESET)) ||
	    !make_span(addr, bytes, &a.span))
		return -EINVAL;
	a.vm = vm->vm;
	a.flags = (flags & USVM_VM_READ_ONLY ? VM_READ_ONLY : 0u) |
		  (flags & USVM_VM_AUTORESET ? VM_AUTORESET : 0u);
	return mm_call(vm->usvm->mm, mirror, &a, sizeof(a));
}

int usvm_vm_unmirror(struct usvm_vm *vm, const void *addr, size_t bytes)
{
	struct vm_args a = { 0 };
	int err = api_check(vm, API_MAGIC_VM);

	if (err)
		return err;
	if (!make_span(addr, bytes, &a.span))
		return -EINVAL;
	a.vm = vm->vm;
	return mm_call(vm->usvm->mm, unmirror, &a, sizeof(a));
}

static int prefetch(void *argument)
{
	struct vm_args *a = argument;

	return vm_prefetch(a->vm, a->span, (enum vm_place)a->flags);
}

int usvm_prefetch(struct usvm_vm *vm, const void *addr, size_t bytes, enum usvm_place place)
{
	struct vm_args a = { 0 };
	int err = api_check(vm, API_MAGIC_VM);

	if (err)
		return err;
	_Static_assert((int)USVM_PLACE_DEVICE == (int)VM_PLACE_DEVICE &&
			       (int)USVM_PLACE_ADVISED == (int)VM_PLACE_ADVISED,
		       "the same numbers");
	if ((uint32_t)place > USVM_PLACE_ADVISED ||
	    !make_span(addr, bytes, &a.span) || a.span.end > 1ull << 47)
		return -EINVAL;
	a.vm = vm->vm;
	a.span = span_align_out(a.span, PAGE_BYTES);
	a.flags = place;
	return mm_call(vm->usvm->mm, prefetch, &a, sizeof(a));
}

static int query(void *argument)
{
	struct vm_args *a = argument;

	vm_query(a->vm, a->span.start, &a->info);
	return 0;
}

static uint32_t page_state(const struct vm_page_info *info)
{
	if (info->has_entry)
		return info->moving ? USVM_PAGE_MOVING : USVM_PAGE_DEVICE;
	return info->has_vma ? USVM_PAGE_HOME : USVM_PAGE_UNMAPPED;
}

int usvm_query(struct usvm_vm *vm, const void *addr, struct usvm_page_info *info)
{
	struct vm_args a = { .span = { (uintptr_t)addr, 0 } };
	int err = api_check(vm, API_MAGIC_VM);

	if (err)
		return err;
	if (!info || a.span.start >= 1ull << 47)
		return -EINVAL;
	a.vm = vm->vm;
	err = mm_call(vm->usvm->mm, query, &a, sizeof(a));
	if (err)
		return err;
	memset(info, 0, sizeof(*info));
	info->state = page_state(&a.info);
	info->mapped = (a.info.mapped ? 1u : 0u) | (a.info.mapped && a.info.writable ? 2u : 0u);
	info->vram_offset = a.info.vram_offset;
	info->run_bytes = a.info.run_bytes;
	info->is_elsewhere = a.info.is_elsewhere;
	memcpy(info->device, a.info.device, sizeof(info->device));
	return 0;
}

static int query_span(void *argument)
{
	struct vm_args *a = argument;

	vm_query_span(a->vm, a->span, a->pages);
	return 0;
}

int usvm_query_span(struct usvm_vm *vm, const void *addr, size_t bytes, uint64_t pages[4])
{
	struct vm_args a = { 0 };
	int err = api_check(vm, API_MAGIC_VM);

	if (err)
		return err;
	if (!pages || !make_span(addr, bytes, &a.span) || a.span.end > 1ull << 47)
		return -EINVAL;
	a.vm = vm->vm;
	a.span = span_align_out(a.span, PAGE_BYTES);
	err = mm_call(vm->usvm->mm, query_span, &a, sizeof(a));
	if (err)
		return err;
	memcpy(pages, a.pages, sizeof(a.pages));
	return 0;
}

int usvm_faults(struct usvm_vm *vm, struct usvm_fault *faults, size_t max, size_t *count)
{
	struct vm_fault_record records[VM_FAULTS_KEPT];
	int err = api_check(vm, API_MAGIC_VM);
	size_t n;

	if (err)
		return err;
	if (!count || (!faults && max))
		return -EINVAL;
	n = vm_faults(vm->vm, records, VM_FAULTS_KEPT);
	for (size_t i = 0; i < n && i < max; i++) {
		faults[i] = (struct usvm_fault){
			.addr = records[i].addr,
			.access = records[i].access,
			.error = records[i].error,
			.time_ns = records[i].time_ns,
		};
	}
	*count = n;
	return 0;
}
