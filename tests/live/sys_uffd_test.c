/* SPDX-License-Identifier: MIT */
/*
 * Events, and moving pages, on the real userfaultfd.
 */
#include "sys_live.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct sys *sys;
static const struct sys_ops *ops;

/* --- a monitor that writes down what it reads ---------------------------- */

#define EVENT_COUNT_MAX 16

/* Unmapping @last tells the monitor that the test is over. */
struct monitor {
	struct span span; /* registered */
	uint32_t mode;
	char *last;
	struct gate ready;
	struct sys_event events[EVENT_COUNT_MAX];
	size_t count;
	/* What to do with the n-th fault, if anything but a zero page. */
	int (*fault)(struct monitor *monitor, int uffd,
		     const struct sys_event *event);
	size_t fault_count;
};

static void take_event(struct monitor *m, int uffd, const struct sys_event *event)
{
	uint64_t done;

	CHECK(m->count < EVENT_COUNT_MAX);
	m->events[m->count++] = *event;
	if (event->type == SYS_EVENT_FORK)
		ops->uffd_close(sys, event->child_uffd);
	if (event->type != SYS_EVENT_FAULT)
		return;
	m->fault_count++;
	if (m->fault) {
		CHECK(m->fault(m, uffd, event) == 0);
		return;
	}
	while (ops->uffd_zeropage(sys, uffd, span_make(event->addr, PAGE_BYTES),
				  &done) == -EAGAIN)
		base_host->cpu_yield();
}

static void monitor_run(void *arg)
{
	struct monitor *m = arg;
	struct sys_event event;
	int uffd;
	int err;

	CHECK(ops->uffd_open(sys, &uffd) == 0);
	CHECK(ops->uffd_register(sys, uffd, m->span, m->mode) == 0);
	CHECK(ops->uffd_register(sys, uffd, span_of(m->last, PAGE_BYTES),
				 SYS_REGISTER_MISSING) == 0);
	gate_open(&m->ready);
	for (;;) {
		CHECK(ops->uffd_wait(sys, uffd, BASE_FOREVER) == 0);
		err = ops->uffd_read(sys, uffd, &event);
		if (err == -EAGAIN)
			continue;
		CHECK(err == 0);
		if (event.type == SYS_EVENT_UNMAP &&
		    event.span.start == addr_of(m->last))
			break;
		take_event(m, uffd, &event);
	}
	ops->uffd_close(sys, uffd);
}

static struct sys_thread *monitor_start(struct monitor *m, void *p, uint64_t bytes)
{
	struct sys_thread *thread;

	m->span = span_of(p, bytes);
	if (!m->mode)
		m->mode = SYS_REGISTER_MISSING;
	m->last = map_anonymous(PAGE_BYTES);
	thread = start(sys, SYS_THREAD_OWN_FILES | SYS_THREAD_MONITOR,
		       monitor_run, m);
	gate_pass(&m->ready);
	return thread;
}

static void monitor_stop(struct monitor *m, struct sys_thread *thread)
{
	munmap(m->last, PAGE_BYTES);
	ops->thread_join(sys, thread);
}

static void assert_span(struct span span, const void *p, uint64_t bytes)
{
	assert_int_equal(span.start, addr_of(p));
	assert_int_equal(span_bytes(span), bytes);
}

/* --- events ---------------- */

static void a_fault_tells_page_thread_and_access(void **state)
{
	struct monitor m = { .count = 0 };
	volatile char *p = map_anonymous(2 * PAGE_BYTES);
	struct sys_thread *thread =
		monitor_start(&m, (void *)(uintptr_t)p, 2 * PAGE_BYTES);

	(void)state;
	assert_int_equal(p[100], 0);
	p[PAGE_BYTES + 5] = 1;
	monitor_stop(&m, thread);
	assert_int_equal(m.count, 2);
	assert_int_equal(m.events[0].type, SYS_EVENT_FAULT);
	assert_int_equal(m.events[0].addr, (uintptr_t)p);
	assert_int_equal(m.events[0].fault_flags, 0);
	assert_int_equal(m.events[0].thread_id, gettid());
	assert_int_equal(m.events[1].addr, (uintptr_t)p + PAGE_BYTES);
	assert_int_equal(m.events[1].fault_flags, SYS_FAULT_WRITE);
	munmap((void *)(uintptr_t)p, 2 * PAGE_BYTES);
}

