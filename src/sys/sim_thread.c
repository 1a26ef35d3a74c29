/* SPDX-License-Identifier: MIT */
/*
 * DOC: threads of the simulated kernel
 *
 * Threads have stacks of their own and take turns on one real thread. At a yield point
 * the running one asks choose() who is next, and mostly that is itself: then nothing is
 * switched, and a step costs some nanoseconds.
 *
 *     READY, in sim.ready      <- wake -      BLOCKED, in sim.blocked
 *     (the running one, too)   - block ->     until woken, or until its deadline
 *
 * Every change of the running thread is recorded as (step, thread). Given back as the
 * schedule it makes the same run: numbers for choices come from a generator that serves
 * nothing else. Where a schedule says nothing a thread runs on while it can, and gives
 * way to the next by number when it cannot or asks to; so a schedule with parts left out
 * is one as well.
 *
 * The clock goes step_ns with each step. When nobody can run it jumps to the first
 * deadline; when there is none, that is a deadlock.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "sys/sim_internal.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN
#endif
#if defined(SIM_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define CALL_WEIGHT 8 /* yield points that a call counts as */

void sim_switch(void **save, void *to);
void sim_switch_start(void);
NORETURN void sim_thread_main(struct sim_thread *self);

/* --- from stack to stack -------------------------------------------------- */

static void switch_began(void *fake_stack UNUSED)
{
#if defined(SIM_ASAN)
	const void *bottom;
	size_t bytes;

	__sanitizer_finish_switch_fiber(fake_stack, &bottom, &bytes);
	if (!sim_now->scheduler_stack) {
		sim_now->scheduler_stack = bottom;
		sim_now->scheduler_stack_bytes = bytes;
	}
#endif
}

/* @next NULL: to who called sim_run(). @last: the stack that is left is not used again. */
static void switch_to(struct sim *sim, struct sim_thread *next, bool last UNUSED)
{
	struct sim_thread *self = sim->current;
	void **save = self ? &self->stack_pointer : &sim->scheduler_stack_pointer;

	sim->current = next;
#if defined(SIM_ASAN)
	void **fake = self ? &self->fake_stack : &sim->scheduler_fake_stack;

	if (next)
		__sanitizer_start_switch_fiber(last ? NULL : fake, next->stack,
					       SIM_STACK_BYTES);
	else
		__sanitizer_start_switch_fiber(last ? NULL : fake, sim->scheduler_stack,
					       sim->scheduler_stack_bytes);
#endif
	sim_switch(save, next ? next->stack_pointer : sim->scheduler_stack_pointer);
	switch_began(self ? self->fake_stack : sim->scheduler_fake_stack);
}

static uint8_t *stack_new(struct sim *sim)
{
	uint8_t *stack = sim->free_stacks;

	if (stack) {
		memcpy(&sim->free_stacks, stack, sizeof(sim->free_stacks));
	} else {
		/* A page that no one may touch lies below each. */
		SIM_MUST(sim->stacks + SIM_STACK_BYTES + PAGE_BYTES <= sim->stacks_end);
		sim_stack_border(sim->stacks);
		stack = sim->stacks + PAGE_BYTES;
		sim->stacks += SIM_STACK_BYTES + PAGE_BYTES;
	}
#if defined(SIM_ASAN)
	__asan_unpoison_memory_region(stack, SIM_STACK_BYTES);
#endif
	return stack;
}

static void stack_prepare(struct sim_thread *thread)
{
	uint64_t *top = (uint64_t *)(thread->stack + SIM_STACK_BYTES);
	/* As sim_switch() leaves one: r15 r14 r13 r12 rbx rbp, where to return. */
	uint64_t frame[] = { 0, 0, 0, 0, (uintptr_t)thread, 0,
			     (uintptr_t)sim_switch_start, 0, 0 };

	top -= ARRAY_SIZE(frame);
	memcpy(top, frame, sizeof(frame));
	thread->stack_pointer = top;
}

/* --- who can run ---------------------------------------------------------- */

static void ready_add(struct sim *sim, struct sim_thread *thread)
{
	thread->state = SIM_THREAD_READY;
	thread->ready_index = sim->ready_count;
	sim->ready[sim->ready_count++] = thread;
}

static void ready_remove(struct sim *sim, struct sim_thread *thread)
{
	struct sim_thread *last = sim->ready[--sim->ready_count];

	sim->ready[thread->ready_index] = last;
	last->ready_index = thread->ready_index;
}

