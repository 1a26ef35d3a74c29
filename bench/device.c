/* SPDX-License-Identifier: MIT */
/*
 * DOC: usvm's side: a device, where its threads run and where pages are
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

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

void bench_device_place(enum bench_place place)
{
	if (place != BENCH_FREE)
		bench_device_pin(0, bench_place_core(place));
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

void bench_prefetch(const struct bench_device *device, const void *at, size_t bytes)
{
	bench_must(usvm_prefetch(device->vm, at, bytes, USVM_PLACE_DEVICE), "prefetch");
	bench_expect(device, at, bytes, USVM_PAGE_DEVICE);
}

void bench_run(const struct bench_device *device, usvm_kernel_fn function, uint32_t groups,
	       const void *args, size_t args_bytes)
{
	struct usvm_kernel kernel = {
		.function = function,
		.groups = { groups },
		.args = args,
		.args_bytes = (uint32_t)args_bytes,
	};

	bench_must(usvm_run_kernel(device->queue, &kernel), "kernel");
}

void bench_trace_drain(const struct bench_device *device,
		       void (*use)(const struct usvm_trace_event *event, void *arg), void *arg)
{
	struct usvm_trace_event events[64];
	uint64_t dropped;
	size_t count;

	do {
		bench_must(usvm_trace_read(device->gpu, events, 64, &count, &dropped), "trace");
		if (dropped)
			bench_fail("the trace was too small");
		for (size_t i = 0; i < count && use; i++)
			use(&events[i], arg);
	} while (count);
}
