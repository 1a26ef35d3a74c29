/* SPDX-License-Identifier: MIT */
/*
 * fake_sys_test.c - fork, looking, guarded access and the host of the fake kernel.
 *
 * Other unit tests stand on these behaviours; where the fake is kinder than the
 * kernel a test of a layer above proves nothing.
 */
#include "base/atomic.h"
#include "base/wait.h"
#include "fake_fixture.h"

/* --- fork: U-33 to U-37 ---------------- */

static void a_child_is_served_through_its_own_userfaultfd(void **state)
{
	struct fixture *f = *state;
	struct sys_event event;
	uint64_t moved;
	int child;

	assert_int_equal(move(f, f->arena, HEAP, 1, 0, &moved), 0);
	child = fake_fork(f->fake, false);
	assert_int_equal(f->ops->uffd_read(f->sys, f->uffd, &event), 0);
	assert_int_equal(event.type, SYS_EVENT_FORK);
	assert_int_not_equal(event.child_uffd, f->uffd);
	assert_int_equal(zeropage(f, PAGE_OF(f->arena, 9)), -EAGAIN);
	assert_int_equal(f->ops->uffd_copy(f->sys, event.child_uffd, HEAP, f->arena,
					   PAGE_BYTES, &moved),
			 0);
	fake_enter(f->fake, child);
	assert_int_equal(fake_tag(f->fake, HEAP), 1);
	assert_int_equal(fake_tag(f->fake, PAGE_OF(HEAP, 1)), 2);
	assert_int_equal(fake_touch(f->fake, f->arena, false), -EFAULT); /* DONTFORK */
	fake_munmap(f->fake, HEAP_SPAN);
	expect_event(f, event.child_uffd, SYS_EVENT_UNMAP, HEAP_SPAN);
	fake_enter(f->fake, 0);
	assert_int_equal(fake_page(f->fake, HEAP), 0);
	assert_int_equal(fake_tag(f->fake, PAGE_OF(HEAP, 1)), 2);
	fake_exit(f->fake, child);
	assert_int_equal(f->ops->uffd_read(f->sys, event.child_uffd, &event), -EAGAIN);
	assert_int_equal(f->ops->uffd_copy(f->sys, event.child_uffd, HEAP, f->arena,
					   PAGE_BYTES, &moved),
			 -ESRCH);
}

static void closing_a_childs_userfaultfd_makes_its_holes_zero(void **state)
{
	struct fixture *f = *state;
	struct sys_event event;
	int child;

	f->ops->empty(f->sys, HEAP_SPAN);
	child = fake_fork(f->fake, false);
	assert_int_equal(f->ops->uffd_read(f->sys, f->uffd, &event), 0);
	fake_enter(f->fake, child);
	assert_int_equal(fake_touch(f->fake, HEAP, false), -EAGAIN);
	f->ops->uffd_close(f->sys, event.child_uffd);
	assert_int_equal(fake_blocked(f->fake, HEAP_SPAN), 0);
	assert_int_equal(fake_touch(f->fake, HEAP, false), 0);
}

static void without_event_fork_a_child_reads_zeros(void **state)
{
	struct fixture *f = *state;
	uint64_t moved;

	f->sys->features &= ~(uint32_t)SYS_FEATURE_EVENT_FORK;
	assert_int_equal(move(f, f->arena, HEAP, 1, 0, &moved), 0);
	fake_enter(f->fake, fake_fork(f->fake, false));
	assert_int_equal(fake_registered(f->fake, HEAP), 0);
	assert_int_equal(fake_touch(f->fake, HEAP, false), 0);
	assert_int_equal(fake_tag(f->fake, HEAP), 0);
	expect_nothing(f);
}

static int prepared;

static void count_prepare(void)
{
	prepared++;
}

static void fork_calls_the_hooks_and_tells_nobody_if_nothing_is_inherited(void **state)
{
	struct fixture *f = *state;
	struct sys_fork_hooks hooks = { .prepare = count_prepare };

	prepared = 0;
	assert_int_equal(f->ops->fork_hooks(f->sys, &hooks), 0);
	assert_int_equal(fake_madvise(f->fake, HEAP_SPAN, SYS_ADVICE_DONTFORK), 0);
	fake_fork(f->fake, false);
	assert_int_equal(prepared, 0);
	fake_fork(f->fake, true);
	assert_int_equal(prepared, 1);
	expect_nothing(f);
}

/* --- the rest ---------------- */

