/* SPDX-License-Identifier: MIT */
/*
 * DOC: What a process has
 *
 * Resident memory is read from smaps_rollup: statm and status may lag behind.
 */
#include <dirent.h>
#include <sched.h>

#include "live/support/usage.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

size_t usage_entries(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	size_t count = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

size_t usage_mappings(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	size_t count = 0;
	int c;

	assert_non_null(file);
	while ((c = getc(file)) != EOF)
		count += c == '\n';
	fclose(file);
	return count;
}

uint64_t usage_number(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	size_t length = strlen(key);
	uint64_t number = 0;
	bool found = false;
	char line[256];

	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file)) {
		found = !strncmp(line, key, length);
		if (found)
			number = strtoull(line + length, NULL, 10);
	}
	fclose(file);
	assert_true(found);
	return number;
}

struct usage usage_now(size_t threads)
{
	while (usage_entries("/proc/self/task") > threads)
		sched_yield();
	return (struct usage){
		.files = usage_entries("/proc/self/fd"),
		.threads = usage_entries("/proc/self/task"),
		.mappings = usage_mappings(),
		.rss_kib = usage_number("/proc/self/smaps_rollup", "Rss:"),
	};
}

void assert_usage(struct usage before)
{
	struct usage now = usage_now(before.threads);

	print_message("files %zu, threads %zu, mappings %zu, %zu KiB; before: %zu, %zu, %zu, %zu\n",
		      now.files, now.threads, now.mappings, now.rss_kib, before.files,
		      before.threads, before.mappings, before.rss_kib);
	assert_int_equal(now.files, before.files);
	assert_int_equal(now.threads, before.threads);
	if (SANITIZED)
		return;
	assert_int_equal(now.mappings, before.mappings);
	assert_in_range(now.rss_kib, 0, before.rss_kib + USAGE_RSS_KIB);
}
