/* SPDX-License-Identifier: MIT */
/*
 * DOC: command line, statistics, report
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "bench.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static const char *const place_names[] = {
	[BENCH_SAME_CORE] = "same core",
	[BENCH_OTHER_CORE] = "other core",
	[BENCH_FREE] = "free",
};

void bench_fail(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("bench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

void bench_must(int err, const char *what)
{
	if (err)
		bench_fail("%s: %s", what, usvm_strerror(err));
}

static const struct option options[] = {
	{ "json", required_argument, NULL, 'j' },
	{ "smoke", no_argument, NULL, 's' },
	{ "rounds", required_argument, NULL, 'r' },
	{ "one-core", no_argument, NULL, '1' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

void bench_init(struct bench *bench, const char *name, const char *question, int argc,
		char **argv)
{
	int option;

	*bench = (struct bench){ .name = name, .rounds = 7 };
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			bench->json_path = optarg;
			break;
		case 's':
			bench->smoke = true;
			bench->rounds = 2;
			break;
		case 'r':
			bench->rounds = (unsigned int)atoi(optarg);
			if (bench->rounds < 1 || bench->rounds > 1000)
				bench_fail("--rounds: 1 to 1000");
			break;
		case '1':
			bench->one_core = true;
			break;
		case 'h':
			printf("Usage: %s [--json FILE] [--smoke] [--rounds N] [--one-core]\n%s\n",
			       name, question);
			exit(0);
		default:
			exit(2);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "%s: no argument is wanted: '%s'\n", name, argv[optind]);
		exit(2);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%s\n", question);
}

struct bench_row *bench_row(struct bench *bench, enum bench_place place, const char *unit,
			    const char *format, ...)
{
	struct bench_row *row = &bench->rows[bench->row_count++];
	va_list args;

	if (bench->row_count > BENCH_ROWS_MAX)
		bench_fail("too many rows");
	*row = (struct bench_row){ .unit = unit, .place = place };
	va_start(args, format);
	vsnprintf(row->question, sizeof(row->question), format, args);
	va_end(args);
	return row;
}

struct bench_side *bench_side(struct bench_row *row, const char *name, size_t samples)
{
	struct bench_side *side = &row->sides[row->side_count++];

	if (row->side_count > BENCH_SIDES_MAX)
		bench_fail("%s: too many sides", row->question);
	*side = (struct bench_side){ .name = name, .room = samples };
	side->values = malloc(samples * sizeof(*side->values));
	if (!side->values)
		bench_fail("no memory");
	/* Touched before anything is timed. */
	for (size_t i = 0; i < samples; i++)
		side->values[i] = -1;
	return side;
}

void bench_want(struct bench_row *row, enum bench_target_kind kind, unsigned int percent,
		unsigned int rival, double limit)
{
	if (row->target_count == BENCH_TARGETS_MAX)
		bench_fail("%s: too many targets", row->question);
	row->targets[row->target_count++] = (struct bench_target){
		.kind = kind,
		.percent = percent,
		.rival = rival,
		.limit = limit,
	};
}

void bench_want_or(struct bench_row *row, enum bench_target_kind kind, unsigned int percent,
		   unsigned int rival, double limit)
{
	bench_want(row, kind, percent, rival, limit);
	row->targets[row->target_count - 1].is_alternative = true;
}

/* --- figures --------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Of sorted samples: the smallest that @percent of them do not exceed. */
static double percentile(const struct bench_side *side, unsigned int percent)
{
	size_t rank = (side->count * percent + 99) / 100;

	return side->values[rank ? rank - 1 : 0];
}

static void evaluate(struct bench_row *row)
{
	for (size_t i = 0; i < row->side_count; i++) {
		struct bench_side *side = &row->sides[i];

		if (!side->count)
			bench_fail("%s: no samples of %s", row->question, side->name);
		qsort(side->values, side->count, sizeof(*side->values), by_value);
		side->median = percentile(side, BENCH_MEDIAN);
		side->p99 = percentile(side, BENCH_P99);
	}
}

static double figure_of(const struct bench_row *row, size_t side, unsigned int percent)
{
	return percent == BENCH_P99 ? row->sides[side].p99 : row->sides[side].median;
}

/* What is compared with the limit. */
static double target_figure(const struct bench_row *row, const struct bench_target *target)
{
	double usvm = figure_of(row, 0, target->percent);
	double rival = figure_of(row, target->rival, target->percent);

	if (target->kind == BENCH_RATIO)
		return usvm / rival;
	return target->kind == BENCH_DISTANCE ? usvm - rival : usvm;
}

/* Itself, or the one that may stand for it. */
static bool target_is_met(const struct bench_row *row, size_t i)
{
	const struct bench_target *target = &row->targets[i];

	if (target_figure(row, target) <= target->limit)
		return true;
	if (i + 1 < row->target_count && target[1].is_alternative)
		return target_figure(row, target + 1) <= target[1].limit;
	return target->is_alternative && target_figure(row, target - 1) <= target[-1].limit;
}

