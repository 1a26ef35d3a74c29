/* SPDX-License-Identifier: MIT */
/*
 * model.h - what the program's memory may hold: the oracle of every load.
 *
 * Threads of the CPU and of the GPU race, so that at one time a word may hold one
 * of several values. The model keeps, for each word, the *writes* that could still
 * be seen. A write is a value and the interval in which it took effect; so is what
 * a system call does: munmap() writes "no access" to the state of its pages,
 * madvise(DONTNEED) writes zeros to their words, mremap() writes at the new place
 * what could be read at the old one.
 *
 *     a read in [r0, r1] may give what write w wrote if
 *       w began before r1, and
 *       no other write began after w's end and ended before r0
 *
 * A GPU sees an old page until the call that takes it away has returned: its accesses
 * that begin during such a call count from the call's begin, and its writes are maybes.
 * But before a job begins no message is in flight: its accesses count from its submission.
 *
 * The real thread is one, so the order of all begins and ends is known exactly.
 * A read that only one write explains also tells that this write has happened.
 */
#ifndef TESTS_SIM_MODEL_H
#define TESTS_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

#define MODEL_WORDS 4        /* the first words of each page are written */
#define MODEL_OPEN UINT64_MAX /* the end of what has not ended */
#define MODEL_VALUES_MAX 128

/* The state of a page, as a value. */
enum model_state {
	MODEL_READ = 1 << 0,
	MODEL_WRITE = 1 << 1,
	MODEL_SHARED = 1 << 2,  /* not private: neither zeroed nor copied */
	MODEL_NOFORK = 1 << 3,
	MODEL_WIPE = 1 << 4,    /* zeros in a child */
};

struct model;

/* One access that has begun; the caller's. */
struct model_access {
	uint64_t addr;
	uint64_t start;
	uint64_t since;  /* what was there then may be seen; before start for a GPU, whose
			  * caller may say better */
	uint64_t number; /* of its write; 0: it is a load */
	uint64_t add;    /* of an addition */
	uint32_t slot;   /* the model's */
	bool is_gpu;
};

/* What a read may give: the outcome of model_values(). */
struct model_values {
	uint64_t value[MODEL_VALUES_MAX];
	size_t count;
	bool may_fail;    /* with SIGSEGV */
	bool may_succeed;
	bool may_forbid;  /* a write */
	bool may_share;   /* it is not private */
};

MUST_CHECK struct model *model_create(struct span span);
void model_destroy(struct model *model);

/** model_now() - the moment; each call is a later one */
uint64_t model_now(struct model *model);

/** model_holds() - is @addr the address of a word of the model? */
bool model_holds(const struct model *model, uint64_t addr);

/* --- accesses -------------------------------------------------------------- */

void model_load_begin(struct model *model, struct model_access *access, uint64_t addr,
		      bool is_gpu);
/** model_store_begin() - @value will be written at some time until the end */
void model_store_begin(struct model *model, struct model_access *access, uint64_t addr,
		       uint64_t value, bool is_gpu);
/** model_add_begin() - an atomic addition */
void model_add_begin(struct model *model, struct model_access *access, uint64_t addr,
		     uint64_t add, bool is_gpu);

/*
 * The ends. Return: NULL, or what is wrong, in words (valid until the next call).
 * @value of an addition: what was there before.
 */
const char *model_load_end(struct model *model, struct model_access *access, uint64_t value);
const char *model_store_end(struct model *model, struct model_access *access);
const char *model_add_end(struct model *model, struct model_access *access, uint64_t value);
/** model_add_done() - an addition whose result nobody has */
const char *model_add_done(struct model *model, struct model_access *access);
/** model_fail_end() - it ended with SIGSEGV, or as a GPU's fault that was refused */
const char *model_fail_end(struct model *model, struct model_access *access);
/** model_unknown_end() - it was done or not: cancelled, or against a dead page */
void model_unknown_end(struct model *model, struct model_access *access);

/*
 * DMA that writes: a store that goes where its page goes, by mremap() too. It ends as
 * an access does: done, or failed before it began.
 */
void model_dma_begin(struct model *model, struct model_access *access, uint64_t addr,
		     uint64_t value);
const char *model_dma_end(struct model *model, struct model_access *access);
const char *model_dma_fail_end(struct model *model, struct model_access *access);

/* --- changes of the address space ------------------------------------------- */

enum model_change_type {
	MODEL_MAP,      /* zeros, with @state */
	MODEL_UNMAP,
	MODEL_MOVE,     /* mremap(): to @to, @bytes there */
	MODEL_MOVE_KEEP, /* with DONTUNMAP */
	MODEL_ZERO,     /* DONTNEED */
	MODEL_MAY_ZERO, /* FREE: zeros now, later or never, until written */
	MODEL_PROTECT,  /* to @state */
	MODEL_GUARD,    /* guard pages come; with @state not 0: they go */
	MODEL_SPLIT,    /* nothing but mappings */
	MODEL_FORK_FLAG, /* @state: NOFORK, WIPE or 0 */
};

struct model_change {
	enum model_change_type type;
	struct span span;
	uint64_t to;
	uint64_t bytes;
	uint32_t state;
	/* A move that succeeded: what it moved of @span, with holes between, where nothing
	 * changed, nor at @to. NULL: all of it. */
	const struct span *pieces;
	size_t piece_count;
	/* The model's: */
	uint64_t start;
	uint64_t number;
	uint32_t slot;
};

void model_change_begin(struct model *model, struct model_change *change);
/** model_change_end() - the call returned @err; then what it may have done is unknown,
 * where the kernel does such calls in part */
void model_change_end(struct model *model, struct model_change *change, int err);

/** model_state_is() - the page at @addr was looked at: this is its state now */
void model_state_is(struct model *model, uint64_t addr, uint32_t state);

/* --- looking ------------------------------------------------------------------ */

/** model_values() - what a read that began at @start and ends now may give; @in_child:
 * in a child that was forked in that time */
void model_values(struct model *model, uint64_t addr, uint64_t start, bool in_child,
		  struct model_values *values);
/** model_has_changed() - was a page, since @since, in a call that takes it away? */
bool model_has_changed(const struct model *model, uint64_t addr, uint64_t since);
bool model_values_have(const struct model_values *values, uint64_t value);

/** model_hold() - keep what a read from @start on could see, until model_let_go() */
void model_hold(struct model *model, uint64_t start, uint32_t *slot);
void model_let_go(struct model *model, uint32_t slot);

/** model_next() - the first word at or above @addr that was ever written; 0: none */
uint64_t model_next(const struct model *model, uint64_t addr);

/** model_explain() - the writes of a word, in words */
const char *model_explain(struct model *model, uint64_t addr);

#endif
