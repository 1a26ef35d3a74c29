/* SPDX-License-Identifier: MIT */
/*
 * DOC: planted bugs, see plant.h
 *
 * The library has nothing of this file.
 */
#include "base/plant.h"

#if defined(USVM_PLANTS)
#include "base/host.h"
#include "base/lock.h"

#define YIELDS 32

enum plant plant = PLANT_NONE;

void plant_yield(void)
{
	for (int i = 0; i < YIELDS; i++)
		base_host->cpu_yield();
}

NO_LOCK_ANALYSIS void plant_gap(struct lock *lock)
{
	lock_release(lock);
	plant_yield();
	lock_acquire(lock);
}
#endif
