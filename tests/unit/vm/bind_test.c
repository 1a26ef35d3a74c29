/* SPDX-License-Identifier: MIT */
/*
 * Binds: objects, NULL and USERPTR beside and over the mirror; splits; entries ahead of use.
 */
#include "vm/bo_internal.h"
#include "vm_fixture.h"

#include "base/prng.h"

#define AT (FAKE_BASE + MIB(128)) /* GPU addresses; the process has nothing there */
#define BOTH (VM_BO_SYSTEM | VM_BO_DEVICE)

static struct vm_bo *make_bo(struct fixture *f, uint64_t bytes)
{
	struct vm_bo *bo = NULL;

	assert_int_equal(vm_bo_create(f->gpu.device, bytes, BOTH, 0, &bo), 0);
	return bo;
}

static uint64_t *word_of(struct vm_bo *bo, uint64_t offset)
{
	return (uint64_t *)((unsigned char *)vm_bo_memory(bo) + offset);
}

static int bind_bo(struct vm *vm, struct vm_bo *bo, struct span span, uint64_t offset)
{
	return vm_bind(vm, &(struct vm_bind_args){
				   .kind = VM_BIND_BO, .span = span, .bo = bo, .target = offset });
}

static int bind_null(struct vm *vm, struct span span)
{
	return vm_bind(vm, &(struct vm_bind_args){ .kind = VM_BIND_NULL, .span = span });
}

static int bind_userptr(struct vm *vm, struct span span, uint64_t target, bool read_only,
			bool now)
{
	return vm_bind(vm, &(struct vm_bind_args){ .kind = VM_BIND_USERPTR,
						   .span = span,
						   .target = target,
						   .read_only = read_only,
						   .now = now });
}

static int bind_mirror(struct vm *vm, struct span span, bool read_only)
{
	return vm_bind(vm, &(struct vm_bind_args){
				   .kind = VM_BIND_MIRROR, .span = span, .read_only = read_only });
}

static void expect_bind(struct vm *vm, uint64_t addr, enum vm_bind_kind kind, struct span span,
			uint64_t target)
{
	struct vm_bind_info info;

	assert_int_equal(vm_bind_query(vm, addr, &info), 0);
	assert_int_equal(info.kind, kind);
	assert_int_equal(info.span.start, span.start);
	assert_int_equal(info.span.end, span.end);
	assert_int_equal(info.target, target);
}

static int read_error(struct fixture *f, uint64_t addr)
{
	uint64_t tag;

	return gpu_access_in(f, &f->gpu, f->vm, addr, false, &tag);
}

/* --- splits ---------------- */

static void what_is_unmapped_of_a_bind_leaves_the_rest(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, MIB(4));
	struct vm_bo_info info;

	for (uint64_t i = 0; i < MIB(4) / PAGE_BYTES; i++)
		*word_of(bo, i * PAGE_BYTES) = i;
	assert_int_equal(bind_bo(f->vm, bo, span_make(AT, MIB(3)), MIB(1)), 0);
	assert_int_equal(gpu_read(f, AT), 256);
	assert_int_equal(vm_unmap(f->vm, span_make(AT + MIB(1), MIB(1))), 0);
	vm_bo_info(bo, &info);
	assert_int_equal(info.bind_count, 2);
	expect_bind(f->vm, AT, VM_BIND_BO, span_make(AT, MIB(1)), MIB(1));
	expect_bind(f->vm, AT + MIB(1), VM_BIND_BO, span_make(AT + MIB(2), MIB(1)), MIB(3));
	assert_int_equal(read_error(f, AT + MIB(1) + KIB(4)), -EFAULT);
	assert_int_equal(gpu_read(f, AT + MIB(1) - PAGE_BYTES), 511);
	assert_int_equal(gpu_read(f, AT + MIB(2)), 768);
	/* The front, the back, and what is not there. */
	assert_int_equal(vm_unmap(f->vm, span_make(AT, KIB(4))), 0);
	assert_int_equal(vm_unmap(f->vm, span_make(AT + MIB(3) - KIB(4), MIB(1))), 0);
	assert_int_equal(vm_unmap(f->vm, span_make(AT + MIB(1), MIB(1))), 0);
	expect_bind(f->vm, AT, VM_BIND_BO, span_make(AT + KIB(4), MIB(1) - KIB(4)),
		    MIB(1) + KIB(4));
	expect_bind(f->vm, AT + MIB(2), VM_BIND_BO, span_make(AT + MIB(2), MIB(1) - KIB(4)),
		    MIB(3));
	assert_int_equal(read_error(f, AT), -EFAULT);
	assert_int_equal(gpu_read(f, AT + KIB(4)), 257);
	assert_int_equal(vm_unmap_bo(f->vm, bo), 2);
	assert_int_equal(vm_unmap_bo(f->vm, bo), 0);
	assert_int_equal(read_error(f, AT + KIB(4)), -EFAULT);
	vm_bo_put(bo);
}

