/* SPDX-License-Identifier: MIT */
/*
 * DOC: pages of the simulated kernel
 *
 * Invariants, for every page of a block:
 *
 *     no contents (neither PRESENT nor SWAPPED)  =>  its bytes are zero
 *     HUGE is set in all 512 words of a block, or in none
 *     a flag is set                              =>  a VMA is there
 *
 * So a first touch sets a bit and writes nothing, and whoever makes a page empty pays.
 *
 * In blocks of the arena that pointer() was asked for, bytes may change without a call.
 * There a page without flags whose bytes are not zero was written, and becomes present
 * when it is looked at; to write zeros into a hole leaves a hole, which reads the same.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "sys/sim_internal.h"

#define SMALL_FRAME 512 /* of a block of larger ones the kernel takes all */

static struct sim_block **slot(struct sim_process *process, uint64_t addr)
{
	SIM_MUST(span_contains(process->sim->window, addr));
	return &process->blocks[(addr - SIM_START) >> HUGE_SHIFT];
}

static bool in_arena(const struct sim_process *process, uint64_t addr)
{
	return process->number == 0 && addr >= process->sim->config.arena_start;
}

struct sim_block *sim_block_get(struct sim_process *process, uint64_t addr)
{
	struct sim_block **at = slot(process, addr);
	struct sim *sim = process->sim;
	struct sim_block *block = *at;

	if (block)
		return block;
	if (in_arena(process, addr)) {
		block = sim_alloc(sim, sizeof(*block));
		block->stride = PAGE_BYTES;
		block->bytes = sim->arena +
			       (ALIGN_DOWN(addr, HUGE_BYTES) - sim->config.arena_start);
	} else if (sim->free_blocks) {
		block = sim->free_blocks;
		sim->free_blocks = block->next_free;
	} else {
		block = sim_alloc(sim, sizeof(*block));
		block->stride = sim->config.frame_bytes;
		block->bytes = sim_alloc(sim, PAGES_PER_HUGE * block->stride);
	}
	*at = block;
	return block;
}

static size_t index_of(uint64_t addr)
{
	return (addr >> PAGE_SHIFT) % PAGES_PER_HUGE;
}

static uint8_t *block_bytes(const struct sim_block *block, uint64_t addr)
{
	return block->bytes + index_of(addr) * block->stride;
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
	uint64_t all = 0;

	for (size_t i = 0; i < count && !all; i += 64) {
		uint64_t words[8];

		memcpy(words, bytes + i, sizeof(words));
		all = words[0] | words[1] | words[2] | words[3] | words[4] | words[5] |
		      words[6] | words[7];
	}
	return !all;
}

/* The flags of a page; NULL: there is no block, so there are none. */
uint16_t *sim_flags(struct sim_process *process, uint64_t addr)
{
	struct sim_block *block = *slot(process, addr);
	uint16_t *flags;

	if (!block)
		return NULL;
	flags = &block->flags[index_of(addr)];
	if (block->exposed && !*flags &&
	    !is_zero(block_bytes(block, addr), process->sim->config.frame_bytes) &&
	    sim_vma_at(process, addr))
		*flags = SYS_PAGE_PRESENT;
	if (block->exposed && *flags & SYS_PAGE_ZERO &&
	    !is_zero(block_bytes(block, addr), process->sim->config.frame_bytes))
		*flags &= (uint16_t)~SYS_PAGE_ZERO; /* a write through the pointer */
	return flags;
}

uint16_t *sim_flags_make(struct sim_process *process, uint64_t addr)
{
	sim_block_get(process, addr);
	return sim_flags(process, addr);
}

uint32_t sim_flags_read(struct sim_process *process, uint64_t addr)
{
	const uint16_t *flags = sim_flags(process, addr);

	return flags ? *flags : 0;
}

uint8_t *sim_bytes(struct sim_process *process, uint64_t addr)
{
	return block_bytes(sim_block_get(process, addr), addr) + addr % PAGE_BYTES;
}

/* --- huge pages ----------------------------------------------------------- */

bool sim_has_table(struct sim_process *process, uint64_t addr)
{
	const struct sim_block *block = *slot(process, addr);

	return block && block->table;
}

/* Nothing is there, and no table of small pages is left. */
bool sim_block_is_empty(struct sim_process *process, uint64_t addr)
{
	struct span span = span_block(addr, HUGE_BYTES);

	if (sim_has_table(process, addr))
		return false;
	SIM_FOR_PAGES(at, span)
		if (sim_flags_read(process, at))
			return false;
	return true;
}

void sim_table_make(struct sim_process *process, uint64_t addr)
{
	struct sim_block *block = sim_block_get(process, addr);

	if (!(block->flags[0] & SYS_PAGE_HUGE))
		block->table = true;
}

