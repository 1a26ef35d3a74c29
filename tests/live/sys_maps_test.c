/* SPDX-License-Identifier: MIT */
/*
 * What is mapped, which pages are there, what must not migrate: every answer,
 * and that the two ways to each answer agree.
 */
#include "sys_live.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

static struct sys *sys;
static const struct sys_ops *ops;
static uint64_t seed;

/* Run @body with the features of the newer interface, and without. */
static void with_and_without(uint32_t feature, void (*body)(void))
{
	if (sys->features_found & feature) {
		sys->features |= feature;
		body();
	}
	sys->features &= ~feature;
	body();
	sys->features |= sys->features_found & feature;
}

/* --- vma_query ---------------- */

static struct sys_vma vma_at(const void *p)
{
	struct sys_vma vma;

	assert_int_equal(ops->vma_query(sys, addr_of(p), false, &vma), 0);
	assert_true(span_contains(vma.span, addr_of(p)));
	return vma;
}

static void assert_kind(const void *p, enum sys_vma_kind kind)
{
	assert_int_equal(vma_at(p).kind, kind);
}

static char bss[4 * PAGE_BYTES];
static char data[PAGE_BYTES] = { 1 };

static void *map_file(int fd, int flags)
{
	void *p = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, flags, fd, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static void check_kinds(void)
{
	int zero = open("/dev/zero", O_RDWR);
	int memfd = memfd_create("usvm [heap]", 0);
	void *anonymous = map_anonymous(PAGE_BYTES);
	void *shared = map_file(-1, MAP_SHARED | MAP_ANONYMOUS);
	void *zero_private = map_file(zero, MAP_PRIVATE);
	void *zero_shared = map_file(zero, MAP_SHARED);
	void *file_shared;
	void *file_private;
	void *heap = malloc(64);
	int local;

	assert_int_equal(ftruncate(memfd, PAGE_BYTES), 0);
	file_shared = map_file(memfd, MAP_SHARED);
	file_private = map_file(memfd, MAP_PRIVATE);

	assert_kind(anonymous, SYS_VMA_ANON_PRIVATE);
	assert_kind(shared, SYS_VMA_ANON_SHARED);
	assert_kind(zero_private, SYS_VMA_ANON_PRIVATE);
	assert_kind(zero_shared, SYS_VMA_ANON_SHARED);
	assert_kind(file_shared, SYS_VMA_FILE_SHARED);
	assert_kind(file_private, SYS_VMA_FILE_PRIVATE);
	assert_kind(heap, SYS_VMA_ANON_PRIVATE);
	assert_kind(&local, SYS_VMA_STACK);
	assert_kind(bss + 2 * PAGE_BYTES, SYS_VMA_ANON_PRIVATE);
	assert_kind(data, SYS_VMA_FILE_PRIVATE);
	assert_kind((void *)(uintptr_t)check_kinds, SYS_VMA_FILE_PRIVATE);
	assert_kind((void *)getauxval(AT_SYSINFO_EHDR), SYS_VMA_SPECIAL);

	munmap(anonymous, PAGE_BYTES);
	munmap(shared, PAGE_BYTES);
	munmap(zero_private, PAGE_BYTES);
	munmap(zero_shared, PAGE_BYTES);
	munmap(file_shared, PAGE_BYTES);
	munmap(file_private, PAGE_BYTES);
	free(heap);
	close(memfd);
	close(zero);
}

static void each_kind_of_mapping_is_told(void **state)
{
	(void)state;
	with_and_without(SYS_FEATURE_PROCMAP_QUERY, check_kinds);
}

/* The kernel may be configured without names; then there is nothing to see. */
static void name_mapping(void *p)
{
	const int set_vma = 0x53564d41;
	const int anon_name = 0;

	prctl(set_vma, anon_name, p, PAGE_BYTES, "x");
}

static void check_names(void)
{
	void *p = map_anonymous(PAGE_BYTES);
	void *shared = map_file(-1, MAP_SHARED | MAP_ANONYMOUS);
	char path[300] = "/tmp/";
	int fd;

	name_mapping(p);
	name_mapping(shared);
	assert_kind(p, SYS_VMA_ANON_PRIVATE);
	assert_kind(shared, SYS_VMA_ANON_SHARED);
	munmap(p, PAGE_BYTES);
	munmap(shared, PAGE_BYTES);

	/* A path that is longer than any name we look for. */
	memset(path + 5, 'n', 200);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PAGE_BYTES), 0);
	p = map_file(fd, MAP_SHARED);
	assert_kind(p, SYS_VMA_FILE_SHARED);
	munmap(p, PAGE_BYTES);
	close(fd);
	unlink(path);
}

