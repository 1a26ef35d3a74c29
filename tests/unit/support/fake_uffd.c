/* SPDX-License-Identifier: MIT */
/*
 * fake_uffd.c - the userfaultfd of the fake kernel.
 *
 * What MOVE, COPY and ZEROPAGE refuse, and in which order they look, follows the
 * real one: first a pending event, then the VMAs, then page after page.
 */
#include "support/fake_internal.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

/* The userfaultfd that hears of @span, or 0. */
uint32_t fake_uffd_of(struct fake_process *process, struct span span)
{
	FOR_PAGES(addr, span)
	if (fake_slot(process, addr)->vma.uffd)
		return fake_slot(process, addr)->vma.uffd;
	return 0;
}

void fake_uffd_queue(struct fake_state *state, uint32_t uffd,
		     struct fake_process *process, struct sys_event event, bool held)
{
	MUST(state->event_count < ARRAY_SIZE(state->events));
	state->events[state->event_count++] = (struct fake_event){
		.event = event,
		.uffd = uffd,
		.state = held ? FAKE_HELD : FAKE_QUEUED,
		.process = process,
	};
	pthread_cond_broadcast(&state->changed);
}

static bool is_pending(const struct fake_state *state, uint32_t uffd)
{
	for (size_t i = 0; i < state->event_count; i++)
		if (state->events[i].uffd == uffd)
			return true;
	return false;
}

/* The process behind descriptor @fd; *@uffd: its number here. */
static struct fake_process *process_of(struct fake_state *state, int fd, uint32_t *uffd)
{
	*uffd = (uint32_t)(fd - FAKE_UFFD_FIRST);
	MUST(*uffd > 0 && *uffd < ARRAY_SIZE(state->uffds) && state->uffds[*uffd]);
	return state->uffds[*uffd];
}

int fake_uffd_new(struct fake_state *state, struct fake_process *process)
{
	int uffd = 1;

	while (state->uffds[uffd])
		uffd++;
	MUST(uffd + 1 < (int)ARRAY_SIZE(state->uffds));
	state->uffds[uffd] = process;
	return uffd;
}

static int op_uffd_open(struct sys *sys, int *uffd)
{
	OP_FAILS(sys);
	*uffd = FAKE_UFFD_FIRST + fake_uffd_new(state, &state->processes[0]);
	return 0;
}

static void unregister(struct fake_state *state, struct fake_process *process,
		       uint32_t uffd, struct span span)
{
	FOR_PAGES(addr, span)
	{
		struct fake_page *page = fake_slot(process, addr);

		if (!page || page->vma.uffd != uffd)
			continue;
		page->vma.uffd = 0;
		page->vma.mode = 0;
		page->flags &= ~(uint32_t)FAKE_PAGE_WP;
	}
	fake_wake(state, process, span);
}

static void op_uffd_close(struct sys *sys, int fd)
{
	OP(sys);
	uint32_t uffd;
	struct fake_process *process = process_of(state, fd, &uffd);
	size_t kept = 0;

	unregister(state, process, uffd, FAKE_WINDOW);
	for (size_t i = 0; i < state->event_count; i++)
		if (state->events[i].uffd != uffd)
			state->events[kept++] = state->events[i];
	state->event_count = kept;
	state->uffds[uffd] = NULL;
}

static int op_uffd_register(struct sys *sys, int fd, struct span span, uint32_t mode)
{
	OP_FAILS(sys);
	uint32_t uffd;
	struct fake_process *process = process_of(state, fd, &uffd);
	bool found = false;

	FOR_PAGES(addr, span)
	{
		struct fake_page *page = fake_slot(process, addr);

		if (!page || !page->vma.mapping)
			continue;
		found = true;
		if (page->vma.kind == SYS_VMA_FILE_PRIVATE ||
		    page->vma.kind == SYS_VMA_FILE_SHARED ||
		    page->vma.kind == SYS_VMA_SPECIAL)
			return -EINVAL;
		if (page->vma.uffd && page->vma.uffd != uffd)
			return -EBUSY;
	}
	FOR_PAGES(addr, span)
	{
		struct fake_page *page = fake_slot(process, addr);

		if (!page || !page->vma.mapping)
			continue;
		page->vma.uffd = (uint8_t)uffd;
		page->vma.mode |= (uint8_t)mode;
	}
	return found ? 0 : -ENOENT;
}

static int op_uffd_unregister(struct sys *sys, int fd, struct span span)
{
	OP_FAILS(sys);
	uint32_t uffd;
	struct fake_process *process = process_of(state, fd, &uffd);

	unregister(state, process, uffd, span);
	return 0;
}

/* Why no page of the two spans can move, or 0. */
static int move_check(struct fake_process *process, uint32_t uffd, struct span dst,
		      struct span src)
{
	struct fake_vma *d, *s;
	int err = fake_one_vma(process, src);

