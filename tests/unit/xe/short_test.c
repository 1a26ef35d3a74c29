/* SPDX-License-Identifier: MIT */
/*
 * short_test.c - each ioctl, with a word that has to be zero and is not, with memory of the
 * client that is gone in the middle, and with no memory for the library: a documented error,
 * and nothing that stays behind.
 */
#include "xe_objects.h"

#define ARRAYS (client.page + PAGE_BYTES)
#define GATES_MAX 128u
#define TRIES_MAX 40u

static struct {
	uint32_t vm, svm, group, object, signaled;
	struct gate gates[GATES_MAX];
	uint32_t gate_count;
} made;

static struct gate *new_gate(void)
{
	CHECK(made.gate_count < GATES_MAX);
	made.gates[made.gate_count] = make_gate();
	return &made.gates[made.gate_count++];
}

static void open_gates(void)
{
	for (uint32_t i = 0; i < made.gate_count; i++)
		open_gate(&made.gates[i]);
	made.gate_count = 0;
}

/* Arrays that an argument points to: parts of a page of the client's. */
static uint64_t put_part(uint32_t part, const void *data, size_t bytes)
{
	CHECK(bytes <= 512);
	write_words(ARRAYS + 512 * part, data, bytes);
	return ARRAYS + 512 * part;
}

static uint64_t put_property(uint32_t property, uint64_t value)
{
	const struct xe_extension_property p = { .property = property, .value = value };

	return put_part(2, &p, sizeof(p));
}

/* One to wait for, one to signal. */
static uint64_t put_syncs(void)
{
	const struct xe_sync syncs[2] = { wait_for_gate(new_gate()),
					  signal_to(make_syncobj(0)) };

	return put_part(3, syncs, sizeof(syncs));
}

static uint32_t make_job_queue(uint16_t width, uint64_t extensions)
{
	const struct xe_engine_instance engines[2] = {
		{ .engine_class = XE_ENGINE_COPY }, { .engine_class = XE_ENGINE_COPY },
	};
	struct xe_exec_queue_create args = {
		.vm = made.vm, .width = width, .placement_count = 1, .extensions = extensions,
		.instances = put_array(engines, sizeof(engines)),
	};

	CHECK(!call(XE_EXEC_QUEUE_CREATE, &args));
	return args.queue;
}

static void start_short(void)
{
	const struct xe_bind_op mirror = mirror_op();
	struct xe_bind_op op;

	client_start("cri");
	memset(&made, 0, sizeof(made));
	made.vm = make_vm(0);
	made.svm = make_vm(SVM);
	CHECK(!bind_one(made.svm, &mirror, NULL, 0));
	made.object = make_object(1);
	memory_of(made.object)[0] = END_OF_BATCH;
	op = map_op(made.object, OBJECTS, 1);
	CHECK(!bind_one(made.vm, &op, NULL, 0));
	made.group = make_job_queue(1, put_property(XE_QUEUE_MULTI_GROUP, XE_MULTI_GROUP_CREATE));
	made.signaled = make_syncobj(DRM_SYNCOBJ_CREATE_SIGNALED);
}

/* --- an argument of each that is right ------------------------------------------------- */

static void fill_query(void *argument)
{
	const struct xe_engine_cycles c = { .engine.engine_class = XE_ENGINE_COPY,
					    .clock_id = 1 };
	struct xe_device_query *args = argument;

	args->query = XE_QUERY_ENGINE_CYCLES;
	args->bytes = sizeof(c);
	args->data = put_part(0, &c, sizeof(c));
}

static void fill_nothing(void *argument)
{
	(void)argument;
}

static void fill_version(void *argument)
{
	struct drm_version *args = argument;

	args->name_bytes = args->date_bytes = args->text_bytes = 64;
	args->name = args->date = args->text = ARRAYS;
}

static void fill_bind(void *argument)
{
	const struct xe_bind_op ops[2] = {
		map_op(made.object, OBJECTS + MIB(1), 1),
		user_op(client.page, OBJECTS + MIB(2), 1),
	};
	struct xe_vm_bind *args = argument;

	args->vm = made.vm;
	args->count = 2;
	args->ops = put_part(0, ops, sizeof(ops));
	args->sync_count = 2;
	args->syncs = put_syncs();
}

