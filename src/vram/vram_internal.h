/* SPDX-License-Identifier: MIT */
/*
 * vram/vram_internal.h - the structures that bo.c and lru.c share.
 */
#ifndef VRAM_VRAM_INTERNAL_H
#define VRAM_VRAM_INTERNAL_H

#include "base/lock.h"
#include "base/pool.h"
#include "base/wait.h"
#include "vram/bo.h"
#include "vram/buddy.h"

enum vram_bo_state {
	VRAM_BO_RESIDENT, /* has its block; on the LRU unless pinned */
	VRAM_BO_LEAVING,  /* has its block; someone is inside evict() or release() */
	VRAM_BO_EVICTED,  /* the block is gone, references are left */
};

struct vram_bo {
	/* Set at birth, then constant: */
	struct vram *vram;
	const struct vram_bo_ops *ops;
	void *owner;
	struct span span;
	uint64_t asked_bytes; /* what the owner wanted; the block may be larger */

	uint32_t reference_count; /* atomic; 0: the last put is on its way */
	uint32_t state;           /* atomic enum vram_bo_state; written under vram.lock */
	/* Under vram.lock: */
	uint32_t pin_count;
	uint64_t pass_tried; /* the last pass that tried evict() */
	struct list lru_node;
	struct list object_node;
};

struct vram {
	uint64_t size_bytes; /* constant */
	struct lock lock;
	struct pool pool; /* has a lock of its own */
	struct wait left; /* woken when an object has left, or could not */
	struct vram_buddy *buddy GUARDED_BY(&lock);
	struct list lru GUARDED_BY(&lock);     /* least recently used first */
	struct list objects GUARDED_BY(&lock); /* all */
	uint32_t leaving_count GUARDED_BY(&lock);
	uint64_t pass GUARDED_BY(&lock); /* numbers the calls that evict */
	/* But size_bytes, used_bytes, rounding_bytes, free_bytes. */
	struct vram_stats stats GUARDED_BY(&lock);
	const struct vram_share_ops *share GUARDED_BY(&lock); /* NULL: all is this process's */
	void *share_user GUARDED_BY(&lock);
	/* All of them, for who takes no lock: the last are in [published_count % 2]. */
	struct vram_stats published[2]; /* atomic words */
	uint64_t published_count;       /* atomic; written under the lock */
};

/** vram_bo_leave_begin() - take @bo off the LRU, for evict() or release() */
void vram_bo_leave_begin(struct vram *vram, struct vram_bo *bo) MUST_HOLD(&vram->lock);

/** vram_bo_leave_end() - the op is done: @bo has the new @state; wake who waits */
void vram_bo_leave_end(struct vram *vram, struct vram_bo *bo, enum vram_bo_state state)
	MUST_HOLD(&vram->lock);

/** vram_bo_try_get() - a reference, unless the last one is already gone */
bool vram_bo_try_get(struct vram_bo *bo);

/** vram_bo_put_locked() - as vram_bo_put(); drops the lock for a while if it must */
void vram_bo_put_locked(struct vram *vram, struct vram_bo *bo) MUST_HOLD(&vram->lock);

/** vram_evict_begin() - number a call that evicts. Return: its pass. */
uint64_t vram_evict_begin(struct vram *vram) MUST_HOLD(&vram->lock);

/**
 * vram_evict_step() - one step towards room: evict() of one object, or a wait
 *
 * A pass tries each object once. The lock is dropped meanwhile; when it returns
 * no one else could use what was freed.
 * Return: 0 something has changed, look again; *@evicted: the caller's own evict()
 * did it. -ENOSPC: nothing is left to try or to wait for.
 */
MUST_CHECK int vram_evict_step(struct vram *vram, uint64_t pass, bool *evicted)
	MUST_HOLD(&vram->lock);

void vram_check_locked(struct vram *vram) MUST_HOLD(&vram->lock);

#endif
