/* SPDX-License-Identifier: MIT */
/*
 * The matrix: which rows, in which mode.
 *
 *     matrix [--mode move|copy] [--row NAME] [--column NAME] [--who main|thread|gpu]
 *            [--marked]                     with entries=marked
 *            [--jobs N]                     rows at a time: cells wait more than they work
 *     matrix --machine                      the rows that change settings of the machine;
 *                                           one at a time
 *     matrix --document                     print docs/matrix.md
 *
 * Exit: 0; 1 a cell failed; 77 nothing migrates here.
 */
#include <getopt.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coverage.h"
#include "matrix.h"

#define JOBS_MAX 16

static const char *cannot_migrate(void)
{
	static struct usvm_device_info info;
	struct usvm *gpu;

	assert_int_equal(usvm_open("model:vram=2M", &gpu), 0);
	assert_int_equal(usvm_device_info(gpu, &info), 0);
	assert_int_equal(usvm_close(gpu), 0);
	if (!info.migrates)
		return info.why_not;
	if (!info.kernel_faults || !info.fork_events)
		return "system calls or children cannot be served here";
	return NULL;
}

struct options {
	uint32_t modes;
	bool machine;
	const char *row;
	uint32_t columns, whos;
	unsigned int jobs;
};

/* Of all jobs: each takes the next row, and counts. */
struct progress {
	size_t next_row;
	struct tally tally;
};

static bool is_wanted(const struct row *row, const struct options *o)
{
	if (!row->act || (o->row && strcmp(row->name, o->row)))
		return false;
	return o->row || !(row->flags & ROW_MACHINE) == !o->machine;
}

/* What a row of this job prints is together, with others beside it. */
static void run_row(const struct row *row, const struct options *o, uint32_t needs,
		    struct tally *tally)
{
	const char *why = machine_prepare(row->flags & needs);

	if (why) {
		printf("SKIP: %s: %s\n", row->name, why);
		tally->skipped++;
		return;
	}
	for (enum mode mode = 0; mode < MODE_COUNT; mode++) {
		if (o->modes >> mode & 1)
			runner_row(row, mode, o->columns, o->whos, tally);
	}
	fflush(stdout);
}

static void run_rows(const struct options *o, struct progress *progress)
{
	struct tally tally = { 0 };
	uint32_t needs = 0;
	size_t i;

	for (i = 0; i < row_count; i++) {
		if (is_wanted(&rows[i], o))
			needs |= rows[i].flags & ROW_MACHINE;
	}
	runner_start();
	while ((i = __atomic_fetch_add(&progress->next_row, 1, __ATOMIC_RELAXED)) < row_count) {
		if (is_wanted(&rows[i], o))
			run_row(&rows[i], o, needs, &tally);
	}
	machine_restore();
	runner_end();
	__atomic_fetch_add(&progress->tally.passed, tally.passed, __ATOMIC_RELAXED);
	__atomic_fetch_add(&progress->tally.failed, tally.failed, __ATOMIC_RELAXED);
	__atomic_fetch_add(&progress->tally.skipped, tally.skipped, __ATOMIC_RELAXED);
	__atomic_fetch_add(&progress->tally.limited, tally.limited, __ATOMIC_RELAXED);
}

/* Return: how many of them did not come to their end. */
static unsigned int run_jobs(const struct options *o, struct progress *progress)
{
	pid_t jobs[JOBS_MAX];
	unsigned int lost = 0;
	int status;

	fflush(stdout);
	for (unsigned int i = 0; i < o->jobs; i++) {
		jobs[i] = fork();
		assert_true(jobs[i] >= 0);
		if (jobs[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run_rows(o, progress);
			fflush(stdout);
			coverage_keep();
			_exit(0);
		}
	}
	for (unsigned int i = 0; i < o->jobs; i++)
		lost += waitpid(jobs[i], &status, 0) != jobs[i] || status != 0;
	return lost;
}

static int run(const struct options *o)
{
	struct progress *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct tally *tally = &progress->tally;

	assert_ptr_not_equal(progress, MAP_FAILED);
	if (o->jobs > 1)
		tally->failed += run_jobs(o, progress);
	else
		run_rows(o, progress);
	/* As cmocka does, for who counts. */
	printf("[==========] tests: Running %u test(s).\n",
	       tally->passed + tally->limited + tally->failed + tally->skipped);
	printf("[  PASSED  ] %u test(s).\n", tally->passed + tally->limited);
	if (tally->skipped)
		printf("[  SKIPPED ] %u test(s).\n", tally->skipped);
	if (tally->failed)
		printf("[  FAILED  ] %u test(s).\n", tally->failed);
	printf("%u cells as natively, %u as a limit says\n", tally->passed, tally->limited);
	return tally->failed != 0;
}

static uint32_t column_bit(const char *name)
{
	for (uint32_t i = 0; i < COLUMN_COUNT; i++) {
		if (!strcasecmp(name, column_names[i]))
			return 1u << i;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		{ "mode", required_argument, NULL, 'm' },
		{ "machine", no_argument, NULL, 'M' },
		{ "row", required_argument, NULL, 'r' },
		{ "column", required_argument, NULL, 'c' },
		{ "who", required_argument, NULL, 'w' },
		{ "marked", no_argument, NULL, 'e' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "document", no_argument, NULL, 'd' },
		{ 0 },
	};
	struct options o = { .modes = (1u << MODE_COUNT) - 1, .columns = IN_ALL,
			     .whos = (1u << WHO_COUNT) - 1, .jobs = 1 };
	const char *why;
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 'm':
			o.modes = 1u << (strcmp(optarg, "copy") ? MODE_MOVE : MODE_COPY);
			break;
		case 'M':
			o.machine = true;
			break;
		case 'r':
			o.row = optarg;
			break;
		case 'c':
			o.columns = column_bit(optarg);
			break;
		case 'w':
			o.whos = *optarg == 'm' ? 1 : *optarg == 't' ? 2 : 4;
			break;
		case 'e':
			cell_marked = true;
			break;
		case 'j':
			o.jobs = (unsigned int)atoi(optarg);
			if (o.jobs < 1 || o.jobs > JOBS_MAX)
				return 2;
			break;
		case 'd':
			document();
			return 0;
		default:
			return 2;
		}
	}
	if (o.machine && o.jobs > 1)
		return 2;
	setvbuf(stdout, NULL, o.jobs > 1 ? _IOFBF : _IOLBF, 1 << 16);
	why = cannot_migrate();
	if (why) {
		printf("SKIP: %s\n", why);
		return LIVE_SKIP;
	}
	return run(&o);
}
