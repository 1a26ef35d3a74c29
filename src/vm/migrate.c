/* SPDX-License-Identifier: MIT */
/*
 * DOC: Migration policy
 *
 * A GPU fault on private anonymous memory takes the pages of its range to device
 * memory, from home and from peers. If some of the range are there already, at their
 * natural places, the others join them in the same buffer object; else a new one is made,
 * and others are evicted if memory is full. What cannot move is used in place.
 *
 * Holes. A block that is wholly empty is taken whole, as zeros: it is most likely
 * an output, and a huge page would have been its first touch on the CPU too. In
 * a block that is partly in use only the holes of the 64 KiB around the fault are
 * taken: the others stay holes, and the program's memory does not grow by what
 * nobody touches (L10).
 *
 * Pinned memory. To try a huge page with a pinned part costs a millisecond, for
 * the kernel splits it before it says no, and a block is 32 faults long. A span of
 * which nothing moved because its pages are busy is remembered, and faults there
 * use it in place, for 64 times as long as the try took: at most so large a part
 * of the time goes into trying again. Who asks by name (prefetch) or can be served
 * by device memory alone is not held off.
 */
#include "vm/vm_internal.h"

#include <errno.h>

#include "base/assert.h"

/* What an attempt took, whatever came of it, as upstream. */
static void account_attempt(struct vm *vm, struct span span, uint64_t start_ns)
{
	struct vm_stats *stats = &vm->device->stats;
	uint64_t bytes = span_bytes(span);

	vm_stat_add(stats, vm_stat_sized(VM_STAT_SIZED_MIGRATE_COUNT, bytes), 1);
	vm_stat_add(stats, vm_stat_sized(VM_STAT_SIZED_MIGRATE_US, bytes),
		    (vm_now_ns(vm->device) - start_ns) / 1000);
}

static void account(struct vm_device *to, const struct pagemap_migration *migration)
{
	struct vm_stats *stats = &to->stats;

	vm_stat_add(stats, VM_STAT_PAGES_TO_DEVICE, migration->moved_pages);
	vm_stat_add(stats, VM_STAT_PAGES_FILLED, migration->filled_pages);
	vm_stat_add(stats, VM_STAT_PAGES_BUSY, migration->busy_pages);
	vm_stat_add(stats, VM_STAT_PAGES_FROM_PEER, migration->peer_pages);
}

static int migrate_new(struct vm_device *to, struct pagemap_migration *migration)
{
	struct vm_svm_bo *svm_bo;
	int err;

	err = vm_svm_bo_create(to, migration->span, &svm_bo);
	if (err)
		return err;
	err = pagemap_populate_mm(&svm_bo->devmem, migration);
	vm_svm_bo_filled(svm_bo);
	return err;
}

static int migrate_more(struct vm_device *to, struct pagemap_devmem *devmem,
			struct pagemap_migration *migration)
{
	struct vram_bo *bo = vm_svm_bo_of(devmem)->bo;
	int err;

	/* Its block is only ours while it is pinned. */
	vm_pin_passing(to);
	err = vram_bo_pin(bo);
	if (!err) {
		err = pagemap_populate_mm(devmem, migration);
		vram_bo_unpin(bo);
	}
	vm_pin_passed(to);
	pagemap_devmem_put(devmem);
	return err;
}

/* Was nothing of @addr's span to be had a moment ago? */
bool vm_is_busy(struct vm *vm, uint64_t addr)
{
	uint64_t now = vm_now_ns(vm->device);

	lock_assert_held(&vm->lock);
	for (size_t i = 0; i < VM_BUSY_MAX; i++) {
		if (span_contains(vm->busy[i].span, addr) && now < vm->busy[i].until_ns)
			return true;
	}
	return false;
}

static void remember_busy(struct vm *vm, struct span span, uint64_t start_ns)
{
	uint64_t now = vm_now_ns(vm->device);

	lock_assert_held(&vm->lock);
	vm->busy[vm->busy_count++ % VM_BUSY_MAX] = (struct vm_busy){
		span, now + VM_BUSY_SHARE * (now - start_ns)
	};
}

/*
 * Take the pages of a range to the memory of @to, as far as possible.
 * Return: 0 something may have moved; -errno nothing did.
 */
int vm_migrate(struct vm *vm, struct vm_device *to, const struct vm_move *move)
{
	struct span span = move->range->node.span;
	struct pagemap_migration migration = {
		.span = span,
		.fill = span_intersect(span_block(move->addr, VM_FILL_BYTES), span),
		.fill_empty = true,
		.look = move->look,
		.wanted = move->wanted,
		.stay_ns = move->stay_ns,
	};
	uint64_t start = vm_now_ns(vm->device);
	struct pagemap_devmem *devmem;
	int err;

	if (!pagemap_find(to->pagemap, span, &devmem, &migration.peers))
		err = migrate_more(to, devmem, &migration);
	else
		err = migrate_new(to, &migration);
	/* Who asked another device of the vm's does not come back to it (fault_run()). */
	if (to != vm->device)
		pagemap_tidy(to->pagemap);
	account_attempt(vm, span, start);
	/* What was invalidated for its own sake is no loss. */
	if (migration.peer_pages)
		(void)gpusvm_range_take_losses(&vm->svm, move->range);
	if (err)
		return err;
	account(to, &migration);
	vm_thrash_moved(vm, span_bytes(span), vm_now_ns(vm->device) - start);
	if (migration.busy_pages && !migration.moved_pages && !migration.filled_pages &&
	    !migration.peer_pages)
		remember_busy(vm, span, start);
	return 0;
}
