/* SPDX-License-Identifier: MIT */
/*
 * DOC: memory that is eight times as large as the device's
 *
 * A kernel reads and writes a word of each 2 MiB block of 1 GiB, with 128 MiB of device
 * memory: each fault but the first ones evicts another block. The rival moves or copies the
 * same blocks there and back, and does nothing else.
 *
 *     move   a MOVE there and a MOVE back for each block; 30 us for the fault are added
 *     copy   a memcpy() there and one back; 0.75 of its speed is the target
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "rivals.h"

#define FAULT_US 30

struct pass_args {
	uint64_t at;
	uint64_t count;  /* of blocks; a power of two */
	uint64_t stride; /* odd: 1 is in order */
};

static void pass_kernel(struct usvm_lane *lane, const void *args)
{
	const struct pass_args *a = args;

	for (uint64_t i = 0; i < a->count; i++) {
		uint64_t at = a->at + i * a->stride % a->count * BENCH_HUGE;

		usvm_store64(lane, at, usvm_load64(lane, at) + 1);
	}
}

struct sizes {
	size_t bytes;
	size_t vram;
};

/* How long the rival takes for each block. */
static double copies_us(const unsigned char *home, unsigned char *vram,
			const struct sizes *sizes)
{
	uint64_t start = bench_now_ns();
	size_t blocks = sizes->bytes / BENCH_HUGE;

	for (size_t i = 0; i < sizes->bytes; i += BENCH_HUGE) {
		unsigned char *place = vram + i % sizes->vram;

		bench_memcpy_us(place, home + i, BENCH_HUGE);
		bench_memcpy_us((unsigned char *)(uintptr_t)home + i, place, BENCH_HUGE);
	}
	return bench_us_since(start) / (double)blocks;
}

static double moves_us(const struct bench_handler *handler)
{
	uint64_t start = bench_now_ns();

	for (size_t i = 0; i < handler->bytes; i += BENCH_HUGE)
		bench_handler_take(handler, i);
	for (size_t i = 0; i < handler->bytes; i += BENCH_HUGE)
		bench_handler_return(handler, i);
	return bench_us_since(start) / (double)(handler->bytes / BENCH_HUGE);
}

static double usvm_us(const struct bench_device *device, unsigned char *at,
		      const struct sizes *sizes, uint64_t stride)
{
	struct pass_args args = { (uintptr_t)at, sizes->bytes / BENCH_HUGE, stride };
	uint64_t evictions = usvm_stat(device->gpu, "vram_evictions");
	uint64_t pages[4];
	uint64_t start;
	double us;

	bench_expect(device, at, sizes->bytes, USVM_PAGE_HOME);
	start = bench_now_ns();
	bench_run(device, pass_kernel, 1, &args, sizeof(args));
	us = bench_us_since(start) / (double)args.count;
	/* The device is full, of what came last; all else went through it. */
	bench_must(usvm_query_span(device->vm, at, sizes->bytes, pages), "query");
	evictions = usvm_stat(device->gpu, "vram_evictions") - evictions;
	if (pages[USVM_PAGE_DEVICE] * BENCH_PAGE < sizes->vram / 2 ||
	    evictions < (sizes->bytes - sizes->vram) / BENCH_HUGE)
		bench_fail("%llu pages are on the device, %llu blocks were evicted",
			   (unsigned long long)pages[USVM_PAGE_DEVICE],
			   (unsigned long long)evictions);
	return us;
}

/* Every block has been through @passes kernels; this brings all home. */
static void check(unsigned char *at, const struct sizes *sizes, uint64_t passes)
{
	for (size_t i = 0; i < sizes->bytes; i += BENCH_HUGE) {
		if (*(uint64_t *)(void *)(at + i) != passes)
			bench_fail("block %zu has another number", i / BENCH_HUGE);
		for (size_t j = BENCH_PAGE; j < BENCH_HUGE; j += BENCH_PAGE) {
			if (at[i + j] != bench_pattern(i + j))
				bench_fail("wrong data in block %zu", i / BENCH_HUGE);
		}
	}
}

static void want(struct bench_row *row, bool copies, bool random)
{
	if (!random)
		bench_want(row, BENCH_RATIO, BENCH_MEDIAN, 1, copies ? 1 / 0.75 : 1);
}

static struct bench_row *add_row(struct bench *bench, const struct sizes *sizes, bool copies,
				 bool random)
{
	struct bench_row *row = bench_row(bench, BENCH_SAME_CORE, "us",
					  "%zu MiB through %zu MiB, %s, %s: a block",
					  sizes->bytes >> 20, sizes->vram >> 20,
					  copies ? "copy" : "move",
					  random ? "random" : "in order");

	bench_side(row, "usvm", bench->rounds);
	bench_side(row, copies ? "two copies" : "two moves and 30 us", bench->rounds);
	want(row, copies, random);
	return row;
}

static void fill(unsigned char *at, size_t bytes)
{
	bench_fill(at, bytes);
	for (size_t i = 0; i < bytes; i += BENCH_HUGE)
		*(uint64_t *)(void *)(at + i) = 0;
}

static void measure(struct bench *bench, const struct sizes *sizes, bool copies)
{
	struct bench_row *ordered = add_row(bench, sizes, copies, false);
	struct bench_row *random = add_row(bench, sizes, copies, true);
	unsigned char *at = bench_map(sizes->bytes, true);
	unsigned char *vram = bench_map(sizes->vram, true);
	struct bench_handler handler;
	struct bench_device device;
	char spec[64];

	snprintf(spec, sizeof(spec), "model:vram=%zuM,engines=1,mode=%s", sizes->vram >> 20,
		 copies ? "copy" : "move");
	bench_pin(0, 0);
	fill(at, sizes->bytes);
	memset(vram, 1, sizes->vram);
	bench_handler_start(&handler, BENCH_HUGE, sizes->vram, true, 0);
	bench_device_open(&device, spec);
	bench_device_place(BENCH_SAME_CORE);
	for (unsigned int i = 0; i < bench->rounds; i++) {
		double us = copies ? copies_us(at, vram, sizes) :
				     moves_us(&handler) + FAULT_US;

		bench_sample(&ordered->sides[1], us);
		bench_sample(&random->sides[1], us);
		bench_sample(&ordered->sides[0], usvm_us(&device, at, sizes, 1));
		check(at, sizes, 2 * i + 1);
		bench_sample(&random->sides[0], usvm_us(&device, at, sizes, 0x9e3779b1));
		check(at, sizes, 2 * i + 2);
	}
	bench_device_close(&device);
	bench_handler_stop(&handler);
	munmap(at, sizes->bytes);
	munmap(vram, sizes->vram);
}

int main(int argc, char **argv)
{
	struct bench bench;
	struct sizes sizes;

	bench_init(&bench, "oversubscribe",
		   "What does it cost to use more memory than the device has?", argc, argv);
	sizes.bytes = (size_t)(bench.smoke ? 64 : 1024) << 20;
	sizes.vram = sizes.bytes / 8;
	measure(&bench, &sizes, true);
	measure(&bench, &sizes, false);
	return bench_report(&bench);
}
