/* SPDX-License-Identifier: MIT */
/*
 * DOC: the model GPU's page table
 *
 * A word of a table is 0, a leaf, or a pointer to the next table:
 *
 *     63     12    9      8       7      6     5      4      3        2       1      0
 *     | target | part | table | huge | 64K | null | host | atomic | write | vram | valid |
 *
 * and a pointer stands in bits 63..9, beside the table bit alone.
 *
 * Memory. page_table_prepare() sees to it that neither a map nor a clear ever allocates. A
 * clear of some pages of a 2 MiB leaf comes from the monitor. All that it takes is to know
 * which pages are left, a bit for each: these 64 bytes are there for every slot that was
 * prepared. A leaf table is needed for a map of less than a slot: prepare allocates it, and
 * a map of a whole slot gives it back, so that memory in huge pages has no tables. One that
 * was linked stays with its slot, for an engine may still walk it.
 *
 *     directory.word[i]   0 | 2 MiB leaf | its part -> directory.part[i] | TABLE -> .leaf[i]
 *     directory.part[i]   NULL until prepared, then constant
 *     directory.leaf[i]   NULL, or a table: constant once it was linked
 *
 * Rejected: a table for each slot, filled and linked to split a 2 MiB leaf: 0.2% of what is
 * mapped. And one allocated at the split, as hardware drivers do: the monitor cannot.
 *
 * Readers. An engine loads each word once with acquire order and a table's words
 * are stored before the word that links it, with release order. A table belongs
 * to one span of addresses for ever, so a reader that still walks an unlinked
 * table reads an entry that was true for its address a moment ago: what a TLB
 * would have told it. So does one that reads the bits of a part behind its word: they may
 * be of a later leaf, but a leaf of VRAM changes only while engines stand still. Who needs
 * more (VRAM that goes away) stops the engines; every walk is inside a section, see mmu.c.
 *
 * The 64 KiB hint stands in all 16 words of a group or in none of them:
 * whatever changes a part of a group takes it off the others first.
 */
#include <errno.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "gpu/page_table.h"
#include "usvm/device.h"

#define PT_BITS 9
#define PT_WORDS (1u << PT_BITS)
#define PT_GROUP_PAGES ((unsigned int)(PAGE_TABLE_64K_BYTES / PAGE_BYTES))
#define PT_DIRECTORY_BYTES GIB(1)

enum pt_bit {
	PT_VALID = 1 << 0,
	PT_VRAM = 1 << 1,
	PT_WRITE = 1 << 2,
	PT_ATOMIC = 1 << 3,
	PT_HOST = 1 << 4,
	PT_NULL = 1 << 5,
	PT_64K = 1 << 6,
	PT_HUGE = 1 << 7,
	PT_TABLE = 1 << 8,
	PT_PART = 1 << 9, /* beside PT_HUGE */
};

#define PT_FLAGS_SHIFT 1 /* enum usvm_pte_flag -> enum pt_bit */
#define PT_FLAGS (PT_VRAM | PT_WRITE | PT_ATOMIC | PT_HOST | PT_NULL)
#define PT_LINK_SHIFT 9
#define PT_ADDR_MASK (~(uint64_t)(PAGE_BYTES - 1))

_Static_assert(USVM_PTE_VRAM << PT_FLAGS_SHIFT == PT_VRAM, "flag bits");
_Static_assert(USVM_PTE_WRITE << PT_FLAGS_SHIFT == PT_WRITE, "flag bits");
_Static_assert(USVM_PTE_ATOMIC << PT_FLAGS_SHIFT == PT_ATOMIC, "flag bits");
_Static_assert(USVM_PTE_HOST << PT_FLAGS_SHIFT == PT_HOST, "flag bits");
_Static_assert(USVM_PTE_NULL << PT_FLAGS_SHIFT == PT_NULL, "flag bits");

struct pt_table {
	uint64_t word[PT_WORDS]; /* atomic */
};

/* Which pages of a 2 MiB leaf are there. */
struct pt_part {
	uint64_t bits[PT_WORDS / 64]; /* atomic */
};

