/* SPDX-License-Identifier: MIT */
/*
 * DOC: Names
 *
 * One table, in the order of enum vm_stat; a family has three entries.
 */
#include "vm/stats.h"

#define SIZED(stat, name)                          \
	[stat] = "svm_4K_" name,                   \
	[stat + 1] = "svm_64K_" name,              \
	[stat + 2] = "svm_2M_" name

const char *const vm_stat_names[VM_STAT_COUNT] = {
	[VM_STAT_PAGEFAULT_COUNT] = "svm_pagefault_count",
	[VM_STAT_TLB_INVAL_COUNT] = "tlb_inval_count",
	[VM_STAT_SVM_TLB_INVAL_COUNT] = "svm_tlb_inval_count",
	[VM_STAT_SVM_TLB_INVAL_US] = "svm_tlb_inval_us",
	[VM_STAT_VMA_PAGEFAULT_COUNT] = "vma_pagefault_count",
	[VM_STAT_VMA_PAGEFAULT_KB] = "vma_pagefault_kb",
	[VM_STAT_INVALID_PREFETCH_PAGEFAULT_COUNT] = "invalid_prefetch_pagefault_count",
	SIZED(VM_STAT_SIZED_PAGEFAULT_COUNT, "pagefault_count"),
	SIZED(VM_STAT_SIZED_VALID_PAGEFAULT_COUNT, "valid_pagefault_count"),
	SIZED(VM_STAT_SIZED_PAGEFAULT_US, "pagefault_us"),
	SIZED(VM_STAT_SIZED_MIGRATE_COUNT, "migrate_count"),
	SIZED(VM_STAT_SIZED_MIGRATE_US, "migrate_us"),
	SIZED(VM_STAT_SIZED_GET_PAGES_US, "get_pages_us"),
	SIZED(VM_STAT_SIZED_BIND_US, "bind_us"),
	SIZED(VM_STAT_SIZED_DEVICE_COPY_US, "device_copy_us"),
	SIZED(VM_STAT_SIZED_CPU_COPY_US, "cpu_copy_us"),
	SIZED(VM_STAT_SIZED_DEVICE_COPY_KB, "device_copy_kb"),
	SIZED(VM_STAT_SIZED_CPU_COPY_KB, "cpu_copy_kb"),
	[VM_STAT_DEVICE_COPY_US] = "svm_device_copy_us",
	[VM_STAT_CPU_COPY_US] = "svm_cpu_copy_us",
	[VM_STAT_DEVICE_COPY_KB] = "svm_device_copy_kb",
	[VM_STAT_CPU_COPY_KB] = "svm_cpu_copy_kb",
	[VM_STAT_PEER_COPY_US] = "svm_peer_copy_us",
	[VM_STAT_PEER_COPY_KB] = "svm_peer_copy_kb",
	[VM_STAT_FAULTS_FAILED] = "usvm_faults_failed",
	[VM_STAT_RETRIES] = "usvm_retries",
	[VM_STAT_RANGES_COLLECTED] = "usvm_ranges_collected",
	[VM_STAT_PAGES_TO_DEVICE] = "usvm_pages_to_device",
	[VM_STAT_PAGES_FILLED] = "usvm_pages_filled",
	[VM_STAT_PAGES_BUSY] = "usvm_pages_busy",
	[VM_STAT_PAGES_FROM_PEER] = "usvm_pages_from_peer",
	[VM_STAT_PEER_MAPPED] = "usvm_peer_mapped",
	[VM_STAT_BUSY_SKIPPED] = "usvm_busy_skipped",
	[VM_STAT_BO_PLACED] = "usvm_bo_placed",
	[VM_STAT_BO_EVICTIONS] = "usvm_bo_evictions",
	[VM_STAT_BOUNCES] = "usvm_bounces",
	[VM_STAT_THRASH_SMALLER] = "usvm_thrash_smaller",
	[VM_STAT_THRASH_LARGER] = "usvm_thrash_larger",
	[VM_STAT_THRASH_IN_PLACE] = "usvm_thrash_in_place",
	[VM_STAT_STAYED] = "usvm_stayed_shared",
	[VM_STAT_STAYED + 1] = "usvm_stayed_file",
	[VM_STAT_STAYED + 2] = "usvm_stayed_hugetlb",
	[VM_STAT_STAYED + 3] = "usvm_stayed_stack",
	[VM_STAT_STAYED + 4] = "usvm_stayed_protected",
	[VM_STAT_STAYED + 5] = "usvm_stayed_policy",
	[VM_STAT_STAYED + 6] = "usvm_stayed_kept",
	[VM_STAT_STAYED + 7] = "usvm_stayed_pinned",
	[VM_STAT_STAYED + 8] = "usvm_stayed_no_room",
	[VM_STAT_STAYED + 9] = "usvm_stayed_other",
};
