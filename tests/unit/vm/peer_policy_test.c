/* SPDX-License-Identifier: MIT */
/*
 * Where pages of several devices should be: those that go to and fro between two, and those
 * that are wanted on another than the one that uses them.
 */
#include "peer_fixture.h"

/* --- by turns ---------------- */

#define ROUNDS 100u

static void control_thrash(struct fixture *f)
{
	f->gpu.device->config.thrash_control = true;
	f->other.device->config.thrash_control = true;
	heap_fill(f, 0, 512);
}

/* Pages that changed places, either way. */
static uint64_t moves(const struct fixture *f)
{
	const uint64_t *a = f->gpu.device->stats.value, *b = f->other.device->stats.value;

	return a[VM_STAT_PAGES_TO_DEVICE] + a[VM_STAT_PAGES_FROM_PEER] +
	       b[VM_STAT_PAGES_TO_DEVICE] + b[VM_STAT_PAGES_FROM_PEER];
}

static uint64_t take_turns(struct fixture *f, uint64_t page_a, uint64_t page_b)
{
	uint64_t before = moves(f);

	for (uint64_t i = 0; i < ROUNDS; i++) {
		gpu_write(f, heap(page_a), i);
		if (page_a == page_b)
			assert_int_equal(read_b(f, heap(page_b)), i);
		else
			write_b(f, heap(page_b), i);
	}
	return moves(f) - before;
}

static uint64_t bounces(struct fixture *f)
{
	return f->gpu.device->stats.value[VM_STAT_BOUNCES] +
	       f->other.device->stats.value[VM_STAT_BOUNCES];
}

static void two_devices_that_share_a_page_leave_it_where_it_is(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	control_thrash(f);
	assert_true(take_turns(f, 7, 7) < 16 * 512);
	before = bounces(f);
	assert_true(before > 0);
	assert_int_equal(take_turns(f, 7, 7), 0);
	assert_int_equal(bounces(f), before);
	expect_tags(f, 8, 504);
}

static void two_devices_that_share_a_block_alone_keep_their_parts(void **state)
{
	struct fixture *f = *state;

	control_thrash(f);
	assert_true(take_turns(f, 0, 256) < 16 * 512);
	assert_int_equal(take_turns(f, 0, 256), 0);
	assert_int_equal(place_of(f, heap(0)), 'a');
	assert_int_equal(place_of(f, heap(256)), 'b');
	expect_tags(f, 1, 255);
}

/* It was the program's wish. */
static void what_is_asked_for_by_name_is_no_loss(void **state)
{
	struct fixture *f = *state;

	control_thrash(f);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		gpu_write(f, heap(7), i);
		assert_int_equal(vm_prefetch(vm_b(f), heap_span(0, 512), VM_PLACE_DEVICE), 0);
		assert_int_equal(place_of(f, heap(7)), 'b');
	}
	assert_int_equal(bounces(f), 0);
}

/* Its own pages beside those that it takes are revoked with them. */
static void what_one_takes_itself_is_no_loss(void **state)
{
	const struct vm_attr attr = { .atomic = VM_ATOMIC_GLOBAL };
	struct fixture *f = *state;

	control_thrash(f);
	/* So that no more goes to B. */
	assert_int_equal(vm_advise(vm_b(f), heap_span(8, 8), VM_ATTR_ATOMIC, &attr), 0);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
		assert_int_equal(vm_prefetch(vm_b(f), heap_span(8, 8), VM_PLACE_DEVICE), 0);
		expect_places(f, 0, 8, 'a');
		expect_places(f, 8, 8, 'b');
		assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
		assert_int_equal(gpu_read(f, heap(8)), tag_of(8));
		expect_places(f, 8, 8, 'a');
	}
	assert_int_equal(bounces(f), 0);
}

/* --- on another device, by advice ---------------- */

static uint64_t got(const struct gpu *gpu)
{
	return gpu->device->stats.value[VM_STAT_PAGES_TO_DEVICE];
}

static void pages_go_where_they_are_wanted(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 512);
	want_on_a(f);
	assert_int_equal(read_b(f, heap(20)), tag_of(20));
	expect_places(f, 0, 512, 'a');
	assert_int_equal(got(&f->gpu), 512);
	assert_int_equal(got(&f->other), 0);
	assert_true(pte_b(f, heap(20))->flags & USVM_PTE_HOST);
	write_b(f, heap(21), 22);
	assert_int_equal(gpu_read(f, heap(21)), 22);
	/* And again, as often as the CPU wants them. */
	for (uint64_t i = 0; i < 8; i++) {
		(void)cpu_read(f, heap(7));
		assert_int_equal(place_of(f, heap(7)), 'h');
		fake_set_tag(f->fake, heap(7), i);
		assert_int_equal(read_b(f, heap(7)), i);
		assert_int_equal(place_of(f, heap(7)), 'a');
	}
	expect_tags(f, 30, 482);
}

