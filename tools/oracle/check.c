/* SPDX-License-Identifier: MIT */
/*
 * DOC: The CPU's look at a page, and the report
 *
 * A mismatch ends the process at once. The report, in shared memory, has what usvm says
 * of the page, what the kernel says of it, and what was done to the page last.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "oracle.h"

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

static bool check_words(const struct area *area, uint32_t page, const uint64_t *at,
			uint32_t start, uint32_t words, bool exact, struct mismatch *m)
{
	uint64_t id = page_id(area->index, page);
	const struct shadow *shadow = &area->shadow[page];
	uint64_t tag = LOAD(&shadow->tag);

	*m = (struct mismatch){ .kind = CHECK_COUNTER, .page = page };
	for (uint32_t i = 0; i < 2; i++) {
		m->word = i ? PAGE_WORDS - 1 : 0;
		if (!check_word(&at[m->word], &shadow->counter[i], 0, exact, m))
			return false;
	}
	m->kind = CHECK_SLOT;
	for (uint32_t i = 0; i < AGENTS_MAX; i++) {
		if (!agent_used(i, run->setting.thread_count))
			continue;
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

	if (before & 1 ||
	    check_words(area, page, page_words(area, page), start, words, exact, m))
		return true;
	/* What was looked at was loaded before this. (Not a fence: TSan knows none.) */
	return ADD(races, 0) != before;
}

bool check_copy(const struct area *area, uint32_t page, const uint64_t *copy,
		struct mismatch *m)
{
	return check_words(area, page, copy, TAG_FIRST, TAG_END, true, m);
}

void settle_page(const struct area *area, uint32_t page)
{
	struct shadow *shadow = &area->shadow[page];
	const uint64_t *at = page_words(area, page);

	for (uint32_t i = 0; i < 2; i++) {
		struct bounds *b = &shadow->counter[i];

		b->lost_min = b->lost_max = b->begun - at[i ? PAGE_WORDS - 1 : 0];
	}
	for (uint32_t i = 0; i < AGENTS_MAX; i++) {
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
				hold_is_exclusive(hold), &m))
			report_mismatch(hold->area, &m, agent, when);
		if (hold_is_exclusive(hold))
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

__attribute__((format(printf, 4, 0))) static void append(char *text, size_t bytes,
							 uint32_t *used, const char *format,
							 va_list args)
{
	int length;

	if (*used >= bytes)
		return;
	length = vsnprintf(text + *used, bytes - *used, format, args);
	*used += length > 0 ? (uint32_t)length : 0;
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	struct failure *f = &run->failure;
	va_list args;

	va_start(args, format);
	append(f->text, sizeof(f->text), &f->text_bytes, format, args);
	va_end(args);
}

/* One report: the first thread's. The others stay here until the process is gone. */
static void report_begin(enum failure_kind kind, const char *what)
{
	struct failure *f = &run->failure;

	if (ADD(&f->claimed, 1u)) {
		for (;;)
			pause();
	}
	snprintf(f->what, sizeof(f->what), "%s", what);
	f->kind = kind;
}

static const char *agent_name(uint32_t agent, char name[16])
{
	snprintf(name, 16, agent < THREADS_MAX ? "thread %u" : "queue %u",
		 agent % THREADS_MAX);
	return name;
}

/* What was done to these pages, or to all; the last of it. */
static void print_ring(const struct area *area, uint32_t page)
{
	uint32_t end = LOAD(&area->ring_next);
	uint32_t start = end > RING_COUNT ? end - RING_COUNT : 0;
	char name[16];

	say("  last acts on it (milliseconds of the round; who; what; pages; where it was):\n");
	for (uint32_t i = start; i < end; i++) {
		const struct ring_entry *e = &area->ring[i % RING_COUNT];

		if (page == UINT32_MAX || (page >= e->first && page - e->first < e->count))
			say("    %10.3f  %-9s %-16s %u+%u at %#" PRIx64 "\n",
			    (double)(e->time_ns - run->start_ns) / 1e6,
			    agent_name(e->agent, name), e->what, e->first, e->count, e->base);
	}
}

