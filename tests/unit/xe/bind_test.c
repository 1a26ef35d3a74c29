/* SPDX-License-Identifier: MIT */
/* bind_test.c - binds: arrays, what they name, what they wait for, and who waits for them. */
#include "xe_objects.h"

#define A OBJECTS
#define B (OBJECTS + MIB(1))
#define C (OBJECTS + MIB(2))

static void arrays(void *arg)
{
	struct xe_vm_bind args = { .count = 2, .ops = 8 };
	struct xe_bind_op ops[3];
	uint32_t vm, object;

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	object = make_object(2);
	ops[0] = map_op(object, A, 2);
	ops[1] = map_op(object, B, 2);
	ops[2] = unmap_op(A, 1);
	CHECK(!bind_array(vm, 0, ops, 3, NULL, 0));
	CHECK(!is_bound(vm, A) && is_bound(vm, A + PAGE_BYTES) && is_bound(vm, B));
	/* All are looked at before the first is done. */
	ops[0] = map_op(object, C, 2);
	ops[1].addr = 8;
	CHECK(bind_array(vm, 0, ops, 2, NULL, 0) == -EINVAL);
	ops[1] = map_op(object + 1, B, 2);
	CHECK(bind_array(vm, 0, ops, 2, NULL, 0) == -ENOENT);
	CHECK(!is_bound(vm, C));
	args.vm = vm;
	CHECK(call(XE_VM_BIND, &args) == -EFAULT);
	args.count = 65537;
	CHECK(call(XE_VM_BIND, &args) == -ENOBUFS);
	CHECK(!bind_array(vm, 0, ops, 0, NULL, 0));
	client_stop();
}

static void the_operations_of_an_array_are_checked_then_done_in_order(void **state)
{
	(void)state;
	run_client(arrays, NULL);
}

static void names(void *arg)
{
	struct xe_bind_op op;
	uint32_t vm, other, object, own;
	struct xe_gem_create cached = {
		.bytes = PAGE_BYTES, .placement = 1u << 0, .cpu_caching = XE_GEM_CACHING_WB,
	};

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	other = make_vm(0);
	object = make_object(2);
	own = make_object_of(1, 1u << 0, other);
	CHECK(!call(XE_GEM_CREATE, &cached));
	op = map_op(99, A, 1);
	CHECK(bind_one(vm, &op, NULL, 0) == -ENOENT);
	op = map_op(object, A, 3);
	CHECK(bind_one(vm, &op, NULL, 0) == -EINVAL);
	op = map_op(object, A, 2);
	op.offset = PAGE_BYTES;
	CHECK(bind_one(vm, &op, NULL, 0) == -EINVAL);
	op = map_op(own, A, 1);
	CHECK(bind_one(vm, &op, NULL, 0) == -EINVAL);
	CHECK(!bind_one(other, &op, NULL, 0));
	/* What the CPU caches is not to be had behind its caches. */
	op = map_op(cached.handle, A, 1);
	op.pat_index = UC;
	CHECK(bind_one(vm, &op, NULL, 0) == -EINVAL);
	op.object = object;
	CHECK(!bind_one(vm, &op, NULL, 0));
	op = user_op(client.page, A, 1);
	op.pat_index = UC;
	CHECK(bind_one(vm, &op, NULL, 0) == -EINVAL);
	client_stop();
}

static void an_object_is_bound_where_it_may_be_and_as_it_may_be(void **state)
{
	(void)state;
	run_client(names, NULL);
}

