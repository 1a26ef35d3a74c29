/* SPDX-License-Identifier: MIT */
/* exec_test.c - jobs of a client: what they store, wait for, signal, and how they fail. */
#include "xe_objects.h"

struct svm {
	uint32_t vm, queue;
	uint64_t data; /* batch at 0, what it stores at 256, fences at 512 */
};

static struct svm start_svm(void)
{
	const struct xe_bind_op op = mirror_op();
	struct xe_sync sync;
	struct svm s;

	client_start(NULL);
	s.data = map_pages(1);
	s.vm = make_vm(SVM);
	sync = user_fence(s.data + 512, 7);
	CHECK(!bind_one(s.vm, &op, &sync, 1));
	CHECK(!wait_user_fence(s.data + 512, 7, 0, 0));
	s.queue = make_queue(s.vm, XE_ENGINE_COPY);
	return s;
}

static void store(void *arg)
{
	struct svm s = start_svm();
	struct xe_sync sync = user_fence(s.data + 520, 9);

	(void)arg;
	write_store(s.data, s.data + 256, 42);
	CHECK(!exec_one(s.queue, s.data, &sync, 1));
	CHECK(!wait_user_fence(s.data + 520, 9, s.queue, FOREVER));
	CHECK(load(s.data + 256) == 42);
	CHECK(!destroy_queue(s.queue));
	CHECK(!destroy_vm(s.vm));
	client_stop();
}

static void a_job_stores_to_the_process_and_its_user_fence_tells(void **state)
{
	(void)state;
	run_client(store, NULL);
}

static void fault(void *arg)
{
	struct svm s = start_svm();
	struct xe_sync sync = user_fence(s.data + 520, 9);
	struct xe_exec_queue_property ban = { .queue = s.queue };
	struct xe_vm_get_property faults = { .vm = s.vm };
	struct xe_vm_fault record;

	(void)arg;
	write_store(s.data, 0x1000, 42); /* nothing is there */
	CHECK(!call(XE_EXEC_QUEUE_GET_PROPERTY, &ban) && !ban.value);
	CHECK(!exec_one(s.queue, s.data, &sync, 1));
	CHECK(wait_user_fence(s.data + 520, 9, s.queue, FOREVER) == -EIO);
	CHECK(wait_user_fence(s.data + 520, 9, 0, 0) == -ETIME);
	CHECK(exec_one(s.queue, s.data, &sync, 1) == -ECANCELED);
	CHECK(!call(XE_EXEC_QUEUE_GET_PROPERTY, &ban) && ban.value == 1);

	CHECK(!call(XE_VM_GET_PROPERTY, &faults) && faults.bytes == sizeof(record));
	faults.data = client.page + 2048;
	CHECK(!call(XE_VM_GET_PROPERTY, &faults));
	read_words(client.page + 2048, &record, sizeof(record));
	CHECK(record.addr == 0x1000 && record.access == 1 && record.type == 0);
	faults.bytes = sizeof(record) * 2;
	CHECK(call(XE_VM_GET_PROPERTY, &faults) == -EINVAL);
	client_stop();
}

static void a_job_that_faults_bans_its_queue_and_is_recorded(void **state)
{
	(void)state;
	run_client(fault, NULL);
}

static void order(void *arg)
{
	struct svm s = start_svm();
	uint32_t gate = make_syncobj(0), other = make_queue(s.vm, XE_ENGINE_RENDER);
	struct xe_sync syncs[2] = {
		{ .type = XE_SYNC_TIMELINE, .handle = gate, .value = 5 },
		user_fence(s.data + 520, 9),
	};
	struct xe_sync behind = user_fence(s.data + 528, 9);
	struct xe_sync beside = user_fence(s.data + 536, 9);
	const uint64_t arrays[2] = { gate, 5 };
	struct drm_syncobj_timeline_array signal = { .count = 1 };

	(void)arg;
	write_store(s.data, s.data + 256, 42);
	/* Nobody has promised point 5 yet. */
	CHECK(exec_one(s.queue, s.data, syncs, 2) == -EINVAL);
	CHECK(!load(s.data + 520));
	signal.handles = put_array(arrays, sizeof(arrays));
	signal.points = signal.handles + 8;
	CHECK(!call(DRM_SYNCOBJ_TIMELINE_SIGNAL, &signal));
	CHECK(!exec_one(s.queue, s.data, syncs, 2));
	CHECK(!exec_one(s.queue, s.data, &behind, 1));
	CHECK(!exec_one(other, s.data, &beside, 1));
	CHECK(!wait_user_fence(s.data + 520, 9, s.queue, FOREVER));
	CHECK(!wait_user_fence(s.data + 528, 9, s.queue, FOREVER));
	CHECK(!wait_user_fence(s.data + 536, 9, other, FOREVER));
	client_stop();
}

