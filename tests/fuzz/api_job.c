/* SPDX-License-Identifier: MIT */
/*
 * DOC: calls on queues, jobs and fences
 *
 * Kernels that are run and waited for may write to words that have a shadow; the others
 * to the scratch part. A job that never ends makes its device one on which nothing is
 * waited for without a limit: other queues may have no engine left.
 */
#include "fuzz/api.h"

#define WAIT_NS_MAX 500000

struct arguments {
	uint64_t addr;
	uint64_t value;
};

/* --- kernels ---------------- */

static void kernel_nothing(struct usvm_lane *lane, const void *args)
{
	(void)lane;
	(void)args;
}

static void kernel_load(struct usvm_lane *lane, const void *args)
{
	const struct arguments *a = args;

	usvm_load64(lane, a->addr);
	usvm_load8(lane, a->addr + 7);
}

static void kernel_store(struct usvm_lane *lane, const void *args)
{
	const struct arguments *a = args;

	usvm_store64(lane, a->addr, a->value);
}

static void kernel_add(struct usvm_lane *lane, const void *args)
{
	const struct arguments *a = args;

	usvm_lane_atomic(lane, USVM_SYSTEM_ADD, a->addr, 8, a->value, 0);
}

static void kernel_read(struct usvm_lane *lane, const void *args)
{
	const struct arguments *a = args;
	unsigned char bytes[4096];

	usvm_lane_read(lane, bytes, a->addr, a->value % sizeof(bytes));
}

static void kernel_endless(struct usvm_lane *lane, const void *args)
{
	const struct arguments *a = args;

	for (;;)
		usvm_load32(lane, a->addr);
}

enum { ENDLESS = 5, KERNELS };

static const usvm_kernel_fn kernels[KERNELS] = {
	kernel_nothing, kernel_load, kernel_store, kernel_add, kernel_read, kernel_endless,
};

/* --- queues ---------------- */

void api_queue_create(struct api *api)
{
	struct api_handle h = api_handle(api, API_VM);
	struct api_slot *slot = api_free_slot(api, API_QUEUE);
	uint32_t how = fuzz_take8(&api->in);
	struct usvm_queue_config config = {
		.flags = how >= 0xf8,
		.reserved = how >= 0xf0 && how < 0xf8,
	};
	struct usvm_queue *queue = API_UNTOUCHED;
	int wanted = h.error;
	int err;

	if (!wanted && (!slot || config.flags || config.reserved))
		wanted = -EINVAL;
	else if (!wanted && h.slot->parent->is_own)
		wanted = -EOPNOTSUPP;
	err = usvm_queue_create(h.handle, how & 1 && !wanted ? NULL : &config,
				slot ? &queue : NULL);
	API_EXACTLY("usvm_queue_create", err, wanted);
	if (err)
		FUZZ_CHECK(queue == API_UNTOUCHED, "a queue in spite of %d", err);
	else
		api_born(slot, queue, h.slot);
}

void api_queue_destroy(struct api *api)
{
	struct api_handle h = api_handle(api, API_QUEUE);

	API_EXACTLY("usvm_queue_destroy", usvm_queue_destroy(h.handle),
		    h.handle ? h.error : 0);
	if (h.slot)
		api_died(h.slot);
}

void api_queue_status(struct api *api)
{
	struct api_handle h = api_handle(api, API_QUEUE);
	bool null = fuzz_take8(&api->in) % 16 == 1;
	struct usvm_queue_status status = { .banned = 77 };
	int err = usvm_queue_status(h.handle, null ? NULL : &status);

	API_EXACTLY("usvm_queue_status", err, h.error ? h.error : null ? -EINVAL : 0);
	FUZZ_CHECK(!err || status.banned == 77, "written in spite of %d", err);
	FUZZ_CHECK(err || (status.banned <= 1 && !status.banned == !status.error), "status");
}

/* --- jobs ---------------- */

struct job {
	struct usvm_kernel kernel;
	struct usvm_batch batch;
	struct arguments arguments;
	bool is_wrong;   /* -EINVAL */
	bool is_endless;
};

