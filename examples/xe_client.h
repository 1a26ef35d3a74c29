/* SPDX-License-Identifier: MIT */
/*
 * examples/xe_client.h - what of the Xe driver's interface xe_hello.c needs.
 *
 * Systems with new enough headers have all of it in <drm/xe_drm.h>.
 */
#ifndef EXAMPLES_XE_CLIENT_H
#define EXAMPLES_XE_CLIENT_H

#include <stdint.h>
#include <sys/ioctl.h>

struct vm_create {
	uint64_t extensions;
	uint32_t flags, vm;
	uint64_t reserved[2];
};

enum { VM_LR_MODE = 1 << 1, VM_FAULT_MODE = 1 << 2 };

struct sync {
	uint64_t extensions;
	uint32_t type, flags;
	uint64_t addr, value;
	uint64_t reserved[2];
};

enum { SYNC_USER_FENCE = 2, SYNC_SIGNAL = 1 };

struct vm_bind {
	uint64_t extensions;
	uint32_t vm, queue, pad, count;
	struct {
		uint64_t extensions;
		uint32_t object;
		uint16_t pat_index, pad;
		uint64_t offset, bytes, addr;
		uint32_t op, flags, region, pad2;
		uint64_t reserved[3];
	} op;
	uint32_t pad2, sync_count;
	uint64_t syncs;
	uint64_t reserved[2];
};

enum { BIND_MAP = 0, BIND_CPU_ADDR_MIRROR = 1 << 5 };

struct engine {
	uint16_t engine_class, instance, gt, pad;
};

enum { ENGINE_COPY = 1 };

struct queue_create {
	uint64_t extensions;
	uint16_t width, placement_count;
	uint32_t vm, flags, queue;
	uint64_t engines;
	uint64_t reserved[2];
};

struct exec {
	uint64_t extensions;
	uint32_t queue, sync_count;
	uint64_t syncs, batch;
	uint16_t batch_count, pad[3];
	uint64_t reserved[2];
};

struct wait_user_fence {
	uint64_t extensions, addr;
	uint16_t op, flags;
	uint32_t pad;
	uint64_t value, mask;
	int64_t timeout_ns;
	uint32_t queue, pad2;
	uint64_t reserved[2];
};

#define VM_CREATE _IOWR('d', 0x43, struct vm_create)
#define VM_BIND _IOW('d', 0x45, struct vm_bind)
#define QUEUE_CREATE _IOWR('d', 0x46, struct queue_create)
#define EXEC _IOW('d', 0x49, struct exec)
#define WAIT_USER_FENCE _IOWR('d', 0x4a, struct wait_user_fence)

#endif
