/* SPDX-License-Identifier: MIT */
/*
 * DOC: fuzzing the command streamer
 *
 * Any bytes as a batch. The model GPU runs it in the thread of the engine's caller, on the
 * fake host of the unit tests; beside it runs streamer_model.c. The two must agree on the
 * result, on the address and kind of the fault, and on every byte of the window. Memory
 * that is not in the window is not accessible at all.
 *
 * Time is bounded: a batch that the model ends must be ended by the GPU, within seconds of
 * its processor. One that it does not end is a loop: it has to end, with -ECANCELED or
 * another error, as soon as the lane is told to leave; then contents say nothing. So has one
 * of which the model has no opinion, if it does not end by itself.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "fuzz/streamer.h"
#include "gpu/gpu_internal.h"
#include "unit/base/host_posix.h"

#define STEPS_MAX 20000u /* more than the window has dwords */
#define LOOP_NS 300000   /* of processor time */
#define ENDING_S 5

#define END 0x05000000u
#define RUN_LOOPS 0xcu /* flags */
#define FENCE_ADDR (FAKE_ADDR + 2 * PAGE_BYTES + 64)
#define FENCE_VALUE UINT64_C(0xf00dfacecafe0001)

static struct fake_host fake;
static timer_t leave_timer;
static pid_t owner; /* who has set up the rest: an engine may fork its servers */

static struct gpu_engine *engine(void)
{
	return &fake.gpu->engines[0];
}

static void leave(int signal)
{
	(void)signal;
	ATOMIC_STORE(&engine()->lane.stop, &fake.gpu->leave);
}

static void set_up(void)
{
	const struct fake_config config = { .engine_count = 1 };
	struct sigaction action = { .sa_handler = leave, .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };

	host_posix_start();
	fake_start(&fake, &config);
	FUZZ_CHECK(!mprotect(fake.vram + STREAMER_BYTES, FAKE_VRAM_BYTES - STREAMER_BYTES,
			     PROT_NONE), "vram");
	FUZZ_CHECK(!mprotect(fake.ram + STREAMER_BYTES,
			     FAKE_PAGES * PAGE_BYTES - STREAMER_BYTES, PROT_NONE), "ram");
	fake_place(&fake, 0, FAKE_PAGES, FAKE_NOTHING, 0);
	FUZZ_CHECK(!sigaction(SIGRTMIN, &action, NULL), "sigaction");
	FUZZ_CHECK(!timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &leave_timer), "timer");
	owner = getpid();
}

static void set_timer(time_t seconds, long ns)
{
	const struct itimerspec time = {
		.it_value = { .tv_sec = seconds, .tv_nsec = ns },
		.it_interval = { .tv_sec = seconds, .tv_nsec = ns },
	};

	FUZZ_CHECK(!timer_settime(leave_timer, 0, &time, NULL), "timer");
}

static void done(struct gpu_job *job)
{
	(void)job;
}

/* What an engine thread does with a job: here its thread sleeps, and we are the engine. */
static void run(struct gpu_job *job)
{
	struct gpu *gpu = fake.gpu;

	lock_acquire(&gpu->queue_lock);
	engine()->vm = gpu->vms[FAKE_VM];
	ATOMIC_STORE(&engine()->lane.stop, &gpu->stop);
	lock_release(&gpu->queue_lock);
	job->error = engine_run_job(engine(), job);
	lock_acquire(&gpu->queue_lock);
	engine()->vm = NULL;
	lock_release(&gpu->queue_lock);
}

static unsigned char *memory_of(unsigned int page)
{
	return (fake.page[page].place == FAKE_RAM ? fake.ram : fake.vram) +
	       page * PAGE_BYTES;
}

