/* SPDX-License-Identifier: MIT */
/*
 * DOC: Jobs
 *
 * A job is made whole before anybody sees it: what it waits for is looked up, what it
 * signals is replaced by its fence, then it gets in line. It counts what it waits for; when
 * the count is 0 and the line before it is empty it starts.
 *
 *     made: waits = 1 + fences that are not over
 *     xe_job_commit(): into the line, waits - 1
 *     a fence: waits - 1; at 0 the line is pumped
 *
 * With several batches each runs on a lane of its own, at the same time; the user fence is
 * written behind the last of them.
 *
 * References: the line's (or the engine's), and one for each callback that may still come.
 * A job that was canceled leaves its callbacks behind.
 */
#include "xe/xe_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"

struct dependency {
	struct xe_callback callback;
	struct xe_job *job;
	struct xe_fence *fence;
};

static void job_put(struct xe_job *job)
{
	if (ATOMIC_SUB(&job->references, 1) != 1)
		return;
	xe_fence_put(job->fence);
	xe_object_put(&job->queue->object);
	xe_free(job->card, job, job->bytes);
}

struct xe_job *xe_job_create(struct xe_queue *queue)
{
	struct xe_card *card = queue->card;
	size_t bytes = sizeof(struct xe_job) + queue->width * sizeof(struct gpu_job);
	struct xe_job *job = xe_alloc(card, bytes);

	if (!job)
		return NULL;
	job->bytes = bytes;
	job->card = card;
	job->queue = queue;
	job->references = 1;
	job->waits = 1;
	list_init(&job->node);
	list_init(&job->in_vm);
	list_init(&job->in_card);
	job->fence = xe_fence_create(card);
	if (!job->fence) {
		xe_free(card, job, bytes);
		return NULL;
	}
	xe_object_get(&queue->object);
	return job;
}

/* One thing less to wait for. */
static void step(struct xe_job *job)
{
	if (ATOMIC_SUB(&job->waits, 1) == 1)
		xe_queue_pump(job->queue);
}

static void dependency_over(struct xe_callback *callback)
{
	struct dependency *d = CONTAINER_OF(callback, struct dependency, callback);
	struct xe_job *job = d->job;

	xe_fence_put(d->fence);
	xe_free(job->card, d, sizeof(*d));
	step(job);
	job_put(job);
}

int xe_job_wait_for(struct xe_job *job, struct xe_fence *fence)
{
	struct dependency *d;

	if (xe_fence_is_done(fence))
		return 0;
	d = xe_alloc(job->card, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->callback.run = dependency_over;
	d->job = job;
	d->fence = xe_fence_get(fence);
	ATOMIC_ADD(&job->waits, 1);
	ATOMIC_ADD(&job->references, 1);
	if (!xe_fence_call(fence, &d->callback))
		dependency_over(&d->callback);
	return 0;
}

int xe_job_wait_for_syncs(struct xe_job *job, const struct xe_sync_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct xe_sync_entry *entry = &list->entries[i];
		struct xe_fence *fence;
		int err;

		if (entry->signals ||
		    xe_syncobj_look(entry->syncobj, entry->value, &fence) != XE_POINT_SUBMITTED)
			continue;
		err = xe_job_wait_for(job, fence);
		xe_fence_put(fence);
		if (err)
			return err;
	}
	return 0;
}

int xe_job_signals(struct xe_job *job, const struct xe_sync_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct xe_sync_entry *entry = &list->entries[i];
		int err = 0;

		if (!entry->signals)
			continue;
		if (entry->type == XE_SYNC_USER_FENCE) {
			job->user_fence_addr = entry->addr;
			job->user_fence_value = entry->value;
		} else {
			err = xe_syncobj_add(entry->syncobj, entry->value, job->fence);
		}
		if (err)
			return err;
	}
	return 0;
}

void xe_job_drop(struct xe_job *job)
{
	xe_binds_free(job->card, job->binds, job->bind_count);
	/* Sync objects may have its fence already: who waits for it must not for ever. */
	xe_fence_signal(job->fence, -ECANCELED);
	job_put(job);
}

