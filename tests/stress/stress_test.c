/* SPDX-License-Identifier: MIT */
/*
 * DOC: The stress
 *
 *     stress_test [--seconds N] [--seed S] [--mode move|copy] [--vram SIZE]
 *                 [--spec KEY=VALUE,...] [--without OPERATION,...]
 *
 * Prints its seed first, so that a run that went wrong can be repeated; threads are
 * threads, so it is the same work, not the same order. Ends with 1 and a report at the
 * first word that is not as it must be, with an abort when nothing moves any more.
 * At the end all is checked once more, at home, and pages must have gone both ways.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"

#define EXIT_SKIPPED 77

struct run *run;

struct options {
	uint64_t seconds, seed;
	const char *mode, *vram, *spec, *without;
};

/* How often each, of all. */
static const struct operation {
	const char *name;
	void (*act)(struct worker *worker);
	uint32_t weight;
} operations[] = {
	{ "touch", op_touch, 40 },         { "tag", op_tag, 12 },
	{ "prefetch", op_prefetch, 12 },   { "pipe", op_pipe, 2 },
	{ "dontneed", op_dontneed, 8 },    { "free", op_free, 4 },
	{ "map_fixed", op_map_fixed, 4 },  { "unmap_map", op_unmap_map, 6 },
	{ "protect", op_protect, 4 },      { "lock", op_lock, 3 },
	{ "collapse", op_collapse, 1 },    { "move", op_move, 4 },
	{ "resize", op_resize, 4 },        { "dontunmap", op_dontunmap, 3 },
	{ "fork", op_fork, 3 },            { "detour", op_detour, 5 },
	{ "hammer", op_hammer, 6 },        { "race", op_race, 8 },
	{ "realloc", op_realloc, 6 },      { "ping_pong", op_ping_pong, 6 },
};

#define OPERATION_COUNT (sizeof(operations) / sizeof(operations[0]))

uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* --- the threads ---------------- */

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

static const struct operation *choose(struct worker *worker)
{
	uint32_t all = 0, chosen;
	size_t i;

	for (i = 0; i < OPERATION_COUNT; i++)
		all += operations[i].weight;
	for (;;) {
		chosen = random_below(&worker->random, all);
		for (i = 0; chosen >= operations[i].weight; i++)
			chosen -= operations[i].weight;
		if (!is_left_out(operations[i].name))
			return &operations[i];
	}
}

/* The queue is never idle for long: a job that is done makes room for the next. */
static void feed_queue(struct worker *worker)
{
	struct hold hold;

	STORE(&worker->doing, "job");
	if (!job_reap(&worker->job, false))
		return;
	if (!hold_some(&worker->random, false, 128, &hold))
		return;
	if (random_one_in(&worker->random, 8))
		job_start(&worker->job, &hold, JOB_CHECK, 1, 0);
	else
		job_start(&worker->job, &hold, JOB_WORK, 1 + random_below(&worker->random, 8),
			  random_next(&worker->random));
}

void worker_run(struct worker *worker)
{
	while (now_ns() < run->end_ns) {
		const struct operation *operation = choose(worker);

		feed_queue(worker);
		STORE(&worker->doing, "disturb");
		if (random_one_in(&worker->random, 2))
			disturb(worker);
		STORE(&worker->doing, operation->name);
		operation->act(worker);
		ADD(&worker->ops, 1);
	}
	STORE(&worker->doing, "last job");
	job_reap(&worker->job, true);
}

static void *thread_run(void *arg)
{
	worker_run(arg);
	return NULL;
}

static void run_threads(void)
{
	pthread_t threads[THREAD_COUNT];

	for (uint32_t i = 0; i < THREAD_COUNT; i++) {
		if (pthread_create(&threads[i], NULL, thread_run, &run->workers[i]))
			report_failure(NULL, "pthread_create", errno);
	}
	for (uint32_t i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
}

/* --- beginning and end ---------------- */

static void *shared(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			    0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return memory;
}

static void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %s\n", what, usvm_strerror(err));
	exit(1);
}

static void begin(const struct options *options, struct random *random)
{
	static const char *const home[] = { "4K", "64K", "2M" };
	struct usvm_device_info info;
	char spec[256];

	run = shared(sizeof(*run));
	run->seed = options->seed;
	run->tag_next = 1;
	run->without = options->without;
	snprintf(spec, sizeof(spec), "model:mode=%s,vram=%s,home=%s%s%s", options->mode,
		 options->vram, home[random_below(random, 3)], options->spec ? "," : "",
		 options->spec ? options->spec : "");
	printf("stress: --seed %" PRIu64 " --seconds %" PRIu64 " %s\n", options->seed,
	       options->seconds, spec);
	must(usvm_open(spec, &run->gpu), "usvm_open");
	must(usvm_device_info(run->gpu, &info), "usvm_device_info");
	if (!info.migrates) {
		printf("SKIP: %s\n", info.why_not);
		exit(EXIT_SKIPPED);
	}
	run->fork_events = info.fork_events;
	must(usvm_vm_create(run->gpu, NULL, &run->vm), "usvm_vm_create");
	areas_create(random);
	for (uint32_t i = 0; i < THREAD_COUNT; i++) {
		struct worker *worker = &run->workers[i];

		worker->thread = i;
		worker->random.state = random_next(random);
		worker->doing = "starting";
		worker->job.agent = QUEUE_AGENT(i);
		worker->job.result = shared(sizeof(struct job_result));
		must(usvm_queue_create(run->vm, NULL, &worker->job.queue), "usvm_queue_create");
	}
	run->end_ns = now_ns() + options->seconds * 1000000000u;
}

