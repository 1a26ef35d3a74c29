/* SPDX-License-Identifier: MIT */
/*
 * DOC: A round
 *
 * Opens a device, lets threads do their steps, looks at everything once more while the
 * device is there, and again when it is closed. Steps are drawn, or repeated from a
 * script: one by one by a single thread, or by the threads that did them, each step
 * beginning behind the one before it in the script.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"

#define CHOICES 8u              /* of a step: what others hold is passed over */
#define TELL_STEPS 16u
#define TURN_NS 2000000000u     /* a step of a script waits so long for its locks */

struct run *run;

const char *const stat_names[STATS_MAX] = {
	"svm_pagefault_count", "mm_cpu_faults",         "mm_hole_faults",
	"mm_taken_pages",      "mm_filled_pages",       "mm_home_moved_pages",
	"mm_home_copied_pages", "mm_forks_pushed_pages", "vram_evictions",
	"mm_events_unmap",     "mm_events_remove",      "mm_events_remap",
	"mm_events_fork",      "mm_retries",            "mm_stashed",
	"mm_quarantined",
};

const struct operation operations[] = {
	{ "touch", op_touch, 40, LOCK_SHARED, AREA_USED, 64, false },
	{ "job", op_job, 60, LOCK_SHARED, AREA_USED, 128, true },
	{ "tag", op_tag, 12, LOCK_EXCLUSIVE, AREA_USED, 64, false },
	{ "prefetch", op_prefetch, 12, LOCK_PLACE, AREA_USED, 0, false },
	{ "query", op_query, 2, LOCK_PLACE, AREA_COMMON, 0, false },
	{ "pipe", op_pipe, 2, LOCK_EXCLUSIVE, AREA_USED, 16, false },
	{ "file", op_file, 2, LOCK_EXCLUSIVE, AREA_USED, 16, false },
	{ "vm_read", op_vm_read, 2, LOCK_EXCLUSIVE, AREA_USED, 32, false },
	{ "copy", op_copy, 2, LOCK_EXCLUSIVE, AREA_USED, 32, false },
	{ "bulk", op_bulk, 3, LOCK_EXCLUSIVE, AREA_USED, 64, false },
	{ "batch", op_batch, 3, LOCK_SHARED, AREA_USED, 64, false },
	{ "dontneed", op_dontneed, 8, LOCK_EXCLUSIVE, AREA_PRIVATE, 256, false },
	{ "punch", op_punch, 2, LOCK_EXCLUSIVE, AREA_SHARED, 256, false },
	{ "map_fixed", op_map_fixed, 4, LOCK_EXCLUSIVE, AREA_PRIVATE, 256, false },
	{ "unmap_map", op_unmap_map, 6, LOCK_EXCLUSIVE, AREA_PRIVATE, 256, false },
	{ "absent", op_absent, 1, LOCK_EXCLUSIVE, AREA_PRIVATE, 64, false },
	{ "free", op_free, 4, LOCK_EXCLUSIVE, AREA_SMALL | AREA_HUGE | AREA_BREAK, 256, false },
	{ "guard", op_guard, 2, LOCK_EXCLUSIVE, AREA_SMALL | AREA_HUGE | AREA_BREAK, 64, false },
	{ "advise", op_advise, 4, LOCK_EXCLUSIVE, AREA_USED, 512, false },
	{ "attribute", op_attribute, 3, LOCK_EXCLUSIVE, AREA_COMMON, 256, false },
	{ "protect", op_protect, 4, LOCK_EXCLUSIVE, AREA_USED, 128, false },
	{ "forbid", op_forbid, 2, LOCK_EXCLUSIVE, AREA_PRIVATE, 64, false },
	{ "lock", op_lock, 3, LOCK_EXCLUSIVE, AREA_USED, 64, false },
	{ "move", op_move, 4, LOCK_WHOLE, AREA_MOVABLE, 0, false },
	{ "dontunmap", op_dontunmap, 3, LOCK_WHOLE, AREA_SMALL | AREA_HUGE, 0, false },
	{ "resize", op_resize, 4, LOCK_WHOLE, AREA_SMALL | AREA_HUGE | AREA_FILE, 0, false },
	{ "brk", op_break, 2, LOCK_WHOLE, AREA_BREAK, 0, false },
	{ "fork", op_fork, 3, LOCK_WHOLE, AREA_PRIVATE, 0, false },
	{ "detour", op_detour, 5, LOCK_EXCLUSIVE, AREA_SMALL | AREA_HUGE, 128, false },
	{ "hammer", op_hammer, 6, LOCK_EXCLUSIVE, AREA_PRIVATE, 16, false },
	{ "race", op_race, 8, LOCK_SHARED, AREA_PRIVATE, 64, false },
	{ "ping_pong", op_ping_pong, 6, LOCK_SHARED, AREA_USED, 16, false },
	{ "realloc", op_realloc, 6, LOCK_WHOLE, AREA_BLOCK, 0, false },
	{ "object", op_object, 4, LOCK_SHARED, AREA_OBJECT, 64, false },
	{ "rebind", op_rebind, 3, LOCK_WHOLE, AREA_OBJECT, 0, false },
	{ "own_object", op_own_object, 4, LOCK_NONE, 0, 0, false },
	{ "malloc", op_malloc, 6, LOCK_NONE, 0, 0, false },
	{ "queue", op_queue, 2, LOCK_EXCLUSIVE, AREA_USED, 64, false },
	{ "vm", op_vm, 2, LOCK_SHARED, AREA_COMMON, 64, false },
	{ "device", op_device, 1, LOCK_SHARED, AREA_COMMON, 64, false },
};