static void one_object_is_bound_in_several_places(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, MIB(2));
	struct vm *other;

	assert_int_equal(vm_create(f->gpu.device, VM_NO_MIRROR, &other), 0);
	assert_int_equal(bind_bo(f->vm, bo, span_make(AT, MIB(2)), 0), 0);
	assert_int_equal(bind_bo(f->vm, bo, span_make(AT + MIB(4), MIB(1)), MIB(1)), 0);
	assert_int_equal(bind_bo(other, bo, span_make(AT + MIB(8), MIB(2)), 0), 0);
	gpu_write(f, AT + MIB(1), 77);
	assert_int_equal(gpu_read(f, AT + MIB(4)), 77);
	{
		uint64_t tag = 0;

		assert_int_equal(gpu_access_in(f, &f->gpu, other, AT + MIB(9), false, &tag),
				 0);
		assert_int_equal(tag, 77);
	}
	/* It loses the entries of all of them together. */
	assert_int_equal(vm_bo_move(bo, VM_BO_SYSTEM), 0);
	assert_int_equal(pte_of(f, AT)->flags | pte_of(f, AT + MIB(4))->flags |
				 pte_at(&f->gpu, vm_id(other), AT + MIB(9))->flags,
			 0);
	vm_destroy(other);
	assert_int_equal(gpu_read(f, AT + MIB(4)), 77);
	vm_bo_put(bo);
}

/* --- over the mirror ---------------- */

static void an_object_replaces_the_mirror_and_the_mirror_comes_back(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, MIB(1));
	struct vm_bind_info before, info;

	heap_fill(f, 0, HEAP_PAGES);
	assert_int_equal(vm_bind_query(f->vm, HEAP, &before), 0);
	assert_int_equal(gpu_read(f, HEAP), tag_of(0));
	/* A range lives there: of the whole block, so also where nothing was touched. */
	assert_int_equal(bind_bo(f->vm, bo, heap_span(256, 256), 0), -EBUSY);
	assert_int_equal(bind_null(f->vm, heap_span(511, 2)), -EBUSY);
	assert_int_equal(vm_unmap(f->vm, heap_span(511, 1)), -EBUSY);
	assert_int_equal(gpu_read(f, HEAP), tag_of(0));
	fake_munmap(f->fake, span_make(HEAP, HUGE_BYTES));
	run_all(f);
	assert_int_equal(bind_bo(f->vm, bo, heap_span(256, 256), 0), 0);
	expect_bind(f->vm, HEAP, VM_BIND_MIRROR, (struct span){ before.span.start, heap(256) },
		    0);
	expect_bind(f->vm, heap(512), VM_BIND_MIRROR,
		    (struct span){ heap(512), before.span.end }, 0);
	gpu_write(f, heap(256), 3);
	assert_int_equal(*word_of(bo, 0), 3);
	/* The CPU's memory at the same addresses is not concerned. */
	fake_map(f->fake, span_make(HEAP, HUGE_BYTES), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	heap_fill(f, 0, HEAP_PAGES);
	assert_int_equal(gpu_read(f, heap(256)), 3);
	assert_int_equal(gpu_read(f, heap(255)), tag_of(255));
	assert_int_equal(bind_mirror(f->vm, heap_span(256, 256), false), 0);
	assert_int_equal(gpu_read(f, heap(256)), tag_of(256));
	assert_int_equal(vm_bind_query(f->vm, heap(300), &info), 0);
	assert_int_equal(info.span.start, before.span.start);
	assert_int_equal(info.span.end, before.span.end);
	vm_bo_put(bo);
}