static void names_do_not_confuse(void **state)
{
	(void)state;
	with_and_without(SYS_FEATURE_PROCMAP_QUERY, check_names);
}

static void check_huge(void)
{
	void *p = mmap(NULL, HUGE_BYTES, PROT_READ,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE,
		       -1, 0);
	int fd = memfd_create("usvm", MFD_HUGETLB);
	void *q = mmap(NULL, HUGE_BYTES, PROT_READ, MAP_SHARED | MAP_NORESERVE,
		       fd, 0);

	if (p != MAP_FAILED) {
		assert_kind(p, SYS_VMA_HUGETLB);
		munmap(p, HUGE_BYTES);
	}
	if (q != MAP_FAILED) {
		assert_kind(q, SYS_VMA_HUGETLB);
		munmap(q, HUGE_BYTES);
	}
	close(fd);
}

static void huge_pages_are_told_by_their_size(void **state)
{
	(void)state;
	with_and_without(SYS_FEATURE_PROCMAP_QUERY, check_huge);
}

static void check_next(void)
{
	char *p = map_anonymous(5 * PAGE_BYTES);
	struct sys_vma vma;

	munmap(p + PAGE_BYTES, 2 * PAGE_BYTES);
	assert_int_equal(ops->vma_query(sys, addr_of(p) + PAGE_BYTES, false,
					&vma),
			 -ENOENT);
	assert_int_equal(ops->vma_query(sys, addr_of(p) + PAGE_BYTES, true,
					&vma),
			 0);
	assert_int_equal(vma.span.start, addr_of(p) + 3 * PAGE_BYTES);
	assert_int_equal(ops->vma_query(sys, addr_of(p) + PAGE_BYTES - 1, true,
					&vma),
			 0);
	assert_int_equal(vma.span.end, addr_of(p) + PAGE_BYTES);
	assert_int_equal(ops->vma_query(sys, 0x7ffffffff000, true, &vma),
			 -ENOENT);
	munmap(p, 5 * PAGE_BYTES);
}

static void a_hole_is_no_mapping_but_has_a_next_one(void **state)
{
	(void)state;
	with_and_without(SYS_FEATURE_PROCMAP_QUERY, check_next);
}

#define RANDOM_MAP_COUNT 200

static void make_random_maps(struct prng *prng, struct span *maps)
{
	static const int prots[] = { PROT_NONE, PROT_READ,
				     PROT_READ | PROT_WRITE,
				     PROT_READ | PROT_EXEC, PROT_WRITE };
	int memfd = memfd_create("usvm", 0);

	assert_int_equal(ftruncate(memfd, 64 * PAGE_BYTES), 0);
	for (size_t i = 0; i < RANDOM_MAP_COUNT; i++) {
		int flags = prng_below(prng, 2) ? MAP_PRIVATE : MAP_SHARED;
		int fd = memfd;
		uint64_t pages = 1 + prng_below(prng, 8);
		uint64_t offset = prng_below(prng, 32) * PAGE_BYTES;
		void *p;

		if (prng_below(prng, 2)) {
			flags |= MAP_ANONYMOUS;
			fd = -1;
			offset = 0;
		}
		p = mmap(NULL, pages * PAGE_BYTES,
			 prots[prng_below(prng, ARRAY_SIZE(prots))], flags, fd,
			 (off_t)offset);
		assert_true(p != MAP_FAILED);
		maps[i] = span_of(p, pages * PAGE_BYTES);
	}
	close(memfd);
}