/* @thread stands still from now on, for some steps or for many. */
static void freeze(struct sim *sim, struct sim_thread *thread)
{
	uint32_t bits = (uint32_t)__builtin_ctz(sim->config.freeze_steps);
	uint64_t steps = 8ull << prng_below(&sim->schedule_prng, bits - 2);

	thread->frozen_until = sim->step + prng_below(&sim->schedule_prng, steps);
}

void sim_wake(struct sim *sim, struct sim_thread *thread)
{
	if (thread->state != SIM_THREAD_BLOCKED)
		return;
	list_remove(&thread->blocked_link);
	ready_add(sim, thread);
	if (sim->config.policy == SIM_POLICY_STARVE && !sim->config.schedule &&
	    !prng_below(&sim->schedule_prng, sim->config.freeze_1_in * 4))
		freeze(sim, thread);
}

static void expire(struct sim *sim)
{
	uint64_t next = BASE_FOREVER;

	LIST_FOR_EACH_SAFE(node, &sim->blocked) {
		struct sim_thread *t = LIST_ENTRY(node, struct sim_thread, blocked_link);

		if (t->deadline_ns <= sim->clock_ns) {
			t->timed_out = true;
			sim_wake(sim, t);
		} else {
			next = MIN(next, t->deadline_ns);
		}
	}
	sim->next_deadline_ns = next;
}

/* Nobody can run now: let time pass. */
static void wait_for_time(struct sim *sim)
{
	if (sim->next_deadline_ns == BASE_FOREVER)
		sim_end(sim, list_is_empty(&sim->blocked) ? SIM_DONE : SIM_DEADLOCK);
	sim->clock_ns = MAX(sim->clock_ns, sim->next_deadline_ns);
	expire(sim);
}

/* --- who runs next -------------------------------------------------------- */

enum manner {
	IF_IT_LIKES, /* a yield point */
	POLITELY,    /* cpu_yield(): another one, if there is one */
	MUST,        /* the running one cannot */
};

static struct sim_thread *next_by_number(struct sim *sim)
{
	struct sim_thread *best = NULL;
	uint32_t self = sim->current->number;

	for (uint32_t i = 0; i < sim->ready_count; i++) {
		struct sim_thread *t = sim->ready[i];

		/* The distance upwards; the running one itself comes last. */
		if (!best || t->number - self - 1 < best->number - self - 1)
			best = t;
	}
	return best;
}

static struct sim_thread *choose_replay(struct sim *sim, enum manner manner)
{
	const struct sim_switch *schedule = sim->config.schedule;
	size_t count = sim->config.schedule_count;

	while (sim->replay_index < count && schedule[sim->replay_index].step < sim->step)
		sim->replay_index++;
	if (sim->replay_index < count && schedule[sim->replay_index].step == sim->step) {
		uint32_t number = schedule[sim->replay_index].thread;

		if (number < sim->thread_count &&
		    sim->threads[number]->state == SIM_THREAD_READY)
			return sim->threads[number];
	}
	return manner == IF_IT_LIKES ? sim->current : next_by_number(sim);
}

static struct sim_thread *choose_random(struct sim *sim, enum manner manner)
{
	uint32_t one_in = sim->config.preempt_1_in;
	struct sim_thread *next;

	if (manner == IF_IT_LIKES) {
		if (!one_in || --sim->countdown)
			return sim->current;
		sim->countdown = 1 + prng_below(&sim->schedule_prng, 2 * one_in - 1);
	}
	if (sim->ready_count == 1)
		return sim->ready[0];
	next = sim->ready[prng_below(&sim->schedule_prng, sim->ready_count)];
	if (manner == POLITELY && next == sim->current)
		next = sim->ready[(next->ready_index + 1) % sim->ready_count];
	return next;
}

static struct sim_thread *choose_by_priority(struct sim *sim, enum manner manner)
{
	struct sim_thread *best = NULL;

	for (uint32_t i = 0; i < sim->config.change_count; i++)
		if (sim->change_steps[i] == sim->step)
			sim->current->priority = sim->low_priority--;
	if (manner == POLITELY)
		sim->current->priority = sim->low_priority--;
	for (uint32_t i = 0; i < sim->ready_count; i++)
		if (!best || sim->ready[i]->priority > best->priority)
			best = sim->ready[i];
	return best;
}

/* From a random one on, the first that may run, and is not @but; NULL: none. */
static struct sim_thread *first_awake(struct sim *sim, const struct sim_thread *but)
{
	uint32_t start = (uint32_t)prng_below(&sim->schedule_prng, sim->ready_count);

