/* SPDX-License-Identifier: MIT */
/*
 * xe/uapi.h - what a client and an Xe card say to each other.
 *
 * Numbers and layouts of the ioctls under /dev/dri that an Xe client uses: those of
 * DRM itself and those of the Xe driver (Linux 7.2). The names are ours; a client has
 * its own header. All integers are in the machine's order, all pointers are 64 bits.
 *
 * Rules that hold for each struct: `extensions' is 0 or points to a chain, padding
 * and reserved words are 0, -EINVAL else.
 */
#ifndef XE_UAPI_H
#define XE_UAPI_H

#include <stdint.h>

/* An ioctl's number is its low byte; bits 8..15 are 'd'; 16..29 are the size. */
#define XE_IOCTL_TYPE 'd'
#define XE_IOCTL_NUMBER(request) ((uint32_t)(request) & 0xff)
#define XE_IOCTL_BYTES(request) ((uint32_t)(request) >> 16 & 0x3fff)
#define XE_IOCTL_DRIVER 0x40 /* the driver's own begin here */

enum drm_ioctl {
	DRM_VERSION = 0x00,
	DRM_GET_UNIQUE = 0x01,
	DRM_GET_MAGIC = 0x02,
	DRM_GET_CLIENT = 0x05,
	DRM_SET_VERSION = 0x07,
	DRM_GEM_CLOSE = 0x09,
	DRM_GEM_FLINK = 0x0a,
	DRM_GEM_OPEN = 0x0b,
	DRM_GET_CAP = 0x0c,
	DRM_SET_CLIENT_CAP = 0x0d,
	DRM_AUTH_MAGIC = 0x11,
	DRM_SET_MASTER = 0x1e,
	DRM_DROP_MASTER = 0x1f,
	DRM_PRIME_HANDLE_TO_FD = 0x2d,
	DRM_PRIME_FD_TO_HANDLE = 0x2e,
	DRM_SYNCOBJ_CREATE = 0xbf,
	DRM_SYNCOBJ_DESTROY = 0xc0,
	DRM_SYNCOBJ_HANDLE_TO_FD = 0xc1,
	DRM_SYNCOBJ_FD_TO_HANDLE = 0xc2,
	DRM_SYNCOBJ_WAIT = 0xc3,
	DRM_SYNCOBJ_RESET = 0xc4,
	DRM_SYNCOBJ_SIGNAL = 0xc5,
	DRM_SYNCOBJ_TIMELINE_WAIT = 0xca,
	DRM_SYNCOBJ_QUERY = 0xcb,
	DRM_SYNCOBJ_TRANSFER = 0xcc,
	DRM_SYNCOBJ_TIMELINE_SIGNAL = 0xcd,
};

enum xe_ioctl {
	XE_DEVICE_QUERY = 0x40,
	XE_GEM_CREATE = 0x41,
	XE_GEM_MMAP_OFFSET = 0x42,
	XE_VM_CREATE = 0x43,
	XE_VM_DESTROY = 0x44,
	XE_VM_BIND = 0x45,
	XE_EXEC_QUEUE_CREATE = 0x46,
	XE_EXEC_QUEUE_DESTROY = 0x47,
	XE_EXEC_QUEUE_GET_PROPERTY = 0x48,
	XE_EXEC = 0x49,
	XE_WAIT_USER_FENCE = 0x4a,
	XE_OBSERVATION = 0x4b,
	XE_MADVISE = 0x4c,
	XE_VM_QUERY_MEM_RANGE_ATTRS = 0x4d,
	XE_EXEC_QUEUE_SET_PROPERTY = 0x4e,
	XE_VM_GET_PROPERTY = 0x4f,
};

/* --- DRM --------------------------------------------------------------------- */

struct drm_version {
	int32_t major, minor, patch;
	uint32_t pad;
	uint64_t name_bytes, name;
	uint64_t date_bytes, date;
	uint64_t text_bytes, text;
};

struct drm_unique {
	uint64_t bytes, unique;
};

struct drm_cap {
	uint64_t capability, value;
};

enum drm_capability {
	DRM_CAP_DUMB_BUFFER = 0x1,
	DRM_CAP_PRIME = 0x5,
	DRM_CAP_TIMESTAMP_MONOTONIC = 0x6,
	DRM_CAP_SYNCOBJ = 0x13,
	DRM_CAP_SYNCOBJ_TIMELINE = 0x14,
};

struct drm_gem_close {
	uint32_t handle, pad;
};

struct drm_syncobj_create {
	uint32_t handle, flags;
};

