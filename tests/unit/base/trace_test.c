/* SPDX-License-Identifier: MIT */
/* trace_test.c - the ring tears no event, and loses none that it does not count. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/lock.h"
#include "base/trace.h"
#include "host_posix.h"

enum { WRITER_COUNT = 3, WRITE_COUNT = 100000, READ_MAX = 37 };

/* event_make() - an event whose fields all follow from two numbers */
static struct trace_event event_make(uint32_t thread, uint64_t n)
{
	return (struct trace_event){
		.time_ns = n,
		.duration_ns = ~n,
		.addr = n * 3 + thread,
		.bytes = n * 5 + thread,
		.arg = n * 7 + thread,
		.type = (uint32_t)(n % TRACE_TYPE_COUNT),
		.thread = thread,
	};
}

static bool event_is_whole(const struct trace_event *event)
{
	struct trace_event expected = event_make(event->thread, event->time_ns);

	return !memcmp(event, &expected, sizeof(expected));
}

static void events_come_out_in_order_and_whole(void **state)
{
	struct trace_event events[8];
	struct trace_ring *ring;
	uint64_t written = 0;
	uint64_t seen = 0;

	(void)state;
	assert_int_equal(trace_ring_create(8, &ring), 0);
	assert_int_equal(trace_ring_read(ring, events, 8), 0);
	/* Fill levels of 1 to 8, over many laps. */
	for (int round = 0; round < 1000; round++) {
		size_t count = 1 + (size_t)round % 8;

		for (size_t i = 0; i < count; i++) {
			struct trace_event event = event_make(1, written++);

			trace_ring_write(ring, &event);
		}
		assert_int_equal(trace_ring_read(ring, events, 8), count);
		for (size_t i = 0; i < count; i++) {
			assert_true(event_is_whole(&events[i]));
			assert_int_equal(events[i].time_ns, seen++);
		}
	}
	assert_int_equal(trace_ring_dropped(ring), 0);
	trace_ring_destroy(ring);
}

static void a_full_ring_drops_the_newest_and_counts(void **state)
{
	struct trace_event events[8];
	struct trace_ring *ring;

	(void)state;
	for (size_t size = 1; size <= 8; size *= 2) {
		assert_int_equal(trace_ring_create(size, &ring), 0);
		for (uint64_t n = 0; n < 20; n++) {
			struct trace_event event = event_make(1, n);

			trace_ring_write(ring, &event);
		}
		assert_int_equal(trace_ring_dropped(ring), 20 - size);
		assert_int_equal(trace_ring_read(ring, events, 8), size);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(events[i].time_ns, i);
		assert_int_equal(trace_ring_read(ring, events, 8), 0);

		/* And it goes on. */
		trace_ring_write(ring, &events[0]);
		assert_int_equal(trace_ring_read(ring, events, 8), 1);
		trace_ring_destroy(ring);
	}
}

static void a_reader_takes_no_more_than_it_asks_for(void **state)
{
	struct trace_event events[4];
	struct trace_ring *ring;

	(void)state;
	assert_int_equal(trace_ring_create(4, &ring), 0);
	for (uint64_t n = 0; n < 4; n++) {
		struct trace_event event = event_make(1, n);

		trace_ring_write(ring, &event);
	}
	assert_int_equal(trace_ring_read(ring, events, 0), 0);
	assert_int_equal(trace_ring_read(ring, events, 3), 3);
	assert_int_equal(trace_ring_read(ring, events, 3), 1);
	assert_int_equal(events[0].time_ns, 3);
	trace_ring_destroy(ring);
}

struct writer {
	struct trace_ring *ring;
	uint32_t thread;
	uint32_t *running_count; /* atomic */
};

static void *write_all(void *argument)
{
	struct writer *writer = argument;

	host_posix_become(true, false);
	for (uint64_t n = 0; n < WRITE_COUNT; n++) {
		struct trace_event event = event_make(writer->thread, n);

		trace_ring_write(writer->ring, &event);
		if (n % 1024 == 0)
			base_host->cpu_yield();
	}
	ATOMIC_SUB(writer->running_count, 1);
	return NULL;
}

