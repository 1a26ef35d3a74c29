/* SPDX-License-Identifier: MIT */
/*
 * DOC: What comes and goes
 *
 * Blocks of malloc(), queues, vms and other devices, for a moment each, while everything
 * else goes on. A second device takes pages from the first, and gives them back when it is
 * closed or unplugged.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "oracle.h"

#define CHURN_WORDS_MAX (512u << 10) / 8

/* --- a pattern ---------------- */

struct pattern_args {
	struct pattern pattern;
	uint64_t wrong;
};

static uint64_t pattern_value(uint64_t seed, uint64_t i)
{
	return seed ^ i * 0x9E3779B97F4A7C15u;
}

static void fill(struct usvm_lane *lane, const void *p)
{
	const struct pattern_args *a = p;

	for (uint64_t i = 0; i < a->pattern.words; i++)
		usvm_store64(lane, a->pattern.at + i * 8, pattern_value(a->pattern.seed, i));
}

static void check(struct usvm_lane *lane, const void *p)
{
	const struct pattern_args *a = p;

	for (uint64_t i = 0; i < a->pattern.words; i++) {
		if (usvm_load64(lane, a->pattern.at + i * 8) ==
		    pattern_value(a->pattern.seed, i))
			continue;
		usvm_store64(lane, a->wrong, i + 1);
		return;
	}
}

static void pattern_kernel(struct worker *worker, const struct pattern *pattern,
			   usvm_kernel_fn function, uint64_t *wrong)
{
	struct pattern_args args = { *pattern, (uintptr_t)wrong };
	int err = usvm_run_kernel(worker->job.queue, &(struct usvm_kernel){
		.function = function, .args = &args, .args_bytes = sizeof(args) });

	if (err)
		report_failure(NULL, "a kernel that fills or checks", err);
	ADD(&worker->job.result->progress, 1);
}

void pattern_fill(struct worker *worker, const struct pattern *pattern)
{
	pattern_kernel(worker, pattern, fill, NULL);
}

/* What is wrong, in the result: nobody reads it between two jobs. */
void pattern_check(struct worker *worker, const struct pattern *pattern, const char *what)
{
	uint64_t *wrong = &worker->job.result->mismatch.page;

	*wrong = 0;
	pattern_kernel(worker, pattern, check, wrong);
	if (*wrong)
		report_failure(NULL, what, (int64_t)*wrong - 1);
}

/* --- malloc() ---------------- */

static struct pattern churn_pattern(const struct churn *churn)
{
	return (struct pattern){ (uintptr_t)churn->memory, churn->words, churn->pattern };
}

static void churn_look(struct worker *worker, const struct churn *churn)
{
	const uint64_t *words = (const void *)churn->memory;
	struct pattern pattern = churn_pattern(churn);

	if (random_one_in(&worker->random, 2)) {
		pattern_check(worker, &pattern, "a word of malloc()ed memory, by the GPU");
		return;
	}
	for (uint64_t i = 0; i < churn->words; i++) {
		if (__atomic_load_n(&words[i], __ATOMIC_RELAXED) !=
		    pattern_value(churn->pattern, i))
			report_failure(NULL, "a word of malloc()ed memory", (int64_t)i);
	}
}

static void churn_write(struct worker *worker, struct churn *churn)
{
	volatile uint64_t *words = (void *)churn->memory;

	churn->pattern = random_next(&worker->random);
	if (random_one_in(&worker->random, 2)) {
		struct pattern pattern = churn_pattern(churn);

		pattern_fill(worker, &pattern);
		return;
	}
	for (uint64_t i = 0; i < churn->words; i++)
		words[i] = pattern_value(churn->pattern, i);
}

void op_malloc(struct worker *worker, struct hold *hold)
{
	struct churn *churn = &worker->churn[random_below(&worker->random, CHURN_COUNT)];
	size_t words = 8 + random_below(&worker->random, CHURN_WORDS_MAX >>
					random_below(&worker->random, 10));

	(void)hold;
	job_reap(&worker->job, true);
	if (churn->memory) {
		churn_look(worker, churn);
		if (random_one_in(&worker->random, 3)) {
			free(churn->memory);
			*churn = (struct churn){ 0 };
			return;
		}
		if (words < churn->words)
			churn->words = words;
	}
	churn->memory = realloc(churn->memory, words * 8);
	if (!churn->memory)
		report_failure(NULL, "realloc", (int64_t)words);
	if (churn->words)
		churn_look(worker, churn); /* what realloc() kept */
	churn->words = words;
	churn_write(worker, churn);
}

/* --- queues, vms, devices ---------------- */

void op_queue(struct worker *worker, struct hold *hold)
{
	job_reap(&worker->job, true);
	note(worker, hold, "another queue");
	if (random_one_in(&worker->random, 2))
		job_cancel(run->vm, &worker->job, hold);
	job_run_in(run->vm, &worker->job, hold, JOB_WORK, random_next(&worker->random));
}

void op_vm(struct worker *worker, struct hold *hold)
{
	struct usvm_vm *vm;

	job_reap(&worker->job, true);
	note(worker, hold, "another vm");
	must(usvm_vm_create(run->gpu, NULL, &vm), "usvm_vm_create");
	job_run_in(vm, &worker->job, hold, JOB_WORK, random_next(&worker->random));
	place(worker, hold);
	job_run_in(vm, &worker->job, hold, JOB_CHECK, 0);
	must(usvm_vm_destroy(vm), "usvm_vm_destroy");
}

/* Closed with what it has, or unplugged first. */
void op_device(struct worker *worker, struct hold *hold)
{
	static const char *const specs[] = { "model:vram=4M,mode=move,engines=1",
					     "model:vram=4M,mode=copy,engines=1" };
	struct usvm *gpu;
	struct usvm_vm *vm;
	int err;

	job_reap(&worker->job, true);
	note(worker, hold, "another device");
	err = usvm_open(specs[random_below(&worker->random, 2)], &gpu);
	if (err == -ENOMEM || err == -EMFILE) {
		worker->refused++;
		return;
	}
	must(err, "usvm_open of another device");
	must(usvm_vm_create(gpu, NULL, &vm), "usvm_vm_create");
	job_run_in(vm, &worker->job, hold, JOB_WORK, random_next(&worker->random));
	if (random_one_in(&worker->random, 2))
		place(worker, hold);
	job_run_in(vm, &worker->job, hold, JOB_CHECK, 0);
	if (random_one_in(&worker->random, 2)) {
		note(worker, hold, "unplug");
		must(usvm_device_unplug(gpu), "usvm_device_unplug");
		err = usvm_prefetch(vm, hold_start(hold), PAGE, USVM_PLACE_DEVICE);
		if (err != -ENODEV)
			report_failure(hold->area, "prefetch to what was unplugged", err);
	}
	must(usvm_vm_destroy(vm), "usvm_vm_destroy");
	must(usvm_close(gpu), "usvm_close of another device");
	note(worker, hold, "closed it");
	look(worker, hold, "after another device");
}
