/* SPDX-License-Identifier: MIT */
/*
 * buddy_test.c - the buddy allocator against a model that is too simple to be wrong.
 *
 * The model is one flag a page. A buddy that merges whatever it can has a free
 * block wherever an aligned run of free pages lies that is in no larger one; so
 * the model knows where each allocation must land. `--seed N` replays.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../base/seed.h"
#include "base/prng.h"
#include "fake_sys.h"
#include "vram/buddy.h"

#define MODEL_PAGES_MAX 700u
#define ORDERS 10u
#define NOWHERE UINT64_MAX

static uint64_t seed;

struct model {
	uint32_t page_count;
	uint32_t used_count;
	bool used[MODEL_PAGES_MAX];
};

static bool is_free_block(const struct model *m, uint64_t page, uint32_t order)
{
	uint64_t end = page + (1u << order);

	if (end > m->page_count)
		return false;
	for (; page < end; page++)
		if (m->used[page])
			return false;
	return true;
}

/* The lowest block of the smallest order, from @order on, that is in no larger one. */
static uint64_t model_place(const struct model *m, uint32_t order)
{
	for (uint32_t k = order; k <= ORDERS; k++) {
		for (uint64_t page = 0; page < m->page_count; page += 1u << k) {
			uint64_t parent = ALIGN_DOWN(page, 2u << k);

			if (is_free_block(m, page, k) && !is_free_block(m, parent, k + 1))
				return page;
		}
	}
	return NOWHERE;
}

static uint64_t model_largest(const struct model *m)
{
	for (uint32_t k = ORDERS + 1; k-- > 0;)
		for (uint64_t page = 0; page < m->page_count; page += 1u << k)
			if (is_free_block(m, page, k))
				return PAGE_BYTES << k;
	return 0;
}

static void model_set(struct model *m, uint64_t offset, uint64_t bytes, bool used)
{
	for (uint64_t page = offset / PAGE_BYTES; page < (offset + bytes) / PAGE_BYTES;
	     page++) {
		assert_int_not_equal(m->used[page], used);
		m->used[page] = used;
		m->used_count += used ? 1 : -1u;
	}
}

static void expect_same(const struct model *m, const struct vram_buddy *buddy)
{
	vram_buddy_check(buddy);
	assert_int_equal(vram_buddy_free_bytes(buddy),
			 (m->page_count - m->used_count) * PAGE_BYTES);
	assert_int_equal(vram_buddy_largest_free(buddy), model_largest(m));
}

struct block {
	uint64_t offset;
	uint64_t bytes;
};

static void step_alloc(struct model *m, struct vram_buddy *buddy, uint32_t order,
		       struct block *blocks, size_t *block_count)
{
	uint64_t bytes = PAGE_BYTES << order;
	uint64_t page = model_place(m, order);
	uint64_t offset = NOWHERE;
	int err = vram_buddy_alloc(buddy, bytes, &offset);

	if (page == NOWHERE) {
		assert_int_equal(err, -ENOSPC);
		assert_int_equal(offset, NOWHERE); /* written on success only */
		return;
	}
	assert_int_equal(err, 0);
	assert_int_equal(offset, page * PAGE_BYTES);
	model_set(m, offset, bytes, true);
	blocks[(*block_count)++] = (struct block){ offset, bytes };
}

static void step_free(struct model *m, struct vram_buddy *buddy, size_t which,
		      struct block *blocks, size_t *block_count)
{
	struct block block = blocks[which];

	vram_buddy_free(buddy, block.offset, block.bytes);
	model_set(m, block.offset, block.bytes, false);
	blocks[which] = blocks[--*block_count];
}

static void run_model(uint32_t page_count, struct prng *random)
{
	static struct block blocks[MODEL_PAGES_MAX];
	struct model m = { .page_count = page_count };
	struct vram_buddy *buddy;
	size_t block_count = 0;

	assert_int_equal(vram_buddy_create(page_count * PAGE_BYTES, &buddy), 0);
	expect_same(&m, buddy);
	for (int i = 0; i < 3000; i++) {
		/* Waves of filling and draining: both ends are reached. */
		bool fill = prng_below(random, 10) < (i / 500 % 2 ? 3 : 7);

		if (fill || !block_count)
			step_alloc(&m, buddy,
				   (uint32_t)prng_below(random, ORDERS) *
					   (uint32_t)prng_below(random, 2),
				   blocks, &block_count);
		else
			step_free(&m, buddy, prng_below(random, block_count), blocks,
				  &block_count);
		expect_same(&m, buddy);
	}
	while (block_count) {
		step_free(&m, buddy, prng_below(random, block_count), blocks,
			  &block_count);
		expect_same(&m, buddy);
	}
	vram_buddy_destroy(buddy);
}

