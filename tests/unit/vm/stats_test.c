/* SPDX-License-Identifier: MIT */
/*
 * Statistics: their names, and what counts for what.
 */
#include "vm_fixture.h"

/* Families by size: 4K, 64K, 2M. */
#define SIZE_4K 0
#define SIZE_64K 1
#define SIZE_2M 2

static void names_are_there_once_each(void **state)
{
	(void)state;
	for (size_t i = 0; i < VM_STAT_COUNT; i++) {
		assert_non_null(vm_stat_names[i]);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(vm_stat_names[i], vm_stat_names[j]);
	}
}

/* What a test of the kernel's drivers looks for. */
static void names_are_the_kernels(void **state)
{
	static const struct {
		enum vm_stat stat;
		const char *name;
	} names[] = {
		{ VM_STAT_PAGEFAULT_COUNT, "svm_pagefault_count" },
		{ VM_STAT_TLB_INVAL_COUNT, "tlb_inval_count" },
		{ VM_STAT_SIZED_PAGEFAULT_COUNT, "svm_4K_pagefault_count" },
		{ VM_STAT_SIZED_PAGEFAULT_COUNT + 1, "svm_64K_pagefault_count" },
		{ VM_STAT_SIZED_PAGEFAULT_COUNT + 2, "svm_2M_pagefault_count" },
		{ VM_STAT_SIZED_VALID_PAGEFAULT_COUNT + 2, "svm_2M_valid_pagefault_count" },
		{ VM_STAT_SIZED_MIGRATE_COUNT + 1, "svm_64K_migrate_count" },
		{ VM_STAT_SIZED_GET_PAGES_US, "svm_4K_get_pages_us" },
		{ VM_STAT_SIZED_DEVICE_COPY_KB + 2, "svm_2M_device_copy_kb" },
		{ VM_STAT_SIZED_CPU_COPY_KB + 2, "svm_2M_cpu_copy_kb" },
		{ VM_STAT_DEVICE_COPY_KB, "svm_device_copy_kb" },
		{ VM_STAT_CPU_COPY_US, "svm_cpu_copy_us" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_string_equal(vm_stat_names[names[i].stat], names[i].name);
}

static void sizes_are_those_of_ranges(void **state)
{
	const enum vm_stat family = VM_STAT_SIZED_BIND_US;

	(void)state;
	assert_int_equal(vm_stat_sized(family, KIB(4)), family + SIZE_4K);
	assert_int_equal(vm_stat_sized(family, KIB(64)), family + SIZE_64K);
	assert_int_equal(vm_stat_sized(family, MIB(2)), family + SIZE_2M);
}

/* One fault on each size of range. */
static void faults_count_by_the_size_of_their_range(void **state)
{
	struct fixture *f = *state;
	const struct span vma = { OTHER + KIB(60), OTHER + KIB(128) };

	fake_map(f->fake, vma, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, OTHER + KIB(60), 1);
	fake_set_tag(f->fake, OTHER + KIB(64), 1);
	heap_fill(f, 0, 1);
	gpu_read(f, OTHER + KIB(60));
	gpu_read(f, OTHER + KIB(64));
	gpu_read(f, heap(0));
	gpu_fault(f, heap(0), USVM_ACCESS_READ); /* of another engine: served already */
	assert_int_equal(stat(f, VM_STAT_PAGEFAULT_COUNT), 4);
	assert_int_equal(stat(f, VM_STAT_SIZED_PAGEFAULT_COUNT + SIZE_4K), 1);
	assert_int_equal(stat(f, VM_STAT_SIZED_PAGEFAULT_COUNT + SIZE_64K), 1);
	assert_int_equal(stat(f, VM_STAT_SIZED_PAGEFAULT_COUNT + SIZE_2M), 2);
	assert_int_equal(stat(f, VM_STAT_SIZED_VALID_PAGEFAULT_COUNT + SIZE_2M), 1);
	for (int size = SIZE_4K; size <= SIZE_2M; size++) {
		assert_int_equal(stat(f, VM_STAT_SIZED_MIGRATE_COUNT + size), 1);
		/* The fake's clock goes on with each reading. */
		assert_true(stat(f, VM_STAT_SIZED_PAGEFAULT_US + size) > 0);
		assert_true(stat(f, VM_STAT_SIZED_MIGRATE_US + size) > 0);
		assert_true(stat(f, VM_STAT_SIZED_GET_PAGES_US + size) > 0);
		assert_true(stat(f, VM_STAT_SIZED_BIND_US + size) > 0);
	}
	assert_int_equal(stat(f, VM_STAT_PAGES_TO_DEVICE), 3);
	/* The holes of the 64 KiB range around its fault, and of the block's. */
	assert_int_equal(stat(f, VM_STAT_PAGES_FILLED), 15 + 15);
	assert_int_equal(stat(f, VM_STAT_RETRIES), 0);
	assert_int_equal(stat(f, VM_STAT_FAULTS_FAILED), 0);
}

static void invalidations_count_and_flushes_count_what_was_there(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	heap_fill(f, 0, 4);
	gpu_read(f, heap(0));
	before = stat(f, VM_STAT_SVM_TLB_INVAL_COUNT);
	assert_int_equal(cpu_read(f, heap(1)), tag_of(1));
	assert_int_equal(stat(f, VM_STAT_SVM_TLB_INVAL_COUNT), before + 1);
	assert_int_equal(stat(f, VM_STAT_TLB_INVAL_COUNT), f->gpu.flushes);
	assert_true(f->gpu.flushes > 0);
	/* Of a page that is not mapped nothing is flushed. */
	assert_int_equal(fake_madvise(f->fake, heap_span(1, 1), SYS_ADVICE_DONTNEED), 0);
	finish_remove(f);
	assert_int_equal(stat(f, VM_STAT_TLB_INVAL_COUNT), f->gpu.flushes);
}

static void copies_count_in_copy_mode_only(void **state)
{
	struct fixture *f = *state;
	bool copy = f->gpu.memory != NULL;

	heap_fill(f, 0, 512);
	gpu_read(f, heap(0));
	assert_int_equal(stat(f, VM_STAT_DEVICE_COPY_KB), copy ? 2048 : 0);
	assert_int_equal(stat(f, VM_STAT_SIZED_DEVICE_COPY_KB + SIZE_2M), copy ? 2048 : 0);
	assert_int_equal(cpu_read(f, heap(1)), tag_of(1));
	assert_int_equal(stat(f, VM_STAT_CPU_COPY_KB), copy ? 4 : 0);
	assert_int_equal(stat(f, VM_STAT_SIZED_CPU_COPY_KB + SIZE_4K), copy ? 4 : 0);
	assert_int_equal(stat(f, VM_STAT_DEVICE_COPY_US) > 0, copy);
	assert_int_equal(stat(f, VM_STAT_CPU_COPY_US) > 0, copy);
}

static int set_up_poisoned(void **state)
{
	int err;

	gpu_poison = true;
	err = set_up_copy(state);
	gpu_poison = false;
	return err;
}

/* Nothing migrates by it. */
static void what_poisons_is_no_copy_that_counts(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 512);
	gpu_read(f, heap(0));
	assert_int_equal(stat(f, VM_STAT_DEVICE_COPY_KB), 2048);
	assert_int_equal(mm_bring_home(f->mm, heap_span(0, 512), NULL), 0);
	run_all(f);
	assert_int_equal(*(uint64_t *)(void *)f->gpu.memory,
			 PAGEMAP_POISON * 0x0101010101010101u);
	assert_int_equal(stat(f, VM_STAT_DEVICE_COPY_KB), 2048);
	assert_int_equal(stat(f, VM_STAT_SIZED_DEVICE_COPY_KB + SIZE_4K), 0);
}

/* A copy of exactly a size is of it in KiB; its time is of the size that it fits into. */
static void a_copy_counts_by_what_it_is_long(void **state)
{
	static const uint64_t pages[] = { 1, 16, 32, 512 };
	struct fixture *f = *state;
	uint64_t all = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		const int size = (int)((pages[i] > 1) + (pages[i] > 16));
		const bool exact = pages[i] != 32;
		const uint64_t at = OTHER + i * MIB(2);
		const struct span vma = span_make(at, pages[i] > 16 ? MIB(2) :
							      pages[i] * PAGE_BYTES);
		const uint64_t kb = stat(f, VM_STAT_SIZED_DEVICE_COPY_KB + size);
		const uint64_t us = stat(f, VM_STAT_SIZED_DEVICE_COPY_US + size);
		const uint64_t home_kb = stat(f, VM_STAT_SIZED_CPU_COPY_KB + size);
		const uint64_t home_us = stat(f, VM_STAT_SIZED_CPU_COPY_US + size);

		fake_map(f->fake, vma, SYS_VMA_ANON_PRIVATE, READ_WRITE);
		for (uint64_t page = 0; page < pages[i]; page++)
			fake_set_tag(f->fake, at + page * PAGE_BYTES, 1);
		gpu_read(f, at);
		all += 4 * pages[i];
		assert_int_equal(stat(f, VM_STAT_DEVICE_COPY_KB), all);
		assert_int_equal(stat(f, VM_STAT_SIZED_DEVICE_COPY_KB + size) - kb,
				 exact ? 4 * pages[i] : 0);
		assert_true(stat(f, VM_STAT_SIZED_DEVICE_COPY_US + size) > us);

		assert_int_equal(mm_bring_home(f->mm, vma, NULL), 0);
		assert_int_equal(stat(f, VM_STAT_CPU_COPY_KB), all);
		assert_int_equal(stat(f, VM_STAT_SIZED_CPU_COPY_KB + size) - home_kb,
				 exact ? 4 * pages[i] : 0);
		assert_true(stat(f, VM_STAT_SIZED_CPU_COPY_US + size) > home_us);
	}
}