/* Level 1. */
struct pt_directory {
	struct pt_table table; /* first: a table pointer names both */
	struct pt_table *leaf[PT_WORDS];
	struct pt_part *part[PT_WORDS];
	uint64_t linked[PT_WORDS / 64]; /* a bit for each leaf table that ever was */
};

/* Allocated and not linked yet, chained by their first word. */
struct pt_stock {
	struct pt_table *tables;
	struct pt_table *directories;
	struct pt_part *parts;
};

struct pt_need {
	size_t tables;
	size_t directories;
	size_t parts;
};

static unsigned int pt_index(uint64_t addr, unsigned int level)
{
	return (addr >> (PAGE_SHIFT + PT_BITS * level)) & (PT_WORDS - 1);
}

static uint64_t pt_slot_bytes(unsigned int level)
{
	return PAGE_BYTES << (PT_BITS * level);
}

/* User addresses leave the shift room. */
static uint64_t pt_link_word(const struct pt_table *table)
{
	return ((uint64_t)(uintptr_t)table << PT_LINK_SHIFT) | PT_TABLE;
}

static struct pt_table *pt_linked(uint64_t word)
{
	return word & PT_TABLE ? (struct pt_table *)(uintptr_t)(word >> PT_LINK_SHIFT) : NULL;
}

static bool bit_get(const uint64_t *bits, unsigned int i)
{
	return ATOMIC_LOAD_ACQUIRE(&bits[i / 64]) >> (i % 64) & 1;
}

static struct pt_directory *pt_directory(struct pt_table *table)
{
	return CONTAINER_OF(table, struct pt_directory, table);
}

static struct pt_table *pt_step(const struct pt_table *table, uint64_t addr,
				unsigned int level)
{
	return pt_linked(ATOMIC_LOAD_ACQUIRE(&table->word[pt_index(addr, level)]));
}

/* --- allocation -------------------------------------------------------------- */

void page_table_pools_init(struct page_table_pools *pools)
{
	pool_init(&pools->tables, sizeof(struct pt_table), "gpu page tables");
	pool_init(&pools->directories, sizeof(struct pt_directory),
		  "gpu page directories");
	pool_init(&pools->parts, sizeof(struct pt_part), "gpu page parts");
}

void page_table_pools_fini(struct page_table_pools *pools)
{
	pool_fini(&pools->tables);
	pool_fini(&pools->directories);
	pool_fini(&pools->parts);
}

int page_table_init(struct page_table *pt, struct page_table_pools *pools,
		    struct lock *lock)
{
	struct pt_table *root = pool_alloc(&pools->tables);

	if (!root)
		return -ENOMEM;
	pt->root = root;
	pt->spare = NULL;
	pt->pools = pools;
	pt->lock = lock;
	return 0;
}

static void free_directory(struct page_table_pools *pools, struct pt_table *table)
{
	struct pt_directory *directory = pt_directory(table);

	for (unsigned int i = 0; i < PT_WORDS; i++) {
		pool_put(&pools->tables, directory->leaf[i]);
		pool_put(&pools->parts, directory->part[i]);
	}
	pool_put(&pools->directories, directory);
}

void page_table_fini(struct page_table *pt)
{
	struct page_table_pools *pools = pt->pools;

	for (unsigned int i = 0; i < PT_WORDS; i++) {
		struct pt_table *upper = pt_linked(pt->root->word[i]);

		if (!upper)
			continue;
		for (unsigned int j = 0; j < PT_WORDS; j++) {
			struct pt_table *table = pt_linked(upper->word[j]);

			if (table)
				free_directory(pools, table);
		}
		pool_put(&pools->tables, upper);
	}
	pool_put(&pools->tables, pt->root);
	pool_put(&pools->tables, pt->spare);
	pt->root = NULL;
}

static void stock_push(struct pt_table **head, struct pt_table *table)
{
	table->word[0] = (uintptr_t)*head;
	*head = table;
}

static struct pt_table *stock_pop(struct pt_table **head)
{
	struct pt_table *table = *head;

	ASSERT(table);
	*head = (struct pt_table *)(uintptr_t)table->word[0];
	table->word[0] = 0;
	return table;
}

