/* SPDX-License-Identifier: MIT */
/*
 * DOC: the library's own pages
 *
 * Metadata, pools and stacks come from a few large reservations, so that "never
 * migrate what is ours" is one span each. (It is more mappings: what is reserved is
 * one of its own, and so is each piece of 2 MiB or more, for which the kernel is
 * advised to give huge pages.)
 *
 *     | header, bitmap |  pages in use or free  |  reserved: no access  |
 *     span.start                                committed_end     span.end
 *
 * A region is wiped in a child of fork and left out of core dumps. Its lower
 * part is made accessible in steps and stays so; pages given back are emptied
 * with MADV_DONTNEED, which the kernel does at once (this memory is never
 * registered with a userfaultfd, so there is no event). One bit a page tells
 * what is in use; a search starts at the lowest page that may be free.
 *
 * Where the first, large reservation is refused (RLIMIT_AS), regions are as
 * small as can be and more of them. The last close unmaps them all.
 *
 * The first word of the first region doubles as the mark of the process that
 * opened: a fork's child reads zero there.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "sys/linux_abi.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

/* Far below the kernel's mmap zone, and within what ThreadSanitizer accepts. */
#define REGION_HINT 0x7e9000000000ull
#define REGION_BYTES GIB(16)
#define SMALL_REGION_BYTES MIB(8)
#define REGION_COUNT_MAX 64
#define COMMIT_STEP_BYTES MIB(2)
#define REGION_MAGIC 0x7573766d70616765ull

struct region {
	struct span span; /* empty: no region */
	uint64_t committed_end;
	uint64_t *bitmap; /* bit n: page n of the region is in use */
	uint64_t page_count;
	uint64_t used_count;  /* without header and bitmap */
	uint64_t lowest_free; /* no page below is free */
};

static struct {
	struct lock lock;
	struct region regions[REGION_COUNT_MAX];
	bool closing; /* unmap when the last page comes back */
} pages = {
	.lock = { .rank = LOCK_LEAF, .name = "sys.pages" },
};

static bool bit_get(const struct region *r, uint64_t page)
{
	return r->bitmap[page / 64] >> (page % 64) & 1;
}

static void bits_set(struct region *r, uint64_t first, uint64_t count, bool on)
{
	for (uint64_t page = first; page < first + count; page++) {
		uint64_t bit = 1ull << (page % 64);

		if (on)
			r->bitmap[page / 64] |= bit;
		else
			r->bitmap[page / 64] &= ~bit;
	}
}

/* Make everything below @end accessible. */
static int region_commit(struct region *r, uint64_t end)
{
	uint64_t to = MIN(ALIGN_UP(end, COMMIT_STEP_BYTES), r->span.end);
	int err;

	if (end <= r->committed_end)
		return 0;
	err = (int)linux_call(SYS_mprotect, r->committed_end,
			      to - r->committed_end, PROT_READ | PROT_WRITE);
	if (!err)
		r->committed_end = to;
	return err;
}

static int region_create(struct region *r, uint64_t bytes)
{
	uint64_t page_count = bytes / PAGE_BYTES;
	uint64_t head_pages = 1 + ALIGN_UP(page_count / 8, PAGE_BYTES) /
					  PAGE_BYTES;
	uint64_t addr = linux_map_near(REGION_HINT, bytes, PAGE_BYTES,
				       PROT_NONE);
	int err;

	if (!addr)
		return -ENOMEM;
	*r = (struct region){
		.span = span_make(addr, bytes),
		.committed_end = addr,
		.bitmap = (uint64_t *)(uintptr_t)(addr + PAGE_BYTES),
		.page_count = page_count,
		.lowest_free = head_pages,
	};
	err = (int)linux_call(SYS_madvise, addr, bytes, MADV_WIPEONFORK);
	if (!err)
		err = (int)linux_call(SYS_madvise, addr, bytes, MADV_DONTDUMP);
	if (!err)
		err = region_commit(r, addr + head_pages * PAGE_BYTES);
	if (err) {
		linux_call(SYS_munmap, addr, bytes);
		*r = (struct region){ .span = { 0, 0 } };
		return err;
	}
	*(uint64_t *)(uintptr_t)addr = REGION_MAGIC;
	bits_set(r, 0, head_pages, true);
	return 0;
}

static void region_destroy(struct region *r)
{
	linux_call(SYS_munmap, r->span.start, span_bytes(r->span));
	*r = (struct region){ .span = { 0, 0 } };
}

/* The first of @count free pages in a row, or page_count if there are none. Many begin at a
 * multiple of 2 MiB. */
static uint64_t region_find(struct region *r, uint64_t count)
{
	uint64_t align = count < PAGES_PER_HUGE ? PAGE_BYTES : HUGE_BYTES;
	uint64_t run = 0;
	bool lowest_seen = false;

	for (uint64_t page = r->lowest_free; page < r->page_count; page++) {
		if (page % 64 == 0 && r->bitmap[page / 64] == UINT64_MAX) {
			run = 0;
			page += 63;
			continue;
		}
		if (bit_get(r, page)) {
			run = 0;
			continue;
		}
		if (!lowest_seen) {
			lowest_seen = true;
			r->lowest_free = page;
		}
		if (run == 0 && !IS_ALIGNED(r->span.start + page * PAGE_BYTES, align))
			continue;
		if (++run == count)
			return page + 1 - count;
	}
	return r->page_count;
}

