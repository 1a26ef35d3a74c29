/* SPDX-License-Identifier: MIT */
/*
 * DOC: VMAs of the simulated kernel
 *
 * A process's VMAs are an array in the order of their addresses. To change a part of one
 * it is split at the ends of the part (isolate), changed, and joined again with what it
 * then equals (merge), as a kernel does; so the number of VMAs, the failures at
 * max_map_count and the mremap() that fails over a split are a kernel's, too.
 *
 *     offset: the address at which the page was mapped first. Two VMAs that touch join
 *     when all their attributes are equal, mapping included, and their offsets are
 *     contiguous.
 *
 * Nothing here blocks: messages are queued, their calls wait elsewhere.
 */
#include <errno.h>
#include <string.h>

#include "sys/sim_internal.h"

struct sim_process *sim_process_new(struct sim *sim)
{
	struct sim_process *process = sim_alloc(sim, sizeof(*process));

	SIM_MUST(sim->process_count < SIM_PROCESSES_MAX);
	process->sim = sim;
	process->number = sim->process_count;
	process->vma_max = 256;
	process->vmas = sim_alloc(sim, process->vma_max * sizeof(*process->vmas));
	process->blocks = sim_alloc(sim, (span_bytes(sim->window) >> HUGE_SHIFT) *
						 sizeof(*process->blocks));
	process->brk = SIM_START + MIB(1);
	sim->processes[sim->process_count++] = process;
	return process;
}

