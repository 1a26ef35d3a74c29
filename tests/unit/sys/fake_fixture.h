/* SPDX-License-Identifier: MIT */
/*
 * fake_fixture.h - a fake kernel with a registered heap and an empty arena.
 */
#ifndef TESTS_UNIT_SYS_FAKE_FIXTURE_H
#define TESTS_UNIT_SYS_FAKE_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake_sys.h"

#define HEAP (FAKE_BASE + MIB(4))
#define HEAP_PAGES 8u
#define HEAP_SPAN span_make(HEAP, HEAP_PAGES *PAGE_BYTES)
#define PAGE_OF(base, n) ((base) + (uint64_t)(n)*PAGE_BYTES)
#define READ_WRITE (SYS_PROT_READ | SYS_PROT_WRITE)
#define BOTH_MODES (SYS_REGISTER_WP | SYS_REGISTER_MISSING)

struct fixture {
	struct fake_sys *fake;
	struct sys *sys;
	const struct sys_ops *ops;
	int uffd;
	uint64_t arena; /* 2 MiB-aligned, registered for MISSING, empty */
};

/* A registered heap whose page n has the tag n + 1, and an empty arena. */
static inline int set_up(void **state)
{
	static struct fixture f;

	f.fake = fake_create(FAKE_ALL_FEATURES, false);
	f.sys = &f.fake->sys;
	f.ops = f.sys->ops;
	fake_map(f.fake, HEAP_SPAN, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	for (uint64_t i = 0; i < HEAP_PAGES; i++)
		fake_set_tag(f.fake, PAGE_OF(HEAP, i), i + 1);
	assert_int_equal(f.ops->uffd_open(f.sys, &f.uffd), 0);
	assert_int_equal(f.ops->uffd_register(f.sys, f.uffd, HEAP_SPAN, BOTH_MODES), 0);
	assert_int_equal(f.ops->map(f.sys, MIB(4), MIB(2), 0, &f.arena), 0);
	assert_int_equal(f.ops->uffd_register(f.sys, f.uffd, span_make(f.arena, MIB(4)),
					      BOTH_MODES),
			 0);
	*state = &f;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	return fake_destroy(f->fake);
}

static inline int move(struct fixture *f, uint64_t dst, uint64_t src, uint64_t pages,
		       uint32_t flags, uint64_t *moved_pages)
{
	uint64_t moved = 1;
	int err = f->ops->uffd_move(f->sys, f->uffd, dst, src, pages * PAGE_BYTES, flags,
				    &moved);

	*moved_pages = moved / PAGE_BYTES;
	return err;
}

static inline int zeropage(struct fixture *f, uint64_t addr)
{
	uint64_t done;

	return f->ops->uffd_zeropage(f->sys, f->uffd, span_make(addr, PAGE_BYTES), &done);
}

static inline void expect_event(struct fixture *f, int uffd, enum sys_event_type type,
				struct span span)
{
	struct sys_event event;

	assert_int_equal(f->ops->uffd_read(f->sys, uffd, &event), 0);
	assert_int_equal(event.type, type);
	assert_int_equal(event.span.start, span.start);
	assert_int_equal(event.span.end, span.end);
}

static inline void expect_fault(struct fixture *f, uint64_t addr, uint32_t flags)
{
	struct sys_event event;

	assert_int_equal(f->ops->uffd_read(f->sys, f->uffd, &event), 0);
	assert_int_equal(event.type, SYS_EVENT_FAULT);
	assert_int_equal(event.addr, addr);
	assert_int_equal(event.fault_flags, flags);
}

static inline void expect_nothing(struct fixture *f)
{
	struct sys_event event;

	assert_int_equal(f->ops->uffd_read(f->sys, f->uffd, &event), -EAGAIN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
