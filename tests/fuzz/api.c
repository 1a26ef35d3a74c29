/* SPDX-License-Identifier: MIT */
/*
 * DOC: fuzzing the public interface
 *
 * Byte 0: whether a device, a VM and a queue are there at first (bits 0 and 1, not both 0).
 * From then on there are records of API_RECORD bytes. The first of them chooses a call, the
 * others its arguments: handles that are live, NULL, of
 * another kind, no handle at all or destroyed; addresses and lengths of any size; flags
 * of any bits. The library is the real one, on the real kernel. Each call must give 0 or
 * an error that is documented for it; where documentation leaves no choice it must give
 * exactly that: EINVAL for NULL, EBADF for what is no handle of the kind, EBUSY for what
 * has children, and nothing written to out parameters but on success.
 *
 * What is not passed: a destroyed handle when no device is open (its memory is gone) or,
 * under ASan, a fence that was put (its memory is poisoned); an address outside of the
 * area where memory of the engine may be; USVM_FOREVER where a job that never ends is in
 * the way.
 *
 * At the end everything is destroyed, and all of that must succeed. Words of the area have
 * what the program and kernels have written. Descriptors and threads are as many as before.
 */
#include <dirent.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz/api.h"

#define CALLS_MAX 48
#define FORKS_MAX 1

