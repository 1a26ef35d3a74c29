/* SPDX-License-Identifier: MIT */
/*
 * The matrix: which rows, in which mode.
 *
 *     matrix [--mode move|copy] [--row NAME] [--column NAME] [--who main|thread|gpu]
 *            [--marked]                     with entries=marked
 *     matrix --machine                      the rows that change settings of the machine
 *     matrix --document                     print docs/matrix.md
 *
 * Exit: 0; 1 a cell failed; 77 nothing migrates here.
 */
#include <getopt.h>

#include "matrix.h"

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
};

static bool is_wanted(const struct row *row, const struct options *o)
{
	if (!row->act || (o->row && strcmp(row->name, o->row)))
		return false;
	return o->row || !(row->flags & ROW_MACHINE) == !o->machine;
}

static int run(const struct options *o)
{
	struct tally tally = { 0 };
	uint32_t needs = 0;
	const char *why;

	for (size_t i = 0; i < row_count; i++) {
		if (is_wanted(&rows[i], o))
			needs |= rows[i].flags & ROW_MACHINE;
	}
	runner_start();
	for (size_t i = 0; i < row_count; i++) {
		if (!is_wanted(&rows[i], o))
			continue;
		why = machine_prepare(rows[i].flags & needs);
		if (why) {
			printf("SKIP: %s: %s\n", rows[i].name, why);
			tally.skipped++;
			continue;
		}
		for (enum mode mode = 0; mode < MODE_COUNT; mode++) {
			if (o->modes >> mode & 1)
				runner_row(&rows[i], mode, o->columns, o->whos, &tally);
		}
	}
	machine_restore();
	runner_end();
	/* As cmocka does, for who counts. */
	printf("[==========] tests: Running %u test(s).\n",
	       tally.passed + tally.limited + tally.failed + tally.skipped);
	printf("[  PASSED  ] %u test(s).\n", tally.passed + tally.limited);
	if (tally.skipped)
		printf("[  SKIPPED ] %u test(s).\n", tally.skipped);
	if (tally.failed)
		printf("[  FAILED  ] %u test(s).\n", tally.failed);
	printf("%u cells as natively, %u as a limit says\n", tally.passed, tally.limited);
	return tally.failed != 0;
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
		{ "document", no_argument, NULL, 'd' },
		{ 0 },
	};
	struct options o = { .modes = (1u << MODE_COUNT) - 1, .columns = IN_ALL,
			     .whos = (1u << WHO_COUNT) - 1 };
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
		case 'd':
			document();
			return 0;
		default:
			return 2;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	why = cannot_migrate();
	if (why) {
		printf("SKIP: %s\n", why);
		return LIVE_SKIP;
	}
	return run(&o);
}
