/* SPDX-License-Identifier: MIT */
/*
 * DOC: Life of the mm
 *
 * The threads are made before anything is registered: making one touches the
 * program's heap. The monitor comes first, with a file table of its own; it opens
 * the userfaultfd there and makes the workers, which share its table. They end in
 * the other order: workers, when nothing is left to do; the collector; then the
 * monitor, which never ends while an entry exists.
 *
 *     stopping: 0 -> 1 workers end -> 2 the collector ends, kicks -> 3 the monitor
 */
#include "mm/mm_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "mm/call.h"

int mm_reserve(struct mm *mm, size_t nodes)
{
	return nodes ? pool_reserve(&mm->node_pool, nodes) : 0;
}

void mm_lock(struct mm *mm)
{
	lock_acquire(&mm->event_lock);
	mm->nodes_taken = 0;
}

void mm_unlock(struct mm *mm, size_t nodes)
{
	uint64_t taken = mm->nodes_taken;

	ASSERT(taken <= nodes);
	lock_release(&mm->event_lock);
	if (nodes > taken)
		pool_unreserve(&mm->node_pool, nodes - taken);
}

/* Bring the monitor's nodes up to MM_MONITOR_NODES. Context: [worker]. */
int mm_refill(struct mm *mm)
{
	uint64_t have = ATOMIC_LOAD(&mm->monitor_nodes);
	uint64_t lacking = MM_MONITOR_NODES - MIN(have, (uint64_t)MM_MONITOR_NODES);
	int err = mm_reserve(mm, lacking);

	if (!err)
		ATOMIC_ADD(&mm->monitor_nodes, lacking);
	return err;
}

void mm_refill_run(struct mm_work *work)
{
	/* Without memory it is tried again when the monitor asks again. */
	if (mm_refill(CONTAINER_OF(work, struct mm, refill_work)))
		base_host->cpu_yield();
}

void *mm_node_take(struct mm *mm)
{
	mm->nodes_taken++;
	return pool_take(&mm->node_pool);
}

void mm_node_put(struct mm *mm, void *node)
{
	pool_put(&mm->node_pool, node);
}

static const char *why_not(const struct sys *sys)
{
	if (!sys_has(sys, SYS_FEATURE_UFFD))
		return "no userfaultfd for this process (rights, or the kernel)";
	if (!sys_has(sys, SYS_FEATURE_MOVE))
		return "the kernel has no UFFDIO_MOVE (Linux 6.8)";
	return NULL;
}

static void init_tables(struct mm *mm)
{
	lock_init(&mm->event_lock, LOCK_MM_EVENT, "mm.event_lock");
	lock_init(&mm->exclusion_lock, LOCK_MM_EXCLUSION, "mm.exclusion_lock");
	interval_tree_init(&mm->entries);
	interval_tree_init(&mm->notifiers);
	interval_tree_init(&mm->registrations);
	interval_tree_init(&mm->left);
	interval_tree_init(&mm->displaced);
	interval_tree_init(&mm->quarantine);
	list_init(&mm->quiesce);
	list_init(&mm->timers);
	mm->due_ns = BASE_FOREVER;
	wait_init(&mm->moving_wait);
	wait_init(&mm->event_wait);
	wait_init(&mm->start_wait);
	pool_init(&mm->node_pool, sizeof(union mm_node), "mm.nodes");
	mm_work_list_init(&mm->work, "mm.work");
	mm_work_list_init(&mm->request, "mm.request");
	mm_work_list_init(&mm->collect, "mm.collect");
	mm_work_init(&mm->child_work, mm_fork_close_children);
	wait_init(&mm->children_closed);
	mm_work_init(&mm->refill_work, mm_refill_run);
	mm_work_init(&mm->idle_work, mm_idle_run);
}

static size_t pages_of(size_t bytes)
{
	return ALIGN_UP(bytes, PAGE_BYTES);
}

static void mm_free(struct mm *mm)
{
	if (mm->push)
		base_host->pages_free(mm->push, pages_of(mm_push_bytes()));
	if (mm->calls)
		base_host->pages_free(mm->calls, pages_of(sizeof(*mm->calls)));
	if (mm->push_buffer)
		mm->sys->ops->unmap(mm->sys, mm->push_buffer, MM_PUSH_BYTES);
	trace_ring_destroy(mm->trace);
	pool_fini(&mm->node_pool);
	base_host->pages_free(mm, pages_of(sizeof(*mm)));
}

