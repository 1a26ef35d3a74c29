/* SPDX-License-Identifier: MIT */
/*
 * base/compiler.h - attributes and small macros that every layer uses.
 *
 * The lock annotations are checked by clang's -Wthread-safety; gcc ignores
 * them. GUARDED_BY on a struct's field needs a clang that parses attributes
 * late (clang 14 does not), so it is compiled in only on request.
 */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED __attribute__((unused))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#if defined(__clang__)
#define THREAD_SAFETY(x) __attribute__((x))
#else
#define THREAD_SAFETY(x)
#endif

#define LOCKABLE THREAD_SAFETY(capability("lock"))
#define MUST_HOLD(...) THREAD_SAFETY(requires_capability(__VA_ARGS__))
#define MUST_NOT_HOLD(...) THREAD_SAFETY(locks_excluded(__VA_ARGS__))
#define ACQUIRES(...) THREAD_SAFETY(acquire_capability(__VA_ARGS__))
#define TRY_ACQUIRES(...) THREAD_SAFETY(try_acquire_capability(__VA_ARGS__))
#define RELEASES(...) THREAD_SAFETY(release_capability(__VA_ARGS__))
#define ASSERTS_HELD(...) THREAD_SAFETY(assert_capability(__VA_ARGS__))
#define NO_LOCK_ANALYSIS THREAD_SAFETY(no_thread_safety_analysis)

#if defined(USVM_LATE_PARSED_ATTRIBUTES)
#define GUARDED_BY(x) __attribute__((guarded_by(x)))
#else
#define GUARDED_BY(x)
#endif

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

/** MIN() and MAX() - of two values of one type; both are evaluated once or twice. */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define ALIGN_DOWN(x, to) ((x) & ~((uint64_t)(to) - 1))
#define ALIGN_UP(x, to) ALIGN_DOWN((x) + (uint64_t)(to) - 1, to)
#define IS_ALIGNED(x, to) (((x) & ((uint64_t)(to) - 1)) == 0)

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

/* The page sizes of the process and of the model GPU's leaves. */
#define PAGE_SHIFT 12
#define PAGE_BYTES KIB(4)
#define HUGE_SHIFT 21
#define HUGE_BYTES MIB(2)
#define PAGES_PER_HUGE (HUGE_BYTES / PAGE_BYTES)

#endif