/* At once, and a word is signaled. */
static void fill_bind_now(void *argument)
{
	const struct xe_sync sync = user_fence(client.page + 2048, 1);
	struct xe_vm_bind *args = argument;

	args->vm = made.vm;
	args->count = 1;
	args->op = map_op(made.object, OBJECTS + MIB(1), 1);
	args->sync_count = 1;
	args->syncs = put_part(3, &sync, sizeof(sync));
}

static void fill_object(void *argument)
{
	struct xe_gem_create *args = argument;

	args->bytes = PAGE_BYTES;
	args->placement = 1u << 1;
	args->cpu_caching = XE_GEM_CACHING_WC;
	args->vm = made.vm;
	args->extensions = put_property(0, 0);
}

static void fill_offset(void *argument)
{
	((struct xe_gem_mmap_offset *)argument)->handle = made.object;
}

static void fill_queue(void *argument)
{
	const struct xe_engine_instance engine = { .engine_class = XE_ENGINE_COPY };
	struct xe_exec_queue_create *args = argument;

	args->vm = made.vm;
	args->width = args->placement_count = 1;
	args->instances = put_part(0, &engine, sizeof(engine));
	args->extensions = put_property(XE_QUEUE_PRIORITY, 1);
}

static void fill_priority(void *argument)
{
	struct xe_exec_queue_property *args = argument;

	args->queue = made.group;
	args->property = XE_QUEUE_MULTI_QUEUE_PRIORITY;
}

static void fill_banned(void *argument)
{
	((struct xe_exec_queue_property *)argument)->queue = made.group;
}

static void fill_exec(void *argument)
{
	const uint64_t batches[2] = { OBJECTS, OBJECTS };
	struct xe_exec *args = argument;

	args->queue = make_job_queue(2, 0);
	args->batch_count = 2;
	args->addr = put_part(0, batches, sizeof(batches));
	args->sync_count = 2;
	args->syncs = put_syncs();
}

static void fill_wait(void *argument)
{
	struct xe_wait_user_fence *args = argument;

	args->addr = client.page + 2048;
	args->queue = made.group;
}

static void fill_advice(void *argument)
{
	struct xe_madvise *args = argument;

	args->vm = made.svm;
	args->type = XE_ATTR_ATOMIC;
	args->start = 1u << 20;
	args->bytes = PAGE_BYTES;
	args->number.value = XE_ATOMIC_CPU;
}

static void fill_attrs(void *argument)
{
	struct xe_query_mem_range_attrs *args = argument;

	args->vm = made.svm;
	args->start = 1u << 20;
	args->bytes = PAGE_BYTES;
	args->count = 4;
	args->entry_bytes = sizeof(struct xe_mem_range_attr);
	args->entries = ARRAYS;
}

static void fill_faults(void *argument)
{
	((struct xe_vm_get_property *)argument)->vm = made.vm;
}

static void fill_array(void *argument)
{
	struct drm_syncobj_array *args = argument;

	args->count = 1;
	args->handles = put_part(0, &made.signaled, sizeof(made.signaled));
}

static void fill_points(void *argument)
{
	struct drm_syncobj_timeline_array *args = argument;
	struct drm_syncobj_transfer first = { .to = make_syncobj(0), .to_point = 1 };

	/* Behind a gate: a fence of both is made. */
	first.from = new_gate()->handle;
	CHECK(!call(DRM_SYNCOBJ_TRANSFER, &first));
	args->count = 1;
	args->handles = put_part(0, &first.to, sizeof(first.to));
	args->points = put_part(1, &(uint64_t){ 2 }, 8);
}

static void fill_transfer(void *argument)
{
	struct drm_syncobj_transfer *args = argument;

	args->from = made.signaled;
	args->to = make_syncobj(0);
	args->to_point = 3;
}

static void fill_syncobj_wait(void *argument)
{
	struct drm_syncobj_wait *args = argument;

	args->count = 1;
	args->handles = put_part(0, &made.signaled, sizeof(made.signaled));
}

static void fill_timeline_wait(void *argument)
{
	struct drm_syncobj_timeline_wait *args = argument;

	args->count = 1;
	args->handles = put_part(0, &made.signaled, sizeof(made.signaled));
	args->points = put_part(1, &(uint64_t){ 0 }, 8);
}

#define ZERO(type, member) (offsetof(struct type, member) + 1)

struct request {
	uint32_t number;
	size_t bytes;
	void (*fill)(void *argument);
	size_t zero[8]; /* offsets, plus 1, of words that have to be zero */
};

#define REQUEST(number, type, fill, ...) { number, sizeof(struct type), fill, { __VA_ARGS__ } }
#define RESERVED(type) ZERO(type, reserved[0]), ZERO(type, reserved[1])

