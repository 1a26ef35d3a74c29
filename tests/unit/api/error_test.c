/* SPDX-License-Identifier: MIT */
/* error_test.c - errors in words. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "usvm/usvm.h"

static const int documented[] = {
	EAGAIN, EACCES, EBADF, EBUSY, ECANCELED, ECHILD, EFAULT, EINVAL, EIO, EMFILE, ENODEV,
	ENOENT, ENOMEM, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, EPROTO, ETIMEDOUT,
};

static void each_documented_error_has_words_of_its_own(void **state)
{
	const char *unknown = usvm_strerror(99999);

	(void)state;
	assert_string_equal(usvm_strerror(0), "success");
	for (size_t i = 0; i < ARRAY_SIZE(documented); i++) {
		assert_string_not_equal(usvm_strerror(documented[i]), unknown);
		assert_string_not_equal(usvm_strerror(documented[i]), usvm_strerror(0));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(usvm_strerror(documented[i]),
						usvm_strerror(documented[j]));
	}
}

static void an_error_may_have_either_sign(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(documented); i++)
		assert_ptr_equal(usvm_strerror(-documented[i]), usvm_strerror(documented[i]));
}

static void any_number_has_words(void **state)
{
	static const int unknown[] = { 4095, -4095, -4096, -4097, INT32_MIN, INT32_MAX, EXDEV };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_string_equal(usvm_strerror(unknown[i]),
				    "an error that usvm does not know");
}

static void the_version_is_the_projects(void **state)
{
	(void)state;
	assert_string_equal(usvm_version(), USVM_VERSION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_documented_error_has_words_of_its_own),
		cmocka_unit_test(an_error_may_have_either_sign),
		cmocka_unit_test(any_number_has_words),
		cmocka_unit_test(the_version_is_the_projects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
