/* SPDX-License-Identifier: MIT */
/*
 * DOC: Device queries
 *
 * Each is asked twice: with 0 bytes, for how many there are, then with that many. Answers
 * are built in one buffer of the library and copied out.
 *
 * Upstream: xe_query.c.
 */
#include "xe/xe_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CYCLES_WIDTH_BITS 36
#define DSS_COUNT 20
#define ANSWER_BYTES_MAX 1024

struct answer {
	size_t bytes;
	_Alignas(8) unsigned char data[ANSWER_BYTES_MAX];
};

static void *append(struct answer *a, const void *data, size_t bytes)
{
	void *at = a->data + a->bytes;

	memcpy(at, data, bytes);
	a->bytes += bytes;
	return at;
}

static void append_count(struct answer *a, uint32_t count)
{
	struct xe_list_head head = { .count = count };

	append(a, &head, sizeof(head));
}

static void answer_engines(struct xe_card *card, struct answer *a)
{
	append_count(a, card->profile->engine_count);
	for (uint32_t i = 0; i < card->profile->engine_count; i++) {
		struct xe_engine engine = { .instance = card->profile->engines[i] };

		append(a, &engine, sizeof(engine));
	}
}

uint64_t xe_system_bytes(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);

	return pages > 0 ? (uint64_t)pages * PAGE_BYTES : GIB(1);
}

static void answer_regions(struct xe_card *card, struct answer *a)
{
	struct xe_mem_region region = {
		.memory_class = 0,
		.instance = 0,
		.min_page_bytes = PAGE_BYTES,
		.total_bytes = xe_system_bytes(),
	};
	uint64_t used_bytes = xe_room_used(card);

	append_count(a, 2);
	append(a, &region, sizeof(region));
	region = (struct xe_mem_region){
		.memory_class = 1,
		.instance = 1,
		.min_page_bytes = PAGE_BYTES,
		.total_bytes = card->vram_bytes,
		.used_bytes = used_bytes,
		.cpu_visible_bytes = card->vram_bytes,
		.cpu_visible_used_bytes = used_bytes,
	};
	append(a, &region, sizeof(region));
}

static void answer_config(struct xe_card *card, struct answer *a)
{
	uint64_t info[XE_CONFIG_COUNT] = {
		[XE_CONFIG_REV_AND_DEVICE] = card->profile->device_id |
					     (uint64_t)card->profile->revision << 16,
		[XE_CONFIG_FLAGS] = XE_CONFIG_HAS_VRAM | XE_CONFIG_HAS_LOW_LATENCY |
				    XE_CONFIG_HAS_MIRROR | XE_CONFIG_HAS_NO_COMPRESSION |
				    XE_CONFIG_HAS_PURGING,
		[XE_CONFIG_MIN_ALIGNMENT] = PAGE_BYTES,
		[XE_CONFIG_VA_BITS] = XE_VA_BITS,
		[XE_CONFIG_MAX_PRIORITY] = 2,
	};

	append_count(a, XE_CONFIG_COUNT);
	append(a, info, sizeof(info));
}

static void answer_gts(struct xe_card *card, struct answer *a)
{
	struct xe_gt gt = {
		.reference_clock_hz = XE_CLOCK_HZ,
		.near_regions = 1u << 1,
		.far_regions = 1u << 0,
		.version_major = card->profile->version_major,
		.version_minor = card->profile->version_minor,
	};

	append_count(a, 1);
	append(a, &gt, sizeof(gt));
}

/* Triples of key, count and value, as the firmware's table has them. */
static void answer_hwconfig(struct xe_card *card UNUSED, struct answer *a)
{
	static const uint32_t table[] = {
		1, 1, 1, /* slices */
		2, 1, DSS_COUNT, /* subslices */
		3, 1, 8, /* EUs in each */
		15, 1, 8, /* threads in an EU */
	};

	append(a, table, sizeof(table));
}

static void append_mask(struct answer *a, enum xe_topology type, uint32_t bytes, uint64_t mask)
{
	struct xe_topology_head head = { .type = (uint16_t)type, .bytes = bytes };
	static const uint64_t nothing;

	append(a, &head, sizeof(head));
	append(a, &mask, sizeof(mask));
	if (bytes > sizeof(mask))
		append(a, &nothing, bytes - sizeof(mask));
}

static void answer_topology(struct xe_card *card UNUSED, struct answer *a)
{
	append_mask(a, XE_TOPOLOGY_DSS_GEOMETRY, 16, (1u << DSS_COUNT) - 1);
	append_mask(a, XE_TOPOLOGY_DSS_COMPUTE, 16, (1u << DSS_COUNT) - 1);
	append_mask(a, XE_TOPOLOGY_L3_BANK, 8, 0xff);
	append_mask(a, XE_TOPOLOGY_SIMD16_EU_PER_DSS, 8, 0xff);
}

/* There is none: a list, as from any card, and nothing in it. */
static void answer_observers(struct xe_card *card UNUSED, struct answer *a)
{
	const struct xe_oa_list list = { .count = 0 };

	append(a, &list, sizeof(list));
}

