/* SPDX-License-Identifier: MIT */
/*
 * Entries against an array of pages: whatever is inserted, cut, dropped and moved, the tree
 * says of each page what the array says.
 */
#include "mm_fixture.h"

#include "../base/seed.h"

#define MODEL_PAGES 96u
#define MODEL_OWNERS 3u
#define MODEL_STEPS 6000
#define MODEL_NODES 8 /* at the most that one operation here takes */

struct model_page {
	struct owner *owner; /* NULL: no entry */
	uint64_t frame;
	enum mm_entry_state state;
};

struct model {
	struct fixture *f;
	struct prng prng;
	struct owner owners[MODEL_OWNERS];
	uint32_t empties[MODEL_OWNERS];
	struct model_page pages[MODEL_PAGES];
	uint64_t next_frame;
};

static uint64_t seed;

/* A span of 1..8 pages that begins at *@page. */
static struct span random_span(struct model *m, uint64_t *page)
{
	uint64_t pages = 1 + prng_below(&m->prng, 8);

	*page = prng_below(&m->prng, MODEL_PAGES - pages);
	return heap_span(*page, pages);
}

static void model_clear(struct model *m, struct span span)
{
	for (uint64_t i = 0; i < MODEL_PAGES; i++)
		if (span_contains(span, heap(i)))
			m->pages[i].owner = NULL;
}

static uint64_t pages_of_owner(const struct model *m, const struct owner *owner)
{
	uint64_t pages = 0;

	for (uint64_t i = 0; i < MODEL_PAGES; i++)
		pages += m->pages[i].owner == owner;
	return pages;
}

static void expect_model(struct model *m)
{
	uint64_t pages = 0;

	lock_assert_held(&m->f->mm->event_lock);
	mm_entry_check(m->f->mm);
	for (uint64_t i = 0; i < MODEL_PAGES; i++) {
		const struct model_page *page = &m->pages[i];
		struct mm_entry *entry = mm_entry_first(m->f->mm, heap_span(i, 1));

		assert_int_equal(entry != NULL, page->owner != NULL);
		if (!entry)
			continue;
		pages++;
		assert_ptr_equal(entry->owner, &page->owner->owner);
		assert_int_equal(entry->frame + heap(i) - entry->node.span.start,
				 page->frame);
		assert_int_equal(entry->state, page->state);
	}
	assert_int_equal(mm_entry_pages(m->f->mm), pages);
	for (size_t i = 0; i < MODEL_OWNERS; i++) {
		struct owner *owner = &m->owners[i];
		uint64_t listed = 0;

		LIST_FOR_EACH(node, &owner->owner.entries)
			listed += span_pages(
				LIST_ENTRY(node, struct mm_entry, owner_link)->node.span);
		assert_int_equal(listed, owner->owner.page_count);
		assert_int_equal(owner->owner.page_count, pages_of_owner(m, owner));
	}
}

static void step_insert(struct model *m)
{
	uint64_t page;
	struct span span = random_span(m, &page);
	struct owner *owner = &m->owners[prng_below(&m->prng, MODEL_OWNERS)];
	enum mm_entry_state state = prng_below(&m->prng, 2);
	struct model_page *before = page ? &m->pages[page - 1] : NULL;

	lock_assert_held(&m->f->mm->event_lock);
	if (mm_entry_first(m->f->mm, span))
		return;
	m->next_frame += MIB(1);
	/* Often what joins the page before, where there is one. */
	if (before && before->owner && prng_below(&m->prng, 2)) {
		owner = before->owner;
		state = before->state;
		m->next_frame = before->frame + PAGE_BYTES;
	}
	mm_entry_insert(m->f->mm, span, &owner->owner, m->next_frame, state, false);
	for (uint64_t i = 0; i < span_pages(span); i++)
		m->pages[page + i] = (struct model_page){
			owner, m->next_frame + i * PAGE_BYTES, state
		};
	m->next_frame += GIB(1);
}

