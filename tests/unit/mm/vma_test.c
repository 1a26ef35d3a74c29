/* SPDX-License-Identifier: MIT */
/*
 * What is registered is whole mappings, whatever the program does meanwhile: a border that it
 * did not make would make its mremap() fail.
 */
#include "mm_fixture.h"

#define SMALL span_make(HEAP, MIB(1))

/* What the program does, in place of a mapping that is SMALL. */
struct change {
	void (*act)(struct fixture *f);
	struct span whole; /* what is one mapping afterwards */
};

static const struct change *change;

static void map_small(struct fixture *f)
{
	fake_munmap(f->fake, span_make(HEAP - MIB(2), MIB(8)));
	settle(f);
	fake_map(f->fake, span_make(HEAP, MIB(2)), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_mprotect(f->fake, span_make(HEAP + MIB(1), MIB(1)), 0);
	heap_fill(f, 0, 4);
}

static void map_larger(struct fixture *f)
{
	fake_munmap(f->fake, span_make(HEAP, MIB(2)));
	fake_map(f->fake, change->whole, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	heap_fill(f, 0, 4);
}

static void unmap_and_grow(struct fixture *f)
{
	fake_munmap(f->fake, span_make(HEAP + MIB(1), MIB(1)));
	fake_grow(f->fake, SMALL, span_bytes(change->whole));
}

static const struct change changes[] = {
	{ map_larger, { HEAP, HEAP + MIB(2) } },
	{ map_larger, { HEAP - MIB(1), HEAP + MIB(1) } },
	{ map_larger, { HEAP - MIB(1), HEAP + MIB(3) } },
	{ map_larger, { HEAP - MIB(1), HEAP + KIB(512) } },
	{ unmap_and_grow, { HEAP, HEAP + MIB(3) } },
};

/* At the call of an op whose number is test[1], the change is made; test[2]: it was. */
static void change_hook(void *arg, const char *op UNUSED)
{
	struct fixture *f = arg;

	if (f->test[0]++ != f->test[1])
		return;
	f->fake->op_hook = NULL;
	f->test[2] = true;
	change->act(f);
}

static void set_change(struct fixture *f, uint64_t nth)
{
	f->test[0] = 0;
	f->test[1] = nth;
	f->test[2] = false;
	f->fake->op_hook = change_hook;
}

static void expect_one_mapping(struct fixture *f)
{
	struct sys_vma vma;

	assert_int_equal(mm_vma_find(f->mm, HEAP, false, &vma, NULL), 0);
	assert_int_equal(vma.span.start, change->whole.start);
	assert_int_equal(vma.span.end, change->whole.end);
	expect_tags(f, 0, 4);
	mm_check(f->mm);
}

/* @again: it is not the first take. Return: the take had an op of that number. */
static bool take_and_change(struct fixture *f, uint64_t nth, bool again)
{
	struct mm_take take = take_of(f, 0, 4);
	int err;

	while (mm_collector_step(f->mm)) /* it gives the monitor nodes */
		;
	map_small(f);
	if (again) {
		assert_int_equal(take_pages(f, 0, 4), 4);
		expect_tags(f, 0, 4);
	}
	set_change(f, nth);
	f->fake->yield_hook = settle_hook;
	err = mm_take(f->mm, &take);
	f->fake->op_hook = NULL;
	assert_int_equal(err, 0);
	settle(f);
	if (f->test[2])
		expect_one_mapping(f);
	return f->test[2];
}

static void a_mapping_that_is_replaced_or_grows_during_a_take_is_whole(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		change = &changes[i];
		for (uint64_t again = 0; again < 2; again++) {
			uint64_t nth = 0;

			while (take_and_change(f, nth, again))
				nth++;
			assert_in_range(nth, 8, 1000);
		}
	}
}

static void a_mapping_that_is_replaced_as_it_is_watched_is_whole(void **state)
{
	struct fixture *f = *state;
	uint64_t nth;

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		change = &changes[i];
		for (nth = 0;; nth++) {
			struct sys_vma vma;

			map_small(f);
			set_change(f, nth);
			assert_int_equal(mm_vma_find(f->mm, HEAP, false, &vma, NULL), 0);
			(void)!mm_vma_watch(f->mm, &vma);
			f->fake->op_hook = NULL;
			if (!f->test[2])
				break;
			expect_one_mapping(f);
		}
		assert_in_range(nth, 4, 1000);
	}
}

