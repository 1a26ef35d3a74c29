/* SPDX-License-Identifier: MIT */
/*
 * DOC: Rows: memory with a past
 *
 * What has become of the pages before the device sees them: shared with children, zero
 * pages, given up lazily, named, sealed, growing.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coverage.h"
#include "rows.h"

#define RW (PROT_READ | PROT_WRITE)
#define CALL_MSEAL 462 /* Linux 6.10 */

#if !defined(PR_SET_VMA)
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

/* --- children ---------------- */

static pid_t sharer;

static void wait_for_word(uint32_t value)
{
	uint32_t now;

	while ((now = __atomic_load_n(&shared->words[3], __ATOMIC_SEQ_CST)) != value)
		syscall(SYS_futex, &shared->words[3], FUTEX_WAIT, now, NULL, NULL, 0);
}

static void set_word(uint32_t value)
{
	__atomic_store_n(&shared->words[3], value, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &shared->words[3], FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* A child has the same pages, until it is told to look at them. */
void share_with_child(struct cell *c)
{
	set_word(0);
	sharer = fork();
	if (sharer == 0) {
		wait_for_word(1);
		cell_look(c, "in the child", c->at, c->bytes);
		live_fill(c->at, c->part, 9, 0);
		cell_look(c, "written", c->at, c->part);
		coverage_keep();
		_exit(7);
	}
}

void use_and_join(struct cell *c)
{
	int status = -1;

	use(c);
	set_word(1);
	waitpid(sharer, &status, 0);
	cell_note(c, "child", status);
}

/* The child is gone; its parent's pages are marked as shared until they are written. */
void inherit(struct cell *c)
{
	pid_t pid = fork();

	(void)c;
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* --- contents ---------------- */

void read_only_ever(struct cell *c)
{
	assert_int_equal(madvise(c->at, c->bytes, MADV_DONTNEED), 0);
	assert_true(live_is_zero(c->at, c->bytes));
}

void free_before(struct cell *c)
{
	assert_int_equal(madvise(c->at, c->bytes, MADV_FREE), 0);
	live_fill(c->at + c->part, 2 * c->part, 6, 0);
}

/* --- the mapping ---------------- */

static int name_mapping(void *at, size_t bytes)
{
	return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, bytes, "matrix");
}

void give_name(struct cell *c)
{
	if (name_mapping(c->at, c->bytes))
		cell_skip(c, "no names for mappings here");
}

void name_part(struct cell *c)
{
	if (name_mapping(c->at + c->part, 2 * c->part))
		cell_skip(c, "no names for mappings here");
	use(c);
}

static void seal_all(struct cell *c)
{
	if (syscall(CALL_MSEAL, c->at, c->bytes, 0))
		cell_skip(c, "no mseal() here");
}

void seal(struct cell *c)
{
	seal_all(c);
	cell_result(c, "munmap", munmap(c->at + c->part, c->part));
	cell_result(c, "mprotect", mprotect(c->at, c->bytes, PROT_READ));
	cell_result(c, "madvise", madvise(c->at, c->part, MADV_DONTNEED));
	live_fill(c->at + c->part, LIVE_PAGE, 2, 0);
}

void seal_before(struct cell *c)
{
	seal_all(c);
}

static void map_again(struct cell *c, int flags)
{
	assert_ptr_equal(mmap(c->at, c->bytes, RW,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0), c->at);
	assert_int_equal(madvise(c->at, c->bytes, MADV_NOHUGEPAGE), 0);
	live_fill(c->at, c->bytes, SEED, 0);
}

void no_reserve(struct cell *c)
{
	map_again(c, MAP_NORESERVE);
}

void grow_down(struct cell *c)
{
	assert_int_equal(munmap(c->at - LIVE_HUGE, LIVE_HUGE), 0); /* room */
	map_again(c, MAP_GROWSDOWN);
}

/* Nobody tells that a mapping has grown so. */
void touch_below(struct cell *c)
{
	unsigned char *below = c->at - c->part;

	for (size_t i = c->part; i > 0; i -= LIVE_PAGE)
		live_fill(below + i - LIVE_PAGE, LIVE_PAGE, 2, i);
	if (c->live.gpu)
		gpu_fill(&c->live, below, LIVE_PAGE, 3, 0);
	else
		live_fill(below, LIVE_PAGE, 3, 0);
	cell_result(c, "munmap", munmap(below + LIVE_PAGE, LIVE_PAGE));
	cell_watch(c, below, c->part);
}