static void step_shrink(struct model *m)
{
	uint64_t page;
	struct span span = random_span(m, &page);
	struct mm_entry *entry = mm_entry_first(m->f->mm, span);
	uint64_t pages, start;

	lock_assert_held(&m->f->mm->event_lock);
	if (!entry)
		return;
	start = entry->node.span.start;
	pages = prng_below(&m->prng, span_pages(entry->node.span) + 1);
	model_clear(m, span_make(start, pages * PAGE_BYTES));
	mm_entry_shrink(m->f->mm, entry, pages * PAGE_BYTES);
}

static void step_rekey(struct model *m)
{
	struct model_page moved[8];
	uint64_t from_page, to_page;
	struct span from = random_span(m, &from_page);
	uint64_t pages = span_pages(from);
	struct span to;

	lock_assert_held(&m->f->mm->event_lock);
	to_page = prng_below(&m->prng, MODEL_PAGES - pages);
	to = heap_span(to_page, pages);
	if (span_overlaps(from, to))
		return;
	memcpy(moved, &m->pages[from_page], pages * sizeof(*moved));
	model_clear(m, to);
	model_clear(m, from);
	memcpy(&m->pages[to_page], moved, pages * sizeof(*moved));
	mm_entry_rekey(m->f->mm, from, to.start);
}

static void step_state(struct model *m)
{
	uint64_t page;
	struct span span = random_span(m, &page);
	struct mm_entry *entry = mm_entry_first(m->f->mm, span);
	enum mm_entry_state state = prng_below(&m->prng, 2);

	lock_assert_held(&m->f->mm->event_lock);
	if (!entry)
		return;
	span = entry->node.span;
	for (uint64_t i = 0; i < MODEL_PAGES; i++)
		if (span_contains(span, heap(i)))
			m->pages[i].state = state;
	mm_entry_set_state(m->f->mm, entry, state);
}

static void step_drop(struct model *m)
{
	uint64_t page, dropped = 0, gone = 0;
	struct span span = random_span(m, &page);

	lock_assert_held(&m->f->mm->event_lock);
	for (size_t i = 0; i < MODEL_OWNERS; i++)
		dropped -= m->owners[i].dropped_pages;
	for (uint64_t i = page; i < page + span_pages(span); i++)
		gone += m->pages[i].owner != NULL;
	model_clear(m, span);
	mm_entry_drop_span(m->f->mm, span);
	for (size_t i = 0; i < MODEL_OWNERS; i++)
		dropped += m->owners[i].dropped_pages;
	assert_int_equal(dropped, gone);
}

static void step(struct model *m)
{
	uint64_t before[MODEL_OWNERS];

	lock_assert_held(&m->f->mm->event_lock);
	for (size_t i = 0; i < MODEL_OWNERS; i++)
		before[i] = m->owners[i].owner.page_count;
	switch (prng_below(&m->prng, 6)) {
	case 0:
	case 1:
		step_insert(m);
		break;
	case 2:
		step_shrink(m);
		break;
	case 3:
		step_drop(m);
		break;
	case 4:
		step_rekey(m);
		break;
	default:
		mm_entry_split(m->f->mm, heap(prng_below(&m->prng, MODEL_PAGES)));
		step_state(m);
		break;
	}
	for (size_t i = 0; i < MODEL_OWNERS; i++) {
		m->empties[i] += before[i] && !m->owners[i].owner.page_count;
		assert_int_equal(m->owners[i].empties, m->empties[i]);
	}
}

static void the_tree_says_what_an_array_of_pages_says(void **state)
{
	static struct model m;
	struct fixture *f = *state;

	memset(&m, 0, sizeof(m));
	m.f = f;
	prng_seed(&m.prng, seed);
	for (size_t i = 0; i < MODEL_OWNERS; i++)
		owner_init(f, &m.owners[i], f->arena);
	for (int i = 0; i < MODEL_STEPS; i++) {
		assert_int_equal(mm_reserve(f->mm, MODEL_NODES), 0);
		mm_lock(f->mm);
		step(&m);
		expect_model(&m);
		mm_unlock(f->mm, MODEL_NODES);
	}
	assert_int_equal(mm_reserve(f->mm, MODEL_NODES), 0);
	mm_lock(f->mm);
	mm_entry_drop_span(f->mm, heap_span(0, MODEL_PAGES));
	mm_unlock(f->mm, MODEL_NODES);
	assert_int_equal(mm_entry_pages(f->mm), 0);
}

