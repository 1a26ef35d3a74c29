/* SPDX-License-Identifier: MIT */
/*
 * DOC: one run
 *
 *     main:      open, start the threads, join them, close, look at what is left
 *     threads:   their operations of the plan, in order, until the steps are over;
 *                then they wait for their jobs and children and give back what they have
 *
 * The model sees each access begin and end; between the end of an access in the kernel
 * and its end in the model there may be steps of others, never the other way round.
 */
#include "run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "check_tables.h"
#include "device/faulty.h"
#include "support/fault_table.h"

/* Steps in which a run has to end after its last operation has begun. */
#define STEPS_TO_END 2000000u

void run_hash(struct world *world, uint64_t value)
{
	uint64_t z = (world->result->hash ^ value) * 0xbf58476d1ce4e5b9u;

	world->result->hash = z ^ (z >> 29);
}

void run_fail(struct program *program, const char *format, ...)
{
	char line[256] = "";
	char why[RUN_TEXT_MAX / 2];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	if (program->op)
		op_format(program->op, line, sizeof(line));
	sim_fail(program->world->sim, "operation %u (%s) of %s: %s",
		 program->op ? program->op->number : 0, line,
		 sim_thread_name(program->thread), why);
}

void run_verdict(struct program *program, const char *why)
{
	if (why)
		run_fail(program, "%s", why);
}

static bool inject_device(const struct injection *injection, bool on)
{
	for (enum faulty_call call = 0; call < FAULTY_CALLS; call++) {
		if (strcmp(faulty_name(call), injection->call))
			continue;
		faulty_order(call, injection->nth, on ? injection->error : 0,
			     injection->for_ever);
		return true;
	}
	return false;
}

void run_inject(struct world *world, bool on)
{
	const struct injection *injection = world->spec->injection;

	if (!injection || inject_device(injection, on))
		return;
	sim_inject(world->sim, injection->call, injection->nth, on ? injection->error : 0,
		   injection->for_ever);
}

bool run_loses(const struct world *world)
{
	return world->spec->injection && world->spec->injection->loses;
}

bool run_tolerates(const struct world *world, int err)
{
	return world->spec->injection &&
	       (fault_is_documented(err) || (err == -EFAULT && run_loses(world)));
}

static void note(struct program *program, const struct op *op)
{
	static const char *const names[] = { "op" };
	const uint64_t args[] = { op->number };

	sim_trace_note(program->world->sim, op_name(op->type), 1, names, args);
}

static void run_op(struct program *program, const struct op *op)
{
	program->op = op;
	program->world->result->ops++;
	program->world->spec->began[op->number] = true;
	note(program, op);
	if (program->world->spec->plan->setting.own && own_run_op(program, op))
		;
	else if (op->type >= OP_KERNEL)
		gpu_run_op(program, op);
	else if (op->type == OP_FORK)
		child_fork(program, op);
	else
		program_run_op(program, op);
	program->op = NULL;
}

static bool wants(const struct program *program, const struct op *op)
{
	const struct run_spec *spec = program->world->spec;

	return op->thread == program->index && !(spec->left_out && spec->left_out[op->number]);
}

static void program_main(void *arg)
{
	struct program *program = arg;
	struct world *world = program->world;
	const struct plan *plan = world->spec->plan;
	int err;

	program->batch_addr = BATCHES_START + program->index * MIB(2);
	err = sim_mmap(world->sim, program->batch_addr, JOBS_MAX * PAGE_BYTES,
		       SYS_PROT_READ | SYS_PROT_WRITE, SYS_VMA_ANON_PRIVATE, SIM_MAP_FIXED,
		       &program->batch_addr);
	if (err)
		run_fail(program, "mmap of the batches: %d", err);
	for (size_t i = 0; i < plan->count; i++) {
		if (sim_step(world->sim) >= world->spec->steps_max)
			break;
		if (wants(program, &plan->ops[i]))
			run_op(program, &plan->ops[i]);
	}
	gpu_leave(program);
	child_wait_all(program);
}

