/* SPDX-License-Identifier: MIT */
/*
 * DOC: Entries
 *
 * An entry stands for a run of pages whose contents are not in the process: the
 * twin of the kernel's device-private swap entries, in one interval tree keyed
 * by the address where the program would look.
 *
 *     program   |---- entry ----|        |- entry -|
 *                      |                      |
 *     owner     |===== frame ===================|      (a device allocation)
 *
 * A run is cut where an event cuts it and joined with its neighbours where their
 * frames are contiguous too, so a 2 MiB block that moved as a whole is one node.
 * An entry that dies while it is MOVING just leaves the tree: its mover finds
 * that it is gone and frees the frame with the allocation.
 *
 * Invariants, under event_lock:
 *     entries do not overlap
 *     displaced ones are in a tree of their own, and in no other (remap.c)
 *     owner.page_count == sum of the pages of owner.entries
 *     mm.doubted_count == how many are doubted (remap.c)
 *     mm.entry_pages == sum over all owners; mm.moving_pages == those MOVING
 *
 * Splitting takes a node. Who splits has reserved it before it took the lock:
 * the monitor MM_EVENT_NODES for a message, a taker what its span can need.
 */
#include "mm/mm_internal.h"

#include "base/assert.h"
#include "base/host.h"

static struct mm_entry *entry_of(struct interval_node *node)
{
	return node ? CONTAINER_OF(node, struct mm_entry, node) : NULL;
}

void mm_entry_owner_init(struct mm_entry_owner *owner, const struct mm_entry_ops *ops,
			 const void *device, uint64_t home_bytes)
{
	ASSERT(home_bytes >= PAGE_BYTES && home_bytes <= HUGE_BYTES);
	owner->home_bytes = home_bytes;
	owner->stay_until_ns = 0;
	owner->ops = ops;
	owner->device = device;
	list_init(&owner->entries);
	owner->page_count = 0;
}

struct mm_entry *mm_entry_first(struct mm *mm, struct span span)
{
	return entry_of(interval_tree_first(&mm->entries, span));
}

struct mm_entry *mm_entry_next(struct mm_entry *entry, struct span span)
{
	return entry_of(interval_tree_next(&entry->node, span));
}

uint64_t mm_entry_pages(struct mm *mm)
{
	return ATOMIC_LOAD_RELAXED(&mm->entry_pages);
}

uint32_t mm_moving_ticket(struct mm *mm)
{
	return wait_ticket(&mm->moving_wait);
}

void mm_moving_wait(struct mm *mm, uint32_t ticket)
{
	wait_sleep(&mm->moving_wait, ticket, BASE_FOREVER);
}

static void entry_count(struct mm *mm, struct mm_entry *entry, uint64_t pages, bool add)
{
	uint64_t change = add ? pages : -pages;

	entry->owner->page_count += change;
	ATOMIC_STORE_RELAXED(&mm->entry_pages, mm->entry_pages + change);
	if (entry->state == MM_ENTRY_MOVING)
		mm->moving_pages += change;
	if (!add && entry->state == MM_ENTRY_MOVING)
		wait_wake_all(&mm->moving_wait);
}

static struct interval_tree *tree_of(struct mm *mm, const struct mm_entry *entry)
{
	return entry->displaced ? &mm->displaced : &mm->entries;
}

static void entry_set_span(struct mm *mm, struct mm_entry *entry, struct span span)
{
	interval_tree_remove(tree_of(mm, entry), &entry->node);
	entry->node.span = span;
	interval_tree_insert(tree_of(mm, entry), &entry->node);
}

static void entry_remove(struct mm *mm, struct mm_entry *entry)
{
	struct mm_entry_owner *owner = entry->owner;

	lock_assert_held(&mm->event_lock);
	entry_count(mm, entry, span_pages(entry->node.span), false);
	mm_entry_set_doubted(mm, entry, false);
	interval_tree_remove(tree_of(mm, entry), &entry->node);
	list_remove(&entry->owner_link);
	mm_node_put(mm, entry);
	if (owner->page_count == 0)
		owner->ops->empty(owner);
}

