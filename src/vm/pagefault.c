/* SPDX-License-Identifier: MIT */
/*
 * DOC: Page faults
 *
 * A device asks for a page; a worker answers. In short:
 *
 *     collect garbage
 *     the bind over the address? may it be written?          -EFAULT, -EPERM
 *     the VMA over the address? does it allow the access?    -EFAULT, -EPERM
 *     find or make the range; is the page mapped already? done
 *     migrate, if that is the policy; try once; device-only accesses thrice
 *     get the pages; bring home what another device holds and this one does not reach
 *     notifier lock: still true? write the entries            N1
 *     else from the top
 *
 * Memory that is used in place is watched all the same, so that its end is heard of. Where
 * messages are in flight without a pause that is given up after VM_WATCH_TRIES: its entries
 * are then those of the CPU's mapping at each access, as ever, but last until the next
 * invalidation.
 *
 * The loop is bounded (law 18), and every failure is recorded in the vm's list and
 * told to the engine. Write permission is checked for device pages as for others
 * (L4). The type of access counts: a read needs a readable VMA only (L8).
 *
 * System entries. Memory that never migrates is mapped as far as the range goes.
 * Of memory that does, only the 64 KiB around the fault are mapped in place: the
 * rest gets its own chance to migrate. So are pages that a peer has and that did not come:
 * because the device is full, or because that is where they are wanted; those are taken
 * there (guest.c). Their entries are of the peer's frames (USVM_PTE_HOST), and revoked when
 * the pages go from there.
 *
 * Upstream: xe_pagefault.c, xe_svm_handle_pagefault().
 */
#include "vm/bo_internal.h"

#include <errno.h>

#include "base/assert.h"
#include "base/host.h"
#include "base/plant.h"

/* What a fault found out on its way. */
struct service {
	struct vm *vm;
	uint64_t addr;
	uint32_t access;
	struct vm_bind *bind;
	struct vm_attr_piece advice;
	struct mm_look look;
	bool can_move;  /* the memory can, and the device takes some */
	bool migrates;  /* and it should: the policy, or the access */
	struct vm_device *guest_of; /* where it should be, if that is not the vm's device */
	struct gpusvm_range *range;
	uint32_t watch_tries;
	uint64_t end;   /* of what was mapped */
	uint32_t migrations; /* tried */
	bool is_counted; /* as a fault of the device, once; a prefetch never is */
	int moved;      /* what came of the last */
};

static bool wants_write(uint32_t access)
{
	return access == USVM_ACCESS_WRITE || access == USVM_ACCESS_ATOMIC;
}

/* Device memory alone can serve this access. */
static bool needs_device(const struct service *s)
{
	return s->access == USVM_ACCESS_ATOMIC &&
	       (s->vm->device->config.flags & USVM_DEVICE_NO_SYSTEM_ATOMICS);
}

/* Whatever can be on the device is to be there: several tries, no excuse. */
static bool insists(const struct service *s)
{
	return s->can_move && s->vm->device->config.place_on_device;
}

/* The attributes want pages to come to the vm's device, or to one that it reaches. */
static bool prefers_device(const struct service *s)
{
	return insists(s) || s->guest_of || vm_attr_is_here(s->vm, &s->advice.attr);
}

static bool is_prefetch(const struct service *s)
{
	return s->access == USVM_ACCESS_PREFETCH || s->access == VM_ACCESS_TO_DEVICE;
}

