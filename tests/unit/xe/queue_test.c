/* SPDX-License-Identifier: MIT */
/* queue_test.c - what queues and objects may be asked to be; objects that the client maps. */
#include "xe_objects.h"

#define PROPERTY (client.page + 2048)

static struct xe_exec_queue_create wanted(uint32_t vm, uint16_t engine_class)
{
	const struct xe_engine_instance engine = { .engine_class = engine_class };

	return (struct xe_exec_queue_create){
		.vm = vm, .width = 1, .placement_count = 1,
		.instances = put_array(&engine, sizeof(engine)),
	};
}

/* A queue with one property. */
static int ask_for(uint32_t vm, uint32_t property, uint64_t value)
{
	const struct xe_extension_property p = { .property = property, .value = value };
	struct xe_exec_queue_create args = wanted(vm, XE_ENGINE_COPY);

	write_words(PROPERTY, &p, sizeof(p));
	args.extensions = PROPERTY;
	return call(XE_EXEC_QUEUE_CREATE, &args);
}

static void properties(void *arg)
{
	const bool *has_groups = arg;
	uint32_t vm;

	client_start(*has_groups ? "cri" : "bmg");
	vm = make_vm(0);
	CHECK(!ask_for(vm, XE_QUEUE_PRIORITY, 2));
	CHECK(ask_for(vm, XE_QUEUE_PRIORITY, 3) == -EINVAL);
	CHECK(!ask_for(vm, XE_QUEUE_TIMESLICE, 1000));
	CHECK(ask_for(vm, XE_QUEUE_TIMESLICE, 0) == -EINVAL);
	CHECK(ask_for(vm, XE_QUEUE_TIMESLICE, 10000001) == -EINVAL);
	CHECK(!ask_for(vm, XE_QUEUE_PXP_TYPE, 0));
	CHECK(ask_for(vm, XE_QUEUE_PXP_TYPE, 1) == -ENODEV);
	CHECK(ask_for(vm, XE_QUEUE_HANG_REPLAY_STATE, 0) == -EINVAL);
	CHECK(ask_for(vm, 99, 0) == -EINVAL);
	/* Of a queue in a group alone. */
	CHECK(ask_for(vm, XE_QUEUE_MULTI_QUEUE_PRIORITY, 1) == -EINVAL);
	client_stop();
}

static void a_queue_has_the_properties_that_there_are(void **state)
{
	bool has_groups[2] = { false, true };

	(void)state;
	run_client(properties, &has_groups[0]);
	run_client(properties, &has_groups[1]);
}

static void chains(void *arg)
{
	struct xe_extension_property p = { .property = XE_QUEUE_PRIORITY };
	struct xe_exec_queue_create args;
	uint32_t vm;

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	args = wanted(vm, XE_ENGINE_COPY);
	args.extensions = 8;
	CHECK(call(XE_EXEC_QUEUE_CREATE, &args) == -EFAULT);
	args.extensions = PROPERTY;
	p.base.next = PROPERTY; /* itself */
	write_words(PROPERTY, &p, sizeof(p));
	CHECK(call(XE_EXEC_QUEUE_CREATE, &args) == -E2BIG);
	p = (struct xe_extension_property){ .base.name = 1 };
	write_words(PROPERTY, &p, sizeof(p));
	CHECK(call(XE_EXEC_QUEUE_CREATE, &args) == -EINVAL);
	p = (struct xe_extension_property){ .base.pad = 1 };
	write_words(PROPERTY, &p, sizeof(p));
	CHECK(call(XE_EXEC_QUEUE_CREATE, &args) == -EINVAL);
	p = (struct xe_extension_property){ .reserved[1] = 1 };
	write_words(PROPERTY, &p, sizeof(p));
	CHECK(call(XE_EXEC_QUEUE_CREATE, &args) == -EINVAL);
	client_stop();
}

static void a_chain_of_extensions_is_finite_and_clean(void **state)
{
	(void)state;
	run_client(chains, NULL);
}

