/* SPDX-License-Identifier: MIT */
/*
 * DOC: Running and comparing
 *
 * A cell is a child with a process group of its own, so that damage stays in it and what
 * it leaves behind is found. It has some seconds; then what its threads do is printed and
 * the group is killed. What it saw is in shared memory by then, whatever became of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "matrix.h"

#define CELL_MILLISECONDS (LIVE_SANITIZED ? 60000 : 20000)

struct shared *shared;
static pid_t outside;

static void futex_wait(uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void futex_set(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* --- the process outside ---------------- */

static char state_of(pid_t pid)
{
	char path[64], line[512] = "";
	const char *end;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 'X';
	got = read(fd, line, sizeof(line) - 1);
	close(fd);
	end = got > 0 ? strrchr(line, ')') : NULL;
	return end ? end[2] : 'X';
}

static int64_t stop_and_continue(pid_t pid)
{
	char state;

	if (kill(pid, SIGSTOP))
		return -1;
	while ((state = state_of(pid)) != 'T' && state != 'X')
		sched_yield();
	return kill(pid, SIGCONT);
}

static int64_t peek(pid_t pid, uint64_t at, uint64_t bytes)
{
	char path[64];
	int64_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	got = pread(fd, shared->outside_buffer, bytes, (off_t)at);
	if (got < 0)
		got = -errno;
	close(fd);
	return got;
}

static int64_t serve(uint32_t request)
{
	struct iovec mine = { shared->outside_buffer, shared->request_bytes };
	struct iovec theirs = { (void *)(uintptr_t)shared->request_at, shared->request_bytes };
	pid_t pid = shared->request_pid;
	int64_t result = -1;
	int fd;

	switch (request) {
	case REQUEST_READ:
		result = process_vm_readv(pid, &mine, 1, &theirs, 1, 0);
		break;
	case REQUEST_WRITE:
		result = process_vm_writev(pid, &mine, 1, &theirs, 1, 0);
		break;
	case REQUEST_STOP:
		return stop_and_continue(pid);
	case REQUEST_PEEK:
		return peek(pid, shared->request_at, shared->request_bytes);
	case REQUEST_ADVISE:
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
		result = syscall(SYS_process_madvise, fd, &theirs, 1,
				 shared->request_argument, 0);
		if (result < 0)
			result = -errno;
		close(fd);
		return result;
	}
	return result < 0 ? -errno : result;
}

static void outside_run(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		uint32_t request = __atomic_load_n(&shared->request, __ATOMIC_SEQ_CST);

		if (!request) {
			futex_wait(&shared->request, 0);
			continue;
		}
		shared->request_result = serve(request);
		__atomic_store_n(&shared->request, 0, __ATOMIC_SEQ_CST);
		futex_set(&shared->request_done, 1);
	}
}

int64_t cell_outside(enum request request, void *at, size_t bytes, uint64_t argument)
{
	shared->request_pid = getpid();
	shared->request_at = (uintptr_t)at;
	shared->request_bytes = bytes;
	shared->request_argument = argument;
	__atomic_store_n(&shared->request_done, 0, __ATOMIC_SEQ_CST);
	futex_set(&shared->request, request);
	while (!__atomic_load_n(&shared->request_done, __ATOMIC_SEQ_CST))
		futex_wait(&shared->request_done, 0);
	return shared->request_result;
}

void runner_start(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	fflush(stdout);
	outside = fork();
	assert_true(outside >= 0);
	if (!outside)
		outside_run();
}

void runner_end(void)
{
	kill(outside, SIGKILL);
	waitpid(outside, NULL, 0);
	munmap(shared, sizeof(*shared));
}

/* --- the watchdog ---------------- */

static void show(pid_t pid)
{
	for (pid_t tid = pid; tid < pid + 64; tid++) {
		static const char *const files[] = { "comm", "wchan", "syscall" };

		for (int i = 0; i < 3; i++) {
			char path[96], text[256];
			ssize_t got;
			int fd;

			snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, files[i]);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				break;
			got = read(fd, text, sizeof(text) - 1);
			close(fd);
			printf("  %s %d: %.*s%s", files[i], tid, got > 0 ? (int)got : 0, text,
			       i == 1 ? "\n" : "");
		}
	}
}

