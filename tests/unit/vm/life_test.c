/* SPDX-License-Identifier: MIT */
/*
 * Address spaces: birth, binds, the collector, what queries say, death.
 */
#include "vm_fixture.h"
#include "vm/vm_internal.h"

static void a_device_has_as_many_vms_as_it_has_numbers(void **state)
{
	struct fixture *f = *state;
	struct vm *vms[VM_PER_DEVICE_MAX];
	struct vm *more = NULL;

	assert_int_equal(vm_id(f->vm), 0);
	for (uint32_t i = 1; i < VM_PER_DEVICE_MAX; i++) {
		assert_int_equal(vm_create(f->gpu.device, 0, &vms[i]), 0);
		assert_int_equal(vm_id(vms[i]), i);
	}
	assert_int_equal(vm_create(f->gpu.device, 0, &more), -ENOSPC);
	assert_null(more);
	vm_destroy(vms[2]);
	assert_int_equal(vm_create(f->gpu.device, 0, &vms[2]), 0);
	assert_int_equal(vm_id(vms[2]), 2);
	for (uint32_t i = 1; i < VM_PER_DEVICE_MAX; i++)
		vm_destroy(vms[i]);
	vm_destroy(NULL);
}

static void create_fails_and_leaks_nothing(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = NULL;
	uint64_t bytes = fake_page_bytes(f->fake);
	uint64_t nth = 1;

	for (;; nth++) {
		int err;

		fake_fail(f->fake, "pages_alloc", nth, ENOMEM);
		err = vm_create(f->gpu.device, 0, &vm);
		if (!err)
			break;
		assert_int_equal(err, -ENOMEM);
		assert_null(vm);
		assert_int_equal(fake_page_bytes(f->fake), bytes);
		assert_false(f->gpu.exists[1]);
	}
	assert_int_equal(nth, 5); /* the vm, its scratch, its bind, room for attributes */
	vm_destroy(vm);
	f->gpu.vm_create_error = -ENOMEM;
	assert_int_equal(vm_create(f->gpu.device, 0, &vm), -ENOMEM);
	assert_int_equal(fake_page_bytes(f->fake), bytes);
}

/* One that an older vm of the same number left in the device: nobody waits for it, and it
 * would outlive a vm that is not made after all. */
static void a_late_fault_does_not_find_a_vm_that_is_not_made_yet(void **state)
{
	struct fixture *f = *state;
	struct usvm_device_fault late = { .addr = HEAP };
	struct vm *vm = NULL;

	f->gpu.late = &late;
	f->gpu.vm_create_error = -ENOMEM;
	assert_int_equal(vm_create(f->gpu.device, 0, &vm), -ENOMEM);
	assert_int_equal(f->gpu.late_error, -ENOENT);
	run_all(f);
	f->gpu.vm_create_error = 0;
	assert_int_equal(vm_create(f->gpu.device, 0, &vm), 0);
	assert_int_equal(f->gpu.late_error, -ENOENT);
	run_all(f);
	assert_int_equal(f->gpu.done, 0);
	f->gpu.late = NULL;
	assert_int_equal(gpu_fault_in(f, &f->gpu, vm, HEAP, USVM_ACCESS_WRITE), 0);
	vm_destroy(vm);
}

static void a_device_without_memory_is_not_made(void **state)
{
	struct fixture *f = *state;
	const struct usvm_device_host host = { 0 };
	struct vm_device_config config = f->gpu.device->config;
	uint64_t bytes = fake_page_bytes(f->fake);

	for (uint64_t nth = 1; nth < 8; nth++) {
		struct vm_device *device = NULL;
		int err;

		fake_fail(f->fake, "pages_alloc", nth, ENOMEM);
		err = vm_device_create(f->mm, &config, &host, &device);
		if (err) {
			assert_int_equal(err, -ENOMEM);
			assert_null(device);
		} else {
			assert_int_equal(vm_device_drain(device), 0);
			vm_device_destroy(device);
		}
		fake_fail(f->fake, "pages_alloc", 1u << 30, 0);
		assert_int_equal(fake_page_bytes(f->fake), bytes);
	}
	vm_device_destroy(NULL);
}

/* --- binds ---------------- */

