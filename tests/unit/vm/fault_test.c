/* SPDX-License-Identifier: MIT */
/*
 * What a fault is answered, for each access and memory, and how often it is tried.
 */
#include "vm_fixture.h"
#include "vm/vm_internal.h"

#define PLACE span_make(OTHER, MIB(2))

/* --- answers ---------------- */

static void each_access_is_answered_by_what_the_memory_allows(void **state)
{
	static const struct {
		enum sys_vma_kind kind;
		uint32_t prot;
		int read, write, atomic, prefetch;
	} cases[] = {
		{ SYS_VMA_ANON_PRIVATE, READ_WRITE, 0, 0, 0, 0 },
		{ SYS_VMA_ANON_PRIVATE, SYS_PROT_READ, 0, -EPERM, -EPERM, 0 },
		{ SYS_VMA_ANON_PRIVATE, 0, -EPERM, -EPERM, -EPERM, -EPERM },
		{ SYS_VMA_ANON_PRIVATE, SYS_PROT_WRITE, -EPERM, -EPERM, -EPERM, -EPERM },
		{ SYS_VMA_ANON_PRIVATE, READ_WRITE | SYS_PROT_EXEC, 0, 0, 0, 0 },
		{ SYS_VMA_ANON_SHARED, READ_WRITE, 0, 0, 0, 0 },
		{ SYS_VMA_FILE_PRIVATE, READ_WRITE, 0, 0, 0, 0 },
		{ SYS_VMA_FILE_SHARED, SYS_PROT_READ, 0, -EPERM, -EPERM, 0 },
		{ SYS_VMA_HUGETLB, READ_WRITE, 0, 0, 0, 0 },
		{ SYS_VMA_STACK, READ_WRITE, 0, 0, 0, 0 },
		{ SYS_VMA_SPECIAL, READ_WRITE, -EFAULT, -EFAULT, -EFAULT, -EFAULT },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fake_map(f->fake, PLACE, cases[i].kind, cases[i].prot);
		settle(f);
		assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_READ), cases[i].read);
		assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_WRITE), cases[i].write);
		assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_ATOMIC),
				 cases[i].atomic);
		assert_int_equal(gpu_fault(f, OTHER + PAGE_BYTES, USVM_ACCESS_PREFETCH),
				 cases[i].prefetch);
		fake_munmap(f->fake, PLACE);
		run_all(f);
		/* Of memory that sends no event the range is left to the next fault. */
		assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_READ), -EFAULT);
	}
}

static void entries_allow_what_vma_and_bind_allow(void **state)
{
	struct fixture *f = *state;
	struct vm *reader;
	uint32_t rw = PTE_VALID | USVM_PTE_WRITE | USVM_PTE_ATOMIC;

	fake_map(f->fake, PLACE, SYS_VMA_FILE_SHARED, SYS_PROT_READ);
	assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_READ), 0);
	assert_int_equal(pte_of(f, OTHER)->flags, PTE_VALID);
	assert_int_equal(gpu_fault(f, HEAP, USVM_ACCESS_READ), 0);
	assert_int_equal(pte_of(f, HEAP)->flags, rw | USVM_PTE_VRAM);

	assert_int_equal(vm_create(f->gpu.device, VM_READ_ONLY, &reader), 0);
	assert_int_equal(gpu_fault_in(f, &f->gpu, reader, HEAP, USVM_ACCESS_WRITE),
			 -EPERM);
	assert_int_equal(gpu_fault_in(f, &f->gpu, reader, HEAP, USVM_ACCESS_ATOMIC),
			 -EPERM);
	assert_int_equal(gpu_fault_in(f, &f->gpu, reader, HEAP, USVM_ACCESS_READ), 0);
	assert_int_equal(pte_at(&f->gpu, vm_id(reader), HEAP)->flags,
			 PTE_VALID | USVM_PTE_VRAM);
	vm_destroy(reader);
}

