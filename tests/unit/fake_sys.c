/* SPDX-License-Identifier: MIT */
/*
 * fake_sys.c - the fake kernel: its life, its base_host, and the ops beside userfaultfd.
 *
 * support/fake_internal.h tells how it is made; support/fake_uffd.c has the
 * userfaultfd, support/fake_program.c the calls of the program.
 */
#include "support/fake_internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HOOK_ROUNDS_MAX 10000

_Thread_local jmp_buf *fake_death;
static _Thread_local enum fake_role current_role;
static struct fake_sys *installed;

/* --- entering ---------------- */

struct fake_sys *fake_enter_lock(struct fake_sys *fake)
{
	pthread_mutex_lock(&fake->state->lock);
	return fake;
}

void fake_leave(struct fake_sys **fake)
{
	pthread_mutex_unlock(&(*fake)->state->lock);
}

static struct fake_op *op_find(struct fake_state *state, const char *name)
{
	struct fake_op *op = state->ops;

	while (op->name && strcmp(op->name, name))
		op++;
	MUST(op < &state->ops[ARRAY_SIZE(state->ops) - 1]);
	op->name = name;
	return op;
}

struct fake_sys *fake_enter_op(struct fake_sys *fake, const char *name)
{
	static _Thread_local bool in_hook;
	struct fake_op *op;

	if (fake->op_hook && !in_hook) {
		in_hook = true;
		fake->op_hook(fake->hook_arg, name);
		in_hook = false;
	}
	fake_enter_lock(fake);
	op = op_find(fake->state, name);
	fake->state->injected = ++op->calls == op->fails_at ? -op->error : 0;
	return fake;
}

void fake_fail(struct fake_sys *fake, const char *name, uint64_t nth, int error)
{
	LOCKED(fake);
	struct fake_op *op = op_find(fake->state, name);

	op->fails_at = op->calls + nth;
	op->error = error;
}

uint64_t fake_calls(struct fake_sys *fake, const char *name)
{
	LOCKED(fake);
	return op_find(fake->state, name)->calls;
}

uint64_t fake_page_bytes(struct fake_sys *fake)
{
	LOCKED(fake);
	return fake->state->own_bytes;
}

/* --- the host ---------------- */

void fake_die(const char *text)
{
	if (fake_death)
		longjmp(*fake_death, 1);
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		_exit(127);
	abort();
}

static int host_park(uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	struct timespec t = { .tv_sec = (time_t)(timeout_ns / 1000000000),
			      .tv_nsec = (long)(timeout_ns % 1000000000) };

	MUST(installed->state->real_threads);
	if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected,
		    timeout_ns == BASE_FOREVER ? NULL : &t, NULL, 0) &&
	    errno == ETIMEDOUT)
		return -ETIMEDOUT;
	return 0;
}

static void host_unpark(uint32_t *word, uint32_t count)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void host_cpu_yield(void)
{
	struct fake_sys *fake = installed;

	if (fake->state->real_threads)
		sched_yield();
	fake_caller_ran(fake);
	if (fake->yield_hook)
		fake->yield_hook(fake->hook_arg);
}

static void *host_pages_alloc(size_t bytes)
{
	struct fake_sys *fake FAKE_CLEANUP = fake_enter_op(installed, "pages_alloc");
	void *pages;

	MUST(bytes && IS_ALIGNED(bytes, PAGE_BYTES));
	if (fake->state->injected)
		return NULL;
	pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	MUST(pages != MAP_FAILED);
	fake->state->own_bytes += bytes;
	return pages;
}

