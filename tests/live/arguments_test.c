/* SPDX-License-Identifier: MIT */
/*
 * Bad arguments to every public function: each gives the error that usvm.h and
 * docs/errors.md name, and changes nothing.
 *
 * "Nothing" is proven after each call (support/unchanged.h), and no out parameter
 * was written. At the end a job still runs.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live/support/unchanged.h"

#define BEYOND ((void *)(1ull << 47))
/* --- specifications ---------------- */

static const char *const good_specs[] = {
	"",
	"model",
	"model:",
	"model:vram=2M",
	"model:vram=2048K",
	"model:vram=2097152",
	"model:vram=1G,mode=move",
	"model:mode=copy,vram=4M,engines=1",
	"model:engines=16",
	"model:migrate=auto",
	"model:migrate=always",
	"model:migrate=never",
	"model:home=4K",
	"model:home=64K",
	"model:home=2M",
	"model:notifier=2M",
	"model:notifier=1G",
	"model:system_atomics=yes",
	"model:system_atomics=no",
	"model:trace=0",
	"model:trace=1",
	"model:trace=4096",
};

static const char *const bad_specs[] = {
	"Model",
	"modelx",
	"model ",
	"mode",
	":vram=4M",
	"model,vram=4M",
	"vram=4M",
	"model:vram",
	"model:=4M",
	"model:,",
	"model:vram=4M,",
	"model:,vram=4M",
	"model:vram=4M,,mode=move",
	"model:vram=4M;mode=move",
	"model:colour=red",
	"model:VRAM=4M",
	"model: vram=4M",
	"model:vram=",
	"model:vram=0",
	"model:vram=M",
	"model:vram=1M",
	"model:vram=3M",
	"model:vram=4097",
	"model:vram=4T",
	"model:vram=4m",
	"model:vram=4MB",
	"model:vram=-4M",
	"model:vram=+4M",
	"model:vram=0x400000",
	"model:vram= 4M",
	"model:vram=4 M",
	"model:vram=18446744073709551616",
	"model:vram=99999999999999999999999G",
	"model:vram=17179869185G", /* wraps to 1G */
	"model:mode=",
	"model:mode=Move",
	"model:mode=moved",
	"model:mode=copy ",
	"model:engines=",
	"model:engines=0",
	"model:engines=17",
	"model:engines=-1",
	"model:engines=1.5",
	"model:engines=2K",
	"model:migrate=",
	"model:migrate=maybe",
	"model:home=",
	"model:home=0",
	"model:home=8K",
	"model:home=1M",
	"model:home=4M",
	"model:notifier=",
	"model:notifier=0",
	"model:notifier=3M",
	"model:notifier=512",
	"model:system_atomics=",
	"model:system_atomics=true",
	"model:trace=",
	"model:trace=3",
	"model:trace=-1",
	"model:trace=99999999999999999999",
};

static void a_bad_specification_opens_nothing(void **state)
{
	struct scene s = set_scene(*state);
	struct usvm *gpu = UNTOUCHED(struct usvm);

	for (size_t i = 0; i < sizeof(bad_specs) / sizeof(bad_specs[0]); i++)
		assert_refused(&s, bad_specs[i], usvm_open(bad_specs[i], &gpu), -EINVAL);
	for (size_t i = 0; i < sizeof(bad_specs) / sizeof(bad_specs[0]); i++) {
		assert_int_equal(setenv("USVM_DEVICE", bad_specs[i], 1), 0);
		assert_refused(&s, bad_specs[i], usvm_open(NULL, &gpu), -EINVAL);
	}
	assert_int_equal(unsetenv("USVM_DEVICE"), 0);
	REFUSED(&s, -EINVAL, usvm_open("model", NULL));
	REFUSED(&s, -EINVAL, usvm_open(NULL, NULL));
	assert_ptr_equal(gpu, UNTOUCHED(struct usvm));
	clear_scene(&s);
}

