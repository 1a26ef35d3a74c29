/* SPDX-License-Identifier: MIT */
/*
 * DOC: a trace as a timeline
 *
 * The Trace Event Format that Chrome's tracing and Perfetto open: an object with
 * "traceEvents", an array. A step is a complete event (ph X) with its start and
 * length in microseconds; a name for the process and for each thread is metadata
 * (ph M). Times start at the first step: the clock's own zero is the boot of the
 * machine, and a viewer would show hours of nothing.
 *
 * The events are taken in pieces into memory of this program, after the work:
 * the ring of the library keeps as many as were asked for at open.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <usvm/usvm.h>

#include "command.h"

#define PIECE_EVENTS 4096

struct trace {
	struct usvm_trace_event *events;
	size_t count;
	size_t room;
	uint64_t dropped;
};

static int trace_grow(struct trace *trace)
{
	struct usvm_trace_event *events;
	size_t room = trace->room + PIECE_EVENTS;

	events = realloc(trace->events, room * sizeof(*events));
	if (!events)
		return -ENOMEM;
	trace->events = events;
	trace->room = room;
	return 0;
}

static int trace_take(struct usvm *device, struct trace *trace)
{
	size_t got;
	int err;

	do {
		err = trace_grow(trace);
		if (err)
			return err;
		err = usvm_trace_read(device, trace->events + trace->count,
				      trace->room - trace->count, &got, &trace->dropped);
		if (err)
			return err;
		trace->count += got;
	} while (got != 0);
	return 0;
}

static uint64_t event_start_ns(const struct usvm_trace_event *event)
{
	return event->time_ns - event->duration_ns;
}

/* By start; of those that start together, the longer one has the other inside. */
static int by_start(const void *a, const void *b)
{
	const struct usvm_trace_event *x = a, *y = b;
	uint64_t x_ns = event_start_ns(x), y_ns = event_start_ns(y);

	if (x_ns != y_ns)
		return x_ns < y_ns ? -1 : 1;
	return (x->duration_ns < y->duration_ns) - (x->duration_ns > y->duration_ns);
}

/* Writes one object, which it consumes. Return: 0 or -ENOMEM or -EIO. */
static int put_object(FILE *file, bool *first, json_t *object)
{
	int err = 0;

	if (!object)
		return -ENOMEM;
	fputs(*first ? "\n" : ",\n", file);
	*first = false;
	if (json_dumpf(object, file, JSON_COMPACT | JSON_REAL_PRECISION(15)))
		err = -EIO;
	json_decref(object);
	return err;
}

static int put_name(FILE *file, bool *first, const char *kind, uint32_t thread,
		    const char *name)
{
	return put_object(file, first,
			  json_pack("{s:s, s:s, s:i, s:I, s:{s:s}}", "name", kind, "ph",
				    "M", "pid", (int)getpid(), "tid", (json_int_t)thread,
				    "args", "name", name));
}

static void thread_name(uint32_t thread, char *name, size_t size)
{
	char path[64];
	FILE *file;

	snprintf(name, size, "thread %" PRIu32, thread);
	snprintf(path, sizeof(path), "/proc/self/task/%" PRIu32 "/comm", thread);
	file = fopen(path, "re");
	if (!file)
		return; /* it ended; its number has to do */
	if (!fgets(name, (int)size, file))
		snprintf(name, size, "thread %" PRIu32, thread);
	name[strcspn(name, "\n")] = '\0';
	for (char *c = name; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?'; /* JSON takes UTF-8 alone; a thread's name is any bytes */
	}
	fclose(file);
}

static int put_threads(FILE *file, bool *first, const struct trace *trace)
{
	uint32_t seen[256];
	size_t seen_count = 0;
	char name[32];
	int err;

	err = put_name(file, first, "process_name", (uint32_t)getpid(), "usvm");
	for (size_t i = 0; !err && i < trace->count; i++) {
		uint32_t thread = trace->events[i].thread;
		size_t j = 0;

		while (j < seen_count && seen[j] != thread)
			j++;
		if (j < seen_count || seen_count == sizeof(seen) / sizeof(seen[0]))
			continue;
		seen[seen_count++] = thread;
		thread_name(thread, name, sizeof(name));
		err = put_name(file, first, "thread_name", thread, name);
	}
	return err;
}

static int put_event(FILE *file, bool *first, const struct usvm_trace_event *event,
		     uint64_t zero_ns)
{
	double start_us = (double)(event_start_ns(event) - zero_ns) / 1e3;
	double duration_us = (double)event->duration_ns / 1e3;
	char addr[24];

	/* A string: a viewer would round a number of 48 bits, or show it in decimal. */
	snprintf(addr, sizeof(addr), "0x%" PRIx64, event->addr);
	return put_object(
		file, first,
		json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:I, s:{s:s, s:I, s:I}}",
			  "name", event->name, "cat", "usvm", "ph", "X", "ts", start_us,
			  "dur", duration_us, "pid", (int)getpid(), "tid",
			  (json_int_t)event->thread, "args", "addr", addr, "bytes",
			  (json_int_t)event->bytes, "arg", (json_int_t)event->arg));
}

static int trace_put(FILE *file, const struct trace *trace)
{
	uint64_t zero_ns = trace->count ? event_start_ns(&trace->events[0]) : 0;
	bool first = true;
	int err;

	fprintf(file,
		"{\"displayTimeUnit\":\"ns\",\"otherData\":{\"version\":\"usvm %s\","
		"\"dropped\":%" PRIu64 "},\n\"traceEvents\":[",
		usvm_version(), trace->dropped);
	err = put_threads(file, &first, trace);
	for (size_t i = 0; !err && i < trace->count; i++)
		err = put_event(file, &first, &trace->events[i], zero_ns);
	fputs("\n]}\n", file);
	return err;
}

int trace_write_file(struct usvm *device, const char *path, uint64_t *event_count)
{
	struct trace trace = { 0 };
	FILE *file;
	int err;

	file = fopen(path, "we");
	if (!file) {
		err = -errno;
		goto report;
	}
	err = trace_take(device, &trace);
	if (!err) {
		if (trace.count)
			qsort(trace.events, trace.count, sizeof(*trace.events), by_start);
		err = trace_put(file, &trace);
	}
	if (ferror(file) && !err)
		err = -EIO;
	if (fclose(file) && !err)
		err = -errno;
	if (trace.dropped)
		fprintf(stderr, "usvm: the trace lost %" PRIu64 " events: it was full\n",
			trace.dropped);
	if (event_count)
		*event_count = trace.count;
	free(trace.events);
report:
	if (err)
		fprintf(stderr, "usvm demo: cannot write the trace %s: %s\n", path,
			strerror(-err));
	return err;
}
