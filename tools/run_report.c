/* SPDX-License-Identifier: MIT */
/*
 * DOC: What processes under `usvm run` did
 *
 * Each process that opened a card leaves a file in the tree's folder `report`, named by its
 * number, with a line for each counter of each of its cards (src/xe/xe.h). Counters that
 * begin with mm_ are of the process and stand there once for each card.
 *
 * Who asks that pages migrate asks it of every process that ran a job: a test that forks its
 * workers is not saved by one of them. A process that a signal ended left nothing and is not
 * judged.
 */
#include <errno.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run.h"

#define COUNTERS_MAX 192
#define NAME_BYTES 48

struct counter {
	char name[NAME_BYTES];
	uint64_t value;
};

struct process {
	long pid;
	bool told;
	struct counter counters[COUNTERS_MAX];
	size_t count;
};

static struct counter *find(struct process *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++) {
		if (!strcmp(p->counters[i].name, name))
			return &p->counters[i];
	}
	return NULL;
}

static uint64_t value_of(struct process *p, const char *name)
{
	const struct counter *counter = find(p, name);

	return counter ? counter->value : 0;
}

static uint64_t to_device(struct process *p)
{
	return value_of(p, "usvm_pages_to_device") + value_of(p, "usvm_pages_filled");
}

static uint64_t came_home(struct process *p)
{
	return value_of(p, "mm_home_moved_pages") + value_of(p, "mm_home_copied_pages");
}

static void add(struct process *p, const char *name, uint64_t value)
{
	struct counter *counter = find(p, name);

	if (!counter && p->count < COUNTERS_MAX) {
		counter = &p->counters[p->count++];
		snprintf(counter->name, sizeof(counter->name), "%s", name);
		counter->value = 0;
	}
	if (!counter)
		return;
	if (!strncmp(name, "mm_", 3))
		counter->value = value > counter->value ? value : counter->value;
	else
		counter->value += value;
}

static void tell_stayed(const struct process *p, const char *line)
{
	uint64_t start, end, faults;
	int at = 0;

	if (sscanf(line, "stayed %" SCNu64 " %" SCNu64 " %" SCNu64 " %n", &start, &end, &faults,
		   &at) == 3 && at)
		fprintf(stderr,
			"usvm run: process %ld: %#" PRIx64 "-%#" PRIx64
			" stayed at home for %" PRIu64 " faults: %s",
			p->pid, start, end, faults, line + at);
}

static void read_report(const struct run_report *report, struct process *p, FILE *file)
{
	char line[256], name[NAME_BYTES];
	uint64_t value;

	while (fgets(line, sizeof(line), file)) {
		p->told = true;
		if (!strncmp(line, "stayed ", 7)) {
			if (report->placement)
				tell_stayed(p, line);
		} else if (sscanf(line, "%47s %" SCNu64, name, &value) == 2 &&
			   strcmp(name, "card") != 0) {
			add(p, name, value);
		}
	}
}

static void tell_counters(struct process *p)
{
	fprintf(stderr,
		"usvm run: process %ld: %" PRIu64 " jobs, %" PRIu64 " pages to the device, %" PRIu64
		" home\n",
		p->pid, value_of(p, "jobs"), to_device(p), came_home(p));
	for (size_t i = 0; i < p->count; i++) {
		if (p->counters[i].value)
			fprintf(stderr, "  %s %" PRIu64 "\n", p->counters[i].name,
				p->counters[i].value);
	}
}

static bool judge(const struct run_report *report, struct process *p)
{
	bool holds = true;

	if (report->to_device && !to_device(p)) {
		fprintf(stderr, "usvm run: process %ld: no page went to the device\n", p->pid);
		holds = false;
	}
	if (report->home && !came_home(p)) {
		fprintf(stderr, "usvm run: process %ld: no page came home\n", p->pid);
		holds = false;
	}
	return holds;
}

/* Return: false: it did not show what was asked. *@judged: it ran a job. */
static bool tell_one(const struct run_report *report, const char *root, const char *name,
		     bool *judged)
{
	static struct process p;
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/report/%s", root, name);
	file = fopen(path, "r");
	if (!file)
		return true;
	p.pid = strtol(name, NULL, 10);
	p.told = false;
	p.count = 0;
	read_report(report, &p, file);
	fclose(file);
	if (!p.told) {
		fprintf(stderr, "usvm run: process %ld left no report\n", p.pid);
		return true;
	}
	if (report->stats)
		tell_counters(&p);
	*judged = value_of(&p, "jobs") > 0;
	return !report->judge || !*judged || judge(report, &p);
}

int run_report_wanted(struct run_report *report, const char *text)
{
	report->judge = true;
	report->to_device = !strcmp(text, "device") || !strcmp(text, "device,home");
	report->home = !strcmp(text, "home") || !strcmp(text, "device,home");
	return report->to_device || report->home || !strcmp(text, "none") ? 0 : -1;
}

int run_report_prepare(const struct run_report *report, const char *root)
{
	char path[4096];

	if (!report->stats && !report->placement && !report->judge)
		return 0;
	snprintf(path, sizeof(path), "%s/report", root);
	/* A program may become another user. */
	return mkdir(path, 0755) || chmod(path, 01777) || chmod(root, 0755) ? -errno : 0;
}

bool run_report_tell(const struct run_report *report, const char *root)
{
	bool holds = true, any = false;
	const struct dirent *entry;
	char path[4096];
	DIR *folder;

	snprintf(path, sizeof(path), "%s/report", root);
	folder = opendir(path);
	if (!folder) {
		if (report->judge)
			fprintf(stderr, "usvm run: %s: %s\n", path, strerror(errno));
		return !report->judge;
	}
	while ((entry = readdir(folder))) {
		bool judged = false;

		if (entry->d_name[0] == '.')
			continue;
		holds &= tell_one(report, root, entry->d_name, &judged);
		any |= judged;
	}
	closedir(folder);
	if (report->judge && (report->to_device || report->home) && !any) {
		fprintf(stderr, "usvm run: no process ran a job\n");
		return false;
	}
	return holds;
}
