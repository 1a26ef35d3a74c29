/* SPDX-License-Identifier: MIT */
/*
 * DOC: usvm demo
 *
 * The main job on real input. A file is read with plain fread() into malloc'd
 * memory; a kernel counts its bytes on the GPU, into malloc'd memory as well; the
 * CPU then reads both. Nothing is copied or announced by the program:
 *
 *     fread()          pages at home, the CPU filled them
 *     usvm_run_kernel  the GPU faults, pages go to the device
 *     usvm_query_span  where are they? (asking moves nothing)
 *     compare          the CPU faults, pages come home
 *
 * The truth to compare with comes from the file itself, read a second time, not
 * from the memory that is under test.
 */
#include <errno.h>
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <usvm/usvm.h>

#include "command.h"

#define BLOCK_BYTES (256u << 10) /* of the input, for each group of the grid */
#define PART_BYTES 4096u
#define PAGE_BYTES 4096u
#define TRACE_EVENTS 65536

struct demo {
	/* The command line. */
	const char *mode;
	const char *vram;
	const char *trace_path;
	const char *path;
	bool require_migration;

	struct usvm *gpu;
	struct usvm_vm *vm;
	struct usvm_queue *queue;
	struct usvm_device_info info;

	unsigned char *input;
	size_t input_bytes;
	uint64_t *counts; /* 256: the GPU's result */
	uint64_t wrong_bytes;
	uint64_t wrong_counts;
};

/* What the counters of the device said at one moment. */
struct snapshot {
	uint64_t gpu_faults;
	uint64_t cpu_faults;
	uint64_t to_device_pages;
	uint64_t to_ram_pages;
	uint64_t evictions;
	uint64_t time_ns;
	uint64_t pages[4]; /* of the input, by enum usvm_page_state */
};

struct histogram_args {
	uint64_t input;
	uint64_t input_bytes;
	uint64_t counts;
};

