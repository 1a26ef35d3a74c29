/* SPDX-License-Identifier: MIT */
/*
 * Buffer objects: places, eviction, pins, bytes that go with the place, death.
 */
#include "vm/bo_internal.h"
#include "vm_fixture.h"

#define AT (FAKE_BASE + MIB(128)) /* GPU addresses; the process has nothing there */
#define BOTH (VM_BO_SYSTEM | VM_BO_DEVICE)

static struct vm_bo *make_bo(struct fixture *f, uint64_t bytes, uint32_t placement,
			     uint32_t flags)
{
	struct vm_bo *bo = NULL;

	assert_int_equal(vm_bo_create(f->gpu.device, bytes, placement, flags, &bo), 0);
	return bo;
}

static void bind_at(struct fixture *f, struct vm_bo *bo, uint64_t addr)
{
	struct vm_bo_info info;

	vm_bo_info(bo, &info);
	assert_int_equal(vm_bind(f->vm, &(struct vm_bind_args){
						.kind = VM_BIND_BO,
						.span = span_make(addr, info.bytes),
						.bo = bo,
					}),
			 0);
}

static uint32_t place_of(struct vm_bo *bo)
{
	struct vm_bo_info info;

	vm_bo_info(bo, &info);
	return info.place;
}

static uint64_t used(struct fixture *f)
{
	struct vram_stats stats;

	vm_device_vram(f->gpu.device, &stats);
	return stats.used_bytes;
}

/* Bytes of an object as the CPU that maps it sees them. */
static uint64_t *word_of(struct vm_bo *bo, uint64_t offset)
{
	return (uint64_t *)((unsigned char *)vm_bo_memory(bo) + offset);
}

/* --- places ---------------- */

static void an_object_has_a_place_when_it_is_used(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, MIB(2), VM_BO_DEVICE, 0);

	assert_int_equal(place_of(bo), 0);
	bind_at(f, bo, AT);
	assert_int_equal(place_of(bo), 0);
	assert_int_equal(used(f), 0);
	assert_int_equal(gpu_read(f, AT + KIB(64)), 0);
	assert_int_equal(place_of(bo), VM_BO_DEVICE);
	assert_int_equal(used(f), MIB(2));
	gpu_write(f, AT + KIB(64), 7);
	assert_int_equal(*word_of(bo, KIB(64)), 7);
	*word_of(bo, MIB(1)) = 8;
	assert_int_equal(gpu_read(f, AT + MIB(1)), 8);
	assert_int_equal(f->gpu.maps, 1); /* the whole of it at once */
	assert_int_equal(stat(f, VM_STAT_BO_PLACED), 1);
	assert_int_equal(stat(f, VM_STAT_VMA_PAGEFAULT_COUNT), 1);
	assert_int_equal(stat(f, VM_STAT_VMA_PAGEFAULT_KB), 2048);
	assert_int_equal(stat(f, VM_STAT_SIZED_PAGEFAULT_COUNT + 2), 0); /* no mirror */
	assert_int_equal(stat(f, VM_STAT_PAGEFAULT_COUNT), 0);
	vm_bo_put(bo);
	assert_int_equal(used(f), MIB(2)); /* the bind has it */
	assert_int_equal(vm_unmap(f->vm, span_make(AT, MIB(2))), 0);
	assert_int_equal(used(f), 0);
}

static void placement_decides(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *system = make_bo(f, MIB(2), VM_BO_SYSTEM, 0);
	struct vm_bo *most = make_bo(f, MIB(4), VM_BO_DEVICE, 0);
	struct vm_bo *rest = make_bo(f, MIB(4), VM_BO_DEVICE, 0);
	struct vm_bo *either = make_bo(f, MIB(2), BOTH, 0);

	assert_int_equal(vm_bo_validate(system), 0);
	assert_int_equal(place_of(system), VM_BO_SYSTEM);
	assert_int_equal(vm_bo_validate(most), 0);
	assert_int_equal(vm_bo_validate(either), 0);
	assert_int_equal(place_of(either), VM_BO_DEVICE);
	/* One that has a choice evicts nobody; one that has none does. */
	assert_int_equal(vm_bo_validate(rest), 0);
	assert_int_equal(place_of(rest), VM_BO_DEVICE);
	assert_int_equal(place_of(most), 0);
	assert_int_equal(vm_bo_validate(most), 0);
	assert_int_equal(place_of(either), 0);
	assert_int_equal(vm_bo_validate(either), 0);
	assert_int_equal(place_of(either), VM_BO_SYSTEM);
	assert_int_equal(stat(f, VM_STAT_BO_EVICTIONS), 2);
	/* What is larger than device memory never has a place there. */
	assert_int_equal(vm_bo_create(f->gpu.device, VRAM_BYTES + PAGE_BYTES, VM_BO_DEVICE, 0,
				      &rest),
			 -ENOSPC);
	vm_bo_put(system);
	vm_bo_put(most);
	vm_bo_put(rest);
	vm_bo_put(either);
	assert_int_equal(used(f), 0);
}

