/* SPDX-License-Identifier: MIT */
/*
 * DOC: host
 *
 * The pointer changes only where no other thread of the library exists: before
 * the first one is made, or in a test that has joined all of its own. That is
 * why its readers use plain loads. A repeated call with the same table writes
 * nothing, so it may come at any time.
 */
#include "base/host.h"
#include "base/assert.h"

const struct base_host_ops *base_host;

void base_host_install(const struct base_host_ops *ops)
{
	const struct base_host_ops *old = base_host;

	if (old == ops)
		return;
	/* Threads asleep in one table would never be woken by another. */
	ASSERT(!old || !ops);
	base_host = ops;
}
