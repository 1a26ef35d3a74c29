/* SPDX-License-Identifier: MIT */
/*
 * What the device takes and what it uses in place: section B, by the kind of memory.
 * Whatever the kind, the GPU reads what the CPU wrote and the CPU what the GPU wrote.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "live/support/live.h"

static unsigned char bss[64 * LIVE_PAGE] __attribute__((aligned(4096)));
static unsigned char data[16 * LIVE_PAGE] __attribute__((aligned(4096))) = { 1 };

/* Both sides write and read @at; @taken: it is on the device meanwhile, else at home. */
static void use(struct live *live, unsigned char *at, size_t bytes, bool taken)
{
	live_fill(at, bytes, 1, 0);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, taken ? LIVE_DEVICE : LIVE_HOME);
	gpu_assert_filled(live, at, bytes, 1, 0);
	gpu_fill(live, at, bytes, 2, 0);
	live_assert_filled(at, bytes, 2, 0);
	live_fill(at, bytes / 2, 3, 0);
	gpu_assert_filled(live, at, bytes / 2, 3, 0);
	gpu_assert_filled(live, at + bytes / 2, bytes / 2, 2, bytes / 2);
	live_assert_filled(at, bytes / 2, 3, 0);
	live_assert_filled(at + bytes / 2, bytes / 2, 2, bytes / 2);
}

/* The brk heap has what the program uses all the time beside the memory at hand: a page
 * may come home with its neighbour at any time, so only its way there is counted. */
static void heap_is_taken(void **state)
{
	struct live *live = *state;
	struct live_counts before = live_counts(live), after;
	size_t bytes = 16 * LIVE_PAGE;
	void *memory = malloc(bytes + LIVE_PAGE);
	unsigned char *at = (void *)(((uintptr_t)memory + LIVE_PAGE) & ~(LIVE_PAGE - 1));

	live_fill(at, bytes, 1, 0);
	live_take(live, at, bytes);
	after = live_counts(live);
	assert_true(after.to_device - before.to_device >= 16);
	gpu_fill(live, at, bytes, 2, 0);
	live_assert_filled(at, bytes, 2, 0);
	free(memory);
	at = aligned_alloc(LIVE_HUGE, 2 * LIVE_HUGE); /* of mmap */
	use(live, at, 2 * LIVE_HUGE, true);
	free(at);
}

static void bss_is_taken(void **state)
{
	use(*state, bss, sizeof(bss), !LIVE_SANITIZED);
}

static void data_is_used_in_place(void **state)
{
	use(*state, data, sizeof(data), false);
}

static void the_stack_is_used_in_place(void **state)
{
	unsigned char local[4 * LIVE_PAGE] __attribute__((aligned(4096)));

	use(*state, local, sizeof(local), false);
}

/* @fd is closed. */
static void use_file(struct live *live, int fd, int flags, bool taken)
{
	const size_t bytes = 16 * LIVE_PAGE;
	unsigned char *at;

	assert_true(fd >= 0);
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	use(live, at, bytes, taken);
	munmap(at, bytes);
	close(fd);
}

static int file_of(int fd)
{
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 16 * LIVE_PAGE), 0);
	return fd;
}

static void files_are_used_in_place(void **state)
{
	int fd = file_of(memfd_create("live", MFD_CLOEXEC));

	use_file(*state, dup(fd), MAP_SHARED, false);
	use_file(*state, fd, MAP_PRIVATE, false);
	fd = file_of(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	use_file(*state, dup(fd), MAP_SHARED, false);
	use_file(*state, fd, MAP_PRIVATE, false);
	use_file(*state, open("/dev/zero", O_RDWR | O_CLOEXEC), MAP_SHARED, false);
	use_file(*state, dup(0), MAP_SHARED | MAP_ANONYMOUS, false);
}

/* Private /dev/zero moves as anonymous memory does, though it has a name in maps: taken
 * or not, it must be right. */
static void private_dev_zero_is_right(void **state)
{
	struct live *live = *state;
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	unsigned char *at = mmap(NULL, 16 * LIVE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
				 0);
	unsigned char *other = live_on_device(live, 16 * LIVE_PAGE, 9);

	assert_ptr_not_equal(at, MAP_FAILED);
	live_fill(at, 16 * LIVE_PAGE, 1, 0);
	live_take(live, at, 16 * LIVE_PAGE);
	gpu_assert_filled(live, at, 16 * LIVE_PAGE, 1, 0);
	gpu_fill(live, at, 16 * LIVE_PAGE, 2, 0);
	live_assert_filled(at, 16 * LIVE_PAGE, 2, 0);
	live_assert_state(live, other, 16 * LIVE_PAGE, LIVE_DEVICE);
	close(fd);
	munmap(at, 16 * LIVE_PAGE);
}

/* Sets nr_hugepages and returns what it was; -1: it cannot be set. */
static long set_huge_pages(long count)
{
	FILE *file = fopen("/proc/sys/vm/nr_hugepages", "r+e");
	long old = -1, now = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%ld", &old) == 1) {
		rewind(file);
		fprintf(file, "%ld\n", count < 0 ? old : count);
		fflush(file);
		rewind(file);
		if (fscanf(file, "%ld", &now) != 1)
			now = -1;
	}
	fclose(file);
	return now >= count ? old : -1;
}

