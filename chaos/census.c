/* SPDX-License-Identifier: MIT */
/*
 * DOC: how much of a program's memory went out
 *
 * Four times a second the agent looks at every page of the program's private anonymous
 * memory. A page has *lain* when it was there at five looks in a row, so for a second at
 * least; then it is counted, once, and whether it has been on the device. A page that is
 * unmapped or discarded begins anew.
 *
 *     byte of a page:  | out | lain | looks in a row: 0 to 5 |
 *
 * A page on the device is missing where the kernel is asked. One that was there at the
 * last look and had gone out is asked for by usvm_query(). That costs more, so after so
 * many of them in one look the others are taken to be where they were.
 *
 * What went out is what was there before a step and is missing after it. What came home
 * in between is not seen: the share is a little more than is counted.
 *
 * Memory that never migrates is counted too, and apart: what usvm excludes (stacks, TLS,
 * the C library's data), and what the program may not read and write both.
 */
#include <errno.h>
#include <string.h>

#include "agent.h"
#include "base/host.h"
#include "sys/linux_internal.h"

#define LOOK_NS 250000000ull
#define LOOKS_TO_LIE 5
#define LOOKS 0x0fu
#define LAIN 0x40u
#define OUT 0x80u

#define BLOCK_COUNT 8192u /* 16 GiB of memory in use */
#define RUNS_MAX 128
#define FIXED_MAX 1024
#define QUERIES_MAX 128

#define PROBES_MAX 64

struct block {
	uint8_t pages[PAGES_PER_HUGE];
	uint8_t seen[PAGES_PER_HUGE / 8]; /* in this look */
};

/* A hash table of the blocks of 2 MiB that have pages. */
struct table {
	uint64_t numbers[BLOCK_COUNT]; /* address / 2 MiB; 0: free */
	struct block blocks[BLOCK_COUNT];
};

#define TABLE_BYTES ALIGN_UP(sizeof(struct table), PAGE_BYTES)
#define FIXED_BYTES (FIXED_MAX * sizeof(struct span))

static struct table *table;
static struct span *fixed; /* what never migrates, whatever it is */
static size_t fixed_count;
static uint64_t due_ns;
static uint32_t query_count; /* in this look */

int census_create(void)
{
	table = base_host->pages_alloc(TABLE_BYTES);
	fixed = base_host->pages_alloc(FIXED_BYTES);
	due_ns = 0;
	return table && fixed ? 0 : -ENOMEM;
}

static struct block *block_of(uint64_t addr, bool make)
{
	uint64_t number = addr / HUGE_BYTES;
	uint64_t free = BLOCK_COUNT;

	for (uint64_t i = 0; i < PROBES_MAX; i++) {
		uint64_t at = (number * 0x9e3779b1u + i) % BLOCK_COUNT;

		if (table->numbers[at] == number)
			return &table->blocks[at];
		if (!table->numbers[at] && free == BLOCK_COUNT)
			free = at;
	}
	/* Where there is no room the block is not counted. */
	if (!make || free == BLOCK_COUNT)
		return NULL;
	table->numbers[free] = number;
	return &table->blocks[free];
}

static uint64_t page_of(uint64_t addr)
{
	return addr % HUGE_BYTES / PAGE_BYTES;
}

/* --- one page ------------------------------------------------------------------- */

static void page_out(uint8_t *page)
{
	if (*page & OUT)
		return;
	*page |= OUT;
	if (*page & LAIN)
		agent.counts[CHAOS_LAIN_OUT]++;
}

static void page_seen(struct block *b, uint64_t index, bool is_fixed)
{
	uint8_t *page = &b->pages[index];

	b->seen[index / 8] |= (uint8_t)(1u << index % 8);
	if (*page & LAIN)
		return;
	(*page)++;
	if ((*page & LOOKS) < LOOKS_TO_LIE)
		return;
	*page |= LAIN;
	agent.counts[CHAOS_LAIN]++;
	if (is_fixed)
		agent.counts[CHAOS_LAIN_FIXED]++;
	else if (*page & OUT)
		agent.counts[CHAOS_LAIN_OUT]++;
}

static bool is_seen(const struct block *b, uint64_t index)
{
	return b->seen[index / 8] >> index % 8 & 1;
}

/* --- one look --------------------------------------------------------------------- */

static bool is_fixed(uint64_t addr)
{
	for (size_t i = 0; i < fixed_count; i++) {
		if (span_contains(fixed[i], addr))
			return true;
	}
	return false;
}

