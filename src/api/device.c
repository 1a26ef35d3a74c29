/* SPDX-License-Identifier: MIT */
/*
 * DOC: Open and close
 *
 *     open:   process; model GPU; device memory (worker); attach; stop engines when asked
 *     close:  everything home (worker); detach; device memory (worker); GPU; process
 *
 *     unplug: any thread but the monitor (worker); handles stay until they are given back
 *
 * attach() and detach() run on the thread that opens and closes: they make and
 * join threads, which touches the program's heap.
 */
#include "api/api_internal.h"
#include "api/device.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/host.h"

static size_t usvm_bytes(void)
{
	return ALIGN_UP(sizeof(struct usvm), PAGE_BYTES);
}

static int create_device(void *argument)
{
	struct usvm *usvm = *(struct usvm **)argument;
	const struct vm_device_config config = {
		.name = usvm->name,
		.ops = usvm->device_config.ops,
		.device = usvm->device_config.device,
		.vram_bytes = usvm->device_config.vram_bytes,
		.flags = usvm->device_config.flags,
		.migrate = usvm->why_not ? VM_MIGRATE_NEVER : usvm->config.migrate,
		.notifier_bytes = usvm->config.notifier_bytes,
		.thrash_control = !usvm->config.no_thrash_control &&
				  !usvm->config.place_on_device,
		.place_on_device = usvm->config.place_on_device,
		.poison = usvm->config.poison,
		.peers = usvm->config.peers[0] ? usvm->config.peers : NULL,
		.timeslice_ns = usvm->config.timeslice_ms * 1000000,
		.home_bytes = usvm->config.home_bytes,
		.usvm = usvm,
	};

	return vm_device_create(usvm->mm, &config, &api_host_ops, &usvm->device);
}

static int destroy_device(void *argument)
{
	struct usvm *usvm = *(struct usvm **)argument;

	vm_device_destroy(usvm->device);
	pool_fini(&usvm->fence_pool);
	return 0;
}

static int quiesce_on(void *argument)
{
	struct usvm *usvm = *(struct usvm **)argument;

	vm_device_quiesce_on(usvm->device);
	return 0;
}

static int drain_device(void *argument)
{
	struct usvm *usvm = *(struct usvm **)argument;

	return vm_device_drain(usvm->device);
}

static int create_gpu(void *argument)
{
	struct usvm *usvm = *(struct usvm **)argument;
	const struct gpu_config config = {
		.vram_bytes = usvm->config.vram_bytes,
		.engine_count = usvm->config.engine_count,
		.own_memory = usvm->config.copy,
		.no_system_atomics = usvm->config.no_system_atomics,
	};

	return gpu_create(usvm->sys, &config, &usvm->gpu);
}

static int destroy_gpu(void *argument)
{
	struct usvm *usvm = *(struct usvm **)argument;

	gpu_destroy(usvm->gpu);
	return 0;
}

static const char *find_why_not(const struct usvm *usvm)
{
	const char *why;

	if (!mm_can_migrate(usvm->mm, &why))
		return why;
	if (usvm->config.migrate == VM_MIGRATE_NEVER)
		return "migrate=never was asked for";
	if (!sys_has(usvm->sys, SYS_FEATURE_KERNEL_FAULTS) && !usvm->config.migrate_always)
		return "system calls could not touch device pages (migrate=always allows it)";
	return NULL;
}

static int attach(struct usvm *usvm)
{
	const struct usvm_device_ops *ops;
	int err;

	err = mm_call(usvm->mm, create_device, &usvm, sizeof(usvm));
	if (err)
		return err;
	/* The device may be unplugged from a thread of its own before the open returns. */
	usvm->magic = API_MAGIC_DEVICE;
	ops = usvm->device_config.ops;
	err = ops->attach(usvm->device_config.device, &usvm->device->host);
	if (err) {
		mm_call(usvm->mm, destroy_device, &usvm, sizeof(usvm));
		return err;
	}
	mm_call(usvm->mm, quiesce_on, &usvm, sizeof(usvm));
	return 0;
}

static void copy_text(char *to, size_t size, const char *from)
{
	size_t length = strnlen(from, size - 1);

	memcpy(to, from, length);
	to[length] = 0;
}

static void init(struct usvm *usvm, const struct usvm_device_config *device_config)
{
	usvm->why_not = find_why_not(usvm);
	usvm->device_config = *device_config;
	copy_text(usvm->name, sizeof(usvm->name), device_config->name);
	pool_init(&usvm->fence_pool, sizeof(struct usvm_fence), "usvm.fences");
}

static int open_model(struct usvm *usvm)
{
	struct usvm_device_config device_config = {
		.name = "model",
		.ops = gpu_ops(),
		.vram_bytes = usvm->config.vram_bytes,
		.flags = USVM_DEVICE_OBJECTS |
			 (usvm->config.copy ?
				  USVM_DEVICE_OWN_MEMORY | USVM_DEVICE_PEER_COPY :
				  0u) |
			 (usvm->config.no_system_atomics ? USVM_DEVICE_NO_SYSTEM_ATOMICS : 0u),
	};
	int err;

	err = mm_call(usvm->mm, create_gpu, &usvm, sizeof(usvm));
	if (err)
		return err;
	device_config.device = usvm->gpu;
	init(usvm, &device_config);
	err = attach(usvm);
	if (err)
		mm_call(usvm->mm, destroy_gpu, &usvm, sizeof(usvm));
	return err;
}