static bool entry_continues(const struct mm_entry *entry, const struct mm_entry *next)
{
	return entry->node.span.end == next->node.span.start &&
	       entry->owner == next->owner && entry->state == next->state &&
	       entry->remap_number == next->remap_number &&
	       entry->marked == next->marked && !entry->doubted &&
	       entry->frame + span_bytes(entry->node.span) == next->frame;
}

/* Join @entry with the one that ends where it starts, if they are one run. */
static void entry_join_previous(struct mm *mm, struct mm_entry *entry)
{
	struct span span = entry->node.span;
	struct mm_entry *previous;

	lock_assert_held(&mm->event_lock);
	if (span.start < PAGE_BYTES)
		return;
	previous = mm_entry_first(mm, span_make(span.start - PAGE_BYTES, PAGE_BYTES));
	if (!previous || entry->doubted || !entry_continues(previous, entry))
		return;
	interval_tree_remove(&mm->entries, &entry->node);
	list_remove(&entry->owner_link);
	mm_node_put(mm, entry);
	entry_set_span(mm, previous,
		       (struct span){ previous->node.span.start, span.end });
}

static void entry_join(struct mm *mm, struct mm_entry *entry)
{
	struct mm_entry *next =
		mm_entry_first(mm, span_make(entry->node.span.end, PAGE_BYTES));

	if (next)
		entry_join_previous(mm, next);
	entry_join_previous(mm, entry);
}

void mm_entry_insert(struct mm *mm, struct span span, struct mm_entry_owner *owner,
		     uint64_t frame, enum mm_entry_state state, bool marked)
{
	struct mm_entry *entry;

	ASSERT(!span_is_empty(span));
	ASSERT(!mm_entry_first(mm, span));
	entry = mm_node_take(mm);
	entry->node.span = span;
	entry->owner = owner;
	entry->frame = frame;
	entry->remap_number = 0;
	entry->doubted_from = 0;
	entry->state = state;
	entry->marked = marked;
	entry->doubted = false;
	entry->displaced = false;
	interval_tree_insert(&mm->entries, &entry->node);
	list_push_back(&owner->entries, &entry->owner_link);
	entry_count(mm, entry, span_pages(span), true);
	entry_join(mm, entry);
}

static void split_in(struct mm *mm, struct interval_tree *tree, uint64_t addr)
{
	struct mm_entry *entry = entry_of(interval_tree_find(tree, addr));
	struct mm_entry *tail;
	struct span span;

	lock_assert_held(&mm->event_lock);
	if (!entry || entry->node.span.start == addr)
		return;
	span = entry->node.span;
	tail = mm_node_take(mm);
	tail->node.span = (struct span){ addr, span.end };
	tail->owner = entry->owner;
	tail->frame = entry->frame + (addr - span.start);
	tail->remap_number = entry->remap_number;
	tail->doubted_from = entry->doubted_from;
	tail->state = entry->state;
	tail->marked = entry->marked;
	tail->doubted = false;
	tail->displaced = entry->displaced;
	entry_set_span(mm, entry, (struct span){ span.start, addr });
	interval_tree_insert(tree, &tail->node);
	list_push_back(&tail->owner->entries, &tail->owner_link);
	mm_entry_set_doubted(mm, tail, entry->doubted);
}

/* Make @addr a border between entries. */
void mm_entry_split(struct mm *mm, uint64_t addr)
{
	split_in(mm, &mm->entries, addr);
}

/* The first @bytes of @entry are home: it starts behind them, or is gone. */
void mm_entry_shrink(struct mm *mm, struct mm_entry *entry, uint64_t bytes)
{
	struct span span = entry->node.span;

	ASSERT(bytes <= span_bytes(span));
	if (bytes == 0)
		return;
	if (bytes == span_bytes(span)) {
		entry_remove(mm, entry);
		return;
	}
	entry_count(mm, entry, bytes >> PAGE_SHIFT, false);
	entry->frame += bytes;
	entry_set_span(mm, entry, (struct span){ span.start + bytes, span.end });
}

