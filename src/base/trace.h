/* SPDX-License-Identifier: MIT */
/*
 * base/trace.h - trace points: a ring of events, and a USDT probe at each.
 *
 * A trace point may stand anywhere, the monitor included: it never blocks,
 * allocates or fails. The ring drops the event and counts it when a reader is
 * too slow. With no ring attached a trace point is one load and a branch; the
 * probe of the same name (provider "usvm") is a nop until a tracer arms it.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/compiler.h"

enum trace_type {
	TRACE_GPU_FAULT,    /* addr; arg: access */
	TRACE_CPU_FAULT,    /* addr; arg: flags */
	TRACE_MIGRATE_TO_DEVICE, /* addr, bytes; arg: bytes that moved */
	TRACE_MIGRATE_TO_RAM,    /* addr, bytes; arg: cause */
	TRACE_EVICT,        /* addr, bytes: device memory given back */
	TRACE_INVALIDATE,   /* addr, bytes; arg: enum mm_event */
	TRACE_EVENT,        /* addr, bytes of an event read; arg: type */
	TRACE_BIND,         /* addr, bytes: PTEs written */
	TRACE_COLLECT,      /* addr, bytes: a range destroyed */
	TRACE_MIGRATE_FROM_PEER, /* addr, bytes: of what another device had */
	TRACE_TYPE_COUNT
};

struct trace_event {
	uint64_t time_ns; /* monotonic, when the step ended */
	uint64_t duration_ns;
	uint64_t addr;
	uint64_t bytes;
	uint64_t arg;
	uint32_t type; /* enum trace_type */
	uint32_t thread;
};

struct trace_ring; /* many writers, one reader at a time */

/** trace_ring_create() - @event_count is a power of two. Return: 0 or -ENOMEM. */
MUST_CHECK int trace_ring_create(size_t event_count, struct trace_ring **ring);
void trace_ring_destroy(struct trace_ring *ring);

/** trace_ring_write() - add one event, or drop and count it. Context: any. */
void trace_ring_write(struct trace_ring *ring, const struct trace_event *event);

/** trace_ring_read() - take up to @max of the oldest events. Return: how many. */
size_t trace_ring_read(struct trace_ring *ring, struct trace_event *events, size_t max);

/** trace_ring_dropped() - events that were dropped since the ring was made */
uint64_t trace_ring_dropped(const struct trace_ring *ring);

/** trace_type_name() - "gpu_fault" and so on; never NULL */
const char *trace_type_name(uint32_t type);

#endif
