/* SPDX-License-Identifier: MIT */
/*
 * Taking pages from under those who use them: section B's notes (no lost increment),
 * pins and sharing; amendments A4, A5, A10.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "live/support/calls.h"

struct adder {
	unsigned char *at;
	size_t pages;
	uint32_t *stop; /* atomic */
	uint64_t rounds;
};

static void *add_to_pages(void *arg)
{
	struct adder *a = arg;

	while (!__atomic_load_n(a->stop, __ATOMIC_ACQUIRE)) {
		for (size_t i = 0; i < a->pages; i++)
			__atomic_fetch_add((uint64_t *)(void *)(a->at + i * LIVE_PAGE), 1,
					   __ATOMIC_SEQ_CST);
		a->rounds++;
	}
	return NULL;
}

/* One round of both queues, in which the pages are sent to and fro. */
static void add_on_gpu(struct live *live, struct usvm_queue *queue, const struct adder *a,
		       uint64_t rounds)
{
	size_t bytes = a->pages * LIVE_PAGE;
	struct usvm_fence *fences[2];

	for (int i = 0; i < 2; i++)
		fences[i] = gpu_start_add(live, i ? queue : live->queue, a->at, LIVE_PAGE,
					  a->pages, rounds);
	do {
		assert_int_equal(usvm_prefetch(live->vm, a->at, bytes, USVM_PLACE_DEVICE), 0);
		assert_int_equal(usvm_prefetch(live->vm, a->at, bytes, USVM_PLACE_SYSTEM), 0);
	} while (usvm_fence_wait(fences[0], 0) == -ETIMEDOUT ||
		 usvm_fence_wait(fences[1], 0) == -ETIMEDOUT);
	gpu_finish(fences[0]);
	gpu_finish(fences[1]);
}

/* B: two CPU writers and two GPU queues add to the same words, while the pages are taken
 * and brought home all the time. T15, T18, law 16: an engine that reached for a page at
 * home while it was taken is thrown out, not served. */
static void no_increment_is_lost(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), pages = bytes / LIVE_PAGE;
	unsigned char *at = live_map(live, bytes);
	struct live_counts before;
	struct usvm_queue *queue;
	struct adder adders[2];
	struct live_thread *threads[2];
	uint64_t added = 0;
	uint32_t stop = 0;

	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	before = live_counts(live);
	assert_int_equal(usvm_queue_create(live->vm, NULL, &queue), 0);
	for (int i = 0; i < 2; i++) {
		adders[i] = (struct adder){ at, pages, &stop, 0 };
		threads[i] = live_thread_start(add_to_pages, &adders[i]);
	}
	while (live_counts(live).to_device - before.to_device < 4 * pages) {
		add_on_gpu(live, queue, &adders[0], 4);
		added += 2 * 4;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++) {
		live_thread_join(threads[i]);
		added += adders[i].rounds;
	}
	for (size_t i = 0; i < pages; i++)
		assert_int_equal(*(uint64_t *)(void *)(at + i * LIVE_PAGE), added);
	assert_true(live_counts(live).home - before.home >= 4 * pages);
	assert_int_equal(usvm_queue_destroy(queue), 0);
}

struct tagger {
	uint64_t *at;
	size_t pages;
	uint32_t stop; /* atomic */
	uint64_t wrong;
};

