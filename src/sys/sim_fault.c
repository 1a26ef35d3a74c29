/* SPDX-License-Identifier: MIT */
/*
 * DOC: faults of the simulated kernel
 *
 * sim_touch() is an access of a CPU in one step: it is done, it is refused, or it needs
 * the answer of a userfaultfd. In that case a fault is queued and its thread sleeps until
 * something wakes it, then it touches again. A wake does not mean that the page is there,
 * and who sleeps on a page that is unmapped sleeps until it is woken (T4).
 */
#include <errno.h>

#include "sys/sim_internal.h"

/* How long a thread sleeps in a fault before a signal, when one comes. */
#define SIGNAL_NS 20000

/* May a fault at @addr make a huge page? */
static bool wants_huge(struct sim_process *process, const struct sim_vma *vma, uint64_t addr)
{
	struct sim *sim = process->sim;
	struct span span = span_block(addr, HUGE_BYTES);
	struct sim_block *block;

	if (sim->config.thp == SIM_THP_NEVER || vma->flags & SIM_VMA_NOHUGEPAGE ||
	    (sim->config.thp == SIM_THP_ADVISED && !(vma->flags & SIM_VMA_HUGEPAGE)) ||
	    vma->kind != SYS_VMA_ANON_PRIVATE || !span_covers(vma->span, span))
		return false;
	block = sim_block_get(process, addr);
	if (block->table)
		return false;
	for (size_t i = 0; i < PAGES_PER_HUGE; i++)
		if (block->flags[i])
			return false;
	/* What pointer() shows may have been written since. */
	return !block->exposed && !sim_odd(sim, sim->config.odds.thp_fails);
}

static void block_change(struct sim_process *process, uint64_t addr, uint32_t set,
			 uint32_t clear)
{
	struct sim_block *block = sim_block_get(process, addr);

	for (size_t i = 0; i < PAGES_PER_HUGE; i++)
		block->flags[i] = (uint16_t)((block->flags[i] & ~clear) | set);
}

static void fill_missing(struct sim_process *process, struct sim_vma *vma,
			 uint64_t addr, bool write, uint16_t *flags)
{
	bool zero = !write && (vma->kind == SYS_VMA_ANON_PRIVATE ||
			       vma->kind == SYS_VMA_STACK);
	uint16_t new = (uint16_t)(SYS_PAGE_PRESENT | (zero ? SYS_PAGE_ZERO : 0));

	if (!*flags && wants_huge(process, vma, addr)) {
		sim_anon_prepare(process, vma);
		block_change(process, addr,
			     new | SYS_PAGE_HUGE | (zero ? 0 : SIM_PAGE_LARGE), 0);
	} else {
		sim_table_make(process, addr);
		*flags |= new;
	}
}

/* What is made before one sees that the page is the userfaultfd's. */
static void prepare_missing(struct sim_process *process, struct sim_vma *vma, uint64_t addr,
			    bool write, uint32_t flags)
{
	bool huge = !flags && wants_huge(process, vma, addr);

	if (write || huge)
		sim_anon_prepare(process, vma);
	if (!huge)
		sim_table_make(process, addr);
}

/* A page that is there is written. */
static void write_page(struct sim_process *process, uint64_t addr, uint16_t *flags)
{
	const uint32_t clear =
		SIM_PAGE_WP | SIM_PAGE_SHARED | SYS_PAGE_ZERO | SIM_PAGE_LAZY;
	uint32_t set = *flags & SYS_PAGE_ZERO ? SIM_PAGE_LARGE : 0;

	if (!(*flags & clear))
		return;
	/* One small page is copied, and the huge one is gone. */
	if (*flags & SIM_PAGE_SHARED) {
		sim_split_block(process, addr);
		*flags &= (uint16_t)~SIM_PAGE_LARGE;
	}
	if (*flags & SYS_PAGE_HUGE)
		block_change(process, addr, set, clear);
	else
		*flags &= (uint16_t)~clear;
}

/*
 * Return: 0 done; -EFAULT SIGSEGV; -EBUSY SIGBUS; -EAGAIN it needs its userfaultfd,
 * *@fault_flags: with what.
 */
