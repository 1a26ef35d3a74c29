/* SPDX-License-Identifier: MIT */
/*
 * DOC: the model GPU as a device
 *
 * The ops table, one function an op, and the life cycle:
 *
 *     gpu_create -> attach (engines start) -> vm_create, queues, jobs
 *                -> queues destroyed -> vm_destroy -> detach (engines end) -> destroy
 *
 * Stops are counted: stop.raised is the number of open stop() calls, so that two
 * threads may each stop the device and neither resumes it for the other. Why a
 * stop may skip engines that are not active is proven in mmu.c.
 *
 * Memory: the struct gpu and its engines are one allocation of pages; tables and
 * vms come from pools. The monitor's ops allocate nothing.
 */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "gpu/gpu_internal.h"

#define GPU_BYTES ALIGN_UP(sizeof(struct gpu), PAGE_BYTES)

/* How long wait_stopped() spins before it yields: a section of 4 KiB is shorter, if
 * its engine has a processor. */
#define STOP_SPINS 200

static uint64_t engines_bytes(const struct gpu *gpu)
{
	return ALIGN_UP(gpu->config.engine_count * sizeof(struct gpu_engine), PAGE_BYTES);
}

/* --- attach, detach ------------------------------------------------------------- */

static void init_engine(struct gpu *gpu, unsigned int index)
{
	static const char prefix[] = "usvm-engine";
	struct gpu_engine *engine = &gpu->engines[index];
	size_t end = sizeof(prefix) - 1;

	memset(engine, 0, sizeof(*engine));
	engine->gpu = gpu;
	engine->lane.stop = &gpu->stop;
	wait_init(&engine->wait);
	list_init(&engine->idle_node);
	memcpy(engine->name, prefix, end);
	if (index >= 10)
		engine->name[end++] = (char)('0' + index / 10);
	engine->name[end] = (char)('0' + index % 10);
}

static void stop_engines(struct gpu *gpu)
{
	lock_acquire(&gpu->queue_lock);
	gpu->closing = true;
	for (unsigned int i = 0; i < gpu->config.engine_count; i++) {
		ATOMIC_STORE(&gpu->engines[i].lane.stop, &gpu->leave);
		wait_wake_all(&gpu->engines[i].wait);
	}
	lock_release(&gpu->queue_lock);

	for (unsigned int i = 0; i < gpu->config.engine_count; i++) {
		if (gpu->engines[i].thread)
			gpu->host->thread_join(gpu->host->usvm, gpu->engines[i].thread);
		gpu->engines[i].thread = NULL;
	}
}

/* Wait until @count threads have registered. Return: 0 or why one could not. */
static int wait_started(struct gpu *gpu, uint32_t count)
{
	int err;

	lock_acquire(&gpu->queue_lock);
	while (gpu->started < count) {
		uint32_t ticket = wait_ticket(&gpu->start_wait);

		lock_release(&gpu->queue_lock);
		wait_sleep(&gpu->start_wait, ticket, BASE_FOREVER);
		lock_acquire(&gpu->queue_lock);
	}
	err = gpu->start_error;
	lock_release(&gpu->queue_lock);
	return err;
}

static int start_engines(struct gpu *gpu)
{
	const struct usvm_device_host *host = gpu->host;
	uint32_t count = 0;
	int start_err;
	int err = 0;

	for (; count < gpu->config.engine_count; count++) {
		struct gpu_engine *engine = &gpu->engines[count];

		err = host->thread_create(host->usvm, engine->name, engine_main, engine,
					  &engine->thread);
		if (err)
			break;
	}
	start_err = wait_started(gpu, count);
	if (!err)
		err = start_err;
	if (err)
		stop_engines(gpu);
	return err;
}

static void free_memory(struct gpu *gpu)
{
	if (gpu->config.own_memory)
		base_host->pages_free(gpu->vram, gpu->config.vram_bytes);
	gpu->vram = NULL;
	gpu->host = NULL;
}

static int gpu_attach(void *device, const struct usvm_device_host *host)
{
	struct gpu *gpu = device;
	int err;

	ASSERT(!gpu->host);
	ASSERT(host->vram_bytes == gpu->config.vram_bytes);
	gpu->host = host;
	gpu->vram = host->vram;
	if (gpu->config.own_memory) {
		gpu->vram = base_host->pages_alloc(gpu->config.vram_bytes);
		if (!gpu->vram) {
			gpu->host = NULL;
			return -ENOMEM;
		}
	}

	gpu->closing = false;
	gpu->started = 0;
	gpu->start_error = 0;
	for (unsigned int i = 0; i < gpu->config.engine_count; i++)
		init_engine(gpu, i);
	err = start_engines(gpu);
	if (err)
		free_memory(gpu);
	return err;
}