static void munmap_sends_unmap(void **state)
{
	struct monitor m = { .count = 0 };
	char *p = map_anonymous(4 * PAGE_BYTES);
	struct sys_thread *thread = monitor_start(&m, p, 4 * PAGE_BYTES);

	(void)state;
	munmap(p + PAGE_BYTES, 2 * PAGE_BYTES);
	monitor_stop(&m, thread);
	assert_int_equal(m.count, 1);
	assert_int_equal(m.events[0].type, SYS_EVENT_UNMAP);
	assert_span(m.events[0].span, p + PAGE_BYTES, 2 * PAGE_BYTES);
	munmap(p, 4 * PAGE_BYTES);
}

static void dontneed_sends_remove_in_write_protect_mode_too(void **state)
{
	struct monitor m = { .mode = SYS_REGISTER_WP };
	char *p = map_anonymous(4 * PAGE_BYTES);
	struct sys_thread *thread = monitor_start(&m, p, 4 * PAGE_BYTES);

	(void)state;
	memset(p, 1, 4 * PAGE_BYTES);
	assert_int_equal(madvise(p, PAGE_BYTES, MADV_DONTNEED), 0);
	monitor_stop(&m, thread);
	assert_int_equal(p[0], 0);
	assert_int_equal(p[PAGE_BYTES], 1);
	assert_int_equal(m.count, 1);
	assert_int_equal(m.events[0].type, SYS_EVENT_REMOVE);
	assert_span(m.events[0].span, p, PAGE_BYTES);
	munmap(p, 4 * PAGE_BYTES);
}

