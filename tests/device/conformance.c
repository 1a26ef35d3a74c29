/* SPDX-License-Identifier: MIT */
/*
 * DOC: running the checks
 *
 * Each check is run with the device opened for it and closed after it, once for each
 * spec. A check says what it misses and goes on to its end, so that the device can
 * be closed; the first complaint of a check is the one that is printed, with the
 * account's when the check itself was content.
 *
 * Where nothing migrates (an old kernel, no rights, migrate=never) the same checks
 * run with memory at home; what they ask of places is then that all is at home.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "account.h"
#include "checks.h"
#include "conformance.h"

void check_failed(struct conformance *run, const char *text, const char *file, int line)
{
	if (run->complaint)
		return;
	run->complaint = text;
	run->file = file;
	run->line = line;
}

int conformance_access(struct conformance *run, enum conformance_op op, uint64_t addr,
		       uint64_t *value)
{
	int err;

	*run->access = (struct conformance_access){
		.op = op, .addr = addr, .value = *value, .count = 1
	};
	err = run->hooks->access(run->hooks->context, run->access);
	if (!err)
		*value = run->access->value;
	return err;
}

uint64_t conformance_load(struct conformance *run, const void *at)
{
	uint64_t value = 0;
	int err = conformance_access(run, CONFORMANCE_LOAD, (uintptr_t)at, &value);

	CHECK(run, !err, "a load from memory that is there failed");
	return value;
}

void conformance_store(struct conformance *run, void *at, uint64_t value)
{
	int err = conformance_access(run, CONFORMANCE_STORE, (uintptr_t)at, &value);

	CHECK(run, !err, "a store to memory that is there failed");
}

bool conformance_is_at(struct conformance *run, const void *at, size_t bytes,
		       enum usvm_page_state state)
{
	uint64_t pages[4] = { 0 }, total = 0;

	if (usvm_query_span(run->vm, at, bytes, pages))
		return false;
	for (int i = 0; i < 4; i++)
		total += pages[i];
	if (state == USVM_PAGE_DEVICE && !run->info.migrates)
		state = USVM_PAGE_HOME;
	return pages[state] == total;
}

void *conformance_map(size_t bytes)
{
	/* The kernel puts mappings below each other, the first below the main thread's TLS,
	 * and usvm keeps a distance from that. So each has its own distance. */
	char *map = mmap(NULL, bytes + CONFORMANCE_GAP, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || mprotect(map + bytes, CONFORMANCE_GAP, PROT_NONE)) {
		perror("mmap");
		exit(1);
	}
	return map;
}

static int device_open(struct conformance *run, const struct usvm_device_config *config)
{
	const struct conformance_hooks *hooks = run->hooks;
	struct usvm_device_config ours;
	char spec[128];

	if (!config)
		return hooks->open(hooks->context, run->spec, &run->device);
	snprintf(spec, sizeof(spec), "%s,peers=conformance", run->spec);
	run->account = account_create(config);
	ours = account_config(run->account);
	return usvm_open_device(&ours, spec, &run->device);
}

int conformance_vm_create(struct conformance *run, uint32_t flags)
{
	const struct conformance_hooks *hooks = run->hooks;
	const struct usvm_vm_config config = { .flags = flags };
	int err = usvm_vm_create(run->device, &config, &run->vm);

	if (!err && hooks->vm_begin)
		err = hooks->vm_begin(hooks->context, run->vm);
	return err;
}

void conformance_vm_destroy(struct conformance *run)
{
	if (!run->vm)
		return;
	if (run->hooks->vm_end)
		run->hooks->vm_end(run->hooks->context);
	CHECK(run, !usvm_vm_destroy(run->vm), "the vm could not be destroyed");
	run->vm = NULL;
}

void conformance_close(struct conformance *run)
{
	if (!run->device)
		return;
	conformance_vm_destroy(run);
	CHECK(run, !usvm_close(run->device), "the device could not be closed");
	run->device = NULL;
}

/* Return: it passed. */
static bool run_check(struct conformance *run, const struct usvm_device_config *config,
		      const struct check *check)
{
	const char *unsettled = NULL;
	int err;

	run->complaint = NULL;
	err = device_open(run, config);
	CHECK(run, !err, "the device could not be opened");
	if (!err) {
		err = usvm_device_info(run->device, &run->info);
		CHECK(run, !err, "no device info");
	}
	if (!err) {
		err = conformance_vm_create(run, 0);
		CHECK(run, !err, "no vm could be created");
	}
	if (!err && (run->info.migrates || !check->wants_migration))
		check->run(run);
	conformance_close(run);
	if (run->account)
		unsettled = account_close(run->account);
	if (run->complaint)
		printf("FAIL %s (%s): %s (%s:%d)\n", check->name, run->spec,
		       run->complaint, run->file, run->line);
	else if (unsettled)
		printf("FAIL %s (%s): %s\n", check->name, run->spec, unsettled);
	else if (check->wants_migration && !run->info.migrates)
		printf("skip %s (%s): nothing migrates\n", check->name, run->spec);
	else
		printf("ok   %s (%s)\n", check->name, run->spec);
	account_destroy(run->account);
	run->account = NULL;
	return !run->complaint && !unsettled;
}

int conformance_run(const struct usvm_device_config *config,
		    const struct conformance_hooks *hooks)
{
	struct conformance run = { .hooks = hooks };
	char why_not[sizeof(run.info.why_not)] = "";
	bool migrates = false;
	unsigned int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	run.access = mmap(NULL, sizeof(*run.access), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.access == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (const char *const *spec = hooks->specs; *spec; spec++) {
		run.spec = *spec;
		for (const struct check *check = conformance_checks; check->name;
		     check++) {
			if (check->wants_account && !config)
				continue;
			failed += !run_check(&run, config, check);
			migrates = migrates || run.info.migrates;
		}
		if (!why_not[0]) /* of the first spec: a later one may ask for it */
			memcpy(why_not, run.info.why_not, sizeof(why_not));
	}
	munmap(run.access, sizeof(*run.access));
	if (failed) {
		printf("%u failed\n", failed);
		return 1;
	}
	if (!migrates) {
		printf("SKIP: %s\n", why_not);
		return 77;
	}
	return 0;
}
