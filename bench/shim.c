/* SPDX-License-Identifier: MIT */
/*
 * DOC: what does an ioctl of the virtual card cost?
 *
 * To be run by `usvm run`. A call goes through the preloaded ioctl(), finds the card behind
 * the descriptor, is checked and served, all in the process. The rival is the least that a
 * real card would cost: a system call, ioctl() of a pipe. Binds and execs are told with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "examples/xe_client.h"

#define VA_BITS 48
#define CACHED 2 /* the page attributes that keep the CPU's caches coherent */

struct version {
	int32_t numbers[3];
	uint32_t pad;
	uint64_t texts[6];
};

struct query {
	uint64_t extensions;
	uint32_t query, bytes;
	uint64_t data, reserved[2];
};

struct syncobj_create {
	uint32_t handle, flags;
};

struct syncobj_wait {
	uint64_t handles;
	int64_t timeout_ns;
	uint32_t count, flags, first, pad;
	uint64_t deadline_ns;
};

enum { SIGNALED = 1, QUERY_CONFIG = 2 };

#define VERSION _IOWR('d', 0x00, struct version)
#define DEVICE_QUERY _IOWR('d', 0x40, struct query)
#define SYNCOBJ_CREATE _IOWR('d', 0xbf, struct syncobj_create)
#define SYNCOBJ_WAIT _IOWR('d', 0xc3, struct syncobj_wait)

/* The card, an address space and a queue in it, and memory that jobs are in. */
struct card {
	int fd;
	uint32_t vm;
	uint32_t queue;
	struct shared {
		uint32_t batch[8];
		uint64_t bound, done;
	} *shared;
};

static void call(const struct card *card, unsigned long request, void *argument,
		 const char *what)
{
	if (ioctl(card->fd, request, argument))
		bench_fail("%s: %s", what, strerror(errno));
}

static void wait_for(const struct card *card, uint64_t *fence, uint64_t value)
{
	struct wait_user_fence wait = {
		.addr = (uintptr_t)fence,
		.value = value,
		.mask = UINT64_MAX,
		.timeout_ns = 5000000000,
	};

	call(card, WAIT_USER_FENCE, &wait, "WAIT_USER_FENCE");
}

static void bind(const struct card *card, uint32_t flags, uint32_t op, uint64_t addr,
		 uint64_t bytes, uint64_t value)
{
	struct sync sync = {
		.type = SYNC_USER_FENCE,
		.flags = SYNC_SIGNAL,
		.addr = (uintptr_t)&card->shared->bound,
		.value = value,
	};
	struct vm_bind args = {
		.vm = card->vm,
		.count = 1,
		.sync_count = 1,
		.syncs = (uintptr_t)&sync,
		.op = { .op = op, .flags = flags, .pat_index = CACHED, .addr = addr,
			.bytes = bytes },
	};

	call(card, VM_BIND, &args, "VM_BIND");
	wait_for(card, &card->shared->bound, value);
}

static void open_card(struct card *card)
{
	struct vm_create vm = { .flags = VM_LR_MODE | VM_FAULT_MODE };
	struct engine engine = { .engine_class = ENGINE_COPY };
	struct queue_create queue = {
		.width = 1,
		.placement_count = 1,
		.engines = (uintptr_t)&engine,
	};

	card->fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);
	if (card->fd < 0) {
		printf("SKIP: no card: run it by `usvm run`\n");
		exit(77);
	}
	card->shared = (void *)bench_map(BENCH_HUGE, false);
	memset(card->shared, 0, sizeof(*card->shared));
	card->shared->batch[0] = 0x05000000; /* the end */
	call(card, VM_CREATE, &vm, "VM_CREATE");
	card->vm = vm.vm;
	bind(card, BIND_CPU_ADDR_MIRROR, BIND_MAP, 0, 1ull << VA_BITS, 1);
	queue.vm = vm.vm;
	call(card, QUEUE_CREATE, &queue, "QUEUE_CREATE");
	card->queue = queue.queue;
}

/* --- what is called ------------------------------------------------------------------------ */

static void version(const struct card *card, uint64_t i)
{
	struct version args = { { 0 }, 0, { 0 } };

	(void)i;
	call(card, VERSION, &args, "VERSION");
	if (args.numbers[0] == 0 && args.numbers[1] == 0 && args.numbers[2] == 0)
		bench_fail("VERSION gave no version");
}

