/* SPDX-License-Identifier: MIT */
/*
 * base/poison.h - tell AddressSanitizer which memory may not be touched now.
 *
 * It knows the program's heap, not the library's own pages. In a build without
 * it these do nothing, and nothing is ever poisoned. The granule is 8 bytes.
 */
#ifndef BASE_POISON_H
#define BASE_POISON_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_ENABLED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define POISON_ENABLED
#endif

#if defined(POISON_ENABLED)
#include <sanitizer/asan_interface.h>
#define POISON(p, bytes) __asan_poison_memory_region((p), (bytes))
#define UNPOISON(p, bytes) __asan_unpoison_memory_region((p), (bytes))
#define IS_POISONED(p) (__asan_address_is_poisoned(p) != 0)
#else
#define POISON(p, bytes) ((void)(p), (void)(bytes))
#define UNPOISON(p, bytes) ((void)(p), (void)(bytes))
#define IS_POISONED(p) ((void)(p), 0)
#endif

#endif
