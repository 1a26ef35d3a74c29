/* SPDX-License-Identifier: MIT */
/*
 * vm/vm.h - the driver: devices, their address spaces, and what happens on a fault.
 *
 * A vm_device joins a device (usvm_device_ops) with the process's mm: it owns the
 * pagemap and the accounting of device memory, stops the engines when the mm asks,
 * and takes the device's faults. A vm is one GPU address space: binds that mirror
 * the process's addresses, ranges under them, a list of faults that failed.
 *
 * Every function here runs on a library thread ([worker], by mm_call()) unless it
 * says "any".
 *
 * Upstream: drivers/gpu/drm/xe/xe_vm.c, xe_svm.c, xe_pagefault.c.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/compiler.h"
#include "base/span.h"
#include "gpusvm/gpusvm.h"
#include "mm/mm.h"
#include "pagemap/pagemap.h"
#include "usvm/device.h"
#include "vm/stats.h"
#include "vram/bo.h"

#define VM_PER_DEVICE_MAX 64
#define VM_FAULTS_KEPT 50

struct vm;

enum vm_migrate_policy {
	VM_MIGRATE_AUTO,
	VM_MIGRATE_NEVER,
};

struct vm_device_config {
	const char *name;                  /* not copied; lives as long as the device */
	const struct usvm_device_ops *ops;
	void *device;
	uint64_t vram_bytes;
	uint32_t flags;                    /* enum usvm_device_flag */
	enum vm_migrate_policy migrate;
	uint64_t notifier_bytes;
	uint64_t home_bytes;
	bool thrash_control;               /* see thrash.c */
	bool place_on_device;              /* whatever can: see placement.c */
	bool poison;                       /* see pagemap.h */
	const char *peers;                 /* group; NULL: none. Lives as long as the device */
	uint64_t timeslice_ns;             /* what an atomic has taken stays so long */
	struct usvm *usvm;                 /* handed to the device */
};

/* Why memory that a GPU used was at home, where all that can is to be on the device. */
enum vm_stay {
	VM_STAY_SHARED,    /* shared memory */
	VM_STAY_FILE,      /* a file's */
	VM_STAY_HUGETLB,
	VM_STAY_STACK,
	VM_STAY_PROTECTED, /* no read-write memory, or executable */
	VM_STAY_POLICY,    /* nothing migrates: as was asked for, or the kernel cannot */
	VM_STAY_KEPT,      /* locked, a thread's stack, the library's own, too many mappings */
	VM_STAY_PINNED,    /* pinned, or shared with a child */
	VM_STAY_NO_ROOM,
	VM_STAY_OTHER,
	VM_STAY_COUNT
};

/* A mapping that stayed. */
struct vm_stayed {
	struct span span;
	enum vm_stay why;
	uint64_t faults;
};

#define VM_STAYED_MAX 64

/* Who waits for room in device memory, and for whom: see room.c. */
struct vm_room {
	uint32_t passing_pins; /* atomic: see vm_pin_passing() */
	uint32_t passed_pins;  /* atomic: how many have, ever */
	struct wait pins_passed;
	uint32_t validation; /* atomic: odd while one validates, with its vm.lock */
	struct wait validated;
	uint32_t turns[2];  /* atomic: who has a turn before the next validation, and after it */
	uint32_t turn_side; /* atomic: which of the two who comes now is in; under validate_lock */
	struct wait turns_over;
};

struct vm_device {
	struct vm_device_config config;
	struct mm *mm;
	struct pagemap *pagemap;
	struct vram *vram;
	struct mm_quiesce quiesce;
	struct usvm_device_host host;
	struct vm_stats stats;
	uint64_t inval_ns;                 /* under event_lock: not counted yet */
	struct pool bo_pool;               /* of struct vm_svm_bo */
	struct pool object_pool;           /* of struct vm_bo */
	struct vm_room room;
	struct lock vms_lock;              /* leaf */
	struct vm *vms[VM_PER_DEVICE_MAX] GUARDED_BY(&vms_lock); /* NULL: takes no faults */
	uint64_t ids GUARDED_BY(&vms_lock); /* bit set: the device has, or will have, such a vm */
	bool closing GUARDED_BY(&vms_lock);
	uint32_t unplugged;                /* atomic; written under vms_lock, for ever */
	struct wait pending_wait;           /* some vm's pending_work, or guests, went down */
	uint32_t guests;                    /* atomic: see guest.c; counted up under event_lock */
	struct lock validate_lock;          /* before any vm.lock: one vm at a time pins all */
	struct lock stayed_lock;            /* leaf */
	struct vm_stayed stayed[VM_STAYED_MAX] GUARDED_BY(&stayed_lock);
	uint32_t stayed_count GUARDED_BY(&stayed_lock); /* of all times; no more are kept */
};

/**
 * vm_device_create() - make device memory for a device and wire it to the mm
 * @host_ops: functions of usvm_device_host that are not the driver's (threads, pages);
 *   the driver fills in fault and access and the memory
 * Context: [worker]. The device is not attached yet: the caller does that, on the thread
 * that opens. Return: 0, -ENOMEM.
 */
