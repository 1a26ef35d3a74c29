/* SPDX-License-Identifier: MIT */
/*
 * DOC: fidelity: the simulated kernel answers as the real one
 *
 * Each script is done to both; a line that differs ends the comparison of that script, is
 * printed with all that led to it, and is a failure. Of a random script the acts that are
 * not needed for a difference are taken away first.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/compiler.h"
#include "kernel.h"

#define SHOWN_LINES 40

static struct outcome *sides[2]; /* real, simulated; shared with the process of the first */

static struct {
	uint64_t scripts, acts, failed, allowed;
	uint64_t counts[ACT_COUNT][ERRNO_MAX];
	uint64_t differences[ACT_COUNT];
	uint64_t messages[SYS_EVENT_FORK + 1];
} totals;

struct difference {
	bool is_there;
	uint32_t at; /* act */
	uint32_t allowed; /* acts before, of which the state differs as it may */
	const char *why; /* a side did not end; NULL: texts differ */
	char error[4096];
};

/* --- one script ------------------------------------------------------------ */

static void clear(struct outcome *outcome)
{
	outcome->features = 0;
	outcome->done = 0;
	outcome->is_complete = false;
	outcome->length = 0;
	outcome->text[0] = '\0';
	memset(outcome->counts, 0, sizeof(outcome->counts));
	memset(outcome->messages, 0, sizeof(outcome->messages));
	outcome->texts[0] = 0;
}

static bool equal_texts(uint32_t real, uint32_t real_end, uint32_t simulated,
			uint32_t simulated_end)
{
	return real_end - real == simulated_end - simulated &&
	       !memcmp(sides[0]->text + real, sides[1]->text + simulated, real_end - real);
}

/*
 * zero_after_split: when a huge page is split its pages that hold zeros become the zero
 * page. The simulated kernel knows the rest of a huge page in its block only.
 */
static bool may_differ(uint32_t at)
{
	return sides[0]->states[at].was_huge &&
	       sides[0]->states[at].hash == sides[1]->states[at].hash &&
	       equal_texts(sides[0]->texts[at], sides[0]->states[at].text,
			   sides[1]->texts[at], sides[1]->states[at].text);
}

static void compare(const struct script *script, struct difference *difference)
{
	const char *error;

	*difference = (struct difference){ .is_there = true };
	clear(sides[0]);
	clear(sides[1]);
	error = linux_run(script, sides[0]);
	if (!error && !sides[0]->is_complete)
		error = "it ended early";
	difference->why = "the real kernel";
	if (!error) {
		sides[1]->features = sides[0]->features;
		error = simulated_run(script, sides[1]);
		difference->why = "the simulated kernel";
		if (!error && !sides[1]->is_complete)
			error = "it ended early";
	}
	if (error) {
		difference->at = MIN(sides[0]->done, sides[1]->done ? sides[1]->done : UINT32_MAX);
		snprintf(difference->error, sizeof(difference->error), "%s", error);
		return;
	}
	difference->why = NULL;
	for (uint32_t i = 0; i < script->count; i++) {
		difference->at = i;
		if (equal_texts(sides[0]->texts[i], sides[0]->texts[i + 1],
				sides[1]->texts[i], sides[1]->texts[i + 1]))
			continue;
		if (!may_differ(i))
			return;
		difference->allowed++;
	}
	difference->is_there = false;
}

static void print_script(const struct script *script, size_t count)
{
	char line[160];

	for (uint32_t bit = 1; sys_feature_name(bit); bit <<= 1)
		if (script->without & bit)
			printf("    without %s\n", sys_feature_name(bit));
	for (size_t i = 0; i < count; i++) {
		act_format(&script->acts[i], line, sizeof(line));
		printf("    %s\n", line);
	}
}

