/* SPDX-License-Identifier: MIT */
/*
 * Migration in both modes: contents go and come, whatever the program does meanwhile.
 */
#include "pagemap_fixture.h"
#include "mm/mm_internal.h"

static const struct span nothing = { 0, 0 };

static void contents_go_to_the_device_and_come_home(void **state)
{
	struct fixture *f = *state;

	migrate(f, 0, 8);
	for (uint64_t i = 0; i < 8; i++) {
		assert_true(is_on_device(f, heap(i)));
		assert_int_equal(device_tag(f, i * PAGE_BYTES), tag_of(i));
	}
	device_write(f, 3 * PAGE_BYTES, 4711);
	assert_int_equal(cpu_read(f, heap(3)), 4711);
	expect_tags(f, 0, 3);
	expect_tags(f, 4, 4);
}

static void holes_become_zeros_where_it_is_asked(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = devmem_start(f, 0, 0, 8);
	struct pagemap_migration m;

	heap_fill(f, 2, 1);
	assert_int_equal(populate(devmem, 0, 8, heap_span(0, 4), &m), 0);
	assert_int_equal(m.moved_pages, 1);
	assert_int_equal(m.filled_pages, 3);
	assert_int_equal(device_tag(f, 0), 0);
	assert_int_equal(device_tag(f, 2 * PAGE_BYTES), tag_of(2));
	assert_false(is_on_device(f, heap(5)));
	device_write(f, PAGE_BYTES, 99);
	assert_int_equal(cpu_read(f, heap(0)), 0);
	assert_int_equal(cpu_read(f, heap(1)), 99);
	expect_tags(f, 2, 1);
	pagemap_devmem_put(devmem);
}

/* Frames that died under a devmem hold old contents; nobody sees them. */
static void zeros_are_zeros_in_frames_that_were_used(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = devmem_start(f, 0, 0, 4);
	struct pagemap_migration m;

	heap_fill(f, 0, 4);
	assert_int_equal(populate(devmem, 0, 4, nothing, NULL), 0);
	fake_munmap(f->fake, heap_span(0, 4));
	settle(f);
	fake_map(f->fake, heap_span(0, 4), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(populate(devmem, 0, 4, heap_span(0, 4), &m), 0);
	assert_int_equal(m.filled_pages, 4);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(device_tag(f, i * PAGE_BYTES), 0);
	assert_int_equal(cpu_read(f, heap(1)), 0);
	pagemap_devmem_put(devmem);
}

static void more_pages_join_those_that_are_there(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem, *found = NULL;
	struct pagemap_migration m;

	migrate(f, 0, 16);
	devmem = &f->devmems[0].devmem;
	assert_int_equal(cpu_read(f, heap(5)), tag_of(5));
	assert_int_equal(cpu_read(f, heap(6)), tag_of(6));
	assert_int_equal(pagemap_find(f->pagemap, heap_span(0, 16), &found, &peers), 0);
	assert_ptr_equal(found, devmem);
	assert_int_equal(populate(found, 0, 16, nothing, &m), 0);
	assert_int_equal(m.moved_pages, 2);
	assert_int_equal(device_tag(f, 5 * PAGE_BYTES), tag_of(5));
	pagemap_devmem_put(found);
	assert_int_equal(f->devmems[0].releases, 0);
	expect_tags(f, 0, 16);
	collect(f);
	assert_int_equal(f->devmems[0].releases, 1);
}

static void a_devmem_is_found_by_pages_at_their_natural_place_only(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *found = NULL;

	migrate(f, 0, 8);
	assert_int_equal(pagemap_find(f->pagemap, heap_span(8, 8), &found, &peers), -ENOENT);
	/* One that is larger than the devmem has no place for all. */
	assert_int_equal(pagemap_find(f->pagemap, heap_span(0, 16), &found, &peers), -ENOENT);
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 8), heap(16), false), 0);
	settle(f);
	assert_int_equal(pagemap_find(f->pagemap, heap_span(16, 8), &found, &peers), -ENOENT);
	assert_null(found);
}

