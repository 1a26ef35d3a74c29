/* SPDX-License-Identifier: MIT */
/*
 * DOC: the oracle
 *
 * See model.h for the rule. Writes are kept in lists, newest first: one of states and
 * one of zeros for each page, one for each word. A write that no read can see any
 * more, not even one that is under way, is taken out when its list grows.
 *
 * A *maybe* is a write that need not have happened: it can be seen, and hides nothing.
 * An addition that has not come back writes a value that is not known: as long as it is
 * open, sums of what could be there and of open additions are values, too.
 *
 * mremap() while it runs: words of the new place may show the old place's, so its page
 * has the other as its alias until the call returns. Then the values are copied, as
 * writes that took the time of the call.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "model_internal.h"

#define PRUNE_ABOVE 3
#define SUMS_MAX 4

#define CHUNK 4096

struct model *model_create(struct span span)
{
	struct model *model = calloc(1, sizeof(*model));

	if (!model)
		return NULL;
	model->span = span;
	model->pages = calloc(span_pages(span), sizeof(*model->pages));
	if (!model->pages) {
		free(model);
		return NULL;
	}
	memset(model->active, 0xff, sizeof(model->active));
	return model;
}

void model_destroy(struct model *model)
{
	if (!model)
		return;
	for (size_t i = 0; i < model->chunk_count; i++)
		free(model->chunks[i]);
	free(model->chunks);
	free(model->pages);
	free(model);
}

uint64_t model_now(struct model *model)
{
	return ++model->now;
}

bool model_holds(const struct model *model, uint64_t addr)
{
	return span_contains(model->span, addr) &&
	       addr % PAGE_BYTES / 8 < MODEL_WORDS && addr % 8 == 0;
}

/* --- what is under way ------------------------------------------------------- */

uint32_t model_activate(struct model *model, uint64_t start)
{
	for (uint32_t i = 0; i < ACTIVE_MAX; i++) {
		if (model->active[i] == MODEL_OPEN) {
			model->active[i] = start;
			model->active_count = MAX(model->active_count, i + 1);
			return i;
		}
	}
	abort(); /* more threads than the workload has */
}

void model_deactivate(struct model *model, uint32_t slot)
{
	model->active[slot] = MODEL_OPEN;
}

static uint64_t oldest(const struct model *model)
{
	uint64_t least = model->now;

	for (uint32_t i = 0; i < model->active_count; i++)
		least = MIN(least, model->active[i]);
	return least;
}

/* --- lists of writes ----------------------------------------------------------- */

static struct write *write_alloc(struct model *model)
{
	struct write *write = model->free;

	if (!write) {
		struct write *chunk = calloc(CHUNK, sizeof(*chunk));
		struct write **chunks = realloc(model->chunks, (model->chunk_count + 1) *
								       sizeof(*chunks));

		if (!chunk || !chunks)
			abort();
		model->chunks = chunks;
		chunks[model->chunk_count++] = chunk;
		for (size_t i = 0; i < CHUNK; i++) {
			chunk[i].next = model->free;
			model->free = &chunk[i];
		}
		write = model->free;
	}
	model->free = write->next;
	return write;
}

/* The latest begin among writes of @list that ended before @before: it hides all that
 * ended before that begin. */
static uint64_t hidden_before(const struct list_of *list, uint64_t before)
{
	uint64_t latest = 0;

	for (const struct write *w = list->first; w; w = w->next) {
		if (w->end < before && !(w->flags & WRITE_MAYBE))
			latest = MAX(latest, w->start);
	}
	return latest;
}

static void prune(struct model *model, struct list_of *list, uint64_t hidden)
{
	struct write **at = &list->first;

	while (*at) {
		struct write *w = *at;

		if (w->end >= hidden) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->next = model->free;
		model->free = w;
		list->count--;
	}
}

struct write *model_push(struct model *model, struct list_of *list, uint64_t value,
			  uint64_t start, uint64_t end, uint32_t flags)
{
	struct write *write = write_alloc(model);

	*write = (struct write){
		.value = value,
		.start = start,
		.end = end,
		.number = model->number,
		.flags = flags,
		.next = list->first,
	};
	list->first = write;
	list->count++;
	return write;
}

