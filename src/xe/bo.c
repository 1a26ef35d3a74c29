/* SPDX-License-Identifier: MIT */
/*
 * DOC: Buffer objects
 *
 * A client's object is a vm_bo with a number. It has a place from the start, unless the
 * client defers that. The offset that a client maps an object at is the number, shifted:
 * the descriptor tells the file, the offset the object and where in it.
 *
 * Upstream: xe_gem_create_ioctl(), xe_gem_mmap_offset_ioctl().
 */
#include "xe/xe_internal.h"

#include <errno.h>

#include "sys/sys.h"

#define REGION_SYSTEM (1u << 0)
#define REGION_VRAM (1u << 1)
#define OFFSET_SHIFT 40
/* No object has this number: the page that orders writes to the card. */
#define BARRIER_OFFSET (1ull << 62)

struct bo_args {
	struct xe_card *card;
	struct vm_bo *bo;
	uint64_t bytes;
	uint32_t placement;
	bool has_place;
	struct span part;
	uint64_t at;
	uint32_t prot;
	uint64_t addr;
};

static int create_bo(void *argument)
{
	struct bo_args *a = argument;
	int err;

	err = vm_bo_create(a->card->device, a->bytes, a->placement, VM_BO_PURGEABLE, &a->bo);
	if (err || !a->has_place)
		return err;
	err = vm_bo_validate(a->bo);
	if (err)
		vm_bo_put(a->bo);
	return err;
}

static int put_bo(void *argument)
{
	struct bo_args *a = argument;

	vm_bo_put(a->bo);
	return 0;
}

static int map_bo(void *argument)
{
	struct bo_args *a = argument;

	return vm_bo_map(a->bo, a->part, a->at, a->prot, &a->addr);
}

static void destroy(struct xe_object *object)
{
	struct xe_bo *bo = xe_bo_of(object);
	struct bo_args a = { .bo = bo->bo };

	mm_call(bo->card->mm, put_bo, &a, sizeof(a));
	xe_object_put(bo->vm);
	xe_free(bo->card, bo, sizeof(*bo));
}

static bool create_is_valid(const struct xe_gem_create *args)
{
	const uint32_t known = XE_GEM_DEFER_BACKING | XE_GEM_SCANOUT |
			       XE_GEM_NEEDS_VISIBLE_VRAM | XE_GEM_NO_COMPRESSION;
	bool in_vram = args->placement & REGION_VRAM;

	if (args->pad[0] || args->pad[1] || args->pad[2] || args->reserved[0] ||
	    args->reserved[1] || args->handle || args->flags & ~known)
		return false;
	if (!args->placement || args->placement & ~(REGION_SYSTEM | REGION_VRAM))
		return false;
	if (!args->bytes || !IS_ALIGNED(args->bytes, PAGE_BYTES))
		return false;
	if ((args->flags & XE_GEM_NEEDS_VISIBLE_VRAM) && !in_vram)
		return false;
	if (args->cpu_caching != XE_GEM_CACHING_WB && args->cpu_caching != XE_GEM_CACHING_WC)
		return false;
	return args->cpu_caching == XE_GEM_CACHING_WC ||
	       (!in_vram && !(args->flags & XE_GEM_SCANOUT));
}

static int make_bo(struct xe_file *file, const struct xe_gem_create *args, struct xe_bo **out)
{
	struct bo_args a = {
		.card = file->card,
		.bytes = args->bytes,
		.placement = (args->placement & REGION_SYSTEM ? VM_BO_SYSTEM : 0u) |
			     (args->placement & REGION_VRAM ? VM_BO_DEVICE : 0u),
		.has_place = !(args->flags & XE_GEM_DEFER_BACKING),
	};
	struct xe_bo *bo = xe_alloc(file->card, sizeof(*bo));
	int err;

	if (!bo)
		return -ENOMEM;
	/* More than there is of either. */
	if (args->bytes > MAX(xe_system_bytes(), file->card->vram_bytes)) {
		xe_free(file->card, bo, sizeof(*bo));
		return -ENOSPC;
	}
	err = mm_call(file->card->mm, create_bo, &a, sizeof(a));
	if (err) {
		xe_free(file->card, bo, sizeof(*bo));
		return err;
	}
	bo->object.references = 1;
	bo->object.destroy = destroy;
	bo->card = file->card;
	bo->bo = a.bo;
	bo->bytes = args->bytes;
	bo->cpu_caching = args->cpu_caching;
	*out = bo;
	return 0;
}

