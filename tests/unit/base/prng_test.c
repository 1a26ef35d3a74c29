/* SPDX-License-Identifier: MIT */
/* prng_test.c - the numbers are splitmix64's, for ever: seeds in old logs must replay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/prng.h"

static void a_seed_gives_the_published_numbers(void **state)
{
	static const uint64_t expected[] = {
		6457827717110365317u,
		3203168211198807973u,
		9817491932198370423u,
		4593380528125082431u,
		16408922859458223821u,
	};
	struct prng p;

	(void)state;
	prng_seed(&p, 1234567);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_true(prng_next(&p) == expected[i]);
}

static void numbers_stay_below_the_limit_and_reach_all_below_it(void **state)
{
	struct prng p;

	(void)state;
	prng_seed(&p, 1);
	for (uint64_t limit = 1; limit <= 64; limit++) {
		uint64_t seen = 0;

		for (int i = 0; i < 4096; i++) {
			uint64_t number = prng_below(&p, limit);

			assert_true(number < limit);
			seen |= (uint64_t)1 << number;
		}
		assert_true(seen == UINT64_MAX >> (64 - limit));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_seed_gives_the_published_numbers),
		cmocka_unit_test(numbers_stay_below_the_limit_and_reach_all_below_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
