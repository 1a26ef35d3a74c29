/* SPDX-License-Identifier: MIT */
/*
 * DOC: Memory attributes
 *
 * A tree of pieces holds what differs from the defaults of the bind around it. Pieces do
 * not overlap and do not cross the border of a bind; neighbours in one bind differ, and none
 * is equal to the defaults. So setting attributes splits and merges pieces, and what is
 * set back leaves nothing behind.
 *
 * Faults look a piece up and let no range reach out of it, so that a range has one answer
 * to where its pages should be and who may use atomics. A range that did, from before, is
 * removed when the attributes change; others in the span have their entries revoked.
 *
 * Reset on unmap. The monitor hears of it, as every munmap() returns only when its event
 * was read: what the program does next finds the defaults. It cuts exactly what was
 * unmapped out of the pieces (upstream resets whole ranges, and only those that the GPU
 * has touched: L7). To hear of memory that the GPU has not touched its mappings are
 * watched when attributes are set. mremap() resets both places. A hole in the middle of a
 * piece makes two of it, which needs a node; the monitor allocates nothing, so some stand
 * ready and the collector makes more. If there is none, what lies behind the hole is reset
 * with it.
 *
 * Upstream: xe_vm_madvise_ioctl(), xe_svm_garbage_collector().
 */
#include "vm/attr.h"

#include <errno.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/host.h"
#include "base/plant.h"
#include "vm/bo_internal.h"

/* One munmap() takes one at most: for so many before the collector runs. */
#define SPARE_MAX 64

struct piece {
	struct interval_node node;
	struct vm_attr attr;
	bool autoreset; /* of its bind */
	struct piece *next_kept;
};

static struct piece *piece_of(struct interval_node *node)
{
	return node ? CONTAINER_OF(node, struct piece, node) : NULL;
}

static struct piece *piece_first(struct vm *vm, struct span span)
{
	lock_assert_held(&vm->svm.notifier_lock);
	return piece_of(interval_tree_first(&vm->attrs.pieces, span));
}

/* The last that ends at @addr or before; no piece holds @addr. */
static struct piece *piece_before(struct vm *vm, uint64_t addr)
{
	struct interval_node *node = vm->attrs.pieces.root;
	struct interval_node *before = NULL;

	lock_assert_held(&vm->svm.notifier_lock);
	while (node) {
		if (node->span.start < addr)
			before = node;
		node = node->span.start < addr ? node->right : node->left;
	}
	return piece_of(before);
}

static bool attr_equals(const struct vm_attr *a, const struct vm_attr *b)
{
	return a->location == b->location && a->atomic == b->atomic &&
	       a->policy == b->policy && a->pat_index == b->pat_index &&
	       a->device == b->device;
}

static struct vm_attr attr_default(const struct vm_bind *bind)
{
	return (struct vm_attr){ .pat_index = bind->pat_index };
}

static struct vm_attr attr_merged(struct vm_attr attr, uint32_t fields,
				  const struct vm_attr *value)
{
	if (fields & VM_ATTR_LOCATION) {
		attr.location = value->location;
		attr.device = value->device;
		attr.policy = value->policy;
	}
	if (fields & VM_ATTR_ATOMIC)
		attr.atomic = value->atomic;
	if (fields & VM_ATTR_PAT)
		attr.pat_index = value->pat_index;
	return attr;
}

/* --- the tree, under svm.notifier_lock ------------------------------------------- */

static void piece_remove(struct vm *vm, struct piece *piece)
{
	interval_tree_remove(&vm->attrs.pieces, &piece->node);
	pool_put(&vm->attrs.pool, piece);
}

static void piece_set_span(struct vm *vm, struct piece *piece, struct span span)
{
	interval_tree_remove(&vm->attrs.pieces, &piece->node);
	piece->node.span = span;
	interval_tree_insert(&vm->attrs.pieces, &piece->node);
}

/* Takes a node that is reserved. */
static struct piece *piece_insert(struct vm *vm, struct span span, const struct vm_attr *attr,
				  bool autoreset)
{
	struct piece *piece = pool_take(&vm->attrs.pool);

	piece->node.span = span;
	piece->attr = *attr;
	piece->autoreset = autoreset;
	interval_tree_insert(&vm->attrs.pieces, &piece->node);
	return piece;
}

/* Return: nodes taken, 0 or 1. */
static size_t split_at(struct vm *vm, uint64_t addr)
{
	struct piece *piece = piece_first(vm, span_make(addr, 1));
	struct span right;

	if (!piece || piece->node.span.start == addr)
		return 0;
	right = (struct span){ addr, piece->node.span.end };
	piece_set_span(vm, piece, (struct span){ piece->node.span.start, addr });
	piece_insert(vm, right, &piece->attr, piece->autoreset);
	return 1;
}

