/* SPDX-License-Identifier: MIT */
/*
 * DOC: Jobs and fences
 *
 * A fence and its job are one object with two references, the job's and the
 * caller's. Whoever is last puts it onto a stack without a lock, and the next submit
 * takes it from there: then the caller's thread submits by itself, holding no lock but
 * the queues', which no monitor takes. Where the stack is empty a worker makes a fence:
 * pools are not for the program's threads.
 */
#include "api/api_internal.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/host.h"

struct submit_args {
	struct usvm_queue *queue;
	struct usvm_fence *fence;
	bool wanted; /* the caller keeps a reference */
	enum gpu_job_type type;
	usvm_kernel_fn kernel;
	uint32_t groups[3];
	uint32_t args_bytes;
	uint64_t args[GPU_KERNEL_ARGS_MAX / 8];
	uint64_t batch_addr;
	uint64_t user_fence_addr;
	uint64_t user_fence_value;
};

/* @first to @last, linked, onto the stack. */
static void fences_push(struct usvm *usvm, struct usvm_fence *first, struct usvm_fence *last)
{
	struct usvm_fence *head = ATOMIC_LOAD_RELAXED(&usvm->free_fences);

	do {
		last->next = head;
	} while (!ATOMIC_COMPARE_EXCHANGE(&usvm->free_fences, &head, first));
}

/* One from the stack, or NULL. All are taken and the others put back: whoever takes one
 * alone may find another on top, whose next is the same and is not. */
static struct usvm_fence *fence_pop(struct usvm *usvm)
{
	struct usvm_fence *fence = ATOMIC_EXCHANGE(&usvm->free_fences, NULL);
	struct usvm_fence *last = fence ? fence->next : NULL;

	while (last && last->next)
		last = last->next;
	if (last)
		fences_push(usvm, fence->next, last);
	return fence;
}

static void fence_put(struct usvm_fence *fence)
{
	if (ATOMIC_SUB(&fence->reference_count, 1) != 1)
		return;
	ATOMIC_STORE_RELAXED(&fence->magic, 0);
	fences_push(fence->usvm, fence, fence);
}

/* On a worker: what was given back goes to the pool, all of it. */
static void reclaim(struct usvm *usvm)
{
	struct usvm_fence *fence = ATOMIC_EXCHANGE(&usvm->free_fences, NULL);

	while (fence) {
		struct usvm_fence *next = fence->next;

		pool_put(&usvm->fence_pool, fence);
		ATOMIC_SUB(&usvm->fence_count, 1);
		fence = next;
	}
}

static void job_done(struct gpu_job *job)
{
	struct usvm_fence *fence = CONTAINER_OF(job, struct usvm_fence, job);
	struct usvm_queue *queue = fence->queue;

	if (job->error && job->error != -ECANCELED) {
		lock_acquire(&queue->lock);
		queue->status.banned = 1;
		queue->status.error = job->error;
		queue->status.fault = (struct usvm_fault){
			.addr = job->fault_addr,
			.access = job->fault_access,
			.error = job->error,
			.time_ns = fence->usvm->sys->ops->clock_ns(fence->usvm->sys),
		};
		lock_release(&queue->lock);
	}
	fence->error = job->error;
	ATOMIC_STORE(&fence->done, 1);
	wait_wake_all(&fence->wait);
	fence_put(fence);
}

static int submit_fence(struct submit_args *a, struct usvm_fence *fence)
{
	int err;

	fence->usvm = a->queue->vm->usvm;
	fence->queue = a->queue;
	fence->error = 0;
	ATOMIC_STORE_RELAXED(&fence->done, 0);
	fence->reference_count = a->wanted ? 2 : 1;
	wait_init(&fence->wait);
	fence->job = (struct gpu_job){
		.type = a->type,
		.kernel = a->kernel,
		.groups = { a->groups[0], a->groups[1], a->groups[2] },
		.args_bytes = a->args_bytes,
		.batch_addr = a->batch_addr,
		.user_fence_addr = a->user_fence_addr,
		.user_fence_value = a->user_fence_value,
		.done = job_done,
	};
	memcpy(fence->job.args, a->args, a->args_bytes);
	fence->magic = API_MAGIC_FENCE;
	err = gpu_queue_submit(a->queue->queue, &fence->job);
	if (err) {
		fence->reference_count = 1;
		fence_put(fence);
		return err;
	}
	a->fence = fence;
	return 0;
}

/* On a worker: with a fence of its own. */
static int submit(void *argument)
{
	struct submit_args *a = argument;
	struct usvm *usvm = a->queue->vm->usvm;
	struct usvm_fence *fence = pool_alloc(&usvm->fence_pool);

	if (!fence)
		return -ENOMEM;
	ATOMIC_ADD(&usvm->fence_count, 1);
	return submit_fence(a, fence);
}

