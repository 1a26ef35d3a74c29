/* SPDX-License-Identifier: MIT */
/*
 * DOC: how long does an engine wait for a page that is at home?
 *
 * The floor is a thread that is asked for a page by another and moves it between two
 * regions: two semaphores and one UFFDIO_MOVE. usvm has to find the mapping, make a
 * range, allocate device memory, take the page under the monitor's eyes, write the
 * page table and replay the access besides.
 *
 *     floor:  ask -> worker: MOVE -> answer
 *     usvm:   load -> no entry -> fault -> worker: ... MOVE ... -> replay
 *
 * The time is taken by the kernel itself, around one load. Between rounds the CPU
 * touches every page, which brings it home and takes its entry away. Single pages are
 * mappings of their own, apart from each other: so a range cannot be larger.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

/* Units of @unit bytes, @stride apart. */
struct region {
	unsigned char *at;
	size_t unit;
	size_t stride;
	size_t count;
};

static void region_make(struct region *region, size_t unit, size_t count)
{
	region->unit = unit;
	region->stride = unit == BENCH_HUGE ? unit : 2 * unit;
	region->count = count;
	region->at = bench_map(region->stride * count, unit == BENCH_HUGE);
	for (size_t i = 0; i < count; i++) {
		memset(region->at + i * region->stride, (int)(i % 251) + 1, unit);
		if (unit != region->stride &&
		    mprotect(region->at + i * region->stride + unit, unit, PROT_NONE))
			bench_fail("mprotect: %s", strerror(errno));
	}
}

static void region_free(const struct region *region)
{
	munmap(region->at, region->stride * region->count);
}

static void region_expect(const struct region *region, const struct bench_device *device,
			  enum usvm_page_state state)
{
	for (size_t i = 0; i < region->count; i++)
		bench_expect(device, region->at + i * region->stride, region->unit,
			     state);
}

/* The CPU looks at all of it. */
static void region_check(const struct region *region)
{
	for (size_t i = 0; i < region->count; i++) {
		const unsigned char *at = region->at + i * region->stride;

		for (size_t j = 0; j < region->unit; j++) {
			if (at[j] != i % 251 + 1)
				bench_fail("wrong data in unit %zu", i);
		}
	}
}

/* --- the bare side ------------------------------------------------------------------ */

struct floor {
	int uffd;
	struct region home;
	struct region away; /* as large, empty */
	unsigned int core;
	pthread_t thread;
	sem_t asked, answered;
	size_t wanted; /* a unit; SIZE_MAX: end */
};

static void sem_wait_always(sem_t *sem)
{
	while (sem_wait(sem))
		;
}

static int floor_move(struct floor *floor, size_t i, bool to_device)
{
	const unsigned char *home = floor->home.at + i * floor->home.stride;
	const unsigned char *away = floor->away.at + i * floor->away.stride;

	return bench_uffd_move(floor->uffd, to_device ? away : home,
			       to_device ? home : away, floor->home.unit);
}

static void *floor_answer(void *arg)
{
	struct floor *floor = arg;

	bench_pin(0, floor->core);
	for (sem_wait_always(&floor->asked); floor->wanted != SIZE_MAX;
	     sem_wait_always(&floor->asked)) {
		bench_must(floor_move(floor, floor->wanted, true), "UFFDIO_MOVE");
		sem_post(&floor->answered);
	}
	return NULL;
}

static void floor_ask(struct floor *floor, size_t wanted)
{
	floor->wanted = wanted;
	sem_post(&floor->asked);
}

static void floor_start(struct floor *floor, size_t unit, size_t count, unsigned int core)
{
	floor->uffd = bench_uffd_open();
	floor->core = core;
	region_make(&floor->home, unit, count);
	floor->away = (struct region){
		.at = bench_map(unit * count, unit == BENCH_HUGE),
		.unit = unit,
		.stride = unit,
		.count = count,
	};
	for (size_t i = 0; i < count; i++)
		bench_uffd_register(floor->uffd, floor->home.at + i * floor->home.stride,
				    unit);
	bench_uffd_register(floor->uffd, floor->away.at, unit * count);
	sem_init(&floor->asked, 0, 0);
	sem_init(&floor->answered, 0, 0);
	if (pthread_create(&floor->thread, NULL, floor_answer, floor))
		bench_fail("no thread");
}

