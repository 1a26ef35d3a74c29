/* SPDX-License-Identifier: MIT */
/*
 * DOC: Blocks that go to and fro
 *
 * A block is 2 MiB of addresses. It *bounces* when an access of the CPU, or of another
 * device, took pages away that a GPU had mapped, and the GPU faults there again. That is what
 * a program does that works in turns, and then one move of a huge page is the cheapest way.
 * It is *thrash* when the bounces follow each other so quickly that moving takes a good part
 * of the time: within THRASH_SHARE times what a move there and back takes, THRASH_BOUNCES
 * times in a row.
 *
 *         thrash                thrash                thrash
 *     2 MiB ------> 64 KiB pieces -----> 4 KiB pages -------> those pages at home
 *       ^              |     ^              |                    |
 *       +--- quiet ----+     +---- quiet ---+------- quiet ------+
 *       +--- dense ----+     +---- dense ---+
 *
 * Smaller pieces help when CPU and GPU meet in a few places of the block, or do not meet at
 * all but in the block. When many pieces bounce as well (dense) they only cost more
 * faults: the block is moved whole again, and not tried smaller for a while. A page that
 * goes to and fro by itself is used in place. After a time of quiet, longer each time that
 * it was in vain, a step is taken back, by a timer: the GPU may be the only one by now.
 *
 * What was asked for by name (prefetch) is not held back, nor are atomics that device memory
 * alone can serve, which have timeslices; pages that should be on the device by advice move
 * in small pieces, but are not left at home. docs/design/thrash.md.
 */
#include "vm/vm_internal.h"

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"

#define THRASH_SHARE 16
#define THRASH_BOUNCES 4
#define THRASH_DENSE 12 /* of 32 pieces */
/* Limits of how quick is quick, whatever a move takes here. */
#define THRASH_NS_MIN 100000ull
#define THRASH_NS_MAX 100000000ull
#define THRASH_QUIET_NS 50000000ull
#define THRASH_BACKOFF_MAX 6 /* times twice as long */

static const uint64_t grain_bytes[] = { HUGE_BYTES, KIB(64), PAGE_BYTES };

#define GRAIN_LAST (ARRAY_SIZE(grain_bytes) - 1)

static void count(struct vm *vm, enum vm_stat stat)
{
	vm_stat_add(&vm->device->stats, stat, 1);
}

static struct vm_block *block_find(struct vm *vm, uint64_t addr)
{
	addr = ALIGN_DOWN(addr, HUGE_BYTES);
	for (size_t i = 0; i < VM_BLOCKS_MAX; i++) {
		if (vm->thrash.blocks[i].addr == addr)
			return &vm->thrash.blocks[i];
	}
	return NULL;
}

/* The one that bounced longest ago gives way, of those that are whole. */
static struct vm_block *block_get(struct vm *vm, uint64_t addr)
{
	struct vm_block *block = block_find(vm, addr);

	for (size_t i = 0; !block && i < VM_BLOCKS_MAX; i++) {
		if (!vm->thrash.blocks[i].addr)
			block = &vm->thrash.blocks[i];
	}
	if (block && block->addr)
		return block;
	for (size_t i = 0; !block && i < VM_BLOCKS_MAX; i++) {
		struct vm_block *b = &vm->thrash.blocks[i];

		if (!b->grain && (!block || b->bounce_ns < block->bounce_ns))
			block = b;
	}
	if (block)
		*block = (struct vm_block){ .addr = ALIGN_DOWN(addr, HUGE_BYTES) };
	return block;
}

/* The finest grain that gives ranges of @bytes. */
static uint32_t grain_of(uint64_t bytes)
{
	return (bytes < HUGE_BYTES) + (bytes < KIB(64));
}

/* For what moves in pieces of that grain. */
static uint64_t quick_ns(const struct vm *vm, uint32_t grain)
{
	uint64_t ns = 2 * THRASH_SHARE * vm->thrash.move_ns[grain];

	return MIN(MAX(ns, THRASH_NS_MIN), THRASH_NS_MAX);
}

static uint64_t quiet_ns(const struct vm *vm, const struct vm_block *block)
{
	return MAX(THRASH_QUIET_NS, 2 * quick_ns(vm, block->grain)) << block->backoff;
}

/* Ranges of the block are made anew, in another size, by the next faults. They may be live: what
 * is mapped of them is revoked with the engines stopped, and pages stay where they are. Only who
 * holds vm.lock has a pointer to one, and who comes from a fault looks for his range afterwards. */
static void block_remake(struct vm *vm, const struct vm_block *block)
{
	struct gpusvm_range *range;

	lock_assert_held(&vm->lock);
	while ((range = gpusvm_range_first(&vm->svm, span_make(block->addr, HUGE_BYTES))))
		gpusvm_range_remove(&vm->svm, range);
}

static void block_set_grain(struct vm *vm, struct vm_block *block, uint32_t grain)
{
	count(vm, grain > block->grain ? VM_STAT_THRASH_SMALLER : VM_STAT_THRASH_LARGER);
	block->grain = grain;
	block->bounces = 0;
	block->pieces = 0;
	block_remake(vm, block);
}

/* Look again at @due_ns, or before. */
static void timer_at(struct vm *vm, uint64_t due_ns)
{
	struct vm_thrash *thrash = &vm->thrash;

	if (thrash->due_ns && thrash->due_ns <= due_ns)
		return;
	thrash->due_ns = due_ns;
	mm_timer_set(vm->svm.mm, &thrash->timer, due_ns);
}

