/* SPDX-License-Identifier: MIT */
/*
 * tests/live/support/storm.h - memory that goes to the device over and over, while the
 * test's threads do what could wait for it.
 */
#ifndef TESTS_LIVE_SUPPORT_STORM_H
#define TESTS_LIVE_SUPPORT_STORM_H

#include "live/support/live.h"

struct storm;

/** storm_start() - a thread that sends [@at, @at + @bytes) to the device until it is told
 * to stop; when this returns it has done so once. */
struct storm *storm_start(struct live *live, void *at, size_t bytes);

/** storm_follow() - as storm_start(), for what @count words at @at point to; each the
 * address of 4 pages that may be gone (atomic; 0: nothing) */
struct storm *storm_follow(struct live *live, const uintptr_t *at, size_t count);

/** storm_stop() - join it; asserts that pages went both ways since it began */
void storm_stop(struct storm *storm);

/** storm_threads() - run @run(@args[i]) in @count threads at once, to their end. @bytes:
 * sizeof(@args[0]) */
void storm_threads(void *(*run)(void *), void *args, size_t bytes, size_t count);

/** storm_name() - the guard is this test's from now on */
void storm_name(const struct live *live, const char *name);

/** storm_random() - the next of a sequence */
uint64_t storm_random(uint64_t *state);

/* In a thread: cmocka is the main thread's. */
#define THREAD_CHECK(condition) CHILD_CHECK(condition)

#endif