/* Lines beside each other: all that differ, and what was told first. */
static void print_sides(uint32_t at)
{
	const char *text[2];
	const char *end[2];

	for (int i = 0; i < 2; i++) {
		text[i] = sides[i]->text + sides[i]->texts[at];
		end[i] = sides[i]->text + sides[i]->texts[at + 1];
	}
	printf("    %-56s | %s\n", "the real kernel", "the simulated one");
	for (int line = 0; line < SHOWN_LINES && (text[0] < end[0] || text[1] < end[1]); line++) {
		int lengths[2];
		bool same;

		for (int i = 0; i < 2; i++)
			lengths[i] = text[i] < end[i] ? (int)strcspn(text[i], "\n") : 0;
		same = lengths[0] == lengths[1] &&
		       !memcmp(text[0], text[1], (size_t)lengths[0]);
		printf("  %s %-56.*s | %.*s\n", same ? " " : "!", lengths[0], text[0],
		       lengths[1], text[1]);
		for (int i = 0; i < 2; i++)
			text[i] += text[i] < end[i] ? lengths[i] + 1 : 0;
	}
}

static void print_difference(const struct script *script, const char *name,
			     const struct difference *difference)
{
	bool ended = difference->why;

	printf("DIFFERENCE %s\n", name);
	print_script(script, ended ? script->count : difference->at + 1u);
	if (ended)
		printf("  after %u acts: %s: %s\n", difference->at, difference->why,
		       difference->error);
	else
		print_sides(difference->at);
}

/* Without each act in turn, as long as a difference is left. */
static void minimise(struct script *script)
{
	static struct difference difference;
	bool shorter = true;

	while (shorter) {
		shorter = false;
		for (size_t i = script->count; i-- > 0;) {
			struct script less = *script;

			memmove(&less.acts[i], &less.acts[i + 1],
				(less.count - i - 1) * sizeof(less.acts[0]));
			less.count--;
			compare(&less, &difference);
			if (!difference.is_there)
				continue;
			*script = less;
			if (!difference.why)
				script->count = MIN(script->count, difference.at + 1u);
			i = MIN(i, script->count);
			shorter = true;
		}
	}
}

static void add_totals(void)
{
	const struct outcome *real = sides[0];

	totals.scripts++;
	totals.acts += real->done;
	for (unsigned int type = 0; type < ACT_COUNT; type++)
		for (unsigned int error = 0; error < ERRNO_MAX; error++)
			totals.counts[type][error] += real->counts[type][error];
	for (unsigned int type = 0; type <= SYS_EVENT_FORK; type++)
		totals.messages[type] += real->messages[type];
}

static void do_script(struct script *script, const char *name, bool small, bool verbose)
{
	static struct difference difference;

	compare(script, &difference);
	add_totals();
	totals.allowed += difference.allowed;
	if (verbose) {
		print_script(script, script->count);
		printf("%.*s", (int)sides[0]->length, sides[0]->text);
	}
	if (!difference.is_there)
		return;
	totals.failed++;
	if (difference.at < script->count)
		totals.differences[script->acts[difference.at].type]++;
	print_difference(script, name, &difference);
	if (!small)
		return;
	minimise(script);
	compare(script, &difference);
	if (difference.is_there)
		print_difference(script, "of the same, minimised", &difference);
	else
		printf("    not each time\n");
}

/* --- many ------------------------------------------------------------------ */

struct options {
	uint64_t first, last; /* seeds */
	size_t acts;
	bool fixed, random, report, verbose;
	const char *file;
	const char *only;
};

static bool can_run(const struct script *script)
{
	for (size_t i = 0; i < script->count; i++)
		if (script->acts[i].type == ACT_PIN)
			return linux_can_pin();
	return true;
}

static void do_fixed(const struct options *options)
{
	static struct script script;
	const char *name;
	const char *text;

	for (size_t i = 0; (text = script_fixed(i, &name)); i++) {
		int line = script_parse(text, &script);

		if (line) {
			printf("%s: line %d is wrong\n", name, line);
			exit(2);
		}
		if (options->only && !strstr(name, options->only))
			continue;
		if (can_run(&script))
			do_script(&script, name, false, options->verbose);
		else
			printf("%s: not here, there is no io_uring\n", name);
	}
}

static void do_file(const struct options *options)
{
	static char text[65536];
	static struct script script;
	FILE *file = fopen(options->file, "r");
	size_t got = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
	int line;

	if (file)
		fclose(file);
	text[got] = '\0';
	line = script_parse(text, &script);
	if (!got || line) {
		printf("%s: cannot be read, or line %d is wrong\n", options->file, line);
		exit(2);
	}
	do_script(&script, options->file, false, options->verbose);
}

