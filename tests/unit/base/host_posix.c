/* SPDX-License-Identifier: MIT */
/*
 * DOC: host_posix
 *
 * A host for base's unit tests alone: enough of Linux to sleep, wake and get
 * pages, with counters a test can look at. Its counters are relaxed atomics,
 * so that they add no ordering that would hide a race in base.
 */
#include "host_posix.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COUNTER_ADD(counter, n) __atomic_fetch_add(&(counter), (n), __ATOMIC_RELAXED)
#define COUNTER_GET(counter) __atomic_load_n(&(counter), __ATOMIC_RELAXED)

static struct {
	uint64_t parked_count;
	uint64_t park_count;
	uint64_t unpark_count;
	uint64_t page_bytes;
	uint64_t fail_nth;
} host;

static _Thread_local struct base_thread this_thread;
_Thread_local struct host_posix_death *host_posix_death;
_Thread_local void (*host_posix_at_yield)(void);

static int host_park(uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	struct timespec timeout = {
		.tv_sec = (time_t)(timeout_ns / 1000000000u),
		.tv_nsec = (long)(timeout_ns % 1000000000u),
	};
	long result;
	int err = 0;

	COUNTER_ADD(host.park_count, 1);
	COUNTER_ADD(host.parked_count, 1);
	result = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected,
			 timeout_ns == BASE_FOREVER ? NULL : &timeout, NULL, 0);
	if (result < 0 && errno == ETIMEDOUT)
		err = -ETIMEDOUT;
	COUNTER_ADD(host.parked_count, (uint64_t)-1);
	return err;
}

static void host_unpark(uint32_t *word, uint32_t count)
{
	COUNTER_ADD(host.unpark_count, 1);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void host_yield_point(void)
{
	if (host_posix_at_yield)
		host_posix_at_yield();
}

static void host_cpu_yield(void)
{
	sched_yield();
}

static void *host_pages_alloc(size_t bytes)
{
	uint64_t nth = COUNTER_GET(host.fail_nth);
	void *pages;

	if (nth) {
		COUNTER_ADD(host.fail_nth, (uint64_t)-1);
		if (nth == 1)
			return NULL;
	}
	pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	if (pages == MAP_FAILED)
		return NULL;
	COUNTER_ADD(host.page_bytes, bytes);
	return pages;
}

static void host_pages_free(void *pages, size_t bytes)
{
	COUNTER_ADD(host.page_bytes, (uint64_t)0 - bytes);
	if (munmap(pages, bytes))
		abort();
}

static struct base_thread *host_self(void)
{
	return &this_thread;
}

NORETURN static void host_die(const char *text)
{
	struct host_posix_death *death = host_posix_death;

	if (!death) {
		if (write(STDERR_FILENO, text, strlen(text)) < 0)
			abort();
		abort();
	}
	strncpy(death->text, text, sizeof(death->text) - 1);
	longjmp(death->jump, 1);
}

const struct base_host_ops host_posix_ops = {
	.park = host_park,
	.unpark = host_unpark,
	.yield_point = host_yield_point,
	.cpu_yield = host_cpu_yield,
	.pages_alloc = host_pages_alloc,
	.pages_free = host_pages_free,
	.self = host_self,
	.die = host_die,
};

void host_posix_start(void)
{
	base_host_install(&host_posix_ops);
	host_posix_become(true, false);
}

void host_posix_become(bool is_library, bool is_monitor)
{
	this_thread = (struct base_thread){
		.is_library = is_library,
		.is_monitor = is_monitor,
	};
}

void host_posix_fail_pages(uint64_t nth)
{
	__atomic_store_n(&host.fail_nth, nth, __ATOMIC_RELAXED);
}

uint64_t host_posix_parked_count(void)
{
	return COUNTER_GET(host.parked_count);
}

uint64_t host_posix_page_bytes(void)
{
	return COUNTER_GET(host.page_bytes);
}

uint64_t host_posix_park_count(void)
{
	return COUNTER_GET(host.park_count);
}

uint64_t host_posix_unpark_count(void)
{
	return COUNTER_GET(host.unpark_count);
}

void host_posix_wait_parked(uint64_t count)
{
	while (host_posix_parked_count() != count)
		sched_yield();
}
