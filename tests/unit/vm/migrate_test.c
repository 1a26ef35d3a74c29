/* SPDX-License-Identifier: MIT */
/*
 * What migrates, what is evicted for it, and that contents survive all of it.
 */
#include "vm_fixture.h"

/* Memory of 16 MiB, twice what the device has; page n has tag_of(n). */
#define BIG (FAKE_BASE + MIB(128))
#define BIG_BYTES MIB(16)
#define BIG_BLOCKS (BIG_BYTES / HUGE_BYTES)

static void map_big(struct fixture *f, uint64_t stride)
{
	fake_map(f->fake, span_make(BIG, BIG_BYTES), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	for (uint64_t at = 0; at < BIG_BYTES; at += stride)
		fake_set_tag(f->fake, BIG + at, tag_of(at / PAGE_BYTES));
}

static uint64_t used_bytes(struct fixture *f)
{
	struct vram_stats stats;

	vm_device_vram(f->gpu.device, &stats);
	return stats.used_bytes;
}

static uint64_t evictions(struct fixture *f)
{
	struct vram_stats stats;

	vm_device_vram(f->gpu.device, &stats);
	return stats.evictions;
}

/* --- policy ---------------- */

static void a_fault_takes_the_pages_of_its_range(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 100);
	assert_int_equal(gpu_read(f, heap(50)), tag_of(50));
	for (uint64_t i = 0; i < 100; i++) {
		assert_true(is_on_device(f, heap(i)));
		assert_true(is_vram(f, heap(i)));
	}
	assert_int_equal(used_bytes(f), HUGE_BYTES);
	gpu_write(f, heap(7), 77);
	assert_int_equal(cpu_read(f, heap(7)), 77);
	assert_int_equal(gpu_read(f, heap(7)), 77);
	expect_tags(f, 8, 92);
}

static void with_the_policy_never_everything_is_used_in_place(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 100);
	assert_int_equal(gpu_read(f, heap(50)), tag_of(50));
	gpu_write(f, heap(51), 5);
	assert_false(is_on_device(f, heap(50)));
	assert_false(is_vram(f, heap(50)));
	assert_true(pte_of(f, heap(511))->flags & PTE_VALID); /* all of the range */
	assert_int_equal(fake_tag(f->fake, heap(51)), 5);
	assert_int_equal(used_bytes(f), 0);
	/* Its end is heard of. */
	fake_munmap(f->fake, heap_span(0, 512));
	run_all(f);
	assert_int_equal(pte_of(f, heap(50))->flags, 0);
}

static void memory_that_does_not_migrate_is_mapped_as_far_as_its_range_goes(void **state)
{
	struct fixture *f = *state;

	fake_map(f->fake, span_make(OTHER, MIB(2)), SYS_VMA_FILE_SHARED, READ_WRITE);
	fake_set_tag(f->fake, OTHER + MIB(1), 31);
	assert_int_equal(gpu_read(f, OTHER + MIB(1)), 31);
	assert_true(pte_of(f, OTHER)->flags & PTE_VALID);
	assert_true(pte_of(f, OTHER + MIB(2) - 1)->flags & PTE_VALID);
	assert_int_equal(fake_registered(f->fake, OTHER), 0);
}

/* Of memory that could move and does not, only the surroundings are mapped in place. */
static void
busy_pages_are_used_in_place_and_their_neighbours_get_their_chance(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 512);
	fake_page_set(f->fake, heap_span(0, 512), FAKE_PAGE_PINNED);
	assert_int_equal(gpu_read(f, heap(20)), tag_of(20));
	assert_int_equal(pte_of(f, heap(15))->flags, 0);
	assert_true(pte_of(f, heap(16))->flags & PTE_VALID);
	assert_true(pte_of(f, heap(31))->flags & PTE_VALID);
	assert_int_equal(pte_of(f, heap(32))->flags, 0);
	assert_int_equal(stat(f, VM_STAT_PAGES_BUSY), 512);
	fake_page_clear(f->fake, heap_span(0, 512), FAKE_PAGE_PINNED);
	f->fake->clock_ns += 1000000000;
	assert_int_equal(gpu_read(f, heap(40)), tag_of(40));
	assert_true(is_vram(f, heap(40)));
}

