/* SPDX-License-Identifier: MIT */
/*
 * DOC: Taking pages
 *
 * A take moves what is present in a span of the program into frames and puts
 * entries in its place, in one step under event_lock. Before that step nothing
 * it learnt may have become untrue (law 4):
 *
 *     seq = event sequence
 *     VMA query
 *     REGISTER of the whole VMA, VMA query again: the same?
 *     lock
 *     event of this span since seq? a fork under way? start again, or give up
 *     MOVE ... look ... insert entries
 *     unlock
 *
 * The second query closes the window in which a part of the VMA was unmapped
 * before REGISTER and mapped anew after it: the new part is a VMA of its own,
 * not registered, and the two answers differ. Who asks for the take can bring the first
 * answer along.
 *
 * What was taken is what the frames hold afterwards, whatever MOVE answered: it
 * can move a page and say -EEXIST (A4). The frames were empty before. Only where MOVE had
 * nothing to say, and was not allowed to pass over holes, all is there without a look. Pages
 * that MOVE passed over as holes, inside of @fill, get an entry too: registered as
 * MISSING, a hole can only be filled by the monitor, which needs event_lock
 * (law 5). Their frames are holes as well and read as zeros.
 *
 * -EBUSY is a page that a fork made shared, or that is pinned for DMA. A write
 * that changes nothing breaks the sharing; what stays busy stays HOME (law 11).
 * That write may sleep in a fault while pages that were taken before are MOVING. An
 * mremap() can bring one of those to where it writes, and nobody but the taker would
 * end its fault: so the monitor gives it back, for its copy has not begun.
 */
#include "mm/mm_internal.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"

#define TAKE_BUSY_TRIES 3

/* -Dplant=home_only: nothing is ever taken, and every live test must notice. */
#if defined(USVM_PLANT_HOME_ONLY)
#define TAKE_NEVER true
#else
#define TAKE_NEVER false
#endif

/* What one attempt found out, by page of the span. */
struct take_map {
	uint64_t taken[PAGES_PER_HUGE / 64];  /* now in their frames */
	uint64_t unsure[PAGES_PER_HUGE / 64]; /* MOVE did not say "hole" */
	uint64_t busy[PAGES_PER_HUGE / 64];
	uint64_t used[PAGES_PER_HUGE / 64];   /* the frame has a page that moved away */
};

static void bit_set(uint64_t *bits, uint64_t i)
{
	bits[i / 64] |= 1ull << (i % 64);
}

