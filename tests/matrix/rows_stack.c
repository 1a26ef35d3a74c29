/* SPDX-License-Identifier: MIT */
/*
 * DOC: Rows: stacks
 */
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

#include "rows.h"

/* --- stacks ---------------- */

static uint64_t deep(unsigned int depth)
{
	volatile uint64_t frame[32];

	for (unsigned int i = 0; i < 32; i++)
		frame[i] = live_word(depth, i);
	if (depth)
		frame[0] += deep(depth - 1);
	return frame[0] ^ frame[31];
}

static void *run_deep(void *arg)
{
	(void)arg;
	return (void *)(uintptr_t)deep(40);
}

void thread_stack(struct cell *c)
{
	pthread_attr_t attr;
	pthread_t thread;
	void *result = NULL;

	pthread_attr_init(&attr);
	cell_note(c, "stack", pthread_attr_setstack(&attr, c->at, c->bytes));
	cell_note(c, "create", pthread_create(&thread, &attr, run_deep, NULL));
	cell_note(c, "join", pthread_join(thread, &result));
	cell_note(c, "result", (int64_t)(uintptr_t)result);
	pthread_attr_destroy(&attr);
	/* The C library keeps none that is not its own. */
	live_fill(c->at, c->bytes, 2, 0);
	cell_look(c, "after", c->at, c->bytes);
}

static ucontext_t here, there;
static struct cell *context_cell;

static void in_context(void)
{
	for (unsigned int i = 0; i < 3; i++) {
		cell_note(context_cell, "deep", (int64_t)deep(40 + i));
		swapcontext(&there, &here);
	}
}

/* Between its turns the context's stack goes back to the device. */
void context_stack(struct cell *c)
{
	context_cell = c;
	getcontext(&there);
	there.uc_stack.ss_sp = c->at;
	there.uc_stack.ss_size = c->bytes;
	there.uc_link = &here;
	makecontext(&there, in_context, 0);
	for (unsigned int i = 0; i < 4; i++) {
		cell_note(c, "swap", swapcontext(&here, &there));
		if (c->live.gpu && c->column == COLUMN_DEVICE)
			live_take(&c->live, c->at, c->bytes);
	}
}

static volatile sig_atomic_t handler_runs;
static volatile uint64_t handler_result;

static void on_signal(int number)
{
	(void)number;
	handler_result = deep(20);
	handler_runs++;
}

void signal_stack(struct cell *c)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK }, old;
	stack_t stack = { .ss_sp = c->at, .ss_size = c->bytes }, none = { .ss_flags = SS_DISABLE };

	sigaction(SIGUSR1, &action, &old);
	cell_result(c, "sigaltstack", sigaltstack(&stack, NULL));
	for (unsigned int i = 0; i < 3; i++) {
		cell_note(c, "raise", raise(SIGUSR1));
		if (c->live.gpu && c->column == COLUMN_DEVICE)
			live_take(&c->live, c->at, c->bytes);
	}
	cell_note(c, "runs", handler_runs);
	cell_note(c, "result", (int64_t)handler_result);
	sigaltstack(&none, NULL);
	sigaction(SIGUSR1, &old, NULL);
}