static bool is_fence_good(uint64_t addr)
{
	return addr % 8 == 0;
}

/* For a kernel's or a user fence's writes. */
static uint64_t take_target(struct fuzz_input *in)
{
	uint64_t addr = api_memory_address(in);
	uint64_t kept = api_memory_at(API_KEPT, 0);
	uint64_t scratch = api_memory_at(API_SCRATCH, 0);
	uint64_t commands = api_memory_at(API_COMMANDS, 0);
	bool is_kept = addr >= kept && addr < scratch;
	bool is_command = addr >= commands - 8 && addr < commands + 65536;

	if (is_kept || is_command || !api_memory_may_reach(addr, 8))
		return scratch + (addr & 0xffff);
	return addr;
}

static void take_user_fence(struct fuzz_input *in, struct job *job)
{
	uint32_t how = fuzz_take8(in);
	uint64_t addr = how & 1 ? take_target(in) : 0;

	job->kernel.user_fence = (void *)(uintptr_t)addr;
	job->kernel.user_fence_value = how;
	job->batch.user_fence = job->kernel.user_fence;
	job->batch.user_fence_value = how;
	job->is_wrong |= !is_fence_good(addr);
}

static void take_kernel(struct fuzz_input *in, struct job *job)
{
	uint32_t how = fuzz_take8(in);
	uint32_t which = fuzz_take8(in) % KERNELS;
	struct usvm_kernel *kernel = &job->kernel;

	memset(job, 0, sizeof(*job));
	kernel->function = kernels[which];
	kernel->args = &job->arguments;
	kernel->args_bytes = sizeof(job->arguments);
	job->arguments.addr = take_target(in);
	job->arguments.value = fuzz_take(in, 2);
	for (int i = 0; i < 3; i++)
		kernel->groups[i] = how >> (2 * i) & 3;
	job->is_endless = which == ENDLESS;
	switch (how < 0xe0 ? 0 : how % 8) {
	case 1:
		kernel->function = NULL;
		job->is_wrong = true;
		break;
	case 2:
		kernel->args = NULL;
		job->is_wrong = true;
		break;
	case 3:
		kernel->args_bytes = 257 + (uint32_t)fuzz_take(in, how & 8 ? 4 : 1) %
						   (UINT32_MAX - 257);
		job->is_wrong = true;
		break;
	case 4: /* 2^96 groups */
		kernel->function = kernel_nothing;
		memset(kernel->groups, 0xff, sizeof(kernel->groups));
		job->is_endless = true;
		break;
	case 5:
		kernel->function = kernel_nothing;
		kernel->args = NULL;
		kernel->args_bytes = 0;
		job->is_endless = false;
		break;
	default:
		break;
	}
	take_user_fence(in, job);
}

static void take_batch(struct fuzz_input *in, struct job *job)
{
	uint32_t how = fuzz_take8(in);
	uint64_t addr = (uintptr_t)api_memory_batch(how);

	memset(job, 0, sizeof(*job));
	job->is_endless = how % API_BATCHES == API_BATCH_ENDLESS;
	if (how >= 0xe0) {
		/* Where the contents are no commands that store, or are none at all. */
		addr = how & 1 ? api_memory_at(API_READ, fuzz_take(in, 2)) :
				 api_memory_at(API_NONE, fuzz_take(in, 2));
		job->is_endless = false;
	}
	if (how == 0xff)
		addr = 0;
	job->batch.commands = (const void *)(uintptr_t)addr;
	job->is_wrong = !addr || addr % 4;
	take_user_fence(in, job);
}

