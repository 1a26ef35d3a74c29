/* SPDX-License-Identifier: MIT */
/*
 * DOC: what the agent does to a program
 *
 * One step: a span of private anonymous memory that holds pages, of 4 KiB, 64 KiB or
 * 2 MiB, and one of
 *
 *     take    prefetch to the device
 *     job     a kernel over its pages that changes nothing: loads, or atomic adds of 0
 *     evict   prefetch to the system
 *
 * Every second span is the next one behind the last, so that all memory has its turn;
 * the others are anywhere. Mappings come and go meanwhile: the list of them is a few
 * milliseconds old, and what a step meets is the library's business. A job that meets
 * memory that is gone ends with an error, and its queue with it: it gets a new one.
 *
 * Holes are left alone, by looking which pages are there before: a program is to have
 * no more memory than without.
 */
#include <errno.h>
#include <string.h>

#include "agent.h"
#include "base/atomic.h"
#include "base/host.h"
#include "sys/linux_internal.h"

#define SPANS_MAX 4096
#define SPANS_BYTES (SPANS_MAX * sizeof(struct span))
#define RUNS_MAX 64
/* The list of mappings is read again when it is older. */
#define LIST_NS 20000000ull
#define PICK_TRIES 8
#define JOB_PAGES 64

static struct span *spans; /* mappings that may migrate */
static size_t span_count;
static uint64_t list_due_ns;
static uint64_t cursor; /* where the next turn goes on */

/* --- kernels ------------------------------------------------------------------- */

struct touch_args {
	uint64_t addr;
	uint64_t page_count;
	uint64_t offset; /* in each page */
	uint32_t atomic;
};

static void touch_kernel(struct usvm_lane *lane, const void *args)
{
	const struct touch_args *a = args;

	for (uint64_t i = 0; i < a->page_count; i++) {
		uint64_t addr = a->addr + i * PAGE_BYTES + a->offset;

		if (a->atomic)
			usvm_atomic_add64(lane, addr, 0);
		else
			usvm_load64(lane, addr);
	}
}

/* A job that failed has banned its queue. */
static int run(usvm_kernel_fn function, const void *args, size_t bytes)
{
	const struct usvm_kernel kernel = {
		.function = function,
		.args = args,
		.args_bytes = (uint32_t)bytes,
	};
	int err = usvm_run_kernel(agent.queue, &kernel);

	if (!err)
		return 0;
	if (usvm_queue_destroy(agent.queue) ||
	    usvm_queue_create(agent.vm, NULL, &agent.queue))
		ATOMIC_STORE(&agent.stopping, 1);
	return err;
}

/* --- where ---------------------------------------------------------------------- */

int roam_create(void)
{
	spans = base_host->pages_alloc(SPANS_BYTES);
	span_count = 0;
	list_due_ns = 0;
	cursor = 0;
	return spans ? 0 : -ENOMEM;
}

static bool may_migrate(const struct sys_vma *vma)
{
	return vma->kind == SYS_VMA_ANON_PRIVATE &&
	       vma->prot == (SYS_PROT_READ | SYS_PROT_WRITE) && !census_is_own(vma->span);
}

static void list_read(void)
{
	uint64_t now_ns = linux_clock_ns(agent.sys);
	/* More than fit: another part of them each time. */
	uint64_t addr = span_count == SPANS_MAX ? cursor : 0;
	struct sys_vma vma;

	if (now_ns < list_due_ns)
		return;
	span_count = 0;
	while (span_count < SPANS_MAX && !linux_vma_query(agent.sys, addr, true, &vma)) {
		if (may_migrate(&vma))
			spans[span_count++] = vma.span;
		addr = vma.span.end;
	}
	list_due_ns = now_ns + LIST_NS;
}

/* The first pages in @span that are there, as one span without holes, or nothing. */
static struct span present_run(struct span span)
{
	struct sys_page_run runs[RUNS_MAX];
	struct span run = { 0, 0 };
	size_t count = 0;
	uint64_t end;

	if (linux_page_scan(agent.sys, span, runs, RUNS_MAX, &count, &end))
		return run;
	for (size_t i = 0; i < count; i++) {
		if (!(runs[i].flags & SYS_PAGE_PRESENT) || runs[i].flags & SYS_PAGE_GUARD)
			continue;
		if (span_is_empty(run))
			run = runs[i].span;
		else if (run.end == runs[i].span.start)
			run.end = runs[i].span.end;
		else
			break;
	}
	return run;
}

static struct span clamp(struct span run, uint64_t bytes)
{
	run.end = MIN(run.end, span_block(run.start, bytes).end);
	return run;
}

