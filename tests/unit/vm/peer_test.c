/* SPDX-License-Identifier: MIT */
/*
 * Pages of a device that is a peer: they come over, or are used in place, or stay; in each pair
 * of modes, whatever fails and whatever is in flight.
 */
#include "peer_fixture.h"

/* --- they come ---------------- */

static void pages_of_a_peer_come_over(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	gpu_write(f, heap(1), 11);
	assert_int_equal(used_bytes(&f->gpu), HUGE_BYTES);
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	expect_places(f, 0, 16, 'b');
	assert_int_equal(pte_of(f, heap(1))->flags, 0);
	assert_true(pte_b(f, heap(1))->flags & USVM_PTE_VRAM);
	assert_int_equal(read_b(f, heap(1)), 11);
	assert_int_equal(came(f), 16);
	assert_int_equal(went_home(f), 0);
	/* What was A's is free. */
	run_all(f);
	assert_int_equal(used_bytes(&f->gpu), 0);
	assert_int_equal(used_bytes(&f->other), HUGE_BYTES);
	write_b(f, heap(2), 22);
	assert_int_equal(gpu_read(f, heap(2)), 22);
	expect_places(f, 0, 16, 'a');
	assert_int_equal(went_home(f), 0);
	assert_int_equal(cpu_read(f, heap(1)), 11);
	assert_int_equal(cpu_read(f, heap(2)), 22);
	expect_tags(f, 3, 13);
	if (f->gpu.memory && f->other.memory) {
		assert_true(f->other.peer_copies && f->gpu.peer_copies);
		assert_int_equal(f->other.device->stats.value[VM_STAT_PEER_COPY_KB], 64);
	}
}

static void what_is_in_three_places_comes_together(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	heap_fill(f, 16, 16);
	assert_int_equal(read_b(f, heap(20)), tag_of(20)); /* all of it, but for holes */
	expect_places(f, 0, 32, 'b');
	assert_int_equal(gpu_read(f, heap(2)), tag_of(2));
	expect_places(f, 0, 32, 'a');
	expect_tags(f, 4, 2); /* home */
	fake_munmap(f->fake, heap_span(6, 2));
	settle(f);
	fake_map(f->fake, heap_span(6, 2), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(vm_prefetch(vm_b(f), HEAP_VMA, VM_PLACE_DEVICE), 0);
	for (uint64_t i = 0; i < 32; i++) {
		if (i != 6 && i != 7)
			assert_int_equal(place_of(f, heap(i)), 'b');
		assert_int_equal(read_b(f, heap(i)), i == 6 || i == 7 ? 0 : tag_of(i));
	}
	expect_tags(f, 8, 24);
}

/* Some of the block are on B already: the others join them, where they belong. */
static void what_comes_joins_what_is_there(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 16);
	assert_int_equal(read_b(f, heap(0)), tag_of(0));
	expect_tags(f, 4, 4);
	assert_int_equal(gpu_read(f, heap(5)), tag_of(5)); /* A takes all again */
	expect_places(f, 0, 16, 'a');
	assert_int_equal(read_b(f, heap(12)), tag_of(12));
	expect_tags(f, 0, 2);
	heap_fill(f, 16, 1);
	assert_int_equal(gpu_fault(f, heap(16), USVM_ACCESS_WRITE), 0);
	assert_int_equal(read_b(f, heap(16)), tag_of(16));
	run_all(f);
	assert_int_equal(used_bytes(&f->other), HUGE_BYTES);
	expect_tags(f, 0, 17);
}

static void frames_whose_pages_went_elsewhere_are_not_used(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 16);
	assert_int_equal(read_b(f, heap(0)), tag_of(0));
	/* B has them at another address now, and their frames. */
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), OTHER, true), 0);
	settle(f);
	fake_set_tag(f->fake, heap(5), 55);
	assert_int_equal(gpu_read(f, heap(5)), 55);
	assert_int_equal(read_b(f, heap(5)), 55);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(read_b(f, OTHER + i * PAGE_BYTES), tag_of(4 + i));
	assert_int_equal(cpu_read(f, heap(5)), 55);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cpu_read(f, OTHER + i * PAGE_BYTES), tag_of(4 + i));
	expect_tags(f, 8, 8);
}

/* --- what is in flight ---------------- */