static int engines_of(uint32_t vm, uint16_t width, uint16_t placements,
		      const struct xe_engine_instance *engines, uint32_t flags)
{
	struct xe_exec_queue_create args = {
		.vm = vm, .width = width, .placement_count = placements, .flags = flags,
		.instances = put_array(engines, (size_t)width * placements * sizeof(*engines)),
	};

	return call(XE_EXEC_QUEUE_CREATE, &args);
}

static void engines(void *arg)
{
	struct xe_engine_instance e[20] = { { .engine_class = XE_ENGINE_COPY },
					    { .engine_class = XE_ENGINE_RENDER } };
	uint32_t vm;

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	CHECK(engines_of(vm, 1, 2, e, 0) == -EINVAL); /* of two classes */
	e[1] = e[0];
	CHECK(!engines_of(vm, 1, 2, e, XE_QUEUE_LOW_LATENCY));
	CHECK(!engines_of(vm, 2, 1, e, 0));
	CHECK(engines_of(vm, 1, 1, e, 2) == -EINVAL);
	CHECK(engines_of(vm, 9, 1, e, 0) == -EINVAL);
	CHECK(engines_of(vm, 8, 2, e, 0) == -EINVAL); /* the others are render engines */
	CHECK(engines_of(vm, 5, 4, e, 0) == -EINVAL);
	CHECK(engines_of(vm, 1, 0, e, 0) == -EINVAL);
	e[1].gt = 1;
	CHECK(engines_of(vm, 1, 2, e, 0) == -EINVAL);
	e[0].engine_class = e[1].engine_class = XE_ENGINE_VM_BIND;
	e[1].gt = 0;
	CHECK(engines_of(vm, 2, 1, e, 0) == -EINVAL);
	CHECK(engines_of(vm, 1, 1, e, XE_QUEUE_LOW_LATENCY) == -EINVAL);
	CHECK(!engines_of(vm, 1, 1, e, 0));
	client_stop();
}

static void engines_of_a_queue_are_of_one_class_that_is_there(void **state)
{
	(void)state;
	run_client(engines, NULL);
}

static int set(uint32_t queue, uint32_t property, uint64_t value)
{
	struct xe_exec_queue_property args = { .queue = queue, .property = property,
					       .value = value };

	return call(XE_EXEC_QUEUE_SET_PROPERTY, &args);
}

static void later(void *arg)
{
	struct xe_exec_queue_property get = { .queue = 99 };
	uint32_t vm, plain;

	(void)arg;
	client_start("cri");
	vm = make_vm(0);
	plain = make_queue(vm, XE_ENGINE_COPY);
	CHECK(!ask_for(vm, XE_QUEUE_MULTI_GROUP, XE_MULTI_GROUP_CREATE));
	CHECK(!set(plain + 1, XE_QUEUE_MULTI_QUEUE_PRIORITY, 2));
	CHECK(set(plain + 1, XE_QUEUE_MULTI_QUEUE_PRIORITY, 3) == -EINVAL);
	CHECK(set(plain, XE_QUEUE_MULTI_QUEUE_PRIORITY, 1) == -EINVAL);
	CHECK(set(plain + 1, XE_QUEUE_PRIORITY, 1) == -EINVAL);
	CHECK(set(99, XE_QUEUE_MULTI_QUEUE_PRIORITY, 1) == -ENOENT);
	CHECK(call(XE_EXEC_QUEUE_GET_PROPERTY, &get) == -ENOENT);
	get = (struct xe_exec_queue_property){ .queue = plain, .property = 1 };
	CHECK(call(XE_EXEC_QUEUE_GET_PROPERTY, &get) == -EINVAL);
	client_stop();
}

static void only_the_priority_in_a_group_changes_later(void **state)
{
	(void)state;
	run_client(later, NULL);
}

/* --- objects ------------------------------------------------------------------------- */

static int ask_object(uint32_t property, uint64_t value, uint64_t next)
{
	const struct xe_extension_property p = { .base.next = next, .property = property,
						 .value = value };
	struct xe_gem_create args = {
		.bytes = PAGE_BYTES, .placement = 1u << 0, .cpu_caching = XE_GEM_CACHING_WB,
		.extensions = PROPERTY,
	};

	write_words(PROPERTY, &p, sizeof(p));
	return call(XE_GEM_CREATE, &args);
}

