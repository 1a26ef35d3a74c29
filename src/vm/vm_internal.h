/* SPDX-License-Identifier: MIT */
/*
 * vm/vm_internal.h - what the files of vm share.
 */
#ifndef VM_VM_INTERNAL_H
#define VM_VM_INTERNAL_H

#include "base/interval_tree.h"
#include "base/list.h"
#include "base/pool.h"
#include "vm/attr.h"
#include "vm/vm.h"

/* How often a fault starts again from the top before it is answered with -EBUSY (law 18).
 * Each time something was invalidated in between. */
#define VM_FAULT_TRIES 1000
#define VM_WATCH_TRIES 64
/* How often migration is tried for an access that device memory alone can serve. */
#define VM_MIGRATE_TRIES 3
/* Holes around a fault that are taken as zeros when their block is in use already. */
#define VM_FILL_BYTES KIB(64)

/* Beside enum usvm_access: a prefetch to the device, whatever the attributes say. */
#define VM_ACCESS_TO_DEVICE (USVM_ACCESS_PREFETCH + 1)

/* Spans whose pages were all pinned, remembered so that not every fault finds it out. */
#define VM_BUSY_MAX 16
/* For so many times as long as it took to find out. */
#define VM_BUSY_SHARE 64

struct vm_busy {
	struct span span;
	uint64_t until_ns;
};

struct vm_bind; /* bo_internal.h */

/* Blocks that go to and fro, see thrash.c; so many are known at a time. */
#define VM_BLOCKS_MAX 64

struct vm_block {
	uint64_t addr;          /* 0: free */
	uint64_t bounce_ns;     /* when the last one was seen */
	uint64_t calm_until_ns; /* bounces do not count: to divide it was no help */
	uint32_t bounces;       /* in quick succession */
	uint32_t pieces;        /* bit set: which of them, modulo 32 */
	uint32_t grain;         /* 0: whole; 1: 64 KiB; 2: 4 KiB */
	uint32_t backoff;
};

struct vm_thrash {
	struct vm_block blocks[VM_BLOCKS_MAX];
	uint64_t move_ns[3];    /* what a migration takes: 2M, 64K, 4K */
	uint64_t due_ns;        /* of the timer; 0: it is not set */
	struct mm_timer timer;
	struct mm_work work;
};

struct vm {
	struct vm_device *device;
	uint32_t id;
	struct lock lock;                /* the driver lock of svm */
	struct gpusvm svm;
	struct interval_tree binds;      /* w lock and event_lock; r either */
	struct pool bind_pool;
	struct pool undo_pool;
	struct vm_attr_table attrs;
	struct gpusvm_pages *pages;      /* scratch, under lock */
	bool closed;                     /* under lock */
	struct vm_busy busy[VM_BUSY_MAX]; /* under lock; the oldest gives way */
	uint32_t busy_count;             /* of all times */
	struct vm_thrash thrash;         /* under lock, but for timer and work */
	struct mm_work collect_work;     /* the garbage collector */
	uint64_t pending_work;         /* atomic: faults not answered, collections not run */

	struct lock fault_lock;          /* leaf: the records */
	struct vm_fault_record faults[VM_FAULTS_KEPT] GUARDED_BY(&fault_lock);
	uint64_t fault_count GUARDED_BY(&fault_lock); /* of all times */
};

/* A piece of device memory that holds pages of the process. It lives until both the
 * devmem was released and the buffer object is gone. */
struct vm_svm_bo {
	struct pagemap_devmem devmem;
	struct vm_device *device;
	struct vram_bo *bo;
};

/* device.c */
int vm_get(struct vm_device *device, uint32_t id, struct vm **vm);
void vm_pending_put(struct vm *vm);
uint64_t vm_now_ns(const struct vm_device *device);

/* vm.c */
void vm_remove_ranges(struct vm *vm) MUST_HOLD(&vm->lock);

/* room.c */
/* Between the two a block is pinned by someone who waits for nobody that wants room. */
void vm_pin_passing(struct vm_device *device);
void vm_pin_passed(struct vm_device *device);

void vm_room_init(struct vm_room *room);

/**
 * vm_room_comes() - has room come since @passed_before, or does it by a pin that passes?
 * @passed_before: room.passed_pins before the caller found no room
 *
 * Context: may block until a pin has passed. The caller has counted none of his own.
 */
bool vm_room_comes(struct vm_room *room, uint32_t passed_before);