static void what_is_on_the_own_device_goes_where_it_is_wanted(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 16);
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	expect_places(f, 0, 16, 'b');
	want_on_a(f);
	assert_int_equal(vm_prefetch(vm_b(f), HEAP_VMA, VM_PLACE_ADVISED), 0);
	expect_places(f, 0, 16, 'a');
	assert_true(pte_b(f, heap(3))->flags & USVM_PTE_HOST);
	expect_tags(f, 0, 16);
}

/* Where it has its atomics it has its pages. */
static void what_its_memory_alone_can_serve_comes(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 16);
	want_on_a(f);
	assert_int_equal(gpu_fault_in(f, &f->other, vm_b(f), heap(3), USVM_ACCESS_ATOMIC), 0);
	assert_int_equal(place_of(f, heap(3)), 'b');
	expect_tags(f, 0, 16);
}

static void a_device_that_takes_nothing_has_no_guests(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 16);
	want_on_a(f);
	f->gpu.device->config.migrate = VM_MIGRATE_NEVER;
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	expect_places(f, 0, 16, 'h');
	f->gpu.device->config.migrate = VM_MIGRATE_AUTO;
	assert_int_equal(vm_device_unplug(f->gpu.device), 0);
	assert_int_equal(read_b(f, heap(8)), tag_of(8));
	expect_places(f, 0, 16, 'h');
	assert_int_equal(ATOMIC_LOAD(&f->gpu.device->guests), 0);
	expect_tags(f, 0, 16);
}

static void a_device_that_is_full_has_no_room_for_guests(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo;

	heap_fill(f, 0, 16);
	want_on_a(f);
	assert_int_equal(vm_bo_create(f->gpu.device, VRAM_BYTES, VM_BO_DEVICE, 0, &bo), 0);
	assert_int_equal(vm_bo_pin(bo), 0);
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	expect_places(f, 0, 16, 'h');
	vm_bo_unpin(bo);
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	vm_bo_put(bo);
	expect_tags(f, 0, 16);
}

static void what_is_not_reached_is_no_place_for_guests(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 16);
	want_on_a(f);
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	expect_places(f, 0, 16, 'h');
	assert_int_equal(got(&f->gpu), 0);
	expect_tags(f, 0, 16);
}

/* The advice names what is not there any more. */
static void who_has_gone_is_not_asked(void **state)
{
	struct fixture *f = *state;
	const struct vm_attr attr = { .location = VM_LOCATION_DEVICE, .device = &attr };

	heap_fill(f, 0, 16);
	assert_int_equal(vm_advise(vm_b(f), HEAP_VMA, VM_ATTR_LOCATION, &attr), 0);
	assert_int_equal(read_b(f, heap(3)), tag_of(3));
	expect_places(f, 0, 16, 'h');
	assert_int_equal(vm_prefetch(vm_b(f), HEAP_VMA, VM_PLACE_ADVISED), 0);
	expect_places(f, 0, 16, 'h');
	expect_tags(f, 0, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL(two_devices_that_share_a_page_leave_it_where_it_is),
		IN(two_devices_that_share_a_page_leave_it_where_it_is, strangers),
		ALL(two_devices_that_share_a_block_alone_keep_their_parts),
		IN(two_devices_that_share_a_block_alone_keep_their_parts, strangers),
		ALL(what_is_asked_for_by_name_is_no_loss),
		IN(what_is_asked_for_by_name_is_no_loss, strangers),
		ALL(what_one_takes_itself_is_no_loss),
		IN(pages_go_where_they_are_wanted, move_move),
		IN(pages_go_where_they_are_wanted, move_copy),
		IN(what_is_on_the_own_device_goes_where_it_is_wanted, move_move),
		IN(what_is_on_the_own_device_goes_where_it_is_wanted, move_copy),
		IN(what_its_memory_alone_can_serve_comes, no_atomics),
		IN(a_device_that_takes_nothing_has_no_guests, move_move),
		IN(a_device_that_is_full_has_no_room_for_guests, move_move),
		IN(what_is_not_reached_is_no_place_for_guests, strangers),
		IN(what_is_not_reached_is_no_place_for_guests, copy_move),
		IN(what_is_not_reached_is_no_place_for_guests, copy_copy),
		ALL(who_has_gone_is_not_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
