/* SPDX-License-Identifier: MIT */
/*
 * DOC: processes of the simulated kernel
 *
 * A child has copies of its parent's pages; what a kernel shares until it is written is
 * marked SHARED on both sides. Its memory is registered with a userfaultfd of its own,
 * which comes out of the FORK message, or with none where FORK messages are not allowed:
 * then holes of the parent are zeros of the child.
 */
#include <errno.h>

#include "sys/sim_internal.h"

static void fork_page(struct sim_process *child, struct sim_process *parent, uint64_t addr,
		      bool is_private)
{
	uint16_t *flags = sim_flags(parent, addr);

	if (!*flags)
		return;
	if (*flags & SIM_PAGE_PINNED) {
		/* A pinned page is copied at once; its owner keeps it for itself. */
		*flags &= (uint16_t)~SIM_PAGE_PINNED;
		sim_carry(child, addr, parent, addr);
		*flags |= SIM_PAGE_PINNED;
		return;
	}
	if (is_private && *flags & SIM_PAGE_CONTENTS && !(*flags & SYS_PAGE_ZERO))
		*flags |= SIM_PAGE_SHARED;
	sim_carry(child, addr, parent, addr);
}

static void fork_vma(struct sim_process *child, struct sim_process *parent,
		     const struct sim_vma *vma, uint8_t uffd)
{
	struct sim_vma copy = *vma;
	bool is_private = vma->kind != SYS_VMA_ANON_SHARED && vma->kind != SYS_VMA_FILE_SHARED;
	bool only_zero;

	copy.flags &= ~(uint32_t)SIM_VMA_MLOCKED;
	if (!vma->uffd || !uffd) {
		copy.uffd = 0;
		copy.mode = 0;
	} else {
		copy.uffd = uffd;
	}
	sim_vma_insert(child, &copy);
	if (vma->flags & SIM_VMA_WIPEONFORK)
		return;
	/* Where there are but zero pages nothing is copied: the child faults for them. */
	only_zero = is_private && !vma->anon && !(copy.mode & SYS_REGISTER_WP);
	SIM_FOR_PAGES(addr, vma->span) {
		if (only_zero && sim_flags_read(parent, addr) & SYS_PAGE_ZERO)
			continue;
		if (sim_flags(parent, addr))
			fork_page(child, parent, addr, is_private);
		else
			addr = span_block(addr, HUGE_BYTES).end - PAGE_BYTES;
	}
}

/* The child is complete, and one message for each userfaultfd that it inherits queued. */
struct sim_process *sim_do_fork(struct sim_process *parent, struct sim_call *call)
{
	struct sim *sim = parent->sim;
	struct sim_process *child = sim_process_new(sim);
	uint8_t child_uffds[SIM_UFFDS_MAX + 1] = { 0 };

	child->brk = parent->brk;
	for (size_t i = 0; i < parent->vma_count; i++) {
		const struct sim_vma *vma = &parent->vmas[i];
		uint8_t *uffd = &child_uffds[vma->uffd];

		if (vma->flags & SIM_VMA_DONTFORK)
			continue;
		if (vma->uffd && !*uffd && sim_feature(sim, SYS_FEATURE_EVENT_FORK)) {
			struct sys_event event = { .type = SYS_EVENT_FORK };

			*uffd = sim_uffd_new(sim, child);
			sim_event_send(call, parent, vma->uffd, &event);
			call->last->child = &sim->uffds[*uffd];
		}
		fork_vma(child, parent, vma, *uffd);
	}
	return child;
}

/* Its address space is gone, without a message; userfaultfds that somebody else has
 * say -ESRCH. */
void sim_do_exit(struct sim_process *process)
{
	struct sim *sim = process->sim;

	SIM_MUST(!process->dead);
	LIST_FOR_EACH_SAFE(node, &sim->faults) {
		struct sim_fault *fault = LIST_ENTRY(node, struct sim_fault, link);

		if (fault->process == process)
			sim_fault_end(sim, fault);
	}
	LIST_FOR_EACH_SAFE(node, &sim->pins) {
		struct sim_pin *pin = LIST_ENTRY(node, struct sim_pin, link);

		if (pin->process == process)
			list_remove(&pin->link);
	}
	if (process->number == 0) {
		/* The library's descriptors close, its children's with them. */
		for (uint32_t i = 1; i < sim->uffd_count; i++)
			if (sim->uffds[i].process)
				sim_uffd_release(sim, &sim->uffds[i]);
	}
	process->dead = true;
	process->vma_count = 0;
	sim_blocks_free(process);
}

/* --- for the program ------------------------------------------------------ */

int sim_fork(struct sim *sim, uint32_t flags, const char *name, void (*run)(void *arg),
	     void *arg, struct sim_process **out)
{
	bool hooks = !(flags & SIM_FORK_RAW) && sim_caller(sim)->number == 0;
	struct sim_call call = { 0 };
	struct sim_process *child;
	int err = SIM_ENTER(FORK, flags);

	SIM_MUST(sim->current);
	if (!err && sim->process_count == SIM_PROCESSES_MAX)
		err = -EAGAIN; /* as at RLIMIT_NPROC */
	if (err)
		return sim_leave(err, 0);
	if (hooks && sim->hooks.prepare)
		sim->hooks.prepare();
	sim_half_way();
	child = sim_do_fork(sim->current->process, &call);
	sim->current->forking = child;
	sim_call_wait(sim, &call); /* it does not run until then */
	sim->current->forking = NULL;
	*out = child;
	sim_thread_new(sim, child, name, run, arg);
	if (hooks && sim->hooks.parent)
		sim->hooks.parent();
	return sim_leave(0, child->number);
}

/* Every thread of @process stops where it is. */
static void end_threads(struct sim *sim, struct sim_process *process)
{
	for (uint32_t i = 0; i < sim->thread_count && process->thread_count; i++) {
		struct sim_thread *thread = sim->threads[i];

		if (thread->process == process && thread->state != SIM_THREAD_ENDED &&
		    thread != sim->current)
			sim_thread_end(sim, thread);
	}
}

void sim_kill(struct sim *sim, struct sim_process *process)
{
	SIM_ENTER(KILL, process->number);
	SIM_MUST(sim->current);
	sim_leave(0, 0);
	if (process->dead)
		return;
	if (process == sim->current->process && process->number)
		sim_exit(sim);
	end_threads(sim, process);
	if (!process->dead) /* it is with its last thread, if it is a child */
		sim_do_exit(process);
	if (process == sim->current->process)
		sim_thread_end(sim, sim->current);
}

void sim_exit(struct sim *sim)
{
	struct sim_process *process;

	SIM_ENTER(EXIT);
	SIM_MUST(sim->current && sim->current->process->number);
	process = sim->current->process;
	sim_leave(0, 0);
	end_threads(sim, process);
	sim_do_exit(process);
	sim_thread_end(sim, sim->current);
	sim_end(sim, SIM_FAILED); /* it does not come back */
}

void sim_wait(struct sim *sim, struct sim_process *process)
{
	SIM_ENTER(WAIT, process->number);
	while (process->thread_count) {
		sim->current->joined_process = process;
		sim_block(sim, "process", process->number, BASE_FOREVER);
	}
	sim->current->joined_process = NULL;
	sim_leave(0, 0);
}

struct sim_process *sim_process(struct sim *sim, uint32_t number)
{
	return number < sim->process_count ? sim->processes[number] : NULL;
}

uint32_t sim_process_number(const struct sim_process *process)
{
	return process->number;
}

bool sim_process_is_dead(const struct sim_process *process)
{
	return process->dead;
}
