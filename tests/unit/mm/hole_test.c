/* SPDX-License-Identifier: MIT */
/*
 * First touches of memory that is registered: a huge page where the kernel would have given
 * one, small pages elsewhere.
 */
#include "mm_fixture.h"

/* The kernel has a huge page when the monitor asks. */
static void give_huge(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (!strcmp(op, "advise") && base_host->self()->is_monitor && f->mm->zeros)
		fake_page_set(f->fake, span_make(f->mm->zeros, HUGE_BYTES),
			      SYS_PAGE_PRESENT | SYS_PAGE_HUGE);
}

/* The heap was taken as a huge page, came home and was discarded. */
static void discard_huge_heap(struct fixture *f)
{
	heap_fill(f, 0, HEAP_PAGES);
	fake_page_set(f->fake, heap_span(0, HEAP_PAGES), SYS_PAGE_HUGE);
	assert_int_equal(take_pages(f, 0, HEAP_PAGES), HEAP_PAGES);
	assert_int_equal(fake_madvise(f->fake, heap_span(0, HEAP_PAGES), SYS_ADVICE_DONTNEED),
			 0);
	finish_remove(f);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	f->fake->op_hook = give_huge;
}

static void touch(struct fixture *f, uint64_t addr, bool write)
{
	assert_int_equal(fake_touch(f->fake, addr, write), -EAGAIN);
	settle(f);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
	assert_int_equal(fake_touch(f->fake, addr, write), 0);
	assert_int_equal(fake_tag(f->fake, addr), 0);
}

static bool is_huge(struct fixture *f)
{
	return fake_page(f->fake, heap(0)) & SYS_PAGE_HUGE &&
	       fake_page(f->fake, heap(HEAP_PAGES - 1)) & SYS_PAGE_HUGE;
}

static void a_write_in_an_empty_block_gets_a_huge_page(void **state)
{
	struct fixture *f = *state;

	discard_huge_heap(f);
	for (uint64_t i = 1; i <= 3; i++) {
		touch(f, heap(100 * i), true);
		assert_true(is_huge(f));
		assert_int_equal(stats_of(f).hole_faults, i);
		assert_int_equal(stats_of(f).huge_holes, i);
		fake_set_tag(f->fake, heap(100 * i), 1); /* not seen the next time */
		assert_int_equal(fake_madvise(f->fake, heap_span(0, HEAP_PAGES),
					      SYS_ADVICE_DONTNEED), 0);
		finish_remove(f);
	}
	assert_false(f->mm->stash_count);
}

static void a_read_gets_small_pages(void **state)
{
	struct fixture *f = *state;

	discard_huge_heap(f);
	touch(f, heap(100), false);
	assert_false(is_huge(f));
	assert_int_equal(fake_page(f->fake, heap(200)), 0);
	assert_int_equal(stats_of(f).huge_holes, 0);
}

/* Nothing that is there may be covered, on either side. */
static void a_block_in_use_gets_small_pages(void **state)
{
	struct fixture *f = *state;

	discard_huge_heap(f);
	fake_set_tag(f->fake, heap(7), 77);
	assert_int_equal(take_pages(f, 7, 1), 1);
	touch(f, heap(100), true);
	assert_int_equal(stats_of(f).huge_holes, 0);
	assert_int_equal(cpu_read(f, heap(7)), 77);
	touch(f, heap(300), true);
	assert_int_equal(stats_of(f).huge_holes, 0);
	assert_int_equal(fake_tag(f->fake, heap(7)), 77);
}

static void memory_without_huge_pages_gets_none(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, HEAP_PAGES);
	assert_int_equal(take_pages(f, 0, HEAP_PAGES), HEAP_PAGES);
	fake_munmap(f->fake, HEAP_VMA);
	settle(f);
	f->fake->op_hook = give_huge;
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(take_pages(f, 0, 1), 0);
	touch(f, heap(100), true);
	assert_false(is_huge(f));
	assert_int_equal(stats_of(f).huge_holes, 0);
}