static void query(const struct card *card, uint64_t i)
{
	uint64_t data[64];
	struct query args = { .query = QUERY_CONFIG };

	(void)i;
	call(card, DEVICE_QUERY, &args, "DEVICE_QUERY");
	if (!args.bytes || args.bytes > sizeof(data))
		bench_fail("DEVICE_QUERY wants %u bytes", args.bytes);
	args.data = (uintptr_t)data;
	call(card, DEVICE_QUERY, &args, "DEVICE_QUERY");
}

static uint32_t signaled; /* a sync object */

static void wait_signaled(const struct card *card, uint64_t i)
{
	struct syncobj_wait args = {
		.handles = (uintptr_t)&signaled,
		.count = 1,
	};

	(void)i;
	call(card, SYNCOBJ_WAIT, &args, "SYNCOBJ_WAIT");
}

static void bind_again(const struct card *card, uint64_t i)
{
	bind(card, BIND_CPU_ADDR_MIRROR, BIND_MAP, 1ull << 40, BENCH_HUGE, i + 2);
}

static void exec(const struct card *card, uint64_t i)
{
	struct sync sync = {
		.type = SYNC_USER_FENCE,
		.flags = SYNC_SIGNAL,
		.addr = (uintptr_t)&card->shared->done,
		.value = i + 1,
	};
	struct exec args = {
		.queue = card->queue,
		.batch = (uintptr_t)card->shared->batch,
		.batch_count = 1,
		.sync_count = 1,
		.syncs = (uintptr_t)&sync,
	};

	call(card, EXEC, &args, "EXEC");
	wait_for(card, &card->shared->done, i + 1);
	if (card->shared->done != i + 1)
		bench_fail("EXEC did not signal");
}

struct subject {
	const char *name;
	void (*run)(const struct card *card, uint64_t i);
	unsigned int calls;  /* ioctls in it */
	unsigned int at_once; /* runs for one sample: a clock is slower than a call */
	bool judged;
};

static const struct subject subjects[] = {
	{ "VERSION", version, 1, 100, true },
	{ "DEVICE_QUERY, its size and the answer", query, 2, 100, true },
	{ "SYNCOBJ_WAIT, signalled before", wait_signaled, 1, 100, true },
	{ "VM_BIND of a mirror, and a wait for it", bind_again, 2, 1, false },
	{ "EXEC of an empty batch, and a wait for it", exec, 2, 1, false },
};

/* One ioctl() of a pipe, in us. */
static double system_call_us(int pipe, unsigned int count)
{
	uint64_t start = bench_now_ns();
	int bytes;

	for (unsigned int i = 0; i < count; i++) {
		if (syscall(SYS_ioctl, pipe, FIONREAD, &bytes) || bytes)
			bench_fail("FIONREAD: %s", strerror(errno));
	}
	return bench_us_since(start) / count;
}

static void measure(struct bench *bench, const struct card *card, const struct subject *subject,
		    int pipe, size_t samples)
{
	struct bench_row *row = bench_row(bench, BENCH_FREE, "us", "%s", subject->name);
	struct bench_side *usvm = bench_side(row, "usvm", samples * bench->rounds);
	struct bench_side *bare = bench_side(row, "a system call", samples * bench->rounds);
	uint64_t done = 0;

	if (subject->judged)
		bench_want(row, BENCH_DISTANCE, BENCH_MEDIAN, 1, 1);
	for (size_t i = 0; i < samples * bench->rounds; i++) {
		uint64_t start = bench_now_ns();

		for (unsigned int j = 0; j < subject->at_once; j++)
			subject->run(card, done++);
		bench_sample(usvm, bench_us_since(start) / subject->at_once /
					   (subject->judged ? subject->calls : 1));
		bench_sample(bare, system_call_us(pipe, subject->at_once));
	}
}

int main(int argc, char **argv)
{
	struct syncobj_create create = { .flags = SIGNALED };
	struct bench bench;
	struct card card;
	int pipes[2];

	bench_init(&bench, "shim", "What does an ioctl of the virtual card cost?", argc, argv);
	bench_core_count();
	if (pipe2(pipes, O_CLOEXEC))
		bench_fail("pipe: %s", strerror(errno));
	open_card(&card);
	call(&card, SYNCOBJ_CREATE, &create, "SYNCOBJ_CREATE");
	signaled = create.handle;
	for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++)
		measure(&bench, &card, &subjects[i], pipes[0], bench.smoke ? 10 : 200);
	close(card.fd);
	close(pipes[0]);
	close(pipes[1]);
	munmap(card.shared, BENCH_HUGE);
	return bench_report(&bench);
}
