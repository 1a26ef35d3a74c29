/* SPDX-License-Identifier: MIT */
/*
 * DOC: what the program does to its address space
 *
 * Each call acts in one step and then waits for its messages, in the order of the real
 * ones: munmap() and mremap() are done before the message is read (U-1); DONTNEED, FREE
 * and REMOVE are told first, VMA by VMA, and zap when the caller runs again, whatever has
 * been put there meanwhile (U-8). Nothing is told of mprotect(), mlock() and guard pages.
 */
#include <errno.h>

#include "sys/sim_internal.h"

static bool is_valid(const struct sim *sim, struct span span)
{
	return IS_ALIGNED(span.start | span.end, PAGE_BYTES) && span.start < span.end &&
	       span_covers(sim->window, span);
}

/* --- mapping -------------------------------------------------------------- */

int sim_mmap(struct sim *sim, uint64_t addr, uint64_t bytes, uint32_t prot,
	     enum sys_vma_kind kind, uint32_t flags, uint64_t *out)
{
	struct sim_process *process = sim_caller(sim);
	struct sim_call call = { 0 };
	int err = SIM_ENTER(MMAP, addr, bytes, prot, flags);
	struct span span;
	size_t next;

	bytes = ALIGN_UP(bytes, PAGE_BYTES);
	if (!err && !bytes)
		err = -EINVAL;
	if (err)
		return sim_leave(err, 0);
	if (!(flags & SIM_MAP_FIXED))
		addr = sim_find_gap(process, bytes, PAGE_BYTES, false, addr);
	span = span_make(addr, bytes);
	if (!is_valid(sim, span))
		return sim_leave(addr ? -EINVAL : -ENOMEM, 0);
	next = sim_vma_index(process, addr);
	if (flags & SIM_MAP_NOREPLACE && next < process->vma_count &&
	    process->vmas[next].span.start < span.end)
		return sim_leave(-EEXIST, 0);
	err = sim_do_mmap(process, span, kind, prot, &call);
	sim_call_wait(sim, &call);
	if (!err)
		*out = addr;
	return sim_leave(err, addr);
}

int sim_munmap(struct sim *sim, struct span span)
{
	struct sim_call call = { 0 };
	int err = SIM_ENTER(MUNMAP, span.start, span_bytes(span));

	if (!err)
		err = is_valid(sim, span) ? sim_do_munmap(sim_caller(sim), span, &call) :
					    -EINVAL;
	sim_call_wait(sim, &call);
	return sim_leave(err, 0);
}

static int mremap_check(const struct sim *sim, struct span old, uint64_t bytes,
			uint32_t flags, uint64_t to)
{
	bool fixed = flags & SIM_MREMAP_FIXED;

	if (!is_valid(sim, old) || !bytes || !IS_ALIGNED(bytes, PAGE_BYTES))
		return -EINVAL;
	if (flags & (SIM_MREMAP_FIXED | SIM_MREMAP_DONTUNMAP) &&
	    !(flags & SIM_MREMAP_MAYMOVE))
		return -EINVAL;
	if (flags & SIM_MREMAP_DONTUNMAP && bytes != span_bytes(old))
		return -EINVAL;
	if (fixed && (!is_valid(sim, span_make(to, bytes)) ||
		      span_overlaps(old, span_make(to, bytes))))
		return -EINVAL;
	return 0;
}

static int do_mremap(struct sim *sim, struct span old, uint64_t bytes, uint32_t flags,
		     uint64_t *to, struct sim_call *call)
{
	struct sim_process *process = sim_caller(sim);
	bool dontunmap = flags & SIM_MREMAP_DONTUNMAP;
	int err = mremap_check(sim, old, bytes, flags, *to);

	if (err)
		return err;
	if (!(flags & (SIM_MREMAP_FIXED | SIM_MREMAP_DONTUNMAP))) {
		*to = old.start;
		err = sim_do_mremap(process, old, bytes, 0, false, call);
		if (err != -ENOMEM || !(flags & SIM_MREMAP_MAYMOVE) ||
		    bytes <= span_bytes(old))
			return err;
	}
	if (!(flags & SIM_MREMAP_FIXED))
		*to = sim_find_gap(process, bytes, PAGE_BYTES, false, 0);
	if (!*to)
		return -ENOMEM;
	return sim_do_mremap(process, old, bytes, *to, dontunmap, call);
}

