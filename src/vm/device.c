/* SPDX-License-Identifier: MIT */
/*
 * DOC: A device in the process
 *
 * What joins a device with the mm: its engines stop when the mm says so, its
 * faults become work, its accesses to system pages go through the guarded
 * accessor. Device memory is given out by vram, filled by the pagemap.
 *
 * A device may go away before its end (vm_device_unplug()). From the moment it is marked
 * no fault is accepted. Faults that are being served, and prefetches, hold the vm.lock of
 * their vm from the look at the mark to the bind: once each vm.lock was taken after the
 * mark, nothing maps or takes any more, no buffer object is pinned, and what the vms have
 * mapped can be revoked for good. Then the pages come home like those that are evicted,
 * with no notifier left to tell. The handles stay until they are given back.
 *
 * The end: no vm is left; every buffer object is evicted, so every page is home;
 * the devmems' releases, which the collector may still be at, are waited for;
 * then nobody listens any more and the memory is given back.
 *
 * Upstream: drm_dev_unplug(), xe_device_remove().
 */
#include "vm/bo_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"

static bool quiesce_stop(void *user)
{
	struct vm_device *device = user;

	return device->config.ops->stop(device->config.device);
}

static void quiesce_wait_stopped(void *user)
{
	struct vm_device *device = user;

	device->config.ops->wait_stopped(device->config.device);
}

static void quiesce_resume(void *user)
{
	struct vm_device *device = user;

	device->config.ops->resume(device->config.device);
}

static const struct mm_quiesce_ops quiesce_ops = {
	.stop = quiesce_stop,
	.wait_stopped = quiesce_wait_stopped,
	.resume = quiesce_resume,
};

uint64_t vm_now_ns(const struct vm_device *device)
{
	struct sys *sys = mm_sys(device->mm);

	return sys->ops->clock_ns(sys);
}

static size_t device_bytes(void)
{
	return ALIGN_UP(sizeof(struct vm_device), PAGE_BYTES);
}

int vm_device_create(struct mm *mm, const struct vm_device_config *config,
		     const struct usvm_device_host *host_ops, struct vm_device **out)
{
	struct vm_device *device = base_host->pages_alloc(device_bytes());
	struct pagemap_config pagemap = {
		.mm = mm,
		.device = config->device,
		.name = config->name,
		.vram_bytes = config->vram_bytes,
		.home_bytes = config->home_bytes,
		.copy = config->flags & USVM_DEVICE_OWN_MEMORY,
		.poison = config->poison,
		.peers = config->peers,
		.reaches_peers = config->flags & USVM_DEVICE_OBJECTS,
		.ops = &vm_devmem_ops,
		.owner = device,
	};
	int err;

	if (!device)
		return -ENOMEM;
	device->mm = mm;
	device->config = *config;
	lock_init(&device->vms_lock, LOCK_LEAF, "vm_device.vms_lock");
	lock_init(&device->validate_lock, LOCK_API_DEVICE, "vm_device.validate_lock");
	lock_init(&device->stayed_lock, LOCK_LEAF, "vm_device.stayed_lock");
	pool_init(&device->bo_pool, sizeof(struct vm_svm_bo), "vm_device.bo_pool");
	pool_init(&device->object_pool, sizeof(struct vm_bo), "vm_device.object_pool");
	wait_init(&device->pending_wait);
	vm_room_init(&device->room);
	list_init(&device->quiesce.node);
	err = vram_create(config->vram_bytes, &device->vram);
	if (err)
		goto free_device;
	err = pagemap_create(&pagemap, &device->pagemap);
	if (err)
		goto destroy_vram;

	device->host = *host_ops;
	device->host.usvm = config->usvm;
	device->host.vram = pagemap_vram(device->pagemap);
	device->host.vram_bytes = config->vram_bytes;
	*out = device;
	return 0;

destroy_vram:
	vram_destroy(device->vram);
free_device:
	base_host->pages_free(device, device_bytes());
	return err;
}

void vm_device_quiesce_on(struct vm_device *device)
{
	device->quiesce.ops = &quiesce_ops;
	device->quiesce.user = device;
	mm_quiesce_insert(device->mm, &device->quiesce);
}

int vm_device_drain(struct vm_device *device)
{
	int err;

	lock_acquire(&device->vms_lock);
	device->closing = true;
	lock_release(&device->vms_lock);
	vm_guests_wait(device);
	err = vram_evict_all(device->vram);
	if (err) {
		lock_acquire(&device->vms_lock);
		device->closing = false;
		lock_release(&device->vms_lock);
		return err;
	}
	pagemap_flush(device->pagemap);
	mm_quiesce_remove(device->mm, &device->quiesce);
	/* Who had found it in the list, and saw that it goes. */
	vm_guests_wait(device);
	return 0;
}

void vm_device_destroy(struct vm_device *device)
{
	if (!device)
		return;
	pagemap_destroy(device->pagemap);
	vram_destroy(device->vram);
	pool_fini(&device->object_pool);
	pool_fini(&device->bo_pool);
	base_host->pages_free(device, device_bytes());
}

void vm_device_vram(struct vm_device *device, struct vram_stats *stats)
{
	vram_stats_read(device->vram, stats);
}

/* The vm of a number, counted as pending; or NULL. */
static struct vm *get_locked(struct vm_device *device, uint32_t id)
	MUST_HOLD(&device->vms_lock);
static struct vm *get_locked(struct vm_device *device, uint32_t id)
{
	struct vm *vm = id < VM_PER_DEVICE_MAX ? device->vms[id] : NULL;

	if (vm)
		ATOMIC_ADD(&vm->pending_work, 1);
	return vm;
}

/* The vm a fault is for, counted as pending. Return: 0, -ENODEV closing or unplugged,
 * -ENOENT. */
int vm_get(struct vm_device *device, uint32_t id, struct vm **out)
{
	int err = -ENODEV;

	lock_acquire(&device->vms_lock);
	if (!device->closing && !vm_device_is_unplugged(device)) {
		*out = get_locked(device, id);
		err = *out ? 0 : -ENOENT;
	}
	lock_release(&device->vms_lock);
	return err;
}

/* One thing less is pending; vm and device may be gone when it returns. The lock makes
 * count and wake one step for wait_for_pending(). */
void vm_pending_put(struct vm *vm)
{
	struct vm_device *device = vm->device;

	lock_acquire(&device->vms_lock);
	ATOMIC_SUB(&vm->pending_work, 1);
	wait_wake_all(&device->pending_wait);
	lock_release(&device->vms_lock);
}

int vm_device_unplug(struct vm_device *device)
{
	lock_acquire(&device->vms_lock);
	ATOMIC_STORE(&device->unplugged, 1);
	lock_release(&device->vms_lock);
	for (uint32_t id = 0; id < VM_PER_DEVICE_MAX; id++) {
		struct vm *vm;

		lock_acquire(&device->vms_lock);
		vm = get_locked(device, id);
		lock_release(&device->vms_lock);
		if (!vm)
			continue;
		lock_acquire(&vm->lock);
		vm_remove_ranges(vm);
		vm_binds_revoke(vm);
		lock_release(&vm->lock);
		vm_pending_put(vm);
	}
	vm_guests_wait(device);
	return vram_evict_all(device->vram);
}
