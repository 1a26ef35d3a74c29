/* SPDX-License-Identifier: MIT */
/* stats_test.c - counters and traces of a device. */
#include "api_fixture.h"

#define STATS_MAX 256
#define PAGES 16 /* 64 KiB: they go and come in one */

static void read_counters(void *arg)
{
	struct opened o = open_all(NULL);
	uint64_t addr = filled_pages(PAGES);
	struct usvm_stat stats[STATS_MAX];
	struct usvm_stat few[3] = { { 0 } };
	size_t count;
	size_t again;

	(void)arg;
	CHECK(usvm_stats(o.device, stats, STATS_MAX, NULL) == -EINVAL);
	CHECK(usvm_stats(o.device, NULL, 1, &count) == -EINVAL);
	CHECK(!usvm_stats(o.device, NULL, 0, &count) && count > 20 && count <= STATS_MAX);
	CHECK(!usvm_stats(o.device, few, 2, &again) && again == count);
	CHECK(few[1].name && !few[2].name); /* no more than fit */
	CHECK(!usvm_prefetch(o.vm, pointer(addr), PAGES * PAGE_BYTES, USVM_PLACE_DEVICE));
	CHECK(!usvm_stats(o.device, stats, STATS_MAX, &again) && again == count);
	for (size_t i = 0; i < count; i++) {
		CHECK(stats[i].name && stats[i].name[0]);
		for (size_t j = 0; j < i; j++)
			CHECK(strcmp(stats[i].name, stats[j].name) != 0);
		CHECK(usvm_stat(o.device, stats[i].name) == stats[i].value);
	}
	CHECK(usvm_stat(o.device, "usvm_pages_to_device") == PAGES);
	CHECK(usvm_stat(o.device, "mm_device_pages") == PAGES);
	CHECK(usvm_stat(o.device, "mm_taken_pages") == PAGES);
	CHECK(usvm_stat(o.device, "vram_used_bytes") >= PAGES * PAGE_BYTES);
	CHECK(usvm_stat(o.device, "vram_allocated_bytes") +
		      usvm_stat(o.device, "vram_rounding_bytes") ==
	      usvm_stat(o.device, "vram_used_bytes"));
	CHECK(usvm_stat(o.device, "vram_free_bytes") +
		      usvm_stat(o.device, "vram_used_bytes") ==
	      usvm_stat(o.device, "vram_size_bytes"));
	CHECK(!usvm_stat(o.device, "vram_evictions"));
	CHECK(load(addr) == word_of(0));
	CHECK(!usvm_stat(o.device, "mm_device_pages"));
	CHECK(usvm_stat(o.device, "mm_cpu_faults") == 1);
	CHECK(usvm_stat(o.device, "vram_used_bytes_max") >= PAGES * PAGE_BYTES);
	CHECK(!usvm_stat(o.device, "mm_device_page") && !usvm_stat(o.device, NULL));
	close_all(&o);
}

static void counters_are_found_by_number_and_by_name(void **state)
{
	(void)state;
	run_seed(1, read_counters, NULL);
}

static void read_trace(void *arg)
{
	struct opened o = open_all("model:trace=64");
	uint64_t addr = filled_pages(PAGES);
	struct usvm_trace_event events[64];
	bool moved = false;
	size_t count;
	uint64_t dropped = 1;

	(void)arg;
	CHECK(usvm_trace_read(o.device, events, 64, NULL, NULL) == -EINVAL);
	CHECK(usvm_trace_read(o.device, NULL, 64, &count, NULL) == -EINVAL);
	CHECK(!usvm_prefetch(o.vm, pointer(addr), PAGES * PAGE_BYTES, USVM_PLACE_DEVICE));
	CHECK(!usvm_trace_read(o.device, events, 1, &count, NULL) && count == 1);
	for (;;) {
		for (size_t i = 0; i < count; i++) {
			CHECK(events[i].name && events[i].time_ns);
			moved |= !strcmp(events[i].name, "migrate_to_device") &&
				 events[i].addr == addr &&
				 events[i].bytes == PAGES * PAGE_BYTES;
		}
		if (!count)
			break;
		CHECK(!usvm_trace_read(o.device, events, 64, &count, &dropped));
	}
	CHECK(moved && !dropped);
	close_all(&o);
}

static void a_trace_has_what_migrated(void **state)
{
	(void)state;
	run_seed(1, read_trace, NULL);
}

static void lose_events(void *arg)
{
	struct opened o = open_all("model:trace=4");
	uint64_t addr = filled_pages(PAGES);
	struct usvm_trace_event events[64];
	uint64_t dropped = 0;
	size_t count;

	(void)arg;
	for (int i = 0; i < 4; i++) {
		CHECK(!usvm_prefetch(o.vm, pointer(addr), PAGE_BYTES, USVM_PLACE_DEVICE));
		CHECK(!usvm_prefetch(o.vm, pointer(addr), PAGE_BYTES, USVM_PLACE_SYSTEM));
	}
	CHECK(!usvm_trace_read(o.device, events, 64, &count, &dropped));
	CHECK(count == 4 && dropped);
	close_all(&o);
}

static void a_full_trace_counts_what_it_lost(void **state)
{
	(void)state;
	run_seed(1, lose_events, NULL);
}

static void read_none(void *arg)
{
	struct opened o = open_all(NULL);
	struct usvm_trace_event event;
	size_t count;

	(void)arg;
	CHECK(usvm_trace_read(o.device, &event, 1, &count, NULL) == -ENOENT);
	close_all(&o);
}

static void without_a_trace_there_is_none(void **state)
{
	(void)state;
	run_seed(1, read_none, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_are_found_by_number_and_by_name),
		cmocka_unit_test(a_trace_has_what_migrated),
		cmocka_unit_test(a_full_trace_counts_what_it_lost),
		cmocka_unit_test(without_a_trace_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
