/* SPDX-License-Identifier: MIT */
/*
 * DOC: Buffer objects
 *
 * The bytes of an object never move: they are in shared memory of the library's, and
 * entries of the kind HOST lead there. Its place says who pays for them: a block of
 * device memory, which others may want, or nobody. But where device memory is the
 * device's own and the CPU does not map the object (VM_BO_DEVICE_ONLY), the bytes go
 * with the place, by ops->copy, and the entries are of the kind VRAM.
 *
 *     NOWHERE --- vm_bo_validate() ---> IN_DEVICE or IN_SYSTEM
 *        ^                                  |         |
 *        +------------- evict() ------------+         |  (vm_bo_move() goes between
 *        +---------------- device unplugged ----------+   the two)
 *
 * Evicted while nobody needs its bytes it is PURGED instead (purge.c).
 *
 * On the way it is CHANGING, so that one thread at a time is at work, without a lock:
 * who gives a place may evict others, and who takes one may copy. Entries are written,
 * and cleared with the engines stopped, under event_lock (and the vm's notifier_lock,
 * for devices see one writer at a time). So whoever writes sees a place that lasts as
 * long as the entries do: taking it away clears them under the same lock.
 *
 * An object is freed when nothing refers to it and no vram_bo names it as its owner: an
 * evictor may still be on its way into evict() when the last reference goes.
 *
 * Upstream: xe_bo.c; ttm_bo_validate(), xe_bo_trigger_rebind().
 */
#include "vm/bo_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"

/* Of one ops->copy: what the device promised to be quick with. */
#define COPY_BYTES HUGE_BYTES
#define ROOM_TRIES 100u /* for room that others take, each time, before one has it */

static struct lock *event_lock_of(const struct vm_bo *bo)
{
	return mm_event_lock(bo->device->mm);
}

static void life_put(struct vm_bo *bo)
{
	if (ATOMIC_SUB(&bo->life_count, 1u) == 1)
		pool_put(&bo->device->object_pool, bo);
}

/* --- bytes that go with the place --------------------------------------------------- */

static bool bytes_move(const struct vm_bo *bo)
{
	return (bo->flags & VM_BO_DEVICE_ONLY) &&
	       (bo->device->config.flags & USVM_DEVICE_OWN_MEMORY);
}

static int copy_bytes(struct vm_bo *bo, const struct vram_bo *vram_bo, bool to_device)
{
	const struct vm_device_config *config = &bo->device->config;
	uint64_t start = vram_bo_span(vram_bo).start;
	int err = 0;

	for (uint64_t at = 0; at < bo->bytes && !err; at += COPY_BYTES) {
		err = config->ops->copy(config->device, start + at,
					(unsigned char *)vm_bo_memory(bo) + at,
					MIN(COPY_BYTES, bo->bytes - at), to_device);
	}
	return err;
}

static void discard_bytes(struct vm_bo *bo)
{
	struct sys *sys = mm_sys(bo->device->mm);

	sys->ops->shared_discard(sys, bo->memory, bo->bytes, bo->file);
}

bool vm_bo_entries(const struct vm_bo *bo, uint64_t offset, uint64_t *target,
		   uint32_t *flags)
{
	lock_assert_held(event_lock_of(bo));
	if (bo->state != VM_BO_IN_DEVICE && bo->state != VM_BO_IN_SYSTEM)
		return false;
	*flags = USVM_PTE_WRITE;
	if (bo->state == VM_BO_IN_DEVICE ||
	    !(bo->device->config.flags & USVM_DEVICE_NO_SYSTEM_ATOMICS))
		*flags |= USVM_PTE_ATOMIC;
	if (bo->state == VM_BO_IN_DEVICE && bytes_move(bo)) {
		*flags |= USVM_PTE_VRAM;
		*target = vram_bo_span(bo->vram_bo).start + offset;
	} else {
		*flags |= USVM_PTE_HOST;
		*target = bo->memory + offset;
	}
	return true;
}

/* --- states ---------------------------------------------------------------------------- */

