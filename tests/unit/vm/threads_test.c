/* SPDX-License-Identifier: MIT */
/*
 * The driver with all its threads on the fake kernel: engines that fault, threads of the
 * program that count on the same pages, one that unmaps, moves and removes; and the end.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/prng.h"
#include "mm/call.h"
#include "vm/bo.h"
#include "vm/vm.h"

#include "../base/seed.h"
#include "device/null_device.h"
#include "fake_sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BASE (FAKE_BASE + MIB(16))
#define BLOCKS 6u     /* of 2 MiB; the device has room for four */
#define PAGES_USED 4u /* of each block */
#define ENGINES 2u
#define ROUNDS 250
#define RIVAL (FAKE_BASE + MIB(64)) /* what the third thread changes */
#define READ_WRITE (SYS_PROT_READ | SYS_PROT_WRITE)

static uint64_t seed;
static struct fake_sys *fake;

/* --- a device that only faults ---------------- */

struct engine_fault {
	struct usvm_device_fault fault;
	struct wait wait;
	uint32_t done; /* atomic */
	int error;
};

static uint32_t faults_done; /* atomic */

static void dev_pt_map(void *device, uint32_t vm, uint64_t addr, uint64_t bytes,
		       uint64_t target, uint32_t flags)
{
	(void)device;
	(void)vm;
	(void)addr;
	(void)bytes;
	(void)target;
	(void)flags;
	lock_assert_monitor();
}

static uint32_t stopped; /* under event_lock */

static bool dev_pt_clear(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	(void)device;
	(void)vm;
	(void)addr;
	(void)bytes;
	lock_assert_monitor();
	return stopped > 0 || (abort(), false);
}

static bool dev_stop(void *device)
{
	(void)device;
	stopped++;
	return true;
}

static void dev_resume(void *device)
{
	(void)device;
	stopped--;
}

static void dev_fault_done(void *device, struct usvm_device_fault *fault, int error)
{
	struct engine_fault *ef = fault->token;

	(void)device;
	ATOMIC_ADD(&faults_done, 1u);
	ef->error = error;
	ATOMIC_STORE(&ef->done, 1);
	wait_wake_all(&ef->wait);
}

static const struct usvm_device_ops dev_ops = {
	.attach = null_attach,
	.detach = null_nothing,
	.vm_create = null_vm_create,
	.vm_destroy = null_vm_destroy,
	.pt_prepare = null_pt_prepare,
	.pt_map = dev_pt_map,
	.pt_clear = dev_pt_clear,
	.tlb_flush = null_tlb_flush,
	.stop = dev_stop,
	.wait_stopped = null_nothing,
	.resume = dev_resume,
	.copy = null_copy,
	.fault_done = dev_fault_done,
};

/* --- life ---------------- */

struct world {
	struct mm *mm;
	struct vm_device *device;
	struct vm *vm;
	bool copy;
	unsigned char *vram;
};

static int world_open(void *argument)
{
	struct world *w = *(struct world **)argument;
	const struct usvm_device_host host = { 0 };
	const struct vm_device_config config = {
		.name = "faults",
		.ops = &dev_ops,
		.device = w->vram,
		.vram_bytes = MIB(8),
		.flags = USVM_DEVICE_OBJECTS | (w->copy ? USVM_DEVICE_OWN_MEMORY : 0),
		.notifier_bytes = MIB(512),
		.home_bytes = KIB(64),
	};
	int err = vm_device_create(w->mm, &config, &host, &w->device);

	if (err)
		return err;
	vm_device_quiesce_on(w->device);
	return vm_create(w->device, 0, &w->vm);
}

static int world_destroy_vm(void *argument)
{
	struct world *w = *(struct world **)argument;

	vm_destroy(w->vm);
	return 0;
}

static int world_close(void *argument)
{
	struct world *w = *(struct world **)argument;
	int err = vm_device_drain(w->device);

	if (!err)
		vm_device_destroy(w->device);
	return err;
}

static void world_start(struct world *w, bool copy)
{
	const struct mm_config config = { .worker_count = 2 };

	memset(w, 0, sizeof(*w));
	w->copy = copy;
	w->vram = calloc(1, MIB(8));
	faults_done = 0;
	fake = fake_create(FAKE_ALL_FEATURES, true);
	fake_become(FAKE_PROGRAM);
	for (uint64_t b = 0; b < BLOCKS; b++)
		fake_map(fake, span_make(BASE + b * HUGE_BYTES, HUGE_BYTES),
			 SYS_VMA_ANON_PRIVATE, READ_WRITE);
	mm_process_lock();
	assert_int_equal(mm_create(&fake->sys, &config, &w->mm), 0);
	mm_process_unlock();
	assert_int_equal(mm_call(w->mm, world_open, &w, sizeof(w)), 0);
}

static void world_stop(struct world *w)
{
	assert_int_equal(mm_call(w->mm, world_close, &w, sizeof(w)), 0);
	mm_process_lock();
	mm_destroy(w->mm);
	mm_process_unlock();
	fake_become(FAKE_WORKER);
	assert_int_equal(fake_destroy(fake), 0);
	free(w->vram);
}

