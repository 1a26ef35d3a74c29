/* SPDX-License-Identifier: MIT */
/*
 * race_test.c - threads of a client at once, each with work of its own, in many orders.
 *
 * What a thread's jobs have stored is known when their fence is over, whatever the others do
 * with the card meanwhile, and whatever of it they take. `--seed N --runs COUNT` looks for
 * more.
 */
#include "../base/seed.h"
#include "xe_objects.h"

#define WORKERS 3
#define ACTS 14
#define SLOTS 8
#define VRAM_ONLY (1u << 1)
#define NOWHERE (OBJECTS + GIB(200))

/* What the threads share. */
struct plan {
	uint64_t seed;
	uint32_t vm;    /* 0: each has its own */
	uint32_t queue; /* anyone's, who may replace it */
	uint64_t pages; /* of what each has on the card */
};

/*
 * The first page of the object: batches, 64 bytes for each slot, and behind them what they
 * store. The other pages are weight.
 */
struct worker {
	struct plan *plan;
	uint32_t index;
	uint32_t vm, queue, bind_queue;
	uint32_t object, bound, done, poked;
	bool timeline;    /* done is */
	uint64_t point;
	uint32_t *memory;
	uint64_t at;      /* where the object is bound */
	uint32_t value;
	uint32_t pending; /* bits: slots with a job that may not be over */
	uint32_t before[SLOTS], expected[SLOTS];
	uint32_t svm, svm_queue;
	uint64_t data;    /* two pages of the process */
	uint32_t lr, lr_queue, lr_object;
	uint64_t fence;   /* of long running jobs: a word of the process's */
};

static uint64_t any(uint64_t limit)
{
	return sim_rand(sim, limit);
}

static uint32_t *target_of(const struct worker *w, uint32_t slot)
{
	return w->memory + 512 + slot;
}

static struct xe_sync waits(uint32_t handle)
{
	return (struct xe_sync){ .type = XE_SYNC_SYNCOBJ, .handle = handle };
}

/* The fence of the last job, to wait for. */
static struct xe_sync last_job(const struct worker *w)
{
	struct xe_sync sync = waits(w->done);

	if (w->timeline) {
		sync.type = XE_SYNC_TIMELINE;
		sync.value = w->point;
	}
	return sync;
}

static struct xe_sync next_job(struct worker *w)
{
	struct xe_sync sync;

	w->point += w->timeline;
	sync = last_job(w);
	sync.flags = XE_SYNC_SIGNAL;
	return sync;
}

/* Who waits in short pieces looks around more often. */
static void wait_for_done(const struct worker *w)
{
	int err = -ETIME;

	for (int i = 0; i < 4 && err == -ETIME; i++)
		err = wait_syncobj(w->done, w->point, 0, (int64_t)(sim_clock_ns(sim) + 5000));
	if (err == -ETIME)
		err = wait_syncobj(w->done, w->point, 0, FOREVER);
	CHECK(!err);
}

static void settle(struct worker *w)
{
	if (!w->pending)
		return;
	wait_for_done(w);
	CHECK(!is_banned(w->queue));
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		CHECK(*target_of(w, slot) == w->expected[slot]);
	w->pending = 0;
}

static void store(struct worker *w)
{
	uint32_t slot = (uint32_t)any(SLOTS);
	struct xe_sync syncs[2];

	if (w->pending & 1u << slot)
		settle(w);
	w->before[slot] = w->expected[slot];
	w->expected[slot] = ++w->value;
	w->pending |= 1u << slot;
	put_store(w->memory + 16 * (size_t)slot, w->at + 2048 + 4 * (uint64_t)slot, w->value);
	syncs[0] = waits(w->bound);
	syncs[1] = next_job(w);
	CHECK(!exec_one(w->queue, w->at + 64 * (uint64_t)slot, syncs, 2));
}

/* A new object where the last one was, if there was one. */
static void bind_object(struct worker *w)
{
	struct xe_sync sync = signal_to(w->bound);
	struct drm_gem_close args = { .handle = w->object };
	struct xe_bind_op op;

	CHECK(!w->object || !call(DRM_GEM_CLOSE, &args));
	w->object = make_object_of(w->plan->pages, VRAM_ONLY, 0);
	w->memory = memory_of(w->object);
	memset(w->expected, 0, sizeof(w->expected));
	op = map_op(w->object, w->at, w->plan->pages);
	CHECK(!bind_array(w->vm, w->bind_queue, &op, 1, &sync, 1));
}

