/* SPDX-License-Identifier: MIT */
/*
 * DOC: Work
 *
 * What must not run on the program's threads or on the monitor is queued here.
 * Any thread may queue, the monitor included, and takes no lock for it: new work
 * is pushed on a stack by compare-and-swap; a worker takes the whole stack and
 * turns it round, so that work runs in the order it came. A piece of work that
 * waits already is not queued twice. Each piece wakes one of the threads that sleep.
 *
 * Faults and calls have threads of their own: a call may wait for an engine (the
 * end of a queue), and the engine for a fault.
 *
 * mm_call() is how a program's thread gets something done: it copies its
 * arguments into a slot, queues the slot, and sleeps holding nothing (law 15).
 */
#include "mm/mm_internal.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"
#include "mm/call.h"

void mm_work_init(struct mm_work *work, void (*run)(struct mm_work *work))
{
	work->next = NULL;
	work->queued = 0;
	work->run = run;
}

void mm_work_list_init(struct mm_work_list *list, const char *name)
{
	list->head = NULL;
	list->ready = NULL;
	wait_init(&list->wait);
	lock_init(&list->lock, LOCK_MM_WORK, name);
}

/* Return: true if it was queued now; nobody is woken. */
bool mm_work_push(struct mm_work_list *list, struct mm_work *work)
{
	struct mm_work *head;

	if (ATOMIC_EXCHANGE(&work->queued, 1))
		return false;
	head = ATOMIC_LOAD_RELAXED(&list->head);
	do {
		work->next = head;
		if (PLANTED(QUEUE_LOST)) {
			ATOMIC_STORE(&list->head, work);
			break;
		}
	} while (!ATOMIC_COMPARE_EXCHANGE(&list->head, &head, work));
	return true;
}

/* One thread is woken for each piece: whoever wakes takes what is there. */
static bool work_push(struct mm_work_list *list, struct mm_work *work)
{
	if (!mm_work_push(list, work))
		return false;
	wait_wake_one(&list->wait);
	return true;
}

bool mm_work_queue(struct mm *mm, struct mm_work *work)
{
	return work_push(&mm->work, work);
}

bool mm_work_queue_collector(struct mm *mm, struct mm_work *work)
{
	return work_push(&mm->collect, work);
}

static struct mm_work *work_pop(struct mm_work_list *list)
{
	struct mm_work *work, *newest;

	lock_acquire(&list->lock);
	if (!list->ready) {
		newest = ATOMIC_EXCHANGE(&list->head, NULL);
		while (newest) {
			struct mm_work *next = newest->next;

			newest->next = list->ready;
			list->ready = newest;
			newest = next;
		}
	}
	work = list->ready;
	if (work)
		list->ready = work->next;
	lock_release(&list->lock);
	return work;
}

bool mm_work_list_step(struct mm_work_list *list)
{
	struct mm_work *work = work_pop(list);

	if (!work)
		return false;
	ATOMIC_STORE(&work->queued, 0);
	work->run(work);
	return true;
}

/* The life of a worker: until mm.stopping is @stopping and nothing is left. */
void mm_work_list_run(struct mm *mm, struct mm_work_list *list, uint32_t stopping)
{
	for (;;) {
		uint32_t ticket = wait_ticket(&list->wait);

		if (mm_work_list_step(list))
			continue;
		if (ATOMIC_LOAD(&mm->stopping) >= stopping)
			return;
		wait_sleep(&list->wait, ticket, BASE_FOREVER);
	}
}

bool mm_worker_step(struct mm *mm)
{
	return mm_work_list_step(&mm->work);
}

bool mm_collector_step(struct mm *mm)
{
	return mm_work_list_step(&mm->collect);
}

/* Runs behind what was queued before it. */
struct flush {
	struct mm_work work;
	struct wait wait;
	uint32_t done; /* atomic */
};

static void flush_run(struct mm_work *work)
{
	struct flush *flush = CONTAINER_OF(work, struct flush, work);

	ATOMIC_STORE(&flush->done, 1);
	wait_wake_all(&flush->wait);
	ATOMIC_STORE(&flush->done, 2);
}

void mm_collector_flush(struct mm *mm)
{
	struct flush flush = { .done = 0 };

	if (mm->config.no_threads) {
		while (mm_collector_step(mm))
			;
		return;
	}
	wait_init(&flush.wait);
	mm_work_init(&flush.work, flush_run);
	mm_work_queue_collector(mm, &flush.work);
	for (;;) {
		uint32_t ticket = wait_ticket(&flush.wait);

		if (ATOMIC_LOAD(&flush.done))
			break;
		wait_sleep(&flush.wait, ticket, BASE_FOREVER);
	}
	/* It lives on this stack: until the collector has left it. */
	while (ATOMIC_LOAD(&flush.done) != 2)
		base_host->cpu_yield();
}

static void call_run(struct mm_work *work)
{
	struct mm_call *call = CONTAINER_OF(work, struct mm_call, work);

	call->result = call->run(call->argument);
	ATOMIC_STORE(&call->state, MM_CALL_DONE);
	wait_wake_all(&call->wait);
}

static struct mm_call *call_claim(struct mm_calls *calls)
{
	for (;;) {
		uint32_t ticket = wait_ticket(&calls->wait);

		for (size_t i = 0; i < ARRAY_SIZE(calls->slots); i++) {
			struct mm_call *call = &calls->slots[i];
			uint32_t expected = MM_CALL_FREE;

			if (PLANTED(CALL_SHARED) &&
			    ATOMIC_LOAD(&call->state) == MM_CALL_FREE) {
				ATOMIC_STORE(&call->state, MM_CALL_CLAIMED);
				return call;
			}
			if (ATOMIC_COMPARE_EXCHANGE(&call->state, &expected,
						    MM_CALL_CLAIMED))
				return call;
		}
		wait_sleep(&calls->wait, ticket, BASE_FOREVER);
	}
}

static int call_on(struct mm *mm, struct mm_work_list *list, int (*run)(void *argument),
		   void *argument, size_t bytes)
{
	struct mm_calls *calls = mm->calls;
	struct mm_call *call;
	int result;

	ASSERT(bytes <= sizeof(call->argument));
	if (mm->config.no_threads || base_host->self()->is_worker)
		return run(argument);

	call = call_claim(calls);
	memcpy(call->argument, argument, bytes); /* C1 */
	call->run = run;
	mm_work_init(&call->work, call_run);
	work_push(list, &call->work);
	for (;;) {
		uint32_t ticket = wait_ticket(&call->wait);

		if (ATOMIC_LOAD(&call->state) == MM_CALL_DONE)
			break;
		wait_sleep(&call->wait, ticket, BASE_FOREVER);
	}
	result = call->result;
	memcpy(argument, call->argument, bytes);
	ATOMIC_STORE(&call->state, MM_CALL_FREE);
	wait_wake_all(&calls->wait);
	return result;
}

int mm_call(struct mm *mm, int (*run)(void *argument), void *argument, size_t bytes)
{
	return call_on(mm, &mm->request, run, argument, bytes);
}

int mm_call_from_engine(struct mm *mm, int (*run)(void *argument), void *argument,
			size_t bytes)
{
	return call_on(mm, &mm->work, run, argument, bytes);
}
