/* SPDX-License-Identifier: MIT */
/*
 * DOC: pool
 *
 *     chunk:  | header | object | object | ... | object | rest |
 *
 * A chunk is one piece of pages from the host. Its objects go onto one free
 * list, linked through their first word, and never leave the pool before
 * pool_fini(). Chunks grow from 64 KiB by doubling to 1 MiB, so that a small
 * pool stays small and a large one calls the host seldom.
 *
 *     free_count + live_count == sum over chunks of their objects
 *     reserved_count <= free_count
 *
 * The list is threaded through a new chunk before the lock is taken. That also
 * touches its pages (objects are smaller than a page, but for odd users), so
 * pool_take() on the monitor finds them present.
 *
 * Under AddressSanitizer a free object is poisoned but for its link, so the
 * library's own memory is watched as closely as a heap would be.
 */
#include "base/pool.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/poison.h"

#define CHUNK_BYTES_MIN KIB(64)
#define CHUNK_BYTES_MAX MIB(1)
#define OBJECT_ALIGN alignof(max_align_t)

/* No pool is ever this large; below it the sums of sizes cannot wrap. */
#define POOL_BYTES_LIMIT ((size_t)1 << 46)

struct pool_object {
	struct pool_object *next;
};

/* Then something of a free object is left to poison. */
_Static_assert(OBJECT_ALIGN > sizeof(struct pool_object), "link fills an object");

struct pool_chunk {
	alignas(max_align_t) struct pool_chunk *next;
	size_t bytes;
	/* Set by chunk_create() for chunk_add(): the objects, linked in order. */
	struct pool_object *first;
	struct pool_object *last;
	size_t object_count;
};

_Static_assert(sizeof(struct pool_chunk) % OBJECT_ALIGN == 0, "objects are aligned");

/* free_object_poison() - only the link of a free object may be touched */
static void free_object_poison(const struct pool *pool, struct pool_object *object)
{
	POISON(object + 1, pool->object_bytes - sizeof(*object));
}

NO_LOCK_ANALYSIS void pool_init(struct pool *pool, size_t object_bytes, const char *name)
{
	ASSERT(object_bytes > 0);
	ASSERT(object_bytes < POOL_BYTES_LIMIT);

	memset(pool, 0, sizeof(*pool));
	lock_init(&pool->lock, LOCK_LEAF_MONITOR, name);
	object_bytes = MAX(object_bytes, sizeof(struct pool_object));
	pool->object_bytes = ALIGN_UP(object_bytes, OBJECT_ALIGN);
	pool->chunk_bytes = CHUNK_BYTES_MIN;
}

NO_LOCK_ANALYSIS void pool_fini(struct pool *pool)
{
	struct pool_chunk *chunk;
	struct pool_chunk *next;

	/* No lock: who ends a pool is its last user. */
	ASSERT(pool->live_count == 0);
	ASSERT(pool->reserved_count == 0);

	for (chunk = pool->chunks; chunk; chunk = next) {
		next = chunk->next;
		ASSERT(pool->total_bytes >= chunk->bytes);
		pool->total_bytes -= chunk->bytes;
		UNPOISON(chunk, chunk->bytes);
		base_host->pages_free(chunk, chunk->bytes);
	}
	ASSERT(pool->total_bytes == 0);
	pool->chunks = NULL;
	pool->free = NULL;
	pool->free_count = 0;
}

/* chunk_create() - a chunk that holds at least @count objects, on no list yet */
static struct pool_chunk *chunk_create(const struct pool *pool, size_t chunk_bytes,
				       size_t count)
{
	size_t object_bytes = pool->object_bytes;
	struct pool_object **link;
	struct pool_chunk *chunk;
	char *object;

	if (count > POOL_BYTES_LIMIT / object_bytes)
		return NULL;
	chunk_bytes = MAX(chunk_bytes, sizeof(*chunk) + count * object_bytes);
	chunk_bytes = ALIGN_UP(chunk_bytes, PAGE_BYTES);

	chunk = base_host->pages_alloc(chunk_bytes);
	if (!chunk)
		return NULL;

	chunk->bytes = chunk_bytes;
	chunk->object_count = (chunk_bytes - sizeof(*chunk)) / object_bytes;
	ASSERT(chunk->object_count >= count);

	link = &chunk->first;
	object = (char *)(chunk + 1);
	for (size_t i = 0; i < chunk->object_count; i++) {
		*link = (struct pool_object *)object;
		chunk->last = *link;
		free_object_poison(pool, chunk->last);
		link = &chunk->last->next;
		object += object_bytes;
	}
	*link = NULL;
	return chunk;
}