static const struct request requests[] = {
	REQUEST(DRM_VERSION, drm_version, fill_version, 0),
	REQUEST(XE_DEVICE_QUERY, xe_device_query, fill_query,
		ZERO(xe_device_query, extensions), RESERVED(xe_device_query)),
	REQUEST(XE_VM_CREATE, xe_vm_create, fill_nothing, ZERO(xe_vm_create, extensions),
		RESERVED(xe_vm_create)),
	REQUEST(XE_VM_DESTROY, xe_vm_destroy, fill_nothing, ZERO(xe_vm_destroy, pad),
		RESERVED(xe_vm_destroy)),
	REQUEST(XE_VM_BIND, xe_vm_bind, fill_bind, ZERO(xe_vm_bind, extensions),
		ZERO(xe_vm_bind, pad), ZERO(xe_vm_bind, pad2), RESERVED(xe_vm_bind)),
	REQUEST(XE_VM_BIND, xe_vm_bind, fill_bind_now, 0),
	REQUEST(XE_GEM_CREATE, xe_gem_create, fill_object, ZERO(xe_gem_create, handle),
		ZERO(xe_gem_create, pad[0]), ZERO(xe_gem_create, pad[1]),
		ZERO(xe_gem_create, pad[2]), RESERVED(xe_gem_create)),
	REQUEST(XE_GEM_MMAP_OFFSET, xe_gem_mmap_offset, fill_offset,
		ZERO(xe_gem_mmap_offset, extensions), RESERVED(xe_gem_mmap_offset)),
	REQUEST(XE_EXEC_QUEUE_CREATE, xe_exec_queue_create, fill_queue,
		RESERVED(xe_exec_queue_create)),
	REQUEST(XE_EXEC_QUEUE_DESTROY, xe_exec_queue_destroy, fill_nothing,
		ZERO(xe_exec_queue_destroy, pad), RESERVED(xe_exec_queue_destroy)),
	REQUEST(XE_EXEC_QUEUE_GET_PROPERTY, xe_exec_queue_property, fill_banned,
		ZERO(xe_exec_queue_property, extensions), RESERVED(xe_exec_queue_property)),
	REQUEST(XE_EXEC_QUEUE_SET_PROPERTY, xe_exec_queue_property, fill_priority,
		ZERO(xe_exec_queue_property, extensions), RESERVED(xe_exec_queue_property)),
	REQUEST(XE_EXEC, xe_exec, fill_exec, ZERO(xe_exec, extensions), ZERO(xe_exec, pad[0]),
		ZERO(xe_exec, pad[1]), ZERO(xe_exec, pad[2]), RESERVED(xe_exec)),
	REQUEST(XE_WAIT_USER_FENCE, xe_wait_user_fence, fill_wait,
		ZERO(xe_wait_user_fence, extensions), ZERO(xe_wait_user_fence, pad),
		ZERO(xe_wait_user_fence, pad2), RESERVED(xe_wait_user_fence)),
	REQUEST(XE_MADVISE, xe_madvise, fill_advice, ZERO(xe_madvise, extensions),
		ZERO(xe_madvise, number.pad), ZERO(xe_madvise, number.retained),
		RESERVED(xe_madvise)),
	REQUEST(XE_VM_QUERY_MEM_RANGE_ATTRS, xe_query_mem_range_attrs, fill_attrs,
		ZERO(xe_query_mem_range_attrs, extensions), RESERVED(xe_query_mem_range_attrs)),
	REQUEST(XE_VM_GET_PROPERTY, xe_vm_get_property, fill_faults,
		ZERO(xe_vm_get_property, extensions), ZERO(xe_vm_get_property, pad),
		RESERVED(xe_vm_get_property), ZERO(xe_vm_get_property, reserved[2])),
	REQUEST(DRM_SYNCOBJ_CREATE, drm_syncobj_create, fill_nothing, 0),
	REQUEST(DRM_SYNCOBJ_RESET, drm_syncobj_array, fill_array, ZERO(drm_syncobj_array, pad)),
	REQUEST(DRM_SYNCOBJ_SIGNAL, drm_syncobj_array, fill_array, ZERO(drm_syncobj_array, pad)),
	REQUEST(DRM_SYNCOBJ_TIMELINE_SIGNAL, drm_syncobj_timeline_array, fill_points,
		ZERO(drm_syncobj_timeline_array, flags)),
	REQUEST(DRM_SYNCOBJ_QUERY, drm_syncobj_timeline_array, fill_points, 0),
	REQUEST(DRM_SYNCOBJ_TRANSFER, drm_syncobj_transfer, fill_transfer,
		ZERO(drm_syncobj_transfer, pad)),
	REQUEST(DRM_SYNCOBJ_WAIT, drm_syncobj_wait, fill_syncobj_wait,
		ZERO(drm_syncobj_wait, pad)),
	REQUEST(DRM_SYNCOBJ_TIMELINE_WAIT, drm_syncobj_timeline_wait, fill_timeline_wait,
		ZERO(drm_syncobj_timeline_wait, pad)),
};