static void assert_same(uint64_t addr, bool or_next)
{
	struct sys_vma a;
	struct sys_vma b;
	int err;

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	sys->features |= SYS_FEATURE_PROCMAP_QUERY;
	err = ops->vma_query(sys, addr, or_next, &a);
	sys->features &= ~(uint32_t)SYS_FEATURE_PROCMAP_QUERY;
	assert_int_equal(ops->vma_query(sys, addr, or_next, &b), err);
	sys->features |= SYS_FEATURE_PROCMAP_QUERY;
	assert_int_equal(a.span.start, b.span.start);
	assert_int_equal(a.span.end, b.span.end);
	assert_int_equal(a.prot, b.prot);
	assert_int_equal(a.kind, b.kind);
	assert_int_equal(a.file_offset, b.file_offset);
	assert_int_equal(a.inode, b.inode);
	assert_int_equal(a.device_number, b.device_number);
}

static void query_and_text_agree_on_every_mapping(void **state)
{
	struct span maps[RANDOM_MAP_COUNT];
	struct sys_vma vma = { .span = { 0, 0 } };
	struct prng prng;
	size_t seen = 0;

	(void)state;
	if (!(sys->features_found & SYS_FEATURE_PROCMAP_QUERY)) {
		printf("SKIP: no PROCMAP_QUERY\n");
		skip();
	}
	prng_seed(&prng, seed);
	make_random_maps(&prng, maps);
	while (ops->vma_query(sys, vma.span.end, true, &vma) == 0) {
		assert_same(vma.span.start, false);
		assert_same(vma.span.end - 1, false);
		assert_same(vma.span.end, false);
		assert_same(vma.span.end, true);
		seen++;
	}
	assert_true(seen >= RANDOM_MAP_COUNT / 2); /* neighbours merge */
	for (size_t i = 0; i < RANDOM_MAP_COUNT; i++)
		munmap(pointer_to(maps[i].start), span_bytes(maps[i]));
}

struct many_queries {
	uint64_t addr;
	uint32_t failures; /* atomic */
};

static void query_often(void *arg)
{
	struct many_queries *q = arg;
	struct sys_vma vma;

	for (int i = 0; i < 200; i++) {
		if (ops->vma_query(sys, q->addr, false, &vma) ||
		    !span_contains(vma.span, q->addr))
			ATOMIC_ADD(&q->failures, 1);
	}
}

static void query_from_two(void *arg)
{
	struct sys_thread *thread =
		start(sys, SYS_THREAD_SHARE_FILES, query_often, arg);

	query_often(arg);
	ops->thread_join(sys, thread);
}

static void check_two_at_once(void)
{
	struct many_queries q = { .addr = addr_of(bss) + 2 * PAGE_BYTES };

	run_apart(sys, query_from_two, &q);
	assert_int_equal(q.failures, 0);
}

static void two_threads_may_ask_at_once(void **state)
{
	(void)state;
	with_and_without(SYS_FEATURE_PROCMAP_QUERY, check_two_at_once);
}

/* --- page_scan ---------------- */

#define SCAN_PAGES 1500

static char *scanned;
static bool touched[SCAN_PAGES];