static void stock_push_part(struct pt_stock *stock, struct pt_part *part)
{
	part->bits[0] = (uintptr_t)stock->parts;
	stock->parts = part;
}

static struct pt_part *stock_pop_part(struct pt_stock *stock)
{
	struct pt_part *part = stock->parts;

	ASSERT(part);
	stock->parts = (struct pt_part *)(uintptr_t)part->bits[0];
	part->bits[0] = 0;
	return part;
}

static void stock_return(struct page_table_pools *pools, struct pt_stock *stock)
{
	while (stock->tables)
		pool_put(&pools->tables, stock_pop(&stock->tables));
	while (stock->directories)
		pool_put(&pools->directories,
			 pt_directory(stock_pop(&stock->directories)));
	while (stock->parts)
		pool_put(&pools->parts, stock_pop_part(stock));
}

static int stock_fill(struct page_table_pools *pools, struct pt_stock *stock,
		      const struct pt_need *need)
{
	for (size_t i = 0; i < need->tables; i++) {
		struct pt_table *table = pool_alloc(&pools->tables);

		if (!table)
			return -ENOMEM;
		stock_push(&stock->tables, table);
	}
	for (size_t i = 0; i < need->directories; i++) {
		struct pt_directory *directory = pool_alloc(&pools->directories);

		if (!directory)
			return -ENOMEM;
		stock_push(&stock->directories, &directory->table);
	}
	for (size_t i = 0; i < need->parts; i++) {
		struct pt_part *part = pool_alloc(&pools->parts);

		if (!part)
			return -ENOMEM;
		stock_push_part(stock, part);
	}
	return 0;
}

/* What is missing for @span, which lies in one directory. */
static struct pt_need count_missing(const struct page_table *pt, struct span span)
	MUST_HOLD(pt->lock)
{
	size_t leaves =
		(ALIGN_UP(span.end, HUGE_BYTES) - ALIGN_DOWN(span.start, HUGE_BYTES)) >>
		HUGE_SHIFT;
	struct pt_table *upper = pt_step(pt->root, span.start, 3);
	struct pt_table *table = upper ? pt_step(upper, span.start, 2) : NULL;
	struct pt_need need = { .tables = 0 };

	lock_assert_held(pt->lock);
	if (!table) {
		need.tables = leaves + !upper;
		need.directories = 1;
		need.parts = leaves;
		return need;
	}
	for (unsigned int i = 0; i < leaves; i++) {
		unsigned int slot = pt_index(span.start, 1) + i;

		need.tables += !pt_directory(table)->leaf[slot];
		need.parts += !pt_directory(table)->part[slot];
	}
	return need;
}

/* The table that the last map gave back is the next one's. */
static void use_spare(struct page_table *pt, struct pt_stock *stock, struct pt_need *need)
	MUST_HOLD(pt->lock)
{
	lock_assert_held(pt->lock);
	if (!need->tables || !pt->spare)
		return;
	stock_push(&stock->tables, pt->spare);
	pt->spare = NULL;
	need->tables--;
}

static struct pt_table *step_or_link(struct pt_table *table, uint64_t addr,
				     unsigned int level, struct pt_table **stock)
{
	struct pt_table *next = pt_step(table, addr, level);

	if (next)
		return next;
	next = stock_pop(stock);
	ATOMIC_STORE_RELEASE(&table->word[pt_index(addr, level)], pt_link_word(next));
	return next;
}

static void add_missing(struct page_table *pt, struct span span, struct pt_stock *stock)
	MUST_HOLD(pt->lock)
{
	struct pt_table *upper = step_or_link(pt->root, span.start, 3, &stock->tables);
	struct pt_table *table = step_or_link(upper, span.start, 2, &stock->directories);
	struct pt_directory *directory = pt_directory(table);

	lock_assert_held(pt->lock);
	for (uint64_t addr = ALIGN_DOWN(span.start, HUGE_BYTES); addr < span.end;
	     addr += HUGE_BYTES) {
		unsigned int slot = pt_index(addr, 1);

		if (!directory->leaf[slot])
			directory->leaf[slot] = stock_pop(&stock->tables);
		if (!directory->part[slot])
			directory->part[slot] = stock_pop_part(stock);
	}
}

