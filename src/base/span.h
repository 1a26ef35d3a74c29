/* SPDX-License-Identifier: MIT */
/*
 * base/span.h - a half-open span of addresses, in bytes.
 *
 *     start             end
 *       |=================|       contains start, does not contain end
 *
 * Invariant: start <= end. An empty span (start == end) contains nothing and
 * overlaps nothing. Addresses are numbers; only sys/ makes pointers of them.
 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct span {
	uint64_t start;
	uint64_t end;
};

static inline struct span span_make(uint64_t start, uint64_t bytes)
{
	return (struct span){ .start = start, .end = start + bytes };
}

static inline uint64_t span_bytes(struct span s)
{
	return s.end - s.start;
}

static inline uint64_t span_pages(struct span s)
{
	return span_bytes(s) >> PAGE_SHIFT;
}

static inline bool span_is_empty(struct span s)
{
	return s.start >= s.end;
}

static inline bool span_contains(struct span s, uint64_t addr)
{
	return addr >= s.start && addr < s.end;
}

/** span_covers() - true if all of @inner lies in @outer */
static inline bool span_covers(struct span outer, struct span inner)
{
	return inner.start >= outer.start && inner.end <= outer.end;
}

static inline bool span_overlaps(struct span a, struct span b)
{
	return MAX(a.start, b.start) < MIN(a.end, b.end);
}

/** span_intersect() - what is in both; an empty span where nothing is */
static inline struct span span_intersect(struct span a, struct span b)
{
	struct span s = { MAX(a.start, b.start), MIN(a.end, b.end) };

	if (s.start > s.end)
		s.end = s.start;
	return s;
}

/** span_align_out() - the smallest @to-aligned span that covers @s */
static inline struct span span_align_out(struct span s, uint64_t to)
{
	return (struct span){ ALIGN_DOWN(s.start, to), ALIGN_UP(s.end, to) };
}

/** span_block() - the @size-aligned block that holds @addr */
static inline struct span span_block(uint64_t addr, uint64_t size)
{
	return span_make(ALIGN_DOWN(addr, size), size);
}

#endif
