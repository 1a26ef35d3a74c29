/* SPDX-License-Identifier: MIT */
/*
 * evict_test.c - who is evicted, in which order, and when no more. One thread.
 */
#include "vram_fixture.h"

#include "../base/seed.h"

#define OBJECTS 8u

static uint64_t seed;

static struct fake_sys *fake;

/* OBJECTS objects of 64 KiB fill device memory; they became idle in their order. */
struct fixture {
	struct vram *vram;
	struct owner owners[OBJECTS];
};

static int set_up(void **state)
{
	static struct fixture f;

	evict_calls = 0;
	fake = fake_create(0, false);
	assert_int_equal(vram_create(OBJECTS * KIB(64), &f.vram), 0);
	for (uint32_t i = 0; i < OBJECTS; i++)
		owner_create_idle(f.vram, &f.owners[i], KIB(64));
	*state = &f;
	return 0;
}

static void put_all(struct fixture *f)
{
	for (uint32_t i = 0; i < OBJECTS; i++) {
		vram_bo_put(f->owners[i].bo);
		assert_int_equal(f->owners[i].releases, 1);
	}
	assert_int_equal(used_bytes(f->vram), 0);
	vram_destroy(f->vram);
}

static void expect_order(struct fixture *f, const uint32_t *order, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(vram_evict_one(f->vram), 0);
		assert_int_equal(f->owners[order[i]].order, i + 1);
		assert_true(vram_bo_is_evicted(f->owners[order[i]].bo));
		vram_check(f->vram);
	}
	assert_int_equal(vram_evict_one(f->vram), -ENOSPC);
}