/* Change what lies in @part, which lies in @bind. Return: nodes taken. */
static size_t change(struct vm *vm, const struct vm_bind *bind, struct span part,
		     uint32_t fields, const struct vm_attr *value)
{
	size_t taken = split_at(vm, part.start) + split_at(vm, part.end);

	while (!span_is_empty(part)) {
		struct piece *piece = piece_first(vm, part);
		struct span gap = { part.start, piece ? piece->node.span.start : part.end };

		if (!span_is_empty(gap)) {
			struct vm_attr attr = attr_merged(attr_default(bind), fields, value);

			piece_insert(vm, gap, &attr, bind->autoreset);
			taken++;
		}
		if (piece)
			piece->attr = attr_merged(piece->attr, fields, value);
		part.start = piece ? piece->node.span.end : part.end;
	}
	return taken;
}

/* Pieces of @bind that meet @part, or touch it: no default stays, and equal ones join. */
static void tidy_up(struct vm *vm, const struct vm_bind *bind, struct span part)
{
	struct vm_attr standard = attr_default(bind);
	struct span around = span_intersect((struct span){ part.start - 1, part.end + 1 },
					    bind->node.span);
	struct piece *piece = piece_first(vm, around);
	struct piece *last = NULL;

	while (piece) {
		struct span rest = { piece->node.span.end, around.end };

		if (attr_equals(&piece->attr, &standard)) {
			piece_remove(vm, piece);
		} else if (last && last->node.span.end == piece->node.span.start &&
			   attr_equals(&last->attr, &piece->attr)) {
			struct span both = { last->node.span.start, piece->node.span.end };

			piece_remove(vm, piece);
			piece_set_span(vm, last, both);
		} else {
			last = piece;
		}
		piece = span_is_empty(rest) ? NULL : piece_first(vm, rest);
	}
}

/* How many pieces are there, and is there something that @value would change? */
static size_t look_at(struct vm *vm, const struct vm_bind *bind, struct span part,
		      uint32_t fields, const struct vm_attr *value, bool *changes)
{
	struct vm_attr standard = attr_default(bind);
	struct vm_attr wanted = attr_merged(standard, fields, value);
	uint64_t covered = 0;
	size_t count = 0;
	struct piece *piece = piece_first(vm, part);

	*changes = false;
	while (piece) {
		wanted = attr_merged(piece->attr, fields, value);
		*changes |= !attr_equals(&piece->attr, &wanted);
		covered += span_bytes(span_intersect(piece->node.span, part));
		count++;
		piece = piece_of(interval_tree_next(&piece->node, part));
	}
	wanted = attr_merged(standard, fields, value);
	if (covered < span_bytes(part))
		*changes |= !attr_equals(&standard, &wanted);
	return count;
}

/* --- events ---------------------------------------------------------------------- */

static void refill_run(struct mm_work *work)
{
	struct vm_attr_table *table = CONTAINER_OF(work, struct vm_attr_table, refill_work);
	struct vm *vm = CONTAINER_OF(table, struct vm, attrs);
	uint32_t lacking = SPARE_MAX - ATOMIC_LOAD(&table->spare_count);

	/* Without memory the next event asks again. */
	if (!pool_reserve(&table->pool, lacking))
		ATOMIC_ADD(&table->spare_count, lacking);
	vm_pending_put(vm);
}

static void refill(struct vm *vm)
{
	/* On the collector, which waits for no monitor. Counted, so that vm_destroy() waits. */
	ATOMIC_ADD(&vm->pending_work, 1);
	if (!mm_work_queue_collector(vm->svm.mm, &vm->attrs.refill_work))
		ATOMIC_SUB(&vm->pending_work, 1);
}

static void reset_piece(struct vm *vm, struct piece *piece, struct span hole)
{
	struct span left = { piece->node.span.start, hole.start };
	struct span right = { hole.end, piece->node.span.end };
	bool has_left = left.start < left.end, has_right = right.start < right.end;

	if (has_left && has_right && ATOMIC_LOAD(&vm->attrs.spare_count)) {
		ATOMIC_SUB(&vm->attrs.spare_count, 1);
		piece_set_span(vm, piece, left);
		piece_insert(vm, right, &piece->attr, piece->autoreset);
	} else if (has_left) {
		piece_set_span(vm, piece, left);
	} else if (has_right) {
		piece_set_span(vm, piece, right);
	} else {
		piece_remove(vm, piece);
	}
}