static void print_area(const struct area *area)
{
	static const struct {
		enum area_kind kind;
		const char *name;
	} names[] = {
		{ AREA_SMALL, "small" },   { AREA_HUGE, "huge" },   { AREA_FILE, "private file" },
		{ AREA_SHARED, "shared" }, { AREA_BREAK, "heap" }, { AREA_BLOCK, "a block's" },
		{ AREA_OBJECT, "an object's" },
	};
	const char *name = "?";

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (names[i].kind == area->kind)
			name = names[i].name;
	}
	say("  area %u: %u %s pages at %p, locked %u at a time\n", area->index, area->pages,
	    name, (void *)area->base, area->chunk_pages);
}

static void print_page(const struct area *area, uint64_t page)
{
	static const char *const states[] = { "not mapped", "at home", "moving",
					      "on the device" };
	unsigned char *at = page_at(area, (uint32_t)page);
	struct usvm_page_info info;
	uint64_t kernel = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int err = usvm_query(run->vm, at, &info);

	if (pread(fd, &kernel, sizeof(kernel), (off_t)((uintptr_t)at / PAGE * 8)) < 0)
		kernel = 0;
	close(fd);
	if (err)
		say("  usvm_query: %s\n", usvm_strerror(err));
	else
		say("  usvm_query: %s%s%s, %s by the GPU, %" PRIu64
		    " pages alike, device memory %#" PRIx64 "\n", states[info.state & 3],
		    info.device[0] ? " " : "", info.device,
		    info.mapped & 2 ? "mapped" :
		    info.mapped & 1 ? "mapped for reading" : "not mapped",
		    info.run_bytes / PAGE, info.vram_offset);
	say("  /proc/self/pagemap: %#" PRIx64 "\n", kernel);
}

static void print_bounds(const struct shadow *shadow)
{
	char name[16];

	for (uint32_t i = 0; i < BOUNDS_COUNT; i++) {
		const struct bounds *b = i < 2 ? &shadow->counter[i] : &shadow->slot[i - 2];

		if (i >= 2 && !b->begun)
			continue;
		say("  %s of %s: done %" PRIu64 ", begun %" PRIu64 ", lost %" PRIu64 " to %"
		    PRIu64 "\n", i < 2 ? "counter" : "slot",
		    i < 2 ? (i ? "word 511" : "word 0") : agent_name(i - 2, name), b->done,
		    b->begun, b->lost_min, b->lost_max);
	}
}

_Noreturn void report_mismatch(struct area *area, const struct mismatch *m, uint32_t agent,
			       const char *when)
{
	struct shadow *shadow = &area->shadow[m->page];
	uint64_t *at = page_words(area, (uint32_t)m->page);
	char name[16];

	report_begin(FAILED_MISMATCH, kind_name(m->kind));
	run->failure.area = area->index;
	run->failure.page = (uint32_t)m->page;
	say("  seen by %s, %s: page %" PRIu64 " of area %u, word %" PRIu64 " at %p\n",
	    agent_name(agent, name), when, m->page, area->index, m->word,
	    (void *)&at[m->word]);
	say("  expected: %s, %#" PRIx64, kind_name(m->kind), m->low);
	if (m->high != m->low)
		say(" to %#" PRIx64, m->high);
	say("\n  found:    %#" PRIx64 "\n", m->found);
	print_area(area);
	print_page(area, m->page);
	print_bounds(shadow);
	say("  races %" PRIu64 ", tags of generation %" PRIu64 "\n", shadow->races, shadow->tag);
	print_ring(area, (uint32_t)m->page);
	_exit(1);
}

_Noreturn void report_failure(struct area *area, const char *what, int64_t value)
{
	report_begin(FAILED_CALL, what);
	say("  it gave %" PRId64 "\n", value);
	if (run->failure.child_bytes)
		say("%s", run->failure.child);
	if (area) {
		print_area(area);
		print_ring(area, UINT32_MAX);
	}
	_exit(1);
}

_Noreturn void report_child(const char *format, ...)
{
	struct failure *f = &run->failure;
	va_list args;

	va_start(args, format);
	append(f->child, sizeof(f->child), &f->child_bytes, format, args);
	va_end(args);
	_exit(1);
}