static void (*const calls[])(struct api *api) = {
	api_open,	    api_open_device,	api_close,	   api_device_info,
	api_stats,	    api_trace_read,	api_texts,	   api_fork,
	api_vm_create,	    api_vm_destroy,	api_mirror,	   api_unmirror,
	api_prefetch,	    api_query,		api_query_span,	   api_faults,
	api_queue_create,   api_queue_destroy,	api_queue_status,  api_submit_kernel,
	api_submit_batch,   api_run_kernel,	api_run_batch,	   api_add,
	api_fence_wait,	    api_fence_put,
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* --- handles ---------------- */

void api_expect(const char *call, int got, const int *errors, size_t count)
{
	bool found = false;

	for (size_t i = 0; i < count && !found; i++)
		found = errors[i] == got;
	FUZZ_CHECK(found, "%s: %d is not documented for it", call, got);
	FUZZ_CHECK(!strstr(usvm_strerror(got), "does not know"), "%s: %d", call, got);
}

struct api_slot *api_free_slot(struct api *api, enum api_kind kind)
{
	for (uint32_t i = 0; i < API_SLOTS; i++) {
		if (!api->slot[kind][i].live)
			return &api->slot[kind][i];
	}
	return NULL;
}

void api_born(struct api_slot *slot, void *handle, struct api_slot *parent)
{
	FUZZ_CHECK(handle && handle != API_UNTOUCHED, "no handle");
	*slot = (struct api_slot){ .handle = handle, .live = true, .parent = parent };
	if (parent)
		parent->children++;
}

void api_died(struct api_slot *slot)
{
	slot->live = false;
	if (slot->parent)
		slot->parent->children--;
	if (slot->is_endless)
		api_device_of(slot)->endless_count--;
}

struct api_slot *api_device_of(struct api_slot *slot)
{
	while (slot->parent)
		slot = slot->parent;
	return slot;
}

static bool any_device(const struct api *api)
{
	for (uint32_t i = 0; i < API_SLOTS; i++) {
		if (api->slot[API_DEVICE][i].live)
			return true;
	}
	return false;
}

/* Memory of a dead handle may have become another's. */
static bool is_live_again(const struct api *api, const void *handle)
{
	for (uint32_t kind = 0; kind < API_KINDS; kind++) {
		for (uint32_t i = 0; i < API_SLOTS; i++) {
			const struct api_slot *slot = &api->slot[kind][i];

			if (slot->live && slot->handle == handle)
				return true;
		}
	}
	return false;
}

struct api_handle api_handle(struct api *api, enum api_kind kind)
{
	static uint64_t no_handle[64];
	uint32_t how = fuzz_take8(&api->in);
	enum api_kind other = (enum api_kind)((kind + 1 + how / 64) % API_KINDS);
	struct api_slot *slot = &api->slot[kind][how % API_SLOTS];

	/* Most calls shall do something. */
	for (uint32_t i = 0; how < 0xe0 && !slot->live && i < API_SLOTS; i++)
		slot = &api->slot[kind][i];
	switch (how / 4 % 16) {
	case 0:
		return (struct api_handle){ NULL, NULL, -EINVAL };
	case 1:
		return (struct api_handle){ no_handle, NULL, -EBADF };
	case 2:
		if (other != kind && api->slot[other][how % API_SLOTS].live)
			return (struct api_handle){ api->slot[other][how % API_SLOTS].handle,
						    NULL, -EBADF };
		break;
	default:
		break;
	}
	if (slot->live)
		return (struct api_handle){ slot->handle, slot, 0 };
	if (!slot->handle || !any_device(api) || is_live_again(api, slot->handle) ||
	    (API_ASAN && kind == API_FENCE))
		return (struct api_handle){ NULL, NULL, -EINVAL };
	return (struct api_handle){ slot->handle, NULL, -EBADF };
}

/* --- fork ---------------- */

static void in_child(struct api *api)
{
	struct usvm_device_info info;
	struct usvm_page_info page;
	struct usvm_queue_status status;

	for (uint32_t i = 0; i < API_SLOTS; i++) {
		if (api->slot[API_DEVICE][i].live)
			API_EXACTLY("child: usvm_device_info",
				    usvm_device_info(api->slot[API_DEVICE][i].handle, &info),
				    -ECHILD);
		if (api->slot[API_VM][i].live)
			API_EXACTLY("child: usvm_query",
				    usvm_query(api->slot[API_VM][i].handle, calls, &page),
				    -ECHILD);
		if (api->slot[API_QUEUE][i].live)
			API_EXACTLY("child: usvm_queue_status",
				    usvm_queue_status(api->slot[API_QUEUE][i].handle, &status),
				    -ECHILD);
		if (api->slot[API_FENCE][i].live)
			API_EXACTLY("child: usvm_fence_wait",
				    usvm_fence_wait(api->slot[API_FENCE][i].handle, 0),
				    -ECHILD);
	}
	api_memory_check();
}

void api_fork(struct api *api)
{
	int status = -1;
	pid_t child;

	if (api->fork_count++ >= FORKS_MAX || !any_device(api))
		return;
	child = fork();
	FUZZ_CHECK(child >= 0, "fork");
	if (!child) {
		in_child(api);
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0)
		FUZZ_CHECK(errno == EINTR, "waitpid"); /* an engine's alarm */
	FUZZ_CHECK(!status, "child: %#x", (unsigned int)status);
}

/* --- the end ---------------- */

static size_t entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t count = 0;

	FUZZ_CHECK(dir, "%s", path);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

struct usage {
	size_t files;
	size_t threads;
};

static struct usage usage_now(void)
{
	return (struct usage){ entries("/proc/self/fd"), entries("/proc/self/task") };
}

/* A thread that was joined leaves /proc a moment later. */
static void check_leaks(struct usage before)
{
	struct usage now = usage_now();

	for (unsigned int i = 0; now.threads > before.threads && i < 1000000; i++) {
		sched_yield();
		now = usage_now();
	}
	FUZZ_CHECK(now.threads <= before.threads, "%zu threads, %zu before", now.threads,
		   before.threads);
	FUZZ_CHECK(now.files <= before.files, "%zu descriptors, %zu before", now.files,
		   before.files);
}

static void destroy_all(struct api *api)
{
	for (uint32_t i = 0; i < API_SLOTS; i++) {
		struct api_slot *slot = &api->slot[API_QUEUE][i];

		if (!slot->live)
			continue;
		API_EXACTLY("usvm_queue_destroy", usvm_queue_destroy(slot->handle), 0);
		api_died(slot);
	}
	for (uint32_t i = 0; i < API_SLOTS; i++) {
		if (api->slot[API_FENCE][i].live)
			usvm_fence_put(api->slot[API_FENCE][i].handle);
		if (api->slot[API_VM][i].live)
			API_EXACTLY("usvm_vm_destroy",
				    usvm_vm_destroy(api->slot[API_VM][i].handle), 0);
	}
	for (uint32_t i = 0; i < API_SLOTS; i++) {
		if (api->slot[API_DEVICE][i].live)
			API_EXACTLY("usvm_close",
				    usvm_close(api->slot[API_DEVICE][i].handle), 0);
	}
}

/* Most calls need these three, and few inputs would come to have them. */
static void prepare(struct api *api)
{
	struct api_slot *device = api_free_slot(api, API_DEVICE);
	struct api_slot *vm = api_free_slot(api, API_VM);
	struct api_slot *queue = api_free_slot(api, API_QUEUE);
	struct usvm_queue *queue_handle;
	struct usvm_vm *vm_handle;
	struct usvm *handle;

	API_EXACTLY("usvm_open", usvm_open("model:vram=2M,engines=1", &handle), 0);
	api_born(device, handle, NULL);
	API_EXACTLY("usvm_vm_create", usvm_vm_create(handle, NULL, &vm_handle), 0);
	api_born(vm, vm_handle, device);
	API_EXACTLY("usvm_queue_create", usvm_queue_create(vm_handle, NULL, &queue_handle), 0);
	api_born(queue, queue_handle, vm);
}

/* What a call does not use of its record is nobody's: calls do not shift. */
static struct fuzz_input take_record(struct fuzz_input *all)
{
	size_t count = all->left < API_RECORD - 1 ? all->left : API_RECORD - 1;
	struct fuzz_input record = { all->at, count };

	all->at += count;
	all->left -= count;
	return record;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct fuzz_input all = { bytes, count };
	struct api api = { 0 };
	struct usage before = usage_now();

	api_memory_init();
	if (fuzz_take8(&all) & 3)
		prepare(&api);
	for (unsigned int i = 0; i < CALLS_MAX && all.left; i++) {
		uint32_t call = fuzz_take8(&all) % (CALLS + 2);

		api.in = take_record(&all);
		if (call < CALLS)
			calls[call](&api);
		else if (call == CALLS)
			api_memory_touch(&api.in);
		else
			api_memory_advise(&api.in);
	}
	destroy_all(&api);
	api_memory_check();
	check_leaks(before);
	return 0;
}