static void a_good_specification_opens_a_device(void **state)
{
	struct scene s = set_scene(*state);

	for (size_t i = 0; i < sizeof(good_specs) / sizeof(good_specs[0]); i++) {
		struct usvm *gpu;
		int err = usvm_open(good_specs[i], &gpu);

		if (err)
			fail_msg("%s: %d", good_specs[i], err);
		assert_int_equal(usvm_close(gpu), 0);
	}
	clear_scene(&s);
}

/* --- handles ---------------- */

static void never_run(struct usvm_lane *lane, const void *args)
{
	(void)lane;
	(void)args;
	abort();
}

/* Good arguments for whatever gets a bad handle. */
static const uint32_t batch_end[] = { 0x05000000 };
static const struct usvm_kernel kernel = { .function = never_run };
static const struct usvm_batch batch = { .commands = batch_end };

static void refuse_device(const struct scene *s, void *handle, int expected)
{
	static struct usvm_device_info info;
	static struct usvm_trace_event event;
	struct usvm_vm *vm = UNTOUCHED(struct usvm_vm);
	struct usvm_stat stat = { "untouched", 1 };
	size_t count = UNTOUCHED_SIZE;
	uint64_t dropped = UNTOUCHED_SIZE;

	if (handle)
		REFUSED(s, expected, usvm_close(handle));
	REFUSED(s, expected, usvm_device_info(handle, &info));
	REFUSED(s, expected, usvm_device_unplug(handle));
	REFUSED(s, expected, usvm_vm_create(handle, NULL, &vm));
	REFUSED(s, expected, usvm_stats(handle, &stat, 1, &count));
	REFUSED(s, expected, usvm_trace_read(handle, &event, 1, &count, &dropped));
	assert_int_equal(usvm_stat(handle, "mm_taken_pages"), 0);
	assert_int_equal(info.name[0], 0);
	assert_ptr_equal(vm, UNTOUCHED(struct usvm_vm));
	assert_string_equal(stat.name, "untouched");
	assert_int_equal(event.time_ns, 0);
	assert_int_equal(count, UNTOUCHED_SIZE);
	assert_int_equal(dropped, UNTOUCHED_SIZE);
}

static void refuse_vm(const struct scene *s, void *handle, int expected)
{
	struct usvm_queue *queue = UNTOUCHED(struct usvm_queue);
	struct usvm_page_info info = { .state = 77 };
	struct usvm_fault fault = { .addr = 77 };
	uint64_t pages[4] = { 77, 77, 77, 77 };
	size_t count = UNTOUCHED_SIZE;

	if (handle)
		REFUSED(s, expected, usvm_vm_destroy(handle));
	REFUSED(s, expected, usvm_vm_mirror(handle, s->at, LIVE_PAGE, 0));
	REFUSED(s, expected, usvm_vm_unmirror(handle, s->at, LIVE_PAGE));
	REFUSED(s, expected, usvm_queue_create(handle, NULL, &queue));
	REFUSED(s, expected, usvm_prefetch(handle, s->at, LIVE_PAGE, USVM_PLACE_SYSTEM));
	REFUSED(s, expected, usvm_query(handle, s->at, &info));
	REFUSED(s, expected, usvm_query_span(handle, s->at, LIVE_PAGE, pages));
	REFUSED(s, expected, usvm_faults(handle, &fault, 1, &count));
	assert_ptr_equal(queue, UNTOUCHED(struct usvm_queue));
	assert_int_equal(info.state, 77);
	assert_int_equal(fault.addr, 77);
	assert_int_equal(pages[0], 77);
	assert_int_equal(pages[3], 77);
	assert_int_equal(count, UNTOUCHED_SIZE);
}

static void refuse_queue(const struct scene *s, void *handle, int expected)
{
	struct usvm_fence *fence = UNTOUCHED(struct usvm_fence);
	struct usvm_queue_status status = { .banned = 77 };

	if (handle)
		REFUSED(s, expected, usvm_queue_destroy(handle));
	REFUSED(s, expected, usvm_queue_status(handle, &status));
	REFUSED(s, expected, usvm_submit_kernel(handle, &kernel, &fence));
	REFUSED(s, expected, usvm_submit_batch(handle, &batch, &fence));
	REFUSED(s, expected, usvm_run_kernel(handle, &kernel));
	REFUSED(s, expected, usvm_run_batch(handle, &batch));
	assert_ptr_equal(fence, UNTOUCHED(struct usvm_fence));
	assert_int_equal(status.banned, 77);
}

