/* SPDX-License-Identifier: MIT */
/*
 * DOC: Address spaces
 *
 * A client's address space is a vm that mirrors nothing until it is told to. Each has a
 * queue of binds of its own. It is gone for the client at VM_DESTROY, and for good when its
 * last queue is.
 *
 * Upstream: xe_vm_create_ioctl(), xe_vm_destroy_ioctl(), xe_vm_get_property_ioctl().
 */
#include "xe/xe_internal.h"

#include <errno.h>

struct vm_args {
	struct xe_vm *xe_vm;
	struct vm_device *device;
	struct vm *vm;
};

static int create_vm(void *argument)
{
	struct vm_args *a = argument;
	int err = vm_create(a->device, VM_NO_MIRROR, &a->vm);

	if (err)
		return err;
	a->xe_vm->vm = a->vm;
	return xe_vm_scratch(a->xe_vm, (struct span){ 0, XE_VA_END });
}

static int destroy_vm(void *argument)
{
	struct vm_args *a = argument;

	vm_destroy(a->vm);
	return 0;
}

/* A vm's own bind queue has no reference to it: its memory goes with the vm's. */
static void free_bind_queue(struct xe_vm *vm)
{
	if (!vm->bind_queue)
		return;
	xe_queue_kill(vm->bind_queue);
	xe_object_put(&vm->bind_queue->object);
}

void xe_vm_close(struct xe_vm *vm)
{
	ATOMIC_STORE(&vm->closed, 1);
	xe_queue_kill(vm->bind_queue);
}

static void destroy(struct xe_object *object)
{
	struct xe_vm *vm = xe_vm_of(object);
	struct vm_args a = { vm, vm->card->device, vm->vm };

	free_bind_queue(vm);
	xe_userptrs_forget(vm);
	if (vm->vm)
		mm_call(vm->card->mm, destroy_vm, &a, sizeof(a));
	xe_free(vm->card, vm, sizeof(*vm));
}

static int make_vm(struct xe_file *file, uint32_t flags, struct xe_vm **out)
{
	struct xe_card *card = file->card;
	struct xe_vm *vm = xe_alloc(card, sizeof(*vm));
	struct vm_args a = { vm, card->device, NULL };
	int err;

	if (!vm)
		return -ENOMEM;
	vm->object.references = 1;
	vm->object.destroy = destroy;
	vm->card = card;
	vm->file = file;
	vm->flags = flags;
	list_init(&vm->jobs);
	list_init(&vm->binds);
	err = mm_call(card->mm, create_vm, &a, sizeof(a));
	if (!err)
		err = xe_queue_make(card, vm, XE_ENGINE_VM_BIND, 1, &vm->bind_queue);
	if (vm->bind_queue)
		vm->bind_queue->is_own = true;
	if (err) {
		xe_object_put(&vm->object);
		return err;
	}
	*out = vm;
	return 0;
}

static bool flags_are_valid(uint32_t flags)
{
	const uint32_t known = XE_VM_SCRATCH_PAGE | XE_VM_LR_MODE | XE_VM_FAULT_MODE |
			       XE_VM_NO_OVERCOMMIT;

	if (flags & ~known)
		return false;
	if ((flags & XE_VM_FAULT_MODE) && !(flags & XE_VM_LR_MODE))
		return false;
	return !(flags & XE_VM_NO_OVERCOMMIT) || (flags & XE_VM_FAULT_MODE);
}

int xe_ioctl_vm_create(struct xe_file *file, void *argument)
{
	struct xe_vm_create *args = argument;
	struct xe_vm *vm;
	int err;

	if (args->extensions || args->reserved[0] || args->reserved[1] ||
	    !flags_are_valid(args->flags))
		return -EINVAL;
	err = make_vm(file, args->flags, &vm);
	if (err)
		return err;
	err = xe_file_insert(file, XE_KIND_VM, &vm->object, &args->vm);
	if (err)
		xe_object_put(&vm->object);
	return err;
}

int xe_ioctl_vm_destroy(struct xe_file *file, void *argument)
{
	const struct xe_vm_destroy *args = argument;
	struct xe_object *object;
	struct xe_vm *vm;
	bool is_busy;

	if (args->pad || args->reserved[0] || args->reserved[1])
		return -EINVAL;
	object = xe_file_find(file, XE_KIND_VM, args->vm);
	if (!object)
		return -ENOENT;
	vm = xe_vm_of(object);
	/* Long running without faults: its queues have to be preempted to unmap. */
	is_busy = xe_vm_is_lr(vm) && !xe_vm_faults(vm) && ATOMIC_LOAD(&vm->queues);
	xe_object_put(object);
	if (is_busy)
		return -EBUSY;
	object = xe_file_remove(file, XE_KIND_VM, args->vm);
	if (!object)
		return -ENOENT;
	xe_vm_close(vm);
	xe_object_put(object);
	xe_queues_bury(file->card);
	return 0;
}

