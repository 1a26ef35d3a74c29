/* SPDX-License-Identifier: MIT */
/*
 * sys/sim_internal.h - what the files of the simulated kernel share.
 *
 * A process has a sorted array of VMAs and a table of *blocks*, one for each 2 MiB in
 * which a page was ever made: 512 words of flags and as many times frame_bytes of
 * contents. Contents belong to an address, not to a frame: to move a page is to copy it,
 * and what a fork or KSM shares is copied at once and marked SHARED until it is written,
 * which is all that can be told from outside.
 *
 * What a call of the program does to memory, and the messages of it, are two steps, so
 * that a user without threads of the simulator (the unit tests) can do the second when
 * it likes:
 *
 *     sim_do_munmap(...)        the effect, events queued to call->events
 *     sim_call_wait(call)       one after the other: until read, then the caller runs
 */
#ifndef SYS_SIM_INTERNAL_H
#define SYS_SIM_INTERNAL_H

#include "base/host.h"
#include "base/list.h"
#include "base/prng.h"
#include "sys/sim.h"

#define SIM_PAGE_CONTENTS (SYS_PAGE_PRESENT | SYS_PAGE_SWAPPED)
#define SIM_UFFD_FIRST 100 /* a descriptor is this and the index */
#define SIM_UFFDS_MAX 250
#define SIM_PROCESSES_MAX 16384
#define SIM_THREADS_MAX 65536
#define SIM_REPORT_BYTES 16384
#define SIM_STACK_BYTES KIB(256)

#define SIM_FOR_PAGES(addr, span) \
	for (uint64_t addr = (span).start; addr < (span).end; addr += PAGE_BYTES)

/* Beside enum sys_page_flag and enum sim_page_flag: of what came as a huge page, and may
 * be mapped as small ones since. */
#define SIM_PAGE_LARGE (1 << 13)

enum sim_vma_flag {
	SIM_VMA_MLOCKED = 1 << 0,
	SIM_VMA_DONTFORK = 1 << 1,
	SIM_VMA_WIPEONFORK = 1 << 2,
	SIM_VMA_HUGEPAGE = 1 << 3,
	SIM_VMA_NOHUGEPAGE = 1 << 4,
	SIM_VMA_DONTDUMP = 1 << 5,
	SIM_VMA_MERGEABLE = 1 << 6,
};

struct sim_vma {
	struct span span;
	uint64_t offset;  /* of span.start, in what was mapped: contiguous where it merges */
	uint32_t mapping; /* which mmap() made it; 0 where that is forgotten */
	uint32_t anon;    /* what its pages belong to; 0: none yet */
	uint8_t kind;     /* enum sys_vma_kind */
	uint8_t prot;
	uint8_t mode;  /* enum sys_register_mode */
	uint8_t uffd;  /* index; 0: none */
	uint32_t flags; /* enum sim_vma_flag */
};

struct sim_block {
	struct sim_block *next_free;
	uint8_t *bytes;
	uint32_t stride;
	bool table; /* small pages are there, or were: no huge page comes by itself */
	bool exposed; /* pointer() was called: contents may come without our doing */
	uint16_t flags[PAGES_PER_HUGE];
};

struct sim_process {
	struct sim *sim;
	uint32_t number;
	bool dead;
	struct sim_vma *vmas; /* by address */
	size_t vma_count;
	size_t vma_max;
	struct sim_block **blocks;
	uint64_t brk;
	uint32_t thread_count; /* that have not ended */
};

/* A message that is no fault. */
struct sim_event {
	struct list link; /* QUEUED: uffd.events; else sim.other_events */
	struct sys_event event;
	struct sim_uffd *uffd;
	struct sim_process *process;
	struct sim_uffd *child;    /* FORK */
	struct sim_event *next;    /* of the same call: sent when this one is done */
	struct sim_thread *waiter; /* NULL: nobody, or not yet */
	enum { SIM_EVENT_HELD, SIM_EVENT_QUEUED, SIM_EVENT_READ } state;
};