static void attr_invalidate(struct mm_notifier *notifier, const struct mm_event *event)
{
	struct vm_attr_table *table = CONTAINER_OF(notifier, struct vm_attr_table, notifier);
	struct vm *vm = CONTAINER_OF(table, struct vm, attrs);
	struct span rest = event->span;
	struct piece *piece;

	if (event->type != MM_EVENT_UNMAP || PLANTED(RESET_NOTHING))
		return;
	lock_acquire(&vm->svm.notifier_lock);
	while (!span_is_empty(rest) && (piece = piece_first(vm, rest))) {
		struct span hole = PLANTED(RESET_WHOLE) ?
					   piece->node.span :
					   span_intersect(piece->node.span, event->span);

		rest.start = piece->node.span.end;
		if (piece->autoreset)
			reset_piece(vm, piece, hole);
	}
	lock_release(&vm->svm.notifier_lock);
	if (ATOMIC_LOAD(&table->spare_count) < SPARE_MAX / 2)
		refill(vm);
}

static const struct mm_notifier_ops attr_notifier_ops = {
	.invalidate = attr_invalidate,
};

/* --- life ------------------------------------------------------------------------ */

void vm_attr_init(struct vm *vm)
{
	interval_tree_init(&vm->attrs.pieces);
	pool_init(&vm->attrs.pool, sizeof(struct piece), "vm.attrs");
	mm_work_init(&vm->attrs.refill_work, refill_run);
}

static int listen(struct vm *vm)
{
	const struct span all = { 0, 1ull << 47 };
	int err;

	lock_assert_held(&vm->lock);
	if (vm->attrs.listens)
		return 0;
	err = pool_reserve(&vm->attrs.pool, SPARE_MAX);
	if (err)
		return err;
	ATOMIC_STORE(&vm->attrs.spare_count, SPARE_MAX);
	mm_notifier_insert(vm->svm.mm, &vm->attrs.notifier, all, &attr_notifier_ops);
	vm->attrs.listens = true;
	return 0;
}

int vm_attr_listen(struct vm *vm)
{
	int err;

	lock_acquire(&vm->lock);
	err = listen(vm);
	lock_release(&vm->lock);
	return err;
}

void vm_attr_stop(struct vm *vm)
{
	if (vm->attrs.listens)
		mm_notifier_remove(vm->svm.mm, &vm->attrs.notifier);
	vm->attrs.listens = false;
}

void vm_attr_fini(struct vm *vm)
{
	pool_unreserve(&vm->attrs.pool, ATOMIC_LOAD(&vm->attrs.spare_count));
	pool_fini(&vm->attrs.pool);
}

int vm_attr_set_default(struct vm *vm, struct span span, uint32_t pat_index, bool autoreset)
{
	struct vm_bind *bind;
	int err = -ENOENT;

	lock_acquire(&vm->lock);
	bind = vm_bind_find(vm, span.start);
	if (bind && bind->node.span.start == span.start && bind->node.span.end == span.end)
		err = autoreset ? listen(vm) : 0;
	if (!err) {
		bind->pat_index = pat_index;
		bind->autoreset = autoreset;
	}
	lock_release(&vm->lock);
	return err;
}

void vm_attr_forget(struct vm *vm, struct span span)
{
	struct piece *piece;

	lock_assert_held(&vm->lock);
	lock_acquire(&vm->svm.notifier_lock);
	while ((piece = piece_first(vm, span)))
		piece_remove(vm, piece);
	lock_release(&vm->svm.notifier_lock);
}

int vm_attr_reserve(struct vm *vm)
{
	return pool_reserve(&vm->attrs.pool, VM_ATTR_CUT_NODES);
}

void vm_attr_unreserve(struct vm *vm, size_t count)
{
	pool_unreserve(&vm->attrs.pool, count);
}

size_t vm_attr_cut(struct vm *vm, struct span span)
{
	size_t taken;

	lock_assert_held(&vm->lock);
	lock_acquire(&vm->svm.notifier_lock);
	taken = split_at(vm, span.start) + split_at(vm, span.end);
	lock_release(&vm->svm.notifier_lock);
	vm_attr_forget(vm, span);
	return VM_ATTR_CUT_NODES - taken;
}