NO_LOCK_ANALYSIS void vm_bo_lock_settled(struct vm_bo *bo)
{
	for (;;) {
		uint32_t ticket = wait_ticket(&bo->changed);

		lock_acquire(event_lock_of(bo));
		if (bo->state != VM_BO_CHANGING)
			return;
		lock_release(event_lock_of(bo));
		wait_sleep(&bo->changed, ticket, BASE_FOREVER);
	}
}

/* The same, as this file calls the lock. */
static void lock_settled(struct vm_bo *bo) ACQUIRES(event_lock_of(bo));
NO_LOCK_ANALYSIS static void lock_settled(struct vm_bo *bo)
{
	vm_bo_lock_settled(bo);
}

static void set_state_locked(struct vm_bo *bo, enum vm_bo_state state,
			     struct vram_bo *vram_bo)
{
	lock_assert_held(event_lock_of(bo));
	bo->state = state;
	bo->vram_bo = vram_bo;
	wait_wake_all(&bo->changed);
}

static void set_state(struct vm_bo *bo, enum vm_bo_state state, struct vram_bo *vram_bo)
{
	lock_acquire(event_lock_of(bo));
	set_state_locked(bo, state, vram_bo);
	lock_release(event_lock_of(bo));
}

/* Nothing leads to its bytes any more. */
static void revoke_locked(struct vm_bo *bo)
{
	bool any = false;

	lock_assert_held(event_lock_of(bo));
	LIST_FOR_EACH(node, &bo->binds)
		any |= LIST_ENTRY(node, struct vm_bind, bo_node)->has_entries;
	if (!any)
		return;
	mm_quiesce_stop(bo->device->mm);
	LIST_FOR_EACH(node, &bo->binds)
		vm_bind_revoke_locked(LIST_ENTRY(node, struct vm_bind, bo_node));
	mm_quiesce_resume(bo->device->mm);
}

/* --- eviction --------------------------------------------------------------------------- */

static int bo_evict(struct vram_bo *vram_bo, void *owner)
{
	struct vm_bo *bo = owner;
	bool purge;
	int err = 0;

	lock_acquire(event_lock_of(bo));
	if ((bo->state != VM_BO_IN_DEVICE || bo->vram_bo != vram_bo) &&
	    !(PLANTED(BO_DEATH_UNSEEN) && bo->state == VM_BO_DEAD)) {
		err = bo->state == VM_BO_DEAD ? 0 : -EBUSY;
		lock_release(event_lock_of(bo));
		return err;
	}
	purge = bo->dontneed && (bo->flags & VM_BO_PURGEABLE);
	bo->state = VM_BO_CHANGING;
	if (!PLANTED(BO_KEEPS_ENTRIES) && !PLANTED(BO_COPY_FIRST))
		revoke_locked(bo);
	lock_release(event_lock_of(bo));

	if (purge)
		discard_bytes(bo);
	else if (bytes_move(bo))
		err = copy_bytes(bo, vram_bo, false);
	if (PLANTED(BO_COPY_FIRST)) {
		lock_acquire(event_lock_of(bo));
		revoke_locked(bo);
		lock_release(event_lock_of(bo));
	}
	/* Of a device that is gone nothing more is to be had, and nobody can look. */
	if (err && !vm_device_is_unplugged(bo->device)) {
		set_state(bo, VM_BO_IN_DEVICE, vram_bo);
		return err;
	}
	lock_acquire(event_lock_of(bo));
	bo->eviction_count++;
	set_state_locked(bo, purge ? VM_BO_PURGED : VM_BO_NOWHERE, NULL);
	lock_release(event_lock_of(bo));
	vm_stat_add(&bo->device->stats, VM_STAT_BO_EVICTIONS, 1);
	vram_bo_put(vram_bo); /* the evictor has one of its own */
	return 0;
}

static void bo_destroyed(void *owner)
{
	life_put(owner);
}

/* vm_pin_passed() follows. */
static void bo_created(void *owner)
{
	struct vm_bo *bo = owner;

	vm_pin_passing(bo->device);
}

static const struct vram_bo_ops bo_ops = {
	.created = bo_created,
	.evict = bo_evict,
	.destroyed = bo_destroyed,
};

/* --- a place ------------------------------------------------------------------------------ */

