/* SPDX-License-Identifier: MIT */
/*
 * DOC: processors, pages, userfaultfd, and usvm's threads
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "sys/linux_abi.h"

/* The first and the second processor that this process may use, asked once: pinning
 * changes the answer. */
static int cores[2];
static unsigned int core_count;

unsigned int bench_core_count(void)
{
	cpu_set_t allowed;

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

void bench_pin(int tid, unsigned int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cores[core < bench_core_count() ? core : 0], &set);
	if (sched_setaffinity(tid, sizeof(set), &set) && errno != ESRCH)
		bench_fail("sched_setaffinity: %s", strerror(errno));
}

unsigned char *bench_map(size_t bytes, bool huge)
{
	/* At least 2 MiB stay free behind it: usvm keeps a distance from the TLS of the
	 * main thread, below which the kernel likes to map. */
	unsigned char *map = mmap(NULL, bytes + 2 * BENCH_HUGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before = -(uintptr_t)map & (BENCH_HUGE - 1);

	if (map == MAP_FAILED)
		bench_fail("mmap: %s", strerror(errno));
	if (before)
		munmap(map, before);
	munmap(map + before + bytes, 2 * BENCH_HUGE - before);
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

void bench_device_open(struct bench_device *device, const char *spec)
{
	struct usvm_device_info info;

	bench_must(usvm_open(spec, &device->gpu), "open");
	bench_must(usvm_device_info(device->gpu, &info), "info");
	if (!info.migrates) {
		printf("SKIP: %s\n", info.why_not);
		exit(77);
	}
	bench_must(usvm_vm_create(device->gpu, NULL, &device->vm), "vm");
	bench_must(usvm_queue_create(device->vm, NULL, &device->queue), "queue");
}

void bench_device_close(struct bench_device *device)
{
	bench_must(usvm_queue_destroy(device->queue), "queue");
	bench_must(usvm_vm_destroy(device->vm), "vm");
	bench_must(usvm_close(device->gpu), "close");
}

static bool thread_is(int tid, const char *what)
{
	char path[64], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(name, sizeof(name), file))
		name[0] = '\0';
	fclose(file);
	return strstr(name, what) != NULL;
}

void bench_device_pin(unsigned int engine_core, unsigned int other_core)
{
	DIR *tasks = opendir("/proc/self/task");
	int engines = 0, others = 0;
	struct dirent *entry;

	if (!tasks)
		bench_fail("/proc/self/task: %s", strerror(errno));
	while ((entry = readdir(tasks))) {
		int tid = atoi(entry->d_name);

		if (tid == 0 || !thread_is(tid, "usvm-"))
			continue;
		if (thread_is(tid, "engine")) {
			bench_pin(tid, engine_core);
			engines++;
		} else {
			bench_pin(tid, other_core);
			others++;
		}
	}
	closedir(tasks);
	if (!engines || !others)
		bench_fail("the threads of usvm were not found by their names");
}

void bench_expect(const struct bench_device *device, const void *at, size_t bytes,
		  enum usvm_page_state state)
{
	uint64_t pages[4];

	bench_must(usvm_query_span(device->vm, at, bytes, pages), "query");
	if (pages[state] * BENCH_PAGE != bytes)
		bench_fail("%zu pages should be %s, %llu are", bytes / BENCH_PAGE,
			   state == USVM_PAGE_DEVICE ? "on the device" : "at home",
			   (unsigned long long)pages[state]);
	/* And the kernel agrees: what the device has the process has not. */
	if (bench_present(at, bytes, NULL) * BENCH_PAGE !=
	    (state == USVM_PAGE_HOME ? bytes : 0))
		bench_fail("the kernel sees the pages elsewhere");
}

int bench_uffd_open(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = ABI_UFFD_MOVE };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd < 0) /* without the right to faults of the kernel; none happen here */
		uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) {
		printf("SKIP: no userfaultfd that moves pages: %s\n", strerror(errno));
		exit(77);
	}
	return uffd;
}

void bench_uffd_register(int uffd, const void *at, size_t bytes)
{
	struct uffdio_register args = {
		.range = { .start = (uintptr_t)at, .len = bytes },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (ioctl(uffd, UFFDIO_REGISTER, &args))
		bench_fail("UFFDIO_REGISTER: %s", strerror(errno));
}

int bench_uffd_move(int uffd, const void *to, const void *from, size_t bytes)
{
	struct abi_uffd_move args = { .dst = (uintptr_t)to,
				      .src = (uintptr_t)from,
				      .bytes = bytes };

	return ioctl(uffd, ABI_UFFD_IOCTL_MOVE, &args) ? -errno : 0;
}

uint64_t bench_uffd_read_fault(int uffd)
{
	struct uffd_msg msg;

	if (read(uffd, &msg, sizeof(msg)) != sizeof(msg) ||
	    msg.event != UFFD_EVENT_PAGEFAULT)
		bench_fail("no fault was read: %s", strerror(errno));
	return msg.arg.pagefault.address;
}

void bench_uffd_zero(int uffd, uint64_t addr)
{
	struct uffdio_zeropage args = {
		.range = { .start = addr / BENCH_PAGE * BENCH_PAGE, .len = BENCH_PAGE },
	};

	if (ioctl(uffd, UFFDIO_ZEROPAGE, &args))
		bench_fail("UFFDIO_ZEROPAGE: %s", strerror(errno));
}
