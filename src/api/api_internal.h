/* SPDX-License-Identifier: MIT */
/*
 * api/api_internal.h - the objects behind the public handles.
 *
 * All of them are library memory, wiped in a child of fork, and begin with a
 * magic word of their kind. What needs the library's pools, its locks with the
 * monitor mark or the userfaultfd is done on a worker, by mm_call() (law 15).
 */
#ifndef API_API_INTERNAL_H
#define API_API_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/lock.h"
#include "base/pool.h"
#include "base/wait.h"
#include "gpu/gpu.h"
#include "mm/call.h"
#include "mm/mm.h"
#include "usvm/usvm.h"
#include "vm/vm.h"

enum api_magic {
	API_MAGIC_DEVICE = 0x75736431,
	API_MAGIC_VM = 0x75737631,
	API_MAGIC_QUEUE = 0x75737131,
	API_MAGIC_FENCE = 0x75736631,
	API_MAGIC_BO = 0x75736231,
};

struct api_config {
	bool is_model;
	uint64_t vram_bytes;
	bool copy;
	uint32_t engine_count;
	enum vm_migrate_policy migrate;
	bool migrate_always;
	uint64_t home_bytes;
	uint64_t notifier_bytes;
	uint64_t timeslice_ms;
	bool no_thrash_control;
	bool no_system_atomics;
	uint64_t trace_events;
	bool origins;
	bool place_on_device;
	bool poison;
	bool marked;
	char peers[16]; /* "": none */
};

struct usvm {
	uint32_t magic; /* atomic */
	struct sys *sys;
	struct mm *mm;
	struct gpu *gpu;          /* NULL: the device is the caller's */
	struct vm_device *device;
	struct api_config config;
	struct usvm_device_config device_config;
	char name[32];
	const char *why_not;      /* NULL: pages migrate */
	uint32_t vm_count;        /* atomic */
	uint32_t bo_count;        /* atomic: handles */
	struct trace_ring *trace;
	struct pool fence_pool;   /* workers only */
	struct usvm_fence *free_fences; /* atomic stack: of any thread */
	uint64_t fence_count;     /* atomic: fences that are not back in the pool */
};

struct usvm_vm {
	uint32_t magic; /* atomic */
	struct usvm *usvm;
	struct vm *vm;
	uint32_t queue_count;     /* atomic */
};

struct usvm_queue {
	uint32_t magic; /* atomic */
	struct usvm_vm *vm;
	struct gpu_queue *queue;
	struct lock lock;         /* leaf: status */
	struct usvm_queue_status status GUARDED_BY(&lock);
};

/* A job and who waits for it. */
struct usvm_fence {
	uint32_t magic; /* atomic */
	uint32_t reference_count; /* atomic: the job's and the caller's */
	uint32_t done;            /* atomic */
	int error;
	struct wait wait;
	struct usvm *usvm;
	struct usvm_queue *queue;
	struct usvm_fence *next;  /* on free_fences */
	struct gpu_job job;
};

/* process.c: what the devices of one process share */
MUST_CHECK int api_process_get(struct sys **sys, struct mm **mm);
void api_process_put(void);
bool api_is_forked(void);
/* In a child: what is the parent's is no more. To be called before sys is opened there by
 * anybody else, after which nothing tells a child. */
void api_process_forget(void);

/** api_check() - is @handle of this kind, and of this process? Return: 0, -EBADF, -ECHILD. */
MUST_CHECK int api_check(const void *handle, enum api_magic magic);

/* config.c */
MUST_CHECK int api_config_parse(const char *spec, bool is_model, struct api_config *config);

/* host.c */
extern const struct usvm_device_host api_host_ops;

/* fence.c */
MUST_CHECK int api_fences_drain(struct usvm *usvm);

#endif
