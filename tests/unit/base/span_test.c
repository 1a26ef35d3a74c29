/* SPDX-License-Identifier: MIT */
/* span_test.c - half-open spans: what they hold, and that empty ones hold nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/span.h"

static void the_start_is_inside_and_the_end_is_not(void **state)
{
	struct span s = span_make(0x1000, 0x2000);

	(void)state;
	assert_false(span_contains(s, 0xfff));
	assert_true(span_contains(s, 0x1000));
	assert_true(span_contains(s, 0x2fff));
	assert_false(span_contains(s, 0x3000));
	assert_int_equal(span_bytes(s), 0x2000);
	assert_int_equal(span_pages(s), 2);
}

static void neighbours_do_not_overlap(void **state)
{
	struct span a = { 10, 20 };

	(void)state;
	assert_false(span_overlaps(a, (struct span){ 0, 10 }));
	assert_false(span_overlaps(a, (struct span){ 20, 30 }));
	assert_true(span_overlaps(a, (struct span){ 0, 11 }));
	assert_true(span_overlaps(a, (struct span){ 19, 30 }));
	assert_true(span_overlaps(a, (struct span){ 12, 13 }));
	assert_true(span_overlaps(a, (struct span){ 0, 30 }));
}

static void an_empty_span_overlaps_nothing(void **state)
{
	struct span a = { 10, 20 };

	(void)state;
	for (uint64_t at = 8; at < 23; at++) {
		struct span empty = { at, at };

		assert_true(span_is_empty(empty));
		assert_false(span_contains(empty, at));
		assert_false(span_overlaps(a, empty));
		assert_false(span_overlaps(empty, a));
		assert_false(span_overlaps(empty, empty));
		assert_true(span_is_empty(span_intersect(a, empty)));
	}
}

/* Every pair of small spans, against the bytes that they hold one by one. */
static void overlap_and_intersection_agree_with_the_bytes(void **state)
{
	enum { LIMIT = 7 };

	(void)state;
	for (uint64_t i = 0; i < LIMIT * LIMIT * LIMIT * LIMIT; i++) {
		struct span a = { i % LIMIT, i / LIMIT % LIMIT };
		struct span b = { i / (LIMIT * LIMIT) % LIMIT,
				  i / (LIMIT * LIMIT * LIMIT) };
		uint64_t common = 0;
		uint64_t b_only = 0;

		if (a.start > a.end || b.start > b.end)
			continue;
		for (uint64_t at = 0; at < LIMIT; at++) {
			struct span both = span_intersect(a, b);
			bool in_both = span_contains(a, at) && span_contains(b, at);

			assert_int_equal(span_contains(both, at), in_both);
			common += in_both;
			b_only += span_contains(b, at) && !span_contains(a, at);
		}
		assert_int_equal(span_overlaps(a, b), common > 0);
		assert_int_equal(span_bytes(span_intersect(a, b)), common);
		if (!span_is_empty(b))
			assert_int_equal(span_covers(a, b), b_only == 0);
	}
}

static void alignment_goes_outwards_to_whole_blocks(void **state)
{
	struct span s = span_align_out((struct span){ 0x1fff, 0x2001 }, PAGE_BYTES);

	(void)state;
	assert_int_equal(s.start, 0x1000);
	assert_int_equal(s.end, 0x3000);
	s = span_align_out(s, PAGE_BYTES);
	assert_int_equal(s.start, 0x1000);
	assert_int_equal(s.end, 0x3000);

	s = span_block(HUGE_BYTES + 5, HUGE_BYTES);
	assert_int_equal(s.start, HUGE_BYTES);
	assert_int_equal(s.end, 2 * HUGE_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_start_is_inside_and_the_end_is_not),
		cmocka_unit_test(neighbours_do_not_overlap),
		cmocka_unit_test(an_empty_span_overlaps_nothing),
		cmocka_unit_test(overlap_and_intersection_agree_with_the_bytes),
		cmocka_unit_test(alignment_goes_outwards_to_whole_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
