/* SPDX-License-Identifier: MIT */
/*
 * References of a devmem: holders and pages, in every order of the last of each; released
 * exactly once, never on the monitor, and never found again.
 */
#include "pagemap_fixture.h"

static const struct span nothing = { 0, 0 };

/* How the last page may leave. */
enum leave {
	LEAVE_BY_CPU,
	LEAVE_BY_UNMAP,
	LEAVE_BY_REMOVE,
	LEAVE_BY_EVICTION,
	LEAVE_WAYS,
};

static void leave(struct fixture *f, struct pagemap_devmem *devmem, enum leave way)
{
	switch (way) {
	case LEAVE_BY_CPU:
		expect_tags(f, 0, 2);
		break;
	case LEAVE_BY_UNMAP:
		fake_munmap(f->fake, heap_span(0, 2));
		settle(f);
		break;
	case LEAVE_BY_REMOVE:
		fake_madvise(f->fake, heap_span(0, 2), SYS_ADVICE_DONTNEED);
		finish_remove(f);
		break;
	case LEAVE_BY_EVICTION:
		assert_int_equal(mm_evict_owner(f->mm, &devmem->zdd.owner), 0);
		break;
	case LEAVE_WAYS:
		break;
	}
	assert_int_equal(devmem->zdd.owner.page_count, 0);
}

static struct pagemap_devmem *start(struct fixture *f)
{
	struct pagemap_devmem *devmem = devmem_start(f, 0, 0, 2);

	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	settle(f);
	heap_fill(f, 0, 2);
	assert_int_equal(populate(devmem, 0, 2, nothing, NULL), 0);
	return devmem;
}

static void the_last_page_releases_through_the_collector(void **state)
{
	struct fixture *f = *state;

	for (enum leave way = 0; way < LEAVE_WAYS; way++) {
		struct pagemap_devmem *devmem = start(f);

		pagemap_devmem_put(devmem);
		assert_int_equal(f->devmems[0].releases, 0);
		leave(f, devmem, way);
		/* Not yet: whoever saw it may free nothing. */
		assert_int_equal(f->devmems[0].releases, 0);
		assert_false(pagemap_devmem_get(devmem));
		collect(f);
		assert_int_equal(f->devmems[0].releases, 1);
		collect(f);
		assert_int_equal(f->devmems[0].releases, 1);
	}
}

static void the_last_reference_releases_at_once(void **state)
{
	struct fixture *f = *state;

	for (enum leave way = 0; way < LEAVE_WAYS; way++) {
		struct pagemap_devmem *devmem = start(f);

		assert_true(pagemap_devmem_get(devmem));
		leave(f, devmem, way);
		collect(f);
		pagemap_devmem_put(devmem);
		assert_int_equal(f->devmems[0].releases, 0);
		pagemap_devmem_put(devmem);
		assert_int_equal(f->devmems[0].releases, 1);
		collect(f);
		assert_int_equal(f->devmems[0].releases, 1);
	}
}

static void one_without_pages_lives_by_its_reference(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = devmem_start(f, 0, 0, 2);

	assert_true(pagemap_devmem_get(devmem));
	pagemap_devmem_put(devmem);
	assert_int_equal(f->devmems[0].releases, 0);
	pagemap_devmem_put(devmem);
	assert_int_equal(f->devmems[0].releases, 1);
	collect(f);
	assert_int_equal(f->devmems[0].releases, 1);
}

/* Pages leave and come while somebody holds it. */
static void pages_may_come_back_before_the_reference_goes(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = start(f);

	leave(f, devmem, LEAVE_BY_CPU);
	collect(f);
	assert_int_equal(populate(devmem, 0, 2, nothing, NULL), 0);
	pagemap_devmem_put(devmem);
	assert_int_equal(f->devmems[0].releases, 0);
	leave(f, devmem, LEAVE_BY_CPU);
	collect(f);
	assert_int_equal(f->devmems[0].releases, 1);
}

static void a_dead_one_is_not_found(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = start(f), *found = NULL;

	assert_int_equal(pagemap_find(f->pagemap, heap_span(0, 2), &found, &peers), 0);
	pagemap_devmem_put(found);
	pagemap_devmem_put(devmem);
	leave(f, devmem, LEAVE_BY_CPU);
	assert_int_equal(pagemap_find(f->pagemap, heap_span(0, 2), &found, &peers), -ENOENT);
	collect(f);
}