/* The library's own pages are one of the spans that it excludes; so is the table here. */
bool census_is_own(struct span span)
{
	if (agent_is_arena(span))
		return true;
	for (size_t i = 0; i < fixed_count; i++) {
		if (span_covers(fixed[i], span) && span_contains(fixed[i], (uintptr_t)table))
			return true;
	}
	return false;
}

static void look_at_run(const struct sys_page_run *run, bool may_move)
{
	if (run->flags & SYS_PAGE_GUARD)
		return;
	for (uint64_t addr = run->span.start; addr < run->span.end; addr += PAGE_BYTES) {
		struct block *b = block_of(addr, true);

		if (b)
			page_seen(b, page_of(addr), !may_move || is_fixed(addr));
	}
}

static void look_at_vma(const struct sys_vma *vma)
{
	struct sys_page_run runs[RUNS_MAX];
	bool may_move = vma->kind == SYS_VMA_ANON_PRIVATE &&
			vma->prot == (SYS_PROT_READ | SYS_PROT_WRITE);
	struct span left = vma->span;
	size_t count;

	while (!span_is_empty(left)) {
		if (linux_page_scan(agent.sys, left, runs, RUNS_MAX, &count, &left.start))
			return;
		for (size_t i = 0; i < count; i++)
			look_at_run(&runs[i], may_move);
	}
}

/* How many pages from @addr on are on the device, or taken to be. */
static uint64_t pages_out_from(uint64_t addr)
{
	struct usvm_page_info info;

	if (query_count++ >= QUERIES_MAX)
		return 1;
	if (usvm_query(agent.vm, (const void *)(uintptr_t)addr, &info) ||
	    (info.state != USVM_PAGE_DEVICE && info.state != USVM_PAGE_MOVING))
		return 0;
	return info.run_bytes / PAGE_BYTES;
}

/* Pages that were there and are missing: on the device, or gone. */
static void look_for_missing(uint64_t at)
{
	uint64_t start = table->numbers[at] * HUGE_BYTES;
	struct block *b = &table->blocks[at];
	uint64_t out_to = 0;
	bool any = false;

	for (uint64_t i = 0; i < PAGES_PER_HUGE; i++) {
		any |= is_seen(b, i);
		if (!b->pages[i] || is_seen(b, i))
			continue;
		if (i >= out_to && b->pages[i] & OUT)
			out_to = i + pages_out_from(start + i * PAGE_BYTES);
		if (i < out_to) {
			any = true;
			page_seen(b, i, false);
			page_out(&b->pages[i]);
		} else {
			b->pages[i] = 0;
		}
	}
	memset(b->seen, 0, sizeof(b->seen));
	if (!any)
		table->numbers[at] = 0;
}

bool census_due(uint64_t now_ns)
{
	return now_ns >= due_ns;
}

void census_take(uint64_t now_ns)
{
	struct sys_vma vma;
	uint64_t addr = 0;

	due_ns = now_ns + LOOK_NS;
	if (agent.sys->ops->exclusions(agent.sys, fixed, FIXED_MAX, &fixed_count))
		fixed_count = 0;
	fixed_count = MIN(fixed_count, (size_t)FIXED_MAX);
	query_count = 0;
	while (!linux_vma_query(agent.sys, addr, true, &vma)) {
		addr = vma.span.end;
		if ((vma.kind == SYS_VMA_ANON_PRIVATE || vma.kind == SYS_VMA_STACK) &&
		    vma.prot && !census_is_own(vma.span))
			look_at_vma(&vma);
	}
	for (uint32_t i = 0; i < BLOCK_COUNT; i++) {
		if (table->numbers[i])
			look_for_missing(i);
	}
}

/* --- what a step did ----------------------------------------------------------------- */

void census_went(struct span span)
{
	struct sys_page_run runs[RUNS_MAX];
	uint64_t addr = span.start;
	size_t count, i = 0;
	uint64_t end;

	if (linux_page_scan(agent.sys, span, runs, RUNS_MAX, &count, &end))
		return;
	for (; addr < end; addr += PAGE_BYTES) {
		struct block *b;

		while (i < count && runs[i].span.end <= addr)
			i++;
		if (i < count && span_contains(runs[i].span, addr))
			continue;
		b = block_of(addr, false);
		if (b && b->pages[page_of(addr)])
			page_out(&b->pages[page_of(addr)]);
	}
}
