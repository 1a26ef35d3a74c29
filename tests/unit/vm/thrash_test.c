/* SPDX-License-Identifier: MIT */
/*
 * Thrash: what goes to and fro moves in smaller pieces, then stays, and is tried again.
 */
#include "vm_fixture.h"

#include "vm/vm_internal.h"

#define MS 1000000ull
#define ROUNDS 128u

static int set_up_thrash(void **state)
{
	struct fixture *f;
	int err;

	gpu_home_bytes = HUGE_BYTES;
	err = set_up(state);
	f = *state;
	f->gpu.device->config.thrash_control = true;
	heap_fill(f, 0, 512);
	return err;
}

static int set_up_thrash_copy(void **state)
{
	struct fixture *f;
	int err;

	gpu_home_bytes = HUGE_BYTES;
	err = set_up_copy(state);
	f = *state;
	f->gpu.device->config.thrash_control = true;
	heap_fill(f, 0, 512);
	return err;
}

static void control(struct fixture *f, bool on)
{
	f->gpu.device->config.thrash_control = on;
}

static uint64_t moved(struct fixture *f)
{
	return stat(f, VM_STAT_PAGES_TO_DEVICE);
}

/* Each changes a page of its own, by turns. */
static uint64_t take_turns(struct fixture *f, uint64_t cpu_page, uint64_t gpu_page,
			   unsigned int rounds, uint64_t pause_ns)
{
	uint64_t before = moved(f);

	for (unsigned int i = 0; i < rounds; i++) {
		gpu_write(f, heap(gpu_page), i);
		f->fake->clock_ns += pause_ns;
		cpu_read(f, heap(cpu_page));
		f->fake->clock_ns += pause_ns;
		if (cpu_page == gpu_page)
			assert_int_equal(cpu_read(f, heap(cpu_page)), i);
	}
	return moved(f) - before;
}

static uint32_t grain_of(struct fixture *f, uint64_t page)
{
	for (size_t i = 0; i < VM_BLOCKS_MAX; i++) {
		if (f->vm->thrash.blocks[i].addr == ALIGN_DOWN(heap(page), HUGE_BYTES))
			return f->vm->thrash.blocks[i].grain;
	}
	return 0;
}

static void quiet(struct fixture *f, uint64_t ms)
{
	for (uint64_t i = 0; i < ms; i += 10) {
		f->fake->clock_ns += 10 * MS;
		run_all(f);
	}
}

static void two_that_share_a_block_alone_stop_to_move_it(void **state)
{
	struct fixture *f = *state;
	uint64_t with, without;

	with = take_turns(f, 0, 256, ROUNDS, 0);
	assert_int_equal(grain_of(f, 0), 1);
	assert_int_equal(cpu_read(f, heap(256)), ROUNDS - 1);
	quiet(f, 200);
	control(f, false);
	without = take_turns(f, 0, 256, ROUNDS, 0);
	assert_true(without > ROUNDS * 511);
	/* A few times the whole, then 16 pages, once. */
	assert_true(with < 8 * 512);
	assert_int_equal(stat(f, VM_STAT_THRASH_IN_PLACE), 0);
}

static void two_that_share_a_page_use_it_in_place(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	assert_true(take_turns(f, 7, 7, ROUNDS, 0) < 8 * 512);
	assert_int_equal(grain_of(f, 7), 2);
	assert_false(is_vram(f, heap(7)));
	assert_true(stat(f, VM_STAT_THRASH_IN_PLACE) > 0);
	before = stat(f, VM_STAT_PAGEFAULT_COUNT);
	assert_int_equal(take_turns(f, 7, 7, ROUNDS, 0), 0);
	assert_int_equal(stat(f, VM_STAT_PAGEFAULT_COUNT), before);
	/* Its neighbours go where they went before. */
	gpu_write(f, heap(8), 1);
	assert_true(is_vram(f, heap(8)));
}