static int submit_and_return(struct usvm_queue *queue, struct submit_args *a,
			     struct usvm_fence **fence)
{
	struct usvm_fence *spare;
	int err;

	_Static_assert(sizeof(*a) <= MM_CALL_ARGUMENT_MAX, "fits a call");
	a->queue = queue;
	a->wanted = fence != NULL;
	if (a->user_fence_addr % 8)
		return -EINVAL;
	if (vm_device_is_unplugged(queue->vm->usvm->device))
		return -ENODEV;
	spare = fence_pop(queue->vm->usvm);
	err = spare ? submit_fence(a, spare) :
		      mm_call(queue->vm->usvm->mm, submit, a, sizeof(*a));
	if (!err && fence)
		*fence = a->fence;
	return err;
}

int usvm_submit_kernel(struct usvm_queue *queue, const struct usvm_kernel *kernel,
		       struct usvm_fence **fence)
{
	struct submit_args a = { .type = GPU_JOB_KERNEL };
	int err = api_check(queue, API_MAGIC_QUEUE);

	if (err)
		return err;
	if (!kernel || !kernel->function || kernel->args_bytes > sizeof(a.args) ||
	    (kernel->args_bytes && !kernel->args))
		return -EINVAL;
	a.kernel = kernel->function;
	for (int i = 0; i < 3; i++)
		a.groups[i] = MAX(kernel->groups[i], 1u);
	a.args_bytes = kernel->args_bytes;
	if (a.args_bytes)
		memcpy(a.args, kernel->args, a.args_bytes);
	a.user_fence_addr = (uintptr_t)kernel->user_fence;
	a.user_fence_value = kernel->user_fence_value;
	return submit_and_return(queue, &a, fence);
}

int usvm_submit_batch(struct usvm_queue *queue, const struct usvm_batch *batch,
		      struct usvm_fence **fence)
{
	struct submit_args a = { .type = GPU_JOB_BATCH };
	int err = api_check(queue, API_MAGIC_QUEUE);

	if (err)
		return err;
	if (!batch || !batch->commands || (uintptr_t)batch->commands % 4)
		return -EINVAL;
	a.batch_addr = (uintptr_t)batch->commands;
	a.user_fence_addr = (uintptr_t)batch->user_fence;
	a.user_fence_value = batch->user_fence_value;
	return submit_and_return(queue, &a, fence);
}

int usvm_fence_wait(struct usvm_fence *fence, uint64_t timeout_ns)
{
	struct sys *sys;
	uint64_t start;
	int err = api_check(fence, API_MAGIC_FENCE);

	if (err)
		return err;
	sys = fence->usvm->sys;
	start = sys->ops->clock_ns(sys);
	for (;;) {
		uint32_t ticket = wait_ticket(&fence->wait);
		uint64_t passed = sys->ops->clock_ns(sys) - start;

		if (ATOMIC_LOAD(&fence->done))
			return fence->error;
		if (timeout_ns != USVM_FOREVER && passed >= timeout_ns)
			return -ETIMEDOUT;
		wait_sleep(&fence->wait, ticket,
			   timeout_ns == USVM_FOREVER ? BASE_FOREVER : timeout_ns - passed);
	}
}

void usvm_fence_put(struct usvm_fence *fence)
{
	if (!fence || api_check(fence, API_MAGIC_FENCE))
		return;
	/* The job may have its reference for long yet: the handle is no more. */
	ATOMIC_STORE_RELAXED(&fence->magic, 0);
	fence_put(fence);
}

int usvm_run_kernel(struct usvm_queue *queue, const struct usvm_kernel *kernel)
{
	struct usvm_fence *fence;
	int err;

	err = usvm_submit_kernel(queue, kernel, &fence);
	if (err)
		return err;
	err = usvm_fence_wait(fence, USVM_FOREVER);
	usvm_fence_put(fence);
	return err;
}

int usvm_run_batch(struct usvm_queue *queue, const struct usvm_batch *batch)
{
	struct usvm_fence *fence;
	int err;

	err = usvm_submit_batch(queue, batch, &fence);
	if (err)
		return err;
	err = usvm_fence_wait(fence, USVM_FOREVER);
	usvm_fence_put(fence);
	return err;
}

static int reclaim_all(void *argument)
{
	struct usvm *usvm = *(struct usvm **)argument;

	reclaim(usvm);
	return 0;
}

/* Every queue is gone, so every job is over; what is left are fences the caller holds. */
int api_fences_drain(struct usvm *usvm)
{
	mm_call(usvm->mm, reclaim_all, &usvm, sizeof(usvm));
	return ATOMIC_LOAD(&usvm->fence_count) ? -EBUSY : 0;
}
