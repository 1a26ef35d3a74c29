/* SPDX-License-Identifier: MIT */
/*
 * clone.h - what a child does while its pages are pushed, and what it must find then.
 */
#ifndef TESTS_UNIT_MM_CLONE_H
#define TESTS_UNIT_MM_CLONE_H

#include "mm_fixture.h"

static inline void take_first(struct fixture *f, uint64_t pages)
{
	heap_fill(f, 0, pages);
	assert_int_equal(take_pages(f, 0, pages), pages);
}

static inline void collect(struct fixture *f)
{
	while (mm_collector_step(f->mm))
		;
}

/* The process @child finds the tags of the heap, from @page on. */
static inline void expect_in(struct fixture *f, int child, uint64_t page, uint64_t pages)
{
	fake_enter(f->fake, child);
	for (uint64_t i = page; i < page + pages; i++) {
		assert_int_equal(fake_touch(f->fake, heap(i), false), 0);
		assert_int_equal(fake_tag(f->fake, heap(i)), tag_of(i));
	}
	fake_enter(f->fake, 0);
}

/* What the child does while it is pushed to, at the push of page @test[0] (see at_copy). */
enum child_act {
	CHILD_UNMAPS,
	CHILD_REMAPS,
	CHILD_FORKS,
	CHILD_DIES,
	CHILD_FAULTS,
	CHILD_ACTS,
};

static inline void child_acts(struct fixture *f, int child, enum child_act act)
{
	fake_enter(f->fake, child);
	switch (act) {
	case CHILD_UNMAPS:
		fake_munmap(f->fake, heap_span(2, 3));
		break;
	case CHILD_REMAPS:
		assert_int_equal(fake_mremap(f->fake, heap_span(2, 3), OTHER, false), 0);
		break;
	case CHILD_FORKS:
		f->test[2] = (uint64_t)fake_fork(f->fake, false);
		break;
	case CHILD_DIES:
		fake_exit(f->fake, child);
		break;
	case CHILD_FAULTS:
		fake_touch(f->fake, heap(7), false);
		break;
	case CHILD_ACTS:
		break;
	}
	fake_enter(f->fake, 0);
}

/* test: [0] copies left until it acts, [1] child, [2] grandchild, [3] the act */
static inline void at_copy(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (strcmp(op, "uffd_copy") != 0 || --f->test[0])
		return;
	child_acts(f, (int)f->test[1], (enum child_act)f->test[3]);
}

static inline void expect_child(struct fixture *f, int child, enum child_act act)
{
	switch (act) {
	case CHILD_UNMAPS:
		expect_in(f, child, 0, 2);
		expect_in(f, child, 5, 3);
		fake_enter(f->fake, child);
		assert_int_equal(fake_touch(f->fake, heap(3), false), -EFAULT);
		break;
	case CHILD_REMAPS:
		expect_in(f, child, 0, 2);
		expect_in(f, child, 5, 3);
		fake_enter(f->fake, child);
		for (uint64_t i = 0; i < 3; i++)
			assert_int_equal(fake_tag(f->fake, OTHER + i * PAGE_BYTES),
					 tag_of(2 + i));
		break;
	case CHILD_FORKS:
		expect_in(f, child, 0, 8);
		expect_in(f, (int)f->test[2], 0, 8);
		break;
	default:
		expect_in(f, child, 0, 8);
		break;
	}
	fake_enter(f->fake, 0);
}

/* The child has another change to tell whenever it is asked. */
static inline void change_at_read(void *arg, const char *op)
{
	struct fixture *f = arg;

	if (strcmp(op, "uffd_read") != 0 || !f->test[0])
		return;
	f->test[0]--;
	fake_finish_remove(f->fake);
	fake_enter(f->fake, (int)f->test[1]);
	fake_madvise(f->fake, heap_span(100, 1), SYS_ADVICE_DONTNEED);
	fake_enter(f->fake, 0);
}

#endif