/* Pages that cannot be collected have no time. */
static void times_of_pages_are_of_those_that_were_had(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 1);
	fake_mprotect(f->fake, HEAP_VMA, 0);
	assert_true(gpu_fault(f, heap(0), USVM_ACCESS_READ) != 0);
	for (int size = SIZE_4K; size <= SIZE_2M; size++) {
		assert_int_equal(stat(f, VM_STAT_SIZED_GET_PAGES_US + size), 0);
		assert_int_equal(stat(f, VM_STAT_SIZED_BIND_US + size), 0);
	}
	fake_mprotect(f->fake, HEAP_VMA, READ_WRITE);
}

static void what_failed_and_what_was_busy_counts(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_READ), -EFAULT);
	assert_int_equal(stat(f, VM_STAT_FAULTS_FAILED), 1);
	heap_fill(f, 0, 2);
	fake_page_set(f->fake, heap_span(1, 1), FAKE_PAGE_PINNED);
	gpu_read(f, heap(0));
	assert_int_equal(stat(f, VM_STAT_PAGES_BUSY), 1);
	fake_page_clear(f->fake, heap_span(1, 1), FAKE_PAGE_PINNED);
}

/* Upstream's rule: an attempt counts, whatever came of it. */
static void migrations_that_fail_count(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 2);
	fake_fail_for_ever(f->fake, "uffd_register", 1, EINVAL);
	gpu_read(f, heap(0));
	assert_false(is_vram(f, heap(0)));
	assert_int_equal(stat(f, VM_STAT_SIZED_MIGRATE_COUNT + SIZE_2M), 1);
	assert_int_equal(stat(f, VM_STAT_PAGES_TO_DEVICE), 0);
	fake_fail_for_ever(f->fake, "uffd_register", 1, 0);
}