/* Of page-wide lists; a word's also looks at the page's zeros. */
void model_prune(struct model *model, struct list_of *list)
{
	if (list->count > PRUNE_ABOVE)
		prune(model, list, hidden_before(list, oldest(model)));
}

static uint64_t word_hidden(const struct page *page, uint32_t word, uint64_t before)
{
	return MAX(hidden_before(&page->zero, before),
		   hidden_before(&page->word[word], before));
}

void model_prune_word(struct model *model, struct page *page, uint32_t word)
{
	struct list_of *list = &page->word[word];

	if (list->count > PRUNE_ABOVE)
		prune(model, list, word_hidden(page, word, oldest(model)));
}

struct write *model_find(struct list_of *list, uint64_t number)
{
	for (struct write *w = list->first; w; w = w->next) {
		if (w->number == number)
			return w;
	}
	return NULL;
}

void model_take_out(struct model *model, struct list_of *list, struct write *write)
{
	struct write **at = &list->first;

	while (*at != write)
		at = &(*at)->next;
	*at = write->next;
	write->next = model->free;
	model->free = write;
	list->count--;
}

/* --- what can be read ------------------------------------------------------------- */

static void add_value(struct model_values *values, uint64_t value)
{
	for (size_t i = 0; i < values->count; i++) {
		if (values->value[i] == value)
			return;
	}
	if (values->count < MODEL_VALUES_MAX)
		values->value[values->count++] = value;
}

static void collect_list(const struct list_of *list, uint64_t hidden, uint64_t end,
			 struct model_values *values, uint64_t *sums, size_t *sum_count)
{
	for (const struct write *w = list->first; w; w = w->next) {
		if (w->start > end || w->end < hidden)
			continue;
		if (!(w->flags & WRITE_ADD))
			add_value(values, w->value);
		else if (*sum_count < SUMS_MAX)
			sums[(*sum_count)++] = w->value;
	}
}

void model_collect(const struct list_of *list, uint64_t start, uint64_t end,
		   struct model_values *values)
{
	uint64_t sums[SUMS_MAX];
	size_t sum_count = 0;

	collect_list(list, hidden_before(list, start), end, values, sums, &sum_count);
}

static bool ever_mapped(const struct page *page)
{
	return page->state.first != NULL;
}

void model_collect_word(const struct page *page, uint32_t word, uint64_t start,
			 uint64_t end, struct model_values *values)
{
	uint64_t hidden = word_hidden(page, word, start);
	uint64_t sums[SUMS_MAX];
	size_t sum_count = 0;
	size_t base;

	collect_list(&page->zero, hidden, end, values, sums, &sum_count);
	collect_list(&page->word[word], hidden, end, values, sums, &sum_count);
	for (size_t i = 0; i < sum_count; i++) {
		base = values->count;
		for (size_t j = 0; j < base; j++)
			add_value(values, values->value[j] + sums[i]);
	}
}

static uint32_t collect_state(const struct list_of *list, uint64_t start, uint64_t end,
			      uint32_t *all)
{
	uint64_t hidden = hidden_before(list, start);
	uint32_t any = 0;

	/* Before the first write there was nothing. */
	*all = hidden ? UINT32_MAX : 0;
	for (const struct write *w = list->first; w; w = w->next) {
		if (w->start > end || w->end < hidden)
			continue;
		any |= (uint32_t)w->value;
		*all &= (uint32_t)w->value;
	}
	return any;
}

/* Bits that the state of the page had at some time, and at all times. */
static uint32_t state_of_chain(const struct page *page, uint64_t start, uint64_t end,
			       uint32_t *all, int depth)
{
	uint32_t any = collect_state(&page->state, start, end, all);

	for (uint32_t i = 0; i < page->alias_count && depth < ALIAS_DEPTH; i++) {
		uint32_t other_all;

		any |= state_of_chain(page->alias[i], MIN(start, page->alias_since[i]), end,
				      &other_all, depth + 1);
		*all &= other_all;
	}
	return any;
}

