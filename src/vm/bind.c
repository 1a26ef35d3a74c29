/* SPDX-License-Identifier: MIT */
/*
 * DOC: Binds
 *
 * A bind says what a span of GPU addresses means: the same addresses of the process (a
 * mirror), a buffer object, nothing at all that can be read and written (NULL), or other
 * addresses of the process (USERPTR). Binds do not overlap. A new one is put in place of
 * what was there: binds that reach out of its span keep the rest.
 *
 *     | mirror                                 |
 *               | object |                          vm_bind()
 *     | mirror  | object |        mirror       |
 *                   | unmapped |                    vm_unmap()
 *     | mirror  |obj|          |  mirror       |
 *
 * A mirror maps nothing: ranges and entries come with the faults. While ranges live in
 * it nothing else can take its place (-EBUSY), as upstream. Entries of the others are
 * bind_entries.c's.
 *
 * A bind that needs memory gets it before anything changes, so that none is half done.
 *
 * Upstream: xe_vm.c, drm_gpuvm_sm_map(); DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR.
 */
#include "vm/bo_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"

#define MIRROR_END (1ull << 47)
#define GPU_END (1ull << 48)

static struct lock *event_lock_of(const struct vm *vm)
{
	return mm_event_lock(vm->device->mm);
}

static struct vm_bind *bind_of(struct interval_node *node)
{
	return node ? CONTAINER_OF(node, struct vm_bind, node) : NULL;
}

struct vm_bind *vm_bind_next(struct vm *vm, struct span span)
{
	return bind_of(interval_tree_first(&vm->binds, span));
}

struct vm_bind *vm_bind_find(struct vm *vm, uint64_t addr)
{
	return vm_bind_next(vm, span_make(addr, 1));
}

static bool is_valid(struct span span, uint64_t end)
{
	return span.start < span.end && IS_ALIGNED(span.start | span.end, PAGE_BYTES) &&
	       span.end <= end;
}

/* --- entries ------------------------------------------------------------------------ */

void vm_bind_revoke_locked(struct vm_bind *bind)
{
	struct vm *vm = bind->vm;
	const struct vm_device_config *config = &vm->device->config;
	struct span span = bind->node.span;

	lock_assert_held(event_lock_of(vm));
	if (!bind->has_entries)
		return;
	bind->has_entries = false;
	lock_acquire(&vm->svm.notifier_lock);
	if (config->ops->pt_clear(config->device, vm->id, span.start, span_bytes(span))) {
		vm_stat_add(&vm->device->stats, VM_STAT_TLB_INVAL_COUNT, 1);
		config->ops->tlb_flush(config->device, vm->id, span.start, span_bytes(span));
	}
	lock_release(&vm->svm.notifier_lock);
}

/* --- taking away ------------------------------------------------------------------------ */

/* Of shared memory and huge pages of files no event tells: their ranges outlive a munmap(), until
 * somebody asks. */
static bool has_live_range(struct vm *vm, struct span span)
{
	struct gpusvm_range *range;
	struct sys_vma vma;

	lock_assert_held(&vm->lock);
	while ((range = gpusvm_range_first(&vm->svm, span))) {
		int err = mm_vma_find(vm->device->mm, range->node.span.start, true, &vma, NULL);

		if (err != -ENOENT && (err || span_overlaps(vma.span, range->node.span)))
			return true;
		gpusvm_range_remove(&vm->svm, range);
	}
	return false;
}

/* What may not be taken away: ranges live in it. */
static bool is_busy(struct vm *vm, struct span span)
{
	struct interval_node *node = interval_tree_first(&vm->binds, span);

	lock_assert_held(&vm->lock);
	for (; node; node = interval_tree_next(node, span)) {
		if (bind_of(node)->kind == VM_BIND_MIRROR &&
		    has_live_range(vm, span_intersect(node->span, span)))
			return true;
	}
	return false;
}

