/* SPDX-License-Identifier: MIT */
/*
 * Attributes: how they split, merge and are reset, and what faults make of them.
 */
#include "vm_fixture.h"

#include "base/prng.h"
#include "../base/seed.h"
#include "vm/bo.h"
#include "vm/vm_internal.h"

#define REAL_START PAGE_BYTES
#define REAL_END ((1ull << 47) - PAGE_BYTES)

static uint64_t seed;
static const struct vm_attr in_system = { .location = VM_LOCATION_SYSTEM };

static void advise(struct fixture *f, struct span span, uint32_t fields, struct vm_attr attr)
{
	assert_int_equal(vm_advise(f->vm, span, fields, &attr), 0);
	vm_check(f->vm);
}

static void advise_system(struct fixture *f, struct span span)
{
	advise(f, span, VM_ATTR_LOCATION, in_system);
}

static void advise_atomic(struct fixture *f, struct span span, enum vm_atomic atomic)
{
	advise(f, span, VM_ATTR_ATOMIC, (struct vm_attr){ .atomic = atomic });
}

static size_t piece_count(struct fixture *f, struct span span)
{
	struct vm_attr_piece pieces[64];

	return vm_advise_query(f->vm, span, pieces, ARRAY_SIZE(pieces));
}

static struct vm_attr attr_of(struct fixture *f, uint64_t addr)
{
	struct vm_attr_piece piece;

	assert_int_equal(vm_advise_query(f->vm, span_make(addr, 1), &piece, 1), 1);
	assert_true(span_contains(piece.span, addr));
	return piece.attr;
}

/* --- pieces ---------------- */

static void nobody_said_anything_is_one_piece_of_defaults(void **state)
{
	struct fixture *f = *state;
	struct vm_attr_piece piece;

	assert_int_equal(vm_advise_query(f->vm, HEAP_VMA, &piece, 1), 1);
	assert_int_equal(piece.span.start, REAL_START);
	assert_int_equal(piece.span.end, REAL_END);
	assert_int_equal(piece.attr.location, VM_LOCATION_DEFAULT);
	assert_int_equal(piece.attr.atomic, VM_ATOMIC_UNDEFINED);
	assert_int_equal(piece.attr.pat_index, 0);
	assert_null(piece.attr.device);
}

static void pieces_split_where_attributes_differ_and_merge_where_not(void **state)
{
	struct fixture *f = *state;
	struct vm_attr_piece pieces[5];

	advise_system(f, heap_span(8, 8));
	assert_int_equal(vm_advise_query(f->vm, HEAP_VMA, pieces, 5), 3);
	assert_int_equal(pieces[0].span.start, REAL_START);
	assert_int_equal(pieces[0].span.end, heap(8));
	assert_int_equal(pieces[1].span.end, heap(16));
	assert_int_equal(pieces[2].span.end, REAL_END);
	assert_int_equal(pieces[1].attr.location, VM_LOCATION_SYSTEM);
	/* Another attribute of a part; the first one stays. */
	advise_atomic(f, heap_span(12, 8), VM_ATOMIC_CPU);
	assert_int_equal(vm_advise_query(f->vm, HEAP_VMA, pieces, 5), 5);
	assert_int_equal(pieces[2].span.start, heap(12));
	assert_int_equal(pieces[2].attr.location, VM_LOCATION_SYSTEM);
	assert_int_equal(pieces[2].attr.atomic, VM_ATOMIC_CPU);
	assert_int_equal(pieces[3].attr.location, VM_LOCATION_DEFAULT);
	assert_int_equal(pieces[3].attr.atomic, VM_ATOMIC_CPU);
	/* Back to the defaults: nothing is left of it. */
	advise_atomic(f, heap_span(0, 64), VM_ATOMIC_UNDEFINED);
	assert_int_equal(piece_count(f, HEAP_VMA), 3);
	advise(f, heap_span(8, 8), VM_ATTR_LOCATION, (struct vm_attr){ 0 });
	assert_int_equal(piece_count(f, HEAP_VMA), 1);
	assert_int_equal(f->vm->attrs.pieces.count, 0);
}

