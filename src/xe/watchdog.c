/* SPDX-License-Identifier: MIT */
/*
 * DOC: The watchdog
 *
 * Where others wait for the end of a job a job that does not end is ended: after 5 s its queue
 * is reset and banned, and its fence tells an error. Only the first job of a queue has its
 * time; the next one's begins at its end.
 *
 * There is no thread for it. Who waits for a fence looks every now and then; a job that nobody
 * waits for disturbs nobody.
 *
 * Upstream: guc_exec_queue_timedout_job().
 */
#include "xe/xe_internal.h"

#define JOB_NS_MAX 5000000000u

void xe_watchdog_start(struct xe_job *job)
{
	struct xe_card *card = job->card;

	if (xe_vm_is_lr(job->queue->vm))
		return;
	job->started_ns = card->sys->ops->clock_ns(card->sys);
	job->submitted_ns = job->started_ns;
	lock_acquire(&card->fence_lock);
	list_push_back(&card->running, &job->in_card);
	lock_release(&card->fence_lock);
}

void xe_watchdog_over(struct xe_job *job)
{
	struct xe_card *card = job->card;
	uint64_t now;

	if (xe_vm_is_lr(job->queue->vm))
		return;
	now = card->sys->ops->clock_ns(card->sys);
	lock_acquire(&card->fence_lock);
	list_remove(&job->in_card);
	LIST_FOR_EACH(node, &card->running) {
		struct xe_job *other = LIST_ENTRY(node, struct xe_job, in_card);

		if (other->queue == job->queue)
			other->started_ns = now;
	}
	lock_release(&card->fence_lock);
}

/* The queue of a job whose time is up, with a reference; NULL: none. */
static struct xe_queue *find_late(struct xe_card *card)
{
	struct xe_queue *queue = NULL;
	uint64_t now;

	lock_acquire(&card->fence_lock);
	/* Under the lock: no job in the list has started later than that. */
	now = card->sys->ops->clock_ns(card->sys);
	LIST_FOR_EACH(node, &card->running) {
		struct xe_job *job = LIST_ENTRY(node, struct xe_job, in_card);

		if (now - job->started_ns < JOB_NS_MAX || ATOMIC_LOAD(&job->queue->failed))
			continue;
		queue = job->queue;
		xe_object_get(&queue->object);
		break;
	}
	lock_release(&card->fence_lock);
	return queue;
}

void xe_watchdog_look(struct xe_card *card)
{
	struct xe_queue *queue = find_late(card);

	if (!queue)
		return;
	/* The lock keeps a kill from taking the lanes away. */
	lock_acquire(&queue->lock);
	ATOMIC_STORE(&queue->failed, 1);
	for (uint32_t i = 0; i < queue->width && !ATOMIC_LOAD(&queue->killed); i++)
		gpu_queue_ban(queue->lanes[i]);
	ATOMIC_STORE(&queue->banned, 1);
	lock_release(&queue->lock);
	xe_queue_cancel(queue);
	wait_wake_all(&card->changed);
	xe_object_put(&queue->object);
}
