/* SPDX-License-Identifier: MIT */
/* page_table_test.c - the page table against an array; splits seen by walkers. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/host_posix.h"
#include "base/prng.h"
#include "base/seed.h"
#include "gpu/page_table.h"
#include "usvm/device.h"

/* A window over the border of two directories, in whole 2 MiB blocks. */
#define WINDOW_PAGES 4096u
#define WINDOW_START (GIB(1) - MIB(8))
#define GROUP_PAGES 16u
#define STEP_COUNT 3000

static uint64_t seed;

struct model_page {
	uint64_t target;
	uint64_t leaf_bytes; /* 0: none */
	uint32_t flags;
};

struct fixture {
	struct lock lock;
	struct page_table_pools pools;
	struct page_table pt;
	struct model_page model[WINDOW_PAGES];
};

static void start(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	lock_init(&f->lock, LOCK_GPU_PT, "pt");
	page_table_pools_init(&f->pools);
	assert_int_equal(page_table_init(&f->pt, &f->pools, &f->lock), 0);
}

static void finish(struct fixture *f)
{
	page_table_fini(&f->pt);
	page_table_pools_fini(&f->pools);
	assert_int_equal(host_posix_page_bytes(), 0);
}

static void map_locked(struct page_table *pt, struct span span, uint64_t target,
		       uint32_t flags)
{
	lock_acquire(pt->lock);
	page_table_map(pt, span, target, flags);
	lock_release(pt->lock);
}

static bool clear_locked(struct page_table *pt, struct span span)
{
	bool any;

	lock_acquire(pt->lock);
	any = page_table_clear(pt, span);
	lock_release(pt->lock);
	return any;
}

static struct span pages(unsigned int first, unsigned int count)
{
	return span_make(WINDOW_START + first * PAGE_BYTES, count * PAGE_BYTES);
}

/* --- the model ---------------- */

/* Leaves of @unit pages that [first, end) touches in part become @smaller ones. */
static void model_demote(struct fixture *f, unsigned int first, unsigned int end,
			 unsigned int unit, uint64_t smaller)
{
	for (unsigned int block = 0; block < WINDOW_PAGES; block += unit) {
		if (block + unit <= first || block >= end)
			continue;
		if (block >= first && block + unit <= end)
			continue;
		for (unsigned int i = block; i < block + unit && i < WINDOW_PAGES; i++) {
			if (f->model[i].leaf_bytes == unit * PAGE_BYTES)
				f->model[i].leaf_bytes = smaller;
		}
	}
}

static bool model_clear(struct fixture *f, unsigned int first, unsigned int count)
{
	bool any = false;

	model_demote(f, first, first + count, PAGES_PER_HUGE, PAGE_TABLE_64K_BYTES);
	model_demote(f, first, first + count, GROUP_PAGES, PAGE_BYTES);
	for (unsigned int i = first; i < first + count; i++) {
		any |= f->model[i].leaf_bytes != 0;
		memset(&f->model[i], 0, sizeof(f->model[i]));
	}
	return any;
}

static uint64_t model_leaf(unsigned int page, unsigned int first, unsigned int end,
			   uint64_t page_target)
{
	unsigned int huge = page & ~(unsigned int)(PAGES_PER_HUGE - 1);
	unsigned int group = page & ~(GROUP_PAGES - 1);

	if (huge >= first && huge + PAGES_PER_HUGE <= end &&
	    IS_ALIGNED(page_target - (page - huge) * PAGE_BYTES, HUGE_BYTES))
		return HUGE_BYTES;
	if (group >= first && group + GROUP_PAGES <= end &&
	    IS_ALIGNED(page_target - (page - group) * PAGE_BYTES, PAGE_TABLE_64K_BYTES))
		return PAGE_TABLE_64K_BYTES;
	return PAGE_BYTES;
}

static void model_map(struct fixture *f, unsigned int first, unsigned int count,
		      uint64_t target, uint32_t flags)
{
	model_clear(f, first, count);
	for (unsigned int i = 0; i < count; i++) {
		struct model_page *page = &f->model[first + i];

		page->target = target + i * PAGE_BYTES;
		page->leaf_bytes =
			model_leaf(first + i, first, first + count, page->target);
		page->flags = flags | (flags & USVM_PTE_ATOMIC ? USVM_PTE_WRITE : 0);
	}
}

