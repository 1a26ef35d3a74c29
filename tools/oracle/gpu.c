/* SPDX-License-Identifier: MIT */
/*
 * DOC: What the GPU does
 *
 * The same as the CPU does in check.c, word for word, but through the accessors. A
 * kernel answers in shared memory: the first mismatch that it sees, and how far it
 * came. It has no memory of its own but its arguments and its stack.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>

#include "oracle.h"

#define JOB_NS 60000000000u
#define SOIL 0xBAD0000000000000u

struct job_args {
	uint64_t base, shadow, result;
	uint64_t random, tag;
	uint32_t area, first, count, rounds, agent, exact, threads;
};

/* --- kernels ---------------- */

#define FIELD(at, field) ((at) + offsetof(struct shadow, field))
#define RESULT(a, field) ((a)->result + offsetof(struct job_result, field))

static bool gpu_wrong(struct usvm_lane *lane, const struct job_args *a, enum check_kind kind,
		      uint32_t page, uint64_t word, uint64_t low, uint64_t high,
		      uint64_t found)
{
	usvm_store64(lane, RESULT(a, mismatch.page), page);
	usvm_store64(lane, RESULT(a, mismatch.word), word);
	usvm_store64(lane, RESULT(a, mismatch.low), low);
	usvm_store64(lane, RESULT(a, mismatch.high), high);
	usvm_store64(lane, RESULT(a, mismatch.found), found);
	usvm_store64(lane, RESULT(a, mismatch.kind), kind);
	return false;
}

static bool gpu_check_word(struct usvm_lane *lane, const struct job_args *a, uint32_t page,
			   uint32_t word, uint64_t bounds, uint64_t id)
{
	uint64_t done = usvm_load64(lane, bounds + offsetof(struct bounds, done));
	uint64_t lost_max = usvm_load64(lane, bounds + offsetof(struct bounds, lost_max));
	uint64_t found = usvm_load64(lane, a->base + page * PAGE + word * 8);
	uint64_t lost_min = usvm_load64(lane, bounds + offsetof(struct bounds, lost_min));
	uint64_t begun = usvm_load64(lane, bounds + offsetof(struct bounds, begun));
	uint64_t value = id ? found & ((1ull << 40) - 1) : found;
	uint64_t low = low_bound(done, lost_max, id);
	uint64_t high = high_bound(begun, lost_min, id);
	bool right = !a->exact || done == begun;

	if (id && found)
		right = right && found >> 40 == id && value > lost_min;
	if (right && value >= low && value <= high)
		return true;
	return gpu_wrong(lane, a, id ? CHECK_SLOT : CHECK_COUNTER, page, word, low, high,
			 found);
}

static bool gpu_check(struct usvm_lane *lane, const struct job_args *a, uint32_t page,
		      uint32_t start, uint32_t words)
{
	uint64_t shadow = a->shadow + page * sizeof(struct shadow);
	uint64_t id = page_id(a->area, page);
	uint64_t tag = usvm_load64(lane, FIELD(shadow, tag));

	for (uint32_t i = 0; i < 2; i++) {
		if (!gpu_check_word(lane, a, page, i ? PAGE_WORDS - 1 : 0,
				    FIELD(shadow, counter) + i * sizeof(struct bounds), 0))
			return false;
	}
	for (uint32_t i = 0; i < AGENTS_MAX; i++) {
		if (agent_used(i, a->threads) &&
		    !gpu_check_word(lane, a, page, SLOT_WORD(i),
				    FIELD(shadow, slot) + i * sizeof(struct bounds), id))
			return false;
	}
	for (uint32_t i = start; i < start + words && i < TAG_END; i++) {
		uint64_t expected = tag_value(id, tag, i);
		uint64_t found = usvm_load64(lane, a->base + page * PAGE + i * 8);

		if (found != expected)
			return gpu_wrong(lane, a, CHECK_TAG, page, i, expected, expected, found);
	}
	return true;
}

/* Return: false: wrong, and it was no call in between. */
static bool gpu_check_page(struct usvm_lane *lane, const struct job_args *a, uint32_t page,
			   uint32_t start, uint32_t words)
{
	uint64_t races = FIELD(a->shadow + page * sizeof(struct shadow), races);
	uint64_t before = usvm_load64(lane, races);

	if (before & 1 || gpu_check(lane, a, page, start, words))
		return true;
	if (usvm_atomic_add64(lane, races, 0) == before)
		return false;
	usvm_store64(lane, RESULT(a, mismatch.kind), CHECK_NONE);
	return true;
}

