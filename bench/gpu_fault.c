/* SPDX-License-Identifier: MIT */
/*
 * DOC: how long does an engine wait for a page that is at home?
 *
 * Two times are told. "Served" is what a worker does, from taking the fault off its queue
 * to the written page-table entry; the trace tells it (usvm_trace_read()). "Until the
 * engine has it" is taken by the kernel itself, around one load, and has two changes of
 * threads besides; its floor is a thread that is asked for a page by another and moves it
 * between two regions: two semaphores and one UFFDIO_MOVE.
 *
 *     floor:  ask -> worker: MOVE -> answer
 *     usvm:   load -> no entry -> fault -> worker: [ ... MOVE ... ] -> replay
 *                                                      served
 *
 * Where pages are copied instead of moved (vram=copy) the rival is memcpy().
 *
 * Between rounds the CPU touches every page, which brings it home and takes its entry
 * away. Single pages are mappings of their own, apart from each other: so a range cannot
 * be larger.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "rivals.h"

/* What is measured: units of so many bytes. */
struct kind {
	const char *name;
	size_t unit;
	bool huge;
	bool copies;     /* mode=copy */
	double value_us; /* targets of what is served, or 0 */
	double ratio;    /* to memcpy() */
};

static const struct kind kinds[] = {
	{ "2 MiB, move of a huge page", BENCH_HUGE, true, false, 12, 0.15 },
	{ "2 MiB, move of 4 KiB pages", BENCH_HUGE, false, false, 0, 0.5 },
	{ "2 MiB, copy of a huge page", BENCH_HUGE, true, true, 0, 1.25 },
	{ "2 MiB, copy of 4 KiB pages", BENCH_HUGE, false, true, 0, 1.6 },
	{ "one page of 4 KiB, move", BENCH_PAGE, false, false, 0, 0 },
};

/* Units, @stride apart. */
struct region {
	const struct kind *kind;
	unsigned char *at;
	size_t stride;
	size_t count;
};

