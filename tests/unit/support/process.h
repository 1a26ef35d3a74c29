/* SPDX-License-Identifier: MIT */
/*
 * process.h - the program and the threads of the library, played by one test.
 *
 * For fixtures above sys: included behind the definition of their struct fixture, which has
 * at least these members, of an mm without threads on the fake kernel:
 *
 *     struct fake_sys *fake; struct sys *sys; struct mm *mm;
 *
 * A page of the heap that was made by heap_fill() carries a tag of its own, so that its
 * contents can be followed.
 */
#ifndef TESTS_UNIT_SUPPORT_PROCESS_H
#define TESTS_UNIT_SUPPORT_PROCESS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/host.h"
#include "base/lock.h"
#include "fake_sys.h"
#include "mm/mm.h"

#define HEAP (FAKE_BASE + MIB(8)) /* 2 MiB, aligned; its VMA has 4 MiB */
#define HEAP_PAGES 512u
#define HEAP_VMA span_make(HEAP, MIB(4))
#define OTHER (FAKE_BASE + MIB(64)) /* nothing is mapped there */
#define READ_WRITE (SYS_PROT_READ | SYS_PROT_WRITE)
#define BOTH_MODES (SYS_REGISTER_WP | SYS_REGISTER_MISSING)

static inline uint64_t heap(uint64_t page)
{
	return HEAP + page * PAGE_BYTES;
}

static inline struct span heap_span(uint64_t page, uint64_t pages)
{
	return span_make(heap(page), pages * PAGE_BYTES);
}

static inline uint64_t tag_of(uint64_t page)
{
	return 0x1000 + page;
}

/* Pages with contents; page n has tag_of(n). */
static inline void heap_fill(struct fixture *f, uint64_t page, uint64_t pages)
{
	for (uint64_t i = page; i < page + pages; i++)
		fake_set_tag(f->fake, heap(i), tag_of(i));
}

/* --- the threads of the library ---------------- */

/* One step of the monitor, if this thread may take its locks now. */
static inline bool monitor_step(struct fixture *f)
{
	enum fake_role before = fake_become(FAKE_MONITOR);
	bool was = mm_monitor_step(f->mm);

	fake_become(before);
	return was;
}

/* The monitor and the callers that it holds, until nothing moves. */
static inline void settle(struct fixture *f)
{
	bool more;

	do {
		more = monitor_step(f);
		more |= fake_caller_ran(f->fake);
	} while (more);
}

static inline void settle_hook(void *arg)
{
	if (!base_host->self()->held_count)
		monitor_step(arg);
}

/* --- what tests do ---------------- */

static inline bool is_on_device(struct fixture *f, uint64_t addr)
{
	struct mm_entry *entry;

	lock_acquire(mm_event_lock(f->mm));
	entry = mm_entry_first(f->mm, span_make(addr, PAGE_BYTES));
	lock_release(mm_event_lock(f->mm));
	return entry != NULL;
}

/* The CPU reads a page, which may have to come home first. */
static inline uint64_t cpu_read(struct fixture *f, uint64_t addr)
{
	int err = fake_touch(f->fake, addr, false);

	/* Twice: a hole comes home as a hole, and is touched again. */
	for (int i = 0; i < 2 && err == -EAGAIN; i++) {
		settle(f);
		assert_int_equal(fake_blocked(f->fake, span_make(addr, PAGE_BYTES)), 0);
		err = fake_touch(f->fake, addr, false);
	}
	assert_int_equal(err, 0);
	return fake_tag(f->fake, addr);
}

static inline void expect_tags(struct fixture *f, uint64_t page, uint64_t pages)
{
	for (uint64_t i = page; i < page + pages; i++)
		assert_int_equal(cpu_read(f, heap(i)), tag_of(i));
}

/* The zap that a DONTNEED announced, and what came of it. */
static inline void finish_remove(struct fixture *f)
{
	settle(f);
	fake_finish_remove(f->fake);
	settle(f);
}

#endif
