/* SPDX-License-Identifier: MIT */
/*
 * tests/live/support/usage.h - what a process has, read from /proc.
 *
 * Descriptors, threads and mappings must be exactly as they were; resident memory may
 * grow by USAGE_RSS_KIB. Under a sanitizer the last two are not compared: its shadow and
 * its quarantine grow with whatever was used once.
 */
#ifndef TESTS_LIVE_SUPPORT_USAGE_H
#define TESTS_LIVE_SUPPORT_USAGE_H

#include "live/support/live.h"

#define USAGE_RSS_KIB 256

struct usage {
	size_t files, threads, mappings, rss_kib;
};

/** usage_now() - as soon as no more than @threads are left: a thread that was joined is
 * still listed for a moment, and has its stack */
struct usage usage_now(size_t threads);

void assert_usage(struct usage before);

/** usage_entries() - how many entries a directory has */
size_t usage_entries(const char *path);

/** usage_mappings() - how many mappings the process has */
size_t usage_mappings(void);

/** usage_number() - the number behind @key in a file of lines "key number" */
uint64_t usage_number(const char *path, const char *key);

#endif
