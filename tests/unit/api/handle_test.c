/* SPDX-License-Identifier: MIT */
/* handle_test.c - every call looks at its handle first. */
#include "api_fixture.h"

enum kind {
	DEVICE,
	VM,
	QUEUE,
	FENCE,
};

static uint64_t place;

/* Each call with a handle that may be wrong and arguments that are right. */

static int device_info(void *handle)
{
	struct usvm_device_info info;

	return usvm_device_info(handle, &info);
}

static int vm_create(void *handle)
{
	struct usvm_vm *vm;

	return usvm_vm_create(handle, NULL, &vm);
}

static int stats(void *handle)
{
	size_t count;

	return usvm_stats(handle, NULL, 0, &count);
}

static int stats_reset(void *handle)
{
	return usvm_stats_reset(handle);
}

static int trace_read(void *handle)
{
	size_t count;

	return usvm_trace_read(handle, NULL, 0, &count, NULL);
}

static int device_unplug(void *handle)
{
	return usvm_device_unplug(handle);
}

static int close_device(void *handle)
{
	return usvm_close(handle);
}

static int vm_mirror(void *handle)
{
	return usvm_vm_mirror(handle, pointer(place), PAGE_BYTES, 0);
}

static int vm_unmirror(void *handle)
{
	return usvm_vm_unmirror(handle, pointer(place), PAGE_BYTES);
}

static int queue_create(void *handle)
{
	struct usvm_queue *queue;

	return usvm_queue_create(handle, NULL, &queue);
}

static int prefetch(void *handle)
{
	return usvm_prefetch(handle, pointer(place), PAGE_BYTES, USVM_PLACE_DEVICE);
}

static int advise(void *handle)
{
	return usvm_advise(handle, pointer(place), PAGE_BYTES, USVM_ATTRIBUTE_ATOMIC,
			   &(struct usvm_attributes){ 0 });
}

static int advise_query(void *handle)
{
	size_t count;

	return usvm_advise_query(handle, pointer(place), PAGE_BYTES, NULL, 0, &count);
}

static int query(void *handle)
{
	struct usvm_page_info info;

	return usvm_query(handle, pointer(place), &info);
}

static int query_span(void *handle)
{
	uint64_t pages[4];

	return usvm_query_span(handle, pointer(place), PAGE_BYTES, pages);
}

static int faults(void *handle)
{
	size_t count;

	return usvm_faults(handle, NULL, 0, &count);
}

static int vm_destroy(void *handle)
{
	return usvm_vm_destroy(handle);
}

static int queue_status(void *handle)
{
	struct usvm_queue_status status;

	return usvm_queue_status(handle, &status);
}

static void nothing(struct usvm_lane *lane, const void *args)
{
	(void)lane;
	(void)args;
}

static const struct usvm_kernel kernel = { .function = nothing };

static int submit_kernel(void *handle)
{
	return usvm_submit_kernel(handle, &kernel, NULL);
}

static int run_kernel(void *handle)
{
	return usvm_run_kernel(handle, &kernel);
}

static int submit_batch(void *handle)
{
	return usvm_submit_batch(handle, &(struct usvm_batch){ .commands = pointer(place) },
				 NULL);
}

static int run_batch(void *handle)
{
	return usvm_run_batch(handle, &(struct usvm_batch){ .commands = pointer(place) });
}

static int queue_destroy(void *handle)
{
	return usvm_queue_destroy(handle);
}

static int fence_wait(void *handle)
{
	return usvm_fence_wait(handle, 0);
}

static const struct {
	const char *name;
	enum kind kind;
	int (*call)(void *handle);
	int null; /* what NULL gives */
} calls[] = {
	{ "usvm_device_info", DEVICE, device_info, -EINVAL },
	{ "usvm_vm_create", DEVICE, vm_create, -EINVAL },
	{ "usvm_stats", DEVICE, stats, -EINVAL },
	{ "usvm_stats_reset", DEVICE, stats_reset, -EINVAL },
	{ "usvm_trace_read", DEVICE, trace_read, -EINVAL },
	{ "usvm_device_unplug", DEVICE, device_unplug, -EINVAL },
	{ "usvm_close", DEVICE, close_device, 0 },
	{ "usvm_vm_mirror", VM, vm_mirror, -EINVAL },
	{ "usvm_vm_unmirror", VM, vm_unmirror, -EINVAL },
	{ "usvm_queue_create", VM, queue_create, -EINVAL },
	{ "usvm_prefetch", VM, prefetch, -EINVAL },
	{ "usvm_advise", VM, advise, -EINVAL },
	{ "usvm_advise_query", VM, advise_query, -EINVAL },
	{ "usvm_query", VM, query, -EINVAL },
	{ "usvm_query_span", VM, query_span, -EINVAL },
	{ "usvm_faults", VM, faults, -EINVAL },
	{ "usvm_vm_destroy", VM, vm_destroy, 0 },
	{ "usvm_queue_status", QUEUE, queue_status, -EINVAL },
	{ "usvm_submit_kernel", QUEUE, submit_kernel, -EINVAL },
	{ "usvm_run_kernel", QUEUE, run_kernel, -EINVAL },
	{ "usvm_submit_batch", QUEUE, submit_batch, -EINVAL },
	{ "usvm_run_batch", QUEUE, run_batch, -EINVAL },
	{ "usvm_queue_destroy", QUEUE, queue_destroy, 0 },
	{ "usvm_fence_wait", FENCE, fence_wait, -EINVAL },
};