static void binds_are_whole_pages_and_do_not_overlap(void **state)
{
	static const struct span invalid[] = {
		{ HEAP, HEAP },
		{ HEAP + PAGE_BYTES, HEAP },
		{ HEAP + 1, HEAP + PAGE_BYTES },
		{ HEAP, HEAP + 100 },
		{ 1ull << 47, (1ull << 47) + PAGE_BYTES },
	};
	struct fixture *f = *state;
	struct vm *vm;

	assert_int_equal(vm_create(f->gpu.device, VM_NO_MIRROR, &vm), 0);
	for (size_t i = 0; i < ARRAY_SIZE(invalid); i++) {
		assert_int_equal(vm_bind_mirror(vm, invalid[i], false), -EINVAL);
		assert_int_equal(vm_unbind(vm, invalid[i]), -EINVAL);
	}
	assert_int_equal(vm_bind_mirror(vm, heap_span(8, 8), false), 0);
	assert_int_equal(vm_bind_mirror(vm, heap_span(15, 8), false), -EBUSY);
	assert_int_equal(vm_bind_mirror(vm, heap_span(0, 64), true), -EBUSY);
	assert_int_equal(vm_bind_mirror(vm, heap_span(16, 8), true), 0);
	assert_int_equal(vm_unbind(vm, heap_span(8, 16)), -ENOENT);
	assert_int_equal(vm_unbind(vm, heap_span(8, 4)), -ENOENT);
	assert_int_equal(vm_unbind(vm, heap_span(8, 8)), 0);
	assert_int_equal(vm_unbind(vm, heap_span(8, 8)), -ENOENT);
	/* What a bind failed to take is not lost. */
	fake_fail(f->fake, "pages_alloc", 1, ENOMEM);
	assert_int_equal(vm_bind_mirror(vm, heap_span(15, 8), false), -EBUSY);
	vm_destroy(vm);
}

static void a_bind_with_ranges_is_busy_until_they_are_gone(void **state)
{
	struct fixture *f = *state;
	struct vm *vm;

	assert_int_equal(vm_create(f->gpu.device, VM_NO_MIRROR, &vm), 0);
	assert_int_equal(vm_bind_mirror(vm, heap_span(0, 16), false), 0);
	assert_int_equal(gpu_fault_in(f, &f->gpu, vm, heap(3), USVM_ACCESS_WRITE), 0);
	assert_int_equal(vm_unbind(vm, heap_span(0, 16)), -EBUSY);
	fake_munmap(f->fake, heap_span(0, 16));
	settle(f);
	/* The collector did not run yet: unbind does what it would. */
	assert_int_equal(vm_unbind(vm, heap_span(0, 16)), 0);
	assert_int_equal(vm->svm.range_count, 0);
	run_all(f);
	vm_destroy(vm);
}

/* --- the collector ---------------- */

static void ranges_whose_memory_went_are_collected(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	gpu_read(f, heap(0));
	gpu_read(f, heap(512));
	assert_int_equal(f->vm->svm.range_count, 2);
	fake_munmap(f->fake, heap_span(2, 1));
	fake_munmap(f->fake, heap_span(600, 1));
	settle(f);
	assert_int_equal(f->vm->svm.range_count, 2);
	run_all(f);
	assert_int_equal(f->vm->svm.range_count, 0);
	assert_int_equal(stat(f, VM_STAT_RANGES_COLLECTED), 2);
	assert_int_equal(pte_of(f, heap(0))->flags, 0);
	/* What remains is mirrored anew. */
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
	assert_int_equal(gpu_fault(f, heap(2), USVM_ACCESS_READ), -EFAULT);
}

