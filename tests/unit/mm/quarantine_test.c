/* SPDX-License-Identifier: MIT */
/*
 * Pages that a REMOVE named die later: none is taken before it is known to be new.
 */
#include "mm_fixture.h"

/* The program says DONTNEED of pages that are at home; the message is read, the zap is
 * still to come, and madvise() is somewhere in flight all the time. */
static void remove_begin(struct fixture *f, struct span span)
{
	f->fake->madvise_busy = true;
	assert_int_equal(fake_madvise(f->fake, span, SYS_ADVICE_DONTNEED), 0);
	settle(f);
}

static bool is_quarantined(struct fixture *f, uint64_t page)
{
	bool is;

	mm_lock(f->mm);
	is = mm_quarantine_meets(f->mm, heap_span(page, 1));
	mm_unlock(f->mm, 0);
	return is;
}

/* A heap of @pages pages in a VMA that is registered. */
static void start(struct fixture *f, uint64_t pages)
{
	heap_fill(f, 0, pages);
	assert_int_equal(take_pages(f, 511, 1), 0);
}

static void a_dying_page_is_not_taken(void **state)
{
	struct fixture *f = *state;

	start(f, 4);
	remove_begin(f, heap_span(1, 2));
	assert_int_equal(stats_of(f).quarantined, 2);
	assert_int_equal(take_pages(f, 0, 4), 2);
	assert_false(is_on_device(f, heap(1)));
	assert_false(is_on_device(f, heap(2)));
	fake_finish_remove(f->fake);
	assert_int_equal(cpu_read(f, heap(1)), 0);
	assert_int_equal(cpu_read(f, heap(2)), 0);
	expect_tags(f, 0, 1);
	expect_tags(f, 3, 1);
}

static void a_page_that_is_seen_as_a_hole_is_free_again(void **state)
{
	struct fixture *f = *state;

	start(f, 2);
	remove_begin(f, heap_span(0, 2));
	fake_finish_remove(f->fake);
	assert_true(is_quarantined(f, 0));
	assert_int_equal(take_pages(f, 0, 2), 0); /* this saw them */
	assert_false(is_quarantined(f, 0));
	heap_fill(f, 0, 2);
	assert_int_equal(take_pages(f, 0, 2), 2);
	expect_tags(f, 0, 2);
}

/* Who answers the fault of a hole has seen it. */
static void a_hole_that_was_filled_by_a_fault_is_free_again(void **state)
{
	struct fixture *f = *state;

	start(f, 1);
	remove_begin(f, heap_span(0, 1));
	fake_finish_remove(f->fake);
	assert_int_equal(cpu_read(f, heap(0)), 0);
	assert_false(is_quarantined(f, 0));
	fake_set_tag(f->fake, heap(0), 9);
	assert_int_equal(take_pages(f, 0, 1), 1);
	assert_int_equal(cpu_read(f, heap(0)), 9);
}

static void with_no_madvise_in_flight_every_zap_is_over(void **state)
{
	struct fixture *f = *state;

	start(f, 4);
	remove_begin(f, heap_span(0, 2));
	fake_finish_remove(f->fake);
	heap_fill(f, 0, 2); /* before anybody saw the holes */
	assert_int_equal(take_pages(f, 0, 4), 2);
	f->fake->madvise_busy = false;
	assert_int_equal(take_pages(f, 0, 4), 2);
	expect_tags(f, 0, 4);
}

static void announce_another(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (strcmp(op, "madvise_in_flight") != 0)
		return;
	f->fake->op_hook = NULL;
	f->fake->madvise_busy = false; /* as seen before the call that now begins */
	fake_madvise(f->fake, heap_span(0, 1), SYS_ADVICE_DONTNEED);
	settle(f);
	f->fake->madvise_busy = false;
}

/* The look says "no", and a REMOVE is announced before its answer is used. */
static void a_remove_after_the_look_counts(void **state)
{
	struct fixture *f = *state;

	start(f, 1);
	remove_begin(f, heap_span(0, 1));
	fake_finish_remove(f->fake);
	heap_fill(f, 0, 1);
	f->fake->op_hook = announce_another;
	mm_quarantine_release(f->mm, heap_span(0, 1));
	assert_null(f->fake->op_hook);
	assert_true(is_quarantined(f, 0));
	fake_finish_remove(f->fake);
	assert_int_equal(cpu_read(f, heap(0)), 0);
}