/* @entry is another owner's from now on; what came before it and goes on behind it stays. */
void mm_entry_give(struct mm *mm, struct mm_entry *entry, struct mm_entry_owner *owner,
		   uint64_t frame)
{
	struct mm_entry_owner *before = entry->owner;
	uint64_t pages = span_pages(entry->node.span);

	ASSERT(owner != before && !entry->displaced);
	entry_count(mm, entry, pages, false);
	list_remove(&entry->owner_link);
	entry->owner = owner;
	entry->frame = frame;
	list_push_back(&owner->entries, &entry->owner_link);
	entry_count(mm, entry, pages, true);
	entry_join(mm, entry);
	if (before->page_count == 0)
		before->ops->empty(before);
}

void mm_entry_set_doubted(struct mm *mm, struct mm_entry *entry, bool doubted)
{
	if (entry->doubted == doubted)
		return;
	entry->doubted = doubted;
	mm->doubted_count += doubted ? 1u : (uint64_t)-1;
	if (doubted)
		mm_remap_doubt(mm, entry->node.span);
	else
		entry->doubted_from = 0;
}

static void drop_or_doubt(struct mm *mm, struct span span, uint64_t settled_count)
{
	struct mm_entry *entry;

	lock_assert_held(&mm->event_lock);
	mm_entry_split(mm, span.start);
	mm_entry_split(mm, span.end);
	entry = mm_entry_first(mm, span);
	while (entry) {
		struct span gone = entry->node.span;

		ASSERT(span_covers(span, gone));
		if (entry->remap_number > settled_count) {
			/* Of what left, the UNMAP is expected, and says nothing of this. */
			entry->doubted_from = mm_left_first(mm, gone) ? 0 : span.start;
			mm_entry_set_doubted(mm, entry, true);
			entry = mm_entry_next(entry, span);
			continue;
		}
		entry->owner->ops->drop(entry->owner, entry->frame, span_bytes(gone));
		entry_remove(mm, entry);
		entry = mm_entry_first(mm, (struct span){ gone.end, span.end });
	}
}

/* The pages of @span are no more. */
void mm_entry_drop_span(struct mm *mm, struct span span)
{
	drop_or_doubt(mm, span, UINT64_MAX);
}

/* An UNMAP of @span: what was there before is no more, what came by a REMAP since may. */
void mm_entry_unmap(struct mm *mm, struct span span)
{
	drop_or_doubt(mm, span, mm->settled_count); /* U1 */
}

/* What stands for @span left before what arrives there now, and nobody told where to. */
void mm_entry_displace(struct mm *mm, struct span span)
{
	struct mm_entry *entry;

	mm_entry_split(mm, span.start);
	mm_entry_split(mm, span.end);
	while ((entry = mm_entry_first(mm, span))) {
		mm_entry_set_doubted(mm, entry, false);
		interval_tree_remove(&mm->entries, &entry->node);
		entry->displaced = true;
		interval_tree_insert(&mm->displaced, &entry->node);
	}
}

/* What left @span was unmapped. */
void mm_entry_drop_displaced(struct mm *mm, struct span span)
{
	struct mm_entry *entry;

	split_in(mm, &mm->displaced, span.start);
	split_in(mm, &mm->displaced, span.end);
	while ((entry = entry_of(interval_tree_first(&mm->displaced, span)))) {
		entry->owner->ops->drop(entry->owner, entry->frame,
					span_bytes(entry->node.span));
		entry_remove(mm, entry);
	}
}

/* Out of its tree, with its owner's link in @moved. */
static void detach(struct mm *mm, struct mm_entry *entry, struct list *moved)
{
	lock_assert_held(&mm->event_lock);
	interval_tree_remove(tree_of(mm, entry), &entry->node);
	entry->displaced = false;
	list_remove(&entry->owner_link);
	list_push_back(moved, &entry->owner_link);
}

/* What a REMAP from @from is about: where something left untold, that, and not what is there
 * now; elsewhere what is there. */