/* The first VMA that ends behind @addr; vma_count: there is none. */
size_t sim_vma_index(const struct sim_process *process, uint64_t addr)
{
	size_t low = 0, high = process->vma_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (process->vmas[middle].span.end > addr)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct sim_vma *sim_vma_at(const struct sim_process *process, uint64_t addr)
{
	size_t i = sim_vma_index(process, addr);

	if (i == process->vma_count || process->vmas[i].span.start > addr)
		return NULL;
	return &process->vmas[i];
}

/* Return: 0 @span lies in one VMA; -ENOENT nothing is mapped at its start; -EINVAL. */
int sim_one_vma(const struct sim_process *process, struct span span)
{
	const struct sim_vma *vma = sim_vma_at(process, span.start);

	if (!vma)
		return -ENOENT;
	return span.end <= vma->span.end ? 0 : -EINVAL;
}

bool sim_all_mapped(const struct sim_process *process, struct span span)
{
	size_t i = sim_vma_index(process, span.start);

	for (; i < process->vma_count && span.start < span.end; i++) {
		if (process->vmas[i].span.start > span.start)
			return false;
		span.start = process->vmas[i].span.end;
	}
	return span.start >= span.end;
}

/* --- splitting and joining ------------------------------------------------ */

static void array_insert(struct sim_process *process, size_t i, const struct sim_vma *vma)
{
	struct sim_vma *vmas = process->vmas;

	if (process->vma_count == process->vma_max) {
		process->vma_max *= 2;
		process->vmas = sim_alloc(process->sim, process->vma_max * sizeof(*vmas));
		memcpy(process->vmas, vmas, process->vma_count * sizeof(*vmas));
		vmas = process->vmas;
	}
	memmove(&vmas[i + 1], &vmas[i], (process->vma_count - i) * sizeof(*vmas));
	vmas[i] = *vma;
	process->vma_count++;
}

static void array_remove(struct sim_process *process, size_t first, size_t end)
{
	struct sim_vma *vmas = process->vmas;

	memmove(&vmas[first], &vmas[end], (process->vma_count - end) * sizeof(*vmas));
	process->vma_count -= end - first;
}

static bool joins(const struct sim_vma *a, const struct sim_vma *b)
{
	return a->span.end == b->span.start && a->mapping == b->mapping &&
	       a->kind == b->kind && a->prot == b->prot && a->mode == b->mode &&
	       a->uffd == b->uffd && a->flags == b->flags &&
	       a->offset + span_bytes(a->span) == b->offset;
}

/* Make @addr a border. */
static int split(struct sim_process *process, uint64_t addr, size_t max)
{
	size_t i = sim_vma_index(process, addr);
	struct sim_vma right;

	if (i == process->vma_count || process->vmas[i].span.start >= addr)
		return 0;
	if (process->vma_count >= max)
		return -ENOMEM;
	right = process->vmas[i];
	right.offset += addr - right.span.start;
	right.span.start = addr;
	process->vmas[i].span.end = addr;
	array_insert(process, i + 1, &right);
	return 0;
}

/* Make the ends of @span borders: its VMAs are then [*@first, *@end). -ENOMEM: too many
 * VMAs; a split of one end may have happened, which nobody can tell. */
static int isolate(struct sim_process *process, struct span span, size_t max, size_t *first,
		   size_t *end)
{
	int err = split(process, span.start, max);

	if (!err)
		err = split(process, span.end, max);
	if (err) {
		sim_vma_merge(process, span);
		return err;
	}
	*first = sim_vma_index(process, span.start);
	*end = *first;
	while (*end < process->vma_count && process->vmas[*end].span.start < span.end)
		(*end)++;
	return 0;
}

/* Join what can be joined in @span and at its ends. */
void sim_vma_merge(struct sim_process *process, struct span span)
{
	size_t i = sim_vma_index(process, span.start - 1);

	while (i + 1 < process->vma_count && process->vmas[i].span.start < span.end) {
		struct sim_vma *vma = &process->vmas[i];

		if (joins(vma, vma + 1)) {
			vma->span.end = vma[1].span.end;
			array_remove(process, i + 1, i + 2);
		} else {
			i++;
		}
	}
}

void sim_vma_insert(struct sim_process *process, const struct sim_vma *vma)
{
	array_insert(process, sim_vma_index(process, vma->span.start), vma);
	sim_vma_merge(process, vma->span);
}

int sim_vma_isolate(struct sim_process *process, struct span span, size_t *first,
		    size_t *end)
{
	return isolate(process, span, process->sim->config.max_map_count, first, end);
}

int sim_vma_set_flags(struct sim_process *process, struct span span, uint32_t set,
		      uint32_t clear)
{
	size_t first, end;
	int err = sim_vma_isolate(process, span, &first, &end);

	if (err)
		return err;
	for (size_t i = first; i < end; i++)
		process->vmas[i].flags = (process->vmas[i].flags & ~clear) | set;
	sim_vma_merge(process, span);
	return 0;
}

/* --- mapping and unmapping ------------------------------------------------ */

/* Room for @bytes: in the arena from below, for the program from above or at @hint. 0:
 * there is none. */
uint64_t sim_find_gap(const struct sim_process *process, uint64_t bytes, uint64_t align,
		      bool in_arena, uint64_t hint)
{
	const struct sim *sim = process->sim;
	uint64_t middle = sim->config.arena_start;
	uint64_t low, high;
	size_t i;

	hint = ALIGN_DOWN(hint, align);
	if (hint && hint >= SIM_START && hint + bytes <= middle && hint + bytes > hint) {
		i = sim_vma_index(process, hint);
		if (i == process->vma_count || process->vmas[i].span.start >= hint + bytes)
			return hint;
	}
	if (in_arena) {
		low = middle;
		for (i = sim_vma_index(process, low); i < process->vma_count; i++) {
			if (process->vmas[i].span.start >= ALIGN_UP(low, align) + bytes)
				break;
			low = process->vmas[i].span.end;
		}
		low = ALIGN_UP(low, align);
		return low + bytes <= sim->window.end ? low : 0;
	}
	high = middle;
	i = sim_vma_index(process, middle - 1);
	i += i < process->vma_count && process->vmas[i].span.start < middle;
	for (;; i--) {
		low = i ? process->vmas[i - 1].span.end : SIM_START + PAGE_BYTES;
		if (high > low && high - low >= bytes &&
		    ALIGN_DOWN(high - bytes, align) >= low)
			return ALIGN_DOWN(high - bytes, align);
		if (!i)
			return 0;
		high = process->vmas[i - 1].span.start;
	}
}

int sim_do_munmap(struct sim_process *process, struct span span, struct sim_call *call)
{
	const struct sim_vma *vma = sim_vma_at(process, span.start);
	size_t first, end;

	/* What counts is how many there are afterwards. */
	if (vma && vma->span.start < span.start && vma->span.end > span.end &&
	    process->vma_count >= process->sim->config.max_map_count)
		return -ENOMEM;
	SIM_MUST(!isolate(process, span, SIZE_MAX, &first, &end));
	sim_event_send_all(call, process, span, SYS_EVENT_UNMAP);
	sim_zap(process, span, false);
	array_remove(process, first, end);
	return 0;
}

/* A new anonymous mapping goes on what lies beside it, if it can. */
static void join_neighbour(struct sim_process *process, struct sim_vma *vma)
{
	const struct sim_vma *before = sim_vma_at(process, vma->span.start - 1);
	const struct sim_vma *after = sim_vma_at(process, vma->span.end);
	struct sim_vma wish = *vma;

	if (process->sim->config.separate_maps || vma->kind != SYS_VMA_ANON_PRIVATE)
		return;
	if (before) {
		wish.mapping = before->mapping;
		if (joins(before, &wish)) {
			vma->mapping = wish.mapping;
			return;
		}
	}
	if (after) {
		wish.mapping = after->mapping;
		if (joins(&wish, after))
			vma->mapping = wish.mapping;
	}
}

int sim_do_mmap(struct sim_process *process, struct span span, enum sys_vma_kind kind,
		uint32_t prot, struct sim_call *call)
{
	struct sim_vma vma = {
		.span = span,
		.offset = span.start,
		.kind = (uint8_t)kind,
		.prot = (uint8_t)prot,
	};
	int err = sim_do_munmap(process, span, call);

	if (!err && process->vma_count >= process->sim->config.max_map_count)
		err = -ENOMEM;
	if (err)
		return err;
	vma.mapping = ++process->sim->mapping_count;
	join_neighbour(process, &vma);
	sim_vma_insert(process, &vma);
	return 0;
}

int sim_do_mprotect(struct sim_process *process, struct span span, uint32_t prot)
{
	size_t first, end;
	int err;

	if (!sim_all_mapped(process, span))
		return -ENOMEM;
	err = sim_vma_isolate(process, span, &first, &end);
	if (err)
		return err;
	for (size_t i = first; i < end; i++)
		process->vmas[i].prot = (uint8_t)prot;
	sim_vma_merge(process, span);
	return 0;
}

/* --- mremap --------------------------------------------------------------- */

static void carry_pages(struct sim_process *process, struct span from, uint64_t to)
{
	struct span dst = span_make(to, span_bytes(from));

	sim_split_huge(process, from);
	sim_split_huge(process, dst);
	if (!IS_ALIGNED(from.start ^ to, HUGE_BYTES)) {
		struct span all = span_align_out(from, HUGE_BYTES);

		for (uint64_t addr = all.start; addr < all.end; addr += HUGE_BYTES)
			sim_split_block(process, addr);
	}
	SIM_FOR_PAGES(addr, from) {
		uint16_t *flags = sim_flags(process, addr);

		if (!flags) {
			addr = span_block(addr, HUGE_BYTES).end - PAGE_BYTES;
			continue;
		}
		if (*flags) {
			sim_carry(process, to + (addr - from.start), process, addr);
			sim_page_erase(process, addr);
		}
	}
}

static int move(struct sim_process *process, struct span old, uint64_t bytes, uint64_t to,
		bool dontunmap, struct sim_call *call)
{
	struct sys_event event = { .type = SYS_EVENT_REMAP, .span = old, .to = to };
	struct sim_vma vma = *sim_vma_at(process, old.start);
	size_t first, end;
	int err;

	if (process->vma_count + 3 > process->sim->config.max_map_count)
		return -ENOMEM;
	err = sim_vma_isolate(process, old, &first, &end);
	if (err)
		return err;
	vma.offset += old.start - vma.span.start;
	vma.span = span_make(to, bytes);
	sim_vma_insert(process, &vma);
	carry_pages(process, old, to);
	if (vma.uffd)
		sim_event_send(call, process, vma.uffd, &event);
	if (!dontunmap)
		return sim_do_munmap(process, old, call);
	return sim_vma_set_flags(process, old, 0, SIM_VMA_MLOCKED);
}

/* @to: where, 0: in place. The old place is in one VMA, or -EFAULT. */
int sim_do_mremap(struct sim_process *process, struct span old, uint64_t bytes,
		  uint64_t to, bool dontunmap, struct sim_call *call)
{
	struct sim_vma *vma = sim_vma_at(process, old.start);
	int err = 0;

	if (!vma || old.end > vma->span.end)
		return -EFAULT;
	if (to) {
		err = sim_do_munmap(process, span_make(to, bytes), call);
		if (err)
			return err;
	}
	if (bytes < span_bytes(old)) {
		struct span tail = { old.start + bytes, old.end };

		err = sim_do_munmap(process, tail, call);
		if (err)
			return err;
		old.end = tail.start;
	}
	if (to)
		return move(process, old, bytes, to, dontunmap, call);
	if (bytes > span_bytes(old)) {
		struct span more = { old.end, old.start + bytes };
		size_t next = sim_vma_index(process, old.end);

		if (vma->span.end != old.end || more.end > process->sim->config.arena_start ||
		    (next < process->vma_count &&
		     process->vmas[next].span.start < more.end))
			return -ENOMEM; /* it has to move */
		vma->span.end = more.end;
		sim_vma_merge(process, vma->span);
	}
	return 0;
}
