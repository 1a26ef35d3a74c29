/* SPDX-License-Identifier: MIT */
/*
 * sys_live.h - what the tests of sys on the real kernel share.
 */
#ifndef TESTS_LIVE_SYS_LIVE_H
#define TESTS_LIVE_SYS_LIVE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/host.h"
#include "base/prng.h"
#include "base/wait.h"
#include "sys/sys.h"

#include "../unit/base/seed.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

/* An assertion for threads of the library, where cmocka's may not be used. */
#define CHECK(x) \
	((x) ? (void)0 : base_host->die(__FILE__ ":" STRING(__LINE__) ": " #x "\n"))

static inline struct sys *open_sys(const char *mask)
{
	struct sys *sys;
	int err = sys_linux_open(mask, &sys);

	if (err) {
		printf("sys_linux_open: %d\n", err);
		exit(1);
	}
	return sys;
}

/* Exit 77 unless the kernel gives all of @features. */
static inline void need_features(const char *what, uint32_t features)
{
	struct sys *sys = open_sys("");
	uint32_t missing = features & ~sys->features;

	sys_linux_close(sys);
	if (missing) {
		printf("SKIP: no %s here\n", what);
		exit(77);
	}
}

static inline void *map_anonymous(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static inline uint64_t addr_of(const void *p)
{
	return (uintptr_t)p;
}

static inline void *pointer_to(uint64_t addr)
{
	return (void *)(uintptr_t)addr;
}

static inline struct span span_of(const void *p, uint64_t bytes)
{
	return span_make((uintptr_t)p, bytes);
}

/* A gate: one thread waits until another opens it. */
struct gate {
	uint32_t is_open; /* atomic */
	struct wait wait;
};

static inline void gate_open(struct gate *gate)
{
	ATOMIC_STORE(&gate->is_open, 1);
	wait_wake_all(&gate->wait);
}

static inline void gate_pass(struct gate *gate)
{
	for (;;) {
		uint32_t ticket = wait_ticket(&gate->wait);

		if (ATOMIC_LOAD(&gate->is_open))
			return;
		wait_sleep(&gate->wait, ticket, BASE_FOREVER);
	}
}

static inline struct sys_thread *start(struct sys *sys, uint32_t flags,
				       void (*run)(void *arg), void *arg)
{
	const struct sys_thread_attr attr = {
		.name = "usvm-test",
		.run = run,
		.arg = arg,
		.flags = flags,
	};
	struct sys_thread *thread;

	/* cmocka puts its own in front for each test. */
	if (sys->ops->check_signal_handlers(sys))
		base_host->die("no signal handlers\n");
	if (sys->ops->thread_create(sys, &attr, &thread))
		base_host->die("no thread\n");
	return thread;
}

/* Run @run on a thread with a file table of its own, to its end. */
static inline void run_apart(struct sys *sys, void (*run)(void *arg), void *arg)
{
	sys->ops->thread_join(sys, start(sys, SYS_THREAD_OWN_FILES, run, arg));
}

#endif
