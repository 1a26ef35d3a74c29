/* SPDX-License-Identifier: MIT */
/*
 * DOC: the model GPU's page table
 *
 * A word of a table is 0, a leaf, or a pointer to the next table:
 *
 *     63     12     8       7      6     5      4      3        2       1      0
 *     | target | table | huge | 64K | null | host | atomic | write | vram | valid |
 *
 * and a pointer stands in bits 63..9, beside the table bit alone.
 *
 * Memory. page_table_prepare() allocates the leaf table of every 2 MiB slot that
 * its span touches, even where a 2 MiB leaf will do: 0.2% of what is mapped. In
 * return neither a map nor a clear ever allocates: a directory remembers the leaf
 * table of each slot beside the slot's word, and a 2 MiB leaf is split by filling
 * that table and linking it. Rejected: the table of a 2 MiB leaf allocated at the
 * split, as hardware drivers do. The split comes from the monitor, which may not
 * allocate, so the whole leaf would have to go and be faulted in again.
 *
 *     directory.word[i]   0 | 2 MiB leaf | TABLE -> directory.leaf[i]
 *     directory.leaf[i]   NULL until prepared, then constant
 *     word[i] is TABLE  =>  leaf[i] is the table it points to
 *
 * Readers. An engine loads each word once with acquire order and a table's words
 * are stored before the word that links it, with release order. A table belongs
 * to one span of addresses for ever, so a reader that still walks an unlinked
 * table reads an entry that was true for its address a moment ago: what a TLB
 * would have told it. Who needs more (VRAM that goes away) stops the engines;
 * every walk is inside a section, see mmu.c.
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

/* Level 1. */
struct pt_directory {
	struct pt_table table; /* first: a table pointer names both */
	struct pt_table *leaf[PT_WORDS];
};

/* Tables allocated and not linked yet, chained by their first word. */
struct pt_stock {
	struct pt_table *tables;
	struct pt_table *directories;
};

struct pt_need {
	size_t tables;
	size_t directories;
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
}

void page_table_pools_fini(struct page_table_pools *pools)
{
	pool_fini(&pools->tables);
	pool_fini(&pools->directories);
}

int page_table_init(struct page_table *pt, struct page_table_pools *pools,
		    struct lock *lock)
{
	struct pt_table *root = pool_alloc(&pools->tables);

	if (!root)
		return -ENOMEM;
	pt->root = root;
	pt->pools = pools;
	pt->lock = lock;
	return 0;
}

static void free_directory(struct page_table_pools *pools, struct pt_table *table)
{
	struct pt_directory *directory = pt_directory(table);

	for (unsigned int i = 0; i < PT_WORDS; i++)
		pool_put(&pools->tables, directory->leaf[i]);
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

static void stock_return(struct page_table_pools *pools, struct pt_stock *stock)
{
	while (stock->tables)
		pool_put(&pools->tables, stock_pop(&stock->tables));
	while (stock->directories)
		pool_put(&pools->directories,
			 pt_directory(stock_pop(&stock->directories)));
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
	return 0;
}

/* What is missing for @span, which lies in one directory. Tables are only ever added,
 * so that what is needed later is not more. */
static struct pt_need count_missing(const struct page_table *pt, struct span span)
	MUST_HOLD(pt->lock)
{
	size_t leaves =
		(ALIGN_UP(span.end, HUGE_BYTES) - ALIGN_DOWN(span.start, HUGE_BYTES)) >>
		HUGE_SHIFT;
	struct pt_table *upper = pt_step(pt->root, span.start, 3);
	struct pt_table *table = upper ? pt_step(upper, span.start, 2) : NULL;
	struct pt_need need = { .tables = 0, .directories = 0 };

	lock_assert_held(pt->lock);
	if (!table) {
		need.tables = leaves + !upper;
		need.directories = 1;
		return need;
	}
	for (unsigned int i = 0; i < leaves; i++)
		need.tables += !pt_directory(table)->leaf[pt_index(span.start, 1) + i];
	return need;
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
		struct pt_table **leaf = &directory->leaf[pt_index(addr, 1)];

		if (!*leaf)
			*leaf = stock_pop(&stock->tables);
	}
}

static int prepare_directory(struct page_table *pt, struct span span)
	MUST_NOT_HOLD(pt->lock)
{
	struct pt_stock stock = { .tables = NULL, .directories = NULL };
	struct pt_need need;
	int err;

	lock_acquire(pt->lock);
	need = count_missing(pt, span);
	lock_release(pt->lock);
	if (!need.tables && !need.directories)
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

/* Link the leaf table of a slot, with the contents that the slot has now. */
static struct pt_table *link_leaf(struct pt_directory *directory, unsigned int slot)
{
	uint64_t word = ATOMIC_LOAD_RELAXED(&directory->table.word[slot]);
	struct pt_table *leaf = directory->leaf[slot];

	ASSERT(leaf);
	if (word & PT_TABLE)
		return leaf;
	/* An unlinked table has the entries of old: every word is written. */
	for (unsigned int i = 0; i < PT_WORDS; i++) {
		uint64_t page = 0;

		if (word)
			page = ((word & ~(uint64_t)PT_HUGE) | PT_64K) + i * PAGE_BYTES;
		ATOMIC_STORE_RELAXED(&leaf->word[i], page);
	}
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
		if (span_bytes(part) == HUGE_BYTES && IS_ALIGNED(target, HUGE_BYTES))
			ATOMIC_STORE_RELEASE(&directory->table.word[slot],
					     target | bits | PT_HUGE);
		else
			map_pages(link_leaf(directory, slot), part, target, bits);
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
	if (span_bytes(part) == HUGE_BYTES)
		ATOMIC_STORE_RELAXED(&directory->table.word[slot], 0);
	else
		clear_pages(link_leaf(directory, slot), part);
	return true;
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
	uint64_t word;

	if (unlikely(addr >= PAGE_TABLE_ADDR_END))
		return none;
	for (unsigned int level = 3; level >= 2; level--) {
		table = pt_step(table, addr, level);
		if (!table)
			return none;
	}
	word = ATOMIC_LOAD_ACQUIRE(&table->word[pt_index(addr, 1)]);
	if (word & PT_HUGE)
		return pte_of(word, addr, HUGE_BYTES, HUGE_BYTES);
	table = pt_linked(word);
	if (!table)
		return none;
	word = ATOMIC_LOAD_ACQUIRE(&table->word[pt_index(addr, 0)]);
	if (!(word & PT_VALID))
		return none;
	return pte_of(word, addr, PAGE_BYTES,
		      word & PT_64K ? PAGE_TABLE_64K_BYTES : PAGE_BYTES);
}