/* Copies of what lies in @span, cut to it; as many as @pieces has. Return: false: too few. */
static bool copy_pieces(struct vm *vm, struct span span, struct piece *pieces)
{
	struct piece *piece;

	lock_assert_held(&vm->svm.notifier_lock);
	for (struct piece *copy = pieces; copy; copy = copy->next_kept)
		copy->node.span = (struct span){ 0, 0 };
	while (!span_is_empty(span) && (piece = piece_first(vm, span))) {
		if (!pieces)
			return false;
		pieces->node.span = span_intersect(piece->node.span, span);
		pieces->attr = piece->attr;
		pieces->autoreset = piece->autoreset;
		pieces = pieces->next_kept;
		span.start = MIN(piece->node.span.end, span.end);
	}
	return true;
}

int vm_attr_keep(struct vm *vm, struct span span, struct piece **kept)
{
	bool done = false;

	lock_assert_held(&vm->lock);
	*kept = NULL;
	for (;;) {
		struct piece *more;

		lock_acquire(&vm->svm.notifier_lock);
		done = copy_pieces(vm, span, *kept);
		lock_release(&vm->svm.notifier_lock);
		if (done)
			return 0;
		more = pool_alloc(&vm->attrs.pool);
		if (!more) {
			vm_attr_keep_end(vm, *kept);
			return -ENOMEM;
		}
		more->next_kept = *kept;
		*kept = more;
	}
}

void vm_attr_keep_end(struct vm *vm, struct piece *kept)
{
	while (kept) {
		struct piece *next = kept->next_kept;

		pool_put(&vm->attrs.pool, kept);
		kept = next;
	}
}

void vm_attr_put_back(struct vm *vm, struct piece *kept)
{
	lock_assert_held(&vm->lock);
	while (kept) {
		struct piece *next = kept->next_kept;
		struct span span = kept->node.span;
		struct vm_bind *bind = vm_bind_find(vm, span.start);

		/* One that was for a longer list than there came to be. */
		if (span_is_empty(span) || !bind) {
			pool_put(&vm->attrs.pool, kept);
		} else {
			lock_acquire(&vm->svm.notifier_lock);
			interval_tree_insert(&vm->attrs.pieces, &kept->node);
			tidy_up(vm, bind, span);
			lock_release(&vm->svm.notifier_lock);
		}
		kept = next;
	}
}

void vm_attr_check(struct vm *vm)
{
	const struct piece *last = NULL;
	struct piece *piece;
	struct span rest = { 0, UINT64_MAX };

	lock_acquire(&vm->lock);
	lock_acquire(&vm->svm.notifier_lock);
	interval_tree_check(&vm->attrs.pieces);
	while ((piece = piece_first(vm, rest))) {
		struct vm_bind *bind = vm_bind_find(vm, piece->node.span.start);
		struct vm_attr standard;

		ASSERT(bind && span_covers(bind->node.span, piece->node.span));
		standard = attr_default(bind);
		ASSERT(!attr_equals(&piece->attr, &standard));
		ASSERT(!last || last->node.span.end < piece->node.span.start ||
		       !span_contains(bind->node.span, last->node.span.start) ||
		       !attr_equals(&last->attr, &piece->attr));
		last = piece;
		rest.start = piece->node.span.end;
	}
	lock_release(&vm->svm.notifier_lock);
	lock_release(&vm->lock);
}

/* --- to set and to look ---------------------------------------------------------- */

/* What is mapped of @span may not be what the attributes want now. */
static void revoke(struct vm *vm, struct span span)
{
	struct mm *mm = vm->svm.mm;
	struct gpusvm_range *range;

	lock_assert_held(&vm->lock);
	while (!span_is_empty(span) && (range = gpusvm_range_first(&vm->svm, span))) {
		struct span whole = range->node.span;

		if (!span_covers(span, whole)) {
			gpusvm_range_remove(&vm->svm, range);
		} else if (gpusvm_range_has_mapped(range)) {
			lock_acquire(mm_event_lock(mm));
			mm_invalidate_locked(mm, whole, MM_EVENT_RELEASE);
			lock_release(mm_event_lock(mm));
		}
		span.start = MIN(whole.end, span.end);
	}
}

/* To be told when memory goes that no GPU has touched. */
static void watch(struct vm *vm, struct span part)
{
	struct mm *mm = vm->svm.mm;
	uint32_t flags, tries = 0;
	struct sys_vma vma;

	for (;;) {
		uint32_t ticket = mm_event_ticket(mm);

		if (span_is_empty(part) || mm_vma_find(mm, part.start, true, &vma, &flags) ||
		    vma.span.start >= part.end)
			return;
		if ((flags & MM_VMA_MIGRATES) && mm_vma_watch(mm, &vma) &&
		    tries < VM_WATCH_TRIES) {
			mm_event_wait(mm, ticket, tries++);
			continue;
		}
		part.start = MIN(vma.span.end, part.end);
	}
}

