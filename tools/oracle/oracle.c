/* SPDX-License-Identifier: MIT */
/*
 * DOC: usvm oracle
 *
 * Rounds, one after the other, until the time is up or one fails. The seed decides what
 * each round is: device, areas, and what each thread chooses to do; what happens at the
 * same time is real. See oracle.h for what is known and checked, docs/testing.md for what
 * is printed.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "oracle.h"

#define EXIT_SKIPPED 77
#define STEPS 400u
#define LAST_STEPS 4u /* of each thread, in a report */
#define STILL_AGAIN 10u /* seconds, of what is tried again */
#define TELL_NS 2000000000u

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STILL_SECONDS 120u
#else
#define STILL_SECONDS 30u
#endif

struct options {
	uint64_t seconds, seed, first_round, rounds, threads, steps, shrink_seconds, times;
	uint64_t still_seconds;
	const char *mode, *vram, *device, *without, *script, *save, *plant;
	bool one_thread, no_shake;
};

/* What all rounds did. */
struct totals {
	uint64_t rounds, steps, missed, refused, forks, gpu_pages;
	uint64_t counts[OPERATIONS_MAX], stats[STATS_MAX];
};

static struct totals totals;
static uint64_t start_ns, told_ns;
static volatile sig_atomic_t interrupted;

/* --- what is printed ---------------- */

static uint64_t stat_of(const struct totals *t, const char *name)
{
	for (uint32_t i = 0; i < STATS_MAX; i++) {
		if (strcmp(stat_names[i], name) == 0)
			return t->stats[i];
	}
	return 0;
}

/* With what the round has done so far, or all of it. */
static struct totals sum(void)
{
	struct totals t = totals;

	for (uint32_t i = 0; i < run->setting.thread_count; i++) {
		const struct worker *w = &run->workers[i];

		t.steps += LOAD(&w->steps);
		t.missed += w->missed;
		t.refused += w->refused;
		t.forks += w->forks;
		t.gpu_pages += LOAD(&w->result.progress);
	}
	for (uint32_t i = 0; i < operation_count; i++)
		t.counts[i] += LOAD(&run->counts[i]);
	for (uint32_t i = 0; i < STATS_MAX; i++)
		t.stats[i] += LOAD(&run->stats[i]);
	return t;
}

static uint64_t to_device(const struct totals *t)
{
	return stat_of(t, "mm_taken_pages") + stat_of(t, "mm_filled_pages");
}

static uint64_t to_home(const struct totals *t)
{
	return stat_of(t, "mm_home_moved_pages") + stat_of(t, "mm_home_copied_pages");
}

static uint64_t all_faults(const struct totals *t)
{
	return stat_of(t, "svm_pagefault_count") + stat_of(t, "mm_cpu_faults") +
	       stat_of(t, "mm_hole_faults");
}

static void tick(void)
{
	struct totals t;

	if (now_ns() - told_ns < TELL_NS || !isatty(STDOUT_FILENO))
		return;
	told_ns = now_ns();
	t = sum();
	printf("\r%4" PRIu64 " s  round %" PRIu64 "  %" PRIu64 " operations  %" PRIu64
	       " faults  %" PRIu64 " pages to the device, %" PRIu64 " home  0 mismatches ",
	       (told_ns - start_ns) / 1000000000u, t.rounds, t.steps, all_faults(&t),
	       to_device(&t), to_home(&t));
	fflush(stdout);
}

static void print_operations(const struct totals *t)
{
	for (uint32_t i = 0; i < operation_count; i++)
		printf("%s%-10s%9" PRIu64, i % 4 ? "   " : "\n  ", operations[i].name,
		       t->counts[i]);
	printf("\n");
}

