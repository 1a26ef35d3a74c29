/* SPDX-License-Identifier: MIT */
/*
 * vram/buddy.c - device memory handed out in power-of-two blocks.
 *
 * DOC: Mechanism
 *
 * Order k has blocks of 4 KiB << k, numbered by address. For each order there
 * are two sets of block numbers, free and allocated. At any time each page of
 * device memory lies in exactly one block of one of these sets:
 *
 *     order 2   [   -   |   A   ]
 *     order 1   [ - | F |   |   ]        A: allocated   F: free
 *     order 0   [F|A|   |   |   ]        -: was split
 *
 * An allocation takes the lowest free block of the smallest order that has one
 * and frees the upper halves that it does not need; a free merges with the
 * neighbour block ^ 1 as long as that is free.
 *
 * The set of free blocks is a bitmap with summaries: a bit of level n + 1 says
 * that a word of level n is not zero. The lowest member is found in one step a
 * level, six levels for 256 TiB. Allocated blocks are never searched, a flat
 * bitmap does; it is there to catch a free that matches no allocation.
 *
 * A size that is no power of two needs no special case: blocks that would
 * reach beyond the end have numbers that are out of range, hence are never free.
 */
#include "vram/buddy.h"

#include <errno.h>
#include <stdbool.h>

#include "base/assert.h"
#include "base/host.h"

#define WORD_BITS 64u
#define LEVEL_COUNT_MAX 9 /* 64 to the 9th: more pages than 64 bits of bytes have */
#define ORDER_COUNT_MAX (64 - PAGE_SHIFT)

struct order {
	uint64_t block_count;
	uint64_t *allocated;
	uint64_t *free[LEVEL_COUNT_MAX]; /* free[0]: blocks; the rest are summaries */
	uint32_t level_count;            /* the last level is one word */
};

struct vram_buddy {
	uint64_t size_bytes;
	uint64_t free_bytes;
	uint64_t orders_free; /* bit k: order k has a free block */
	size_t metadata_bytes;
	uint32_t order_count;
	struct order orders[ORDER_COUNT_MAX];
	uint64_t words[]; /* all bitmaps */
};

static uint64_t words_for(uint64_t bits)
{
	return (bits + WORD_BITS - 1) / WORD_BITS;
}

static uint64_t block_bytes(uint32_t order)
{
	return (uint64_t)PAGE_BYTES << order;
}

static bool is_power_of_two(uint64_t x)
{
	return x && !(x & (x - 1));
}

static uint32_t log2_floor(uint64_t x)
{
	return 63 - (uint32_t)__builtin_clzll(x);
}

static bool bit_test(const uint64_t *words, uint64_t bit)
{
	return words[bit / WORD_BITS] >> (bit % WORD_BITS) & 1;
}

static void free_set_insert(struct vram_buddy *buddy, uint32_t order, uint64_t block)
{
	struct order *o = &buddy->orders[order];
	uint64_t bit = block;

	ASSERT(block < o->block_count);
	ASSERT(!bit_test(o->free[0], block));
	for (uint32_t level = 0; level < o->level_count; level++) {
		o->free[level][bit / WORD_BITS] |= 1ull << (bit % WORD_BITS);
		bit /= WORD_BITS;
	}
	buddy->orders_free |= 1ull << order;
	buddy->free_bytes += block_bytes(order);
}

static void free_set_remove(struct vram_buddy *buddy, uint32_t order, uint64_t block)
{
	struct order *o = &buddy->orders[order];
	uint64_t bit = block;

	ASSERT(bit_test(o->free[0], block));
	buddy->free_bytes -= block_bytes(order);
	for (uint32_t level = 0; level < o->level_count; level++) {
		uint64_t *word = &o->free[level][bit / WORD_BITS];

		*word &= ~(1ull << (bit % WORD_BITS));
		if (*word)
			return;
		bit /= WORD_BITS;
	}
	buddy->orders_free &= ~(1ull << order);
}

static uint64_t free_set_lowest(const struct order *o)
{
	uint64_t block = 0;

	for (uint32_t level = o->level_count; level-- > 0;) {
		ASSERT(o->free[level][block]);
		block = block * WORD_BITS +
			(uint64_t)__builtin_ctzll(o->free[level][block]);
	}
	return block;
}

static bool free_set_has(const struct order *o, uint64_t block)
{
	return block < o->block_count && bit_test(o->free[0], block);
}

/* Lay out one order's bitmaps from word @at on; with @words NULL only count. */
static uint64_t order_lay_out(struct order *o, uint64_t block_count, uint64_t *words,
			      uint64_t at)
{
	uint64_t bits = block_count;
	uint32_t level = 0;

	o->block_count = block_count;
	o->allocated = words ? words + at : NULL;
	at += words_for(block_count);
	do {
		ASSERT(level < LEVEL_COUNT_MAX);
		o->free[level++] = words ? words + at : NULL;
		bits = words_for(bits);
		at += bits;
	} while (bits > 1);
	o->level_count = level;
	return at;
}

int vram_buddy_create(uint64_t size_bytes, struct vram_buddy **out)
{
	uint64_t page_count = size_bytes >> PAGE_SHIFT;
	uint64_t word_count = 0;
	struct vram_buddy *buddy;
	struct order scratch;
	uint32_t order_count;
	size_t bytes;

	if (!page_count || !IS_ALIGNED(size_bytes, PAGE_BYTES))
		return -EINVAL;

	order_count = log2_floor(page_count) + 1;
	for (uint32_t k = 0; k < order_count; k++)
		word_count = order_lay_out(&scratch, page_count >> k, NULL, word_count);

	bytes = ALIGN_UP(sizeof(*buddy) + word_count * sizeof(uint64_t), PAGE_BYTES);
	buddy = base_host->pages_alloc(bytes);
	if (!buddy)
		return -ENOMEM;

	buddy->size_bytes = size_bytes;
	buddy->metadata_bytes = bytes;
	buddy->order_count = order_count;
	word_count = 0;
	for (uint32_t k = 0; k < order_count; k++)
		word_count = order_lay_out(&buddy->orders[k], page_count >> k,
					   buddy->words, word_count);

	/* One block for each bit of the size: largest first, from the bottom up. */
	for (uint32_t k = 0; k < order_count; k++)
		if (page_count >> k & 1)
			free_set_insert(buddy, k, (page_count >> k) - 1);
	ASSERT(buddy->free_bytes == size_bytes);

	*out = buddy;
	return 0;
}