void xe_job_commit(struct xe_job *job)
{
	struct xe_queue *queue = job->queue;
	struct xe_card *card = job->card;

	bool is_killed;

	lock_acquire(&card->fence_lock);
	list_push_back(queue->is_bind ? &queue->vm->binds : &queue->vm->jobs, &job->in_vm);
	lock_release(&card->fence_lock);
	lock_acquire(&queue->lock);
	/* Under the lock: either the kill finds it in the line, or it is seen here. */
	is_killed = ATOMIC_LOAD(&queue->killed);
	ATOMIC_SUB(&job->waits, 1);
	if (!is_killed)
		list_push_back(&queue->pending, &job->node);
	lock_release(&queue->lock);
	if (is_killed)
		xe_job_finish(job, -ECANCELED);
	else
		xe_queue_pump(queue);
}

void xe_job_finish(struct xe_job *job, int error)
{
	struct xe_queue *queue = job->queue;
	struct xe_card *card = job->card;

	xe_watchdog_over(job);
	xe_client_end(job);
	/* Out of the list first: who looks there looks at the binds. */
	lock_acquire(&card->fence_lock);
	list_remove(&job->in_vm);
	lock_release(&card->fence_lock);
	/* A queue of binds has no engine that could come here. */
	xe_binds_free(card, job->binds, job->bind_count);
	job->binds = NULL;
	if (error && error != -ECANCELED) {
		ATOMIC_STORE(&queue->failed, 1);
		ATOMIC_STORE(&queue->banned, 1);
	}
	xe_fence_signal(job->fence, error);
	job_put(job);
}

/* --- on the GPU -------------------------------------------------------------------- */

/* Every lane is over. */
static void lanes_over(struct xe_job *job)
{
	struct gpu_job *last = &job->lanes[0];

	if (!job->error && job->user_fence_addr && job->batch_count > 1 &&
	    last->type != GPU_JOB_FENCE) {
		last->type = GPU_JOB_FENCE;
		last->user_fence_addr = job->user_fence_addr;
		last->user_fence_value = job->user_fence_value;
		job->lanes_running = 1;
		job->error = gpu_queue_submit(job->queue->lanes[0], last);
		if (!job->error)
			return;
	}
	xe_job_finish(job, job->error);
}

static void lane_done(struct gpu_job *lane)
{
	struct xe_job *job = lane->submitter;
	int none = 0;

	if (lane->error)
		ATOMIC_COMPARE_EXCHANGE(&job->error, &none, lane->error);
	if (ATOMIC_SUB(&job->lanes_running, 1) == 1)
		lanes_over(job);
}

static void bind_work(struct mm_work *work)
{
	struct xe_job *job = CONTAINER_OF(work, struct xe_job, work);
	struct xe_queue *queue = job->queue;
	struct xe_card *card = job->card;
	uint64_t value = job->user_fence_value;
	int err = xe_bind_run(queue->vm, job->binds, job->bind_count);

	if (!err && job->user_fence_addr)
		err = xe_copy_check(card);
	if (!err && job->user_fence_addr)
		err = xe_copy_out(card, job->user_fence_addr, &value, sizeof(value));
	xe_object_get(&queue->object);
	xe_job_finish(job, err);
	xe_queue_bind_over(queue);
	xe_object_put(&queue->object);
}

