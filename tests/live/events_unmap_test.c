/* SPDX-License-Identifier: MIT */
/*
 * Memory that goes away while the device has it: section A of the measured facts,
 * rows munmap, MAP_FIXED, brk, thread exit, address reuse; hazards T3 and T4.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live/support/live.h"

/* A: munmap full. */
static void munmap_of_device_pages_drops_them(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);
	struct live_counts before = live_counts(live);

	assert_int_equal(munmap(at, bytes), 0);
	live_assert_state(live, at, bytes, LIVE_UNMAPPED);
	assert_int_equal(gpu_try(live, USVM_ACCESS_READ, at, NULL), -EFAULT);
	live_assert_counts(live, before, 0, 0);
	assert_int_equal(live_stat(live, "mm_device_pages"), 0);
}

/* A: munmap partial: the middle goes, both ends stay on the device. */
static void munmap_of_the_middle_leaves_the_ends(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *at = live_on_device(live, bytes, 2);

	assert_int_equal(munmap(at + part, 2 * part), 0);
	live_assert_state(live, at, part, LIVE_DEVICE);
	live_assert_state(live, at + part, 2 * part, LIVE_UNMAPPED);
	live_assert_state(live, at + 3 * part, part, LIVE_DEVICE);
	assert_int_equal(gpu_try(live, USVM_ACCESS_WRITE, at + part, NULL), -EFAULT);
	assert_int_equal(gpu_try(live, USVM_ACCESS_READ, at + 3 * part - 8, NULL), -EFAULT);
	gpu_assert_filled(live, at, part, 2, 0);
	gpu_assert_filled(live, at + 3 * part, part, 2, 3 * part);
	live_assert_filled(at, part, 2, 0);
	live_assert_filled(at + 3 * part, part, 2, 3 * part);
	live_assert_state(live, at, part, LIVE_HOME);
}

/* A: one message across four VMAs, of which the device uses two (U-6). */
static void munmap_across_mappings_is_one_event(void **state)
{
	struct live *live = *state;
	size_t part = live_bytes(live);
	unsigned char *at = live_map(live, 4 * part);
	uint64_t events;

	assert_int_equal(mprotect(at + part, part, PROT_READ), 0);
	assert_int_equal(mprotect(at + 3 * part, part, PROT_NONE), 0);
	live_fill(at, part, 3, 0);
	live_fill(at + 2 * part, part, 4, 0);
	live_take(live, at, part);
	live_take(live, at + 2 * part, part);
	live_assert_state(live, at, part, LIVE_DEVICE);
	live_assert_state(live, at + 2 * part, part, LIVE_DEVICE);
	events = live_stat(live, "mm_events_unmap");
	assert_int_equal(munmap(at + part / 2, 3 * part), 0);
	live_assert_state(live, at, part / 2, LIVE_DEVICE);
	live_assert_state(live, at + part / 2, 3 * part, LIVE_UNMAPPED);
	assert_int_equal(live_stat(live, "mm_events_unmap"), events + 1);
	live_assert_filled(at, part / 2, 3, 0);
	assert_int_equal(live_stat(live, "mm_device_pages"), 0);
}

/* A: mmap(MAP_FIXED) over device pages: the new mapping is there before the event. */
static void map_fixed_over_device_pages_reads_zero(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 5);

	for (int round = 0; round < 8; round++) {
		assert_ptr_equal(mmap(at, bytes, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), at);
		live_assert_state(live, at, bytes, LIVE_HOLE);
		assert_int_equal(gpu_read64(live, at), 0);
		assert_int_equal(gpu_sum(live, at, bytes), 0);
		live_assert_zero(at, bytes);
		live_fill(at, bytes, 6, 0);
		live_take(live, at, bytes);
		live_assert_state(live, at, bytes, LIVE_DEVICE);
		gpu_assert_filled(live, at, bytes, 6, 0);
	}
	live_assert_filled(at, bytes, 6, 0);
}