static bool bit_get(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static void bits_set(uint64_t *bits, uint64_t from, uint64_t to)
{
	for (; from < to; from++)
		bit_set(bits, from);
}

/* mremap() takes a page elsewhere, and its frame stays: no other page may go there. */
void mm_frames_used(const struct mm_entry_owner *owner, struct span span, uint64_t frame,
		    uint64_t *bits)
{
	LIST_FOR_EACH(node, &owner->entries) {
		struct mm_entry *entry = LIST_ENTRY(node, struct mm_entry, owner_link);
		struct span frames = span_make(entry->frame, span_bytes(entry->node.span));

		if (!entry->displaced &&
		    entry->node.span.start - entry->frame == span.start - frame)
			continue;
		frames = span_intersect(frames, span_make(frame, span_bytes(span)));
		if (!span_is_empty(frames))
			bits_set(bits, (frames.start - frame) >> PAGE_SHIFT,
				 (frames.end - frame) >> PAGE_SHIFT);
	}
}

/* The part of the span from @start on that has no entry and may be taken. */
static bool next_piece(struct mm *mm, struct span span, const struct take_map *map,
		       uint64_t start, struct span *piece)
{
	while (start < span.end) {
		struct span rest = { start, span.end };
		struct mm_entry *entry = mm_entry_first(mm, rest);
		struct interval_node *q = interval_tree_first(&mm->quarantine, rest);
		uint64_t end = span.end;

		if (entry && entry->node.span.start <= start) {
			start = entry->node.span.end;
			continue;
		}
		if (PLANTED(REMOVE_TAKEN))
			q = NULL;
		if (q && q->span.start <= start) { /* D1 */
			start = q->span.end;
			continue;
		}
		if (bit_get(map->used, (start - span.start) >> PAGE_SHIFT)) {
			start += PAGE_BYTES;
			continue;
		}
		if (entry)
			end = MIN(end, entry->node.span.start);
		if (q)
			end = MIN(end, q->span.start);
		*piece = (struct span){ start, start + PAGE_BYTES };
		while (piece->end < end &&
		       !bit_get(map->used, (piece->end - span.start) >> PAGE_SHIFT))
			piece->end += PAGE_BYTES;
		return true;
	}
	return false;
}

/* Frames that hold something no entry stands for: left by a page that died. */
int mm_frames_empty(struct mm *mm, struct span frames)
{
	struct sys_page_run run;
	size_t count = 0;
	uint64_t end;
	int err;

	if (PLANTED(FRAME_DIRTY))
		return 0;
	err = mm->sys->ops->page_scan(mm->sys, frames, &run, 1, &count, &end);
	if (!err && count)
		err = mm->sys->ops->empty(mm->sys, frames);
	return err;
}

/* One that nothing stands for any more: what MOVE meets behind it is a hole. */
static bool remove_old_mark(struct mm *mm, uint64_t addr)
{
	lock_assert_held(&mm->event_lock);
	return ATOMIC_LOAD_RELAXED(&mm->marks_entries) &&
	       !mm_mark_remove(mm, span_make(addr, PAGE_BYTES));
}

/*
 * MOVE one piece, past what it refuses. *@whole: every page of it was moved, and MOVE said so.
 * Return: 0 the whole piece was looked at; -EAGAIN an event is in flight; -EOPNOTSUPP this
 * memory does not move.
 */
static int move_piece(struct mm *mm, const struct mm_take *take, struct span piece,
		      struct take_map *map, bool *whole)
{
	uint32_t flags = SYS_MOVE_DONTWAKE;
	uint64_t offset = piece.start - take->span.start;
	uint64_t end = piece.end - take->span.start;

	*whole = true;
	while (offset < end) {
		uint64_t page = offset >> PAGE_SHIFT;
		uint64_t moved = 0;
		int err;

		err = mm->sys->ops->uffd_move(mm->sys, mm->uffd, take->destination + offset,
					      take->span.start + offset, end - offset,
					      flags, &moved);
		offset += moved;
		if (!err || (err == -EAGAIN && moved))
			continue;
		*whole = false;
		if (err == -ENOENT && !(flags & SYS_MOVE_ALLOW_SRC_HOLES)) {
			flags |= SYS_MOVE_ALLOW_SRC_HOLES;
			continue;
		}
		if (err == -EFAULT && remove_old_mark(mm, take->span.start + offset))
			continue;
		if (err == -EBUSY)
			bit_set(map->busy, page);
		else if (err != -EEXIST && err != -EFAULT) /* a guard page, a marker */
			return err == -EAGAIN || err == -ENOENT ? -EAGAIN : -EOPNOTSUPP;
		bit_set(map->unsure, page);
		offset += PAGE_BYTES;
	}
	return 0;
}

/* Look at the frames of @piece: what is there was taken. */
static int scan_piece(struct mm *mm, struct mm_take *take, struct span piece,
		      struct take_map *map)
{
	uint64_t to_frame = take->destination - take->span.start;
	struct span rest = { piece.start + to_frame, piece.end + to_frame };
	struct sys_page_run runs[32];

	while (!span_is_empty(rest)) {
		uint64_t end = rest.end;
		size_t count = 0;
		int err;

		err = mm->sys->ops->page_scan(mm->sys, rest, runs, ARRAY_SIZE(runs), &count,
					      &end);
		if (err)
			return err;
		for (size_t i = 0; i < count; i++) {
			struct span run = span_intersect(runs[i].span, rest);

			bits_set(map->taken, (run.start - take->destination) >> PAGE_SHIFT,
				 (run.end - take->destination) >> PAGE_SHIFT);
			take->huge |= (runs[i].flags & SYS_PAGE_HUGE) != 0;
		}
		rest.start = end;
	}
	return 0;
}

/* All of @piece is in its frames. Did it come in huge pages? */
static int note_whole(struct mm *mm, struct mm_take *take, struct span piece,
		      struct take_map *map)
{
	uint64_t frame = piece.start + take->destination - take->span.start;
	struct mm_registration *r;
	struct sys_page_run run;
	size_t count = 0;
	uint64_t end;
	int err = 0;

	lock_assert_held(&mm->event_lock);
	bits_set(map->taken, (piece.start - take->span.start) >> PAGE_SHIFT,
		 (piece.end - take->span.start) >> PAGE_SHIFT);
	if (span_bytes(piece) != HUGE_BYTES)
		return 0;
	r = mm_registration_first(mm, piece);
	if (!r || !r->huge)
		err = mm->sys->ops->page_scan(mm->sys, span_make(frame, PAGE_BYTES), &run, 1,
					      &count, &end);
	take->huge |= (r && r->huge) || (count && run.flags & SYS_PAGE_HUGE);
	return err;
}

/* Was nothing at all met in the span, of which @piece is a part? */
static bool was_empty(const struct mm_take *take, struct span piece, const struct take_map *map)
{
	uint64_t any = 0;

	for (size_t i = 0; i < ARRAY_SIZE(map->taken); i++)
		any |= map->taken[i] | map->unsure[i];
	return !any && span_covers(piece, take->span);
}

/* Insert entries for the pages of @piece that were taken, and for holes in fill. */
static void insert_piece(struct mm *mm, struct mm_take *take, struct span piece,
			 const struct take_map *map, bool complete)
{
	uint64_t first = (piece.start - take->span.start) >> PAGE_SHIFT;
	uint64_t last = (piece.end - take->span.start) >> PAGE_SHIFT;
	uint64_t run = first;
	bool in_run = false;

	lock_assert_held(&mm->event_lock);
	for (uint64_t i = first; i <= last; i++) {
		uint64_t addr = take->span.start + (i << PAGE_SHIFT);
		bool taken = i < last && bit_get(map->taken, i);
		bool filled = i < last && !taken && complete &&
			      span_contains(take->fill, addr) && !bit_get(map->unsure, i);

		if (PLANTED(LIE_BELIEVED) && taken)
			taken = !bit_get(map->unsure, i);
		take->taken_pages += taken;
		take->filled_pages += filled;
		if ((taken || filled) && !in_run)
			run = i;
		if (!(taken || filled) && in_run) {
			struct span span = { take->span.start + (run << PAGE_SHIFT), addr };

			mm_entry_insert(mm, span, take->owner,
					take->frame + (run << PAGE_SHIFT),
					take->moving ? MM_ENTRY_MOVING : MM_ENTRY_DEVICE,
					mm_mark(mm, span));
		}
		in_run = taken || filled;
	}
}

static int take_piece(struct mm *mm, struct mm_take *take, struct span piece,
		      struct take_map *map)
{
	uint64_t to_frame = take->destination - take->span.start;
	bool whole;
	int err, scan_err;

	lock_assert_held(&mm->event_lock);
	/* F1 */
	err = mm_frames_empty(mm,
			      (struct span){ piece.start + to_frame, piece.end + to_frame });
	if (err)
		return -EOPNOTSUPP;
	err = move_piece(mm, take, piece, map, &whole);
	if (whole && !err)
		scan_err = note_whole(mm, take, piece, map);
	else
		scan_err = scan_piece(mm, take, piece, map); /* F1 */
	if (scan_err)
		base_host->die("usvm: cannot look at frames that pages were moved to\n");
	if (!err && take->fill_empty && was_empty(take, piece, map))
		take->fill = take->span;
	PLANTED_GAP(TAKE_TWO_STEPS, &mm->event_lock);
	insert_piece(mm, take, piece, map, err == 0); /* E1 */
	if (take->huge)
		mm_vma_saw_huge(mm, piece);
	return err;
}

static int take_locked(struct mm *mm, struct mm_take *take, const struct mm_look *look,
		       struct take_map *map) MUST_HOLD(&mm->event_lock);
static int take_locked(struct mm *mm, struct mm_take *take, const struct mm_look *look,
		       struct take_map *map)
{
	uint64_t start = take->span.start;
	struct span piece;
	int err;

	if (TAKE_NEVER)
		return 0;
	if (mm->gate_closed && !PLANTED(GATE_OPEN)) /* G1 */
		return -EBUSY;
	/* Again: who bound a system PTE since the first time must not keep it. */
	if (!PLANTED(REVOKE_TAKE))
		mm_invalidate_locked(mm, take->span, MM_EVENT_MIGRATE); /* Q3 */
	if (mm_changed_since(mm, look->seq, take->span) &&
	    !PLANTED(TAKE_STALE_VMA)) /* R1 */
		return -EAGAIN;
	/* MOVE refuses where one side is locked. mlockall() locks the arena too. */
	if (mm->sys->ops->is_mlocked(mm->sys, take->span))
		return -EOPNOTSUPP;
	if (!PLANTED(FRAME_USED))
		mm_frames_used(take->owner, take->span, take->frame, map->used);
	while (next_piece(mm, take->span, map, start, &piece)) {
		err = take_piece(mm, take, piece, map);
		if (err)
			return err;
		start = piece.end;
	}
	return 0;
}

static int take_look(struct mm *mm, struct mm_take *take, struct mm_look *look)
{
	if (!take->look)
		return mm_look(mm, take->span.start, look, NULL);
	*look = *take->look;
	take->look = NULL;
	return 0;
}

/* REGISTER @vma, which is the same afterwards. */
static int take_register(struct mm *mm, const struct mm_take *take, const struct sys_vma *vma)
{
	struct sys_vma again;
	int err;

	err = mm_vma_register(mm, vma, SYS_REGISTER_WP | SYS_REGISTER_MISSING);
	if (err == -ENOENT || err == -EAGAIN)
		return -EAGAIN;
	if (err)
		return err == -ENOMEM ? err : -EOPNOTSUPP;
	if (mm_span_excluded(mm, take->span))
		return -EOPNOTSUPP;
	err = mm_vma_find(mm, take->span.start, false, &again, NULL); /* R2 */
	if (err || again.span.start != vma->span.start || again.span.end != vma->span.end ||
	    again.prot != vma->prot || again.kind != vma->kind)
		return -EAGAIN;
	return 0;
}

/* Is the memory one that migrates, and registered, and still what it was? */
static int take_prepare(struct mm *mm, struct mm_take *take, struct mm_look *look)
{
	const struct sys_vma *vma = &look->vma;
	int err;

	if (ATOMIC_LOAD(&mm->gate_closed) && !PLANTED(GATE_OPEN))
		return -EBUSY;
	err = take_look(mm, take, look);
	if (err)
		return err;
	if (!span_covers(vma->span, take->span))
		return -ENOENT;
	if (!(mm_vma_flags(mm, vma) & MM_VMA_MIGRATES))
		return -EOPNOTSUPP;
	return take_register(mm, take, vma);
}

/* Write to the busy pages without changing them: a sharing that a fork left is broken.
 * They are known to be present; the kernel writes, and a fault on the way is served
 * by the monitor, for we hold nothing. */
static void write_to_busy(struct mm *mm, const struct mm_take *take, const struct take_map *map)
{
	uint64_t pages = span_pages(take->span);

	for (uint64_t i = 0; i < pages; i++) {
		uint64_t run = i;

		while (i < pages && bit_get(map->busy, i))
			i++;
		if (i == run)
			continue;
		struct span span = { take->span.start + (run << PAGE_SHIFT),
				     take->span.start + (i << PAGE_SHIFT) };

		if (mm->sys->ops->advise(mm->sys, span, SYS_ADVICE_POPULATE_WRITE))
			return;
	}
}

static void break_sharing(struct mm *mm, struct mm_take *take, const struct take_map *map)
{
	struct mm_take **at;

	mm_lock(mm);
	take->next = mm->breaking;
	mm->breaking = take;
	mm_unlock(mm, 0);
	write_to_busy(mm, take, map);
	mm_lock(mm);
	for (at = &mm->breaking; *at != take; at = &(*at)->next)
		;
	*at = take->next;
	mm_unlock(mm, 0);
}

/* One attempt. Return: as mm_take(), or -EAGAIN: again from the start. */
static int take_once(struct mm *mm, struct mm_take *take, struct take_map *map)
{
	size_t nodes = span_pages(take->span) / 2 + 8;
	uint64_t before = take->taken_pages + take->filled_pages;
	struct mm_look look;
	int err;

	err = take_prepare(mm, take, &look);
	if (err)
		return err;
	mm_quarantine_release(mm, take->span);
	err = mm_reserve(mm, nodes);
	if (err)
		return err;

	/* Law 16: revoke, drain, take. */
	mm_lock(mm);
	if (!PLANTED(REVOKE_TAKE))
		mm_invalidate_locked(mm, take->span, MM_EVENT_MIGRATE);
	mm_unlock(mm, 0);
	mm_drain(mm, take->span);

	mm_lock(mm);
	err = take_locked(mm, take, &look, map);
	if (err == -EAGAIN)
		mm_stat_add(&mm->stats.retries, 1);
	if (err == -EAGAIN && take->taken_pages + take->filled_pages > before)
		err = 0; /* what moved has entries; the rest stays for the next fault */
	INVARIANT(mm_entry_check(mm));
	mm_unlock(mm, nodes);
	return err;
}

static uint64_t count_busy(const struct take_map *map)
{
	uint64_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(map->busy); i++)
		count += (uint64_t)__builtin_popcountll(map->busy[i]);
	return count;
}

