/* SPDX-License-Identifier: MIT */
/*
 * pagemap_fixture.h - a pagemap in either mode on the fake kernel, and its devmems.
 *
 * In copy mode device memory is an array of bytes here, filled with DIRT, so that a page
 * that was not copied is seen.
 */
#ifndef TESTS_UNIT_PAGEMAP_PAGEMAP_FIXTURE_H
#define TESTS_UNIT_PAGEMAP_PAGEMAP_FIXTURE_H

#include "mm/mm.h"
#include "pagemap/pagemap.h"

#include "fake_sys.h"

#define VRAM_BYTES MIB(8)
#define DIRT 0xdd
#define DEVMEMS 8

struct devmem {
	struct pagemap_devmem devmem;
	struct fixture *f;
	uint32_t releases;
};

struct fixture {
	struct fake_sys *fake;
	struct sys *sys;
	struct mm *mm;
	struct pagemap *pagemap;
	bool copy;
	struct devmem devmems[DEVMEMS];
	uint32_t copies;
	uint32_t copy_fails_at; /* this one says -EIO; 0: none */
	struct span broken;     /* device memory that says so whenever it is read */
	void (*in_copy)(struct fixture *f);
};

#include "support/process.h"

static bool peers UNUSED; /* what pagemap_find() says of them */

static unsigned char vram[VRAM_BYTES];

/* For a test that sets it before set_up_mode(). */
static bool fixture_poison;

static int fixture_copy(void *owner, uint64_t vram_offset, void *memory, uint64_t bytes,
			bool to_device)
{
	struct fixture *f = owner;

	assert_true(vram_offset + bytes <= VRAM_BYTES && bytes);
	if (++f->copies == f->copy_fails_at)
		return -EIO;
	if (!to_device && span_overlaps(f->broken, span_make(vram_offset, bytes))) {
		memset(memory, DIRT, bytes / 2);
		return -EIO;
	}
	if (to_device)
		memcpy(vram + vram_offset, memory, bytes);
	else
		memcpy(memory, vram + vram_offset, bytes);
	if (f->in_copy && to_device)
		f->in_copy(f);
	return 0;
}

static int fixture_write(void *owner, uint64_t vram_offset, void *memory, uint64_t bytes)
{
	return fixture_copy(owner, vram_offset, memory, bytes, true);
}

static void fixture_release(struct pagemap_devmem *devmem)
{
	lock_assert_may_sleep("release of a devmem");
	CONTAINER_OF(devmem, struct devmem, devmem)->releases++;
}

static const struct pagemap_devmem_ops devmem_ops = {
	.copy = fixture_copy,
	.write = fixture_write,
	.release = fixture_release,
};

static inline int set_up_mode(void **state, bool copy)
{
	static struct fixture fixture;
	const struct mm_config config = { .worker_count = 1, .no_threads = true };
	struct fixture *f = &fixture;
	struct pagemap_config pagemap = {
		.device = f,
		.vram_bytes = VRAM_BYTES,
		.home_bytes = PAGE_BYTES,
		.copy = copy,
		.poison = fixture_poison,
		.ops = &devmem_ops,
		.owner = f,
	};

	memset(f, 0, sizeof(*f));
	memset(vram, DIRT, sizeof(vram));
	f->copy = copy;
	f->fake = fake_create(FAKE_ALL_FEATURES, false);
	f->sys = &f->fake->sys;
	f->fake->hook_arg = f;
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(mm_create(f->sys, &config, &f->mm), 0);
	pagemap.mm = f->mm;
	assert_int_equal(pagemap_create(&pagemap, &f->pagemap), 0);
	*state = f;
	return 0;
}

static inline int set_up_move(void **state)
{
	return set_up_mode(state, false);
}

static inline int set_up_copy(void **state)
{
	return set_up_mode(state, true);
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	f->fake->op_hook = NULL;
	f->fake->yield_hook = settle_hook;
	if (base_host->self()->held_count) { /* a test that failed in the middle */
		base_host->self()->held_count = 0;
		fake_destroy(f->fake);
		return -1;
	}
	settle(f);
	if (mm_bring_home(f->mm, span_make(0, FAKE_END), NULL))
		return -1;
	while (mm_collector_step(f->mm))
		;
	mm_check(f->mm);
	pagemap_flush(f->pagemap);
	pagemap_destroy(f->pagemap);
	mm_destroy(f->mm);
	return fake_destroy(f->fake);
}

#define MOVE_TEST(name) \
	{ #name ", move", name, set_up_move, tear_down, NULL }
#define COPY_TEST(name) \
	{ #name ", copy", name, set_up_copy, tear_down, NULL }

/* Devmem @i: the pages of the heap from @page on; its memory is at 2 MiB times @i. */
static inline struct pagemap_devmem *devmem_start(struct fixture *f, size_t i, uint64_t page,
						  uint64_t pages)
{
	struct devmem *d = &f->devmems[i];

	memset(d, 0, sizeof(*d));
	d->f = f;
	pagemap_devmem_init(&d->devmem, f->pagemap, i * HUGE_BYTES, pages * PAGE_BYTES,
			    heap(page));
	return &d->devmem;
}

static inline int populate(struct pagemap_devmem *devmem, uint64_t page, uint64_t pages,
			   struct span fill, struct pagemap_migration *out)
{
	struct pagemap_migration migration = { .span = heap_span(page, pages), .fill = fill };
	int err = pagemap_populate_mm(devmem, &migration);

	if (out)
		*out = migration;
	return err;
}

/* Pages of the heap with contents go to devmem 0, which they alone keep. */
static inline void migrate(struct fixture *f, uint64_t page, uint64_t pages)
{
	struct pagemap_devmem *devmem = devmem_start(f, 0, page, pages);
	struct pagemap_migration m;

	heap_fill(f, page, pages);
	assert_int_equal(populate(devmem, page, pages, (struct span){ 0 }, &m), 0);
	assert_int_equal(m.moved_pages, pages);
	pagemap_devmem_put(devmem);
}

/* What the device has of page @frame of its memory. */
static inline uint64_t device_tag(struct fixture *f, uint64_t vram_offset)
{
	uint64_t tag;
	unsigned char *memory = f->copy ? vram : pagemap_vram(f->pagemap);

	memcpy(&tag, memory + vram_offset, sizeof(tag));
	return tag;
}

static inline void device_write(struct fixture *f, uint64_t vram_offset, uint64_t tag)
{
	unsigned char *memory = f->copy ? vram : pagemap_vram(f->pagemap);

	memcpy(memory + vram_offset, &tag, sizeof(tag));
}

static inline void collect(struct fixture *f)
{
	while (mm_collector_step(f->mm))
		;
}

#endif