static int advise_bind(struct vm *vm, const struct vm_bind *bind, struct span part,
		       uint32_t fields, const struct vm_attr *attr)
{
	size_t reserved = 0, needed, taken = 0;
	bool changes, done = false;
	int err;

	lock_assert_held(&vm->lock);
	while (!done) {
		lock_acquire(&vm->svm.notifier_lock);
		/* The gaps between pieces, and two ends. The monitor may add pieces. */
		needed = look_at(vm, bind, part, fields, attr, &changes) + 3;
		done = !changes || needed <= reserved;
		if (done && changes) {
			taken = change(vm, bind, part, fields, attr);
			tidy_up(vm, bind, part);
		}
		lock_release(&vm->svm.notifier_lock);
		if (done)
			break;
		pool_unreserve(&vm->attrs.pool, reserved);
		reserved = needed;
		err = pool_reserve(&vm->attrs.pool, reserved);
		if (err)
			return err;
	}
	ASSERT(taken <= reserved);
	pool_unreserve(&vm->attrs.pool, reserved - taken);
	if (!changes)
		return 0;
	if (bind->autoreset)
		watch(vm, part);
	if (!PLANTED(ATTR_UNREVOKED))
		revoke(vm, part);
	return 0;
}

static bool is_valid(struct span span, uint32_t fields, const struct vm_attr *attr)
{
	const uint32_t known = VM_ATTR_LOCATION | VM_ATTR_ATOMIC | VM_ATTR_PAT;

	if (span_is_empty(span) || span.end > 1ull << 47 ||
	    !IS_ALIGNED(span.start | span.end, PAGE_BYTES))
		return false;
	if (!fields || (fields & ~known))
		return false;
	if ((fields & VM_ATTR_LOCATION) &&
	    (attr->location > VM_LOCATION_DEVICE ||
	     (attr->location == VM_LOCATION_DEVICE) != (attr->device != NULL)))
		return false;
	return !(fields & VM_ATTR_ATOMIC) || attr->atomic <= VM_ATOMIC_CPU;
}

/* An munmap() before this call has returned when its message was read: to here it is in the
 * tables, too. */
static void settle(struct vm *vm)
{
	lock_acquire(mm_event_lock(vm->svm.mm));
	lock_release(mm_event_lock(vm->svm.mm));
}

int vm_advise(struct vm *vm, struct span span, uint32_t fields, const struct vm_attr *attr)
{
	struct vm_bind *bind;
	int err = 0;

	if (!is_valid(span, fields, attr))
		return -EINVAL;
	settle(vm);
	lock_acquire(&vm->lock);
	while (!err && !span_is_empty(span) && (bind = vm_bind_next(vm, span))) {
		err = advise_bind(vm, bind, span_intersect(bind->node.span, span), fields,
				  attr);
		span.start = MIN(bind->node.span.end, span.end);
	}
	lock_release(&vm->lock);
	return err;
}

void vm_attr_find(struct vm *vm, const struct vm_bind *bind, uint64_t addr,
		  struct vm_attr_piece *found)
{
	struct piece *piece, *next, *before;
	struct span all = bind->node.span;

	lock_assert_held(&vm->lock);
	lock_acquire(&vm->svm.notifier_lock);
	piece = piece_first(vm, span_make(addr, 1));
	if (piece) {
		*found = (struct vm_attr_piece){ piece->node.span, piece->attr };
	} else {
		next = piece_first(vm, (struct span){ addr, all.end });
		before = piece_before(vm, addr);
		*found = (struct vm_attr_piece){ all, attr_default(bind) };
		if (next)
			found->span.end = next->node.span.start;
		if (before)
			found->span.start = MAX(all.start, before->node.span.end);
	}
	lock_release(&vm->svm.notifier_lock);
}

bool vm_attr_is_here(const struct vm *vm, const struct vm_attr *attr)
{
	return attr->location == VM_LOCATION_DEFAULT ||
	       (attr->location == VM_LOCATION_DEVICE && attr->device == vm->device);
}

size_t vm_advise_query(struct vm *vm, struct span span, struct vm_attr_piece *pieces,
		       size_t max)
{
	struct vm_bind *bind;
	size_t count = 0;

	settle(vm);
	lock_acquire(&vm->lock);
	while (count < max && !span_is_empty(span) && (bind = vm_bind_next(vm, span))) {
		vm_attr_find(vm, bind, MAX(span.start, bind->node.span.start),
			     &pieces[count]);
		span.start = MIN(pieces[count].span.end, span.end);
		count++;
	}
	lock_release(&vm->lock);
	return count;
}
