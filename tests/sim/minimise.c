/* SPDX-License-Identifier: MIT */
/*
 * DOC: make a failure small
 *
 * Delta debugging, twice: over the operations of the program, then over the switches of
 * its schedule. A piece is taken out; if the run still fails in the same way, it stays
 * out. Without an operation the same seed gives another schedule, so that a few
 * *variants* of it are tried before a piece is said to be needed. Switches are removed
 * from the schedule as it was, which is then the whole truth.
 */
#include "case.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define VARIANTS 6
#define RUNS_MAX 4000
#define KIND_MAX 96

struct minimiser {
	struct run_case *c;
	struct outcome *outcome;
	char kind[KIND_MAX]; /* of the failure that is kept */
	unsigned int runs;
};

/* The failure without its numbers and without the operation that met it. */
static void kind_of(const struct outcome *outcome, char kind[KIND_MAX])
{
	const char *text = outcome->result.text;
	const char *behind = strstr(text, "): ");
	size_t length = 0;

	if (strncmp(text, "operation", 9) == 0 && behind)
		text = behind;
	for (; *text && *text != '\n' && *text != '(' && length < KIND_MAX - 1; text++) {
		if (!isxdigit((unsigned char)*text))
			kind[length++] = *text;
	}
	kind[length] = 0;
}

static bool fails(struct minimiser *m)
{
	char kind[KIND_MAX];

	m->runs++;
	case_run_apart(m->c, m->outcome);
	if (!m->outcome->result.failed)
		return false;
	kind_of(m->outcome, kind);
	return strcmp(kind, m->kind) == 0;
}

static bool fails_somehow(struct minimiser *m)
{
	uint64_t own = m->c->variant;

	for (uint64_t i = 0; i < VARIANTS && m->runs < RUNS_MAX; i++) {
		m->c->variant = i == 0 ? own : i;
		if (fails(m))
			return true;
	}
	m->c->variant = own;
	return false;
}

/* Numbers of the operations that are left and have begun. */
static size_t list_ops(const struct minimiser *m, size_t *list)
{
	size_t count = 0;

	for (size_t i = 0; i < CASE_OPS_MAX; i++) {
		if (!m->c->left_out[i])
			list[count++] = i;
	}
	return count;
}

static void set_ops(struct minimiser *m, const size_t *list, size_t count, bool out)
{
	for (size_t i = 0; i < count; i++)
		m->c->left_out[list[i]] = out;
}

static void minimise_ops(struct minimiser *m)
{
	size_t *list = calloc(CASE_OPS_MAX, sizeof(*list));
	size_t count;

	if (!list)
		return;
	count = list_ops(m, list);
	for (size_t piece = MAX(count / 2, 1u); piece && m->runs < RUNS_MAX;) {
		bool less = false;

		/* From the end: what comes last is needed least often. */
		for (size_t end = count; end > 0 && m->runs < RUNS_MAX;) {
			size_t start = end > piece ? end - piece : 0;

			set_ops(m, list + start, end - start, true);
			if (fails_somehow(m)) {
				less = true;
				m->c->steps = m->outcome->result.steps;
			} else {
				set_ops(m, list + start, end - start, false);
			}
			end = start;
		}
		count = list_ops(m, list);
		fprintf(stderr, "  %zu operations left, after %u runs\n", count, m->runs);
		if (!less || piece > count)
			piece = piece > 1 ? MIN(piece / 2, MAX(count / 2, 1u)) : 0;
	}
	free(list);
}

/* @c's schedule without [@start, @end). */
static void cut(struct run_case *c, const struct sim_switch *all, size_t count, size_t start,
		size_t end)
{
	memcpy(c->schedule, all, start * sizeof(*all));
	memcpy(c->schedule + start, all + end, (count - end) * sizeof(*all));
	c->schedule_count = count - (end - start);
}

static void minimise_switches(struct minimiser *m)
{
	struct run_case *c = m->c;
	size_t count = m->outcome->schedule_count;
	struct sim_switch *all = calloc(count + 1, sizeof(*all));

	c->schedule = calloc(count + 1, sizeof(*all));
	if (!all || !c->schedule) {
		free(all);
		return;
	}
	memcpy(all, m->outcome->schedule, count * sizeof(*all));
	cut(c, all, count, 0, 0);
	if (!fails(m)) {
		free(c->schedule);
		c->schedule = NULL;
		free(all);
		return;
	}
	for (size_t piece = MAX(count / 2, 1u); piece && count && m->runs < 2 * RUNS_MAX;
	     piece /= 2) {
		for (size_t start = 0; start < count && m->runs < 2 * RUNS_MAX;) {
			size_t end = MIN(start + piece, count);

			cut(c, all, count, start, end);
			if (fails(m)) {
				count = c->schedule_count;
				memcpy(all, c->schedule, count * sizeof(*all));
			} else {
				start = end;
			}
		}
		fprintf(stderr, "  %zu switches left, after %u runs\n", count, m->runs);
	}
	cut(c, all, count, 0, 0);
	free(all);
}

void case_minimise(struct run_case *c, struct outcome *outcome)
{
	struct minimiser m = { .c = c, .outcome = outcome };

	case_run_apart(c, outcome);
	if (!outcome->result.failed)
		return;
	kind_of(outcome, m.kind);
	c->steps = outcome->result.steps;
	if (!c->has_left_out) {
		c->has_left_out = true;
		for (size_t i = 0; i < CASE_OPS_MAX; i++)
			c->left_out[i] = !outcome->began[i];
	}
	if (!c->schedule)
		minimise_ops(&m);
	if (fails(&m) && !outcome->crashed)
		minimise_switches(&m);
	fails(&m);
	c->steps = outcome->result.steps;
}
