/* SPDX-License-Identifier: MIT */
/*
 * DOC: threads that move memory of their own
 *
 * What realloc() of large blocks does: each thread has two buffers, and moves them to
 * addresses that are free in the kernel: often that of a buffer which another thread
 * has just moved away or unmapped, before its call came back. No thread acts on memory
 * before the call that gave it has returned, as in a program without data races; so every
 * word has one value, whatever is told late.
 */
#include "run.h"

#define SLOT_BYTES (PLAN_SLOT_PAGES * PAGE_BYTES)

static uint64_t slot_addr(size_t slot)
{
	return PLAY_START + slot * SLOT_BYTES;
}

/* A slot that is free now, as the kernel would choose: the lowest. It is the caller's. */
static size_t slot_take(struct world *world)
{
	struct sim_process *process = sim_process(world->sim, 0);
	size_t slot = 0;

	for (; slot < PLAN_SLOTS; slot++) {
		struct sys_vma vma;
		uint32_t mode;

		if (!world->is_wanted[slot] &&
		    sim_vma(world->sim, process, slot_addr(slot), false, &vma, &mode))
			break;
	}
	world->is_wanted[slot] = true;
	return slot;
}

/* A word of each page gets a value, so that what is lost is seen. */
static void own_fill(struct program *program, const struct op *op, uint64_t own)
{
	struct op store = *op;

	store.type = OP_STORE;
	for (uint64_t at = 0; at < SLOT_BYTES; at += PAGE_BYTES) {
		store.addr = own + at;
		program_run_op(program, &store);
	}
}

static void own_map(struct program *program, const struct op *op, uint64_t *own)
{
	struct world *world = program->world;
	size_t slot = slot_take(world);
	struct model_change change = {
		.type = MODEL_MAP,
		.span = span_make(slot_addr(slot), SLOT_BYTES),
		.state = MODEL_READ | MODEL_WRITE,
	};
	int err;

	model_change_begin(world->model, &change);
	err = sim_mmap(world->sim, change.span.start, SLOT_BYTES,
		       SYS_PROT_READ | SYS_PROT_WRITE, SYS_VMA_ANON_PRIVATE,
		       SIM_MAP_FIXED | SIM_MAP_NOREPLACE, own);
	model_change_end(world->model, &change, err);
	world->is_wanted[slot] = false;
	if (err)
		run_fail(program, "mmap() gave %d", err);
	own_fill(program, op, *own);
}

static void own_unmap(struct program *program, uint64_t *own)
{
	struct world *world = program->world;
	struct model_change change = {
		.type = MODEL_UNMAP,
		.span = span_make(*own, SLOT_BYTES),
	};
	int err;

	model_change_begin(world->model, &change);
	err = sim_munmap(world->sim, change.span);
	model_change_end(world->model, &change, err);
	*own = 0;
	if (err)
		run_fail(program, "munmap() gave %d", err);
}

static void own_move(struct program *program, uint64_t *own)
{
	struct world *world = program->world;
	size_t slot = slot_take(world);
	struct model_change change = {
		.type = MODEL_MOVE,
		.span = span_make(*own, SLOT_BYTES),
		.to = slot_addr(slot),
		.bytes = SLOT_BYTES,
	};
	int err;

	model_change_begin(world->model, &change);
	err = sim_mremap(world->sim, change.span, SLOT_BYTES,
			 SIM_MREMAP_MAYMOVE | SIM_MREMAP_FIXED, change.to, own);
	model_change_end(world->model, &change, err);
	world->is_wanted[slot] = false;
	if (err)
		run_fail(program, "mremap() gave %d", err);
}

/* As @op says, but on its own memory, all of it where it is a span. */
static void own_use(struct program *program, const struct op *op, uint64_t own)
{
	struct op use = *op;

	if (op->type == OP_PREFETCH) {
		use.addr = own;
		use.bytes = SLOT_BYTES;
		gpu_run_op(program, &use);
	} else {
		use.addr = own + ALIGN_DOWN(op->addr % SLOT_BYTES, PAGE_BYTES);
		program_run_op(program, &use);
	}
}

bool own_run_op(struct program *program, const struct op *op)
{
	uint64_t *own = &program->own_addr[op->addr / SLOT_BYTES % 2];

	switch (op->type) {
	case OP_LOAD:
	case OP_STORE:
	case OP_MREMAP:
	case OP_MUNMAP:
	case OP_PREFETCH:
		break;
	default:
		return false;
	}
	if (!*own)
		own_map(program, op, own);
	else if (op->type == OP_MUNMAP)
		own_unmap(program, own);
	else if (op->type == OP_MREMAP)
		own_move(program, own);
	else
		own_use(program, op, *own);
	return true;
}
