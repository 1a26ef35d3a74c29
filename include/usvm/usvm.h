/* SPDX-License-Identifier: MIT */
/*
 * usvm/usvm.h - GPU shared virtual memory in an ordinary process.
 *
 * A device is opened, a VM on it mirrors the whole address space of the process,
 * queues run jobs in the VM. Every pointer that the program holds is valid in a
 * job: pages go to device memory when the GPU touches them, come home when the
 * CPU does, and follow munmap, mremap, madvise and fork.
 *
 *     struct usvm *gpu;
 *     struct usvm_vm *vm;
 *     struct usvm_queue *queue;
 *
 *     usvm_open(NULL, &gpu);
 *     usvm_vm_create(gpu, NULL, &vm);
 *     usvm_queue_create(vm, NULL, &queue);
 *     usvm_run_kernel(queue, &(struct usvm_kernel){ .function = f, ... });
 *
 * Conventions, said once:
 * - int results are 0 or -errno; docs/errors.md gives each errno one meaning.
 *   Out parameters come last and are written only on success.
 * - Handles are borrowed by every call but the destroy call of their kind, which
 *   accepts NULL. A handle of another kind, or one that was destroyed, gives
 *   -EBADF where that can be told; behind the last close it is a wild pointer.
 * - Sizes are bytes, times are nanoseconds, relative. USVM_FOREVER waits without
 *   end.
 * - Every function may be called from any thread of the program, with no lock of
 *   usvm held; none may be called from a signal handler or from a kernel.
 * - Structs that are passed in may be zeroed for defaults; reserved fields are 0.
 * - In a fork's child the parent's handles give -ECHILD, and -EBADF once the child has
 *   opened a device of its own.
 *
 * Caveats, as symptom and mend:
 * - SIGSEGV handler: usvm chains one (docs/signals.md). A program that replaces it
 *   without chaining loses nothing but the guarded access: it is put back at the
 *   next job.
 * - Memory is slow under a debugger or in a core dump of a live VM shows zeros:
 *   pages on the device cannot be seen from outside. Prefetch them to the system.
 */
#ifndef USVM_USVM_H
#define USVM_USVM_H

#include <stddef.h>
#include <stdint.h>

#include <usvm/device.h>
#include <usvm/kernel.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

#define USVM_FOREVER UINT64_MAX

struct usvm;
struct usvm_vm;
struct usvm_queue;
struct usvm_fence;
struct usvm_bo;

/** usvm_version() - "0.1.0". Context: any. Return: a static string. */
const char *usvm_version(void);

/** usvm_strerror() - what an error of usvm means, in a few words
 * Context: any. Return: a static string, never NULL. @error: -errno or errno. */
const char *usvm_strerror(int error);

/* --- devices ----------------------------------------------------------------- */

/**
 * usvm_open() - open a device
 * @spec: "model" or "model:key=value,...", or NULL: the environment's USVM_DEVICE, else
 *   "model". Keys: vram=SIZE (K, M, G; a multiple of 2M, at most 1024G; default 256M),
 *   mode=move|copy, engines=N (1..16, default 2), migrate=auto|always|never, home=SIZE
 *   (what a CPU fault brings home: 4K, 64K or 2M, default 2M),
 *   notifier=SIZE (a power of two, default 512M), timeslice=MS
 *   (0..1000, default 5: how long the CPU waits for pages that an atomic had to take),
 *   thrash_control=yes|no (default yes: what goes to and fro moves in smaller pieces),
 *   system_atomics=yes|no, trace=EVENTS (a power of two; default 0: no trace),
 *   origins=yes|no (count CPU faults of user mode and of system calls apart; default no),
 *   placement=auto|device (default auto; device: all that can be taken goes to the device,
 *   whatever is advised), poison=yes|no (default no: device memory that pages have left
 *   holds 0xdb in each byte), entries=plain|marked (default plain; marked, for the process
 *   until the last close: pages that MADV_GUARD_INSTALL ended are not seen any more),
 *   peers=GROUP (at most 15 characters; default: "model" for a model, and for another
 *   device none; "none" is none: pages go from one device of a group to another directly,
 *   and are used in place where they do not)
 * @device: out
 *
 * The first open in a process starts the threads of usvm and chains signal handlers;
 * the last close ends them and gives everything back. Where the kernel cannot migrate
 * (see usvm_device_info and `usvm doctor`) the device works with all memory at home.
 *
 * Context: may sleep.
 * Return: 0, or
 *   -EINVAL  @spec, or USVM_DEVICE in its place, has an unknown key or a bad value;
 *            USVM_FEATURES has one (`usvm doctor` tells which); or @device is NULL
 *   -ENOMEM  host memory
 *   -EMFILE  RLIMIT_NOFILE is too small; 16 is enough
 *   -EAGAIN  threads could not be made
 *   -EACCES  the process may not look at itself in /proc: PR_SET_DUMPABLE
 */
