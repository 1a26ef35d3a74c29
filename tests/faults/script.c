/* SPDX-License-Identifier: MIT */
/*
 * DOC: the program whose calls fail
 *
 * A page has a number, an address and a count. Its first word is the count, which kernels
 * add to; the others follow from the number. A job that failed has added to some pages
 * and not to others; so after one each page may have its count or one more, and what is
 * read first decides.
 */
#include "faults/script.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <usvm/usvm.h>

#include "support/fault_table.h"

#define PAGE 4096ul
#define WORDS (PAGE / 8)
#define HEAP_PAGES 64ul
#define AREA_PAGES 768ul /* more than device memory has */

struct area {
	unsigned char *at;
	size_t pages;
	uint64_t *base;  /* by page: the count */
	uint64_t *extra; /* by page: what a failed job may have added, not yet known */
	bool *gone;      /* by page: unmapped */
	bool *zeroed;    /* by page: discarded */
};

struct script {
	struct script_result *result;
	bool may_fail;
	bool may_lose;
	int probe; /* a file, to have the kernel read a page */
	struct usvm *device;
	struct usvm_vm *vm;
	struct usvm_queue *queue;
	struct area heap, map;
};

static void fail(struct script *s, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void fail(struct script *s, const char *format, ...)
{
	va_list args;

	if (s->result->failed)
		return;
	s->result->failed = true;
	va_start(args, format);
	vsnprintf(s->result->text, sizeof(s->result->text), format, args);
	va_end(args);
}

/* Return: it succeeded. */
static bool went_well(struct script *s, const char *what, int err)
{
	if (err && !(s->may_fail && fault_is_documented(err)) &&
	    !(s->may_lose && err == -EFAULT))
		fail(s, "%s gave %d", what, err);
	return !err;
}

/* --- memory ---------------------------------------------------------------- */

static volatile uint64_t *words_of(const struct area *area, size_t page)
{
	return (volatile uint64_t *)(void *)(area->at + page * PAGE);
}

static uint64_t word(size_t page, size_t index)
{
	return (page * WORDS + index + 1) * 0x9E3779B97F4A7C15u;
}

static void fill(struct area *area, void *at, size_t pages)
{
	*area = (struct area){ .at = at, .pages = pages };
	area->base = calloc(pages, sizeof(*area->base));
	area->extra = calloc(pages, sizeof(*area->extra));
	area->gone = calloc(pages, sizeof(*area->gone));
	area->zeroed = calloc(pages, sizeof(*area->zeroed));
	for (size_t page = 0; page < pages; page++) {
		words_of(area, page)[0] = 0;
		for (size_t i = 1; i < WORDS; i++)
			words_of(area, page)[i] = word(page, i);
	}
}

static void forget(struct area *area)
{
	free(area->base);
	free(area->extra);
	free(area->gone);
	free(area->zeroed);
}

/* Return: NULL, or what is wrong with the page. */
static const char *look_at_page(const struct area *area, size_t page, uint64_t *count)
{
	volatile uint64_t *words = words_of(area, page);

	*count = words[0];
	if (*count < area->base[page] || *count > area->base[page] + area->extra[page])
		return "its count";
	for (size_t i = 1; i < WORDS; i++) {
		if (words[i] != (area->zeroed[page] ? 0 : word(page, i)))
			return "a word of it";
	}
	return NULL;
}

/* A touch of the program's own would be SIGBUS. */
static bool is_lost(struct script *s, const struct area *area, size_t page)
{
	if (!s->may_lose || pwrite(s->probe, area->at + page * PAGE, 1, 0) == 1)
		return false;
	s->result->lost = true;
	return true;
}

static void look(struct script *s, struct area *area, size_t first, size_t pages,
		 const char *when)
{
	for (size_t page = first; page < first + pages && !s->result->failed; page++) {
		const char *wrong;
		uint64_t count;

		area->gone[page] = area->gone[page] || is_lost(s, area, page);
		if (area->gone[page])
			continue;
		wrong = look_at_page(area, page, &count);
		if (wrong)
			fail(s, "%s: page %zu of %zu: %s is wrong (%lu, not %lu to %lu)", when,
			     page, area->pages, wrong, count, area->base[page],
			     area->base[page] + area->extra[page]);
		area->base[page] = count;
		area->extra[page] = 0;
	}
}

static void discard(struct script *s, struct area *area, size_t first, size_t pages)
{
	if (madvise(area->at + first * PAGE, pages * PAGE, MADV_DONTNEED))
		fail(s, "madvise: %s", strerror(errno));
	for (size_t page = first; page < first + pages; page++) {
		area->zeroed[page] = true;
		area->base[page] = area->extra[page] = 0;
	}
}

static void unmap(struct script *s, struct area *area, size_t first, size_t pages)
{
	if (munmap(area->at + first * PAGE, pages * PAGE))
		fail(s, "munmap: %s", strerror(errno));
	for (size_t page = first; page < first + pages; page++)
		area->gone[page] = true;
}

/* --- jobs ------------------------------------------------------------------ */

struct job {
	uint64_t at;
	size_t pages;
};

static void add_one(struct usvm_lane *lane, const void *args)
{
	const struct job *job = args;

	for (size_t page = 0; page < job->pages; page++)
		usvm_atomic_add64(lane, job->at + page * PAGE, 1);
}

static struct usvm_queue *queue_of(struct script *s)
{
	struct usvm_queue_status status;

	if (s->queue && went_well(s, "usvm_queue_status()", usvm_queue_status(s->queue, &status)) &&
	    status.banned) {
		went_well(s, "usvm_queue_destroy()", usvm_queue_destroy(s->queue));
		s->queue = NULL;
	}
	if (!s->vm && !went_well(s, "usvm_vm_create()", usvm_vm_create(s->device, NULL, &s->vm)))
		s->vm = NULL;
	if (s->vm && !s->queue &&
	    !went_well(s, "usvm_queue_create()", usvm_queue_create(s->vm, NULL, &s->queue)))
		s->queue = NULL;
	return s->queue;
}

static void run(struct script *s, struct area *area, size_t first, size_t pages)
{
	struct job job = { (uintptr_t)area->at + first * PAGE, pages };
	const struct usvm_kernel kernel = { .function = add_one, .args = &job,
					    .args_bytes = sizeof(job) };
	struct usvm_queue *queue = queue_of(s);
	uint64_t places[4] = { 0 };
	bool ended;

	if (!queue)
		return;
	ended = went_well(s, "usvm_run_kernel()", usvm_run_kernel(queue, &kernel));
	for (size_t page = first; page < first + pages; page++) {
		area->base[page] += ended;
		area->extra[page] += !ended;
	}
	if (!usvm_query_span(s->vm, area->at + first * PAGE, pages * PAGE, places))
		s->result->on_device |= places[USVM_PAGE_DEVICE] > 0;
}

/* --- the script ------------------------------------------------------------ */

static void child(struct script *s)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		look(s, &s->heap, 0, HEAP_PAGES, "in the child");
		_exit(s->result->failed);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		fail(s, "fork: %s", strerror(errno));
	else if (s->may_fail && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
		return; /* it could not be given the memory: docs/limits.md */
	else if (status)
		fail(s, "a child of fork() read something else");
}

static void use(struct script *s)
{
	struct area *heap = &s->heap, *map = &s->map;

	run(s, heap, 0, HEAP_PAGES);
	look(s, heap, 0, HEAP_PAGES, "after the first job");
	run(s, heap, 0, HEAP_PAGES);
	if (mprotect(heap->at, 4 * PAGE, PROT_READ))
		fail(s, "mprotect: %s", strerror(errno));
	look(s, heap, 0, 8, "of pages that may only be read");
	if (mprotect(heap->at, 4 * PAGE, PROT_READ | PROT_WRITE))
		fail(s, "mprotect: %s", strerror(errno));
	for (size_t page = 0; page < AREA_PAGES; page += AREA_PAGES / 4)
		run(s, map, page, AREA_PAGES / 4);
	look(s, map, 100, 300, "after evictions");
	run(s, heap, 0, HEAP_PAGES);
	child(s);
	run(s, heap, 0, HEAP_PAGES);
	discard(s, heap, 16, 8);
	unmap(s, map, 64, 32);
	run(s, heap, 8, 32);
	look(s, heap, 0, HEAP_PAGES, "after MADV_DONTNEED");
	if (s->vm)
		went_well(s, "usvm_prefetch()",
			  usvm_prefetch(s->vm, heap->at, HEAP_PAGES * PAGE, USVM_PLACE_DEVICE));
}

static void leave(struct script *s, void (*relent)(void))
{
	int err;

	went_well(s, "usvm_queue_destroy()", s->queue ? usvm_queue_destroy(s->queue) : 0);
	went_well(s, "usvm_vm_destroy()", s->vm ? usvm_vm_destroy(s->vm) : 0);
	err = usvm_close(s->device);
	if (s->may_fail && err && fault_is_documented(err)) {
		relent();
		err = usvm_close(s->device);
	}
	if (err)
		fail(s, "usvm_close() gave %d", err);
}

static void *map_pages(size_t pages)
{
	return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
}

void script_run(const char *spec, bool may_fail, bool may_lose, void (*relent)(void),
		struct script_result *result)
{
	struct script s = { .result = result, .may_fail = may_fail, .may_lose = may_lose };
	/* What malloc() has beside it must not be lost. */
	void *heap = may_lose ? map_pages(HEAP_PAGES) : aligned_alloc(PAGE, HEAP_PAGES * PAGE);
	void *map = map_pages(AREA_PAGES);

	*result = (struct script_result){ .failed = false };
	s.probe = memfd_create("probe", MFD_CLOEXEC);
	if (!heap || heap == MAP_FAILED || map == MAP_FAILED || s.probe < 0) {
		fail(&s, "no memory");
		return;
	}
	fill(&s.heap, heap, HEAP_PAGES);
	fill(&s.map, map, AREA_PAGES);
	if (went_well(&s, "usvm_open()", usvm_open(spec, &s.device))) {
		use(&s);
		leave(&s, relent);
	}
	look(&s, &s.heap, 0, HEAP_PAGES, "after the close");
	look(&s, &s.map, 0, AREA_PAGES, "after the close");
	close(s.probe);
	munmap(map, AREA_PAGES * PAGE);
	if (may_lose)
		munmap(heap, HEAP_PAGES * PAGE);
	else
		free(heap);
	forget(&s.heap);
	forget(&s.map);
}
