/* SPDX-License-Identifier: MIT */
/*
 * Notifiers and their sequence (N1), stopping engines around each read (laws 7, 16), the
 * event log (law 4), and engines that fault as a CPU.
 */
#include "mm_fixture.h"

/* A binder: notes what it hears, and keeps a translation that must be revoked. */
struct binder {
	struct mm_notifier notifier;
	struct lock lock; /* that invalidate() takes too */
	bool bound;       /* to a frame on the device */
	bool follows;     /* it binds as soon as invalidate() lets go of the lock */
	uint64_t seq;     /* of what it collected */
	struct mm_event events[16];
	size_t count;
};

static void binder_invalidate(struct mm_notifier *notifier, const struct mm_event *event)
{
	struct binder *b = CONTAINER_OF(notifier, struct binder, notifier);

	lock_assert_monitor();
	assert_true(span_covers(notifier->node.span, event->span));
	lock_acquire(&b->lock);
	b->bound = false;
	lock_release(&b->lock);
	if (b->follows)
		b->bound = !mm_notifier_read_retry(notifier, b->seq);
	if (b->count < ARRAY_SIZE(b->events))
		b->events[b->count++] = *event;
}

static const struct mm_notifier_ops binder_ops = { .invalidate = binder_invalidate };

static void binder_start(struct fixture *f, struct binder *b, struct span span)
{
	memset(b, 0, sizeof(*b));
	lock_init(&b->lock, LOCK_GPUSVM_NOTIFIER, "binder");
	mm_notifier_insert(f->mm, &b->notifier, span, &binder_ops);
}

static void expect_event(const struct binder *b, size_t i, enum mm_event_type type,
			 struct span span)
{
	assert_true(i < b->count);
	assert_int_equal(b->events[i].type, type);
	assert_int_equal(b->events[i].span.start, span.start);
	assert_int_equal(b->events[i].span.end, span.end);
}

/* --- who hears what ---------------- */

static void a_notifier_hears_of_its_own_span_only(void **state)
{
	struct fixture *f = *state;
	struct binder low, high;

	binder_start(f, &low, heap_span(0, 8));
	binder_start(f, &high, heap_span(8, 8));
	heap_fill(f, 0, 16);
	assert_int_equal(take_pages(f, 0, 1), 1);
	low.count = 0;
	fake_munmap(f->fake, heap_span(6, 4));
	settle(f);
	expect_event(&low, 0, MM_EVENT_UNMAP, heap_span(6, 2));
	expect_event(&high, 0, MM_EVENT_UNMAP, heap_span(8, 2));
	assert_int_equal(low.count, 1);
	assert_int_equal(high.count, 1);
	mm_notifier_remove(f->mm, &low.notifier);
	fake_munmap(f->fake, heap_span(0, 16));
	settle(f);
	assert_int_equal(low.count, 1);
	assert_int_equal(high.count, 2);
	mm_notifier_remove(f->mm, &high.notifier);
}

static void each_kind_of_change_is_told(void **state)
{
	struct fixture *f = *state;
	struct binder b;

	binder_start(f, &b, HEAP_VMA);
	heap_fill(f, 0, 8);
	assert_int_equal(take_pages(f, 0, 4), 4);
	assert_true(b.count >= 1);
	expect_event(&b, b.count - 1, MM_EVENT_MIGRATE, heap_span(0, 4));
	b.count = 0;
	assert_int_equal(cpu_read(f, heap(1)), tag_of(1));
	expect_event(&b, 0, MM_EVENT_FAULT, heap_span(1, 1));
	b.count = 0;
	assert_int_equal(fake_madvise(f->fake, heap_span(2, 1), SYS_ADVICE_DONTNEED), 0);
	finish_remove(f);
	expect_event(&b, 0, MM_EVENT_CLEAR, heap_span(2, 1));
	b.count = 0;
	assert_int_equal(fake_mremap(f->fake, heap_span(3, 1), heap(20), false), 0);
	settle(f);
	/* What stood at the new place goes first. */
	expect_event(&b, 0, MM_EVENT_UNMAP, heap_span(20, 1));
	expect_event(&b, 1, MM_EVENT_UNMAP, heap_span(3, 1));
	expect_event(&b, 2, MM_EVENT_UNMAP, heap_span(20, 1));
	expect_event(&b, 3, MM_EVENT_UNMAP, heap_span(3, 1));
	mm_notifier_remove(f->mm, &b.notifier);
}

/* --- N1 ---------------- */