/* vm_bind_mirror() takes no mirror's place, but those of the others. */
static void a_mirror_beside_an_object_is_busy_and_over_it_is_not(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, KIB(64));
	struct vm *vm;

	assert_int_equal(vm_create(f->gpu.device, VM_NO_MIRROR, &vm), 0);
	assert_int_equal(vm_bind_mirror(vm, heap_span(0, 16), false), 0);
	assert_int_equal(bind_bo(vm, bo, heap_span(16, 16), 0), 0);
	assert_int_equal(vm_bind_mirror(vm, heap_span(8, 24), false), -EBUSY);
	assert_int_equal(vm_unbind(vm, heap_span(16, 16)), -ENOENT);
	assert_int_equal(vm_bind_mirror(vm, heap_span(16, 16), true), 0);
	expect_bind(vm, heap(16), VM_BIND_MIRROR, heap_span(16, 16), 0);
	assert_int_equal(vm_unbind(vm, heap_span(16, 16)), 0);
	vm_destroy(vm);
	vm_bo_put(bo);
}

/* A mirror over mirrors takes their ranges away, and leaves the pages. */
static void a_mirror_over_a_mirror_changes_what_may_be_written(void **state)
{
	struct fixture *f = *state;
	uint64_t tag = 1;

	heap_fill(f, 0, HEAP_PAGES);
	gpu_write(f, heap(5), 55);
	assert_true(is_vram(f, heap(5)));
	assert_int_equal(bind_mirror(f->vm, heap_span(0, HEAP_PAGES), true), 0);
	assert_int_equal(pte_of(f, heap(5))->flags, 0);
	assert_int_equal(gpu_access_in(f, &f->gpu, f->vm, heap(5), true, &tag), -EPERM);
	assert_int_equal(gpu_read(f, heap(5)), 55);
	assert_true(is_vram(f, heap(5)));
	assert_int_equal(gpu_access_in(f, &f->gpu, f->vm, heap(5), true, &tag), -EPERM);
}

/* What is cut out has the defaults when it is bound again; what stays keeps its own. */
static void attributes_go_with_what_is_unmapped(void **state)
{
	const struct vm_attr cpu = { .atomic = VM_ATOMIC_CPU };
	struct fixture *f = *state;
	struct vm_attr_piece pieces[8];

	assert_int_equal(vm_advise(f->vm, span_make(AT, MIB(4)), VM_ATTR_ATOMIC, &cpu), 0);
	assert_int_equal(bind_null(f->vm, span_make(AT + MIB(1), MIB(1))), 0);
	assert_int_equal(bind_mirror(f->vm, span_make(AT + MIB(1), MIB(1)), false), 0);
	vm_check(f->vm);
	assert_int_equal(vm_advise_query(f->vm, span_make(AT, MIB(4)), pieces, 8), 3);
	assert_int_equal(pieces[0].attr.atomic, VM_ATOMIC_CPU);
	assert_int_equal(pieces[1].attr.atomic, VM_ATOMIC_UNDEFINED);
	assert_int_equal(pieces[1].span.start, AT + MIB(1));
	assert_int_equal(pieces[1].span.end, AT + MIB(2));
	assert_int_equal(pieces[2].attr.atomic, VM_ATOMIC_CPU);
}

/* --- kinds ---------------- */

static void null_reads_zeros_and_drops_writes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bind_null(f->vm, span_make(AT, MIB(64))), 0);
	gpu_write(f, AT + MIB(33), 5);
	assert_int_equal(gpu_read(f, AT + MIB(33)), 0);
	assert_true(pte_of(f, AT + MIB(33))->flags & USVM_PTE_NULL);
	assert_int_equal(pte_of(f, AT + MIB(35))->flags, 0);
	assert_int_equal(vm_unmap(f->vm, span_make(AT, MIB(64))), 0);
	assert_int_equal(read_error(f, AT + MIB(33)), -EFAULT);
	f->gpu.device->config.flags &= ~(uint32_t)USVM_DEVICE_OBJECTS;
	assert_int_equal(bind_null(f->vm, span_make(AT, MIB(64))), -EOPNOTSUPP);
}