/* mremap() leaves the old mapping; its pages come to frames that are in use (data loss). */
static void pages_that_moved_away_keep_their_frames(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *found = NULL;
	struct pagemap_migration m;

	migrate(f, 0, 16);
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), OTHER, true), 0);
	settle(f);
	fake_set_tag(f->fake, heap(4), 44);
	assert_int_equal(pagemap_find(f->pagemap, heap_span(0, 16), &found, &peers), 0);
	assert_int_equal(populate(found, 0, 16, heap_span(0, 16), &m), 0);
	assert_int_equal(m.moved_pages + m.filled_pages, 0);
	pagemap_devmem_put(found);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cpu_read(f, OTHER + i * PAGE_BYTES), tag_of(4 + i));
	assert_int_equal(cpu_read(f, heap(4)), 44);
	assert_int_equal(cpu_read(f, heap(5)), 0);
}

static void eviction_finds_the_pages_wherever_they_are(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem;

	migrate(f, 0, 8);
	devmem = &f->devmems[0].devmem;
	assert_int_equal(fake_mremap(f->fake, heap_span(2, 2), OTHER, false), 0);
	fake_munmap(f->fake, heap_span(6, 1));
	f->fake->yield_hook = settle_hook; /* both are in flight */
	assert_true(pagemap_devmem_get(devmem));
	assert_int_equal(pagemap_evict_to_ram(devmem), 0);
	assert_int_equal(devmem->zdd.owner.page_count, 0);
	pagemap_devmem_put(devmem);
	assert_int_equal(f->devmems[0].releases, 1);
	assert_int_equal(fake_tag(f->fake, OTHER), tag_of(2));
	assert_int_equal(fake_tag(f->fake, OTHER + PAGE_BYTES), tag_of(3));
	expect_tags(f, 0, 2);
	expect_tags(f, 7, 1);
}

static void what_stays_at_home_is_counted(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = devmem_start(f, 0, 0, 8);
	struct pagemap_migration m;

	heap_fill(f, 0, 8);
	fake_page_set(f->fake, heap_span(2, 3), FAKE_PAGE_PINNED);
	assert_int_equal(populate(devmem, 0, 8, nothing, &m), 0);
	assert_int_equal(m.moved_pages, 5);
	assert_int_equal(m.busy_pages, 3);
	assert_false(m.huge);
	fake_page_clear(f->fake, heap_span(2, 3), FAKE_PAGE_PINNED);
	pagemap_devmem_put(devmem);
	expect_tags(f, 0, 8);
}

static void memory_that_does_not_migrate_is_told(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = devmem_start(f, 0, 0, 8);

	fake_map(f->fake, heap_span(0, 8), SYS_VMA_FILE_SHARED, READ_WRITE);
	assert_int_equal(populate(devmem, 0, 8, nothing, NULL), -EOPNOTSUPP);
	fake_munmap(f->fake, heap_span(0, 8));
	settle(f);
	assert_int_equal(populate(devmem, 0, 8, nothing, NULL), -ENOENT);
	pagemap_devmem_put(devmem);
	assert_int_equal(f->devmems[0].releases, 1);
}

/* A raw clone finds what the device has. */
static void a_clone_reads_what_the_device_has(void **state)
{
	struct fixture *f = *state;
	int child;

	migrate(f, 0, 4);
	device_write(f, PAGE_BYTES, 1234);
	child = fake_fork(f->fake, false);
	settle(f);
	collect(f);
	fake_enter(f->fake, child);
	assert_int_equal(fake_tag(f->fake, heap(1)), 1234);
	assert_int_equal(fake_tag(f->fake, heap(3)), tag_of(3));
	fake_enter(f->fake, 0);
	assert_int_equal(cpu_read(f, heap(1)), 1234);
}

static void clean_memory_is_empty_before_it_is_used_anew(void **state)
{
	struct fixture *f = *state;

	migrate(f, 0, 4);
	fake_munmap(f->fake, heap_span(0, 4));
	settle(f);
	collect(f);
	assert_int_equal(f->devmems[0].releases, 1);
	assert_int_equal(device_tag(f, PAGE_BYTES), tag_of(1));
	pagemap_clean(f->pagemap, 0, 4 * PAGE_BYTES);
	assert_int_equal(device_tag(f, PAGE_BYTES), 0);
}

