/* SPDX-License-Identifier: MIT */
/*
 * evict_threads_test.c - several evictors at once. `--seed N` picks the mix.
 */
#include "vram_fixture.h"

#include "../base/seed.h"
#include "base/wait.h"
#include "vram/vram_internal.h"

#define THREADS 4u
#define ROUNDS 3000u
#define HELD 6u

static struct fake_sys *fake;
static uint64_t seed;

/* A flag that one thread waits for and another raises. */
struct flag {
	struct wait wait;
	uint32_t raised; /* atomic */
};

static void flag_init(struct flag *flag)
{
	wait_init(&flag->wait);
	ATOMIC_STORE(&flag->raised, 0u);
}

static void flag_raise(struct flag *flag)
{
	ATOMIC_STORE(&flag->raised, 1u);
	wait_wake_all(&flag->wait);
}

static void flag_wait(struct flag *flag)
{
	for (;;) {
		uint32_t ticket = wait_ticket(&flag->wait);

		if (ATOMIC_LOAD(&flag->raised))
			return;
		wait_sleep(&flag->wait, ticket, BASE_FOREVER);
	}
}

static struct sys_thread *start(void (*run)(void *), void *arg)
{
	struct sys_thread_attr attr = { .name = "evictor", .run = run, .arg = arg };
	struct sys_thread *thread;

	assert_int_equal(fake->sys.ops->thread_create(&fake->sys, &attr, &thread), 0);
	return thread;
}

static void join(struct sys_thread *thread)
{
	fake->sys.ops->thread_join(&fake->sys, thread);
}

/* --- who finds nothing waits for who is evicting ---------------------------------- */

struct scene {
	struct vram *vram;
	struct owner owner; /* fills device memory */
	struct flag inside; /* its evict() or release() was entered */
	struct flag go_on;  /* it may return */
	int first_answer;   /* of evict(), the first time */
	int evict_result;   /* of vram_evict_one() in the first thread */
	int create_result;  /* of the second thread */
	struct owner fresh;
};

static int slow_evict(struct vram_bo *bo, void *data)
{
	struct scene *scene = data;

	(void)bo;
	if (ATOMIC_ADD(&scene->owner.evicts, 1u))
		return 0;
	flag_raise(&scene->inside);
	flag_wait(&scene->go_on);
	return scene->first_answer;
}

static void slow_release(struct vram_bo *bo, void *data)
{
	struct scene *scene = data;

	(void)bo;
	ATOMIC_ADD(&scene->owner.releases, 1u);
	if (ATOMIC_LOAD(&scene->owner.evicts))
		return;
	flag_raise(&scene->inside);
	flag_wait(&scene->go_on);
}

static const struct vram_bo_ops slow_ops = { .evict = slow_evict,
					     .release = slow_release };

static void run_evict_one(void *arg)
{
	struct scene *scene = arg;

	scene->evict_result = vram_evict_one(scene->vram);
}

static void run_put(void *arg)
{
	struct scene *scene = arg;

	vram_bo_put(scene->owner.bo);
}

static void run_create(void *arg)
{
	struct scene *scene = arg;
	int err = owner_create(scene->vram, &scene->fresh, KIB(64), true);

	ATOMIC_STORE(&scene->create_result, err);
}

static void set_scene(struct scene *scene)
{
	flag_init(&scene->inside);
	flag_init(&scene->go_on);
	assert_int_equal(vram_create(KIB(64), &scene->vram), 0);
	assert_int_equal(vram_bo_create(scene->vram, KIB(64), &slow_ops, scene, false,
					&scene->owner.bo),
			 0);
	vram_bo_unpin(scene->owner.bo);
}

/* @first is in the middle of an op when a second thread finds no room; then it goes on. */
static void play(struct scene *scene, void (*first)(void *))
{
	struct sys_thread *threads[2];

	set_scene(scene);
	threads[0] = start(first, scene);
	flag_wait(&scene->inside);
	threads[1] = start(run_create, scene);
	while (!ATOMIC_LOAD(&scene->vram->left.waiters) &&
	       ATOMIC_LOAD(&scene->create_result) == 1)
		base_host->cpu_yield();
	flag_raise(&scene->go_on);
	join(threads[0]);
	join(threads[1]);
	vram_check(scene->vram);
}

