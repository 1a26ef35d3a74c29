/* SPDX-License-Identifier: MIT */
/*
 * gpu/gpu.h - the model GPU: what the layers above see of it.
 *
 * A device like any other: it is reached through usvm_device_ops (usvm/device.h)
 * for page tables, TLBs, stops and faults. This header adds what a driver's user
 * side needs: queues and jobs. The engines are threads; each takes the next job
 * of a ready queue, translates every access by its TLB and the vm's page table,
 * and faults where nothing is mapped.
 *
 *     queue: idle -> ready -> running -> (more jobs?) ready : idle
 *                                  \-> banned, after a job that failed
 */
#ifndef GPU_GPU_H
#define GPU_GPU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/list.h"
#include "usvm/device.h"
#include "usvm/kernel.h"

struct gpu;
struct gpu_queue;
struct sys;

struct gpu_config {
	uint64_t vram_bytes;    /* multiple of 2 MiB */
	uint32_t engine_count;  /* 1..16 */
	bool own_memory;        /* vram=copy: device memory apart from usvm's arena */
	bool no_system_atomics; /* atomics on system pages fault with ACCESS_ATOMIC */
};

enum gpu_job_type {
	GPU_JOB_KERNEL,
	GPU_JOB_BATCH,
	GPU_JOB_FENCE, /* nothing but the user fence, if any */
};

#define GPU_KERNEL_ARGS_MAX 256

/* One job. Memory of the submitter (library pages); it stays until done() was called. */
struct gpu_job {
	struct list node;       /* gpu's */
	enum gpu_job_type type;

	/* GPU_JOB_KERNEL */
	usvm_kernel_fn kernel;
	uint32_t groups[3];     /* grid: every count at least 1 */
	uint32_t args_bytes;
	uint64_t args[GPU_KERNEL_ARGS_MAX / 8];

	/* GPU_JOB_BATCH */
	uint64_t batch_addr;    /* GPU virtual address, 4-byte aligned */

	/* Written as the last thing of a job that succeeded; 0: none. A store of the GPU:
	 * it translates and faults. */
	uint64_t user_fence_addr; /* 8-byte aligned */
	uint64_t user_fence_value;

	/* Results, valid in done(). */
	int error;              /* 0; a fault's; -EINVAL a bad command; -ECANCELED; -ENODEV;
				 * -EPROTO */
	uint64_t fault_addr;    /* of a fault; with -EINVAL where the command stood */
	uint32_t fault_access;

	void *submitter;        /* not looked at */
	/* [engine] The job is over; may free it. Must not block on another job. */
	void (*done)(struct gpu_job *job);
};

struct gpu_stats {
	uint64_t jobs;
	uint64_t faults;        /* asked of the host */
	uint64_t tlb_refills;
	uint64_t system_accesses;
	uint64_t stops;
};

/**
 * gpu_create() - a model GPU, not attached yet
 * @sys: its clock; NULL: it stands still
 * Context: [caller]; may sleep. Return: 0, -EINVAL, -ENOMEM.
 */
MUST_CHECK int gpu_create(struct sys *sys, const struct gpu_config *config,
			  struct gpu **gpu);

/** gpu_destroy() - it is detached (or was never attached); NULL is accepted */
void gpu_destroy(struct gpu *gpu);

/** gpu_ops() - the table for usvm_device_config.ops; the device is the struct gpu */
const struct usvm_device_ops *gpu_ops(void);

/**
 * gpu_queue_create() - a queue of jobs that run in order in one vm
 * @vm: a number that ops->vm_create was called with
 * Context: may sleep. Return: 0, -ENOENT no such vm, -ENOMEM.
 */
MUST_CHECK int gpu_queue_create(struct gpu *gpu, uint32_t vm, struct gpu_queue **queue);

/**
 * gpu_queue_submit() - append a job
 * Context: any thread; no page of the program is touched. Return: 0; -ECANCELED the
 * queue is banned or being destroyed, -ENODEV it is banned because the device went away
 * (done() is not called then).
 */
MUST_CHECK int gpu_queue_submit(struct gpu_queue *queue, struct gpu_job *job);

/** gpu_queue_destroy() - jobs not started end with -ECANCELED, a running one is ended at
 * its next access; returns when the queue is idle. Context: may sleep; never an engine. */
void gpu_queue_destroy(struct gpu_queue *queue);

/** gpu_queue_ban() - end what runs at its next access, and what waits, with -ECANCELED;
 * nothing more will run. Context: any thread; does not wait. */
void gpu_queue_ban(struct gpu_queue *queue);

/** gpu_queue_is_banned() - a job failed: nothing more will run. Context: any. */
bool gpu_queue_is_banned(const struct gpu_queue *queue);

void gpu_stats_read(const struct gpu *gpu, struct gpu_stats *stats);

#endif
