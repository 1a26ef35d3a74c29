/* SPDX-License-Identifier: MIT */
/*
 * DOC: Invalidation
 *
 * The mm tells a notifier of an event; each range that the event meets has the
 * entries of that part revoked by the driver, page by page known. Memory that
 * was unmapped under a range ends it, whole, even if only a part went: what
 * remains is mirrored anew, smaller, at the next fault. It ends later, on a
 * worker (the collector): the monitor frees nothing.
 *
 *     mm event_lock -> notifier_lock -> the driver's page table
 */
#include "gpusvm/gpusvm.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"

static struct gpusvm_range *range_of(struct interval_node *node)
{
	return node ? CONTAINER_OF(node, struct gpusvm_range, node) : NULL;
}

static void set_unmapped(struct gpusvm *svm, struct gpusvm_range *range, struct span event)
{
	lock_assert_held(&svm->notifier_lock);
	ATOMIC_STORE_RELAXED(&range->unmapped, true);
	if (!span_covers(event, range->node.span))
		range->partly_unmapped = true;
	if (!list_is_empty(&range->garbage_link))
		return;
	list_push_back(&svm->garbage, &range->garbage_link);
	svm->ops->garbage(svm);
}

static void mapped_bits(struct gpusvm_range *range, struct span span, bool set)
{
	uint64_t first = (span.start - range->node.span.start) >> PAGE_SHIFT;
	uint64_t last = (span.end - range->node.span.start) >> PAGE_SHIFT;

	for (uint64_t i = first; i < last; i++) {
		uint64_t bit = 1ull << (i % 64);
		uint64_t *word = &range->mapped[i / 64];

		/* Whole words at once: a 2 MiB range is 8 of them. */
		if (i % 64 == 0 && last - i >= 64) {
			ATOMIC_STORE_RELAXED(word, set ? UINT64_MAX : 0);
			i += 63;
		} else {
			ATOMIC_STORE_RELAXED(word, set ? *word | bit : *word & ~bit);
		}
	}
}

bool gpusvm_range_has_mapped(const struct gpusvm_range *range)
{
	uint64_t any = 0;

	for (size_t i = 0; i < ARRAY_SIZE(range->mapped); i++)
		any |= ATOMIC_LOAD_RELAXED(&range->mapped[i]);
	return any != 0;
}

static bool span_has_mapped(const struct gpusvm_range *range, struct span span)
{
	for (uint64_t at = span.start; at < span.end; at += PAGE_BYTES) {
		if (gpusvm_range_is_mapped(range, at))
			return true;
	}
	return false;
}

static void zap(struct gpusvm *svm, struct gpusvm_range *range, struct span span,
		enum mm_event_type type)
{
	lock_assert_held(&svm->notifier_lock);
	if (!gpusvm_range_has_mapped(range))
		return;
	if (type == MM_EVENT_FAULT && span_has_mapped(range, span))
		ATOMIC_STORE_RELAXED(&range->losses, range->losses + 1);
	svm->ops->invalidate(svm, range, span);
	mapped_bits(range, span, false);
}

static void notifier_invalidate(struct mm_notifier *mm_notifier, const struct mm_event *event)
{
	struct gpusvm_notifier *notifier =
		CONTAINER_OF(mm_notifier, struct gpusvm_notifier, mm_notifier);
	struct gpusvm *svm = notifier->svm;
	struct interval_node *node;

	lock_acquire(&svm->notifier_lock);
	node = interval_tree_first(&notifier->ranges, event->span);
	for (; node; node = interval_tree_next(node, event->span)) {
		struct gpusvm_range *range = range_of(node);

		zap(svm, range, span_intersect(node->span, event->span), event->type);
		if (event->type == MM_EVENT_UNMAP)
			set_unmapped(svm, range, event->span);
	}
	lock_release(&svm->notifier_lock);
}

static const struct mm_notifier_ops notifier_ops = {
	.invalidate = notifier_invalidate,
};