static int find_memory(struct service *s)
{
	struct vm *vm = s->vm;
	uint32_t flags = 0;
	int err;

	lock_assert_held(&vm->lock);
	if (s->bind->read_only && wants_write(s->access) && !PLANTED(WRITE_UNCHECKED))
		return -EPERM;
	err = mm_look(vm->device->mm, s->addr, &s->look, &flags);
	if (err)
		return -EFAULT;
	if (s->look.vma.kind == SYS_VMA_SPECIAL)
		return -EFAULT;
	if (!(s->look.vma.prot & SYS_PROT_READ) ||
	    (wants_write(s->access) && !(s->look.vma.prot & SYS_PROT_WRITE)))
		return -EPERM;
	vm_attr_find(vm, s->bind, s->addr, &s->advice);
	if (s->access == USVM_ACCESS_ATOMIC && s->advice.attr.atomic == VM_ATOMIC_CPU)
		return -EACCES;
	s->can_move = (flags & MM_VMA_MIGRATES) &&
		      vm->device->config.migrate != VM_MIGRATE_NEVER;
	if (s->can_move && !needs_device(s) && !insists(s) &&
	    s->access != VM_ACCESS_TO_DEVICE &&
	    s->advice.attr.location == VM_LOCATION_DEVICE)
		s->guest_of = vm_guest_enter(vm, s->advice.attr.device);
	s->migrates = s->can_move && (needs_device(s) || s->access == VM_ACCESS_TO_DEVICE ||
				      prefers_device(s));
	return needs_device(s) && !s->can_move ? -EACCES : 0;
}

static bool is_writable(const struct service *s)
{
	return ((s->look.vma.prot & SYS_PROT_WRITE) && !s->bind->read_only) ||
	       PLANTED(WRITE_UNCHECKED);
}

/* A prefetch moves what could stay where it is: also pages that are mapped in place, and
 * a range of which only the first page is on the device. */
static bool wants_move(const struct service *s)
{
	return is_prefetch(s) && s->migrates;
}

/* Another engine's fault, or an earlier one, mapped the page already. */
static bool is_served(const struct service *s)
{
	return gpusvm_range_is_mapped(s->range, s->addr) && !needs_device(s) &&
	       !wants_move(s) && (!wants_write(s->access) || s->range->writable);
}

/* Whose memory the pages are to be in. */
static struct vm_device *destination(const struct service *s)
{
	return s->guest_of ? s->guest_of : s->vm->device;
}

enum place {
	PLACE_HOME,
	PLACE_HERE, /* at its destination */
	PLACE_ELSEWHERE, /* on another device */
};

static enum place find_place(const struct service *s)
{
	struct mm *mm = s->vm->device->mm;
	enum place place = PLACE_HOME;
	struct mm_entry *entry;

	lock_acquire(mm_event_lock(mm));
	entry = mm_entry_first(mm, span_block(s->addr, PAGE_BYTES));
	if (entry)
		place = pagemap_entry_devmem(destination(s)->pagemap, entry) ? PLACE_HERE :
								       PLACE_ELSEWHERE;
	lock_release(mm_event_lock(mm));
	return place;
}

/* What only device memory can serve stays there until it is: longer with each try. */
static uint64_t stay_ns(const struct service *s)
{
	if (!needs_device(s))
		return 0;
	return s->vm->device->config.timeslice_ns << s->migrations;
}

/* Once for each try: two devices that want the same page do not hold each other up. */
static int migrate(struct service *s)
{
	struct vm_device *to = destination(s);
	const struct vm_move move = {
		.range = s->range,
		.addr = s->addr,
		.wanted = !is_prefetch(s),
		.stay_ns = stay_ns(s),
		.look = &s->look,
	};
	int err = 0;

	lock_assert_held(&s->vm->lock);
	s->migrations++;
	/* Only what is at home, or on a peer, can be taken. */
	if (find_place(s) == PLACE_ELSEWHERE)
		err = gpusvm_evict(&s->vm->svm, s->range->node.span, to->pagemap,
				   GPUSVM_KEEP_OWN | GPUSVM_KEEP_PEERS, move.wanted);
	return err ? err : vm_migrate(s->vm, to, &move);
}

/* It would be in vain, and nobody insists. */
static bool is_left_alone(const struct service *s)
{
	struct vm_stats *stats = &s->vm->device->stats;

	lock_assert_held(&s->vm->lock);
	if (wants_move(s) || needs_device(s) || insists(s))
		return false;
	if (s->range->in_place && s->advice.attr.location == VM_LOCATION_DEFAULT) {
		vm_stat_add(stats, VM_STAT_THRASH_IN_PLACE, 1);
		return true;
	}
	if (!vm_is_busy(s->vm, s->addr))
		return false;
	vm_stat_add(stats, VM_STAT_BUSY_SKIPPED, 1);
	return true;
}