/* A: MAP_FIXED of a file, over a part: the GPU sees the file there. */
static void map_fixed_of_a_file_is_what_the_gpu_reads(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *at = live_on_device(live, bytes, 7);
	FILE *file = tmpfile();
	unsigned char *source = malloc(part);

	assert_non_null(file);
	live_fill(source, part, 8, 0);
	assert_int_equal(pwrite(fileno(file), source, part, 0), part);
	assert_ptr_equal(mmap(at + part, part, PROT_READ, MAP_PRIVATE | MAP_FIXED,
			      fileno(file), 0), at + part);
	gpu_assert_filled(live, at + part, part, 8, 0);
	live_assert_filled(at + part, part, 8, 0);
	assert_int_equal(gpu_try(live, USVM_ACCESS_WRITE, at + part, NULL), -EPERM);
	live_assert_state(live, at, part, LIVE_DEVICE);
	live_assert_filled(at, part, 7, 0);
	live_assert_filled(at + 2 * part, 2 * part, 7, 2 * part);
	free(source);
	fclose(file);
}

/* A: brk grow and shrink; heap pages on the device. By system call, for the allocator
 * believes that the break is its own. */
static void brk_shrinks_over_device_pages(void **state)
{
	struct live *live = *state;
	const size_t bytes = 64 * LIVE_PAGE;
	uintptr_t end = (uintptr_t)syscall(SYS_brk, 0);
	uintptr_t from = (end + LIVE_PAGE - 1) & ~(LIVE_PAGE - 1);
	unsigned char *at = (void *)from;

	assert_int_equal(syscall(SYS_brk, from + bytes), from + bytes);
	live_fill(at, bytes, 9, 0);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	assert_int_equal(syscall(SYS_brk, from + bytes / 2), from + bytes / 2);
	live_assert_state(live, at + bytes / 2, bytes / 2, LIVE_UNMAPPED);
	assert_int_equal(gpu_try(live, USVM_ACCESS_READ, at + bytes / 2, NULL), -EFAULT);
	/* Grown again: new memory, and what was kept is still on the device. */
	assert_int_equal(syscall(SYS_brk, from + bytes), from + bytes);
	assert_int_equal(gpu_sum(live, at + bytes / 2, bytes / 2), 0);
	live_assert_zero(at + bytes / 2, bytes / 2);
	gpu_assert_filled(live, at, bytes / 2, 9, 0);
	live_assert_filled(at, bytes / 2, 9, 0);
	assert_int_equal(syscall(SYS_brk, end), end);
}

struct churn {
	unsigned char *at;
	size_t bytes;
};

static void *thread_with_locals(void *arg)
{
	struct churn *churn = arg;
	volatile unsigned char locals[2048];

	for (size_t i = 0; i < sizeof(locals); i++)
		locals[i] = (unsigned char)i;
	return (void *)(uintptr_t)(locals[77] == 77 &&
				   live_is_filled(churn->at, churn->bytes, 10, 0));
}

/* A: thread exit; a large stack is unmapped by the join, which waits for the event. */
static void threads_end_while_pages_are_on_the_device(void **state)
{
	static const size_t stacks[] = { 64 << 10, 8 << 20, 64 << 20 };
	struct live *live = *state;
	size_t bytes = live_bytes(live);

	for (size_t i = 0; i < 3; i++) {
		struct churn churn = { live_on_device(live, bytes, 10), bytes };
		pthread_attr_t attr;
		pthread_t thread;
		void *result;

		pthread_attr_init(&attr);
		assert_int_equal(pthread_attr_setstacksize(&attr, stacks[i]), 0);
		assert_int_equal(pthread_create(&thread, &attr, thread_with_locals, &churn), 0);
		assert_int_equal(pthread_join(thread, &result), 0);
		assert_ptr_equal(result, (void *)1);
		live_assert_state(live, churn.at, bytes, LIVE_HOME);
	}
}

struct local_job {
	struct live *live;
	uint64_t seen;
};

/* The GPU works on locals of a thread: its stack stays at home, for TLS is in it. */
static void *thread_lends_its_stack(void *arg)
{
	struct local_job *job = arg;
	uint64_t local[1024] = { 0 };
	struct usvm_fence *fence = gpu_start_add(job->live, NULL, local, 8, 1024, 3);

	gpu_finish(fence);
	for (int i = 0; i < 1024; i++)
		job->seen += local[i];
	return NULL;
}

