/* SPDX-License-Identifier: MIT */
/* purge_test.c - objects whose bytes a client does not need: who keeps them, who loses them. */
#include "xe_objects.h"

#define A OBJECTS
#define B (OBJECTS + MIB(32))
#define BATCH (OBJECTS + MIB(64))
#define PAGES 16u
#define RETAINED (client.page + 2048)
#define VRAM_REGION (1u << 1)

/* Advise what is bound over @at. Return: is it all still there? -errno. */
static int advise(uint32_t vm, uint64_t at, uint32_t value)
{
	struct xe_madvise args = {
		.vm = vm,
		.type = XE_ATTR_PURGEABLE,
		.start = at,
		.bytes = PAGE_BYTES,
		.number.value = value,
		.number.retained = RETAINED,
	};
	int err;

	CHECK(!sim_store(sim, RETAINED, 0));
	err = call(XE_MADVISE, &args);
	return err ? err : (int)(uint32_t)load(RETAINED);
}

static void bind_at(uint32_t vm, uint32_t object, uint64_t at)
{
	struct xe_bind_op op = map_op(object, at, PAGES);

	CHECK(!bind_one(vm, &op, NULL, 0));
}

static int try_bind(uint32_t vm, uint32_t object)
{
	struct xe_bind_op op = map_op(object, BATCH + MIB(1), PAGES);

	return bind_one(vm, &op, NULL, 0);
}

static int try_map(uint32_t object)
{
	struct xe_gem_mmap_offset args = { .handle = object };
	uint64_t addr;

	CHECK(!call(XE_GEM_MMAP_OFFSET, &args));
	return xe_map(client.file, 0, PAGE_BYTES, true, args.offset, &addr);
}

/* All others lose their places. */
static void fill_memory(void)
{
	struct drm_gem_close args = {
		.handle = make_object_of(MIB(16) / PAGE_BYTES, VRAM_REGION, 0),
	};

	CHECK(!call(DRM_GEM_CLOSE, &args));
}

/* A client whose *@vm has an object bound at A. */
static uint32_t start_with_object(uint32_t *vm)
{
	uint32_t object;

	client_start(NULL);
	*vm = make_vm(0);
	object = make_object_of(PAGES, VRAM_REGION, 0);
	bind_at(*vm, object, A);
	return object;
}

static void evict(void *arg)
{
	uint32_t vm, object = start_with_object(&vm);

	(void)arg;
	memory_of(object)[1] = 77;
	fill_memory();
	CHECK(advise(vm, A, XE_PURGEABLE_DONTNEED) == 1);
	CHECK(try_bind(vm, object) == -EBUSY && try_map(object) == -EBUSY);
	/* Where it has no place there is nothing to be taken. */
	fill_memory();
	CHECK(advise(vm, A, XE_PURGEABLE_WILLNEED) == 1 && memory_of(object)[1] == 77);
	CHECK(!try_bind(vm, object));
	CHECK(try_map(object) == -EOPNOTSUPP); /* here nobody can be shown memory */
	CHECK(advise(vm, A, XE_PURGEABLE_DONTNEED) == 1);
	/* The second bind needs it. */
	CHECK(advise(vm, BATCH + MIB(1), XE_PURGEABLE_WILLNEED) == 1);
	fill_memory();
	CHECK(advise(vm, BATCH + MIB(1), XE_PURGEABLE_DONTNEED) == 1);
	CHECK(memory_of(object)[1] == 77);
	CHECK(advise(vm, A, XE_PURGEABLE_WILLNEED) == 1 && !try_bind(vm, object));
	client_stop();
}

static void what_is_needed_by_one_bind_is_kept(void **state)
{
	(void)state;
	run_client(evict, NULL);
}

static void purge(void *arg)
{
	uint32_t vm, object = start_with_object(&vm);
	uint32_t kept = make_object_of(PAGES, VRAM_REGION, 0);

	(void)arg;
	bind_at(vm, kept, B);
	memory_of(object)[1] = 77;
	memory_of(kept)[1] = 78;
	CHECK(advise(vm, A, XE_PURGEABLE_DONTNEED) == 1 && memory_of(object)[1] == 77);
	fill_memory();
	CHECK(memory_of(object)[1] != 77 && memory_of(kept)[1] == 78);
	/* For good, and told again and again. */
	CHECK(!advise(vm, A, XE_PURGEABLE_WILLNEED) && !advise(vm, A, XE_PURGEABLE_WILLNEED));
	CHECK(!advise(vm, A, XE_PURGEABLE_DONTNEED));
	CHECK(advise(vm, B, XE_PURGEABLE_WILLNEED) == 1);
	CHECK(try_bind(vm, object) == -EINVAL && try_map(object) == -EINVAL);
	CHECK(!try_bind(vm, kept));
	client_stop();
}

static void what_no_bind_needs_goes_with_its_place(void **state)
{
	(void)state;
	run_client(purge, NULL);
}

