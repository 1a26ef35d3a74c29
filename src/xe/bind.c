/* SPDX-License-Identifier: MIT */
/*
 * DOC: Binds
 *
 * The operations of one call are checked first, all of them; then they are done at once,
 * if nothing has to be waited for, and the call tells what became of them. Else they get
 * in the line of their queue and a worker does them. If one of them fails, what those before
 * it replaced is put back, so that nothing of the call is left.
 *
 * Where memory may not fault, what a bind takes away is not taken from under a job: the
 * binds wait for the jobs that were handed over before, and for no later one.
 *
 * Binds of two queues are in no order, but for those that meet: at an address, or in a page
 * table that both need and none has built. The later one waits for all that it meets.
 *
 * Where memory may not fault and jobs run for long no job's submission comes in time to find a
 * place for what was bound behind it: all objects that are bound fit on the card together, or
 * the bind that is one too many fails.
 *
 * In an address space with a scratch page nothing is nowhere: what is unbound gives zeros
 * and swallows writes.
 *
 * Upstream: xe_vm_bind_ioctl().
 */
#include "xe/xe_internal.h"

#include <errno.h>
#include <string.h>

#include "vm/attr.h"

#define OPS_MAX 65536u
/* What has to wait is written by the card, with commands that have to fit. */
#define LATER_OPS_MAX 512u

/* --- doing it ---------------------------------------------------------------------- */

static struct span span_of(const struct xe_bind_op *op)
{
	return (struct span){ op->addr, op->addr + op->bytes };
}

/* The process has no memory above. */
static struct span mirrored(const struct xe_bind_op *op)
{
	return span_intersect(span_of(op), (struct span){ 0, XE_MIRROR_END });
}

/* @undo: NULL, or where to keep what it replaces. */
static int bind_kept(struct xe_vm *vm, const struct vm_bind_args *args, struct vm_undo **undo)
{
	int err = undo ? vm_undo_keep(vm->vm, args->span, undo) : 0;

	if (err)
		return err;
	err = vm_bind(vm->vm, args);
	if (err && undo)
		vm_undo_forget(vm->vm, undo);
	return err;
}

static int map_mirror(struct xe_vm *vm, const struct xe_bind_op *op, struct vm_undo **undo)
{
	const struct vm_bind_args args = {
		.kind = VM_BIND_MIRROR,
		.span = mirrored(op),
		.read_only = op->flags & XE_BIND_READONLY,
	};
	int err;

	if (span_is_empty(args.span))
		return 0;
	err = bind_kept(vm, &args, undo);
	if (err)
		return err;
	err = vm_attr_set_default(vm->vm, args.span, op->pat_index,
				  op->flags & XE_BIND_AUTORESET);
	return err == -ENOENT ? 0 : err;
}

static int map(struct xe_vm *vm, const struct xe_bind *bind, struct vm_undo **undo)
{
	const struct xe_bind_op *op = &bind->op;
	struct vm_bind_args args = {
		.kind = VM_BIND_BO,
		.span = span_of(op),
		.read_only = op->flags & XE_BIND_READONLY,
		.now = !xe_vm_faults(vm) || op->flags & XE_BIND_IMMEDIATE,
		.pat_index = op->pat_index,
		.null_if_purged = vm->flags & XE_VM_SCRATCH_PAGE,
		.target = op->offset,
	};

	if (op->flags & XE_BIND_MIRROR)
		return map_mirror(vm, op, undo);
	if (op->flags & XE_BIND_NULL)
		args.kind = VM_BIND_NULL;
	else if (op->op == XE_BIND_MAP_USERPTR)
		args.kind = VM_BIND_USERPTR;
	else
		args.bo = bind->bo->bo;
	return bind_kept(vm, &args, undo);
}

int xe_vm_scratch(struct xe_vm *vm, struct span span)
{
	const struct vm_bind_args args = { .kind = VM_BIND_NULL, .span = span };

	return vm->flags & XE_VM_SCRATCH_PAGE ? vm_bind(vm->vm, &args) : 0;
}

/* A scratch page takes its place, if there is one. */
static int unmap(struct xe_vm *vm, struct span span, struct vm_undo **undo)
{
	int err = undo ? vm_undo_keep(vm->vm, span, undo) : 0;

	if (err)
		return err;
	xe_reclaim_count(vm, span);
	err = vm_unmap(vm->vm, span);
	if (err && undo)
		vm_undo_forget(vm->vm, undo);
	return err ? err : xe_vm_scratch(vm, span);
}

static int unmap_all(struct xe_vm *vm, const struct xe_bind *bind, struct vm_undo **undo)
{
	struct vm_bind_info info;
	uint64_t addr = 0;
	int err = 0;

	while (!err && !vm_bind_query(vm->vm, addr, &info)) {
		addr = info.span.end;
		if (info.bo == bind->bo->bo)
			err = unmap(vm, info.span, undo);
	}
	return err;
}

