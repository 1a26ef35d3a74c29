/* SPDX-License-Identifier: MIT */
/*
 * xe_fixture.h - a client of a virtual card, which is one thread of a simulated program.
 *
 * A client's memory is the simulated process's: call() puts an ioctl's argument there, and
 * gets it back. Each thread that calls has pages of its own for that.
 */
#ifndef TESTS_UNIT_XE_XE_FIXTURE_H
#define TESTS_UNIT_XE_XE_FIXTURE_H

#include "sys/sim_fixture.h"
#include "xe/uapi.h"
#include "xe/xe.h"

#define FOREVER INT64_MAX
#define WB 2 /* page attributes: coherent */
#define UC 3 /* not */

#define THREADS_MAX 4

struct client {
	struct xe_card *card;
	struct xe_file *file;
	uint64_t page; /* for arguments */
	uint32_t refusals;
	/* Further threads, and theirs. */
	struct {
		const struct base_thread *thread;
		uint64_t page;
	} others[THREADS_MAX];
};

static struct client client;

/* Of the calling thread. */
static inline uint64_t arguments(void)
{
	const struct base_thread *self = base_host->self();

	for (int i = 0; i < THREADS_MAX; i++) {
		if (client.others[i].thread == self)
			return client.others[i].page;
	}
	return client.page;
}

/* As run_seed(), with whole pages: arguments and batches are longer than a word. */
static inline void run_client_with(struct sim_config *config, void (*run)(void *arg), void *arg)
{
	config->frame_bytes = PAGE_BYTES;
	if (run_config(config, run, arg) != SIM_DONE)
		fail_msg("%s", sim_report(sim));
	assert_int_equal(sim_own_bytes(sim), 0);
	sim_close(sim);
}

static inline void run_client(void (*run)(void *arg), void *arg)
{
	struct sim_config config = sim_config_default(1);

	run_client_with(&config, run, arg);
}

/* In many orders of what its threads do. */
static inline void run_client_often(void (*run)(void *arg), void *arg)
{
	for (uint64_t seed = 1; seed <= 400; seed++) {
		struct sim_config config = sim_config_default(seed);

		run_client_with(&config, run, arg);
	}
}

/* Seconds pass in a few thousand steps. */
static inline void run_quick_client(void (*run)(void *arg), void *arg)
{
	struct sim_config config = sim_config_default(1);

	config.step_ns = 1000000;
	run_client_with(&config, run, arg);
}

static inline void count_refusal(const char *text)
{
	(void)text;
	client.refusals++;
}

static inline void client_start(const char *profile)
{
	const struct xe_card_config config = {
		.profile = profile,
		.vram_bytes = MIB(16),
		.log = count_refusal,
	};

	memset(&client, 0, sizeof(client));
	CHECK(!xe_card_open(&config, &client.card));
	CHECK(!xe_file_open(client.card, &client.file));
	client.page = map_pages(2);
}

static inline void client_stop(void)
{
	xe_file_close(client.file);
	xe_card_close(client.card);
}

static inline void write_words(uint64_t addr, const void *from, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += 8) {
		uint64_t word = 0;

		memcpy(&word, (const char *)from + at, MIN(bytes - at, 8));
		CHECK(!sim_store(sim, addr + at, word));
	}
}

static inline void read_words(uint64_t addr, void *to, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += 8) {
		uint64_t word = load(addr + at);

		memcpy((char *)to + at, &word, MIN(bytes - at, 8));
	}
}

static inline int call_bytes(uint32_t number, void *argument, size_t bytes)
{
	uint64_t request = (uint64_t)bytes << 16 | XE_IOCTL_TYPE << 8 | number;
	int err;

	write_words(arguments(), argument, bytes);
	err = xe_ioctl(client.file, request, arguments());
	read_words(arguments(), argument, bytes);
	return err;
}

/* @argument: a pointer to the struct of ioctl @number */
#define call(number, ...) call_bytes(number, (__VA_ARGS__), sizeof(*(__VA_ARGS__)))

