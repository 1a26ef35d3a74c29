/* SPDX-License-Identifier: MIT */
/*
 * DOC: The CPU's look at a page, and the report
 *
 * A mismatch ends the process at once, with what usvm says of the page, what the
 * kernel says of it, and what was done to the area last: ten lines to begin with.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "stress.h"

/* @done is read before the word, @begun after it. */
static bool check_word(const uint64_t *word, const struct bounds *bounds, uint64_t id,
		       bool exact, struct mismatch *m)
{
	uint64_t done = LOAD(&bounds->done), lost_max = LOAD(&bounds->lost_max);
	uint64_t found = __atomic_load_n(word, __ATOMIC_SEQ_CST);
	uint64_t lost_min = LOAD(&bounds->lost_min), begun = LOAD(&bounds->begun);
	uint64_t value = id ? found & ((1ull << 40) - 1) : found;

	m->found = found;
	m->low = low_bound(done, lost_max, id);
	m->high = high_bound(begun, lost_min, id);
	if (exact && done != begun)
		return false;
	if (id && found && (found >> 40 != id || value <= lost_min))
		return false;
	return value >= m->low && value <= m->high;
}

static bool check_words(const struct area *area, uint32_t page, uint32_t start, uint32_t words,
			bool exact, struct mismatch *m)
{
	uint64_t id = page_id(area->index, page);
	const struct shadow *shadow = &area->shadow[page];
	const uint64_t *at = page_words(area, page);
	uint64_t tag = LOAD(&shadow->tag);

	*m = (struct mismatch){ .kind = CHECK_COUNTER, .page = page };
	for (uint32_t i = 0; i < 2; i++) {
		m->word = i ? PAGE_WORDS - 1 : 0;
		if (!check_word(&at[m->word], &shadow->counter[i], 0, exact, m))
			return false;
	}
	m->kind = CHECK_SLOT;
	for (uint32_t i = 0; i < AGENT_COUNT; i++) {
		m->word = SLOT_WORD(i);
		if (!check_word(&at[m->word], &shadow->slot[i], id, exact, m))
			return false;
	}
	m->kind = CHECK_TAG;
	for (uint32_t i = start; i < start + words && i < TAG_END; i++) {
		m->word = i;
		m->low = m->high = tag_value(id, tag, i);
		m->found = __atomic_load_n(&at[i], __ATOMIC_RELAXED);
		if (m->found != m->low)
			return false;
	}
	return true;
}

bool check_page(const struct area *area, uint32_t page, uint32_t start, uint32_t words,
		bool exact, struct mismatch *m)
{
	uint64_t *races = &area->shadow[page].races;
	uint64_t before = LOAD(races);

	if (before & 1 || check_words(area, page, start, words, exact, m))
		return true;
	/* What was looked at was loaded before this. (Not a fence: TSan knows none.) */
	return ADD(races, 0) != before;
}

void settle_page(const struct area *area, uint32_t page)
{
	struct shadow *shadow = &area->shadow[page];
	const uint64_t *at = page_words(area, page);

	for (uint32_t i = 0; i < 2; i++) {
		struct bounds *b = &shadow->counter[i];

		b->lost_min = b->lost_max = b->begun - at[i ? PAGE_WORDS - 1 : 0];
	}
	for (uint32_t i = 0; i < AGENT_COUNT; i++) {
		struct bounds *b = &shadow->slot[i];

		/* Of several writes the last stays, or none. */
		if (at[SLOT_WORD(i)])
			b->lost_max = b->done - 1;
		else
			b->lost_min = b->lost_max = b->done;
	}
}

void check_held(const struct hold *hold, uint32_t agent, struct random *random,
		const char *when)
{
	bool all = random_one_in(random, 4);
	struct mismatch m;

	for (uint32_t i = 0; i < hold->count; i++) {
		uint32_t start = all ? TAG_FIRST :
				       TAG_FIRST + random_below(random, TAG_END - TAG_FIRST);

		if (!check_page(hold->area, hold->first + i, start, all ? TAG_END : 8,
				hold->exclusive, &m))
			report_mismatch(hold->area, &m, agent, when);
		if (hold->exclusive)
			settle_page(hold->area, hold->first + i);
	}
}

/* Add to both counters and write the slot of @agent. */
void touch_page(const struct area *area, uint32_t page, uint32_t agent, uint64_t amount)
{
	struct shadow *shadow = &area->shadow[page];
	uint64_t *at = page_words(area, page);
	uint64_t n = shadow->slot[agent].begun + 1;

	for (uint32_t i = 0; i < 2; i++) {
		ADD(&shadow->counter[i].begun, amount);
		ADD(&at[i ? PAGE_WORDS - 1 : 0], amount);
		ADD(&shadow->counter[i].done, amount);
	}
	STORE(&shadow->slot[agent].begun, n);
	__atomic_store_n(&at[SLOT_WORD(agent)], slot_value(page_id(area->index, page), n),
			 __ATOMIC_SEQ_CST);
	STORE(&shadow->slot[agent].done, n);
}