/* Where a run of system pages is bound. All of what is to stay where it is. */
static struct span system_part(const struct service *s, struct span run)
{
	if (!s->can_move || !prefers_device(s))
		return run;
	return span_intersect(run, span_block(s->addr, VM_FILL_BYTES));
}

static uint32_t run_flags(const struct service *s, const struct gpusvm_page_run *run)
{
	uint32_t flags = 0;

	if (run->vram)
		flags |= USVM_PTE_VRAM;
	if (run->peer)
		flags |= USVM_PTE_HOST;
	if (!is_writable(s))
		return flags;
	flags |= USVM_PTE_WRITE;
	if (s->advice.attr.atomic == VM_ATOMIC_CPU)
		return flags;
	if (run->vram || !(s->vm->device->config.flags & USVM_DEVICE_NO_SYSTEM_ATOMICS))
		flags |= USVM_PTE_ATOMIC;
	return flags;
}

static void bind_run(struct service *s, const struct gpusvm_page_run *run)
{
	struct vm_device *device = s->vm->device;
	struct span span = run->vram ? run->span : system_part(s, run->span);

	lock_assert_held(&s->vm->svm.notifier_lock);
	if (span_is_empty(span))
		return;
	device->config.ops->pt_map(device->config.device, s->vm->id, span.start,
				   span_bytes(span),
				   run->target + (span.start - run->span.start),
				   run_flags(s, run));
	gpusvm_range_set_mapped(&s->vm->svm, s->range, span);
	if (run->peer)
		vm_stat_add(&device->stats, VM_STAT_PEER_MAPPED, span_pages(span));
}

/* Entries of one range all allow writes or none does. */
static void change_permission(struct service *s)
{
	struct mm *mm = s->vm->device->mm;

	if (s->range->writable == is_writable(s))
		return;
	if (gpusvm_range_has_mapped(s->range)) {
		lock_acquire(mm_event_lock(mm));
		mm_invalidate_locked(mm, s->range->node.span, MM_EVENT_RELEASE);
		lock_release(mm_event_lock(mm));
	}
	s->range->writable = is_writable(s);
}

/* Return: 0; -EAGAIN something changed since the pages were collected. */
static int bind(struct service *s, const struct gpusvm_pages *pages)
{
	struct vm *vm = s->vm;
	struct vm_device *device = vm->device;
	struct span span = s->range->node.span;
	uint64_t start = vm_now_ns(device);
	int err;

	err = device->config.ops->pt_prepare(device->config.device, vm->id, span.start,
					     span_bytes(span));
	if (err)
		return err;
	lock_acquire(&vm->svm.notifier_lock);
	if (!gpusvm_range_pages_valid(&vm->svm, s->range, pages)) {
		lock_release(&vm->svm.notifier_lock);
		return -EAGAIN;
	}
	for (size_t i = 0; i < pages->count; i++)
		bind_run(s, &pages->runs[i]);
	lock_release(&vm->svm.notifier_lock);
	vm_stat_add(&device->stats, vm_stat_sized(VM_STAT_SIZED_BIND_US, span_bytes(span)),
		    (vm_now_ns(device) - start) / 1000);
	mm_trace(device->mm, TRACE_BIND, span.start, span_bytes(span), 0, 0);
	return 0;
}

static int get_pages_and_bind(struct service *s)
{
	struct vm *vm = s->vm;
	uint64_t start = vm_now_ns(vm->device);
	uint64_t bytes = span_bytes(s->range->node.span);
	int err;

	lock_assert_held(&vm->lock);
	change_permission(s);
	err = gpusvm_range_get_pages(&vm->svm, s->range, vm->device->pagemap, vm->pages);
	if (err == -EOPNOTSUPP) {
		err = gpusvm_evict(&vm->svm, s->range->node.span, vm->device->pagemap,
				   GPUSVM_KEEP_OWN | GPUSVM_KEEP_REACHED, !is_prefetch(s));
		return err ? err : -EAGAIN;
	}
	if (err)
		return err;
	vm_stat_add(&vm->device->stats, vm_stat_sized(VM_STAT_SIZED_GET_PAGES_US, bytes),
		    (vm_now_ns(vm->device) - start) / 1000);
	return bind(s, vm->pages);
}