int sim_touch(struct sim_process *process, uint64_t addr, bool write,
	      uint32_t *fault_flags)
{
	struct sim_vma *vma = sim_vma_at(process, addr);
	uint16_t *flags;

	if (!vma || !(vma->prot & (write ? SYS_PROT_WRITE : SYS_PROT_READ)))
		return -EFAULT;
	flags = sim_flags_make(process, addr);
	if (*flags & SYS_PAGE_GUARD)
		return -EFAULT;
	if (*flags & SIM_PAGE_POISON)
		return -EBUSY;
	if (*flags == SIM_PAGE_WP && !(vma->mode & SYS_REGISTER_WP))
		*flags = 0; /* a marker of before */
	if (!(*flags & SIM_PAGE_CONTENTS)) {
		*fault_flags = write ? SYS_FAULT_WRITE : 0;
		if (vma->mode & SYS_REGISTER_MISSING) {
			prepare_missing(process, vma, addr, write, *flags);
			return -EAGAIN;
		}
		fill_missing(process, vma, addr, write, flags);
	} else if (*flags & SYS_PAGE_SWAPPED) {
		*flags = (uint16_t)((*flags & ~SYS_PAGE_SWAPPED) | SYS_PAGE_PRESENT);
	}
	if (!write)
		return 0;
	if (*flags & SIM_PAGE_WP && !sim_feature(process->sim, SYS_FEATURE_WP_ASYNC)) {
		*fault_flags = SYS_FAULT_WRITE | SYS_FAULT_WP;
		return -EAGAIN;
	}
	sim_anon_prepare(process, vma);
	write_page(process, addr, flags);
	return 0;
}

/* --- asleep --------------------------------------------------------------- */

uint32_t sim_caller_id(struct sim *sim)
{
	if (sim->current)
		return 1000 + sim->current->number;
	return sim->outside ? sim->outside->thread_id(sim->outside->arg) : 1000;
}

struct sim_fault *sim_fault_queue(struct sim_process *process, uint64_t addr,
				  uint32_t fault_flags)
{
	struct sim *sim = process->sim;
	struct list *node = list_pop_front(&sim->free_faults);
	struct sim_fault *fault;

	fault = node ? LIST_ENTRY(node, struct sim_fault, link) :
		       sim_alloc(sim, sizeof(*fault));
	*fault = (struct sim_fault){
		.event = {
			.type = SYS_EVENT_FAULT,
			.fault_flags = fault_flags,
			.addr = ALIGN_DOWN(addr, PAGE_BYTES),
		},
		.process = process,
		.waiter = sim->current,
		.number = ++sim->fault_count,
		.thread_id = sim_caller_id(sim),
		.uffd = sim_vma_at(process, addr)->uffd,
	};
	if (sim_feature(sim, SYS_FEATURE_THREAD_ID))
		fault->event.thread_id = fault->thread_id;
	list_push_back(&sim->faults, &fault->link);
	sim->uffds[fault->uffd].unread_faults++;
	sim_wake_uffd_waiters(sim);
	return fault;
}

/* The thread leaves its fault. */
void sim_fault_end(struct sim *sim, struct sim_fault *fault)
{
	struct sim_thread *waiter = fault->waiter;

	if (!fault->read)
		sim->uffds[fault->uffd].unread_faults--;
	list_remove(&fault->link);
	list_push_back(&sim->free_faults, &fault->link);
	if (waiter) {
		waiter->fault = NULL;
		sim_wake(sim, waiter);
	}
}

/* Whoever sleeps for @uffd. */
void sim_fault_wake(struct sim *sim, const struct sim_uffd *uffd, struct span span)
{
	LIST_FOR_EACH_SAFE(node, &sim->faults) {
		struct sim_fault *fault = LIST_ENTRY(node, struct sim_fault, link);

		if (fault->uffd == uffd->index && span_contains(span, fault->event.addr))
			sim_fault_end(sim, fault);
	}
	if (sim->outside)
		sim->outside->changed(sim->outside->arg);
}

/* Sleep in the fault. Return: 0 look again; -EINTR out of the guarded access. */
static int sleep_in_fault(struct sim_process *process, uint64_t addr, uint32_t fault_flags)
{
	struct sim *sim = process->sim;
	struct sim_fault *fault = sim_fault_queue(process, addr, fault_flags);
	struct sim_thread *self = sim->current;
	uint64_t timeout = BASE_FOREVER;

	if (!self) {
		SIM_MUST(sim->outside);
		sim->outside->sleep(sim->outside->arg, fault->number);
		if (sim->kicked_thread != sim_caller_id(sim))
			return 0;
		sim->kicked_thread = 0;
		return -EINTR;
	}
	if (sim_odd(sim, sim->config.odds.fault_repeats))
		timeout = SIGNAL_NS;
	self->fault = fault;
	while (self->fault) {
		if (sim_block(sim, "fault at", addr, timeout) == -ETIMEDOUT && self->fault)
			sim_fault_end(sim, fault);
	}
	if (self->op == SIM_OP_ACCESS && self->kicked) {
		self->kicked = false;
		return -EINTR;
	}
	return 0;
}

/* Touch until it is done or refused: 0, -EFAULT, -EBUSY, -EINTR. */
int sim_fault_in(struct sim_process *process, uint64_t addr, bool write)
{
	uint32_t fault_flags;
	int err;

	for (;;) {
		err = sim_touch(process, addr, write, &fault_flags);
		if (err != -EAGAIN)
			return err;
		err = sleep_in_fault(process, addr, fault_flags);
		if (err)
			return err;
	}
}