/* Extensions: the kind of protected session, of which there is none but "none". */
static int check_extensions(struct xe_file *file, uint64_t next)
{
	struct xe_extension_property p;
	int err;

	for (int i = 0; next; i++) {
		if (i == XE_EXTENSIONS_MAX)
			return -E2BIG;
		err = xe_copy_in(file->card, &p, next, sizeof(p));
		if (err)
			return err;
		if (p.base.pad || p.base.name || p.pad || p.property || p.reserved[0] ||
		    p.reserved[1])
			return -EINVAL;
		if (p.value)
			return p.value == 1 ? -ENODEV : -EINVAL;
		next = p.base.next;
	}
	return 0;
}

int xe_ioctl_gem_create(struct xe_file *file, void *argument)
{
	struct xe_gem_create *args = argument;
	struct xe_object *vm = NULL;
	struct xe_bo *bo;
	int err;

	if (!create_is_valid(args))
		return -EINVAL;
	err = check_extensions(file, args->extensions);
	if (err)
		return err;
	if (args->vm) {
		vm = xe_file_find(file, XE_KIND_VM, args->vm);
		if (!vm)
			return -ENOENT;
	}
	err = make_bo(file, args, &bo);
	if (err) {
		xe_object_put(vm);
		return err;
	}
	bo->vm = vm;
	err = xe_file_insert(file, XE_KIND_BO, &bo->object, &args->handle);
	if (err)
		xe_object_put(&bo->object);
	return err;
}

int xe_ioctl_gem_close(struct xe_file *file, void *argument)
{
	const struct drm_gem_close *args = argument;
	struct xe_object *object;

	if (args->pad)
		return -EINVAL;
	object = xe_file_remove(file, XE_KIND_BO, args->handle);
	if (!object)
		return -EINVAL;
	xe_object_put(object);
	return 0;
}

int xe_ioctl_gem_mmap_offset(struct xe_file *file, void *argument)
{
	struct xe_gem_mmap_offset *args = argument;
	struct xe_object *object;

	if (args->extensions || args->reserved[0] || args->reserved[1] ||
	    args->flags & ~XE_MMAP_OFFSET_PCI_BARRIER)
		return -EINVAL;
	if (args->flags & XE_MMAP_OFFSET_PCI_BARRIER) {
		if (args->handle)
			return -EINVAL;
		args->offset = BARRIER_OFFSET;
		return 0;
	}
	object = xe_file_find(file, XE_KIND_BO, args->handle);
	if (!object)
		return -ENOENT;
	args->offset = (uint64_t)args->handle << OFFSET_SHIFT;
	xe_object_put(object);
	return 0;
}

bool xe_is_barrier(uint64_t offset)
{
	return offset == BARRIER_OFFSET;
}

int xe_map(struct xe_file *file, uint64_t at, uint64_t bytes, bool writes, uint64_t offset,
	   uint64_t *addr)
{
	uint64_t start = offset & ((1ull << OFFSET_SHIFT) - 1);
	struct xe_object *object;
	struct bo_args a;
	int err = -EINVAL;

	object = xe_file_find(file, XE_KIND_BO, (uint32_t)(offset >> OFFSET_SHIFT));
	if (!object)
		return -EINVAL;
	bytes = ALIGN_UP(bytes, PAGE_BYTES);
	a = (struct bo_args){
		.bo = xe_bo_of(object)->bo,
		.part = { start, start + bytes },
		.at = at,
		.prot = SYS_PROT_READ | (writes ? SYS_PROT_WRITE : 0u),
	};
	if (bytes && start + bytes <= xe_bo_of(object)->bytes && start + bytes > start)
		err = mm_call(file->card->mm, map_bo, &a, sizeof(a));
	xe_object_put(object);
	if (!err)
		*addr = a.addr;
	return err;
}