/* A thread unmapped pages 0 to 3 and has not told; others came there, and are discarded. */
static void an_unmap_told_late_spares_the_quarantine_of_what_arrived(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	fake_munmap_untold(f->fake, heap_span(0, 4));
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), heap(0), false), 0);
	settle(f);
	remove_begin(f, heap_span(0, 4));
	fake_tell(f->fake);
	settle(f);
	assert_true(is_quarantined(f, 0));
	assert_int_equal(take_pages(f, 0, 4), 0);
	fake_finish_remove(f->fake);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cpu_read(f, heap(i)), 0);
}

static void it_is_not_known_whether_madvise_is_in_flight(void **state)
{
	struct fixture *f = *state;

	start(f, 1);
	remove_begin(f, heap_span(0, 1));
	f->fake->madvise_busy = false;
	fake_fail(f->fake, "madvise_in_flight", 1, EIO);
	assert_int_equal(take_pages(f, 0, 1), 0);
	fake_finish_remove(f->fake);
	assert_int_equal(cpu_read(f, heap(0)), 0);
}

/* --- the WRITTEN rule ---------------- */

static void a_page_that_was_written_since_its_protection_is_new(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	remove_begin(f, heap_span(2, 2));
	fake_finish_remove(f->fake);
	heap_fill(f, 2, 2);                       /* before anybody saw the holes */
	assert_int_equal(take_pages(f, 0, 8), 6); /* this protects them */
	assert_int_equal(take_pages(f, 2, 2), 0);
	assert_int_equal(fake_touch(f->fake, heap(3), true), 0);
	assert_int_equal(take_pages(f, 2, 2), 1);
	assert_true(is_on_device(f, heap(3)));
	assert_true(is_quarantined(f, 2));
	expect_tags(f, 0, 8);
}

/* Each run of its own, and between pages that were never in it. */
static void every_run_is_protected_and_found_new(void **state)
{
	struct fixture *f = *state;

	start(f, 16);
	remove_begin(f, heap_span(2, 2));
	remove_begin(f, heap_span(6, 1));
	remove_begin(f, heap_span(9, 1));
	fake_finish_remove(f->fake);
	heap_fill(f, 0, 16);
	mm_quarantine_release(f->mm, heap_span(0, 16));
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(fake_touch(f->fake, heap(i), true), 0);
	mm_quarantine_release(f->mm, heap_span(0, 16));
	for (uint64_t i = 0; i < 16; i++)
		assert_false(is_quarantined(f, i));
	assert_int_equal(take_pages(f, 0, 16), 16);
	expect_tags(f, 0, 16);
}

static void a_protected_page_that_was_not_written_is_never_new(void **state)
{
	struct fixture *f = *state;

	start(f, 2);
	remove_begin(f, heap_span(0, 2));
	for (int i = 0; i < 5; i++) {
		assert_int_equal(fake_touch(f->fake, heap(0), false), 0);
		assert_int_equal(take_pages(f, 0, 2), 0);
	}
	fake_finish_remove(f->fake);
	assert_int_equal(cpu_read(f, heap(0)), 0);
}

/* Protected, then named by another REMOVE: the protection of before says nothing. */
static void another_remove_takes_the_protection_for_old(void **state)
{
	struct fixture *f = *state;

	start(f, 1);
	remove_begin(f, heap_span(0, 1));
	mm_quarantine_release(f->mm, heap_span(0, 1));
	assert_int_equal(fake_touch(f->fake, heap(0), true), 0); /* WRITTEN */
	remove_begin(f, heap_span(0, 1));
	assert_int_equal(take_pages(f, 0, 1), 0);
	fake_finish_remove(f->fake);
	assert_int_equal(cpu_read(f, heap(0)), 0);
}

static void without_write_protection_only_holes_end_it(void **state)
{
	struct fixture *f = *state;

	f->sys->features &= ~(uint32_t)SYS_FEATURE_WP_ASYNC;
	start(f, 1);
	remove_begin(f, heap_span(0, 1));
	assert_int_equal(take_pages(f, 0, 1), 0);
	assert_int_equal(fake_touch(f->fake, heap(0), true), 0);
	assert_int_equal(take_pages(f, 0, 1), 0);
	fake_finish_remove(f->fake);
	assert_int_equal(take_pages(f, 0, 1), 0);
	assert_false(is_quarantined(f, 0));
}

