/* SPDX-License-Identifier: MIT */
/*
 * DOC: What led to a failure
 *
 * The log of the round is repeated in two ways: each step by its thread, beginning in the
 * order of the log, and all of them by one thread, one by one. What fails again is made
 * smaller: parts of it are left out, as long as it goes on to fail. A step that is left out
 * may leave the next one with other pages; that it fails is all that counts. How often the
 * result failed is told, for with threads it may not fail each time.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "oracle.h"

#define TRIES 3u
#define SHOWN_MAX 40u

struct search {
	enum failure_kind kind;
	bool one_thread;
	uint32_t tries; /* of each candidate */
	uint32_t still_seconds;
	uint64_t end_ns;
	struct log *best, *candidate;
	uint32_t runs;
};

/* Return: does it fail, too? */
static bool fails(struct search *search, struct log *script, bool one_thread)
{
	run->script = script;
	run->one_thread = one_thread;
	search->runs++;
	return supervise(true, search->still_seconds, NULL) == search->kind;
}

static uint32_t failures(struct search *search, struct log *script, bool one_thread)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < TRIES; i++)
		count += fails(search, script, one_thread);
	return count;
}

/* What had not begun when it failed is not needed. */
static void cut_behind(struct log *script)
{
	uint32_t begun = LOAD(&run->log.count) + run->script_skipped;

	if (begun && begun < script->count)
		script->count = begun;
}

static bool try_candidate(struct search *search)
{
	struct log *candidate = search->candidate;

	for (uint32_t i = 0; i < search->tries && now_ns() < search->end_ns; i++) {
		if (!fails(search, candidate, search->one_thread))
			continue;
		cut_behind(candidate);
		search->candidate = search->best;
		search->best = candidate;
		return true;
	}
	return false;
}

/* First what was done elsewhere. */
static void leave_out_other_areas(struct search *search, uint32_t area)
{
	const struct log *best = search->best;
	struct log *candidate = search->candidate;

	candidate->count = 0;
	for (uint32_t i = 0; i < best->count; i++) {
		if (best->steps[i].area == area)
			candidate->steps[candidate->count++] = best->steps[i];
	}
	if (candidate->count && candidate->count < best->count)
		try_candidate(search);
}

static void leave_out_parts(struct search *search)
{
	for (uint32_t part = search->best->count / 2; part; part /= 2) {
		/* From the end on: what is there needs less of the rest. */
		for (uint32_t end = search->best->count; end && now_ns() < search->end_ns;) {
			const struct log *best = search->best;
			struct log *candidate = search->candidate;
			uint32_t start = end > part ? end - part : 0;

			memcpy(candidate->steps, best->steps, start * sizeof(struct step));
			memcpy(candidate->steps + start, best->steps + end,
			       (best->count - end) * sizeof(struct step));
			candidate->count = best->count - (end - start);
			if (candidate->count)
				try_candidate(search);
			end = start < search->best->count ? start : search->best->count;
		}
	}
}

static void tell_result(struct search *search, const char *save)
{
	uint32_t count = failures(search, search->best, search->one_thread);
	int err = script_write(save, &run->setting, search->best);

	printf("  made smaller in %u runs: %u steps, failed %u of %u times\n", search->runs,
	       search->best->count, count, TRIES);
	for (uint32_t i = 0; search->best->count <= SHOWN_MAX && i < search->best->count; i++) {
		printf("    ");
		script_print_step(stdout, &search->best->steps[i]);
	}
	if (err)
		printf("  %s: %s\n", save, strerror(-err));
	else
		printf("  again: %s oracle --script %s%s%s%s\n", run->program, save,
		       search->one_thread ? " --one-thread" : "",
		       run->plant ? " --plant " : "", run->plant ? run->plant : "");
}

static void tell_nothing(const struct log *script, const char *save)
{
	int err = script_write(save, &run->setting, script);

	printf("  it was not had again: it needs what the order of steps does not tell, as the\n"
	       "  moment at which a thread is held up. What was done is in %s%s%s.\n", save,
	       err ? ": " : "", err ? strerror(-err) : "");
}

void shrink(const struct log *log, enum failure_kind kind, uint32_t area, uint32_t seconds,
	    uint32_t still_seconds, const char *save)
{
	struct search search = { .kind = kind, .still_seconds = still_seconds,
				 .end_ns = now_ns() + seconds * 1000000000ull };
	uint32_t in_order, alone;

	search.best = shared_memory(sizeof(struct log));
	search.candidate = shared_memory(sizeof(struct log));
	script_from_log(log, search.best);
	run->end_ns = 0;
	in_order = failures(&search, search.best, false);
	printf("  repeated, %u steps by %u threads, in the order of the log: failed %u of %u "
	       "times\n", search.best->count, run->setting.thread_count, in_order, TRIES);
	alone = failures(&search, search.best, true);
	printf("  repeated by one thread, step by step: failed %u of %u times\n", alone, TRIES);
	if (!in_order && !alone) {
		tell_nothing(search.best, save);
		return;
	}
	search.one_thread = alone >= in_order;
	search.tries = (search.one_thread ? alone : in_order) == TRIES ? 1 : TRIES;
	if (kind == FAILED_MISMATCH)
		leave_out_other_areas(&search, area);
	leave_out_parts(&search);
	tell_result(&search, save);
}