/* Behind the jobs it goes elsewhere; later ones wait until it is there. */
static void rebind(struct worker *w)
{
	struct xe_bind_op op = unmap_op(w->at, w->plan->pages);
	struct xe_sync syncs[2] = { signal_to(w->bound), last_job(w) };

	/* They are waited for, told or not. */
	CHECK(!bind_array(w->vm, w->bind_queue, &op, 1, syncs, w->pending && any(2) ? 2 : 1));
	w->at += MIB(16);
	op = map_op(w->object, w->at, w->plan->pages);
	CHECK(!bind_array(w->vm, w->bind_queue, &op, 1, syncs, 1));
}

/* Of several operations the last cannot be. */
static void bind_in_vain(struct worker *w)
{
	struct xe_bind_op ops[2] = { null_op(w->at + MIB(8), 4),
				     map_op(w->object, w->at + MIB(9), w->plan->pages + 1) };

	CHECK(bind_array(w->vm, w->bind_queue, ops, 2, NULL, 0) == -EINVAL);
}

/* Its jobs are over, run or not. */
static void replace_queue(struct worker *w)
{
	CHECK(!destroy_queue(w->queue));
	if (w->pending)
		CHECK(!wait_syncobj(w->done, w->point, 0, 0));
	for (uint32_t slot = 0; slot < SLOTS; slot++) {
		uint32_t now = *target_of(w, slot);

		CHECK(now == w->expected[slot] ||
		      ((w->pending & 1u << slot) && now == w->before[slot]));
		w->expected[slot] = now;
	}
	w->pending = 0;
	w->queue = make_queue(w->vm, XE_ENGINE_COPY);
}

static void store_nowhere(struct worker *w)
{
	struct xe_sync sync = next_job(w);

	CHECK(!exec_one(w->queue, NOWHERE, &sync, 1));
	wait_for_done(w);
	CHECK(is_banned(w->queue));
	/* Those before it were over first. */
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		CHECK(*target_of(w, slot) == w->expected[slot]);
	w->pending = 0;
	CHECK(exec_one(w->queue, w->at, NULL, 0) == -ECANCELED);
	replace_queue(w);
}

/* On memory of the process, which comes and goes. */
static void store_in_mirror(struct worker *w)
{
	struct xe_bind_op op = prefetch_op(w->data, 2, (uint32_t)any(2));
	struct xe_sync sync = user_fence(w->data + 512, ++w->value);

	if (!any(3)) {
		CHECK(!sim_munmap(sim, span_make(w->data, 2 * PAGE_BYTES)));
		w->data = map_pages(2);
		sync.handle = w->data + 512;
		op.addr = w->data;
	}
	if (!any(3))
		CHECK(!bind_one(w->svm, &op, NULL, 0));
	write_store(w->data, w->data + 256, w->value);
	CHECK(!exec_one(w->svm_queue, w->data, &sync, 1));
	CHECK(!wait_user_fence(w->data + 512, sync.value, w->svm_queue, FOREVER));
	CHECK(load(w->data + 256) == w->value);
}

/* Memory of the process as an object. */
static void store_in_user_memory(struct worker *w)
{
	uint64_t memory = map_pages(1), at = NOWHERE + GIB(1) + GIB(1) * w->index;
	struct xe_bind_op op = user_op(memory, at, 1);
	struct xe_sync syncs[2] = { signal_to(w->bound), next_job(w) };

	CHECK(!bind_array(w->vm, w->bind_queue, &op, 1, syncs, 1));
	write_store(memory, at + 256, 77);
	syncs[0].flags = 0;
	CHECK(!exec_one(w->queue, at, syncs, 2));
	w->pending |= 1u << SLOTS; /* none of the slots */
	settle(w);
	CHECK(load(memory + 256) == 77);
	op = unmap_op(at, 1);
	CHECK(!bind_array(w->vm, w->bind_queue, &op, 1, NULL, 0));
	CHECK(!sim_munmap(sim, span_make(memory, PAGE_BYTES)));
}