static void system_entries_of_a_device_without_system_atomics_allow_none(void **state)
{
	struct fixture *f = *state;

	fake_map(f->fake, PLACE, SYS_VMA_FILE_SHARED, READ_WRITE);
	assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_WRITE), 0);
	assert_int_equal(pte_of(f, OTHER)->flags, PTE_VALID | USVM_PTE_WRITE);
	assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_ATOMIC), -EACCES);
	/* Memory that can move does. */
	heap_fill(f, 0, 1);
	assert_int_equal(gpu_fault(f, HEAP, USVM_ACCESS_ATOMIC), 0);
	assert_true(is_vram(f, HEAP));
	/* And what is pinned cannot. */
	heap_fill(f, 20, 1);
	fake_page_set(f->fake, heap_span(20, 1), FAKE_PAGE_PINNED);
	assert_int_equal(gpu_fault(f, heap(20), USVM_ACCESS_ATOMIC), -EACCES);
	assert_int_equal(gpu_fault(f, heap(20), USVM_ACCESS_WRITE), 0);
	assert_false(is_vram(f, heap(20)));
	fake_page_clear(f->fake, heap_span(20, 1), FAKE_PAGE_PINNED);
	assert_int_equal(gpu_fault(f, heap(20), USVM_ACCESS_ATOMIC), 0);
	assert_true(is_vram(f, heap(20)));
	assert_int_equal(gpu_read(f, heap(20)), tag_of(20));
}

static void outside_of_every_bind_is_efault(void **state)
{
	struct fixture *f = *state;
	struct vm *vm;

	assert_int_equal(vm_create(f->gpu.device, VM_NO_MIRROR, &vm), 0);
	assert_int_equal(gpu_fault_in(f, &f->gpu, vm, HEAP, USVM_ACCESS_READ), -EFAULT);
	assert_int_equal(vm_bind_mirror(vm, heap_span(8, 8), false), 0);
	assert_int_equal(gpu_fault_in(f, &f->gpu, vm, heap(7), USVM_ACCESS_READ),
			 -EFAULT);
	assert_int_equal(gpu_fault_in(f, &f->gpu, vm, heap(8), USVM_ACCESS_READ), 0);
	assert_int_equal(pte_at(&f->gpu, vm_id(vm), heap(9))->flags,
			 0); /* inside of it */
	vm_destroy(vm);
}

static void a_fault_of_no_vm_is_not_taken(void **state)
{
	struct fixture *f = *state;
	struct usvm_device_fault fault = { .vm = 7, .addr = HEAP };

	assert_int_equal(vm_device_take_fault(f->gpu.device, &fault), -ENOENT);
	fault.vm = 1u << 20;
	assert_int_equal(vm_device_take_fault(f->gpu.device, &fault), -ENOENT);
	fault.vm = vm_id(f->vm);
	fault.access = USVM_ACCESS_PREFETCH + 1;
	assert_int_equal(vm_device_take_fault(f->gpu.device, &fault), -EINVAL);
	assert_false(mm_worker_step(f->mm));
	assert_int_equal(f->gpu.done, 0);
}

/* --- permission changes ---------------- */

static void memory_that_becomes_writable_is_mapped_anew(void **state)
{
	struct fixture *f = *state;

	fake_map(f->fake, PLACE, SYS_VMA_FILE_SHARED, SYS_PROT_READ);
	assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_READ), 0);
	fake_mprotect(f->fake, PLACE, READ_WRITE);
	assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_WRITE), 0);
	assert_true(pte_of(f, OTHER)->flags & USVM_PTE_WRITE);
	fake_mprotect(f->fake, PLACE, SYS_PROT_READ);
	assert_int_equal(gpu_fault(f, OTHER, USVM_ACCESS_WRITE), -EPERM);
}

/* --- served already ---------------- */

