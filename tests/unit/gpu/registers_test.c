/* SPDX-License-Identifier: MIT */
/*
 * registers_test.c - registers, arithmetic, conditions and copies of the command streamer.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/host_posix.h"
#include "gpu/fake_host.h"

/* Pages of the window: batches, and what they read and write. */
enum { BATCH = 0, DATA = 16, COPY = 24 };

#define END 0x05000000u
#define STORE_DWORD 0x10000002u
#define LOAD_IMM(n) (0x11000000u + 2 * (n) - 1)
#define STORE_REGISTER 0x12000002u
#define LOAD_MEMORY 0x14800002u
#define LOAD_REGISTER 0x15000001u
#define COPY_DWORD 0x17000003u
#define MATH(n) (0x0d000000u + (n) - 1)
#define CONDITIONAL_END(op) (0x1b200002u | (op) << 12)
#define SEMAPHORE_WAIT(op) (0x0e008002u | (op) << 12)
#define START_SECOND 0x18c00101u
#define MEM_COPY 0x56800008u
#define MEM_SET 0x56c00005u
#define FAST_COPY 0x50800008u

#define REGISTER(n) (0x2600u + 8 * (n))
#define ALU(operation, to, from) ((operation) << 20 | (to) << 10 | (from))

#define LOW(addr) ((uint32_t)(addr))
#define HIGH(addr) ((uint32_t)((addr) >> 32))
#define AT(addr) LOW(addr), HIGH(addr)

static struct fake_host fake;

static int start(void **state)
{
	const struct fake_config config = { .engine_count = 1 };

	(void)state;
	fake_start(&fake, &config);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	fake_stop(&fake);
	return 0;
}

static unsigned char *bytes_of(unsigned int page)
{
	return fake.vram + page * PAGE_BYTES;
}

static uint64_t data(unsigned int offset)
{
	return fake_addr(DATA) + offset;
}

static uint32_t word(unsigned int offset)
{
	uint32_t value;

	memcpy(&value, bytes_of(DATA) + offset, sizeof(value));
	return value;
}

static int run(const uint32_t *batch, size_t bytes)
{
	struct gpu_queue *queue = fake_queue(&fake);
	struct fake_job job;
	int err;

	memcpy(bytes_of(BATCH), batch, bytes);
	fake_job_batch(&fake, &job, fake_addr(BATCH));
	err = fake_run(queue, &job);
	gpu_queue_destroy(queue);
	return err;
}

#define RUN(...)                                  \
	run((const uint32_t[]){ __VA_ARGS__ },    \
	    sizeof((const uint32_t[]){ __VA_ARGS__ }))

static void registers_are_loaded_and_stored_by_halves(void **state)
{
	(void)state;
	assert_int_equal(RUN(LOAD_IMM(2), REGISTER(3), 0x11, REGISTER(3) + 4, 0x22,
			     LOAD_REGISTER, REGISTER(3) + 4, REGISTER(4),
			     STORE_REGISTER, REGISTER(4), AT(data(0)),
			     LOAD_MEMORY, REGISTER(5), AT(data(0)),
			     STORE_REGISTER, REGISTER(5), AT(data(4)),
			     STORE_REGISTER, REGISTER(6), AT(data(8)), END),
			 0);
	assert_int_equal(word(0), 0x22);
	assert_int_equal(word(4), 0x22);
	assert_int_equal(word(8), 0);
	/* One that is not modelled, to write and to read; a clock cannot be set. */
	assert_int_equal(RUN(LOAD_IMM(1), 0x2080, 1, END), -EINVAL);
	assert_int_equal(RUN(STORE_REGISTER, 0x2080, AT(data(0)), END), -EINVAL);
	assert_int_equal(RUN(LOAD_IMM(1), 0x2358, 1, END), -EINVAL);
	assert_int_equal(RUN(STORE_REGISTER, 0x2358, AT(data(0)), END), 0);
}

static void arithmetic_has_results_and_flags(void **state)
{
	(void)state;
	assert_int_equal(RUN(LOAD_IMM(3), REGISTER(0), 7, REGISTER(1), 9, REGISTER(1) + 4, 0,
			     MATH(8), ALU(0x080u, 0x20u, 0u), ALU(0x080u, 0x21u, 1u),
			     ALU(0x101u, 0u, 0u), ALU(0x180u, 2u, 0x31u),
			     ALU(0x180u, 3u, 0x33u), ALU(0x180u, 4u, 0x32u),
			     ALU(0x580u, 5u, 0x31u), ALU(0x000u, 0u, 0u),
			     STORE_REGISTER, REGISTER(2), AT(data(0)),
			     STORE_REGISTER, REGISTER(3), AT(data(4)),
			     STORE_REGISTER, REGISTER(4), AT(data(8)),
			     STORE_REGISTER, REGISTER(5), AT(data(12)), END),
			 0);
	assert_int_equal(word(0), (uint32_t)-2);
	assert_int_equal(word(4), UINT32_MAX); /* borrowed */
	assert_int_equal(word(8), 0);
	assert_int_equal(word(12), 1);
	assert_int_equal(RUN(MATH(1), ALU(0x180u, 16u, 0x31u), END), -EINVAL);
	assert_int_equal(RUN(MATH(1), ALU(0x2ffu, 0u, 0u), END), -EINVAL);
}