static uint32_t state_between(const struct page *page, uint64_t start, uint64_t end,
			      uint32_t *all)
{
	return state_of_chain(page, start, end, all, 0);
}

static void collect_chain(const struct page *page, uint32_t word, uint64_t start,
			  uint64_t end, struct model_values *values, int depth)
{
	model_collect_word(page, word, start, end, values);
	for (uint32_t i = 0; i < page->alias_count && depth < ALIAS_DEPTH; i++) {
		collect_chain(page->alias[i], word, MIN(start, page->alias_since[i]), end,
			      values, depth + 1);
		if (model_may_lose(page->alias[i], page->alias_since[i]))
			add_value(values, 0);
	}
}

void model_collect_chain(const struct page *page, uint32_t word, uint64_t start, uint64_t end,
			 struct model_values *values)
{
	collect_chain(page, word, start, end, values, 0);
}

void model_values(struct model *model, uint64_t addr, uint64_t start, bool in_child,
		  struct model_values *values)
{
	const struct page *page = model_page(model, addr);
	uint64_t end = model_now(model);
	uint32_t all;
	uint32_t any = state_between(page, start, end, &all);
	uint32_t fork_all;
	uint32_t fork_any = in_child ? collect_state(&page->fork, start, end, &fork_all) : 0;

	values->count = 0;
	values->may_succeed = any & MODEL_READ;
	values->may_forbid = !(all & MODEL_WRITE);
	values->may_share = any & MODEL_SHARED;
	values->may_fail = !(all & MODEL_READ) || (fork_any & MODEL_NOFORK);
	model_collect_chain(page, model_word(addr), start, end, values);
	if ((fork_any & MODEL_WIPE) || page->guarded)
		add_value(values, 0);
}

bool model_has_changed(const struct model *model, uint64_t addr, uint64_t since)
{
	const struct page *page = model_page(model, addr);

	return page->changing || page->change_end > since;
}

bool model_values_have(const struct model_values *values, uint64_t value)
{
	for (size_t i = 0; i < values->count; i++) {
		if (values->value[i] == value)
			return true;
	}
	/* Too many to be sure. */
	return values->count == MODEL_VALUES_MAX;
}

uint64_t model_next(const struct model *model, uint64_t addr)
{
	addr = MAX(addr, model->span.start);
	for (; addr < model->span.end; addr = ALIGN_DOWN(addr, PAGE_BYTES) + PAGE_BYTES) {
		const struct page *page = model_page(model, addr);

		if (!page->used)
			continue;
		if (model_word(addr) < MODEL_WORDS)
			return addr;
	}
	return 0;
}

/* --- what is wrong, in words ---------------------------------------------------------- */

static int print_list(char *text, size_t bytes, const struct list_of *list)
{
	int length = 0;

	for (const struct write *w = list->first; w && length + 64 < (int)bytes; w = w->next) {
		length += snprintf(text + length, bytes - (size_t)length, " %s%#lx[%lu..",
				   w->flags & WRITE_MAYBE ? "maybe " :
				   w->flags & WRITE_ADD   ? "adding " :
							    "",
				   (unsigned long)w->value, (unsigned long)w->start);
		if (w->end == MODEL_OPEN)
			length += snprintf(text + length, bytes - (size_t)length, "now]");
		else
			length += snprintf(text + length, bytes - (size_t)length, "%lu]",
					   (unsigned long)w->end);
	}
	return length;
}

const char *model_explain(struct model *model, uint64_t addr)
{
	const struct page *page = model_page(model, addr);
	char *text = model->text;
	size_t bytes = sizeof(model->text);
	int length = snprintf(text, bytes, "now %lu; writes of the word:",
			      (unsigned long)model->now);

	length += print_list(text + length, bytes / 2 - (size_t)length,
			     &page->word[model_word(addr)]);
	length += snprintf(text + length, bytes - (size_t)length, "; zeros of the page:");
	length += print_list(text + length, bytes * 3 / 4 - (size_t)length, &page->zero);
	length += snprintf(text + length, bytes - (size_t)length, "; its states:");
	print_list(text + length, bytes - (size_t)length, &page->state);
	return text;
}

