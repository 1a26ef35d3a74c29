/* SPDX-License-Identifier: MIT */
/*
 * vram/buddy.h - device memory handed out in power-of-two blocks.
 *
 * Numbers only: no byte of device memory is touched. Offsets and sizes are in
 * bytes, multiples of 4 KiB. A block of 2^n bytes is 2^n-aligned. Free blocks
 * are kept by address within an order, so that memory fills from the bottom
 * and large blocks survive.
 *
 * Invariant: free_bytes + (sum of allocated blocks) == size_bytes.
 *
 * Locking: the caller's; vram.lock in practice.
 * Upstream: drivers/gpu/drm/drm_buddy.c.
 */
#ifndef VRAM_BUDDY_H
#define VRAM_BUDDY_H

#include <stdint.h>

#include "base/compiler.h"

struct vram_buddy;

/** vram_buddy_create() - @size_bytes: a multiple of 4 KiB, not 0; need not be a power of
 * two. Return: 0, -EINVAL, -ENOMEM. */
MUST_CHECK int vram_buddy_create(uint64_t size_bytes, struct vram_buddy **buddy);

/** vram_buddy_destroy() - all blocks were freed (asserted); NULL is accepted */
void vram_buddy_destroy(struct vram_buddy *buddy);

/**
 * vram_buddy_alloc() - one contiguous block
 * @bytes: a power of two, 4 KiB at least
 * @offset: out
 * Context: never sleeps, never allocates (all metadata exists since create).
 * Return: 0, -ENOSPC no such block is free, -EINVAL.
 */
MUST_CHECK int vram_buddy_alloc(struct vram_buddy *buddy, uint64_t bytes,
				uint64_t *offset);

/** vram_buddy_free() - give a block back; @offset and @bytes as they were allocated
 * (asserted); merges with its buddy while that is free */
void vram_buddy_free(struct vram_buddy *buddy, uint64_t offset, uint64_t bytes);

uint64_t vram_buddy_free_bytes(const struct vram_buddy *buddy);

/** vram_buddy_largest_free() - the largest block that alloc could give now, 0 if none */
uint64_t vram_buddy_largest_free(const struct vram_buddy *buddy);

/** vram_buddy_check() - walk everything and assert the invariants */
void vram_buddy_check(const struct vram_buddy *buddy);

#endif