static void floor_round(struct floor *floor, struct bench_samples *samples)
{
	size_t bytes = floor->away.unit * floor->away.count;

	for (size_t i = 0; i < floor->home.count; i++) {
		uint64_t start = bench_now_ns();

		floor_ask(floor, i);
		sem_wait_always(&floor->answered);
		bench_sample(samples, bench_now_ns() - start);
	}
	if (bench_present(floor->away.at, bytes, NULL) * BENCH_PAGE != bytes)
		bench_fail("pages were not moved");
	for (size_t i = 0; i < floor->home.count; i++)
		bench_must(floor_move(floor, i, false), "UFFDIO_MOVE");
}

static void floor_stop(struct floor *floor)
{
	floor_ask(floor, SIZE_MAX);
	pthread_join(floor->thread, NULL);
	region_free(&floor->home);
	region_free(&floor->away);
	close(floor->uffd);
}

/* --- usvm's side -------------------------------------------------------------------- */

struct touch_args {
	uint64_t at;
	uint64_t stride;
	uint64_t count;
	uint64_t times; /* uint64_t of each load; on the device before the first */
	uint64_t sums;  /* uint8_t that was read */
};

static void touch_each(struct usvm_lane *lane, const void *args)
{
	const struct touch_args *a = args;

	for (uint64_t i = 0; i < a->count; i++) {
		usvm_store64(lane, a->times + 8 * i, 0);
		usvm_store8(lane, a->sums + i, 0);
	}
	for (uint64_t i = 0; i < a->count; i++) {
		uint64_t start = bench_now_ns();
		uint8_t byte = usvm_load8(lane, a->at + i * a->stride);

		usvm_store64(lane, a->times + 8 * i, bench_now_ns() - start);
		usvm_store8(lane, a->sums + i, byte);
	}
}

static void usvm_round(const struct bench_device *device, const struct region *region,
		       unsigned char *results, struct bench_samples *samples)
{
	struct touch_args args = {
		.at = (uintptr_t)region->at,
		.stride = region->stride,
		.count = region->count,
		.times = (uintptr_t)results,
		.sums = (uintptr_t)results + 8 * region->count,
	};
	struct usvm_kernel kernel = {
		.function = touch_each,
		.args = &args,
		.args_bytes = sizeof(args),
	};

	region_check(region);
	region_expect(region, device, USVM_PAGE_HOME);
	bench_must(usvm_run_kernel(device->queue, &kernel), "kernel");
	region_expect(region, device, USVM_PAGE_DEVICE);
	for (size_t i = 0; i < region->count; i++) {
		uint64_t ns;

		memcpy(&ns, results + 8 * i, sizeof(ns));
		bench_sample(samples, ns);
		if (results[8 * region->count + i] != i % 251 + 1)
			bench_fail("the GPU read wrong data in unit %zu", i);
	}
}

static void measure(struct bench *bench, const char *question, size_t unit, size_t count,
		    enum bench_place place)
{
	struct bench_row *row =
		bench_row_add(bench, question, place, count * bench->rounds);
	unsigned int core = place == BENCH_OTHER_CORE;
	unsigned char *results = bench_map(BENCH_HUGE, false);
	struct bench_device device;
	struct region region;
	struct floor floor;

	bench_pin(0, 0);
	region_make(&region, unit, count);
	floor_start(&floor, unit, count, core);
	bench_device_open(&device, "model:vram=256M,engines=1");
	bench_device_pin(0, core);
	for (unsigned int i = 0; i < bench->rounds; i++) {
		floor_round(&floor, &row->floor);
		usvm_round(&device, &region, results, &row->usvm);
	}
	region_check(&region);
	region_check(&floor.home);
	bench_device_close(&device);
	floor_stop(&floor);
	region_free(&region);
	munmap(results, BENCH_HUGE);
}

int main(int argc, char **argv)
{
	struct bench bench;

	bench_init(&bench, "gpu_fault",
		   "How long does an engine wait for a page that is at home?", argc,
		   argv);
	for (unsigned int place = 0; place < bench_core_count(); place++) {
		measure(&bench, "GPU fault, 4 KiB page", BENCH_PAGE,
			bench.smoke ? 64 : 512, (enum bench_place)place);
		measure(&bench, "GPU fault, 2 MiB huge page", BENCH_HUGE,
			bench.smoke ? 4 : 32, (enum bench_place)place);
	}
	return bench_report(&bench);
}
