/* SPDX-License-Identifier: MIT */
/*
 * vm/attr.h - memory attributes: what a program has said about spans of a vm.
 *
 * Every bound address has attributes; those that nobody set are the defaults of its bind.
 * They belong to addresses, not to what is mapped there: set before an mmap() they hold for
 * it, and a munmap() leaves them, unless the bind resets them then (vm_attr_set_default()).
 *
 *     bind     |------------------------------------------------|
 *     pieces   |  default  | system |  default  | system, CPU   |
 *
 * Upstream: the attributes of a VMA of xe (xe_vm_madvise.c).
 */
#ifndef VM_ATTR_H
#define VM_ATTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/interval_tree.h"
#include "base/pool.h"
#include "base/span.h"
#include "mm/mm.h"

struct vm;
struct vm_bind;
struct vm_device;

/* Where pages should be when the vm's device uses them. */
enum vm_location {
	VM_LOCATION_DEFAULT, /* the vm's device, as its policy says */
	VM_LOCATION_SYSTEM,  /* used in place; what is on the device already stays there */
	VM_LOCATION_DEVICE,  /* attr.device; another than the vm's: there, and used in place */
};

/* Who uses atomics there. */
enum vm_atomic {
	VM_ATOMIC_UNDEFINED, /* as GLOBAL */
	VM_ATOMIC_DEVICE,    /* engines only */
	VM_ATOMIC_GLOBAL,    /* both */
	VM_ATOMIC_CPU,       /* the CPU only: one of an engine is refused, -EACCES */
};

struct vm_attr {
	enum vm_location location;
	enum vm_atomic atomic;
	uint32_t policy;       /* of migration; stored and told, no more */
	uint32_t pat_index;    /* stored and told, no more */
	const void *device;    /* LOCATION_DEVICE: a struct vm_device; compared only, it may
				* be closed by now. Else NULL. */
};

/* Which members of a struct vm_attr are meant. */
enum vm_attr_field {
	VM_ATTR_LOCATION = 1 << 0, /* location, device, policy */
	VM_ATTR_ATOMIC = 1 << 1,
	VM_ATTR_PAT = 1 << 2,
};

/* Addresses in a row with the same attributes, inside of one bind. */
struct vm_attr_piece {
	struct span span;
	struct vm_attr attr;
};

/**
 * vm_advise() - set attributes of what is bound in @span
 * @fields: enum vm_attr_field; the others stay
 *
 * Where something changes, what is mapped is revoked, and the next fault finds the new
 * values. No page moves. Where nothing is bound nothing happens.
 * Context: [worker]. Return: 0; -EINVAL not page-aligned, empty, no field, or a value that
 * is none; -ENOMEM nothing was changed, or what lies in the first binds.
 */
MUST_CHECK int vm_advise(struct vm *vm, struct span span, uint32_t fields,
			 const struct vm_attr *attr);

/**
 * vm_advise_query() - the pieces that meet @span, in order, at most @max
 *
 * Each as far as it goes, also outside of @span. For those behind the last, ask again from
 * its end. Context: [worker]. Return: how many.
 */
size_t vm_advise_query(struct vm *vm, struct span span, struct vm_attr_piece *pieces,
		       size_t max);

/**
 * vm_attr_set_default() - of the bind that is exactly @span, right after it was made
 * @autoreset: what is unmapped by the process has the defaults again: that, and no more
 * Context: [worker]. Return: 0; -ENOENT no such bind; -ENOMEM.
 */
MUST_CHECK int vm_attr_set_default(struct vm *vm, struct span span, uint32_t pat_index,
				   bool autoreset);

/* --- for vm ----------------------------------------------------------------------- */

/* What differs from the defaults. */
struct vm_attr_table {
	struct interval_tree pieces; /* under svm.notifier_lock */
	struct pool pool;
	uint32_t spare_count;        /* atomic: nodes that are reserved for the monitor */
	bool listens;                /* under vm.lock: the notifier is there */
	struct mm_notifier notifier;
	struct mm_work refill_work;
};

void vm_attr_init(struct vm *vm);

/** vm_attr_listen() - hear of what is unmapped; the one part of vm_attr_set_default() that
 * can fail. Context: [worker]. Return: 0, -ENOMEM. */
MUST_CHECK int vm_attr_listen(struct vm *vm);

/** vm_attr_stop() - no event is heard any more. [worker] */
void vm_attr_stop(struct vm *vm);

/** vm_attr_fini() - no refill is pending */
void vm_attr_fini(struct vm *vm);

/** vm_attr_find() - the attributes of @addr, which lies in @bind, and how far they go */
void vm_attr_find(struct vm *vm, const struct vm_bind *bind, uint64_t addr,
		  struct vm_attr_piece *piece);

/** vm_attr_is_here() - pages should come to the vm's device */
bool vm_attr_is_here(const struct vm *vm, const struct vm_attr *attr);

/** vm_attr_forget() - @span is not bound any more: it has defaults when it is again.
 * vm.lock is held. A piece that reaches out of it loses all of itself: callers give whole
 * binds. */
void vm_attr_forget(struct vm *vm, struct span span);

/* A piece more at each end. */
#define VM_ATTR_CUT_NODES 2u

/** vm_attr_reserve() - memory for one vm_attr_cut(). Return: 0, -ENOMEM. */
MUST_CHECK int vm_attr_reserve(struct vm *vm);
void vm_attr_unreserve(struct vm *vm, size_t count);

/** vm_attr_cut() - as vm_attr_forget(), but a piece that reaches out of @span keeps the rest.
 * vm.lock is held; memory is reserved, but where binds begin and end with @span.
 * Return: how much of it is left to unreserve. */
size_t vm_attr_cut(struct vm *vm, struct span span);

struct piece;
/** vm_attr_keep() - copies of what @span has, for vm_attr_put_back(), which takes them over, or
 * vm_attr_keep_end(). vm.lock is held. Return: 0, -ENOMEM. */
MUST_CHECK int vm_attr_keep(struct vm *vm, struct span span, struct piece **kept);
void vm_attr_keep_end(struct vm *vm, struct piece *kept);
/** vm_attr_put_back() - its span is bound again as it was, with defaults. vm.lock is held. */
void vm_attr_put_back(struct vm *vm, struct piece *kept);

/** vm_attr_check() - assert the invariants */
void vm_attr_check(struct vm *vm);

#endif
