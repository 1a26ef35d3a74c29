/* SPDX-License-Identifier: MIT */
/*
 * DOC: References
 *
 * A devmem lives while somebody holds a reference or a page is in it. Both counts
 * are under event_lock, so the last of either sees that it is the last:
 *
 *     reference_count == 0 && page_count == 0  =>  dead, and release() once
 *
 * The last page often leaves on the monitor (munmap, a CPU fault), which may not
 * free anything: it puts the devmem on the pagemap's list, and the collector
 * calls release(). A dead devmem stays so: no entry leads to it, and a reference is
 * refused to who found it before.
 *
 * Upstream: struct drm_pagemap_zdd; there each device folio holds a reference.
 */
#include "pagemap/pagemap_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/plant.h"

struct pagemap_devmem *pagemap_owner_devmem(struct mm_entry_owner *owner)
{
	struct pagemap_zdd *zdd = CONTAINER_OF(owner, struct pagemap_zdd, owner);

	return CONTAINER_OF(zdd, struct pagemap_devmem, zdd);
}

static bool is_last(struct pagemap_zdd *zdd)
{
	ASSERT(!zdd->dead);
	if (zdd->reference_count || (zdd->owner.page_count && !PLANTED(LAST_TWICE))) /* Z1 */
		return false;
	zdd->dead = true;
	return true;
}

static void zdd_empty(struct mm_entry_owner *owner)
{
	struct pagemap_devmem *devmem = pagemap_owner_devmem(owner);
	struct pagemap *pagemap = devmem->pagemap;

	if (!is_last(&devmem->zdd))
		return;
	list_push_back(&pagemap->dead, &devmem->dead_link);
	mm_work_queue_collector_late(pagemap->config.mm, &pagemap->dead_work);
}

static void zdd_drop(struct mm_entry_owner *owner UNUSED, uint64_t frame UNUSED,
		     uint64_t bytes UNUSED)
{
	/* The frames are dirty; pagemap_clean() and mm_take() look for themselves. */
}

const struct mm_entry_ops pagemap_zdd_ops = {
	.bring_home = pagemap_bring_home,
	.drop = zdd_drop,
	.read = pagemap_read,
	.empty = zdd_empty,
	.is_peer = pagemap_owner_is_peer,
	.fetch = pagemap_fetch,
};

void pagemap_devmem_init(struct pagemap_devmem *devmem, struct pagemap *pagemap,
			 uint64_t vram_offset, uint64_t bytes, uint64_t addr)
{
	mm_entry_owner_init(&devmem->zdd.owner, &pagemap_zdd_ops, pagemap->config.device,
			    pagemap->config.home_bytes);
	devmem->zdd.reference_count = 1;
	devmem->zdd.dead = false;
	devmem->pagemap = pagemap;
	devmem->vram_offset = vram_offset;
	devmem->bytes = bytes;
	devmem->addr = addr;
	devmem->staging = 0;
	list_init(&devmem->dead_link);
	ATOMIC_ADD(&pagemap->devmem_count, 1);
	pagemap_unpoison(pagemap, vram_offset, bytes);
}

bool pagemap_devmem_get(struct pagemap_devmem *devmem)
{
	struct lock *event_lock = mm_event_lock(devmem->pagemap->config.mm);
	bool alive;

	lock_acquire(event_lock);
	alive = !devmem->zdd.dead || PLANTED(DEAD_REVIVED); /* Z1 */
	if (alive)
		devmem->zdd.reference_count++;
	lock_release(event_lock);
	return alive;
}

static void release(struct pagemap_devmem *devmem)
{
	struct pagemap *pagemap = devmem->pagemap;

	pagemap->config.ops->release(devmem);
	ATOMIC_SUB(&pagemap->devmem_count, 1);
}

void pagemap_devmem_put(struct pagemap_devmem *devmem)
{
	struct lock *event_lock = mm_event_lock(devmem->pagemap->config.mm);
	bool last;

	lock_acquire(event_lock);
	ASSERT(devmem->zdd.reference_count);
	devmem->zdd.reference_count--;
	last = is_last(&devmem->zdd);
	lock_release(event_lock);
	if (last)
		release(devmem);
}

void pagemap_release_dead(struct mm_work *work)
{
	struct pagemap *pagemap = CONTAINER_OF(work, struct pagemap, dead_work);
	struct lock *event_lock = mm_event_lock(pagemap->config.mm);

	for (;;) {
		struct list *node;

		lock_acquire(event_lock);
		node = list_pop_front(&pagemap->dead);
		lock_release(event_lock);
		if (!node)
			return;
		release(LIST_ENTRY(node, struct pagemap_devmem, dead_link));
	}
}

void pagemap_reuse(struct pagemap *pagemap)
{
	pagemap_release_dead(&pagemap->dead_work);
}

void pagemap_flush(struct pagemap *pagemap)
{
	/* One that the collector is releasing is off the list, but not counted off yet. */
	pagemap_release_dead(&pagemap->dead_work);
	mm_collector_flush(pagemap->config.mm);
}

struct pagemap_devmem *pagemap_entry_holder(const struct mm_entry *entry)
{
	if (entry->owner->ops != &pagemap_zdd_ops)
		return NULL;
	return pagemap_owner_devmem(entry->owner);
}

struct pagemap_devmem *pagemap_entry_devmem(const struct pagemap *pagemap,
					    const struct mm_entry *entry)
{
	struct pagemap_devmem *devmem = pagemap_entry_holder(entry);

	return devmem && devmem->pagemap == pagemap ? devmem : NULL;
}

int pagemap_find(struct pagemap *pagemap, struct span span, struct pagemap_devmem **out,
		 bool *peers)
{
	struct lock *event_lock = mm_event_lock(pagemap->config.mm);
	struct mm_entry *entry;
	int err = -ENOENT;

	*peers = false;
	lock_acquire(event_lock);
	entry = mm_entry_first(pagemap->config.mm, span);
	for (; entry; entry = mm_entry_next(entry, span)) {
		struct pagemap_devmem *devmem = pagemap_entry_devmem(pagemap, entry);
		struct span place;

		if (!devmem)
			*peers |= pagemap_entry_is_peer(pagemap, entry);
		if (!err || !devmem || entry->node.span.start != devmem->addr + entry->frame)
			continue;
		place = span_make(devmem->addr, devmem->bytes);
		if (!span_covers(place, span))
			continue;
		/* One with a page is not dead. */
		devmem->zdd.reference_count++;
		*out = devmem;
		err = 0;
	}
	lock_release(event_lock);
	return err;
}
