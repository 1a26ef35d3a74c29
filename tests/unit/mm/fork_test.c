/* SPDX-License-Identifier: MIT */
/*
 * Children: what fork() and a raw clone find in their memory, whatever child and grandchild
 * do while their pages are pushed, and whoever dies.
 */
#include "clone.h"

#include <pthread.h>
#include <semaphore.h>

/* --- fork() ---------------- */

static void before_fork_everything_comes_home(void **state)
{
	struct fixture *f = *state;
	int child;

	take_first(f, 8);
	child = fake_fork(f->fake, true);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	settle(f);
	collect(f);
	expect_in(f, child, 0, 8);
	expect_tags(f, 0, 8);
	/* A hole of the child is one of an ordinary process: its userfaultfd is closed. */
	fake_enter(f->fake, child);
	assert_int_equal(fake_touch(f->fake, heap(20), true), 0);
	fake_enter(f->fake, 0);
	assert_int_equal(stats_of(f).forks_pushed_pages, 0);
}

struct backlog {
	struct mm_work work;
	bool has_run;
};

static void run_backlog(struct mm_work *work)
{
	CONTAINER_OF(work, struct backlog, work)->has_run = true;
}

static void a_fork_does_not_wait_for_what_the_collector_has_to_do(void **state)
{
	struct fixture *f = *state;
	struct backlog backlog = { .has_run = false };
	int child;

	mm_work_init(&backlog.work, run_backlog);
	take_first(f, 1); /* what is registered is told of */
	f->fake->hooks.prepare();
	child = fake_fork(f->fake, false);
	assert_true(mm_work_queue_collector(f->mm, &backlog.work));
	settle(f);
	assert_int_equal(fake_calls(f->fake, "uffd_close"), 0);
	f->fake->hooks.parent();
	assert_int_equal(fake_calls(f->fake, "uffd_close"), 1);
	assert_false(backlog.has_run);
	fake_enter(f->fake, child);
	assert_int_equal(fake_touch(f->fake, heap(20), true), 0);
	fake_enter(f->fake, 0);
	collect(f);
	assert_true(backlog.has_run);
	assert_int_equal(fake_calls(f->fake, "uffd_close"), 1);
}

static void nothing_is_taken_while_a_fork_is_under_way(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);

	take_first(f, 2);
	f->fake->hooks.prepare();
	assert_int_equal(mm_take(f->mm, &take), -EBUSY);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	f->fake->hooks.parent();
	heap_fill(f, 2, 2);
	assert_int_equal(take_pages(f, 0, 4), 4);
	expect_tags(f, 0, 4);
}

static void prepare_a_fork(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (base_host->self()->held_count || strcmp(op, "madvise_in_flight") != 0)
		return;
	f->fake->op_hook = NULL;
	f->fake->hooks.prepare();
}

/* The gate closes between the take's checks and its move. */
static void a_take_that_began_before_the_fork_ends_without_pages(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 2);

	take_first(f, 2);
	fake_madvise(f->fake, heap_span(9, 1), SYS_ADVICE_DONTNEED);
	finish_remove(f);
	take = take_of(f, 8, 2);
	heap_fill(f, 8, 2);
	f->fake->op_hook = prepare_a_fork;
	assert_int_equal(mm_take(f->mm, &take), -EBUSY);
	assert_null(f->fake->op_hook);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	f->fake->hooks.parent();
	expect_tags(f, 0, 2);
}

static void the_process_lock_is_free_in_the_child(void **state)
{
	struct fixture *f = *state;

	mm_process_lock();
	mm_process_unlock();
	f->fake->hooks.prepare();
	f->fake->hooks.child();
	mm_process_lock();
	mm_process_unlock();
	/* The parent's half of it; in one process here. */
	assert_int_equal(mm_fork_init(f->mm), 0);
	mm_lock(f->mm);
	f->mm->gate_closed = 0;
	mm_unlock(f->mm, 0);
}

/* --- without EVENT_FORK ---------------- */

static int set_up_without_event(void **state)
{
	static struct fixture f;

	*state = &f;
	return fixture_start(&f, FAKE_ALL_FEATURES & ~(uint32_t)SYS_FEATURE_EVENT_FORK);
}

