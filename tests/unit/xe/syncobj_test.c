/* SPDX-License-Identifier: MIT */
/* syncobj_test.c - sync objects: what a point is, and that a fence is looked up once. */
#include "xe_objects.h"

static void binary(void *arg)
{
	uint32_t handle;
	struct xe_syncobj *syncobj;
	struct drm_syncobj_array array = { .count = 1 };
	struct xe_fence *fence;

	(void)arg;
	client_start(NULL);
	handle = make_syncobj(DRM_SYNCOBJ_CREATE_SIGNALED);
	CHECK(!wait_syncobj(handle, 0, 0, 0));
	array.handles = put_array(&handle, sizeof(handle));
	CHECK(!call(DRM_SYNCOBJ_RESET, &array));
	CHECK(wait_syncobj(handle, 0, 0, 0) == -EINVAL);
	CHECK(wait_syncobj(handle, 0, DRM_SYNCOBJ_WAIT_FOR_SUBMIT, 0) == -ETIME);
	syncobj = syncobj_of(handle);
	fence = add_fence(syncobj, 0);
	CHECK(wait_syncobj(handle, 0, 0, 0) == -ETIME);
	end_fence(fence);
	CHECK(!wait_syncobj(handle, 0, 0, 0));
	xe_object_put(&syncobj->object);
	client_stop();
}

static void a_binary_object_is_what_was_put_in_last(void **state)
{
	(void)state;
	run_client(binary, NULL);
}

static uint64_t query(uint32_t handle, uint32_t flags)
{
	const uint64_t words[2] = { handle, 0 };
	struct drm_syncobj_timeline_array args = {
		.handles = put_array(words, sizeof(words)),
		.points = client.page + 1024 + 8,
		.count = 1,
		.flags = flags,
	};

	CHECK(!call(DRM_SYNCOBJ_QUERY, &args));
	return load(args.points);
}

static void timeline(void *arg)
{
	uint32_t handle;
	struct xe_syncobj *syncobj;
	struct xe_fence *one, *three;

	(void)arg;
	client_start(NULL);
	handle = make_syncobj(0);
	syncobj = syncobj_of(handle);
	one = add_fence(syncobj, 1);
	three = add_fence(syncobj, 3);
	CHECK(query(handle, 0) == 0);
	CHECK(query(handle, DRM_SYNCOBJ_QUERY_LAST_SUBMITTED) == 3);
	CHECK(wait_syncobj(handle, 4, 0, 0) == -EINVAL);
	CHECK(!wait_syncobj(handle, 2, DRM_SYNCOBJ_WAIT_AVAILABLE, 0));
	/* Point 3 is over when point 1 is, too. */
	end_fence(three);
	CHECK(wait_syncobj(handle, 2, 0, 0) == -ETIME);
	CHECK(query(handle, 0) == 0);
	end_fence(one);
	CHECK(!wait_syncobj(handle, 1, 0, 0));
	CHECK(!wait_syncobj(handle, 3, 0, 0));
	CHECK(query(handle, 0) == 3);
	xe_object_put(&syncobj->object);
	client_stop();
}

static void a_point_is_over_when_all_before_it_are(void **state)
{
	(void)state;
	run_client(timeline, NULL);
}

static void count_call(struct xe_callback *callback);

struct counted {
	struct xe_callback callback;
	uint32_t calls;
};

static void count_call(struct xe_callback *callback)
{
	CONTAINER_OF(callback, struct counted, callback)->calls++;
}

static void snapshot(void *arg)
{
	uint32_t handle;
	struct xe_syncobj *syncobj;
	struct xe_fence *old, *later, *found;
	struct counted counted = { .callback.run = count_call };

	(void)arg;
	client_start(NULL);
	handle = make_syncobj(0);
	syncobj = syncobj_of(handle);
	old = add_fence(syncobj, 0);
	CHECK(xe_syncobj_look(syncobj, 0, &found) == XE_POINT_SUBMITTED);
	later = add_fence(syncobj, 0);
	CHECK(found == old);
	CHECK(xe_fence_call(found, &counted.callback));
	end_fence(old);
	CHECK(counted.calls == 1);
	CHECK(wait_syncobj(handle, 0, 0, 0) == -ETIME); /* that is the later one */
	CHECK(!xe_fence_call(found, &counted.callback));
	xe_fence_put(found);
	end_fence(later);
	CHECK(!wait_syncobj(handle, 0, 0, 0));
	xe_object_put(&syncobj->object);
	client_stop();
}