static void gpu_detach(void *device)
{
	struct gpu *gpu = device;

	ASSERT(gpu->host);
	stop_engines(gpu);
	ASSERT(list_is_empty(&gpu->ready));
	free_memory(gpu);
}

/* --- address spaces --------------------------------------------------------------- */

static struct gpu_vm *find_vm(const struct gpu *gpu, uint32_t vm) MUST_HOLD(gpu->pt_lock);
static struct gpu_vm *find_vm(const struct gpu *gpu, uint32_t vm)
{
	lock_assert_held(&gpu->pt_lock);
	ASSERT(vm < GPU_VMS_MAX && ATOMIC_LOAD_RELAXED(&gpu->vms[vm]));
	return ATOMIC_LOAD_RELAXED(&gpu->vms[vm]);
}

static int gpu_vm_create(void *device, uint32_t vm)
{
	struct gpu *gpu = device;
	struct gpu_vm *v;
	int err;

	if (vm >= GPU_VMS_MAX)
		return -ENOMEM;
	v = pool_alloc(&gpu->vm_pool);
	if (!v)
		return -ENOMEM;
	err = page_table_init(&v->pt, &gpu->pools, &gpu->pt_lock);
	if (err) {
		pool_put(&gpu->vm_pool, v);
		return err;
	}
	v->id = vm;

	lock_acquire(&gpu->pt_lock);
	ASSERT(!ATOMIC_LOAD_RELAXED(&gpu->vms[vm]));
	v->serial = ++gpu->vm_serial_last;
	ATOMIC_STORE_RELEASE(&gpu->vms[vm], v);
	lock_release(&gpu->pt_lock);
	return 0;
}

static void gpu_vm_destroy(void *device, uint32_t vm)
{
	struct gpu *gpu = device;
	struct gpu_vm *v;

	lock_acquire(&gpu->pt_lock);
	v = find_vm(gpu, vm);
	ATOMIC_STORE_RELAXED(&gpu->vms[vm], NULL);
	lock_release(&gpu->pt_lock);

	/* Who still looks at it under the other lock is waited for. */
	lock_acquire(&gpu->queue_lock);
	for (unsigned int i = 0; i < gpu->config.engine_count; i++)
		ASSERT(gpu->engines[i].vm != v);
	lock_release(&gpu->queue_lock);

	page_table_fini(&v->pt);
	pool_put(&gpu->vm_pool, v);
}

static int gpu_pt_prepare(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	struct gpu *gpu = device;
	struct gpu_vm *v;

	/* The caller keeps the vm alive. */
	lock_acquire(&gpu->pt_lock);
	v = find_vm(gpu, vm);
	lock_release(&gpu->pt_lock);
	return page_table_prepare(&v->pt, span_make(addr, bytes));
}

static void gpu_pt_map(void *device, uint32_t vm, uint64_t addr, uint64_t bytes,
		       uint64_t target, uint32_t flags)
{
	struct gpu *gpu = device;
	struct page_table *pt;

	if (flags & USVM_PTE_VRAM)
		ASSERT(target <= gpu->config.vram_bytes &&
		       bytes <= gpu->config.vram_bytes - target);
	lock_acquire(&gpu->pt_lock);
	pt = &find_vm(gpu, vm)->pt;
	lock_assert_held(pt->lock);
	page_table_map(pt, span_make(addr, bytes), target, flags);
	lock_release(&gpu->pt_lock);
}

static bool gpu_pt_clear(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	struct gpu *gpu = device;
	struct page_table *pt;
	bool any;

	lock_acquire(&gpu->pt_lock);
	pt = &find_vm(gpu, vm)->pt;
	lock_assert_held(pt->lock);
	any = page_table_clear(pt, span_make(addr, bytes));
	lock_release(&gpu->pt_lock);
	return any;
}

static void gpu_tlb_flush(void *device, uint32_t vm, uint64_t addr, uint64_t bytes)
{
	struct gpu *gpu = device;
	struct gpu_vm *v;

	/* Engines run: no page of device memory is concerned (mmu.c). */
	if (!ATOMIC_LOAD(&gpu->stop.raised))
		return;
	lock_acquire(&gpu->pt_lock);
	v = find_vm(gpu, vm);
	for (unsigned int i = 0; i < gpu->config.engine_count; i++)
		mmu_flush(&gpu->engines[i], v, span_make(addr, bytes));
	lock_release(&gpu->pt_lock);
}

/* --- stop and resume ----------------------------------------------------------------- */

static bool gpu_stop(void *device)
{
	struct gpu *gpu = device;
	bool any = false;

	ATOMIC_ADD(&gpu->stop_count, 1);
	ATOMIC_ADD(&gpu->stop.raised, 1);
	for (unsigned int i = 0; i < gpu->config.engine_count; i++)
		any |= ATOMIC_LOAD(&gpu->engines[i].active) != 0;
	return any;
}

