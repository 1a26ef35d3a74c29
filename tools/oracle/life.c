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

/* --- malloc() ---------------- */

struct churn_args {
	uint64_t at, words, pattern, result;
};

static uint64_t churn_value(uint64_t pattern, uint64_t i)
{
	return pattern ^ i * 0x9E3779B97F4A7C15u;
}

static void churn_fill(struct usvm_lane *lane, const void *p)
{
	const struct churn_args *a = p;

	for (uint64_t i = 0; i < a->words; i++)
		usvm_store64(lane, a->at + i * 8, churn_value(a->pattern, i));
}

static void churn_check(struct usvm_lane *lane, const void *p)
{
	const struct churn_args *a = p;

	for (uint64_t i = 0; i < a->words; i++) {
		if (usvm_load64(lane, a->at + i * 8) == churn_value(a->pattern, i))
			continue;
		usvm_store64(lane, a->result, i + 1);
		return;
	}
}

static void churn_kernel(struct worker *worker, const struct churn *churn,
			 usvm_kernel_fn function, uint64_t *wrong)
{
	struct churn_args args = { (uintptr_t)churn->memory, churn->words, churn->pattern,
				   (uintptr_t)wrong };
	int err = usvm_run_kernel(worker->job.queue, &(struct usvm_kernel){
		.function = function, .args = &args, .args_bytes = sizeof(args) });

	if (err)
		report_failure(NULL, "a kernel on malloc()ed memory", err);
	ADD(&worker->job.result->progress, 1);
}

/* @wrong, in the result: nobody reads it between two jobs. */
static void churn_look(struct worker *worker, const struct churn *churn)
{
	const uint64_t *words = (const void *)churn->memory;
	uint64_t *wrong = &worker->job.result->mismatch.page;

	if (random_one_in(&worker->random, 2)) {
		*wrong = 0;
		churn_kernel(worker, churn, churn_check, wrong);
		if (*wrong)
			report_failure(NULL, "a word of malloc()ed memory, by the GPU",
				       (int64_t)*wrong - 1);
		return;
	}
	for (uint64_t i = 0; i < churn->words; i++) {
		if (__atomic_load_n(&words[i], __ATOMIC_RELAXED) != churn_value(churn->pattern, i))
			report_failure(NULL, "a word of malloc()ed memory", (int64_t)i);
	}
}

static void churn_write(struct worker *worker, struct churn *churn)
{
	volatile uint64_t *words = (void *)churn->memory;

	churn->pattern = random_next(&worker->random);
	if (random_one_in(&worker->random, 2)) {
		churn_kernel(worker, churn, churn_fill, NULL);
		return;
	}
	for (uint64_t i = 0; i < churn->words; i++)
		words[i] = churn_value(churn->pattern, i);
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
