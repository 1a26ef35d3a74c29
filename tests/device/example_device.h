/* SPDX-License-Identifier: MIT */
/*
 * tests/device/example_device.h - a device that is as small as a device can be.
 *
 * One engine, one vm at a time, no TLB. It loads, stores and adds 8 bytes. Its user
 * fills in the request, posts `asked` and waits for `answered`.
 */
#ifndef TESTS_DEVICE_EXAMPLE_DEVICE_H
#define TESTS_DEVICE_EXAMPLE_DEVICE_H

#include <semaphore.h>
#include <stdint.h>

#include <usvm/device.h>

#define EXAMPLE_BLOCKS 1024 /* what the page table has room for, in 2 MiB */
#define EXAMPLE_END UINT32_MAX

/** struct example_device - zeroed, its semaphores at 0, in memory that cannot migrate:
 * the monitor touches it */
struct example_device {
	struct usvm_section section;
	struct usvm_stop stop;
	const struct usvm_device_host *host;
	unsigned char *own_memory; /* or NULL: device memory is usvm's arena */
	void *thread;

	/* The page table: a block is 2 MiB of one vm. */
	uint32_t vm; /* the newest */
	uint32_t block_count;
	uint64_t keys[EXAMPLE_BLOCKS];
	uint64_t entries[EXAMPLE_BLOCKS][512];

	struct usvm_device_fault fault; /* the one that may be out */
	int fault_error;
	sem_t faulted;

	/* The request. */
	sem_t asked, answered;
	uint32_t op; /* USVM_SYSTEM_READ, _WRITE, _ADD, or EXAMPLE_END */
	uint64_t addr;
	uint64_t value; /* in, out */
	int result;
};

static inline struct example_device *example_of(void *device)
{
	return device;
}

static inline void example_wait(sem_t *sem)
{
	while (sem_wait(sem))
		; /* a signal came */
}

extern const struct usvm_device_ops example_device_ops;

#endif