static void a_creator_waits_for_the_evictor_of_another(void **state)
{
	struct scene scene = { .create_result = 1 };

	(void)state;
	play(&scene, run_evict_one);
	assert_int_equal(scene.evict_result, 0);
	assert_int_equal(scene.create_result, 0);
	assert_int_equal(scene.owner.evicts, 1);
	vram_bo_put(scene.fresh.bo);
	vram_bo_put(scene.owner.bo);
	vram_destroy(scene.vram);
}

static void a_creator_tries_itself_what_another_could_not_evict(void **state)
{
	struct scene scene = { .create_result = 1, .first_answer = -EBUSY };

	(void)state;
	play(&scene, run_evict_one);
	assert_int_equal(scene.evict_result, -ENOSPC);
	assert_int_equal(scene.create_result, 0);
	assert_int_equal(scene.owner.evicts, 2);
	assert_int_equal(scene.owner.releases, 1);
	vram_bo_put(scene.fresh.bo);
	vram_bo_put(scene.owner.bo);
	vram_destroy(scene.vram);
}

static void a_creator_waits_for_a_last_put(void **state)
{
	struct scene scene = { .create_result = 1 };

	(void)state;
	play(&scene, run_put);
	assert_int_equal(scene.create_result, 0);
	assert_int_equal(scene.owner.evicts, 0);
	assert_int_equal(scene.owner.releases, 1);
	vram_bo_put(scene.fresh.bo);
	vram_destroy(scene.vram);
}

static void who_may_not_evict_does_not_wait_for_others(void **state)
{
	struct scene scene = { .create_result = 1 };
	struct sys_thread *thread;

	(void)state;
	set_scene(&scene);
	thread = start(run_evict_one, &scene);
	flag_wait(&scene.inside);
	/* It would wait for ever: go_on is raised below. */
	assert_int_equal(owner_create(scene.vram, &scene.fresh, KIB(64), false), -ENOSPC);
	flag_raise(&scene.go_on);
	join(thread);
	vram_bo_put(scene.owner.bo);
	vram_destroy(scene.vram);
}

/* The last put has given up the reference and has not got the lock yet. */
static void an_object_in_its_last_put_is_waited_for(void **state)
{
	struct scene scene = { 0 };
	struct sys_thread *thread;
	bool evicted = true;
	uint64_t pass;

	(void)state;
	set_scene(&scene);
	flag_raise(&scene.go_on);

	lock_acquire(&scene.vram->lock);
	thread = start(run_put, &scene);
	while (ATOMIC_LOAD(&scene.owner.bo->reference_count))
		base_host->cpu_yield();
	pass = vram_evict_begin(scene.vram);
	assert_int_equal(vram_evict_step(scene.vram, pass, &evicted), 0);
	assert_false(evicted);
	lock_release(&scene.vram->lock);
	join(thread);
	assert_int_equal(scene.owner.evicts, 0);
	assert_int_equal(scene.owner.releases, 1);
	vram_destroy(scene.vram);
}

/* --- all at once ---------------- */

struct stress {
	struct vram *vram;
	uint64_t seed;
	struct owner owners[ROUNDS];
	struct owner *held[HELD]; /* referenced, not pinned */
	uint32_t created;
};

static int moody_evict(struct vram_bo *bo, void *data)
{
	struct owner *owner = data;

	ASSERT(vram_bo_pin(bo) == -EBUSY);
	base_host->cpu_yield();
	return ATOMIC_ADD(&owner->evicts, 1u) % 3 ? 0 : owner->evict_error;
}

static const struct vram_bo_ops stress_ops = { .evict = moody_evict,
					       .release = owner_release };

static void stress_create(struct stress *s, struct prng *random, uint32_t round)
{
	struct owner *owner = &s->owners[round];
	uint64_t bytes = KIB(4) << prng_below(random, 6);
	int err;

	owner->vram = s->vram;
	owner->evict_error = prng_below(random, 2) ? -EBUSY : 0;
	err = vram_bo_create(s->vram, bytes, &stress_ops, owner, true, &owner->bo);
	if (err) {
		ASSERT(err == -ENOSPC);
		return;
	}
	s->created++;
	if (prng_below(random, 8))
		vram_bo_unpin(owner->bo);
	if (prng_below(random, 4)) {
		struct owner **slot = &s->held[prng_below(random, HELD)];

		if (*slot)
			vram_bo_put((*slot)->bo);
		*slot = owner;
		return;
	}
	vram_bo_put(owner->bo);
}

static void stress_use(struct stress *s, struct prng *random)
{
	struct owner *owner = s->held[prng_below(random, HELD)];

	if (!owner)
		return;
	vram_bo_touch(owner->bo);
	if (vram_bo_pin(owner->bo))
		return;
	ASSERT(!vram_bo_is_evicted(owner->bo));
	base_host->cpu_yield();
	ASSERT(!vram_bo_is_evicted(owner->bo));
	vram_bo_unpin(owner->bo);
}