/* What @operation makes of two numbers of 64 bits; *@carry: all ones or zero. */
static uint64_t calculate(uint32_t operation, uint64_t a, uint64_t b, uint64_t *carry)
{
	uint64_t result;

	assert_int_equal(RUN(LOAD_IMM(4), REGISTER(0), LOW(a), REGISTER(0) + 4, HIGH(a),
			     REGISTER(1), LOW(b), REGISTER(1) + 4, HIGH(b),
			     MATH(5), ALU(0x080u, 0x20u, 0u), ALU(0x080u, 0x21u, 1u),
			     ALU(operation, 0u, 0u), ALU(0x180u, 2u, 0x31u),
			     ALU(0x180u, 3u, 0x33u),
			     STORE_REGISTER, REGISTER(2), AT(data(0)),
			     STORE_REGISTER, REGISTER(2) + 4, AT(data(4)),
			     STORE_REGISTER, REGISTER(3), AT(data(8)),
			     STORE_REGISTER, REGISTER(3) + 4, AT(data(12)), END),
			 0);
	memcpy(&result, bytes_of(DATA), sizeof(result));
	memcpy(carry, bytes_of(DATA) + 8, sizeof(*carry));
	return result;
}

static void each_operation_calculates_with_64_bits(void **state)
{
	const uint64_t a = 0x8000000f000000f0, b = 0x8000000000000084;
	const struct {
		uint32_t operation;
		uint64_t result, carry;
	} table[] = {
		{ 0x100, a + b, UINT64_MAX },
		{ 0x101, a - b, 0 },
		{ 0x102, a & b, 0 },
		{ 0x103, a | b, 0 },
		{ 0x104, a ^ b, 0 },
		/* By the low six bits of b, which are 4. */
		{ 0x105, 0x000000f000000f00, 0 },
		{ 0x106, 0x08000000f000000f, 0 },
		{ 0x107, 0xf8000000f000000f, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		uint64_t carry, result = calculate(table[i].operation, a, b, &carry);

		if (result != table[i].result || carry != table[i].carry)
			fail_msg("operation %#x: %#" PRIx64 ", carry %#" PRIx64,
				 table[i].operation, result, carry);
	}
}

static void zero_and_ones_are_loaded_and_flags_stored(void **state)
{
	(void)state;
	/* 0 - 0 is zero; its flag is stored, and the opposite; ~0 + ~0 carries. */
	assert_int_equal(RUN(MATH(8), ALU(0x081u, 0x20u, 0u), ALU(0x081u, 0x21u, 0u),
			     ALU(0x101u, 0u, 0u), ALU(0x180u, 2u, 0x32u),
			     ALU(0x580u, 3u, 0x32u), ALU(0x481u, 0x20u, 0u),
			     ALU(0x481u, 0x21u, 0u), ALU(0x100u, 0u, 0u),
			     MATH(2), ALU(0x180u, 4u, 0x31u), ALU(0x180u, 5u, 0x33u),
			     STORE_REGISTER, REGISTER(2), AT(data(0)),
			     STORE_REGISTER, REGISTER(3), AT(data(4)),
			     STORE_REGISTER, REGISTER(4), AT(data(8)), END),
			 0);
	assert_int_equal(word(0), UINT32_MAX);
	assert_int_equal(word(4), 0);
	assert_int_equal(word(8), 0); /* sources and result are those of one MATH */
	assert_int_equal(RUN(MATH(1), ALU(0x080u, 0x22u, 0u), END), -EINVAL);
	assert_int_equal(RUN(MATH(1), ALU(0x080u, 0x20u, 16u), END), -EINVAL);
	assert_int_equal(RUN(MATH(1), ALU(0x180u, 2u, 0x34u), END), -EINVAL);
}

static void clocks_are_read_and_the_jobs_own_starts_with_it(void **state)
{
	(void)state;
	memset(bytes_of(DATA), 0xff, 16);
	assert_int_equal(RUN(STORE_REGISTER, 0x23a8, AT(data(0)),
			     STORE_REGISTER, 0x23ac, AT(data(4)),
			     STORE_REGISTER, 0x24c0, AT(data(8)),
			     STORE_REGISTER, 0x24c4, AT(data(12)), END),
			 0);
	/* It has no system, and so no clock: all of it is at 0. */
	for (unsigned int offset = 0; offset < 16; offset += 4)
		assert_int_equal(word(offset), 0);
}

static void registers_refuse_what_is_not_modelled(void **state)
{
	const uint32_t gtt = 1u << 22;

	(void)state;
	assert_int_equal(RUN(STORE_REGISTER | gtt, REGISTER(0), AT(data(0)), END), -EINVAL);
	assert_int_equal(RUN(LOAD_MEMORY | gtt, REGISTER(0), AT(data(0)), END), -EINVAL);
	assert_int_equal(RUN(LOAD_MEMORY, 0x2080, AT(data(0)), END), -EINVAL);
	assert_int_equal(RUN(LOAD_MEMORY, 0x2680, AT(data(0)), END), -EINVAL);
	assert_int_equal(RUN(LOAD_REGISTER, 0x2080, REGISTER(0), END), -EINVAL);
	assert_int_equal(RUN(LOAD_REGISTER, REGISTER(0), 0x2080, END), -EINVAL);
	assert_int_equal(RUN(LOAD_IMM(1) - 1, REGISTER(0), 0, END), -EINVAL);
	assert_int_equal(RUN(CONDITIONAL_END(0u) | gtt, 4, AT(data(0)), END), -EINVAL);
	assert_int_equal(RUN(CONDITIONAL_END(6u), 4, AT(data(0)), END), -EINVAL);
	assert_int_equal(RUN(SEMAPHORE_WAIT(4u) | gtt, 4, AT(data(0)), END), -EINVAL);
}

static void each_condition_compares_memory_with_the_number(void **state)
{
	/* 5 in memory: whether it goes on where the command has 4, 5, 6. */
	static const bool goes_on[6][3] = {
		{ true, false, false }, { true, true, false },  { false, false, true },
		{ false, true, true },  { false, true, false }, { true, false, true },
	};

	(void)state;
	for (uint32_t op = 0; op < 6; op++) {
		for (uint32_t i = 0; i < 3; i++) {
			assert_int_equal(RUN(STORE_DWORD, AT(data(0)), 5,
					     STORE_DWORD, AT(data(4)), 0,
					     CONDITIONAL_END(op), 4 + i, AT(data(0)),
					     STORE_DWORD, AT(data(4)), 1, END),
					 0);
			if (word(4) != goes_on[op][i])
				fail_msg("condition %u with %u", op, 4 + i);
		}
	}
}

/* The first level calls the second, which has a condition that is false. */
static uint32_t end_in_second_level(uint32_t which)
{
	const uint32_t second[] = { CONDITIONAL_END(4u) | which, 9, AT(data(0)),
				    STORE_DWORD, AT(data(4)), 1, END };

	memcpy(bytes_of(BATCH + 1), second, sizeof(second));
	memset(bytes_of(DATA), 0, 16);
	assert_int_equal(RUN(START_SECOND, AT(fake_addr(BATCH + 1)),
			     STORE_DWORD, AT(data(8)), 1, END),
			 0);
	assert_int_equal(word(4), 0);
	return word(8);
}

static void a_condition_ends_its_level_or_all(void **state)
{
	(void)state;
	assert_int_equal(end_in_second_level(1u << 18), 1);
	assert_int_equal(end_in_second_level(0), 0);
}

static void a_semaphore_waits_until_memory_is_right(void **state)
{
	const uint32_t batch[] = { STORE_DWORD, AT(data(4)), 1,
				   SEMAPHORE_WAIT(4u), 7, AT(data(0)),
				   STORE_DWORD, AT(data(8)), 1, END };
	struct gpu_queue *queue = fake_queue(&fake);
	uint32_t *words = (uint32_t *)(void *)bytes_of(DATA);
	struct fake_job job;

	(void)state;
	memset(words, 0, 16);
	memcpy(bytes_of(BATCH), batch, sizeof(batch));
	fake_job_batch(&fake, &job, fake_addr(BATCH));
	assert_int_equal(gpu_queue_submit(queue, &job.job), 0);
	while (!ATOMIC_LOAD(&words[1]))
		base_host->cpu_yield();
	assert_int_equal(ATOMIC_LOAD(&words[2]), 0);
	ATOMIC_STORE(&words[0], 7);
	assert_int_equal(fake_job_wait(&job), 0);
	assert_int_equal(words[2], 1);
	gpu_queue_destroy(queue);
}

static void a_batch_ends_where_a_condition_is_false(void **state)
{
	(void)state;
	/* 5 in memory: is it greater than 4, than 5? */
	assert_int_equal(RUN(STORE_DWORD, AT(data(0)), 5, CONDITIONAL_END(0u), 4, AT(data(0)),
			     STORE_DWORD, AT(data(4)), 1, CONDITIONAL_END(0u), 5, AT(data(0)),
			     STORE_DWORD, AT(data(8)), 1, END),
			 0);
	assert_int_equal(word(4), 1);
	assert_int_equal(word(8), 0);
	assert_int_equal(RUN(SEMAPHORE_WAIT(4u), 5, AT(data(0)), STORE_DWORD, AT(data(12)), 1,
			     END),
			 0);
	assert_int_equal(word(12), 1);
	assert_int_equal(RUN(SEMAPHORE_WAIT(7u), 5, AT(data(0)), END), -EINVAL);
}

static void memory_is_copied_and_set(void **state)
{
	const uint64_t copy = fake_addr(COPY);

	(void)state;
	for (unsigned int i = 0; i < 2 * PAGE_BYTES; i++)
		bytes_of(DATA)[i] = (unsigned char)(i * 7 + i / 256);
	assert_int_equal(RUN(MEM_COPY, 4999, 0, 0, 0, AT(data(3)), AT(copy + 100), 0,
			     COPY_DWORD, AT(copy), AT(data(8)), END),
			 0);
	assert_memory_equal(bytes_of(COPY) + 100, bytes_of(DATA) + 3, 5000);
	assert_int_equal(bytes_of(COPY)[99], 0);
	assert_int_equal(bytes_of(COPY)[5100], 0);
	assert_memory_equal(bytes_of(COPY), bytes_of(DATA) + 8, 4);
	/* In units of 256 bytes; then two rows of 16, 64 apart, that become 32 apart. */
	assert_int_equal(RUN(MEM_COPY | 1u << 19, 3, 0, 3, 3, AT(data(0)), AT(copy), 0, END), 0);
	assert_memory_equal(bytes_of(COPY), bytes_of(DATA), 1024);
	assert_int_equal(RUN(MEM_SET, 4095, 0, 0, AT(copy), 0xab000000u,
			     MEM_COPY | 1u << 17, 15, 1, 63, 31, AT(data(0)), AT(copy), 0, END),
			 0);
	assert_memory_equal(bytes_of(COPY), bytes_of(DATA), 16);
	assert_int_equal(bytes_of(COPY)[16], 0xab);
	assert_memory_equal(bytes_of(COPY) + 32, bytes_of(DATA) + 64, 16);
	/* Two rows of one 4-byte pixel, the second of each line. */
	assert_int_equal(RUN(FAST_COPY, 3u << 24 | 64, 0, 2u << 16 | 1, AT(copy + 512),
			     0u << 16 | 1, 128, AT(data(0)), END),
			 0);
	assert_memory_equal(bytes_of(COPY) + 512, bytes_of(DATA) + 4, 4);
	assert_memory_equal(bytes_of(COPY) + 576, bytes_of(DATA) + 132, 4);
	assert_int_equal(RUN(FAST_COPY | 1u << 20, 3u << 24 | 64, 0, 1u << 16 | 1, AT(copy), 0,
			     64, AT(data(0)), END),
			 -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(registers_are_loaded_and_stored_by_halves, start,
						stop),
		cmocka_unit_test_setup_teardown(arithmetic_has_results_and_flags, start, stop),
		cmocka_unit_test_setup_teardown(each_operation_calculates_with_64_bits, start,
						stop),
		cmocka_unit_test_setup_teardown(zero_and_ones_are_loaded_and_flags_stored, start,
						stop),
		cmocka_unit_test_setup_teardown(clocks_are_read_and_the_jobs_own_starts_with_it,
						start, stop),
		cmocka_unit_test_setup_teardown(registers_refuse_what_is_not_modelled, start,
						stop),
		cmocka_unit_test_setup_teardown(each_condition_compares_memory_with_the_number,
						start, stop),
		cmocka_unit_test_setup_teardown(a_condition_ends_its_level_or_all, start, stop),
		cmocka_unit_test_setup_teardown(a_semaphore_waits_until_memory_is_right, start,
						stop),
		cmocka_unit_test_setup_teardown(a_batch_ends_where_a_condition_is_false, start,
						stop),
		cmocka_unit_test_setup_teardown(memory_is_copied_and_set, start, stop),
	};

	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