int sim_mremap(struct sim *sim, struct span old, uint64_t bytes, uint32_t flags, uint64_t to,
	       uint64_t *out)
{
	struct sim_call call = { 0 };
	int err = SIM_ENTER(MREMAP, old.start, span_bytes(old), bytes, to);

	if (sim->current)
		sim->current->piece_count = 0;
	if (!err)
		err = do_mremap(sim, old, bytes, flags, &to, &call);
	if (!err && bytes > span_bytes(old))
		sim_fill_locked(sim_caller(sim),
				(struct span){ to + span_bytes(old), to + bytes }, true);
	sim_call_wait(sim, &call);
	if (!err)
		*out = to;
	return sim_leave(err, to);
}

size_t sim_mremap_pieces(struct sim *sim, const struct span **pieces)
{
	SIM_MUST(sim->current);
	*pieces = sim->current->pieces;
	return sim->current->piece_count;
}

/* Private memory that is locked and becomes writable has pages of its own at once. */
static int do_mprotect(struct sim_process *process, struct span span, uint32_t prot)
{
	struct span part = { span.start, span.start };
	int err = 0;

	while (!err && part.end < span.end) {
		const struct sim_vma *vma = sim_vma_at(process, part.end);
		bool fills;

		if (!vma)
			return -ENOMEM;
		part = (struct span){ part.end, MIN(vma->span.end, span.end) };
		fills = vma->flags & SIM_VMA_MLOCKED && !(vma->prot & SYS_PROT_WRITE) &&
			prot & SYS_PROT_WRITE && vma->kind == SYS_VMA_ANON_PRIVATE;
		err = sim_do_mprotect(process, part, prot);
		if (!err && fills)
			sim_fill_locked(process, part, false);
	}
	return err;
}

int sim_mprotect(struct sim *sim, struct span span, uint32_t prot)
{
	int err = SIM_ENTER(MPROTECT, span.start, span_bytes(span), prot);

	if (!err)
		err = is_valid(sim, span) ? do_mprotect(sim_caller(sim), span, prot) :
					    -EINVAL;
	return sim_leave(err, 0);
}

int sim_brk(struct sim *sim, uint64_t end, uint64_t *now)
{
	struct sim_process *process = sim_caller(sim);
	struct sim_call call = { 0 };
	uint64_t old = process->brk;
	uint64_t low = SIM_START + MIB(1);
	int err = SIM_ENTER(BRK, end);

	end = ALIGN_UP(end, PAGE_BYTES);
	if (!err && end > old) {
		size_t next = sim_vma_index(process, old);

		if (end > sim->config.arena_start ||
		    (next < process->vma_count && process->vmas[next].span.start < end))
			err = -ENOMEM;
		else
			err = sim_do_mmap(process, (struct span){ old, end },
					  SYS_VMA_ANON_PRIVATE,
					  SYS_PROT_READ | SYS_PROT_WRITE, &call);
	} else if (!err && end && end >= low && end < old) {
		err = sim_do_munmap(process, (struct span){ end, old }, &call);
	}
	if (!err && end >= low)
		process->brk = end;
	*now = process->brk;
	sim_call_wait(sim, &call);
	return sim_leave(err, process->brk);
}

/* --- madvise -------------------------------------------------------------- */

/* Of the huge zero page nothing is freed, so it stays. */
static void split_huge_data(struct sim_process *process, uint64_t addr)
{
	if (!IS_ALIGNED(addr, HUGE_BYTES) && !(sim_flags_read(process, addr) & SYS_PAGE_ZERO))
		sim_split_large(process, addr);
}

static void free_lazily(struct sim_process *process, struct span span)
{
	split_huge_data(process, span.start);
	split_huge_data(process, span.end);
	SIM_FOR_PAGES(addr, span) {
		uint16_t *flags = sim_flags(process, addr);

		if (!flags)
			addr = span_block(addr, HUGE_BYTES).end - PAGE_BYTES;
		else if (*flags & (SYS_PAGE_SWAPPED | SIM_PAGE_POISON))
			sim_page_erase(process, addr);
		else if (*flags & SYS_PAGE_PRESENT &&
			 !(*flags & (SIM_PAGE_SHARED | SYS_PAGE_ZERO)))
			*flags |= SIM_PAGE_LAZY;
	}
}

