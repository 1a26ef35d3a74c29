/* SPDX-License-Identifier: MIT */
/*
 * Buffer objects on the real kernel: one memory for CPU and GPU, a pool that they share with
 * pages of the program, and a working set sixteen times as large as that.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live/support/live.h"

#include "usvm/device.h"

#define MIB(n) ((size_t)(n) << 20)
#define VRAM MIB(32)
/* ThreadSanitizer has a hundred bytes for each word that the GPU wrote. */
#define SCALE (LIVE_SANITIZED ? 8 : 1)

static struct usvm_bo *make_bo(struct live *live, size_t bytes, uint32_t placement,
			       uint32_t flags)
{
	const struct usvm_bo_config config = { bytes, placement, flags };
	struct usvm_bo *bo;

	assert_int_equal(usvm_bo_create(live->gpu, &config, &bo), 0);
	return bo;
}

static uint64_t used(struct live *live)
{
	struct usvm_device_info info;

	assert_int_equal(usvm_device_info(live->gpu, &info), 0);
	return info.vram_used_bytes;
}

/* GPU addresses that the program has reserved, and does not use. */
static unsigned char *reserve(size_t bytes)
{
	unsigned char *at = mmap(NULL, bytes + LIVE_HUGE, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(at != MAP_FAILED);
	return (unsigned char *)(((uintptr_t)at + LIVE_HUGE - 1) & ~(LIVE_HUGE - 1));
}

static uint64_t addr_of(const void *at)
{
	return (uintptr_t)at;
}

static void cpu_gpu_and_child_see_the_same_bytes(void **state)
{
	struct live *live = *state;
	struct usvm_bo *bo = make_bo(live, MIB(4), 0, 0);
	unsigned char *at = reserve(MIB(4));
	void *map;

	assert_int_equal(usvm_bo_map(bo, 0, MIB(4), &map), 0);
	assert_int_equal(usvm_vm_bind(live->vm, addr_of(at), MIB(4), bo, 0, 0), 0);
	live_fill(map, MIB(4), 1, 0);
	gpu_assert_filled(live, at, MIB(4), 1, 0);
	gpu_fill(live, at, MIB(4), 2, 0);
	live_assert_filled(map, MIB(4), 2, 0);
	/* The mapping is memory of the program's as well, and mirrored. */
	gpu_assert_filled(live, map, MIB(4), 2, 0);
	{
		pid_t pid = live_fork();

		if (!pid) {
			CHILD_CHECK(live_is_filled(map, MIB(4), 2, 0));
			live_fill(map, MIB(4), 3, 0);
			_exit(0);
		}
		live_wait_exit(pid, 0);
	}
	gpu_assert_filled(live, at, MIB(4), 3, 0);
	/* What is mapped and bound outlives the handle. */
	assert_int_equal(usvm_bo_destroy(bo), 0);
	gpu_assert_filled(live, at, MIB(4), 3, 0);
	assert_int_equal(usvm_vm_unbind(live->vm, addr_of(at), MIB(4)), 0);
	assert_int_equal(gpu_try(live, USVM_ACCESS_READ, at, NULL), -EFAULT);
	live_assert_filled(map, MIB(4), 3, 0);
	munmap(map, MIB(4));
}

static void the_mirror_gives_way_and_comes_back(void **state)
{
	struct live *live = *state;
	struct usvm_bo *bo = make_bo(live, MIB(2), 0, 0);
	unsigned char *at = live_filled(live, MIB(4), 1);

	gpu_assert_filled(live, at, LIVE_PAGE, 1, 0);
	assert_int_equal(usvm_vm_bind(live->vm, addr_of(at), MIB(2), bo, 0, 0), -EBUSY);
	munmap(at, MIB(4));
	assert_int_equal(usvm_vm_bind(live->vm, addr_of(at), MIB(2), bo, 0, 0), 0);
	assert_true(mmap(at, MIB(4), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
	live_fill(at, MIB(4), 2, 0);
	gpu_fill(live, at, MIB(2), 5, 0);
	live_assert_filled(at, MIB(4), 2, 0);
	gpu_assert_filled(live, at + MIB(2), MIB(2), 2, MIB(2));
	assert_int_equal(usvm_vm_mirror(live->vm, at, MIB(2), 0), 0);
	gpu_assert_filled(live, at, MIB(4), 2, 0);
	assert_int_equal(usvm_bo_destroy(bo), 0);
	live_assert_filled(at, MIB(4), 2, 0);
	munmap(at, MIB(4));
}

/* Pages of the program and objects, each eight times what device memory has. */
static void a_pool_that_is_too_small_serves_both(void **state)
{
	const struct live_param *param = *state;
	struct live live = { 0 };
	struct usvm_bo *bos[16];
	const size_t bytes = 8 * VRAM / SCALE, each = bytes / 16;
	char spec[64];
	unsigned char *at, *objects;

	live_guard(__func__, 60);
	snprintf(spec, sizeof(spec), "model:vram=%luM%s", VRAM / MIB(1) / SCALE,
		 param->copy ? ",mode=copy" : "");
	live_open(&live, param, spec);
	at = live_filled(&live, bytes, 1);
	objects = reserve(bytes);
	for (size_t i = 0; i < 16; i++) {
		bos[i] = make_bo(&live, each, USVM_BO_DEVICE, USVM_BO_DEVICE_ONLY);
		assert_int_equal(usvm_vm_bind(live.vm, addr_of(objects + i * each), each, bos[i],
					      0, 0),
				 0);
	}
	for (size_t i = 0; i < 16; i++) {
		gpu_fill(&live, objects + i * each, each, 2, i * each);
		gpu_fill(&live, at + i * each, each, 12, i * each);
		assert_true(used(&live) <= VRAM / SCALE);
	}
	gpu_assert_filled(&live, objects, bytes, 2, 0);
	gpu_assert_filled(&live, at, bytes, 12, 0);
	live_assert_filled(at, bytes, 12, 0);
	assert_true(live_stat(&live, "usvm_bo_evictions") >= 2 * 16);
	assert_true(live_stat(&live, "vram_evictions") >
		    live_stat(&live, "usvm_bo_evictions"));
	for (size_t i = 0; i < 16; i++)
		assert_int_equal(usvm_bo_destroy(bos[i]), 0);
	assert_int_equal(usvm_vm_unbind(live.vm, addr_of(objects), bytes), 0);
	assert_int_equal(usvm_prefetch(live.vm, at, bytes, USVM_PLACE_SYSTEM), 0);
	assert_int_equal(usvm_stat(live.gpu, "mm_device_pages"), 0);
	munmap(at, bytes);
	while (used(&live)) /* the collector releases what died */
		sched_yield();
	live_close(&live);
}

static struct usvm_bo_info info_of(struct usvm_bo *bo)
{
	struct usvm_bo_info info;

	assert_int_equal(usvm_bo_info(bo, &info), 0);
	return info;
}

static void assert_accounts(struct live *live)
{
	assert_int_equal(live_stat(live, "vram_allocated_bytes") +
				 live_stat(live, "vram_rounding_bytes") +
				 live_stat(live, "vram_free_bytes"),
			 live_stat(live, "vram_size_bytes"));
}

/* Pages of one vm make room for the object of another, and the other way round. */
static void what_another_vm_owns_gives_way_and_comes_back(void **state)
{
	const struct live_param *param = *state;
	struct live live = { 0 }, other;
	unsigned char *at, *object;
	struct usvm_bo *bo;
	char spec[64];

	live_guard(__func__, 60);
	snprintf(spec, sizeof(spec), "model:vram=8M%s", param->copy ? ",mode=copy" : "");
	live_open(&live, param, spec);
	other = live;
	assert_int_equal(usvm_vm_create(live.gpu, NULL, &other.vm), 0);
	assert_int_equal(usvm_queue_create(other.vm, NULL, &other.queue), 0);
	bo = make_bo(&live, MIB(4), USVM_BO_DEVICE, USVM_BO_DEVICE_ONLY);
	object = reserve(MIB(4));
	assert_int_equal(usvm_vm_bind(live.vm, addr_of(object), MIB(4), bo, 0, 0), 0);
	gpu_fill(&live, object, MIB(4), 2, 0);
	at = live_filled(&other, MIB(8), 1);
	for (uint32_t round = 1; round <= 3; round++) {
		uint64_t evictions = live_stat(&live, "vram_evictions");

		assert_int_equal(info_of(bo).place, USVM_BO_DEVICE);
		gpu_fill(&other, at, MIB(8), 10 + round, 0);
		assert_int_equal(info_of(bo).place, 0);
		assert_int_equal(info_of(bo).evictions, round);
		live_assert_state(&other, at, MIB(8), LIVE_DEVICE);
		assert_int_equal(used(&live), MIB(8));
		assert_accounts(&live);

		gpu_assert_filled(&live, object, MIB(4), 1 + round, 0);
		gpu_fill(&live, object, MIB(4), 2 + round, 0);
		assert_int_equal(info_of(bo).place, USVM_BO_DEVICE);
		/* The first of the other's pages were the longest unused. */
		live_assert_state(&other, at, MIB(4), LIVE_HOME);
		live_assert_state(&other, at + MIB(4), MIB(4), LIVE_DEVICE);
		assert_int_equal(live_stat(&live, "usvm_bo_evictions"), round);
		assert_true(live_stat(&live, "vram_evictions") >= evictions + 3);
		assert_accounts(&live);
		gpu_assert_filled(&other, at + MIB(4), MIB(4), 10 + round, MIB(4));
		live_assert_filled(at, MIB(8), 10 + round, 0);
	}
	assert_int_equal(live_stat(&live, "vram_evictions_failed"), 0);
	munmap(at, MIB(8));
	assert_int_equal(usvm_bo_destroy(bo), 0);
	assert_int_equal(usvm_queue_destroy(other.queue), 0);
	assert_int_equal(usvm_vm_destroy(other.vm), 0);
	live_close(&live);
}

/* The device goes away under a kernel that uses an object, and under one that none uses. */
static void objects_of_a_device_that_is_gone_keep_their_bytes(void **state)
{
	struct live *live = *state;
	struct usvm_bo *bos[3];
	unsigned char *at = reserve(MIB(6));
	struct usvm_fence *fence;
	void *maps[2];

	for (size_t i = 0; i < 3; i++) {
		bos[i] = make_bo(live, MIB(2), USVM_BO_DEVICE, i == 2 ? USVM_BO_DEVICE_ONLY : 0);
		assert_int_equal(usvm_vm_bind(live->vm, addr_of(at) + i * MIB(2), MIB(2), bos[i],
					      0, 0), 0);
		gpu_fill(live, at + i * MIB(2), MIB(2), 1 + i, 0);
		if (i < 2)
			assert_int_equal(usvm_bo_map(bos[i], 0, MIB(2), &maps[i]), 0);
		assert_int_equal(info_of(bos[i]).place, USVM_BO_DEVICE);
	}
	fence = gpu_start_add(live, NULL, at, 8, 1, UINT64_MAX);
	while (*(volatile uint64_t *)maps[0] == live_word(1, 0))
		sched_yield();
	assert_int_equal(usvm_device_unplug(live->gpu), 0);
	assert_int_equal(usvm_fence_wait(fence, USVM_FOREVER), -ENODEV);
	usvm_fence_put(fence);
	assert_int_equal(used(live), 0);
	for (size_t i = 0; i < 3; i++)
		assert_true(info_of(bos[i]).place != USVM_BO_DEVICE);
	live_assert_filled((unsigned char *)maps[0] + 8, MIB(2) - 8, 1, 8);
	live_assert_filled(maps[1], MIB(2), 2, 0);
	live_fill(maps[1], MIB(2), 9, 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(usvm_bo_destroy(bos[i]), 0);
	live_assert_filled(maps[1], MIB(2), 9, 0);
	munmap(maps[0], MIB(2));
	munmap(maps[1], MIB(2));
}

/* What the CPU changes while the GPU waits for it, with entries that were made with the bind. */
static void an_engine_sees_what_the_cpu_stores(void **state)
{
	struct live *live = *state;
	struct usvm_bo *bo = make_bo(live, LIVE_HUGE, USVM_BO_DEVICE, 0);
	unsigned char *at = reserve(LIVE_HUGE);
	uint64_t *map;
	void *mapped;

	assert_int_equal(usvm_bo_map(bo, 0, LIVE_HUGE, &mapped), 0);
	map = mapped;
	assert_int_equal(usvm_vm_bind(live->vm, addr_of(at), LIVE_HUGE, bo, 0, USVM_BIND_NOW),
			 0);
	for (uint64_t i = 0; i < 100; i++) {
		__atomic_fetch_add(&map[i], i, __ATOMIC_SEQ_CST);
		assert_int_equal(gpu_add64(live, &((uint64_t *)(void *)at)[i], 1000), i);
		assert_int_equal(map[i], 1000 + i);
	}
	assert_int_equal(live_stat(live, "vma_pagefault_count"), 0);
	assert_int_equal(usvm_bo_destroy(bo), 0);
	munmap(mapped, LIVE_HUGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_MODES(cpu_gpu_and_child_see_the_same_bytes),
		LIVE_TEST_MODES(the_mirror_gives_way_and_comes_back),
		LIVE_TEST_MODES(an_engine_sees_what_the_cpu_stores),
		LIVE_TEST_MODES(objects_of_a_device_that_is_gone_keep_their_bytes),
		/* They open devices of their own. */
		{ "what_another_vm_owns_gives_way_and_comes_back [move]",
		  what_another_vm_owns_gives_way_and_comes_back, NULL, NULL,
		  (void *)(uintptr_t)&live_move },
		{ "what_another_vm_owns_gives_way_and_comes_back [copy]",
		  what_another_vm_owns_gives_way_and_comes_back, NULL, NULL,
		  (void *)(uintptr_t)&live_copy },
		{ "a_pool_that_is_too_small_serves_both [move]",
		  a_pool_that_is_too_small_serves_both, NULL, NULL, (void *)(uintptr_t)&live_move },
		{ "a_pool_that_is_too_small_serves_both [copy]",
		  a_pool_that_is_too_small_serves_both, NULL, NULL, (void *)(uintptr_t)&live_copy },
	};

	return LIVE_RUN(tests);
}
