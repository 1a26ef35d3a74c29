/* SPDX-License-Identifier: MIT */
/*
 * DOC: the simulator's command line
 *
 * See --help, and docs/testing.md. `usvm sim` is this program.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/plant.h"
#include "case.h"
#include "commit.h"
#include "coverage.h"

enum {
	STATUS_WRONG = 1,
	STATUS_USAGE = 2,
};

static const char help[] =
	"Usage: usvm sim [OPTION...]\n"
	"\n"
	"Run random programs with threads, kernels, system calls and forks on all of usvm\n"
	"and a simulated kernel, and check every value that is read. A seed decides\n"
	"everything: the program, the setting, and which thread runs when.\n"
	"\n"
	"Which runs:\n"
	"  --seed N         this seed (default: 1)\n"
	"  --seeds A..B     these, and B\n"
	"  --steps M        no operation begins after M steps (default: 10000)\n"
	"  --budget M       no run begins after M steps of all together\n"
	"  --profile P      the kind of program, or `all', by turns (default: default)\n"
	"  --marked         devices mark the places of pages that they take (entries=marked)\n"
	"  --case FILE...   what the file says; see --save\n"
	"  --faults         fixed programs, in which every call that the library makes fails,\n"
	"                   one call a run\n"
	"\n"
	"What to do with them:\n"
	"  --replay [FILE]  run once, and print what each thread did at which step\n"
	"  --minimise       take away what the failure does not need, then replay\n"
	"  --save FILE      with --minimise: keep what is left there\n"
	"  --keep-going     do not stop at the first failure\n"
	"  --twice          run each seed two times: both must be the same\n"
	"  --trace-hash     print a number that sums up each run\n"
	"  --json           print results as JSON, one object a line\n"
	"  --list           print the profiles\n"
	"  --plant NAME     with this bug, planted in the library (src/base/plant.h)\n"
	"  --plants         print what can be planted\n"
	"  --help           print this text\n"
	"\n"
	"Exit status: 0 nothing failed, 1 a run failed, 2 the command line is wrong.\n"
	"A failure tells the command that repeats it.\n";

struct options {
	const struct profile *profile; /* NULL: all, by turns */
	uint64_t first;
	uint64_t last;
	uint64_t steps;
	uint64_t budget; /* 0: no end */
	bool replay;
	bool minimise;
	bool keep_going;
	bool hash;
	bool twice;
	bool faults;
	bool json;
	const char *save;
	const char *files[256];
	size_t file_count;
};

struct totals {
	uint64_t runs;
	uint64_t steps;
	uint64_t ops;
	uint64_t failures;
};

/* --- one run ---------------------------------------------------------------------- */

static void print_text(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else if (*text == '\n')
			printf("\\n");
		else
			putchar(*text);
	}
	putchar('"');
}

struct plant_text {
	const char *name;
	const char *law;
	const char *text;
};

#define PLANT_TEXT(name, law, text) { #name, law, text },
static const struct plant_text plant_texts[] = { PLANTS(PLANT_TEXT) };

static const char *program; /* as it was called */

/* A run that failed behind the last step at which an operation may begin is the same only
 * where that step is. */
static void print_repeat(const struct run_case *c, const struct run_result *result)
{
	const char *name = plant ? plant_texts[plant - 1].name : "";
	const char *option = plant ? "--plant " : "", *blank = plant ? " " : "";
	const char *marked = plan_marked ? "--marked " : "";

	printf("  again:  %s %s%s%s%s--profile %s --seed %lu --steps %lu --replay\n"
	       "  small:  %s %s%s%s%s--profile %s --seed %lu --steps %lu --minimise\n",
	       program, option, name, blank, marked, c->profile->name, (unsigned long)c->seed,
	       (unsigned long)MIN(result->steps, c->steps), program, option, name, blank, marked,
	       c->profile->name, (unsigned long)c->seed, (unsigned long)c->steps);
}

