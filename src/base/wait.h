/* SPDX-License-Identifier: MIT */
/*
 * base/wait.h - sleep until something has happened, without missing it.
 *
 *     ticket = wait_ticket(&w);        sample, then look
 *     if (!condition)
 *             wait_sleep(&w, ticket, timeout_ns);
 *     ...
 *     condition = true;                the other side: change, then wake
 *     wait_wake_all(&w);
 *
 * A wake between the ticket and the sleep makes the sleep return at once.
 */
#ifndef BASE_WAIT_H
#define BASE_WAIT_H

#include <stdint.h>

#include "base/atomic.h"
#include "base/compiler.h"

struct wait {
	uint32_t seq;     /* atomic: counts wakes */
	uint32_t waiters; /* atomic: threads in wait_sleep() */
};

static inline void wait_init(struct wait *w)
{
	w->seq = 0;
	w->waiters = 0;
}

static inline uint32_t wait_ticket(struct wait *w)
{
	return ATOMIC_LOAD(&w->seq);
}

/**
 * wait_sleep() - sleep until a wake that came after @ticket
 * @timeout_ns: relative; BASE_FOREVER: none
 *
 * Context: may block; no lock with the monitor mark is held.
 * Return: 0 (also without reason), or -ETIMEDOUT.
 */
int wait_sleep(struct wait *w, uint32_t ticket, uint64_t timeout_ns);

/** wait_wake_all() - wake all sleepers. Context: any; a system call only if one sleeps. */
void wait_wake_all(struct wait *w);

/** wait_wake_one() - the same of one sleeper, whichever: where each can do what is to be done,
 * and who is awake looks again before it sleeps */
void wait_wake_one(struct wait *w);

#endif