/* Changes of the pages under the binder, each a reason to collect anew. */
static void change_by_cpu_fault(struct fixture *f)
{
	assert_int_equal(cpu_read(f, heap(0)), tag_of(0));
}

static void change_by_unmap(struct fixture *f)
{
	fake_munmap(f->fake, heap_span(0, 1));
	settle(f);
}

static void change_by_remove(struct fixture *f)
{
	fake_madvise(f->fake, heap_span(0, 1), SYS_ADVICE_DONTNEED);
	finish_remove(f);
}

static void change_by_remap(struct fixture *f)
{
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 1), OTHER, false), 0);
	settle(f);
}

static void change_by_eviction(struct fixture *f)
{
	assert_int_equal(mm_evict_owner(f->mm, &f->owner.owner), 0);
}

/* A binder looks where the page is and binds it, as gpusvm does; @change comes at @point. */
static bool collect_and_bind(struct fixture *f, struct binder *b, int point,
			     void (*change)(struct fixture *f))
{
	uint64_t seq;
	bool on_device, retry;

	if (point == 0)
		change(f);
	seq = mm_notifier_read_begin(&b->notifier);
	if (point == 1)
		change(f);
	on_device = is_on_device(f, heap(0));
	if (point == 2)
		change(f);
	lock_acquire(&b->lock);
	retry = mm_notifier_read_retry(&b->notifier, seq);
	if (!retry)
		b->bound = on_device;
	lock_release(&b->lock);
	if (point == 3)
		change(f);
	return !retry;
}

static void no_binding_survives_a_change_at_any_point(void **state)
{
	void (*const changes[])(struct fixture *) = { change_by_cpu_fault,
						      change_by_unmap, change_by_remove,
						      change_by_remap,
						      change_by_eviction };
	struct fixture *f = *state;
	struct binder b;

	binder_start(f, &b, HEAP_VMA);
	for (size_t i = 0; i < ARRAY_SIZE(changes) * 4; i++) {
		int point = (int)(i % 4);

		change_by_eviction(f); /* what a mremap() left elsewhere */
		fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
		settle(f);
		heap_fill(f, 0, 1);
		assert_int_equal(take_pages(f, 0, 1), 1);
		/* Before the begin: it sees the change. Between: it retries. After: revoked. */
		assert_int_equal(collect_and_bind(f, &b, point, changes[i / 4]),
				 point == 0 || point == 3);
		assert_false(is_on_device(f, heap(0)));
		assert_false(b.bound);
	}
	mm_notifier_remove(f->mm, &b.notifier);
}

/* The sequence changes before the call: else it would not have changed yet. */
static void who_binds_right_behind_the_revocation_retries(void **state)
{
	struct fixture *f = *state;
	struct binder b;

	binder_start(f, &b, HEAP_VMA);
	heap_fill(f, 0, 1);
	assert_int_equal(take_pages(f, 0, 1), 1);
	b.seq = mm_notifier_read_begin(&b.notifier);
	b.follows = true;
	change_by_cpu_fault(f);
	assert_false(is_on_device(f, heap(0)));
	assert_false(b.bound);
	mm_notifier_remove(f->mm, &b.notifier);
}

static void a_binding_with_no_change_is_kept(void **state)
{
	struct fixture *f = *state;
	struct binder b;

	binder_start(f, &b, heap_span(0, 8));
	heap_fill(f, 0, 16);
	assert_int_equal(take_pages(f, 0, 4), 4);
	assert_true(collect_and_bind(f, &b, -1, NULL));
	assert_true(b.bound);
	/* Something else, elsewhere. */
	assert_int_equal(take_pages(f, 10, 2), 2);
	fake_munmap(f->fake, heap_span(10, 1));
	settle(f);
	assert_true(b.bound);
	mm_notifier_remove(f->mm, &b.notifier);
}

/* --- stopping engines ---------------- */

/* What was called, a letter each: s)top b)arrier w)ait r)ead i)nvalidate z)resume m)ove. */
struct engines {
	struct mm_quiesce quiesce;
	bool active;
	int stopped;
};

static char calls[256];

static void note(char call)
{
	size_t n = strlen(calls);

	if (n + 1 < sizeof(calls))
		calls[n] = call;
}

static bool engines_stop(void *user)
{
	struct engines *e = user;

	lock_assert_monitor();
	e->stopped++;
	note('s');
	return e->active;
}

static void engines_wait(void *user)
{
	assert_int_equal(((struct engines *)user)->stopped, 1);
	note('w');
}

