/* SPDX-License-Identifier: MIT */
/*
 * DOC: what a thread of the program does itself: accesses and system calls
 */
#include "run.h"

#include <errno.h>
#include <string.h>

/* --- accesses --------------------------------------------------------------- */

static void check_error(struct program *program, const struct model_access *access, int err)
{
	if (err == -EBUSY)
		run_fail(program, "SIGBUS at %#lx", (unsigned long)access->addr);
	if (err != -EFAULT)
		run_fail(program, "error %d at %#lx", err, (unsigned long)access->addr);
}

static void end_failed(struct program *program, struct model_access *access, int err)
{
	if (run_loses(program->world)) {
		model_unknown_end(program->world->model, access);
		return;
	}
	check_error(program, access, err);
	run_verdict(program, model_fail_end(program->world->model, access));
}

static void load(struct program *program, uint64_t addr, bool by_call)
{
	struct world *world = program->world;
	struct model_access access;
	uint64_t value = 0;
	int err;

	model_load_begin(world->model, &access, addr, false);
	err = by_call ? sim_copy_in(world->sim, addr, &value, 8) :
			sim_load(world->sim, addr, &value);
	run_hash(world, value);
	if (err)
		end_failed(program, &access, err);
	else
		run_verdict(program, model_load_end(world->model, &access, value));
}

static void store(struct program *program, const struct op *op, bool by_call)
{
	struct world *world = program->world;
	struct model_access access;
	uint64_t value = plan_value(op, 0);
	int err;

	model_store_begin(world->model, &access, op->addr, value, false);
	err = by_call ? sim_copy_out(world->sim, op->addr, &value, 8) :
			sim_store(world->sim, op->addr, value);
	if (err)
		end_failed(program, &access, err);
	else
		run_verdict(program, model_store_end(world->model, &access));
}

static void add(struct program *program, const struct op *op)
{
	struct world *world = program->world;
	struct model_access access;
	uint64_t old = 0;
	int err;

	model_add_begin(world->model, &access, op->addr, plan_add(op, 0), false);
	err = sim_fetch_add(world->sim, op->addr, plan_add(op, 0), &old);
	run_hash(world, old);
	if (err)
		end_failed(program, &access, err);
	else
		run_verdict(program, model_add_end(world->model, &access, old));
}

static void exchange(struct program *program, const struct op *op)
{
	struct world *world = program->world;
	struct model_access read;
	struct model_access write;
	uint64_t old = 0;
	int err;

	model_load_begin(world->model, &read, op->addr, false);
	model_store_begin(world->model, &write, op->addr, plan_value(op, 0), false);
	err = sim_exchange(world->sim, op->addr, plan_value(op, 0), &old);
	run_hash(world, old);
	if (err) {
		model_unknown_end(world->model, &read);
		end_failed(program, &write, err);
		return;
	}
	run_verdict(program, model_load_end(world->model, &read, old));
	run_verdict(program, model_store_end(world->model, &write));
}

static void dma(struct program *program, const struct op *op)
{
	struct world *world = program->world;
	uint32_t offset = (uint32_t)(op->addr % PAGE_BYTES);
	uint64_t value = plan_value(op, 0);
	uint64_t seen = 0;
	struct model_access access;
	struct sim_pin *pin;
	int err;

	model_dma_begin(world->model, &access, op->addr, value);
	err = sim_pin(world->sim, ALIGN_DOWN(op->addr, PAGE_BYTES), true, &pin);
	if (err) {
		const char *why = model_dma_fail_end(world->model, &access);

		if (!run_loses(world)) {
			check_error(program, &access, err);
			run_verdict(program, why);
		}
		return;
	}
	for (int i = 0; i < 20; i++)
		sim_yield(world->sim, NULL);
	sim_pin_write(world->sim, pin, offset, &value, 8);
	/* A page may be pinned for as long as the GPU needs to give it up. */
	if (op->number % 4 == 0)
		gpu_wait_all(program);
	for (int i = 0; i < 20; i++)
		sim_yield(world->sim, NULL);
	sim_pin_read(world->sim, pin, offset, &seen, 8);
	run_hash(world, seen);
	sim_unpin(world->sim, pin);
	run_verdict(program, model_dma_end(world->model, &access));
}

