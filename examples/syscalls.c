/* SPDX-License-Identifier: MIT */
/*
 * syscalls - pages that are on the device go to write(2), and read(2) fills others.
 *
 * A system call is the CPU: the kernel faults on the buffer, the page comes home, the
 * call goes on. So a program hands its pointers to the kernel as ever, wherever the
 * pages are. Here they go through a file, in one piece, and through a pipe, page by
 * page; before each call the example asks where the pages are.
 */
#include <unistd.h>

#include "example.h"

#define BYTES (1u << 20)
#define PAGE_BYTES 4096u

struct fill_args {
	uint64_t buffer;
	uint64_t seed;
};

static uint64_t word_at(uint64_t seed, uint64_t i)
{
	return (seed + i) * 0x9E3779B97F4A7C15u;
}

/* One group a page: the GPU writes it, so it goes to the device. */
static void fill(struct usvm_lane *lane, const void *args)
{
	const struct fill_args *a = args;
	uint64_t page = usvm_group_id(lane, 0), words = PAGE_BYTES / 8;

	for (uint64_t i = page * words; i < (page + 1) * words; i++)
		usvm_store64(lane, a->buffer + 8 * i, word_at(a->seed, i));
}

/* Return: how many pages of the buffer are on the device now. */
static uint64_t fill_on_gpu(struct example *example, uint64_t *buffer, uint64_t seed)
{
	struct fill_args args = { (uintptr_t)buffer, seed };

	example_run(example, fill, BYTES / PAGE_BYTES, &args, sizeof(args));
	return example_device_pages(example, buffer, BYTES);
}

static uint64_t wrong_words(const uint64_t *buffer, uint64_t seed)
{
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < BYTES / 8; i++)
		wrong += buffer[i] != word_at(seed, i);
	return wrong;
}

int main(void)
{
	struct example example;
	uint64_t *out = example_alloc(BYTES), *in = example_alloc(BYTES);
	uint64_t out_pages, in_pages, wrong;
	FILE *file = tmpfile();
	int ends[2], failed = 0;

	if (!file || pipe(ends))
		return 1;
	example_open(&example);

	out_pages = fill_on_gpu(&example, out, 1);
	in_pages = fill_on_gpu(&example, in, 2); /* what read() has to overwrite */
	failed |= !out_pages || !in_pages;
	failed |= pwrite(fileno(file), out, BYTES, 0) != BYTES;
	failed |= pread(fileno(file), in, BYTES, 0) != BYTES;
	wrong = wrong_words(in, 1) + wrong_words(out, 1);
	printf("file: %" PRIu64 " and %" PRIu64 " pages on the GPU, wrong words: %" PRIu64 "\n",
	       out_pages, in_pages, wrong);
	failed |= wrong != 0;

	out_pages = fill_on_gpu(&example, out, 3);
	in_pages = fill_on_gpu(&example, in, 4);
	failed |= !out_pages || !in_pages;
	for (uint32_t i = 0; i < BYTES; i += PAGE_BYTES) {
		failed |= write(ends[1], (char *)out + i, PAGE_BYTES) != PAGE_BYTES;
		failed |= read(ends[0], (char *)in + i, PAGE_BYTES) != PAGE_BYTES;
	}
	wrong = wrong_words(in, 3) + wrong_words(out, 3);
	printf("pipe: %" PRIu64 " and %" PRIu64 " pages on the GPU, wrong words: %" PRIu64 "\n",
	       out_pages, in_pages, wrong);
	failed |= wrong != 0;

	example_close(&example);
	free(out);
	free(in);
	return failed;
}
