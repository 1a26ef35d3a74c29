/* SPDX-License-Identifier: MIT */
/* kernel_test.c - kernels and what their accessors do to memory of each kind. */
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

#define ALL_RIGHTS (USVM_PTE_WRITE | USVM_PTE_ATOMIC)

static uint64_t seed;
static struct fake_host fake;
static struct gpu_queue *queue;

static void start(const struct fake_config *config)
{
	fake_start(&fake, config);
	queue = fake_queue(&fake);
}

static void start_one(void)
{
	const struct fake_config config = { .engine_count = 1 };

	start(&config);
}

static void finish(void)
{
	gpu_queue_destroy(queue);
	fake_stop(&fake);
}

static int run(usvm_kernel_fn kernel, const void *args, uint32_t bytes)
{
	struct fake_job job;

	fake_job_kernel(&fake, &job, kernel, 1, args, bytes);
	return fake_run(queue, &job);
}

/* The bytes of page @page, wherever it is. */
static unsigned char *bytes_of(unsigned int page)
{
	unsigned char *memory = fake.page[page].place == FAKE_RAM ? fake.ram : fake.vram;

	return memory + page * PAGE_BYTES;
}

/* --- grids ---------------- */

struct grid_args {
	uint64_t next_addr; /* counts groups */
	uint64_t seen_addr; /* one word for each */
};

static void note_group(struct usvm_lane *lane, const void *data)
{
	const struct grid_args *args = data;
	uint32_t id = usvm_group_id(lane, 0) +
		      usvm_group_count(lane, 0) *
			      (usvm_group_id(lane, 1) +
			       usvm_group_count(lane, 1) * usvm_group_id(lane, 2));
	uint32_t order = usvm_atomic_add32(lane, args->next_addr, 1);

	usvm_store32(lane, args->seen_addr + 4 * order, id + 1);
}

static void a_grid_runs_each_group_once_x_fastest(void **state)
{
	const struct grid_args args = { fake_addr(0), fake_addr(1) };
	const uint32_t *seen;
	struct fake_job job;

	(void)state;
	start_one();
	fake_job_kernel(&fake, &job, note_group, 5, &args, sizeof(args));
	job.job.groups[1] = 7;
	job.job.groups[2] = 3;
	assert_int_equal(fake_run(queue, &job), 0);
	assert_int_equal(*(uint32_t *)(void *)bytes_of(0), 5 * 7 * 3);
	seen = (const uint32_t *)(const void *)bytes_of(1);
	for (uint32_t i = 0; i < 5 * 7 * 3; i++)
		assert_int_equal(seen[i], i + 1);
	finish();
}

/* --- loads, stores, copies ---------------- */

struct mirror_args {
	uint64_t seed;
	uint32_t steps;
	unsigned char *expected; /* of pages 0 to 3; the test's memory */
	uint32_t *wrong;
};

static void random_copy(struct usvm_lane *lane, struct prng *prng,
			unsigned char *expected, uint32_t *wrong)
{
	unsigned char buffer[600];
	uint64_t at = prng_below(prng, 4 * PAGE_BYTES - sizeof(buffer));
	size_t bytes = prng_below(prng, sizeof(buffer) + 1);

	if (prng_below(prng, 2)) {
		for (size_t i = 0; i < bytes; i++)
			buffer[i] = (unsigned char)prng_next(prng);
		usvm_write(lane, fake_addr(0) + at, buffer, bytes);
		memcpy(expected + at, buffer, bytes);
	} else {
		usvm_read(lane, buffer, fake_addr(0) + at, bytes);
		*wrong += memcmp(expected + at, buffer, bytes) != 0;
	}
}

static void random_word(struct usvm_lane *lane, struct prng *prng,
			unsigned char *expected, uint32_t *wrong)
{
	uint32_t bytes = 1u << prng_below(prng, 4);
	uint64_t at = prng_below(prng, 4 * PAGE_BYTES - 8);
	uint64_t addr = fake_addr(0) + at;
	uint64_t value = prng_next(prng);
	uint64_t found = 0;
	uint64_t mask = UINT64_MAX >> (64 - 8 * bytes);

	switch (bytes + (prng_below(prng, 2) ? 100 : 0)) {
	case 1:
		usvm_store8(lane, addr, (uint8_t)value);
		break;
	case 2:
		usvm_store16(lane, addr, (uint16_t)value);
		break;
	case 4:
		usvm_store32(lane, addr, (uint32_t)value);
		break;
	case 8:
		usvm_store64(lane, addr, value);
		break;
	case 101:
		found = usvm_load8(lane, addr) + 1;
		break;
	case 102:
		found = usvm_load16(lane, addr) + 1;
		break;
	case 104:
		found = (uint64_t)usvm_load32(lane, addr) + 1;
		break;
	default:
		found = usvm_load64(lane, addr) + 1;
		break;
	}
	if (!found) {
		memcpy(expected + at, &value, bytes);
		return;
	}
	value = 0;
	memcpy(&value, expected + at, bytes);
	*wrong += ((found - 1) & mask) != value;
}

