/* SPDX-License-Identifier: MIT */
/*
 * base/assert.h - programmer errors abort, in every build.
 *
 * ASSERT() checks arguments, results and states that only a bug can break; an
 * event that the outside world can cause is never an assert. The message goes
 * out by one raw write (no stdio, no allocation: the monitor may fail too).
 * INVARIANT() guards walks over whole structures: compiled in by
 * -Dinvariants=true only.
 */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include "base/compiler.h"

NORETURN void assert_fail(const char *expression, const char *file, int line,
			  const char *function);

#define ASSERT(expression)                                                   \
	(likely(expression) ?                                                \
		 (void)0 :                                                   \
		 assert_fail(#expression, __FILE__, __LINE__, __func__))

#if defined(USVM_INVARIANTS)
#define INVARIANT(statement) statement
#else
#define INVARIANT(statement) ((void)0)
#endif

#endif