static void who_looked_waits_for_the_fence_that_was_there(void **state)
{
	(void)state;
	run_client(snapshot, NULL);
}

/* --- ioctls ------------------------------------------------------------------------ */

#define POINTS (client.page + 2048)

static int call_array(uint32_t number, const uint32_t *handles, uint32_t count)
{
	struct drm_syncobj_array args = { .count = count };

	args.handles = put_array(handles, count * sizeof(*handles));
	return call(number, &args);
}

static int call_points(uint32_t number, const uint32_t *handles, const uint64_t *points,
		       uint32_t count)
{
	struct drm_syncobj_timeline_array args = { .count = count, .points = POINTS };

	args.handles = put_array(handles, count * sizeof(*handles));
	write_words(POINTS, points, count * sizeof(*points));
	return call(number, &args);
}

static void numbers(void *arg)
{
	struct drm_syncobj_array array = { .handles = 8, .count = 1 };
	struct drm_syncobj_timeline_array points = { .handles = 8, .count = 1 };
	uint32_t handles[2] = { 0 };

	(void)arg;
	client_start(NULL);
	CHECK(call(DRM_SYNCOBJ_CREATE, &(struct drm_syncobj_create){ .flags = 2 }) == -EINVAL);
	handles[0] = make_syncobj(0);
	CHECK(!call(DRM_SYNCOBJ_DESTROY, &(struct drm_syncobj_destroy){ .handle = handles[0] }));
	CHECK(call(DRM_SYNCOBJ_DESTROY, &(struct drm_syncobj_destroy){ .handle = handles[0] }) ==
	      -EINVAL);
	CHECK(call(DRM_SYNCOBJ_DESTROY, &(struct drm_syncobj_destroy){ .pad = 1 }) == -EINVAL);
	CHECK(make_syncobj(0) == handles[0]); /* the lowest that is free */
	/* More than a table has at first. */
	for (uint32_t i = 2; i <= 150; i++)
		CHECK(make_syncobj(0) == i);
	handles[1] = 151;
	/* One that is not there, behind one that is: nothing is done to that. */
	CHECK(!call_array(DRM_SYNCOBJ_SIGNAL, handles, 1) && is_signaled(handles[0]));
	CHECK(call_array(DRM_SYNCOBJ_RESET, handles, 2) == -ENOENT && is_signaled(handles[0]));
	CHECK(!call_array(DRM_SYNCOBJ_RESET, handles, 1));
	CHECK(call_array(DRM_SYNCOBJ_SIGNAL, handles, 2) == -ENOENT);
	CHECK(!is_signaled(handles[0]));
	array.count = 1u << 21;
	CHECK(call(DRM_SYNCOBJ_RESET, &array) == -ENOMEM);
	array.count = 1;
	CHECK(call_array(DRM_SYNCOBJ_SIGNAL, handles + 1, 1) == -ENOENT);
	CHECK(call(DRM_SYNCOBJ_RESET, &array) == -EFAULT);
	CHECK(call(DRM_SYNCOBJ_SIGNAL, &array) == -EFAULT);
	CHECK(call(DRM_SYNCOBJ_TIMELINE_SIGNAL, &points) == -EFAULT);
	CHECK(call(DRM_SYNCOBJ_QUERY, &points) == -EFAULT);
	array.count = 0;
	CHECK(call(DRM_SYNCOBJ_RESET, &array) == -EINVAL);
	CHECK(call(DRM_SYNCOBJ_SIGNAL, &array) == -EINVAL);
	points.count = 0;
	CHECK(call(DRM_SYNCOBJ_TIMELINE_SIGNAL, &points) == -EINVAL);
	CHECK(call(DRM_SYNCOBJ_QUERY, &points) == -EINVAL);
	points = (struct drm_syncobj_timeline_array){ .count = 1, .flags = 2 };
	CHECK(call(DRM_SYNCOBJ_TIMELINE_SIGNAL, &points) == -EINVAL);
	CHECK(call(DRM_SYNCOBJ_QUERY, &points) == -EINVAL);
	/* Handles that can be read, points that cannot. */
	points = (struct drm_syncobj_timeline_array){ .count = 1, .points = 8 };
	points.handles = put_array(handles, sizeof(handles));
	CHECK(call(DRM_SYNCOBJ_TIMELINE_SIGNAL, &points) == -EFAULT);
	CHECK(call(DRM_SYNCOBJ_QUERY, &points) == -EFAULT);
	client_stop();
}