static void mirror(struct usvm_lane *lane, const void *data)
{
	const struct mirror_args *args = data;
	struct prng prng;

	prng_seed(&prng, args->seed);
	for (uint32_t i = 0; i < args->steps; i++) {
		if (prng_below(&prng, 4) == 0)
			random_copy(lane, &prng, args->expected, args->wrong);
		else
			random_word(lane, &prng, args->expected, args->wrong);
	}
}

/* Pages 0 and 2 on the device, 1 and 3 in ram: every width, alignment, and border. */
static void accesses_read_what_was_written(void **state)
{
	static unsigned char expected[4 * PAGE_BYTES];
	uint32_t wrong = 0;
	const struct mirror_args args = {
		.seed = seed,
		.steps = 20000,
		.expected = expected,
		.wrong = &wrong,
	};

	(void)state;
	memset(expected, 0, sizeof(expected));
	start_one();
	fake_place(&fake, 1, 1, FAKE_RAM, ALL_RIGHTS);
	fake_place(&fake, 3, 1, FAKE_RAM, ALL_RIGHTS);
	assert_int_equal(run(mirror, &args, sizeof(args)), 0);
	assert_int_equal(wrong, 0);
	for (unsigned int page = 0; page < 4; page++)
		assert_memory_equal(bytes_of(page), expected + page * PAGE_BYTES,
				    PAGE_BYTES);
	finish();
}

/* What the test has: a kernel may be given such memory, which could be on a device. */
static unsigned char far[2][3 * PAGE_BYTES];

static void copy_far(struct usvm_lane *lane, const void *data)
{
	const uint64_t *at = data;

	usvm_write(lane, fake_addr(0) + *at, far[0], sizeof(far[0]));
	usvm_read(lane, far[1], fake_addr(0) + *at, sizeof(far[1]));
}

/* Device memory and ram by turns; more than the page that such copies pass through. */
static void copies_of_far_memory_are_whole(void **state)
{
	struct prng prng;
	uint64_t at;

	(void)state;
	prng_seed(&prng, seed);
	start_one();
	fake_place(&fake, 1, 1, FAKE_RAM, ALL_RIGHTS);
	fake_place(&fake, 3, 1, FAKE_RAM, ALL_RIGHTS);
	for (int i = 0; i < 20; i++) {
		for (size_t j = 0; j < sizeof(far[0]); j++)
			far[0][j] = (unsigned char)prng_next(&prng);
		at = prng_below(&prng, PAGE_BYTES);
		assert_int_equal(run(copy_far, &at, sizeof(at)), 0);
		assert_memory_equal(far[0], far[1], sizeof(far[0]));
		assert_memory_equal(bytes_of(1), far[0] + PAGE_BYTES - at, PAGE_BYTES);
	}
	finish();
}

static void far_copies_end_at_what_is_forbidden(void **state)
{
	struct fake_job job;
	uint64_t at = 0;

	(void)state;
	start_one();
	fake_place(&fake, 1, 1, FAKE_RAM, 0);
	memset(far[0], 7, sizeof(far[0]));
	fake_job_kernel(&fake, &job, copy_far, 1, &at, sizeof(at));
	assert_int_equal(fake_run(queue, &job), -EPERM);
	assert_int_equal(job.job.fault_addr, fake_addr(1));
	assert_int_equal(bytes_of(0)[PAGE_BYTES - 1], 7); /* what came before is done */
	finish();
}

static void floats(struct usvm_lane *lane, const void *data)
{
	(void)data;
	usvm_store_float(lane, fake_addr(0), 1.5f);
	usvm_store_float(lane, fake_addr(0) + 4, usvm_load_float(lane, fake_addr(0)) * 2);
	usvm_store_double(lane, fake_addr(0) + 8, 0.25);
	usvm_store_double(lane, fake_addr(0) + 16,
			  usvm_load_double(lane, fake_addr(0) + 8) * 2);
}