static struct span pick_next(uint64_t bytes)
{
	for (size_t i = 0; i < span_count; i++) {
		struct span run;

		if (spans[i].end <= cursor)
			continue;
		run = present_run((struct span){ MAX(cursor, spans[i].start), spans[i].end });
		if (span_is_empty(run))
			continue;
		run = clamp(run, bytes);
		cursor = run.end;
		return run;
	}
	cursor = 0;
	return (struct span){ 0, 0 };
}

static struct span pick_any(uint64_t bytes)
{
	for (int i = 0; i < PICK_TRIES; i++) {
		struct span in = spans[prng_below(&agent.random, span_count)];
		uint64_t page = prng_below(&agent.random, span_pages(in));
		struct span run;

		in.start += page * PAGE_BYTES;
		run = present_run(clamp(in, HUGE_BYTES));
		if (!span_is_empty(run))
			return clamp(run, bytes);
	}
	return pick_next(bytes);
}

static struct span pick(void)
{
	static const uint64_t sizes[] = { PAGE_BYTES, KIB(64), HUGE_BYTES };
	uint64_t bytes = sizes[prng_below(&agent.random, ARRAY_SIZE(sizes))];

	list_read();
	if (!span_count)
		return (struct span){ 0, 0 };
	return prng_below(&agent.random, 2) ? pick_next(bytes) : pick_any(bytes);
}

/* --- what -------------------------------------------------------------------------- */

static const void *pointer(struct span span)
{
	return (const void *)(uintptr_t)span.start;
}

static void take(struct span span)
{
	agent.counts[CHAOS_TAKES]++;
	usvm_prefetch(agent.vm, pointer(span), span_bytes(span), USVM_PLACE_DEVICE);
	/* A fault takes all of the block that the mapping has. */
	census_went((struct span){ ALIGN_DOWN(span.start, HUGE_BYTES),
				   ALIGN_UP(span.end, HUGE_BYTES) });
}

static void job(struct span span)
{
	const struct touch_args args = {
		.addr = span.start,
		.page_count = MIN(span_pages(span), (uint64_t)JOB_PAGES),
		.offset = prng_below(&agent.random, PAGE_BYTES / 8) * 8,
		.atomic = prng_below(&agent.random, 2),
	};

	agent.counts[CHAOS_JOBS]++;
	if (run(touch_kernel, &args, sizeof(args)))
		agent.counts[CHAOS_JOBS_ENDED]++;
	census_went((struct span){ ALIGN_DOWN(span.start, HUGE_BYTES),
				   ALIGN_UP(span.end, HUGE_BYTES) });
}

#if defined(CHAOS_PLANT)
struct lose_args {
	uint64_t addr;
	uint64_t page_count;
	uint64_t *lost; /* library memory */
};

/* The first page of the span that holds something is zeros from now on. */
static void lose_kernel(struct usvm_lane *lane, const void *args)
{
	const struct lose_args *a = args;
	uint64_t words[PAGE_BYTES / sizeof(uint64_t)];
	uint64_t any = 0;

	for (uint64_t i = 0; i < a->page_count && !any; i++) {
		uint64_t addr = a->addr + i * PAGE_BYTES;

		usvm_read(lane, words, addr, sizeof(words));
		for (size_t w = 0; w < ARRAY_SIZE(words); w++)
			any |= words[w];
		if (!any)
			continue;
		memset(words, 0, sizeof(words));
		usvm_write(lane, addr, words, sizeof(words));
		(*a->lost)++;
	}
}

static void lose_one_page(struct span span)
{
	const struct lose_args args = {
		.addr = span.start,
		.page_count = span_pages(span),
		.lost = &agent.counts[CHAOS_LOST],
	};

	usvm_prefetch(agent.vm, pointer(span), span_bytes(span), USVM_PLACE_DEVICE);
	(void)run(lose_kernel, &args, sizeof(args));
}
#endif

static void evict(struct span span)
{
	agent.counts[CHAOS_EVICTS]++;
#if defined(CHAOS_PLANT)
	if (agent.shared->loses_pages)
		lose_one_page(span);
#endif
	usvm_prefetch(agent.vm, pointer(span), span_bytes(span), USVM_PLACE_SYSTEM);
}

/* What is there is at home; what went out lies anywhere in a mapping. */
static struct span pick_out(void)
{
	struct span in = spans[prng_below(&agent.random, span_count)];
	uint64_t page = prng_below(&agent.random, span_pages(in));

	return clamp((struct span){ in.start + page * PAGE_BYTES, in.end }, HUGE_BYTES);
}

void roam_step(void)
{
	uint64_t what = prng_below(&agent.random, 16);
	struct span span = pick();

	if (!span_count)
		return;
	if (what < 3)
		evict(span_is_empty(span) || what ? pick_out() : span);
	else if (span_is_empty(span))
		return;
	else if (what < 6)
		job(span);
	else
		take(span);
}
