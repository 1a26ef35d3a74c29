/* SPDX-License-Identifier: MIT */
/*
 * DOC: copies
 *
 * What the copy engine's commands do, row by row through the engine's bounce page; any
 * engine runs them. Formats, compression and tiling are not modelled: tiled surfaces end
 * the job.
 */
#include <string.h>

#include "gpu/command_streamer_internal.h"

enum {
	BLITTER_OPCODE_SHIFT = 22, /* 7 bits */
	FAST_COPY = 0x42,
	MEM_COPY = 0x5a,
	MEM_SET = 0x5b,

	MEM_COPY_PAGES = 1 << 19,  /* the width counts 256 bytes */
	MEM_COPY_MATRIX = 1 << 17, /* rows */
	MEM_SET_MATRIX = 1 << 17,

	FAST_COPY_TILING = 3 << 20 | 3 << 13, /* of source and destination */
};

struct rows {
	uint64_t from, to;
	uint64_t from_pitch, to_pitch; /* bytes */
	uint64_t width_bytes;
	uint64_t count;
};

static int copy_row(struct gpu_engine *engine, uint64_t to, uint64_t from, uint64_t bytes)
{
	int err = 0;

	while (bytes && !err) {
		size_t part = MIN(bytes, sizeof(engine->bounce));

		err = mmu_copy(engine, USVM_SYSTEM_READ, from, engine->bounce, part);
		if (!err)
			err = mmu_copy(engine, USVM_SYSTEM_WRITE, to, engine->bounce, part);
		from += part;
		to += part;
		bytes -= part;
	}
	return err;
}

static int copy_rows(struct gpu_engine *engine, const struct rows *r)
{
	int err = 0;

	for (uint64_t row = 0; row < r->count && !err; row++)
		err = copy_row(engine, r->to + row * r->to_pitch, r->from + row * r->from_pitch,
			       r->width_bytes);
	return err;
}

static int run_mem_copy(struct command_streamer *cs)
{
	uint32_t header = cs->dword[0];
	uint64_t unit = header & MEM_COPY_PAGES ? 256 : 1;
	bool is_matrix = header & MEM_COPY_MATRIX;
	const struct rows rows = {
		.from = cs_address(cs->dword[5], cs->dword[6]),
		.to = cs_address(cs->dword[7], cs->dword[8]),
		.from_pitch = (uint64_t)(cs->dword[3] & 0x3ffff) + 1,
		.to_pitch = (uint64_t)(cs->dword[4] & 0x3ffff) + 1,
		.width_bytes = ((uint64_t)(cs->dword[1] & 0xffffff) + 1) * unit,
		.count = is_matrix ? (uint64_t)(cs->dword[2] & 0x3ffff) + 1 : 1,
	};

	return copy_rows(cs->engine, &rows);
}

static int run_mem_set(struct command_streamer *cs)
{
	struct gpu_engine *engine = cs->engine;
	uint64_t to = cs_address(cs->dword[4], cs->dword[5]);
	uint64_t width = (uint64_t)(cs->dword[1] & 0xffffff) + 1;
	uint64_t pitch = (uint64_t)(cs->dword[3] & 0x3ffff) + 1;
	uint64_t rows = cs->dword[0] & MEM_SET_MATRIX ? (uint64_t)(cs->dword[2] & 0x3ffff) + 1 : 1;
	int err = 0;

	for (uint64_t row = 0; row < rows && !err; row++) {
		for (uint64_t at = 0; at < width && !err; at += sizeof(engine->bounce)) {
			size_t part = MIN(width - at, sizeof(engine->bounce));

			memset(engine->bounce, (int)(cs->dword[6] >> 24), part);
			err = mmu_copy(engine, USVM_SYSTEM_WRITE, to + row * pitch + at,
				       engine->bounce, part);
		}
	}
	return err;
}

/* A rectangle of pixels from (x1, y1) to (x2, y2). */
static int run_fast_copy(struct command_streamer *cs)
{
	static const uint32_t depth_bytes[] = { 1, 2, 0, 4, 8, 16, 0, 0 };
	uint32_t bytes = depth_bytes[(cs->dword[1] >> 24) & 7];
	uint32_t x1 = cs->dword[2] & 0xffff, y1 = cs->dword[2] >> 16;
	uint32_t x2 = cs->dword[3] & 0xffff, y2 = cs->dword[3] >> 16;
	uint32_t source_x = cs->dword[6] & 0xffff, source_y = cs->dword[6] >> 16;
	struct rows rows = {
		.from = cs_address(cs->dword[8], cs->dword[9]),
		.to = cs_address(cs->dword[4], cs->dword[5]),
		.from_pitch = cs->dword[7] & 0xffff,
		.to_pitch = cs->dword[1] & 0xffff,
	};

	if (!bytes || (cs->dword[0] & FAST_COPY_TILING) || x2 < x1 || y2 < y1)
		return -EINVAL;
	rows.from += source_y * rows.from_pitch + (uint64_t)source_x * bytes;
	rows.to += y1 * rows.to_pitch + (uint64_t)x1 * bytes;
	rows.width_bytes = (uint64_t)(x2 - x1) * bytes;
	rows.count = y2 - y1;
	return copy_rows(cs->engine, &rows);
}

/* A dword. */
int cs_run_copy_mem_mem(struct command_streamer *cs)
{
	uint32_t value;
	int err;

	if (cs->dword[0] & (MI_GLOBAL_GTT | 1u << 21))
		return -EINVAL;
	err = mmu_access(cs->engine, USVM_SYSTEM_READ,
			 cs_address(cs->dword[3] & ~3u, cs->dword[4]), &value, sizeof(value));
	if (err)
		return err;
	return cs_write_dword(cs, cs_address(cs->dword[1] & ~3u, cs->dword[2]), value);
}

static const struct command mem_copy = { 0xff, 10, 10, run_mem_copy };
static const struct command mem_set = { 0xff, 7, 7, run_mem_set };
static const struct command fast_copy = { 0xff, 10, 10, run_fast_copy };

const struct command *cs_decode_blitter(uint32_t header)
{
	switch ((header >> BLITTER_OPCODE_SHIFT) & 0x7f) {
	case FAST_COPY:
		return &fast_copy;
	case MEM_COPY:
		return &mem_copy;
	case MEM_SET:
		return &mem_set;
	default:
		return NULL;
	}
}