static int prepare_directory(struct page_table *pt, struct span span)
	MUST_NOT_HOLD(pt->lock)
{
	struct pt_stock stock = { .tables = NULL };
	struct pt_need need;
	int err;

	lock_acquire(pt->lock);
	need = count_missing(pt, span);
	use_spare(pt, &stock, &need);
	if (!need.tables && !need.directories && !need.parts)
		add_missing(pt, span, &stock);
	lock_release(pt->lock);
	if (!need.tables && !need.directories && !need.parts)
		return 0;

	err = stock_fill(pt->pools, &stock, &need);
	if (!err) {
		lock_acquire(pt->lock);
		add_missing(pt, span, &stock);
		lock_release(pt->lock);
	}
	stock_return(pt->pools, &stock);
	return err;
}

int page_table_prepare(struct page_table *pt, struct span span)
{
	ASSERT(IS_ALIGNED(span.start, PAGE_BYTES) && IS_ALIGNED(span.end, PAGE_BYTES));
	ASSERT(span.end <= PAGE_TABLE_ADDR_END);
	for (uint64_t addr = span.start; addr < span.end;) {
		struct span part =
			span_intersect(span, span_block(addr, PT_DIRECTORY_BYTES));
		int err = prepare_directory(pt, part);

		if (err)
			return err;
		addr = part.end;
	}
	return 0;
}

/* --- leaf tables -------------------------------------------------------------- */

/* Is the aligned group of 64 KiB around page @page there, all of it? */
static bool part_has_group(const struct pt_part *part, unsigned int page)
{
	uint64_t group = ATOMIC_LOAD_ACQUIRE(&part->bits[page / 64]) >>
			 (page % 64 & ~(PT_GROUP_PAGES - 1));

	return (~group & ((1u << PT_GROUP_PAGES) - 1)) == 0;
}

/* The word of page @page of a slot whose own is @word: no table. */
static uint64_t page_word(const struct pt_directory *directory, unsigned int slot,
			  uint64_t word, unsigned int page)
{
	const struct pt_part *part = word & PT_PART ? directory->part[slot] : NULL;

	if (!word || (part && !bit_get(part->bits, page)))
		return 0;
	word &= ~(uint64_t)(PT_HUGE | PT_PART);
	if (!part || part_has_group(part, page))
		word |= PT_64K;
	return word + page * PAGE_BYTES;
}

/* Link the leaf table of a slot, with the contents that the slot has now. */
static struct pt_table *link_leaf(struct pt_directory *directory, unsigned int slot)
{
	uint64_t word = ATOMIC_LOAD_RELAXED(&directory->table.word[slot]);
	struct pt_table *leaf = directory->leaf[slot];

	ASSERT(leaf);
	if (word & PT_TABLE)
		return leaf;
	/* An unlinked table has the entries of old: every word is written. */
	for (unsigned int i = 0; i < PT_WORDS; i++)
		ATOMIC_STORE_RELAXED(&leaf->word[i], page_word(directory, slot, word, i));
	directory->linked[slot / 64] |= 1ull << (slot % 64);
	ATOMIC_STORE_RELEASE(&directory->table.word[slot], pt_link_word(leaf));
	return leaf;
}

/* Take the 64 KiB hint off the group of page @page. */
static void drop_hint(struct pt_table *leaf, unsigned int page)
{
	unsigned int first = page & ~(PT_GROUP_PAGES - 1);

	for (unsigned int i = first; i < first + PT_GROUP_PAGES; i++) {
		uint64_t word = ATOMIC_LOAD_RELAXED(&leaf->word[i]);

		if (!(word & PT_64K))
			return;
		ATOMIC_STORE_RELAXED(&leaf->word[i], word & ~(uint64_t)PT_64K);
	}
}

/* Before pages [first, end) of @leaf change: the groups that change in part. */
static void drop_edge_hints(struct pt_table *leaf, unsigned int first, unsigned int end)
{
	if (first % PT_GROUP_PAGES)
		drop_hint(leaf, first);
	if (end % PT_GROUP_PAGES)
		drop_hint(leaf, end);
}

