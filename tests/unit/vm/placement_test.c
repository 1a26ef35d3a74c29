/* SPDX-License-Identifier: MIT */
/*
 * Where all that can is to be on the device: what stays is told by mapping and reason.
 */
#include "vm_fixture.h"
#include "vm/vm_internal.h"

static struct sys_vma mapping(uint64_t number, enum sys_vma_kind kind, uint32_t prot)
{
	return (struct sys_vma){ .span = span_make(FAKE_BASE + number * HUGE_BYTES, PAGE_BYTES),
				 .kind = kind, .prot = prot };
}

static void note(struct fixture *f, const struct sys_vma *vma, int moved)
{
	lock_acquire(&f->vm->lock);
	vm_placement_note(f->vm, vma, moved);
	lock_release(&f->vm->lock);
}

static void each_reason_has_its_counter_and_its_line(void **state)
{
	static const struct {
		enum sys_vma_kind kind;
		uint32_t prot;
		int moved;
		enum vm_stay why;
	} cases[] = {
		{ SYS_VMA_ANON_SHARED, READ_WRITE, 0, VM_STAY_SHARED },
		{ SYS_VMA_FILE_PRIVATE, READ_WRITE, 0, VM_STAY_FILE },
		{ SYS_VMA_FILE_SHARED, READ_WRITE, 0, VM_STAY_FILE },
		{ SYS_VMA_HUGETLB, READ_WRITE, 0, VM_STAY_HUGETLB },
		{ SYS_VMA_STACK, READ_WRITE, 0, VM_STAY_STACK },
		{ SYS_VMA_SPECIAL, READ_WRITE, 0, VM_STAY_OTHER },
		{ SYS_VMA_ANON_PRIVATE, SYS_PROT_READ, 0, VM_STAY_PROTECTED },
		{ SYS_VMA_ANON_PRIVATE, READ_WRITE | SYS_PROT_EXEC, 0, VM_STAY_PROTECTED },
		{ SYS_VMA_ANON_PRIVATE, READ_WRITE, 0, VM_STAY_PINNED },
		{ SYS_VMA_ANON_PRIVATE, READ_WRITE, -EBUSY, VM_STAY_PINNED },
		{ SYS_VMA_ANON_PRIVATE, READ_WRITE, -EOPNOTSUPP, VM_STAY_KEPT },
		{ SYS_VMA_ANON_PRIVATE, READ_WRITE, -ENOSPC, VM_STAY_NO_ROOM },
		{ SYS_VMA_ANON_PRIVATE, READ_WRITE, -EIO, VM_STAY_OTHER },
	};
	struct fixture *f = *state;
	struct vm_device *device = f->gpu.device;
	struct vm_stayed stayed[ARRAY_SIZE(cases)];
	uint64_t expected[VM_STAY_COUNT] = { 0 };
	size_t count;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sys_vma vma = mapping(i, cases[i].kind, cases[i].prot);

		note(f, &vma, cases[i].moved);
		expected[cases[i].why]++;
	}
	assert_int_equal(vm_device_stayed(device, stayed, ARRAY_SIZE(stayed), &count),
			 ARRAY_SIZE(cases));
	assert_int_equal(count, ARRAY_SIZE(cases));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(stayed[i].why, cases[i].why);
		assert_int_equal(stayed[i].span.start, FAKE_BASE + i * HUGE_BYTES);
		assert_int_equal(stayed[i].faults, 1);
	}
	for (size_t why = 0; why < VM_STAY_COUNT; why++) {
		assert_non_null(vm_stay_names[why]);
		assert_int_equal(device->stats.value[VM_STAT_STAYED + why], expected[why]);
	}
}

/* Memory that could not go in any case has its own reason. */
static void where_nothing_migrates_that_is_the_reason(void **state)
{
	struct fixture *f = *state;
	struct sys_vma anonymous = mapping(0, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	struct sys_vma shared = mapping(1, SYS_VMA_ANON_SHARED, READ_WRITE);
	struct sys_vma code = mapping(2, SYS_VMA_ANON_PRIVATE,
				      SYS_PROT_READ | SYS_PROT_EXEC);
	struct vm_stayed stayed[3];
	size_t count;

	note(f, &anonymous, 0);
	note(f, &shared, 0);
	note(f, &code, 0);
	assert_int_equal(vm_device_stayed(f->gpu.device, stayed, 3, &count), 3);
	assert_int_equal(stayed[0].why, VM_STAY_POLICY);
	assert_int_equal(stayed[1].why, VM_STAY_SHARED);
	assert_int_equal(stayed[2].why, VM_STAY_PROTECTED);
	assert_string_equal(vm_stat_names[VM_STAT_STAYED + VM_STAY_POLICY], "usvm_stayed_policy");
	assert_string_equal(vm_stat_names[VM_STAT_STAYED + VM_STAY_OTHER], "usvm_stayed_other");
}

static void a_mapping_has_one_line_for_each_reason(void **state)
{
	struct fixture *f = *state;
	struct sys_vma vma = mapping(0, SYS_VMA_ANON_PRIVATE, READ_WRITE);
	struct vm_stayed stayed[3];
	size_t count;

	note(f, &vma, -EBUSY);
	vma.span.end += 3 * PAGE_BYTES; /* it has grown */
	note(f, &vma, -EBUSY);
	note(f, &vma, -ENOSPC);
	assert_int_equal(vm_device_stayed(f->gpu.device, stayed, 3, &count), 2);
	assert_int_equal(count, 2);
	assert_int_equal(stayed[0].why, VM_STAY_PINNED);
	assert_int_equal(stayed[0].faults, 2);
	assert_int_equal(span_bytes(stayed[0].span), 4 * PAGE_BYTES);
	assert_int_equal(stayed[1].why, VM_STAY_NO_ROOM);
	assert_int_equal(stayed[1].faults, 1);
}

static void mappings_beyond_the_list_are_counted(void **state)
{
	struct fixture *f = *state;
	struct vm_stayed stayed[VM_STAYED_MAX + 2];
	size_t count;

	for (uint64_t i = 0; i < VM_STAYED_MAX + 2; i++) {
		struct sys_vma vma = mapping(i, SYS_VMA_FILE_SHARED, READ_WRITE);

		note(f, &vma, 0);
	}
	assert_int_equal(vm_device_stayed(f->gpu.device, stayed, ARRAY_SIZE(stayed), &count),
			 VM_STAYED_MAX);
	assert_int_equal(count, VM_STAYED_MAX + 2);
	assert_int_equal(vm_device_stayed(f->gpu.device, stayed, 1, &count), 1);
	assert_int_equal(stayed[0].span.start, FAKE_BASE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_reason_has_its_counter_and_its_line),
		TEST_WITH(where_nothing_migrates_that_is_the_reason, set_up_never),
		TEST(a_mapping_has_one_line_for_each_reason),
		TEST(mappings_beyond_the_list_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
