/* SPDX-License-Identifier: MIT */
/*
 * DOC: the command streamer
 *
 * Runs a batch: commands in GPU virtual memory, in the encoding that Intel's
 * public manuals give for gen 8 and later. A header dword is
 *
 *     31:29  type: 0 memory interface (MI), 2 blitter, 3 render
 *     MI:     28:23 opcode; below 0x10 the command is one dword, else the low
 *             bits are its length in dwords, less 2
 *     blitter: 28:22 opcode, 7:0 length less 2
 *     render: 28:16 subtype and opcodes, 7:0 length less 2
 *
 * Everything is read and written through the engine's MMU, the commands too: a
 * batch may lie in a system page, may fault, and may be rewritten while it runs.
 *
 * What is not modelled ends the job with -EINVAL and the command's address, never
 * in silence: the global GTT, predication, operands of atomics in registers,
 * octwords, timestamps behind a flush. A batch that runs on for 2^20 commands without
 * END or a jump is taken for garbage (-EPROTO). Endless loops of jumps are
 * legitimate (a spinner waits to be rewritten); they end with their queue.
 *
 * Levels: the job's batch is the first level. MI_BATCH_BUFFER_START jumps inside
 * its level; with the second-level bit, from the first level, it calls: END of
 * the second level returns behind it. In the second level the bit changes nothing.
 */
#include <errno.h>

#include "gpu/command_streamer_internal.h"

#define CS_ROW_MAX (1u << 20)

enum {
	CS_TYPE_MI = 0,
	CS_TYPE_BLITTER = 2,
	CS_TYPE_SHIFT = 29,
	MI_OPCODE_SHIFT = 23,
	MI_OPCODE_MASK = 0x3f,

	MI_NOOP = 0x00,
	MI_USER_INTERRUPT = 0x02,
	MI_ARB_CHECK = 0x05,
	MI_ARB_ON_OFF = 0x08,
	MI_MEM_FENCE = 0x09,
	MI_BATCH_BUFFER_END = 0x0a,
	MI_MATH = 0x1a,
	MI_SEMAPHORE_WAIT = 0x1c,
	MI_STORE_DATA_IMM = 0x20,
	MI_LOAD_REGISTER_IMM = 0x22,
	MI_STORE_REGISTER_MEM = 0x24,
	MI_FLUSH_DW = 0x26,
	MI_LOAD_REGISTER_MEM = 0x29,
	MI_LOAD_REGISTER_REG = 0x2a,
	MI_COPY_MEM_MEM = 0x2e,
	MI_ATOMIC = 0x2f,
	MI_BATCH_BUFFER_START = 0x31,
	MI_CONDITIONAL_END = 0x36,

	STORE_QWORD = 1 << 21,

	START_SECOND_LEVEL = 1 << 22,
	START_PREDICATE = 1 << 15,

	ATOMIC_RETURN_DATA = 1 << 16,
	ATOMIC_INLINE_DATA = 1 << 18,
	ATOMIC_SIZE_SHIFT = 19, /* 2 bits: dword, qword, octword */
	ATOMIC_OP_SHIFT = 8,
	ATOMIC_OP_QWORD = 0x20, /* the same operation on a qword */

	FLUSH_STORE_INDEX = 1 << 21,
	FLUSH_GLOBAL_GTT = 1 << 2, /* in the address */

	PIPE_CONTROL = 0x7a00, /* header bits 31:16 */
	PIPE_GLOBAL_GTT = 1 << 24,
	PIPE_STORE_INDEX = 1 << 21,

	POST_SYNC_SHIFT = 14, /* 2 bits: none, immediate, depth count, timestamp */
	POST_SYNC_NONE = 0,
	POST_SYNC_IMMEDIATE = 1,
};

/* Dword @index of the command, also behind those that were read at once. */
int cs_read_dword(struct command_streamer *cs, uint32_t index, uint32_t *value)
{
	if (index < CS_DWORDS_MAX) {
		*value = cs->dword[index];
		return 0;
	}
	return mmu_access(cs->engine, USVM_SYSTEM_READ, cs->at + 4 * (uint64_t)index,
			  value, 4);
}

/* --- commands -------------------------------------------------------------------- */

static int run_nothing(struct command_streamer *cs UNUSED)
{
	return 0;
}

static int run_batch_buffer_end(struct command_streamer *cs)
{
	cs->row = 0;
	cs->ended = !cs->second_level;
	cs->second_level = false;
	cs->next = cs->return_to;
	return 0;
}

static int run_batch_buffer_start(struct command_streamer *cs)
{
	uint64_t to = cs_address(cs->dword[1] & ~3u, cs->dword[2]);

	if (cs->dword[0] & START_PREDICATE)
		return -EINVAL;
	if ((cs->dword[0] & START_SECOND_LEVEL) && !cs->second_level) {
		cs->second_level = true;
		cs->return_to = cs->next;
	}
	cs->row = 0;
	cs->next = to;
	/* A loop waits for somebody, who may want this processor. */
	if (to <= cs->at)
		base_host->cpu_yield();
	return 0;
}

