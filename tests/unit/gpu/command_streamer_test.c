/* SPDX-License-Identifier: MIT */
/*
 * command_streamer_test.c - each command, out of memory of each kind, and what
 * a batch must not do. The dwords are written out: they are the interface.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/host_posix.h"
#include "base/prng.h"
#include "base/seed.h"
#include "gpu/fake_host.h"

/* Pages of the window: batches, and what they write to. */
enum { BATCH = 0, SECOND = 8, DATA = 16 };

#define NOOP 0u
#define END 0x05000000u
#define USER_INTERRUPT 0x01000000u
#define STORE_DWORD 0x10000002u
#define STORE_QWORD 0x10200003u
#define ATOMIC 0x17800001u        /* dword, operands in registers */
#define ATOMIC_INLINE 0x17840009u /* dword, 11 dwords */
#define ATOMIC_QWORD 0x00080000u
#define START 0x18800101u
#define START_SECOND 0x18c00101u
#define FLUSH_DW 0x13004003u
#define PIPE_CONTROL 0x7a000004u

#define LOW(addr) ((uint32_t)(addr))
#define HIGH(addr) ((uint32_t)((addr) >> 32))
#define AT(addr) LOW(addr), HIGH(addr)

static uint64_t seed;
static struct fake_host fake;
static struct gpu_queue *queue;

static void start(void)
{
	const struct fake_config config = { .engine_count = 1 };

	fake_start(&fake, &config);
	queue = fake_queue(&fake);
}

static void finish(void)
{
	gpu_queue_destroy(queue);
	fake_stop(&fake);
}

static unsigned char *bytes_of(unsigned int page)
{
	unsigned char *memory = fake.page[page].place == FAKE_RAM ? fake.ram : fake.vram;

	return memory + page * PAGE_BYTES;
}

static uint64_t data_addr(unsigned int offset)
{
	return fake_addr(DATA) + offset;
}

static uint32_t data32(unsigned int offset)
{
	uint32_t value;

	memcpy(&value, bytes_of(DATA) + offset, sizeof(value));
	return value;
}

static uint64_t data64(unsigned int offset)
{
	uint64_t value;

	memcpy(&value, bytes_of(DATA) + offset, sizeof(value));
	return value;
}

static int run_at(struct fake_job *job, uint64_t addr)
{
	struct gpu_queue *own = fake_queue(&fake); /* it may be banned */
	int err;

	fake_job_batch(&fake, job, addr);
	err = fake_run(own, job);
	gpu_queue_destroy(own);
	return err;
}

static int run(struct fake_job *job, const uint32_t *batch, size_t bytes)
{
	memcpy(bytes_of(BATCH), batch, bytes);
	return run_at(job, fake_addr(BATCH));
}

#define RUN(job, ...)                                                                    \
	run((job), (const uint32_t[]){ __VA_ARGS__ },                                    \
	    sizeof((const uint32_t[]){ __VA_ARGS__ }))

/* The batch fails with @error at its dword @index. */
#define FAILS(error, index, ...)                                                         \
	do {                                                                             \
		struct fake_job job_;                                                    \
                                                                                         \
		assert_int_equal(RUN(&job_, __VA_ARGS__), error);                        \
		assert_int_equal(job_.job.fault_addr, fake_addr(BATCH) + 4 * (index));   \
	} while (0)

/* --- stores ---------------- */

static void stores_write_what_they_say(void **state)
{
	struct fake_job job;

	(void)state;
	start();
	assert_int_equal(RUN(&job, NOOP, STORE_DWORD, AT(data_addr(4)), 0x11223344,
			     USER_INTERRUPT, STORE_QWORD, AT(data_addr(8)), 0x55667788,
			     0x99aabbcc, END),
			 0);
	assert_int_equal(data32(0), 0);
	assert_int_equal(data32(4), 0x11223344);
	assert_int_equal(data64(8), 0x99aabbcc55667788);
	assert_int_equal(data32(16), 0);
	finish();
}

