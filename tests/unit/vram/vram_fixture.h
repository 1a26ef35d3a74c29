/* SPDX-License-Identifier: MIT */
/*
 * vram_fixture.h - an owner of buffer objects that notes what is asked of it.
 */
#ifndef TESTS_UNIT_VRAM_VRAM_FIXTURE_H
#define TESTS_UNIT_VRAM_VRAM_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/prng.h"
#include "fake_sys.h"
#include "vram/vram_internal.h"

struct owner {
	struct vram *vram;
	struct vram_bo *bo;
	int evict_error;   /* what evict() returns, e.g. -EBUSY */
	uint32_t evicts;   /* atomic: calls */
	uint32_t releases; /* atomic */
	uint32_t order;    /* of the last evict() in all calls of all owners, from 1 */
};

static uint32_t evict_calls; /* atomic */

/* This dies if the caller holds vram.lock. */
static void expect_unlocked(struct owner *owner)
{
	lock_acquire(&owner->vram->lock);
	lock_release(&owner->vram->lock);
}

static int owner_evict(struct vram_bo *bo, void *data)
{
	struct owner *owner = data;

	expect_unlocked(owner);
	ASSERT(!vram_bo_is_evicted(bo));
	ASSERT(vram_bo_pin(bo) == -EBUSY);
	owner->order = ATOMIC_ADD(&evict_calls, 1u) + 1;
	ATOMIC_ADD(&owner->evicts, 1u);
	return owner->evict_error;
}

static void owner_release(struct vram_bo *bo, void *data)
{
	struct owner *owner = data;
	struct vram_stats stats;

	/* The block is still this object's. */
	vram_stats_read(owner->vram, &stats);
	ASSERT(stats.used_bytes >= span_bytes(vram_bo_span(bo)));
	ASSERT(!vram_bo_is_evicted(bo));
	ATOMIC_ADD(&owner->releases, 1u);
}

static const struct vram_bo_ops owner_ops = {
	.evict = owner_evict,
	.release = owner_release,
};

static inline int owner_create(struct vram *vram, struct owner *owner, uint64_t bytes,
			       bool evict)
{
	memset(owner, 0, sizeof(*owner));
	owner->vram = vram;
	return vram_bo_create(vram, bytes, &owner_ops, owner, evict, &owner->bo);
}

/* An object that may be evicted. */
static inline void owner_create_idle(struct vram *vram, struct owner *owner,
				     uint64_t bytes)
{
	assert_int_equal(owner_create(vram, owner, bytes, false), 0);
	vram_bo_unpin(owner->bo);
}

static inline uint64_t used_bytes(struct vram *vram)
{
	struct vram_stats stats;

	vram_stats_read(vram, &stats);
	return stats.used_bytes;
}

#endif
