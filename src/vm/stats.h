/* SPDX-License-Identifier: MIT */
/*
 * vm/stats.h - counters of a device, under the kernel's names.
 *
 * The names are those of xe's gtN/stats; what a name means is in docs/stats.md.
 * Sizes are those of ranges. Counters are words of their own, added to by any
 * thread; reading them all is not one instant.
 */
#ifndef VM_STATS_H
#define VM_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

enum vm_stat {
	VM_STAT_PAGEFAULT_COUNT,
	VM_STAT_TLB_INVAL_COUNT,
	VM_STAT_SVM_TLB_INVAL_COUNT,
	VM_STAT_SVM_TLB_INVAL_US,
	VM_STAT_VMA_PAGEFAULT_COUNT,
	VM_STAT_VMA_PAGEFAULT_KB,
	VM_STAT_INVALID_PREFETCH_PAGEFAULT_COUNT,
	/* By size: 4K, 64K, 2M, in this order. */
	VM_STAT_SIZED_PAGEFAULT_COUNT,
	VM_STAT_SIZED_VALID_PAGEFAULT_COUNT = VM_STAT_SIZED_PAGEFAULT_COUNT + 3,
	VM_STAT_SIZED_PAGEFAULT_US = VM_STAT_SIZED_VALID_PAGEFAULT_COUNT + 3,
	VM_STAT_SIZED_MIGRATE_COUNT = VM_STAT_SIZED_PAGEFAULT_US + 3,
	VM_STAT_SIZED_MIGRATE_US = VM_STAT_SIZED_MIGRATE_COUNT + 3,
	VM_STAT_SIZED_GET_PAGES_US = VM_STAT_SIZED_MIGRATE_US + 3,
	VM_STAT_SIZED_BIND_US = VM_STAT_SIZED_GET_PAGES_US + 3,
	VM_STAT_SIZED_DEVICE_COPY_US = VM_STAT_SIZED_BIND_US + 3,
	VM_STAT_SIZED_CPU_COPY_US = VM_STAT_SIZED_DEVICE_COPY_US + 3,
	VM_STAT_SIZED_DEVICE_COPY_KB = VM_STAT_SIZED_CPU_COPY_US + 3,
	VM_STAT_SIZED_CPU_COPY_KB = VM_STAT_SIZED_DEVICE_COPY_KB + 3,
	VM_STAT_DEVICE_COPY_US = VM_STAT_SIZED_CPU_COPY_KB + 3,
	VM_STAT_CPU_COPY_US,
	VM_STAT_DEVICE_COPY_KB,
	VM_STAT_CPU_COPY_KB,
	VM_STAT_PEER_COPY_US,
	VM_STAT_PEER_COPY_KB,
	/* Ours, where the kernel has no name. */
	VM_STAT_FAULTS_FAILED,
	VM_STAT_RETRIES,
	VM_STAT_RANGES_COLLECTED,
	VM_STAT_PAGES_TO_DEVICE,
	VM_STAT_PAGES_FILLED,
	VM_STAT_PAGES_BUSY,
	VM_STAT_PAGES_FROM_PEER,
	VM_STAT_PEER_MAPPED,
	VM_STAT_BUSY_SKIPPED,
	VM_STAT_BO_PLACED,
	VM_STAT_BO_EVICTIONS,
	VM_STAT_BOUNCES,
	VM_STAT_THRASH_SMALLER,
	VM_STAT_THRASH_LARGER,
	VM_STAT_THRASH_IN_PLACE,
	VM_STAT_STAYED, /* one for each enum vm_stay */
	VM_STAT_COUNT = VM_STAT_STAYED + 10
};

struct vm_stats {
	uint64_t value[VM_STAT_COUNT]; /* atomic */
};

extern const char *const vm_stat_names[VM_STAT_COUNT];

static inline void vm_stat_add(struct vm_stats *stats, enum vm_stat stat, uint64_t n)
{
	__atomic_fetch_add(&stats->value[stat], n, __ATOMIC_RELAXED);
}

/** vm_stat_sized() - the counter of @stat's family for a range of @bytes */
static inline enum vm_stat vm_stat_sized(enum vm_stat stat, uint64_t bytes)
{
	return stat + (bytes > 4096) + (bytes > 65536);
}

#endif
