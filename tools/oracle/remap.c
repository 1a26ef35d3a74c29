/* SPDX-License-Identifier: MIT */
/*
 * DOC: Areas change their place or size
 *
 * The kernel wants an mremap() for each VMA. Where they end it is asked: usvm registers
 * whole VMAs, protections split them, and what was mapped anew may or may not have joined.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sys/linux_abi.h"

#include "oracle.h"

#if !defined(MREMAP_DONTUNMAP)
#define MREMAP_DONTUNMAP 4
#endif

uint64_t vma_end(uint64_t addr)
{
	struct abi_vma_query query = { .struct_bytes = sizeof(query), .query_addr = addr };
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	int err = ioctl(fd, ABI_VMA_IOCTL_QUERY, &query);

	close(fd);
	return err ? 0 : query.end;
}

/* How many of @pages at @at lie in one VMA. */
static uint32_t piece_pages(const unsigned char *at, uint32_t pages)
{
	uint64_t end = vma_end((uintptr_t)at);
	uint64_t piece = end ? (end - (uintptr_t)at) / PAGE : 1;

	return piece < pages ? (uint32_t)piece : pages;
}

void remap_pieces(const struct worker *worker, struct area *area, unsigned char *from,
		  uint32_t pages, unsigned char *to, int flags)
{
	for (uint32_t first = 0, count; first < pages; first += count) {
		void *at = to + first * PAGE;

		count = piece_pages(from + first * PAGE, pages - first);
		area_note(area, worker->thread, flags ? "DONTUNMAP" : "mremap", first, count);
		if (mremap(from + first * PAGE, count * PAGE, count * PAGE,
			   MREMAP_MAYMOVE | MREMAP_FIXED | flags, at) != at)
			report_failure(area, "mremap", errno);
	}
}

/* All of an area to a new place. */
static void area_moved(struct area *area, uint32_t slot)
{
	uint32_t old = area->slot;

	area->slot = slot;
	area->base = area_slot_base(area, slot);
	area_slot_release(area, old);
}

void op_move(struct worker *worker, struct hold *hold)
{
	uint32_t slot = area_slot_reserve(hold->area);

	if (slot == UINT32_MAX) {
		worker->missed++;
		return;
	}
	place(worker, hold);
	remap_pieces(worker, hold->area, hold->area->base, hold->count,
		     area_slot_base(hold->area, slot), 0);
	area_moved(hold->area, slot);
	look(worker, hold, "after mremap");
}

/* What was left behind is zeros. */
static void check_left(struct worker *worker, const struct hold *hold,
		       const unsigned char *old)
{
	for (uint32_t i = 0; i < 16; i++) {
		uint32_t page = random_below(&worker->random, hold->count);
		uint64_t word = random_below(&worker->random, PAGE_WORDS);
		uint64_t found = *(const volatile uint64_t *)(const void *)(old + page * PAGE +
									    word * 8);

		if (found)
			report_mismatch(hold->area, &(struct mismatch){ .kind = CHECK_ZERO,
				.page = page, .word = word, .found = found },
				worker->thread, "in what DONTUNMAP left");
	}
}

void op_dontunmap(struct worker *worker, struct hold *hold)
{
	uint32_t slot = area_slot_reserve(hold->area);
	unsigned char *old = hold->area->base;

	if (slot == UINT32_MAX) {
		worker->missed++;
		return;
	}
	place(worker, hold);
	remap_pieces(worker, hold->area, old, hold->count, area_slot_base(hold->area, slot),
		     MREMAP_DONTUNMAP);
	check_left(worker, hold, old);
	if (random_one_in(&worker->random, 2))
		job_run(&worker->job, hold, JOB_SOIL, 1, 0);
	if (munmap(old, hold->count * PAGE))
		report_failure(hold->area, "munmap of what DONTUNMAP left", errno);
	area_moved(hold->area, slot);
	look(worker, hold, "after DONTUNMAP");
}

static void shrink_area(struct worker *worker, struct hold *hold, uint32_t pages)
{
	struct area *area = hold->area;

	area_note(area, worker->thread, "shrink", pages, area->pages - pages);
	if (munmap(page_at(area, pages), (area->pages - pages) * PAGE))
		report_failure(area, "munmap of the end", errno);
	shadow_clear(hold, pages, area->pages - pages);
}

/* The last VMA grows where it is; where the kernel would have to move it, it is joined by
 * a new one. */
static void grow_area(struct worker *worker, struct hold *hold, uint32_t pages)
{
	struct area *area = hold->area;
	uint32_t first = 0, count = 0, more = pages - area->pages;
	unsigned char *end = page_at(area, area->pages);

	for (; first < area->pages; first += count)
		count = piece_pages(page_at(area, first), area->pages - first);
	area_note(area, worker->thread, "grow", area->pages, more);
	if (mremap(end - count * PAGE, count * PAGE, (count + more) * PAGE, 0) == MAP_FAILED) {
		worker->refused++;
		if (!map_again(area, area->pages, more, MAP_FIXED_NOREPLACE))
			report_failure(area, "mmap at the end", errno);
		advise_as(area, area->pages, more);
	}
}

static uint32_t pages_drawn(struct worker *worker, const struct area *area)
{
	return area->pages_min +
	       random_below(&worker->random, area->pages_max - area->pages_min + 1);
}

void op_resize(struct worker *worker, struct hold *hold)
{
	uint32_t pages = pages_drawn(worker, hold->area);

	place(worker, hold);
	if (pages < hold->area->pages)
		shrink_area(worker, hold, pages);
	else if (pages > hold->area->pages)
		grow_area(worker, hold, pages);
	STORE(&hold->area->pages, pages);
	hold->count = pages;
	look(worker, hold, "after a change of size");
}

/* Where somebody else has moved the break, the area stays as it is. */
void op_break(struct worker *worker, struct hold *hold)
{
	struct area *area = hold->area;
	uint32_t pages = pages_drawn(worker, area);

	place(worker, hold);
	if (sbrk(0) != (void *)page_at(area, area->pages)) {
		worker->missed++;
		return;
	}
	note(worker, hold, "brk");
	if (brk(page_at(area, pages))) {
		worker->refused++;
		return;
	}
	if (pages < area->pages)
		shadow_clear(hold, pages, area->pages - pages);
	STORE(&area->pages, pages);
	hold->count = pages;
	look(worker, hold, "after brk");
}
