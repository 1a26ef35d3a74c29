/* SPDX-License-Identifier: MIT */
/*
 * DOC: Queues
 *
 * A queue has a line of jobs. The first starts when every fence that it waits for is over;
 * none overtakes another. A queue of jobs has a lane of the GPU for each batch of an exec;
 * jobs that were handed to it are in order there. A queue of binds is served by a worker,
 * one job at a time.
 *
 * Destroying a queue ends what runs and cancels what waits: when xe_queue_kill() returns no
 * job knows the queue any more. A failed job bans its queue.
 *
 * Upstream: xe_exec_queue.c; the engine's class is checked and nothing else: any engine of
 * the model runs any command.
 */
#include "xe/xe_internal.h"

#include <errno.h>

#include "base/host.h"

#define TIMESLICE_US_MAX 10000000u
#define PRIORITY_MAX 2u

struct lanes_args {
	struct gpu *gpu;
	struct xe_queue *queue;
};

static int destroy_lanes(void *argument)
{
	struct lanes_args *a = argument;

	for (uint32_t i = 0; i < a->queue->width; i++) {
		gpu_queue_destroy(a->queue->lanes[i]);
		a->queue->lanes[i] = NULL;
	}
	return 0;
}

static int create_lanes(void *argument)
{
	struct lanes_args *a = argument;
	int err = 0;

	for (uint32_t i = 0; i < a->queue->width && !err; i++)
		err = gpu_queue_create(a->gpu, vm_id(a->queue->vm->vm), &a->queue->lanes[i]);
	if (err)
		destroy_lanes(a);
	return err;
}

static void free_queue(struct xe_queue *queue)
{
	struct xe_vm *vm = queue->vm;

	xe_client_put(queue->client);
	xe_free(queue->card, queue, sizeof(*queue));
	xe_object_put(&vm->object);
}

/* The last to know it may be a job's callback, on an engine, which may not destroy a vm. */
static void destroy(struct xe_object *object)
{
	struct xe_queue *queue = xe_queue_of(object);
	struct xe_card *card = queue->card;

	if (queue->is_own) {
		xe_free(card, queue, sizeof(*queue));
	} else if (base_host->self()->is_library) {
		queue->next_dead = ATOMIC_LOAD_RELAXED(&card->dead_queues);
		while (!ATOMIC_COMPARE_EXCHANGE(&card->dead_queues, &queue->next_dead, queue))
			;
	} else {
		free_queue(queue);
	}
}

void xe_queues_bury(struct xe_card *card)
{
	struct xe_queue *queue = ATOMIC_EXCHANGE(&card->dead_queues, NULL);

	while (queue) {
		struct xe_queue *next = queue->next_dead;

		free_queue(queue);
		queue = next;
	}
}

int xe_queue_make(struct xe_card *card, struct xe_vm *vm, uint16_t engine_class, uint16_t width,
		  struct xe_queue **out)
{
	struct xe_queue *queue = xe_alloc(card, sizeof(*queue));
	struct lanes_args a = { card->gpu, queue };
	int err;

	if (!queue)
		return -ENOMEM;
	queue->object.references = 1;
	queue->object.destroy = destroy;
	queue->card = card;
	queue->vm = vm;
	queue->is_bind = engine_class == XE_ENGINE_VM_BIND;
	queue->engine_class = engine_class;
	queue->width = queue->is_bind ? 0 : width;
	lock_init(&queue->lock, LOCK_API_DEVICE, "xe_queue.lock");
	list_init(&queue->pending);
	err = queue->is_bind ? 0 : mm_call(card->mm, create_lanes, &a, sizeof(a));
	if (err) {
		xe_free(card, queue, sizeof(*queue));
		return err;
	}
	if (!queue->is_bind)
		queue->client = xe_client_get(vm->file->client);
	*out = queue;
	return 0;
}

void xe_queue_pump(struct xe_queue *queue)
{
	for (;;) {
		struct xe_job *job = NULL;
		int err = 0;

		lock_acquire(&queue->lock);
		if (!list_is_empty(&queue->pending) && !queue->bind_runs) {
			job = LIST_ENTRY(queue->pending.next, struct xe_job, node);
			if (ATOMIC_LOAD(&job->waits))
				job = NULL;
		}
		if (job) {
			list_remove(&job->node);
			queue->bind_runs = queue->is_bind;
			/* Under the lock: the lanes get jobs in their order. */
			err = xe_job_start(job);
		}
		lock_release(&queue->lock);
		if (!job)
			return;
		if (err)
			xe_job_finish(job, err);
	}
}

/* What runs now is over soon: it waits for nothing any more. Put in the line behind it, a bind
 * could not tell its caller what became of it. */
bool xe_queue_bind_begin(struct xe_queue *queue)
{
	for (;;) {
		uint32_t ticket = wait_ticket(&queue->card->changed);
		bool runs, waits;

		lock_acquire(&queue->lock);
		runs = queue->bind_runs;
		waits = !list_is_empty(&queue->pending);
		if (!runs && !waits)
			queue->bind_runs = true;
		lock_release(&queue->lock);
		if (!runs || waits)
			return !waits;
		wait_sleep(&queue->card->changed, ticket, BASE_FOREVER);
	}
}