	for (uint32_t i = 0; i < sim->ready_count; i++) {
		struct sim_thread *t = sim->ready[(start + i) % sim->ready_count];

		if (t != but && t->frozen_until <= sim->step)
			return t;
	}
	return NULL;
}

static struct sim_thread *choose_starving(struct sim *sim, enum manner manner)
{
	uint32_t one_in = sim->config.preempt_1_in;
	struct sim_thread *next;

	if (manner == IF_IT_LIKES) {
		if (sim->countdown > 1) {
			sim->countdown--;
			return sim->current;
		}
		sim->countdown = 1 + prng_below(&sim->schedule_prng, 2 * one_in - 1);
		if (!prng_below(&sim->schedule_prng, sim->config.freeze_1_in))
			freeze(sim, sim->current);
	}
	if (!prng_below(&sim->schedule_prng, sim->config.freeze_1_in * 4))
		freeze(sim, sim->ready[prng_below(&sim->schedule_prng, sim->ready_count)]);
	next = first_awake(sim, manner == POLITELY ? sim->current : NULL);
	if (next)
		return next;
	/* Nobody else: it may wait for one of those, without sleep. */
	next = sim->ready[prng_below(&sim->schedule_prng, sim->ready_count)];
	next->frozen_until = 0;
	return next;
}

static struct sim_thread *choose(struct sim *sim, enum manner manner)
{
	while (!sim->ready_count)
		wait_for_time(sim);
	if (sim->config.schedule)
		return choose_replay(sim, manner);
	/* Afterwards fair again: two threads may wait, awake, for one of low priority. */
	if (sim->config.policy == SIM_POLICY_PRIORITY &&
	    sim->step < sim->config.change_span)
		return choose_by_priority(sim, manner);
	if (sim->config.policy == SIM_POLICY_STARVE)
		return choose_starving(sim, manner);
	return choose_random(sim, manner);
}

/* A step is over: count it, and let the user look. */
static void step_over(struct sim *sim)
{
	sim->step++;
	sim->clock_ns += sim->config.step_ns;
	if (sim->step_hook) {
		sim->quiet = true;
		sim->step_hook(sim->step_hook_arg);
		sim->quiet = false;
	}
	if (sim->step >= sim->steps_max)
		sim_end(sim, SIM_STEPS_OVER);
	if (unlikely(sim->clock_ns >= sim->next_deadline_ns))
		expire(sim);
}

static void run_next(struct sim *sim, enum manner manner)
{
	struct sim_thread *self = sim->current;
	struct sim_thread *next = choose(sim, manner);

	if (next == self && self->state == SIM_THREAD_READY)
		return;
	if (sim->switch_count < sim->switch_max)
		sim->switches[sim->switch_count++] =
			(struct sim_switch){ sim->step, next->number };
	switch_to(sim, next, self->state == SIM_THREAD_ENDED);
}

void sim_yield_point(void)
{
	struct sim *sim = sim_now;

	if (!sim || !sim->current || sim->quiet)
		return;
	step_over(sim);
	run_next(sim, IF_IT_LIKES);
}

/* Between two calls of the kernel is where most of what matters happens. */
void sim_call_point(void)
{
	struct sim *sim = sim_now;

	if (sim->config.policy == SIM_POLICY_STARVE && sim->countdown > CALL_WEIGHT)
		sim->countdown -= CALL_WEIGHT;
	sim_yield_point();
}

void sim_sleep(struct sim *sim, uint64_t ns)
{
	sim_yield(sim, "sleep");
	(void)sim_block(sim, "sleep", 0, ns);
}

/* In a call, between two steps of the kernel's: others come between seldom, but do. */
void sim_half_way(void)
{
	struct sim *sim = sim_now;

	if (sim->config.policy == SIM_POLICY_STARVE && !sim->config.schedule && sim->current &&
	    !sim->quiet && !prng_below(&sim->schedule_prng, sim->config.freeze_1_in * 2)) {
		freeze(sim, sim->current);
		sim->countdown = 1;
	}
	sim_yield_point();
}

