/* SPDX-License-Identifier: MIT */
/*
 * DOC: the usvm command
 *
 * usvm COMMAND [ARGUMENT...] looks the command up and hands the rest over. What
 * is not a command or an option ends with a message on stderr and status 2; no
 * command guesses what was meant.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <usvm/usvm.h>

#include "command.h"

static const struct command *const commands[] = {
	&chaos_command,
	&demo_command,
	&doctor_command,
	&oracle_command,
	&run_command,
	&sim_command,
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

int command_usage_error(const struct command *command, const char *format, ...)
{
	const char *space = command ? " " : "";
	const char *name = command ? command->name : "";
	va_list args;

	fprintf(stderr, "usvm%s%s: ", space, name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nTry: usvm%s%s --help\n", space, name);
	return EXIT_USAGE;
}

int command_bad_option(const struct command *command, char **argv)
{
	const char *word = argv[optind - 1];

	/* In a cluster of short options optind still stands before the word. */
	if (optopt && strncmp(word, "--", 2) != 0)
		return command_usage_error(command, "bad option '-%c'", optopt);
	return command_usage_error(command, "bad option '%s'", word);
}

int command_flush(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "usvm: cannot write to the standard output: %s\n",
		strerror(errno));
	return EXIT_WRONG;
}

int command_help(const struct command *command)
{
	fputs(command->usage, stdout);
	return command_flush(0);
}

int command_beside(const char *name, char *path, size_t bytes)
{
	ssize_t length = readlink("/proc/self/exe", path, bytes - 1);
	char *slash;

	if (length <= 0)
		return -1;
	path[length] = 0;
	slash = strrchr(path, '/');
	if (!slash || (size_t)(slash + 1 - path) + strlen(name) >= bytes)
		return -1;
	memcpy(slash + 1, name, strlen(name) + 1);
	return 0;
}

int command_vram_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMG";
	const uint64_t most = 1ull << 40;
	size_t digits = strspn(text, "0123456789");
	const char *unit = text[digits] ? strchr(units, text[digits]) : NULL;
	unsigned int shift = unit ? 10 * (unsigned int)(unit - units + 1) : 0;

	if (digits == 0 || digits > 13 || (text[digits] && (!unit || text[digits + 1])))
		return -1;
	*bytes = strtoull(text, NULL, 10);
	if (*bytes > most >> shift)
		return -1;
	*bytes <<= shift;
	return !*bytes || *bytes % (2u << 20) ? -1 : 0;
}

int command_check_vram(const struct command *command, const char *text)
{
	uint64_t bytes;

	if (!command_vram_size(text, &bytes))
		return 0;
	return command_usage_error(command, "--vram: '%s' is not a multiple of 2M up to 1024G",
				   text);
}

static int print_help(void)
{
	puts("Usage: usvm COMMAND [ARGUMENT...]\n"
	     "\n"
	     "GPU shared virtual memory in an ordinary process: any pointer of the\n"
	     "program is valid on the GPU, and pages move to where they are touched.\n"
	     "\n"
	     "Commands:");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	puts("  help       Explain a command: usvm help COMMAND\n"
	     "\n"
	     "Options:\n"
	     "  --help     Print this text\n"
	     "  --version  Print the version\n"
	     "\n"
	     "USVM_DEVICE and USVM_FEATURES change the device: see usvm(1).\n"
	     "Exit status: 0; 1 something went wrong; 2 bad usage; see usvm help doctor.");
	return command_flush(0);
}

static int run_help(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2)
		return print_help();
	if (argc > 2)
		return command_usage_error(NULL, "help: one command at a time");
	command = command_find(argv[1]);
	if (!command)
		return command_usage_error(NULL, "help: there is no command '%s'",
					   argv[1]);
	return command_help(command);
}

int main(int argc, char **argv)
{
	const struct command *command;
	bool is_help;

	if (argc < 2)
		return command_usage_error(NULL, "a command is wanted");

	is_help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
	if (is_help || strcmp(argv[1], "--version") == 0) {
		if (argc > 2)
			return command_usage_error(NULL, "%s takes no argument", argv[1]);
		if (is_help)
			return print_help();
		printf("usvm %s\n", usvm_version());
		return command_flush(0);
	}
	if (strcmp(argv[1], "help") == 0)
		return run_help(argc - 1, argv + 1);
	if (argv[1][0] == '-')
		return command_usage_error(NULL, "there is no option '%s'", argv[1]);

	command = command_find(argv[1]);
	if (!command)
		return command_usage_error(NULL, "there is no command '%s'", argv[1]);
	return command->run(argc - 1, argv + 1);
}
