/* SPDX-License-Identifier: MIT */
/*
 * DOC: Peers
 *
 * Devices of one group reach each other's memory. What one has comes to the other without
 * coming home between (mm_hand_over()):
 *
 *     from   to     how
 *     move   move   the page itself, from frame to frame; copied where it will not
 *     move   copy   the device copies out of the other's frames
 *     copy   move   the other device copies into the frames
 *     copy   copy   copy_peer() of the other device, if both have the same
 *
 * All of it under event_lock, in pieces of at most 2 MiB: nobody sees the page between, and
 * what it does not come to has it still. Of copies one runs at a time each way: the one that
 * comes to a device is under its take_lock, the one that leaves under event_lock.
 *
 * A device whose entries may name memory of usvm's (USVM_PTE_HOST) uses the frames of a peer
 * in place, where pages do not come.
 *
 * Which devices are peers is asked of pairs, each time, by what they are: no group is kept,
 * joined or left (docs/design/peers.md).
 *
 * Upstream: drm_pagemap_migrate_remote_to_local_mem(), drm_pagemap_owner.
 */
#include "pagemap/pagemap_internal.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"

static struct sys *sys_of(const struct pagemap *pagemap)
{
	return mm_sys(pagemap->config.mm);
}

bool pagemap_is_peer(const struct pagemap *pagemap, const struct pagemap *other)
{
	const struct pagemap_config *a = &pagemap->config, *b = &other->config;

	if (pagemap == other || !a->peers || !b->peers || strcmp(a->peers, b->peers) != 0)
		return false;
	return !a->copy || !b->copy ||
	       (a->ops == b->ops && a->ops->copies_to && a->ops->copies_to(b->owner, a->owner));
}

bool pagemap_entry_is_peer(const struct pagemap *pagemap, const struct mm_entry *entry)
{
	const struct pagemap_devmem *devmem = pagemap_entry_holder(entry);

	return devmem && pagemap_is_peer(pagemap, devmem->pagemap);
}

bool pagemap_reaches(const struct pagemap *pagemap, const struct pagemap *other)
{
	return pagemap->config.reaches_peers && !other->config.copy &&
	       pagemap_is_peer(pagemap, other);
}

bool pagemap_entry_reach(const struct pagemap *pagemap, const struct mm_entry *entry,
			 uint64_t *addr)
{
	const struct pagemap_devmem *devmem = pagemap_entry_holder(entry);

	if (!devmem || !pagemap_reaches(pagemap, devmem->pagemap))
		return false;
	*addr = devmem->pagemap->memory + devmem->vram_offset + entry->frame;
	return true;
}

bool pagemap_owner_is_peer(const struct mm_entry_owner *owner,
			   const struct mm_entry_owner *other)
{
	if (other->ops != &pagemap_zdd_ops)
		return false;
	return pagemap_is_peer(pagemap_owner_devmem((struct mm_entry_owner *)owner)->pagemap,
			       pagemap_owner_devmem((struct mm_entry_owner *)other)->pagemap);
}

/* Into frames that are holes: a block gets a huge page first, if one was made. */
static int copy_to_frames(struct pagemap_devmem *to, uint64_t frame,
			  struct pagemap_devmem *from, uint64_t from_frame, uint64_t bytes)
{
	struct pagemap *pagemap = to->pagemap;
	uint64_t addr = pagemap->frames + to->vram_offset + frame;

	lock_assert_held(mm_event_lock(pagemap->config.mm));
	mm_frames_clear_locked(pagemap->config.mm, span_make(addr, bytes));
	if (bytes == HUGE_BYTES && IS_ALIGNED(addr, HUGE_BYTES) && pagemap->zeros)
		mm_frames_fill_locked(pagemap->config.mm, addr, pagemap->zeros, HUGE_BYTES);
	return pagemap_device_copy(from->pagemap, from->vram_offset + from_frame, addr, bytes,
				   false);
}

