/* SPDX-License-Identifier: MIT */
/*
 * tests/live/support/live.h - what the live tests share.
 *
 * A live test runs on the real kernel, through usvm.h alone. It opens a device in
 * the mode its parameter names, puts pages where its name says, proves that they
 * are there, acts, and proves what became of them. The proof has two sources that
 * know nothing of each other: usvm's page query, and /proc/self/pagemap.
 *
 *     state      query      pagemap
 *     HOME       HOME       present
 *     HOLE       HOME       nothing
 *     DEVICE     DEVICE     nothing
 *     MOVING     MOVING     nothing
 *     UNMAPPED   UNMAPPED   nothing
 *
 * Contents are words that follow from a seed and their offset, so that a page that
 * is stale, zeroed or at the wrong place is told from the right one.
 *
 * A test that hangs is ended by the guard, which says in what each thread sleeps.
 */
#ifndef TESTS_LIVE_SUPPORT_LIVE_H
#define TESTS_LIVE_SUPPORT_LIVE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include <usvm/usvm.h>

#define LIVE_PAGE 4096ul
#define LIVE_HUGE (2ul << 20)
#define LIVE_SKIP 77 /* exit status */

/* A sanitizer's runtime has the heap, .data and .bss, and is slow. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIVE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LIVE_SANITIZED 1
#endif
#endif
#if !defined(LIVE_SANITIZED)
#define LIVE_SANITIZED 0
#endif

/* What Debian 12's headers lack. */
#define LIVE_MADV_GUARD_INSTALL 102
#define LIVE_MADV_GUARD_REMOVE 103
#define LIVE_MADV_DONTNEED_LOCKED 24
#define LIVE_MADV_COLLAPSE 25
#define LIVE_MREMAP_DONTUNMAP 4

enum live_state {
	LIVE_UNMAPPED,
	LIVE_HOME,
	LIVE_HOLE,
	LIVE_MOVING,
	LIVE_DEVICE,
};

/* How a test is run. */
struct live_param {
	const char *spec;
	bool copy;
	bool huge; /* memory is of huge pages, each present as one before the test */
};

extern const struct live_param live_move, live_copy, live_move_huge, live_copy_huge;

struct live {
	const struct live_param *param;
	struct usvm *gpu;
	struct usvm_vm *vm;
	struct usvm_queue *queue;
	uint64_t *result; /* shared memory that never migrates: what kernels answer in */
};

/* --- programs ---------------- */

#define LIVE_ENTRY(f, what, param)                                                      \
	{                                                                               \
		#f what, f, live_setup, live_teardown, (void *)(uintptr_t)(param)       \
	}

/* The test f, run in both modes; in both modes with 4 KiB and with huge pages. */
#define LIVE_TEST_MODES(f) \
	LIVE_ENTRY(f, " [move]", &live_move), LIVE_ENTRY(f, " [copy]", &live_copy)
#define LIVE_TEST_ALL(f)                                              \
	LIVE_TEST_MODES(f),                                           \
		LIVE_ENTRY(f, " [move, huge]", &live_move_huge),      \
		LIVE_ENTRY(f, " [copy, huge]", &live_copy_huge)
#define LIVE_TEST_MOVE(f) LIVE_ENTRY(f, " [move]", &live_move)

int live_setup(void **state);
int live_teardown(void **state);

/** live_run() - run a program's tests. Return: the exit status of main(); 77 with the
 * reason as last line where the device cannot migrate. */
int live_run(const char *name, const struct CMUnitTest *tests, size_t count);

#define LIVE_RUN(tests) live_run(__FILE__, tests, sizeof(tests) / sizeof((tests)[0]))

/** live_guard() - from now on, the process ends with a message if @seconds pass before the
 * next call; 0: no guard. The tests have one each without asking. */
void live_guard(const char *name, unsigned int seconds);

/** live_open(), live_close() - for a test that opens on its own */
void live_open(struct live *live, const struct live_param *param, const char *spec);
void live_close(struct live *live);

/* --- memory ---------------- */

/** live_map() - private anonymous memory, a VMA of its own with nothing beside it; in the
 * page size of the parameter, 2 MiB aligned */
unsigned char *live_map(const struct live *live, size_t bytes);

/** live_bytes() - a good size for a test: 256 KiB, or two huge pages */
size_t live_bytes(const struct live *live);

/** live_mlock(), live_munlock() - by system call: a sanitizer's do nothing */
int live_mlock(const void *at, size_t bytes);
int live_munlock(const void *at, size_t bytes);

