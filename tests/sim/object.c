/* SPDX-License-Identifier: MIT */
/*
 * DOC: buffer objects of a program
 *
 * Each thread has one, bound where the program has no memory. It alone uses it, so that it
 * knows what is in it; what others do to it is to take its place in device memory. A job
 * reads the first word of some of its pages, compares, and writes others.
 */
#include "run.h"

#include <errno.h>
#include <string.h>

#include "api/api_internal.h"
#include "mm/call.h"
#include "vm/bo.h"

/* GPU addresses; the window of the simulated process ends far below. */
#define OBJECT_START 0x600000000000ull
#define OBJECT_BYTES GIB(1)
#define WORDS 6

enum {
	OBJECT_NEW,
	OBJECT_TO_SYSTEM,
	OBJECT_TO_DEVICE,
	OBJECT_BIND_AGAIN,
	OBJECT_HOLE, /* NULL over a part, then the object again */
	OBJECT_VALIDATE, /* all that are bound in the vm, as before a job that must not fault */
	OBJECT_VALIDATE_TOO,
	OBJECT_KINDS /* from here on: a job */
};

struct object_job {
	uint64_t addr;
	uint64_t first;
	uint32_t stride, pages;
	uint64_t value;
	uint64_t found[WORDS];
	uint32_t done;
};

struct span object_span(uint32_t thread)
{
	return span_make(OBJECT_START + thread * OBJECT_BYTES, OBJECT_PAGES_MAX * PAGE_BYTES);
}

static uint64_t start_of(const struct program *program)
{
	return object_span(program->index).start;
}

static uint64_t page_of(const struct object_job *job, uint32_t i)
{
	return (job->first + (uint64_t)i * job->stride) % job->pages;
}

static void kernel(struct usvm_lane *lane, const void *args)
{
	struct object_job *job = *(struct object_job *const *)args;

	for (; job->done < WORDS; job->done++) {
		uint64_t addr = job->addr + page_of(job, job->done) * PAGE_BYTES;

		job->found[job->done] = usvm_load64(lane, addr);
		usvm_store64(lane, addr, job->value + job->done);
	}
}

void object_unbound(struct program *program)
{
	if (program->object.vm == program->vm)
		program->object.vm = NULL;
}

void object_drop(struct program *program)
{
	struct object *object = &program->object;

	gpu_must(program, "usvm_bo_destroy()", usvm_bo_destroy(object->bo));
	object->bo = NULL;
	object->vm = NULL;
}

static void make(struct program *program, const struct op *op)
{
	struct object *object = &program->object;
	const struct usvm_bo_config config = {
		.bytes = op->bytes,
		.placement = op->number % 3 ? USVM_BO_DEVICE : USVM_BO_DEVICE | USVM_BO_SYSTEM,
		.flags = op->number % 2 ? USVM_BO_DEVICE_ONLY : 0,
	};

	object_drop(program);
	if (!gpu_must(program, "usvm_bo_create()",
		      usvm_bo_create(gpu_device_of(program), &config, &object->bo)))
		object->bo = NULL;
	object->pages = (uint32_t)(config.bytes / PAGE_BYTES);
	for (uint32_t i = 0; i < object->pages; i++) {
		object->word[i] = 0;
		object->is_known[i] = true;
	}
}

static bool bind(struct program *program, struct usvm_vm *vm, uint32_t flags)
{
	struct object *object = &program->object;
	bool bound = gpu_must(program, "usvm_vm_bind()",
			      usvm_vm_bind(vm, start_of(program),
					   (uint64_t)object->pages * PAGE_BYTES, object->bo, 0,
					   flags));

	object->vm = bound ? vm : NULL;
	return bound;
}

/* Zeros for a while, over a part. */
static void punch(struct program *program, const struct op *op)
{
	struct object *object = &program->object;
	uint64_t first = op->addr % object->pages;
	uint64_t at = start_of(program) + first * PAGE_BYTES;
	uint64_t bytes = (object->pages - first + 1) / 2 * PAGE_BYTES;

	if (!gpu_must(program, "usvm_vm_bind()",
		      usvm_vm_bind(object->vm, at, bytes, NULL, 0, 0)))
		return;
	if (!gpu_must(program, "usvm_vm_unbind()", usvm_vm_unbind(object->vm, at, PAGE_BYTES)) ||
	    !gpu_must(program, "usvm_vm_bind()",
		      usvm_vm_bind(object->vm, at, bytes, object->bo, first * PAGE_BYTES, 0)))
		object->vm = NULL; /* bound anew when it is used */
}