static void a_store_may_be_long_and_cross_pages(void **state)
{
	static uint32_t batch[3 + 400 + 1];
	struct fake_job job;

	(void)state;
	start();
	fake_place(&fake, BATCH, 1, FAKE_RAM, USVM_PTE_WRITE);
	fake_place(&fake, DATA + 1, 1, FAKE_RAM, USVM_PTE_WRITE);
	batch[0] = STORE_DWORD - 2 + 401;
	batch[1] = LOW(data_addr(PAGE_BYTES - 200));
	batch[2] = HIGH(data_addr(0));
	for (uint32_t i = 0; i < 400; i++)
		batch[3 + i] = i + 1;
	batch[403] = END;
	assert_int_equal(run(&job, batch, sizeof(batch)), 0);
	for (uint32_t i = 0; i < 400; i++) {
		uint32_t at = (uint32_t)PAGE_BYTES - 200 + 4 * i;
		const unsigned char *page = bytes_of(DATA + at / (uint32_t)PAGE_BYTES);

		assert_int_equal(
			*(const uint32_t *)(const void *)(page + at % PAGE_BYTES), i + 1);
	}
	/* Two qwords in one command. */
	assert_int_equal(RUN(&job, STORE_QWORD + 2, AT(data_addr(64)), 1, 2, 3, 4, END),
			 0);
	assert_int_equal(data64(64), 0x0000000200000001);
	assert_int_equal(data64(72), 0x0000000400000003);
	finish();
}

static void post_sync_writes_are_fences(void **state)
{
	struct fake_job job;

	(void)state;
	start();
	assert_int_equal(RUN(&job, PIPE_CONTROL, 1u << 14 | 1u << 20, AT(data_addr(0)), 1,
			     2, FLUSH_DW, AT(data_addr(8)), 3, 4, PIPE_CONTROL, 1u << 20,
			     0, 0, 7, 7, 0x13000003, 0, 0, 7, 7, 0x13000002, 0, 0, 0,
			     END),
			 0);
	assert_int_equal(data64(0), 0x0000000200000001);
	assert_int_equal(data64(8), 0x0000000400000003);
	assert_int_equal(data64(16), 0);
	finish();
}

/* --- atomics ---------------- */

struct atomic_case {
	uint32_t number;
	uint64_t before, operand1, operand2, after;
};

static void atomics_compute(void **state)
{
	static const struct atomic_case cases[] = {
		{ 0x01, 0xf0f0, 0xff00, 0, 0xf000 },
		{ 0x02, 0xf0f0, 0xff00, 0, 0xfff0 },
		{ 0x03, 0xf0f0, 0xff00, 0, 0x0ff0 },
		{ 0x04, 1, 2, 0, 2 },
		{ 0x05, 41, 99, 99, 42 },
		{ 0x06, 41, 99, 99, 40 },
		{ 0x07, 40, 2, 0, 42 },
		{ 0x08, 44, 2, 0, 42 },
		{ 0x0a, 3, 4, 0, 4 },
		{ 0x0b, 3, 4, 0, 3 },
		{ 0x0c, 3, 4, 0, 4 },
		{ 0x0d, 3, 4, 0, 3 },
		{ 0x0e, 5, 5, 6, 6 },
		{ 0x0e, 5, 4, 6, 5 },
	};
	struct fake_job job;

	(void)state;
	start();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct atomic_case *c = &cases[i];
		uint32_t op = c->number << 8;
		uint64_t value = c->before;

		/* The dword, with a neighbour. */
		memcpy(bytes_of(DATA), &(uint64_t){ c->before | 0x77ull << 32 }, 8);
		assert_int_equal(RUN(&job, ATOMIC_INLINE | op, AT(data_addr(0)),
				     LOW(c->operand1), LOW(c->operand2), 9, 9, 9, 9, 9, 9,
				     END),
				 0);
		assert_int_equal(data64(0), c->after | 0x77ull << 32);

		/* The qword; high halves that matter to a comparison. */
		value |= 0x100000000;
		memcpy(bytes_of(DATA), &value, 8);
		assert_int_equal(RUN(&job, ATOMIC_INLINE | ATOMIC_QWORD | op | 0x2000,
				     AT(data_addr(0)), LOW(c->operand1), LOW(c->operand2),
				     1, 1, 9, 9, 9, 9, END),
				 0);
		assert_int_equal(data32(0), LOW(c->after));
	}
	/* Signed against unsigned: -1 and 1. */
	memset(bytes_of(DATA), 0xff, 64);
	for (uint32_t number = 0x0a; number <= 0x0d; number++)
		assert_int_equal(RUN(&job, ATOMIC_INLINE | number << 8,
				     AT(data_addr(4 * (number - 0x0a))), 1, 0, 0, 0, 0, 0,
				     0, 0, END),
				 0);
	assert_int_equal(data32(0), 1);          /* IMAX */
	assert_int_equal(data32(4), UINT32_MAX); /* IMIN */
	assert_int_equal(data32(8), UINT32_MAX); /* UMAX */
	assert_int_equal(data32(12), 1);         /* UMIN */
	finish();
}