/* A raw clone gets SIGSEGV where pages are on a device, never zeros. */
static void a_clone_that_nobody_tells_of_does_not_inherit_device_pages(void **state)
{
	struct fixture *f = *state;
	int child;

	take_first(f, 2);
	child = fake_fork(f->fake, false);
	fake_enter(f->fake, child);
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EFAULT);
	fake_enter(f->fake, 0);
	expect_tags(f, 0, 2);
}

static void fork_inherits_all_the_same(void **state)
{
	struct fixture *f = *state;
	int child;

	take_first(f, 4);
	for (int i = 0; i < 2; i++) {
		child = fake_fork(f->fake, true);
		expect_in(f, child, 0, 4);
		fake_exit(f->fake, child);
		/* On the device again, kept from children again. */
		assert_int_equal(take_pages(f, 0, 4), 4);
		child = fake_fork(f->fake, false);
		fake_enter(f->fake, child);
		assert_int_equal(fake_touch(f->fake, heap(0), false), -EFAULT);
		fake_enter(f->fake, 0);
	}
}

/* The mapping is kept from children, wherever it is; so is the one that stays behind. */
static void fork_inherits_what_mremap_moved(void **state)
{
	struct fixture *f = *state;
	int child;

	take_first(f, 4);
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 2), OTHER, false), 0);
	settle(f);
	assert_int_equal(fake_mremap(f->fake, heap_span(2, 2), OTHER + MIB(2), true), 0);
	settle(f);
	child = fake_fork(f->fake, true);
	fake_enter(f->fake, child);
	for (uint64_t i = 0; i < 4; i++) {
		uint64_t addr = OTHER + (i < 2 ? 0 : MIB(2)) + i % 2 * PAGE_BYTES;

		assert_int_equal(fake_touch(f->fake, addr, false), 0);
		assert_int_equal(fake_tag(f->fake, addr), tag_of(i));
	}
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EFAULT);
	assert_int_equal(fake_touch(f->fake, heap(2), false), 0);
	assert_int_equal(fake_tag(f->fake, heap(2)), 0);
	fake_enter(f->fake, 0);
}

static void unmap_a_part(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (!strcmp(op, "advise") && !f->test[0]++)
		fake_munmap(f->fake, heap_span(2, 2));
}

/* A part went while the mapping was kept from children: the rest is theirs. */
static void fork_inherits_what_lost_a_part_meanwhile(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	f->fake->op_hook = unmap_a_part;
	f->fake->yield_hook = settle_hook;
	assert_int_equal(take_pages(f, 0, 2), 2);
	f->fake->op_hook = NULL;
	f->fake->yield_hook = NULL;
	settle(f);
	expect_in(f, fake_fork(f->fake, true), 4, 4);
}

/* Growth is told by nothing. What was added is kept from children as the rest is. */
static void fork_inherits_what_grew_in_place(void **state)
{
	const uint64_t end = HEAP + span_bytes(HEAP_VMA);
	struct fixture *f = *state;
	struct sys_vma vma;
	int child;

	take_first(f, 4);
	fake_grow(f->fake, HEAP_VMA, span_bytes(HEAP_VMA) + MIB(2));
	fake_set_tag(f->fake, end, 900);
	child = fake_fork(f->fake, true);
	fake_enter(f->fake, child);
	assert_int_equal(fake_touch(f->fake, end, false), 0);
	assert_int_equal(fake_tag(f->fake, end), 900);
	fake_enter(f->fake, 0);
	/* It is one VMA as before, or the program's mremap() over it would fail. */
	assert_int_equal(mm_vma_find(f->mm, HEAP, false, &vma, NULL), 0);
	assert_int_equal(vma.span.start, HEAP);
	assert_int_equal(vma.span.end, end + MIB(2));
}

/* What could not be looked at is given back before the next fork. */
static void fork_inherits_when_mappings_can_be_looked_at_again(void **state)
{
	struct fixture *f = *state;

	take_first(f, 4);
	fake_fail(f->fake, "vma_query", 1, EIO);
	fake_exit(f->fake, fake_fork(f->fake, true));
	expect_in(f, fake_fork(f->fake, true), 0, 4);
}