static void map_pages(struct pt_table *leaf, struct span span, uint64_t target,
		      uint64_t bits)
{
	unsigned int first = pt_index(span.start, 0);
	unsigned int end = first + (unsigned int)span_pages(span);
	bool aligned = IS_ALIGNED(target - span.start, PAGE_TABLE_64K_BYTES);

	drop_edge_hints(leaf, first, end);
	for (unsigned int i = first; i < end; i++, target += PAGE_BYTES) {
		unsigned int group = i & ~(PT_GROUP_PAGES - 1);
		uint64_t hint = 0;

		if (aligned && group >= first && group + PT_GROUP_PAGES <= end)
			hint = PT_64K;
		/* Release: who sees the entry sees what is behind it. */
		ATOMIC_STORE_RELEASE(&leaf->word[i], target | bits | hint);
	}
}

static bool clear_pages(struct pt_table *leaf, struct span span)
{
	unsigned int first = pt_index(span.start, 0);
	unsigned int end = first + (unsigned int)span_pages(span);
	uint64_t any = 0;

	drop_edge_hints(leaf, first, end);
	for (unsigned int i = first; i < end; i++) {
		any |= ATOMIC_LOAD_RELAXED(&leaf->word[i]);
		ATOMIC_STORE_RELAXED(&leaf->word[i], 0);
	}
	return any != 0;
}

/* Clear pages [first, end) of a 2 MiB leaf. Return: true if one of them was there. */
static bool clear_part(struct pt_directory *directory, unsigned int slot, unsigned int first,
		       unsigned int end)
{
	uint64_t word = ATOMIC_LOAD_RELAXED(&directory->table.word[slot]);
	struct pt_part *part = directory->part[slot];
	uint64_t any = 0, left = 0;

	ASSERT(part);
	for (unsigned int i = 0; i < ARRAY_SIZE(part->bits); i++) {
		uint64_t bits = word & PT_PART ? ATOMIC_LOAD_RELAXED(&part->bits[i]) :
						 UINT64_MAX;
		unsigned int from = MIN(MAX(first, 64 * i), 64 * i + 64) - 64 * i;
		unsigned int to = MIN(MAX(end, 64 * i), 64 * i + 64) - 64 * i;
		uint64_t mask = 0;

		if (from < to)
			mask = UINT64_MAX >> (64 - (to - from)) << from;
		any |= bits & mask;
		left |= bits & ~mask;
		ATOMIC_STORE_RELAXED(&part->bits[i], bits & ~mask);
	}
	/* Behind the bits. */
	ATOMIC_STORE_RELEASE(&directory->table.word[slot], left ? word | PT_PART : 0);
	return any != 0;
}

/* A whole slot was mapped: its table, if no engine has ever seen it, is not needed. */
static void give_back_leaf(struct page_table *pt, struct pt_directory *directory,
			   unsigned int slot) MUST_HOLD(pt->lock)
{
	struct pt_table *leaf = directory->leaf[slot];

	lock_assert_held(pt->lock);
	if (!leaf || bit_get(directory->linked, slot))
		return;
	directory->leaf[slot] = NULL;
	if (pt->spare)
		pool_put(&pt->pools->tables, leaf);
	else
		pt->spare = leaf;
}

/* --- map, clear, walk ---------------------------------------------------------- */

/* The directory of @addr, or NULL and in *@absent_bytes the size of the slot (aligned
 * to itself) that has none. */
static struct pt_directory *find_directory(const struct page_table *pt, uint64_t addr,
					   uint64_t *absent_bytes)
{
	struct pt_table *upper = pt_step(pt->root, addr, 3);
	struct pt_table *table;

	if (!upper) {
		*absent_bytes = pt_slot_bytes(3);
		return NULL;
	}
	table = pt_step(upper, addr, 2);
	if (!table) {
		*absent_bytes = pt_slot_bytes(2);
		return NULL;
	}
	return pt_directory(table);
}

