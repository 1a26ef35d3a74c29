/* SPDX-License-Identifier: MIT */
/* job_test.c - execs: several batches, none, what they wait for, how they are canceled. */
#include "xe_objects.h"

#define A OBJECTS
#define B (OBJECTS + MIB(1))

static uint32_t make_wide_queue(uint32_t vm)
{
	const struct xe_engine_instance engines[2] = {
		{ .engine_class = XE_ENGINE_COPY }, { .engine_class = XE_ENGINE_COPY },
	};
	struct xe_exec_queue_create args = {
		.vm = vm, .width = 2, .placement_count = 1,
		.instances = put_array(engines, sizeof(engines)),
	};

	CHECK(!call(XE_EXEC_QUEUE_CREATE, &args));
	return args.queue;
}

static int exec_batches(uint32_t queue, const uint64_t *batches, uint16_t count,
			const struct xe_sync *sync)
{
	struct xe_exec args = {
		.queue = queue,
		.addr = client.page + PAGE_BYTES,
		.batch_count = count,
		.sync_count = 1,
		.syncs = put_array(sync, sizeof(*sync)),
	};

	write_words(args.addr, batches, count * sizeof(*batches));
	return call(XE_EXEC, &args);
}

static void wide(void *arg)
{
	const struct xe_bind_op mirror = mirror_op();
	uint64_t data, batches[2];
	struct xe_sync sync;
	uint32_t vm, queue;

	(void)arg;
	client_start(NULL);
	data = map_pages(1);
	vm = make_vm(SVM);
	queue = make_wide_queue(vm);
	CHECK(!bind_one(vm, &mirror, NULL, 0));
	batches[0] = data;
	batches[1] = data + 128;
	write_store(batches[0], data + 256, 41);
	write_store(batches[1], data + 264, 42);
	sync = user_fence(data + 512, 7);
	/* The fence is behind both. */
	for (int i = 0; i < 8; i++) {
		CHECK(!sim_store(sim, data + 256, 0) && !sim_store(sim, data + 264, 0));
		sync.value++;
		CHECK(!exec_batches(queue, batches, 2, &sync));
		CHECK(!wait_user_fence(data + 512, sync.value, queue, FOREVER));
		CHECK(load(data + 256) == 41 && load(data + 264) == 42);
	}
	CHECK(exec_batches(queue, batches, 1, &sync) == -EINVAL);
	batches[1] += 2;
	CHECK(exec_batches(queue, batches, 2, &sync) == -EINVAL);
	/* One that faults takes the fence with it. */
	batches[1] = 0x1000;
	sync.value++;
	CHECK(!exec_batches(queue, batches, 2, &sync));
	CHECK(wait_user_fence(data + 512, sync.value, queue, FOREVER) == -EIO);
	CHECK(exec_batches(queue, batches, 2, &sync) == -ECANCELED);
	client_stop();
}

static void the_batches_of_an_exec_are_over_before_its_fence(void **state)
{
	(void)state;
	run_client(wide, NULL);
}

static void nothing(void *arg)
{
	struct xe_sync syncs[2];
	struct gate gate;
	uint32_t vm, queue, svm;

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	queue = make_queue(vm, XE_ENGINE_COPY);
	gate = make_gate();
	syncs[0] = wait_for_gate(&gate);
	syncs[1] = signal_to(make_syncobj(0));
	CHECK(!exec_one(queue, 0, syncs, 2));
	CHECK(!is_signaled((uint32_t)syncs[1].handle));
	open_gate(&gate);
	CHECK(!wait_syncobj((uint32_t)syncs[1].handle, 0, 0, FOREVER));
	/* Long running: a word tells, and no sync object can. */
	svm = make_vm(XE_VM_LR_MODE);
	queue = make_queue(svm, XE_ENGINE_COPY);
	CHECK(exec_one(queue, 0, &syncs[1], 1) == -EOPNOTSUPP);
	CHECK(!exec_one(queue, 0, NULL, 0));
	client_stop();
}

static void an_exec_of_nothing_signals_in_its_turn(void **state)
{
	(void)state;
	run_client(nothing, NULL);
}

