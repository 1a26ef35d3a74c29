/* SPDX-License-Identifier: MIT */
/*
 * DOC: scripts on the simulated kernel
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "kernel.h"
#include "sys/sim.h"

#define STEPS_MAX 4000000

static struct sim *sim;
static struct kernel simulated;
static struct actor actors[WHO_COUNT];
static struct sim_pin *pins[WHO_COUNT];
static const struct script *script;
static struct outcome *outcome;
static char report[4096];

/* --- by the actor ---------------------------------------------------------- */

static void begin(struct actor *self)
{
	self->object = sim_thread_self(sim);
	self->thread_id = simulated.sys->ops->thread_id(simulated.sys);
}

static int do_mmap(const struct act *act, struct span span)
{
	uint32_t flags = SIM_MAP_FIXED;
	uint64_t addr;

	if (act->flags & MAP_KEEPS)
		flags |= SIM_MAP_NOREPLACE;
	return sim_mmap(sim, span.start, span_bytes(span), act->flags & 7,
			act->flags & MAP_IS_SHARED ? SYS_VMA_ANON_SHARED :
						     SYS_VMA_ANON_PRIVATE,
			flags, &addr);
}

static int do_pin(const struct actor *self, struct span span)
{
	return pins[self->who] ? -EBUSY : sim_pin(sim, span.start, true, &pins[self->who]);
}

static int do_unpin(const struct actor *self)
{
	if (!pins[self->who])
		return -EINVAL;
	sim_unpin(sim, pins[self->who]);
	pins[self->who] = NULL;
	return 0;
}

static int call(struct actor *self, const struct act *act, uint64_t *value)
{
	struct span span = place_span(&simulated, act->s);
	struct sim_process *child;

	switch (act->type) {
	case ACT_MMAP:
		return do_mmap(act, span);
	case ACT_MUNMAP:
		return sim_munmap(sim, span);
	case ACT_MREMAP:
		return sim_mremap(sim, span, (uint64_t)act->d.count * PAGE_BYTES, act->flags,
				  place_addr(&simulated, act->d), value);
	case ACT_MADVISE:
		return sim_madvise(sim, span, (enum sim_advice)act->flags);
	case ACT_MPROTECT:
		return sim_mprotect(sim, span, act->flags);
	case ACT_MLOCK:
	case ACT_MUNLOCK:
		return sim_mlock(sim, span, act->type == ACT_MLOCK);
	case ACT_LOAD:
		return sim_load(sim, span.start, value);
	case ACT_STORE:
		return sim_store(sim, span.start, act->value);
	case ACT_ADD:
		return sim_fetch_add(sim, span.start, act->value, value);
	case ACT_COPY_IN:
		return sim_copy_in(sim, span.start, value, sizeof(*value));
	case ACT_COPY_OUT:
		return sim_copy_out(sim, span.start, &act->value, sizeof(act->value));
	case ACT_PIN:
		return do_pin(self, span);
	case ACT_UNPIN:
		return do_unpin(self);
	case ACT_FORK:
		return sim_fork(sim, SIM_FORK_RAW, "child", actor_run,
				&actors[act->value], &child);
	default: /* ACT_EXIT */
		self->busy = 0;
		sim_exit(sim);
	}
}

static void park(uint32_t *word, uint32_t expected)
{
	base_host->park(word, expected, BASE_FOREVER);
}

/* --- by the conductor ------------------------------------------------------ */

static void unpark(uint32_t *word)
{
	base_host->unpark(word, 1);
}

static const char *sleeps(const struct actor *actor)
{
	struct sim_thread *thread = actor->object;
	const char *what;

	if (sim_thread_state(thread) != SIM_THREAD_BLOCKED)
		return NULL;
	what = sim_thread_waits_for(thread);
	if (!strncmp(what, "fault", 5))
		return "a fault";
	return strncmp(what, "event", 5) ? NULL : "a call, for its message";
}

static bool is_parked(const struct actor *actor)
{
	return sim_thread_state(actor->object) == SIM_THREAD_BLOCKED;
}

static bool is_gone(const struct actor *actor)
{
	return sim_process_is_dead(sim_thread_process(actor->object));
}

static void pause_for_others(void)
{
	sim_yield(sim, NULL);
}

static bool peek(uint64_t addr, uint64_t *word)
{
	return !sim_peek(sim, sim_process(sim, 0), addr, word);
}

static void monitor_run(void *arg)
{
	(void)arg;
	conduct(script, outcome);
}

static void run(void *arg)
{
	struct sys_thread_attr attr = {
		.name = "monitor",
		.run = monitor_run,
		.flags = SYS_THREAD_OWN_FILES | SYS_THREAD_MONITOR,
	};
	struct sys_thread *thread;

	(void)arg;
	for (unsigned int who = WHO_THREAD; who < WHO_CHILD; who++)
		sim_thread_start(sim, who_name(who), actor_run, &actors[who]);
	if (simulated.sys->ops->thread_create(simulated.sys, &attr, &thread))
		sim_fail(sim, "no thread\n");
	simulated.sys->ops->thread_join(simulated.sys, thread);
}

static enum sim_thp thp_of_host(void)
{
	FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
	enum sim_thp thp = SIM_THP_NEVER;
	char text[64] = "";

	if (!file)
		return thp;
	if (fgets(text, sizeof(text), file))
		thp = strstr(text, "[always]")  ? SIM_THP_ALWAYS :
		      strstr(text, "[madvise]") ? SIM_THP_ADVISED :
						  SIM_THP_NEVER;
	fclose(file);
	return thp;
}

const char *simulated_run(const struct script *what, struct outcome *into)
{
	struct sim_config config = sim_config_default(1);
	enum sim_outcome end;

	config.features = into->features;
	config.thp = thp_of_host();
	config.preempt_1_in = 2;
	config.moves_several = true;
	config.trace_max = 0;
	memset(actors, 0, sizeof(actors));
	memset(pins, 0, sizeof(pins));
	base_host_install(NULL);
	if (sim_open(&config, &sim))
		return "the simulator does not open";
	script = what;
	outcome = into;
	simulated = (struct kernel){
		.sys = sim_sys(sim),
		.program = SIM_START + GIB(1),
		.actors = actors,
		.begin = begin,
		.call = call,
		.park = park,
		.unpark = unpark,
		.sleeps = sleeps,
		.is_parked = is_parked,
		.is_gone = is_gone,
		.pause = pause_for_others,
		.peek = peek,
	};
	conduct_on(&simulated);
	end = sim_run(sim, run, NULL, STEPS_MAX);
	snprintf(report, sizeof(report), "%s", end == SIM_DONE ? "" : sim_report(sim));
	sim_close(sim);
	return *report ? report : NULL;
}