static void refuse_fence(const struct scene *s, void *handle, int expected)
{
	REFUSED(s, expected, usvm_fence_wait(handle, 0));
	REFUSED(s, expected, usvm_fence_wait(handle, USVM_FOREVER));
	usvm_fence_put(handle);
	REFUSED(s, expected, usvm_fence_wait(handle, 0));
}

static void no_handle_is_an_invalid_argument(void **state)
{
	struct scene s = set_scene(*state);

	refuse_device(&s, NULL, -EINVAL);
	refuse_vm(&s, NULL, -EINVAL);
	refuse_queue(&s, NULL, -EINVAL);
	refuse_fence(&s, NULL, -EINVAL);
	REFUSED(&s, 0, usvm_close(NULL));
	REFUSED(&s, 0, usvm_vm_destroy(NULL));
	REFUSED(&s, 0, usvm_queue_destroy(NULL));
	clear_scene(&s);
}

static void nothing(struct usvm_lane *lane, const void *args)
{
	(void)lane;
	(void)args;
}

static void wait_for_word(struct usvm_lane *lane, const void *args)
{
	uint64_t at;

	memcpy(&at, args, sizeof(at));
	usvm_store64(lane, at + 8, 1);
	while (!usvm_load64(lane, at))
		;
}

static struct usvm_fence *finished_fence(struct live *live)
{
	struct usvm_fence *fence;

	assert_int_equal(usvm_submit_kernel(live->queue, &(struct usvm_kernel){
		.function = nothing }, &fence), 0);
	assert_int_equal(usvm_fence_wait(fence, USVM_FOREVER), 0);
	return fence;
}

static void a_handle_of_another_kind_is_refused(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	struct usvm_fence *fence = finished_fence(live);
	uint64_t no_handle[8] = { 0 };

	refuse_device(&s, live->vm, -EBADF);
	refuse_device(&s, live->queue, -EBADF);
	refuse_device(&s, fence, -EBADF);
	refuse_device(&s, no_handle, -EBADF);
	refuse_vm(&s, live->gpu, -EBADF);
	refuse_vm(&s, live->queue, -EBADF);
	refuse_vm(&s, fence, -EBADF);
	refuse_vm(&s, no_handle, -EBADF);
	refuse_queue(&s, live->gpu, -EBADF);
	refuse_queue(&s, live->vm, -EBADF);
	refuse_queue(&s, fence, -EBADF);
	refuse_queue(&s, no_handle, -EBADF);
	refuse_fence(&s, live->gpu, -EBADF);
	refuse_fence(&s, live->vm, -EBADF);
	refuse_fence(&s, live->queue, -EBADF);
	refuse_fence(&s, no_handle, -EBADF);
	REFUSED(&s, 0, usvm_fence_wait(fence, 0));
	usvm_fence_put(fence);
	clear_scene(&s);
}

static void a_destroyed_handle_is_refused(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	struct usvm_fence *fence;
	struct usvm_queue *queue;
	struct usvm_vm *vm;
	struct usvm *gpu;

	assert_int_equal(usvm_open("model:vram=2M", &gpu), 0);
	assert_int_equal(usvm_vm_create(gpu, NULL, &vm), 0);
	assert_int_equal(usvm_queue_create(vm, NULL, &queue), 0);
	assert_int_equal(usvm_queue_destroy(queue), 0);
	refuse_queue(&s, queue, -EBADF);
	assert_int_equal(usvm_vm_destroy(vm), 0);
	refuse_vm(&s, vm, -EBADF);
	assert_int_equal(usvm_close(gpu), 0);
	refuse_device(&s, gpu, -EBADF);

	fence = finished_fence(live);
	usvm_fence_put(fence);
	refuse_fence(&s, fence, -EBADF);

	/* Its job goes on, and still has it. */
	live->result[0] = live->result[1] = 0;
	assert_int_equal(usvm_submit_kernel(live->queue, &(struct usvm_kernel){
		.function = wait_for_word, .args = &live->result,
		.args_bytes = sizeof(live->result) }, &fence), 0);
	while (!__atomic_load_n(live->result + 1, __ATOMIC_ACQUIRE))
		sched_yield();
	look_again(&s);
	usvm_fence_put(fence);
	refuse_fence(&s, fence, -EBADF);
	__atomic_store_n(live->result, 1, __ATOMIC_RELEASE);
	clear_scene(&s);
}

