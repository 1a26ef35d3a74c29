/* SPDX-License-Identifier: MIT */
/*
 * DOC: wait
 *
 * An event count. Why no wake is lost: both sides write before they read, in
 * one total order (all four accesses are sequentially consistent).
 *
 *     sleeper                          waker
 *       waiters += 1                     seq += 1
 *       sleep while seq == ticket        wake if waiters != 0
 *
 * A waker that read waiters == 0 changed seq before the sleeper came, so the
 * sleeper's comparison (park() makes it in one step with falling asleep)
 * fails and it does not sleep.
 *
 * seq wraps after 2^32 wakes. A sleeper would be fooled only by exactly that
 * many between its ticket and its sleep, at a microsecond each over an hour.
 */
#include "base/wait.h"
#include "base/host.h"
#include "base/lock.h"
#include "base/plant.h"

int wait_sleep(struct wait *w, uint32_t ticket, uint64_t timeout_ns)
{
	int err = 0;

	lock_assert_may_sleep("wait_sleep");
	ATOMIC_ADD(&w->waiters, 1); /* B1 */
	if (PLANTED(SLEEP_BLIND))
		ticket = ATOMIC_LOAD(&w->seq);
	if (ATOMIC_LOAD(&w->seq) == ticket)
		err = base_host->park(&w->seq, ticket, timeout_ns);
	ATOMIC_SUB(&w->waiters, 1);
	return err;
}

static void wake_some(struct wait *w, uint32_t count)
{
	if (PLANTED(WAKE_FIRST) && !ATOMIC_LOAD(&w->waiters)) {
		ATOMIC_ADD(&w->seq, 1);
		return;
	}
	ATOMIC_ADD(&w->seq, 1);
	if (ATOMIC_LOAD(&w->waiters))
		base_host->unpark(&w->seq, count);
}

void wait_wake_all(struct wait *w)
{
	wake_some(w, INT32_MAX);
}

void wait_wake_one(struct wait *w)
{
	wake_some(w, 1);
}