static void a_job_waits_for_points_that_were_promised_only(void **state)
{
	(void)state;
	run_client(order, NULL);
}

static int unmap_mirror(uint32_t vm)
{
	const struct xe_bind_op op = { .op = XE_BIND_UNMAP, .bytes = 1ull << 48, .pat_index = WB };

	return bind_one(vm, &op, NULL, 0);
}

/* Of shared memory no event tells. */
static void busy(void *arg)
{
	struct svm s = start_svm();
	struct xe_sync sync = user_fence(s.data + 520, 9);
	uint64_t shared;

	(void)arg;
	CHECK(!sim_mmap(sim, 0, PAGE_BYTES, READ_WRITE, SYS_VMA_ANON_SHARED, 0, &shared));
	write_store(s.data, shared, 42);
	CHECK(!exec_one(s.queue, s.data, &sync, 1));
	CHECK(!wait_user_fence(s.data + 520, 9, s.queue, FOREVER));
	CHECK(load(shared) == 42);
	CHECK(unmap_mirror(s.vm) == -EBUSY);
	CHECK(!sim_munmap(sim, span_make(s.data, PAGE_BYTES)));
	CHECK(unmap_mirror(s.vm) == -EBUSY);
	CHECK(!sim_munmap(sim, span_make(shared, PAGE_BYTES)));
	CHECK(!unmap_mirror(s.vm));
	client_stop();
}

static void a_mirror_can_go_when_what_was_used_is_unmapped(void **state)
{
	(void)state;
	run_client(busy, NULL);
}

/* A store through an object of the card, bound where the process has nothing. */
static void object(void *arg)
{
	struct xe_gem_create create = {
		.bytes = PAGE_BYTES,
		.placement = 1u << 1,
		.cpu_caching = XE_GEM_CACHING_WC,
	};
	struct xe_bind_op op = { .op = XE_BIND_MAP, .bytes = PAGE_BYTES, .addr = 1ull << 47 };
	struct svm s = start_svm();
	struct xe_sync sync = user_fence(s.data + 520, 9);
	struct drm_gem_close close = { 0 };
	struct xe_gem_mmap_offset map = { 0 };
	struct xe_object *bo;
	uint64_t shown;

	(void)arg;
	CHECK(!call(XE_GEM_CREATE, &create));
	op.object = create.handle;
	op.pat_index = WB;
	CHECK(!bind_one(s.vm, &op, NULL, 0));
	write_store(s.data, op.addr, 42);
	CHECK(!exec_one(s.queue, s.data, &sync, 1));
	CHECK(!wait_user_fence(s.data + 520, 9, s.queue, FOREVER));
	bo = xe_file_find(client.file, XE_KIND_BO, create.handle);
	CHECK(*(uint32_t *)vm_bo_memory(xe_bo_of(bo)->bo) == 42);
	xe_object_put(bo);
	map.handle = create.handle;
	CHECK(!call(XE_GEM_MMAP_OFFSET, &map));
	CHECK(xe_map(client.file, 0, 2 * PAGE_BYTES, true, map.offset, &shown) == -EINVAL);
	map.handle++;
	CHECK(call(XE_GEM_MMAP_OFFSET, &map) == -ENOENT);
	close.handle = create.handle;
	CHECK(!call(DRM_GEM_CLOSE, &close)); /* the bind has it still */
	sync = user_fence(s.data + 528, 9);
	CHECK(!exec_one(s.queue, s.data, &sync, 1));
	CHECK(!wait_user_fence(s.data + 528, 9, s.queue, FOREVER));
	CHECK(call(DRM_GEM_CLOSE, &close) == -EINVAL);
	op.op = XE_BIND_UNMAP;
	op.object = 0;
	CHECK(!bind_one(s.vm, &op, NULL, 0));
	sync = user_fence(s.data + 536, 9);
	CHECK(!exec_one(s.queue, s.data, &sync, 1));
	CHECK(wait_user_fence(s.data + 536, 9, s.queue, FOREVER) == -EIO);
	client_stop();
}

