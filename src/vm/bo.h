/* SPDX-License-Identifier: MIT */
/*
 * vm/bo.h - ordinary buffer objects, and what can be bound beside the mirror.
 *
 * A buffer object is memory that the program asked a device for by name. Its bytes
 * are in memory of usvm's own that is shared with the program (sys_ops.shared_map);
 * its *place* is a block of device memory, out of the one pool that pages of the
 * process use too, or the system. Objects and pages evict each other. An object that
 * lost its place lost its page-table entries with it; the next GPU access, or the next
 * vm_bo_validate(), gives it a place again.
 *
 *     vm_bo_create() -> vm_bind() -> [GPU access: vm_bo_validate(), entries]
 *                                          ^                 |
 *                                          +--- evicted -----+
 *
 * A bind gives a span of GPU addresses a meaning. Binds do not overlap: a new one takes
 * the place of what was there, whole or in part, but for SVM ranges that live in a
 * mirror (-EBUSY).
 *
 * Every function runs on a library thread ([worker]) that holds no lock.
 * Upstream: xe_bo.c, xe_vm.c (bind, unbind, rebind, userptr), drm_gpuvm.c.
 */
#ifndef VM_BO_H
#define VM_BO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "sys/sys.h"

struct vm;
struct vm_bo;
struct vm_device;

/* --- objects ------------------------------------------------------------------- */

/* Where an object may be; a set. */
enum vm_bo_place {
	VM_BO_SYSTEM = 1 << 0,
	VM_BO_DEVICE = 1 << 1, /* with SYSTEM too: where there is room without eviction */
};

enum vm_bo_flag {
	/* The CPU never maps it. On a device with memory of its own the bytes are there
	 * while its place is, copied by ops->copy; else the flag changes nothing. */
	VM_BO_DEVICE_ONLY = 1 << 0,
	/* Its bytes may be thrown away, see vm_advise_need(). */
	VM_BO_PURGEABLE = 1 << 1,
};

/* Whether the bytes of an object are needed. */
enum vm_need {
	VM_NEED_WILLNEED,
	VM_NEED_DONTNEED, /* all its binds are advised so: eviction throws them away */
	VM_NEED_PURGED,   /* thrown away: who touches them through a mapping gets SIGBUS */
};

struct vm_bo_info {
	uint64_t bytes;
	uint32_t placement; /* enum vm_bo_place: allowed */
	uint32_t place;     /* enum vm_bo_place: now; 0: none (new, or evicted) */
	uint64_t vram_bytes; /* that it has of device memory now */
	uint64_t evictions; /* of all times */
	uint32_t flags;     /* enum vm_bo_flag */
	uint32_t bind_count;
};

/**
 * vm_bo_create() - an object of zeros, with one reference and no place yet
 * @bytes: a multiple of 4 KiB
 * @placement: a set of enum vm_bo_place, not empty
 * @flags: enum vm_bo_flag
 * Return: 0; -EINVAL; -ENOSPC it may be in device memory alone and is larger than that;
 * -ENOMEM; -EOPNOTSUPP the device does not know such entries (USVM_DEVICE_OBJECTS);
 * -ENODEV it is unplugged.
 */
MUST_CHECK int vm_bo_create(struct vm_device *device, uint64_t bytes, uint32_t placement,
			    uint32_t flags, struct vm_bo **bo);

struct vm_bo *vm_bo_get(struct vm_bo *bo);

/** vm_bo_put() - drop a reference; binds have one each, CPU mappings none (the kernel
 * keeps their bytes). NULL is accepted. */
void vm_bo_put(struct vm_bo *bo);

/**
 * vm_bo_map() - show bytes of it to the program
 * @part: offsets; multiples of 4 KiB, inside
 * @at: where, a multiple of 4 KiB: what is mapped there is replaced; 0: anywhere
 * @prot: enum sys_prot, READ or READ and WRITE
 * @addr: out; the program unmaps it with munmap(), a fork's child has it too
 * Return: 0; -EINVAL, also when it was purged; -EACCES it is VM_BO_DEVICE_ONLY; -EBUSY it
 * is VM_NEED_DONTNEED; -ENOMEM; -EOPNOTSUPP.
 */
MUST_CHECK int vm_bo_map(struct vm_bo *bo, struct span part, uint64_t at, uint32_t prot,
			 uint64_t *addr);

/** vm_bo_memory() - its bytes, in memory of usvm's; stays while @bo does. Of a
 * VM_BO_DEVICE_ONLY object they are stale while its place is the device. */
void *vm_bo_memory(const struct vm_bo *bo);

/**
 * vm_bo_validate() - give it a place, if it has none
 * Evicts others where it may be in device memory alone.
 * Return: 0; -ENOSPC device memory is full of what cannot be evicted; -ENOMEM; -EIO the
 * device could not copy; -ENODEV it is unplugged; -ENODATA it was purged.
 */
MUST_CHECK int vm_bo_validate(struct vm_bo *bo);

/** vm_bo_move() - to this place, which its placement allows; a place in device memory is
 * got by eviction if need be. Return: as vm_bo_validate(); -EINVAL not allowed; -EBUSY it
 * is pinned elsewhere. */
MUST_CHECK int vm_bo_move(struct vm_bo *bo, enum vm_bo_place place);

