/* SPDX-License-Identifier: MIT */
/*
 * More memory than the device has: what it needs evicts what it had.
 *
 * After each pass device memory is full and not over-full, by usvm's own figures, by
 * the page query, and by /proc/self/pagemap; each eviction is counted, none fails, and
 * every word is right on the GPU and on the CPU.
 */
#include <sys/mman.h>

#include "live/support/usage.h"

#define MIB(n) ((size_t)(n) << 20)
#define PROGRAM_THREADS 2 /* main() and the guard */

/* How a test is run: through how little memory. */
struct size {
	const struct live_param *param;
	const char *spec;
	size_t bytes, vram_bytes;
};

/* Device memory is full of the pages of the span, and no page is in two places. */
static void assert_full(const struct live *live, const struct size *size, const void *at)
{
	struct usvm_device_info info;
	uint64_t pages[4];

	live_stat(live, "");
	assert_int_equal(usvm_query_span(live->vm, at, size->bytes, pages), 0);
	assert_int_equal(usvm_device_info(live->gpu, &info), 0);
	assert_int_equal(info.vram_bytes, size->vram_bytes);
	assert_int_equal(info.vram_used_bytes, size->vram_bytes);
	assert_int_equal(pages[USVM_PAGE_DEVICE], size->vram_bytes / LIVE_PAGE);
	assert_int_equal(pages[USVM_PAGE_HOME], (size->bytes - size->vram_bytes) / LIVE_PAGE);
	assert_int_equal(pages[USVM_PAGE_MOVING] + pages[USVM_PAGE_UNMAPPED], 0);
	assert_int_equal(live_present(at, size->bytes), pages[USVM_PAGE_HOME]);
	assert_int_equal(live_stat(live, "mm_device_pages"), pages[USVM_PAGE_DEVICE]);
	assert_in_range(live_stat(live, "vram_used_bytes_max"), size->vram_bytes,
			size->vram_bytes);
}

/* The GPU writes all, reads all, and the CPU reads all. */
static void more_memory_than_the_device_has_passes_through(void **state)
{
	const struct size *size = *state;
	size_t pages = size->bytes / LIVE_PAGE;
	uint64_t evictions = (size->bytes - size->vram_bytes) / LIVE_HUGE;
	struct live_counts before;
	struct live live = { 0 };
	unsigned char *at;

	live_guard(__func__, 60);
	live_open(&live, size->param, size->spec);
	at = live_filled(&live, size->bytes, 1);
	before = live_counts(&live);
	gpu_assert_filled(&live, at, size->bytes, 1, 0);
	assert_full(&live, size, at);
	live_assert_counts(&live, before, pages,
			   (size->bytes - size->vram_bytes) / LIVE_PAGE);
	assert_int_equal(live_stat(&live, "vram_evictions"), evictions);

	/* The first pages are the longest gone: everything goes round once more. */
	gpu_fill(&live, at, size->bytes, 2, 0);
	assert_full(&live, size, at);
	live_assert_counts(&live, before, 2 * pages,
			   (2 * size->bytes - size->vram_bytes) / LIVE_PAGE);
	assert_int_equal(live_stat(&live, "vram_evictions"),
			 evictions + size->bytes / LIVE_HUGE);
	assert_int_equal(live_stat(&live, "vram_evictions_failed"), 0);
	assert_int_equal(live_stat(&live, "usvm_pages_busy"), 0);

	live_assert_filled(at, size->bytes, 2, 0);
	live_assert_state(&live, at, size->bytes, LIVE_HOME);
	if (size->param->huge)
		assert_int_equal(live_huge(at, size->bytes), pages);

	/* The device is full when it is closed. */
	live_take(&live, at, size->bytes);
	assert_full(&live, size, at);
	live_close(&live);
	assert_int_equal(live_present(at, size->bytes), pages);
	live_assert_filled(at, size->bytes, 2, 0);
	munmap(at, size->bytes);
}

/* Frames go back with the device: what is resident afterwards is the program's. */
static void nothing_is_left_behind(void **state)
{
	const struct size *size = *state;
	const struct live scene = { .param = size->param };
	unsigned char *at = live_map(&scene, size->bytes);
	struct usage before = { 0 };

	live_guard(__func__, 60);
	for (int i = 0; i < 4; i++) {
		struct usvm_device_info info;
		struct live live = { 0 };

		live_open(&live, size->param, size->spec);
		assert_int_equal(usvm_device_info(live.gpu, &info), 0);
		assert_int_equal(info.vram_used_bytes, 0);
		live_fill(at, size->bytes, 1, 0);
		live_assert_state(&live, at, size->bytes, LIVE_HOME);
		live_take(&live, at, size->bytes);
		assert_full(&live, size, at);
		live_close(&live);
		live_assert_filled(at, size->bytes, 1, 0);
		if (i == 0)
			before = usage_now(PROGRAM_THREADS);
	}
	assert_usage(before);
	munmap(at, size->bytes);
}