/* --- the other arguments ---------------- */

static void bad_arguments_of_a_device_are_refused(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	struct usvm_trace_event event;
	struct usvm_vm *vm = UNTOUCHED(struct usvm_vm);
	size_t count = UNTOUCHED_SIZE;

	REFUSED(&s, -EINVAL, usvm_device_info(live->gpu, NULL));
	REFUSED(&s, -EINVAL, usvm_stats(live->gpu, NULL, 0, NULL));
	REFUSED(&s, -EINVAL, usvm_stats(live->gpu, NULL, 1, &count));
	REFUSED(&s, -EINVAL, usvm_trace_read(live->gpu, &event, 1, NULL, NULL));
	REFUSED(&s, -EINVAL, usvm_trace_read(live->gpu, NULL, 1, &count, NULL));
	REFUSED(&s, -ENOENT, usvm_trace_read(live->gpu, &event, 1, &count, NULL));
	REFUSED(&s, -EINVAL, usvm_vm_create(live->gpu, NULL, NULL));
	for (uint32_t bit = 3; bit < 32; bit++)
		REFUSED(&s, -EINVAL, usvm_vm_create(live->gpu, &(struct usvm_vm_config){
			.flags = 1u << bit }, &vm));
	REFUSED(&s, -EINVAL, usvm_vm_create(live->gpu, &(struct usvm_vm_config){
		.reserved = 1 }, &vm));
	assert_ptr_equal(vm, UNTOUCHED(struct usvm_vm));
	assert_int_equal(count, UNTOUCHED_SIZE);
	assert_int_equal(usvm_stat(live->gpu, NULL), 0);
	assert_int_equal(usvm_stat(live->gpu, "no such counter"), 0);
	clear_scene(&s);
}

/* Spans that no call may take; for a mirror also those that are not of pages. */
struct bad_span {
	uintptr_t addr;
	size_t bytes;
	bool unaligned;
};

static const struct bad_span bad_spans[] = {
	{ 0x10000, 0, false },
	{ 0x10000, SIZE_MAX, false },
	{ 0x10000, SIZE_MAX - 0xffff, false },
	{ 0x10000, SIZE_MAX - 0x10fff, false },
	{ UINTPTR_MAX, 1, false },
	{ UINTPTR_MAX - 0xfff, 0x1000, false },
	{ UINTPTR_MAX - 0x1fff, 0x1000, false },
	{ (1ull << 47) - 0x1000, 0x2000, false },
	{ 1ull << 47, 0x1000, false },
	{ 1ull << 63, 0x1000, false },
	{ 0x10001, 0x1000, true },
	{ 0x10000, 0x1001, true },
	{ 0x10800, 0x800, true },
	{ 0x10000, 1, true },
};

static void bad_spans_are_refused(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	uint64_t pages[4] = { 77, 77, 77, 77 };

	for (size_t i = 0; i < sizeof(bad_spans) / sizeof(bad_spans[0]); i++) {
		const void *at = (const void *)bad_spans[i].addr;
		size_t bytes = bad_spans[i].bytes;

		REFUSED(&s, -EINVAL, usvm_vm_mirror(live->vm, at, bytes, 0));
		REFUSED(&s, -EINVAL, usvm_vm_unmirror(live->vm, at, bytes));
		if (bad_spans[i].unaligned)
			continue;
		REFUSED(&s, -EINVAL, usvm_prefetch(live->vm, at, bytes, USVM_PLACE_SYSTEM));
		REFUSED(&s, -EINVAL, usvm_prefetch(live->vm, at, bytes, USVM_PLACE_DEVICE));
		REFUSED(&s, -EINVAL, usvm_query_span(live->vm, at, bytes, pages));
	}
	assert_int_equal(pages[0], 77);
	clear_scene(&s);
}