static void a_userptr_shows_other_addresses_of_the_process(void **state)
{
	struct fixture *f = *state;
	uint64_t tag = 9;

	f->gpu.userptr = true;
	heap_fill(f, 0, HEAP_PAGES);
	assert_int_equal(bind_userptr(f->vm, span_make(AT, MIB(1)), heap(100), false, false), 0);
	assert_int_equal(gpu_read(f, AT + KIB(4)), tag_of(101));
	gpu_write(f, AT + KIB(8), 1234);
	assert_int_equal(fake_tag(f->fake, heap(102)), 1234);
	assert_int_equal(pte_of(f, AT)->target, heap(100));
	assert_int_equal(mm_entry_pages(f->mm), 0);
	/* A page that went to the device by the mirror is come for. */
	assert_int_equal(gpu_fault(f, heap(103), USVM_ACCESS_WRITE), 0);
	assert_true(is_vram(f, heap(103)));
	assert_int_equal(gpu_read(f, AT + KIB(12)), tag_of(103));
	/* What the process has no more nobody can read. */
	fake_munmap(f->fake, heap_span(104, 1));
	run_all(f);
	assert_int_equal(read_error(f, AT + KIB(16)), -EFAULT);
	assert_int_equal(vm_unmap(f->vm, span_make(AT, MIB(1))), 0);

	assert_int_equal(bind_userptr(f->vm, span_make(AT, KIB(4)), heap(100), true, false), 0);
	assert_int_equal(gpu_access_in(f, &f->gpu, f->vm, AT, true, &tag), -EPERM);
	assert_int_equal(gpu_read(f, AT), tag_of(100));
}

static void memory_that_only_the_cpu_may_write_is_read_by_a_userptr(void **state)
{
	struct fixture *f = *state;

	f->gpu.userptr = true;
	heap_fill(f, 0, HEAP_PAGES);
	fake_mprotect(f->fake, heap_span(0, 1), SYS_PROT_READ);
	assert_int_equal(bind_userptr(f->vm, span_make(AT, KIB(8)), heap(0), false, true),
			 -EPERM);
	assert_int_equal(bind_userptr(f->vm, span_make(AT, KIB(8)), heap(0), true, true), 0);
	assert_int_equal(pte_of(f, AT + KIB(4))->target, heap(1));
	assert_int_equal(bind_userptr(f->vm, span_make(AT, KIB(8)), OTHER, true, true), -EFAULT);
	/* What could not be bound has replaced nothing. */
	assert_int_equal(gpu_read(f, AT), tag_of(0));
}

/* --- entries ahead of use ---------------- */

static void a_bind_with_its_entries_is_all_or_nothing(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, MIB(2));
	struct vm_bo *whole, *more;
	struct vm_bind_args args = {
		.kind = VM_BIND_BO, .span = span_make(AT, MIB(2)), .bo = bo, .now = true
	};

	assert_int_equal(vm_bind(f->vm, &args), 0);
	assert_true(pte_of(f, AT)->flags & USVM_PTE_WRITE);
	assert_int_equal(vm_bo_create(f->gpu.device, VRAM_BYTES, VM_BO_DEVICE, 0, &whole), 0);
	assert_int_equal(vm_bo_create(f->gpu.device, MIB(2), VM_BO_DEVICE, 0, &more), 0);
	assert_int_equal(vm_bo_pin(whole), 0);
	args.bo = more;
	assert_int_equal(vm_bind(f->vm, &args), -ENOSPC);
	expect_bind(f->vm, AT, VM_BIND_BO, span_make(AT, MIB(2)), 0);
	f->gpu.prepare_error = -ENOMEM;
	vm_bo_unpin(whole);
	assert_int_equal(vm_bind(f->vm, &args), -ENOMEM);
	f->gpu.prepare_error = 0;
	args.read_only = true;
	assert_int_equal(vm_bind(f->vm, &args), 0);
	assert_false(pte_of(f, AT)->flags & USVM_PTE_WRITE);
	vm_bo_put(bo);
	vm_bo_put(whole);
	vm_bo_put(more);
}

