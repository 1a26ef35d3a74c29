/* SPDX-License-Identifier: MIT */
/*
 * plan.h - a random program, drawn from a seed before anything runs.
 *
 * A plan is data: a list of operations, each of one thread of the program. It can be
 * printed, and operations can be left out of it; what is left means the same as before,
 * because every address and value is drawn here and none depends on a result.
 */
#ifndef TESTS_SIM_PLAN_H
#define TESTS_SIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"
#include "base/span.h"
#include "sys/sim.h"

#define PLAN_THREADS_MAX 4
#define PLAN_ACCESSES_MAX 8
#define PLAN_BLOCKS 6 /* of 2 MiB: the playground, where the program's memory is */
/* Commands of batches, 2 MiB a thread: in half of the runs, memory that never migrates. */
#define BATCHES_START (SIM_START + MIB(32))
#define BATCHES_BYTES (PLAN_THREADS_MAX * MIB(2))
#define PLAY_START (SIM_START + MIB(64))
#define PLAY_END (PLAY_START + PLAN_BLOCKS * HUGE_BYTES)
/* Where threads have memory of their own, in its beginning: more slots than buffers. */
#define PLAN_SLOTS 8
#define PLAN_SLOT_PAGES 4

enum op_type {
	OP_LOAD,
	OP_STORE,
	OP_ADD,
	OP_EXCHANGE,
	OP_READ_CALL,  /* a system call that writes the program's memory */
	OP_WRITE_CALL, /* ... that reads it */
	OP_MMAP,
	OP_MUNMAP,
	OP_REMAKE, /* munmap(), mmap() of the same, and a store */
	OP_MREMAP,
	OP_MADVISE,
	OP_MPROTECT,
	OP_MLOCK,
	OP_PIN,
	OP_SWAP,
	OP_FORK,
	OP_KERNEL,
	OP_BATCH,
	OP_WAIT,
	OP_PREFETCH,
	OP_QUERY,
	OP_QUEUE,  /* destroy the thread's queue, make another */
	OP_VM,     /* the same for its vm */
	OP_DEVICE, /* the same for a device of the thread's own */
	OP_BIND,   /* take the mirror of a block from the thread's vm, and give it back */
	OP_UNPLUG, /* the thread's own device, or the common one, goes away */
	OP_ADVISE, /* usvm_advise() of a span; detail: 0.. location, 3.. atomic, 7.. PAT */
	OP_BOUNCE, /* CPU and engine use a word by turns, some times */
	OP_OBJECT, /* the thread's buffer object: used, moved, bound anew, given back */
	OP_COUNT
};

enum op_flag {
	OP_ASYNC = 1 << 0,      /* KERNEL, BATCH: waited for later */
	OP_RAW = 1 << 1,        /* FORK: clone() */
	OP_TO_DEVICE = 1 << 2,  /* PREFETCH */
	OP_DONTUNMAP = 1 << 3,  /* MREMAP */
	OP_NOREPLACE = 1 << 4,  /* MMAP */
	OP_ON = 1 << 5,         /* MLOCK; BIND: and give it back */
	OP_SHARED = 1 << 6,     /* MMAP: shared anonymous memory */
	OP_OWN = 1 << 7,        /* DEVICE: open one of the thread's own; else the common one;
				 * UNPLUG: only one's own */
	OP_FENCE = 1 << 8,      /* KERNEL, BATCH: with a user fence, the last access */
	OP_READ_ONLY = 1 << 9,  /* VM, BIND */
	OP_UNMAPS = 1 << 10,    /* FORK: the child unmaps, too */
	OP_PIECES = 1 << 11,    /* VM: each block has a bind of its own */
	OP_ADVISED = 1 << 12,   /* PREFETCH: where it should be */
};

enum access_type {
	ACCESS_LOAD,
	ACCESS_STORE,
	ACCESS_ADD,
	ACCESS_EXCHANGE,
	ACCESS_BULK_READ, /* all words of the page that exist */
};

struct op_access {
	enum access_type type;
	uint64_t addr;
};

struct op {
	uint32_t number;
	enum op_type type;
	uint32_t thread;
	uint32_t flags;  /* enum op_flag */
	uint64_t addr;
	uint64_t bytes;
	uint64_t to;
	uint32_t detail; /* MADVISE: enum sim_advice; MPROTECT, MMAP: enum sys_prot */
	uint32_t access_count;
	struct op_access access[PLAN_ACCESSES_MAX];
};

/* What a run looks like beside its operations. */
struct setting {
	uint32_t threads;
	bool common_vm;      /* threads that have no device of their own share one */
	bool own;            /* mremap and munmap: of what the thread has; see own.c */
	bool autoreset;      /* vms of a thread's own forget what was said of what is unmapped */
	bool pieces;         /* the first vm of each thread is its own, with a bind a block */
	char device[128];    /* usvm_open()'s spec */
	char own_device[128]; /* the same for a thread's own */
	struct sim_config sim;
};

struct profile {
	const char *name;
	const char *summary;
	uint16_t weight[OP_COUNT];
	uint32_t vram_blocks_max;
	uint32_t hot_pages; /* most accesses go to so many */
	bool own;           /* each thread moves its own memory, and no other */
	bool tight;         /* all of them in 64 KiB, and calls are of a few pages */
	bool races;         /* and schedules that starve, always */
	bool peers;         /* most threads begin with a device, and advice says where pages go */
};

struct plan {
	const struct profile *profile;
	uint64_t seed;
	struct setting setting;
	struct op *ops;
	size_t count;
};

const struct profile *plan_profile(const char *name); /* NULL: none */
const struct profile *plan_profile_get(size_t index); /* NULL: no more */

/* With entries=marked, whatever the plan: as entries of devices are otherwise the same, so
 * are the plans. */
extern bool plan_marked;

/** plan_create() - the same seed, profile and count give the same plan, always; a larger
 * count only adds operations */
MUST_CHECK int plan_create(uint64_t seed, const struct profile *profile, size_t count,
			   struct plan *plan);
void plan_destroy(struct plan *plan);
/** plan_schedule() - the kind of its schedule, in a word */
const char *plan_schedule(const struct plan *plan);

/** plan_value() - what access @index of @op writes: it tells who wrote it */
static inline uint64_t plan_value(const struct op *op, uint32_t index)
{
	return ((uint64_t)op->number << 8 | index) + 1;
}

/** plan_add() - what it adds: apart from all plan_value()s */
static inline uint64_t plan_add(const struct op *op, uint32_t index)
{
	return plan_value(op, index) << 32;
}

const char *op_name(enum op_type type);
/** op_format() - one line, without a line's end. Return: as snprintf(). */
int op_format(const struct op *op, char *buffer, size_t bytes);
/** plan_place() - an address in short: "3:017+8" is block 3, page 0x17, byte 8 */
const char *plan_place(uint64_t addr, char buffer[32]);

#endif