int usvm_open(const char *spec, struct usvm **device);

/**
 * usvm_open_device() - open a device that the caller implements
 * @config: see usvm/device.h; copied
 * @spec: NULL, or "key=value,..." of the keys above but vram, mode, engines and
 *   system_atomics, which @config tells
 * @device: out
 *
 * Context: may sleep; calls config->ops->attach.
 * Return: as usvm_open(); -EINVAL also: an op is missing, vram_bytes is not a multiple of
 * 2 MiB, flags or reserved not known; or what attach() returned.
 */
int usvm_open_device(const struct usvm_device_config *config, const char *spec,
		     struct usvm **device);

/**
 * usvm_close() - close a device; everything on it comes home
 * @device: or NULL
 *
 * Context: may sleep.
 * Return: 0; -EBUSY VMs, objects or fences of it are still there, or pages would not come home;
 * -EBADF not a device; -ECHILD.
 */
int usvm_close(struct usvm *device);

/* What usvm_device_info() tells. */
struct usvm_device_info {
	char name[32];
	uint64_t vram_bytes;
	uint64_t vram_used_bytes;
	uint32_t engine_count;
	uint32_t copies;          /* 1: mode=copy */
	uint32_t migrates;        /* 1: pages can go to the device */
	uint32_t kernel_faults;   /* 1: system calls may touch pages on the device */
	uint32_t fork_events;     /* 1: a raw clone is served */
	char why_not[128];        /* when migrates is 0: the reason, else "" */
};

/** usvm_device_info() - Context: any thread, does not sleep. Return: 0, -EINVAL, -EBADF,
 * -ECHILD. */
int usvm_device_info(struct usvm *device, struct usvm_device_info *info);

/* --- address spaces ------------------------------------------------------------ */

struct usvm_vm_config {
	uint32_t flags;       /* enum usvm_vm_flag */
	uint32_t reserved;
};

enum usvm_vm_flag {
	USVM_VM_NO_MIRROR = 1 << 0, /* mirrors nothing at first; see usvm_vm_mirror() */
	USVM_VM_READ_ONLY = 1 << 1, /* the mirror allows no writes */
	USVM_VM_AUTORESET = 1 << 2, /* what is unmapped has no advice any more: usvm_advise() */
};

/**
 * usvm_vm_create() - an address space on @device that mirrors the process's
 * @config: NULL: defaults
 * Context: may sleep. Return: 0, -EINVAL, -EBADF, -ECHILD, -ENOMEM, -ENOSPC (64 a device),
 * -ENODEV (the device is unplugged, see usvm_device_unplug() in usvm/device.h).
 */
int usvm_vm_create(struct usvm *device, const struct usvm_vm_config *config,
		   struct usvm_vm **vm);

/** usvm_vm_destroy() - @vm or NULL. Context: may sleep. Return: 0; -EBUSY it has queues;
 * -EBADF; -ECHILD. */
int usvm_vm_destroy(struct usvm_vm *vm);

/**
 * usvm_vm_mirror() - add an address-mirror bind: GPU address = CPU address
 * @addr, @bytes: multiples of 4096
 * @flags: USVM_VM_READ_ONLY, USVM_VM_AUTORESET
 * Context: may sleep. Return: 0, -EINVAL, -EBUSY (overlaps a bind), -EBADF, -ECHILD,
 * -ENOMEM.
 */
int usvm_vm_mirror(struct usvm_vm *vm, const void *addr, size_t bytes, uint32_t flags);

/** usvm_vm_unmirror() - take a bind away, exactly as it was added. Context: may sleep.
 * Return: 0, -EINVAL, -ENOENT, -EBUSY (ranges live in it), -EBADF, -ECHILD. */
int usvm_vm_unmirror(struct usvm_vm *vm, const void *addr, size_t bytes);

