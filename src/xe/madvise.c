/* SPDX-License-Identifier: MIT */
/*
 * DOC: Advice
 *
 * What a client says about spans of an address space, and the question what holds where.
 * The pages of a place are told as the driver does, by a descriptor: 0 is the card's own
 * memory, -1 the system's, another that of the card that it is a file of: pages go there, and
 * are used in place, if this card reaches that one's memory; else who asks is told ENOLINK.
 *
 * Upstream: xe_vm_madvise_ioctl(), xe_vm_query_vmas_attrs_ioctl().
 */
#include "xe/xe_internal.h"

#include <errno.h>

#include "vm/attr.h"

#define PIECES_MAX 4

struct advise_args {
	struct vm *vm;
	struct span span;
	uint32_t fields; /* 0: are objects needed? */
	struct vm_attr attr;
	bool needed;
	bool has_purged; /* out */
};

struct pieces_args {
	struct vm *vm;
	struct span span;
	size_t count;
	struct vm_attr_piece pieces[PIECES_MAX];
};

static int advise(void *argument)
{
	struct advise_args *a = argument;

	if (!a->fields)
		return vm_advise_need(a->vm, a->span, a->needed, &a->has_purged);
	a->span = span_intersect(a->span, (struct span){ 0, XE_MIRROR_END });
	return span_is_empty(a->span) ? 0 : vm_advise(a->vm, a->span, a->fields, &a->attr);
}

static int find_pieces(void *argument)
{
	struct pieces_args *a = argument;

	a->count = vm_advise_query(a->vm, a->span, a->pieces, PIECES_MAX);
	return 0;
}

static int check_preferred(struct xe_card *card, const struct xe_madvise *args,
			   struct advise_args *a)
{
	int32_t fd = (int32_t)args->preferred.device_fd;
	struct xe_card *other = card;

	if (fd < -1 || args->preferred.policy > 1 || args->preferred.reserved ||
	    (fd <= 0 && args->preferred.region))
		return -EINVAL;
	a->fields = VM_ATTR_LOCATION;
	a->attr.policy = args->preferred.policy;
	if (fd > 0) {
		other = card->card_of ? card->card_of(fd) : NULL;
		if (!other)
			return -ENOENT;
		if (args->preferred.region > 1)
			return -EINVAL;
		if (vm_device_is_unplugged(other->device))
			return -ENODEV;
		if (other != card && !vm_device_reaches(card->device, other->device))
			return -ENOLINK;
	}
	a->attr.location = fd < 0 ? VM_LOCATION_SYSTEM : VM_LOCATION_DEVICE;
	a->attr.device = fd < 0 ? NULL : other->device;
	return 0;
}

/* Where the answer goes there has to be a 0. */
static int check_retained(struct xe_card *card, uint64_t retained)
{
	uint32_t word = 0;
	int err = retained ? xe_copy_in(card, &word, retained, sizeof(word)) : 0;

	if (err)
		return err;
	return word ? -EINVAL : 0;
}

static int check_args(struct xe_card *card, const struct xe_madvise *args,
		      struct advise_args *a)
{
	static const enum vm_atomic atomics[] = {
		[XE_ATOMIC_UNDEFINED] = VM_ATOMIC_UNDEFINED,
		[XE_ATOMIC_DEVICE] = VM_ATOMIC_DEVICE,
		[XE_ATOMIC_GLOBAL] = VM_ATOMIC_GLOBAL,
		[XE_ATOMIC_CPU] = VM_ATOMIC_CPU,
	};
	uint64_t start = args->start & (XE_VA_END - 1);

	if (args->extensions || args->reserved[0] || args->reserved[1] ||
	    !IS_ALIGNED(args->start | args->bytes, PAGE_BYTES) || !args->bytes ||
	    args->bytes > XE_VA_END - start)
		return -EINVAL;
	a->span = span_make(start, args->bytes);
	switch (args->type) {
	case XE_ATTR_PREFERRED:
		return check_preferred(card, args, a);
	case XE_ATTR_ATOMIC:
		if (args->number.value >= ARRAY_SIZE(atomics) || args->number.pad ||
		    args->number.retained)
			return -EINVAL;
		a->fields = VM_ATTR_ATOMIC;
		a->attr.atomic = atomics[args->number.value];
		return 0;
	case XE_ATTR_PAT:
		if (!xe_pat_is_valid(card->profile, args->number.value) || args->number.pad ||
		    args->number.retained)
			return -EINVAL;
		a->fields = VM_ATTR_PAT;
		a->attr.pat_index = args->number.value;
		return 0;
	case XE_ATTR_PURGEABLE:
		if (args->number.value > XE_PURGEABLE_DONTNEED || args->number.pad)
			return -EINVAL;
		a->needed = args->number.value == XE_PURGEABLE_WILLNEED;
		return check_retained(card, args->number.retained);
	default:
		return -EINVAL;
	}
}

