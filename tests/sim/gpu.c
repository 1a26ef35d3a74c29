/* SPDX-License-Identifier: MIT */
/*
 * DOC: the GPU's part of a program
 *
 * A kernel makes the accesses of its operation one after the other and tells the model
 * of each. A batch makes its own while nobody looks: all of them may take effect at any
 * time between submit and fence. A job that failed has left its kernel in the middle of
 * an access, and the model says whether that access could be refused.
 *
 * A queue in which a job failed is banned; the thread makes another for its next job.
 */
#include "run.h"

#include <errno.h>
#include <string.h>

/* --- a kernel: on an engine's thread ------------------------------------------ */

static void note_access(struct job *job, const struct op_access *access)
{
	static const char *const what[] = { "gpu load", "gpu store", "gpu add",
					    "gpu exchange", "gpu read" };
	static const char *const names[] = { "addr", "op" };
	const uint64_t args[] = { access->addr, job->op->number };

	sim_trace_note(job->program->world->sim, what[access->type], 2, names, args);
}

/* S1: what the program had overwritten when the job was submitted, the job does not see. */
static void begun(const struct job *job, struct model_access *access)
{
	access->since = MAX(access->since, job->submitted);
}

static void bulk_read(struct usvm_lane *lane, struct job *job, uint64_t addr)
{
	struct world *world = job->program->world;
	uint64_t words[16];
	uint64_t page = ALIGN_DOWN(addr, PAGE_BYTES);

	_Static_assert(MODEL_WORDS <= ARRAY_SIZE(words), "the words of the model, and more");
	for (uint32_t i = 0; i < MODEL_WORDS; i++) {
		model_load_begin(world->model, &job->bulk[i], page + 8 * i, true);
		begun(job, &job->bulk[i]);
	}
	usvm_read(lane, words, page, sizeof(words));
	for (uint32_t i = 0; i < MODEL_WORDS; i++)
		run_verdict(job->program, model_load_end(world->model, &job->bulk[i], words[i]));
	for (uint32_t i = MODEL_WORDS; i < ARRAY_SIZE(words); i++) {
		if (words[i])
			run_fail(job->program, "the GPU found %#lx at %#lx, never written",
				 (unsigned long)words[i], (unsigned long)(page + 8 * i));
	}
}

static void kernel_access(struct usvm_lane *lane, struct job *job, uint32_t index)
{
	const struct op_access *a = &job->op->access[index];
	struct model *model = job->program->world->model;
	struct model_access *access = &job->access[index];
	uint64_t value = plan_value(job->op, index);
	uint64_t old;

	switch (a->type) {
	case ACCESS_LOAD:
		model_load_begin(model, access, a->addr, true);
		begun(job, access);
		old = usvm_load64(lane, a->addr);
		run_hash(job->program->world, old);
		run_verdict(job->program, model_load_end(model, access, old));
		break;
	case ACCESS_STORE:
		model_store_begin(model, access, a->addr, value, true);
		begun(job, access);
		usvm_store64(lane, a->addr, value);
		run_verdict(job->program, model_store_end(model, access));
		break;
	case ACCESS_ADD:
		value = plan_add(job->op, index);
		model_add_begin(model, access, a->addr, value, true);
		begun(job, access);
		old = usvm_atomic_add64(lane, a->addr, value);
		run_hash(job->program->world, old);
		run_verdict(job->program, model_add_end(model, access, old));
		break;
	case ACCESS_EXCHANGE:
		model_load_begin(model, &job->bulk[0], a->addr, true);
		begun(job, &job->bulk[0]);
		model_store_begin(model, access, a->addr, value, true);
		begun(job, access);
		old = usvm_atomic_exchange64(lane, a->addr, value);
		run_hash(job->program->world, old);
		run_verdict(job->program, model_load_end(model, &job->bulk[0], old));
		run_verdict(job->program, model_store_end(model, access));
		break;
	case ACCESS_BULK_READ:
		bulk_read(lane, job, a->addr);
		break;
	}
}

static void kernel(struct usvm_lane *lane, const void *args)
{
	struct job *job = *(struct job *const *)args;
	uint32_t count = job->op->access_count - (job->has_fence ? 1 : 0);

	while (job->done < count) {
		note_access(job, &job->op->access[job->done]);
		job->in_access = true;
		kernel_access(lane, job, job->done);
		job->in_access = false;
		job->done++;
	}
}

/* --- a batch ---------------------------------------------------------------------- */