static void bad_arguments_are_refused(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = NULL;
	uint64_t bytes;

	assert_int_equal(vm_bo_create(f->gpu.device, 0, BOTH, 0, &bo), -EINVAL);
	assert_int_equal(vm_bo_create(f->gpu.device, 100, BOTH, 0, &bo), -EINVAL);
	assert_int_equal(vm_bo_create(f->gpu.device, 1ull << 48, BOTH, 0, &bo), -EINVAL);
	assert_int_equal(vm_bo_create(f->gpu.device, KIB(4), 0, 0, &bo), -EINVAL);
	assert_int_equal(vm_bo_create(f->gpu.device, KIB(4), 4, 0, &bo), -EINVAL);
	assert_int_equal(vm_bo_create(f->gpu.device, KIB(4), BOTH, 4, &bo), -EINVAL);
	f->gpu.device->config.flags &= ~(uint32_t)USVM_DEVICE_OBJECTS;
	assert_int_equal(vm_bo_create(f->gpu.device, KIB(4), BOTH, 0, &bo), -EOPNOTSUPP);
	f->gpu.device->config.flags |= USVM_DEVICE_OBJECTS;

	bo = make_bo(f, MIB(1), VM_BO_SYSTEM, 0);
	assert_int_equal(vm_bo_move(bo, VM_BO_DEVICE), -EINVAL);
	assert_int_equal(vm_bo_move(bo, BOTH), -EINVAL);
	vm_bo_put(bo);
	vm_bo_put(NULL);

	bytes = fake_page_bytes(f->fake);
	fake_fail(f->fake, "shared_map", 1, ENOMEM);
	assert_int_equal(vm_bo_create(f->gpu.device, KIB(4), BOTH, 0, &bo), -ENOMEM);
	assert_int_equal(fake_page_bytes(f->fake), bytes);
}

static void the_program_is_shown_what_it_may_see(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, KIB(64), BOTH, 0);
	struct vm_bo *hidden = make_bo(f, KIB(64), BOTH, VM_BO_DEVICE_ONLY);
	struct span part = { KIB(4), KIB(8) };
	uint64_t addr;

	assert_int_equal(vm_bo_map(hidden, part, 0, READ_WRITE, &addr), -EACCES);
	assert_int_equal(vm_bo_map(bo, (struct span){ 0, 0 }, 0, READ_WRITE, &addr), -EINVAL);
	assert_int_equal(vm_bo_map(bo, (struct span){ 0, 100 }, 0, READ_WRITE, &addr),
			 -EINVAL);
	assert_int_equal(vm_bo_map(bo, (struct span){ 0, KIB(68) }, 0, READ_WRITE, &addr),
			 -EINVAL);
	assert_int_equal(vm_bo_map(bo, part, 100, READ_WRITE, &addr), -EINVAL);
	assert_int_equal(vm_bo_map(bo, part, 1ull << 47, READ_WRITE, &addr), -EINVAL);
	assert_int_equal(vm_bo_map(bo, part, 0, 0, &addr), -EINVAL);
	assert_int_equal(vm_bo_map(bo, part, 0, SYS_PROT_READ | SYS_PROT_EXEC, &addr),
			 -EINVAL);
	assert_int_equal(vm_bo_map(bo, part, 0, READ_WRITE, &addr), -EOPNOTSUPP);
	assert_int_equal(fake_calls(f->fake, "shared_show"), 1);
	vm_bo_put(bo);
	vm_bo_put(hidden);
}

/* --- eviction ---------------- */