/* To watch it takes nothing away from what is known. */
static void what_grew_and_is_used_in_place_is_inherited_too(void **state)
{
	struct fixture *f = *state;
	struct sys_vma vma;
	int child;

	take_first(f, 4);
	fake_grow(f->fake, HEAP_VMA, span_bytes(HEAP_VMA) + MIB(2));
	assert_int_equal(mm_vma_find(f->mm, HEAP, false, &vma, NULL), 0);
	assert_int_equal(mm_vma_watch(f->mm, &vma), 0);
	child = fake_fork(f->fake, true);
	expect_in(f, child, 0, 4);
}

/* The thread that forks: one of its own, for it keeps a lock from prepare to parent. */
struct forker {
	struct fixture *f;
	pthread_t thread;
	sem_t prepared, forked;
};

static struct forker forker;

static void *forker_run(void *arg UNUSED)
{
	forker.f->fake->hooks.prepare();
	sem_post(&forker.prepared);
	sem_wait(&forker.forked);
	forker.f->fake->hooks.parent();
	return NULL;
}

static void prepare_before_register(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (base_host->self()->held_count || strcmp(op, "clock_ns") != 0)
		return;
	f->fake->op_hook = NULL;
	assert_int_equal(pthread_create(&forker.thread, NULL, forker_run, NULL), 0);
	sem_wait(&forker.prepared);
}

/* A take registers, and keeps the VMA from children, while fork() is about to run. */
static void fork_inherits_what_is_registered_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);
	int child;

	forker.f = f;
	sem_init(&forker.prepared, 0, 0);
	sem_init(&forker.forked, 0, 0);
	heap_fill(f, 0, 4);
	f->fake->op_hook = prepare_before_register;
	assert_int_equal(mm_take(f->mm, &take), -EBUSY);
	assert_null(f->fake->op_hook);
	child = fake_fork(f->fake, false);
	sem_post(&forker.forked);
	assert_int_equal(pthread_join(forker.thread, NULL), 0);
	expect_in(f, child, 0, 4);
	assert_int_equal(take_pages(f, 0, 4), 0 + 4);
	expect_tags(f, 0, 4);
}

static int set_up_home_and_bring_what_is_lost(void **state)
{
	return set_up_without_event(state);
}

/* --- a raw clone with EVENT_FORK ---------------- */

static void a_clone_gets_a_copy_of_every_device_page(void **state)
{
	struct fixture *f = *state;
	int child;

	take_first(f, 8);
	child = fake_fork(f->fake, false);
	settle(f);
	collect(f);
	assert_int_equal(stats_of(f).events_fork, 1);
	assert_int_equal(stats_of(f).forks_pushed_pages, 8);
	expect_in(f, child, 0, 8);
	assert_true(is_on_device(f, heap(0)));
	expect_tags(f, 0, 8);
}

static void a_clone_with_nothing_on_a_device_is_let_go_at_once(void **state)
{
	struct fixture *f = *state;
	int child;

	take_first(f, 1);
	expect_tags(f, 0, 1);
	child = fake_fork(f->fake, false);
	settle(f);
	collect(f);
	fake_enter(f->fake, child);
	assert_int_equal(fake_registered(f->fake, heap(0)), 0);
	assert_int_equal(fake_touch(f->fake, heap(9), true), 0);
	fake_enter(f->fake, 0);
}

/* One act of the child at one point: before the push of page @point. */
static void push_with_act(struct fixture *f, uint64_t point, enum child_act act)
{
	int child;

	take_first(f, 8);
	child = fake_fork(f->fake, false);
	f->test[0] = point + 1;
	f->test[1] = (uint64_t)child;
	f->test[3] = act;
	f->fake->op_hook = at_copy;
	settle(f);
	f->fake->op_hook = NULL;
	settle(f);
	collect(f);
	if (act != CHILD_DIES)
		expect_child(f, child, act);
	expect_tags(f, 0, 8);
	mm_check(f->mm);
}

