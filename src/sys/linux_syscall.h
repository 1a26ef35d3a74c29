/* SPDX-License-Identifier: MIT */
/*
 * sys/linux_syscall.h - system calls with nothing in between.
 *
 * The C library's wrappers set errno, are cancellation points, and are
 * intercepted by sanitizers; the monitor may have none of that. These return
 * the kernel's own answer: a value, or -errno.
 */
#ifndef SYS_LINUX_SYSCALL_H
#define SYS_LINUX_SYSCALL_H

#include <stdint.h>
#include <sys/syscall.h>

#if !defined(__linux__) || !defined(__x86_64__)
#error "usvm runs on Linux on x86-64 only: 4 KiB pages, userfaultfd, this ABI"
#endif

static inline int64_t linux_call6(int64_t number, uint64_t a, uint64_t b,
				  uint64_t c, uint64_t d, uint64_t e,
				  uint64_t f)
{
	register uint64_t r10 __asm__("r10") = d;
	register uint64_t r8 __asm__("r8") = e;
	register uint64_t r9 __asm__("r9") = f;
	int64_t result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10),
			   "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define LINUX_CALL_PAD(number, a, b, c, d, e, f, ...)                    \
	linux_call6((number), (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), \
		    (uint64_t)(d), (uint64_t)(e), (uint64_t)(f))

/** linux_call() - system call @number with up to six integers or pointers */
#define linux_call(...) LINUX_CALL_PAD(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

#endif