static void handles_are_numbers_and_arrays_of_them_are_checked(void **state)
{
	(void)state;
	run_client(numbers, NULL);
}

static void from_the_host(void *arg)
{
	const uint64_t points[2] = { 4, 9 };
	uint32_t handles[2];

	(void)arg;
	client_start(NULL);
	handles[0] = make_syncobj(0);
	handles[1] = make_syncobj(0);
	CHECK(!call_array(DRM_SYNCOBJ_SIGNAL, handles, 2));
	CHECK(is_signaled(handles[0]) && is_signaled(handles[1]));
	CHECK(!call_array(DRM_SYNCOBJ_RESET, handles, 2));
	CHECK(!is_signaled(handles[0]) && !is_signaled(handles[1]));
	CHECK(!call_points(DRM_SYNCOBJ_TIMELINE_SIGNAL, handles, points, 2));
	CHECK(query(handles[0], 0) == 4 && query(handles[1], 0) == 9);
	CHECK(!wait_syncobj(handles[0], 3, 0, 0) && !wait_syncobj(handles[0], 4, 0, 0));
	CHECK(wait_syncobj(handles[0], 5, 0, 0) == -EINVAL);
	client_stop();
}

static void the_host_signals_and_resets(void **state)
{
	(void)state;
	run_client(from_the_host, NULL);
}

static int transfer(uint32_t from, uint64_t from_point, uint32_t to, uint64_t to_point)
{
	struct drm_syncobj_transfer args = {
		.from = from, .to = to, .from_point = from_point, .to_point = to_point,
	};

	return call(DRM_SYNCOBJ_TRANSFER, &args);
}

static void transfers(void *arg)
{
	struct drm_syncobj_transfer bad = { .pad = 1 };
	uint32_t from, to, timeline;
	struct gate gate;

	(void)arg;
	client_start(NULL);
	from = make_syncobj(0);
	to = make_syncobj(0);
	timeline = make_syncobj(0);
	CHECK(call(DRM_SYNCOBJ_TRANSFER, &bad) == -EINVAL);
	bad = (struct drm_syncobj_transfer){ .flags = DRM_SYNCOBJ_WAIT_ALL };
	CHECK(call(DRM_SYNCOBJ_TRANSFER, &bad) == -EINVAL);
	CHECK(transfer(from, 0, 99, 0) == -ENOENT && transfer(99, 0, to, 0) == -ENOENT);
	CHECK(transfer(from, 0, to, 0) == -EINVAL); /* it has no fence */
	gate = make_gate();
	CHECK(!transfer(gate.handle, 0, to, 0));
	CHECK(!transfer(gate.handle, 0, timeline, 6));
	CHECK(!is_signaled(to) && query(timeline, 0) == 0);
	CHECK(wait_syncobj(timeline, 6, 0, 0) == -ETIME);
	open_gate(&gate);
	CHECK(is_signaled(to) && query(timeline, 0) == 6);
	/* Of what is over already, from a point, to the last. */
	CHECK(!transfer(timeline, 5, from, 0) && is_signaled(from));
	CHECK(transfer(timeline, 7, from, 0) == -EINVAL);
	client_stop();
}

static void a_fence_can_be_had_under_another_handle_and_point(void **state)
{
	(void)state;
	run_client(transfers, NULL);
}

/* --- waits ------------------------------------------------------------------------- */

/* *@first: which of them it was. */
static int wait_many(const uint32_t *handles, uint32_t count, uint32_t flags, int64_t until_ns,
		     uint32_t *first)
{
	struct drm_syncobj_wait args = {
		.handles = put_array(handles, count * sizeof(*handles)),
		.timeout_ns = until_ns,
		.count = count,
		.flags = flags,
		.first_signaled = 77,
	};
	int err = call(DRM_SYNCOBJ_WAIT, &args);

	*first = args.first_signaled;
	return err;
}

static void many(void *arg)
{
	uint32_t handles[2], first;
	struct gate gates[2];

	(void)arg;
	client_start(NULL);
	for (int i = 0; i < 2; i++) {
		gates[i] = make_gate();
		handles[i] = gates[i].handle;
	}
	CHECK(wait_many(handles, 2, 0, 0, &first) == -ETIME);
	open_gate(&gates[1]);
	CHECK(!wait_many(handles, 2, 0, 0, &first) && first == 1);
	CHECK(wait_many(handles, 2, DRM_SYNCOBJ_WAIT_ALL, 0, &first) == -ETIME);
	CHECK(wait_many(handles, 2, DRM_SYNCOBJ_WAIT_ALL, (int64_t)sim_clock_ns(sim) + 100000,
			&first) == -ETIME);
	open_gate(&gates[0]);
	CHECK(!wait_many(handles, 2, DRM_SYNCOBJ_WAIT_ALL, 0, &first) && first == 0);
	client_stop();
}

