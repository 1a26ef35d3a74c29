/* SPDX-License-Identifier: MIT */
/*
 * DOC: Engines in system memory
 *
 * A system PTE is an alias of the CPU's mapping: an engine that uses one makes
 * exactly a CPU access, by the guarded accessor of sys. It may fault like a CPU,
 * and sleep in that fault. Two things follow.
 *
 * A page may go to the device while an engine is about to use it as a system
 * page. Bringing it home for the engine would make it ping-pong between an
 * engine's two ways to the same page (T18). So engine threads are known here by
 * their thread id, and one that faults on what its own device can reach is thrown
 * out of the access (-EINTR) and translates again. One that comes back to the same page
 * KICKS_MAX times has no other way there, as by a USERPTR, and is served like a CPU.
 *
 * A taker waits, bounded, until accesses that began before the revocation are
 * over (mm_drain()). That is a courtesy to those engines, which would else be
 * thrown out; nothing is lost without it.
 */
#include "mm/mm_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"

#define DRAIN_YIELDS 256

/* Accessors before @end may be in use from now on. */
static void raise_end(struct mm *mm, uint32_t end)
{
	uint32_t was = ATOMIC_LOAD(&mm->accessors_end);

	while (was < end && !ATOMIC_COMPARE_EXCHANGE(&mm->accessors_end, &was, end))
		;
}

int mm_accessor_register(struct mm *mm, const void *device)
{
	uint32_t thread_id = mm->sys->ops->thread_id(mm->sys);

	for (uint32_t i = 0; i < MM_ACCESSORS_MAX; i++) {
		struct mm_accessor *a = &mm->accessors[i];
		uint32_t expected = 0;

		if (!ATOMIC_COMPARE_EXCHANGE(&a->thread_id, &expected, thread_id))
			continue;
		ATOMIC_STORE(&a->page, (uint64_t)MM_ACCESSOR_IDLE);
		ATOMIC_STORE(&a->device, device);
		raise_end(mm, i + 1);
		base_host->self()->accessor = a;
		return 0;
	}
	return -ENOSPC;
}

void mm_accessor_unregister(struct mm *mm)
{
	struct mm_accessor *a = base_host->self()->accessor;

	if (!a)
		return;
	ASSERT(a >= mm->accessors && a < mm->accessors + MM_ACCESSORS_MAX);
	base_host->self()->accessor = NULL;
	ATOMIC_STORE(&a->device, NULL);
	ATOMIC_STORE(&a->thread_id, 0);
}

struct mm_accessor *mm_accessor_find(struct mm *mm, uint32_t thread_id)
{
	uint32_t end = ATOMIC_LOAD(&mm->accessors_end);

	if (!thread_id)
		return NULL;
	for (uint32_t i = 0; i < end; i++) {
		if (ATOMIC_LOAD_RELAXED(&mm->accessors[i].thread_id) == thread_id)
			return &mm->accessors[i];
	}
	return NULL;
}

int mm_access(struct mm *mm, enum sys_access_op op, uint64_t addr, void *buffer,
	      uint32_t bytes)
{
	struct mm_accessor *a = base_host->self()->accessor;
	int err;

	lock_assert_none_held("access to the program's memory");
	if (!a)
		return mm->sys->ops->access(mm->sys, op, addr, buffer, bytes);
	ATOMIC_STORE(&a->page, ALIGN_DOWN(addr, PAGE_BYTES));
	if (PLANTED(ACCESS_LOCKED)) {
		lock_acquire(&mm->event_lock);
		err = mm->sys->ops->access(mm->sys, op, addr, buffer, bytes);
		lock_release(&mm->event_lock);
		return err;
	}
	err = mm->sys->ops->access(mm->sys, op, addr, buffer, bytes);
	ATOMIC_STORE_RELEASE(&a->page, (uint64_t)MM_ACCESSOR_IDLE);
	return err;
}

void mm_drain(struct mm *mm, struct span span)
{
	uint32_t end = ATOMIC_LOAD(&mm->accessors_end);

	for (uint32_t i = 0; i < end; i++) {
		struct mm_accessor *a = &mm->accessors[i];

		if (!ATOMIC_LOAD_RELAXED(&a->thread_id))
			continue;
		for (int n = 0; n < DRAIN_YIELDS; n++) {
			if (!span_contains(span, ATOMIC_LOAD(&a->page)))
				break;
			base_host->cpu_yield();
		}
	}
}