static void every_step_agrees_with_the_model(void **state)
{
	struct prng random;

	(void)state;
	prng_seed(&random, seed);
	for (uint32_t pages = 1; pages <= 17; pages++)
		run_model(pages, &random);
	run_model(64, &random);
	run_model(512, &random);
	for (int i = 0; i < 12; i++)
		run_model(18 + (uint32_t)prng_below(&random, MODEL_PAGES_MAX - 17),
			  &random);
}

/* --- single claims ---------------- */

static void sizes_that_are_no_whole_pages_are_refused(void **state)
{
	struct vram_buddy *buddy = NULL;
	uint64_t offset;

	(void)state;
	assert_int_equal(vram_buddy_create(0, &buddy), -EINVAL);
	assert_int_equal(vram_buddy_create(PAGE_BYTES + 1, &buddy), -EINVAL);
	assert_null(buddy);
	assert_int_equal(vram_buddy_create(MIB(1), &buddy), 0);
	assert_int_equal(vram_buddy_alloc(buddy, 0, &offset), -EINVAL);
	assert_int_equal(vram_buddy_alloc(buddy, PAGE_BYTES / 2, &offset), -EINVAL);
	assert_int_equal(vram_buddy_alloc(buddy, 3 * PAGE_BYTES, &offset), -EINVAL);
	assert_int_equal(vram_buddy_alloc(buddy, MIB(2), &offset), -ENOSPC);
	assert_int_equal(vram_buddy_alloc(buddy, 1ull << 63, &offset), -ENOSPC);
	vram_buddy_destroy(buddy);
	vram_buddy_destroy(NULL);
}

static void memory_fills_from_the_bottom(void **state)
{
	struct vram_buddy *buddy;
	uint64_t offset;

	(void)state;
	assert_int_equal(vram_buddy_create(MIB(1), &buddy), 0);
	for (uint64_t i = 0; i < MIB(1) / PAGE_BYTES; i++) {
		assert_int_equal(vram_buddy_alloc(buddy, PAGE_BYTES, &offset), 0);
		assert_int_equal(offset, i * PAGE_BYTES);
	}
	assert_int_equal(vram_buddy_alloc(buddy, PAGE_BYTES, &offset), -ENOSPC);
	assert_int_equal(vram_buddy_free_bytes(buddy), 0);
	assert_int_equal(vram_buddy_largest_free(buddy), 0);

	/* Freed from the top, taken from the bottom all the same. */
	vram_buddy_free(buddy, 100 * PAGE_BYTES, PAGE_BYTES);
	vram_buddy_free(buddy, 7 * PAGE_BYTES, PAGE_BYTES);
	assert_int_equal(vram_buddy_alloc(buddy, PAGE_BYTES, &offset), 0);
	assert_int_equal(offset, 7 * PAGE_BYTES);
	vram_buddy_free(buddy, offset, PAGE_BYTES);
	for (uint64_t i = 0; i < MIB(1) / PAGE_BYTES; i++)
		if (i != 7 && i != 100)
			vram_buddy_free(buddy, i * PAGE_BYTES, PAGE_BYTES);
	vram_buddy_destroy(buddy);
}

static void every_other_page_free_leaves_no_larger_block(void **state)
{
	const uint64_t pages = MIB(4) / PAGE_BYTES;
	struct vram_buddy *buddy;
	uint64_t offset;

	(void)state;
	assert_int_equal(vram_buddy_create(MIB(4), &buddy), 0);
	for (uint64_t i = 0; i < pages; i++)
		assert_int_equal(vram_buddy_alloc(buddy, PAGE_BYTES, &offset), 0);
	for (uint64_t i = 0; i < pages; i += 2)
		vram_buddy_free(buddy, i * PAGE_BYTES, PAGE_BYTES);
	assert_int_equal(vram_buddy_free_bytes(buddy), MIB(2));
	assert_int_equal(vram_buddy_largest_free(buddy), PAGE_BYTES);
	assert_int_equal(vram_buddy_alloc(buddy, 2 * PAGE_BYTES, &offset), -ENOSPC);
	vram_buddy_check(buddy);

	/* One page more, and three blocks of one page become one of four. */
	vram_buddy_free(buddy, 1 * PAGE_BYTES, PAGE_BYTES);
	assert_int_equal(vram_buddy_largest_free(buddy), 2 * PAGE_BYTES);
	vram_buddy_free(buddy, 3 * PAGE_BYTES, PAGE_BYTES);
	assert_int_equal(vram_buddy_largest_free(buddy), 4 * PAGE_BYTES);
	for (uint64_t i = 5; i < pages; i += 2)
		vram_buddy_free(buddy, i * PAGE_BYTES, PAGE_BYTES);
	assert_int_equal(vram_buddy_largest_free(buddy), MIB(4));
	vram_buddy_destroy(buddy);
}