/* What is left alone for a while may not be what it was: its end is heard of all the same. */
static void a_mapping_where_busy_pages_were_is_registered(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 512);
	fake_page_set(f->fake, heap_span(0, 512), FAKE_PAGE_PINNED);
	assert_int_equal(gpu_read(f, heap(20)), tag_of(20));
	fake_munmap(f->fake, HEAP_VMA);
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	settle(f);
	heap_fill(f, 0, 512);
	assert_int_equal(gpu_read(f, heap(40)), tag_of(40));
	assert_int_equal(stat(f, VM_STAT_BUSY_SKIPPED), 1);
	assert_true(pte_of(f, heap(40))->flags & PTE_VALID);
	assert_true(fake_registered(f->fake, heap(40)) & SYS_REGISTER_WP);
	fake_munmap(f->fake, HEAP_VMA);
	settle(f);
	assert_int_equal(pte_of(f, heap(40))->flags, 0);
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
}

static void tell(void *arg)
{
	struct fixture *f = arg;

	if (base_host->self()->held_count > 1)
		return;
	if (f->test[0]++ == 20)
		fake_tell(f->fake);
	settle(f);
}

static void it_is_registered_also_where_a_message_is_owed(void **state)
{
	const struct span other = span_make(FAKE_BASE + MIB(64), PAGE_BYTES);
	struct fixture *f = *state;

	heap_fill(f, 0, 512);
	fake_page_set(f->fake, heap_span(0, 512), FAKE_PAGE_PINNED);
	fake_map(f->fake, other, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(gpu_read(f, other.start), 0);
	assert_int_equal(gpu_read(f, heap(20)), tag_of(20));
	fake_munmap(f->fake, HEAP_VMA);
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	settle(f);
	heap_fill(f, 0, 512);
	fake_munmap_untold(f->fake, other);
	f->fake->yield_hook = tell;
	assert_int_equal(gpu_read(f, heap(40)), tag_of(40));
	assert_true(f->test[0] > 20);
	assert_true(fake_registered(f->fake, heap(40)) & SYS_REGISTER_WP);
}

/* --- holes ---------------- */

static void an_empty_block_is_taken_whole_as_zeros(void **state)
{
	struct fixture *f = *state;

	gpu_write(f, heap(300), 3);
	assert_int_equal(stat(f, VM_STAT_PAGES_FILLED), 512);
	assert_true(is_vram(f, heap(0)));
	assert_true(is_vram(f, heap(511)));
	assert_int_equal(gpu_read(f, heap(4)), 0);
	assert_int_equal(cpu_read(f, heap(300)), 3);
	assert_int_equal(cpu_read(f, heap(301)), 0);
}

static void of_a_block_in_use_only_the_holes_around_are_taken(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 100, 1);
	gpu_write(f, heap(40), 3);
	assert_int_equal(stat(f, VM_STAT_PAGES_FILLED), 16);
	assert_int_equal(stat(f, VM_STAT_PAGES_TO_DEVICE), 1);
	assert_true(is_on_device(f, heap(32)));
	assert_true(is_on_device(f, heap(47)));
	assert_false(is_on_device(f, heap(31)));
	assert_false(is_on_device(f, heap(48)));
	assert_true(is_on_device(f, heap(100)));
	/* The next hole joins the same buffer object. */
	gpu_write(f, heap(60), 4);
	assert_true(is_on_device(f, heap(60)));
	assert_int_equal(used_bytes(f), HUGE_BYTES);
	assert_int_equal(cpu_read(f, heap(40)), 3);
	assert_int_equal(cpu_read(f, heap(60)), 4);
	expect_tags(f, 100, 1);
}

/* --- full device memory ---------------- */