/* --- system calls ----------------------------------------------------------------- */

/* A call failed, perhaps in the middle: what is there can be seen. */
static void observe(struct program *program, struct span span)
{
	struct world *world = program->world;
	struct sim_process *process = sim_process(world->sim, 0);

	for (uint64_t addr = span.start; addr < span.end; addr += PAGE_BYTES) {
		struct sys_vma vma;
		uint32_t mode;
		int err = sim_vma(world->sim, process, addr, false, &vma, &mode);

		model_state_is(world->model, addr, err ? 0 : vma.prot & 3u);
	}
}

static uint32_t state_of(uint32_t prot)
{
	return (prot & SYS_PROT_READ ? MODEL_READ : 0u) |
	       (prot & SYS_PROT_WRITE ? MODEL_WRITE : 0u);
}

static void do_mmap(struct program *program, const struct op *op)
{
	struct world *world = program->world;
	bool shared = op->flags & OP_SHARED;
	struct model_change change = {
		.type = MODEL_MAP,
		.span = span_make(op->addr, op->bytes),
		.state = state_of(op->detail) | (shared ? MODEL_SHARED : 0u),
	};
	uint32_t flags = SIM_MAP_FIXED | (op->flags & OP_NOREPLACE ? SIM_MAP_NOREPLACE : 0u);
	uint32_t number = advise_unmaps(world, change.span);
	uint64_t at;
	int err;

	model_change_begin(world->model, &change);
	err = sim_mmap(world->sim, op->addr, op->bytes, op->detail,
		       shared ? SYS_VMA_ANON_SHARED : SYS_VMA_ANON_PRIVATE, flags, &at);
	model_change_end(world->model, &change, err);
	advise_unmapped(world, change.span, number, err);
	if (err && err != -EEXIST)
		run_fail(program, "mmap() gave %d", err);
}

static void do_munmap(struct program *program, const struct op *op)
{
	struct world *world = program->world;
	struct model_change change = {
		.type = MODEL_UNMAP,
		.span = span_make(op->addr, op->bytes),
	};
	uint32_t number = advise_unmaps(world, change.span);
	int err;

	model_change_begin(world->model, &change);
	err = sim_munmap(world->sim, change.span);
	model_change_end(world->model, &change, err);
	advise_unmapped(world, change.span, number, err);
	if (err)
		run_fail(program, "munmap() gave %d", err);
}

static void do_mremap(struct program *program, const struct op *op)
{
	struct world *world = program->world;
	bool keep = op->flags & OP_DONTUNMAP;
	struct span to = span_make(op->to, op->bytes);
	struct model_change change = {
		.type = keep ? MODEL_MOVE_KEEP : MODEL_MOVE,
		.span = span_make(op->addr, op->bytes),
		.to = op->to,
		.bytes = op->bytes,
	};
	uint32_t flags = SIM_MREMAP_MAYMOVE | SIM_MREMAP_FIXED |
			 (keep ? SIM_MREMAP_DONTUNMAP : 0u);
	uint32_t from_number, to_number;
	uint64_t at;
	int err;

	if (span_overlaps(change.span, to))
		return;
	model_change_begin(world->model, &change);
	from_number = advise_unmaps(world, change.span);
	to_number = advise_unmaps(world, to);
	err = sim_mremap(world->sim, change.span, op->bytes, flags, op->to, &at);
	change.piece_count = sim_mremap_pieces(world->sim, &change.pieces);
	model_change_end(world->model, &change, err);
	/* It may have gone in part. */
	advise_unmapped(world, to, to_number, -EAGAIN);
	advise_unmapped(world, change.span, from_number, -EAGAIN);
	run_hash(world, (uint64_t)(int64_t)err);
	observe(program, to);
	if (err)
		observe(program, change.span);
}