static void check_all(const struct fixture *f, struct prng *prng)
{
	for (unsigned int i = 0; i < WINDOW_PAGES; i++) {
		uint64_t offset = prng_below(prng, PAGE_BYTES);
		struct pte pte = page_table_walk(&f->pt, pages(i, 1).start + offset);

		assert_int_equal(pte.leaf_bytes, f->model[i].leaf_bytes);
		if (!pte.leaf_bytes)
			continue;
		assert_int_equal(pte.target, f->model[i].target + offset);
		assert_int_equal(pte.flags, f->model[i].flags);
	}
	/* The neighbours. */
	assert_int_equal(page_table_walk(&f->pt, WINDOW_START - 1).leaf_bytes, 0);
	assert_int_equal(page_table_walk(&f->pt, pages(WINDOW_PAGES, 0).start).leaf_bytes,
			 0);
}

static void random_span(struct prng *prng, unsigned int *first, unsigned int *count)
{
	static const unsigned int units[] = { 1, GROUP_PAGES, PAGES_PER_HUGE };
	unsigned int unit = units[prng_below(prng, 3)];
	unsigned int limit = WINDOW_PAGES / unit;

	*first = (unsigned int)prng_below(prng, limit) * unit;
	*count = (1 + (unsigned int)prng_below(prng, MIN(40, limit - *first / unit))) *
		 unit;
	if (*first && prng_below(prng, 4) == 0) { /* not so well aligned */
		*first -= 1;
		*count += (unsigned int)prng_below(prng, 2);
	}
}

static void entries_are_those_of_a_model(void **state)
{
	static struct fixture f;
	struct prng prng;

	(void)state;
	prng_seed(&prng, seed);
	start(&f);
	for (int step = 0; step < STEP_COUNT; step++) {
		uint64_t congruent[] = { HUGE_BYTES, PAGE_TABLE_64K_BYTES, PAGE_BYTES };
		uint64_t unit = congruent[prng_below(&prng, 3)];
		unsigned int first, count;
		uint64_t target;
		uint32_t flags = (uint32_t)prng_below(&prng, 8);

		random_span(&prng, &first, &count);
		if (prng_below(&prng, 3) == 0) {
			assert_int_equal(clear_locked(&f.pt, pages(first, count)),
					 model_clear(&f, first, count));
		} else {
			target =
				pages(first, 0).start + prng_below(&prng, 1 << 20) * unit;
			assert_int_equal(page_table_prepare(&f.pt, pages(first, count)),
					 0);
			map_locked(&f.pt, pages(first, count), target, flags);
			model_map(&f, first, count, target, flags);
		}
		if (step % 8 == 0)
			check_all(&f, &prng);
	}
	assert_int_equal(clear_locked(&f.pt, span_make(0, PAGE_TABLE_ADDR_END)),
			 model_clear(&f, 0, WINDOW_PAGES));
	check_all(&f, &prng);
	finish(&f);
}

/* --- claims ---------------- */

static void aligned_blocks_get_the_largest_leaf(void **state)
{
	struct span span = span_make(GIB(4) - MIB(2), MIB(4) + KIB(64) + KIB(4));
	static struct fixture f;

	(void)state;
	start(&f);
	assert_int_equal(page_table_prepare(&f.pt, span), 0);
	map_locked(&f.pt, span, MIB(32), USVM_PTE_VRAM);
	assert_int_equal(page_table_walk(&f.pt, span.start).leaf_bytes, HUGE_BYTES);
	assert_int_equal(page_table_walk(&f.pt, GIB(4) + MIB(2) - 1).leaf_bytes,
			 HUGE_BYTES);
	assert_int_equal(page_table_walk(&f.pt, GIB(4) + MIB(2)).leaf_bytes,
			 PAGE_TABLE_64K_BYTES);
	assert_int_equal(page_table_walk(&f.pt, span.end - 1).leaf_bytes, PAGE_BYTES);
	finish(&f);
}