void vram_buddy_destroy(struct vram_buddy *buddy)
{
	if (!buddy)
		return;
	ASSERT(buddy->free_bytes == buddy->size_bytes);
	base_host->pages_free(buddy, buddy->metadata_bytes);
}

int vram_buddy_alloc(struct vram_buddy *buddy, uint64_t bytes, uint64_t *offset)
{
	uint64_t candidates;
	uint64_t block;
	uint32_t wanted;
	uint32_t order;

	if (bytes < PAGE_BYTES || !is_power_of_two(bytes))
		return -EINVAL;

	wanted = log2_floor(bytes) - PAGE_SHIFT;
	candidates = buddy->orders_free >> wanted << wanted;
	if (!candidates)
		return -ENOSPC;

	order = (uint32_t)__builtin_ctzll(candidates);
	block = free_set_lowest(&buddy->orders[order]);
	free_set_remove(buddy, order, block);
	while (order > wanted) {
		order--;
		block *= 2;
		free_set_insert(buddy, order, block + 1);
	}
	ASSERT(!bit_test(buddy->orders[order].allocated, block));
	buddy->orders[order].allocated[block / WORD_BITS] |= 1ull << (block % WORD_BITS);

	*offset = block * bytes;
	return 0;
}

void vram_buddy_free(struct vram_buddy *buddy, uint64_t offset, uint64_t bytes)
{
	uint64_t block;
	uint32_t order;

	ASSERT(bytes >= PAGE_BYTES);
	ASSERT(is_power_of_two(bytes));
	ASSERT(IS_ALIGNED(offset, bytes));
	order = log2_floor(bytes) - PAGE_SHIFT;
	block = offset / bytes;
	ASSERT(order < buddy->order_count);
	ASSERT(block < buddy->orders[order].block_count);
	ASSERT(bit_test(buddy->orders[order].allocated, block));

	buddy->orders[order].allocated[block / WORD_BITS] &=
		~(1ull << (block % WORD_BITS));
	/* The top order has one block: its neighbour is out of range. */
	while (free_set_has(&buddy->orders[order], block ^ 1)) {
		free_set_remove(buddy, order, block ^ 1);
		block /= 2;
		order++;
	}
	free_set_insert(buddy, order, block);
}

uint64_t vram_buddy_free_bytes(const struct vram_buddy *buddy)
{
	return buddy->free_bytes;
}

uint64_t vram_buddy_largest_free(const struct vram_buddy *buddy)
{
	return buddy->orders_free ? block_bytes(log2_floor(buddy->orders_free)) : 0;
}

/* Assert that @o's summaries tell the truth. Return: how many blocks are in its sets. */
static uint64_t order_check(const struct order *o)
{
	uint64_t bits = o->block_count;
	uint64_t count = 0;

	for (uint64_t i = 0; i < words_for(bits); i++)
		count += (uint64_t)__builtin_popcountll(o->free[0][i]) +
			 (uint64_t)__builtin_popcountll(o->allocated[i]);
	for (uint32_t level = 0; level + 1 < o->level_count; level++) {
		bits = words_for(bits);
		for (uint64_t i = 0; i < bits; i++)
			ASSERT(bit_test(o->free[level + 1], i) ==
			       (o->free[level][i] != 0));
	}
	return count;
}

/* The one block, free or allocated, that starts at @page. */
static uint32_t block_at(const struct vram_buddy *buddy, uint64_t page, bool *is_free)
{
	uint32_t order = 0;
	uint32_t found = 0;

	for (uint32_t k = 0; k < buddy->order_count; k++) {
		const struct order *o = &buddy->orders[k];
		uint64_t block = page >> k;

		if (block << k != page || block >= o->block_count)
			break;
		if (!bit_test(o->free[0], block) && !bit_test(o->allocated, block))
			continue;
		*is_free = bit_test(o->free[0], block);
		ASSERT(*is_free != bit_test(o->allocated, block));
		order = k;
		found++;
	}
	ASSERT(found == 1);
	return order;
}

void vram_buddy_check(const struct vram_buddy *buddy)
{
	uint64_t page_count = buddy->size_bytes >> PAGE_SHIFT;
	uint64_t free_bytes = 0;
	uint64_t in_sets = 0;
	uint64_t walked = 0;

	for (uint32_t k = 0; k < buddy->order_count; k++) {
		const struct order *o = &buddy->orders[k];

		in_sets += order_check(o);
		ASSERT((buddy->orders_free >> k & 1) ==
		       (o->free[o->level_count - 1][0] != 0));
	}

	for (uint64_t page = 0; page < page_count; walked++) {
		bool is_free = false;
		uint32_t k = block_at(buddy, page, &is_free);

		if (is_free) {
			free_bytes += block_bytes(k);
			/* Else the two would have merged. */
			ASSERT(!free_set_has(&buddy->orders[k], page >> k ^ 1));
		}
		page += 1ull << k;
		ASSERT(page <= page_count);
	}
	ASSERT(walked == in_sets);
	ASSERT(free_bytes == buddy->free_bytes);
}