static void increments_need_no_operand(void **state)
{
	struct fake_job job;

	(void)state;
	start();
	fake_place(&fake, DATA, 1, FAKE_RAM, USVM_PTE_WRITE | USVM_PTE_ATOMIC);
	assert_int_equal(RUN(&job, ATOMIC | 0x0500, AT(data_addr(0)), ATOMIC | 0x0500,
			     AT(data_addr(0)), ATOMIC | ATOMIC_QWORD | 0x2500,
			     AT(data_addr(8)), END),
			 0);
	assert_int_equal(data32(0), 2);
	assert_int_equal(data64(8), 1);
	finish();
}

/* --- jumps ---------------- */

static void batches_jump_and_call(void **state)
{
	const uint32_t called[] = { STORE_DWORD, AT(data_addr(0)), 1, START_SECOND,
				    AT(fake_addr(SECOND) + 64) };
	const uint32_t chained[] = { STORE_DWORD, AT(data_addr(4)), 2, END };
	const uint32_t jumped[] = { STORE_DWORD, AT(data_addr(12)), 4, END };
	struct fake_job job;

	(void)state;
	start();
	memcpy(bytes_of(SECOND), called, sizeof(called));
	memcpy(bytes_of(SECOND) + 64, chained, sizeof(chained));
	memcpy(bytes_of(SECOND) + 128, jumped, sizeof(jumped));
	/* A call returns behind itself, from the second level's second batch; a jump does
	 * not return. */
	assert_int_equal(RUN(&job, START_SECOND, AT(fake_addr(SECOND)), STORE_DWORD,
			     AT(data_addr(8)), 3, START, AT(fake_addr(SECOND) + 128),
			     STORE_DWORD, AT(data_addr(16)), 5, END),
			 0);
	assert_int_equal(data32(0), 1);
	assert_int_equal(data32(4), 2);
	assert_int_equal(data32(8), 3);
	assert_int_equal(data32(12), 4);
	assert_int_equal(data32(16), 0);
	finish();
}

static void a_spinner_is_released_by_a_store_into_it(void **state)
{
	const uint32_t batch[] = { STORE_DWORD, AT(data_addr(0)), 1, START,
				   AT(fake_addr(BATCH)) };
	struct fake_job job;

	(void)state;
	start();
	memcpy(bytes_of(BATCH), batch, sizeof(batch));
	fake_job_batch(&fake, &job, fake_addr(BATCH));
	assert_int_equal(gpu_queue_submit(queue, &job.job), 0);
	while (!ATOMIC_LOAD((uint32_t *)(void *)bytes_of(DATA)))
		base_host->cpu_yield();
	ATOMIC_STORE((uint32_t *)(void *)(bytes_of(BATCH) + 16), END);
	assert_int_equal(fake_job_wait(&job), 0);
	finish();
}

static void destroy_ends_an_endless_batch(void **state)
{
	const uint32_t batch[] = { STORE_DWORD, AT(data_addr(0)), 1, START,
				   AT(fake_addr(BATCH)) };
	struct fake_job job;

	(void)state;
	start();
	memcpy(bytes_of(BATCH), batch, sizeof(batch));
	fake_job_batch(&fake, &job, fake_addr(BATCH));
	assert_int_equal(gpu_queue_submit(queue, &job.job), 0);
	while (!ATOMIC_LOAD((uint32_t *)(void *)bytes_of(DATA)))
		base_host->cpu_yield();
	gpu_queue_destroy(queue);
	assert_int_equal(fake_job_wait(&job), -ECANCELED);
	fake_stop(&fake);
}

/* --- errors ---------------- */

