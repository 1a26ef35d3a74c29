/* SPDX-License-Identifier: MIT */
/*
 * chaos/agent.h - what the files of libusvm-chaos.so share.
 *
 * All state is static, in the writable segment of the agent, which never migrates, or in
 * pages of the library's. The agent's thread has no malloc and no stdio (law 3).
 */
#ifndef CHAOS_AGENT_H
#define CHAOS_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "base/span.h"
#include "shared.h"
#include "sys/sys.h"
#include "usvm/usvm.h"

#define AGENT_ARENA_COUNT_MAX 8

struct agent {
	struct chaos_shared *shared; /* NULL: nobody asked for chaos */
	struct chaos_slot *slot;     /* NULL: there is none left */
	uint64_t base[CHAOS_COUNTER_COUNT]; /* what the slot had before */
	uint64_t counts[CHAOS_COUNTER_COUNT]; /* written by the agent's thread */
	uint32_t process_id;         /* atomic: where the thread runs; 0: nowhere */
	uint32_t stopping;           /* atomic; parked on */
	struct prng random;

	struct sys *sys;
	struct sys_thread *thread;
	struct usvm *device; /* atomic; NULL: not open yet */
	struct usvm_vm *vm;
	struct usvm_queue *queue;

	/* Device memory: private anonymous too, and not the program's. */
	struct span arenas[AGENT_ARENA_COUNT_MAX];
	uint32_t arena_count; /* atomic */
};

extern struct agent agent;

/** agent_leave() - count for the last time: this process ends. Context: any thread. */
void agent_leave(void);

/** agent_is_arena() - does @span hold device memory? */
bool agent_is_arena(struct span span);

/* roam.c: what the thread does. Context: the agent's thread. */

/** roam_create() - memory for the lists. Return: 0, -ENOMEM. */
int roam_create(void);

/** roam_step() - one random thing to one random part of the program's memory */
void roam_step(void);

/* census.c: which pages lie there, for how long, and which went out */

int census_create(void);

/** census_is_own() - is @span memory of usvm, as of the last look? */
bool census_is_own(struct span span);

/** census_due() - is it time for another? */
bool census_due(uint64_t now_ns);

/** census_take() - look at every page of private anonymous memory */
void census_take(uint64_t now_ns);

/** census_went() - the pages of @span that are missing, and were there, went out */
void census_went(struct span span);

/* follow.c: children and programs that follow get an agent, and do not see how */

/** follow_init() - hide the agent's variables from the program's environment
 * @envp: as the process was given it
 * Return: the path of the shared file; NULL: there is none. */
const char *follow_init(char **envp);

/** follow_child() - in a child of fork */
void follow_child(void);

#endif