static void neighbours_that_become_equal_are_one(void **state)
{
	struct fixture *f = *state;

	advise_system(f, heap_span(0, 8));
	advise_system(f, heap_span(16, 8));
	assert_int_equal(f->vm->attrs.pieces.count, 2);
	advise_system(f, heap_span(8, 8));
	assert_int_equal(f->vm->attrs.pieces.count, 1);
}

static void a_query_goes_on_behind_the_last(void **state)
{
	struct fixture *f = *state;
	struct vm_attr_piece piece;
	uint64_t at = HEAP;
	size_t count = 0;

	for (uint64_t i = 0; i < 10; i++)
		advise_system(f, heap_span(2 * i, 1));
	while (vm_advise_query(f->vm, (struct span){ at, heap(20) }, &piece, 1)) {
		at = piece.span.end;
		count++;
	}
	assert_int_equal(count, 20);
}

static void what_is_not_bound_has_no_attributes(void **state)
{
	struct fixture *f = *state;
	struct vm_attr_piece pieces[4];
	struct vm *vm;

	assert_int_equal(vm_create(f->gpu.device, VM_NO_MIRROR, &vm), 0);
	assert_int_equal(vm_bind_mirror(vm, heap_span(0, 8), false), 0);
	assert_int_equal(vm_bind_mirror(vm, heap_span(8, 8), false), 0);
	assert_int_equal(vm_attr_set_default(vm, heap_span(8, 8), 5, false), 0);
	assert_int_equal(vm_attr_set_default(vm, heap_span(8, 4), 5, false), -ENOENT);
	assert_int_equal(vm_advise(vm, heap_span(4, 60), VM_ATTR_LOCATION, &in_system), 0);
	vm_check(vm);
	/* Not over the border of a bind, and nothing behind the last. */
	assert_int_equal(vm_advise_query(vm, HEAP_VMA, pieces, 4), 3);
	assert_int_equal(pieces[1].span.end, heap(8));
	assert_int_equal(pieces[2].span.end, heap(16));
	assert_int_equal(pieces[1].attr.pat_index, 0);
	assert_int_equal(pieces[2].attr.pat_index, 5);
	/* A bind that went takes its attributes with it. */
	assert_int_equal(vm_unbind(vm, heap_span(0, 8)), 0);
	vm_check(vm);
	assert_int_equal(vm_bind_mirror(vm, heap_span(0, 8), false), 0);
	assert_int_equal(vm_advise_query(vm, HEAP_VMA, pieces, 4), 2);
	assert_int_equal(pieces[0].attr.location, VM_LOCATION_DEFAULT);
	vm_destroy(vm);
}

