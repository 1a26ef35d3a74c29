/* SPDX-License-Identifier: MIT */
/*
 * usvm/device.h - what a device author implements to get SVM.
 *
 * A device has a page table for each address space (vm), a TLB if it likes, and
 * engines that run jobs. usvm gives it the process's memory: it fills the page
 * table when the device faults, takes pages to device memory, and revokes them
 * when the CPU wants them back. The device never looks at the process's memory
 * by itself: a page-table entry names either device memory, which the device
 * reads and writes at will inside a *section*, or a system page, which it
 * reaches through host->access(). (Buffer objects: USVM_PTE_HOST.)
 *
 *     engine                       usvm
 *     ------                       ----
 *     no PTE:  host->fault() ----> worker: finds the VMA, takes the pages,
 *     sleeps                       pt_prepare(), pt_map()
 *     <--------------------------- fault_done(): translate again
 *     section { VRAM access }
 *                                  the CPU touches the page; the monitor:
 *     leaves its section <-------- stop(), barrier, wait_stopped()
 *                                  pt_clear(), pages go home, resume()
 *
 * The section protocol. Device memory (and USVM_PTE_HOST) may be accessed only between
 * usvm_section_try_enter() and usvm_section_leave(); the translation used must be
 * looked up (or its TLB entry checked) inside. A section covers at most 4 KiB,
 * never blocks, never calls usvm and never touches the program's memory:
 * munmap() of the whole process waits for it.
 *
 * Contexts. [monitor]: may not take a lock that a thread may hold while it
 * touches memory of the program, may not allocate, print or wait, but where
 * said. [monitor lock held]: a worker, under the same rules. [worker]: may sleep.
 * [engine]: a thread of the device. [caller]: the thread that opens or closes the
 * device.
 *
 * What ops touch, usvm_device_config.device before all, must be memory that never
 * migrates: a shared mapping, or host->pages_alloc(). The monitor runs ops, and a
 * fault of its own would wait for itself.
 *
 * At the same time. For one vm, pt_map(), pt_clear() and tlb_flush() run one at a
 * time, and none before vm_create() returned or once vm_destroy() was entered.
 * pt_prepare() runs one at a time too, but beside these three, pt_clear() of the same
 * span among them: what it adds is whole before it can be found. Ops of two vms run
 * beside each other. copy() runs beside all, also itself, for other spans of device
 * memory; copy_peer() is a copy of both devices. fault_done() runs beside all. stop()
 * to resume() is one thread's at a time, nested or not. Engines run beside all but what
 * needs them stopped. The ops below and docs/device-author.md go by this.
 */
#ifndef USVM_DEVICE_H
#define USVM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct usvm;
struct usvm_device_host;

/** enum usvm_access - why an engine needs a page */
enum usvm_access {
	USVM_ACCESS_READ = 0,
	USVM_ACCESS_WRITE = 1,
	USVM_ACCESS_ATOMIC = 2, /* implies write */
	USVM_ACCESS_PREFETCH = 3,
};

/** enum usvm_pte_flag - what a page-table entry allows and names */
enum usvm_pte_flag {
	USVM_PTE_VRAM = 1 << 0,   /* target: offset into device memory; else an address */
	USVM_PTE_WRITE = 1 << 1,  /* writes allowed */
	USVM_PTE_ATOMIC = 1 << 2, /* atomics allowed (implies WRITE) */
	/* Only with USVM_DEVICE_OBJECTS, and never with VRAM: */
	USVM_PTE_HOST = 1 << 3, /* target: an address of memory of usvm's that never faults: used
				 * inside sections, like device memory. A buffer object, or what
				 * a peer has */
	USVM_PTE_NULL = 1 << 4, /* target means nothing: reads give zeros, what is written is
				 * dropped, an atomic gives 0 */
};

