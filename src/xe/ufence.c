/* SPDX-License-Identifier: MIT */
/*
 * DOC: User fences
 *
 * A word in the client's memory that is compared until it is as wanted. Who writes it is an
 * engine, as the last act of a job; the end of each job wakes the sleepers. A word may also
 * be written by another thread, of which nobody tells: so a sleep is never long.
 *
 * Upstream: xe_wait_user_fence_ioctl().
 */
#include "xe/xe_internal.h"

#include <errno.h>

#define SLEEP_NS_MAX 1000000u

static bool compare(const struct xe_wait_user_fence *args, uint64_t word)
{
	uint64_t left = word & args->mask;
	uint64_t right = args->value & args->mask;

	switch (args->op) {
	case XE_WAIT_EQ:
		return left == right;
	case XE_WAIT_NEQ:
		return left != right;
	case XE_WAIT_GT:
		return left > right;
	case XE_WAIT_GTE:
		return left >= right;
	case XE_WAIT_LT:
		return left < right;
	default:
		return left <= right;
	}
}

/* When the wait ends; UINT64_MAX: never. */
static uint64_t end_of(const struct xe_wait_user_fence *args, uint64_t now)
{
	if (args->timeout_ns < 0)
		return UINT64_MAX;
	if (args->flags & XE_WAIT_ABSOLUTE)
		return (uint64_t)args->timeout_ns;
	return now + (uint64_t)args->timeout_ns;
}

static int wait_for(struct xe_file *file, struct xe_queue *queue,
		    const struct xe_wait_user_fence *args, uint64_t end)
{
	struct xe_card *card = file->card;

	for (;;) {
		uint32_t ticket = wait_ticket(&card->changed);
		uint32_t failed = queue ? ATOMIC_LOAD(&queue->failed) : 0;
		uint64_t now, word;
		int err;

		err = xe_copy_in(card, &word, args->addr, sizeof(word));
		if (err)
			return err;
		if (compare(args, word))
			return 0;
		/* It was banned before the look: nobody will write any more. */
		if (failed)
			return -EIO;
		now = card->sys->ops->clock_ns(card->sys);
		if (now >= end)
			return -ETIME;
		xe_watchdog_look(card);
		wait_sleep(&card->changed, ticket, MIN(end - now, (uint64_t)SLEEP_NS_MAX));
		err = xe_copy_check(card);
		if (err)
			return err;
	}
}

int xe_ioctl_wait_user_fence(struct xe_file *file, void *argument)
{
	struct xe_wait_user_fence *args = argument;
	struct xe_card *card = file->card;
	struct xe_object *object = NULL;
	uint64_t start, end, now;
	int err;

	if (args->extensions || args->pad || args->pad2 || args->reserved[0] ||
	    args->reserved[1] || args->flags & ~XE_WAIT_ABSOLUTE || args->op > XE_WAIT_LTE ||
	    !IS_ALIGNED(args->addr, 8))
		return -EINVAL;
	if (args->queue) {
		object = xe_file_find(file, XE_KIND_QUEUE, args->queue);
		if (!object)
			return -ENOENT;
	}
	start = card->sys->ops->clock_ns(card->sys);
	end = end_of(args, start);
	err = wait_for(file, object ? xe_queue_of(object) : NULL, args, end);
	xe_object_put(object);
	if (!(args->flags & XE_WAIT_ABSOLUTE) && args->timeout_ns >= 0) {
		now = card->sys->ops->clock_ns(card->sys);
		args->timeout_ns = now < end ? (int64_t)(end - now) : 0;
	}
	return err;
}