static void host_pages_free(void *pages, size_t bytes)
{
	LOCKED(installed);
	MUST(installed->state->own_bytes >= bytes);
	installed->state->own_bytes -= bytes;
	MUST(!munmap(pages, bytes));
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

static const struct base_host_ops host_ops = {
	.park = host_park,
	.unpark = host_unpark,
	.cpu_yield = host_cpu_yield,
	.pages_alloc = host_pages_alloc,
	.pages_free = host_pages_free,
	.self = host_self,
	.die = fake_die,
};

enum fake_role fake_become(enum fake_role role)
{
	enum fake_role before = current_role;

	current_role = role;
	return before;
}

/* --- looking ---------------- */

static int op_vma_query(struct sys *sys, uint64_t addr, bool or_next, struct sys_vma *vma)
{
	OP_FAILS(sys);
	struct fake_process *process = &state->processes[0];
	struct fake_page *page;
	uint64_t start;
	uint64_t end;

	start = ALIGN_DOWN(or_next ? MAX(addr, FAKE_BASE) : addr, PAGE_BYTES);
	page = fake_slot(process, start);
	while (or_next && page && !page->vma.mapping) {
		start += PAGE_BYTES;
		page = fake_slot(process, start);
	}
	if (!page || !page->vma.mapping)
		return -ENOENT;

	for (end = start; fake_is_same_vma(page, fake_slot(process, end));)
		end += PAGE_BYTES;
	while (fake_is_same_vma(page, fake_slot(process, start - PAGE_BYTES)))
		start -= PAGE_BYTES;
	*vma = (struct sys_vma){ .span = { start, end },
				 .prot = page->vma.prot,
				 .kind = page->vma.kind };
	if (vma->kind == SYS_VMA_FILE_PRIVATE || vma->kind == SYS_VMA_FILE_SHARED)
		vma->inode = page->vma.mapping; /* no two map the same file */
	return 0;
}

static uint32_t scan_flags(const struct fake_sys *fake, const struct fake_page *page)
{
	uint32_t flags =
		page->flags & (FAKE_HAS_CONTENTS | SYS_PAGE_HUGE | SYS_PAGE_ZERO);

	if (!sys_has(&fake->sys, SYS_FEATURE_PAGEMAP_SCAN))
		flags &= ~(uint32_t)SYS_PAGE_ZERO;
	else if (page->flags & SYS_PAGE_GUARD)
		flags |= SYS_PAGE_GUARD;
	else if (flags & SYS_PAGE_PRESENT && !(page->flags & FAKE_PAGE_WP) &&
		 sys_has(&fake->sys, SYS_FEATURE_WP_ASYNC))
		flags |= SYS_PAGE_WRITTEN;
	/* Markers look like swap. */
	if (page->flags && !(page->flags & FAKE_HAS_CONTENTS))
		flags |= SYS_PAGE_SWAPPED;
	return flags;
}

static int op_page_scan(struct sys *sys, struct span span, struct sys_page_run *runs,
			size_t max, size_t *count, uint64_t *end)
{
	OP_FAILS(sys);
	size_t n = 0;

	*end = span.end;
	FOR_PAGES(addr, span)
	{
		uint32_t flags =
			scan_flags(fake, fake_page_at(&state->processes[0], addr));

		if (!flags)
			continue;
		if (n && runs[n - 1].span.end == addr && runs[n - 1].flags == flags) {
			runs[n - 1].span.end += PAGE_BYTES;
			continue;
		}
		if (n == max) {
			*end = addr;
			break;
		}
		runs[n++] = (struct sys_page_run){ span_make(addr, PAGE_BYTES), flags };
	}
	*count = n;
	return 0;
}

static int op_exclusions(struct sys *sys, struct span *spans, size_t max, size_t *count)
{
	OP_FAILS(sys);
	*count = fake->exclusion_count;
	memcpy(spans, fake->exclusions, MIN(max, *count) * sizeof(*spans));
	return 0;
}

static int op_madvise_in_flight(struct sys *sys, bool *busy)
{
	OP_FAILS(sys);
	*busy = fake->madvise_busy || state->dying_count;
	for (size_t i = 0; i < state->event_count; i++)
		*busy |= state->events[i].event.type == SYS_EVENT_REMOVE;
	return 0;
}

/* --- the arena ---------------- */

static int op_map(struct sys *sys, uint64_t bytes, uint64_t align, uint64_t hint,
		  uint64_t *addr)
{
	OP_FAILS(sys);
	struct span span = span_make(ALIGN_UP(state->arena_end, align), bytes);

	(void)hint;
	if (span.end > FAKE_END)
		return -ENOMEM;
	state->arena_end = span.end;
	fake_map_locked(fake, &state->processes[0], span, SYS_VMA_ANON_PRIVATE,
			SYS_PROT_READ | SYS_PROT_WRITE);
	*addr = span.start;
	return fake_madvise_locked(fake, &state->processes[0], span, SYS_ADVICE_DONTFORK);
}

static void op_unmap(struct sys *sys, uint64_t addr, uint64_t bytes)
{
	OP(sys);
	fake_munmap_locked(fake, &state->processes[0], span_make(addr, bytes));
}

static int op_advise(struct sys *sys, struct span span, enum sys_advice advice)
{
	OP_FAILS(sys);
	return fake_madvise_locked(fake, &state->processes[0], span, advice);
}

static int op_empty(struct sys *sys, struct span span)
{
	OP_FAILS(sys);
	if (!sys_has(sys, SYS_FEATURE_GUARD))
		return -EOPNOTSUPP;
	fake_zap(&state->processes[0], span);
	return 0;
}

static void *op_pointer(struct sys *sys, uint64_t addr, uint64_t bytes)
{
	OP(sys);
	if (state->injected)
		return NULL;
	MUST(addr >= FAKE_ARENA && addr + bytes <= FAKE_END);
	return fake_bytes_at(&state->processes[0], addr);
}

/* --- guarded access ---------------- */

static uint64_t atomic_result(enum sys_access_op op, uint64_t old, uint64_t operand,
			      uint64_t compare, uint32_t bytes)
{
	/* Sign extension, so that one comparison serves both sizes. */
	int64_t a = bytes == 4 ? (int32_t)old : (int64_t)old;
	int64_t b = bytes == 4 ? (int32_t)operand : (int64_t)operand;

	switch (op) {
	case SYS_ACCESS_ADD:
		return old + operand;
	case SYS_ACCESS_SUB:
		return old - operand;
	case SYS_ACCESS_AND:
		return old & operand;
	case SYS_ACCESS_OR:
		return old | operand;
	case SYS_ACCESS_XOR:
		return old ^ operand;
	case SYS_ACCESS_EXCHANGE:
		return operand;
	case SYS_ACCESS_COMPARE_EXCHANGE:
		return old == compare ? operand : old;
	case SYS_ACCESS_MIN:
		return MIN(old, operand);
	case SYS_ACCESS_MAX:
		return MAX(old, operand);
	case SYS_ACCESS_SIGNED_MIN:
		return (uint64_t)MIN(a, b);
	case SYS_ACCESS_SIGNED_MAX:
		return (uint64_t)MAX(a, b);
	default:
		fake_die("the fake kernel: no such access\n");
	}
}

/* The access itself, within a page that is there. */
static void access_bytes(enum sys_access_op op, void *at, void *buffer, uint32_t bytes)
{
	uint64_t mask = bytes == 4 ? UINT32_MAX : UINT64_MAX;
	uint64_t *arguments = buffer;
	uint64_t compare = 0;
	uint64_t old = 0;
	uint64_t new;

	if (op == SYS_ACCESS_READ) {
		memcpy(buffer, at, bytes);
		return;
	}
	if (op == SYS_ACCESS_WRITE) {
		memcpy(at, buffer, bytes);
		return;
	}
	MUST((bytes == 4 || bytes == 8) && IS_ALIGNED((uintptr_t)at, bytes));
	if (op == SYS_ACCESS_COMPARE_EXCHANGE)
		compare = arguments[1] & mask;
	memcpy(&old, at, bytes);
	new = atomic_result(op, old, arguments[0] & mask, compare, bytes);
	memcpy(at, &new, bytes);
	arguments[0] = old;
}

static bool is_asleep(const struct fake_state *state, uint64_t number)
{
	for (size_t i = 0; i < state->sleeper_count; i++)
		if (state->sleepers[i].number == number)
			return true;
	return false;
}

/* The caller sleeps in the fault that it has just queued. The lock is dropped.
 * Return: -EINTR: it was kicked out. */
static int sleep_until_woken(struct fake_sys *fake)
{
	struct fake_state *state = fake->state;
	uint64_t number = state->sleep_count;

	MUST(fake->fault_hook || state->real_threads);
	for (int i = 0; is_asleep(state, number); i++) {
		if (state->kicked_thread == fake_thread_id(fake)) {
			state->kicked_thread = 0;
			fake_sleeper_remove(state, number);
			return -EINTR;
		}
		if (!fake->fault_hook) {
			pthread_cond_wait(&state->changed, &state->lock);
			continue;
		}
		MUST(i < HOOK_ROUNDS_MAX);
		pthread_mutex_unlock(&state->lock);
		fake->fault_hook(fake->hook_arg);
		pthread_mutex_lock(&state->lock);
	}
	return 0;
}

static int op_access(struct sys *sys, enum sys_access_op op, uint64_t addr, void *buffer,
		     uint32_t bytes)
{
	OP_FAILS(sys);
	struct fake_process *process = &state->processes[0];
	unsigned char *at = buffer;

	while (bytes) {
		uint64_t left = PAGE_BYTES - addr % PAGE_BYTES;
		uint32_t part = (uint32_t)MIN(left, bytes);
		int err = fake_touch_locked(fake, process, addr, op != SYS_ACCESS_READ);

		if (err == -EAGAIN)
			err = sleep_until_woken(fake) ? -EINTR : -EAGAIN;
		if (err == -EAGAIN)
			continue;
		if (err)
			return err;
		access_bytes(op, fake_bytes_at(process, addr), at, part);
		addr += part;
		at += part;
		bytes -= part;
	}
	return 0;
}

/* --- threads and time ---------------- */

uint32_t fake_thread_id(struct fake_sys *fake)
{
	if (fake->state->real_threads)
		return (uint32_t)syscall(SYS_gettid);
	return 1000 + (uint32_t)current_role;
}

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
	OP_FAILS(sys);
	struct sys_thread *thread = &fake->threads[fake->thread_count];

	MUST(fake->thread_count < ARRAY_SIZE(fake->threads));
	fake->thread_count++;
	thread->attr = *attr;
	*out = thread;
	if (!state->real_threads)
		return 0;
	return -pthread_create(&thread->handle, NULL, thread_main, thread);
}