/* A queue of a vm with a batch at A that stores at B; *@object: what is at B. */
static uint32_t start_storing_in(uint32_t vm_flags, uint32_t *vm, uint32_t *object)
{
	struct xe_bind_op ops[2];
	uint32_t batch;

	client_start(NULL);
	*vm = make_vm(vm_flags);
	batch = make_object(1);
	*object = make_object(1);
	put_store(memory_of(batch), B, 42);
	ops[0] = map_op(batch, A, 1);
	ops[1] = map_op(*object, B, 1);
	CHECK(!bind_array(*vm, 0, ops, 2, NULL, 0));
	return make_queue(*vm, XE_ENGINE_COPY);
}

static uint32_t start_storing(uint32_t *vm, uint32_t *object)
{
	return start_storing_in(0, vm, object);
}

static void gated(void *arg)
{
	struct gate gates[2];
	struct xe_sync syncs[3], behind;
	uint32_t vm, object, queue;

	(void)arg;
	queue = start_storing(&vm, &object);
	for (int i = 0; i < 2; i++) {
		gates[i] = make_gate();
		syncs[i] = wait_for_gate(&gates[i]);
	}
	syncs[2] = signal_to(make_syncobj(0));
	behind = signal_to(make_syncobj(0));
	CHECK(!exec_one(queue, A, syncs, 3));
	CHECK(!exec_one(queue, 0, &behind, 1));
	open_gate(&gates[1]);
	CHECK(!is_signaled((uint32_t)syncs[2].handle) && !memory_of(object)[0]);
	CHECK(!is_signaled((uint32_t)behind.handle)); /* it does not overtake */
	open_gate(&gates[0]);
	CHECK(!wait_syncobj((uint32_t)behind.handle, 0, 0, FOREVER));
	CHECK(is_signaled((uint32_t)syncs[2].handle) && memory_of(object)[0] == 42);
	client_stop();
}

static void a_job_waits_for_all_its_fences_and_for_those_before_it(void **state)
{
	(void)state;
	run_client(gated, NULL);
}

static void canceled(void *arg)
{
	struct xe_sync syncs[2];
	struct gate gate;
	uint32_t vm, object, queue;

	(void)arg;
	queue = start_storing(&vm, &object);
	gate = make_gate();
	syncs[0] = wait_for_gate(&gate);
	syncs[1] = signal_to(make_syncobj(0));
	CHECK(!exec_one(queue, A, syncs, 2));
	CHECK(!destroy_queue(queue));
	CHECK(is_signaled((uint32_t)syncs[1].handle));
	CHECK(exec_one(queue, A, NULL, 0) == -ENOENT);
	open_gate(&gate);
	CHECK(!memory_of(object)[0]);
	/* A queue outlives its address space's number, and accepts nothing more. */
	queue = make_queue(vm, XE_ENGINE_COPY);
	CHECK(!destroy_vm(vm));
	CHECK(exec_one(queue, A, NULL, 0) == -ECANCELED);
	client_stop();
}

static void jobs_that_wait_are_canceled_with_their_queue(void **state)
{
	(void)state;
	run_client(canceled, NULL);
}

/* A canceled job knows its queue, and that the address space, until the bind is over that it
 * waited for. */
static void left_behind(void *arg)
{
	struct xe_bind_op op;
	struct xe_sync syncs[2];
	struct gate gate;
	uint32_t vm, object, queue;
	bool is_destroyed = *(bool *)arg;

	queue = start_storing(&vm, &object);
	gate = make_gate();
	op = map_op(object, A + MIB(8), 1);
	syncs[0] = wait_for_gate(&gate);
	syncs[1] = signal_to(make_syncobj(0));
	CHECK(!bind_one(vm, &op, syncs, 2));
	syncs[1].flags = 0;
	CHECK(!exec_one(queue, A, &syncs[1], 1));
	CHECK(!destroy_queue(queue));
	if (is_destroyed) {
		CHECK(!destroy_vm(vm));
		CHECK(is_signaled((uint32_t)syncs[1].handle));
	}
	xe_file_close(client.file);
	open_gate(&gate);
	xe_card_close(client.card);
}

