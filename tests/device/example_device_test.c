/* SPDX-License-Identifier: MIT */
/* The example device goes through the conformance test, with usvm's memory and its own. */
#include <stdbool.h>
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

/* Return: false: there is no memory for it. */
static bool make_device(struct usvm_device_config *config, bool own)
{
	struct example_device *device = shared_memory(sizeof(*device));

	if (!device)
		return false;
	*config = (struct usvm_device_config){
		.name = own ? "example with memory" : "example",
		.ops = &example_device_ops,
		.device = device,
		.vram_bytes = VRAM_BYTES,
		.flags = own ? USVM_DEVICE_OWN_MEMORY | USVM_DEVICE_PEER_COPY : 0,
	};
	sem_init(&device->asked, 0, 0);
	sem_init(&device->answered, 0, 0);
	sem_init(&device->faulted, 0, 0);
	device->own_memory = own ? shared_memory(VRAM_BYTES) : NULL;
	return !own || device->own_memory;
}

/* Each kind, with a peer of each kind. */
int main(void)
{
	static const char *const specs[] = { "home=2M,thrash_control=no",
					     "home=4K,thrash_control=no", "migrate=never",
					     NULL };
	static const char *const one_spec[] = { "home=2M,thrash_control=no", NULL };
	int worst = 77;

	for (int kinds = 0; kinds < 4; kinds++) {
		struct usvm_device_config config, peer;
		struct conformance_hooks hooks = {
			.peer = &peer,
			.specs = kinds < 2 ? specs : one_spec,
			.access = access_device,
		};
		int status;

		if (!make_device(&config, kinds % 2) ||
		    !make_device(&peer, kinds == 1 || kinds == 2))
			return 1;
		hooks.context = config.device;
		printf("--- %s, beside %s\n", config.name, peer.name);
		status = conformance_run(&config, &hooks);
		worst = status == 77 ? worst : worst == 77 ? status : worst | status;
	}
	return worst;
}
