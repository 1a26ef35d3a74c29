/* SPDX-License-Identifier: MIT */
/*
 * tests/device/conformance.h - does a device keep its side of usvm/device.h?
 *
 * A device author writes a program that opens nothing and calls conformance_run()
 * with the device's config and with hooks: usvm hands a device faults, page tables
 * and stops, but how it is given work is its own business, so the test has to be
 * told how to make one engine do one access. The checks then drive the device from
 * the CPU's side: memory that comes and goes, pages that are wanted back, device
 * memory that is too small. tests/device/example_device_test.c is such a program.
 *
 * Each check opens the device anew, through a table that stands between usvm and
 * the device and keeps account: what was attached is detached, every fault that was
 * accepted is answered once, every stop has its resume, nothing follows detach().
 */
#ifndef TESTS_DEVICE_CONFORMANCE_H
#define TESTS_DEVICE_CONFORMANCE_H

#include <stdint.h>

#include <usvm/usvm.h>

enum conformance_op {
	CONFORMANCE_LOAD,
	CONFORMANCE_STORE,
	CONFORMANCE_ADD, /* atomic; the value before is not asked for */
};

/** struct conformance_access - 8 bytes at a shared address, 8-byte aligned */
struct conformance_access {
	enum conformance_op op;
	uint64_t addr;
	uint64_t value;      /* STORE, ADD: in; LOAD: out */
	uint64_t count;      /* do it so often, one after the other; at least 1 */
	uint64_t fault_addr; /* out, when it failed: the address that was told */
};

/**
 * struct conformance_hooks - how the test reaches the device
 *
 * @context: first argument of each hook
 * @peer: optional: a second device, closed, to which the first one is a peer. It needs no
 *   accesses: pages go to and fro by prefetches.
 * @specs: ends with NULL: what the device is opened with, one run for each
 */
struct conformance_hooks {
	void *context;
	const struct usvm_device_config *peer;
	const char *const *specs;

	/** open() - optional: instead of usvm_open_device() with the config.
	 * Return: of usvm_open(). */
	int (*open)(void *context, const char *spec, struct usvm **device);

	/** vm_begin() - optional: accesses go to this vm, the only one. Return: 0, -errno. */
	int (*vm_begin)(void *context, struct usvm_vm *vm);

	/** vm_end() - optional: it is about to be destroyed */
	void (*vm_end)(void *context);

	/** access() - have an engine do it and wait for its end. The access is in memory
	 * that never migrates. One at a time. Return: 0; or the error that ended it. */
	int (*access)(void *context, struct conformance_access *access);
};

/**
 * conformance_run() - every check, with every spec; prints a line for each
 * @config: the device, closed; NULL: hooks->open opens it, and what can only be
 *   seen between usvm and the device is not checked
 *
 * Return: an exit status: 0; 1 a check failed; 77 nothing migrates here (what can be
 * checked with memory at home was).
 */
int conformance_run(const struct usvm_device_config *config,
		    const struct conformance_hooks *hooks);

#endif
