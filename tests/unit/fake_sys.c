/* SPDX-License-Identifier: MIT */
/*
 * fake_sys.c - the simulated kernel (sys/sim.h) as an object behind a lock.
 *
 * The unit tests play the program and the threads of the library themselves, or have real
 * threads, so nothing of the simulator's scheduler runs here: each call is one step, and
 * what a kernel would hold back is done when the test says so.
 */
#include "fake_sys.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/sim_internal.h"

#define HOOK_ROUNDS_MAX 10000

struct fake_state {
	pthread_mutex_t lock; /* of everything here, in struct fake_sys and in the simulator */
	pthread_cond_t changed;
	bool real_threads;
	struct sim *sim;
	struct sys_ops ops;
	struct sim_event *untold;
};

static _Thread_local enum fake_role current_role;
static struct fake_sys *installed;

#define MUST(condition)         \
	((condition) ? (void)0 : \
		       host_posix_ops.die("the fake kernel: " #condition "\n"))

/* --- entering ---------------- */

static struct sim *lock(struct fake_sys *fake)
{
	pthread_mutex_lock(&fake->state->lock);
	return fake->state->sim;
}

static void unlock(struct sim **sim UNUSED)
{
	pthread_mutex_unlock(&installed->state->lock);
}

/* The rest of the block is under the lock; defines sim, the process entered, a call. */
#define LOCKED(fake)                                                          \
	struct sim *sim __attribute__((cleanup(unlock), unused)) = lock(fake); \
	UNUSED struct sim_process *process = sim->entered;            \
	UNUSED struct sim_call call = { 0 }

static void outside_enter(void *arg, const char *op)
{
	static _Thread_local bool in_hook;
	struct fake_sys *fake = arg;
	struct sim *sim;

	if (fake->op_hook && !in_hook) {
		in_hook = true;
		fake->op_hook(fake->hook_arg, op);
		in_hook = false;
	}
	sim = lock(fake);
	sim->move_lies = fake->move_lies;
	sim->clock_ns = fake->clock_ns;
	sim->madvise_count = fake->madvise_busy;
	sim->touches_in_call = fake->touches_in_call;
	sim->exclusion_count = fake->exclusion_count;
	memcpy(sim->exclusions, fake->exclusions, sizeof(sim->exclusions));
}

static void outside_leave(void *arg)
{
	struct fake_sys *fake = arg;

	fake->move_lies = fake->state->sim->move_lies;
	fake->hooks = fake->state->sim->hooks;
	fake->clock_ns = fake->state->sim->clock_ns;
	pthread_mutex_unlock(&fake->state->lock);
}

static void outside_changed(void *arg)
{
	pthread_cond_broadcast(&((struct fake_sys *)arg)->state->changed);
}

static uint32_t outside_thread_id(void *arg)
{
	if (((struct fake_sys *)arg)->state->real_threads)
		return (uint32_t)syscall(SYS_gettid);
	return 1000 + (uint32_t)current_role;
}

static void outside_sleep(void *arg, uint64_t number)
{
	struct fake_sys *fake = arg;
	struct fake_state *state = fake->state;

	MUST(state->real_threads || (number && fake->fault_hook));
	if (!number)
		pthread_cond_wait(&state->changed, &state->lock);
	for (int i = 0; number && sim_outside_fault_sleeps(state->sim, number); i++) {
		if (!fake->fault_hook) {
			pthread_cond_wait(&state->changed, &state->lock);
			continue;
		}
		MUST(i < HOOK_ROUNDS_MAX);
		pthread_mutex_unlock(&state->lock);
		fake->fault_hook(fake->hook_arg);
		pthread_mutex_lock(&state->lock);
	}
}

void fake_fail(struct fake_sys *fake, const char *op, uint64_t nth, int error)
{
	LOCKED(fake);
	sim_inject(sim, op, nth, error, false);
}

void fake_fail_for_ever(struct fake_sys *fake, const char *op, uint64_t nth, int error)
{
	LOCKED(fake);
	sim_inject(sim, op, nth, error, true);
}

uint64_t fake_calls(struct fake_sys *fake, const char *op)
{
	LOCKED(fake);
	return sim_calls(sim, op);
}

uint64_t fake_page_bytes(struct fake_sys *fake)
{
	LOCKED(fake);
	return sim_own_bytes(sim);
}

/* --- the host ---------------- */

static void host_cpu_yield(void)
{
	struct fake_sys *fake = installed;

	if (fake->state->real_threads)
		sched_yield();
	fake_caller_ran(fake);
	if (fake->yield_hook)
		fake->yield_hook(fake->hook_arg);
}

/* Nobody is there to wake us but what the hook does. */
static int host_park(uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	if (installed->state->real_threads)
		return host_posix_ops.park(word, expected, timeout_ns);
	MUST(timeout_ns != BASE_FOREVER && *word == expected);
	host_cpu_yield();
	if (*word != expected)
		return 0;
	installed->clock_ns += timeout_ns;
	return -ETIMEDOUT;
}

static void host_pages_free(void *pages, size_t bytes)
{
	LOCKED(installed);
	sim_pages_free(pages, bytes);
}

/* One record for each part that the thread can play: each holds its own locks. */
static struct base_thread *host_self(void)
{
	static _Thread_local struct base_thread records[] = {
		[FAKE_WORKER] = { .is_library = true },
		[FAKE_MONITOR] = { .is_library = true, .is_monitor = true },
		[FAKE_PROGRAM] = { .is_library = false },
	};

	return &records[current_role];
}

enum fake_role fake_become(enum fake_role role)
{
	enum fake_role before = current_role;

	current_role = role;
	return before;
}

/* --- ops that are not the simulator's ---------------- */

static void *thread_main(void *arg)
{
	struct sys_thread *thread = arg;

	fake_become(thread->attr.flags & SYS_THREAD_MONITOR ? FAKE_MONITOR : FAKE_WORKER);
	thread->attr.run(thread->attr.arg);
	return NULL;
}

static int op_thread_create(struct sys *sys, const struct sys_thread_attr *attr,
			    struct sys_thread **out)
{
	struct fake_sys *fake = (struct fake_sys *)sys;
	struct sys_thread *thread = &fake->threads[fake->thread_count];
	int err = SIM_ENTER(THREAD_CREATE);

	if (!err) {
		MUST(fake->thread_count < ARRAY_SIZE(fake->threads));
		fake->thread_count++;
		thread->attr = *attr;
		*out = thread;
	}
	if (!err && fake->state->real_threads)
		err = -pthread_create(&thread->handle, NULL, thread_main, thread);
	return sim_leave(err, 0);
}

static void op_thread_join(struct sys *sys, struct sys_thread *thread)
{
	/* Not under the lock: the thread may need it to end. */
	if (((struct fake_sys *)sys)->state->real_threads)
		MUST(!pthread_join(thread->handle, NULL));
	thread->joined = true;
}

/* --- life ---------------- */

struct fake_sys *fake_create(uint32_t features, bool real_threads)
{
	struct sim_config config = sim_config_default(0);
	struct fake_sys *fake = calloc(1, sizeof(*fake));
	struct fake_state *state = calloc(1, sizeof(*state));
	static struct sim_outside outside;
	static struct base_host_ops host_ops;

	MUST(fake && state && !installed);
	config.frame_bytes = PAGE_BYTES;
	config.thp = SIM_THP_NEVER;
	config.separate_maps = true;
	config.arena_start = FAKE_ARENA;
	config.end = FAKE_END;
	MUST(!sim_open(&config, &state->sim));
	outside = (struct sim_outside){ outside_enter, outside_leave, outside_changed,
					outside_sleep, outside_thread_id,
					host_posix_ops.die, fake };
	state->sim->outside = &outside;
	state->sim->features_of = &fake->sys;
	state->real_threads = real_threads;
	state->ops = sim_ops;
	state->ops.name = "fake";
	state->ops.thread_create = op_thread_create;
	state->ops.thread_join = op_thread_join;
	pthread_mutex_init(&state->lock, NULL);
	pthread_cond_init(&state->changed, NULL);
	fake->state = state;
	fake->sys = (struct sys){
		.ops = &state->ops,
		.features = features,
		.features_found = features,
		.limits = { .max_map_count = 65530, .cpu_count = 2 },
	};
	installed = fake;
	host_ops = host_posix_ops;
	host_ops.park = host_park;
	host_ops.yield_point = NULL;
	host_ops.cpu_yield = host_cpu_yield;
	host_ops.pages_alloc = sim_pages_alloc;
	host_ops.pages_free = host_pages_free;
	host_ops.self = host_self;
	base_host_install(NULL);
	base_host_install(&host_ops);
	fake_become(FAKE_WORKER);
	return fake;
}

int fake_destroy(struct fake_sys *fake)
{
	struct fake_state *state = fake->state;
	int leaked = (int)sim_own_bytes(state->sim);

	MUST(installed == fake);
	sim_close(state->sim);
	installed = NULL;
	pthread_cond_destroy(&state->changed);
	pthread_mutex_destroy(&state->lock);
	free(state);
	free(fake);
	return leaked;
}

/* --- the program ---------------- */

void fake_map(struct fake_sys *fake, struct span span, enum sys_vma_kind kind,
	      uint32_t prot)
{
	LOCKED(fake);
	MUST(!sim_do_mmap(process, span, kind, prot, &call));
}

void fake_munmap(struct fake_sys *fake, struct span span)
{
	LOCKED(fake);
	MUST(!sim_do_munmap(process, span, &call));
}

void fake_munmap_untold(struct fake_sys *fake, struct span span)
{
	LOCKED(fake);
	call.is_late = true;
	MUST(!sim_do_munmap(process, span, &call) && call.first);
	fake->state->untold = call.first;
}

void fake_mremap_untold(struct fake_sys *fake, struct span from, uint64_t to)
{
	LOCKED(fake);
	call.is_late = true;
	MUST(!sim_do_mremap(process, from, span_bytes(from), to, false, &call) && call.first);
	fake->state->untold = call.first;
}

void fake_tell(struct fake_sys *fake)
{
	LOCKED(fake);
	sim_event_tell(sim, fake->state->untold);
}

int fake_mremap(struct fake_sys *fake, struct span from, uint64_t to, bool dontunmap)
{
	LOCKED(fake);
	return sim_do_mremap(process, from, span_bytes(from), to, dontunmap, &call);
}

void fake_grow(struct fake_sys *fake, struct span span, uint64_t bytes)
{
	LOCKED(fake);
	MUST(!sim_do_mremap(process, span, bytes, 0, false, &call));
}

void fake_mprotect(struct fake_sys *fake, struct span span, uint32_t prot)
{
	LOCKED(fake);
	MUST(!sim_do_mprotect(process, span, prot));
}

void fake_mlock(struct fake_sys *fake, struct span span, bool on)
{
	LOCKED(fake);
	MUST(!sim_vma_set_flags(process, span, on ? SIM_VMA_MLOCKED : 0,
				on ? 0 : SIM_VMA_MLOCKED));
}

void fake_guard(struct fake_sys *fake, struct span span)
{
	LOCKED(fake);
	MUST(!sim_do_madvise(process, span, SIM_ADVICE_GUARD_INSTALL));
}

int fake_madvise(struct fake_sys *fake, struct span span, enum sys_advice advice)
{
	LOCKED(fake);
	return sim_do_madvise(process, span, sim_advice_of(advice));
}

int fake_fork(struct fake_sys *fake, bool hooks)
{
	struct sim_call call = { 0 };
	int child;

	if (hooks && fake->hooks.prepare)
		fake->hooks.prepare();
	lock(fake);
	child = (int)sim_do_fork(fake->state->sim->entered, &call)->number;
	unlock(NULL);
	if (hooks && fake->hooks.parent)
		fake->hooks.parent();
	return child;
}

void fake_enter(struct fake_sys *fake, int number)
{
	LOCKED(fake);
	sim->entered = sim->processes[number];
	MUST(sim->entered);
}

void fake_exit(struct fake_sys *fake, int number)
{
	LOCKED(fake);
	MUST(number > 0);
	sim_do_exit(sim->processes[number]);
}

bool fake_caller_ran(struct fake_sys *fake)
{
	LOCKED(fake);
	return sim_outside_callers_run(sim);
}

bool fake_finish_remove(struct fake_sys *fake)
{
	LOCKED(fake);
	return sim_outside_finish_removes(sim);
}

int fake_touch(struct fake_sys *fake, uint64_t addr, bool write)
{
	LOCKED(fake);
	uint32_t fault_flags;
	int err = sim_touch(process, addr, write, &fault_flags);

	if (err == -EAGAIN)
		sim_fault_queue(process, addr, fault_flags);
	return err == -EBUSY ? -EFAULT : err;
}

size_t fake_blocked(struct fake_sys *fake, struct span span)
{
	LOCKED(fake);
	return sim_sleepers(sim, process, span);
}

/* --- pages ---------------- */

uint32_t fake_page(struct fake_sys *fake, uint64_t addr)
{
	LOCKED(fake);
	return sim_page(sim, process, addr);
}

void fake_page_set(struct fake_sys *fake, struct span span, uint32_t flags)
{
	LOCKED(fake);
	SIM_FOR_PAGES(addr, span)
		*sim_flags_make(process, addr) |= (uint16_t)flags;
}

void fake_page_clear(struct fake_sys *fake, struct span span, uint32_t flags)
{
	LOCKED(fake);
	SIM_FOR_PAGES(addr, span)
		*sim_flags_make(process, addr) &= (uint16_t)~flags;
}

uint64_t fake_tag(struct fake_sys *fake, uint64_t addr)
{
	LOCKED(fake);
	uint64_t tag;

	memcpy(&tag, sim_bytes(process, addr), sizeof(tag));
	return tag;
}

void fake_set_tag(struct fake_sys *fake, uint64_t addr, uint64_t tag)
{
	LOCKED(fake);
	uint16_t *flags = sim_flags_make(process, addr);

	MUST(sim_vma_at(process, addr));
	*flags = (uint16_t)((*flags & ~SYS_PAGE_ZERO) | SYS_PAGE_PRESENT);
	memcpy(sim_bytes(process, addr), &tag, sizeof(tag));
}

uint32_t fake_registered(struct fake_sys *fake, uint64_t addr)
{
	LOCKED(fake);
	const struct sim_vma *vma = sim_vma_at(process, addr);

	return vma ? vma->mode : 0;
}