static void wrong_arguments_change_nothing(void **state)
{
	struct fixture *f = *state;
	const struct {
		struct span span;
		uint32_t fields;
		struct vm_attr attr;
	} cases[] = {
		{ span_make(HEAP + 1, PAGE_BYTES), VM_ATTR_LOCATION, in_system },
		{ span_make(HEAP, 1), VM_ATTR_LOCATION, in_system },
		{ span_make(HEAP, 0), VM_ATTR_LOCATION, in_system },
		{ { HEAP, (1ull << 47) + PAGE_BYTES }, VM_ATTR_LOCATION, in_system },
		{ heap_span(0, 1), 0, in_system },
		{ heap_span(0, 1), 1u << 3, in_system },
		{ heap_span(0, 1), VM_ATTR_LOCATION, { .location = VM_LOCATION_DEVICE } },
		{ heap_span(0, 1), VM_ATTR_LOCATION, { .device = f } },
		{ heap_span(0, 1), VM_ATTR_LOCATION, { .location = 3 } },
		{ heap_span(0, 1), VM_ATTR_ATOMIC, { .atomic = 4 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(vm_advise(f->vm, cases[i].span, cases[i].fields,
					   &cases[i].attr), -EINVAL);
	assert_int_equal(f->vm->attrs.pieces.count, 0);
}

static void without_memory_nothing_changes(void **state)
{
	struct fixture *f = *state;
	uint64_t n = 0;

	fake_fail_for_ever(f->fake, "pages_alloc", 1, ENOMEM);
	/* What the pool has left first. */
	while (!vm_advise(f->vm, heap_span(2 * n, 1), VM_ATTR_LOCATION, &in_system))
		n++;
	assert_int_equal(vm_advise(f->vm, heap_span(2 * n, 1), VM_ATTR_LOCATION, &in_system),
			 -ENOMEM);
	assert_int_equal(f->vm->attrs.pieces.count, n);
	fake_fail_for_ever(f->fake, "pages_alloc", 1, 0);
	vm_check(f->vm);
}

/* Against an array of pages. */
static void random_attributes_are_those_of_a_table_by_page(void **state)
{
	struct fixture *f = *state;
	struct vm_attr table[64] = { 0 };
	struct prng prng;

	prng_seed(&prng, seed);
	for (int step = 0; step < 3000; step++) {
		uint64_t start = prng_below(&prng, 64), at = heap(0);
		uint64_t pages = 1 + prng_below(&prng, 64 - start);
		uint32_t fields = 1u + (uint32_t)prng_below(&prng, 7);
		struct vm_attr attr = {
			.location = prng_below(&prng, 2) ? VM_LOCATION_SYSTEM :
							   VM_LOCATION_DEFAULT,
			.atomic = (enum vm_atomic)prng_below(&prng, 4),
			.pat_index = (uint32_t)prng_below(&prng, 2),
		};

		advise(f, heap_span(start, pages), fields, attr);
		for (uint64_t i = start; i < start + pages; i++) {
			if (fields & VM_ATTR_LOCATION)
				table[i].location = attr.location;
			if (fields & VM_ATTR_ATOMIC)
				table[i].atomic = attr.atomic;
			if (fields & VM_ATTR_PAT)
				table[i].pat_index = attr.pat_index;
		}
		while (at < heap(64)) {
			struct vm_attr_piece piece;

			assert_int_equal(vm_advise_query(f->vm, (struct span){ at, heap(64) },
							 &piece, 1), 1);
			for (; at < MIN(piece.span.end, heap(64)); at += PAGE_BYTES) {
				const struct vm_attr *t = &table[(at - HEAP) / PAGE_BYTES];

				assert_int_equal(piece.attr.location, t->location);
				assert_int_equal(piece.attr.atomic, t->atomic);
				assert_int_equal(piece.attr.pat_index, t->pat_index);
			}
		}
	}
}

/* --- where pages go ---------------- */

static void memory_that_should_be_at_home_is_used_in_place(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 528);
	advise_system(f, heap_span(0, 512));
	assert_int_equal(gpu_read(f, heap(3)), tag_of(3));
	assert_false(is_on_device(f, heap(3)));
	/* As far as the advice goes, and no further. */
	assert_true(pte_of(f, heap(511))->flags & PTE_VALID);
	assert_false(pte_of(f, heap(512))->flags & PTE_VALID);
	assert_int_equal(gpu_read(f, heap(512)), tag_of(512));
	assert_true(is_vram(f, heap(512)));
	assert_false(is_on_device(f, heap(511)));
	assert_int_equal(stat(f, VM_STAT_PAGES_TO_DEVICE), 16);
}

/* Upstream's X20: advice moves nothing. */
static void what_is_on_the_device_stays_until_the_cpu_wants_it(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	gpu_write(f, heap(0), 77);
	advise_system(f, heap_span(0, 8));
	assert_false(pte_of(f, heap(0))->flags & PTE_VALID);
	assert_true(is_on_device(f, heap(0)));
	assert_int_equal(gpu_read(f, heap(0)), 77);
	assert_true(is_vram(f, heap(0)));
	assert_int_equal(cpu_read(f, heap(0)), 77);
	assert_int_equal(gpu_read(f, heap(0)), 77);
	assert_false(is_on_device(f, heap(0)));
}

static void memory_that_should_be_on_the_device_is_taken_there(void **state)
{
	struct fixture *f = *state;
	struct vm_attr here = { .location = VM_LOCATION_DEVICE, .device = f->gpu.device };

	heap_fill(f, 0, 4);
	advise_system(f, heap_span(0, 512));
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
	assert_false(is_on_device(f, heap(0)));
	advise(f, heap_span(0, 512), VM_ATTR_LOCATION, here);
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
	assert_true(is_vram(f, heap(0)));
	/* Another device's memory this one does not reach. */
	here.device = f;
	assert_int_equal(cpu_read(f, heap(0)), tag_of(0));
	advise(f, heap_span(0, 512), VM_ATTR_LOCATION, here);
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
	assert_false(is_on_device(f, heap(0)));
}

static void the_same_advice_again_revokes_nothing(void **state)
{
	struct fixture *f = *state;
	uint32_t clears;

	heap_fill(f, 0, 32);
	advise_system(f, heap_span(0, 32));
	gpu_read(f, heap(0));
	clears = f->gpu.clears;
	advise_system(f, heap_span(0, 32));
	advise_system(f, heap_span(8, 8));
	advise_atomic(f, heap_span(0, 32), VM_ATOMIC_UNDEFINED);
	assert_int_equal(f->gpu.clears, clears);
	assert_true(pte_of(f, heap(0))->flags & PTE_VALID);
	advise_atomic(f, heap_span(0, 32), VM_ATOMIC_GLOBAL);
	assert_int_equal(f->gpu.clears, clears + 1);
	assert_false(pte_of(f, heap(0))->flags & PTE_VALID);
}

static void a_range_that_reaches_over_a_border_ends(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 512);
	gpu_read(f, heap(0));
	assert_true(is_vram(f, heap(511)));
	advise_system(f, heap_span(256, 512));
	assert_false(pte_of(f, heap(0))->flags & PTE_VALID);
	assert_false(gpusvm_has_mapping(&f->vm->svm, heap_span(0, 512)));
	for (uint64_t i = 0; i < 512; i++)
		assert_int_equal(gpu_read(f, heap(i)), tag_of(i));
	assert_int_equal(stat(f, VM_STAT_SIZED_PAGEFAULT_COUNT), 0);
	assert_true(stat(f, VM_STAT_SIZED_PAGEFAULT_COUNT + 1) > 0);
}

/* --- who may use atomics ---------------- */

static void atomics_are_refused_where_they_are_the_cpus(void **state)
{
	struct fixture *f = *state;
	struct vm_fault_record record;

	heap_fill(f, 0, 2);
	advise_atomic(f, heap_span(0, 1), VM_ATOMIC_CPU);
	assert_int_equal(gpu_fault(f, heap(0), USVM_ACCESS_ATOMIC), -EACCES);
	assert_int_equal(vm_faults(f->vm, &record, 1), 1);
	assert_int_equal(record.error, -EACCES);
	assert_int_equal(record.access, USVM_ACCESS_ATOMIC);
	/* Reads and writes are not, and their entries allow no atomic. */
	assert_int_equal(gpu_fault(f, heap(0), USVM_ACCESS_WRITE), 0);
	assert_false(pte_of(f, heap(0))->flags & USVM_PTE_ATOMIC);
	assert_true(pte_of(f, heap(0))->flags & USVM_PTE_WRITE);
	assert_int_equal(gpu_fault(f, heap(1), USVM_ACCESS_ATOMIC), 0);
	assert_true(pte_of(f, heap(1))->flags & USVM_PTE_ATOMIC);
	/* And what was allowed is not any more when that is said. */
	advise_atomic(f, heap_span(1, 1), VM_ATOMIC_CPU);
	assert_false(pte_of(f, heap(1))->flags & USVM_PTE_ATOMIC);
	assert_int_equal(gpu_fault(f, heap(1), USVM_ACCESS_ATOMIC), -EACCES);
	advise_atomic(f, heap_span(0, 2), VM_ATOMIC_UNDEFINED);
	assert_int_equal(gpu_fault(f, heap(1), USVM_ACCESS_ATOMIC), 0);
}

/* A device that has atomics in its own memory only; others have them everywhere. */
static void atomics_go_where_the_device_has_them(void **state)
{
	static const enum vm_atomic kinds[] = { VM_ATOMIC_UNDEFINED, VM_ATOMIC_DEVICE,
						VM_ATOMIC_GLOBAL };
	struct fixture *f = *state;
	bool strict = f->gpu.device->config.flags & USVM_DEVICE_NO_SYSTEM_ATOMICS;

	heap_fill(f, 0, 800);
	advise_system(f, heap_span(0, 512));
	for (uint64_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		advise_atomic(f, heap_span(16 * i, 16), kinds[i]);
		assert_int_equal(gpu_fault(f, heap(16 * i), USVM_ACCESS_ATOMIC), 0);
		assert_int_equal(is_vram(f, heap(16 * i)), strict);
		assert_true(pte_of(f, heap(16 * i))->flags & USVM_PTE_ATOMIC);
	}
	/* What cannot go there is refused after a few tries. */
	fake_page_set(f->fake, heap_span(700, 1), FAKE_PAGE_PINNED);
	advise_atomic(f, heap_span(696, 16), VM_ATOMIC_DEVICE);
	assert_int_equal(gpu_fault(f, heap(700), USVM_ACCESS_ATOMIC), strict ? -EACCES : 0);
	fake_page_clear(f->fake, heap_span(700, 1), FAKE_PAGE_PINNED);
}

/* --- prefetch ---------------- */

static void expect_on_device(struct fixture *f, uint64_t page, uint64_t pages, bool wanted)
{
	for (uint64_t i = page; i < page + pages; i++)
		assert_int_equal(is_on_device(f, heap(i)), wanted);
}

static void a_prefetch_as_advised_goes_piece_by_piece(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 512);
	assert_int_equal(vm_prefetch(f->vm, heap_span(0, 64), VM_PLACE_DEVICE), 0);
	advise_system(f, heap_span(16, 16));
	advise_system(f, heap_span(100, 28));
	assert_int_equal(vm_prefetch(f->vm, HEAP_VMA, VM_PLACE_ADVISED), 0);
	expect_on_device(f, 0, 16, true);
	expect_on_device(f, 16, 16, false);
	expect_on_device(f, 32, 68, true);
	expect_on_device(f, 100, 28, false);
	expect_on_device(f, 128, 384, true);
	/* Said by name it goes where it was told. */
	assert_int_equal(vm_prefetch(f->vm, heap_span(0, 512), VM_PLACE_DEVICE), 0);
	expect_on_device(f, 0, 512, true);
	assert_int_equal(vm_prefetch(f->vm, heap_span(0, 512), VM_PLACE_SYSTEM), 0);
	expect_on_device(f, 0, 512, false);
	expect_tags(f, 0, 512);
}