static void floats_keep_their_bits(void **state)
{
	const float two[2] = { 1.5f, 3.0f };
	const double more[2] = { 0.25, 0.5 };

	(void)state;
	start_one();
	assert_int_equal(run(floats, &seed, sizeof(seed)), 0);
	assert_memory_equal(bytes_of(0), two, sizeof(two));
	assert_memory_equal(bytes_of(0) + 8, more, sizeof(more));
	finish();
}

/* --- atomics ---------------- */

struct atomic_case {
	uint32_t op;
	uint64_t before, operand, compare, after;
};

static const struct atomic_case cases32[] = {
	{ USVM_SYSTEM_ADD, 0xffffffff, 2, 0, 1 },
	{ USVM_SYSTEM_SUB, 1, 2, 0, 0xffffffff },
	{ USVM_SYSTEM_AND, 0xf0f0, 0xff00, 0, 0xf000 },
	{ USVM_SYSTEM_OR, 0xf0f0, 0xff00, 0, 0xfff0 },
	{ USVM_SYSTEM_XOR, 0xf0f0, 0xff00, 0, 0x0ff0 },
	{ USVM_SYSTEM_EXCHANGE, 5, 6, 0, 6 },
	{ USVM_SYSTEM_COMPARE_EXCHANGE, 5, 6, 5, 6 },
	{ USVM_SYSTEM_COMPARE_EXCHANGE, 5, 6, 4, 5 },
	{ USVM_SYSTEM_MIN, 0xfffffff0, 3, 0, 3 },
	{ USVM_SYSTEM_MAX, 0xfffffff0, 3, 0, 0xfffffff0 },
	{ USVM_SYSTEM_SIGNED_MIN, 0xfffffff0, 3, 0, 0xfffffff0 },
	{ USVM_SYSTEM_SIGNED_MAX, 0xfffffff0, 3, 0, 3 },
};

static const struct atomic_case cases64[] = {
	{ USVM_SYSTEM_ADD, 0xffffffff, 2, 0, 0x100000001 },
	{ USVM_SYSTEM_SUB, 1, 2, 0, UINT64_MAX },
	{ USVM_SYSTEM_AND, 0xf0f0f0f0f0, 0xff00000000, 0, 0xf000000000 },
	{ USVM_SYSTEM_OR, 0xf0f0f0f0f0, 0xff00000000, 0, 0xfff0f0f0f0 },
	{ USVM_SYSTEM_XOR, 0xf0f0f0f0f0, 0xff00000000, 0, 0x0ff0f0f0f0 },
	{ USVM_SYSTEM_EXCHANGE, 5, 6, 0, 6 },
	{ USVM_SYSTEM_COMPARE_EXCHANGE, 5, UINT64_MAX, 5, UINT64_MAX },
	{ USVM_SYSTEM_COMPARE_EXCHANGE, 0x100000005, 6, 5, 0x100000005 },
	{ USVM_SYSTEM_MIN, UINT64_MAX, 3, 0, 3 },
	{ USVM_SYSTEM_MAX, UINT64_MAX, 3, 0, UINT64_MAX },
	{ USVM_SYSTEM_SIGNED_MIN, UINT64_MAX, 3, 0, UINT64_MAX },
	{ USVM_SYSTEM_SIGNED_MAX, UINT64_MAX, 3, 0, 3 },
};

struct case_args {
	const struct atomic_case *c;
	uint32_t *wrong;
};

/* As the inline path does it where there is one. */
static uint32_t call32(struct usvm_lane *lane, uint64_t addr, const struct atomic_case *c)
{
	uint32_t operand = (uint32_t)c->operand;

	switch (c->op) {
	case USVM_SYSTEM_ADD:
		return usvm_atomic_add32(lane, addr, operand);
	case USVM_SYSTEM_SUB:
		return usvm_atomic_sub32(lane, addr, operand);
	case USVM_SYSTEM_AND:
		return usvm_atomic_and32(lane, addr, operand);
	case USVM_SYSTEM_OR:
		return usvm_atomic_or32(lane, addr, operand);
	case USVM_SYSTEM_XOR:
		return usvm_atomic_xor32(lane, addr, operand);
	case USVM_SYSTEM_EXCHANGE:
		return usvm_atomic_exchange32(lane, addr, operand);
	case USVM_SYSTEM_COMPARE_EXCHANGE:
		return usvm_atomic_compare_exchange32(lane, addr, (uint32_t)c->compare,
						      operand);
	case USVM_SYSTEM_MIN:
		return usvm_atomic_min32(lane, addr, operand);
	case USVM_SYSTEM_MAX:
		return usvm_atomic_max32(lane, addr, operand);
	case USVM_SYSTEM_SIGNED_MIN:
		return usvm_atomic_signed_min32(lane, addr, operand);
	default:
		return usvm_atomic_signed_max32(lane, addr, operand);
	}
}