int xe_job_start(struct xe_job *job)
{
	struct xe_queue *queue = job->queue;
	uint32_t count;

	lock_assert_held(&queue->lock);
	if (queue->is_bind) {
		mm_work_init(&job->work, bind_work);
		mm_work_queue(job->card->mm, &job->work);
		return 0;
	}
	if (ATOMIC_LOAD(&queue->banned))
		return -ECANCELED;
	if (!job->batch_count) {
		/* Behind what was handed to the lane before: a job of no commands. */
		job->lanes[0] = (struct gpu_job){ .type = GPU_JOB_FENCE };
		job->batch_count = 1;
	}
	/* With its last lane handed over the job may be gone. */
	count = job->batch_count;
	ATOMIC_STORE(&job->lanes_running, count);
	xe_client_begin(job);
	xe_watchdog_start(job);
	for (uint32_t i = 0; i < count; i++) {
		struct gpu_job *lane = &job->lanes[i];
		int err;

		lane->submitter = job;
		lane->done = lane_done;
		err = gpu_queue_submit(queue->lanes[i], lane);
		if (err && !i)
			return err;
		/* Lanes that run already end the job. */
		if (err) {
			lane->error = err;
			lane_done(lane);
		}
	}
	return 0;
}

/* --- the ioctl --------------------------------------------------------------------- */

static int read_batches(struct xe_job *job, const struct xe_exec *args)
{
	uint64_t batches[XE_WIDTH_MAX] = { args->addr };
	int err = 0;

	job->batch_count = args->batch_count;
	if (args->batch_count > 1)
		err = xe_copy_in(job->card, batches, args->addr,
				 args->batch_count * sizeof(batches[0]));
	if (err)
		return err;
	for (uint32_t i = 0; i < job->batch_count; i++) {
		if (!IS_ALIGNED(batches[i], 4))
			return -EINVAL;
		job->lanes[i] = (struct gpu_job){
			.type = GPU_JOB_BATCH,
			.batch_addr = batches[i] & (XE_VA_END - 1),
		};
	}
	return 0;
}

static int prepare(struct xe_job *job, const struct xe_exec *args,
		   const struct xe_sync_list *syncs)
{
	int err;

	err = read_batches(job, args);
	if (!err)
		err = xe_job_wait_for_syncs(job, syncs);
	if (!err)
		err = xe_job_signals(job, syncs);
	if (!err && job->batch_count == 1) {
		job->lanes[0].user_fence_addr = job->user_fence_addr;
		job->lanes[0].user_fence_value = job->user_fence_value;
	}
	return err;
}

/* A user pointer whose memory is gone keeps nobody from running: who touches it faults. */
static int validate(void *argument)
{
	int err = vm_validate(*(struct vm **)argument);

	return err == -EFAULT || err == -EPERM ? 0 : err;
}

static int submit(struct xe_file *file, struct xe_queue *queue, const struct xe_exec *args)
{
	struct xe_sync_list syncs;
	struct xe_job *job;
	int err;

	err = xe_sync_parse(file, args->syncs, args->sync_count, xe_vm_is_lr(queue->vm), true,
			    &syncs);
	if (err)
		return err;
	if (!xe_vm_faults(queue->vm))
		err = mm_call(file->card->mm, validate, &queue->vm->vm, sizeof(queue->vm->vm));
	if (err) {
		xe_sync_drop(&syncs);
		return err;
	}
	job = xe_job_create(queue);
	err = job ? prepare(job, args, &syncs) : -ENOMEM;
	if (!err) {
		ATOMIC_ADD(&file->card->job_count, args->batch_count ? 1u : 0u);
		xe_job_commit(job);
	} else if (job) {
		xe_job_drop(job);
	}
	xe_sync_drop(&syncs);
	return err;
}

int xe_ioctl_exec(struct xe_file *file, void *argument)
{
	const struct xe_exec *args = argument;
	struct xe_object *object;
	struct xe_queue *queue;
	int err;

	if (args->extensions || args->pad[0] || args->pad[1] || args->pad[2] ||
	    args->reserved[0] || args->reserved[1])
		return -EINVAL;
	object = xe_file_find(file, XE_KIND_QUEUE, args->queue);
	if (!object)
		return -ENOENT;
	queue = xe_queue_of(object);
	if (queue->is_bind || (args->batch_count && args->batch_count != queue->width))
		err = -EINVAL;
	else if (ATOMIC_LOAD(&queue->banned) || ATOMIC_LOAD(&queue->vm->closed))
		err = -ECANCELED;
	else
		err = submit(file, queue, args);
	xe_object_put(object);
	return err;
}
