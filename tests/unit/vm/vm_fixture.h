/* SPDX-License-Identifier: MIT */
/*
 * vm_fixture.h - the driver on the fake kernel, with a device that checks how it is used.
 *
 * The device has a page table for each vm, an array of entries, and a TLB in front of it: a
 * copy that holds what was looked up until it is flushed. An entry is cleared, and the TLB
 * flushed, only between stop() and resume(); what was cleared is flushed before resume().
 */
#ifndef TESTS_UNIT_VM_VM_FIXTURE_H
#define TESTS_UNIT_VM_VM_FIXTURE_H

#include <stdlib.h>

#include "vm/vm.h"

#include "fake_sys.h"

#define VRAM_BYTES MIB(8)
#define GPU_VMS 3u
#define GPU_PAGES ((FAKE_END - FAKE_BASE) / PAGE_BYTES)
#define PTE_VALID (1u << 31)

struct pte {
	uint64_t target;
	uint32_t flags;
};

struct gpu {
	struct fixture *f;
	struct vm_device *device;
	int stopped;
	bool to_flush;
	bool exists[GPU_VMS];
	struct pte *ptes[GPU_VMS], *tlb[GPU_VMS];
	unsigned char *memory; /* its own; NULL: host->vram */
	bool userptr; /* system entries may lead to other addresses than their own */
	uint32_t maps, clears, flushes;
	uint32_t done;
	int error; /* of the last fault_done() */
	void (*in_prepare)(struct fixture *f);
	int prepare_error;
	int vm_create_error;
	int copy_error; /* of those home */
	uint32_t copy_failures; /* so many of the next of those fail, half done */
	int copy_to_error; /* of those to the device, and of copy_peer() */
	uint32_t peer_copies;
	struct usvm_device_fault *late; /* of an older vm: raised in vm_create(), if there */
	int late_error;                 /* what became of that */
};

struct fixture {
	struct fake_sys *fake;
	struct sys *sys;
	struct mm *mm;
	struct gpu gpu, other; /* the second only where a test makes it */
	struct vm *vm;
	uint64_t test[8];
};

/* What a CPU fault brings home; for a test that sets it before set_up(). */
static uint64_t gpu_home_bytes = PAGE_BYTES;

/* The same: the group of each device from now on, and whether it has copy_peer(). */
static const char *gpu_peers;
static bool gpu_has_no_peer_copy, gpu_poison;

#include "support/process.h"

/* --- the device ---------------- */

static struct pte *pte_at(struct gpu *gpu, uint32_t vm, uint64_t addr)
{
	assert_true(vm < GPU_VMS && gpu->exists[vm]);
	assert_true(addr >= FAKE_BASE && addr < FAKE_END);
	return &gpu->ptes[vm][(addr - FAKE_BASE) >> PAGE_SHIFT];
}

static int gpu_attach(void *device UNUSED, const struct usvm_device_host *host UNUSED)
{
	return 0;
}

static void gpu_detach(void *device UNUSED)
{
}

static int gpu_vm_create(void *device, uint32_t vm)
{
	struct gpu *gpu = device;

	if (gpu->late) {
		gpu->late->vm = vm;
		gpu->late_error = vm_device_take_fault(gpu->device, gpu->late);
	}
	if (gpu->vm_create_error)
		return gpu->vm_create_error;
	if (vm >= GPU_VMS)
		return 0; /* one that is never used */
	assert_false(gpu->exists[vm]);
	gpu->exists[vm] = true;
	return 0;
}

static void gpu_vm_destroy(void *device, uint32_t vm)
{
	struct gpu *gpu = device;

	if (vm >= GPU_VMS)
		return;
	assert_true(gpu->exists[vm]);
	for (size_t i = 0; i < GPU_PAGES; i++)
		assert_false(gpu->ptes[vm][i].flags | gpu->tlb[vm][i].flags);
	gpu->exists[vm] = false;
}

static int gpu_pt_prepare(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	struct gpu *gpu = device;

	lock_assert_may_sleep("pt_prepare");
	pte_at(gpu, vm, addr);
	pte_at(gpu, vm, addr + bytes - 1);
	if (gpu->in_prepare)
		gpu->in_prepare(gpu->f);
	return gpu->prepare_error;
}

