/* SPDX-License-Identifier: MIT */
/*
 * sys/sim.h - a kernel in memory, with a processor that a seed drives.
 *
 * The second implementation of struct sys_ops. It has processes, VMAs, pages with
 * contents, userfaultfds with the orders and errors of the real one, a clock, and
 * threads of its own: stacks that one real thread switches between. The layers above
 * run on it unchanged; every interleaving of theirs is a sequence of decisions that
 * the seed makes, that is recorded, and that can be given back.
 *
 *     struct sim_config config = sim_config_default(seed);
 *     struct sim *sim;
 *
 *     sim_open(&config, &sim);             base_host and sim_sys() are the simulator's
 *     switch (sim_run(sim, run, arg, steps_max)) {
 *     case SIM_DONE: ...                   run() returned
 *     default: puts(sim_report(sim));      what went wrong, or who waits for what
 *     }
 *     sim_close(sim);                      everything is gone, also what run() left
 *
 * One is open at a time; any number may follow each other.
 *
 * A *step* is what a thread does from one yield point to the next. Yield points are
 * every call of sys_ops, of base_host's park, unpark and cpu_yield, every call of the
 * program below, and every access of base/atomic.h (so every lock operation) in code
 * that is compiled with -DUSVM_YIELD_POINTS. Code between two yield points is atomic.
 *
 * *Addresses* are numbers in [SIM_START, SIM_END) that are no pointers. The program has
 * the part below SIM_ARENA; sys_ops.map() takes from the part above, and there, and only
 * there, sys_ops.pointer() gives a pointer, under which pages are PAGE_BYTES apart. Of each
 * page the first frame_bytes exist. An access of the program beyond them fails the run; the
 * library's accessor reads zeros there; through a pointer there are bytes that are lost when
 * the page moves.
 *
 * *Processes*: number 0 has the library; its memory is not in the simulation. Children of
 * sim_fork() run program code only.
 *
 * Meson: an executable with `dependencies: sim_dep` is linked with every layer, compiled
 * with -DUSVM_YIELD_POINTS, on this kernel instead of linux.c: there sys_linux_open() gives
 * the simulator that is open, so that usvm_open() works too.
 *
 * docs/design/simulator.md tells what is modelled and what is not; docs/testing.md how to
 * read a trace.
 */
#ifndef SYS_SIM_H
#define SYS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "sys/sys.h"

struct sim;
struct sim_process;
struct sim_thread;
struct sim_pin;

#define SIM_START GIB(4)
#define SIM_ARENA GIB(12)
#define SIM_END GIB(20)

#define SIM_ALL_FEATURES 0x7ffu /* every enum sys_feature */
#define SIM_MAIN 0u             /* the number of the thread that runs sim_run()'s @run */

/* --- life ----------------------------------------------------------------- */

/* Thread @thread runs from step @step on. */
struct sim_switch {
	uint64_t step;
	uint32_t thread;
};

enum sim_thp {
	SIM_THP_NEVER,
	SIM_THP_ADVISED,
	SIM_THP_ALWAYS,
};

enum sim_policy {
	/* Run on; at a yield point, 1 in preempt_1_in, another thread at random. */
	SIM_POLICY_RANDOM,
	/* PCT: the runnable thread of the highest priority runs. Priorities are random,
	 * and at change_count steps among the first change_span the running thread gets
	 * the lowest. cpu_yield() gives the lowest, too. Behind change_span: as RANDOM. */
	SIM_POLICY_PRIORITY,
	/* As RANDOM, but who is preempted may stand still for long: 1 time in freeze_1_in
	 * the running thread, or another, does not run for up to freeze_steps, unless
	 * nobody else can. So what others do meanwhile is more than a few steps. */
	SIM_POLICY_STARVE,
};

/* What a kernel may do and seldom does: each 1 time in so many, 0: never. */
struct sim_odds {
	uint32_t move_lies;      /* a page moves and MOVE says -EEXIST (A4) */
	uint32_t move_stops;     /* MOVE stops early: -EAGAIN with progress */
	uint32_t page_busy;      /* MOVE of a page: -EBUSY, by a pin that is short */
	uint32_t park_returns;   /* park() returns at once, without a reason */
	uint32_t fault_repeats;  /* a thread asleep in a fault is woken by a signal, and
				  * faults again: the fault is read twice */
	uint32_t swap_out;       /* at a system call a page of the program is swapped out */
	uint32_t thp_fails;      /* a fault that could make a huge page makes a small one */
};