static void a_fault_collects_before_the_collector_does(void **state)
{
	struct fixture *f = *state;

	gpu_read(f, heap(0));
	fake_map(f->fake, heap_span(0, 512), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	settle(f);
	fake_set_tag(f->fake, heap(0), 5);
	assert_int_equal(gpu_read(f, heap(0)), 5);
	assert_int_equal(stat(f, VM_STAT_RANGES_COLLECTED), 1);
	run_all(f);
	assert_int_equal(stat(f, VM_STAT_RANGES_COLLECTED), 1);
}

/* --- the end ---------------- */

static void a_vm_dies_with_ranges_and_pages_stay_where_they_are(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	gpu_write(f, heap(1), 11);
	vm_destroy(f->vm);
	f->vm = NULL;
	assert_true(is_on_device(f, heap(1)));
	assert_int_equal(cpu_read(f, heap(1)), 11);
	assert_int_equal(vm_create(f->gpu.device, 0, &f->vm), 0);
	assert_int_equal(gpu_read(f, heap(1)), 11);
	expect_tags(f, 2, 2);
}

static void draining_brings_everything_home(void **state)
{
	struct fixture *f = *state;
	struct vram_stats stats;

	heap_fill(f, 0, 4);
	gpu_write(f, heap(1), 11);
	vm_destroy(f->vm);
	f->vm = NULL;
	assert_int_equal(vm_device_drain(f->gpu.device), 0);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	assert_int_equal(fake_tag(f->fake, heap(1)), 11);
	vm_device_vram(f->gpu.device, &stats);
	assert_int_equal(stats.used_bytes, 0);
	expect_tags(f, 2, 2);
}

static void a_device_that_closes_takes_no_fault(void **state)
{
	struct fixture *f = *state;
	struct usvm_device_fault fault = { .vm = 0, .addr = HEAP };

	vm_destroy(f->vm);
	f->vm = NULL;
	assert_int_equal(vm_device_take_fault(f->gpu.device, &fault), -ENOENT);
	assert_int_equal(vm_device_drain(f->gpu.device), 0);
	assert_int_equal(vm_device_take_fault(f->gpu.device, &fault), -ENODEV);
}

/* Events that will not end: it says so, and can be asked again. */
static void a_drain_that_fails_leaves_a_device_that_works(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	gpu_write(f, heap(1), 11);
	fake_munmap(f->fake, span_make(HEAP + MIB(3), PAGE_BYTES));
	f->fake->yield_hook = NULL; /* nobody reads it */
	assert_int_equal(vm_device_drain(f->gpu.device), -EBUSY);
	f->fake->yield_hook = settle_hook;
	assert_true(is_on_device(f, heap(1)));
	settle(f);
	assert_int_equal(gpu_read(f, heap(1)), 11);
	expect_tags(f, 2, 2);
}

/* --- queries ---------------- */

static void a_query_tells_where_a_page_is(void **state)
{
	struct fixture *f = *state;
	struct vm_page_info info;

	heap_fill(f, 0, 8);
	vm_query(f->vm, OTHER, &info);
	assert_false(info.has_vma || info.has_entry || info.mapped || info.moving);
	vm_query(f->vm, heap(4) + 100, &info);
	assert_true(info.has_vma);
	assert_false(info.has_entry || info.mapped);
	assert_int_equal(info.run_bytes, HEAP_VMA.end - heap(4));
	gpu_read(f, heap(3));
	assert_int_equal(cpu_read(f, heap(6)), tag_of(6));
	vm_query(f->vm, heap(4) + 100, &info);
	assert_true(info.has_vma && info.has_entry && info.mapped && info.writable);
	assert_false(info.moving);
	assert_false(info.is_elsewhere);
	assert_string_equal(info.device, "fake");
	assert_int_equal(info.run_bytes, 2 * PAGE_BYTES);
	assert_int_equal(info.vram_offset, pte_of(f, heap(4))->target);
	vm_query(f->vm, heap(6), &info);
	assert_true(info.has_vma);
	assert_false(info.has_entry || info.mapped);
	assert_int_equal(info.run_bytes, PAGE_BYTES);
}

static void a_query_of_nothing_ends_where_something_is(void **state)
{
	struct fixture *f = *state;
	const struct span next = { HEAP + MIB(32), HEAP + MIB(33) };
	struct vm_page_info info;

	fake_map(f->fake, next, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	vm_query(f->vm, HEAP_VMA.end + 100, &info);
	assert_false(info.has_vma);
	assert_int_equal(info.run_bytes, next.start - HEAP_VMA.end);
	vm_query(f->vm, HEAP - 5 * PAGE_BYTES, &info);
	assert_int_equal(info.run_bytes, 5 * PAGE_BYTES);
	vm_query(f->vm, (1ull << 47) - 1, &info);
	assert_false(info.has_vma);
	assert_int_equal(info.run_bytes, PAGE_BYTES);

	/* A page on the device is not what ends it. */
	gpu_read(f, heap(8));
	vm_query(f->vm, HEAP - PAGE_BYTES, &info);
	assert_int_equal(info.run_bytes, PAGE_BYTES);
}

static void a_query_of_a_span_counts_pages_by_place(void **state)
{
	struct fixture *f = *state;
	uint64_t pages[4];

	heap_fill(f, 0, 8);
	gpu_read(f, heap(3));
	vm_query_span(f->vm, span_make(HEAP - MIB(1), MIB(6)), pages);
	assert_int_equal(pages[0], 2 * 256);
	assert_int_equal(pages[2], 0);
	assert_int_equal(pages[3], 8 + 8); /* and the holes of the 64 KiB around */
	assert_int_equal(pages[1], 1024 - pages[3]);
	fake_munmap(f->fake, heap_span(0, 2));
	settle(f);
	vm_query_span(f->vm, heap_span(0, 8), pages);
	assert_int_equal(pages[0], 2);
	assert_int_equal(pages[3], 6);
	vm_query_span(f->vm, span_make(OTHER, MIB(1)), pages);
	assert_int_equal(pages[0], 256);
}

/* Where device memory begins in the process. */
static uint64_t vram_address(struct fixture *f)
{
	const unsigned char *arena = f->sys->ops->pointer(f->sys, FAKE_ARENA, PAGE_BYTES);

	return FAKE_ARENA + (uint64_t)(f->gpu.device->host.vram - arena);
}

static void a_query_sees_pages_that_move(void **state)
{
	struct fixture *f = *state;
	struct pagemap_devmem *devmem;
	struct mm_take take = { .span = heap_span(8, 4), .moving = true };
	struct vm_page_info info;
	uint64_t pages[4];
	bool peers;

	heap_fill(f, 0, 1);
	gpu_read(f, heap(0));
	heap_fill(f, 8, 4);
	assert_int_equal(mm_bring_home(f->mm, heap_span(8, 4), NULL), 0);
	assert_int_equal(pagemap_find(f->gpu.device->pagemap, heap_span(0, 512), &devmem, &peers),
			 0);
	take.owner = &devmem->zdd.owner;
	take.frame = 8 * PAGE_BYTES;
	take.destination = vram_address(f) + devmem->vram_offset + take.frame;
	assert_int_equal(mm_take(f->mm, &take), 0);
	vm_query(f->vm, heap(9), &info);
	assert_true(info.has_entry && info.moving);
	vm_query_span(f->vm, heap_span(8, 4), pages);
	assert_int_equal(pages[2], 4);
	mm_take_finish(f->mm, &take);
	vm_query_span(f->vm, heap_span(8, 4), pages);
	assert_int_equal(pages[2], 0);
	assert_int_equal(pages[3], 4);
	pagemap_devmem_put(devmem);
	expect_tags(f, 8, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_device_has_as_many_vms_as_it_has_numbers),
		TEST(create_fails_and_leaks_nothing),
		TEST(a_late_fault_does_not_find_a_vm_that_is_not_made_yet),
		TEST(a_device_without_memory_is_not_made),
		TEST(binds_are_whole_pages_and_do_not_overlap),
		TEST(a_bind_with_ranges_is_busy_until_they_are_gone),
		TEST(ranges_whose_memory_went_are_collected),
		TEST(a_fault_collects_before_the_collector_does),
		TEST(a_vm_dies_with_ranges_and_pages_stay_where_they_are),
		TEST_COPY(a_vm_dies_with_ranges_and_pages_stay_where_they_are),
		TEST(draining_brings_everything_home),
		TEST_COPY(draining_brings_everything_home),
		TEST(a_device_that_closes_takes_no_fault),
		TEST(a_drain_that_fails_leaves_a_device_that_works),
		TEST(a_query_tells_where_a_page_is),
		TEST(a_query_of_nothing_ends_where_something_is),
		TEST(a_query_of_a_span_counts_pages_by_place),
		TEST(a_query_sees_pages_that_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
