/* SPDX-License-Identifier: MIT */
/*
 * DOC: callers without threads of the simulator
 *
 * A unit test plays the program in its own thread. Its munmap() cannot wait for its
 * message to be read; so the call returns with the message queued, and what would have
 * happened when the caller ran is done when the test says that it runs.
 */
#include "sys/sim_internal.h"

static void remember_zap(struct sim *sim, const struct sim_event *event)
{
	SIM_MUST(sim->dying_count < ARRAY_SIZE(sim->dying));
	sim->dying[sim->dying_count].process = event->process;
	sim->dying[sim->dying_count++].span = event->event.span;
}

/* Whoever waited for a message that was read runs on. Return: true if there was one. */
bool sim_outside_callers_run(struct sim *sim)
{
	struct list *node = sim->other_events.next;
	bool ran = false;

	while (node != &sim->other_events) {
		struct sim_event *event = LIST_ENTRY(node, struct sim_event, link);

		node = node->next;
		if (event->state != SIM_EVENT_READ)
			continue;
		if (event->event.type == SYS_EVENT_REMOVE)
			remember_zap(sim, event);
		sim_event_done(sim, event);
		ran = true;
		node = sim->other_events.next; /* its second may have left the list */
	}
	if (ran)
		sim->outside->changed(sim->outside->arg);
	return ran;
}

/* The same, and what was announced by REMOVE happens. */
bool sim_outside_finish_removes(struct sim *sim)
{
	bool ran = sim_outside_callers_run(sim) || sim->dying_count;

	while (sim->dying_count) {
		sim->dying_count--;
		sim_zap(sim->dying[sim->dying_count].process,
			sim->dying[sim->dying_count].span, true);
	}
	return ran;
}

bool sim_outside_fault_sleeps(struct sim *sim, uint64_t number)
{
	LIST_FOR_EACH(node, &sim->faults)
		if (LIST_ENTRY(node, struct sim_fault, link)->number == number)
			return true;
	return false;
}

static bool has_remove(struct list *events)
{
	LIST_FOR_EACH(node, events)
		if (LIST_ENTRY(node, struct sim_event, link)->event.type ==
		    SYS_EVENT_REMOVE)
			return true;
	return false;
}

/* Is some madvise() between its message and the end of its zap? */
bool sim_remove_pends(struct sim *sim)
{
	for (uint32_t i = 1; i < sim->uffd_count; i++)
		if (sim->uffds[i].process && has_remove(&sim->uffds[i].events))
			return true;
	return sim->dying_count || has_remove(&sim->other_events);
}