/* --- queries with a question in the buffer ---------------------------------------------- */

static int64_t clock_now_ns(clockid_t clock)
{
	struct timespec now;

	if (clock_gettime(clock, &now))
		return -1;
	return now.tv_sec * 1000000000 + now.tv_nsec;
}

static int fill_cycles(struct xe_card *card, struct xe_engine_cycles *c)
{
	bool found = false;
	int64_t cpu, start, end;

	for (uint32_t i = 0; i < card->profile->engine_count; i++) {
		const struct xe_engine_instance *e = &card->profile->engines[i];

		found |= e->engine_class == c->engine.engine_class &&
			 e->instance == c->engine.instance && e->gt == c->engine.gt;
	}
	if (!found)
		return -EINVAL;
	if (c->clock_id != CLOCK_MONOTONIC && c->clock_id != CLOCK_MONOTONIC_RAW &&
	    c->clock_id != CLOCK_REALTIME && c->clock_id != CLOCK_BOOTTIME &&
	    c->clock_id != CLOCK_TAI)
		return -EINVAL;
	cpu = clock_now_ns(c->clock_id);
	start = clock_now_ns(CLOCK_MONOTONIC);
	c->cycles = xe_cycles((uint64_t)start) & ((1ull << CYCLES_WIDTH_BITS) - 1);
	end = clock_now_ns(CLOCK_MONOTONIC);
	c->width_bits = CYCLES_WIDTH_BITS;
	c->cpu_timestamp_ns = (uint64_t)cpu;
	c->cpu_delta_ns = (uint64_t)(end - start);
	return 0;
}

static int query_cycles(struct xe_file *file, struct xe_device_query *args)
{
	struct xe_engine_cycles c;
	int err;

	if (!args->bytes) {
		args->bytes = sizeof(c);
		return 0;
	}
	if (args->bytes != sizeof(c))
		return -EINVAL;
	err = xe_copy_in(file->card, &c, args->data, sizeof(c));
	if (!err)
		err = fill_cycles(file->card, &c);
	return err ? err : xe_copy_out(file->card, args->data, &c, sizeof(c));
}

static int query_firmware(struct xe_file *file, struct xe_device_query *args)
{
	struct xe_uc_fw_version v;
	int err;

	if (!args->bytes) {
		args->bytes = sizeof(v);
		return 0;
	}
	if (args->bytes != sizeof(v))
		return -EINVAL;
	err = xe_copy_in(file->card, &v, args->data, sizeof(v));
	if (err)
		return err;
	if (v.pad || v.pad2 || v.reserved || v.type > 1)
		return -EINVAL;
	if (v.type == 1) /* there is no media engine */
		return -ENODEV;
	v.branch = 0;
	v.major = 1;
	v.minor = 14;
	v.patch = 0;
	return xe_copy_out(file->card, args->data, &v, sizeof(v));
}

/* How long the answer were is told by any card; then, that there are no such sessions. */
static int query_protection(struct xe_device_query *args)
{
	if (!args->bytes) {
		args->bytes = sizeof(struct xe_pxp_status);
		return 0;
	}
	return args->bytes == sizeof(struct xe_pxp_status) ? -ENODEV : -EINVAL;
}

static int query_answer(struct xe_file *file, struct xe_device_query *args,
			void (*fill)(struct xe_card *card, struct answer *a))
{
	struct answer a = { 0 };

	fill(file->card, &a);
	if (!args->bytes) {
		args->bytes = (uint32_t)a.bytes;
		return 0;
	}
	if (args->bytes != a.bytes)
		return -EINVAL;
	return xe_copy_out(file->card, args->data, a.data, a.bytes);
}

int xe_ioctl_query(struct xe_file *file, void *argument)
{
	struct xe_device_query *args = argument;

	if (args->extensions || args->reserved[0] || args->reserved[1])
		return -EINVAL;
	switch (args->query) {
	case XE_QUERY_ENGINES:
		return query_answer(file, args, answer_engines);
	case XE_QUERY_MEM_REGIONS:
		return query_answer(file, args, answer_regions);
	case XE_QUERY_CONFIG:
		return query_answer(file, args, answer_config);
	case XE_QUERY_GT_LIST:
		return query_answer(file, args, answer_gts);
	case XE_QUERY_HWCONFIG:
		return query_answer(file, args, answer_hwconfig);
	case XE_QUERY_GT_TOPOLOGY:
		return query_answer(file, args, answer_topology);
	case XE_QUERY_ENGINE_CYCLES:
		return query_cycles(file, args);
	case XE_QUERY_UC_FW_VERSION:
		return query_firmware(file, args);
	case XE_QUERY_OA_UNITS:
		return query_answer(file, args, answer_observers);
	case XE_QUERY_PXP_STATUS:
		return query_protection(args);
	case XE_QUERY_EU_STALL:
		return -ENODEV;
	default:
		return -EINVAL;
	}
}
