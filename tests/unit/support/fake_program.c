/* SPDX-License-Identifier: MIT */
/*
 * fake_program.c - what the program does to its address space, and the events of it.
 */
#include "support/fake_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static void tell(struct fake_sys *fake, struct fake_process *process, uint32_t uffd,
		 enum sys_event_type type, struct span span, bool held)
{
	struct sys_event event = { .type = type, .span = span };

	if (uffd)
		fake_uffd_queue(fake->state, uffd, process, event, held);
}

static void unmap(struct fake_process *process, struct span span)
{
	fake_zap(process, span);
	FOR_PAGES(addr, span)
	memset(&fake_slot(process, addr)->vma, 0, sizeof(struct fake_vma));
}

void fake_munmap_locked(struct fake_sys *fake, struct fake_process *process,
			struct span span)
{
	uint32_t uffd;

	MUST(span_covers(FAKE_WINDOW, span));
	uffd = fake_uffd_of(process, span);
	unmap(process, span);
	tell(fake, process, uffd, SYS_EVENT_UNMAP, span, false);
}

void fake_map_locked(struct fake_sys *fake, struct fake_process *process,
		     struct span span, enum sys_vma_kind kind, uint32_t prot)
{
	fake_munmap_locked(fake, process, span);
	fake->state->mapping_count++;
	FOR_PAGES(addr, span)
	fake_slot(process, addr)->vma = (struct fake_vma){
		.mapping = fake->state->mapping_count,
		.kind = (uint8_t)kind,
		.prot = (uint8_t)prot,
	};
}

static int populate(struct fake_sys *fake, struct fake_process *process, struct span span)
{
	FOR_PAGES(addr, span)
	{
		int err = fake_touch_locked(fake, process, addr, true);

		/* Whoever would have to answer the fault may be the caller. */
		MUST(err != -EAGAIN);
		if (err)
			return err;
	}
	return 0;
}

/* Make huge pages of the blocks of @span. */
static int collapse(struct fake_process *process, struct span span)
{
	FOR_PAGES(addr, span)
	if (!(fake_page_at(process, addr)->flags & SYS_PAGE_PRESENT))
		return -EBUSY;
	FOR_PAGES(addr, span)
	fake_slot(process, addr)->flags |= SYS_PAGE_HUGE;
	return 0;
}

int fake_madvise_locked(struct fake_sys *fake, struct fake_process *process,
			struct span span, enum sys_advice advice)
{
	uint32_t uffd;

	FOR_PAGES(addr, span)
	if (!fake_slot(process, addr) || !fake_slot(process, addr)->vma.mapping)
		return -ENOMEM;
	switch (advice) {
	case SYS_ADVICE_DONTFORK:
	case SYS_ADVICE_DOFORK:
		FOR_PAGES(addr, span)
		fake_slot(process, addr)->vma.dontfork = advice == SYS_ADVICE_DONTFORK;
		return 0;
	case SYS_ADVICE_DONTNEED:
		uffd = fake_uffd_of(process, span);
		tell(fake, process, uffd, SYS_EVENT_REMOVE, span, false);
		if (!uffd)
			fake_zap(process, span);
		return 0;
	case SYS_ADVICE_POPULATE_WRITE:
		return populate(fake, process, span);
	case SYS_ADVICE_COLLAPSE:
		return collapse(process, span);
	case SYS_ADVICE_HUGEPAGE:
	case SYS_ADVICE_NOHUGEPAGE:
	case SYS_ADVICE_DONTDUMP:
		return 0;
	}
	return -EINVAL;
}

/* --- calls of the program ---------------- */

void fake_map(struct fake_sys *fake, struct span span, enum sys_vma_kind kind,
	      uint32_t prot)
{
	LOCKED(fake);
	fake_map_locked(fake, fake->state->current, span, kind, prot);
}

void fake_munmap(struct fake_sys *fake, struct span span)
{
	LOCKED(fake);
	fake_munmap_locked(fake, fake->state->current, span);
}

int fake_mremap(struct fake_sys *fake, struct span from, uint64_t to, bool dontunmap)
{
	LOCKED(fake);
	struct fake_process *process = fake->state->current;
	struct sys_event event = { .type = SYS_EVENT_REMAP, .span = from, .to = to };
	uint32_t uffd;

	MUST(!span_overlaps(from, span_make(to, span_bytes(from))));
	if (fake_one_vma(process, from))
		return -EFAULT;
	fake_munmap_locked(fake, process, span_make(to, span_bytes(from)));
	uffd = fake_uffd_of(process, from);
	fake_split_huge(process, from);
	FOR_PAGES(addr, from)
	{
		uint64_t dst = to + (addr - from.start);

		fake_slot(process, dst)->vma = fake_slot(process, addr)->vma;
		fake_carry(process, dst, process, addr);
		if (!IS_ALIGNED(from.start ^ to, HUGE_BYTES))
			fake_slot(process, dst)->flags &= ~(uint32_t)SYS_PAGE_HUGE;
	}
	if (uffd)
		fake_uffd_queue(fake->state, uffd, process, event, false);
	if (dontunmap) {
		fake_zap(process, from);
	} else {
		unmap(process, from);
		tell(fake, process, uffd, SYS_EVENT_UNMAP, from, true);
	}
	return 0;
}

void fake_mprotect(struct fake_sys *fake, struct span span, uint32_t prot)
{
	LOCKED(fake);
	FOR_PAGES(addr, span)
	fake_slot(fake->state->current, addr)->vma.prot = (uint8_t)prot;
}