/* Room is short for a moment where others fill blocks that they have pinned: whoever may be
 * nowhere else waits for them. */
static int make_room(struct vm_bo *bo, bool evict, struct vram_bo **out)
{
	struct vm_device *device = bo->device;

	for (uint32_t tries = 0;; tries++) {
		uint32_t passed = ATOMIC_LOAD(&device->room.passed_pins);
		int err = vram_bo_create(device->vram, bo->bytes, &bo_ops, bo, evict, out);

		if (err != -ENOSPC || !evict || tries == ROOM_TRIES ||
		    !vm_room_comes(&device->room, passed))
			return err;
	}
}

/* A block of device memory with the bytes in it, pinned: vm_pin_passed() follows. */
static int take_block(struct vm_bo *bo, bool evict, struct vram_bo **out)
{
	struct vram_bo *vram_bo;
	int err;

	ATOMIC_ADD(&bo->life_count, 1u);
	err = make_room(bo, evict, &vram_bo);
	if (err) {
		life_put(bo);
		return err;
	}
	if (bytes_move(bo))
		err = copy_bytes(bo, vram_bo, true);
	if (err) {
		vram_bo_put(vram_bo);
		vm_pin_passed(bo->device);
		return err;
	}
	*out = vram_bo;
	return 0;
}

/*
 * Give @bo, which the caller made CHANGING, a place out of @placement, and a pin if @pin.
 * Its state is @before if there is none.
 */
static int give_place(struct vm_bo *bo, uint32_t placement, bool pin, enum vm_bo_state before)
{
	struct vram_bo *vram_bo = NULL;
	int err = -ENOSPC;

	if (vm_device_is_unplugged(bo->device))
		err = -ENODEV;
	else if (placement & VM_BO_DEVICE)
		err = take_block(bo, !(placement & VM_BO_SYSTEM), &vram_bo);
	if (err == -ENOSPC && (placement & VM_BO_SYSTEM))
		err = 0;
	if (err) {
		set_state(bo, before, NULL);
		return err;
	}
	if (vram_bo && !pin)
		vram_bo_get(vram_bo);
	lock_acquire(event_lock_of(bo));
	bo->pin_count += pin;
	set_state_locked(bo, vram_bo ? VM_BO_IN_DEVICE : VM_BO_IN_SYSTEM, vram_bo);
	lock_release(event_lock_of(bo));
	if (vram_bo && !pin) {
		/* From here on it may be evicted; and moved away before that. */
		vram_bo_unpin(vram_bo);
		vram_bo_put(vram_bo);
	}
	if (vram_bo)
		vm_pin_passed(bo->device);
	return 0;
}

enum pin {
	PIN_NONE,
	PIN_LONG,
	PIN_BRIEF,
};

static void count_pin(struct vm_bo *bo, enum pin pin)
{
	lock_assert_held(event_lock_of(bo));
	bo->pin_count += pin != PIN_NONE;
	bo->brief_pins += pin == PIN_BRIEF;
}

/* Keep the place of @bo, which has one in device memory. event_lock is held, and released.
 * Return: 0; -EAGAIN it is being evicted. */
static int hold(struct vm_bo *bo, enum pin pin) RELEASES(event_lock_of(bo));
NO_LOCK_ANALYSIS static int hold(struct vm_bo *bo, enum pin pin)
{
	struct vram_bo *vram_bo = vram_bo_get(bo->vram_bo);
	int err = 0;

	lock_release(event_lock_of(bo));
	if (pin == PIN_NONE) {
		vram_bo_touch(vram_bo);
		vram_bo_put(vram_bo);
		return 0;
	}
	err = vram_bo_pin(vram_bo) ? -EAGAIN : 0;
	if (!err) {
		bool kept;

		lock_acquire(event_lock_of(bo));
		kept = bo->state == VM_BO_IN_DEVICE && bo->vram_bo == vram_bo;
		count_pin(bo, kept ? pin : PIN_NONE);
		lock_release(event_lock_of(bo));
		if (!kept) {
			vram_bo_unpin(vram_bo);
			err = -EAGAIN;
		}
	}
	vram_bo_put(vram_bo);
	return err;
}