static uint64_t stat(const char *name)
{
	return usvm_stat(run->gpu, name);
}

/* Return: false if pages did not go both ways. */
static bool print_numbers(void)
{
	uint64_t ops = 0, forks = 0, missed = 0, refused = 0, gpu_pages = 0;
	uint64_t to_device = stat("mm_taken_pages") + stat("mm_filled_pages");
	uint64_t home = stat("mm_home_moved_pages") + stat("mm_home_copied_pages");

	for (uint32_t i = 0; i < THREAD_COUNT; i++) {
		ops += run->workers[i].ops;
		forks += run->workers[i].forks;
		missed += run->workers[i].missed;
		refused += run->workers[i].refused;
		gpu_pages += run->workers[i].job.result->progress;
	}
	printf("operations %" PRIu64 " (of them in use %" PRIu64 ", refused %" PRIu64
	       "), GPU page visits %" PRIu64 ", forks %" PRIu64 "\n",
	       ops, missed, refused, gpu_pages, forks);
	printf("faults: GPU %" PRIu64 ", CPU %" PRIu64 ", holes %" PRIu64 "; events: unmap %"
	       PRIu64 ", remove %" PRIu64 ", remap %" PRIu64 ", fork %" PRIu64 "\n",
	       stat("svm_pagefault_count"), stat("mm_cpu_faults"), stat("mm_hole_faults"),
	       stat("mm_events_unmap"), stat("mm_events_remove"), stat("mm_events_remap"),
	       stat("mm_events_fork"));
	printf("pages to the device %" PRIu64 ", home %" PRIu64 " (copied %" PRIu64
	       "), to children %" PRIu64 ", evictions %" PRIu64 "\n",
	       to_device, home, stat("mm_home_copied_pages"), stat("mm_forks_pushed_pages"),
	       stat("vram_evictions"));
	printf("retries: mm %" PRIu64 ", vm %" PRIu64 "; remembered %" PRIu64 ", kicks %" PRIu64
	       ", busy %" PRIu64 ", quarantined %" PRIu64 ", EEXIST that moved %" PRIu64 "\n",
	       stat("mm_retries"), stat("usvm_retries"), stat("mm_stashed"), stat("mm_kicks"),
	       stat("mm_busy_pages"), stat("mm_quarantined"), stat("mm_lies"));
	return to_device && home;
}

static void check_all(struct random *random, const char *when)
{
	for (uint32_t i = 0; i < AREAS_ALL; i++) {
		struct hold hold;

		if (!hold_whole(&areas[i], true, &hold))
			report_failure(&areas[i], "still locked at the end", 0);
		check_held(&hold, 0, random, when);
		hold_release(&hold);
	}
}

static bool end(struct random *random)
{
	bool both_ways;

	check_all(random, "the end");
	both_ways = print_numbers();
	for (uint32_t i = 0; i < THREAD_COUNT; i++)
		must(usvm_queue_destroy(run->workers[i].job.queue), "usvm_queue_destroy");
	must(usvm_vm_destroy(run->vm), "usvm_vm_destroy");
	must(usvm_close(run->gpu), "usvm_close");
	check_all(random, "after the close");
	return both_ways;
}

static void usage(void)
{
	fprintf(stderr, "usage: stress_test [--seconds N] [--seed S] [--mode move|copy] "
			"[--vram SIZE]\n"
			"                   [--spec KEY=VALUE,...] [--without OPERATION,...]\n"
			"operations:");
	for (size_t i = 0; i < OPERATION_COUNT; i++)
		fprintf(stderr, " %s", operations[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

static void parse(int argc, char **argv, struct options *options)
{
	static const struct option names[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'r' },
		{ "mode", required_argument, NULL, 'm' },
		{ "vram", required_argument, NULL, 'v' },
		{ "spec", required_argument, NULL, 'c' },
		{ "without", required_argument, NULL, 'w' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 's':
			options->seconds = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			options->seed = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			options->mode = optarg;
			break;
		case 'v':
			options->vram = optarg;
			break;
		case 'c':
			options->spec = optarg;
			break;
		case 'w':
			options->without = optarg;
			break;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();
}

int main(int argc, char **argv)
{
	struct options options = { .seconds = 20, .mode = "move", .vram = "8M" };
	struct random random;

	options.seed = now_ns() % 1000000007u;
	parse(argc, argv, &options);
	setvbuf(stdout, NULL, _IOLBF, 0);
	random.state = options.seed;
	begin(&options, &random);
	watchdog_start();
	if (!is_left_out("shake"))
		shake_start(random_next(&random));
	run_threads();
	run->workers[0].doing = "the end";
	if (!end(&random)) {
		fprintf(stderr, "FAILURE: pages did not go both ways\n");
		return 1;
	}
	printf("stress: all as it must be\n");
	return 0;
}