/* Waits for the child and for what it left. Return: its status; -1: it hung. */
static int wait_cell(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd poller = { fd, POLLIN, 0 };
	int status = -1, ready;

	do
		ready = poll(&poller, 1, CELL_MILLISECONDS);
	while (ready < 0 && errno == EINTR);
	close(fd);
	if (ready == 0) {
		printf("not done, at \"%s\":\n", shared->what);
		show(pid);
	}
	kill(-pid, SIGKILL);
	if (ready == 0)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	while (waitpid(-pid, NULL, 0) > 0)
		;
	/* Keepers, of a process group each; one that ends later is found by the next. */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return ready == 0 ? -1 : status;
}

static int run_child(const struct row *row, enum column column, enum who who, enum mode mode,
		     struct record *record)
{
	pid_t pid;

	memset(record, 0, offsetof(struct record, entries));
	record->gpu_count = 0;
	shared->what[0] = 0;
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		cell_run(row, column, who, mode);
	}
	setpgid(pid, pid);
	return wait_cell(pid);
}

/* --- comparing ---------------- */

struct verdict {
	const struct row *row;
	enum column column;
	enum who who;
	enum mode mode;
	const struct limit *limit;
	unsigned int wrong, allowed;
};

static const char *const who_names[WHO_COUNT] = { "main thread", "another thread",
						   "beside the GPU" };

static void begin_failure(struct verdict *v)
{
	if (!v->wrong++)
		printf("FAILED %s, %s, %s, %s\n", v->row->name, column_names[v->column],
		       who_names[v->who], v->mode == MODE_COPY ? "copy" : "move");
}

static uint32_t row_pages(const struct row *row)
{
	return (row->memory == HUGE || row->memory == HUGETLB ? LIVE_HUGE : AREA_BYTES) /
	       LIVE_PAGE;
}

static void differ(struct verdict *v, struct difference *d)
{
	static const char *const kinds[] = { "note", "page", "additions in page", "GPU's page" };

	uint32_t pages = row_pages(v->row);

	if (v->column == COLUMN_PART && d->index >= pages / 4 * 3)
		d->old = zero_page_hash();
	else if (d->index < pages)
		d->old = d->kind == DIFFERENT_GPU ? first_head(d->index) :
						    first_hash(d->index);
	if (v->limit && v->limit->allows(d)) {
		v->allowed++;
		return;
	}
	begin_failure(v);
	if (v->wrong <= 12)
		printf("  %s %s %u: natively %#lx, here %#lx%s %s\n", kinds[d->kind], d->name,
		       d->index, d->native, d->got,
		       d->got == zero_page_hash() ? " (zeros)" : "",
		       d->error ? strerror(d->error) : "");
}

/* The last word: what is there natively, and what the GPU added. */
static void compare_counters(struct verdict *v, const struct entry *native,
			     const struct entry *got)
{
	uint64_t most = 0, extra = got->counter - native->counter;
	struct difference d = { DIFFERENT_COUNT, got->name, got->index, native->counter,
				got->counter, 0, 0 };
	uint32_t pages = row_pages(v->row);

	if (v->who == BY_MAIN_BESIDE_GPU) {
		for (uint32_t i = 0; i < pages; i++) {
			/* A page that is kept has all that were done to it. */
			if (!(v->row->flags & (LOSES | FREES)) && !strcmp(got->name, "end") &&
			    native->value == first_hash(i) && extra != shared->added[i])
				most = UINT64_MAX;
			else if (most < shared->added[i])
				most = shared->added[i];
		}
		if (most != UINT64_MAX && extra <= most)
			return;
		d.native += most == UINT64_MAX ? 0 : most;
	}
	if (extra)
		differ(v, &d);
}

static void compare_page(struct verdict *v, const struct entry *native,
			 const struct entry *got)
{
	struct difference d = { DIFFERENT_PAGE, got->name, got->index, native->value,
				got->value, 0, 0 };

	if (v->row->flags & OPAQUE)
		return;
	if (native->value != got->value) {
		if (!(v->row->flags & FREES && got->value == zero_page_hash()))
			differ(v, &d);
		return;
	}
	if (native->value)
		compare_counters(v, native, got);
}