static void print_result(const struct options *options, const struct run_case *c,
			 const struct outcome *outcome)
{
	const struct run_result *result = &outcome->result;

	if (options->json) {
		printf("{\"seed\": %lu, \"profile\": \"%s\", \"commit\": \"%s\", "
		       "\"steps\": %lu, \"operations\": %lu, \"failed\": %s, \"what\": ",
		       (unsigned long)c->seed, c->profile->name, SIM_COMMIT,
		       (unsigned long)result->steps, (unsigned long)result->ops,
		       result->failed ? "true" : "false");
		print_text(result->text);
		printf("}\n");
		return;
	}
	if (options->hash)
		printf("seed %lu profile %s steps %lu operations %lu hash %016lx\n",
		       (unsigned long)c->seed, c->profile->name, (unsigned long)result->steps,
		       (unsigned long)result->ops, (unsigned long)result->hash);
	if (!result->failed)
		return;
	printf("FAILED seed %lu, profile %s, commit %s\n"
	       "  after %lu steps and %lu operations, schedule %s\n"
	       "  %s\n",
	       (unsigned long)c->seed, c->profile->name, SIM_COMMIT,
	       (unsigned long)result->steps, (unsigned long)result->ops,
	       result->schedule ? result->schedule : "of its own", result->text);
	if (!c->has_left_out)
		print_repeat(c, result);
	fflush(stdout);
}

static void replay(const struct options *options, struct run_case *c,
		   struct outcome *outcome)
{
	case_print(c);
	fflush(stdout);
	case_run(c, outcome, table_print, NULL);
	print_result(options, c, outcome);
}

static int minimise(const struct options *options, struct run_case *c,
		    struct outcome *outcome)
{
	FILE *file;

	case_minimise(c, outcome);
	if (!outcome->result.failed) {
		printf("it does not fail\n");
		return 0;
	}
	print_result(options, c, outcome);
	if (options->save) {
		file = fopen(options->save, "w");
		if (!file) {
			fprintf(stderr, "%s: %s\n", options->save, strerror(errno));
			return STATUS_WRONG;
		}
		case_write(c, file);
		fclose(file);
	}
	if (!outcome->crashed)
		replay(options, c, outcome);
	else
		case_print(c);
	return STATUS_WRONG;
}

/* --- many runs ----------------------------------------------------------------------- */

/* What the process that makes the runs tells the one that watches it. */
struct progress {
	uint64_t next; /* seed */
	struct totals totals;
	bool stop;
};

static const struct profile *profile_of(const struct options *options, uint64_t seed)
{
	size_t count = 0;

	if (options->profile)
		return options->profile;
	while (plan_profile_get(count))
		count++;
	return plan_profile_get(seed % count);
}

static void account(const struct options *options, struct progress *progress,
		    const struct run_case *c, const struct outcome *outcome)
{
	const struct run_result *result = &outcome->result;

	progress->totals.runs++;
	progress->totals.steps += result->steps;
	progress->totals.ops += result->ops;
	progress->totals.failures += result->failed;
	if (result->failed || options->hash || options->json)
		print_result(options, c, outcome);
	if (result->failed && !options->keep_going)
		progress->stop = true;
}

static void show_progress(const struct options *options, const struct progress *progress)
{
	uint64_t all = options->last - options->first + 1;
	uint64_t done = progress->totals.runs;

	if (all < 20 || options->json || (done * 10 / all == (done - 1) * 10 / all))
		return;
	fprintf(stderr, "%lu of %lu seeds, %lu million steps, %lu failed\n",
		(unsigned long)done, (unsigned long)all,
		(unsigned long)(progress->totals.steps / 1000000),
		(unsigned long)progress->totals.failures);
}

/* The same seed is the same run, to the last switch and value. */
static void run_again(const struct run_case *c, struct outcome *outcome)
{
	struct run_result first = outcome->result;

	if (first.failed)
		return;
	case_run(c, outcome, NULL, NULL);
	if (outcome->result.hash == first.hash || outcome->result.failed)
		return;
	outcome->result.failed = true;
	snprintf(outcome->result.text, RUN_TEXT_MAX,
		 "not the same twice: %lu steps and hash %016lx, %lu steps and %016lx",
		 (unsigned long)first.steps, (unsigned long)first.hash,
		 (unsigned long)outcome->result.steps, (unsigned long)outcome->result.hash);
}