/* One step to smaller pieces; of the smallest, @range stays at home. */
static void block_divide(struct vm *vm, struct vm_block *block, struct gpusvm_range *range,
			 uint64_t now)
{
	block->backoff = MIN(block->backoff + 1, THRASH_BACKOFF_MAX);
	if (block->grain < GRAIN_LAST) {
		block_set_grain(vm, block, block->grain + 1);
	} else {
		range->in_place = true;
		block->bounces = 0;
	}
	timer_at(vm, now + quiet_ns(vm, block));
}

/* The page of @addr was the GPU's, then another's, and the GPU wants it again. */
static void bounced(struct vm *vm, struct gpusvm_range *range, uint64_t addr)
{
	uint64_t now = vm_now_ns(vm->device);
	struct vm_block *block = block_get(vm, addr);
	uint32_t grain, pieces;
	uint64_t since;

	count(vm, VM_STAT_BOUNCES);
	if (!block)
		return;
	since = now - block->bounce_ns;
	block->bounce_ns = now;
	if (since > 4 * quiet_ns(vm, block))
		block->backoff = 0;
	/* A mapping can be smaller than the pieces of its block. */
	grain = grain_of(span_bytes(range->node.span));
	if (since > quick_ns(vm, grain) || now < block->calm_until_ns) {
		block->bounces = 0;
		block->pieces = 0;
		return;
	}
	block->bounces++;
	block->pieces |= 1u << (addr / grain_bytes[MAX(block->grain, 1u)] % 32);
	/* Whole, it is one piece. In pieces, each has bounced so often, on average. */
	pieces = block->grain ? (uint32_t)__builtin_popcount(block->pieces) : 1;
	if (block->grain && pieces >= THRASH_DENSE) {
		block->calm_until_ns = now + quiet_ns(vm, block);
		block_set_grain(vm, block, block->grain - 1);
	} else if (block->bounces >= THRASH_BOUNCES * pieces) {
		block_divide(vm, block, range, now);
	}
}

/* What range over @addr may be made or used, as far as thrash goes. */
struct span vm_thrash_look(struct vm *vm, uint64_t addr, bool by_name)
{
	struct gpusvm_range *range;
	struct vm_block *block;

	lock_assert_held(&vm->lock);
	if (!vm->device->config.thrash_control)
		return span_block(addr, HUGE_BYTES);
	range = gpusvm_range_find(&vm->svm, addr);
	if (by_name) {
		block = block_find(vm, addr);
		if (block && block->grain)
			block_set_grain(vm, block, 0);
	} else if (range && gpusvm_range_take_losses(&vm->svm, range)) {
		bounced(vm, range, addr);
	}
	block = block_find(vm, addr);
	return span_block(addr, grain_bytes[block ? block->grain : 0]);
}

/* What a migration of @bytes took. */
void vm_thrash_moved(struct vm *vm, uint64_t bytes, uint64_t ns)
{
	uint64_t *move_ns = &vm->thrash.move_ns[grain_of(bytes)];

	lock_assert_held(&vm->lock);
	/* One that was preempted tells nothing. */
	*move_ns = *move_ns ? (3 * *move_ns + MIN(ns, 4 * *move_ns)) / 4 : ns;
}

/* --- quiet ------------------------------------------------------------------------ */

static void thrash_fire(struct mm_timer *timer)
{
	struct vm_thrash *thrash = CONTAINER_OF(timer, struct vm_thrash, timer);
	struct vm *vm = CONTAINER_OF(thrash, struct vm, thrash);

	/* Counted, so that vm_destroy() waits. */
	if (!PLANTED(THRASH_UNCOUNTED))
		ATOMIC_ADD(&vm->pending_work, 1);
	if (!mm_work_queue(vm->svm.mm, &thrash->work) && !PLANTED(THRASH_UNCOUNTED))
		ATOMIC_SUB(&vm->pending_work, 1);
}

/* Take a step back in each block that has been quiet; until when are the others? */
static uint64_t relax(struct vm *vm, uint64_t now)
{
	uint64_t next = BASE_FOREVER;

	lock_assert_held(&vm->lock);
	for (size_t i = 0; i < VM_BLOCKS_MAX; i++) {
		struct vm_block *block = &vm->thrash.blocks[i];
		uint64_t due = block->bounce_ns + quiet_ns(vm, block);

		if (!block->addr || !block->grain)
			continue;
		if (now >= due) {
			block_set_grain(vm, block, block->grain - 1);
			block->bounce_ns = now;
			due = now + quiet_ns(vm, block);
		}
		if (block->grain)
			next = MIN(next, due);
	}
	return next;
}

static void thrash_work(struct mm_work *work)
{
	struct vm_thrash *thrash = CONTAINER_OF(work, struct vm_thrash, work);
	struct vm *vm = CONTAINER_OF(thrash, struct vm, thrash);
	uint64_t next = BASE_FOREVER;

	lock_acquire(&vm->lock);
	thrash->due_ns = 0;
	if (!vm->closed)
		next = relax(vm, vm_now_ns(vm->device));
	if (next != BASE_FOREVER)
		timer_at(vm, next);
	lock_release(&vm->lock);
	if (!PLANTED(THRASH_UNCOUNTED))
		vm_pending_put(vm);
}

void vm_thrash_init(struct vm *vm)
{
	mm_timer_init(&vm->thrash.timer, thrash_fire);
	mm_work_init(&vm->thrash.work, thrash_work);
}

/* No timer is set, and none will be: the vm is closed. */
void vm_thrash_stop(struct vm *vm)
{
	lock_assert_held(&vm->lock);
	ASSERT(vm->closed);
	if (!PLANTED(TIMER_LEFT))
		mm_timer_cancel(vm->svm.mm, &vm->thrash.timer);
}