/* --- its end ---------------- */

static void it_ends_with_the_mapping(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	remove_begin(f, heap_span(0, 8));
	fake_munmap(f->fake, heap_span(2, 2));
	settle(f);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(is_quarantined(f, i), i < 2 || i >= 4);
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 2), OTHER, false), 0);
	settle(f);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(is_quarantined(f, i), i < 2 || i >= 6);
	assert_int_equal(fake_mremap(f->fake, heap_span(6, 1), OTHER, true), 0);
	settle(f);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(is_quarantined(f, i), i < 2 || i >= 7);
	f->fake->madvise_busy = false;
}

/* More runs than one look shows: what was not looked at stays, and is not protected, for
 * there may be holes. */
static void a_look_that_ends_early_leaves_the_rest(void **state)
{
	struct fixture *f = *state;

	for (uint64_t i = 0; i < HEAP_PAGES; i += 2)
		heap_fill(f, i, 1);
	assert_int_equal(take_pages(f, 511, 1), 0);
	remove_begin(f, heap_span(0, HEAP_PAGES));
	mm_quarantine_release(f->mm, heap_span(0, HEAP_PAGES));
	assert_false(is_quarantined(f, 1));
	assert_true(is_quarantined(f, 0));
	assert_true(is_quarantined(f, 301));
	assert_int_equal(fake_page(f->fake, heap(301)), 0); /* no marker */
	fake_finish_remove(f->fake);
	for (int i = 0; i < 4; i++)
		mm_quarantine_release(f->mm, heap_span(0, HEAP_PAGES));
	for (uint64_t i = 0; i < HEAP_PAGES; i++)
		assert_false(is_quarantined(f, i));
}

static void a_remove_while_the_mm_ends_leaves_nothing_behind(void **state)
{
	struct fixture *f = *state;

	start(f, 2);
	mm_lock(f->mm);
	f->mm->ending = true; /* as mm_destroy() says */
	mm_unlock(f->mm, 0);
	mm_quarantine_fini(f->mm);
	assert_int_equal(fake_madvise(f->fake, heap_span(0, 1), SYS_ADVICE_DONTNEED), 0);
	settle(f);
	assert_false(is_quarantined(f, 0));
}

static void add(struct fixture *f, uint64_t page)
{
	assert_int_equal(mm_reserve(f->mm, MM_EVENT_NODES), 0);
	mm_lock(f->mm);
	mm_quarantine_add(f->mm, heap_span(page, 1));
	mm_unlock(f->mm, MM_EVENT_NODES);
}

/* A program that discards page after page: what is remembered is too much, never too little,
 * and takes no more memory from some point on. */
static void a_full_quarantine_forgets_nothing(void **state)
{
	enum { PAGES = 700 };
	struct fixture *f = *state;
	uint64_t most = 0;

	for (uint64_t i = 0; i < 2 * PAGES; i++) {
		/* Upwards; then downwards, below of all that is there. */
		add(f, i < PAGES ? 2 * (PAGES + i) : 2 * (2 * PAGES - 1 - i));
		most = MAX(most, (uint64_t)f->mm->quarantine.count);
	}
	for (uint64_t i = 0; i < 2 * PAGES; i++)
		assert_true(is_quarantined(f, 2 * i));
	assert_true(most <= 512);
	mm_check(f->mm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_dying_page_is_not_taken),
		TEST(a_page_that_is_seen_as_a_hole_is_free_again),
		TEST(a_hole_that_was_filled_by_a_fault_is_free_again),
		TEST(with_no_madvise_in_flight_every_zap_is_over),
		TEST(a_remove_after_the_look_counts),
		TEST(an_unmap_told_late_spares_the_quarantine_of_what_arrived),
		TEST(it_is_not_known_whether_madvise_is_in_flight),
		TEST(a_page_that_was_written_since_its_protection_is_new),
		TEST(every_run_is_protected_and_found_new),
		TEST(a_protected_page_that_was_not_written_is_never_new),
		TEST(another_remove_takes_the_protection_for_old),
		TEST(without_write_protection_only_holes_end_it),
		TEST(it_ends_with_the_mapping),
		TEST(a_look_that_ends_early_leaves_the_rest),
		TEST(a_remove_while_the_mm_ends_leaves_nothing_behind),
		TEST(a_full_quarantine_forgets_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