static int validate_once(struct vm_bo *bo, bool pin)
{
	for (;;) {
		int err;

		if (vm_device_is_unplugged(bo->device))
			return -ENODEV;
		lock_settled(bo);
		switch (bo->state) {
		case VM_BO_IN_SYSTEM:
			bo->pin_count += pin;
			lock_release(event_lock_of(bo));
			return 0;
		case VM_BO_IN_DEVICE:
			err = hold(bo, pin ? PIN_LONG : PIN_NONE);
			if (err != -EAGAIN)
				return err;
			/* Who evicts it has not come to evict() yet. */
			base_host->cpu_yield();
			continue;
		case VM_BO_PURGED:
			lock_release(event_lock_of(bo));
			return -ENODATA;
		default:
			ASSERT(bo->state == VM_BO_NOWHERE);
			bo->state = VM_BO_CHANGING;
			lock_release(event_lock_of(bo));
			err = give_place(bo, bo->placement, pin, VM_BO_NOWHERE);
			if (!err)
				vm_stat_add(&bo->device->stats, VM_STAT_BO_PLACED, 1);
			return err;
		}
	}
}

int vm_bo_validate(struct vm_bo *bo)
{
	struct vm_turn turn = { .room = &bo->device->room };
	int err;

	do {
		vm_turn_try(&turn);
		err = validate_once(bo, false);
	} while (err == -ENOSPC && vm_turn_again(&turn));
	vm_turn_over(&turn);
	return err;
}

/* By one who validates. */
int vm_bo_pin(struct vm_bo *bo)
{
	return validate_once(bo, true);
}

/* It is counted before it is pinned, and when it has nothing to wait for any more: who makes
 * room for another object waits for what is counted. */
int vm_bo_pin_briefly(struct vm_bo *bo)
{
	for (uint32_t tries = 0;; tries++) {
		int err = tries < ROOM_TRIES ? vm_bo_validate(bo) : -ENOSPC;
		bool placed;

		if (err)
			return err;
		lock_settled(bo);
		vm_pin_passing(bo->device);
		if (bo->state == VM_BO_IN_DEVICE) {
			placed = !hold(bo, PIN_BRIEF);
		} else {
			placed = bo->state == VM_BO_IN_SYSTEM;
			count_pin(bo, placed ? PIN_BRIEF : PIN_NONE);
			lock_release(event_lock_of(bo));
		}
		if (placed)
			return 0;
		/* Evicted again. */
		vm_pin_passed(bo->device);
		base_host->cpu_yield();
	}
}

static void unpin(struct vm_bo *bo, enum pin pin)
{
	struct vram_bo *vram_bo;

	lock_acquire(event_lock_of(bo));
	ASSERT(bo->pin_count > bo->brief_pins || pin == PIN_BRIEF);
	ASSERT(bo->pin_count > 0);
	bo->pin_count--;
	bo->brief_pins -= pin == PIN_BRIEF;
	/* Someone may move it away before we have unpinned it. */
	vram_bo = bo->vram_bo ? vram_bo_get(bo->vram_bo) : NULL;
	lock_release(event_lock_of(bo));
	if (vram_bo)
		vram_bo_unpin(vram_bo);
	vram_bo_put(vram_bo);
}

void vm_bo_unpin(struct vm_bo *bo)
{
	unpin(bo, PIN_LONG);
}

void vm_bo_unpin_briefly(struct vm_bo *bo)
{
	unpin(bo, PIN_BRIEF);
	vm_pin_passed(bo->device);
}

/* May it move? Return: 0; -EAGAIN in a moment; -EBUSY it is pinned. */
static int may_move(const struct vm_bo *bo)
{
	lock_assert_held(event_lock_of(bo));
	if (!bo->pin_count)
		return 0;
	return bo->pin_count == bo->brief_pins ? -EAGAIN : -EBUSY;
}

