/* SPDX-License-Identifier: MIT */
/*
 * DOC: Rows: advice, rights, locks
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "rows.h"

#define RW (PROT_READ | PROT_WRITE)

static void advise(struct cell *c, void *at, size_t bytes, int advice)
{
	cell_result(c, "madvise", madvise(at, bytes, advice));
}

/* Beside the GPU nobody knows. */
static void note_present(struct cell *c, void *at, size_t bytes)
{
	cell_note(c, "present", c->who == BY_MAIN_BESIDE_GPU ? (int64_t)(bytes / LIVE_PAGE) :
							(int64_t)live_present(at, bytes));
}

/* --- memory is given up ---------------- */

void dontneed_all(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_DONTNEED);
}

void dontneed_part(struct cell *c)
{
	advise(c, c->at + c->part - LIVE_PAGE, 2 * c->part, MADV_DONTNEED);
}

void dontneed_pages(struct cell *c)
{
	for (size_t i = 0; i < c->bytes; i += 2 * LIVE_PAGE)
		advise(c, c->at + i, LIVE_PAGE, MADV_DONTNEED);
}

void dontneed_write(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_DONTNEED);
	live_fill(c->at + c->part, c->part, 2, 0);
	advise(c, c->at + c->part, LIVE_PAGE, MADV_DONTNEED);
	cell_look(c, "given up", c->at, 2 * c->part);
}

void dontneed_locked(struct cell *c)
{
	advise(c, c->at + c->part, 2 * c->part, LIVE_MADV_DONTNEED_LOCKED);
}

void free_all(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_FREE);
}

void free_write(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_FREE);
	live_fill(c->at + c->part, c->part, 2, 0);
	cell_look(c, "written", c->at + c->part, c->part);
}

void remove_private(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_REMOVE);
}

/* --- hints ---------------- */

void cold(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_COLD);
}

void page_out(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_PAGEOUT);
}

void will_need(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_WILLNEED);
	advise(c, c->at, c->part, MADV_SEQUENTIAL);
	advise(c, c->at + c->part, c->part, MADV_RANDOM);
}

void dont_dump(struct cell *c)
{
	advise(c, c->at + c->part, c->part, MADV_DONTDUMP);
	live_fill(c->at + c->part + LIVE_PAGE, 2 * LIVE_PAGE, 2, 0);
	advise(c, c->at + c->part, c->part, MADV_DODUMP);
}

void huge_page(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_HUGEPAGE);
	live_fill(c->at + c->part, LIVE_PAGE, 2, 0);
}

void no_huge_page(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_NOHUGEPAGE);
	advise(c, c->at + c->part, c->part, MADV_DONTNEED);
	live_fill(c->at + c->part, LIVE_PAGE, 2, 0);
}

/* What could be one huge page, in small ones. */
void small_pages(struct cell *c)
{
	assert_int_equal(madvise(c->at, c->bytes, MADV_NOHUGEPAGE), 0);
	assert_int_equal(madvise(c->at, c->bytes, MADV_DONTNEED), 0);
	live_fill(c->at, c->bytes, SEED, 0);
	assert_int_equal(madvise(c->at, c->bytes, MADV_HUGEPAGE), 0);
	assert_int_equal(live_huge(c->at, c->bytes), 0);
}

void collapse(struct cell *c)
{
	advise(c, c->at, c->bytes, LIVE_MADV_COLLAPSE);
}

void populate_read(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_POPULATE_READ);
	note_present(c, c->at, c->bytes);
}

void populate_write(struct cell *c)
{
	advise(c, c->at, c->bytes, MADV_POPULATE_WRITE);
	note_present(c, c->at, c->bytes);
}

/* --- guards ---------------- */

static void guard(struct cell *c, int advice)
{
	int err = madvise(c->at + c->part, 2 * c->part, advice);

	if (err && errno == EINVAL && c->native)
		cell_skip(c, "no guard pages here");
	cell_result(c, "guard", err);
}

void guard_install(struct cell *c)
{
	guard(c, LIVE_MADV_GUARD_INSTALL);
}

void guard_seen(struct cell *c)
{
	guard(c, LIVE_MADV_GUARD_INSTALL);
	cell_look(c, "guarded", c->at, c->bytes);
	guard(c, LIVE_MADV_GUARD_REMOVE);
}

void guard_remove(struct cell *c)
{
	guard(c, LIVE_MADV_GUARD_INSTALL);
	guard(c, LIVE_MADV_GUARD_REMOVE);
}

void guard_unmap(struct cell *c)
{
	guard(c, LIVE_MADV_GUARD_INSTALL);
	cell_result(c, "munmap", munmap(c->at, c->bytes));
}

/* The way that is told. */
void guard_dontneed(struct cell *c)
{
	advise(c, c->at + c->part, 2 * c->part, MADV_DONTNEED);
	guard(c, LIVE_MADV_GUARD_INSTALL);
	guard(c, LIVE_MADV_GUARD_REMOVE);
}

/* --- by another ---------------- */

void same_pages(struct cell *c)
{
	for (size_t i = 0; i < c->bytes; i += LIVE_PAGE)
		live_fill(c->at + i, LIVE_PAGE, SEED, 0);
}

static uint64_t read_number(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = read(fd, text, sizeof(text) - 1);

	close(fd);
	return got > 0 ? strtoull(text, NULL, 10) : 0;
}

