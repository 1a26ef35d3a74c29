/* SPDX-License-Identifier: MIT */
/*
 * fake_uffd_test.c - the fake userfaultfd behaves as the real one was measured to.
 *
 * Other unit tests stand on these behaviours; where the fake is kinder than the
 * kernel a test of a layer above proves nothing.
 */
#include "fake_fixture.h"

/* --- events: U-1 to U-8 ---------------- */

static void unmap_is_done_before_its_event_is_read(void **state)
{
	struct fixture *f = *state;
	struct span call = span_make(HEAP, 2 * PAGE_BYTES);
	struct sys_vma vma;

	fake_munmap(f->fake, call);
	assert_int_equal(f->ops->vma_query(f->sys, HEAP, false, &vma), -ENOENT);
	assert_int_equal(f->ops->vma_query(f->sys, HEAP, true, &vma), 0);
	assert_int_equal(vma.span.start, call.end);
	assert_int_equal(vma.span.end, HEAP_SPAN.end);
	expect_event(f, f->uffd, SYS_EVENT_UNMAP, call);
	expect_nothing(f);
}

static void map_fixed_sends_unmap_with_the_new_mapping_in_place(void **state)
{
	struct fixture *f = *state;
	struct span one = span_make(HEAP, PAGE_BYTES);

	fake_map(f->fake, one, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(fake_touch(f->fake, HEAP, true), 0);
	assert_int_equal(fake_registered(f->fake, HEAP), 0);
	assert_int_equal(fake_tag(f->fake, HEAP), 0);
	expect_event(f, f->uffd, SYS_EVENT_UNMAP, one);
}

static void a_reused_address_can_be_registered_while_its_unmap_is_unread(void **state)
{
	struct fixture *f = *state;

	fake_munmap(f->fake, HEAP_SPAN);
	fake_map(f->fake, HEAP_SPAN, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(f->ops->uffd_register(f->sys, f->uffd, HEAP_SPAN, BOTH_MODES),
			 0);
	expect_event(f, f->uffd, SYS_EVENT_UNMAP, HEAP_SPAN);
	assert_int_equal(fake_registered(f->fake, HEAP), BOTH_MODES);
}

static void unmap_names_the_span_of_the_call(void **state)
{
	struct fixture *f = *state;
	struct span call = span_make(HEAP - PAGE_BYTES, MIB(1));

	fake_munmap(f->fake, call);
	expect_event(f, f->uffd, SYS_EVENT_UNMAP, call);
	fake_munmap(f->fake, call); /* nothing registered is left in it */
	expect_nothing(f);
}

static void remove_zaps_after_the_read(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fake_madvise(f->fake, HEAP_SPAN, SYS_ADVICE_DONTNEED), 0);
	assert_int_equal(fake_tag(f->fake, HEAP), 1);
	expect_event(f, f->uffd, SYS_EVENT_REMOVE, HEAP_SPAN);
	assert_true(fake_caller_ran(f->fake));
	/* The window: nothing is in flight any more, and the page still stands. */
	assert_int_equal(zeropage(f, HEAP), -EEXIST);
	assert_int_equal(fake_tag(f->fake, HEAP), 1);
	assert_true(fake_finish_remove(f->fake));
	assert_int_equal(fake_page(f->fake, HEAP), 0);
	assert_int_equal(fake_tag(f->fake, HEAP), 0);
	assert_false(fake_finish_remove(f->fake));
}

static void a_copy_in_the_remove_window_is_zapped(void **state)
{
	struct fixture *f = *state;
	uint64_t done;
	static const unsigned char data[PAGE_BYTES] = { 42 };

	assert_int_equal(f->ops->empty(f->sys, span_make(HEAP, PAGE_BYTES)), 0);
	assert_int_equal(fake_madvise(f->fake, HEAP_SPAN, SYS_ADVICE_DONTNEED), 0);
	expect_event(f, f->uffd, SYS_EVENT_REMOVE, HEAP_SPAN);
	fake_caller_ran(f->fake);
	assert_int_equal(f->ops->uffd_copy(f->sys, f->uffd, HEAP, (uintptr_t)data,
					   PAGE_BYTES, &done),
			 0);
	fake_finish_remove(f->fake);
	assert_int_equal(fake_page(f->fake, HEAP), 0);
}

static void mremap_sends_remap_and_then_unmap(void **state)
{
	struct fixture *f = *state;
	uint64_t to = HEAP + MIB(1);
	struct sys_event event;

	assert_int_equal(fake_mremap(f->fake, HEAP_SPAN, to, false), 0);
	assert_int_equal(fake_tag(f->fake, PAGE_OF(to, 3)), 4);
	assert_int_equal(fake_registered(f->fake, to), BOTH_MODES);
	assert_int_equal(fake_touch(f->fake, HEAP, false), -EFAULT);
	assert_int_equal(f->ops->uffd_read(f->sys, f->uffd, &event), 0);
	assert_int_equal(event.type, SYS_EVENT_REMAP);
	assert_int_equal(event.span.start, HEAP);
	assert_int_equal(event.span.end, HEAP_SPAN.end);
	assert_int_equal(event.to, to);
	/* The second one is sent by a caller that runs. */
	expect_nothing(f);
	assert_int_equal(zeropage(f, to), -EAGAIN);
	assert_true(fake_caller_ran(f->fake));
	assert_int_equal(zeropage(f, to), -EAGAIN);
	expect_event(f, f->uffd, SYS_EVENT_UNMAP, HEAP_SPAN);
	fake_caller_ran(f->fake);
	assert_int_equal(zeropage(f, to), -EEXIST);
}

static void mremap_dontunmap_sends_remap_only(void **state)
{
	struct fixture *f = *state;
	uint64_t to = HEAP + MIB(1);
	struct sys_event event;

	assert_int_equal(fake_mremap(f->fake, HEAP_SPAN, to, true), 0);
	assert_int_equal(f->ops->uffd_read(f->sys, f->uffd, &event), 0);
	assert_int_equal(event.type, SYS_EVENT_REMAP);
	fake_caller_ran(f->fake);
	expect_nothing(f);
	assert_int_equal(fake_registered(f->fake, HEAP), BOTH_MODES);
	assert_int_equal(fake_page(f->fake, HEAP), 0);
	assert_int_equal(fake_tag(f->fake, to), 1);
}

static void mremap_across_two_vmas_fails(void **state)
{
	struct fixture *f = *state;
	struct span part = span_make(HEAP + PAGE_BYTES, PAGE_BYTES);

	assert_int_equal(f->ops->uffd_unregister(f->sys, f->uffd, part), 0);
	assert_int_equal(fake_mremap(f->fake, HEAP_SPAN, HEAP + MIB(1), false), -EFAULT);
	assert_int_equal(f->ops->uffd_register(f->sys, f->uffd, HEAP_SPAN, BOTH_MODES),
			 0);
	assert_int_equal(fake_mremap(f->fake, HEAP_SPAN, HEAP + MIB(1), false), 0);
}

static void faults_are_read_before_events(void **state)
{
	struct fixture *f = *state;
	struct span first = span_make(HEAP, PAGE_BYTES);
	struct span last = span_make(PAGE_OF(HEAP, 7), PAGE_BYTES);

	f->ops->empty(f->sys, span_make(PAGE_OF(HEAP, 3), 2 * PAGE_BYTES));
	fake_madvise(f->fake, first, SYS_ADVICE_DONTNEED);
	assert_int_equal(fake_touch(f->fake, PAGE_OF(HEAP, 3), false), -EAGAIN);
	assert_int_equal(fake_touch(f->fake, PAGE_OF(HEAP, 4), true), -EAGAIN);
	fake_madvise(f->fake, last, SYS_ADVICE_DONTNEED);
	expect_fault(f, PAGE_OF(HEAP, 3), 0);
	expect_fault(f, PAGE_OF(HEAP, 4), SYS_FAULT_WRITE);
	expect_event(f, f->uffd, SYS_EVENT_REMOVE, first);
	expect_event(f, f->uffd, SYS_EVENT_REMOVE, last);
	expect_nothing(f);
}

static void a_fault_is_delivered_once_also_before_its_remap(void **state)
{
	struct fixture *f = *state;
	uint64_t to = HEAP + MIB(1);

	f->ops->empty(f->sys, span_make(HEAP, PAGE_BYTES));
	assert_int_equal(fake_mremap(f->fake, HEAP_SPAN, to, true), 0);
	assert_int_equal(fake_touch(f->fake, to, false), -EAGAIN);
	expect_fault(f, to, 0);
	assert_int_equal(zeropage(f, to), -EAGAIN);
	assert_int_equal(fake_blocked(f->fake, span_make(to, PAGE_BYTES)), 1);
	expect_event(f, f->uffd, SYS_EVENT_REMAP, HEAP_SPAN);
	expect_nothing(f);
}

static void moves_and_fills_wait_until_the_caller_ran(void **state)
{
	struct fixture *f = *state;
	uint64_t done;
	uint64_t free_page = PAGE_OF(f->arena, 8);
	struct span span = span_make(HEAP, PAGE_BYTES);

	fake_munmap(f->fake, span_make(PAGE_OF(HEAP, 7), PAGE_BYTES));
	for (int reads = 0; reads < 2; reads++) {
		assert_int_equal(move(f, f->arena, HEAP, 1, 0, &done), -EAGAIN);
		assert_int_equal(done, 0);
		assert_int_equal(f->ops->uffd_copy(f->sys, f->uffd, free_page, HEAP,
						   PAGE_BYTES, &done),
				 -EAGAIN);
		assert_int_equal(zeropage(f, free_page), -EAGAIN);
		assert_int_equal(f->ops->uffd_writeprotect(f->sys, f->uffd, span, true),
				 -EAGAIN);
		assert_int_equal(f->ops->uffd_register(f->sys, f->uffd, span, BOTH_MODES),
				 0);
		if (!reads)
			expect_event(f, f->uffd, SYS_EVENT_UNMAP,
				     span_make(PAGE_OF(HEAP, 7), PAGE_BYTES));
	}
	assert_true(fake_caller_ran(f->fake));
	assert_false(fake_caller_ran(f->fake));
	assert_int_equal(move(f, f->arena, HEAP, 1, 0, &done), 0);
	assert_int_equal(done, 1);
}

static void an_unread_event_does_not_go_away(void **state)
{
	struct fixture *f = *state;

	fake_munmap(f->fake, span_make(HEAP, PAGE_BYTES));
	assert_false(fake_caller_ran(f->fake));
	assert_int_equal(zeropage(f, f->arena), -EAGAIN);
	expect_event(f, f->uffd, SYS_EVENT_UNMAP, span_make(HEAP, PAGE_BYTES));
	base_host->cpu_yield();
	assert_int_equal(zeropage(f, f->arena), 0);
}

static void mprotect_and_guards_send_nothing(void **state)
{
	struct fixture *f = *state;

	fake_mprotect(f->fake, HEAP_SPAN, SYS_PROT_READ);
	fake_guard(f->fake, span_make(HEAP, PAGE_BYTES));
	expect_nothing(f);
	assert_int_equal(fake_tag(f->fake, HEAP), 0);
	assert_int_equal(fake_touch(f->fake, HEAP, false), -EFAULT);
	assert_int_equal(fake_touch(f->fake, PAGE_OF(HEAP, 1), true), -EFAULT);
}

/* --- taking: U-13 to U-17 ---------------- */

static void move_carries_contents_and_leaves_a_hole(void **state)
{
	struct fixture *f = *state;
	uint64_t moved;

	assert_int_equal(move(f, f->arena, HEAP, HEAP_PAGES, 0, &moved), 0);
	assert_int_equal(moved, HEAP_PAGES);
	for (uint64_t i = 0; i < HEAP_PAGES; i++) {
		assert_int_equal(fake_tag(f->fake, PAGE_OF(f->arena, i)), i + 1);
		assert_int_equal(fake_tag(f->fake, PAGE_OF(HEAP, i)), 0);
		assert_int_equal(fake_page(f->fake, PAGE_OF(HEAP, i)), 0);
	}
	assert_int_equal(fake_touch(f->fake, HEAP, true), -EAGAIN);
}

static void partial_progress_hides_the_reason(void **state)
{
	struct fixture *f = *state;
	uint64_t moved;

	fake_page_set(f->fake, span_make(PAGE_OF(HEAP, 2), PAGE_BYTES), FAKE_PAGE_PINNED);
	assert_int_equal(move(f, f->arena, HEAP, 4, 0, &moved), -EAGAIN);
	assert_int_equal(moved, 2);
	assert_int_equal(move(f, PAGE_OF(f->arena, 2), PAGE_OF(HEAP, 2), 2, 0, &moved),
			 -EBUSY);
	assert_int_equal(moved, 0);
	fake_page_clear(f->fake, HEAP_SPAN, FAKE_PAGE_PINNED);
	assert_int_equal(move(f, PAGE_OF(f->arena, 2), PAGE_OF(HEAP, 2), 2, 0, &moved),
			 0);
}

static void a_hole_is_enoent_unless_allowed(void **state)
{
	struct fixture *f = *state;
	uint64_t moved;

	f->ops->empty(f->sys, span_make(HEAP, PAGE_BYTES));
	assert_int_equal(move(f, f->arena, HEAP, 2, 0, &moved), -ENOENT);
	assert_int_equal(move(f, f->arena, HEAP, 2, SYS_MOVE_ALLOW_SRC_HOLES, &moved), 0);
	assert_int_equal(moved, 2);
	assert_int_equal(fake_page(f->fake, f->arena), 0);
	assert_int_equal(fake_tag(f->fake, PAGE_OF(f->arena, 1)), 2);
	assert_int_equal(
		move(f, f->arena, HEAP - PAGE_BYTES, 1, SYS_MOVE_ALLOW_SRC_HOLES, &moved),
		-ENOENT); /* no VMA */
}

static void whatever_stands_at_the_destination_is_eexist(void **state)
{
	struct fixture *f = *state;
	uint64_t moved;

	assert_int_equal(zeropage(f, f->arena), 0);
	assert_int_equal(move(f, f->arena, HEAP, 1, 0, &moved), -EEXIST);
	fake_guard(f->fake, span_make(PAGE_OF(f->arena, 1), PAGE_BYTES));
	assert_int_equal(move(f, PAGE_OF(f->arena, 1), HEAP, 1, 0, &moved), -EEXIST);
	assert_int_equal(f->ops->uffd_writeprotect(
				 f->sys, f->uffd,
				 span_make(PAGE_OF(f->arena, 2), PAGE_BYTES), true),
			 0);
	assert_int_equal(move(f, PAGE_OF(f->arena, 2), HEAP, 1, 0, &moved), -EEXIST);
	assert_int_equal(fake_tag(f->fake, HEAP), 1);
}

static void a_move_can_be_told_to_lie(void **state)
{
	struct fixture *f = *state;
	uint64_t moved;

	f->fake->move_lies = 1;
	assert_int_equal(move(f, f->arena, HEAP, 1, 0, &moved), -EEXIST);
	assert_int_equal(moved, 0);
	assert_int_equal(fake_tag(f->fake, f->arena), 1);
	assert_int_equal(fake_page(f->fake, HEAP), 0);
	assert_int_equal(move(f, HEAP, f->arena, 1, 0, &moved), 0);
}

static void vmas_that_do_not_match_are_einval(void **state)
{
	struct fixture *f = *state;
	struct span other = span_make(HEAP_SPAN.end, PAGE_BYTES);
	uint64_t moved;

	fake_map(f->fake, other, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, other.start, 9);
	assert_int_equal(move(f, f->arena, other.start, 1, 0, &moved),
			 0); /* unregistered */
	assert_int_equal(move(f, other.start, HEAP, 1, 0, &moved), -EINVAL);
	assert_int_equal(move(f, f->arena + MIB(1), PAGE_OF(HEAP, 7), 2, 0, &moved),
			 -EINVAL); /* two VMAs */
	fake_mlock(f->fake, HEAP_SPAN, true);
	assert_int_equal(move(f, f->arena + MIB(1), HEAP, 1, 0, &moved), -EINVAL);
	fake_mlock(f->fake, HEAP_SPAN, false);
	fake_mprotect(f->fake, HEAP_SPAN, SYS_PROT_READ);
	assert_int_equal(move(f, f->arena + MIB(1), HEAP, 1, 0, &moved), -EINVAL);
	fake_mprotect(f->fake, span_make(f->arena, MIB(4)), SYS_PROT_READ);
	assert_int_equal(move(f, f->arena + MIB(1), HEAP, 1, 0, &moved), -EINVAL);
	fake_mprotect(f->fake, span_make(f->arena, MIB(4)), READ_WRITE);
	fake_map(f->fake, other, SYS_VMA_FILE_PRIVATE, READ_WRITE);
	assert_int_equal(move(f, f->arena + MIB(1), other.start, 1, 0, &moved), -EINVAL);
	assert_int_equal(f->ops->uffd_register(f->sys, f->uffd, other, BOTH_MODES),
			 -EINVAL);
}

static void swap_and_zero_pages_move(void **state)
{
	struct fixture *f = *state;
	struct span first = span_make(HEAP, PAGE_BYTES);
	uint64_t moved;

	fake_page_clear(f->fake, first, SYS_PAGE_PRESENT);
	fake_page_set(f->fake, first, SYS_PAGE_SWAPPED);
	f->ops->empty(f->sys, span_make(PAGE_OF(HEAP, 1), PAGE_BYTES));
	assert_int_equal(zeropage(f, PAGE_OF(HEAP, 1)), 0);
	assert_int_equal(move(f, f->arena, HEAP, 2, 0, &moved), 0);
	assert_int_equal(fake_page(f->fake, f->arena), SYS_PAGE_SWAPPED);
	assert_int_equal(fake_tag(f->fake, f->arena), 1);
	assert_int_equal(fake_page(f->fake, PAGE_OF(f->arena, 1)),
			 SYS_PAGE_PRESENT | SYS_PAGE_ZERO);
}

static void a_huge_page_stays_huge_only_if_it_moves_whole(void **state)
{
	struct fixture *f = *state;
	struct span big = span_make(FAKE_BASE + MIB(16), MIB(2));
	uint64_t moved;

	fake_map(f->fake, big, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_page_set(f->fake, big, SYS_PAGE_PRESENT | SYS_PAGE_HUGE);
	assert_int_equal(move(f, f->arena, big.start, PAGES_PER_HUGE, 0, &moved), 0);
	assert_true(fake_page(f->fake, f->arena) & SYS_PAGE_HUGE);
	assert_int_equal(move(f, f->arena + MIB(2), f->arena, 1, 0, &moved), 0);
	assert_false(fake_page(f->fake, f->arena + MIB(2)) & SYS_PAGE_HUGE);
	assert_false(fake_page(f->fake, PAGE_OF(f->arena, 1)) & SYS_PAGE_HUGE);
}

static void a_shared_page_is_busy_until_it_is_written(void **state)
{
	struct fixture *f = *state;
	uint64_t moved;
	uint64_t operand[2] = { 0 };
	int child = fake_fork(f->fake, false);

	expect_event(f, f->uffd, SYS_EVENT_FORK, (struct span){ 0 });
	fake_exit(f->fake, child);
	fake_caller_ran(f->fake);
	assert_int_equal(move(f, f->arena, HEAP, 1, 0, &moved), -EBUSY);
	assert_int_equal(fake_touch(f->fake, HEAP, false), 0);
	assert_int_equal(move(f, f->arena, HEAP, 1, 0, &moved), -EBUSY);
	assert_int_equal(f->ops->access(f->sys, SYS_ACCESS_ADD, HEAP, operand, 8), 0);
	assert_int_equal(move(f, f->arena, HEAP, 1, 0, &moved), 0);
	assert_int_equal(f->ops->advise(f->sys, span_make(PAGE_OF(HEAP, 1), PAGE_BYTES),
					SYS_ADVICE_POPULATE_WRITE),
			 0);
	assert_int_equal(move(f, PAGE_OF(f->arena, 1), PAGE_OF(HEAP, 1), 1, 0, &moved),
			 0);
}

static void move_drops_the_write_protection(void **state)
{
	struct fixture *f = *state;
	uint64_t moved;

	assert_int_equal(f->ops->uffd_writeprotect(f->sys, f->uffd, HEAP_SPAN, true), 0);
	assert_int_equal(move(f, f->arena, HEAP, 1, 0, &moved), 0);
	assert_int_equal(fake_page(f->fake, f->arena), SYS_PAGE_PRESENT);
}

/* --- bringing back, faults: U-25 ---------------- */

static void copy_over_a_page_is_eexist_and_wakes_nobody(void **state)
{
	struct fixture *f = *state;
	struct span first = span_make(HEAP, PAGE_BYTES);
	uint64_t copied;

	f->ops->empty(f->sys, first);
	assert_int_equal(fake_touch(f->fake, HEAP, false), -EAGAIN);
	assert_int_equal(fake_touch(f->fake, HEAP, false), -EAGAIN);
	expect_fault(f, HEAP, 0); /* one message for each thread */
	expect_fault(f, HEAP, 0);
	fake_set_tag(f->fake, HEAP, 5);
	assert_int_equal(f->ops->uffd_copy(f->sys, f->uffd, HEAP, PAGE_OF(HEAP, 1),
					   PAGE_BYTES, &copied),
			 -EEXIST);
	assert_int_equal(fake_tag(f->fake, HEAP), 5);
	assert_int_equal(fake_blocked(f->fake, first), 2);
	assert_int_equal(f->ops->uffd_wake(f->sys, f->uffd, first), 0);
	assert_int_equal(fake_blocked(f->fake, first), 0);
}

static void answers_wake_but_a_move_may_not(void **state)
{
	struct fixture *f = *state;
	uint64_t moved;

	assert_int_equal(move(f, f->arena, HEAP, 2, 0, &moved), 0);
	assert_int_equal(fake_touch(f->fake, HEAP, true), -EAGAIN);
	assert_int_equal(fake_touch(f->fake, PAGE_OF(HEAP, 1), true), -EAGAIN);
	assert_int_equal(move(f, HEAP, f->arena, 1, SYS_MOVE_DONTWAKE, &moved), 0);
	assert_int_equal(fake_blocked(f->fake, HEAP_SPAN), 2);
	assert_int_equal(move(f, PAGE_OF(HEAP, 1), PAGE_OF(f->arena, 1), 1, 0, &moved),
			 0);
	assert_int_equal(fake_blocked(f->fake, HEAP_SPAN), 1);
	assert_int_equal(fake_touch(f->fake, PAGE_OF(HEAP, 1), true), 0);
}

static void munmap_wakes_nobody(void **state)
{
	struct fixture *f = *state;

	f->ops->empty(f->sys, HEAP_SPAN);
	assert_int_equal(fake_touch(f->fake, HEAP, true), -EAGAIN);
	fake_munmap(f->fake, HEAP_SPAN);
	assert_int_equal(fake_blocked(f->fake, HEAP_SPAN), 1);
}

static void copy_overwrites_markers_and_zeropage_does_not(void **state)
{
	struct fixture *f = *state;
	struct span first = span_make(HEAP, PAGE_BYTES);
	uint64_t copied;

	fake_guard(f->fake, first);
	assert_int_equal(zeropage(f, HEAP), -EEXIST);
	assert_int_equal(f->ops->uffd_copy(f->sys, f->uffd, HEAP, PAGE_OF(HEAP, 1),
					   PAGE_BYTES, &copied),
			 0);
	assert_int_equal(fake_tag(f->fake, HEAP), 2);
	f->ops->empty(f->sys, first);
	assert_int_equal(f->ops->uffd_poison(f->sys, f->uffd, first), 0);
	assert_int_equal(fake_touch(f->fake, HEAP, false), -EFAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(unmap_is_done_before_its_event_is_read),
		TEST(map_fixed_sends_unmap_with_the_new_mapping_in_place),
		TEST(a_reused_address_can_be_registered_while_its_unmap_is_unread),
		TEST(unmap_names_the_span_of_the_call),
		TEST(remove_zaps_after_the_read),
		TEST(a_copy_in_the_remove_window_is_zapped),
		TEST(mremap_sends_remap_and_then_unmap),
		TEST(mremap_dontunmap_sends_remap_only),
		TEST(mremap_across_two_vmas_fails),
		TEST(faults_are_read_before_events),
		TEST(a_fault_is_delivered_once_also_before_its_remap),
		TEST(moves_and_fills_wait_until_the_caller_ran),
		TEST(an_unread_event_does_not_go_away),
		TEST(mprotect_and_guards_send_nothing),
		TEST(move_carries_contents_and_leaves_a_hole),
		TEST(partial_progress_hides_the_reason),
		TEST(a_hole_is_enoent_unless_allowed),
		TEST(whatever_stands_at_the_destination_is_eexist),
		TEST(a_move_can_be_told_to_lie),
		TEST(vmas_that_do_not_match_are_einval),
		TEST(swap_and_zero_pages_move),
		TEST(a_huge_page_stays_huge_only_if_it_moves_whole),
		TEST(a_shared_page_is_busy_until_it_is_written),
		TEST(move_drops_the_write_protection),
		TEST(copy_over_a_page_is_eexist_and_wakes_nobody),
		TEST(answers_wake_but_a_move_may_not),
		TEST(munmap_wakes_nobody),
		TEST(copy_overwrites_markers_and_zeropage_does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