static void print_totals(const struct totals *t, uint32_t mismatches)
{
	if (isatty(STDOUT_FILENO))
		printf("\n");
	printf("  rounds %20" PRIu64 "\n  operations %16" PRIu64
	       "   in use by others %" PRIu64 ", refused by the kernel %" PRIu64 "\n", t->rounds,
	       t->steps, t->missed, t->refused);
	printf("  pages, by the GPU %9" PRIu64 "\n  faults %20" PRIu64 "   GPU %" PRIu64
	       ", CPU %" PRIu64 ", first touches %" PRIu64 "\n", t->gpu_pages, all_faults(t),
	       stat_of(t, "svm_pagefault_count"), stat_of(t, "mm_cpu_faults"),
	       stat_of(t, "mm_hole_faults"));
	printf("  pages to the device %7" PRIu64 "\n  pages home %16" PRIu64 "   copied %" PRIu64
	       "; to children %" PRIu64 "\n  evictions %17" PRIu64 "\n", to_device(t),
	       to_home(t), stat_of(t, "mm_home_copied_pages"),
	       stat_of(t, "mm_forks_pushed_pages"), stat_of(t, "vram_evictions"));
	printf("  events %20" PRIu64 "   unmap %" PRIu64 ", remove %" PRIu64 ", remap %" PRIu64
	       ", fork %" PRIu64 "\n  forks %21" PRIu64 "\n",
	       stat_of(t, "mm_events_unmap") + stat_of(t, "mm_events_remove") +
	       stat_of(t, "mm_events_remap") + stat_of(t, "mm_events_fork"),
	       stat_of(t, "mm_events_unmap"), stat_of(t, "mm_events_remove"),
	       stat_of(t, "mm_events_remap"), stat_of(t, "mm_events_fork"), t->forks);
	printf("  mismatches %16" PRIu32 "\n", mismatches);
	print_operations(t);
}

void print_failure(void)
{
	static const char *const kinds[] = {
		[FAILED_NOT] = "NOTHING",       [FAILED_MISMATCH] = "MISMATCH",
		[FAILED_CALL] = "WRONG RESULT", [FAILED_CRASH] = "CRASH",
		[FAILED_HANG] = "HANG",         [FAILED_SKIPPED] = "SKIP",
	};

	printf("%s: %s\n%s", kinds[run->failure.kind], run->failure.what, run->failure.text);
}

/* --- rounds ---------------- */

/* What is not said is drawn. */
static void draw_device(const struct options *o, uint64_t round, struct random *random,
			char spec[192])
{
	static const char *const home[] = { "4K", "64K", "2M" };
	static const char *const notifier[] = { "2M", "64M", "512M" };
	static const uint32_t timeslice[] = { 0, 1, 5 };
	const char *mode = o->mode ? o->mode : round % 2 ? "copy" : "move";

	snprintf(spec, 192, "model:mode=%s,vram=%s,home=%s,engines=%u,notifier=%s,timeslice=%u,"
		 "thrash_control=%s", mode, o->vram ? o->vram : "8M",
		 home[random_below(random, 3)], 1 + random_below(random, 4),
		 notifier[random_below(random, 3)], timeslice[random_below(random, 3)],
		 random_one_in(random, 2) ? "yes" : "no");
}

static void set_round(const struct options *o, uint64_t round)
{
	struct random random = { mix(o->seed) + round };
	struct setting *s = &run->setting;

	*s = (struct setting){ .seed = random_next(&random),
			       .thread_count = (uint32_t)o->threads,
			       .shakes = !o->no_shake };
	if (o->device)
		snprintf(s->spec, sizeof(s->spec), "%s", o->device);
	else
		draw_device(o, round, &random, s->spec);
}

/* Of each thread, as a script has them. */
static void print_last_steps(struct log *log)
{
	struct log *script = shared_memory(sizeof(*script));

	script_from_log(log, script);
	for (uint32_t thread = 0; thread < run->setting.thread_count; thread++) {
		uint32_t first = script->count, found = 0;

		while (first && found < LAST_STEPS)
			found += script->steps[--first].thread == thread;
		printf("  thread %u, last steps:\n", thread);
		for (uint32_t i = first; i < script->count; i++) {
			if (script->steps[i].thread != thread)
				continue;
			printf("    ");
			script_print_step(stdout, &script->steps[i]);
		}
	}
}