/* Three scans of everything: what can be merged is. */
void merge(struct cell *c)
{
	const char *scans = "/sys/kernel/mm/ksm/full_scans";
	uint64_t before = read_number(scans);

	advise(c, c->at, c->bytes, MADV_MERGEABLE);
	while (read_number(scans) < before + 3)
		sched_yield();
	if (c->native)
		assert_true(read_number("/proc/self/ksm_merging_pages") > 0);
	live_fill(c->at + c->part, LIVE_PAGE, 2, 0);
	for (size_t i = 0; i < c->bytes; i += LIVE_PAGE)
		cell_note(c, "right", live_is_filled(c->at + i, LIVE_PAGE - 8,
						     i == c->part ? 2 : SEED, 0) ||
					      (c->has_part && i >= 3 * c->part &&
					       live_is_zero(c->at + i, LIVE_PAGE - 8)));
	advise(c, c->at, c->bytes, MADV_UNMERGEABLE);
}

static void advise_by_pidfd(struct cell *c, int advice)
{
	struct iovec part = { c->at + c->part, 2 * c->part };
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	cell_result(c, "process_madvise", syscall(SYS_process_madvise, fd, &part, 1, advice, 0));
	close(fd);
}

void advise_self(struct cell *c)
{
	advise_by_pidfd(c, MADV_COLD);
	advise_by_pidfd(c, MADV_PAGEOUT);
	advise_by_pidfd(c, MADV_WILLNEED);
	advise_by_pidfd(c, MADV_DONTNEED); /* Linux 6.13 */
}

void advise_outside(struct cell *c)
{
	cell_note(c, "cold", cell_outside(REQUEST_ADVISE, c->at, c->bytes, MADV_COLD));
	cell_note(c, "pageout", cell_outside(REQUEST_ADVISE, c->at, c->bytes, MADV_PAGEOUT));
	cell_note(c, "dontneed", cell_outside(REQUEST_ADVISE, c->at, c->bytes, MADV_DONTNEED));
}

/* --- rights ---------------- */

static void protect(struct cell *c, void *at, size_t bytes, int prot)
{
	cell_result(c, "mprotect", mprotect(at, bytes, prot));
}

void protect_none(struct cell *c)
{
	protect(c, c->at, c->bytes, PROT_NONE);
}

void protect_none_part(struct cell *c)
{
	protect(c, c->at + c->part, 2 * c->part, PROT_NONE);
}

void protect_none_back(struct cell *c)
{
	protect(c, c->at, c->bytes, PROT_NONE);
	cell_look(c, "none", c->at, c->bytes);
	protect(c, c->at, c->bytes, RW);
}

void protect_read(struct cell *c)
{
	protect(c, c->at, c->bytes, PROT_READ);
}

/* The last words: of each page, those that the GPU at work uses. */
void protect_read_gpu(struct cell *c)
{
	protect(c, c->at, c->bytes, PROT_READ);
	cell_note(c, "write", c->native ? -EPERM :
				gpu_try(&c->live, USVM_ACCESS_WRITE, c->at + c->part, NULL));
	cell_look(c, "read only", c->at, c->bytes);
	protect(c, c->at, c->bytes, RW);
}

void protect_read_back(struct cell *c)
{
	protect(c, c->at, c->bytes, PROT_READ);
	cell_look(c, "read only", c->at, c->part);
	protect(c, c->at, c->bytes, RW);
	live_fill(c->at + c->part, c->part, 2, 0);
}

void protect_execute(struct cell *c)
{
	protect(c, c->at, c->bytes, RW | PROT_EXEC);
	live_fill(c->at + c->part, c->part, 2, 0);
}

void protect_pages(struct cell *c)
{
	for (size_t i = 0; i < c->bytes; i += 2 * LIVE_PAGE)
		protect(c, c->at + i, LIVE_PAGE, PROT_READ);
}

void protect_huge_part(struct cell *c)
{
	protect(c, c->at + c->part, 2 * c->part, PROT_READ);
}

/* --- locks ---------------- */

static void lock(struct cell *c, void *at, size_t bytes)
{
	cell_result(c, "mlock", live_mlock(at, bytes));
	note_present(c, at, bytes);
}

void lock_all(struct cell *c)
{
	lock(c, c->at, c->bytes);
}

void lock_part(struct cell *c)
{
	lock(c, c->at + c->part, 2 * c->part);
}

void lock_on_fault(struct cell *c)
{
	cell_result(c, "mlock2", mlock2(c->at, c->bytes, MLOCK_ONFAULT));
	live_fill(c->at + c->part, LIVE_PAGE, 2, 0);
}

void lock_unlock(struct cell *c)
{
	lock(c, c->at, c->bytes);
	cell_result(c, "munlock", live_munlock(c->at, c->bytes));
}

void lock_dontneed(struct cell *c)
{
	lock(c, c->at, c->bytes);
	advise(c, c->at, c->bytes, MADV_DONTNEED);
	cell_look(c, "kept", c->at, c->bytes);
	advise(c, c->at + c->part, c->part, LIVE_MADV_DONTNEED_LOCKED);
}

void lock_everything(struct cell *c)
{
	cell_result(c, "mlockall", syscall(SYS_mlockall, MCL_CURRENT));
	note_present(c, c->at, c->bytes);
	cell_result(c, "munlockall", syscall(SYS_munlockall));
}

void lock_future(struct cell *c)
{
	unsigned char *at;

	cell_result(c, "mlockall", syscall(SYS_mlockall, MCL_FUTURE));
	at = mmap(c->to, c->bytes, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	cell_note(c, "mmap", at - c->to);
	note_present(c, at, c->bytes);
	cell_result(c, "mremap", mremap(c->at, c->bytes, c->bytes,
					MREMAP_MAYMOVE | MREMAP_FIXED, c->to) == c->to);
	cell_result(c, "munlockall", syscall(SYS_munlockall));
	cell_watch(c, c->to, c->bytes);
}