static const char *wrong(struct model *model, const struct model_access *access,
			 const char *what, uint64_t value, bool has_value)
{
	char had[64] = "";
	char why[640];

	if (has_value)
		snprintf(had, sizeof(had), " gave %#lx", (unsigned long)value);
	snprintf(why, sizeof(why), "%s", model_explain(model, access->addr));
	snprintf(model->text, sizeof(model->text),
		 "%s at %#lx%s: %s (it began at %lu; %s)",
		 access->is_gpu ? "the GPU" : "the CPU", (unsigned long)access->addr, had, what,
		 (unsigned long)access->start, why);
	return model->text;
}

/* --- accesses ----------------------------------------------------------------------------- */

void model_load_begin(struct model *model, struct model_access *access, uint64_t addr,
		      bool is_gpu)
{
	*access = (struct model_access){
		.addr = addr,
		.start = model_now(model),
		.is_gpu = is_gpu,
	};
	access->since = access->start;
	if (is_gpu && model_page(model, addr)->changing)
		access->since = model_page(model, addr)->changing_since;
	access->slot = model_activate(model, access->since);
}

static void write_begin(struct model *model, struct model_access *access, uint64_t addr,
			uint64_t value, bool is_gpu, uint32_t flags)
{
	struct page *page = model_page(model, addr);

	model_load_begin(model, access, addr, is_gpu);
	access->number = ++model->number;
	page->used = true;
	model_prune_word(model, page, model_word(addr));
	model_push(model, &page->word[model_word(addr)], value, access->start, MODEL_OPEN, flags);
}

void model_store_begin(struct model *model, struct model_access *access, uint64_t addr,
		       uint64_t value, bool is_gpu)
{
	write_begin(model, access, addr, value, is_gpu, 0);
}

void model_add_begin(struct model *model, struct model_access *access, uint64_t addr,
		     uint64_t add, bool is_gpu)
{
	write_begin(model, access, addr, add, is_gpu, WRITE_ADD);
	access->add = add;
}

static const char *check_state(struct model *model, const struct model_access *access,
			       uint32_t wanted)
{
	const struct page *page = model_page(model, access->addr);
	uint32_t all;
	uint32_t any = state_between(page, access->since, model->now, &all);

	if ((any & wanted) == wanted || (access->is_gpu && page->lax && ever_mapped(page)))
		return NULL;
	return wrong(model, access, "done, but the page never allowed it", 0, false);
}

/* The one write that explains a read of @value, or NULL: none, or several. */
static struct write *only_source(struct page *page, uint32_t word, uint64_t start,
				 uint64_t end, uint64_t value)
{
	uint64_t hidden = word_hidden(page, word, start);
	struct list_of *lists[2] = { &page->zero, &page->word[word] };
	struct write *found = NULL;

	for (int i = 0; i < 2; i++) {
		for (struct write *w = lists[i]->first; w; w = w->next) {
			if (w->start > end || w->end < hidden)
				continue;
			if (w->flags & WRITE_ADD)
				return NULL; /* it could have been a sum */
			if (w->value == value && found)
				return NULL;
			if (w->value == value)
				found = w;
		}
	}
	return found;
}

static const char *check_value(struct model *model, const struct model_access *access,
			       uint64_t value, bool consume)
{
	struct page *page = model_page(model, access->addr);
	struct model_values values;
	struct write *source;

	model_values(model, access->addr, access->since, false, &values);
	if (!model_values_have(&values, value))
		return wrong(model, access, "no write explains it", value, true);
	if (page->alias_count)
		return NULL;
	source = only_source(page, model_word(access->addr), access->since, model->now, value);
	if (!source || (source->flags & WRITE_MAYBE))
		return NULL;
	/* The zeros of a page are one write for all words. */
	if (model_find(&page->zero, source->number) == source)
		return NULL;
	if (source->end == MODEL_OPEN || source->end > model->now)
		source->end = model->now; /* it has happened */
	if (!consume)
		return NULL;
	if (source->flags & WRITE_CONSUMED)
		return wrong(model, access, "an addition had already found it: one is lost",
			     value, true);
	source->flags |= WRITE_CONSUMED;
	return NULL;
}

