/* SPDX-License-Identifier: MIT */
/*
 * gpu/gpu_internal.h - the structs of the model GPU and what its files share.
 *
 *     gpu.c               life cycle, the ops table, stop and resume
 *     page_table.c        page tables
 *     mmu.c               one access of an engine: TLB, walk, fault
 *     accessor.c          usvm_lane_*(): the slow half of usvm/kernel.h
 *     command_streamer.c  batches
 *     engine.c            the engine threads, one job
 *     queue.c             queues and the scheduler
 *
 * Locks, never nested. gpu.queue_lock: queues, jobs that wait, who runs what;
 * programs' threads take it. gpu.pt_lock: page tables; the monitor takes it.
 * gpu.vms[] is written under pt_lock and read under either; a vm is freed after
 * each was taken once more. TLBs and sections have no lock: see mmu.c.
 */
#ifndef GPU_GPU_INTERNAL_H
#define GPU_GPU_INTERNAL_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/compiler.h"
#include "base/host.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/pool.h"
#include "base/span.h"
#include "base/wait.h"
#include "gpu/gpu.h"
#include "gpu/page_table.h"
#include "usvm/device.h"
#include "usvm/kernel.h"

#define GPU_ENGINES_MAX 16
#define GPU_VMS_MAX 1024
#define GPU_NO_VM_SERIAL 0

struct gpu_vm {
	uint32_t id;     /* usvm's number; may be used again */
	uint64_t serial; /* never used again: what TLBs are tagged with */
	struct page_table pt;
};

struct gpu_queue {
	struct gpu *gpu;
	uint32_t vm_id;
	uint64_t vm_serial;
	uint32_t banned; /* atomic; written under gpu.queue_lock */
	/* Under gpu.queue_lock: */
	struct list ready_node;    /* on gpu.ready iff jobs wait and none runs */
	struct list jobs;          /* struct gpu_job.node */
	struct gpu_engine *engine; /* that runs a job of it; or NULL */
	bool destroying;
	bool device_gone; /* the job that banned it ended with -ENODEV */
	struct wait idle; /* gpu_queue_destroy() waits */
};

struct gpu_engine {
	/* First, and all that kernels see. */
	_Alignas(64) struct usvm_lane lane;
	uint64_t tlb_serial; /* whose entries lane.tlb has; written inside sections */

	/* A line of its own: stop() of any thread reads it. Atomic: may enter sections. */
	_Alignas(64) uint32_t active;

	_Alignas(64) struct gpu *gpu;
	struct gpu_vm *vm;   /* of the job; written under gpu.queue_lock */
	struct gpu_job *job; /* the engine's own */
	jmp_buf leave;       /* out of a kernel, by accessor.c */
	int leave_error;
	unsigned char bounce[PAGE_BYTES]; /* see accessor.c */

	/* The engine's one fault, see mmu.c. */
	struct usvm_device_fault fault;
	uint32_t fault_pending; /* atomic */
	int fault_error;

	struct wait wait;      /* for a job or for fault_done() */
	struct list idle_node; /* under gpu.queue_lock: on gpu.idle while it sleeps */
	void *thread;
	char name[16];

	/* Atomic; written by the engine only. */
	uint64_t job_count;
	uint64_t fault_count;
	uint64_t tlb_refill_count;
	uint64_t system_access_count;
};

struct gpu {
	_Alignas(64) struct usvm_stop stop; /* raised: how many stop() are open */
	/* Raised for ever: lane.stop of an engine whose job is to end. */
	_Alignas(64) struct usvm_stop leave;

	_Alignas(64) const struct usvm_device_host *host; /* NULL: not attached */
	struct sys *sys;
	struct gpu_config config;
	unsigned char *vram;
	uint64_t stop_count;      /* atomic */
	uint32_t section_waiters; /* atomic: engines in host->section_wait() */

	struct lock pt_lock;
	struct page_table_pools pools;
	struct pool vm_pool;
	struct gpu_vm *vms[GPU_VMS_MAX]; /* atomic; see above */
	uint64_t vm_serial_last;         /* under pt_lock */

	struct lock queue_lock;
	/* Under queue_lock: */
	struct list ready; /* struct gpu_queue.ready_node: round robin */
	struct list idle;  /* struct gpu_engine.idle_node: last to sleep is first */
	bool closing;      /* no job starts any more */
	uint32_t started;  /* engine threads that have registered, or failed to */
	int start_error;
	struct wait start_wait;

	struct gpu_engine *engines; /* config.engine_count */
};

/* --- mmu.c -------------------------------------------------------------------- */

/**
 * mmu_access() - one access of an engine, as its job's vm sees memory
 * @op: USVM_SYSTEM_*
 * @buffer: as for host->access()
 * @bytes: inside one page; an atomic's address is aligned
 *
 * Context: [engine], outside sections; sleeps in faults.
 * Return: 0; what the fault was answered with (-EFAULT, -EPERM, ...), with job->fault_addr
 * and fault_access: the access is forbidden; -ECANCELED the job is to end;
 * -ENODEV the device went away.
 */
MUST_CHECK int mmu_access(struct gpu_engine *engine, uint32_t op, uint64_t addr,
			  void *buffer, uint32_t bytes);

/** mmu_copy() - READ or WRITE of any length, in parts of at most a page */
MUST_CHECK int mmu_copy(struct gpu_engine *engine, uint32_t op, uint64_t addr,
			void *buffer, size_t bytes);

/** mmu_adopt_vm() - make the TLB that of the job's vm. Context: [engine]. */
void mmu_adopt_vm(struct gpu_engine *engine);

/** mmu_flush() - forget @span of @vm in one engine's TLB. Context: stop is raised, the
 * engine is in no section. */
void mmu_flush(struct gpu_engine *engine, const struct gpu_vm *vm, struct span span);

/** mmu_is_leaving() - the job of this engine was told to end. Context: any. */
static inline bool mmu_is_leaving(const struct gpu_engine *engine)
{
	return ATOMIC_LOAD_ACQUIRE(&engine->lane.stop) != &engine->gpu->stop;
}

/* --- command_streamer.c --------------------------------------------------------- */

/** command_streamer_run() - the batch of engine->job, to its end. Context: [engine].
 * Return: 0; a fault's error, -ECANCELED and -ENODEV as mmu_access(); -EINVAL, -EPROTO and
 * job->fault_addr: the command. */
MUST_CHECK int command_streamer_run(struct gpu_engine *engine);

/* --- engine.c ------------------------------------------------------------------- */

/** engine_main() - an engine thread; @arg: struct gpu_engine */
void engine_main(void *arg);

/* --- queue.c -------------------------------------------------------------------- */

/** queue_run_next() - take the next job of a ready queue and end it. Return: false:
 * nothing is ready. Context: [engine]. */
bool queue_run_next(struct gpu *gpu, struct gpu_engine *engine)
	MUST_HOLD(gpu->queue_lock);

/** engine_run_job() - engine.c; @job to its end, without done(). Context: [engine]. */
MUST_CHECK int engine_run_job(struct gpu_engine *engine, struct gpu_job *job);

#endif
