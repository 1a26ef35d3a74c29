/* SPDX-License-Identifier: MIT */
/*
 * DOC: fork
 *
 * fork() of the C library runs the gate: before it, takes are shut out and every
 * page on a device comes home; after it, in the parent, takes go on. The child is
 * an ordinary copy-on-write child that owes us nothing, whoever dies first. What
 * the child inherits of the library is wiped; it opens usvm anew if it wants.
 *
 * A raw clone() (or _Fork()) passes the gate by. Where EVENT_FORK is allowed, the
 * kernel holds the parent until the FORK message is read, and hands over a
 * userfaultfd of the child: every page on a device is copied into the child
 * there, with engines stopped. The child runs meanwhile: what it unmaps or
 * remaps is heard on its userfaultfd and followed in a private list of edits.
 * When all is pushed the child's userfaultfd is closed: holes are holes. Where it
 * cannot be told what is to be pushed, pages are poisoned (SIGBUS), or the child is
 * not let go: it reads no zeros as long as its parent has usvm open, or the keeper stays
 * with it, which knows MM_STUCK_MAX of such children. Where EVENT_FORK is not allowed,
 * VMAs with device pages are not inherited at all (vma.c).
 *
 * The parent goes on when the message was read, and may end before all is pushed. The
 * keeper (sys) pushes the rest then: it finds in mm.push what has been pushed and what the
 * child did, and in mm.reading the message that was in the monitor's hand. What it
 * reads there is published behind what it stands for, and may be found twice: an edit that
 * is made twice is as good. event_lock is the monitor's still, so nothing else has moved.
 *
 * The close is left to the collector: it walks the child's mappings. The gate does it
 * itself, whatever else the collector has to do, and a child that opens usvm waits for the
 * gate (sys).
 */
#include "mm/mm_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"
#include "mm/call.h"

#define PUSH_EDITS_MAX 4096
#define PUSH_WIPED_MAX 256
#define PUSH_DEPTH_MAX 8
#define EDIT_DEAD UINT64_MAX
#define STUCK_LOOK_NS 1000000000u

/* What the child did to its address space since the clone, in order. */
struct push_edit {
	struct span span;
	uint64_t to; /* EDIT_DEAD: nothing of the parent's is there any more */
};

struct push {
	struct mm *mm;
	int uffd;
	uint32_t depth;
	uint64_t next;    /* published: what is below has been pushed */
	bool wiped_known; /* published */
	bool gone;   /* the child died */
	bool failed; /* the rest is poisoned */
	bool stuck;  /* what it lacks cannot be told: it is never let go */
	/* What the child is to find empty. */
	size_t wiped_count;
	struct span wiped[PUSH_WIPED_MAX];
	uint32_t edit_count; /* published */
	struct push_edit edits[PUSH_EDITS_MAX];
};

/* The hooks of fork() have no argument. One mm a process; LOCK_MM_GATE keeps it alive. */
static struct mm *fork_mm;
static struct lock fork_lock = { .rank = LOCK_MM_GATE, .name = "mm.gate" };

/* --- userfaultfds of children ---------------- */

static void close_children(struct mm *mm)
{
	int child_uffd = -1;

	do {
		mm_lock(mm);
		if (child_uffd >= 0)
			ATOMIC_SUB(&mm->children_closing, 1u);
		child_uffd = -1;
		if (mm->child_uffd_count) {
			child_uffd = mm->child_uffds[--mm->child_uffd_count];
			ATOMIC_ADD(&mm->children_closing, 1u);
		}
		mm_unlock(mm, 0);
		if (child_uffd >= 0)
			mm->sys->ops->uffd_close(mm->sys, child_uffd);
	} while (child_uffd >= 0);
	wait_wake_all(&mm->children_closed);
}

/* By others. */
static void wait_for_closes(struct mm *mm)
{
	for (;;) {
		uint32_t ticket = wait_ticket(&mm->children_closed);

		if (!ATOMIC_LOAD(&mm->children_closing))
			return;
		wait_sleep(&mm->children_closed, ticket, BASE_FOREVER);
	}
}

/* --- fork() ---------------- */

static int gate_close(void *argument)
{
	struct mm *mm = *(struct mm **)argument;
	int err;

	mm_lock(mm);
	ATOMIC_ADD(&mm->gate_closed, 1);
	mm_unlock(mm, 0);
	err = mm_bring_home(mm, (struct span){ 0, ALIGN_DOWN(UINT64_MAX, PAGE_BYTES) }, NULL);
	if (err)
		return err;
	mm_lock(mm);
	mm_vma_inherit(mm);
	mm_unlock(mm, 0);
	return 0;
}

