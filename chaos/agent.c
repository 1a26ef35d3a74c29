/* SPDX-License-Identifier: MIT */
/*
 * DOC: the agent
 *
 * libusvm-chaos.so is preloaded into a program. It carries a usvm of its own, whose
 * names nobody sees, opens a model device, mirrors all of the program's memory, and
 * moves parts of it to the device and back, from one thread of the library's kind: with
 * signals blocked, a file table of its own and no heap.
 *
 *     loaded   the environment is cleaned, the thread is made; the program begins
 *     thread   opens the device; one step of roam.c at a time, one census now and then
 *     fork()   waits while a device is being opened; the child begins anew
 *     exec     the environment gets back what the next program's agent needs (follow.c)
 *     end      the last counts are written; nothing is given back, for the kernel does
 *
 * What the thread counts it writes to its slot after each step: a process that is killed
 * has said what it did.
 *
 * A program whose first thread calls pthread_exit() ends when the last of its threads
 * does. With threads of ours it would never: the agent looks for that, and ends it.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "api/api_internal.h"
#include "base/atomic.h"
#include "base/host.h"
#include "sys/linux_internal.h"
#include "sys/linux_syscall.h"

/* A process that ends sooner is left alone. */
#define BEGIN_NS 2000000ull
#define LAST_THREAD_NS 100000000ull
#define SECOND_NS 1000000000ull

struct agent agent;

/* Held while a device is opened: a child of fork must not find locks of that held. */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static struct sys_ops ops; /* the kernel's, but for map() */

static uint32_t process_id(void)
{
	return (uint32_t)linux_call(SYS_getpid);
}

/* --- counts ------------------------------------------------------------------ */

static void read_device(struct usvm *device)
{
	uint64_t *counts = agent.counts;
	uint64_t faults = usvm_stat(device, "mm_cpu_faults");
	uint64_t user = usvm_stat(device, "mm_cpu_faults_user");
	uint64_t kernel = usvm_stat(device, "mm_cpu_faults_kernel");

	counts[CHAOS_PAGES_OUT] = usvm_stat(device, "mm_taken_pages");
	counts[CHAOS_PAGES_HOME] = usvm_stat(device, "mm_home_moved_pages") +
				   usvm_stat(device, "mm_home_copied_pages");
	counts[CHAOS_FAULTS_USER] = user;
	counts[CHAOS_FAULTS_KERNEL] = kernel;
	counts[CHAOS_FAULTS_UNKNOWN] = faults - MIN(faults, user + kernel);
	counts[CHAOS_VRAM_EVICTIONS] = usvm_stat(device, "vram_evictions");
}

static void publish(void)
{
	struct usvm *device = ATOMIC_LOAD(&agent.device);

	if (device)
		read_device(device);
	for (size_t i = 0; agent.slot && i < CHAOS_COUNTER_COUNT; i++)
		ATOMIC_STORE_RELAXED(&agent.slot->counts[i], agent.base[i] + agent.counts[i]);
}

static bool is_gone(uint32_t process)
{
	return linux_call(SYS_kill, process, 0) == -ESRCH;
}

/* Return: true if it is ours now. */
static bool slot_claim(struct chaos_slot *slot, uint32_t self, bool dead)
{
	uint32_t owner = ATOMIC_LOAD(&slot->process_id);

	if (owner == self)
		return true;
	if (owner && !(dead && is_gone(owner)))
		return false;
	return ATOMIC_COMPARE_EXCHANGE(&slot->process_id, &owner, self);
}

static struct chaos_slot *slot_find(struct chaos_shared *shared, uint32_t self)
{
	for (int dead = 0; dead < 2; dead++) {
		for (uint32_t i = 0; i < CHAOS_SLOT_COUNT; i++) {
			struct chaos_slot *slot =
				&shared->slots[(self + i) % CHAOS_SLOT_COUNT];

			if (slot_claim(slot, self, dead))
				return slot;
		}
	}
	return NULL;
}

void agent_leave(void)
{
	/* A child of vfork() is not the process that the thread runs in. */
	if (ATOMIC_LOAD(&agent.process_id) != process_id())
		return;
	ATOMIC_STORE(&agent.stopping, 1);
	publish();
}

/* --- the thread ---------------------------------------------------------------- */

bool agent_is_arena(struct span span)
{
	for (uint32_t i = 0; i < ATOMIC_LOAD(&agent.arena_count); i++) {
		if (span_overlaps(agent.arenas[i], span))
			return true;
	}
	return false;
}

static int map_and_note(struct sys *sys, uint64_t bytes, uint64_t align, uint64_t hint,
			uint64_t *addr)
{
	uint32_t count = ATOMIC_LOAD(&agent.arena_count);
	int err = linux_map(sys, bytes, align, hint, addr);

	if (!err && count < AGENT_ARENA_COUNT_MAX) {
		agent.arenas[count] = span_make(*addr, bytes);
		ATOMIC_STORE(&agent.arena_count, count + 1);
	}
	return err;
}

static int open_device(void)
{
	struct usvm *device = NULL;
	int err;

	pthread_mutex_lock(&opening);
	err = usvm_open(agent.shared->spec, &device);
	if (!err)
		err = usvm_vm_create(device, NULL, &agent.vm);
	if (!err)
		err = usvm_queue_create(agent.vm, NULL, &agent.queue);
	pthread_mutex_unlock(&opening);
	if (!err)
		err = roam_create();
	if (!err)
		err = census_create();
	if (!err)
		ATOMIC_STORE(&agent.device, device);
	return err;
}

