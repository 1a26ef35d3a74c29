/* SPDX-License-Identifier: MIT */
/*
 * client.h - what the test clients of a virtual card share: each call either works or ends
 * the program with a line that says which did not.
 */
#ifndef TESTS_SHIM_CLIENT_H
#define TESTS_SHIM_CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "xe/uapi.h"

#define PAGE 4096u
#define CACHED 2
#define DONE 0xd0e

#define CHECK(condition)                                                                  \
	((condition) ? (void)0 :                                                          \
		       (fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, \
				strerror(errno)),                                         \
			exit(1)))

#define REQUEST(number, type) _IOC(_IOC_READ | _IOC_WRITE, XE_IOCTL_TYPE, number, sizeof(type))

struct client {
	int fd;
	uint32_t vm, queue, other_vm;
	uint64_t *fence; /* in a page of its own, shared memory */
};

static inline uint32_t client_vm(struct client *c, uint32_t flags)
{
	struct xe_vm_create args = { .flags = flags };

	CHECK(!ioctl(c->fd, REQUEST(XE_VM_CREATE, struct xe_vm_create), &args));
	return args.vm;
}

static inline uint32_t client_queue(struct client *c, uint32_t vm)
{
	struct {
		uint16_t engine_class, instance, gt, pad;
	} engine = { .engine_class = 1 };
	struct xe_exec_queue_create args = {
		.width = 1, .placement_count = 1, .vm = vm, .instances = (uintptr_t)&engine,
	};

	CHECK(!ioctl(c->fd, REQUEST(XE_EXEC_QUEUE_CREATE, struct xe_exec_queue_create), &args));
	return args.queue;
}

static inline int client_bind(struct client *c, uint32_t vm, const struct xe_bind_op *op)
{
	struct xe_vm_bind args = { .vm = vm, .count = 1, .op = *op };

	return ioctl(c->fd, REQUEST(XE_VM_BIND, struct xe_vm_bind), &args) ? -errno : 0;
}

/* A fault-mode address space that mirrors the process, and a queue. */
static inline void client_open(struct client *c)
{
	const struct xe_bind_op mirror = {
		.op = XE_BIND_MAP, .flags = XE_BIND_MIRROR, .pat_index = CACHED,
		.bytes = 1ull << 48,
	};

	c->fd = open("/dev/dri/renderD128", O_RDWR);
	CHECK(c->fd >= 0);
	c->vm = client_vm(c, XE_VM_LR_MODE | XE_VM_FAULT_MODE);
	CHECK(!client_bind(c, c->vm, &mirror));
	c->queue = client_queue(c, c->vm);
	c->fence = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(c->fence != MAP_FAILED);
}

static inline int client_exec(struct client *c, uint32_t queue, uint64_t batch,
			      struct xe_sync *sync)
{
	struct xe_exec args = {
		.queue = queue, .batch_count = batch ? 1 : 0, .addr = batch,
		.sync_count = sync ? 1 : 0, .syncs = (uintptr_t)sync,
	};

	return ioctl(c->fd, REQUEST(XE_EXEC, struct xe_exec), &args) ? -errno : 0;
}

static inline int client_wait(struct client *c, uint32_t queue)
{
	struct xe_wait_user_fence args = {
		.addr = (uintptr_t)c->fence, .value = DONE, .mask = UINT64_MAX,
		.timeout_ns = 5000000000, .queue = queue,
	};

	return ioctl(c->fd, REQUEST(XE_WAIT_USER_FENCE, struct xe_wait_user_fence), &args) ?
		       -errno :
		       0;
}

/* The commands that store @value at @at, written to @batch. */
static inline void client_store(uint32_t *batch, uint64_t at, uint32_t value)
{
	const uint32_t commands[] = {
		0x10000002, (uint32_t)at, (uint32_t)(at >> 32), value, 0x05000000, 0,
	};

	memcpy(batch, commands, sizeof(commands));
}

/* The GPU stores @value at the begin of @page, with commands in its second half. */
static inline void client_run(struct client *c, void *page, uint32_t value)
{
	uint32_t *batch = (void *)((char *)page + PAGE / 2);
	struct xe_sync sync = {
		.type = XE_SYNC_USER_FENCE, .flags = 1, .handle = (uintptr_t)c->fence,
		.value = DONE,
	};

	*c->fence = 0;
	client_store(batch, (uintptr_t)page, value);
	CHECK(!client_exec(c, c->queue, (uintptr_t)batch, &sync));
	CHECK(!client_wait(c, c->queue));
}

#endif