static void an_object_is_used_where_it_is_bound(void **state)
{
	(void)state;
	run_client(object, NULL);
}

/* An object at @at with a batch that jumps to itself for ever. */
static void bind_loop(uint32_t vm, uint64_t at)
{
	const uint32_t loop[4] = { 0x18800101, (uint32_t)at, (uint32_t)(at >> 32), 0 };
	struct xe_gem_create create = {
		.bytes = PAGE_BYTES,
		.placement = 1u << 0,
		.cpu_caching = XE_GEM_CACHING_WB,
	};
	struct xe_bind_op op = { .op = XE_BIND_MAP, .bytes = PAGE_BYTES, .addr = at,
				 .pat_index = WB };
	struct xe_object *bo;

	CHECK(!call(XE_GEM_CREATE, &create));
	bo = xe_file_find(client.file, XE_KIND_BO, create.handle);
	memcpy(vm_bo_memory(xe_bo_of(bo)->bo), loop, sizeof(loop));
	xe_object_put(bo);
	op.object = create.handle;
	CHECK(!bind_one(vm, &op, NULL, 0));
}

#define LOOP (1ull << 40)

static void hang(void *arg)
{
	uint32_t vm, queue, fences[2];
	struct xe_sync sync = { .type = XE_SYNC_SYNCOBJ, .flags = XE_SYNC_SIGNAL };

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	queue = make_queue(vm, XE_ENGINE_COPY);
	bind_loop(vm, LOOP);
	for (int i = 0; i < 2; i++) {
		fences[i] = make_syncobj(0);
		sync.handle = fences[i];
		CHECK(!exec_one(queue, LOOP, &sync, 1));
	}
	CHECK(wait_syncobj(fences[0], 0, 0, 0) == -ETIME);
	CHECK(!wait_syncobj(fences[0], 0, 0, FOREVER));
	CHECK(!wait_syncobj(fences[1], 0, 0, FOREVER));
	CHECK(exec_one(queue, LOOP, &sync, 1) == -ECANCELED);
	client_stop();
}

static void a_job_that_does_not_end_is_ended(void **state)
{
	(void)state;
	run_quick_client(hang, NULL);
}

/* The job ends by the watchdog, and not before. */
static void unmap(void *arg)
{
	struct xe_bind_op op = { .op = XE_BIND_MAP_USERPTR, .bytes = PAGE_BYTES,
				 .addr = LOOP + PAGE_BYTES, .pat_index = WB };
	struct xe_sync sync = { .type = XE_SYNC_SYNCOBJ, .flags = XE_SYNC_SIGNAL };
	uint32_t vm, queue;

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	queue = make_queue(vm, XE_ENGINE_COPY);
	bind_loop(vm, LOOP);
	op.offset = map_pages(1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	sync.handle = make_syncobj(0);
	CHECK(!exec_one(queue, LOOP, &sync, 1));
	xe_before_unmap(client.card, op.offset + PAGE_BYTES, op.offset + 2 * PAGE_BYTES);
	CHECK(wait_syncobj((uint32_t)sync.handle, 0, 0, 0) == -ETIME);
	xe_before_unmap(client.card, op.offset, op.offset + PAGE_BYTES);
	CHECK(!wait_syncobj((uint32_t)sync.handle, 0, 0, 0));
	client_stop();
}

static void memory_of_a_user_pointer_goes_behind_its_jobs(void **state)
{
	(void)state;
	run_quick_client(unmap, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_job_stores_to_the_process_and_its_user_fence_tells),
		cmocka_unit_test(a_job_that_faults_bans_its_queue_and_is_recorded),
		cmocka_unit_test(a_job_waits_for_points_that_were_promised_only),
		cmocka_unit_test(a_mirror_can_go_when_what_was_used_is_unmapped),
		cmocka_unit_test(an_object_is_used_where_it_is_bound),
		cmocka_unit_test(a_job_that_does_not_end_is_ended),
		cmocka_unit_test(memory_of_a_user_pointer_goes_behind_its_jobs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
