/* SPDX-License-Identifier: MIT */
/*
 * What the table of registrations is sure of is not registered again, nor asked for twice; and
 * what it cannot be sure of any more is.
 */
#include "mm_fixture.h"

#define BOTH_MODES (SYS_REGISTER_WP | SYS_REGISTER_MISSING)

struct calls {
	uint64_t registers, queries, scans;
};

static struct calls calls_of(struct fixture *f)
{
	return (struct calls){ fake_calls(f->fake, "uffd_register"),
			       fake_calls(f->fake, "vma_query"),
			       fake_calls(f->fake, "page_scan") };
}

static struct calls calls_of_a_take(struct fixture *f, const struct mm_look *look)
{
	struct calls before = calls_of(f), after;
	struct mm_take take = take_of(f, 0, 4);

	take.look = look;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages, 4);
	after = calls_of(f);
	assert_int_equal(fake_registered(f->fake, heap(0)), BOTH_MODES);
	expect_tags(f, 0, 4);
	assert_int_equal(mm_bring_home(f->mm, take.span, NULL), 0);
	return (struct calls){ after.registers - before.registers,
			       after.queries - before.queries, after.scans - before.scans };
}

static void a_second_take_asks_for_little(void **state)
{
	struct fixture *f = *state;
	struct calls calls;
	struct mm_look look;

	heap_fill(f, 0, 4);
	assert_int_equal(calls_of_a_take(f, NULL).registers, 1);
	calls = calls_of_a_take(f, NULL);
	assert_int_equal(calls.registers, 0);
	assert_int_equal(calls.queries, 1);
	assert_int_equal(calls.scans, 1); /* are the frames empty? */
	assert_int_equal(mm_look(f->mm, heap(0), &look, NULL), 0);
	assert_int_equal(calls_of_a_take(f, &look).queries, 0);
}

static void what_arrived_is_registered_again(void **state)
{
	struct fixture *f = *state;
	struct mm_take other = take_of(f, 8, 1);

	fake_munmap(f->fake, (struct span){ heap(HEAP_PAGES), HEAP_VMA.end });
	settle(f);
	heap_fill(f, 0, 4);
	assert_int_equal(calls_of_a_take(f, NULL).registers, 1);
	assert_int_equal(fake_mremap(f->fake, heap_span(0, HEAP_PAGES), OTHER, false), 0);
	settle(f);
	assert_int_equal(fake_mremap(f->fake, span_make(OTHER, HEAP_PAGES * PAGE_BYTES), HEAP,
				     false),
			 0);
	settle(f);
	/* No message about another is owed either, and that was looked at. */
	fake_map(f->fake, span_make(OTHER, MIB(2)), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, OTHER, 7);
	other.span = span_make(OTHER, PAGE_BYTES);
	assert_int_equal(mm_take(f->mm, &other), 0);
	assert_int_equal(mm_bring_home(f->mm, other.span, NULL), 0);
	assert_int_equal(calls_of_a_take(f, NULL).registers, 1);
	assert_int_equal(calls_of_a_take(f, NULL).registers, 0);
}

/* Only a part of what was registered once went back to the kernel. */
static void what_was_taken_back_is_registered_again(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	heap_fill(f, 300, 4);
	assert_int_equal(calls_of_a_take(f, NULL).registers, 1);
	fake_mprotect(f->fake, (struct span){ heap(256), HEAP_VMA.end }, SYS_PROT_READ);
	fake_madvise(f->fake, heap_span(300, 2), SYS_ADVICE_DONTNEED);
	settle(f);
	f->mm->take_ns = 0;
	f->fake->clock_ns += 2000000000;
	mm_idle_run(&f->mm->idle_work);
	assert_int_equal(fake_registered(f->fake, heap(0)), SYS_REGISTER_WP);
	assert_int_equal(fake_registered(f->fake, heap(300)), BOTH_MODES);
	assert_int_equal(calls_of_a_take(f, NULL).registers, 1);
}

/* A look that is older than what came in the place of what it saw. */
static void a_look_that_is_too_old_is_taken_again(void **state)
{
	struct fixture *f = *state;
	struct mm_look look;

	heap_fill(f, 0, 4);
	assert_int_equal(calls_of_a_take(f, NULL).registers, 1);
	assert_int_equal(mm_look(f->mm, heap(0), &look, NULL), 0);
	fake_munmap(f->fake, heap_span(0, HEAP_PAGES));
	settle(f);
	fake_map(f->fake, heap_span(0, HEAP_PAGES), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	heap_fill(f, 0, 4);
	assert_int_equal(calls_of_a_take(f, &look).registers, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_second_take_asks_for_little),
		TEST(what_arrived_is_registered_again),
		TEST(what_was_taken_back_is_registered_again),
		TEST(a_look_that_is_too_old_is_taken_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
