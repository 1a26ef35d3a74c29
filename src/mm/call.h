/* SPDX-License-Identifier: MIT */
/*
 * mm/call.h - a function call from a program's thread to a worker.
 *
 * The caller may stand on a stack, and its arguments in memory, that are on the
 * device: so it holds no lock, its arguments are copied into a slot of the
 * library's memory, and back when the call is over.
 */
#ifndef MM_CALL_H
#define MM_CALL_H

#include <stddef.h>
#include <stdint.h>

#include "base/wait.h"
#include "mm/mm.h"

#define MM_CALL_ARGUMENT_MAX 512
#define MM_CALL_SLOTS 32

enum mm_call_state {
	MM_CALL_FREE,
	MM_CALL_CLAIMED,
	MM_CALL_DONE,
};

struct mm_call {
	struct mm_work work;
	uint32_t state; /* atomic: enum mm_call_state */
	struct wait wait;
	int (*run)(void *argument);
	int result;
	_Alignas(16) unsigned char argument[MM_CALL_ARGUMENT_MAX];
};

/* Zeroed memory of the library. */
struct mm_calls {
	struct wait wait; /* a slot became free */
	struct mm_call slots[MM_CALL_SLOTS];
};

/**
 * mm_call() - run @run(@argument) on a worker and wait for it
 * @argument: @bytes of it are copied in before and out after; @run sees the copy
 * @bytes: at most MM_CALL_ARGUMENT_MAX
 *
 * On a worker @run is called in place.
 * Context: any thread but the monitor; sleeps; holds no lock with the monitor mark.
 * Return: what @run returned.
 */
int mm_call(struct mm *mm, int (*run)(void *argument), void *argument, size_t bytes);

/** mm_call_from_engine() - the same, for an engine: a call that waits for nothing but the
 * monitor, among the faults. Context: [engine]; sleeps. */
int mm_call_from_engine(struct mm *mm, int (*run)(void *argument), void *argument,
			size_t bytes);

#endif