static void a_partial_clear_keeps_the_rest_of_a_2m_leaf(void **state)
{
	struct span block = span_make(MIB(64), HUGE_BYTES);
	struct span hole = span_make(MIB(64) + KIB(68), PAGE_BYTES);
	static struct fixture f;

	(void)state;
	start(&f);
	assert_int_equal(page_table_prepare(&f.pt, block), 0);
	map_locked(&f.pt, block, MIB(2), USVM_PTE_VRAM | USVM_PTE_WRITE);
	assert_true(clear_locked(&f.pt, hole));
	assert_false(clear_locked(&f.pt, hole));
	assert_int_equal(page_table_walk(&f.pt, hole.start).leaf_bytes, 0);
	assert_int_equal(page_table_walk(&f.pt, hole.start - 1).leaf_bytes, PAGE_BYTES);
	assert_int_equal(page_table_walk(&f.pt, block.start).leaf_bytes,
			 PAGE_TABLE_64K_BYTES);
	assert_int_equal(page_table_walk(&f.pt, block.end - 1).target, MIB(4) - 1);
	finish(&f);
}

static void maps_after_prepare_allocate_nothing(void **state)
{
	struct span span = span_make(GIB(512) - MIB(4), MIB(8));
	static struct fixture f;
	uint64_t bytes;

	(void)state;
	start(&f);
	assert_int_equal(page_table_prepare(&f.pt, span), 0);
	assert_int_equal(page_table_prepare(&f.pt, span), 0);
	bytes = host_posix_page_bytes();
	host_posix_fail_pages(1);
	map_locked(&f.pt, span, PAGE_BYTES, 0);
	map_locked(&f.pt, span, 0, 0);
	assert_true(clear_locked(&f.pt, span_make(span.start + PAGE_BYTES, PAGE_BYTES)));
	host_posix_fail_pages(0);
	assert_int_equal(host_posix_page_bytes(), bytes);
	finish(&f);
}

/* Nor does one that is cut in pieces. */
static void a_2m_leaf_has_no_table(void **state)
{
	static struct fixture f;
	size_t before = 0;

	(void)state;
	start(&f);
	for (uint64_t i = 0; i < 64; i++) {
		struct span block = span_make(MIB(64) + i * HUGE_BYTES, HUGE_BYTES);
		struct span hole = span_make(block.start + i * PAGE_BYTES, PAGE_BYTES);

		assert_int_equal(page_table_prepare(&f.pt, block), 0);
		map_locked(&f.pt, block, i * HUGE_BYTES, 0);
		assert_true(clear_locked(&f.pt, hole));
		assert_int_equal(page_table_walk(&f.pt, hole.start).leaf_bytes, 0);
		assert_int_equal(page_table_walk(&f.pt, hole.end).target,
				 i * HUGE_BYTES + (i + 1) * PAGE_BYTES);
		if (!i)
			before = f.pools.tables.live_count;
	}
	assert_int_equal(f.pools.tables.live_count, before);
	finish(&f);
}

/* What is left of it is put into the table that a map of less needs. */
static void a_leaf_in_pieces_gets_a_table(void **state)
{
	struct span block = span_make(MIB(64), HUGE_BYTES);
	struct span half = span_make(MIB(65), MIB(1));
	struct span page = span_make(MIB(64) + KIB(68), PAGE_BYTES);
	static struct fixture f;

	(void)state;
	start(&f);
	assert_int_equal(page_table_prepare(&f.pt, block), 0);
	map_locked(&f.pt, block, MIB(2), 0);
	assert_true(clear_locked(&f.pt, half));
	assert_true(clear_locked(&f.pt, page));
	assert_int_equal(page_table_prepare(&f.pt, page), 0);
	map_locked(&f.pt, page, MIB(8), 0);
	assert_int_equal(page_table_walk(&f.pt, page.start).target, MIB(8));
	assert_int_equal(page_table_walk(&f.pt, page.end).target, MIB(2) + KIB(72));
	assert_int_equal(page_table_walk(&f.pt, page.end).leaf_bytes, PAGE_BYTES);
	assert_int_equal(page_table_walk(&f.pt, half.start - 1).leaf_bytes,
			 PAGE_TABLE_64K_BYTES);
	assert_int_equal(page_table_walk(&f.pt, half.start).leaf_bytes, 0);
	/* In pieces until nothing is left. */
	map_locked(&f.pt, block, MIB(4), 0);
	assert_true(clear_locked(&f.pt, half));
	assert_true(clear_locked(&f.pt, span_make(MIB(64), MIB(1))));
	assert_false(clear_locked(&f.pt, block));
	finish(&f);
}

