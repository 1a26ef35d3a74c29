/* SPDX-License-Identifier: MIT */
/*
 * DOC: Advice
 *
 * The public face of vm/attr.h. A query is answered some pieces at a time, for a call has
 * room for few: what changes meanwhile may be seen by half.
 */
#include "api/api_internal.h"

#include <errno.h>

#include "vm/attr.h"

#define PIECES_A_CALL 4

struct advise_args {
	struct vm *vm;
	struct span span;
	uint32_t fields;
	struct vm_attr attr;
	size_t count;
	struct vm_attr_piece pieces[PIECES_A_CALL];
};

static int advise(void *argument)
{
	struct advise_args *a = argument;

	return vm_advise(a->vm, a->span, a->fields, &a->attr);
}

/* Return: 0, -EINVAL, -EBADF, -ECHILD. */
static int location_of(const struct usvm_vm *vm, const struct usvm_attributes *from,
		       struct vm_attr *attr)
{
	const struct usvm *device = from->device ? from->device : vm->usvm;
	int err;

	if (from->location > USVM_LOCATION_DEVICE ||
	    (from->device && from->location != USVM_LOCATION_DEVICE))
		return -EINVAL;
	attr->location = (enum vm_location)from->location;
	if (from->location != USVM_LOCATION_DEVICE)
		return 0;
	err = api_check(device, API_MAGIC_DEVICE);
	if (!err)
		attr->device = device->device;
	return err;
}

int usvm_advise(struct usvm_vm *vm, const void *addr, size_t bytes, uint32_t which,
		const struct usvm_attributes *attributes)
{
	struct advise_args a = { .span = span_make((uintptr_t)addr, bytes) };
	int err = api_check(vm, API_MAGIC_VM);

	_Static_assert((int)USVM_LOCATION_SYSTEM == (int)VM_LOCATION_SYSTEM &&
			       (int)USVM_LOCATION_DEVICE == (int)VM_LOCATION_DEVICE,
		       "the same numbers");
	_Static_assert((int)USVM_ATOMIC_DEVICE == (int)VM_ATOMIC_DEVICE &&
			       (int)USVM_ATOMIC_GLOBAL == (int)VM_ATOMIC_GLOBAL &&
			       (int)USVM_ATOMIC_CPU == (int)VM_ATOMIC_CPU,
		       "the same numbers");
	_Static_assert((int)USVM_ATTRIBUTE_LOCATION == (int)VM_ATTR_LOCATION &&
			       (int)USVM_ATTRIBUTE_ATOMIC == (int)VM_ATTR_ATOMIC &&
			       (int)USVM_ATTRIBUTE_PAT == (int)VM_ATTR_PAT,
		       "the same bits");
	if (err)
		return err;
	if (!attributes || attributes->reserved || attributes->atomic > USVM_ATOMIC_CPU)
		return -EINVAL;
	err = location_of(vm, attributes, &a.attr);
	if (err)
		return err;
	a.vm = vm->vm;
	a.fields = which;
	a.attr.atomic = (enum vm_atomic)attributes->atomic;
	a.attr.pat_index = attributes->pat_index;
	return mm_call(vm->usvm->mm, advise, &a, sizeof(a));
}

static int query(void *argument)
{
	struct advise_args *a = argument;

	a->count = vm_advise_query(a->vm, a->span, a->pieces, PIECES_A_CALL);
	return 0;
}

static void tell(const struct usvm_vm *vm, const struct vm_attr_piece *piece,
		 struct usvm_advised *advised)
{
	bool is_own = piece->attr.device == vm->usvm->device;

	*advised = (struct usvm_advised){
		.addr = piece->span.start,
		.bytes = span_bytes(piece->span),
		.attributes = {
			.location = (uint32_t)piece->attr.location,
			.atomic = (uint32_t)piece->attr.atomic,
			.pat_index = piece->attr.pat_index,
		},
	};
	/* The other may be closed by now, and is not named. */
	if (piece->attr.device && !is_own)
		advised->attributes.location = USVM_LOCATION_ELSEWHERE;
	else if (is_own)
		advised->attributes.device = vm->usvm;
}

int usvm_advise_query(struct usvm_vm *vm, const void *addr, size_t bytes,
		      struct usvm_advised *advised, size_t max, size_t *count)
{
	struct advise_args a = { .span = span_make((uintptr_t)addr, bytes) };
	int err = api_check(vm, API_MAGIC_VM);
	size_t n = 0;

	_Static_assert(sizeof(a) <= MM_CALL_ARGUMENT_MAX, "fits a call");
	if (err)
		return err;
	if (!count || (!advised && max) || span_is_empty(a.span) || a.span.end > 1ull << 47)
		return -EINVAL;
	a.vm = vm->vm;
	do {
		err = mm_call(vm->usvm->mm, query, &a, sizeof(a));
		if (err)
			return err;
		for (size_t i = 0; i < a.count; i++, n++) {
			if (n < max)
				tell(vm, &a.pieces[i], &advised[n]);
			a.span.start = MIN(a.pieces[i].span.end, a.span.end);
		}
	} while (a.count == PIECES_A_CALL && !span_is_empty(a.span));
	*count = n;
	return 0;
}