const char *model_load_end(struct model *model, struct model_access *access, uint64_t value)
{
	const char *why;

	model_now(model);
	why = check_state(model, access, MODEL_READ);
	if (!why)
		why = check_value(model, access, value, false);
	model_deactivate(model, access->slot);
	return why;
}

static struct write *own_write(struct model *model, const struct model_access *access)
{
	struct page *page = model_page(model, access->addr);

	return model_find(&page->word[model_word(access->addr)], access->number);
}

/* It may have gone to a page that is nobody's any more. */
static uint32_t written_flags(struct model *model, const struct model_access *access)
{
	const struct page *page = model_page(model, access->addr);

	if (access->is_gpu && (page->changing || page->change_end >= access->since))
		return WRITE_MAYBE;
	return 0;
}

const char *model_store_end(struct model *model, struct model_access *access)
{
	struct write *write = own_write(model, access);

	write->flags |= written_flags(model, access);
	write->end = MIN(write->end, model_now(model));
	model_deactivate(model, access->slot);
	return check_state(model, access, MODEL_WRITE);
}

const char *model_add_end(struct model *model, struct model_access *access, uint64_t value)
{
	struct page *page = model_page(model, access->addr);
	struct list_of *list = &page->word[model_word(access->addr)];
	struct write *write = own_write(model, access);
	const char *why;

	/* Its own sum is not what it found. */
	model_take_out(model, list, write);
	why = check_state(model, access, MODEL_WRITE);
	if (!why)
		why = check_value(model, access, value, true);
	model->number++;
	model_push(model, list, value + access->add, access->start, model_now(model),
		   written_flags(model, access));
	model_deactivate(model, access->slot);
	return why;
}

static void withdraw(struct model *model, const struct model_access *access)
{
	struct page *page = model_page(model, access->addr);
	struct write *write = own_write(model, access);

	if (write)
		model_take_out(model, &page->word[model_word(access->addr)], write);
}

const char *model_fail_end(struct model *model, struct model_access *access)
{
	const struct page *page = model_page(model, access->addr);
	uint32_t wanted = access->number ? MODEL_WRITE : MODEL_READ;
	uint32_t all;

	model_now(model);
	state_between(page, access->since, model->now, &all);
	withdraw(model, access);
	model_deactivate(model, access->slot);
	if (all & wanted)
		return wrong(model, access, "refused, but the page always allowed it", 0, false);
	return NULL;
}

/* An addition that nobody saw the result of: each value that it may have found gives one
 * that it may have written. */
static void spread_sums(struct model *model, const struct model_access *access,
			struct write *write, uint32_t flags)
{
	struct page *page = model_page(model, access->addr);
	uint32_t word = model_word(access->addr);
	struct model_values found = { 0 };

	model_take_out(model, &page->word[word], write);
	model_collect_word(page, word, access->start, model_now(model), &found);
	model->number++;
	for (size_t i = 0; i < found.count; i++)
		model_push(model, &page->word[word], found.value[i] + access->add,
			   access->start, model->now, flags);
}

const char *model_add_done(struct model *model, struct model_access *access)
{
	spread_sums(model, access, own_write(model, access), written_flags(model, access));
	model_deactivate(model, access->slot);
	return check_state(model, access, MODEL_WRITE);
}

void model_unknown_end(struct model *model, struct model_access *access)
{
	struct write *write = access->number ? own_write(model, access) : NULL;

	if (write && (write->flags & WRITE_ADD)) {
		spread_sums(model, access, write, WRITE_MAYBE);
	} else if (write) {
		write->flags |= WRITE_MAYBE;
		write->end = MIN(write->end, model_now(model));
	}
	model_deactivate(model, access->slot);
}

void model_hold(struct model *model, uint64_t start, uint32_t *slot)
{
	*slot = model_activate(model, start);
}

void model_let_go(struct model *model, uint32_t slot)
{
	model_deactivate(model, slot);
}
