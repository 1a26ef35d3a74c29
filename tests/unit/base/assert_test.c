/* SPDX-License-Identifier: MIT */
/* assert_test.c - the last words of a failed assert, and the text they are made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/text.h"
#include "host_posix.h"

static int evaluated_count;

static int fails(void)
{
	evaluated_count++;
	return 0;
}

static void a_failure_tells_place_function_and_expression(void **state)
{
	char text[4096];

	(void)state;
	DIES_WITH(text, assert_fail("a == b", "src/mm/take.c", 120, "take"));
	assert_string_equal(text,
			    "src/mm/take.c:120: take(): assertion failed: a == b\n");
}

static void an_expression_is_evaluated_once(void **state)
{
	char text[4096];

	(void)state;
	evaluated_count = 0;
	DIES_WITH(text, ASSERT(fails()));
	assert_int_equal(evaluated_count, 1);
	assert_non_null(strstr(text, "fails()"));
	DIES_WITH(text, ASSERT(!fails()));
	assert_int_equal(evaluated_count, 2);
	assert_string_equal(text, "");
}

static void a_long_expression_is_cut_and_still_ends_its_line(void **state)
{
	static char expression[8192];
	char text[4096];

	(void)state;
	memset(expression, 'x', sizeof(expression) - 1);
	DIES_WITH(text, assert_fail(expression, "f.c", 1, "f"));
	assert_int_equal(strlen(text), 511);
	assert_int_equal(text[509], 'x');
	assert_int_equal(text[510], '\n');
}

static void numbers_are_written_whole(void **state)
{
	char buffer[64];
	struct text text;

	(void)state;
	text_init(&text, buffer, sizeof(buffer));
	text_number(&text, 0);
	text_string(&text, " ");
	text_number(&text, UINT64_MAX);
	text_string(&text, NULL);
	assert_string_equal(buffer, "0 18446744073709551615?");
	assert_int_equal(text.length_bytes, strlen(buffer));
}

/* Each size of buffer, with a byte behind it that must survive. */
static void text_never_leaves_its_buffer(void **state)
{
	(void)state;
	for (size_t size = 1; size < 12; size++) {
		char buffer[16];
		struct text text;

		memset(buffer, '#', sizeof(buffer));
		text_init(&text, buffer, size);
		text_string(&text, "frame ");
		text_number(&text, 1234567);
		assert_int_equal(strlen(buffer), size - 1);
		assert_memory_equal(buffer, "frame 1234567", size - 1);
		assert_int_equal(buffer[size], '#');
	}
}

static void the_host_changes_only_by_way_of_none(void **state)
{
	static const struct base_host_ops other;
	const struct base_host_ops *host = base_host;
	char text[4096];

	(void)state;
	base_host_install(host);
	assert_ptr_equal(base_host, host);
	DIES_WITH(text, base_host_install(&other));
	assert_non_null(strstr(text, "base_host_install"));
	assert_ptr_equal(base_host, host);

	base_host_install(NULL);
	base_host_install(&other);
	assert_ptr_equal(base_host, &other);
	base_host_install(NULL);
	base_host_install(host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failure_tells_place_function_and_expression),
		cmocka_unit_test(an_expression_is_evaluated_once),
		cmocka_unit_test(a_long_expression_is_cut_and_still_ends_its_line),
		cmocka_unit_test(numbers_are_written_whole),
		cmocka_unit_test(text_never_leaves_its_buffer),
		cmocka_unit_test(the_host_changes_only_by_way_of_none),
	};

	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
