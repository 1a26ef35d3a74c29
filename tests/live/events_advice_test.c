/* SPDX-License-Identifier: MIT */
/*
 * Advice and protection of memory that the device has: section A, rows MADV_*,
 * mprotect, mlock, MADV_GUARD_INSTALL; section F, mlock; hazards T2, T10, T21 and
 * amendment A3: what died stays dead.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live/support/live.h"

static void read_byte(void *at)
{
	*(volatile unsigned char *)at;
}

/* A read in a child ends by SIGSEGV. */
static void assert_unreadable(void *at)
{
	pid_t pid = live_fork();

	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		read_byte(at);
		_exit(0);
	}
	live_wait_signal(pid, SIGSEGV);
}

static void discard(struct live *live, int advice)
{
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *at = live_on_device(live, bytes, 1);
	struct live_counts before = live_counts(live);

	assert_int_equal(madvise(at + part, part, advice), 0);
	live_assert_state(live, at, part, LIVE_DEVICE);
	live_assert_state(live, at + part, part, LIVE_HOLE);
	live_assert_state(live, at + 2 * part, 2 * part, LIVE_DEVICE);
	live_assert_counts(live, before, 0, 0);
	assert_int_equal(gpu_sum(live, at + part, part), 0);
	live_assert_zero(at + part, part);
	gpu_fill(live, at + part, part, 2, part);
	live_assert_filled(at + part, part, 2, part);
	live_assert_filled(at, part, 1, 0);
	live_assert_filled(at + 2 * part, 2 * part, 1, 2 * part);
}

static void dontneed_drops_device_pages(void **state)
{
	discard(*state, MADV_DONTNEED);
}

/* MADV_FREE may keep or drop; what the device has it drops. */
static void free_drops_device_pages(void **state)
{
	discard(*state, MADV_FREE);
}

static void dontneed_locked_drops_device_pages(void **state)
{
	discard(*state, LIVE_MADV_DONTNEED_LOCKED);
}

/* A: MADV_REMOVE: memory that the device uses in place is punched out of its object. */
static void removed_shared_memory_reads_zero(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *other = live_on_device(live, bytes, 1);
	unsigned char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct live_counts before = live_counts(live);

	assert_ptr_not_equal(at, MAP_FAILED);
	live_fill(at, bytes, 2, 0);
	gpu_assert_filled(live, at, bytes, 2, 0);
	live_assert_state(live, at, bytes, LIVE_HOME);
	assert_int_equal(madvise(at + part, part, MADV_REMOVE), 0);
	live_assert_state(live, at + part, part, LIVE_HOLE);
	assert_int_equal(gpu_sum(live, at + part, part), 0);
	gpu_assert_filled(live, at, part, 2, 0);
	gpu_fill(live, at + part, part, 3, 0);
	live_assert_filled(at, part, 2, 0);
	live_assert_filled(at + part, part, 3, 0);
	live_assert_filled(at + 2 * part, 2 * part, 2, 2 * part);
	live_assert_state(live, other, bytes, LIVE_DEVICE);
	live_assert_counts(live, before, 0, 0);
	munmap(at, bytes);
}

/* HOME pages: what a REMOVE named is zapped after the message was read. */
static void dontneed_of_home_pages_leaves_zeros_for_the_gpu(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_filled(live, bytes, 3);

	gpu_write64(live, at, 1); /* registered from now on */
	for (int i = 0; i < 20; i++) {
		live_fill(at, bytes, 3, 0);
		live_assert_state(live, at, bytes, LIVE_HOME);
		assert_int_equal(madvise(at, bytes, MADV_DONTNEED), 0);
		assert_int_equal(gpu_sum(live, at, bytes), 0);
		live_assert_zero(at, bytes);
	}
	live_fill(at, bytes, 3, 0);
	live_take(live, at, bytes);
	gpu_assert_filled(live, at, bytes, 3, 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE); /* no quarantine for ever */
}