static void bad_arguments_of_a_vm_are_refused(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	struct usvm_page_info info = { .state = 77 };
	struct usvm_queue *queue = UNTOUCHED(struct usvm_queue);
	unsigned char *nowhere = live_map(live, LIVE_PAGE);
	size_t count = UNTOUCHED_SIZE;

	for (uint32_t bit = 0; bit < 32; bit++) {
		REFUSED(&s, -EINVAL, usvm_queue_create(live->vm, &(struct usvm_queue_config){
			.flags = 1u << bit }, &queue));
		if (!(1u << bit & (USVM_VM_READ_ONLY | USVM_VM_AUTORESET)))
			REFUSED(&s, -EINVAL, usvm_vm_mirror(live->vm, s.at, LIVE_PAGE,
							    1u << bit));
	}
	REFUSED(&s, -EINVAL, usvm_queue_create(live->vm, &(struct usvm_queue_config){
		.reserved = 1 }, &queue));
	REFUSED(&s, -EINVAL, usvm_queue_create(live->vm, NULL, NULL));
	REFUSED(&s, -EINVAL, usvm_query(live->vm, s.at, NULL));
	REFUSED(&s, -EINVAL, usvm_query(live->vm, BEYOND, &info));
	REFUSED(&s, -EINVAL, usvm_query(live->vm, (void *)UINTPTR_MAX, &info));
	REFUSED(&s, -EINVAL, usvm_query_span(live->vm, s.at, LIVE_PAGE, NULL));
	REFUSED(&s, -EINVAL, usvm_prefetch(live->vm, s.at, LIVE_PAGE, (enum usvm_place)3));
	REFUSED(&s, -EINVAL, usvm_prefetch(live->vm, s.at, LIVE_PAGE, (enum usvm_place)-1));
	munmap(nowhere, LIVE_PAGE);
	REFUSED(&s, -EFAULT, usvm_prefetch(live->vm, nowhere, LIVE_PAGE, USVM_PLACE_SYSTEM));
	REFUSED(&s, -EFAULT, usvm_prefetch(live->vm, nowhere, 1, USVM_PLACE_DEVICE));
	REFUSED(&s, -EFAULT, usvm_prefetch(live->vm, NULL, LIVE_PAGE, USVM_PLACE_DEVICE));
	REFUSED(&s, -EINVAL, usvm_faults(live->vm, NULL, 0, NULL));
	REFUSED(&s, -EINVAL, usvm_faults(live->vm, NULL, 1, &count));
	assert_int_equal(info.state, 77);
	assert_ptr_equal(queue, UNTOUCHED(struct usvm_queue));
	assert_int_equal(count, UNTOUCHED_SIZE);
	clear_scene(&s);
}

static void bad_jobs_are_refused(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	struct usvm_fence *fence = UNTOUCHED(struct usvm_fence);
	char args[257] = "";
	const struct usvm_kernel kernels[] = {
		{ .function = NULL },
		{ .function = never_run, .args = args, .args_bytes = 257 },
		{ .function = never_run, .args = args, .args_bytes = UINT32_MAX },
		{ .function = never_run, .args = NULL, .args_bytes = 1 },
		{ .function = never_run, .user_fence = s.at + 1 },
		{ .function = never_run, .user_fence = s.at + 4 },
	};
	const struct usvm_batch batches[] = {
		{ .commands = NULL },
		{ .commands = s.at + 1 },
		{ .commands = s.at + 2 },
		{ .commands = s.at, .user_fence = s.at + 4 },
		{ .commands = s.at, .user_fence = s.at + 7 },
	};

	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		REFUSED(&s, -EINVAL, usvm_submit_kernel(live->queue, &kernels[i], &fence));
		REFUSED(&s, -EINVAL, usvm_submit_kernel(live->queue, &kernels[i], NULL));
		REFUSED(&s, -EINVAL, usvm_run_kernel(live->queue, &kernels[i]));
	}
	for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		REFUSED(&s, -EINVAL, usvm_submit_batch(live->queue, &batches[i], &fence));
		REFUSED(&s, -EINVAL, usvm_submit_batch(live->queue, &batches[i], NULL));
		REFUSED(&s, -EINVAL, usvm_run_batch(live->queue, &batches[i]));
	}
	REFUSED(&s, -EINVAL, usvm_submit_kernel(live->queue, NULL, &fence));
	REFUSED(&s, -EINVAL, usvm_submit_batch(live->queue, NULL, &fence));
	REFUSED(&s, -EINVAL, usvm_run_kernel(live->queue, NULL));
	REFUSED(&s, -EINVAL, usvm_run_batch(live->queue, NULL));
	assert_ptr_equal(fence, UNTOUCHED(struct usvm_fence));
	/* The largest arguments there can be. */
	assert_int_equal(usvm_run_kernel(live->queue, &(struct usvm_kernel){
		.function = nothing, .args = args, .args_bytes = 256 }), 0);
	clear_scene(&s);
}