static void who_is_evicted_comes_back_with_its_bytes(void **state)
{
	struct fixture *f = *state;
	uint32_t flags = f->gpu.memory ? VM_BO_DEVICE_ONLY : 0u;
	struct vm_bo *bos[6];

	for (uint64_t i = 0; i < ARRAY_SIZE(bos); i++) {
		bos[i] = make_bo(f, MIB(2), VM_BO_DEVICE, flags);
		bind_at(f, bos[i], AT + i * MIB(2));
		gpu_write(f, AT + i * MIB(2), 100 + i);
		gpu_write(f, AT + i * MIB(2) + MIB(1), 200 + i);
	}
	assert_int_equal(used(f), VRAM_BYTES);
	for (uint64_t round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < ARRAY_SIZE(bos); i++) {
			assert_int_equal(gpu_read(f, AT + i * MIB(2)), 100 + i);
			assert_int_equal(gpu_read(f, AT + i * MIB(2) + MIB(1)), 200 + i);
			assert_true(used(f) <= VRAM_BYTES);
		}
	}
	assert_true(stat(f, VM_STAT_BO_EVICTIONS) >= 8);
	assert_int_equal(is_vram(f, AT + MIB(10)), flags != 0);
	for (uint64_t i = 0; i < ARRAY_SIZE(bos); i++)
		vm_bo_put(bos[i]);
	assert_int_equal(vm_unmap(f->vm, span_make(AT, MIB(12))), 0);
	assert_int_equal(used(f), 0);
}

/* Pages of the process and objects share the pool and its LRU. */
static void objects_and_pages_evict_each_other(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, VRAM_BYTES, VM_BO_DEVICE, 0);

	heap_fill(f, 0, HEAP_PAGES);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(gpu_fault(f, HEAP, USVM_ACCESS_WRITE), 0);
		assert_true(is_vram(f, HEAP));
		assert_int_equal(place_of(bo), 0);
		assert_int_equal(vm_bo_validate(bo), 0);
		assert_int_equal(mm_entry_pages(f->mm), 0);
		assert_int_equal(used(f), VRAM_BYTES);
		for (uint64_t i = 0; i < HEAP_PAGES; i++)
			assert_int_equal(fake_tag(f->fake, heap(i)), tag_of(i));
	}
	vm_bo_put(bo);
	run_all(f);
	assert_int_equal(used(f), 0);
}

static void a_pinned_object_stays_and_pages_are_used_in_place(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, VRAM_BYTES, BOTH, 0);
	struct vm_bo *other = make_bo(f, MIB(2), VM_BO_DEVICE, 0);

	assert_int_equal(vm_bo_pin(bo), 0);
	assert_int_equal(vm_bo_pin(bo), 0);
	heap_fill(f, 0, HEAP_PAGES);
	assert_int_equal(gpu_fault(f, HEAP, USVM_ACCESS_WRITE), 0);
	assert_false(is_vram(f, HEAP));
	assert_int_equal(gpu_read(f, HEAP), tag_of(0));
	assert_int_equal(vm_bo_validate(other), -ENOSPC);
	assert_int_equal(vm_bo_move(bo, VM_BO_SYSTEM), -EBUSY);
	vm_bo_unpin(bo);
	assert_int_equal(vm_bo_validate(other), -ENOSPC);
	vm_bo_unpin(bo);
	assert_int_equal(vm_bo_validate(other), 0);
	assert_int_equal(place_of(bo), 0);
	vm_bo_put(bo);
	vm_bo_put(other);
}

static struct vm_bo *pinned;

static void unpin_at_third(void *arg)
{
	struct fixture *f = arg;

	if (++f->test[0] == 3)
		vm_bo_unpin_briefly(pinned);
}

/* As a fault has it while it writes entries: who moves the object comes a moment too soon. */
static void who_moves_an_object_waits_for_brief_pins(void **state)
{
	static const enum vm_bo_place places[] = { VM_BO_SYSTEM, VM_BO_DEVICE };
	struct fixture *f = *state;

	pinned = make_bo(f, MIB(2), BOTH, 0);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		assert_int_equal(vm_bo_pin_briefly(pinned), 0);
		f->test[0] = 0;
		f->fake->yield_hook = unpin_at_third;
		assert_int_equal(vm_bo_move(pinned, places[i]), 0);
		f->fake->yield_hook = settle_hook;
		assert_int_equal(f->test[0], 3);
		assert_int_equal(place_of(pinned), places[i]);
	}
	vm_bo_put(pinned);
}