struct sim_config {
	uint64_t seed;
	uint32_t features;       /* enum sys_feature; default all */
	uint32_t frame_bytes;    /* power of two, 64 (default) to PAGE_BYTES */
	uint32_t max_map_count;  /* default 65530 */
	uint32_t cpu_count;      /* what sys_limits says; default 2 */
	uint64_t arena_start;    /* default SIM_ARENA; 2 MiB-aligned, as is the next */
	uint64_t end;            /* default SIM_END */
	enum sim_thp thp;        /* default SIM_THP_ADVISED */
	bool separate_maps;      /* neighbouring mmap()s stay two VMAs; default: they merge */
	bool moves_several;      /* mremap() may move several VMAs, as Linux 6.17 */
	enum sim_policy policy;
	uint32_t preempt_1_in;   /* default 8; 1: at each yield point; 0: never */
	uint32_t change_count;   /* of SIM_POLICY_PRIORITY; default 4 */
	uint64_t change_span;    /* default 10000 */
	uint32_t freeze_1_in;    /* of SIM_POLICY_STARVE; default 2 */
	uint32_t freeze_steps;   /* a power of two; default 4096 */
	uint64_t step_ns;        /* what a step takes on the clock; default 50 */
	struct sim_odds odds;    /* default: none */
	struct span exclusion;   /* what sys_ops.exclusions() says; default: nothing */
	size_t trace_max;        /* the last so many events are kept; default 4096, 0: none */
	/* Replay: these switches and no others, but where a thread cannot run on: then the
	 * next one that can, by number. NULL: the seed decides. Borrowed until sim_close(). */
	const struct sim_switch *schedule;
	size_t schedule_count;
};

/** sim_config_default() - everything on, nothing odd */
struct sim_config sim_config_default(uint64_t seed);

/**
 * sim_open() - an empty address space; installs base_host
 *
 * Return: 0; -EBUSY one is open; -EINVAL the configuration; -ENOMEM.
 */
MUST_CHECK int sim_open(const struct sim_config *config, struct sim **sim);

/** sim_close() - give everything back, threads that have not ended and pages that the
 * library did not free included */
void sim_close(struct sim *sim);

/** sim_sys() - for the layers above; features may be changed while nothing runs */
struct sys *sim_sys(struct sim *sim);

enum sim_outcome {
	SIM_DONE,       /* @run returned, or its process was killed and all others ended */
	SIM_STEPS_OVER, /* @run still runs after steps_max */
	SIM_DEADLOCK,   /* no thread can ever run */
	SIM_FAILED,     /* sim_fail(), base_host->die(), or a misuse of the simulator */
};

/**
 * sim_run() - run @run in thread SIM_MAIN of process 0, and what it starts
 *
 * Once for each sim_open(). Whoever is left when @run returns never runs again; their
 * stacks are not unwound. Threads of the library are process 0's: see sim_kill().
 */
enum sim_outcome sim_run(struct sim *sim, void (*run)(void *arg), void *arg,
			 uint64_t steps_max);

/** sim_report() - the outcome in words, of several lines; valid until sim_close() */
const char *sim_report(struct sim *sim);

/** sim_fail() - end the run as SIM_FAILED. Context: within sim_run(), hooks included. */
NORETURN void sim_fail(struct sim *sim, const char *format, ...) PRINTF(2, 3);

uint64_t sim_step(const struct sim *sim);     /* steps so far */
uint64_t sim_clock_ns(const struct sim *sim); /* now; starts at a second */

/** sim_on_step() - call @hook after every step, on the stack of the thread that made it.
 * It sees a state between two steps; nothing that it does is a yield point. */
void sim_on_step(struct sim *sim, void (*hook)(void *arg), void *arg);

/** sim_rand() - a number below @limit from a generator of its own, seeded by the seed:
 * the schedule does not depend on it, nor it on the schedule's choices */
