/* SPDX-License-Identifier: MIT */
/*
 * DOC: how much memory does the library need for the program's?
 *
 * Resident memory of the process before it is on the device, and when all of it is: the
 * frames are the program's own pages, moved, so that what is more is the library's:
 * entries, ranges, page tables of the GPU. What it needs for the first few pages, whose
 * number does not grow, is there before. (What the kernel needs for its own page tables
 * is told apart: VmPTE.) A sample is the part of what was mirrored, in percent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

/* A line "NAME:   N kB" of a file of /proc/self, in bytes. */
static double proc_bytes(const char *path, const char *name)
{
	FILE *file = fopen(path, "re");
	unsigned long kib = 0;
	char line[128];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		found = !strncmp(line, name, strlen(name));
		if (found)
			kib = strtoul(line + strlen(name), NULL, 10);
	}
	if (file)
		fclose(file);
	if (!found)
		bench_fail("%s has no %s", path, name);
	return 1024.0 * (double)kib;
}

static double resident_bytes(void)
{
	return proc_bytes("/proc/self/smaps_rollup", "Rss:");
}

static void measure(struct bench *bench, size_t bytes, bool huge)
{
	struct bench_row *row = bench_row(bench, BENCH_FREE, "%", "%zu MiB of %s pages mirrored",
					  bytes >> 20, huge ? "2 MiB" : "4 KiB");
	struct bench_row *kernel = bench_row(bench, BENCH_FREE, "%", "the same, the kernel's");
	struct bench_side *library = bench_side(row, "usvm", bench->rounds);
	struct bench_side *tables = bench_side(kernel, "page tables", bench->rounds);
	unsigned char *at = bench_map(bytes, huge), *first = bench_map(BENCH_HUGE, huge);
	struct bench_device device;

	bench_want(row, BENCH_VALUE, BENCH_MEDIAN, 0, huge ? 0.05 : 1);
	bench_fill(at, bytes);
	bench_fill(first, BENCH_HUGE);
	for (unsigned int i = 0; i < bench->rounds; i++) {
		double resident, page_tables;
		char spec[64];

		snprintf(spec, sizeof(spec), "model:engines=1,vram=%zuM", (bytes >> 20) + 4);
		bench_device_open(&device, spec);
		bench_expect_huge(at, bytes, huge);
		bench_prefetch(&device, first, BENCH_HUGE);
		resident = resident_bytes();
		page_tables = proc_bytes("/proc/self/status", "VmPTE:");
		bench_prefetch(&device, at, bytes);
		bench_sample(library,
			     100 * (resident_bytes() - resident) / (double)bytes);
		bench_sample(tables, 100 * (proc_bytes("/proc/self/status", "VmPTE:") -
					    page_tables) / (double)bytes);
		bench_device_close(&device);
		bench_check(at, bytes);
	}
	munmap(at, bytes);
	munmap(first, BENCH_HUGE);
}

int main(int argc, char **argv)
{
	struct bench bench;
	size_t bytes;

	bench_init(&bench, "memory", "How much memory does the library need for the program's?",
		   argc, argv);
	bytes = (size_t)(bench.smoke ? 64 : 1024) << 20;
	measure(&bench, bytes, true);
	measure(&bench, bytes, false);
	return bench_report(&bench);
}