static int mm_alloc(struct sys *sys, const struct mm_config *config, struct mm **out)
{
	struct mm *mm = base_host->pages_alloc(pages_of(sizeof(*mm)));
	int err;

	if (!mm)
		return -ENOMEM;
	mm->sys = sys;
	mm->config = *config;
	mm->uffd = -1;
	mm->reading.uffd = -1;
	mm->why_not = why_not(sys);
	init_tables(mm);
	mm->calls = base_host->pages_alloc(pages_of(sizeof(*mm->calls)));
	mm->push = base_host->pages_alloc(pages_of(mm_push_bytes()));
	err = mm->calls && mm->push ? 0 : -ENOMEM;
	if (!err)
		err = sys->ops->map(sys, MM_PUSH_BYTES, PAGE_BYTES, 0, &mm->push_buffer);
	if (err) {
		mm_free(mm);
		return err;
	}
	*out = mm;
	return 0;
}

/* On a worker: what needs the userfaultfd. */
static int open_arena(void *argument)
{
	struct mm *mm = *(struct mm **)argument;
	uint8_t *page;
	int err;

	if (mm->why_not)
		return 0;
	err = mm_refill(mm);
	if (err)
		return err;
	err = mm_arena_create(mm, HUGE_BYTES, &mm->fence_page);
	if (err)
		return err;
	page = mm->sys->ops->pointer(mm->sys, mm->fence_page, PAGE_BYTES);
	if (page)
		*(volatile uint8_t *)page = 1; /* present from now on */
	mm_zeros_create(mm);
	return 0;
}

static int close_arena(void *argument)
{
	struct mm *mm = *(struct mm **)argument;

	if (mm->fence_page)
		mm_arena_destroy(mm, mm->fence_page, HUGE_BYTES);
	mm->fence_page = 0;
	return 0;
}

/* The monitor's last act: nobody brings it more, for the collector has ended. */
void mm_monitor_release(struct mm *mm)
{
	uint64_t nodes = ATOMIC_EXCHANGE(&mm->monitor_nodes, 0);

	if (nodes)
		pool_unreserve(&mm->node_pool, nodes);
	mm_zeros_destroy(mm);
	if (mm->uffd >= 0)
		mm->sys->ops->uffd_close(mm->sys, mm->uffd);
	mm->uffd = -1;
}

static void join(struct mm *mm, struct sys_thread **threads, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (threads[i])
			mm->sys->ops->thread_join(mm->sys, threads[i]);
	}
}

static void stop_threads(struct mm *mm)
{
	ATOMIC_STORE(&mm->stopping, 1);
	wait_wake_all(&mm->work.wait);
	wait_wake_all(&mm->request.wait);
	join(mm, mm->workers, mm->config.worker_count);
	join(mm, mm->callers, MM_CALLERS);
	ATOMIC_STORE(&mm->stopping, 2);
	wait_wake_all(&mm->collect.wait);
	if (mm->collector)
		mm->sys->ops->thread_join(mm->sys, mm->collector);
	if (mm->monitor)
		mm->sys->ops->thread_join(mm->sys, mm->monitor);
	else if (mm->config.no_threads)
		mm_monitor_release(mm);
}

static int start_threads(struct mm *mm)
{
	const struct sys_thread_attr attr = {
		.name = "usvm-monitor",
		.run = mm_monitor_run,
		.arg = mm,
		.flags = SYS_THREAD_OWN_FILES | SYS_THREAD_MONITOR,
	};
	int err;

	if (mm->config.no_threads)
		return mm->why_not ? 0 : mm->sys->ops->uffd_open(mm->sys, &mm->uffd);
	err = mm->sys->ops->thread_create(mm->sys, &attr, &mm->monitor);
	if (err)
		return err;
	for (;;) {
		uint32_t ticket = wait_ticket(&mm->start_wait);

		if (ATOMIC_LOAD(&mm->started))
			return mm->start_error;
		wait_sleep(&mm->start_wait, ticket, BASE_FOREVER);
	}
}

