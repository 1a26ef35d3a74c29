/* SPDX-License-Identifier: MIT */
/*
 * coverage.h - what a process that ends by _exit() has covered is kept.
 *
 * gcov writes its counters in exit(). A child that must not run that, because its
 * parent will, asks for it here; without -Db_coverage=true this is nothing.
 */
#ifndef TESTS_COVERAGE_H
#define TESTS_COVERAGE_H

#include <signal.h>

#if defined(USVM_COVERAGE)
void __gcov_dump(void);
#endif

static inline void coverage_keep(void)
{
#if defined(USVM_COVERAGE)
	__gcov_dump();
#endif
}

#if defined(USVM_COVERAGE)
static inline void coverage_on_abort(int number)
{
	(void)number;
	coverage_keep();
}
#endif

/* The same for who is about to abort(). */
static inline void coverage_keep_at_abort(void)
{
#if defined(USVM_COVERAGE)
	signal(SIGABRT, coverage_on_abort);
#endif
}

#endif
