/* SPDX-License-Identifier: MIT */
/*
 * tests/live/support/held.h - a device that can be held still.
 *
 * The smallest device (tests/device/example_device.h), with handles. Each holds one
 * thread of usvm where a slow device would keep it:
 *
 *     hold_copy     a copy to device memory: the pages are MOVING until released
 *     hold_home     a copy from device memory: event_lock is held, engines run
 *     hold_monitor  the monitor, where it waits for engines before it reads an event:
 *                   what the program does meanwhile comes to it all at once
 *     hold_worker   a worker, where it waits for engines before it takes pages: it
 *                   has looked at the mapping, which may now change
 */
#ifndef TESTS_LIVE_SUPPORT_HELD_H
#define TESTS_LIVE_SUPPORT_HELD_H

#include "device/example_device.h"
#include "live/support/live.h"

/* In shared memory: it cannot migrate. */
struct held {
	struct example_device device; /* the first */
	uint32_t hold_copy;     /* atomic: 1 armed, 2 a copy is held; futex */
	uint32_t hold_home;     /* these likewise */
	uint32_t hold_monitor;
	uint32_t hold_worker;
	uint32_t engine_thread; /* atomic: its id, once it has begun the access; else 0 */
	int copy_error;         /* what a held copy returns; then nothing was copied */
	int home_error;         /* what every copy from device memory returns, held or not */
	bool unplugs;           /* the engine unplugs the device before its next access */
	int unplug_result;
	struct usvm_vm *vm;     /* the engine's */
	unsigned char *own_memory;
};

#define HELD_VRAM (8ul << 20)

/** held_open() - @live->vm is another vm than the engine's: to look at pages with, while
 * the engine's waits for its fault. @live->queue is NULL. */
struct held *held_open(struct live *live, const struct live_param *param);
void held_close(struct held *held, struct live *live);

/** held_start() - the engine begins an access: USVM_SYSTEM_READ, _WRITE or _ADD */
void held_start(struct held *held, uint32_t op, void *at, uint64_t value);

/** held_wait_asleep() - until the engine has begun, and sleeps or is done */
void held_wait_asleep(struct held *held);

/** held_finish() - its end. Return: its error; *@value (may be NULL): what it read. */
int held_finish(struct held *held, uint64_t *value);

/** held_add() - both, and it succeeds. Return: the value before. */
uint64_t held_add(struct held *held, void *at, uint64_t value);

/** held_arm() - hold the next one; held_wait() - until it is there; held_release() */
void held_arm(uint32_t *hold);
void held_wait(uint32_t *hold);
void held_release(uint32_t *hold);

/** held_wait_copy() - the same for hold_copy. Return: false: the engine's access ended
 * without a copy. */
bool held_wait_copy(struct held *held);

#endif
