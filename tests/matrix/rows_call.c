/* SPDX-License-Identifier: MIT */
/*
 * DOC: Rows: system calls that read and write the memory; memory of other kinds
 *
 * What a call has read is looked at page by page, as the memory itself is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "live/support/calls.h"
#include "rows.h"

/* What goes through a pipe at once. */
#define CHUNK AREA_BYTES

/* Back to where the column has it, in the middle of a row. */
static void send_back(struct cell *c)
{
	if (c->live.gpu && (c->column == COLUMN_DEVICE || c->column == COLUMN_EVICTED))
		live_take(&c->live, c->at, c->bytes);
}

static void clear_buffer(void)
{
	memset(shared->buffer, 0, AREA_BYTES);
}

/* --- pipes and files ---------------- */

void write_pipe(struct cell *c)
{
	int ends[2];

	clear_buffer();
	assert_int_equal(pipe(ends), 0);
	cell_result(c, "write", write(ends[1], c->at, CHUNK));
	cell_result(c, "read", read(ends[0], shared->buffer, CHUNK));
	cell_look(c, "written", shared->buffer, CHUNK);
	close(ends[0]);
	close(ends[1]);
}

void read_pipe(struct cell *c)
{
	int ends[2];

	live_fill(shared->buffer, CHUNK, 2, 0);
	assert_int_equal(pipe(ends), 0);
	cell_result(c, "write", write(ends[1], shared->buffer, CHUNK));
	cell_result(c, "read", read(ends[0], c->at, 3 * LIVE_PAGE));
	cell_result(c, "read", read(ends[0], c->at + 2 * c->part, c->part));
	close(ends[0]);
	close(ends[1]);
}

static int open_file(struct cell *c, int flags)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);

	if (fd < 0)
		cell_skip(c, "no such files in /var/tmp");
	return fd;
}

static void write_to(struct cell *c, int flags)
{
	int fd = open_file(c, flags);

	clear_buffer();
	cell_result(c, "write", pwrite(fd, c->at, CHUNK, 0));
	cell_result(c, "flags", fcntl(fd, F_SETFL, 0));
	cell_result(c, "read", pread(fd, shared->buffer, CHUNK, 0));
	cell_look(c, "written", shared->buffer, CHUNK);
	close(fd);
}

static void read_from(struct cell *c, int flags)
{
	int fd = open_file(c, 0);

	live_fill(shared->buffer, CHUNK, 2, 0);
	cell_result(c, "write", pwrite(fd, shared->buffer, CHUNK, 0));
	cell_result(c, "sync", fsync(fd));
	cell_result(c, "flags", fcntl(fd, F_SETFL, flags));
	cell_result(c, "read", pread(fd, c->at + LIVE_PAGE, 3 * LIVE_PAGE, 0));
	cell_result(c, "read", pread(fd, c->at + 2 * c->part, 4 * LIVE_PAGE, LIVE_PAGE));
	close(fd);
}

void write_file(struct cell *c)
{
	write_to(c, 0);
}

void read_file(struct cell *c)
{
	read_from(c, 0);
}

void write_direct(struct cell *c)
{
	write_to(c, O_DIRECT);
}

void read_direct(struct cell *c)
{
	read_from(c, O_DIRECT);
}

static void note_uring(struct cell *c, int err, const char *why)
{
	if (err == CALL_SKIPPED)
		cell_skip(c, why);
	cell_note(c, "uring", err);
}

/* The GPU wants the pages while the kernel may write to them. */
static void use_pinned(void *arg)
{
	struct cell *c = arg;

	if (c->live.gpu && !c->held)
		live_take(&c->live, c->at, c->bytes);
}

void uring_write(struct cell *c)
{
	int fd = open_file(c, 0);
	const char *why = NULL;

	clear_buffer();
	note_uring(c, call_uring_fixed(fd, true, c->at, CHUNK, &why, use_pinned, c), why);
	cell_result(c, "read", pread(fd, shared->buffer, CHUNK, 0));
	cell_look(c, "written", shared->buffer, CHUNK);
	close(fd);
}

void uring_read(struct cell *c)
{
	int fd = open_file(c, 0);
	const char *why = NULL;

	live_fill(shared->buffer, CHUNK, 2, 0);
	cell_result(c, "write", pwrite(fd, shared->buffer, CHUNK, 0));
	note_uring(c, call_uring_fixed(fd, false, c->at + c->part, 2 * c->part, &why, use_pinned,
				       c), why);
	close(fd);
}

static void splice_all(struct cell *c, bool written)
{
	struct iovec all = { c->at, 8 * LIVE_PAGE };
	int ends[2];

	clear_buffer();
	assert_int_equal(pipe(ends), 0);
	cell_result(c, "vmsplice", vmsplice(ends[1], &all, 1, 0));
	send_back(c);
	if (written)
		live_fill(c->at, LIVE_PAGE, 2, 0);
	cell_result(c, "read", read(ends[0], shared->buffer, 8 * LIVE_PAGE));
	cell_look(c, "spliced", shared->buffer, 8 * LIVE_PAGE);
	close(ends[0]);
	close(ends[1]);
}

void splice_read(struct cell *c)
{
	splice_all(c, false);
}

void splice_written(struct cell *c)
{
	splice_all(c, true);
}