static void a_child_may_act_at_any_point_of_its_push(void **state)
{
	struct fixture *f;

	for (enum child_act act = 0; act < CHILD_ACTS; act++) {
		for (uint64_t point = 0; point < 8; point++) {
			assert_int_equal(tear_down(state), 0);
			assert_int_equal(set_up(state), 0);
			f = *state;
			push_with_act(f, point, act);
		}
	}
}

static void a_clone_of_what_is_moving_gets_it(void **state)
{
	struct fixture *f = *state;
	struct mm_take take = take_of(f, 0, 4);
	int child;

	heap_fill(f, 0, 4);
	take.moving = true;
	assert_int_equal(mm_take(f->mm, &take), 0);
	child = fake_fork(f->fake, false);
	settle(f);
	collect(f);
	mm_take_finish(f->mm, &take);
	expect_in(f, child, 0, 4);
	expect_tags(f, 0, 4);
}

/* What cannot be followed any more is never told "zeros": the child waits. */
static void a_child_that_changes_too_much_waits(void **state)
{
	struct fixture *f = *state;
	size_t waits = 0;
	int child;

	take_first(f, 4);
	child = fake_fork(f->fake, false);
	f->test[0] = 4200;
	f->test[1] = (uint64_t)child;
	f->fake->op_hook = change_at_read;
	settle(f);
	f->fake->op_hook = NULL;
	collect(f);
	fake_enter(f->fake, child);
	for (uint64_t i = 0; i < 4; i++) {
		if (fake_touch(f->fake, heap(i), false) == 0)
			assert_int_equal(fake_tag(f->fake, heap(i)), tag_of(i));
		else
			waits++;
	}
	fake_enter(f->fake, 0);
	assert_true(waits > 0);
	expect_tags(f, 0, 4);
}

static int nobody_knows(struct sys *sys UNUSED, struct span *spans UNUSED, size_t max UNUSED,
			size_t *count UNUSED)
{
	return -EIO;
}

static int wiped_page_two(struct sys *sys UNUSED, struct span *spans, size_t max,
			  size_t *count)
{
	assert_true(max >= 1);
	spans[0] = heap_span(2, 1);
	*count = 1;
	return 0;
}

/* What fork() wipes is not pushed; where that is not known, nothing is: SIGBUS. */
static void memory_that_a_fork_wipes_is_not_pushed(void **state)
{
	struct fixture *f = *state;
	struct sys_ops ops = *f->sys->ops;
	const struct sys_ops *before = f->sys->ops;
	int child;

	take_first(f, 4);
	ops.wiped_on_fork = wiped_page_two;
	f->sys->ops = &ops;
	child = fake_fork(f->fake, false);
	settle(f);
	collect(f);
	expect_in(f, child, 0, 2);
	expect_in(f, child, 3, 1);
	fake_enter(f->fake, child);
	assert_int_equal(fake_touch(f->fake, heap(2), false), 0);
	assert_int_equal(fake_tag(f->fake, heap(2)), 0);
	fake_enter(f->fake, 0);

	ops.wiped_on_fork = nobody_knows;
	child = fake_fork(f->fake, false);
	settle(f);
	collect(f);
	f->sys->ops = before;
	fake_enter(f->fake, child);
	for (uint64_t i = 0; i < 4; i++)
		assert_true(fake_page(f->fake, heap(i)) & FAKE_PAGE_POISON);
	fake_enter(f->fake, 0);
	expect_tags(f, 0, 4);
}

/* Memory is short for one page, for a moment or for good. */
static void a_page_that_the_child_cannot_have_is_poisoned(void **state)
{
	struct fixture *f = *state;
	int child;

	take_first(f, 4);
	fake_fail(f->fake, "uffd_copy", 2, ENOMEM);
	child = fake_fork(f->fake, false);
	settle(f);
	collect(f);
	expect_in(f, child, 0, 4);

	fake_fail_for_ever(f->fake, "uffd_copy", 3, ENOMEM);
	child = fake_fork(f->fake, false);
	settle(f);
	collect(f);
	fake_fail(f->fake, "uffd_copy", 1, 0);
	expect_in(f, child, 0, 2);
	fake_enter(f->fake, child);
	for (uint64_t i = 2; i < 4; i++)
		assert_true(fake_page(f->fake, heap(i)) & FAKE_PAGE_POISON);
	fake_enter(f->fake, 0);
	expect_tags(f, 0, 4);
}

