/* SPDX-License-Identifier: MIT */
/*
 * Work, calls, and the threads of an mm: real threads on the fake kernel.
 */
#include <pthread.h>

#include "mm/call.h"
#include "mm_fixture.h"

/* --- lists of work, run by the test ---------------- */

struct numbered {
	struct mm_work work;
	int number;
	struct fixture *f;
	struct mm_work *next;
};

static int order[16];
static size_t order_count;

static void run_numbered(struct mm_work *work)
{
	struct numbered *n = CONTAINER_OF(work, struct numbered, work);

	order[order_count++] = n->number;
	if (n->next)
		mm_work_queue(n->f->mm, n->next);
}

static void run_nothing(struct mm_work *work)
{
	(void)work;
}

static void work_runs_in_the_order_it_came_and_once(void **state)
{
	struct fixture *f = *state;
	struct numbered n[4];

	order_count = 0;
	for (int i = 0; i < 4; i++) {
		n[i] = (struct numbered){ .number = i, .f = f };
		mm_work_init(&n[i].work, run_numbered);
	}
	n[1].next = &n[1].work; /* queues itself again, once */
	assert_true(mm_work_queue(f->mm, &n[0].work));
	assert_true(mm_work_queue(f->mm, &n[1].work));
	assert_false(mm_work_queue(f->mm, &n[0].work));
	assert_true(mm_worker_step(f->mm));
	assert_true(mm_work_queue(f->mm, &n[2].work));
	assert_true(mm_work_queue_collector(f->mm, &n[3].work));
	assert_true(mm_worker_step(f->mm));
	n[1].next = NULL;
	while (mm_worker_step(f->mm))
		;
	assert_int_equal(order_count, 4);
	assert_int_equal(order[0], 0);
	assert_int_equal(order[1], 1);
	assert_int_equal(order[2], 2);
	assert_int_equal(order[3], 1);
	assert_true(mm_collector_step(f->mm));
	assert_false(mm_collector_step(f->mm));
	assert_int_equal(order[4], 3);
}

/* What the monitor queues late is there at once, and nobody is woken for it. */
static void late_work_wakes_nobody_until_its_time(void **state)
{
	struct fixture *f = *state;
	uint32_t work = wait_ticket(&f->mm->work.wait);
	uint32_t collect = wait_ticket(&f->mm->collect.wait);
	struct numbered n = { .number = 7, .f = f };
	uint64_t start;

	order_count = 0;
	mm_work_init(&n.work, run_numbered);
	assert_int_equal(mm_late_timeout(f->mm), BASE_FOREVER);
	base_host->self()->is_monitor = true;
	assert_true(mm_work_queue_collector_late(f->mm, &n.work));
	assert_false(mm_work_queue_late(f->mm, &n.work));
	assert_false(mm_late_run(f->mm));
	assert_int_equal(wait_ticket(&f->mm->collect.wait), collect);
	start = f->fake->clock_ns;
	assert_in_range(mm_late_timeout(f->mm), 900000, 1000000);
	while (mm_late_timeout(f->mm)) /* each look takes a microsecond */
		assert_in_range(f->fake->clock_ns, start, start + 1100000);
	assert_false(mm_late_run(f->mm));
	base_host->self()->is_monitor = false;
	assert_int_equal(wait_ticket(&f->mm->collect.wait), collect + 1);
	assert_int_equal(wait_ticket(&f->mm->work.wait), work);
	assert_int_equal(mm_late_timeout(f->mm), BASE_FOREVER);
	assert_true(mm_collector_step(f->mm));
	assert_int_equal(order[0], 7);
}

static void much_late_work_is_in_time(void **state)
{
	struct fixture *f = *state;
	uint32_t ticket = wait_ticket(&f->mm->work.wait);
	struct mm_work work[64];

	base_host->self()->is_monitor = true;
	for (size_t i = 0; i < 64; i++) {
		assert_false(mm_late_run(f->mm));
		mm_work_init(&work[i], run_nothing);
		assert_true(mm_work_queue_late(f->mm, &work[i]));
	}
	assert_int_equal(wait_ticket(&f->mm->work.wait), ticket);
	mm_late_run(f->mm);
	base_host->self()->is_monitor = false;
	assert_int_equal(wait_ticket(&f->mm->work.wait), ticket + 1);
	while (mm_worker_step(f->mm))
		;
}

