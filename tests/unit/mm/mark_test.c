/* SPDX-License-Identifier: MIT */
/*
 * Marks at the places of pages that were taken: what removes one, what does not, and that
 * to lose them loses no page.
 */
#include "mm_fixture.h"

static int set_up_marked(void **state)
{
	int err = set_up(state);
	struct fixture *f = *state;

	mm_mark_entries(f->mm);
	return err;
}

#define MARKED(name) cmocka_unit_test_setup_teardown(name, set_up_marked, tear_down)

static void take_first(struct fixture *f, uint64_t pages)
{
	heap_fill(f, 0, pages);
	assert_int_equal(take_pages(f, 0, pages), pages);
}

/* A guard that comes and goes: nobody tells. */
static void guard_twice(struct fixture *f, uint64_t page, uint64_t pages)
{
	fake_guard(f->fake, heap_span(page, pages));
	fake_page_clear(f->fake, heap_span(page, pages), SYS_PAGE_GUARD);
}

static void expect_dead(struct fixture *f, uint64_t page, uint64_t pages)
{
	for (uint64_t i = page; i < page + pages; i++)
		assert_int_equal(cpu_read(f, heap(i)), 0);
}

static uint64_t marks(struct fixture *f, uint64_t page, uint64_t pages)
{
	uint64_t count = 0;

	for (uint64_t i = page; i < page + pages; i++)
		count += fake_page(f->fake, heap(i)) == FAKE_PAGE_WP;
	return count;
}

static void a_place_is_marked_until_its_page_is_home(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	assert_int_equal(marks(f, 0, 8), 8);
	assert_int_equal(fake_page(f->fake, heap(8)), 0);
	assert_int_equal(stats_of(f).marked_pages, 8);
	assert_int_equal(mm_bring_home(f->mm, heap_span(2, 3), NULL), 0);
	assert_int_equal(marks(f, 0, 8), 5);
	assert_int_equal(stats_of(f).home_moved_pages, 3);
	expect_tags(f, 0, 8);
	assert_int_equal(marks(f, 0, 8), 0);
	assert_int_equal(stats_of(f).died_pages, 0);
	assert_int_equal(stats_of(f).home_copied_pages, 0);
}

static void a_fault_at_a_mark_costs_one_message(void **state)
{
	struct fixture *f = *state;

	take_first(f, 4);
	assert_int_equal(fake_touch(f->fake, heap(1), true), -EAGAIN);
	settle(f);
	assert_int_equal(stats_of(f).cpu_faults, 1);
	assert_int_equal(stats_of(f).hole_faults, 0);
	assert_int_equal(fake_blocked(f->fake, heap_span(0, 4)), 0);
	expect_tags(f, 0, 4);
}

static void holes_that_were_taken_are_marked_too(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);

	heap_fill(f, 0, 4);
	take.fill = take.span;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.filled_pages, 4);
	assert_int_equal(marks(f, 0, 8), 8);
	expect_tags(f, 0, 4);
	expect_dead(f, 4, 4);
	assert_int_equal(stats_of(f).died_pages, 0);
}

static void nothing_is_marked_where_nobody_asked(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	assert_int_equal(marks(f, 0, 8), 0);
	guard_twice(f, 2, 3);
	mm_marks_look(f->mm);
	assert_true(is_on_device(f, heap(2)));
	expect_tags(f, 0, 8); /* the limit */
}

static void nothing_is_marked_where_it_could_not_be_told(void **state)
{
	static const uint32_t features[] = { SYS_FEATURE_WP_ASYNC, SYS_FEATURE_PAGEMAP_SCAN };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		static struct fixture f;
		void *at = &f;

		fixture_start(&f, FAKE_ALL_FEATURES & ~features[i]);
		mm_mark_entries(f.mm);
		take_first(&f, 4);
		assert_int_equal(marks(&f, 0, 4), 0);
		expect_tags(&f, 0, 4);
		assert_int_equal(tear_down(&at), 0);
	}
}

/* --- what dies ---------------- */

static void a_page_that_was_guarded_does_not_come_home(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	guard_twice(f, 2, 3);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 8), NULL), 0);
	assert_int_equal(f->owner.dropped_pages, 3);
	assert_int_equal(stats_of(f).died_pages, 3);
	assert_int_equal(stats_of(f).home_moved_pages, 5);
	expect_dead(f, 2, 3);
	expect_tags(f, 0, 2);
	expect_tags(f, 5, 3);
}

static void who_waits_for_a_page_that_died_gets_zeros(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	guard_twice(f, 2, 3);
	f->owner.owner.home_bytes = HUGE_BYTES;
	expect_dead(f, 3, 1);
	assert_int_equal(stats_of(f).died_pages, 3);
	expect_tags(f, 0, 2);
	expect_tags(f, 5, 3);
}

