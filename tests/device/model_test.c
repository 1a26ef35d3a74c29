/* SPDX-License-Identifier: MIT */
/*
 * The model GPU goes through the conformance test, in both modes. Its accesses are
 * kernels of one group. What a load finds is handed over beside the GPU, in shared
 * memory that cannot migrate: the vm may be one that forbids writes.
 */
#include <errno.h>
#include <stdio.h>

#include "conformance.h"

struct model {
	struct usvm_vm *vm;
	struct usvm_queue *queue;
};

struct kernel_args {
	struct conformance_access *access;
	struct conformance_access what;
};

static int model_open(void *context, const char *spec, struct usvm **device)
{
	(void)context;
	return usvm_open(spec, device);
}

static int model_vm_begin(void *context, struct usvm_vm *vm)
{
	struct model *model = context;

	model->vm = vm;
	return usvm_queue_create(vm, NULL, &model->queue);
}

static void model_vm_end(void *context)
{
	struct model *model = context;

	if (usvm_queue_destroy(model->queue))
		printf("the queue could not be destroyed\n");
	model->queue = NULL;
}

static void access_kernel(struct usvm_lane *lane, const void *args)
{
	const struct kernel_args *a = args;

	for (uint64_t i = 0; i < a->what.count; i++) {
		switch (a->what.op) {
		case CONFORMANCE_LOAD:
			a->access->value = usvm_load64(lane, a->what.addr);
			break;
		case CONFORMANCE_STORE:
			usvm_store64(lane, a->what.addr, a->what.value);
			break;
		case CONFORMANCE_ADD:
			usvm_atomic_add64(lane, a->what.addr, a->what.value);
			break;
		}
	}
}

static int model_access(void *context, struct conformance_access *access)
{
	struct model *model = context;
	struct kernel_args args = { access, *access };
	struct usvm_kernel kernel = {
		.function = access_kernel,
		.args = &args,
		.args_bytes = sizeof(args),
	};
	struct usvm_queue_status status;
	int err = usvm_run_kernel(model->queue, &kernel);

	if (!err)
		return 0;
	/* The queue is banned now; the next access needs another. */
	if (!usvm_queue_status(model->queue, &status))
		access->fault_addr = status.fault.addr;
	model_vm_end(model);
	return usvm_queue_create(model->vm, NULL, &model->queue) ? -EIO : err;
}

int main(void)
{
	static const char *const specs[] = {
		"model:vram=4M,mode=move,thrash_control=no",
		"model:vram=4M,mode=move,home=4K,engines=1,thrash_control=no",
		"model:vram=4M,mode=copy,thrash_control=no",
		"model:vram=4M,mode=copy,home=64K,thrash_control=no",
		"model:vram=4M,migrate=never",
		NULL,
	};
	struct model model = { 0 };
	struct conformance_hooks hooks = {
		.context = &model,
		.specs = specs,
		.open = model_open,
		.vm_begin = model_vm_begin,
		.vm_end = model_vm_end,
		.access = model_access,
	};

	return conformance_run(NULL, &hooks);
}