static int gate_open(void *argument)
{
	struct mm *mm = *(struct mm **)argument;

	mm_lock(mm);
	ASSERT(mm->gate_closed);
	ATOMIC_SUB(&mm->gate_closed, 1);
	mm_unlock(mm, 0);
	/* The FORK message was read and handled in one: its userfaultfd waits to be closed, and
	 * until it is the child can register nothing of what it inherited. */
	close_children(mm);
	wait_for_closes(mm);
	return 0;
}

/* prepare() to parent() or child(): across functions, which clang cannot follow. */
static void fork_prepare(void) NO_LOCK_ANALYSIS;
static void fork_parent(void) NO_LOCK_ANALYSIS;
void mm_process_lock(void) NO_LOCK_ANALYSIS;
void mm_process_unlock(void) NO_LOCK_ANALYSIS;

static void fork_prepare(void)
{
	lock_acquire(&fork_lock);
	if (fork_mm && !fork_mm->why_not) {
		struct mm *mm = fork_mm;

		/* What could not come home is pushed at the FORK event. */
		mm_call(mm, gate_close, &mm, sizeof(mm));
	}
}

static void fork_parent(void)
{
	if (fork_mm && !fork_mm->why_not) {
		struct mm *mm = fork_mm;

		mm_call(mm, gate_open, &mm, sizeof(mm));
	}
	lock_release(&fork_lock);
}

static void fork_child(void)
{
	/* The memory behind it is wiped. */
	fork_mm = NULL;
	lock_init(&fork_lock, LOCK_MM_GATE, "mm.gate");
	base_host->self()->held_count = 0;
}

void mm_process_lock(void)
{
	lock_acquire(&fork_lock);
}

void mm_process_unlock(void)
{
	lock_release(&fork_lock);
}

void mm_process_forget(void)
{
	fork_child();
}

int mm_fork_init(struct mm *mm)
{
	static const struct sys_fork_hooks hooks = {
		.prepare = fork_prepare,
		.parent = fork_parent,
		.child = fork_child,
	};
	int err;

	err = mm->sys->ops->fork_hooks(mm->sys, &hooks);
	if (err)
		return err;
	fork_mm = mm;
	return 0;
}

void mm_fork_fini(struct mm *mm)
{
	ASSERT(fork_mm == mm);
	fork_mm = NULL;
}

/* Where the child has the page now. */
static uint64_t push_address(const struct push *push, uint64_t addr)
{
	for (uint32_t i = 0; i < push->edit_count; i++) {
		const struct push_edit *edit = &push->edits[i];

		if (!span_contains(edit->span, addr))
			continue;
		if (edit->to == EDIT_DEAD)
			return EDIT_DEAD;
		addr = edit->to + (addr - edit->span.start);
	}
	return addr;
}

static void push_edit(struct push *push, struct span span, uint64_t to)
{
	if (PLANTED(PUSH_NO_EDITS))
		return;
	if (push->edit_count == PUSH_EDITS_MAX) {
		push->stuck = true;
		return;
	}
	push->edits[push->edit_count] = (struct push_edit){ span, to };
	ATOMIC_PUBLISH(&push->edit_count, push->edit_count + 1);
}

static void push_run(struct push *push);

static void child_close(struct mm *mm, int child_uffd)
{
	if (mm->is_kept || mm->child_uffd_count == ARRAY_SIZE(mm->child_uffds)) {
		mm->sys->ops->uffd_close(mm->sys, child_uffd);
		return;
	}
	mm->child_uffds[mm->child_uffd_count++] = child_uffd;
	mm_work_queue_collector(mm, &mm->child_work);
}

static bool has_ended(struct mm *mm, int child_uffd)
{
	struct span nothing = span_make(mm->push_buffer, PAGE_BYTES); /* of the child's */

	return mm->sys->ops->uffd_writeprotect(mm->sys, child_uffd, nothing, false) == -ESRCH;
}

static void forget_ended(struct mm *mm)
{
	uint32_t kept = 0;

	lock_assert_held(&mm->event_lock);
	for (uint32_t i = 0; i < mm->stuck_count; i++) {
		if (has_ended(mm, mm->stuck_uffds[i]))
			mm->sys->ops->uffd_close(mm->sys, mm->stuck_uffds[i]);
		else
			mm->stuck_uffds[kept++] = mm->stuck_uffds[i];
	}
	mm->stuck_count = kept;
}

/* One that finds no place stays open as the others do, but the keeper will not know it. */
static void child_stuck(struct mm *mm, int child_uffd)
{
	if (mm->stuck_count == MM_STUCK_MAX)
		forget_ended(mm);
	if (mm->stuck_count < MM_STUCK_MAX)
		mm->stuck_uffds[mm->stuck_count++] = child_uffd;
}