/* Clear entries in binds that meet @span. */
static void revoke(struct vm *vm, struct span span)
{
	struct interval_node *node;
	bool any = false;

	lock_acquire(event_lock_of(vm));
	for (node = interval_tree_first(&vm->binds, span); node;
	     node = interval_tree_next(node, span))
		any |= bind_of(node)->has_entries;
	if (any) {
		mm_quiesce_stop(vm->device->mm);
		for (node = interval_tree_first(&vm->binds, span); node;
		     node = interval_tree_next(node, span))
			vm_bind_revoke_locked(bind_of(node));
		mm_quiesce_resume(vm->device->mm);
	}
	lock_release(event_lock_of(vm));
}

static void link_object(struct vm_bind *bind)
{
	lock_assert_held(event_lock_of(bind->vm));
	list_init(&bind->bo_node);
	if (!bind->bo)
		return;
	list_push_back(&bind->bo->binds, &bind->bo_node);
	bind->bo->bind_count++;
	vm_bo_need_locked(bind->bo);
}

/* @bind keeps what of it lies in @keep; it is in no tree. */
static void shrink(struct vm_bind *bind, struct span keep)
{
	if ((bind->kind == VM_BIND_BO || bind->kind == VM_BIND_USERPTR) &&
	    !PLANTED(BIND_TARGET_KEPT))
		bind->target += keep.start - bind->node.span.start;
	bind->node.span = keep;
	interval_tree_insert(&bind->vm->binds, &bind->node);
}

/* Take @span out of @bind. *@spare is used for a second rest. What is left over is put on
 * @dropped. */
static void cut(struct vm_bind *bind, struct span span, struct vm_bind **spare,
		struct list *dropped)
{
	struct vm *vm = bind->vm;
	struct span left = { bind->node.span.start, span.start };
	struct span right = { span.end, bind->node.span.end };

	lock_assert_held(event_lock_of(vm));
	interval_tree_remove(&vm->binds, &bind->node);
	if (!span_is_empty(left) && !span_is_empty(right)) {
		struct vm_bind *second = *spare;

		ASSERT(second);
		*spare = NULL;
		*second = *bind;
		if (second->bo)
			vm_bo_get(second->bo);
		link_object(second);
		shrink(second, right);
		shrink(bind, left);
	} else if (!span_is_empty(left)) {
		shrink(bind, left);
	} else if (!span_is_empty(right)) {
		shrink(bind, right);
	} else {
		list_remove(&bind->bo_node);
		if (bind->bo) {
			bind->bo->bind_count--;
			vm_bo_need_locked(bind->bo);
		}
		list_push_back(dropped, &bind->bo_node);
	}
}

static int cut_memory_get(struct vm *vm, struct vm_cut_memory *memory)
{
	int err = vm_attr_reserve(vm);

	if (err)
		return err;
	memory->has_pieces = true;
	memory->spare = pool_alloc(&vm->bind_pool);
	return memory->spare ? 0 : -ENOMEM;
}

/* The cut may have been made, or not. */
static void cut_memory_put(struct vm *vm, struct vm_cut_memory *memory, bool cut)
{
	if (memory->has_pieces)
		vm_attr_unreserve(vm, cut ? memory->pieces_left : VM_ATTR_CUT_NODES);
	if (memory->spare)
		pool_put(&vm->bind_pool, memory->spare);
}

/*
 * Nothing is bound in @span any more. The caller looked that no range lives there.
 * Return: whether something was.
 */
static bool carve(struct vm *vm, struct span span, struct vm_cut_memory *memory)
{
	struct list dropped, *node;
	struct vm_bind *bind;
	bool any = false;

	lock_assert_held(&vm->lock);
	list_init(&dropped);
	if (!PLANTED(BIND_UNREVOKED))
		revoke(vm, span);
	memory->pieces_left = vm_attr_cut(vm, span);
	lock_acquire(event_lock_of(vm));
	while ((bind = vm_bind_next(vm, span))) {
		cut(bind, span, &memory->spare, &dropped);
		any = true;
	}
	lock_release(event_lock_of(vm));
	while ((node = list_pop_front(&dropped))) {
		bind = LIST_ENTRY(node, struct vm_bind, bo_node);
		vm_bo_put(bind->bo);
		pool_put(&vm->bind_pool, bind);
	}
	return any;
}

