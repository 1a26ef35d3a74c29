/* SPDX-License-Identifier: MIT */
/*
 * Events of the address space in every order relative to faults, and who is woken.
 */
#include "mm_fixture.h"

#define FAULTS_WRITE true

/* The CPU touches a page of the heap that is on the device or a hole, and sleeps. */
static void sleep_on(struct fixture *f, uint64_t addr)
{
	assert_int_equal(fake_touch(f->fake, addr, FAULTS_WRITE), -EAGAIN);
	assert_int_equal(fake_blocked(f->fake, span_make(addr, PAGE_BYTES)), 1);
}

static void expect_awake(struct fixture *f)
{
	assert_int_equal(fake_blocked(f->fake, span_make(FAKE_BASE, GIB(1))), 0);
}

static void expect_nothing_pending(struct fixture *f)
{
	assert_false(monitor_step(f));
	assert_int_equal(f->mm->stash_count, 0);
	mm_check(f->mm);
}

/* --- faults ---------------- */

static void a_cpu_fault_brings_its_page_home(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 4), 4);
	sleep_on(f, heap(1));
	assert_true(monitor_step(f));
	expect_awake(f);
	assert_int_equal(fake_tag(f->fake, heap(1)), tag_of(1));
	assert_true(is_on_device(f, heap(0)));
	assert_false(is_on_device(f, heap(1)));
	assert_true(is_on_device(f, heap(2)));
	assert_int_equal(stats_of(f).cpu_faults, 1);
	expect_tags(f, 0, 4);
}

static void home_bytes_say_how_much_comes_home_with_it(void **state)
{
	struct fixture *f = *state;

	f->owner.owner.home_bytes = KIB(64);
	heap_fill(f, 0, 64);
	assert_int_equal(take_pages(f, 0, 64), 64);
	sleep_on(f, heap(20));
	settle(f);
	assert_true(is_on_device(f, heap(15)));
	for (uint64_t i = 16; i < 32; i++)
		assert_false(is_on_device(f, heap(i)));
	assert_true(is_on_device(f, heap(32)));
	assert_int_equal(stats_of(f).cpu_faults, 1);
}

/* Of four faults, each with its answer to who it was. */
static void origins_are_counted_where_asked_for(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 4), 4);
	for (uint64_t i = 0; i < 4; i++) {
		if (i == 1)
			mm_count_origins(f->mm);
		f->fake->touches_in_call = i == 2;
		if (i == 3)
			fake_fail(f->fake, "thread_in_call", 1, EAGAIN);
		sleep_on(f, heap(i));
		assert_true(monitor_step(f));
		expect_awake(f);
		assert_int_equal(stats_of(f).cpu_faults, i + 1);
		assert_int_equal(stats_of(f).cpu_faults_user, i >= 1);
		assert_int_equal(stats_of(f).cpu_faults_kernel, i >= 2);
	}
	expect_tags(f, 0, 4);
}

static void a_hole_is_answered_with_zeros_and_the_holes_behind_it(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 4), 4);
	sleep_on(f, heap(4));
	assert_true(monitor_step(f));
	expect_awake(f);
	assert_int_equal(fake_tag(f->fake, heap(4)), 0);
	assert_true(fake_page(f->fake, heap(15)) & SYS_PAGE_PRESENT);
	assert_int_equal(fake_page(f->fake, heap(16)), 0);
	assert_int_equal(stats_of(f).hole_faults, 1);
	expect_tags(f, 0, 4);
}

/* ZEROPAGE refuses a span that ends behind the VMA. */
static void a_hole_in_the_last_block_of_a_vma_is_answered(void **state)
{
	struct fixture *f = *state;
	struct mm_take take;

	fake_map(f->fake, span_make(OTHER, 3 * PAGE_BYTES), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, OTHER, 77);
	take = take_of(f, 0, 1);
	take.span = span_make(OTHER, PAGE_BYTES);
	assert_int_equal(mm_take(f->mm, &take), 0);
	sleep_on(f, OTHER + 2 * PAGE_BYTES);
	settle(f);
	expect_awake(f);
	assert_int_equal(fake_touch(f->fake, OTHER + 2 * PAGE_BYTES, true), 0);
	assert_int_equal(cpu_read(f, OTHER), 77);
}

