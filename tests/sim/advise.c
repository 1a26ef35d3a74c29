/* SPDX-License-Identifier: MIT */
/*
 * DOC: what a program says about memory
 *
 * A thread knows what it has said in a vm of its own, page by page, and asks. It knows too
 * which pages only the CPU uses atomics in: a job that did one there has failed, and none
 * fails so elsewhere, but on a device that has atomics in its own memory only. Where a page
 * is meanwhile is no matter: its contents are, as ever.
 *
 * In a vm that resets what is unmapped, a page has defaults when a call has returned that
 * unmapped it, of memory that usvm hears of; has what was said as long as no call has begun;
 * and either meanwhile.
 */
#include "run.h"

#include <errno.h>
#include <string.h>

#define ASK_MAX 64
#define AROUND KIB(128)

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
	uint32_t now = program->world->unmap_clock;

	memset(program->advice, 0, sizeof(program->advice));
	for (uint32_t page = 0; page < PLAY_PAGES; page++) {
		for (uint32_t k = 0; k < 3; k++)
			program->advice[page].before[k] = program->advice[page].after[k] = now;
	}
	program->advice_count++;
}

static bool is_heard_of(struct world *world, uint64_t addr)
{
	struct sys_vma vma;
	uint32_t mode;

	return !sim_vma(world->sim, sim_process(world->sim, 0), addr, false, &vma, &mode) &&
	       mode;
}

uint32_t advise_unmaps(struct world *world, struct span span)
{
	uint32_t now = ++world->unmap_clock;

	for (uint64_t at = span.start; at < span.end; at += PAGE_BYTES) {
		struct unmaps *u = is_play(at) ? &world->unmaps[page_of(at)] : NULL;

		if (!u)
			continue;
		u->begun++;
		u->last = now;
		u->maybe = is_heard_of(world, at) ? now : 0;
	}
	return now;
}

void advise_unmapped(struct world *world, struct span span, uint32_t number, int err)
{
	uint32_t now = ++world->unmap_clock;

	for (uint64_t at = span.start; at < span.end; at += PAGE_BYTES) {
		struct unmaps *u = is_play(at) ? &world->unmaps[page_of(at)] : NULL;

		if (!u)
			continue;
		u->ended++;
		u->last_end = now;
		if (err || u->maybe != number || u->begun != u->ended)
			continue;
		u->heard = number;
		u->done = now;
	}
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
		      const struct usvm_attributes *a, uint32_t before)
{
	uint32_t k = which == USVM_ATTRIBUTE_LOCATION ? 0 : which == USVM_ATTRIBUTE_ATOMIC ? 1 : 2;
	uint32_t location = a->device ? (uint32_t)USVM_LOCATION_ELSEWHERE : a->location;
	uint32_t value = k == 0 ? location : k == 1 ? a->atomic : a->pat_index;

	for (uint64_t at = op->addr; at < op->addr + op->bytes; at += PAGE_BYTES) {
		const struct unmaps *u = &program->world->unmaps[page_of(at)];
		struct advice *said = &program->advice[page_of(at)];

		said->value[k] = (uint8_t)value;
		said->before[k] = before;
		said->after[k] = program->world->unmap_clock;
		said->is_vague[k] = u->begun != u->ended || u->last > before ||
				    u->last_end > before;
	}
}

/* @asked: when the query began. */
static bool is_right(const struct program *program, uint32_t page, uint32_t k, uint32_t told,
		     uint32_t asked)
{
	const struct advice *said = &program->advice[page];
	const struct unmaps *u = &program->world->unmaps[page];

	if (!program->autoreset)
		return told == said->value[k];
	if (u->heard > said->after[k] && u->done <= asked)
		return !told;
	if (!said->is_vague[k] && u->last <= said->before[k])
		return told == said->value[k];
	return told == said->value[k] || !told;
}