static void gpu_pt_map(void *device, uint32_t vm, uint64_t addr, uint64_t bytes,
		       uint64_t target, uint32_t flags)
{
	struct gpu *gpu = device;

	lock_assert_monitor();
	assert_true(bytes && IS_ALIGNED(addr | bytes | target, PAGE_BYTES));
	if (flags & USVM_PTE_VRAM)
		assert_true(target + bytes <= VRAM_BYTES);
	else if (!(flags & (USVM_PTE_HOST | USVM_PTE_NULL)) && !gpu->userptr)
		assert_int_equal(target, addr);
	gpu->maps++;
	for (uint64_t at = 0; at < bytes; at += PAGE_BYTES)
		*pte_at(gpu, vm, addr + at) =
			(struct pte){ target + at, flags | PTE_VALID };
}

static bool gpu_pt_clear(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	struct gpu *gpu = device;
	bool any = false;

	lock_assert_monitor();
	assert_true(gpu->stopped > 0);
	gpu->clears++;
	for (uint64_t at = 0; at < bytes; at += PAGE_BYTES) {
		struct pte *pte = pte_at(gpu, vm, addr + at);

		any |= pte->flags != 0;
		*pte = (struct pte){ 0 };
	}
	gpu->to_flush |= any;
	return any;
}

static void gpu_tlb_flush(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	struct gpu *gpu = device;

	lock_assert_monitor();
	assert_true(gpu->stopped > 0);
	assert_true(gpu->to_flush);
	gpu->to_flush = false;
	gpu->flushes++;
	memset(&gpu->tlb[vm][(addr - FAKE_BASE) >> PAGE_SHIFT], 0,
	       (bytes >> PAGE_SHIFT) * sizeof(struct pte));
}

static bool gpu_stop(void *device)
{
	struct gpu *gpu = device;

	lock_assert_monitor();
	gpu->stopped++;
	return true;
}

static void gpu_wait_stopped(void *device)
{
	assert_true(((struct gpu *)device)->stopped > 0);
}

static void gpu_resume(void *device)
{
	struct gpu *gpu = device;

	assert_true(gpu->stopped > 0);
	assert_false(gpu->to_flush);
	gpu->stopped--;
}

static int gpu_copy(void *device, uint64_t vram_offset, void *memory, uint64_t bytes,
		    bool to_device)
{
	struct gpu *gpu = device;

	assert_non_null(gpu->memory);
	assert_true(bytes && vram_offset + bytes <= VRAM_BYTES);
	if (!to_device && gpu->copy_error)
		return gpu->copy_error;
	if (!to_device && gpu->copy_failures) {
		gpu->copy_failures--;
		memset(memory, 0xee, bytes / 2);
		return -EIO;
	}
	if (to_device && gpu->copy_to_error)
		return gpu->copy_to_error;
	if (to_device)
		memcpy(gpu->memory + vram_offset, memory, bytes);
	else
		memcpy(memory, gpu->memory + vram_offset, bytes);
	return 0;
}

static int gpu_copy_peer(void *device, uint64_t vram_offset, void *peer, uint64_t peer_offset,
			 uint64_t bytes)
{
	struct gpu *gpu = device, *to = peer;

	assert_true(gpu != to && gpu->memory && to->memory);
	assert_true(bytes && vram_offset + bytes <= VRAM_BYTES &&
		    peer_offset + bytes <= VRAM_BYTES);
	if (to->copy_to_error) {
		memset(to->memory + peer_offset, 0xee, bytes / 2);
		return to->copy_to_error;
	}
	to->peer_copies++;
	memcpy(to->memory + peer_offset, gpu->memory + vram_offset, bytes);
	return 0;
}

static void gpu_fault_done(void *device, struct usvm_device_fault *fault UNUSED, int error)
{
	struct gpu *gpu = device;

	lock_assert_may_sleep("fault_done");
	gpu->done++;
	gpu->error = error;
}

static const struct usvm_device_ops gpu_ops = {
	.attach = gpu_attach,
	.detach = gpu_detach,
	.vm_create = gpu_vm_create,
	.vm_destroy = gpu_vm_destroy,
	.pt_prepare = gpu_pt_prepare,
	.pt_map = gpu_pt_map,
	.pt_clear = gpu_pt_clear,
	.tlb_flush = gpu_tlb_flush,
	.stop = gpu_stop,
	.wait_stopped = gpu_wait_stopped,
	.resume = gpu_resume,
	.copy = gpu_copy,
	.fault_done = gpu_fault_done,
	.copy_peer = gpu_copy_peer,
};