/* Runs on the GPU: one group counts one block, then adds what it found. */
static void histogram_kernel(struct usvm_lane *lane, const void *args)
{
	const struct histogram_args *a = args;
	uint64_t start = (uint64_t)usvm_group_id(lane, 0) * BLOCK_BYTES;
	uint64_t end = start + BLOCK_BYTES;
	unsigned char part[PART_BYTES];
	uint64_t counts[256] = { 0 };

	if (end > a->input_bytes)
		end = a->input_bytes;
	while (start < end) {
		uint32_t bytes =
			end - start < PART_BYTES ? (uint32_t)(end - start) : PART_BYTES;

		usvm_read(lane, part, a->input + start, bytes);
		for (uint32_t i = 0; i < bytes; i++)
			counts[part[i]]++;
		start += bytes;
	}
	for (uint32_t i = 0; i < 256; i++) {
		if (counts[i])
			usvm_atomic_add64(lane, a->counts + i * sizeof(counts[0]),
					  counts[i]);
	}
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double as_mib(uint64_t bytes)
{
	return (double)bytes / (double)(1u << 20);
}

static int file_failed(const char *path, const char *why)
{
	fprintf(stderr, "usvm demo: %s: %s\n", path, why);
	return EXIT_WRONG;
}

static int failed(const char *what, int err)
{
	fprintf(stderr, "usvm demo: %s: %s\n", what, usvm_strerror(err));
	return EXIT_WRONG;
}

/* Something large that is there wherever this was built; else this program. */
static char *default_path(void)
{
	glob_t found = { 0 };
	char *path = NULL;

	if (glob("/usr/lib/gcc/*/*/cc1", 0, NULL, &found) == 0)
		path = strdup(found.gl_pathv[found.gl_pathc - 1]);
	globfree(&found);
	return path ? path : strdup("/proc/self/exe");
}

/* The whole of a file, to its end: files of /proc do not tell their size. */
static int read_input(struct demo *demo)
{
	FILE *file = fopen(demo->path, "re");
	size_t room = 0, got;
	struct stat stat;
	int err = 0;

	if (!file)
		return -errno;
	if (fstat(fileno(file), &stat) || !S_ISREG(stat.st_mode)) {
		fclose(file);
		return -ESPIPE; /* it is read twice */
	}
	do {
		if (room - demo->input_bytes < BLOCK_BYTES) {
			unsigned char *more;

			room = room ? 2 * room : (size_t)4 * BLOCK_BYTES;
			more = realloc(demo->input, room);
			if (!more) {
				err = -ENOMEM;
				break;
			}
			demo->input = more;
		}
		got = fread(demo->input + demo->input_bytes, 1, room - demo->input_bytes,
			    file);
		demo->input_bytes += got;
	} while (got != 0);
	if (ferror(file) && !err)
		err = errno ? -errno : -EIO;
	fclose(file);
	return err;
}

/* Prints why, where it fails. */
static int open_gpu(struct demo *demo)
{
	bool is_told = demo->mode || demo->vram || demo->trace_path;
	char spec[128], why[256];
	int err;

	/* Without options the device is the one that USVM_DEVICE names. */
	if (is_told) {
		int used = snprintf(spec, sizeof(spec), "model:mode=%s,vram=%s",
				    demo->mode ? demo->mode : "move",
				    demo->vram ? demo->vram : "256M");

		if (demo->trace_path)
			snprintf(spec + used, sizeof(spec) - (size_t)used, ",trace=%d",
				 TRACE_EVENTS);
	}
	err = usvm_open(is_told ? spec : NULL, &demo->gpu);
	if (err) {
		open_error_text(is_told ? spec : NULL, err, why, sizeof(why));
		fprintf(stderr, "usvm demo: the GPU cannot be opened: %s\n", why);
		return err;
	}
	err = usvm_device_info(demo->gpu, &demo->info);
	if (!err)
		err = usvm_vm_create(demo->gpu, NULL, &demo->vm);
	if (!err)
		err = usvm_queue_create(demo->vm, NULL, &demo->queue);
	if (err)
		failed("the GPU cannot be used", err);
	return err;
}

static int close_gpu(struct demo *demo)
{
	int err = usvm_queue_destroy(demo->queue);

	if (!err)
		err = usvm_vm_destroy(demo->vm);
	return err ? err : usvm_close(demo->gpu);
}

static int look(const struct demo *demo, struct snapshot *shot)
{
	shot->time_ns = now_ns();
	shot->gpu_faults = usvm_stat(demo->gpu, "svm_pagefault_count");
	shot->cpu_faults = usvm_stat(demo->gpu, "mm_cpu_faults");
	/* With what was filled with zeros there, as it comes home as well. */
	shot->to_device_pages = usvm_stat(demo->gpu, "usvm_pages_to_device") +
				usvm_stat(demo->gpu, "usvm_pages_filled");
	shot->to_ram_pages = usvm_stat(demo->gpu, "mm_home_moved_pages") +
			     usvm_stat(demo->gpu, "mm_home_copied_pages");
	shot->evictions = usvm_stat(demo->gpu, "vram_evictions");
	return usvm_query_span(demo->vm, demo->input, demo->input_bytes, shot->pages);
}

static int run_histogram(const struct demo *demo)
{
	struct histogram_args args = {
		.input = (uintptr_t)demo->input,
		.input_bytes = demo->input_bytes,
		.counts = (uintptr_t)demo->counts,
	};

	struct usvm_kernel kernel = {
		.function = histogram_kernel,
		.groups = { (uint32_t)((demo->input_bytes + BLOCK_BYTES - 1) /
				       BLOCK_BYTES) },
		.args = &args,
		.args_bytes = sizeof(args),
	};

	return usvm_run_kernel(demo->queue, &kernel);
}

/* Reads the file once more, and the memory beside it. */
static int compare(struct demo *demo)
{
	static unsigned char truth[64 << 10];
	uint64_t counts[256] = { 0 };
	FILE *file = fopen(demo->path, "re");
	size_t offset = 0, got;

	if (!file)
		return -errno;
	while (offset < demo->input_bytes) {
		size_t want = demo->input_bytes - offset;

		got = fread(truth, 1, want < sizeof(truth) ? want : sizeof(truth), file);
		if (got == 0)
			break;
		for (size_t i = 0; i < got; i++) {
			counts[truth[i]]++;
			demo->wrong_bytes += truth[i] != demo->input[offset + i];
		}
		offset += got;
	}
	fclose(file);
	demo->wrong_bytes += demo->input_bytes - offset; /* the file shrank */
	for (size_t i = 0; i < 256; i++)
		demo->wrong_counts += counts[i] != demo->counts[i];
	return 0;
}

static void print_places(const char *label, const uint64_t pages[4])
{
	printf("    %-22s %8" PRIu64 " on the device, %" PRIu64 " at home", label,
	       pages[USVM_PAGE_DEVICE], pages[USVM_PAGE_HOME]);
	if (pages[USVM_PAGE_MOVING])
		printf(", %" PRIu64 " on their way", pages[USVM_PAGE_MOVING]);
	putchar('\n');
}

static void print_moves(const char *label, uint64_t pages)
{
	printf("    %-22s %8" PRIu64 "  (%.1f MiB)\n", label, pages,
	       as_mib(pages * PAGE_BYTES));
}

/* @why is what a count other than 0 comes from. */
static void print_count(const char *label, uint64_t count, const char *why)
{
	printf("    %-22s %8" PRIu64 "%s%s\n", label, count, count ? "  " : "",
	       count ? why : "");
}

static void print_start(const struct demo *demo, const struct snapshot *start)
{
	const struct usvm_device_info *info = &demo->info;
	const char *how = "moved there and back";

	if (!info->migrates)
		how = "used where they are";
	else if (info->copies)
		how = "copied there and back";
	printf("A byte histogram of %s, made on the GPU.\n\n", demo->path);
	printf("  Device: %s, %.0f MiB of device memory, %u engines; pages are %s.\n",
	       info->name, as_mib(info->vram_bytes), info->engine_count, how);
	printf("  The CPU read the file into malloc'd memory: %.1f MiB.\n",
	       as_mib(demo->input_bytes));
	print_places("where the pages are", start->pages);
}

static void print_gpu_part(const struct snapshot *start, const struct snapshot *ran)
{
	printf("\n  The GPU ran the kernel on the same pointers (%.1f ms).\n",
	       (double)(ran->time_ns - start->time_ns) / 1e6);
	print_count("GPU faults", ran->gpu_faults - start->gpu_faults,
		    "the GPU had no mapping yet");
	print_moves("pages to the device", ran->to_device_pages - start->to_device_pages);
	if (ran->evictions != start->evictions) {
		print_count("evictions", ran->evictions - start->evictions,
			    "device memory was full");
		print_moves("pages sent home", ran->to_ram_pages - start->to_ram_pages);
	}
	print_places("where the pages are", ran->pages);
}

static void print_cpu_part(const struct snapshot *ran, const struct snapshot *end)
{
	printf("\n  The CPU read every byte and the result (%.1f ms).\n",
	       (double)(end->time_ns - ran->time_ns) / 1e6);
	print_count("CPU faults", end->cpu_faults - ran->cpu_faults,
		    "the pages were on the device");
	print_moves("pages home", end->to_ram_pages - ran->to_ram_pages);
	print_places("where the pages are", end->pages);
}

/* The work, the device being open. Return: exit status. */
static int work(struct demo *demo)
{
	struct snapshot start, ran, end;
	bool was_there;
	int err;

	err = look(demo, &start);
	if (err)
		return failed("where are the pages?", err);
	print_start(demo, &start);

	err = run_histogram(demo);
	if (err)
		return failed("the kernel failed", err);
	err = look(demo, &ran);
	if (err)
		return failed("where are the pages?", err);

	err = compare(demo);
	if (err)
		return file_failed(demo->path, strerror(-err));
	err = look(demo, &end);
	if (err)
		return failed("where are the pages?", err);

	print_gpu_part(&start, &ran);
	print_cpu_part(&ran, &end);
	printf("\n  wrong bytes: %" PRIu64 ", wrong counts: %" PRIu64 "\n",
	       demo->wrong_bytes, demo->wrong_counts);

	was_there = ran.pages[USVM_PAGE_DEVICE] != 0;
	if (demo->info.migrates && !was_there && demo->input_bytes >= PAGE_BYTES) {
		fprintf(stderr, "usvm demo: no page was on the device\n");
		return EXIT_WRONG;
	}
	if (!demo->info.migrates) {
		printf("\n  Every page stayed at home: %s.\n"
		       "  What is missing, and what mends it:  usvm doctor\n",
		       demo->info.why_not);
		if (demo->require_migration)
			return EXIT_WRONG;
	}
	return demo->wrong_bytes || demo->wrong_counts ? EXIT_WRONG : 0;
}

/* Known before the work, not behind it. */
static int check_trace_path(const char *path)
{
	FILE *file = path ? fopen(path, "ae") : NULL;

	if (path && !file)
		return file_failed(path, strerror(errno));
	return file && fclose(file) ? file_failed(path, strerror(errno)) : 0;
}

static int demo_with_gpu(struct demo *demo)
{
	int status, err;

	if (check_trace_path(demo->trace_path) || open_gpu(demo))
		return EXIT_WRONG;
	status = work(demo);
	if (demo->trace_path) {
		uint64_t event_count = 0;

		if (trace_write_file(demo->gpu, demo->trace_path, &event_count))
			status = EXIT_WRONG;
		else
			printf("\n  Timeline: %s, %" PRIu64
			       " steps; open it in https://ui.perfetto.dev\n",
			       demo->trace_path, event_count);
	}
	err = close_gpu(demo);
	return err ? failed("close", err) : status;
}

static const struct option demo_options[] = {
	{ "mode", required_argument, NULL, 'm' },
	{ "vram", required_argument, NULL, 'v' },
	{ "trace", required_argument, NULL, 't' },
	{ "require-migration", no_argument, NULL, 'r' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* Return: 0: go on; else exit with @status. */
static int parse(struct demo *demo, int argc, char **argv, int *status)
{
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", demo_options, NULL)) != -1) {
		switch (option) {
		case 'm':
			demo->mode = optarg;
			break;
		case 'v':
			demo->vram = optarg;
			break;
		case 't':
			demo->trace_path = optarg;
			break;
		case 'r':
			demo->require_migration = true;
			break;
		case 'h':
			*status = command_help(&demo_command);
			return 1;
		case ':':
			*status = command_usage_error(
				&demo_command, "%s wants an argument", argv[optind - 1]);
			return 1;
		default:
			*status = command_bad_option(&demo_command, argv);
			return 1;
		}
	}
	if (optind < argc)
		demo->path = argv[optind++];
	if (optind < argc)
		*status = command_usage_error(&demo_command, "one file at a time");
	else if (demo->mode && strcmp(demo->mode, "move") && strcmp(demo->mode, "copy"))
		*status = command_usage_error(
			&demo_command, "--mode is move or copy, not '%s'", demo->mode);
	else
		*status = demo->vram ? command_check_vram(&demo_command, demo->vram) : 0;
	return *status != 0;
}

static int demo_run(int argc, char **argv)
{
	struct demo demo = { 0 };
	char *found = NULL;
	int status, err;

	if (parse(&demo, argc, argv, &status))
		return status;
	if (!demo.path)
		demo.path = found = default_path();

	demo.counts = calloc(256, sizeof(*demo.counts));
	if (!demo.counts || !demo.path) {
		status = failed("memory", -ENOMEM);
		goto free_memory;
	}
	err = read_input(&demo);
	if (err || demo.input_bytes == 0) {
		status = file_failed(demo.path, err == -ESPIPE ? "not a regular file" :
						err            ? strerror(-err) :
								 "empty");
		goto free_memory;
	}
	status = demo_with_gpu(&demo);

free_memory:
	free(demo.input);
	free(demo.counts);
	free(found);
	return command_flush(status);
}

const struct command demo_command = {
	.name = "demo",
	.summary =
		"Run a kernel over a file in malloc'd memory, and show where pages went",
	.usage =
		"Usage: usvm demo [OPTION]... [FILE]\n"
		"\n"
		"Reads FILE (default: gcc's cc1) into malloc'd memory, makes a histogram of its\n"
		"bytes on the GPU, and tells which pages moved, when and where to. Everything is\n"
		"compared with what the CPU reads from the file.\n"
		"\n"
		"Options:\n"
		"  --mode move|copy     How pages reach device memory (default: move)\n"
		"  --vram SIZE          Device memory, with K, M or G (default: 256M), a multiple\n"
		"                       of 2M; less than FILE shows eviction\n"
		"  --trace FILE         Write a timeline that Perfetto and Chrome open\n"
		"  --require-migration  Fail where pages cannot go to the device\n"
		"  --help               Print this text\n"
		"\n"
		"Without --mode, --vram and --trace, USVM_DEVICE names the device.\n"
		"Exit status: 0 all was right; 1 a result was wrong or nothing could run; 2 bad\n"
		"usage.\n",
	.run = demo_run,
};
