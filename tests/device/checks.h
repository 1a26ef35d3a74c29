/* SPDX-License-Identifier: MIT */
/* tests/device/checks.h - between conformance.c, which runs the checks, and checks.c */
#ifndef TESTS_DEVICE_CHECKS_H
#define TESTS_DEVICE_CHECKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account.h"
#include "conformance.h"

#define PAGE_BYTES ((size_t)4096)
#define CONFORMANCE_GAP ((size_t)128 << 10) /* of address space, behind each mapping */

/** struct conformance - one check, with the device open */
struct conformance {
	const struct conformance_hooks *hooks;
	const char *spec;
	struct account *account;           /* NULL: the device is opened by a hook */
	struct conformance_access *access; /* shared memory: never migrates */

	struct usvm *device;
	struct usvm_vm *vm;
	struct usvm_device_info info;

	const char *complaint; /* the first of this check */
	const char *file;
	int line;
};

struct check {
	const char *name; /* a claim */
	void (*run)(struct conformance *run);
	bool wants_migration;
	bool wants_account;
};

/** The checks; the last has no name. */
extern const struct check conformance_checks[];

void check_failed(struct conformance *run, const char *text, const char *file, int line);

#define CHECK(run, holds, text)                                                          \
	do {                                                                             \
		if (!(holds))                                                            \
			check_failed(run, text, __FILE__, __LINE__);                     \
	} while (0)

/** conformance_access() - one access of an engine. Return: 0 or the error it ended with. */
int conformance_access(struct conformance *run, enum conformance_op op, uint64_t addr,
		       uint64_t *value);

/* The same, where it is a failure not to succeed. */
uint64_t conformance_load(struct conformance *run, const void *at);
void conformance_store(struct conformance *run, void *at, uint64_t value);

/** conformance_is_at() - are all of these pages there? Where nothing migrates, what should
 * be on the device should be at home. */
bool conformance_is_at(struct conformance *run, const void *at, size_t bytes,
		       enum usvm_page_state state);

/** conformance_map() - private memory, not touched. Return: never NULL. */
void *conformance_map(size_t bytes);

/** conformance_vm_create() - @flags: enum usvm_vm_flag. Return: 0 or -errno. */
int conformance_vm_create(struct conformance *run, uint32_t flags);
void conformance_vm_destroy(struct conformance *run);

/** conformance_close() - the vm and the device; does nothing when it is closed */
void conformance_close(struct conformance *run);

#endif