static void a_guard_is_left_standing(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	fake_guard(f->fake, heap_span(2, 3));
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 8), NULL), 0);
	assert_int_equal(stats_of(f).died_pages, 3);
	for (uint64_t i = 2; i < 5; i++) {
		assert_true(fake_page(f->fake, heap(i)) & SYS_PAGE_GUARD);
		assert_int_equal(fake_touch(f->fake, heap(i), false), -EFAULT);
	}
	expect_tags(f, 0, 2);
	expect_tags(f, 5, 3);
}

static void all_pages_may_have_died(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	guard_twice(f, 0, 8);
	assert_int_equal(mm_evict_owner(f->mm, &f->owner.owner), 0);
	assert_int_equal(f->owner.empties, 1);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	expect_dead(f, 0, 8);
}

static void a_look_drops_what_died_and_revokes_it(void **state)
{
	struct fixture *f = *state;
	uint64_t seq = f->mm->event_seq;

	take_first(f, 8);
	guard_twice(f, 2, 1);
	fake_guard(f->fake, heap_span(5, 2));
	mm_marks_look(f->mm);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(is_on_device(f, heap(i)), i != 2 && i != 5 && i != 6);
	assert_int_equal(stats_of(f).died_pages, 3);
	assert_int_equal(f->owner.dropped_pages, 3);
	mm_lock(f->mm);
	assert_true(mm_changed_since(f->mm, seq, heap_span(5, 1)));
	assert_false(mm_changed_since(f->mm, seq, heap_span(7, 1)));
	mm_unlock(f->mm, 0);
	expect_dead(f, 2, 1);
	expect_tags(f, 0, 2);
	expect_tags(f, 7, 1);
}

static void pages_on_their_way_may_die_too(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);

	heap_fill(f, 0, 8);
	take.moving = true;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(marks(f, 0, 8), 8);
	guard_twice(f, 2, 3);
	mm_take_abort(f->mm, &take);
	assert_int_equal(stats_of(f).died_pages, 3);
	expect_dead(f, 2, 3);
	expect_tags(f, 0, 2);
	expect_tags(f, 5, 3);
}

/* --- what does not ---------------- */

/* Of eight pages three were moved to OTHER. */
static void expect_nothing_died(struct fixture *f)
{
	assert_int_equal(stats_of(f).died_pages, 0);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(cpu_read(f, OTHER + i * PAGE_BYTES), tag_of(2 + i));
	expect_tags(f, 0, 2);
	expect_tags(f, 5, 3);
}

static void mremap_carries_marks(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	assert_int_equal(fake_mremap(f->fake, heap_span(2, 3), OTHER, false), 0);
	settle(f);
	mm_marks_look(f->mm);
	expect_nothing_died(f);
}

/* The marks are elsewhere, and nobody has told. */
static void what_is_untold_is_not_dead(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	fake_mremap_untold(f->fake, heap_span(2, 3), OTHER);
	mm_marks_look(f->mm);
	assert_int_equal(stats_of(f).died_pages, 0);
	assert_true(is_on_device(f, heap(2)));
	assert_int_equal(mm_bring_home(f->mm, heap_span(2, 3), NULL), -EBUSY);
	fake_tell(f->fake);
	settle(f);
	mm_marks_look(f->mm);
	expect_nothing_died(f);
}

/* Who finds out whether it lives leaves its mark. */
static void what_is_in_doubt_keeps_its_marks(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	fake_munmap_untold(f->fake, heap_span(0, 4));
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), heap(0), false), 0);
	settle(f);
	mm_marks_look(f->mm);
	fake_tell(f->fake);
	settle(f);
	assert_int_equal(f->mm->doubted_count, 0);
	assert_int_equal(marks(f, 0, 4), 4);
	mm_marks_look(f->mm);
	assert_int_equal(stats_of(f).died_pages, 0);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cpu_read(f, heap(i)), tag_of(4 + i));
}

static void what_could_not_be_marked_lives(void **state)
{
	struct fixture *f = *state;

	fake_fail(f->fake, "uffd_writeprotect", 1, ENOMEM);
	take_first(f, 4);
	assert_int_equal(stats_of(f).marked_pages, 0);
	heap_fill(f, 4, 4);
	assert_int_equal(take_pages(f, 4, 4), 4);
	assert_int_equal(stats_of(f).marked_pages, 4);
	mm_marks_look(f->mm);
	assert_int_equal(stats_of(f).died_pages, 0);
	expect_tags(f, 0, 8);
	mm_check(f->mm);
}