/* Nobody has to ask: the GPU may have the block to itself by now. */
static void after_quiet_it_is_whole_again(void **state)
{
	struct fixture *f = *state;

	take_turns(f, 7, 7, ROUNDS, 0);
	assert_false(is_vram(f, heap(7)));
	quiet(f, 3000);
	assert_int_equal(grain_of(f, 7), 0);
	assert_int_equal(stat(f, VM_STAT_THRASH_SMALLER), stat(f, VM_STAT_THRASH_LARGER));
	gpu_write(f, heap(7), 9);
	assert_true(is_vram(f, heap(7)));
	assert_true(is_on_device(f, heap(511)));
	assert_int_equal(cpu_read(f, heap(7)), 9);
}

static void live_ranges_are_made_anew_without_a_loss(void **state)
{
	struct fixture *f = *state;
	uint64_t pages;

	take_turns(f, 0, 256, ROUNDS, 0);
	assert_int_equal(grain_of(f, 0), 1);
	gpu_write(f, heap(300), 77);
	assert_true(is_vram(f, heap(300)));
	pages = mm_entry_pages(f->mm);
	quiet(f, 200);
	assert_int_equal(grain_of(f, 0), 0);
	assert_int_equal(pte_of(f, heap(300))->flags, 0);
	assert_int_equal(mm_entry_pages(f->mm), pages);
	assert_int_equal(gpu_read(f, heap(300)), 77);
	assert_int_equal(cpu_read(f, heap(300)), 77);
}

/* And if it was in vain, it is left alone for longer. */
static void each_try_in_vain_is_followed_by_a_longer_quiet(void **state)
{
	struct fixture *f = *state;
	uint64_t first, later;

	take_turns(f, 7, 7, ROUNDS, 0);
	first = moved(f);
	for (int i = 0; i < 100; i++) {
		quiet(f, 10);
		take_turns(f, 7, 7, 10, 0);
	}
	later = moved(f);
	for (int i = 0; i < 100; i++) {
		quiet(f, 10);
		take_turns(f, 7, 7, 10, 0);
	}
	/* Fewer in a second than once the half of a block. */
	assert_true(later - first < 256);
	assert_true(moved(f) - later < 256);
	assert_true(moved(f) < 100 * 512);
}

/* Every page by both, by turns: to move it whole is the cheapest way. */
static uint64_t faults_of_dense_turns(struct fixture *f)
{
	uint64_t before = stat(f, VM_STAT_PAGEFAULT_COUNT);

	for (unsigned int i = 0; i < ROUNDS; i++) {
		for (uint64_t page = 0; page < 512; page += 8)
			gpu_write(f, heap(page), i);
		for (uint64_t page = 0; page < 512; page += 8)
			assert_int_equal(cpu_read(f, heap(page)), i);
	}
	return stat(f, VM_STAT_PAGEFAULT_COUNT) - before;
}

static void a_block_that_both_use_all_of_stays_whole(void **state)
{
	struct fixture *f = *state;
	uint64_t with = faults_of_dense_turns(f), without;

	control(f, false);
	quiet(f, 1000);
	without = faults_of_dense_turns(f);
	assert_int_equal(without, ROUNDS);
	assert_true(with <= ROUNDS + ROUNDS / 2);
}

static void turns_that_are_long_are_no_thrash(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(take_turns(f, 0, 256, ROUNDS, 10 * MS), ROUNDS * 512);
	assert_int_equal(stat(f, VM_STAT_BOUNCES), ROUNDS - 1);
	assert_int_equal(stat(f, VM_STAT_THRASH_SMALLER), 0);
}

/* What its block would take has never been seen: it is alone in there. */
static void a_small_mapping_is_asked_what_it_takes_itself(void **state)
{
	struct fixture *f = *state;
	const uint64_t move_ns = 20000, pause_ns = 200000;

	fake_map(f->fake, span_make(OTHER, PAGE_BYTES), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		gpu_write(f, OTHER, i);
		/* The clock of the fake stands still in a move. */
		f->vm->thrash.move_ns[2] = move_ns;
		f->fake->clock_ns += pause_ns;
		assert_int_equal(cpu_read(f, OTHER), i);
		f->fake->clock_ns += pause_ns;
	}
	assert_true(moved(f) < 16);
	assert_true(stat(f, VM_STAT_THRASH_IN_PLACE) > 0);
	assert_false(is_vram(f, OTHER));
}

