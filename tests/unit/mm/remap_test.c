/* SPDX-License-Identifier: MIT */
/*
 * mremap() whose REMAP is told late: what has arrived at the old place meanwhile is told first.
 */
#include "mm_fixture.h"

#define ELSEWHERE (OTHER + MIB(4))

static uint64_t other(uint64_t page)
{
	return OTHER + page * PAGE_BYTES;
}

/* Pages @from.. of the heap are on their way to OTHER; those at @next.. took their place. */
static void move_two(struct fixture *f, uint64_t from, uint64_t next, uint64_t pages)
{
	fake_mremap_untold(f->fake, heap_span(from, pages), OTHER);
	assert_int_equal(fake_mremap(f->fake, heap_span(next, pages), heap(from), false), 0);
}

static void expect_moved(struct fixture *f, uint64_t at, uint64_t first, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++)
		assert_int_equal(cpu_read(f, at + i * PAGE_BYTES), tag_of(first + i));
}

static void expect_settled(struct fixture *f)
{
	settle(f);
	assert_int_equal(f->mm->left.count, 0);
	assert_int_equal(f->mm->displaced.count, 0);
	mm_check(f->mm);
}

static void pages_whose_move_is_told_second_follow_it(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	move_two(f, 0, 4, 4);
	settle(f);
	assert_int_equal(f->owner.dropped_pages, 0);
	assert_int_equal(f->mm->displaced.count, 1);
	mm_check(f->mm);
	fake_tell(f->fake);
	expect_settled(f);
	expect_moved(f, OTHER, 0, 4);
	expect_moved(f, heap(0), 4, 4);
	assert_int_equal(f->owner.dropped_pages, 0);
}

/* Nothing was on the device of what left: it is its mapping that tells. */
static void a_late_move_does_not_take_what_arrived(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 4, 4), 4);
	move_two(f, 0, 4, 4);
	settle(f);
	fake_tell(f->fake);
	expect_settled(f);
	expect_moved(f, OTHER, 0, 4);
	expect_moved(f, heap(0), 4, 4);
}

static void a_part_that_leaves_late_follows(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 12);
	assert_int_equal(take_pages(f, 0, 12), 12);
	fake_mremap_untold(f->fake, heap_span(2, 4), OTHER);
	assert_int_equal(fake_mremap(f->fake, heap_span(9, 2), heap(3), false), 0);
	settle(f);
	fake_tell(f->fake);
	expect_settled(f);
	expect_moved(f, OTHER, 2, 4);
	expect_moved(f, heap(3), 9, 2);
	expect_tags(f, 0, 2);
	expect_tags(f, 6, 3);
	expect_tags(f, 11, 1);
	assert_int_equal(f->owner.dropped_pages, 0);
}

static void what_arrived_with_dontunmap_stays(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	fake_mremap_untold(f->fake, heap_span(0, 4), OTHER);
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), heap(0), true), 0);
	settle(f);
	fake_tell(f->fake);
	expect_settled(f);
	expect_moved(f, OTHER, 0, 4);
	expect_moved(f, heap(0), 4, 4);
	for (uint64_t i = 4; i < 8; i++)
		assert_int_equal(cpu_read(f, heap(i)), 0);
}

/* --- the monitor waits for who left first ---------------- */

static void tell_hook(void *arg)
{
	struct fixture *f = arg;

	f->fake->yield_hook = NULL;
	f->test[0] = fake_calls(f->fake, "uffd_read");
	fake_tell(f->fake);
}

/* Two leave one place, and something arrives in between; the second leaves when the call
 * that brought it has returned. */
static void of_two_that_left_the_first_is_told_first(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	move_two(f, 0, 4, 4);
	assert_true(monitor_step(f)); /* the second REMAP */
	f->fake->yield_hook = tell_hook;
	assert_true(monitor_step(f)); /* waits */
	assert_null(f->fake->yield_hook);
	assert_int_equal(fake_calls(f->fake, "uffd_read"), f->test[0]);
	fake_caller_ran(f->fake);
	assert_true(monitor_step(f)); /* that of who left first */
	fake_caller_ran(f->fake);
	assert_true(monitor_step(f));
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 4), ELSEWHERE, false), 0);
	expect_settled(f);
	expect_moved(f, OTHER, 0, 4);
	expect_moved(f, ELSEWHERE, 4, 4);
	assert_int_equal(f->owner.dropped_pages, 0);
}