/* Entries behind the hole must not get zeros under them. */
static void zeros_stop_before_an_entry(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 3, 1);
	heap_fill(f, 20, 1);
	assert_int_equal(take_pages(f, 3, 1), 1);
	assert_int_equal(take_pages(f, 20, 1), 1);
	sleep_on(f, heap(0));
	settle(f);
	assert_true(fake_page(f->fake, heap(2)) & SYS_PAGE_PRESENT);
	assert_int_equal(fake_page(f->fake, heap(3)), 0);
	expect_tags(f, 3, 1);
	expect_tags(f, 20, 1);
}

/* A marker (a page that was write-protected as it was zapped) is no page: ZEROPAGE says
 * -EEXIST, and whoever faults there would be woken to fault again, for ever. */
static void a_hole_with_a_marker_is_answered(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 1);
	assert_int_equal(take_pages(f, 0, 1), 1);
	fake_page_set(f->fake, heap_span(5, 1), FAKE_PAGE_WP);
	sleep_on(f, heap(5));
	settle(f);
	expect_awake(f);
	assert_int_equal(fake_touch(f->fake, heap(5), true), 0);
}

static void two_threads_on_one_page_are_both_woken(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 1);
	assert_int_equal(take_pages(f, 0, 1), 1);
	sleep_on(f, heap(0));
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EAGAIN);
	settle(f);
	expect_awake(f);
	expect_nothing_pending(f);
}

/* Whatever is wrong, whoever sleeps tries again and hears it from the kernel (law 14). */
static void a_fault_that_cannot_be_answered_is_woken(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 1);
	assert_int_equal(take_pages(f, 0, 1), 1);
	sleep_on(f, heap(9));
	fake_fail(f->fake, "uffd_zeropage", 1, EINVAL);
	assert_true(monitor_step(f));
	expect_awake(f);
	assert_int_equal(cpu_read(f, heap(9)), 0);
}

/* --- UNMAP ---------------- */

static void unmapped_pages_are_dropped_and_their_sleepers_woken(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	sleep_on(f, heap(2));
	fake_munmap(f->fake, heap_span(2, 3));
	/* The fault is read first, and nothing can be done for it yet (law 6). */
	assert_true(monitor_step(f));
	assert_int_equal(f->mm->stash_count, 1);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 1);
	assert_true(monitor_step(f));
	settle(f);
	expect_awake(f);
	expect_nothing_pending(f);
	assert_int_equal(f->owner.dropped_pages, 3);
	assert_int_equal(fake_touch(f->fake, heap(2), false), -EFAULT);
	expect_tags(f, 0, 2);
	expect_tags(f, 5, 3);
	assert_int_equal(stats_of(f).events_unmap, 1);
}

/* Asleep since before the page was unmapped, the fault read long ago (T4, law 14). */
static void a_thread_whose_fault_was_read_before_the_unmap_is_woken(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 1);
	fake_munmap(f->fake, span_make(HEAP + MIB(3), PAGE_BYTES)); /* nobody's: no event */
	assert_int_equal(take_pages(f, 0, 1), 1);
	fake_munmap(f->fake, span_make(HEAP + MIB(2), PAGE_BYTES));
	sleep_on(f, heap(0));
	assert_true(monitor_step(f)); /* the fault: stashed, for an event is in flight */
	fake_munmap(f->fake, heap_span(0, 1));
	settle(f);
	expect_awake(f);
	expect_nothing_pending(f);
}

/* The address is in use again when the UNMAP is read: it names a mapping that lives. */
static void a_stale_unmap_costs_the_new_mapping_nothing(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 4), 4);
	fake_munmap(f->fake, heap_span(0, 4));
	fake_map(f->fake, heap_span(0, 4), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	for (uint64_t i = 0; i < 4; i++)
		fake_set_tag(f->fake, heap(i), 500 + i);
	settle(f);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cpu_read(f, heap(i)), 500 + i);
	/* And it can be taken; the frames that died are no obstacle. */
	assert_int_equal(take_pages(f, 0, 4), 4);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cpu_read(f, heap(i)), 500 + i);
}