	err = err ? err : fake_one_vma(process, dst);
	if (err)
		return err;
	d = &fake_slot(process, dst.start)->vma;
	s = &fake_slot(process, src.start)->vma;
	if (dst.start == src.start || d->uffd != uffd || d->prot != s->prot ||
	    !(d->prot & SYS_PROT_WRITE) || d->mlocked != s->mlocked ||
	    (d->kind != SYS_VMA_ANON_PRIVATE && d->kind != SYS_VMA_STACK) ||
	    (s->kind != SYS_VMA_ANON_PRIVATE && s->kind != SYS_VMA_STACK))
		return -EINVAL;
	return 0;
}

static int move_page(struct fake_process *process, uint64_t dst, uint64_t src,
		     uint32_t flags)
{
	struct fake_page *page = fake_page_at(process, src);

	if (fake_page_at(process, dst)->flags)
		return -EEXIST;
	if (!page->flags)
		return flags & SYS_MOVE_ALLOW_SRC_HOLES ? 0 : -ENOENT;
	if (!(page->flags & FAKE_HAS_CONTENTS))
		return -EFAULT; /* a marker */
	if (page->flags & (FAKE_PAGE_PINNED | FAKE_PAGE_SHARED))
		return -EBUSY;
	fake_carry(process, dst, process, src);
	fake_page_at(process, dst)->flags &= ~(uint32_t)FAKE_PAGE_WP;
	memset(fake_bytes_at(process, src), 0, PAGE_BYTES);
	page->flags = 0;
	return 0;
}

/* What move, copy and zeropage answer after @done bytes. */
static int partly(int err, uint64_t done)
{
	return err && done ? -EAGAIN : err;
}

static int op_uffd_move(struct sys *sys, int fd, uint64_t dst, uint64_t src,
			uint64_t bytes, uint32_t flags, uint64_t *moved)
{
	*moved = 0;
	OP_FAILS(sys);
	uint32_t uffd;
	struct fake_process *process = process_of(state, fd, &uffd);
	struct span huge = span_intersect(
		span_align_out(span_make(src, bytes), HUGE_BYTES), FAKE_WINDOW);
	int err;

	MUST(IS_ALIGNED(dst | src | bytes, PAGE_BYTES) && bytes);
	if (is_pending(state, uffd))
		return -EAGAIN;
	err = move_check(process, uffd, span_make(dst, bytes), span_make(src, bytes));
	if (err)
		return err;
	if (IS_ALIGNED(dst ^ src, HUGE_BYTES)) {
		fake_split_huge(process, span_make(src, bytes));
	} else {
		FOR_PAGES(addr, huge)
		fake_page_at(process, addr)->flags &= ~(uint32_t)SYS_PAGE_HUGE;
	}
	for (; *moved < bytes && !err; *moved += err ? 0 : PAGE_BYTES)
		err = move_page(process, dst + *moved, src + *moved, flags);
	if (fake->move_lies) {
		fake->move_lies--;
		*moved = 0;
		return -EEXIST;
	}
	if (!(flags & SYS_MOVE_DONTWAKE))
		fake_wake(state, process, span_make(dst, *moved));
	return partly(err, *moved);
}

/* Put @bytes from @src, or zeros if it is 0, at @dst. */
static int fill(struct fake_state *state, int fd, uint64_t dst, uint64_t src,
		uint64_t bytes, uint64_t *done)
{
	uint32_t uffd;
	struct fake_process *process = process_of(state, fd, &uffd);
	/* What stands in the way; COPY overwrites a marker, ZEROPAGE does not. */
	uint32_t full = src ? FAKE_HAS_CONTENTS : ~0u;
	bool in_window = src >= FAKE_BASE && src < FAKE_END;
	int err = 0;

	if (process->dead)
		return -ESRCH;
	if (is_pending(state, uffd))
		return -EAGAIN;
	if (fake_one_vma(process, span_make(dst, bytes)))
		return -ENOENT;
	for (; *done < bytes && !err; *done += err ? 0 : PAGE_BYTES) {
		struct fake_page *page = fake_page_at(process, dst + *done);
		const void *from = (const void *)(uintptr_t)(src + *done);

		if (page->vma.uffd != uffd) {
			err = -ENOENT;
		} else if (page->flags & full) {
			err = -EEXIST;
		} else if (!src) {
			page->flags = SYS_PAGE_PRESENT | SYS_PAGE_ZERO;
		} else {
			/* A kernel would fault on a hole of the source, and hang. */
			MUST(!in_window ||
			     fake_page_at(&state->processes[0], src + *done)->flags &
				     FAKE_HAS_CONTENTS);
			if (in_window)
				from = fake_bytes_at(&state->processes[0], src + *done);
			memcpy(fake_bytes_at(process, dst + *done), from, PAGE_BYTES);
			page->flags = SYS_PAGE_PRESENT;
		}
	}
	fake_wake(state, process, span_make(dst, *done));
	return partly(err, *done);
}