static void all_that_is_bound_fits_or_not(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bos[3];

	f->gpu.userptr = true;
	for (uint64_t i = 0; i < 3; i++) {
		assert_int_equal(vm_bo_create(f->gpu.device, MIB(4), VM_BO_DEVICE, 0, &bos[i]),
				 0);
		assert_int_equal(bind_bo(f->vm, bos[i], span_make(AT + i * MIB(4), MIB(4)), 0),
				 0);
		vm_bo_put(bos[i]);
	}
	assert_int_equal(vm_validate(f->vm), -ENOSPC);
	assert_int_equal(vm_unmap(f->vm, span_make(AT, MIB(4))), 0);
	assert_int_equal(bind_null(f->vm, span_make(AT, MIB(4))), 0);
	assert_int_equal(bind_userptr(f->vm, span_make(AT + MIB(12), KIB(4)), heap(0), false,
				      false),
			 0);
	assert_int_equal(vm_validate(f->vm), 0);
	assert_int_not_equal(pte_of(f, AT + MIB(4))->flags, 0);
	assert_int_not_equal(pte_of(f, AT + MIB(12) - PAGE_BYTES)->flags, 0);
	assert_int_equal(pte_of(f, AT + MIB(12))->target, heap(0));
	/* Nothing is pinned behind it. */
	assert_int_equal(vram_evict_all(f->gpu.device->vram), 0);
	assert_int_equal(pte_of(f, AT + MIB(4))->flags, 0);
	assert_int_equal(vm_populate(f->vm, span_make(AT + MIB(5), MIB(1))), 0);
	assert_int_equal(pte_of(f, AT + MIB(4))->flags, 0);
	assert_int_not_equal(pte_of(f, AT + MIB(5))->flags, 0);
}

/* --- arguments ---------------- */

static void bad_binds_are_refused(void **state)
{
	struct fixture *f = *state;
	struct vm_bo *bo = make_bo(f, MIB(2));
	struct vm_bind_info info;

	assert_int_equal(bind_bo(f->vm, bo, (struct span){ AT, AT }, 0), -EINVAL);
	assert_int_equal(bind_bo(f->vm, bo, span_make(AT, 100), 0), -EINVAL);
	assert_int_equal(bind_bo(f->vm, bo, span_make(AT, MIB(2) + KIB(4)), 0), -EINVAL);
	assert_int_equal(bind_bo(f->vm, bo, span_make(AT, MIB(2)), KIB(4)), -EINVAL);
	assert_int_equal(bind_bo(f->vm, bo, span_make(AT, KIB(4)), UINT64_MAX - 4095), -EINVAL);
	assert_int_equal(bind_bo(f->vm, bo, span_make(AT, KIB(4)), 100), -EINVAL);
	assert_int_equal(bind_bo(f->vm, bo, span_make(1ull << 48, KIB(4)), 0), -EINVAL);
	assert_int_equal(bind_bo(f->vm, NULL, span_make(AT, KIB(4)), 0), -EINVAL);
	assert_int_equal(vm_bind(f->vm, &(struct vm_bind_args){ .kind = VM_BIND_NULL,
								.span = span_make(AT, KIB(4)),
								.bo = bo }),
			 -EINVAL);
	assert_int_equal(bind_userptr(f->vm, span_make(AT, KIB(8)), (1ull << 47) - KIB(4),
				      false, false),
			 -EINVAL);
	assert_int_equal(bind_mirror(f->vm, span_make(1ull << 47, KIB(4)), false), -EINVAL);
	assert_int_equal(vm_bind(f->vm, &(struct vm_bind_args){ .kind = 9,
								.span = span_make(AT, KIB(4)) }),
			 -EINVAL);
	assert_int_equal(vm_unmap(f->vm, (struct span){ AT, AT }), -EINVAL);
	assert_int_equal(vm_populate(f->vm, span_make(AT, 1)), -EINVAL);
	assert_int_equal(vm_bind_query(f->vm, (1ull << 47), &info), -ENOENT);
	assert_int_equal(vm_bind_query(f->vm, UINT64_MAX, &info), -ENOENT);
	vm_bo_put(bo);
}