static void remove_ranges(struct vm *vm, struct span span)
{
	struct gpusvm_range *range;

	lock_assert_held(&vm->lock);
	while ((range = gpusvm_range_first(&vm->svm, span)))
		gpusvm_range_remove(&vm->svm, range);
}

void vm_binds_revoke(struct vm *vm)
{
	lock_assert_held(&vm->lock);
	revoke(vm, (struct span){ 0, GPU_END });
}

void vm_binds_remove(struct vm *vm)
{
	struct vm_cut_memory none = { 0 };

	lock_assert_held(&vm->lock);
	carve(vm, (struct span){ 0, GPU_END }, &none);
}

/* --- putting in place --------------------------------------------------------------------- */

static void insert(struct vm_bind *bind)
{
	lock_assert_held(&bind->vm->lock);
	lock_acquire(event_lock_of(bind->vm));
	interval_tree_insert(&bind->vm->binds, &bind->node);
	link_object(bind);
	lock_release(event_lock_of(bind->vm));
}

static bool is_like(const struct vm_bind *mirror, const struct vm_bind *other)
{
	return other && other->kind == VM_BIND_MIRROR &&
	       other->read_only == mirror->read_only &&
	       other->autoreset == mirror->autoreset && other->pat_index == mirror->pat_index;
}

/* A mirror that was put back is one with what it was cut out of: ranges may span both. */
static void merge(struct vm_bind *mirror)
{
	struct vm *vm = mirror->vm;
	struct vm_bind *beside[2];

	lock_assert_held(&vm->lock);
	beside[0] = vm_bind_find(vm, mirror->node.span.start - 1);
	beside[1] = vm_bind_find(vm, mirror->node.span.end);
	for (size_t i = 0; i < ARRAY_SIZE(beside); i++) {
		struct span span = mirror->node.span;

		if (!is_like(mirror, beside[i]))
			continue;
		lock_acquire(event_lock_of(vm));
		interval_tree_remove(&vm->binds, &mirror->node);
		interval_tree_remove(&vm->binds, &beside[i]->node);
		span.start = MIN(span.start, beside[i]->node.span.start);
		span.end = MAX(span.end, beside[i]->node.span.end);
		mirror->node.span = span;
		interval_tree_insert(&vm->binds, &mirror->node);
		lock_release(event_lock_of(vm));
		pool_put(&vm->bind_pool, beside[i]);
	}
}

static int check_args(struct vm *vm, const struct vm_bind_args *args)
{
	uint64_t bytes = span_bytes(args->span);

	if (!is_valid(args->span, args->kind == VM_BIND_MIRROR ? MIRROR_END : GPU_END) ||
	    (args->kind == VM_BIND_BO) != (args->bo != NULL) ||
	    !IS_ALIGNED(args->target, PAGE_BYTES))
		return -EINVAL;
	switch (args->kind) {
	case VM_BIND_MIRROR:
		return 0;
	case VM_BIND_BO:
		if (args->bo->device != vm->device || bytes > args->bo->bytes ||
		    args->target > args->bo->bytes - bytes)
			return -EINVAL;
		return 0; /* there are objects on devices that know them alone */
	case VM_BIND_NULL:
		return vm->device->config.flags & USVM_DEVICE_OBJECTS ? 0 : -EOPNOTSUPP;
	case VM_BIND_USERPTR:
		return bytes <= MIRROR_END && args->target <= MIRROR_END - bytes ? 0 : -EINVAL;
	}
	return -EINVAL;
}

/* All that can fail of a bind with its entries. An object is pinned afterwards. */
static int prepare_now(struct vm *vm, const struct vm_bind_args *args)
{
	int err = vm_bind_prepare(vm, args->span);

	if (err)
		return err;
	if (args->kind == VM_BIND_USERPTR)
		return vm_bind_check_memory(vm,
					    span_make(args->target, span_bytes(args->span)),
					    !args->read_only);
	return vm_bo_pin_briefly(args->bo);
}

static bool wants_now(const struct vm_bind_args *args)
{
	return args->now && (args->kind == VM_BIND_BO || args->kind == VM_BIND_USERPTR);
}