static int prefetch(struct xe_vm *vm, const struct xe_bind_op *op)
{
	enum vm_place place = op->region == XE_PREFETCH_ADVISED ? VM_PLACE_ADVISED :
			      op->region			 ? VM_PLACE_DEVICE :
								   VM_PLACE_SYSTEM;
	struct span span = mirrored(op);
	int err = 0;

	if (!span_is_empty(span))
		err = vm_prefetch(vm->vm, span, place);
	if (err && err != -EFAULT)
		return err;
	return vm_populate(vm->vm, span_of(op));
}

static int run_op(struct xe_vm *vm, const struct xe_bind *bind, struct vm_undo **undo)
{
	switch (bind->op.op) {
	case XE_BIND_MAP:
	case XE_BIND_MAP_USERPTR:
		return map(vm, bind, undo);
	case XE_BIND_UNMAP:
		return unmap(vm, span_of(&bind->op), undo);
	case XE_BIND_UNMAP_ALL:
		return unmap_all(vm, bind, undo);
	default:
		return prefetch(vm, &bind->op);
	}
}

/* Is an object bound where all that is bound has to have a place at the same time? */
static bool has_to_fit(const struct xe_vm *vm, const struct xe_bind *binds, uint32_t count)
{
	if (!xe_vm_is_lr(vm) || xe_vm_faults(vm))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (binds[i].op.op == XE_BIND_MAP && binds[i].bo)
			return true;
	}
	return false;
}

/* A user pointer whose memory is gone is no question of room. */
static int fit(struct xe_vm *vm)
{
	int err = vm_validate(vm->vm);

	return err == -EFAULT || err == -EPERM ? 0 : err;
}

int xe_bind_run(struct xe_vm *vm, const struct xe_bind *binds, uint32_t count)
{
	bool fits = !has_to_fit(vm, binds, count);
	/* One that fails has changed nothing, where it is one. */
	bool keeps = count > 1 || !fits || (vm->flags & XE_VM_SCRATCH_PAGE) ||
		     (count && binds->op.op == XE_BIND_UNMAP_ALL);
	struct vm_undo *undo = NULL;
	int err = 0;

	for (uint32_t i = 0; i < count && !err; i++)
		err = run_op(vm, &binds[i], keeps ? &undo : NULL);
	if (!err && !fits)
		err = fit(vm);
	if (!err) {
		vm_undo_drop(vm->vm, undo);
		return 0;
	}
	vm_undo_run(vm->vm, undo);
	/* What had to make way for it, in vain, comes back. What does not is looked for again
	 * before the next job. */
	if (!fits)
		fit(vm);
	return err;
}

void xe_binds_free(struct xe_card *card, struct xe_bind *binds, uint32_t count)
{
	if (!binds)
		return;
	for (uint32_t i = 0; i < count; i++) {
		if (binds[i].bo)
			xe_object_put(&binds[i].bo->object);
	}
	xe_free(card, binds, count * sizeof(*binds));
}

/* --- the ioctl --------------------------------------------------------------------- */

struct bind_call {
	struct xe_file *file;
	struct xe_vm *vm;
	struct xe_queue *queue;
	struct xe_sync_list syncs;
	struct xe_bind *binds;
	uint32_t count;
};

struct run_args {
	struct xe_vm *vm;
	const struct xe_bind *binds;
	bool replaces; /* out: one of them takes away what was bound */
	uint32_t count;
};

/* What the client said it does not need is not to be had again before it says otherwise. */
static int check_need(const struct xe_bind *bind)
{
	if (bind->op.op != XE_BIND_MAP || !bind->bo)
		return 0;
	switch (vm_bo_need(bind->bo->bo)) {
	case VM_NEED_WILLNEED:
		return 0;
	case VM_NEED_DONTNEED:
		return -EBUSY;
	case VM_NEED_PURGED:
		break;
	}
	return -EINVAL;
}

static int check_needs(const struct run_args *a)
{
	int err = 0;

	for (uint32_t i = 0; i < a->count && !err; i++)
		err = check_need(&a->binds[i]);
	return err;
}

/* Who is put in the line is told now what is wrong now. */
static int check_state(void *argument)
{
	const struct run_args *a = argument;
	int err = check_needs(a);

	for (uint32_t i = 0; i < a->count && !err; i++) {
		const struct xe_bind_op *op = &a->binds[i].op;

		if (op->op < XE_BIND_UNMAP_ALL && !(op->flags & XE_BIND_MIRROR) &&
		    vm_has_live_ranges(a->vm->vm, span_of(op)))
			err = -EBUSY;
	}
	return err;
}

static int run_on_worker(void *argument)
{
	const struct run_args *a = argument;
	int err = check_needs(a);

	return err ? err : xe_bind_run(a->vm, a->binds, a->count);
}

/* Does @op take something away? Of a scratch page nobody needs to be told. */
static bool replaces(struct xe_vm *vm, const struct xe_bind_op *op)
{
	struct span span = span_of(op);
	struct vm_bind_info info;
	uint64_t addr = span.start;

	if (op->op == XE_BIND_UNMAP_ALL)
		return true;
	if (op->op == XE_BIND_PREFETCH)
		return false;
	for (; !vm_bind_query(vm->vm, addr, &info) && span_overlaps(info.span, span);
	     addr = info.span.end) {
		if (info.kind != VM_BIND_NULL || !(vm->flags & XE_VM_SCRATCH_PAGE))
			return true;
	}
	return false;
}