union argument {
	unsigned char bytes[256];
	uint64_t words[32];
};

/* --- what may go wrong ---------------------------------------------------------------- */

static void reserved(void *arg)
{
	const struct request *r = arg;

	start_short();
	for (size_t i = 0; i < ARRAY_SIZE(r->zero) && r->zero[i]; i++) {
		union argument argument = { 0 };

		r->fill(&argument);
		CHECK(call_bytes(r->number, &argument, r->bytes) != -EINVAL);
		argument = (union argument){ 0 };
		r->fill(&argument);
		argument.bytes[r->zero[i] - 1] = 1;
		CHECK(call_bytes(r->number, &argument, r->bytes) == -EINVAL);
	}
	open_gates();
	client_stop();
}

static void words_that_have_to_be_zero_are_looked_at(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		run_client(reserved, (void *)(uintptr_t)&requests[i]);
}

static void unreadable(void *arg)
{
	const struct request *r = arg;
	uint32_t refused = 0;

	start_short();
	for (uint64_t nth = 1; nth <= TRIES_MAX; nth++) {
		union argument argument = { 0 };
		uint64_t before;
		bool happened;
		int err;

		r->fill(&argument);
		before = sim_calls(sim, "access");
		sim_inject(sim, "access", nth, EFAULT, false);
		err = call_bytes(r->number, &argument, r->bytes);
		happened = sim_calls(sim, "access") - before >= nth;
		sim_inject(sim, "access", 1, 0, false);
		if (!happened)
			break;
		/* Of a job that runs meanwhile, it is the job's. */
		CHECK(err == -EFAULT || r->number == XE_EXEC);
		refused += err == -EFAULT;
	}
	CHECK(refused >= 1);
	open_gates();
	client_stop();
}

static void memory_that_is_gone_in_the_middle_is_efault(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		run_client(unreadable, (void *)(uintptr_t)&requests[i]);
}

/* Of each size @count objects are free, and no page will be. */
static void starve(uint32_t count)
{
	struct xe_card *card = client.card;

	lock_acquire(&card->memory_lock);
	for (size_t size = 0; size < XE_MEMORY_CLASSES; size++) {
		void **last = &card->free[size];

		for (uint32_t i = 0; i < count && *last; i++)
			last = *last;
		*last = NULL; /* its pages are known by themselves */
	}
	lock_release(&card->memory_lock);
}

static bool is_lack(int err)
{
	return err == -ENOMEM || err == -ENOBUFS;
}

static void hungry(void *arg)
{
	const struct request *r = arg;
	int good, err = -ENOMEM;

	start_short();
	{
		union argument argument = { 0 };

		r->fill(&argument);
		good = call_bytes(r->number, &argument, r->bytes);
	}
	/* So many objects and no page, then all but one page. */
	for (uint32_t i = 0; i < TRIES_MAX; i++) {
		bool for_ever = i < TRIES_MAX / 2;
		union argument argument = { 0 };

		r->fill(&argument);
		starve(for_ever ? i / 2 : 0);
		sim_inject(sim, "pages_alloc", for_ever ? 1 : i - TRIES_MAX / 2 + 1, ENOMEM,
			   for_ever);
		err = call_bytes(r->number, &argument, r->bytes);
		sim_inject(sim, "pages_alloc", 1, 0, false);
		CHECK(err == good || is_lack(err));
		open_gates();
	}
	CHECK(err == good);
	client_stop();
}

static void without_memory_nothing_is_done_and_nothing_stays(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		run_client(hungry, (void *)(uintptr_t)&requests[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_that_have_to_be_zero_are_looked_at),
		cmocka_unit_test(memory_that_is_gone_in_the_middle_is_efault),
		cmocka_unit_test(without_memory_nothing_is_done_and_nothing_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