/* A page is discarded and written at once; what was written stays. */
static void *discard_and_write(void *arg)
{
	struct tagger *t = arg;

	for (uint64_t tag = 1; tag < 400; tag++) {
		for (size_t i = 0; i < t->pages; i++) {
			volatile uint64_t *word = t->at + i * 512;

			madvise((void *)(uintptr_t)word, LIVE_PAGE, MADV_DONTNEED);
			t->wrong += word[1] != 0;
			word[0] = tag;
			word[511] = tag;
		}
		for (size_t i = 0; i < t->pages; i++)
			t->wrong += t->at[i * 512] != tag || t->at[i * 512 + 511] != tag;
	}
	__atomic_store_n(&t->stop, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* A4: the kernel can move a page and answer EEXIST when it is zapped and faulted at the
 * same time. What was moved is what was taken, whatever the answer. */
static void discarded_and_rewritten_pages_are_right(void **state)
{
	struct live *live = *state;
	struct tagger t = { .pages = 16 };
	struct live_thread *thread;

	t.at = (uint64_t *)live_filled(live, t.pages * LIVE_PAGE, 1);
	live_take(live, t.at, t.pages * LIVE_PAGE);
	live_assert_state(live, t.at, t.pages * LIVE_PAGE, LIVE_DEVICE);
	thread = live_thread_start(discard_and_write, &t);
	while (!__atomic_load_n(&t.stop, __ATOMIC_ACQUIRE)) {
		usvm_prefetch(live->vm, t.at, t.pages * LIVE_PAGE, USVM_PLACE_DEVICE);
		usvm_prefetch(live->vm, t.at, t.pages * LIVE_PAGE, USVM_PLACE_SYSTEM);
	}
	live_thread_join(thread);
	assert_int_equal(t.wrong, 0);
}

static void child_waits(int go)
{
	char c;

	CHILD_CHECK(read(go, &c, 1) == 0);
	_exit(0);
}

/* A5: EAGAIN with progress hides EBUSY: every third page is shared with a child. */
static void pages_shared_in_part_are_all_taken(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_filled(live, bytes, 1);
	int go[2];
	pid_t pid;

	gpu_write64(live, at, live_word(1, 0)); /* registered */
	live_fill(at, 8, 1, 0);
	assert_int_equal(pipe(go), 0);
	pid = live_fork();
	if (pid == 0) {
		close(go[1]);
		child_waits(go[0]);
	}
	close(go[0]);
	for (size_t i = 0; i < bytes; i += 3 * LIVE_PAGE)
		live_fill(at + i, LIVE_PAGE, 1, i);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	gpu_assert_filled(live, at, bytes, 1, 0);
	live_assert_filled(at, bytes, 1, 0);
	close(go[1]);
	live_wait_exit(pid, 0);
}

struct pinned {
	struct live *live;
	unsigned char *at;
	size_t bytes;
};

static void take_pinned(void *arg)
{
	struct pinned *p = arg;

	live_take(p->live, p->at, p->bytes);
	live_assert_state(p->live, p->at, p->bytes, LIVE_HOME);
	gpu_fill(p->live, p->at, p->bytes, 3, 0);
	live_take(p->live, p->at, p->bytes);
}

/* B, U-21: pages pinned for DMA say EBUSY and stay; what the device reads into them is
 * not lost. */
static void pinned_pages_stay_at_home(void **state)
{
	struct live *live = *state;
	struct pinned p = { live, NULL, live_bytes(live) };
	unsigned char *source = malloc(p.bytes);
	const char *why = "";
	int err, fd = memfd_create("pinned", MFD_CLOEXEC);

	assert_non_null(source);
	live_fill(source, p.bytes, 2, 0);
	assert_int_equal(write(fd, source, p.bytes), p.bytes);
	p.at = live_on_device(live, p.bytes, 1);
	err = call_uring_fixed(fd, false, p.at, p.bytes, &why, take_pinned, &p);
	if (err == CALL_SKIPPED) {
		printf("SKIP: %s\n", why);
		skip();
	}
	assert_int_equal(err, 0);
	live_assert_filled(p.at, p.bytes, 2, 0);
	assert_int_equal(usvm_prefetch(live->vm, p.at, p.bytes, USVM_PLACE_DEVICE), 0);
	live_assert_state(live, p.at, p.bytes, LIVE_DEVICE);
	gpu_assert_filled(live, p.at, p.bytes, 2, 0);
	free(source);
	close(fd);
}

static void take_around_pinned(void *arg)
{
	struct pinned *p = arg;

	live_take(p->live, p->at, p->bytes);
	if (p->live->param->huge) {
		live_assert_state(p->live, p->at, LIVE_HUGE, LIVE_HOME);
		live_assert_state(p->live, p->at + LIVE_HUGE, LIVE_HUGE, LIVE_DEVICE);
	} else {
		live_assert_state(p->live, p->at, 5 * LIVE_PAGE, LIVE_DEVICE);
		live_assert_state(p->live, p->at + 5 * LIVE_PAGE, LIVE_PAGE, LIVE_HOME);
		live_assert_state(p->live, p->at + 6 * LIVE_PAGE, p->bytes - 6 * LIVE_PAGE,
				  LIVE_DEVICE);
	}
	gpu_fill(p->live, p->at, p->bytes, 3, 0);
	gpu_assert_filled(p->live, p->at, p->bytes, 3, 0);
}

/* B: one page of a huge page is pinned: none of it can be taken; without huge pages, all
 * the others. */
static void one_pinned_page_stays_at_home(void **state)
{
	struct live *live = *state;
	struct pinned p = { live, NULL, live_bytes(live) };
	unsigned char page[LIVE_PAGE];
	const char *why = "";
	int err, fd = memfd_create("pinned", MFD_CLOEXEC);

	live_fill(page, LIVE_PAGE, 2, 0);
	assert_int_equal(write(fd, page, LIVE_PAGE), LIVE_PAGE);
	p.at = live_on_device(live, p.bytes, 1);
	err = call_uring_fixed(fd, false, p.at + 5 * LIVE_PAGE, LIVE_PAGE, &why,
			       take_around_pinned, &p);
	if (err == CALL_SKIPPED) {
		printf("SKIP: %s\n", why);
		skip();
	}
	assert_int_equal(err, 0);
	live_assert_filled(p.at, 5 * LIVE_PAGE, 3, 0);
	live_assert_filled(p.at + 5 * LIVE_PAGE, LIVE_PAGE, 2, 0);
	live_assert_filled(p.at + 6 * LIVE_PAGE, p.bytes - 6 * LIVE_PAGE, 3, 6 * LIVE_PAGE);
	assert_int_equal(usvm_prefetch(live->vm, p.at, p.bytes, USVM_PLACE_DEVICE), 0);
	live_assert_state(live, p.at, p.bytes, LIVE_DEVICE);
	gpu_assert_filled(live, p.at + 5 * LIVE_PAGE, LIVE_PAGE, 2, 0);
	close(fd);
}

/* B: vmsplice'd pages move without complaint; a reader that comes soon sees them right. */
static void spliced_pages_are_read_right(void **state)
{
	struct live *live = *state;
	size_t bytes = 8 * LIVE_PAGE;
	unsigned char *at = live_filled(live, bytes, 1), *copy = malloc(bytes);
	struct iovec part = { at, bytes };
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(vmsplice(ends[1], &part, 1, 0), bytes);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	assert_int_equal(read(ends[0], copy, bytes), bytes);
	live_assert_filled(copy, bytes, 1, 0);
	gpu_fill(live, at, bytes, 2, 0);
	live_assert_filled(at, bytes, 2, 0);
	close(ends[0]);
	close(ends[1]);
	free(copy);
}

/* A10: what a dead page left in its frame is never seen again. */
static void a_frame_has_nothing_of_its_last_owner(void **state)
{
	struct live *live = *state;
	struct live small;
	size_t bytes = LIVE_HUGE;

	live_open(&small, live->param, live->param->copy ? "model:vram=2M,mode=copy" :
							   "model:vram=2M,mode=move");
	for (uint64_t i = 0; i < 10; i++) {
		unsigned char *at = live_map(live, bytes);

		live_take(&small, at, bytes);
		live_assert_state(&small, at, bytes, LIVE_DEVICE);
		assert_int_equal(gpu_sum(&small, at, bytes), 0);
		gpu_fill(&small, at, bytes, i, 0);
		if (i % 2)
			assert_int_equal(munmap(at, bytes), 0);
		else
			assert_int_equal(madvise(at, bytes, MADV_DONTNEED), 0);
	}
	live_close(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(no_increment_is_lost),
		LIVE_TEST_MODES(discarded_and_rewritten_pages_are_right),
		LIVE_TEST_ALL(pages_shared_in_part_are_all_taken),
		LIVE_TEST_ALL(pinned_pages_stay_at_home),
		LIVE_TEST_ALL(one_pinned_page_stays_at_home),
		LIVE_TEST_MODES(spliced_pages_are_read_right),
		LIVE_TEST_ALL(a_frame_has_nothing_of_its_last_owner),
	};

	return LIVE_RUN(tests);
}
