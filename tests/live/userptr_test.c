/* SPDX-License-Identifier: MIT */
/*
 * Binds of the program's memory to other GPU addresses (USERPTR), while the program changes
 * what is there and an engine adds to it: each addition that was counted is in the page that
 * had the address when it was done, wherever the page is by then, and none comes later.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "live/support/live.h"

#include "api/api_internal.h"
#include "vm/bo.h"

#define PAGES 16u
#define BYTES (PAGES * LIVE_PAGE)
#define ROUNDS 12

/* In memory that never migrates. */
struct count {
	uint64_t stop;
	uint64_t added[PAGES];
};

struct scene {
	struct live *live;
	unsigned char *gpu_at; /* what is bound there is at */
	unsigned char *at;
	struct count *count;
};

struct adder {
	uint64_t at, count;
};

static void add_until_told(struct usvm_lane *lane, const void *args)
{
	const struct adder *a = args;
	struct count *count = (void *)(uintptr_t)a->count;

	while (!__atomic_load_n(&count->stop, __ATOMIC_ACQUIRE)) {
		for (uint64_t page = 0; page < PAGES; page++) {
			usvm_atomic_add64(lane, a->at + page * LIVE_PAGE, 1);
			__atomic_fetch_add(&count->added[page], 1, __ATOMIC_SEQ_CST);
		}
	}
}

static int bind(void *argument)
{
	const struct scene *s = *(struct scene **)argument;
	const struct vm_bind_args args = {
		.kind = VM_BIND_USERPTR,
		.span = span_make((uintptr_t)s->gpu_at, BYTES),
		.target = (uintptr_t)s->at,
	};

	return vm_bind(s->live->vm->vm, &args);
}