static void a_bind_does_not_outlive_what_it_is_in(void **state)
{
	bool is_destroyed = false;

	(void)state;
	run_client(left_behind, &is_destroyed);
	is_destroyed = true;
	run_client(left_behind, &is_destroyed);
}

struct unbinding {
	bool bound_late; /* when the job waits already */
	bool more;       /* and nothing, in front of it */
	uint32_t vm_flags;
};

/* What a job uses is unbound while it waits. */
static void unbound(void *arg)
{
	const struct unbinding *how = arg;
	struct xe_bind_op front = null_op(A + MIB(8) - PAGE_BYTES, 1);
	struct xe_bind_op map, unmap = unmap_op(A + MIB(8), 1);
	struct xe_sync gated[2], syncs[2];
	struct gate gate;
	uint32_t vm, object, queue;

	queue = start_storing_in(how->vm_flags, &vm, &object);
	gate = make_gate();
	if (how->more) {
		CHECK(!bind_one(vm, &front, NULL, 0));
		unmap = unmap_op(front.addr, 2);
	}
	if (!how->bound_late)
		open_gate(&gate);
	map = map_op(make_object(1), A + MIB(8), 1);
	put_store(memory_of(map.object), B, 43);
	gated[0] = wait_for_gate(&gate);
	gated[1] = signal_to(make_syncobj(0));
	CHECK(!bind_one(vm, &map, gated, 2));
	if (!how->bound_late)
		gate = make_gate();
	syncs[0] = how->bound_late ? gated[1] : wait_for_gate(&gate);
	syncs[0].flags = 0;
	syncs[1] = signal_to(make_syncobj(0));
	CHECK(!exec_one(queue, A + MIB(8), syncs, 2));
	gated[1] = signal_to(make_syncobj(0));
	CHECK(!bind_one(vm, &unmap, &gated[1], 1));
	open_gate(&gate);
	CHECK(!wait_syncobj((uint32_t)syncs[1].handle, 0, 0, FOREVER));
	CHECK(!is_banned(queue) && memory_of(object)[0] == 43);
	CHECK(!wait_syncobj((uint32_t)gated[1].handle, 0, 0, FOREVER));
	if (!how->vm_flags) {
		CHECK(!exec_one(queue, A + MIB(8), &syncs[1], 1));
		CHECK(!wait_syncobj((uint32_t)syncs[1].handle, 0, 0, FOREVER));
		CHECK(is_banned(queue));
	}
	client_stop();
}

static void what_is_unbound_was_bound_for_the_jobs_before_it(void **state)
{
	struct unbinding how = { 0 };

	(void)state;
	for (int i = 0; i < 8; i++) {
		how.bound_late = i & 1;
		how.more = i & 2;
		how.vm_flags = i & 4 ? XE_VM_SCRATCH_PAGE : 0;
		run_client_often(unbound, &how);
	}
}

/* A job that has failed while the next one waits for a gate. */
static void banned(void *arg)
{
	struct xe_sync syncs[2], done;
	struct gate gate;
	uint32_t vm, object, queue;

	(void)arg;
	queue = start_storing(&vm, &object);
	gate = make_gate();
	syncs[0] = wait_for_gate(&gate);
	syncs[1] = signal_to(make_syncobj(0));
	done = signal_to(make_syncobj(0));
	CHECK(!exec_one(queue, A + MIB(4), &done, 1));
	CHECK(!exec_one(queue, A, syncs, 2));
	CHECK(!wait_syncobj((uint32_t)done.handle, 0, 0, FOREVER));
	CHECK(is_banned(queue) && exec_one(queue, A, NULL, 0) == -ECANCELED);
	open_gate(&gate);
	CHECK(!wait_syncobj((uint32_t)syncs[1].handle, 0, 0, FOREVER));
	CHECK(!memory_of(object)[0]);
	client_stop();
}

static void behind_a_job_that_failed_none_runs(void **state)
{
	(void)state;
	run_client(banned, NULL);
}

