/* SPDX-License-Identifier: MIT */
/*
 * model_internal.h - what the two halves of the oracle share: accesses (model.c) and
 * changes of the address space (model_change.c).
 */
#ifndef TESTS_SIM_MODEL_INTERNAL_H
#define TESTS_SIM_MODEL_INTERNAL_H

#include "model.h"

#define ACTIVE_MAX 128
#define ALIAS_MAX 4 /* mremap() calls to one page, one of each thread */
#define ALIAS_DEPTH 3 /* mremap() of what another mremap() is bringing */

enum write_flag {
	WRITE_MAYBE = 1 << 0,
	WRITE_ADD = 1 << 1,      /* open, and of unknown value */
	WRITE_CONSUMED = 1 << 2, /* an addition found it */
};

struct write {
	uint64_t value;
	uint64_t start;
	uint64_t end;
	uint64_t number;
	uint32_t flags;
	struct write *next;
};

struct list_of {
	struct write *first;
	uint32_t count;
};

struct page {
	struct list_of state;
	struct list_of fork;
	struct list_of zero; /* of all words */
	struct list_of word[MODEL_WORDS];
	struct page *alias[ALIAS_MAX];
	uint64_t alias_since[ALIAS_MAX]; /* from then on the other's is seen here */
	uint32_t alias_count;
	uint32_t changing;     /* changes under way that take pages away */
	uint64_t changing_since; /* while there are some */
	uint64_t change_end;   /* when the last one ended */
	bool lax;              /* protections or guards changed behind the GPU's back */
	bool guarded;          /* guard pages came, perhaps over a page of the device */
	bool used;
};

/* A change, under way or over: two that overlap may each be done in part. */
struct change_time {
	struct span span;
	uint64_t start;
	uint64_t end;
	uint64_t number;
};

#define CHANGES_KEPT 64
#define DMA_MAX 4     /* at a time, one of each thread */
#define DMA_PLACES 32

/* A write that goes with its page, to wherever mremap() may have brought that. */
struct dma {
	uint64_t number; /* of its write; 0: none is under way */
	uint64_t value;
	uint32_t word;
	uint32_t count;
	struct page *place[DMA_PLACES]; /* the first is where it was pinned */
};

struct model {
	struct change_time changes[CHANGES_KEPT];
	uint32_t change_next;
	struct dma dma[DMA_MAX];
	struct span span;
	uint64_t now;
	uint64_t number;
	uint64_t active[ACTIVE_MAX]; /* starts; MODEL_OPEN: free */
	uint32_t active_count;
	struct write *free;
	struct write **chunks;
	size_t chunk_count;
	struct page *pages;
	char text[1024];
};

static inline struct page *model_page(const struct model *model, uint64_t addr)
{
	return &model->pages[(addr - model->span.start) / PAGE_BYTES];
}

static inline uint32_t model_word(uint64_t addr)
{
	return (uint32_t)(addr % PAGE_BYTES / 8);
}

/**
 * model_may_lose() - what mremap() takes from @page since @since may arrive as zeros
 *
 * Another call takes the page away at the same time. If it comes second and tells first,
 * a page of the device is dropped before mremap() tells where it is: docs/limits.md.
 */
static inline bool model_may_lose(const struct page *page, uint64_t since)
{
	return page->changing > 1 || page->change_end > since;
}

uint32_t model_activate(struct model *model, uint64_t start);
void model_deactivate(struct model *model, uint32_t slot);

struct write *model_push(struct model *model, struct list_of *list, uint64_t value,
			 uint64_t start, uint64_t end, uint32_t flags);
void model_take_out(struct model *model, struct list_of *list, struct write *write);
struct write *model_find(struct list_of *list, uint64_t number);
/** model_prune() - of a list that is a page's: states, zeros, fork flags */
void model_prune(struct model *model, struct list_of *list);
/** model_prune_word() - the same for a word's, which the page's zeros hide too */
void model_prune_word(struct model *model, struct page *page, uint32_t word);

/** model_collect_word() - what a read in [@start, @end] could give */
void model_collect_word(const struct page *page, uint32_t word, uint64_t start, uint64_t end,
			struct model_values *values);
/** model_collect_chain() - the same with what mremap() calls under way bring there */
void model_collect_chain(const struct page *page, uint32_t word, uint64_t start, uint64_t end,
			 struct model_values *values);
/** model_collect() - the same of a list by itself */
void model_collect(const struct list_of *list, uint64_t start, uint64_t end,
		   struct model_values *values);

/** model_dma_follow() - mremap() from @from to @to began: pinned pages may go there */
void model_dma_follow(struct model *model, const struct page *from, struct page *to);

#endif
