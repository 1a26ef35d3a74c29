/* SPDX-License-Identifier: MIT */
/*
 * base/host.h - what base needs from below: blocking, pages, the thread.
 *
 * base makes no system call. sys installs this table once, before anything
 * else of the library runs: the real kernel, the simulated one, or a unit
 * test's fake. It is the library's only pointer of its kind: two users in one
 * process share the table, never any state behind it.
 */
#ifndef BASE_HOST_H
#define BASE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define BASE_FOREVER UINT64_MAX

struct lock;

/** struct base_thread - what the lock checker and context checks know of a thread */
struct base_thread {
	const struct lock *held[16]; /* in the order taken */
	const char *where[16];       /* file:line of each */
	uint32_t held_count;
	const char *waits_for;       /* the lock that it is asleep for */
	bool is_library;             /* one of ours; else a program's thread */
	bool is_monitor;
	bool is_worker;              /* runs mm's work: has the monitor's file table */
	void *accessor;              /* mm's record of an engine thread; NULL: none */
};

struct base_host_ops {
	/**
	 * park() - sleep while *@word is @expected (a futex wait)
	 * @timeout_ns: relative; BASE_FOREVER: none
	 *
	 * Context: may block. May return without reason.
	 * Return: 0, or -ETIMEDOUT.
	 */
	int (*park)(uint32_t *word, uint32_t expected, uint64_t timeout_ns);

	/** unpark() - wake up to @count threads parked on @word; never blocks */
	void (*unpark)(uint32_t *word, uint32_t count);

	/** yield_point() - a place where a simulator may switch threads; or NULL */
	void (*yield_point)(void);

	/** cpu_yield() - give the processor to another thread; never for long */
	void (*cpu_yield)(void);

	/**
	 * pages_alloc() - zeroed pages of the library's own, never migrated
	 * @bytes: a multiple of the page size
	 *
	 * They are wiped in a child of fork and left out of core dumps.
	 * Context: no lock with the monitor mark is held.
	 * Return: the pages, or NULL.
	 */
	void *(*pages_alloc)(size_t bytes);
	void (*pages_free)(void *pages, size_t bytes);

	/** self() - the calling thread's record; never NULL, never allocates */
	struct base_thread *(*self)(void);

	/** die() - write @text to standard error and abort; raw system calls only */
	NORETURN void (*die)(const char *text);
};

extern const struct base_host_ops *base_host;

/** base_host_install() - set the table; a second call must name the same table or follow
 * a call with NULL (tests change their fakes that way) */
void base_host_install(const struct base_host_ops *ops);

#endif