/* Who waits looks for jobs whose time is up, while others end and begin. */
static void watched(void *arg)
{
	struct xe_sync done;
	uint32_t vm, object, queue;

	(void)arg;
	queue = start_storing(&vm, &object);
	done = signal_to(make_syncobj(0));
	for (int i = 0; i < 6; i++)
		CHECK(!exec_one(queue, A, &done, 1));
	CHECK(!wait_syncobj((uint32_t)done.handle, 0, 0, FOREVER));
	CHECK(!is_banned(queue) && memory_of(object)[0] == 42);
	client_stop();
}

static void no_job_is_late_that_begins_while_another_waits(void **state)
{
	(void)state;
	run_client_often(watched, NULL);
}

/* --- user fences ------------------------------------------------------------------- */

static int compare(uint64_t addr, uint16_t op, uint64_t value)
{
	struct xe_wait_user_fence args = {
		.addr = addr, .op = op, .value = value, .mask = 0xff, .timeout_ns = 0,
	};

	return call(XE_WAIT_USER_FENCE, &args);
}

static void words(void *arg)
{
	/* Of 5: whether it is as wanted, with 4, 5, 6. */
	static const bool holds[6][3] = {
		{ false, true, false }, { true, false, true },  { true, false, false },
		{ true, true, false },  { false, false, true }, { false, true, true },
	};
	uint64_t addr;

	(void)arg;
	client_start(NULL);
	addr = client.page + 2048;
	CHECK(!sim_store(sim, addr, 0xabcd05)); /* the mask leaves 5 */
	for (uint16_t op = 0; op < 6; op++) {
		for (uint64_t i = 0; i < 3; i++)
			CHECK(compare(addr, op, 4 + i) == (holds[op][i] ? 0 : -ETIME));
	}
	CHECK(compare(addr, XE_WAIT_LTE + 1, 5) == -EINVAL);
	client_stop();
}

static void a_word_is_compared_in_six_ways(void **state)
{
	(void)state;
	run_client(words, NULL);
}

static void store_soon(void *arg)
{
	for (int i = 0; i < 20; i++)
		base_host->cpu_yield();
	CHECK(!sim_store(sim, *(uint64_t *)arg, 5));
}

static void times(void *arg)
{
	struct xe_wait_user_fence args = { .value = 5, .mask = UINT64_MAX };
	struct sim_thread *thread;

	(void)arg;
	client_start(NULL);
	args.addr = client.page + 2048;
	args.timeout_ns = 1000000;
	CHECK(call(XE_WAIT_USER_FENCE, &args) == -ETIME && args.timeout_ns == 0);
	/* Absolute: nothing of it is told. */
	args.flags = XE_WAIT_ABSOLUTE;
	args.timeout_ns = (int64_t)sim_clock_ns(sim) + 1000000;
	CHECK(call(XE_WAIT_USER_FENCE, &args) == -ETIME);
	CHECK(args.timeout_ns != 0 && (uint64_t)args.timeout_ns <= sim_clock_ns(sim));
	/* Negative: for ever. Another thread of the client writes, which nobody tells. */
	args.flags = 0;
	args.timeout_ns = -1;
	thread = sim_thread_start(sim, "writer", store_soon, &args.addr);
	CHECK(!call(XE_WAIT_USER_FENCE, &args) && args.timeout_ns == -1);
	sim_thread_join(sim, thread);
	args.timeout_ns = 1000000;
	CHECK(!call(XE_WAIT_USER_FENCE, &args));
	CHECK(args.timeout_ns > 0 && args.timeout_ns <= 1000000);
	client_stop();
}

static void a_wait_has_a_time_and_tells_what_is_left(void **state)
{
	(void)state;
	run_client(times, NULL);
}

/* --- what an address space tells ------------------------------------------------------ */