static void detach_all(struct mm *mm, struct span from, struct list *moved)
{
	struct mm_registration *left;
	struct mm_entry *entry;
	struct span rest = from;

	lock_assert_held(&mm->event_lock);
	while (!span_is_empty(rest) && (left = mm_left_first(mm, rest))) { /* U2 */
		mm_entry_split(mm, left->node.span.start);
		mm_entry_split(mm, left->node.span.end);
		rest.start = MIN(left->node.span.end, rest.end);
	}
	mm_entry_split(mm, from.start);
	mm_entry_split(mm, from.end);
	split_in(mm, &mm->displaced, from.start);
	split_in(mm, &mm->displaced, from.end);
	entry = mm_entry_first(mm, from);
	while (entry) {
		struct mm_entry *next = mm_entry_next(entry, from);

		if (!mm_left_is_untold(mm, entry->node.span)) /* U2 */
			detach(mm, entry, moved);
		entry = next;
	}
	while ((entry = entry_of(interval_tree_first(&mm->displaced, from))))
		detach(mm, entry, moved);
}

/* mremap: what stood for @from stands for as many bytes at @to. */
void mm_entry_rekey(struct mm *mm, struct span from, uint64_t to)
{
	struct list moved;
	struct list *node;

	/* All leave before the first arrives: the two spans may overlap. The nodes'
	 * parent pointers are free meanwhile; owner links keep their lists. */
	list_init(&moved);
	detach_all(mm, from, &moved);
	mm_left_told(mm, from);
	mm_left_add(mm, from, span_make(to, span_bytes(from)));
	while ((node = list_pop_front(&moved))) {
		struct mm_entry *entry = LIST_ENTRY(node, struct mm_entry, owner_link);
		uint64_t start = entry->node.span.start - from.start + to;

		entry->node.span = span_make(start, span_bytes(entry->node.span));
		entry->remap_number = mm->remap_count;
		if (entry->doubted)
			mm_remap_doubt(mm, entry->node.span);
		if (entry->doubted_from)
			entry->doubted_from += to - from.start;
		interval_tree_insert(&mm->entries, &entry->node);
		list_push_back(&entry->owner->entries, &entry->owner_link);
	}
}

void mm_entry_set_state(struct mm *mm, struct mm_entry *entry, enum mm_entry_state state)
{
	uint64_t pages = span_pages(entry->node.span);

	if (entry->state == state)
		return;
	if (entry->state == MM_ENTRY_MOVING) {
		mm->moving_pages -= pages;
		wait_wake_all(&mm->moving_wait);
	} else {
		mm->moving_pages += pages;
	}
	entry->state = state;
}

void mm_entry_check(struct mm *mm)
{
	struct span all = { 0, UINT64_MAX };
	struct mm_entry *entry = mm_entry_first(mm, all);
	uint64_t pages = 0, moving = 0, doubted = 0, end = 0;

	interval_tree_check(&mm->entries);
	for (; entry; entry = mm_entry_next(entry, all)) {
		struct span span = entry->node.span;

		ASSERT(span.start >= end);
		ASSERT(IS_ALIGNED(span.start | span.end | entry->frame, PAGE_BYTES));
		end = span.end;
		pages += span_pages(span);
		if (entry->state == MM_ENTRY_MOVING)
			moving += span_pages(span);
		doubted += entry->doubted;
		ASSERT(!entry->doubted || span_covers(mm->doubt, span));
	}
	interval_tree_check(&mm->displaced);
	entry = entry_of(interval_tree_first(&mm->displaced, all));
	for (; entry; entry = mm_entry_next(entry, all)) {
		ASSERT(entry->displaced && !entry->doubted);
		pages += span_pages(entry->node.span);
		if (entry->state == MM_ENTRY_MOVING)
			moving += span_pages(entry->node.span);
	}
	ASSERT(pages == mm->entry_pages);
	ASSERT(moving == mm->moving_pages);
	ASSERT(doubted == mm->doubted_count);
}
