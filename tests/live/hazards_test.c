/* SPDX-License-Identifier: MIT */
/*
 * The rest of what broke earlier drafts: hazards T5, T6, T9, T14, T19; amendments A6,
 * A10 to A12; and pages that several VMs and devices want.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live/support/live.h"

static void *allocate_and_free(void *arg)
{
	uint64_t sum = 0;

	(void)arg;
	for (int i = 0; i < 50; i++) {
		uint64_t *block = malloc(64 + (size_t)i * 40);

		block[0] = (uint64_t)i;
		sum += block[0];
		free(block);
	}
	return (void *)(uintptr_t)sum;
}

/* T5: the C library's records of threads are in the heap. All of it goes to the device,
 * while threads begin, allocate and end, and usvm works. */
static void the_whole_heap_may_be_on_the_device(void **state)
{
	struct live *live = *state;
	unsigned char *end = sbrk(0), *start;
	void *block = malloc(1);
	struct live_counts before = live_counts(live);
	size_t bytes;

	start = (void *)((uintptr_t)block & ~(LIVE_PAGE - 1));
	free(block);
	if (LIVE_SANITIZED) {
		printf("SKIP: the sanitizer has the heap\n");
		skip();
	}
	start = start < end && end - start < (long)(64 * LIVE_HUGE) ? start : end - LIVE_PAGE;
	bytes = (size_t)(end - start) & ~(LIVE_PAGE - 1);
	for (int i = 0; i < 20; i++) {
		struct live_thread *thread;

		assert_int_equal(usvm_prefetch(live->vm, start, bytes, USVM_PLACE_DEVICE), 0);
		thread = live_thread_start(allocate_and_free, NULL);
		assert_int_equal(usvm_prefetch(live->vm, start, bytes, USVM_PLACE_DEVICE), 0);
		assert_int_equal((uintptr_t)live_thread_join(thread), 49 * 50 / 2);
	}
	assert_true(live_counts(live).to_device > before.to_device);
	assert_true(live_counts(live).home > before.home);
}

/* The faults of a sanitizer's shadow would be counted with those of the pages. */
__attribute__((no_sanitize("thread"), noinline)) static uint64_t
sum_of_pages(const unsigned char *at, size_t pages)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < pages; i++)
		sum += at[i * LIVE_PAGE];
	return sum;
}

/* T6: a file that the GPU used keeps its fault-around. */
static void file_mappings_keep_their_speed(void **state)
{
	struct live *live = *state;
	const size_t pages = 512;
	struct rusage before, after;
	unsigned char *at, *other = live_on_device(live, live_bytes(live), 1);
	uint64_t sum;
	FILE *file = tmpfile();

	assert_non_null(file);
	for (size_t i = 0; i < pages * LIVE_PAGE / 8; i++)
		fwrite(&(uint64_t){ 1 }, 8, 1, file);
	fflush(file);
	at = mmap(NULL, pages * LIVE_PAGE, PROT_READ, MAP_SHARED, fileno(file), 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	assert_int_equal(gpu_read64(live, at), 1);
	getrusage(RUSAGE_SELF, &before);
	sum = sum_of_pages(at, pages);
	getrusage(RUSAGE_SELF, &after);
	assert_int_equal(sum, pages);
	assert_true(after.ru_minflt - before.ru_minflt < (long)pages / 2);
	live_assert_state(live, other, live_bytes(live), LIVE_DEVICE);
	munmap(at, pages * LIVE_PAGE);
	fclose(file);
}

struct area {
	unsigned char *at;
	size_t bytes;
};

static void child_reads(void *arg)
{
	struct area *a = arg;

	CHILD_CHECK(live_is_filled(a->at, a->bytes, 1, 0));
}

/* T9: a fork with much on the device. */
static void a_fork_brings_much_home(void **state)
{
	struct live *live = *state;
	struct area a = { NULL, 32 * LIVE_HUGE };
	struct live_counts before;

	a.at = live_on_device(live, a.bytes, 1);
	before = live_counts(live);
	live_child(live_fork, child_reads, &a);
	live_assert_counts(live, before, 0, a.bytes / LIVE_PAGE);
	live_assert_state(live, a.at, a.bytes, LIVE_HOME);
	munmap(a.at, a.bytes);
}

/* T14: a program that blocks every signal: our threads do not, and the guarded access to
 * what is no longer mapped ends the job, not the process. */
static void a_program_may_block_all_signals(void **state)
{
	struct live *live = *state;
	struct live mine;
	unsigned char *at, *other;
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	live_open(&mine, live->param, live->param->spec);
	other = live_on_device(&mine, live_bytes(live), 1);
	at = mmap(NULL, LIVE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 20; i++) {
		*(uint64_t *)(void *)at = 5;
		assert_int_equal(gpu_read64(&mine, at), 5); /* in place */
		assert_int_equal(munmap(at, LIVE_PAGE), 0);
		assert_int_equal(gpu_try(&mine, USVM_ACCESS_READ, at, NULL), -EFAULT);
		assert_int_equal(gpu_try(&mine, USVM_ACCESS_ATOMIC, at, NULL), -EFAULT);
		assert_ptr_equal(mmap(at, LIVE_PAGE, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), at);
	}
	live_assert_filled(other, live_bytes(live), 1, 0);
	live_close(&mine);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* T19: memory that another userfaultfd has is used in place. */
static void memory_of_another_userfaultfd_is_used_in_place(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_map(live, bytes), *other = live_on_device(live, bytes, 9);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .range = { (uintptr_t)at, bytes },
					 .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	live_fill(at, bytes, 1, 0);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	assert_int_equal(ioctl(fd, UFFDIO_REGISTER, &range), 0);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_HOME);
	gpu_assert_filled(live, at, bytes, 1, 0);
	gpu_fill(live, at, bytes, 2, 0);
	live_assert_filled(at, bytes, 2, 0);
	live_assert_state(live, other, bytes, LIVE_DEVICE);
	close(fd);
	assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_DEVICE), 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_filled(at, bytes, 2, 0);
}