static void take_account(struct mm *mm, const struct mm_take *take)
{
	mm_lock(mm);
	mm->take_ns = mm->sys->ops->clock_ns(mm->sys);
	mm_stat_add(&mm->stats.taken_pages, take->taken_pages);
	mm_stat_add(&mm->stats.filled_pages, take->filled_pages);
	mm_stat_add(&mm->stats.busy_pages, take->busy_pages);
	mm_unlock(mm, 0);
}

int mm_take(struct mm *mm, struct mm_take *take)
{
	struct take_map map;
	uint32_t tries = 0, busy_tries = 0;
	int err;

	ASSERT(IS_ALIGNED(take->span.start | take->span.end | take->destination, PAGE_BYTES));
	ASSERT(!span_is_empty(take->span) && span_bytes(take->span) <= HUGE_BYTES);
	take->taken_pages = 0;
	take->filled_pages = 0;
	take->busy_pages = 0;
	take->huge = false;
	if (mm->why_not)
		return -EOPNOTSUPP;

	for (;;) {
		uint32_t ticket = mm_event_ticket(mm);

		memset(&map, 0, sizeof(map));
		err = take_once(mm, take, &map);
		take->busy_pages = count_busy(&map);
		if (err == -EAGAIN) {
			if (++tries > MM_TAKE_TRIES)
				err = -EBUSY;
			else
				mm_event_wait(mm, ticket, tries);
		} else if (!err && take->busy_pages &&
			   (busy_tries++ < TAKE_BUSY_TRIES || PLANTED(BUSY_FOREVER))) {
			break_sharing(mm, take, &map);
			continue;
		}
		if (err != -EAGAIN)
			break;
	}
	take_account(mm, take);
	return err;
}

