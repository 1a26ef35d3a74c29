/* SPDX-License-Identifier: MIT */
/*
 * DOC: the oracle: DMA
 *
 * What is written through a pin is written to that page, wherever it is mapped by then:
 * mremap() takes the pin along. So for each place that such a call may bring the page to,
 * begun before the DMA or during it, the write is a maybe there, which takes the time of
 * the DMA. A page that is taken away from all addresses is nobody's, and the write is
 * seen nowhere: at its own place it is a maybe, too, if pages were taken there meanwhile.
 */
#include <stdlib.h>

#include "model_internal.h"

static bool has_place(const struct dma *dma, const struct page *page)
{
	for (uint32_t i = 0; i < dma->count; i++) {
		if (dma->place[i] == page)
			return true;
	}
	return false;
}

static void add_place(struct model *model, struct dma *dma, struct page *page)
{
	struct write *write;

	if (has_place(dma, page))
		return;
	if (dma->count == DMA_PLACES)
		abort(); /* one DMA is short; a plan has not that many calls meanwhile */
	dma->place[dma->count++] = page;
	page->used = true;
	write = model_push(model, &page->word[dma->word], dma->value, model->now, MODEL_OPEN,
			   WRITE_MAYBE);
	write->number = dma->number;
}

static bool is_target_of(const struct page *page, const struct page *from)
{
	for (uint32_t i = 0; i < page->alias_count; i++) {
		if (page->alias[i] == from)
			return true;
	}
	return false;
}

/* From place @first on: where calls under way bring what is there. */
static void follow_aliases(struct model *model, struct dma *dma, uint32_t first)
{
	for (uint32_t i = first; i < dma->count; i++) {
		for (size_t j = 0; j < span_pages(model->span); j++) {
			if (is_target_of(&model->pages[j], dma->place[i]))
				add_place(model, dma, &model->pages[j]);
		}
	}
}

void model_dma_follow(struct model *model, const struct page *from, struct page *to)
{
	for (uint32_t i = 0; i < DMA_MAX; i++) {
		struct dma *dma = &model->dma[i];
		uint32_t first = dma->count;

		if (!dma->number || !has_place(dma, from))
			continue;
		add_place(model, dma, to);
		follow_aliases(model, dma, first);
	}
}

void model_dma_begin(struct model *model, struct model_access *access, uint64_t addr,
		     uint64_t value)
{
	struct dma *dma = model->dma;

	while (dma->number) {
		if (++dma == model->dma + DMA_MAX)
			abort(); /* more threads than the workload has */
	}
	model_store_begin(model, access, addr, value, false);
	*dma = (struct dma){
		.number = access->number,
		.value = value,
		.word = model_word(addr),
		.count = 1,
		.place = { model_page(model, addr) },
	};
	follow_aliases(model, dma, 0);
}

/* All places but the first, whose write ends as that of a store. */
static void leave_places(struct model *model, const struct model_access *access,
			 bool has_failed)
{
	struct dma *dma = model->dma;

	while (dma->number != access->number)
		dma++;
	for (uint32_t i = 1; i < dma->count; i++) {
		struct list_of *list = &dma->place[i]->word[dma->word];
		struct write *write = model_find(list, dma->number);

		if (has_failed)
			model_take_out(model, list, write);
		else
			write->end = model->now;
	}
	dma->number = 0;
}

const char *model_dma_end(struct model *model, struct model_access *access)
{
	const struct page *page = model_page(model, access->addr);

	model_now(model);
	leave_places(model, access, false);
	if (!page->changing && page->change_end < access->start)
		return model_store_end(model, access);
	model_unknown_end(model, access);
	return NULL;
}

const char *model_dma_fail_end(struct model *model, struct model_access *access)
{
	leave_places(model, access, true);
	return model_fail_end(model, access);
}