static void reuse_before_the_unmap_is_read(void *arg, const char *op UNUSED)
{
	struct fixture *f = arg;

	if (base_host->self()->held_count || strcmp(op, "clock_ns") != 0)
		return;
	f->fake->op_hook = NULL;
	fake_munmap(f->fake, heap_span(0, 4));
	fake_map(f->fake, heap_span(0, 4), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, heap(0), 900);
}

/* A take that meets it waits until the message was read, and takes the new mapping. */
static void a_take_over_a_reused_address_waits_for_the_unmap(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 4, 1), 0);
	f->fake->op_hook = reuse_before_the_unmap_is_read;
	f->fake->yield_hook = settle_hook;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(take.taken_pages, 1);
	assert_int_equal(fake_registered(f->fake, heap(0)), BOTH_MODES);
	assert_true(stats_of(f).retries > 0);
	settle(f);
	assert_int_equal(cpu_read(f, heap(0)), 900);
	assert_int_equal(cpu_read(f, heap(1)), 0);
}

/* --- REMOVE ---------------- */

static void removed_pages_read_as_zeros(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	sleep_on(f, heap(3));
	assert_int_equal(fake_madvise(f->fake, heap_span(2, 4), SYS_ADVICE_DONTNEED), 0);
	assert_int_equal(fake_madvise(f->fake, heap_span(3, 4), SYS_ADVICE_DONTNEED), 0);
	finish_remove(f);
	expect_awake(f);
	assert_int_equal(f->owner.dropped_pages, 5);
	assert_int_equal(stats_of(f).events_remove, 2);
	for (uint64_t i = 2; i < 7; i++)
		assert_int_equal(cpu_read(f, heap(i)), 0);
	expect_tags(f, 0, 2);
	expect_tags(f, 7, 1);
	expect_nothing_pending(f);
}

/* --- REMAP ---------------- */

static void entries_follow_a_mremap(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	assert_int_equal(fake_mremap(f->fake, heap_span(2, 4), OTHER, false), 0);
	settle(f);
	assert_int_equal(stats_of(f).events_remap, 1);
	assert_int_equal(stats_of(f).events_unmap, 1);
	for (uint64_t i = 2; i < 6; i++) {
		assert_int_equal(cpu_read(f, OTHER + (i - 2) * PAGE_BYTES), tag_of(i));
		assert_int_equal(fake_touch(f->fake, heap(i), false), -EFAULT);
	}
	expect_tags(f, 0, 2);
	expect_tags(f, 6, 2);
	assert_int_equal(f->owner.dropped_pages, 0);
}

/* The kernel hands the fault at the new address out before the REMAP. */
static void a_fault_at_the_new_address_waits_for_the_remap(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 2);
	assert_int_equal(take_pages(f, 0, 2), 2);
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 2), OTHER, false), 0);
	sleep_on(f, OTHER + PAGE_BYTES);
	assert_true(monitor_step(f)); /* the fault: a hole for all that is known */
	assert_int_equal(f->mm->stash_count, 1);
	assert_int_equal(fake_page(f->fake, OTHER + PAGE_BYTES), 0);
	settle(f);
	expect_awake(f);
	expect_nothing_pending(f);
	assert_int_equal(fake_tag(f->fake, OTHER + PAGE_BYTES), tag_of(1));
	assert_int_equal(cpu_read(f, OTHER), tag_of(0));
	assert_true(stats_of(f).stashed > 0);
}

/* The thread sleeps at the old address; both messages of the move come after its fault. */
static void a_thread_at_the_old_address_is_woken(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 2);
	assert_int_equal(take_pages(f, 0, 2), 2);
	sleep_on(f, heap(0));
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 2), OTHER, false), 0);
	settle(f);
	expect_awake(f);
	expect_nothing_pending(f);
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EFAULT);
	assert_int_equal(cpu_read(f, OTHER), tag_of(0));
}

static void a_mremap_that_keeps_the_old_mapping_leaves_zeros_there(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 2), 2);
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 4), OTHER, true), 0);
	sleep_on(f, heap(0));
	settle(f);
	expect_awake(f);
	assert_int_equal(stats_of(f).events_unmap, 0);
	for (uint64_t i = 0; i < 4; i++) {
		assert_int_equal(cpu_read(f, OTHER + i * PAGE_BYTES), tag_of(i));
		assert_int_equal(cpu_read(f, heap(i)), 0);
	}
}