static void a_page_that_is_mapped_is_not_mapped_again(void **state)
{
	struct fixture *f = *state;
	uint32_t maps;

	heap_fill(f, 0, 2);
	assert_int_equal(gpu_fault(f, HEAP, USVM_ACCESS_READ), 0);
	maps = f->gpu.maps;
	assert_int_equal(gpu_fault(f, heap(1), USVM_ACCESS_WRITE), 0);
	assert_int_equal(f->gpu.maps, maps);
	assert_int_equal(stat(f, VM_STAT_SIZED_VALID_PAGEFAULT_COUNT + 2), 1);
	/* But a page that came home since is. */
	assert_int_equal(cpu_read(f, heap(1)), tag_of(1));
	assert_int_equal(gpu_fault(f, heap(1), USVM_ACCESS_READ), 0);
	assert_true(f->gpu.maps > maps);
	assert_int_equal(gpu_read(f, heap(1)), tag_of(1));
}

/* --- retries ---------------- */

static void change_something(struct fixture *f)
{
	if (base_host->self()->held_count > 1)
		return;
	/* Another block of the same notifier; no range is there. */
	fake_map(f->fake, span_make(OTHER, PAGE_BYTES), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	f->test[0]++;
	settle(f);
}

static void register_other(struct fixture *f)
{
	struct sys_vma vma;

	fake_map(f->fake, span_make(OTHER, PAGE_BYTES), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	assert_int_equal(mm_vma_find(f->mm, OTHER, false, &vma, NULL), 0);
	assert_int_equal(mm_vma_watch(f->mm, &vma), 0);
}

/* Each time that it could be bound, something is invalidated. */
static void change_and_register(struct fixture *f)
{
	register_other(f);
	change_something(f);
}

static void retries_are_bounded_and_end_in_ebusy_and_a_record(void **state)
{
	struct fixture *f = *state;
	struct vm_fault_record record;

	heap_fill(f, 0, 1);
	f->gpu.in_prepare = change_and_register;
	assert_int_equal(gpu_fault(f, heap(0), USVM_ACCESS_WRITE), -EBUSY);
	f->gpu.in_prepare = NULL;
	assert_int_equal(f->test[0], VM_FAULT_TRIES);
	assert_int_equal(stat(f, VM_STAT_RETRIES), VM_FAULT_TRIES - 1);
	assert_int_equal(stat(f, VM_STAT_FAULTS_FAILED), 1);
	/* A fault is one, a pass is one each; times are of what came to its end. */
	assert_int_equal(stat(f, VM_STAT_PAGEFAULT_COUNT), 1);
	assert_int_equal(stat(f, VM_STAT_SIZED_PAGEFAULT_COUNT + 2), VM_FAULT_TRIES);
	assert_int_equal(stat(f, VM_STAT_SIZED_VALID_PAGEFAULT_COUNT + 2), 0);
	assert_int_equal(stat(f, VM_STAT_SIZED_PAGEFAULT_US + 2), 0);
	assert_int_equal(stat(f, VM_STAT_SIZED_BIND_US + 2), 0);
	assert_int_equal(vm_faults(f->vm, &record, 1), 1);
	assert_int_equal(record.addr, heap(0));
	assert_int_equal(record.error, -EBUSY);
	assert_int_equal(record.access, USVM_ACCESS_WRITE);
	/* It works when that ends. */
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
}

static void change_thrice(struct fixture *f)
{
	if (f->test[0] < 3)
		change_and_register(f);
}

static void a_fault_survives_changes_that_end(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 1);
	f->gpu.in_prepare = change_thrice;
	assert_int_equal(gpu_fault(f, heap(0), USVM_ACCESS_WRITE), 0);
	assert_int_equal(stat(f, VM_STAT_RETRIES), 3);
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
}

static void tell_and_settle(void *arg)
{
	struct fixture *f = arg;

	if (base_host->self()->held_count > 1)
		return;
	if (f->test[0]++ == 0)
		fake_tell(f->fake);
	settle(f);
}

/*
 * Whether what mremap() brought was unmapped again is not known as long as a message is
 * owed. A store to the device page would be lost with it.
 */
static void a_page_in_doubt_is_not_bound(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 8);
	assert_int_equal(gpu_read(f, heap(0)), tag_of(0));
	fake_munmap_untold(f->fake, heap_span(0, 4));
	assert_int_equal(fake_mremap(f->fake, heap_span(4, 4), heap(0), false), 0);
	settle(f);
	fake_munmap(f->fake, heap_span(0, 4));
	fake_map(f->fake, heap_span(0, 4), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, heap(0), 900);
	settle(f);
	assert_true(is_on_device(f, heap(0)));
	f->fake->yield_hook = tell_and_settle;
	assert_int_equal(gpu_read(f, heap(0)), 900);
	gpu_write(f, heap(1), 901);
	assert_true(f->test[0] > 0);
	settle(f);
	assert_int_equal(cpu_read(f, heap(0)), 900);
	assert_int_equal(cpu_read(f, heap(1)), 901);
}

