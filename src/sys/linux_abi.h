/* SPDX-License-Identifier: MIT */
/*
 * sys/linux_abi.h - what the kernel's interface has and older headers lack.
 *
 * The library is built where the headers are years older than the kernel it
 * runs on, so numbers and layouts newer than Linux 5.10 are written down here,
 * under names of our own: newer headers define theirs beside them. Layouts are
 * asserted, for a wrong size changes an ioctl's number.
 */
#ifndef SYS_LINUX_ABI_H
#define SYS_LINUX_ABI_H

#include <stdint.h>
#include <sys/ioctl.h>

/* --- userfaultfd --------------------------------------------------------- */

enum abi_uffd_open {
	ABI_UFFD_USER_MODE_ONLY = 1, /* a flag of userfaultfd(2), 5.11 */
};

#define ABI_UFFD_IOCTL_NEW _IO(0xaa, 0x00) /* on /dev/userfaultfd, 6.1 */

enum abi_uffd_feature {
	ABI_UFFD_PAGEFAULT_FLAG_WP = 1 << 0,
	ABI_UFFD_EVENT_FORK = 1 << 1,
	ABI_UFFD_EVENT_REMAP = 1 << 2,
	ABI_UFFD_EVENT_REMOVE = 1 << 3,
	ABI_UFFD_EVENT_UNMAP = 1 << 6,
	ABI_UFFD_THREAD_ID = 1 << 8,
	ABI_UFFD_POISON = 1 << 14,   /* 6.6 */
	ABI_UFFD_WP_ASYNC = 1 << 15, /* 6.7 */
	ABI_UFFD_MOVE = 1 << 16,     /* 6.8 */
};

struct abi_uffd_move {
	uint64_t dst;
	uint64_t src;
	uint64_t bytes;
	uint64_t mode;
	int64_t moved; /* out: bytes, or -errno */
};

enum abi_uffd_move_mode {
	ABI_UFFD_MOVE_DONTWAKE = 1 << 0,
	ABI_UFFD_MOVE_ALLOW_SRC_HOLES = 1 << 1,
};

struct abi_uffd_poison {
	uint64_t start;
	uint64_t bytes;
	uint64_t mode;
	int64_t updated; /* out: bytes, or -errno */
};

#define ABI_UFFD_IOCTL_MOVE _IOWR(0xaa, 0x05, struct abi_uffd_move)
#define ABI_UFFD_IOCTL_POISON _IOWR(0xaa, 0x08, struct abi_uffd_poison)

_Static_assert(sizeof(struct abi_uffd_move) == 40, "layout");
_Static_assert(sizeof(struct abi_uffd_poison) == 32, "layout");

/* --- /proc/PID/maps, 6.11 ------------------------------------------------ */

struct abi_vma_query {
	uint64_t struct_bytes;
	uint64_t query_flags;
	uint64_t query_addr;
	uint64_t start; /* out, as all that follows */
	uint64_t end;
	uint64_t flags;
	uint64_t page_bytes;
	uint64_t file_offset;
	uint64_t inode;
	uint32_t device_major;
	uint32_t device_minor;
	uint32_t name_bytes; /* in: room; out: with the final zero, 0: no name */
	uint32_t build_id_bytes;
	uint64_t name_addr;
	uint64_t build_id_addr;
};

enum abi_vma_flag {
	ABI_VMA_READ = 1 << 0,
	ABI_VMA_WRITE = 1 << 1,
	ABI_VMA_EXEC = 1 << 2,
	ABI_VMA_SHARED = 1 << 3,
	ABI_VMA_OR_NEXT = 1 << 4, /* in query_flags only */
};

#define ABI_VMA_IOCTL_QUERY _IOWR('f', 17, struct abi_vma_query)

_Static_assert(sizeof(struct abi_vma_query) == 104, "layout");

/* --- /proc/PID/pagemap, 6.7 ---------------------------------------------- */

struct abi_page_scan {
	uint64_t struct_bytes;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end; /* out: where it stopped */
	uint64_t regions_addr;
	uint64_t region_count_max;
	uint64_t page_count_max; /* 0: no limit */
	uint64_t inverted;
	uint64_t all_of; /* which pages: masks of enum abi_page_category */
	uint64_t any_of;
	uint64_t report;
};

struct abi_page_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

enum abi_page_category {
	ABI_PAGE_WRITTEN = 1 << 1,
	ABI_PAGE_PRESENT = 1 << 3,
	ABI_PAGE_SWAPPED = 1 << 4,
	ABI_PAGE_ZERO = 1 << 5,
	ABI_PAGE_HUGE = 1 << 6,
	ABI_PAGE_GUARD = 1 << 8, /* 6.15 */
};

#define ABI_PAGE_IOCTL_SCAN _IOWR('f', 16, struct abi_page_scan)

_Static_assert(sizeof(struct abi_page_scan) == 96, "layout");

/* One 64-bit word a page, as read() gives them. */
#define ABI_PAGEMAP_PRESENT (1ull << 63)
#define ABI_PAGEMAP_SWAPPED (1ull << 62)

/* --- madvise ------------------------------------------------------------- */

enum abi_madvise {
	ABI_MADV_DONTNEED_LOCKED = 24, /* 5.18 */
	ABI_MADV_POPULATE_READ = 22,   /* 5.14 */
	ABI_MADV_POPULATE_WRITE = 23,
	ABI_MADV_COLLAPSE = 25,       /* 6.1 */
	ABI_MADV_GUARD_INSTALL = 102, /* 6.13 */
	ABI_MADV_GUARD_REMOVE = 103,
};

enum abi_memfd {
	ABI_MFD_NOEXEC_SEAL = 8, /* 6.3 */
};

/* --- signals: the kernel's own sigaction, which is not the C library's --- */

struct abi_sigaction {
	uint64_t handler; /* a function, or SIG_DFL, SIG_IGN */
	uint64_t flags;
	uint64_t restorer;
	uint64_t mask; /* bit n - 1 for signal n */
};

#define ABI_SA_RESTORER 0x04000000u

/* --- file tables --------------------------------------------------------- */

#define ABI_CLOSE_RANGE_UNSHARE 2u /* 5.9 */

struct abi_dirent {
	uint64_t inode;
	int64_t offset;
	uint16_t record_bytes;
	uint8_t type;
	char name[];
};

/* System calls that a thread may be seen in. */
#define ABI_CALL_MMAP 9
#define ABI_CALL_MUNMAP 11
#define ABI_CALL_BRK 12
#define ABI_CALL_MREMAP 25
#define ABI_MREMAP_FIXED 2u
#define ABI_CALL_SHMDT 67
#define ABI_CALL_MADVISE 28
#define ABI_CALL_PROCESS_MADVISE 440
#define ABI_CALL_CLOSE_RANGE 436
#define ABI_CALL_PIDFD_OPEN 434
#define ABI_CALL_PIDFD_GETFD 438

#endif
