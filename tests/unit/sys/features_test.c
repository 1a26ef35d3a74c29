/* SPDX-License-Identifier: MIT */
/* features_test.c - lists of features that are taken away. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sys/features.h"
#include "sys/sim.h"

static uint32_t parse(const char *text)
{
	uint32_t masked = 0;

	if (sys_features_parse(text, &masked))
		fail_msg("\"%s\" is refused", text ? text : "(null)");
	return masked;
}

static void each_feature_can_be_taken_away_by_its_name(void **state)
{
	uint32_t all = 0;

	(void)state;
	for (uint32_t bit = 1; bit & SIM_ALL_FEATURES; bit <<= 1) {
		char text[32];

		assert_non_null(sys_feature_name(bit));
		snprintf(text, sizeof(text), "-%s", sys_feature_name(bit));
		if (bit == SYS_FEATURE_UFFD)
			assert_true(parse(text) & bit);
		else
			assert_int_equal(parse(text), bit);
		all |= bit;
	}
	assert_int_equal(all, SIM_ALL_FEATURES);
	assert_null(sys_feature_name(SIM_ALL_FEATURES + 1));
	assert_null(sys_feature_name(0));
}

static void a_list_takes_all_of_it_away(void **state)
{
	(void)state;
	assert_int_equal(parse(NULL), 0);
	assert_int_equal(parse(""), 0);
	assert_int_equal(parse("-move,-guard,-move"), SYS_FEATURE_MOVE | SYS_FEATURE_GUARD);
}

static void what_needs_userfaultfd_goes_with_it(void **state)
{
	const uint32_t stays = SYS_FEATURE_PROCMAP_QUERY | SYS_FEATURE_PAGEMAP_SCAN |
			       SYS_FEATURE_GUARD | SYS_FEATURE_MEMBARRIER;

	(void)state;
	assert_int_equal(parse("-uffd"), SIM_ALL_FEATURES & ~stays);
}

static void what_is_not_a_feature_is_refused(void **state)
{
	static const char *const texts[] = { "move", "+move", "-", "-mov", "-moves", "-move,",
					     ",-move", "-move,,-guard", "-move -guard",
					     "-move,guard", "-MOVE", "," };
	uint32_t masked = 77;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (sys_features_parse(texts[i], &masked) != -EINVAL)
			fail_msg("\"%s\" is not refused", texts[i]);
	}
	assert_int_equal(masked, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_feature_can_be_taken_away_by_its_name),
		cmocka_unit_test(a_list_takes_all_of_it_away),
		cmocka_unit_test(what_needs_userfaultfd_goes_with_it),
		cmocka_unit_test(what_is_not_a_feature_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