struct handles {
	struct opened all;
	struct usvm_fence *fence;
};

static void *handle_of(const struct handles *h, enum kind kind)
{
	void *of[] = { h->all.device, h->all.vm, h->all.queue, h->fence };

	return of[kind];
}

static struct handles open_handles(void)
{
	struct handles h = { .all = open_all(NULL) };

	place = filled_pages(1);
	CHECK(!usvm_submit_kernel(h.all.queue, &kernel, &h.fence));
	CHECK(!usvm_fence_wait(h.fence, USVM_FOREVER));
	return h;
}

static void close_handles(const struct handles *h)
{
	usvm_fence_put(h->fence);
	close_all(&h->all);
}

static void expect(size_t i, const char *what, void *handle, int wanted)
{
	int err = calls[i].call(handle);

	if (err != wanted)
		sim_fail(sim, "%s of %s: %d, not %d\n", calls[i].name, what, err, wanted);
}

static void pass_wrong_handles(void *arg)
{
	struct handles h = open_handles();

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		char *right = handle_of(&h, calls[i].kind);

		expect(i, "NULL", NULL, calls[i].null);
		expect(i, "a pointer into a handle", right + 4, -EBADF);
		for (enum kind kind = DEVICE; kind <= FENCE; kind++) {
			if (kind != calls[i].kind)
				expect(i, "a handle of another kind", handle_of(&h, kind),
				       -EBADF);
		}
	}
	/* These have no error to give; the right ones are alive after it. */
	usvm_fence_put(NULL);
	usvm_fence_put((struct usvm_fence *)h.all.queue);
	CHECK(!usvm_stat(NULL, "svm_pagefault_count"));
	CHECK(!usvm_stat((struct usvm *)h.all.vm, "svm_pagefault_count"));
	CHECK(!usvm_run_kernel(h.all.queue, &kernel));
	CHECK(!usvm_fence_wait(h.fence, 0));
	close_handles(&h);
}

static void a_wrong_handle_is_told(void **state)
{
	(void)state;
	run_seed(1, pass_wrong_handles, NULL);
}

static void child(void *arg)
{
	const struct handles *h = arg;

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		expect(i, "the parent's handle", handle_of(h, calls[i].kind), -ECHILD);
	usvm_fence_put(h->fence);
	CHECK(!usvm_stat(h->all.device, "svm_pagefault_count"));
}

static void pass_handles_on(void *arg)
{
	struct handles h = open_handles();
	struct sim_process *process;

	(void)arg;
	CHECK(!usvm_prefetch(h.all.vm, pointer(place), PAGE_BYTES, USVM_PLACE_DEVICE));
	CHECK(!sim_fork(sim, 0, "child", child, &h, &process));
	sim_wait(sim, process);
	CHECK(!usvm_fence_wait(h.fence, 0)); /* the child's put was none */
	close_handles(&h);
}

static void a_childs_handles_are_its_parents(void **state)
{
	(void)state;
	run_seed(1, pass_handles_on, NULL);
}

static void destroy_too_early(void *arg)
{
	struct opened o = open_all(NULL);
	struct usvm_fence *fence;

	(void)arg;
	CHECK(usvm_vm_destroy(o.vm) == -EBUSY);
	CHECK(usvm_close(o.device) == -EBUSY);
	CHECK(!usvm_submit_kernel(o.queue, &kernel, &fence));
	CHECK(!usvm_queue_destroy(o.queue));
	CHECK(!usvm_vm_destroy(o.vm));
	CHECK(usvm_close(o.device) == -EBUSY); /* the fence is left, and alive */
	CHECK(usvm_fence_wait(fence, USVM_FOREVER) != -EBADF);
	usvm_fence_put(fence);
	CHECK(!usvm_close(o.device));
}

static void what_is_in_use_is_not_destroyed(void **state)
{
	(void)state;
	run_seed(1, destroy_too_early, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wrong_handle_is_told),
		cmocka_unit_test(a_childs_handles_are_its_parents),
		cmocka_unit_test(what_is_in_use_is_not_destroyed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
