/* SPDX-License-Identifier: MIT */
/*
 * DOC: where a simulated kernel and the library on it have their memory
 *
 * One region of addresses holds all that is made in a run. Nothing has to be freed, and
 * a run may be left in its middle:
 *
 *     region  | contents of the arena | tables ->    | stacks ->   | own pages ->  |
 *               where pointer() points                               pages_alloc()
 *
 * It is asked for at a fixed address, so that pointers are the same in each run of a
 * seed. It stays at close, for the next run: pages that the process has need no fault.
 * What a run finds is zero as if they were new.
 *
 *     arena        the frames that can have contents are cleared at close
 *     tables       given back to the kernel at close; there are few
 *     stacks       as they are
 *     own pages    cleared when they are given out again
 *
 * Own pages are slots of one size each. In a run none is used twice, and one that is
 * free, as what lies between two, may not be touched: who uses pages after their free,
 * or behind their end, is killed by the processor.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/poison.h"
#include "sys/sim_internal.h"

#define REGION_HINT ((void *)0x300000000000)
#define META_BYTES GIB(16)
#define STACKS_BYTES GIB(4)
#define OWN_BYTES GIB(64)

/* Slots, of sizes up to SLOT_BYTES_MAX; what is larger is not kept. */
#define SIZES 32
#define SIZE_SPAN GIB(1)
#define SLOT_BYTES_MAX KIB(512)

struct size {
	uint64_t bytes;
	uint32_t used; /* slots, in this run */
	uint32_t made; /* that some run had */
};

/* Of this process: the region of the next run. */
static struct {
	uint8_t *region;
	uint64_t bytes;
	uint8_t *meta_top;   /* tables below were used by the last run */
	uint8_t *stacks_top; /* below each stack has its border */
	struct size sizes[SIZES];
} kept;

void *sim_alloc(struct sim *sim, size_t bytes)
{
	void *memory = sim->meta;

	SIM_MUST((size_t)(sim->meta_end - sim->meta) >= bytes + 64);
	sim->meta += ALIGN_UP(bytes, 64);
	return memory;
}

/* --- the region ----------------------------------------------------------- */