static void hugetlb_is_used_in_place(void **state)
{
	struct live *live = *state;
	long old = set_huge_pages(2);
	unsigned char *at = old < 0 ? MAP_FAILED :
		mmap(NULL, LIVE_HUGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (at == MAP_FAILED) {
		printf("SKIP: no hugetlb pages\n");
		skip();
	}
	live_fill(at, LIVE_HUGE, 1, 0);
	live_take(live, at, LIVE_HUGE);
	live_assert_state(live, at, LIVE_HUGE, LIVE_HOME);
	gpu_fill(live, at, LIVE_HUGE, 2, 0);
	live_assert_filled(at, LIVE_HUGE, 2, 0);
	munmap(at, LIVE_HUGE);
	set_huge_pages(old);
}

/* B: hole: the GPU's first touch; an output buffer that nobody wrote. */
static void memory_that_nobody_touched_is_zero_on_the_device(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_map(live, bytes);
	struct live_counts before = live_counts(live);

	live_assert_state(live, at, bytes, LIVE_HOLE);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_counts(live, before, bytes / LIVE_PAGE, 0);
	assert_int_equal(gpu_sum(live, at, bytes), 0);
	gpu_fill(live, at, bytes / 2, 1, 0);
	live_assert_filled(at, bytes / 2, 1, 0);
	live_assert_zero(at + bytes / 2, bytes / 2);
}

/* B: holes between pages. */
static void holes_between_pages_are_zero(void **state)
{
	struct live *live = *state;
	size_t bytes = 64 * LIVE_PAGE;
	unsigned char *at = live_map(live, bytes);

	for (size_t i = 0; i < 64; i += 3)
		live_fill(at + i * LIVE_PAGE, LIVE_PAGE, i, 0);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 64; i++) {
			if (i % 3)
				live_assert_zero(at + i * LIVE_PAGE, LIVE_PAGE);
			else
				live_assert_filled(at + i * LIVE_PAGE, LIVE_PAGE, i, 0);
		}
		live_take(live, at, bytes);
	}
}

/* L10: what nobody asked for stays a hole. */
static void holes_far_from_the_fault_stay_holes(void **state)
{
	struct live *live = *state;
	unsigned char *at = live_map(live, LIVE_HUGE);

	live_fill(at, LIVE_PAGE, 1, 0);
	live_take(live, at, LIVE_PAGE);
	live_assert_state(live, at, LIVE_PAGE, LIVE_DEVICE);
	live_assert_state(live, at + LIVE_HUGE / 2, LIVE_HUGE / 2, LIVE_HOLE);
	live_assert_filled(at, LIVE_PAGE, 1, 0);
}

/* B: 4K zero pages; huge zero page, whole. */
static void zero_pages_are_taken(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_map(live, bytes);

	live_assert_zero(at, bytes);
	live_assert_state(live, at, bytes, LIVE_HOME);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	assert_int_equal(gpu_sum(live, at, bytes), 0);
	gpu_fill(live, at, bytes / 2, 1, 0);
	live_assert_filled(at, bytes / 2, 1, 0);
	live_assert_zero(at + bytes / 2, bytes / 2);
}

