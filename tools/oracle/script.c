/* SPDX-License-Identifier: MIT */
/*
 * DOC: Scripts
 *
 * A script is text: how the round is set up, then a line for each step, in an order in
 * which they could have been done one by one.
 *
 *     seed 0x1f
 *     threads 3
 *     shakes 1
 *     device model:mode=move,vram=8M,home=64K
 *     0 touch 3 12+4 0x9d2c5680aa2c5f1d     thread, operation, area, pages, seed
 *
 * Lines that begin with # are passed over. The seed of a step says what it draws by itself;
 * seeds are hexadecimal.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "oracle.h"

void script_print_step(FILE *file, const struct step *step)
{
	fprintf(file, "%u %s %u %u+%u %#" PRIx64 "\n", step->thread,
		operations[step->operation].name, step->area, step->first, step->count,
		step->seed);
}

int script_write(const char *path, const struct setting *setting, const struct log *log)
{
	FILE *file = fopen(path, "we");
	int err = 0;

	if (!file)
		return -errno;
	fprintf(file, "# usvm oracle --script FILE; usvm %s\nseed %#" PRIx64
		"\nthreads %u\nshakes %d\ndevice %s\n"
		"# thread operation area pages seed\n", usvm_version(), setting->seed,
		setting->thread_count, setting->shakes, setting->spec);
	for (uint32_t i = 0; i < log->count; i++)
		script_print_step(file, &log->steps[i]);
	if (ferror(file))
		err = -EIO;
	if (fclose(file))
		err = -errno;
	return err;
}

static int compare_order(const void *a, const void *b)
{
	const struct step *left = a, *right = b;

	return left->order < right->order ? -1 : left->order > right->order;
}

void script_from_log(const struct log *log, struct log *script)
{
	uint32_t count = LOAD(&log->count);

	if (count > STEPS_PER_ROUND)
		count = STEPS_PER_ROUND;
	script->count = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (log->steps[i].order)
			script->steps[script->count++] = log->steps[i];
	}
	qsort(script->steps, script->count, sizeof(script->steps[0]), compare_order);
}

static bool read_setting(const char *line, struct setting *setting)
{
	int shakes;

	if (sscanf(line, "seed %" SCNx64, &setting->seed) == 1)
		return true;
	if (sscanf(line, "threads %" SCNu32, &setting->thread_count) == 1)
		return setting->thread_count && setting->thread_count <= THREADS_MAX;
	if (sscanf(line, "shakes %d", &shakes) == 1) {
		setting->shakes = shakes;
		return true;
	}
	return sscanf(line, "device %191s", setting->spec) == 1;
}

/* What a step may be done to: the areas are there, and locked as it needs. */
static bool step_is_valid(const struct step *step, const struct setting *setting)
{
	uint32_t own = SHARED_AREAS + step->thread * BLOCKS_PER_THREAD;
	bool in_block = step->area >= own && step->area < own + BLOCKS_PER_THREAD;
	const struct operation *operation;

	if (step->operation >= operation_count || step->thread >= setting->thread_count)
		return false;
	operation = &operations[step->operation];
	if (operation->lock == LOCK_NONE)
		return step->area == 0;
	if (operation->kinds == AREA_BLOCK ? !in_block :
					     !(area_kind_of(step->area) & operation->kinds))
		return false;
	return step->count && step->first < AREA_PAGES_MAX && step->count <= AREA_PAGES_MAX;
}

static bool read_step(const char *line, const struct setting *setting, struct log *log)
{
	struct step *step = &log->steps[log->count];
	char name[17];

	memset(step, 0, sizeof(*step));
	if (log->count == STEPS_PER_ROUND ||
	    sscanf(line, "%" SCNu16 " %16s %" SCNu16 " %" SCNu32 "+%" SCNu32 " %" SCNx64,
		   &step->thread, name, &step->area, &step->first, &step->count,
		   &step->seed) != 6)
		return false;
	step->operation = (uint16_t)operation_find(name, strlen(name));
	step->order = ++log->count;
	return step_is_valid(step, setting);
}

int script_read(const char *path, struct setting *setting, struct log *log, uint32_t *line)
{
	FILE *file = fopen(path, "re");
	char text[256];
	int err = 0;

	*line = 0;
	if (!file)
		return -errno;
	*setting = (struct setting){ 0 };
	log->count = 0;
	while (!err && fgets(text, sizeof(text), file)) {
		bool good = true;

		++*line;
		if (isdigit((unsigned char)text[0]))
			good = read_step(text, setting, log);
		else if (text[0] != '#' && text[0] != '\n')
			good = read_setting(text, setting);
		if (!good)
			err = -EINVAL;
	}
	if (!err && (!setting->thread_count || !setting->spec[0]))
		err = -EINVAL;
	fclose(file);
	return err;
}