/* The messages of one call, in order. */
struct sim_call {
	struct sim_event *first;
	struct sim_event *last;
	bool is_late; /* outside: the first is HELD as well */
};

/* A thread asleep in a fault. */
struct sim_fault {
	struct list link; /* sim.faults */
	struct sys_event event;
	struct sim_process *process;
	struct sim_thread *waiter; /* NULL: a thread that is not of the simulator */
	uint64_t number;
	uint32_t thread_id;
	uint8_t uffd;
	bool read;
};

struct sim_uffd {
	struct sim_process *process; /* NULL: free */
	struct list events;          /* QUEUED, in order */
	uint32_t changing;           /* events that are not done: -EAGAIN */
	uint32_t unread_faults;
	bool is_open; /* false: a child's, until its FORK is read */
	uint8_t index;
};

struct sim_pin {
	struct list link; /* sim.pins; on itself when the page is nobody's any more */
	struct sim_process *process;
	uint64_t addr;
	uint8_t bytes[]; /* frame_bytes; of a page that is nobody's */
};

struct sim_thread {
	struct base_thread base;
	struct sim_process *process;
	uint32_t number;
	uint32_t ready_index; /* in sim.ready, while READY */
	enum sim_thread_state state;
	char name[16];
	void (*run)(void *arg);
	void *arg;
	void *stack_pointer;
	uint8_t *stack;
	void *fake_stack; /* of the address sanitizer */
	struct list blocked_link; /* sim.blocked */
	const char *wait_what;
	uint64_t wait_addr;
	uint64_t deadline_ns;
	bool timed_out;
	const uint32_t *park_word;
	struct sim_fault *fault;
	struct sim_event *event;
	struct span pieces[SIM_PIECES_MAX]; /* of its last mremap() */
	size_t piece_count;
	struct sim_thread *joins;
	struct sim_process *joined_process;
	uint64_t priority;
	uint64_t frozen_until; /* the step */
	bool in_madvise;
	struct sim_process *forking; /* its child, that does not run yet */
	bool kicked;    /* out of its guarded access, this or the next */
	bool has_files; /* may use userfaultfds */
	uint64_t trace_serial; /* of the call that it is in */
	uint32_t op;
	char wait_text[64];
};

enum sim_op {
#define SIM_OP(name, text, fails, ...) SIM_OP_##name,
#include "sys/sim_ops.inc"
#undef SIM_OP
	SIM_OP_COUNT
};

struct sim_injection {
	uint64_t calls;
	uint64_t fails_at; /* 0: never */
	int error;
	bool for_ever;
};

/* For a process with threads of its own, the unit tests': the simulator is one object
 * behind their lock. */
struct sim_outside {
	void (*enter)(void *arg, const char *op); /* takes the lock */
	void (*leave)(void *arg);
	void (*changed)(void *arg); /* under the lock: whoever waits may look again */
	/* Under the lock: until fault @number has ended, or for a while (0). */
	void (*sleep)(void *arg, uint64_t number);
	uint32_t (*thread_id)(void *arg);
	void (*die)(const char *text);
	void *arg;
};

struct sim {
	struct sys sys;
	const struct sys *features_of; /* whose features count; &sys */
	struct sim_config config;
	const struct sim_outside *outside;
	struct prng schedule_prng;
	struct prng odds_prng;
	struct prng user_prng;

	/* memory of the simulator */
	uint8_t *region;
	uint8_t *arena; /* contents of SIM_ARENA and up */
	uint8_t *meta, *meta_end;
	uint8_t *own, *own_end; /* pages_alloc() */
	uint64_t own_bytes;
	struct sim_block *free_blocks;
	struct list free_events, free_faults;