/* MADV_FREE of pages at home: the old contents or zeros, and each write after it stays. */
static void a_write_after_free_stays(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_filled(live, bytes, 4);

	gpu_write64(live, at, live_word(4, 0));
	live_fill(at, 8, 4, 0);
	for (uint64_t i = 0; i < 20; i++) {
		uint64_t seen;

		assert_int_equal(madvise(at, bytes, MADV_FREE), 0);
		seen = gpu_read64(live, at + 64);
		assert_true(seen == 0 || seen == live_word(4, 8));
		gpu_fill(live, at, LIVE_PAGE, 5 + i, 0);
		live_fill(at + LIVE_PAGE, LIVE_PAGE, 5 + i, LIVE_PAGE);
		live_take(live, at, bytes);
		gpu_assert_filled(live, at, 2 * LIVE_PAGE, 5 + i, 0);
		live_assert_filled(at, 2 * LIVE_PAGE, 5 + i, 0);
		live_fill(at, bytes, 4, 0);
	}
}

struct discarder {
	uint64_t *at;
	uint32_t rounds; /* atomic */
	uint32_t stop;	 /* atomic */
	uint64_t stale;
};

#define DISCARDS 1500
#define DISCARDS_MAX 10000 /* a message is in flight nearly all the time: takes give up */

#define OLD (1ull << 40)

static void *discard_again_and_again(void *arg)
{
	struct discarder *d = arg;

	while (!__atomic_load_n(&d->stop, __ATOMIC_ACQUIRE)) {
		for (int page = 0; page < 4; page++)
			__atomic_fetch_or(&d->at[page * 512], OLD, __ATOMIC_SEQ_CST);
		madvise(d->at, 4 * LIVE_PAGE, MADV_DONTNEED);
		/* The GPU adds at most a few thousands. */
		for (int page = 0; page < 4; page++)
			d->stale += __atomic_load_n(&d->at[page * 512], __ATOMIC_SEQ_CST) >= OLD;
		__atomic_fetch_add(&d->rounds, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* T2, T21, A3: a take in the window between the message and the zap would bring what the
 * call discarded back to life. */
static void discarded_data_never_come_back(void **state)
{
	struct live *live = *state;
	struct discarder d = { .at = (uint64_t *)live_filled(live, 16 * LIVE_PAGE, 6) };
	struct live_thread *thread;
	uint32_t rounds;

	live_fill(d.at, 16 * LIVE_PAGE, 6, 0);
	madvise(d.at, 16 * LIVE_PAGE, MADV_DONTNEED);
	thread = live_thread_start(discard_again_and_again, &d);
	do {
		gpu_finish(gpu_start_add(live, NULL, d.at, LIVE_PAGE, 4, 1));
		rounds = __atomic_load_n(&d.rounds, __ATOMIC_ACQUIRE);
	} while (rounds < DISCARDS ||
		 (live_counts(live).to_device == 0 && rounds < DISCARDS_MAX));
	__atomic_store_n(&d.stop, 1, __ATOMIC_RELEASE);
	live_thread_join(thread);
	assert_int_equal(d.stale, 0);
	assert_true(live_counts(live).to_device > 0);
}

/* A: mprotect sends no event: the rights are asked for when a page is mapped for the
 * GPU, and the pages come home whatever the protection says (A7). */
static void a_protected_page_comes_home(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 7);
	struct live_counts before = live_counts(live);
	struct usvm_fault fault;

	assert_int_equal(mprotect(at, bytes, PROT_READ), 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_filled(at, bytes, 7, 0);
	live_assert_state(live, at, bytes, LIVE_HOME);
	live_assert_counts(live, before, 0, bytes / LIVE_PAGE);
	assert_int_equal(gpu_try(live, USVM_ACCESS_READ, at, NULL), 0);
	assert_int_equal(gpu_try(live, USVM_ACCESS_WRITE, at + 8, &fault), -EPERM);
	assert_int_equal(fault.addr, (uintptr_t)at + 8);
	assert_int_equal(fault.access, USVM_ACCESS_WRITE);
	live_assert_filled(at, bytes, 7, 0);

	assert_int_equal(mprotect(at, bytes, PROT_READ | PROT_WRITE), 0);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_filled(at, bytes, 7, 0);
}

/* PROT_NONE: nobody can ask for the page; it is there when the rights come back. */
static void a_page_without_rights_is_kept(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 8);

	assert_int_equal(mprotect(at, bytes, PROT_NONE), 0);
	assert_unreadable(at + bytes / 2); /* fork brought all home */
	live_assert_state(live, at, bytes, LIVE_HOME);
	assert_int_equal(gpu_try(live, USVM_ACCESS_READ, at, NULL), -EPERM);
	assert_int_equal(mprotect(at, bytes, PROT_READ | PROT_WRITE), 0);
	live_assert_filled(at, bytes, 8, 0);
	gpu_assert_filled(live, at, bytes, 8, 0);
}

/* A7: one homecoming over two VMAs that mprotect() made. */
static void a_split_protection_comes_home_in_parts(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *at = live_on_device(live, bytes, 9);

	assert_int_equal(mprotect(at + part + LIVE_PAGE, part, PROT_READ), 0);
	assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_SYSTEM), 0);
	live_assert_state(live, at, bytes, LIVE_HOME);
	live_assert_filled(at, bytes, 9, 0);
	assert_int_equal(gpu_try(live, USVM_ACCESS_WRITE, at + 2 * part, NULL), -EPERM);
	gpu_write64(live, at, 1);
	gpu_write64(live, at + 3 * part, 1);
	live_assert_filled(at + 8, part, 9, 8);
}