/* A6: neither a hole nor a mapping: ENOENT means both. */
static void a_gap_is_told_from_a_hole(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *at = live_map(live, bytes);
	struct usvm_fault fault;

	assert_int_equal(munmap(at + part, part), 0);
	for (size_t i = 0; i < 4; i++) {
		if (i == 1) {
			assert_int_equal(gpu_try(live, USVM_ACCESS_WRITE, at + part + 16,
						 &fault), -EFAULT);
			assert_int_equal(fault.addr, (uintptr_t)at + part + 16);
			continue;
		}
		live_take(live, at + i * part, part);
		live_assert_state(live, at + i * part, part, LIVE_DEVICE);
		assert_int_equal(gpu_sum(live, at + i * part, part), 0);
	}
	live_assert_state(live, at + part, part, LIVE_UNMAPPED);
	live_assert_zero(at, part);
	live_assert_zero(at + 2 * part, 2 * part);
}

/* A12: holes of a registered VMA come through the monitor: as zeros, and not one by one. */
static void first_touches_beside_device_pages_are_zero(void **state)
{
	struct live *live = *state;
	size_t bytes = 4 * LIVE_HUGE;
	unsigned char *at = live_map(live, bytes);
	uint64_t faults;

	live_fill(at, LIVE_PAGE, 1, 0);
	live_take(live, at, LIVE_PAGE);
	live_assert_state(live, at, LIVE_PAGE, LIVE_DEVICE);
	faults = live_stat(live, "mm_hole_faults");
	live_assert_zero(at + LIVE_HUGE, bytes - LIVE_HUGE);
	live_assert_state(live, at + LIVE_HUGE, bytes - LIVE_HUGE, LIVE_HOME);
	assert_in_range(live_stat(live, "mm_hole_faults") - faults, 1,
			3 * LIVE_HUGE / LIVE_PAGE / 8);
	live_fill(at + LIVE_HUGE, bytes - LIVE_HUGE, 2, 0);
	live_take(live, at + LIVE_HUGE, bytes - LIVE_HUGE);
	live_assert_state(live, at + LIVE_HUGE, bytes - LIVE_HUGE, LIVE_DEVICE);
	live_assert_filled(at + LIVE_HUGE, bytes - LIVE_HUGE, 2, 0);
	live_assert_filled(at, LIVE_PAGE, 1, 0);
	munmap(at, bytes);
}

/* Two VMs of one device map the same page of it. */
static void two_vms_share_device_pages(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	struct live second = *live;
	struct live_counts before = live_counts(live);

	assert_int_equal(usvm_vm_create(live->gpu, NULL, &second.vm), 0);
	assert_int_equal(usvm_queue_create(second.vm, NULL, &second.queue), 0);
	gpu_assert_filled(&second, at, bytes, 1, 0);
	gpu_fill(&second, at, bytes, 2, 0);
	gpu_assert_filled(live, at, bytes, 2, 0);
	live_assert_counts(live, before, 0, 0);
	assert_int_equal(munmap(at + LIVE_PAGE, LIVE_PAGE), 0);
	assert_int_equal(gpu_try(live, USVM_ACCESS_READ, at + LIVE_PAGE, NULL), -EFAULT);
	assert_int_equal(gpu_try(&second, USVM_ACCESS_READ, at + LIVE_PAGE, NULL), -EFAULT);
	live_assert_filled(at, LIVE_PAGE, 2, 0);
	assert_int_equal(usvm_queue_destroy(second.queue), 0);
	assert_int_equal(usvm_vm_destroy(second.vm), 0);
}

