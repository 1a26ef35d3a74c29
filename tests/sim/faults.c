/* SPDX-License-Identifier: MIT */
/*
 * DOC: every call fails once
 *
 * A script is a small program that never changes: the plan of a seed, without
 * preemptions. It is run once to count the calls of each kind that the library makes of
 * the kernel and of the device, and the faults that the device raises; then once for every
 * call and every error of the table, alone and from then on. The run has to end as any
 * other: with values that the model explains, with nothing left after the close; the calls
 * of usvm succeed or fail with an error that they document.
 */
#include "case.h"

#include <string.h>

#include "support/fault_table.h"

#define SCRIPT_STEPS 4000

static const struct {
	const char *profile;
	uint64_t seed;
} scripts[] = {
	{ "default", 3 }, { "fork", 5 }, { "evict", 2 }, { "life", 4 }, { "events", 6 },
};

/* Where a call that none of these makes is looked for, in longer ones. */
static const char *const rare_profiles[] = { "fork", "events" };

#define DEVICE_SEEDS 1 /* of each profile */
#define RARE_STEPS 12000
#define RARE_CALLS 8u /* at most */
#define RARE_SEEDS 15
#define PEERS_SEED 29 /* of `peers': two devices with memory of their own, that are peers */

static uint64_t count_of(const struct outcome *outcome, const char *call)
{
	for (size_t i = 0; case_call_name(i); i++) {
		if (strcmp(case_call_name(i), call) == 0)
			return outcome->calls[i];
	}
	return 0;
}

static uint64_t runs_of[ARRAY_SIZE(fault_table)];

static void tell(const struct run_case *c, const struct outcome *outcome)
{
	printf("FAILED profile %s, seed %lu: call %lu of %s gives %s%s\n  %s\n",
	       c->profile->name, (unsigned long)c->seed, (unsigned long)c->injection->nth,
	       c->injection->call, strerrorname_np(c->injection->error),
	       c->injection->for_ever ? ", and all later ones" : "", outcome->result.text);
	fflush(stdout);
}

static uint64_t run_one(struct run_case *c, struct outcome *outcome,
			const struct fault *fault, uint64_t nth, bool for_ever)
{
	const struct injection injection = {
		.call = fault->call,
		.nth = nth,
		.error = fault->error,
		.for_ever = for_ever,
		.loses = fault->loses && for_ever,
	};

	c->injection = &injection;
	case_run_apart(c, outcome);
	if (fault->ends)
		outcome->result.failed = !strstr(outcome->result.text, fault->ends);
	else if (fault->may_end && for_ever && strstr(outcome->result.text, fault->may_end))
		outcome->result.failed = false;
	if (outcome->result.failed)
		tell(c, outcome);
	c->injection = NULL;
	return outcome->result.failed;
}

static uint64_t run_fault(struct run_case *c, struct outcome *outcome, size_t index,
			  uint64_t calls, bool all)
{
	const struct fault *fault = &fault_table[index];
	uint64_t failures = 0;

	for (uint64_t nth = 1; nth <= calls && (all || !failures); nth++) {
		failures += run_one(c, outcome, fault, nth, false);
		runs_of[index]++;
		if (fault->once_only)
			continue;
		failures += run_one(c, outcome, fault, nth, true);
		runs_of[index]++;
	}
	return failures;
}

static uint64_t run_script(struct run_case *c, struct outcome *outcome, bool all,
			   bool device_only)
{
	uint64_t calls[ARRAY_SIZE(fault_table)];
	uint64_t failures = 0;

	case_run_apart(c, outcome);
	if (outcome->result.failed) {
		printf("FAILED profile %s, seed %lu: %s\n", c->profile->name,
		       (unsigned long)c->seed, outcome->result.text);
		return 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(fault_table); i++)
		calls[i] = count_of(outcome, fault_table[i].call);
	for (size_t i = 0; i < ARRAY_SIZE(fault_table) && (all || !failures); i++) {
		if (!device_only || fault_table[i].device)
			failures += run_fault(c, outcome, i, calls[i], all);
	}
	return failures;
}

static uint64_t run_seed(const struct profile *profile, uint64_t seed,
			 struct outcome *outcome, bool all, bool device_only)
{
	struct run_case *c = case_create(profile, seed, SCRIPT_STEPS);
	uint64_t failures;

	if (!c)
		return 1;
	failures = run_script(c, outcome, all, device_only);
	case_destroy(c);
	return failures;
}

/* Children that copy, devices that copy to each other, an MADV_DONTNEED that is under way when
 * pages are taken. */
static uint64_t run_rare(const char *profile, uint64_t seed, struct outcome *outcome, bool all)
{
	struct run_case *c = case_create(plan_profile(profile), seed, RARE_STEPS);
	uint64_t calls[ARRAY_SIZE(fault_table)];
	uint64_t failures = 0;

	if (!c)
		return 1;
	case_run_apart(c, outcome);
	for (size_t i = 0; i < ARRAY_SIZE(fault_table); i++)
		calls[i] = runs_of[i] ? 0 : MIN(count_of(outcome, fault_table[i].call), RARE_CALLS);
	for (size_t i = 0; i < ARRAY_SIZE(fault_table); i++)
		failures += run_fault(c, outcome, i, calls[i], all);
	case_destroy(c);
	return failures;
}

uint64_t faults_run(struct outcome *outcome, bool all)
{
	uint64_t failures = 0;
	uint64_t runs = 0;

	for (size_t i = 0; i < ARRAY_SIZE(scripts) && (all || !failures); i++)
		failures += run_seed(plan_profile(scripts[i].profile), scripts[i].seed, outcome,
				     all, false);
	/* A device raises few faults in so few steps, and copies in one mode only. */
	for (size_t i = 0; plan_profile_get(i) && (all || !failures); i++) {
		for (uint64_t seed = 1; seed <= DEVICE_SEEDS; seed++)
			failures += run_seed(plan_profile_get(i), seed, outcome, all, true);
	}
	for (uint64_t i = 0; i < RARE_SEEDS * ARRAY_SIZE(rare_profiles) && (all || !failures); i++)
		failures += run_rare(rare_profiles[i % ARRAY_SIZE(rare_profiles)],
				     1 + i / ARRAY_SIZE(rare_profiles), outcome, all);
	if (all || !failures)
		failures += run_rare("peers", PEERS_SEED, outcome, all);
	for (size_t i = 0; i < ARRAY_SIZE(fault_table); i++) {
		printf("%-24s %-12s %5lu runs\n", fault_table[i].call,
		       strerrorname_np(fault_table[i].error), (unsigned long)runs_of[i]);
		runs += runs_of[i];
	}
	printf("%lu runs, %lu failed\n", (unsigned long)runs, (unsigned long)failures);
	return failures;
}