uint64_t sim_rand(struct sim *sim, uint64_t limit);

/* --- schedule and trace --------------------------------------------------- */

/** sim_schedule() - every switch so far; give it back as sim_config.schedule */
const struct sim_switch *sim_schedule(const struct sim *sim, size_t *count);

#define SIM_TRACE_ARGS 4

/* One named thing that a thread did. Steps that are only an atomic access have none. */
struct sim_trace {
	uint64_t step;
	uint64_t clock_ns;
	uint32_t thread;
	const char *what;          /* "uffd_move", "munmap", ...; not copied */
	uint8_t arg_count;
	bool has_result;           /* false: it has not come back yet, or returns nothing */
	const char *names[SIM_TRACE_ARGS]; /* "dst", ... */
	uint64_t args[SIM_TRACE_ARGS];
	int64_t result;            /* 0, -errno */
	uint64_t value;            /* what came back beside: bytes moved, a value loaded */
};

/** sim_trace_get() - event @index of the last ones, 0 the oldest that is kept; NULL: none */
const struct sim_trace *sim_trace_get(const struct sim *sim, size_t index);
size_t sim_trace_count(const struct sim *sim);

/** sim_trace_format() - "uffd_move(dst=.. src=.. bytes=..) = -EAGAIN 4096"; Return: as
 * snprintf() */
int sim_trace_format(const struct sim_trace *event, char *buffer, size_t bytes);

/** sim_trace_note() - an event of the caller's own: what a workload or an engine does.
 * No yield point. @what and @names are not copied. */
void sim_trace_note(struct sim *sim, const char *what, size_t count,
		    const char *const *names, const uint64_t *args);

/* --- threads -------------------------------------------------------------- */

enum sim_thread_state {
	SIM_THREAD_READY,
	SIM_THREAD_BLOCKED, /* sim_thread_waits_for() tells for what */
	SIM_THREAD_ENDED,
};

/** sim_thread_start() - a thread of the program, in the process of the caller. @name is
 * copied, 15 bytes at most. Numbers count from SIM_MAIN in the order of the starts. */
struct sim_thread *sim_thread_start(struct sim *sim, const char *name,
				    void (*run)(void *arg), void *arg);
/** sim_thread_join() - wait until @thread ended, or was killed with its process; once */
void sim_thread_join(struct sim *sim, struct sim_thread *thread);

struct sim_thread *sim_thread_self(struct sim *sim); /* NULL: outside of sim_run() */
struct sim_thread *sim_thread_get(struct sim *sim, uint32_t number); /* NULL: none */
uint32_t sim_thread_number(const struct sim_thread *thread);
const char *sim_thread_name(const struct sim_thread *thread);
enum sim_thread_state sim_thread_state(const struct sim_thread *thread);
struct sim_process *sim_thread_process(const struct sim_thread *thread);
/** sim_thread_waits_for() - "fault at 0x..", "event unmap", "mm.event_lock", ... */
const char *sim_thread_waits_for(struct sim_thread *thread);

/** sim_yield() - a yield point that is nothing else; @what is for the trace, or NULL */
void sim_yield(struct sim *sim, const char *what);
/** sim_sleep() - nanosleep() */
void sim_sleep(struct sim *sim, uint64_t ns);

/* --- the program ----------------------------------------------------------
 *
 * By a thread of sim_run(), in the thread's process; each blocks it as the real call
 * does. Spans and addresses are page-aligned where the real call asks for it (-EINVAL).
 * 0 or -errno.
 */

enum sim_map_flag {
	SIM_MAP_FIXED = 1 << 0,     /* else at a free place; @addr is a hint */
	SIM_MAP_NOREPLACE = 1 << 1, /* with FIXED: -EEXIST instead of an unmap */
};

int sim_mmap(struct sim *sim, uint64_t addr, uint64_t bytes, uint32_t prot,
	     enum sys_vma_kind kind, uint32_t flags, uint64_t *out);
int sim_munmap(struct sim *sim, struct span span);