/* One dword, one qword, or as many as the length tells, to ascending addresses. */
static int run_store_data_imm(struct command_streamer *cs)
{
	uint64_t addr = cs_address(cs->dword[1] & ~3u, cs->dword[2]);
	bool qword = cs->dword[0] & STORE_QWORD;
	uint32_t step = qword ? 2 : 1;

	if ((cs->dword[0] & MI_GLOBAL_GTT) || (cs->dword_count - 3) % step)
		return -EINVAL;
	for (uint32_t i = 3; i < cs->dword_count; i += step, addr += 4 * step) {
		uint32_t low;
		uint32_t high = 0;
		int err = cs_read_dword(cs, i, &low);

		if (!err && qword)
			err = cs_read_dword(cs, i + 1, &high);
		if (!err && qword)
			err = cs_write_qword(cs, addr, low | (uint64_t)high << 32);
		else if (!err)
			err = cs_write_dword(cs, addr, low);
		if (err)
			return err;
	}
	return 0;
}

/* What the operation numbers of MI_ATOMIC are to host->access(). */
static int atomic_op(uint32_t number, uint32_t *op, bool *implied_one)
{
	*implied_one = number == 0x05 || number == 0x06;
	switch (number) {
	case 0x01:
		*op = USVM_SYSTEM_AND;
		return 0;
	case 0x02:
		*op = USVM_SYSTEM_OR;
		return 0;
	case 0x03:
		*op = USVM_SYSTEM_XOR;
		return 0;
	case 0x04: /* MOVE */
		*op = USVM_SYSTEM_EXCHANGE;
		return 0;
	case 0x05: /* INC */
	case 0x07:
		*op = USVM_SYSTEM_ADD;
		return 0;
	case 0x06: /* DEC */
	case 0x08:
		*op = USVM_SYSTEM_SUB;
		return 0;
	case 0x0a:
		*op = USVM_SYSTEM_SIGNED_MAX;
		return 0;
	case 0x0b:
		*op = USVM_SYSTEM_SIGNED_MIN;
		return 0;
	case 0x0c:
		*op = USVM_SYSTEM_MAX;
		return 0;
	case 0x0d:
		*op = USVM_SYSTEM_MIN;
		return 0;
	case 0x0e: /* CMPWR: operand 1 is compared with, operand 2 is written */
		*op = USVM_SYSTEM_COMPARE_EXCHANGE;
		return 0;
	default:
		return -EINVAL;
	}
}

static int run_atomic(struct command_streamer *cs)
{
	uint64_t addr = cs_address(cs->dword[1] & ~3u, cs->dword[2]);
	uint32_t header = cs->dword[0];
	uint32_t number = (header >> ATOMIC_OP_SHIFT) & 0xff;
	uint32_t size = (header >> ATOMIC_SIZE_SHIFT) & 3;
	uint32_t bytes = size ? 8 : 4;
	uint64_t buffer[2] = { 1, 0 };
	bool implied_one;
	uint32_t op;

	if (header & (MI_GLOBAL_GTT | ATOMIC_RETURN_DATA))
		return -EINVAL;
	if (size > 1 || (number & ATOMIC_OP_QWORD) != (size ? ATOMIC_OP_QWORD : 0u) ||
	    !IS_ALIGNED(addr, bytes))
		return -EINVAL;
	if (atomic_op(number & ~(uint32_t)ATOMIC_OP_QWORD, &op, &implied_one))
		return -EINVAL;

	if (header & ATOMIC_INLINE_DATA) {
		/* Operands 1 and 2 take turns, low dwords first. */
		uint32_t high = size ? UINT32_MAX : 0;

		if (cs->dword_count < (size ? 7u : 5u))
			return -EINVAL;
		buffer[0] = cs->dword[3] | (uint64_t)(cs->dword[5] & high) << 32;
		buffer[1] = cs->dword[4] | (uint64_t)(cs->dword[6] & high) << 32;
	} else if (!implied_one || cs->dword_count != 3) {
		return -EINVAL; /* the operands would be in registers */
	}
	if (implied_one) {
		buffer[0] = 1;
	} else if (op == USVM_SYSTEM_COMPARE_EXCHANGE) {
		uint64_t compare = buffer[0];

		buffer[0] = buffer[1];
		buffer[1] = compare;
	}
	return mmu_access(cs->engine, op, addr, buffer, bytes);
}

static int run_flush_dw(struct command_streamer *cs)
{
	uint32_t post_sync = (cs->dword[0] >> POST_SYNC_SHIFT) & 3;

	if (post_sync == POST_SYNC_NONE)
		return 0;
	if (post_sync != POST_SYNC_IMMEDIATE || cs->dword_count != 5 ||
	    (cs->dword[0] & FLUSH_STORE_INDEX) || (cs->dword[1] & FLUSH_GLOBAL_GTT))
		return -EINVAL;
	return cs_write_qword(cs, cs_address(cs->dword[1] & ~3u, cs->dword[2]),
			   cs->dword[3] | (uint64_t)cs->dword[4] << 32);
}