/* --- the order of things ---------------- */

static void what_has_children_is_not_destroyed(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	struct usvm_fence *fence;
	struct usvm_queue *queue;
	struct usvm_vm *vm;
	struct usvm *gpu;

	REFUSED(&s, -EBUSY, usvm_close(live->gpu));
	REFUSED(&s, -EBUSY, usvm_vm_destroy(live->vm));

	assert_int_equal(usvm_open("model:vram=2M", &gpu), 0);
	assert_int_equal(usvm_vm_create(gpu, NULL, &vm), 0);
	assert_int_equal(usvm_queue_create(vm, NULL, &queue), 0);
	assert_int_equal(usvm_submit_kernel(queue, &(struct usvm_kernel){
		.function = nothing }, &fence), 0);
	assert_int_equal(usvm_fence_wait(fence, USVM_FOREVER), 0);
	assert_int_equal(usvm_close(gpu), -EBUSY);
	assert_int_equal(usvm_vm_destroy(vm), -EBUSY);
	assert_int_equal(usvm_queue_destroy(queue), 0);
	assert_int_equal(usvm_close(gpu), -EBUSY);
	assert_int_equal(usvm_vm_destroy(vm), 0);
	/* A fence outlives its queue, and keeps the device. */
	assert_int_equal(usvm_close(gpu), -EBUSY);
	assert_int_equal(usvm_fence_wait(fence, 0), 0);
	usvm_fence_put(fence);
	assert_int_equal(usvm_close(gpu), 0);
	clear_scene(&s);
}

static void binds_that_overlap_or_are_used_are_busy(void **state)
{
	struct live *live = *state;
	struct scene s = set_scene(live);
	unsigned char *at = s.at;
	struct usvm_vm *vm;

	REFUSED(&s, -EBUSY, usvm_vm_mirror(live->vm, at, LIVE_PAGE, 0));
	REFUSED(&s, -EBUSY, usvm_vm_mirror(live->vm, at, s.bytes, USVM_VM_READ_ONLY));
	REFUSED(&s, -ENOENT, usvm_vm_unmirror(live->vm, at, s.bytes));

	assert_int_equal(usvm_vm_create(live->gpu, &(struct usvm_vm_config){
		.flags = USVM_VM_NO_MIRROR }, &vm), 0);
	assert_int_equal(usvm_vm_unmirror(vm, at, LIVE_PAGE), -ENOENT);
	assert_int_equal(usvm_vm_mirror(vm, at + LIVE_PAGE, 2 * LIVE_PAGE, 0), 0);
	assert_int_equal(usvm_vm_mirror(vm, at + LIVE_PAGE, 2 * LIVE_PAGE, 0), -EBUSY);
	assert_int_equal(usvm_vm_mirror(vm, at, 2 * LIVE_PAGE, 0), -EBUSY);
	assert_int_equal(usvm_vm_mirror(vm, at + 2 * LIVE_PAGE, 2 * LIVE_PAGE, 0), -EBUSY);
	assert_int_equal(usvm_vm_mirror(vm, at, 4 * LIVE_PAGE, 0), -EBUSY);
	assert_int_equal(usvm_vm_unmirror(vm, at + LIVE_PAGE, LIVE_PAGE), -ENOENT);
	assert_int_equal(usvm_vm_unmirror(vm, at, 4 * LIVE_PAGE), -ENOENT);
	assert_int_equal(usvm_vm_unmirror(vm, at + 2 * LIVE_PAGE, LIVE_PAGE), -ENOENT);
	/* Its neighbours are free. */
	assert_int_equal(usvm_vm_mirror(vm, at, LIVE_PAGE, 0), 0);
	assert_int_equal(usvm_vm_mirror(vm, at + 3 * LIVE_PAGE, LIVE_PAGE, 0), 0);
	assert_int_equal(usvm_vm_unmirror(vm, at + LIVE_PAGE, 2 * LIVE_PAGE), 0);
	assert_int_equal(usvm_vm_unmirror(vm, at + LIVE_PAGE, 2 * LIVE_PAGE), -ENOENT);
	assert_int_equal(usvm_vm_destroy(vm), 0);
	clear_scene(&s);
}

