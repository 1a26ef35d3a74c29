/* SPDX-License-Identifier: MIT */
/*
 * mm_fixture.h - an mm without threads on the fake kernel, a heap, and an owner of frames.
 *
 * The test is the program, the monitor and the workers in turn. A page of the heap that
 * was made by heap_fill() carries a tag of its own, so that contents can be followed.
 */
#ifndef TESTS_UNIT_MM_MM_FIXTURE_H
#define TESTS_UNIT_MM_MM_FIXTURE_H

#include "base/prng.h"
#include "mm/mm_internal.h"

#define ARENA_BYTES MIB(4)

/* A device allocation: frame n of it is page n of its memory in the arena. */
struct owner {
	struct mm_entry_owner owner;
	struct fixture *f;
	uint64_t memory;
	uint64_t dropped_pages;
	uint32_t empties;
	bool dirty;
	bool unreadable; /* a device that does not answer */
};

struct fixture {
	struct fake_sys *fake;
	struct sys *sys;
	struct mm *mm;
	uint64_t arena;
	struct owner owner; /* all of the arena */
	uint64_t test[8];   /* the test's own */
};

#include "support/process.h"

/* --- an owner ---------------- */

static int owner_bring_home(struct mm_entry_owner *mm_owner, struct span span,
			    uint64_t frame, uint64_t *done)
{
	struct owner *o = CONTAINER_OF(mm_owner, struct owner, owner);

	lock_assert_monitor();
	return mm_return_locked(o->f->mm, span, o->memory + frame, done, &o->dirty);
}

static void owner_drop(struct mm_entry_owner *mm_owner, uint64_t frame UNUSED,
		       uint64_t bytes)
{
	lock_assert_monitor();
	CONTAINER_OF(mm_owner, struct owner, owner)->dropped_pages += bytes >> PAGE_SHIFT;
}

static int owner_read(struct mm_entry_owner *mm_owner, uint64_t frame, bool moving UNUSED,
		      void *buffer, uint64_t bytes)
{
	struct owner *o = CONTAINER_OF(mm_owner, struct owner, owner);

	if (o->unreadable)
		return -EIO;
	memcpy(buffer, o->f->sys->ops->pointer(o->f->sys, o->memory + frame, bytes), bytes);
	return 0;
}

static void owner_empty(struct mm_entry_owner *mm_owner)
{
	assert_int_equal(mm_owner->page_count, 0);
	CONTAINER_OF(mm_owner, struct owner, owner)->empties++;
}

static const struct mm_entry_ops owner_ops = {
	.bring_home = owner_bring_home,
	.drop = owner_drop,
	.read = owner_read,
	.empty = owner_empty,
};

static inline void owner_init(struct fixture *f, struct owner *owner, uint64_t memory)
{
	memset(owner, 0, sizeof(*owner));
	mm_entry_owner_init(&owner->owner, &owner_ops, owner, PAGE_BYTES);
	owner->f = f;
	owner->memory = memory;
}

/* --- life ---------------- */

static inline int fixture_start(struct fixture *f, uint32_t features)
{
	const struct mm_config config = { .worker_count = 1, .no_threads = true };

	memset(f, 0, sizeof(*f));
	f->fake = fake_create(features, false);
	f->sys = &f->fake->sys;
	f->fake->hook_arg = f;
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(mm_create(f->sys, &config, &f->mm), 0);
	assert_int_equal(mm_arena_create(f->mm, ARENA_BYTES, &f->arena), 0);
	owner_init(f, &f->owner, f->arena);
	return 0;
}

static inline int set_up(void **state)
{
	static struct fixture f;

	*state = &f;
	return fixture_start(&f, FAKE_ALL_FEATURES);
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	f->fake->op_hook = NULL;
	f->fake->yield_hook = settle_hook;
	/* A test that failed in the middle: what it said is shown if nothing dies now. */
	if (base_host->self()->held_count || f->mm->notifiers.root ||
	    !list_is_empty(&f->mm->quiesce)) {
		base_host->self()->held_count = 0;
		fake_destroy(f->fake);
		return -1;
	}
	fake_enter(f->fake, 0);
	settle(f);
	if (mm_bring_home(f->mm, span_make(0, FAKE_END), NULL))
		return -1;
	while (mm_collector_step(f->mm))
		;
	mm_check(f->mm);
	mm_arena_destroy(f->mm, f->arena, ARENA_BYTES);
	mm_destroy(f->mm);
	return fake_destroy(f->fake);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* --- what tests do ---------------- */

static inline struct mm_take take_of(struct fixture *f, uint64_t page, uint64_t pages)
{
	return (struct mm_take){
		.span = heap_span(page, pages),
		.owner = &f->owner.owner,
		.frame = page * PAGE_BYTES,
		.destination = f->arena + page * PAGE_BYTES,
	};
}

/* Take pages of the heap to the frames of the same numbers. Return: pages taken. */
static inline uint64_t take_pages(struct fixture *f, uint64_t page, uint64_t pages)
{
	struct mm_take take = take_of(f, page, pages);

	assert_int_equal(mm_take(f->mm, &take), 0);
	return take.taken_pages;
}

static inline struct mm_stats stats_of(struct fixture *f)
{
	struct mm_stats stats;

	mm_stats_read(f->mm, &stats);
	return stats;
}

#endif