/* What is not as it is by itself. */
static void print_text_option(const char *name, const char *value)
{
	if (value)
		printf(" --%s %s", name, value);
}

static void print_command(const struct options *o, uint64_t round)
{
	printf("  seed %" PRIu64 ", round %" PRIu64 ", %s; the same work, not the same order:\n"
	       "  %s oracle --seed %" PRIu64 " --round %" PRIu64 " --rounds 1 --threads %"
	       PRIu64, o->seed, round, run->setting.spec, run->program, o->seed, round,
	       o->threads);
	if (o->steps != STEPS)
		printf(" --steps %" PRIu64, o->steps);
	print_text_option("mode", o->mode);
	print_text_option("vram", o->vram);
	print_text_option("device", o->device);
	print_text_option("without", o->without);
	print_text_option("plant", o->plant);
	printf("%s\n", o->no_shake ? " --no-shake" : "");
}

static int failed(const struct options *o, uint64_t round)
{
	struct log *log = shared_memory(sizeof(*log));
	enum failure_kind kind = run->failure.kind;
	uint32_t area = run->failure.area;
	uint64_t still = o->still_seconds < STILL_AGAIN ? o->still_seconds : STILL_AGAIN;
	struct totals before = totals;
	char save[64];

	printf("%s", isatty(STDOUT_FILENO) ? "\n" : "");
	print_failure();
	print_command(o, round);
	memcpy(log, &run->log, sizeof(*log));
	print_last_steps(log);
	snprintf(save, sizeof(save), "usvm-oracle-%" PRIu64 ".script", o->seed);
	fflush(stdout);
	if (o->shrink_seconds)
		shrink(log, kind, area, (uint32_t)o->shrink_seconds, (uint32_t)still,
		       o->save ? o->save : save);
	before.rounds--;
	printf("  of the rounds before:\n");
	print_totals(&before, 0);
	return command_flush(EXIT_WRONG);
}

static void interrupt(int number)
{
	(void)number;
	interrupted = 1;
	run->end_ns = 1;
}

static int run_rounds(const struct options *o)
{
	uint64_t end = start_ns + o->seconds * 1000000000u, round = o->first_round;

	run->end_ns = o->rounds ? 0 : end;
	signal(SIGINT, interrupt);
	for (; o->rounds ? round < o->first_round + o->rounds : now_ns() < end; round++) {
		enum failure_kind kind;

		if (interrupted)
			break;
		set_round(o, round);
		kind = supervise(false, (uint32_t)o->still_seconds, tick);
		if (kind == FAILED_SKIPPED) {
			printf("SKIP: %s\n", run->failure.text);
			return EXIT_SKIPPED;
		}
		totals.rounds++;
		if (kind != FAILED_NOT)
			return failed(o, round);
		totals = sum();
		run->setting.thread_count = 0; /* what it did is summed up */
		memset(run->counts, 0, sizeof(run->counts));
		memset(run->stats, 0, sizeof(run->stats));
	}
	print_totals(&totals, 0);
	if (to_device(&totals) && to_home(&totals))
		return command_flush(0);
	printf("WRONG RESULT: pages did not go both ways\n");
	return command_flush(EXIT_WRONG);
}

static int run_script(const struct options *o)
{
	struct log *script = shared_memory(sizeof(*script));
	uint32_t line, count = 0;
	int err = script_read(o->script, &run->setting, script, &line);

	if (err == -EINVAL) {
		fprintf(stderr, "usvm oracle: %s: line %u is not understood\n", o->script, line);
		return EXIT_USAGE;
	}
	if (err) {
		fprintf(stderr, "usvm oracle: %s: %s\n", o->script, strerror(-err));
		return EXIT_WRONG;
	}
	run->script = script;
	run->one_thread = o->one_thread;
	for (uint64_t i = 0; i < o->times; i++) {
		enum failure_kind kind = supervise(false, (uint32_t)o->still_seconds, NULL);

		if (kind == FAILED_SKIPPED) {
			printf("SKIP: %s\n", run->failure.text);
			return EXIT_SKIPPED;
		}
		if (kind != FAILED_NOT && !count++)
			print_failure();
		if (run->script_skipped)
			printf("  %u steps did not get their locks\n", run->script_skipped);
	}
	printf("%u steps, %s: failed %u of %" PRIu64 " times\n", script->count,
	       o->one_thread ? "by one thread" : "in the order of the script, by their threads",
	       count, o->times);
	return command_flush(count ? EXIT_WRONG : 0);
}

