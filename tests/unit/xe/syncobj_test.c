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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_binary_object_is_what_was_put_in_last),
		cmocka_unit_test(a_point_is_over_when_all_before_it_are),
		cmocka_unit_test(who_looked_waits_for_the_fence_that_was_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
