/* SPDX-License-Identifier: MIT */
/*
 * Device memory that was left has a pattern; nobody who uses it anew ever sees that.
 */
#include "pagemap_fixture.h"

#define POISON_WORD (PAGEMAP_POISON * 0x0101010101010101u)

static int set_up_poisoned(void **state)
{
	fixture_poison = true;
	return set_up_move(state);
}

static int set_up_poisoned_copy(void **state)
{
	fixture_poison = true;
	return set_up_copy(state);
}

#define BOTH(name)                                                              \
	{ #name ", move", name, set_up_poisoned, tear_down, NULL },             \
	{ #name ", copy", name, set_up_poisoned_copy, tear_down, NULL }

static void expect_pattern(struct fixture *f, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++)
		assert_int_equal(device_tag(f, i * PAGE_BYTES), POISON_WORD);
}

/* As who owns a block does it when its last page has gone. */
static void leave(struct fixture *f)
{
	collect(f);
	assert_int_equal(f->devmems[0].releases, 1);
	pagemap_clean(f->pagemap, 0, HUGE_BYTES);
}

static void pages_that_come_home_leave_a_pattern(void **state)
{
	struct fixture *f = *state;

	migrate(f, 0, 8);
	assert_int_equal(device_tag(f, 0), tag_of(0));
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 8), NULL), 0);
	leave(f);
	expect_pattern(f, 8);
	expect_tags(f, 0, 8);
}

static void pages_that_die_leave_a_pattern(void **state)
{
	struct fixture *f = *state;

	migrate(f, 0, 8);
	fake_munmap(f->fake, heap_span(0, 8));
	settle(f);
	leave(f);
	expect_pattern(f, 8);
}

static void who_comes_next_has_contents_and_zeros(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem;
	struct pagemap_migration m;

	migrate(f, 0, 8);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 8), NULL), 0);
	leave(f);
	devmem = devmem_start(f, 0, 8, 8);
	heap_fill(f, 8, 4);
	assert_int_equal(populate(devmem, 8, 8, heap_span(8, 8), &m), 0);
	assert_int_equal(m.moved_pages, 4);
	assert_int_equal(m.filled_pages, 4);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(device_tag(f, i * PAGE_BYTES), i < 4 ? tag_of(8 + i) : 0);
	expect_tags(f, 8, 4);
	assert_int_equal(cpu_read(f, heap(13)), 0);
	pagemap_devmem_put(devmem);
}

/* It is gone, or broken: then nobody reads it, either. */
static void a_device_that_cannot_be_written_is_left_as_it_is(void **state)
{
	struct fixture *f = *state;

	migrate(f, 0, 8);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 8), NULL), 0);
	collect(f);
	f->copy_fails_at = f->copies + 3;
	pagemap_clean(f->pagemap, 0, HUGE_BYTES);
	assert_int_equal(f->copies, f->copy_fails_at);
	expect_pattern(f, 2);
	assert_int_not_equal(device_tag(f, 2 * PAGE_BYTES), POISON_WORD);
	expect_tags(f, 0, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(pages_that_come_home_leave_a_pattern),
		BOTH(pages_that_die_leave_a_pattern),
		BOTH(who_comes_next_has_contents_and_zeros),
		{ "a_device_that_cannot_be_written_is_left_as_it_is",
		  a_device_that_cannot_be_written_is_left_as_it_is, set_up_poisoned_copy,
		  tear_down, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
