/* SPDX-License-Identifier: MIT */
/*
 * DOC: assert
 *
 * The text is put together on the stack and leaves by base_host->die(): the
 * thread that fails may be the monitor, hold any lock, or have found the heap
 * in pieces.
 */
#include "base/assert.h"
#include "base/host.h"
#include "base/text.h"

void assert_fail(const char *expression, const char *file, int line,
		 const char *function)
{
	char buffer[512];
	struct text text;

	/* Before the host there is nobody to tell; the trap shows the place. */
	if (!base_host)
		__builtin_trap();

	/* One byte is kept back, so that a cut text still ends its line. */
	text_init(&text, buffer, sizeof(buffer) - 1);
	text_string(&text, file);
	text_string(&text, ":");
	text_number(&text, (uint64_t)line);
	text_string(&text, ": ");
	text_string(&text, function);
	text_string(&text, "(): assertion failed: ");
	text_string(&text, expression);
	text.size_bytes = sizeof(buffer);
	text_string(&text, "\n");
	base_host->die(buffer);
}