/* read_all() - until the writers have ended and the ring is empty. Return: the count. */
static uint64_t read_all(struct trace_ring *ring, const uint32_t *running_count)
{
	int64_t last[WRITER_COUNT] = { -1, -1, -1 };
	struct trace_event events[READ_MAX];
	uint64_t total = 0;
	bool ended;
	size_t count;

	do {
		ended = ATOMIC_LOAD(running_count) == 0;
		count = trace_ring_read(ring, events, READ_MAX);
		for (size_t i = 0; i < count; i++) {
			assert_true(events[i].thread < WRITER_COUNT);
			assert_true(event_is_whole(&events[i]));
			assert_true((int64_t)events[i].time_ns >
				    last[events[i].thread]);
			last[events[i].thread] = (int64_t)events[i].time_ns;
		}
		total += count;
		if (!count)
			base_host->cpu_yield();
	} while (!ended || count > 0);
	return total;
}

static void run_writers(size_t event_count)
{
	uint32_t running_count = WRITER_COUNT;
	struct writer writers[WRITER_COUNT];
	pthread_t threads[WRITER_COUNT];
	struct trace_ring *ring;
	uint64_t total;

	assert_int_equal(trace_ring_create(event_count, &ring), 0);
	for (uint32_t i = 0; i < WRITER_COUNT; i++) {
		writers[i] = (struct writer){ ring, i, &running_count };
		assert_int_equal(pthread_create(&threads[i], NULL, write_all,
						&writers[i]), 0);
	}
	total = read_all(ring, &running_count);
	for (int i = 0; i < WRITER_COUNT; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(total + trace_ring_dropped(ring),
			 WRITER_COUNT * WRITE_COUNT);
	trace_ring_destroy(ring);
}

static void many_writers_lose_only_what_is_counted(void **state)
{
	(void)state;
	run_writers(1);
	run_writers(4);
	run_writers(256);
}

static void a_ring_large_enough_drops_nothing(void **state)
{
	uint32_t running_count = 1;
	struct trace_ring *ring;
	struct writer writer;

	(void)state;
	assert_int_equal(trace_ring_create(1 << 17, &ring), 0);
	writer = (struct writer){ ring, 0, &running_count };
	write_all(&writer);
	assert_int_equal(trace_ring_dropped(ring), 0);
	assert_int_equal(read_all(ring, &running_count), WRITE_COUNT);
	trace_ring_destroy(ring);
}

static void creation_fails_cleanly_and_destruction_gives_all_back(void **state)
{
	uint64_t before = host_posix_page_bytes();
	struct trace_ring *ring = NULL;

	(void)state;
	host_posix_fail_pages(1);
	assert_int_equal(trace_ring_create(16, &ring), -ENOMEM);
	assert_int_equal(trace_ring_create((size_t)1 << 62, &ring), -ENOMEM);
	assert_null(ring);
	trace_ring_destroy(ring);
	assert_int_equal(trace_ring_create(16, &ring), 0);
	trace_ring_destroy(ring);
	assert_int_equal(host_posix_page_bytes(), before);
}

static void a_size_that_is_no_power_of_two_is_caught(void **state)
{
	struct trace_ring *ring;
	char text[4096];

	(void)state;
	DIES_WITH(text, (void)!trace_ring_create(0, &ring));
	assert_non_null(strstr(text, "event_count > 0"));
	DIES_WITH(text, (void)!trace_ring_create(24, &ring));
	assert_non_null(strstr(text, "event_count - 1"));
}

static void each_type_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (uint32_t a = 0; a < TRACE_TYPE_COUNT; a++) {
		for (uint32_t b = 0; b < a; b++)
			assert_string_not_equal(trace_type_name(a),
						trace_type_name(b));
	}
	assert_string_equal(trace_type_name(TRACE_GPU_FAULT), "gpu_fault");
	assert_string_equal(trace_type_name(TRACE_TYPE_COUNT), "unknown");
	assert_string_equal(trace_type_name(UINT32_MAX), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_come_out_in_order_and_whole),
		cmocka_unit_test(a_full_ring_drops_the_newest_and_counts),
		cmocka_unit_test(a_reader_takes_no_more_than_it_asks_for),
		cmocka_unit_test(many_writers_lose_only_what_is_counted),
		cmocka_unit_test(a_ring_large_enough_drops_nothing),
		cmocka_unit_test(creation_fails_cleanly_and_destruction_gives_all_back),
		cmocka_unit_test(a_size_that_is_no_power_of_two_is_caught),
		cmocka_unit_test(each_type_has_a_name_of_its_own),
	};

	host_posix_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
