/* SPDX-License-Identifier: MIT */
/*
 * DOC: what does usvm cost a program that does something else?
 *
 * mmap(), munmap(), madvise() and malloc() while a device is open. Memory that no device
 * ever used is the kernel's alone: the rival is the same loop without usvm. Memory that
 * one used is registered, and each change waits until the monitor has read of it: the
 * rival is a thread that reads the same messages of a bare userfaultfd, and does nothing.
 *
 * Everything is on one processor. A sample is the time of one call or one step of a mix.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "rivals.h"

#define PIECE_BYTES (16 * BENCH_PAGE)
#define ALLOCATIONS 64

#define EVENTS (UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_REMAP)

/* --- the program ------------------------------------------------------------------------- */

static unsigned char *map_piece(void)
{
	unsigned char *at = mmap(NULL, PIECE_BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		bench_fail("mmap: %s", strerror(errno));
	return at;
}

static void touch_piece(unsigned char *at)
{
	for (size_t i = 0; i < PIECE_BYTES; i += BENCH_PAGE)
		*(volatile unsigned char *)(at + i) = 1;
}

/* mmap(), a touch of each page, munmap(): the calls each, and all of it. */
static void map_loop(size_t steps, struct bench_side *touches, struct bench_side *unmaps)
{
	for (size_t i = 0; i < steps; i++) {
		uint64_t start = bench_now_ns();
		unsigned char *at = map_piece();

		touch_piece(at);
		bench_sample(touches, bench_us_since(start));
		start = bench_now_ns();
		munmap(at, PIECE_BYTES);
		bench_sample(unmaps, bench_us_since(start));
	}
}

/* Small and large allocations that come and go, each touched. */
static void malloc_loop(size_t steps, struct bench_side *side)
{
	unsigned char *live[ALLOCATIONS] = { NULL };
	uint64_t state = 1;

	for (size_t i = 0; i < steps; i++) {
		uint64_t start = bench_now_ns();

		for (size_t j = 0; j < ALLOCATIONS; j++) {
			size_t slot, bytes;

			state = state * 6364136223846793005u + 1442695040888963407u;
			slot = (state >> 33) % ALLOCATIONS;
			bytes = (state >> 40) % 16 ? (state >> 44) % 1024 + 1 :
						     (state >> 44) % 262144 + 1;
			free(live[slot]);
			live[slot] = malloc(bytes);
			if (!live[slot])
				bench_fail("no memory");
			memset(live[slot], 1, bytes);
		}
		bench_sample(side, bench_us_since(start));
	}
	for (size_t i = 0; i < ALLOCATIONS; i++)
		free(live[i]);
}

/* --- registered memory ------------------------------------------------------------------ */

/* Pieces apart from each other, so that each is a mapping of its own. */
static unsigned char *map_pieces(size_t count)
{
	unsigned char *at = bench_map(2 * PIECE_BYTES * count, false);

	for (size_t i = 0; i < count; i++) {
		unsigned char *piece = at + 2 * i * PIECE_BYTES;

		touch_piece(piece);
		if (mprotect(piece + PIECE_BYTES, PIECE_BYTES, PROT_NONE))
			bench_fail("mprotect: %s", strerror(errno));
	}
	return at;
}

static void discard_and_unmap(unsigned char *at, size_t count, struct bench_side *discards,
			      struct bench_side *unmaps)
{
	for (size_t i = 0; i < count; i++) {
		unsigned char *piece = at + 2 * i * PIECE_BYTES;
		uint64_t start = bench_now_ns();

		if (madvise(piece, PIECE_BYTES / 2, MADV_DONTNEED))
			bench_fail("madvise: %s", strerror(errno));
		bench_sample(discards, bench_us_since(start));
		start = bench_now_ns();
		if (munmap(piece, PIECE_BYTES))
			bench_fail("munmap: %s", strerror(errno));
		bench_sample(unmaps, bench_us_since(start));
	}
	munmap(at, 2 * PIECE_BYTES * count);
}

static void no_fault(void *arg, uint64_t addr)
{
	(void)arg;
	bench_fail("a fault at %llx", (unsigned long long)addr);
}

static void bare_round(size_t count, struct bench_side *discards, struct bench_side *unmaps)
{
	unsigned char *at = map_pieces(count);
	struct bench_reader reader;

	bench_reader_start(&reader, EVENTS, 0, no_fault, NULL);
	for (size_t i = 0; i < count; i++)
		bench_uffd_register(reader.uffd, at + 2 * i * PIECE_BYTES, PIECE_BYTES);
	discard_and_unmap(at, count, discards, unmaps);
	bench_reader_stop(&reader);
}

/* All have been on the device, and are home again. */
static void mirrored_round(const struct bench_device *device, size_t count,
			   struct bench_side *discards, struct bench_side *unmaps)
{
	unsigned char *at = map_pieces(count);

	for (size_t i = 0; i < count; i++) {
		unsigned char *piece = at + 2 * i * PIECE_BYTES;

		bench_prefetch(device, piece, PIECE_BYTES);
		touch_piece(piece);
		bench_expect(device, piece, PIECE_BYTES, USVM_PAGE_HOME);
	}
	discard_and_unmap(at, count, discards, unmaps);
}

/* --- rows ------------------------------------------------------------------------------------ */

struct rows {
	struct bench_row *touch, *unmap, *mix;   /* nothing mirrored, and plain */
	struct bench_row *discard_mirrored, *unmap_mirrored; /* and a bare reader */
};

static struct bench_row *add_row(struct bench *bench, const char *name, const char *rival,
				 double limit, size_t samples)
{
	struct bench_row *row = bench_row(bench, BENCH_SAME_CORE, "us", "%s", name);

	bench_side(row, "usvm", samples);
	bench_side(row, rival, samples);
	bench_want(row, BENCH_RATIO, BENCH_MEDIAN, 1, limit);
	return row;
}

static void plain_round(struct rows *rows, size_t side, size_t steps)
{
	map_loop(steps, &rows->touch->sides[side], &rows->unmap->sides[side]);
	malloc_loop(steps, &rows->mix->sides[side]);
}

int main(int argc, char **argv)
{
	struct bench bench;
	struct bench_device device;
	struct rows rows;
	size_t steps, samples;

	bench_init(&bench, "program",
		   "What does usvm cost a program that does something else?", argc, argv);
	steps = bench.smoke ? 32 : 1000;
	samples = steps * bench.rounds;
	rows.touch = add_row(&bench, "mmap() and touch, nothing mirrored", "without usvm", 1.05,
			     samples);
	rows.unmap = add_row(&bench, "munmap(), nothing mirrored", "without usvm", 1.05,
			     samples);
	rows.mix = add_row(&bench, "malloc() and free(), nothing mirrored", "without usvm",
			   1.05, samples);
	rows.discard_mirrored = add_row(&bench, "madvise(DONTNEED), mirrored", "bare reader",
					1.2, samples);
	rows.unmap_mirrored = add_row(&bench, "munmap(), mirrored", "bare reader", 1.2,
				      samples);
	bench_pin(0, 0);
	for (unsigned int i = 0; i < bench.rounds; i++) {
		plain_round(&rows, 1, steps);
		bare_round(steps / 4, &rows.discard_mirrored->sides[1],
			   &rows.unmap_mirrored->sides[1]);
		bench_device_open(&device, "model:vram=256M,engines=1");
		bench_device_place(BENCH_SAME_CORE);
		plain_round(&rows, 0, steps);
		mirrored_round(&device, steps / 4, &rows.discard_mirrored->sides[0],
			       &rows.unmap_mirrored->sides[0]);
		bench_device_close(&device);
	}
	return bench_report(&bench);
}
