/* SPDX-License-Identifier: MIT */
/*
 * DOC: cases: to run them, to keep them in files
 *
 * A run in a process of its own cannot take the others along when it crashes, and
 * finds the library's variables as they were at the start.
 */
#include "case.h"
#include "coverage.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/faulty.h"

/* A thread that never comes to a yield point: seconds until a run is ended. */
#define RUN_SECONDS_MAX 120

struct run_case *case_create(const struct profile *profile, uint64_t seed, uint64_t steps)
{
	struct run_case *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->profile = profile;
	c->seed = seed;
	c->steps = steps;
	return c;
}

size_t case_ops(const struct run_case *c)
{
	/* A few seldom take less than so many steps each. */
	return MIN(64 + c->steps / 20, CASE_OPS_MAX);
}

void case_destroy(struct run_case *c)
{
	if (c)
		free(c->schedule);
	free(c);
}

/* --- runs --------------------------------------------------------------------- */

struct outcome *outcome_create(void)
{
	void *memory = mmap(NULL, sizeof(struct outcome), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static size_t sim_op_count(void)
{
	size_t count = 0;

	while (sim_op_name(count))
		count++;
	return count;
}

const char *case_call_name(size_t number)
{
	size_t count = sim_op_count();

	if (number < count)
		return sim_op_name(number);
	return number < count + FAULTY_CALLS ? faulty_name((enum faulty_call)(number - count)) :
					       NULL;
}

struct see {
	struct outcome *outcome;
	void (*see)(struct world *world, void *arg);
	void *arg;
};

static void see_run(struct world *world, void *arg)
{
	struct see *see = arg;
	size_t count;
	const struct sim_switch *schedule = sim_schedule(world->sim, &count);

	see->outcome->schedule_count = MIN(count, CASE_SWITCHES_MAX);
	memcpy(see->outcome->schedule, schedule,
	       see->outcome->schedule_count * sizeof(*schedule));
	for (size_t i = 0; i < CASE_CALLS_MAX && case_call_name(i); i++)
		see->outcome->calls[i] = i < sim_op_count() ?
			sim_calls(world->sim, sim_op_name(i)) :
			faulty_calls((enum faulty_call)(i - sim_op_count()));
	if (see->see)
		see->see(world, see->arg);
}

void case_run(const struct run_case *c, struct outcome *outcome,
	      void (*see)(struct world *world, void *arg), void *arg)
{
	struct see kept = { outcome, see, arg };
	struct plan plan;
	struct run_spec spec = {
		.plan = &plan,
		.left_out = c->has_left_out ? c->left_out : NULL,
		.began = outcome->began,
		.steps_max = c->steps,
		.schedule = c->schedule,
		.schedule_count = c->schedule_count,
		.trace_max = see ? 20000 : 0,
		/* Most runs in which a call fails are like the next. */
		.check = !c->injection || c->injection->nth % 4 == 1,
		.injection = c->injection,
	};
	size_t ops = case_ops(c);

	memset(&outcome->result, 0, sizeof(outcome->result));
	memset(outcome->began, 0, sizeof(outcome->began));
	outcome->schedule_count = 0;
	outcome->crashed = false;
	if (plan_create(c->seed, c->profile, ops, &plan)) {
		outcome->result.failed = true;
		snprintf(outcome->result.text, RUN_TEXT_MAX, "no memory for the plan");
		return;
	}
	plan.setting.sim.seed ^= c->variant * 0x9e3779b97f4a7c15u;
	run_plan(&spec, &outcome->result, see_run, &kept);
	plan_destroy(&plan);
}

void case_run_apart(const struct run_case *c, struct outcome *outcome)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		alarm(RUN_SECONDS_MAX);
		case_run(c, outcome, NULL, NULL);
		coverage_keep();
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		status = -1;
	outcome->crashed = status != 0;
	if (!status)
		return;
	outcome->result.failed = true;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(outcome->result.text, RUN_TEXT_MAX,
			 "a thread ran %d s without a yield point", RUN_SECONDS_MAX);
	else if (WIFSIGNALED(status))
		snprintf(outcome->result.text, RUN_TEXT_MAX, "crashed: %s",
			 strsignal(WTERMSIG(status)));
	else
		snprintf(outcome->result.text, RUN_TEXT_MAX, "ended with status %d",
			 WEXITSTATUS(status));
}

/* --- files ----------------------------------------------------------------------- */

static void write_ops(const struct run_case *c, FILE *file)
{
	size_t count = case_ops(c);

	fprintf(file, "operations");
	for (size_t i = 0; i < count; i++) {
		size_t first = i;

		if (c->left_out[i])
			continue;
		while (i + 1 < count && !c->left_out[i + 1])
			i++;
		if (i == first)
			fprintf(file, " %zu", i);
		else
			fprintf(file, " %zu-%zu", first, i);
	}
	fprintf(file, "\n");
}

void case_write(const struct run_case *c, FILE *file)
{
	fprintf(file, "usvm-sim 1\nprofile %s\nseed %lu\nvariant %lu\nsteps %lu\n",
		c->profile->name, (unsigned long)c->seed, (unsigned long)c->variant,
		(unsigned long)c->steps);
	if (c->has_left_out)
		write_ops(c, file);
	if (!c->schedule)
		return;
	fprintf(file, "switches");
	for (size_t i = 0; i < c->schedule_count; i++)
		fprintf(file, " %lu:%u", (unsigned long)c->schedule[i].step,
			c->schedule[i].thread);
	fprintf(file, "\n");
}

static bool read_ops(struct run_case *c, char *words)
{
	char *save = NULL;

	c->has_left_out = true;
	memset(c->left_out, 1, sizeof(c->left_out));
	for (char *word = strtok_r(words, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		unsigned long first;
		unsigned long last;
		int got = sscanf(word, "%lu-%lu", &first, &last);

		if (got == 1)
			last = first;
		if (got < 1 || last >= CASE_OPS_MAX || first > last)
			return false;
		memset(c->left_out + first, 0, last - first + 1);
	}
	return true;
}

static bool read_switches(struct run_case *c, char *words)
{
	char *save = NULL;

	c->schedule = calloc(strlen(words) / 4 + 1, sizeof(*c->schedule));
	if (!c->schedule)
		return false;
	for (char *word = strtok_r(words, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		unsigned long step;
		unsigned int thread;

		if (sscanf(word, "%lu:%u", &step, &thread) != 2)
			return false;
		c->schedule[c->schedule_count++] = (struct sim_switch){ step, thread };
	}
	return true;
}

static bool read_line(struct run_case *c, char *line)
{
	char name[32];
	unsigned long number;

	if (line[0] == '#' || line[0] == '\n')
		return true;
	if (sscanf(line, "usvm-sim %lu", &number) == 1)
		return number == 1;
	if (sscanf(line, "profile %31s", name) == 1)
		return (c->profile = plan_profile(name)) != NULL;
	if (sscanf(line, "seed %lu", &number) == 1)
		return c->seed = number, true;
	if (sscanf(line, "variant %lu", &number) == 1)
		return c->variant = number, true;
	if (sscanf(line, "steps %lu", &number) == 1)
		return c->steps = number, true;
	if (strncmp(line, "operations", 10) == 0)
		return read_ops(c, line + 10);
	if (strncmp(line, "switches", 8) == 0)
		return read_switches(c, line + 8);
	return false;
}

int case_read(const char *path, struct run_case **out)
{
	struct run_case *c = case_create(plan_profile("default"), 0, 10000);
	FILE *file = fopen(path, "r");
	char *line = NULL;
	size_t bytes = 0;
	int err = 0;

	if (!file || !c) {
		err = file ? -ENOMEM : -errno;
		fprintf(stderr, "%s: %s\n", path, strerror(-err));
	}
	for (int number = 1; !err && getline(&line, &bytes, file) > 0; number++) {
		if (read_line(c, line))
			continue;
		fprintf(stderr, "%s:%d: not a line of a case\n", path, number);
		err = -EINVAL;
	}
	if (file)
		fclose(file);
	free(line);
	if (err)
		case_destroy(c);
	else
		*out = c;
	return err;
}