/* --- life ---------------- */

static inline void gpu_start(struct fixture *f, struct gpu *gpu, uint32_t flags,
			     enum vm_migrate_policy migrate)
{
	const struct usvm_device_host host = { 0 };
	const struct vm_device_config config = {
		.name = gpu == &f->gpu ? "fake" : "other",
		.ops = &gpu_ops,
		.device = gpu,
		.vram_bytes = VRAM_BYTES,
		.flags = flags | USVM_DEVICE_OBJECTS |
			 (flags & USVM_DEVICE_OWN_MEMORY && !gpu_has_no_peer_copy ?
				  USVM_DEVICE_PEER_COPY :
				  0u),
		.peers = gpu_peers,
		.poison = gpu_poison,
		.migrate = migrate,
		.notifier_bytes = MIB(512),
		.home_bytes = gpu_home_bytes,
	};

	gpu->f = f;
	for (uint32_t i = 0; i < GPU_VMS; i++) {
		gpu->ptes[i] = calloc(GPU_PAGES, sizeof(struct pte));
		gpu->tlb[i] = calloc(GPU_PAGES, sizeof(struct pte));
	}
	if (flags & USVM_DEVICE_OWN_MEMORY) {
		gpu->memory = malloc(VRAM_BYTES);
		memset(gpu->memory, 0xdd, VRAM_BYTES);
	}
	assert_int_equal(vm_device_create(f->mm, &config, &host, &gpu->device), 0);
	vm_device_quiesce_on(gpu->device);
}

static inline int gpu_stop_device(struct gpu *gpu)
{
	int err;

	if (!gpu->device)
		return 0;
	for (size_t i = 0; i < VM_PER_DEVICE_MAX; i++) /* also of a test that failed */
		vm_destroy(gpu->device->vms[i]);
	assert_int_equal(gpu->stopped, 0);
	err = vm_device_drain(gpu->device);
	if (err)
		return err;
	vm_device_destroy(gpu->device);
	for (uint32_t i = 0; i < GPU_VMS; i++) {
		free(gpu->ptes[i]);
		free(gpu->tlb[i]);
	}
	if (gpu->memory)
		free(gpu->memory);
	return 0;
}

static inline int set_up_with(void **state, uint32_t flags, enum vm_migrate_policy migrate)
{
	static struct fixture fixture;
	const struct mm_config config = { .worker_count = 1, .no_threads = true };
	struct fixture *f = &fixture;

	memset(f, 0, sizeof(*f));
	f->fake = fake_create(FAKE_ALL_FEATURES, false);
	f->sys = &f->fake->sys;
	f->fake->hook_arg = f;
	f->fake->yield_hook = settle_hook;
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(mm_create(f->sys, &config, &f->mm), 0);
	gpu_start(f, &f->gpu, flags, migrate);
	assert_int_equal(vm_create(f->gpu.device, 0, &f->vm), 0);
	*state = f;
	return 0;
}

static inline int set_up(void **state)
{
	return set_up_with(state, 0, VM_MIGRATE_AUTO);
}

static inline int set_up_copy(void **state)
{
	return set_up_with(state, USVM_DEVICE_OWN_MEMORY, VM_MIGRATE_AUTO);
}

static inline int set_up_never(void **state)
{
	return set_up_with(state, 0, VM_MIGRATE_NEVER);
}

static inline int set_up_no_atomics(void **state)
{
	return set_up_with(state, USVM_DEVICE_NO_SYSTEM_ATOMICS, VM_MIGRATE_AUTO);
}

/* All work of all threads of the library. */
static inline void run_all(struct fixture *f)
{
	bool more;

	do {
		settle(f);
		more = mm_worker_step(f->mm);
		more |= mm_collector_step(f->mm);
	} while (more);
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	f->fake->op_hook = NULL;
	f->fake->yield_hook = settle_hook;
	f->gpu.in_prepare = NULL;
	if (base_host->self()->held_count) { /* a test that failed in the middle */
		base_host->self()->held_count = 0;
		fake_destroy(f->fake);
		return -1;
	}
	run_all(f);
	if (f->vm)
		vm_check(f->vm);
	if (gpu_stop_device(&f->gpu) || gpu_stop_device(&f->other))
		return -1;
	mm_check(f->mm);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	run_all(f);
	mm_destroy(f->mm);
	return fake_destroy(f->fake);
}

