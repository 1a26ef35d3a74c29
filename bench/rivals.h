/* SPDX-License-Identifier: MIT */
/*
 * bench/rivals.h - what usvm is measured against, written with the fewest system calls
 * that can do it and nothing of usvm.
 *
 *     handler   the floor: a thread reads a userfaultfd and moves the page home, no more
 *     pager     the way of user-space pagers: the same, but UFFDIO_COPY of one page
 *     protect   the way of compute runtimes: mprotect() and SIGSEGV, and the whole
 *               allocation is copied
 *
 * The others are memcpy() (bench_memcpy_us()) and plain loops of the benchmarks.
 */
#ifndef BENCH_RIVALS_H
#define BENCH_RIVALS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- userfaultfd, bare ------------------------------------------------------------------ */

/** bench_uffd_open() - a blocking userfaultfd that can MOVE; @features: UFFD_FEATURE_* that
 * it has besides. Ends the program with 77 where there is none. */
int bench_uffd_open(uint64_t features);
void bench_uffd_register(int uffd, const void *at, size_t bytes);

/** bench_uffd_move() - Return: 0 or -errno; all of it or nothing for the spans used here */
int bench_uffd_move(int uffd, const void *to, const void *from, size_t bytes);

/** bench_uffd_copy() - Return: 0 or -errno */
int bench_uffd_copy(int uffd, const void *to, const void *from, size_t bytes);

/** struct bench_reader - a thread that reads messages and answers the faults */
struct bench_reader {
	int uffd;
	void (*answer)(void *arg, uint64_t addr);
	void *arg;
	unsigned int core;
	unsigned char *stop; /* a page of its own: touched to end the thread */
	pthread_t thread;
};

/** bench_reader_start() - @answer is called for each fault; other messages are only read */
void bench_reader_start(struct bench_reader *reader, uint64_t features, unsigned int core,
			void (*answer)(void *arg, uint64_t addr), void *arg);
void bench_reader_stop(struct bench_reader *reader);

/* --- the floor ---------------------------------------------------------------------------- */

struct bench_handler {
	struct bench_reader reader;
	unsigned char *home; /* filled with the pattern */
	unsigned char *away;
	size_t unit; /* what one fault brings home */
	size_t bytes;
};

void bench_handler_start(struct bench_handler *handler, size_t unit, size_t bytes, bool huge,
			 unsigned int core);
/** bench_handler_take() - move a unit away */
void bench_handler_take(const struct bench_handler *handler, size_t offset);
void bench_handler_return(const struct bench_handler *handler, size_t offset);
/** bench_handler_take_all() - all of them, and see that they went */
void bench_handler_take_all(const struct bench_handler *handler);
void bench_handler_stop(struct bench_handler *handler);

/* --- a pager -------------------------------------------------------------------------------- */

struct bench_pager {
	struct bench_reader reader;
	unsigned char *home;
	unsigned char *store;
	size_t bytes;
};

void bench_pager_start(struct bench_pager *pager, size_t bytes, unsigned int core);
/** bench_pager_take_all() - copy all out and give the pages back */
void bench_pager_take_all(const struct bench_pager *pager);
void bench_pager_stop(struct bench_pager *pager);

/* --- mprotect and SIGSEGV ------------------------------------------------------------------- */

struct bench_protect {
	unsigned char *home;
	unsigned char *store; /* of the "device" */
	size_t bytes;
};

/** bench_protect_start() - one at a time in a process */
void bench_protect_start(struct bench_protect *protect, size_t bytes, bool huge);
/** bench_protect_take() - copy the allocation to the store and forbid its use; a touch
 * copies it back */
void bench_protect_take(const struct bench_protect *protect);
void bench_protect_stop(struct bench_protect *protect);

#endif
