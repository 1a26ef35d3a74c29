/* SPDX-License-Identifier: MIT */
/*
 * Collecting pages: where each is, and that no stale answer is bound (N1).
 */
#include <pthread.h>

#include "gpusvm_fixture.h"

static void expect_run(struct fixture *f, size_t i, struct span span, bool vram,
		       uint64_t target)
{
	assert_true(i < f->pages.count);
	expect_span(f->pages.runs[i].span, span);
	assert_int_equal(f->pages.runs[i].vram, vram);
	assert_int_equal(f->pages.runs[i].target, target);
}

static int get(struct fixture *f, struct gpusvm_range *range)
{
	return gpusvm_range_get_pages(&f->svm, range, f->pagemap, &f->pages);
}

static void pages_at_home_are_one_run_of_their_own_addresses(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 10, 20); /* holes and pages alike */
	assert_int_equal(get(f, range_at(f, HEAP)), 0);
	assert_int_equal(f->pages.count, 1);
	expect_run(f, 0, heap_span(0, 512), false, HEAP);
}

static void each_page_is_where_it_is(void **state)
{
	struct fixture *f = *state;

	migrate(f, false, 0, 4);
	migrate(f, false, 10, 20);
	migrate(f, false, 511, 1);
	assert_int_equal(cpu_read(f, heap(15)), tag_of(15));
	assert_int_equal(get(f, range_at(f, HEAP)), 0);
	assert_int_equal(f->pages.count, 7);
	expect_run(f, 0, heap_span(0, 4), true, MIB(2));
	expect_run(f, 1, heap_span(4, 6), false, heap(4));
	expect_run(f, 2, heap_span(10, 5), true, MIB(2) + 10 * PAGE_BYTES);
	expect_run(f, 3, heap_span(15, 1), false, heap(15));
	expect_run(f, 4, heap_span(16, 14), true, MIB(2) + 16 * PAGE_BYTES);
	expect_run(f, 5, heap_span(30, 481), false, heap(30));
	expect_run(f, 6, heap_span(511, 1), true, MIB(2) + 511 * PAGE_BYTES);
}

/* Every second page: as many runs as there can be. */
static void the_most_mixed_range_fits(void **state)
{
	struct fixture *f = *state;

	for (uint64_t i = 0; i < HEAP_PAGES; i += 2)
		migrate(f, false, i, 1);
	assert_int_equal(get(f, range_at(f, HEAP)), 0);
	assert_int_equal(f->pages.count, HEAP_PAGES);
	for (size_t i = 0; i < f->pages.count; i++)
		expect_run(f, i, heap_span(i, 1), i % 2 == 0,
			   i % 2 ? heap(i) : MIB(2) + i * PAGE_BYTES);
}

/* An entry may reach out of the range; a page may lie at a frame that is not its own. */
static void entries_are_cut_to_the_range_and_followed_to_their_frames(void **state)
{
	struct fixture *f = *state;

	migrate(f, false, 0, 64);
	assert_int_equal(get(f, range_at_in(f, heap(20), heap_span(16, 16))), 0);
	assert_int_equal(f->pages.count, 1);
	expect_run(f, 0, heap_span(16, 16), true, MIB(2) + 16 * PAGE_BYTES);
	fake_map(f->fake, span_make(OTHER, MIB(2)), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(fake_mremap(f->fake, heap_span(40, 4), OTHER + PAGE_BYTES, false), 0);
	settle(f);
	collect_garbage(f, 0);
	assert_int_equal(get(f, range_at_in(f, OTHER + PAGE_BYTES,
					    span_make(OTHER + PAGE_BYTES, 4 * PAGE_BYTES))),
			 0);
	assert_int_equal(f->pages.count, 1);
	expect_run(f, 0, span_make(OTHER + PAGE_BYTES, PAGE_BYTES), true,
		   MIB(2) + 40 * PAGE_BYTES);
}

static void pages_of_another_device_must_come_home_first(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range = range_at(f, HEAP);

	migrate(f, false, 0, 4);
	migrate(f, true, 8, 4);
	assert_int_equal(get(f, range), -EOPNOTSUPP);
	assert_int_equal(gpusvm_range_get_pages(&f->svm, range, NULL, &f->pages), -EOPNOTSUPP);
	assert_int_equal(gpusvm_evict(&f->svm, range->node.span, f->pagemap, 0, false), 0);
	assert_int_equal(get(f, range), 0);
	assert_int_equal(f->pages.count, 1);
	expect_run(f, 0, heap_span(0, 512), false, HEAP);
	expect_tags(f, 0, 4);
	expect_tags(f, 8, 4);
}

/* --- N1 ---------------- */

static void an_answer_is_valid_until_something_changes(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range;

	migrate(f, false, 0, 4);
	range = range_at(f, HEAP);
	assert_int_equal(get(f, range), 0);
	assert_true(is_valid(f, range));
	assert_int_equal(cpu_read(f, heap(0)), tag_of(0));
	assert_false(is_valid(f, range));
	assert_int_equal(get(f, range), 0);
	assert_true(is_valid(f, range));
	assert_int_equal(cpu_read(f, heap(1)), tag_of(1));
	assert_false(is_valid(f, range));
}

static void an_answer_about_memory_that_is_gone_is_never_valid(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range;

	migrate(f, false, 0, 4);
	range = range_at(f, HEAP);
	fake_munmap(f->fake, heap_span(9, 1));
	settle(f);
	assert_int_equal(get(f, range), 0);
	assert_false(is_valid(f, range)); /* though nothing ran since */
}

/* --- waiting ---------------- */

struct collector {
	struct fixture *f;
	struct gpusvm_range *range;
	int err;
};

static void *collect_thread(void *arg)
{
	struct collector *c = arg;

	c->err = get(c->f, c->range);
	return NULL;
}

/* Real threads: whoever waits sleeps until the take is finished or the pages are gone. */
static void pages_that_move_are_waited_for(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = {
		.span = heap_span(0, 8),
		.owner = &f->devmem.zdd.owner,
		.destination = f->frames + MIB(2),
		.moving = true,
	};
	struct collector c = { .f = f };
	pthread_t thread;

	heap_fill(f, 0, 8);
	assert_int_equal(mm_take(f->mm, &take), 0);
	c.range = range_at(f, HEAP);
	assert_int_equal(pthread_create(&thread, NULL, collect_thread, &c), 0);
	mm_take_finish(f->mm, &take);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(c.err, 0);
	expect_run(f, 0, heap_span(0, 8), true, MIB(2));
	expect_run(f, 1, heap_span(8, 504), false, heap(8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pages_at_home_are_one_run_of_their_own_addresses),
		TEST(each_page_is_where_it_is),
		TEST(the_most_mixed_range_fits),
		TEST(entries_are_cut_to_the_range_and_followed_to_their_frames),
		TEST(pages_of_another_device_must_come_home_first),
		TEST(an_answer_is_valid_until_something_changes),
		TEST(an_answer_about_memory_that_is_gone_is_never_valid),
		TEST_THREADS(pages_that_move_are_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
