/* SPDX-License-Identifier: MIT */
/*
 * bo_test.c - buffer objects: references, pins, accounts, failures.
 */
#include "base/lock.h"
#include "vram/vram_internal.h"
#include "vram_fixture.h"

#include "../base/seed.h"

static uint64_t seed;

static void sizes_are_rounded_up_and_accounted_to_the_byte(void **state)
{
	static const struct {
		uint64_t asked, got;
	} sizes[] = {
		{ 1, KIB(4) },         { KIB(4), KIB(4) }, { KIB(4) + 1, KIB(8) },
		{ KIB(65), KIB(128) }, { MIB(2), MIB(2) },
	};
	struct owner owners[ARRAY_SIZE(sizes)];
	struct vram_stats stats;
	struct vram *vram;
	uint64_t used = 0;

	(void)state;
	assert_int_equal(vram_create(MIB(7) + KIB(4), &vram), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(owner_create(vram, &owners[i], sizes[i].asked, false),
				 0);
		assert_int_equal(span_bytes(vram_bo_span(owners[i].bo)), sizes[i].got);
		used += sizes[i].got;
		vram_stats_read(vram, &stats);
		assert_int_equal(stats.used_bytes, used);
		assert_int_equal(stats.used_bytes_max, used);
		assert_int_equal(stats.bo_count, i + 1);
		vram_check(vram);
	}
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		vram_bo_put(owners[i].bo);
	vram_stats_read(vram, &stats);
	assert_int_equal(stats.size_bytes, MIB(7) + KIB(4));
	assert_int_equal(stats.used_bytes, 0);
	assert_int_equal(stats.used_bytes_max, used);
	assert_int_equal(stats.bo_count, 0);
	assert_int_equal(stats.evictions, 0);
	vram_destroy(vram);
	vram_destroy(NULL);
}

/* Who asks may have interrupted the thread that holds it. */
static void the_accounts_are_read_without_the_lock(void **state)
{
	struct vram_stats stats;
	struct vram *vram;
	struct owner owner;

	(void)state;
	assert_int_equal(vram_create(MIB(4), &vram), 0);
	vram_stats_read(vram, &stats);
	assert_int_equal(stats.size_bytes, MIB(4));
	assert_int_equal(stats.free_bytes, MIB(4));
	assert_int_equal(owner_create(vram, &owner, KIB(12), false), 0);
	lock_acquire(&vram->lock);
	vram_stats_read(vram, &stats);
	lock_release(&vram->lock);
	assert_int_equal(stats.used_bytes, KIB(16));
	assert_int_equal(stats.rounding_bytes, KIB(4));
	assert_int_equal(stats.bo_count, 1);
	vram_bo_put(owner.bo);
	vram_destroy(vram);
}

/* What the accounts are to say of @count objects. */
static void expect_accounts(struct vram *vram, const struct owner *owners,
			    const uint64_t *asked, size_t count)
{
	uint64_t allocated = 0, blocks = 0, bo_count = 0;
	struct vram_stats stats;

	for (size_t i = 0; i < count; i++) {
		if (!owners[i].bo || vram_bo_is_evicted(owners[i].bo))
			continue;
		allocated += asked[i];
		blocks += span_bytes(vram_bo_span(owners[i].bo));
		bo_count++;
	}
	vram_stats_read(vram, &stats);
	assert_int_equal(stats.allocated_bytes, allocated);
	assert_int_equal(stats.rounding_bytes, blocks - allocated);
	assert_int_equal(stats.used_bytes, blocks);
	assert_int_equal(stats.bo_count, bo_count);
	assert_int_equal(stats.allocated_bytes + stats.rounding_bytes + stats.free_bytes,
			 stats.size_bytes);
	vram_check(vram);
}

/* Sizes in bytes; some are put, some evicted, some refused. */
static void every_byte_is_accounted_for_at_every_step(void **state)
{
	enum { COUNT = 24, STEPS = 3000 };
	struct owner owners[COUNT] = { 0 };
	uint64_t asked[COUNT] = { 0 };
	uint64_t refused = 0, evicted = 0;
	struct vram *vram;
	struct prng prng;

	(void)state;
	prng_seed(&prng, seed);
	assert_int_equal(vram_create(MIB(1) + 5 * PAGE_BYTES, &vram), 0);
	for (int step = 0; step < STEPS; step++) {
		size_t i = prng_below(&prng, COUNT);
		bool evicts = prng_below(&prng, 2);

		if (owners[i].bo) {
			evicted += vram_bo_is_evicted(owners[i].bo);
			vram_bo_put(owners[i].bo);
			owners[i].bo = NULL;
		} else if (prng_below(&prng, 8) == 0) {
			(void)!vram_evict_one(vram);
		} else {
			asked[i] = 1 + prng_below(&prng, 1 + prng_below(&prng, KIB(300)));
			if (owner_create(vram, &owners[i], asked[i], evicts)) {
				owners[i].bo = NULL;
				refused++;
			} else if (prng_below(&prng, 4)) {
				vram_bo_unpin(owners[i].bo);
			}
		}
		expect_accounts(vram, owners, asked, COUNT);
	}
	assert_in_range(refused, 10, STEPS);
	assert_in_range(evicted, 10, STEPS);
	for (size_t i = 0; i < COUNT; i++) {
		if (owners[i].bo)
			vram_bo_put(owners[i].bo);
		owners[i].bo = NULL;
	}
	expect_accounts(vram, owners, asked, COUNT);
	vram_destroy(vram);
}