static struct fixture *waker;

/* Who waits for room is woken: it looks now. */
static void look_for_room(uint32_t *word UNUSED, uint32_t count UNUSED)
{
	assert_int_equal(used(waker), 0);
	waker->test[0]++;
}

static void what_an_object_left_is_free_when_who_waits_for_room_is_told(void **state)
{
	const struct base_host_ops *before = base_host;
	struct base_host_ops ours = *base_host;
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, MIB(2), BOTH, 0);

	assert_int_equal(vm_bo_move(bo, VM_BO_DEVICE), 0);
	waker = f;
	ours.unpark = look_for_room;
	base_host = &ours;
	f->gpu.device->room.pins_passed.waiters++;
	assert_int_equal(vm_bo_move(bo, VM_BO_SYSTEM), 0);
	f->gpu.device->room.pins_passed.waiters--;
	base_host = before;
	assert_int_equal(f->test[0], 1);
	vm_bo_put(bo);
}

static void an_object_moves_when_it_is_asked_to(void **state)
{
	struct fixture *f = *state;
	uint32_t flags = f->gpu.memory ? VM_BO_DEVICE_ONLY : 0u;
	struct vm_bo *bo = make_bo(f, MIB(2), BOTH, flags);

	bind_at(f, bo, AT);
	gpu_write(f, AT, 1);
	for (uint64_t round = 1; round < 4; round++) {
		assert_int_equal(vm_bo_move(bo, VM_BO_SYSTEM), 0);
		assert_int_equal(pte_of(f, AT)->flags, 0);
		assert_int_equal(used(f), 0);
		assert_int_equal(*word_of(bo, 0), round);
		assert_int_equal(gpu_read(f, AT), round);
		assert_int_equal(place_of(bo), VM_BO_SYSTEM);
		assert_int_equal(vm_bo_move(bo, VM_BO_DEVICE), 0);
		assert_int_equal(pte_of(f, AT)->flags, 0);
		assert_int_equal(used(f), MIB(2));
		gpu_write(f, AT, round + 1);
	}
	assert_int_equal(vm_bo_move(bo, VM_BO_DEVICE), 0);
	assert_int_not_equal(pte_of(f, AT)->flags, 0);
	vm_bo_put(bo);
}

/* A copy that fails changes nothing. */
static void a_copy_that_fails_leaves_it_where_it_was(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, MIB(8), BOTH, VM_BO_DEVICE_ONLY);
	struct vm_bo *other = make_bo(f, MIB(2), VM_BO_DEVICE, VM_BO_DEVICE_ONLY);

	bind_at(f, bo, AT);
	gpu_write(f, AT + MIB(5), 5);
	f->gpu.copy_error = -EIO;
	assert_int_equal(vm_bo_move(bo, VM_BO_SYSTEM), -EIO);
	assert_int_equal(vm_bo_validate(other), -ENOSPC);
	assert_int_equal(place_of(bo), VM_BO_DEVICE);
	f->gpu.copy_error = 0;
	assert_int_equal(gpu_read(f, AT + MIB(5)), 5);
	assert_int_equal(vm_bo_validate(other), 0);
	assert_int_equal(gpu_read(f, AT + MIB(5)), 5);
	assert_int_equal(place_of(bo), VM_BO_SYSTEM);
	vm_bo_put(bo);
	vm_bo_put(other);
}

/* Atomics that only device memory can do bring it there. */
static void an_atomic_moves_an_object_that_may(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *either = make_bo(f, MIB(2), BOTH, 0);
	struct vm_bo *never = make_bo(f, MIB(2), VM_BO_SYSTEM, 0);

	bind_at(f, either, AT);
	bind_at(f, never, AT + MIB(2));
	assert_int_equal(vm_bo_move(either, VM_BO_SYSTEM), 0);
	assert_int_equal(gpu_read(f, AT), 0);
	assert_false(pte_of(f, AT)->flags & USVM_PTE_ATOMIC);
	assert_int_equal(gpu_fault(f, AT, USVM_ACCESS_ATOMIC), 0);
	assert_int_equal(place_of(either), VM_BO_DEVICE);
	assert_true(pte_of(f, AT)->flags & USVM_PTE_ATOMIC);
	assert_int_equal(gpu_fault(f, AT + MIB(2), USVM_ACCESS_ATOMIC), -EACCES);
	vm_bo_put(either);
	vm_bo_put(never);
}

