/* SPDX-License-Identifier: MIT */
/*
 * DOC: a trace for people
 *
 * One column for each thread that did anything, one row for each event. docs/testing.md
 * explains every column.
 */
#include "case.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN 25
#define COLUMNS_MAX 48
#define CELL_MAX 320

struct column {
	uint32_t thread;
	char name[20];
};

struct table {
	struct sim *sim;
	struct column columns[COLUMNS_MAX];
	size_t count;
};

static size_t column_of(struct table *table, uint32_t thread)
{
	const struct sim_thread *found = sim_thread_get(table->sim, thread);

	for (size_t i = 0; i < table->count; i++) {
		if (table->columns[i].thread == thread)
			return i;
	}
	if (table->count == COLUMNS_MAX)
		return COLUMNS_MAX - 1;
	table->columns[table->count].thread = thread;
	snprintf(table->columns[table->count].name, sizeof(table->columns[0].name), "%u %s",
		 thread, found ? sim_thread_name(found) : "");
	return table->count++;
}

static int by_thread(const void *a, const void *b)
{
	const struct column *x = a;
	const struct column *y = b;

	return (x->thread > y->thread) - (x->thread < y->thread);
}

/* Library memory is where the simulator put it, which tells nobody anything. */
static bool is_dull(const char *name, uint64_t value)
{
	static const char *const names[] = { "word", "expected", "count", "align", "hint",
					     "fd", "thread" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return value > SIM_END;
}

static int put_value(char *text, size_t bytes, const char *name, uint64_t value)
{
	char place[32];

	if (value >= SIM_ARENA && value < SIM_END)
		return snprintf(text, bytes, " %s=vram+%#lx", name,
				(unsigned long)(value - SIM_ARENA));
	if (value >= PLAY_START && value <= PLAY_END)
		return snprintf(text, bytes, " %s=%s", name, plan_place(value, place));
	if (value % PAGE_BYTES == 0 && value)
		return snprintf(text, bytes, " %s=%lup", name,
				(unsigned long)(value / PAGE_BYTES));
	return snprintf(text, bytes, " %s=%#lx", name, (unsigned long)value);
}

static void format_cell(const struct sim_trace *event, char *text, size_t bytes)
{
	int length = snprintf(text, bytes, "%s", event->what);

	for (uint8_t i = 0; i < event->arg_count; i++) {
		if (is_dull(event->names[i], event->args[i]))
			continue;
		length += put_value(text + length, bytes - (size_t)length, event->names[i],
				    event->args[i]);
	}
	if (!event->has_result)
		return;
	if (event->result < 0)
		length += snprintf(text + length, bytes - (size_t)length, " = -%s",
				   strerrorname_np((int)-event->result));
	else if (event->result)
		length += snprintf(text + length, bytes - (size_t)length, " = %ld",
				   (long)event->result);
	if (event->value && !is_dull("", event->value))
		put_value(text + length, bytes - (size_t)length, "", event->value);
}

/* As much of @text as fits, to its last blank. */
static size_t line_length(const char *text)
{
	size_t length = strlen(text);

	if (length < COLUMN)
		return length;
	length = COLUMN - 1;
	for (size_t i = length; i > COLUMN / 3; i--) {
		if (text[i] == ' ')
			return i;
	}
	return length;
}

static void print_row(const struct table *table, uint64_t step, size_t column,
		      const char *text)
{
	bool first = true;

	while (*text || first) {
		size_t length = line_length(text);

		if (first)
			printf("%8lu ", (unsigned long)step);
		else
			printf("%8s ", "");
		for (size_t i = 0; i < column; i++)
			printf("|%*s", COLUMN, "");
		printf("| %.*s\n", (int)length, text);
		text += length;
		while (*text == ' ')
			text++;
		first = false;
	}
	(void)table;
}

static void print_head(const struct table *table)
{
	printf("%8s ", "step");
	for (size_t i = 0; i < table->count; i++)
		printf("| %-*s", COLUMN - 1, table->columns[i].name);
	printf("\n");
	for (size_t i = 0; i < 9 + table->count * (COLUMN + 1); i++)
		putchar('-');
	printf("\n");
}

void table_print(struct world *world, void *arg UNUSED)
{
	struct table table = { .sim = world->sim };
	size_t count = sim_trace_count(world->sim);

	for (size_t i = 0; i < count; i++)
		column_of(&table, sim_trace_get(world->sim, i)->thread);
	qsort(table.columns, table.count, sizeof(table.columns[0]), by_thread);
	print_head(&table);
	for (size_t i = 0; i < count; i++) {
		const struct sim_trace *event = sim_trace_get(world->sim, i);
		char cell[CELL_MAX];

		format_cell(event, cell, sizeof(cell));
		print_row(&table, event->step, column_of(&table, event->thread), cell);
	}
}

void case_print(const struct run_case *c)
{
	struct plan plan;
	size_t left = 0;

	if (plan_create(c->seed, c->profile, case_ops(c), &plan))
		return;
	printf("device: %s; %u threads; schedule: %s\n", plan.setting.device,
	       plan.setting.threads, plan_schedule(&plan));
	for (size_t i = 0; i < plan.count; i++)
		left += !(c->has_left_out && c->left_out[i]);
	if (left <= 100) {
		printf("operations (block:page+byte):\n");
		for (size_t i = 0; i < plan.count; i++) {
			char line[256];

			if (c->has_left_out && c->left_out[i])
				continue;
			op_format(&plan.ops[i], line, sizeof(line));
			printf("%6zu  thread %u  %s\n", i, plan.ops[i].thread, line);
		}
	}
	plan_destroy(&plan);
}
