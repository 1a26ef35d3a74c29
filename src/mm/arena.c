/* SPDX-License-Identifier: MIT */
/*
 * DOC: The arena
 *
 * Frames are memory of the library's own on the *same* userfaultfd as the
 * program's memory (on another one MOVE ignores pending events, A9), registered
 * in write-protect mode alone: an engine that touches an empty frame gets a zero
 * page like any thread and never a userfault (law 8). The arena makes no huge pages
 * of its own: a touch of one frame must not make its neighbours present, for what
 * is present after a MOVE is what was taken (take.c).
 *
 * A free frame is empty. Frames are emptied by installing guard pages and
 * removing them again, which zaps without an event (A10). Where the kernel has
 * no guard pages, they are unregistered, zapped, and registered again.
 */
#include "mm/mm_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"

/* Far from where mmap() puts things, so that the program never meets it. */
#define ARENA_HINT 0x100000000000ull
#define ARENA_REGISTER_TRIES 8

int mm_arena_create(struct mm *mm, uint64_t bytes, uint64_t *addr)
{
	struct span span;
	uint64_t start;
	int err;

	ASSERT(bytes && IS_ALIGNED(bytes, HUGE_BYTES));
	if (mm->why_not)
		return -EOPNOTSUPP;
	err = mm->sys->ops->map(mm->sys, bytes, HUGE_BYTES, ARENA_HINT, &start);
	if (err)
		return err;
	span = span_make(start, bytes);
	err = mm->sys->ops->advise(mm->sys, span, SYS_ADVICE_NOHUGEPAGE);
	if (err && err != -EINVAL) /* a kernel without huge pages */
		goto unmap;
	err = mm->sys->ops->uffd_register(mm->sys, mm->uffd, span, SYS_REGISTER_WP);
	if (err)
		goto unmap;
	*addr = start;
	return 0;

unmap:
	mm->sys->ops->unmap(mm->sys, start, bytes);
	return err;
}

void mm_arena_destroy(struct mm *mm, uint64_t addr, uint64_t bytes)
{
	/* Unregistered first: munmap() raises an event otherwise, and waits for the
	 * monitor. Where there is no memory for that, it may: this is not the monitor. */
	int err = mm->sys->ops->uffd_unregister(mm->sys, mm->uffd, span_make(addr, bytes));

	if (err)
		lock_assert_none_held("munmap() of an arena that is registered");
	mm->sys->ops->unmap(mm->sys, addr, bytes);
}

/* Where this is given up the frames are no target of a MOVE: pages stay at home. */
static int register_again(struct mm *mm, struct span span)
{
	int err = -ENOMEM;

	for (int i = 0; err && i < ARENA_REGISTER_TRIES; i++)
		err = mm->sys->ops->uffd_register(mm->sys, mm->uffd, span, SYS_REGISTER_WP);
	return err;
}

/* A part of the arena is a mapping of its own meanwhile: there may be too many. */
static int zap_unregistered(struct mm *mm, struct span span)
{
	int err;
	int register_err;

	/* No MOVE may come between: an unregistered frame is no target. */
	lock_assert_held(&mm->event_lock);
	err = mm->sys->ops->uffd_unregister(mm->sys, mm->uffd, span);
	if (err)
		return err;
	err = mm->sys->ops->advise(mm->sys, span, SYS_ADVICE_DONTNEED);
	register_err = register_again(mm, span);
	return err ? err : register_err;
}

void mm_arena_empty(struct mm *mm, struct span span)
{
	bool whole = IS_ALIGNED(span.start | span.end, HUGE_BYTES);
	int err;

	/* Guard pages leave a page table behind, in which the next huge page that is moved
	 * there would be split, and its place in the program with it. */
	if (!whole && !mm->sys->ops->empty(mm->sys, span))
		return;
	/* Frames that stay dirty are emptied, or not used, by the next mm_take(). */
	mm_lock(mm);
	err = zap_unregistered(mm, span);
	mm_unlock(mm, 0);
	if (err && whole)
		(void)mm->sys->ops->empty(mm->sys, span);
}

void mm_arena_renew_locked(struct mm *mm, uint64_t addr)
{
	/* Best effort: without it the block has small pages. */
	(void)zap_unregistered(mm, span_make(addr, HUGE_BYTES));
}

void mm_frames_clear_locked(struct mm *mm, struct span frames)
{
	lock_assert_held(&mm->event_lock);
	(void)mm_frames_empty(mm, frames);
}

void mm_frames_fill_locked(struct mm *mm, uint64_t frames, uint64_t source, uint64_t bytes)
{
	uint64_t moved;

	lock_assert_held(&mm->event_lock);
	if (mm->sys->ops->uffd_move(mm->sys, mm->uffd, frames, source, bytes,
				    SYS_MOVE_ALLOW_SRC_HOLES | SYS_MOVE_DONTWAKE, &moved))
		return; /* the frames are filled at the first touch */
}

void mm_submit_fence(struct mm *mm)
{
	uint64_t idle = ATOMIC_LOAD(&mm->idle_count);
	bool is_counted = false;
	int err = 0;

	if (mm->why_not)
		return;
	for (uint32_t tries = 0;; tries++) {
		uint64_t done;

		mm_lock(mm);
		err = mm->sys->ops->uffd_zeropage(mm->sys, mm->uffd,
						  span_make(mm->fence_page, PAGE_BYTES),
						  &done);
		mm_unlock(mm, 0);
		if (err != -EAGAIN)
			break;
		if (!is_counted)
			ATOMIC_ADD(&mm->fence_count, 1);
		is_counted = true;
		/* Twice empty: what was queued when we came was read and handled. */
		if (tries > MM_FENCE_TRIES && ATOMIC_LOAD(&mm->idle_count) - idle > 1)
			break;
		base_host->cpu_yield();
	}
	if (is_counted)
		ATOMIC_SUB(&mm->fence_count, 1);
}
