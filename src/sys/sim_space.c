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
 *     when all their attributes are equal, mapping included, their offsets are contiguous
 *     and their pages belong together. Of which there are none yet (anon is 0), that goes
 *     with either, and has the offset of its place wherever it is moved.
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

/* The part of @span from its start to the first hole. */
struct span sim_mapped_start(const struct sim_process *process, struct span span)
{
	struct span mapped = { span.start, span.start };
	size_t i = sim_vma_index(process, span.start);

	for (; i < process->vma_count && mapped.end < span.end; i++) {
		if (process->vmas[i].span.start > mapped.end)
			break;
		mapped.end = MIN(process->vmas[i].span.end, span.end);
	}
	return mapped;
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
	       (a->anon == b->anon || !a->anon || !b->anon) &&
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
	if (!IS_ALIGNED(addr, HUGE_BYTES))
		sim_split_block(process, addr); /* no huge page in two VMAs */
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

/* Join what can be joined in @span and at its ends; what lies apart behind them stays so. */
void sim_vma_merge(struct sim_process *process, struct span span)
{
	size_t i = sim_vma_index(process, span.start - 1);

	while (i + 1 < process->vma_count && process->vmas[i].span.end <= span.end) {
		struct sim_vma *vma = &process->vmas[i];

		if (joins(vma, vma + 1)) {
			vma->span.end = vma[1].span.end;
			vma->anon = vma->anon ? vma->anon : vma[1].anon;
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

/* Change @span, VMA by VMA, to what @change makes of each; one that is so already is not
 * touched, and so not split. */
static int change_vmas(struct sim_process *process, struct span span,
		       void (*change)(struct sim_vma *vma, uint32_t a, uint32_t b),
		       uint32_t a, uint32_t b)
{
	while (span.start < span.end) {
		size_t first = sim_vma_index(process, span.start), end;
		struct sim_vma wanted = process->vmas[first];
		struct span part;
		int err;

		if (first == process->vma_count || wanted.span.start >= span.end)
			break;
		part = span_intersect(span, wanted.span);
		span.start = part.end;
		change(&wanted, a, b);
		if (!memcmp(&wanted, &process->vmas[first], sizeof(wanted)))
			continue;
		err = sim_vma_isolate(process, part, &first, &end);
		if (err)
			return err;
		change(&process->vmas[first], a, b);
		sim_vma_merge(process, part);
	}
	return 0;
}

static void change_flags(struct sim_vma *vma, uint32_t set, uint32_t clear)
{
	vma->flags = (vma->flags & ~clear) | set;
}

static void change_prot(struct sim_vma *vma, uint32_t prot, uint32_t unused UNUSED)
{
	vma->prot = (uint8_t)prot;
}

static void change_mode(struct sim_vma *vma, uint32_t uffd, uint32_t mode)
{
	if (vma->uffd == uffd && (vma->mode & mode) == mode)
		return;
	vma->uffd = (uint8_t)uffd;
	vma->mode = (uint8_t)mode;
}

int sim_vma_set_flags(struct sim_process *process, struct span span, uint32_t set,
		      uint32_t clear)
{
	return change_vmas(process, span, change_flags, set, clear);
}

int sim_vma_set_mode(struct sim_process *process, struct span span, uint8_t uffd,
		     uint32_t mode)
{
	return change_vmas(process, span, change_mode, uffd, mode);
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

/* Blocks of @span in which nothing is mapped any more. */
static void drop_tables(struct sim_process *process, struct span span)
{
	struct span all = span_align_out(span, HUGE_BYTES);

	for (uint64_t at = all.start; at < all.end; at += HUGE_BYTES) {
		size_t i = sim_vma_index(process, at);

		if (i == process->vma_count ||
		    process->vmas[i].span.start >= at + HUGE_BYTES)
			sim_table_drop(process, at);
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
	drop_tables(process, span);
	return 0;
}

/* May @a lend @b, behind or before it, what its pages belong to? */
static bool lends(const struct sim_vma *a, const struct sim_vma *b)
{
	const struct sim_vma *low = a->span.start < b->span.start ? a : b;
	const struct sim_vma *high = low == a ? b : a;

	return a->anon && low->span.end == high->span.start && low->kind == high->kind &&
	       low->mode == high->mode && low->flags == high->flags &&
	       low->mapping == high->mapping &&
	       low->offset + span_bytes(low->span) == high->offset;
}

/* A page of its own is about to be in @vma. */
void sim_anon_prepare(struct sim_process *process, struct sim_vma *vma)
{
	size_t i = (size_t)(vma - process->vmas);

	if (vma->anon || vma->kind != SYS_VMA_ANON_PRIVATE)
		return;
	if (i + 1 < process->vma_count && lends(vma + 1, vma))
		vma->anon = vma[1].anon;
	else if (i && lends(vma - 1, vma))
		vma->anon = vma[-1].anon;
	else
		vma->anon = ++process->sim->anon_count;
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
	if (kind != SYS_VMA_ANON_PRIVATE || process->sim->config.separate_maps)
		vma.mapping = ++process->sim->mapping_count;
	sim_vma_insert(process, &vma);
	return 0;
}

int sim_do_mprotect(struct sim_process *process, struct span span, uint32_t prot)
{
	struct span mapped = sim_mapped_start(process, span);
	int err = change_vmas(process, mapped, change_prot, prot, 0);

	return !err && mapped.end < span.end ? -ENOMEM : err;
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
		if (sim_has_table(process, addr))
			sim_table_make(process, to + (addr - from.start));
		if (*flags) {
			sim_carry(process, to + (addr - from.start), process, addr);
			sim_page_erase(process, addr);
		}
	}
}

/* For who asks what a call moved. */
static void note_piece(struct sim *sim, struct span old)
{
	struct sim_thread *self = sim->current;

	if (!self)
		return;
	if (self->piece_count && self->pieces[self->piece_count - 1].end == old.start) {
		self->pieces[self->piece_count - 1].end = old.end;
		return;
	}
	SIM_MUST(self->piece_count < SIM_PIECES_MAX);
	self->pieces[self->piece_count++] = old;
}

/* @old lies in one VMA. What lies behind it, up to @tail_end, is cut off. */
static int move(struct sim_process *process, struct span old, uint64_t tail_end,
		uint64_t bytes, uint64_t to, bool dontunmap, struct sim_call *call)
{
	struct sys_event event = { .type = SYS_EVENT_REMAP, .span = old, .to = to };
	struct sim_vma vma = *sim_vma_at(process, old.start);
	bool whole = vma.span.start == old.start && vma.span.end == old.end;
	int err = 0;

	if (process->vma_count + 3 > process->sim->config.max_map_count)
		return -ENOMEM;
	vma.offset += old.start - vma.span.start;
	if (vma.kind == SYS_VMA_ANON_PRIVATE && !vma.anon)
		vma.offset = to;
	vma.span = span_make(to, bytes);
	sim_vma_insert(process, &vma);
	carry_pages(process, old, to);
	note_piece(process->sim, old);
	if (vma.uffd)
		sim_event_send(call, process, vma.uffd, &event);
	if (tail_end > old.end)
		err = sim_do_munmap(process, (struct span){ old.end, tail_end }, call);
	if (err)
		return err;
	if (!dontunmap)
		return sim_do_munmap(process, old, call);
	sim_vma_at(process, old.start)->flags &= ~(uint32_t)SIM_VMA_MLOCKED;
	if (whole)
		sim_vma_at(process, old.start)->anon = 0;
	return 0;
}

/* A move alone may be of several VMAs, one after the other, with holes between; it ends at
 * one that is registered. */
static int move_several(struct sim_process *process, struct span old, uint64_t to,
			bool dontunmap, struct sim_call *call)
{
	while (old.start < old.end) {
		size_t i = sim_vma_index(process, old.start);
		const struct sim_vma *vma = &process->vmas[i];
		struct span part;
		int err;

		if (i == process->vma_count || vma->span.start >= old.end)
			break;
		if (vma->uffd)
			return -EFAULT;
		part = span_intersect(old, vma->span);
		to += part.start - old.start;
		err = sim_do_munmap(process, span_make(to, span_bytes(part)), call);
		if (!err)
			err = move(process, part, 0, span_bytes(part), to, dontunmap, call);
		if (err)
			return err;
		to += span_bytes(part);
		old.start = part.end;
	}
	return 0;
}

/* @to: where, 0: in place. The old place is in one VMA, or -EFAULT. */
int sim_do_mremap(struct sim_process *process, struct span old, uint64_t bytes,
		  uint64_t to, bool dontunmap, struct sim_call *call)
{
	struct sim_vma *vma = sim_vma_at(process, old.start);
	struct span rest = span_make(old.start, MIN(bytes, span_bytes(old)));
	bool several;
	int err = 0;

	/* What is cut off is unmapped, whatever lies there. */
	if (!vma)
		return -EFAULT;
	several = process->sim->config.moves_several && to &&
		  bytes == span_bytes(old) && old.end > vma->span.end;
	if (rest.end > vma->span.end && !several && (to || bytes > span_bytes(old)))
		return -EFAULT;
	if (several)
		return move_several(process, old, to, dontunmap, call);
	if (to)
		err = sim_do_munmap(process, span_make(to, bytes), call);
	if (err)
		return err;
	if (to)
		return move(process, rest, old.end, bytes, to, dontunmap, call);
	if (bytes < span_bytes(old))
		return sim_do_munmap(process, (struct span){ rest.end, old.end }, call);
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