/* All that cannot fail any more. */
static void put_in_place(struct vm_bind *bind, const struct vm_bind_args *args,
			 struct vm_cut_memory *memory)
{
	struct vm *vm = bind->vm;
	bool mirror = args->kind == VM_BIND_MIRROR;
	bool replaced;

	lock_assert_held(&vm->lock);
	if (mirror)
		remove_ranges(vm, args->span);
	replaced = carve(vm, args->span, memory);
	insert(bind);
	if (mirror && replaced)
		merge(bind);
	if (wants_now(args)) {
		vm_bind_write(bind, args->span);
		if (args->bo)
			vm_bo_unpin_briefly(args->bo);
	}
}

/* @bind is memory of the vm's. */
static int bind_locked(struct vm *vm, const struct vm_bind_args *args, struct vm_bind *bind,
		       struct vm_cut_memory *memory)
{
	int err;

	lock_assert_held(&vm->lock);
	vm_collect(vm);
	if (vm_device_is_unplugged(vm->device))
		return -ENODEV;
	if (args->kind != VM_BIND_MIRROR && is_busy(vm, args->span))
		return -EBUSY;
	if (wants_now(args)) {
		err = prepare_now(vm, args);
		if (err)
			return err;
	}
	*bind = (struct vm_bind){
		.node.span = args->span,
		.vm = vm,
		.kind = args->kind,
		.read_only = args->read_only,
		.autoreset = args->autoreset,
		.pat_index = args->pat_index,
		.null_if_purged = args->null_if_purged,
		.bo = args->bo ? vm_bo_get(args->bo) : NULL,
		.target = args->target,
	};
	put_in_place(bind, args, memory);
	return 0;
}

/* The munmap() before this call has returned, but its ranges may still be on their way to
 * the collector. */
static void await_events(struct vm *vm)
{
	lock_acquire(event_lock_of(vm));
	lock_release(event_lock_of(vm));
}

static bool has_mirror(struct vm *vm, struct span span)
{
	struct interval_node *node = interval_tree_first(&vm->binds, span);

	lock_assert_held(&vm->lock);
	while (node && bind_of(node)->kind != VM_BIND_MIRROR)
		node = interval_tree_next(node, span);
	return node;
}

static int bind(struct vm *vm, const struct vm_bind_args *args, bool over_mirror)
{
	struct vm_cut_memory memory = { 0 };
	struct vm_bind *bind = NULL;
	int err = check_args(vm, args);
	int no_memory;

	if (!err && args->autoreset)
		err = vm_attr_listen(vm);
	if (err)
		return err;
	no_memory = cut_memory_get(vm, &memory);
	if (!no_memory) {
		bind = pool_alloc(&vm->bind_pool);
		no_memory = bind ? 0 : -ENOMEM;
	}
	await_events(vm);
	lock_acquire(&vm->lock);
	if (!over_mirror && has_mirror(vm, args->span))
		err = -EBUSY;
	else
		err = no_memory ? no_memory : bind_locked(vm, args, bind, &memory);
	lock_release(&vm->lock);
	cut_memory_put(vm, &memory, !err);
	if (err && bind)
		pool_put(&vm->bind_pool, bind);
	return err;
}

int vm_bind(struct vm *vm, const struct vm_bind_args *args)
{
	return bind(vm, args, true);
}

int vm_bind_mirror(struct vm *vm, struct span span, bool read_only)
{
	const struct vm_bind_args args = {
		.kind = VM_BIND_MIRROR,
		.span = span,
		.read_only = read_only,
	};

	return bind(vm, &args, false);
}

/* --- and away again ----------------------------------------------------------------- */

bool vm_has_live_ranges(struct vm *vm, struct span span)
{
	bool busy;

	await_events(vm);
	lock_acquire(&vm->lock);
	vm_collect(vm);
	busy = is_busy(vm, span);
	lock_release(&vm->lock);
	return busy;
}

int vm_unmap(struct vm *vm, struct span span)
{
	struct vm_cut_memory memory = { 0 };
	int err;

	if (!is_valid(span, GPU_END))
		return -EINVAL;
	err = cut_memory_get(vm, &memory);
	await_events(vm);
	lock_acquire(&vm->lock);
	vm_collect(vm);
	if (!err && is_busy(vm, span))
		err = -EBUSY;
	if (!err)
		carve(vm, span, &memory);
	lock_release(&vm->lock);
	cut_memory_put(vm, &memory, !err);
	return err;
}