static void twice_what_fits_goes_through_device_memory(void **state)
{
	struct fixture *f = *state;

	map_big(f, KIB(64));
	for (int round = 0; round < 2; round++) {
		for (uint64_t b = 0; b < BIG_BLOCKS; b++) {
			uint64_t at = b * HUGE_BYTES;

			assert_int_equal(gpu_read(f, BIG + at),
					 tag_of(at / PAGE_BYTES) + (uint64_t)round);
			gpu_write(f, BIG + at,
				  tag_of(at / PAGE_BYTES) + (uint64_t)round + 1);
			assert_true(is_vram(f, BIG + at));
			assert_true(used_bytes(f) <= VRAM_BYTES);
			vm_check(f->vm);
		}
	}
	assert_int_equal(evictions(f), 2 * BIG_BLOCKS - VRAM_BYTES / HUGE_BYTES);
	for (uint64_t at = 0; at < BIG_BYTES; at += KIB(64))
		assert_int_equal(cpu_read(f, BIG + at),
				 tag_of(at / PAGE_BYTES) + (at % HUGE_BYTES ? 0 : 2));
}

static void eviction_finds_pages_that_were_moved(void **state)
{
	struct fixture *f = *state;

	map_big(f, KIB(64));
	heap_fill(f, 0, 32);
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), OTHER, false), 0);
	run_all(f);
	for (uint64_t b = 0; b < BIG_BLOCKS; b++)
		gpu_read(f, BIG + b * HUGE_BYTES);
	assert_false(is_on_device(f, OTHER));
	assert_int_equal(fake_tag(f->fake, OTHER), tag_of(4));
	assert_int_equal(gpu_read(f, OTHER + PAGE_BYTES), tag_of(5));
	expect_tags(f, 0, 4);
	expect_tags(f, 8, 24);
}

/* A page that dies leaves its frame as it was. Device memory that nobody has holds none of
 * the process's memory, and the next owner finds it empty. */
static void device_memory_that_is_free_is_empty(void **state)
{
	struct fixture *f = *state;
	uint64_t frame, tag = 0;

	heap_fill(f, 0, 16);
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
	frame = pte_of(f, heap(0))->target;
	fake_munmap(f->fake, HEAP_VMA);
	settle(f);
	memcpy(&tag, (unsigned char *)f->gpu.device->host.vram + frame, sizeof(tag));
	assert_int_equal(tag, tag_of(0));
	run_all(f);
	assert_int_equal(used_bytes(f), 0);
	memcpy(&tag, (unsigned char *)f->gpu.device->host.vram + frame, sizeof(tag));
	assert_int_equal(tag, 0);
}

/* Small ranges too: fragments of one device memory, each with its contents. */
static void many_small_ranges_share_device_memory(void **state)
{
	struct fixture *f = *state;
	uint64_t base = FAKE_BASE + MIB(256);

	for (uint64_t i = 0; i < 300; i++) {
		struct span span = span_make(base + i * KIB(128), KIB(64));

		fake_map(f->fake, span, SYS_VMA_ANON_PRIVATE, READ_WRITE);
		fake_set_tag(f->fake, span.start, i + 1);
		assert_int_equal(gpu_read(f, span.start), i + 1);
		gpu_write(f, span.start + KIB(60), i + 1000);
	}
	assert_true(evictions(f) > 0);
	for (uint64_t i = 0; i < 300; i++) {
		assert_int_equal(cpu_read(f, base + i * KIB(128)), i + 1);
		assert_int_equal(cpu_read(f, base + i * KIB(128) + KIB(60)), i + 1000);
	}
	run_all(f);
}