#define DRM_SYNCOBJ_CREATE_SIGNALED (1u << 0)

struct drm_syncobj_destroy {
	uint32_t handle, pad;
};

struct drm_syncobj_wait {
	uint64_t handles;
	int64_t timeout_ns; /* absolute, CLOCK_MONOTONIC */
	uint32_t count, flags, first_signaled, pad;
	uint64_t deadline_ns;
};

struct drm_syncobj_timeline_wait {
	uint64_t handles, points;
	int64_t timeout_ns;
	uint32_t count, flags, first_signaled, pad;
	uint64_t deadline_ns;
};

#define DRM_SYNCOBJ_WAIT_ALL (1u << 0)
#define DRM_SYNCOBJ_WAIT_FOR_SUBMIT (1u << 1)
#define DRM_SYNCOBJ_WAIT_AVAILABLE (1u << 2)
#define DRM_SYNCOBJ_WAIT_DEADLINE (1u << 3)

struct drm_syncobj_array {
	uint64_t handles;
	uint32_t count, pad;
};

struct drm_syncobj_timeline_array {
	uint64_t handles, points;
	uint32_t count, flags;
};

#define DRM_SYNCOBJ_QUERY_LAST_SUBMITTED (1u << 0)

struct drm_syncobj_transfer {
	uint32_t from, to;
	uint64_t from_point, to_point;
	uint32_t flags, pad;
};

/* --- extensions ------------------------------------------------------------------ */

struct xe_extension {
	uint64_t next;
	uint32_t name, pad;
};

struct xe_extension_property {
	struct xe_extension base;
	uint32_t property, pad;
	uint64_t value;
	uint64_t reserved[2];
};

/* --- queries --------------------------------------------------------------------- */

struct xe_device_query {
	uint64_t extensions;
	uint32_t query;
	uint32_t bytes;
	uint64_t data;
	uint64_t reserved[2];
};

enum xe_query {
	XE_QUERY_ENGINES = 0,
	XE_QUERY_MEM_REGIONS = 1,
	XE_QUERY_CONFIG = 2,
	XE_QUERY_GT_LIST = 3,
	XE_QUERY_HWCONFIG = 4,
	XE_QUERY_GT_TOPOLOGY = 5,
	XE_QUERY_ENGINE_CYCLES = 6,
	XE_QUERY_UC_FW_VERSION = 7,
	XE_QUERY_OA_UNITS = 8,
	XE_QUERY_PXP_STATUS = 9,
	XE_QUERY_EU_STALL = 10,
};

enum xe_engine_class {
	XE_ENGINE_RENDER = 0,
	XE_ENGINE_COPY = 1,
	XE_ENGINE_VIDEO_DECODE = 2,
	XE_ENGINE_VIDEO_ENHANCE = 3,
	XE_ENGINE_COMPUTE = 4,
	XE_ENGINE_VM_BIND = 5,
};

struct xe_engine_instance {
	uint16_t engine_class, instance, gt, pad;
};

struct xe_engine {
	struct xe_engine_instance instance;
	uint64_t reserved[3];
};

struct xe_list_head {
	uint32_t count, pad;
};

struct xe_pxp_status {
	uint32_t status, session_types;
};

struct xe_oa_list {
	uint64_t extensions;
	uint32_t count, pad;
};

struct xe_mem_region {
	uint16_t memory_class; /* 0 system, 1 VRAM */
	uint16_t instance;
	uint32_t min_page_bytes;
	uint64_t total_bytes, used_bytes;
	uint64_t cpu_visible_bytes, cpu_visible_used_bytes;
	uint64_t reserved[6];
};

enum xe_config {
	XE_CONFIG_REV_AND_DEVICE = 0,
	XE_CONFIG_FLAGS = 1,
	XE_CONFIG_MIN_ALIGNMENT = 2,
	XE_CONFIG_VA_BITS = 3,
	XE_CONFIG_MAX_PRIORITY = 4,
	XE_CONFIG_COUNT
};

#define XE_CONFIG_HAS_VRAM (1u << 0)
#define XE_CONFIG_HAS_LOW_LATENCY (1u << 1)
#define XE_CONFIG_HAS_MIRROR (1u << 2)
#define XE_CONFIG_HAS_NO_COMPRESSION (1u << 3)
#define XE_CONFIG_HAS_PURGING (1u << 5)

struct xe_gt {
	uint16_t type, tile, id, pad[3];
	uint32_t reference_clock_hz;
	uint64_t near_regions, far_regions;
	uint16_t version_major, version_minor, version_revision, pad2;
	uint64_t reserved[7];
};

