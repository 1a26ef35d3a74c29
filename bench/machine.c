/* SPDX-License-Identifier: MIT */
/*
 * DOC: processors, pages, and a thread that is asked
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "sys/linux_abi.h"

/* The first and the second processor that this process may use, asked once: pinning
 * changes the answer. */
static cpu_set_t allowed;
static int cores[2];
static unsigned int core_count;

unsigned int bench_core_count(void)
{
	if (core_count)
		return core_count;
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		bench_fail("sched_getaffinity: %s", strerror(errno));
	for (int cpu = 0; cpu < CPU_SETSIZE && core_count < 2; cpu++) {
		if (CPU_ISSET(cpu, &allowed))
			cores[core_count++] = cpu;
	}
	return core_count;
}

static void set_affinity(int tid, const cpu_set_t *set)
{
	if (sched_setaffinity(tid, sizeof(*set), set) && errno != ESRCH)
		bench_fail("sched_setaffinity: %s", strerror(errno));
}

void bench_pin(int tid, unsigned int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cores[core < bench_core_count() ? core : 0], &set);
	set_affinity(tid, &set);
}

void bench_unpin(int tid)
{
	bench_core_count();
	set_affinity(tid, &allowed);
}

unsigned char *bench_map(size_t bytes, bool huge)
{
	/* At least 2 MiB stay free behind it: usvm keeps a distance from the TLS of the
	 * main thread, below which the kernel likes to map. */
	size_t all = (bytes + BENCH_HUGE - 1) / BENCH_HUGE * BENCH_HUGE + 2 * BENCH_HUGE;
	unsigned char *map = mmap(NULL, all, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before = -(uintptr_t)map & (BENCH_HUGE - 1);

	if (map == MAP_FAILED)
		bench_fail("mmap: %s", strerror(errno));
	if (before)
		munmap(map, before);
	munmap(map + before + bytes, all - before - bytes);
	if (madvise(map + before, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		bench_fail("madvise: %s", strerror(errno));
	return map + before;
}

static size_t scan(const void *at, size_t bytes, uint64_t categories)
{
	static int pagemap = -1;
	struct abi_page_region region;
	struct abi_page_scan args = {
		.struct_bytes = sizeof(args),
		.start = (uintptr_t)at,
		.end = (uintptr_t)at + bytes,
		.regions_addr = (uintptr_t)&region,
		.region_count_max = 1,
		.all_of = categories,
		.report = categories,
	};
	size_t pages = 0;

	if (pagemap < 0)
		pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	while (args.start < args.end) {
		int found = ioctl(pagemap, ABI_PAGE_IOCTL_SCAN, &args);

		if (found < 0)
			bench_fail("PAGEMAP_SCAN: %s", strerror(errno));
		if (found)
			pages += (region.end - region.start) / BENCH_PAGE;
		args.start = args.walk_end;
	}
	return pages;
}

size_t bench_present(const void *at, size_t bytes, size_t *huge)
{
	if (huge)
		*huge = scan(at, bytes, ABI_PAGE_PRESENT | ABI_PAGE_HUGE);
	return scan(at, bytes, ABI_PAGE_PRESENT);
}

#if !defined(MADV_COLLAPSE)
#define MADV_COLLAPSE 25
#endif

void bench_expect_huge(const void *at, size_t bytes, bool huge)
{
	size_t pages;

	bench_present(at, bytes, &pages);
	if (huge && pages * BENCH_PAGE < bytes && pages * BENCH_PAGE >= bytes / 4 * 3 &&
	    !madvise((void *)(uintptr_t)at, bytes, MADV_COLLAPSE))
		bench_present(at, bytes, &pages);
	if (pages * BENCH_PAGE != (huge ? bytes : 0))
		bench_fail("%zu of %zu pages are in huge pages", pages, bytes / BENCH_PAGE);
}

void bench_fill(unsigned char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += BENCH_PAGE)
		memset(at + i, bench_pattern(i), BENCH_PAGE);
}

void bench_check(const unsigned char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += BENCH_PAGE) {
		uint64_t want = 0x0101010101010101u * bench_pattern(i);
		const uint64_t *words = (const uint64_t *)(const void *)(at + i);
		uint64_t wrong = 0;

		for (size_t j = 0; j < BENCH_PAGE / sizeof(*words); j++)
			wrong |= words[j] ^ want;
		if (wrong)
			bench_fail("wrong data in page %zu", i / BENCH_PAGE);
	}
}

double bench_memcpy_us(void *to, const void *from, size_t bytes)
{
	uint64_t start = bench_now_ns();

	memcpy(to, from, bytes);
	__asm__ volatile("" : : "r"(to) : "memory");
	return bench_us_since(start);
}

/* --- a thread that is asked -------------------------------------------------------------- */

struct bench_helper {
	void (*run)(void *arg);
	void *arg;
	unsigned int core;
	bool ends;
	pthread_t thread;
	sem_t asked, answered;
};

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem))
		;
}

static void *helper_thread(void *arg)
{
	struct bench_helper *helper = arg;

	bench_pin(0, helper->core);
	for (wait_for(&helper->asked); !helper->ends; wait_for(&helper->asked)) {
		helper->run(helper->arg);
		sem_post(&helper->answered);
	}
	return NULL;
}

struct bench_helper *bench_helper_start(unsigned int core, void (*run)(void *arg), void *arg)
{
	struct bench_helper *helper = calloc(1, sizeof(*helper));

	if (!helper)
		bench_fail("no memory");
	helper->run = run;
	helper->arg = arg;
	helper->core = core;
	sem_init(&helper->asked, 0, 0);
	sem_init(&helper->answered, 0, 0);
	if (pthread_create(&helper->thread, NULL, helper_thread, helper))
		bench_fail("no thread");
	return helper;
}

void bench_helper_begin(struct bench_helper *helper)
{
	sem_post(&helper->asked);
}

void bench_helper_wait(struct bench_helper *helper)
{
	wait_for(&helper->answered);
}

void bench_helper_ask(struct bench_helper *helper)
{
	bench_helper_begin(helper);
	bench_helper_wait(helper);
}

void bench_helper_stop(struct bench_helper *helper)
{
	helper->ends = true;
	sem_post(&helper->asked);
	pthread_join(helper->thread, NULL);
	free(helper);
}