#define TEST_WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, tear_down)
#define TEST(name) TEST_WITH(name, set_up)
#define TEST_COPY(name) \
	{ #name ", copy", name, set_up_copy, tear_down, NULL }

/* --- an engine ---------------- */

/* One fault, served by a worker. Return: what fault_done() said. */
static inline int gpu_fault_in(struct fixture *f, struct gpu *gpu, struct vm *vm,
			       uint64_t addr, enum usvm_access access)
{
	struct usvm_device_fault fault = { .vm = vm_id(vm), .access = access, .addr = addr };
	uint32_t done = gpu->done;

	assert_int_equal(vm_device_take_fault(gpu->device, &fault), 0);
	while (mm_worker_step(f->mm))
		;
	assert_int_equal(gpu->done, done + 1);
	return gpu->error;
}

static inline int gpu_fault(struct fixture *f, uint64_t addr, enum usvm_access access)
{
	return gpu_fault_in(f, &f->gpu, f->vm, addr, access);
}

static inline struct pte *pte_of(struct fixture *f, uint64_t addr)
{
	return pte_at(&f->gpu, vm_id(f->vm), addr);
}

static inline bool is_vram(struct fixture *f, uint64_t addr)
{
	return pte_of(f, addr)->flags & USVM_PTE_VRAM;
}

/* A translation out of the TLB, filled from the page table; an engine is running. */
static inline struct pte gpu_translate(struct gpu *gpu, uint32_t vm, uint64_t addr)
{
	struct pte *tlb = &gpu->tlb[vm][(addr - FAKE_BASE) >> PAGE_SHIFT];

	assert_int_equal(gpu->stopped, 0);
	if (!tlb->flags)
		*tlb = *pte_at(gpu, vm, addr);
	return *tlb;
}

static inline void gpu_fault_hook(void *arg)
{
	settle(arg);
}

/* 8 bytes at the start of the page of @addr. Return: 0, or the error of a fault. */
static inline int gpu_access_in(struct fixture *f, struct gpu *gpu, struct vm *vm,
				uint64_t addr, bool write, uint64_t *tag)
{
	uint32_t need = PTE_VALID | (write ? USVM_PTE_WRITE : 0);

	f->fake->fault_hook = gpu_fault_hook;
	for (int i = 0; i < 8; i++) {
		struct pte pte = gpu_translate(gpu, vm_id(vm), addr);
		unsigned char *memory = gpu->memory ? gpu->memory : gpu->device->host.vram;
		int err;

		if ((pte.flags & need) != need) {
			err = gpu_fault_in(f, gpu, vm, addr,
					   write ? USVM_ACCESS_WRITE : USVM_ACCESS_READ);
			if (err)
				return err;
			/* It sees what was written now, not what it had looked up. */
			gpu->tlb[vm_id(vm)][(addr - FAKE_BASE) >> PAGE_SHIFT].flags = 0;
			continue;
		}
		if (pte.flags & USVM_PTE_NULL) {
			*tag = write ? *tag : 0;
			return 0;
		}
		if (pte.flags & USVM_PTE_HOST) {
			memory = NULL;
			pte.flags |= USVM_PTE_VRAM;
		}
		if (pte.flags & USVM_PTE_VRAM) {
			pte.target += (uintptr_t)memory;
			if (write)
				memcpy((void *)pte.target, tag, sizeof(*tag));
			else
				memcpy(tag, (void *)pte.target, sizeof(*tag));
			return 0;
		}
		err = mm_access(f->mm, write ? SYS_ACCESS_WRITE : SYS_ACCESS_READ, pte.target,
				tag, sizeof(*tag));
		if (err != -EINTR)
			return err;
	}
	fail();
	return -1;
}

static inline uint64_t gpu_read(struct fixture *f, uint64_t addr)
{
	uint64_t tag = 0;

	assert_int_equal(gpu_access_in(f, &f->gpu, f->vm, addr, false, &tag), 0);
	return tag;
}

static inline void gpu_write(struct fixture *f, uint64_t addr, uint64_t tag)
{
	assert_int_equal(gpu_access_in(f, &f->gpu, f->vm, addr, true, &tag), 0);
}

static inline uint64_t stat(struct fixture *f, enum vm_stat stat)
{
	return f->gpu.device->stats.value[stat];
}

#endif