/* Without guard pages a frame is emptied the long way. */
static void clean_works_without_guard_pages(void **state)
{
	struct fixture *f = *state;

	f->sys->features &= ~(uint32_t)SYS_FEATURE_GUARD;
	clean_memory_is_empty_before_it_is_used_anew(state);
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	settle(f);
	contents_go_to_the_device_and_come_home(state);
}

/* --- move mode: a block of zeros is one huge page -------------------------------------- */

static void an_empty_block_is_given_a_huge_page_of_zeros(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = devmem_start(f, 1, 0, HEAP_PAGES);
	struct pagemap_migration m;
	uint64_t moves = fake_calls(f->fake, "uffd_move");

	assert_int_equal(populate(devmem, 0, HEAP_PAGES, heap_span(0, HEAP_PAGES), &m), 0);
	assert_int_equal(m.filled_pages, HEAP_PAGES);
	/* One meets a hole, one passes over all, one brings the huge page. */
	assert_int_equal(fake_calls(f->fake, "uffd_move"), moves + 3);
	assert_int_equal(device_tag(f, HUGE_BYTES + MIB(1)), 0);
	device_write(f, HUGE_BYTES + MIB(1), 5);
	assert_int_equal(cpu_read(f, heap(256)), 5);
	assert_int_equal(cpu_read(f, heap(257)), 0);
	pagemap_devmem_put(devmem);
}

static void touch_the_block(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (strcmp(op, "advise") != 0 || base_host->self()->held_count > 1)
		return;
	f->fake->op_hook = NULL;
	assert_int_equal(fake_touch(f->fake, heap(0), true), -EAGAIN);
	fake_munmap(f->fake, heap_span(9, 2));
}

/* A part of the block is gone when the zeros are ready: nothing is filled over anything. */
static void zeros_come_too_late_without_harm(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = devmem_start(f, 0, 0, HEAP_PAGES);

	f->fake->op_hook = touch_the_block;
	assert_int_equal(populate(devmem, 0, HEAP_PAGES, heap_span(0, HEAP_PAGES), NULL), 0);
	settle(f);
	device_write(f, 3 * PAGE_BYTES, 5);
	assert_int_equal(cpu_read(f, heap(0)), 0);
	assert_int_equal(cpu_read(f, heap(3)), 5);
	assert_int_equal(cpu_read(f, heap(4)), 0);
	assert_int_equal(fake_touch(f->fake, heap(9), false), -EFAULT);
	pagemap_devmem_put(devmem);
}

/* --- copy mode: what happens while pages are MOVING -------------------------------------- */

static void a_cpu_fault_sleeps_while_the_device_copies_in_copy(struct fixture *f)
{
	f->in_copy = NULL;
	assert_int_equal(fake_touch(f->fake, heap(1), false), -EAGAIN);
	settle(f);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 1);
}

static void a_cpu_fault_sleeps_while_the_device_copies(void **state)
{
	struct fixture *f = *state;

	f->in_copy = a_cpu_fault_sleeps_while_the_device_copies_in_copy;
	migrate(f, 0, 4);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
	expect_tags(f, 0, 4);
}

static void unmap_and_remap_in_copy(struct fixture *f)
{
	f->in_copy = NULL;
	fake_munmap(f->fake, heap_span(1, 1));
	assert_int_equal(fake_mremap(f->fake, heap_span(3, 2), OTHER, false), 0);
	settle(f);
}

static void pages_are_unmapped_and_moved_while_the_device_copies(void **state)
{
	struct fixture *f = *state;

	f->in_copy = unmap_and_remap_in_copy;
	migrate(f, 0, 8);
	assert_false(is_on_device(f, heap(1)));
	assert_true(is_on_device(f, OTHER));
	assert_int_equal(cpu_read(f, OTHER), tag_of(3));
	assert_int_equal(cpu_read(f, OTHER + PAGE_BYTES), tag_of(4));
	expect_tags(f, 0, 1);
	expect_tags(f, 2, 1);
	expect_tags(f, 5, 3);
	assert_int_equal(fake_touch(f->fake, heap(1), false), -EFAULT);
}