/* --- any order ---------------- */

#define BLOCK KIB(16)
#define BLOCKS 24u

enum { NOTHING, MIRRORED, ZEROS, OBJECT };

/* Binds of all kinds at random, beside a table that says what each page means. */
static void any_sequence_of_binds_means_what_it_says(void **state)
{
	struct fixture *f = *state;
	uint8_t model[BLOCKS];
	uint32_t offset[BLOCKS];
	struct vm_bo *bo = make_bo(f, BLOCK * BLOCKS);
	struct prng prng;
	struct vm *vm;

	prng_seed(&prng, 20261121);
	memset(model, NOTHING, sizeof(model));
	memset(offset, 0, sizeof(offset));
	for (uint32_t i = 0; i < BLOCKS; i++)
		*word_of(bo, i * BLOCK) = 5000 + i;
	heap_fill(f, 0, HEAP_PAGES);
	assert_int_equal(vm_create(f->gpu.device, VM_NO_MIRROR, &vm), 0);
	for (int step = 0; step < 3000; step++) {
		uint32_t first = (uint32_t)prng_below(&prng, BLOCKS);
		uint32_t count = 1 + (uint32_t)prng_below(&prng, BLOCKS - first);
		uint32_t at = (uint32_t)prng_below(&prng, BLOCKS - count + 1);
		uint32_t kind = (uint32_t)prng_below(&prng, 5);
		struct span span = span_make(HEAP + first * BLOCK, count * BLOCK);

		if (kind == NOTHING)
			assert_int_equal(vm_unmap(vm, span), 0);
		else if (kind == MIRRORED)
			assert_int_equal(bind_mirror(vm, span, false), 0);
		else if (kind == ZEROS)
			assert_int_equal(bind_null(vm, span), 0);
		else if (kind == OBJECT)
			assert_int_equal(bind_bo(vm, bo, span, at * BLOCK), 0);
		for (uint32_t i = first; kind <= OBJECT && i < first + count; i++) {
			model[i] = (uint8_t)kind;
			offset[i] = at + i - first;
		}
		if (prng_below(&prng, 8) == 0)
			assert_int_equal(vm_bo_move(bo, prng_below(&prng, 2) ? VM_BO_SYSTEM :
									       VM_BO_DEVICE),
					 0);
		for (uint32_t i = 0; i < BLOCKS; i++) {
			uint64_t tag = 1;
			uint64_t addr = HEAP + i * BLOCK;
			int err;

			if (model[i] == MIRRORED)
				continue; /* a range there would be in the way of the next */
			err = gpu_access_in(f, &f->gpu, vm, addr, false, &tag);
			assert_int_equal(err, model[i] == NOTHING ? -EFAULT : 0);
			if (model[i] == ZEROS)
				assert_int_equal(tag, 0);
			if (model[i] == OBJECT)
				assert_int_equal(tag, 5000 + offset[i]);
		}
		vm_check(vm);
	}
	vm_destroy(vm);
	vm_bo_put(bo);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_unmapped_of_a_bind_leaves_the_rest),
		TEST(one_object_is_bound_in_several_places),
		TEST(an_object_replaces_the_mirror_and_the_mirror_comes_back),
		TEST(a_mirror_beside_an_object_is_busy_and_over_it_is_not),
		TEST(a_mirror_over_a_mirror_changes_what_may_be_written),
		TEST(attributes_go_with_what_is_unmapped),
		TEST(null_reads_zeros_and_drops_writes),
		TEST(a_userptr_shows_other_addresses_of_the_process),
		TEST(memory_that_only_the_cpu_may_write_is_read_by_a_userptr),
		TEST(a_bind_with_its_entries_is_all_or_nothing),
		TEST(all_that_is_bound_fits_or_not),
		TEST(bad_binds_are_refused),
		TEST(any_sequence_of_binds_means_what_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