static int region_map(uint64_t bytes)
{
	uint8_t *region;

	if (kept.region && kept.bytes == bytes)
		return 0;
	if (kept.region)
		munmap(kept.region, kept.bytes + OWN_BYTES);
	memset(&kept, 0, sizeof(kept));
	region = mmap(REGION_HINT, bytes + OWN_BYTES, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (region == MAP_FAILED)
		return -ENOMEM;
	if (mprotect(region, bytes, PROT_READ | PROT_WRITE)) {
		munmap(region, bytes + OWN_BYTES);
		return -ENOMEM;
	}
	kept.region = region;
	kept.bytes = bytes;
	kept.stacks_top = region + bytes - STACKS_BYTES;
	return 0;
}

int sim_region_make(struct sim **out, uint64_t arena_bytes)
{
	struct sim *sim;
	int err = region_map(arena_bytes + META_BYTES + STACKS_BYTES);

	if (err)
		return err;
	sim = (struct sim *)(kept.region + arena_bytes);
	sim->region = kept.region;
	sim->arena = kept.region;
	sim->meta = (uint8_t *)sim + ALIGN_UP(sizeof(*sim), 64);
	sim->meta_end = kept.region + arena_bytes + META_BYTES;
	sim->stacks = sim->meta_end;
	sim->stacks_end = sim->stacks + STACKS_BYTES;
	sim->own = sim->stacks_end + SIZES * SIZE_SPAN;
	sim->own_end = sim->stacks_end + OWN_BYTES;
	for (size_t i = 0; i < SIZES; i++)
		kept.sizes[i].used = 0;
	*out = sim;
	return 0;
}

static void discard(void *start, void *end)
{
	if (start != end)
		SIM_MUST(!madvise(start, (size_t)((uint8_t *)end - (uint8_t *)start),
				  MADV_DONTNEED));
}

/* Contents of a frame are its first frame_bytes, all else stays zero. */
static void arena_clear(struct sim *sim)
{
	struct sim_process *process = sim->processes[0];

	for (uint64_t addr = sim->config.arena_start; addr < sim->window.end;
	     addr += HUGE_BYTES) {
		uint64_t offset = addr - sim->config.arena_start;

		if (process->blocks[(addr - SIM_START) >> HUGE_SHIFT])
			sim_frames_clear(sim->arena + offset, sim->config.frame_bytes);
	}
}

void sim_region_give_back(struct sim *sim)
{
	uint8_t *own = sim->stacks_end + SIZES * SIZE_SPAN;
	uint8_t *meta = (uint8_t *)sim;
	uint8_t *meta_top = (uint8_t *)ALIGN_UP((uintptr_t)sim->meta, PAGE_BYTES);

	arena_clear(sim);
	/* What no slot holds, and what was not given back. */
	if (sim->own != own)
		SIM_MUST(mmap(own, (size_t)(sim->own - own), PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			      0) == own);
	discard(meta, meta_top);
}

/* The page at @border lies below a stack: no one may touch it. */
void sim_stack_border(uint8_t *border)
{
	if (border < kept.stacks_top)
		return;
	SIM_MUST(!mprotect(border, PAGE_BYTES, PROT_NONE));
	kept.stacks_top = border + PAGE_BYTES;
}

/* --- pages of the library ------------------------------------------------- */

/* The slots of this size; NULL: it has none. */
static struct size *size_of(size_t bytes)
{
	for (size_t i = 0; i < SIZES && bytes <= SLOT_BYTES_MAX; i++) {
		struct size *size = &kept.sizes[i];

		if (!size->bytes)
			size->bytes = bytes;
		if (size->bytes == bytes &&
		    (size->used + 1) * (bytes + PAGE_BYTES) <= SIZE_SPAN)
			return size;
	}
	return NULL;
}

static uint8_t *slot_take(struct sim *sim, struct size *size)
{
	uint8_t *pages = sim->stacks_end + (uint64_t)(size - kept.sizes) * SIZE_SPAN +
			 size->used * (size->bytes + PAGE_BYTES);

	SIM_MUST(!mprotect(pages, size->bytes, PROT_READ | PROT_WRITE));
	UNPOISON(pages, size->bytes);
	if (size->used++ < size->made)
		memset(pages, 0, size->bytes);
	else
		size->made = size->used;
	return pages;
}

static uint8_t *pages_at(struct sim *sim, size_t bytes)
{
	struct size *size = size_of(bytes);
	uint8_t *pages = sim->own;

	if (size)
		return slot_take(sim, size);
	SIM_MUST(pages + bytes + PAGE_BYTES <= sim->own_end);
	SIM_MUST(!mprotect(pages, bytes, PROT_READ | PROT_WRITE));
	UNPOISON(pages, bytes);
	sim->own += bytes + PAGE_BYTES;
	return pages;
}

void *sim_pages_take(struct sim *sim, size_t bytes)
{
	void *pages = pages_at(sim, bytes);

	sim->own_bytes += bytes;
	return pages;
}

void *sim_pages_alloc(size_t bytes)
{
	struct sim *sim = sim_now;
	void *pages = NULL;
	int err = SIM_ENTER(PAGES_ALLOC, bytes);

	SIM_MUST(bytes && IS_ALIGNED(bytes, PAGE_BYTES));
	if (!err)
		pages = sim_pages_take(sim, bytes);
	sim_leave(err, (uintptr_t)pages);
	return pages;
}

void sim_pages_free(void *pages, size_t bytes)
{
	struct sim *sim = sim_now;

	SIM_MUST(sim->own_bytes >= bytes && IS_ALIGNED(bytes, PAGE_BYTES));
	sim->own_bytes -= bytes;
	if ((uint8_t *)pages < sim->stacks_end + SIZES * SIZE_SPAN)
		SIM_MUST(!mprotect(pages, bytes, PROT_NONE));
	else
		SIM_MUST(mmap(pages, bytes, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			      0) == pages);
}

uint64_t sim_own_bytes(const struct sim *sim)
{
	return sim->own_bytes;
}