static void op_thread_join(struct sys *sys, struct sys_thread *thread)
{
	struct fake_sys *fake = (struct fake_sys *)sys;

	/* Not under the lock: the thread may need it to end. */
	if (fake->state->real_threads)
		MUST(!pthread_join(thread->handle, NULL));
	thread->joined = true;
}

static uint32_t op_thread_id(struct sys *sys)
{
	return fake_thread_id((struct fake_sys *)sys);
}

static void op_thread_kick(struct sys *sys, uint32_t thread_id)
{
	OP(sys);
	/* Out of an access that sleeps; there is no other to be in. */
	for (size_t i = 0; i < state->sleeper_count; i++)
		if (state->sleepers[i].thread_id == thread_id)
			state->kicked_thread = thread_id;
	pthread_cond_broadcast(&state->changed);
}

static uint64_t op_clock_ns(struct sys *sys)
{
	OP(sys);
	fake->clock_ns += 1000;
	return fake->clock_ns;
}

static void op_barrier(struct sys *sys)
{
	static uint32_t word;

	OP(sys);
	/* Not a fence: TSan knows none. */
	__atomic_add_fetch(&word, 1, __ATOMIC_SEQ_CST);
}

static int op_fork_hooks(struct sys *sys, const struct sys_fork_hooks *hooks)
{
	OP_FAILS(sys);
	fake->hooks = *hooks;
	return 0;
}

