/* SPDX-License-Identifier: MIT */
/*
 * DOC: struct sys_ops of the simulated kernel
 *
 * One function for each op: enter, which may be ordered to fail; do it; leave. What is
 * done stands in the other files.
 */
#include <errno.h>
#include <string.h>

#include "sys/sim_internal.h"

/* --- userfaultfd ---------------------------------------------------------- */

static int op_uffd_open(struct sys *sys UNUSED, int *fd)
{
	struct sim *sim = sim_now;
	int err = SIM_ENTER(UFFD_OPEN);
	uint8_t index;

	if (!err && !sim_feature(sim, SYS_FEATURE_UFFD))
		err = -ENOSYS;
	if (err)
		return sim_leave(err, 0);
	index = sim_uffd_new(sim, sim->processes[0]);
	sim->uffds[index].is_open = true;
	*fd = SIM_UFFD_FIRST + index;
	return sim_leave(0, (uint64_t)*fd);
}

static void op_uffd_close(struct sys *sys UNUSED, int fd)
{
	SIM_ENTER(UFFD_CLOSE, (uint64_t)fd);
	sim_uffd_release(sim_now, sim_uffd_get(sim_now, fd));
	sim_leave(0, 0);
}

static int op_uffd_register(struct sys *sys UNUSED, int fd, struct span span, uint32_t mode)
{
	int err = SIM_ENTER(UFFD_REGISTER, span.start, span_bytes(span), mode, (uint64_t)fd);

	if (!err)
		err = sim_do_uffd_register(sim_now, sim_uffd_get(sim_now, fd), span, mode);
	return sim_leave(err, 0);
}

static int op_uffd_unregister(struct sys *sys UNUSED, int fd, struct span span)
{
	int err = SIM_ENTER(UFFD_UNREGISTER, span.start, span_bytes(span), (uint64_t)fd);

	if (!err)
		err = sim_do_uffd_unregister(sim_uffd_get(sim_now, fd), span);
	return sim_leave(err, 0);
}

static int op_uffd_move(struct sys *sys UNUSED, int fd, uint64_t dst, uint64_t src,
			uint64_t bytes, uint32_t flags, uint64_t *moved)
{
	int err = SIM_ENTER(UFFD_MOVE, dst, src, bytes, flags);

	*moved = 0;
	if (!err && !sim_feature(sim_now, SYS_FEATURE_MOVE))
		err = -EINVAL;
	if (!err)
		err = sim_do_uffd_move(sim_now, sim_uffd_get(sim_now, fd), dst, src, bytes,
				       flags, moved);
	return sim_leave(err, *moved);
}

static int op_uffd_copy(struct sys *sys UNUSED, int fd, uint64_t dst, uint64_t src,
			uint64_t bytes, uint64_t *copied)
{
	int err = SIM_ENTER(UFFD_COPY, dst, src, bytes, (uint64_t)fd);

	*copied = 0;
	if (!err)
		err = sim_do_uffd_fill(sim_now, sim_uffd_get(sim_now, fd), dst, src, bytes,
				       copied);
	return sim_leave(err, *copied);
}

static int op_uffd_zeropage(struct sys *sys UNUSED, int fd, struct span span, uint64_t *done)
{
	int err = SIM_ENTER(UFFD_ZEROPAGE, span.start, span_bytes(span), (uint64_t)fd);

	*done = 0;
	if (!err)
		err = sim_do_uffd_fill(sim_now, sim_uffd_get(sim_now, fd), span.start, 0,
				       span_bytes(span), done);
	return sim_leave(err, *done);
}

static int op_uffd_wake(struct sys *sys UNUSED, int fd, struct span span)
{
	int err = SIM_ENTER(UFFD_WAKE, span.start, span_bytes(span), (uint64_t)fd);

	if (!err)
		sim_fault_wake(sim_now, sim_uffd_get(sim_now, fd), span);
	return sim_leave(err, 0);
}

