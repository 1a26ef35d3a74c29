/* SPDX-License-Identifier: MIT */
/*
 * DOC: registers, arithmetic, conditions
 *
 * A job has sixteen registers of 64 bits, zero at its start, and three clocks that count
 * 19.2 MHz: since the machine's start, and since the job's. A register is named by its offset in
 * the engine's block of 4 KiB; which engine's is not looked at, there is only the own.
 *
 * Conditions compare a dword in memory with one in the command. A conditional end ends the
 * batch where the comparison is false; a semaphore waits until it is true, which may be for
 * ever: it ends with its queue.
 */
#include "base/host.h"
#include "gpu/command_streamer_internal.h"
#include "sys/sys.h"

enum {
	REGISTER_BLOCK_MASK = 0xffc,
	REGISTER_TIMESTAMP = 0x358,
	REGISTER_CONTEXT_TIMESTAMP = 0x3a8,
	REGISTER_QUEUE_TIMESTAMP = 0x4c0,
	REGISTER_GENERAL = 0x600,
	REGISTER_GENERAL_END = REGISTER_GENERAL + 8 * CS_REGISTER_COUNT,

	CONDITION_SHIFT = 12, /* 3 bits */
	CONDITION_CURRENT_LEVEL = 1 << 18,

	MATH_NOOP = 0x000,
	MATH_LOAD = 0x080,
	MATH_LOAD_ZERO = 0x081,
	MATH_ADD = 0x100,
	MATH_SUB = 0x101,
	MATH_AND = 0x102,
	MATH_OR = 0x103,
	MATH_XOR = 0x104,
	MATH_SHL = 0x105,
	MATH_SHR = 0x106,
	MATH_SAR = 0x107,
	MATH_STORE = 0x180,
	MATH_INVERTED = 0x400, /* of LOAD, LOAD_ZERO (gives ones) and STORE */

	OPERAND_SOURCE_A = 0x20,
	OPERAND_SOURCE_B = 0x21,
	OPERAND_RESULT = 0x31,
	OPERAND_ZERO_FLAG = 0x32,
	OPERAND_CARRY_FLAG = 0x33,
};

static uint64_t ticks(uint64_t ns)
{
	return ns / 625 * 12 + ns % 625 * 12 / 625;
}

uint64_t cs_now_ns(const struct gpu_engine *engine)
{
	struct sys *sys = engine->gpu->sys;

	return sys ? sys->ops->clock_ns(sys) : 0;
}

/* The 64 bits that dword register @offset is half of; false: not modelled. */
static bool read_register(struct command_streamer *cs, uint32_t offset, uint32_t *value)
{
	uint64_t whole;

	offset &= REGISTER_BLOCK_MASK;
	switch (offset & ~4u) {
	case REGISTER_TIMESTAMP:
		whole = ticks(cs_now_ns(cs->engine));
		break;
	case REGISTER_CONTEXT_TIMESTAMP:
	case REGISTER_QUEUE_TIMESTAMP:
		whole = ticks(cs_now_ns(cs->engine) - cs->start_ns);
		break;
	default:
		if (offset < REGISTER_GENERAL || offset >= REGISTER_GENERAL_END)
			return false;
		whole = cs->registers[(offset - REGISTER_GENERAL) / 8];
		break;
	}
	*value = (uint32_t)(offset & 4 ? whole >> 32 : whole);
	return true;
}

static bool write_register(struct command_streamer *cs, uint32_t offset, uint32_t value)
{
	uint64_t *whole;

	offset &= REGISTER_BLOCK_MASK;
	if (offset < REGISTER_GENERAL || offset >= REGISTER_GENERAL_END)
		return false;
	whole = &cs->registers[(offset - REGISTER_GENERAL) / 8];
	if (offset & 4)
		*whole = (uint32_t)*whole | (uint64_t)value << 32;
	else
		*whole = (*whole >> 32) << 32 | value;
	return true;
}

int cs_run_load_register_imm(struct command_streamer *cs)
{
	if (!(cs->dword_count & 1))
		return -EINVAL;
	for (uint32_t i = 1; i < cs->dword_count; i += 2) {
		uint32_t offset, value;
		int err = cs_read_dword(cs, i, &offset);

		if (!err)
			err = cs_read_dword(cs, i + 1, &value);
		if (err)
			return err;
		if (!write_register(cs, offset, value))
			return -EINVAL;
	}
	return 0;
}

int cs_run_store_register_mem(struct command_streamer *cs)
{
	uint32_t value;

	if ((cs->dword[0] & MI_GLOBAL_GTT) || !read_register(cs, cs->dword[1], &value))
		return -EINVAL;
	return cs_write_dword(cs, cs_address(cs->dword[2] & ~3u, cs->dword[3]), value);
}

static int read_memory(struct command_streamer *cs, uint32_t low, uint32_t high, uint32_t *value)
{
	return mmu_access(cs->engine, USVM_SYSTEM_READ, cs_address(low & ~3u, high), value,
			  sizeof(*value));
}

int cs_run_load_register_mem(struct command_streamer *cs)
{
	uint32_t value;
	int err;

	if (cs->dword[0] & MI_GLOBAL_GTT)
		return -EINVAL;
	err = read_memory(cs, cs->dword[2], cs->dword[3], &value);
	if (err)
		return err;
	return write_register(cs, cs->dword[1], value) ? 0 : -EINVAL;
}