MUST_CHECK int vm_device_create(struct mm *mm, const struct vm_device_config *config,
				const struct usvm_device_host *host_ops,
				struct vm_device **device);

/** vm_device_quiesce_on() - the device is attached: stop its engines from now on. [worker] */
void vm_device_quiesce_on(struct vm_device *device);

/** vm_device_unplug() - the device is gone: no fault is served any more, nothing is taken;
 * revoke all, bring everything home. [worker], not one that holds a vm.lock.
 * Return: 0; -EBUSY something would not come home. */
MUST_CHECK int vm_device_unplug(struct vm_device *device);

/** vm_device_reaches() - can @device use the memory of @other in place? Context: any; neither
 * goes meanwhile. */
bool vm_device_reaches(const struct vm_device *device, const struct vm_device *other);

/** vm_device_is_unplugged() - Context: any */
static inline bool vm_device_is_unplugged(const struct vm_device *device)
{
	return ATOMIC_LOAD(&device->unplugged);
}

/** vm_device_drain() - no vm is left: bring everything home, stop listening. [worker]
 * Return: 0; -EBUSY something would not come home (the device stays usable). */
MUST_CHECK int vm_device_drain(struct vm_device *device);

/** vm_device_destroy() - after drain; the device is detached. NULL is accepted. [worker] */
void vm_device_destroy(struct vm_device *device);

/** vm_device_take_fault() - host->fault() of a device: queue it for a worker.
 * Context: [engine]. Return: 0; -ENOENT no such vm; -ENODEV closing or unplugged;
 * -EINVAL. */
int vm_device_take_fault(struct vm_device *device, struct usvm_device_fault *fault);

/** vm_device_report() - host->report() of a device: an access failed that no fault did.
 * Context: [engine]. */
void vm_device_report(struct vm_device *device, uint32_t id, uint64_t addr, uint32_t access,
		      int error);

/** vm_device_vram() - how full device memory is. Context: any but the monitor. */
void vm_device_vram(struct vm_device *device, struct vram_stats *stats);

/** vm_device_stayed() - the mappings that stayed at home although all that can is to go
 * @max: at most so many are written
 * @count: out: how many there were; more than VM_STAYED_MAX are not remembered
 * Context: any but the monitor. Return: how many were written. */
size_t vm_device_stayed(struct vm_device *device, struct vm_stayed *stayed, size_t max,
			size_t *count);

extern const char *const vm_stay_names[VM_STAY_COUNT];

enum vm_flag {
	VM_NO_MIRROR = 1 << 0,
	VM_READ_ONLY = 1 << 1,
	VM_AUTORESET = 1 << 2, /* of the mirror that it is born with; see vm/attr.h */
};

/** vm_create() - Return: 0, -ENOSPC, -ENOMEM, -ENODEV. */
MUST_CHECK int vm_create(struct vm_device *device, uint32_t flags, struct vm **vm);

/** vm_destroy() - waits for faults that are being served; revokes all. The device runs no
 * job in it any more. NULL is accepted. */
void vm_destroy(struct vm *vm);

/** vm_id() - the number the device knows it by. Context: any. */
uint32_t vm_id(const struct vm *vm);

/** vm_bind_mirror() - GPU address = CPU address in @span; see vm/bo.h for other binds.
 * Return: 0, -EINVAL not page-aligned or empty, -EBUSY overlaps a mirror, -ENOMEM,
 * -ENODEV. */
MUST_CHECK int vm_bind_mirror(struct vm *vm, struct span span, bool read_only);

/** vm_unbind() - a mirror, as it was bound. Return: 0; -ENOENT no such bind; -EBUSY ranges
 * live in it. */
MUST_CHECK int vm_unbind(struct vm *vm, struct span span);

enum vm_place {
	VM_PLACE_SYSTEM,
	VM_PLACE_DEVICE,
	VM_PLACE_ADVISED, /* where each piece should be: vm/attr.h */
};

/** vm_prefetch() - best effort. Return: 0, -EFAULT nothing in @span is mapped, -ENOMEM;
 * -ENODEV to a device that is unplugged. */
MUST_CHECK int vm_prefetch(struct vm *vm, struct span span, enum vm_place place);

/* Where a page is. */
struct vm_page_info {
	bool has_vma;
	bool has_entry;
	bool moving;
	bool mapped;
	bool writable;
	bool is_elsewhere;    /* another device than the vm's has it */
	uint64_t vram_offset; /* of the device that has it */
	uint64_t run_bytes;
	char device[32];      /* its name */
};

/** vm_query() - where is the page of @addr? */
void vm_query(struct vm *vm, uint64_t addr, struct vm_page_info *info);

/** vm_query_span() - pages without VMA, at home, moving, on a device; in this order */
void vm_query_span(struct vm *vm, struct span span, uint64_t pages[4]);

/* A fault that failed. */
struct vm_fault_record {
	uint64_t addr;
	uint64_t time_ns;
	uint32_t access;
	int error;
};

/** vm_faults() - the last that failed, oldest first, at most @max. Context: any but the
 * monitor. Return: how many. */
size_t vm_faults(struct vm *vm, struct vm_fault_record *records, size_t max);

/** vm_check() - assert the invariants of the vm and what is below it */
void vm_check(struct vm *vm);

#endif