static uint64_t call64(struct usvm_lane *lane, uint64_t addr, const struct atomic_case *c)
{
	switch (c->op) {
	case USVM_SYSTEM_ADD:
		return usvm_atomic_add64(lane, addr, c->operand);
	case USVM_SYSTEM_SUB:
		return usvm_atomic_sub64(lane, addr, c->operand);
	case USVM_SYSTEM_AND:
		return usvm_atomic_and64(lane, addr, c->operand);
	case USVM_SYSTEM_OR:
		return usvm_atomic_or64(lane, addr, c->operand);
	case USVM_SYSTEM_XOR:
		return usvm_atomic_xor64(lane, addr, c->operand);
	case USVM_SYSTEM_EXCHANGE:
		return usvm_atomic_exchange64(lane, addr, c->operand);
	case USVM_SYSTEM_COMPARE_EXCHANGE:
		return usvm_atomic_compare_exchange64(lane, addr, c->compare, c->operand);
	case USVM_SYSTEM_MIN:
		return usvm_atomic_min64(lane, addr, c->operand);
	case USVM_SYSTEM_MAX:
		return usvm_atomic_max64(lane, addr, c->operand);
	case USVM_SYSTEM_SIGNED_MIN:
		return usvm_atomic_signed_min64(lane, addr, c->operand);
	default:
		return usvm_atomic_signed_max64(lane, addr, c->operand);
	}
}

/* Each operation inline and out of line, with a neighbour that must not change. */
static void atomic_cases(struct usvm_lane *lane, const void *data)
{
	const struct case_args *args = data;
	uint64_t addr = fake_addr(0) + 16;

	for (size_t i = 0; i < ARRAY_SIZE(cases32); i++) {
		const struct atomic_case *c = &cases32[i];

		for (int inline_path = 0; inline_path < 2; inline_path++) {
			uint64_t before;

			usvm_store64(lane, addr, c->before | 0x77ull << 32);
			before = inline_path ? call32(lane, addr, c) :
					       usvm_lane_atomic(lane, c->op, addr, 4,
								c->operand, c->compare);
			*args->wrong += before != c->before;
			*args->wrong +=
				usvm_load64(lane, addr) != (c->after | 0x77ull << 32);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases64); i++) {
		const struct atomic_case *c = &cases64[i];

		for (int inline_path = 0; inline_path < 2; inline_path++) {
			uint64_t before;

			usvm_store64(lane, addr, c->before);
			before = inline_path ? call64(lane, addr, c) :
					       usvm_lane_atomic(lane, c->op, addr, 8,
								c->operand, c->compare);
			*args->wrong += before != c->before;
			*args->wrong += usvm_load64(lane, addr) != c->after;
		}
	}
}

static void each_atomic_does_what_its_name_says(void **state)
{
	uint32_t wrong = 0;
	const struct case_args args = { NULL, &wrong };

	(void)state;
	start_one();
	assert_int_equal(run(atomic_cases, &args, sizeof(args)), 0);
	assert_int_equal(wrong, 0);
	finish();
}

static void add_many(struct usvm_lane *lane, const void *data)
{
	uint32_t count = *(const uint32_t *)data;

	for (uint32_t i = 0; i < count; i++) {
		usvm_atomic_add32(lane, fake_addr(0), 1); /* on the device */
		usvm_atomic_add64(lane, fake_addr(1), 3); /* in ram */
	}
}