static int op_uffd_copy(struct sys *sys, int fd, uint64_t dst, uint64_t src,
			uint64_t bytes, uint64_t *copied)
{
	*copied = 0;
	OP_FAILS(sys);
	return fill(state, fd, dst, src, bytes, copied);
}

static int op_uffd_zeropage(struct sys *sys, int fd, struct span span, uint64_t *done)
{
	*done = 0;
	OP_FAILS(sys);
	return fill(state, fd, span.start, 0, span_bytes(span), done);
}

static int op_uffd_wake(struct sys *sys, int fd, struct span span)
{
	OP_FAILS(sys);
	uint32_t uffd;

	fake_wake(state, process_of(state, fd, &uffd), span);
	return 0;
}

static int op_uffd_poison(struct sys *sys, int fd, struct span span)
{
	OP_FAILS(sys);
	uint32_t uffd;
	struct fake_process *process = process_of(state, fd, &uffd);

	if (is_pending(state, uffd))
		return -EAGAIN;
	FOR_PAGES(addr, span)
	{
		struct fake_page *page = fake_page_at(process, addr);

		if (page->vma.uffd != uffd)
			return -ENOENT;
		if (page->flags)
			return -EEXIST;
		page->flags = FAKE_PAGE_POISON;
	}
	fake_wake(state, process, span);
	return 0;
}

static int op_uffd_writeprotect(struct sys *sys, int fd, struct span span, bool on)
{
	OP_FAILS(sys);
	uint32_t uffd;
	struct fake_process *process = process_of(state, fd, &uffd);

	if (is_pending(state, uffd))
		return -EAGAIN;
	FOR_PAGES(addr, span)
	{
		struct fake_page *page = fake_page_at(process, addr);

		if (page->vma.uffd != uffd || !(page->vma.mode & SYS_REGISTER_WP))
			return -ENOENT;
		if (!on)
			page->flags &= ~(uint32_t)FAKE_PAGE_WP;
		else if (page->flags || sys_has(sys, SYS_FEATURE_WP_ASYNC))
			page->flags |= FAKE_PAGE_WP; /* of a hole: a marker */
	}
	if (!on)
		fake_wake(state, process, span);
	return 0;
}

static bool is_readable(const struct fake_state *state, uint32_t uffd)
{
	for (size_t i = 0; i < state->sleeper_count; i++)
		if (state->sleepers[i].uffd == uffd && !state->sleepers[i].read)
			return true;
	for (size_t i = 0; i < state->event_count; i++)
		if (state->events[i].uffd == uffd &&
		    state->events[i].state == FAKE_QUEUED)
			return true;
	return false;
}

static int op_uffd_read(struct sys *sys, int fd, struct sys_event *event)
{
	OP_FAILS(sys);
	uint32_t uffd;

	if (process_of(state, fd, &uffd)->dead)
		return -ESRCH;
	for (size_t i = 0; i < state->sleeper_count; i++) {
		struct fake_sleeper *s = &state->sleepers[i];

		if (s->uffd != uffd || s->read)
			continue;
		s->read = true;
		*event = s->fault;
		return 0;
	}
	for (size_t i = 0; i < state->event_count; i++) {
		struct fake_event *e = &state->events[i];

		if (e->uffd != uffd || e->state != FAKE_QUEUED)
			continue;
		e->state = FAKE_READ;
		*event = e->event;
		return 0;
	}
	return -EAGAIN;
}

static int op_uffd_wait(struct sys *sys, int fd, uint64_t timeout_ns)
{
	OP_FAILS(sys);
	uint32_t uffd;
	bool readable;

	process_of(state, fd, &uffd);
	for (;;) {
		readable = is_readable(state, uffd);
		if (readable || state->kicked || timeout_ns != BASE_FOREVER)
			break;
		MUST(state->real_threads);
		pthread_cond_wait(&state->changed, &state->lock);
	}
	if (readable || state->kicked) {
		state->kicked = false;
		return 0;
	}
	fake->clock_ns += timeout_ns;
	sched_yield();
	return -ETIMEDOUT;
}

static void op_uffd_kick(struct sys *sys)
{
	OP(sys);
	state->kicked = true;
	pthread_cond_broadcast(&state->changed);
}

void fake_uffd_ops(struct sys_ops *ops)
{
	ops->uffd_open = op_uffd_open;
	ops->uffd_close = op_uffd_close;
	ops->uffd_register = op_uffd_register;
	ops->uffd_unregister = op_uffd_unregister;
	ops->uffd_move = op_uffd_move;
	ops->uffd_copy = op_uffd_copy;
	ops->uffd_zeropage = op_uffd_zeropage;
	ops->uffd_wake = op_uffd_wake;
	ops->uffd_poison = op_uffd_poison;
	ops->uffd_writeprotect = op_uffd_writeprotect;
	ops->uffd_read = op_uffd_read;
	ops->uffd_wait = op_uffd_wait;
	ops->uffd_kick = op_uffd_kick;
}