/* A job that never ends, but with its queue. */
static void spin(struct worker *w)
{
	const uint32_t loop[4] = { 0x18800101, (uint32_t)w->at + 1024, (uint32_t)(w->at >> 32), 0 };
	struct xe_sync syncs[2];

	settle(w);
	memcpy(w->memory + 256, loop, sizeof(loop));
	syncs[0] = waits(w->bound);
	syncs[1] = next_job(w);
	CHECK(!exec_one(w->queue, w->at + 1024, syncs, 2));
	for (uint64_t i = any(30); i; i--)
		base_host->cpu_yield();
	replace_queue(w);
	CHECK(!wait_syncobj(w->done, w->point, 0, 0));
}

/* Memory of the process that goes while a job may be at it: it is at home until the job is over,
 * where the client asks first, as it does before an munmap(). */
static void unmap_user_memory(struct worker *w)
{
	uint64_t memory = map_pages(1), at = NOWHERE + GIB(10) + GIB(1) * w->index;
	struct xe_bind_op op = user_op(memory, at, 1);
	struct xe_sync syncs[2] = { signal_to(w->bound), next_job(w) };

	CHECK(!bind_array(w->vm, w->bind_queue, &op, 1, syncs, 1));
	CHECK(!wait_syncobj(w->bound, 0, 0, FOREVER));
	write_store(memory, at + 256, 78);
	CHECK(!exec_one(w->queue, at, &syncs[1], 1));
	w->pending |= 1u << SLOTS;
	xe_before_unmap(client.card, memory, memory + PAGE_BYTES);
	CHECK(!sim_munmap(sim, span_make(memory, PAGE_BYTES)));
	settle(w);
	op = unmap_op(at, 1);
	CHECK(!bind_array(w->vm, w->bind_queue, &op, 1, NULL, 0));
}

/* Long running jobs do not fault either: what they use is there. */
static void store_long_running(struct worker *w)
{
	uint32_t *memory = memory_of(w->lr_object);
	uint64_t at = OBJECTS + GIB(20);
	struct xe_sync sync = user_fence(at + MIB(1), ++w->value);

	put_store(memory, at + 512, w->value);
	CHECK(!exec_one(w->lr_queue, at, &sync, 1));
	CHECK(!wait_user_fence(w->fence, sync.value, w->lr_queue, FOREVER));
	CHECK(memory[128] == w->value);
}

/* Its bytes are not needed for a while, and may be gone. */
static void lose_interest(struct worker *w)
{
	struct xe_madvise args = {
		.vm = w->vm, .type = XE_ATTR_PURGEABLE, .start = w->at,
		.bytes = w->plan->pages * PAGE_BYTES,
	};
	const uint64_t retained = arguments() + PAGE_BYTES;

	settle(w);
	CHECK(!wait_syncobj(w->bound, 0, 0, FOREVER));
	args.number.value = 1;
	args.number.retained = retained;
	CHECK(!sim_store(sim, retained, 0));
	CHECK(!call(XE_MADVISE, &args));
	for (uint64_t i = any(60); i; i--)
		base_host->cpu_yield();
	args.number.value = 0;
	CHECK(!sim_store(sim, retained, 0));
	CHECK(!call(XE_MADVISE, &args));
	/* An object that was purged is none any more. */
	if (!(uint32_t)load(retained))
		bind_object(w);
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		CHECK(*target_of(w, slot) == w->expected[slot]);
}

/* A job of nothing is over, also where its queue goes at this moment; its number may then be of
 * a queue of binds. */
static void poke(struct worker *w)
{
	struct xe_sync sync = signal_to(w->poked);
	uint32_t queue;
	int err;

	if (!any(3)) {
		queue = ATOMIC_EXCHANGE(&w->plan->queue, 0);
		CHECK(!queue || !destroy_queue(queue));
		ATOMIC_STORE(&w->plan->queue, make_queue(w->vm, XE_ENGINE_COPY));
		return;
	}
	err = exec_one(ATOMIC_LOAD(&w->plan->queue), 0, &sync, 1);
	CHECK(!err || err == -ENOENT || err == -ECANCELED || err == -EINVAL);
	CHECK(err || !wait_syncobj(w->poked, 0, 0, FOREVER));
}

