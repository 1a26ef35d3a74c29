/* SPDX-License-Identifier: MIT */
/*
 * Ranges: how large they are made, when they end, what is revoked of them.
 */
#include "gpusvm_fixture.h"

/* --- how large ---------------- */

static void the_largest_chunk_that_fits_is_taken(void **state)
{
	struct fixture *f = *state;

	expect_span(range_at(f, heap(3))->node.span, heap_span(0, 512));
	/* A second fault there finds it. */
	assert_ptr_equal(range_at(f, heap(500)), range_at(f, heap(3)));
	assert_int_equal(f->svm.range_count, 1);
}

/* A VMA of 2 MiB less a page, at 2 MiB plus 60 KiB: chunks of each size. */
static void chunks_stay_inside_of_the_vma(void **state)
{
	struct fixture *f = *state;
	struct span vma = { OTHER + KIB(60), OTHER + MIB(4) - PAGE_BYTES };

	fake_map(f->fake, vma, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	expect_span(range_at(f, vma.start)->node.span, span_make(vma.start, PAGE_BYTES));
	expect_span(range_at(f, OTHER + KIB(64))->node.span,
		    span_make(OTHER + KIB(64), KIB(64)));
	expect_span(range_at(f, OTHER + MIB(1))->node.span,
		    span_make(OTHER + MIB(1), KIB(64)));
	expect_span(range_at(f, OTHER + MIB(2))->node.span,
		    span_make(OTHER + MIB(4) - MIB(2), KIB(64)));
	expect_span(range_at(f, vma.end - 1)->node.span,
		    span_make(vma.end - PAGE_BYTES, PAGE_BYTES));
	expect_span(range_at(f, vma.end - KIB(60))->node.span,
		    span_make(vma.end - KIB(60), PAGE_BYTES));
}

static void chunks_stay_inside_of_the_limits(void **state)
{
	struct fixture *f = *state;
	struct span limits = { heap(1), heap(512) };
	struct gpusvm_range *range = NULL;
	struct sys_vma vma;

	expect_span(range_at_in(f, heap(1), limits)->node.span, heap_span(1, 1));
	expect_span(range_at_in(f, heap(20), limits)->node.span, heap_span(16, 16));
	assert_int_equal(mm_vma_find(f->mm, HEAP, false, &vma, NULL), 0);
	assert_int_equal(
		gpusvm_range_find_or_insert(&f->svm, heap(0), &vma, limits, &range),
		-EINVAL);
	assert_int_equal(
		gpusvm_range_find_or_insert(&f->svm, OTHER, &vma, EVERYWHERE, &range),
		-EINVAL);
	assert_null(range);
}

static void chunks_meet_no_other_range(void **state)
{
	struct fixture *f = *state;

	range_at_in(f, heap(40), heap_span(32, 100));
	/* 2 MiB would meet it; 64 KiB fits. */
	expect_span(range_at(f, heap(3))->node.span, heap_span(0, 16));
	range_at_in(f, heap(17), heap_span(17, 1));
	expect_span(range_at(f, heap(20))->node.span, heap_span(20, 1));
	assert_int_equal(f->svm.range_count, 4);
}

static void a_range_that_reaches_out_of_its_vma_is_made_anew(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range = range_at(f, heap(3));

	bind(f, range, (struct span){ 0 });
	fake_mprotect(f->fake, heap_span(256, 256), SYS_PROT_READ); /* no event */
	expect_span(range_at(f, heap(3))->node.span, heap_span(0, 16));
	/* What was bound of the old one is revoked. */
	assert_int_equal(f->revoked_count, 1);
	expect_span(f->revoked[0], heap_span(0, 512));
	assert_int_equal(f->svm.range_count, 1);
}

static void init_takes_powers_of_two(void **state)
{
	struct fixture *f = *state;
	struct gpusvm svm;

	assert_int_equal(gpusvm_init(&svm, f->mm, MIB(1), &svm_ops), -EINVAL);
	assert_int_equal(gpusvm_init(&svm, f->mm, MIB(3), &svm_ops), -EINVAL);
	assert_int_equal(gpusvm_init(&svm, f->mm, MIB(2), &svm_ops), 0);
	gpusvm_fini(&svm);
}

static size_t notifiers(const struct fixture *f)
{
	interval_tree_check(&f->svm.notifiers);
	return f->svm.notifiers.count;
}

static void a_notifier_lives_as_long_as_it_has_ranges(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *a, *b, *c;

	fake_map(f->fake, span_make(OTHER, MIB(4)), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	a = range_at(f, HEAP);
	b = range_at(f, HEAP + MIB(2));
	assert_int_equal(notifiers(f), 1);
	c = range_at(f, OTHER);
	assert_int_equal(notifiers(f), 2);
	assert_true(gpusvm_has_mapping(&f->svm, span_make(OTHER, 1)));
	gpusvm_range_remove(&f->svm, a);
	assert_int_equal(notifiers(f), 2);
	gpusvm_range_remove(&f->svm, b);
	assert_int_equal(notifiers(f), 1);
	gpusvm_range_remove(&f->svm, c);
	assert_int_equal(notifiers(f), 0);
	assert_false(gpusvm_has_mapping(&f->svm, EVERYWHERE));
}

static void ranges_are_found_in_order_of_address(void **state)
{
	struct fixture *f = *state;

	fake_map(f->fake, span_make(OTHER, MIB(4)), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	range_at(f, OTHER); /* its notifier is the older one */
	range_at(f, HEAP + MIB(2));
	range_at(f, HEAP);
	expect_span(gpusvm_range_first(&f->svm, EVERYWHERE)->node.span,
		    span_make(HEAP, MIB(2)));
	expect_span(
		gpusvm_range_first(&f->svm, span_make(HEAP + MIB(2), GIB(1)))->node.span,
		span_make(HEAP + MIB(2), MIB(2)));
	/* The first notifier meets this, and none of its ranges does. */
	expect_span(gpusvm_range_first(&f->svm, (struct span){ HEAP + MIB(4), UINT64_MAX })
			    ->node.span,
		    span_make(OTHER, MIB(2)));
	expect_span(gpusvm_range_find(&f->svm, OTHER + MIB(1))->node.span,
		    span_make(OTHER, MIB(2)));
	assert_null(gpusvm_range_find(&f->svm, OTHER + MIB(2)));
}

static void without_memory_nothing_is_inserted(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range;
	struct sys_vma vma;

	assert_int_equal(mm_vma_find(f->mm, HEAP, false, &vma, NULL), 0);
	for (uint64_t nth = 1; nth <= 2; nth++) { /* the notifier; the range */
		fake_fail(f->fake, "pages_alloc", nth, ENOMEM);
		assert_int_equal(gpusvm_range_find_or_insert(&f->svm, HEAP, &vma,
							     EVERYWHERE, &range),
				 -ENOMEM);
		assert_int_equal(f->svm.range_count, 0);
		assert_int_equal(notifiers(f), 0);
		/* A pool keeps what it was given: begin anew. */
		gpusvm_fini(&f->svm);
		assert_int_equal(gpusvm_init(&f->svm, f->mm, NOTIFIER_BYTES, &svm_ops),
				 0);
	}
}

/* --- invalidation ---------------- */

static void what_changed_is_revoked_and_no_more(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range;

	migrate(f, false, 0, 8);
	range = range_at(f, HEAP);
	bind(f, range, (struct span){ 0 });
	assert_int_equal(cpu_read(f, heap(3)), tag_of(3));
	assert_int_equal(f->revoked_count, 1);
	expect_span(f->revoked[0], heap_span(3, 1));
	assert_false(gpusvm_range_is_mapped(range, heap(3)));
	assert_true(gpusvm_range_is_mapped(range, heap(2)));
	assert_true(gpusvm_range_is_mapped(range, heap(4)));
	assert_false(range->unmapped);
	/* madvise() changes pages, not the mapping. */
	fake_madvise(f->fake, heap_span(100, 70), SYS_ADVICE_DONTNEED);
	finish_remove(f);
	assert_int_equal(f->revoked_count, 2);
	expect_span(f->revoked[1], heap_span(100, 70));
	for (uint64_t i = 90; i < 180; i++)
		assert_int_equal(gpusvm_range_is_mapped(range, heap(i)),
				 i < 100 || i >= 170);
	assert_int_equal(f->garbage_calls, 0);
}

static void a_range_with_nothing_bound_costs_nothing(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range;

	migrate(f, false, 0, 8);
	range = range_at(f, HEAP);
	assert_int_equal(cpu_read(f, heap(3)), tag_of(3));
	assert_int_equal(f->revoked_count, 0);
	assert_false(gpusvm_range_has_mapped(range));
	gpusvm_range_remove(&f->svm, range);
	assert_int_equal(f->revoked_count, 0);
}

static void an_event_over_two_ranges_revokes_its_part_of_each(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *low, *high;

	migrate(f, false, 0, 1); /* the VMA is registered now */
	low = range_at(f, HEAP);
	high = range_at(f, HEAP + MIB(2));
	bind(f, low, (struct span){ 0 });
	bind(f, high, (struct span){ 0 });
	f->revoked_count = 0;
	fake_madvise(f->fake, heap_span(500, 24), SYS_ADVICE_DONTNEED);
	finish_remove(f);
	assert_int_equal(f->revoked_count, 2);
	expect_span(f->revoked[0], heap_span(500, 12));
	expect_span(f->revoked[1], heap_span(512, 12));
}

/* --- the end of a range ---------------- */

static void a_partial_unmap_ends_the_whole_range(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range;

	migrate(f, false, 0, 1);
	range = range_at(f, HEAP);
	bind(f, range, (struct span){ 0 });
	f->revoked_count = 0;
	fake_munmap(f->fake, heap_span(100, 1));
	settle(f);
	assert_true(range->unmapped);
	assert_true(range->partly_unmapped);
	expect_span(f->revoked[0], heap_span(100, 1));
	assert_int_equal(f->garbage_calls, 1);
	/* Again: it is on the list once. */
	fake_munmap(f->fake, heap_span(200, 1));
	settle(f);
	assert_int_equal(f->garbage_calls, 1);
	collect_garbage(f, 1);
	assert_int_equal(f->svm.range_count, 0);
	/* What remains is mirrored anew, smaller. */
	expect_span(range_at(f, heap(99))->node.span, heap_span(99, 1));
	expect_span(range_at(f, heap(0))->node.span, heap_span(0, 16));
	expect_span(range_at(f, heap(300))->node.span, heap_span(288, 16));
}

static void a_whole_unmap_is_not_partial(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range;

	migrate(f, false, 0, 1);
	range = range_at(f, HEAP);
	fake_munmap(f->fake, HEAP_VMA);
	settle(f);
	assert_true(range->unmapped);
	assert_false(range->partly_unmapped);
	collect_garbage(f, 1);
}

/* A fault comes before the collector does: the dead range does not serve it. */
static void a_dead_range_is_replaced_by_the_next_fault(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range;

	migrate(f, false, 0, 1);
	range = range_at(f, HEAP);
	bind(f, range, (struct span){ 0 });
	fake_map(f->fake, heap_span(0, 512), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	settle(f);
	assert_true(range->unmapped);
	range = range_at(f, heap(5));
	assert_false(range->unmapped);
	expect_span(range->node.span, heap_span(0, 512));
	collect_garbage(f, 0);
	assert_int_equal(f->svm.range_count, 1);
}

static void a_mremap_ends_the_ranges_of_both_places(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *from, *to;

	migrate(f, false, 0, 1);
	fake_map(f->fake, span_make(OTHER, MIB(2)), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	from = range_at(f, HEAP);
	to = range_at(f, OTHER);
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 512), OTHER, false), 0);
	settle(f);
	assert_true(from->unmapped);
	assert_true(to->unmapped);
	collect_garbage(f, 2);
}

static void removing_a_range_revokes_it_once(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range = range_at(f, HEAP);

	bind(f, range, heap_span(5, 3));
	gpusvm_range_remove(&f->svm, range);
	assert_int_equal(f->revoked_count, 1);
	expect_span(f->revoked[0], heap_span(0, 512));
}

/* --- what is mapped, page by page ---------------- */

static void what_is_mapped_is_known_page_by_page(void **state)
{
	static const struct {
		uint64_t page, pages;
	} parts[] = { { 0, 1 },    { 511, 1 }, { 63, 2 },  { 64, 64 },
		      { 10, 200 }, { 0, 512 }, { 127, 1 }, { 65, 62 } };
	struct fixture *f = *state;
	struct gpusvm_range *range = range_at(f, HEAP);
	bool model[HEAP_PAGES] = { false };

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		struct span span = heap_span(parts[i].page, parts[i].pages);
		struct span cleared = heap_span(parts[i].page / 2, parts[i].pages);

		bind(f, range, span);
		for (uint64_t p = 0; p < HEAP_PAGES; p++) {
			model[p] |= span_contains(span, heap(p));
			assert_int_equal(gpusvm_range_is_mapped(range, heap(p)),
					 model[p]);
		}
		lock_acquire(mm_event_lock(f->mm));
		mm_invalidate_locked(f->mm, cleared, MM_EVENT_MIGRATE);
		lock_release(mm_event_lock(f->mm));
		for (uint64_t p = 0; p < HEAP_PAGES; p++) {
			model[p] &= !span_contains(cleared, heap(p));
			assert_int_equal(gpusvm_range_is_mapped(range, heap(p)),
					 model[p]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_largest_chunk_that_fits_is_taken),
		TEST(chunks_stay_inside_of_the_vma),
		TEST(chunks_stay_inside_of_the_limits),
		TEST(chunks_meet_no_other_range),
		TEST(a_range_that_reaches_out_of_its_vma_is_made_anew),
		TEST(init_takes_powers_of_two),
		TEST(a_notifier_lives_as_long_as_it_has_ranges),
		TEST(ranges_are_found_in_order_of_address),
		TEST(without_memory_nothing_is_inserted),
		TEST(what_changed_is_revoked_and_no_more),
		TEST(a_range_with_nothing_bound_costs_nothing),
		TEST(an_event_over_two_ranges_revokes_its_part_of_each),
		TEST(a_partial_unmap_ends_the_whole_range),
		TEST(a_whole_unmap_is_not_partial),
		TEST(a_dead_range_is_replaced_by_the_next_fault),
		TEST(a_mremap_ends_the_ranges_of_both_places),
		TEST(removing_a_range_revokes_it_once),
		TEST(what_is_mapped_is_known_page_by_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
