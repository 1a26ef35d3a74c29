/* SPDX-License-Identifier: MIT */
/*
 * DOC: Pagemap
 *
 * In move mode the frames are an arena on the process's userfaultfd: a frame is
 * the page of the program itself, moved. The arena never holds huge pages of its
 * own making: a touch of one frame must not make its neighbours present, for
 * what is present after a MOVE is what was taken (mm/take.c). Huge pages arrive
 * by MOVE, whole: those of the program, and zeroed ones for blocks that were
 * empty, made beside the arena.
 *
 * Poison. What a page leaves behind is a hole, or in copy mode the page itself, and an
 * entry that should be gone would read zeros, or what is most likely right. With poison it
 * reads a pattern that no program has. It costs the memory of all that was ever used.
 */
#include "pagemap/pagemap_internal.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/host.h"

static struct sys *sys_of(const struct pagemap *pagemap)
{
	return mm_sys(pagemap->config.mm);
}

static int create_frames(struct pagemap *pagemap)
{
	struct sys *sys = sys_of(pagemap);
	uint64_t bytes = pagemap->config.vram_bytes;
	int err;

	if (!mm_can_migrate(pagemap->config.mm, NULL)) {
		pagemap->frames_are_plain = true;
		return sys->ops->map(sys, bytes, HUGE_BYTES, 0, &pagemap->frames);
	}
	err = mm_arena_create(pagemap->config.mm, bytes, &pagemap->frames);
	if (err)
		return err;
	err = sys->ops->map(sys, HUGE_BYTES, HUGE_BYTES, 0, &pagemap->zeros);
	if (!err)
		err = sys->ops->advise(sys, span_make(pagemap->zeros, HUGE_BYTES),
				       SYS_ADVICE_HUGEPAGE);
	/* Without huge pages: zeros come page by page, at the first touch. */
	if (err && pagemap->zeros) {
		sys->ops->unmap(sys, pagemap->zeros, HUGE_BYTES);
		pagemap->zeros = 0;
	}
	return 0;
}

static int create_staging(struct pagemap *pagemap)
{
	struct sys *sys = sys_of(pagemap);
	uint64_t huge;
	int err;

	if (!mm_can_migrate(pagemap->config.mm, NULL))
		return 0;
	err = mm_arena_create(pagemap->config.mm, PAGEMAP_STAGING_COUNT * HUGE_BYTES,
			      &pagemap->staging);
	if (err)
		return err;
	huge = pagemap_staging(pagemap, PAGEMAP_STAGING_HOME_HUGE);
	err = sys->ops->advise(sys, span_make(huge, HUGE_BYTES), SYS_ADVICE_HUGEPAGE);
	/* A kernel without huge pages has none to lose. */
	return err == -EINVAL ? 0 : err;
}

static void destroy_memory(struct pagemap *pagemap)
{
	struct sys *sys = sys_of(pagemap);
	uint64_t bytes = pagemap->config.vram_bytes;

	if (pagemap->pattern)
		base_host->pages_free(pagemap->pattern, PAGE_BYTES);
	if (pagemap->zeros)
		sys->ops->unmap(sys, pagemap->zeros, HUGE_BYTES);
	if (pagemap->staging)
		mm_arena_destroy(pagemap->config.mm, pagemap->staging,
				 PAGEMAP_STAGING_COUNT * HUGE_BYTES);
	if (pagemap->frames && pagemap->frames_are_plain)
		sys->ops->unmap(sys, pagemap->frames, bytes);
	else if (pagemap->frames)
		mm_arena_destroy(pagemap->config.mm, pagemap->frames, bytes);
}

int pagemap_create(const struct pagemap_config *config, struct pagemap **out)
{
	struct pagemap *pagemap = base_host->pages_alloc(PAGE_BYTES);
	int err;

	_Static_assert(sizeof(*pagemap) <= PAGE_BYTES, "one page");
	if (!pagemap)
		return -ENOMEM;
	pagemap->config = *config;
	lock_init(&pagemap->take_lock, LOCK_PAGEMAP_TAKE, "pagemap.take_lock");
	list_init(&pagemap->dead);
	mm_work_init(&pagemap->dead_work, pagemap_release_dead);
	err = config->copy ? create_staging(pagemap) : create_frames(pagemap);
	if (!err && config->poison && config->copy) {
		pagemap->pattern = base_host->pages_alloc(PAGE_BYTES);
		err = pagemap->pattern ? 0 : -ENOMEM;
	}
	if (err) {
		destroy_memory(pagemap);
		base_host->pages_free(pagemap, PAGE_BYTES);
		return err;
	}
	if (pagemap->pattern)
		memset(pagemap->pattern, PAGEMAP_POISON, PAGE_BYTES);
	*out = pagemap;
	return 0;
}

void pagemap_destroy(struct pagemap *pagemap)
{
	if (!pagemap)
		return;
	ASSERT(ATOMIC_LOAD(&pagemap->devmem_count) == 0);
	destroy_memory(pagemap);
	base_host->pages_free(pagemap, PAGE_BYTES);
}

const char *pagemap_name(const struct pagemap *pagemap)
{
	return pagemap->config.name;
}

void *pagemap_vram(struct pagemap *pagemap)
{
	void *memory;

	if (pagemap->config.copy)
		return NULL;
	memory = sys_of(pagemap)->ops->pointer(sys_of(pagemap), pagemap->frames,
					       pagemap->config.vram_bytes);
	pagemap->memory = (uintptr_t)memory;
	return memory;
}

/* --- what was left --------------------------------------------------------------- */

void pagemap_poison(struct pagemap *pagemap, uint64_t addr, uint64_t bytes)
{
	struct sys *sys = sys_of(pagemap);

	memset(sys->ops->pointer(sys, addr, bytes), PAGEMAP_POISON, bytes);
}

/* No lock: the block is its last owner's until the buddy has it again (F2), and copies of other
 * parts of device memory may run beside. */
static void poison_device(struct pagemap *pagemap, uint64_t vram_offset, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += PAGE_BYTES) {
		if (pagemap->config.ops->write(pagemap->config.owner, vram_offset + at,
					       pagemap->pattern, PAGE_BYTES))
			return; /* it is gone, or broken: nothing is read there */
	}
}

static void clean_frames(struct pagemap *pagemap, uint64_t vram_offset, uint64_t bytes)
{
	struct sys *sys = sys_of(pagemap);
	struct span span = span_make(pagemap->frames + vram_offset, bytes);
	struct sys_page_run run;
	size_t count = 0;
	uint64_t end;
	int err;

	err = sys->ops->page_scan(sys, span, &run, 1, &count, &end);
	if (err || count)
		mm_arena_empty(pagemap->config.mm, span);
}

void pagemap_clean(struct pagemap *pagemap, uint64_t vram_offset, uint64_t bytes)
{
	/* Copy mode: a page is written whole before it is mapped. */
	if (pagemap->pattern)
		poison_device(pagemap, vram_offset, bytes);
	if (pagemap->config.copy || pagemap->frames_are_plain)
		return;
	clean_frames(pagemap, vram_offset, bytes);
	if (pagemap->config.poison)
		pagemap_poison(pagemap, pagemap->frames + vram_offset, bytes);
}

void pagemap_unpoison(struct pagemap *pagemap, uint64_t vram_offset, uint64_t bytes)
{
	if (pagemap->config.poison && !pagemap->config.copy && !pagemap->frames_are_plain)
		clean_frames(pagemap, vram_offset, bytes);
}
