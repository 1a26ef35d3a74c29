/* SPDX-License-Identifier: MIT */
/*
 * example.h - what the examples share, so that each shows its own idea alone:
 * opening the GPU, reading a file, and saying how it went.
 *
 * An example ends with 0 where its result is the CPU's and its pages were on the
 * device; with 1 where not; with 77 where memory cannot go to the device here.
 */
#ifndef EXAMPLES_EXAMPLE_H
#define EXAMPLES_EXAMPLE_H

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <usvm/usvm.h>

struct example {
	struct usvm *gpu;
	struct usvm_vm *vm;
	struct usvm_queue *queue;
	struct usvm_device_info info;
};

/* Ends the program with a message where @err is not 0. */
static inline void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %s\n", what, usvm_strerror(err));
	exit(1);
}

/* Zeroed memory of malloc's. */
static inline void *example_alloc(size_t bytes)
{
	void *memory = calloc(1, bytes);

	must(memory ? 0 : -ENOMEM, "memory");
	return memory;
}

/* 31 random bits, the same in each run. */
static inline uint32_t example_random(void)
{
	static uint64_t state = 1;

	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33);
}

static inline void example_open(struct example *example)
{
	must(usvm_open(NULL, &example->gpu), "open");
	must(usvm_vm_create(example->gpu, NULL, &example->vm), "vm");
	must(usvm_queue_create(example->vm, NULL, &example->queue), "queue");
	must(usvm_device_info(example->gpu, &example->info), "info");
	if (!example->info.migrates) {
		printf("SKIP: %s\n", example->info.why_not);
		exit(77);
	}
}

static inline void example_run(struct example *example, usvm_kernel_fn function,
			       uint64_t groups, const void *args, size_t args_bytes)
{
	must(usvm_run_kernel(example->queue, &(struct usvm_kernel){
		.function = function,
		.groups = { (uint32_t)groups },
		.args = args,
		.args_bytes = (uint32_t)args_bytes,
	}), "kernel");
}

/* How many pages of this memory the device holds now. Asking moves nothing. */
static inline uint64_t example_device_pages(struct example *example, const void *memory,
					    size_t bytes)
{
	uint64_t pages[4];

	must(usvm_query_span(example->vm, memory, bytes, pages), "query");
	return pages[USVM_PAGE_DEVICE];
}

static inline void example_close(struct example *example)
{
	must(usvm_queue_destroy(example->queue), "queue");
	must(usvm_vm_destroy(example->vm), "vm");
	must(usvm_close(example->gpu), "close");
}

/* The whole of a file, NULL: of gcc's compiler, in malloc'd memory. */
static inline unsigned char *example_read_file(const char *path, size_t *bytes)
{
	unsigned char *memory = NULL;
	glob_t found = { 0 };
	FILE *file = NULL;
	long size = 0;

	if (!path && glob("/usr/lib/gcc/*/*/cc1", 0, NULL, &found) == 0)
		path = found.gl_pathv[0];
	if (!path)
		path = "/proc/self/exe";
	file = fopen(path, "re");
	if (file && fseek(file, 0, SEEK_END) == 0)
		size = ftell(file);
	if (size > 0) {
		rewind(file);
		memory = malloc((size_t)size);
	}
	if (!memory || fread(memory, 1, (size_t)size, file) != (size_t)size) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(1);
	}
	printf("%s: %ld bytes\n", path, size);
	fclose(file);
	globfree(&found);
	*bytes = (size_t)size;
	return memory;
}

#endif
