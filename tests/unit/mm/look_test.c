/* SPDX-License-Identifier: MIT */
/*
 * look_test.c - what a take asks the kernel, and what it is told before. Each registers: the
 * table of registrations alone is not to be relied on.
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

static void a_take_asks_for_what_it_was_not_told(void **state)
{
	struct fixture *f = *state;
	struct calls calls;
	struct mm_look look;

	heap_fill(f, 0, 4);
	assert_int_equal(calls_of_a_take(f, NULL).registers, 1);
	calls = calls_of_a_take(f, NULL);
	assert_int_equal(calls.registers, 1);
	assert_int_equal(calls.queries, 2);
	assert_int_equal(calls.scans, 1); /* are the frames empty? */
	assert_int_equal(mm_look(f->mm, heap(0), &look, NULL), 0);
	assert_int_equal(calls_of_a_take(f, &look).queries, 1);
}

/* One is two since, and a part went back to the kernel. */
static void split_and_take_back(struct fixture *f)
{
	heap_fill(f, 0, 4);
	heap_fill(f, 300, 12);
	assert_int_equal(calls_of_a_take(f, NULL).registers, 1);
	fake_mprotect(f->fake, (struct span){ heap(256), HEAP_VMA.end }, SYS_PROT_READ);
	fake_madvise(f->fake, heap_span(300, 2), SYS_ADVICE_DONTNEED);
	settle(f);
	f->mm->take_ns = 0;
	f->fake->clock_ns += 2000000000;
	mm_idle_run(&f->mm->idle_work);
	assert_int_equal(fake_registered(f->fake, heap(0)), SYS_REGISTER_WP);
	assert_int_equal(fake_registered(f->fake, heap(300)), BOTH_MODES);
}

/* Only a part of what was registered once went back to the kernel. */
static void what_was_taken_back_is_registered_again(void **state)
{
	struct fixture *f = *state;

	split_and_take_back(f);
	assert_int_equal(calls_of_a_take(f, NULL).registers, 1);
}

static void one_part_that_is_registered_anew_says_nothing_of_the_other(void **state)
{
	struct fixture *f = *state;
	struct mm_take take;

	split_and_take_back(f);
	/* Writable again, but another VMA still: it is registered otherwise. */
	fake_mprotect(f->fake, (struct span){ heap(256), HEAP_VMA.end }, READ_WRITE);
	settle(f);
	take = take_of(f, 306, 4);
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages, 4);
	assert_int_equal(fake_registered(f->fake, heap(0)), SYS_REGISTER_WP);
	assert_in_range(calls_of_a_take(f, NULL).registers, 1, 2);
}

static void who_only_watches_says_nothing_of_missing(void **state)
{
	struct fixture *f = *state;
	struct sys_vma vma;

	split_and_take_back(f);
	/* The GPU uses a page in place. */
	assert_int_equal(mm_vma_find(f->mm, heap(0), false, &vma, NULL), 0);
	assert_int_equal(mm_vma_watch(f->mm, &vma), 0);
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
		TEST(a_take_asks_for_what_it_was_not_told),
		TEST(what_was_taken_back_is_registered_again),
		TEST(one_part_that_is_registered_anew_says_nothing_of_the_other),
		TEST(who_only_watches_says_nothing_of_missing),
		TEST(a_look_that_is_too_old_is_taken_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