static void unmap_all_in_copy(struct fixture *f)
{
	f->in_copy = NULL;
	fake_munmap(f->fake, heap_span(0, 8));
	settle(f);
	/* The last page is gone, but the caller of the migration has a reference. */
	collect(f);
	assert_int_equal(f->devmems[0].releases, 0);
}

static void all_pages_are_unmapped_while_the_device_copies(void **state)
{
	struct fixture *f = *state;

	f->in_copy = unmap_all_in_copy;
	migrate(f, 0, 8);
	assert_int_equal(f->devmems[0].releases, 1);
	assert_int_equal(mm_entry_pages(f->mm), 0);
}

static int fork_child;

static void clone_in_copy(struct fixture *f)
{
	f->in_copy = NULL;
	fork_child = fake_fork(f->fake, false);
	settle(f);
	collect(f);
}

/* The device does not have the contents yet: they are in staging. */
static void a_clone_while_the_device_copies_reads_staging(void **state)
{
	struct fixture *f = *state;

	f->in_copy = clone_in_copy;
	migrate(f, 4, 4);
	fake_enter(f->fake, fork_child);
	for (uint64_t i = 4; i < 8; i++)
		assert_int_equal(fake_tag(f->fake, heap(i)), tag_of(i));
	fake_enter(f->fake, 0);
	expect_tags(f, 4, 4);
}

static void a_device_that_cannot_copy_gives_everything_back(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = devmem_start(f, 0, 0, 8);

	/* Two runs; the second fails. */
	heap_fill(f, 0, 3);
	heap_fill(f, 5, 3);
	f->copy_fails_at = 2;
	assert_int_equal(populate(devmem, 0, 8, nothing, NULL), -EIO);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	for (uint64_t i = 0; i < 8; i++)
		if (i < 3 || i >= 5)
			assert_int_equal(fake_tag(f->fake, heap(i)), tag_of(i));
	/* And it can be tried again. */
	assert_int_equal(populate(devmem, 0, 8, nothing, NULL), 0);
	assert_int_equal(mm_entry_pages(f->mm), 6);
	pagemap_devmem_put(devmem);
	expect_tags(f, 0, 3);
	expect_tags(f, 5, 3);
}

/* --- a device that cannot give pages back ---------------- */

static uint64_t lost_pages(struct fixture *f)
{
	struct mm_stats stats;

	mm_stats_read(f->mm, &stats);
	return stats.lost_pages;
}

static void expect_poison(struct fixture *f, uint64_t page, bool poison)
{
	assert_int_equal(!!(fake_page(f->fake, heap(page)) & FAKE_PAGE_POISON), poison);
}

static void a_copy_home_that_fails_once_loses_nothing(void **state)
{
	struct fixture *f = *state;

	for (uint64_t pages = 1; pages <= 8; pages += 7) {
		migrate(f, 0, pages);
		f->copy_fails_at = f->copies + 1;
		assert_int_equal(mm_bring_home(f->mm, heap_span(0, pages), NULL), 0);
		assert_int_equal(mm_entry_pages(f->mm), 0);
		collect(f);
		expect_tags(f, 0, pages);
	}
	assert_int_equal(lost_pages(f), 0);
}

/* Neither zeros nor what the device left in staging: SIGBUS. The pages beside it live. */
static void a_page_that_the_device_lost_is_poisoned(void **state)
{
	struct fixture *f = *state;
	struct pagemap_migration m;
	struct pagemap_devmem *devmem;

	migrate(f, 0, 8);
	f->broken = span_make(3 * PAGE_BYTES, PAGE_BYTES);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 8), NULL), 0);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	assert_int_equal(lost_pages(f), 1);
	expect_tags(f, 0, 3);
	expect_tags(f, 4, 4);
	expect_poison(f, 2, false);
	expect_poison(f, 3, true);
	assert_int_equal(fake_touch(f->fake, heap(3), false), -EFAULT);
	assert_int_equal(fake_touch(f->fake, heap(3), true), -EFAULT);

	/* A take goes around it, with zeros asked for too. */
	devmem = devmem_start(f, 1, 0, 8);
	assert_int_equal(populate(devmem, 0, 8, heap_span(0, 8), &m), 0);
	assert_int_equal(m.moved_pages, 7);
	assert_int_equal(m.filled_pages, 0);
	expect_poison(f, 3, true);
	pagemap_devmem_put(devmem);
	expect_tags(f, 0, 3);
	expect_tags(f, 4, 4);
	assert_int_equal(fake_touch(f->fake, heap(3), false), -EFAULT);
	assert_int_equal(lost_pages(f), 1);
}