/** vm_bo_pin() - vm_bo_validate(), and nobody evicts it before vm_bo_unpin().
 * Return: as vm_bo_validate(). */
MUST_CHECK int vm_bo_pin(struct vm_bo *bo);
void vm_bo_unpin(struct vm_bo *bo);

void vm_bo_info(struct vm_bo *bo, struct vm_bo_info *info);

/** vm_bo_need() - are its bytes needed? An object without binds is as it was with the last. */
enum vm_need vm_bo_need(struct vm_bo *bo);

/* --- binds --------------------------------------------------------------------- */

enum vm_bind_kind {
	VM_BIND_MIRROR,  /* GPU address = CPU address */
	VM_BIND_BO,      /* an object, from target on */
	VM_BIND_NULL,    /* reads give zeros, writes are dropped */
	VM_BIND_USERPTR, /* the process's memory at target, used in place */
};

struct vm_bind_args {
	enum vm_bind_kind kind;
	struct span span;  /* GPU addresses; page-aligned, below 2^48 (a mirror: 2^47) */
	bool read_only;
	bool autoreset;    /* see vm_attr_set_default() */
	uint32_t pat_index;
	bool null_if_purged; /* BO: reads give zeros then, and do not fail */
	bool now;          /* all entries at once, not by faults; ignored for a mirror, and
			    * for NULL (there is nothing to wait for) */
	struct vm_bo *bo;  /* BO: of the vm's device; the bind takes a reference of its own */
	uint64_t target;   /* BO: offset; USERPTR: CPU address; page-aligned */
};

/**
 * vm_bind() - give a span a meaning, in place of what it had
 *
 * With @now it is all or nothing: if the entries cannot be made nothing has changed,
 * but that what was replaced is faulted in again.
 * A mirror over mirrors is one more mirror: ranges there go, pages stay where they are.
 *
 * Return: 0; -EINVAL; -EBUSY SVM ranges live in a mirror in @span, and @kind is another;
 * -ENOMEM; -EOPNOTSUPP the device does not know such entries; with @now: as
 * vm_bo_validate(), and -EFAULT USERPTR: nothing mapped there, -EPERM it forbids it.
 */
MUST_CHECK int vm_bind(struct vm *vm, const struct vm_bind_args *args);

/** vm_unmap() - @span means nothing any more; binds that reach out of it keep the rest.
 * Return: 0, also where nothing was bound; -EINVAL; -EBUSY SVM ranges live in a mirror
 * there (nothing has changed); -ENOMEM. */
MUST_CHECK int vm_unmap(struct vm *vm, struct span span);

/** vm_unmap_bo() - all binds of @bo in @vm go. Return: how many there were. */
uint32_t vm_unmap_bo(struct vm *vm, struct vm_bo *bo);

/** vm_has_live_ranges() - would vm_unmap() of @span be -EBUSY now? */
bool vm_has_live_ranges(struct vm *vm, struct span span);

struct vm_undo;

/**
 * vm_undo_keep() - remember what @span means, to put it back
 * @last: what was kept before it, or NULL; out: with this in front
 * Return: 0, -ENOMEM (@last is as it was).
 */
MUST_CHECK int vm_undo_keep(struct vm *vm, struct span span, struct vm_undo **last);

/** vm_undo_forget() - nothing became of what was to follow the last vm_undo_keep() */
void vm_undo_forget(struct vm *vm, struct vm_undo **last);

/** vm_undo_run() - every span that was kept means again what it meant, the last first; no
 * memory is needed for that. Entries come by faults. Pages stay where they are. */
void vm_undo_run(struct vm *vm, struct vm_undo *last);

/** vm_undo_drop() - it is not wanted any more; NULL is accepted */
void vm_undo_drop(struct vm *vm, struct vm_undo *last);

/** vm_populate() - make all entries of objects and USERPTR in @span now. Return: 0; as
 * vm_bind() with @now. What was made stays on an error. */
MUST_CHECK int vm_populate(struct vm *vm, struct span span);

/**
 * vm_validate() - all objects bound in @vm have a place at the same time, and entries
 * What is done before a job where its memory may not fault.
 * Return: 0; -ENOSPC they do not fit together; as vm_populate().
 */
MUST_CHECK int vm_validate(struct vm *vm);

/**
 * vm_advise_need() - are the bytes of objects needed that are bound in @span?
 * Said of each bind that meets @span, as a whole; a new bind needs them. The bytes of a
 * VM_BO_PURGEABLE object that no bind needs are thrown away when it is evicted: for good.
 * GPU accesses to them fail (-EACCES) from then on, at the latest.
 * @has_purged: out: one of them was thrown away
 * Return: 0; -EINVAL.
 */
MUST_CHECK int vm_advise_need(struct vm *vm, struct span span, bool needed, bool *has_purged);

struct vm_bind_info {
	struct span span;
	enum vm_bind_kind kind;
	bool read_only;
	uint32_t pat_index;
	struct vm_bo *bo; /* borrowed: compared only */
	uint64_t target;
};

/** vm_bind_query() - the bind over @addr, or the next above. Return: 0, -ENOENT. */
MUST_CHECK int vm_bind_query(struct vm *vm, uint64_t addr, struct vm_bind_info *info);

#endif