/* mremap() over a mapping: UNMAP of what was there, then REMAP, then UNMAP of the old. */
static void a_mremap_onto_device_pages_drops_them(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 12);
	assert_int_equal(take_pages(f, 0, 12), 12);
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 4), heap(8), false), 0);
	settle(f);
	assert_int_equal(f->owner.dropped_pages, 4);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cpu_read(f, heap(8 + i)), tag_of(i));
	expect_tags(f, 4, 4);
}

/* Back and forth before anything is read: the messages come in order. */
static void two_mremaps_are_followed_in_order(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 4), 4);
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 4), OTHER, false), 0);
	monitor_step(f);
	fake_caller_ran(f->fake); /* its UNMAP is queued */
	assert_int_equal(fake_mremap(f->fake, span_make(OTHER, 4 * PAGE_BYTES),
				     OTHER + MIB(1), false), 0);
	settle(f);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cpu_read(f, OTHER + MIB(1) + i * PAGE_BYTES), tag_of(i));
}

/* The place that was left is filled by another mremap() before its UNMAP is read. */
static void the_unmap_of_what_left_spares_what_arrived(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 4), OTHER, false), 0);
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), heap(0), false), 0);
	settle(f);
	assert_int_equal(f->owner.dropped_pages, 0);
	for (uint64_t i = 0; i < 4; i++) {
		assert_int_equal(cpu_read(f, OTHER + i * PAGE_BYTES), tag_of(i));
		assert_int_equal(cpu_read(f, heap(i)), tag_of(4 + i));
	}
}

static void an_unmap_told_late_spares_what_arrived_meanwhile(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	fake_munmap_untold(f->fake, heap_span(0, 4));
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), heap(0), false), 0);
	settle(f);
	assert_int_equal(stats_of(f).events_remap, 1);
	/* Where what was there has gone is not told yet. */
	assert_int_equal(f->owner.dropped_pages, 0);
	sleep_on(f, heap(1));
	monitor_step(f);
	assert_int_equal(f->mm->stash_count, 1);
	fake_tell(f->fake);
	settle(f);
	expect_awake(f);
	assert_int_equal(f->owner.dropped_pages, 4);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cpu_read(f, heap(i)), tag_of(4 + i));
	expect_nothing_pending(f);
	/* From now on an UNMAP means what it says. */
	fake_munmap(f->fake, heap_span(0, 4));
	settle(f);
	assert_int_equal(mm_entry_pages(f->mm), 0);
}

/* What arrived is mapped over, and that is told before the REMAP is. */
static void what_arrived_and_was_mapped_over_is_dropped(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	fake_munmap(f->fake, heap_span(4, 4));
	settle(f);
	assert_int_equal(f->owner.dropped_pages, 4);
	fake_mremap_untold(f->fake, heap_span(0, 4), heap(4));
	fake_map(f->fake, heap_span(5, 2), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, heap(5), 900);
	settle(f);
	fake_tell(f->fake);
	settle(f);
	assert_int_equal(stats_of(f).events_remap, 1);
	assert_int_equal(f->owner.dropped_pages, 6);
	assert_int_equal(mm_entry_pages(f->mm), 2);
	assert_int_equal(cpu_read(f, heap(4)), tag_of(0));
	assert_int_equal(cpu_read(f, heap(5)), 900);
	assert_int_equal(cpu_read(f, heap(7)), tag_of(3));
	expect_nothing_pending(f);
}

/* The same, and a hole is left in front of what lives: asked for both, the kernel says that
 * they are registered. */
static void what_arrived_and_lost_its_front_is_dropped_there(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	fake_mremap_untold(f->fake, heap_span(0, 4), heap(4));
	fake_munmap(f->fake, heap_span(4, 2));
	settle(f);
	fake_tell(f->fake);
	settle(f);
	assert_int_equal(f->mm->doubted_count, 0);
	assert_int_equal(mm_entry_pages(f->mm), 2);
	assert_int_equal(cpu_read(f, heap(6)), tag_of(2));
	assert_int_equal(cpu_read(f, heap(7)), tag_of(3));
	expect_nothing_pending(f);
	fake_map(f->fake, heap_span(4, 2), SYS_VMA_ANON_PRIVATE, READ_WRITE);
}