/* --- the command line ---------------- */

/* In a process of its own: this one never has a device. */
static int check_device(const char *spec)
{
	char text[256];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct usvm *gpu;

		_exit(-usvm_open(spec, &gpu));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return EXIT_WRONG;
	if (!WEXITSTATUS(status))
		return 0;
	open_error_text(spec, -WEXITSTATUS(status), text, sizeof(text));
	fprintf(stderr, "usvm oracle: the GPU cannot be opened: %s\n", text);
	return WEXITSTATUS(status) == EINVAL ?
		       command_usage_error(&oracle_command, "bad device '%s'", spec) :
		       EXIT_WRONG;
}

static void list_operations(void)
{
	for (uint32_t i = 0; i < operation_count; i++)
		puts(operations[i].name);
}

static bool names_are_known(const char *names)
{
	while (*names) {
		size_t length = strcspn(names, ",");

		if (operation_find(names, length) == operation_count)
			return false;
		names += length + (names[length] == ',');
	}
	return true;
}

/* The usvm command of this build, with a library that bugs are planted in. */
static int run_planted(char **argv)
{
	char path[4096];

	if (!command_beside("tests/oracle/usvm-planted", path, sizeof(path)) &&
	    !access(path, X_OK)) {
		execv(path, argv - 1);
		fprintf(stderr, "usvm oracle: %s: %s\n", path, strerror(errno));
		return EXIT_WRONG;
	}
	fprintf(stderr, "usvm oracle: no bugs are planted in this build of usvm\n"
		"    ninja -C build && build/usvm oracle --plants\n");
	return EXIT_WRONG;
}

enum { /* options without a letter */
	OPTION_SECONDS = 256, OPTION_SEED, OPTION_THREADS, OPTION_VRAM, OPTION_MODE,
	OPTION_DEVICE, OPTION_SCRIPT, OPTION_ONE_THREAD, OPTION_TIMES, OPTION_SAVE,
	OPTION_SHRINK, OPTION_WITHOUT, OPTION_ROUND, OPTION_ROUNDS, OPTION_STEPS,
	OPTION_STILL, OPTION_NO_SHAKE, OPTION_LIST, OPTION_PLANT, OPTION_PLANTS, OPTION_HELP,
};

