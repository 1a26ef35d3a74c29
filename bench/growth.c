/* SPDX-License-Identifier: MIT */
/*
 * DOC: does it take longer when there is much?
 *
 * A fault of the GPU that migrates, an invalidation (MADV_DONTNEED of a page that the GPU
 * has mapped) and a munmap() of 2 MiB, with ever more ranges in one mapping, and with 5,000
 * mappings. The many are used in place (usvm_advise()) and are one 2 MiB range each, so
 * that a million fits into memory; those that are measured migrate.
 *
 *     [ the many ................................ ][ measured ]...[ measured ]
 *       at home, one page read in each 2 MiB         faulted, then unmapped from the end
 *
 * The rows compare the largest number with the smallest. Everything is on one processor.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "bench.h"

#define MEASURED 32 /* blocks of each number */
#define NUMBERS_MAX 5
#define BYTES_FOR_MILLION ((uint64_t)12 << 30)

struct walk_args {
	uint64_t at;
	uint64_t stride;
	uint64_t count;
	uint64_t times; /* 0, or uint64_t each */
};

static void walk_kernel(struct usvm_lane *lane, const void *args)
{
	const struct walk_args *a = args;

	for (uint64_t i = 0; i < a->count; i++) {
		uint64_t start = bench_now_ns();

		usvm_load8(lane, a->at + i * a->stride);
		if (a->times)
			usvm_store64(lane, a->times + 8 * i, bench_now_ns() - start);
	}
}

enum subject { FAULT, INVALIDATION, UNMAP, SUBJECTS };

static const char *const subject_names[SUBJECTS] = {
	[FAULT] = "a fault of the GPU",
	[INVALIDATION] = "an invalidation",
	[UNMAP] = "a munmap()",
};

struct growth {
	struct bench_device device;
	struct bench_row *rows[SUBJECTS];
	uint64_t *times; /* on the device while a kernel writes them */
	uint64_t numbers[NUMBERS_MAX];
	size_t number_count;
	const char *names[NUMBERS_MAX];
};

/* Fault the blocks in, discard a page in each, and unmap them from the end. */
static void measure_blocks(struct growth *growth, unsigned char *at, size_t stride, size_t side)
{
	struct walk_args args = { (uintptr_t)at, stride, MEASURED,
				  (uintptr_t)growth->times };

	for (size_t i = 0; i < MEASURED; i++)
		at[i * stride] = 1;
	/* The GPU has it, so that the first time does not have that fault as well. */
	bench_prefetch(&growth->device, growth->times, BENCH_PAGE);
	bench_run(&growth->device, walk_kernel, 1, &args, sizeof(args));
	for (size_t i = 0; i < MEASURED; i++) {
		uint64_t start;

		bench_expect(&growth->device, at + i * stride, BENCH_PAGE, USVM_PAGE_DEVICE);
		bench_sample(&growth->rows[FAULT]->sides[side],
			     (double)growth->times[i] / 1e3);
		start = bench_now_ns();
		if (madvise(at + i * stride, BENCH_PAGE, MADV_DONTNEED))
			bench_fail("madvise: %s", strerror(errno));
		bench_sample(&growth->rows[INVALIDATION]->sides[side], bench_us_since(start));
	}
	for (size_t i = MEASURED; i-- > 0;) {
		uint64_t start = bench_now_ns();

		if (munmap(at + i * stride, BENCH_HUGE))
			bench_fail("munmap: %s", strerror(errno));
		bench_sample(&growth->rows[UNMAP]->sides[side], bench_us_since(start));
	}
}

static void advise_in_place(const struct growth *growth, const void *at, size_t bytes)
{
	const struct usvm_attributes attributes = { .location = USVM_LOCATION_SYSTEM };

	bench_must(usvm_advise(growth->device.vm, at, bytes, USVM_ATTRIBUTE_LOCATION,
			       &attributes),
		   "advise");
}

/* One mapping, and the numbers in turn. Side i is the i-th largest; the last is measured
 * so many @times. */