/* Of blocks that were emptied whole. */
static void drop_empty_tables(struct sim_process *process, struct span span)
{
	uint64_t at = ALIGN_UP(span.start, HUGE_BYTES);

	for (; at + HUGE_BYTES <= span.end; at += HUGE_BYTES) {
		bool is_empty = true;

		SIM_FOR_PAGES(addr, span_make(at, HUGE_BYTES))
			is_empty = is_empty && !sim_flags_read(process, addr);
		if (is_empty)
			sim_table_drop(process, at);
	}
}

/* What is told first, then waited for, looked up again, done: up to where the VMA ends
 * then, which is what @part becomes. */
static int discard(struct sim_process *process, const struct sim_vma *vma,
		   struct span *part, enum sim_advice advice)
{
	struct sim *sim = process->sim;
	struct sim_call call = { 0 };

	if (vma->flags & SIM_VMA_MLOCKED ||
	    (advice == SIM_ADVICE_REMOVE && vma->kind != SYS_VMA_ANON_SHARED))
		return -EINVAL;
	if (vma->uffd) {
		sim_event_send_all(&call, process, *part, SYS_EVENT_REMOVE);
		if (!sim->current && sim->outside)
			return 0; /* sim_outside_finish_removes() */
		sim_call_wait(sim, &call);
		sim_half_way();
		vma = sim_vma_at(process, part->start);
		if (!vma)
			return -ENOMEM;
		part->end = MIN(part->end, vma->span.end);
	}
	if (advice == SIM_ADVICE_FREE && vma->kind != SYS_VMA_ANON_PRIVATE)
		return -EINVAL;
	if (advice == SIM_ADVICE_FREE)
		free_lazily(process, *part);
	else
		sim_zap(process, *part, true);
	if (advice == SIM_ADVICE_DONTNEED)
		drop_empty_tables(process, *part);
	return 0;
}

static int populate(struct sim_process *process, struct span span, bool write)
{
	uint32_t fault_flags;

	SIM_FOR_PAGES(addr, span) {
		const struct sim_vma *vma = sim_vma_at(process, addr);
		int err;

		if (!vma)
			return -ENOMEM;
		if (!(vma->prot & (write ? SYS_PROT_WRITE : SYS_PROT_READ)))
			return -EINVAL;
		err = sim_touch(process, addr, write, &fault_flags);
		if (err == -EAGAIN)
			err = sim_feature(process->sim, SYS_FEATURE_KERNEL_FAULTS) ?
				      sim_fault_in(process, addr, write) :
				      -EFAULT;
		if (err)
			return err == -EBUSY ? -EHWPOISON : -EFAULT;
	}
	return 0;
}

static int guard(struct sim_process *process, struct sim_vma *vma, struct span span,
		 bool install)
{
	if (!sim_feature(process->sim, SYS_FEATURE_GUARD) ||
	    (install && vma->flags & SIM_VMA_MLOCKED))
		return -EINVAL;
	if (install) {
		sim_anon_prepare(process, vma);
		sim_zap(process, span, false);
	}
	SIM_FOR_PAGES(addr, span) {
		uint16_t *flags = install ? sim_flags_make(process, addr) :
					    sim_flags(process, addr);

		if (install) {
			sim_table_make(process, addr);
			*flags = SYS_PAGE_GUARD;
		} else if (flags) {
			*flags &= (uint16_t)~SYS_PAGE_GUARD;
		}
	}
	return 0;
}

static int set_flags(struct sim_process *process, struct span span, enum sim_advice advice)
{
	static const struct {
		uint32_t set, clear;
	} changes[] = {
		[SIM_ADVICE_HUGEPAGE] = { SIM_VMA_HUGEPAGE, SIM_VMA_NOHUGEPAGE },
		[SIM_ADVICE_NOHUGEPAGE] = { SIM_VMA_NOHUGEPAGE, SIM_VMA_HUGEPAGE },
		[SIM_ADVICE_DONTFORK] = { SIM_VMA_DONTFORK, 0 },
		[SIM_ADVICE_DOFORK] = { 0, SIM_VMA_DONTFORK },
		[SIM_ADVICE_WIPEONFORK] = { SIM_VMA_WIPEONFORK, 0 },
		[SIM_ADVICE_KEEPONFORK] = { 0, SIM_VMA_WIPEONFORK },
		[SIM_ADVICE_DONTDUMP] = { SIM_VMA_DONTDUMP, 0 },
		[SIM_ADVICE_MERGEABLE] = { SIM_VMA_MERGEABLE, 0 },
	};

	return sim_vma_set_flags(process, span, changes[advice].set, changes[advice].clear);
}

