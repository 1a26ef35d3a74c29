/* SPDX-License-Identifier: MIT */
/*
 * tests/device/account.h - a table of operations between usvm and a device.
 *
 * Each call is passed on and counted. What is against the contract is written down
 * as a complaint, on either side: the first one stays.
 *
 * The operations are called by the monitor, so the account lives in memory that
 * never migrates, and nothing here allocates, locks or prints.
 */
#ifndef TESTS_DEVICE_ACCOUNT_H
#define TESTS_DEVICE_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include <usvm/device.h>

#define ACCOUNT_VMS 64 /* the most that a device may have */

struct account {
	struct usvm_device_config config;    /* the device's own */
	struct usvm_device_ops ops;          /* ours */
	const struct usvm_device_host *host; /* usvm's, while attached */
	struct usvm_device_host device_host; /* what the device sees of it */
	struct usvm *usvm;                   /* the host's first argument */

	bool attached;
	bool vm_lives[ACCOUNT_VMS];
	const char *complaint; /* atomic; NULL: none */

	/* Atomic counts. */
	uint64_t attaches, detaches;
	uint64_t vm_creates, vm_destroys;
	uint64_t faults, answers, errors; /* accepted; answered; of these, with -errno */
	uint64_t stops, resumes, waits;
	uint64_t vram_maps, system_maps; /* calls of pt_map() */
	uint64_t clears, flushes;
	uint64_t to_device_bytes, from_device_bytes; /* by copy() */
	uint64_t to_peer_bytes;                      /* by copy_peer() */
};

/**
 * account_create() - an account of @config; account->config is what it is of, and
 * account_config() what to open instead
 * Return: never NULL: it ends the program where there is no memory.
 */
struct account *account_create(const struct usvm_device_config *config);
void account_destroy(struct account *account);

struct usvm_device_config account_config(struct account *account);

/** account_close() - after usvm_close(): is it settled? Return: NULL or a complaint. */
const char *account_close(struct account *account);

#endif
