/* SPDX-License-Identifier: MIT */
/*
 * DOC: why a device cannot be opened
 *
 * usvm_open() has one -EINVAL for three texts: its argument, USVM_DEVICE and
 * USVM_FEATURES. Who reads the message typed one of them, and wants to know which.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <usvm/usvm.h>

#include "command.h"

/* Whether a device that is surely right is refused as well. */
static bool are_features_wrong(void)
{
	struct usvm *gpu;
	int err = usvm_open("model:vram=2M", &gpu);

	if (!err)
		usvm_close(gpu);
	return err == -EINVAL;
}

void open_error_text(const char *spec, int err, char *text, size_t bytes)
{
	const char *features = getenv("USVM_FEATURES");
	const char *device = spec ? spec : getenv("USVM_DEVICE");
	struct rlimit limit;

	if (err == -EINVAL && features && are_features_wrong())
		snprintf(text, bytes,
			 "USVM_FEATURES is '%s'; it is like -move,-guard: see usvm(1)",
			 features);
	else if (err == -EINVAL && device)
		snprintf(text, bytes,
			 "%s is '%s'; it is like model:vram=256M,mode=copy: see usvm(1)",
			 spec ? "the device" : "USVM_DEVICE", device);
	else if (err == -ENOMEM && !getrlimit(RLIMIT_AS, &limit) &&
		 limit.rlim_cur != RLIM_INFINITY)
		snprintf(text, bytes, "%s; address space is limited to %" PRIu64 " MiB",
			 usvm_strerror(err), (uint64_t)limit.rlim_cur >> 20);
	else
		snprintf(text, bytes, "%s", usvm_strerror(err));
}
