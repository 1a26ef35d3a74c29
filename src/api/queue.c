/* SPDX-License-Identifier: MIT */
/*
 * DOC: Queues
 *
 * A queue of the model GPU with the status of the job that ended it.
 */
#include "api/api_internal.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/host.h"

struct queue_args {
	struct usvm_vm *vm;
	struct usvm_queue *queue;
};

static int create_queue(void *argument)
{
	struct queue_args *a = argument;
	struct usvm_queue *queue = base_host->pages_alloc(PAGE_BYTES);
	int err;

	_Static_assert(sizeof(*queue) <= PAGE_BYTES, "one page");
	if (!queue)
		return -ENOMEM;
	err = gpu_queue_create(a->vm->usvm->gpu, vm_id(a->vm->vm), &queue->queue);
	if (err) {
		base_host->pages_free(queue, PAGE_BYTES);
		return err;
	}
	queue->vm = a->vm;
	lock_init(&queue->lock, LOCK_LEAF, "usvm_queue.lock");
	queue->magic = API_MAGIC_QUEUE;
	a->queue = queue;
	return 0;
}

int usvm_queue_create(struct usvm_vm *vm, const struct usvm_queue_config *config,
		      struct usvm_queue **queue)
{
	struct queue_args a = { .vm = vm };
	int err = api_check(vm, API_MAGIC_VM);

	if (err)
		return err;
	if (!queue || (config && (config->flags || config->reserved)))
		return -EINVAL;
	if (!vm->usvm->gpu)
		return -EOPNOTSUPP;
	if (vm_device_is_unplugged(vm->usvm->device))
		return -ENODEV;
	err = mm_call(vm->usvm->mm, create_queue, &a, sizeof(a));
	if (err)
		return err;
	ATOMIC_ADD(&vm->queue_count, 1);
	*queue = a.queue;
	return 0;
}

static int destroy_queue(void *argument)
{
	struct queue_args *a = argument;

	gpu_queue_destroy(a->queue->queue);
	base_host->pages_free(a->queue, PAGE_BYTES);
	return 0;
}

int usvm_queue_destroy(struct usvm_queue *queue)
{
	struct queue_args a = { .queue = queue };
	struct usvm_vm *vm;
	int err;

	if (!queue)
		return 0;
	err = api_check(queue, API_MAGIC_QUEUE);
	if (err)
		return err;
	vm = queue->vm;
	ATOMIC_STORE_RELAXED(&queue->magic, 0);
	err = mm_call(vm->usvm->mm, destroy_queue, &a, sizeof(a));
	ATOMIC_SUB(&vm->queue_count, 1);
	return err;
}

int usvm_queue_status(struct usvm_queue *queue, struct usvm_queue_status *status)
{
	struct usvm_queue_status now;
	int err = api_check(queue, API_MAGIC_QUEUE);

	if (err)
		return err;
	if (!status)
		return -EINVAL;
	lock_acquire(&queue->lock);
	now = queue->status;
	lock_release(&queue->lock);
	*status = now;
	return 0;
}