/** enum usvm_device_flag - what a device is like */
enum usvm_device_flag {
	/* Device memory is the device's own (another process, a file, a simulated
	 * DRAM): usvm copies pages by ops->copy. Without it, device memory is an arena
	 * of this process (host->vram) and pages are moved there without a copy. */
	USVM_DEVICE_OWN_MEMORY = 1 << 0,
	/* Atomics on system pages are not possible: usvm migrates or fails the fault. */
	USVM_DEVICE_NO_SYSTEM_ATOMICS = 1 << 1,
	/* Entries may be USVM_PTE_HOST and USVM_PTE_NULL: buffer objects can be bound, and the
	 * memory of peers used in place. */
	USVM_DEVICE_OBJECTS = 1 << 2,
	/* ops->copy_peer is there; with OWN_MEMORY. */
	USVM_DEVICE_PEER_COPY = 1 << 3,
};

/** struct usvm_section - one engine's side of the section protocol; zeroed at start */
struct usvm_section {
	uint32_t inside; /* atomic */
	uint32_t pad[15]; /* a cache line of its own */
};

/** struct usvm_stop - a device's side: raised while engines must stay outside */
struct usvm_stop {
	uint32_t raised; /* atomic; also a futex word */
	uint32_t pad[15];
};

/**
 * usvm_section_try_enter() - begin a section
 *
 * The order of the two accesses is kept by the barrier that usvm raises on every
 * processor between ops->stop and ops->wait_stopped; the compiler is told here.
 *
 * Return: true: inside; false: stop is raised: do not access; see host->section_wait.
 */
static inline bool usvm_section_try_enter(struct usvm_section *section,
					  const struct usvm_stop *stop)
{
#if defined(__SANITIZE_THREAD__)
	__atomic_store_n(&section->inside, 1, __ATOMIC_SEQ_CST);
	if (__builtin_expect(__atomic_load_n(&stop->raised, __ATOMIC_SEQ_CST) == 0, 1))
		return true;
#else
	__atomic_store_n(&section->inside, 1, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(__atomic_load_n(&stop->raised, __ATOMIC_ACQUIRE) == 0, 1))
		return true;
#endif
	__atomic_store_n(&section->inside, 0, __ATOMIC_RELEASE);
	return false;
}

static inline void usvm_section_leave(struct usvm_section *section)
{
	__atomic_store_n(&section->inside, 0, __ATOMIC_RELEASE);
}

/**
 * struct usvm_device_fault - one fault of an engine; the device's memory until done
 *
 * The device fills the first part and keeps the struct alive and unchanged until
 * ops->fault_done. An engine has at most one fault out.
 */
struct usvm_device_fault {
	uint32_t vm;      /* as given to ops->vm_create */
	uint32_t access;  /* enum usvm_access */
	uint64_t addr;    /* byte address */
	void *token;      /* the device's own */
	/* The rest is usvm's. */
	void *reserved[8];
};

/**
 * struct usvm_device_ops - the device; every op is required but where it says so
 */
struct usvm_device_ops {
	/** attach() - [caller] the device is being opened; @host is valid until detach().
	 * Return: 0 or -errno, which fails the open. */
	int (*attach)(void *device, const struct usvm_device_host *host);

	/** detach() - [caller] everything has come home; no op follows */
	void (*detach)(void *device);

	/** vm_create() - [worker] an address space, empty; @vm is a small number not in use,
	 * which jobs and faults name it by; usvm_vm_create() waits for it.
	 * Return: 0 or -ENOMEM. */
	int (*vm_create)(void *device, uint32_t vm);

	/** vm_destroy() - [worker] nothing is mapped in it any more, no job runs in it */
	void (*vm_destroy)(void *device, uint32_t vm);

	/** pt_prepare() - [worker] make sure that pt_map() of this span cannot fail for
	 * lack of memory. See "At the same time". Return: 0 or -ENOMEM. */
	int (*pt_prepare)(void *device, uint32_t vm, uint64_t addr, uint64_t bytes);

	/** pt_map() - [monitor lock held] write entries; what was there is replaced.
	 * @addr, @bytes: multiples of 4096; @target: see USVM_PTE_VRAM; contiguous.
	 * Engines may run. A larger leaf may be used where all is aligned. */
	void (*pt_map)(void *device, uint32_t vm, uint64_t addr, uint64_t bytes,
		       uint64_t target, uint32_t flags);