/* What was seen goes with the mapping. */
static void a_new_mapping_has_to_show_a_huge_page_again(void **state)
{
	struct fixture *f = *state;

	discard_huge_heap(f);
	fake_munmap(f->fake, HEAP_VMA);
	settle(f);
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(take_pages(f, 0, 1), 0);
	touch(f, heap(100), true);
	assert_int_equal(stats_of(f).huge_holes, 0);
}

/* None to be had: small pages now, and the kernel is not asked at each fault. */
static void without_a_huge_page_at_hand_small_ones_do(void **state)
{
	struct fixture *f = *state;
	uint64_t asked;

	discard_huge_heap(f);
	f->fake->op_hook = NULL;
	asked = fake_calls(f->fake, "advise");
	touch(f, heap(100), true);
	assert_false(is_huge(f));
	assert_int_equal(fake_calls(f->fake, "advise"), asked + 2);
	assert_int_equal(fake_page(f->fake, f->mm->zeros), 0);
	assert_int_equal(fake_madvise(f->fake, heap_span(0, HEAP_PAGES), SYS_ADVICE_DONTNEED),
			 0);
	finish_remove(f);
	asked = fake_calls(f->fake, "advise");
	touch(f, heap(100), true);
	assert_int_equal(fake_calls(f->fake, "advise"), asked);
	f->fake->op_hook = give_huge;
	f->fake->clock_ns += 1000000000;
	assert_int_equal(fake_madvise(f->fake, heap_span(0, HEAP_PAGES), SYS_ADVICE_DONTNEED),
			 0);
	finish_remove(f);
	touch(f, heap(100), true);
	assert_true(is_huge(f));
}

/* Locked memory is no place to move to. */
static void a_block_that_refuses_a_huge_page_gets_small_ones(void **state)
{
	struct fixture *f = *state;

	discard_huge_heap(f);
	fake_mlock(f->fake, HEAP_VMA, true);
	touch(f, heap(100), true);
	assert_false(is_huge(f));
	assert_int_equal(stats_of(f).huge_holes, 0);
	assert_int_equal(stats_of(f).hole_faults, 1);
	fake_mlock(f->fake, HEAP_VMA, false);
}

/* The fault waits in the stash for the page, then for the event: answered once, by zeros. */
static void an_event_in_flight_delays_the_huge_page(void **state)
{
	struct fixture *f = *state;

	discard_huge_heap(f);
	assert_int_equal(fake_touch(f->fake, heap(100), true), -EAGAIN);
	monitor_step(f);
	assert_int_equal(f->mm->stash_count, 1);
	fake_munmap(f->fake, span_make(HEAP + MIB(2), PAGE_BYTES));
	monitor_step(f);
	assert_int_equal(f->mm->stash_count, 1);
	assert_int_equal(stats_of(f).huge_holes, 0);
	settle(f);
	/* The VMA ends in the next block, this one is whole. */
	assert_true(is_huge(f));
	assert_int_equal(stats_of(f).huge_holes, 1);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
}

/* --- MISSING is taken back ---------------- */

static void a_hole_of_memory_that_nobody_takes_is_the_kernels_again(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 4), 4);
	/* Not while a page is on the device, nor soon after it was. */
	f->fake->clock_ns += 2000000000;
	touch(f, heap(100), true);
	assert_false(mm_collector_step(f->mm));
	assert_int_equal(cpu_read(f, heap(0)), tag_of(0));
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 4), NULL), 0);
	assert_int_equal(take_pages(f, 0, 1), 1);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 4), NULL), 0);
	touch(f, heap(200), true);
	assert_false(mm_collector_step(f->mm));

	f->fake->clock_ns += 2000000000;
	touch(f, heap(300), true);
	assert_true(mm_collector_step(f->mm));
	assert_int_equal(fake_registered(f->fake, heap(0)), SYS_REGISTER_WP);
	assert_int_equal(stats_of(f).idle_registrations, 1);
	assert_int_equal(fake_touch(f->fake, heap(400), true), 0);
	/* Events are told, and a take registers anew. */
	assert_int_equal(take_pages(f, 0, 4), 4);
	assert_int_equal(fake_registered(f->fake, heap(0)), BOTH_MODES);
	fake_munmap(f->fake, heap_span(0, 2));
	settle(f);
	assert_int_equal(mm_entry_pages(f->mm), 2);
	assert_int_equal(cpu_read(f, heap(2)), tag_of(2));
}

