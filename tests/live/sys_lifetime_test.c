/* SPDX-License-Identifier: MIT */
/*
 * What open takes, close gives back; what pages_alloc takes, pages_free does.
 */
#include "coverage.h"
#include "sys_live.h"

#include "live/support/usage.h"
#include "sys/linux_internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static uint64_t seed;

struct holdings {
	size_t files;
	size_t threads;
	size_t mappings;
};

/* A thread that was joined is still listed for a moment. Sanitizers have threads
 * of their own. */
static struct holdings holdings_now(void)
{
	while (!LINUX_SANITIZED && usage_entries("/proc/self/task") > 1)
		base_host->cpu_yield();
	return (struct holdings){
		.files = usage_entries("/proc/self/fd"),
		.threads = usage_entries("/proc/self/task"),
		.mappings = usage_mappings(),
	};
}

static void do_nothing(void *arg)
{
	(void)arg;
}

static void open_and_close(const char *mask)
{
	struct sys *sys = open_sys(mask);
	void *pages = base_host->pages_alloc(KIB(64));
	struct sys_page_run run;
	struct sys_vma vma;
	uint64_t end;
	size_t count;

	assert_non_null(pages);
	/* Asked by the program's thread, these open a file for the moment. */
	assert_int_equal(sys->ops->vma_query(sys, addr_of(pages), false, &vma), 0);
	assert_int_equal(sys->ops->page_scan(sys, vma.span, &run, 1, &count, &end),
			 0);
	run_apart(sys, do_nothing, NULL);
	base_host->pages_free(pages, KIB(64));
	sys_linux_close(sys);
	assert_int_equal(msync(pages, KIB(64), MS_ASYNC), -1); /* unmapped */
}

static void a_thousand_lives_leave_no_trace(void **state)
{
	struct holdings before;
	struct holdings after;

	(void)state;
	open_and_close(""); /* the C library keeps what it needed once */
	before = holdings_now();
	for (int i = 0; i < 1000; i++)
		open_and_close(i % 2 ? "" : "-guard,-procmap_query");
	after = holdings_now();
	assert_int_equal(after.files, before.files);
	if (!LINUX_SANITIZED) {
		assert_int_equal(after.threads, before.threads);
		assert_int_equal(after.mappings, before.mappings);
	}
}

static void two_users_share_one(void **state)
{
	struct sys *a = open_sys("");
	struct sys *b = open_sys("-move");

	(void)state;
	assert_ptr_equal(a, b);
	sys_linux_close(a);
	assert_false(b->ops->is_forked(b)); /* its pages are still there */
	run_apart(b, do_nothing, NULL);
	sys_linux_close(b);
}

#define CROWD 3
#define CROWD_ROUNDS 2000

static void *come_and_go(void *arg)
{
	for (int i = 0; i < CROWD_ROUNDS; i++) {
		struct sys *sys = open_sys("");
		uint64_t *page = base_host->pages_alloc(PAGE_BYTES);

		CHECK(page && *page == 0 && !sys->ops->is_forked(sys));
		*page = 1;
		base_host->pages_free(page, PAGE_BYTES);
		sys_linux_close(sys);
	}
	return arg;
}

/* Who opens looks whether this is a child while another closes. */
static void threads_that_come_and_go_do_not_meet(void **state)
{
	pthread_t threads[CROWD];
	size_t before;

	(void)state;
	open_and_close("");
	before = usage_mappings();
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	if (!LINUX_SANITIZED) /* stacks are kept, each with its guard */
		assert_in_range(usage_mappings(), before, before + 2 * CROWD + 2);
}

static void a_failed_open_leaves_nothing(void **state)
{
	struct holdings before = holdings_now();
	struct holdings after;
	struct sys *sys;

	(void)state;
	assert_int_equal(sys_linux_open("-nothing", &sys), -EINVAL);
	after = holdings_now();
	assert_int_equal(after.files, before.files);
	assert_int_equal(after.mappings, before.mappings);
}

/* --- pages ---------------- */

static uint64_t present_pages(struct sys *sys, const void *p, uint64_t bytes)
{
	struct span span = span_of(p, bytes);
	uint64_t pages = 0;

	while (!span_is_empty(span)) {
		struct sys_page_run runs[8];
		size_t count;

		assert_int_equal(sys->ops->page_scan(sys, span, runs,
						     ARRAY_SIZE(runs), &count,
						     &span.start),
				 0);
		for (size_t i = 0; i < count; i++)
			pages += span_pages(runs[i].span);
	}
	return pages;
}

