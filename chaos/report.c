/* SPDX-License-Identifier: MIT */
/*
 * DOC: the report
 *
 * Sums over the slots of all processes; those that run on are counted as far as they
 * came. docs/chaos.md explains each line.
 */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <sys/wait.h>

#include "usvm/usvm.h"

#define PAGE_KIB 4
#define KIB_OF_MIB 1024.0

struct sums {
	uint64_t counts[CHAOS_COUNTER_COUNT];
	uint64_t process_count;
	int error; /* of some process that could not open a device */
};

static struct sums sum_up(const struct chaos_shared *shared)
{
	struct sums sums = { 0 };

	for (size_t s = 0; s < CHAOS_SLOT_COUNT; s++) {
		const struct chaos_slot *slot = &shared->slots[s];

		if (!__atomic_load_n(&slot->process_id, __ATOMIC_ACQUIRE))
			continue;
		sums.process_count++;
		if (slot->error)
			sums.error = slot->error;
		for (size_t i = 0; i < CHAOS_COUNTER_COUNT; i++)
			sums.counts[i] += __atomic_load_n(&slot->counts[i], __ATOMIC_RELAXED);
	}
	return sums;
}

/* Of what lay for a second and may migrate, or of all of it. */
static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static double mib(uint64_t pages)
{
	return (double)(pages * PAGE_KIB) / KIB_OF_MIB;
}

static void write_text(const struct report *r, const struct sums *s, FILE *stream)
{
	const uint64_t *c = s->counts;

	fprintf(stream, "usvm chaos: %s: ", r->program);
	if (WIFSIGNALED(r->status))
		fprintf(stream, "ended by signal %d\n", WTERMSIG(r->status));
	else
		fprintf(stream, "exit %d\n", WEXITSTATUS(r->status));
	fprintf(stream, "  seed %" PRIu64 ", %s, %" PRIu64 " steps a second\n",
		r->shared->seed, r->shared->spec, r->shared->rate);
	fprintf(stream,
		"  agents       %" PRIu64 " began, %" PRIu64 " opened a device, %" PRIu64
		" could not%s%s\n",
		c[CHAOS_STARTED], c[CHAOS_OPENED], c[CHAOS_FAILED],
		s->error ? ": " : "", s->error ? usvm_strerror(s->error) : "");
	fprintf(stream,
		"  steps        %" PRIu64 " takes, %" PRIu64 " jobs (%" PRIu64
		" ended early), %" PRIu64 " evictions\n",
		c[CHAOS_TAKES], c[CHAOS_JOBS], c[CHAOS_JOBS_ENDED], c[CHAOS_EVICTS]);
	fprintf(stream,
		"  pages        %" PRIu64 " to the device (%.1f MiB), %" PRIu64
		" home (%.1f MiB), %" PRIu64 " times memory gave way\n",
		c[CHAOS_PAGES_OUT], mib(c[CHAOS_PAGES_OUT]), c[CHAOS_PAGES_HOME],
		mib(c[CHAOS_PAGES_HOME]), c[CHAOS_VRAM_EVICTIONS]);
	fprintf(stream,
		"  homecomings  %" PRIu64 " by the program, %" PRIu64
		" by system calls, %" PRIu64 " not known\n",
		c[CHAOS_FAULTS_USER], c[CHAOS_FAULTS_KERNEL], c[CHAOS_FAULTS_UNKNOWN]);
	fprintf(stream,
		"  share        %.1f of %.1f MiB that lay for a second went out: %.0f %%; "
		"%.1f MiB never migrate\n",
		mib(c[CHAOS_LAIN_OUT]), mib(c[CHAOS_LAIN]),
		percent(c[CHAOS_LAIN_OUT], c[CHAOS_LAIN]), mib(c[CHAOS_LAIN_FIXED]));
	if (r->shared->loses_pages)
		fprintf(stream, "  planted      %" PRIu64 " pages lost\n", c[CHAOS_LOST]);
}

static int write_json(const struct report *r, const struct sums *s, FILE *stream)
{
#define NAME(name, text) #name,
	static const char *const names[] = { CHAOS_COUNTERS(NAME) };
#undef NAME
	json_t *counts = json_object();
	json_t *all;
	int err;

	for (size_t i = 0; i < CHAOS_COUNTER_COUNT; i++) {
		char name[32];
		size_t n = 0;

		for (; names[i][n] && n < sizeof(name) - 1; n++)
			name[n] = names[i][n] == '_' ? '_' : (char)(names[i][n] | 0x20);
		name[n] = '\0';
		json_object_set_new(counts, name, json_integer((json_int_t)s->counts[i]));
	}
	all = json_pack("{s:s, s:o, s:o, s:I, s:s, s:I, s:b, s:I, s:o, s:f, s:o}",
			"program", r->program,
			"exit", WIFEXITED(r->status) ? json_integer(WEXITSTATUS(r->status)) :
						       json_null(),
			"signal", WIFSIGNALED(r->status) ? json_integer(WTERMSIG(r->status)) :
							   json_null(),
			"seed", (json_int_t)r->shared->seed,
			"device", r->shared->spec,
			"rate", (json_int_t)r->shared->rate,
			"planted", r->shared->loses_pages != 0,
			"processes", (json_int_t)s->process_count,
			"error", s->error ? json_string(usvm_strerror(s->error)) : json_null(),
			"share", percent(s->counts[CHAOS_LAIN_OUT], s->counts[CHAOS_LAIN]) / 100,
			"counts", counts);
	if (!all)
		return -ENOMEM;
	err = json_dumpf(all, stream, JSON_COMPACT | JSON_PRESERVE_ORDER) ? -EIO : 0;
	fputc('\n', stream);
	json_decref(all);
	return err;
}

int report_write(const struct report *report, FILE *stream, bool json)
{
	struct sums sums = sum_up(report->shared);
	int err = 0;

	if (json)
		err = write_json(report, &sums, stream);
	else
		write_text(report, &sums, stream);
	if (fflush(stream) || ferror(stream))
		return errno ? -errno : -EIO;
	return err;
}
