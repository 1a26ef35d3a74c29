/* SPDX-License-Identifier: MIT */
/*
 * DOC: Opening, memory, and the proof of where it is
 *
 * Test memory stands alone: pages without access lie on both sides, so that no
 * neighbour joins its VMA and no test sees another's. It is not given back by the
 * teardown; what a test maps it unmaps, where that matters.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live/support/live.h"

/* A test says where its pages are; how often they went to and fro before does not count.
 * live/policy is about that. */
const struct live_param live_move = { "model:mode=move,thrash_control=no", false, false };
const struct live_param live_copy = { "model:mode=copy,thrash_control=no", true, false };
const struct live_param live_move_huge = { "model:mode=move,thrash_control=no", false, true };
const struct live_param live_copy_huge = { "model:mode=copy,thrash_control=no", true, true };

/* --- opening ---------------- */

void live_open(struct live *live, const struct live_param *param, const char *spec)
{
	live->param = param;
	live->result = mmap(NULL, LIVE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(live->result, MAP_FAILED);
	assert_int_equal(usvm_open(spec, &live->gpu), 0);
	assert_int_equal(usvm_vm_create(live->gpu, NULL, &live->vm), 0);
	assert_int_equal(usvm_queue_create(live->vm, NULL, &live->queue), 0);
}

void live_close(struct live *live)
{
	assert_int_equal(usvm_queue_destroy(live->queue), 0);
	assert_int_equal(usvm_vm_destroy(live->vm), 0);
	assert_int_equal(usvm_close(live->gpu), 0);
	munmap(live->result, LIVE_PAGE);
}

int live_setup(void **state)
{
	const struct live_param *param = *state;
	struct live *live = calloc(1, sizeof(*live));

	assert_non_null(live);
	live_guard(param->spec, 20);
	live_open(live, param, param->spec);
	*state = live;
	return 0;
}

int live_teardown(void **state)
{
	struct live *live = *state;

	live_close(live);
	free(live);
	live_guard(NULL, 0);
	return 0;
}

/* Why nothing migrates here. Return: false if it does. */
static bool cannot_migrate(char *why, size_t bytes)
{
	struct usvm_device_info info;
	struct usvm *gpu;
	int err = usvm_open("model:vram=2M", &gpu);

	if (err) {
		fprintf(stderr, "usvm_open: %s\n", usvm_strerror(err));
		exit(1);
	}
	if (usvm_device_info(gpu, &info) || usvm_close(gpu))
		exit(1);
	snprintf(why, bytes, "%s", info.why_not);
	return !info.migrates;
}

int live_run(const char *name, const struct CMUnitTest *tests, size_t count)
{
	char why[128];

	setvbuf(stdout, NULL, _IOLBF, 0);
	live_guard(name, 20);
	if (cannot_migrate(why, sizeof(why))) {
		printf("SKIP: %s\n", why);
		return LIVE_SKIP;
	}
	return _cmocka_run_group_tests(name, tests, count, NULL, NULL) ? 1 : 0;
}

/* A thread runs on as soon as its page is there, or its event was read; the tables and
 * counters follow. A query waits for its turn, and so for them. */
uint64_t live_stat(const struct live *live, const char *name)
{
	struct usvm_page_info info;

	assert_int_equal(usvm_query(live->vm, live->result, &info), 0);
	return usvm_stat(live->gpu, name);
}

struct live_counts live_counts(const struct live *live)
{
	return (struct live_counts){
		.to_device = live_stat(live, "mm_taken_pages") +
			     live_stat(live, "mm_filled_pages"),
		.home = live_stat(live, "mm_home_moved_pages") +
			live_stat(live, "mm_home_copied_pages"),
	};
}

void live_assert_counts(const struct live *live, struct live_counts before,
			uint64_t to_device, uint64_t home)
{
	struct live_counts now = live_counts(live);

	assert_int_equal(now.to_device - before.to_device, to_device);
	assert_int_equal(now.home - before.home, home);
}

/* --- contents ---------------- */

uint64_t live_word(uint64_t seed, uint64_t index)
{
	uint64_t z = seed * 0x9E3779B97F4A7C15u + index + 1;

	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

void live_fill(void *at, size_t bytes, uint64_t seed, size_t offset)
{
	volatile uint64_t *words = at;

	for (size_t i = 0; i < bytes / 8; i++)
		words[i] = live_word(seed, offset / 8 + i);
}

/* The first word that is not as it should be; bytes / 8: none. */
static size_t first_wrong(const void *at, size_t bytes, uint64_t seed, size_t offset)
{
	const volatile uint64_t *words = at;
	size_t i = 0;

	while (i < bytes / 8 && words[i] == live_word(seed, offset / 8 + i))
		i++;
	return i;
}

bool live_is_filled(const void *at, size_t bytes, uint64_t seed, size_t offset)
{
	return first_wrong(at, bytes, seed, offset) == bytes / 8;
}

void live_assert_filled(const void *at, size_t bytes, uint64_t seed, size_t offset)
{
	size_t wrong = first_wrong(at, bytes, seed, offset);

	if (wrong != bytes / 8)
		fail_msg("byte %#zx of %#zx is %#lx, not %#lx of seed %lu", wrong * 8, bytes,
			 ((const uint64_t *)at)[wrong], live_word(seed, offset / 8 + wrong),
			 seed);
}

bool live_is_zero(const void *at, size_t bytes)
{
	const volatile uint64_t *words = at;
	uint64_t any = 0;

	for (size_t i = 0; i < bytes / 8; i++)
		any |= words[i];
	return !any;
}

void live_assert_zero(const void *at, size_t bytes)
{
	assert_true(live_is_zero(at, bytes));
}

/* --- memory ---------------- */

size_t live_bytes(const struct live *live)
{
	return live->param->huge ? 2 * LIVE_HUGE : 64 * LIVE_PAGE;
}

int live_mlock(const void *at, size_t bytes)
{
	return (int)syscall(SYS_mlock, at, bytes);
}

int live_munlock(const void *at, size_t bytes)
{
	return (int)syscall(SYS_munlock, at, bytes);
}

unsigned char *live_map(const struct live *live, size_t bytes)
{
	size_t all = bytes + 2 * LIVE_HUGE;
	unsigned char *base, *at;

	base = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(base, MAP_FAILED);
	at = (void *)(((uintptr_t)base + LIVE_HUGE) & ~(LIVE_HUGE - 1));
	if (at == base)
		at += LIVE_HUGE;
	assert_int_equal(mprotect(at, bytes, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(madvise(at, bytes, live->param->huge ? MADV_HUGEPAGE :
								MADV_NOHUGEPAGE), 0);
	return at;
}

unsigned char *live_filled(const struct live *live, size_t bytes, uint64_t seed)
{
	unsigned char *at = live_map(live, bytes);

	live_fill(at, bytes, seed, 0);
	live_assert_state(live, at, bytes, LIVE_HOME);
	assert_int_equal(live_huge(at, bytes), live->param->huge ? bytes / LIVE_PAGE : 0);
	return at;
}

unsigned char *live_on_device(struct live *live, size_t bytes, uint64_t seed)
{
	unsigned char *at = live_filled(live, bytes, seed);
	struct live_counts before = live_counts(live);

	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_counts(live, before, bytes / LIVE_PAGE, 0);
	return at;
}

/* --- where pages are ---------------- */

#define PAGEMAP_PRESENT (3ull << 62) /* present, or swapped */
#define PAGEMAP_WP (1ull << 57)

/* What is protected and not present is a mark, where nothing is swapped out. */
static bool is_there(uint64_t entry)
{
	return entry & PAGEMAP_PRESENT && (entry >> 63 || !(entry & PAGEMAP_WP));
}

size_t live_present(const void *at, size_t bytes)
{
	uint64_t entries[512];
	size_t left = bytes / LIVE_PAGE, present = 0;
	uint64_t offset = (uintptr_t)at / LIVE_PAGE * 8;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	while (left) {
		size_t some = left < 512 ? left : 512;

		assert_int_equal(pread(fd, entries, some * 8, (off_t)offset), some * 8);
		for (size_t i = 0; i < some; i++)
			present += is_there(entries[i]);
		left -= some;
		offset += some * 8;
	}
	close(fd);
	return present;
}

struct scan_run {
	uint64_t start, end, categories;
};

struct scan {
	uint64_t size, flags, start, end, walk_end, runs, run_count, max_pages;
	uint64_t inverted, all_of, any_of, returned;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan)
#define SCAN_HUGE (1ull << 6)

size_t live_huge(const void *at, size_t bytes)
{
	struct scan_run runs[64];
	uint64_t end = (uintptr_t)at + bytes;
	struct scan scan = { .size = sizeof(scan), .walk_end = (uintptr_t)at, .end = end,
			     .runs = (uintptr_t)runs, .run_count = 64, .all_of = SCAN_HUGE,
			     .returned = SCAN_HUGE };
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t huge = 0;

	assert_true(fd >= 0);
	while (scan.walk_end < end) {
		int count;

		scan.start = scan.walk_end;
		count = ioctl(fd, SCAN_IOCTL, &scan);
		assert_true(count >= 0);
		for (int i = 0; i < count; i++)
			huge += (runs[i].end - runs[i].start) / LIVE_PAGE;
	}
	close(fd);
	return huge;
}

static enum usvm_page_state queried_state(enum live_state state)
{
	switch (state) {
	case LIVE_UNMAPPED:
		return USVM_PAGE_UNMAPPED;
	case LIVE_MOVING:
		return USVM_PAGE_MOVING;
	case LIVE_DEVICE:
		return USVM_PAGE_DEVICE;
	default:
		return USVM_PAGE_HOME;
	}
}

void live_assert_state(const struct live *live, const void *at, size_t bytes,
		       enum live_state state)
{
	enum usvm_page_state expected = queried_state(state);
	struct usvm_page_info info;
	uint64_t pages[4];

	assert_int_equal(usvm_query_span(live->vm, at, bytes, pages), 0);
	if (pages[expected] != bytes / LIVE_PAGE)
		fail_msg("of %lu pages %lu are unmapped, %lu home, %lu moving, %lu on the device",
			 bytes / LIVE_PAGE, pages[0], pages[1], pages[2], pages[3]);
	assert_int_equal(usvm_query(live->vm, at, &info), 0);
	assert_int_equal(info.state, expected);
	assert_int_equal(live_present(at, bytes), state == LIVE_HOME ? bytes / LIVE_PAGE : 0);
}