/* L6: holes, memory that is not bound, and several VMAs; what is behind them is served. */
static void a_prefetch_as_advised_goes_on_behind_what_is_not_there(void **state)
{
	struct fixture *f = *state;
	struct vm *vm;

	assert_int_equal(vm_create(f->gpu.device, VM_NO_MIRROR, &vm), 0);
	assert_int_equal(vm_bind_mirror(vm, heap_span(0, 8), false), 0);
	assert_int_equal(vm_bind_mirror(vm, heap_span(16, 8), false), 0);
	assert_int_equal(vm_bind_mirror(vm, span_make(OTHER, KIB(64)), false), 0);
	fake_map(f->fake, span_make(OTHER, KIB(64)), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	heap_fill(f, 0, 32);
	fake_set_tag(f->fake, OTHER, 5);
	assert_int_equal(vm_advise(vm, heap_span(20, 4), VM_ATTR_LOCATION, &in_system), 0);
	assert_int_equal(vm_prefetch(vm, (struct span){ HEAP, OTHER + KIB(64) },
				     VM_PLACE_ADVISED), 0);
	expect_on_device(f, 0, 8, true);
	expect_on_device(f, 8, 8, false);
	expect_on_device(f, 16, 4, true);
	expect_on_device(f, 20, 12, false);
	assert_true(is_on_device(f, OTHER));
	vm_destroy(vm);
}

/* L10: on the way home nothing is populated. */
static void a_prefetch_leaves_holes(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 4);
	advise_system(f, heap_span(0, 512));
	assert_int_equal(vm_prefetch(f->vm, heap_span(0, 4), VM_PLACE_DEVICE), 0);
	assert_int_equal(vm_prefetch(f->vm, HEAP_VMA, VM_PLACE_ADVISED), 0);
	expect_tags(f, 0, 4);
	assert_int_equal(fake_page(f->fake, heap(100)), 0);
	assert_int_equal(vm_prefetch(f->vm, HEAP_VMA, VM_PLACE_SYSTEM), 0);
	assert_int_equal(fake_page(f->fake, heap(100)), 0);
}

