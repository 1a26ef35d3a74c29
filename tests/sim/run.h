/* SPDX-License-Identifier: MIT */
/*
 * run.h - one run of a plan on a simulated kernel.
 */
#ifndef TESTS_SIM_RUN_H
#define TESTS_SIM_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model.h"
#include "plan.h"
#include "sys/sim.h"
#include "usvm/usvm.h"

#define JOBS_MAX 4       /* of a thread, not waited for yet */
#define CHILDREN_MAX 4
#define OBJECT_PAGES_MAX 512
#define RUN_TEXT_MAX 2048

struct world;
struct program;

/* Work of the GPU that was submitted. */
struct job {
	struct program *program;
	const struct op *op;
	struct usvm_fence *fence;
	struct model_access access[PLAN_ACCESSES_MAX];
	struct model_access bulk[MODEL_WORDS];
	uint64_t submitted; /* the model's moment */
	uint32_t done;    /* accesses of a kernel */
	bool in_access;   /* a kernel is in the next */
	bool has_fence;   /* the last access is the user fence */
	bool read_only;   /* its vm */
	bool active;
	uint32_t advice_count; /* the program's, when it was submitted */
};

/* What a thread has said of a page in a vm of its own, of each attribute, and when: times
 * are those of world.unmap_clock. */
struct advice {
	uint8_t value[3];
	bool is_vague[3]; /* a call that unmaps was under way */
	uint32_t before[3];
	uint32_t after[3];
};

/* Calls that unmap a page, or what they could find there. */
struct unmaps {
	uint32_t begun, ended; /* so many */
	uint32_t last;         /* when the last began */
	uint32_t last_end;     /* when one ended last */
	uint32_t maybe;        /* when it began, if usvm is told of it; else 0 */
	uint32_t heard, done;  /* when one began and ended that it was told of, and no other */
};

#define PLAY_PAGES (PLAN_BLOCKS * (HUGE_BYTES / PAGE_BYTES))

struct child {
	struct program *program;
	const struct op *op;
	struct sim_process *process;
	uint64_t fork_start;
	uint32_t slot; /* of model_hold() */
	struct model_values values[PLAN_ACCESSES_MAX];
	uint64_t own[PLAN_ACCESSES_MAX]; /* what the child wrote itself */
	bool has_own[PLAN_ACCESSES_MAX];
	uint64_t discarded; /* a page; 0: none */
	bool is_late[PLAN_ACCESSES_MAX]; /* what it lacks may be dropped before it is known */
	bool active;
};

/* The thread's buffer object, and what is in it. */
struct object {
	struct usvm_bo *bo;     /* NULL: none */
	struct usvm_vm *vm;     /* where it is bound */
	uint32_t pages;
	uint64_t word[OBJECT_PAGES_MAX]; /* the first of each page */
	bool is_known[OBJECT_PAGES_MAX];
};

/* A thread of the program. */
struct program {
	struct world *world;
	uint32_t index;
	struct sim_thread *thread;
	const struct op *op;      /* under way */
	struct usvm *own;         /* NULL: the common device is used */
	struct usvm_vm *vm;       /* NULL: none yet, or the common one */
	struct usvm_queue *queue;
	bool read_only;
	bool pieces;              /* the vm has a bind for each block */
	uint32_t patchy;          /* blocks that were not always mirrored as they are, by bits */
	bool autoreset;           /* its own vms forget what was said of what is unmapped */
	struct advice advice[PLAY_PAGES];
	uint32_t advice_count;    /* times it changed */
	uint32_t unbound;         /* blocks that are not mirrored now */
	struct job jobs[JOBS_MAX];
	uint32_t job_next;
	struct child children[CHILDREN_MAX];
	uint32_t child_next;
	uint64_t batch_addr;      /* JOBS_MAX pages for commands */
	uint64_t own_addr[2];     /* its memory in the slots; 0: none */
	struct object object;
};

/* A call of the library that fails; see sim_inject() and tests/device/faulty.h. */
struct injection {
	const char *call;
	uint64_t nth;
	int error;
	bool for_ever;
	bool loses; /* contents of pages: who touches them gets SIGBUS */
};