static void print_report(void)
{
	static const char *const messages[] = { "fault", "UNMAP", "REMOVE", "REMAP", "FORK" };

	printf("| subject | compared | errors seen | differences |\n|---|---|---|---|\n");
	for (unsigned int type = 0; type < ACT_COUNT; type++) {
		uint64_t sum = 0;

		for (unsigned int error = 0; error < ERRNO_MAX; error++)
			sum += totals.counts[type][error];
		printf("| %s | %llu |", act_name(type), (unsigned long long)sum);
		for (unsigned int error = 1; error < ERRNO_MAX; error++)
			if (totals.counts[type][error])
				printf(" %s %llu", strerrorname_np((int)error),
				       (unsigned long long)totals.counts[type][error]);
		printf(" | %llu |\n", (unsigned long long)totals.differences[type]);
	}
	for (unsigned int type = 0; type <= SYS_EVENT_FORK; type++)
		printf("| message: %s | %llu | | |\n", messages[type],
		       (unsigned long long)totals.messages[type]);
}

static int usage(void)
{
	puts("usage: fidelity [--seed N | --seeds A..B] [--acts N] [--fixed [WORD]]\n"
	     "                [--script FILE] [--report] [--verbose]\n"
	     "Without a choice: the fixed scripts and seeds 1..300.");
	return 2;
}

static bool take_options(int argc, char **argv, struct options *options)
{
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];
		const char *next = i + 1 < argc && argv[i + 1][0] != '-' ? argv[i + 1] : NULL;
		unsigned long long a, b;

		if (!strcmp(word, "--report")) {
			options->report = true;
		} else if (!strcmp(word, "--verbose")) {
			options->verbose = true;
		} else if (!strcmp(word, "--fixed")) {
			options->fixed = true;
			options->only = next;
			i += next != NULL;
		} else if (!next) {
			return false;
		} else if (!strcmp(word, "--script")) {
			options->file = next;
			i++;
		} else if (!strcmp(word, "--acts")) {
			options->acts = strtoull(next, NULL, 10);
			i++;
		} else if (!strcmp(word, "--seed") || !strcmp(word, "--seeds")) {
			int got = sscanf(next, "%llu..%llu", &a, &b);

			if (got < 1)
				return false;
			options->random = true;
			options->first = a;
			options->last = got == 2 ? b : a;
			i++;
		} else {
			return false;
		}
	}
	return options->acts > 0 && options->acts <= ACTS_MAX;
}

/* Is there a userfaultfd, and can a sleeper be seen? */
static const char *missing(void)
{
	static struct script script;
	const char *error;
	char text[8] = "";
	FILE *file = fopen("/proc/self/wchan", "r");

	if (!file || !fgets(text, sizeof(text), file))
		return "no /proc/PID/wchan";
	fclose(file);
	clear(sides[0]);
	error = linux_run(&script, sides[0]);
	if (!(sides[0]->features & SYS_FEATURE_UFFD))
		return "no userfaultfd";
	if ((sides[0]->features & 0x3ff) != 0x3ff)
		return "not all of the kernel's features";
	return error;
}

int main(int argc, char **argv)
{
	struct options options = { .first = 1, .last = 300, .acts = 40 };
	static struct script script;
	const char *why;
	char name[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!take_options(argc, argv, &options))
		return usage();
	if (!options.fixed && !options.random && !options.file)
		options.fixed = options.random = true;
	for (int i = 0; i < 2; i++) {
		sides[i] = mmap(NULL, sizeof(*sides[i]), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (sides[i] == MAP_FAILED)
			return 2;
	}
	why = missing();
	if (why) {
		printf("SKIP: %s\n", why);
		return 77;
	}
	if (options.file)
		do_file(&options);
	if (options.fixed)
		do_fixed(&options);
	for (uint64_t seed = options.first; options.random && seed <= options.last; seed++) {
		snprintf(name, sizeof(name), "seed %llu", (unsigned long long)seed);
		script_random(&script, seed, options.acts);
		do_script(&script, name, true, options.verbose);
	}
	if (options.report)
		print_report();
	printf("%llu scripts, %llu acts compared, %llu allowed, %llu scripts differ\n",
	       (unsigned long long)totals.scripts, (unsigned long long)totals.acts,
	       (unsigned long long)totals.allowed, (unsigned long long)totals.failed);
	return totals.failed ? 1 : 0;
}