void socket_pair(struct cell *c)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	cell_result(c, "send", send(ends[0], c->at, c->part, 0));
	cell_result(c, "recv", recv(ends[1], shared->buffer, c->part, MSG_WAITALL));
	cell_look(c, "sent", shared->buffer, c->part);
	send_back(c);
	live_fill(shared->buffer, c->part, 2, 0);
	cell_result(c, "send", send(ends[0], shared->buffer, c->part, 0));
	cell_result(c, "recv", recv(ends[1], c->at + 2 * c->part, c->part, MSG_WAITALL));
	close(ends[0]);
	close(ends[1]);
}

/* --- futex ---------------- */

static void *wait_on(void *arg)
{
	uint32_t *word = arg;
	uint32_t value = __atomic_load_n(&shared->words[1], __ATOMIC_SEQ_CST);

	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == value)
		syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
	return word;
}

void futex(struct cell *c)
{
	uint32_t *word = (void *)(c->at + c->part + 64);
	struct live_thread *thread;

	shared->words[1] = (uint32_t)live_word(SEED, (c->part + 64) / 8);
	cell_result(c, "wait", syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0));
	thread = live_thread_start(wait_on, word);
	live_thread_wait_blocked(thread, SYS_futex);
	send_back(c);
	__atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
	cell_note(c, "join", live_thread_join(thread) == word);
}

/* --- from outside ---------------- */

void outside_reads(struct cell *c)
{
	memset(shared->outside_buffer, 0, AREA_BYTES);
	cell_note(c, "read", cell_outside(REQUEST_READ, c->at, AREA_BYTES, 0));
	cell_look(c, "read", shared->outside_buffer, AREA_BYTES);
}

void outside_writes(struct cell *c)
{
	live_fill(shared->outside_buffer, AREA_BYTES, 2, 0);
	cell_note(c, "write", cell_outside(REQUEST_WRITE, c->at + c->part, 2 * c->part, 0));
}

void outside_peeks(struct cell *c)
{
	memset(shared->outside_buffer, 0xEE, AREA_BYTES);
	cell_note(c, "peek", cell_outside(REQUEST_PEEK, c->at, LIVE_PAGE, 0));
	cell_look(c, "peeked", shared->outside_buffer, LIVE_PAGE);
}

void in_core(struct cell *c)
{
	unsigned char resident[16];

	cell_result(c, "mincore", mincore(c->at, 16 * LIVE_PAGE, resident));
	for (unsigned int i = 0; i < 16; i++)
		cell_note(c, "resident", resident[i] & 1);
}

/* --- swap ---------------- */

#define PAGEMAP_SWAPPED (1ull << 62)

static size_t count_swapped(struct cell *c)
{
	uint64_t entry, count = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	for (size_t i = 0; i < c->bytes; i += LIVE_PAGE) {
		off_t offset = (off_t)(((uintptr_t)c->at + i) / LIVE_PAGE * 8);

		assert_int_equal(pread(fd, &entry, 8, offset), 8);
		count += (entry & PAGEMAP_SWAPPED) != 0;
	}
	close(fd);
	return count;
}

/* The kernel may leave a page for now, but not all of them for ever. */
void to_swap(struct cell *c)
{
	for (unsigned int i = 0; i < 1000 && !count_swapped(c); i++)
		assert_int_equal(madvise(c->at, c->bytes, MADV_PAGEOUT), 0);
	if (!count_swapped(c))
		cell_skip(c, "the kernel does not swap out");
}

void swap_out(struct cell *c)
{
	if (c->column == COLUMN_HOME && c->who != BY_MAIN_BESIDE_GPU)
		to_swap(c);
	cell_result(c, "madvise", madvise(c->at, c->bytes, MADV_PAGEOUT));
	cell_look(c, "swapped", c->at, 2 * c->part);
	cell_result(c, "madvise", madvise(c->at, c->bytes, MADV_PAGEOUT));
	send_back(c);
}

/* --- used by both sides ---------------- */

void use(struct cell *c)
{
	live_fill(c->at, c->part, 2, 0);
	if (c->live.gpu)
		gpu_fill(&c->live, c->at + c->part, LIVE_PAGE, 3, 0);
	else
		live_fill(c->at + c->part, LIVE_PAGE, 3, 0);
	cell_look(c, "used", c->at, 2 * c->part);
	live_fill(c->at + c->part + LIVE_PAGE, LIVE_PAGE, 4, 0);
}

void use_file(struct cell *c)
{
	use(c);
	live_fill(shared->buffer, 2 * LIVE_PAGE, 5, 0);
	cell_result(c, "write", pwrite(c->fd, shared->buffer, 2 * LIVE_PAGE, (off_t)c->part));
	clear_buffer();
	cell_result(c, "read", pread(c->fd, shared->buffer, AREA_BYTES, 0));
	cell_look(c, "file", shared->buffer, AREA_BYTES);
}

void locked(struct cell *c)
{
	assert_int_equal(live_mlock(c->at, c->bytes), 0);
}

void executable(struct cell *c)
{
	assert_int_equal(mprotect(c->at, c->bytes, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
}

void remove_part(struct cell *c)
{
	cell_result(c, "madvise", madvise(c->at + c->part, 2 * c->part, MADV_REMOVE));
	cell_look(c, "removed", c->at + c->part, 2 * c->part);
	live_fill(c->at + c->part, LIVE_PAGE, 2, 0);
}