/* Return: 0; -EAGAIN someone else is at it. */
static int move_pinned(struct vm_bo *bo, struct vram_bo *vram_bo)
{
	int err;

	lock_acquire(event_lock_of(bo));
	if (bo->state != VM_BO_IN_DEVICE || bo->vram_bo != vram_bo)
		err = -EAGAIN;
	else
		err = may_move(bo);
	if (!err) {
		bo->state = VM_BO_CHANGING;
		revoke_locked(bo);
	}
	lock_release(event_lock_of(bo));
	if (!err && bytes_move(bo)) {
		err = copy_bytes(bo, vram_bo, false);
		if (err)
			set_state(bo, VM_BO_IN_DEVICE, vram_bo);
	}
	if (err) {
		vram_bo_unpin(vram_bo);
	} else {
		set_state(bo, VM_BO_IN_SYSTEM, NULL);
		vram_bo_put(vram_bo); /* the object's; pinned as it is */
	}
	return err;
}

/* Takes over a reference to @vram_bo. Return: as move_pinned(). */
static int move_to_system(struct vm_bo *bo, struct vram_bo *vram_bo)
{
	int err;

	/* Nobody evicts it meanwhile; and its block is free when that is said to be over. */
	vm_pin_passing(bo->device);
	err = vram_bo_pin(vram_bo) ? -EAGAIN : move_pinned(bo, vram_bo);
	vram_bo_put(vram_bo);
	vm_pin_passed(bo->device);
	return err;
}

/* event_lock is held, and released. */
static int move_to_device(struct vm_bo *bo) RELEASES(event_lock_of(bo));
NO_LOCK_ANALYSIS static int move_to_device(struct vm_bo *bo)
{
	enum vm_bo_state before = bo->state;
	int err = may_move(bo);

	if (err) {
		lock_release(event_lock_of(bo));
		return err;
	}
	bo->state = VM_BO_CHANGING;
	revoke_locked(bo);
	lock_release(event_lock_of(bo));
	return give_place(bo, VM_BO_DEVICE, false, before);
}

/* Return: as vm_bo_move(), or -EAGAIN someone else is at it. */
static int try_move(struct vm_bo *bo, enum vm_bo_place place)
{
	struct vram_bo *vram_bo;

	if (vm_device_is_unplugged(bo->device))
		return -ENODEV;
	lock_settled(bo);
	if (bo->state == (place == VM_BO_DEVICE ? VM_BO_IN_DEVICE : VM_BO_IN_SYSTEM)) {
		lock_release(event_lock_of(bo));
		return 0;
	}
	if (bo->state == VM_BO_PURGED) {
		lock_release(event_lock_of(bo));
		return -ENODATA;
	}
	if (place == VM_BO_DEVICE)
		return move_to_device(bo);
	if (bo->state == VM_BO_NOWHERE) {
		set_state_locked(bo, VM_BO_IN_SYSTEM, NULL);
		lock_release(event_lock_of(bo));
		return 0;
	}
	vram_bo = vram_bo_get(bo->vram_bo);
	lock_release(event_lock_of(bo));
	return move_to_system(bo, vram_bo);
}

static int move(struct vm_bo *bo, enum vm_bo_place place)
{
	int err;

	while ((err = try_move(bo, place)) == -EAGAIN)
		base_host->cpu_yield();
	return err;
}

int vm_bo_move(struct vm_bo *bo, enum vm_bo_place place)
{
	struct vm_turn turn = { .room = &bo->device->room };
	int err;

	if ((place != VM_BO_SYSTEM && place != VM_BO_DEVICE) || !(bo->placement & place))
		return -EINVAL;
	do {
		vm_turn_try(&turn);
		err = move(bo, place);
	} while ((err == -ENOSPC || err == -EBUSY) && vm_turn_again(&turn));
	vm_turn_over(&turn);
	return err;
}

/* --- life ------------------------------------------------------------------------------------ */