static void a_size_that_is_no_power_of_two_is_used_to_the_last_page(void **state)
{
	const uint64_t size = MIB(7) + 3 * PAGE_BYTES;
	static const uint64_t expected[] = { MIB(4), MIB(2), MIB(1), KIB(8), KIB(4) };
	struct vram_buddy *buddy;
	uint64_t offsets[ARRAY_SIZE(expected)];
	uint64_t end = 0;

	(void)state;
	assert_int_equal(vram_buddy_create(size, &buddy), 0);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		assert_int_equal(vram_buddy_largest_free(buddy), expected[i]);
		assert_int_equal(vram_buddy_alloc(buddy, expected[i], &offsets[i]), 0);
		assert_int_equal(offsets[i], end);
		end += expected[i];
	}
	assert_int_equal(end, size);
	assert_int_equal(vram_buddy_free_bytes(buddy), 0);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		vram_buddy_free(buddy, offsets[i], expected[i]);
	vram_buddy_check(buddy);
	assert_int_equal(vram_buddy_largest_free(buddy), MIB(4));
	vram_buddy_destroy(buddy);
}

static void a_free_that_matches_no_allocation_dies(void **state)
{
	static struct vram_buddy *buddy;
	static uint64_t offset;
	static bool died;

	(void)state;
	assert_int_equal(vram_buddy_create(MIB(1), &buddy), 0);
	assert_int_equal(vram_buddy_alloc(buddy, KIB(8), &offset), 0);
	FAKE_DIES(&died, vram_buddy_free(buddy, offset, KIB(4)));
	assert_true(died);
	FAKE_DIES(&died, vram_buddy_free(buddy, offset + KIB(8), KIB(8)));
	assert_true(died);
	FAKE_DIES(&died, vram_buddy_free(buddy, MIB(1), KIB(8)));
	assert_true(died);
	FAKE_DIES(&died, vram_buddy_destroy(buddy));
	assert_true(died);
	vram_buddy_free(buddy, offset, KIB(8));
	FAKE_DIES(&died, vram_buddy_free(buddy, offset, KIB(8)));
	assert_true(died);
	vram_buddy_destroy(buddy);
}

static void metadata_is_made_at_create_only(void **state)
{
	struct fake_sys *fake = *state;
	struct vram_buddy *buddy = NULL;
	uint64_t offset;
	uint64_t calls;

	fake_fail(fake, "pages_alloc", 1, ENOMEM);
	assert_int_equal(vram_buddy_create(GIB(16), &buddy), -ENOMEM);
	assert_null(buddy);
	assert_int_equal(vram_buddy_create(GIB(16), &buddy), 0);
	/* Two bits a page and an order, and their summaries. */
	assert_true(fake_page_bytes(fake) < GIB(16) / PAGE_BYTES / 8 * 4 * 33 / 32);
	calls = fake_calls(fake, "pages_alloc");
	assert_int_equal(vram_buddy_alloc(buddy, PAGE_BYTES, &offset), 0);
	vram_buddy_free(buddy, offset, PAGE_BYTES);
	assert_int_equal(fake_calls(fake, "pages_alloc"), calls);
	vram_buddy_destroy(buddy);
	assert_int_equal(fake_page_bytes(fake), 0);
}

static int set_up(void **state)
{
	*state = fake_create(0, false);
	return 0;
}

static int tear_down(void **state)
{
	return fake_destroy(*state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(every_step_agrees_with_the_model),
		TEST(sizes_that_are_no_whole_pages_are_refused),
		TEST(memory_fills_from_the_bottom),
		TEST(every_other_page_free_leaves_no_larger_block),
		TEST(a_size_that_is_no_power_of_two_is_used_to_the_last_page),
		TEST(a_free_that_matches_no_allocation_dies),
		TEST(metadata_is_made_at_create_only),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
