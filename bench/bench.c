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
		case 'h':
			printf("Usage: %s [--json FILE] [--smoke]\n%s\n", name, question);
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

static void samples_init(struct bench_samples *samples, size_t room)
{
	samples->count = 0;
	samples->room = room;
	samples->ns = malloc(room * sizeof(*samples->ns));
	if (!samples->ns)
		bench_fail("no memory");
	memset(samples->ns, 0,
	       room * sizeof(*samples->ns)); /* touched before it is timed */
}

struct bench_row *bench_row_add(struct bench *bench, const char *question,
				enum bench_place place, size_t samples)
{
	struct bench_row *row = &bench->rows[bench->row_count++];

	if (bench->row_count > sizeof(bench->rows) / sizeof(bench->rows[0]))
		bench_fail("too many rows");
	row->question = question;
	row->place = place;
	samples_init(&row->floor, samples);
	samples_init(&row->usvm, samples);
	return row;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Of sorted samples: the smallest that @percent of them do not exceed. */
static double percentile_us(const struct bench_samples *samples, unsigned int percent)
{
	size_t rank = (samples->count * percent + 99) / 100;

	return (double)samples->ns[rank ? rank - 1 : 0] / 1e3;
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

static json_t *side_json(const struct bench_samples *samples)
{
	return json_pack("{s:f, s:f, s:I}", "median_us", percentile_us(samples, 50),
			 "p99_us", percentile_us(samples, 99), "samples",
			 (json_int_t)samples->count);
}

static int write_json(const struct bench *bench, json_t *machine)
{
	json_t *rows = json_array(), *all;
	int err;

	for (size_t i = 0; i < bench->row_count; i++) {
		const struct bench_row *row = &bench->rows[i];

		json_array_append_new(rows, json_pack("{s:s, s:s, s:o, s:o}", "question",
						      row->question, "place",
						      place_names[row->place], "floor",
						      side_json(&row->floor), "usvm",
						      side_json(&row->usvm)));
	}
	all = json_pack("{s:s, s:b, s:i, s:O, s:o}", "bench", bench->name, "smoke",
			bench->smoke, "rounds", (int)bench->rounds, "machine", machine,
			"rows", rows);
	err = !all || json_dump_file(all, bench->json_path,
				     JSON_INDENT(2) | JSON_REAL_PRECISION(9));
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

	printf("\n%-30s %-10s | %8s %8s | %8s %8s | %6s\n", "us", "", "floor", "p99",
	       "usvm", "p99", "ratio");
	for (size_t i = 0; i < bench->row_count; i++) {
		struct bench_row *row = &bench->rows[i];

		if (!row->floor.count || !row->usvm.count)
			bench_fail("%s: no samples", row->question);
		qsort(row->floor.ns, row->floor.count, sizeof(uint64_t), by_value);
		qsort(row->usvm.ns, row->usvm.count, sizeof(uint64_t), by_value);
		printf("%-30s %-10s | %8.1f %8.1f | %8.1f %8.1f | %6.2f\n", row->question,
		       place_names[row->place], percentile_us(&row->floor, 50),
		       percentile_us(&row->floor, 99), percentile_us(&row->usvm, 50),
		       percentile_us(&row->usvm, 99),
		       percentile_us(&row->usvm, 50) / percentile_us(&row->floor, 50));
	}
	printf("medians of %u rounds that take turns; %s; Linux %s; %s; usvm %s (%s)\n",
	       bench->rounds, cpu, name.release, COMPILER, usvm_version(), commit);
	if (bench->json_path)
		err = write_json(bench, machine);
	json_decref(machine);
	for (size_t i = 0; i < bench->row_count; i++) {
		free(bench->rows[i].floor.ns);
		free(bench->rows[i].usvm.ns);
	}
	return err ? 1 : 0;
}
