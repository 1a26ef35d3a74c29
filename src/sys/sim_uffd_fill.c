/* SPDX-License-Identifier: MIT */
/*
 * DOC: MOVE, COPY, ZEROPAGE, POISON, WRITEPROTECT
 *
 * What they refuse, and in which order they look, is the real one's: first a message in
 * flight, then the VMAs, then page after page. Whatever stops them behind the first page
 * is -EAGAIN with the bytes that were done (U-14).
 */
#include <errno.h>
#include <string.h>

#include "sys/sim_internal.h"

/* The answer after @done bytes. */
static int partly(int err, uint64_t done)
{
	return err && done ? -EAGAIN : err;
}

static int may_begin(const struct sim_uffd *uffd)
{
	if (uffd->process->dead)
		return -ESRCH;
	return uffd->changing ? -EAGAIN : 0;
}

/* --- MOVE ----------------------------------------------------------------- */

static bool moves(const struct sim_vma *vma)
{
	return vma->kind == SYS_VMA_ANON_PRIVATE || vma->kind == SYS_VMA_STACK;
}

static int move_check(struct sim_process *process, const struct sim_uffd *uffd,
		      struct span dst, struct span src)
{
	struct sim_vma *d = sim_vma_at(process, dst.start);
	const struct sim_vma *s = sim_vma_at(process, src.start);

	if (d)
		sim_anon_prepare(process, d);
	if (!d || !s)
		return -ENOENT;
	if (dst.end > d->span.end || src.end > s->span.end)
		return -EINVAL;
	if (d->uffd != uffd->index || d->prot != s->prot ||
	    !(d->prot & SYS_PROT_WRITE) ||
	    (d->flags ^ s->flags) & SIM_VMA_MLOCKED || !moves(d) || !moves(s))
		return -EINVAL;
	return 0;
}

static int move_page(struct sim_process *process, uint64_t dst, uint64_t src,
		     uint32_t mode)
{
	struct sim *sim = process->sim;
	uint32_t flags = sim_flags_read(process, src);

	if (sim_block_is_empty(process, src) && !(mode & SYS_MOVE_ALLOW_SRC_HOLES))
		return -ENOENT; /* a block that is empty, before all */
	sim_table_make(process, dst);
	sim_table_make(process, src);
	if (sim_flags_read(process, dst))
		return -EEXIST;
	if (!flags)
		return mode & SYS_MOVE_ALLOW_SRC_HOLES ? 0 : -ENOENT;
	if (!(flags & SIM_PAGE_CONTENTS))
		return -EFAULT; /* a marker */
	if (flags & (SIM_PAGE_PINNED | SIM_PAGE_SHARED) || sim_large_is_pinned(process, src) ||
	    sim_odd(sim, sim->config.odds.page_busy))
		return -EBUSY;
	sim_split_large(process, src);
	sim_carry(process, dst, process, src);
	/* It is dirty afterwards, so what MADV_FREE said of it is over. */
	*sim_flags(process, dst) &= (uint16_t)~(SIM_PAGE_WP | SIM_PAGE_LAZY);
	sim_page_erase(process, src);
	return sim_odd(sim, sim->config.odds.move_lies) ? -EEXIST : 0;
}

/* Does the block at @src go to @dst as one huge page? */
static bool moves_huge(struct sim_process *process, uint64_t dst, uint64_t src,
		       uint64_t bytes)
{
	if (bytes < HUGE_BYTES || !IS_ALIGNED(dst | src, HUGE_BYTES) ||
	    !(sim_flags_read(process, src) & SYS_PAGE_HUGE))
		return false;
	SIM_FOR_PAGES(addr, span_make(dst, HUGE_BYTES))
		if (sim_flags_read(process, addr))
			return false;
	return true;
}

/* That is seen before it would be split. */
static bool is_shared_huge(struct sim_process *process, uint64_t src)
{
	uint32_t flags = sim_flags_read(process, src);

	return flags & SYS_PAGE_HUGE && flags & SIM_PAGE_SHARED && !(flags & SYS_PAGE_ZERO);
}

static int move_block(struct sim_process *process, uint64_t dst, uint64_t src)
{
	struct sim *sim = process->sim;

	for (uint64_t i = 0; i < HUGE_BYTES; i += PAGE_BYTES)
		if (sim_flags_read(process, src + i) & (SIM_PAGE_PINNED | SIM_PAGE_SHARED))
			return -EBUSY;
	if (sim_odd(sim, sim->config.odds.page_busy))
		return -EBUSY;
	for (uint64_t i = 0; i < HUGE_BYTES; i += PAGE_BYTES) {
		sim_carry(process, dst + i, process, src + i);
		*sim_flags(process, dst + i) &= (uint16_t)~(SIM_PAGE_WP | SIM_PAGE_LAZY);
		sim_page_erase(process, src + i);
	}
	return sim_odd(sim, sim->config.odds.move_lies) ? -EEXIST : 0;
}