static void chunk_add(struct pool *pool, struct pool_chunk *chunk)
	MUST_HOLD(&pool->lock);
static void chunk_add(struct pool *pool, struct pool_chunk *chunk)
{
	lock_assert_held(&pool->lock);
	chunk->next = pool->chunks;
	pool->chunks = chunk;
	chunk->last->next = pool->free;
	pool->free = chunk->first;
	pool->free_count += chunk->object_count;
	pool->total_bytes += chunk->bytes;
	pool->chunk_bytes = MIN(pool->chunk_bytes * 2, CHUNK_BYTES_MAX);
}

/* object_pop() - take the first free object; the caller looks after the counts */
static struct pool_object *object_pop(struct pool *pool) MUST_HOLD(&pool->lock);
static struct pool_object *object_pop(struct pool *pool)
{
	struct pool_object *object = pool->free;

	lock_assert_held(&pool->lock);
	ASSERT(object);
	pool->free = object->next;
	return object;
}

/* is_ours() - does @object start where an object of one of the chunks does? */
UNUSED static bool is_ours(const struct pool *pool, const void *object)
	MUST_HOLD(&pool->lock);
UNUSED static bool is_ours(const struct pool *pool, const void *object)
{
	uintptr_t address = (uintptr_t)object;

	for (struct pool_chunk *chunk = pool->chunks; chunk; chunk = chunk->next) {
		uintptr_t first = (uintptr_t)(chunk + 1);
		size_t bytes = chunk->object_count * pool->object_bytes;

		if (address >= first && address - first < bytes)
			return (address - first) % pool->object_bytes == 0;
	}
	return false;
}

void *pool_alloc(struct pool *pool)
{
	if (pool_reserve(pool, 1))
		return NULL;
	return pool_take(pool);
}

int pool_reserve(struct pool *pool, size_t count)
{
	struct pool_chunk *chunk = NULL;
	size_t chunk_bytes;
	size_t missing;

	/* Said on each call, not only on the few that find the pool empty. */
	lock_assert_may_sleep("pool_reserve");

	for (;;) {
		lock_acquire(&pool->lock);
		if (chunk)
			chunk_add(pool, chunk);
		ASSERT(pool->free_count >= pool->reserved_count);
		missing = pool->free_count - pool->reserved_count;
		missing = count > missing ? count - missing : 0;
		if (!missing)
			pool->reserved_count += count;
		chunk_bytes = pool->chunk_bytes;
		lock_release(&pool->lock);
		if (!missing)
			return 0;

		/* Another thread may take what this brings, hence the loop. */
		chunk = chunk_create(pool, chunk_bytes, missing);
		if (!chunk)
			return -ENOMEM;
	}
}

void pool_unreserve(struct pool *pool, size_t count)
{
	lock_acquire(&pool->lock);
	ASSERT(pool->reserved_count >= count);
	pool->reserved_count -= count;
	lock_release(&pool->lock);
}

void *pool_take(struct pool *pool)
{
	struct pool_object *object;

	lock_acquire(&pool->lock);
	ASSERT(pool->reserved_count > 0);
	object = object_pop(pool);
	pool->reserved_count--;
	pool->free_count--;
	pool->live_count++;
	lock_release(&pool->lock);

	UNPOISON(object, pool->object_bytes);
	return memset(object, 0, pool->object_bytes);
}

void pool_put(struct pool *pool, void *object)
{
	struct pool_object *link = object;

	if (!object)
		return;

	lock_acquire(&pool->lock);
	ASSERT(pool->live_count > 0);
	INVARIANT(ASSERT(is_ours(pool, object)));
	/* A second put of one object; seen under AddressSanitizer only. */
	ASSERT(!IS_POISONED(link + 1));
	link->next = pool->free;
	pool->free = link;
	pool->free_count++;
	pool->live_count--;
	free_object_poison(pool, link);
	lock_release(&pool->lock);
}
