/* SPDX-License-Identifier: MIT */
/*
 * DOC: how long does the CPU wait for a page that is on the device?
 *
 * The floor is a thread that reads a userfaultfd and answers each fault with one
 * UFFDIO_MOVE, which also wakes: no table, no lock, no event. usvm has to stop the
 * engines, look the page up, revoke page-table entries and keep its books besides.
 *
 *     floor:  touch -> fault -> read() -> MOVE -> woken
 *     usvm:   touch -> fault -> read() -> revoke, MOVE, account -> woken
 *
 * Before each round all pages are put on the device (or into the floor's other region),
 * and it is checked that they are there. Sampled is the time of one load.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

/* The bare side. */
struct floor {
	int uffd;
	unsigned char *home;
	unsigned char *away;
	unsigned char *stop; /* a page of its own: touched to end the thread */
	size_t unit;
	size_t bytes;
	unsigned int core;
	pthread_t thread;
};

static void *floor_answer(void *arg)
{
	struct floor *floor = arg;
	uint64_t addr;
	size_t offset;

	bench_pin(0, floor->core);
	for (;;) {
		addr = bench_uffd_read_fault(floor->uffd);
		if (addr / BENCH_PAGE == (uintptr_t)floor->stop / BENCH_PAGE)
			break;
		offset = (addr - (uintptr_t)floor->home) / floor->unit * floor->unit;
		bench_must(bench_uffd_move(floor->uffd, floor->home + offset,
					   floor->away + offset, floor->unit),
			   "UFFDIO_MOVE");
	}
	bench_uffd_zero(floor->uffd, addr);
	return NULL;
}

static void fill(unsigned char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += BENCH_PAGE)
		memset(at + i, (int)(i / BENCH_PAGE % 251) + 1, BENCH_PAGE);
}

static void floor_start(struct floor *floor, size_t unit, size_t bytes, unsigned int core)
{
	bool huge = unit == BENCH_HUGE;

	floor->uffd = bench_uffd_open();
	floor->home = bench_map(bytes, huge);
	floor->away = bench_map(bytes, huge);
	floor->stop = bench_map(BENCH_HUGE, false);
	floor->unit = unit;
	floor->bytes = bytes;
	floor->core = core;
	fill(floor->home, bytes);
	bench_uffd_register(floor->uffd, floor->home, bytes);
	bench_uffd_register(floor->uffd, floor->away, bytes);
	bench_uffd_register(floor->uffd, floor->stop, BENCH_PAGE);
	if (pthread_create(&floor->thread, NULL, floor_answer, floor))
		bench_fail("no thread");
}

static void floor_stop(struct floor *floor)
{
	*(volatile unsigned char *)floor->stop;
	pthread_join(floor->thread, NULL);
	munmap(floor->home, floor->bytes);
	munmap(floor->away, floor->bytes);
	munmap(floor->stop, BENCH_HUGE);
	close(floor->uffd);
}

/* One load at the start of each unit. */
static void touch_each(const unsigned char *at, size_t unit, size_t bytes,
		       struct bench_samples *samples)
{
	for (size_t i = 0; i < bytes; i += unit) {
		uint64_t start = bench_now_ns();
		unsigned char byte = *(const volatile unsigned char *)(at + i);

		bench_sample(samples, bench_now_ns() - start);
		if (byte != i / BENCH_PAGE % 251 + 1)
			bench_fail("wrong data at offset %zu", i);
	}
}

static void check_all(const unsigned char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (at[i] != i / BENCH_PAGE % 251 + 1)
			bench_fail("wrong data at offset %zu", i);
	}
}

static void expect_huge(const unsigned char *at, size_t unit, size_t bytes)
{
	size_t huge;

	bench_present(at, bytes, &huge);
	if (huge * BENCH_PAGE != (unit == BENCH_HUGE ? bytes : 0))
		bench_fail("%zu of %zu pages are in huge pages", huge,
			   bytes / BENCH_PAGE);
}

static void floor_round(struct floor *floor, struct bench_samples *samples)
{
	for (size_t i = 0; i < floor->bytes; i += floor->unit)
		bench_must(bench_uffd_move(floor->uffd, floor->away + i, floor->home + i,
					   floor->unit),
			   "UFFDIO_MOVE");
	if (bench_present(floor->home, floor->bytes, NULL))
		bench_fail("pages stayed at home");
	expect_huge(floor->away, floor->unit, floor->bytes);
	touch_each(floor->home, floor->unit, floor->bytes, samples);
}

static void usvm_round(const struct bench_device *device, const unsigned char *at,
		       size_t unit, size_t bytes, struct bench_samples *samples)
{
	expect_huge(at, unit, bytes);
	bench_must(usvm_prefetch(device->vm, at, bytes, USVM_PLACE_DEVICE), "prefetch");
	bench_expect(device, at, bytes, USVM_PAGE_DEVICE);
	touch_each(at, unit, bytes, samples);
	bench_expect(device, at, bytes, USVM_PAGE_HOME);
}

static void measure(struct bench *bench, const char *question, size_t unit, size_t units,
		    enum bench_place place)
{
	struct bench_row *row =
		bench_row_add(bench, question, place, units * bench->rounds);
	unsigned int core = place == BENCH_OTHER_CORE;
	size_t bytes = unit * units;
	struct bench_device device;
	struct floor floor;
	unsigned char *memory = bench_map(bytes, unit == BENCH_HUGE);

	bench_pin(0, 0);
	fill(memory, bytes);
	floor_start(&floor, unit, bytes, core);
	bench_device_open(&device, unit == BENCH_HUGE ? "model:vram=256M,home=2M" :
							"model:vram=256M,home=4K");
	bench_device_pin(core, core);
	for (unsigned int i = 0; i < bench->rounds; i++) {
		floor_round(&floor, &row->floor);
		usvm_round(&device, memory, unit, bytes, &row->usvm);
	}
	check_all(memory, bytes);
	check_all(floor.home, bytes);
	bench_device_close(&device);
	floor_stop(&floor);
	munmap(memory, bytes);
}

int main(int argc, char **argv)
{
	struct bench bench;

	bench_init(&bench, "cpu_fault",
		   "How long does the CPU wait for a page that is on the device?", argc,
		   argv);
	for (unsigned int place = 0; place < bench_core_count(); place++) {
		measure(&bench, "CPU fault, 4 KiB page", BENCH_PAGE,
			bench.smoke ? 64 : 512, (enum bench_place)place);
		measure(&bench, "CPU fault, 2 MiB huge page", BENCH_HUGE,
			bench.smoke ? 4 : 32, (enum bench_place)place);
	}
	return bench_report(&bench);
}