int gpusvm_init(struct gpusvm *svm, struct mm *mm, uint64_t notifier_bytes,
		const struct gpusvm_ops *ops)
{
	static const uint64_t chunks[] = { HUGE_BYTES, KIB(64), PAGE_BYTES };

	if (notifier_bytes < HUGE_BYTES || (notifier_bytes & (notifier_bytes - 1)))
		return -EINVAL;
	svm->mm = mm;
	svm->ops = ops;
	svm->notifier_bytes = notifier_bytes;
	memcpy(svm->chunk_bytes, chunks, sizeof(chunks));
	lock_init(&svm->notifier_lock, LOCK_GPUSVM_NOTIFIER, "gpusvm.notifier_lock");
	interval_tree_init(&svm->notifiers);
	list_init(&svm->garbage);
	pool_init(&svm->range_pool, sizeof(struct gpusvm_range), "gpusvm.ranges");
	pool_init(&svm->notifier_pool, sizeof(struct gpusvm_notifier), "gpusvm.notifiers");
	svm->range_count = 0;
	return 0;
}

void gpusvm_fini(struct gpusvm *svm)
{
	ASSERT(!svm->notifiers.root);
	ASSERT(list_is_empty(&svm->garbage));
	pool_fini(&svm->range_pool);
	pool_fini(&svm->notifier_pool);
}

static struct gpusvm_notifier *notifier_of(struct interval_node *node)
{
	return node ? CONTAINER_OF(node, struct gpusvm_notifier, node) : NULL;
}

static struct gpusvm_notifier *notifier_create(struct gpusvm *svm, uint64_t addr)
{
	struct gpusvm_notifier *n = pool_alloc(&svm->notifier_pool);

	if (!n)
		return NULL;
	n->svm = svm;
	interval_tree_init(&n->ranges);
	n->node.span = span_block(addr, svm->notifier_bytes);
	interval_tree_insert(&svm->notifiers, &n->node);
	mm_notifier_insert(svm->mm, &n->mm_notifier, n->node.span, &notifier_ops);
	return n;
}

static void notifier_put(struct gpusvm *svm, struct gpusvm_notifier *n)
{
	if (n->ranges.root)
		return;
	mm_notifier_remove(svm->mm, &n->mm_notifier);
	interval_tree_remove(&svm->notifiers, &n->node);
	pool_put(&svm->notifier_pool, n);
}

struct gpusvm_range *gpusvm_range_first(struct gpusvm *svm, struct span span)
{
	struct interval_node *node = interval_tree_first(&svm->notifiers, span);

	/* One whose ranges are all outside of @span says nothing of the next. */
	for (; node; node = interval_tree_next(node, span)) {
		struct gpusvm_range *range =
			range_of(interval_tree_first(&notifier_of(node)->ranges, span));

		if (range)
			return range;
	}
	return NULL;
}

struct gpusvm_range *gpusvm_range_find(struct gpusvm *svm, uint64_t addr)
{
	return gpusvm_range_first(svm, span_make(addr, 1));
}

bool gpusvm_has_mapping(struct gpusvm *svm, struct span span)
{
	return gpusvm_range_first(svm, span) != NULL;
}

/* The largest chunk over @addr inside of @limits that meets no range. */
static bool choose_chunk(struct gpusvm *svm, const struct gpusvm_notifier *n, uint64_t addr,
			 struct span limits, struct span *chunk)
{
	for (size_t i = 0; i < ARRAY_SIZE(svm->chunk_bytes); i++) {
		*chunk = span_block(addr, svm->chunk_bytes[i]);
		if (span_covers(limits, *chunk) && !interval_tree_first(&n->ranges, *chunk))
			return true;
	}
	return false;
}

static struct gpusvm_range *range_create(struct gpusvm *svm, struct gpusvm_notifier *n,
					 struct span chunk)
{
	struct gpusvm_range *range = pool_alloc(&svm->range_pool);