static uint32_t put_store(uint32_t *at, uint64_t addr, uint64_t value)
{
	at[0] = 0x20u << 23 | 1u << 21 | 3; /* MI_STORE_DATA_IMM, a qword */
	at[1] = (uint32_t)addr;
	at[2] = (uint32_t)(addr >> 32);
	at[3] = (uint32_t)value;
	at[4] = (uint32_t)(value >> 32);
	return 5;
}

static uint32_t put_add(uint32_t *at, uint64_t addr, uint64_t value)
{
	/* MI_ATOMIC, a qword ADD of inline data */
	at[0] = 0x2fu << 23 | 1u << 19 | 1u << 18 | 0x27u << 8 | 5;
	at[1] = (uint32_t)addr;
	at[2] = (uint32_t)(addr >> 32);
	at[3] = (uint32_t)value;
	at[4] = 0;
	at[5] = (uint32_t)(value >> 32);
	at[6] = 0;
	return 7;
}

/* Return: false: the page was lost. */
static bool write_batch(struct job *job, uint64_t addr)
{
	uint32_t words[32] = { 0 };
	uint32_t count = job->op->access_count - (job->has_fence ? 1 : 0);
	uint32_t length = 0;
	int err;

	for (uint32_t i = 0; i < count; i++) {
		const struct op_access *a = &job->op->access[i];

		if (a->type == ACCESS_STORE)
			length += put_store(words + length, a->addr, plan_value(job->op, i));
		else
			length += put_add(words + length, a->addr, plan_add(job->op, i));
	}
	words[length] = 0x0au << 23; /* MI_BATCH_BUFFER_END */
	err = sim_copy_out(job->program->world->sim, addr, words, sizeof(words));
	if (err && !run_loses(job->program->world))
		run_fail(job->program, "writing the batch at %#lx: %d", (unsigned long)addr,
			 err);
	return !err;
}

/* What the batch will do, and the user fence, begins when it is handed over. */
static void begin_unseen(struct job *job)
{
	const struct op *op = job->op;
	struct model *model = job->program->world->model;
	uint32_t first = op->type == OP_BATCH ? 0 : op->access_count - 1;

	job->submitted = model_now(model);
	if (op->type != OP_BATCH && !job->has_fence)
		return;
	for (uint32_t i = first; i < op->access_count; i++) {
		if (op->access[i].type == ACCESS_ADD)
			model_add_begin(model, &job->access[i], op->access[i].addr,
					plan_add(op, i), true);
		else
			model_store_begin(model, &job->access[i], op->access[i].addr,
					  plan_value(op, i), true);
	}
}

/* --- devices that go away ---------------------------------------------------------- */

struct usvm *gpu_device_of(struct program *program)
{
	return program->own ? program->own : program->world->common;
}

static struct seen *seen_device(struct program *program)
{
	return &program->world->seen[program->own ? 1 + program->index : 0];
}

/* Calls may say so, and jobs end so. */
static bool is_leaving(struct program *program, int err)
{
	return err == -ENODEV && seen_device(program)->leaves;
}

/* Once the call has returned, each of these fails. */
static void expect_refused(struct program *program, const char *what, bool was_gone, int err)
{
	if (was_gone && !err)
		run_fail(program, "%s succeeded, and the device was unplugged", what);
}

/* --- the end of a job -------------------------------------------------------------- */

static void end_one(struct job *job, uint32_t index)
{
	struct model *model = job->program->world->model;

	if (job->op->access[index].type == ACCESS_ADD)
		run_verdict(job->program, model_add_done(model, &job->access[index]));
	else
		run_verdict(job->program, model_store_end(model, &job->access[index]));
}

static bool is_read(enum access_type type)
{
	return type == ACCESS_LOAD || type == ACCESS_BULK_READ;
}

static void end_well(struct job *job)
{
	const struct op *op = job->op;
	uint32_t count = op->access_count - (job->has_fence ? 1 : 0);

	for (uint32_t i = 0; job->read_only && i < op->access_count; i++) {
		if (!is_read(op->access[i].type))
			run_fail(job->program, "job of operation %u wrote in a read-only vm",
				 op->number);
	}
	advise_judge(job);
	if (op->type == OP_KERNEL && job->done != count)
		run_fail(job->program, "job of operation %u succeeded after %u of %u accesses",
			 op->number, job->done, count);
	for (uint32_t i = op->type == OP_BATCH ? 0 : count; i < op->access_count; i++)
		end_one(job, i);
}