/* What the program does to the page itself, at the n-th call of any op on the way. */
static void (*meanwhile)(struct fixture *f);

static void meanwhile_hook(void *arg, const char *op UNUSED)
{
	struct fixture *f = arg;

	if (--f->test[1])
		return;
	f->fake->op_hook = NULL;
	meanwhile(f);
}

static void cpu_touches(struct fixture *f)
{
	fake_touch(f->fake, heap(0), false);
}

static void program_removes(struct fixture *f)
{
	fake_madvise(f->fake, heap_span(0, 1), SYS_ADVICE_DONTNEED);
}

static void program_unmaps(struct fixture *f)
{
	fake_munmap(f->fake, heap_span(0, 1));
}

static void program_maps_anew(struct fixture *f)
{
	fake_map(f->fake, heap_span(0, 2), SYS_VMA_ANON_PRIVATE, READ_WRITE);
	fake_set_tag(f->fake, heap(0), 77);
}

static void program_moves(struct fixture *f)
{
	assert_int_equal(fake_mremap(f->fake, heap_span(0, 1), OTHER, false), 0);
}

/* What both must see of page 0 then; -EFAULT: nothing. */
static int expected(uint64_t *tag)
{
	*tag = tag_of(0);
	if (meanwhile == program_removes)
		*tag = 0;
	if (meanwhile == program_maps_anew)
		*tag = 77;
	return meanwhile == program_unmaps || meanwhile == program_moves ? -EFAULT : 0;
}

static void expect_both_see(struct fixture *f)
{
	uint64_t want = 0, tag = 0;
	int err = expected(&want);

	assert_int_equal(gpu_access_in(f, &f->gpu, f->vm, heap(0), false, &tag), err);
	if (!err) {
		assert_int_equal(tag, want);
		assert_int_equal(cpu_read(f, heap(0)), want);
	}
	if (meanwhile == program_moves)
		assert_int_equal(cpu_read(f, OTHER), tag_of(0));
	assert_int_equal(gpu_read(f, heap(2)), tag_of(2));
	assert_int_equal(cpu_read(f, heap(2)), tag_of(2));
}

/* At whichever call of a fault the program acts: no stale entry survives, no page is lost. */
static void the_program_may_act_at_any_call_of_a_fault(void **state)
{
	void (*const acts[])(struct fixture *) = { cpu_touches, program_removes,
						   program_unmaps, program_maps_anew,
						   program_moves };
	struct fixture *f = *state;

	for (size_t act = 0; act < ARRAY_SIZE(acts); act++) {
		bool acted = true;

		for (uint64_t nth = 1; acted; nth++) {
			int err;

			fake_map(f->fake, HEAP_VMA, SYS_VMA_ANON_PRIVATE, READ_WRITE);
			fake_map(f->fake, PLACE, SYS_VMA_ANON_PRIVATE, READ_WRITE);
			run_all(f);
			heap_fill(f, 0, 3);
			if (nth & 1) { /* some of it is on the device before */
				assert_int_equal(gpu_read(f, heap(1)), tag_of(1));
				if (nth & 2)
					assert_int_equal(cpu_read(f, heap(0)), tag_of(0));
			}
			meanwhile = acts[act];
			f->test[1] = nth / 4 + 1;
			f->fake->op_hook = meanwhile_hook;
			err = gpu_fault(f, heap(0), USVM_ACCESS_WRITE);
			acted = !f->fake->op_hook;
			f->fake->op_hook = NULL;
			if (!acted)
				meanwhile(f);
			assert_true(err == 0 || err == -EFAULT);
			finish_remove(f);
			run_all(f);
			expect_both_see(f);
			vm_check(f->vm);
		}
	}
}

