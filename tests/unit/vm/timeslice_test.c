/* SPDX-License-Identifier: MIT */
/*
 * Timeslices: what an atomic had to take to the device, the CPU waits for.
 */
#include "vm_fixture.h"

#define MS 1000000ull

static int set_up_slices(void **state)
{
	struct fixture *f;
	int err = set_up_with(state, USVM_DEVICE_NO_SYSTEM_ATOMICS, VM_MIGRATE_AUTO);

	f = *state;
	f->gpu.device->config.timeslice_ns = 5 * MS;
	return err;
}

static int set_up_slices_copy(void **state)
{
	struct fixture *f;
	int err = set_up_with(state, USVM_DEVICE_NO_SYSTEM_ATOMICS | USVM_DEVICE_OWN_MEMORY,
			      VM_MIGRATE_AUTO);

	f = *state;
	f->gpu.device->config.timeslice_ns = 5 * MS;
	return err;
}

static bool is_held(struct fixture *f, uint64_t page)
{
	settle(f);
	return fake_blocked(f->fake, heap_span(page, 1));
}

static void what_an_atomic_took_stays_for_a_while(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 2);
	assert_int_equal(gpu_fault(f, heap(0), USVM_ACCESS_ATOMIC), 0);
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EAGAIN);
	assert_true(is_held(f, 0));
	/* Meanwhile the GPU has it. */
	gpu_write(f, heap(0), 55);
	f->fake->clock_ns += 4 * MS;
	assert_true(is_held(f, 0));
	f->fake->clock_ns += 1 * MS;
	assert_false(is_held(f, 0));
	assert_int_equal(cpu_read(f, heap(0)), 55);
}

static void what_a_read_or_a_write_took_does_not(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 2);
	gpu_write(f, heap(0), 55);
	assert_int_equal(cpu_read(f, heap(0)), 55);
	assert_int_equal(gpu_read(f, heap(0)), 55);
	assert_int_equal(cpu_read(f, heap(0)), 55);
}

static void without_a_slice_nothing_stays(void **state)
{
	struct fixture *f = *state;

	f->gpu.device->config.timeslice_ns = 0;
	heap_fill(f, 0, 2);
	assert_int_equal(gpu_fault(f, heap(0), USVM_ACCESS_ATOMIC), 0);
	assert_int_equal(cpu_read(f, heap(0)), tag_of(0));
}

static void unpin_at_the_third_try(void *arg, const char *op UNUSED)
{
	struct fixture *f = arg;

	if (stat(f, VM_STAT_RETRIES) == 2)
		fake_page_clear(f->fake, heap_span(0, 1), FAKE_PAGE_PINNED);
}

static void a_slice_is_longer_with_each_try(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 2);
	fake_page_set(f->fake, heap_span(0, 1), FAKE_PAGE_PINNED);
	f->fake->op_hook = unpin_at_the_third_try;
	assert_int_equal(gpu_fault(f, heap(0), USVM_ACCESS_ATOMIC), 0);
	f->fake->op_hook = NULL;
	assert_int_equal(stat(f, VM_STAT_RETRIES), 2);
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EAGAIN);
	f->fake->clock_ns += 19 * MS;
	assert_true(is_held(f, 0));
	f->fake->clock_ns += 1 * MS;
	assert_false(is_held(f, 0));
	assert_int_equal(cpu_read(f, heap(0)), tag_of(0));
}

/* An eviction does not wait: the room is wanted. Nor who asks by name. */
static void who_wants_room_does_not_wait(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 2);
	assert_int_equal(gpu_fault(f, heap(0), USVM_ACCESS_ATOMIC), 0);
	assert_int_equal(fake_touch(f->fake, heap(0), false), -EAGAIN);
	assert_true(is_held(f, 0));
	assert_int_equal(vram_evict_all(f->gpu.device->vram), 0);
	assert_false(is_on_device(f, heap(0)));
	assert_false(is_held(f, 0));
	assert_int_equal(gpu_fault(f, heap(0), USVM_ACCESS_ATOMIC), 0);
	assert_int_equal(vm_prefetch(f->vm, heap_span(0, 1), VM_PLACE_SYSTEM), 0);
	assert_false(is_on_device(f, heap(0)));
}

#define SLICES(name) TEST_WITH(name, set_up_slices)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SLICES(what_an_atomic_took_stays_for_a_while),
		{ "what_an_atomic_took_stays_for_a_while, copy",
		  what_an_atomic_took_stays_for_a_while, set_up_slices_copy, tear_down, NULL },
		SLICES(what_a_read_or_a_write_took_does_not),
		SLICES(without_a_slice_nothing_stays),
		SLICES(a_slice_is_longer_with_each_try),
		SLICES(who_wants_room_does_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