static void *region_alloc(struct region *r, uint64_t count)
{
	uint64_t page;
	uint64_t addr;

	if (count > r->page_count - r->used_count)
		return NULL;
	page = region_find(r, count);
	if (page == r->page_count)
		return NULL;
	addr = r->span.start + page * PAGE_BYTES;
	if (region_commit(r, addr + count * PAGE_BYTES))
		return NULL;
	bits_set(r, page, count, true);
	r->used_count += count;
	/* The memory of a device that copies: one first touch for each 2 MiB, not 512. A kernel
	 * without huge pages says -EINVAL. */
	if (count >= PAGES_PER_HUGE)
		(void)linux_call(SYS_madvise, addr, count * PAGE_BYTES, MADV_HUGEPAGE);
	return (void *)(uintptr_t)addr;
}

static void *alloc_locked(uint64_t bytes) MUST_HOLD(&pages.lock);
static void *alloc_locked(uint64_t bytes)
{
	struct region *unused = NULL;

	for (size_t i = 0; i < REGION_COUNT_MAX; i++) {
		struct region *r = &pages.regions[i];
		void *found = NULL;

		if (!span_is_empty(r->span))
			found = region_alloc(r, bytes / PAGE_BYTES);
		else if (!unused)
			unused = r;
		if (found)
			return found;
	}
	if (!unused)
		return NULL;
	if (region_create(unused, REGION_BYTES)) {
		uint64_t need = bytes + bytes / 1024 + 4 * PAGE_BYTES;

		if (bytes >= HUGE_BYTES) /* it begins at a multiple of them */
			need += HUGE_BYTES;
		need = ALIGN_UP(need, SMALL_REGION_BYTES);
		if (region_create(unused, need))
			return NULL;
	}
	return region_alloc(unused, bytes / PAGE_BYTES);
}

static void destroy_if_unused_locked(void) MUST_HOLD(&pages.lock);
static void destroy_if_unused_locked(void)
{
	uint64_t used = 0;

	for (size_t i = 0; i < REGION_COUNT_MAX; i++)
		used += pages.regions[i].used_count;
	for (size_t i = 0; used == 0 && i < REGION_COUNT_MAX; i++) {
		if (!span_is_empty(pages.regions[i].span))
			region_destroy(&pages.regions[i]);
	}
}

int linux_pages_init(void)
{
	int err = 0;

	lock_acquire(&pages.lock);
	pages.closing = false;
	if (span_is_empty(pages.regions[0].span)) {
		err = region_create(&pages.regions[0], REGION_BYTES);
		if (err)
			err = region_create(&pages.regions[0],
					    SMALL_REGION_BYTES);
	}
	lock_release(&pages.lock);
	return err;
}

void linux_pages_fini(void)
{
	lock_acquire(&pages.lock);
	pages.closing = true;
	destroy_if_unused_locked();
	lock_release(&pages.lock);
}

/* The regions are wiped, and whoever points into them reads zeros: that is
 * better than a fault, so they stay mapped, and are forgotten. */
void linux_pages_forget(void)
{
	lock_init(&pages.lock, LOCK_LEAF, "sys.pages");
	for (size_t i = 0; i < REGION_COUNT_MAX; i++)
		pages.regions[i] = (struct region){ .span = { 0, 0 } };
	pages.closing = false;
}

bool linux_pages_are_forked(void)
{
	const struct region *r = &pages.regions[0];

	return span_is_empty(r->span) ||
	       *(const volatile uint64_t *)(uintptr_t)r->span.start !=
		       REGION_MAGIC;
}

void *linux_pages_alloc(size_t bytes)
{
	void *found;

	ASSERT(bytes > 0);
	ASSERT(IS_ALIGNED(bytes, PAGE_BYTES));
	lock_assert_may_sleep("pages_alloc");
	lock_acquire(&pages.lock);
	found = alloc_locked(bytes);
	lock_release(&pages.lock);
	return found;
}

void linux_pages_free(void *start, size_t bytes)
{
	struct span span = span_make((uintptr_t)start, bytes);
	struct region *r = NULL;
	uint64_t page;

	if (!start)
		return;
	ASSERT(IS_ALIGNED(span.start, PAGE_BYTES));
	ASSERT(IS_ALIGNED(bytes, PAGE_BYTES));
	lock_acquire(&pages.lock);
	for (size_t i = 0; i < REGION_COUNT_MAX && !r; i++) {
		if (span_covers(pages.regions[i].span, span))
			r = &pages.regions[i];
	}
	ASSERT(r);
	page = (span.start - r->span.start) / PAGE_BYTES;
	ASSERT(bit_get(r, page));
	ASSERT(r->used_count >= bytes / PAGE_BYTES);
	/* Whoever gets the pages next expects zeros, also after mlockall(). */
	if (linux_discard(span))
		memset(start, 0, bytes);
	bits_set(r, page, bytes / PAGE_BYTES, false);
	r->used_count -= bytes / PAGE_BYTES;
	r->lowest_free = MIN(r->lowest_free, page);
	if (pages.closing)
		destroy_if_unused_locked();
	lock_release(&pages.lock);
}

void linux_pages_spans(struct span *spans, size_t max, size_t *count)
{
	lock_acquire(&pages.lock);
	for (size_t i = 0; i < REGION_COUNT_MAX; i++) {
		if (span_is_empty(pages.regions[i].span))
			continue;
		if (*count < max)
			spans[*count] = pages.regions[i].span;
		(*count)++;
	}
	lock_release(&pages.lock);
}
