/* SPDX-License-Identifier: MIT */
/*
 * DOC: a bad GPU
 *
 * A fault that is to come later is kept in a slot, and a thread of the device raises it
 * when it has given the processor away some times. Twins are faults of the slot's own,
 * whose answers nobody but us hears.
 *
 *     FREE --claim--> CLAIMED --keep--> KEPT --the thread--> OUT --fault_done()--> FREE
 *
 * Counts are plain builtins and not base/atomic.h: a simulator does not see them.
 */
#include "device/faulty.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/wait.h"
#include "gpu/gpu.h"

#define SLOTS 32
#define DEVICES 8

/* How often the processor is given away before a fault is raised, at most. */
#define YIELDS_LATE 60
#define YIELDS_AGAIN 400

static const char *const names[] = {
	[FAULTY_COPY_TO] = "copy_to_device",
	[FAULTY_COPY_HOME] = "copy_home",
	[FAULTY_COPY_PEER] = "copy_peer",
	[FAULTY_VM_CREATE] = "vm_create",
	[FAULTY_PT_PREPARE] = "pt_prepare",
	[FAULTY_FAULT_TWICE] = "fault_twice",
	[FAULTY_FAULT_LATE] = "fault_late",
	[FAULTY_FAULT_AGAIN] = "fault_again",
	[FAULTY_ANSWER_LOST] = "answer_lost",
};

struct order {
	uint64_t calls;
	uint64_t nth; /* 0: none */
	int error;
	bool for_ever;
};

enum slot_state {
	SLOT_FREE,
	SLOT_CLAIMED,
	SLOT_KEPT,
	SLOT_OUT,
};

struct slot {
	uint32_t state;                  /* enum slot_state */
	uint32_t yields;                 /* until it is raised */
	struct usvm_device_fault *fault; /* an engine's, or twin */
	struct usvm_device_fault twin;
};

struct device {
	void *gpu; /* NULL: not attached */
	const struct usvm_device_host *host;
	struct usvm_device_host ours;
	void *thread; /* NULL: no order asks for one */
	struct wait wait;
	uint32_t quit;
	struct slot slots[SLOTS];
};

/* Of the program's image, which never migrates where the layers are linked into it. */
static struct order orders[FAULTY_CALLS];
static struct device devices[DEVICES];
static const char *complaint;

const struct usvm_device_ops *__real_gpu_ops(void);
const struct usvm_device_ops *__wrap_gpu_ops(void);

const char *faulty_name(enum faulty_call call)
{
	return names[call];
}

void faulty_order(enum faulty_call call, uint64_t nth, int error, bool for_ever)
{
	struct order *order = &orders[call];

	order->error = error;
	order->for_ever = for_ever;
	order->nth = error ? __atomic_load_n(&order->calls, __ATOMIC_RELAXED) + nth : 0;
}

uint64_t faulty_calls(enum faulty_call call)
{
	return __atomic_load_n(&orders[call].calls, __ATOMIC_RELAXED);
}

const char *faulty_complaint(void)
{
	return __atomic_load_n(&complaint, __ATOMIC_RELAXED);
}

/* Another for each call, from all of [1, @most]. */
static uint32_t yields_of(enum faulty_call call, uint32_t most)
{
	return 1 + (uint32_t)(faulty_calls(call) * 2654435761u >> 8) % most;
}

/* Return: the error of this call; 0: it goes well. */
static int goes_wrong(enum faulty_call call)
{
	struct order *order = &orders[call];
	uint64_t number = __atomic_add_fetch(&order->calls, 1, __ATOMIC_RELAXED);

	if (!order->nth || number < order->nth || (number > order->nth && !order->for_ever))
		return 0;
	return order->error;
}

static struct device *device_of(void *gpu)
{
	for (size_t i = 0; i < DEVICES; i++) {
		if (__atomic_load_n(&devices[i].gpu, __ATOMIC_ACQUIRE) == gpu)
			return &devices[i];
	}
	ASSERT(!"an operation of a device that is not attached");
	return NULL;
}

static struct device *device_of_host(const struct usvm *usvm)
{
	for (size_t i = 0; i < DEVICES; i++) {
		if (__atomic_load_n(&devices[i].gpu, __ATOMIC_ACQUIRE) &&
		    devices[i].ours.usvm == usvm)
			return &devices[i];
	}
	ASSERT(!"a call of a device that is not attached");
	return NULL;
}