/* A12: the first write in a block that was discarded gets a huge page, as natively. */
static void an_empty_block_gets_a_huge_page_again(void **state)
{
	const char *masked = getenv("USVM_FEATURES");
	struct live *live = *state;
	unsigned char *at = live_on_device(live, 2 * LIVE_HUGE, 1);
	uint64_t huge = live_stat(live, "mm_huge_holes");

	if (masked && strstr(masked, "pagemap_scan")) {
		printf("SKIP: nothing tells that a page is huge\n");
		skip();
	}

	live_assert_filled(at, 2 * LIVE_HUGE, 1, 0);
	assert_int_equal(madvise(at, 2 * LIVE_HUGE, MADV_DONTNEED), 0);
	live_assert_state(live, at, 2 * LIVE_HUGE, LIVE_HOLE);
	for (size_t i = 0; i < 2; i++) {
		at[i * LIVE_HUGE + 12345] = 1;
		assert_int_equal(live_huge(at + i * LIVE_HUGE, LIVE_HUGE),
				 LIVE_HUGE / LIVE_PAGE);
		at[i * LIVE_HUGE + 12345] = 0;
	}
	assert_int_equal(live_stat(live, "mm_huge_holes"), huge + 2);
	live_assert_zero(at, 2 * LIVE_HUGE);
	/* Which the device takes whole. */
	live_fill(at, 2 * LIVE_HUGE, 2, 0);
	live_take(live, at, 2 * LIVE_HUGE);
	live_assert_state(live, at, 2 * LIVE_HUGE, LIVE_DEVICE);
	live_assert_filled(at, 2 * LIVE_HUGE, 2, 0);
	/* A block that only reads are made of costs no memory. */
	assert_int_equal(madvise(at, LIVE_HUGE, MADV_DONTNEED), 0);
	live_assert_zero(at, LIVE_HUGE);
	assert_int_equal(live_huge(at, LIVE_HUGE), 0);
}

/* B: a huge page stays one, both ways (the aligned case is what [huge] tests are). */
static void a_huge_page_comes_home_as_one(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);

	live_assert_filled(at, bytes, 1, 0);
	assert_int_equal(live_huge(at, bytes), bytes / LIVE_PAGE);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_filled(at, bytes, 1, 0);
	assert_int_equal(live_huge(at, bytes), bytes / LIVE_PAGE);
}

/* Pages that come home to a place with a page table are small; those behind them are not. */
static void huge_pages_come_home_behind_small_ones(void **state)
{
	struct live *live = *state;
	unsigned char *small = live_map(live, LIVE_HUGE);
	unsigned char *huge = live_map(live, LIVE_HUGE);

	assert_int_equal(madvise(small, LIVE_HUGE, MADV_NOHUGEPAGE), 0);
	live_fill(small, LIVE_HUGE, 1, 0);
	live_fill(huge, LIVE_HUGE, 2, 0);
	assert_int_equal(live_huge(small, LIVE_HUGE), 0);
	for (int i = 0; i < 3; i++) {
		live_take(live, small, LIVE_HUGE);
		live_take(live, huge, LIVE_HUGE);
		live_assert_state(live, small, LIVE_HUGE, LIVE_DEVICE);
		live_assert_state(live, huge, LIVE_HUGE, LIVE_DEVICE);
		live_assert_filled(small, LIVE_HUGE, 1, 0);
		live_assert_filled(huge, LIVE_HUGE, 2, 0);
		assert_int_equal(live_huge(huge, LIVE_HUGE), LIVE_HUGE / LIVE_PAGE);
	}
}

/* B: THP moved to a place that is not aligned, or in part. */
static void parts_of_huge_pages_are_taken(void **state)
{
	struct live *live = *state;
	unsigned char *at = live_map(live, 2 * LIVE_HUGE);
	unsigned char *part = at + LIVE_HUGE / 2 + 3 * LIVE_PAGE;

	live_fill(at, 2 * LIVE_HUGE, 1, 0);
	assert_int_equal(munmap(at, LIVE_HUGE / 2 + LIVE_PAGE), 0);
	assert_int_equal(munmap(at + 2 * LIVE_HUGE - 5 * LIVE_PAGE, 5 * LIVE_PAGE), 0);
	live_take(live, part, LIVE_HUGE);
	live_assert_state(live, part, LIVE_HUGE, LIVE_DEVICE);
	gpu_assert_filled(live, part, LIVE_HUGE, 1, (size_t)(part - at));
	live_assert_filled(part, LIVE_HUGE, 1, (size_t)(part - at));
}

/* A VM that reaches the 64 KiB in the middle of a huge page, and takes no more. */
static void take_middle(struct live *live, unsigned char *middle)
{
	const size_t bytes = 16 * LIVE_PAGE;
	struct live other = *live;

	assert_int_equal(usvm_vm_create(live->gpu, &(struct usvm_vm_config){
		.flags = USVM_VM_NO_MIRROR }, &other.vm), 0);
	assert_int_equal(usvm_vm_mirror(other.vm, live->result, LIVE_PAGE, 0), 0);
	assert_int_equal(usvm_vm_mirror(other.vm, middle, bytes, 0), 0);
	assert_int_equal(usvm_queue_create(other.vm, NULL, &other.queue), 0);
	live_take(&other, middle, bytes);
	live_assert_state(live, middle - LIVE_PAGE, LIVE_PAGE, LIVE_HOME);
	live_assert_state(live, middle, bytes, LIVE_DEVICE);
	live_assert_state(live, middle + bytes, LIVE_PAGE, LIVE_HOME);
	assert_int_equal(usvm_queue_destroy(other.queue), 0);
	assert_int_equal(usvm_vm_destroy(other.vm), 0);
}

