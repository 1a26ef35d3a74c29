/* SPDX-License-Identifier: MIT */
/*
 * tools/program.h - can a library be preloaded into this program?
 */
#ifndef TOOLS_PROGRAM_H
#define TOOLS_PROGRAM_H

#include <stddef.h>

/**
 * program_find() - where execvp() would find @name
 * @path: out: @bytes of room
 * Return: 0, -ENOENT, -EACCES, -ENAMETOOLONG.
 */
int program_find(const char *name, char *path, size_t bytes);

/**
 * program_refuses() - why no library could be preloaded into the program at @path
 * @why: out: @bytes of room
 *
 * A script is judged by its interpreter.
 * Return: 0 it could; 1 it could not, see @why; -errno the file cannot be read.
 */
int program_refuses(const char *path, char *why, size_t bytes);

#endif
