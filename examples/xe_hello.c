/* SPDX-License-Identifier: MIT */
/*
 * xe_hello - a client of the Xe driver: the GPU writes to memory from malloc().
 *
 *     usvm run -- ./xe_hello
 *
 * It uses nothing of usvm: on a machine with a card and a kernel that has SVM it would run
 * as it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xe_client.h"

#define VA_BITS 48
#define CACHED 2 /* the page attributes that keep the CPU's caches coherent */
#define DONE 1

/* What the GPU reads and writes: ordinary memory. */
struct shared {
	uint32_t batch[8];
	uint32_t answer;
	uint64_t bound, done;
};

static int card;

static void call(unsigned long request, void *argument, const char *what)
{
	if (!ioctl(card, request, argument))
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void wait_for(uint64_t *fence)
{
	struct wait_user_fence wait = {
		.addr = (uintptr_t)fence,
		.value = DONE,
		.mask = UINT64_MAX,
		.timeout_ns = 5000000000,
	};

	call(WAIT_USER_FENCE, &wait, "WAIT_USER_FENCE");
}

int main(void)
{
	struct vm_create vm = { .flags = VM_LR_MODE | VM_FAULT_MODE };
	struct engine engine = { .engine_class = ENGINE_COPY };
	struct queue_create queue = { .width = 1, .placement_count = 1 };
	struct sync sync = { .type = SYNC_USER_FENCE, .flags = SYNC_SIGNAL, .value = DONE };
	struct vm_bind bind = { .count = 1, .sync_count = 1, .syncs = (uintptr_t)&sync };
	struct exec exec = { .batch_count = 1, .sync_count = 1, .syncs = (uintptr_t)&sync };
	struct shared *shared = calloc(1, sizeof(*shared));

	card = open("/dev/dri/renderD128", O_RDWR);
	if (card < 0 || !shared) {
		perror("/dev/dri/renderD128");
		fprintf(stderr, "(start it by: usvm run -- xe_hello)\n");
		return 1;
	}

	/* An address space in which every pointer of this program is valid on the GPU. */
	call(VM_CREATE, &vm, "VM_CREATE");
	bind.vm = vm.vm;
	bind.op.op = BIND_MAP;
	bind.op.flags = BIND_CPU_ADDR_MIRROR;
	bind.op.pat_index = CACHED;
	bind.op.bytes = 1ull << VA_BITS;
	sync.addr = (uintptr_t)&shared->bound;
	call(VM_BIND, &bind, "VM_BIND");
	wait_for(&shared->bound);

	/* Store 42, then end. */
	shared->batch[0] = 0x10000002;
	shared->batch[1] = (uint32_t)(uintptr_t)&shared->answer;
	shared->batch[2] = (uint32_t)((uint64_t)(uintptr_t)&shared->answer >> 32);
	shared->batch[3] = 42;
	shared->batch[4] = 0x05000000;

	queue.vm = vm.vm;
	queue.engines = (uintptr_t)&engine;
	call(QUEUE_CREATE, &queue, "QUEUE_CREATE");
	exec.queue = queue.queue;
	exec.batch = (uintptr_t)shared->batch;
	sync.addr = (uintptr_t)&shared->done;
	call(EXEC, &exec, "EXEC");
	wait_for(&shared->done);

	printf("%u\n", shared->answer);
	close(card);
	free(shared);
	return 0;
}