static void engines_resume(void *user)
{
	struct engines *e = user;

	assert_int_equal(e->stopped, 1);
	e->stopped--;
	note('z');
}

static const struct mm_quiesce_ops engine_ops = {
	.stop = engines_stop,
	.wait_stopped = engines_wait,
	.resume = engines_resume,
};

static void note_op(void *arg UNUSED, const char *op)
{
	if (!strcmp(op, "barrier"))
		note('b');
	if (!strcmp(op, "uffd_read"))
		note('r');
	if (!strcmp(op, "uffd_move"))
		note('m');
}

static void note_invalidate(struct mm_notifier *notifier UNUSED,
			    const struct mm_event *event UNUSED)
{
	note('i');
}

static const struct mm_notifier_ops note_ops = { .invalidate = note_invalidate };

static void engines_start(struct fixture *f, struct engines *e, bool active)
{
	*e = (struct engines){ .active = active };
	e->quiesce.ops = &engine_ops;
	e->quiesce.user = e;
	mm_quiesce_insert(f->mm, &e->quiesce);
	memset(calls, 0, sizeof(calls));
	f->fake->op_hook = note_op;
}

static void engines_stand_still_around_each_read_of_one_message(void **state)
{
	struct fixture *f = *state;
	struct mm_notifier notifier;
	struct engines e;

	heap_fill(f, 0, 4);
	assert_int_equal(take_pages(f, 0, 4), 4);
	mm_notifier_insert(f->mm, &notifier, HEAP_VMA, &note_ops);
	fake_munmap(f->fake, heap_span(0, 1));
	fake_munmap(f->fake, heap_span(1, 1));
	engines_start(f, &e, true);
	assert_true(monitor_step(f));
	assert_string_equal(calls, "sbwriz");
	assert_true(monitor_step(f));
	assert_string_equal(calls, "sbwrizsbwriz");
	assert_false(monitor_step(f));
	assert_string_equal(calls, "sbwrizsbwrizsbwrz");
	mm_quiesce_remove(f->mm, &e.quiesce);
	mm_notifier_remove(f->mm, &notifier);
}

static void idle_engines_cost_no_barrier(void **state)
{
	struct fixture *f = *state;
	struct engines e, second;

	heap_fill(f, 0, 1);
	assert_int_equal(take_pages(f, 0, 1), 1);
	engines_start(f, &second, false);
	engines_start(f, &e, false);
	fake_munmap(f->fake, heap_span(0, 1));
	assert_true(monitor_step(f));
	assert_string_equal(calls, "ssrzz");
	e.active = true; /* one of two is enough to wait for both */
	memset(calls, 0, sizeof(calls));
	assert_false(monitor_step(f));
	assert_string_equal(calls, "ssbwwrzz");
	mm_quiesce_remove(f->mm, &e.quiesce);
	mm_quiesce_remove(f->mm, &second.quiesce);
}

/* Homecoming by a CPU fault: revoked before the move, and no engine runs in between. */
static void pages_are_revoked_before_they_come_home(void **state)
{
	struct fixture *f = *state;
	struct mm_notifier notifier;
	struct engines e;

	heap_fill(f, 0, 1);
	assert_int_equal(take_pages(f, 0, 1), 1);
	mm_notifier_insert(f->mm, &notifier, HEAP_VMA, &note_ops);
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EAGAIN);
	engines_start(f, &e, true);
	assert_true(monitor_step(f));
	assert_string_equal(calls, "sbwrimz");
	mm_quiesce_remove(f->mm, &e.quiesce);
	mm_notifier_remove(f->mm, &notifier);
}

/* Law 16; and once more under the lock of the move, for who bound meanwhile. */
static void pages_are_revoked_before_they_are_taken(void **state)
{
	struct fixture *f = *state;
	struct mm_notifier notifier;
	struct engines e;

	heap_fill(f, 0, 1);
	mm_notifier_insert(f->mm, &notifier, HEAP_VMA, &note_ops);
	engines_start(f, &e, true);
	assert_int_equal(take_pages(f, 0, 1), 1);
	assert_string_equal(calls, "sbwizsbwizm");
	memset(calls, 0, sizeof(calls));
	assert_int_equal(mm_evict_owner(f->mm, &f->owner.owner), 0);
	assert_string_equal(calls, "sbwizm");
	mm_quiesce_remove(f->mm, &e.quiesce);
	mm_notifier_remove(f->mm, &notifier);
}