/* What is pinned in device memory cannot give way: then the CPU's page is used in place. */
static void full_of_what_cannot_go_is_no_error(void **state)
{
	static const struct vram_bo_ops ops = { 0 };
	struct fixture *f = *state;
	struct vram_bo *bo[4];

	for (size_t i = 0; i < ARRAY_SIZE(bo); i++)
		assert_int_equal(vram_bo_create(f->gpu.device->vram, HUGE_BYTES, &ops,
						NULL, false, &bo[i]),
				 0);
	heap_fill(f, 0, 4);
	assert_int_equal(gpu_read(f, heap(1)), tag_of(1));
	assert_false(is_vram(f, heap(1)));
	for (size_t i = 0; i < ARRAY_SIZE(bo); i++)
		vram_bo_put(bo[i]);
	assert_int_equal(gpu_read(f, heap(100)), 0);
	assert_true(is_vram(f, heap(100)));
}

/* --- pinned memory ---------------- */

/* The first fault finds out; the next ones do not try again, until some time has passed. */
static void pinned_memory_is_left_alone_for_a_while(void **state)
{
	struct fixture *f = *state;
	uint64_t moves;

	heap_fill(f, 0, HEAP_PAGES);
	fake_page_set(f->fake, heap_span(0, HEAP_PAGES), FAKE_PAGE_PINNED);
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
	assert_int_equal(f->gpu.device->stats.value[VM_STAT_BUSY_SKIPPED], 0);
	moves = fake_calls(f->fake, "uffd_move");
	assert_true(moves > 0);
	for (uint64_t page = 16; page < HEAP_PAGES; page += 16) {
		assert_int_equal(gpu_read(f, heap(page)), tag_of(page));
		assert_false(is_vram(f, heap(page)));
	}
	assert_int_equal(fake_calls(f->fake, "uffd_move"), moves);
	assert_int_equal(f->gpu.device->stats.value[VM_STAT_BUSY_SKIPPED],
			 HEAP_PAGES / 16 - 1);
	/* Who asks for it is not held off. */
	assert_int_equal(vm_prefetch(f->vm, heap_span(8, 1), true), 0);
	assert_true(fake_calls(f->fake, "uffd_move") > moves);
	fake_page_clear(f->fake, heap_span(0, HEAP_PAGES), FAKE_PAGE_PINNED);
	f->fake->clock_ns += 1000000000;
	lock_acquire(mm_event_lock(f->mm));
	mm_invalidate_locked(f->mm, heap_span(0, HEAP_PAGES), MM_EVENT_MIGRATE);
	lock_release(mm_event_lock(f->mm));
	assert_int_equal(gpu_read(f, heap(32)), tag_of(32));
	assert_true(is_vram(f, heap(32)));
	expect_tags(f, 0, HEAP_PAGES);
}

/* --- two devices ---------------- */

static void a_page_of_another_device_comes_home_first(void **state)
{
	struct fixture *f = *state;
	struct vm *vm;
	uint64_t tag = 0;

	gpu_start(f, &f->other, USVM_DEVICE_NO_SYSTEM_ATOMICS, VM_MIGRATE_AUTO);
	assert_int_equal(vm_create(f->other.device, 0, &vm), 0);
	heap_fill(f, 0, 4);
	gpu_write(f, heap(1), 11);
	assert_int_equal(gpu_fault_in(f, &f->other, vm, heap(1), USVM_ACCESS_ATOMIC), 0);
	assert_int_equal(pte_of(f, heap(1))->flags, 0);
	assert_true(pte_at(&f->other, vm_id(vm), heap(1))->flags & USVM_PTE_VRAM);
	assert_int_equal(gpu_access_in(f, &f->other, vm, heap(1), false, &tag), 0);
	assert_int_equal(tag, 11);
	tag = 12;
	assert_int_equal(gpu_access_in(f, &f->other, vm, heap(1), true, &tag), 0);
	assert_int_equal(gpu_read(f, heap(1)), 12);
	assert_int_equal(cpu_read(f, heap(1)), 12);
	vm_destroy(vm);
	expect_tags(f, 2, 2);
}