static void run_stress(void *arg)
{
	struct stress *s = arg;
	struct prng random;

	prng_seed(&random, s->seed);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		stress_create(s, &random, round);
		stress_use(s, &random);
		if (!prng_below(&random, 16)) {
			int err = vram_evict_one(s->vram);

			ASSERT(!err || err == -ENOSPC);
		}
	}
	for (uint32_t i = 0; i < HELD; i++)
		if (s->held[i])
			vram_bo_put(s->held[i]->bo);
}

static void four_evictors_lose_no_byte_and_release_each_once(void **state)
{
	static struct stress stress[THREADS];
	struct sys_thread *threads[THREADS];
	struct vram_stats stats;
	struct vram *vram;
	uint32_t created = 0;
	uint32_t released = 0;

	(void)state;
	memset(stress, 0, sizeof(stress));
	assert_int_equal(vram_create(KIB(4) * 93, &vram), 0);
	for (uint32_t i = 0; i < THREADS; i++) {
		stress[i].vram = vram;
		stress[i].seed = seed * THREADS + i;
		threads[i] = start(run_stress, &stress[i]);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		join(threads[i]);

	vram_check(vram);
	for (uint32_t i = 0; i < THREADS; i++) {
		created += stress[i].created;
		for (uint32_t k = 0; k < ROUNDS; k++) {
			assert_true(stress[i].owners[k].releases <= 1);
			released += stress[i].owners[k].releases;
		}
	}
	assert_int_equal(released, created);
	vram_stats_read(vram, &stats);
	assert_int_equal(stats.used_bytes, 0);
	assert_int_equal(stats.bo_count, 0);
	assert_true(stats.evictions > 0);
	assert_true(stats.evictions_failed > 0);
	assert_true(stats.used_bytes_max <= stats.size_bytes);
	print_message("%u created, %llu evicted, %llu refused\n", created,
		      (unsigned long long)stats.evictions,
		      (unsigned long long)stats.evictions_failed);
	vram_destroy(vram);
}

struct reader {
	struct vram *vram;
	uint32_t stop; /* atomic */
	uint64_t reads; /* atomic */
	uint64_t wrong;
};

static void run_reader(void *arg)
{
	struct reader *r = arg;
	struct vram_stats stats;

	while (!ATOMIC_LOAD(&r->stop)) {
		vram_stats_read(r->vram, &stats);
		r->wrong += stats.used_bytes + stats.free_bytes != stats.size_bytes ||
			    stats.allocated_bytes + stats.rounding_bytes != stats.used_bytes ||
			    stats.bo_count != stats.used_bytes / KIB(16);
		ATOMIC_ADD(&r->reads, 1u);
		base_host->cpu_yield();
	}
}

static void who_reads_the_accounts_sees_one_time(void **state)
{
	struct reader reader = { .stop = 0 };
	struct sys_thread *thread;
	struct vram *vram;
	struct owner owner[4];

	(void)state;
	assert_int_equal(vram_create(MIB(4), &vram), 0);
	reader.vram = vram;
	thread = start(run_reader, &reader);
	while (!ATOMIC_LOAD(&reader.reads))
		base_host->cpu_yield();
	for (uint32_t round = 0; round < ROUNDS / 10; round++) {
		for (uint32_t i = 0; i < 4; i++)
			assert_int_equal(owner_create(vram, &owner[i], KIB(12), false), 0);
		for (uint32_t i = 0; i < 4; i++)
			vram_bo_put(owner[i].bo);
		base_host->cpu_yield();
	}
	ATOMIC_STORE(&reader.stop, 1u);
	join(thread);
	assert_int_equal(reader.wrong, 0);
	print_message("%llu reads\n", (unsigned long long)reader.reads);
	vram_destroy(vram);
}

static int set_up(void **state)
{
	(void)state;
	fake = fake_create(0, true);
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
		TEST(a_creator_waits_for_the_evictor_of_another),
		TEST(a_creator_tries_itself_what_another_could_not_evict),
		TEST(a_creator_waits_for_a_last_put),
		TEST(who_may_not_evict_does_not_wait_for_others),
		TEST(an_object_in_its_last_put_is_waited_for),
		TEST(four_evictors_lose_no_byte_and_release_each_once),
		TEST(who_reads_the_accounts_sees_one_time),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