void sim_table_drop(struct sim_process *process, uint64_t addr)
{
	struct sim_block *block = *slot(process, addr);

	if (block)
		block->table = false;
}

/* If the block of @addr is a huge page, make small ones of it. */
void sim_split_block(struct sim_process *process, uint64_t addr)
{
	struct sim_block *block = *slot(process, addr);

	if (!block || !(block->flags[0] & SYS_PAGE_HUGE))
		return;
	for (size_t i = 0; i < PAGES_PER_HUGE; i++)
		block->flags[i] &= (uint16_t)~SYS_PAGE_HUGE;
	block->table = true;
}

/* A pin of any part holds the whole. */
bool sim_large_is_pinned(struct sim_process *process, uint64_t addr)
{
	const struct sim_block *block = *slot(process, addr);

	if (!block || !(block->flags[index_of(addr)] & SIM_PAGE_LARGE))
		return false;
	for (size_t i = 0; i < PAGES_PER_HUGE; i++)
		if (block->flags[i] & SIM_PAGE_LARGE && block->flags[i] & SIM_PAGE_PINNED)
			return true;
	return false;
}

/* The page itself is split, not only its mapping: what is zero becomes the zero page. */
void sim_split_large(struct sim_process *process, uint64_t addr)
{
	struct sim_block *block = *slot(process, addr);
	const struct sim_vma *vma = sim_vma_at(process, addr);

	sim_split_block(process, addr);
	if (!block || !(block->flags[index_of(addr)] & SIM_PAGE_LARGE))
		return;
	for (uint64_t i = 0; i < PAGES_PER_HUGE; i++) {
		uint16_t *flags = &block->flags[i];

		if (!(*flags & SIM_PAGE_LARGE))
			continue;
		*flags &= (uint16_t)~SIM_PAGE_LARGE;
		if (*flags & SYS_PAGE_PRESENT &&
		    !(*flags & (SIM_PAGE_SHARED | SIM_PAGE_PINNED)) &&
		    !(vma->flags & SIM_VMA_MLOCKED) &&
		    is_zero(block->bytes + i * block->stride, process->sim->config.frame_bytes))
			*flags = (uint16_t)((*flags & SIM_PAGE_WP) | SYS_PAGE_PRESENT |
					    SYS_PAGE_ZERO);
	}
}

/* The huge pages of which only a part lies in @span. */
void sim_split_huge(struct sim_process *process, struct span span)
{
	if (!IS_ALIGNED(span.start, HUGE_BYTES))
		sim_split_block(process, span.start);
	if (!IS_ALIGNED(span.end, HUGE_BYTES))
		sim_split_block(process, span.end);
}

/* One block. Return: 0, -EINVAL it cannot be huge, -EBUSY not now, -EAGAIN pinned. */
static int collapse_block(struct sim_process *process, const struct sim_vma *vma,
			  uint64_t start)
{
	struct span span = span_make(start, HUGE_BYTES);
	struct sim_block *block = sim_block_get(process, start);

	if (sim_block_is_empty(process, start))
		return -EINVAL;
	SIM_FOR_PAGES(addr, span) {
		uint32_t flags = *sim_flags(process, addr);

		if (flags & (SIM_PAGE_WP | SYS_PAGE_GUARD | SIM_PAGE_POISON))
			return -EINVAL;
		if ((!flags || flags & SYS_PAGE_ZERO) && vma->uffd)
			return -EBUSY; /* nobody fills holes but who registered them */
		if (flags & SIM_PAGE_PINNED)
			return -EAGAIN;
	}
	for (size_t i = 0; i < PAGES_PER_HUGE; i++)
		block->flags[i] = SYS_PAGE_PRESENT | SYS_PAGE_HUGE | SIM_PAGE_LARGE;
	block->table = false;
	return 0;
}

/* The blocks of @span, which lies in @vma; an error is the last one's. */
int sim_collapse(struct sim_process *process, const struct sim_vma *vma, struct span span)
{
	uint64_t first = ALIGN_UP(vma->span.start, HUGE_BYTES);
	uint64_t start = ALIGN_UP(span.start, HUGE_BYTES);
	uint64_t end = ALIGN_DOWN(span.end, HUGE_BYTES);
	int result = 0;

	if (first + HUGE_BYTES > vma->span.end || start > end || !vma->anon ||
	    vma->kind != SYS_VMA_ANON_PRIVATE || vma->flags & SIM_VMA_NOHUGEPAGE)
		return -EINVAL;
	for (; start < end; start += HUGE_BYTES) {
		int err = 0;

		if (!(sim_flags_read(process, start) & SYS_PAGE_HUGE))
			err = collapse_block(process, vma, start);
		result = err ? err : result;
	}
	return result;
}

/* --- pins ----------------------------------------------------------------- */

