/* SPDX-License-Identifier: MIT */
/*
 * Home always works: every answer of MOVE on the way home, and what becomes of the page.
 */
#include "mm_fixture.h"

/* Pages 0 .. @pages of the heap are on the device. */
static void take_first(struct fixture *f, uint64_t pages)
{
	heap_fill(f, 0, pages);
	assert_int_equal(take_pages(f, 0, pages), pages);
}

/* A thread of the CPU waits for the page: whatever becomes of it, the thread runs on. */
static void sleep_on(struct fixture *f, uint64_t page)
{
	assert_int_equal(fake_touch(f->fake, heap(page), false), -EAGAIN);
	assert_int_equal(fake_blocked(f->fake, heap_span(page, 1)), 1);
}

static void bring_home(struct fixture *f, uint64_t page, uint64_t pages)
{
	assert_int_equal(mm_bring_home(f->mm, heap_span(page, pages), NULL), 0);
}

static void pages_come_home_by_move_and_leave_empty_frames(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	bring_home(f, 2, 3);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(is_on_device(f, heap(i)), i < 2 || i >= 5);
	assert_int_equal(fake_tag(f->fake, heap(3)), tag_of(3));
	assert_int_equal(fake_page(f->fake, f->arena + 3 * PAGE_BYTES), 0);
	assert_int_equal(stats_of(f).home_moved_pages, 3);
	assert_int_equal(stats_of(f).home_copied_pages, 0);
	expect_tags(f, 0, 8);
}

static void only_pages_of_the_owner_that_is_named_come_home(void **state)
{
	struct fixture *f = *state;
	struct owner second;
	struct mm_take take = take_of(f, 4, 4);

	owner_init(f, &second, f->arena);
	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 4), 4);
	take.owner = &second.owner;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 8), &second.owner), 0);
	assert_true(is_on_device(f, heap(0)));
	assert_false(is_on_device(f, heap(4)));
	assert_int_equal(second.empties, 1);
	assert_int_equal(f->owner.empties, 0);
	expect_tags(f, 0, 8);
}

/* By the back reference, not by the address they were taken from. */
static void an_owner_is_evicted_wherever_its_pages_are(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	assert_int_equal(fake_mremap(f->fake, heap_span(2, 2), OTHER, false), 0);
	settle(f);
	assert_int_equal(mm_evict_owner(f->mm, &f->owner.owner), 0);
	assert_int_equal(f->owner.owner.page_count, 0);
	assert_int_equal(f->owner.empties, 1);
	assert_int_equal(fake_tag(f->fake, OTHER), tag_of(2));
	assert_int_equal(fake_tag(f->fake, OTHER + PAGE_BYTES), tag_of(3));
	expect_tags(f, 0, 2);
	expect_tags(f, 4, 4);
	/* Nothing to do is no error. */
	assert_int_equal(mm_evict_owner(f->mm, &f->owner.owner), 0);
}

/* --- -EAGAIN ---------------- */

/* Progress goes on where it stopped: the page behind is pinned for a moment. */
static void partial_progress_goes_on_at_its_offset(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	fake_page_set(f->fake, span_make(f->arena + 3 * PAGE_BYTES, PAGE_BYTES),
		      FAKE_PAGE_PINNED);
	bring_home(f, 0, 8);
	assert_int_equal(stats_of(f).home_moved_pages, 7);
	assert_int_equal(stats_of(f).home_copied_pages, 1); /* it stayed pinned */
	assert_int_equal(stats_of(f).retries, 0);
	assert_true(f->owner.dirty);
	expect_tags(f, 0, 8);
}

static void a_worker_waits_for_the_event_in_flight(void **state)
{
	struct fixture *f = *state;

	take_first(f, 4);
	fake_munmap(f->fake, heap_span(2, 1));
	f->fake->yield_hook = settle_hook;
	bring_home(f, 0, 4);
	assert_true(stats_of(f).retries > 0);
	expect_tags(f, 0, 2);
	expect_tags(f, 3, 1);
	assert_int_equal(fake_touch(f->fake, heap(2), false), -EFAULT);
}

static void events_that_do_not_end_are_ebusy_for_a_worker(void **state)
{
	struct fixture *f = *state;

	take_first(f, 2);
	fake_munmap(f->fake, heap_span(5, 1));
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 2), NULL), -EBUSY);
	assert_int_equal(mm_evict_owner(f->mm, &f->owner.owner), -EBUSY);
	assert_true(is_on_device(f, heap(0)));
	settle(f);
	expect_tags(f, 0, 2);
}