static void objects(void *arg)
{
	struct xe_gem_create args = {
		.bytes = PAGE_BYTES, .placement = 1u << 0, .cpu_caching = XE_GEM_CACHING_WB,
		.flags = XE_GEM_SCANOUT,
	};
	struct drm_gem_close close = { .handle = 1, .pad = 1 };

	(void)arg;
	client_start(NULL);
	CHECK(!ask_object(0, 0, 0));
	CHECK(ask_object(0, 1, 0) == -ENODEV && ask_object(0, 2, 0) == -EINVAL);
	CHECK(ask_object(1, 0, 0) == -EINVAL && ask_object(0, 0, 8) == -EFAULT);
	CHECK(ask_object(0, 0, PROPERTY) == -E2BIG);
	CHECK(call(XE_GEM_CREATE, &args) == -EINVAL);
	args.cpu_caching = XE_GEM_CACHING_WC;
	args.flags |= XE_GEM_DEFER_BACKING;
	CHECK(!call(XE_GEM_CREATE, &args));
	CHECK(call(DRM_GEM_CLOSE, &close) == -EINVAL);
	/* More than there is, all of which is in use by what cannot go. */
	args = (struct xe_gem_create){ .bytes = MIB(32), .placement = 1u << 1,
				       .cpu_caching = XE_GEM_CACHING_WC };
	CHECK(call(XE_GEM_CREATE, &args) == -ENOSPC);
	client_stop();
}

static void an_object_is_what_it_may_be(void **state)
{
	(void)state;
	run_client(objects, NULL);
}

static void maps(void *arg)
{
	struct xe_gem_mmap_offset args = { .flags = XE_MMAP_OFFSET_PCI_BARRIER };
	uint32_t object;
	uint64_t addr;

	(void)arg;
	client_start(NULL);
	CHECK(!call(XE_GEM_MMAP_OFFSET, &args) && xe_is_barrier(args.offset));
	args.handle = 1;
	CHECK(call(XE_GEM_MMAP_OFFSET, &args) == -EINVAL);
	args.flags = 2;
	CHECK(call(XE_GEM_MMAP_OFFSET, &args) == -EINVAL);
	object = make_object(2);
	args = (struct xe_gem_mmap_offset){ .handle = object };
	CHECK(!call(XE_GEM_MMAP_OFFSET, &args) && !xe_is_barrier(args.offset));
	/* The simulated kernel can show nothing: it is asked, or it is not. */
	CHECK(xe_map(client.file, 0, 2 * PAGE_BYTES, true, args.offset, &addr) == -EOPNOTSUPP);
	CHECK(xe_map(client.file, 0, 100, false, args.offset + PAGE_BYTES, &addr) ==
	      -EOPNOTSUPP);
	CHECK(xe_map(client.file, 0, 0, true, args.offset, &addr) == -EINVAL);
	CHECK(xe_map(client.file, 0, 2 * PAGE_BYTES, true, args.offset + PAGE_BYTES, &addr) ==
	      -EINVAL);
	CHECK(xe_map(client.file, 0, UINT64_MAX - PAGE_BYTES, true, args.offset, &addr) ==
	      -EINVAL);
	CHECK(xe_map(client.file, 0, PAGE_BYTES, true, 99ull << 40, &addr) == -EINVAL);
	client_stop();
}

static void an_object_is_mapped_by_its_offset(void **state)
{
	(void)state;
	run_client(maps, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_queue_has_the_properties_that_there_are),
		cmocka_unit_test(a_chain_of_extensions_is_finite_and_clean),
		cmocka_unit_test(engines_of_a_queue_are_of_one_class_that_is_there),
		cmocka_unit_test(only_the_priority_in_a_group_changes_later),
		cmocka_unit_test(an_object_is_what_it_may_be),
		cmocka_unit_test(an_object_is_mapped_by_its_offset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