static void what_is_unmapped_and_not_told_dies_with_either(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	fake_munmap_untold(f->fake, heap_span(3, 2));
	assert_int_equal(read_b(f, heap(0)), tag_of(0));
	fake_tell(f->fake);
	settle(f);
	assert_int_equal(place_of(f, heap(3)), 'h');
	assert_int_equal(gpu_fault_in(f, &f->other, vm_b(f), heap(3), USVM_ACCESS_READ), -EFAULT);
	expect_tags(f, 0, 3);
	expect_tags(f, 5, 11);
}

static void what_is_unmapped_and_not_read_dies_with_either(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	fake_munmap(f->fake, heap_span(3, 2));
	f->fake->yield_hook = settle_hook;
	assert_int_equal(read_b(f, heap(0)), tag_of(0));
	settle(f);
	assert_int_equal(place_of(f, heap(3)), 'h');
	expect_tags(f, 0, 3);
	expect_tags(f, 5, 11);
}

static void what_moved_in_the_address_space_follows_to_the_peer(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	assert_int_equal(fake_mremap(f->fake, heap_span(3, 2), OTHER, false), 0);
	f->fake->yield_hook = settle_hook;
	assert_int_equal(read_b(f, heap(0)), tag_of(0));
	settle(f);
	/* From a frame that is not at its natural place to one that is. */
	assert_int_equal(read_b(f, OTHER), tag_of(3));
	assert_int_equal(place_of(f, OTHER), 'b');
	assert_int_equal(gpu_read(f, OTHER + PAGE_BYTES), tag_of(4));
	assert_int_equal(cpu_read(f, OTHER), tag_of(3));
	assert_int_equal(cpu_read(f, OTHER + PAGE_BYTES), tag_of(4));
	expect_tags(f, 0, 3);
	expect_tags(f, 5, 11);
}

static void what_moved_untold_follows_to_the_peer(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	fake_mremap_untold(f->fake, heap_span(3, 2), OTHER);
	assert_int_equal(read_b(f, heap(0)), tag_of(0));
	fake_tell(f->fake);
	settle(f);
	run_all(f);
	assert_int_equal(cpu_read(f, OTHER), tag_of(3));
	assert_int_equal(cpu_read(f, OTHER + PAGE_BYTES), tag_of(4));
	expect_tags(f, 0, 3);
	expect_tags(f, 5, 11);
}

static void what_is_discarded_is_zeros_on_the_peer(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	assert_int_equal(fake_madvise(f->fake, heap_span(3, 2), SYS_ADVICE_DONTNEED), 0);
	f->fake->yield_hook = settle_hook;
	assert_int_equal(read_b(f, heap(0)), tag_of(0)); /* the zap is to come */
	finish_remove(f);
	assert_int_equal(read_b(f, heap(3)), 0);
	assert_int_equal(cpu_read(f, heap(4)), 0);
	expect_tags(f, 0, 3);
	expect_tags(f, 5, 11);
}

static void a_clone_finds_what_came_over(void **state)
{
	struct fixture *f = *state;
	int child;

	on_a(f, 0, 16);
	gpu_write(f, heap(3), 33);
	child = fake_fork(f->fake, false);
	f->fake->yield_hook = settle_hook;
	assert_int_equal(read_b(f, heap(3)), 33);
	write_b(f, heap(5), 55);
	run_all(f);
	fake_enter(f->fake, child);
	assert_int_equal(fake_tag(f->fake, heap(3)), 33);
	assert_int_equal(fake_tag(f->fake, heap(2)), tag_of(2));
	fake_enter(f->fake, 0);
	assert_int_equal(cpu_read(f, heap(5)), 55);
	assert_int_equal(cpu_read(f, heap(3)), 33);
}

/* --- what fails ---------------- */

/* It is on A still, and B has its contents all the same: in place, or from home. */
static void expect_with_a(struct fixture *f, uint64_t pages)
{
	uint64_t home = went_home(f);

	assert_int_equal(came(f), 0);
	assert_int_equal(read_b(f, heap(2)), tag_of(2));
	assert_int_equal(came(f), 0);
	if (f->gpu.memory) {
		assert_int_equal(place_of(f, heap(2)), 'h');
		assert_true(went_home(f) > home);
	} else {
		expect_places(f, 0, pages, 'a');
		assert_true(pte_b(f, heap(2))->flags & USVM_PTE_HOST);
		assert_int_equal(went_home(f), home);
		assert_true(f->other.device->stats.value[VM_STAT_PEER_MAPPED]);
	}
}

static int refuse(struct vram_bo *bo UNUSED, void *owner UNUSED)
{
	return -EBUSY;
}

static void forget(struct vram_bo *bo UNUSED, void *owner UNUSED)
{
}

