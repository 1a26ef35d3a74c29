/* SPDX-License-Identifier: MIT */
/*
 * fake_host.h - usvm as the model GPU sees it, without usvm: for gpu's tests.
 *
 * One address space (number FAKE_VM) with a window of pages. Page i of the window
 * may be given device memory (frame i) or a page of `ram` (page i), or nothing;
 * the host maps it when the GPU faults there.
 *
 *     FAKE_ADDR                 window, FAKE_PAGES pages
 *         |  place[0]  |  place[1]  | ...
 *               |            |
 *          vram frame 0   ram page 1
 *
 * Faults are answered in fault() itself or by a thread (fake_config.worker).
 */
#ifndef TESTS_UNIT_GPU_FAKE_HOST_H
#define TESTS_UNIT_GPU_FAKE_HOST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/wait.h"
#include "gpu/gpu.h"
#include "usvm/device.h"

#define FAKE_VM 7u
#define FAKE_PAGES 1536u
#define FAKE_ADDR UINT64_C(0x123400000000) /* 2 MiB aligned */
#define FAKE_NOWHERE UINT64_C(0x7fff12345000)
#define FAKE_VRAM_BYTES MIB(6)

enum fake_place {
	FAKE_VRAM,
	FAKE_RAM,
	FAKE_NOTHING, /* a fault there is answered with fault_error */
};

struct fake_page {
	enum fake_place place;
	uint32_t flags; /* enum usvm_pte_flag, without VRAM */
};

struct fake_config {
	uint32_t engine_count;
	bool own_memory;
	bool no_system_atomics;
	bool worker; /* faults are answered by a thread of their own */
};

struct fake_fault {
	uint64_t addr;
	uint32_t access;
};

struct fake_host {
	struct usvm_device_host host;
	struct gpu *gpu;
	const struct usvm_device_ops *ops; /* of the gpu */
	unsigned char *vram;               /* NULL with own_memory */
	unsigned char *ram;                /* FAKE_PAGES pages */

	struct fake_page page[FAKE_PAGES];
	int fault_error;   /* for FAKE_NOTHING */
	int fault_refused; /* what fault() returns; 0: accepts */
	int begin_error;
	uint32_t
		answers_left; /* after so many faults the answer is 0 and no page; atomic */
	uint32_t interrupts_left; /* so many times access() says -EINTR; atomic */
	struct span forbidden;    /* of ram: access() says -EFAULT; atomic words */

	/* What happened. Atomic. */
	uint32_t fault_count;
	uint32_t access_count;
	uint32_t begin_count;
	uint32_t registered_count;
	uint32_t threads_left; /* so many threads can be made, then -EAGAIN */
	int register_error;
	struct fake_fault last_fault;
	uint32_t report_count;
	struct fake_fault last_report;

	uint32_t section_wait_count;

	struct wait done; /* a job has ended */

	/* page[], mapping by it, and accesses to ram; engines take it outside sections. */
	pthread_mutex_t page_mutex;

	pthread_t worker;
	pthread_mutex_t mutex;
	pthread_cond_t work;
	struct usvm_device_fault *pending[16];
	unsigned int pending_count;
	bool has_worker;
	bool closing;
};

/* fake_start() - a GPU, attached, with FAKE_VM; every page is FAKE_VRAM and allows all */
void fake_start(struct fake_host *fake, const struct fake_config *config);
void fake_stop(struct fake_host *fake);

/* fake_place() - @count pages from @first on; nothing is mapped by that */
void fake_place(struct fake_host *fake, unsigned int first, unsigned int count,
		enum fake_place place, uint32_t flags);

/* fake_addr() - where page @page of the window starts */
static inline uint64_t fake_addr(unsigned int page)
{
	return FAKE_ADDR + page * PAGE_BYTES;
}

/* fake_map() - map pages now, as a fault would. */
void fake_map(struct fake_host *fake, unsigned int first, unsigned int count);

/* fake_quiet_begin() - what usvm does before it reads an event; ..._end() resumes */
void fake_quiet_begin(struct fake_host *fake);
void fake_quiet_end(struct fake_host *fake);

/* fake_revoke() - in a quiet time: clear and flush. */
void fake_revoke(struct fake_host *fake, unsigned int first, unsigned int count);

/* fake_move() - take one page, with its contents, to the other memory, under the eyes
 * of running engines */
void fake_move(struct fake_host *fake, unsigned int page, enum fake_place place);

/* A job that the test can wait for. */
struct fake_job {
	struct gpu_job job; /* first */
	struct fake_host *fake;
	uint32_t is_done; /* atomic */
	uint32_t order;   /* the how-manieth job of all to end */
};

void fake_job_kernel(struct fake_host *fake, struct fake_job *job, usvm_kernel_fn kernel,
		     uint32_t groups, const void *args, uint32_t args_bytes);
void fake_job_batch(struct fake_host *fake, struct fake_job *job, uint64_t addr);

/* fake_job_wait() - until done(). Return: job.error. */
int fake_job_wait(struct fake_job *job);

/* fake_run() - submit, wait. Return: job.error. */
int fake_run(struct gpu_queue *queue, struct fake_job *job);

/* fake_queue() - a queue of FAKE_VM */
struct gpu_queue *fake_queue(struct fake_host *fake);

#endif