static void start_programs(struct world *world)
{
	static const char *const names[PLAN_THREADS_MAX] = { "one", "two", "three", "four" };
	uint32_t count = world->spec->plan->setting.threads;

	for (uint32_t i = 0; i < count; i++) {
		struct program *program = &world->programs[i];

		program->world = world;
		program->index = i;
		program->pieces = world->spec->plan->setting.pieces;
		program->autoreset = world->spec->plan->setting.autoreset;
		program->thread = sim_thread_start(world->sim, names[i], program_main, program);
	}
	for (uint32_t i = 0; i < count; i++)
		sim_thread_join(world->sim, world->programs[i].thread);
}

/* Once nothing fails any more, everything can be given back. */
static void close_common(struct world *world)
{
	int err;

	err = usvm_close(world->common);
	if (run_tolerates(world, err)) {
		run_inject(world, false);
		err = usvm_close(world->common);
	}
	if (err)
		sim_fail(world->sim, "usvm_close(): %d", err);
	world->common = NULL;
}

static void run_opened(struct world *world)
{
	int err = 0;

	if (world->spec->plan->setting.common_vm)
		err = usvm_vm_create(world->common, NULL, &world->common_vm);
	if (err && !run_tolerates(world, err))
		sim_fail(world->sim, "usvm_vm_create(): %d", err);
	world->seen[0].device = world->common;
	world->seen[0].vm = world->common_vm;
	start_programs(world);
	if (world->spec->check)
		check_all(world);
	world->seen[0] = (struct seen){ 0 };
	err = usvm_vm_destroy(world->common_vm);
	if (err)
		sim_fail(world->sim, "usvm_vm_destroy(): %d", err);
	close_common(world);
}

static void main_run(void *arg)
{
	struct world *world = arg;
	const char *device = world->spec->plan->setting.device;
	uint64_t own = sim_own_bytes(world->sim);
	int err;

	run_inject(world, true);
	err = usvm_open(device, &world->common);
	if (err && !run_tolerates(world, err))
		sim_fail(world->sim, "usvm_open(%s): %d", device, err);
	if (!err)
		run_opened(world);
	if (sim_own_bytes(world->sim) != own)
		sim_fail(world->sim, "%lu bytes of the library are left after the last close",
			 (unsigned long)(sim_own_bytes(world->sim) - own));
	if (faulty_complaint())
		sim_fail(world->sim, "%s", faulty_complaint());
	check_closed(world);
}

static void end(struct world *world, enum sim_outcome outcome)
{
	struct run_result *result = world->result;
	const char *report = sim_report(world->sim);
	size_t count;
	const struct sim_switch *schedule = sim_schedule(world->sim, &count);

	result->failed = outcome != SIM_DONE;
	result->steps = sim_step(world->sim);
	for (size_t i = 0; i < count; i++)
		run_hash(world, schedule[i].step << 8 ^ schedule[i].thread);
	run_hash(world, result->steps);
	switch (outcome) {
	case SIM_DONE:
		break;
	case SIM_STEPS_OVER:
		snprintf(result->text, sizeof(result->text),
			 "not done %u steps after the last operation began\n%s", STEPS_TO_END,
			 report);
		break;
	case SIM_DEADLOCK:
		snprintf(result->text, sizeof(result->text), "no thread can run\n%s", report);
		break;
	case SIM_FAILED:
		snprintf(result->text, sizeof(result->text), "%s", report);
		break;
	}
}

void run_plan(const struct run_spec *spec, struct run_result *result,
	      void (*see)(struct world *world, void *arg), void *arg)
{
	struct world world = { .spec = spec, .result = result };
	struct sim_config config = spec->plan->setting.sim;
	int err;

	*result = (struct run_result){ .schedule = plan_schedule(spec->plan) };
	config.schedule = spec->schedule;
	config.schedule_count = spec->schedule_count;
	config.trace_max = spec->trace_max;
	world.model = model_create((struct span){ PLAY_START, PLAY_END });
	err = world.model ? sim_open(&config, &world.sim) : -1;
	if (err) {
		result->failed = true;
		snprintf(result->text, sizeof(result->text), "sim_open(): %d", err);
		model_destroy(world.model);
		return;
	}
	if (spec->check) {
		sim_on_step(world.sim, check_step, &world);
		places_watch_sections(world.sim);
	}
	end(&world, sim_run(world.sim, main_run, &world, spec->steps_max + STEPS_TO_END));
	if (see)
		see(&world, arg);
	places_watch_sections(NULL);
	sim_close(world.sim);
	model_destroy(world.model);
}
