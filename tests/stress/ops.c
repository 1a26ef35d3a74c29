/* SPDX-License-Identifier: MIT */
/*
 * DOC: What the program does to its memory
 *
 * Each operation locks pages, acts, says in the shadow what must be there now, and
 * often looks at once, with the CPU or the GPU; else whoever comes next does. What the
 * kernel may refuse is counted, and must have changed nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stress.h"

#define STRESS_MADV_COLLAPSE 25
#define STRESS_MREMAP_DONTUNMAP 4

/* The definition of <linux/fs.h> in 6.11 and later. */
struct procmap_query {
	uint64_t size, flags, addr, start, end, vma_flags, page_size, offset, inode;
	uint32_t dev_major, dev_minor, name_size, build_id_size;
	uint64_t name_addr, build_id_addr;
};

#define PROCMAP_QUERY_IOCTL _IOWR('f', 17, struct procmap_query)

void look(struct worker *worker, const struct hold *hold, const char *when)
{
	uint32_t how = random_below(&worker->random, 4);

	if (how == 0)
		check_held(hold, worker->thread, &worker->random, when);
	else if (how == 1)
		job_run(&worker->job, hold, JOB_CHECK, 1, 0);
}

/* Now and then all of what is held is put where the next step shall find it. */
void place(struct worker *worker, const struct hold *hold)
{
	uint32_t how = random_below(&worker->random, 4);
	int err;

	if (how > 1)
		return;
	err = usvm_prefetch(run->vm, hold->area->base + hold->first * PAGE,
			    hold->count * PAGE,
			    how ? USVM_PLACE_DEVICE : USVM_PLACE_SYSTEM);
	if (err)
		report_failure(hold->area, "prefetch of what is mapped", err);
}

bool hold_exclusive(struct worker *worker, uint32_t pages_max, struct hold *hold)
{
	if (hold_some(&worker->random, true, pages_max, hold))
		return true;
	worker->missed++;
	return false;
}

static void *hold_start(const struct hold *hold)
{
	return hold->area->base + hold->first * PAGE;
}

void note(const struct worker *worker, const struct hold *hold, const char *what)
{
	area_note(hold->area, worker->thread, what, hold->first, hold->count);
}

/* --- use ---------------- */

void op_touch(struct worker *worker)
{
	struct hold hold;
	struct mismatch m;

	if (!hold_some(&worker->random, false, 64, &hold)) {
		worker->missed++;
		return;
	}
	note(worker, &hold, "touch");
	for (uint32_t i = 0; i < 32; i++) {
		uint32_t page = hold.first + random_below(&worker->random, hold.count);
		uint32_t start = TAG_FIRST + random_below(&worker->random, TAG_END - TAG_FIRST);

		touch_page(hold.area, page, worker->thread,
			   1 + random_below(&worker->random, 4));
		if (!check_page(hold.area, page, start, 8, false, &m))
			report_mismatch(hold.area, &m, worker->thread, "touch");
	}
	hold_release(&hold);
}

void op_make_tags(struct worker *worker, const struct hold *hold)
{
	uint64_t tag;

	if (random_one_in(&worker->random, 2)) {
		job_run(&worker->job, hold, JOB_TAG, 1, 0);
		return;
	}
	note(worker, hold, "cpu tags");
	tag = ADD(&run->tag_next, 1);
	for (uint32_t i = 0; i < hold->count; i++) {
		uint32_t page = hold->first + i;
		uint64_t id = page_id(hold->area->index, page);
		volatile uint64_t *words = page_words(hold->area, page);

		for (uint32_t word = TAG_FIRST; word < TAG_END; word++)
			words[word] = tag_value(id, tag, word);
		STORE(&hold->area->shadow[page].tag, tag);
	}
}

void op_tag(struct worker *worker)
{
	struct hold hold;

	if (!hold_exclusive(worker, 64, &hold))
		return;
	op_make_tags(worker, &hold);
	look(worker, &hold, "after tags");
	hold_release(&hold);
}