static void what_took_the_place_of_unmapped_pages_moves_on(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	fake_munmap_untold(f->fake, heap_span(0, 4));
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), heap(0), false), 0);
	assert_true(monitor_step(f));
	f->fake->yield_hook = tell_hook;
	assert_true(monitor_step(f));
	assert_true(monitor_step(f));
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 4), ELSEWHERE, false), 0);
	expect_settled(f);
	expect_moved(f, ELSEWHERE, 4, 4);
	assert_int_equal(f->owner.dropped_pages, 4);
	assert_int_equal(mm_entry_pages(f->mm), 0);
}

/* Nothing tells of the growth: what grew starts before the place that went. */
static void what_grows_over_what_went_is_empty(void **state)
{
	struct fixture *f = *state;
	struct span tail = span_make(OTHER + 2 * PAGE_BYTES, 2 * PAGE_BYTES);

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	fake_munmap_untold(f->fake, heap_span(6, 2)); /* until told, nothing settles */
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 4), OTHER, false), 0);
	settle(f);
	fake_munmap(f->fake, tail);
	settle(f);
	assert_int_equal(f->mm->doubted_count, 1);
	fake_grow(f->fake, span_make(OTHER, 2 * PAGE_BYTES), 4 * PAGE_BYTES);
	fake_tell(f->fake);
	expect_settled(f);
	expect_moved(f, OTHER, 0, 2);
	assert_int_equal(cpu_read(f, tail.start), 0);
	assert_int_equal(cpu_read(f, tail.start + PAGE_BYTES), 0);
	assert_int_equal(f->owner.dropped_pages, 4);
}

/* The same, moved on before anything settles. */
static void what_grew_over_what_went_is_empty_where_it_goes(void **state)
{
	struct fixture *f = *state;
	struct span all = span_make(OTHER, 4 * PAGE_BYTES);

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	fake_munmap_untold(f->fake, heap_span(6, 2));
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 4), OTHER, false), 0);
	settle(f);
	fake_munmap(f->fake, span_make(OTHER + 2 * PAGE_BYTES, 2 * PAGE_BYTES));
	settle(f);
	fake_grow(f->fake, span_make(OTHER, 2 * PAGE_BYTES), span_bytes(all));
	assert_int_equal(fake_mremap(f->fake, all, ELSEWHERE, false), 0);
	settle(f);
	fake_tell(f->fake);
	expect_settled(f);
	expect_moved(f, ELSEWHERE, 0, 2);
	assert_int_equal(cpu_read(f, ELSEWHERE + 2 * PAGE_BYTES), 0);
	assert_int_equal(cpu_read(f, ELSEWHERE + 3 * PAGE_BYTES), 0);
}

static void the_wait_has_an_end(void **state)
{
	struct fixture *f = *state;
	uint64_t reads;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	move_two(f, 0, 4, 4);
	assert_true(monitor_step(f));
	fake_caller_ran(f->fake);
	reads = fake_calls(f->fake, "uffd_read");
	for (int i = 1; i < MM_LEAVER_TRIES; i++)
		monitor_step(f);
	assert_int_equal(fake_calls(f->fake, "uffd_read"), reads);
	fake_fail(f->fake, "unmap_in_flight", 1, EIO);
	monitor_step(f);
	monitor_step(f);
	assert_int_equal(fake_calls(f->fake, "uffd_read"), reads + 1);
	fake_tell(f->fake);
	expect_settled(f);
	expect_moved(f, OTHER, 0, 4);
}

/* --- what happens in between ---------------- */

static void nothing_comes_home_before_it_is_told(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	move_two(f, 0, 4, 4);
	settle(f);
	assert_int_equal(mm_bring_home(f->mm, span_make(OTHER, MIB(1)), NULL), -EBUSY);
	assert_int_equal(mm_bring_home(f->mm, span_make(0, FAKE_END), NULL), -EBUSY);
	assert_int_equal(mm_evict_owner(f->mm, &f->owner.owner), -EBUSY);
	assert_int_equal(mm_entry_pages(f->mm), 8);
	fake_tell(f->fake);
	settle(f);
	assert_int_equal(mm_evict_owner(f->mm, &f->owner.owner), 0);
	expect_moved(f, OTHER, 0, 4);
	expect_moved(f, heap(0), 4, 4);
}