static void act(struct worker *w)
{
	switch (any(20)) {
	case 0:
	case 1:
		settle(w);
		return;
	case 2:
		rebind(w);
		return;
	case 3:
		bind_in_vain(w);
		return;
	case 4:
		replace_queue(w);
		return;
	case 5:
		store_nowhere(w);
		return;
	case 6:
	case 7:
		store_in_mirror(w);
		return;
	case 8:
		store_in_user_memory(w);
		return;
	case 9:
	case 10:
		poke(w);
		return;
	case 11:
		spin(w);
		return;
	case 12:
		unmap_user_memory(w);
		return;
	case 13:
		store_long_running(w);
		return;
	case 14:
		lose_interest(w);
		return;
	default:
		store(w);
		return;
	}
}

static void start(struct worker *w)
{
	const struct xe_bind_op mirror = mirror_op();
	struct xe_bind_op op;

	client.others[w->index].thread = base_host->self();
	client.others[w->index].page = map_pages(2);
	w->vm = w->plan->vm ? w->plan->vm : make_vm(0);
	w->queue = make_queue(w->vm, XE_ENGINE_COPY);
	w->bind_queue = any(2) ? make_queue(w->vm, XE_ENGINE_VM_BIND) : 0;
	w->bound = make_syncobj(0);
	w->done = make_syncobj(0);
	w->poked = make_syncobj(0);
	w->timeline = any(2);
	w->at = OBJECTS + GIB(1) * w->index;
	bind_object(w);
	w->lr = make_vm(XE_VM_LR_MODE);
	w->lr_queue = make_queue(w->lr, XE_ENGINE_COPY);
	w->lr_object = make_object_of(16, VRAM_ONLY, 0);
	w->fence = map_pages(1);
	op = map_op(w->lr_object, OBJECTS + GIB(20), 16);
	CHECK(!bind_one(w->lr, &op, NULL, 0));
	op = user_op(w->fence, OBJECTS + GIB(20) + MIB(1), 1);
	CHECK(!bind_one(w->lr, &op, NULL, 0));
	w->svm = make_vm(SVM);
	w->svm_queue = make_queue(w->svm, XE_ENGINE_COPY);
	w->data = map_pages(2);
	CHECK(!bind_one(w->svm, &mirror, NULL, 0));
}

static void stop(struct worker *w)
{
	struct drm_gem_close args = { .handle = w->object };

	settle(w);
	/* The rest goes with the file. */
	if (any(2))
		return;
	CHECK(!call(DRM_GEM_CLOSE, &args));
	CHECK(!destroy_queue(w->queue) && !destroy_queue(w->svm_queue) &&
	      !destroy_queue(w->lr_queue));
	CHECK(!destroy_vm(w->svm) && !destroy_vm(w->lr));
	if (!w->plan->vm)
		CHECK(!destroy_vm(w->vm));
}

static void work(void *arg)
{
	struct worker *w = arg;

	start(w);
	for (int i = 0; i < ACTS; i++)
		act(w);
	stop(w);
}

static void clients(void *arg)
{
	struct plan *plan = arg;
	struct sim_thread *threads[WORKERS];
	struct worker workers[WORKERS];
	/* They have room together, or any two of them have. */
	bool share = any(2);

	client_start(NULL);
	plan->queue = make_queue(make_vm(0), XE_ENGINE_COPY);
	plan->vm = share ? make_vm(0) : 0;
	plan->pages = (share ? MIB(4) : MIB(7)) / PAGE_BYTES;
	for (uint32_t i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){ .plan = plan, .index = i };
		threads[i] = sim_thread_start(sim, "client", work, &workers[i]);
	}
	for (uint32_t i = 0; i < WORKERS; i++)
		sim_thread_join(sim, threads[i]);
	client_stop();
}

static uint64_t first_seed;
static uint64_t run_count = 150;

static void what_a_thread_has_stored_is_there_whatever_others_do(void **state)
{
	static const enum sim_policy policies[] = { SIM_POLICY_RANDOM, SIM_POLICY_PRIORITY,
						    SIM_POLICY_STARVE };

	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + run_count; seed++) {
		struct sim_config config = sim_config_default(seed);
		struct plan plan = { .seed = seed };

		config.policy = policies[seed % ARRAY_SIZE(policies)];
		config.preempt_1_in = seed / 3 % 2 ? 8 : 2;
		run_client_with(&config, clients, &plan);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_thread_has_stored_is_there_whatever_others_do),
	};

	for (int i = 1; i + 1 < argc; i++) {
		if (!strcmp(argv[i], "--runs"))
			run_count = strtoull(argv[i + 1], NULL, 0);
	}
	first_seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