static void one_mapping(struct growth *growth, size_t number_count, unsigned int times)
{
	size_t most = growth->numbers[number_count - 1];
	size_t blocks = most + (number_count - 1 + times) * MEASURED;
	size_t bytes = blocks * BENCH_HUGE, done = 0;
	unsigned char *at = bench_map(bytes, false);

	advise_in_place(growth, at, most * BENCH_HUGE);
	for (size_t i = 0; i < number_count; i++) {
		struct walk_args args = { (uintptr_t)at + done * BENCH_HUGE, BENCH_HUGE,
					  growth->numbers[i] - done, 0 };

		bench_run(&growth->device, walk_kernel, 1, &args, sizeof(args));
		done = growth->numbers[i];
		for (unsigned int j = 0; j < (i + 1 < number_count ? 1 : times); j++) {
			blocks -= MEASURED;
			measure_blocks(growth, at + blocks * BENCH_HUGE, BENCH_HUGE,
				       growth->number_count - 1 - i);
		}
	}
	munmap(at, bytes);
}

/* Mappings of 2 MiB, apart from each other, with one range each. */
static void many_mappings(struct growth *growth)
{
	size_t most = growth->numbers[growth->number_count - 1];
	size_t blocks = most + growth->number_count * MEASURED;
	size_t stride = 2 * BENCH_HUGE, done = 0;
	unsigned char *at = bench_map(blocks * stride, false);

	for (size_t i = 0; i < blocks; i++)
		if (mprotect(at + i * stride + BENCH_HUGE, BENCH_HUGE, PROT_NONE))
			bench_fail("mprotect: %s", strerror(errno));
	advise_in_place(growth, at, most * stride);
	for (size_t i = 0; i < growth->number_count; i++) {
		struct walk_args args = { (uintptr_t)at + done * stride, stride,
					  growth->numbers[i] - done, 0 };

		bench_run(&growth->device, walk_kernel, 1, &args, sizeof(args));
		done = growth->numbers[i];
		blocks -= MEASURED;
		measure_blocks(growth, at + blocks * stride, stride,
			       growth->number_count - 1 - i);
	}
	munmap(at, (most + growth->number_count * MEASURED) * stride);
}

static void add_rows(struct bench *bench, struct growth *growth, const char *what)
{
	for (int subject = 0; subject < SUBJECTS; subject++) {
		struct bench_row *row = bench_row(bench, BENCH_SAME_CORE, "us", "%s, with %s",
						  subject_names[subject], what);

		for (size_t i = growth->number_count; i-- > 0;)
			bench_side(row, growth->names[i], MEASURED * bench->rounds);
		bench_want(row, BENCH_RATIO, BENCH_MEDIAN,
			   (unsigned int)growth->number_count - 1, 1.5);
		growth->rows[subject] = row;
	}
}

static void growth_open(struct growth *growth)
{
	bench_device_open(&growth->device, "model:vram=256M,engines=1");
	bench_device_place(BENCH_SAME_CORE);
}

static void grow_in_one(struct bench *bench, struct growth *growth)
{
	struct sysinfo info;
	bool million = !bench->smoke && !sysinfo(&info) &&
		       (uint64_t)info.freeram * info.mem_unit > BYTES_FOR_MILLION;

	*growth = (struct growth){
		.times = growth->times,
		.numbers = { 100, 1000, 10000, 100000, 1000000 },
		.number_count = bench->smoke ? 2 : million ? 5 : 4,
		.names = { "100", "1,000", "10,000", "100,000", "1,000,000" },
	};
	add_rows(bench, growth, "ranges");
	for (unsigned int i = 0; i < bench->rounds; i++) {
		/* The largest number takes a minute: once, at the end, with as many samples. */
		bool last = i + 1 == bench->rounds;

		growth_open(growth);
		one_mapping(growth, growth->number_count - (million && !last),
			    million && last ? bench->rounds : 1);
		bench_device_close(&growth->device);
	}
}

static void grow_in_many(struct bench *bench, struct growth *growth)
{
	*growth = (struct growth){
		.times = growth->times,
		.numbers = { 50, bench->smoke ? 200 : 5000 },
		.number_count = 2,
		.names = { "50", bench->smoke ? "200" : "5,000" },
	};
	add_rows(bench, growth, "mappings");
	for (unsigned int i = 0; i < bench->rounds; i++) {
		growth_open(growth);
		many_mappings(growth);
		bench_device_close(&growth->device);
	}
}

int main(int argc, char **argv)
{
	struct bench bench;
	struct growth growth;

	bench_init(&bench, "growth", "Does it take longer when there is much?", argc, argv);
	bench_pin(0, 0);
	growth.times = (void *)bench_map(BENCH_HUGE, false);
	growth.times[0] = 0;
	grow_in_one(&bench, &growth);
	grow_in_many(&bench, &growth);
	munmap(growth.times, BENCH_HUGE);
	return bench_report(&bench);
}
