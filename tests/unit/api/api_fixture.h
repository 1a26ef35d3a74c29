/* SPDX-License-Identifier: MIT */
/*
 * api_fixture.h - the public interface, used by one thread of a simulated program.
 *
 * A test is a function that run_seed() runs in the simulation; there CHECK() takes the
 * place of cmocka's asserts.
 */
#ifndef TESTS_UNIT_API_API_FIXTURE_H
#define TESTS_UNIT_API_API_FIXTURE_H

#include "sys/sim_fixture.h"
#include "usvm/usvm.h"

/* A number of a page's own, for its first word. */
static inline uint64_t word_of(uint64_t page)
{
	return 0x1000 + page;
}

/* Pages with word_of() in them. */
static inline uint64_t filled_pages(uint64_t pages)
{
	uint64_t addr = map_pages(pages);

	for (uint64_t i = 0; i < pages; i++)
		CHECK(!sim_store(sim, addr + i * PAGE_BYTES, word_of(i)));
	return addr;
}

static inline const void *pointer(uint64_t addr)
{
	return (const void *)(uintptr_t)addr;
}

struct opened {
	struct usvm *device;
	struct usvm_vm *vm;
	struct usvm_queue *queue;
};

static inline struct opened open_all(const char *spec)
{
	struct opened o = { 0 };

	CHECK(!usvm_open(spec, &o.device));
	CHECK(!usvm_vm_create(o.device, NULL, &o.vm));
	CHECK(!usvm_queue_create(o.vm, NULL, &o.queue));
	return o;
}

static inline void close_all(const struct opened *o)
{
	CHECK(!usvm_queue_destroy(o->queue));
	CHECK(!usvm_vm_destroy(o->vm));
	CHECK(!usvm_close(o->device));
}

#endif