/* Memory that is locked is there at once: @span has come to it, or may be written now. As
 * far as that goes; nobody is told of an error. Who holds the address space does not wait
 * for a page. */
void sim_fill_locked(struct sim_process *process, struct span span, bool waits)
{
	uint32_t fault_flags;

	SIM_FOR_PAGES(addr, span) {
		const struct sim_vma *vma = sim_vma_at(process, addr);
		bool write = vma && vma->prot & SYS_PROT_WRITE;

		if (!vma || !(vma->flags & SIM_VMA_MLOCKED))
			return;
		if (waits ? populate(process, span_make(addr, PAGE_BYTES), write) :
			    sim_touch(process, addr, write, &fault_flags))
			return;
	}
}

/* What lies in one VMA. */
static int advise_part(struct sim_process *process, struct sim_vma *vma,
		       struct span *whole, enum sim_advice advice)
{
	struct span part = *whole;


	switch (advice) {
	case SIM_ADVICE_DONTNEED:
	case SIM_ADVICE_FREE:
	case SIM_ADVICE_REMOVE:
		return discard(process, vma, whole, advice);
	case SIM_ADVICE_COLLAPSE:
		return sim_collapse(process, vma, part);
	case SIM_ADVICE_GUARD_INSTALL:
	case SIM_ADVICE_GUARD_REMOVE:
		return guard(process, vma, part, advice == SIM_ADVICE_GUARD_INSTALL);
	case SIM_ADVICE_PAGEOUT:
		sim_do_swap_out(process, part);
		return 0;
	case SIM_ADVICE_WIPEONFORK:
		if (vma->kind != SYS_VMA_ANON_PRIVATE)
			return -EINVAL;
		return set_flags(process, part, advice);
	default:
		return set_flags(process, part, advice);
	}
}

/* Not under sim_enter(): for the program and for sys_ops.advise(). VMA by VMA; what is
 * not mapped is passed over and makes it -ENOMEM. */
int sim_do_madvise(struct sim_process *process, struct span span, enum sim_advice advice)
{
	int result = 0;

	if (!is_valid(process->sim, span))
		return -EINVAL;
	if (advice == SIM_ADVICE_POPULATE_READ || advice == SIM_ADVICE_POPULATE_WRITE)
		return populate(process, span, advice == SIM_ADVICE_POPULATE_WRITE);
	while (span.start < span.end) {
		size_t i = sim_vma_index(process, span.start);
		struct sim_vma *vma = &process->vmas[i];
		struct span part;
		int err;

		if (i == process->vma_count || vma->span.start >= span.end)
			return -ENOMEM;
		if (vma->span.start > span.start)
			result = -ENOMEM;
		part = span_intersect(span, vma->span);
		err = advise_part(process, vma, &part, advice);
		if (err)
			return err;
		span.start = part.end;
	}
	return result;
}

int sim_madvise(struct sim *sim, struct span span, enum sim_advice advice)
{
	struct sim_thread *self = sim->current;
	struct sim_process *process = sim_caller(sim);
	int err = SIM_ENTER(MADVISE, span.start, span_bytes(span), advice);

	if (err)
		return sim_leave(err, 0);
	if (self && process->number == 0) {
		self->in_madvise = true;
		sim->madvise_count++;
	}
	err = sim_do_madvise(process, span, advice);
	if (self && self->in_madvise) {
		self->in_madvise = false;
		sim->madvise_count--;
	}
	return sim_leave(err, 0);
}

int sim_mlock(struct sim *sim, struct span span, bool on)
{
	struct sim_process *process = sim_caller(sim);
	int err = SIM_ENTER(MLOCK, span.start, span_bytes(span), on);
	struct span mapped;

	if (!err && !is_valid(sim, span))
		err = -EINVAL;
	mapped = err ? span : sim_mapped_start(process, span);
	if (!err && !span_is_empty(mapped))
		err = sim_vma_set_flags(process, mapped, on ? SIM_VMA_MLOCKED : 0,
					on ? 0 : SIM_VMA_MLOCKED);
	if (!err && mapped.end < span.end)
		err = -ENOMEM;
	for (uint64_t at = span.start; on && !err && at < span.end; at += PAGE_BYTES) {
		const struct sim_vma *vma = sim_vma_at(process, at);
		bool write = vma && vma->prot & SYS_PROT_WRITE;

		if (populate(process, span_make(at, PAGE_BYTES), write))
			err = -ENOMEM;
	}
	return sim_leave(err, 0);
}
