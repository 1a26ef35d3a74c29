/* SPDX-License-Identifier: MIT */
/* The example device goes through the conformance test, with usvm's memory and its own. */
#include <stdio.h>
#include <sys/mman.h>

#include "conformance.h"
#include "example_device.h"

#define VRAM_BYTES (4u << 20)

static int access_device(void *context, struct conformance_access *access)
{
	static const uint32_t ops[] = {
		[CONFORMANCE_LOAD] = USVM_SYSTEM_READ,
		[CONFORMANCE_STORE] = USVM_SYSTEM_WRITE,
		[CONFORMANCE_ADD] = USVM_SYSTEM_ADD,
	};
	struct example_device *device = context;

	for (uint64_t i = 0; i < access->count; i++) {
		device->op = ops[access->op];
		device->addr = access->addr;
		device->value = access->value;
		sem_post(&device->asked);
		example_wait(&device->answered);
		if (device->result) {
			access->fault_addr = device->fault.addr;
			return device->result;
		}
	}
	if (access->op == CONFORMANCE_LOAD)
		access->value = device->value;
	return 0;
}

/* Shared memory: the monitor touches it, and it never migrates. */
static void *shared_memory(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			 -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

int main(void)
{
	static const char *const specs[] = { "home=2M,thrash_control=no",
					     "home=4K,thrash_control=no", "migrate=never",
					     NULL };
	int worst = 77;

	for (int own = 0; own < 2; own++) {
		struct example_device *device = shared_memory(sizeof(*device));
		struct usvm_device_config config = {
			.name = own ? "example with memory" : "example",
			.ops = &example_device_ops,
			.device = device,
			.vram_bytes = VRAM_BYTES,
			.flags = own ? USVM_DEVICE_OWN_MEMORY : 0,
		};
		struct conformance_hooks hooks = {
			.context = device,
			.specs = specs,
			.access = access_device,
		};
		int status;

		if (!device)
			return 1;
		sem_init(&device->asked, 0, 0);
		sem_init(&device->answered, 0, 0);
		sem_init(&device->faulted, 0, 0);
		device->own_memory = own ? shared_memory(VRAM_BYTES) : NULL;
		if (own && !device->own_memory)
			return 1;
		printf("--- %s\n", config.name);
		status = conformance_run(&config, &hooks);
		worst = status == 77 ? worst : worst == 77 ? status : worst | status;
	}
	return worst;
}