static int copy_over(struct pagemap_devmem *to, uint64_t frame, struct pagemap_devmem *from,
		     uint64_t from_frame, uint64_t bytes)
{
	const struct pagemap_config *source = &from->pagemap->config;

	if (!to->pagemap->config.copy)
		return copy_to_frames(to, frame, from, from_frame, bytes);
	if (!source->copy)
		return pagemap_device_copy(to->pagemap, to->vram_offset + frame,
					   from->pagemap->frames + from->vram_offset + from_frame,
					   bytes, true);
	return source->ops->copy_peer(source->owner, from->vram_offset + from_frame,
				      to->pagemap->config.owner, to->vram_offset + frame, bytes);
}

int pagemap_fetch(struct mm_entry_owner *owner, uint64_t frame, const struct mm_entry *entry,
		  uint64_t *done)
{
	struct pagemap_devmem *to = pagemap_owner_devmem(owner);
	struct pagemap_devmem *from = pagemap_owner_devmem(entry->owner);
	uint64_t source = from->pagemap->frames + from->vram_offset + entry->frame;
	uint64_t bytes = span_bytes(entry->node.span);
	struct mm *mm = to->pagemap->config.mm;
	uint64_t start = mm_trace_start(mm);
	int err;

	lock_assert_held(mm_event_lock(mm));
	*done = 0;
	if (to->pagemap->config.copy || from->pagemap->config.copy) {
		err = copy_over(to, frame, from, entry->frame, bytes) ? -EIO : 0;
		*done = err ? 0 : bytes;
	} else {
		err = mm_frames_move_locked(mm, to->pagemap->frames + to->vram_offset + frame,
					    source, bytes, done);
	}
	if (*done && from->pagemap->config.poison && !from->pagemap->config.copy)
		pagemap_poison(from->pagemap, source, *done);
	if (*done)
		mm_trace(mm, TRACE_MIGRATE_FROM_PEER, entry->node.span.start, *done, 0, start);
	return err;
}

/* A huge page of zeros is made before event_lock is taken: it may cost a millisecond. */
static void prepare_zeros(struct pagemap *pagemap)
{
	lock_assert_held(&pagemap->take_lock);
	if (pagemap->zeros)
		(void)sys_of(pagemap)->ops->advise(sys_of(pagemap),
						   span_make(pagemap->zeros, HUGE_BYTES),
						   SYS_ADVICE_POPULATE_WRITE);
}

/* Has a peer that copies all of @span? */
static bool is_block_of_copies(struct pagemap_devmem *devmem, struct span span)
{
	struct mm *mm = devmem->pagemap->config.mm;
	const struct pagemap_devmem *other = NULL;
	struct mm_entry *entry;

	if (devmem->pagemap->config.copy || span_bytes(span) != HUGE_BYTES)
		return false;
	lock_acquire(mm_event_lock(mm));
	entry = mm_entry_first(mm, span);
	if (entry && span_covers(entry->node.span, span))
		other = pagemap_entry_holder(entry);
	if (other && !other->pagemap->config.copy)
		other = NULL;
	lock_release(mm_event_lock(mm));
	return other != NULL;
}

uint64_t pagemap_fetch_peers(struct pagemap_devmem *devmem,
			     const struct pagemap_migration *migration)
{
	struct pagemap *pagemap = devmem->pagemap;
	struct mm_hand_over hand = {
		.span = migration->span,
		.owner = &devmem->zdd.owner,
		.frame = migration->span.start - devmem->addr,
		.why = migration->wanted ? MM_EVENT_FAULT : MM_EVENT_MIGRATE,
	};
	int err;

	lock_acquire(&pagemap->take_lock);
	if (is_block_of_copies(devmem, migration->span))
		prepare_zeros(pagemap);
	err = mm_hand_over(pagemap->config.mm, &hand);
	lock_release(&pagemap->take_lock);
	/* What did not come is with its device; who needs it brings it home. */
	(void)err;
	return hand.pages;
}