static bool advice_change(uint32_t advice, struct model_change *change)
{
	switch (advice) {
	case SIM_ADVICE_DONTNEED:
		change->type = MODEL_ZERO;
		return true;
	case SIM_ADVICE_FREE:
		change->type = MODEL_MAY_ZERO;
		return true;
	case SIM_ADVICE_GUARD_REMOVE:
		change->state = MODEL_READ;
		change->type = MODEL_GUARD;
		return true;
	case SIM_ADVICE_GUARD_INSTALL:
		change->type = MODEL_GUARD;
		return true;
	case SIM_ADVICE_DONTFORK:
		change->state = MODEL_NOFORK;
		change->type = MODEL_FORK_FLAG;
		return true;
	case SIM_ADVICE_WIPEONFORK:
		change->state = MODEL_WIPE;
		change->type = MODEL_FORK_FLAG;
		return true;
	case SIM_ADVICE_DOFORK:
	case SIM_ADVICE_KEEPONFORK:
		change->type = MODEL_FORK_FLAG;
		return true;
	default:
		change->type = MODEL_SPLIT;
		return true;
	}
}

static void do_madvise(struct program *program, const struct op *op)
{
	struct world *world = program->world;
	struct model_change change = { .span = span_make(op->addr, op->bytes) };
	bool changes = advice_change(op->detail, &change);
	int err;

	if (changes)
		model_change_begin(world->model, &change);
	err = sim_madvise(world->sim, change.span, op->detail);
	if (changes)
		model_change_end(world->model, &change, err);
	run_hash(world, (uint64_t)(int64_t)err);
}

static void do_mlock(struct program *program, const struct op *op)
{
	struct world *world = program->world;
	struct model_change change = {
		.type = MODEL_SPLIT,
		.span = span_make(op->addr, op->bytes),
	};
	int err;

	model_change_begin(world->model, &change);
	err = sim_mlock(world->sim, change.span, op->flags & OP_ON);
	model_change_end(world->model, &change, err);
	run_hash(world, (uint64_t)(int64_t)err);
}

static void do_mprotect(struct program *program, const struct op *op)
{
	struct world *world = program->world;
	struct model_change change = {
		.type = MODEL_PROTECT,
		.span = span_make(op->addr, op->bytes),
		.state = state_of(op->detail),
	};
	int err;

	model_change_begin(world->model, &change);
	err = sim_mprotect(world->sim, change.span, op->detail);
	model_change_end(world->model, &change, err);
	if (err)
		observe(program, change.span);
}

void program_run_op(struct program *program, const struct op *op)
{
	struct world *world = program->world;

	switch (op->type) {
	case OP_LOAD:
	case OP_WRITE_CALL:
		load(program, op->addr, op->type == OP_WRITE_CALL);
		break;
	case OP_STORE:
	case OP_READ_CALL:
		store(program, op, op->type == OP_READ_CALL);
		break;
	case OP_ADD:
		add(program, op);
		break;
	case OP_EXCHANGE:
		exchange(program, op);
		break;
	case OP_PIN:
		dma(program, op);
		break;
	case OP_MMAP:
		do_mmap(program, op);
		break;
	case OP_MUNMAP:
		do_munmap(program, op);
		break;
	case OP_REMAKE:
		do_munmap(program, op);
		do_mmap(program, op);
		store(program, op, false);
		break;
	case OP_MREMAP:
		do_mremap(program, op);
		break;
	case OP_MADVISE:
		do_madvise(program, op);
		break;
	case OP_MPROTECT:
		do_mprotect(program, op);
		break;
	case OP_MLOCK:
		do_mlock(program, op);
		break;
	case OP_SWAP:
		run_hash(world, sim_swap_out(world->sim, span_make(op->addr, op->bytes)));
		break;
	default:
		run_fail(program, "no such operation");
	}
}
