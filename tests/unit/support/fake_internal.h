/* SPDX-License-Identifier: MIT */
/*
 * fake_internal.h - what the files of the fake kernel share.
 *
 * A process is an array of struct page, one for each page of the window, and as
 * much memory for contents. A page carries the attributes of its VMA, so nothing
 * is ever split or merged: a VMA is a run of pages with equal attributes. What
 * is no page holds zeros; a page of the arena that holds something else was
 * written through pointer() and is present.
 *
 * An event is QUEUED, then READ, then gone when its caller ran. One that is HELD
 * is the second of its call and is queued when the first is gone. While a
 * userfaultfd has any event it answers -EAGAIN.
 */
#ifndef TESTS_UNIT_SUPPORT_FAKE_INTERNAL_H
#define TESTS_UNIT_SUPPORT_FAKE_INTERNAL_H

#include <pthread.h>

#include "fake_sys.h"

#define FAKE_PROCESSES 8
#define FAKE_UFFD_FIRST 100 /* the descriptor is this and its number, which is not 0 */
#define FAKE_HAS_CONTENTS (SYS_PAGE_PRESENT | SYS_PAGE_SWAPPED)
#define FAKE_WINDOW ((struct span){ FAKE_BASE, FAKE_END })

#define FOR_PAGES(addr, span) \
	for (uint64_t addr = (span).start; addr < (span).end; addr += PAGE_BYTES)

struct fake_vma {
	uint32_t mapping; /* which mmap() made it; 0: nothing is mapped */
	uint8_t kind;     /* enum sys_vma_kind */
	uint8_t prot;
	uint8_t mode; /* enum sys_register_mode */
	uint8_t uffd;
	uint8_t mlocked;
	uint8_t dontfork;
	uint16_t pad; /* 0: compared as bytes */
};

struct fake_page {
	struct fake_vma vma;
	uint32_t flags;
};

struct fake_process {
	struct fake_page *pages;
	unsigned char *bytes;
	bool dead;
};

struct fake_event {
	struct sys_event event;
	uint32_t uffd;
	enum { FAKE_QUEUED, FAKE_READ, FAKE_HELD } state;
	struct fake_process *process;
};

/* A thread in a fault. */
struct fake_sleeper {
	struct fake_process *process;
	struct sys_event fault;
	uint64_t number;
	uint32_t uffd;
	uint32_t thread_id;
	bool read;
};

struct fake_op {
	const char *name;
	uint64_t calls;
	uint64_t fails_at;
	int error;
};

struct fake_state {
	pthread_mutex_t lock; /* of everything here and in struct fake_sys */
	pthread_cond_t changed;
	bool real_threads;
	bool kicked;
	int injected; /* what the op that was entered last has to answer, if not 0 */
	struct fake_op ops[64];
	struct fake_process processes[FAKE_PROCESSES];
	struct fake_process *current;
	struct fake_process *uffds[2 * FAKE_PROCESSES]; /* NULL: closed */
	struct fake_event events[256];
	size_t event_count;
	struct fake_event dying[64]; /* REMOVEs whose zap has not happened yet */
	size_t dying_count;
	struct fake_sleeper sleepers[64];
	size_t sleeper_count;
	uint64_t sleep_count;
	uint32_t kicked_thread; /* has to leave its access */
	uint32_t mapping_count;
	uint64_t arena_end;
	uint64_t own_bytes;
};

NORETURN void fake_die(const char *text);

#define MUST(condition)             \
	((condition) ? (void)0 :    \
		       fake_die("the fake kernel: " #condition " does not hold\n"))

/* fake_sys.c: one lock; counters and injected failures of an op */
struct fake_sys *fake_enter_lock(struct fake_sys *fake);
struct fake_sys *fake_enter_op(struct fake_sys *fake, const char *name);
void fake_leave(struct fake_sys **fake);

#define FAKE_CLEANUP __attribute__((cleanup(fake_leave), unused))
/* The rest of the block is under the lock. */
#define LOCKED(fake) struct fake_sys *locked_ FAKE_CLEANUP = fake_enter_lock(fake)
/* Begins an op, which is called op_NAME; defines fake and state. */
#define OP(sys)                                                                  \
	struct fake_sys *fake FAKE_CLEANUP =                                     \
		fake_enter_op((struct fake_sys *)(sys), __func__ + strlen("op_")); \
	UNUSED struct fake_state *state = fake->state
#define OP_FAILS(sys)        \
	OP(sys);             \
	if (state->injected) \
		return state->injected

void fake_process_init(struct fake_process *process);
uint32_t fake_thread_id(struct fake_sys *fake);

/* fake_pages.c */
struct fake_page *fake_slot(struct fake_process *process, uint64_t addr);
struct fake_page *fake_page_at(struct fake_process *process, uint64_t addr);
unsigned char *fake_bytes_at(struct fake_process *process, uint64_t addr);
bool fake_is_same_vma(const struct fake_page *a, const struct fake_page *b);
int fake_one_vma(struct fake_process *process, struct span span);
void fake_split_huge(struct fake_process *process, struct span span);
void fake_zap(struct fake_process *process, struct span span);
void fake_carry(struct fake_process *to, uint64_t dst, struct fake_process *from,
		uint64_t src);
int fake_touch_locked(struct fake_sys *fake, struct fake_process *process, uint64_t addr,
		      bool write);
void fake_sleeper_remove(struct fake_state *state, uint64_t number);
void fake_wake(struct fake_state *state, struct fake_process *process, struct span span);

/* fake_program.c */
void fake_map_locked(struct fake_sys *fake, struct fake_process *process, struct span span,
		     enum sys_vma_kind kind, uint32_t prot);
void fake_munmap_locked(struct fake_sys *fake, struct fake_process *process,
			struct span span);
int fake_madvise_locked(struct fake_sys *fake, struct fake_process *process,
			struct span span, enum sys_advice advice);

/* fake_uffd.c */
int fake_uffd_new(struct fake_state *state, struct fake_process *process);
uint32_t fake_uffd_of(struct fake_process *process, struct span span);
void fake_uffd_queue(struct fake_state *state, uint32_t uffd,
		     struct fake_process *process, struct sys_event event, bool held);
void fake_uffd_ops(struct sys_ops *ops); /* fill in the ops of that file */

#endif