/* --- reset on unmap ---------------- */

static int set_up_autoreset(void **state)
{
	struct fixture *f;
	int err = set_up(state);

	f = *state;
	vm_destroy(f->vm);
	assert_int_equal(vm_create(f->gpu.device, VM_AUTORESET, &f->vm), 0);
	return err;
}

static void expect_location(struct fixture *f, uint64_t page, uint64_t pages,
			    enum vm_location location)
{
	for (uint64_t i = page; i < page + pages; i++)
		assert_int_equal(attr_of(f, heap(i)).location, location);
}

static void exactly_what_was_unmapped_has_defaults_again(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 64);
	advise_system(f, heap_span(0, 64));
	/* The GPU has touched a part of it, or none. */
	gpu_read(f, heap(20));
	fake_munmap(f->fake, heap_span(10, 3));
	settle(f);
	vm_check(f->vm);
	expect_location(f, 0, 10, VM_LOCATION_SYSTEM);
	expect_location(f, 10, 3, VM_LOCATION_DEFAULT);
	expect_location(f, 13, 51, VM_LOCATION_SYSTEM);
	fake_munmap(f->fake, heap_span(0, 8));
	fake_munmap(f->fake, heap_span(60, 4));
	settle(f);
	expect_location(f, 0, 8, VM_LOCATION_DEFAULT);
	expect_location(f, 8, 2, VM_LOCATION_SYSTEM);
	expect_location(f, 59, 1, VM_LOCATION_SYSTEM);
	expect_location(f, 60, 8, VM_LOCATION_DEFAULT);
	run_all(f);
	vm_check(f->vm);
}