enum xe_topology {
	XE_TOPOLOGY_DSS_GEOMETRY = 1,
	XE_TOPOLOGY_DSS_COMPUTE = 2,
	XE_TOPOLOGY_L3_BANK = 3,
	XE_TOPOLOGY_EU_PER_DSS = 4,
	XE_TOPOLOGY_SIMD16_EU_PER_DSS = 5,
};

struct xe_topology_head {
	uint16_t gt, type;
	uint32_t bytes;
};

struct xe_engine_cycles {
	struct xe_engine_instance engine;
	int32_t clock_id;
	uint32_t width_bits;
	uint64_t cycles, cpu_timestamp_ns, cpu_delta_ns;
};

struct xe_uc_fw_version {
	uint16_t type, pad;
	uint32_t branch, major, minor, patch, pad2;
	uint64_t reserved;
};

/* --- buffer objects ---------------------------------------------------------------- */

struct xe_gem_create {
	uint64_t extensions;
	uint64_t bytes;
	uint32_t placement;
	uint32_t flags;
	uint32_t vm;
	uint32_t handle;
	uint16_t cpu_caching, pad[3];
	uint64_t reserved[2];
};

#define XE_GEM_DEFER_BACKING (1u << 0)
#define XE_GEM_SCANOUT (1u << 1)
#define XE_GEM_NEEDS_VISIBLE_VRAM (1u << 2)
#define XE_GEM_NO_COMPRESSION (1u << 3)
#define XE_GEM_CACHING_WB 1
#define XE_GEM_CACHING_WC 2

struct xe_gem_mmap_offset {
	uint64_t extensions;
	uint32_t handle;
	uint32_t flags;
	uint64_t offset;
	uint64_t reserved[2];
};

#define XE_MMAP_OFFSET_PCI_BARRIER (1u << 0)

/* --- address spaces ---------------------------------------------------------------- */

struct xe_vm_create {
	uint64_t extensions;
	uint32_t flags;
	uint32_t vm;
	uint64_t reserved[2];
};

#define XE_VM_SCRATCH_PAGE (1u << 0)
#define XE_VM_LR_MODE (1u << 1)
#define XE_VM_FAULT_MODE (1u << 2)
#define XE_VM_NO_OVERCOMMIT (1u << 3)

struct xe_vm_destroy {
	uint32_t vm, pad;
	uint64_t reserved[2];
};

struct xe_bind_op {
	uint64_t extensions;
	uint32_t object;
	uint16_t pat_index, pad;
	uint64_t offset; /* into the object, or a user pointer */
	uint64_t bytes;
	uint64_t addr;
	uint32_t op;
	uint32_t flags;
	uint32_t region;
	uint32_t pad2;
	uint64_t reserved[3];
};

enum xe_bind_operation {
	XE_BIND_MAP = 0,
	XE_BIND_UNMAP = 1,
	XE_BIND_MAP_USERPTR = 2,
	XE_BIND_UNMAP_ALL = 3,
	XE_BIND_PREFETCH = 4,
};

#define XE_BIND_READONLY (1u << 0)
#define XE_BIND_IMMEDIATE (1u << 1)
#define XE_BIND_NULL (1u << 2)
#define XE_BIND_DUMPABLE (1u << 3)
#define XE_BIND_CHECK_PXP (1u << 4)
#define XE_BIND_MIRROR (1u << 5)
#define XE_BIND_AUTORESET (1u << 6)
#define XE_BIND_DECOMPRESS (1u << 7)

#define XE_BIND_FAIL (1u << 31) /* of drivers built for tests */

#define XE_PREFETCH_ADVISED UINT32_MAX /* the region that madvise named */

struct xe_vm_bind {
	uint64_t extensions;
	uint32_t vm;
	uint32_t queue;
	uint32_t pad;
	uint32_t count;
	union {
		struct xe_bind_op op; /* count == 1 */
		uint64_t ops;
	};
	uint32_t pad2;
	uint32_t sync_count;
	uint64_t syncs;
	uint64_t reserved[2];
};

struct xe_sync {
	uint64_t extensions;
	uint32_t type;
	uint32_t flags;
	uint64_t handle; /* 32 bits, or the address of a user fence */
	uint64_t value;
	uint64_t reserved[2];
};

enum xe_sync_type {
	XE_SYNC_SYNCOBJ = 0,
	XE_SYNC_TIMELINE = 1,
	XE_SYNC_USER_FENCE = 2,
};