/* But never for a CPU fault: it is remembered for as long as it takes. */
static void a_cpu_fault_never_fails_for_an_event(void **state)
{
	struct fixture *f = *state;

	take_first(f, 2);
	fake_munmap(f->fake, heap_span(5, 1));
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EAGAIN);
	monitor_step(f); /* the fault */
	monitor_step(f); /* the UNMAP; its caller does not run */
	for (int i = 0; i < 1000; i++) {
		monitor_step(f);
		assert_int_equal(f->mm->stash_count, 1);
		assert_true(is_on_device(f, heap(0)));
	}
	fake_caller_ran(f->fake);
	monitor_step(f);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
	expect_tags(f, 0, 2);
}

/* --- what cannot be moved is copied ---------------- */

static void read_only_memory_comes_home_by_copy(void **state)
{
	struct fixture *f = *state;

	take_first(f, 4);
	fake_mprotect(f->fake, HEAP_VMA, SYS_PROT_READ);
	expect_tags(f, 1, 1);
	bring_home(f, 0, 4);
	assert_int_equal(stats_of(f).home_copied_pages, 4);
	assert_int_equal(fake_touch(f->fake, heap(0), true), -EFAULT);
	expect_tags(f, 0, 4);
}

static void a_copy_home_waits_for_memory_that_is_short(void **state)
{
	struct fixture *f = *state;
	bool died;

	take_first(f, 2);
	fake_mprotect(f->fake, HEAP_VMA, SYS_PROT_READ);
	fake_fail(f->fake, "uffd_copy", 1, ENOMEM);
	bring_home(f, 0, 1);
	assert_int_equal(stats_of(f).home_copied_pages, 1);

	fake_fail_for_ever(f->fake, "uffd_copy", 1, ENOMEM);
	mm_lock(f->mm);
	FAKE_DIES(&died, mm_bring_home_locked(f->mm, heap_span(1, 1), NULL));
	mm_unlock(f->mm, 0);
	assert_true(died);
	fake_fail(f->fake, "uffd_copy", 1, 0);
	expect_tags(f, 0, 2);
}

static void mlocked_memory_comes_home_by_copy(void **state)
{
	struct fixture *f = *state;

	take_first(f, 4);
	fake_mlock(f->fake, HEAP_VMA, true);
	bring_home(f, 0, 4);
	assert_int_equal(stats_of(f).home_copied_pages, 4);
	expect_tags(f, 0, 4);
}

/* Zeros of a read-only page are as good as a hole; nothing is copied for them. */
static void an_empty_frame_of_read_only_memory_becomes_a_hole(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 2);

	take.fill = take.span;
	assert_int_equal(mm_take(f->mm, &take), 0);
	fake_mprotect(f->fake, HEAP_VMA, SYS_PROT_READ);
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EAGAIN);
	settle(f);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
	assert_int_equal(stats_of(f).home_copied_pages, 0);
	assert_int_equal(cpu_read(f, heap(0)), 0);
}

static void a_frame_that_copies_is_dirty_and_is_emptied_before_its_next_page(void **state)
{
	struct fixture *f = *state;

	take_first(f, 2);
	fake_mprotect(f->fake, HEAP_VMA, SYS_PROT_READ);
	bring_home(f, 0, 2);
	fake_mprotect(f->fake, HEAP_VMA, READ_WRITE);
	fake_set_tag(f->fake, heap(0), 81);
	assert_int_equal(take_pages(f, 0, 2), 2);
	assert_int_equal(fake_tag(f->fake, f->arena), 81);
	assert_int_equal(cpu_read(f, heap(0)), 81);
	expect_tags(f, 1, 1);
}

/* The first VMA moves, the second does not: one MOVE, and then page by page. */
static void a_run_over_two_vmas_comes_home_one_at_a_time(void **state)
{
	struct fixture *f = *state;
	uint64_t moves;

	take_first(f, 8);
	fake_mprotect(f->fake, heap_span(4, 4), READ_WRITE | SYS_PROT_EXEC);
	moves = fake_calls(f->fake, "uffd_move");
	bring_home(f, 0, 8);
	assert_int_equal(stats_of(f).home_moved_pages, 4);
	assert_int_equal(stats_of(f).home_copied_pages, 4);
	/* All: no. The first: yes. The rest: no, and each page of it: no. */
	assert_true(fake_calls(f->fake, "uffd_move") - moves <= 11);
	expect_tags(f, 0, 8);
}