static void compare(struct program *program, const struct object_job *job)
{
	struct object *object = &program->object;

	for (uint32_t i = 0; i < job->done; i++) {
		uint64_t page = page_of(job, i);

		run_hash(program->world, job->found[i]);
		if (object->is_known[page] && job->found[i] != object->word[page])
			run_fail(program, "page %lu of the object has %#lx, not %#lx",
				 (unsigned long)page, (unsigned long)job->found[i],
				 (unsigned long)object->word[page]);
		object->word[page] = job->value + i;
		object->is_known[page] = true;
	}
}

static void move(struct program *program, enum usvm_place to)
{
	int err = usvm_bo_move(program->object.bo, to);

	if (err != -EINVAL) /* its placement */
		gpu_must(program, "usvm_bo_move()", err);
}

/* It moves while the engine uses it, and what the engine does is not lost. */
static int run_and_move(struct program *program, struct usvm_queue *queue,
			const struct usvm_kernel *run)
{
	struct usvm_fence *fence;
	int err = usvm_submit_kernel(queue, run, &fence);

	if (err)
		return err;
	for (uint32_t i = 0; i < 2; i++)
		move(program, i ? USVM_PLACE_DEVICE : USVM_PLACE_SYSTEM);
	err = usvm_fence_wait(fence, USVM_FOREVER);
	usvm_fence_put(fence);
	return err;
}

static void run_job(struct program *program, const struct op *op)
{
	struct usvm_queue *queue = gpu_queue_of(program);
	struct object_job job = {
		.addr = start_of(program),
		.first = op->addr,
		.stride = 1 + op->number % 7,
		.pages = program->object.pages,
		.value = (uint64_t)op->number << 8 | 1,
	};
	struct object_job *argument = &job;
	const struct usvm_kernel run = {
		.function = kernel,
		.args = &argument,
		.args_bytes = sizeof(argument),
	};
	int err;

	if (!queue)
		return;
	err = op->detail % 3 ? usvm_run_kernel(queue, &run) :
			       run_and_move(program, queue, &run);
	compare(program, &job);
	if (!err && job.done < WORDS)
		run_fail(program, "the object's job succeeded after %u of %u words", job.done,
			 WORDS);
	/* An earlier job of the queue may just have failed; then nothing of this one ran. */
	if (err && err != -ECANCELED && !gpu_must(program, "the object's job", err) &&
	    job.done < WORDS)
		program->object.is_known[page_of(&job, job.done)] = false;
}

static int validate(void *argument)
{
	return vm_validate(*(struct vm **)argument);
}

/* Those of all threads may need more than there is. */
static void validate_all(struct program *program, struct usvm_vm *vm)
{
	int err = mm_call(vm->usvm->mm, validate, &vm->vm, sizeof(vm->vm));

	if (err != -ENOSPC)
		gpu_must(program, "vm_validate()", err);
}

void object_run_op(struct program *program, const struct op *op)
{
	struct object *object = &program->object;
	struct usvm_vm *vm;

	if (!object->bo || op->detail == OBJECT_NEW)
		make(program, op);
	vm = gpu_vm(program);
	if (!object->bo || !vm)
		return;
	if (op->detail == OBJECT_TO_SYSTEM || op->detail == OBJECT_TO_DEVICE)
		move(program, op->detail == OBJECT_TO_DEVICE ? USVM_PLACE_DEVICE :
							       USVM_PLACE_SYSTEM);
	if (object->vm != vm || op->detail == OBJECT_BIND_AGAIN) {
		if (!bind(program, vm, op->number % 4 ? 0 : USVM_BIND_NOW))
			return;
	}
	if (op->detail == OBJECT_HOLE)
		punch(program, op);
	if (op->detail == OBJECT_VALIDATE || op->detail == OBJECT_VALIDATE_TOO)
		validate_all(program, vm);
	if (op->detail >= OBJECT_KINDS && object->vm)
		run_job(program, op);
}