/* B: small pages out of a huge page that is whole, and out of the huge zero page. */
static void a_huge_page_is_split_for_a_part(void **state)
{
	struct live *live = *state;
	unsigned char *at = live_filled(live, LIVE_HUGE, 1);
	unsigned char *middle = at + LIVE_HUGE / 2;

	take_middle(live, middle);
	gpu_assert_filled(live, at, LIVE_HUGE, 1, 0);
	live_assert_filled(at, LIVE_HUGE, 1, 0);

	at = live_map(live, LIVE_HUGE);
	middle = at + LIVE_HUGE / 2;
	assert_int_equal(at[0], 0);
	live_assert_state(live, at, LIVE_HUGE, LIVE_HOME); /* one read: all of it */
	take_middle(live, middle);
	assert_int_equal(gpu_sum(live, middle, 16 * LIVE_PAGE), 0);
	gpu_fill(live, middle, 16 * LIVE_PAGE, 2, 0);
	live_assert_filled(middle, 16 * LIVE_PAGE, 2, 0);
	live_assert_zero(at, LIVE_HUGE / 2);
	live_assert_zero(middle + 16 * LIVE_PAGE, LIVE_HUGE / 2 - 16 * LIVE_PAGE);
}

/* B: pages that the kernel may have written to swap: neither the CPU's fault nor the
 * device's take sees a difference. */
static void paged_out_pages_are_taken(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	struct live_counts before;

	live_assert_filled(at, bytes, 1, 0);
	before = live_counts(live);
	assert_int_equal(madvise(at, bytes, MADV_PAGEOUT), 0);
	live_assert_state(live, at, bytes, LIVE_HOME); /* present or swapped */
	live_assert_filled(at, bytes / 2, 1, 0);
	live_assert_counts(live, before, 0, 0);
	assert_int_equal(madvise(at, bytes, MADV_PAGEOUT), 0);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	gpu_assert_filled(live, at, bytes, 1, 0);
	live_assert_filled(at, bytes, 1, 0);
	live_assert_counts(live, before, bytes / LIVE_PAGE, bytes / LIVE_PAGE);
}

/* B: a lazily freed page that was written again. */
static void lazily_freed_pages_are_taken(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_filled(live, bytes, 1);

	assert_int_equal(madvise(at, bytes, MADV_FREE), 0);
	live_fill(at, bytes / 2, 2, 0);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	gpu_assert_filled(live, at, bytes / 2, 2, 0);
	live_assert_filled(at, bytes / 2, 2, 0);
}