#define XE_SYNC_SIGNAL (1u << 0)
#define XE_SYNCS_MAX 1024

struct xe_vm_get_property {
	uint64_t extensions;
	uint32_t vm;
	uint32_t property;
	uint32_t bytes;
	uint32_t pad;
	uint64_t data;
	uint64_t reserved[3];
};

#define XE_VM_PROPERTY_FAULTS 0

struct xe_vm_fault {
	uint64_t addr;
	uint32_t precision_bytes;
	uint8_t access, type, level, pad;
	uint64_t reserved[4];
};

/* --- queues and jobs ---------------------------------------------------------------- */

struct xe_exec_queue_create {
	uint64_t extensions;
	uint16_t width;
	uint16_t placement_count;
	uint32_t vm;
	uint32_t flags;
	uint32_t queue;
	uint64_t instances;
	uint64_t reserved[2];
};

#define XE_QUEUE_LOW_LATENCY (1u << 0)

enum xe_queue_property {
	XE_QUEUE_PRIORITY = 0,
	XE_QUEUE_TIMESLICE = 1,
	XE_QUEUE_PXP_TYPE = 2,
	XE_QUEUE_HANG_REPLAY_STATE = 3,
	XE_QUEUE_MULTI_GROUP = 4,
	XE_QUEUE_MULTI_QUEUE_PRIORITY = 5,
	XE_QUEUE_DISABLE_STATE_CACHE_FIX = 6,
};

#define XE_MULTI_GROUP_CREATE (1ull << 63)

struct xe_exec_queue_destroy {
	uint32_t queue, pad;
	uint64_t reserved[2];
};

struct xe_exec_queue_property {
	uint64_t extensions;
	uint32_t queue;
	uint32_t property;
	uint64_t value;
	uint64_t reserved[2];
};

#define XE_QUEUE_GET_BAN 0

struct xe_exec {
	uint64_t extensions;
	uint32_t queue;
	uint32_t sync_count;
	uint64_t syncs;
	uint64_t addr;
	uint16_t batch_count, pad[3];
	uint64_t reserved[2];
};

struct xe_wait_user_fence {
	uint64_t extensions;
	uint64_t addr;
	uint16_t op;
	uint16_t flags;
	uint32_t pad;
	uint64_t value;
	uint64_t mask;
	int64_t timeout_ns;
	uint32_t queue, pad2;
	uint64_t reserved[2];
};

enum xe_wait_op {
	XE_WAIT_EQ,
	XE_WAIT_NEQ,
	XE_WAIT_GT,
	XE_WAIT_GTE,
	XE_WAIT_LT,
	XE_WAIT_LTE,
};

#define XE_WAIT_ABSOLUTE (1u << 0)

/* --- attributes ---------------------------------------------------------------------- */

struct xe_madvise {
	uint64_t extensions;
	uint64_t start;
	uint64_t bytes;
	uint32_t vm;
	uint32_t type;
	union {
		struct {
			uint32_t device_fd;
			uint16_t policy;
			uint16_t region;
			uint64_t reserved;
		} preferred;
		struct {
			uint32_t value;
			uint32_t pad;
			uint64_t retained; /* purgeable: where to tell what is kept; else 0 */
		} number;
	};
	uint64_t reserved[2];
};

enum xe_attribute {
	XE_ATTR_PREFERRED = 0,
	XE_ATTR_ATOMIC = 1,
	XE_ATTR_PAT = 2,
	XE_ATTR_PURGEABLE = 3,
};

enum xe_purgeable {
	XE_PURGEABLE_WILLNEED = 0,
	XE_PURGEABLE_DONTNEED = 1,
};

#define XE_PREFERRED_DEVICE 0
#define XE_PREFERRED_SYSTEM UINT32_MAX

enum xe_atomic {
	XE_ATOMIC_UNDEFINED = 0,
	XE_ATOMIC_DEVICE = 1,
	XE_ATOMIC_GLOBAL = 2,
	XE_ATOMIC_CPU = 3,
};

struct xe_mem_range_attr {
	uint64_t extensions;
	uint64_t start, end;
	uint32_t device_fd, policy;
	uint32_t atomic, reserved_atomic;
	uint32_t pat_index, reserved_pat;
	uint64_t reserved[2];
};

struct xe_query_mem_range_attrs {
	uint64_t extensions;
	uint32_t vm;
	uint32_t count;
	uint64_t start;
	uint64_t bytes;
	uint64_t entry_bytes;
	uint64_t entries;
	uint64_t reserved[2];
};

#endif