/* Two devices want the same page: it passes through home. */
static void two_devices_pass_pages_on(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	struct usvm_page_info info;
	struct live other;

	live_open(&other, live->param, live->param->copy ? "model:vram=16M,mode=move" :
							   "model:vram=16M,mode=copy");
	for (uint64_t i = 2; i < 12; i += 2) {
		gpu_fill(&other, at, bytes, i, 0);
		live_take(&other, at, bytes);
		live_assert_state(&other, at, bytes, LIVE_DEVICE);
		assert_int_equal(usvm_query(live->vm, at, &info), 0);
		assert_int_equal(info.state, USVM_PAGE_DEVICE);
		assert_int_equal(info.is_elsewhere, 1);
		assert_string_equal(info.device, "model");
		assert_int_equal(info.mapped, 0);
		gpu_assert_filled(live, at, bytes, i, 0);
		gpu_fill(live, at, bytes, i + 1, 0);
		gpu_assert_filled(&other, at, bytes, i + 1, 0);
	}
	live_close(&other);
	live_assert_filled(at, bytes, 11, 0);
}

static size_t max_map_count(void)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
	size_t count = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%zu", &count), 1);
	fclose(file);
	return count;
}

/* Design: never more than a quarter of max_map_count. Every second page is a mapping. */
static void too_many_mappings_stay_at_home(void **state)
{
	struct live *live = *state;
	const char *masked = getenv("USVM_FEATURES");
	size_t bound = max_map_count() / 8, count = bound + 100, on_device = 0;
	size_t bytes = 2 * count * LIVE_PAGE;
	uint64_t refused = live_stat(live, "mm_refused");
	uint64_t pages[4];
	unsigned char *at;

	if (bound > 10000) {
		printf("SKIP: too many mappings, %lu, to fill\n", bound);
		skip();
	}
	if (masked && strstr(masked, "procmap_query")) {
		printf("SKIP: each look reads all mappings: most of a minute\n");
		skip();
	}
	at = live_map(live, bytes);
	for (size_t i = 0; i < bytes; i += 2 * LIVE_PAGE) {
		*(uint64_t *)(at + i) = i;
		assert_int_equal(mprotect(at + i + LIVE_PAGE, LIVE_PAGE, PROT_NONE), 0);
		assert_int_equal(gpu_add64(live, at + i, 1), i);
	}
	assert_int_equal(usvm_query_span(live->vm, at, bytes, pages), 0);
	on_device = pages[USVM_PAGE_DEVICE];
	/* The test's own results, and what else of the program it used, are among them. */
	assert_in_range(on_device, bound - 16, bound);
	assert_true(live_stat(live, "mm_refused") >= refused + count - bound);
	for (size_t i = 0; i < bytes; i += 2 * LIVE_PAGE)
		assert_int_equal(*(uint64_t *)(at + i), i + 1);
	munmap(at, bytes);
}

struct reader {
	const unsigned char *at;
	size_t bytes;
	uint32_t begun, go; /* atomic */
	uint64_t wrong;
};

