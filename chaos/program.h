/* SPDX-License-Identifier: MIT */
/*
 * chaos/program.h - can an agent be loaded into this program?
 */
#ifndef CHAOS_PROGRAM_H
#define CHAOS_PROGRAM_H

#include <stddef.h>

/**
 * program_find() - where execvp() would find @name
 * @path: out: @bytes of room
 * Return: 0, -ENOENT, -EACCES, -ENAMETOOLONG.
 */
int program_find(const char *name, char *path, size_t bytes);

/**
 * program_refuses() - why no agent could be loaded into the program at @path
 * @why: out: @bytes of room
 *
 * A script is judged by its interpreter.
 * Return: 0 it could; 1 it could not, see @why; -errno the file cannot be read.
 */
int program_refuses(const char *path, char *why, size_t bytes);

#endif