const uint32_t operation_count = sizeof(operations) / sizeof(operations[0]);

uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void must(int err, const char *what)
{
	if (err)
		report_failure(NULL, what, err);
}

uint32_t operation_find(const char *name, size_t length)
{
	for (uint32_t i = 0; i < operation_count; i++) {
		if (strlen(operations[i].name) == length &&
		    strncmp(operations[i].name, name, length) == 0)
			return i;
	}
	return operation_count;
}

static bool is_left_out(const char *name)
{
	size_t length = strlen(name);
	const char *at = run->without;

	while (at && (at = strstr(at, name))) {
		if ((at == run->without || at[-1] == ',') && (!at[length] || at[length] == ','))
			return true;
		at += length;
	}
	return false;
}

/* --- a step ---------------- */

static uint16_t draw_operation(struct random *random)
{
	uint32_t all = 0, chosen;

	for (uint32_t i = 0; i < operation_count; i++)
		all += operations[i].weight;
	for (;;) {
		uint16_t i = 0;

		chosen = random_below(random, all);
		for (; chosen >= operations[i].weight; i++)
			chosen -= operations[i].weight;
		if (!is_left_out(operations[i].name))
			return i;
	}
}

/* The locks are held. */
static void begin_step(struct worker *worker, struct step *step, const struct hold *hold)
{
	uint32_t at = ADD(&run->log.count, 1u);

	step->order = 1 + ADD(&run->order_next, 1);
	step->area = (uint16_t)hold->area->index;
	step->first = hold->first;
	step->count = hold->count;
	worker->step = *step;
	if (at < STEPS_PER_ROUND)
		run->log.steps[at] = *step;
}

static void do_step(struct worker *worker, const struct step *step, struct hold *hold)
{
	const struct operation *operation = &operations[step->operation];

	STORE(&worker->doing, operation->name);
	worker->random.state = step->seed;
	operation->act(worker, hold);
	if (!operation->keeps)
		hold_release(hold);
	ADD(&run->counts[step->operation], 1);
	ADD(&worker->steps, 1);
}

/* The nth step of a thread follows from the seed, but for what others hold just then. */
static void drawn_step(struct worker *worker, uint64_t n)
{
	struct random random = { mix(run->setting.seed + n * THREADS_MAX + worker->thread) };
	struct step step = { .seed = random_next(&random),
			     .thread = (uint16_t)worker->thread,
			     .operation = draw_operation(&random) };
	const struct operation *operation = &operations[step.operation];
	struct hold hold;

	/* Who waits for memory of its own waits for nobody's locks. */
	STORE(&worker->doing, "job");
	job_reap(&worker->job, operation->keeps);
	STORE(&worker->doing, "disturb");
	worker->random.state = random_next(&random);
	if (random_one_in(&random, 2))
		disturb(worker);
	for (uint32_t tries = 0; tries < CHOICES; tries++) {
		hold_choose(&random, operation->kinds, worker->thread, operation->pages_max,
			    operation->lock, &hold);
		if (!hold_try(&hold))
			continue;
		begin_step(worker, &step, &hold);
		do_step(worker, &step, &hold);
		return;
	}
	worker->missed++;
	ADD(&worker->steps, 1);
}

/* For the supervisor. */
static void tell_stats(void)
{
	for (uint32_t i = 0; i < STATS_MAX; i++)
		STORE(&run->stats[i], usvm_stat(run->gpu, stat_names[i]));
}

/* --- a script ---------------- */

static bool script_hold(const struct step *step, struct hold *hold)
{
	const struct operation *operation = &operations[step->operation];

	*hold = (struct hold){ .area = &areas[step->area], .first = step->first,
			       .count = step->count, .lock = operation->lock };
	return hold_try(hold);
}

static void reap_all(void)
{
	for (uint32_t i = 0; i < run->setting.thread_count; i++)
		job_reap(&run->workers[i].job, true);
}

/* By one thread: whatever is locked, a job has. */
static void script_one_by_one(void)
{
	for (uint32_t i = 0; i < run->script->count; i++) {
		struct step step = run->script->steps[i];
		struct worker *worker = &run->workers[step.thread];
		struct hold hold;

		if (!script_hold(&step, &hold)) {
			reap_all();
			if (!script_hold(&step, &hold)) {
				run->script_skipped++;
				continue;
			}
		}
		begin_step(worker, &step, &hold);
		do_step(worker, &step, &hold);
	}
	reap_all();
}