static int op_uffd_poison(struct sys *sys UNUSED, int fd, struct span span)
{
	int err = SIM_ENTER(UFFD_POISON, span.start, span_bytes(span), (uint64_t)fd);

	if (!err && !sim_feature(sim_now, SYS_FEATURE_POISON))
		err = -EINVAL;
	if (!err)
		err = sim_do_uffd_poison(sim_now, sim_uffd_get(sim_now, fd), span);
	return sim_leave(err, 0);
}

static int op_uffd_writeprotect(struct sys *sys UNUSED, int fd, struct span span, bool on)
{
	int err = SIM_ENTER(UFFD_WRITEPROTECT, span.start, span_bytes(span), on,
			    (uint64_t)fd);

	if (!err)
		err = sim_do_uffd_writeprotect(sim_now, sim_uffd_get(sim_now, fd), span, on);
	return sim_leave(err, 0);
}

static int op_uffd_read(struct sys *sys UNUSED, int fd, struct sys_event *event)
{
	int err = SIM_ENTER(UFFD_READ, (uint64_t)fd);

	if (!err)
		err = sim_do_uffd_read(sim_now, sim_uffd_get(sim_now, fd), event);
	if (!err)
		event->message[0] = 1;
	return sim_leave(err, err ? 0 : event->type == SYS_EVENT_FAULT ? event->addr :
								       event->span.start);
}

/* Nobody is killed inside of a call here. */
static int op_uffd_salvage(struct sys *sys UNUSED, struct sys_event *event)
{
	return event->message[0] ? 0 : -EAGAIN;
}

static int op_uffd_wait(struct sys *sys UNUSED, int fd, uint64_t timeout_ns)
{
	int err = SIM_ENTER(UFFD_WAIT, (uint64_t)fd, timeout_ns);

	if (!err)
		err = sim_do_uffd_wait(sim_now, fd < 0 ? NULL : sim_uffd_get(sim_now, fd),
				       timeout_ns);
	return sim_leave(err, 0);
}

static void op_uffd_kick(struct sys *sys UNUSED)
{
	SIM_ENTER(UFFD_KICK);
	sim_now->kicked = true;
	sim_wake_uffd_waiters(sim_now);
	sim_leave(0, 0);
}

/* --- looking -------------------------------------------------------------- */

int sim_vma(struct sim *sim UNUSED, struct sim_process *process, uint64_t addr, bool or_next,
	    struct sys_vma *out, uint32_t *mode)
{
	size_t i = sim_vma_index(process, addr);
	const struct sim_vma *vma = &process->vmas[i];

	if (i == process->vma_count || (!or_next && vma->span.start > addr))
		return -ENOENT;
	*out = (struct sys_vma){ .span = vma->span, .prot = vma->prot, .kind = vma->kind };
	if (vma->kind == SYS_VMA_FILE_PRIVATE || vma->kind == SYS_VMA_FILE_SHARED)
		out->inode = vma->mapping; /* no two map the same file */
	*mode = vma->mode;
	return 0;
}

static int op_vma_query(struct sys *sys UNUSED, uint64_t addr, bool or_next,
			struct sys_vma *vma)
{
	int err = SIM_ENTER(VMA_QUERY, addr, or_next);
	uint32_t mode;

	if (!err)
		err = sim_vma(sim_now, sim_now->processes[0], addr, or_next, vma, &mode);
	return sim_leave(err, err ? 0 : vma->span.start);
}

static bool op_is_mlocked(struct sys *sys UNUSED, struct span span)
{
	const struct sim_process *process;
	bool locked = false;

	SIM_ENTER(IS_MLOCKED, span.start, span_bytes(span));
	process = sim_now->processes[0];
	for (size_t i = 0; i < process->vma_count && !locked; i++) {
		const struct sim_vma *vma = &process->vmas[i];

		locked = vma->flags & SIM_VMA_MLOCKED && span_overlaps(vma->span, span);
	}
	sim_leave(0, locked);
	return locked;
}