static inline uint32_t make_vm(uint32_t flags)
{
	struct xe_vm_create args = { .flags = flags };

	CHECK(!call(XE_VM_CREATE, &args));
	return args.vm;
}

static inline int destroy_vm(uint32_t vm)
{
	struct xe_vm_destroy args = { .vm = vm };

	return call(XE_VM_DESTROY, &args);
}

/* Arrays that an argument points to lie behind it in the client's pages. */
static inline uint64_t put_array(const void *array, size_t bytes)
{
	write_words(arguments() + 1024, array, bytes);
	return arguments() + 1024;
}

static inline uint32_t make_queue(uint32_t vm, uint16_t engine_class)
{
	const struct xe_engine_instance engine = { .engine_class = engine_class };
	struct xe_exec_queue_create args = {
		.vm = vm,
		.width = 1,
		.placement_count = 1,
		.instances = put_array(&engine, sizeof(engine)),
	};

	CHECK(!call(XE_EXEC_QUEUE_CREATE, &args));
	return args.queue;
}

static inline int destroy_queue(uint32_t queue)
{
	struct xe_exec_queue_destroy args = { .queue = queue };

	return call(XE_EXEC_QUEUE_DESTROY, &args);
}

static inline uint32_t make_syncobj(uint32_t flags)
{
	struct drm_syncobj_create args = { .flags = flags };

	CHECK(!call(DRM_SYNCOBJ_CREATE, &args));
	return args.handle;
}

static inline struct xe_bind_op mirror_op(void)
{
	return (struct xe_bind_op){
		.op = XE_BIND_MAP,
		.flags = XE_BIND_MIRROR,
		.bytes = 1ull << 48,
		.pat_index = WB,
	};
}

static inline int bind_one(uint32_t vm, const struct xe_bind_op *op, const struct xe_sync *syncs,
			   uint32_t sync_count)
{
	struct xe_vm_bind args = { .vm = vm, .count = 1, .op = *op, .sync_count = sync_count };

	if (sync_count)
		args.syncs = put_array(syncs, sync_count * sizeof(*syncs));
	return call(XE_VM_BIND, &args);
}

static inline int exec_one(uint32_t queue, uint64_t batch, const struct xe_sync *syncs,
			   uint32_t sync_count)
{
	struct xe_exec args = {
		.queue = queue,
		.addr = batch,
		.batch_count = batch ? 1 : 0,
		.sync_count = sync_count,
	};

	if (sync_count)
		args.syncs = put_array(syncs, sync_count * sizeof(*syncs));
	return call(XE_EXEC, &args);
}

static inline struct xe_sync user_fence(uint64_t addr, uint64_t value)
{
	return (struct xe_sync){
		.type = XE_SYNC_USER_FENCE,
		.flags = XE_SYNC_SIGNAL,
		.handle = addr,
		.value = value,
	};
}

static inline int wait_user_fence(uint64_t addr, uint64_t value, uint32_t queue,
				  int64_t timeout_ns)
{
	struct xe_wait_user_fence args = {
		.addr = addr,
		.value = value,
		.mask = UINT64_MAX,
		.queue = queue,
		.timeout_ns = timeout_ns,
	};

	return call(XE_WAIT_USER_FENCE, &args);
}

static inline int wait_syncobj(uint32_t handle, uint64_t point, uint32_t flags,
			       int64_t timeout_ns)
{
	const uint64_t arrays[2] = { handle, point };
	struct drm_syncobj_timeline_wait args = {
		.handles = put_array(arrays, sizeof(arrays)),
		.points = arguments() + 1024 + 8,
		.count = 1,
		.flags = flags,
		.timeout_ns = timeout_ns,
	};

	return call(DRM_SYNCOBJ_TIMELINE_WAIT, &args);
}

/* A batch at @at that stores @value at @to. */
static inline void write_store(uint64_t at, uint64_t to, uint32_t value)
{
	const uint32_t batch[6] = {
		0x10000002, (uint32_t)to, (uint32_t)(to >> 32), value, 0x05000000, 0,
	};

	write_words(at, batch, sizeof(batch));
}

#endif