/* --- jobs in it ---------------------------------------------------------------------- */

bool xe_vm_has_jobs(struct xe_vm *vm)
{
	bool has;

	lock_acquire(&vm->card->fence_lock);
	has = !list_is_empty(&vm->jobs);
	lock_release(&vm->card->fence_lock);
	return has;
}

/* References to at most @max fences. Return: how many there are. */
static uint32_t collect_fences(struct xe_vm *vm, struct xe_fence **fences, uint32_t max)
{
	uint32_t count = 0;

	lock_acquire(&vm->card->fence_lock);
	LIST_FOR_EACH(node, &vm->jobs) {
		struct xe_job *job = LIST_ENTRY(node, struct xe_job, in_vm);

		if (count < max)
			fences[count] = xe_fence_get(job->fence);
		count++;
	}
	lock_release(&vm->card->fence_lock);
	return count;
}

int xe_vm_wait_for_jobs(struct xe_vm *vm, struct xe_job *job)
{
	uint32_t room = collect_fences(vm, NULL, 0);
	size_t bytes = room * sizeof(struct xe_fence *);
	struct xe_fence **fences;
	uint32_t count;
	int err = 0;

	if (!room)
		return 0;
	fences = xe_alloc(vm->card, bytes);
	if (!fences)
		return -ENOMEM;
	/* What came in between was not there when the call was made. */
	count = MIN(collect_fences(vm, fences, room), room);
	for (uint32_t i = 0; i < count; i++) {
		if (!err)
			err = xe_job_wait_for(job, fences[i]);
		xe_fence_put(fences[i]);
	}
	xe_free(vm->card, fences, bytes);
	return err;
}

/* --- binds in it --------------------------------------------------------------------- */

/* The addresses that one page table serves. */
static struct span table_of(const struct xe_bind *bind)
{
	return (struct span){ ALIGN_DOWN(bind->op.addr, HUGE_BYTES),
			      ALIGN_UP(bind->op.addr + bind->op.bytes, HUGE_BYTES) };
}

struct table_args {
	struct vm *vm;
	struct span span;
	bool exists;
};

static int look_for_table(void *argument)
{
	struct table_args *a = argument;
	struct vm_bind_info info;

	a->exists = !vm_bind_query(a->vm, a->span.start, &info) &&
		    span_overlaps(info.span, a->span);
	return 0;
}

/* Is there a page table in @span that a bind has built which is over? */
static bool has_table(struct xe_vm *vm, struct span span)
{
	struct table_args a = { .vm = vm->vm, .span = span };

	mm_call(vm->card->mm, look_for_table, &a, sizeof(a));
	return a.exists;
}

bool xe_vm_will_bind(struct xe_vm *vm, struct span span)
{
	bool will = false;

	lock_acquire(&vm->card->fence_lock);
	LIST_FOR_EACH(node, &vm->binds) {
		const struct xe_job *job = LIST_ENTRY(node, struct xe_job, in_vm);

		for (uint32_t i = 0; i < job->bind_count; i++) {
			const struct xe_bind_op *op = &job->binds[i].op;

			will |= (op->op == XE_BIND_MAP || op->op == XE_BIND_MAP_USERPTR) &&
				span_overlaps(span, span_make(op->addr, op->bytes));
		}
	}
	lock_release(&vm->card->fence_lock);
	return will;
}

static bool meet(const struct xe_job *job, const struct xe_bind *bind, bool has_table)
{
	const struct span own = { bind->op.addr, bind->op.addr + bind->op.bytes };

	for (uint32_t i = 0; i < job->bind_count; i++) {
		const struct xe_bind_op *op = &job->binds[i].op;
		const struct span other = { op->addr, op->addr + op->bytes };

		if (span_overlaps(own, other) ||
		    (!has_table && span_overlaps(table_of(bind), table_of(&job->binds[i]))))
			return true;
	}
	return false;
}

