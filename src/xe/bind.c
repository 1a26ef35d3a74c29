/* SPDX-License-Identifier: MIT */
/*
 * DOC: Binds
 *
 * The operations of one call are checked first, all of them; then they are done at once,
 * if nothing has to be waited for, and the call tells what became of them. Else they get
 * in the line of their queue and a worker does them.
 *
 * Upstream: vm_bind_ioctl_check_args(), xe_vm_bind_ioctl().
 */
#include "xe/xe_internal.h"

#include <errno.h>
#include <string.h>

#define OPS_MAX 65536u

#define KNOWN_FLAGS                                                                    \
	(XE_BIND_READONLY | XE_BIND_IMMEDIATE | XE_BIND_NULL | XE_BIND_DUMPABLE |      \
	 XE_BIND_CHECK_PXP | XE_BIND_MIRROR | XE_BIND_AUTORESET | XE_BIND_DECOMPRESS)

/* --- checks ------------------------------------------------------------------------ */

static bool numbers_are_valid(const struct xe_bind_op *op)
{
	if (op->op == XE_BIND_UNMAP_ALL && (op->addr || op->bytes))
		return false;
	if (op->op != XE_BIND_UNMAP_ALL && !op->bytes)
		return false;
	if (!IS_ALIGNED(op->offset | op->addr | op->bytes, PAGE_BYTES))
		return false;
	return op->bytes <= XE_VA_END && op->addr <= XE_VA_END - op->bytes;
}

static bool object_is_valid(const struct xe_bind_op *op, bool has_memory)
{
	switch (op->op) {
	case XE_BIND_MAP:
		return has_memory ? op->object != 0 : !op->object && !op->offset;
	case XE_BIND_UNMAP_ALL:
		return op->object != 0;
	default:
		return !op->object;
	}
}

static bool region_is_valid(const struct xe_bind_op *op)
{
	if (op->op != XE_BIND_PREFETCH)
		return !op->region;
	return op->region <= 1 || op->region == XE_PREFETCH_ADVISED;
}

static int check_op(const struct xe_profile *profile, const struct xe_vm *vm,
		    const struct xe_bind_op *op)
{
	bool has_memory = !(op->flags & (XE_BIND_NULL | XE_BIND_MIRROR));

	if (op->extensions || op->pad || op->pad2 || op->reserved[0] || op->reserved[1] ||
	    op->reserved[2])
		return -EINVAL;
	if (op->op > XE_BIND_PREFETCH || op->flags & ~KNOWN_FLAGS)
		return -EINVAL;
	if ((op->flags & XE_BIND_MIRROR) && !xe_vm_faults(vm))
		return -EINVAL;
	if ((op->flags & XE_BIND_AUTORESET) && !(op->flags & XE_BIND_MIRROR))
		return -EINVAL;
	if (!has_memory && op->op != XE_BIND_MAP)
		return -EINVAL;
	if ((op->flags & XE_BIND_DECOMPRESS) && (op->op != XE_BIND_MAP || !has_memory))
		return -EINVAL;
	if (!xe_pat_is_valid(profile, op->pat_index))
		return -EINVAL;
	if (op->op == XE_BIND_MAP_USERPTR && profile->pat_incoherent >> op->pat_index & 1)
		return -EINVAL;
	if (!object_is_valid(op, has_memory) || !region_is_valid(op) || !numbers_are_valid(op))
		return -EINVAL;
	if (op->object || op->op == XE_BIND_MAP_USERPTR || op->flags & XE_BIND_NULL)
		return xe_refuse(vm->card, -EOPNOTSUPP, "VM_BIND: only the address mirror");
	return 0;
}

/* --- doing it ---------------------------------------------------------------------- */

/* The process has no memory above. */
static struct span mirrored(const struct xe_bind_op *op)
{
	return span_intersect((struct span){ op->addr, op->addr + op->bytes },
			      (struct span){ 0, XE_MIRROR_END });
}

static int run_op(struct xe_vm *vm, const struct xe_bind_op *op)
{
	struct span span = mirrored(op);
	int err;

	if (span_is_empty(span))
		return 0;
	switch (op->op) {
	case XE_BIND_MAP:
		return vm_bind_mirror(vm->vm, span, op->flags & XE_BIND_READONLY);
	case XE_BIND_UNMAP:
		err = vm_unbind(vm->vm, span);
		return err == -ENOENT ? 0 : err;
	case XE_BIND_PREFETCH:
		err = vm_prefetch(vm->vm, span, op->region != 0);
		return err == -EFAULT ? 0 : err;
	default:
		return -EOPNOTSUPP;
	}
}

int xe_bind_run(struct xe_vm *vm, const struct xe_bind_op *ops, uint32_t count)
{
	int err = 0;

	for (uint32_t i = 0; i < count && !err; i++)
		err = run_op(vm, &ops[i]);
	return err;
}

/* --- the ioctl --------------------------------------------------------------------- */

struct bind_call {
	struct xe_file *file;
	struct xe_vm *vm;
	struct xe_queue *queue;
	struct xe_sync_list syncs;
	struct xe_bind_op *ops;
	uint32_t count;
};