/* The access that was under way when the kernel was left. */
static void end_left(struct job *job, bool refused)
{
	struct model *model = job->program->world->model;
	const struct op_access *a = &job->op->access[job->done];
	bool is_bulk = a->type == ACCESS_BULK_READ;

	if (a->type == ACCESS_EXCHANGE)
		model_unknown_end(model, &job->bulk[0]);
	for (uint32_t i = 1; is_bulk && i < MODEL_WORDS; i++)
		model_unknown_end(model, &job->bulk[i]);
	if (refused)
		run_verdict(job->program,
			    model_fail_end(model, is_bulk ? &job->bulk[0] :
							    &job->access[job->done]));
	else
		model_unknown_end(model, is_bulk ? &job->bulk[0] : &job->access[job->done]);
}

/* A batch may have written to one word twice, and failed at the second: all of them are
 * then unknown. */
static uint32_t count_at(const struct op *op, uint64_t addr)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < op->access_count; i++)
		count += op->access[i].addr == addr;
	return count;
}

static uint32_t block_bit(uint64_t addr)
{
	return 1u << (addr < PLAY_START ? PLAN_BLOCKS : (addr - PLAY_START) / HUGE_BYTES);
}

/* The vm may refuse this access, whatever the process allows. */
static bool excuses(const struct job *job, uint64_t addr, bool reads)
{
	return (job->read_only && !reads) || job->program->patchy & block_bit(addr);
}

static void end_badly(struct job *job, int err)
{
	const struct op *op = job->op;
	struct model *model = job->program->world->model;
	uint32_t count = op->access_count - (job->has_fence ? 1 : 0);
	bool leaving = is_leaving(job->program, err);
	bool refused = err != -ECANCELED && !leaving;
	struct usvm_queue_status status = { 0 };
	bool judged = !job->program->queue; /* the queue is gone, and what it knew */

	if (leaving || run_tolerates(job->program->world, err)) {
		refused = false;
		judged = true;
	} else if (err == -EACCES && (judged || (!usvm_queue_status(job->program->queue,
								     &status) &&
						  advise_may_refuse(job->program,
								    status.fault.addr)))) {
		refused = false;
		judged = true;
	} else if (err != -EFAULT && err != -EPERM && err != -ECANCELED) {
		run_fail(job->program, "job of operation %u ended with %d", op->number, err);
	}
	if (refused && !judged &&
	    (usvm_queue_status(job->program->queue, &status) || !status.banned ||
	     status.error != err))
		run_fail(job->program, "job of operation %u failed and its queue is not banned",
			 op->number);
	if (op->type == OP_KERNEL && job->in_access) {
		bool excused = excuses(job, op->access[job->done].addr,
				       is_read(op->access[job->done].type));

		end_left(job, refused && !excused);
		judged = true;
	}
	for (uint32_t i = op->type == OP_BATCH ? 0 : count; i < op->access_count; i++) {
		bool guilty = refused && !excuses(job, op->access[i].addr, false) &&
			      op->access[i].addr == status.fault.addr;

		if (guilty && !judged && count_at(op, status.fault.addr) == 1)
			run_verdict(job->program, model_fail_end(model, &job->access[i]));
		else
			model_unknown_end(model, &job->access[i]);
		judged |= guilty;
	}
	if (refused && !judged && !excuses(job, status.fault.addr, false))
		run_fail(job->program, "job of operation %u failed with %d at %#lx: not its own",
			 op->number, err, (unsigned long)status.fault.addr);
}

static void wait_job(struct job *job)
{
	int err;

	if (!job->active)
		return;
	err = usvm_fence_wait(job->fence, USVM_FOREVER);
	usvm_fence_put(job->fence);
	job->active = false;
	run_hash(job->program->world, (uint64_t)(int64_t)err);
	if (err)
		end_badly(job, err);
	else
		end_well(job);
}

void gpu_wait_all(struct program *program)
{
	for (uint32_t i = 0; i < JOBS_MAX; i++)
		wait_job(&program->jobs[(program->job_next + i) % JOBS_MAX]);
}

/* --- queues, vms, devices ------------------------------------------------------------ */

/* False: it failed, and may, for a call was ordered to fail or the device goes away. */
bool gpu_must(struct program *program, const char *what, int err)
{
	if (err && !run_tolerates(program->world, err) && !is_leaving(program, err))
		run_fail(program, "%s gave %d", what, err);
	return !err;
}

