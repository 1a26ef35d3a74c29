/* SPDX-License-Identifier: MIT */
/*
 * base/plant.h - bugs on purpose: each must be found by the simulator.
 *
 * A checker that finds nothing may be blind. PLANTED(NAME) is where the bug NAME
 * would be: false, and gone from the code, in the library; in the simulator's build
 * true in a run with --plant NAME. scripts/plants.py says what finds which.
 *
 *     name, what is broken (law of the design or guarantee of concurrency.md), how
 */
#ifndef BASE_PLANT_H
#define BASE_PLANT_H

#include "base/compiler.h"

#define PLANTS(P)									\
	P(MONITOR_TOUCHES, "law 1", "the monitor reads the page that somebody waits for") \
	P(ACCESS_LOCKED, "laws 1, 15", "an engine's access to the program, under event_lock") \
	P(MONITOR_WAITS, "law 2", "the monitor waits until a page is not MOVING")	\
	P(STACKS_TAKEN, "law 3", "memory on the list of what never migrates is taken")	\
	P(TAKE_STALE_VMA, "law 4, R1", "no look for events since the VMA query")	\
	P(FILL_TWO_STEPS, "law 5, E2", "event_lock dropped between look and ZEROPAGE")	\
	P(FILL_AHEAD, "law 5, E2", "holes behind a hole are filled over entries")	\
	P(STASH_FORGETS, "law 6, W2", "a fault that cannot be answered now is forgotten") \
	P(RESUME_EARLY, "law 7, Q1", "engines run before the message is processed")	\
	P(STOP_NO_WAIT, "law 7, Q2", "engines inside a section are not waited for")	\
	P(STOP_SKIPS, "law 7, Q2", "an engine that woke from a fault is not active")	\
	P(ENTER_BLIND, "law 7, Q2", "an engine enters a section that is stopped")	\
	P(LEAVE_EARLY, "law 7", "device memory is accessed behind the section")		\
	P(SYSTEM_INSIDE, "law 8", "an engine uses pages of the CPU inside a section")	\
	P(READ_THEN_APPLY, "law 9", "event_lock dropped between read and processing")	\
	P(TAKE_TWO_STEPS, "law 9, E1", "event_lock dropped between MOVE and entries")	\
	P(HOME_TWO_STEPS, "law 9, E1", "event_lock dropped before an entry goes")	\
	P(EVICT_DROPS, "law 10", "eviction drops the pages")				\
	P(PUSH_NOTHING, "law 10", "a raw clone's child gets no device pages")		\
	P(PUSH_NO_EDITS, "law 10", "what the child unmaps meanwhile is not followed")	\
	P(GATE_OPEN, "G1", "pages are taken while a fork is under way")			\
	P(LIE_BELIEVED, "law 11, F1", "a page that MOVE denies is not looked for")	\
	P(FRAME_DIRTY, "law 11, F1", "frames are not emptied before a MOVE")		\
	P(FRAME_USED, "law 11", "a frame whose page moved elsewhere is used again")	\
	P(BUSY_FOREVER, "laws 11, 18", "a page that stays busy is tried for ever")	\
	P(HOME_LIE_BELIEVED, "law 12", "EEXIST on the way home is believed")		\
	P(HOME_NO_COPY, "law 12", "read-only memory is woken, not copied home")		\
	P(REMOVE_KEEPS, "law 13", "DONTNEED leaves what is on the device")		\
	P(REMOVE_TAKEN, "law 13, D1", "a page that DONTNEED named is taken")		\
	P(WAKE_GONE, "law 14, W1", "nobody is woken where memory is gone")		\
	P(WAKE_TAKEN, "law 14, W1", "who slept on a MOVING page is not woken")		\
	P(REVOKE_TAKE, "law 16, Q3", "translations live when pages are taken")		\
	P(REVOKE_FAULT, "law 16, Q3", "translations live when a CPU fault brings home")	\
	P(REVOKE_HOME, "law 16, Q3", "translations live when pages are brought home")	\
	P(REVOKE_UNMAP, "law 16, Q3", "translations survive munmap()")			\
	P(REMAP_DROPS, "law 16", "mremap() leaves the entries where they were")		\
	P(WRITE_UNCHECKED, "law 18", "nobody looks whether a GPU may write")		\
	P(PEER_UNREVOKED, "law 16, Q3", "translations live when pages go to a peer")	\
	P(PEER_KEEPS_SOURCE, "law 9, E1", "a page goes to a peer, and its entry does not") \
	P(PEER_TWO_STEPS, "law 9, E1", "event_lock dropped before an entry changes hands") \
	P(TLB_UNFLUSHED, "TLB", "revoked pages stay in the TLB")			\
	P(BIND_STALE, "N1", "pages are bound whatever happened since they were read")	\
	P(NOTIFY_LATE, "N1", "the sequence changes after the revocation")		\
	P(EVICT_EARLY, "F2", "a block is free before its frames are")			\
	P(DEAD_REVIVED, "Z1", "a reference to a dead devmem is given out")		\
	P(LAST_TWICE, "Z1", "the count of references alone says who is last")		\
	P(BO_REVIVED, "V1", "an evictor gets an object in its last put")		\
	P(SLEEP_BLIND, "B1", "a sleeper does not compare its ticket")			\
	P(WAKE_FIRST, "B1", "a waker looks for sleepers before it counts")		\
	P(QUEUE_LOST, "work", "work is pushed without compare-and-swap")		\
	P(CALL_SHARED, "C1", "a slot for a call is claimed without compare-and-swap")	\
	P(ATTR_UNREVOKED, "attributes", "what is mapped stays so when attributes change") \
	P(ATTR_WIDE_RANGE, "attributes", "a range reaches out of the piece of its attributes") \
	P(RESET_NOTHING, "attributes", "what is unmapped keeps what was said of it")	\
	P(RESET_WHOLE, "attributes", "a piece is reset whole when a part is unmapped")	\
	P(HELD_UNTIMED, "timeslice", "a fault is held, and no time set for its end")	\
	P(HELD_ONE, "timeslice", "of faults that were held the first alone is answered") \
	P(TIMER_LEFT, "thrash", "a vm goes while its timer is set")			\
	P(THRASH_UNCOUNTED, "thrash", "a vm does not wait for work of its timer")	\
	P(GUEST_UNWAITED, "guests", "a device goes while another takes pages there")	\
	P(BO_KEEPS_ENTRIES, "objects", "an object is evicted, and its binds keep their entries") \
	P(BO_COPY_FIRST, "objects", "it is copied away before its entries go")		\
	P(BO_DEATH_UNSEEN, "objects", "an evictor does not look whether it is dead")	\
	P(BIND_TARGET_KEPT, "binds", "what is left of a bind begins at its old place")	\
	P(BIND_UNREVOKED, "binds", "a bind is replaced, and its entries stay")

#define PLANT_NAME(name, law, text) PLANT_##name,
enum plant {
	PLANT_NONE,
	PLANTS(PLANT_NAME) PLANT_COUNT
};
#undef PLANT_NAME

#if defined(USVM_PLANTS)
struct lock;
/* Which one is in this run. Written before any thread starts. */
extern enum plant plant;
/* Others run, for a while. */
void plant_yield(void);
/* The same, and without @lock: what was one step is two. */
void plant_gap(struct lock *lock);
#define PLANTED(name) unlikely(plant == PLANT_##name)
#define PLANTED_GAP(name, lock) (PLANTED(name) ? plant_gap(lock) : (void)0)
#else
#define PLANTED(name) false
#define PLANTED_GAP(name, lock) ((void)0)
static inline void plant_yield(void)
{
}
#endif

#endif