/* As what is loaded and stored there. */
static void an_atomic_on_what_was_purged_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, MIB(2), VM_BO_DEVICE, VM_BO_PURGEABLE);
	struct vm_bo *all = make_bo(f, VRAM_BYTES, VM_BO_DEVICE, 0);
	struct vm_bind_args args = {
		.kind = VM_BIND_BO,
		.span = span_make(AT, MIB(2)),
		.bo = bo,
		.null_if_purged = true,
	};
	bool purged;

	assert_int_equal(vm_bind(f->vm, &args), 0);
	gpu_write(f, AT, 7);
	assert_int_equal(vm_advise_need(f->vm, args.span, false, &purged), 0);
	assert_false(purged);
	assert_int_equal(vm_bo_validate(all), 0);
	assert_int_equal(vm_bo_need(bo), VM_NEED_PURGED);
	assert_int_equal(gpu_fault(f, AT, USVM_ACCESS_ATOMIC), 0);
	assert_true(pte_of(f, AT)->flags & USVM_PTE_NULL);
	assert_true(pte_of(f, AT)->flags & USVM_PTE_ATOMIC);
	assert_int_equal(gpu_read(f, AT), 0);
	/* A bind that did not ask for that fails. */
	args.null_if_purged = false;
	assert_int_equal(vm_bind(f->vm, &args), 0);
	assert_int_equal(gpu_fault(f, AT, USVM_ACCESS_ATOMIC), -EACCES);
	vm_bo_put(bo);
	vm_bo_put(all);
}

/* --- the device goes ---------------- */

static void an_unplugged_device_gives_no_place(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, MIB(2), VM_BO_DEVICE, f->gpu.memory ? VM_BO_DEVICE_ONLY : 0u);
	struct vm_bo *system = make_bo(f, MIB(2), VM_BO_SYSTEM, 0);

	bind_at(f, bo, AT);
	bind_at(f, system, AT + MIB(2));
	gpu_write(f, AT, 1);
	gpu_write(f, AT + MIB(2), 2);
	f->gpu.copy_error = -EIO; /* what it had is lost */
	assert_int_equal(vm_device_unplug(f->gpu.device), 0);
	assert_int_equal(pte_of(f, AT)->flags | pte_of(f, AT + MIB(2))->flags, 0);
	assert_int_equal(used(f), 0);
	assert_int_equal(vm_bo_validate(bo), -ENODEV);
	assert_int_equal(vm_bo_move(system, VM_BO_SYSTEM), -ENODEV);
	assert_int_equal(vm_populate(f->vm, span_make(AT, MIB(4))), -ENODEV);
	assert_int_equal(*word_of(system, 0), 2);
	assert_int_equal(vm_bo_create(f->gpu.device, MIB(2), BOTH, 0, &bo), -ENODEV);
	vm_bo_put(bo);
	vm_bo_put(system);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_object_has_a_place_when_it_is_used),
		TEST(placement_decides),
		TEST(bad_arguments_are_refused),
		TEST(the_program_is_shown_what_it_may_see),
		TEST(who_is_evicted_comes_back_with_its_bytes),
		TEST_COPY(who_is_evicted_comes_back_with_its_bytes),
		TEST(objects_and_pages_evict_each_other),
		TEST_COPY(objects_and_pages_evict_each_other),
		TEST(a_pinned_object_stays_and_pages_are_used_in_place),
		TEST(who_moves_an_object_waits_for_brief_pins),
		TEST(what_an_object_left_is_free_when_who_waits_for_room_is_told),
		TEST(an_object_moves_when_it_is_asked_to),
		TEST_COPY(an_object_moves_when_it_is_asked_to),
		TEST_WITH(a_copy_that_fails_leaves_it_where_it_was, set_up_copy),
		TEST_WITH(an_atomic_moves_an_object_that_may, set_up_no_atomics),
		TEST_WITH(an_atomic_on_what_was_purged_is_dropped, set_up_no_atomics),
		TEST(an_unplugged_device_gives_no_place),
		TEST_COPY(an_unplugged_device_gives_no_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
