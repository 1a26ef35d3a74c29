/* SPDX-License-Identifier: MIT */
/*
 * gpusvm_fixture.h - a gpusvm on the fake kernel, with a pagemap to migrate to and a driver
 * that notes what it has to revoke.
 */
#ifndef TESTS_UNIT_GPUSVM_GPUSVM_FIXTURE_H
#define TESTS_UNIT_GPUSVM_GPUSVM_FIXTURE_H

#include "gpusvm/gpusvm.h"
#include "pagemap/pagemap.h"

#include "fake_sys.h"

#define NOTIFIER_BYTES MIB(8)
#define VRAM_BYTES MIB(8)
#define EVERYWHERE span_make(PAGE_BYTES, GIB(64))

struct fixture {
	struct fake_sys *fake;
	struct sys *sys;
	struct mm *mm;
	struct pagemap *pagemap, *other; /* of two devices */
	struct gpusvm svm;
	struct pagemap_devmem devmem, other_devmem;
	uint64_t frames; /* where the memory of pagemap begins */

	struct span revoked[64]; /* what invalidate() was told */
	size_t revoked_count;
	uint32_t garbage_calls;
	struct gpusvm_pages pages;
};

#include "support/process.h"

static void fixture_invalidate(struct gpusvm *svm, struct gpusvm_range *range,
			       struct span span)
{
	struct fixture *f = CONTAINER_OF(svm, struct fixture, svm);

	lock_assert_held(&svm->notifier_lock);
	lock_assert_monitor();
	assert_true(span_covers(range->node.span, span));
	assert_true(f->revoked_count < ARRAY_SIZE(f->revoked));
	f->revoked[f->revoked_count++] = span;
}

static void fixture_garbage(struct gpusvm *svm)
{
	lock_assert_held(&svm->notifier_lock);
	CONTAINER_OF(svm, struct fixture, svm)->garbage_calls++;
}

static const struct gpusvm_ops svm_ops = {
	.invalidate = fixture_invalidate,
	.garbage = fixture_garbage,
};

static void fixture_release(struct pagemap_devmem *devmem UNUSED)
{
}

static const struct pagemap_devmem_ops devmem_ops = { .release = fixture_release };

static inline int set_up_with(void **state, bool real_threads)
{
	static struct fixture fixture;
	const struct mm_config config = { .worker_count = 1, .no_threads = true };
	struct fixture *f = &fixture;
	struct pagemap_config pagemap = {
		.device = f,
		.vram_bytes = VRAM_BYTES,
		.home_bytes = PAGE_BYTES,
		.ops = &devmem_ops,
	};

	memset(f, 0, sizeof(*f));
	f->fake = fake_create(FAKE_ALL_FEATURES, real_threads);
	f->sys = &f->fake->sys;
	f->fake->hook_arg = f;
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(mm_create(f->sys, &config, &f->mm), 0);
	pagemap.mm = f->mm;
	/* The next that is mapped: the fake gives out its arena in order. */
	assert_int_equal(f->sys->ops->map(f->sys, HUGE_BYTES, HUGE_BYTES, 0, &f->frames), 0);
	f->frames += HUGE_BYTES;
	assert_int_equal(pagemap_create(&pagemap, &f->pagemap), 0);
	pagemap.device = &f->other;
	assert_int_equal(pagemap_create(&pagemap, &f->other), 0);
	pagemap_devmem_init(&f->devmem, f->pagemap, MIB(2), MIB(2), HEAP);
	pagemap_devmem_init(&f->other_devmem, f->other, MIB(4), MIB(2), HEAP);
	assert_int_equal(gpusvm_init(&f->svm, f->mm, NOTIFIER_BYTES, &svm_ops), 0);
	*state = f;
	return 0;
}

static inline int set_up(void **state)
{
	return set_up_with(state, false);
}

static inline int set_up_threads(void **state)
{
	return set_up_with(state, true);
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;
	struct gpusvm_range *range;

	f->fake->op_hook = NULL;
	f->fake->yield_hook = settle_hook;
	if (base_host->self()->held_count) { /* a test that failed in the middle */
		base_host->self()->held_count = 0;
		fake_destroy(f->fake);
		return -1;
	}
	settle(f);
	f->revoked_count = 0;
	while ((range = gpusvm_range_first(&f->svm, EVERYWHERE)))
		gpusvm_range_remove(&f->svm, range);
	assert_int_equal(f->svm.range_count, 0);
	gpusvm_fini(&f->svm);
	if (mm_bring_home(f->mm, span_make(0, FAKE_END), NULL))
		return -1;
	mm_check(f->mm);
	pagemap_devmem_put(&f->devmem);
	pagemap_devmem_put(&f->other_devmem);
	pagemap_flush(f->pagemap);
	pagemap_flush(f->other);
	pagemap_destroy(f->pagemap);
	pagemap_destroy(f->other);
	mm_destroy(f->mm);
	return fake_destroy(f->fake);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_THREADS(name) cmocka_unit_test_setup_teardown(name, set_up_threads, tear_down)

/* --- what a driver does ---------------- */

/* The range over @addr for the VMA that is there now. */
static inline struct gpusvm_range *range_at_in(struct fixture *f, uint64_t addr,
					       struct span limits)
{
	struct gpusvm_range *range = NULL;
	struct sys_vma vma;

	assert_int_equal(mm_vma_find(f->mm, addr, false, &vma, NULL), 0);
	assert_int_equal(gpusvm_range_find_or_insert(&f->svm, addr, &vma, limits, &range), 0);
	assert_true(span_contains(range->node.span, addr));
	return range;
}

static inline struct gpusvm_range *range_at(struct fixture *f, uint64_t addr)
{
	return range_at_in(f, addr, EVERYWHERE);
}

/* Bind pages of a range, all of it if @span is empty. */
static inline void bind(struct fixture *f, struct gpusvm_range *range, struct span span)
{
	lock_acquire(&f->svm.notifier_lock);
	gpusvm_range_set_mapped(&f->svm, range,
				span_is_empty(span) ? range->node.span : span);
	lock_release(&f->svm.notifier_lock);
}

static inline bool is_valid(struct fixture *f, struct gpusvm_range *range)
{
	bool valid;

	lock_acquire(&f->svm.notifier_lock);
	valid = gpusvm_range_pages_valid(&f->svm, range, &f->pages);
	lock_release(&f->svm.notifier_lock);
	return valid;
}

static inline void collect_garbage(struct fixture *f, size_t expected)
{
	struct gpusvm_range *range;

	while ((range = gpusvm_garbage_pop(&f->svm))) {
		gpusvm_range_remove(&f->svm, range);
		assert_true(expected > 0);
		expected--;
	}
	assert_int_equal(expected, 0);
}

/* Pages of the heap go to the devmem of one of the devices. */
static inline void migrate(struct fixture *f, bool other, uint64_t page, uint64_t pages)
{
	struct pagemap_migration m = { .span = heap_span(page, pages) };

	heap_fill(f, page, pages);
	assert_int_equal(pagemap_populate_mm(other ? &f->other_devmem : &f->devmem, &m), 0);
	assert_int_equal(m.moved_pages, pages);
}

static inline void expect_span(struct span a, struct span b)
{
	assert_int_equal(a.start, b.start);
	assert_int_equal(a.end, b.end);
}

#endif
