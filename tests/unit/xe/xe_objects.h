/* SPDX-License-Identifier: MIT */
/*
 * xe_objects.h - what a client has made, from the inside; and gates.
 *
 * A gate is a sync object with a fence of the test's own: who waits for it goes on when the
 * test opens it.
 */
#ifndef TESTS_UNIT_XE_XE_OBJECTS_H
#define TESTS_UNIT_XE_XE_OBJECTS_H

#include "xe_fixture.h"

#include "vm/bo.h"
#include "xe/xe_internal.h"

#define SVM (XE_VM_LR_MODE | XE_VM_FAULT_MODE)
#define END_OF_BATCH 0x05000000u
/* Where objects are bound: no process has memory there. */
#define OBJECTS (1ull << 47)

/* The object behind a handle, with a reference. */
static inline struct xe_syncobj *syncobj_of(uint32_t handle)
{
	struct xe_object *object = xe_file_find(client.file, XE_KIND_SYNCOBJ, handle);

	CHECK(object);
	return xe_syncobj_of(object);
}

static inline struct xe_fence *add_fence(struct xe_syncobj *syncobj, uint64_t point)
{
	struct xe_fence *fence = xe_fence_create(client.card);

	CHECK(fence && !xe_syncobj_add(syncobj, point, fence));
	return fence;
}

static inline void end_fence(struct xe_fence *fence)
{
	xe_fence_signal(fence, 0);
	xe_fence_put(fence);
}

struct gate {
	uint32_t handle;
	struct xe_fence *fence;
};

static inline struct gate make_gate(void)
{
	struct gate gate = { .handle = make_syncobj(0) };
	struct xe_syncobj *syncobj = syncobj_of(gate.handle);

	gate.fence = add_fence(syncobj, 0);
	xe_object_put(&syncobj->object);
	return gate;
}

static inline void open_gate(struct gate *gate)
{
	end_fence(gate->fence);
	gate->fence = NULL;
}

static inline struct xe_sync wait_for_gate(const struct gate *gate)
{
	return (struct xe_sync){ .type = XE_SYNC_SYNCOBJ, .handle = gate->handle };
}

static inline struct xe_sync signal_to(uint32_t handle)
{
	return (struct xe_sync){
		.type = XE_SYNC_SYNCOBJ,
		.flags = XE_SYNC_SIGNAL,
		.handle = handle,
	};
}

static inline bool is_signaled(uint32_t handle)
{
	return !wait_syncobj(handle, 0, DRM_SYNCOBJ_WAIT_FOR_SUBMIT, 0);
}

/* --- buffer objects -------------------------------------------------------------- */

static inline uint32_t make_object_of(uint64_t pages, uint32_t placement, uint32_t vm)
{
	struct xe_gem_create args = {
		.bytes = pages * PAGE_BYTES,
		.placement = placement,
		.vm = vm,
		.cpu_caching = XE_GEM_CACHING_WC,
	};

	CHECK(!call(XE_GEM_CREATE, &args));
	return args.handle;
}

static inline uint32_t make_object(uint64_t pages)
{
	return make_object_of(pages, 1u << 0, 0);
}

/* Its bytes; they stay while it has its number, or a bind. */
static inline uint32_t *memory_of(uint32_t handle)
{
	struct xe_object *object = xe_file_find(client.file, XE_KIND_BO, handle);
	uint32_t *memory;

	CHECK(object);
	memory = vm_bo_memory(xe_bo_of(object)->bo);
	xe_object_put(object);
	return memory;
}

static inline void put_store(uint32_t *batch, uint64_t to, uint32_t value)
{
	const uint32_t words[5] = {
		0x10000002, (uint32_t)to, (uint32_t)(to >> 32), value, END_OF_BATCH,
	};

	memcpy(batch, words, sizeof(words));
}

/* --- binds ----------------------------------------------------------------------- */

static inline struct xe_bind_op map_op(uint32_t object, uint64_t at, uint64_t pages)
{
	return (struct xe_bind_op){
		.op = XE_BIND_MAP,
		.object = object,
		.addr = at,
		.bytes = pages * PAGE_BYTES,
		.pat_index = WB,
	};
}

static inline struct xe_bind_op null_op(uint64_t at, uint64_t pages)
{
	struct xe_bind_op op = map_op(0, at, pages);

	op.flags = XE_BIND_NULL;
	return op;
}

static inline struct xe_bind_op unmap_op(uint64_t at, uint64_t pages)
{
	struct xe_bind_op op = map_op(0, at, pages);

	op.op = XE_BIND_UNMAP;
	return op;
}

static inline struct xe_bind_op user_op(uint64_t memory, uint64_t at, uint64_t pages)
{
	struct xe_bind_op op = map_op(0, at, pages);

	op.op = XE_BIND_MAP_USERPTR;
	op.offset = memory;
	return op;
}

static inline struct xe_bind_op prefetch_op(uint64_t at, uint64_t pages, uint32_t region)
{
	struct xe_bind_op op = map_op(0, at, pages);

	op.op = XE_BIND_PREFETCH;
	op.region = region;
	return op;
}

/* An array of operations; syncs as for bind_one(). */
static inline int bind_array(uint32_t vm, uint32_t queue, const struct xe_bind_op *ops,
			     uint32_t count, const struct xe_sync *syncs, uint32_t sync_count)
{
	struct xe_vm_bind args = {
		.vm = vm,
		.queue = queue,
		.count = count,
		.ops = arguments() + PAGE_BYTES,
		.sync_count = sync_count,
	};

	CHECK(count * sizeof(*ops) <= PAGE_BYTES);
	write_words(args.ops, ops, count * sizeof(*ops));
	if (count == 1)
		args.op = *ops;
	if (sync_count)
		args.syncs = put_array(syncs, sync_count * sizeof(*syncs));
	return call(XE_VM_BIND, &args);
}

struct bind_look {
	struct vm *vm;
	uint64_t addr;
	struct vm_bind_info info;
};

static inline int look_at_bind(void *argument)
{
	struct bind_look *l = argument;

	return vm_bind_query(l->vm, l->addr, &l->info);
}

static inline bool is_bound(uint32_t vm, uint64_t addr)
{
	struct xe_object *object = xe_file_find(client.file, XE_KIND_VM, vm);
	struct bind_look l = { .addr = addr };
	int err;

	CHECK(object);
	l.vm = xe_vm_of(object)->vm;
	err = mm_call(client.card->mm, look_at_bind, &l, sizeof(l));
	xe_object_put(object);
	return !err && l.info.span.start <= addr;
}

/* --- jobs ------------------------------------------------------------------------ */

static inline bool is_banned(uint32_t queue)
{
	struct xe_exec_queue_property args = { .queue = queue };

	CHECK(!call(XE_EXEC_QUEUE_GET_PROPERTY, &args));
	return args.value;
}

/* Run a batch in an address space whose jobs end. Return: is the queue still good? */
static inline bool run_batch(uint32_t queue, uint64_t batch)
{
	struct xe_sync sync = signal_to(make_syncobj(0));

	CHECK(!exec_one(queue, batch, &sync, 1));
	CHECK(!wait_syncobj((uint32_t)sync.handle, 0, 0, FOREVER));
	return !is_banned(queue);
}

#endif
