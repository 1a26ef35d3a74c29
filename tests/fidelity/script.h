/* SPDX-License-Identifier: MIT */
/*
 * script.h - what is done to two kernels: a list of acts.
 *
 * A script has a line for each act: who, what, its arguments.
 *
 *     without wp_async          a feature of the kernel that is taken away
 *     t0 mmap P0:0+4 read,write
 *     m register u0 P0:0+4 missing
 *     t0 load P0:1+1            it sleeps in a fault
 *     m read u0
 *     m copy u0 P0:1+1 17       now it has 17
 *
 * Who: m, the monitor; w, a worker of the library, which shares its file table; t0 to t2,
 * threads of the program; c0 and c1, its children, each from the fork that made it. Acts of
 * m do not block. The others may, and the next act is done when all who are not asleep in
 * the kernel have finished theirs.
 *
 * Where: P, memory of the program, at first not mapped; A, memory of sys_ops.map(). P1:5+2
 * are two pages, from the fifth of block 1 on; a block has 2 MiB.
 */
#ifndef TESTS_FIDELITY_SCRIPT_H
#define TESTS_FIDELITY_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/prng.h"
#include "base/span.h"

#define ACTS_MAX 96
#define PROGRAM_BLOCKS 4u
#define ARENA_BLOCKS 2u
#define ARENA_FIRST 0x10000u /* number of its first page */

enum who {
	WHO_MONITOR,
	WHO_WORKER,
	WHO_THREAD,
	WHO_CHILD = WHO_THREAD + 3,
	WHO_COUNT = WHO_CHILD + 2,
};

/* ACT(NAME, text, arguments): u a userfaultfd, s a span, d a second one, v a number,
 * f flags and e one of several, by their names. */
#define FOR_ACTS(ACT)                       \
	ACT(OPEN, "open", "")               \
	ACT(CLOSE, "close", "u")            \
	ACT(REGISTER, "register", "usf")    \
	ACT(UNREGISTER, "unregister", "us") \
	ACT(MOVE, "move", "udsf")           \
	ACT(COPY, "copy", "usv")            \
	ACT(COPY_FROM, "copy_from", "uds")  \
	ACT(ZEROPAGE, "zeropage", "us")     \
	ACT(WAKE, "wake", "us")             \
	ACT(POISON, "poison", "us")         \
	ACT(PROTECT, "protect", "us")       \
	ACT(UNPROTECT, "unprotect", "us")   \
	ACT(READ, "read", "u")              \
	ACT(QUERY, "query", "se")           \
	ACT(IN_FLIGHT, "in_flight", "")     \
	ACT(WIPED, "wiped", "")             \
	ACT(KICK, "kick", "")               \
	ACT(ACCESS, "access", "sev")        \
	ACT(ADVISE, "advise", "se")         \
	ACT(EMPTY, "empty", "s")            \
	ACT(MMAP, "mmap", "sf")             \
	ACT(MUNMAP, "munmap", "s")          \
	ACT(MREMAP, "mremap", "sdf")        \
	ACT(MADVISE, "madvise", "se")       \
	ACT(MPROTECT, "mprotect", "sf")     \
	ACT(MLOCK, "mlock", "s")            \
	ACT(MUNLOCK, "munlock", "s")        \
	ACT(LOAD, "load", "s")              \
	ACT(STORE, "store", "sv")           \
	ACT(ADD, "add", "sv")               \
	ACT(COPY_IN, "copy_in", "s")        \
	ACT(COPY_OUT, "copy_out", "sv")     \
	ACT(PIN, "pin", "s")                \
	ACT(UNPIN, "unpin", "")             \
	ACT(FORK, "fork", "")               \
	ACT(EXIT, "exit", "")

enum act_type {
#define ACT_ENUM(name, text, arguments) ACT_##name,
	FOR_ACTS(ACT_ENUM)
#undef ACT_ENUM
	ACT_COUNT
};

/* Flags of mmap; the first three are enum sys_prot. */
enum map_flag {
	MAP_IS_SHARED = 1 << 3,
	MAP_KEEPS = 1 << 4, /* MAP_FIXED_NOREPLACE */
};

/* Pages, by number; see ARENA_FIRST. */
struct place {
	uint32_t first;
	uint32_t count;
};

struct act {
	uint8_t who;
	uint8_t type;
	uint8_t uffd;
	uint32_t flags; /* f and e */
	struct place s, d;
	uint64_t value;
};

struct script {
	uint32_t without; /* enum sys_feature */
	bool is_random;   /* acts that would race with one under way are not done */
	size_t count;
	struct act acts[ACTS_MAX];
};

/** act_name() - of enum act_type; NULL: there are no more */
const char *act_name(unsigned int type);
const char *who_name(unsigned int who);

/** act_format() - its line; Return: as snprintf() */
int act_format(const struct act *act, char *buffer, size_t bytes);
/** place_format() - as snprintf() */
int place_format(struct place place, char *buffer, size_t bytes);

/** script_parse() - Return: 0, or the number of the line that is wrong */
int script_parse(const char *text, struct script *script);
/** script_random() - @count acts, the first of which make something to play with */
void script_random(struct script *script, uint64_t seed, size_t count);

/** script_fixed() - a script that is named as a claim; NULL: there are no more */
const char *script_fixed(size_t number, const char **name);

#endif