/* Has the first thread ended, and every other that is not ours? */
static bool is_deserted(void)
{
	struct linux_number_dir dir;
	char text[256];
	const char *behind;
	uint32_t thread;
	bool deserted = true;
	int err;

	if (linux_read_file("/proc/self/stat", text, sizeof(text)) <= 0)
		return false;
	behind = strrchr(text, ')');
	if (!behind || behind[1] != ' ' || behind[2] != 'Z')
		return false;
	err = linux_tasks_open(&linux_sys, &dir);
	while (!err && (err = linux_number_dir_next(&dir, &thread)) > 0) {
		err = 0;
		deserted &= thread == process_id() || linux_thread_is_ours(&linux_sys, thread);
	}
	linux_tasks_close(&linux_sys, &dir);
	return !err && deserted;
}

static void wait_ns(uint64_t ns)
{
	if (ns)
		base_host->park(&agent.stopping, 0, ns);
}

static void roam(void)
{
	uint64_t step_ns = SECOND_NS / agent.shared->rate;
	uint64_t next_ns = linux_clock_ns(agent.sys);
	uint64_t alone_ns = next_ns + LAST_THREAD_NS;

	census_take(next_ns);
	while (!ATOMIC_LOAD(&agent.stopping)) {
		uint64_t now_ns;

		roam_step();
		now_ns = linux_clock_ns(agent.sys);
		if (census_due(now_ns))
			census_take(now_ns);
		if (now_ns >= alone_ns) {
			alone_ns = now_ns + LAST_THREAD_NS;
			if (is_deserted())
				exit(0);
		}
		publish();
		next_ns = MAX(next_ns + step_ns, now_ns - MIN(now_ns, SECOND_NS / 10));
		now_ns = linux_clock_ns(agent.sys);
		wait_ns(next_ns - MIN(now_ns, next_ns));
	}
}

static void thread_main(void *arg UNUSED)
{
	int err;

	wait_ns(BEGIN_NS);
	if (ATOMIC_LOAD(&agent.stopping))
		return;
	err = open_device();
	if (err) {
		agent.counts[CHAOS_FAILED] = 1;
		if (agent.slot)
			agent.slot->error = err;
		publish();
		/* Whatever is open stays so: it holds nothing of the program's. */
		return;
	}
	agent.counts[CHAOS_OPENED] = 1;
	publish();
	roam();
}

/* --- life ------------------------------------------------------------------------ */

static void begin(void)
{
	const struct sys_thread_attr attr = {
		.name = "usvm-chaos",
		.run = thread_main,
		.flags = SYS_THREAD_OWN_FILES,
	};
	uint32_t number = ATOMIC_ADD(&agent.shared->agent_count, 1);
	uint32_t self = process_id();
	int err;

	agent.slot = slot_find(agent.shared, self);
	for (size_t i = 0; agent.slot && i < CHAOS_COUNTER_COUNT; i++)
		agent.base[i] = ATOMIC_LOAD_RELAXED(&agent.slot->counts[i]);
	memset(agent.counts, 0, sizeof(agent.counts));
	agent.counts[CHAOS_STARTED] = 1;
	prng_seed(&agent.random, agent.shared->seed + 0x100000000ull * number);
	ATOMIC_STORE(&agent.stopping, 0);
	ATOMIC_STORE(&agent.device, NULL);
	ATOMIC_STORE(&agent.arena_count, 0);
	ATOMIC_STORE(&agent.process_id, self);

	err = sys_linux_open(NULL, &agent.sys);
	if (!err) {
		ops = *agent.sys->ops;
		ops.map = map_and_note;
		agent.sys->ops = &ops;
		err = linux_thread_create(agent.sys, &attr, &agent.thread);
	}
	if (err) {
		agent.counts[CHAOS_FAILED] = 1;
		if (agent.slot)
			agent.slot->error = err;
	}
	publish();
}

static void fork_prepare(void)
{
	pthread_mutex_lock(&opening);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&opening);
}

/* Behind the hook of sys, which was there first: usvm was never opened here. */
static void fork_child(void)
{
	api_process_forget();
	pthread_mutex_init(&opening, NULL);
	follow_child();
	begin();
}

static struct chaos_shared *map_shared(const char *path)
{
	struct chaos_shared *shared = NULL;
	int64_t map = -EINVAL;
	struct stat status;
	int fd = linux_open(path, O_RDWR);

	if (fd < 0)
		return NULL;
	if (!fstat(fd, &status) && status.st_size == sizeof(*shared))
		map = linux_call(SYS_mmap, 0, sizeof(*shared), PROT_READ | PROT_WRITE,
				 MAP_SHARED, fd, 0);
	linux_close(fd);
	if (map < 0)
		return NULL;
	shared = (void *)(uintptr_t)map;
	if (shared->magic != CHAOS_MAGIC) {
		linux_call(SYS_munmap, map, sizeof(*shared));
		return NULL;
	}
	return shared;
}

__attribute__((constructor)) static void agent_load(int argc UNUSED, char **argv UNUSED,
						     char **envp)
{
	const char *path = follow_init(envp);
	int before = errno;

	if (path)
		agent.shared = map_shared(path);
	if (agent.shared) {
		begin();
		pthread_atfork(fork_prepare, fork_parent, fork_child);
	}
	errno = before;
}

__attribute__((destructor)) static void agent_unload(void)
{
	agent_leave();
}