/* Wherever the page is by now, its frame says that it was ours. */
static bool is_moving_for(const struct mm_take *take, const struct mm_entry *entry)
{
	return entry->owner == take->owner && entry->state == MM_ENTRY_MOVING &&
	       entry->frame >= take->frame &&
	       entry->frame < take->frame + span_bytes(take->span);
}

static struct mm_entry *first_moving(const struct mm_take *take)
{
	LIST_FOR_EACH(node, &take->owner->entries) {
		struct mm_entry *entry = LIST_ENTRY(node, struct mm_entry, owner_link);

		if (is_moving_for(take, entry))
			return entry;
	}
	return NULL;
}

/* What of @entry can be given back at once. Return: 0, -EAGAIN. */
static int give_back(struct mm *mm, const struct mm_take *take, struct mm_entry *entry)
	MUST_HOLD(&mm->event_lock);
static int give_back(struct mm *mm, const struct mm_take *take, struct mm_entry *entry)
{
	struct span span = entry->node.span;
	uint64_t done = 0;
	bool dirty = false;
	int err = mm_mark_lift(mm, entry, &span);

	if (err)
		return err == -ENOENT ? 0 : err;
	err = mm_return_locked(mm, span, take->destination + (entry->frame - take->frame),
			       &done, &dirty);
	if (err)
		entry->marked = false;
	mm_entry_shrink(mm, entry, done);
	return err;
}