/* Both UNMAPs come before anything is settled: that of what arrived is one of them. */
static void what_arrived_and_left_again_is_dropped(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	fake_munmap_untold(f->fake, heap_span(0, 4));
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), heap(0), false), 0);
	settle(f);
	fake_munmap(f->fake, heap_span(0, 4));
	fake_map(f->fake, heap_span(0, 4), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, heap(0), 900);
	settle(f);
	assert_int_equal(mm_entry_pages(f->mm), 4);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 4), NULL), -EBUSY);
	fake_tell(f->fake);
	settle(f);
	assert_int_equal(f->owner.dropped_pages, 8);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	assert_int_equal(cpu_read(f, heap(0)), 900);
	assert_int_equal(cpu_read(f, heap(1)), 0);
	/* The new mapping is nobody's until it is used. */
	assert_int_equal(fake_registered(f->fake, heap(0)), 0);
	assert_int_equal(take_pages(f, 0, 4), 2);
	assert_int_equal(cpu_read(f, heap(0)), 900);
}

/* Registered by us, a new mapping would look like the one that arrived. */
static void nothing_is_registered_before_all_is_settled(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);
	uint64_t calls;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	fake_munmap_untold(f->fake, heap_span(0, 4));
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), heap(0), false), 0);
	settle(f);
	fake_munmap(f->fake, heap_span(0, 4));
	fake_map(f->fake, heap_span(0, 4), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	calls = fake_calls(f->fake, "uffd_register");
	assert_int_equal(mm_take(f->mm, &take), -EBUSY);
	assert_int_equal(fake_calls(f->fake, "uffd_register"), calls);
	settle(f);
	fake_tell(f->fake);
	settle(f);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(fake_registered(f->fake, heap(0)), BOTH_MODES);
}

/* A munmap() of the same span, later, means what it says. */
static void an_unmap_after_a_mremap_that_kept_its_mapping_is_believed(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 8), 8);
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 4), OTHER, true), 0);
	settle(f);
	heap_fill(f, 0, 4);
	assert_int_equal(mm_evict_owner(f->mm, &f->owner.owner), 0);
	assert_int_equal(take_pages(f, 0, 4), 4);
	fake_munmap(f->fake, heap_span(0, 4));
	settle(f);
	assert_false(is_on_device(f, heap(0)));
	assert_int_equal(f->owner.dropped_pages, 4);
	assert_int_equal(cpu_read(f, OTHER), tag_of(0));
	/* And again, with something that arrived and is unmapped then. */
	assert_int_equal(take_pages(f, 4, 4), 4);
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), heap(0), false), 0);
	settle(f);
	assert_true(is_on_device(f, heap(0)));
	fake_munmap(f->fake, heap_span(0, 4));
	settle(f);
	assert_int_equal(f->owner.dropped_pages, 8);
}

/* --- MOVING ------------------------------------------------------------------------- */

static void unmap_it(struct fixture *f)
{
	fake_munmap(f->fake, heap_span(1, 1));
}

static void remove_it(struct fixture *f)
{
	fake_madvise(f->fake, heap_span(1, 1), SYS_ADVICE_DONTNEED);
}

static void remap_it(struct fixture *f)
{
	assert_int_equal(fake_mremap(f->fake, heap_span(1, 1), OTHER, true), 0);
}

/* Its fault was read; whoever moves the page would wake it, where the page is by then. */
static void a_thread_on_a_moving_page_is_woken_when_the_page_goes(void **state)
{
	void (*const ways[])(struct fixture *) = { unmap_it, remove_it, remap_it };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct mm_take take = take_of(f, 0, 4);

		fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
		settle(f);
		heap_fill(f, 0, 4);
		take.moving = true;
		assert_int_equal(mm_take(f->mm, &take), 0);
		sleep_on(f, heap(1));
		settle(f);
		assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 1);
		ways[i](f);
		settle(f);
		expect_awake(f);
		mm_take_finish(f->mm, &take);
		finish_remove(f);
		assert_int_equal(mm_evict_owner(f->mm, &f->owner.owner), 0);
	}
}

