/* SPDX-License-Identifier: MIT */
/*
 * A device that goes away: nothing is served and taken any more, and all comes home.
 */
#include "vm_fixture.h"

static uint64_t used_bytes(struct gpu *gpu)
{
	struct vram_stats stats;

	vm_device_vram(gpu->device, &stats);
	return stats.used_bytes;
}

static void expect_no_entries(struct gpu *gpu, uint32_t vm)
{
	for (size_t i = 0; i < GPU_PAGES; i++)
		assert_false(gpu->ptes[vm][i].flags | gpu->tlb[vm][i].flags);
}

static void what_is_on_it_comes_home_and_nothing_follows(void **state)
{
	struct fixture *f = *state;
	struct usvm_device_fault fault = { .vm = 0, .addr = heap(1) };
	struct vm *second, *third = NULL;
	uint64_t tag = 22;

	heap_fill(f, 0, 8);
	heap_fill(f, 512, 4);
	assert_int_equal(vm_create(f->gpu.device, 0, &second), 0);
	gpu_write(f, heap(1), 11);
	assert_int_equal(gpu_access_in(f, &f->gpu, second, heap(513), true, &tag), 0);
	assert_int_equal(gpu_access_in(f, &f->gpu, second, heap(2), false, &tag), 0);
	assert_true(mm_entry_pages(f->mm) >= 12);
	assert_true(used_bytes(&f->gpu) > 0);

	assert_false(vm_device_is_unplugged(f->gpu.device));
	assert_int_equal(vm_device_unplug(f->gpu.device), 0);
	assert_true(vm_device_is_unplugged(f->gpu.device));
	assert_int_equal(mm_entry_pages(f->mm), 0);
	run_all(f);
	assert_int_equal(used_bytes(&f->gpu), 0);
	expect_no_entries(&f->gpu, 0);
	expect_no_entries(&f->gpu, 1);
	assert_int_equal(fake_tag(f->fake, heap(1)), 11);
	assert_int_equal(fake_tag(f->fake, heap(513)), 22);
	expect_tags(f, 2, 6);
	expect_tags(f, 514, 2);

	assert_int_equal(vm_device_take_fault(f->gpu.device, &fault), -ENODEV);
	assert_int_equal(vm_create(f->gpu.device, 0, &third), -ENODEV);
	assert_null(third);
	assert_int_equal(vm_prefetch(f->vm, heap_span(0, 8), true), -ENODEV);
	assert_int_equal(vm_prefetch(f->vm, heap_span(0, 8), false), 0);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	assert_int_equal(vm_device_unplug(f->gpu.device), 0);
	vm_destroy(second);
}

/* Of memory in place too: an engine must not go on. */
static void pages_that_are_used_in_place_are_revoked(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	gpu_read(f, heap(1));
	assert_true(pte_of(f, heap(1))->flags && !is_vram(f, heap(1)));
	assert_int_equal(vm_device_unplug(f->gpu.device), 0);
	expect_no_entries(&f->gpu, 0);
	expect_tags(f, 0, 4);
}

static void a_fault_that_waits_is_answered(void **state)
{
	struct fixture *f = *state;
	struct usvm_device_fault fault = { .vm = 0, .addr = heap(1),
					   .access = USVM_ACCESS_WRITE };
	struct vm_fault_record record;

	heap_fill(f, 0, 4);
	assert_int_equal(vm_device_take_fault(f->gpu.device, &fault), 0);
	assert_int_equal(vm_device_unplug(f->gpu.device), 0);
	assert_int_equal(f->gpu.done, 0);
	run_all(f);
	assert_int_equal(f->gpu.done, 1);
	assert_int_equal(f->gpu.error, -ENODEV);
	assert_int_equal(vm_faults(f->vm, &record, 1), 1);
	assert_int_equal(record.error, -ENODEV);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	expect_no_entries(&f->gpu, 0);
	expect_tags(f, 0, 4);
}

