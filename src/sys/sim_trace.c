/* SPDX-License-Identifier: MIT */
/*
 * DOC: what the simulator tells
 *
 * The trace is a ring of the last events; an event is written when its call begins and
 * completed when it ends, if it is still there. The report is written once, where the run
 * ends, while everybody still is where they were.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/lock.h"
#include "sys/sim_internal.h"

static const struct {
	const char *name;
	const char *arguments[SIM_TRACE_ARGS];
} ops[] = {
#define SIM_OP(op_name, text, can_fail, ...) { text, { __VA_ARGS__ } },
#include "sys/sim_ops.inc"
#undef SIM_OP
};

/* --- the trace ------------------------------------------------------------ */

static struct sim_trace *trace_next(struct sim *sim, const char *what)
{
	struct sim_trace *event;

	if (!sim->config.trace_max)
		return NULL;
	event = &sim->trace[sim->trace_count++ % sim->config.trace_max];
	event->step = sim->step;
	event->clock_ns = sim->clock_ns;
	event->thread = sim->current ? sim->current->number : UINT32_MAX;
	event->what = what;
	event->arg_count = 0;
	event->has_result = false;
	event->result = 0;
	event->value = 0;
	return event;
}

/* Return: for sim_trace_end(). */
uint64_t sim_trace_begin(struct sim *sim, enum sim_op op, const uint64_t args[4])
{
	struct sim_trace *event = trace_next(sim, ops[op].name);

	if (!event)
		return 0;
	for (size_t i = 0; i < SIM_TRACE_ARGS && ops[op].arguments[i]; i++) {
		event->names[i] = ops[op].arguments[i];
		event->args[i] = args[i];
		event->arg_count++;
	}
	return sim->trace_count;
}

void sim_trace_end(struct sim *sim, uint64_t serial, int64_t result, uint64_t value)
{
	struct sim_trace *event;

	if (!serial || serial + sim->config.trace_max <= sim->trace_count)
		return; /* gone from the ring */
	event = &sim->trace[(serial - 1) % sim->config.trace_max];
	event->has_result = true;
	event->result = result;
	event->value = value;
}

void sim_trace_note(struct sim *sim, const char *what, size_t count,
		    const char *const *names, const uint64_t *args)
{
	struct sim_trace *event = trace_next(sim, what);

	for (size_t i = 0; event && i < count && i < SIM_TRACE_ARGS; i++) {
		event->names[i] = names[i];
		event->args[i] = args[i];
		event->arg_count++;
	}
}

size_t sim_trace_count(const struct sim *sim)
{
	return (size_t)MIN(sim->trace_count, (uint64_t)sim->config.trace_max);
}

const struct sim_trace *sim_trace_get(const struct sim *sim, size_t index)
{
	size_t count = sim_trace_count(sim);
	uint64_t first = sim->trace_count - count;

	if (index >= count)
		return NULL;
	return &sim->trace[(first + index) % sim->config.trace_max];
}

const struct sim_switch *sim_schedule(const struct sim *sim, size_t *count)
{
	*count = sim->switch_count;
	return sim->switches;
}

static void add(char *buffer, size_t bytes, size_t *length, const char *format, ...)
	PRINTF(4, 5);
static void add(char *buffer, size_t bytes, size_t *length, const char *format, ...)
{
	size_t at = MIN(*length, bytes);
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(bytes ? buffer + at : NULL, bytes - at, format, list);
	va_end(list);
	*length += n > 0 ? (size_t)n : 0;
}

static const char *error_name(int64_t error)
{
	static const struct {
		int error;
		const char *name;
	} names[] = {
		{ EAGAIN, "EAGAIN" }, { EBUSY, "EBUSY" },	{ EEXIST, "EEXIST" },
		{ EFAULT, "EFAULT" }, { EINTR, "EINTR" },	{ EINVAL, "EINVAL" },
		{ ENOENT, "ENOENT" }, { ENOMEM, "ENOMEM" },	{ ENOSYS, "ENOSYS" },
		{ ESRCH, "ESRCH" },   { ETIMEDOUT, "ETIMEDOUT" }, { EPERM, "EPERM" },
		{ EOPNOTSUPP, "EOPNOTSUPP" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].error == -error)
			return names[i].name;
	return NULL;
}