	/* the kernel */
	struct span window;
	struct sim_process *processes[SIM_PROCESSES_MAX];
	uint32_t process_count;
	struct sim_process *entered; /* whose calls those outside of threads are */
	struct sim_uffd uffds[SIM_UFFDS_MAX + 1];
	uint32_t uffd_count; /* indices below have been used */
	struct list faults; /* in the order of their coming */
	uint64_t fault_count;
	struct list other_events; /* HELD, READ */
	uint64_t event_count; /* that are not done */
	struct list pins; /* of mapped pages */
	struct sim_pin *free_pins;
	uint32_t madvise_count; /* threads inside DONTNEED and FREE */
	bool touches_in_call;   /* what thread_in_call() says */
	uint32_t mapping_count;
	uint32_t anon_count;
	bool kicked; /* uffd_kick() */
	struct span exclusions[8]; /* what sys_ops.exclusions() says */
	size_t exclusion_count;
	struct { /* REMOVEs whose zap has not happened yet; of callers outside */
		struct sim_process *process;
		struct span span;
	} dying[64];
	size_t dying_count;
	uint32_t kicked_thread; /* outside: has to leave its access */
	struct sys_fork_hooks hooks;
	struct sim_injection injections[SIM_OP_COUNT + 1];
	int injected; /* by sim_enter() of the op that runs */
	uint32_t move_lies; /* the next so many moves do their work and say -EEXIST */

	/* threads */
	struct sim_thread **threads;
	uint32_t thread_count;
	struct sim_thread **ready;
	uint32_t ready_count;
	struct list blocked;
	struct sim_thread *current;
	struct base_thread nobody; /* outside of all */
	void *scheduler_stack_pointer;
	void *scheduler_fake_stack;
	const void *scheduler_stack;
	size_t scheduler_stack_bytes;
	uint8_t *free_stacks;
	uint8_t *stacks, *stacks_end;
	bool quiet; /* in a hook: no yield points */
	bool running;
	bool has_run;
	uint64_t step, steps_max;
	uint64_t clock_ns;
	uint64_t next_deadline_ns;
	uint64_t countdown; /* yield points until the next preemption */
	uint64_t *change_steps;
	uint64_t low_priority;
	void (*step_hook)(void *arg);
	void *step_hook_arg;
	enum sim_outcome outcome;

	/* records */
	struct sim_switch *switches;
	size_t switch_count, switch_max;
	size_t replay_index;
	struct sim_trace *trace;
	uint64_t trace_count;
	char report[SIM_REPORT_BYTES];
	size_t report_length;
};

extern struct sim *sim_now; /* the one that is open */

NORETURN void sim_misuse(const char *what, const char *file, int line);