static void api_submit(struct api *api, bool is_kernel)
{
	struct api_handle h = api_handle(api, API_QUEUE);
	struct api_slot *slot = api_free_slot(api, API_FENCE);
	struct usvm_fence *fence = API_UNTOUCHED;
	struct job job;
	int err;

	if (is_kernel)
		take_kernel(&api->in, &job);
	else
		take_batch(&api->in, &job);
	if (fuzz_take8(&api->in) % 4 == 1)
		slot = NULL;
	err = is_kernel ? usvm_submit_kernel(h.handle, &job.kernel, slot ? &fence : NULL) :
			  usvm_submit_batch(h.handle, &job.batch, slot ? &fence : NULL);
	if (h.error || job.is_wrong)
		API_EXACTLY("usvm_submit", err, h.error ? h.error : -EINVAL);
	else
		API_EXPECT("usvm_submit", err, -ECANCELED, -ENOMEM);
	if (err) {
		FUZZ_CHECK(fence == API_UNTOUCHED, "a fence in spite of %d", err);
		return;
	}
	if (slot)
		api_born(slot, fence, api_device_of(h.slot));
	if (job.is_endless && !h.slot->is_endless) {
		h.slot->is_endless = true;
		api_device_of(h.slot)->endless_count++;
	}
}

void api_submit_kernel(struct api *api)
{
	api_submit(api, true);
}

void api_submit_batch(struct api *api)
{
	api_submit(api, false);
}

static void api_run(struct api *api, bool is_kernel)
{
	struct api_handle h = api_handle(api, API_QUEUE);
	struct job job;
	int err;

	if (is_kernel)
		take_kernel(&api->in, &job);
	else
		take_batch(&api->in, &job);
	if (h.slot && !job.is_wrong &&
	    (job.is_endless || api_device_of(h.slot)->endless_count))
		return;
	err = is_kernel ? usvm_run_kernel(h.handle, &job.kernel) :
			  usvm_run_batch(h.handle, &job.batch);
	if (h.error || job.is_wrong)
		API_EXACTLY("usvm_run", err, h.error ? h.error : -EINVAL);
	else
		API_EXPECT("usvm_run", err, -EINVAL, -EFAULT, -EPERM, -EACCES, -EPROTO,
			   -ECANCELED, -ENOMEM, -EBUSY);
}

void api_run_kernel(struct api *api)
{
	api_run(api, true);
}

void api_run_batch(struct api *api)
{
	api_run(api, false);
}

/* A job that counts: what it adds must be there, whoever has the page. */
void api_add(struct api *api)
{
	struct api_handle h = api_handle(api, API_QUEUE);
	uint32_t word = fuzz_take8(&api->in);
	struct arguments arguments = {
		.addr = api_memory_at(API_KEPT, API_KEPT_WORD(word)),
		.value = fuzz_take(&api->in, 8),
	};
	const struct usvm_kernel kernel = {
		.function = kernel_add,
		.args = &arguments,
		.args_bytes = sizeof(arguments),
	};
	int err;

	if (h.slot && api_device_of(h.slot)->endless_count)
		return;
	err = usvm_run_kernel(h.handle, &kernel);
	if (h.error)
		API_EXACTLY("usvm_run_kernel", err, h.error);
	else
		API_EXPECT("usvm_run_kernel", err, -EFAULT, -EPERM, -EACCES, -ECANCELED,
			   -ENOMEM, -EBUSY);
	if (!err)
		api_memory_changed(word, arguments.value);
}

/* --- fences ---------------- */

void api_fence_wait(struct api *api)
{
	struct api_handle h = api_handle(api, API_FENCE);
	uint32_t how = fuzz_take8(&api->in);
	uint64_t timeout_ns = how & 1 ? fuzz_take(&api->in, 4) % WAIT_NS_MAX : 0;
	int err;

	if (how & 2 && h.slot && !api_device_of(h.slot)->endless_count)
		timeout_ns = how & 4 ? USVM_FOREVER : USVM_FOREVER - 1;
	err = usvm_fence_wait(h.handle, timeout_ns);
	if (h.error)
		API_EXACTLY("usvm_fence_wait", err, h.error);
	else
		API_EXPECT("usvm_fence_wait", err, -EINVAL, -EFAULT, -EPERM, -EACCES, -EPROTO,
			   -ECANCELED, -ENOMEM, -EBUSY, -ETIMEDOUT);
	FUZZ_CHECK(err != -ETIMEDOUT || timeout_ns < WAIT_NS_MAX, "an early end");
}

void api_fence_put(struct api *api)
{
	struct api_handle h = api_handle(api, API_FENCE);

	usvm_fence_put(h.handle);
	if (h.slot)
		api_died(h.slot);
}