static const struct option option_names[] = {
	{ "seconds", required_argument, NULL, OPTION_SECONDS },
	{ "seed", required_argument, NULL, OPTION_SEED },
	{ "threads", required_argument, NULL, OPTION_THREADS },
	{ "vram", required_argument, NULL, OPTION_VRAM },
	{ "mode", required_argument, NULL, OPTION_MODE },
	{ "device", required_argument, NULL, OPTION_DEVICE },
	{ "script", required_argument, NULL, OPTION_SCRIPT },
	{ "one-thread", no_argument, NULL, OPTION_ONE_THREAD },
	{ "times", required_argument, NULL, OPTION_TIMES },
	{ "save", required_argument, NULL, OPTION_SAVE },
	{ "shrink", required_argument, NULL, OPTION_SHRINK },
	{ "without", required_argument, NULL, OPTION_WITHOUT },
	{ "round", required_argument, NULL, OPTION_ROUND },
	{ "rounds", required_argument, NULL, OPTION_ROUNDS },
	{ "steps", required_argument, NULL, OPTION_STEPS },
	{ "still", required_argument, NULL, OPTION_STILL },
	{ "no-shake", no_argument, NULL, OPTION_NO_SHAKE },
	{ "list", no_argument, NULL, OPTION_LIST },
	{ "plant", required_argument, NULL, OPTION_PLANT },
	{ "plants", no_argument, NULL, OPTION_PLANTS },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

/* Numbers, with their limits. Return: false: the option is none of these. */
static bool number_option(int option, struct options *o, uint64_t **value, uint64_t *min,
			  uint64_t *max)
{
	const struct {
		int option;
		uint64_t *value, min, max;
	} numbers[] = {
		{ OPTION_SECONDS, &o->seconds, 1, 1000000 },
		{ OPTION_SEED, &o->seed, 0, UINT64_MAX },
		{ OPTION_THREADS, &o->threads, 1, THREADS_MAX },
		{ OPTION_TIMES, &o->times, 1, 1000000 },
		{ OPTION_SHRINK, &o->shrink_seconds, 0, 1000000 },
		{ OPTION_ROUND, &o->first_round, 0, UINT32_MAX },
		{ OPTION_ROUNDS, &o->rounds, 1, UINT32_MAX },
		{ OPTION_STEPS, &o->steps, 1, STEPS_PER_ROUND },
		{ OPTION_STILL, &o->still_seconds, 1, 1000000 },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (numbers[i].option != option)
			continue;
		*value = numbers[i].value;
		*min = numbers[i].min;
		*max = numbers[i].max;
		return true;
	}
	return false;
}

static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	unsigned long long number;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	number = strtoull(text, &end, 0);
	if (errno || *end || number < min || number > max)
		return false;
	*value = number;
	return true;
}

/* Return: 0, or EXIT_USAGE. */
static int text_option(int option, struct options *o, char **argv)
{
	switch (option) {
	case OPTION_VRAM:
		o->vram = optarg;
		return command_check_vram(&oracle_command, optarg);
	case OPTION_DEVICE:
		o->device = optarg;
		return 0;
	case OPTION_SCRIPT:
		o->script = optarg;
		return 0;
	case OPTION_SAVE:
		o->save = optarg;
		return 0;
	case OPTION_PLANT:
		o->plant = optarg;
		return 0;
	case OPTION_ONE_THREAD:
		o->one_thread = true;
		return 0;
	case OPTION_NO_SHAKE:
		o->no_shake = true;
		return 0;
	case OPTION_MODE:
		o->mode = optarg;
		if (strcmp(optarg, "move") == 0 || strcmp(optarg, "copy") == 0)
			return 0;
		return command_usage_error(&oracle_command, "bad mode '%s'", optarg);
	case OPTION_WITHOUT:
		o->without = optarg;
		if (names_are_known(optarg))
			return 0;
		return command_usage_error(&oracle_command, "bad operation in '%s'", optarg);
	default:
		return command_bad_option(&oracle_command, argv);
	}
}

/* Return: 0, EXIT_USAGE, or -1: done, with *@status. */
static int parse(int argc, char **argv, struct options *o, int *status)
{
	uint64_t *value, min, max;
	int option, err;

	optind = 1;
	opterr = 0;
	while ((option = getopt_long(argc, argv, "", option_names, NULL)) != -1) {
		if (number_option(option, o, &value, &min, &max)) {
			if (parse_number(optarg, min, max, value))
				continue;
			return command_usage_error(&oracle_command, "bad number '%s' (%" PRIu64
						   " to %" PRIu64 ")", optarg, min, max);
		}
		if (option == OPTION_HELP) {
			*status = command_help(&oracle_command);
			return -1;
		}
		if (option == OPTION_LIST) {
			list_operations();
			*status = command_flush(0);
			return -1;
		}
		if (option == OPTION_PLANTS) {
			o->plant = "";
			continue;
		}
		err = text_option(option, o, argv);
		if (err)
			return err;
	}
	if (optind != argc)
		return command_usage_error(&oracle_command, "what is '%s'?", argv[optind]);
	if (o->device && (o->mode || o->vram))
		return command_usage_error(&oracle_command,
					   "--device says --mode and --vram, too");
	if (o->steps * o->threads > STEPS_PER_ROUND)
		return command_usage_error(&oracle_command, "at most %u steps a round",
					   STEPS_PER_ROUND);
	return 0;
}