/* A fault at the new place is a hole for all that is known. */
static void a_fault_where_it_went_waits(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	move_two(f, 0, 4, 4);
	settle(f);
	assert_int_equal(fake_touch(f->fake, other(1), true), -EAGAIN);
	for (int i = 0; i < 10; i++)
		monitor_step(f);
	assert_int_equal(f->mm->stash_count, 1);
	assert_int_equal(fake_page(f->fake, other(1)), 0);
	fake_tell(f->fake);
	expect_settled(f);
	assert_int_equal(fake_tag(f->fake, other(1)), tag_of(1));
}

/* The second munmap() is that of who had the place then. */
static void what_arrived_may_be_unmapped_before(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	move_two(f, 0, 4, 4);
	assert_true(monitor_step(f));
	f->fake->yield_hook = tell_hook;
	assert_true(monitor_step(f));
	fake_caller_ran(f->fake);
	assert_true(monitor_step(f));
	fake_munmap(f->fake, heap_span(0, 4));
	expect_settled(f);
	expect_moved(f, OTHER, 0, 4);
	assert_int_equal(f->owner.dropped_pages, 4);
	assert_int_equal(mm_entry_pages(f->mm), 0);
}

static void pages_on_their_way_are_followed(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);

	heap_fill(f, 0, 8);
	take.moving = true;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take_pages(f, 4, 4), 4);
	move_two(f, 0, 4, 4);
	settle(f);
	mm_take_finish(f->mm, &take);
	mm_check(f->mm);
	fake_tell(f->fake);
	expect_settled(f);
	expect_moved(f, OTHER, 0, 4);
	expect_moved(f, heap(0), 4, 4);
}

/* Where the child of a raw clone() has what left is not known: it is not let go, so that it
 * does not read zeros there. */
static void a_child_that_lacks_them_is_not_let_go(void **state)
{
	struct fixture *f = *state;
	uint64_t closed;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	move_two(f, 0, 4, 4);
	settle(f);
	closed = fake_calls(f->fake, "uffd_close");
	fake_fork(f->fake, false);
	settle(f);
	while (mm_collector_step(f->mm))
		;
	assert_int_equal(fake_calls(f->fake, "uffd_close"), closed);
	fake_tell(f->fake);
	expect_settled(f);
	expect_moved(f, OTHER, 0, 4);
	expect_moved(f, heap(0), 4, 4);
}

/* Of what is in the table nothing is untold: an mremap() joined what it brought. */
static void what_is_not_told_is_not_remembered(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);
	uint64_t calls;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 4, 4), 4);
	fake_mremap_untold(f->fake, heap_span(4, 4), OTHER);
	calls = fake_calls(f->fake, "uffd_register");
	assert_int_equal(mm_take(f->mm, &take), -EBUSY);
	assert_int_equal(fake_calls(f->fake, "uffd_register"), calls);
	fake_tell(f->fake);
	expect_settled(f);
	assert_int_equal(mm_take(f->mm, &take), 0);
	expect_moved(f, OTHER, 4, 4);
	expect_tags(f, 0, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pages_whose_move_is_told_second_follow_it),
		TEST(a_late_move_does_not_take_what_arrived),
		TEST(a_part_that_leaves_late_follows),
		TEST(what_arrived_with_dontunmap_stays),
		TEST(of_two_that_left_the_first_is_told_first),
		TEST(what_took_the_place_of_unmapped_pages_moves_on),
		TEST(what_grows_over_what_went_is_empty),
		TEST(what_grew_over_what_went_is_empty_where_it_goes),
		TEST(the_wait_has_an_end),
		TEST(nothing_comes_home_before_it_is_told),
		TEST(a_fault_where_it_went_waits),
		TEST(what_arrived_may_be_unmapped_before),
		TEST(pages_on_their_way_are_followed),
		TEST(a_child_that_lacks_them_is_not_let_go),
		TEST(what_is_not_told_is_not_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
