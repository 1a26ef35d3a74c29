/* SPDX-License-Identifier: MIT */
/*
 * vram/bo.c - buffer objects: birth, references, pins, death.
 *
 * DOC: Life cycle
 *
 * The count of references is atomic, everything else changes under vram.lock.
 * The LRU and the list of objects hold no reference: an object whose count has
 * fallen to zero stays on them until its last put has got the lock, and
 * vram_bo_try_get() keeps evictors from it.
 *
 *     RESIDENT ---- last put ----> LEAVING -- release() --> (block freed) gone
 *        |  ^
 *        |  +------ evict() failed ----+
 *        +--------- evictor ------> LEAVING -- evict(), release() --> EVICTED
 *                                                           last put -> gone
 *
 * So release() is called once, by whoever made the object LEAVING for good, and
 * nobody can be inside an op of an object that someone else frees: an evictor
 * holds a reference.
 *
 * The last put accepts a pinned object. Its creator, failing to fill it, has to
 * get rid of it, and an unpin would offer an unfilled object to evictors first.
 *
 * Invariants, of the objects that are not EVICTED: the sum of their spans == used bytes,
 * of what was asked for == allocated bytes. What lies between is lost to rounding.
 */
#include "vram/vram_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"

/* --- the accounts ---------------- */

static uint64_t used_bytes(const struct vram *vram) MUST_HOLD(&vram->lock);
static uint64_t used_bytes(const struct vram *vram)
{
	return vram->size_bytes - vram_buddy_free_bytes(vram->buddy);
}

/*
 * Who reads them may be a signal handler that ends its process, in the middle of anything: so
 * there is no lock. A writer fills the copy that nobody is sent to, then sends them there. The
 * other is not touched before the next change, so that who reads waits for no writer that
 * stands still, and reads again only behind two changes.
 */
static void copy_stats(struct vram_stats *to, const struct vram_stats *from)
{
	const uint64_t *in = (const uint64_t *)from;
	uint64_t *out = (uint64_t *)to;

	_Static_assert(sizeof(*to) % sizeof(*out) == 0, "words");
	for (size_t i = 0; i < sizeof(*to) / sizeof(*out); i++)
		ATOMIC_STORE_RELEASE(&out[i], ATOMIC_LOAD_ACQUIRE(&in[i]));
}

static void stats_publish(struct vram *vram) MUST_HOLD(&vram->lock);
static void stats_publish(struct vram *vram)
{
	uint64_t next = vram->published_count + 1;
	struct vram_stats stats;

	lock_assert_held(&vram->lock);
	stats = vram->stats;
	stats.size_bytes = vram->size_bytes;
	stats.used_bytes = used_bytes(vram);
	stats.free_bytes = vram->size_bytes - stats.used_bytes;
	stats.rounding_bytes = stats.used_bytes - stats.allocated_bytes;
	copy_stats(&vram->published[next % 2], &stats);
	ATOMIC_STORE(&vram->published_count, next);
}

/* --- life ---------------- */

NO_LOCK_ANALYSIS int vram_create(uint64_t size_bytes, struct vram **out)
{
	struct vram *vram;
	int err;

	_Static_assert(sizeof(*vram) <= PAGE_BYTES, "one page");
	vram = base_host->pages_alloc(PAGE_BYTES);
	if (!vram)
		return -ENOMEM;

	err = vram_buddy_create(size_bytes, &vram->buddy);
	if (err)
		goto free_vram;

	lock_init(&vram->lock, LOCK_VRAM, "vram.lock");
	pool_init(&vram->pool, sizeof(struct vram_bo), "vram.pool");
	wait_init(&vram->left);
	list_init(&vram->lru);
	list_init(&vram->objects);
	vram->size_bytes = size_bytes;
	lock_acquire(&vram->lock);
	stats_publish(vram);
	lock_release(&vram->lock);

	*out = vram;
	return 0;

free_vram:
	base_host->pages_free(vram, PAGE_BYTES);
	return err;
}