/* Nor one whose contents the device does not give. */
static void a_page_that_cannot_be_read_is_poisoned_in_the_child(void **state)
{
	struct fixture *f = *state;
	int child;

	take_first(f, 3);
	f->owner.unreadable = true;
	child = fake_fork(f->fake, false);
	settle(f);
	collect(f);
	f->owner.unreadable = false;
	fake_enter(f->fake, child);
	for (uint64_t i = 0; i < 3; i++)
		assert_true(fake_page(f->fake, heap(i)) & FAKE_PAGE_POISON);
	fake_enter(f->fake, 0);
	expect_tags(f, 0, 3);
}

static void more_children_than_the_collector_is_told_of_are_closed_too(void **state)
{
	struct fixture *f = *state;

	take_first(f, 1);
	for (int i = 0; i < 3; i++) {
		f->mm->child_uffd_count = i == 1 ? ARRAY_SIZE(f->mm->child_uffds) : 0;
		fake_fork(f->fake, false);
		settle(f);
		if (i == 1) /* by the monitor itself */
			f->mm->child_uffd_count = 0;
		collect(f);
	}
	assert_int_equal(fake_calls(f->fake, "uffd_close"), 3);
	expect_tags(f, 0, 1);
}

#define TEST_WITHOUT(name)                                                               \
	cmocka_unit_test_setup_teardown(name, set_up_home_and_bring_what_is_lost,        \
					tear_down)

/* Of those that are never let go so many are known. Who has ended makes room. */
static void a_stuck_child_that_ended_makes_room_for_another(void **state)
{
	struct fixture *f = *state;

	take_first(f, 4);
	for (uint32_t i = 0; i <= MM_STUCK_MAX; i++) {
		f->test[0] = 4200;
		f->test[1] = (uint64_t)fake_fork(f->fake, false);
		f->fake->op_hook = change_at_read;
		settle(f);
		f->fake->op_hook = NULL;
		assert_int_equal(f->mm->stuck_count, i < MM_STUCK_MAX ? i + 1 : 1);
		fake_finish_remove(f->fake);
		if (i < MM_STUCK_MAX)
			fake_exit(f->fake, (int)f->test[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(before_fork_everything_comes_home),
		TEST(a_fork_does_not_wait_for_what_the_collector_has_to_do),
		TEST(nothing_is_taken_while_a_fork_is_under_way),
		TEST(a_take_that_began_before_the_fork_ends_without_pages),
		TEST(the_process_lock_is_free_in_the_child),
		TEST_WITHOUT(a_clone_that_nobody_tells_of_does_not_inherit_device_pages),
		TEST_WITHOUT(fork_inherits_all_the_same),
		TEST_WITHOUT(fork_inherits_what_mremap_moved),
		TEST_WITHOUT(fork_inherits_what_lost_a_part_meanwhile),
		TEST_WITHOUT(fork_inherits_what_grew_in_place),
		TEST_WITHOUT(fork_inherits_when_mappings_can_be_looked_at_again),
		TEST_WITHOUT(what_grew_and_is_used_in_place_is_inherited_too),
		TEST_WITHOUT(fork_inherits_what_is_registered_meanwhile),
		TEST(a_clone_gets_a_copy_of_every_device_page),
		TEST(a_clone_with_nothing_on_a_device_is_let_go_at_once),
		TEST(a_child_may_act_at_any_point_of_its_push),
		TEST(a_clone_of_what_is_moving_gets_it),
		TEST(a_child_that_changes_too_much_waits),
		TEST(a_stuck_child_that_ended_makes_room_for_another),
		TEST(memory_that_a_fork_wipes_is_not_pushed),
		TEST(a_page_that_the_child_cannot_have_is_poisoned),
		TEST(a_page_that_cannot_be_read_is_poisoned_in_the_child),
		TEST(more_children_than_the_collector_is_told_of_are_closed_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