int vm_bo_create(struct vm_device *device, uint64_t bytes, uint32_t placement,
		 uint32_t flags, struct vm_bo **out)
{
	const uint32_t places = VM_BO_SYSTEM | VM_BO_DEVICE;
	const uint32_t known = VM_BO_DEVICE_ONLY | VM_BO_PURGEABLE;
	bool wants_file = (flags & VM_BO_PURGEABLE) && (placement & VM_BO_DEVICE);
	struct sys *sys = mm_sys(device->mm);
	struct vm_bo *bo;
	int err;

	if (!bytes || !IS_ALIGNED(bytes, PAGE_BYTES) || bytes > 1ull << 47 || !placement ||
	    (placement & ~places) || (flags & ~known))
		return -EINVAL;
	if (!(device->config.flags & USVM_DEVICE_OBJECTS))
		return -EOPNOTSUPP;
	if (vm_device_is_unplugged(device))
		return -ENODEV;
	if (placement == VM_BO_DEVICE && bytes > device->config.vram_bytes)
		return -ENOSPC;
	bo = pool_alloc(&device->object_pool);
	if (!bo)
		return -ENOMEM;
	bo->file = -1;
	err = sys->ops->shared_map(sys, bytes, bytes < HUGE_BYTES ? KIB(64) : HUGE_BYTES,
				   &bo->memory, wants_file ? &bo->file : NULL);
	if (err) {
		pool_put(&device->object_pool, bo);
		return err;
	}
	bo->device = device;
	bo->bytes = bytes;
	bo->placement = placement;
	bo->flags = flags;
	bo->reference_count = 1;
	bo->life_count = 1;
	wait_init(&bo->changed);
	list_init(&bo->binds);
	*out = bo;
	return 0;
}

struct vm_bo *vm_bo_get(struct vm_bo *bo)
{
	uint32_t before = ATOMIC_ADD(&bo->reference_count, 1u);

	ASSERT(before > 0);
	return bo;
}

void vm_bo_put(struct vm_bo *bo)
{
	struct vram_bo *vram_bo;
	struct sys *sys;
	uint32_t before;

	if (!bo)
		return;
	before = ATOMIC_SUB(&bo->reference_count, 1u);
	ASSERT(before > 0);
	if (before > 1)
		return;
	lock_settled(bo);
	ASSERT(list_is_empty(&bo->binds));
	ASSERT(!bo->pin_count);
	vram_bo = bo->vram_bo;
	set_state_locked(bo, VM_BO_DEAD, NULL);
	lock_release(event_lock_of(bo));
	vram_bo_put(vram_bo);
	sys = mm_sys(bo->device->mm);
	sys->ops->shared_unmap(sys, bo->memory, bo->bytes, bo->file);
	life_put(bo);
}

int vm_bo_map(struct vm_bo *bo, struct span part, uint64_t at, uint32_t prot, uint64_t *addr)
{
	struct sys *sys = mm_sys(bo->device->mm);
	enum vm_need need = vm_bo_need(bo);

	if (span_is_empty(part) || !IS_ALIGNED(part.start | part.end | at, PAGE_BYTES) ||
	    part.end > bo->bytes || at > (1ull << 47) - span_bytes(part) ||
	    !(prot & SYS_PROT_READ) ||
	    (prot & ~(uint32_t)(SYS_PROT_READ | SYS_PROT_WRITE)))
		return -EINVAL;
	if (bo->flags & VM_BO_DEVICE_ONLY)
		return -EACCES;
	if (need != VM_NEED_WILLNEED)
		return need == VM_NEED_PURGED ? -EINVAL : -EBUSY;
	return sys->ops->shared_show(sys,
				     span_make(bo->memory + part.start, span_bytes(part)), at,
				     prot, addr);
}

void *vm_bo_memory(const struct vm_bo *bo)
{
	return (void *)(uintptr_t)bo->memory;
}

void vm_bo_info(struct vm_bo *bo, struct vm_bo_info *info)
{
	lock_settled(bo);
	*info = (struct vm_bo_info){
		.bytes = bo->bytes,
		.placement = bo->placement,
		.place = bo->state == VM_BO_IN_DEVICE ? VM_BO_DEVICE :
			 bo->state == VM_BO_IN_SYSTEM ? VM_BO_SYSTEM :
							0u,
		.vram_bytes = bo->vram_bo ? span_bytes(vram_bo_span(bo->vram_bo)) : 0,
		.evictions = bo->eviction_count,
		.flags = bo->flags,
		.bind_count = bo->bind_count,
	};
	lock_release(event_lock_of(bo));
}