uint64_t live_word(uint64_t seed, uint64_t index);

/** live_fill() - words of @seed; the first has the number of @offset, in bytes */
void live_fill(void *at, size_t bytes, uint64_t seed, size_t offset);
void live_assert_filled(const void *at, size_t bytes, uint64_t seed, size_t offset);
void live_assert_zero(const void *at, size_t bytes);

/** live_is_filled() - the same without cmocka, for children and threads */
bool live_is_filled(const void *at, size_t bytes, uint64_t seed, size_t offset);
bool live_is_zero(const void *at, size_t bytes);

/** live_filled() - live_map(), filled by the CPU, HOME, huge where asked for */
unsigned char *live_filled(const struct live *live, size_t bytes, uint64_t seed);

/** live_on_device() - live_filled(), then taken by GPU faults; DEVICE */
unsigned char *live_on_device(struct live *live, size_t bytes, uint64_t seed);

/** live_take() - GPU faults on each page: an atomic add of 0. Nothing is asserted but that
 * the GPU can do it. */
void live_take(struct live *live, void *at, size_t bytes);

/* --- where pages are ---------------- */

/** live_present() - pages of the span that /proc/self/pagemap shows as present or swapped */
size_t live_present(const void *at, size_t bytes);

/** live_huge() - pages of the span that are parts of huge pages, by PAGEMAP_SCAN */
size_t live_huge(const void *at, size_t bytes);

void live_assert_state(const struct live *live, const void *at, size_t bytes,
		       enum live_state state);

/* Pages that went each way since the device was opened: the counters of both directions. */
struct live_counts {
	uint64_t to_device; /* taken and filled */
	uint64_t home;
};

struct live_counts live_counts(const struct live *live);

/** live_assert_counts() - exactly so many pages went each way since @before */
void live_assert_counts(const struct live *live, struct live_counts before,
			uint64_t to_device, uint64_t home);

uint64_t live_stat(const struct live *live, const char *name);

/* --- what the GPU does ---------------- */

void gpu_write64(struct live *live, void *at, uint64_t value);
uint64_t gpu_read64(struct live *live, const void *at);
uint64_t gpu_add64(struct live *live, void *at, uint64_t operand);
void gpu_fill(struct live *live, void *at, size_t bytes, uint64_t seed, size_t offset);
void gpu_assert_filled(struct live *live, const void *at, size_t bytes, uint64_t seed,
		       size_t offset);
uint64_t gpu_sum(struct live *live, const void *at, size_t bytes);

/** gpu_try() - one access on a queue of its own, which may fail. Return: the job's end;
 * @fault (may be NULL): what the queue tells. */
int gpu_try(struct live *live, enum usvm_access access, const void *at,
	    struct usvm_fault *fault);

/** gpu_start_add() - @rounds times add 1 to @count words, @stride bytes apart; the fence
 * is the caller's */
struct usvm_fence *gpu_start_add(struct live *live, struct usvm_queue *queue, void *at,
				 size_t stride, uint64_t count, uint64_t rounds);

/** gpu_finish() - wait for it (a minute), put it, and assert that the job succeeded */
void gpu_finish(struct usvm_fence *fence);

/* --- children and threads ---------------- */

/* In a child: cmocka is the parent's. */
#define CHILD_CHECK(condition)                                                            \
	do {                                                                              \
		if (!(condition))                                                         \
			live_child_failed(__FILE__, __LINE__, #condition);                \
	} while (0)

_Noreturn void live_child_failed(const char *file, int line, const char *what);

/** live_fork(), live_clone() - a child that dies with its parent; the latter is one that
 * no hook of the C library sees */
pid_t live_fork(void);
pid_t live_clone(void);

/** live_wait_exit(), live_wait_signal() - the child ended so */
void live_wait_exit(pid_t pid, int status);
void live_wait_signal(pid_t pid, int signal);

/** live_child() - run @run(@arg) in a child of @make (live_fork, live_clone) to its
 * end with 0 */
void live_child(pid_t (*make)(void), void (*run)(void *arg), void *arg);

struct live_thread;
struct live_thread *live_thread_start(void *(*run)(void *), void *arg);
void *live_thread_join(struct live_thread *thread);

/** live_thread_wait_blocked() - until the thread sleeps in the kernel in system call
 * @number (-1: in a page fault) */
void live_thread_wait_blocked(struct live_thread *thread, long number);

#endif
