/* SPDX-License-Identifier: MIT */
/*
 * seed.h - the seed of a random test: `--seed N`, or one that never changes.
 *
 * It is printed in either case, so that every log tells how to replay the run.
 */
#ifndef TESTS_UNIT_BASE_SEED_H
#define TESTS_UNIT_BASE_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline uint64_t seed_from(int argc, char **argv)
{
	uint64_t seed = 1;

	for (int i = 1; i + 1 < argc; i++) {
		if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
	}
	printf("seed %llu\n", (unsigned long long)seed);
	return seed;
}

#endif