static int look_for_replaced(void *argument)
{
	struct run_args *a = argument;

	for (uint32_t i = 0; i < a->count; i++)
		a->replaces |= replaces(a->vm, &a->binds[i].op);
	return 0;
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

/* Jobs that must be over before, in an address space whose jobs do not fault. */
static bool has_to_wait_for_jobs(const struct bind_call *c)
{
	struct run_args a = { .vm = c->vm, .binds = c->binds, .count = c->count };

	if (xe_vm_is_lr(c->vm) || !xe_vm_has_jobs(c->vm))
		return false;
	/* First what will be there: a job may wait for it. */
	for (uint32_t i = 0; i < c->count; i++) {
		if (xe_vm_will_bind(c->vm, span_of(&c->binds[i].op)))
			return true;
	}
	mm_call(c->file->card->mm, look_for_replaced, &a, sizeof(a));
	return a.replaces;
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
	struct run_args a = { .vm = c->vm, .binds = c->binds, .count = c->count };
	int err = 0;

	if (c->count)
		err = mm_call(c->file->card->mm, run_on_worker, &a, sizeof(a));
	xe_queue_bind_over(c->queue);
	return err ? err : signal_all(c);
}

static int bind_later(struct bind_call *c, bool after_jobs)
{
	struct run_args a = { .vm = c->vm, .binds = c->binds, .count = c->count };
	struct xe_job *job;
	int err;

	if (c->count > LATER_OPS_MAX)
		return -ENOBUFS;
	err = mm_call(c->file->card->mm, check_state, &a, sizeof(a));
	if (err)
		return err;
	job = xe_job_create(c->queue);
	if (!job)
		return -ENOMEM;
	job->binds = c->binds;
	job->bind_count = c->count;
	c->binds = NULL;
	err = xe_job_wait_for_syncs(job, &c->syncs);
	if (!err && after_jobs)
		err = xe_vm_wait_for_jobs(c->vm, job);
	if (!err)
		err = xe_vm_wait_for_binds(c->vm, c->queue, job->binds, job->bind_count, job);
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
	bool after_jobs = has_to_wait_for_jobs(c);

	if (!after_jobs && !has_to_wait(c) &&
	    !xe_vm_wait_for_binds(c->vm, c->queue, c->binds, c->count, NULL) &&
	    xe_queue_bind_begin(c->queue))
		return bind_now(c);
	return bind_later(c, after_jobs);
}

/* The operations, in library memory. */
static int read_ops(struct bind_call *c, const struct xe_vm_bind *args)
{
	int err = 0;

	if (!args->count)
		return 0;
	if (args->count > OPS_MAX)
		return -ENOBUFS;
	c->binds = xe_alloc(c->file->card, args->count * sizeof(*c->binds));
	if (!c->binds)
		return args->count > 1 ? -ENOBUFS : -ENOMEM;
	c->count = args->count;
	if (args->count == 1) {
		c->binds[0].op = args->op;
		return 0;
	}
	for (uint32_t i = 0; i < c->count && !err; i++)
		err = xe_copy_in(c->file->card, &c->binds[i].op,
				 args->ops + i * sizeof(struct xe_bind_op),
				 sizeof(struct xe_bind_op));
	return err;
}

/* What an operation names: an object, or memory of the process. */
static int find_memory(struct bind_call *c, struct xe_bind *bind)
{
	const struct xe_bind_op *op = &bind->op;
	struct xe_object *object;

	if (op->op == XE_BIND_MAP_USERPTR && !xe_vm_is_lr(c->vm))
		return xe_userptr_add(c->vm, span_make(op->offset, op->bytes));
	if (!op->object)
		return 0;
	object = xe_file_find(c->file, XE_KIND_BO, op->object);
	if (!object)
		return -ENOENT;
	bind->bo = xe_bo_of(object);
	if (bind->bo->vm && bind->bo->vm != &c->vm->object)
		return -EINVAL;
	if (op->op == XE_BIND_UNMAP_ALL)
		return 0;
	if (op->bytes > bind->bo->bytes || op->offset > bind->bo->bytes - op->bytes)
		return -EINVAL;
	if (bind->bo->cpu_caching == XE_GEM_CACHING_WB &&
	    c->file->card->profile->pat_incoherent >> op->pat_index & 1)
		return -EINVAL;
	return 0;
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
		err = xe_bind_check(c->vm, &c->binds[i].op);
	if (!err)
		err = find_queue(c, args->queue);
	for (uint32_t i = 0; i < c->count && !err; i++)
		err = find_memory(c, &c->binds[i]);
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
	xe_binds_free(file->card, c.binds, c.count);
	if (c.queue)
		xe_object_put(&c.queue->object);
	xe_object_put(object);
	return err;
}
