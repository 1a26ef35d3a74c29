/* SPDX-License-Identifier: MIT */
/*
 * DOC: Bringing pages to a place, and proving that they are there
 *
 *     HOME      the process has them; the device has seen none
 *     MOVING    copy: a second device takes them, and its copy() waits. move: a page is
 *               here or there in one step; the second device is held just before it
 *     DEVICE    taken by GPU faults
 *     EVICTED   taken; then something larger was, and there is room for one
 *     PART      a quarter each on the device, come home, on the device, discarded
 *
 * Memory that does not migrate is HOME in the column DEVICE, although the GPU has used
 * it. A row that splits the area into several mappings has only the first of them MOVING:
 * the device takes one at a time.
 */
#include <sys/mman.h>

#include "matrix.h"

/* Read by the CPU; a volatile byte of each page. */
static void touch(const unsigned char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += LIVE_PAGE)
		*(const volatile unsigned char *)(at + i);
}

static void column_home(struct cell *c)
{
	live_assert_state(&c->live, c->at, c->bytes, LIVE_HOME);
}

static void column_device(struct cell *c)
{
	struct live_counts before = live_counts(&c->live);

	live_take(&c->live, c->at, c->bytes);
	if (c->row->flags & IN_PLACE) {
		live_assert_state(&c->live, c->at, c->bytes, LIVE_HOME);
		live_assert_counts(&c->live, before, 0, 0);
		return;
	}
	live_assert_state(&c->live, c->at, c->bytes, LIVE_DEVICE);
	live_assert_counts(&c->live, before, c->bytes / LIVE_PAGE, 0);
}

static void column_evicted(struct cell *c)
{
	unsigned char *other = mmap(c->to + 2 * LIVE_HUGE, LIVE_HUGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	struct live_counts before = live_counts(&c->live);
	uint64_t evictions;

	assert_ptr_not_equal(other, MAP_FAILED);
	column_device(c);
	evictions = live_stat(&c->live, "vram_evictions");
	live_take(&c->live, other, LIVE_PAGE);
	assert_true(live_stat(&c->live, "vram_evictions") > evictions);
	live_assert_state(&c->live, c->at, c->bytes, LIVE_HOME);
	assert_int_equal(live_counts(&c->live).home - before.home, c->bytes / LIVE_PAGE);
}

static void column_part(struct cell *c)
{
	struct live_counts before;

	column_device(c);
	before = live_counts(&c->live);
	touch(c->at + c->part, c->part);
	live_assert_counts(&c->live, before, 0, c->part / LIVE_PAGE);
	assert_int_equal(madvise(c->at + 3 * c->part, c->part, MADV_DONTNEED), 0);
	live_assert_state(&c->live, c->at, c->part, LIVE_DEVICE);
	live_assert_state(&c->live, c->at + c->part, c->part, LIVE_HOME);
	live_assert_state(&c->live, c->at + 2 * c->part, c->part, LIVE_DEVICE);
	live_assert_state(&c->live, c->at + 3 * c->part, c->part, LIVE_HOLE);
}

static void column_moving(struct cell *c)
{
	struct held *held = c->held;
	struct usvm_page_info info;
	uint64_t bytes = c->row->flags & SPLIT ? LIVE_PAGE : c->bytes;

	if (c->mode == MODE_MOVE) {
		live_assert_state(&c->live, c->at, c->bytes, LIVE_HOME);
		held_arm(&held->hold_worker);
		held_start(held, USVM_SYSTEM_ADD, c->at, 0);
		held_wait(&held->hold_worker);
		assert_int_equal(live_present(c->at, c->bytes), c->bytes / LIVE_PAGE);
		return;
	}
	held_arm(&held->hold_copy);
	held_start(held, USVM_SYSTEM_ADD, c->at, 0);
	assert_true(held_wait_copy(held));
	assert_int_equal(usvm_query(c->live.vm, c->at, &info), 0);
	if (bytes < info.run_bytes)
		bytes = info.run_bytes;
	live_assert_state(&c->live, c->at, bytes, LIVE_MOVING);
}

#define COLUMN_FUNCTION(function, name, title) [COLUMN_##name] = column_##function,
#define COLUMN_TITLE(function, name, title) [COLUMN_##name] = title,

const char *const column_names[COLUMN_COUNT] = { COLUMNS(COLUMN_TITLE) };

static void (*const columns[COLUMN_COUNT])(struct cell *c) = { COLUMNS(COLUMN_FUNCTION) };

bool cell_marked;

void column_open(struct cell *c)
{
	char spec[96];

	snprintf(spec, sizeof(spec), "model:mode=%s,vram=%s,home=%s,engines=3%s",
		 c->mode == MODE_COPY ? "copy" : "move",
		 c->column == COLUMN_EVICTED ? "2M" : "16M",
		 c->column == COLUMN_PART ? "4K" : "2M",
		 cell_marked ? ",entries=marked" : "");
	live_open(&c->live, c->live.param, spec);
	if (c->column == COLUMN_MOVING)
		c->held = held_open(&c->held_live, c->live.param);
}

void column_enter(struct cell *c)
{
	if (!c->native)
		columns[c->column](c);
	else if (c->has_part)
		assert_int_equal(madvise(c->at + 3 * c->part, c->part, MADV_DONTNEED), 0);
}

void column_leave(struct cell *c)
{
	if (c->held)
		held_finish(c->held, NULL); /* however it ends: the memory may be gone */
}