static int run_pipe_control(struct command_streamer *cs)
{
	uint32_t post_sync = (cs->dword[1] >> POST_SYNC_SHIFT) & 3;

	if (post_sync == POST_SYNC_NONE)
		return 0;
	if (post_sync != POST_SYNC_IMMEDIATE ||
	    (cs->dword[1] & (PIPE_GLOBAL_GTT | PIPE_STORE_INDEX)))
		return -EINVAL;
	return cs_write_qword(cs, cs_address(cs->dword[2] & ~3u, cs->dword[3]),
			   cs->dword[4] | (uint64_t)cs->dword[5] << 32);
}

/* --- decoding --------------------------------------------------------------------- */

static const struct command mi_commands[MI_OPCODE_MASK + 1] = {
	[MI_NOOP] = { 0, 1, 1, run_nothing },
	[MI_USER_INTERRUPT] = { 0, 1, 1, run_nothing },
	[MI_ARB_CHECK] = { 0, 1, 1, run_nothing },
	[MI_ARB_ON_OFF] = { 0, 1, 1, run_nothing },
	[MI_MEM_FENCE] = { 0, 1, 1, run_nothing },
	[MI_MATH] = { 0xff, 2, 0xff + 2, cs_run_math },
	[MI_SEMAPHORE_WAIT] = { 0xff, 4, 5, cs_run_semaphore_wait },
	[MI_LOAD_REGISTER_IMM] = { 0xff, 3, 0xff + 2, cs_run_load_register_imm },
	[MI_STORE_REGISTER_MEM] = { 0xff, 4, 4, cs_run_store_register_mem },
	[MI_LOAD_REGISTER_MEM] = { 0xff, 4, 4, cs_run_load_register_mem },
	[MI_LOAD_REGISTER_REG] = { 0xff, 3, 3, cs_run_load_register_reg },
	[MI_COPY_MEM_MEM] = { 0xff, 5, 5, cs_run_copy_mem_mem },
	[MI_CONDITIONAL_END] = { 0xff, 4, 4, cs_run_conditional_end },
	[MI_BATCH_BUFFER_END] = { 0, 1, 1, run_batch_buffer_end },
	[MI_STORE_DATA_IMM] = { 0x3ff, 4, 0x3ff + 2, run_store_data_imm },
	[MI_FLUSH_DW] = { 0x3f, 3, 5, run_flush_dw },
	[MI_ATOMIC] = { 0xff, 3, 11, run_atomic },
	[MI_BATCH_BUFFER_START] = { 0xff, 3, 3, run_batch_buffer_start },
};

static const struct command pipe_control = { 0xff, 6, 6, run_pipe_control };

static const struct command *decode(uint32_t header)
{
	const struct command *command;

	if (header >> 16 == PIPE_CONTROL)
		return &pipe_control;
	if (header >> CS_TYPE_SHIFT == CS_TYPE_BLITTER)
		return cs_decode_blitter(header);
	if (header >> CS_TYPE_SHIFT != CS_TYPE_MI)
		return NULL;
	command = &mi_commands[(header >> MI_OPCODE_SHIFT) & MI_OPCODE_MASK];
	return command->run ? command : NULL;
}

static int run_command(struct command_streamer *cs)
{
	const struct command *command;
	uint32_t count = 1;
	int err;

	err = mmu_copy(cs->engine, USVM_SYSTEM_READ, cs->at, &cs->dword[0], 4);
	if (err)
		return err;
	command = decode(cs->dword[0]);
	if (!command)
		return -EINVAL;
	if (command->length_mask)
		count = (cs->dword[0] & command->length_mask) + 2;
	if (count < command->dwords_min || count > command->dwords_max)
		return -EINVAL;

	cs->dword_count = count;
	cs->next = cs->at + 4 * (uint64_t)count;
	count = MIN(count, CS_DWORDS_MAX);
	err = mmu_copy(cs->engine, USVM_SYSTEM_READ, cs->at + 4, &cs->dword[1],
		       4 * (size_t)(count - 1));
	return err ? err : command->run(cs);
}

int command_streamer_run(struct gpu_engine *engine)
{
	struct gpu_job *job = engine->job;
	struct command_streamer cs = {
		.engine = engine,
		.at = job->batch_addr,
		.start_ns = cs_now_ns(engine),
	};

	for (;;) {
		int err = run_command(&cs);

		if (!err && ++cs.row > CS_ROW_MAX)
			err = -EPROTO;
		if (err == -EINVAL || err == -EPROTO)
			job->fault_addr = cs.at;
		if (err || cs.ended)
			return err;
		cs.at = cs.next;
	}
}
