/* SPDX-License-Identifier: MIT */
/*
 * DOC: how long does the CPU wait for a page that is on the device?
 *
 * The floor is a thread that reads a userfaultfd and answers each fault with one
 * UFFDIO_MOVE (rivals.h). usvm has to stop the engines, look the page up, revoke
 * page-table entries and keep its books besides.
 *
 *     floor:  touch -> fault -> read() -> MOVE -> woken
 *     usvm:   touch -> fault -> read() -> revoke, MOVE, account -> woken
 *
 * Before each round all pages are put on the device (or where the rival has them), and it
 * is checked that they are there. Sampled is the time of one load. With a running engine
 * the monitor has to wait until it has left its section, each time.
 */
#include <sys/mman.h>

#include "bench.h"
#include "rivals.h"

/* One load at the start of each unit. */
static void touch_each(const unsigned char *at, size_t unit, size_t bytes,
		       struct bench_side *side)
{
	for (size_t i = 0; i < bytes; i += unit) {
		uint64_t start = bench_now_ns();
		unsigned char byte = *(const volatile unsigned char *)(at + i);

		bench_sample(side, bench_us_since(start));
		if (byte != bench_pattern(i))
			bench_fail("wrong data at offset %zu", i);
	}
}

static void handler_round(const struct bench_handler *handler, struct bench_side *side)
{
	bench_handler_take_all(handler);
	bench_expect_huge(handler->away, handler->bytes, handler->unit == BENCH_HUGE);
	touch_each(handler->home, handler->unit, handler->bytes, side);
}

static void pager_round(const struct bench_pager *pager, struct bench_side *side)
{
	bench_pager_take_all(pager);
	touch_each(pager->home, BENCH_PAGE, pager->bytes, side);
}

static void usvm_round(const struct bench_device *device, const unsigned char *at,
		       size_t unit, size_t bytes, struct bench_side *side)
{
	bench_expect_huge(at, bytes, unit == BENCH_HUGE);
	bench_prefetch(device, at, bytes);
	touch_each(at, unit, bytes, side);
	bench_expect(device, at, bytes, USVM_PAGE_HOME);
}

/* --- a running engine -------------------------------------------------------------------- */

struct spin_args {
	uint64_t flag;
};

/* Until the CPU says so. */
static void spin(struct usvm_lane *lane, const void *args)
{
	const struct spin_args *a = args;

	while (!usvm_load64(lane, a->flag))
		;
}

struct runner {
	volatile uint64_t *flag;
	struct usvm_fence *fence;
};

static void runner_start(struct runner *runner, const struct bench_device *device)
{
	struct spin_args args;
	struct usvm_kernel kernel = {
		.function = spin,
		.args = &args,
		.args_bytes = sizeof(args),
	};

	runner->flag = (void *)bench_map(BENCH_HUGE, false);
	args.flag = (uintptr_t)runner->flag;
	*runner->flag = 0;
	bench_must(usvm_submit_kernel(device->queue, &kernel, &runner->fence), "submit");
}

static void runner_stop(struct runner *runner)
{
	*runner->flag = 1;
	bench_must(usvm_fence_wait(runner->fence, USVM_FOREVER), "fence");
	usvm_fence_put(runner->fence);
	munmap((void *)(uintptr_t)runner->flag, BENCH_HUGE);
}

/* --- rows -------------------------------------------------------------------------------- */

static const char *spec_of(size_t unit)
{
	return unit == BENCH_HUGE ? "model:vram=256M,engines=1,home=2M" :
				    "model:vram=256M,engines=1,home=4K";
}

static void measure(struct bench *bench, size_t unit, size_t units, enum bench_place place)
{
	bool huge = unit == BENCH_HUGE;
	unsigned int core = bench_place_core(place);
	size_t bytes = unit * units, samples = units * bench->rounds;
	struct bench_row *row = bench_row(bench, place, "us", "CPU fault, %s",
					  huge ? "2 MiB huge page" : "4 KiB page");
	struct bench_side *usvm = bench_side(row, "usvm", samples);
	struct bench_side *floor = bench_side(row, "bare handler", samples);
	struct bench_side *copies = huge ? NULL : bench_side(row, "pager", samples);
	unsigned char *memory = bench_map(bytes, huge);
	struct bench_handler handler;
	struct bench_device device;
	struct bench_pager pager;

	if (!huge && place == BENCH_SAME_CORE) {
		bench_want(row, BENCH_RATIO, BENCH_MEDIAN, 1, 1.3);
		bench_want(row, BENCH_RATIO, BENCH_P99, 1, 1.5);
	}
	bench_pin(0, 0);
	bench_fill(memory, bytes);
	bench_handler_start(&handler, unit, bytes, huge, core);
	if (copies)
		bench_pager_start(&pager, bytes, core);
	bench_device_open(&device, spec_of(unit));
	bench_device_place(place);
	for (unsigned int i = 0; i < bench->rounds; i++) {
		handler_round(&handler, floor);
		usvm_round(&device, memory, unit, bytes, usvm);
		if (copies)
			pager_round(&pager, copies);
	}
	bench_check(memory, bytes);
	bench_check(handler.home, bytes);
	if (copies) {
		bench_check(pager.home, bytes);
		bench_pager_stop(&pager);
	}
	bench_device_close(&device);
	bench_handler_stop(&handler);
	munmap(memory, bytes);
}

/* Who faults and the monitor on one processor, the engine on the other. */
static void measure_running(struct bench *bench, size_t units)
{
	size_t bytes = BENCH_PAGE * units, samples = units * bench->rounds;
	struct bench_row *row = bench_row(bench, BENCH_SAME_CORE, "us",
					  "CPU fault, 4 KiB page, an engine runs beside");
	struct bench_side *usvm = bench_side(row, "usvm", samples);
	struct bench_side *floor = bench_side(row, "bare handler", samples);
	unsigned char *memory = bench_map(bytes, false);
	struct bench_handler handler;
	struct bench_device device;
	struct runner runner;

	bench_pin(0, 0);
	bench_fill(memory, bytes);
	bench_handler_start(&handler, BENCH_PAGE, bytes, false, 0);
	bench_device_open(&device, spec_of(BENCH_PAGE));
	bench_device_pin(1, 0);
	for (unsigned int i = 0; i < bench->rounds; i++) {
		handler_round(&handler, floor);
		runner_start(&runner, &device);
		usvm_round(&device, memory, BENCH_PAGE, bytes, usvm);
		runner_stop(&runner);
	}
	bench_check(memory, bytes);
	bench_device_close(&device);
	bench_handler_stop(&handler);
	munmap(memory, bytes);
}

int main(int argc, char **argv)
{
	struct bench bench;

	bench_init(&bench, "cpu_fault",
		   "How long does the CPU wait for a page that is on the device?", argc,
		   argv);
	for (unsigned int place = 0; place < bench_places(&bench); place++) {
		measure(&bench, BENCH_PAGE, bench.smoke ? 32 : 512, (enum bench_place)place);
		measure(&bench, BENCH_HUGE, bench.smoke ? 4 : 32, (enum bench_place)place);
	}
	if (bench_core_count() > 1 && !bench.one_core)
		measure_running(&bench, bench.smoke ? 32 : 512);
	return bench_report(&bench);
}