/* Growth is told by nothing; and a part would be a VMA of its own, which mremap() cannot
 * cross. */
static void a_mapping_that_grew_is_one_when_it_is_the_kernels_again(void **state)
{
	const struct span all = span_make(OTHER, MIB(4));
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);
	struct sys_vma vma;

	take.span = span_make(OTHER, 4 * PAGE_BYTES);
	fake_map(f->fake, span_make(OTHER, MIB(2)), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, OTHER, 7);
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(mm_bring_home(f->mm, take.span, NULL), 0);
	fake_grow(f->fake, span_make(OTHER, MIB(2)), MIB(4));
	f->fake->clock_ns += 2000000000;
	touch(f, OTHER + MIB(3), true);
	assert_true(mm_collector_step(f->mm));
	assert_int_equal(stats_of(f).idle_registrations, 1);
	assert_int_equal(fake_registered(f->fake, OTHER), SYS_REGISTER_WP);
	assert_int_equal(fake_registered(f->fake, OTHER + MIB(3)), SYS_REGISTER_WP);
	assert_int_equal(mm_vma_find(f->mm, OTHER, false, &vma, NULL), 0);
	assert_int_equal(vma.span.start, all.start);
	assert_int_equal(vma.span.end, all.end);
	assert_int_equal(fake_mremap(f->fake, all, OTHER + MIB(8), false), 0);
	settle(f);
	assert_int_equal(cpu_read(f, OTHER + MIB(8)), 7);
}

static void take_back_at_vma_query(void *arg, const char *op)
{
	struct fixture *f = arg;

	/* The first query behind the registration that is made without a lock. */
	if (!strcmp(op, "uffd_register"))
		f->test[0] = 1;
	if (strcmp(op, "vma_query") || !f->test[0] || f->mm->event_lock.owner)
		return;
	f->fake->op_hook = NULL;
	f->mm->take_ns = 0;
	f->fake->clock_ns += 2000000000;
	mm_idle_run(&f->mm->idle_work);
	f->test[1] = fake_registered(f->fake, heap(0));
}

/* A take that has registered and not yet moved: its holes would read as zeros. */
static void a_take_under_way_registers_again(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 8);

	heap_fill(f, 0, 4);
	f->fake->op_hook = take_back_at_vma_query;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(f->test[1], SYS_REGISTER_WP);
	assert_int_equal(take.taken_pages, 4);
	assert_int_equal(fake_registered(f->fake, heap(0)), BOTH_MODES);
	expect_tags(f, 0, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_write_in_an_empty_block_gets_a_huge_page),
		TEST(a_read_gets_small_pages),
		TEST(a_block_in_use_gets_small_pages),
		TEST(memory_without_huge_pages_gets_none),
		TEST(a_new_mapping_has_to_show_a_huge_page_again),
		TEST(without_a_huge_page_at_hand_small_ones_do),
		TEST(a_block_that_refuses_a_huge_page_gets_small_ones),
		TEST(an_event_in_flight_delays_the_huge_page),
		TEST(a_hole_of_memory_that_nobody_takes_is_the_kernels_again),
		TEST(a_mapping_that_grew_is_one_when_it_is_the_kernels_again),
		TEST(a_take_under_way_registers_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