static void told(void *arg)
{
	struct xe_bind_op mirror = mirror_op();
	struct xe_vm_get_property args = { .data = client.page + PAGE_BYTES };
	struct xe_vm_fault records[2];
	struct xe_sync sync;
	uint64_t data;
	uint32_t vm;

	(void)arg;
	client_start(NULL);
	args.data = client.page + PAGE_BYTES;
	data = map_pages(2);
	vm = make_vm(SVM);
	mirror.flags |= XE_BIND_READONLY;
	CHECK(!bind_one(vm, &mirror, NULL, 0));
	CHECK(call(XE_VM_GET_PROPERTY, &args) == -ENOENT);
	args.vm = vm;
	CHECK(!call(XE_VM_GET_PROPERTY, &args) && !args.bytes);
	args.property = 1;
	CHECK(call(XE_VM_GET_PROPERTY, &args) == -EINVAL);
	args.property = XE_VM_PROPERTY_FAULTS;
	/* One writes where it may only read; another is nowhere. */
	write_store(data, data + PAGE_BYTES + 8, 1);
	for (int i = 0; i < 2; i++) {
		uint32_t queue = make_queue(vm, XE_ENGINE_COPY);

		sync = user_fence(data + 512, 1);
		CHECK(!exec_one(queue, i ? 0x1000 : data, &sync, 1));
		CHECK(wait_user_fence(data + 512, 1, queue, FOREVER) == -EIO);
	}
	CHECK(!call(XE_VM_GET_PROPERTY, &args) && args.bytes == sizeof(records));
	args.bytes--;
	CHECK(call(XE_VM_GET_PROPERTY, &args) == -EINVAL);
	args.bytes = sizeof(records[0]);
	CHECK(!call(XE_VM_GET_PROPERTY, &args));
	args.bytes = sizeof(records);
	CHECK(!call(XE_VM_GET_PROPERTY, &args)); /* to read does not forget */
	read_words(args.data, records, sizeof(records));
	CHECK(records[0].addr == data + PAGE_BYTES && records[0].type == 1);
	CHECK(records[0].access == 1 && records[0].precision_bytes == PAGE_BYTES);
	CHECK(records[1].addr == 0x1000 && records[1].type == 0 && records[1].access == 0);
	args.data = 8;
	CHECK(call(XE_VM_GET_PROPERTY, &args) == -EFAULT);
	client_stop();
}

static void faults_are_told_until_the_address_space_goes(void **state)
{
	(void)state;
	run_client(told, NULL);
}

/* --- what fits on the card --------------------------------------------------------- */

#define LARGE_PAGES (MIB(4) / PAGE_BYTES) /* four of them are the card's memory */
#define LARGE_AT(i) (OBJECTS + GIB(1) + (uint64_t)(i) * MIB(4))

static uint64_t objects_faulted(void)
{
	return ATOMIC_LOAD(&client.card->device->stats.value[VM_STAT_VMA_PAGEFAULT_COUNT]);
}

static struct xe_bind_op large_op(uint32_t object, int i)
{
	return map_op(object, LARGE_AT(i), LARGE_PAGES);
}

/* Five objects, and four of them are bound; what the bind of the fifth gives. */
static int bind_too_many(uint32_t vm, uint32_t objects[5])
{
	struct xe_bind_op op;

	for (int i = 0; i < 5; i++)
		objects[i] = make_object_of(LARGE_PAGES, 1u << 1, 0);
	for (int i = 0; i < 4; i++) {
		op = large_op(objects[i], i);
		CHECK(!bind_one(vm, &op, NULL, 0));
	}
	op = large_op(objects[4], 4);
	return bind_one(vm, &op, NULL, 0);
}

struct place_args {
	struct vm_bo *bo;
	struct vm_bo_info info;
};

static int look_at_place(void *argument)
{
	struct place_args *a = argument;

	vm_bo_info(a->bo, &a->info);
	return 0;
}

static bool has_place(uint32_t handle)
{
	struct xe_object *object = xe_file_find(client.file, XE_KIND_BO, handle);
	struct place_args a = { 0 };

	CHECK(object);
	a.bo = xe_bo_of(object)->bo;
	CHECK(!mm_call(client.card->mm, look_at_place, &a, sizeof(a)));
	xe_object_put(object);
	return a.info.place;
}