/* --- the stash ---------------- */

static void more_faults_than_the_stash_holds_are_woken_to_come_again(void **state)
{
	struct fixture *f = *state;
	/* The fake lets 64 threads sleep. */
	const uint64_t threads = 60;

	f->mm->stash_count = MM_STASH_MAX - 10; /* faults at 0: of nobody */
	memset(f->mm->stash, 0, sizeof(f->mm->stash));
	heap_fill(f, 0, threads);
	assert_int_equal(take_pages(f, 0, threads), threads);
	fake_munmap(f->fake, span_make(HEAP + MIB(2), PAGE_BYTES));
	for (uint64_t i = 0; i < threads; i++)
		sleep_on(f, heap(i));
	for (uint64_t i = 0; i < threads; i++)
		monitor_step(f);
	assert_true(f->mm->stash_count <= MM_STASH_MAX);
	settle(f);
	expect_awake(f);
	expect_nothing_pending(f);
	expect_tags(f, 0, threads);
}

/* --- registration is forgotten with the mapping ------------------------------------- */

static void a_mapping_that_is_gone_is_registered_anew(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 4), 4);
	fake_munmap(f->fake, HEAP_VMA);
	settle(f);
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(fake_registered(f->fake, heap(0)), 0);
	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 4), 4);
	assert_int_equal(fake_registered(f->fake, heap(0)), BOTH_MODES);
	expect_tags(f, 0, 4);
}

/* A stack, say, where a heap was: what must not be taken is looked at anew. */
static void a_new_mapping_is_looked_at_for_what_must_not_be_taken(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 4), 4);
	fake_munmap(f->fake, HEAP_VMA);
	settle(f);
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	f->fake->exclusions[0] = heap_span(2, 1);
	f->fake->exclusion_count = 1;
	heap_fill(f, 0, 4);
	assert_int_equal(mm_take(f->mm, &take), -EOPNOTSUPP);
	assert_int_equal(mm_entry_pages(f->mm), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_cpu_fault_brings_its_page_home),
		TEST(home_bytes_say_how_much_comes_home_with_it),
		TEST(origins_are_counted_where_asked_for),
		TEST(a_hole_is_answered_with_zeros_and_the_holes_behind_it),
		TEST(a_hole_in_the_last_block_of_a_vma_is_answered),
		TEST(zeros_stop_before_an_entry),
		TEST(a_hole_with_a_marker_is_answered),
		TEST(two_threads_on_one_page_are_both_woken),
		TEST(a_fault_that_cannot_be_answered_is_woken),
		TEST(unmapped_pages_are_dropped_and_their_sleepers_woken),
		TEST(a_thread_whose_fault_was_read_before_the_unmap_is_woken),
		TEST(a_stale_unmap_costs_the_new_mapping_nothing),
		TEST(a_take_over_a_reused_address_waits_for_the_unmap),
		TEST(removed_pages_read_as_zeros),
		TEST(entries_follow_a_mremap),
		TEST(a_fault_at_the_new_address_waits_for_the_remap),
		TEST(a_thread_at_the_old_address_is_woken),
		TEST(a_mremap_that_keeps_the_old_mapping_leaves_zeros_there),
		TEST(a_mremap_onto_device_pages_drops_them),
		TEST(two_mremaps_are_followed_in_order),
		TEST(the_unmap_of_what_left_spares_what_arrived),
		TEST(an_unmap_told_late_spares_what_arrived_meanwhile),
		TEST(what_arrived_and_was_mapped_over_is_dropped),
		TEST(what_arrived_and_lost_its_front_is_dropped_there),
		TEST(what_arrived_and_left_again_is_dropped),
		TEST(nothing_is_registered_before_all_is_settled),
		TEST(an_unmap_after_a_mremap_that_kept_its_mapping_is_believed),
		TEST(a_thread_on_a_moving_page_is_woken_when_the_page_goes),
		TEST(more_faults_than_the_stash_holds_are_woken_to_come_again),
		TEST(a_mapping_that_is_gone_is_registered_anew),
		TEST(a_new_mapping_is_looked_at_for_what_must_not_be_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