/* Scan in steps of @max runs; compare with what was touched. */
static void check_scan_by(size_t max)
{
	struct sys_page_run runs[16];
	struct span span = span_of(scanned, SCAN_PAGES * PAGE_BYTES);
	bool seen[SCAN_PAGES] = { false };

	while (!span_is_empty(span)) {
		uint64_t from = span.start;
		size_t count = 99;

		assert_int_equal(ops->page_scan(sys, span, runs, max, &count,
						&span.start),
				 0);
		assert_true(count <= max);
		assert_true(span.start > from);
		for (size_t i = 0; i < count; i++) {
			assert_true(runs[i].span.start >= from);
			assert_true(runs[i].span.end <= span.start);
			assert_true(runs[i].flags & SYS_PAGE_PRESENT);
			for (uint64_t at = runs[i].span.start;
			     at < runs[i].span.end; at += PAGE_BYTES)
				seen[(at - addr_of(scanned)) / PAGE_BYTES] = true;
			from = runs[i].span.end;
		}
	}
	assert_memory_equal(seen, touched, sizeof(seen));
}

static void check_scan(void)
{
	check_scan_by(1);
	check_scan_by(2);
	check_scan_by(16);
}

static void a_scan_finds_the_pages_that_are_there(void **state)
{
	struct prng prng;

	(void)state;
	prng_seed(&prng, seed);
	scanned = map_anonymous(SCAN_PAGES * PAGE_BYTES);
	madvise(scanned, SCAN_PAGES * PAGE_BYTES, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < SCAN_PAGES; i++) {
		bool touch = prng_below(&prng, i < 700 ? 2 : 20) == 0;

		touched[i] = touch;
		if (touch)
			scanned[i * PAGE_BYTES] = 1;
	}
	with_and_without(SYS_FEATURE_PAGEMAP_SCAN, check_scan);
	munmap(scanned, SCAN_PAGES * PAGE_BYTES);
}

static void check_empty_scan(void)
{
	struct sys_page_run run;
	char *p = map_anonymous(GIB(1));
	struct span span = span_of(p, GIB(1));
	size_t count;
	uint64_t end;

	assert_int_equal(ops->page_scan(sys, span, &run, 1, &count, &end), 0);
	assert_int_equal(count, 0);
	assert_int_equal(end, span.end);
	munmap(p, GIB(1));
	assert_int_equal(ops->page_scan(sys, span, &run, 1, &count, &end), 0);
	assert_int_equal(count, 0);
	assert_int_equal(end, span.end);
	span.end = span.start;
	assert_int_equal(ops->page_scan(sys, span, &run, 1, &count, &end), 0);
	assert_int_equal(count, 0);
	assert_int_equal(end, span.end);
}

static void a_scan_of_nothing_finds_nothing_and_ends(void **state)
{
	(void)state;
	with_and_without(SYS_FEATURE_PAGEMAP_SCAN, check_empty_scan);
}

static void a_scan_tells_huge_zero_and_guard_pages(void **state)
{
	struct sys_page_run runs[4];
	uint64_t addr;
	char *p;
	size_t count;
	uint64_t end;

	(void)state;
	if (!sys_has(sys, SYS_FEATURE_PAGEMAP_SCAN | SYS_FEATURE_GUARD) ||
	    sys->limits.huge_pages_never) {
		printf("SKIP: no PAGEMAP_SCAN, guard pages or huge pages\n");
		skip();
	}
	assert_int_equal(ops->map(sys, 2 * HUGE_BYTES, HUGE_BYTES, 0, &addr), 0);
	assert_int_equal(ops->advise(sys, span_make(addr, HUGE_BYTES),
				     SYS_ADVICE_HUGEPAGE),
			 0);
	assert_int_equal(ops->advise(sys, span_make(addr + HUGE_BYTES, HUGE_BYTES),
				     SYS_ADVICE_NOHUGEPAGE),
			 0);
	p = pointer_to(addr);
	p[0] = 1;
	assert_int_equal(*(volatile char *)(p + HUGE_BYTES), 0);
	assert_int_equal(madvise(p + HUGE_BYTES + PAGE_BYTES, PAGE_BYTES, 102), 0);
	assert_int_equal(ops->page_scan(sys, span_make(addr, 2 * HUGE_BYTES), runs,
					ARRAY_SIZE(runs), &count, &end),
			 0);
	assert_int_equal(count, 3);
	assert_true(runs[0].flags & SYS_PAGE_HUGE);
	assert_int_equal(span_bytes(runs[0].span), HUGE_BYTES);
	assert_true(runs[1].flags & SYS_PAGE_ZERO);
	assert_true(runs[2].flags & (SYS_PAGE_GUARD | SYS_PAGE_SWAPPED));
	assert_false(runs[2].flags & SYS_PAGE_PRESENT);
	ops->unmap(sys, addr, 2 * HUGE_BYTES);
}