NO_LOCK_ANALYSIS void vram_destroy(struct vram *vram)
{
	if (!vram)
		return;
	/* No lock: nobody else is left. */
	ASSERT(list_is_empty(&vram->objects));
	ASSERT(list_is_empty(&vram->lru));
	ASSERT(!vram->leaving_count);
	pool_fini(&vram->pool);
	vram_buddy_destroy(vram->buddy);
	base_host->pages_free(vram, PAGE_BYTES);
}

void vram_share(struct vram *vram, const struct vram_share_ops *ops, void *user)
{
	lock_acquire(&vram->lock);
	vram->share = ops;
	vram->share_user = user;
	lock_release(&vram->lock);
}

/* Round up to what the buddy hands out; 0 if no block of any buddy of @size_bytes has
 * room for @bytes. */
static uint64_t block_bytes_for(uint64_t bytes, uint64_t size_bytes)
{
	uint64_t block_bytes = PAGE_BYTES;

	if (bytes > size_bytes)
		return 0;
	while (block_bytes < bytes)
		block_bytes *= 2;
	return block_bytes <= size_bytes ? block_bytes : 0;
}

/* A block that the pool has room for, too. *@others: it has none, for others have it. */
static int block_take(struct vram *vram, uint64_t bytes, uint64_t *offset, bool *others)
	MUST_HOLD(&vram->lock);
static int block_take(struct vram *vram, uint64_t bytes, uint64_t *offset, bool *others)
{
	int err = vram_buddy_alloc(vram->buddy, bytes, offset);

	lock_assert_held(&vram->lock);
	*others = !err && vram->share && !vram->share->take(vram->share_user, bytes);
	if (!*others)
		return err;
	vram_buddy_free(vram->buddy, *offset, bytes);
	return -ENOSPC;
}

/* Others have made room, as far as they say. The lock is dropped meanwhile. */
static bool ask_others(struct vram *vram, uint64_t bytes, bool is_last) MUST_HOLD(&vram->lock);
static bool ask_others(struct vram *vram, uint64_t bytes, bool is_last)
{
	const struct vram_share_ops *share = vram->share;
	void *user = vram->share_user;
	bool made_room;

	lock_release(&vram->lock);
	made_room = share->ask(user, bytes, is_last);
	lock_acquire(&vram->lock);
	return made_room;
}

/* What others make way with may be taken by a third: ask so often, at most. */
#define ASKS_MAX 16u

static int block_alloc(struct vram *vram, uint64_t bytes, bool evict, uint64_t *offset)
	MUST_HOLD(&vram->lock);
static int block_alloc(struct vram *vram, uint64_t bytes, bool evict, uint64_t *offset)
{
	uint64_t pass = evict ? vram_evict_begin(vram) : 0;
	uint32_t asks = 0;
	bool evicted, others;

	lock_assert_held(&vram->lock);
	for (;;) {
		int err = block_take(vram, bytes, offset, &others);

		if (err != -ENOSPC || !evict)
			return err;
		if (others && !asks++ && ask_others(vram, bytes, false))
			continue;
		err = vram_evict_step(vram, pass, &evicted);
		if (err == -ENOSPC && others && asks++ < ASKS_MAX &&
		    ask_others(vram, bytes, true))
			err = 0;
		if (err)
			return err;
	}
}