static struct mm_entry *entry_at(struct fixture *f, uint64_t page)
{
	return mm_entry_first(f->mm, heap_span(page, 1));
}

/* Page @page of the owner at the place of the same number. */
static void insert_page(struct fixture *f, uint64_t page, enum mm_entry_state state)
{
	assert_int_equal(mm_reserve(f->mm, 1), 0);
	mm_lock(f->mm);
	mm_entry_insert(f->mm, heap_span(page, 1), &f->owner.owner, page * PAGE_BYTES, state,
			false);
	mm_unlock(f->mm, 1);
}

static void drop_all(struct fixture *f)
{
	mm_lock(f->mm);
	mm_entry_drop_span(f->mm, HEAP_VMA);
	mm_unlock(f->mm, 0);
}

static void neighbours_whose_frames_are_contiguous_are_one_entry(void **state)
{
	struct fixture *f = *state;

	insert_page(f, 0, MM_ENTRY_DEVICE);
	insert_page(f, 2, MM_ENTRY_DEVICE);
	assert_ptr_not_equal(entry_at(f, 0), entry_at(f, 2));
	insert_page(f, 1, MM_ENTRY_DEVICE);
	assert_ptr_equal(entry_at(f, 0), entry_at(f, 2));
	assert_int_equal(span_pages(entry_at(f, 1)->node.span), 3);
	assert_int_equal(entry_at(f, 1)->frame, 0);
	drop_all(f);
}

static void another_state_or_owner_or_frame_is_another_entry(void **state)
{
	struct fixture *f = *state;
	struct owner second;

	owner_init(f, &second, f->arena);
	insert_page(f, 0, MM_ENTRY_DEVICE);
	insert_page(f, 1, MM_ENTRY_MOVING);
	assert_ptr_not_equal(entry_at(f, 0), entry_at(f, 1));
	assert_int_equal(mm_reserve(f->mm, 2), 0);
	mm_lock(f->mm);
	mm_entry_insert(f->mm, heap_span(2, 1), &second.owner, 2 * PAGE_BYTES,
			MM_ENTRY_MOVING, false);
	mm_entry_insert(f->mm, heap_span(3, 1), &second.owner, 7 * PAGE_BYTES,
			MM_ENTRY_MOVING, false);
	mm_entry_check(f->mm);
	mm_unlock(f->mm, 2);
	assert_ptr_not_equal(entry_at(f, 1), entry_at(f, 2));
	assert_ptr_not_equal(entry_at(f, 2), entry_at(f, 3));
	drop_all(f);
	assert_int_equal(second.empties, 1);
	assert_int_equal(f->owner.empties, 1);
}

static void a_drop_cuts_at_both_ends_and_keeps_the_rest(void **state)
{
	struct fixture *f = *state;

	for (uint64_t i = 0; i < 8; i++)
		insert_page(f, i, MM_ENTRY_DEVICE);
	assert_int_equal(mm_reserve(f->mm, 2), 0);
	mm_lock(f->mm);
	mm_entry_drop_span(f->mm, heap_span(3, 2));
	mm_entry_check(f->mm);
	mm_unlock(f->mm, 2);
	assert_int_equal(f->owner.dropped_pages, 2);
	assert_int_equal(span_pages(entry_at(f, 0)->node.span), 3);
	assert_null(entry_at(f, 3));
	assert_null(entry_at(f, 4));
	assert_int_equal(entry_at(f, 5)->frame, 5 * PAGE_BYTES);
	assert_int_equal(f->owner.empties, 0);
	drop_all(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(the_tree_says_what_an_array_of_pages_says),
		TEST(neighbours_whose_frames_are_contiguous_are_one_entry),
		TEST(another_state_or_owner_or_frame_is_another_entry),
		TEST(a_drop_cuts_at_both_ends_and_keeps_the_rest),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