void xe_queue_bind_over(struct xe_queue *queue)
{
	lock_acquire(&queue->lock);
	queue->bind_runs = false;
	lock_release(&queue->lock);
	xe_queue_pump(queue);
	wait_wake_all(&queue->card->changed);
}

void xe_queue_cancel(struct xe_queue *queue)
{
	struct list canceled;
	struct list *node;

	list_init(&canceled);
	lock_acquire(&queue->lock);
	list_splice_back(&canceled, &queue->pending);
	lock_release(&queue->lock);
	while ((node = list_pop_front(&canceled)))
		xe_job_finish(LIST_ENTRY(node, struct xe_job, node), -ECANCELED);
}

void xe_queue_kill(struct xe_queue *queue)
{
	struct xe_card *card = queue->card;
	struct lanes_args a = { card->gpu, queue };

	if (!queue->is_bind && !ATOMIC_LOAD(&queue->killed))
		ATOMIC_SUB(&queue->vm->queues, 1);
	lock_acquire(&queue->lock);
	ATOMIC_STORE(&queue->killed, 1);
	ATOMIC_STORE(&queue->banned, 1);
	lock_release(&queue->lock);
	xe_queue_cancel(queue);
	if (!queue->is_bind)
		mm_call(card->mm, destroy_lanes, &a, sizeof(a));
	for (;;) {
		uint32_t ticket = wait_ticket(&card->changed);
		bool runs;

		lock_acquire(&queue->lock);
		runs = queue->bind_runs;
		lock_release(&queue->lock);
		if (!runs)
			return;
		wait_sleep(&card->changed, ticket, BASE_FOREVER);
	}
}

/* --- ioctls ------------------------------------------------------------------------ */

/* What a queue's extensions ask for. */
struct wanted {
	bool is_primary;  /* of a group of its own */
	bool is_member;
	uint32_t primary; /* of this one's group */
	bool has_priority;
};

/* Queues in groups share an engine's context; here each runs as any other, and only the
 * bookkeeping is the driver's. */
static int set_group(struct wanted *w, uint64_t value)
{
	if (w->is_primary || w->is_member)
		return -EINVAL;
	if (value & XE_MULTI_GROUP_CREATE) {
		w->is_primary = true;
		return value == XE_MULTI_GROUP_CREATE ? 0 : -EINVAL;
	}
	w->is_member = true;
	w->primary = (uint32_t)value;
	return value >> 32 ? -EINVAL : 0;
}