static void a_page_that_is_touched_and_lost_wakes_who_waits(void **state)
{
	struct fixture *f = *state;

	migrate(f, 0, 2);
	f->broken = span_make(0, 2 * PAGE_BYTES);
	assert_int_equal(fake_touch(f->fake, heap(1), false), -EAGAIN);
	settle(f);
	assert_int_equal(fake_blocked(f->fake, heap_span(0, 2)), 0);
	assert_int_equal(fake_touch(f->fake, heap(1), false), -EFAULT);
	assert_int_equal(lost_pages(f), 1); /* home_bytes: the other is not asked for yet */
}

/* What a kernel says to POISON meanwhile. */
static void a_page_is_lost_once_whatever_happens_to_its_place(void **state)
{
	struct fixture *f = *state;

	migrate(f, 0, 6);
	f->broken = span_make(0, 6 * PAGE_BYTES);
	fake_fail(f->fake, "uffd_poison", 1, EAGAIN);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 1), NULL), 0);
	fake_fail(f->fake, "uffd_poison", 1, ENOMEM);
	assert_int_equal(mm_bring_home(f->mm, heap_span(1, 1), NULL), 0);
	fake_fail(f->fake, "uffd_poison", 1, ENOENT);
	assert_int_equal(mm_bring_home(f->mm, heap_span(2, 1), NULL), 0);
	for (uint64_t i = 0; i < 3; i++)
		expect_poison(f, i, true);
	assert_int_equal(lost_pages(f), 3);

	/* Died as they would have natively: a guard page; memory of which nothing was told. */
	assert_int_equal(fake_touch(f->fake, heap(3), false), -EAGAIN);
	fake_guard(f->fake, heap_span(3, 1));
	assert_int_equal(mm_bring_home(f->mm, heap_span(3, 1), NULL), 0);
	assert_int_equal(fake_blocked(f->fake, heap_span(3, 1)), 0);
	expect_poison(f, 3, false);
	assert_int_equal(f->sys->ops->uffd_unregister(f->sys, f->mm->uffd,
						      heap_span(4, 1)),
			 0);
	fake_munmap(f->fake, heap_span(4, 1));
	assert_int_equal(mm_bring_home(f->mm, heap_span(4, 1), NULL), 0);
	assert_int_equal(lost_pages(f), 3);
	assert_int_equal(mm_entry_pages(f->mm), 1);
}

static void a_kernel_without_poison_is_not_left_with_zeros(void **state)
{
	struct fixture *f = *state;
	uint32_t features = f->sys->features;
	bool died;

	migrate(f, 0, 1);
	f->broken = span_make(0, PAGE_BYTES);
	for (int i = 0; i < 2; i++) {
		if (i == 0)
			f->sys->features &= ~(uint32_t)SYS_FEATURE_POISON;
		else
			fake_fail_for_ever(f->fake, "uffd_poison", 1, ENOMEM);
		lock_acquire(mm_event_lock(f->mm));
		FAKE_DIES(&died, {
			struct pagemap_devmem *devmem = &f->devmems[0].devmem;
			uint64_t done;

			if (devmem->zdd.owner.ops->bring_home(&devmem->zdd.owner,
							      heap_span(0, 1), 0, &done))
				died = false;
		});
		lock_release(mm_event_lock(f->mm));
		assert_true(died);
		f->sys->features = features;
	}
	fake_fail(f->fake, "uffd_poison", 1, 0);
	f->broken = (struct span){ 0 };
	expect_tags(f, 0, 1);
}