enum sim_mremap_flag {
	SIM_MREMAP_MAYMOVE = 1 << 0,
	SIM_MREMAP_FIXED = 1 << 1, /* to @to; else where there is room */
	SIM_MREMAP_DONTUNMAP = 1 << 2,
};

/** sim_mremap() - grow, shrink, move; @out: where it is now */
int sim_mremap(struct sim *sim, struct span old, uint64_t bytes, uint32_t flags, uint64_t to,
	       uint64_t *out);

#define SIM_PIECES_MAX 64 /* with holes between; a simulation with more of them ends */

/**
 * sim_mremap_pieces() - what the calling thread's last mremap() moved, of the old place
 *
 * Where several VMAs moved, what lies at the new place of a hole stays as it is.
 * Return: their number; 0: it moved nothing. Until the thread's next mremap().
 */
size_t sim_mremap_pieces(struct sim *sim, const struct span **pieces);

enum sim_advice {
	SIM_ADVICE_DONTNEED,
	SIM_ADVICE_FREE,
	SIM_ADVICE_REMOVE, /* shared anonymous memory; else -EINVAL */
	SIM_ADVICE_HUGEPAGE,
	SIM_ADVICE_NOHUGEPAGE,
	SIM_ADVICE_COLLAPSE,
	SIM_ADVICE_POPULATE_READ,
	SIM_ADVICE_POPULATE_WRITE,
	SIM_ADVICE_GUARD_INSTALL,
	SIM_ADVICE_GUARD_REMOVE,
	SIM_ADVICE_DONTFORK,
	SIM_ADVICE_DOFORK,
	SIM_ADVICE_WIPEONFORK,
	SIM_ADVICE_KEEPONFORK,
	SIM_ADVICE_DONTDUMP,
	SIM_ADVICE_PAGEOUT, /* swap out */
	SIM_ADVICE_MERGEABLE,
};

int sim_madvise(struct sim *sim, struct span span, enum sim_advice advice);
int sim_mprotect(struct sim *sim, struct span span, uint32_t prot);
int sim_mlock(struct sim *sim, struct span span, bool on); /* on: populates */
/** sim_brk() - move the end of the heap to @end, 0: ask; *@now: where it is */
int sim_brk(struct sim *sim, uint64_t end, uint64_t *now);

/*
 * Accesses of the CPU: 8 bytes, aligned. Return: 0; -EFAULT: SIGSEGV; -EBUSY: SIGBUS
 * (poison). *@old: the value before.
 */
int sim_load(struct sim *sim, uint64_t addr, uint64_t *value);
int sim_store(struct sim *sim, uint64_t addr, uint64_t value);
int sim_fetch_add(struct sim *sim, uint64_t addr, uint64_t add, uint64_t *old);
int sim_exchange(struct sim *sim, uint64_t addr, uint64_t value, uint64_t *old);
int sim_compare_exchange(struct sim *sim, uint64_t addr, uint64_t expected, uint64_t value,
			 uint64_t *old);

/* System calls that read or write the program's memory: read(), write(), process_vm.
 * Within one page each. -EFAULT also for a missing page without KERNEL_FAULTS. */
int sim_copy_in(struct sim *sim, uint64_t addr, void *buffer, uint32_t bytes);
int sim_copy_out(struct sim *sim, uint64_t addr, const void *buffer, uint32_t bytes);

/* DMA, as of O_DIRECT and io_uring: the page is pinned between the two calls. What is
 * done through the pin is done to that page, wherever it is mapped, or to nobody's. */
int sim_pin(struct sim *sim, uint64_t addr, bool write, struct sim_pin **pin);
void sim_unpin(struct sim *sim, struct sim_pin *pin);
void sim_pin_read(struct sim *sim, struct sim_pin *pin, uint32_t offset, void *buffer,
		  uint32_t bytes);
void sim_pin_write(struct sim *sim, struct sim_pin *pin, uint32_t offset,
		   const void *buffer, uint32_t bytes);

/* What the kernel does of itself, without an event. Pages that cannot are passed over;
 * Return: how many were. */
uint64_t sim_swap_out(struct sim *sim, struct span span);
uint64_t sim_merge_equal(struct sim *sim, struct span span); /* KSM */