static void a_failed_prepare_harms_nothing(void **state)
{
	struct span span = span_make(GIB(512) - MIB(64), MIB(128));
	static struct fixture f;
	int err = -ENOMEM;
	uint64_t nth = 0;

	(void)state;
	while (err) {
		start(&f);
		host_posix_fail_pages(++nth);
		err = page_table_prepare(&f.pt, span);
		host_posix_fail_pages(0);
		assert_true(!err || err == -ENOMEM);
		assert_int_equal(page_table_prepare(&f.pt, span), 0);
		map_locked(&f.pt, span, 0, 0);
		finish(&f);
	}
	assert_true(nth > 1);
}

static void nothing_is_above_48_bits(void **state)
{
	static struct fixture f;
	struct span last = span_make(PAGE_TABLE_ADDR_END - PAGE_BYTES, PAGE_BYTES);

	(void)state;
	start(&f);
	assert_int_equal(page_table_prepare(&f.pt, last), 0);
	map_locked(&f.pt, last, 0, 0);
	assert_int_equal(page_table_walk(&f.pt, last.start).leaf_bytes, PAGE_BYTES);
	assert_int_equal(page_table_walk(&f.pt, last.end).leaf_bytes, 0);
	assert_int_equal(page_table_walk(&f.pt, UINT64_MAX).leaf_bytes, 0);
	finish(&f);
}

/* --- walkers that run meanwhile ---------------- */

struct walker {
	const struct page_table *pt;
	uint64_t target; /* atomic: what the block is mapped to; 0: it is changing */
	uint32_t end;    /* atomic */
	uint32_t wrong;  /* atomic */
	uint32_t rounds; /* atomic */
};

static void *walk_all_the_time(void *arg)
{
	struct walker *walker = arg;
	struct prng prng;

	host_posix_become(true, false);
	prng_seed(&prng, seed);
	while (!ATOMIC_LOAD(&walker->end)) {
		uint64_t offset = prng_below(&prng, HUGE_BYTES);
		uint64_t target = ATOMIC_LOAD(&walker->target);
		struct pte pte = page_table_walk(walker->pt, MIB(64) + offset);

		if (target && target == ATOMIC_LOAD(&walker->target) &&
		    (!pte.leaf_bytes || pte.target != target + offset))
			ATOMIC_STORE(&walker->wrong, 1);
		ATOMIC_ADD(&walker->rounds, 1);
	}
	return NULL;
}

/* The leaf table keeps the entries of the target before: a split must not show them. */
static void a_split_is_not_seen_by_walkers(void **state)
{
	struct span block = span_make(MIB(64), HUGE_BYTES);
	static struct fixture f;
	struct walker walker = { .pt = &f.pt };
	pthread_t thread;

	(void)state;
	start(&f);
	assert_int_equal(page_table_prepare(&f.pt, block), 0);
	assert_int_equal(pthread_create(&thread, NULL, walk_all_the_time, &walker), 0);
	for (uint64_t i = 1; i < 2000 || ATOMIC_LOAD(&walker.rounds) < 20000; i++) {
		uint64_t page = i % PAGES_PER_HUGE * PAGE_BYTES;

		ATOMIC_STORE(&walker.target, 0);
		map_locked(&f.pt, block, i * HUGE_BYTES, 0);
		assert_int_equal(page_table_prepare(&f.pt, block), 0);
		ATOMIC_STORE(&walker.target, i * HUGE_BYTES);
		map_locked(&f.pt, span_make(block.start + page, PAGE_BYTES),
			   i * HUGE_BYTES + page, USVM_PTE_WRITE);
	}
	ATOMIC_STORE(&walker.end, 1);
	pthread_join(thread, NULL);
	assert_int_equal(walker.wrong, 0);
	finish(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_are_those_of_a_model),
		cmocka_unit_test(aligned_blocks_get_the_largest_leaf),
		cmocka_unit_test(a_partial_clear_keeps_the_rest_of_a_2m_leaf),
		cmocka_unit_test(maps_after_prepare_allocate_nothing),
		cmocka_unit_test(a_2m_leaf_has_no_table),
		cmocka_unit_test(a_leaf_in_pieces_gets_a_table),
		cmocka_unit_test(a_failed_prepare_harms_nothing),
		cmocka_unit_test(nothing_is_above_48_bits),
		cmocka_unit_test(a_split_is_not_seen_by_walkers),
	};

	seed = seed_from(argc, argv);
	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