/* The last job of a queue that a bind meets: it is over after all that stand before it. */
struct meeting {
	const struct xe_queue *queue; /* to compare while fence_lock is held */
	struct xe_fence *fence;       /* with a reference */
};

static uint32_t count_binds(struct xe_vm *vm)
{
	uint32_t count = 0;

	lock_acquire(&vm->card->fence_lock);
	LIST_FOR_EACH(node, &vm->binds)
		count++;
	lock_release(&vm->card->fence_lock);
	return count;
}

/* One of each other queue that has jobs which @bind meets. Return: how many, at most @room. */
static uint32_t find_meetings(struct xe_vm *vm, const struct xe_queue *queue,
			      const struct xe_bind *bind, bool has_table,
			      struct meeting *meetings, uint32_t room)
{
	uint32_t count = 0;

	lock_acquire(&vm->card->fence_lock);
	LIST_FOR_EACH(node, &vm->binds) {
		struct xe_job *job = LIST_ENTRY(node, struct xe_job, in_vm);
		uint32_t i = 0;

		if (job->queue == queue || !meet(job, bind, has_table))
			continue;
		while (i < count && meetings[i].queue != job->queue)
			i++;
		/* What came in between was not there when the call was made. */
		if (i == room)
			continue;
		if (i < count)
			xe_fence_put(meetings[i].fence);
		else
			count++;
		meetings[i].queue = job->queue;
		meetings[i].fence = xe_fence_get(job->fence);
	}
	lock_release(&vm->card->fence_lock);
	return count;
}

int xe_vm_wait_for_binds(struct xe_vm *vm, struct xe_queue *queue, const struct xe_bind *binds,
			 uint32_t count, struct xe_job *job)
{
	uint32_t room = count_binds(vm);
	size_t bytes = room * sizeof(struct meeting);
	struct meeting *meetings;
	int err = 0;

	if (!room)
		return 0;
	meetings = xe_alloc(vm->card, bytes);
	if (!meetings)
		return -ENOMEM;
	for (uint32_t i = 0; i < count && !err; i++) {
		uint32_t found = find_meetings(vm, queue, &binds[i],
					       has_table(vm, table_of(&binds[i])), meetings, room);

		for (uint32_t j = 0; j < found; j++) {
			if (!err)
				err = job ? xe_job_wait_for(job, meetings[j].fence) : -EAGAIN;
			xe_fence_put(meetings[j].fence);
		}
	}
	xe_free(vm->card, meetings, bytes);
	return err;
}

/* --- properties -------------------------------------------------------------------- */

static struct xe_vm_fault describe(const struct vm_fault_record *record)
{
	return (struct xe_vm_fault){
		.addr = ALIGN_DOWN(record->addr, PAGE_BYTES),
		.precision_bytes = PAGE_BYTES,
		.access = (uint8_t)MIN(record->access, (uint32_t)USVM_ACCESS_ATOMIC),
		.type = record->error == -EFAULT ? 0 :
			record->access == USVM_ACCESS_ATOMIC ? 2 : 1,
	};
}

static int read_faults(struct xe_file *file, struct xe_vm *vm, struct xe_vm_get_property *args)
{
	struct vm_fault_record records[VM_FAULTS_KEPT];
	size_t count = vm_faults(vm->vm, records, VM_FAULTS_KEPT);
	uint32_t bytes = (uint32_t)(count * sizeof(struct xe_vm_fault));
	int err = 0;

	if (!args->bytes) {
		args->bytes = bytes;
		return 0;
	}
	if (args->bytes > bytes || args->bytes % sizeof(struct xe_vm_fault))
		return -EINVAL;
	for (size_t i = 0; i < args->bytes / sizeof(struct xe_vm_fault) && !err; i++) {
		struct xe_vm_fault fault = describe(&records[i]);

		err = xe_copy_out(file->card, args->data + i * sizeof(fault), &fault,
				  sizeof(fault));
	}
	return err;
}

int xe_ioctl_vm_get_property(struct xe_file *file, void *argument)
{
	struct xe_vm_get_property *args = argument;
	struct xe_object *object;
	int err;

	if (args->extensions || args->pad || args->reserved[0] || args->reserved[1] ||
	    args->reserved[2])
		return -EINVAL;
	object = xe_file_find(file, XE_KIND_VM, args->vm);
	if (!object)
		return -ENOENT;
	err = args->property == XE_VM_PROPERTY_FAULTS ?
		      read_faults(file, xe_vm_of(object), args) :
		      -EINVAL;
	xe_object_put(object);
	return err;
}
