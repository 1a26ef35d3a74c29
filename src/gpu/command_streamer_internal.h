/* SPDX-License-Identifier: MIT */
/*
 * gpu/command_streamer_internal.h - what the files of the command streamer share.
 *
 *     command_streamer.c    batches, decoding, stores, atomics
 *     command_registers.c   registers, arithmetic, conditions
 *     command_copy.c        copies
 */
#ifndef GPU_COMMAND_STREAMER_INTERNAL_H
#define GPU_COMMAND_STREAMER_INTERNAL_H

#include <errno.h>

#include "gpu/gpu_internal.h"

#define CS_DWORDS_MAX 16
#define CS_ADDR_MASK ((UINT64_C(1) << 48) - 1)
#define CS_REGISTER_COUNT 16

enum {
	MI_GLOBAL_GTT = 1 << 22, /* of STORE_DATA_IMM, ATOMIC and others */
};

struct command_streamer {
	struct gpu_engine *engine;
	uint64_t at;        /* the command */
	uint64_t next;      /* the one behind it */
	uint64_t return_to; /* where the second level goes on in the first */
	bool second_level;
	bool ended;
	uint32_t row; /* commands since the last jump */
	uint32_t dword[CS_DWORDS_MAX];
	uint32_t dword_count; /* of the whole command, which may be longer */
	uint64_t start_ns;    /* of the job */
	uint64_t registers[CS_REGISTER_COUNT];
};

struct command {
	uint32_t length_mask; /* of the header; 0: a single dword */
	uint32_t dwords_min;
	uint32_t dwords_max;
	int (*run)(struct command_streamer *cs);
};

static inline uint64_t cs_address(uint32_t low, uint32_t high)
{
	return (low | (uint64_t)high << 32) & CS_ADDR_MASK;
}

static inline int cs_write_qword(struct command_streamer *cs, uint64_t addr, uint64_t value)
{
	if (!IS_ALIGNED(addr, 8))
		return -EINVAL;
	return mmu_access(cs->engine, USVM_SYSTEM_WRITE, addr, &value, 8);
}

static inline int cs_write_dword(struct command_streamer *cs, uint64_t addr, uint32_t value)
{
	if (!IS_ALIGNED(addr, 4))
		return -EINVAL;
	return mmu_access(cs->engine, USVM_SYSTEM_WRITE, addr, &value, 4);
}

/** cs_read_dword() - dword @index of the command, also behind those that were read at once */
int cs_read_dword(struct command_streamer *cs, uint32_t index, uint32_t *value);

/* command_registers.c */
uint64_t cs_now_ns(const struct gpu_engine *engine);
int cs_run_math(struct command_streamer *cs);
int cs_run_semaphore_wait(struct command_streamer *cs);
int cs_run_load_register_imm(struct command_streamer *cs);
int cs_run_store_register_mem(struct command_streamer *cs);
int cs_run_load_register_mem(struct command_streamer *cs);
int cs_run_load_register_reg(struct command_streamer *cs);
int cs_run_conditional_end(struct command_streamer *cs);

/* command_copy.c */
int cs_run_copy_mem_mem(struct command_streamer *cs);
/** cs_decode_blitter() - NULL: no such */
const struct command *cs_decode_blitter(uint32_t header);

#endif