static void several_die_at_once_and_each_is_released_once(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < 4; i++) {
		struct pagemap_devmem *devmem = devmem_start(f, i, 8 * i, 8);

		heap_fill(f, 8 * i, 8);
		assert_int_equal(populate(devmem, 8 * i, 8, nothing, NULL), 0);
		pagemap_devmem_put(devmem);
	}
	fake_munmap(f->fake, heap_span(4, 32));
	settle(f);
	expect_tags(f, 0, 4);
	pagemap_flush(f->pagemap);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(f->devmems[i].releases, 1);
}

static void create_fails_at_each_call_and_leaks_nothing(void **state)
{
	static const struct {
		const char *op;
		int error;
	} ops[] = { { "pages_alloc", ENOMEM },
		    { "map", ENOMEM },
		    { "advise", ENOMEM },
		    { "uffd_register", ENOMEM } };
	struct fixture *f = *state;
	struct pagemap_config config = {
		.mm = f->mm,
		.vram_bytes = MIB(2),
		.home_bytes = PAGE_BYTES,
		.copy = f->copy,
		.ops = &devmem_ops,
		.owner = f,
	};
	uint64_t bytes = fake_page_bytes(f->fake);

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		for (uint64_t nth = 1; nth < 5; nth++) {
			struct pagemap *pagemap = NULL;
			int err;

			fake_fail(f->fake, ops[i].op, nth, ops[i].error);
			err = pagemap_create(&config, &pagemap);
			assert_true(err == 0 || err == -ops[i].error);
			if (!err)
				pagemap_destroy(pagemap);
			else
				assert_null(pagemap);
			fake_fail(f->fake, ops[i].op, 1u << 30, 0);
			assert_int_equal(fake_page_bytes(f->fake), bytes);
		}
	}
	pagemap_destroy(NULL);
}

static void without_a_userfaultfd_nothing_migrates(void **state)
{
	const struct mm_config config = { .worker_count = 1, .no_threads = true };
	struct pagemap_config pagemap_config = {
		.vram_bytes = MIB(2),
		.home_bytes = PAGE_BYTES,
		.ops = &devmem_ops,
	};
	struct pagemap_migration m = { .span = heap_span(0, 1) };

	(void)state;
	for (int copy = 0; copy < 2; copy++) {
		struct fake_sys *fake =
			fake_create(FAKE_ALL_FEATURES & ~(uint32_t)SYS_FEATURE_UFFD, false);
		struct pagemap *pagemap;
		struct devmem d = { 0 };

		assert_int_equal(mm_create(&fake->sys, &config, &pagemap_config.mm), 0);
		pagemap_config.copy = copy;
		assert_int_equal(pagemap_create(&pagemap_config, &pagemap), 0);
		assert_int_equal(pagemap_vram(pagemap) != NULL, !copy);
		pagemap_devmem_init(&d.devmem, pagemap, 0, PAGE_BYTES, HEAP);
		assert_int_equal(pagemap_populate_mm(&d.devmem, &m), -EOPNOTSUPP);
		pagemap_clean(pagemap, 0, PAGE_BYTES);
		pagemap_devmem_put(&d.devmem);
		assert_int_equal(d.releases, 1);
		pagemap_flush(pagemap);
		pagemap_destroy(pagemap);
		mm_destroy(pagemap_config.mm);
		assert_int_equal(fake_destroy(fake), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MOVE_TEST(the_last_page_releases_through_the_collector),
		COPY_TEST(the_last_page_releases_through_the_collector),
		MOVE_TEST(the_last_reference_releases_at_once),
		MOVE_TEST(one_without_pages_lives_by_its_reference),
		MOVE_TEST(pages_may_come_back_before_the_reference_goes),
		MOVE_TEST(a_dead_one_is_not_found),
		MOVE_TEST(several_die_at_once_and_each_is_released_once),
		MOVE_TEST(create_fails_at_each_call_and_leaks_nothing),
		COPY_TEST(create_fails_at_each_call_and_leaks_nothing),
		cmocka_unit_test(without_a_userfaultfd_nothing_migrates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
