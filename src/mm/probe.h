/* SPDX-License-Identifier: MIT */
/*
 * mm/probe.h - the USDT probes: provider "usvm", one for each trace point.
 *
 * A probe is a nop until a tracer arms it:
 *     bpftrace -e 'usdt:./libusvm.so:usvm:cpu_fault { printf("%lx\n", arg0); }'
 * Arguments: address, bytes, and the event's own argument.
 */
#ifndef MM_PROBE_H
#define MM_PROBE_H

#include <stdint.h>

#include "base/trace.h"

#if defined(HAVE_SYS_SDT_H)
#include <sys/sdt.h>
#define PROBE(name) DTRACE_PROBE3(usvm, name, addr, bytes, arg)
#else
#define PROBE(name) ((void)addr, (void)bytes, (void)arg)
#endif

static inline void mm_probe(enum trace_type type, uint64_t addr, uint64_t bytes, uint64_t arg)
{
	switch (type) {
	case TRACE_GPU_FAULT:
		PROBE(gpu_fault);
		break;
	case TRACE_CPU_FAULT:
		PROBE(cpu_fault);
		break;
	case TRACE_MIGRATE_TO_DEVICE:
		PROBE(migrate_to_device);
		break;
	case TRACE_MIGRATE_TO_RAM:
		PROBE(migrate_to_ram);
		break;
	case TRACE_EVICT:
		PROBE(evict);
		break;
	case TRACE_INVALIDATE:
		PROBE(invalidate);
		break;
	case TRACE_EVENT:
		PROBE(event);
		break;
	case TRACE_BIND:
		PROBE(bind);
		break;
	case TRACE_COLLECT:
		PROBE(collect);
		break;
	case TRACE_MIGRATE_FROM_PEER:
		PROBE(migrate_from_peer);
		break;
	case TRACE_TYPE_COUNT:
		break;
	}
}

#endif