/* --- exclusions ---------------- */

static __thread int thread_local_word;

struct sleeper {
	pthread_t thread;
	sem_t ready;
	sem_t stop;
	const void *on_stack;
	const void *in_tls;
	const void *record;
};

static void *sleeper_run(void *arg)
{
	struct sleeper *s = arg;
	int local;

	s->on_stack = &local;
	s->in_tls = &thread_local_word;
	s->record = (void *)pthread_self();
	sem_post(&s->ready);
	while (sem_wait(&s->stop))
		;
	return NULL;
}

static void sleeper_start(struct sleeper *s)
{
	assert_int_equal(sem_init(&s->ready, 0, 0), 0);
	assert_int_equal(sem_init(&s->stop, 0, 0), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, sleeper_run, s), 0);
	while (sem_wait(&s->ready))
		;
}

static void sleeper_stop(struct sleeper *s)
{
	sem_post(&s->stop);
	pthread_join(s->thread, NULL);
}

static struct {
	struct span spans[128];
	size_t count;
	int err;
} excluded;

static void find_exclusions(void *arg)
{
	(void)arg;
	excluded.err = ops->exclusions(sys, excluded.spans,
				       ARRAY_SIZE(excluded.spans),
				       &excluded.count);
}

/* With too little room it still counts, and fills what there is. */
static void find_few_exclusions(void *arg)
{
	struct span few[2];

	excluded.err = ops->exclusions(sys, few, ARRAY_SIZE(few), arg);
}

static bool is_excluded(const void *p)
{
	for (size_t i = 0; i < excluded.count; i++) {
		if (span_contains(excluded.spans[i], addr_of(p)))
			return true;
	}
	return false;
}

static void check_exclusions(void)
{
	struct sleeper sleeper;
	void *heap = malloc(64);
	void *anonymous = map_anonymous(PAGE_BYTES);
	void *own = base_host->pages_alloc(PAGE_BYTES);
	size_t count;
	int local;

	sleeper_start(&sleeper);
	run_apart(sys, find_exclusions, NULL);
	assert_int_equal(excluded.err, 0);
	assert_true(excluded.count <= ARRAY_SIZE(excluded.spans));

	assert_true(is_excluded(own));
	assert_true(is_excluded(&local));
	assert_true(is_excluded(&thread_local_word));
	assert_true(is_excluded((void *)pthread_self()));
	assert_true(is_excluded((char *)pthread_self() + 2048));
	assert_true(is_excluded(sleeper.on_stack));
	assert_true(is_excluded(sleeper.in_tls));
	assert_true(is_excluded(sleeper.record));
	assert_true(is_excluded((const char *)sleeper.record + 2048));
	assert_true(is_excluded(stdout)); /* in the C library's data */
	assert_true(is_excluded(sys));
	assert_false(is_excluded(heap));
	assert_false(is_excluded(anonymous));

	run_apart(sys, find_few_exclusions, &count);
	assert_int_equal(excluded.err, 0);
	assert_int_equal(count, excluded.count);

	sleeper_stop(&sleeper);
	base_host->pages_free(own, PAGE_BYTES);
	munmap(anonymous, PAGE_BYTES);
	free(heap);
}