/* One pass from the top. Return: 0; -EAGAIN again; else the answer. */
static int service_once(struct service *s, uint32_t *migrate_tries)
{
	struct vm *vm = s->vm;
	struct vm_stats *stats = &vm->device->stats;
	struct span limits;
	uint64_t bytes;
	int err;

	lock_assert_held(&vm->lock);
	vm_collect(vm);
	if (vm->closed)
		return -ECANCELED;
	if (vm_device_is_unplugged(vm->device)) /* P1 */
		return -ENODEV;
	s->bind = vm_bind_find(vm, s->addr);
	if (!s->bind)
		return -EFAULT;
	if (s->bind->kind != VM_BIND_MIRROR)
		return vm_bind_serve(s->bind, s->addr, s->access, &s->end);
	if (!s->is_counted)
		vm_stat_add(stats, VM_STAT_PAGEFAULT_COUNT, 1);
	s->is_counted = true;
	err = find_memory(s);
	if (err)
		return err;
	limits = vm_thrash_look(vm, s->addr, s->access == VM_ACCESS_TO_DEVICE);
	limits = span_intersect(limits, PLANTED(ATTR_WIDE_RANGE) ? s->bind->node.span :
								   s->advice.span);
	err = gpusvm_range_find_or_insert(&vm->svm, s->addr, &s->look.vma, limits, &s->range);
	if (err)
		return err;
	s->end = s->range->node.span.end;
	bytes = span_bytes(s->range->node.span);
	vm_stat_add(stats, vm_stat_sized(VM_STAT_SIZED_PAGEFAULT_COUNT, bytes), 1);
	if (is_served(s)) {
		vm_stat_add(stats, vm_stat_sized(VM_STAT_SIZED_VALID_PAGEFAULT_COUNT, bytes),
			    1);
		return 0;
	}
	if (s->migrates && *migrate_tries &&
	    (wants_move(s) || find_place(s) != PLACE_HERE) && !is_left_alone(s)) {
		(*migrate_tries)--;
		err = migrate(s);
		s->moved = err;
		if (err == -ENOMEM)
			return err;
	}
	if (needs_device(s) && find_place(s) != PLACE_HERE)
		return *migrate_tries ? -EAGAIN : -EACCES;
	if (insists(s) && *migrate_tries && find_place(s) != PLACE_HERE)
		return -EAGAIN;
	/* To hear of its end, also where nothing was taken: the VMA may be newer than what was
	 * registered there. */
	if ((!s->migrates || find_place(s) == PLACE_HOME) &&
	    mm_vma_watch(vm->device->mm, &s->look.vma) && s->watch_tries++ < VM_WATCH_TRIES)
		return -EAGAIN;
	err = get_pages_and_bind(s);
	if (!err && vm->device->config.place_on_device && find_place(s) != PLACE_HERE)
		vm_placement_note(vm, &s->look.vma, s->moved);
	return err;
}

/*
 * Map the page of @addr for @access. *@handled_end: where the range that was mapped ends;
 * NULL: a fault of the device, and counted as one.
 * Return: 0; -EFAULT, -EPERM, -EACCES, -ECANCELED, -ENODEV, -ENOMEM; -EBUSY after
 * VM_FAULT_TRIES.
 */
