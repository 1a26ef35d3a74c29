/* SPDX-License-Identifier: MIT */
/*
 * vm/bo_internal.h - buffer objects and binds, as the files of vm see them.
 */
#ifndef VM_BO_INTERNAL_H
#define VM_BO_INTERNAL_H

#include "base/list.h"
#include "base/wait.h"
#include "vm/bo.h"
#include "vm/vm_internal.h"

enum vm_bo_state {
	VM_BO_NOWHERE,   /* its bytes are in memory; no bind has entries */
	VM_BO_IN_SYSTEM, /* the same, and binds may have entries */
	VM_BO_IN_DEVICE, /* it has a block of device memory, and binds may have entries */
	VM_BO_CHANGING,  /* someone gives or takes its place: wait */
	VM_BO_PURGED,    /* its bytes were thrown away, for ever */
	VM_BO_DEAD,      /* the last reference is gone */
};

struct vm_bo {
	/* Set at birth, then constant: */
	struct vm_device *device;
	uint64_t bytes;
	uint64_t memory;    /* address of its shared mapping */
	uint32_t placement; /* enum vm_bo_place */
	uint32_t flags;     /* enum vm_bo_flag */
	int file;           /* of its memory; -1: none */

	uint32_t reference_count; /* atomic */
	uint32_t life_count;      /* atomic: all references, and each vram_bo that it owns */
	struct wait changed;      /* it is not CHANGING any more */
	/* Under event_lock: */
	enum vm_bo_state state;
	uint32_t pin_count;
	uint32_t brief_pins;      /* of those: who moves it waits for them */
	uint32_t bind_count;
	bool dontneed;            /* evicted it may lose its bytes */
	struct vram_bo *vram_bo;  /* IN_DEVICE: a reference */
	struct list binds;        /* of struct vm_bind.bo_node */
	uint64_t eviction_count;
};

/* A span of GPU addresses that means something. */
struct vm_bind {
	struct interval_node node; /* w vm.lock and event_lock; r either */
	struct vm *vm;
	enum vm_bind_kind kind;
	bool read_only;
	bool autoreset;            /* attributes go with what is unmapped */
	uint32_t pat_index;        /* of what has no attributes of its own */
	bool has_entries;          /* under event_lock; not of a mirror */
	bool dontneed;             /* BO: advised; under event_lock */
	bool null_if_purged;       /* BO */
	struct vm_bo *bo;          /* BO: a reference */
	uint64_t target;           /* BO: offset of the start; USERPTR: its address */
	struct list bo_node;       /* under event_lock */
};

/* What a cut may need: had before anything changes. Zeroed where none of it can. */
struct vm_cut_memory {
	struct vm_bind *spare;
	bool has_pieces;    /* reserved, of attributes */
	size_t pieces_left; /* of those, after the cut */
};

/* What a span meant, see vm_undo_keep(). */
struct vm_undo {
	struct vm_undo *before;
	struct span span;
	struct list binds;   /* of vm_bind.bo_node: copies, each with a reference to its object */
	struct piece *attrs;
	struct vm_cut_memory memory;
};

/* bo.c */
/** vm_bo_pin_briefly() - as vm_bo_pin(), by one who waits for nobody before he unpins: who
 * wants room waits for that, see vm_pin_passing() */
MUST_CHECK int vm_bo_pin_briefly(struct vm_bo *bo);
void vm_bo_unpin_briefly(struct vm_bo *bo);
/** vm_bo_entries() - what the bytes of @bo from @offset on are mapped with
 * Return: false: it has no place. event_lock is held. */
bool vm_bo_entries(const struct vm_bo *bo, uint64_t offset, uint64_t *target,
		   uint32_t *flags);

/** vm_bo_lock_settled() - take event_lock, with @bo in a state that lasts while it is held */
void vm_bo_lock_settled(struct vm_bo *bo) ACQUIRES(mm_event_lock(bo->device->mm));

/* purge.c */
/** vm_bo_need_locked() - the binds of @bo are others, or advised otherwise: may its bytes be
 * lost? event_lock is held. */
void vm_bo_need_locked(struct vm_bo *bo);

/* bind.c */
/** vm_bind_revoke_locked() - clear its entries. event_lock is held, engines are stopped. */
void vm_bind_revoke_locked(struct vm_bind *bind);

/* bind_entries.c */
/** vm_bind_prepare() - tables for entries in @span. Return: what pt_prepare() returns. */
MUST_CHECK int vm_bind_prepare(struct vm *vm, struct span span);
/** vm_bind_check_memory() - has the process memory over all of @span that allows the access?
 * Return: 0; -EFAULT none; -EPERM it forbids it. */
MUST_CHECK int vm_bind_check_memory(struct vm *vm, struct span span, bool write);
/** vm_bind_write() - entries of @part; the tables were prepared, an object is pinned */
void vm_bind_write(struct vm_bind *bind, struct span part);

#endif