static void target_text(const struct bench_row *row, const struct bench_target *target,
			char *text, size_t size)
{
	const char *what = target->percent == BENCH_P99 ? "p99" : "median";
	const char *rival = row->sides[target->rival].name;

	if (target->kind == BENCH_RATIO)
		snprintf(text, size, "%s at most %.4g x %s", what, target->limit, rival);
	else if (target->kind == BENCH_VALUE)
		snprintf(text, size, "%s at most %.4g %s", what, target->limit, row->unit);
	else
		snprintf(text, size, "%s at most %.4g %s over %s", what, target->limit,
			 row->unit, rival);
}

/* --- the table ------------------------------------------------------------------------- */

static void print_row(const struct bench *bench, const struct bench_row *row)
{
	printf("\n%s (%s)\n", row->question, place_names[row->place]);
	for (size_t i = 0; i < row->side_count; i++) {
		const struct bench_side *side = &row->sides[i];

		printf("    %-28s %10.3f %10.3f %-4s", side->name, side->median, side->p99,
		       row->unit);
		if (i)
			printf("  usvm: %5.2f x", row->sides[0].median / side->median);
		printf("\n");
	}
	for (size_t i = 0; i < row->target_count; i++) {
		const struct bench_target *target = &row->targets[i];
		char text[96];

		target_text(row, target, text, sizeof(text));
		printf("    %s %s: %.3f%s\n", target->is_alternative ? "or" : "target", text,
		       target_figure(row, target),
		       bench->smoke ? "" : target_is_met(row, i) ? ": met" : ": MISSED");
	}
}

static void command_line(const char *command, char *line, size_t size)
{
	FILE *pipe = popen(command, "re");

	if (!pipe || !fgets(line, (int)size, pipe))
		snprintf(line, size, "unknown");
	line[strcspn(line, "\n")] = '\0';
	if (pipe)
		pclose(pipe);
}

static void cpu_name(char *name, size_t size)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(name, size, "unknown processor");
	while (file && fgets(line, sizeof(line), file)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !colon)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(name, size, "%s", colon + 2);
		break;
	}
	if (file)
		fclose(file);
}

/* --- JSON ------------------------------------------------------------------------------ */

static json_t *row_json(const struct bench_row *row)
{
	json_t *sides = json_array(), *targets = json_array();

	for (size_t i = 0; i < row->side_count; i++) {
		const struct bench_side *side = &row->sides[i];

		json_array_append_new(sides, json_pack("{s:s, s:f, s:f, s:I}", "name",
						       side->name, "median", side->median,
						       "p99", side->p99, "samples",
						       (json_int_t)side->count));
	}
	for (size_t i = 0; i < row->target_count; i++) {
		const struct bench_target *target = &row->targets[i];
		char text[96];

		target_text(row, target, text, sizeof(text));
		json_array_append_new(targets,
				      json_pack("{s:s, s:f, s:f, s:b, s:b}", "what", text,
						"limit", target->limit, "figure",
						target_figure(row, target), "alternative",
						target->is_alternative, "met",
						target_is_met(row, i)));
	}
	return json_pack("{s:s, s:s, s:s, s:o, s:o}", "question", row->question, "place",
			 place_names[row->place], "unit", row->unit, "sides", sides, "targets",
			 targets);
}

static int write_json(const struct bench *bench, json_t *machine)
{
	json_t *rows = json_array(), *all;
	int err;

	for (size_t i = 0; i < bench->row_count; i++)
		json_array_append_new(rows, row_json(&bench->rows[i]));
	all = json_pack("{s:s, s:b, s:i, s:O, s:o}", "bench", bench->name, "smoke",
			bench->smoke, "rounds", (int)bench->rounds, "machine", machine,
			"rows", rows);
	err = !all || json_dump_file(all, bench->json_path,
				     JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	json_decref(all);
	if (err)
		fprintf(stderr, "bench: cannot write %s\n", bench->json_path);
	return err ? -EIO : 0;
}

int bench_report(struct bench *bench)
{
	char cpu[128], commit[64];
	struct utsname name;
	json_t *machine;
	int err = 0;

	cpu_name(cpu, sizeof(cpu));
	command_line("git -C '" BENCH_SOURCE_DIR
		     "' describe --always --dirty 2>/dev/null",
		     commit, sizeof(commit));
	uname(&name);
	machine = json_pack("{s:s, s:i, s:s, s:s, s:s}", "cpu", cpu, "cores",
			    (int)bench_core_count(), "kernel", name.release, "compiler",
			    COMPILER, "commit", commit);

	printf("\n%-32s %10s %10s\n", "", "median", "p99");
	for (size_t i = 0; i < bench->row_count; i++) {
		evaluate(&bench->rows[i]);
		print_row(bench, &bench->rows[i]);
	}
	printf("\n%u rounds that take turns; %s, %u processors; Linux %s; %s; usvm %s (%s)\n",
	       bench->rounds, cpu, bench_core_count(), name.release, COMPILER,
	       usvm_version(), commit);
	if (bench->json_path)
		err = write_json(bench, machine);
	json_decref(machine);
	for (size_t i = 0; i < bench->row_count; i++) {
		for (size_t j = 0; j < bench->rows[i].side_count; j++)
			free(bench->rows[i].sides[j].values);
	}
	return err ? 1 : 0;
}
