/* SPDX-License-Identifier: MIT */
/*
 * tools/command.h - what the subcommands of `usvm` share.
 *
 * A subcommand is one .c with a `struct command`. Its run() gets the arguments
 * after `usvm`, so argv[0] is the subcommand's name, and returns the exit status.
 */
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

#include <stddef.h>
#include <stdint.h>

enum {
	EXIT_WRONG = 1, /* it ran, and the answer is no */
	EXIT_USAGE = 2, /* it was asked for something that does not exist */
};

struct command {
	const char *name;
	const char *summary; /* one line, no full stop */
	const char *usage;   /* whole help text, from "Usage: " on */
	int (*run)(int argc, char **argv);
};

extern const struct command chaos_command;
extern const struct command demo_command;
extern const struct command doctor_command;
extern const struct command oracle_command;
extern const struct command run_command;
extern const struct command sim_command;

/**
 * command_usage_error() - say what is wrong with the command line, and where help is
 * @command: or NULL: `usvm` itself
 * Return: EXIT_USAGE.
 */
__attribute__((format(printf, 2, 3))) int
command_usage_error(const struct command *command, const char *format, ...);

/** command_bad_option() - after getopt_long() said '?': name the option.
 * Return: EXIT_USAGE. */
int command_bad_option(const struct command *command, char **argv);

/** command_help() - print the help text. Return: 0, or EXIT_WRONG: it was not written. */
int command_help(const struct command *command);

/** command_flush() - the last act of a command. Return: @status, or EXIT_WRONG where what
 * was printed did not reach its reader. */
int command_flush(int status);

/**
 * command_beside() - the path of a program of the build that this command lies in
 * @name: below the build's folder: BUILD/usvm, BUILD/@name; it need not be there
 * Return: 0; -1: it cannot be told.
 */
int command_beside(const char *name, char *path, size_t bytes);

/**
 * command_vram_size() - what usvm_open() takes as device memory: a number with K, M or G
 * behind it or nothing; a multiple of 2 MiB, at most 1 TiB
 * Return: 0; -1: @text is none.
 */
int command_vram_size(const char *text, uint64_t *bytes);

/** command_check_vram() - is @text, of --vram, such a size?
 * Return: 0, or EXIT_USAGE: a message was printed. */
int command_check_vram(const struct command *command, const char *text);

/**
 * open_error_text() - why usvm_open(@spec) gave @err, with the text that is to blame
 * @err: -errno
 */
void open_error_text(const char *spec, int err, char *text, size_t bytes);

struct usvm;

/**
 * trace_write_file() - write what a device's trace has as a timeline for Perfetto
 * @path: the file to write; what it held is lost
 * @event_count: out, or NULL: how many events were written
 * Return: 0 or -errno; a message was printed.
 */
int trace_write_file(struct usvm *device, const char *path, uint64_t *event_count);

#endif
