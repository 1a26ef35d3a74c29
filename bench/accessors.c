/* SPDX-License-Identifier: MIT */
/*
 * DOC: what does an access cost a kernel, of memory that is on its device?
 *
 * The same loop with the accessors of usvm/kernel.h, and with plain pointers over memory
 * that is at home, by the program's thread on the same processor. The set has 256 KiB: its
 * pages fit the TLB of the engine. A sample is the time of one access, out of a loop of
 * many; bulk accesses are of 4 KiB, from and to a buffer on the stack that begins with a
 * line of the cache: else where the two stacks happen to be makes a tenth.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define SET_BYTES ((size_t)256 << 10)
#define WORDS (SET_BYTES / 8)

enum kind { RANDOM, SEQUENTIAL, ATOMICS, BULK_READ, BULK_WRITE, KIND_COUNT };

static const char *const names[KIND_COUNT] = {
	[RANDOM] = "random loads of 8 bytes",
	[SEQUENTIAL] = "sequential loads of 8 bytes",
	[ATOMICS] = "random atomic additions",
	[BULK_READ] = "bulk reads of 4 KiB",
	[BULK_WRITE] = "bulk writes of 4 KiB",
};

struct loop_args {
	uint64_t at;
	uint64_t count; /* of accesses */
	uint64_t results; /* uint64_t: ns, and a sum */
	enum kind kind;
};

static inline uint64_t next(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (*state >> 33) % WORDS;
}

static inline uint64_t word_address(uint64_t at, uint64_t i)
{
	return at + i % WORDS * 8;
}

static inline uint64_t page_address(uint64_t at, uint64_t i)
{
	return at + i % (SET_BYTES / BENCH_PAGE) * BENCH_PAGE;
}

static uint64_t engine_loop(struct usvm_lane *lane, const struct loop_args *a)
{
	_Alignas(64) unsigned char buffer[BENCH_PAGE] = { 0 };
	uint64_t state = 1, sum = 0;

	switch (a->kind) {
	case RANDOM:
		for (uint64_t i = 0; i < a->count; i++)
			sum += usvm_load64(lane, word_address(a->at, next(&state)));
		break;
	case SEQUENTIAL:
		for (uint64_t i = 0; i < a->count; i++)
			sum += usvm_load64(lane, word_address(a->at, i));
		break;
	case ATOMICS:
		for (uint64_t i = 0; i < a->count; i++)
			usvm_atomic_add64(lane, word_address(a->at, next(&state)), 1);
		break;
	case BULK_READ:
		for (uint64_t i = 0; i < a->count; i++) {
			usvm_read(lane, buffer, page_address(a->at, i), sizeof(buffer));
			sum += buffer[i % sizeof(buffer)];
		}
		break;
	default:
		for (uint64_t i = 0; i < a->count; i++) {
			buffer[0] = (unsigned char)i;
			usvm_write(lane, page_address(a->at, i), buffer, sizeof(buffer));
		}
		break;
	}
	return sum;
}

static void engine_kernel(struct usvm_lane *lane, const void *args)
{
	const struct loop_args *a = args;
	uint64_t start = bench_now_ns();
	uint64_t sum = engine_loop(lane, a);

	usvm_store64(lane, a->results, bench_now_ns() - start);
	usvm_store64(lane, a->results + 8, sum);
}

static uint64_t plain_loop(const struct loop_args *a)
{
	_Alignas(64) unsigned char buffer[BENCH_PAGE] = { 0 };
	uint64_t state = 1, sum = 0;

	switch (a->kind) {
	case RANDOM:
		for (uint64_t i = 0; i < a->count; i++)
			sum += *(volatile uint64_t *)word_address(a->at, next(&state));
		break;
	case SEQUENTIAL:
		for (uint64_t i = 0; i < a->count; i++)
			sum += *(volatile uint64_t *)word_address(a->at, i);
		break;
	case ATOMICS:
		for (uint64_t i = 0; i < a->count; i++)
			__atomic_fetch_add((uint64_t *)word_address(a->at, next(&state)), 1,
					   __ATOMIC_SEQ_CST);
		break;
	case BULK_READ:
		for (uint64_t i = 0; i < a->count; i++) {
			memcpy(buffer, (void *)page_address(a->at, i), sizeof(buffer));
			sum += buffer[i % sizeof(buffer)];
		}
		break;
	default:
		for (uint64_t i = 0; i < a->count; i++) {
			buffer[0] = (unsigned char)i;
			memcpy((void *)page_address(a->at, i), buffer, sizeof(buffer));
		}
		break;
	}
	return sum;
}

static uint64_t plain(const struct loop_args *a, struct bench_side *side)
{
	uint64_t start = bench_now_ns();
	uint64_t sum = plain_loop(a);

	bench_sample(side, (double)(bench_now_ns() - start) / (double)a->count);
	return sum;
}

/* The same contents in both, for the sums. */
struct sets {
	unsigned char *engine;
	unsigned char *plain;
	uint64_t *results; /* a page */
};

static struct bench_row *add_row(struct bench *bench, enum kind kind, size_t samples)
{
	struct bench_row *row = bench_row(bench, BENCH_SAME_CORE, "ns", "%s", names[kind]);

