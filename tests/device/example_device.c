/* SPDX-License-Identifier: MIT */
/*
 * DOC: the smallest device
 *
 * A page-table entry is one word, so that the engine loads it while the monitor stores;
 * entries come in blocks of 512, in a flat array. The engine looks up inside a section and
 * uses device memory there, a system page outside; else it faults, and looks again.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "example_device.h"

#define VALID (1ull << 11) /* beside enum usvm_pte_flag */

/* The word of an address. NULL: its block is not there, or cannot be made. */
static uint64_t *find(struct example_device *d, uint32_t vm, uint64_t addr, bool make)
{
	uint64_t key = addr >> 21 << 21 | vm;
	uint32_t i = 0, count = __atomic_load_n(&d->block_count, __ATOMIC_ACQUIRE);

	while (i < count && d->keys[i] != key)
		i++;
	if (i == count) {
		if (!make || i == EXAMPLE_BLOCKS)
			return NULL;
		d->keys[i] = key;
		__atomic_store_n(&d->block_count, i + 1, __ATOMIC_RELEASE);
	}
	return &d->entries[i][addr >> 12 & 511];
}

static void operate(uint32_t op, uint64_t *at, uint64_t *operand)
{
	if (op == USVM_SYSTEM_READ)
		*operand = __atomic_load_n(at, __ATOMIC_SEQ_CST);
	else if (op == USVM_SYSTEM_WRITE)
		__atomic_store_n(at, *operand, __ATOMIC_SEQ_CST);
	else
		*operand = __atomic_fetch_add(at, *operand, __ATOMIC_SEQ_CST);
}

/* Return: -EINTR: look again; else -errno. An operation has the number of its access. */
static int fault(struct example_device *d)
{
	int err;

	d->fault = (struct usvm_device_fault){ .vm = d->vm, .access = d->op, .addr = d->addr };
	err = d->host->fault(d->host->usvm, &d->fault);
	if (err)
		return err;
	example_wait(&d->faulted);
	return d->fault_error ? d->fault_error : -EINTR;
}

static int access_memory(struct example_device *d)
{
	static const uint64_t wants[] = { VALID, VALID | USVM_PTE_WRITE, VALID | USVM_PTE_ATOMIC };
	unsigned char *vram = d->own_memory ? d->own_memory : d->host->vram;
	uint64_t operands[2] = { d->value, 0 }, *word, entry;
	int err;

	do {
		while (!usvm_section_try_enter(&d->section, &d->stop))
			d->host->section_wait(d->host->usvm, &d->stop);
		word = find(d, d->vm, d->addr, false);
		entry = word ? __atomic_load_n(word, __ATOMIC_ACQUIRE) : 0;
		err = (entry & wants[d->op]) == wants[d->op] ? 0 : -EFAULT;
		if (!err && (entry & USVM_PTE_VRAM))
			operate(d->op, (void *)(vram + (entry & ~4095ull) + d->addr % 4096),
				operands);
		usvm_section_leave(&d->section);
		if (!err && !(entry & USVM_PTE_VRAM))
			err = d->host->access(d->host->usvm, d->op, d->addr, operands, 8);
		if (err == -EFAULT)
			err = fault(d);
	} while (err == -EINTR);
	d->value = operands[0];
	return err;
}

static void engine(void *arg)
{
	struct example_device *d = arg;
	int err = d->host->engine_register(d->host->usvm);

	for (example_wait(&d->asked); d->op != EXAMPLE_END; example_wait(&d->asked)) {
		d->result = err ? err : d->host->engine_begin(d->host->usvm);
		if (!d->result)
			d->result = access_memory(d);
		sem_post(&d->answered);
	}
	d->host->engine_unregister(d->host->usvm);
}

static int attach(void *device, const struct usvm_device_host *host)
{
	struct example_device *d = device;

	d->host = host;
	return host->thread_create(host->usvm, "example", engine, d, &d->thread);
}

static void detach(void *device)
{
	struct example_device *d = device;

	d->op = EXAMPLE_END;
	sem_post(&d->asked);
	d->host->thread_join(d->host->usvm, d->thread);
}

static int vm_create(void *device, uint32_t vm)
{
	example_of(device)->vm = vm;
	return 0;
}

static void vm_destroy(void *device, uint32_t vm)
{
	(void)device, (void)vm; /* its blocks are empty, and stay for the next of its number */
}

static int pt_prepare(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	for (uint64_t at = addr; at < addr + bytes; at += 4096) {
		if (!find(device, vm, at, true))
			return -ENOMEM;
	}
	return 0;
}

static void pt_map(void *device, uint32_t vm, uint64_t addr, uint64_t bytes, uint64_t target,
		   uint32_t flags)
{
	for (uint64_t at = 0; at < bytes; at += 4096)
		__atomic_store_n(find(device, vm, addr + at, false),
				 (target + at) | flags | VALID, __ATOMIC_RELEASE);
}

static bool pt_clear(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	bool any = false;

	for (uint64_t *word, at = addr; at < addr + bytes; at += 4096) {
		word = find(device, vm, at, false);
		any |= word && __atomic_exchange_n(word, 0, __ATOMIC_ACQ_REL);
	}
	return any;
}

static void tlb_flush(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	(void)device, (void)vm, (void)addr, (void)bytes; /* there is no TLB */
}

static bool stop(void *device)
{
	__atomic_add_fetch(&example_of(device)->stop.raised, 1, __ATOMIC_SEQ_CST);
	return true; /* it may be active; a larger device would know */
}

static void wait_stopped(void *device)
{
	while (__atomic_load_n(&example_of(device)->section.inside, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void resume(void *device)
{
	struct example_device *d = device;

	if (__atomic_sub_fetch(&d->stop.raised, 1, __ATOMIC_SEQ_CST) == 0)
		d->host->section_wake(d->host->usvm, &d->stop);
}

static int copy(void *device, uint64_t offset, void *memory, uint64_t bytes, bool to_device)
{
	unsigned char *vram = example_of(device)->own_memory + offset;

	memcpy(to_device ? vram : memory, to_device ? memory : vram, bytes);
	return 0;
}

static int copy_peer(void *device, uint64_t offset, void *peer, uint64_t to, uint64_t bytes)
{
	return copy(device, offset, example_of(peer)->own_memory + to, bytes, false);
}

static void fault_done(void *device, struct usvm_device_fault *answered, int error)
{
	(void)answered; /* there is one */
	example_of(device)->fault_error = error;
	sem_post(&example_of(device)->faulted);
}

const struct usvm_device_ops example_device_ops = {
	.attach = attach, .detach = detach, .vm_create = vm_create, .vm_destroy = vm_destroy,
	.pt_prepare = pt_prepare, .pt_map = pt_map, .pt_clear = pt_clear,
	.tlb_flush = tlb_flush, .stop = stop, .wait_stopped = wait_stopped, .resume = resume,
	.copy = copy, .fault_done = fault_done, .copy_peer = copy_peer,
};