static void a_run_over_two_vmas_that_both_move_is_not_copied(void **state)
{
	struct fixture *f = *state;
	struct mm_take take;

	fake_map(f->fake, span_make(OTHER, MIB(2)), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	heap_fill(f, 0, 2);
	assert_int_equal(take_pages(f, 0, 2), 2);
	/* Other memory behind it, whose frames follow. */
	fake_map(f->fake, heap_span(2, 2), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	settle(f);
	heap_fill(f, 2, 2);
	take = take_of(f, 2, 2);
	assert_int_equal(mm_take(f->mm, &take), 0);
	mm_check(f->mm);
	bring_home(f, 0, 4);
	assert_int_equal(stats_of(f).home_copied_pages, 0);
	assert_int_equal(stats_of(f).home_moved_pages, 4);
	expect_tags(f, 0, 4);
}

/* --- what stands in the way ---------------- */

/* Installed on a device page: natively it would have killed the contents (T10). */
static void a_guard_page_stays_and_the_contents_die(void **state)
{
	struct fixture *f = *state;

	take_first(f, 4);
	sleep_on(f, 1);
	fake_guard(f->fake, heap_span(1, 1));
	bring_home(f, 0, 4);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
	assert_int_equal(fake_touch(f->fake, heap(1), false), -EFAULT);
	assert_true(f->owner.dirty);
	expect_tags(f, 0, 1);
	expect_tags(f, 2, 2);
}

static void a_guard_page_in_read_only_memory_is_not_copied_over(void **state)
{
	struct fixture *f = *state;

	take_first(f, 2);
	sleep_on(f, 0);
	fake_guard(f->fake, heap_span(0, 1));
	fake_mprotect(f->fake, HEAP_VMA, SYS_PROT_READ);
	bring_home(f, 0, 2);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EFAULT);
	expect_tags(f, 1, 1);
}

/* Unmapped with no word to us, as where somebody unregistered the memory before: what was
 * there is gone, and no page of others suffers for it. */
static void pages_of_memory_that_went_silently_are_given_up(void **state)
{
	struct fixture *f = *state;

	take_first(f, 4);
	assert_int_equal(f->sys->ops->uffd_unregister(f->sys, f->mm->uffd, heap_span(1, 2)), 0);
	fake_munmap(f->fake, heap_span(1, 2));
	bring_home(f, 0, 4);
	assert_true(f->owner.dirty);
	assert_int_equal(fake_touch(f->fake, heap(1), false), -EFAULT);
	expect_tags(f, 0, 1);
	expect_tags(f, 3, 1);
}

/* The same, and it is mapped anew: the new memory is not ours, and losing a page is loud. */
static void a_page_that_nothing_brings_home_is_loud(void **state)
{
	struct fixture *f = *state;
	bool died;

	take_first(f, 1);
	assert_int_equal(f->sys->ops->uffd_unregister(f->sys, f->mm->uffd, HEAP_VMA), 0);
	mm_lock(f->mm);
	FAKE_DIES(&died, mm_bring_home_locked(f->mm, heap_span(0, 1), NULL));
	mm_unlock(f->mm, 0);
	assert_true(died);
	assert_int_equal(f->sys->ops->uffd_register(f->sys, f->mm->uffd, HEAP_VMA, BOTH_MODES),
			 0);
	expect_tags(f, 0, 1);
}

/* Moved, and -EEXIST said (A4): with an empty frame it is home, and must be woken. */
static void a_move_home_that_lies_is_believed_by_the_frame(void **state)
{
	struct fixture *f = *state;

	take_first(f, 1);
	f->fake->move_lies = 1;
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EAGAIN);
	settle(f);
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
	assert_true(stats_of(f).lies > 0);
	expect_tags(f, 0, 1);
}

static void a_lie_about_a_whole_run_loses_nothing(void **state)
{
	struct fixture *f = *state;

	take_first(f, 8);
	f->fake->move_lies = 1;
	bring_home(f, 0, 8);
	assert_int_equal(stats_of(f).lies, 8);
	assert_int_equal(stats_of(f).home_copied_pages, 0);
	expect_tags(f, 0, 8);
}

/* Something else is unmapped once the MOVE has lied. */
static void unmap_another(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (strcmp(op, "uffd_move") != 0 || f->test[0]++ < 3)
		return;
	f->fake->op_hook = NULL;
	fake_munmap(f->fake, heap_span(20, 1));
}

/* The page is home, and is not kept for one of ours because of what comes then. */
static void a_lie_is_seen_before_an_event(void **state)
{
	struct fixture *f = *state;

	take_first(f, 2);
	f->owner.owner.home_bytes = KIB(64);
	f->fake->move_lies = 1;
	f->fake->op_hook = unmap_another;
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EAGAIN);
	settle(f);
	f->fake->op_hook = NULL;
	assert_false(is_on_device(f, heap(1)));
	expect_tags(f, 0, 2);
}

/* The same where something was moved before: what is said then hides what became of the
 * next page. */