/* The simulator, or who uses it, is wrong. */
#define SIM_MUST(condition) \
	(likely(condition) ? (void)0 : sim_misuse(#condition, __FILE__, __LINE__))

/* sim_memory.c */
void *sim_alloc(struct sim *sim, size_t bytes); /* zeroed, until sim_close() */
int sim_region_make(struct sim **out, uint64_t arena_bytes);
void sim_region_give_back(struct sim *sim);
void sim_stack_border(uint8_t *border);
void *sim_pages_alloc(size_t bytes);
/* The same within a call; counted, and given back by sim_pages_free(). */
void *sim_pages_take(struct sim *sim, size_t bytes);
void sim_pages_free(void *pages, size_t bytes);

/* sim.c */
bool sim_odd(struct sim *sim, uint32_t one_in);

static inline bool sim_feature(const struct sim *sim, uint32_t features)
{
	return sys_has(sim->features_of, features);
}

/**
 * sim_enter() - begin a call: yield, count, trace; of ops, take the outside's lock
 * Return: 0, or the -errno that was ordered for it. sim_leave() ends it in either case.
 */
int sim_enter(enum sim_op op, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
int sim_leave(int result, uint64_t value);
#define SIM_ENTER_(op, a, b, c, d, ...) sim_enter(SIM_OP_##op, a, b, c, d)
#define SIM_ENTER(...) SIM_ENTER_(__VA_ARGS__, 0, 0, 0, 0, 0)

/* The process whose thread calls. */
static inline struct sim_process *sim_caller(struct sim *sim)
{
	return sim->current ? sim->current->process : sim->entered;
}

/* sim_space.c */
struct sim_process *sim_process_new(struct sim *sim);
size_t sim_vma_index(const struct sim_process *process, uint64_t addr);
struct sim_vma *sim_vma_at(const struct sim_process *process, uint64_t addr);
int sim_one_vma(const struct sim_process *process, struct span span);
struct span sim_mapped_start(const struct sim_process *process, struct span span);
int sim_vma_isolate(struct sim_process *process, struct span span, size_t *first,
		    size_t *end);
void sim_vma_merge(struct sim_process *process, struct span span);
void sim_vma_insert(struct sim_process *process, const struct sim_vma *vma);
int sim_vma_delete(struct sim_process *process, struct span span);
uint64_t sim_find_gap(const struct sim_process *process, uint64_t bytes, uint64_t align,
		      bool in_arena, uint64_t hint);
int sim_do_mmap(struct sim_process *process, struct span span, enum sys_vma_kind kind,
		uint32_t prot, struct sim_call *call);
int sim_do_munmap(struct sim_process *process, struct span span, struct sim_call *call);
int sim_do_mremap(struct sim_process *process, struct span old, uint64_t bytes,
		  uint64_t to, bool dontunmap, struct sim_call *call);
void sim_anon_prepare(struct sim_process *process, struct sim_vma *vma);
int sim_do_mprotect(struct sim_process *process, struct span span, uint32_t prot);
int sim_vma_set_mode(struct sim_process *process, struct span span, uint8_t uffd,
		     uint32_t mode);
int sim_vma_set_flags(struct sim_process *process, struct span span, uint32_t set,
		      uint32_t clear);

/* sim_pages.c */
struct sim_block *sim_block_get(struct sim_process *process, uint64_t addr);
uint16_t *sim_flags(struct sim_process *process, uint64_t addr); /* NULL: no block */
uint16_t *sim_flags_make(struct sim_process *process, uint64_t addr);
uint32_t sim_flags_read(struct sim_process *process, uint64_t addr);
uint8_t *sim_bytes(struct sim_process *process, uint64_t addr);
bool sim_has_table(struct sim_process *process, uint64_t addr);
bool sim_block_is_empty(struct sim_process *process, uint64_t addr);
void sim_table_make(struct sim_process *process, uint64_t addr);
void sim_table_drop(struct sim_process *process, uint64_t addr);
bool sim_large_is_pinned(struct sim_process *process, uint64_t addr);
void sim_split_large(struct sim_process *process, uint64_t addr);
void sim_split_huge(struct sim_process *process, struct span span);
void sim_split_block(struct sim_process *process, uint64_t addr);
void sim_zap(struct sim_process *process, struct span span, bool keep_guards);
void sim_unprotect(struct sim_process *process, struct span span);
void sim_carry(struct sim_process *to, uint64_t dst, struct sim_process *from, uint64_t src);
void sim_page_erase(struct sim_process *process, uint64_t addr);
void sim_blocks_free(struct sim_process *process);
int sim_collapse(struct sim_process *process, const struct sim_vma *vma, struct span span);
void sim_frames_clear(uint8_t *block, uint32_t frame_bytes);

/* sim_fault.c */
int sim_touch(struct sim_process *process, uint64_t addr, bool write,
	      uint32_t *fault_flags);
struct sim_fault *sim_fault_queue(struct sim_process *process, uint64_t addr,
				  uint32_t fault_flags);
void sim_fault_end(struct sim *sim, struct sim_fault *fault);
void sim_fault_wake(struct sim *sim, const struct sim_uffd *uffd, struct span span);
uint32_t sim_caller_id(struct sim *sim);
int sim_fault_in(struct sim_process *process, uint64_t addr, bool write);

/* sim_sys.c */
extern const struct sys_ops sim_ops;
enum sim_advice sim_advice_of(enum sys_advice advice);

/* sim_uffd.c, sim_uffd_fill.c */
uint8_t sim_uffd_new(struct sim *sim, struct sim_process *process);
struct sim_uffd *sim_uffd_get(struct sim *sim, int fd);
void sim_uffd_release(struct sim *sim, struct sim_uffd *uffd);
void sim_event_send(struct sim_call *call, struct sim_process *process, uint8_t uffd,
		    const struct sys_event *event);
void sim_event_send_all(struct sim_call *call, struct sim_process *process,
			struct span span, enum sys_event_type type);
void sim_event_tell(struct sim *sim, struct sim_event *event);
void sim_event_done(struct sim *sim, struct sim_event *event);
void sim_event_cancel(struct sim *sim, struct sim_event *event);
void sim_call_wait(struct sim *sim, struct sim_call *call);
bool sim_uffd_is_readable(const struct sim_uffd *uffd);
int sim_do_uffd_register(struct sim *sim, struct sim_uffd *uffd, struct span span,
			 uint32_t mode);
int sim_do_uffd_unregister(struct sim_uffd *uffd, struct span span);
int sim_do_uffd_read(struct sim *sim, struct sim_uffd *uffd, struct sys_event *out);
int sim_do_uffd_wait(struct sim *sim, struct sim_uffd *uffd, uint64_t timeout_ns);
int sim_do_uffd_move(struct sim *sim, struct sim_uffd *uffd, uint64_t dst, uint64_t src,
		     uint64_t bytes, uint32_t flags, uint64_t *moved);
int sim_do_uffd_fill(struct sim *sim, struct sim_uffd *uffd, uint64_t dst, uint64_t src,
		     uint64_t bytes, uint64_t *done);
int sim_do_uffd_poison(struct sim *sim, struct sim_uffd *uffd, struct span span);
int sim_do_uffd_writeprotect(struct sim *sim, struct sim_uffd *uffd, struct span span,
			     bool on);

/* sim_outside.c: what a kernel would have done, had the callers threads to wait in */
bool sim_outside_callers_run(struct sim *sim);
bool sim_outside_finish_removes(struct sim *sim);
bool sim_outside_fault_sleeps(struct sim *sim, uint64_t number);
bool sim_remove_pends(struct sim *sim);

/* sim_process.c */
struct sim_process *sim_do_fork(struct sim_process *parent, struct sim_call *call);
void sim_do_exit(struct sim_process *process);

/* sim_program.c */
int sim_do_madvise(struct sim_process *process, struct span span, enum sim_advice advice);
void sim_fill_locked(struct sim_process *process, struct span span, bool waits);

/* sim_access.c */
int sim_do_access(struct sim *sim, enum sys_access_op op, uint64_t addr, void *buffer,
		  uint32_t bytes);
void sim_access_bytes(enum sys_access_op op, void *at, void *buffer, uint32_t bytes);
uint64_t sim_do_swap_out(struct sim_process *process, struct span span);
void sim_swap_some(struct sim *sim);

/* sim_thread.c */
extern const struct base_host_ops sim_host_ops;
void sim_yield_point(void);
void sim_call_point(void);
void sim_half_way(void);
int sim_block(struct sim *sim, const char *what, uint64_t addr, uint64_t timeout_ns);
void sim_wake(struct sim *sim, struct sim_thread *thread);
struct sim_thread *sim_thread_new(struct sim *sim, struct sim_process *process,
				  const char *name, void (*run)(void *arg), void *arg);
void sim_thread_end(struct sim *sim, struct sim_thread *thread);
NORETURN void sim_end(struct sim *sim, enum sim_outcome outcome);
void sim_do_join(struct sim *sim, struct sim_thread *thread);
NORETURN void sim_die(const char *text);
void sim_wake_uffd_waiters(struct sim *sim);

/* sim_trace.c */
uint64_t sim_trace_begin(struct sim *sim, enum sim_op op, const uint64_t args[4]);
void sim_trace_end(struct sim *sim, uint64_t serial, int64_t result, uint64_t value);
void sim_report_add(struct sim *sim, const char *format, ...) PRINTF(2, 3);
void sim_report_end(struct sim *sim, enum sim_outcome outcome);

#endif
