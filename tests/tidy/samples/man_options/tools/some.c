/* SPDX-License-Identifier: MIT */
static const char help[] =
	"Usage: usvm some [OPTION...]\n"
	"\n"
	"  --both N     without --quiet\n"
	"  --help-only  it is\n";
static const char other[] = "--another is no word of a help";

static void print(void)
{
	puts("Usage: usvm COMMAND");
	puts("  --help");
}