static void protections_differ(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *at = live_filled(live, bytes, 1);

	/* B: PROT_READ, PROT_NONE, RWX: EINVAL. Two VMAs: each by itself. */
	assert_int_equal(mprotect(at, part, PROT_READ), 0);
	assert_int_equal(mprotect(at + part, part, PROT_NONE), 0);
	assert_int_equal(mprotect(at + 2 * part, part, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
	gpu_assert_filled(live, at, part, 1, 0);
	assert_int_equal(gpu_try(live, USVM_ACCESS_WRITE, at, NULL), -EPERM);
	assert_int_equal(gpu_try(live, USVM_ACCESS_READ, at + part, NULL), -EPERM);
	assert_int_equal(gpu_try(live, USVM_ACCESS_ATOMIC, at + 2 * part - 8, NULL), -EPERM);
	gpu_assert_filled(live, at + 2 * part, part, 1, 2 * part);
	gpu_fill(live, at + 2 * part, part, 2, 0);
	live_take(live, at + 3 * part, part);
	live_assert_state(live, at, 3 * part, LIVE_HOME);
	live_assert_state(live, at + 3 * part, part, LIVE_DEVICE);
	live_assert_filled(at, part, 1, 0);
	live_assert_filled(at + 2 * part, part, 2, 0);
	live_assert_filled(at + 3 * part, part, 1, 3 * part);
	assert_int_equal(mprotect(at + part, part, PROT_READ | PROT_WRITE), 0);
	live_assert_filled(at + part, part, 1, part);
}

/* B: an access that lies in two pages, of which one is at home for ever. */
static void an_access_may_lie_in_two_vmas(void **state)
{
	struct live *live = *state;
	unsigned char *at = live_filled(live, 32 * LIVE_PAGE, 1);
	unsigned char *seam = at + 16 * LIVE_PAGE;
	uint64_t expected;

	assert_int_equal(live_mlock(seam, 16 * LIVE_PAGE), 0);
	live_take(live, at, 16 * LIVE_PAGE);
	live_assert_state(live, at, 16 * LIVE_PAGE, LIVE_DEVICE);
	live_assert_state(live, seam, 16 * LIVE_PAGE, LIVE_HOME);
	gpu_write64(live, seam - 3, 0x1122334455667788);
	assert_int_equal(gpu_read64(live, seam - 3), 0x1122334455667788);
	memcpy(&expected, seam - 3, 8);
	assert_int_equal(expected, 0x1122334455667788);
}

/* B: KSM merges pages of registered VMAs too; a write takes them apart. */
static void merged_pages_are_taken_after_all(void **state)
{
	struct live *live = *state;
	size_t bytes = 64 * LIVE_PAGE;
	unsigned char *at = live_map(live, bytes);
	FILE *run = fopen("/sys/kernel/mm/ksm/run", "r+e");

	if (!run || madvise(at, bytes, MADV_MERGEABLE)) {
		printf("SKIP: no KSM here\n");
		skip();
	}
	for (size_t i = 0; i < 64; i++)
		live_fill(at + i * LIVE_PAGE, LIVE_PAGE, 1, 0);
	fputs("1\n", run);
	fclose(run);
	for (int i = 0; i < 10; i++) {
		live_take(live, at, bytes);
		live_assert_state(live, at, bytes, LIVE_DEVICE);
		gpu_fill(live, at, LIVE_PAGE, (uint64_t)i, 0);
		live_assert_filled(at, LIVE_PAGE, (uint64_t)i, 0);
		live_assert_filled(at + LIVE_PAGE, LIVE_PAGE, 1, 0);
	}
	run = fopen("/sys/kernel/mm/ksm/run", "re+");
	if (run) {
		fputs("2\n", run); /* unmerge */
		fclose(run);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_MODES(heap_is_taken),
		LIVE_TEST_MODES(bss_is_taken),
		LIVE_TEST_MODES(data_is_used_in_place),
		LIVE_TEST_MODES(the_stack_is_used_in_place),
		LIVE_TEST_MODES(files_are_used_in_place),
		LIVE_TEST_MODES(private_dev_zero_is_right),
		LIVE_TEST_MODES(hugetlb_is_used_in_place),
		LIVE_TEST_ALL(memory_that_nobody_touched_is_zero_on_the_device),
		LIVE_TEST_MODES(holes_between_pages_are_zero),
		LIVE_TEST_MODES(holes_far_from_the_fault_stay_holes),
		LIVE_TEST_ALL(zero_pages_are_taken),
		LIVE_ENTRY(an_empty_block_gets_a_huge_page_again, " [move]", &live_move_huge),
		LIVE_ENTRY(an_empty_block_gets_a_huge_page_again, " [copy]", &live_copy_huge),
		LIVE_ENTRY(a_huge_page_comes_home_as_one, " [move]", &live_move_huge),
		LIVE_ENTRY(a_huge_page_comes_home_as_one, " [copy]", &live_copy_huge),
		LIVE_ENTRY(huge_pages_come_home_behind_small_ones, " [move]", &live_move_huge),
		LIVE_ENTRY(huge_pages_come_home_behind_small_ones, " [copy]", &live_copy_huge),
		LIVE_ENTRY(parts_of_huge_pages_are_taken, " [move]", &live_move_huge),
		LIVE_ENTRY(parts_of_huge_pages_are_taken, " [copy]", &live_copy_huge),
		LIVE_ENTRY(a_huge_page_is_split_for_a_part, " [move]", &live_move_huge),
		LIVE_ENTRY(a_huge_page_is_split_for_a_part, " [copy]", &live_copy_huge),
		LIVE_TEST_ALL(paged_out_pages_are_taken),
		LIVE_TEST_ALL(lazily_freed_pages_are_taken),
		LIVE_TEST_ALL(protections_differ),
		LIVE_TEST_MODES(an_access_may_lie_in_two_vmas),
		LIVE_TEST_MODES(merged_pages_are_taken_after_all),
	};

	return LIVE_RUN(tests);
}