uint32_t vm_unmap_bo(struct vm *vm, struct vm_bo *bo)
{
	struct span all = { 0, GPU_END };
	struct interval_node *node;
	uint32_t count = 0;

	lock_acquire(&vm->lock);
	node = interval_tree_first(&vm->binds, all);
	while (node) {
		struct vm_bind *bind = bind_of(node);
		struct vm_cut_memory none = { 0 };

		node = interval_tree_next(node, all);
		if (bind->bo != bo)
			continue;
		carve(vm, bind->node.span, &none);
		count++;
	}
	lock_release(&vm->lock);
	return count;
}

int vm_unbind(struct vm *vm, struct span span)
{
	struct vm_cut_memory none = { 0 };
	struct vm_bind *bind;
	int err = 0;

	if (!is_valid(span, MIRROR_END))
		return -EINVAL;
	await_events(vm);
	lock_acquire(&vm->lock);
	vm_collect(vm);
	bind = vm_bind_find(vm, span.start);
	if (!bind || bind->node.span.start != span.start || bind->node.span.end != span.end ||
	    bind->kind != VM_BIND_MIRROR)
		err = -ENOENT;
	else if (is_busy(vm, span))
		err = -EBUSY;
	else
		carve(vm, span, &none);
	lock_release(&vm->lock);
	return err;
}

/* --- back again ------------------------------------------------------------------------ */

static void undo_free(struct vm *vm, struct vm_undo *undo)
{
	struct list *node;

	while ((node = list_pop_front(&undo->binds))) {
		struct vm_bind *bind = LIST_ENTRY(node, struct vm_bind, bo_node);

		vm_bo_put(bind->bo);
		pool_put(&vm->bind_pool, bind);
	}
	vm_attr_keep_end(vm, undo->attrs);
	pool_put(&vm->undo_pool, undo);
}

static int copy_binds(struct vm *vm, struct vm_undo *undo)
{
	struct interval_node *node;

	lock_assert_held(&vm->lock);
	for (node = interval_tree_first(&vm->binds, undo->span); node;
	     node = interval_tree_next(node, undo->span)) {
		struct vm_bind *copy = pool_alloc(&vm->bind_pool);

		if (!copy)
			return -ENOMEM;
		*copy = *bind_of(node);
		copy->has_entries = false;
		list_init(&copy->bo_node);
		list_push_back(&undo->binds, &copy->bo_node);
		if (copy->bo)
			vm_bo_get(copy->bo);
	}
	return 0;
}

int vm_undo_keep(struct vm *vm, struct span span, struct vm_undo **last)
{
	struct vm_undo *undo = pool_alloc(&vm->undo_pool);
	int err;

	if (!undo)
		return -ENOMEM;
	undo->before = *last;
	undo->span = span;
	list_init(&undo->binds);
	err = cut_memory_get(vm, &undo->memory);
	lock_acquire(&vm->lock);
	if (!err)
		err = copy_binds(vm, undo);
	if (!err)
		err = vm_attr_keep(vm, span, &undo->attrs);
	lock_release(&vm->lock);
	if (err) {
		cut_memory_put(vm, &undo->memory, false);
		undo_free(vm, undo);
		return err;
	}
	*last = undo;
	return 0;
}

/* Do both say the same, and the second goes on where the first ends? */
static bool are_one(const struct vm_bind *first, const struct vm_bind *second)
{
	bool has_target = first->kind == VM_BIND_BO || first->kind == VM_BIND_USERPTR;
	uint64_t bytes = has_target ? span_bytes(first->node.span) : 0;

	return first->kind == second->kind && first->bo == second->bo &&
	       first->target + bytes == second->target &&
	       first->read_only == second->read_only &&
	       first->autoreset == second->autoreset &&
	       first->pat_index == second->pat_index && first->dontneed == second->dontneed &&
	       first->null_if_purged == second->null_if_purged;
}