static void what_finds_no_room_stays_with_its_device(void **state)
{
	static const struct vram_bo_ops ops = { .evict = refuse, .release = forget };
	struct fixture *f = *state;
	struct vram_bo *all;

	on_a(f, 0, 16);
	assert_int_equal(vram_bo_create(f->other.device->vram, VRAM_BYTES, &ops, NULL, true,
					&all), 0);
	expect_with_a(f, 16);
	write_b(f, heap(2), 22);
	assert_int_equal(gpu_read(f, heap(2)), 22);
	vram_bo_unpin(all);
	vram_bo_put(all);
	assert_int_equal(cpu_read(f, heap(2)), 22);
	expect_tags(f, 3, 13);
}

static void what_a_device_cannot_copy_stays_with_its_device(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	f->other.copy_to_error = -EIO;
	expect_with_a(f, 16);
	f->other.copy_to_error = 0;
	expect_tags(f, 0, 16);
}

static void what_the_source_cannot_copy_is_asked_for_again(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	f->gpu.copy_failures = 1;
	assert_int_equal(read_b(f, heap(2)), tag_of(2));
	assert_int_equal(f->gpu.copy_failures, 0);
	assert_int_equal(came(f), 0);
	expect_tags(f, 0, 16);
	assert_int_equal(f->mm->stats.lost_pages, 0);
}

/* In A's memory. */
static uint64_t offset_of(struct fixture *f, uint64_t page)
{
	struct mm_entry *entry;
	struct pagemap_devmem *devmem;
	uint64_t offset;

	lock_acquire(mm_event_lock(f->mm));
	entry = mm_entry_first(f->mm, span_make(heap(page), PAGE_BYTES));
	devmem = pagemap_entry_holder(entry);
	offset = devmem->vram_offset + entry->frame + (heap(page) - entry->node.span.start);
	lock_release(mm_event_lock(f->mm));
	return offset;
}

static uint64_t frame_of_a(struct fixture *f, uint64_t page)
{
	return f->gpu.device->pagemap->frames + offset_of(f, page);
}

static void a_frame_that_does_not_move_is_copied(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	fake_page_set(f->fake, span_make(frame_of_a(f, 3), 2 * PAGE_BYTES), FAKE_PAGE_PINNED);
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	expect_places(f, 0, 16, 'b');
	assert_int_equal(f->mm->stats.peer_copied_pages, 2);
	assert_int_equal(f->mm->stats.peer_moved_pages, 14);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(read_b(f, heap(i)), tag_of(i));
	fake_page_clear(f->fake, span_make(f->gpu.device->pagemap->frames, HUGE_BYTES),
			FAKE_PAGE_PINNED);
	expect_tags(f, 0, 16);
}

static void a_move_that_lies_has_moved(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	f->fake->move_lies = 3;
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	expect_places(f, 0, 16, 'b');
	assert_int_equal(f->mm->stats.peer_copied_pages, 0);
	expect_tags(f, 0, 16);
}

static void what_is_left_in_frames_of_the_peer_is_not_seen(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 16);
	assert_int_equal(read_b(f, heap(0)), tag_of(0));
	fake_munmap(f->fake, heap_span(0, 8)); /* B's frames are dirty */
	settle(f);
	fake_map(f->fake, heap_span(0, 8), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(gpu_fault(f, heap(1), USVM_ACCESS_WRITE), 0); /* zeros on A */
	gpu_write(f, heap(2), 2);
	assert_int_equal(read_b(f, heap(1)), 0);
	assert_int_equal(place_of(f, heap(1)), 'b');
	assert_int_equal(read_b(f, heap(2)), 2);
	assert_int_equal(cpu_read(f, heap(3)), 0);
	expect_tags(f, 8, 8);
}

static void frames_that_were_left_are_poisoned(void **state)
{
	struct fixture *f = *state;
	uint64_t frame;

	on_a(f, 0, 16);
	frame = frame_of_a(f, 3);
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	assert_int_equal(fake_tag(f->fake, frame), 0xdbdbdbdbdbdbdbdb);
	assert_int_equal(gpu_read(f, heap(3)), tag_of(3));
	expect_tags(f, 0, 16);
}

/* --- who is one ---------------- */

static void pages_of_a_stranger_come_home_first(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	expect_places(f, 0, 16, 'b');
	assert_int_equal(came(f), 0);
	assert_int_equal(went_home(f), 16);
	expect_tags(f, 0, 16);
}

/* --- in place ---------------- */