int vram_bo_create(struct vram *vram, uint64_t bytes, const struct vram_bo_ops *ops,
		   void *owner, bool evict, struct vram_bo **out)
{
	const uint64_t asked_bytes = bytes;
	struct vram_bo *bo;
	uint64_t offset;
	int err;

	ASSERT(ops);
	lock_assert_may_sleep("vram_bo_create");
	if (!bytes)
		return -EINVAL;
	/* What can never fit must not cost the others their places. */
	bytes = block_bytes_for(bytes, vram->size_bytes);
	if (!bytes)
		return -ENOSPC;

	bo = pool_alloc(&vram->pool);
	if (!bo)
		return -ENOMEM;

	lock_acquire(&vram->lock);
	err = block_alloc(vram, bytes, evict, &offset);
	if (err)
		goto free_bo;

	bo->vram = vram;
	bo->ops = ops;
	bo->owner = owner;
	bo->span = span_make(offset, bytes);
	bo->asked_bytes = asked_bytes;
	bo->reference_count = 1;
	bo->state = VRAM_BO_RESIDENT;
	bo->pin_count = 1;
	list_init(&bo->lru_node);
	list_push_back(&vram->objects, &bo->object_node);
	vram->stats.bo_count++;
	vram->stats.allocated_bytes += asked_bytes;
	vram->stats.used_bytes_max = MAX(vram->stats.used_bytes_max, used_bytes(vram));
	stats_publish(vram);
	if (ops->created)
		ops->created(owner);
	INVARIANT(vram_check_locked(vram));
	lock_release(&vram->lock);

	*out = bo;
	return 0;

free_bo:
	INVARIANT(vram_check_locked(vram));
	lock_release(&vram->lock);
	pool_put(&vram->pool, bo);
	return err;
}

struct vram_bo *vram_bo_get(struct vram_bo *bo)
{
	uint32_t before = ATOMIC_ADD(&bo->reference_count, 1u);

	ASSERT(before > 0);
	return bo;
}

bool vram_bo_try_get(struct vram_bo *bo)
{
	uint32_t count = ATOMIC_LOAD(&bo->reference_count);

	do {
		if (!count && !PLANTED(BO_REVIVED)) /* V1 */
			return false;
	} while (!ATOMIC_COMPARE_EXCHANGE(&bo->reference_count, &count, count + 1));
	return true;
}

void vram_bo_leave_begin(struct vram *vram, struct vram_bo *bo)
{
	lock_assert_held(&vram->lock);
	ASSERT(bo->state == VRAM_BO_RESIDENT);
	list_remove(&bo->lru_node);
	ATOMIC_STORE(&bo->state, VRAM_BO_LEAVING);
	vram->leaving_count++;
}

void vram_bo_leave_end(struct vram *vram, struct vram_bo *bo, enum vram_bo_state state)
{
	lock_assert_held(&vram->lock);
	ASSERT(bo->state == VRAM_BO_LEAVING);
	ASSERT(vram->leaving_count > 0);
	if (state == VRAM_BO_EVICTED) {
		vram_buddy_free(vram->buddy, bo->span.start, span_bytes(bo->span));
		if (vram->share)
			vram->share->give(vram->share_user, span_bytes(bo->span));
		vram->stats.bo_count--;
		vram->stats.allocated_bytes -= bo->asked_bytes;
	} else {
		/* As the most recent: who said no is likely in use. */
		list_push_back(&vram->lru, &bo->lru_node);
	}
	ATOMIC_STORE(&bo->state, state);
	vram->leaving_count--;
	stats_publish(vram);
	wait_wake_all(&vram->left);
}

/* The last reference to @bo is gone, and so is whatever pinned it. */
static void bo_retire(struct vram *vram, struct vram_bo *bo) MUST_HOLD(&vram->lock);
static void bo_retire(struct vram *vram, struct vram_bo *bo)
{
	lock_assert_held(&vram->lock);
	if (bo->state == VRAM_BO_RESIDENT) {
		vram_bo_leave_begin(vram, bo);
		if (PLANTED(EVICT_EARLY))
			vram_bo_leave_end(vram, bo, VRAM_BO_EVICTED);
		lock_release(&vram->lock);
		if (bo->ops->release)
			bo->ops->release(bo, bo->owner); /* F2, V1 */
		lock_acquire(&vram->lock);
		if (!PLANTED(EVICT_EARLY))
			vram_bo_leave_end(vram, bo, VRAM_BO_EVICTED);
	}
	ASSERT(bo->state == VRAM_BO_EVICTED);
	list_remove(&bo->object_node);
	if (bo->ops->destroyed)
		bo->ops->destroyed(bo->owner);
	pool_put(&vram->pool, bo);
}