static void registration_upgrades_and_belongs_to_one(void **state)
{
	struct fixture *f = *state;
	struct span none = span_make(FAKE_BASE + MIB(64), MIB(2));
	struct sys_vma vma;
	int other;

	assert_int_equal(
		f->ops->uffd_register(f->sys, f->uffd, HEAP_SPAN, SYS_REGISTER_WP), 0);
	assert_int_equal(fake_registered(f->fake, HEAP), BOTH_MODES);
	assert_int_equal(f->ops->uffd_open(f->sys, &other), 0);
	assert_int_equal(f->ops->uffd_register(f->sys, other, HEAP_SPAN, BOTH_MODES),
			 -EBUSY);
	assert_int_equal(f->ops->uffd_register(f->sys, f->uffd, none, BOTH_MODES),
			 -ENOENT);
	/* A part is a VMA of its own, and the whole is one again. */
	assert_int_equal(
		f->ops->uffd_unregister(f->sys, f->uffd, span_make(HEAP, PAGE_BYTES)), 0);
	assert_int_equal(f->ops->vma_query(f->sys, PAGE_OF(HEAP, 4), false, &vma), 0);
	assert_int_equal(vma.span.start, PAGE_OF(HEAP, 1));
	assert_int_equal(f->ops->uffd_register(f->sys, f->uffd, HEAP_SPAN, BOTH_MODES),
			 0);
	assert_int_equal(f->ops->vma_query(f->sys, PAGE_OF(HEAP, 4), false, &vma), 0);
	assert_int_equal(vma.span.start, HEAP);
	assert_int_equal(vma.kind, SYS_VMA_ANON_PRIVATE);
	assert_int_equal(vma.prot, READ_WRITE);
}

static void page_scan_tells_runs(void **state)
{
	struct fixture *f = *state;
	struct sys_page_run runs[4];
	size_t count;
	uint64_t end;

	f->ops->empty(f->sys, span_make(PAGE_OF(HEAP, 2), PAGE_BYTES));
	zeropage(f, PAGE_OF(HEAP, 2));
	f->ops->empty(f->sys, span_make(PAGE_OF(HEAP, 4), PAGE_BYTES));
	f->ops->uffd_writeprotect(f->sys, f->uffd,
				  span_make(PAGE_OF(HEAP, 6), PAGE_BYTES), true);
	fake_guard(f->fake, span_make(PAGE_OF(HEAP, 7), PAGE_BYTES));
	assert_int_equal(f->ops->page_scan(f->sys, HEAP_SPAN, runs, 4, &count, &end), 0);
	assert_int_equal(count, 4);
	assert_int_equal(end, PAGE_OF(HEAP, 6)); /* there was no room for the next run */
	assert_int_equal(span_pages(runs[0].span), 2);
	assert_int_equal(runs[0].flags, SYS_PAGE_PRESENT | SYS_PAGE_WRITTEN);
	assert_true(runs[1].flags & SYS_PAGE_ZERO);
	assert_int_equal(runs[3].span.start, PAGE_OF(HEAP, 5));
	assert_int_equal(f->ops->page_scan(f->sys, (struct span){ end, HEAP_SPAN.end },
					   runs, 4, &count, &end),
			 0);
	assert_int_equal(count, 2);
	assert_int_equal(runs[0].flags, SYS_PAGE_PRESENT); /* not written since */
	assert_true(runs[1].flags & SYS_PAGE_GUARD);
	assert_int_equal(fake_touch(f->fake, PAGE_OF(HEAP, 6), true), 0);
	f->ops->page_scan(f->sys, span_make(PAGE_OF(HEAP, 6), PAGE_BYTES), runs, 4,
			  &count, &end);
	assert_true(runs[0].flags & SYS_PAGE_WRITTEN);
}

static void without_wp_async_a_protected_write_faults(void **state)
{
	struct fixture *f = *state;

	f->sys->features &= ~(uint32_t)SYS_FEATURE_WP_ASYNC;
	f->ops->uffd_writeprotect(f->sys, f->uffd, HEAP_SPAN, true);
	assert_int_equal(fake_touch(f->fake, HEAP, false), 0);
	assert_int_equal(fake_touch(f->fake, HEAP, true), -EAGAIN);
	expect_fault(f, HEAP, SYS_FAULT_WRITE | SYS_FAULT_WP);
	f->ops->uffd_writeprotect(f->sys, f->uffd, HEAP_SPAN, false);
	assert_int_equal(fake_blocked(f->fake, HEAP_SPAN), 1);
	f->ops->uffd_wake(f->sys, f->uffd, HEAP_SPAN);
	assert_int_equal(fake_blocked(f->fake, HEAP_SPAN), 0);
	assert_int_equal(fake_touch(f->fake, HEAP, true), 0);
}