static bool is_right_page(const struct program *program, uint32_t page,
			  const struct usvm_attributes *told, uint32_t asked)
{
	return is_right(program, page, 0, told->location, asked) &&
	       is_right(program, page, 1, told->atomic, asked) &&
	       is_right(program, page, 2, told->pat_index, asked);
}

/* Page by page, each piece that meets the span, and what lies around it. */
static void compare(struct program *program, const struct op *op)
{
	uint64_t start = MAX(op->addr, PLAY_START + AROUND) - AROUND;
	uint64_t bytes = MIN(op->addr + op->bytes + AROUND, PLAY_END) - start;
	struct usvm_advised told[ASK_MAX];
	uint32_t asked = program->world->unmap_clock;
	uint64_t at = start;
	size_t count;

	if (usvm_advise_query(program->vm, (void *)(uintptr_t)start, bytes, told,
			      ASK_MAX, &count))
		run_fail(program, "usvm_advise_query() failed");
	if (!count)
		run_fail(program, "usvm_advise_query() told nothing");
	for (size_t i = 0; i < count && i < ASK_MAX; i++) {
		uint64_t end = MIN(told[i].addr + told[i].bytes, start + bytes);

		if (told[i].addr > at || end <= at)
			run_fail(program, "usvm_advise_query() told %#lx, not %#lx",
				 (unsigned long)told[i].addr, (unsigned long)at);
		for (; at < end; at += PAGE_BYTES) {
			if (is_right_page(program, page_of(at), &told[i].attributes, asked))
				continue;
			run_fail(program, "advice at %#lx: location %u, atomic %u, pat %u",
				 (unsigned long)at, told[i].attributes.location,
				 told[i].attributes.atomic, told[i].attributes.pat_index);
		}
	}
}

static int said(struct program *program, struct usvm_vm *vm, const struct op *op,
		uint32_t which, const struct usvm_attributes *a)
{
	int err = usvm_advise(vm, (void *)(uintptr_t)op->addr, op->bytes, which, a);

	run_hash(program->world, (uint64_t)(int64_t)err);
	if (err && !run_tolerates(program->world, err))
		run_fail(program, "usvm_advise() gave %d", err);
	return err;
}

/* The vm of all is to have pages on the thread's own device, which goes some time, and is
 * named there still. */
static bool advise_all(struct program *program, const struct op *op, uint32_t which)
{
	const struct usvm_attributes a = {
		.location = USVM_LOCATION_DEVICE, .device = program->own
	};

	if (which != USVM_ATTRIBUTE_LOCATION || !program->own || op->number % 4 != 3 ||
	    !program->world->common_vm)
		return false;
	(void)said(program, program->world->common_vm, op, which, &a);
	return true;
}

void advise_run_op(struct program *program, const struct op *op)
{
	struct usvm_vm *vm = gpu_vm(program);
	uint32_t which, before = program->world->unmap_clock;
	struct usvm_attributes a = attributes_of(op, &which);
	int err;

	if (!vm || advise_all(program, op, which))
		return;
	/* Half of those that name a device name the common one to a vm of another. */
	if (a.location == USVM_LOCATION_DEVICE && program->own && program->vm && op->number % 2)
		a.device = program->world->common;
	if (which == USVM_ATTRIBUTE_ATOMIC && a.atomic == USVM_ATOMIC_CPU) {
		for (uint64_t at = op->addr; at < op->addr + op->bytes; at += PAGE_BYTES)
			program->world->may_refuse[page_of(at)] = true;
	}
	if (is_known(program))
		compare(program, op);
	program->advice_count++;
	err = said(program, vm, op, which, &a);
	if (err || !is_known(program))
		return;
	note_said(program, op, which, &a, before);
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
		    program->advice[page_of(a->addr)].value[1] == USVM_ATOMIC_CPU)
			run_fail(job->program, "an atomic at %#lx, where the CPU alone has them",
				 (unsigned long)a->addr);
	}
}
