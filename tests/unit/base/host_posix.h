/* SPDX-License-Identifier: MIT */
/*
 * host_posix.h - the smallest base_host that blocks for real: for base's own tests.
 *
 * Threads sleep on futexes, pages come from mmap. Beside that it counts what
 * base asks for, fails allocations on request, and turns a death into a jump
 * that a test can catch:
 *
 *     DIES_WITH(text, lock_release(&lock));
 *     assert_non_null(strstr(text, "does not hold it"));
 */
#ifndef TESTS_UNIT_BASE_HOST_POSIX_H
#define TESTS_UNIT_BASE_HOST_POSIX_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/host.h"

extern const struct base_host_ops host_posix_ops;

/* host_posix_start() - install the host; the calling thread becomes a library thread */
void host_posix_start(void);

/* host_posix_become() - what kind of thread the calling one is from here on; it holds
 * nothing, whatever a death has left in its record */
void host_posix_become(bool is_library, bool is_monitor);

/* host_posix_fail_pages() - the @nth next pages_alloc() fails (1: the next); 0: none */
void host_posix_fail_pages(uint64_t nth);

/* What has happened since the start. The first two are levels, not totals. */
uint64_t host_posix_parked_count(void); /* threads inside park() now */
uint64_t host_posix_page_bytes(void);   /* handed out and not given back */
uint64_t host_posix_park_count(void);
uint64_t host_posix_unpark_count(void);

/* host_posix_wait_parked() - yield until @count threads are inside park() */
void host_posix_wait_parked(uint64_t count);

/* host_posix_at_yield - called at this thread's yield points (USVM_YIELD_POINTS); or NULL */
extern _Thread_local void (*host_posix_at_yield)(void);

struct host_posix_death {
	jmp_buf jump;
	char text[4096];
};

/* host_posix_death - where this thread's next death goes; NULL: a real abort */
extern _Thread_local struct host_posix_death *host_posix_death;

/* DIES_WITH() - run @statement; @buffer (of 4096 bytes) gets its last words, or is empty */
#define DIES_WITH(buffer, statement)                            \
	do {                                                    \
		static struct host_posix_death death_;          \
								\
		death_.text[0] = '\0';                          \
		host_posix_death = &death_;                     \
		if (!setjmp(death_.jump)) {                     \
			statement;                              \
		}                                               \
		host_posix_death = NULL;                        \
		memcpy((buffer), death_.text, sizeof(death_.text)); \
	} while (0)

#endif