/* Between the marks and the pages an event begins: of the rest nothing is known. */
static void what_came_home_in_part_lives(void **state)
{
	struct fixture *f = *state;
	struct span all = heap_span(0, 8);

	take_first(f, 8);
	fake_fail(f->fake, "uffd_move", 1, EAGAIN);
	assert_int_equal(mm_reserve(f->mm, 2), 0);
	mm_lock(f->mm);
	assert_int_equal(mm_bring_home_locked(f->mm, all, NULL), -EAGAIN);
	mm_unlock(f->mm, 2);
	assert_int_equal(marks(f, 0, 8), 0);
	mm_marks_look(f->mm);
	assert_int_equal(stats_of(f).died_pages, 0);
	expect_tags(f, 0, 8);
}

/* However it came there: it stands in the way of a page. */
static void a_mark_that_was_left_goes(void **state)
{
	struct fixture *f = *state;
	uint64_t done = 0;
	bool dirty = false;

	take_first(f, 8);
	mm_lock(f->mm);
	assert_int_equal(mm_return_locked(f->mm, heap_span(0, 4), f->arena, &done, &dirty),
			 0);
	assert_int_equal(done, 4 * PAGE_BYTES);
	mm_unlock(f->mm, 0);
	assert_int_equal(marks(f, 0, 8), 4);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(fake_tag(f->fake, heap(i)), tag_of(i));
	assert_false(dirty);
	mm_lock(f->mm);
	mm_entry_shrink(f->mm, mm_entry_first(f->mm, heap_span(0, 1)), done);
	assert_int_equal(mm_lose_locked(f->mm, heap(5)), 0);
	mm_unlock(f->mm, 0);
	assert_true(fake_page(f->fake, heap(5)) & FAKE_PAGE_POISON);
	/* The page that was lost: as its owner would. */
	assert_int_equal(mm_reserve(f->mm, 2), 0);
	mm_lock(f->mm);
	mm_entry_drop_span(f->mm, heap_span(5, 1));
	mm_unlock(f->mm, 2);
	expect_tags(f, 0, 5);
	expect_tags(f, 6, 2);
}

/* MADV_FREE ends the entry and leaves the mark. */
static void a_mark_without_an_entry_is_a_hole(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);

	take_first(f, 8);
	assert_int_equal(mm_reserve(f->mm, 2), 0);
	mm_lock(f->mm);
	mm_entry_drop_span(f->mm, heap_span(2, 4));
	mm_unlock(f->mm, 2);
	assert_int_equal(marks(f, 2, 4), 4);
	expect_dead(f, 2, 2);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 8), NULL), 0);
	take.fill = take.span;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages + take.filled_pages, 8);
	expect_dead(f, 2, 4);
	expect_tags(f, 0, 2);
	expect_tags(f, 6, 2);
}

static void a_child_of_clone_finds_pages_and_no_marks(void **state)
{
	struct fixture *f = *state;
	int child;

	take_first(f, 8);
	child = fake_fork(f->fake, false);
	settle(f);
	while (mm_collector_step(f->mm))
		;
	fake_enter(f->fake, child);
	for (uint64_t i = 0; i < 8; i++) {
		assert_int_equal(fake_touch(f->fake, heap(i), true), 0);
		assert_int_equal(fake_tag(f->fake, heap(i)), tag_of(i));
	}
	assert_int_equal(fake_touch(f->fake, heap(9), false), 0);
	fake_enter(f->fake, 0);
	assert_int_equal(marks(f, 0, 8), 8);
	expect_tags(f, 0, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MARKED(a_place_is_marked_until_its_page_is_home),
		MARKED(a_fault_at_a_mark_costs_one_message),
		MARKED(holes_that_were_taken_are_marked_too),
		TEST(nothing_is_marked_where_nobody_asked),
		cmocka_unit_test(nothing_is_marked_where_it_could_not_be_told),
		MARKED(a_page_that_was_guarded_does_not_come_home),
		MARKED(who_waits_for_a_page_that_died_gets_zeros),
		MARKED(a_guard_is_left_standing),
		MARKED(all_pages_may_have_died),
		MARKED(a_look_drops_what_died_and_revokes_it),
		MARKED(pages_on_their_way_may_die_too),
		MARKED(mremap_carries_marks),
		MARKED(what_is_untold_is_not_dead),
		MARKED(what_is_in_doubt_keeps_its_marks),
		MARKED(what_could_not_be_marked_lives),
		MARKED(what_came_home_in_part_lives),
		MARKED(a_mark_that_was_left_goes),
		MARKED(a_mark_without_an_entry_is_a_hole),
		MARKED(a_child_of_clone_finds_pages_and_no_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
