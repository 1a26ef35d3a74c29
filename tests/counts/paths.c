/* SPDX-License-Identifier: MIT */
/*
 * The paths whose instructions are counted, on the simulated kernel, by one thread.
 *
 * counts.py runs this under callgrind, which collects inside of the functions count_*() and
 * writes down what each took. PLACES places are used in each, so that what is done once in
 * a while (a pool that grows) has its part.
 */
#include "unit/vm/vm_fixture.h"

#define PLACES 64u
#define AREA (FAKE_BASE + MIB(128))
#define BLOCKS 3u /* one less than device memory has */

/* Mappings of one page, apart from each other. */
static uint64_t place(uint64_t i)
{
	return AREA + 4 * i * PAGE_BYTES;
}

static uint64_t block(uint64_t i)
{
	return AREA + MIB(16) + i * HUGE_BYTES;
}

/* Named by what is counted; called once each. */
#if defined(__clang__) /* it makes no clones, and does not know the word */
#define COUNTED __attribute__((noinline)) static void
#else
#define COUNTED __attribute__((noinline, noclone)) static void
#endif

COUNTED count_gpu_fault(struct fixture *f)
{
	for (uint64_t i = 0; i < PLACES; i++)
		assert_int_equal(gpu_fault(f, place(i), USVM_ACCESS_WRITE), 0);
}

COUNTED count_gpu_fault_block(struct fixture *f)
{
	for (uint64_t i = 0; i < BLOCKS; i++)
		assert_int_equal(gpu_fault(f, block(i), USVM_ACCESS_WRITE), 0);
}

COUNTED count_cpu_fault(struct fixture *f)
{
	for (uint64_t i = 0; i < PLACES; i++) {
		assert_int_equal(fake_touch(f->fake, place(i), false), -EAGAIN);
		settle(f);
	}
}

COUNTED count_invalidation(struct fixture *f)
{
	for (uint64_t i = 0; i < PLACES; i++) {
		fake_madvise(f->fake, span_make(place(i), PAGE_BYTES), SYS_ADVICE_DONTNEED);
		finish_remove(f);
	}
}

/* And the collection of its range, on a worker. */
COUNTED count_munmap(struct fixture *f)
{
	for (uint64_t i = 0; i < PLACES; i++) {
		fake_munmap(f->fake, span_make(place(i), PAGE_BYTES));
		run_all(f);
	}
}

static void expect(struct fixture *f, bool on_device)
{
	for (uint64_t i = 0; i < PLACES; i++)
		assert_true(is_on_device(f, place(i)) == on_device);
}

static void fill(struct fixture *f)
{
	for (uint64_t i = 0; i < PLACES; i++)
		fake_set_tag(f->fake, place(i), tag_of(i));
}

static void the_paths_do_what_they_say(void **state)
{
	struct fixture *f = *state;

	for (uint64_t i = 0; i < PLACES; i++)
		fake_map(f->fake, span_make(place(i), PAGE_BYTES), SYS_VMA_ANON_PRIVATE,
			 READ_WRITE);
	fill(f);
	count_gpu_fault(f);
	expect(f, true);
	count_cpu_fault(f);
	expect(f, false);
	for (uint64_t i = 0; i < PLACES; i++) {
		assert_int_equal(fake_tag(f->fake, place(i)), tag_of(i));
		assert_int_equal(gpu_fault(f, place(i), USVM_ACCESS_WRITE), 0);
	}
	expect(f, true);
	count_invalidation(f);
	expect(f, false);
	fill(f);
	for (uint64_t i = 0; i < PLACES; i++)
		assert_int_equal(gpu_fault(f, place(i), USVM_ACCESS_WRITE), 0);
	count_munmap(f);
	expect(f, false);
	for (uint64_t i = 0; i < PLACES; i++)
		assert_int_equal(pte_of(f, place(i))->flags, 0);
}

static void a_block_does_too(void **state)
{
	struct fixture *f = *state;

	fake_map(f->fake, span_make(block(0), BLOCKS * HUGE_BYTES), SYS_VMA_ANON_PRIVATE,
		 READ_WRITE);
	for (uint64_t i = 0; i < BLOCKS * PAGES_PER_HUGE; i++)
		fake_set_tag(f->fake, block(0) + i * PAGE_BYTES, tag_of(i));
	count_gpu_fault_block(f);
	for (uint64_t i = 0; i < BLOCKS * PAGES_PER_HUGE; i++)
		assert_true(is_vram(f, block(0) + i * PAGE_BYTES));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_paths_do_what_they_say),
		TEST(a_block_does_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