static void what_never_fits_is_refused_without_a_look_at_others(void **state)
{
	struct owner small;
	struct owner large;
	struct vram *vram;

	(void)state;
	assert_int_equal(vram_create(MIB(3), &vram), 0);
	owner_create_idle(vram, &small, KIB(4));
	assert_int_equal(owner_create(vram, &large, 0, true), -EINVAL);
	assert_int_equal(owner_create(vram, &large, MIB(2) + 1, true), -ENOSPC);
	assert_int_equal(owner_create(vram, &large, UINT64_MAX, true), -ENOSPC);
	assert_int_equal(small.evicts, 0);
	assert_int_equal(owner_create(vram, &large, MIB(2), true), 0);
	vram_bo_put(large.bo);
	vram_bo_put(small.bo);
	vram_destroy(vram);
}

static void the_last_put_releases_once_and_only_it(void **state)
{
	struct owner owner;
	struct vram *vram;

	(void)state;
	assert_int_equal(vram_create(MIB(1), &vram), 0);
	owner_create_idle(vram, &owner, KIB(64));
	assert_ptr_equal(vram_bo_get(owner.bo), owner.bo);
	vram_bo_put(owner.bo);
	assert_int_equal(owner.releases, 0);
	assert_int_equal(used_bytes(vram), KIB(64));
	vram_bo_put(owner.bo);
	assert_int_equal(owner.releases, 1);
	assert_int_equal(owner.evicts, 0);
	assert_int_equal(used_bytes(vram), 0);
	vram_bo_put(NULL);
	vram_destroy(vram);
}

static void a_pinned_object_can_be_put_by_who_failed_to_fill_it(void **state)
{
	struct owner owner;
	struct vram *vram;

	(void)state;
	assert_int_equal(vram_create(MIB(1), &vram), 0);
	assert_int_equal(owner_create(vram, &owner, KIB(4), false), 0);
	vram_bo_put(owner.bo);
	assert_int_equal(owner.releases, 1);
	assert_int_equal(used_bytes(vram), 0);
	vram_destroy(vram);
}

static void an_evicted_object_outlives_its_block(void **state)
{
	struct vram_stats stats;
	struct owner owner;
	struct vram *vram;

	(void)state;
	assert_int_equal(vram_create(MIB(1), &vram), 0);
	owner_create_idle(vram, &owner, KIB(64));
	assert_false(vram_bo_is_evicted(owner.bo));
	assert_int_equal(vram_evict_one(vram), 0);
	assert_true(vram_bo_is_evicted(owner.bo));
	assert_int_equal(owner.evicts, 1);
	assert_int_equal(owner.releases, 1);
	vram_stats_read(vram, &stats);
	assert_int_equal(stats.used_bytes, 0);
	assert_int_equal(stats.bo_count, 0);
	assert_int_equal(stats.evictions, 1);
	assert_int_equal(vram_bo_pin(owner.bo), -EBUSY);
	vram_bo_touch(owner.bo); /* harmless */
	vram_check(vram);
	assert_int_equal(vram_evict_one(vram), -ENOSPC);
	vram_bo_put(owner.bo);
	assert_int_equal(owner.releases, 1);
	vram_destroy(vram);
}

/* evict() of an owner that gives its own reference back there. */
static int evict_and_put(struct vram_bo *bo, void *data)
{
	struct owner *owner = data;

	vram_bo_put(bo);
	return owner->evict_error;
}

static void an_owner_may_drop_its_reference_inside_evict(void **state)
{
	static const struct vram_bo_ops ops = { .evict = evict_and_put,
						.release = owner_release };
	struct owner owner = { 0 };
	struct vram *vram;

	(void)state;
	assert_int_equal(vram_create(MIB(1), &vram), 0);
	owner.vram = vram;
	for (int i = 0; i < 2; i++) {
		owner.evict_error = i ? -EIO : 0;
		owner.releases = 0;
		assert_int_equal(
			vram_bo_create(vram, KIB(4), &ops, &owner, false, &owner.bo), 0);
		vram_bo_unpin(owner.bo);
		/* Also when evict() fails: then its put was the last but the evictor's. */
		assert_int_equal(vram_evict_one(vram), i ? -ENOSPC : 0);
		assert_int_equal(owner.releases, 1);
		assert_int_equal(used_bytes(vram), 0);
		vram_check(vram);
	}
	vram_destroy(vram);
}