void page_table_map(struct page_table *pt, struct span span, uint64_t target,
		    uint32_t flags)
{
	uint64_t bits = PT_VALID | (uint64_t)flags << PT_FLAGS_SHIFT;

	lock_assert_held(pt->lock);
	ASSERT(IS_ALIGNED(span.start | span.end | target, PAGE_BYTES));
	ASSERT(span.end <= PAGE_TABLE_ADDR_END);
	ASSERT((bits & ~(uint64_t)(PT_VALID | PT_FLAGS)) == 0);
	if (bits & PT_ATOMIC)
		bits |= PT_WRITE;

	for (uint64_t addr = span.start; addr < span.end;) {
		struct span part = span_intersect(span, span_block(addr, HUGE_BYTES));
		uint64_t absent_bytes;
		struct pt_directory *directory = find_directory(pt, addr, &absent_bytes);
		unsigned int slot = pt_index(addr, 1);

		ASSERT(directory); /* page_table_prepare() was here */
		if (span_bytes(part) == HUGE_BYTES && IS_ALIGNED(target, HUGE_BYTES)) {
			ATOMIC_STORE_RELEASE(&directory->table.word[slot],
					     target | bits | PT_HUGE);
			give_back_leaf(pt, directory, slot);
		} else {
			map_pages(link_leaf(directory, slot), part, target, bits);
		}
		target += span_bytes(part);
		addr = part.end;
	}
}

static bool clear_slot(struct pt_directory *directory, struct span part)
{
	unsigned int slot = pt_index(part.start, 1);
	uint64_t word = ATOMIC_LOAD_RELAXED(&directory->table.word[slot]);

	if (!word)
		return false;
	if (word & PT_TABLE)
		return clear_pages(directory->leaf[slot], part);
	return clear_part(directory, slot, pt_index(part.start, 0),
			  pt_index(part.start, 0) + (unsigned int)span_pages(part));
}

bool page_table_clear(struct page_table *pt, struct span span)
{
	bool any = false;

	lock_assert_held(pt->lock);
	ASSERT(IS_ALIGNED(span.start | span.end, PAGE_BYTES));
	if (span.end > PAGE_TABLE_ADDR_END)
		span.end = PAGE_TABLE_ADDR_END;

	for (uint64_t addr = span.start; addr < span.end;) {
		struct span part = span_intersect(span, span_block(addr, HUGE_BYTES));
		uint64_t absent_bytes;
		struct pt_directory *directory = find_directory(pt, addr, &absent_bytes);

		if (!directory) {
			addr = span_block(addr, absent_bytes).end;
			continue;
		}
		any |= clear_slot(directory, part);
		addr = part.end;
	}
	return any;
}

static struct pte pte_of(uint64_t word, uint64_t addr, uint64_t slot_bytes,
			 uint64_t leaf_bytes)
{
	return (struct pte){
		.target = (word & PT_ADDR_MASK) + (addr & (slot_bytes - 1)),
		.leaf_bytes = leaf_bytes,
		.flags = (word & PT_FLAGS) >> PT_FLAGS_SHIFT,
	};
}

struct pte page_table_walk(const struct page_table *pt, uint64_t addr)
{
	const struct pte none = { .target = 0, .leaf_bytes = 0, .flags = 0 };
	const struct pt_table *table = pt->root;
	unsigned int slot = pt_index(addr, 1);
	uint64_t word;

	if (unlikely(addr >= PAGE_TABLE_ADDR_END))
		return none;
	for (unsigned int level = 3; level >= 2; level--) {
		table = pt_step(table, addr, level);
		if (!table)
			return none;
	}
	word = ATOMIC_LOAD_ACQUIRE(&table->word[slot]);
	if ((word & (PT_HUGE | PT_PART)) == PT_HUGE)
		return pte_of(word, addr, HUGE_BYTES, HUGE_BYTES);
	if (word & PT_HUGE) {
		word = page_word(CONTAINER_OF(table, const struct pt_directory, table), slot,
				 word, pt_index(addr, 0));
	} else {
		table = pt_linked(word);
		if (!table)
			return none;
		word = ATOMIC_LOAD_ACQUIRE(&table->word[pt_index(addr, 0)]);
	}
	if (!(word & PT_VALID))
		return none;
	return pte_of(word, addr, PAGE_BYTES,
		      word & PT_64K ? PAGE_TABLE_64K_BYTES : PAGE_BYTES);
}
