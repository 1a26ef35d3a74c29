/* SPDX-License-Identifier: MIT */
/*
 * tools/run.h - what the files of `usvm run` share.
 */
#ifndef TOOLS_RUN_H
#define TOOLS_RUN_H

#include <stdbool.h>
#include <stdint.h>

#define RUN_CARDS_MAX 8

/* What its cards are. */
struct run_profile {
	const char *name;
	uint16_t device_id;
	bool has_groups; /* their queues can be in groups */
};

/** run_tree_make() - fill the folder @root with the files of @cards cards.
 * Return: 0 or -errno. */
int run_tree_make(const char *root, unsigned int cards, const struct run_profile *profile);

/* What is to be told of the processes, and asked of them. */
struct run_report {
	bool stats;     /* print what they counted */
	bool placement; /* print what could not go to the device */
	bool judge;     /* each that ran a job has to show: */
	bool to_device; /* pages that went to the device */
	bool home;      /* and came home */
};

/** run_report_wanted() - @text is "device", "home", both with a comma, or "none"
 * Return: 0; -1: it is none of these. */
int run_report_wanted(struct run_report *report, const char *text);

/** run_report_prepare() - let processes leave reports in @root. Return: 0 or -errno. */
int run_report_prepare(const struct run_report *report, const char *root);

/** run_report_tell() - print what @report wants of what they left in @root
 * Return: false: somebody did not show what was asked. */
bool run_report_tell(const struct run_report *report, const char *root);

#endif