static void gpu_touch(struct usvm_lane *lane, const struct job_args *a, uint32_t page,
		      uint64_t amount)
{
	uint64_t shadow = a->shadow + page * sizeof(struct shadow);
	uint64_t at = a->base + page * PAGE;
	uint64_t slot = FIELD(shadow, slot) + a->agent * sizeof(struct bounds);
	uint64_t n = usvm_load64(lane, slot + offsetof(struct bounds, begun)) + 1;

	for (uint32_t i = 0; i < 2; i++) {
		uint64_t bounds = FIELD(shadow, counter) + i * sizeof(struct bounds);

		usvm_atomic_add64(lane, bounds + offsetof(struct bounds, begun), amount);
		usvm_atomic_add64(lane, at + (i ? PAGE - 8 : 0), amount);
		usvm_atomic_add64(lane, bounds + offsetof(struct bounds, done), amount);
	}
	usvm_store64(lane, slot + offsetof(struct bounds, begun), n);
	usvm_store64(lane, at + SLOT_WORD(a->agent) * 8,
		     slot_value(page_id(a->area, page), n));
	usvm_store64(lane, slot + offsetof(struct bounds, done), n);
}

static void work(struct usvm_lane *lane, const void *p)
{
	const struct job_args *a = p;
	struct random random = { a->random };

	for (uint64_t i = 0; i < (uint64_t)a->rounds * a->count; i++) {
		uint32_t page = a->first + random_below(&random, a->count);
		uint32_t start = TAG_FIRST + random_below(&random, TAG_END - TAG_FIRST);

		gpu_touch(lane, a, page, 1 + random_below(&random, 4));
		if (!gpu_check_page(lane, a, page, start, 4))
			return;
		usvm_atomic_add64(lane, RESULT(a, progress), 1);
	}
}

static void write_tags(struct usvm_lane *lane, const void *p)
{
	const struct job_args *a = p;

	for (uint32_t page = a->first; page < a->first + a->count; page++) {
		uint64_t shadow = a->shadow + page * sizeof(struct shadow);
		uint64_t id = page_id(a->area, page);

		for (uint32_t i = TAG_FIRST; i < TAG_END; i++)
			usvm_store64(lane, a->base + page * PAGE + i * 8,
				     tag_value(id, a->tag, i));
		usvm_store64(lane, FIELD(shadow, tag), a->tag);
		usvm_atomic_add64(lane, RESULT(a, progress), 1);
	}
}

static void check_all(struct usvm_lane *lane, const void *p)
{
	const struct job_args *a = p;

	for (uint32_t page = a->first; page < a->first + a->count; page++) {
		if (!gpu_check_page(lane, a, page, TAG_FIRST, TAG_END))
			return;
		usvm_atomic_add64(lane, RESULT(a, progress), 1);
	}
}

static void soil(struct usvm_lane *lane, const void *p)
{
	const struct job_args *a = p;

	for (uint32_t page = a->first; page < a->first + a->count; page++) {
		for (uint32_t i = 0; i < PAGE_WORDS; i += 13) {
			uint64_t at = a->base + page * PAGE + i * 8, found;

			usvm_store64(lane, at, SOIL + page);
			found = usvm_load64(lane, at);
			if (found != SOIL + page) {
				gpu_wrong(lane, a, CHECK_SOIL, page, i, SOIL + page,
					  SOIL + page, found);
				return;
			}
		}
		usvm_atomic_add64(lane, RESULT(a, progress), 1);
	}
}

/* Whole pages through memory of its own; other bytes are there meanwhile. */
static void bulk(struct usvm_lane *lane, const void *p)
{
	const struct job_args *a = p;
	uint64_t saved[PAGE_WORDS / 4], other[PAGE_WORDS / 4], found[PAGE_WORDS / 4];

	for (uint32_t i = 0; i < 4 * a->count; i++) {
		uint64_t at = a->base + a->first * PAGE + i * sizeof(saved);

		memset(other, (int)(a->random + i), sizeof(other));
		usvm_read(lane, saved, at, sizeof(saved));
		usvm_write(lane, at, other, sizeof(other));
		usvm_read(lane, found, at, sizeof(found));
		usvm_write(lane, at, saved, sizeof(saved));
		if (memcmp(found, other, sizeof(found))) {
			gpu_wrong(lane, a, CHECK_SOIL, a->first + i / 4, i % 4 * PAGE_WORDS / 4,
				  other[0], other[0], found[0]);
			return;
		}
		usvm_atomic_add64(lane, RESULT(a, progress), 1);
	}
}