struct run_spec {
	const struct plan *plan;
	const bool *left_out;     /* by operation's number; or NULL */
	bool *began;              /* out, by operation's number */
	uint64_t steps_max;       /* after them no operation begins */
	const struct sim_switch *schedule; /* or NULL: the seed's */
	size_t schedule_count;
	size_t trace_max;
	bool check;               /* structures, while it runs */
	const struct injection *injection; /* or NULL */
};

struct run_result {
	bool failed;
	uint64_t steps;
	uint64_t ops;             /* begun */
	const char *schedule;     /* its kind */
	uint64_t hash;            /* of the schedule and of what was loaded */
	char text[RUN_TEXT_MAX];  /* what went wrong */
};

/* What check.c looks at: the common device and vm, then those of each thread. */
struct seen {
	struct usvm *device; /* NULL: none, or it is being opened or closed */
	struct usvm_vm *vm;
	bool leaves;         /* usvm_device_unplug() was called */
	bool gone;           /* and has returned 0 */
	uint32_t touched;    /* of check.c */
};

struct world {
	const struct run_spec *spec;
	struct run_result *result;
	struct sim *sim;
	struct model *model;
	struct usvm *common;
	struct usvm_vm *common_vm;
	struct program programs[PLAN_THREADS_MAX];
	uint64_t step_count;      /* of check.c */
	struct seen seen[1 + PLAN_THREADS_MAX];
	struct unmaps unmaps[PLAY_PAGES]; /* of advise.c */
	uint32_t unmap_clock;
	bool may_refuse[PLAY_PAGES]; /* atomics: it was said, once, in some vm */
	bool gate_was_closed;       /* of check_places.c */
	uint64_t gate_pages;
	bool is_wanted[PLAN_SLOTS]; /* somebody is about to have it; of own.c */
};

/** run_plan() - one run, from sim_open() to sim_close(); @see, or NULL, is called before
 * the close, with what there is to see */
void run_plan(const struct run_spec *spec, struct run_result *result,
	      void (*see)(struct world *world, void *arg), void *arg);

/** run_fail() - the run ends: @why, in the words of program.c and friends */
NORETURN void run_fail(struct program *program, const char *format, ...) PRINTF(2, 3);

/** run_verdict() - goes on if @why is NULL */
void run_verdict(struct program *program, const char *why);

/** run_inject() - give the order that the case has, if it has one; or take it back */
void run_inject(struct world *world, bool on);

/** run_tolerates() - a call was ordered to fail, and @err is an error that usvm documents */
bool run_tolerates(const struct world *world, int err);

/** run_loses() - pages may be lost for good: an access may fail where there is memory */
bool run_loses(const struct world *world);

/** run_hash() - a value that the same seed must give again */
void run_hash(struct world *world, uint64_t value);

/* program.c: calls of the program */
void program_run_op(struct program *program, const struct op *op);

/* own.c: where each thread has memory of its own. Return: false: not one of its operations */
bool own_run_op(struct program *program, const struct op *op);

/* gpu.c */
struct usvm *gpu_device_of(struct program *program);
struct usvm_queue *gpu_queue_of(struct program *program); /* the same */
/* False: it failed, and may. */
bool gpu_must(struct program *program, const char *what, int err);
void gpu_run_op(struct program *program, const struct op *op);
void gpu_wait_all(struct program *program);
void gpu_leave(struct program *program); /* waits, and gives queue, vm and own device back */

struct usvm_vm *gpu_vm(struct program *program); /* NULL: there is none */

/* advise.c */
void advise_new_vm(struct program *program);
/** advise_unmaps() - a call takes what is mapped in @span away. Return: for the end */
uint32_t advise_unmaps(struct world *world, struct span span);
void advise_unmapped(struct world *world, struct span span, uint32_t number, int err);
void advise_run_op(struct program *program, const struct op *op);
bool advise_may_refuse(const struct program *program, uint64_t addr);
void advise_judge(const struct job *job);

/* object.c: the buffer object of each thread */
struct span object_span(uint32_t thread); /* where it binds it */
void object_run_op(struct program *program, const struct op *op);
void object_unbound(struct program *program); /* the thread's vm goes */
void object_drop(struct program *program);

/* child.c */
void child_fork(struct program *program, const struct op *op);
void child_wait_all(struct program *program);

/* check.c */
void check_step(void *world);
void check_closed(struct world *world);
/** check_all() - everything at once; all threads are done */
void check_all(struct world *world);

#endif