/* --- queues and jobs ------------------------------------------------------------ */

struct usvm_queue_config {
	uint32_t flags;    /* 0 */
	uint32_t reserved; /* 0 */
};

/** usvm_queue_create() - jobs of a queue run in order; queues run beside each other.
 * @config: NULL: defaults. Only on the model device (-EOPNOTSUPP elsewhere).
 * Context: may sleep. Return: 0, -EINVAL, -EBADF, -ECHILD, -ENOMEM, -EOPNOTSUPP, -ENODEV. */
int usvm_queue_create(struct usvm_vm *vm, const struct usvm_queue_config *config,
		      struct usvm_queue **queue);

/** usvm_queue_destroy() - @queue or NULL: cancels what has not run (-ECANCELED at its
 * fences), ends what runs. Context: may sleep. Return: 0, -EBADF, -ECHILD. */
int usvm_queue_destroy(struct usvm_queue *queue);

/* A fault that ended a job. */
struct usvm_fault {
	uint64_t addr;    /* byte address */
	uint32_t access;  /* enum usvm_access */
	int32_t error;    /* -EFAULT no memory there; -EPERM forbidden; ... */
	uint64_t time_ns; /* monotonic */
};

struct usvm_queue_status {
	uint32_t banned;        /* 1: a job failed; nothing more runs in it */
	int32_t error;          /* of that job */
	struct usvm_fault fault; /* its addr: the access; for a batch that ended with
				  * -EINVAL or -EPROTO, the command */
};

/** usvm_queue_status() - Context: any, does not sleep. Return: 0, -EINVAL, -EBADF, -ECHILD. */
int usvm_queue_status(struct usvm_queue *queue, struct usvm_queue_status *status);

/* A kernel to run: @function once for each group of the grid. */
struct usvm_kernel {
	usvm_kernel_fn function;
	uint32_t groups[3];        /* 0 counts as 1 */
	uint32_t args_bytes;       /* at most 256 */
	const void *args;          /* copied at submit */
	void *user_fence;          /* NULL, or 8-byte aligned memory: written when the
				    * job has succeeded */
	uint64_t user_fence_value;
};

/*
 * A batch of commands to run, out of the program's memory, in Intel's encoding for gen 8:
 * docs/batches.md has the commands. This one stores 42:
 *
 *     uint32_t commands[] = {
 *             0x10000002, (uint32_t)addr, (uint32_t)(addr >> 32), 42,  MI_STORE_DWORD_IMM
 *             0x05000000,                                             MI_BATCH_BUFFER_END
 *     };
 */
struct usvm_batch {
	const void *commands;      /* 4-byte aligned; ends with MI_BATCH_BUFFER_END */
	void *user_fence;
	uint64_t user_fence_value;
};

/**
 * usvm_submit_kernel() - append a kernel to a queue
 * @fence: out: told the end; usvm_fence_put() it. NULL: none wanted.
 * Context: may sleep for a moment. Return: 0; -EINVAL; -ECANCELED the queue is banned;
 * -ENODEV the device is unplugged; -ENOMEM; -EBADF; -ECHILD.
 */
int usvm_submit_kernel(struct usvm_queue *queue, const struct usvm_kernel *kernel,
		       struct usvm_fence **fence);

/** usvm_submit_batch() - append a batch. Context, Return: as usvm_submit_kernel(). */
int usvm_submit_batch(struct usvm_queue *queue, const struct usvm_batch *batch,
		      struct usvm_fence **fence);

/**
 * usvm_fence_wait() - wait for the end of a job
 * Context: sleeps. Return: 0 the job succeeded; -ETIMEDOUT; else the job's error: -EFAULT
 * or -EPERM (see usvm_queue_status), -EINVAL a bad command, -EPROTO an endless batch,
 * -ECANCELED, -ENODEV; -EBADF; -ECHILD.
 */
int usvm_fence_wait(struct usvm_fence *fence, uint64_t timeout_ns);

/** usvm_fence_put() - drop it; the job goes on. @fence or NULL. Context: any. */
void usvm_fence_put(struct usvm_fence *fence);

/** usvm_run_kernel() - submit and wait. Context: sleeps. Return: of the two. */
int usvm_run_kernel(struct usvm_queue *queue, const struct usvm_kernel *kernel);