static void load_one(struct usvm_lane *lane, const void *p)
{
	const struct job_args *a = p;
	uint64_t at = a->base + (a->first + a->random % a->count) * PAGE;

	usvm_store64(lane, RESULT(a, mismatch.found), usvm_load64(lane, at));
}

static void store_one(struct usvm_lane *lane, const void *p)
{
	const struct job_args *a = p;
	uint64_t at = a->base + (a->first + a->random % a->count) * PAGE;

	usvm_store64(lane, at + 8 * SCRATCH_WORD, SOIL);
}

/* --- jobs ---------------- */

static const char *kind_name(enum job_kind kind)
{
	static const char *const names[] = {
		[JOB_WORK] = "works",       [JOB_TAG] = "writes tags", [JOB_CHECK] = "checks",
		[JOB_SOIL] = "soils",       [JOB_BULK] = "copies",     [JOB_LOAD] = "loads",
		[JOB_STORE] = "stores",
	};

	return names[kind];
}

static void submit(struct job *job, const struct hold *hold, enum job_kind kind,
		   uint32_t rounds, uint64_t random)
{
	static const usvm_kernel_fn functions[] = {
		[JOB_WORK] = work,   [JOB_TAG] = write_tags, [JOB_CHECK] = check_all,
		[JOB_SOIL] = soil,   [JOB_BULK] = bulk,      [JOB_LOAD] = load_one,
		[JOB_STORE] = store_one,
	};
	struct area *area = hold->area;
	struct job_args args = {
		.base = (uintptr_t)(hold->elsewhere ? hold->elsewhere : area->base),
		.shadow = (uintptr_t)area->shadow,
		.result = (uintptr_t)job->result,
		.random = random,
		.tag = kind == JOB_TAG ? ADD(&run->tag_next, 1) : 0,
		.area = area->index,
		.first = hold->first,
		.count = hold->count,
		.rounds = rounds,
		.agent = job->agent,
		.exact = hold_is_exclusive(hold),
		.threads = run->setting.thread_count,
	};
	int err;

	area_note(area, job->agent, kind_name(kind), hold->first, hold->count);
	err = usvm_submit_kernel(job->queue, &(struct usvm_kernel){
		.function = functions[kind], .args = &args, .args_bytes = sizeof(args),
		.user_fence = job->user_fence, .user_fence_value = ++job->user_fence_value },
		&job->fence);
	if (err)
		report_failure(area, "a job was not accepted", err);
	job->hold = *hold;
	job->running = true;
}

static void job_failed(struct job *job, int err)
{
	struct usvm_queue_status status = { 0 };

	usvm_queue_status(job->queue, &status);
	fprintf(stderr, "a job ended with %d (%s): fault at %#" PRIx64 ", access %u, error %d\n",
		err, usvm_strerror(err), status.fault.addr, status.fault.access,
		status.fault.error);
	report_failure(job->hold.area, "a job failed", err);
}

bool job_done(struct job *job, bool wait)
{
	int err = usvm_fence_wait(job->fence, wait ? JOB_NS : 0);

	if (err == -ETIMEDOUT && !wait)
		return false;
	if (err)
		job_failed(job, err);
	usvm_fence_put(job->fence);
	job->running = false;
	if (job->result->mismatch.kind)
		report_mismatch(job->hold.area, &job->result->mismatch, job->agent, "by a job");
	/* Written before the fence was told. */
	if (job->user_fence && LOAD(job->user_fence) != job->user_fence_value)
		report_failure(job->hold.area, "a user fence has an old value",
			       (int64_t)*job->user_fence);
	return true;
}

void job_start(struct job *job, const struct hold *hold, enum job_kind kind, uint32_t rounds,
	       uint64_t random)
{
	submit(job, hold, kind, rounds, random);
}

bool job_reap(struct job *job, bool wait)
{
	if (!job->running)
		return true;
	if (!job_done(job, wait))
		return false;
	area_note(job->hold.area, job->agent, "is done", job->hold.first, job->hold.count);
	hold_release(&job->hold);
	return true;
}

