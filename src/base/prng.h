/* SPDX-License-Identifier: MIT */
/*
 * base/prng.h - a small seeded generator of random numbers (splitmix64).
 *
 * For tests, the simulator and priorities in trees; never for secrets. The
 * same seed gives the same numbers on every machine.
 */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdint.h>

struct prng {
	uint64_t state;
};

static inline void prng_seed(struct prng *p, uint64_t seed)
{
	p->state = seed;
}

static inline uint64_t prng_next(struct prng *p)
{
	uint64_t z = (p->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/** prng_below() - a number in [0, @limit); @limit is not 0 */
static inline uint64_t prng_below(struct prng *p, uint64_t limit)
{
	return prng_next(p) % limit;
}

#endif
