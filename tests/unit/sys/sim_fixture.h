/* SPDX-License-Identifier: MIT */
/*
 * sim_fixture.h - runs of the simulated kernel, and a monitor that gives zeros.
 */
#ifndef TESTS_UNIT_SYS_SIM_FIXTURE_H
#define TESTS_UNIT_SYS_SIM_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/host.h"
#include "base/lock.h"
#include "sys/sim.h"

#define READ_WRITE (SYS_PROT_READ | SYS_PROT_WRITE)
#define BOTH_MODES (SYS_REGISTER_WP | SYS_REGISTER_MISSING)
#define STEPS_MAX 2000000

static struct sim *sim;
static struct sys *sys;

static inline enum sim_outcome run_config(const struct sim_config *config,
					  void (*run)(void *arg), void *arg)
{
	enum sim_outcome outcome;

	assert_int_equal(sim_open(config, &sim), 0);
	sys = sim_sys(sim);
	outcome = sim_run(sim, run, arg, STEPS_MAX);
	sim_check(sim);
	return outcome;
}

/* A run that has to come to its end; a check in it that fails is told. */
static inline void run_seed(uint64_t seed, void (*run)(void *arg), void *arg)
{
	struct sim_config config = sim_config_default(seed);

	if (run_config(&config, run, arg) != SIM_DONE)
		fail_msg("%s", sim_report(sim));
	assert_int_equal(sim_own_bytes(sim), 0);
	sim_close(sim);
}

/* Inside of a run: a failed assert must not jump off its stack. */
#define CHECK(condition)                                                          \
	((condition) ? (void)0 :                                                  \
		       sim_fail(sim, "%s:%d: %s\n", __FILE__, __LINE__, #condition))

/* --- a process whose memory a monitor fills with zeros -------------------- */

struct served {
	int uffd;
	bool ready, stop;
	bool keep_children; /* their userfaultfds stay open, and nobody reads them */
	struct sys_thread *thread;
	uint32_t counts[SYS_EVENT_FORK + 1]; /* messages of each type */
	struct sys_event last[SYS_EVENT_FORK + 1];
	uint64_t stash[64]; /* faults for which a message was in flight */
	size_t stash_count;
};

static inline void serve_fault(struct served *s, uint64_t addr)
{
	struct span hole = span_make(addr, PAGE_BYTES);
	uint64_t done;
	int err = sys->ops->uffd_zeropage(sys, s->uffd, hole, &done);

	/* To wake it now would be for ever: a fault is read before the message. */
	if (err == -EAGAIN)
		s->stash[s->stash_count++] = addr;
	else if (err)
		sys->ops->uffd_wake(sys, s->uffd, hole);
}

static inline void serve_stash(struct served *s)
{
	uint64_t addrs[ARRAY_SIZE(s->stash)];
	size_t count = s->stash_count;

	memcpy(addrs, s->stash, sizeof(addrs));
	s->stash_count = 0;
	for (size_t i = 0; i < count; i++)
		serve_fault(s, addrs[i]);
	base_host->cpu_yield();
}

static inline void serve_event(struct served *s, const struct sys_event *event)
{
	s->counts[event->type]++;
	s->last[event->type] = *event;
	if (event->type == SYS_EVENT_FORK && !s->keep_children)
		sys->ops->uffd_close(sys, event->child_uffd);
	if (event->type == SYS_EVENT_FAULT)
		serve_fault(s, event->addr);
	else
		sys->ops->uffd_wake(sys, s->uffd, event->span);
}

static inline void serve(void *arg)
{
	struct served *s = arg;
	struct sys_event event;

	CHECK(!sys->ops->uffd_open(sys, &s->uffd));
	s->ready = true;
	while (!s->stop) {
		if (!sys->ops->uffd_read(sys, s->uffd, &event))
			serve_event(s, &event);
		else if (s->stash_count)
			serve_stash(s);
		else
			CHECK(!sys->ops->uffd_wait(sys, s->uffd, BASE_FOREVER));
	}
	sys->ops->uffd_close(sys, s->uffd);
}

static inline void served_start(struct served *s)
{
	struct sys_thread_attr attr = { .name = "monitor",
					.run = serve,
					.arg = s,
					.flags = SYS_THREAD_OWN_FILES | SYS_THREAD_MONITOR };

	memset(s, 0, sizeof(*s));
	CHECK(!sys->ops->thread_create(sys, &attr, &s->thread));
	while (!s->ready)
		base_host->cpu_yield();
}

/* By the program, for the monitor: its descriptor is the monitor's. */
static inline void served_register(struct served *s, struct span span)
{
	CHECK(!sys->ops->uffd_register(sys, s->uffd, span, BOTH_MODES));
}

static inline void served_stop(struct served *s)
{
	s->stop = true;
	sys->ops->uffd_kick(sys);
	sys->ops->thread_join(sys, s->thread);
}

static inline uint64_t map_pages(uint64_t pages)
{
	uint64_t addr;

	CHECK(!sim_mmap(sim, 0, pages * PAGE_BYTES, READ_WRITE, SYS_VMA_ANON_PRIVATE, 0,
			&addr));
	return addr;
}

static inline uint64_t load(uint64_t addr)
{
	uint64_t value = ~0ull;

	CHECK(!sim_load(sim, addr, &value));
	return value;
}

static inline uint32_t page(uint64_t addr)
{
	return sim_page(sim, sim_process(sim, 0), addr);
}

#endif
