/* SPDX-License-Identifier: MIT */
/*
 * DOC: what a program says about memory
 *
 * A thread knows what it has said in a vm of its own, page by page, and asks. It knows too
 * which pages only the CPU uses atomics in: a job that did one there has failed, and none
 * fails so elsewhere, but on a device that has atomics in its own memory only. Where a page
 * is meanwhile is no matter: its contents are, as ever.
 *
 * In a vm that resets what is unmapped, others may have unmapped it: defaults are right too.
 */
#include "run.h"

#include <errno.h>
#include <string.h>

#define ASK_MAX 64

static uint32_t page_of(uint64_t addr)
{
	return (uint32_t)((addr - PLAY_START) / PAGE_BYTES);
}

static bool is_play(uint64_t addr)
{
	return addr >= PLAY_START && addr < PLAY_END;
}

/* Nobody else says anything there, and its binds stay. */
static bool is_known(const struct program *program)
{
	return program->vm && !program->pieces;
}

static bool is_strict(const struct program *program)
{
	return strstr(program->world->spec->plan->setting.device, "system_atomics=no");
}

void advise_new_vm(struct program *program)
{
	memset(program->advice, 0, sizeof(program->advice));
	program->advice_count++;
}

static struct usvm_attributes attributes_of(const struct op *op, uint32_t *which)
{
	struct usvm_attributes a = { 0 };

	*which = USVM_ATTRIBUTE_PAT;
	if (op->detail < 3) {
		*which = USVM_ATTRIBUTE_LOCATION;
		a.location = op->detail;
	} else if (op->detail < 7) {
		*which = USVM_ATTRIBUTE_ATOMIC;
		a.atomic = op->detail - 3;
	} else {
		a.pat_index = op->detail - 7;
	}
	return a;
}

static void note_said(struct program *program, const struct op *op, uint32_t which,
		      const struct usvm_attributes *a)
{
	for (uint64_t at = op->addr; at < op->addr + op->bytes; at += PAGE_BYTES) {
		struct advice *said = &program->advice[page_of(at)];

		if (which == USVM_ATTRIBUTE_LOCATION)
			said->location = (uint8_t)a->location;
		else if (which == USVM_ATTRIBUTE_ATOMIC)
			said->atomic = (uint8_t)a->atomic;
		else
			said->pat_index = (uint8_t)a->pat_index;
	}
}

/* A reset may have come between what was said of one attribute and of another. */
static bool may_be(const struct program *program, uint32_t said, uint32_t told)
{
	return said == told || (program->autoreset && !told);
}

static bool equals(const struct program *program, const struct advice *said,
		   const struct usvm_attributes *told)
{
	return may_be(program, said->location, told->location) &&
	       may_be(program, said->atomic, told->atomic) &&
	       may_be(program, said->pat_index, told->pat_index);
}

/* Page by page, each piece that meets the span. */
static void compare(struct program *program, const struct op *op)
{
	struct usvm_advised told[ASK_MAX];
	uint64_t at = op->addr;
	size_t count;

	if (usvm_advise_query(program->vm, (void *)(uintptr_t)op->addr, op->bytes, told,
			      ASK_MAX, &count))
		run_fail(program, "usvm_advise_query() failed");
	if (!count)
		run_fail(program, "usvm_advise_query() told nothing");
	for (size_t i = 0; i < count && i < ASK_MAX; i++) {
		uint64_t end = MIN(told[i].addr + told[i].bytes, op->addr + op->bytes);

		if (told[i].addr > at || end <= at)
			run_fail(program, "usvm_advise_query() told %#lx, not %#lx",
				 (unsigned long)told[i].addr, (unsigned long)at);
		for (; at < end; at += PAGE_BYTES) {
			if (equals(program, &program->advice[page_of(at)],
				   &told[i].attributes))
				continue;
			run_fail(program, "advice at %#lx: location %u, atomic %u, pat %u",
				 (unsigned long)at, told[i].attributes.location,
				 told[i].attributes.atomic, told[i].attributes.pat_index);
		}
	}
}

void advise_run_op(struct program *program, const struct op *op)
{
	struct usvm_vm *vm = gpu_vm(program);
	uint32_t which;
	struct usvm_attributes a = attributes_of(op, &which);
	int err;

	if (!vm)
		return;
	if (which == USVM_ATTRIBUTE_ATOMIC && a.atomic == USVM_ATOMIC_CPU) {
		for (uint64_t at = op->addr; at < op->addr + op->bytes; at += PAGE_BYTES)
			program->world->may_refuse[page_of(at)] = true;
	}
	program->advice_count++;
	err = usvm_advise(vm, (void *)(uintptr_t)op->addr, op->bytes, which, &a);
	run_hash(program->world, (uint64_t)(int64_t)err);
	if (err && !run_tolerates(program->world, err))
		run_fail(program, "usvm_advise() gave %d", err);
	if (err || !is_known(program))
		return;
	note_said(program, op, which, &a);
	compare(program, op);
}

bool advise_may_refuse(const struct program *program, uint64_t addr)
{
	return is_strict(program) ||
	       (is_play(addr) && program->world->may_refuse[page_of(addr)]);
}

/* @job succeeded. Nothing was said since it was submitted: what atomics did it do? */
void advise_judge(const struct job *job)
{
	const struct program *program = job->program;
	uint32_t count = job->op->access_count - (job->has_fence ? 1 : 0);

	if (!is_known(program) || program->autoreset ||
	    program->advice_count != job->advice_count)
		return;
	for (uint32_t i = 0; i < count; i++) {
		const struct op_access *a = &job->op->access[i];

		if ((a->type == ACCESS_ADD || a->type == ACCESS_EXCHANGE) &&
		    is_play(a->addr) &&
		    program->advice[page_of(a->addr)].atomic == USVM_ATOMIC_CPU)
			run_fail(job->program, "an atomic at %#lx, where the CPU alone has them",
				 (unsigned long)a->addr);
	}
}