static void freed_pages_go_back_to_the_kernel_and_come_zeroed(void **state)
{
	struct sys *sys = open_sys("");
	char *p = base_host->pages_alloc(MIB(3));
	char *again;

	(void)state;
	memset(p, 1, MIB(3));
	assert_int_equal(present_pages(sys, p, MIB(3)), MIB(3) / PAGE_BYTES);
	base_host->pages_free(p, MIB(3));
	assert_int_equal(present_pages(sys, p, MIB(3)), 0);
	again = base_host->pages_alloc(MIB(3));
	assert_ptr_equal(again, p);
	for (size_t i = 0; i < MIB(3); i += 512)
		assert_int_equal(again[i], 0);
	base_host->pages_free(again, MIB(3));
	sys_linux_close(sys);
}

/* So that the kernel can give huge pages for the memory of a device. */
static void large_pieces_begin_at_a_multiple_of_2_mib(void **state)
{
	struct sys *sys = open_sys("");
	char *small = base_host->pages_alloc(PAGE_BYTES);
	char *large = base_host->pages_alloc(MIB(3));
	char *next = base_host->pages_alloc(MIB(2));

	(void)state;
	assert_true(IS_ALIGNED((uintptr_t)large, HUGE_BYTES));
	assert_true(IS_ALIGNED((uintptr_t)next, HUGE_BYTES));
	base_host->pages_free(next, MIB(2));
	base_host->pages_free(large, MIB(3));
	base_host->pages_free(small, PAGE_BYTES);
	sys_linux_close(sys);
}

#define BLOCK_COUNT 200
#define STEP_COUNT 5000

struct block {
	uint64_t *words;
	size_t bytes;
	uint64_t tag;
};

static void block_fill(struct block *b)
{
	for (size_t i = 0; i < b->bytes / 8; i += 512)
		b->words[i] = b->tag;
}

static void block_check(const struct block *b, uint64_t expected)
{
	for (size_t i = 0; i < b->bytes / 8; i += 512)
		assert_int_equal(b->words[i], expected);
}

static void blocks_never_overlap(void **state)
{
	static struct block blocks[BLOCK_COUNT];
	struct sys *sys = open_sys("");
	struct prng prng;

	(void)state;
	prng_seed(&prng, seed);
	for (uint64_t step = 1; step <= STEP_COUNT; step++) {
		struct block *b = &blocks[prng_below(&prng, BLOCK_COUNT)];

		if (b->words) {
			block_check(b, b->tag);
			base_host->pages_free(b->words, b->bytes);
			b->words = NULL;
			continue;
		}
		b->bytes = (1 + prng_below(&prng, prng_below(&prng, 10) ? 8 : 700)) *
			   PAGE_BYTES;
		b->words = base_host->pages_alloc(b->bytes);
		assert_non_null(b->words);
		block_check(b, 0);
		b->tag = step;
		block_fill(b);
	}
	for (size_t i = 0; i < BLOCK_COUNT; i++) {
		if (blocks[i].words)
			block_check(&blocks[i], blocks[i].tag);
		if (blocks[i].words)
			base_host->pages_free(blocks[i].words, blocks[i].bytes);
	}
	sys_linux_close(sys);
}

static void pages_that_outlive_the_last_close_stay(void **state)
{
	size_t before = usage_mappings();
	struct sys *sys = open_sys("");
	uint64_t *page = base_host->pages_alloc(PAGE_BYTES);

	(void)state;
	*page = 42;
	sys_linux_close(sys);
	assert_int_equal(*page, 42);
	base_host->pages_free(page, PAGE_BYTES);
	assert_int_equal(usage_mappings(), before);
}

struct exclusion_count {
	struct sys *sys;
	size_t count;
};

static void count_exclusions(void *arg)
{
	struct exclusion_count *c = arg;
	struct span spans[128];

	CHECK(c->sys->ops->exclusions(c->sys, spans, ARRAY_SIZE(spans), &c->count) == 0);
}

/* In a child: little address space, so no large reservation. */
static void live_in_little_space(void)
{
	struct rlimit limit = { MIB(256), MIB(256) };
	size_t total = 0;
	struct exclusion_count excluded;
	char *p;

	if (setrlimit(RLIMIT_AS, &limit))
		_exit(1);
	excluded.sys = open_sys("");
	/* What is left of a small region begins 2 MiB behind its start. */
	p = base_host->pages_alloc(MIB(7));
	CHECK(p);
	memset(p, 1, MIB(7));
	while ((p = base_host->pages_alloc(MIB(5)))) {
		memset(p, 1, MIB(5));
		total += MIB(5);
	}
	CHECK(total >= MIB(100) && total < MIB(256));
	run_apart(excluded.sys, count_exclusions, &excluded);
	CHECK(excluded.count > total / MIB(16));
	coverage_keep();
	_exit(0);
}