static void what_faults_depend_on_is_excluded(void **state)
{
	(void)state;
	with_and_without(SYS_FEATURE_PROCMAP_QUERY, check_exclusions);
}

/* --- madvise_in_flight ---------------- */

static void ask_busy(void *arg)
{
	CHECK(ops->madvise_in_flight(sys, arg) == 0);
}

/* The asker is the only library thread; the program's main thread sleeps in
 * thread_join(), and the sleeper on its semaphore. A thread may still be on its
 * way there, so ask until it has arrived. */
static void sleeping_threads_are_not_in_madvise(void **state)
{
	struct sleeper sleeper;
	bool busy = true;

	(void)state;
	sleeper_start(&sleeper);
	while (busy)
		run_apart(sys, ask_busy, &busy);
	sleeper_stop(&sleeper);
}

static void *spin(void *arg)
{
	struct sleeper *s = arg;

	sem_post(&s->ready);
	while (sem_trywait(&s->stop))
		cpu_relax();
	return NULL;
}

/* It cannot be seen what a running thread is about to do. */
static void a_running_thread_may_be_in_madvise(void **state)
{
	struct sleeper spinner;
	bool busy = false;

	(void)state;
	assert_int_equal(sem_init(&spinner.ready, 0, 0), 0);
	assert_int_equal(sem_init(&spinner.stop, 0, 0), 0);
	assert_int_equal(pthread_create(&spinner.thread, NULL, spin, &spinner), 0);
	sem_wait(&spinner.ready);
	run_apart(sys, ask_busy, &busy);
	sleeper_stop(&spinner);
	assert_true(busy);
}

struct advising {
	char *page;
	struct gate ready;
	uint32_t busy_count; /* of LOOK_COUNT */
};

#define LOOK_COUNT 1000

static void *advise(void *arg)
{
	struct advising *a = arg;

	gate_pass(&a->ready);
	madvise(a->page, PAGE_BYTES, MADV_DONTNEED);
	return NULL;
}

static void watch_advise(void *arg)
{
	struct advising *a = arg;
	struct sys_event event;
	int uffd;

	CHECK(ops->uffd_open(sys, &uffd) == 0);
	CHECK(ops->uffd_register(sys, uffd, span_of(a->page, PAGE_BYTES),
				 SYS_REGISTER_MISSING) == 0);
	gate_open(&a->ready);
	CHECK(ops->uffd_wait(sys, uffd, BASE_FOREVER) == 0);
	/* It may be seen on its way to sleep, and then asleep. */
	for (int i = 0; i < LOOK_COUNT; i++) {
		bool busy = false;

		CHECK(ops->madvise_in_flight(sys, &busy) == 0);
		a->busy_count += busy;
	}
	CHECK(ops->uffd_read(sys, uffd, &event) == 0);
	CHECK(event.type == SYS_EVENT_REMOVE);
	ops->uffd_close(sys, uffd);
}

static void a_thread_that_waits_in_madvise_is_seen(void **state)
{
	struct advising a = { .page = map_anonymous(PAGE_BYTES) };
	pthread_t thread;
	bool busy = true;

	(void)state;
	if (!sys_has(sys, SYS_FEATURE_UFFD)) {
		printf("SKIP: no userfaultfd\n");
		skip();
	}
	assert_int_equal(pthread_create(&thread, NULL, advise, &a), 0);
	run_apart(sys, watch_advise, &a);
	pthread_join(thread, NULL);
	assert_int_equal(a.busy_count, LOOK_COUNT);
	while (busy)
		run_apart(sys, ask_busy, &busy);
	munmap(a.page, PAGE_BYTES);
}

/* --- unmap_in_flight ---------------- */

struct unmapping {
	char *page;
	bool by_mremap;
	struct gate ready;
};

