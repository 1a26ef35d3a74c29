/* SPDX-License-Identifier: MIT */
/*
 * DOC: the oracle: changes of the address space
 *
 * A change is a write of states, zeros or flags that takes the time of its call. While
 * the call runs it can be seen and hides nothing, for it is open; when it has returned
 * it hides what was there before. A call that failed may have been done in part: what
 * it would have written becomes a maybe. mremap() of several mappings, as Linux 6.17 has
 * it, leaves the holes between them and what lies at their new place as they were.
 *
 * mremap() has a moment in which the new place is unmapped: a maybe of no length,
 * before the begin of what is moved there, which hides it from later reads.
 */
#include <stdlib.h>

#include "model_internal.h"

static struct span clip(const struct model *model, struct span span)
{
	return span_intersect(model->span, span);
}

static bool is_move(const struct model_change *change)
{
	return change->type == MODEL_MOVE || change->type == MODEL_MOVE_KEEP;
}

/* Protections, flags and borders change, pages and what is in them stay. */
static bool takes_pages(const struct model_change *change)
{
	return change->type != MODEL_PROTECT && change->type != MODEL_SPLIT &&
	       change->type != MODEL_FORK_FLAG;
}

static bool may_be_shared(const struct page *page)
{
	for (const struct write *w = page->state.first; w; w = w->next) {
		if (w->value & MODEL_SHARED)
			return true;
	}
	return false;
}

static uint64_t last_state(const struct page *page)
{
	return page->state.first ? page->state.first->value : 0;
}

/* --- begin ------------------------------------------------------------------- */

static void begin_page(struct model *model, const struct model_change *change,
		       struct page *page)
{
	const uint64_t start = change->start;
	uint32_t maybe = 0;

	if (takes_pages(change) && !page->changing++)
		page->changing_since = start;
	model_prune(model, &page->state);
	model_prune(model, &page->zero);
	model_prune(model, &page->fork);
	switch (change->type) {
	case MODEL_MAP:
		model_push(model, &page->state, change->state, start, MODEL_OPEN, 0);
		model_push(model, &page->zero, 0, start, MODEL_OPEN, 0);
		model_push(model, &page->fork, 0, start, MODEL_OPEN, 0);
		break;
	case MODEL_UNMAP:
	case MODEL_MOVE:
		model_push(model, &page->state, 0, start, MODEL_OPEN, 0);
		break;
	case MODEL_ZERO:
	case MODEL_MOVE_KEEP:
	case MODEL_MAY_ZERO:
		if (change->type == MODEL_MAY_ZERO ||
		    (change->type == MODEL_ZERO && may_be_shared(page)))
			maybe = WRITE_MAYBE;
		model_push(model, &page->zero, 0, start, MODEL_OPEN, maybe);
		break;
	case MODEL_PROTECT:
		page->lax = true;
		model_push(model, &page->state,
			   change->state | (last_state(page) & MODEL_SHARED), start,
			   MODEL_OPEN, 0);
		break;
	case MODEL_GUARD:
		page->lax = true;
		if (!change->state) {
			page->guarded = true;
			model_push(model, &page->state, 0, start, MODEL_OPEN, WRITE_MAYBE);
			model_push(model, &page->zero, 0, start, MODEL_OPEN, WRITE_MAYBE);
		}
		break;
	case MODEL_FORK_FLAG:
		model_push(model, &page->fork, change->state, start, MODEL_OPEN, 0);
		break;
	case MODEL_SPLIT:
		break;
	}
}

static struct page *source_of(const struct model *model, const struct model_change *change,
			      uint64_t addr)
{
	uint64_t at = change->span.start + (addr - change->to);

	return model_page(model, MIN(at, change->span.end - PAGE_BYTES));
}

static void begin_target(struct model *model, const struct model_change *change,
			 uint64_t unmapped_at)
{
	struct span to = clip(model, span_make(change->to, change->bytes));

	for (uint64_t addr = to.start; addr < to.end; addr += PAGE_BYTES) {
		struct page *page = model_page(model, addr);

		if (!page->changing++)
			page->changing_since = change->start;
		model_prune(model, &page->state);
		model_push(model, &page->state, 0, unmapped_at, unmapped_at, WRITE_MAYBE);
		if (addr - change->to >= span_bytes(change->span))
			model_push(model, &page->zero, 0, change->start, MODEL_OPEN, 0);
		if (page->alias_count == ALIAS_MAX)
			abort(); /* more threads than the workload has */
		page->alias_since[page->alias_count] = change->start;
		page->alias[page->alias_count++] = source_of(model, change, addr);
		model_dma_follow(model, source_of(model, change, addr), page);
	}
}

