/* SPDX-License-Identifier: MIT */
/*
 * base/atomic.h - atomic words, with the memory order in the name.
 *
 * Thin names over the compiler's builtins, so that a simulator's build can
 * put a yield point at each access (USVM_YIELD_POINTS). Words are plain
 * integers or pointers; a field that is accessed by these says so.
 */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H

#include "base/compiler.h"

#if defined(USVM_YIELD_POINTS)
#include "base/host.h"
static inline void atomic_yield_point(void)
{
	if (base_host->yield_point)
		base_host->yield_point();
}
#else
static inline void atomic_yield_point(void)
{
}
#endif

#define ATOMIC_LOAD(p) \
	(atomic_yield_point(), __atomic_load_n((p), __ATOMIC_SEQ_CST))
#define ATOMIC_LOAD_ACQUIRE(p) \
	(atomic_yield_point(), __atomic_load_n((p), __ATOMIC_ACQUIRE))
#define ATOMIC_LOAD_RELAXED(p) \
	(atomic_yield_point(), __atomic_load_n((p), __ATOMIC_RELAXED))
#define ATOMIC_STORE(p, v) \
	(atomic_yield_point(), __atomic_store_n((p), (v), __ATOMIC_SEQ_CST))
#define ATOMIC_STORE_RELEASE(p, v) \
	(atomic_yield_point(), __atomic_store_n((p), (v), __ATOMIC_RELEASE))
#define ATOMIC_STORE_RELAXED(p, v) \
	(atomic_yield_point(), __atomic_store_n((p), (v), __ATOMIC_RELAXED))
#define ATOMIC_ADD(p, v) /* the value before */ \
	(atomic_yield_point(), __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST))
#define ATOMIC_SUB(p, v) /* the value before */ \
	(atomic_yield_point(), __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST))
#define ATOMIC_OR(p, v) /* the value before */ \
	(atomic_yield_point(), __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))
#define ATOMIC_AND(p, v) /* the value before */ \
	(atomic_yield_point(), __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST))
#define ATOMIC_EXCHANGE(p, v) \
	(atomic_yield_point(), __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))
#define ATOMIC_COMPARE_EXCHANGE(p, expected, v)                         \
	(atomic_yield_point(),                                          \
	 __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_SEQ_CST, \
				     __ATOMIC_SEQ_CST))

/* For whoever goes on when this thread was killed, behind what it stored before. While it
 * lives nobody else looks at the word, so it is no yield point. */
#define ATOMIC_PUBLISH(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

/** cpu_relax() - a breath inside a short spin */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

#endif