static void what_is_wanted_on_a_peer_is_used_there(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 64);
	want_on_a(f);
	assert_int_equal(read_b(f, heap(20)), tag_of(20));
	expect_places(f, 0, 64, 'a');
	assert_int_equal(pte_b(f, heap(20))->target,
			 (uintptr_t)f->gpu.device->host.vram + offset_of(f, 20));
	assert_true(pte_b(f, heap(20))->flags & USVM_PTE_HOST);
	write_b(f, heap(20), 21);
	assert_int_equal(gpu_read(f, heap(20)), 21);
	/* Its entries go when the page does. */
	assert_int_equal(cpu_read(f, heap(20)), 21);
	assert_int_equal(pte_b(f, heap(20))->flags, 0);
	fake_set_tag(f->fake, heap(20), 23);
	assert_int_equal(read_b(f, heap(20)), 23);
	/* As advised: it stays there. By name: it comes. */
	assert_int_equal(vm_prefetch(vm_b(f), HEAP_VMA, VM_PLACE_ADVISED), 0);
	expect_places(f, 0, 64, 'a');
	assert_int_equal(vm_prefetch(vm_b(f), HEAP_VMA, VM_PLACE_DEVICE), 0);
	expect_places(f, 0, 64, 'b');
	assert_int_equal(cpu_read(f, heap(20)), 23);
	expect_tags(f, 0, 20);
}

static void what_cannot_be_reached_is_used_at_home(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	want_on_a(f);
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	assert_int_equal(place_of(f, heap(3)), 'h');
	assert_int_equal(pte_b(f, heap(3))->flags & (USVM_PTE_HOST | USVM_PTE_VRAM), 0);
	expect_tags(f, 0, 16);
}

static void what_is_used_in_place_is_revoked_with_its_device(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	want_on_a(f);
	write_b(f, heap(3), 33);
	assert_int_equal(vm_device_unplug(f->gpu.device), 0);
	assert_int_equal(pte_b(f, heap(3))->flags, 0);
	assert_int_equal(read_b(f, heap(3)), 33);
	assert_int_equal(place_of(f, heap(3)), 'h');
	expect_tags(f, 4, 12);
}

/* It has atomics in its own memory only, and so none in a peer's. */
static void an_atomic_brings_the_page_over(void **state)
{
	struct fixture *f = *state;

	on_a(f, 0, 16);
	want_on_a(f);
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	assert_false(pte_b(f, heap(3))->flags & USVM_PTE_ATOMIC);
	assert_int_equal(gpu_fault_in(f, &f->other, vm_b(f), heap(3), USVM_ACCESS_ATOMIC), 0);
	assert_int_equal(place_of(f, heap(3)), 'b');
	assert_true(pte_b(f, heap(3))->flags & USVM_PTE_ATOMIC);
	expect_tags(f, 0, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL(pages_of_a_peer_come_over),
		ALL(what_is_in_three_places_comes_together),
		ALL(what_comes_joins_what_is_there),
		ALL(frames_whose_pages_went_elsewhere_are_not_used),
		ALL(what_is_unmapped_and_not_told_dies_with_either),
		ALL(what_is_unmapped_and_not_read_dies_with_either),
		ALL(what_moved_in_the_address_space_follows_to_the_peer),
		ALL(what_moved_untold_follows_to_the_peer),
		ALL(what_is_discarded_is_zeros_on_the_peer),
		ALL(a_clone_finds_what_came_over),
		ALL(what_finds_no_room_stays_with_its_device),
		IN(what_a_device_cannot_copy_stays_with_its_device, move_copy),
		IN(what_a_device_cannot_copy_stays_with_its_device, copy_copy),
		IN(what_the_source_cannot_copy_is_asked_for_again, copy_move),
		IN(a_frame_that_does_not_move_is_copied, move_move),
		IN(a_move_that_lies_has_moved, move_move),
		ALL(what_is_left_in_frames_of_the_peer_is_not_seen),
		IN(frames_that_were_left_are_poisoned, poisoned),
		IN(pages_of_a_stranger_come_home_first, strangers),
		IN(pages_of_a_stranger_come_home_first, nobodies),
		IN(pages_of_a_stranger_come_home_first, copy_copy_without_op),
		IN(what_is_wanted_on_a_peer_is_used_there, move_move),
		IN(what_is_wanted_on_a_peer_is_used_there, move_copy),
		IN(what_cannot_be_reached_is_used_at_home, copy_move),
		IN(what_cannot_be_reached_is_used_at_home, copy_copy),
		IN(what_is_used_in_place_is_revoked_with_its_device, move_move),
		IN(an_atomic_brings_the_page_over, no_atomics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