static void atomics_of_all_engines_add_up(void **state)
{
	enum { ENGINES = 4, COUNT = 3000 };
	const struct fake_config config = { .engine_count = ENGINES, .worker = true };
	struct gpu_queue *queues[ENGINES];
	static struct fake_job jobs[ENGINES];
	uint32_t count = COUNT;
	uint64_t sum;

	(void)state;
	start(&config);
	fake_place(&fake, 1, 1, FAKE_RAM, ALL_RIGHTS);
	for (int i = 0; i < ENGINES; i++) {
		queues[i] = fake_queue(&fake);
		fake_job_kernel(&fake, &jobs[i], add_many, 1, &count, sizeof(count));
		assert_int_equal(gpu_queue_submit(queues[i], &jobs[i].job), 0);
	}
	/* And the CPU adds as well. */
	for (int i = 0; i < COUNT; i++)
		ATOMIC_ADD((uint32_t *)(void *)bytes_of(0), 1);
	for (int i = 0; i < ENGINES; i++) {
		assert_int_equal(fake_job_wait(&jobs[i]), 0);
		gpu_queue_destroy(queues[i]);
	}
	assert_int_equal(*(uint32_t *)(void *)bytes_of(0), (ENGINES + 1) * COUNT);
	memcpy(&sum, bytes_of(1), sizeof(sum));
	assert_int_equal(sum, 3 * ENGINES * COUNT);
	finish();
}

/* --- rights and faults ---------------- */

enum access_kind { LOAD, STORE, ATOMIC, ATOMIC_UNALIGNED };

struct access_args {
	enum access_kind kind;
	uint64_t addr;
};

static void one_access(struct usvm_lane *lane, const void *data)
{
	const struct access_args *args = data;

	switch (args->kind) {
	case LOAD:
		usvm_load32(lane, args->addr);
		break;
	case STORE:
		usvm_store32(lane, args->addr, 9);
		break;
	case ATOMIC:
		usvm_atomic_add32(lane, args->addr, 1);
		break;
	case ATOMIC_UNALIGNED:
		usvm_atomic_add32(lane, args->addr + 2, 1);
		break;
	}
}

static int run_access(struct fake_job *job, enum access_kind kind, uint64_t addr)
{
	const struct access_args args = { kind, addr };
	struct gpu_queue *own = fake_queue(&fake); /* it may be banned */
	int err;

	fake_job_kernel(&fake, job, one_access, 1, &args, sizeof(args));
	err = fake_run(own, job);
	gpu_queue_destroy(own);
	return err;
}

static void rights_are_checked_on_memory_of_each_kind(void **state)
{
	static const enum fake_place places[] = { FAKE_VRAM, FAKE_RAM };
	struct fake_job job;

	(void)state;
	start_one();
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t read_only = fake_addr(2 * i), no_atomics = fake_addr(2 * i + 1);

		fake_place(&fake, 2 * i, 1, places[i], 0);
		fake_place(&fake, 2 * i + 1, 1, places[i], USVM_PTE_WRITE);
		assert_int_equal(run_access(&job, LOAD, read_only), 0);
		assert_int_equal(run_access(&job, STORE, read_only + 8), -EPERM);
		assert_int_equal(job.job.fault_addr, read_only + 8);
		assert_int_equal(job.job.fault_access, USVM_ACCESS_WRITE);
		assert_int_equal(run_access(&job, STORE, no_atomics), 0);
		assert_int_equal(run_access(&job, ATOMIC, no_atomics + 4), -EACCES);
		assert_int_equal(job.job.fault_addr, no_atomics + 4);
		assert_int_equal(job.job.fault_access, USVM_ACCESS_ATOMIC);
	}
	assert_int_equal(run_access(&job, LOAD, FAKE_NOWHERE), -EFAULT);
	assert_int_equal(job.job.fault_access, USVM_ACCESS_READ);
	assert_int_equal(run_access(&job, LOAD, UINT64_MAX - 3), -EFAULT);
	finish();
}

static void an_unaligned_atomic_is_an_error_of_the_kernel(void **state)
{
	struct fake_job job;

	(void)state;
	start_one();
	assert_int_equal(run_access(&job, ATOMIC_UNALIGNED, fake_addr(0)), -EINVAL);
	assert_int_equal(job.job.fault_addr, fake_addr(0) + 2);
	finish();
}

static void without_system_atomics_they_fault(void **state)
{
	const struct fake_config config = { .engine_count = 1,
					    .no_system_atomics = true };
	struct fake_job job;

	(void)state;
	start(&config);
	fake_place(&fake, 0, 1, FAKE_RAM, ALL_RIGHTS);
	assert_int_equal(run_access(&job, STORE, fake_addr(0)), 0);
	fake.page[0].flags = USVM_PTE_WRITE; /* the host will not have it either */
	assert_int_equal(run_access(&job, ATOMIC, fake_addr(0)), -EACCES);
	assert_int_equal(fake.last_fault.access, USVM_ACCESS_ATOMIC);
	assert_int_equal(*(uint32_t *)(void *)bytes_of(0), 9);

	/* It moves the page: then they work. */
	fake.page[1].flags = ALL_RIGHTS;
	assert_int_equal(run_access(&job, ATOMIC, fake_addr(1)), 0);
	finish();
}