static bool op_is_forked(struct sys *sys)
{
	OP(sys);
	return fake->forked;
}

static int op_wiped_on_fork(struct sys *sys, struct span *spans UNUSED, size_t max UNUSED,
			    size_t *count)
{
	OP_FAILS(sys);
	*count = 0; /* the fake has no MADV_WIPEONFORK */
	return 0;
}

static int op_check_signal_handlers(struct sys *sys)
{
	OP_FAILS(sys);
	return 0;
}

/* --- life ---------------- */

static struct sys_ops fake_ops = {
	.name = "fake",
	.vma_query = op_vma_query,
	.page_scan = op_page_scan,
	.exclusions = op_exclusions,
	.madvise_in_flight = op_madvise_in_flight,
	.wiped_on_fork = op_wiped_on_fork,
	.map = op_map,
	.unmap = op_unmap,
	.advise = op_advise,
	.empty = op_empty,
	.pointer = op_pointer,
	.access = op_access,
	.thread_create = op_thread_create,
	.thread_join = op_thread_join,
	.thread_id = op_thread_id,
	.thread_kick = op_thread_kick,
	.clock_ns = op_clock_ns,
	.barrier = op_barrier,
	.fork_hooks = op_fork_hooks,
	.is_forked = op_is_forked,
	.check_signal_handlers = op_check_signal_handlers,
};

void fake_process_init(struct fake_process *process)
{
	process->pages = calloc(span_pages(FAKE_WINDOW), sizeof(*process->pages));
	process->bytes = mmap(NULL, span_bytes(FAKE_WINDOW), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	MUST(process->pages && process->bytes != MAP_FAILED);
}

struct fake_sys *fake_create(uint32_t features, bool real_threads)
{
	struct fake_sys *fake = calloc(1, sizeof(*fake));

	MUST(fake);
	fake->state = calloc(1, sizeof(*fake->state));
	MUST(fake->state);
	fake_uffd_ops(&fake_ops);
	fake->sys = (struct sys){
		.ops = &fake_ops,
		.features = features,
		.features_found = features,
		.limits = { .max_map_count = 65530, .cpu_count = 2 },
	};
	pthread_mutex_init(&fake->state->lock, NULL);
	pthread_cond_init(&fake->state->changed, NULL);
	fake->state->real_threads = real_threads;
	fake->state->arena_end = FAKE_ARENA;
	fake->state->current = &fake->state->processes[0];
	fake_process_init(fake->state->current);
	MUST(!installed);
	installed = fake;
	base_host_install(&host_ops);
	fake_become(FAKE_WORKER);
	return fake;
}

int fake_destroy(struct fake_sys *fake)
{
	struct fake_state *state = fake->state;
	int leaked = (int)state->own_bytes;

	MUST(installed == fake);
	base_host_install(NULL);
	installed = NULL;
	for (int i = 0; i < FAKE_PROCESSES; i++) {
		if (!state->processes[i].pages)
			continue;
		free(state->processes[i].pages);
		munmap(state->processes[i].bytes, span_bytes(FAKE_WINDOW));
	}
	pthread_cond_destroy(&state->changed);
	pthread_mutex_destroy(&state->lock);
	free(state);
	free(fake);
	return leaked;
}
