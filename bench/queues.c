/* SPDX-License-Identifier: MIT */
/*
 * DOC: do two engines fault faster than one?
 *
 * Two queues, each with a kernel that touches blocks of its own, at once; and one after the
 * other. The floor is two threads that MOVE such blocks, on one userfaultfd, at once and one
 * after the other: the kernel has locks too. A sample is the time at once by the time one
 * after the other: 0.5 is twice as fast.
 */
#include <sys/mman.h>

#include "bench.h"
#include "rivals.h"

struct touch_args {
	uint64_t at;
	uint64_t count;
};

static void touch_kernel(struct usvm_lane *lane, const void *args)
{
	const struct touch_args *a = args;

	for (uint64_t i = 0; i < a->count; i++)
		usvm_store8(lane, a->at + i * BENCH_HUGE, 1);
}

struct halves {
	unsigned char *at;
	size_t blocks; /* of each half */
};

static size_t half_bytes(const struct halves *halves)
{
	return halves->blocks * BENCH_HUGE;
}

static struct usvm_fence *submit(struct usvm_queue *queue, const struct halves *halves,
				 unsigned int half)
{
	struct touch_args args = { (uintptr_t)halves->at + half * half_bytes(halves),
				   halves->blocks };
	struct usvm_kernel kernel = {
		.function = touch_kernel,
		.args = &args,
		.args_bytes = sizeof(args),
	};
	struct usvm_fence *fence;

	bench_must(usvm_submit_kernel(queue, &kernel, &fence), "submit");
	return fence;
}

static void finish(struct usvm_fence *fence)
{
	bench_must(usvm_fence_wait(fence, USVM_FOREVER), "fence");
	usvm_fence_put(fence);
}

static void bring_home(const struct bench_device *device, const struct halves *halves)
{
	for (size_t i = 0; i < 2 * half_bytes(halves); i += BENCH_HUGE)
		if (*(volatile unsigned char *)(halves->at + i) != 1)
			bench_fail("wrong data");
	bench_expect(device, halves->at, 2 * half_bytes(halves), USVM_PAGE_HOME);
}

static void usvm_round(const struct bench_device *device, struct usvm_queue *second,
		       const struct halves *halves, struct bench_side *side)
{
	struct usvm_fence *fences[2];
	double apart, at_once;
	uint64_t start;

	start = bench_now_ns();
	finish(submit(device->queue, halves, 0));
	finish(submit(second, halves, 1));
	apart = bench_us_since(start);
	bench_expect(device, halves->at, 2 * half_bytes(halves), USVM_PAGE_DEVICE);
	bring_home(device, halves);
	start = bench_now_ns();
	fences[0] = submit(device->queue, halves, 0);
	fences[1] = submit(second, halves, 1);
	finish(fences[0]);
	finish(fences[1]);
	at_once = bench_us_since(start);
	bench_expect(device, halves->at, 2 * half_bytes(halves), USVM_PAGE_DEVICE);
	bring_home(device, halves);
	bench_sample(side, at_once / apart);
}

/* --- the floor ---------------------------------------------------------------------------- */

struct mover {
	const struct bench_handler *handler;
	size_t from;
	size_t bytes;
	struct bench_helper *helper;
};

static void mover_run(void *arg)
{
	const struct mover *mover = arg;

	for (size_t i = 0; i < mover->bytes; i += BENCH_HUGE)
		bench_handler_take(mover->handler, mover->from + i);
}

static void return_all(const struct bench_handler *handler)
{
	if (bench_present(handler->home, handler->bytes, NULL))
		bench_fail("pages stayed at home");
	for (size_t i = 0; i < handler->bytes; i += BENCH_HUGE)
		bench_handler_return(handler, i);
}

static void floor_round(struct mover movers[2], struct bench_side *side)
{
	double apart, at_once;
	uint64_t start;

	start = bench_now_ns();
	bench_helper_ask(movers[0].helper);
	bench_helper_ask(movers[1].helper);
	apart = bench_us_since(start);
	return_all(movers[0].handler);
	start = bench_now_ns();
	bench_helper_begin(movers[0].helper);
	bench_helper_begin(movers[1].helper);
	bench_helper_wait(movers[0].helper);
	bench_helper_wait(movers[1].helper);
	at_once = bench_us_since(start);
	return_all(movers[0].handler);
	bench_sample(side, at_once / apart);
}

int main(int argc, char **argv)
{
	struct bench bench;
	struct halves halves;
	struct bench_handler handler;
	struct mover movers[2];
	struct bench_device device;
	struct usvm_queue *second;
	struct bench_side *usvm, *bare;
	struct bench_row *row;

	bench_init(&bench, "queues", "Do two engines fault faster than one?", argc, argv);
	halves.blocks = 48;
	row = bench_row(&bench, BENCH_FREE, "x", "two queues at once, to one after the other");
	usvm = bench_side(row, "usvm", 5 * bench.rounds);
	bare = bench_side(row, "two threads, bare MOVE", 5 * bench.rounds);
	bench_want(row, BENCH_VALUE, BENCH_MEDIAN, 0, 1 / 1.3);
	bench_want_or(row, BENCH_RATIO, BENCH_MEDIAN, 1, 1 / 0.85);
	bench_core_count();
	halves.at = bench_map(2 * half_bytes(&halves), true);
	for (size_t i = 0; i < 2 * half_bytes(&halves); i += BENCH_PAGE)
		halves.at[i] = 1;
	bench_handler_start(&handler, BENCH_HUGE, 2 * half_bytes(&halves), true, 0);
	for (unsigned int i = 0; i < 2; i++) {
		movers[i] = (struct mover){ &handler, i * half_bytes(&halves),
					    half_bytes(&halves), NULL };
		movers[i].helper = bench_helper_start(i, mover_run, &movers[i]);
	}
	bench_device_open(&device, "model:vram=256M,engines=2");
	bench_must(usvm_queue_create(device.vm, NULL, &second), "queue");
	for (unsigned int i = 0; i < 5 * bench.rounds; i++) {
		floor_round(movers, bare);
		usvm_round(&device, second, &halves, usvm);
	}
	bench_must(usvm_queue_destroy(second), "queue");
	bench_device_close(&device);
	for (int i = 0; i < 2; i++)
		bench_helper_stop(movers[i].helper);
	bench_check(handler.home, handler.bytes);
	bench_handler_stop(&handler);
	munmap(halves.at, 2 * half_bytes(&halves));
	return bench_report(&bench);
}