static void bad_commands_are_named(void **state)
{
	(void)state;
	start();
	FAILS(-EINVAL, 2, NOOP, NOOP, 0x0f800000, END);    /* MI opcode 0x1f */
	FAILS(-EINVAL, 0, 0x40000000, END);                /* type 2 */
	FAILS(-EINVAL, 0, 0x7a010004, 0, 0, 0, 0, 0, END); /* not PIPE_CONTROL */
	FAILS(-EINVAL, 1, NOOP, STORE_DWORD - 1, AT(data_addr(0)), END);
	FAILS(-EINVAL, 0, STORE_DWORD | 1u << 22, AT(data_addr(0)), 1, END); /* GGTT */
	FAILS(-EINVAL, 0, STORE_QWORD, AT(data_addr(4)), 1, 2, END);
	FAILS(-EINVAL, 0, STORE_QWORD - 1, AT(data_addr(8)), 1, END);
	FAILS(-EINVAL, 0, ATOMIC | 0x0700, AT(data_addr(0)), END); /* ADD of registers */
	FAILS(-EINVAL, 0, ATOMIC_INLINE | 0x0900, AT(data_addr(0)), 1, 0, 0, 0, 0, 0, 0,
	      0, END); /* RSUB */
	FAILS(-EINVAL, 0, ATOMIC | 0x0500 | 1u << 16, AT(data_addr(0)),
	      END); /* return data */
	FAILS(-EINVAL, 0, ATOMIC | 0x0500 | 1u << 22, AT(data_addr(0)), END); /* GGTT */
	FAILS(-EINVAL, 0, ATOMIC | 0x2500, AT(data_addr(0)),
	      END); /* size and op differ */
	FAILS(-EINVAL, 0, ATOMIC | 0x4500 | 2u << 19, AT(data_addr(0)), END);
	FAILS(-EINVAL, 0, ATOMIC | ATOMIC_QWORD | 0x2500, AT(data_addr(4)), END);
	FAILS(-EINVAL, 0, START | 1u << 15, AT(fake_addr(SECOND)), END); /* predicated */
	FAILS(-EINVAL, 0, PIPE_CONTROL, 3u << 14, AT(data_addr(0)), 0, 0,
	      END); /* timestamp */
	FAILS(-EINVAL, 0, PIPE_CONTROL, 1u << 14 | 1u << 24, AT(data_addr(0)), 0, 0, END);
	FAILS(-EINVAL, 0, PIPE_CONTROL, 1u << 14, AT(data_addr(4)), 0, 0, END);
	FAILS(-EINVAL, 0, FLUSH_DW, AT(data_addr(0) | 4), 0, 0, END); /* GGTT */
	FAILS(-EINVAL, 0, 0x13000004, 0, 0, 0, 0, 0,
	      END); /* lengths that there are not */
	FAILS(-EINVAL, 0, PIPE_CONTROL + 1, 0, 0, 0, 0, 0, 0, END);
	FAILS(-EINVAL, 0, START + 1, AT(fake_addr(SECOND)), 0, END);
	FAILS(-EINVAL, 0, FLUSH_DW - 1, AT(data_addr(0)), 0, END);
	for (unsigned int i = 0; i < PAGE_BYTES; i += 8)
		assert_int_equal(data64(i), 0);
	finish();
}

static void a_store_to_nowhere_reports_address_and_access(void **state)
{
	struct fake_job job;

	(void)state;
	start();
	assert_int_equal(RUN(&job, STORE_DWORD, AT(FAKE_NOWHERE), 1, END), -EFAULT);
	assert_int_equal(job.job.fault_addr, FAKE_NOWHERE & ~UINT64_C(3));
	assert_int_equal(job.job.fault_access, USVM_ACCESS_WRITE);
	assert_int_equal(RUN(&job, ATOMIC | 0x0500, AT(FAKE_NOWHERE), END), -EFAULT);
	assert_int_equal(job.job.fault_access, USVM_ACCESS_ATOMIC);
	assert_int_equal(RUN(&job, START, AT(FAKE_NOWHERE), END), -EFAULT);
	assert_int_equal(job.job.fault_access, USVM_ACCESS_READ);
	finish();
}