static bool script_wait(struct worker *worker, const struct step *step, struct hold *hold)
{
	uint64_t end = now_ns() + TURN_NS;

	while (!script_hold(step, hold)) {
		job_reap(&worker->job, false);
		if (now_ns() > end)
			return false;
		sched_yield();
	}
	return true;
}

/* Each step has its locks before the next one asks for its own. */
static void script_in_order(struct worker *worker)
{
	for (uint32_t i = 0; i < run->script->count; i++) {
		struct step step = run->script->steps[i];
		struct hold hold;
		bool held;

		if (step.thread != worker->thread)
			continue;
		STORE(&worker->doing, "waiting for its turn");
		while (LOAD(&run->script_turn) != i) {
			job_reap(&worker->job, false);
			sched_yield();
		}
		held = script_wait(worker, &step, &hold);
		if (held)
			begin_step(worker, &step, &hold);
		else
			ADD(&run->script_skipped, 1u);
		STORE(&run->script_turn, i + 1);
		if (held)
			do_step(worker, &step, &hold);
	}
}

/* --- the threads ---------------- */

static void *thread_run(void *arg)
{
	struct worker *worker = arg;

	if (run->script) {
		script_in_order(worker);
	} else {
		for (uint64_t n = 0; n < run->steps_per_thread; n++) {
			if (run->end_ns && now_ns() >= run->end_ns)
				break;
			drawn_step(worker, n);
			if (!worker->thread && n % TELL_STEPS == 0)
				tell_stats();
		}
	}
	STORE(&worker->doing, "last job");
	job_reap(&worker->job, true);
	STORE(&worker->doing, "done");
	return NULL;
}

static void run_threads(void)
{
	uint32_t count = run->setting.thread_count;
	pthread_t threads[THREADS_MAX];

	for (uint32_t i = 0; i < count; i++)
		must(-pthread_create(&threads[i], NULL, thread_run, &run->workers[i]),
		     "pthread_create");
	for (uint32_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

/* --- beginning and end ---------------- */

static void begin_worker(struct worker *worker, uint32_t thread)
{
	worker->thread = thread;
	worker->doing = "starting";
	worker->job.agent = QUEUE_AGENT(thread);
	worker->job.result = &worker->result;
	worker->job.user_fence = map_anywhere(PAGE, MAP_PRIVATE);
	worker->commands = map_anywhere(PAGE, MAP_PRIVATE);
	must(usvm_queue_create(run->vm, NULL, &worker->job.queue), "usvm_queue_create");
}

static void begin(struct random *random)
{
	struct usvm_device_info info;

	run->tag_next = 1;
	run->start_ns = now_ns();
	must(usvm_open(run->setting.spec, &run->gpu), "usvm_open");
	must(usvm_device_info(run->gpu, &info), "usvm_device_info");
	if (!info.migrates) {
		run->failure.kind = FAILED_SKIPPED;
		snprintf(run->failure.text, sizeof(run->failure.text), "%s", info.why_not);
		_exit(1);
	}
	run->fork_events = info.fork_events;
	must(usvm_vm_create(run->gpu, NULL, &run->vm), "usvm_vm_create");
	areas_create(random);
	for (uint32_t i = 0; i < run->setting.thread_count; i++)
		begin_worker(&run->workers[i], i);
}

static void check_all(struct random *random, const char *when)
{
	uint32_t count = SHARED_AREAS + BLOCKS_PER_THREAD * run->setting.thread_count;

	for (uint32_t i = 0; i < count; i++) {
		struct hold hold;

		if (!hold_all(&areas[i], &hold))
			report_failure(&areas[i], "still locked at the end", 0);
		check_held(&hold, 0, random, when);
		hold_release(&hold);
	}
}

static void end(struct random *random)
{
	check_all(random, "at the end");
	tell_stats();
	for (uint32_t i = 0; i < run->setting.thread_count; i++)
		own_objects_end(&run->workers[i]);
	/* One of them while it is bound, one when nothing but the program has it. */
	object_destroy(&areas[SHARED_AREAS - 1]);
	for (uint32_t i = 0; i < run->setting.thread_count; i++)
		must(usvm_queue_destroy(run->workers[i].job.queue), "usvm_queue_destroy");
	must(usvm_vm_destroy(run->vm), "usvm_vm_destroy");
	run->vm = NULL;
	object_destroy(&areas[SHARED_AREAS - 2]);
	must(usvm_close(run->gpu), "usvm_close");
	check_all(random, "after the close");
}

_Noreturn void round_main(void)
{
	struct random random = { mix(run->setting.seed) };
	struct rlimit none = { 0, 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN); /* the supervisor's */
	setrlimit(RLIMIT_CORE, &none);
	mallopt(M_ARENA_MAX, 8 * (int)THREADS_MAX); /* the break is an area's alone */
	begin(&random);
	if (run->setting.shakes)
		shake_start(random_next(&random));
	if (run->script && run->one_thread)
		script_one_by_one();
	else
		run_threads();
	STORE(&run->workers[0].doing, "the end");
	end(&random);
	_exit(0);
}
