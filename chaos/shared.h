/* SPDX-License-Identifier: MIT */
/*
 * chaos/shared.h - what `usvm chaos` and its agents share: one file in memory.
 *
 * The command makes it, seals its size and names it in the environment; each process
 * that the agent is loaded into maps it and counts in a slot of its own. A process that
 * is killed, or that becomes another program, leaves its counts behind. A slot is found
 * by the process's number; who finds one of its number, or one of a process that is
 * gone, goes on counting where the other ended.
 */
#ifndef CHAOS_SHARED_H
#define CHAOS_SHARED_H

#include <stdint.h>

#define CHAOS_MAGIC 0x31736f6168437375ull
#define CHAOS_VARIABLE "USVM_CHAOS" /* the path of the file */
#define CHAOS_SLOT_COUNT 8192

/*
 *     name, what it counts
 */
#define CHAOS_COUNTERS(C)                                                             \
	C(STARTED, "programs and children that the agent began in")                    \
	C(OPENED, "of those: it opened a device")                                      \
	C(FAILED, "of those: it could not")                                            \
	C(TAKES, "spans that were asked to the device")                                \
	C(JOBS, "kernels that ran over pages")                                         \
	C(JOBS_ENDED, "of those: ended early, by memory that went meanwhile")          \
	C(EVICTS, "spans that were asked home")                                        \
	C(PAGES_OUT, "pages that went to the device")                                  \
	C(PAGES_HOME, "pages that came home")                                          \
	C(FAULTS_USER, "CPU faults on device pages, outside of system calls")          \
	C(FAULTS_KERNEL, "inside of system calls")                                     \
	C(FAULTS_UNKNOWN, "of which that cannot be told")                              \
	C(VRAM_EVICTIONS, "buffer objects that gave way to others")                    \
	C(LAIN, "pages of private anonymous memory that lay there for a second")       \
	C(LAIN_OUT, "of those: were on the device at least once")                      \
	C(LAIN_FIXED, "of those: never migrate")                                       \
	C(LOST, "pages that the planted bug lost")

#define CHAOS_NAME(name, text) CHAOS_##name,
enum chaos_counter {
	CHAOS_COUNTERS(CHAOS_NAME) CHAOS_COUNTER_COUNT
};
#undef CHAOS_NAME

/* One process. Written by its agent alone, read at any time. */
struct chaos_slot {
	uint32_t process_id; /* atomic; 0: free */
	int32_t error;       /* of the last open that failed: -errno; 0: none */
	uint64_t counts[CHAOS_COUNTER_COUNT]; /* atomic */
};

struct chaos_shared {
	uint64_t magic;
	/* Set by the command, then constant. */
	uint64_t seed;
	uint64_t rate; /* steps a second */
	char spec[128]; /* of the device */
	uint32_t loses_pages; /* --plant lose-one-page */

	uint32_t agent_count; /* atomic: agents so far; makes seeds differ */
	struct chaos_slot slots[CHAOS_SLOT_COUNT];
};

#endif
