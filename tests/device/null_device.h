/* SPDX-License-Identifier: MIT */
/*
 * null_device.h - ops of a device that does nothing and always succeeds, for the tables of
 * tests that are about one or two of them.
 *
 * Without engines nothing has to be stopped, and a page table that nobody walks has no
 * entries. Its memory is the caller's: @device of null_copy() is where it starts.
 */
#ifndef TESTS_DEVICE_NULL_DEVICE_H
#define TESTS_DEVICE_NULL_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <usvm/device.h>

static inline int null_attach(void *device, const struct usvm_device_host *host)
{
	(void)device, (void)host;
	return 0;
}

static inline void null_nothing(void *device)
{
	(void)device;
}

static inline int null_vm_create(void *device, uint32_t vm)
{
	(void)device, (void)vm;
	return 0;
}

static inline void null_vm_destroy(void *device, uint32_t vm)
{
	(void)device, (void)vm;
}

static inline int null_pt_prepare(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	(void)device, (void)vm, (void)addr, (void)bytes;
	return 0;
}

static inline void null_pt_map(void *device, uint32_t vm, uint64_t addr, uint64_t bytes,
			       uint64_t target, uint32_t flags)
{
	(void)device, (void)vm, (void)addr, (void)bytes, (void)target, (void)flags;
}

static inline bool null_pt_clear(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	(void)device, (void)vm, (void)addr, (void)bytes;
	return false;
}

static inline void null_tlb_flush(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	(void)device, (void)vm, (void)addr, (void)bytes;
}

static inline bool null_stop(void *device)
{
	(void)device;
	return false;
}

static inline int null_copy(void *device, uint64_t vram_offset, void *memory, uint64_t bytes,
			    bool to_device)
{
	unsigned char *at = (unsigned char *)device + vram_offset;

	memcpy(to_device ? at : memory, to_device ? memory : at, bytes);
	return 0;
}

static inline void null_fault_done(void *device, struct usvm_device_fault *fault, int error)
{
	(void)device, (void)fault, (void)error;
	abort(); /* it raises none */
}

/* The ops of a device that cares for attach(), detach(), vm_create() and copy() alone. */
#define NULL_DEVICE_REST \
	.vm_destroy = null_vm_destroy, \
	.pt_prepare = null_pt_prepare, \
	.pt_map = null_pt_map, \
	.pt_clear = null_pt_clear, \
	.tlb_flush = null_tlb_flush, \
	.stop = null_stop, \
	.wait_stopped = null_nothing, \
	.resume = null_nothing, \
	.fault_done = null_fault_done

#endif