/* Evictions and homecomings by name are not the CPU's doing. */
static void only_cpu_faults_count(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		gpu_write(f, heap(0), i);
		assert_int_equal(i % 2 ? vram_evict_all(f->gpu.device->vram) :
					 vm_prefetch(f->vm, heap_span(0, 512),
						     VM_PLACE_SYSTEM), 0);
	}
	assert_int_equal(stat(f, VM_STAT_BOUNCES), 0);
}

static void what_is_asked_for_by_name_is_not_held_back(void **state)
{
	struct fixture *f = *state;

	take_turns(f, 7, 7, ROUNDS, 0);
	assert_int_equal(vm_prefetch(f->vm, heap_span(0, 512), VM_PLACE_DEVICE), 0);
	assert_true(is_vram(f, heap(7)));
	assert_true(is_vram(f, heap(511)));
	assert_int_equal(grain_of(f, 7), 0);
}

static void what_should_be_on_the_device_is_not_left_at_home(void **state)
{
	struct fixture *f = *state;
	const struct vm_attr here = { .location = VM_LOCATION_DEVICE,
				      .device = f->gpu.device };

	assert_int_equal(vm_advise(f->vm, heap_span(0, 512), VM_ATTR_LOCATION, &here), 0);
	take_turns(f, 7, 7, ROUNDS, 0);
	gpu_write(f, heap(7), 1);
	assert_true(is_vram(f, heap(7)));
	assert_int_equal(stat(f, VM_STAT_THRASH_IN_PLACE), 0);
	assert_true(moved(f) < ROUNDS + 20 * 512);
}

static void more_blocks_than_are_known_are_moved_as_ever(void **state)
{
	struct fixture *f = *state;
	struct span many = span_make(OTHER, (VM_BLOCKS_MAX + 8) * HUGE_BYTES);

	fake_map(f->fake, many, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	for (int round = 0; round < 12; round++) {
		for (uint64_t at = many.start; at < many.end; at += HUGE_BYTES) {
			gpu_write(f, at, 1);
			assert_int_equal(cpu_read(f, at), 1);
		}
	}
	vm_check(f->vm);
}

static void a_vm_can_go_while_a_block_is_divided(void **state)
{
	struct fixture *f = *state;

	take_turns(f, 7, 7, ROUNDS, 0);
	vm_destroy(f->vm);
	assert_int_equal(vm_create(f->gpu.device, 0, &f->vm), 0);
	quiet(f, 200);
	assert_int_equal(gpu_read(f, heap(7)), ROUNDS - 1);
}

#define THRASH(name) TEST_WITH(name, set_up_thrash)
#define THRASH_COPY(name) \
	{ #name ", copy", name, set_up_thrash_copy, tear_down, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		THRASH(two_that_share_a_block_alone_stop_to_move_it),
		THRASH_COPY(two_that_share_a_block_alone_stop_to_move_it),
		THRASH(two_that_share_a_page_use_it_in_place),
		THRASH_COPY(two_that_share_a_page_use_it_in_place),
		THRASH(after_quiet_it_is_whole_again),
		THRASH(live_ranges_are_made_anew_without_a_loss),
		THRASH_COPY(live_ranges_are_made_anew_without_a_loss),
		THRASH(each_try_in_vain_is_followed_by_a_longer_quiet),
		THRASH(a_block_that_both_use_all_of_stays_whole),
		THRASH_COPY(a_block_that_both_use_all_of_stays_whole),
		THRASH(turns_that_are_long_are_no_thrash),
		THRASH(a_small_mapping_is_asked_what_it_takes_itself),
		THRASH(only_cpu_faults_count),
		THRASH(what_is_asked_for_by_name_is_not_held_back),
		THRASH(what_should_be_on_the_device_is_not_left_at_home),
		THRASH(more_blocks_than_are_known_are_moved_as_ever),
		THRASH(a_vm_can_go_while_a_block_is_divided),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