static void region_make(struct region *region, const struct kind *kind, size_t count)
{
	region->kind = kind;
	region->stride = kind->unit == BENCH_HUGE ? kind->unit : 2 * kind->unit;
	region->count = count;
	region->at = bench_map(region->stride * count, kind->huge);
	for (size_t i = 0; i < count; i++) {
		unsigned char *at = region->at + i * region->stride;

		memset(at, (int)(i % 251) + 1, kind->unit);
		if (kind->unit != region->stride &&
		    mprotect(at + kind->unit, kind->unit, PROT_NONE))
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
		bench_expect(device, region->at + i * region->stride, region->kind->unit,
			     state);
}

/* The CPU looks at all of it. */
static void region_check(const struct region *region)
{
	for (size_t i = 0; i < region->count; i++) {
		const unsigned char *at = region->at + i * region->stride;
		unsigned char wrong = 0;

		for (size_t j = 0; j < region->kind->unit; j++)
			wrong |= at[j] ^ (i % 251 + 1);
		if (wrong)
			bench_fail("wrong data in unit %zu", i);
	}
	if (region->kind->unit == BENCH_HUGE)
		bench_expect_huge(region->at, region->stride * region->count,
				  region->kind->huge);
}

/* --- the bare side ------------------------------------------------------------------ */

struct floor {
	struct region home;
	unsigned char *away;
	int uffd;
	struct bench_helper *helper;
	size_t wanted; /* a unit */
};

static int floor_move(const struct floor *floor, size_t i, bool to_device)
{
	const unsigned char *home = floor->home.at + i * floor->home.stride;
	const unsigned char *away = floor->away + i * floor->home.kind->unit;

	return bench_uffd_move(floor->uffd, to_device ? away : home,
			       to_device ? home : away, floor->home.kind->unit);
}

static void floor_answer(void *arg)
{
	const struct floor *floor = arg;

	bench_must(floor_move(floor, floor->wanted, true), "UFFDIO_MOVE");
}

static void floor_start(struct floor *floor, const struct kind *kind, size_t count,
			unsigned int core)
{
	floor->uffd = bench_uffd_open(0);
	region_make(&floor->home, kind, count);
	floor->away = bench_map(kind->unit * count, kind->huge);
	for (size_t i = 0; i < count; i++)
		bench_uffd_register(floor->uffd, floor->home.at + i * floor->home.stride,
				    kind->unit);
	bench_uffd_register(floor->uffd, floor->away, kind->unit * count);
	floor->helper = bench_helper_start(core, floor_answer, floor);
}

static void floor_round(struct floor *floor, struct bench_side *side)
{
	size_t bytes = floor->home.kind->unit * floor->home.count;

	for (floor->wanted = 0; floor->wanted < floor->home.count; floor->wanted++) {
		uint64_t start = bench_now_ns();

		bench_helper_ask(floor->helper);
		bench_sample(side, bench_us_since(start));
	}
	if (bench_present(floor->away, bytes, NULL) * BENCH_PAGE != bytes)
		bench_fail("pages were not moved");
	for (size_t i = 0; i < floor->home.count; i++)
		bench_must(floor_move(floor, i, false), "UFFDIO_MOVE");
}

static void floor_stop(struct floor *floor)
{
	bench_helper_stop(floor->helper);
	region_check(&floor->home);
	region_free(&floor->home);
	munmap(floor->away, floor->home.kind->unit * floor->home.count);
}

/* memcpy() between two regions that are there, by a thread where the workers are. */
struct copies {
	struct region from;
	unsigned char *to;
	struct bench_side *side;
	struct bench_helper *helper;
};

static void copies_round(void *arg)
{
	const struct copies *copies = arg;
	size_t unit = copies->from.kind->unit;

	for (size_t i = 0; i < copies->from.count; i++)
		bench_sample(copies->side,
			     bench_memcpy_us(copies->to + i * unit,
					     copies->from.at + i * copies->from.stride, unit));
}

static void copies_start(struct copies *copies, const struct kind *kind, size_t count,
			 unsigned int core, struct bench_side *side)
{
	region_make(&copies->from, kind, count);
	copies->to = bench_map(kind->unit * count, kind->huge);
	memset(copies->to, 1, kind->unit * count);
	copies->side = side;
	copies->helper = bench_helper_start(core, copies_round, copies);
}

static void copies_stop(struct copies *copies)
{
	bench_helper_stop(copies->helper);
	region_free(&copies->from);
	munmap(copies->to, copies->from.kind->unit * copies->from.count);
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

/* A fault of the region, as the trace tells it. */
struct served {
	const struct region *region;
	struct bench_side *side;
};

static void use_event(const struct usvm_trace_event *event, void *arg)
{
	const struct served *served = arg;
	const struct region *region = served->region;

	if (!strcmp(event->name, "gpu_fault") &&
	    event->addr - (uintptr_t)region->at < region->stride * region->count)
		bench_sample(served->side, (double)event->duration_ns / 1e3);
}

static void usvm_round(const struct bench_device *device, const struct region *region,
		       unsigned char *results, struct bench_side *served,
		       struct bench_side *whole)
{
	struct touch_args args = {
		.at = (uintptr_t)region->at,
		.stride = region->stride,
		.count = region->count,
		.times = (uintptr_t)results,
		.sums = (uintptr_t)results + 8 * region->count,
	};
	size_t before = served->count;

	region_check(region);
	region_expect(region, device, USVM_PAGE_HOME);
	bench_trace_drain(device, NULL, NULL);
	bench_run(device, touch_each, 1, &args, sizeof(args));
	bench_trace_drain(device, use_event,
			  &(struct served){ .region = region, .side = served });
	/* One more where a message came between the answer and the replay. */
	if (served->count - before < region->count)
		bench_fail("%zu faults for %zu units", served->count - before,
			   region->count);
	region_expect(region, device, USVM_PAGE_DEVICE);
	for (size_t i = 0; i < region->count; i++) {
		uint64_t ns;

		memcpy(&ns, results + 8 * i, sizeof(ns));
		bench_sample(whole, (double)ns / 1e3);
		if (results[8 * region->count + i] != i % 251 + 1)
			bench_fail("the GPU read wrong data in unit %zu", i);
	}
}

static void measure(struct bench *bench, const struct kind *kind, size_t count,
		    enum bench_place place)
{
	struct bench_row *row = bench_row(bench, place, "us", "%s: served", kind->name);
	size_t samples = count * bench->rounds;
	struct bench_side *served = bench_side(row, "usvm", 2 * samples);
	struct bench_side *memcpys = bench_side(row, "memcpy", samples);
	struct bench_row *until = bench_row(bench, place, "us", "%s: until the engine has it",
					    kind->name);
	struct bench_side *whole = bench_side(until, "usvm", samples);
	struct bench_side *bare = bench_side(until, "asked thread, bare MOVE", samples);
	unsigned char *results = bench_map(BENCH_HUGE, false);
	unsigned int core = bench_place_core(place);
	struct bench_device device;
	struct region region;
	struct copies copies;
	struct floor floor;

	if (kind->value_us > 0)
		bench_want(row, BENCH_VALUE, BENCH_MEDIAN, 0, kind->value_us);
	if (kind->ratio > 0)
		bench_want(row, BENCH_RATIO, BENCH_MEDIAN, 1, kind->ratio);
	bench_pin(0, 0);
	region_make(&region, kind, count);
	floor_start(&floor, kind, count, core);
	copies_start(&copies, kind, count, core, memcpys);
	bench_device_open(&device, kind->copies ?
					   "model:vram=256M,mode=copy,engines=1,trace=65536" :
					   "model:vram=256M,engines=1,trace=65536");
	bench_device_place(place);
	for (unsigned int i = 0; i < bench->rounds; i++) {
		floor_round(&floor, bare);
		usvm_round(&device, &region, results, served, whole);
		bench_helper_ask(copies.helper);
	}
	region_check(&region);
	bench_device_close(&device);
	copies_stop(&copies);
	floor_stop(&floor);
	region_free(&region);
	munmap(results, BENCH_HUGE);
}

int main(int argc, char **argv)
{
	struct bench bench;

	bench_init(&bench, "gpu_fault",
		   "How long does an engine wait for memory that is at home?", argc, argv);
	for (unsigned int place = 0; place < bench_places(&bench); place++) {
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
			bool small = kinds[i].unit == BENCH_PAGE;

			measure(&bench, &kinds[i],
				bench.smoke ? (small ? 32 : 4) : (small ? 512 : 32),
				(enum bench_place)place);
		}
	}
	return bench_report(&bench);
}