/* Map @count pages at @addr, all to page @page of device memory. */
static void map_repeated(uint64_t addr, uint64_t count, unsigned int page)
{
	assert_int_equal(
		fake.ops->pt_prepare(fake.gpu, FAKE_VM, addr, count * PAGE_BYTES), 0);
	for (uint64_t i = 0; i < count; i++)
		fake.ops->pt_map(fake.gpu, FAKE_VM, addr + i * PAGE_BYTES, PAGE_BYTES,
				 page * PAGE_BYTES, USVM_PTE_VRAM);
}

static void a_batch_without_an_end_is_garbage(void **state)
{
	struct fake_job job;

	(void)state;
	start();
	/* 4 MiB of NOOP, out of one page of them. */
	map_repeated(MIB(64), MIB(4) / PAGE_BYTES + 1, BATCH);
	assert_int_equal(run_at(&job, MIB(64)), -EPROTO);
	assert_int_equal(job.job.fault_addr, MIB(64) + 4 * (1u << 20));
	finish();
}

static void a_long_batch_with_jumps_is_none(void **state)
{
	const uint32_t jump[] = { START, AT(UINT64_C(0x8000000)) };
	const uint32_t end[] = { END };
	struct fake_job job;

	(void)state;
	start();
	map_repeated(MIB(64), MIB(3) / PAGE_BYTES, BATCH);
	map_repeated(MIB(64) + MIB(3), 1, SECOND);
	map_repeated(MIB(128), MIB(3) / PAGE_BYTES, BATCH);
	map_repeated(MIB(128) + MIB(3), 1, SECOND + 1);
	memcpy(bytes_of(SECOND), jump, sizeof(jump));
	memcpy(bytes_of(SECOND + 1), end, sizeof(end));
	assert_int_equal(run_at(&job, MIB(64)), 0);
	finish();
}

/* Whatever the dwords are: the job ends, and nothing but the model is harmed. */
static void random_dwords_end_in_some_way(void **state)
{
	static const uint32_t headers[] = {
		NOOP,          END,      STORE_DWORD,  STORE_QWORD,      ATOMIC,
		ATOMIC_INLINE, FLUSH_DW, PIPE_CONTROL, STORE_DWORD + 30,
	};
	struct fake_job job;
	struct prng prng;

	(void)state;
	prng_seed(&prng, seed);
	start();
	for (int round = 0; round < 300; round++) {
		uint32_t *batch = (uint32_t *)(void *)bytes_of(BATCH);

		for (int i = 0; i < 64; i++) {
			uint32_t dword = headers[prng_below(&prng, ARRAY_SIZE(headers))];

			if (prng_below(&prng, 4) == 0)
				dword ^= 1u << prng_below(&prng, 32);
			if (i && i < 62 &&
			    (batch[i - 1] >> 29 == 0 || batch[i - 1] > END) &&
			    prng_below(&prng, 8)) { /* the address of the last */
				batch[i++] = LOW(data_addr(0)) +
					     (uint32_t)prng_below(&prng, 64);
				dword = HIGH(data_addr(0));
			}
			/* Jumps might find a loop. */
			batch[i] = dword >> 23 == START >> 23 ? END : dword;
		}
		batch[64] = END;
		switch (run_at(&job, fake_addr(BATCH))) {
		case 0:
		case -EFAULT:
		case -EINVAL:
		case -EPROTO:
			break;
		default:
			fail();
		}
	}
	finish();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stores_write_what_they_say),
		cmocka_unit_test(a_store_may_be_long_and_cross_pages),
		cmocka_unit_test(post_sync_writes_are_fences),
		cmocka_unit_test(atomics_compute),
		cmocka_unit_test(increments_need_no_operand),
		cmocka_unit_test(batches_jump_and_call),
		cmocka_unit_test(a_spinner_is_released_by_a_store_into_it),
		cmocka_unit_test(destroy_ends_an_endless_batch),
		cmocka_unit_test(bad_commands_are_named),
		cmocka_unit_test(a_store_to_nowhere_reports_address_and_access),
		cmocka_unit_test(a_batch_without_an_end_is_garbage),
		cmocka_unit_test(a_long_batch_with_jumps_is_none),
		cmocka_unit_test(random_dwords_end_in_some_way),
	};

	seed = seed_from(argc, argv);
	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