/** vm_room_validate() - what is pinned from here on is unpinned by vm_room_validated()
 * vm_room_give_turns(): who has found no room for the last one comes first.
 * Context: validate_lock is held; the first, also the vm.lock; the second may block, no
 * vm.lock is held. */
void vm_room_give_turns(struct vm_room *room);
void vm_room_validate(struct vm_room *room);
void vm_room_validated(struct vm_room *room);

/*
 * A turn: a loop of tries, for which the next validation waits once one of them has found no
 * room for a validation.
 *
 *     struct vm_turn turn = { .room = room };
 *     do {
 *             vm_turn_try(&turn);
 *             err = ...
 *     } while (err == -ENOSPC && vm_turn_again(&turn));
 *     vm_turn_over(&turn);
 *
 * Context: vm_turn_again() may block, until a validation is over. The caller holds no
 * validate_lock, not the lock of a vm that validates, and no object that is CHANGING.
 */
struct vm_turn {
	struct vm_room *room;
	uint32_t before; /* room.validation at the last try */
	uint32_t side;
	bool taken;
};

void vm_turn_try(struct vm_turn *turn);
bool vm_turn_again(struct vm_turn *turn);
void vm_turn_over(struct vm_turn *turn);

/* svm_bo.c */
extern const struct pagemap_devmem_ops vm_devmem_ops;
int vm_svm_bo_create(struct vm_device *device, struct span span, struct vm_svm_bo **bo);
void vm_svm_bo_filled(struct vm_svm_bo *bo);
struct vm_svm_bo *vm_svm_bo_of(struct pagemap_devmem *devmem);

/* pagefault.c */
int vm_service(struct vm *vm, uint64_t addr, uint32_t access, uint64_t *handled_end)
	MUST_HOLD(&vm->lock);

/* garbage_collector.c */
void vm_collect(struct vm *vm) MUST_HOLD(&vm->lock);
void vm_collect_work(struct mm_work *work);

/* thrash.c */
void vm_thrash_init(struct vm *vm);
void vm_thrash_stop(struct vm *vm) MUST_HOLD(&vm->lock);
struct span vm_thrash_look(struct vm *vm, uint64_t addr, bool by_name)
	MUST_HOLD(&vm->lock);
void vm_thrash_moved(struct vm *vm, uint64_t bytes, uint64_t ns) MUST_HOLD(&vm->lock);

/* placement.c */
/* A fault in @vma is served at home. @moved: what vm_migrate() said, 0 also where it was
 * not called. */
void vm_placement_note(struct vm *vm, const struct sys_vma *vma, int moved)
	MUST_HOLD(&vm->lock);

/* bind.c */
struct vm_bind *vm_bind_find(struct vm *vm, uint64_t addr) MUST_HOLD(&vm->lock);
/* Make the entries of one that is no mirror. *@end: where what was mapped ends. */
int vm_bind_serve(struct vm_bind *bind, uint64_t addr, uint32_t access, uint64_t *end);
void vm_binds_revoke(struct vm *vm) MUST_HOLD(&vm->lock);
void vm_binds_remove(struct vm *vm) MUST_HOLD(&vm->lock);
void vm_binds_check(struct vm *vm) MUST_HOLD(&vm->lock);
struct vm_bind *vm_bind_next(struct vm *vm, struct span span) MUST_HOLD(&vm->lock);

/* guest.c */
/**
 * vm_guest_enter() - may a fault of @vm take pages to @device?
 * @wanted: a device that may be gone by now; NULL, or the vm's own: no
 *
 * Return: it, and it stays until vm_guest_leave(); NULL: no.
 */
struct vm_device *vm_guest_enter(struct vm *vm, const void *wanted);
void vm_guest_leave(struct vm_device *device);
/** vm_guests_wait() - until those who entered have left. Context: [worker], no lock. */
void vm_guests_wait(struct vm_device *device);

/* migrate.c */
struct vm_move {
	struct gpusvm_range *range;
	uint64_t addr;              /* that was asked for */
	bool wanted;                /* for an access */
	uint64_t stay_ns;           /* so long the CPU does not get them back */
	const struct mm_look *look; /* at the range */
};
int vm_migrate(struct vm *vm, struct vm_device *to, const struct vm_move *move)
	MUST_HOLD(&vm->lock);
bool vm_is_busy(struct vm *vm, uint64_t addr) MUST_HOLD(&vm->lock);

#endif