void model_change_begin(struct model *model, struct model_change *change)
{
	uint64_t unmapped_at = model_now(model);
	struct span span = clip(model, change->span);

	change->start = model_now(model);
	change->number = ++model->number;
	change->slot = model_activate(model, unmapped_at);
	model->changes[model->change_next++ % CHANGES_KEPT] = (struct change_time){
		.span = change->span,
		.start = change->start,
		.end = MODEL_OPEN,
		.number = change->number,
	};
	for (uint64_t addr = span.start; addr < span.end; addr += PAGE_BYTES)
		begin_page(model, change, model_page(model, addr));
	if (is_move(change))
		begin_target(model, change, unmapped_at);
}

/* --- end ------------------------------------------------------------------------ */

static void close_write(struct list_of *list, const struct model_change *change,
			uint64_t now, int err)
{
	struct write *write = model_find(list, change->number);

	if (!write)
		return;
	write->end = now;
	if (err)
		write->flags |= WRITE_MAYBE;
}

static void withdraw_write(struct model *model, struct list_of *list,
			   const struct model_change *change)
{
	struct write *write = model_find(list, change->number);

	if (write)
		model_take_out(model, list, write);
}

/* Of a mremap() over several mappings: nothing was at @addr when they moved. */
static bool is_hole(const struct model_change *change, uint64_t addr, int err)
{
	if (err || !is_move(change) || !change->pieces)
		return false;
	for (size_t i = 0; i < change->piece_count; i++) {
		if (span_contains(change->pieces[i], addr))
			return false;
	}
	return true;
}

static void end_page(struct model *model, const struct model_change *change,
		     uint64_t addr, uint64_t now, int err)
{
	struct page *page = model_page(model, addr);
	struct list_of *lists[3] = { &page->state, &page->zero, &page->fork };
	bool hole = is_hole(change, addr, err);

	for (int i = 0; i < 3; i++) {
		/* A mmap() that fails has done nothing. */
		if (hole || (err && change->type == MODEL_MAP))
			withdraw_write(model, lists[i], change);
		else
			close_write(lists[i], change, now, err);
	}
	if (change->type == MODEL_PROTECT && page->guarded)
		model_push(model, &page->state, 0, change->start, now, WRITE_MAYBE);
	if (!err && !hole && (change->type == MODEL_UNMAP || change->type == MODEL_MOVE))
		page->lax = page->guarded = false;
	if (!takes_pages(change))
		return;
	page->changing--;
	page->change_end = now;
}

static void unguard(struct model *model, const struct model_change *change,
		    struct page *page, uint64_t now)
{
	struct model_values states = { 0 };

	model_collect(&page->state, change->start, now, &states);
	for (size_t i = 0; i < states.count; i++) {
		if (states.value[i])
			model_push(model, &page->state, states.value[i], change->start, now, 0);
	}
}

static void copy_list(struct model *model, struct list_of *to, const struct list_of *from,
		      const struct model_change *change, uint64_t now, bool but_zero, int err)
{
	struct model_values values = { 0 };

	model_collect(from, change->start, now, &values);
	for (size_t i = 0; i < values.count; i++) {
		if (values.value[i] || !but_zero)
			model_push(model, to, values.value[i], change->start, now,
				   err ? WRITE_MAYBE : 0);
	}
}

static bool has_words(const struct page *page)
{
	for (uint32_t word = 0; word < MODEL_WORDS; word++) {
		if (page->word[word].first)
			return true;
	}
	return false;
}

static void copy_words(struct model *model, struct page *to, struct page *from,
		       const struct model_change *change, uint64_t now, int err)
{
	bool all_zero = !has_words(from) && !from->alias_count;

	if (all_zero) {
		model_push(model, &to->zero, 0, change->start, now, err ? WRITE_MAYBE : 0);
		return;
	}
	to->used = true;
	if (model_may_lose(from, change->start))
		model_push(model, &to->zero, 0, change->start, now, WRITE_MAYBE);
	for (uint32_t word = 0; word < MODEL_WORDS; word++) {
		struct model_values values = { 0 };

		model_collect_chain(from, word, change->start, now, &values);
		model_prune_word(model, to, word);
		for (size_t i = 0; i < values.count; i++)
			model_push(model, &to->word[word], values.value[i], change->start, now,
				   err ? WRITE_MAYBE : 0);
	}
}