static bool wants_more(const struct options *options, const struct progress *progress)
{
	return progress->next <= options->last &&
	       (!options->budget || progress->totals.steps < options->budget);
}

/* Runs seeds until one fails: after that the library's variables are not as at first. */
static void run_some(const struct options *options, struct progress *progress,
		     struct outcome *outcome)
{
	while (wants_more(options, progress)) {
		struct run_case *c = case_create(profile_of(options, progress->next),
						 progress->next, options->steps);

		if (!c)
			exit(STATUS_WRONG);
		alarm(120);
		case_run(c, outcome, NULL, NULL);
		if (options->twice)
			run_again(c, outcome);
		progress->next++;
		account(options, progress, c, outcome);
		show_progress(options, progress);
		case_destroy(c);
		if (outcome->result.failed)
			break;
	}
	fflush(stdout);
}

static void run_crashed(const struct options *options, struct progress *progress,
			struct outcome *outcome, int status)
{
	struct run_case *c = case_create(profile_of(options, progress->next), progress->next,
					 options->steps);

	if (!c)
		exit(STATUS_WRONG);
	outcome->result.failed = true;
	snprintf(outcome->result.text, RUN_TEXT_MAX, "crashed: %s",
		 WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "see above");
	progress->next++;
	account(options, progress, c, outcome);
	case_destroy(c);
}

static int run_seeds(const struct options *options, struct outcome *outcome,
		     struct progress *progress)
{
	progress->next = options->first;
	while (wants_more(options, progress) && !progress->stop) {
		int status;
		pid_t child;

		fflush(stdout);
		child = fork();
		if (child == 0) {
			run_some(options, progress, outcome);
			coverage_keep();
			_exit(0);
		}
		if (child < 0 || waitpid(child, &status, 0) != child)
			return STATUS_WRONG;
		if (status)
			run_crashed(options, progress, outcome, status);
	}
	if (!options->json)
		printf("%lu runs, %lu steps, %lu operations, %lu failed\n",
		       (unsigned long)progress->totals.runs,
		       (unsigned long)progress->totals.steps,
		       (unsigned long)progress->totals.ops,
		       (unsigned long)progress->totals.failures);
	return progress->totals.failures ? STATUS_WRONG : 0;
}

static int run_files(const struct options *options, struct outcome *outcome)
{
	int status = 0;

	for (size_t i = 0; i < options->file_count; i++) {
		struct run_case *c;

		if (case_read(options->files[i], &c))
			return STATUS_USAGE;
		if (options->minimise) {
			status |= minimise(options, c, outcome);
		} else if (options->replay) {
			replay(options, c, outcome);
			status |= outcome->result.failed;
		} else {
			case_run_apart(c, outcome);
			print_result(options, c, outcome);
			if (!outcome->result.failed && !options->json)
				printf("%s: passed\n", options->files[i]);
			status |= outcome->result.failed;
		}
		case_destroy(c);
	}
	return status;
}

/* --- the command line ------------------------------------------------------------------ */

static NORETURN void usage(const char *what, const char *word)
{
	fprintf(stderr, "usvm sim: %s%s%s\nTry: usvm sim --help\n", what, word ? ": " : "",
		word ? word : "");
	exit(STATUS_USAGE);
}

static uint64_t number(const char *word)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(word, &end, 10);
	if (errno || *end || end == word || *word == '-')
		usage("not a number", word);
	return value;
}

static void parse_seeds(struct options *options, char *word)
{
	char *dots = strstr(word, "..");

	if (!dots)
		usage("--seeds wants A..B", word);
	*dots = 0;
	options->first = number(word);
	options->last = number(dots + 2);
	if (options->last < options->first)
		usage("--seeds A..B: B is less than A", NULL);
}

static void parse_profile(struct options *options, const char *word)
{
	options->profile = plan_profile(word);
	if (!options->profile && strcmp(word, "all") != 0)
		usage("no such profile (see --list)", word);
}