/* --- the report ---------------- */

static const char *kind_name(uint64_t kind)
{
	static const char *const names[] = {
		[CHECK_NONE] = "nothing",  [CHECK_COUNTER] = "a counter",
		[CHECK_SLOT] = "a slot",   [CHECK_TAG] = "a tag",
		[CHECK_ZERO] = "zeros",    [CHECK_SOIL] = "soil",
	};

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}

/* One report: the first thread's. The others stay here until the process is gone. */
static void report_begin(void)
{
	static uint32_t reported;

	if (!ADD(&reported, 1u))
		return;
	for (;;)
		pause();
}

static void print_ring(const struct area *area)
{
	uint32_t end = LOAD(&area->ring_next);
	uint32_t start = end > RING_COUNT ? end - RING_COUNT : 0;
	uint64_t now = now_ns();

	dprintf(STDERR_FILENO, "  last operations (agents: 0, 1 threads; 2, 3 their queues):\n");
	for (uint32_t i = start; i < end; i++) {
		const struct ring_entry *e = &area->ring[i % RING_COUNT];

		dprintf(STDERR_FILENO, "   %10.3f ms ago  agent %u  %-16s pages %u+%u at %#" PRIx64
			"\n", (double)(now - e->time_ns) / 1e6, e->agent, e->what, e->first,
			e->count, e->base);
	}
}

static void print_area(const struct area *area)
{
	dprintf(STDERR_FILENO, "  area %u: %u %s pages at %p, locks by %u\n", area->index,
		area->pages, area->huge ? "huge" : "small", (void *)area->base,
		area->chunk_pages);
}

static void print_page(const struct area *area, uint64_t page)
{
	static const char *const states[] = { "UNMAPPED", "HOME", "MOVING", "DEVICE" };
	unsigned char *at = area->base + page * PAGE;
	struct usvm_page_info info;
	uint64_t kernel = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int err = usvm_query(run->vm, at, &info);

	if (pread(fd, &kernel, sizeof(kernel), (off_t)((uintptr_t)at / PAGE * 8)) < 0)
		kernel = 0;
	close(fd);
	if (err)
		dprintf(STDERR_FILENO, "  usvm_query: %s\n", usvm_strerror(err));
	else
		dprintf(STDERR_FILENO, "  usvm says: %s, mapped %u, run of %" PRIu64
			" pages, offset %#" PRIx64 "\n", states[info.state & 3], info.mapped,
			info.run_bytes / PAGE, info.vram_offset);
	dprintf(STDERR_FILENO, "  pagemap says: %#" PRIx64 "\n", kernel);
}

_Noreturn void report_mismatch(struct area *area, const struct mismatch *m, uint32_t agent,
			       const char *when)
{
	struct shadow *shadow = &area->shadow[m->page];
	uint64_t *at = page_words(area, (uint32_t)m->page);

	report_begin();
	dprintf(STDERR_FILENO, "MISMATCH (seed %" PRIu64 "), seen by agent %u at %s: page %"
		PRIu64 " word %" PRIu64 " at %p: %s should be %#" PRIx64 " to %#" PRIx64
		", found %#" PRIx64 "\n", run->seed, agent, when, m->page, m->word,
		(void *)&at[m->word], kind_name(m->kind), m->low, m->high, m->found);
	print_area(area);
	print_page(area, m->page);
	for (uint32_t i = 0; i < BOUNDS_COUNT; i++) {
		const struct bounds *b = i < 2 ? &shadow->counter[i] : &shadow->slot[i - 2];

		dprintf(STDERR_FILENO, "  %s %u: done %" PRIu64 ", begun %" PRIu64 ", lost %"
			PRIu64 " to %" PRIu64 "\n", i < 2 ? "counter" : "slot", i < 2 ? i : i - 2,
			b->done, b->begun, b->lost_min, b->lost_max);
	}
	dprintf(STDERR_FILENO, "  races %" PRIu64 ", tags of generation %" PRIu64 "; page now:",
		shadow->races, shadow->tag);
	for (uint32_t i = 0; i < 16; i++)
		dprintf(STDERR_FILENO, " %" PRIx64, __atomic_load_n(&at[i], __ATOMIC_RELAXED));
	dprintf(STDERR_FILENO, " ... %" PRIx64 "\n", at[PAGE_WORDS - 1]);
	print_ring(area);
	_exit(1);
}

_Noreturn void report_failure(struct area *area, const char *what, int64_t value)
{
	report_begin();
	dprintf(STDERR_FILENO, "FAILURE (seed %" PRIu64 "): %s: %" PRId64 "\n", run->seed, what,
		value);
	if (area) {
		print_area(area);
		print_ring(area);
	}
	_exit(1);
}
