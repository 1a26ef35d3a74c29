/* SPDX-License-Identifier: MIT */
/*
 * gpusvm/gpusvm.h - the spans of the address space that one GPU address space
 * mirrors: notifiers, ranges, and the pages under them.
 *
 * Addresses are the process's. The driver finds or makes the range over a fault,
 * collects the pages under it, and binds them; a notifier tells the driver what
 * to revoke when the process changes them. The whole driver, in short:
 *
 *     retry:
 *             gpusvm_range_find_or_insert(svm, addr, vma, limits, &range);
 *             [migrate, if that is the policy]
 *             err = gpusvm_range_get_pages(svm, range, pages);
 *             lock_acquire(&svm->notifier_lock);
 *             if (!gpusvm_range_pages_valid(svm, range, pages))
 *                     unlock, goto retry;
 *             [write page-table entries]; gpusvm_range_set_mapped(...);
 *             lock_release(&svm->notifier_lock);
 *
 * A range is never split, grown or merged; a partial unmap ends the whole of it.
 * What is mapped of it is kept page by page, so that an invalidation revokes what
 * changed and no more (upstream zaps the range whole: L1, L11).
 *
 * Locking: notifier_lock guards ranges' flags, what is mapped, and the page-table
 * entries of the driver. The driver lock (the caller's) guards find, insert and
 * remove. See docs/locking.md.
 * Upstream: drivers/gpu/drm/drm_gpusvm.c.
 */
#ifndef GPUSVM_GPUSVM_H
#define GPUSVM_GPUSVM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/interval_tree.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/pool.h"
#include "base/span.h"
#include "mm/mm.h"

struct gpusvm;
struct pagemap;

/* A mirrored chunk: 4 KiB, 64 KiB or 2 MiB, aligned to its size. */
struct gpusvm_range {
	struct interval_node node;       /* in its notifier */
	struct gpusvm_notifier *notifier;
	struct list garbage_link;        /* under notifier_lock */
	/* Under notifier_lock; mapped and unmapped may be read without it: */
	uint64_t mapped[PAGES_PER_HUGE / 64]; /* pages with an entry in the page table */
	bool writable;                   /* those entries allow writes */
	bool unmapped;                   /* memory under it went: to be collected */
	bool partly_unmapped;            /* implies unmapped */
	uint32_t losses;                 /* mapped pages that somebody else wanted, and took */
	bool in_place;                   /* the driver's own, under the driver lock */
};

/* An aligned block of the address space with at least one range in it. */
struct gpusvm_notifier {
	struct mm_notifier mm_notifier;
	struct gpusvm *svm;
	struct interval_tree ranges;     /* under notifier_lock */
	struct interval_node node;       /* in gpusvm.notifiers, the same span */
};

struct gpusvm_ops {
	/** invalidate() - [monitor] revoke the entries of @span, which lies in @range.
	 * notifier_lock is held and the engines are stopped. */
	void (*invalidate)(struct gpusvm *svm, struct gpusvm_range *range, struct span span);

	/** garbage() - [monitor] a range became unmapped: collect soon. notifier_lock held. */
	void (*garbage)(struct gpusvm *svm);
};

struct gpusvm {
	struct mm *mm;
	const struct gpusvm_ops *ops;
	uint64_t notifier_bytes;
	uint64_t chunk_bytes[3];         /* descending */
	struct lock notifier_lock;
	struct interval_tree notifiers;  /* under the driver lock */
	struct list garbage;             /* under notifier_lock */
	struct pool range_pool;
	struct pool notifier_pool;
	uint64_t range_count;            /* atomic reads */
};

/** gpusvm_init() - caller's storage. @notifier_bytes: a power of two of at least 2 MiB.
 * Return: 0, -EINVAL. Upstream: drm_gpusvm_init(). */
MUST_CHECK int gpusvm_init(struct gpusvm *svm, struct mm *mm, uint64_t notifier_bytes,
			   const struct gpusvm_ops *ops);

/** gpusvm_fini() - every range was removed (asserted). [worker] */
void gpusvm_fini(struct gpusvm *svm);

/**
 * gpusvm_range_find_or_insert() - the range over an address, made if absent
 * @vma: the VMA that holds @addr; a range that reaches out of it is removed first
 * @limits: a new range stays inside (the bind)
 * @range: out, borrowed: valid until it is removed under the driver lock
 *
 * A new range takes the largest chunk size that holds @addr, lies inside VMA, limits
 * and notifier, and meets no other range.
 *
 * Context: [worker], driver lock held. Return: 0, -ENOMEM, -EINVAL (@addr is not in both).
 * Upstream: drm_gpusvm_range_find_or_insert(); ours lets partly populated chunks pass,
 * because holes are not migrated with their neighbours (docs/design/ranges.md).
 */