/* B: mlocked pages are not taken (their frames are not); F: mlock() finds device pages. */
static void locked_pages_stay_at_home(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 10);
	struct live_counts before = live_counts(live);

	assert_int_equal(live_mlock(at, bytes), 0);
	live_assert_state(live, at, bytes, LIVE_HOME);
	live_assert_counts(live, before, 0, bytes / LIVE_PAGE);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_HOME);
	gpu_fill(live, at, bytes, 11, 0);
	live_assert_filled(at, bytes, 11, 0);
	assert_int_equal(live_munlock(at, bytes), 0);
	assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_DEVICE), 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_filled(at, bytes, 11, 0);
}

/* B: so is what mlockall() locked, with the frames: present it stays. */
static void locked_with_everything_it_stays(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 1);

	if (LIVE_SANITIZED) {
		printf("SKIP: the sanitizer's shadow is large\n");
		skip();
	}
	if (mlockall(MCL_CURRENT)) {
		printf("SKIP: mlockall(): %s\n", strerror(errno));
		skip();
	}
	live_assert_state(live, at, bytes, LIVE_HOME);
	gpu_fill(live, at, bytes, 2, 0);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_HOME);
	assert_int_equal(live_present(at, bytes), bytes / LIVE_PAGE);
	live_assert_filled(at, bytes, 2, 0);
	assert_int_equal(munlockall(), 0);
	assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_DEVICE), 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_filled(at, bytes, 2, 0);
	munmap(at, bytes);
}

/* mlock2(ONFAULT) of pages that are on the device: they come home to locked memory. */
static void pages_come_home_to_locked_memory(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 12);

	assert_int_equal(mlock2(at, bytes, MLOCK_ONFAULT), 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_filled(at, bytes, 12, 0);
	live_assert_state(live, at, bytes, LIVE_HOME);
	live_munlock(at, bytes);
}

/* A: no event, no change: advice that is about something else. */
static void harmless_advice_moves_nothing(void **state)
{
	static const int advices[] = {
		MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLD, MADV_PAGEOUT, MADV_DONTFORK,
		MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_DONTDUMP, MADV_DODUMP,
		MADV_WILLNEED, MADV_SEQUENTIAL, MADV_RANDOM, MADV_NORMAL,
	};
	struct live *live = *state;
	size_t bytes = live_bytes(live);

	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++) {
		unsigned char *at = live_on_device(live, bytes, 13);
		struct live_counts before = live_counts(live);

		/* A part: the VMA is split where flags change. */
		assert_int_equal(madvise(at + bytes / 4, bytes / 2, advices[i]), 0);
		live_assert_state(live, at, bytes, LIVE_DEVICE);
		live_assert_counts(live, before, 0, 0);
		gpu_assert_filled(live, at, bytes, 13, 0);
		live_assert_filled(at, bytes, 13, 0);
		live_take(live, at, bytes);
		live_assert_state(live, at, bytes, LIVE_DEVICE);
		live_assert_filled(at, bytes, 13, 0);
		live_assert_counts(live, before, bytes / LIVE_PAGE, 2 * bytes / LIVE_PAGE);
		munmap(at, bytes);
	}
}