/* From here on its message is dealt with: @push has it. */
static void push_begun(struct push *push)
{
	ATOMIC_PUBLISH(&push->mm->push_count, push->depth + 1);
	ATOMIC_PUBLISH(&push->mm->reading.uffd, -1);
}

/* A child of the child: it lacks what the child lacked at that time, at the most. */
static void push_grandchild(struct push *push, int uffd)
{
	struct push *next = push + 1;

	/* Nobody forks that deep in a millisecond. */
	if (push->depth == PUSH_DEPTH_MAX) {
		child_stuck(push->mm, uffd);
		return;
	}
	*next = *push;
	next->uffd = uffd;
	next->depth++;
	next->next = 0;
	push_begun(next);
	push_run(next);
}

/* What the child did. */
static void push_event(struct push *push, const struct sys_event *event)
{
	switch (event->type) {
	case SYS_EVENT_FAULT: /* it is woken by the copy, or by the close */
		break;
	case SYS_EVENT_UNMAP:
	case SYS_EVENT_REMOVE:
		push_edit(push, event->span, EDIT_DEAD);
		break;
	case SYS_EVENT_REMAP:
		push_edit(push, event->span, event->to);
		break;
	case SYS_EVENT_FORK:
		push_grandchild(push, event->child_uffd);
		break;
	}
}

/* Read one message of the child's. Return: false if there was none. */
static bool push_read(struct push *push)
{
	struct sys_event event;
	int err = mm_event_read(push->mm, push->uffd, &event);

	if (!err)
		push_event(push, &event);
	mm_event_done(push->mm);
	return !err;
}

/* Fill the buffer with page @at of @entry. Return: false if its contents cannot be had. */
static bool push_fill(struct push *push, struct mm_entry *entry, uint64_t at)
{
	struct mm *mm = push->mm;
	uint8_t *buffer = mm->sys->ops->pointer(mm->sys, mm->push_buffer, MM_PUSH_BYTES);

	return !entry->owner->ops->read(entry->owner, entry->frame + at,
					entry->state == MM_ENTRY_MOVING, buffer, PAGE_BYTES);
}

/* One page, or poison where the kernel cannot give the child one: what it lacks must not
 * read as zeros. The child's own events come between; an error counts when it comes twice
 * with none in between. */
static void push_page(struct push *push, struct mm_entry *entry, uint64_t at)
{
	struct sys *sys = push->mm->sys;
	uint64_t addr = entry->node.span.start + at;
	bool poison = !push_fill(push, entry, at) || push->failed;
	int last = 0;

	for (uint32_t tries = 0; tries < MM_RETRY_MAX; tries++) {
		uint64_t to = push_address(push, addr);
		uint64_t copied;
		int err;

		if (to == EDIT_DEAD || push->gone || push->stuck)
			return;
		if (poison) {
			err = sys->ops->uffd_poison(sys, push->uffd,
						    span_make(to, PAGE_BYTES));
		} else {
			err = sys->ops->uffd_copy(sys, push->uffd, to,
						  push->mm->push_buffer, PAGE_BYTES,
						  &copied);
		}
		if (!err || err == -EEXIST)
			return;
		if (err == -ESRCH) {
			push->gone = true;
			return;
		}
		if (push_read(push)) {
			/* Anew: a push to a grandchild uses the buffer too. */
			poison = !push_fill(push, entry, at) || push->failed;
			last = 0;
			continue;
		}
		if (err != -EAGAIN && err == last) {
			if (err == -ENOENT)
				return; /* the child has no such memory */
			if (poison)
				break;
			poison = true;
			err = 0;
		}
		last = err;
		base_host->cpu_yield();
	}
	push->stuck = true;
}

static bool is_wiped(const struct push *push, uint64_t addr)
{
	for (size_t i = 0; i < push->wiped_count; i++) {
		if (span_contains(push->wiped[i], addr))
			return true;
	}
	return false;
}

static void push_entry(struct push *push, struct mm_entry *entry)
{
	struct span span = entry->node.span;

	for (uint64_t addr = MAX(span.start, push->next); addr < span.end && !push->gone;
	     addr += PAGE_BYTES) {
		if (is_wiped(push, addr))
			continue;
		push_page(push, entry, addr - span.start);
		mm_stat_add(&push->mm->stats.forks_pushed_pages, 1);
		ATOMIC_PUBLISH(&push->next, addr + PAGE_BYTES);
	}
}

static void push_all(struct push *push)
{
	struct span rest = { push->next, UINT64_MAX };
	struct mm_entry *entry = mm_entry_first(push->mm, rest);

	for (; entry && !push->gone; entry = mm_entry_next(entry, rest))
		push_entry(push, entry);
}