/* --- faults that are raised later ----------------------------------------- */

static struct slot *claim(struct device *device)
{
	for (size_t i = 0; i < SLOTS; i++) {
		uint32_t state = SLOT_FREE;

		if (__atomic_compare_exchange_n(&device->slots[i].state, &state, SLOT_CLAIMED,
						false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return &device->slots[i];
	}
	return NULL;
}

static void set_state(struct slot *slot, enum slot_state state)
{
	__atomic_store_n(&slot->state, state, __ATOMIC_RELEASE);
}

static void make_twin(struct slot *slot, const struct usvm_device_fault *fault)
{
	slot->twin = (struct usvm_device_fault){ .vm = fault->vm, .access = fault->access,
						 .addr = fault->addr };
	slot->fault = &slot->twin;
}

/* Return: false: there is no room, and it is not kept. */
static bool keep(struct device *device, struct usvm_device_fault *fault, bool twin,
		 uint32_t yields)
{
	struct slot *slot = claim(device);

	if (!slot)
		return false;
	slot->fault = fault;
	if (twin)
		make_twin(slot, fault);
	slot->yields = yields;
	set_state(slot, SLOT_KEPT);
	wait_wake_all(&device->wait);
	return true;
}

static void raise_twin(struct device *device, struct slot *slot)
{
	int err;

	set_state(slot, SLOT_OUT);
	err = device->host->fault(device->host->usvm, &slot->twin);
	if (err && err != -ENOENT && err != -ENODEV)
		__atomic_store_n(&complaint, "a fault was refused that is none of usvm's",
				 __ATOMIC_RELAXED);
	if (err)
		set_state(slot, SLOT_FREE);
}

static void raise_kept(struct device *device, struct slot *slot)
{
	struct usvm_device_fault *fault = slot->fault;
	int err;

	if (fault == &slot->twin) {
		raise_twin(device, slot);
		return;
	}
	set_state(slot, SLOT_FREE);
	err = device->host->fault(device->host->usvm, fault);
	if (err) /* the engine waits for an answer */
		__real_gpu_ops()->fault_done(device->gpu, fault, err);
}

static void thread_main(void *arg)
{
	struct device *device = arg;

	for (;;) {
		uint32_t ticket = wait_ticket(&device->wait);
		bool any = false;

		for (size_t i = 0; i < SLOTS; i++) {
			struct slot *slot = &device->slots[i];

			if (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) != SLOT_KEPT)
				continue;
			any = true;
			if (slot->yields)
				slot->yields--;
			else
				raise_kept(device, slot);
		}
		if (any)
			base_host->cpu_yield();
		else if (__atomic_load_n(&device->quit, __ATOMIC_ACQUIRE))
			return;
		else
			wait_sleep(&device->wait, ticket, BASE_FOREVER);
	}
}

/* --- between the device and usvm ------------------------------------------ */

static int host_fault(struct usvm *usvm, struct usvm_device_fault *fault)
{
	struct device *device = device_of_host(usvm);
	struct slot *twin = NULL;
	int err;

	if (goes_wrong(FAULTY_FAULT_AGAIN))
		keep(device, fault, true, yields_of(FAULTY_FAULT_AGAIN, YIELDS_AGAIN));
	if (goes_wrong(FAULTY_FAULT_LATE) &&
	    keep(device, fault, false, yields_of(FAULTY_FAULT_LATE, YIELDS_LATE)))
		return 0;
	if (goes_wrong(FAULTY_FAULT_TWICE))
		twin = claim(device);
	if (twin) {
		make_twin(twin, fault); /* the engine's may be its own again in a moment */
		if (faulty_calls(FAULTY_FAULT_TWICE) % 2) {
			raise_twin(device, twin);
			twin = NULL;
		}
	}
	err = device->host->fault(device->host->usvm, fault);
	if (twin)
		raise_twin(device, twin);
	return err;
}

static void op_fault_done(void *gpu, struct usvm_device_fault *fault, int error)
{
	struct device *device = device_of(gpu);

	for (size_t i = 0; i < SLOTS; i++) {
		if (fault != &device->slots[i].twin)
			continue;
		if (__atomic_load_n(&device->slots[i].state, __ATOMIC_ACQUIRE) != SLOT_OUT)
			__atomic_store_n(&complaint, "a fault was answered that is not out",
					 __ATOMIC_RELAXED);
		set_state(&device->slots[i], SLOT_FREE);
		return;
	}
	if (goes_wrong(FAULTY_ANSWER_LOST) &&
	    keep(device, fault, false, yields_of(FAULTY_ANSWER_LOST, YIELDS_LATE)))
		return;
	__real_gpu_ops()->fault_done(gpu, fault, error);
}

static bool wants_thread(void)
{
	return orders[FAULTY_FAULT_LATE].nth || orders[FAULTY_FAULT_AGAIN].nth ||
	       orders[FAULTY_ANSWER_LOST].nth;
}

static int start(struct device *device, const struct usvm_device_host *host)
{
	device->host = host;
	device->ours = *host;
	device->ours.fault = host_fault;
	device->thread = NULL;
	device->quit = 0;
	wait_init(&device->wait);
	if (!wants_thread())
		return 0;
	return host->thread_create(host->usvm, "faulty", thread_main, device, &device->thread);
}

static void end(struct device *device)
{
	__atomic_store_n(&device->quit, 1, __ATOMIC_RELEASE);
	if (device->thread) {
		wait_wake_all(&device->wait);
		device->host->thread_join(device->host->usvm, device->thread);
	}
	for (size_t i = 0; i < SLOTS; i++) {
		if (device->slots[i].state != SLOT_FREE)
			complaint = "a fault was not answered";
		device->slots[i].state = SLOT_FREE;
	}
	__atomic_store_n(&device->gpu, NULL, __ATOMIC_RELEASE);
}

static int op_attach(void *gpu, const struct usvm_device_host *host)
{
	struct device *device = device_of(NULL);
	int err;

	__atomic_store_n(&device->gpu, gpu, __ATOMIC_RELEASE);
	err = start(device, host);
	if (!err)
		err = __real_gpu_ops()->attach(gpu, &device->ours);
	if (err)
		end(device);
	return err;
}

/* Engines end when their faults are answered: the thread goes after them. */
static void op_detach(void *gpu)
{
	__real_gpu_ops()->detach(gpu);
	end(device_of(gpu));
}

static int op_vm_create(void *gpu, uint32_t vm)
{
	int err = goes_wrong(FAULTY_VM_CREATE);

	return err ? -err : __real_gpu_ops()->vm_create(gpu, vm);
}

static int op_pt_prepare(void *gpu, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	int err = goes_wrong(FAULTY_PT_PREPARE);

	return err ? -err : __real_gpu_ops()->pt_prepare(gpu, vm, addr, bytes);
}

static int op_copy(void *gpu, uint64_t vram_offset, void *memory, uint64_t bytes,
		   bool to_device)
{
	int err = goes_wrong(to_device ? FAULTY_COPY_TO : FAULTY_COPY_HOME);

	if (err) {
		__real_gpu_ops()->copy(gpu, vram_offset, memory, bytes / 2, to_device);
		return -err;
	}
	return __real_gpu_ops()->copy(gpu, vram_offset, memory, bytes, to_device);
}

static int op_copy_peer(void *gpu, uint64_t vram_offset, void *peer, uint64_t peer_offset,
			uint64_t bytes)
{
	int err = goes_wrong(FAULTY_COPY_PEER);

	if (err) {
		__real_gpu_ops()->copy_peer(gpu, vram_offset, peer, peer_offset, bytes / 2);
		return -err;
	}
	return __real_gpu_ops()->copy_peer(gpu, vram_offset, peer, peer_offset, bytes);
}

const struct usvm_device_ops *__wrap_gpu_ops(void)
{
	static struct usvm_device_ops ops;

	ops = *__real_gpu_ops();
	ops.attach = op_attach;
	ops.detach = op_detach;
	ops.vm_create = op_vm_create;
	ops.pt_prepare = op_pt_prepare;
	ops.copy = op_copy;
	ops.copy_peer = op_copy_peer;
	ops.fault_done = op_fault_done;
	return &ops;
}