/* What another device has is none of its business. */
static void another_device_keeps_its_pages(void **state)
{
	struct fixture *f = *state;
	struct vm *vm;
	uint64_t tag = 0, pages;

	gpu_start(f, &f->other, 0, VM_MIGRATE_AUTO);
	assert_int_equal(vm_create(f->other.device, 0, &vm), 0);
	heap_fill(f, 0, 2);
	heap_fill(f, 512, 2);
	gpu_write(f, heap(0), 1);
	assert_int_equal(gpu_access_in(f, &f->other, vm, heap(512), false, &tag), 0);
	pages = f->other.clears;
	assert_int_equal(vm_device_unplug(f->gpu.device), 0);
	assert_int_equal(f->other.clears, pages);
	assert_true(used_bytes(&f->other) > 0);
	assert_true(mm_entry_pages(f->mm) > 0);
	assert_int_equal(fake_tag(f->fake, heap(0)), 1);

	/* And can have those of the first. */
	assert_int_equal(gpu_access_in(f, &f->other, vm, heap(0), false, &tag), 0);
	assert_int_equal(tag, 1);
	assert_true(pte_at(&f->other, vm_id(vm), heap(0))->flags & USVM_PTE_VRAM);
	expect_tags(f, 512, 2);
}

/* Events that will not end: it says so, and can be asked again. Nothing is taken. */
static void what_would_not_come_home_is_told(void **state)
{
	struct fixture *f = *state;
	struct usvm_device_fault fault = { .vm = 0, .addr = heap(1) };

	heap_fill(f, 0, 4);
	gpu_write(f, heap(1), 11);
	fake_munmap(f->fake, span_make(HEAP + MIB(3), PAGE_BYTES));
	f->fake->yield_hook = NULL; /* nobody reads it */
	assert_int_equal(vm_device_unplug(f->gpu.device), -EBUSY);
	f->fake->yield_hook = settle_hook;
	assert_true(mm_entry_pages(f->mm) > 0);
	expect_no_entries(&f->gpu, 0);
	assert_int_equal(vm_device_take_fault(f->gpu.device, &fault), -ENODEV);
	settle(f);
	assert_int_equal(vm_device_unplug(f->gpu.device), 0);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	assert_int_equal(fake_tag(f->fake, heap(1)), 11);
	expect_tags(f, 2, 2);
}

static uint64_t lost_pages(struct fixture *f)
{
	struct mm_stats stats;

	mm_stats_read(f->mm, &stats);
	return stats.lost_pages;
}

/* A device that is gone already: no page reads as something else. */
static void what_it_does_not_give_back_is_lost(void **state)
{
	struct fixture *f = *state;
	struct vm *vm;
	uint64_t tag = 0, pages;

	heap_fill(f, 0, 4);
	gpu_write(f, heap(1), 11);
	pages = mm_entry_pages(f->mm);
	assert_true(pages >= 4);
	f->gpu.copy_error = -EIO;
	assert_int_equal(vm_device_unplug(f->gpu.device), 0);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	assert_int_equal(lost_pages(f), pages);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(fake_touch(f->fake, heap(i), i % 2), -EFAULT);

	/* For another device too; it takes none of them. */
	gpu_start(f, &f->other, 0, VM_MIGRATE_AUTO);
	assert_int_equal(vm_create(f->other.device, 0, &vm), 0);
	assert_int_equal(gpu_access_in(f, &f->other, vm, heap(1), false, &tag), -EFAULT);
	assert_int_equal(fake_touch(f->fake, heap(1), false), -EFAULT);

	/* Until the program gives the memory up. */
	fake_map(f->fake, heap_span(0, 4), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	settle(f);
	heap_fill(f, 0, 4);
	assert_int_equal(gpu_access_in(f, &f->other, vm, heap(3), false, &tag), 0);
	expect_tags(f, 0, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_on_it_comes_home_and_nothing_follows),
		TEST_COPY(what_is_on_it_comes_home_and_nothing_follows),
		TEST_WITH(pages_that_are_used_in_place_are_revoked, set_up_never),
		TEST(a_fault_that_waits_is_answered),
		TEST_COPY(a_fault_that_waits_is_answered),
		TEST(another_device_keeps_its_pages),
		TEST(what_would_not_come_home_is_told),
		TEST_COPY(what_would_not_come_home_is_told),
		TEST_COPY(what_it_does_not_give_back_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