static void stacks_of_threads_are_used_in_place(void **state)
{
	struct live *live = *state;
	struct local_job job = { .live = live };
	unsigned char *at = live_on_device(live, live_bytes(live), 11);

	for (int i = 1; i <= 8; i++) {
		live_thread_join(live_thread_start(thread_lends_its_stack, &job));
		assert_int_equal(job.seen, i * 3 * 1024);
	}
	live_assert_state(live, at, live_bytes(live), LIVE_DEVICE);
}

struct reuse {
	struct live *live;
	struct usvm_queue *queue;
	unsigned char *at;
	size_t bytes;
	uint64_t seed;
	uint32_t *rounds; /* of both; atomic */
};

/* Maps the address as soon as it is free, has the GPU add to it, and unmaps it. */
static void *reuse_run(void *arg)
{
	struct reuse *r = arg;

	while (__atomic_load_n(r->rounds, __ATOMIC_ACQUIRE) < 400) {
		unsigned char *at = mmap(r->at, r->bytes, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
					 0);
		uint64_t *words = (uint64_t *)at;

		if (at == MAP_FAILED) {
			sched_yield();
			continue;
		}
		live_fill(at, r->bytes, r->seed, 0);
		gpu_finish(gpu_start_add(r->live, r->queue, at, LIVE_PAGE,
					 r->bytes / LIVE_PAGE, 2));
		for (size_t i = 0; i < r->bytes / 8; i += LIVE_PAGE / 8) {
			if (words[i] != live_word(r->seed, i) + 2)
				abort();
			words[i] -= 2;
		}
		if (!live_is_filled(at, r->bytes, r->seed, 0))
			abort();
		__atomic_add_fetch(r->rounds, 1, __ATOMIC_ACQ_REL);
		munmap(at, r->bytes);
	}
	return NULL;
}

/* A: address reuse while munmap waits for its event; T3, A1, A2, A14: what is done for
 * the old mapping must not touch the new one, nor may the GPU use the old one's frames.
 * Two threads want the same address: each munmap meets a waiting mmap. */
static void an_address_is_reused_while_munmap_waits(void **state)
{
	struct live *live = *state;
	uint32_t rounds = 0;
	struct reuse reuse[2];
	struct live_thread *threads[2];
	size_t bytes = 16 * LIVE_PAGE;
	unsigned char *at = live_on_device(live, bytes, 13);

	for (int i = 0; i < 2; i++) {
		reuse[i] = (struct reuse){ live, NULL, at, bytes, 20 + (uint64_t)i, &rounds };
		assert_int_equal(usvm_queue_create(live->vm, NULL, &reuse[i].queue), 0);
		threads[i] = live_thread_start(reuse_run, &reuse[i]);
	}
	munmap(at, bytes);
	for (int i = 0; i < 2; i++) {
		live_thread_join(threads[i]);
		assert_int_equal(usvm_queue_destroy(reuse[i].queue), 0);
	}
	assert_int_equal(live_stat(live, "mm_device_pages"), 0);
	assert_true(live_stat(live, "mm_taken_pages") > 400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(munmap_of_device_pages_drops_them),
		LIVE_TEST_ALL(munmap_of_the_middle_leaves_the_ends),
		LIVE_TEST_ALL(munmap_across_mappings_is_one_event),
		LIVE_TEST_ALL(map_fixed_over_device_pages_reads_zero),
		LIVE_TEST_ALL(map_fixed_of_a_file_is_what_the_gpu_reads),
		LIVE_TEST_MODES(brk_shrinks_over_device_pages),
		LIVE_TEST_MODES(threads_end_while_pages_are_on_the_device),
		LIVE_TEST_MODES(stacks_of_threads_are_used_in_place),
		LIVE_TEST_MODES(an_address_is_reused_while_munmap_waits),
	};

	return LIVE_RUN(tests);
}