static int open_common(const struct api_config *config,
		       const struct usvm_device_config *device_config, struct usvm **out)
{
	struct usvm *usvm;
	struct sys *sys;
	struct mm *mm;
	int err;

	err = api_process_get(&sys, &mm);
	if (err)
		return err;
	usvm = base_host->pages_alloc(usvm_bytes());
	err = usvm ? 0 : -ENOMEM;
	if (err)
		goto put_process;
	usvm->sys = sys;
	usvm->mm = mm;
	usvm->config = *config;
	if (config->origins)
		mm_count_origins(mm);
	if (config->marked)
		mm_mark_entries(mm);
	if (config->trace_events)
		err = mm_trace_open(mm, config->trace_events, &usvm->trace);
	if (err)
		goto free_usvm;
	if (device_config) {
		init(usvm, device_config);
		err = attach(usvm);
	} else {
		err = open_model(usvm);
	}
	if (err)
		goto free_usvm;
	mm_process_unlock();
	*out = usvm;
	return 0;

free_usvm:
	base_host->pages_free(usvm, usvm_bytes());
put_process:
	api_process_put();
	return err;
}

int usvm_open(const char *spec, struct usvm **device)
{
	struct api_config config;
	int err;

	if (!device)
		return -EINVAL;
	err = api_config_parse(spec, true, &config);
	if (err)
		return err;
	return open_common(&config, NULL, device);
}

static bool device_config_is_valid(const struct usvm_device_config *c)
{
	const uint32_t known = USVM_DEVICE_OWN_MEMORY | USVM_DEVICE_NO_SYSTEM_ATOMICS |
			       USVM_DEVICE_OBJECTS | USVM_DEVICE_PEER_COPY;
	const struct usvm_device_ops *o = c->ops;

	if (!o || !c->name || !c->vram_bytes || c->vram_bytes % HUGE_BYTES ||
	    c->vram_bytes > GIB(1024) || (c->flags & ~known) || c->reserved)
		return false;
	if ((c->flags & USVM_DEVICE_OWN_MEMORY) && !o->copy)
		return false;
	if ((c->flags & USVM_DEVICE_PEER_COPY) &&
	    (!(c->flags & USVM_DEVICE_OWN_MEMORY) || !o->copy_peer))
		return false;
	return o->attach && o->detach && o->vm_create && o->vm_destroy && o->pt_prepare &&
	       o->pt_map && o->pt_clear && o->tlb_flush && o->stop && o->wait_stopped &&
	       o->resume && o->fault_done;
}

int usvm_open_device(const struct usvm_device_config *device_config, const char *spec,
		     struct usvm **device)
{
	struct api_config config;
	int err;

	if (!device || !device_config || !device_config_is_valid(device_config))
		return -EINVAL;
	err = api_config_parse(spec, false, &config);
	if (err)
		return err;
	config.vram_bytes = device_config->vram_bytes;
	config.copy = device_config->flags & USVM_DEVICE_OWN_MEMORY;
	return open_common(&config, device_config, device);
}

int usvm_close(struct usvm *usvm)
{
	int err;

	if (!usvm)
		return 0;
	err = api_check(usvm, API_MAGIC_DEVICE);
	if (err)
		return err;
	if (ATOMIC_LOAD(&usvm->vm_count) || ATOMIC_LOAD(&usvm->bo_count))
		return -EBUSY;
	err = api_fences_drain(usvm);
	if (err)
		return err;
	mm_process_lock();
	err = mm_call(usvm->mm, drain_device, &usvm, sizeof(usvm));
	if (err) {
		mm_process_unlock();
		return err;
	}
	ATOMIC_STORE_RELAXED(&usvm->magic, 0);
	usvm->device_config.ops->detach(usvm->device_config.device);
	mm_call(usvm->mm, destroy_device, &usvm, sizeof(usvm));
	if (usvm->gpu)
		mm_call(usvm->mm, destroy_gpu, &usvm, sizeof(usvm));
	base_host->pages_free(usvm, usvm_bytes());
	api_process_put();
	return 0;
}

static int unplug_device(void *argument)
{
	struct usvm *usvm = *(struct usvm **)argument;

	return vm_device_unplug(usvm->device);
}

int usvm_device_unplug(struct usvm *usvm)
{
	int err = api_check(usvm, API_MAGIC_DEVICE);

	if (err)
		return err;
	/* Among the faults: callers may all wait for jobs that only this ends. */
	return mm_call_from_engine(usvm->mm, unplug_device, &usvm, sizeof(usvm));
}

int usvm_device_info(struct usvm *usvm, struct usvm_device_info *info)
{
	struct vram_stats stats;
	int err = api_check(usvm, API_MAGIC_DEVICE);
	const char *why_not;

	if (err)
		return err;
	if (!info)
		return -EINVAL;
	why_not = vm_device_is_unplugged(usvm->device) ? "the device was unplugged" :
							  usvm->why_not;
	vm_device_vram(usvm->device, &stats);
	memset(info, 0, sizeof(*info));
	copy_text(info->name, sizeof(info->name), usvm->name);
	info->vram_bytes = stats.size_bytes;
	info->vram_used_bytes = stats.used_bytes;
	info->engine_count = usvm->gpu ? usvm->config.engine_count : 0;
	info->copies = usvm->config.copy;
	info->migrates = !why_not;
	info->kernel_faults = sys_has(usvm->sys, SYS_FEATURE_KERNEL_FAULTS);
	info->fork_events = sys_has(usvm->sys, SYS_FEATURE_EVENT_FORK);
	if (why_not)
		copy_text(info->why_not, sizeof(info->why_not), why_not);
	return 0;
}

struct mm *api_device_mm(struct usvm *usvm)
{
	return usvm->mm;
}

struct vm_device *api_device_vm(struct usvm *usvm)
{
	return usvm->device;
}

struct gpu *api_device_gpu(struct usvm *usvm)
{
	return usvm->gpu;
}