/* Of any pages of an area, whatever is being done to them. */
void op_prefetch(struct worker *worker)
{
	bool to_device = random_one_in(&worker->random, 2);
	struct area *area = area_choose(&worker->random);
	uint32_t first, count;
	int err;

	if (!try_shared(&area->lock)) {
		worker->missed++;
		return;
	}
	first = random_below(&worker->random, area->pages);
	count = 1 + random_below(&worker->random, area->pages - first);
	area_note(area, worker->thread, to_device ? "prefetch device" : "prefetch system", first,
		  count);
	err = usvm_prefetch(run->vm, area->base + first * PAGE, count * PAGE,
			    to_device ? USVM_PLACE_DEVICE : USVM_PLACE_SYSTEM);
	if (err && err != -EFAULT) /* all of it was unmapped just then */
		report_failure(area, "prefetch", err);
	unlock_shared(&area->lock);
}

/* The kernel reads pages, and writes them: what it reads it writes back. */
void op_pipe(struct worker *worker)
{
	struct hold hold;
	int ends[2];

	if (!hold_exclusive(worker, 16, &hold))
		return;
	if (pipe2(ends, O_CLOEXEC))
		report_failure(NULL, "pipe2", errno);
	note(worker, &hold, "pipe");
	for (uint32_t i = 0; i < hold.count; i++) {
		unsigned char *at = hold.area->base + (hold.first + i) * PAGE;

		if (write(ends[1], at, PAGE) != (ssize_t)PAGE)
			report_failure(hold.area, "write", errno);
		place(worker, &hold);
		if (read(ends[0], at, PAGE) != (ssize_t)PAGE)
			report_failure(hold.area, "read", errno);
	}
	close(ends[0]);
	close(ends[1]);
	look(worker, &hold, "after write and read");
	hold_release(&hold);
}

/* --- contents go ---------------- */

static void dontneed(struct worker *worker, const struct hold *hold)
{
	note(worker, hold, "DONTNEED");
	if (madvise(hold_start(hold), hold->count * PAGE, MADV_DONTNEED))
		report_failure(hold->area, "MADV_DONTNEED", errno);
}