/* The page is nobody's any more; who pinned it has it still. */
static void pins_part(struct sim_process *process, uint64_t addr)
{
	struct sim *sim = process->sim;

	LIST_FOR_EACH_SAFE(node, &sim->pins) {
		struct sim_pin *pin = LIST_ENTRY(node, struct sim_pin, link);

		if (pin->process != process || pin->addr != addr)
			continue;
		memcpy(pin->bytes, sim_bytes(process, addr), sim->config.frame_bytes);
		list_remove(&pin->link);
	}
}

static void pins_follow(struct sim_process *process, uint64_t from, uint64_t to)
{
	LIST_FOR_EACH(node, &process->sim->pins) {
		struct sim_pin *pin = LIST_ENTRY(node, struct sim_pin, link);

		if (pin->process == process && pin->addr == from)
			pin->addr = to;
	}
}

/* --- contents ------------------------------------------------------------- */

/* Make the page a hole. The block is not huge, or all of it goes. */
void sim_page_erase(struct sim_process *process, uint64_t addr)
{
	uint16_t *flags = sim_flags(process, addr);

	if (!flags)
		return;
	if (*flags & SIM_PAGE_PINNED)
		pins_part(process, addr);
	if (*flags & SIM_PAGE_CONTENTS)
		memset(sim_bytes(process, addr), 0, process->sim->config.frame_bytes);
	*flags = 0;
}

/* Of a block of the arena, what frames can hold: @frame_bytes of each page. */
void sim_frames_clear(uint8_t *block, uint32_t frame_bytes)
{
	if (frame_bytes > SMALL_FRAME) {
		SIM_MUST(!madvise(block, HUGE_BYTES, MADV_DONTNEED));
		return;
	}
	for (size_t i = 0; i < PAGES_PER_HUGE; i++) {
		uint8_t *bytes = block + i * PAGE_BYTES;

		/* What was only read has no memory of its own yet. */
		if (!is_zero(bytes, frame_bytes))
			memset(bytes, 0, frame_bytes);
	}
}

/* All of a block that pointer() shows. */
static void erase_exposed(const struct sim *sim, struct sim_block *block)
{
	sim_frames_clear(block->bytes, sim->config.frame_bytes);
	memset(block->flags, 0, sizeof(block->flags));
}

/* Make holes of @span; @keep_guards: but for guard pages, as MADV_DONTNEED. */
void sim_zap(struct sim_process *process, struct span span, bool keep_guards)
{
	sim_split_huge(process, span);
	SIM_FOR_PAGES(addr, span) {
		struct sim_block *block = *slot(process, addr);
		struct span whole = span_block(addr, HUGE_BYTES);
		uint16_t *flags;

		if (block && block->exposed && !keep_guards && addr == whole.start &&
		    span.end >= whole.end) {
			erase_exposed(process->sim, block);
			block = NULL;
		}
		if (!block) {
			addr = whole.end - PAGE_BYTES;
			continue;
		}
		flags = sim_flags(process, addr);
		if (*flags && !(keep_guards && *flags & SYS_PAGE_GUARD))
			sim_page_erase(process, addr);
	}
}

/* Clear the protection, markers included; what is no page is not looked at. */
void sim_unprotect(struct sim_process *process, struct span span)
{
	SIM_FOR_PAGES(addr, span) {
		struct sim_block *block = *slot(process, addr);

		if (block)
			block->flags[index_of(addr)] &= (uint16_t)~SIM_PAGE_WP;
		else
			addr = span_block(addr, HUGE_BYTES).end - PAGE_BYTES;
	}
}

/* Copy a page with its flags to a hole. In one process it is a move: who pinned it
 * follows. */
void sim_carry(struct sim_process *to, uint64_t dst, struct sim_process *from, uint64_t src)
{
	uint16_t flags = *sim_flags_make(from, src);

	if (flags & SIM_PAGE_CONTENTS)
		memcpy(sim_bytes(to, dst), sim_bytes(from, src),
		       from->sim->config.frame_bytes);
	*sim_flags_make(to, dst) = flags;
	if (!(flags & SYS_PAGE_HUGE))
		sim_table_make(to, dst);
	if (to == from && flags & SIM_PAGE_PINNED) {
		pins_follow(from, src, dst);
		*sim_flags(from, src) = flags & (uint16_t)~SIM_PAGE_PINNED;
	}
}

/* The process is gone. */
void sim_blocks_free(struct sim_process *process)
{
	struct sim *sim = process->sim;

	for (uint64_t addr = SIM_START; addr < sim->window.end; addr += HUGE_BYTES) {
		struct sim_block **at = slot(process, addr);
		struct sim_block *block = *at;

		if (!block)
			continue;
		sim_zap(process, span_make(addr, HUGE_BYTES), false);
		*at = NULL;
		if (in_arena(process, addr))
			continue;
		block->table = false;
		block->next_free = sim->free_blocks;
		sim->free_blocks = block;
	}
}