/** usvm_run_batch() - submit and wait. Context: sleeps. Return: of the two. */
int usvm_run_batch(struct usvm_queue *queue, const struct usvm_batch *batch);

/* --- memory ---------------------------------------------------------------------- */

enum usvm_place {
	USVM_PLACE_SYSTEM = 0,
	USVM_PLACE_DEVICE = 1,
	USVM_PLACE_ADVISED = 2, /* prefetch: where usvm_advise() said, piece by piece */
};

/**
 * usvm_prefetch() - move memory and map it, ahead of its use
 * @addr, @bytes: any; widened to pages
 * @place: to the VM's device, or home, or each piece where it should be
 *
 * Best effort, as a fault would: holes and memory that cannot migrate stay.
 * Context: sleeps. Return: 0; -EINVAL an empty or wrapping span; -EFAULT nothing in it
 * is mapped; -EBADF; -ECHILD; -ENOMEM; -ENODEV to a device that is unplugged.
 */
int usvm_prefetch(struct usvm_vm *vm, const void *addr, size_t bytes,
		  enum usvm_place place);

enum usvm_location {
	USVM_LOCATION_DEFAULT = 0,   /* the VM's device, as migrate= says */
	USVM_LOCATION_SYSTEM = 1,    /* at home, used in place */
	USVM_LOCATION_DEVICE = 2,    /* a device; another than the VM's: there, used in place */
	USVM_LOCATION_ELSEWHERE = 3, /* queries only: a device, another than the VM's */
};

enum usvm_atomic {
	USVM_ATOMIC_UNDEFINED = 0, /* as GLOBAL */
	USVM_ATOMIC_DEVICE = 1,    /* of engines only */
	USVM_ATOMIC_GLOBAL = 2,    /* of engines and the CPU */
	USVM_ATOMIC_CPU = 3,       /* of the CPU only: one of an engine fails, -EACCES */
};

/* What a program says about memory. All zero is what nobody said anything about. */
struct usvm_attributes {
	uint32_t location;  /* enum usvm_location */
	uint32_t atomic;    /* enum usvm_atomic */
	uint32_t pat_index; /* kept and told, no more */
	uint32_t reserved;  /* 0 */
	struct usvm *device; /* LOCATION_DEVICE: which; NULL: the VM's. Else NULL. */
};

enum usvm_attribute {
	USVM_ATTRIBUTE_LOCATION = 1 << 0, /* location and device */
	USVM_ATTRIBUTE_ATOMIC = 1 << 1,
	USVM_ATTRIBUTE_PAT = 1 << 2,
};

/**
 * usvm_advise() - say where memory should be, and who uses atomics in it
 * @addr, @bytes: multiples of 4096
 * @which: enum usvm_attribute: those of @attributes that are meant; the others stay
 *
 * Advice belongs to addresses of the VM: it may be given before memory is mapped there, and
 * stays when that is unmapped, unless the VM was made with USVM_VM_AUTORESET. It ends with
 * the mirror. It moves nothing: faults and prefetches to USVM_PLACE_ADVISED follow it. Pages
 * that should be at home and are on the device stay until the CPU touches them.
 *
 * Atomics of an engine whose device has them in its own memory only (system_atomics=no)
 * take the pages there, wherever they should be, and fail with -EACCES if they do not come.
 *
 * Context: may sleep. Return: 0, also where nothing is mirrored; -EINVAL; -EBADF (of @vm, or
 * the device); -ECHILD; -ENOMEM. Upstream: DRM_IOCTL_XE_MADVISE.
 */
int usvm_advise(struct usvm_vm *vm, const void *addr, size_t bytes, uint32_t which,
		const struct usvm_attributes *attributes);

/* Memory in a row with the same attributes. */
struct usvm_advised {
	uint64_t addr;
	uint64_t bytes;
	struct usvm_attributes attributes;
};

/**
 * usvm_advise_query() - what was said about memory
 * @addr, @bytes: any
 * @advised: out: the pieces that meet the span, in order, as far as they go, also outside
 *   of it; at most @max. NULL with 0: only @count
 * @count: out: how many there are
 *
 * Memory that is not mirrored has none.
 * Context: may sleep. Return: 0, -EINVAL, -EBADF, -ECHILD.
 * Upstream: DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS.
 */
int usvm_advise_query(struct usvm_vm *vm, const void *addr, size_t bytes,
		      struct usvm_advised *advised, size_t max, size_t *count);