/* Nothing is mapped, the pages are where the input says, with the contents of @image. */
static void set_window(const unsigned char *image, uint32_t nibbles)
{
	static const enum fake_place places[4] = { FAKE_VRAM, FAKE_RAM, FAKE_NOTHING,
						   FAKE_VRAM };

	fake_quiet_begin(&fake);
	fake_revoke(&fake, 0, STREAMER_PAGES);
	fake_quiet_end(&fake);
	for (unsigned int i = 0; i < STREAMER_PAGES; i++, nibbles >>= 4)
		fake_place(&fake, i, 1, places[nibbles & 3],
			   (nibbles & 4 ? 0u : USVM_PTE_WRITE) |
				   (nibbles & 0xc ? 0u : USVM_PTE_ATOMIC));
	memcpy(fake.vram, image, STREAMER_BYTES);
	memcpy(fake.ram, image, STREAMER_BYTES);
}

static void compare(const struct streamer_model *model, const unsigned char *image,
		    const struct gpu_job *job)
{
	FUZZ_CHECK(job->error == model->error, "gpu %d, model %d at %#" PRIx64, job->error,
		   model->error, model->fault_addr);
	FUZZ_CHECK(job->fault_addr == model->fault_addr, "gpu %#" PRIx64 ", model %#" PRIx64,
		   job->fault_addr, model->fault_addr);
	FUZZ_CHECK(job->fault_access == model->fault_access, "gpu %u, model %u",
		   job->fault_access, model->fault_access);
	for (unsigned int i = 0; i < STREAMER_PAGES; i++) {
		const unsigned char *here = memory_of(i);
		const unsigned char *other = fake.page[i].place == FAKE_RAM ? fake.vram :
									      fake.ram;
		size_t at = i * PAGE_BYTES;

		FUZZ_CHECK(!memcmp(here, model->image + at, PAGE_BYTES), "page %u", i);
		FUZZ_CHECK(!memcmp(other + at, image + at, PAGE_BYTES),
			   "page %u where it is not", i);
	}
}

static bool is_error_of_a_job(int error)
{
	return !error || error == -EINVAL || error == -EPROTO || error == -EFAULT ||
	       error == -EPERM || error == -EACCES || error == -ECANCELED;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	static unsigned char image[STREAMER_BYTES];
	static struct streamer_model model;
	bool ends;
	struct fuzz_input in = { bytes, count };
	uint32_t flags = fuzz_take8(&in);
	uint64_t start = fuzz_take(&in, 3) % (STREAMER_BYTES / 4) * 4;
	uint32_t nibbles = (uint32_t)fuzz_take(&in, 4);
	struct gpu_job job = {
		.type = GPU_JOB_BATCH,
		.done = done,
		.batch_addr = FAKE_ADDR + start,
		.user_fence_addr = flags & 1 ? FENCE_ADDR : 0,
		.user_fence_value = FENCE_VALUE,
	};

	if (owner != getpid())
		set_up();
	for (size_t at = 0; at < STREAMER_BYTES; at += 4)
		memcpy(image + at, &(uint32_t){ flags & 2 ? 0 : END }, 4);
	if (in.left)
		memcpy(image + start, in.at, MIN(in.left, STREAMER_BYTES - start));
	set_window(image, nibbles);
	fake.interrupts_left = flags >> 4;

	memcpy(model.image, image, sizeof(image));
	memcpy(model.page, fake.page, sizeof(model.page));
	model.steps_left = STEPS_MAX;
	streamer_model_run(&model, job.batch_addr, job.user_fence_addr, FENCE_VALUE);
	if (model.error == -ECANCELED && (flags & RUN_LOOPS) != RUN_LOOPS)
		return -1; /* for libFuzzer: not worth keeping */

	ends = model.error != -ECANCELED && model.error != STREAMER_NO_OPINION;
	set_timer(ends ? ENDING_S : 0, ends ? 0 : LOOP_NS);
	run(&job);
	set_timer(0, 0);
	FUZZ_CHECK(is_error_of_a_job(job.error), "%d", job.error);
	FUZZ_CHECK(job.error != -EINVAL || job.fault_addr % 4 == 0, "%#" PRIx64,
		   job.fault_addr);
	if (ends)
		compare(&model, image, &job);
	return 0;
}
