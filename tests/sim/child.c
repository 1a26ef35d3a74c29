/* SPDX-License-Identifier: MIT */
/*
 * DOC: children
 *
 * What a child may find was in the parent's memory at some time between the call of
 * fork() and the child's first step; the model is asked at that step. From then on the
 * child's memory is its own: it must find what it wrote, and the parent must not.
 */
#include "run.h"

#include <errno.h>
#include <string.h>

static void child_fail(struct child *child, uint32_t index, const char *what, uint64_t value)
{
	const struct op_access *a = &child->op->access[index];

	sim_fail(child->program->world->sim,
		 "the child of operation %u at %#lx: %s (%#lx; it could have had %lu values, "
		 "the first %#lx)",
		 child->op->number, (unsigned long)a->addr, what, (unsigned long)value,
		 (unsigned long)child->values[index].count,
		 (unsigned long)child->values[index].value[0]);
}

/* An earlier access of the child to the same word: its value is known. */
static int find_own(const struct child *child, uint32_t index)
{
	for (int i = (int)index - 1; i >= 0; i--) {
		if (child->has_own[i] && child->op->access[i].addr == child->op->access[index].addr)
			return i;
	}
	return -1;
}

static void check_value(struct child *child, uint32_t index, uint64_t value)
{
	int own = find_own(child, index);

	run_hash(child->program->world, value);
	if (own < 0 && ALIGN_DOWN(child->op->access[index].addr, PAGE_BYTES) == child->discarded) {
		if (value)
			child_fail(child, index, "a value that it discarded", value);
		return;
	}
	if (own >= 0 && child->own[own] != value)
		child_fail(child, index, "lost what it wrote itself", value);
	if (own < 0 && !child->values[index].may_succeed)
		child_fail(child, index, "memory where there is none", value);
	/* The clone is told after the munmap() of another thread: docs/limits.md. */
	if (own < 0 && !value && child->is_late[index])
		return;
	if (own < 0 && !model_values_have(&child->values[index], value))
		child_fail(child, index, "a value that the parent did not have", value);
}

/* Without EVENT_FORK a clone() that nobody knew of is not given what was on a device. */
static bool is_kept_out(const struct child *child)
{
	return (child->op->flags & OP_RAW) &&
	       !(child->program->world->spec->plan->setting.sim.features &
		 SYS_FEATURE_EVENT_FORK);
}

static void child_access(struct child *child, uint32_t index)
{
	struct sim *sim = child->program->world->sim;
	const struct op_access *a = &child->op->access[index];
	bool is_read = a->type == ACCESS_LOAD || a->type == ACCESS_BULK_READ;
	uint64_t value = 0;
	int err = sim_load(sim, a->addr, &value);

	if (!err) {
		check_value(child, index, value);
		child->own[index] = value;
		child->has_own[index] = true;
		if (is_read)
			return;
		value = plan_value(child->op, index);
		err = sim_store(sim, a->addr, value);
		if (!err)
			child->own[index] = value;
		else if (err == -EFAULT && child->values[index].may_forbid)
			err = 0;
	} else if (err == -EFAULT && (child->values[index].may_fail || is_kept_out(child))) {
		err = 0;
	} else if (err == -EBUSY && child->program->world->spec->injection) {
		return; /* poison: what the child lacks could not be told, or given to it */
	}
	if (err)
		child_fail(child, index, err == -EFAULT ? "SIGSEGV" : "SIGBUS", (uint64_t)-err);
}

static void child_unmap(struct child *child)
{
	struct sim *sim = child->program->world->sim;
	uint64_t page = ALIGN_DOWN(child->op->access[0].addr, PAGE_BYTES);
	uint64_t value;
	int err = sim_munmap(sim, span_make(page, PAGE_BYTES));

	if (err)
		child_fail(child, 0, "munmap() failed", (uint64_t)-err);
	if (sim_load(sim, page, &value) != -EFAULT)
		child_fail(child, 0, "memory that it unmapped", value);
}

static bool is_shared(const struct child *child, uint32_t index)
{
	return child->values[index].may_share;
}

/* Before it has looked: what it lacks may be on its way to it. */
static void child_discard(struct child *child)
{
	struct sim *sim = child->program->world->sim;
	uint64_t page = ALIGN_DOWN(child->op->access[0].addr, PAGE_BYTES);

	if (!is_shared(child, 0) &&
	    !sim_madvise(sim, span_make(page, PAGE_BYTES), SIM_ADVICE_DONTNEED))
		child->discarded = page;
}

static void child_main(void *arg)
{
	struct child *child = arg;
	struct world *world = child->program->world;
	const struct op *op = child->op;

	for (uint32_t i = 0; i < op->access_count; i++) {
		uint64_t addr = op->access[i].addr;

		model_values(world->model, addr, child->fork_start, true, &child->values[i]);
		child->is_late[i] = (op->flags & OP_RAW) &&
				    model_has_changed(world->model, addr, child->fork_start);
	}
	model_let_go(world->model, child->slot);
	if (op->flags & OP_UNMAPS && op->number % 2)
		child_discard(child);
	for (uint32_t i = 0; i < op->access_count; i++) {
		if (!is_shared(child, i))
			child_access(child, i);
	}
	if (op->flags & OP_UNMAPS)
		child_unmap(child);
	sim_exit(world->sim);
}

static void wait_child(struct child *child)
{
	if (child->active)
		sim_wait(child->program->world->sim, child->process);
	child->active = false;
}

void child_wait_all(struct program *program)
{
	for (uint32_t i = 0; i < CHILDREN_MAX; i++)
		wait_child(&program->children[i]);
}

void child_fork(struct program *program, const struct op *op)
{
	struct world *world = program->world;
	struct child *child = &program->children[program->child_next];
	int err;

	wait_child(child);
	program->child_next = (program->child_next + 1) % CHILDREN_MAX;
	*child = (struct child){
		.program = program,
		.op = op,
		.fork_start = model_now(world->model),
	};
	model_hold(world->model, child->fork_start, &child->slot);
	err = sim_fork(world->sim, op->flags & OP_RAW ? SIM_FORK_RAW : 0, "child", child_main,
		       child, &child->process);
	if (err)
		run_fail(program, "fork() gave %d", err);
	child->active = true;
	if (!(op->flags & OP_ASYNC))
		wait_child(child);
}