enum usvm_page_state {
	USVM_PAGE_UNMAPPED = 0, /* no VMA there */
	USVM_PAGE_HOME = 1,     /* the process has it, or it is a hole */
	USVM_PAGE_MOVING = 2,   /* in transit */
	USVM_PAGE_DEVICE = 3,   /* device memory has it */
};

struct usvm_page_info {
	uint32_t state;        /* enum usvm_page_state */
	uint32_t mapped;       /* bit 0: a PTE in this VM; bit 1: it allows writes */
	uint64_t vram_offset;  /* when DEVICE: in the memory of the device that has it */
	uint64_t run_bytes;    /* from addr's page on: how much has the same state and is
				* contiguous */
	char device[32];       /* the name of the device that has it; "" at home */
	uint32_t is_elsewhere; /* 1: that is another device than the VM's */
	uint32_t reserved;     /* 0 */
};

/** usvm_query() - where is this page? Moves nothing, touches nothing.
 * Context: may sleep for a moment. Return: 0, -EINVAL, -EBADF, -ECHILD. */
int usvm_query(struct usvm_vm *vm, const void *addr, struct usvm_page_info *info);

/** usvm_query_span() - how many pages of a span are in each state
 * @pages: out: indexed by enum usvm_page_state
 * Context: may sleep for a moment. Return: 0, -EINVAL, -EBADF, -ECHILD. */
int usvm_query_span(struct usvm_vm *vm, const void *addr, size_t bytes,
		    uint64_t pages[4]);

/* --- buffer objects ---------------------------------------------------------------- */

/*
 * Memory of usvm's that the program asks a device for. An object is bound at GPU addresses
 * of a VM, instead of what those mirrored, and may be mapped by the program, which sees the
 * bytes that the GPU sees. It takes device memory when it is used, out of what the
 * program's pages use too, and gives way like them when that is full.
 */
enum usvm_bo_flag {
	USVM_BO_DEVICE_ONLY = 1 << 0, /* the program never maps it */
};

enum usvm_bo_place {
	USVM_BO_SYSTEM = 1 << 0,
	USVM_BO_DEVICE = 1 << 1, /* with SYSTEM too: where there is room */
};

struct usvm_bo_config {
	uint64_t bytes;     /* a multiple of 4096 */
	uint32_t placement; /* a set of enum usvm_bo_place; 0: both */
	uint32_t flags;     /* enum usvm_bo_flag */
};

/**
 * usvm_bo_create() - an object of zeros
 * Context: may sleep. Upstream: DRM_IOCTL_XE_GEM_CREATE.
 * Return: 0, or
 *   -EINVAL      bytes, placement or flags
 *   -ENOSPC      it may be in device memory alone, and is larger than that
 *   -EOPNOTSUPP  the device does not know objects (USVM_DEVICE_OBJECTS)
 *   -ENOMEM, -ENODEV, -EBADF, -ECHILD
 */
int usvm_bo_create(struct usvm *device, const struct usvm_bo_config *config,
		   struct usvm_bo **bo);

/** usvm_bo_destroy() - give the handle back; where it is bound or mapped its bytes stay.
 * @bo: or NULL. Context: may sleep. Return: 0, -EBADF, -ECHILD. */
int usvm_bo_destroy(struct usvm_bo *bo);

/**
 * usvm_bo_map() - show a part of it to the program
 * @offset, @bytes: multiples of 4096, inside
 * @addr: out; unmapped with munmap(). A child of fork has the same memory there.
 * Context: may sleep. Return: 0; -EINVAL; -EACCES it is USVM_BO_DEVICE_ONLY; -ENOMEM;
 * -EBADF; -ECHILD.
 */
int usvm_bo_map(struct usvm_bo *bo, uint64_t offset, size_t bytes, void **addr);

/** usvm_bo_move() - to this place now; device memory is got by eviction if need be
 * Context: may sleep. Return: 0; -EINVAL also: its placement does not allow it; -ENOSPC
 * nothing could be evicted; -ENOMEM; -EIO the device could not copy; -ENODEV; -EBADF;
 * -ECHILD. */
int usvm_bo_move(struct usvm_bo *bo, enum usvm_place place);