int xe_ioctl_madvise(struct xe_file *file, void *argument)
{
	const struct xe_madvise *args = argument;
	struct advise_args a = { 0 };
	struct xe_object *object;
	int err;

	err = check_args(file->card, args, &a);
	if (err)
		return err;
	object = xe_file_find(file, XE_KIND_VM, args->vm);
	if (!object)
		return -EINVAL;
	a.vm = xe_vm_of(object)->vm;
	err = mm_call(file->card->mm, advise, &a, sizeof(a));
	xe_object_put(object);
	if (!err && args->type == XE_ATTR_PURGEABLE && args->number.retained) {
		uint32_t retained = !a.has_purged;

		err = xe_copy_out(file->card, args->number.retained, &retained,
				  sizeof(retained));
	}
	return err;
}

/* --- the question ------------------------------------------------------------------ */

static struct xe_mem_range_attr describe(const struct vm_attr_piece *piece)
{
	static const uint32_t atomics[] = {
		[VM_ATOMIC_UNDEFINED] = XE_ATOMIC_UNDEFINED,
		[VM_ATOMIC_DEVICE] = XE_ATOMIC_DEVICE,
		[VM_ATOMIC_GLOBAL] = XE_ATOMIC_GLOBAL,
		[VM_ATOMIC_CPU] = XE_ATOMIC_CPU,
	};

	return (struct xe_mem_range_attr){
		.start = piece->span.start,
		.end = piece->span.end,
		.device_fd = piece->attr.location == VM_LOCATION_SYSTEM ? XE_PREFERRED_SYSTEM :
									   XE_PREFERRED_DEVICE,
		.policy = piece->attr.policy,
		.atomic = atomics[piece->attr.atomic],
		.pat_index = piece->attr.pat_index,
	};
}

/* Write at most @max pieces to the client, count all. */
static int list_pieces(struct xe_file *file, struct vm *vm, struct span span, uint64_t to,
		       uint32_t max, uint32_t *count)
{
	struct pieces_args a = { .vm = vm, .span = span };
	int err = 0;

	*count = 0;
	do {
		mm_call(file->card->mm, find_pieces, &a, sizeof(a));
		for (size_t i = 0; i < a.count && !err; i++, (*count)++) {
			struct xe_mem_range_attr attr = describe(&a.pieces[i]);

			if (to && *count < max)
				err = xe_copy_out(file->card, to + *count * sizeof(attr), &attr,
						  sizeof(attr));
			a.span.start = MAX(a.span.start, a.pieces[i].span.end);
		}
	} while (!err && a.count == PIECES_MAX && a.span.start < a.span.end);
	return err;
}

static int query(struct xe_file *file, struct vm *vm, struct xe_query_mem_range_attrs *args)
{
	struct span span = span_intersect(span_make(args->start & (XE_VA_END - 1), args->bytes),
					  (struct span){ 0, XE_MIRROR_END });
	uint32_t max = args->count;
	int err;

	err = list_pieces(file, vm, span, args->entries, max, &args->count);
	if (err)
		return err;
	args->entry_bytes = sizeof(struct xe_mem_range_attr);
	return args->entries && args->count > max ? -ENOSPC : 0;
}

int xe_ioctl_query_attrs(struct xe_file *file, void *argument)
{
	struct xe_query_mem_range_attrs *args = argument;
	bool asks_count = !args->count && !args->entries && !args->entry_bytes;
	struct xe_object *object;
	int err;

	if (args->extensions || args->reserved[0] || args->reserved[1] || !args->bytes ||
	    !IS_ALIGNED(args->start | args->bytes, PAGE_BYTES))
		return -EINVAL;
	if (!asks_count && (!args->count || !args->entries ||
			    args->entry_bytes != sizeof(struct xe_mem_range_attr)))
		return -EINVAL;
	object = xe_file_find(file, XE_KIND_VM, args->vm);
	if (!object)
		return -EINVAL;
	err = query(file, xe_vm_of(object)->vm, args);
	xe_object_put(object);
	return err;
}