static void memory_that_no_gpu_has_touched_is_reset_too(void **state)
{
	struct fixture *f = *state;

	advise_system(f, heap_span(0, 64));
	fake_munmap(f->fake, heap_span(0, 64));
	settle(f);
	assert_int_equal(f->vm->attrs.pieces.count, 0);
}

static void what_was_mapped_anew_is_taken_to_the_device(void **state)
{
	struct fixture *f = *state;

	advise_system(f, HEAP_VMA);
	fake_munmap(f->fake, HEAP_VMA);
	settle(f);
	fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	heap_fill(f, 0, 1);
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
	assert_true(is_vram(f, heap(0)));
}

static void both_places_of_an_mremap_are_reset(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 16);
	advise_system(f, heap_span(0, 16));
	advise_system(f, span_make(OTHER, 32 * PAGE_BYTES));
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), OTHER, false), 0);
	settle(f);
	expect_location(f, 0, 4, VM_LOCATION_SYSTEM);
	expect_location(f, 4, 4, VM_LOCATION_DEFAULT);
	expect_location(f, 8, 8, VM_LOCATION_SYSTEM);
	assert_int_equal(attr_of(f, OTHER).location, VM_LOCATION_DEFAULT);
	assert_int_equal(attr_of(f, OTHER + 4 * PAGE_BYTES).location, VM_LOCATION_SYSTEM);
}

static void without_autoreset_an_munmap_leaves_attributes(void **state)
{
	struct fixture *f = *state;
	struct vm_attr_piece pieces[3];
	struct vm *vm;

	advise_system(f, heap_span(0, 64));
	gpu_read(f, heap(0));
	/* One that was asked to, and another in the same vm that was not. */
	assert_int_equal(vm_create(f->gpu.device, VM_NO_MIRROR, &vm), 0);
	assert_int_equal(vm_bind_mirror(vm, heap_span(0, 8), false), 0);
	assert_int_equal(vm_bind_mirror(vm, heap_span(8, 8), false), 0);
	assert_int_equal(vm_attr_set_default(vm, heap_span(0, 8), 0, true), 0);
	assert_int_equal(vm_advise(vm, heap_span(0, 16), VM_ATTR_LOCATION, &in_system), 0);
	fake_munmap(f->fake, heap_span(0, 64));
	settle(f);
	expect_location(f, 0, 64, VM_LOCATION_SYSTEM);
	assert_int_equal(vm_advise_query(vm, heap_span(0, 64), pieces, 3), 2);
	assert_int_equal(pieces[0].attr.location, VM_LOCATION_DEFAULT);
	assert_int_equal(pieces[1].attr.location, VM_LOCATION_SYSTEM);
	vm_destroy(vm);
}