static void a_limit_of_address_space_is_lived_with(void **state)
{
	int status;
	pid_t child;

	(void)state;
	if (LINUX_SANITIZED) {
		printf("SKIP: the sanitizer takes terabytes\n");
		skip();
	}
	child = fork();
	if (child == 0)
		live_in_little_space();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* --- map ---------------- */

static void maps_are_aligned_and_near_the_hint_if_that_is_free(void **state)
{
	const uint64_t hint = 0x7a0000000000;
	struct sys *sys = open_sys("");
	uint64_t a;
	uint64_t b;
	uint64_t c;

	(void)state;
	assert_int_equal(sys->ops->map(sys, MIB(64), HUGE_BYTES, hint, &a), 0);
	assert_int_equal(sys->ops->map(sys, MIB(64), GIB(1), hint, &b), 0);
	if (!LINUX_SANITIZED) { /* they may have taken it */
		assert_int_equal(a, hint);
		assert_true(b > a && b < a + GIB(16));
	}
	assert_true(IS_ALIGNED(b, GIB(1)));
	assert_int_equal(sys->ops->map(sys, MIB(3), MIB(32), 0, &c), 0);
	assert_true(IS_ALIGNED(c, MIB(32)));
	*(char *)sys->ops->pointer(sys, c + MIB(3) - 1, 1) = 1;
	sys->ops->unmap(sys, a, MIB(64));
	sys->ops->unmap(sys, b, MIB(64));
	sys->ops->unmap(sys, c, MIB(3));
	sys_linux_close(sys);
}

static void maps_do_not_reach_a_child(void **state)
{
	struct sys *sys = open_sys("");
	uint64_t addr;
	int status;
	pid_t child;

	(void)state;
	assert_int_equal(sys->ops->map(sys, MIB(2), HUGE_BYTES, 0, &addr), 0);
	child = fork();
	if (child == 0)
		_exit(msync(pointer_to(addr), MIB(2), MS_ASYNC) == 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	sys->ops->unmap(sys, addr, MIB(2));
	sys_linux_close(sys);
}

/* --- fork ---------------- */

static int inside[2], outside[2];

static void stay_in_fork(void)
{
	char c = 0;

	CHECK(write(inside[1], &c, 1) == 1 && read(outside[0], &c, 1) == 1);
}

static void fork_with(const struct sys_fork_hooks *hooks)
{
	struct sys *sys = open_sys("");
	int status;
	pid_t pid;

	CHECK(sys->ops->fork_hooks(sys, hooks) == 0);
	pid = fork();
	if (pid == 0)
		_exit(0);
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* It has no device any more as it makes a child of which no hook is told. */
static _Noreturn void open_beside_a_child(void)
{
	static const struct sys_fork_hooks none, stays = { .parent = stay_in_fork };
	int status;
	pid_t pid;
	char c;

	sys_linux_close(open_sys(""));
	pid = _Fork();
	if (pid == 0) {
		alarm(40); /* nobody else ends it where the test fails */
		fork_with(&stays);
		_exit(0);
	}
	CHECK(read(inside[0], &c, 1) == 1);
	alarm(20);
	fork_with(&none);
	CHECK(write(outside[1], &c, 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	coverage_keep();
	_exit(0);
}

static void a_fork_does_not_wait_for_that_of_another_process(void **state)
{
	int status;
	pid_t child;

	(void)state;
	assert_int_equal(pipe(inside) | pipe(outside), 0);
	child = fork();
	if (child == 0)
		open_beside_a_child();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	for (int i = 0; i < 2; i++) {
		close(inside[i]);
		close(outside[i]);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thousand_lives_leave_no_trace),
		cmocka_unit_test(two_users_share_one),
		cmocka_unit_test(threads_that_come_and_go_do_not_meet),
		cmocka_unit_test(a_failed_open_leaves_nothing),
		cmocka_unit_test(freed_pages_go_back_to_the_kernel_and_come_zeroed),
		cmocka_unit_test(large_pieces_begin_at_a_multiple_of_2_mib),
		cmocka_unit_test(blocks_never_overlap),
		cmocka_unit_test(pages_that_outlive_the_last_close_stay),
		cmocka_unit_test(a_limit_of_address_space_is_lived_with),
		cmocka_unit_test(maps_are_aligned_and_near_the_hint_if_that_is_free),
		cmocka_unit_test(maps_do_not_reach_a_child),
		cmocka_unit_test(a_fork_does_not_wait_for_that_of_another_process),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