static struct seen *seen_of(struct program *program)
{
	return &program->world->seen[1 + program->index];
}

/* The same of what needs nothing that could fail but once. */
static void must_close(struct program *program)
{
	int err;

	seen_of(program)->device = NULL;
	err = usvm_close(program->own);
	if (!gpu_must(program, "usvm_close()", err)) {
		run_inject(program->world, false);
		err = usvm_close(program->own);
	}
	if (err)
		run_fail(program, "usvm_close() gave %d", err);
	program->own = NULL;
	seen_of(program)->leaves = seen_of(program)->gone = false;
}

/* The operation ends jobs that are under way. Its number says so, as it does not change
 * when others are left out. */
static bool cancels(const struct program *program)
{
	const struct op *op = program->op;

	return op && op->number % 2 &&
	       (op->type == OP_QUEUE || op->type == OP_VM || op->type == OP_DEVICE);
}

static void drop_queue(struct program *program)
{
	struct usvm_queue *queue = program->queue;

	if (!queue)
		return;
	/* Half of the time jobs under way are cancelled with it. Else jobs that failed are
	 * asked for their queue's status. */
	if (!cancels(program))
		gpu_wait_all(program);
	program->queue = NULL;
	gpu_must(program, "usvm_queue_destroy()", usvm_queue_destroy(queue));
}

/* What is in use cannot be closed. */
static void try_too_early(struct program *program)
{
	int err = program->own && program->vm ? usvm_close(program->own) : -EBUSY;

	if (err != -EBUSY)
		run_fail(program, "usvm_close() with a vm gave %d", err);
	err = program->vm && program->queue ? usvm_vm_destroy(program->vm) : -EBUSY;
	if (err != -EBUSY)
		run_fail(program, "usvm_vm_destroy() with a queue gave %d", err);
}

static void drop_vm(struct program *program)
{
	try_too_early(program);
	drop_queue(program);
	seen_of(program)->vm = NULL;
	object_unbound(program);
	gpu_must(program, "usvm_vm_destroy()", usvm_vm_destroy(program->vm));
	program->vm = NULL;
}

static bool has_jobs(const struct program *program)
{
	bool any = false;

	for (uint32_t i = 0; i < JOBS_MAX; i++)
		any |= program->jobs[i].active;
	return any;
}

void gpu_leave(struct program *program)
{
	drop_vm(program);
	/* The queue was destroyed under them: their fences are left. */
	if (program->own && has_jobs(program)) {
		int err = usvm_close(program->own);

		if (!run_tolerates(program->world, err) && err != -EBUSY)
			run_fail(program, "usvm_close() with fences gave %d", err);
	}
	gpu_wait_all(program);
	object_drop(program);
	must_close(program);
}

/* Blocks one by one, and as one what is below them. */
static void mirror_pieces(struct program *program)
{
	uint64_t start = SIM_START;
	uint64_t end = PLAY_START;

	for (; start < PLAY_END; start = end, end += HUGE_BYTES) {
		if (!gpu_must(program, "usvm_vm_mirror()",
			  usvm_vm_mirror(program->vm, (void *)(uintptr_t)start, end - start, 0)))
			program->patchy |= block_bit(start);
	}
	program->unbound = program->patchy;
}

struct usvm_vm *gpu_vm(struct program *program)
{
	const struct usvm_vm_config config = {
		.flags = (program->read_only ? USVM_VM_READ_ONLY :
			  program->pieces    ? USVM_VM_NO_MIRROR : 0u) |
			 (program->autoreset ? USVM_VM_AUTORESET : 0u),
	};
	bool was_gone;
	int err;

	if (program->vm)
		return program->vm;
	if (!program->own && !program->read_only && !program->pieces &&
	    program->world->common_vm)
		return program->world->common_vm;
	program->patchy = 0;
	program->unbound = 0;
	advise_new_vm(program);
	was_gone = seen_device(program)->gone;
	err = usvm_vm_create(gpu_device_of(program), &config, &program->vm);
	expect_refused(program, "usvm_vm_create()", was_gone, err);
	if (gpu_must(program, "usvm_vm_create()", err) && program->pieces)
		mirror_pieces(program);
	seen_of(program)->vm = program->vm;
	return program->vm;
}

struct usvm_queue *gpu_queue_of(struct program *program)
{
	struct usvm_queue_status status;
	struct usvm_vm *vm;
	bool was_gone;
	int err;

