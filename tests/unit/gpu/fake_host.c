/* SPDX-License-Identifier: MIT */
/* fake_host.c - see fake_host.h. Test code: it may abort, print and use malloc. */
#include "gpu/fake_host.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/host_posix.h"

#define CHECK(expression) ((expression) ? (void)0 : check_failed(#expression, __LINE__))

struct fake_thread {
	pthread_t handle;
	void (*run)(void *arg);
	void *arg;
};

static void check_failed(const char *expression, int line)
{
	fprintf(stderr, "fake_host.c:%d: %s\n", line, expression);
	abort();
}

static struct fake_host *fake_of(struct usvm *usvm)
{
	return (struct fake_host *)(void *)usvm;
}

static void *map_memory(uint64_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

/* Count down to 0. Return: it was not 0 yet. */
static bool take_one(uint32_t *left)
{
	uint32_t value = ATOMIC_LOAD(left);

	while (value && !ATOMIC_COMPARE_EXCHANGE(left, &value, value - 1))
		;
	return value != 0;
}

/* --- faults ---------------- */

void fake_map(struct fake_host *fake, unsigned int first, unsigned int count)
{
	CHECK(!fake->ops->pt_prepare(fake->gpu, FAKE_VM, fake_addr(first),
				     count * PAGE_BYTES));
	for (unsigned int i = first; i < first + count; i++) {
		const struct fake_page *page = &fake->page[i];

		if (page->place == FAKE_VRAM)
			fake->ops->pt_map(fake->gpu, FAKE_VM, fake_addr(i), PAGE_BYTES,
					  i * PAGE_BYTES, page->flags | USVM_PTE_VRAM);
		else if (page->place == FAKE_RAM)
			fake->ops->pt_map(fake->gpu, FAKE_VM, fake_addr(i), PAGE_BYTES,
					  (uintptr_t)fake->ram + i * PAGE_BYTES,
					  page->flags);
	}
}

static void answer(struct fake_host *fake, struct usvm_device_fault *fault)
{
	uint64_t index = (fault->addr - FAKE_ADDR) / PAGE_BYTES;
	int err = 0;

	CHECK(fault->vm == FAKE_VM);
	pthread_mutex_lock(&fake->page_mutex);
	if (fault->addr < FAKE_ADDR || index >= FAKE_PAGES) {
		err = -EFAULT;
	} else if (fake->page[index].place == FAKE_NOTHING) {
		err = fake->fault_error;
	} else if (fault->access == USVM_ACCESS_WRITE &&
		   !(fake->page[index].flags & USVM_PTE_WRITE)) {
		err = -EPERM;
	} else if (fault->access == USVM_ACCESS_ATOMIC &&
		   !(fake->page[index].flags & USVM_PTE_ATOMIC)) {
		err = -EACCES;
	} else if (!take_one(&fake->answers_left)) {
		fake_map(fake, (unsigned int)index, 1);
	}
	pthread_mutex_unlock(&fake->page_mutex);
	fake->ops->fault_done(fake->gpu, fault, err);
}

static void *worker_main(void *arg)
{
	struct fake_host *fake = arg;

	host_posix_become(true, false);
	pthread_mutex_lock(&fake->mutex);
	for (;;) {
		struct usvm_device_fault *fault;

		if (!fake->pending_count) {
			if (fake->closing)
				break;
			pthread_cond_wait(&fake->work, &fake->mutex);
			continue;
		}
		fault = fake->pending[--fake->pending_count];
		pthread_mutex_unlock(&fake->mutex);
		answer(fake, fault);
		pthread_mutex_lock(&fake->mutex);
	}
	pthread_mutex_unlock(&fake->mutex);
	return NULL;
}

static int host_fault(struct usvm *usvm, struct usvm_device_fault *fault)
{
	struct fake_host *fake = fake_of(usvm);

	ATOMIC_ADD(&fake->fault_count, 1);
	ATOMIC_STORE(&fake->last_fault.addr, fault->addr);
	ATOMIC_STORE(&fake->last_fault.access, fault->access);
	if (fake->fault_refused)
		return fake->fault_refused;
	if (!fake->has_worker) {
		answer(fake, fault);
		return 0;
	}
	pthread_mutex_lock(&fake->mutex);
	CHECK(fake->pending_count < ARRAY_SIZE(fake->pending));
	fake->pending[fake->pending_count++] = fault;
	pthread_cond_signal(&fake->work);
	pthread_mutex_unlock(&fake->mutex);
	return 0;
}

/* --- system pages ---------------- */

static uint64_t atomic_value(uint32_t op, uint64_t old, uint64_t operand, uint64_t compare,
			     bool is_less)
{
	switch (op) {
	case USVM_SYSTEM_ADD:
		return old + operand;
	case USVM_SYSTEM_SUB:
		return old - operand;
	case USVM_SYSTEM_AND:
		return old & operand;
	case USVM_SYSTEM_OR:
		return old | operand;
	case USVM_SYSTEM_XOR:
		return old ^ operand;
	case USVM_SYSTEM_EXCHANGE:
		return operand;
	case USVM_SYSTEM_COMPARE_EXCHANGE:
		return old == compare ? operand : old;
	case USVM_SYSTEM_MIN:
		return MIN(old, operand);
	case USVM_SYSTEM_MAX:
		return MAX(old, operand);
	case USVM_SYSTEM_SIGNED_MIN:
		return is_less ? old : operand;
	case USVM_SYSTEM_SIGNED_MAX:
		return is_less ? operand : old;
	default:
		abort();
	}
}

static uint64_t ram_atomic(uint32_t op, void *memory, uint64_t operand, uint64_t compare,
			   uint32_t bytes)
{
	uint32_t old32;
	uint64_t old64;

	if (bytes == 8) {
		old64 = ATOMIC_LOAD((uint64_t *)memory);
		while (!ATOMIC_COMPARE_EXCHANGE(
			(uint64_t *)memory, &old64,
			atomic_value(op, old64, operand, compare,
				     (int64_t)old64 < (int64_t)operand)))
			;
		return old64;
	}
	old32 = ATOMIC_LOAD((uint32_t *)memory);
	while (!ATOMIC_COMPARE_EXCHANGE(
		(uint32_t *)memory, &old32,
		(uint32_t)atomic_value(op, old32, (uint32_t)operand, (uint32_t)compare,
				       (int32_t)old32 < (int32_t)operand)))
		;
	return old32;
}

static void ram_access(uint32_t op, unsigned char *memory, void *buffer, uint32_t bytes)
{
	if (op >= USVM_SYSTEM_ADD) {
		uint64_t *operands = buffer;

		CHECK((uintptr_t)memory % bytes == 0);
		operands[0] = ram_atomic(op, memory, operands[0], operands[1], bytes);
	} else if (op == USVM_SYSTEM_READ && bytes == 4 && (uintptr_t)memory % 4 == 0) {
		uint32_t word = ATOMIC_LOAD((uint32_t *)(void *)memory);

		memcpy(buffer, &word, 4);
	} else if (op == USVM_SYSTEM_READ) {
		memcpy(buffer, memory, bytes);
	} else if (bytes == 4 && (uintptr_t)memory % 4 == 0) {
		uint32_t word;

		memcpy(&word, buffer, 4);
		ATOMIC_STORE((uint32_t *)(void *)memory, word);
	} else {
		memcpy(memory, buffer, bytes);
	}
}

static int host_access(struct usvm *usvm, uint32_t op, uint64_t addr, void *buffer,
		       uint32_t bytes)
{
	struct fake_host *fake = fake_of(usvm);
	uint64_t offset = addr - (uintptr_t)fake->ram;
	int err = 0;

	CHECK(offset < FAKE_PAGES * PAGE_BYTES);
	CHECK(offset % PAGE_BYTES + bytes <= PAGE_BYTES);
	ATOMIC_ADD(&fake->access_count, 1);
	if (take_one(&fake->interrupts_left))
		return -EINTR;

	pthread_mutex_lock(&fake->page_mutex);
	if (fake->page[offset / PAGE_BYTES].place != FAKE_RAM)
		err = -EINTR; /* the page is on the device by now */
	else if (span_contains(fake->forbidden, offset))
		err = -EFAULT;
	else
		ram_access(op, fake->ram + offset, buffer, bytes);
	pthread_mutex_unlock(&fake->page_mutex);
	return err;
}

static void host_report(struct usvm *usvm, uint32_t vm, uint64_t addr, uint32_t access,
			int error)
{
	struct fake_host *fake = fake_of(usvm);

	CHECK(vm == FAKE_VM && error);
	ATOMIC_ADD(&fake->report_count, 1);
	ATOMIC_STORE(&fake->last_report.addr, addr);
	ATOMIC_STORE(&fake->last_report.access, access);
}

/* --- engines ---------------- */

static int host_engine_begin(struct usvm *usvm)
{
	struct fake_host *fake = fake_of(usvm);

	ATOMIC_ADD(&fake->begin_count, 1);
	return fake->begin_error;
}

static int host_engine_register(struct usvm *usvm)
{
	struct fake_host *fake = fake_of(usvm);

	if (fake->register_error)
		return fake->register_error;
	ATOMIC_ADD(&fake->registered_count, 1);
	return 0;
}

static void host_engine_unregister(struct usvm *usvm)
{
	ATOMIC_SUB(&fake_of(usvm)->registered_count, 1);
}

static void host_section_wait(struct usvm *usvm, struct usvm_stop *stop)
{
	ATOMIC_ADD(&fake_of(usvm)->section_wait_count, 1);
	for (int spins = 0; spins < 100; spins++) {
		if (!ATOMIC_LOAD(&stop->raised))
			return;
		cpu_relax();
	}
	for (;;) {
		uint32_t raised = ATOMIC_LOAD(&stop->raised);

		if (!raised)
			return;
		base_host->park(&stop->raised, raised, BASE_FOREVER);
	}
}

static void host_section_wake(struct usvm *usvm UNUSED, struct usvm_stop *stop)
{
	base_host->unpark(&stop->raised, INT32_MAX);
}

static void *thread_main(void *arg)
{
	struct fake_thread *thread = arg;

	host_posix_become(true, false);
	thread->run(thread->arg);
	return NULL;
}

static int host_thread_create(struct usvm *usvm, const char *name, void (*run)(void *),
			      void *arg, void **thread)
{
	struct fake_thread *t;

	if (!take_one(&fake_of(usvm)->threads_left))
		return -EAGAIN;
	t = malloc(sizeof(*t));
	CHECK(t && strlen(name) <= 15 && !strncmp(name, "usvm-engine", 11));
	t->run = run;
	t->arg = arg;
	*thread = t;
	CHECK(!pthread_create(&t->handle, NULL, thread_main, t));
	return 0;
}

static void host_thread_join(struct usvm *usvm UNUSED, void *thread)
{
	struct fake_thread *t = thread;

	CHECK(!pthread_join(t->handle, NULL));
	free(t);
}

/* --- life cycle ---------------- */

void fake_start(struct fake_host *fake, const struct fake_config *config)
{
	struct gpu_config gpu_config = {
		.vram_bytes = FAKE_VRAM_BYTES,
		.engine_count = config->engine_count,
		.own_memory = config->own_memory,
		.no_system_atomics = config->no_system_atomics,
	};

	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	memset(fake, 0, sizeof(*fake));
	fake->ram = map_memory(FAKE_PAGES * PAGE_BYTES);
	if (!config->own_memory)
		fake->vram = map_memory(FAKE_VRAM_BYTES);
	fake->has_worker = config->worker;
	fake->fault_error = -EFAULT;
	wait_init(&fake->done);
	fake->threads_left = UINT32_MAX;
	pthread_mutex_init(&fake->mutex, NULL);
	pthread_mutex_init(&fake->page_mutex, NULL);
	pthread_cond_init(&fake->work, NULL);
	fake_place(fake, 0, FAKE_PAGES, FAKE_VRAM, USVM_PTE_WRITE | USVM_PTE_ATOMIC);
	fake->host = (struct usvm_device_host){
		.usvm = (struct usvm *)(void *)fake,
		.vram = fake->vram,
		.vram_bytes = FAKE_VRAM_BYTES,
		.fault = host_fault,
		.access = host_access,
		.report = host_report,
		.engine_begin = host_engine_begin,
		.engine_register = host_engine_register,
		.engine_unregister = host_engine_unregister,
		.section_wait = host_section_wait,
		.section_wake = host_section_wake,
		.thread_create = host_thread_create,
		.thread_join = host_thread_join,
	};
	if (fake->has_worker)
		CHECK(!pthread_create(&fake->worker, NULL, worker_main, fake));
	CHECK(!gpu_create(NULL, &gpu_config, &fake->gpu));
	fake->ops = gpu_ops();
	CHECK(!fake->ops->attach(fake->gpu, &fake->host));
	CHECK(!fake->ops->vm_create(fake->gpu, FAKE_VM));
}

void fake_stop(struct fake_host *fake)
{
	fake->ops->vm_destroy(fake->gpu, FAKE_VM);
	fake->ops->detach(fake->gpu);
	CHECK(!ATOMIC_LOAD(&fake->registered_count));
	gpu_destroy(fake->gpu);
	if (fake->has_worker) {
		pthread_mutex_lock(&fake->mutex);
		fake->closing = true;
		pthread_cond_signal(&fake->work);
		pthread_mutex_unlock(&fake->mutex);
		CHECK(!pthread_join(fake->worker, NULL));
	}
	if (fake->vram)
		munmap(fake->vram, FAKE_VRAM_BYTES);
	munmap(fake->ram, FAKE_PAGES * PAGE_BYTES);
	pthread_cond_destroy(&fake->work);
	pthread_mutex_destroy(&fake->mutex);
	pthread_mutex_destroy(&fake->page_mutex);
}

void fake_place(struct fake_host *fake, unsigned int first, unsigned int count,
		enum fake_place place, uint32_t flags)
{
	for (unsigned int i = first; i < first + count; i++)
		fake->page[i] = (struct fake_page){ .place = place, .flags = flags };
}

void fake_quiet_begin(struct fake_host *fake)
{
	if (!fake->ops->stop(fake->gpu))
		return;
	CHECK(!syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	fake->ops->wait_stopped(fake->gpu);
}

void fake_quiet_end(struct fake_host *fake)
{
	fake->ops->resume(fake->gpu);
}

void fake_revoke(struct fake_host *fake, unsigned int first, unsigned int count)
{
	fake->ops->pt_clear(fake->gpu, FAKE_VM, fake_addr(first), count * PAGE_BYTES);
	fake->ops->tlb_flush(fake->gpu, FAKE_VM, fake_addr(first), count * PAGE_BYTES);
}

void fake_move(struct fake_host *fake, unsigned int page, enum fake_place place)
{
	unsigned char *frame = fake->vram + page * PAGE_BYTES;
	unsigned char *ram = fake->ram + page * PAGE_BYTES;

	pthread_mutex_lock(&fake->page_mutex);
	if (fake->page[page].place != place) {
		fake_quiet_begin(fake);
		fake_revoke(fake, page, 1);
		if (place == FAKE_VRAM)
			memcpy(frame, ram, PAGE_BYTES);
		else
			memcpy(ram, frame, PAGE_BYTES);
		memset(place == FAKE_VRAM ? ram : frame, 0xee, PAGE_BYTES);
		fake->page[page].place = place;
		fake_quiet_end(fake);
	}
	pthread_mutex_unlock(&fake->page_mutex);
}

/* --- jobs ---------------- */

static void job_done(struct gpu_job *gpu_job)
{
	struct fake_job *job = CONTAINER_OF(gpu_job, struct fake_job, job);
	struct fake_host *fake = job->fake;
	static uint32_t order; /* atomic */

	job->order = ATOMIC_ADD(&order, 1);
	ATOMIC_STORE(&job->is_done, 1); /* it may be gone from here on */
	wait_wake_all(&fake->done);
}

void fake_job_kernel(struct fake_host *fake, struct fake_job *job, usvm_kernel_fn kernel,
		     uint32_t groups, const void *args, uint32_t args_bytes)
{
	memset(job, 0, sizeof(*job));
	job->fake = fake;
	job->job.done = job_done;
	job->job.type = GPU_JOB_KERNEL;
	job->job.kernel = kernel;
	job->job.groups[0] = groups;
	job->job.groups[1] = 1;
	job->job.groups[2] = 1;
	job->job.args_bytes = args_bytes;
	CHECK(args_bytes <= sizeof(job->job.args));
	memcpy(job->job.args, args, args_bytes);
}

void fake_job_batch(struct fake_host *fake, struct fake_job *job, uint64_t addr)
{
	memset(job, 0, sizeof(*job));
	job->fake = fake;
	job->job.done = job_done;
	job->job.type = GPU_JOB_BATCH;
	job->job.batch_addr = addr;
}

int fake_job_wait(struct fake_job *job)
{
	for (;;) {
		uint32_t ticket = wait_ticket(&job->fake->done);

		if (ATOMIC_LOAD(&job->is_done))
			return job->job.error;
		wait_sleep(&job->fake->done, ticket, BASE_FOREVER);
	}
}

int fake_run(struct gpu_queue *queue, struct fake_job *job)
{
	int err = gpu_queue_submit(queue, &job->job);

	return err ? err : fake_job_wait(job);
}

struct gpu_queue *fake_queue(struct fake_host *fake)
{
	struct gpu_queue *queue;

	CHECK(!gpu_queue_create(fake->gpu, FAKE_VM, &queue));
	return queue;
}
