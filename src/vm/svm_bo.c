/* SPDX-License-Identifier: MIT */
/*
 * DOC: Buffer objects under SVM
 *
 * Device memory for pages of the process is a buffer object like any other, on
 * the same LRU: one for each migrated range. Its devmem lives while pages are in
 * it; the buffer object lives while the devmem does, or until it is evicted.
 *
 *     page leaves ... last page: devmem released -> vram_bo_put() -> block freed
 *     evicted:        pages home -> block freed;  devmem released -> vram_bo_put()
 *
 * Upstream: xe_svm.c, xe_drm_pagemap_populate_mm(), xe_bo's SVM placement.
 */
#include "vm/vm_internal.h"

#include <errno.h>

#include "base/assert.h"

struct vm_svm_bo *vm_svm_bo_of(struct pagemap_devmem *devmem)
{
	return CONTAINER_OF(devmem, struct vm_svm_bo, devmem);
}

static int svm_bo_evict(struct vram_bo *bo UNUSED, void *owner)
{
	struct vm_svm_bo *svm_bo = owner;
	int err;

	/* Dead: no page is in it, and the collector has not come to it yet. The block can go
	 * now; what the collector drops is a reference. */
	if (!pagemap_devmem_get(&svm_bo->devmem))
		return 0;
	err = pagemap_evict_to_ram(&svm_bo->devmem);
	pagemap_devmem_put(&svm_bo->devmem);
	return err;
}

static void svm_bo_release(struct vram_bo *bo, void *owner)
{
	struct vm_svm_bo *svm_bo = owner;
	struct span span = vram_bo_span(bo);

	pagemap_clean(svm_bo->device->pagemap, span.start, span_bytes(span));
}

static void svm_bo_destroyed(void *owner)
{
	struct vm_svm_bo *svm_bo = owner;

	pool_put(&svm_bo->device->bo_pool, svm_bo);
}

/* vm_svm_bo_filled() follows. */
static void svm_bo_created(void *owner)
{
	struct vm_svm_bo *svm_bo = owner;

	vm_pin_passing(svm_bo->device);
}

static const struct vram_bo_ops svm_bo_ops = {
	.created = svm_bo_created,
	.evict = svm_bo_evict,
	.release = svm_bo_release,
	.destroyed = svm_bo_destroyed,
};

static void devmem_release(struct pagemap_devmem *devmem)
{
	vram_bo_put(vm_svm_bo_of(devmem)->bo);
}

static int devmem_copy(void *owner, uint64_t vram_offset, void *memory, uint64_t bytes,
		       bool to_device)
{
	struct vm_device *device = owner;
	uint64_t start = vm_now_ns(device);
	uint64_t us;
	int err;

	err = device->config.ops->copy(device->config.device, vram_offset, memory, bytes,
				       to_device);
	us = (vm_now_ns(device) - start) / 1000;
	vm_stat_add(&device->stats,
		    to_device ? VM_STAT_DEVICE_COPY_US : VM_STAT_CPU_COPY_US, us);
	vm_stat_add(&device->stats,
		    to_device ? VM_STAT_DEVICE_COPY_KB : VM_STAT_CPU_COPY_KB, bytes >> 10);
	if (bytes == PAGE_BYTES || bytes == KIB(64) || bytes == HUGE_BYTES) {
		vm_stat_add(&device->stats,
			    vm_stat_sized(to_device ? VM_STAT_SIZED_DEVICE_COPY_KB :
						      VM_STAT_SIZED_CPU_COPY_KB,
					  bytes),
			    bytes >> 10);
	}
	vm_stat_add(&device->stats,
		    vm_stat_sized(to_device ? VM_STAT_SIZED_DEVICE_COPY_US :
					      VM_STAT_SIZED_CPU_COPY_US,
				  bytes),
		    us);
	return err;
}

static int devmem_write(void *owner, uint64_t vram_offset, void *memory, uint64_t bytes)
{
	const struct vm_device_config *config = &((struct vm_device *)owner)->config;

	return config->ops->copy(config->device, vram_offset, memory, bytes, true);
}

static bool devmem_copies_to(void *owner, void *peer)
{
	const struct vm_device_config *a = &((struct vm_device *)owner)->config;
	const struct vm_device_config *b = &((struct vm_device *)peer)->config;

	return a->flags & b->flags & USVM_DEVICE_PEER_COPY &&
	       a->ops->copy_peer == b->ops->copy_peer;
}

static int devmem_copy_peer(void *owner, uint64_t vram_offset, void *peer, uint64_t peer_offset,
			    uint64_t bytes)
{
	struct vm_device *device = owner, *other = peer;
	uint64_t start = vm_now_ns(device);
	int err;

	err = device->config.ops->copy_peer(device->config.device, vram_offset,
					    other->config.device, peer_offset, bytes);
	vm_stat_add(&other->stats, VM_STAT_PEER_COPY_US, (vm_now_ns(device) - start) / 1000);
	vm_stat_add(&other->stats, VM_STAT_PEER_COPY_KB, bytes >> 10);
	return err;
}

const struct pagemap_devmem_ops vm_devmem_ops = {
	.copy = devmem_copy,
	.write = devmem_write,
	.copies_to = devmem_copies_to,
	.copy_peer = devmem_copy_peer,
	.release = devmem_release,
};

/* Device memory for the pages of @span; pinned, with one reference to its devmem. */
int vm_svm_bo_create(struct vm_device *device, struct span span, struct vm_svm_bo **out)
{
	struct vm_svm_bo *svm_bo;
	int err;

	/* What nothing is in any more goes first, before the collector comes to it. */
	pagemap_reuse(device->pagemap);
	svm_bo = pool_alloc(&device->bo_pool);
	if (!svm_bo)
		return -ENOMEM;
	svm_bo->device = device;
	err = vram_bo_create(device->vram, span_bytes(span), &svm_bo_ops, svm_bo, true,
			     &svm_bo->bo);
	if (err) {
		pool_put(&device->bo_pool, svm_bo);
		return err;
	}
	pagemap_devmem_init(&svm_bo->devmem, device->pagemap, vram_bo_span(svm_bo->bo).start,
			    span_bytes(span), span.start);
	*out = svm_bo;
	return 0;
}

/* The migration is over: it may be evicted from now on. */
void vm_svm_bo_filled(struct vm_svm_bo *svm_bo)
{
	struct vm_device *device = svm_bo->device;

	vram_bo_unpin(svm_bo->bo);
	pagemap_devmem_put(&svm_bo->devmem);
	vm_pin_passed(device);
}