	if (program->queue) {
		gpu_must(program, "usvm_queue_status()",
			 usvm_queue_status(program->queue, &status));
		if (!status.banned)
			return program->queue;
		drop_queue(program);
	}
	vm = gpu_vm(program);
	if (!vm)
		return NULL;
	was_gone = seen_device(program)->gone;
	err = usvm_queue_create(vm, NULL, &program->queue);
	expect_refused(program, "usvm_queue_create()", was_gone, err);
	gpu_must(program, "usvm_queue_create()", err);
	return program->queue;
}

/* --- operations ---------------------------------------------------------------------- */

static int submit(struct job *job, struct usvm_queue *queue)
{
	const struct op *op = job->op;
	uint32_t last = op->access_count - 1;
	void *fence = job->has_fence ? (void *)(uintptr_t)op->access[last].addr : NULL;
	uint64_t batch = job->program->batch_addr +
			 (uint64_t)(job - job->program->jobs) * PAGE_BYTES;

	if (op->type == OP_BATCH) {
		bool written = write_batch(job, batch);

		begin_unseen(job);
		if (!written)
			return -EFAULT;
		return usvm_submit_batch(queue,
					 &(struct usvm_batch){
						 .commands = (void *)(uintptr_t)batch,
						 .user_fence = fence,
						 .user_fence_value = plan_value(op, last),
					 },
					 &job->fence);
	}
	begin_unseen(job);
	return usvm_submit_kernel(queue,
				  &(struct usvm_kernel){
					  .function = kernel,
					  .args_bytes = sizeof(job),
					  .args = &job,
					  .user_fence = fence,
					  .user_fence_value = plan_value(op, last),
				  },
				  &job->fence);
}

static void run_job(struct program *program, const struct op *op)
{
	struct job *job = &program->jobs[program->job_next];
	struct usvm_queue *queue;
	bool was_gone;
	int err;

	wait_job(job);
	queue = gpu_queue_of(program);
	if (!queue)
		return;
	was_gone = seen_device(program)->gone;
	program->job_next = (program->job_next + 1) % JOBS_MAX;
	*job = (struct job){
		.program = program,
		.op = op,
		.has_fence = op->flags & OP_FENCE,
		.read_only = program->read_only,
		.advice_count = program->advice_count,
	};
	err = submit(job, queue);
	expect_refused(program, "submit", was_gone, err);
	if (err == -ECANCELED || is_leaving(program, err) ||
	    run_tolerates(program->world, err)) {
		/* An earlier job failed just now, there is no memory, or no device. */
		end_badly(job, err);
		return;
	}
	gpu_must(program, "submit", err);
	job->active = true;
	if (!(op->flags & OP_ASYNC))
		wait_job(job);
}

#define BOUNCES 6
#define PAUSE_NS 100000000ull
#define PAUSE_STEPS 200

/* What a program does that works in turns; then it may be quiet for a while: about as long as
 * thrash control waits. Its vm may go then. */
static void bounce(struct program *program, const struct op *op)
{
	struct op store = *op, kernel_op = *op; /* which is over when run_job() is */

	store.type = OP_STORE;
	kernel_op.type = OP_KERNEL;
	for (int i = 0; i < BOUNCES; i++) {
		program_run_op(program, &store);
		run_job(program, &kernel_op);
	}
	if (op->number % 2 == 0)
		return;
	sim_sleep(program->world->sim,
		  PAUSE_NS - op->number % 32 * PAUSE_STEPS *
				     program->world->spec->plan->setting.sim.step_ns);
	drop_vm(program);
	gpu_wait_all(program);
}

static void prefetch(struct program *program, const struct op *op)
{
	struct usvm_vm *vm = gpu_vm(program);
	bool was_gone = seen_device(program)->gone;
	int err;

	if (!vm)
		return;
	err = usvm_prefetch(vm, (void *)(uintptr_t)op->addr, op->bytes,
			    op->flags & OP_ADVISED   ? USVM_PLACE_ADVISED :
			    op->flags & OP_TO_DEVICE ? USVM_PLACE_DEVICE : USVM_PLACE_SYSTEM);
	if (op->flags & OP_TO_DEVICE && !(op->flags & OP_ADVISED))
		expect_refused(program, "usvm_prefetch()", was_gone, err);

	run_hash(program->world, (uint64_t)(int64_t)err);
	if (err != -EFAULT)
		gpu_must(program, "usvm_prefetch()", err);
}

