/* SPDX-License-Identifier: MIT */
/*
 * DOC: every call fails once
 *
 * A script is a small program that never changes: the plan of a seed, without
 * preemptions. It is run once to count the calls of each kind that the library makes of
 * the kernel; then once for every call and every error that the kernel can give there
 * for lack of something, alone and from then on. The run has to end as any other: with
 * values that the model explains, with nothing left after the close; the calls of usvm
 * succeed or fail with an error that they document.
 *
 * Errors that tell the truth about memory (-ENOENT, -EEXIST) are not here: a kernel that
 * told them wrongly would be another. They come from the random programs.
 */
#include "case.h"

#include <errno.h>
#include <string.h>

struct fault {
	const char *call;
	int error;
	bool once_only; /* "again" for ever is a kernel that hangs */
};

static const struct fault faults[] = {
	{ "pages_alloc", ENOMEM, false },
	{ "uffd_open", EMFILE, false },
	{ "uffd_open", EPERM, false },
	{ "uffd_register", ENOMEM, false },
	{ "uffd_register", EBUSY, false },
	{ "uffd_unregister", ENOMEM, true },
	{ "uffd_move", ENOMEM, true },
	{ "uffd_move", EBUSY, true },
	{ "uffd_move", EAGAIN, true },
	{ "uffd_copy", ENOMEM, true },
	{ "uffd_copy", EAGAIN, true },
	{ "uffd_zeropage", ENOMEM, true },
	{ "uffd_zeropage", EAGAIN, true },
	{ "uffd_writeprotect", EAGAIN, true },
	{ "exclusions", ENOMEM, false },
	{ "wiped_on_fork", ENOMEM, false },
	{ "madvise_in_flight", ENOMEM, false },
	{ "map", ENOMEM, false },
	{ "advise", ENOMEM, false },
	{ "advise", EAGAIN, true },
	{ "empty", EOPNOTSUPP, false },
	{ "thread_create", EAGAIN, false },
	{ "fork_hooks", ENOMEM, false },
	{ "check_signal_handlers", ENOMEM, false },
};

static const struct {
	const char *profile;
	uint64_t seed;
} scripts[] = {
	{ "default", 3 }, { "fork", 5 }, { "evict", 2 }, { "life", 4 }, { "events", 6 },
};

#define SCRIPT_STEPS 4000

static uint64_t count_of(const struct outcome *outcome, const char *call)
{
	for (size_t i = 0; i < CASE_CALLS_MAX && sim_op_name(i); i++) {
		if (strcmp(sim_op_name(i), call) == 0)
			return outcome->calls[i];
	}
	return 0;
}

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
	};

	c->injection = &injection;
	case_run_apart(c, outcome);
	if (outcome->result.failed)
		tell(c, outcome);
	c->injection = NULL;
	return outcome->result.failed;
}

static uint64_t run_script(struct run_case *c, struct outcome *outcome, uint64_t *runs,
			   bool all)
{
	uint64_t failures = 0;

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		uint64_t calls;

		case_run_apart(c, outcome);
		calls = count_of(outcome, faults[i].call);
		for (uint64_t nth = 1; nth <= calls && (all || !failures); nth++) {
			failures += run_one(c, outcome, &faults[i], nth, false);
			*runs += 1;
			if (faults[i].once_only)
				continue;
			failures += run_one(c, outcome, &faults[i], nth, true);
			*runs += 1;
		}
	}
	return failures;
}

uint64_t faults_run(struct outcome *outcome, bool all)
{
	uint64_t failures = 0;
	uint64_t runs = 0;

	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		struct run_case *c = case_create(plan_profile(scripts[i].profile),
						 scripts[i].seed, SCRIPT_STEPS);

		if (!c)
			return 1;
		failures += run_script(c, outcome, &runs, all);
		case_destroy(c);
	}
	printf("%lu runs, %lu failed\n", (unsigned long)runs, (unsigned long)failures);
	return failures;
}