static void others_than_the_monitor_are_never_late(void **state)
{
	struct fixture *f = *state;
	uint32_t ticket = wait_ticket(&f->mm->work.wait);
	struct mm_work work[2];

	mm_work_init(&work[0], run_nothing);
	mm_work_init(&work[1], run_nothing);
	assert_true(mm_work_queue_late(f->mm, &work[0]));
	assert_int_equal(wait_ticket(&f->mm->work.wait), ticket + 1);
	ticket = wait_ticket(&f->mm->collect.wait);
	assert_true(mm_work_queue_collector_late(f->mm, &work[1]));
	assert_int_equal(wait_ticket(&f->mm->collect.wait), ticket + 1);
	assert_int_equal(mm_late_timeout(f->mm), BASE_FOREVER);
	while (mm_worker_step(f->mm) || mm_collector_step(f->mm))
		;
}

/* A REMOVE is settled when the monitor finds nothing to read, and looks for that in time. */
static void what_was_announced_is_settled_later(void **state)
{
	struct fixture *f = *state;

	mm_lock(f->mm);
	assert_true(mm_is_settled(f->mm));
	mm_late_settle(f->mm);
	assert_int_equal(mm_late_timeout(f->mm), BASE_FOREVER);
	f->mm->remap_count++;
	mm_late_settle(f->mm);
	mm_unlock(f->mm, 0);
	assert_false(mm_late_run(f->mm));
	while (mm_late_timeout(f->mm))
		;
	assert_true(mm_late_run(f->mm));
	assert_false(mm_monitor_step(f->mm));
	mm_lock(f->mm);
	assert_true(mm_is_settled(f->mm));
	mm_unlock(f->mm, 0);
	assert_false(mm_late_run(f->mm));
}

/* --- threads ---------------- */

static struct fake_sys *fake;

static int start_threads(uint32_t workers, struct mm **mm)
{
	const struct mm_config config = { .worker_count = workers };
	int err;

	fake = fake_create(FAKE_ALL_FEATURES, true);
	fake_become(FAKE_PROGRAM);
	mm_process_lock();
	err = mm_create(&fake->sys, &config, mm);
	mm_process_unlock();
	return err;
}

static void stop(struct mm *mm)
{
	mm_process_lock();
	mm_destroy(mm);
	mm_process_unlock();
	fake_become(FAKE_WORKER);
	assert_int_equal(fake_destroy(fake), 0);
}

static void a_life_with_threads_ends(void **state)
{
	struct mm *mm;

	(void)state;
	for (uint32_t workers = 1; workers <= 8; workers++) {
		assert_int_equal(start_threads(workers, &mm), 0);
		assert_true(mm_can_migrate(mm, NULL));
		stop(mm);
	}
}

/* Each thread that is made can be the one that cannot; and what there was is given back. */
static void a_thread_that_cannot_be_made_fails_the_create(void **state)
{
	struct mm *mm = NULL;

	(void)state;
	for (uint64_t nth = 1;; nth++) {
		const struct mm_config config = { .worker_count = 2 };
		uint64_t before;
		int err;

		fake = fake_create(FAKE_ALL_FEATURES, true);
		fake_become(FAKE_PROGRAM);
		before = fake_page_bytes(fake);
		fake_fail(fake, "thread_create", nth, EAGAIN);
		mm_process_lock();
		err = mm_create(&fake->sys, &config, &mm);
		mm_process_unlock();
		if (!err) {
			assert_true(nth > 4); /* monitor, two workers, callers, collector */
			stop(mm);
			break;
		}
		assert_int_equal(err, -EAGAIN);
		assert_int_equal(fake_page_bytes(fake), before);
		fake_become(FAKE_WORKER);
		assert_int_equal(fake_destroy(fake), 0);
	}
}

/* A call that adds one in the slot's copy and says who ran it. */
struct add {
	uint64_t value;
	bool was_worker;
	struct mm *mm;
	uint32_t depth;
};