/* Return: what takes MISSING back had an op of that number. */
static bool take_back_and_change(struct fixture *f, uint64_t nth)
{
	while (mm_collector_step(f->mm))
		;
	map_small(f);
	assert_int_equal(take_pages(f, 0, 4), 4);
	expect_tags(f, 0, 4);
	f->mm->take_ns = 0;
	f->fake->clock_ns += 2000000000;
	set_change(f, nth);
	mm_idle_run(&f->mm->idle_work);
	f->fake->op_hook = NULL;
	settle(f);
	if (f->test[2])
		expect_one_mapping(f);
	return f->test[2];
}

static void a_mapping_that_changes_as_it_becomes_the_kernels_again_is_whole(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		uint64_t nth = 0;

		change = &changes[i];
		while (take_back_and_change(f, nth))
			nth++;
		assert_in_range(nth, 4, 1000);
	}
}

/* One change after the other, each while the last is being mended: a heap that the C library
 * makes larger. (What grows so behind REGISTER is a mapping of its own.) */
static void grow_hook(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (strcmp(op, "uffd_register") || f->test[0] >= 8)
		return;
	f->test[0]++;
	fake_mprotect(f->fake, span_make(HEAP, MIB(1) + f->test[0] * KIB(64)), READ_WRITE);
}

static void a_mapping_that_goes_on_growing_is_whole(void **state)
{
	static const struct change grown = { NULL, { HEAP, HEAP + MIB(1) + KIB(512) } };
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);

	change = &grown;
	map_small(f);
	f->fake->op_hook = grow_hook;
	assert_int_equal(mm_take(f->mm, &take), 0);
	f->fake->op_hook = NULL;
	assert_int_equal(f->test[0], 8);
	assert_int_equal(take.taken_pages, 4);
	expect_one_mapping(f);
}

/* At REGISTER, when the list of what never migrates has been read. */
static void map_own_hook(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (strcmp(op, "uffd_register") != 0)
		return;
	f->fake->op_hook = NULL;
	fake_mprotect(f->fake, span_make(HEAP + MIB(1), MIB(1)), READ_WRITE);
	f->fake->exclusions[0] = span_make(HEAP + MIB(1), MIB(1));
	f->fake->exclusion_count = 1;
}

/* It looks like the rest of what is registered. A hole of it would be the monitor's to fill,
 * also for who holds event_lock. */
static void new_memory_of_the_library_is_not_registered(void **state)
{
	struct fixture *f = *state;

	map_small(f);
	f->fake->op_hook = map_own_hook;
	assert_int_equal(take_pages(f, 0, 4), 4);
	assert_null(f->fake->op_hook);
	assert_int_equal(fake_registered(f->fake, HEAP), BOTH_MODES);
	assert_int_equal(fake_registered(f->fake, HEAP + MIB(1)), 0);
	expect_tags(f, 0, 4);
}

/* What is mapped beside it is none of it, and stays the kernel's. */
static void a_neighbour_is_not_registered(void **state)
{
	struct fixture *f = *state;

	map_small(f);
	fake_map(f->fake, span_make(HEAP - MIB(1), MIB(1)), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_map(f->fake, span_make(HEAP + MIB(1), MIB(1)), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(take_pages(f, 0, 4), 4);
	assert_int_equal(fake_registered(f->fake, HEAP), BOTH_MODES);
	assert_int_equal(fake_registered(f->fake, HEAP - PAGE_BYTES), 0);
	assert_int_equal(fake_registered(f->fake, HEAP + MIB(1)), 0);
	expect_tags(f, 0, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_mapping_that_is_replaced_or_grows_during_a_take_is_whole),
		TEST(a_mapping_that_is_replaced_as_it_is_watched_is_whole),
		TEST(a_mapping_that_changes_as_it_becomes_the_kernels_again_is_whole),
		TEST(a_mapping_that_goes_on_growing_is_whole),
		TEST(new_memory_of_the_library_is_not_registered),
		TEST(a_neighbour_is_not_registered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