static void populate_brings_pages_home(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 14);
	struct live_counts before = live_counts(live);

	assert_int_equal(madvise(at, bytes, MADV_POPULATE_READ), 0);
	live_assert_state(live, at, bytes, LIVE_HOME);
	live_assert_filled(at, bytes, 14, 0);
	live_take(live, at, bytes);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	assert_int_equal(madvise(at, bytes, MADV_POPULATE_WRITE), 0);
	live_assert_state(live, at, bytes, LIVE_HOME);
	live_assert_filled(at, bytes, 14, 0);
	live_assert_counts(live, before, bytes / LIVE_PAGE, 2 * bytes / LIVE_PAGE);
}

/* U-43: MADV_COLLAPSE refuses what has missing pages; with all at home it works. */
static void collapse_never_fills_device_pages(void **state)
{
	struct live *live = *state;
	unsigned char *at = live_filled(live, LIVE_HUGE, 15);

	live_take(live, at, 64 * LIVE_PAGE);
	live_assert_state(live, at, 64 * LIVE_PAGE, LIVE_DEVICE);
	assert_int_equal(madvise(at, LIVE_HUGE, LIVE_MADV_COLLAPSE), -1);
	live_assert_state(live, at, 64 * LIVE_PAGE, LIVE_DEVICE);
	live_assert_filled(at, LIVE_HUGE, 15, 0);
	madvise(at, LIVE_HUGE, MADV_HUGEPAGE);
	assert_int_equal(madvise(at, LIVE_HUGE, LIVE_MADV_COLLAPSE), 0);
	assert_int_equal(live_huge(at, LIVE_HUGE), 512);
	live_take(live, at, LIVE_HUGE);
	live_assert_state(live, at, LIVE_HUGE, LIVE_DEVICE);
	live_assert_filled(at, LIVE_HUGE, 15, 0);
}

/* A, T10: a guard sends no event. Its page is dead when it would come home, and the
 * guard is still there after. */
static void a_guard_page_stays_and_its_contents_die(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *at = live_on_device(live, bytes, 16);

	if (madvise(at + part, LIVE_PAGE, LIVE_MADV_GUARD_INSTALL)) {
		print_message("no guard pages here\n");
		return;
	}
	assert_unreadable(at + part);
	assert_int_equal(usvm_prefetch(live->vm, at, bytes, USVM_PLACE_SYSTEM), 0);
	assert_unreadable(at + part);
	live_assert_filled(at, part, 16, 0);
	live_assert_filled(at + part + LIVE_PAGE, bytes - part - LIVE_PAGE, 16,
			   part + LIVE_PAGE);
	assert_int_equal(madvise(at + part, LIVE_PAGE, LIVE_MADV_GUARD_REMOVE), 0);
	live_assert_zero(at + part, LIVE_PAGE);
	gpu_fill(live, at, bytes, 17, 0);
	live_assert_filled(at, bytes, 17, 0);
}

/* T10: a guard that comes and goes before anybody looks: there is no event, so the device
 * has the page still (docs/limits.md). Whatever is there, it is all there, and stays. */
static void a_guard_that_is_gone_again_uncovers_a_page(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live);
	unsigned char *at = live_on_device(live, bytes, 18);
	struct live_counts before = live_counts(live);

	if (madvise(at, LIVE_PAGE, LIVE_MADV_GUARD_INSTALL)) {
		print_message("no guard pages here\n");
		return;
	}
	live_assert_state(live, at + LIVE_PAGE, bytes - LIVE_PAGE, LIVE_DEVICE);
	assert_int_equal(madvise(at, LIVE_PAGE, LIVE_MADV_GUARD_REMOVE), 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	assert_true(live_is_filled(at, LIVE_PAGE, 18, 0) || live_is_zero(at, LIVE_PAGE));
	live_assert_state(live, at, LIVE_PAGE, LIVE_HOME);
	live_assert_filled(at + LIVE_PAGE, bytes - LIVE_PAGE, 18, LIVE_PAGE);
	live_assert_counts(live, before, 0, bytes / LIVE_PAGE);
	gpu_fill(live, at, bytes, 19, 0);
	live_assert_state(live, at, bytes, LIVE_DEVICE);
	live_assert_filled(at, bytes, 19, 0);
}