static void *unmap(void *arg)
{
	struct unmapping *u = arg;

	gate_pass(&u->ready);
	if (u->by_mremap)
		u->page = mremap(u->page, PAGE_BYTES, 2 * PAGE_BYTES, MREMAP_MAYMOVE);
	else
		munmap(u->page, PAGE_BYTES);
	return NULL;
}

static bool is_seen(struct span place, uint64_t except)
{
	bool found;

	CHECK(ops->unmap_in_flight(sys, place, except, &found) == 0);
	return found;
}

static void watch_unmap(void *arg)
{
	struct unmapping *u = arg;
	struct span place = span_of(u->page, PAGE_BYTES);
	struct sys_event event;
	int uffd;

	CHECK(ops->uffd_open(sys, &uffd) == 0);
	CHECK(ops->uffd_register(sys, uffd, place, SYS_REGISTER_MISSING) == 0);
	CHECK(!is_seen(place, 0));
	gate_open(&u->ready);
	CHECK(ops->uffd_wait(sys, uffd, BASE_FOREVER) == 0);
	while (!is_seen(place, 0))
		base_host->cpu_yield();
	CHECK(!is_seen(span_make(place.start - PAGE_BYTES, PAGE_BYTES), 0));
	CHECK(!is_seen(span_make(place.end, PAGE_BYTES), 0));
	CHECK(is_seen(place, place.start) == !u->by_mremap);
	CHECK(ops->uffd_read(sys, uffd, &event) == 0);
	CHECK(event.type == (u->by_mremap ? SYS_EVENT_REMAP : SYS_EVENT_UNMAP));
	if (u->by_mremap) { /* the UNMAP of what it left */
		CHECK(ops->uffd_wait(sys, uffd, BASE_FOREVER) == 0);
		CHECK(ops->uffd_read(sys, uffd, &event) == 0);
	}
	ops->uffd_close(sys, uffd);
}

static void a_thread_that_waits_in_a_call_that_unmaps_is_seen(void **state)
{
	(void)state;
	if (!sys_has(sys, SYS_FEATURE_UFFD)) {
		printf("SKIP: no userfaultfd\n");
		skip();
	}
	for (int i = 0; i < 2; i++) {
		/* In the middle of three, so that it cannot grow where it is. */
		char *pages = map_anonymous(3 * PAGE_BYTES);
		struct unmapping u = { .page = pages + PAGE_BYTES, .by_mremap = i };
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, unmap, &u), 0);
		run_apart(sys, watch_unmap, &u);
		pthread_join(thread, NULL);
		if (u.by_mremap)
			munmap(u.page, 2 * PAGE_BYTES);
		munmap(pages, 3 * PAGE_BYTES);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_of_mapping_is_told),
		cmocka_unit_test(names_do_not_confuse),
		cmocka_unit_test(huge_pages_are_told_by_their_size),
		cmocka_unit_test(a_hole_is_no_mapping_but_has_a_next_one),
		cmocka_unit_test(query_and_text_agree_on_every_mapping),
		cmocka_unit_test(two_threads_may_ask_at_once),
		cmocka_unit_test(a_scan_finds_the_pages_that_are_there),
		cmocka_unit_test(a_scan_of_nothing_finds_nothing_and_ends),
		cmocka_unit_test(a_scan_tells_huge_zero_and_guard_pages),
		cmocka_unit_test(what_faults_depend_on_is_excluded),
		cmocka_unit_test(sleeping_threads_are_not_in_madvise),
		cmocka_unit_test(a_running_thread_may_be_in_madvise),
		cmocka_unit_test(a_thread_that_waits_in_madvise_is_seen),
		cmocka_unit_test(a_thread_that_waits_in_a_call_that_unmaps_is_seen),
	};
	int failed;

	seed = seed_from(argc, argv);
	/* Masked, so that everything for the text is prepared. */
	sys = open_sys("-procmap_query,-pagemap_scan");
	sys->features = sys->features_found;
	ops = sys->ops;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	sys_linux_close(sys);
	return failed;
}