int mm_create(struct sys *sys, const struct mm_config *config, struct mm **out)
{
	struct mm *mm;
	int err;

	ASSERT(config->worker_count >= 1 && config->worker_count <= ARRAY_SIZE(mm->workers));
	err = mm_alloc(sys, config, &mm);
	if (err)
		return err;
	err = start_threads(mm);
	if (err)
		goto stop;
	err = mm_call(mm, open_arena, &mm, sizeof(mm));
	if (err)
		goto stop;
	err = mm_fork_init(mm);
	if (err)
		goto close;
	*out = mm;
	return 0;

close:
	mm_call(mm, close_arena, &mm, sizeof(mm));
stop:
	stop_threads(mm);
	mm_free(mm);
	return err;
}

static int assert_idle(void *argument)
{
	struct mm *mm = *(struct mm **)argument;

	mm_lock(mm);
	ASSERT(mm->entry_pages == 0);
	ASSERT(!mm->notifiers.root);
	ASSERT(list_is_empty(&mm->quiesce));
	ASSERT(list_is_empty(&mm->timers));
	mm->ending = true;
	mm_vma_inherit(mm);
	mm_registration_forget(mm, (struct span){ 0, UINT64_MAX });
	mm_left_forget(mm);
	mm_unlock(mm, 0);
	mm_quarantine_fini(mm);
	return 0;
}

void mm_destroy(struct mm *mm)
{
	if (!mm)
		return;
	mm_fork_fini(mm);
	mm_call(mm, assert_idle, &mm, sizeof(mm));
	mm_call(mm, close_arena, &mm, sizeof(mm));
	stop_threads(mm);
	mm_free(mm);
}

struct sys *mm_sys(const struct mm *mm)
{
	return mm->sys;
}

bool mm_can_migrate(const struct mm *mm, const char **why)
{
	if (why)
		*why = mm->why_not;
	return !mm->why_not;
}

struct lock *mm_event_lock(struct mm *mm)
{
	return &mm->event_lock;
}

void mm_stats_read(struct mm *mm, struct mm_stats *stats)
{
	/* Counters are written under event_lock, which a program's thread may not take:
	 * each is read whole, all of them not at one time. */
	const uint64_t *from = (const uint64_t *)&mm->stats;
	uint64_t *to = (uint64_t *)stats;

	for (size_t i = 0; i < sizeof(*stats) / sizeof(uint64_t); i++)
		to[i] = ATOMIC_LOAD_RELAXED(&from[i]);
}

void mm_count_origins(struct mm *mm)
{
	ATOMIC_STORE(&mm->counts_origins, true);
}

void mm_mark_entries(struct mm *mm)
{
	/* Without either a mark cannot be told from a hole. */
	if (!mm->why_not && sys_has(mm->sys, SYS_FEATURE_WP_ASYNC | SYS_FEATURE_PAGEMAP_SCAN))
		ATOMIC_STORE(&mm->marks_entries, true);
}

int mm_trace_open(struct mm *mm, size_t event_count, struct trace_ring **out)
{
	struct trace_ring *ring = ATOMIC_LOAD_ACQUIRE(&mm->trace);
	int err = 0;

	if (!ring)
		err = trace_ring_create(event_count, &ring);
	if (err)
		return err;
	ATOMIC_STORE_RELEASE(&mm->trace, ring);
	*out = ring;
	return 0;
}

uint64_t mm_trace_start(struct mm *mm)
{
	return ATOMIC_LOAD_RELAXED(&mm->trace) ? mm->sys->ops->clock_ns(mm->sys) : 0;
}

void mm_trace(struct mm *mm, enum trace_type type, uint64_t addr, uint64_t bytes,
	      uint64_t arg, uint64_t start_ns)
{
	struct trace_ring *ring = ATOMIC_LOAD_ACQUIRE(&mm->trace);
	struct trace_event event;

	mm_probe(type, addr, bytes, arg);
	if (!ring)
		return;
	event = (struct trace_event){
		.time_ns = mm->sys->ops->clock_ns(mm->sys),
		.addr = addr,
		.bytes = bytes,
		.arg = arg,
		.type = type,
		.thread = mm->sys->ops->thread_id(mm->sys),
	};
	if (start_ns)
		event.duration_ns = event.time_ns - start_ns;
	trace_ring_write(ring, &event);
}

void mm_check(struct mm *mm)
{
	mm_lock(mm);
	mm_entry_check(mm);
	interval_tree_check(&mm->notifiers);
	interval_tree_check(&mm->registrations);
	interval_tree_check(&mm->left);
	interval_tree_check(&mm->quarantine);
	mm_unlock(mm, 0);
}