enum sim_fork_flag {
	SIM_FORK_RAW = 1 << 0, /* clone(): the hooks of sys_ops.fork_hooks() do not run */
};

/**
 * sim_fork() - a child whose first thread runs @run
 * @child: out; borrowed, valid until sim_close()
 *
 * The hooks prepare() and parent() run in the calling thread. child() does not: the
 * library's memory is not in the simulation. -EAGAIN: 16384 processes were made.
 */
int sim_fork(struct sim *sim, uint32_t flags, const char *name, void (*run)(void *arg),
	     void *arg, struct sim_process **child);
/** sim_exit() - end the caller's process. Not of process 0: return from run(). */
NORETURN void sim_exit(struct sim *sim);
/** sim_kill() - SIGKILL, at whatever the threads of @process are. Of the caller's own: as
 * sim_exit(). Of process 0: the library dies with it, without a word. */
void sim_kill(struct sim *sim, struct sim_process *process);
/** sim_wait() - until @process has no thread any more */
void sim_wait(struct sim *sim, struct sim_process *process);

struct sim_process *sim_process(struct sim *sim, uint32_t number); /* NULL: none */
uint32_t sim_process_number(const struct sim_process *process);
bool sim_process_is_dead(const struct sim_process *process);

/* --- failures to order ---------------------------------------------------- */

/**
 * sim_inject() - a call fails, without having done anything
 * @op: a name of struct sys_ops, "pages_alloc" or a call above as in the trace; NULL: any of
 *      sys_ops that can fail, and pages_alloc
 * @nth: the 1st, 2nd... from now
 * @error: -@error is returned (pages_alloc: NULL)
 * @for_ever: it and all later ones; else it alone
 *
 * One for each op and one for NULL; a second replaces the first. @error 0 takes it away.
 */
void sim_inject(struct sim *sim, const char *op, uint64_t nth, int error, bool for_ever);
/** sim_calls() - calls of @op so far, failures included; NULL: as above */
uint64_t sim_calls(const struct sim *sim, const char *op);
/** sim_op_name() - the names that sim_inject() knows, by number; NULL: there are no more */
const char *sim_op_name(size_t number);

/* --- looking, with no effect ---------------------------------------------- */

/* Beside enum sys_page_flag. */
enum sim_page_flag {
	SIM_PAGE_PINNED = 1 << 8,
	SIM_PAGE_SHARED = 1 << 9, /* by a fork or KSM, until it is written */
	SIM_PAGE_WP = 1 << 10,    /* write-protected by a userfaultfd; alone: a marker */
	SIM_PAGE_POISON = 1 << 11,
	SIM_PAGE_LAZY = 1 << 12,  /* MADV_FREE: may be dropped until it is written */
};

/** sim_page() - flags of a page; 0: a hole */
uint32_t sim_page(struct sim *sim, struct sim_process *process, uint64_t addr);
/** sim_peek() - 8 bytes of a page, whatever its protection. Return: -ENOENT: a hole. */
int sim_peek(struct sim *sim, struct sim_process *process, uint64_t addr, uint64_t *value);
/** sim_vma() - as sys_ops.vma_query(); *@mode: enum sys_register_mode */
int sim_vma(struct sim *sim, struct sim_process *process, uint64_t addr, bool or_next,
	    struct sys_vma *vma, uint32_t *mode);
size_t sim_vma_count(const struct sim *sim, const struct sim_process *process);
/** sim_events() - messages that no one has read, and callers that still wait */
size_t sim_events(const struct sim *sim);
/** sim_unanswered() - addresses that threads of the program are asleep at although their
 * faults were read, and although none of the library's threads has anything to do.
 * Return: how many are in @addrs. */
size_t sim_unanswered(const struct sim *sim, uint64_t *addrs, size_t max);
/** sim_sleepers() - threads of @process asleep in a fault in @span */
size_t sim_sleepers(const struct sim *sim, const struct sim_process *process,
		    struct span span);
/** sim_own_bytes() - of base_host's pages that were not freed */
uint64_t sim_own_bytes(const struct sim *sim);
/** sim_check() - walk all tables of the simulated kernel; a defect fails the run */
void sim_check(struct sim *sim);

#endif