static void no_memory_for_the_page_table_is_enomem(void **state)
{
	struct fixture *f = *state;

	heap_fill(f, 0, 1);
	f->gpu.prepare_error = -ENOMEM;
	assert_int_equal(gpu_fault(f, HEAP, USVM_ACCESS_READ), -ENOMEM);
	assert_int_equal(pte_of(f, HEAP)->flags, 0);
	f->gpu.prepare_error = 0;
	assert_int_equal(gpu_read(f, HEAP), tag_of(0));
}

/* --- the list of faults that failed ---------------- */

static void the_last_fifty_faults_are_kept_oldest_first(void **state)
{
	struct fixture *f = *state;
	struct vm_fault_record records[VM_FAULTS_KEPT + 1];

	assert_int_equal(vm_faults(f->vm, records, ARRAY_SIZE(records)), 0);
	for (uint64_t i = 0; i < 70; i++) {
		assert_int_equal(gpu_fault(f, OTHER + i * 8, USVM_ACCESS_ATOMIC),
				 -EFAULT);
		if (i == 2)
			assert_int_equal(vm_faults(f->vm, records, ARRAY_SIZE(records)),
					 3);
	}
	assert_int_equal(vm_faults(f->vm, records, ARRAY_SIZE(records)), VM_FAULTS_KEPT);
	for (size_t i = 0; i < VM_FAULTS_KEPT; i++) {
		assert_int_equal(records[i].addr, OTHER + (20 + i) * 8);
		assert_int_equal(records[i].error, -EFAULT);
		assert_int_equal(records[i].access, USVM_ACCESS_ATOMIC);
		assert_true(!i || records[i].time_ns > records[i - 1].time_ns);
	}
	assert_int_equal(vm_faults(f->vm, records, 5), 5);
	assert_int_equal(records[0].addr, OTHER + 20 * 8);
	vm_device_report(f->gpu.device, vm_id(f->vm), 4711, USVM_ACCESS_READ, -EIO);
	assert_int_equal(vm_faults(f->vm, records, VM_FAULTS_KEPT), VM_FAULTS_KEPT);
	assert_int_equal(records[VM_FAULTS_KEPT - 1].addr, 4711);
	assert_int_equal(records[VM_FAULTS_KEPT - 1].error, -EIO);
	assert_int_equal(stat(f, VM_STAT_FAULTS_FAILED), 71);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_access_is_answered_by_what_the_memory_allows),
		TEST(entries_allow_what_vma_and_bind_allow),
		TEST_WITH(system_entries_of_a_device_without_system_atomics_allow_none,
			  set_up_no_atomics),
		TEST(outside_of_every_bind_is_efault),
		TEST(a_fault_of_no_vm_is_not_taken),
		TEST(memory_that_becomes_writable_is_mapped_anew),
		TEST(a_page_that_is_mapped_is_not_mapped_again),
		TEST(retries_are_bounded_and_end_in_ebusy_and_a_record),
		TEST(a_fault_survives_changes_that_end),
		TEST(a_page_in_doubt_is_not_bound),
		TEST(the_program_may_act_at_any_call_of_a_fault),
		TEST_COPY(the_program_may_act_at_any_call_of_a_fault),
		TEST(no_memory_for_the_page_table_is_enomem),
		TEST(the_last_fifty_faults_are_kept_oldest_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
