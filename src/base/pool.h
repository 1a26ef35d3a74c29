/* SPDX-License-Identifier: MIT */
/*
 * base/pool.h - objects of one size, in pages of the library's own.
 *
 * The library has no malloc: the program's heap may be on the device. A pool
 * takes pages from the host and hands out zeroed objects. Who may not allocate
 * (a holder of a monitor lock) reserves before and takes after:
 *
 *     err = pool_reserve(&pool, 2);      may call the host, no monitor lock held
 *     lock_acquire(&event_lock);
 *     node = pool_take(&pool);           cannot fail: it uses the reservation
 *     lock_release(&event_lock);
 *     pool_unreserve(&pool, 1);          what was reserved and not taken
 *
 * Invariant: free_count >= reserved_count.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/lock.h"

struct pool {
	struct lock lock; /* leaf, monitor */
	size_t object_bytes;
	size_t chunk_bytes;
	void *free GUARDED_BY(&lock);
	void *chunks GUARDED_BY(&lock);
	size_t free_count GUARDED_BY(&lock);
	size_t reserved_count GUARDED_BY(&lock);
	size_t live_count GUARDED_BY(&lock);
	size_t total_bytes GUARDED_BY(&lock); /* pages held, for statistics */
};

/** pool_init() - an empty pool; @name for reports, not copied; no pages are taken yet */
void pool_init(struct pool *pool, size_t object_bytes, const char *name);

/** pool_fini() - give all pages back; every object was put back (asserted) */
void pool_fini(struct pool *pool);

/** pool_alloc() - a zeroed object, or NULL. Context: may take pages (see pages_alloc). */
void *pool_alloc(struct pool *pool);

/** pool_reserve() - make @count later pool_take() certain. Return: 0 or -ENOMEM. */
MUST_CHECK int pool_reserve(struct pool *pool, size_t count);

/** pool_unreserve() - give back reservations that were not taken */
void pool_unreserve(struct pool *pool, size_t count);

/** pool_take() - a zeroed object out of a reservation; never NULL. Context: any. */
void *pool_take(struct pool *pool);

/** pool_put() - give @object back; NULL is accepted. Context: any. */
void pool_put(struct pool *pool, void *object);

#endif