int cs_run_load_register_reg(struct command_streamer *cs)
{
	uint32_t value;

	if (!read_register(cs, cs->dword[1], &value))
		return -EINVAL;
	return write_register(cs, cs->dword[2], value) ? 0 : -EINVAL;
}

/* --- arithmetic ------------------------------------------------------------------- */

struct math {
	uint64_t source_a, source_b, result;
	bool zero, carry;
};

static bool calculate(struct math *m, uint32_t operation)
{
	m->carry = false;
	switch (operation) {
	case MATH_ADD:
		m->carry = __builtin_add_overflow(m->source_a, m->source_b, &m->result);
		break;
	case MATH_SUB:
		m->carry = __builtin_sub_overflow(m->source_a, m->source_b, &m->result);
		break;
	case MATH_AND:
		m->result = m->source_a & m->source_b;
		break;
	case MATH_OR:
		m->result = m->source_a | m->source_b;
		break;
	case MATH_XOR:
		m->result = m->source_a ^ m->source_b;
		break;
	case MATH_SHL:
		m->result = m->source_a << (m->source_b & 63);
		break;
	case MATH_SHR:
		m->result = m->source_a >> (m->source_b & 63);
		break;
	case MATH_SAR:
		m->result = (uint64_t)((int64_t)m->source_a >> (m->source_b & 63));
		break;
	default:
		return false;
	}
	m->zero = !m->result;
	return true;
}

static bool load_source(struct math *m, uint32_t operand, uint64_t value)
{
	if (operand == OPERAND_SOURCE_A)
		m->source_a = value;
	else if (operand == OPERAND_SOURCE_B)
		m->source_b = value;
	else
		return false;
	return true;
}

static bool store_result(struct command_streamer *cs, const struct math *m, uint32_t to,
			 uint32_t from, uint64_t invert)
{
	uint64_t value;

	if (from == OPERAND_RESULT)
		value = m->result;
	else if (from == OPERAND_ZERO_FLAG)
		value = m->zero ? UINT64_MAX : 0;
	else if (from == OPERAND_CARRY_FLAG)
		value = m->carry ? UINT64_MAX : 0;
	else
		return false;
	if (to >= CS_REGISTER_COUNT)
		return false;
	cs->registers[to] = value ^ invert;
	return true;
}

static bool run_instruction(struct command_streamer *cs, struct math *m, uint32_t instruction)
{
	uint32_t operation = instruction >> 20;
	uint32_t to = (instruction >> 10) & 0x3ff;
	uint32_t from = instruction & 0x3ff;
	uint64_t invert = operation & MATH_INVERTED ? UINT64_MAX : 0;

	switch (operation & ~(uint32_t)MATH_INVERTED) {
	case MATH_NOOP:
		return true;
	case MATH_LOAD:
		return from < CS_REGISTER_COUNT &&
		       load_source(m, to, cs->registers[from] ^ invert);
	case MATH_LOAD_ZERO:
		return load_source(m, to, invert);
	case MATH_STORE:
		return store_result(cs, m, to, from, invert);
	default:
		return calculate(m, operation);
	}
}

int cs_run_math(struct command_streamer *cs)
{
	struct math m = { 0 };

	for (uint32_t i = 1; i < cs->dword_count; i++) {
		uint32_t instruction;
		int err = cs_read_dword(cs, i, &instruction);

		if (err)
			return err;
		if (!run_instruction(cs, &m, instruction))
			return -EINVAL;
	}
	return 0;
}

/* --- conditions -------------------------------------------------------------------- */

static int compare(struct command_streamer *cs, uint32_t memory, bool *is_true)
{
	uint32_t inline_value = cs->dword[1];

	switch ((cs->dword[0] >> CONDITION_SHIFT) & 7) {
	case 0:
		*is_true = memory > inline_value;
		return 0;
	case 1:
		*is_true = memory >= inline_value;
		return 0;
	case 2:
		*is_true = memory < inline_value;
		return 0;
	case 3:
		*is_true = memory <= inline_value;
		return 0;
	case 4:
		*is_true = memory == inline_value;
		return 0;
	case 5:
		*is_true = memory != inline_value;
		return 0;
	default:
		return -EINVAL;
	}
}

static int test_memory(struct command_streamer *cs, bool *is_true)
{
	uint32_t value;
	int err;

	if (cs->dword[0] & MI_GLOBAL_GTT)
		return -EINVAL;
	err = read_memory(cs, cs->dword[2], cs->dword[3], &value);
	return err ? err : compare(cs, value, is_true);
}

int cs_run_semaphore_wait(struct command_streamer *cs)
{
	for (;;) {
		bool is_true = false;
		int err = test_memory(cs, &is_true);

		if (err || is_true)
			return err;
		base_host->cpu_yield();
	}
}

int cs_run_conditional_end(struct command_streamer *cs)
{
	bool is_true = false;
	int err = test_memory(cs, &is_true);

	if (err || is_true)
		return err;
	cs->row = 0;
	cs->ended = !cs->second_level || !(cs->dword[0] & CONDITION_CURRENT_LEVEL);
	cs->second_level = false;
	cs->next = cs->return_to;
	return 0;
}