/* Return: 0, or the exit status, with *@is_done. */
static int plant(const struct options *o, char **argv, bool *is_done)
{
	*is_done = true;
	if (!&oracle_plants)
		return run_planted(argv);
	if (!*o->plant) {
		oracle_plants.list();
		return command_flush(0);
	}
	*is_done = false;
	if (oracle_plants.set(o->plant))
		return 0;
	*is_done = true;
	return command_usage_error(&oracle_command, "there is no plant '%s'", o->plant);
}

static int oracle_run(int argc, char **argv)
{
	struct options options = { .seconds = 10, .threads = 3, .steps = STEPS,
				   .shrink_seconds = 20, .times = 1,
				   .still_seconds = STILL_SECONDS };
	bool is_done;
	int status = 0, parsed;

	start_ns = now_ns();
	options.seed = start_ns % 1000000007u;
	parsed = parse(argc, argv, &options, &status);
	if (parsed)
		return parsed < 0 ? status : parsed;
	if (options.plant) {
		status = plant(&options, argv, &is_done);
		if (is_done)
			return status;
	}
	run = shared_memory(sizeof(*run));
	run->without = options.without;
	run->plant = options.plant;
	run->program = argv[-1];
	run->steps_per_thread = (uint32_t)options.steps;
	if (options.script)
		return run_script(&options);
	set_round(&options, options.first_round);
	status = check_device(run->setting.spec);
	if (status)
		return status;
	printf("usvm oracle: --seed %" PRIu64 " --threads %" PRIu64 ", %s%s\n", options.seed,
	       options.threads, options.device ? "" : options.mode ? "" : "both modes; first ",
	       run->setting.spec);
	return run_rounds(&options);
}

const struct command oracle_command = {
	.name = "oracle",
	.summary = "Do everything at once to real memory, and check every value",
	.usage = "Usage: usvm oracle [OPTION...]\n"
		 "\n"
		 "Threads, GPU queues and children load, store, add, unmap, remap, advise,\n"
		 "protect, prefetch and fork, on the same real memory at the same time, and\n"
		 "compare all that they find with a model. The first value that is wrong ends\n"
		 "it, with what was done to the page, and what led to it made small.\n"
		 "\n"
		 "  --seconds N         run for so long (10)\n"
		 "  --seed S            what is done; it is printed\n"
		 "  --threads T         1 to 8 (3), each with a queue\n"
		 "  --vram SIZE         device memory, a multiple of 2M (8M)\n"
		 "  --mode move|copy    how pages reach it (by turns)\n"
		 "  --device SPEC       a device as usvm_open() takes it, instead\n"
		 "  --rounds N          not --seconds: so many rounds, the first of them...\n"
		 "  --round N           ...this one (0)\n"
		 "  --steps N           operations of a thread in a round (400)\n"
		 "  --without OP,...    leave operations out; --list names them\n"
		 "  --no-shake          hold no thread up\n"
		 "  --still SECONDS     nothing moves for so long: a hang (30)\n"
		 "  --shrink SECONDS    for making a failure small (20; 0: do not try)\n"
		 "  --save FILE         where what led to a failure is kept\n"
		 "                      (usvm-oracle-SEED.script)\n"
		 "  --script FILE       do that again, each step by its thread, in that order\n"
		 "  --one-thread        ...all by one thread\n"
		 "  --times N           ...so often\n"
		 "  --plant NAME        with a bug in usvm; --plants lists them, and which of\n"
		 "                      them `make oracle-plants' looks for\n"
		 "  --help              print this text\n"
		 "\n"
		 "Exit status: 0; 1 something is wrong; 2 bad usage; 77 nothing can migrate\n"
		 "here, see usvm doctor. docs/testing.md explains what is printed.\n",
	.run = oracle_run,
};