static void gpu_wait_stopped(void *device)
{
	struct gpu *gpu = device;

	for (unsigned int i = 0; i < gpu->config.engine_count; i++) {
		struct usvm_section *section = &gpu->engines[i].lane.section;
		unsigned int spins = 0;

		while (ATOMIC_LOAD(&section->inside)) {
			if (++spins < STOP_SPINS)
				cpu_relax();
			else
				base_host->cpu_yield();
		}
	}
}

static void gpu_resume(void *device)
{
	struct gpu *gpu = device;
	uint32_t before = ATOMIC_SUB(&gpu->stop.raised, 1);

	ASSERT(before > 0);
	/* A waiter counts itself, then looks at raised; we lower it, then look at the
	 * count: one of the two sees the other. */
	if (before == 1 && ATOMIC_LOAD(&gpu->section_waiters))
		gpu->host->section_wake(gpu->host->usvm, &gpu->stop);
}

/* --- the rest ------------------------------------------------------------------------- */

static int gpu_copy(void *device, uint64_t vram_offset, void *memory, uint64_t bytes,
		    bool to_device)
{
	struct gpu *gpu = device;

	ASSERT(vram_offset <= gpu->config.vram_bytes &&
	       bytes <= gpu->config.vram_bytes - vram_offset);
	if (to_device)
		memcpy(gpu->vram + vram_offset, memory, bytes);
	else
		memcpy(memory, gpu->vram + vram_offset, bytes);
	return 0;
}

static int gpu_copy_peer(void *device, uint64_t vram_offset, void *peer, uint64_t peer_offset,
			 uint64_t bytes)
{
	struct gpu *to = peer;

	return gpu_copy(device, vram_offset, to->vram + peer_offset, bytes, false);
}

static void gpu_fault_done(void *device UNUSED, struct usvm_device_fault *fault,
			   int error)
{
	struct gpu_engine *engine = CONTAINER_OF(fault, struct gpu_engine, fault);

	ASSERT(ATOMIC_LOAD_RELAXED(&engine->fault_pending));
	engine->fault_error = error;
	ATOMIC_STORE_RELEASE(&engine->fault_pending, 0);
	wait_wake_all(&engine->wait);
}

const struct usvm_device_ops *gpu_ops(void)
{
	static const struct usvm_device_ops ops = {
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

	return &ops;
}

int gpu_create(struct sys *sys, const struct gpu_config *config, struct gpu **gpu)
{
	struct gpu *g;

	if (!config->vram_bytes || !IS_ALIGNED(config->vram_bytes, HUGE_BYTES) ||
	    !config->engine_count || config->engine_count > GPU_ENGINES_MAX)
		return -EINVAL;
	g = base_host->pages_alloc(GPU_BYTES);
	if (!g)
		return -ENOMEM;
	g->sys = sys;
	g->config = *config;
	g->engines = base_host->pages_alloc(engines_bytes(g));
	if (!g->engines) {
		base_host->pages_free(g, GPU_BYTES);
		return -ENOMEM;
	}
	g->leave.raised = 1;
	lock_init(&g->pt_lock, LOCK_GPU_PT, "gpu.pt_lock");
	lock_init(&g->queue_lock, LOCK_DEVICE, "gpu.queue_lock");
	page_table_pools_init(&g->pools);
	pool_init(&g->vm_pool, sizeof(struct gpu_vm), "gpu vms");
	list_init(&g->ready);
	list_init(&g->idle);
	wait_init(&g->start_wait);
	*gpu = g;
	return 0;
}

void gpu_destroy(struct gpu *gpu)
{
	if (!gpu)
		return;
	ASSERT(!gpu->host);
	pool_fini(&gpu->vm_pool);
	page_table_pools_fini(&gpu->pools);
	base_host->pages_free(gpu->engines, engines_bytes(gpu));
	base_host->pages_free(gpu, GPU_BYTES);
}

void gpu_stats_read(const struct gpu *gpu, struct gpu_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->stops = ATOMIC_LOAD_RELAXED(&gpu->stop_count);
	for (unsigned int i = 0; i < gpu->config.engine_count; i++) {
		const struct gpu_engine *engine = &gpu->engines[i];

		stats->jobs += ATOMIC_LOAD_RELAXED(&engine->job_count);
		stats->faults += ATOMIC_LOAD_RELAXED(&engine->fault_count);
		stats->tlb_refills += ATOMIC_LOAD_RELAXED(&engine->tlb_refill_count);
		stats->system_accesses +=
			ATOMIC_LOAD_RELAXED(&engine->system_access_count);
	}
}