/* T13: the marks that were there when the pages went are there no more, so the next job and
 * the CPU find what they would without a device. mprotect() and mremap() leave them. */
static void with_marks_a_guard_is_seen(void **state)
{
	struct live *live = *state;
	size_t bytes = live_bytes(live), part = bytes / 4;
	unsigned char *at, *to;
	struct usvm *other;

	assert_int_equal(usvm_open("model:vram=2M,entries=marked", &other), 0);
	at = live_on_device(live, bytes, 20);
	if (!live_stat(live, "mm_marked_pages") ||
	    madvise(at + part, LIVE_PAGE, LIVE_MADV_GUARD_INSTALL)) {
		print_message("no marks or no guard pages here\n");
		assert_int_equal(usvm_close(other), 0);
		return;
	}
	assert_int_equal(live_stat(live, "mm_marked_pages"), bytes / LIVE_PAGE);
	assert_int_equal(madvise(at + part, LIVE_PAGE, LIVE_MADV_GUARD_REMOVE), 0);
	assert_int_equal(gpu_sum(live, at + part, LIVE_PAGE), 0);
	assert_int_equal(live_stat(live, "mm_died_pages"), 1);
	assert_int_equal(mprotect(at, part, PROT_READ), 0);
	assert_int_equal(madvise(at + 2 * part, 2 * LIVE_PAGE, LIVE_MADV_GUARD_INSTALL), 0);
	assert_int_equal(mprotect(at, part, PROT_READ | PROT_WRITE), 0);
	to = live_map(live, bytes);
	assert_ptr_equal(mremap(at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	assert_unreadable(to + 2 * part);
	assert_int_equal(madvise(to + 2 * part, 2 * LIVE_PAGE, LIVE_MADV_GUARD_REMOVE), 0);
	live_assert_zero(to + 2 * part, 2 * LIVE_PAGE);
	assert_int_equal(live_stat(live, "mm_died_pages"), 3);
	live_assert_zero(to + part, LIVE_PAGE);
	live_assert_filled(to, part, 20, 0);
	live_assert_filled(to + part + LIVE_PAGE, part - LIVE_PAGE, 20, part + LIVE_PAGE);
	live_assert_filled(to + 2 * part + 2 * LIVE_PAGE, 2 * part - 2 * LIVE_PAGE, 20,
			   2 * part + 2 * LIVE_PAGE);
	assert_int_equal(usvm_close(other), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST_ALL(dontneed_drops_device_pages),
		LIVE_TEST_ALL(free_drops_device_pages),
		LIVE_TEST_ALL(dontneed_locked_drops_device_pages),
		LIVE_TEST_MODES(removed_shared_memory_reads_zero),
		LIVE_TEST_ALL(dontneed_of_home_pages_leaves_zeros_for_the_gpu),
		LIVE_TEST_MODES(a_write_after_free_stays),
		LIVE_TEST_MODES(discarded_data_never_come_back),
		LIVE_TEST_ALL(a_protected_page_comes_home),
		LIVE_TEST_ALL(a_page_without_rights_is_kept),
		LIVE_TEST_ALL(a_split_protection_comes_home_in_parts),
		LIVE_TEST_ALL(locked_pages_stay_at_home),
		LIVE_TEST_ALL(locked_with_everything_it_stays),
		LIVE_TEST_ALL(pages_come_home_to_locked_memory),
		LIVE_TEST_ALL(harmless_advice_moves_nothing),
		LIVE_TEST_ALL(populate_brings_pages_home),
		LIVE_TEST_MODES(collapse_never_fills_device_pages),
		LIVE_TEST_ALL(a_guard_page_stays_and_its_contents_die),
		LIVE_TEST_ALL(a_guard_that_is_gone_again_uncovers_a_page),
		LIVE_TEST_ALL(with_marks_a_guard_is_seen),
	};

	return LIVE_RUN(tests);
}