static int set_property(const struct xe_profile *profile, struct wanted *w, uint32_t property,
			uint64_t value)
{
	switch (property) {
	case XE_QUEUE_PRIORITY:
		return value > PRIORITY_MAX ? -EINVAL : 0;
	case XE_QUEUE_TIMESLICE:
		return !value || value > TIMESLICE_US_MAX ? -EINVAL : 0;
	case XE_QUEUE_PXP_TYPE:
		return value ? -ENODEV : 0;
	case XE_QUEUE_MULTI_GROUP:
		return profile->has_multi_queue ? set_group(w, value) : -ENODEV;
	case XE_QUEUE_MULTI_QUEUE_PRIORITY:
		w->has_priority = true;
		return profile->has_multi_queue && value <= PRIORITY_MAX ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

static int apply_extensions(struct xe_file *file, struct wanted *w, uint64_t next)
{
	for (int i = 0; next; i++) {
		struct xe_extension_property p;
		int err;

		if (i == XE_EXTENSIONS_MAX)
			return -E2BIG;
		err = xe_copy_in(file->card, &p, next, sizeof(p));
		if (err)
			return err;
		if (p.base.pad || p.base.name || p.pad || p.reserved[0] || p.reserved[1])
			return -EINVAL;
		err = set_property(file->card->profile, w, p.property, p.value);
		if (err)
			return err;
		next = p.base.next;
	}
	return 0;
}

static bool has_engine(const struct xe_profile *profile, const struct xe_engine_instance *e)
{
	for (uint32_t i = 0; i < profile->engine_count; i++) {
		const struct xe_engine_instance *have = &profile->engines[i];

		if (have->engine_class == e->engine_class && have->instance == e->instance &&
		    have->gt == e->gt)
			return true;
	}
	return false;
}

/* All engines of an exec are of one class; *@first. */
static int check_engines(struct xe_file *file, const struct xe_exec_queue_create *args,
			 struct xe_engine_instance *first)
{
	uint32_t count = (uint32_t)args->width * args->placement_count;

	for (uint32_t i = 0; i < count; i++) {
		struct xe_engine_instance e;
		int err;

		err = xe_copy_in(file->card, &e, args->instances + i * sizeof(e), sizeof(e));
		if (err)
			return err;
		if (e.pad)
			return -EINVAL;
		if (!i)
			*first = e;
		if (e.engine_class != first->engine_class || e.gt != first->gt)
			return -EINVAL;
		if (e.engine_class == XE_ENGINE_VM_BIND) {
			if (count != 1 || args->flags)
				return -EINVAL;
		} else if (!has_engine(file->card->profile, &e)) {
			return -EINVAL;
		}
	}
	return 0;
}

/* Is the group that is asked for one that may be? */
static int check_group(struct xe_file *file, const struct wanted *w,
		       const struct xe_exec_queue_create *args,
		       const struct xe_engine_instance *engine)
{
	struct xe_object *object;
	const struct xe_queue *primary;
	int err = 0;

	if (!w->is_primary && !w->is_member)
		return w->has_priority ? -EINVAL : 0;
	if (args->width != 1 || args->placement_count != 1 ||
	    (engine->engine_class != XE_ENGINE_COPY && engine->engine_class != XE_ENGINE_COMPUTE))
		return -EINVAL;
	if (w->is_primary)
		return 0;
	object = xe_file_find(file, XE_KIND_QUEUE, w->primary);
	if (!object)
		return -ENOENT;
	primary = xe_queue_of(object);
	if (!primary->is_primary || primary->engine_class != engine->engine_class)
		err = -EINVAL;
	xe_object_put(object);
	return err;
}

static int make_queue(struct xe_file *file, struct xe_exec_queue_create *args,
		      const struct xe_engine_instance *engine, const struct wanted *w)
{
	struct xe_object *object = xe_file_find(file, XE_KIND_VM, args->vm);
	struct xe_vm *vm = object ? xe_vm_of(object) : NULL;
	struct xe_queue *queue;
	int err;

	if (!vm)
		return -ENOENT;
	err = ATOMIC_LOAD(&vm->closed) ? -ENOENT : 0;
	if (!err)
		err = xe_queue_make(file->card, vm, engine->engine_class, args->width, &queue);
	if (err) {
		xe_object_put(object);
		return err;
	}
	queue->is_primary = w->is_primary;
	queue->is_grouped = w->is_primary || w->is_member;
	/* The reference to the vm is the queue's now. */
	if (!queue->is_bind)
		ATOMIC_ADD(&vm->queues, 1);
	err = xe_file_insert(file, XE_KIND_QUEUE, &queue->object, &args->queue);
	if (err) {
		xe_queue_kill(queue);
		xe_object_put(&queue->object);
	}
	return err;
}

int xe_ioctl_queue_create(struct xe_file *file, void *argument)
{
	struct xe_exec_queue_create *args = argument;
	struct xe_engine_instance first = { 0 };
	struct wanted w = { 0 };
	int err;

	if (args->flags & ~XE_QUEUE_LOW_LATENCY || args->reserved[0] || args->reserved[1])
		return -EINVAL;
	if (!args->width || !args->placement_count || args->width > XE_WIDTH_MAX ||
	    (uint32_t)args->width * args->placement_count > XE_ENGINE_THREADS)
		return -EINVAL;
	err = check_engines(file, args, &first);
	if (!err)
		err = apply_extensions(file, &w, args->extensions);
	if (!err)
		err = check_group(file, &w, args, &first);
	return err ? err : make_queue(file, args, &first, &w);
}

int xe_ioctl_queue_destroy(struct xe_file *file, void *argument)
{
	const struct xe_exec_queue_destroy *args = argument;
	struct xe_object *object;

	if (args->pad || args->reserved[0] || args->reserved[1])
		return -EINVAL;
	object = xe_file_remove(file, XE_KIND_QUEUE, args->queue);
	if (!object)
		return -ENOENT;
	xe_queue_kill(xe_queue_of(object));
	xe_object_put(object);
	xe_queues_bury(file->card);
	return 0;
}

int xe_ioctl_queue_get_property(struct xe_file *file, void *argument)
{
	struct xe_exec_queue_property *args = argument;
	struct xe_object *object;
	int err = 0;

	if (args->extensions || args->reserved[0] || args->reserved[1])
		return -EINVAL;
	object = xe_file_find(file, XE_KIND_QUEUE, args->queue);
	if (!object)
		return -ENOENT;
	if (args->property == XE_QUEUE_GET_BAN)
		args->value = ATOMIC_LOAD(&xe_queue_of(object)->failed);
	else
		err = -EINVAL;
	xe_object_put(object);
	return err;
}

int xe_ioctl_queue_set_property(struct xe_file *file, void *argument)
{
	const struct xe_exec_queue_property *args = argument;
	struct wanted w = { 0 };
	struct xe_object *object;
	int err;

	if (args->extensions || args->reserved[0] || args->reserved[1] ||
	    args->property != XE_QUEUE_MULTI_QUEUE_PRIORITY)
		return -EINVAL;
	object = xe_file_find(file, XE_KIND_QUEUE, args->queue);
	if (!object)
		return -ENOENT;
	err = xe_queue_of(object)->is_grouped ?
		      set_property(file->card->profile, &w, args->property, args->value) :
		      -EINVAL;
	xe_object_put(object);
	return err;
}