struct run_args {
	struct xe_vm *vm;
	const struct xe_bind_op *ops;
	uint32_t count;
};

static int run_on_worker(void *argument)
{
	const struct run_args *a = argument;

	return xe_bind_run(a->vm, a->ops, a->count);
}

/* Everything is over at once: tell it. */
static int signal_all(struct bind_call *c)
{
	struct xe_fence *fence = xe_fence_create(c->file->card);
	int err = 0;

	if (!fence)
		return -ENOMEM;
	xe_fence_signal(fence, 0);
	for (uint32_t i = 0; i < c->syncs.count && !err; i++) {
		const struct xe_sync_entry *entry = &c->syncs.entries[i];

		if (!entry->signals)
			continue;
		if (entry->type == XE_SYNC_USER_FENCE)
			err = xe_copy_out(c->file->card, entry->addr, &entry->value, 8);
		else
			err = xe_syncobj_add(entry->syncobj, entry->value, fence);
	}
	xe_fence_put(fence);
	wait_wake_all(&c->file->card->changed);
	return err;
}

static bool has_to_wait(const struct bind_call *c)
{
	for (uint32_t i = 0; i < c->syncs.count; i++) {
		const struct xe_sync_entry *entry = &c->syncs.entries[i];
		struct xe_fence *fence;

		if (entry->signals ||
		    xe_syncobj_look(entry->syncobj, entry->value, &fence) != XE_POINT_SUBMITTED)
			continue;
		xe_fence_put(fence);
		return true;
	}
	return false;
}

static int bind_now(struct bind_call *c)
{
	struct run_args a = { c->vm, c->ops, c->count };
	int err = 0;

	if (c->count)
		err = mm_call(c->file->card->mm, run_on_worker, &a, sizeof(a));
	xe_queue_bind_over(c->queue);
	return err ? err : signal_all(c);
}

static int bind_later(struct bind_call *c)
{
	struct xe_job *job = xe_job_create(c->queue);
	int err;

	if (!job)
		return -ENOMEM;
	job->ops = c->ops;
	job->op_count = c->count;
	job->ops_bytes = c->count * sizeof(*c->ops);
	c->ops = NULL;
	err = xe_job_wait_for_syncs(job, &c->syncs);
	if (!err)
		err = xe_job_signals(job, &c->syncs);
	if (err)
		xe_job_drop(job);
	else
		xe_job_commit(job);
	return err;
}

static int bind(struct bind_call *c)
{
	if (!has_to_wait(c) && xe_queue_bind_begin(c->queue))
		return bind_now(c);
	return bind_later(c);
}

/* The operations, in library memory. */
static int read_ops(struct bind_call *c, const struct xe_vm_bind *args)
{
	size_t bytes = args->count * sizeof(*c->ops);
	int err;

	if (!args->count)
		return 0;
	if (args->count > OPS_MAX)
		return -ENOBUFS;
	c->ops = xe_alloc(c->file->card, bytes);
	if (!c->ops)
		return args->count > 1 ? -ENOBUFS : -ENOMEM;
	c->count = args->count;
	if (args->count == 1) {
		memcpy(c->ops, &args->op, bytes);
		return 0;
	}
	err = xe_copy_in(c->file->card, c->ops, args->ops, bytes);
	return err;
}

static int find_queue(struct bind_call *c, uint32_t number)
{
	struct xe_object *object;

	if (!number) {
		c->queue = c->vm->bind_queue;
		xe_object_get(&c->queue->object);
		return 0;
	}
	object = xe_file_find(c->file, XE_KIND_QUEUE, number);
	if (!object)
		return -ENOENT;
	c->queue = xe_queue_of(object);
	if (!c->queue->is_bind || c->queue->vm != c->vm)
		return -EINVAL;
	return 0;
}

static int run_call(struct bind_call *c, const struct xe_vm_bind *args)
{
	int err;

	err = read_ops(c, args);
	for (uint32_t i = 0; i < c->count && !err; i++)
		err = check_op(c->file->card->profile, c->vm, &c->ops[i]);
	if (!err)
		err = find_queue(c, args->queue);
	if (!err && ATOMIC_LOAD(&c->vm->closed))
		err = -ENOENT;
	if (!err)
		err = xe_sync_parse(c->file, args->syncs, args->sync_count, xe_vm_is_lr(c->vm),
				    false, &c->syncs);
	if (err)
		return err;
	err = bind(c);
	xe_sync_drop(&c->syncs);
	return err;
}

int xe_ioctl_vm_bind(struct xe_file *file, void *argument)
{
	const struct xe_vm_bind *args = argument;
	struct bind_call c = { .file = file };
	struct xe_object *object;
	int err;

	if (args->extensions || args->pad || args->pad2 || args->reserved[0] ||
	    args->reserved[1])
		return -EINVAL;
	object = xe_file_find(file, XE_KIND_VM, args->vm);
	if (!object)
		return -ENOENT;
	c.vm = xe_vm_of(object);
	err = run_call(&c, args);
	xe_free(file->card, c.ops, c.count * sizeof(*c.ops));
	if (c.queue)
		xe_object_put(&c.queue->object);
	xe_object_put(object);
	return err;
}
