/* SPDX-License-Identifier: MIT */
/* refuse_test.c - arguments of a client that are refused, errno for errno; and queries. */
#include "xe_fixture.h"

#define LR XE_VM_LR_MODE
#define SVM (XE_VM_LR_MODE | XE_VM_FAULT_MODE)

static void vms(void *arg)
{
	const uint32_t bad[] = {
		XE_VM_FAULT_MODE,
		XE_VM_NO_OVERCOMMIT,
		LR | XE_VM_NO_OVERCOMMIT,
		1u << 4,
	};
	uint32_t vm, queue;

	(void)arg;
	client_start(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(call(XE_VM_CREATE, &(struct xe_vm_create){ .flags = bad[i] }) == -EINVAL);
	CHECK(call(XE_VM_CREATE, &(struct xe_vm_create){ .extensions = 1 }) == -EINVAL);
	CHECK(call(XE_VM_CREATE, &(struct xe_vm_create){ .reserved[1] = 1 }) == -EINVAL);
	CHECK(destroy_vm(1) == -ENOENT);
	CHECK(call(XE_VM_DESTROY, &(struct xe_vm_destroy){ .vm = 1, .pad = 1 }) == -EINVAL);
	/* Its queues would have to be preempted. */
	vm = make_vm(LR);
	queue = make_queue(vm, XE_ENGINE_COPY);
	CHECK(destroy_vm(vm) == -EBUSY);
	CHECK(!destroy_queue(queue));
	CHECK(destroy_queue(queue) == -ENOENT);
	CHECK(!destroy_vm(vm));
	CHECK(destroy_vm(vm) == -ENOENT);
	client_stop();
}

static void address_spaces_are_checked(void **state)
{
	(void)state;
	run_client(vms, NULL);
}

static void binds(void *arg)
{
	const struct xe_bind_op good = mirror_op();
	struct xe_bind_op bad[16];
	struct xe_sync syncs[2];
	uint32_t vm, plain;
	size_t n = 0;

	(void)arg;
	client_start(NULL);
	vm = make_vm(SVM);
	plain = make_vm(0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[n++].op = XE_BIND_PREFETCH + 1;
	bad[n++].op = XE_BIND_UNMAP;
	bad[n++].flags |= 1u << 8;
	bad[n++].flags = XE_BIND_AUTORESET;
	bad[n++].object = 1;
	bad[n++].offset = PAGE_BYTES;
	bad[n++].bytes = 0;
	bad[n++].bytes = PAGE_BYTES + 1;
	bad[n++].addr = 8;
	bad[n++].addr = PAGE_BYTES; /* past the end */
	bad[n++].pat_index = 16;
	bad[n++].pat_index = 32;
	bad[n++].region = 1;
	bad[n++].extensions = 8;
	bad[n++].pad = 1;
	bad[n++].reserved[2] = 1;
	CHECK(n == ARRAY_SIZE(bad));
	for (size_t i = 0; i < n; i++)
		CHECK(bind_one(vm, &bad[i], NULL, 0) == -EINVAL);
	CHECK(bind_one(plain, &good, NULL, 0) == -EINVAL); /* it has no faults */
	CHECK(bind_one(99, &good, NULL, 0) == -ENOENT);
	syncs[0] = syncs[1] = user_fence(client.page, 1);
	CHECK(bind_one(vm, &good, syncs, 2) == -EINVAL);
	syncs[0].handle = client.page + 4;
	CHECK(bind_one(vm, &good, syncs, 1) == -EINVAL);
	syncs[0].handle = 8;
	CHECK(bind_one(vm, &good, syncs, 1) == -EFAULT);
	syncs[0] = (struct xe_sync){ .type = XE_SYNC_SYNCOBJ, .handle = 9 };
	CHECK(bind_one(vm, &good, syncs, 1) == -ENOENT);
	syncs[0].flags = XE_SYNC_SIGNAL;
	CHECK(bind_one(vm, &good, syncs, 1) == -EOPNOTSUPP);
	CHECK(!bind_one(vm, &good, NULL, 0));
	client_stop();
}

static void binds_are_checked(void **state)
{
	(void)state;
	run_client(binds, NULL);
}

static void queues(void *arg)
{
	const struct xe_engine_instance engines[] = {
		{ .engine_class = XE_ENGINE_COPY },
		{ .engine_class = XE_ENGINE_COPY, .instance = 1 },
		{ .engine_class = XE_ENGINE_VIDEO_DECODE },
		{ .engine_class = XE_ENGINE_COPY, .pad = 1 },
	};
	struct xe_exec_queue_create args = { .width = 1, .placement_count = 1 };
	uint32_t vm, queue;

	(void)arg;
	client_start(NULL);
	vm = make_vm(SVM);
	for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
		args.vm = vm;
		args.instances = put_array(&engines[i], sizeof(engines[i]));
		CHECK(call(XE_EXEC_QUEUE_CREATE, &args) == (i ? -EINVAL : 0));
	}
	args.vm = 77;
	args.instances = put_array(&engines[0], sizeof(engines[0]));
	CHECK(call(XE_EXEC_QUEUE_CREATE, &args) == -ENOENT);
	args.vm = vm;
	args.instances = 8;
	CHECK(call(XE_EXEC_QUEUE_CREATE, &args) == -EFAULT);
	args.width = 0;
	CHECK(call(XE_EXEC_QUEUE_CREATE, &args) == -EINVAL);
	queue = make_queue(vm, XE_ENGINE_VM_BIND);
	CHECK(exec_one(queue, client.page, NULL, 0) == -EINVAL);
	CHECK(exec_one(queue + 1, client.page, NULL, 0) == -ENOENT);
	CHECK(wait_user_fence(client.page + 4, 0, 0, 0) == -EINVAL);
	CHECK(wait_user_fence(8, 0, 0, 0) == -EFAULT);
	CHECK(wait_user_fence(client.page, 0, 55, 0) == -ENOENT);
	client_stop();
}

static void queues_and_jobs_are_checked(void **state)
{
	(void)state;
	run_client(queues, NULL);
}

static void objects(void *arg)
{
	const struct xe_gem_create good = {
		.bytes = PAGE_BYTES,
		.placement = 1u << 1,
		.cpu_caching = XE_GEM_CACHING_WC,
	};
	struct xe_gem_create bad[9], args;
	size_t n = 0;

	(void)arg;
	client_start(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[n++].bytes = 0;
	bad[n++].bytes = 8;
	bad[n++].placement = 0;
	bad[n++].placement = 1u << 2;
	bad[n++].cpu_caching = 0;
	bad[n++].cpu_caching = XE_GEM_CACHING_WB; /* in VRAM */
	bad[n++].handle = 1;
	bad[n++].flags = 1u << 4;
	bad[n++].reserved[0] = 1;
	CHECK(n == ARRAY_SIZE(bad));
	for (size_t i = 0; i < n; i++)
		CHECK(call(XE_GEM_CREATE, &bad[i]) == -EINVAL);
	args = good;
	args.placement = 1u << 0;
	args.flags = XE_GEM_NEEDS_VISIBLE_VRAM;
	CHECK(call(XE_GEM_CREATE, &args) == -EINVAL);
	args = good;
	args.vm = 5;
	CHECK(call(XE_GEM_CREATE, &args) == -ENOENT);
	args = good;
	args.placement |= 1u << 0;
	args.bytes = 1ull << 50;
	CHECK(call(XE_GEM_CREATE, &args) == -ENOSPC);
	args = good;
	args.bytes = MIB(32); /* twice what the card has */
	CHECK(call(XE_GEM_CREATE, &args) == -ENOSPC);
	args = good;
	CHECK(!call(XE_GEM_CREATE, &args) && args.handle == 1);
	client_stop();
}

static void objects_are_checked(void **state)
{
	(void)state;
	run_client(objects, NULL);
}

static int make_grouped(uint32_t vm, uint16_t engine_class, uint64_t value)
{
	const struct xe_extension_property group = {
		.property = XE_QUEUE_MULTI_GROUP,
		.value = value,
	};
	const struct xe_engine_instance engine = { .engine_class = engine_class };
	struct xe_exec_queue_create args = {
		.vm = vm,
		.width = 1,
		.placement_count = 1,
		.extensions = client.page + 2048,
	};

	write_words(client.page + 2048, &group, sizeof(group));
	args.instances = put_array(&engine, sizeof(engine));
	if (call(XE_EXEC_QUEUE_CREATE, &args))
		return xe_ioctl(client.file, (uint64_t)sizeof(args) << 16 | XE_IOCTL_TYPE << 8 |
						     XE_EXEC_QUEUE_CREATE,
				client.page);
	return (int)args.queue;
}

static void groups(void *arg)
{
	const bool *has_groups = arg;
	uint32_t vm;
	int first, plain;

	client_start(*has_groups ? "cri" : "bmg");
	vm = make_vm(SVM);
	plain = (int)make_queue(vm, XE_ENGINE_COPY);
	first = make_grouped(vm, XE_ENGINE_COPY, XE_MULTI_GROUP_CREATE);
	CHECK(*has_groups ? first > 0 : first == -ENODEV);
	if (*has_groups) {
		CHECK(make_grouped(vm, XE_ENGINE_COPY, (uint64_t)first) > 0);
		CHECK(make_grouped(vm, XE_ENGINE_COMPUTE, (uint64_t)first) == -EINVAL);
		CHECK(make_grouped(vm, XE_ENGINE_COPY, (uint64_t)plain) == -EINVAL);
		CHECK(make_grouped(vm, XE_ENGINE_COPY, 99) == -ENOENT);
		CHECK(make_grouped(vm, XE_ENGINE_COPY, XE_MULTI_GROUP_CREATE | 1) == -EINVAL);
		CHECK(make_grouped(vm, XE_ENGINE_COPY, 1ull << 40) == -EINVAL);
		CHECK(make_grouped(vm, XE_ENGINE_RENDER, XE_MULTI_GROUP_CREATE) == -EINVAL);
	}
	client_stop();
}

static void groups_are_for_engines_and_cards_that_have_them(void **state)
{
	bool has_groups[2] = { false, true };

	(void)state;
	run_client(groups, &has_groups[0]);
	run_client(groups, &has_groups[1]);
}

static void queries(void *arg)
{
	struct xe_device_query args = { .query = XE_QUERY_CONFIG };
	uint64_t words[6];

	(void)arg;
	client_start("cri");
	CHECK(!call(XE_DEVICE_QUERY, &args) && args.bytes == sizeof(words));
	args.data = client.page + 2048;
	CHECK(!call(XE_DEVICE_QUERY, &args));
	read_words(args.data, words, sizeof(words));
	CHECK(words[0] == XE_CONFIG_COUNT);
	CHECK((words[1 + XE_CONFIG_REV_AND_DEVICE] & 0xffff) == 0x674c);
	CHECK(words[1 + XE_CONFIG_FLAGS] & XE_CONFIG_HAS_MIRROR);
	CHECK(words[1 + XE_CONFIG_VA_BITS] == 48);
	args.bytes--;
	CHECK(call(XE_DEVICE_QUERY, &args) == -EINVAL);
	args = (struct xe_device_query){ .query = XE_QUERY_EU_STALL + 1 };
	CHECK(call(XE_DEVICE_QUERY, &args) == -EINVAL);
	args = (struct xe_device_query){ .query = XE_QUERY_PXP_STATUS, .bytes = 8 };
	CHECK(call(XE_DEVICE_QUERY, &args) == -ENODEV);
	args = (struct xe_device_query){ .query = XE_QUERY_CONFIG, .reserved[0] = 1 };
	CHECK(call(XE_DEVICE_QUERY, &args) == -EINVAL);
	/* Not one of ours at all; no such number; no such memory. */
	CHECK(xe_ioctl(client.file, 0x5401, client.page) == -ENOTTY);
	CHECK(xe_ioctl(client.file, XE_IOCTL_TYPE << 8 | 0x9f, client.page) == -EINVAL);
	CHECK(client.refusals == 1);
	CHECK(xe_ioctl(client.file, 40 << 16 | XE_IOCTL_TYPE << 8 | XE_DEVICE_QUERY, 8) ==
	      -EFAULT);
	client_stop();
}

static void queries_tell_the_profile_and_want_its_size(void **state)
{
	(void)state;
	run_client(queries, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(address_spaces_are_checked),
		cmocka_unit_test(binds_are_checked),
		cmocka_unit_test(queues_and_jobs_are_checked),
		cmocka_unit_test(objects_are_checked),
		cmocka_unit_test(groups_are_for_engines_and_cards_that_have_them),
		cmocka_unit_test(queries_tell_the_profile_and_want_its_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
