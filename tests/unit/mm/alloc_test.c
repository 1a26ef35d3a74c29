/* SPDX-License-Identifier: MIT */
/*
 * Memory that is not there: each allocation, each reservation and each call of create that
 * can fail does, once; the answer is documented and nothing is lost or leaked.
 */
#include "mm_fixture.h"

/* --- create ---------------- */

/* Make call @nth of @op fail in mm_create(). Return: false if there was no such call. */
static bool create_with_failure(const char *op, uint64_t nth, int error)
{
	const struct mm_config config = { .worker_count = 1, .no_threads = true };
	struct fake_sys *fake = fake_create(FAKE_ALL_FEATURES, false);
	struct mm *mm = NULL;
	uint64_t calls;
	int err;

	fake_fail(fake, op, nth, error);
	err = mm_create(&fake->sys, &config, &mm);
	calls = fake_calls(fake, op);
	assert_true(err == 0 || err == -ENOMEM || err == -error);
	if (!err)
		mm_destroy(mm);
	else
		assert_null(mm);
	assert_int_equal(fake_destroy(fake), 0);
	return calls >= nth;
}

static void create_fails_at_each_call_and_leaks_nothing(void **state)
{
	static const struct {
		const char *op;
		int error;
	} ops[] = {
		{ "pages_alloc", ENOMEM }, { "map", ENOMEM },	     { "advise", ENOMEM },
		{ "uffd_open", EMFILE },   { "uffd_register", ENOMEM }, { "fork_hooks", ENOMEM },
	};
	size_t failures = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		uint64_t nth = 1;

		while (create_with_failure(ops[i].op, nth, ops[i].error))
			nth++;
		failures += nth - 1;
	}
	assert_true(failures >= 8);
}

/* A kernel without huge pages knows no advice about them. */
static void no_huge_pages_is_no_error(void **state)
{
	(void)state;
	assert_true(create_with_failure("advise", 1, EINVAL));
}

static void without_a_userfaultfd_there_is_an_mm_that_takes_nothing(void **state)
{
	const struct mm_config config = { .worker_count = 1, .no_threads = true };
	const uint32_t lacks[] = { SYS_FEATURE_UFFD, SYS_FEATURE_MOVE };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lacks); i++) {
		struct fake_sys *fake = fake_create(FAKE_ALL_FEATURES & ~lacks[i], false);
		struct mm_entry_owner owner;
		struct mm_take take = { .span = heap_span(0, 1), .owner = &owner };
		const char *why = NULL;
		struct sys_vma vma;
		uint32_t flags = 1;
		struct mm *mm;
		uint64_t arena;

		fake_map(fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
		assert_int_equal(mm_create(&fake->sys, &config, &mm), 0);
		assert_false(mm_can_migrate(mm, &why));
		assert_non_null(why);
		mm_entry_owner_init(&owner, &owner_ops, NULL, PAGE_BYTES);
		assert_int_equal(mm_take(mm, &take), -EOPNOTSUPP);
		assert_int_equal(mm_arena_create(mm, HUGE_BYTES, &arena), -EOPNOTSUPP);
		assert_int_equal(mm_vma_find(mm, HEAP, false, &vma, &flags), 0);
		assert_int_equal(flags, 0);
		assert_int_equal(mm_vma_watch(mm, &vma), 0);
		mm_submit_fence(mm);
		mm_destroy(mm);
		assert_int_equal(fake_destroy(fake), 0);
	}
}

/* --- reservations ---------------- */

/* Keeps the pool of nodes empty, so that every reservation has to ask for memory, and lets
 * the test fail the one it likes. */
struct hoard {
	void *nodes[1 << 17];
	size_t count;
	uint64_t left;   /* allocations until one fails; 0: none does */
	bool failed;
	bool unlucky;    /* all fail */
};
static struct hoard hoard;

static void hoard_all(struct fixture *f)
{
	struct pool *pool = &f->mm->node_pool;

	while (pool->free_count > pool->reserved_count) {
		assert_true(hoard.count < ARRAY_SIZE(hoard.nodes));
		hoard.nodes[hoard.count++] = pool_alloc(pool);
	}
}

static void hoard_end(struct fixture *f)
{
	f->fake->op_hook = NULL;
	while (hoard.count)
		pool_put(&f->mm->node_pool, hoard.nodes[--hoard.count]);
}

static void hoard_hook(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (!strcmp(op, "pages_alloc")) {
		if (hoard.unlucky || (hoard.left && !--hoard.left)) {
			fake_fail(f->fake, op, 1, ENOMEM);
			hoard.failed = true;
		}
		return;
	}
	if (!base_host->self()->held_count)
		hoard_all(f);
}

static void hoard_start(struct fixture *f, uint64_t nth)
{
	memset(&hoard, 0, sizeof(hoard));
	hoard.left = nth;
	hoard_all(f);
	f->fake->op_hook = hoard_hook;
}

/* Eight pages to take, two of them in quarantine if @removed. */
static void prepare_take(struct fixture *f, bool removed)
{
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	settle(f);
	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 6, 1), 1);
	if (!removed)
		return;
	fake_madvise(f->fake, heap_span(2, 2), SYS_ADVICE_DONTNEED);
	finish_remove(f);
	heap_fill(f, 2, 2);
}

