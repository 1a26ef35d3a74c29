/* SPDX-License-Identifier: MIT */
/*
 * DOC: the slow half of usvm/kernel.h
 *
 * A lane is the first part of its engine. An access that fails does not return
 * into the kernel: it jumps to engine.c, which set the mark before it called the
 * kernel. The frames between are the kernel's and accessor's only; neither holds
 * a lock or is inside a section there. _setjmp and _longjmp save no signal mask,
 * and the sanitizers know them, which they do not the compiler's own pair.
 */
#include <errno.h>
#include <string.h>

#include "gpu/gpu_internal.h"

static struct gpu_engine *engine_of(struct usvm_lane *lane)
{
	return CONTAINER_OF(lane, struct gpu_engine, lane);
}

NORETURN static void leave_kernel(struct gpu_engine *engine, int err)
{
	engine->leave_error = err;
	_longjmp(engine->leave, 1);
}

uint64_t usvm_lane_load(struct usvm_lane *lane, uint64_t addr, uint32_t bytes)
{
	struct gpu_engine *engine = engine_of(lane);
	uint64_t value = 0;
	int err = mmu_copy(engine, USVM_SYSTEM_READ, addr, &value, bytes);

	if (err)
		leave_kernel(engine, err);
	return value;
}

void usvm_lane_store(struct usvm_lane *lane, uint64_t addr, uint64_t value,
		     uint32_t bytes)
{
	struct gpu_engine *engine = engine_of(lane);
	int err = mmu_copy(engine, USVM_SYSTEM_WRITE, addr, &value, bytes);

	if (err)
		leave_kernel(engine, err);
}

uint64_t usvm_lane_atomic(struct usvm_lane *lane, uint32_t op, uint64_t addr,
			  uint32_t bytes, uint64_t operand, uint64_t compare)
{
	struct gpu_engine *engine = engine_of(lane);
	uint64_t buffer[2] = { operand, compare };
	int err;

	if (op < USVM_SYSTEM_ADD || op > USVM_SYSTEM_SIGNED_MAX ||
	    (bytes != 4 && bytes != 8) || !IS_ALIGNED(addr, bytes)) {
		engine->job->fault_addr = addr;
		engine->job->fault_access = USVM_ACCESS_ATOMIC;
		leave_kernel(engine, -EINVAL);
	}
	err = mmu_access(engine, op, addr, buffer, bytes);
	if (err)
		leave_kernel(engine, err);
	return buffer[0];
}

/*
 * A copy between the GPU and memory that is not the engine's own passes through its
 * bounce page: inside a section nothing may wait for a page of the program.
 */
static int bounce(struct gpu_engine *engine, uint32_t op, uint64_t addr,
		  unsigned char *memory, size_t bytes)
{
	int err = 0;

	while (bytes && !err) {
		size_t part = MIN(bytes, sizeof(engine->bounce));

		if (op == USVM_SYSTEM_WRITE)
			memcpy(engine->bounce, memory, part);
		err = mmu_copy(engine, op, addr, engine->bounce, part);
		if (!err && op == USVM_SYSTEM_READ)
			memcpy(memory, engine->bounce, part);
		addr += part;
		memory += part;
		bytes -= part;
	}
	return err;
}

static void copy(struct gpu_engine *engine, uint32_t op, uint64_t addr, void *memory,
		 size_t bytes)
{
	int err = usvm_is_own(&engine->lane, memory, bytes) ?
			  mmu_copy(engine, op, addr, memory, bytes) :
			  bounce(engine, op, addr, memory, bytes);

	if (err)
		leave_kernel(engine, err);
}

void usvm_lane_read(struct usvm_lane *lane, void *dst, uint64_t addr, size_t bytes)
{
	copy(engine_of(lane), USVM_SYSTEM_READ, addr, dst, bytes);
}

void usvm_lane_write(struct usvm_lane *lane, uint64_t addr, const void *src, size_t bytes)
{
	/* A WRITE only reads its buffer. */
	copy(engine_of(lane), USVM_SYSTEM_WRITE, addr, (void *)(uintptr_t)src, bytes);
}