struct usvm_bo_info {
	uint64_t bytes;
	uint32_t placement;  /* enum usvm_bo_place: allowed */
	uint32_t place;      /* now; 0: not used yet, or evicted */
	uint64_t vram_bytes; /* of device memory now */
	uint64_t evictions;
};

/** usvm_bo_info() - Context: may sleep for a moment. Return: 0, -EINVAL, -EBADF, -ECHILD. */
int usvm_bo_info(struct usvm_bo *bo, struct usvm_bo_info *info);

enum usvm_bind_flag {
	USVM_BIND_READ_ONLY = 1 << 0,
	USVM_BIND_NOW = 1 << 1, /* with all page-table entries, or not at all; else by faults */
};

/**
 * usvm_vm_bind() - put an object at GPU addresses, in place of what is there
 * @addr, @bytes: multiples of 4096, below 2^48
 * @bo: of the VM's device; NULL: nothing, that reads as zeros and forgets what is written
 * @offset: where in @bo; a multiple of 4096; 0 without @bo
 *
 * The binding has a reference of its own. Binds that reach out of the span keep the rest.
 * usvm_vm_mirror() puts the mirror back.
 *
 * Context: may sleep. Upstream: DRM_IOCTL_XE_VM_BIND, MAP.
 * Return: 0, or
 *   -EINVAL      the span, offset or flags; @bo is of another device
 *   -EBUSY       the GPU uses memory of the program there: munmap() it first
 *   -EOPNOTSUPP  the device does not know objects
 *   -ENOSPC      with NOW: device memory is full, and nothing could be evicted
 *   -EIO         with NOW: the device could not copy
 *   -ENOMEM, -ENODEV, -EBADF, -ECHILD
 */
int usvm_vm_bind(struct usvm_vm *vm, uint64_t addr, uint64_t bytes, struct usvm_bo *bo,
		 uint64_t offset, uint32_t flags);

/** usvm_vm_unbind() - these addresses mean nothing any more, objects and mirror alike
 * Context: may sleep. Return: 0, also where nothing was bound; -EINVAL; -EBUSY as above,
 * and nothing was changed; -ENOMEM; -EBADF; -ECHILD. */
int usvm_vm_unbind(struct usvm_vm *vm, uint64_t addr, uint64_t bytes);

/* --- what happened ------------------------------------------------------------------ */

struct usvm_stat {
	const char *name; /* static; the kernel's names (svm_2M_migrate_count, ...) */
	uint64_t value;
};

/** usvm_stats() - read the counters of a device
 * @stats: out, @max entries; NULL with 0: only @count
 * @count: out: how many there are
 * Context: any, does not sleep. Return: 0, -EINVAL, -EBADF, -ECHILD. */
int usvm_stats(struct usvm *device, struct usvm_stat *stats, size_t max, size_t *count);

/** usvm_stats_reset() - set the counters of a device to 0; those that begin with mm_ or vram_
 * stay. What is counted meanwhile may be lost or not. Upstream: a write to gtN/stats.
 * Context: any, does not sleep. Return: 0, -EINVAL, -EBADF, -ECHILD. */
int usvm_stats_reset(struct usvm *device);

/** usvm_stat() - one counter by name; 0 when there is no such. Context: any. Return: it. */
uint64_t usvm_stat(struct usvm *device, const char *name);

/** usvm_faults() - the last faults that failed in a VM, oldest first (at most 50 kept)
 * Context: any. Return: 0, -EINVAL, -EBADF, -ECHILD. */
int usvm_faults(struct usvm_vm *vm, struct usvm_fault *faults, size_t max, size_t *count);

/* What a trace has (trace=EVENTS at open). */
struct usvm_trace_event {
	uint64_t time_ns; /* CLOCK_MONOTONIC, when the step ended */
	uint64_t duration_ns;
	uint64_t addr;
	uint64_t bytes;
	uint64_t arg;
	const char *name; /* static: "gpu_fault", "migrate_to_device", ... */
	uint32_t thread;  /* kernel's thread id */
	uint32_t reserved;
};

/** usvm_trace_read() - take up to @max of the oldest events
 * @count: out; @dropped: out, or NULL: events lost so far
 * Context: any; one reader at a time. Return: 0, -EINVAL, -ENOENT no trace was asked for,
 * -EBADF, -ECHILD. */
int usvm_trace_read(struct usvm *device, struct usvm_trace_event *events, size_t max,
		    size_t *count, uint64_t *dropped);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