	/** pt_clear() - [monitor] remove the entries of exactly this span. A larger leaf that
	 * reaches outside is split: usvm goes on to count on what is outside. Engines that
	 * could use VRAM or HOST entries are stopped. Return: true if any entry was there. */
	bool (*pt_clear)(void *device, uint32_t vm, uint64_t addr, uint64_t bytes);

	/** tlb_flush() - [monitor] forget translations of this span, on every engine.
	 * Called after pt_clear() and before resume(). */
	void (*tlb_flush)(void *device, uint32_t vm, uint64_t addr, uint64_t bytes);

	/** stop() - [monitor] raise the stop flag. May nest: one resume() for each.
	 * Return: true if an engine is active (else the barrier and wait are skipped). */
	bool (*stop)(void *device);

	/** wait_stopped() - [monitor] return when no engine is inside a section. May spin
	 * and yield the processor; sections are short. */
	void (*wait_stopped)(void *device);

	/** resume() - [monitor] drop the flag, wake engines that wait for it */
	void (*resume)(void *device);

	/** copy() - [monitor or worker] only with USVM_DEVICE_OWN_MEMORY: copy between
	 * device memory and @memory, present memory of usvm; synchronous; must not wait
	 * for an engine that may fault. See "At the same time". Return: 0 or -EIO: to the device,
	 * the pages stay at home; from it, each page is asked for once more, alone, and one
	 * that fails again is lost: who touches it gets SIGBUS. */
	int (*copy)(void *device, uint64_t vram_offset, void *memory, uint64_t bytes,
		    bool to_device);

	/** fault_done() - [worker] a fault is answered: 0 translate again; else -errno:
	 * fail the job. Called exactly once for each fault that was accepted. */
	void (*fault_done)(void *device, struct usvm_device_fault *fault, int error);

	/** copy_peer() - [monitor lock held] only with USVM_DEVICE_PEER_COPY: copy from the
	 * memory of @device, at @vram_offset, to that of @peer, at @peer_offset. @peer is the
	 * usvm_device_config.device of another device of the same group (peers= at open) and
	 * with the same copy_peer; neither is detached meanwhile, either may be unplugged.
	 * Synchronous; must not wait for an engine that may fault. Return: 0 or -EIO: the
	 * pages stay with @device. */
	int (*copy_peer)(void *device, uint64_t vram_offset, void *peer, uint64_t peer_offset,
			 uint64_t bytes);
};

/** struct usvm_device_config - what a device author says at open */
struct usvm_device_config {
	const char *name;                /* "example"; not copied */
	const struct usvm_device_ops *ops;
	void *device;                    /* first argument of each op; never migrates: above */
	uint64_t vram_bytes;             /* a multiple of 2 MiB, at least 2 MiB */
	uint32_t flags;                  /* enum usvm_device_flag */
	uint32_t reserved;               /* 0 */
};

/**
 * struct usvm_device_host - usvm's side, handed over at attach
 *
 * @usvm is the first argument of each function.
 */
struct usvm_device_host {
	struct usvm *usvm;
	/* Device memory: where it starts in this process; NULL with OWN_MEMORY. Accessed
	 * inside sections only; an access there never waits for usvm. */
	unsigned char *vram;
	uint64_t vram_bytes;

	/** fault() - [engine] ask for a page; returns at once; fault_done() answers.
	 * Return: 0 accepted; -ENOENT no such vm; -ENODEV closing or unplugged (no answer
	 * will come); -EINVAL. */
	int (*fault)(struct usvm *usvm, struct usvm_device_fault *fault);

	/** access() - [engine] reach a system page as the CPU would; may block, outside
	 * sections only; the entry used must be looked up after the last -EINTR.
	 * @op: USVM_SYSTEM_*; @bytes: within one page. Return: 0; -EFAULT the process
	 * forbids it: fault again; -EINTR translate again. */
	int (*access)(struct usvm *usvm, uint32_t op, uint64_t addr, void *buffer,
		      uint32_t bytes);