int vm_service(struct vm *vm, uint64_t addr, uint32_t access, uint64_t *handled_end)
{
	struct service s = {
		.vm = vm,
		.addr = addr,
		.access = access,
		.is_counted = handled_end != NULL,
	};
	bool insists_all = vm->device->config.place_on_device;
	uint32_t migrate_tries = needs_device(&s) || insists_all ? VM_MIGRATE_TRIES : 1;
	uint64_t start = vm_now_ns(vm->device);
	int err = -EAGAIN;

	lock_assert_held(&vm->lock);
	for (uint32_t tries = 0; err == -EAGAIN && tries < VM_FAULT_TRIES; tries++) {
		uint32_t ticket = mm_event_ticket(vm->device->mm);

		if (tries)
			vm_stat_add(&vm->device->stats, VM_STAT_RETRIES, 1);
		err = service_once(&s, &migrate_tries);
		vm_guest_leave(s.guest_of);
		s.guest_of = NULL;
		if (err == -EAGAIN)
			mm_event_wait(vm->device->mm, ticket, tries);
	}
	if (err)
		return err == -EAGAIN ? -EBUSY : err;
	if (handled_end)
		*handled_end = s.end;
	if (s.range)
		vm_stat_add(&vm->device->stats,
			    vm_stat_sized(VM_STAT_SIZED_PAGEFAULT_US,
					  span_bytes(s.range->node.span)),
			    (vm_now_ns(vm->device) - start) / 1000);
	return 0;
}

static void record(struct vm *vm, uint64_t addr, uint32_t access, int err)
{
	struct vm_fault_record *r;

	vm_stat_add(&vm->device->stats, VM_STAT_FAULTS_FAILED, 1);
	lock_acquire(&vm->fault_lock);
	r = &vm->faults[vm->fault_count++ % VM_FAULTS_KEPT];
	*r = (struct vm_fault_record){ addr, vm_now_ns(vm->device), access, err };
	lock_release(&vm->fault_lock);
}

/* usvm's part of struct usvm_device_fault. */
struct fault_work {
	struct mm_work work;
	struct vm *vm;
};

static void fault_run(struct mm_work *work)
{
	struct fault_work *fw = CONTAINER_OF(work, struct fault_work, work);
	struct usvm_device_fault *fault =
		CONTAINER_OF((void *)fw, struct usvm_device_fault, reserved);
	struct vm *vm = fw->vm;
	struct vm_device *device = vm->device;
	uint64_t start = mm_trace_start(device->mm);
	uint64_t addr = fault->addr;
	uint32_t access = fault->access;
	int err;

	lock_acquire(&vm->lock);
	err = vm_service(vm, addr, access, NULL);
	lock_release(&vm->lock);
	/* A guess of the device that was wrong is nobody's fault. */
	if (err && access == USVM_ACCESS_PREFETCH)
		vm_stat_add(&device->stats, VM_STAT_INVALID_PREFETCH_PAGEFAULT_COUNT, 1);
	else if (err)
		record(vm, addr, access, err);
	mm_trace(device->mm, TRACE_GPU_FAULT, addr, PAGE_BYTES, access, start);
	/* The fault is the device's again, before what it need not wait for; the vm may be
	 * destroyed as soon as it is not pending any more. */
	device->config.ops->fault_done(device->config.device, fault, err);
	pagemap_tidy(device->pagemap);
	vm_pending_put(vm);
}

int vm_device_take_fault(struct vm_device *device, struct usvm_device_fault *fault)
{
	struct fault_work *fw = (struct fault_work *)fault->reserved;
	int err;

	_Static_assert(sizeof(*fw) <= sizeof(fault->reserved), "fits the device's struct");
	if (fault->access > USVM_ACCESS_PREFETCH)
		return -EINVAL;
	err = vm_get(device, fault->vm, &fw->vm);
	if (err)
		return err;
	mm_work_init(&fw->work, fault_run);
	mm_work_queue(device->mm, &fw->work);
	return 0;
}

void vm_device_report(struct vm_device *device, uint32_t id, uint64_t addr, uint32_t access,
		      int error)
{
	struct vm *vm;

	if (vm_get(device, id, &vm))
		return;
	record(vm, addr, access, error);
	ATOMIC_SUB(&vm->pending_work, 1);
	wait_wake_all(&device->pending_wait);
}