static void nobody_is_stopped_for_what_nobody_translates(void **state)
{
	struct fixture *f = *state;
	struct engines e;

	heap_fill(f, 0, 1);
	engines_start(f, &e, true);
	assert_int_equal(take_pages(f, 0, 1), 1);
	assert_string_equal(calls, "m");
	mm_quiesce_remove(f->mm, &e.quiesce);
}

/* --- the event log ---------------- */

static bool changed(struct fixture *f, uint64_t seq, struct span span)
{
	bool is;

	mm_lock(f->mm);
	is = mm_changed_since(f->mm, seq, span);
	mm_unlock(f->mm, 0);
	return is;
}

static void log_event(struct fixture *f, struct span span)
{
	mm_lock(f->mm);
	mm_log_locked(f->mm, span);
	mm_unlock(f->mm, 0);
}

static void the_log_tells_what_changed_and_an_overrun_is_a_change(void **state)
{
	struct fixture *f = *state;
	uint64_t seq = f->mm->event_seq;

	assert_false(changed(f, seq, heap_span(0, 1)));
	log_event(f, heap_span(4, 2));
	assert_false(changed(f, seq, heap_span(0, 4)));
	assert_true(changed(f, seq, heap_span(5, 1)));
	assert_false(changed(f, seq, heap_span(6, 1)));
	assert_false(changed(f, f->mm->event_seq, heap_span(5, 1)));
	for (int i = 1; i < MM_LOG_MAX; i++)
		log_event(f, heap_span(100, 1));
	assert_false(changed(f, seq, heap_span(0, 4)));
	assert_true(changed(f, seq, heap_span(5, 1)));
	log_event(f, heap_span(100, 1));
	assert_true(changed(f, seq, heap_span(0, 4)));
}

static void each_event_is_logged(void **state)
{
	struct fixture *f = *state;
	uint64_t seq;

	heap_fill(f, 0, 16);
	assert_int_equal(take_pages(f, 0, 1), 1);
	seq = f->mm->event_seq;
	fake_munmap(f->fake, heap_span(1, 1));
	fake_madvise(f->fake, heap_span(3, 1), SYS_ADVICE_DONTNEED);
	assert_int_equal(fake_mremap(f->fake, heap_span(5, 1), OTHER, true), 0);
	finish_remove(f);
	assert_true(changed(f, seq, heap_span(1, 1)));
	assert_true(changed(f, seq, heap_span(3, 1)));
	assert_true(changed(f, seq, heap_span(5, 1)));
	assert_true(changed(f, seq, span_make(OTHER, 1)));
	assert_false(changed(f, seq, heap_span(2, 1)));
	assert_false(changed(f, seq, heap_span(4, 1)));
}

/* --- engines that touch system pages ---------------- */

static void serve_access(void *arg)
{
	settle(arg);
}

static void an_access_of_an_engine_is_served_like_a_cpu(void **state)
{
	struct fixture *f = *state;
	uint64_t value = 0;

	heap_fill(f, 0, 2);
	assert_int_equal(take_pages(f, 0, 2), 2);
	f->fake->fault_hook = serve_access;
	assert_int_equal(mm_accessor_register(f->mm, f), 0); /* another device's */
	assert_int_equal(mm_access(f->mm, SYS_ACCESS_READ, heap(1), &value, 8), 0);
	assert_int_equal(value, tag_of(1));
	assert_int_equal(stats_of(f).kicks, 0);
	assert_int_equal(mm_access(f->mm, SYS_ACCESS_READ, OTHER, &value, 8), -EFAULT);
	mm_accessor_unregister(f->mm);
	assert_int_equal(mm_access(f->mm, SYS_ACCESS_READ, heap(0), &value, 8), 0);
	assert_int_equal(value, tag_of(0));
}

/* T18: else the page would come home for it and go back at its next fault. */
static void an_engine_that_faults_on_its_own_devices_page_is_kicked(void **state)
{
	struct fixture *f = *state;
	uint64_t value = 0;

	heap_fill(f, 0, 2);
	assert_int_equal(take_pages(f, 0, 2), 2);
	f->fake->fault_hook = serve_access;
	assert_int_equal(mm_accessor_register(f->mm, f->owner.owner.device), 0);
	assert_int_equal(mm_access(f->mm, SYS_ACCESS_READ, heap(0), &value, 8), -EINTR);
	assert_int_equal(stats_of(f).kicks, 1);
	assert_int_equal(fake_calls(f->fake, "thread_kick"), 1);
	assert_true(is_on_device(f, heap(0)));
	assert_int_equal(fake_blocked(f->fake, HEAP_VMA), 0);
	/* A touch of the same thread outside of an access is one of a CPU, and is served. */
	assert_int_equal(fake_touch(f->fake, heap(1), false), -EAGAIN);
	assert_true(monitor_step(f));
	assert_int_equal(fake_blocked(f->fake, heap_span(1, 1)), 0);
	assert_int_equal(stats_of(f).kicks, 1);
	mm_accessor_unregister(f->mm);
}