static void a_lie_that_is_hidden_by_progress_is_seen(void **state)
{
	struct fixture *f = *state;

	take_first(f, 3);
	f->owner.owner.home_bytes = KIB(64);
	f->test[0] = 2; /* behind the next MOVE but one */
	f->fake->move_lies = 1;
	f->fake->op_hook = unmap_another;
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EAGAIN);
	settle(f);
	f->fake->op_hook = NULL;
	assert_false(is_on_device(f, heap(1)));
	assert_false(is_on_device(f, heap(2)));
	expect_tags(f, 0, 3);
}

static void a_page_in_both_places_is_loud(void **state)
{
	struct fixture *f = *state;
	bool died;

	take_first(f, 1);
	fake_set_tag(f->fake, heap(0), 5);
	mm_lock(f->mm);
	FAKE_DIES(&died, mm_bring_home_locked(f->mm, heap_span(0, 1), NULL));
	mm_unlock(f->mm, 0);
	assert_true(died);
	fake_page_clear(f->fake, heap_span(0, 1), ~0u);
	bring_home(f, 0, 1);
}

/* Somebody holds the frame, and lets it go after some tries. */
static void let_go(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (strcmp(op, "uffd_move") != 0 || ++f->test[0] < 10)
		return;
	f->fake->op_hook = NULL;
	fake_page_clear(f->fake, span_make(f->arena, PAGE_BYTES), FAKE_PAGE_PINNED);
}

static void a_frame_that_is_busy_for_a_moment_is_tried_again(void **state)
{
	struct fixture *f = *state;

	take_first(f, 1);
	fake_page_set(f->fake, span_make(f->arena, PAGE_BYTES), FAKE_PAGE_PINNED);
	f->fake->op_hook = let_go;
	bring_home(f, 0, 1);
	assert_int_equal(stats_of(f).home_copied_pages, 0);
	assert_int_equal(stats_of(f).home_moved_pages, 1);
	expect_tags(f, 0, 1);
}

static void pages_of_others_that_move_are_not_waited_for(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);
	struct owner second;

	owner_init(f, &second, f->arena);
	heap_fill(f, 0, 4);
	take.moving = true;
	assert_int_equal(mm_take(f->mm, &take), 0);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 4), &second.owner), 0);
	assert_true(is_on_device(f, heap(0)));
	mm_take_finish(f->mm, &take);
	expect_tags(f, 0, 4);
}

static void nothing_is_there(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (!strcmp(op, "uffd_move"))
		fake_fail(f->fake, "uffd_move", 1, ENOENT);
}

/* MOVE finds no mapping, and the kernel does not say whether there is one. */
static void a_page_is_not_given_up_because_mappings_cannot_be_looked_at(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 1);
	assert_int_equal(take_pages(f, 0, 1), 1);
	f->fake->op_hook = nothing_is_there;
	fake_fail(f->fake, "vma_query", 1, EIO);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 1), NULL), 0);
	f->fake->op_hook = NULL;
	fake_fail(f->fake, "uffd_move", 1, 0);
	expect_tags(f, 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pages_come_home_by_move_and_leave_empty_frames),
		TEST(only_pages_of_the_owner_that_is_named_come_home),
		TEST(an_owner_is_evicted_wherever_its_pages_are),
		TEST(partial_progress_goes_on_at_its_offset),
		TEST(a_worker_waits_for_the_event_in_flight),
		TEST(events_that_do_not_end_are_ebusy_for_a_worker),
		TEST(a_cpu_fault_never_fails_for_an_event),
		TEST(read_only_memory_comes_home_by_copy),
		TEST(a_copy_home_waits_for_memory_that_is_short),
		TEST(mlocked_memory_comes_home_by_copy),
		TEST(an_empty_frame_of_read_only_memory_becomes_a_hole),
		TEST(a_frame_that_copies_is_dirty_and_is_emptied_before_its_next_page),
		TEST(a_run_over_two_vmas_comes_home_one_at_a_time),
		TEST(a_run_over_two_vmas_that_both_move_is_not_copied),
		TEST(a_guard_page_stays_and_the_contents_die),
		TEST(a_guard_page_in_read_only_memory_is_not_copied_over),
		TEST(pages_of_memory_that_went_silently_are_given_up),
		TEST(a_page_that_nothing_brings_home_is_loud),
		TEST(a_move_home_that_lies_is_believed_by_the_frame),
		TEST(a_lie_about_a_whole_run_loses_nothing),
		TEST(a_lie_is_seen_before_an_event),
		TEST(a_lie_that_is_hidden_by_progress_is_seen),
		TEST(a_page_in_both_places_is_loud),
		TEST(a_frame_that_is_busy_for_a_moment_is_tried_again),
		TEST(pages_of_others_that_move_are_not_waited_for),
		TEST(a_page_is_not_given_up_because_mappings_cannot_be_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
