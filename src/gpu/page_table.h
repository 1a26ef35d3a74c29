/* SPDX-License-Identifier: MIT */
/*
 * gpu/page_table.h - the model GPU's page table: 4 levels of 512, 48 bits.
 *
 *     level 3   512 GiB a slot   table
 *     level 2     1 GiB          table
 *     level 1     2 MiB          table, or a 2 MiB leaf
 *     level 0     4 KiB          leaf; 16 of them that are aligned and contiguous
 *                                in both spaces carry the 64 KiB hint
 *
 * Writers hold the lock; engines walk without one. A table that was linked once
 * is freed by page_table_fini() only, so a walk never meets freed memory.
 */
#ifndef GPU_PAGE_TABLE_H
#define GPU_PAGE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/lock.h"
#include "base/pool.h"
#include "base/span.h"

#define PAGE_TABLE_ADDR_BITS 48
#define PAGE_TABLE_ADDR_END (1ull << PAGE_TABLE_ADDR_BITS)
#define PAGE_TABLE_64K_BYTES KIB(64)

struct pt_table;

/* Where tables come from; shared by the page tables of one GPU. */
struct page_table_pools {
	struct pool tables;
	struct pool directories;
	struct pool parts;
};

struct page_table {
	struct pt_table *root;
	struct pt_table *spare; /* under the lock: given back, for the next prepare; or NULL */
	struct page_table_pools *pools;
	struct lock *lock; /* gpu.pt_lock: every store to a word of a table */
};

/** struct pte - what a walk found; flags are enum usvm_pte_flag */
struct pte {
	uint64_t target;     /* of the byte that was asked for */
	uint64_t leaf_bytes; /* 0: nothing mapped; else 4K, 64K or 2M */
	uint32_t flags;
};

void page_table_pools_init(struct page_table_pools *pools);
void page_table_pools_fini(struct page_table_pools *pools);

/** page_table_init() - an empty page table. Context: may allocate.
 * Return: 0 or -ENOMEM. */
MUST_CHECK int page_table_init(struct page_table *pt, struct page_table_pools *pools,
			       struct lock *lock);

/** page_table_fini() - free every table. Context: no engine walks it, no lock needed. */
void page_table_fini(struct page_table *pt);

/**
 * page_table_prepare() - allocate all that the next maps of @span could need, and clears
 * @span: page-aligned, below PAGE_TABLE_ADDR_END
 *
 * Context: may allocate; takes the lock.
 * Return: 0; -ENOMEM: some tables were added, which does no harm.
 */
MUST_CHECK int page_table_prepare(struct page_table *pt, struct span span)
	MUST_NOT_HOLD(pt->lock);

/**
 * page_table_map() - write entries; what was there is replaced
 * @span: page-aligned; page_table_prepare() covered it, since a 2 MiB leaf was mapped there
 * @target: of span.start; contiguous
 * @flags: enum usvm_pte_flag
 *
 * Context: monitor; never allocates.
 */
void page_table_map(struct page_table *pt, struct span span, uint64_t target,
		    uint32_t flags) MUST_HOLD(pt->lock);

/** page_table_clear() - remove the entries of exactly @span. Context: monitor.
 * Return: true if an entry was there. */
bool page_table_clear(struct page_table *pt, struct span span) MUST_HOLD(pt->lock);

/** page_table_walk() - translate one byte. Context: any, without the lock. */
struct pte page_table_walk(const struct page_table *pt, uint64_t addr);

#endif
