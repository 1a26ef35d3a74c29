/* SPDX-License-Identifier: MIT */
/*
 * tools/run.h - what the files of `usvm run` share.
 */
#ifndef TOOLS_RUN_H
#define TOOLS_RUN_H

#include <stdbool.h>

#define RUN_CARDS_MAX 8

/** run_tree_make() - fill the folder @root with the files of @cards cards.
 * @has_groups: their queues can be in groups
 * Return: 0 or -errno. */
int run_tree_make(const char *root, unsigned int cards, bool has_groups);

#endif
