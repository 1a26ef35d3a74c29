/* SPDX-License-Identifier: MIT */
/*
 * DOC: What a device calls
 *
 * The functions of struct usvm_device_host. They run on the device's threads,
 * which are threads of the library: no lock is held by the caller.
 */
#include "api/api_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/host.h"

#define SECTION_SPINS 200

_Static_assert((int)USVM_SYSTEM_READ == (int)SYS_ACCESS_READ &&
		       (int)USVM_SYSTEM_WRITE == (int)SYS_ACCESS_WRITE &&
		       (int)USVM_SYSTEM_ADD == (int)SYS_ACCESS_ADD &&
		       (int)USVM_SYSTEM_SUB == (int)SYS_ACCESS_SUB &&
		       (int)USVM_SYSTEM_AND == (int)SYS_ACCESS_AND &&
		       (int)USVM_SYSTEM_OR == (int)SYS_ACCESS_OR &&
		       (int)USVM_SYSTEM_XOR == (int)SYS_ACCESS_XOR &&
		       (int)USVM_SYSTEM_EXCHANGE == (int)SYS_ACCESS_EXCHANGE &&
		       (int)USVM_SYSTEM_COMPARE_EXCHANGE == (int)SYS_ACCESS_COMPARE_EXCHANGE &&
		       (int)USVM_SYSTEM_MIN == (int)SYS_ACCESS_MIN &&
		       (int)USVM_SYSTEM_MAX == (int)SYS_ACCESS_MAX &&
		       (int)USVM_SYSTEM_SIGNED_MIN == (int)SYS_ACCESS_SIGNED_MIN &&
		       (int)USVM_SYSTEM_SIGNED_MAX == (int)SYS_ACCESS_SIGNED_MAX,
	       "usvm/device.h and sys.h number the operations alike");

static int host_fault(struct usvm *usvm, struct usvm_device_fault *fault)
{
	return vm_device_take_fault(usvm->device, fault);
}

static void host_report(struct usvm *usvm, uint32_t vm, uint64_t addr, uint32_t access,
			int error)
{
	vm_device_report(usvm->device, vm, addr, access, error);
}

static int host_access(struct usvm *usvm, uint32_t op, uint64_t addr, void *buffer,
		       uint32_t bytes)
{
	if (op > SYS_ACCESS_SIGNED_MAX || !bytes ||
	    (addr & (PAGE_BYTES - 1)) + bytes > PAGE_BYTES)
		return -EFAULT;
	return mm_access(usvm->mm, op, addr, buffer, bytes);
}

static int submit_fence(void *argument)
{
	struct mm *mm = *(struct mm **)argument;

	mm_submit_fence(mm);
	mm_marks_look(mm);
	return 0;
}

static int host_engine_begin(struct usvm *usvm)
{
	struct mm *mm = usvm->mm;
	if (vm_device_is_unplugged(usvm->device) ||
	    usvm->sys->ops->check_signal_handlers(usvm->sys))
		return -ENODEV;
	/* Only an entry can make a job see a frame of an address that was reused. */
	if (!mm_entry_pages(mm))
		return 0;
	return mm_call_from_engine(mm, submit_fence, &mm, sizeof(mm)); /* S1 */
}

static int host_engine_register(struct usvm *usvm)
{
	return mm_accessor_register(usvm->mm, usvm->device_config.device);
}

static void host_engine_unregister(struct usvm *usvm)
{
	mm_accessor_unregister(usvm->mm);
}

static void host_section_wait(struct usvm *usvm UNUSED, struct usvm_stop *stop)
{
	uint32_t raised;

	for (int i = 0; i < SECTION_SPINS; i++) {
		if (!ATOMIC_LOAD(&stop->raised))
			return;
		cpu_relax();
	}
	while ((raised = ATOMIC_LOAD(&stop->raised)))
		base_host->park(&stop->raised, raised, BASE_FOREVER);
}

static void host_section_wake(struct usvm *usvm UNUSED, struct usvm_stop *stop)
{
	base_host->unpark(&stop->raised, INT32_MAX);
}

static int host_thread_create(struct usvm *usvm, const char *name, void (*run)(void *),
			      void *arg, void **thread)
{
	const struct sys_thread_attr attr = { .name = name, .run = run, .arg = arg };
	struct sys_thread *made;
	int err;

	err = usvm->sys->ops->thread_create(usvm->sys, &attr, &made);
	if (!err)
		*thread = made;
	return err;
}

static void host_thread_join(struct usvm *usvm, void *thread)
{
	usvm->sys->ops->thread_join(usvm->sys, thread);
}

static void *host_pages_alloc(struct usvm *usvm UNUSED, size_t bytes)
{
	if (!bytes || bytes > SIZE_MAX - PAGE_BYTES)
		return NULL;
	return base_host->pages_alloc(ALIGN_UP(bytes, PAGE_BYTES));
}

static void host_pages_free(struct usvm *usvm UNUSED, void *pages, size_t bytes)
{
	if (pages)
		base_host->pages_free(pages, ALIGN_UP(bytes, PAGE_BYTES));
}

const struct usvm_device_host api_host_ops = {
	.fault = host_fault,
	.access = host_access,
	.report = host_report,
	.engine_begin = host_engine_begin,
	.engine_register = host_engine_register,
	.engine_unregister = host_engine_unregister,
	.section_wait = host_section_wait,
	.section_wake = host_section_wake,
	.thread_create = host_thread_create,
	.thread_join = host_thread_join,
	.pages_alloc = host_pages_alloc,
	.pages_free = host_pages_free,
};