static void release_is_optional(void **state)
{
	static const struct vram_bo_ops ops = { .evict = owner_evict };
	struct owner owner = { 0 };
	struct vram *vram;

	(void)state;
	assert_int_equal(vram_create(MIB(1), &vram), 0);
	owner.vram = vram;
	for (int evict = 0; evict < 2; evict++) {
		assert_int_equal(
			vram_bo_create(vram, KIB(4), &ops, &owner, false, &owner.bo), 0);
		vram_bo_unpin(owner.bo);
		if (evict)
			assert_int_equal(vram_evict_one(vram), 0);
		vram_bo_put(owner.bo);
		assert_int_equal(used_bytes(vram), 0);
	}
	vram_destroy(vram);
}

static void a_failed_allocation_leaves_nothing_behind(void **state)
{
	struct fake_sys *fake = *state;
	struct vram *vram = NULL;
	struct owner owner;
	uint64_t bytes;

	for (uint64_t nth = 1; nth <= 2; nth++) {
		fake_fail(fake, "pages_alloc", nth, ENOMEM);
		assert_int_equal(vram_create(MIB(1), &vram), -ENOMEM);
		assert_null(vram);
		assert_int_equal(fake_page_bytes(fake), 0);
	}
	assert_int_equal(vram_create(KIB(4) + 1, &vram), -EINVAL);
	assert_int_equal(fake_page_bytes(fake), 0);

	assert_int_equal(vram_create(MIB(1), &vram), 0);
	bytes = fake_page_bytes(fake);
	fake_fail(fake, "pages_alloc", 1, ENOMEM);
	assert_int_equal(owner_create(vram, &owner, KIB(4), true), -ENOMEM);
	assert_int_equal(used_bytes(vram), 0);
	assert_int_equal(fake_page_bytes(fake), bytes);
	assert_int_equal(owner_create(vram, &owner, KIB(4), true), 0);
	vram_bo_put(owner.bo);
	vram_destroy(vram);
	assert_int_equal(fake_page_bytes(fake), 0);
}

static void misuse_dies(void **state)
{
	static struct owner owner;
	static struct vram *vram;
	static bool died;

	(void)state;
	assert_int_equal(vram_create(MIB(1), &vram), 0);
	owner_create_idle(vram, &owner, KIB(4));
	FAKE_DIES(&died, vram_destroy(vram));
	assert_true(died);
	vram_bo_put(owner.bo);
	vram_destroy(vram);
}

/* By it an owner knows whose block is only pinned for a moment, when it is refused room. */
static uint32_t created_blocks; /* guarded by vram.lock */
static struct vram *created_in;

static void count_created(void *owner)
{
	(void)owner;
	lock_assert_held(&created_in->lock);
	created_blocks++;
}

static void an_owner_is_told_of_its_block_before_anybody_is_refused(void **state)
{
	static const struct vram_bo_ops ops = { .created = count_created };
	struct vram_bo *bo, *other;
	struct vram *vram;

	(void)state;
	created_blocks = 0;
	assert_int_equal(vram_create(MIB(1), &vram), 0);
	created_in = vram;
	assert_int_equal(vram_bo_create(vram, MIB(1), &ops, NULL, true, &bo), 0);
	assert_int_equal(created_blocks, 1);
	assert_int_equal(vram_bo_create(vram, KIB(4), &ops, NULL, true, &other), -ENOSPC);
	assert_int_equal(created_blocks, 1);
	vram_bo_put(bo);
	vram_destroy(vram);
}

static int set_up(void **state)
{
	evict_calls = 0;
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
		TEST(sizes_are_rounded_up_and_accounted_to_the_byte),
		TEST(the_accounts_are_read_without_the_lock),
		TEST(every_byte_is_accounted_for_at_every_step),
		TEST(what_never_fits_is_refused_without_a_look_at_others),
		TEST(the_last_put_releases_once_and_only_it),
		TEST(a_pinned_object_can_be_put_by_who_failed_to_fill_it),
		TEST(an_evicted_object_outlives_its_block),
		TEST(an_owner_may_drop_its_reference_inside_evict),
		TEST(release_is_optional),
		TEST(a_failed_allocation_leaves_nothing_behind),
		TEST(an_owner_is_told_of_its_block_before_anybody_is_refused),
		TEST(misuse_dies),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