/* What was cut off of it stands beside it: one again, if nobody has changed that. */
static void join(struct vm_bind *bind, struct vm_bind *rest)
{
	struct vm *vm = bind->vm;
	struct span span;

	if (!rest || (rest->node.span.start < bind->node.span.start ? !are_one(rest, bind) :
								     !are_one(bind, rest)))
		return;
	span.start = MIN(bind->node.span.start, rest->node.span.start);
	span.end = MAX(bind->node.span.end, rest->node.span.end);
	revoke(vm, rest->node.span);
	lock_acquire(event_lock_of(vm));
	interval_tree_remove(&vm->binds, &rest->node);
	interval_tree_remove(&vm->binds, &bind->node);
	bind->target = MIN(bind->target, rest->target);
	bind->node.span = span;
	interval_tree_insert(&vm->binds, &bind->node);
	list_remove(&rest->bo_node);
	if (rest->bo)
		rest->bo->bind_count--;
	lock_release(event_lock_of(vm));
	vm_bo_put(rest->bo);
	pool_put(&vm->bind_pool, rest);
}

static void undo_one(struct vm *vm, struct vm_undo *undo)
{
	struct list *node;

	lock_assert_held(&vm->lock);
	remove_ranges(vm, undo->span);
	carve(vm, undo->span, &undo->memory);
	while ((node = list_pop_front(&undo->binds))) {
		struct vm_bind *bind = LIST_ENTRY(node, struct vm_bind, bo_node);
		struct span whole = bind->node.span;
		struct span part = span_intersect(whole, undo->span);

		if (bind->kind == VM_BIND_BO || bind->kind == VM_BIND_USERPTR)
			bind->target += part.start - whole.start;
		bind->node.span = part;
		insert(bind);
		if (whole.start < part.start)
			join(bind, vm_bind_find(vm, part.start - 1));
		if (whole.end > part.end)
			join(bind, vm_bind_find(vm, part.end));
	}
	vm_attr_put_back(vm, undo->attrs);
	undo->attrs = NULL;
}

void vm_undo_forget(struct vm *vm, struct vm_undo **last)
{
	struct vm_undo *undo = *last;

	*last = undo->before;
	cut_memory_put(vm, &undo->memory, false);
	undo_free(vm, undo);
}

void vm_undo_run(struct vm *vm, struct vm_undo *last)
{
	while (last) {
		struct vm_undo *undo = last;

		last = undo->before;
		lock_acquire(&vm->lock);
		undo_one(vm, undo);
		lock_release(&vm->lock);
		cut_memory_put(vm, &undo->memory, true);
		undo_free(vm, undo);
	}
}

void vm_undo_drop(struct vm *vm, struct vm_undo *last)
{
	while (last)
		vm_undo_forget(vm, &last);
}

int vm_bind_query(struct vm *vm, uint64_t addr, struct vm_bind_info *info)
{
	struct vm_bind *bind;

	if (addr >= GPU_END)
		return -ENOENT;
	lock_acquire(&vm->lock);
	bind = vm_bind_next(vm, (struct span){ addr, GPU_END });
	if (bind) {
		*info = (struct vm_bind_info){
			.span = bind->node.span,
			.kind = bind->kind,
			.read_only = bind->read_only,
			.pat_index = bind->pat_index,
			.bo = bind->bo,
			.target = bind->target,
		};
	}
	lock_release(&vm->lock);
	return bind ? 0 : -ENOENT;
}

void vm_binds_check(struct vm *vm)
{
	struct span all = { 0, GPU_END };
	uint64_t end = 0;

	lock_assert_held(&vm->lock);
	interval_tree_check(&vm->binds);
	for (struct interval_node *node = interval_tree_first(&vm->binds, all); node;
	     node = interval_tree_next(node, all)) {
		struct vm_bind *bind = bind_of(node);

		ASSERT(bind->vm == vm);
		ASSERT(node->span.start >= end);
		ASSERT(is_valid(node->span, GPU_END));
		ASSERT((bind->kind == VM_BIND_BO) == (bind->bo != NULL));
		if (bind->bo)
			ASSERT(bind->target + span_bytes(node->span) <= bind->bo->bytes);
		end = node->span.end;
	}
}