/* Two engines with a queue each, and room for one of them. */
static void two_engines_share_one_block(void **state)
{
	const struct size *size = *state;
	struct live live = { 0 };
	struct usvm_queue *other;
	struct usvm_fence *fences[2];
	uint64_t rounds = 100;
	unsigned char *at;

	live_guard(__func__, 60);
	live_open(&live, size->param, size->spec);
	assert_int_equal(usvm_queue_create(live.vm, NULL, &other), 0);
	at = live_filled(&live, 2 * LIVE_HUGE, 1);
	live_take(&live, at, LIVE_HUGE);
	live_assert_state(&live, at, LIVE_HUGE, LIVE_DEVICE);
	live_assert_state(&live, at + LIVE_HUGE, LIVE_HUGE, LIVE_HOME);
	live_take(&live, at + LIVE_HUGE, LIVE_HUGE);
	live_assert_state(&live, at, LIVE_HUGE, LIVE_HOME);
	live_assert_state(&live, at + LIVE_HUGE, LIVE_HUGE, LIVE_DEVICE);
	*(uint64_t *)at = *(uint64_t *)(at + LIVE_HUGE) = 0;

	/* Both add to one word of each block, and to another. */
	fences[0] = gpu_start_add(&live, NULL, at, LIVE_HUGE, 2, rounds);
	fences[1] = gpu_start_add(&live, other, at, LIVE_HUGE, 2, rounds);
	gpu_finish(fences[0]);
	gpu_finish(fences[1]);
	assert_int_equal(*(uint64_t *)at, 2 * rounds);
	assert_int_equal(*(uint64_t *)(at + LIVE_HUGE), 2 * rounds);
	live_assert_filled(at + 8, LIVE_HUGE - 8, 1, 8);
	live_assert_filled(at + LIVE_HUGE + 8, LIVE_HUGE - 8, 1, LIVE_HUGE + 8);
	assert_true(live_stat(&live, "vram_evictions") >= 2);
	assert_int_equal(usvm_queue_destroy(other), 0);
	live_close(&live);
	munmap(at, 2 * LIVE_HUGE);
}

/* A prefetch of more than there is room for: the last of it is there, all is right. */
static void a_prefetch_may_be_too_large(void **state)
{
	const struct size *size = *state;
	struct live live = { 0 };
	unsigned char *at;

	live_guard(__func__, 60);
	live_open(&live, size->param, size->spec);
	at = live_filled(&live, size->bytes, 1);
	assert_int_equal(usvm_prefetch(live.vm, at, size->bytes, USVM_PLACE_DEVICE), 0);
	assert_full(&live, size, at);
	live_assert_state(&live, at + size->bytes - size->vram_bytes, size->vram_bytes,
			  LIVE_DEVICE);
	gpu_assert_filled(&live, at, size->bytes, 1, 0);
	assert_int_equal(usvm_prefetch(live.vm, at, size->bytes, USVM_PLACE_SYSTEM), 0);
	live_assert_state(&live, at, size->bytes, LIVE_HOME);
	live_assert_filled(at, size->bytes, 1, 0);
	live_close(&live);
	munmap(at, size->bytes);
}

/* Memory that the GPU fills first: holes take room, too. */
static void output_may_be_larger_than_the_device(void **state)
{
	const struct size *size = *state;
	struct live live = { 0 };
	unsigned char *at;

	live_guard(__func__, 60);
	live_open(&live, size->param, size->spec);
	at = live_map(&live, size->bytes);
	live_assert_state(&live, at, size->bytes, LIVE_HOLE);
	gpu_fill(&live, at, size->bytes, 1, 0);
	assert_full(&live, size, at);
	gpu_assert_filled(&live, at, size->bytes, 1, 0);
	live_assert_filled(at, size->bytes, 1, 0);
	assert_int_equal(live_stat(&live, "vram_evictions_failed"), 0);
	live_close(&live);
	munmap(at, size->bytes);
}

#define SIZE(name, param, mode, vram, all)                                                    \
	static const struct size name = { &(param), "model:vram=" #vram "M,mode=" mode,       \
					  MIB(all), MIB(vram) }

SIZE(large_move, live_move, "move", 64, 1024);
SIZE(large_copy, live_copy, "copy", 64, 512);
SIZE(large_move_huge, live_move_huge, "move", 64, 512);
SIZE(large_copy_huge, live_copy_huge, "copy", 64, 512);
SIZE(small_move, live_move, "move", 2, 16);
SIZE(small_copy, live_copy, "copy", 2, 16);
SIZE(small_move_huge, live_move_huge, "move", 2, 16);
SIZE(small_copy_huge, live_copy_huge, "copy", 2, 16);

#define ENTRY(f, what, size) { #f what, f, NULL, NULL, (void *)(uintptr_t)&(size) }
#define ENTRY_LARGE(f)                                                                    \
	ENTRY(f, " [64M, move]", large_move), ENTRY(f, " [64M, copy]", large_copy),       \
		ENTRY(f, " [64M, move, huge]", large_move_huge),                          \
		ENTRY(f, " [64M, copy, huge]", large_copy_huge)
#define ENTRY_SMALL(f)                                                                    \
	ENTRY(f, " [2M, move]", small_move), ENTRY(f, " [2M, copy]", small_copy),         \
		ENTRY(f, " [2M, move, huge]", small_move_huge),                           \
		ENTRY(f, " [2M, copy, huge]", small_copy_huge)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ENTRY_LARGE(more_memory_than_the_device_has_passes_through),
		ENTRY_SMALL(more_memory_than_the_device_has_passes_through),
		ENTRY_SMALL(nothing_is_left_behind),
		ENTRY_SMALL(two_engines_share_one_block),
		ENTRY_SMALL(a_prefetch_may_be_too_large),
		ENTRY_SMALL(output_may_be_larger_than_the_device),
	};

	return LIVE_RUN(tests);
}