static uint32_t scan_flags(const struct sim *sim, uint32_t flags)
{
	uint32_t out = flags & (SIM_PAGE_CONTENTS | SYS_PAGE_HUGE | SYS_PAGE_ZERO);

	/* Markers look like swap. */
	if (flags && !(flags & SIM_PAGE_CONTENTS))
		out |= SYS_PAGE_SWAPPED;
	if (!sim_feature(sim, SYS_FEATURE_PAGEMAP_SCAN))
		return out & ~(uint32_t)(SYS_PAGE_ZERO | SYS_PAGE_HUGE);
	out |= flags & SYS_PAGE_GUARD;
	if (out && !(flags & SIM_PAGE_WP))
		out |= SYS_PAGE_WRITTEN;
	return out;
}

static size_t scan(struct sim *sim, struct span span, struct sys_page_run *runs, size_t max,
		   uint64_t *end)
{
	struct sim_process *process = sim->processes[0];
	size_t n = 0;

	*end = span.end;
	span = span_intersect(span, sim->window);
	SIM_FOR_PAGES(addr, span) {
		const uint16_t *page = sim_flags(process, addr);
		uint32_t flags;

		if (!page) {
			addr = span_block(addr, HUGE_BYTES).end - PAGE_BYTES;
			continue;
		}
		flags = scan_flags(sim, *page);
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
	return n;
}

static int op_page_scan(struct sys *sys UNUSED, struct span span, struct sys_page_run *runs,
			size_t max, size_t *count, uint64_t *end)
{
	int err = SIM_ENTER(PAGE_SCAN, span.start, span_bytes(span));

	if (!err)
		*count = scan(sim_now, span, runs, max, end);
	return sim_leave(err, err ? 0 : *count);
}

/* The library is not in the simulated memory; a test may say otherwise. */
static int op_exclusions(struct sys *sys UNUSED, struct span *spans, size_t max,
			 size_t *count)
{
	int err = SIM_ENTER(EXCLUSIONS);

	if (!err)
		*count = sim_now->exclusion_count;
	for (size_t i = 0; !err && i < MIN(max, *count); i++)
		spans[i] = sim_now->exclusions[i];
	return sim_leave(err, 0);
}

static int op_madvise_in_flight(struct sys *sys UNUSED, bool *busy)
{
	int err = SIM_ENTER(MADVISE_IN_FLIGHT);

	if (!err)
		*busy = sim_now->madvise_count ||
			(sim_now->outside && sim_remove_pends(sim_now));
	return sim_leave(err, err ? 0 : *busy);
}

/* A thread that waits for the reader of one message of its call will take all away. */
static bool takes_away(const struct sim_event *event, struct span place, uint64_t except)
{
	for (; event; event = event->next) {
		if ((event->event.type == SYS_EVENT_UNMAP ||
		     event->event.type == SYS_EVENT_REMAP) &&
		    event->event.span.start != except &&
		    span_overlaps(event->event.span, place))
			return true;
	}
	return false;
}

static int op_unmap_in_flight(struct sys *sys UNUSED, struct span place, uint64_t except,
			      bool *found)
{
	struct sim *sim = sim_now;
	int err = SIM_ENTER(UNMAP_IN_FLIGHT, place.start, span_bytes(place), except);

	*found = false;
	for (uint32_t i = 1; i < sim->uffd_count && !err; i++) {
		if (!sim->uffds[i].process)
			continue;
		LIST_FOR_EACH(node, &sim->uffds[i].events)
			*found |= takes_away(LIST_ENTRY(node, struct sim_event, link), place,
					     except);
	}
	return sim_leave(err, *found);
}

/* Programs have no system call that touches memory; a test may say otherwise. */
static int op_thread_in_call(struct sys *sys UNUSED, uint32_t thread_id, bool *in_call)
{
	int err = SIM_ENTER(THREAD_IN_CALL, thread_id);

	if (!err)
		*in_call = sim_now->touches_in_call;
	return sim_leave(err, err ? 0 : *in_call);
}

static int op_wiped_on_fork(struct sys *sys UNUSED, struct span *spans, size_t max,
			    size_t *count)
{
	const struct sim_process *process = sim_now->processes[0];
	int err = SIM_ENTER(WIPED_ON_FORK);

	if (err)
		return sim_leave(err, 0);
	*count = 0;
	for (size_t i = 0; i < process->vma_count; i++) {
		if (!(process->vmas[i].flags & SIM_VMA_WIPEONFORK))
			continue;
		if (*count < max)
			spans[*count] = process->vmas[i].span;
		(*count)++;
	}
	return sim_leave(0, *count);
}

/* --- memory of the library's own ------------------------------------------ */

static int op_map(struct sys *sys UNUSED, uint64_t bytes, uint64_t align, uint64_t hint,
		  uint64_t *addr)
{
	struct sim_process *process = sim_now->processes[0];
	int err = SIM_ENTER(MAP, bytes, align, hint);
	struct sim_call call = { 0 };
	struct span span;

	if (err)
		return sim_leave(err, 0);
	*addr = sim_find_gap(process, bytes, align, true, 0);
	if (!*addr)
		return sim_leave(-ENOMEM, 0);
	span = span_make(*addr, bytes);
	err = sim_do_mmap(process, span, SYS_VMA_ANON_PRIVATE,
			  SYS_PROT_READ | SYS_PROT_WRITE, &call);
	if (!err)
		err = sim_vma_set_flags(process, span, SIM_VMA_DONTFORK | SIM_VMA_DONTDUMP, 0);
	return sim_leave(err, *addr);
}

static void op_unmap(struct sys *sys UNUSED, uint64_t addr, uint64_t bytes)
{
	struct sim_call call = { 0 };

	SIM_ENTER(UNMAP, addr, bytes);
	SIM_MUST(!sim_do_munmap(sim_now->processes[0], span_make(addr, bytes), &call));
	sim_call_wait(sim_now, &call);
	sim_leave(0, 0);
}

/* The program cannot be shown it: pages of the simulated kernel have no bytes of their own. */
static int op_shared_map(struct sys *sys UNUSED, uint64_t bytes, uint64_t align, uint64_t *addr,
			 int *file)
{
	int err = SIM_ENTER(SHARED_MAP, bytes, align);

	if (file)
		*file = -1;
	if (!err)
		*addr = (uintptr_t)sim_pages_take(sim_now, bytes);
	return sim_leave(err, err ? 0 : *addr);
}

static void op_shared_unmap(struct sys *sys UNUSED, uint64_t addr, uint64_t bytes,
			    int file UNUSED)
{
	SIM_ENTER(SHARED_UNMAP, addr, bytes);
	sim_pages_free((void *)(uintptr_t)addr, bytes);
	sim_leave(0, 0);
}

/* Who looks there sees that it should not have. */
#define DISCARDED 0xdb

static void op_shared_discard(struct sys *sys UNUSED, uint64_t addr, uint64_t bytes,
			      int file UNUSED)
{
	memset((void *)(uintptr_t)addr, DISCARDED, bytes);
}

static int op_shared_show(struct sys *sys UNUSED, struct span part, uint64_t at,
			  uint32_t prot UNUSED, uint64_t *addr UNUSED)
{
	int err = SIM_ENTER(SHARED_SHOW, part.start, span_bytes(part), at);

	return sim_leave(err ? err : -EOPNOTSUPP, 0);
}

enum sim_advice sim_advice_of(enum sys_advice advice)
{
	static const enum sim_advice advices[] = {
		[SYS_ADVICE_HUGEPAGE] = SIM_ADVICE_HUGEPAGE,
		[SYS_ADVICE_NOHUGEPAGE] = SIM_ADVICE_NOHUGEPAGE,
		[SYS_ADVICE_DONTFORK] = SIM_ADVICE_DONTFORK,
		[SYS_ADVICE_DOFORK] = SIM_ADVICE_DOFORK,
		[SYS_ADVICE_DONTDUMP] = SIM_ADVICE_DONTDUMP,
		[SYS_ADVICE_DONTNEED] = SIM_ADVICE_DONTNEED,
		[SYS_ADVICE_POPULATE_WRITE] = SIM_ADVICE_POPULATE_WRITE,
		[SYS_ADVICE_COLLAPSE] = SIM_ADVICE_COLLAPSE,
	};

	return advices[advice];
}

static int op_advise(struct sys *sys UNUSED, struct span span, enum sys_advice advice)
{
	int err = SIM_ENTER(ADVISE, span.start, span_bytes(span), advice);

	if (!err)
		err = sim_do_madvise(sim_now->processes[0], span, sim_advice_of(advice));
	return sim_leave(err, 0);
}

static int op_empty(struct sys *sys UNUSED, struct span span)
{
	int err = SIM_ENTER(EMPTY, span.start, span_bytes(span));

	if (!err && !sim_feature(sim_now, SYS_FEATURE_GUARD))
		err = -EOPNOTSUPP;
	if (!err)
		err = sim_do_madvise(sim_now->processes[0], span, SIM_ADVICE_GUARD_INSTALL);
	if (!err)
		err = sim_do_madvise(sim_now->processes[0], span, SIM_ADVICE_GUARD_REMOVE);
	return sim_leave(err, 0);
}

static void *op_pointer(struct sys *sys UNUSED, uint64_t addr, uint64_t bytes)
{
	struct sim *sim = sim_now;
	uint64_t arena = sim->config.arena_start;
	int err = SIM_ENTER(POINTER, addr, bytes);

	SIM_MUST(addr >= arena && addr + bytes <= sim->window.end && bytes);
	for (uint64_t at = ALIGN_DOWN(addr, HUGE_BYTES); !err && at < addr + bytes;
	     at += HUGE_BYTES)
		sim_block_get(sim->processes[0], at)->exposed = true;
	sim_leave(err, 0);
	return err ? NULL : sim->arena + (addr - arena);
}

static int op_access(struct sys *sys UNUSED, enum sys_access_op op, uint64_t addr,
		     void *buffer, uint32_t bytes)
{
	int err = SIM_ENTER(ACCESS, op, addr, bytes);

	if (!err)
		err = sim_do_access(sim_now, op, addr, buffer, bytes);
	return sim_leave(err, 0);
}

/* --- threads and time ----------------------------------------------------- */

static int op_thread_create(struct sys *sys UNUSED, const struct sys_thread_attr *attr,
			    struct sys_thread **out)
{
	struct sim *sim = sim_now;
	int err = SIM_ENTER(THREAD_CREATE);
	struct sim_thread *thread;

	if (err)
		return sim_leave(err, 0);
	SIM_MUST(!(attr->flags & SYS_THREAD_SHARE_FILES) || sim->current->has_files);
	thread = sim_thread_new(sim, sim->processes[0], attr->name, attr->run, attr->arg);
	thread->base.is_library = true;
	thread->base.is_monitor = attr->flags & SYS_THREAD_MONITOR;
	thread->has_files = attr->flags & (SYS_THREAD_OWN_FILES | SYS_THREAD_SHARE_FILES);
	*out = (struct sys_thread *)thread;
	return sim_leave(0, thread->number);
}

static void op_thread_join(struct sys *sys UNUSED, struct sys_thread *thread)
{
	SIM_ENTER(THREAD_JOIN, ((struct sim_thread *)thread)->number);
	sim_do_join(sim_now, (struct sim_thread *)thread);
	sim_leave(0, 0);
}

static uint32_t op_thread_id(struct sys *sys UNUSED)
{
	SIM_ENTER(THREAD_ID);
	sim_leave(0, 0);
	return sim_caller_id(sim_now);
}

static void op_thread_kick(struct sys *sys UNUSED, uint32_t thread_id)
{
	struct sim *sim = sim_now;
	struct sim_thread *thread;

	SIM_ENTER(THREAD_KICK, thread_id);
	thread = thread_id >= 1000 ? sim_thread_get(sim, thread_id - 1000) : NULL;
	if (thread && thread->state != SIM_THREAD_ENDED) {
		thread->kicked = true;
		if (thread->fault && thread->op == SIM_OP_ACCESS)
			sim_fault_end(sim, thread->fault);
	}
	LIST_FOR_EACH_SAFE(node, &sim->faults) {
		struct sim_fault *fault = LIST_ENTRY(node, struct sim_fault, link);

		if (sim->outside && fault->thread_id == thread_id) {
			sim->kicked_thread = thread_id;
			sim_fault_end(sim, fault);
			sim->outside->changed(sim->outside->arg);
		}
	}
	sim_leave(0, 0);
}

static uint64_t op_clock_ns(struct sys *sys UNUSED)
{
	uint64_t now;

	SIM_ENTER(CLOCK_NS);
	if (sim_now->outside)
		sim_now->clock_ns += 1000; /* nothing else makes it go */
	now = sim_now->clock_ns;
	sim_leave(0, 0);
	return now;
}

static void op_barrier(struct sys *sys UNUSED)
{
	SIM_ENTER(BARRIER);
	sim_leave(0, 0);
}

/* A program that is killed ends whole here. */
static int op_keeper_start(struct sys *sys UNUSED, void (*run)(void *arg) UNUSED,
			   void *arg UNUSED, struct sys_keeper **keeper UNUSED)
{
	return -EOPNOTSUPP;
}

static void op_keeper_stop(struct sys *sys UNUSED, struct sys_keeper *keeper UNUSED)
{
}

static int op_fork_hooks(struct sys *sys UNUSED, const struct sys_fork_hooks *hooks)
{
	int err = SIM_ENTER(FORK_HOOKS);

	if (!err)
		sim_now->hooks = *hooks;
	return sim_leave(err, 0);
}

static bool op_is_forked(struct sys *sys UNUSED)
{
	SIM_ENTER(IS_FORKED);
	sim_leave(0, 0);
	return sim_caller(sim_now)->number != 0;
}

static int op_check_signal_handlers(struct sys *sys UNUSED)
{
	return sim_leave(SIM_ENTER(CHECK_SIGNAL_HANDLERS), 0);
}

const struct sys_ops sim_ops = {
	.name = "sim",
	.uffd_open = op_uffd_open,
	.uffd_close = op_uffd_close,
	.uffd_register = op_uffd_register,
	.uffd_unregister = op_uffd_unregister,
	.uffd_move = op_uffd_move,
	.uffd_copy = op_uffd_copy,
	.uffd_zeropage = op_uffd_zeropage,
	.uffd_wake = op_uffd_wake,
	.uffd_poison = op_uffd_poison,
	.uffd_writeprotect = op_uffd_writeprotect,
	.uffd_read = op_uffd_read,
	.uffd_salvage = op_uffd_salvage,
	.uffd_wait = op_uffd_wait,
	.uffd_kick = op_uffd_kick,
	.vma_query = op_vma_query,
	.is_mlocked = op_is_mlocked,
	.page_scan = op_page_scan,
	.exclusions = op_exclusions,
	.madvise_in_flight = op_madvise_in_flight,
	.unmap_in_flight = op_unmap_in_flight,
	.thread_in_call = op_thread_in_call,
	.wiped_on_fork = op_wiped_on_fork,
	.map = op_map,
	.unmap = op_unmap,
	.advise = op_advise,
	.empty = op_empty,
	.pointer = op_pointer,
	.shared_map = op_shared_map,
	.shared_unmap = op_shared_unmap,
	.shared_discard = op_shared_discard,
	.shared_show = op_shared_show,
	.access = op_access,
	.thread_create = op_thread_create,
	.thread_join = op_thread_join,
	.keeper_start = op_keeper_start,
	.keeper_stop = op_keeper_stop,
	.thread_id = op_thread_id,
	.thread_kick = op_thread_kick,
	.clock_ns = op_clock_ns,
	.barrier = op_barrier,
	.fork_hooks = op_fork_hooks,
	.is_forked = op_is_forked,
	.check_signal_handlers = op_check_signal_handlers,
};