int sim_block(struct sim *sim, const char *what, uint64_t addr, uint64_t timeout_ns)
{
	struct sim_thread *self = sim->current;

	SIM_MUST(self && !sim->quiet);
	self->wait_what = what;
	self->wait_addr = addr;
	self->timed_out = false;
	self->deadline_ns = timeout_ns >= BASE_FOREVER - sim->clock_ns ?
				    BASE_FOREVER :
				    sim->clock_ns + timeout_ns;
	sim->next_deadline_ns = MIN(sim->next_deadline_ns, self->deadline_ns);
	ready_remove(sim, self);
	self->state = SIM_THREAD_BLOCKED;
	list_push_back(&sim->blocked, &self->blocked_link);
	step_over(sim);
	run_next(sim, MUST);
	return self->timed_out ? -ETIMEDOUT : 0;
}

void sim_yield(struct sim *sim UNUSED, const char *what)
{
	if (what)
		sim_trace_note(sim, what, 0, NULL, NULL);
	sim_yield_point();
}

/* Threads in uffd_wait() look again. */
void sim_wake_uffd_waiters(struct sim *sim)
{
	LIST_FOR_EACH_SAFE(node, &sim->blocked) {
		struct sim_thread *t = LIST_ENTRY(node, struct sim_thread, blocked_link);

		if (t->op == SIM_OP_UFFD_WAIT)
			sim_wake(sim, t);
	}
	if (sim->outside)
		sim->outside->changed(sim->outside->arg);
}

/* --- life ----------------------------------------------------------------- */

struct sim_thread *sim_thread_new(struct sim *sim, struct sim_process *process,
				  const char *name, void (*run)(void *arg), void *arg)
{
	struct sim_thread *thread = sim_alloc(sim, sizeof(*thread));

	SIM_MUST(sim->thread_count < SIM_THREADS_MAX && sim->running);
	thread->process = process;
	thread->number = sim->thread_count;
	thread->run = run;
	thread->arg = arg;
	for (size_t i = 0; name && name[i] && i < sizeof(thread->name) - 1; i++)
		thread->name[i] = name[i];
	thread->priority = (1ull << 32) + (prng_next(&sim->schedule_prng) >> 32);
	thread->stack = stack_new(sim);
	stack_prepare(thread);
	sim->threads[sim->thread_count++] = thread;
	process->thread_count++;
	ready_add(sim, thread);
	return thread;
}

static void wake_joiners(struct sim *sim, const struct sim_thread *ended)
{
	LIST_FOR_EACH_SAFE(node, &sim->blocked) {
		struct sim_thread *t = LIST_ENTRY(node, struct sim_thread, blocked_link);

		if (t->joins == ended || (t->joined_process == ended->process &&
					  !ended->process->thread_count))
			sim_wake(sim, t);
	}
}

/* What it was in the middle of is given up. */
static void abandon(struct sim *sim, struct sim_thread *thread)
{
	if (thread->fault)
		sim_fault_end(sim, thread->fault);
	sim_event_cancel(sim, thread->event);
	thread->event = NULL;
	if (thread->in_madvise)
		sim->madvise_count--;
	if (thread->forking && !thread->forking->dead)
		sim_do_exit(thread->forking);
}

/* Of the running thread: does not return. */
void sim_thread_end(struct sim *sim, struct sim_thread *thread)
{
	struct sim_process *process = thread->process;

	abandon(sim, thread);
	if (thread->state == SIM_THREAD_BLOCKED)
		list_remove(&thread->blocked_link);
	else
		ready_remove(sim, thread);
	thread->state = SIM_THREAD_ENDED;
	if (--process->thread_count == 0 && process->number && !process->dead)
		sim_do_exit(process);
	wake_joiners(sim, thread);
	/* Nobody takes it before this thread has left it. */
	memcpy(thread->stack, &sim->free_stacks, sizeof(sim->free_stacks));
	sim->free_stacks = thread->stack;
	if (thread != sim->current)
		return;
	step_over(sim);
	run_next(sim, MUST);
}

void sim_thread_main(struct sim_thread *self)
{
	struct sim *sim = sim_now;

	switch_began(NULL);
	self->run(self->arg);
	if (self->number == SIM_MAIN)
		sim_end(sim, SIM_DONE);
	sim_thread_end(sim, self);
	__builtin_unreachable();
}

enum sim_outcome sim_run(struct sim *sim, void (*run)(void *arg), void *arg,
			 uint64_t steps_max)
{
	SIM_MUST(!sim->has_run && !sim->outside);
	sim->has_run = true;
	sim->running = true;
	sim->steps_max = steps_max;
	sim->countdown = 1;
	sim_thread_new(sim, sim->processes[0], "main", run, arg);
	switch_to(sim, sim->threads[SIM_MAIN], false);
	sim->running = false;
	return sim->outcome;
}

