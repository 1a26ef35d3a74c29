/* SPDX-License-Identifier: MIT */
/*
 * api.h - what the parts of the public interface's target share.
 *
 *     api.c         the input as a list of calls; the end: all is given back
 *     api_memory.c  the area that calls name, what it must have, kernels and batches
 *     api_device.c  open, close and what needs a device only
 *     api_vm.c      address spaces and memory
 *     api_job.c     queues, jobs, fences
 *     api_mutator.c records that are mostly right
 */
#ifndef TESTS_FUZZ_API_H
#define TESTS_FUZZ_API_H

#include <errno.h>
#include <stdbool.h>

#include <usvm/usvm.h>

#include "fuzz/fuzz.h"

#if defined(__SANITIZE_ADDRESS__)
#define API_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define API_ASAN 1
#endif
#endif
#ifndef API_ASAN
#define API_ASAN 0
#endif

#define API_PAGE UINT64_C(4096)
#define API_SLOTS 4u
#define API_RECORD 24u /* bytes of the input for one call */

/* What an out parameter has before a call, and after one that failed. */
#define API_UNTOUCHED ((void *)UINT64_C(0x5a5a5a5a5a5a5a5a))

enum api_kind {
	API_DEVICE,
	API_VM,
	API_QUEUE,
	API_FENCE,
	API_KINDS,
};

/* A place for a handle. One that is not live is what is left of one that was. */
struct api_slot {
	void *handle;
	bool live;
	struct api_slot *parent; /* a fence's is its device */
	uint32_t children;       /* live; a device's: vms and fences */
	bool is_own;             /* a device that is not the model */
	bool has_trace;
	bool is_endless;         /* a queue with a job that only its end ends */
	uint32_t endless_count;  /* of a device: such queues */
};

struct api {
	struct fuzz_input in;
	struct api_slot slot[API_KINDS][API_SLOTS];
	uint32_t fork_count;
};

/* The handle of a call. */
struct api_handle {
	void *handle;
	struct api_slot *slot; /* NULL: it is no good, and the call says @error */
	int error;
};

/* api_handle() - any handle that documentation lets one pass for a @kind */
struct api_handle api_handle(struct api *api, enum api_kind kind);

/* api_free_slot() - where a new handle goes, or NULL */
struct api_slot *api_free_slot(struct api *api, enum api_kind kind);
void api_born(struct api_slot *slot, void *handle, struct api_slot *parent);
void api_died(struct api_slot *slot);
struct api_slot *api_device_of(struct api_slot *slot);

/* api_expect() - @got is 0 or one of @count errors, which has a text */
void api_expect(const char *call, int got, const int *errors, size_t count);
#define API_EXPECT(call, got, ...)                                  \
	api_expect((call), (got), (const int[]){ 0, __VA_ARGS__ },   \
		   sizeof((const int[]){ 0, __VA_ARGS__ }) / sizeof(int))
#define API_EXACTLY(call, got, wanted) \
	FUZZ_CHECK((got) == (wanted), "%s: %d, not %d", (call), (got), (wanted))

/* --- api_memory.c --------------------------------------------------------------- */

/* The area, 4 MiB: memory of each kind at fixed places. */
enum api_region {
	API_KEPT,     /* has a shadow; changed by calls that have ended */
	API_SCRATCH,  /* for jobs that nobody waits for */
	API_READ,     /* private, not writable */
	API_NONE,     /* PROT_NONE */
	API_SHARED,
	API_COMMANDS, /* the batches */
	API_REGIONS,
};

enum api_batch {
	API_BATCH_ENDLESS = 4,
	API_BATCHES = 8,
};

#define API_KEPT_WORD(n) (8 * 521 * (uint64_t)(n)) /* offset of a word with a shadow */
#define API_KEPT_WORDS 256u

void api_memory_init(void);
uint64_t api_memory_at(enum api_region region, uint64_t offset);
const void *api_memory_batch(uint32_t index);
void api_memory_changed(uint32_t word, uint64_t add); /* a kernel added */
void api_memory_touch(struct fuzz_input *in);         /* the CPU reads and writes */
void api_memory_advise(struct fuzz_input *in);        /* madvise, mprotect, mmap */
void api_memory_check(void);                          /* what is there is what should be */

/* Any address, any length. */
uint64_t api_memory_address(struct fuzz_input *in);
uint64_t api_memory_bytes(struct fuzz_input *in);

/* api_memory_may_reach() - the GPU may access it: memory of the area, or none */
bool api_memory_may_reach(uint64_t addr, uint64_t bytes);
/* api_memory_may_move() - as a whole; under ASan the rest of the process may not */
bool api_memory_may_move(uint64_t addr, uint64_t bytes);

/* --- calls ------------------------------------------------------------------------ */

void api_open(struct api *api);
void api_open_device(struct api *api);
void api_close(struct api *api);
void api_device_info(struct api *api);
void api_stats(struct api *api);
void api_trace_read(struct api *api);
void api_texts(struct api *api);
void api_fork(struct api *api);

void api_vm_create(struct api *api);
void api_vm_destroy(struct api *api);
void api_mirror(struct api *api);
void api_unmirror(struct api *api);
void api_prefetch(struct api *api);
void api_query(struct api *api);
void api_query_span(struct api *api);
void api_faults(struct api *api);

void api_queue_create(struct api *api);
void api_queue_destroy(struct api *api);
void api_queue_status(struct api *api);
void api_submit_kernel(struct api *api);
void api_submit_batch(struct api *api);
void api_run_kernel(struct api *api);
void api_run_batch(struct api *api);
void api_add(struct api *api);
void api_fence_wait(struct api *api);
void api_fence_put(struct api *api);

#endif
