/* SPDX-License-Identifier: MIT */
/*
 * vram/bo.h - buffer objects: a span of device memory with an owner, on an LRU.
 *
 * A buffer object holds one contiguous block of device memory. The least
 * recently used one gives way when memory is full: its owner's evict op brings
 * the contents away and then the block is freed.
 *
 *     create (pinned) -> unpin -> [on the LRU] -> evict -> freed
 *                          ^          |
 *                          +-- pin ---+         put of the last reference: release op,
 *                                               block freed
 *
 * A pinned object is not evicted: whoever fills it or reads it holds a pin. An
 * object that is being evicted cannot be pinned (-EBUSY).
 *
 * Locking: vram.lock inside, never held across an op. Nothing here is called by
 * the monitor (law 2): it drops references through a collector.
 * Upstream: ttm_bo, ttm_resource_manager's LRU, xe_bo.
 */
#ifndef VRAM_BO_H
#define VRAM_BO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/list.h"
#include "base/span.h"

struct vram;
struct vram_bo;

struct vram_bo_ops {
	/** created() - (optional) the block is handed out, and pinned. vram.lock is held: who
	 * is refused room for it finds what this has set. It takes no lock. */
	void (*created)(void *owner);

	/** evict() - [worker] (required for objects that are ever unpinned) move the
	 * contents away; on success nothing uses the block any more and it is dropped.
	 * No vram lock is held; the object is referenced meanwhile.
	 * Return: 0; -EBUSY try another; else -errno. */
	int (*evict)(struct vram_bo *bo, void *owner);

	/** release() - [worker] (optional) the last reference was put, or the object was
	 * evicted: @bo's block is about to be freed; make its bytes empty. Called once. */
	void (*release)(struct vram_bo *bo, void *owner);

	/** destroyed() - (optional) nothing will call an op of this object again: @owner may
	 * be freed. vram.lock is held: it does no more than that. */
	void (*destroyed)(void *owner);
};

struct vram_stats {
	uint64_t size_bytes;
	uint64_t used_bytes;      /* of blocks: size - free of the buddy */
	uint64_t used_bytes_max;
	uint64_t allocated_bytes; /* of those, what was asked for */
	uint64_t rounding_bytes;  /* the rest: allocated + rounding + free == size, always */
	uint64_t free_bytes;
	uint64_t bo_count;
	uint64_t evictions;       /* objects whose evict() succeeded */
	uint64_t evictions_failed;
};

MUST_CHECK int vram_create(uint64_t size_bytes, struct vram **vram);

/* Device memory that other processes use too: its bytes are had from a common pool. */
struct vram_share_ops {
	/** take() - this process wants @bytes more. vram.lock is held. Return: false: no. */
	bool (*take)(void *user, uint64_t bytes);
	/** give() - it has @bytes less. vram.lock is held. */
	void (*give)(void *user, uint64_t bytes);
	/** ask() - [worker] have others make room for @bytes. No vram lock is held; it may
	 * sleep for long. @is_last: nothing here can be evicted; else something may yet.
	 * Return: true: try again. */
	bool (*ask)(void *user, uint64_t bytes, bool is_last);
	/** unpinned() - something can be evicted that could not. vram.lock is held. */
	void (*unpinned)(void *user);
};

/** vram_share() - from now on it is shared; @ops NULL: no more. Nothing is allocated, but
 * for what the caller knows to be lost (no give() comes for that). */
void vram_share(struct vram *vram, const struct vram_share_ops *ops, void *user);

/** vram_destroy() - every object is gone (asserted); NULL is accepted */
void vram_destroy(struct vram *vram);

/**
 * vram_bo_create() - a new object, pinned once, referenced once
 * @bytes: rounded up to a power of two of at least 4 KiB
 * @evict: evict others when there is no room
 * @bo: out
 * Context: [worker] may sleep in others' evict().
 * Return: 0, -ENOSPC full (after eviction, if allowed), -EINVAL, -ENOMEM.
 */
MUST_CHECK int vram_bo_create(struct vram *vram, uint64_t bytes,
			      const struct vram_bo_ops *ops, void *owner, bool evict,
			      struct vram_bo **bo);

struct vram_bo *vram_bo_get(struct vram_bo *bo);

/** vram_bo_put() - drop a reference; the last one releases. NULL is accepted.
 * Context: [worker]. */
void vram_bo_put(struct vram_bo *bo);

/** vram_bo_pin() - keep it from eviction. Return: 0; -EBUSY it is being evicted or gone. */
MUST_CHECK int vram_bo_pin(struct vram_bo *bo);

/** vram_bo_unpin() - undo one pin; the last puts it on the LRU as the most recent */
void vram_bo_unpin(struct vram_bo *bo);

/** vram_bo_touch() - make it the most recently used */
void vram_bo_touch(struct vram_bo *bo);

/** vram_bo_span() - its block: offsets into device memory, bytes; constant until evicted */
struct span vram_bo_span(const struct vram_bo *bo);

/** vram_bo_is_evicted() - the block is gone */
bool vram_bo_is_evicted(const struct vram_bo *bo);

/**
 * vram_evict_one() - evict the least recently used object that can be
 * Context: [worker]. Return: 0; -ENOSPC nothing to evict (all pinned, or each tried said
 * no; each is tried once).
 */
MUST_CHECK int vram_evict_one(struct vram *vram);

/** vram_evict_all() - until nothing is on the LRU: device removal. Return: 0, or -EBUSY
 * with objects left after each was tried thrice. */
MUST_CHECK int vram_evict_all(struct vram *vram);

/** vram_stats_read() - all at one time. Context: any, also a signal handler: takes no lock. */
void vram_stats_read(struct vram *vram, struct vram_stats *stats);

/** vram_check() - assert the invariants of buddy, LRU and objects */
void vram_check(struct vram *vram);

#endif