/* --- threads ---------------- */

static uint64_t random_page(struct prng *prng)
{
	return BASE + prng_below(prng, BLOCKS) * HUGE_BYTES +
	       prng_below(prng, PAGES_USED) * PAGE_BYTES;
}

static int engine_fault(struct world *w, struct engine_fault *ef, uint64_t addr)
{
	int err;

	ef->fault = (struct usvm_device_fault){ .access = USVM_ACCESS_WRITE,
						.addr = addr,
						.token = ef };
	ATOMIC_STORE(&ef->done, 0);
	err = vm_device_take_fault(w->device, &ef->fault);
	while (!err) {
		uint32_t ticket = wait_ticket(&ef->wait);

		if (ATOMIC_LOAD(&ef->done))
			return ef->error;
		wait_sleep(&ef->wait, ticket, BASE_FOREVER);
	}
	return err;
}

/* It outlives the workers: one may be about to wake who has gone already. */
struct engine {
	struct world *world;
	struct engine_fault fault;
};

static void *engine_thread(void *arg)
{
	struct engine *engine = arg;
	struct prng prng;
	intptr_t bad = 0;

	fake_become(FAKE_WORKER);
	prng_seed(&prng, seed);
	wait_init(&engine->fault.wait);
	for (int i = 0; i < ROUNDS; i++) {
		bool rival = i % 8 == 0;
		uint64_t addr = rival ? RIVAL + prng_below(&prng, 8) * PAGE_BYTES :
					random_page(&prng);
		int err = engine_fault(engine->world, &engine->fault, addr);

		/* What the rival unmapped is not there; too many changes are -EBUSY. */
		if (err && err != -EBUSY && !(rival && err == -EFAULT))
			bad = err;
	}
	return (void *)bad;
}

static void *count_thread(void *arg)
{
	uint64_t *counts = arg;
	struct prng prng;

	fake_become(FAKE_PROGRAM);
	prng_seed(&prng, seed + 1);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t addr = random_page(&prng);
		uint64_t one[2] = { 1, 0 };

		if (fake->sys.ops->access(&fake->sys, SYS_ACCESS_ADD, addr, one, 8))
			return (void *)1;
		counts[(addr - BASE) / PAGE_BYTES]++;
	}
	return NULL;
}

static uint32_t rival_ends; /* atomic */

static void *rival_thread(void *arg)
{
	const struct span span = span_make(RIVAL, 8 * PAGE_BYTES);
	struct prng prng;

	(void)arg;
	fake_become(FAKE_PROGRAM);
	prng_seed(&prng, seed + 2);
	while (!ATOMIC_LOAD(&rival_ends)) {
		struct span part =
			span_make(RIVAL + prng_below(&prng, 8) * PAGE_BYTES, PAGE_BYTES);

		fake_map(fake, span, SYS_VMA_ANON_PRIVATE, READ_WRITE);
		fake_touch(fake, RIVAL, true);
		base_host->cpu_yield();
		if (prng_below(&prng, 2))
			fake_munmap(fake, part);
		else if (prng_below(&prng, 2))
			fake_madvise(fake, part, SYS_ADVICE_DONTNEED);
		else
			fake_mremap(fake, part, RIVAL + MIB(4), false);
		/* Held by the kernel until it was read; and its second half. */
		for (int i = 0; i < 20; i++) {
			fake_finish_remove(fake);
			base_host->cpu_yield();
		}
	}
	fake_finish_remove(fake);
	return NULL;
}

