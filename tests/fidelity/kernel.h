/* SPDX-License-Identifier: MIT */
/*
 * kernel.h - a kernel to which a script is done, and what came of it.
 *
 * conduct() is the same for both kernels: it hands acts to actors, waits until each has
 * finished or sleeps, and writes down what can be seen. What differs stands behind struct
 * kernel: how the program's calls are made, and how one sees that a thread sleeps.
 */
#ifndef TESTS_FIDELITY_KERNEL_H
#define TESTS_FIDELITY_KERNEL_H

#include "script.h"
#include "sys/sys.h"

#define OUTCOME_TEXT_BYTES (4u << 20)
#define ERRNO_MAX 140

/* What a script did: comparable, byte by byte, between kernels. */
struct outcome {
	uint32_t features; /* of the kernel, less those taken away */
	uint32_t done;     /* acts */
	bool is_complete;
	uint32_t texts[ACTS_MAX + 1]; /* where the text of each act begins; lines */
	struct {
		uint32_t text; /* where the state begins */
		uint64_t hash; /* of the state, as if no page were the zero page */
		bool was_huge; /* a huge page was there, then or before */
	} states[ACTS_MAX];
	uint32_t counts[ACT_COUNT][ERRNO_MAX]; /* acts that returned 0, -1, ... */
	uint32_t messages[SYS_EVENT_FORK + 1];
	uint32_t length;
	char text[OUTCOME_TEXT_BYTES];
};

/* Who does acts. In memory that a child shares with its parent. */
struct actor {
	uint32_t busy;  /* atomic: it has an act to do */
	uint32_t ready; /* atomic: it is there */
	uint32_t thread_id;
	uint8_t who;
	struct act act;
	int result;
	uint64_t value;
	bool in_act; /* the conductor's: begun and not told yet */
	bool is_gone;
	int64_t number; /* the kernel's: process or thread */
	void *object;
};

struct kernel {
	struct sys *sys;
	uint64_t program, arena; /* addresses of P0:0 and A0:0 */
	struct actor *actors;    /* of enum who */

	/* By the actor. */
	void (*begin)(struct actor *self);
	int (*call)(struct actor *self, const struct act *act, uint64_t *value);
	void (*park)(uint32_t *word, uint32_t expected);

	/* By the conductor. */
	void (*unpark)(uint32_t *word);
	const char *(*sleeps)(const struct actor *actor); /* in what; NULL: it runs */
	bool (*is_parked)(const struct actor *actor); /* and nothing else */
	bool (*is_gone)(const struct actor *actor);       /* its process */
	void (*pause)(void);                              /* while others run */
	bool (*peek)(uint64_t addr, uint64_t *word);
};

/** conduct_on() - before there are actors; its actors are zeroed */
void conduct_on(struct kernel *kernel);
/** conduct() - by a thread of the library with a file table of its own */
void conduct(const struct script *script, struct outcome *outcome);
/** actor_run() - the life of an actor: void (*run)(void *arg) */
void actor_run(void *actor);

uint64_t place_addr(const struct kernel *kernel, struct place place);
struct span place_span(const struct kernel *kernel, struct place place);

/** linux_run() - in a process of its own. Return: NULL, or what went wrong. */
const char *linux_run(const struct script *script, struct outcome *outcome);
/** linux_can_pin() - ACT_PIN: is there an io_uring? */
bool linux_can_pin(void);
/** simulated_run() - with the features of @outcome. Return: as linux_run(). */
const char *simulated_run(const struct script *script, struct outcome *outcome);

#endif