static void the_least_recently_used_goes_first(void **state)
{
	static const uint32_t order[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
	struct fixture *f = *state;

	expect_order(f, order, OBJECTS);
	put_all(f);
}

static void touch_and_unpin_make_the_most_recent(void **state)
{
	static const uint32_t order[] = { 1, 3, 4, 5, 6, 7, 0, 2 };
	struct fixture *f = *state;

	vram_bo_touch(f->owners[0].bo);
	assert_int_equal(vram_bo_pin(f->owners[2].bo), 0);
	vram_bo_touch(f->owners[2].bo); /* pinned: nothing to move */
	vram_check(f->vram);
	vram_bo_unpin(f->owners[2].bo);
	expect_order(f, order, OBJECTS);
	put_all(f);
}

static void a_pinned_object_stays(void **state)
{
	static const uint32_t order[] = { 1, 2, 3, 4, 5, 6, 7 };
	struct fixture *f = *state;

	assert_int_equal(vram_bo_pin(f->owners[0].bo), 0);
	assert_int_equal(vram_bo_pin(f->owners[0].bo), 0);
	vram_bo_unpin(f->owners[0].bo); /* one pin is left */
	expect_order(f, order, OBJECTS - 1);
	assert_int_equal(f->owners[0].evicts, 0);
	assert_int_equal(vram_evict_all(f->vram), 0); /* nothing is on the LRU */
	assert_int_equal(used_bytes(f->vram), KIB(64));
	vram_bo_unpin(f->owners[0].bo);
	assert_int_equal(vram_evict_one(f->vram), 0);
	put_all(f);
}

static void create_evicts_as_many_as_it_needs(void **state)
{
	struct fixture *f = *state;
	struct owner fresh;

	assert_int_equal(owner_create(f->vram, &fresh, KIB(64), false), -ENOSPC);
	assert_int_equal(ATOMIC_LOAD(&evict_calls), 0);
	assert_int_equal(owner_create(f->vram, &fresh, KIB(64), true), 0);
	assert_int_equal(ATOMIC_LOAD(&evict_calls), 1);
	assert_int_equal(vram_bo_span(fresh.bo).start,
			 vram_bo_span(f->owners[0].bo).start);
	vram_bo_put(fresh.bo);

	/* The hole of object 0 is there: its buddy, object 1, completes 128 KiB. */
	assert_int_equal(owner_create(f->vram, &fresh, KIB(128), true), 0);
	assert_int_equal(ATOMIC_LOAD(&evict_calls), 2);
	assert_true(vram_bo_is_evicted(f->owners[1].bo));
	assert_false(vram_bo_is_evicted(f->owners[2].bo));
	vram_bo_put(fresh.bo);
	put_all(f);
}

static void who_is_busy_is_passed_over(void **state)
{
	struct fixture *f = *state;
	struct vram_stats stats;
	struct owner fresh;

	f->owners[0].evict_error = -EBUSY;
	f->owners[1].evict_error = -EIO;
	assert_int_equal(owner_create(f->vram, &fresh, KIB(64), true), 0);
	assert_int_equal(ATOMIC_LOAD(&evict_calls), 3);
	assert_int_equal(f->owners[2].order, 3);
	assert_int_equal(f->owners[0].releases, 0);
	assert_false(vram_bo_is_evicted(f->owners[0].bo));
	vram_stats_read(f->vram, &stats);
	assert_int_equal(stats.evictions, 1);
	assert_int_equal(stats.evictions_failed, 2);
	assert_int_equal(stats.bo_count, OBJECTS);
	/* It can be pinned again. */
	assert_int_equal(vram_bo_pin(f->owners[0].bo), 0);
	vram_bo_unpin(f->owners[0].bo);
	vram_check(f->vram);
	vram_bo_put(fresh.bo);
	put_all(f);
}

static void who_was_busy_counts_as_used(void **state)
{
	static const uint32_t order[] = { 2, 3, 4, 5, 6, 7, 0 };
	struct fixture *f = *state;

	f->owners[0].evict_error = -EBUSY;
	assert_int_equal(vram_evict_one(f->vram), 0);
	assert_true(vram_bo_is_evicted(f->owners[1].bo));
	f->owners[0].evict_error = 0;
	evict_calls = 0;
	expect_order(f, order, ARRAY_SIZE(order));
	put_all(f);
}

static void each_is_tried_once_in_a_call(void **state)
{
	struct fixture *f = *state;
	struct owner fresh;

	for (uint32_t i = 0; i < OBJECTS; i++)
		f->owners[i].evict_error = -EBUSY;
	assert_int_equal(owner_create(f->vram, &fresh, KIB(64), true), -ENOSPC);
	assert_int_equal(vram_evict_one(f->vram), -ENOSPC);
	for (uint32_t i = 0; i < OBJECTS; i++)
		assert_int_equal(f->owners[i].evicts, 2);
	assert_int_equal(used_bytes(f->vram), OBJECTS * KIB(64));
	put_all(f);
}

static void evict_all_tries_each_thrice(void **state)
{
	struct fixture *f = *state;

	f->owners[3].evict_error = -EBUSY;
	assert_int_equal(vram_evict_all(f->vram), -EBUSY);
	for (uint32_t i = 0; i < OBJECTS; i++)
		assert_int_equal(f->owners[i].evicts, i == 3 ? 3 : 1);
	assert_int_equal(used_bytes(f->vram), KIB(64));
	f->owners[3].evict_error = 0;
	assert_int_equal(vram_evict_all(f->vram), 0);
	assert_int_equal(used_bytes(f->vram), 0);
	put_all(f);
}

/* --- against a list ---------------- */

#define MODEL_OBJECTS 24u

struct model {
	uint32_t lru[MODEL_OBJECTS];
	uint32_t lru_count;
	uint32_t pins[MODEL_OBJECTS];
	bool alive[MODEL_OBJECTS];
	bool evicted[MODEL_OBJECTS];
};

static void model_remove(struct model *m, uint32_t which)
{
	for (uint32_t i = 0; i < m->lru_count; i++) {
		if (m->lru[i] != which)
			continue;
		memmove(&m->lru[i], &m->lru[i + 1],
			(m->lru_count - i - 1) * sizeof(m->lru[0]));
		m->lru_count--;
		return;
	}
}

static void model_push(struct model *m, uint32_t which)
{
	model_remove(m, which);
	m->lru[m->lru_count++] = which;
}

static void model_evict(struct model *m, struct vram *vram)
{
	uint32_t victim;

	if (!m->lru_count) {
		assert_int_equal(vram_evict_one(vram), -ENOSPC);
		return;
	}
	victim = m->lru[0];
	assert_int_equal(vram_evict_one(vram), 0);
	model_remove(m, victim);
	m->evicted[victim] = true;
}

static void model_step(struct model *m, struct vram *vram, struct owner *owners,
		       struct prng *random)
{
	uint32_t which = (uint32_t)prng_below(random, MODEL_OBJECTS);
	struct owner *owner = &owners[which];
	int err;

	if (!m->alive[which]) {
		err = owner_create(vram, owner, KIB(4) << prng_below(random, 4), false);
		m->alive[which] = !err;
		m->evicted[which] = false;
		m->pins[which] = 1;
		return;
	}
	switch (prng_below(random, 5)) {
	case 0:
		err = vram_bo_pin(owner->bo);
		assert_int_equal(err, m->evicted[which] ? -EBUSY : 0);
		m->pins[which] += !err;
		if (!err)
			model_remove(m, which);
		break;
	case 1:
		if (m->evicted[which] || !m->pins[which])
			break;
		vram_bo_unpin(owner->bo);
		if (!--m->pins[which])
			model_push(m, which);
		break;
	case 2:
		vram_bo_touch(owner->bo);
		if (!m->evicted[which] && !m->pins[which])
			model_push(m, which);
		break;
	case 3:
		model_evict(m, vram);
		break;
	case 4:
		vram_bo_put(owner->bo);
		assert_int_equal(owner->releases, 1);
		m->alive[which] = false;
		model_remove(m, which);
		break;
	}
}

static void every_step_agrees_with_a_list(void **state)
{
	static struct owner owners[MODEL_OBJECTS];
	struct model m = { 0 };
	struct prng random;
	struct vram *vram;

	(void)state;
	prng_seed(&random, seed);
	assert_int_equal(vram_create(KIB(4) * 37, &vram), 0);
	for (int step = 0; step < 20000; step++) {
		uint64_t used = 0;

		model_step(&m, vram, owners, &random);
		vram_check(vram);
		for (uint32_t i = 0; i < MODEL_OBJECTS; i++) {
			if (!m.alive[i])
				continue;
			assert_int_equal(vram_bo_is_evicted(owners[i].bo), m.evicted[i]);
			assert_int_equal(owners[i].releases, m.evicted[i]);
			if (!m.evicted[i])
				used += span_bytes(vram_bo_span(owners[i].bo));
		}
		assert_int_equal(used_bytes(vram), used);
	}
	for (uint32_t i = 0; i < MODEL_OBJECTS; i++)
		if (m.alive[i])
			vram_bo_put(owners[i].bo);
	vram_destroy(vram);
}

/* --- memory that others use as well ------------------------------------------------------ */

struct others {
	struct vram *vram;
	uint64_t left;     /* that nobody has */
	uint64_t they_can; /* give, when they are asked */
	uint32_t asks, last_asks, unpins;
};

static bool others_take(void *user, uint64_t bytes)
{
	struct others *others = user;

	if (bytes > others->left)
		return false;
	others->left -= bytes;
	return true;
}

static void others_give(void *user, uint64_t bytes)
{
	((struct others *)user)->left += bytes;
}

static bool others_ask(void *user, uint64_t bytes, bool is_last)
{
	struct others *others = user;

	/* Nobody holds it who asks. */
	lock_acquire(&others->vram->lock);
	lock_release(&others->vram->lock);
	others->asks += !is_last;
	others->last_asks += is_last;
	if (!is_last || others->they_can < bytes)
		return false;
	others->they_can -= bytes;
	others->left += bytes;
	return true;
}

static void others_unpinned(void *user)
{
	((struct others *)user)->unpins++;
}

static const struct vram_share_ops others_ops = {
	.take = others_take,
	.give = others_give,
	.ask = others_ask,
	.unpinned = others_unpinned,
};

static void others_make_room_when_nothing_here_can(void **state)
{
	struct others others = { .left = KIB(128), .they_can = KIB(64) };
	struct owner owners[4];

	(void)state;
	assert_int_equal(vram_create(MIB(1), &others.vram), 0);
	vram_share(others.vram, &others_ops, &others);
	assert_int_equal(owner_create(others.vram, &owners[0], KIB(64), true), 0);
	owner_create_idle(others.vram, &owners[1], KIB(64));
	assert_int_equal(others.left, 0);
	assert_int_equal(others.unpins, 1);
	/* Without eviction nobody is asked. */
	assert_int_equal(owner_create(others.vram, &owners[2], KIB(64), false), -ENOSPC);
	assert_int_equal(others.asks + others.last_asks, 0);
	/* Of what is here one can go; it is asked for room first. */
	assert_int_equal(owner_create(others.vram, &owners[2], KIB(64), true), 0);
	assert_int_equal(owners[1].evicts, 1);
	assert_int_equal(others.asks, 1);
	assert_int_equal(others.last_asks, 0);
	/* All that is left is pinned. */
	assert_int_equal(owner_create(others.vram, &owners[3], KIB(64), true), 0);
	assert_int_equal(others.last_asks, 1);
	assert_int_equal(others.they_can, 0);
	vram_bo_put(owners[1].bo);
	assert_int_equal(owner_create(others.vram, &owners[1], KIB(64), true), -ENOSPC);
	/* What is put is given back. */
	assert_int_equal(others.left, 0);
	for (int i = 0; i < 4; i++) {
		if (i != 1)
			vram_bo_put(owners[i].bo);
	}
	assert_int_equal(others.left, KIB(192));
	vram_destroy(others.vram);
}

/* They say that there is room, and a third has it at once. */
static bool others_lose(void *user, uint64_t bytes, bool is_last)
{
	others_ask(user, bytes, is_last);
	((struct others *)user)->left = 0;
	return true;
}

static void room_that_others_have_at_once_is_asked_for_again(void **state)
{
	const struct vram_share_ops ops = {
		.take = others_take, .give = others_give, .ask = others_lose,
		.unpinned = others_unpinned,
	};
	struct others others = { .they_can = MIB(16) };
	struct owner owner;

	(void)state;
	assert_int_equal(vram_create(MIB(1), &others.vram), 0);
	vram_share(others.vram, &ops, &others);
	assert_int_equal(owner_create(others.vram, &owner, KIB(64), true), -ENOSPC);
	assert_in_range(others.last_asks, 2, 100);
	vram_destroy(others.vram);
}

static int set_up_empty(void **state)
{
	(void)state;
	fake = fake_create(0, false);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return fake_destroy(fake);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(the_least_recently_used_goes_first),
		TEST(touch_and_unpin_make_the_most_recent),
		TEST(a_pinned_object_stays),
		TEST(create_evicts_as_many_as_it_needs),
		TEST(who_is_busy_is_passed_over),
		TEST(who_was_busy_counts_as_used),
		TEST(each_is_tried_once_in_a_call),
		TEST(evict_all_tries_each_thrice),
		cmocka_unit_test_setup_teardown(others_make_room_when_nothing_here_can,
						set_up_empty, tear_down),
		cmocka_unit_test_setup_teardown(room_that_others_have_at_once_is_asked_for_again,
						set_up_empty, tear_down),
		cmocka_unit_test_setup_teardown(every_step_agrees_with_a_list,
						set_up_empty, tear_down),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