static void mremap_sends_remap_and_then_unmap(void **state)
{
	struct monitor m = { .count = 0 };
	char *p = map_anonymous(4 * PAGE_BYTES);
	char *to = map_anonymous(4 * PAGE_BYTES);
	struct sys_thread *thread = monitor_start(&m, p, 4 * PAGE_BYTES);

	(void)state;
	assert_true(mremap(p, 4 * PAGE_BYTES, 4 * PAGE_BYTES,
			   MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	monitor_stop(&m, thread);
	assert_int_equal(m.count, 2);
	assert_int_equal(m.events[0].type, SYS_EVENT_REMAP);
	assert_span(m.events[0].span, p, 4 * PAGE_BYTES);
	assert_int_equal(m.events[0].to, addr_of(to));
	assert_int_equal(m.events[1].type, SYS_EVENT_UNMAP);
	assert_span(m.events[1].span, p, 4 * PAGE_BYTES);
	munmap(to, 4 * PAGE_BYTES);
}

static void fork_sends_the_childs_descriptor(void **state)
{
	struct monitor m = { .count = 0 };
	char *p = map_anonymous(PAGE_BYTES);
	struct sys_thread *thread;
	int status;
	pid_t child;

	(void)state;
	if (!sys_has(sys, SYS_FEATURE_EVENT_FORK)) {
		munmap(p, PAGE_BYTES);
		printf("SKIP: no fork events\n");
		skip();
	}
	thread = monitor_start(&m, p, PAGE_BYTES);
	child = fork();
	if (child == 0)
		_exit(*(volatile char *)p); /* the descriptor is closed: zero */
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	monitor_stop(&m, thread);
	assert_int_equal(m.count, 1);
	assert_int_equal(m.events[0].type, SYS_EVENT_FORK);
	assert_true(m.events[0].child_uffd > 2);
	munmap(p, PAGE_BYTES);
}

/* --- answers to a fault ---------------- */

static int copy_in(struct monitor *m, int uffd, const struct sys_event *event)
{
	static _Alignas(4096) char page[PAGE_BYTES];
	uint64_t copied;

	(void)m;
	memset(page, 'c', sizeof(page));
	CHECK(ops->uffd_copy(sys, uffd, event->addr, addr_of(page), PAGE_BYTES,
			     &copied) == 0);
	CHECK(copied == PAGE_BYTES);
	return 0;
}

static void copy_fills_a_page_and_wakes(void **state)
{
	struct monitor m = { .fault = copy_in };
	volatile char *p = map_anonymous(PAGE_BYTES);
	struct sys_thread *thread =
		monitor_start(&m, (void *)(uintptr_t)p, PAGE_BYTES);

	(void)state;
	assert_int_equal(p[17], 'c');
	monitor_stop(&m, thread);
	munmap((void *)(uintptr_t)p, PAGE_BYTES);
}

static int wake_first(struct monitor *m, int uffd, const struct sys_event *event)
{
	uint64_t done;
	struct span page = span_make(event->addr, PAGE_BYTES);

	if (m->fault_count == 1)
		return ops->uffd_wake(sys, uffd, page);
	return ops->uffd_zeropage(sys, uffd, page, &done);
}

static void a_woken_thread_faults_again(void **state)
{
	struct monitor m = { .fault = wake_first };
	volatile char *p = map_anonymous(PAGE_BYTES);
	struct sys_thread *thread =
		monitor_start(&m, (void *)(uintptr_t)p, PAGE_BYTES);

	(void)state;
	assert_int_equal(p[0], 0);
	monitor_stop(&m, thread);
	assert_int_equal(m.fault_count, 2);
	munmap((void *)(uintptr_t)p, PAGE_BYTES);
}

/* --- how far they came ---------------- */

struct moves {
	char *program;   /* 4 MiB, 2 MiB-aligned, all present unless said */
	uint64_t arena;
	int uffd;
};

#define MOVE_BYTES (2 * HUGE_BYTES)

static void moves_open(struct moves *moves, bool huge)
{
	uint64_t program;

	CHECK(ops->map(sys, MOVE_BYTES, HUGE_BYTES, 0x7d0000000000, &program) ==
	      0);
	CHECK(ops->map(sys, MOVE_BYTES, HUGE_BYTES, 0x7c0000000000,
		       &moves->arena) == 0);
	CHECK(ops->advise(sys, span_make(program, MOVE_BYTES),
			  huge ? SYS_ADVICE_HUGEPAGE : SYS_ADVICE_NOHUGEPAGE) ==
	      0);
	moves->program = pointer_to(program);
	for (uint64_t i = 0; i < MOVE_BYTES; i += PAGE_BYTES)
		*(uint64_t *)(void *)(moves->program + i) = i + 1;
	CHECK(ops->uffd_open(sys, &moves->uffd) == 0);
	CHECK(ops->uffd_register(sys, moves->uffd,
				 span_of(moves->program, MOVE_BYTES),
				 SYS_REGISTER_WP | SYS_REGISTER_MISSING) == 0);
	CHECK(ops->uffd_register(sys, moves->uffd,
				 span_make(moves->arena, MOVE_BYTES),
				 SYS_REGISTER_WP | SYS_REGISTER_MISSING) == 0);
}

static void moves_close(struct moves *moves)
{
	ops->uffd_close(sys, moves->uffd);
	ops->unmap(sys, addr_of(moves->program), MOVE_BYTES);
	ops->unmap(sys, moves->arena, MOVE_BYTES);
}

static uint64_t scan_count(struct span span, uint32_t flags)
{
	struct sys_page_run runs[64];
	uint64_t pages = 0;

	while (!span_is_empty(span)) {
		size_t count;

		CHECK(ops->page_scan(sys, span, runs, ARRAY_SIZE(runs), &count,
				     &span.start) == 0);
		for (size_t i = 0; i < count; i++) {
			if ((runs[i].flags & flags) == flags)
				pages += span_pages(runs[i].span);
		}
	}
	return pages;
}

static void check_word(const void *p, uint64_t value)
{
	uint64_t word = 0;

	CHECK(ops->access(sys, SYS_ACCESS_READ, addr_of(p), &word, 8) == 0);
	CHECK(word == value);
}

static void move_both_ways(void *arg)
{
	const uint64_t sizes[] = { PAGE_BYTES, KIB(64), HUGE_BYTES, MOVE_BYTES };
	struct moves moves;
	uint64_t moved;

	moves_open(&moves, *(bool *)arg);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t home = addr_of(moves.program);
		uint64_t pages = sizes[i] / PAGE_BYTES;

		CHECK(ops->uffd_move(sys, moves.uffd, moves.arena, home,
				     sizes[i], SYS_MOVE_DONTWAKE, &moved) == 0);
		CHECK(moved == sizes[i]);
		CHECK(scan_count(span_make(home, MOVE_BYTES),
				 SYS_PAGE_PRESENT) ==
		      MOVE_BYTES / PAGE_BYTES - pages);
		CHECK(scan_count(span_make(moves.arena, MOVE_BYTES),
				 SYS_PAGE_PRESENT) == pages);
		check_word(pointer_to(moves.arena + sizes[i] - PAGE_BYTES),
			   sizes[i] - PAGE_BYTES + 1);
		CHECK(ops->uffd_move(sys, moves.uffd, home, moves.arena,
				     sizes[i], 0, &moved) == 0);
		CHECK(moved == sizes[i]);
		check_word(moves.program + sizes[i] - PAGE_BYTES,
			   sizes[i] - PAGE_BYTES + 1);
	}
	moves_close(&moves);
}

static void small_pages_move_both_ways(void **state)
{
	bool huge = false;

	(void)state;
	run_apart(sys, move_both_ways, &huge);
}

static void huge_pages_move_both_ways(void **state)
{
	bool huge = true;

	(void)state;
	run_apart(sys, move_both_ways, &huge);
}

static void move_huge(void *arg)
{
	uint64_t *huge_pages = arg;
	struct moves moves;
	uint64_t moved;

	moves_open(&moves, true);
	huge_pages[0] = scan_count(span_of(moves.program, MOVE_BYTES),
				   SYS_PAGE_HUGE);
	CHECK(ops->uffd_move(sys, moves.uffd, moves.arena,
			     addr_of(moves.program), MOVE_BYTES, 0, &moved) ==
	      0);
	huge_pages[1] = scan_count(span_make(moves.arena, MOVE_BYTES),
				   SYS_PAGE_HUGE);
	moves_close(&moves);
}

static void a_huge_page_stays_huge(void **state)
{
	uint64_t huge_pages[2];

	(void)state;
	run_apart(sys, move_huge, huge_pages);
	assert_int_equal(huge_pages[0], huge_pages[1]);
}

static void move_up_to_a_hole(void *arg)
{
	struct moves moves;
	uint64_t moved = 77;
	uint64_t home;

	(void)arg;
	moves_open(&moves, false);
	home = addr_of(moves.program);
	CHECK(ops->empty(sys, span_make(home + 3 * PAGE_BYTES, PAGE_BYTES)) == 0);
	CHECK(ops->uffd_move(sys, moves.uffd, moves.arena, home, KIB(64), 0,
			     &moved) == -EAGAIN);
	CHECK(moved == 3 * PAGE_BYTES);
	CHECK(ops->uffd_move(sys, moves.uffd, moves.arena + moved, home + moved,
			     KIB(64) - moved, 0, &moved) == -ENOENT);
	CHECK(moved == 0);
	CHECK(ops->uffd_move(sys, moves.uffd, moves.arena + 3 * PAGE_BYTES,
			     home + 3 * PAGE_BYTES, KIB(64) - 3 * PAGE_BYTES,
			     SYS_MOVE_ALLOW_SRC_HOLES, &moved) == 0);
	CHECK(moved == KIB(64) - 3 * PAGE_BYTES);
	CHECK(scan_count(span_make(moves.arena, KIB(64)), SYS_PAGE_PRESENT) ==
	      15);

	/* The destination is taken: nothing moves, and that is said. */
	CHECK(ops->uffd_move(sys, moves.uffd, moves.arena, home + KIB(64),
			     PAGE_BYTES, 0, &moved) == -EEXIST);
	CHECK(moved == 0);
	moves_close(&moves);
}

static void a_move_stops_at_a_hole_and_says_where(void **state)
{
	(void)state;
	run_apart(sys, move_up_to_a_hole, NULL);
}

static void fill_up_to_a_page(void *arg)
{
	struct moves moves;
	uint64_t done = 77;
	uint64_t home;

	(void)arg;
	moves_open(&moves, false);
	home = addr_of(moves.program);
	CHECK(ops->empty(sys, span_make(home, 4 * PAGE_BYTES)) == 0);
	CHECK(ops->uffd_zeropage(sys, moves.uffd, span_make(home, KIB(32)),
				 &done) == -EAGAIN);
	CHECK(done == 4 * PAGE_BYTES);
	CHECK(ops->uffd_zeropage(sys, moves.uffd,
				 span_make(home + done, KIB(16)), &done) ==
	      -EEXIST);
	CHECK(done == 0);

	/* From the arena, where pages are present. */
	CHECK(ops->uffd_move(sys, moves.uffd, moves.arena, home + KIB(64),
			     KIB(64), 0, &done) == 0);
	CHECK(ops->empty(sys, span_make(home, 4 * PAGE_BYTES)) == 0);
	CHECK(ops->uffd_copy(sys, moves.uffd, home, moves.arena, KIB(32),
			     &done) == -EAGAIN);
	CHECK(done == 4 * PAGE_BYTES);
	check_word(moves.program, KIB(64) + 1);
	CHECK(ops->uffd_copy(sys, moves.uffd, home, moves.arena, PAGE_BYTES,
			     &done) == -EEXIST);
	CHECK(done == 0);
	moves_close(&moves);
}

static void zeros_and_copies_stop_at_a_page_and_say_where(void **state)
{
	(void)state;
	run_apart(sys, fill_up_to_a_page, NULL);
}

static void empty_without_an_event(void *arg)
{
	struct moves moves;
	struct sys_event event;

	(void)arg;
	moves_open(&moves, true);
	CHECK(ops->empty(sys, span_of(moves.program, MOVE_BYTES)) == 0);
	CHECK(ops->uffd_read(sys, moves.uffd, &event) == -EAGAIN);
	CHECK(scan_count(span_of(moves.program, MOVE_BYTES), 0) == 0);
	moves_close(&moves);
}

static void emptying_raises_no_event_and_leaves_holes(void **state)
{
	(void)state;
	if (!sys_has(sys, SYS_FEATURE_GUARD)) {
		printf("SKIP: no guard pages\n");
		skip();
	}
	run_apart(sys, empty_without_an_event, NULL);
}

static void poison_a_page(void *arg)
{
	struct moves moves;
	uint64_t word = 0;

	(void)arg;
	moves_open(&moves, false);
	CHECK(ops->empty(sys, span_of(moves.program, PAGE_BYTES)) == 0);
	CHECK(ops->uffd_poison(sys, moves.uffd,
			       span_of(moves.program, PAGE_BYTES)) == 0);
	CHECK(ops->access(sys, SYS_ACCESS_READ, addr_of(moves.program), &word,
			  8) == -EFAULT);
	moves_close(&moves);
}

static void a_poisoned_page_cannot_be_read(void **state)
{
	(void)state;
	if (!sys_has(sys, SYS_FEATURE_POISON)) {
		printf("SKIP: no UFFDIO_POISON\n");
		skip();
	}
	run_apart(sys, poison_a_page, NULL);
}

static void track_writes(void *arg)
{
	struct moves moves;
	struct span span;
	uint64_t word = 1;

	(void)arg;
	moves_open(&moves, false);
	span = span_of(moves.program, KIB(64));
	CHECK(scan_count(span, SYS_PAGE_WRITTEN) == 16);
	CHECK(ops->uffd_writeprotect(sys, moves.uffd, span, true) == 0);
	CHECK(scan_count(span, SYS_PAGE_WRITTEN) == 0);
	CHECK(ops->access(sys, SYS_ACCESS_WRITE, span.start + PAGE_BYTES, &word,
			  8) == 0);
	CHECK(scan_count(span, SYS_PAGE_WRITTEN) == 1);
	CHECK(ops->uffd_writeprotect(sys, moves.uffd, span, false) == 0);
	CHECK(scan_count(span, SYS_PAGE_WRITTEN) == 16);
	moves_close(&moves);
}

static void a_protected_page_that_is_written_shows_it(void **state)
{
	(void)state;
	if (!sys_has(sys, SYS_FEATURE_WP_ASYNC | SYS_FEATURE_PAGEMAP_SCAN)) {
		printf("SKIP: no asynchronous write protection, or no PAGEMAP_SCAN\n");
		skip();
	}
	run_apart(sys, track_writes, NULL);
}

/* --- registering ---------------- */

static void register_errors(void *arg)
{
	struct moves moves;
	uint64_t hole;
	int other;

	(void)arg;
	moves_open(&moves, false);
	CHECK(ops->map(sys, PAGE_BYTES, PAGE_BYTES, 0x7b0000000000, &hole) == 0);
	ops->unmap(sys, hole, PAGE_BYTES);
	CHECK(ops->uffd_register(sys, moves.uffd, span_make(hole, PAGE_BYTES),
				 SYS_REGISTER_MISSING) == -ENOENT);
	CHECK(ops->uffd_open(sys, &other) == 0);
	CHECK(ops->uffd_register(sys, other, span_of(moves.program, PAGE_BYTES),
				 SYS_REGISTER_MISSING) == -EBUSY);
	CHECK(ops->uffd_unregister(sys, moves.uffd,
				   span_of(moves.program, MOVE_BYTES)) == 0);
	CHECK(ops->uffd_register(sys, other, span_of(moves.program, PAGE_BYTES),
				 SYS_REGISTER_MISSING) == 0);
	CHECK(ops->uffd_register(sys, other,
				 span_make((uintptr_t)register_errors &
						   ~(PAGE_BYTES - 1),
					   PAGE_BYTES),
				 SYS_REGISTER_MISSING) == -EINVAL);
	ops->uffd_close(sys, other);
	moves_close(&moves);
}

static void what_cannot_be_registered_says_why(void **state)
{
	(void)state;
	run_apart(sys, register_errors, NULL);
}

static int move_to(struct moves *moves, uint64_t to, uint64_t from, uint64_t bytes)
{
	uint64_t moved;
	int err = ops->uffd_move(sys, moves->uffd, to, from, bytes, 0, &moved);

	CHECK(!err || moved == 0);
	return err;
}

/* Both ways: a page at the start of the program's half, and one of the arena. */
static void check_refused(struct moves *moves, int error)
{
	uint64_t home = addr_of(moves->program);

	CHECK(move_to(moves, moves->arena, home, PAGE_BYTES) == error);
	CHECK(move_to(moves, home + MOVE_BYTES / 2, moves->arena + MOVE_BYTES / 2,
		      PAGE_BYTES) == error);
	check_word(moves->program, 1);
}

static void move_errors(void *arg)
{
	struct moves moves;
	uint64_t home, half = MOVE_BYTES / 2;
	int locked;

	(void)arg;
	moves_open(&moves, false);
	home = addr_of(moves.program);
	CHECK(move_to(&moves, moves.arena + half, home + half, PAGE_BYTES) == 0);
	CHECK(move_to(&moves, home, home, PAGE_BYTES) == -EEXIST); /* onto itself */
	CHECK(mprotect(moves.program, MOVE_BYTES, PROT_READ) == 0);
	check_refused(&moves, -EINVAL);
	CHECK(mprotect(moves.program, MOVE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
	check_refused(&moves, -EINVAL);
	CHECK(mprotect(moves.program, MOVE_BYTES, PROT_READ | PROT_WRITE) == 0);
	/* By system call: a sanitizer's mlock() does nothing. */
	locked = !syscall(SYS_mlock2, home, PAGE_BYTES, 0);
	if (locked) {
		CHECK(move_to(&moves, moves.arena, home, PAGE_BYTES) == -EINVAL);
		CHECK(syscall(SYS_munlock, home, PAGE_BYTES) == 0);
	}
	/* Over a border of mappings. */
	CHECK(mprotect(moves.program + PAGE_BYTES, PAGE_BYTES, PROT_NONE) == 0);
	CHECK(move_to(&moves, moves.arena, home, 2 * PAGE_BYTES) == -EINVAL);
	CHECK(mprotect(moves.program + PAGE_BYTES, PAGE_BYTES, PROT_READ | PROT_WRITE) == 0);
	/* Where it goes is not registered; where it comes from need not be. */
	CHECK(ops->uffd_unregister(sys, moves.uffd, span_of(moves.program, MOVE_BYTES)) == 0);
	CHECK(move_to(&moves, home + half, moves.arena + half, PAGE_BYTES) == -EINVAL);
	CHECK(move_to(&moves, moves.arena, home, PAGE_BYTES) == 0);
	check_word(pointer_to(moves.arena), 1);
	moves_close(&moves);
}

static void what_cannot_be_moved_says_why(void **state)
{
	(void)state;
	run_apart(sys, move_errors, NULL);
}

/* The program's thread unmaps a page as soon as it may. */
struct pending {
	char *page;
	struct gate ready;
};

static void act_while_an_event_waits(void *arg)
{
	struct pending *p = arg;
	struct sys_event event;
	struct moves moves;
	struct span present;
	uint64_t done, home;
	int err;

	moves_open(&moves, false);
	home = addr_of(moves.program);
	present = span_make(home, PAGE_BYTES);
	CHECK(move_to(&moves, moves.arena + PAGE_BYTES, home + PAGE_BYTES, PAGE_BYTES) == 0);
	CHECK(ops->uffd_register(sys, moves.uffd, span_of(p->page, PAGE_BYTES),
				 SYS_REGISTER_MISSING) == 0);
	gate_open(&p->ready);
	while (ops->uffd_zeropage(sys, moves.uffd, present, &done) == -EEXIST)
		base_host->cpu_yield();
	CHECK(ops->uffd_zeropage(sys, moves.uffd, present, &done) == -EAGAIN);
	CHECK(move_to(&moves, moves.arena, home, PAGE_BYTES) == -EAGAIN);
	CHECK(move_to(&moves, home + PAGE_BYTES, moves.arena + PAGE_BYTES, PAGE_BYTES) ==
	      -EAGAIN);
	CHECK(ops->uffd_copy(sys, moves.uffd, home + PAGE_BYTES, home, PAGE_BYTES, &done) ==
	      -EAGAIN);
	CHECK(ops->uffd_register(sys, moves.uffd, present,
				 SYS_REGISTER_WP | SYS_REGISTER_MISSING) == 0);
	while ((err = ops->uffd_read(sys, moves.uffd, &event)) == -EAGAIN)
		base_host->cpu_yield();
	CHECK(err == 0 && event.type == SYS_EVENT_UNMAP);
	/* Over when the caller ran on, not when its event was read. */
	while ((err = move_to(&moves, home + PAGE_BYTES, moves.arena + PAGE_BYTES,
			      PAGE_BYTES)) == -EAGAIN)
		base_host->cpu_yield();
	CHECK(err == 0);
	check_word(moves.program + PAGE_BYTES, PAGE_BYTES + 1);
	moves_close(&moves);
}

/* A: on every span of the descriptor. A9: so the arena has the same one. */
static void nothing_moves_while_an_event_waits(void **state)
{
	struct pending p = { .page = map_anonymous(PAGE_BYTES) };
	struct sys_thread *thread = start(sys, SYS_THREAD_OWN_FILES | SYS_THREAD_MONITOR,
					  act_while_an_event_waits, &p);

	(void)state;
	gate_pass(&p.ready);
	assert_int_equal(munmap(p.page, PAGE_BYTES), 0);
	ops->thread_join(sys, thread);
}

/* --- waiting ---------------- */

static void wait_alone(void *arg)
{
	int uffd;

	(void)arg;
	CHECK(ops->uffd_open(sys, &uffd) == 0);
	CHECK(ops->uffd_wait(sys, uffd, 0) == -ETIMEDOUT);
	CHECK(ops->uffd_wait(sys, uffd, 1000) == -ETIMEDOUT);
	ops->uffd_kick(sys);
	ops->uffd_kick(sys);
	CHECK(ops->uffd_wait(sys, uffd, BASE_FOREVER) == 0);
	CHECK(ops->uffd_wait(sys, uffd, 0) == -ETIMEDOUT);
	ops->uffd_close(sys, uffd);
}

static void a_kick_ends_the_next_wait_once(void **state)
{
	(void)state;
	run_apart(sys, wait_alone, NULL);
}

static void kick(void *arg)
{
	gate_pass(arg);
	ops->uffd_kick(sys);
}

static void wait_for_a_worker(void *arg)
{
	struct gate gate = { .is_open = 0 };
	struct sys_thread *worker;
	int uffd;

	(void)arg;
	CHECK(ops->uffd_open(sys, &uffd) == 0);
	worker = start(sys, SYS_THREAD_SHARE_FILES, kick, &gate);
	gate_open(&gate);
	CHECK(ops->uffd_wait(sys, uffd, BASE_FOREVER) == 0);
	ops->thread_join(sys, worker);
	ops->uffd_close(sys, uffd);
}

static void a_worker_can_kick(void **state)
{
	(void)state;
	run_apart(sys, wait_for_a_worker, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fault_tells_page_thread_and_access),
		cmocka_unit_test(munmap_sends_unmap),
		cmocka_unit_test(dontneed_sends_remove_in_write_protect_mode_too),
		cmocka_unit_test(mremap_sends_remap_and_then_unmap),
		cmocka_unit_test(fork_sends_the_childs_descriptor),
		cmocka_unit_test(copy_fills_a_page_and_wakes),
		cmocka_unit_test(a_woken_thread_faults_again),
		cmocka_unit_test(small_pages_move_both_ways),
		cmocka_unit_test(huge_pages_move_both_ways),
		cmocka_unit_test(a_huge_page_stays_huge),
		cmocka_unit_test(a_move_stops_at_a_hole_and_says_where),
		cmocka_unit_test(zeros_and_copies_stop_at_a_page_and_say_where),
		cmocka_unit_test(emptying_raises_no_event_and_leaves_holes),
		cmocka_unit_test(a_poisoned_page_cannot_be_read),
		cmocka_unit_test(a_protected_page_that_is_written_shows_it),
		cmocka_unit_test(what_cannot_be_registered_says_why),
		cmocka_unit_test(what_cannot_be_moved_says_why),
		cmocka_unit_test(nothing_moves_while_an_event_waits),
		cmocka_unit_test(a_kick_ends_the_next_wait_once),
		cmocka_unit_test(a_worker_can_kick),
	};
	int failed;

	need_features("userfaultfd with UFFDIO_MOVE and guard pages",
		      SYS_FEATURE_UFFD | SYS_FEATURE_MOVE | SYS_FEATURE_GUARD);
	sys = open_sys("");
	ops = sys->ops;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	sys_linux_close(sys);
	return failed;
}