static void a_query_names_the_device_that_has_the_page(void **state)
{
	struct fixture *f = *state;
	struct vm_page_info info;
	struct vm *vm;

	gpu_start(f, &f->other, 0, VM_MIGRATE_AUTO);
	assert_int_equal(vm_create(f->other.device, 0, &vm), 0);
	heap_fill(f, 0, 8);
	assert_int_equal(gpu_fault_in(f, &f->other, vm, heap(1), USVM_ACCESS_READ), 0);
	vm_query(f->vm, heap(3), &info);
	assert_true(info.has_entry && info.is_elsewhere && !info.mapped);
	assert_string_equal(info.device, "other");
	assert_int_equal(info.vram_offset, pte_at(&f->other, vm_id(vm), heap(3))->target);
	vm_query(vm, heap(3), &info);
	assert_true(info.has_entry && !info.is_elsewhere && info.mapped);
	assert_string_equal(info.device, "other");
	cpu_read(f, heap(3));
	vm_query(f->vm, heap(3), &info);
	assert_true(!info.has_entry && !info.is_elsewhere && !info.device[0]);
	vm_destroy(vm);
}

/* Two address spaces of one device share its pages. */
static void two_vms_of_a_device_see_the_same(void **state)
{
	struct fixture *f = *state;
	struct vm *vm;
	uint64_t tag = 0;

	assert_int_equal(vm_create(f->gpu.device, 0, &vm), 0);
	heap_fill(f, 0, 4);
	gpu_write(f, heap(1), 11);
	assert_int_equal(gpu_access_in(f, &f->gpu, vm, heap(1), false, &tag), 0);
	assert_int_equal(tag, 11);
	assert_true(is_vram(f, heap(1)));
	assert_int_equal(used_bytes(f), HUGE_BYTES);
	/* Home for the CPU: revoked in both. */
	assert_int_equal(cpu_read(f, heap(1)), 11);
	assert_int_equal(pte_of(f, heap(1))->flags, 0);
	assert_int_equal(pte_at(&f->gpu, vm_id(vm), heap(1))->flags, 0);
	vm_destroy(vm);
}

/* --- prefetch ---------------- */

static void prefetch_goes_over_holes_and_memory_that_does_not_move(void **state)
{
	struct fixture *f = *state;
	struct span all = { HEAP, OTHER + MIB(8) };

	heap_fill(f, 0, 4);
	heap_fill(f, 600, 4);
	fake_map(f->fake, span_make(OTHER, MIB(2)), SYS_VMA_FILE_SHARED, READ_WRITE);
	fake_map(f->fake, span_make(OTHER + MIB(2), MIB(2)), SYS_VMA_ANON_PRIVATE, 0);
	fake_map(f->fake, span_make(OTHER + MIB(4), MIB(2)), SYS_VMA_ANON_PRIVATE,
		 READ_WRITE);
	fake_set_tag(f->fake, OTHER + MIB(4), 9);
	assert_int_equal(vm_prefetch(f->vm, all, true), 0);
	assert_true(is_vram(f, heap(0)));
	assert_true(is_vram(f, heap(600)));
	assert_true(pte_of(f, OTHER)->flags & PTE_VALID);
	assert_false(pte_of(f, OTHER + MIB(2))->flags & PTE_VALID);
	assert_true(is_vram(f, OTHER + MIB(4)));
	assert_int_equal(stat(f, VM_STAT_FAULTS_FAILED), 0);
	/* And home. */
	assert_int_equal(vm_prefetch(f->vm, all, false), 0);
	assert_int_equal(mm_entry_pages(f->mm), 0);
	assert_int_equal(fake_page(f->fake, heap(5)), 0); /* holes stay holes */
	expect_tags(f, 0, 4);
	expect_tags(f, 600, 4);
	assert_int_equal(cpu_read(f, OTHER + MIB(4)), 9);
}

static void prefetch_of_nothing_is_efault(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(vm_prefetch(f->vm, span_make(OTHER, MIB(4)), true), -EFAULT);
	assert_int_equal(vm_prefetch(f->vm, span_make(OTHER, MIB(4)), false), -EFAULT);
}

