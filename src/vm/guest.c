/* SPDX-License-Identifier: MIT */
/*
 * DOC: Pages for another device
 *
 * Advice may want pages on another device than the one that faults. If that one reaches the
 * other's memory it takes the pages there, as its guest, and maps them in place. The advice
 * names the other and does not keep it: whoever comes as a guest asks first whether it is
 * there, and is counted until he has left. A device that goes waits for its guests before it
 * brings everything home, and lets no more in.
 *
 * Upstream: the preferred location holds a reference, drm_pagemap_get().
 */
#include "vm/vm_internal.h"

#include "base/host.h"
#include "base/plant.h"

/* Until it is known not to be going nothing of it may be used but the count. */
static bool is_there(struct vm_device *device)
{
	bool there;

	lock_acquire(&device->vms_lock);
	there = !device->closing && !vm_device_is_unplugged(device);
	lock_release(&device->vms_lock);
	return there;
}

bool vm_device_reaches(const struct vm_device *device, const struct vm_device *other)
{
	return pagemap_reaches(device->pagemap, other->pagemap);
}

struct vm_device *vm_guest_enter(struct vm *vm, const void *wanted)
{
	struct mm *mm = vm->device->mm;
	struct vm_device *device = NULL;
	struct mm_quiesce *found;

	if (!wanted || wanted == vm->device)
		return NULL;
	lock_acquire(mm_event_lock(mm));
	found = mm_quiesce_find(mm, wanted);
	if (found) {
		device = CONTAINER_OF(found, struct vm_device, quiesce);
		ATOMIC_ADD(&device->guests, 1u);
		PLANTED_GAP(GUEST_UNWAITED, mm_event_lock(mm));
	}
	lock_release(mm_event_lock(mm));
	if (!device || (is_there(device) && device->config.migrate != VM_MIGRATE_NEVER &&
			pagemap_reaches(vm->device->pagemap, device->pagemap)))
		return device;
	vm_guest_leave(device);
	return NULL;
}

void vm_guest_leave(struct vm_device *device)
{
	if (!device)
		return;
	/* One step for who waits: the device may be gone when the lock is free. */
	lock_acquire(&device->vms_lock);
	ATOMIC_SUB(&device->guests, 1u);
	wait_wake_all(&device->pending_wait);
	lock_release(&device->vms_lock);
}

void vm_guests_wait(struct vm_device *device)
{
	while (!PLANTED(GUEST_UNWAITED)) {
		uint32_t ticket = wait_ticket(&device->pending_wait);

		if (!ATOMIC_LOAD(&device->guests))
			break;
		wait_sleep(&device->pending_wait, ticket, BASE_FOREVER);
	}
	lock_acquire(&device->vms_lock);
	lock_release(&device->vms_lock);
}
