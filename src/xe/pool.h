/* SPDX-License-Identifier: MIT */
/*
 * xe/pool.h - a card's memory as all processes that use it see it.
 *
 * Bytes are counted, no more: which bytes is each process's own affair, for its memory of
 * the card is memory of its own. Each has a slot in a file that all map, writes there what
 * it holds, and reads what others do.
 *
 *     xe_pool_take()    more, if it is there
 *     xe_pool_ask()     wish for room, and wait until others have made some
 *     xe_pool_wanted()  what others wish that this process should make room for
 *
 * One thread at a time takes and gives (vram.lock); any may read. What a process held that
 * has ended is nobody's. Docs: design/shared-memory.md.
 */
#ifndef XE_POOL_H
#define XE_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "sys/common.h"

#define XE_POOL_PROCESSES 1024

struct xe_pool_file;
struct xe_pool_slot;

struct xe_pool {
	struct xe_pool_file *file;
	struct xe_pool_slot *own;
	struct sys_life life;
	uint64_t size_bytes;
	/* Atomic: what others held when waiting for them last was in vain, */
	uint64_t pinned_bytes; /* though they had answered; */
	uint64_t silent_bytes; /* for an answer */
};

/** xe_pool_join() - a slot in the pool @path, an empty file at first; until the calling thread
 * leaves or ends, whose only one it is. @pool: memory that stays.
 * Return: 0; -errno of the file; -ENOSPC there are too many processes. */
MUST_CHECK int xe_pool_join(struct xe_pool *pool, const char *path, uint64_t size_bytes);

/** xe_pool_leave() - what is held is nobody's. Context: the thread that joined. */
void xe_pool_leave(struct xe_pool *pool);

/** xe_pool_take() - hold @bytes more. Return: false: there is no room. */
MUST_CHECK bool xe_pool_take(struct xe_pool *pool, uint64_t bytes);
void xe_pool_give(struct xe_pool *pool, uint64_t bytes);

/**
 * xe_pool_ask() - have others make room for @bytes
 * @is_last: nothing of the caller's can make way; else nobody is asked where the caller
 *   holds its share already, and only who holds more than a share makes way
 * Context: may sleep; holds no lock that evict() of any object may want.
 * Return: true: there was room a moment ago.
 */
MUST_CHECK bool xe_pool_ask(struct xe_pool *pool, uint64_t bytes, bool is_last);

/** xe_pool_wanted() - how much others lack that this process should make way for.
 * Context: any. */
uint64_t xe_pool_wanted(struct xe_pool *pool);

/** xe_pool_ticket(), xe_pool_answer(), xe_pool_sleep() - the thread that makes way: sample;
 * do what is wanted; say that no more is to be had for it; sleep until there is a new wish */
uint32_t xe_pool_ticket(struct xe_pool *pool);
void xe_pool_answer(struct xe_pool *pool, uint32_t ticket);
void xe_pool_sleep(struct xe_pool *pool, uint32_t ticket);

/** xe_pool_stir() - something may make way now that could not. Context: any. */
void xe_pool_stir(struct xe_pool *pool);
/** xe_pool_wake() - xe_pool_sleep() of each process returns. Context: any. */
void xe_pool_wake(struct xe_pool *pool);

/** xe_pool_used() - what is held by all. Context: any. */
uint64_t xe_pool_used(struct xe_pool *pool);

#endif
