/* SPDX-License-Identifier: MIT */
/*
 * chaos/report.h - what `usvm chaos` says at the end.
 */
#ifndef CHAOS_REPORT_H
#define CHAOS_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "shared.h"

struct report {
	const struct chaos_shared *shared;
	const char *program;
	int status; /* of waitpid() */
};

/** report_write() - to @stream, as text or as one JSON object. Return: 0 or -errno. */
int report_write(const struct report *report, FILE *stream, bool json);

#endif