static int add_one(void *argument)
{
	struct add *a = argument;

	a->value++;
	a->was_worker = base_host->self()->is_worker;
	if (a->depth) {
		a->depth--;
		return mm_call(a->mm, add_one, a, sizeof(*a)); /* in place */
	}
	return (int)a->value;
}

static void *call_often(void *arg)
{
	struct add a = { .mm = arg };

	fake_become(FAKE_PROGRAM);
	for (int i = 0; i < 200; i++) {
		a.was_worker = false;
		a.depth = (uint32_t)i % 3;
		if (mm_call(a.mm, add_one, &a, sizeof(a)) != (int)a.value || !a.was_worker)
			return (void *)1;
	}
	return (void *)(uintptr_t)(a.value == 200 + 66 + 2 * 66 + 1 ? 0 : 2);
}

/* More threads than slots or workers: each call is run once, and its answer is its own. */
static void calls_of_many_threads_are_each_answered(void **state)
{
	pthread_t threads[40];
	struct mm *mm;

	(void)state;
	assert_int_equal(start_threads(2, &mm), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, call_often, mm), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		void *result;

		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_null(result);
	}
	stop(mm);
}

/* The program, the monitor and a worker, each on a thread of its own: the pages of a block
 * go and come while the CPU counts on one of them. */
struct block {
	struct mm *mm;
	uint64_t arena;
	struct fixture f; /* for the owner's ops: sys and mm */
	struct owner owner;
	uint32_t rounds;
};

static int block_create(void *argument)
{
	struct block *b = *(struct block **)argument;
	int err = mm_arena_create(b->mm, HUGE_BYTES, &b->arena);

	b->f.mm = b->mm;
	b->f.sys = mm_sys(b->mm);
	owner_init(&b->f, &b->owner, b->arena);
	return err;
}

static int block_take(void *argument)
{
	struct block *b = *(struct block **)argument;
	struct mm_take take = {
		.span = heap_span(0, 16),
		.owner = &b->owner.owner,
		.destination = b->arena,
		.moving = b->rounds & 1,
	};
	int err = mm_take(b->mm, &take);

	if (!err && take.moving && b->rounds & 2)
		mm_take_abort(b->mm, &take);
	else if (!err && take.moving)
		mm_take_finish(b->mm, &take);
	b->rounds++;
	return err;
}

static int block_destroy(void *argument)
{
	struct block *b = *(struct block **)argument;
	int err = mm_bring_home(b->mm, heap_span(0, 16), NULL);

	mm_arena_destroy(b->mm, b->arena, HUGE_BYTES);
	return err;
}

/* One touch by a thread of the program, asleep until the page is there. */
static void count_on(uint64_t addr)
{
	uint64_t one[2] = { 1, 0 };

	assert_int_equal(fake->sys.ops->access(&fake->sys, SYS_ACCESS_ADD, addr, one, 8), 0);
}

static void *count_thread(void *arg)
{
	fake_become(FAKE_PROGRAM);
	for (int i = 0; i < 300; i++)
		count_on(heap((uint64_t)(uintptr_t)arg + (uint64_t)i % 4));
	return NULL;
}