static void drop_alias(struct page *page, const struct page *alias, uint64_t since)
{
	for (uint32_t i = 0; i < page->alias_count; i++) {
		if (page->alias[i] == alias && page->alias_since[i] == since) {
			page->alias_since[i] = page->alias_since[--page->alias_count];
			page->alias[i] = page->alias[page->alias_count];
			return;
		}
	}
}

/* What the call wrote at the old place must not be taken along: it is out of the way
 * while the rest is copied. */
static void hide_own(struct page *page, const struct model_change *change, uint64_t start)
{
	struct list_of *lists[2] = { &page->state, &page->zero };

	for (int i = 0; i < 2; i++) {
		struct write *write = model_find(lists[i], change->number);

		if (write)
			write->start = start;
	}
}

/* A page of the new place has what was at the old one. */
static void end_target_page(struct model *model, const struct model_change *change,
			    uint64_t addr, uint64_t own_number, uint64_t now, int err)
{
	struct page *page = model_page(model, addr);
	struct page *from = source_of(model, change, addr);

	hide_own(from, change, MODEL_OPEN);
	model->number = MAX(model->number, own_number) + 1;
	copy_list(model, &page->state, &from->state, change, now, true, err);
	copy_list(model, &page->fork, &from->fork, change, now, false, err);
	if (addr - change->to >= span_bytes(change->span))
		close_write(&page->zero, change, now, err);
	else
		copy_words(model, page, from, change, now, err);
	page->lax |= from->lax;
	page->guarded |= from->guarded;
	if (from->guarded)
		model_push(model, &page->state, 0, change->start, now, WRITE_MAYBE);
	hide_own(from, change, change->start);
}

static void end_target(struct model *model, const struct model_change *change,
		       uint64_t now, int err)
{
	struct span to = clip(model, span_make(change->to, change->bytes));
	uint64_t own_number = change->number;

	for (uint64_t addr = to.start; addr < to.end; addr += PAGE_BYTES) {
		struct page *page = model_page(model, addr);

		if (!is_hole(change, change->span.start + (addr - change->to), err))
			end_target_page(model, change, addr, own_number, now, err);
		drop_alias(page, source_of(model, change, addr), change->start);
		page->changing--;
		page->change_end = now;
	}
}

/*
 * madvise() lets go of the address space while its event is read. Where another call has
 * split the mapping meanwhile, it goes on in the first part only, and says 0.
 */
static bool was_split(struct model *model, const struct model_change *change)
{
	bool split = false;

	for (uint32_t i = 0; i < CHANGES_KEPT; i++) {
		struct change_time *other = &model->changes[i];

		if (other->number == change->number)
			other->end = model->now;
		else if (other->end > change->start && span_overlaps(other->span, change->span))
			split = true;
	}
	return split;
}

void model_change_end(struct model *model, struct model_change *change, int err)
{
	struct span span = clip(model, change->span);
	uint64_t now = model_now(model);

	if (was_split(model, change) && !err && change->type == MODEL_ZERO)
		err = -1; /* in part */

	if (is_move(change))
		end_target(model, change, now, err);
	for (uint64_t addr = span.start; addr < span.end; addr += PAGE_BYTES) {
		struct page *page = model_page(model, addr);

		end_page(model, change, addr, now, err);
		if (change->type == MODEL_GUARD && change->state && !err)
			unguard(model, change, page, now);
	}
	model_deactivate(model, change->slot);
}

void model_state_is(struct model *model, uint64_t addr, uint32_t state)
{
	struct page *page;
	uint64_t now = model_now(model);

	if (!span_contains(model->span, addr))
		return;
	page = model_page(model, addr);
	model->number++;
	model_push(model, &page->state, state | (last_state(page) & MODEL_SHARED), now, now, 0);
	if (page->guarded) /* a guard page does not show */
		model_push(model, &page->state, 0, now, now, WRITE_MAYBE);
}
