/* SPDX-License-Identifier: MIT */
/*
 * DOC: What the calls need: a file on a disk, a device that the kernel may not wait for
 */
#include <fcntl.h>

#include "live/support/calls.h"

int call_file(int flags)
{
	const char *folder = getenv("TMPDIR");

	return open(folder ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);
}

static char *features; /* what USVM_FEATURES was, or NULL */

/* USVM_FEATURES is read at the first open. */
void call_open_user_faults(struct live *live, const struct live_param *param)
{
	const char *before = getenv("USVM_FEATURES");
	char now[256], spec[64];

	features = before ? strdup(before) : NULL;
	snprintf(now, sizeof(now), "%s%s-kernel_faults", before ? before : "",
		 before && *before ? "," : "");
	setenv("USVM_FEATURES", now, 1);
	snprintf(spec, sizeof(spec), "%s,migrate=always", param->spec);
	live_open(live, param, spec);
}

void call_close_user_faults(struct live *live)
{
	live_close(live);
	if (features)
		setenv("USVM_FEATURES", features, 1);
	else
		unsetenv("USVM_FEATURES");
	free(features);
	features = NULL;
}