static void rests(void *arg)
{
	struct xe_bind_op first = unmap_op(A, 1), rest = unmap_op(A, PAGES);
	uint32_t vm, object = start_with_object(&vm);

	(void)arg;
	bind_at(vm, object, B);
	CHECK(advise(vm, A, XE_PURGEABLE_DONTNEED) == 1 && !try_bind(vm, object));
	CHECK(advise(vm, BATCH + MIB(1), XE_PURGEABLE_DONTNEED) == 1);
	/* The last that needed it goes. */
	rest.addr = B;
	CHECK(!bind_one(vm, &rest, NULL, 0));
	CHECK(try_bind(vm, object) == -EBUSY);
	/* What is left of a bind is advised as the whole was; and so is an object without. */
	CHECK(!bind_one(vm, &first, NULL, 0));
	CHECK(try_bind(vm, object) == -EBUSY);
	rest.addr = A;
	CHECK(!bind_one(vm, &rest, NULL, 0));
	rest.addr = BATCH + MIB(1);
	CHECK(!bind_one(vm, &rest, NULL, 0));
	CHECK(try_bind(vm, object) == -EBUSY);
	client_stop();
}

static void what_is_left_of_a_bind_keeps_its_advice(void **state)
{
	(void)state;
	run_client(rests, NULL);
}

static void refuse(void *arg)
{
	struct xe_madvise args = { .type = XE_ATTR_PURGEABLE, .start = A, .bytes = PAGE_BYTES,
				   .number.retained = 8 };
	struct xe_bind_op op = mirror_op();
	uint32_t vm, object;

	(void)arg;
	client_start(NULL);
	args.vm = vm = make_vm(SVM);
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(call(XE_MADVISE, &args) == -EFAULT);
	args.number.retained = RETAINED;
	CHECK(!sim_store(sim, RETAINED, 1));
	CHECK(call(XE_MADVISE, &args) == -EINVAL);
	/* Nothing is bound there, or no object: that is all kept. */
	CHECK(advise(vm, A, XE_PURGEABLE_DONTNEED) == 1);
	CHECK(advise(vm, MIB(1), XE_PURGEABLE_DONTNEED) == 1);
	/* Who wants no answer gets none. */
	object = make_object_of(PAGES, VRAM_REGION, 0);
	bind_at(vm, object, A);
	args.number.retained = 0;
	args.number.value = XE_PURGEABLE_DONTNEED;
	CHECK(!call(XE_MADVISE, &args) && try_bind(vm, object) == -EBUSY);
	client_stop();
}

static void the_answer_goes_where_a_zero_is(void **state)
{
	(void)state;
	run_client(refuse, NULL);
}

/* A job that stores into what was purged. Return: is its queue still good? */
static bool store_into_purged(uint32_t flags)
{
	uint32_t vm = make_vm(flags);
	uint32_t object = make_object_of(PAGES, VRAM_REGION, 0);
	uint32_t batch = make_object_of(1, VRAM_REGION, 0);
	struct xe_bind_op op = map_op(batch, BATCH, 1);
	uint32_t queue = make_queue(vm, XE_ENGINE_COPY);

	bind_at(vm, object, A);
	CHECK(!bind_one(vm, &op, NULL, 0));
	put_store(memory_of(batch), A + 8, 5);
	CHECK(run_batch(queue, BATCH) && memory_of(object)[2] == 5);
	CHECK(advise(vm, A, XE_PURGEABLE_DONTNEED) == 1);
	fill_memory();
	CHECK(!advise(vm, A, XE_PURGEABLE_WILLNEED));
	return run_batch(queue, BATCH);
}

static void jobs(void *arg)
{
	(void)arg;
	client_start(NULL);
	CHECK(store_into_purged(XE_VM_SCRATCH_PAGE));
	CHECK(!store_into_purged(0));
	client_stop();
}

static void a_job_finds_a_scratch_page_where_something_was_purged(void **state)
{
	(void)state;
	run_client(jobs, NULL);
}

static void fault(void *arg)
{
	uint32_t vm, object, queue;
	struct xe_bind_op op;
	struct xe_sync sync;
	uint64_t page;

	(void)arg;
	client_start(NULL);
	vm = make_vm(SVM);
	op = mirror_op();
	CHECK(!bind_one(vm, &op, NULL, 0));
	object = make_object_of(PAGES, VRAM_REGION, 0);
	bind_at(vm, object, A);
	queue = make_queue(vm, XE_ENGINE_COPY);
	page = map_pages(1);
	write_store(page, A, 5);
	CHECK(advise(vm, A, XE_PURGEABLE_DONTNEED) == 1);
	sync = user_fence(page + 512, 1);
	CHECK(!exec_one(queue, page, &sync, 1));
	CHECK(wait_user_fence(page + 512, 1, queue, FOREVER) == -EIO);
	client_stop();
}

static void a_fault_does_not_bring_back_what_nobody_needs(void **state)
{
	(void)state;
	run_client(fault, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_needed_by_one_bind_is_kept),
		cmocka_unit_test(what_no_bind_needs_goes_with_its_place),
		cmocka_unit_test(what_is_left_of_a_bind_keeps_its_advice),
		cmocka_unit_test(the_answer_goes_where_a_zero_is),
		cmocka_unit_test(a_job_finds_a_scratch_page_where_something_was_purged),
		cmocka_unit_test(a_fault_does_not_bring_back_what_nobody_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