static void accessors_are_few_and_come_back(void **state)
{
	struct fixture *f = *state;
	struct mm_accessor *own;

	for (size_t i = 1; i < MM_ACCESSORS_MAX; i++)
		f->mm->accessors[i].thread_id = 1;
	assert_int_equal(mm_accessor_register(f->mm, f), 0);
	own = base_host->self()->accessor;
	assert_ptr_equal(own, &f->mm->accessors[0]);
	assert_int_equal(mm_accessor_register(f->mm, f), -ENOSPC);
	mm_accessor_unregister(f->mm);
	mm_accessor_unregister(f->mm); /* of nobody: nothing */
	assert_int_equal(own->thread_id, 0);
	for (size_t i = 1; i < MM_ACCESSORS_MAX; i++)
		f->mm->accessors[i].thread_id = 0;
}

static void end_the_access(void *arg)
{
	struct fixture *f = arg;

	if (++f->test[0] == 3)
		f->mm->accessors[0].page = MM_ACCESSOR_IDLE;
}

static void draining_waits_for_accesses_in_the_span_and_not_for_ever(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mm_accessor_register(f->mm, f), 0);
	f->mm->accessors[0].page = heap(3);
	f->fake->yield_hook = end_the_access;
	mm_drain(f->mm, heap_span(0, 3));
	assert_int_equal(f->test[0], 0);
	mm_drain(f->mm, heap_span(0, 4));
	assert_int_equal(f->test[0], 3);
	f->mm->accessors[0].page = heap(3);
	mm_drain(f->mm, heap_span(0, 4)); /* one that never ends is kicked out later */
	assert_true(f->test[0] < 1000);
	f->fake->yield_hook = NULL;
	mm_accessor_unregister(f->mm);
}

/* --- the submit fence ---------------- */

static void the_fence_waits_until_no_event_is_in_flight(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 2);
	assert_int_equal(take_pages(f, 0, 2), 2);
	mm_submit_fence(f->mm);
	fake_munmap(f->fake, heap_span(0, 1));
	f->fake->yield_hook = settle_hook;
	mm_submit_fence(f->mm);
	assert_false(is_on_device(f, heap(0)));
	assert_int_equal(stats_of(f).events_unmap, 1);
}

/* Whenever one event is over, the next has begun; the monitor keeps up with them. */
static void storm_hook(void *arg)
{
	struct fixture *f = arg;

	if (f->test[0] < 600)
		fake_munmap(f->fake, heap_span(1 + f->test[0], 1));
	f->test[0]++;
	while (monitor_step(f))
		;
}

/* What was in flight when it came was handled, and that is all that it is for. */
static void a_storm_of_events_does_not_hold_the_fence_for_ever(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 1);
	assert_int_equal(take_pages(f, 0, 1), 1);
	storm_hook(f);
	f->fake->yield_hook = storm_hook;
	mm_submit_fence(f->mm);
	f->fake->yield_hook = NULL;
	assert_true(f->test[0] > MM_FENCE_TRIES && f->test[0] < 600);
	settle(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_notifier_hears_of_its_own_span_only),
		TEST(each_kind_of_change_is_told),
		TEST(no_binding_survives_a_change_at_any_point),
		TEST(who_binds_right_behind_the_revocation_retries),
		TEST(a_binding_with_no_change_is_kept),
		TEST(engines_stand_still_around_each_read_of_one_message),
		TEST(idle_engines_cost_no_barrier),
		TEST(pages_are_revoked_before_they_come_home),
		TEST(pages_are_revoked_before_they_are_taken),
		TEST(nobody_is_stopped_for_what_nobody_translates),
		TEST(the_log_tells_what_changed_and_an_overrun_is_a_change),
		TEST(each_event_is_logged),
		TEST(an_access_of_an_engine_is_served_like_a_cpu),
		TEST(an_engine_that_faults_on_its_own_devices_page_is_kicked),
		TEST(accessors_are_few_and_come_back),
		TEST(draining_waits_for_accesses_in_the_span_and_not_for_ever),
		TEST(the_fence_waits_until_no_event_is_in_flight),
		TEST(a_storm_of_events_does_not_hold_the_fence_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