static void compare(struct verdict *v, const struct record *native, const struct record *got)
{
	uint32_t gpu = 0;

	if (native->count != got->count) {
		begin_failure(v);
		printf("  %u notes, natively %u\n", got->count, native->count);
	}
	for (uint32_t i = 0; i < native->count && i < got->count; i++) {
		const struct entry *n = &native->entries[i], *g = &got->entries[i];
		struct difference d = { DIFFERENT_NOTE, n->name, n->index, n->value,
					g->value, 0, 0 };

		if (strcmp(n->name, g->name) || n->is_page != g->is_page ||
		    n->index != g->index) {
			begin_failure(v);
			printf("  note %u is %s, natively %s\n", i, g->name, n->name);
			break;
		}
		if (n->is_page)
			compare_page(v, n, g);
		else if (n->value != g->value)
			differ(v, &d);
	}
	for (uint32_t i = 0; i < native->count && gpu < got->gpu_count; i++) {
		const struct entry *n = &native->entries[i];
		struct difference d = { DIFFERENT_GPU, n->name, n->index, n->value, 0, 0, 0 };

		if (!n->is_page || strcmp(n->name, "end"))
			continue;
		d.got = got->gpu[gpu].value;
		if (n->value && got->gpu[gpu].head == n->head)
			d.got = d.native;
		d.error = (int)got->gpu[gpu].counter;
		if (d.got != d.native && !(v->row->flags & OPAQUE) &&
		    !(v->row->flags & FREES && d.got == zero_page_hash()))
			differ(v, &d);
		gpu++;
	}
}

/* --- a row ---------------- */

const char *cell_impossible(const struct row *row, enum column column)
{
	if (row->flags & IN_PLACE && column != COLUMN_HOME && column != COLUMN_DEVICE)
		return "such memory does not move";
	return NULL;
}

static void run_cell(struct verdict *v, struct tally *tally)
{
	bool part = v->column == COLUMN_PART;
	const struct record *native = part ? &shared->native_part : &shared->native;
	int status = run_child(v->row, v->column, v->who, v->mode, &shared->got);

	v->limit = limit_find(v->row, v->column, v->who, v->mode);
	if (shared->got.skipped[0]) {
		printf("SKIP: %s: %s\n", v->row->name, shared->got.skipped);
		tally->skipped++;
		return;
	}
	if (status != 0 || !shared->got.is_over) {
		begin_failure(v);
		printf("  ended with status %#x at \"%s\"\n", (unsigned int)status,
		       shared->what);
	} else {
		compare(v, native, &shared->got);
		if (v->limit && !v->allowed && !v->wrong &&
		    v->who != BY_MAIN_BESIDE_GPU && v->column != COLUMN_MOVING) {
			begin_failure(v);
			printf("  limit %u is not seen here\n", v->limit->number);
		}
	}
	if (v->wrong)
		tally->failed++;
	else if (v->allowed)
		tally->limited++;
	else
		tally->passed++;
}

static bool run_native(const struct row *row, enum column column, struct record *record,
		       struct tally *tally)
{
	int status = run_child(row, column, BY_MAIN, MODE_MOVE, record);

	if (record->skipped[0]) {
		printf("SKIP: %s: %s\n", row->name, record->skipped);
		tally->skipped++;
		return false;
	}
	if (status == 0 && record->is_over)
		return true;
	printf("FAILED %s, natively: status %#x at \"%s\"\n", row->name, (unsigned int)status,
	       shared->what);
	tally->failed++;
	return false;
}

void runner_row(const struct row *row, enum mode mode, uint32_t columns, uint32_t whos,
		struct tally *tally)
{
	if (!run_native(row, COLUMN_NATIVE, &shared->native, tally))
		return;
	if (columns >> COLUMN_PART & 1 && !cell_impossible(row, COLUMN_PART) &&
	    !run_native(row, COLUMN_NATIVE_PART, &shared->native_part, tally))
		return;
	for (enum column column = 0; column < COLUMN_COUNT; column++) {
		if (!(columns >> column & 1) || cell_impossible(row, column))
			continue;
		for (enum who who = 0; who < WHO_COUNT; who++) {
			struct verdict v = { .row = row, .column = column, .who = who,
					     .mode = mode };

			if (!(whos >> who & 1) ||
			    (who == BY_MAIN_BESIDE_GPU && row->flags & NO_GPU))
				continue;
			run_cell(&v, tally);
		}
	}
}
