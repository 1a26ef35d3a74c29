/* SPDX-License-Identifier: MIT */
/* spec_test.c - what a device specification may say, and what it says then. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/api_internal.h"

static struct api_config parse(const char *spec)
{
	struct api_config config;

	if (api_config_parse(spec, true, &config))
		fail_msg("\"%s\" is refused", spec ? spec : "(null)");
	return config;
}

static void what_is_not_said_has_a_default(void **state)
{
	static const char *const specs[] = { NULL, "", "model", "model:" };

	(void)state;
	unsetenv("USVM_DEVICE");
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		struct api_config c = parse(specs[i]);

		assert_true(c.is_model);
		assert_int_equal(c.vram_bytes, MIB(256));
		assert_false(c.copy);
		assert_int_equal(c.engine_count, 2);
		assert_int_equal(c.migrate, VM_MIGRATE_AUTO);
		assert_false(c.migrate_always);
		assert_int_equal(c.home_bytes, HUGE_BYTES);
		assert_int_equal(c.notifier_bytes, MIB(512));
		assert_int_equal(c.timeslice_ms, 5);
		assert_false(c.no_thrash_control);
		assert_false(c.no_system_atomics);
		assert_int_equal(c.trace_events, 0);
		assert_false(c.origins);
		assert_false(c.place_on_device);
		assert_false(c.poison);
		assert_false(c.marked);
	}
}

static void each_key_is_kept(void **state)
{
	struct api_config c;

	(void)state;
	assert_int_equal(parse("model:vram=2M").vram_bytes, MIB(2));
	assert_int_equal(parse("model:vram=2048K").vram_bytes, MIB(2));
	assert_int_equal(parse("model:vram=2097152").vram_bytes, MIB(2));
	assert_int_equal(parse("model:vram=1024G").vram_bytes, GIB(1024));
	assert_true(parse("model:mode=copy").copy);
	assert_false(parse("model:mode=copy,mode=move").copy);
	assert_int_equal(parse("model:engines=1").engine_count, 1);
	assert_int_equal(parse("model:engines=16").engine_count, 16);
	assert_int_equal(parse("model:migrate=never").migrate, VM_MIGRATE_NEVER);
	c = parse("model:migrate=always");
	assert_int_equal(c.migrate, VM_MIGRATE_AUTO);
	assert_true(c.migrate_always);
	assert_false(parse("model:migrate=always,migrate=auto").migrate_always);
	assert_int_equal(parse("model:home=4K").home_bytes, PAGE_BYTES);
	assert_int_equal(parse("model:home=64K").home_bytes, KIB(64));
	assert_int_equal(parse("model:home=4K,home=2M").home_bytes, HUGE_BYTES);
	assert_int_equal(parse("model:notifier=2M").notifier_bytes, MIB(2));
	assert_true(parse("model:thrash_control=no").no_thrash_control);
	assert_false(parse("model:thrash_control=yes").no_thrash_control);
	assert_int_equal(parse("model:timeslice=0").timeslice_ms, 0);
	assert_int_equal(parse("model:timeslice=1000").timeslice_ms, 1000);
	assert_true(parse("model:system_atomics=no").no_system_atomics);
	assert_false(parse("model:system_atomics=yes").no_system_atomics);
	assert_int_equal(parse("model:trace=0").trace_events, 0);
	assert_int_equal(parse("model:trace=16777216").trace_events, 1 << 24);
	assert_true(parse("model:origins=yes").origins);
	assert_false(parse("model:origins=yes,origins=no").origins);
	assert_true(parse("model:placement=device").place_on_device);
	assert_false(parse("model:placement=device,placement=auto").place_on_device);
	assert_true(parse("model:poison=yes").poison);
	assert_false(parse("model:poison=yes,poison=no").poison);
	assert_true(parse("model:entries=marked").marked);
	assert_false(parse("model:entries=marked,entries=plain").marked);
	assert_string_equal(parse("model").peers, "model");
	assert_string_equal(parse("model:peers=a").peers, "a");
	assert_string_equal(parse("model:peers=123456789012345").peers, "123456789012345");
	assert_string_equal(parse("model:peers=a,peers=none").peers, "");
	assert_int_equal(api_config_parse(NULL, false, &c), 0);
	assert_string_equal(c.peers, "");
	assert_int_equal(api_config_parse("peers=model", false, &c), 0);
	assert_string_equal(c.peers, "model");
	c = parse("model:engines=3,home=64K,vram=4M");
	assert_int_equal(c.engine_count, 3);
	assert_int_equal(c.home_bytes, KIB(64));
	assert_int_equal(c.vram_bytes, MIB(4));
}

static void what_is_not_a_value_is_an_error(void **state)
{
	static const char *const specs[] = {
		"gpu", "models", "model=", "mode", ":",
		"model:vram", "model:=2M", "model:vram2M", "model:size=2M", "model:vra=2M",
		"model:vram=2M,", "model:,", "model:vram=2M,,home=4K",
		"model:vram=", "model:vram=M", "model:vram=0", "model:vram=1M",
		"model:vram=3000000", "model:vram=1026G", "model:vram=-2M", "model:vram=2T",
		"model:vram=2MM", "model:vram=99999999999999999999",
		"model:vram=17179869184G", "model:vram=17179869185G",
		"model:mode=both", "model:mode=", "model:mode=mov",
		"model:engines=0", "model:engines=17", "model:engines=two", "model:engines=1K",
		"model:migrate=", "model:migrate=maybe", "model:home=", "model:home=8K",
		"model:home=4M", "model:notifier=", "model:notifier=1M", "model:notifier=3M",
		"model:thrash_control=", "model:thrash_control=1",
		"model:timeslice=", "model:timeslice=1001", "model:timeslice=5ms",
		"model:notifier=0", "model:notifier=2048G", "model:system_atomics=maybe",
		"model:trace=", "model:trace=3", "model:trace=33554432", "model:trace=1K",
		"model:origins=", "model:origins=maybe",
		"model:placement=", "model:placement=system", "model:poison=", "model:poison=1",
		"model:entries=", "model:entries=yes",
		"model:peers=", "model:peers=1234567890123456",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		struct api_config config;

		if (api_config_parse(specs[i], true, &config) != -EINVAL)
			fail_msg("\"%s\" is not refused", specs[i]);
	}
}

static void the_environment_is_asked_when_nothing_is_said(void **state)
{
	struct api_config config;

	(void)state;
	setenv("USVM_DEVICE", "model:engines=5", 1);
	assert_int_equal(parse(NULL).engine_count, 5);
	assert_int_equal(parse("model").engine_count, 2);
	setenv("USVM_DEVICE", "model:engines=50", 1);
	assert_int_equal(api_config_parse(NULL, true, &config), -EINVAL);
	setenv("USVM_DEVICE", "", 1);
	assert_int_equal(parse(NULL).engine_count, 2);
	unsetenv("USVM_DEVICE");
}

static void a_device_of_the_callers_has_fewer_keys(void **state)
{
	static const char *const model_only[] = { "vram=2M", "mode=copy", "engines=1",
						  "system_atomics=no", "model",
						  "home=4K,engines=1" };
	struct api_config c;

	(void)state;
	setenv("USVM_DEVICE", "model:home=4K", 1);
	assert_int_equal(api_config_parse(NULL, false, &c), 0);
	assert_int_equal(c.home_bytes, HUGE_BYTES);
	unsetenv("USVM_DEVICE");
	assert_int_equal(api_config_parse("", false, &c), 0);
	assert_false(c.is_model);
	assert_int_equal(api_config_parse("migrate=never,home=4K,notifier=4M,trace=16", false,
					  &c), 0);
	assert_int_equal(c.migrate, VM_MIGRATE_NEVER);
	assert_int_equal(c.home_bytes, PAGE_BYTES);
	assert_int_equal(c.notifier_bytes, MIB(4));
	assert_int_equal(c.trace_events, 16);
	for (size_t i = 0; i < ARRAY_SIZE(model_only); i++)
		assert_int_equal(api_config_parse(model_only[i], false, &c), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_said_has_a_default),
		cmocka_unit_test(each_key_is_kept),
		cmocka_unit_test(what_is_not_a_value_is_an_error),
		cmocka_unit_test(the_environment_is_asked_when_nothing_is_said),
		cmocka_unit_test(a_device_of_the_callers_has_fewer_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