static void what_is_written_through_a_pointer_is_a_page(void **state)
{
	struct fixture *f = *state;
	uint64_t moved;
	uint64_t tag = 77;
	void *memory = f->ops->pointer(f->sys, f->arena, PAGE_BYTES);

	assert_int_equal(fake_page(f->fake, f->arena), 0);
	memcpy(memory, &tag, sizeof(tag));
	assert_int_equal(fake_page(f->fake, f->arena), SYS_PAGE_PRESENT);
	f->ops->empty(f->sys, span_make(HEAP, PAGE_BYTES));
	assert_int_equal(move(f, HEAP, f->arena, 1, 0, &moved), 0);
	assert_int_equal(fake_tag(f->fake, HEAP), 77);
	assert_int_equal(fake_page(f->fake, f->arena), 0);
}

static void serve_with_zeros(void *arg)
{
	struct fixture *f = arg;
	struct sys_event event;

	assert_int_equal(f->ops->uffd_read(f->sys, f->uffd, &event), 0);
	assert_int_equal(zeropage(f, event.addr), 0);
}

static void guarded_access_waits_in_the_hook_and_crosses_pages(void **state)
{
	struct fixture *f = *state;
	uint32_t word = 0xffffffff;

	f->fake->fault_hook = serve_with_zeros;
	f->fake->hook_arg = f;
	f->ops->empty(f->sys, span_make(PAGE_OF(HEAP, 1), PAGE_BYTES));
	assert_int_equal(
		f->ops->access(f->sys, SYS_ACCESS_READ, PAGE_OF(HEAP, 1) - 2, &word, 4),
		0);
	assert_int_equal(word, 0);
	assert_int_equal(fake_page(f->fake, PAGE_OF(HEAP, 1)),
			 SYS_PAGE_PRESENT | SYS_PAGE_ZERO);
	word = 0x01020304;
	assert_int_equal(
		f->ops->access(f->sys, SYS_ACCESS_WRITE, PAGE_OF(HEAP, 1) - 2, &word, 4),
		0);
	assert_int_equal(fake_tag(f->fake, PAGE_OF(HEAP, 1)), 0x0102);
	assert_int_equal(f->ops->access(f->sys, SYS_ACCESS_READ, HEAP - 1, &word, 1),
			 -EFAULT);
	fake_fail(f->fake, "access", 2, EINTR);
	assert_int_equal(f->ops->access(f->sys, SYS_ACCESS_READ, HEAP, &word, 1), 0);
	assert_int_equal(f->ops->access(f->sys, SYS_ACCESS_READ, HEAP, &word, 1), -EINTR);
	assert_int_equal(f->ops->access(f->sys, SYS_ACCESS_READ, HEAP, &word, 1), 0);
}