static void no_count_is_lost_while_pages_go_and_come(void **state)
{
	static struct block b;
	struct block *block = &b;
	pthread_t threads[2];

	(void)state;
	memset(&b, 0, sizeof(b));
	assert_int_equal(start_threads(2, &b.mm), 0);
	fake_map(fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	for (uint64_t i = 0; i < 16; i++)
		fake_set_tag(fake, heap(i), 0);
	assert_int_equal(mm_call(b.mm, block_create, &block, sizeof(block)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_thread,
						(void *)(uintptr_t)(2 * i)),
				 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(mm_call(b.mm, block_take, &block, sizeof(block)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(mm_call(b.mm, block_destroy, &block, sizeof(block)), 0);
	/* Threads count on pages 0..3 and 2..5, 75 times each. */
	for (uint64_t i = 0; i < 6; i++)
		assert_int_equal(fake_tag(fake, heap(i)), i == 2 || i == 3 ? 150 : 75);
	stop(b.mm);
}

/* --- waiting for pages that are MOVING ---------------- */

static int take_moving(void *argument)
{
	struct block *b = *(struct block **)argument;
	struct mm_take take = {
		.span = heap_span(0, 16),
		.owner = &b->owner.owner,
		.destination = b->arena,
		.moving = true,
	};

	return mm_take(b->mm, &take);
}

static int finish_moving(void *argument)
{
	struct block *b = *(struct block **)argument;
	struct mm_take take = {
		.span = heap_span(0, 16),
		.owner = &b->owner.owner,
		.destination = b->arena,
	};

	mm_take_finish(b->mm, &take);
	return 0;
}

static int evict(void *argument)
{
	struct block *b = *(struct block **)argument;

	return mm_evict_owner(b->mm, &b->owner.owner);
}

static void *evict_thread(void *arg)
{
	struct block *b = arg;
	int err;

	fake_become(FAKE_PROGRAM);
	err = mm_call(b->mm, evict, &b, sizeof(b));
	return (void *)(intptr_t)err;
}

static void an_eviction_waits_for_pages_that_move(void **state)
{
	static struct block b;
	struct block *block = &b;
	pthread_t thread;
	void *result;

	(void)state;
	memset(&b, 0, sizeof(b));
	assert_int_equal(start_threads(2, &b.mm), 0);
	fake_map(fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	for (uint64_t i = 0; i < 16; i++)
		fake_set_tag(fake, heap(i), tag_of(i));
	assert_int_equal(mm_call(b.mm, block_create, &block, sizeof(block)), 0);
	assert_int_equal(mm_call(b.mm, take_moving, &block, sizeof(block)), 0);
	assert_int_equal(pthread_create(&thread, NULL, evict_thread, block), 0);
	assert_int_equal(mm_call(b.mm, finish_moving, &block, sizeof(block)), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_null(result);
	assert_int_equal(mm_entry_pages(b.mm), 0);
	assert_int_equal(mm_call(b.mm, block_destroy, &block, sizeof(block)), 0);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(fake_tag(fake, heap(i)), tag_of(i));
	stop(b.mm);
}

/* The collector is about to close a child's userfaultfd. */
struct closing {
	struct mm *mm;
	uint32_t began, over, forked; /* atomic */
};

static void close_slowly(void *arg, const char *op)
{
	struct closing *c = arg;

	if (strcmp(op, "uffd_close") != 0)
		return;
	ATOMIC_STORE(&c->began, 1u);
	while (!ATOMIC_LOAD(&c->mm->children_closed.waiters) && !ATOMIC_LOAD(&c->forked))
		base_host->cpu_yield();
	ATOMIC_STORE(&c->over, 1u);
}

static int watch_heap(void *argument)
{
	const struct sys_vma vma = { .span = HEAP_VMA, .kind = SYS_VMA_ANON_PRIVATE,
				     .prot = READ_WRITE };

	return mm_vma_watch(*(struct mm **)argument, &vma);
}

static void a_fork_waits_for_a_close_that_has_begun(void **state)
{
	struct closing c = { .mm = NULL };

	(void)state;
	assert_int_equal(start_threads(2, &c.mm), 0);
	fake_map(fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(mm_call(c.mm, watch_heap, &c.mm, sizeof(c.mm)), 0);
	fake->hooks.prepare();
	fake->hook_arg = &c;
	fake->op_hook = close_slowly;
	fake_fork(fake, false);
	while (!ATOMIC_LOAD(&c.began))
		base_host->cpu_yield();
	fake->hooks.parent();
	assert_true(ATOMIC_LOAD(&c.over));
	ATOMIC_STORE(&c.forked, 1u);
	fake->op_hook = NULL;
	stop(c.mm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(work_runs_in_the_order_it_came_and_once),
		TEST(late_work_wakes_nobody_until_its_time),
		TEST(much_late_work_is_in_time),
		TEST(others_than_the_monitor_are_never_late),
		TEST(what_was_announced_is_settled_later),
		cmocka_unit_test(a_life_with_threads_ends),
		cmocka_unit_test(a_thread_that_cannot_be_made_fails_the_create),
		cmocka_unit_test(calls_of_many_threads_are_each_answered),
		cmocka_unit_test(no_count_is_lost_while_pages_go_and_come),
		cmocka_unit_test(an_eviction_waits_for_pages_that_move),
		cmocka_unit_test(a_fork_waits_for_a_close_that_has_begun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