void sim_end(struct sim *sim, enum sim_outcome outcome)
{
	sim->outcome = outcome;
	sim_report_end(sim, outcome);
	sim->quiet = false;
	switch_to(sim, NULL, true);
	__builtin_unreachable();
}

void sim_on_step(struct sim *sim, void (*hook)(void *arg), void *arg)
{
	sim->step_hook = hook;
	sim->step_hook_arg = arg;
}

/* --- base_host ------------------------------------------------------------ */

static int host_park(uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	struct sim *sim = sim_now;
	struct sim_thread *self = sim->current;
	const char *lock = base_host->self()->waits_for;
	int err = 0;

	SIM_ENTER(PARK, (uintptr_t)word, expected, timeout_ns);
	SIM_MUST(self);
	if (*word == expected && !sim_odd(sim, sim->config.odds.park_returns)) {
		self->park_word = word;
		err = sim_block(sim, lock ? lock : "park", (uintptr_t)word, timeout_ns);
		self->park_word = NULL;
	}
	return sim_leave(err, 0);
}

static void host_unpark(uint32_t *word, uint32_t count)
{
	struct sim *sim = sim_now;

	SIM_ENTER(UNPARK, (uintptr_t)word, count);
	LIST_FOR_EACH_SAFE(node, &sim->blocked) {
		struct sim_thread *t = LIST_ENTRY(node, struct sim_thread, blocked_link);

		if (t->park_word == word && count) {
			sim_wake(sim, t);
			count--;
		}
	}
	sim_leave(0, 0);
}

static void host_cpu_yield(void)
{
	struct sim *sim = sim_now;

	if (!sim->current || sim->quiet)
		return;
	SIM_ENTER(CPU_YIELD);
	/* Alone, it waits for time. */
	if (sim->ready_count == 1 && sim->next_deadline_ns != BASE_FOREVER)
		wait_for_time(sim);
	step_over(sim);
	run_next(sim, POLITELY);
	sim_leave(0, 0);
}

static struct base_thread *host_self(void)
{
	struct sim *sim = sim_now;

	return sim->current ? &sim->current->base : &sim->nobody;
}

void sim_die(const char *text)
{
	struct sim *sim = sim_now;

	if (sim && sim->running) {
		sim_report_add(sim, "%s", text);
		sim_end(sim, SIM_FAILED);
	}
	if (sim && sim->outside)
		sim->outside->die(text);
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		_exit(127);
	__builtin_trap();
}

const struct base_host_ops sim_host_ops = {
	.park = host_park,
	.unpark = host_unpark,
	.yield_point = sim_yield_point,
	.cpu_yield = host_cpu_yield,
	.pages_alloc = sim_pages_alloc,
	.pages_free = sim_pages_free,
	.self = host_self,
	.die = sim_die,
};

/* --- for the program ------------------------------------------------------ */

struct sim_thread *sim_thread_start(struct sim *sim, const char *name,
				    void (*run)(void *arg), void *arg)
{
	struct sim_thread *thread;

	SIM_ENTER(THREAD_START);
	SIM_MUST(sim->current);
	thread = sim_thread_new(sim, sim->current->process, name, run, arg);
	sim_leave(0, thread->number);
	return thread;
}

void sim_do_join(struct sim *sim, struct sim_thread *thread)
{
	while (thread->state != SIM_THREAD_ENDED) {
		sim->current->joins = thread;
		sim_block(sim, thread->name, thread->number, BASE_FOREVER);
	}
	sim->current->joins = NULL;
}

void sim_thread_join(struct sim *sim, struct sim_thread *thread)
{
	SIM_ENTER(JOIN, thread->number);
	sim_do_join(sim, thread);
	sim_leave(0, 0);
}

struct sim_thread *sim_thread_self(struct sim *sim)
{
	return sim->current;
}

struct sim_thread *sim_thread_get(struct sim *sim, uint32_t number)
{
	return number < sim->thread_count ? sim->threads[number] : NULL;
}

uint32_t sim_thread_number(const struct sim_thread *thread)
{
	return thread->number;
}

const char *sim_thread_name(const struct sim_thread *thread)
{
	return thread->name;
}

enum sim_thread_state sim_thread_state(const struct sim_thread *thread)
{
	return thread->state;
}

struct sim_process *sim_thread_process(const struct sim_thread *thread)
{
	return thread->process;
}

uint64_t sim_step(const struct sim *sim)
{
	return sim->step;
}

uint64_t sim_clock_ns(const struct sim *sim)
{
	return sim->clock_ns;
}
