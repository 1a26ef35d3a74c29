/* SPDX-License-Identifier: MIT */
/*
 * case.h - what has to be said to have a run again.
 *
 * As a file:
 *
 *     usvm-sim 1
 *     # what it found, in words
 *     profile default
 *     seed 17
 *     variant 0            another schedule of the same program; 0: the seed's own
 *     steps 4711
 *     operations 5 9 12-40 those that are left; no such line: all
 *     switches 12:3 17:0   thread 3 runs from step 12 on; no such line: the seed decides
 */
#ifndef TESTS_SIM_CASE_H
#define TESTS_SIM_CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "plan.h"
#include "run.h"
#include "sys/sim.h"

#define CASE_OPS_MAX 65536
#define CASE_CALLS_MAX 128
#define CASE_SWITCHES_MAX (1u << 20)

struct run_case {
	const struct profile *profile;
	uint64_t seed;
	uint64_t variant;
	uint64_t steps;
	bool has_left_out;
	bool left_out[CASE_OPS_MAX];
	struct sim_switch *schedule; /* NULL: the seed decides */
	size_t schedule_count;
	const struct injection *injection; /* or NULL; not in files */
};

/* What comes back from a run, through memory shared with the process that ran it. */
struct outcome {
	struct run_result result;
	bool crashed;
	bool began[CASE_OPS_MAX];
	uint64_t calls[CASE_CALLS_MAX]; /* by case_call_name()'s number */
	size_t schedule_count;
	struct sim_switch schedule[CASE_SWITCHES_MAX];
};

MUST_CHECK struct run_case *case_create(const struct profile *profile, uint64_t seed,
					uint64_t steps);
void case_destroy(struct run_case *c);

/** case_ops() - how many operations its plan has */
size_t case_ops(const struct run_case *c);

/** case_read() - from a file. Return: 0; -errno; -EINVAL: a message was printed */
MUST_CHECK int case_read(const char *path, struct run_case **c);
void case_write(const struct run_case *c, FILE *file);

/** case_run() - here, in this process; @see as of run_plan() */
void case_run(const struct run_case *c, struct outcome *outcome,
	      void (*see)(struct world *world, void *arg), void *arg);

/** case_run_apart() - in a process of its own: a crash is a result */
void case_run_apart(const struct run_case *c, struct outcome *outcome);

/** case_call_name() - what an injection may name: calls of the simulated kernel, then of
 * the device; NULL: there are no more */
const char *case_call_name(size_t number);

struct outcome *outcome_create(void); /* shared with children */

/** case_minimise() - take away operations, then switches, as long as the run still fails
 * in the same way. Tells what it does on stderr. */
void case_minimise(struct run_case *c, struct outcome *outcome);

/** faults_run() - every call of some scripts fails, one in each run. Return: failures. */
uint64_t faults_run(struct outcome *outcome, bool all);

/** table_print() - the trace: a column a thread, a row a step; for run_plan()'s @see */
void table_print(struct world *world, void *arg);
/** plan_print() - the operations of the case, in a column a thread */
void case_print(const struct run_case *c);

#endif
