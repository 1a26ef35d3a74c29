/* SPDX-License-Identifier: MIT */
/*
 * DOC: How a device is held
 *
 *     0 --arm--> 1 --the device comes--> 2 --release--> 0
 */
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live/support/held.h"

static void futex_wait(uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void futex_set(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void held_arm(uint32_t *hold)
{
	futex_set(hold, 1);
}

void held_wait(uint32_t *hold)
{
	uint32_t value;

	while ((value = __atomic_load_n(hold, __ATOMIC_SEQ_CST)) != 2)
		futex_wait(hold, value);
}

void held_release(uint32_t *hold)
{
	futex_set(hold, 0);
}

/* On a thread of the library. */
static bool stay(uint32_t *hold)
{
	uint32_t armed = 1;

	if (!__atomic_compare_exchange_n(hold, &armed, 2, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return false;
	futex_set(hold, 2);
	while (__atomic_load_n(hold, __ATOMIC_SEQ_CST) == 2)
		futex_wait(hold, 2);
	return true;
}

/* The engine's access is over. */
static bool is_answered(struct held *held)
{
	int value = 0;

	sem_getvalue(&held->device.answered, &value);
	return value > 0;
}

bool held_wait_copy(struct held *held)
{
	while (__atomic_load_n(&held->hold_copy, __ATOMIC_SEQ_CST) != 2) {
		if (is_answered(held))
			return false;
		sched_yield();
	}
	return true;
}

/* The host as the engine sees it; there is one device at a time. */
static struct held *only;
static const struct usvm_device_host *real_host;

static int held_engine_begin(struct usvm *usvm)
{
	__atomic_store_n(&only->engine_thread, (uint32_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	if (only->unplugs)
		only->unplug_result = usvm_device_unplug(usvm);
	return real_host->engine_begin(usvm);
}

static int held_attach(void *device, const struct usvm_device_host *host)
{
	static struct usvm_device_host host_ops;

	only = device;
	real_host = host;
	host_ops = *host;
	host_ops.engine_begin = held_engine_begin;
	return example_device_ops.attach(device, &host_ops);
}

static bool is_asleep(uint32_t thread)
{
	char path[64], line[256], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%u/stat", thread);
	file = fopen(path, "r");
	assert_non_null(file);
	if (fgets(line, sizeof(line), file))
		state = strrchr(line, ')')[2];
	fclose(file);
	return state == 'S';
}

void held_wait_asleep(struct held *held)
{
	uint32_t thread;

	while (!(thread = __atomic_load_n(&held->engine_thread, __ATOMIC_SEQ_CST)))
		sched_yield();
	while (!is_answered(held) && !is_asleep(thread))
		sched_yield();
}

static int held_copy(void *device, uint64_t offset, void *memory, uint64_t bytes,
		     bool to_device)
{
	struct held *held = device;

	if (stay(to_device ? &held->hold_copy : &held->hold_home) && held->copy_error)
		return held->copy_error;
	if (!to_device && held->home_error)
		return held->home_error;
	return example_device_ops.copy(device, offset, memory, bytes, to_device);
}

static bool is_called(const char *thread)
{
	char name[16] = "";

	syscall(SYS_prctl, PR_GET_NAME, name, 0, 0, 0);
	return !strcmp(name, thread);
}

static void held_wait_stopped(void *device)
{
	struct held *held = device;

	if (__atomic_load_n(&held->hold_monitor, __ATOMIC_SEQ_CST) == 1 &&
	    is_called("usvm-monitor"))
		stay(&held->hold_monitor);
	if (__atomic_load_n(&held->hold_worker, __ATOMIC_SEQ_CST) == 1 &&
	    is_called("usvm-worker"))
		stay(&held->hold_worker);
	example_device_ops.wait_stopped(device);
}

struct held *held_open(struct live *live, const struct live_param *param)
{
	static struct usvm_device_ops ops;
	struct usvm_device_config config = { .name = "held", .ops = &ops,
					     .vram_bytes = HELD_VRAM };
	struct held *held;

	ops = example_device_ops;
	ops.attach = held_attach;
	ops.copy = held_copy;
	ops.wait_stopped = held_wait_stopped;
	held = mmap(NULL, sizeof(*held), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	assert_ptr_not_equal(held, MAP_FAILED);
	if (param->copy) {
		held->own_memory = mmap(NULL, HELD_VRAM, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(held->own_memory, MAP_FAILED);
		held->device.own_memory = held->own_memory;
		config.flags = USVM_DEVICE_OWN_MEMORY;
	}
	sem_init(&held->device.asked, 0, 0);
	sem_init(&held->device.answered, 0, 0);
	sem_init(&held->device.faulted, 0, 0);
	config.device = held;
	*live = (struct live){ .param = param };
	live->result = mmap(NULL, LIVE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(usvm_open_device(&config, NULL, &live->gpu), 0);
	assert_int_equal(usvm_vm_create(live->gpu, NULL, &live->vm), 0);
	assert_int_equal(usvm_vm_create(live->gpu, NULL, &held->vm), 0);
	return held;
}

void held_close(struct held *held, struct live *live)
{
	assert_int_equal(usvm_vm_destroy(held->vm), 0);
	assert_int_equal(usvm_vm_destroy(live->vm), 0);
	assert_int_equal(usvm_close(live->gpu), 0);
	munmap(live->result, LIVE_PAGE);
	if (held->own_memory)
		munmap(held->own_memory, HELD_VRAM);
	munmap(held, sizeof(*held));
}

void held_start(struct held *held, uint32_t op, void *at, uint64_t value)
{
	held->device.op = op;
	held->device.addr = (uintptr_t)at;
	held->device.value = value;
	__atomic_store_n(&held->engine_thread, 0, __ATOMIC_SEQ_CST);
	sem_post(&held->device.asked);
}

int held_finish(struct held *held, uint64_t *value)
{
	example_wait(&held->device.answered);
	if (value)
		*value = held->device.value;
	return held->device.result;
}

uint64_t held_add(struct held *held, void *at, uint64_t value)
{
	held_start(held, USVM_SYSTEM_ADD, at, value);
	assert_int_equal(held_finish(held, &value), 0);
	return value;
}