static void a_device_has_64_address_spaces(void **state)
{
	struct scene s = set_scene(*state);
	struct usvm_vm *vms[64], *more = UNTOUCHED(struct usvm_vm);
	struct usvm *gpu;

	assert_int_equal(usvm_open("model:vram=2M", &gpu), 0);
	for (int i = 0; i < 64; i++)
		assert_int_equal(usvm_vm_create(gpu, NULL, &vms[i]), 0);
	assert_int_equal(usvm_vm_create(gpu, NULL, &more), -ENOSPC);
	assert_ptr_equal(more, UNTOUCHED(struct usvm_vm));
	assert_int_equal(usvm_vm_destroy(vms[31]), 0);
	assert_int_equal(usvm_vm_create(gpu, NULL, &vms[31]), 0);
	for (int i = 0; i < 64; i++)
		assert_int_equal(usvm_vm_destroy(vms[i]), 0);
	assert_int_equal(usvm_close(gpu), 0);
	clear_scene(&s);
}

static void every_error_has_words(void **state)
{
	static const int errors[] = { EACCES, EAGAIN, EBADF, EBUSY, ECANCELED, ECHILD, EFAULT,
				      EINVAL, EIO, EMFILE, ENODEV, ENOENT, ENOMEM, ENOSPC, ENOSYS,
				      EOPNOTSUPP, EPERM, EPROTO, ETIMEDOUT };
	static const int strange[] = { INT32_MIN, INT32_MAX, -4096, 4096, EXFULL };
	struct scene s = set_scene(*state);
	const char *unknown = usvm_strerror(INT32_MAX);

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		assert_string_equal(usvm_strerror(errors[i]), usvm_strerror(-errors[i]));
		assert_string_not_equal(usvm_strerror(errors[i]), unknown);
	}
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++)
		assert_string_equal(usvm_strerror(strange[i]), unknown);
	assert_string_not_equal(usvm_strerror(0), unknown);
	assert_int_equal(strspn(usvm_version(), "0123456789."), strlen(usvm_version()));
	clear_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_MOVE(a_bad_specification_opens_nothing),
		LIVE_TEST_MOVE(a_good_specification_opens_a_device),
		LIVE_TEST_MOVE(no_handle_is_an_invalid_argument),
		LIVE_TEST_MODES(a_handle_of_another_kind_is_refused),
		LIVE_TEST_MODES(a_destroyed_handle_is_refused),
		LIVE_TEST_MOVE(bad_arguments_of_a_device_are_refused),
		LIVE_TEST_MODES(bad_spans_are_refused),
		LIVE_TEST_MODES(bad_arguments_of_a_vm_are_refused),
		LIVE_TEST_MODES(bad_jobs_are_refused),
		LIVE_TEST_MODES(what_has_children_is_not_destroyed),
		LIVE_TEST_MODES(binds_that_overlap_or_are_used_are_busy),
		LIVE_TEST_MOVE(a_device_has_64_address_spaces),
		LIVE_TEST_MOVE(every_error_has_words),
	};

	return LIVE_RUN(tests);
}
