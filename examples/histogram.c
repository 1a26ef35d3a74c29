/* SPDX-License-Identifier: MIT */
/*
 * histogram FILE - how often is each byte in a file?
 *
 * The file is read with fread() into malloc'd memory. Each group of the grid counts
 * one block of it in its own registers, so to speak, and adds what it found to the
 * common result with atomics: groups run beside each other on several engines. The
 * result is malloc'd too. Where the GPU's copy went wrong the CPU would see it: it
 * counts the same memory again, which brings every page home.
 */
#include "example.h"

#define BLOCK_BYTES (128u << 10)

struct histogram_args {
	uint64_t input;
	uint64_t input_bytes;
	uint64_t counts;
};

static void histogram(struct usvm_lane *lane, const void *args)
{
	const struct histogram_args *a = args;
	uint64_t start = (uint64_t)usvm_group_id(lane, 0) * BLOCK_BYTES;
	uint64_t end = start + BLOCK_BYTES < a->input_bytes ? start + BLOCK_BYTES :
							      a->input_bytes;
	uint64_t counts[256] = { 0 };
	unsigned char part[4096];

	while (start < end) {
		size_t bytes = end - start < sizeof(part) ? end - start : sizeof(part);

		usvm_read(lane, part, a->input + start, bytes);
		for (size_t i = 0; i < bytes; i++)
			counts[part[i]]++;
		start += bytes;
	}
	for (uint64_t i = 0; i < 256; i++) {
		if (counts[i])
			usvm_atomic_add64(lane, a->counts + 8 * i, counts[i]);
	}
}

int main(int argc, char **argv)
{
	struct example example;
	size_t bytes;
	unsigned char *input = example_read_file(argc > 1 ? argv[1] : NULL, &bytes);
	uint64_t *counts = example_alloc(256 * sizeof(*counts));
	uint64_t expected[256] = { 0 };
	struct histogram_args args = { (uintptr_t)input, bytes, (uintptr_t)counts };
	uint64_t input_pages, wrong = 0;

	example_open(&example);
	example_run(&example, histogram, (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES, &args,
		    sizeof(args));
	input_pages = example_device_pages(&example, input, bytes);

	for (size_t i = 0; i < bytes; i++)
		expected[input[i]]++;
	for (size_t i = 0; i < 256; i++)
		wrong += counts[i] != expected[i];

	printf("pages on the GPU: %" PRIu64 ", byte 0: %" PRIu64 ", wrong counts: %" PRIu64 "\n",
	       input_pages, counts[0], wrong);
	example_close(&example);
	free(counts);
	free(input);
	return wrong || !input_pages;
}
