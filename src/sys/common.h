/* SPDX-License-Identifier: MIT */
/*
 * sys/common.h - memory that processes have in common, and who of them still lives.
 *
 * A file of a known name is mapped by each of them. A word in it says that a thread lives:
 * the kernel marks it when that thread ends, however it does, before anybody who waits for
 * its process hears of its end. So what a dead process has left can be told from what a slow
 * one has, with a look at the word, whatever became of its number.
 *
 * Not in the table of sys_ops: a simulated kernel has no other processes.
 */
#ifndef SYS_COMMON_H
#define SYS_COMMON_H

#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

/** sys_common_map() - the file @path, made longer if it is short of @bytes; a child does not
 * inherit it. Return: 0 or -errno. */
MUST_CHECK int sys_common_map(const char *path, uint64_t bytes, void **memory);
void sys_common_unmap(void *memory, uint64_t bytes);

/* Of a thread of the library, which has one such word at most; in memory that stays. */
struct sys_life {
	struct robust_list_head head;
	struct robust_list entry;
	uint32_t *word;
};

/** sys_life_claim() - *@word, 0 at first, tells that the calling thread lives; nobody counts
 * it before sys_life_begin(). Return: false: another one lives there. */
MUST_CHECK bool sys_life_claim(struct sys_life *life, uint32_t *word);
void sys_life_begin(struct sys_life *life);
/** sys_life_end() - by the same thread: *word is free */
void sys_life_end(struct sys_life *life);
/** sys_life_is_on() - between begin and end or death. Context: any, of any process. */
bool sys_life_is_on(const uint32_t *word);

/** sys_common_sleep() - while *@word, in such memory, is @expected: as base_host->park() */
int sys_common_sleep(uint32_t *word, uint32_t expected, uint64_t timeout_ns);

/** sys_common_wake() - all that sleep on @word, of all processes. Context: any. */
void sys_common_wake(uint32_t *word);

#endif