static void *read_pages(void *arg)
{
	struct reader *r = arg;

	__atomic_add_fetch(&r->begun, 1, __ATOMIC_ACQ_REL);
	while (!__atomic_load_n(&r->go, __ATOMIC_ACQUIRE))
		sched_yield();
	for (size_t i = 0; i < r->bytes; i += LIVE_PAGE) {
		if (!live_is_filled(r->at + i, 16, 1, i))
			__atomic_add_fetch(&r->wrong, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* A: who waits for a page when a userfaultfd is closed gets zeros: it must be home by
 * then, and nobody left waiting. */
static void a_close_serves_who_waits(void **state)
{
	struct live *live = *state;

	for (int round = 0; round < 4; round++) {
		struct reader r = { .bytes = 8 * LIVE_HUGE };
		struct live_thread *threads[2];
		struct live mine;

		live_open(&mine, live->param, live->param->spec);
		r.at = live_on_device(&mine, r.bytes, 1);
		for (int i = 0; i < 2; i++)
			threads[i] = live_thread_start(read_pages, &r);
		while (__atomic_load_n(&r.begun, __ATOMIC_ACQUIRE) != 2)
			sched_yield();
		live_assert_state(&mine, r.at, r.bytes, LIVE_DEVICE);
		__atomic_store_n(&r.go, 1, __ATOMIC_RELEASE);
		live_close(&mine);
		for (int i = 0; i < 2; i++)
			live_thread_join(threads[i]);
		assert_int_equal(r.wrong, 0);
		live_assert_state(live, r.at, r.bytes, LIVE_HOME);
		live_assert_filled(r.at, r.bytes, 1, 0);
		munmap((void *)(uintptr_t)r.at, r.bytes);
	}
}

static bool is_mapped(const void *at)
{
	return !msync((void *)(uintptr_t)at, LIVE_PAGE, MS_ASYNC);
}

/* A11: what is mapped beside memory that the GPU used does not join it, so mremap() over
 * both fails, perhaps halfway (docs/limits.md). Each half is whole, at one place. */
static void a_later_neighbour_does_not_join(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1), *beside = at + bytes;
	unsigned char *to = live_map(live, 2 * bytes), *now;

	assert_ptr_equal(mmap(beside, bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), beside);
	live_fill(beside, bytes, 2, 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	now = mremap(at, 2 * bytes, 2 * bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (now == MAP_FAILED)
		assert_int_equal(errno, EFAULT);
	now = is_mapped(at) ? at : to;
	live_assert_state(live, now, bytes, LIVE_DEVICE);
	gpu_assert_filled(live, now, bytes, 1, 0);
	live_assert_filled(now, bytes, 1, 0);
	now = is_mapped(beside) ? beside : to + bytes;
	live_assert_filled(now, bytes, 2, 0);
	gpu_assert_filled(live, now, bytes, 2, 0);
}

/* Closing brings home: law 10. */
static void a_close_leaves_everything_at_home(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at;
	struct live mine;

	live_open(&mine, live->param, live->param->spec);
	at = live_on_device(&mine, bytes, 1);
	live_close(&mine);
	live_assert_state(live, at, bytes, LIVE_HOME);
	live_assert_filled(at, bytes, 1, 0);
}

/* The flags of each mapping in smaps that has @at, or with 0 of each. */
static bool is_any_flagged(uintptr_t at, const char *flag, const char *beside)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	bool inside = false, found = false;
	char line[512];

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		uintptr_t start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = !at || (at >= start && at < end);
		else if (inside && !strncmp(line, "VmFlags:", 8))
			found |= strstr(line, flag) && (!beside || strstr(line, beside));
	}
	fclose(smaps);
	return found;
}

/* A device goes everywhere, also where usvm keeps what it knows: a first touch there, by
 * whoever holds the lock that the monitor needs, would wait for ever (laws 1, 3). */
static void a_device_that_goes_everywhere_leaves_usvm_alone(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	const size_t all = (1ul << 47) - LIVE_HUGE;
	struct usvm_device_info info;

	assert_int_equal(usvm_device_info(live->gpu, &info), 0);
	if (LIVE_SANITIZED) {
		printf("SKIP: the sanitizer's shadow is large\n");
		skip();
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(usvm_prefetch(live->vm, (void *)LIVE_HUGE, all,
					       USVM_PLACE_DEVICE), 0);
		/* Its handles are in its own memory. */
		assert_false(is_any_flagged((uintptr_t)live->vm, " um", NULL));
		assert_false(is_any_flagged((uintptr_t)live->vm, " uw", NULL));
		/* Device memory is told of events, and is the only such that no child has. */
		assert_true(is_any_flagged(0, " uw", " dc"));
		assert_true(!is_any_flagged(0, " um", " dc") || !info.fork_events);
	}
	live_assert_filled(at, bytes, 1, 0);
	munmap(at, bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_MODES(the_whole_heap_may_be_on_the_device),
		LIVE_TEST_MODES(a_device_that_goes_everywhere_leaves_usvm_alone),
		LIVE_TEST_MODES(file_mappings_keep_their_speed),
		LIVE_TEST_ALL(a_fork_brings_much_home),
		LIVE_TEST_MODES(a_program_may_block_all_signals),
		LIVE_TEST_ALL(memory_of_another_userfaultfd_is_used_in_place),
		LIVE_TEST_ALL(a_gap_is_told_from_a_hole),
		LIVE_TEST_ALL(first_touches_beside_device_pages_are_zero),
		LIVE_TEST_ALL(two_vms_share_device_pages),
		LIVE_TEST_ALL(two_devices_pass_pages_on),
		LIVE_TEST_MOVE(too_many_mappings_stay_at_home),
		LIVE_TEST_ALL(a_later_neighbour_does_not_join),
		LIVE_TEST_ALL(a_close_leaves_everything_at_home),
		LIVE_TEST_ALL(a_close_serves_who_waits),
	};

	return LIVE_RUN(tests);
}