static int list_profiles(void)
{
	for (size_t i = 0; plan_profile_get(i); i++)
		printf("%-10s %s\n", plan_profile_get(i)->name, plan_profile_get(i)->summary);
	return 0;
}

#undef PLANT_TEXT

static int list_plants(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(plant_texts); i++)
		printf("%s\t%s\t%s\n", plant_texts[i].name, plant_texts[i].law,
		       plant_texts[i].text);
	return 0;
}

static void parse_plant(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(plant_texts); i++) {
		if (strcmp(plant_texts[i].name, word) == 0)
			plant = (enum plant)(i + 1);
	}
	if (plant == PLANT_NONE)
		usage("no such plant (see --plants)", word);
}

/* Files behind an option, as many as there are. */
static int parse_files(struct options *options, int argc, char **argv, int at)
{
	while (at + 1 < argc && strncmp(argv[at + 1], "--", 2) != 0) {
		if (options->file_count == ARRAY_SIZE(options->files))
			usage("too many files", NULL);
		options->files[options->file_count++] = argv[++at];
	}
	return at;
}

static bool parse_flag(struct options *options, const char *word)
{
	if (strcmp(word, "--minimise") == 0)
		options->minimise = true;
	else if (strcmp(word, "--keep-going") == 0)
		options->keep_going = true;
	else if (strcmp(word, "--trace-hash") == 0)
		options->hash = true;
	else if (strcmp(word, "--twice") == 0)
		options->twice = true;
	else if (strcmp(word, "--marked") == 0)
		plan_marked = true;
	else if (strcmp(word, "--faults") == 0)
		options->faults = true;
	else if (strcmp(word, "--json") == 0)
		options->json = true;
	else
		return false;
	return true;
}

static void parse(struct options *options, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char *word = argv[i];
		char *next = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(word, "--help") == 0) {
			fputs(help, stdout);
			exit(0);
		}
		if (strcmp(word, "--list") == 0)
			exit(list_profiles());
		if (strcmp(word, "--plants") == 0)
			exit(list_plants());
		if (strcmp(word, "--replay") == 0 || strcmp(word, "--case") == 0) {
			options->replay |= word[2] == 'r';
			i = parse_files(options, argc, argv, i);
			continue;
		}
		if (parse_flag(options, word))
			continue;
		if (!next)
			usage("not an option, or a word is missing behind it", word);
		if (strcmp(word, "--seed") == 0)
			options->first = options->last = number(next);
		else if (strcmp(word, "--seeds") == 0)
			parse_seeds(options, next);
		else if (strcmp(word, "--steps") == 0)
			options->steps = number(next);
		else if (strcmp(word, "--budget") == 0)
			options->budget = number(next);
		else if (strcmp(word, "--profile") == 0)
			parse_profile(options, next);
		else if (strcmp(word, "--plant") == 0)
			parse_plant(next);
		else if (strcmp(word, "--save") == 0)
			options->save = next;
		else
			usage("there is no such option", word);
		i++;
	}
}

int main(int argc, char **argv)
{
	static struct options options = { .first = 1, .last = 1, .steps = 10000 };
	struct outcome *outcome = outcome_create();
	struct outcome *shared = outcome_create(); /* a progress is a small part of it */
	struct run_case *c;
	int status;

	program = argv[0];
	options.profile = plan_profile("default");
	parse(&options, argc, argv);
	if (!outcome || !shared)
		return STATUS_WRONG;
	if (options.faults)
		return faults_run(outcome, options.keep_going) ? STATUS_WRONG : 0;
	if (options.file_count)
		return run_files(&options, outcome);
	if (!options.replay && !options.minimise)
		return run_seeds(&options, outcome, (struct progress *)shared);
	c = case_create(profile_of(&options, options.first), options.first, options.steps);
	if (!c)
		return STATUS_WRONG;
	if (options.minimise) {
		status = minimise(&options, c, outcome);
	} else {
		replay(&options, c, outcome);
		status = outcome->result.failed;
	}
	case_destroy(c);
	return status;
}