/* One for a child, its child, and so on. */
size_t mm_push_bytes(void)
{
	return (PUSH_DEPTH_MAX + 1) * sizeof(struct push);
}

static void find_wiped(struct push *push)
{
	struct sys *sys = push->mm->sys;
	int err;

	push->wiped_count = 0;
	err = sys->ops->wiped_on_fork(sys, push->wiped, PUSH_WIPED_MAX, &push->wiped_count);
	if (!err && push->wiped_count <= PUSH_WIPED_MAX)
		return;
	/* Not known: the child must not read what it was not to have. */
	push->wiped_count = 0;
	push->failed = true;
}

/* All of it, or the rest. A child that lacks nothing is let go then. One of which that cannot be
 * said keeps its userfaultfd: it sleeps at the first page that it lacks, and reads no zeros
 * before that is closed. */
static void push_run(struct push *push)
{
	struct mm *mm = push->mm;

	if (!push->wiped_known)
		find_wiped(push);
	ATOMIC_PUBLISH(&push->wiped_known, true);
	push_all(push);
	/* Where the child has these is not known. */
	push->stuck |= mm->displaced.count > 0;
	if (push->stuck)
		child_stuck(mm, push->uffd);
	else
		child_close(mm, push->uffd);
	ATOMIC_PUBLISH(&mm->push_count, push->depth);
}

void mm_fork_event(struct mm *mm, int child_uffd)
{
	struct push *push = mm->push;

	if (mm->entry_pages && !PLANTED(PUSH_NOTHING)) {
		push->mm = mm;
		push->uffd = child_uffd;
		push->depth = 0;
		push->next = 0;
		push->wiped_known = false;
		push->gone = false;
		push->failed = false;
		push->edit_count = 0;
		push->stuck = false;
		push_begun(push);
		push_run(push);
		return;
	}
	child_close(mm, child_uffd);
}

/* --- the keeper ---------------- */

int mm_event_read(struct mm *mm, int uffd, struct sys_event *event)
{
	struct mm_reading *reading = &mm->reading;
	int err;

	lock_assert_held(&mm->event_lock);
	reading->event = (struct sys_event){ .child_uffd = -1 };
	ATOMIC_PUBLISH(&reading->uffd, uffd);
	err = mm->sys->ops->uffd_read(mm->sys, uffd, &reading->event);
	*event = reading->event;
	return err;
}

void mm_event_done(struct mm *mm)
{
	ATOMIC_PUBLISH(&mm->reading.uffd, -1);
}

/* The kernel let go whoever it is about. Of the parent's messages only the child counts now. */
static void take_up_message(struct mm *mm) MUST_HOLD(&mm->event_lock);
static void take_up_message(struct mm *mm)
{
	struct push *last = mm->push_count ? &mm->push[mm->push_count - 1] : NULL;
	struct sys_event event = mm->reading.event;
	int uffd = mm->reading.uffd;

	if (uffd < 0 || mm->sys->ops->uffd_salvage(mm->sys, &event))
		return;
	mm_event_done(mm);
	if (last && event.type == SYS_EVENT_FORK && last->uffd == event.child_uffd)
		return; /* it has begun */
	if (last)
		push_event(last, &event);
	else if (event.type == SYS_EVENT_FORK)
		mm_fork_event(mm, event.child_uffd);
}

/* Until they have ended: the memory that they lack is nobody's any more. */
static void stay_with_stuck(struct mm *mm)
{
	for (uint32_t i = 0; i < mm->stuck_count; i++) {
		while (!has_ended(mm, mm->stuck_uffds[i]))
			mm->sys->ops->uffd_wait(mm->sys, -1, STUCK_LOOK_NS);
	}
}

/* In the place of the monitor, which was killed, and holds event_lock if it had a message. */
void mm_last_will(void *arg) NO_LOCK_ANALYSIS;
void mm_last_will(void *arg)
{
	struct mm *mm = arg;

	mm->is_kept = true;
	take_up_message(mm);
	while (mm->push_count)
		push_run(&mm->push[mm->push_count - 1]);
	if (!mm->stuck_count)
		return;
	/* Who shares the memory or has all that is his goes on. */
	mm->sys->ops->uffd_close(mm->sys, mm->uffd);
	while (mm->child_uffd_count)
		mm->sys->ops->uffd_close(mm->sys, mm->child_uffds[--mm->child_uffd_count]);
	stay_with_stuck(mm);
}

void mm_fork_close_children(struct mm_work *work)
{
	close_children(CONTAINER_OF(work, struct mm, child_work));
}