void vram_bo_put_locked(struct vram *vram, struct vram_bo *bo)
{
	uint32_t before = ATOMIC_SUB(&bo->reference_count, 1u);

	ASSERT(before > 0);
	if (before == 1)
		bo_retire(vram, bo);
}

void vram_bo_put(struct vram_bo *bo)
{
	struct vram *vram;
	uint32_t before;

	if (!bo)
		return;
	lock_assert_may_sleep("vram_bo_put");
	vram = bo->vram; /* after the decrement @bo may be gone */
	before = ATOMIC_SUB(&bo->reference_count, 1u);
	ASSERT(before > 0);
	if (before > 1)
		return;

	lock_acquire(&vram->lock);
	bo_retire(vram, bo);
	INVARIANT(vram_check_locked(vram));
	lock_release(&vram->lock);
}

int vram_bo_pin(struct vram_bo *bo)
{
	struct vram *vram = bo->vram;
	int err = -EBUSY;

	lock_acquire(&vram->lock);
	if (bo->state == VRAM_BO_RESIDENT) {
		bo->pin_count++;
		list_remove(&bo->lru_node);
		err = 0;
	}
	INVARIANT(vram_check_locked(vram));
	lock_release(&vram->lock);
	return err;
}

void vram_bo_unpin(struct vram_bo *bo)
{
	struct vram *vram = bo->vram;

	lock_acquire(&vram->lock);
	ASSERT(bo->state == VRAM_BO_RESIDENT);
	ASSERT(bo->pin_count > 0);
	if (--bo->pin_count == 0) {
		ASSERT(bo->ops->evict);
		list_push_back(&vram->lru, &bo->lru_node);
		if (vram->share)
			vram->share->unpinned(vram->share_user);
	}
	INVARIANT(vram_check_locked(vram));
	lock_release(&vram->lock);
}

struct span vram_bo_span(const struct vram_bo *bo)
{
	return bo->span;
}

bool vram_bo_is_evicted(const struct vram_bo *bo)
{
	return ATOMIC_LOAD(&bo->state) == VRAM_BO_EVICTED;
}

void vram_stats_read(struct vram *vram, struct vram_stats *stats)
{
	uint64_t count;

	do {
		count = ATOMIC_LOAD(&vram->published_count);
		copy_stats(stats, &vram->published[count % 2]);
	} while (ATOMIC_LOAD(&vram->published_count) != count);
}

void vram_check_locked(struct vram *vram)
{
	uint64_t bytes = 0;
	uint64_t asked_bytes = 0;
	uint64_t bo_count = 0;
	uint64_t evictable_count = 0;
	uint64_t leaving_count = 0;

	lock_assert_held(&vram->lock);
	vram_buddy_check(vram->buddy);
	LIST_FOR_EACH(node, &vram->objects) {
		struct vram_bo *bo = LIST_ENTRY(node, struct vram_bo, object_node);
		bool evictable = bo->state == VRAM_BO_RESIDENT && !bo->pin_count;

		ASSERT(bo->vram == vram);
		ASSERT(evictable == !list_is_empty(&bo->lru_node));
		ASSERT(bo->pass_tried <= vram->pass);
		evictable_count += evictable;
		leaving_count += bo->state == VRAM_BO_LEAVING;
		if (bo->state == VRAM_BO_EVICTED)
			continue;
		ASSERT(bo->asked_bytes <= span_bytes(bo->span));
		bytes += span_bytes(bo->span);
		asked_bytes += bo->asked_bytes;
		bo_count++;
	}
	LIST_FOR_EACH(node, &vram->lru)
		evictable_count--;
	ASSERT(evictable_count == 0);
	ASSERT(leaving_count == vram->leaving_count);
	ASSERT(bo_count == vram->stats.bo_count);
	ASSERT(bytes == used_bytes(vram));
	ASSERT(asked_bytes == vram->stats.allocated_bytes);
}

void vram_check(struct vram *vram)
{
	lock_acquire(&vram->lock);
	vram_check_locked(vram);
	lock_release(&vram->lock);
}