static void a_wait_is_for_one_or_for_all(void **state)
{
	(void)state;
	run_client(many, NULL);
}

static void wrong_waits(void *arg)
{
	struct drm_syncobj_wait args = { .count = 1, .handles = 8 };
	struct drm_syncobj_timeline_wait points = { .count = 1, .points = 8 };
	const uint32_t known = make_syncobj(DRM_SYNCOBJ_CREATE_SIGNALED), unknown = 99;
	uint32_t first;

	(void)arg;
	CHECK(wait_many(&known, 1, DRM_SYNCOBJ_WAIT_AVAILABLE, 0, &first) == -EINVAL);
	CHECK(wait_many(&unknown, 1, 0, 0, &first) == -ENOENT);
	CHECK(wait_syncobj(99, 1, 0, 0) == -ENOENT);
	CHECK(wait_syncobj(known, 0, 1u << 4, 0) == -EINVAL);
	CHECK(!wait_many(&known, 1, DRM_SYNCOBJ_WAIT_DEADLINE, 0, &first) && first == 0);
	CHECK(call(DRM_SYNCOBJ_WAIT, &args) == -EFAULT);
	points.handles = put_array(&known, sizeof(known));
	CHECK(call(DRM_SYNCOBJ_TIMELINE_WAIT, &points) == -EFAULT);
	args.count = points.count = UINT32_MAX;
	CHECK(call(DRM_SYNCOBJ_WAIT, &args) == -ENOMEM);
	CHECK(call(DRM_SYNCOBJ_TIMELINE_WAIT, &points) == -ENOMEM);
	args.count = points.count = 0;
	CHECK(!call(DRM_SYNCOBJ_WAIT, &args) && !call(DRM_SYNCOBJ_TIMELINE_WAIT, &points));
}

static void wrong(void *arg)
{
	client_start(NULL);
	wrong_waits(arg);
	client_stop();
}

static void wrong_waits_are_refused(void **state)
{
	(void)state;
	run_client(wrong, NULL);
}

struct later {
	struct xe_syncobj *syncobj;
	struct xe_fence *fence; /* NULL: one that is over is submitted */
};

static void do_later(void *arg)
{
	struct later *later = arg;

	for (int i = 0; i < 20; i++)
		base_host->cpu_yield();
	if (!later->fence)
		later->fence = add_fence(later->syncobj, 2);
	for (int i = 0; i < 20; i++)
		base_host->cpu_yield();
	end_fence(later->fence);
}

static void sleepers(void *arg)
{
	uint32_t handle;
	struct later later;
	struct sim_thread *thread;

	(void)arg;
	client_start(NULL);
	handle = make_syncobj(0);
	later.syncobj = syncobj_of(handle);
	later.fence = add_fence(later.syncobj, 1);
	thread = sim_thread_start(sim, "ends", do_later, &later);
	CHECK(!wait_syncobj(handle, 1, 0, FOREVER));
	sim_thread_join(sim, thread);
	/* Nobody has submitted point 2: it is waited for, then for its end. */
	later.fence = NULL;
	thread = sim_thread_start(sim, "submits", do_later, &later);
	CHECK(!wait_syncobj(handle, 2, DRM_SYNCOBJ_WAIT_FOR_SUBMIT, FOREVER));
	sim_thread_join(sim, thread);
	CHECK(query(handle, 0) == 2);
	xe_object_put(&later.syncobj->object);
	client_stop();
}

static void who_sleeps_is_woken_by_a_submit_and_by_an_end(void **state)
{
	(void)state;
	run_client(sleepers, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_binary_object_is_what_was_put_in_last),
		cmocka_unit_test(a_point_is_over_when_all_before_it_are),
		cmocka_unit_test(who_looked_waits_for_the_fence_that_was_there),
		cmocka_unit_test(handles_are_numbers_and_arrays_of_them_are_checked),
		cmocka_unit_test(the_host_signals_and_resets),
		cmocka_unit_test(a_fence_can_be_had_under_another_handle_and_point),
		cmocka_unit_test(a_wait_is_for_one_or_for_all),
		cmocka_unit_test(wrong_waits_are_refused),
		cmocka_unit_test(who_sleeps_is_woken_by_a_submit_and_by_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
