/* SPDX-License-Identifier: MIT */
/*
 * DOC: Nothing changed
 *
 * Looking must not change what is looked at: it touches no page of the area, and the
 * figures are compared byte by byte.
 */
#include "live/support/unchanged.h"

static struct sight look(const struct scene *scene)
{
	struct live *live = scene->live;
	struct sight s = { 0 };

	live_stat(live, ""); /* waits for the tables */
	assert_int_equal(usvm_device_info(live->gpu, &s.info), 0);
	assert_int_equal(usvm_queue_status(live->queue, &s.status), 0);
	assert_int_equal(usvm_stats(live->gpu, s.stats, STATS_MAX, &s.stat_count), 0);
	assert_in_range(s.stat_count, 1, STATS_MAX);
	assert_int_equal(usvm_faults(live->vm, NULL, 0, &s.fault_count), 0);
	assert_int_equal(usvm_query_span(live->vm, scene->at, scene->bytes, s.pages), 0);
	s.present = live_present(scene->at, scene->bytes);
	return s;
}

static void assert_same(const struct sight *now, const struct sight *before, const char *what)
{
	for (size_t i = 0; i < before->stat_count; i++) {
		if (now->stats[i].value != before->stats[i].value)
			fail_msg("%s: %s was %lu and is %lu", what, before->stats[i].name,
				 before->stats[i].value, now->stats[i].value);
	}
	if (memcmp(now, before, sizeof(*now)) != 0)
		fail_msg("%s: something changed", what);
}

struct scene set_scene(struct live *live)
{
	struct scene s = { .live = live, .bytes = live_bytes(live) };

	s.at = live_on_device(live, s.bytes, 1);
	look_again(&s);
	return s;
}

void look_again(struct scene *scene)
{
	scene->before = look(scene);
}

void assert_refused(const struct scene *scene, const char *what, int err, int expected)
{
	struct sight now;

	if (err != expected)
		fail_msg("%s: %d (%s), not %d (%s)", what, err, usvm_strerror(err), expected,
			 usvm_strerror(expected));
	now = look(scene);
	assert_same(&now, &scene->before, what);
}

void clear_scene(struct scene *scene)
{
	live_assert_state(scene->live, scene->at, scene->bytes, LIVE_DEVICE);
	gpu_assert_filled(scene->live, scene->at, scene->bytes, 1, 0);
	live_assert_filled(scene->at, scene->bytes, 1, 0);
}