/* A job that stores into each object at @first and behind, and ends. */
static void store_in_four(uint32_t vm, uint32_t queue, int first, uint32_t value)
{
	uint64_t memory = map_pages(1);
	struct xe_sync sync = user_fence(memory + 2048, value);
	struct xe_bind_op op = user_op(memory, memory, 1);

	CHECK(!bind_one(vm, &op, NULL, 0));
	for (int i = 0; i < 4; i++)
		write_store(memory + (uint64_t)i * 16, LARGE_AT(first + i), value);
	CHECK(!exec_one(queue, memory, &sync, 1));
	CHECK(!wait_user_fence(memory + 2048, value, queue, FOREVER));
}

static void crowd(void *arg)
{
	uint32_t vm, queue, objects[5];
	struct xe_bind_op ops[2];

	(void)arg;
	client_start(NULL);
	vm = make_vm(XE_VM_LR_MODE);
	queue = make_queue(vm, XE_ENGINE_COPY);
	CHECK(bind_too_many(vm, objects) == -ENOSPC);
	CHECK(is_bound(vm, LARGE_AT(3)) && !is_bound(vm, LARGE_AT(4)));
	store_in_four(vm, queue, 0, 42);
	for (int i = 0; i < 4; i++)
		CHECK(*memory_of(objects[i]) == 42);
	/* One goes, another comes. */
	ops[0] = unmap_op(LARGE_AT(0), LARGE_PAGES);
	ops[1] = large_op(objects[4], 4);
	CHECK(!bind_array(vm, 0, ops, 2, NULL, 0));
	store_in_four(vm, queue, 1, 43);
	CHECK(*memory_of(objects[4]) == 43 && *memory_of(objects[0]) == 42);
	/* What stood before the one too many is undone with it. */
	ops[0] = null_op(LARGE_AT(6), 1);
	ops[1] = large_op(objects[0], 0);
	CHECK(bind_array(vm, 0, ops, 2, NULL, 0) == -ENOSPC);
	CHECK(!is_bound(vm, LARGE_AT(0)) && !is_bound(vm, LARGE_AT(6)));
	/* Who had to make way for it in vain is back, also for a job that runs already. */
	for (int i = 1; i < 5; i++)
		CHECK(has_place(objects[i]));
	store_in_four(vm, queue, 1, 44);
	CHECK(!objects_faulted());
	client_stop();
}

static void what_runs_for_long_has_all_that_is_bound_on_the_card(void **state)
{
	(void)state;
	run_client(crowd, NULL);
}

static void crowd_for_short(void *arg)
{
	uint32_t vm, objects[5];

	(void)arg;
	client_start(NULL);
	vm = make_vm(0);
	CHECK(!bind_too_many(vm, objects));
	CHECK(exec_one(make_queue(vm, XE_ENGINE_COPY), 0, NULL, 0) == -ENOSPC);
	CHECK(!destroy_vm(vm));
	CHECK(!bind_too_many(make_vm(SVM), objects));
	client_stop();
}

static void others_hear_of_it_at_the_job_or_take_turns(void **state)
{
	(void)state;
	run_client(crowd_for_short, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_batches_of_an_exec_are_over_before_its_fence),
		cmocka_unit_test(an_exec_of_nothing_signals_in_its_turn),
		cmocka_unit_test(a_job_waits_for_all_its_fences_and_for_those_before_it),
		cmocka_unit_test(jobs_that_wait_are_canceled_with_their_queue),
		cmocka_unit_test(a_bind_does_not_outlive_what_it_is_in),
		cmocka_unit_test(what_is_unbound_was_bound_for_the_jobs_before_it),
		cmocka_unit_test(behind_a_job_that_failed_none_runs),
		cmocka_unit_test(no_job_is_late_that_begins_while_another_waits),
		cmocka_unit_test(a_word_is_compared_in_six_ways),
		cmocka_unit_test(a_wait_has_a_time_and_tells_what_is_left),
		cmocka_unit_test(faults_are_told_until_the_address_space_goes),
		cmocka_unit_test(what_runs_for_long_has_all_that_is_bound_on_the_card),
		cmocka_unit_test(others_hear_of_it_at_the_job_or_take_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