static void times_of_invalidations_add_up(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	for (int i = 0; i < 8; i++) {
		gpu_read(f, heap(0));
		cpu_read(f, heap(0));
	}
	/* The fake clock gives one a microsecond at least. */
	assert_true(stat(f, VM_STAT_SVM_TLB_INVAL_US) >= 8);
	assert_true(f->gpu.device->inval_ns < 1000);
}

static void a_prefetch_of_a_device_that_fails_is_counted_and_not_kept(void **state)
{
	struct fixture *f = *state;
	struct vm_fault_record record;

	assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_PREFETCH), -EFAULT);
	assert_int_equal(stat(f, VM_STAT_INVALID_PREFETCH_PAGEFAULT_COUNT), 1);
	assert_int_equal(stat(f, VM_STAT_FAULTS_FAILED), 0);
	assert_int_equal(vm_faults(f->vm, &record, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_there_once_each),
		cmocka_unit_test(names_are_the_kernels),
		cmocka_unit_test(sizes_are_those_of_ranges),
		TEST(faults_count_by_the_size_of_their_range),
		TEST(invalidations_count_and_flushes_count_what_was_there),
		TEST(copies_count_in_copy_mode_only),
		TEST_COPY(copies_count_in_copy_mode_only),
		TEST_WITH(what_poisons_is_no_copy_that_counts, set_up_poisoned),
		TEST_COPY(a_copy_counts_by_what_it_is_long),
		TEST(times_of_pages_are_of_those_that_were_had),
		TEST(migrations_that_fail_count),
		TEST(times_of_invalidations_add_up),
		TEST(a_prefetch_of_a_device_that_fails_is_counted_and_not_kept),
		TEST(what_failed_and_what_was_busy_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