	/** report() - [engine] @error ends a job, and no fault_done() said so: access() went
	 * on to refuse what fault() was answered with 0. It joins the failed faults of @vm. */
	void (*report)(struct usvm *usvm, uint32_t vm, uint64_t addr, uint32_t access,
		       int error);

	/** engine_begin() - [engine] before each job: waits until no event is in flight
	 * that the job could miss, and checks the signal handlers. Return: 0 or -ENODEV, which
	 * ends the job: usvm's handlers cannot be put back, or the device is unplugged. */
	int (*engine_begin)(struct usvm *usvm);

	/** engine_register() - [engine] once, at the start of each engine thread, before
	 * it calls access(). Return: 0 or -ENOSPC. */
	int (*engine_register)(struct usvm *usvm);
	/** engine_unregister() - [engine] before the thread ends */
	void (*engine_unregister)(struct usvm *usvm);

	/** section_wait() - [engine] wait while @stop is raised: a short spin, then sleep */
	void (*section_wait)(struct usvm *usvm, struct usvm_stop *stop);
	/** section_wake() - [monitor] wake the engines that section_wait() */
	void (*section_wake)(struct usvm *usvm, struct usvm_stop *stop);

	/** thread_create() - [caller] a thread of the device: every signal blocked but
	 * SIGSEGV and SIGBUS (docs/signals.md), its stack in memory that never migrates.
	 * Return: 0 or -errno. */
	int (*thread_create)(struct usvm *usvm, const char *name, void (*run)(void *),
			     void *arg, void **thread);
	void (*thread_join)(struct usvm *usvm, void *thread);

	/** pages_alloc() - [caller, worker] zeroed memory that never migrates. A device
	 * keeps what ops touch in such memory, never in malloc's. NULL: none. */
	void *(*pages_alloc)(struct usvm *usvm, size_t bytes);
	void (*pages_free)(struct usvm *usvm, void *pages, size_t bytes);
};

/* Operations of host->access(). Atomics: 4 or 8 bytes, aligned; @buffer is
 * uint64_t[2]: operand and compare value in, [0] the value before out. */
enum {
	USVM_SYSTEM_READ = 0,
	USVM_SYSTEM_WRITE = 1,
	USVM_SYSTEM_ADD = 2,
	USVM_SYSTEM_SUB = 3,
	USVM_SYSTEM_AND = 4,
	USVM_SYSTEM_OR = 5,
	USVM_SYSTEM_XOR = 6,
	USVM_SYSTEM_EXCHANGE = 7,
	USVM_SYSTEM_COMPARE_EXCHANGE = 8,
	USVM_SYSTEM_MIN = 9,
	USVM_SYSTEM_MAX = 10,
	USVM_SYSTEM_SIGNED_MIN = 11,
	USVM_SYSTEM_SIGNED_MAX = 12,
};

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/**
 * usvm_device_unplug() - the device is going away, or is gone
 * @device: what opened it; host->usvm to a device
 *
 * From the call on no fault of it is accepted, no page is taken, and vms, queues, jobs and
 * prefetches to it are refused, all with -ENODEV. Its page tables are emptied, with the
 * engines stopped: a job ends at its next access. Then every page comes home; CPU faults
 * are answered meanwhile as ever, and until the call returns the device has to answer
 * copy(). What copy() cannot give back is lost (mm_lost_pages). After it returned
 * successfully device memory is not used any more.
 *
 * The other ops go on, for the handles stay: fences, queues, vms and the device are given
 * back as ever, at any time afterwards, and usvm_close() calls detach(). Called again, it
 * brings home what is left.
 *
 * Context: any thread but those that run an op of a device; may sleep. An engine calls it
 * outside of sections.
 * Return: 0; -EBUSY some pages would not come home, for lack of host memory: call it again,
 * or they come as they are touched; -EBADF not a device; -EINVAL NULL; -ECHILD.
 */
int usvm_device_unplug(struct usvm *device);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
