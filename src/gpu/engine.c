/* SPDX-License-Identifier: MIT */
/*
 * DOC: engines
 *
 * An engine is a thread. It sleeps on gpu.idle until a queue is ready, takes one
 * job at a time, and runs it to its end: jobs are not preempted. While a job
 * runs, but for the sleep inside a fault, engine.active is set; only then does a
 * stop have to wait for the engine (the proof is in mmu.c).
 *
 * A kernel runs the groups of its grid one after the other, x fastest, on one
 * engine. Rejected for now: sharing one grid between idle engines. It makes the
 * end of a job, its error and its fence a matter of several lanes; a submitter
 * that wants the engines to share work has several queues.
 */
#include <errno.h>

#include "base/assert.h"
#include "gpu/gpu_internal.h"

/* Less than the stack that host->thread_create() gives (256 KiB). */
#define ENGINE_STACK_BYTES KIB(192)

/* A function of its own: what setjmp() may clobber is all here. */
static int run_kernel(struct gpu_engine *engine)
{
	struct usvm_lane *lane = &engine->lane;
	const struct gpu_job *job = engine->job;

	for (unsigned int dim = 0; dim < 3; dim++) {
		lane->group_id[dim] = 0;
		lane->group_count[dim] = job->groups[dim];
	}
	if (_setjmp(engine->leave))
		return engine->leave_error;

	/* The place in the grid is kept in the lane, which survives the jump back. */
	while (lane->group_id[2] < job->groups[2]) {
		if (mmu_is_leaving(engine))
			return -ECANCELED;
		job->kernel(lane, job->args);
		if (++lane->group_id[0] < job->groups[0])
			continue;
		lane->group_id[0] = 0;
		if (++lane->group_id[1] < job->groups[1])
			continue;
		lane->group_id[1] = 0;
		lane->group_id[2]++;
	}
	return 0;
}

static int run_in_vm(struct gpu_engine *engine, const struct gpu_job *job)
{
	uint64_t fence = job->user_fence_value;
	int err = 0;

	mmu_adopt_vm(engine);
	if (job->type == GPU_JOB_KERNEL)
		err = run_kernel(engine);
	else if (job->type == GPU_JOB_BATCH)
		err = command_streamer_run(engine);
	if (err || !job->user_fence_addr)
		return err;
	return mmu_access(engine, USVM_SYSTEM_WRITE, job->user_fence_addr, &fence,
			  sizeof(fence));
}

int engine_run_job(struct gpu_engine *engine, struct gpu_job *job)
{
	const struct usvm_device_host *host = engine->gpu->host;
	int err;

	/* Before active: it may wait for the monitor. */
	err = host->engine_begin(host->usvm);
	if (err)
		return err;

	engine->job = job;
	/* A full fence (on x86-64 the store is an exchange): see mmu.c. */
	ATOMIC_STORE(&engine->active, 1);
	err = run_in_vm(engine, job);
	ATOMIC_STORE_RELEASE(&engine->active, 0);
	engine->job = NULL;
	ATOMIC_STORE_RELAXED(&engine->job_count, engine->job_count + 1);
	return err;
}

static void engine_loop(struct gpu *gpu, struct gpu_engine *engine)
	MUST_HOLD(gpu->queue_lock);
static void engine_loop(struct gpu *gpu, struct gpu_engine *engine)
{
	for (;;) {
		uint32_t ticket;

		if (queue_run_next(gpu, engine))
			continue;
		if (gpu->closing)
			return;
		list_push_front(&gpu->idle, &engine->idle_node);
		ticket = wait_ticket(&engine->wait);
		lock_release(&gpu->queue_lock);
		wait_sleep(&engine->wait, ticket, BASE_FOREVER);
		lock_acquire(&gpu->queue_lock);
		list_remove(&engine->idle_node);
	}
}

void engine_main(void *arg)
{
	struct gpu_engine *engine = arg;
	struct gpu *gpu = engine->gpu;
	const struct usvm_device_host *host = gpu->host;
	int err = host->engine_register(host->usvm);

	/* What is below this frame, as far as is sure to be stack. */
	engine->lane.stack_start = (uintptr_t)__builtin_frame_address(0) - ENGINE_STACK_BYTES;
	engine->lane.stack_bytes = ENGINE_STACK_BYTES;
	lock_acquire(&gpu->queue_lock);
	if (err)
		gpu->start_error = err;
	gpu->started++;
	wait_wake_all(&gpu->start_wait);
	if (!err)
		engine_loop(gpu, engine);
	lock_release(&gpu->queue_lock);
	if (!err)
		host->engine_unregister(host->usvm);
}
