/* SPDX-License-Identifier: MIT */
/*
 * DOC: what does a first pass over much memory cost, on the GPU and back on the CPU?
 *
 * y = a * x + y over 256 MiB of huge pages: by a kernel that reads and writes 4 KiB at a
 * time, with all memory at home at first, so that every 2 MiB fault; then by the CPU, which
 * brings them all back; and once more by the CPU, where they are: that is the rival.
 */
#include <sys/mman.h>

#include "bench.h"

struct saxpy_args {
	uint64_t x;
	uint64_t y;
	float a;
};

#define PART (BENCH_PAGE / sizeof(float))

static void saxpy_part(float *y, const float *x, float a)
{
	for (size_t i = 0; i < PART; i++)
		y[i] += a * x[i];
}

static void saxpy_kernel(struct usvm_lane *lane, const void *args)
{
	const struct saxpy_args *s = args;
	uint64_t offset = usvm_group_id(lane, 0) * BENCH_PAGE;
	float x[PART], y[PART];

	usvm_read(lane, x, s->x + offset, sizeof(x));
	usvm_read(lane, y, s->y + offset, sizeof(y));
	saxpy_part(y, x, s->a);
	usvm_write(lane, s->y + offset, y, sizeof(y));
}

static double cpu_pass_us(float *y, const float *x, size_t bytes)
{
	uint64_t start = bench_now_ns();

	for (size_t i = 0; i < bytes / sizeof(float); i += PART)
		saxpy_part(y + i, x + i, 1);
	return bench_us_since(start);
}

static void check(const float *y, size_t bytes, float want)
{
	for (size_t i = 0; i < bytes / sizeof(float); i++) {
		if (y[i] < want || y[i] > want)
			bench_fail("y[%zu] is %f, not %f", i, (double)y[i], (double)want);
	}
}

static void measure(struct bench *bench, size_t bytes, enum bench_place place)
{
	struct bench_row *gpu = bench_row(bench, place, "us", "saxpy, %zu MiB: first pass, GPU",
					  2 * bytes >> 20);
	struct bench_row *cpu = bench_row(bench, place, "us",
					  "saxpy, %zu MiB: the CPU's pass after it",
					  2 * bytes >> 20);
	struct bench_side *first = bench_side(gpu, "usvm", bench->rounds);
	struct bench_side *plain = bench_side(gpu, "plain pass of the CPU", bench->rounds);
	struct bench_side *after = bench_side(cpu, "usvm", bench->rounds);
	struct bench_side *plain2 = bench_side(cpu, "plain pass of the CPU", bench->rounds);
	float *x = (void *)bench_map(bytes, true), *y = (void *)bench_map(bytes, true);
	struct saxpy_args args = { (uintptr_t)x, (uintptr_t)y, 1 };
	struct bench_device device;

	bench_want(gpu, BENCH_RATIO, BENCH_MEDIAN, 1, 1.5);
	bench_want(cpu, BENCH_RATIO, BENCH_MEDIAN, 1, 1.5);
	for (size_t i = 0; i < bytes / sizeof(float); i++) {
		x[i] = 1;
		y[i] = 0;
	}
	bench_pin(0, 0);
	bench_device_open(&device, "model:vram=512M");
	bench_device_place(place);
	for (unsigned int i = 0; i < bench->rounds; i++) {
		uint64_t start;
		double us;

		bench_expect(&device, x, bytes, USVM_PAGE_HOME);
		bench_expect(&device, y, bytes, USVM_PAGE_HOME);
		bench_expect_huge(y, bytes, true);
		start = bench_now_ns();
		bench_run(&device, saxpy_kernel, (uint32_t)(bytes / BENCH_PAGE), &args,
			  sizeof(args));
		bench_sample(first, bench_us_since(start));
		bench_expect(&device, x, bytes, USVM_PAGE_DEVICE);
		bench_expect(&device, y, bytes, USVM_PAGE_DEVICE);
		bench_sample(after, cpu_pass_us(y, x, bytes));
		us = cpu_pass_us(y, x, bytes);
		bench_sample(plain, us);
		bench_sample(plain2, us);
	}
	check(y, bytes, (float)(3 * bench->rounds));
	bench_device_close(&device);
	munmap(x, bytes);
	munmap(y, bytes);
}

int main(int argc, char **argv)
{
	struct bench bench;

	bench_init(&bench, "saxpy",
		   "What does a first pass over much memory cost, on the GPU and back?", argc,
		   argv);
	for (unsigned int place = 0; place < bench_places(&bench); place++)
		measure(&bench, (bench.smoke ? (size_t)8 : (size_t)128) << 20,
			(enum bench_place)place);
	return bench_report(&bench);
}
