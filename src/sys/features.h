/* SPDX-License-Identifier: MIT */
/*
 * sys/features.h - names of kernel features, and lists of names.
 */
#ifndef SYS_FEATURES_H
#define SYS_FEATURES_H

#include <stdint.h>

#include "base/compiler.h"

/**
 * sys_features_parse() - read a list of features to take away
 * @text: "-move,-wp_async" and so on; empty or NULL: nothing
 * @masked: out: enum sys_feature
 *
 * "-uffd" takes everything that userfaultfd has with it.
 *
 * Context: any.
 * Return: 0, or -EINVAL: @text names what there is not, or a name has no minus.
 */
MUST_CHECK int sys_features_parse(const char *text, uint32_t *masked);

#endif
