/* SPDX-License-Identifier: MIT */
/*
 * sys/linux_guarded.h - the functions of linux_guarded.S.
 */
#ifndef SYS_LINUX_GUARDED_H
#define SYS_LINUX_GUARDED_H

#define LINUX_SIGNAL_ENTRY_COUNT 8
#define LINUX_SIGNAL_ENTRY_BYTES 32

#if !defined(__ASSEMBLER__)
#include <signal.h>
#include <stdint.h>

struct guarded_result {
	int64_t error; /* 0, -EFAULT, -EINTR */
	uint64_t value; /* of loads; of atomics the value before */
};

/* @kicked: the thread's word; -EINTR at once if it is not 0. */
typedef struct guarded_result guarded_function(uint64_t addr, uint64_t value,
					       uint64_t expected,
					       const uint32_t *kicked);

extern guarded_function linux_guarded_load1, linux_guarded_load2,
	linux_guarded_load4, linux_guarded_load8, linux_guarded_store1,
	linux_guarded_store2, linux_guarded_store4, linux_guarded_store8,
	linux_guarded_add4, linux_guarded_add8, linux_guarded_exchange4,
	linux_guarded_exchange8, linux_guarded_compare_exchange4,
	linux_guarded_compare_exchange8;

/* to, from, bytes */
extern guarded_function linux_guarded_copy;

/* Where a signal may go to the fix-up; relative to the table. */
struct guarded_entry {
	int32_t start;
	int32_t end; /* behind the access */
};

extern const struct guarded_entry linux_guarded_table[];
extern const struct guarded_entry linux_guarded_table_end[];
extern const char linux_guarded_fixup[];

/* Handlers, LINUX_SIGNAL_ENTRY_BYTES apart. */
extern const char linux_signal_entries[];
void linux_signal_return(void);
/* @caller_frame: what was on the stack right above the return address.
 * @behind: which entry it was, from 1. */
void linux_signal_handle(int number, siginfo_t *info, void *context,
			 const void *caller_frame, uint32_t behind);
#endif

#endif
