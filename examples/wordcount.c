/* SPDX-License-Identifier: MIT */
/*
 * wordcount FILE - lines and words of a file, as wc(1) counts them.
 *
 * Each group counts one block. A word belongs to the group that sees its first byte:
 * a byte of a word whose neighbour to the left is white, or is not there. So a group
 * looks at one byte before its block, which may be in a page that another engine
 * works on: they share it, on the device.
 */
#include <stdbool.h>

#include "example.h"

#define BLOCK_BYTES (64u << 10)

struct totals {
	uint64_t lines;
	uint64_t words;
};

struct wordcount_args {
	uint64_t text;
	uint64_t text_bytes;
	uint64_t totals; /* struct totals, malloc'd */
};

static bool is_white(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void count(struct totals *totals, const unsigned char *text, size_t bytes, bool *in_word)
{
	for (size_t i = 0; i < bytes; i++) {
		bool white = is_white(text[i]);

		totals->words += !white && !*in_word;
		totals->lines += text[i] == '\n';
		*in_word = !white;
	}
}

static void wordcount(struct usvm_lane *lane, const void *args)
{
	const struct wordcount_args *a = args;
	uint64_t start = (uint64_t)usvm_group_id(lane, 0) * BLOCK_BYTES;
	uint64_t end = start + BLOCK_BYTES < a->text_bytes ? start + BLOCK_BYTES : a->text_bytes;
	bool in_word = start != 0 && !is_white(usvm_load8(lane, a->text + start - 1));
	struct totals totals = { 0, 0 };
	unsigned char part[4096];

	while (start < end) {
		size_t bytes = end - start < sizeof(part) ? end - start : sizeof(part);

		usvm_read(lane, part, a->text + start, bytes);
		count(&totals, part, bytes, &in_word);
		start += bytes;
	}
	usvm_atomic_add64(lane, a->totals + offsetof(struct totals, lines), totals.lines);
	usvm_atomic_add64(lane, a->totals + offsetof(struct totals, words), totals.words);
}

int main(int argc, char **argv)
{
	struct example example;
	size_t bytes;
	unsigned char *text = example_read_file(argc > 1 ? argv[1] : NULL, &bytes);
	struct totals *totals = example_alloc(sizeof(*totals)), expected = { 0, 0 };
	struct wordcount_args args = { (uintptr_t)text, bytes, (uintptr_t)totals };
	uint64_t text_pages;
	bool in_word = false, right;

	example_open(&example);
	example_run(&example, wordcount, (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES, &args,
		    sizeof(args));
	text_pages = example_device_pages(&example, text, bytes);

	count(&expected, text, bytes, &in_word);
	right = totals->lines == expected.lines && totals->words == expected.words;
	printf("pages on the GPU: %" PRIu64 ", lines: %" PRIu64 ", words: %" PRIu64 ", %s\n",
	       text_pages, totals->lines, totals->words, right ? "right" : "wrong");
	example_close(&example);
	free(totals);
	free(text);
	return !right || !text_pages;
}
