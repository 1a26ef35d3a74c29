/* SPDX-License-Identifier: MIT */
/*
 * DOC: Kernels of the live tests
 *
 * A kernel answers in a page of shared memory, which never migrates: so the answer
 * costs no migration that a test would count.
 */
#include <inttypes.h>

#include "live/support/live.h"

struct kernel_args {
	uint64_t at, bytes, stride, seed, offset, operand, rounds;
	uint64_t result;
};

static void run(struct live *live, usvm_kernel_fn function, struct kernel_args args)
{
	int err;

	args.result = (uintptr_t)live->result;
	err = usvm_run_kernel(live->queue, &(struct usvm_kernel){
		.function = function, .args = &args, .args_bytes = sizeof(args) });
	if (err) {
		struct usvm_queue_status status = { 0 };

		usvm_queue_status(live->queue, &status);
		fail_msg("a kernel ended with %d (%s), fault at %#lx, access %u", err,
			 usvm_strerror(err), status.fault.addr, status.fault.access);
	}
}

static void take(struct usvm_lane *lane, const void *p)
{
	const struct kernel_args *a = p;

	for (uint64_t i = 0; i < a->bytes; i += LIVE_PAGE)
		usvm_atomic_add64(lane, a->at + i, 0);
}

void live_take(struct live *live, void *at, size_t bytes)
{
	run(live, take, (struct kernel_args){ .at = (uintptr_t)at, .bytes = bytes });
}

static void write64(struct usvm_lane *lane, const void *p)
{
	const struct kernel_args *a = p;

	usvm_store64(lane, a->at, a->operand);
}

void gpu_write64(struct live *live, void *at, uint64_t value)
{
	run(live, write64, (struct kernel_args){ .at = (uintptr_t)at, .operand = value });
}

static void read64(struct usvm_lane *lane, const void *p)
{
	const struct kernel_args *a = p;

	usvm_store64(lane, a->result, usvm_load64(lane, a->at));
}

uint64_t gpu_read64(struct live *live, const void *at)
{
	run(live, read64, (struct kernel_args){ .at = (uintptr_t)at });
	return *live->result;
}

static void add64(struct usvm_lane *lane, const void *p)
{
	const struct kernel_args *a = p;

	usvm_store64(lane, a->result, usvm_atomic_add64(lane, a->at, a->operand));
}

uint64_t gpu_add64(struct live *live, void *at, uint64_t operand)
{
	run(live, add64, (struct kernel_args){ .at = (uintptr_t)at, .operand = operand });
	return *live->result;
}

static void fill(struct usvm_lane *lane, const void *p)
{
	const struct kernel_args *a = p;

	for (uint64_t i = 0; i < a->bytes; i += 8)
		usvm_store64(lane, a->at + i, live_word(a->seed, (a->offset + i) / 8));
}

void gpu_fill(struct live *live, void *at, size_t bytes, uint64_t seed, size_t offset)
{
	run(live, fill, (struct kernel_args){ .at = (uintptr_t)at, .bytes = bytes,
					      .seed = seed, .offset = offset });
}

static void check(struct usvm_lane *lane, const void *p)
{
	const struct kernel_args *a = p;
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < a->bytes; i += 8)
		wrong += usvm_load64(lane, a->at + i) != live_word(a->seed, (a->offset + i) / 8);
	usvm_store64(lane, a->result, wrong);
}

void gpu_assert_filled(struct live *live, const void *at, size_t bytes, uint64_t seed,
		       size_t offset)
{
	run(live, check, (struct kernel_args){ .at = (uintptr_t)at, .bytes = bytes,
					       .seed = seed, .offset = offset });
	assert_int_equal(*live->result, 0);
}

static void sum(struct usvm_lane *lane, const void *p)
{
	const struct kernel_args *a = p;
	uint64_t total = 0;

	for (uint64_t i = 0; i < a->bytes; i += 8)
		total += usvm_load64(lane, a->at + i);
	usvm_store64(lane, a->result, total);
}

uint64_t gpu_sum(struct live *live, const void *at, size_t bytes)
{
	run(live, sum, (struct kernel_args){ .at = (uintptr_t)at, .bytes = bytes });
	return *live->result;
}

int gpu_try(struct live *live, enum usvm_access access, const void *at,
	    struct usvm_fault *fault)
{
	static const usvm_kernel_fn functions[] = { read64, write64, add64 };
	struct kernel_args args = { .at = (uintptr_t)at, .result = (uintptr_t)live->result,
				    .operand = access == USVM_ACCESS_WRITE ? 4711 : 0 };
	struct usvm_queue_status status;
	struct usvm_queue *queue;
	int err;

	assert_int_equal(usvm_queue_create(live->vm, NULL, &queue), 0);
	err = usvm_run_kernel(queue, &(struct usvm_kernel){
		.function = functions[access], .args = &args, .args_bytes = sizeof(args) });
	assert_int_equal(usvm_queue_status(queue, &status), 0);
	assert_int_equal(status.banned, err != 0);
	assert_int_equal(status.error, err);
	if (fault)
		*fault = status.fault;
	assert_int_equal(usvm_queue_destroy(queue), 0);
	return err;
}

static void add_words(struct usvm_lane *lane, const void *p)
{
	const struct kernel_args *a = p;

	for (uint64_t round = 0; round < a->rounds; round++) {
		for (uint64_t i = 0; i < a->bytes; i++)
			usvm_atomic_add64(lane, a->at + i * a->stride, 1);
	}
}

struct usvm_fence *gpu_start_add(struct live *live, struct usvm_queue *queue, void *at,
				 size_t stride, uint64_t count, uint64_t rounds)
{
	struct kernel_args args = { .at = (uintptr_t)at, .stride = stride, .bytes = count,
				    .rounds = rounds };
	struct usvm_fence *fence;

	assert_int_equal(usvm_submit_kernel(queue ? queue : live->queue, &(struct usvm_kernel){
		.function = add_words, .args = &args, .args_bytes = sizeof(args) }, &fence), 0);
	return fence;
}

void gpu_finish(struct usvm_fence *fence)
{
	int err = usvm_fence_wait(fence, 60000000000u);

	usvm_fence_put(fence);
	assert_int_equal(err, 0);
}