static void add_number(char *buffer, size_t bytes, size_t *length, uint64_t number)
{
	if (number == UINT64_MAX)
		add(buffer, bytes, length, "max");
	else
		add(buffer, bytes, length, number > 0xfff ? "%#" PRIx64 : "%" PRIu64,
		    number);
}

int sim_trace_format(const struct sim_trace *event, char *buffer, size_t bytes)
{
	size_t length = 0;

	add(buffer, bytes, &length, "%s(", event->what);
	for (size_t i = 0; i < event->arg_count; i++) {
		add(buffer, bytes, &length, "%s%s=", i ? " " : "", event->names[i]);
		add_number(buffer, bytes, &length, event->args[i]);
	}
	add(buffer, bytes, &length, ")");
	if (event->has_result && event->result < 0 && error_name(event->result))
		add(buffer, bytes, &length, " = -%s", error_name(event->result));
	else if (event->has_result)
		add(buffer, bytes, &length, " = %" PRId64, event->result);
	if (event->has_result && event->value) {
		add(buffer, bytes, &length, " ");
		add_number(buffer, bytes, &length, event->value);
	}
	return (int)length;
}

/* --- the report ----------------------------------------------------------- */

void sim_report_add(struct sim *sim, const char *format, ...)
{
	size_t room = sizeof(sim->report) - sim->report_length;
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(sim->report + sim->report_length, room, format, list);
	va_end(list);
	if (n > 0)
		sim->report_length += MIN((size_t)n, room - 1);
}

const char *sim_thread_waits_for(struct sim_thread *thread)
{
	if (thread->state != SIM_THREAD_BLOCKED)
		return thread->state == SIM_THREAD_READY ? "(ready)" : "(ended)";
	if (thread->joins)
		snprintf(thread->wait_text, sizeof(thread->wait_text), "thread %" PRIu64 " %s",
			 thread->wait_addr, thread->wait_what);
	else
		snprintf(thread->wait_text, sizeof(thread->wait_text), "%s %#" PRIx64,
			 thread->wait_what, thread->wait_addr);
	return thread->wait_text;
}

static void report_threads(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->thread_count; i++) {
		struct sim_thread *t = sim->threads[i];

		if (t->state == SIM_THREAD_ENDED)
			continue;
		sim_report_add(sim, "thread %u %-15s process %u %s %s%s%s\n", i, t->name,
			       t->process->number,
			       t->state == SIM_THREAD_BLOCKED ? "waits for" : "is",
			       sim_thread_waits_for(t),
			       t == sim->current ? " (running)" : "",
			       t->process->dead ? " (dead)" : "");
		for (uint32_t h = 0; h < t->base.held_count; h++)
			sim_report_add(sim, "    holds %s, %s\n", t->base.held[h]->name,
				       t->base.where[h]);
	}
}

void sim_report_end(struct sim *sim, enum sim_outcome outcome)
{
	static const char *const texts[] = {
		[SIM_DONE] = "done",
		[SIM_STEPS_OVER] = "no end",
		[SIM_DEADLOCK] = "deadlock: no thread can run",
		[SIM_FAILED] = "failed",
	};

	if (sim->report_length && sim->report[sim->report_length - 1] != '\n')
		sim_report_add(sim, "\n");
	sim_report_add(sim, "%s; seed %" PRIu64 ", step %" PRIu64 ", %zu switches\n",
		       texts[outcome], sim->config.seed, sim->step, sim->switch_count);
	if (outcome != SIM_DONE)
		report_threads(sim);
}

const char *sim_report(struct sim *sim)
{
	return sim->report;
}

void sim_fail(struct sim *sim, const char *format, ...)
{
	char text[512];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	(void)sim;
	sim_die(text);
}

void sim_misuse(const char *what, const char *file, int line)
{
	char text[512];

	snprintf(text, sizeof(text), "%s:%d: the simulator: %s\n", file, line, what);
	sim_die(text);
}