static void a_clone_of_what_the_device_lost_is_poisoned(void **state)
{
	struct fixture *f = *state;
	int child;

	migrate(f, 0, 4);
	f->broken = span_make(PAGE_BYTES, PAGE_BYTES);
	f->copy_fails_at = f->copies + 1; /* of the first page, once */
	child = fake_fork(f->fake, false);
	settle(f);
	collect(f);
	fake_enter(f->fake, child);
	for (uint64_t i = 0; i < 4; i++) {
		expect_poison(f, i, i == 1);
		if (i != 1)
			assert_int_equal(fake_tag(f->fake, heap(i)), tag_of(i));
	}
	fake_enter(f->fake, 0);
	/* The parent's are on the device still, and that may come round. */
	assert_int_equal(mm_entry_pages(f->mm), 4);
	assert_int_equal(lost_pages(f), 0);
	f->broken = (struct span){ 0 };
	expect_tags(f, 0, 4);
}

static void huge_pages_stay_huge(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = devmem_start(f, 1, 0, HEAP_PAGES);
	struct pagemap_migration m;

	heap_fill(f, 0, HEAP_PAGES);
	fake_page_set(f->fake, heap_span(0, HEAP_PAGES), SYS_PAGE_HUGE);
	assert_int_equal(populate(devmem, 0, HEAP_PAGES, nothing, &m), 0);
	assert_true(m.huge);
	assert_int_equal(pagemap_evict_to_ram(devmem), 0);
	if (!f->copy)
		assert_true(fake_page(f->fake, heap(0)) & SYS_PAGE_HUGE);
	pagemap_devmem_put(devmem);
	expect_tags(f, 0, HEAP_PAGES);
}

/* What did not come home has split nothing. */
static void staging_is_made_anew_once_for_a_block_that_is_tried_twice(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem = devmem_start(f, 1, 0, HEAP_PAGES);
	uint64_t before, moves;

	heap_fill(f, 0, HEAP_PAGES);
	assert_int_equal(populate(devmem, 0, HEAP_PAGES, nothing, NULL), 0);
	before = fake_calls(f->fake, "uffd_unregister");
	moves = fake_calls(f->fake, "uffd_move");
	fake_fail(f->fake, "uffd_move", 1, EAGAIN);
	assert_int_equal(pagemap_evict_to_ram(devmem), 0);
	assert_true(fake_calls(f->fake, "uffd_move") >= moves + 2);
	assert_int_equal(fake_calls(f->fake, "uffd_unregister"), before + 1);
	pagemap_devmem_put(devmem);
	expect_tags(f, 0, HEAP_PAGES);
}

#define BOTH(name) MOVE_TEST(name), COPY_TEST(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(contents_go_to_the_device_and_come_home),
		BOTH(holes_become_zeros_where_it_is_asked),
		BOTH(zeros_are_zeros_in_frames_that_were_used),
		BOTH(more_pages_join_those_that_are_there),
		BOTH(a_devmem_is_found_by_pages_at_their_natural_place_only),
		BOTH(pages_that_moved_away_keep_their_frames),
		BOTH(eviction_finds_the_pages_wherever_they_are),
		BOTH(what_stays_at_home_is_counted),
		BOTH(memory_that_does_not_migrate_is_told),
		BOTH(a_clone_reads_what_the_device_has),
		MOVE_TEST(clean_memory_is_empty_before_it_is_used_anew),
		MOVE_TEST(clean_works_without_guard_pages),
		MOVE_TEST(an_empty_block_is_given_a_huge_page_of_zeros),
		MOVE_TEST(zeros_come_too_late_without_harm),
		COPY_TEST(a_cpu_fault_sleeps_while_the_device_copies),
		COPY_TEST(pages_are_unmapped_and_moved_while_the_device_copies),
		COPY_TEST(all_pages_are_unmapped_while_the_device_copies),
		COPY_TEST(a_clone_while_the_device_copies_reads_staging),
		COPY_TEST(a_device_that_cannot_copy_gives_everything_back),
		COPY_TEST(a_copy_home_that_fails_once_loses_nothing),
		COPY_TEST(a_page_that_the_device_lost_is_poisoned),
		COPY_TEST(a_page_that_is_touched_and_lost_wakes_who_waits),
		COPY_TEST(a_page_is_lost_once_whatever_happens_to_its_place),
		COPY_TEST(a_kernel_without_poison_is_not_left_with_zeros),
		COPY_TEST(a_clone_of_what_the_device_lost_is_poisoned),
		BOTH(huge_pages_stay_huge),
		COPY_TEST(staging_is_made_anew_once_for_a_block_that_is_tried_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