static void atomics_compute_in_their_own_size(void **state)
{
	static const struct {
		enum sys_access_op op;
		uint64_t operand, compare, after;
	} cases[] = {
		/* each on the 32-bit word 0xfffffff0, next to a word of ones */
		{ SYS_ACCESS_ADD, 0x20, 0, 0x10 },
		{ SYS_ACCESS_SUB, 1, 0, 0xffffffef },
		{ SYS_ACCESS_AND, 0xff, 0, 0xf0 },
		{ SYS_ACCESS_OR, 1, 0, 0xfffffff1 },
		{ SYS_ACCESS_XOR, 0xf1, 0, 0xffffff01 },
		{ SYS_ACCESS_EXCHANGE, 7, 0, 7 },
		{ SYS_ACCESS_COMPARE_EXCHANGE, 7, 0xfffffff0, 7 },
		{ SYS_ACCESS_COMPARE_EXCHANGE, 7, 1, 0xfffffff0 },
		{ SYS_ACCESS_MIN, 7, 0, 7 },
		{ SYS_ACCESS_MAX, 7, 0, 0xfffffff0 },
		{ SYS_ACCESS_SIGNED_MIN, 7, 0, 0xfffffff0 },
		{ SYS_ACCESS_SIGNED_MAX, 7, 0, 7 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t arguments[2] = { cases[i].operand, cases[i].compare };

		fake_set_tag(f->fake, HEAP, 0xfffffffffffffff0);
		assert_int_equal(f->ops->access(f->sys, cases[i].op, HEAP, arguments, 4),
				 0);
		assert_int_equal(arguments[0], 0xfffffff0);
		assert_int_equal(fake_tag(f->fake, HEAP),
				 0xffffffff00000000 | cases[i].after);
	}
}

static void the_nth_call_fails_and_calls_are_counted(void **state)
{
	struct fixture *f = *state;
	void *pages;

	f->ops->barrier(f->sys);
	f->ops->uffd_kick(f->sys);
	assert_int_equal(fake_calls(f->fake, "barrier"), 1);
	assert_int_equal(fake_calls(f->fake, "uffd_kick"), 1);
	assert_int_equal(f->ops->uffd_wait(f->sys, f->uffd, BASE_FOREVER), 0);
	assert_int_equal(f->ops->uffd_wait(f->sys, f->uffd, 5), -ETIMEDOUT);
	fake_fail(f->fake, "pages_alloc", 1, ENOMEM);
	assert_null(base_host->pages_alloc(PAGE_BYTES));
	pages = base_host->pages_alloc(PAGE_BYTES);
	assert_non_null(pages);
	assert_int_equal(fake_page_bytes(f->fake), PAGE_BYTES);
	base_host->pages_free(pages, PAGE_BYTES);
}

static void what_would_hang_a_test_of_one_thread_dies(void **state)
{
	static bool died;
	uint32_t word = 0;

	(void)state;
	FAKE_DIES(&died, base_host->park(&word, 0, BASE_FOREVER));
	assert_true(died);
}

static void a_thread_plays_one_part_at_a_time(void **state)
{
	struct base_thread *worker = base_host->self();

	(void)state;
	assert_true(worker->is_library && !worker->is_monitor);
	assert_int_equal(fake_become(FAKE_MONITOR), FAKE_WORKER);
	assert_true(base_host->self()->is_monitor);
	assert_int_equal(fake_become(FAKE_PROGRAM), FAKE_MONITOR);
	assert_false(base_host->self()->is_library);
	fake_become(FAKE_WORKER);
	assert_ptr_equal(base_host->self(), worker);
}

static struct wait thread_wait;
static uint32_t thread_done; /* atomic */

static void serve_one_fault(void *arg)
{
	struct fixture *f = arg;

	assert_true(base_host->self()->is_monitor);
	assert_int_equal(f->ops->uffd_wait(f->sys, f->uffd, BASE_FOREVER), 0);
	serve_with_zeros(f);
	ATOMIC_STORE(&thread_done, 1u);
	wait_wake_all(&thread_wait);
}

static void real_threads_sleep_and_are_woken(void **state)
{
	static struct fixture f;
	struct sys_thread_attr attr = { .name = "monitor",
					.run = serve_one_fault,
					.arg = &f,
					.flags = SYS_THREAD_MONITOR };
	struct sys_thread *thread;
	uint64_t word = 1;

	(void)state;
	f.fake = fake_create(FAKE_ALL_FEATURES, true);
	f.sys = &f.fake->sys;
	f.ops = f.sys->ops;
	fake_map(f.fake, HEAP_SPAN, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(f.ops->uffd_open(f.sys, &f.uffd), 0);
	assert_int_equal(f.ops->uffd_register(f.sys, f.uffd, HEAP_SPAN, BOTH_MODES), 0);
	wait_init(&thread_wait);
	ATOMIC_STORE(&thread_done, 0u);
	assert_int_equal(f.ops->thread_create(f.sys, &attr, &thread), 0);
	assert_int_equal(f.ops->access(f.sys, SYS_ACCESS_READ, HEAP, &word, 8), 0);
	assert_int_equal(word, 0);
	for (;;) {
		uint32_t ticket = wait_ticket(&thread_wait);

		if (ATOMIC_LOAD(&thread_done))
			break;
		wait_sleep(&thread_wait, ticket, BASE_FOREVER);
	}
	f.ops->thread_join(f.sys, thread);
	assert_int_equal(fake_destroy(f.fake), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_child_is_served_through_its_own_userfaultfd),
		TEST(closing_a_childs_userfaultfd_makes_its_holes_zero),
		TEST(without_event_fork_a_child_reads_zeros),
		TEST(fork_calls_the_hooks_and_tells_nobody_if_nothing_is_inherited),
		TEST(registration_upgrades_and_belongs_to_one),
		TEST(page_scan_tells_runs),
		TEST(without_wp_async_a_protected_write_faults),
		TEST(what_is_written_through_a_pointer_is_a_page),
		TEST(guarded_access_waits_in_the_hook_and_crosses_pages),
		TEST(atomics_compute_in_their_own_size),
		TEST(the_nth_call_fails_and_calls_are_counted),
		TEST(what_would_hang_a_test_of_one_thread_dies),
		TEST(a_thread_plays_one_part_at_a_time),
		cmocka_unit_test(real_threads_sleep_and_are_woken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