static void a_take_without_memory_is_enomem_and_changes_nothing(void **state)
{
	struct fixture *f = *state;
	size_t failures = 0;

	for (int removed = 0; removed < 2; removed++) {
		uint64_t nth = 1;

		do {
			struct mm_take take = take_of(f, 0, 8);
			int err;

			prepare_take(f, removed);
			hoard_start(f, nth++);
			err = mm_take(f->mm, &take);
			hoard_end(f);
			mm_check(f->mm);
			if (err)
				assert_int_equal(err, -ENOMEM);
			expect_tags(f, 0, 8);
			failures += hoard.failed;
		} while (hoard.failed);
	}
	assert_true(failures >= 4); /* registration, entries; registration, quarantine */
}

static void bringing_home_without_memory_is_ebusy_and_nothing_moves(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	hoard_start(f, 1);
	assert_int_equal(mm_bring_home(f->mm, heap_span(2, 2), NULL), -EBUSY);
	assert_true(hoard.failed);
	hoard_end(f);
	assert_int_equal(mm_entry_pages(f->mm), 8);
	hoard_start(f, 1);
	assert_int_equal(mm_evict_owner(f->mm, &f->owner.owner), -EBUSY);
	hoard_end(f);
	assert_int_equal(mm_entry_pages(f->mm), 8);
	expect_tags(f, 0, 8);
}

/* Homecoming for a CPU, and every event, never depend on an allocation. */
static void the_monitor_needs_no_memory(void **state)
{
	struct fixture *f = *state;
	uint64_t allocations;

	heap_fill(f, 0, 64);
	assert_int_equal(take_pages(f, 0, 64), 64);
	hoard_start(f, 0);
	hoard.unlucky = true;
	allocations = fake_calls(f->fake, "pages_alloc");
	for (uint64_t i = 0; i < 10; i++)
		expect_tags(f, 2 * i, 1);
	fake_munmap(f->fake, heap_span(30, 2));
	fake_madvise(f->fake, heap_span(41, 3), SYS_ADVICE_DONTNEED);
	assert_int_equal(fake_mremap(f->fake, heap_span(50, 3), OTHER, false), 0);
	finish_remove(f);
	assert_int_equal(fake_calls(f->fake, "pages_alloc"), allocations);
	hoard_end(f);
	mm_check(f->mm);
	assert_int_equal(cpu_read(f, OTHER + PAGE_BYTES), tag_of(51));
	expect_tags(f, 32, 9);
}

/* Its reserve shrinks with every split, and the collector brings it up again; without
 * memory when it is asked again. */
static void the_reserve_of_the_monitor_is_refilled(void **state)
{
	struct fixture *f = *state;
	size_t refills = 0, failures = 0;

	for (uint64_t round = 0; round < 8; round++) {
		heap_fill(f, 0, HEAP_PAGES);
		assert_int_equal(take_pages(f, 0, HEAP_PAGES), HEAP_PAGES);
		for (uint64_t i = 0; i < HEAP_PAGES; i += 2) {
			expect_tags(f, i, 1);
			if (!failures)
				hoard_start(f, 1);
			refills += mm_collector_step(f->mm);
			failures += hoard.failed && !failures;
			hoard_end(f);
			assert_true(f->mm->monitor_nodes > MM_MONITOR_NODES / 2 - 8);
		}
		assert_int_equal(mm_bring_home(f->mm, HEAP_VMA, NULL), 0);
	}
	assert_true(refills > 1);
	assert_int_equal(failures, 1);
}

/* With nothing left it waits for the collector, and loses nothing. */
static void a_monitor_without_nodes_waits(void **state)
{
	struct fixture *f = *state;
	uint64_t nodes;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	nodes = f->mm->monitor_nodes;
	f->mm->monitor_nodes = 10;
	pool_unreserve(&f->mm->node_pool, nodes - 10);
	assert_int_equal(fake_touch(f->fake, heap(3), false), -EAGAIN);
	for (int i = 0; i < 5; i++)
		assert_true(monitor_step(f));
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 1);
	assert_true(mm_collector_step(f->mm));
	settle(f);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
	expect_tags(f, 0, 8);
}

static int tear_down_hoard(void **state)
{
	hoard_end(*state);
	return tear_down(state);
}

#define TEST_HOARD(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_hoard)

/* Else the two would keep each other from ending. */
static void a_collector_that_is_to_end_is_asked_for_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t nodes = f->mm->monitor_nodes;

	while (mm_collector_step(f->mm))
		;
	f->mm->monitor_nodes = 0;
	assert_true(mm_monitor_step(f->mm));
	assert_true(mm_collector_step(f->mm));
	nodes += f->mm->monitor_nodes;

	f->mm->monitor_nodes = 0;
	f->mm->stopping = 2;
	assert_true(mm_monitor_step(f->mm));
	assert_false(mm_collector_step(f->mm));
	f->mm->stopping = 0;
	f->mm->monitor_nodes = nodes;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_fails_at_each_call_and_leaks_nothing),
		cmocka_unit_test(no_huge_pages_is_no_error),
		cmocka_unit_test(without_a_userfaultfd_there_is_an_mm_that_takes_nothing),
		TEST_HOARD(a_take_without_memory_is_enomem_and_changes_nothing),
		TEST_HOARD(bringing_home_without_memory_is_ebusy_and_nothing_moves),
		TEST_HOARD(the_monitor_needs_no_memory),
		TEST_HOARD(the_reserve_of_the_monitor_is_refilled),
		TEST(a_collector_that_is_to_end_is_asked_for_nothing),
		TEST(a_monitor_without_nodes_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