static void run_world(bool copy)
{
	static uint64_t counts[BLOCKS * PAGES_PER_HUGE];
	static struct engine engine[ENGINES];
	pthread_t engines[ENGINES], counter, rival;
	struct world world;
	struct world *w = &world;
	void *result;

	memset(counts, 0, sizeof(counts));
	rival_ends = 0;
	world_start(w, copy);
	for (size_t i = 0; i < ENGINES; i++) {
		engine[i] = (struct engine){ .world = w };
		assert_int_equal(
			pthread_create(&engines[i], NULL, engine_thread, &engine[i]), 0);
	}
	assert_int_equal(pthread_create(&counter, NULL, count_thread, counts), 0);
	assert_int_equal(pthread_create(&rival, NULL, rival_thread, NULL), 0);
	for (size_t i = 0; i < ENGINES; i++) {
		assert_int_equal(pthread_join(engines[i], &result), 0);
		assert_null(result);
	}
	assert_int_equal(pthread_join(counter, &result), 0);
	assert_null(result);
	ATOMIC_STORE(&rival_ends, 1);
	assert_int_equal(pthread_join(rival, NULL), 0);
	/* What it began last must be read before anything can come home. */
	for (int i = 0; i < 100; i++)
		base_host->cpu_yield();
	assert_int_equal(faults_done, ENGINES * ROUNDS);
	assert_int_equal(mm_call(w->mm, world_destroy_vm, &w, sizeof(w)), 0);
	assert_int_equal(mm_call(w->mm, world_close, &w, sizeof(w)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		if (counts[i])
			assert_int_equal(fake_tag(fake, BASE + i * PAGE_BYTES),
					 counts[i]);
	mm_process_lock();
	mm_destroy(w->mm);
	mm_process_unlock();
	fake_become(FAKE_WORKER);
	assert_int_equal(fake_destroy(fake), 0);
	free(w->vram);
}

static void no_count_is_lost_while_engines_fault(void **state)
{
	(void)state;
	run_world(false);
}

static void no_count_is_lost_while_engines_fault_and_the_device_copies(void **state)
{
	(void)state;
	run_world(true);
}

/* --- the end with faults pending ---------------- */

static void a_vm_dies_behind_the_faults_it_accepted(void **state)
{
	static struct engine_fault faults[200];
	struct world world;
	struct world *w = &world;
	uint32_t accepted = 0;

	(void)state;
	world_start(w, false);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		struct engine_fault *ef = &faults[i];

		wait_init(&ef->wait);
		ef->done = 0;
		ef->fault = (struct usvm_device_fault){
			.addr = BASE + i % BLOCKS * HUGE_BYTES, .token = ef
		};
		accepted += vm_device_take_fault(w->device, &ef->fault) == 0;
	}
	assert_int_equal(accepted, ARRAY_SIZE(faults));
	assert_int_equal(mm_call(w->mm, world_destroy_vm, &w, sizeof(w)), 0);
	/* Each was answered before the vm was gone. */
	assert_int_equal(ATOMIC_LOAD(&faults_done), accepted);
	assert_int_equal(vm_device_take_fault(w->device, &faults[0].fault), -ENOENT);
	world_stop(w);
}

/* --- room ---------------- */

#define OBJECT_AT (1ull << 40)
#define VALIDATIONS 20000

/* Two vms have an object that fills the device; one of them has another beside it. */
struct rivals {
	struct world *world;
	struct vm *vm;
	struct vm_bo *large, *small;
	uint32_t ends; /* atomic */
	int result;    /* of the first population that failed; 0: none did */
};

static int rivals_open(void *argument)
{
	struct rivals *r = *(struct rivals **)argument;
	struct world *w = r->world;
	struct vm_bind_args bind = { .kind = VM_BIND_BO,
				     .span = span_make(OBJECT_AT, MIB(8)) };

	assert_int_equal(vm_create(w->device, VM_NO_MIRROR, &r->vm), 0);
	assert_int_equal(vm_bo_create(w->device, MIB(8), VM_BO_DEVICE, 0, &r->large), 0);
	assert_int_equal(vm_bo_create(w->device, MIB(2), VM_BO_DEVICE, 0, &r->small), 0);
	assert_int_equal(vm_unmap(w->vm, bind.span), 0);
	bind.bo = r->large;
	assert_int_equal(vm_bind(w->vm, &bind), 0);
	bind.span = span_make(OBJECT_AT + MIB(8), MIB(8));
	assert_int_equal(vm_bind(r->vm, &bind), 0);
	bind = (struct vm_bind_args){ .kind = VM_BIND_BO, .bo = r->small,
				      .span = span_make(OBJECT_AT, MIB(2)) };
	assert_int_equal(vm_bind(r->vm, &bind), 0);
	return 0;
}

static int rivals_close(void *argument)
{
	struct rivals *r = *(struct rivals **)argument;

	vm_destroy(r->vm);
	vm_destroy(r->world->vm);
	vm_bo_put(r->large);
	vm_bo_put(r->small);
	return 0;
}

static void *populate_all_the_time(void *argument)
{
	struct rivals *r = argument;

	fake_become(FAKE_WORKER);
	while (!ATOMIC_LOAD(&r->ends) && !r->result)
		r->result = vm_populate(r->world->vm, span_make(OBJECT_AT, MIB(8)));
	return NULL;
}

/* Each waits for what the other has for a moment, and never for one who waits for it. */
static void who_validates_and_who_populates_make_room_for_each_other(void **state)
{
	struct world world;
	struct rivals rivals = { .world = &world }, *r = &rivals;
	pthread_t thread;

	(void)state;
	world_start(&world, false);
	assert_int_equal(mm_call(world.mm, rivals_open, &r, sizeof(r)), 0);
	fake_become(FAKE_WORKER);
	pthread_create(&thread, NULL, populate_all_the_time, r);
	for (int i = 0; i < VALIDATIONS; i++)
		assert_int_equal(vm_validate(r->vm), -ENOSPC); /* both are too large */
	ATOMIC_STORE(&r->ends, 1);
	pthread_join(thread, NULL);
	assert_int_equal(r->result, 0);
	fake_become(FAKE_PROGRAM);
	assert_int_equal(mm_call(world.mm, rivals_close, &r, sizeof(r)), 0);
	world_stop(&world);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_count_is_lost_while_engines_fault),
		cmocka_unit_test(
			no_count_is_lost_while_engines_fault_and_the_device_copies),
		cmocka_unit_test(a_vm_dies_behind_the_faults_it_accepted),
		cmocka_unit_test(who_validates_and_who_populates_make_room_for_each_other),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
