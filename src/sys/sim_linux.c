/* SPDX-License-Identifier: MIT */
/*
 * DOC: the simulator in the place of the real kernel
 *
 * api opens the real kernel by name. Where every layer is linked with the simulated one
 * that name is this one's: the simulator that is open, whose life its user rules.
 */
#include <errno.h>

#include "sys/sim_internal.h"

int sys_linux_open(const char *feature_mask UNUSED, struct sys **sys)
{
	if (!sim_now)
		return -ENOSYS;
	*sys = sim_sys(sim_now);
	return 0;
}

void sys_linux_close(struct sys *sys UNUSED)
{
}