	if (!range)
		return NULL;
	range->node.span = chunk;
	range->notifier = n;
	list_init(&range->garbage_link);
	lock_acquire(&svm->notifier_lock);
	interval_tree_insert(&n->ranges, &range->node);
	lock_release(&svm->notifier_lock);
	ATOMIC_ADD(&svm->range_count, 1);
	return range;
}

int gpusvm_range_find_or_insert(struct gpusvm *svm, uint64_t addr, const struct sys_vma *vma,
				struct span limits, struct gpusvm_range **out)
{
	struct gpusvm_notifier *n;
	struct gpusvm_range *range;
	struct span chunk;

	limits = span_intersect(limits, vma->span);
	if (!span_contains(limits, addr))
		return -EINVAL;
	range = gpusvm_range_find(svm, addr);
	if (range && !ATOMIC_LOAD_RELAXED(&range->unmapped) &&
	    span_covers(limits, range->node.span)) {
		*out = range;
		return 0;
	}
	/* It stands for a mapping that is no more. */
	if (range)
		gpusvm_range_remove(svm, range);

	n = notifier_of(interval_tree_find(&svm->notifiers, addr));
	if (!n)
		n = notifier_create(svm, addr);
	if (!n)
		return -ENOMEM;
	/* A page always fits: nothing stands over @addr now. */
	if (!choose_chunk(svm, n, addr, limits, &chunk)) {
		notifier_put(svm, n);
		return -EINVAL;
	}
	range = range_create(svm, n, chunk);
	if (!range) {
		notifier_put(svm, n);
		return -ENOMEM;
	}
	*out = range;
	return 0;
}

void gpusvm_range_remove(struct gpusvm *svm, struct gpusvm_range *range)
{
	struct gpusvm_notifier *n = range->notifier;
	struct lock *event_lock = mm_event_lock(svm->mm);

	/* Revoked with the engines stopped, as for any other reason. */
	if (gpusvm_range_has_mapped(range)) {
		lock_acquire(event_lock);
		mm_invalidate_locked(svm->mm, range->node.span, MM_EVENT_RELEASE);
		lock_release(event_lock);
	}
	lock_acquire(&svm->notifier_lock);
	ASSERT(!gpusvm_range_has_mapped(range));
	interval_tree_remove(&n->ranges, &range->node);
	list_remove(&range->garbage_link);
	lock_release(&svm->notifier_lock);
	pool_put(&svm->range_pool, range);
	ATOMIC_SUB(&svm->range_count, 1);
	notifier_put(svm, n);
}

uint32_t gpusvm_range_take_losses(struct gpusvm *svm, struct gpusvm_range *range)
{
	uint32_t count = ATOMIC_LOAD_RELAXED(&range->losses);

	if (!count)
		return 0;
	lock_acquire(&svm->notifier_lock);
	count = range->losses;
	ATOMIC_STORE_RELAXED(&range->losses, 0);
	lock_release(&svm->notifier_lock);
	return count;
}

struct gpusvm_range *gpusvm_garbage_pop(struct gpusvm *svm)
{
	struct list *node;

	lock_acquire(&svm->notifier_lock);
	node = list_pop_front(&svm->garbage);
	lock_release(&svm->notifier_lock);
	return node ? LIST_ENTRY(node, struct gpusvm_range, garbage_link) : NULL;
}

void gpusvm_range_set_mapped(struct gpusvm *svm, struct gpusvm_range *range, struct span span)
{
	lock_assert_held(&svm->notifier_lock);
	ASSERT(span_covers(range->node.span, span));
	mapped_bits(range, span, true);
}

bool gpusvm_range_is_mapped(const struct gpusvm_range *range, uint64_t addr)
{
	uint64_t page = (addr - range->node.span.start) >> PAGE_SHIFT;

	return ATOMIC_LOAD_RELAXED(&range->mapped[page / 64]) >> (page % 64) & 1;
}