void job_run(struct job *job, const struct hold *hold, enum job_kind kind, uint32_t rounds,
	     uint64_t random)
{
	job_reap(job, true);
	submit(job, hold, kind, rounds, random);
	/* The user fence tells the end too, to who looks at memory only. */
	while (job->user_fence && random % 2 && LOAD(job->user_fence) != job->user_fence_value) {
		if (job_done(job, false))
			return;
		sched_yield();
	}
	job_done(job, true);
}

/* --- jobs of other queues ---------------- */

static struct job job_like(struct usvm_vm *vm, const struct job *like)
{
	struct job job = { .result = like->result, .agent = like->agent };

	must(usvm_queue_create(vm, NULL, &job.queue), "usvm_queue_create");
	return job;
}

void job_run_in(struct usvm_vm *vm, struct job *like, const struct hold *hold,
		enum job_kind kind, uint64_t random)
{
	struct job job = job_like(vm, like);

	job_run(&job, hold, kind, 1, random);
	must(usvm_queue_destroy(job.queue), "usvm_queue_destroy");
}

void job_must_fail(struct usvm_vm *vm, struct job *like, const struct hold *hold,
		   enum job_kind kind, int error)
{
	struct job job = job_like(vm, like);
	struct usvm_queue_status status = { 0 };
	uint64_t start = (uintptr_t)hold_start(hold);
	int err;

	submit(&job, hold, kind, 1, hold->first);
	err = usvm_fence_wait(job.fence, JOB_NS);
	if (err != error)
		report_failure(hold->area, kind == JOB_STORE ?
			       "a store that is forbidden" : "a load of nothing", err);
	must(usvm_queue_status(job.queue, &status), "usvm_queue_status");
	if (!status.banned || status.error != error || status.fault.addr < start ||
	    status.fault.addr >= start + hold->count * PAGE)
		report_failure(hold->area, "the address of a fault that failed",
			       (int64_t)status.fault.addr);
	usvm_fence_put(job.fence);
	must(usvm_queue_destroy(job.queue), "usvm_queue_destroy");
}

void job_cancel(struct usvm_vm *vm, struct job *like, const struct hold *hold)
{
	struct job job = job_like(vm, like);
	int err;

	submit(&job, hold, JOB_CHECK, 1, 0);
	must(usvm_queue_destroy(job.queue), "usvm_queue_destroy");
	err = usvm_fence_wait(job.fence, JOB_NS);
	if (err && err != -ECANCELED)
		report_failure(hold->area, "a job of a queue that was destroyed", err);
	usvm_fence_put(job.fence);
	if (job.result->mismatch.kind)
		report_mismatch(hold->area, &job.result->mismatch, job.agent, "cancelled");
}

/* --- batches ---------------- */

#define ATOMIC_ADD64_HEADER (0x17840009u + 0x00080000u + 0x27u * 0x100u)
#define ATOMIC_WORDS 11u
#define BATCH_END 0x05000000u

void batch_run(struct job *job, const struct hold *hold, uint32_t *commands)
{
	uint32_t *at = commands;
	int err;

	job_reap(job, true);
	area_note(hold->area, job->agent, "runs a batch", hold->first, hold->count);
	for (uint32_t i = 0; i < hold->count; i++) {
		uint32_t page = hold->first + i;
		uint64_t addr = (uintptr_t)page_words(hold->area, page);

		ADD(&hold->area->shadow[page].counter[0].begun, i + 1);
		memset(at, 0, ATOMIC_WORDS * sizeof(*at));
		at[0] = ATOMIC_ADD64_HEADER;
		at[1] = (uint32_t)addr;
		at[2] = (uint32_t)(addr >> 32);
		at[3] = i + 1;
		at += ATOMIC_WORDS;
	}
	*at = BATCH_END;
	err = usvm_run_batch(job->queue, &(struct usvm_batch){ .commands = commands,
		.user_fence = job->user_fence, .user_fence_value = ++job->user_fence_value });
	if (err)
		report_failure(hold->area, "a batch", err);
	if (LOAD(job->user_fence) != job->user_fence_value)
		report_failure(hold->area, "a batch's user fence has an old value",
			       (int64_t)*job->user_fence);
	for (uint32_t i = 0; i < hold->count; i++)
		ADD(&hold->area->shadow[hold->first + i].counter[0].done, i + 1);
	ADD(&job->result->progress, hold->count);
}