static void any_bind_can_be_asked_to_reset(void **state)
{
	struct fixture *f = *state;
	struct vm_attr_piece pieces[3];
	struct vm *vm;

	assert_int_equal(vm_create(f->gpu.device, VM_NO_MIRROR, &vm), 0);
	assert_int_equal(vm_bind(vm, &(struct vm_bind_args){ .kind = VM_BIND_MIRROR,
							     .span = heap_span(0, 64),
							     .autoreset = true }), 0);
	assert_int_equal(vm_advise(vm, heap_span(0, 64), VM_ATTR_LOCATION, &in_system), 0);
	fake_munmap(f->fake, heap_span(0, 8));
	settle(f);
	assert_int_equal(vm_advise_query(vm, heap_span(0, 64), pieces, 3), 2);
	assert_int_equal(pieces[0].span.end, heap(8));
	assert_int_equal(pieces[0].attr.location, VM_LOCATION_DEFAULT);
	vm_destroy(vm);
}

/* So many holes that nodes run out: more is reset than was asked for, and nothing else. */
static void with_no_node_left_the_rest_of_a_piece_is_reset(void **state)
{
	struct fixture *f = *state;

	advise_system(f, heap_span(0, 512));
	for (uint64_t i = 0; i < 70; i++)
		fake_munmap(f->fake, heap_span(2 * i + 1, 1));
	for (int i = 0; i < 70; i++) {
		monitor_step(f);
		fake_caller_ran(f->fake);
	}
	vm_check(f->vm);
	expect_location(f, 128, 1, VM_LOCATION_SYSTEM);
	expect_location(f, 129, 383, VM_LOCATION_DEFAULT);
	/* The collector has made more. */
	run_all(f);
	advise_system(f, heap_span(256, 256));
	fake_munmap(f->fake, heap_span(300, 1));
	settle(f);
	expect_location(f, 299, 1, VM_LOCATION_SYSTEM);
	expect_location(f, 300, 1, VM_LOCATION_DEFAULT);
	expect_location(f, 301, 1, VM_LOCATION_SYSTEM);
}

#define TEST_STRICT(name) \
	{ #name ", device memory only", name, set_up_no_atomics, tear_down, NULL }

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_said_anything_is_one_piece_of_defaults),
		TEST(pieces_split_where_attributes_differ_and_merge_where_not),
		TEST(neighbours_that_become_equal_are_one),
		TEST(a_query_goes_on_behind_the_last),
		TEST(what_is_not_bound_has_no_attributes),
		TEST(wrong_arguments_change_nothing),
		TEST(without_memory_nothing_changes),
		TEST(random_attributes_are_those_of_a_table_by_page),
		TEST(memory_that_should_be_at_home_is_used_in_place),
		TEST_COPY(memory_that_should_be_at_home_is_used_in_place),
		TEST(what_is_on_the_device_stays_until_the_cpu_wants_it),
		TEST_COPY(what_is_on_the_device_stays_until_the_cpu_wants_it),
		TEST(memory_that_should_be_on_the_device_is_taken_there),
		TEST(the_same_advice_again_revokes_nothing),
		TEST(a_range_that_reaches_over_a_border_ends),
		TEST(atomics_are_refused_where_they_are_the_cpus),
		TEST(atomics_go_where_the_device_has_them),
		TEST_STRICT(atomics_go_where_the_device_has_them),
		TEST(a_prefetch_as_advised_goes_piece_by_piece),
		TEST_COPY(a_prefetch_as_advised_goes_piece_by_piece),
		TEST(a_prefetch_as_advised_goes_on_behind_what_is_not_there),
		TEST(a_prefetch_leaves_holes),
		TEST_WITH(exactly_what_was_unmapped_has_defaults_again, set_up_autoreset),
		TEST_WITH(memory_that_no_gpu_has_touched_is_reset_too, set_up_autoreset),
		TEST_WITH(what_was_mapped_anew_is_taken_to_the_device, set_up_autoreset),
		TEST_WITH(both_places_of_an_mremap_are_reset, set_up_autoreset),
		TEST(without_autoreset_an_munmap_leaves_attributes),
		TEST(any_bind_can_be_asked_to_reset),
		TEST_WITH(with_no_node_left_the_rest_of_a_piece_is_reset, set_up_autoreset),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