static void a_forbidden_page_ends_in_an_error_after_some_faults(void **state)
{
	struct fake_job job;

	(void)state;
	start_one();
	fake_place(&fake, 0, 1, FAKE_RAM, ALL_RIGHTS);
	fake.forbidden = span_make(0, PAGE_BYTES);
	assert_int_equal(run_access(&job, STORE, fake_addr(0) + 16), -EFAULT);
	assert_int_equal(job.job.fault_addr, fake_addr(0) + 16);
	assert_in_range(fake.fault_count, 2, 20);
	/* No fault failed: the engine tells. */
	assert_int_equal(fake.report_count, 1);
	assert_int_equal(fake.last_report.addr, fake_addr(0) + 16);
	assert_int_equal(fake.last_report.access, USVM_ACCESS_WRITE);
	finish();
}

static void an_interrupted_access_is_translated_again(void **state)
{
	struct fake_job job;

	(void)state;
	start_one();
	fake_place(&fake, 0, 1, FAKE_RAM, ALL_RIGHTS);
	fake.interrupts_left = 5;
	assert_int_equal(run_access(&job, STORE, fake_addr(0)), 0);
	assert_int_equal(fake.access_count, 6);
	assert_int_equal(fake.fault_count, 1);
	finish();
}

static void an_answer_that_did_not_help_is_asked_again(void **state)
{
	const struct fake_config config = { .engine_count = 1, .worker = true };
	struct fake_job job;

	(void)state;
	start(&config);
	fake.answers_left = 30;
	assert_int_equal(run_access(&job, STORE, fake_addr(0)), 0);
	assert_int_equal(fake.fault_count, 31);
	finish();
}

struct odd_atomic {
	uint32_t op;
	uint32_t bytes;
};

static void do_odd_atomic(struct usvm_lane *lane, const void *data)
{
	const struct odd_atomic *odd = data;

	usvm_lane_atomic(lane, odd->op, fake_addr(0), odd->bytes, 1, 0);
}

static void an_atomic_that_does_not_exist_is_an_error_of_the_kernel(void **state)
{
	static const struct odd_atomic odds[] = {
		{ USVM_SYSTEM_WRITE, 8 }, { USVM_SYSTEM_SIGNED_MAX + 1, 8 },
		{ USVM_SYSTEM_ADD, 2 }, { USVM_SYSTEM_ADD, 16 },
	};
	struct fake_job job;

	(void)state;
	start_one();
	for (size_t i = 0; i < ARRAY_SIZE(odds); i++) {
		fake_job_kernel(&fake, &job, do_odd_atomic, 1, &odds[i], sizeof(odds[i]));
		assert_int_equal(fake_run(queue, &job), -EINVAL);
		assert_int_equal(job.job.fault_addr, fake_addr(0));
		assert_int_equal(job.job.fault_access, USVM_ACCESS_ATOMIC);
		assert_int_equal(*(uint64_t *)(void *)bytes_of(0), 0);
		gpu_queue_destroy(queue); /* the error banned it */
		queue = fake_queue(&fake);
	}
	finish();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_grid_runs_each_group_once_x_fastest),
		cmocka_unit_test(accesses_read_what_was_written),
		cmocka_unit_test(copies_of_far_memory_are_whole),
		cmocka_unit_test(far_copies_end_at_what_is_forbidden),
		cmocka_unit_test(floats_keep_their_bits),
		cmocka_unit_test(each_atomic_does_what_its_name_says),
		cmocka_unit_test(atomics_of_all_engines_add_up),
		cmocka_unit_test(rights_are_checked_on_memory_of_each_kind),
		cmocka_unit_test(an_unaligned_atomic_is_an_error_of_the_kernel),
		cmocka_unit_test(an_atomic_that_does_not_exist_is_an_error_of_the_kernel),
		cmocka_unit_test(without_system_atomics_they_fault),
		cmocka_unit_test(a_forbidden_page_ends_in_an_error_after_some_faults),
		cmocka_unit_test(an_interrupted_access_is_translated_again),
		cmocka_unit_test(an_answer_that_did_not_help_is_asked_again),
	};

	seed = seed_from(argc, argv);
	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