MUST_CHECK int gpusvm_range_find_or_insert(struct gpusvm *svm, uint64_t addr,
					   const struct sys_vma *vma, struct span limits,
					   struct gpusvm_range **range);

/** gpusvm_range_find() - the range over @addr, or NULL. Driver lock held. */
struct gpusvm_range *gpusvm_range_find(struct gpusvm *svm, uint64_t addr);

/** gpusvm_range_first() - the first range that meets @span, in order of address, or NULL.
 * Driver lock held. */
struct gpusvm_range *gpusvm_range_first(struct gpusvm *svm, struct span span);

/** gpusvm_range_remove() - revoke what is mapped, then free it; frees an empty notifier.
 * Context: [worker], driver lock held. Upstream: drm_gpusvm_range_remove(). */
void gpusvm_range_remove(struct gpusvm *svm, struct gpusvm_range *range);

/** gpusvm_has_mapping() - true if a range meets @span. Driver lock held. */
bool gpusvm_has_mapping(struct gpusvm *svm, struct span span);

/** gpusvm_garbage_pop() - a range that became unmapped, taken off the list, or NULL; the
 * caller removes it. Driver lock held. */
struct gpusvm_range *gpusvm_garbage_pop(struct gpusvm *svm);

/* What get_pages found, in order, without gaps. */
struct gpusvm_page_run {
	struct span span;
	bool vram;       /* device memory of the asking pagemap */
	bool peer;       /* of a peer of it, used in place; neither: the process's */
	uint64_t target; /* vram: offset of the span's start; peer: address of the frame; else
			  * its own address */
};

#define GPUSVM_RUNS_MAX (PAGES_PER_HUGE + 1)

struct gpusvm_pages {
	uint64_t seq; /* of the notifier, when the collection began */
	size_t count;
	struct gpusvm_page_run runs[GPUSVM_RUNS_MAX];
};

/**
 * gpusvm_range_get_pages() - collect where the pages of @range are
 * @pagemap: whose device memory counts as vram, and whose peers' may be used in place;
 *   NULL: none
 *
 * Context: [worker], driver lock held; may wait for pages that are MOVING.
 * Return: 0; -EOPNOTSUPP some pages are in memory that the device cannot reach:
 * gpusvm_evict() brings them home; -EAGAIN
 * whether some are there still is not known yet (mm/remap.c): from the top.
 * Upstream: drm_gpusvm_range_get_pages().
 */
MUST_CHECK int gpusvm_range_get_pages(struct gpusvm *svm, const struct gpusvm_range *range,
				      const struct pagemap *pagemap,
				      struct gpusvm_pages *pages);

/** gpusvm_range_pages_valid() - N1: nothing changed since the collection began.
 * notifier_lock held. */
bool gpusvm_range_pages_valid(struct gpusvm *svm, const struct gpusvm_range *range,
			      const struct gpusvm_pages *pages);

/** gpusvm_range_set_mapped() - pages of @span have entries now. notifier_lock held. */
void gpusvm_range_set_mapped(struct gpusvm *svm, struct gpusvm_range *range,
			     struct span span);

/** gpusvm_range_is_mapped() - the page of @addr has an entry; advisory without the lock */
bool gpusvm_range_is_mapped(const struct gpusvm_range *range, uint64_t addr);

/** gpusvm_range_take_losses() - how often pages that were mapped went because the CPU or
 * another device wanted one, since it was asked last. Driver lock held. */
uint32_t gpusvm_range_take_losses(struct gpusvm *svm, struct gpusvm_range *range);

/** gpusvm_range_has_mapped() - some page has an entry; advisory without the lock */
bool gpusvm_range_has_mapped(const struct gpusvm_range *range);

/* Which pages on devices stay where they are, of those that @pagemap below knows. */
enum gpusvm_keep {
	GPUSVM_KEEP_OWN = 1 << 0,     /* its own */
	GPUSVM_KEEP_PEERS = 1 << 1,   /* what it can fetch directly */
	GPUSVM_KEEP_REACHED = 1 << 2, /* what it can use in place, on a peer */
};

/** gpusvm_evict() - bring pages of @span home that a device has, but those of @keep: enum
 * gpusvm_keep. @wanted: for an access, see gpusvm_range_take_losses(). Context: [worker].
 * Return: 0, -EBUSY. Upstream: drm_gpusvm_range_evict(); ours leaves holes as they are. */
MUST_CHECK int gpusvm_evict(struct gpusvm *svm, struct span span,
			    const struct pagemap *pagemap, uint32_t keep, bool wanted);

#endif