static void wrong(void *arg)
{
	struct xe_bind_op bad[12];
	uint32_t vm, object;
	size_t n = 0;

	(void)arg;
	client_start(NULL);
	vm = make_vm(SVM);
	object = make_object(1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = map_op(object, A, 1);
	bad[n++].flags = XE_BIND_NULL; /* has an object */
	bad[n++] = null_op(A, 1);
	bad[n - 1].offset = PAGE_BYTES;
	bad[n++] = unmap_op(A, 1);
	bad[n - 1].flags = XE_BIND_NULL;
	bad[n++] = unmap_op(A, 1);
	bad[n - 1].flags = XE_BIND_DECOMPRESS;
	bad[n++] = null_op(A, 1);
	bad[n - 1].flags |= XE_BIND_DECOMPRESS;
	bad[n++] = prefetch_op(A, 1, 2);
	bad[n++] = prefetch_op(A, 1, 0);
	bad[n - 1].object = object;
	bad[n++].bytes = (1ull << 48) + PAGE_BYTES;
	bad[n++].op = XE_BIND_UNMAP_ALL; /* has a place */
	bad[n++] = (struct xe_bind_op){ .op = XE_BIND_UNMAP_ALL, .pat_index = WB };
	bad[n++].reserved[0] = 1;
	bad[n++].reserved[1] = 1;
	CHECK(n == ARRAY_SIZE(bad));
	for (size_t i = 0; i < n; i++)
		CHECK(bind_one(vm, &bad[i], NULL, 0) == -EINVAL);
	CHECK(!is_bound(vm, A));
	client_stop();
}

static void what_an_operation_cannot_have_is_refused(void **state)
{
	(void)state;
	run_client(wrong, NULL);
}

static void bad_syncs(void *arg)
{
	const struct xe_bind_op op = null_op(A, 1);
	struct xe_vm_bind args = { .count = 1, .op = op, .sync_count = 1025 };
	struct xe_sync bad[6];
	struct xe_sync sync;
	uint32_t vm, syncobj, n = 0;

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	syncobj = make_syncobj(DRM_SYNCOBJ_CREATE_SIGNALED);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = (struct xe_sync){ .handle = syncobj };
	bad[n++].extensions = 8;
	bad[n++].flags = 2;
	bad[n++].reserved[0] = 1;
	bad[n++].reserved[1] = 1;
	bad[n++].type = 3;
	bad[n++].type = XE_SYNC_TIMELINE; /* point 0 */
	CHECK(n == ARRAY_SIZE(bad));
	for (size_t i = 0; i < n; i++)
		CHECK(bind_one(vm, &op, &bad[i], 1) == -EINVAL);
	sync = (struct xe_sync){ .type = XE_SYNC_USER_FENCE, .handle = client.page };
	CHECK(bind_one(vm, &op, &sync, 1) == -EOPNOTSUPP); /* to wait for */
	sync = (struct xe_sync){ .handle = make_syncobj(0) };
	CHECK(bind_one(vm, &op, &sync, 1) == -EINVAL); /* nobody has promised it */
	args.vm = vm;
	CHECK(call(XE_VM_BIND, &args) == -EINVAL);
	args.sync_count = 1;
	args.syncs = 8;
	CHECK(call(XE_VM_BIND, &args) == -EFAULT);
	CHECK(!is_bound(vm, A));
	sync = (struct xe_sync){ .handle = syncobj };
	CHECK(!bind_one(vm, &op, &sync, 1) && is_bound(vm, A));
	client_stop();
}

static void what_is_waited_for_and_signaled_is_checked(void **state)
{
	(void)state;
	run_client(bad_syncs, NULL);
}

static void all_of_one(void *arg)
{
	const uint32_t *flags = arg;
	struct xe_bind_op ops[3], op = { .op = XE_BIND_UNMAP_ALL, .pat_index = WB };
	uint32_t vm, object, other;

	client_start(NULL);
	vm = make_vm(*flags);
	object = make_object(1);
	other = make_object(1);
	ops[0] = map_op(object, A, 1);
	ops[1] = map_op(other, B, 1);
	ops[2] = map_op(object, C, 1);
	CHECK(!bind_array(vm, 0, ops, 3, NULL, 0));
	op.object = object;
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(is_bound(vm, A) == (*flags == XE_VM_SCRATCH_PAGE));
	CHECK(is_bound(vm, B));
	CHECK(is_bound(vm, C) == (*flags == XE_VM_SCRATCH_PAGE));
	CHECK(!bind_one(vm, &op, NULL, 0));
	client_stop();
}

static void an_object_can_be_unbound_wherever_it_is(void **state)
{
	uint32_t flags[2] = { 0, XE_VM_SCRATCH_PAGE };

	(void)state;
	run_client(all_of_one, &flags[0]);
	run_client(all_of_one, &flags[1]);
}

/* A batch at A that stores at B. */
static void nowhere(void *arg)
{
	struct xe_bind_op op = { 0 };
	uint32_t vm, queue, object;

	(void)arg;
	client_start(NULL);
	object = make_object(1);
	put_store(memory_of(object), B, 42);
	vm = make_vm(XE_VM_SCRATCH_PAGE);
	queue = make_queue(vm, XE_ENGINE_COPY);
	op = map_op(object, A, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(run_batch(queue, A));
	op = map_op(object, B, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	op = unmap_op(B, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(run_batch(queue, A));
	CHECK(memory_of(object)[0] == 0x10000002);
	/* Without such a page: bound to nothing, then to none. */
	vm = make_vm(0);
	queue = make_queue(vm, XE_ENGINE_COPY);
	op = map_op(object, A, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	op = null_op(B, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(run_batch(queue, A));
	op = unmap_op(B, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(!run_batch(queue, A));
	client_stop();
}

static void a_store_goes_nowhere_where_nothing_is_bound_or_a_scratch_page(void **state)
{
	(void)state;
	run_client(nowhere, NULL);
}

static void user_memory(void *arg)
{
	struct xe_bind_op op;
	uint32_t plain, faulting, queue, object;
	uint64_t memory, hole;

	(void)arg;
	client_start(NULL);
	memory = map_pages(1);
	hole = map_pages(1);
	CHECK(!sim_munmap(sim, span_make(hole, PAGE_BYTES)));
	plain = make_vm(0);
	faulting = make_vm(SVM);
	queue = make_queue(plain, XE_ENGINE_COPY);
	object = make_object(1);
	put_store(memory_of(object), B, 42);
	op = map_op(object, A, 1);
	CHECK(!bind_one(plain, &op, NULL, 0));
	op = user_op(memory, B, 1);
	CHECK(!bind_one(plain, &op, NULL, 0));
	CHECK(!bind_one(plain, &op, NULL, 0)); /* known */
	CHECK(run_batch(queue, A));
	CHECK(load(memory) == 42);
	op = user_op(hole, C, 1);
	CHECK(bind_one(plain, &op, NULL, 0) == -EFAULT);
	/* Where it may fault nobody looks before, but for who wants it at once. */
	CHECK(!bind_one(faulting, &op, NULL, 0));
	op.flags = XE_BIND_IMMEDIATE;
	CHECK(bind_one(faulting, &op, NULL, 0) == -EFAULT);
	CHECK(!destroy_vm(plain));
	client_stop();
}

static void memory_of_the_process_is_used_in_place(void **state)
{
	(void)state;
	run_client(user_memory, NULL);
}

static void ahead(void *arg)
{
	const struct xe_bind_op mirror = mirror_op();
	struct xe_bind_op op;
	uint64_t memory, hole;
	uint32_t vm, object;

	(void)arg;
	client_start(NULL);
	memory = map_pages(2);
	hole = map_pages(1);
	CHECK(!sim_munmap(sim, span_make(hole, PAGE_BYTES)));
	vm = make_vm(SVM);
	CHECK(!bind_one(vm, &mirror, NULL, 0));
	CHECK(!sim_store(sim, memory, 5));
	op = prefetch_op(memory, 1, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(!page(memory)); /* it is the device's */
	op = prefetch_op(memory, 1, 0);
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(page(memory) && load(memory) == 5);
	op = prefetch_op(memory, 1, XE_PREFETCH_ADVISED);
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(!page(memory));
	/* Nothing is there, or nothing ever will be: it is no more than a wish. */
	op = prefetch_op(hole, 1, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	op = prefetch_op(1ull << 47, 1, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	/* An object gets its place, and its entries. */
	object = make_object_of(1, 1u << 1, 0);
	op = map_op(object, B, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	op = prefetch_op(B, 1, 1);
	CHECK(!bind_one(vm, &op, NULL, 0));
	client_stop();
}

static void what_is_prefetched_is_where_it_was_wanted(void **state)
{
	(void)state;
	run_client(ahead, NULL);
}

static void above(void *arg)
{
	struct xe_bind_op op = mirror_op();
	uint32_t vm;

	(void)arg;
	client_start(NULL);
	vm = make_vm(SVM);
	op.addr = 1ull << 47;
	op.bytes = 1ull << 47;
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(!is_bound(vm, op.addr));
	op.addr = 0;
	op.bytes = 1ull << 30;
	op.flags |= XE_BIND_READONLY | XE_BIND_AUTORESET;
	CHECK(!bind_one(vm, &op, NULL, 0));
	CHECK(is_bound(vm, 0));
	client_stop();
}

static void a_mirror_of_what_no_process_has_is_none(void **state)
{
	(void)state;
	run_client(above, NULL);
}

static void queues(void *arg)
{
	const struct xe_bind_op op = null_op(A, 1);
	uint32_t vm, other, jobs, binds, others;

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	other = make_vm(0);
	jobs = make_queue(vm, XE_ENGINE_COPY);
	binds = make_queue(vm, XE_ENGINE_VM_BIND);
	others = make_queue(other, XE_ENGINE_VM_BIND);
	CHECK(bind_array(vm, jobs, &op, 1, NULL, 0) == -EINVAL);
	CHECK(bind_array(vm, others, &op, 1, NULL, 0) == -EINVAL);
	CHECK(bind_array(vm, others + 1, &op, 1, NULL, 0) == -ENOENT);
	CHECK(!is_bound(vm, A));
	CHECK(!bind_array(vm, binds, &op, 1, NULL, 0));
	CHECK(is_bound(vm, A) && !is_bound(other, A));
	CHECK(!destroy_queue(binds));
	CHECK(bind_array(vm, binds, &op, 1, NULL, 0) == -ENOENT);
	client_stop();
}

static void binds_can_have_queues_of_their_own(void **state)
{
	(void)state;
	run_client(queues, NULL);
}

static void late(void *arg)
{
	struct xe_sync first[2], second, beside;
	struct xe_bind_op op;
	struct gate gate;
	uint32_t vm, binds;

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	binds = make_queue(vm, XE_ENGINE_VM_BIND);
	gate = make_gate();
	first[0] = wait_for_gate(&gate);
	first[1] = user_fence(client.page + 2048, 7);
	second = signal_to(make_syncobj(0));
	beside = signal_to(make_syncobj(0));
	op = null_op(A, 1);
	CHECK(!bind_one(vm, &op, first, 2));
	op = null_op(B, 1);
	CHECK(!bind_one(vm, &op, &second, 1)); /* in line behind the first */
	op = null_op(C, 1);
	CHECK(!bind_array(vm, binds, &op, 1, &beside, 1)); /* in another line */
	CHECK(!is_bound(vm, A) && !is_bound(vm, B) && is_bound(vm, C));
	CHECK(!load(client.page + 2048));
	CHECK(!is_signaled((uint32_t)second.handle) && is_signaled((uint32_t)beside.handle));
	open_gate(&gate);
	CHECK(!wait_user_fence(client.page + 2048, 7, 0, FOREVER));
	CHECK(!wait_syncobj((uint32_t)second.handle, 0, 0, FOREVER));
	CHECK(is_bound(vm, A) && is_bound(vm, B));
	client_stop();
}

static void a_bind_waits_for_its_fence_and_those_behind_it_for_it(void **state)
{
	(void)state;
	run_client(late, NULL);
}

/* Two queues wait for a gate each, a third has to do with both; the gates open one by one. */
static void behind_two(unsigned int opens_first)
{
	const struct xe_bind_op ops[2] = { null_op(A, 1), null_op(C, 1) };
	const struct xe_bind_op all = unmap_op(A, MIB(4) / PAGE_BYTES);
	struct xe_sync syncs[2], over;
	struct gate gates[2];
	uint32_t vm = make_vm(0), handles[2];

	for (unsigned int i = 0; i < 2; i++) {
		gates[i] = make_gate();
		handles[i] = make_syncobj(0);
		syncs[0] = wait_for_gate(&gates[i]);
		syncs[1] = signal_to(handles[i]);
		CHECK(!bind_array(vm, make_queue(vm, XE_ENGINE_VM_BIND), &ops[i], 1, syncs, 2));
	}
	over = signal_to(make_syncobj(0));
	CHECK(!bind_one(vm, &all, &over, 1));
	open_gate(&gates[opens_first]);
	CHECK(!wait_syncobj(handles[opens_first], 0, 0, FOREVER));
	CHECK(is_bound(vm, ops[opens_first].addr));
	CHECK(!is_signaled((uint32_t)over.handle));
	open_gate(&gates[!opens_first]);
	CHECK(!wait_syncobj((uint32_t)over.handle, 0, 0, FOREVER));
	CHECK(!is_bound(vm, A) && !is_bound(vm, C));
}

static void behind_queues(void *arg)
{
	(void)arg;
	client_start(NULL);
	behind_two(0);
	behind_two(1);
	client_stop();
}

static void a_bind_waits_for_every_queue_that_it_meets(void **state)
{
	(void)state;
	run_client(behind_queues, NULL);
}

/* A job that waits for a gate; what it uses is unbound meanwhile. */
static void under_a_job(void *arg)
{
	struct xe_bind_op op;
	struct xe_sync job[2], unbound, beside;
	struct gate gate;
	uint32_t vm, queue, object;

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	queue = make_queue(vm, XE_ENGINE_COPY);
	object = make_object(2);
	put_store(memory_of(object), A + PAGE_BYTES, 42);
	op = map_op(object, A, 2);
	CHECK(!bind_one(vm, &op, NULL, 0));
	gate = make_gate();
	job[0] = wait_for_gate(&gate);
	job[1] = signal_to(make_syncobj(0));
	unbound = signal_to(make_syncobj(0));
	beside = signal_to(make_syncobj(0));
	CHECK(!exec_one(queue, A, job, 2));
	op = null_op(B, 1); /* takes nothing away */
	CHECK(!bind_one(vm, &op, &beside, 1));
	CHECK(is_signaled((uint32_t)beside.handle));
	op = unmap_op(A, 2);
	CHECK(!bind_one(vm, &op, &unbound, 1));
	CHECK(is_bound(vm, A) && !is_signaled((uint32_t)unbound.handle));
	CHECK(memory_of(object)[1024] == 0);
	open_gate(&gate);
	CHECK(!wait_syncobj((uint32_t)unbound.handle, 0, 0, FOREVER));
	CHECK(memory_of(object)[1024] == 42 && !is_banned(queue) && !is_bound(vm, A));
	client_stop();
}

static void what_a_job_uses_is_unbound_behind_it(void **state)
{
	(void)state;
	run_client(under_a_job, NULL);
}

/* The line of a queue, or of an address space, that goes. */
static void canceled(void *arg)
{
	const struct xe_bind_op op = null_op(A, 1);
	struct xe_sync syncs[2], others[2];
	struct gate gate;
	uint32_t vm, binds;

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	binds = make_queue(vm, XE_ENGINE_VM_BIND);
	gate = make_gate();
	syncs[0] = others[0] = wait_for_gate(&gate);
	syncs[1] = signal_to(make_syncobj(0));
	others[1] = signal_to(make_syncobj(0));
	CHECK(!bind_array(vm, binds, &op, 1, syncs, 2));
	CHECK(!bind_one(vm, &op, others, 2));
	CHECK(!destroy_queue(binds));
	CHECK(is_signaled((uint32_t)syncs[1].handle) && !is_bound(vm, A));
	CHECK(!is_signaled((uint32_t)others[1].handle));
	CHECK(!destroy_vm(vm));
	CHECK(bind_one(vm, &op, NULL, 0) == -ENOENT);
	open_gate(&gate);
	CHECK(!wait_syncobj((uint32_t)others[1].handle, 0, 0, FOREVER));
	client_stop();
}

static void binds_that_wait_end_with_their_queue(void **state)
{
	(void)state;
	run_client(canceled, NULL);
}

/* A page that the GPU uses in a mirror, and binds that wait: who comes behind them is told. */
static void in_use(void *arg)
{
	struct xe_bind_op op = mirror_op(), all = unmap_op(0, 1);
	struct gate gate = make_gate();
	struct xe_sync sync;
	uint32_t vm, queue;
	uint64_t page;

	(void)arg;
	vm = make_vm(SVM);
	CHECK(!bind_one(vm, &op, NULL, 0));
	queue = make_queue(vm, XE_ENGINE_COPY);
	page = map_pages(1);
	write_store(page, page + 256, 5);
	sync = user_fence(page + 512, 1);
	CHECK(!exec_one(queue, page, &sync, 1));
	CHECK(!wait_user_fence(page + 512, 1, queue, FOREVER));
	all.bytes = 1ull << 48;
	CHECK(bind_one(vm, &all, NULL, 0) == -EBUSY);
	sync = wait_for_gate(&gate);
	op = null_op(A, 1);
	CHECK(!bind_one(vm, &op, &sync, 1));
	CHECK(bind_one(vm, &all, NULL, 0) == -EBUSY);
	op = null_op(page, 1);
	CHECK(bind_one(vm, &op, NULL, 0) == -EBUSY);
	/* In an array, too, and it is in use still. */
	for (int i = 0; i < 2; i++) {
		struct xe_bind_op ops[2] = { null_op(A + MIB(4), 1), all };

		CHECK(bind_array(vm, 0, ops, 2, NULL, 0) == -EBUSY && !is_bound(vm, A + MIB(4)));
	}
	open_gate(&gate);
	op = null_op(A + MIB(8), 1);
	sync = user_fence(page + 640, 1);
	CHECK(!bind_one(vm, &op, &sync, 1));
	CHECK(!wait_user_fence(page + 640, 1, 0, FOREVER));
	for (int i = 0; i < 2; i++) {
		struct xe_bind_op ops[2] = { null_op(A + MIB(4), 1), unmap_op(page, 1) };

		CHECK(bind_array(vm, 0, ops, 2, NULL, 0) == -EBUSY && !is_bound(vm, A + MIB(4)));
	}
	/* A mirror over a mirror takes nothing away. */
	op = mirror_op();
	CHECK(!bind_one(vm, &op, NULL, 0));
	client_stop();
}

static void start_and_use(void *arg)
{
	client_start(NULL);
	in_use(arg);
}

static void a_bind_behind_others_is_told_that_memory_is_in_use(void **state)
{
	(void)state;
	run_client(start_and_use, NULL);
}

static struct span span_at(uint32_t vm, uint64_t addr)
{
	struct xe_object *object = xe_file_find(client.file, XE_KIND_VM, vm);
	struct bind_look l = { .addr = addr };

	CHECK(object);
	l.vm = xe_vm_of(object)->vm;
	CHECK(!mm_call(client.card->mm, look_at_bind, &l, sizeof(l)));
	xe_object_put(object);
	return l.info.span;
}

/* An array of four, the last of which fails: that is a user pointer to nothing. */
static int bind_in_vain(uint32_t vm, uint32_t object)
{
	struct xe_bind_op ops[5] = {
		unmap_op(A + PAGE_BYTES, 1),
		map_op(object, B, 2),
		null_op(A + 2 * PAGE_BYTES, 4),
		unmap_op(B + PAGE_BYTES, 1),
		user_op(PAGE_BYTES, C, 1),
	};

	ops[4].flags = XE_BIND_IMMEDIATE;
	return bind_array(vm, 0, ops, 5, NULL, 0);
}

static void undo(void *arg)
{
	uint32_t vm, object, batch, queue;
	struct xe_bind_op op;

	(void)arg;
	client_start(NULL);
	for (int i = 0; i < 2; i++) {
		vm = make_vm(i ? XE_VM_SCRATCH_PAGE : 0);
		object = make_object_of(4, 1u << 1, 0);
		batch = make_object(1);
		op = map_op(object, A, 4);
		CHECK(!bind_one(vm, &op, NULL, 0));
		op = map_op(batch, C + MIB(2), 1);
		CHECK(!bind_one(vm, &op, NULL, 0));
		CHECK(bind_in_vain(vm, object) == -EFAULT);
		CHECK(span_at(vm, A).start == A && span_at(vm, A).end == A + 4 * PAGE_BYTES);
		CHECK(is_bound(vm, B) == i && is_bound(vm, A + 4 * PAGE_BYTES) == i);
		queue = make_queue(vm, XE_ENGINE_COPY);
		put_store(memory_of(batch), A + PAGE_BYTES + 4, 5);
		CHECK(run_batch(queue, C + MIB(2)));
		CHECK(memory_of(object)[1025] == 5);
	}
	client_stop();
}

static void an_array_that_fails_leaves_nothing(void **state)
{
	(void)state;
	run_client(undo, NULL);
}

static uint32_t atomic_at(uint32_t vm, uint64_t addr)
{
	struct xe_query_mem_range_attrs args = {
		.vm = vm, .start = addr, .bytes = PAGE_BYTES, .count = 1,
		.entry_bytes = sizeof(struct xe_mem_range_attr),
		.entries = client.page + PAGE_BYTES,
	};
	struct xe_mem_range_attr found;

	CHECK(!call(XE_VM_QUERY_MEM_RANGE_ATTRS, &args));
	read_words(args.entries, &found, sizeof(found));
	return found.atomic;
}

static void undo_mirror(void *arg)
{
	const uint64_t at = 0x10000000;
	struct xe_madvise advice = { .type = XE_ATTR_ATOMIC, .start = at + PAGE_BYTES,
				     .bytes = 4 * PAGE_BYTES, .number.value = XE_ATOMIC_CPU };
	struct xe_bind_op ops[3];
	struct span before;
	uint32_t vm;

	(void)arg;
	client_start(NULL);
	vm = make_vm(SVM);
	ops[0] = mirror_op();
	CHECK(!bind_one(vm, &ops[0], NULL, 0));
	before = span_at(vm, at);
	advice.vm = vm;
	CHECK(!call(XE_MADVISE, &advice));
	ops[0] = null_op(at + 2 * PAGE_BYTES, 2);
	ops[1] = null_op(at + 3 * PAGE_BYTES, 4);
	ops[2] = user_op(PAGE_BYTES, C, 1);
	ops[2].flags = XE_BIND_IMMEDIATE;
	CHECK(bind_array(vm, 0, ops, 3, NULL, 0) == -EFAULT);
	CHECK(span_at(vm, at).start == before.start && span_at(vm, at).end == before.end);
	for (uint64_t i = 0; i < 7; i++)
		CHECK(atomic_at(vm, at + i * PAGE_BYTES) ==
		      (i >= 1 && i <= 4 ? XE_ATOMIC_CPU : XE_ATOMIC_UNDEFINED));
	client_stop();
}

static void a_mirror_comes_back_with_its_advice(void **state)
{
	(void)state;
	run_client(undo_mirror, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_operations_of_an_array_are_checked_then_done_in_order),
		cmocka_unit_test(an_object_is_bound_where_it_may_be_and_as_it_may_be),
		cmocka_unit_test(what_an_operation_cannot_have_is_refused),
		cmocka_unit_test(what_is_waited_for_and_signaled_is_checked),
		cmocka_unit_test(an_object_can_be_unbound_wherever_it_is),
		cmocka_unit_test(a_store_goes_nowhere_where_nothing_is_bound_or_a_scratch_page),
		cmocka_unit_test(memory_of_the_process_is_used_in_place),
		cmocka_unit_test(what_is_prefetched_is_where_it_was_wanted),
		cmocka_unit_test(a_mirror_of_what_no_process_has_is_none),
		cmocka_unit_test(binds_can_have_queues_of_their_own),
		cmocka_unit_test(a_bind_waits_for_its_fence_and_those_behind_it_for_it),
		cmocka_unit_test(a_bind_waits_for_every_queue_that_it_meets),
		cmocka_unit_test(what_a_job_uses_is_unbound_behind_it),
		cmocka_unit_test(binds_that_wait_end_with_their_queue),
		cmocka_unit_test(a_bind_behind_others_is_told_that_memory_is_in_use),
		cmocka_unit_test(an_array_that_fails_leaves_nothing),
		cmocka_unit_test(a_mirror_comes_back_with_its_advice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