void fake_mlock(struct fake_sys *fake, struct span span, bool on)
{
	LOCKED(fake);
	FOR_PAGES(addr, span)
	fake_slot(fake->state->current, addr)->vma.mlocked = on;
}

void fake_guard(struct fake_sys *fake, struct span span)
{
	LOCKED(fake);
	fake_zap(fake->state->current, span);
	FOR_PAGES(addr, span)
	fake_slot(fake->state->current, addr)->flags = SYS_PAGE_GUARD;
}

int fake_madvise(struct fake_sys *fake, struct span span, enum sys_advice advice)
{
	LOCKED(fake);
	return fake_madvise_locked(fake, fake->state->current, span, advice);
}

/* --- fork ---------------- */

/* @uffd: what the child's memory is registered with; 0: nothing. */
static void fork_pages(struct fake_process *parent, struct fake_process *child,
		       uint32_t uffd)
{
	FOR_PAGES(addr, FAKE_WINDOW)
	{
		struct fake_page *from = fake_slot(parent, addr);
		struct fake_page *to = fake_slot(child, addr);

		if (!from->vma.mapping || from->vma.dontfork)
			continue;
		from = fake_page_at(parent, addr);
		if (from->flags & FAKE_HAS_CONTENTS &&
		    from->vma.kind == SYS_VMA_ANON_PRIVATE)
			from->flags |= FAKE_PAGE_SHARED;
		to->vma = from->vma;
		if (from->vma.uffd && uffd) {
			to->vma.uffd = (uint8_t)uffd;
		} else {
			to->vma.uffd = 0;
			to->vma.mode = 0;
		}
		fake_carry(child, addr, parent, addr);
		to->flags &= ~(uint32_t)FAKE_PAGE_PINNED;
	}
}

/* The userfaultfd of what a child inherits, or 0. */
static uint32_t inherited_uffd(struct fake_process *parent)
{
	FOR_PAGES(addr, FAKE_WINDOW)
	{
		struct fake_page *page = fake_slot(parent, addr);

		if (page->vma.uffd && !page->vma.dontfork)
			return page->vma.uffd;
	}
	return 0;
}

static int fork_locked(struct fake_sys *fake)
{
	LOCKED(fake);
	struct fake_state *state = fake->state;
	struct fake_process *child = state->processes;
	uint32_t parent_uffd = 0;
	uint32_t child_uffd = 0;

	while (child->pages)
		child++;
	MUST(child < &state->processes[FAKE_PROCESSES - 1]);
	fake_process_init(child);
	if (sys_has(&fake->sys, SYS_FEATURE_EVENT_FORK))
		parent_uffd = inherited_uffd(state->current);
	if (parent_uffd) {
		struct sys_event event = { .type = SYS_EVENT_FORK };

		child_uffd = (uint32_t)fake_uffd_new(state, child);
		event.child_uffd = FAKE_UFFD_FIRST + (int)child_uffd;
		fake_uffd_queue(state, parent_uffd, state->current, event, false);
	}
	fork_pages(state->current, child, child_uffd);
	return (int)(child - state->processes);
}

int fake_fork(struct fake_sys *fake, bool hooks)
{
	int child;

	if (hooks && fake->hooks.prepare)
		fake->hooks.prepare();
	child = fork_locked(fake);
	if (hooks && fake->hooks.parent)
		fake->hooks.parent();
	return child;
}

void fake_enter(struct fake_sys *fake, int process)
{
	LOCKED(fake);
	MUST(process >= 0 && process < FAKE_PROCESSES);
	fake->state->current = &fake->state->processes[process];
	MUST(fake->state->current->pages);
}

void fake_exit(struct fake_sys *fake, int process)
{
	LOCKED(fake);
	MUST(process > 0 && process < FAKE_PROCESSES);
	fake->state->processes[process].dead = true;
}

/* --- the second half of calls that sent an event -------------------------------------- */

static bool caller_ran(struct fake_state *state)
{
	struct fake_event next[ARRAY_SIZE(state->events)];
	size_t next_count = 0;
	size_t kept = 0;
	bool ran = false;

	for (size_t i = 0; i < state->event_count; i++) {
		struct fake_event *event = &state->events[i];

		if (event->state != FAKE_READ) {
			state->events[kept++] = *event;
			continue;
		}
		ran = true;
		if (event->event.type == SYS_EVENT_REMOVE) {
			MUST(state->dying_count < ARRAY_SIZE(state->dying));
			state->dying[state->dying_count++] = *event;
		}
		if (i + 1 < state->event_count && event[1].state == FAKE_HELD) {
			next[next_count] = event[1];
			next[next_count++].state = FAKE_QUEUED;
			i++;
		}
	}
	/* Behind what was queued while the first of the two waited. */
	memcpy(&state->events[kept], next, next_count * sizeof(next[0]));
	state->event_count = kept + next_count;
	if (ran)
		pthread_cond_broadcast(&state->changed);
	return ran;
}

bool fake_caller_ran(struct fake_sys *fake)
{
	LOCKED(fake);
	return caller_ran(fake->state);
}

bool fake_finish_remove(struct fake_sys *fake)
{
	LOCKED(fake);
	struct fake_state *state = fake->state;
	bool ran = caller_ran(state);

	ran = ran || state->dying_count;
	while (state->dying_count) {
		struct fake_event *event = &state->dying[--state->dying_count];

		fake_zap(event->process, event->event.span);
	}
	return ran;
}