static void map_fixed(struct worker *worker, const struct hold *hold)
{
	void *at = hold_start(hold);

	note(worker, hold, "MAP_FIXED");
	if (mmap(at, hold->count * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
		report_failure(hold->area, "MAP_FIXED", errno);
	advise_as(hold->area, hold->first, hold->count);
}

static void unmap_map(struct worker *worker, const struct hold *hold)
{
	void *at = hold_start(hold);

	note(worker, hold, "munmap, mmap");
	if (munmap(at, hold->count * PAGE))
		report_failure(hold->area, "munmap", errno);
	if (mmap(at, hold->count * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at)
		report_failure(hold->area, "mmap", errno);
	advise_as(hold->area, hold->first, hold->count);
}

static void lose(struct worker *worker, void (*act)(struct worker *, const struct hold *),
		 const char *when)
{
	struct hold hold;

	if (!hold_exclusive(worker, 256, &hold))
		return;
	place(worker, &hold);
	act(worker, &hold);
	shadow_clear(&hold, hold.first, hold.count);
	look(worker, &hold, when);
	if (random_one_in(&worker->random, 4))
		op_make_tags(worker, &hold);
	hold_release(&hold);
}

void op_dontneed(struct worker *worker)
{
	lose(worker, dontneed, "after DONTNEED");
}

void op_map_fixed(struct worker *worker)
{
	lose(worker, map_fixed, "after MAP_FIXED");
}

void op_unmap_map(struct worker *worker)
{
	lose(worker, unmap_map, "after munmap and mmap");
}

/* A freed page is what it was or zeros, as a whole, and stays so once it was written. */
static void settle_freed(const struct worker *worker, const struct hold *hold, uint32_t page)
{
	struct shadow *shadow = &hold->area->shadow[page];
	uint64_t *words = page_words(hold->area, page);
	struct mismatch as_it_was, m;

	__atomic_store_n(&words[5], 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&words[5], 0, __ATOMIC_SEQ_CST);
	if (check_page(hold->area, page, TAG_FIRST, TAG_END, true, &as_it_was)) {
		settle_page(hold->area, page);
		return;
	}
	memset(shadow, 0, sizeof(*shadow));
	if (!check_page(hold->area, page, TAG_FIRST, TAG_END, true, &m))
		report_mismatch(hold->area, &as_it_was, worker->thread, "after MADV_FREE");
}

void op_free(struct worker *worker)
{
	struct hold hold;

	if (!hold_exclusive(worker, 256, &hold))
		return;
	place(worker, &hold);
	note(worker, &hold, "MADV_FREE");
	if (madvise(hold_start(&hold), hold.count * PAGE, MADV_FREE))
		report_failure(hold.area, "MADV_FREE", errno);
	place(worker, &hold);
	for (uint32_t i = 0; i < hold.count; i++)
		settle_freed(worker, &hold, hold.first + i);
	hold_release(&hold);
}

/* --- contents stay ---------------- */

void op_protect(struct worker *worker)
{
	bool readable = random_one_in(&worker->random, 2);
	struct hold hold;

	if (!hold_exclusive(worker, 128, &hold))
		return;
	place(worker, &hold);
	note(worker, &hold, readable ? "PROT_READ" : "PROT_NONE");
	if (mprotect(hold_start(&hold), hold.count * PAGE, readable ? PROT_READ : PROT_NONE))
		report_failure(hold.area, "mprotect", errno);
	if (readable)
		look(worker, &hold, "while read-only");
	else
		place(worker, &hold);
	if (mprotect(hold_start(&hold), hold.count * PAGE, PROT_READ | PROT_WRITE))
		report_failure(hold.area, "mprotect back", errno);
	note(worker, &hold, "protected no more");
	look(worker, &hold, "after mprotect");
	hold_release(&hold);
}

void op_lock(struct worker *worker)
{
	struct hold hold;

	if (!hold_exclusive(worker, 64, &hold))
		return;
	place(worker, &hold);
	note(worker, &hold, "mlock");
	if (mlock(hold_start(&hold), hold.count * PAGE)) {
		worker->refused++;
	} else {
		look(worker, &hold, "while locked");
		place(worker, &hold);
		if (munlock(hold_start(&hold), hold.count * PAGE))
			report_failure(hold.area, "munlock", errno);
		note(worker, &hold, "munlock");
	}
	look(worker, &hold, "after mlock");
	hold_release(&hold);
}

void op_collapse(struct worker *worker)
{
	struct hold hold;

	if (!hold_some(&worker->random, false, 512, &hold)) {
		worker->missed++;
		return;
	}
	note(worker, &hold, "COLLAPSE");
	if (madvise(hold_start(&hold), hold.count * PAGE, STRESS_MADV_COLLAPSE))
		worker->refused++;
	hold_release(&hold);
}

/* --- areas change their place or size ---------------- */

/* Where the VMA over @addr ends. 0: it cannot be told. */
uint64_t vma_end(uint64_t addr)
{
	struct procmap_query query = { .size = sizeof(query), .addr = addr };
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	int err = ioctl(fd, PROCMAP_QUERY_IOCTL, &query);

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

static bool hold_area(struct worker *worker, struct hold *hold, uint32_t *slot)
{
	struct area *area = area_choose(&worker->random);

	if (!hold_whole(area, true, hold)) {
		worker->missed++;
		return false;
	}
	*slot = area_slot_reserve(area);
	if (*slot != UINT32_MAX)
		return true;
	worker->missed++;
	hold_release(hold);
	return false;
}

/* All of an area to a new place. */
static void area_moved(struct hold *hold, uint32_t slot)
{
	struct area *area = hold->area;
	uint32_t old = area->slot;

	area->slot = slot;
	area->base = area_slot_base(area, slot);
	area_slot_release(area, old);
}

void op_move(struct worker *worker)
{
	struct hold hold;
	uint32_t slot;

	if (!hold_area(worker, &hold, &slot))
		return;
	place(worker, &hold);
	remap_pieces(worker, hold.area, hold.area->base, hold.count,
		     area_slot_base(hold.area, slot), 0);
	area_moved(&hold, slot);
	look(worker, &hold, "after mremap");
	hold_release(&hold);
}

void op_dontunmap(struct worker *worker)
{
	unsigned char *old;
	struct hold hold;
	uint32_t slot;

	if (!hold_area(worker, &hold, &slot))
		return;
	place(worker, &hold);
	old = hold.area->base;
	remap_pieces(worker, hold.area, old, hold.count, area_slot_base(hold.area, slot),
		     STRESS_MREMAP_DONTUNMAP);

	/* What was left behind is zeros. */
	for (uint32_t i = 0; i < 16; i++) {
		uint32_t page = random_below(&worker->random, hold.count);
		uint64_t word = random_below(&worker->random, PAGE_WORDS);
		uint64_t found = *(volatile uint64_t *)(void *)(old + page * PAGE + word * 8);

		if (found)
			report_mismatch(hold.area, &(struct mismatch){ .kind = CHECK_ZERO,
				.page = page, .word = word, .found = found },
				worker->thread, "what DONTUNMAP left");
	}
	if (random_one_in(&worker->random, 2))
		job_run(&worker->job, &hold, JOB_SOIL, 1, 0);
	if (munmap(old, hold.count * PAGE))
		report_failure(hold.area, "munmap of what DONTUNMAP left", errno);
	area_moved(&hold, slot);
	look(worker, &hold, "after DONTUNMAP");
	hold_release(&hold);
}

static void shrink(struct worker *worker, struct hold *hold, uint32_t pages)
{
	struct area *area = hold->area;

	area_note(area, worker->thread, "shrink", pages, area->pages - pages);
	if (munmap(area->base + pages * PAGE, (area->pages - pages) * PAGE))
		report_failure(area, "munmap of the end", errno);
	shadow_clear(hold, pages, area->pages - pages);
	area->pages = pages;
	hold->count = pages;
}

/* The last VMA grows where it is; where the kernel would have to move it, it is joined by
 * a new one. */
static void grow(struct worker *worker, struct hold *hold, uint32_t pages)
{
	struct area *area = hold->area;
	uint32_t first = 0, count = 0, more = pages - area->pages;
	unsigned char *end = area->base + area->pages * PAGE;

	for (; first < area->pages; first += count)
		count = piece_pages(area->base + first * PAGE, area->pages - first);
	area_note(area, worker->thread, "grow", area->pages, more);
	if (mremap(end - count * PAGE, count * PAGE, (count + more) * PAGE, 0) == MAP_FAILED) {
		worker->refused++;
		if (mmap(end, more * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != end)
			report_failure(area, "mmap at the end", errno);
		advise_as(area, area->pages, more);
	}
	area->pages = pages;
	hold->count = pages;
}

void op_resize(struct worker *worker)
{
	struct area *area = area_choose(&worker->random);
	struct hold hold;
	uint32_t pages;

	if (!hold_whole(area, true, &hold)) {
		worker->missed++;
		return;
	}
	place(worker, &hold);
	pages = area->pages_min +
		random_below(&worker->random, area->pages_max - area->pages_min + 1);
	if (pages < area->pages)
		shrink(worker, &hold, pages);
	else if (pages > area->pages)
		grow(worker, &hold, pages);
	look(worker, &hold, "after a change of size");
	hold_release(&hold);
}