/* Somebody sleeps at @addr, on a page that is MOVING: perhaps its taker. Return: 0;
 * -EAGAIN: an event is in flight. */
int mm_take_yield(struct mm *mm, uint64_t addr)
{
	struct mm_entry *entry;
	struct mm_take *take = mm->breaking;

	lock_assert_held(&mm->event_lock);
	if (!take)
		return 0;
	mm_entry_split(mm, addr);
	mm_entry_split(mm, addr + PAGE_BYTES);
	entry = mm_entry_first(mm, span_make(addr, PAGE_BYTES));
	while (take && !is_moving_for(take, entry))
		take = take->next;
	if (!take)
		return 0;
	if (entry->doubted)
		return -EAGAIN;
	return give_back(mm, take, entry);
}

void mm_take_abort(struct mm *mm, struct mm_take *take)
{
	struct mm_entry *entry;

	mm_lock(mm);
	while ((entry = first_moving(take))) {
		int err = -EAGAIN;

		if (!entry->doubted && !entry->displaced)
			err = give_back(mm, take, entry);
		if (!err)
			continue;
		mm_unlock(mm, 0);
		base_host->cpu_yield();
		mm_lock(mm);
	}
	mm_unlock(mm, 0);
}

void mm_take_finish(struct mm *mm, struct mm_take *take)
{
	struct mm_entry *entry;

	mm_lock(mm);
	while ((entry = first_moving(take))) {
		mm_entry_set_state(mm, entry, MM_ENTRY_DEVICE);
		if (!PLANTED(WAKE_TAKEN))
			mm_wake(mm, entry->node.span);
	}
	mm_unlock(mm, 0);
}