	bench_side(row, "usvm", samples);
	bench_side(row, "plain pointers", samples);
	if (kind == ATOMICS)
		bench_want(row, BENCH_RATIO, BENCH_MEDIAN, 1, 1.2);
	else if (kind >= BULK_READ)
		bench_want(row, BENCH_RATIO, BENCH_MEDIAN, 1, 1 / 0.9);
	else
		bench_want(row, BENCH_DISTANCE, BENCH_MEDIAN, 1, 3);
	return row;
}

static void measure(const struct bench_device *device, const struct sets *sets,
		    struct loop_args args, struct bench_row *row)
{
	uint64_t ns, sum;

	args.at = (uintptr_t)sets->engine;
	args.results = (uintptr_t)sets->results;
	bench_expect(device, sets->engine, SET_BYTES, USVM_PAGE_DEVICE);
	bench_run(device, engine_kernel, 1, &args, sizeof(args));
	bench_expect(device, sets->engine, SET_BYTES, USVM_PAGE_DEVICE);
	ns = sets->results[0];
	sum = sets->results[1];
	bench_sample(&row->sides[0], (double)ns / (double)args.count);
	args.at = (uintptr_t)sets->plain;
	if (plain(&args, &row->sides[1]) != sum)
		bench_fail("%s: the sums differ", row->question);
}

/* Two queues at the same work, against one alone. */
static void measure_two(struct bench *bench, const struct sets *sets, uint64_t count)
{
	struct bench_row *row = bench_row(bench, BENCH_FREE, "ns", "%s, two engines at once",
					  names[RANDOM]);
	struct bench_side *both = bench_side(row, "usvm, of both", bench->rounds);
	struct bench_side *one = bench_side(row, "usvm, one alone", bench->rounds);
	struct loop_args args = { (uintptr_t)sets->engine, count, (uintptr_t)sets->results,
				  RANDOM };
	struct usvm_kernel kernel = {
		.function = engine_kernel,
		.args = &args,
		.args_bytes = sizeof(args),
	};
	struct usvm_fence *fences[2];
	struct usvm_queue *second;
	struct bench_device device;

	bench_unpin(0);
	bench_device_open(&device, "model:vram=64M,engines=2");
	bench_must(usvm_queue_create(device.vm, NULL, &second), "queue");
	bench_prefetch(&device, sets->engine, SET_BYTES);
	for (unsigned int i = 0; i < bench->rounds; i++) {
		uint64_t start = bench_now_ns();

		bench_run(&device, engine_kernel, 1, &args, sizeof(args));
		bench_sample(one, 1e3 * bench_us_since(start) / (double)count);
		start = bench_now_ns();
		bench_must(usvm_submit_kernel(device.queue, &kernel, &fences[0]), "submit");
		bench_must(usvm_submit_kernel(second, &kernel, &fences[1]), "submit");
		for (int j = 0; j < 2; j++) {
			bench_must(usvm_fence_wait(fences[j], USVM_FOREVER), "fence");
			usvm_fence_put(fences[j]);
		}
		bench_sample(both, 1e3 * bench_us_since(start) / (double)(2 * count));
	}
	bench_expect(&device, sets->engine, SET_BYTES, USVM_PAGE_DEVICE);
	bench_must(usvm_queue_destroy(second), "queue");
	bench_device_close(&device);
}

int main(int argc, char **argv)
{
	struct bench bench;
	struct bench_device device;
	struct sets sets;

	bench_init(&bench, "accessors",
		   "What does an access cost a kernel, of memory on its device?", argc, argv);
	bench_pin(0, 0);
	sets.engine = bench_map(SET_BYTES, false);
	sets.plain = bench_map(SET_BYTES, false);
	sets.results = (void *)bench_map(BENCH_HUGE, false);
	bench_fill(sets.engine, SET_BYTES);
	bench_fill(sets.plain, SET_BYTES);
	sets.results[0] = 0;
	bench_device_open(&device, "model:vram=64M,engines=1");
	bench_device_place(BENCH_SAME_CORE);
	bench_prefetch(&device, sets.engine, SET_BYTES);
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		bool bulk = kind >= BULK_READ;
		struct loop_args args = {
			.count = (bench.smoke ? 1u << 14 : 1u << 20) / (bulk ? 64 : 1),
			.kind = (enum kind)kind,
		};
		struct bench_row *row = add_row(&bench, args.kind, 5 * bench.rounds);

		for (unsigned int i = 0; i < 5 * bench.rounds; i++)
			measure(&device, &sets, args, row);
	}
	if (memcmp(sets.engine, sets.plain, SET_BYTES) != 0)
		bench_fail("what was written differs");
	bench_device_close(&device);
	if (bench_core_count() > 1 && !bench.one_core)
		measure_two(&bench, &sets, bench.smoke ? 1 << 14 : 1 << 22);
	munmap(sets.engine, SET_BYTES);
	munmap(sets.plain, SET_BYTES);
	munmap(sets.results, BENCH_HUGE);
	return bench_report(&bench);
}