static void *map_at(void *at, size_t bytes, int prot)
{
	void *got = mmap(at, bytes, prot,
			 MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	assert_ptr_not_equal(got, MAP_FAILED);
	return got;
}

static void scene_open(struct scene *s, struct live *live)
{
	struct scene *argument = s;

	s->live = live;
	s->gpu_at = map_at(NULL, BYTES, PROT_NONE);
	s->at = map_at(NULL, BYTES, PROT_READ | PROT_WRITE);
	s->count = mmap(NULL, LIVE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	assert_ptr_not_equal(s->count, MAP_FAILED);
	assert_int_equal(mm_call(live->vm->usvm->mm, bind, &argument, sizeof(argument)), 0);
}

static void scene_close(struct scene *s)
{
	assert_int_equal(usvm_vm_unbind(s->live->vm, (uintptr_t)s->gpu_at, BYTES), 0);
	munmap(s->gpu_at, BYTES);
	munmap(s->at, BYTES);
	munmap(s->count, LIVE_PAGE);
}

/* An engine adds, and has added to each page. The pages were on the device before. */
static struct usvm_fence *begin(struct scene *s, struct usvm_queue **queue)
{
	const struct adder args = { (uintptr_t)s->gpu_at, (uintptr_t)s->count };
	struct usvm_fence *fence = NULL;

	memset(s->at, 0, BYTES);
	memset(s->count, 0, sizeof(*s->count));
	live_take(s->live, s->at, BYTES);
	live_assert_state(s->live, s->at, BYTES, LIVE_DEVICE);
	assert_int_equal(usvm_queue_create(s->live->vm, NULL, queue), 0);
	assert_int_equal(usvm_submit_kernel(*queue, &(struct usvm_kernel){
		.function = add_until_told, .args = &args, .args_bytes = sizeof(args) },
		&fence), 0);
	while (__atomic_load_n(&s->count->added[PAGES - 1], __ATOMIC_SEQ_CST) < 3)
		sched_yield();
	return fence;
}

/* @result: 0: it is told to; an error: it does by itself. */
static void end(struct scene *s, struct usvm_queue *queue, struct usvm_fence *fence, int result)
{
	__atomic_store_n(&s->count->stop, !result, __ATOMIC_RELEASE);
	assert_int_equal(usvm_fence_wait(fence, USVM_FOREVER), result);
	usvm_fence_put(fence);
	assert_int_equal(usvm_queue_destroy(queue), 0);
}

static uint64_t first_word(const unsigned char *at, uint64_t page)
{
	return __atomic_load_n((const uint64_t *)(const void *)(at + page * LIVE_PAGE),
			       __ATOMIC_SEQ_CST);
}

/* Every addition that was counted, and no other. */
static void expect_counted(const struct scene *s, const unsigned char *at)
{
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(first_word(at, page), s->count->added[page]);
}

static void pages_that_are_moved_away_have_all_that_was_added(void **state)
{
	unsigned char *to = map_at(NULL, BYTES, PROT_NONE);
	struct scene s;

	scene_open(&s, *state);
	for (int i = 0; i < ROUNDS; i++) {
		struct usvm_queue *queue;
		struct usvm_fence *fence = begin(&s, &queue);

		assert_ptr_equal(mremap(s.at, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to),
				 to);
		end(&s, queue, fence, -EFAULT);
		expect_counted(&s, to);
		assert_ptr_equal(mremap(to, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, s.at),
				 s.at);
		expect_counted(&s, s.at);
		map_at(to, BYTES, PROT_NONE);
	}
	scene_close(&s);
	munmap(to, BYTES);
}

static void memory_that_is_unmapped_ends_the_job(void **state)
{
	struct scene s;

	scene_open(&s, *state);
	for (int i = 0; i < ROUNDS; i++) {
		struct usvm_queue *queue;
		struct usvm_fence *fence = begin(&s, &queue);
		unsigned char *part = s.at + i % 2 * BYTES / 2;

		assert_int_equal(munmap(part, BYTES / 2), 0);
		end(&s, queue, fence, -EFAULT);
		/* What comes there is what the address means from now on, and is empty. */
		map_at(part, BYTES / 2, PROT_READ | PROT_WRITE);
		live_assert_zero(part, BYTES / 2);
		for (uint64_t page = 0; page < PAGES; page++) {
			const unsigned char *word = s.at + page * LIVE_PAGE;

			if (word < part || word >= part + BYTES / 2)
				assert_int_equal(first_word(s.at, page), s.count->added[page]);
		}
	}
	scene_close(&s);
}

/* From now on, to each page several times. */
static void let_it_add(const struct scene *s)
{
	uint64_t before = __atomic_load_n(&s->count->added[PAGES - 1], __ATOMIC_SEQ_CST);

	while (__atomic_load_n(&s->count->added[PAGES - 1], __ATOMIC_SEQ_CST) < before + 8)
		sched_yield();
}

static void what_is_mapped_over_is_added_to_from_then_on(void **state)
{
	struct scene s;

	scene_open(&s, *state);
	for (int i = 0; i < ROUNDS; i++) {
		struct usvm_queue *queue;
		struct usvm_fence *fence = begin(&s, &queue);

		map_at(s.at, BYTES, PROT_READ | PROT_WRITE);
		let_it_add(&s);
		end(&s, queue, fence, 0);
		for (uint64_t page = 0; page < PAGES; page++) {
			assert_true(first_word(s.at, page) > 0);
			assert_true(first_word(s.at, page) < s.count->added[page]);
		}
	}
	scene_close(&s);
}

static void what_is_discarded_begins_at_nothing(void **state)
{
	struct scene s;

	scene_open(&s, *state);
	for (int i = 0; i < ROUNDS; i++) {
		struct usvm_queue *queue;
		struct usvm_fence *fence = begin(&s, &queue);

		assert_int_equal(madvise(s.at, BYTES, MADV_DONTNEED), 0);
		let_it_add(&s);
		end(&s, queue, fence, 0);
		for (uint64_t page = 0; page < PAGES; page++)
			assert_true(first_word(s.at, page) <= s.count->added[page] - 3);
	}
	scene_close(&s);
}

static void memory_that_is_made_read_only_ends_the_job(void **state)
{
	struct scene s;

	scene_open(&s, *state);
	for (int i = 0; i < ROUNDS; i++) {
		struct usvm_queue *queue;
		struct usvm_fence *fence = begin(&s, &queue);
		int result;

		assert_int_equal(mprotect(s.at, BYTES, PROT_READ), 0);
		result = usvm_fence_wait(fence, USVM_FOREVER);
		assert_true(result == -EFAULT || result == -EPERM);
		end(&s, queue, fence, result);
		expect_counted(&s, s.at);
		assert_int_equal(mprotect(s.at, BYTES, PROT_READ | PROT_WRITE), 0);
	}
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_MODES(pages_that_are_moved_away_have_all_that_was_added),
		LIVE_TEST_MODES(memory_that_is_unmapped_ends_the_job),
		LIVE_TEST_MODES(what_is_mapped_over_is_added_to_from_then_on),
		LIVE_TEST_MODES(what_is_discarded_begins_at_nothing),
		LIVE_TEST_MODES(memory_that_is_made_read_only_ends_the_job),
	};

	return LIVE_RUN(tests);
}
