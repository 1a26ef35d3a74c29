/* SPDX-License-Identifier: MIT */
/*
 * DOC: queues and the scheduler
 *
 * One lock, one list of ready queues. A queue is on it iff it has jobs and none
 * of them runs; so jobs of one queue run in order, and a queue that has more goes
 * behind the others: round robin, a job at a time, on any engine.
 *
 *     submit:  queue idle?  -> ready, wake one idle engine
 *     engine:  first ready queue, its first job; run; done(); more jobs? -> ready
 *
 * Every job that was accepted ends by done() on an engine, also the ones that are
 * not run: the queue of a failed job is banned and drains through the same path.
 * gpu_queue_destroy() only marks the queue and waits for the drain: done() would
 * otherwise run in a thread that may hold what done() takes.
 *
 * queue_lock is no lock of the monitor's: threads of the program take it.
 */
#include <errno.h>

#include "base/assert.h"
#include "gpu/gpu_internal.h"

#define QUEUE_BYTES ALIGN_UP(sizeof(struct gpu_queue), PAGE_BYTES)

static void wake_engine(struct gpu *gpu) MUST_HOLD(gpu->queue_lock);
static void wake_engine(struct gpu *gpu)
{
	struct list *node = list_pop_front(&gpu->idle);

	if (node)
		wait_wake_all(&LIST_ENTRY(node, struct gpu_engine, idle_node)->wait);
}

/* The vm that the queue was made for, or NULL if it is gone. */
static struct gpu_vm *queue_vm(struct gpu *gpu, const struct gpu_queue *queue)
	MUST_HOLD(gpu->queue_lock);
static struct gpu_vm *queue_vm(struct gpu *gpu, const struct gpu_queue *queue)
{
	struct gpu_vm *vm = ATOMIC_LOAD_ACQUIRE(&gpu->vms[queue->vm_id]);

	return vm && vm->serial == queue->vm_serial ? vm : NULL;
}

int gpu_queue_create(struct gpu *gpu, uint32_t vm, struct gpu_queue **queue)
{
	struct gpu_queue *q = base_host->pages_alloc(QUEUE_BYTES);
	const struct gpu_vm *v = NULL;

	if (!q)
		return -ENOMEM;
	q->gpu = gpu;
	q->vm_id = vm;
	list_init(&q->ready_node);
	list_init(&q->jobs);
	wait_init(&q->idle);

	lock_acquire(&gpu->queue_lock);
	if (vm < GPU_VMS_MAX)
		v = ATOMIC_LOAD_ACQUIRE(&gpu->vms[vm]);
	if (v)
		q->vm_serial = v->serial;
	lock_release(&gpu->queue_lock);
	if (!v) {
		base_host->pages_free(q, QUEUE_BYTES);
		return -ENOENT;
	}
	*queue = q;
	return 0;
}

/* How jobs end that are not run. */
static int queue_error(const struct gpu_queue *queue)
{
	return queue->device_gone ? -ENODEV : -ECANCELED;
}

int gpu_queue_submit(struct gpu_queue *queue, struct gpu_job *job)
{
	struct gpu *gpu = queue->gpu;
	int err = 0;

	ASSERT(job->done);
	ASSERT(IS_ALIGNED(job->user_fence_addr, 8));
	if (job->type == GPU_JOB_KERNEL)
		ASSERT(job->kernel && job->groups[0] && job->groups[1] && job->groups[2]);
	else
		ASSERT(IS_ALIGNED(job->batch_addr, 4));

	lock_acquire(&gpu->queue_lock);
	if (gpu->closing || queue->destroying || queue->banned) {
		err = queue_error(queue);
	} else {
		bool was_idle = list_is_empty(&queue->jobs) && !queue->engine;

		list_push_back(&queue->jobs, &job->node);
		if (was_idle) {
			list_push_back(&gpu->ready, &queue->ready_node);
			wake_engine(gpu);
		}
	}
	lock_release(&gpu->queue_lock);
	return err;
}

/* A job of @queue is over and done() was called. */
static void queue_finish(struct gpu *gpu, struct gpu_queue *queue)
	MUST_HOLD(gpu->queue_lock);
static void queue_finish(struct gpu *gpu, struct gpu_queue *queue)
{
	queue->engine = NULL;
	if (!list_is_empty(&queue->jobs)) {
		/* Wakes nobody: the caller takes a ready queue next, and whatever else is
		 * ready woke an engine when it came. */
		list_push_back(&gpu->ready, &queue->ready_node);
	} else if (queue->destroying) {
		/* Under the lock: the queue is freed as soon as it is dropped. */
		wait_wake_all(&queue->idle);
	}
}

bool queue_run_next(struct gpu *gpu, struct gpu_engine *engine)
{
	struct list *node = list_pop_front(&gpu->ready);
	struct gpu_queue *queue;
	struct gpu_job *job;
	int err;

	if (!node)
		return false;
	queue = LIST_ENTRY(node, struct gpu_queue, ready_node);
	job = LIST_ENTRY(list_pop_front(&queue->jobs), struct gpu_job, node);
	job->fault_addr = 0;
	job->fault_access = 0;
	queue->engine = engine;
	err = queue_error(queue);
	if (!queue->banned && !queue->destroying && !gpu->closing)
		engine->vm = queue_vm(gpu, queue);
	ATOMIC_STORE_RELAXED(&engine->lane.stop, &gpu->stop);

	lock_release(&gpu->queue_lock);
	if (engine->vm)
		err = engine_run_job(engine, job);
	lock_acquire(&gpu->queue_lock);
	engine->vm = NULL;
	/* Before done(): who learns of the error finds the queue banned. */
	queue->device_gone |= err == -ENODEV;
	if (err)
		ATOMIC_STORE(&queue->banned, 1);

	lock_release(&gpu->queue_lock);
	job->error = err;
	job->done(job);
	lock_acquire(&gpu->queue_lock);
	queue_finish(gpu, queue);
	return true;
}

void gpu_queue_destroy(struct gpu_queue *queue)
{
	struct gpu *gpu;

	if (!queue)
		return;
	gpu = queue->gpu;
	lock_acquire(&gpu->queue_lock);
	ASSERT(!queue->destroying);
	queue->destroying = true;
	if (queue->engine)
		ATOMIC_STORE(&queue->engine->lane.stop, &gpu->leave);
	while (queue->engine || !list_is_empty(&queue->jobs)) {
		uint32_t ticket = wait_ticket(&queue->idle);

		lock_release(&gpu->queue_lock);
		wait_sleep(&queue->idle, ticket, BASE_FOREVER);
		lock_acquire(&gpu->queue_lock);
	}
	lock_release(&gpu->queue_lock);
	base_host->pages_free(queue, QUEUE_BYTES);
}

void gpu_queue_ban(struct gpu_queue *queue)
{
	struct gpu *gpu = queue->gpu;

	lock_acquire(&gpu->queue_lock);
	ATOMIC_STORE(&queue->banned, 1);
	if (queue->engine)
		ATOMIC_STORE(&queue->engine->lane.stop, &gpu->leave);
	lock_release(&gpu->queue_lock);
}

bool gpu_queue_is_banned(const struct gpu_queue *queue)
{
	return ATOMIC_LOAD(&queue->banned);
}
