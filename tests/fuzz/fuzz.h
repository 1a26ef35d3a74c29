/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what every fuzz target has.
 *
 * A target is one function over bytes. libFuzzer and AFL++ bring a main() of their own;
 * main.c is the one that runs files, under any compiler. A target reads its choices from
 * the front of the bytes; where they end it reads zeros, so that every prefix of an input
 * is an input.
 *
 * What a target finds it tells by FUZZ_CHECK(), which ends the process: that is what
 * both engines take for a crash.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The names that the engines want. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t count, size_t max,
			       unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t count, size_t max);

#define FUZZ_CHECK(condition, ...)                                                \
	do {                                                                      \
		if (!(condition)) {                                               \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__,        \
				#condition);                                      \
			fprintf(stderr, __VA_ARGS__);                             \
			fputc('\n', stderr);                                      \
			abort();                                                  \
		}                                                                 \
	} while (0)

struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

static inline uint64_t fuzz_take(struct fuzz_input *in, size_t bytes)
{
	uint64_t value = 0;
	size_t part = bytes < in->left ? bytes : in->left;

	for (size_t i = 0; i < part; i++)
		value |= (uint64_t)in->at[i] << (8 * i);
	in->at += part;
	in->left -= part;
	return value;
}

static inline uint32_t fuzz_take8(struct fuzz_input *in)
{
	return (uint32_t)fuzz_take(in, 1);
}

#endif