/* Not page by page through what is not bound. */
static void prefetch_skips_what_is_not_bound(void **state)
{
	struct fixture *f = *state;
	uint64_t queries;
	struct vm *vm;

	assert_int_equal(vm_create(f->gpu.device, VM_NO_MIRROR, &vm), 0);
	assert_int_equal(vm_bind_mirror(vm, heap_span(512, 16), false), 0);
	fake_map(f->fake, span_make(OTHER, MIB(16)), SYS_VMA_ANON_PRIVATE, 0);
	heap_fill(f, 0, 2);
	heap_fill(f, 512, 2);
	queries = fake_calls(f->fake, "vma_query");
	assert_int_equal(vm_prefetch(vm, span_make(HEAP, MIB(128)), true), 0);
	assert_int_equal(vm_prefetch(f->vm, span_make(OTHER, MIB(16)), true), 0);
	assert_true(fake_calls(f->fake, "vma_query") - queries < 64);
	assert_false(is_on_device(f, heap(0)));
	assert_true(is_on_device(f, heap(512)));
	vm_destroy(vm);
}

static void prefetch_moves_what_is_mapped_in_place(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 64);
	fake_page_set(f->fake, heap_span(0, 64), FAKE_PAGE_PINNED);
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
	assert_false(is_vram(f, heap(0)));
	fake_page_clear(f->fake, heap_span(0, 64), FAKE_PAGE_PINNED);
	assert_int_equal(vm_prefetch(f->vm, heap_span(0, 512), true), 0);
	for (uint64_t i = 0; i < 64; i++)
		assert_true(is_vram(f, heap(i)));
	expect_tags(f, 0, 64);
}

/* --- without memory ---------------- */

static void a_fault_without_memory_is_enomem_or_done(void **state)
{
	struct fixture *f = *state;
	uint32_t failures = 0;

	heap_fill(f, 0, 4);
	for (uint64_t nth = 1; nth < 12; nth++) {
		int err;

		fake_fail(f->fake, "pages_alloc", nth, ENOMEM);
		err = gpu_fault(f, heap(0), USVM_ACCESS_WRITE);
		assert_true(err == 0 || err == -ENOMEM);
		failures += err != 0;
		vm_check(f->vm);
		if (!err)
			break;
	}
	assert_true(failures >= 1);
	fake_fail(f->fake, "pages_alloc", 1u << 30, 0);
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
	expect_tags(f, 0, 4);
}

#define BOTH(name) TEST(name), TEST_COPY(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_fault_takes_the_pages_of_its_range),
		TEST_WITH(with_the_policy_never_everything_is_used_in_place,
			  set_up_never),
		TEST(memory_that_does_not_migrate_is_mapped_as_far_as_its_range_goes),
		BOTH(busy_pages_are_used_in_place_and_their_neighbours_get_their_chance),
		BOTH(a_mapping_where_busy_pages_were_is_registered),
		BOTH(it_is_registered_also_where_a_message_is_owed),
		BOTH(an_empty_block_is_taken_whole_as_zeros),
		BOTH(of_a_block_in_use_only_the_holes_around_are_taken),
		BOTH(twice_what_fits_goes_through_device_memory),
		BOTH(eviction_finds_pages_that_were_moved),
		TEST(device_memory_that_is_free_is_empty),
		BOTH(many_small_ranges_share_device_memory),
		BOTH(full_of_what_cannot_go_is_no_error),
		BOTH(pinned_memory_is_left_alone_for_a_while),
		BOTH(a_page_of_another_device_comes_home_first),
		BOTH(a_query_names_the_device_that_has_the_page),
		BOTH(two_vms_of_a_device_see_the_same),
		BOTH(prefetch_goes_over_holes_and_memory_that_does_not_move),
		TEST(prefetch_of_nothing_is_efault),
		TEST(prefetch_skips_what_is_not_bound),
		BOTH(prefetch_moves_what_is_mapped_in_place),
		BOTH(a_fault_without_memory_is_enomem_or_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