int sim_do_uffd_move(struct sim *sim, struct sim_uffd *uffd, uint64_t dst, uint64_t src,
		     uint64_t bytes, uint32_t flags, uint64_t *moved)
{
	struct sim_process *process = uffd->process;
	/* Only its own memory: that is asked before whether there is any. */
	int err = uffd->changing ? -EAGAIN : process != sim_caller(sim) ? -EINVAL : 0;

	SIM_MUST(IS_ALIGNED(dst | src | bytes, PAGE_BYTES) && bytes);
	/* The kernel looks for the VMAs before it looks for messages under its lock: what
	 * an mremap() has just taken away is -ENOENT, not -EAGAIN (A6). */
	sim_half_way();
	if (!err)
		err = may_begin(uffd);
	if (!err)
		err = move_check(process, uffd, span_make(dst, bytes),
				 span_make(src, bytes));
	if (!err)
		err = may_begin(uffd);
	while (!err && *moved < bytes) {
		uint64_t d = dst + *moved, s = src + *moved;

		if (*moved && sim_odd(sim, sim->config.odds.move_stops)) {
			err = -EAGAIN;
		} else if (moves_huge(process, d, s, bytes - *moved)) {
			err = move_block(process, d, s);
			*moved += err ? 0 : HUGE_BYTES;
		} else if (is_shared_huge(process, s)) {
			err = -EBUSY;
		} else {
			sim_split_block(process, s);
			err = move_page(process, d, s, flags);
			*moved += err ? 0 : PAGE_BYTES;
		}
	}
	if (sim->move_lies) {
		sim->move_lies--;
		*moved = 0;
		return -EEXIST;
	}
	if (*moved && !(flags & SYS_MOVE_DONTWAKE))
		sim_fault_wake(sim, uffd, span_make(dst, *moved));
	return partly(err, *moved);
}

/* --- COPY, ZEROPAGE ------------------------------------------------------- */

static int fill_page(struct sim *sim, struct sim_uffd *uffd, uint64_t dst, uint64_t src)
{
	struct sim_process *process = uffd->process;
	struct sim_process *home = sim->processes[0];
	uint16_t *flags = sim_flags_make(process, dst);
	/* What stands in the way: COPY overwrites a marker, ZEROPAGE does not. */
	uint32_t full = src ? (uint32_t)SIM_PAGE_CONTENTS : UINT32_MAX;

	sim_table_make(process, dst);
	if (*flags & full)
		return -EEXIST;
	if (!src) {
		*flags = SYS_PAGE_PRESENT | SYS_PAGE_ZERO;
		return 0;
	}
	if (span_contains(sim->window, src)) {
		/* A kernel would fault on a hole of the source, and hang if that is
		 * registered. Elsewhere a pointer may have filled it. */
		SIM_MUST((sim_flags_read(home, src) & SIM_PAGE_CONTENTS) ||
			 !sim_vma_at(home, src)->uffd);
		memcpy(sim_bytes(process, dst), sim_bytes(home, src),
		       sim->config.frame_bytes);
	} else {
		memcpy(sim_bytes(process, dst), (const void *)(uintptr_t)src,
		       sim->config.frame_bytes);
	}
	*flags = SYS_PAGE_PRESENT;
	return 0;
}

/* Put @bytes from @src, or zeros if it is 0, at @dst. */
int sim_do_uffd_fill(struct sim *sim, struct sim_uffd *uffd, uint64_t dst, uint64_t src,
		     uint64_t bytes, uint64_t *done)
{
	struct sim_process *process = uffd->process;
	int err = may_begin(uffd);

	if (err)
		return err;
	SIM_MUST(IS_ALIGNED(dst | bytes, PAGE_BYTES) && bytes);
	if (sim_vma_at(process, dst))
		sim_anon_prepare(process, sim_vma_at(process, dst));
	if (sim_one_vma(process, span_make(dst, bytes)) ||
	    !sim_vma_at(process, dst)->uffd)
		return -ENOENT;
	while (!err && *done < bytes) {
		err = fill_page(sim, uffd, dst + *done, src ? src + *done : 0);
		*done += err ? 0 : PAGE_BYTES;
	}
	if (*done)
		sim_fault_wake(sim, uffd, span_make(dst, *done));
	return partly(err, *done);
}

/* --- POISON, WRITEPROTECT ------------------------------------------------- */

int sim_do_uffd_poison(struct sim *sim, struct sim_uffd *uffd, struct span span)
{
	struct sim_process *process = uffd->process;
	uint64_t done = 0;
	int err = may_begin(uffd);

	if (err)
		return err;
	if (sim_vma_at(process, span.start))
		sim_anon_prepare(process, sim_vma_at(process, span.start));
	if (sim_one_vma(process, span) ||
	    !sim_vma_at(process, span.start)->uffd)
		return -ENOENT;
	SIM_FOR_PAGES(addr, span) {
		uint16_t *flags = sim_flags_make(process, addr);

		if (*flags) {
			err = -EEXIST;
			break;
		}
		sim_table_make(process, addr);
		*flags = SIM_PAGE_POISON;
		done += PAGE_BYTES;
	}
	if (done)
		sim_fault_wake(sim, uffd, span_make(span.start, done));
	return partly(err, done);
}

static void protect(struct sim *sim, struct sim_process *process, struct span span)
{
	SIM_FOR_PAGES(addr, span) {
		uint16_t *flags = sim_flags_make(process, addr);

		if (*flags & SIM_PAGE_CONTENTS ||
		    (!*flags && sim_feature(sim, SYS_FEATURE_WP_ASYNC)))
			*flags |= SIM_PAGE_WP; /* of a hole: a marker */
		if (*flags)
			sim_table_make(process, addr);
	}
}

/* VMA by VMA, whoever registered them; what is not mapped is passed over. */
int sim_do_uffd_writeprotect(struct sim *sim, struct sim_uffd *uffd, struct span span,
			     bool on)
{
	struct sim_process *process = uffd->process;
	size_t i = sim_vma_index(process, span.start);
	int err = may_begin(uffd);
	bool found = false;

	if (err)
		return err;
	for (; i < process->vma_count && process->vmas[i].span.start < span.end; i++) {
		struct span part = span_intersect(span, process->vmas[i].span);

		if (!(process->vmas[i].mode & SYS_REGISTER_WP))
			return -ENOENT;
		found = true;
		sim_split_huge(process, part);
		if (on)
			protect(sim, process, part);
		else
			sim_unprotect(process, part);
	}
	if (!found)
		return -ENOENT;
	return 0;
}