static void query(struct program *program, const struct op *op)
{
	struct usvm_page_info info;
	struct usvm_vm *vm = gpu_vm(program);
	uint64_t pages[4];

	if (!vm)
		return;
	gpu_must(program, "usvm_query()", usvm_query(vm, (void *)(uintptr_t)op->addr, &info));
	gpu_must(program, "usvm_query_span()",
	     usvm_query_span(vm, (void *)(uintptr_t)PLAY_START,
			     PLAY_END - PLAY_START, pages));
	run_hash(program->world, info.state);
	if (pages[0] + pages[1] + pages[2] + pages[3] != (PLAY_END - PLAY_START) / PAGE_BYTES)
		run_fail(program, "usvm_query_span() counted %lu + %lu + %lu + %lu pages",
			 (unsigned long)pages[0], (unsigned long)pages[1],
			 (unsigned long)pages[2], (unsigned long)pages[3]);
}

/* A block of @vm, all of which is one bind, which others may use at the same time. */
static void bind_part(struct program *program, struct usvm_vm *vm, void *addr)
{
	int err = usvm_vm_unmirror(vm, addr, HUGE_BYTES);

	if (err != -ENOENT && !run_tolerates(program->world, err))
		run_fail(program, "usvm_vm_unmirror() of a part gave %d", err);
	err = usvm_vm_mirror(vm, addr, HUGE_BYTES, 0);
	if (err != -EBUSY && !run_tolerates(program->world, err))
		run_fail(program, "usvm_vm_mirror() of what is mirrored gave %d", err);
}

static void bind(struct program *program, const struct op *op)
{
	struct usvm_vm *vm = gpu_vm(program);
	void *addr = (void *)(uintptr_t)op->addr;
	uint32_t bit = block_bit(op->addr);
	uint32_t patchy = program->patchy;
	uint32_t flags = op->flags & OP_READ_ONLY ? USVM_VM_READ_ONLY : 0;
	int err;

	if (!vm || !program->pieces) {
		if (vm)
			bind_part(program, vm, addr);
		return;
	}
	program->patchy |= bit; /* of jobs that run meanwhile, too */
	err = usvm_vm_unmirror(vm, addr, HUGE_BYTES);
	run_hash(program->world, (uint64_t)(int64_t)err);
	if (err == -EBUSY) { /* there are ranges in it */
		program->patchy = patchy;
		return;
	}
	if (err != (program->unbound & bit ? -ENOENT : 0))
		run_fail(program, "usvm_vm_unmirror() gave %d", err);
	program->unbound |= bit;
	if (op->flags & OP_ON &&
	    gpu_must(program, "usvm_vm_mirror()", usvm_vm_mirror(vm, addr, HUGE_BYTES, flags)))
		program->unbound &= ~bit;
}

static void new_device(struct program *program, const struct op *op)
{
	gpu_leave(program);
	if (op->flags & OP_OWN)
		gpu_must(program, "usvm_open()",
		     usvm_open(program->world->spec->plan->setting.own_device, &program->own));
	seen_of(program)->device = program->own;
}

static void unplug(struct program *program, const struct op *op)
{
	struct seen *seen = seen_device(program);

	if (op->flags & OP_OWN && !program->own)
		return;
	seen->leaves = true;
	if (gpu_must(program, "usvm_device_unplug()", usvm_device_unplug(gpu_device_of(program))))
		seen->gone = true;
}

void gpu_run_op(struct program *program, const struct op *op)
{
	switch (op->type) {
	case OP_KERNEL:
	case OP_BATCH:
		run_job(program, op);
		break;
	case OP_WAIT:
		gpu_wait_all(program);
		break;
	case OP_PREFETCH:
		prefetch(program, op);
		break;
	case OP_QUERY:
		query(program, op);
		break;
	case OP_QUEUE:
		drop_queue(program);
		gpu_wait_all(program);
		break;
	case OP_VM:
		drop_vm(program);
		gpu_wait_all(program);
		program->read_only = op->flags & OP_READ_ONLY;
		program->pieces = op->flags & OP_PIECES;
		break;
	case OP_BIND:
		bind(program, op);
		break;
	case OP_DEVICE:
		new_device(program, op);
		break;
	case OP_UNPLUG:
		unplug(program, op);
		break;
	case OP_ADVISE:
		advise_run_op(program, op);
		break;
	case OP_BOUNCE:
		bounce(program, op);
		break;
	case OP_OBJECT:
		object_run_op(program, op);
		break;
	default:
		run_fail(program, "no such operation of the GPU");
	}
}
